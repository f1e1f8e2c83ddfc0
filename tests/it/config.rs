//! `onepoll check` and the exit codes, asked of the real binary.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The binary, with a runtime directory of its own so that no server of this user is in its way.
fn onepoll(runtime_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onepoll"));
    command
        .env("XDG_RUNTIME_DIR", runtime_dir)
        .stdin(Stdio::null());
    command
}

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("we print UTF-8");
        Self {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

fn say(args: &[&str]) -> Said {
    let runtime_dir = tempfile::tempdir().unwrap();
    Said::from(onepoll(runtime_dir.path()).args(args).output().unwrap())
}

fn check(endpoints: &[&str]) -> Said {
    say(&[&["check"], endpoints].concat())
}

fn check_json(endpoints: &[&str]) -> (Said, Value) {
    let said = say(&[&["check", "--json"], endpoints].concat());
    let json = serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {}", said.out));
    (said, json)
}

#[test]
fn usage_errors_exit_with_2_and_say_so_on_stderr() {
    for args in [
        &["chekc"][..],
        &["check", "--jsno"],
        &["check", "--config"],
        &[],
    ] {
        let said = say(args);
        assert_eq!(said.code, Some(2), "{args:?}");
        assert_eq!(said.out, "", "{args:?}");
        assert!(
            args.is_empty() || said.err.starts_with("onepoll: "),
            "{}",
            said.err
        );
        assert!(!said.err.contains("error:"), "{}", said.err);
    }
}

#[test]
fn help_and_version_are_results() {
    for args in [&["--help"][..], &["--version"], &["check", "--help"]] {
        let said = say(args);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{args:?}");
        assert!(said.out.contains("onepoll"), "{}", said.out);
    }
}

#[test]
fn check_says_what_serve_would_do() {
    let said = check(&[
        "echo://127.0.0.1:0",
        "upper://[::1]:0?once=true&settle=never",
        "-v",
    ]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    let mut lines = said.out.lines();
    assert_eq!(
        lines.next(),
        Some("echo on tcp 127.0.0.1:0 (this machine only)")
    );
    assert_eq!(
        lines.next(),
        Some("upper on tcp [::1]:0 (this machine only) once=true settle=never")
    );
    assert!(lines.next().unwrap().starts_with("at most "));
    assert_eq!(lines.next(), None);
}

#[test]
fn check_without_arguments_looks_at_the_default_table() {
    let (said, json) = check_json(&[]);
    // Its ports may be taken on this machine: then they are skipped, which is no failure.
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(json["default_table"], true);
    assert_eq!(json["endpoints"].as_array().unwrap().len(), 6);
    let command = &json["endpoints"][5];
    assert_eq!(command["service"], "command");
    assert_eq!(command["would"], "serve");
    assert_eq!(command["exposure"], "same-user");
    assert_eq!(json["limits"]["out-pause"], "256K");
}

#[test]
fn every_wrong_endpoint_is_named_and_nothing_is_said_to_be_served() {
    let said = check(&[
        "ehco://127.0.0.1:0",
        "echo://127.0.0.1:0",
        "echo://127.0.0.1:99999",
    ]);
    assert_eq!(said.code, Some(2));
    assert_eq!(said.out, "");
    let lines: Vec<&str> = said.err.lines().collect();
    assert_eq!(lines.len(), 2, "{}", said.err);
    assert!(lines[0].starts_with("onepoll: endpoint `ehco://127.0.0.1:0`: there is no service"));
    assert!(
        lines[1].starts_with("onepoll: endpoint `echo://127.0.0.1:99999`: `99999` is not a port")
    );
    let (said, json) = check_json(&["ehco://127.0.0.1:0"]);
    assert_eq!((said.code, &json["ok"]), (Some(2), &Value::Bool(false)));
}

#[test]
fn exposure_is_refused_before_anything_is_bound() {
    for (url, piece) in [
        ("chat://0.0.0.0:0", "`open=true`"),
        ("time://[::]:0", "`open=true`"),
        ("command://127.0.0.1:0", "`auth=none`"),
        (
            "command://0.0.0.0:7?auth=none&open=true",
            "ssh -N -L 7:127.0.0.1:7 HOST",
        ),
    ] {
        let said = check(&[url]);
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{url}");
        assert!(
            said.err.contains(piece) && said.err.contains(url),
            "{}",
            said.err
        );
    }
    let said = check(&["chat://0.0.0.0:0?open=true"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(
        said.out.contains("(open to the network) open=true"),
        "{}",
        said.out
    );
    let said = check(&["command://127.0.0.1:0?auth=none"]);
    assert!(
        said.out
            .contains("warning: any user of this machine can run commands as")
    );
}

/// Fault H6, as far as `check` sees it: the exact endpoint, and an exit code that is not 0.
#[test]
fn fault_h6_a_taken_port_is_a_failure_at_run_time() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    for url in [
        format!("echo://{}", tcp.local_addr().unwrap()),
        format!("time://{}", udp.local_addr().unwrap()),
        "echo://192.0.2.1:9000?open=true".into(),
    ] {
        let said = check(&[&url]);
        assert_eq!(said.code, Some(1), "{url}: {}", said.out);
        let begins = format!("onepoll: endpoint `{url}`: ");
        assert!(
            said.err.starts_with(&begins) && said.err.contains("cannot be bound"),
            "{}",
            said.err
        );
        let (_, json) = check_json(&[&url]);
        assert_eq!(json["endpoints"][0]["would"], "fail");
    }
    // Looking did not disturb: nobody connected.
    tcp.set_nonblocking(true).unwrap();
    assert!(tcp.accept().is_err());
}

#[test]
fn a_live_unix_socket_is_told_from_a_stale_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a socket");
    let url = format!("echo+unix://{}", path.display()).replace(' ', "%20");
    assert_eq!(check(&[&url]).code, Some(0));

    let live = UnixListener::bind(&path).unwrap();
    let said = check(&[&url]);
    assert_eq!(said.code, Some(1), "{}", said.out);
    assert!(
        said.err.contains("a live server listens at"),
        "{}",
        said.err
    );
    live.set_nonblocking(true).unwrap();
    assert!(live.accept().is_err(), "check must not connect");

    drop(live);
    // A child that another test is just starting has a copy of the listener until it execs.
    let stale = (0..100).any(|_| check(&[&url]).code == Some(0));
    assert!(stale, "a stale one is replaced");
    assert!(path.exists(), "by serve, not by check");

    fs::remove_file(&path).unwrap();
    fs::write(&path, "mine").unwrap();
    assert!(check(&[&url]).err.contains("is no socket"));
    let said = check(&["echo+unix:///nowhere/at/all.sock"]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("no socket can be made in /nowhere/at"),
        "{}",
        said.err
    );
}

#[test]
fn a_unix_socket_that_cannot_be_made_is_not_blamed_on_a_port() {
    let runtime_dir = tempfile::tempdir().unwrap();
    let dir = runtime_dir.path().join("onepoll");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    let url = format!("command+unix://{}/command.sock", dir.display());
    let said = Said::from(
        onepoll(runtime_dir.path())
            .args(["serve", &url])
            .output()
            .unwrap(),
    );
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(
        said.err.contains("is not private") && !said.err.contains("1024"),
        "{}",
        said.err
    );
}

#[test]
fn an_inherited_descriptor_is_asked_what_it_is() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let ask = |url: &str| {
        let runtime_dir = tempfile::tempdir().unwrap();
        let stdin = Stdio::from(std::os::fd::OwnedFd::from(listener.try_clone().unwrap()));
        let mut command = onepoll(runtime_dir.path());
        Said::from(command.args(["check", url]).stdin(stdin).output().unwrap())
    };
    // Where a sandbox forbids the look, check says that the address is judged later.
    let said = ask("chat+fd://0?open=true");
    assert_eq!(said.code, Some(0), "{}", said.err);
    let looked = said.out.contains("open to the network");
    assert!(looked || said.out.contains("judged when"), "{}", said.out);
    if looked {
        assert_eq!(ask("chat+fd://0").code, Some(2));
        assert!(ask("time+fd://0").err.contains("`time` is for datagrams"));
    }
    let said = check(&["echo+fd://77"]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("no descriptor 77 was inherited"),
        "{}",
        said.err
    );
    assert!(check(&["echo+fd://0"]).err.contains("not a socket"));
}

#[test]
fn a_file_and_arguments_add_up() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("onepoll.toml");
    let path = file.to_str().unwrap();
    fs::write(
        &file,
        "[limits]\nconnections = 5\n[[endpoint]]\nservice = \"echo\"\naddress = \"127.0.0.1:0\"\n",
    )
    .unwrap();
    let said = say(&["check", "--config", path, "chat://127.0.0.1:0"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(said.out.lines().count(), 3);
    assert!(said.out.ends_with("at most 5 connections in all\n"));

    fs::write(&file, "[limits]\nconnections = 4000000000\n").unwrap();
    let said = say(&["check", "--config", path, "chat://127.0.0.1:0"]);
    assert_eq!(said.code, Some(2), "{}", said.out);
    assert!(
        said.err
            .contains("`connections` of 4000000000 is more than"),
        "{}",
        said.err
    );

    fs::write(
        &file,
        "[[endpoint]]\nservice = \"echo\"\nadress = \"127.0.0.1:0\"\n",
    )
    .unwrap();
    let said = say(&["check", "--config", path]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.err.starts_with(&format!("onepoll: {path}, line ")),
        "{}",
        said.err
    );

    assert_eq!(say(&["check", "--config", "/nowhere.toml"]).code, Some(2));
}

#[test]
fn two_endpoints_at_one_place_are_refused() {
    let said = check(&["echo://127.0.0.1:65000", "chat://127.0.0.1:65000"]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.err.contains("tcp 127.0.0.1:65000 is asked for twice"),
        "{}",
        said.err
    );
}

/// Fault H8, as far as `check` and `exec` go: a reader that dies is no panic.
#[test]
fn fault_h8_nobody_reads_the_output() {
    let runtime_dir = tempfile::tempdir().unwrap();
    for (args, expected) in [
        (&["check", "echo://127.0.0.1:0"][..], 0),
        (&["--help"], 0),
        (&["nonsense"], 2),
        (&["exec", "/nowhere/command.sock", "--", "true"], 255),
    ] {
        let (out, out_end) = std::io::pipe().unwrap();
        let (err, err_end) = std::io::pipe().unwrap();
        drop((out, err));
        let status = onepoll(runtime_dir.path())
            .args(args)
            .stdout(out_end)
            .stderr(err_end)
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(expected), "{args:?}");
    }
    let (out, out_end) = std::io::pipe().unwrap();
    drop(out);
    let mut child = onepoll(runtime_dir.path())
        .args(["check", "echo://127.0.0.1:0"])
        .stdout(out_end)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut err = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut err)
        .unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
}
