//! Where the private sockets of a user live, and the rules of its directory: for the server that makes it
//! and for the clients that trust what listens there.
//!
//! Here, and not with the endpoints, since clients look there too.

use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::address::UNIX_PATH_BYTES_MAX;

/// The name of the socket at which the person attaches.
const TALK: &str = "talk.sock";

/// Where the private command socket of this process' user lives: [`command_socket_of`] with
/// `$XDG_RUNTIME_DIR` and the effective user.
pub fn command_socket() -> PathBuf {
    let uid = rustix::process::geteuid().as_raw();
    command_socket_of(std::env::var_os("XDG_RUNTIME_DIR").as_deref(), uid)
}

/// Every place where a command socket of this process' user may be: [`command_socket`], and where a
/// process without `$XDG_RUNTIME_DIR`, or with it, looks.
pub fn command_sockets() -> Vec<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let mut places = vec![
        command_socket(),
        command_socket_of(Some(format!("/run/user/{uid}").as_ref()), uid),
        command_socket_of(None, uid),
    ];
    places.dedup();
    places
}

/// Where the operators of the default table's chat are: `chat.sock` beside the [command socket](command_socket).
pub fn chat_socket() -> PathBuf {
    chat_socket_beside(&command_socket())
}

/// The same beside another command socket.
pub fn chat_socket_beside(command_socket: &Path) -> PathBuf {
    command_socket.with_file_name("chat.sock")
}

/// Where the person behind a server's `talk` endpoints attaches, unless told otherwise: `talk.sock` beside the
/// [command socket](command_socket).
pub fn talk_socket() -> PathBuf {
    command_socket().with_file_name(TALK)
}

/// Whether this is the path of a socket that has its place in the private directory, which is ours to make and to
/// check.
pub fn is_private_socket(path: &Path) -> bool {
    path == command_socket() || path == chat_socket() || path == talk_socket()
}

/// Every place where such a socket may be, as [`command_sockets`] has it.
pub fn private_places() -> Vec<PathBuf> {
    let beside = |path: PathBuf| [path.with_file_name(TALK), chat_socket_beside(&path), path];
    command_sockets().into_iter().flat_map(beside).collect()
}

/// Where a server of this process' user takes requests to take its sockets over, unless told otherwise:
/// `control.sock` beside the [command socket](command_socket).
pub fn control_socket() -> PathBuf {
    command_socket().with_file_name("control.sock")
}

/// The same of a user that root becomes, in whose name it has no runtime directory.
pub fn control_socket_of(uid: u32) -> PathBuf {
    command_socket_of(None, uid).with_file_name("control.sock")
}

/// `$XDG_RUNTIME_DIR/onepoll/command.sock`; else, or where that is relative or too long for a
/// socket's address, `/tmp/onepoll-UID/command.sock`.
pub fn command_socket_of(runtime_dir: Option<&OsStr>, uid: u32) -> PathBuf {
    runtime_dir
        .map(|dir| Path::new(dir).join("onepoll/command.sock"))
        // The XDG specification: a relative path is to be ignored.
        .filter(|path| path.is_absolute() && path.as_os_str().len() <= UNIX_PATH_BYTES_MAX)
        .unwrap_or_else(|| PathBuf::from(format!("/tmp/onepoll-{uid}/command.sock")))
}

/// Makes `dir` with mode 0700 if it is not there, then checks it as [`check_private_dir`] does.
///
/// The check comes after the making, also when somebody else was faster: in a shared directory
/// that is the attack.
pub fn make_private_dir(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(wrong) if wrong.kind() != io::ErrorKind::AlreadyExists => Err(wrong),
        _ => check_private_dir(dir, rustix::process::geteuid().as_raw()),
    }
}

/// Whether `dir` is a directory (no symbolic link to one) of `uid` that nobody else can enter.
pub fn check_private_dir(dir: &Path, uid: u32) -> io::Result<()> {
    let found = dir.symlink_metadata()?;
    let mode = found.mode() & 0o7777;
    let wrong = match (found.is_dir(), found.uid()) {
        (false, _) => "it is not a directory".into(),
        (true, owner) if owner != uid => format!("it belongs to user {owner}, not {uid}"),
        _ if mode & 0o077 != 0 => format!("its mode is {mode:04o}, and only 0700 keeps others out"),
        _ => return Ok(()),
    };
    Err(not_private(dir, &wrong))
}

/// Whether nobody but `uid` can have made the socket at `path`, and nobody else can reach it: its
/// directory as [`check_private_dir`] has it, and its own owner and mode. The user that made the socket need
/// not be the one that listens: a client asks the kernel for that once it is connected (`SO_PEERCRED`).
pub fn check_private_socket(path: &Path, uid: u32) -> io::Result<()> {
    check_private_dir(path.parent().unwrap_or(Path::new("/")), uid)?;
    let found = path.symlink_metadata()?;
    let mode = found.mode() & 0o7777;
    let wrong = match (found.file_type().is_socket(), found.uid()) {
        (false, _) => "it is not a socket".into(),
        (true, owner) if owner != uid => format!("it belongs to user {owner}, not {uid}"),
        _ if mode & 0o077 != 0 => format!("its mode is {mode:04o}, and only 0600 keeps others out"),
        _ => return Ok(()),
    };
    Err(not_private(path, &wrong))
}

fn not_private(path: &Path, wrong: &str) -> io::Error {
    let path = path.display();
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("{path} is not private: {wrong}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn the_command_socket_has_a_place_without_a_runtime_directory() {
        let of = |dir: Option<&str>| command_socket_of(dir.map(OsStr::new), 7);
        assert_eq!(
            of(Some("/run/user/7")),
            Path::new("/run/user/7/onepoll/command.sock")
        );
        let fallback = Path::new("/tmp/onepoll-7/command.sock");
        for dir in [
            None,
            Some(""),
            Some("run/user/7"),
            Some(&*format!("/{}", "x".repeat(100))),
        ] {
            assert_eq!(of(dir), fallback, "{dir:?}");
        }
    }

    #[test]
    fn a_directory_that_others_can_enter_or_swap_is_not_private() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("onepoll");
        make_private_dir(&dir).unwrap();
        make_private_dir(&dir).unwrap();
        let uid = fs::metadata(&dir).unwrap().uid();
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        let said = check_private_dir(&dir, uid + 1).unwrap_err().to_string();
        assert!(said.contains("belongs to user"), "{said}");

        let link = base.path().join("link");
        symlink(&dir, &link).unwrap();
        assert!(
            make_private_dir(&link)
                .unwrap_err()
                .to_string()
                .contains("not a directory")
        );

        // Whichever bit it is that lets somebody else in.
        for bit in [0o001, 0o002, 0o004, 0o010, 0o020, 0o040] {
            let mode = 0o700 | bit;
            fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
            let said = make_private_dir(&dir).unwrap_err().to_string();
            assert!(said.contains(&format!("{mode:04o}")), "{said}");
        }
    }

    #[test]
    fn a_socket_that_others_can_reach_or_make_is_not_private() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("onepoll");
        let path = dir.join("command.sock");
        let uid = fs::metadata(base.path()).unwrap().uid();
        let said = |uid| check_private_socket(&path, uid).unwrap_err().to_string();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        make_private_dir(&dir).unwrap();
        let missing = check_private_socket(&path, uid).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        fs::write(&path, "").unwrap();
        assert!(said(uid).contains("not a socket"));
        fs::remove_file(&path).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        for bit in [0o001, 0o002, 0o004, 0o010, 0o020, 0o040] {
            mode(&path, 0o600 | bit);
            let wrong = format!("its mode is {:04o}", 0o600 | bit);
            assert!(said(uid).contains(&wrong), "{}", said(uid));
        }
        mode(&path, 0o600);
        check_private_socket(&path, uid).unwrap();
        assert!(said(uid + 1).contains("belongs to user"));
        mode(&dir, 0o711);
        assert!(said(uid).contains("0711"));
    }

    #[test]
    fn the_control_socket_is_beside_the_command_socket_and_its_path_fits_as_well() {
        assert_eq!(control_socket().parent(), command_socket().parent());
        assert_eq!(
            control_socket().as_os_str().len(),
            command_socket().as_os_str().len()
        );
    }

    #[test]
    fn the_person_attaches_beside_the_command_socket_wherever_that_is() {
        assert_eq!(talk_socket().parent(), command_socket().parent());
        let places = private_places();
        assert_eq!(places.len(), 3 * command_sockets().len());
        for socket in [talk_socket(), command_socket(), chat_socket()] {
            assert!(is_private_socket(&socket) && places.contains(&socket));
        }
        assert!(!is_private_socket(&control_socket()));
    }

    #[test]
    fn each_place_of_a_command_socket_is_known_once() {
        let places = command_sockets();
        assert_eq!(places[0], command_socket());
        let uid = rustix::process::geteuid().as_raw();
        assert!(places.contains(&command_socket_of(None, uid)));
        assert!((2..=3).contains(&places.len()), "{places:?}");
    }
}
