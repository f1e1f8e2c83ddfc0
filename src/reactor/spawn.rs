//! How a command is started, and what it inherits.
//!
//! A new program inherits what its parent is (execve(2), credentials(7)). What the server changed
//! for itself, or was itself handed by accident, is put back:
//!
//! | what | of a command |
//! | --- | --- |
//! | program, arguments | `/bin/sh -c -- LINE`, or a program of that `PATH` and its arguments |
//! | environment | `PATH` of our choice and the names of [`ENVIRONMENT`] (fault F15), what the job adds, and the mark of the command |
//! | descriptors | 0 is `/dev/null` or a pipe, 1 and 2 are pipes; every other one is close-on-exec (fault F16) |
//! | soft limit on descriptors | as the server's was when it was started: programs that use select(2) break above 1024 |
//! | signals that are ignored | none (fault F17). glibc keeps 32 and 33 for itself and leaves them ignored; it sets both before it uses them |
//! | signals that are blocked | none |
//! | session, process group | its own, so that it has no controlling terminal, and one signal reaches all of it |
//! | working directory | that of the job, or the server's; `/` once that has been removed |
//! | user, groups, capabilities, umask, nice value, OOM score, other limits, namespaces | the server's, which changes none of them but, where it is told to, its user and groups before it serves |
//!
//! A helper of the server's own is this program once more. It is started the same way, and has the whole
//! environment but for what a supervisor told this process alone ([`OF_THIS_PROCESS`]).

use std::env;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::spawn::{
    PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags as Flags, posix_spawn as spawn_by_path,
};
use nix::sys::signal::SigSet;
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, accessat, open, stat};
use rustix::io::{Errno, fcntl_dupfd_cloexec, ioctl_fionbio};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Resource, Rlimit, chdir, fchdir, getcwd, getrlimit, setrlimit};
use thiserror::Error;

use super::launching::{ORDER_DESCRIPTOR, file_of, written};
use crate::turn::{Errand, Job, Order};

const SHELL: &CStr = c"/bin/sh";

/// Where commands find programs. Not ours: what starts the server must not decide what its
/// clients run.
const PATH: &CStr = c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where programs are looked for, as the shell looks for them with that.
const DIRECTORIES: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

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
    /// This program, for what is not a command.
    program: CString,
    environment: Vec<CString>,
    attributes: PosixSpawnAttr,
    soft_descriptors: Option<SoftLimit>,
}

/// A command that was just started: its number and our ends of its pipes, which do not block.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) pid: Pid,
    pub(super) out: OwnedFd,
    pub(super) err: OwnedFd,
    pub(super) input: Option<OwnedFd>,
    /// What its launcher was told, if it has one.
    pub(super) order: Option<OwnedFd>,
}

/// What is started.
#[derive(Debug)]
struct Program<'a> {
    path: &'a CStr,
    arguments: &'a [&'a CStr],
    environment: &'a [&'a CStr],
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
            program: OURSELVES.to_owned(),
            environment: environment(),
            attributes,
            soft_descriptors: None,
        })
    }

    /// Commands get this soft limit on descriptors instead of ours, which was raised.
    pub(super) fn soft_descriptors(&mut self, limit: Option<u64>) {
        self.soft_descriptors = Some(SoftLimit(limit));
    }

    /// The program that is started for what is not a command.
    pub(super) fn program(&mut self, path: &Path) -> io::Result<()> {
        self.program = without_nul(path.as_os_str().as_bytes())?;
        Ok(())
    }

    /// Starts a command.
    pub(super) fn start(&self, job: &Job, mark: &str) -> io::Result<Started> {
        let line = without_nul(&job.line)?;
        let words = all_without_nul(job.program.iter().flatten())?;
        let added = all_without_nul(&job.environment)?;
        let marked = marked(mark)?;
        let words: Vec<&CStr> = words.iter().map(CString::as_c_str).collect();
        stay_somewhere()?;
        // Before programs are looked for: a path may begin where the command runs. A launcher goes there itself.
        let here = job
            .directory
            .as_deref()
            .filter(|_| job.confinement.is_none());
        let elsewhere = here.map(Elsewhere::to).transpose()?;
        let path = words.first().map(|name| find(name)).transpose()?;
        let (path, arguments) = match &path {
            Some(path) => (path.as_c_str(), &words[..]),
            // Without `--` a line that begins with `-` would be an option of the shell's.
            None => (SHELL, &[SHELL, c"-c", c"--", &line][..]),
        };
        // First, so that whoever looks for it need not read on.
        let mut environment = vec![marked.as_c_str()];
        environment.extend(with(&self.environment, &added));
        let (input, feed) = if job.has_input {
            let (input, feed) = pipe_with(PipeFlags::CLOEXEC)?;
            ioctl_fionbio(&feed, true)?;
            (input, Some(feed))
        } else {
            (null()?, None)
        };
        let program = Program {
            path,
            arguments,
            environment: &environment,
        };
        let started = match &job.confinement {
            None => self.start_program(&program, input.as_fd(), &[]),
            Some(confinement) => {
                let order = Order {
                    server: std::process::id(),
                    mark: mark.to_owned(),
                    program: path.to_bytes().to_vec(),
                    arguments: all_bytes(arguments),
                    environment: all_bytes(&environment),
                    directory: job
                        .directory
                        .as_deref()
                        .map(|path| OsStr::from_bytes(path).into()),
                    confinement: (**confinement).clone(),
                };
                self.launch(&order, &marked, input.as_fd())
            }
        };
        drop(elsewhere);
        let started = started?;
        Ok(Started {
            input: feed,
            ..started
        })
    }

    /// Starts this program once more, to become the command when everything is done that was ordered. Of its
    /// environment it has the mark alone: a client's variables must not reach a program with the server's rights.
    fn launch(&self, order: &Order, marked: &CStr, input: BorrowedFd<'_>) -> io::Result<Started> {
        let file = written(order)?;
        let launcher = Program {
            path: &self.program,
            arguments: &[c"onepoll", c"launch"],
            environment: &[marked],
        };
        let started = self.start_program(&launcher, input, &[file.as_fd()])?;
        Ok(Started {
            order: Some(file),
            ..started
        })
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
        let all = behind_our_name(arguments)?;
        let all: Vec<&CStr> = all.iter().map(CString::as_c_str).collect();
        stay_somewhere()?;
        let program = Program {
            path: &self.program,
            arguments: &all,
            environment: &with(environment, &[]),
        };
        self.start_program(&program, input, &[])
    }

    /// Starts this program once more, to do this. Its environment is that of commands: it needs none.
    pub(super) fn start_errand(&self, errand: &Errand) -> io::Result<Started> {
        let order = file_of(&errand.order)?;
        let first = ORDER_DESCRIPTOR + i32::try_from(errand.files.len()).unwrap_or(i32::MAX / 2);
        // None may have a number that another gets in the child before it is copied there.
        let copies = errand
            .files
            .iter()
            .map(|file| fcntl_dupfd_cloexec(file, first))
            .collect::<Result<Vec<OwnedFd>, _>>()?;
        let files: Vec<BorrowedFd<'_>> = copies.iter().map(OwnedFd::as_fd).collect();
        let environment = with(&self.environment, &[]);
        let program = Program {
            path: &self.program,
            arguments: &[c"onepoll", c"errand"],
            environment: &environment,
        };
        self.start_program(&program, order.as_fd(), &files)
    }

    /// Starts this program once more, to read what comes through `input`: the writer, the keeper. It has no more of the environment
    /// than commands have.
    pub(super) fn start_writer(
        &self,
        arguments: &[OsString],
        input: &OwnedFd,
    ) -> io::Result<Started> {
        self.start_ourselves(arguments, input.as_fd(), &self.environment)
    }

    /// Starts this program once more, with this as its standard input, our standard output and error, and the whole
    /// environment but for what a supervisor told this process alone.
    pub(super) fn start_companion(
        &self,
        arguments: &[OsString],
        input: &OwnedFd,
    ) -> io::Result<Pid> {
        let all = behind_our_name(arguments)?;
        let all: Vec<&CStr> = all.iter().map(CString::as_c_str).collect();
        stay_somewhere()?;
        let mut actions = PosixSpawnFileActions::init()?;
        actions.add_dup2(input.as_raw_fd(), 0)?;
        let lowered = self.lowered()?;
        let environment = environment_of_helpers();
        let environment = with(&environment, &[]);
        let (program, attributes) = (&self.program, &self.attributes);
        let pid = spawn_by_path(program.as_c_str(), &actions, attributes, &all, &environment);
        drop(lowered);
        Ok(Pid::from_raw(pid?.as_raw()).ok_or(io::ErrorKind::NotFound)?)
    }

    /// The limit on descriptors as commands have it, until this is dropped.
    fn lowered(&self) -> io::Result<Option<Lowered>> {
        Ok(self
            .soft_descriptors
            .map(Lowered::to)
            .transpose()?
            .flatten())
    }

    fn start_program(
        &self,
        program: &Program<'_>,
        input: BorrowedFd<'_>,
        files: &[BorrowedFd<'_>],
    ) -> io::Result<Started> {
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
        // Last: whatever is number 3 here has been copied by then. Of several, none is among the numbers that they get.
        for (file, its) in files.iter().zip(ORDER_DESCRIPTOR..) {
            actions.add_dup2(file.as_raw_fd(), its)?;
        }
        let lowered = self.lowered()?;
        let pid = spawn_by_path(
            program.path,
            &actions,
            &self.attributes,
            program.arguments,
            program.environment,
        );
        drop(lowered);
        let pid = Pid::from_raw(pid?.as_raw()).ok_or(io::ErrorKind::NotFound)?;
        Ok(Started {
            pid,
            out,
            err,
            input: None,
            order: None,
        })
    }
}

fn null() -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(open("/dev/null", flags, Mode::empty())?)
}

/// The arguments of this program, with its name before them.
fn behind_our_name(arguments: &[OsString]) -> io::Result<Vec<CString>> {
    let mut all = vec![c"onepoll".to_owned()];
    for argument in arguments {
        all.push(without_nul(argument.as_bytes())?);
    }
    Ok(all)
}

fn without_nul(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a NUL byte in a command"))
}

fn all_without_nul<'a>(all: impl IntoIterator<Item = &'a Vec<u8>>) -> io::Result<Vec<CString>> {
    all.into_iter().map(|bytes| without_nul(bytes)).collect()
}

/// What tells whose command a process is, whatever it does to its session (fault F4).
fn marked(mark: &str) -> io::Result<CString> {
    without_nul(format!("ONEPOLL_COMMAND={mark}").as_bytes())
}

fn all_bytes(all: &[&CStr]) -> Vec<Vec<u8>> {
    all.iter().map(|one| one.to_bytes().to_vec()).collect()
}

/// Variables, and others that take the place of those of the same name.
fn with<'a>(environment: &'a [CString], added: &'a [CString]) -> Vec<&'a CStr> {
    let is_replaced = |one: &CString| added.iter().any(|other| name_of(other) == name_of(one));
    let kept = environment.iter().filter(|one| !is_replaced(one));
    kept.chain(added).map(CString::as_c_str).collect()
}

fn name_of(variable: &CString) -> &[u8] {
    let bytes = variable.as_bytes();
    &bytes[..bytes.iter().position(|&b| b == b'=').unwrap_or(bytes.len())]
}

/// The file of a program, as execvp(3) finds it: a name with a slash is a path already.
fn find(name: &CStr) -> io::Result<CString> {
    if name.to_bytes().contains(&b'/') {
        return Ok(name.to_owned());
    }
    let mut trouble = Errno::NOENT;
    for directory in DIRECTORIES {
        let path = [directory.as_bytes(), b"/", name.to_bytes()].concat();
        let path = without_nul(&path)?;
        if name.is_empty() || !stat(&path).is_ok_and(|file| is_file(file.st_mode)) {
            continue;
        }
        match accessat(CWD, &path, Access::EXEC_OK, AtFlags::EACCESS) {
            Ok(()) => return Ok(path),
            Err(error) => trouble = error,
        }
    }
    Err(trouble.into())
}

fn is_file(mode: u32) -> bool {
    FileType::from_raw_mode(mode) == FileType::RegularFile
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

/// While it lives, this process is in another directory: posix_spawn(3) has no portable way to have the child go
/// there. One thread, which sleeps until the child is another program, looks up no relative name meanwhile.
#[derive(Debug)]
struct Elsewhere {
    before: OwnedFd,
}

impl Elsewhere {
    fn to(directory: &[u8]) -> io::Result<Elsewhere> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let before = open(".", flags, Mode::empty())?;
        chdir(directory).map_err(|errno| {
            let wrong = WrongDirectory {
                place: String::from_utf8_lossy(directory).into_owned(),
                cause: errno.into(),
            };
            io::Error::new(wrong.cause.kind(), wrong)
        })?;
        Ok(Elsewhere { before })
    }
}

/// A command cannot run where it is to run. Said as a launcher says it.
#[derive(Debug, Error)]
#[error("cwd: {}: {cause}", place.escape_debug())]
struct WrongDirectory {
    place: String,
    #[source]
    cause: io::Error,
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        if let Err(error) = fchdir(&self.before) {
            // It may not be entered any more. Somewhere that no client chose.
            let root = chdir("/");
            log::warn!(error:%, root:?; "the working directory cannot be entered again: this server is in / now");
        }
    }
}

/// While it lives, our own soft limit on descriptors is another. One thread, which sleeps until the
/// child is another program, opens nothing meanwhile; what is open stays open.
#[derive(Debug)]
struct Lowered {
    before: Rlimit,
}

impl Lowered {
    /// None: our own limit is this one already.
    fn to(SoftLimit(current): SoftLimit) -> io::Result<Option<Lowered>> {
        let before = getrlimit(Resource::Nofile);
        if before.current == current {
            return Ok(None);
        }
        setrlimit(Resource::Nofile, Rlimit { current, ..before })?;
        Ok(Some(Lowered { before }))
    }
}

impl Drop for Lowered {
    fn drop(&mut self) {
        // A soft limit up to the hard one, which stayed, cannot be refused.
        let _ = setrlimit(Resource::Nofile, self.before);
    }
}
