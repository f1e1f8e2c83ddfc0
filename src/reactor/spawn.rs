//! How a command is started, and what it inherits.
//!
//! A new program inherits what its parent is (execve(2), credentials(7)). What the server changed
//! for itself, or was itself handed by accident, is put back:
//!
//! | what | of a command |
//! | --- | --- |
//! | program, arguments | `/bin/sh -c -- LINE` |
//! | environment | `PATH` of our choice and the names of [`ENVIRONMENT`] (fault F15) |
//! | descriptors | 0 is `/dev/null`, 1 and 2 are pipes; every other one is close-on-exec (fault F16) |
//! | soft limit on descriptors | as the server's was when it was started: programs that use select(2) break above 1024 |
//! | signals that are ignored | none (fault F17). glibc keeps 32 and 33 for itself and leaves them ignored; it sets both before it uses them |
//! | signals that are blocked | none |
//! | session, process group | its own, so that it has no controlling terminal, and one signal reaches all of it |
//! | working directory | the server's; `/` once that has been removed |
//! | user, groups, capabilities, umask, nice value, OOM score, other limits, namespaces | the server's, which changes none of them but, where it is told to, its user and groups before it serves |
//!
//! A helper of the server's own is this program once more. It is started the same way, and has the whole
//! environment but for what a supervisor told this process alone ([`OF_THIS_PROCESS`]).

use std::env;
use std::ffi::{CStr, CString, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::spawn::{
    PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags as Flags, posix_spawn as spawn_by_path,
};
use nix::sys::signal::SigSet;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Resource, Rlimit, chdir, getcwd, getrlimit, setrlimit};

const SHELL: &CStr = c"/bin/sh";

/// Where commands find programs. Not ours: what starts the server must not decide what its
/// clients run.
const PATH: &CStr = c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What commands have of our environment; everything else may be a secret, or `LD_PRELOAD`
/// (fault F15).
const ENVIRONMENT: [&str; 8] = [
    "HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "TMPDIR", "TZ", "USER",
];

/// What systemd tells a process about itself (sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3)). A
/// child has other descriptors, and must not speak to the supervisor in our name.
const OF_THIS_PROCESS: [&str; 7] = [
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// This program, also when its file has been replaced or removed since it began: a helper must be the same
/// version, since the two share a format.
const OURSELVES: &CStr = c"/proc/self/exe";

/// posix_spawn(3): a session of its own. The kernel's headers number it, nix does not name it.
const POSIX_SPAWN_SETSID: i32 = 0x80;

/// Starts commands by posix_spawn(3), which shares our memory with the child until it has become
/// another program: fork(2) would copy our page tables, with the loop stopped meanwhile.
#[derive(Debug)]
pub(super) struct Spawner {
    environment: Vec<CString>,
    attributes: PosixSpawnAttr,
    soft_descriptors: Option<SoftLimit>,
}

/// A command that was just started: its number and our ends of its outputs, which do not block.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) pid: Pid,
    pub(super) out: OwnedFd,
    pub(super) err: OwnedFd,
}

/// A soft limit on descriptors; `None` within it: there is none.
#[derive(Debug, Clone, Copy)]
struct SoftLimit(Option<u64>);

impl Spawner {
    pub(super) fn new() -> io::Result<Spawner> {
        let mut attributes = PosixSpawnAttr::init()?;
        attributes.set_sigdefault(&SigSet::all())?;
        attributes.set_sigmask(&SigSet::empty())?;
        attributes.set_flags(
            Flags::POSIX_SPAWN_SETSIGDEF
                | Flags::POSIX_SPAWN_SETSIGMASK
                | Flags::from_bits_retain(POSIX_SPAWN_SETSID),
        )?;
        Ok(Spawner {
            environment: environment(),
            attributes,
            soft_descriptors: None,
        })
    }

    /// Commands get this soft limit on descriptors instead of ours, which was raised.
    pub(super) fn soft_descriptors(&mut self, limit: Option<u64>) {
        self.soft_descriptors = Some(SoftLimit(limit));
    }

    /// Starts a command.
    pub(super) fn start(&self, line: &[u8]) -> io::Result<Started> {
        let line = without_nul(line)?;
        // Without `--` a line that begins with `-` would be an option of the shell's.
        let arguments = [SHELL, c"-c", c"--", &line];
        let null = null()?;
        self.start_program(SHELL, &arguments, &self.environment, null.as_fd())
    }

    /// Starts this program once more.
    pub(super) fn start_helper(&self, arguments: &[OsString]) -> io::Result<Started> {
        let null = null()?;
        self.start_ourselves(arguments, null.as_fd(), &environment_of_helpers())
    }

    fn start_ourselves(
        &self,
        arguments: &[OsString],
        input: BorrowedFd<'_>,
        environment: &[CString],
    ) -> io::Result<Started> {
        let mut all = vec![c"onepoll".to_owned()];
        for argument in arguments {
            all.push(without_nul(argument.as_bytes())?);
        }
        let all: Vec<&CStr> = all.iter().map(CString::as_c_str).collect();
        self.start_program(OURSELVES, &all, environment, input)
    }

    /// Starts this program once more, to read what comes through `input`. It has no more of the environment
    /// than commands have.
    pub(super) fn start_writer(
        &self,
        arguments: &[OsString],
        input: &OwnedFd,
    ) -> io::Result<Started> {
        self.start_ourselves(arguments, input.as_fd(), &self.environment)
    }

    fn start_program(
        &self,
        program: &CStr,
        arguments: &[&CStr],
        environment: &[CString],
        input: BorrowedFd<'_>,
    ) -> io::Result<Started> {
        stay_somewhere()?;
        let (out, its_out) = pipe_with(PipeFlags::CLOEXEC)?;
        let (err, its_err) = pipe_with(PipeFlags::CLOEXEC)?;
        ioctl_fionbio(&out, true)?;
        ioctl_fionbio(&err, true)?;
        // Before the limit is lowered: numbers above it would be refused here, and are not in
        // the child, which only copies them.
        let mut actions = PosixSpawnFileActions::init()?;
        for (ours, its) in [(input, 0), (its_out.as_fd(), 1), (its_err.as_fd(), 2)] {
            actions.add_dup2(ours.as_raw_fd(), its)?;
        }
        let lowered = self.soft_descriptors.map(Lowered::to).transpose()?;
        let pid = spawn_by_path(program, &actions, &self.attributes, arguments, environment);
        drop(lowered);
        let pid = Pid::from_raw(pid?.as_raw()).ok_or(io::ErrorKind::NotFound)?;
        Ok(Started { pid, out, err })
    }
}

fn null() -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(open("/dev/null", flags, Mode::empty())?)
}

fn without_nul(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a NUL byte in a command"))
}

fn environment_of_helpers() -> Vec<CString> {
    let kept = env::vars_os().filter(|(name, _)| !OF_THIS_PROCESS.iter().any(|own| name == own));
    kept.filter_map(|(name, value)| {
        CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
    })
    .collect()
}

fn environment() -> Vec<CString> {
    let kept = ENVIRONMENT.into_iter().filter_map(|name| {
        let value = env::var_os(name)?;
        CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
    });
    std::iter::once(PATH.to_owned()).chain(kept).collect()
}

/// A working directory that was removed is left for `/`: in it a shell complains of getcwd(3)
/// before it does anything, and no relative name leads anywhere.
fn stay_somewhere() -> io::Result<()> {
    let is_gone = match getcwd(Vec::new()) {
        // Unmounted, or outside our root: "(unreachable)/…" (getcwd(3)).
        Ok(path) => !path.as_bytes().starts_with(b"/"),
        Err(error) => error == Errno::NOENT,
    };
    if is_gone {
        chdir("/")?;
        log::warn!("the working directory is gone: this server and its commands are in / now");
    }
    Ok(())
}

/// While it lives, our own soft limit on descriptors is another. One thread, which sleeps until the
/// child is another program, opens nothing meanwhile; what is open stays open.
#[derive(Debug)]
struct Lowered {
    before: Rlimit,
}

impl Lowered {
    fn to(SoftLimit(current): SoftLimit) -> io::Result<Lowered> {
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current, ..before })?;
        Ok(Lowered { before })
    }
}

impl Drop for Lowered {
    fn drop(&mut self) {
        // A soft limit up to the hard one, which stayed, cannot be refused.
        let _ = setrlimit(Resource::Nofile, self.before);
    }
}
