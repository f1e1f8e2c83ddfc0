//! The load generator against a server that asks who is there, written in plain Python: admitted with
//! the right secret, refused with a wrong one, and never left hanging.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use onepoll::load::{Amount, Arrivals, Close, Mode, Model, Plan};
use onepoll::wire::{Digest, HmacKey, Secret};

use super::{ECHO, NONE_AFTER, RST, closing, counted, failed, plan, run};
use crate::support::DEADLINE;
use crate::support::program::{Said, onepoll, skipped};

const SECRET: &[u8] = b"a secret of the two of us";
const WRONG: &[u8] = b"a secret of somebody else";

/// `tests/python/challenger.py`; it ends when this is dropped.
struct Challenger {
    child: Child,
    port: u16,
    said: Receiver<String>,
}

impl Challenger {
    /// None, and said so, where there is no Python.
    fn start(digest: &str, manner: &str) -> Option<Self> {
        let mut python = Command::new("python3");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/challenger.py");
        python.arg("-B").arg(script).args([digest, manner]);
        python.stdin(Stdio::piped()).stdout(Stdio::piped());
        if skipped("python3") {
            return None;
        }
        let mut child = python.spawn().unwrap();
        let hex = SECRET.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let stdin = child.stdin.as_mut().expect("it was asked for");
        writeln!(stdin, "{hex}").unwrap();
        let stdout = child.stdout.take().expect("it was asked for");
        let (tell, said) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        let port = said.recv_timeout(DEADLINE).unwrap().parse().unwrap();
        Some(Self { child, port, said })
    }

    /// Its next words are these, so often.
    fn says(&self, word: &str, times: u64) {
        for _ in 0..times {
            assert_eq!(self.said.recv_timeout(DEADLINE).as_deref(), Ok(word));
        }
    }

    fn plan(&self, mode: Mode, secret: &[u8], digest: Digest) -> Plan {
        let mut plan = plan(format!("127.0.0.1:{}", self.port), mode, 3, 12);
        plan.hmac_key = Some(HmacKey::new(&Secret::new(secret.to_vec()).unwrap(), digest));
        plan
    }
}

impl Drop for Challenger {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[test]
fn a1_to_a3_the_right_secret_is_admitted() {
    for (digest, name, manner) in [
        (Digest::Sha256, "sha256", "plain"),
        (Digest::Md5, "md5", "plain"),
        (Digest::Sha256, "sha256", "drip"),
    ] {
        let Some(server) = Challenger::start(name, manner) else {
            return;
        };
        let open = Model::Open {
            rate: 1_000.0,
            arrivals: Arrivals::Poisson,
        };
        for model in [Model::Closed, open] {
            let mut plan = server.plan(RST, SECRET, digest);
            plan.model = model;
            let report = run(&plan);
            counted(&report, 12, &[]);
            assert_eq!(report.digest, Some(digest));
            server.says("right", 12);
            if manner == "drip" {
                // 32 bytes half a millisecond apart: that counts into being connected.
                let phases = &report.phases_us;
                assert!(phases.connect.p50 > 10_000.0, "{report}");
                assert!(phases.connect.p50 < report.latency_us.max, "{report}");
            }

            let mut plan = server.plan(Mode::Echo { depth: 2 }, SECRET, digest);
            plan.model = model;
            let report = run(&plan);
            counted(&report, 12, &[]);
            assert_eq!(report.phases_us.connect.count, 3, "{report}");
            server.says("right", 3);
        }
        let mode = closing(Close::ClientRst, 4);
        counted(&run(&server.plan(mode, SECRET, digest)), 12, &[]);
        server.says("right", 12);

        let mut plan = server.plan(Mode::Hold, SECRET, digest);
        plan.amount = Amount::For(Duration::from_millis(30));
        let report = run(&plan);
        assert_eq!(report.connections.held, 3, "{report}");
        failed(&report, &[]);
        server.says("right", 3);
    }
}

#[test]
fn a3_a_wrong_secret_is_not_admitted_and_told_from_a_short_answer() {
    let Some(server) = Challenger::start("sha256", "plain") else {
        return;
    };
    let report = run(&server.plan(RST, WRONG, Digest::Sha256));
    assert_eq!(report.requests.unanswered, 12, "{report}");
    failed(&report, &[("not_admitted", 12)]);
    assert!(report.to_string().contains("12 not admitted"), "{report}");
    server.says("wrong", 12);

    let report = run(&server.plan(ECHO, WRONG, Digest::Sha256));
    failed(&report, &[("not_admitted", 3)]);
    assert_eq!(report.requests.answered, 0, "{report}");
    server.says("wrong", 3);

    // Nothing is asked there, so a refusal and a hang-up for idleness look alike.
    let mut plan = server.plan(Mode::Hold, WRONG, Digest::Sha256);
    plan.amount = Amount::For(Duration::from_secs(5));
    let report = run(&plan);
    let ended = report.errors.short_answer + report.errors.reset;
    assert_eq!((ended, report.connections.held), (3, 0), "{report}");
    server.says("wrong", 3);
}

#[test]
fn a1_without_a_whole_challenge_nothing_is_said() {
    for (manner, mode) in [
        ("silent", RST),
        ("short", RST),
        ("silent", ECHO),
        ("short", ECHO),
    ] {
        let Some(server) = Challenger::start("sha256", manner) else {
            return;
        };
        let mut plan = server.plan(mode, SECRET, Digest::Sha256);
        (plan.timeout, plan.amount) = (NONE_AFTER, Amount::Count(3));
        let report = run(&plan);
        failed(&report, &[("timeout", 3)]);
        assert!(server.said.try_recv().is_err(), "{manner}");
    }
    let Some(server) = Challenger::start("sha256", "gone") else {
        return;
    };
    let report = run(&server.plan(RST, SECRET, Digest::Sha256));
    failed(&report, &[("short_answer", 12)]);
}

#[test]
fn what_is_glued_to_a_challenge_is_no_part_of_it() {
    let Some(server) = Challenger::start("sha256", "glued") else {
        return;
    };
    for mode in [RST, ECHO] {
        let report = run(&server.plan(mode, SECRET, Digest::Sha256));
        // Seen before the load has begun, it ends the run; seen with an answer, another connection takes its place. Where that
        // one is found so before it has asked, it is an error and no request.
        let wrong = report.errors.wrong_answer;
        assert!(wrong >= 3 && report.requests.asked <= 12, "{report}");
        counted(&report, 0, &[("wrong_answer", wrong)]);
    }
}

#[test]
fn fault_d6_one_challenge_is_answered_on_a_connection() {
    let Some(server) = Challenger::start("sha256", "twice") else {
        return;
    };
    let mut plan = server.plan(closing(Close::ClientFin, 1), SECRET, Digest::Sha256);
    plan.connections = 1;
    let report = run(&plan);
    failed(&report, &[("wrong_answer", 12)]);
    let mut said: Vec<_> = (0..24)
        .map(|_| server.said.recv_timeout(DEADLINE).unwrap())
        .collect();
    said.sort();
    assert_eq!(said, [["no more"; 12], ["right"; 12]].concat());
}

/// Runs `onepoll bench`, which says more than usual, and the secret nowhere.
#[track_caller]
fn bench(words: &[&str]) -> Said {
    let said = onepoll(&[&["-vv", "bench"], words].concat());
    let all = format!("{}{}", said.out, said.err);
    assert!(!all.contains("a secret of"), "{all}");
    said
}

fn secret_file(folder: &Path, content: &[u8], mode: u32) -> PathBuf {
    let path = folder.join("secret");
    let _ = fs::remove_file(&path);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn a_secret_comes_from_a_file_and_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    for (name, digest) in [("sha256", None), ("md5", Some("md5"))] {
        let Some(server) = Challenger::start(name, "plain") else {
            return;
        };
        let content = [SECRET, b"\n"].concat();
        let path = secret_file(folder.path(), &content, 0o600);
        let address = format!("127.0.0.1:{}", server.port);
        for extra in [&["-n", "5"][..], &["-n", "5", "--json"]] {
            let mut words = vec!["conn", &address, "--secret-file", path.to_str().unwrap()];
            words.extend(digest.iter().flat_map(|digest| ["--digest", *digest]));
            words.extend(extra);
            bench(&words).exits(0);
            server.says("right", 5);
        }
    }
}

#[test]
fn a_secret_that_is_none_is_refused_beforehand() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |path: &Path, more: &[&str], why: &str| {
        let path = path.to_str().unwrap();
        bench(&[&["echo", "127.0.0.1:9", "--secret-file", path], more].concat()).refuses(why);
    };
    let holding = |content: &[u8]| secret_file(folder.path(), content, 0o600);
    for mode in [0o640, 0o604, 0o620, 0o777] {
        refused(&secret_file(folder.path(), SECRET, mode), &[], "chmod 600");
    }
    refused(
        &holding(b"fifteen bytes..\n"),
        &[],
        "16 to 4096 bytes, not 15",
    );
    refused(&holding(&[b'x'; 5000]), &[], "16 to 4096 bytes");
    refused(Path::new("/nonexistent"), &[], "cannot be read");
    let path = holding(SECRET);
    refused(&path, &["--digest", "sha1"], "sha1");
    bench(&["echo", "127.0.0.1:9", "--digest", "md5"]).exits(2);
    let path = path.to_str().unwrap();
    bench(&["udp", "127.0.0.1:9", "--secret-file", path]).refuses("connection");
}
