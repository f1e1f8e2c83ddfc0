//! The session of serve.md with a secret and TLS: the same lines and the same program, on loopback.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::ONEPOLL;
use super::page::{blocks, read};
use super::run::{bounded, said};
use crate::support::program::skipped;

const HEADING: &str = "### Off this machine\n";

/// The server of the session, which ends with the test.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn three_endpoints_are_served_with_a_secret_and_tls_and_reached() {
    let page = read("src/guide/serve.md");
    let (_, section) = page.split_once(HEADING).unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let blocks = blocks(section);
    let texts: Vec<String> = blocks.iter().map(|b| b.lines.join("\n")).collect();
    let [on_the_server, on_the_client, program] = &texts[..] else {
        panic!("three blocks: {texts:?}");
    };
    let folder = tempfile::tempdir().unwrap();
    let run = |shell: &str, line: &str| {
        let here = std::path::Path::new(ONEPOLL).parent().unwrap();
        let path = std::env::var("PATH").unwrap();
        let mut command = bounded(shell);
        command.args(["-c", line]).current_dir(folder.path());
        command.env("PATH", format!("{}:{path}", here.display()));
        said(&command.output().unwrap())
    };
    let (made, served) = on_the_server.split_once("onepoll serve").unwrap();
    run("sh", &made.replace("server.example", "localhost"));

    let served = served.replace("\\\n", " ").replace('\'', "");
    let urls = served.split_whitespace().map(|url| {
        let (service, rest) = url.split_once("://0.0.0.0:").unwrap();
        let (_, options) = rest.split_once('?').unwrap();
        format!("{service}://127.0.0.1:0?{options}")
    });
    let mut serving = Command::new(ONEPOLL);
    serving.arg("serve").args(urls).current_dir(folder.path());
    let mut serving = Serving(serving.stderr(Stdio::piped()).spawn().unwrap());
    let mut ports = Vec::new();
    for line in BufReader::new(serving.0.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        if line == "onepoll: ready" {
            break;
        }
        let (_, at) = line.split_once("127.0.0.1:").unwrap();
        let (port, _) = at.split_once('?').unwrap();
        ports.push(port.to_owned());
    }
    assert_eq!(ports.len(), 3);
    let here = |text: &str| {
        let shown = ["9010", "9011", "9012"];
        let renamed = text.replace("server.example", "localhost");
        shown
            .iter()
            .zip(&ports)
            .fold(renamed, |text, (shown, port)| text.replace(shown, port))
    };
    let lines: Vec<&str> = on_the_client.lines().collect();
    assert_eq!(run("sh", &here(lines[0])).trim_end(), "Linux");
    if !skipped("ncat") {
        let heard = run("sh", &here(lines[1]));
        assert!(heard.starts_with("* you are guest-1"), "{heard}");
    }
    if !skipped("openssl") {
        let line = section
            .split('`')
            .find(|text| text.starts_with("openssl "))
            .unwrap();
        let heard = run("sh", &format!("echo /quit | {} 2>&1", here(line)));
        assert!(heard.contains("* you are guest-"), "{heard}");
    }
    if !skipped("python3") {
        let mut python = bounded("python3");
        python
            .args(["-c", &here(program)])
            .current_dir(folder.path());
        assert_eq!(said(&python.output().unwrap()), "b'hello\\n'\n");
    }
}
