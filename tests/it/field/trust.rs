//! A client checks the server that it finds by itself.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::geteuid;

use super::{Said, onepoll, run};
use crate::support::program::Group;
use crate::support::server::Served;

/// Users that no machine has; a home of their own under /tmp is theirs for as long as a test runs.
const VICTIM: u32 = 1_900_000_101;
const OTHER: u32 = 1_900_000_102;

/// Whether other users can be tried; says so if not.
fn is_root(test: &str) -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        let _ = writeln!(
            std::io::stderr(),
            "skipped: {test}: only root can become another user"
        );
    }
    is_root
}

/// A directory that is removed however a test ends.
struct Dir(PathBuf);

impl Dir {
    fn new(path: PathBuf, owner: u32, mode: u32) -> Self {
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        chown(&path, Some(owner), Some(owner)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A command server of this user, which takes commands from everybody.
fn rogue(uid: u32, path: &Path) -> Served {
    let path = path.display();
    let url = format!("command+unix://{path}?mode=0666&any-user=true&auth=none");
    Served::by(onepoll(["serve", &url]).uid(uid).gid(uid)).unwrap()
}

/// `onepoll exec` without an address, as this user.
fn exec(uid: u32, runtime_dir: Option<&Path>) -> Command {
    let mut command = onepoll(["exec", "--", "echo", "believed"]);
    command.uid(uid).gid(uid).env_remove("XDG_RUNTIME_DIR");
    if let Some(dir) = runtime_dir {
        command.env("XDG_RUNTIME_DIR", dir);
    }
    command
}

fn refused(said: &Said, why: &str) {
    assert_eq!((said.code, said.out.as_str()), (Some(255), ""), "{said:?}");
    assert!(
        said.err.contains("is not trusted, and nothing was sent"),
        "{said:?}"
    );
    assert!(said.err.contains(why), "{said:?}");
}

#[test]
fn a_directory_that_another_user_made_first_is_not_trusted() {
    if !is_root("another user's directory in /tmp") {
        return;
    }
    let place = PathBuf::from(format!("/tmp/onepoll-{VICTIM}"));
    let dir = Dir::new(place, OTHER, 0o755);
    let path = dir.0.join("command.sock");
    let _rogue = rogue(OTHER, &path);
    let why = format!("belongs to user {OTHER}, not {VICTIM}");
    refused(&run(&mut exec(VICTIM, None)), &why);
    // Named in full it is the same place, whether a runtime directory is set or not.
    let mut named = onepoll(["exec", path.to_str().unwrap(), "--", "echo", "believed"]);
    named
        .uid(VICTIM)
        .gid(VICTIM)
        .env("XDG_RUNTIME_DIR", "/run/user/0");
    refused(&run(&mut named), &why);
    // Nor is it measured.
    let url = format!("unix://{}", path.display());
    let bench = ["bench", "exec", &url, "-d", "50ms"];
    let mut bench = onepoll(bench);
    bench.uid(VICTIM).gid(VICTIM);
    let said = run(&mut bench);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    assert!(said.err.contains(&why), "{said:?}");
}

#[test]
fn a_runtime_directory_of_another_user_is_not_trusted() {
    if !is_root("another user's runtime directory") {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    fs::set_permissions(base.path(), Permissions::from_mode(0o755)).unwrap();
    let dir = Dir::new(base.path().join("onepoll"), OTHER, 0o755);
    let _rogue = rogue(OTHER, &dir.0.join("command.sock"));
    // Root, as with `sudo -E`, has no more reason to trust it.
    for uid in [VICTIM, 0] {
        let said = run(&mut exec(uid, Some(base.path())));
        refused(&said, &format!("belongs to user {OTHER}, not {uid}"));
    }
}

#[test]
fn a_socket_that_another_user_listens_on_is_not_trusted() {
    if !is_root("another user's server") {
        return;
    }
    // Directory and file say that they are the victim's own; the kernel knows who listens.
    let base = tempfile::tempdir().unwrap();
    fs::set_permissions(base.path(), Permissions::from_mode(0o755)).unwrap();
    let dir = Dir::new(base.path().join("onepoll"), OTHER, 0o755);
    let path = dir.0.join("command.sock");
    let _rogue = rogue(OTHER, &path);
    for (place, mode) in [(&path, 0o600), (&dir.0, 0o700)] {
        chown(place, Some(VICTIM), Some(VICTIM)).unwrap();
        fs::set_permissions(place, Permissions::from_mode(mode)).unwrap();
    }
    let said = run(&mut exec(VICTIM, Some(base.path())));
    refused(
        &said,
        &format!("the server there is user {OTHER}'s, not {VICTIM}'s"),
    );
}

#[test]
fn a_private_place_that_others_can_enter_is_not_trusted() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("onepoll");
    fs::create_dir(&dir).unwrap();
    let path = dir.join("command.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let said = || {
        let mut exec = onepoll(["exec", "--", "true"]);
        run(exec.env("XDG_RUNTIME_DIR", base.path()))
    };
    mode(&path, 0o600);
    mode(&dir, 0o750);
    refused(&said(), "its mode is 0750");
    mode(&dir, 0o700);
    mode(&path, 0o660);
    refused(&said(), "its mode is 0660");
}

#[test]
fn a_server_of_ones_own_is_trusted() {
    if !is_root("one's own server as another user") {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let runtime = Dir::new(base.path().join("runtime"), VICTIM, 0o700);
    fs::set_permissions(base.path(), Permissions::from_mode(0o755)).unwrap();
    let dir = Dir::new(runtime.0.join("onepoll"), VICTIM, 0o700);
    let path = dir.0.join("command.sock");
    let _server = rogue(VICTIM, &path);
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let said = run(&mut exec(VICTIM, Some(&runtime.0)));
    assert_eq!(
        (said.code, said.out.as_str(), said.err.as_str()),
        (Some(0), "believed\n", "")
    );
}

/// `onepoll serve` with a socket on standard input, once it is ready.
fn serves_inherited(listener: UnixListener, endpoint: &str) -> Group {
    let mut command = onepoll(["serve", endpoint]);
    command
        .stdin(OwnedFd::from(listener))
        .stderr(Stdio::piped());
    let mut server = Group::spawn(&mut command).unwrap();
    let said = BufReader::new(server.0.stderr.take().expect("it was asked for"));
    let mut lines = said.lines().map_while(Result::ok);
    assert!(
        lines.any(|line| line.ends_with("ready")),
        "it does not serve"
    );
    server
}

/// Whoever opened it, and whatever its file lets in: the mode of the file is not what keeps others out.
#[test]
fn an_inherited_unix_socket_serves_its_user_alone_unless_told_otherwise() {
    if !is_root("another user at an inherited socket") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    for (endpoint, is_let_in) in [
        ("command+fd://0?framing=json", false),
        ("command+fd://0?framing=json&any-user=true&auth=none", true),
    ] {
        let path = dir.path().join("c.sock");
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        let _server = serves_inherited(listener, endpoint);
        let exec = |uid: u32| {
            let mut command = onepoll(["exec", path.to_str().unwrap(), "--", "echo", "ran"]);
            run(command.uid(uid).gid(uid))
        };
        assert_eq!(exec(0).out, "ran\n", "root serves root");
        let other = exec(OTHER);
        assert_eq!(other.out == "ran\n", is_let_in, "{endpoint}: {other:?}");
        let refusal = "this socket is another user's";
        assert_eq!(other.err.contains(refusal), !is_let_in, "{other:?}");
    }
}
