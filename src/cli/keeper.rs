//! `onepoll keeper`: what a server that runs commands starts beside its loop, so that nothing outlives a command, and
//! the loop never walks /proc.
//!
//! It is told through standard input which commands begin and end. After an end it kills whatever has the mark of a
//! command that does not run, and what is left of the sessions of those that have ended (fault F4), and removes their
//! cgroups with what is in them. When its input ends, since the server has, it kills all of them: also when the server
//! was killed, and had no time for anything (fault F22).
//!
//! It ends with its input and no sooner: a supervisor that stops a server signals all of its processes. It waits for no
//! process and reaps none; it is nobody's parent.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1};

use super::cgroup::{Cgroup, stale};
use super::survivors::{Found, Stopped, look_at, since};
use super::{Outcome, complain};
use crate::reactor::close_on_exec;
use crate::wire::Keeping;

/// The one that `serve` starts; nobody else has a use for it
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How the marks of the server's commands begin
    #[arg(value_name = "PREFIX")]
    prefix: String,

    /// Where commands of a server may have left cgroups
    #[arg(value_name = "DIRECTORY")]
    cgroups: Vec<PathBuf>,
}

/// Between two walks through /proc: each looks at every process of the machine. Nor is anything heard between: to be
/// woken three times a command costs more of a processor than all else that the server does for one.
const WALK_EVERY: Duration = Duration::from_millis(100);

/// After a walk that found nothing: a process that was becoming another program had no environment to be seen for a
/// moment.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How many walks look for the session of a command that has ended.
const LOOKS: u32 = 3;

/// Looks for what the processes that were just found had started, one after another, at most.
const ROUNDS_MAX: usize = 100;

/// How many of these looks kill at once what they find. What then still grows is stopped first.
const ROUNDS_OF_KILLING: usize = 3;

/// How often what a server that has ended leaves behind is looked for, until what was killed is gone.
const LAST_LOOKS_MAX: usize = 100;

/// How many looks in a row must have found nothing then: a process that the server had just started becomes another
/// program in the very moment in which our input ends, and has no environment to be seen meanwhile.
const LAST_LOOKS: usize = 3;

/// Runs it.
pub(super) fn run(args: Args) -> Outcome {
    for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1] {
        // A handler that does nothing: what ends it is the end of its input.
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))
            .context("cannot set up signals")?;
    }
    close_on_exec().context("cannot read the list of open descriptors")?;
    let mut keeper = Keeper::new(&args);
    let mut input = Input::default();
    while !input.is_over {
        keeper.plan();
        keeper.wait(&input);
        input.read(&mut keeper.commands)?;
        keeper.plan();
        if keeper.due.is_some_and(|due| due <= now()) {
            keeper.walk(&mut input);
        }
    }
    keeper.end();
    Ok(ExitCode::SUCCESS)
}

/// What the server says.
#[derive(Debug, Default)]
struct Input {
    unread: Vec<u8>,
    is_over: bool,
}

impl Input {
    /// Until the server says something, or, if nothing is `wanted`, until it ends; for this long at most.
    fn wait(&self, wanted: PollFlags, most: Option<Duration>) {
        let stdin = io::stdin();
        let mut wanted = [PollFd::new(&stdin, wanted)];
        let most = most.and_then(|most| Timespec::try_from(most).ok());
        // A signal ends the wait, and nothing has come: then it is waited for again.
        let _ = poll(&mut wanted, most.as_ref());
    }

    /// All that it has said, without waiting for more.
    fn read(&mut self, commands: &mut Commands) -> anyhow::Result<()> {
        let mut chunk = vec![0; 64 << 10];
        loop {
            let mut stdin = io::stdin();
            let mut wanted = [PollFd::new(&stdin, PollFlags::IN)];
            match poll(&mut wanted, Some(&Timespec::default())) {
                Ok(0) => return Ok(()),
                Err(rustix::io::Errno::INTR) => continue,
                polled => drop(polled?),
            }
            match stdin.read(&mut chunk) {
                Ok(0) => {
                    self.is_over = true;
                    return Ok(());
                }
                Ok(n) => self.unread.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            let Some(end) = memchr::memrchr(b'\n', &self.unread) else {
                continue;
            };
            for line in self.unread[..end].split(|&byte| byte == b'\n') {
                commands.hear(line);
            }
            self.unread.drain(..=end);
        }
    }
}

/// The commands that a server has told of.
#[derive(Debug)]
struct Commands {
    prefix: String,
    running: HashMap<String, Command>,
    /// Those that have ended, until nothing of them can be left.
    ended: Vec<Leader>,
    /// Cgroups that are to be removed.
    cgroups: Vec<Cgroup>,
    /// Whether one has ended that nobody has looked for yet.
    is_news: bool,
}

#[derive(Debug, Default)]
struct Command {
    leader: Option<Leader>,
    cgroup: Option<Cgroup>,
}

/// The leader of a command's session.
#[derive(Debug, Clone)]
struct Leader {
    pid: u32,
    /// When it began; `None`: it had ended before it was looked at.
    start: Option<u64>,
    /// How often its session was looked for since it ended.
    looks: u32,
}

impl Commands {
    fn hear(&mut self, line: &[u8]) {
        match Keeping::of_line(line) {
            Some(Keeping::Begins { mark, cgroup }) => {
                let cgroup = cgroup.map(|directory| Cgroup::of(directory.as_ref(), &mark));
                self.running.entry(mark).or_default().cgroup = cgroup;
            }
            Some(Keeping::Runs { mark, pid }) => {
                let found = look_at(pid).filter(|found| found.session == pid);
                // Without any environment it is on its way from one program to the next.
                let found =
                    found.filter(|found| found.mark.as_ref().is_none_or(|its| *its == mark));
                if let Some(command) = self.running.get_mut(&mark) {
                    command.leader = Some(Leader {
                        pid,
                        start: found.map(|found| found.start),
                        looks: 0,
                    });
                }
            }
            Some(Keeping::Ended { mark }) => {
                if let Some(command) = self.running.remove(&mark) {
                    self.let_go(command);
                }
            }
            None => complain(format_args!(
                "the keeper was told {:?}",
                line.escape_ascii().to_string()
            )),
        }
    }

    fn let_go(&mut self, command: Command) {
        self.ended.extend(command.leader);
        self.cgroups.extend(command.cgroup);
        self.is_news = true;
    }

    /// Whether it belongs to a command that does not run.
    fn is_left(&self, found: &Found, all: &HashMap<u32, Found>) -> bool {
        let by_mark = found
            .mark
            .as_ref()
            .is_some_and(|mark| mark.starts_with(&self.prefix) && !self.running.contains_key(mark));
        found.lives() && (by_mark || self.ended.iter().any(|leader| leader.has(found, all)))
    }
}

impl Leader {
    /// Whether this process is in its session. While one is, no other session gets the number; and one that got it
    /// later had a leader of that number with another beginning.
    fn has(&self, found: &Found, all: &HashMap<u32, Found>) -> bool {
        let is_reused = all
            .get(&self.pid)
            .is_some_and(|now| Some(now.start) != self.start);
        found.session == self.pid
            && !is_reused
            && self.start.is_none_or(|start| start <= found.start)
    }
}

#[derive(Debug)]
struct Keeper {
    commands: Commands,
    /// When the server began: no command of it is older.
    server_start: u64,
    /// When /proc is walked next.
    due: Option<Duration>,
    /// When it was walked last.
    walked: Option<Duration>,
}

impl Keeper {
    fn new(args: &Args) -> Keeper {
        let mut cgroups = Vec::new();
        for directory in &args.cgroups {
            match stale(directory, server_lives) {
                Ok(stale) => cgroups.extend(stale),
                Err(error) => complain(format_args!("{}: {error}", directory.display())),
            }
        }
        Keeper {
            commands: Commands {
                prefix: args.prefix.clone(),
                running: HashMap::new(),
                ended: Vec::new(),
                cgroups,
                // Another keeper may have been here before, and heard what it had no time for.
                is_news: true,
            },
            server_start: start_of(&args.prefix).unwrap_or_default(),
            due: None,
            walked: None,
        }
    }

    /// Plans a walk, if something has ended: at once, unless the last one was just now.
    fn plan(&mut self) {
        if std::mem::take(&mut self.commands.is_news) {
            let soonest = self.soonest();
            self.due = Some(self.due.map_or(soonest, |due| due.min(soonest)));
        }
    }

    /// When /proc may be walked again.
    fn soonest(&self) -> Duration {
        self.walked
            .map_or(Duration::ZERO, |walked| walked + WALK_EVERY)
    }

    /// Until there is something to do.
    fn wait(&self, input: &Input) {
        let now = now();
        let soonest = self.soonest();
        if now < soonest {
            input.wait(PollFlags::empty(), Some(soonest - now));
        } else {
            input.wait(PollFlags::IN, self.due.map(|due| due.saturating_sub(now)));
        }
    }

    /// Looks for survivors, and sees when it has to be done again.
    fn walk(&mut self, input: &mut Input) {
        let killed = match self.kill_survivors(input) {
            Ok(killed) => killed,
            Err(error) => {
                complain(format_args!("the keeper cannot read /proc: {error}"));
                0
            }
        };
        self.remove_cgroups();
        let commands = &mut self.commands;
        let is_quiet = killed == 0 && commands.cgroups.is_empty();
        commands.ended.retain_mut(|leader| {
            leader.looks += 1;
            !is_quiet || leader.looks < LOOKS
        });
        let now = now();
        self.walked = Some(now);
        self.due = if !is_quiet {
            Some(now + WALK_EVERY)
        } else if commands.ended.is_empty() {
            None
        } else {
            Some(now + LOOK_AGAIN)
        };
    }

    /// Kills what belongs to no command that runs; says how many there were.
    ///
    /// At once, and again what they had started meanwhile. What still grows then is a bomb (fault F5): one that is
    /// killed makes room for the next under its user's limit, so all of it is stopped before the first is killed. Nothing
    /// else is: this process may be killed any time, and what it had stopped would stay so (fault F22).
    fn kill_survivors(&mut self, input: &mut Input) -> io::Result<usize> {
        let mut seen: HashSet<(u32, u64)> = HashSet::new();
        let mut stopped: Vec<Stopped> = Vec::new();
        for round in 0..ROUNDS_MAX {
            let all = match since(self.server_start) {
                // Those that are stopped hold all our descriptors, say. They are killed, and the next walk goes on.
                Err(_) if !seen.is_empty() => break,
                all => all?,
            };
            // One that was found may be of a command that began after the last look at what the server said: then that
            // was said before, and is heard now.
            if !input.is_over {
                let _ = input.read(&mut self.commands);
            }
            let before = seen.len();
            let commands = &self.commands;
            for found in all.values().filter(|found| commands.is_left(found, &all)) {
                let key = (found.pid, found.start);
                if !seen.contains(&key)
                    && let Some(held) = found.hold()
                {
                    if round < ROUNDS_OF_KILLING {
                        held.kill();
                    } else {
                        stopped.push(held.stop());
                    }
                    seen.insert(key);
                }
            }
            if seen.len() == before {
                break;
            }
        }
        Ok(seen.len())
    }

    fn remove_cgroups(&mut self) {
        self.commands
            .cgroups
            .retain(|cgroup| match cgroup.remove() {
                Ok(()) => false,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
                Err(error) => {
                    complain(format_args!("a cgroup cannot be removed: {error}"));
                    false
                }
            });
    }

    /// The server has ended, and so does everything that it started.
    fn end(mut self) {
        let mut input = Input {
            is_over: true,
            ..Input::default()
        };
        for (_, command) in std::mem::take(&mut self.commands.running) {
            self.commands.let_go(command);
        }
        let mut quiet = 0;
        for _ in 0..LAST_LOOKS_MAX {
            // If /proc cannot be read now, it is tried again.
            let is_quiet = self
                .kill_survivors(&mut input)
                .is_ok_and(|killed| killed == 0);
            self.remove_cgroups();
            quiet = if is_quiet && self.commands.cgroups.is_empty() {
                quiet + 1
            } else {
                0
            };
            if quiet == LAST_LOOKS {
                break;
            }
            // What was killed needs a moment to be gone.
            let _ = poll(&mut [], Timespec::try_from(WALK_EVERY / 10).ok().as_ref());
        }
    }
}

/// Whether the server of this mark runs.
fn server_lives(mark: &str) -> bool {
    let pid = mark.split('-').next().and_then(|pid| pid.parse().ok());
    let found = pid.and_then(look_at);
    found.is_some_and(|found| found.lives() && Some(found.start) == start_of(mark))
}

/// When the server of this mark, or of marks that begin so, began.
fn start_of(mark: &str) -> Option<u64> {
    mark.split('-').nth(1)?.parse().ok()
}

fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::try_from(now).unwrap_or_default()
}
