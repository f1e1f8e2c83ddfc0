//! Lines of a page, run: by a shell that finds `onepoll`, beside a server of their own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use super::{ONEPOLL, ROOT};

/// No command of these pages takes longer, in seconds.
const COMMAND_SECONDS_MAX: &str = "60";

/// Whether what is shown is what is printed, with digits for digits.
pub(super) fn agrees(shown: &[String], printed: &[&str]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((line, rest)) if line.trim() == "…" => {
            (0..=printed.len()).any(|skipped| agrees(rest, &printed[skipped..]))
        }
        Some((line, rest)) => printed
            .split_first()
            .is_some_and(|(first, others)| masked(line) == masked(first) && agrees(rest, others)),
    }
}

/// Without what differs from run to run: numbers, the day of the week, the place of a private socket, and how
/// far apart two columns are on account of them.
pub(super) fn masked(line: &str) -> String {
    let mut out = String::new();
    for c in line.chars() {
        if c.is_ascii_digit() {
            if !out.ends_with('0') {
                out.push('0');
            }
        } else {
            out.push(c);
        }
    }
    for day in [
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
    ] {
        out = out.replace(day, "DAY");
    }
    if let Some((before, _)) = out.split_once(" at /") {
        out.truncate(before.len());
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The arguments of every `onepoll` in a line of the shell, as the shell takes it apart.
pub(super) fn arguments(line: &str) -> Vec<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("onepoll() {{ printf '%s\\n' \"$@\" >> said; echo >> said; }}\n{line}");
    let status = Command::new("sh")
        .args(["-c", &script])
        .current_dir(folder.path())
        // The ids of processes, which a page shows as variables.
        .envs(["ONEPOLL", "ASYNCIO"].map(|name| (name, "1")))
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{line}");
    let said = fs::read_to_string(folder.path().join("said")).unwrap();
    said.split("\n\n")
        .filter(|one| !one.is_empty())
        .map(|one| one.lines().map(str::to_owned).collect())
        .collect()
}

pub(super) fn bounded(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command
        .args([COMMAND_SECONDS_MAX, program])
        .current_dir(ROOT)
        .stdin(Stdio::null());
    command
}

/// Runs a line with `onepoll` on the path.
pub(super) fn shell(line: &str) -> Output {
    shell_with(line, &[])
}

pub(super) fn shell_with(line: &str, environment: &[(&str, &str)]) -> Output {
    let here = Path::new(ONEPOLL).parent().unwrap().display().to_string();
    let path = std::env::var("PATH").unwrap();
    let script = format!("exec 2>&1; {line}");
    bounded("sh")
        .args(["-c", &script])
        .env("PATH", format!("{here}:{path}"))
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

pub(super) fn said(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(all).unwrap()
}

/// The same with ports that the system chooses, and sockets in a folder of ours: `check` binds what it reads.
pub(super) fn elsewhere(text: &str, folder: &Path) -> String {
    let mut parts = text.split("127.0.0.1:");
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        out.push_str("127.0.0.1:0");
        out.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    out.replace("/run/", &format!("{}/", folder.display()))
}

/// The default table and a place for files, at other ports; what a page says of one is asked of the other.
pub(super) struct Server {
    child: Child,
    runtime: tempfile::TempDir,
    /// The port that a page shows, and the one that it has here.
    ports: Vec<(String, String)>,
}

impl Server {
    pub(super) fn start() -> Server {
        let runtime = tempfile::tempdir().unwrap();
        let socket = format!(
            "command+unix://{}/onepoll/command.sock",
            runtime.path().display()
        );
        let at = ["echo", "time", "chat", "upper", "upper+udp", "file"];
        let shown = ["9000", "9000", "9001", "9999", "9999", "9002"];
        let root = runtime.path().join("drop");
        fs::create_dir(&root).unwrap();
        let options = format!("?root={}&names=tree&auth=none", root.display());
        let mut child = Command::new(ONEPOLL)
            .arg("serve")
            .args(at.map(|service| {
                let options = if service == "file" { &*options } else { "" };
                format!("{service}://127.0.0.1:0{options}")
            }))
            .arg(socket)
            .env("XDG_RUNTIME_DIR", runtime.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut ports = Vec::new();
        for line in lines {
            let line = line.unwrap();
            if line == "onepoll: ready" {
                break;
            }
            let is_place = line.starts_with("onepoll: listening on ");
            if let Some((_, port)) = line.rsplit_once("127.0.0.1:").filter(|_| is_place) {
                let port = port.split('?').next().unwrap_or_default();
                let (service, port) = (at[ports.len()], port.to_owned());
                ports.push((format!("{service} {}", shown[ports.len()]), port));
            }
        }
        assert_eq!(ports.len(), at.len());
        Server {
            child,
            runtime,
            ports,
        }
    }

    /// Runs a line of a page, with the ports that these services have here.
    pub(super) fn shell(&self, line: &str) -> String {
        let mut line = line.to_owned();
        let is_time = line.contains("onepoll time");
        for (shown, here) in &self.ports {
            let (service, port) = shown.split_once(' ').unwrap();
            // One port is that of two services: the protocol of the line decides.
            let is_datagrams = ["time", "upper+udp"].contains(&service);
            if is_datagrams == is_time {
                line = line.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{here}"));
                line = line.replace(&format!("127.0.0.1 {port}"), &format!("127.0.0.1 {here}"));
            }
        }
        if line.starts_with("onepoll check") {
            line = elsewhere(&line, self.runtime.path());
        }
        // The conversation has a server of its own unless it is told not to.
        let line = line.replace(" --running", "");
        let runtime = self.runtime.path().to_str().unwrap();
        let environment = [("XDG_RUNTIME_DIR", runtime), ("ONEPOLL_BIN", ONEPOLL)];
        said(&shell_with(&line, &environment)).replace(runtime, "/run")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
