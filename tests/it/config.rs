//! `onepoll check` and the exit codes, asked of the real binary.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::program::{self, Said, finish};

/// The binary, with a runtime directory of its own so that no server of this user is in its way.
fn onepoll(runtime_dir: &Path) -> Command {
    let mut command = program::command(&[]);
    command.env("XDG_RUNTIME_DIR", runtime_dir);
    command.stdin(Stdio::null());
    command
}

fn say(args: &[&str]) -> Said {
    let runtime_dir = tempfile::tempdir().unwrap();
    finish(onepoll(runtime_dir.path()).args(args))
}

fn check(endpoints: &[&str]) -> Said {
    say(&[&["check"], endpoints].concat())
}

fn check_json(endpoints: &[&str]) -> (Said, Value) {
    let said = say(&[&["check", "--json"], endpoints].concat());
    let json = said.json();
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
    let endpoints = json["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 7);
    // On private sockets: commands, and operators of the chat.
    for (endpoint, service) in endpoints[5..].iter().zip(["command", "chat"]) {
        assert_eq!(endpoint["service"], service);
        assert_eq!(endpoint["would"], "serve");
        assert_eq!(endpoint["exposure"], "same-user");
    }
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
            said.err.starts_with(&begins) && said.err.contains("cannot bind "),
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
        said.err.contains("another server has its socket there"),
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
    assert!(check(&[&url]).err.contains("that is not a socket"));
    let said = check(&["echo+unix:///nowhere/at/all.sock"]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("no file can be made in its directory"),
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
    let said = finish(onepoll(runtime_dir.path()).args(["serve", &url]));
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(
        said.err.contains("is not private") && !said.err.contains("1024"),
        "{}",
        said.err
    );
}

#[test]
fn the_default_table_is_not_served_without_its_private_directory() {
    let runtime_dir = tempfile::tempdir().unwrap();
    let dir = runtime_dir.path().join("onepoll");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    for subcommand in ["serve", "check"] {
        let mut command = onepoll(runtime_dir.path());
        let said = finish(command.arg(subcommand));
        assert_eq!(said.code, Some(1), "{}", said.err);
        let reason = said
            .err
            .lines()
            .find(|line| line.contains("is not private"));
        assert!(
            reason.is_some_and(|line| !line.contains("skipped")),
            "{}",
            said.err
        );
    }
}

#[test]
fn an_inherited_descriptor_is_asked_what_it_is() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let ask = |url: &str| {
        let runtime_dir = tempfile::tempdir().unwrap();
        let stdin = Stdio::from(OwnedFd::from(listener.try_clone().unwrap()));
        let mut command = onepoll(runtime_dir.path());
        finish(command.args(["check", url]).stdin(stdin))
    };
    let said = ask("chat+fd://0?open=true");
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("(open to the network)"), "{}", said.out);
    // Whether it blocks is the business of everybody who has it: a look changes nothing.
    let flags = rustix::fs::fcntl_getfl(&listener).unwrap();
    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK), "{flags:?}");
    assert_eq!(ask("chat+fd://0").code, Some(2));
    assert!(ask("sntp+fd://0").err.contains("`sntp` is for datagrams"));
    let said = check(&["echo+fd://77"]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("no descriptor 77 was inherited"),
        "{}",
        said.err
    );
    assert!(check(&["echo+fd://0"]).err.contains("is not a socket"));
}

/// What `check` and `serve` say of the same endpoints, where neither may serve them.
fn both(endpoints: &[&str], stdin: impl Fn() -> Stdio) -> Said {
    let [check, serve] = ["check", "serve"].map(|subcommand| {
        let runtime_dir = tempfile::tempdir().unwrap();
        // A server that starts all the same ends with 124.
        let mut command = Command::new("timeout");
        command
            .args(["20", env!("CARGO_BIN_EXE_onepoll"), subcommand])
            .args(endpoints)
            .env("XDG_RUNTIME_DIR", runtime_dir.path())
            .stdin(stdin());
        finish(&mut command)
    });
    assert_eq!(check.code, serve.code, "{endpoints:?}: {}", serve.err);
    assert_eq!(check.err, serve.err, "{endpoints:?}");
    serve
}

/// Nobody has it, and the kernel gives it to nobody who asks for any: those begin at 32,768 (ip(7)).
fn a_free_port() -> u16 {
    let first = 20_000 + (std::process::id() % 10_000) as u16;
    (first..32_768)
        .find(|port| {
            let at = ("::", *port);
            TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok()
        })
        .expect("one of thousands is free")
}

#[test]
fn endpoints_in_each_others_way_are_refused_and_the_rival_is_named() {
    let port = a_free_port();
    for (one, other) in [
        (
            "echo://[::]:PORT?open=true",
            "chat://0.0.0.0:PORT?open=true",
        ),
        ("echo://0.0.0.0:PORT?open=true", "chat://127.0.0.1:PORT"),
        ("echo://127.0.0.1:PORT", "chat://[::]:PORT?open=true"),
        ("echo://127.0.0.1:PORT", "chat://[::ffff:127.0.0.1]:PORT"),
        ("echo+udp://0.0.0.0:PORT?open=true", "time://127.0.0.1:PORT"),
        ("echo+udp://[::1]:PORT", "time://[::]:PORT?open=true"),
        ("echo+unix://@onepoll-PORT", "chat+unix://@onepoll-PORT"),
    ] {
        let [one, other] = [one, other].map(|url| url.replace("PORT", &port.to_string()));
        let said = both(&[&one, &other], Stdio::null);
        assert_eq!(said.code, Some(2), "{}", said.err);
        let begins = format!("onepoll: endpoint `{other}`: cannot bind ");
        let rival = format!("`{one}` has that place already");
        assert!(
            said.err.starts_with(&begins) && said.err.contains(&rival),
            "{}",
            said.err
        );
        let dual_stack = one.contains("[::]") || other.contains("[::]");
        assert_eq!(said.err.contains("dual stack"), dual_stack, "{}", said.err);
    }
}

#[test]
fn a_socket_file_has_one_endpoint_by_whatever_path() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(dir.path(), dir.path().join("again")).unwrap();
    let one = format!("echo+unix://{}/a.sock", dir.path().display());
    for path in ["a.sock", "./a.sock", "again/a.sock"] {
        let other = format!("chat+unix://{}/{path}", dir.path().display());
        let said = both(&[&one, &other], Stdio::null);
        assert_eq!(said.code, Some(2), "{path}: {}", said.err);
        assert!(
            said.err
                .contains(&format!("`{one}` has that place already")),
            "{}",
            said.err
        );
    }
    assert_eq!(names_in(dir.path()), ["again"]);
}

#[test]
fn a_place_where_no_socket_can_be_is_found_by_both() {
    let said = both(&["echo+unix:///proc/x.sock"], Stdio::null);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(
        said.err.contains("cannot bind /proc/x.sock: "),
        "{}",
        said.err
    );
}

#[test]
fn a_mapped_address_is_that_ipv4_address() {
    let (said, json) = check_json(&["echo://[::ffff:127.0.0.1]:0"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(json["endpoints"][0]["resolved"][0], "127.0.0.1:0");
}

#[test]
fn a_descriptor_that_nobody_passed_is_not_one_of_ours() {
    for endpoints in [
        ["upper+udp://127.0.0.1:0", "echo+fd://3"],
        ["upper://127.0.0.1:0", "echo+fd://4"],
    ] {
        let said = both(&endpoints, Stdio::null);
        assert_eq!(said.code, Some(1), "{}", said.err);
        assert!(said.err.contains("descriptor"), "{}", said.err);
        assert!(said.err.contains("was inherited"), "{}", said.err);
    }
}

#[test]
fn an_option_that_means_nothing_to_the_inherited_socket_is_refused() {
    let udp = || Stdio::from(OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap()));
    let tcp = || Stdio::from(OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap()));
    for (url, stdin, piece) in [
        (
            "upper+fd://0?once=true",
            &udp as &dyn Fn() -> Stdio,
            "descriptor 0 is a udp socket; option `once`: `upper` takes it over tcp or unix",
        ),
        (
            "echo+fd://0?idle-timeout=5s",
            &udp,
            "option `idle-timeout`: datagrams have no connection",
        ),
        (
            "echo+fd://0?any-user=true",
            &tcp,
            "option `any-user`: only a Unix socket knows its peer's user, and this is tcp",
        ),
    ] {
        let said = both(&[url], stdin);
        assert_eq!(said.code, Some(2), "{url}: {}", said.err);
        assert!(said.err.contains(piece), "{url}: {}", said.err);
    }
    let said = both(&["echo+fd://0", "chat+fd://0"], tcp);
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(
        said.err
            .contains("descriptor 0 is that of `echo+fd://0` already"),
        "{}",
        said.err
    );
}

#[test]
fn check_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let stale = dir.path().join("stale.sock");
    drop(UnixListener::bind(&stale).unwrap());
    let inode = || fs::symlink_metadata(&stale).unwrap().ino();
    let before = inode();
    let urls =
        ["stale", "new"].map(|name| format!("echo+unix://{}/{name}.sock", dir.path().display()));
    let private = format!(
        "command+unix://{}/onepoll/command.sock",
        dir.path().display()
    );
    let ask = || {
        let mut command = onepoll(dir.path());
        finish(command.arg("check").args(&urls).arg(&private))
    };
    // A child that another test is just starting has a copy of the listener until it execs.
    let said = (0..100).map(|_| ask()).find(|said| said.code == Some(0));
    assert!(said.is_some(), "{}", ask().err);
    assert_eq!(names_in(dir.path()), ["stale.sock"]);
    assert_eq!(inode(), before, "it is the same file");
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<String> = entries.map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names
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
        said.err
            .contains("`echo://127.0.0.1:65000` has that place already"),
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
