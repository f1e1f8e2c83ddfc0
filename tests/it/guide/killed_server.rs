//! The session of serve.md in which a server is killed while a file is sent and fetched: the same lines, and a
//! smaller file.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::ONEPOLL;
use super::page::{blocks, commands, read};
use super::run::{agrees, bounded, said};

/// What is another here: how large the file is, when its server is killed, and how often that is looked for.
const SHORTER: &[(&str, &str)] = &[("5G", "48M"), ("2560M", "2M"), ("sleep 0.1", "sleep 0.01")];

/// Where the session of the page was.
const SHOWN_DIRECTORY: &str = "/home/ann";

/// A server of the session, which ends with the test.
struct Serving {
    child: Child,
    port: String,
}

impl Serving {
    /// Runs the line of a shell that starts it; also what it said.
    fn start(line: &str, here: &Path) -> (Serving, Vec<String>) {
        let (line, _) = line.split_once(" & ").unwrap();
        let mut shell = shell(&format!("exec {line}"), here);
        let mut child = shell.stderr(Stdio::piped()).spawn().unwrap();
        let mut report = Vec::new();
        for line in BufReader::new(child.stderr.take().unwrap()).lines() {
            report.push(line.unwrap());
            if report.last().unwrap() == "onepoll: ready" {
                break;
            }
        }
        let port = report.iter().find_map(|line| {
            let (_, at) = line.split_once("listening on file://127.0.0.1:")?;
            Some(at.split('?').next()?.to_owned())
        });
        let port = port.unwrap_or_else(|| panic!("{report:?}"));
        (Serving { child, port }, report)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line, with `onepoll` on the path.
fn shell(line: &str, here: &Path) -> Command {
    let program = Path::new(ONEPOLL).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", line])
        .current_dir(here)
        .stdin(Stdio::null())
        .env("PATH", format!("{}:{path}", program.display()));
    shell
}

#[test]
fn a_server_that_is_killed_half_way_goes_on_where_it_was() {
    let page = read("src/guide/serve.md");
    let blocks = blocks(&page);
    let sessions: Vec<_> = blocks
        .iter()
        .filter(|block| block.language == "shell-session")
        .collect();
    let [session] = sessions[..] else {
        panic!("{} sessions", sessions.len());
    };
    let folder = tempfile::tempdir().unwrap();
    let mut serving: Option<Serving> = None;
    let mut digests = Vec::new();
    let mut resumed = 0;
    for (command, shown) in commands(session) {
        let mut line = command.clone();
        for (long, short) in SHORTER {
            line = line.replace(long, short);
        }
        let printed = if line.starts_with("onepoll serve") {
            let (server, report) = Serving::start(&line.replace(":9002", ":0"), folder.path());
            serving = Some(server);
            report.join("\n")
        } else {
            let (pid, port) = serving
                .as_ref()
                .map_or((0, ""), |serving| (serving.child.id(), &*serving.port));
            let line = line.replace(":9002", &format!(":{port}"));
            let mut run = bounded("sh");
            let by_sh = shell(&format!("exec 2>&1; {line}"), folder.path());
            run.args(by_sh.get_args())
                .current_dir(folder.path())
                .envs(
                    by_sh
                        .get_envs()
                        .filter_map(|(name, value)| Some((name, value?))),
                )
                .env("server", pid.to_string());
            said(&run.output().unwrap())
        };
        let printed = printed.replace(folder.path().to_str().unwrap(), SHOWN_DIRECTORY);
        for word in printed.split(|c: char| !c.is_ascii_hexdigit()) {
            if word.len() == 64 {
                digests.push(word.to_owned());
            }
        }
        for line in printed.lines() {
            if let Ok(Value::Object(told)) = serde_json::from_str(line) {
                assert!(told["resumed_at"].as_u64() >= Some(1 << 20), "{told:?}");
                resumed += 1;
            }
        }
        let shown: Vec<String> = shown.iter().map(|line| fixed(line)).collect();
        let printed: Vec<String> = printed.lines().map(fixed).collect();
        let printed: Vec<&str> = printed.iter().map(String::as_str).collect();
        assert!(
            agrees(&shown, &printed),
            "$ {command}\nshown: {shown:#?}\nprinted: {printed:#?}"
        );
    }
    // Sent, fetched, and as each of the three files has it.
    assert_eq!((resumed, digests.len()), (2, 5));
    assert!(digests.iter().all(|one| *one == digests[0]), "{digests:?}");
}

/// Without what depends on where the kill struck, and with each digest, which is that of what was random, as a word.
fn fixed(line: &str) -> String {
    for before in [" bytes were sent: ", " bytes came, and is kept: "] {
        if let Some((line, _)) = line.split_once(before) {
            return format!("{line}{before}");
        }
    }
    let words = line.split_inclusive(|c: char| !c.is_ascii_hexdigit());
    let word = |word: &str| {
        let bare = word.trim_end_matches(|c: char| !c.is_ascii_hexdigit());
        if bare.len() == 64 {
            word.replace(bare, "DIGEST")
        } else {
            word.to_owned()
        }
    };
    words.map(word).collect()
}
