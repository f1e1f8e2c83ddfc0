//! `onepoll launch`: what `serve` starts where a command is to run within something. It does what its order says, and
//! then becomes the command.
//!
//! The order comes through descriptor 3, a file without a name that the server has open as well. What cannot be done is
//! written back there, and the command is not run: no command has that descriptor, so none can say so in our name. With
//! `--try` the order comes through standard input, everything is done that would be, and nothing is run.
//!
//! The order of steps is that in which each can still be done: what takes rights comes before they are given up.

use std::convert::Infallible;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use nix::sys::prctl::set_no_new_privs;
use nix::unistd::{User, geteuid};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::cgroup::{self, Cgroup};
use super::identity::Identity;
use super::tether::end_with;
use super::{Failure, Outcome};
use crate::config::Confinement;
use crate::reactor::close_on_exec;
use crate::turn::{ERRNO, Order, REFUSAL};

/// The one that `serve` starts; nobody else has a use for it
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Do what would be done, and run nothing
    #[arg(long = "try")]
    is_trial: bool,

    /// Of a trial: the user who would serve
    #[arg(long, requires = "is_trial")]
    user: Option<String>,

    /// Of a trial: that user's group
    #[arg(long, requires = "is_trial")]
    group: Option<String>,
}

/// Runs it.
pub(super) fn run(args: Args) -> Outcome {
    if args.is_trial {
        let order: Order = serde_json::from_reader(io::stdin().lock()).context("no order")?;
        if let Some(server) = Identity::find(args.user.as_deref(), args.group.as_deref())? {
            server.assume()?;
        }
        let user = prepare(&order)?;
        if order.program.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        let Err(failure) = become_command(&order, user);
        return Err(failure.into());
    }
    let order = OpenOptions::new().read(true).write(true).open(ORDER);
    let mut order = order.context("no order: this is what `serve` starts commands with")?;
    let Err(failure) = carry_out(&mut order);
    // Not to standard error, which is the command's.
    report(&mut order, &failure).context("the reason cannot be told")?;
    Ok(ExitCode::FAILURE)
}

/// Where the order is.
const ORDER: &str = "/proc/self/fd/3";

fn carry_out(file: &mut File) -> anyhow::Result<Infallible> {
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let order: Order = serde_json::from_slice(&text)?;
    let user = prepare(&order)?;
    become_command(&order, user)
}

fn become_command(order: &Order, user: Option<Variables>) -> anyhow::Result<Infallible> {
    let word = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let (name, arguments) = order.arguments.split_first().context("no arguments")?;
    let variables = order.environment.iter().filter_map(|variable| {
        let at = variable.iter().position(|&byte| byte == b'=')?;
        Some((word(&variable[..at]), word(&variable[at + 1..])))
    });
    // It resets SIGPIPE, which the runtime of this program ignores, and blocks nothing (fault F17).
    let error = Command::new(OsStr::from_bytes(&order.program))
        .arg0(OsStr::from_bytes(name))
        .args(arguments.iter().map(|argument| word(argument)))
        .env_clear()
        .envs(variables)
        .envs(user.into_iter().flatten())
        .exec();
    Err(error.into())
}

/// Says why the command is not run.
fn report(file: &mut File, failure: &anyhow::Error) -> io::Result<()> {
    let errno = failure
        .downcast_ref::<io::Error>()
        .and_then(io::Error::raw_os_error);
    let text = match errno {
        // The command's file itself: as it is said of one that is started without us.
        Some(errno) if failure.chain().count() == 1 => format!("{ERRNO}{errno}"),
        _ => format!("{failure:#}"),
    };
    let text = [&[REFUSAL], text.as_bytes()].concat();
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&text)
}

/// Variables that say which user it is: the server's would lead to the home of another.
type Variables = [(&'static str, OsString); 3];

/// Everything between the server and the command. Says who the user of the command is, if one was asked for.
fn prepare(order: &Order) -> anyhow::Result<Option<Variables>> {
    let Order { confinement, .. } = order;
    if let Some(directory) = &confinement.cgroup {
        cgroup::check(directory).context("cgroup")?;
        let (pids, memory) = (confinement.cgroup_pids, confinement.cgroup_memory);
        let cgroup = Cgroup::of(directory, &order.mark);
        cgroup.enter(pids, memory).context("cgroup")?;
    }
    limit(confinement)?;
    close_on_exec().context("descriptors")?;
    go_to(order)?;
    let user = become_user(confinement)?;
    // A directory that a client chose must be one that the user could have gone to.
    if user.is_some() {
        go_to(order)?;
    }
    if confinement.processes.is_some() && geteuid().is_root() {
        bail!("limit-nproc: the kernel does not hold root to it; add `run-as`");
    }
    if confinement.no_new_privs || confinement.confines_files() {
        set_no_new_privs().context("no-new-privs")?;
    }
    if confinement.confines_files() {
        confine_files(confinement)?;
    }
    end_with(order.server)?;
    Ok(user)
}

fn go_to(order: &Order) -> anyhow::Result<()> {
    let Some(directory) = &order.directory else {
        return Ok(());
    };
    let place = directory.display();
    env::set_current_dir(directory).with_context(|| format!("cwd: {place}"))
}

/// Hard limits too, so that nothing raises them again. One that is stricter already stays.
fn limit(confinement: &Confinement) -> anyhow::Result<()> {
    let limits = [
        ("limit-nproc", Resource::Nproc, confinement.processes),
        ("limit-memory", Resource::As, confinement.memory),
        (
            "limit-cpu",
            Resource::Cpu,
            confinement.cpu.map(|time| time.as_secs()),
        ),
        ("limit-files", Resource::Nofile, confinement.files),
        ("limit-file-size", Resource::Fsize, confinement.file_size),
    ];
    for (option, resource, limit) in limits {
        let Some(limit) = limit else {
            continue;
        };
        let hard = getrlimit(resource)
            .maximum
            .map_or(limit, |hard| hard.min(limit));
        let wanted = Rlimit {
            current: Some(hard),
            maximum: Some(hard),
        };
        setrlimit(resource, wanted).with_context(|| format!("{option}: {limit}"))?;
    }
    Ok(())
}

fn become_user(confinement: &Confinement) -> anyhow::Result<Option<Variables>> {
    let Some(wanted) = &confinement.user else {
        return Ok(None);
    };
    let (user, group) = match wanted.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (wanted.as_str(), None),
    };
    let identity = Identity::find(Some(user), group).map_err(|failure| match failure {
        Failure::Run(error) => error,
        other => anyhow::anyhow!("{other}"),
    });
    if let Some(identity) = identity.context("run-as")? {
        identity.assume().context("run-as")?;
    }
    let (name, home) = match User::from_uid(geteuid()).context("run-as")? {
        Some(user) => (OsString::from(user.name), user.dir.into_os_string()),
        // A number that has no name, and no place of its own.
        None => (geteuid().to_string().into(), "/".into()),
    };
    Ok(Some([
        ("HOME", home),
        ("LOGNAME", name.clone()),
        ("USER", name),
    ]))
}

#[cfg(feature = "landlock")]
fn confine_files(confinement: &Confinement) -> anyhow::Result<()> {
    super::landlock::confine(&confinement.readable, &confinement.writable).context("landlock")
}

#[cfg(not(feature = "landlock"))]
fn confine_files(_: &Confinement) -> anyhow::Result<()> {
    bail!("landlock: this program was built without it")
}
