//! Ctrl-C and SIGTERM: measuring ends, and what was seen so far is printed. A second one ends at once.

use std::io;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::cli::INTERRUPTED;

/// Whether the user has interrupted the program.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Interrupt {
    came: Arc<AtomicBool>,
}

impl Interrupt {
    /// Takes both signals over. Neither stays blocked: a parent process
    /// may have blocked them, and they would never arrive.
    pub(in crate::cli) fn take() -> io::Result<Self> {
        let came = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first one sets the flag, and from then on the default is in force.
            flag::register_conditional_default(signal, Arc::clone(&came))?;
            flag::register(signal, Arc::clone(&came))?;
        }
        let taken = [Signal::SIGINT, Signal::SIGTERM];
        taken.into_iter().collect::<SigSet>().thread_unblock()?;
        Ok(Self { came })
    }

    /// Whether it came.
    pub(in crate::cli) fn came(&self) -> bool {
        self.came.load(Ordering::Relaxed)
    }

    /// The exit code: its own after an interrupt, else `code`.
    pub(in crate::cli) fn code_or(&self, code: ExitCode) -> ExitCode {
        if self.came() {
            ExitCode::from(INTERRUPTED)
        } else {
            code
        }
    }

    /// What a watcher says.
    pub(in crate::cli) fn flow(&self) -> ControlFlow<()> {
        if self.came() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}
