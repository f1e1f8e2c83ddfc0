//! Signals that are for the command, as descriptors that can be polled.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::flag;
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use crate::wire::CommandSignal;

/// Those that are passed on. KILL and STOP cannot be, and what stops us stops the command, which gets no further
/// than its output is read.
const PASSED_ON: [(i32, CommandSignal); 6] = [
    (SIGINT, CommandSignal::Int),
    (SIGTERM, CommandSignal::Term),
    (SIGHUP, CommandSignal::Hup),
    (SIGQUIT, CommandSignal::Quit),
    (SIGUSR1, CommandSignal::Usr1),
    (SIGUSR2, CommandSignal::Usr2),
];

/// Takes them while a command is in progress; else each does what it usually does.
#[derive(Debug)]
pub(in crate::cli) struct Signals {
    delivery: SignalDelivery<UnixStream, SignalOnly>,
    is_idle: Arc<AtomicBool>,
}

impl Signals {
    /// Takes them from now on, but for those that were to be ignored (`nohup`, `&` in a script).
    pub(in crate::cli) fn take() -> io::Result<Signals> {
        let ignored = ignored();
        let taken: Vec<i32> = PASSED_ON
            .into_iter()
            .map(|(signal, _)| signal)
            .filter(|signal| ignored >> (signal - 1) & 1 == 0)
            .collect();
        let is_idle = Arc::new(AtomicBool::new(false));
        for &signal in &taken {
            // Before the other: it decides whether there is another.
            flag::register_conditional_default(signal, Arc::clone(&is_idle))?;
        }
        let (read, write) = UnixStream::pair()?;
        let delivery = SignalDelivery::with_pipe(read, write, SignalOnly, &taken)?;
        // A parent process may have blocked them, and they would never arrive.
        let unblocked = taken
            .iter()
            .filter_map(|&signal| Signal::try_from(signal).ok());
        unblocked.collect::<SigSet>().thread_unblock()?;
        Ok(Signals { delivery, is_idle })
    }

    /// Whether no command is in progress.
    pub(in crate::cli) fn set_idle(&self, is_idle: bool) {
        self.is_idle.store(is_idle, Ordering::Relaxed);
    }

    /// Those that came, each once.
    pub(in crate::cli) fn came(&mut self) -> Vec<CommandSignal> {
        let came = self.delivery.pending();
        came.filter_map(|number| {
            let known = PASSED_ON.into_iter().find(|(signal, _)| *signal == number);
            known.map(|(_, signal)| signal)
        })
        .collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.delivery.get_read().as_fd()
    }
}

/// The signal's number, by which a shell tells how a command ended.
pub(in crate::cli) fn number(signal: CommandSignal) -> u8 {
    let known = PASSED_ON.into_iter().find(|(_, known)| *known == signal);
    // What is not passed on is SIGKILL.
    known.map_or(9, |(number, _)| u8::try_from(number).unwrap_or(9))
}

/// The signals that this process was started to ignore, a bit each (`SigIgn` in proc(5)).
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}
