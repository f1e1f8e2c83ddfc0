//! The keeper: this program once more, which kills what commands leave behind, and everything when the server is gone.
//!
//! The loop sees to it that one runs. What it is told, `Epoll` tells it, since marks and numbers of processes are
//! nothing that the loop knows.

use std::io;

use super::Reactor;
use super::attendant::Attendant;
use super::helper::Owner;
use super::os::Os;
use crate::turn::{Exit, Moment};
use crate::wire::Escaped;

impl<O: Os> Reactor<O> {
    /// Keeps a keeper, as [`Epoll::with_keeper`](super::Epoll::with_keeper) has it: one runs when this returns.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn keep_keeper(&mut self) -> io::Result<()> {
        if self.keeper.is_some() {
            return Ok(());
        }
        let mut keeper = Attendant::new(self.now);
        let spawned = self.os.spawn_keeper()?;
        self.watch_child(Owner::Keeper, spawned)?;
        keeper.started(self.now);
        self.keeper = Some(keeper);
        Ok(())
    }

    /// When a keeper is to be started.
    pub(super) fn keeper_due(&self) -> Option<Moment> {
        self.keeper.as_ref()?.due()
    }

    /// Starts a keeper, if it is time.
    pub(super) fn start_keeper_if_due(&mut self) {
        if self.keeper_due().is_none_or(|at| at > self.now) {
            return;
        }
        let spawned = self.os.spawn_keeper();
        let started = spawned.and_then(|spawned| self.watch_child(Owner::Keeper, spawned));
        let now = self.now;
        let Some(keeper) = &mut self.keeper else {
            return;
        };
        match started {
            Ok(_) => keeper.started(now),
            Err(error) => {
                let wait = keeper.failed(now);
                log::warn!(error:%, wait:?; "the keeper of commands cannot be started");
            }
        }
    }

    /// The keeper complains.
    pub(super) fn keeper_wrote(&mut self, bytes: &[u8]) {
        log::warn!(said:% = Escaped(bytes.trim_ascii()); "the keeper of commands complains");
    }

    /// The keeper has ended, which it should do only after the server.
    pub(super) fn keeper_ended(&mut self, exit: Exit) {
        let now = self.now;
        if let Some(keeper) = &mut self.keeper {
            let wait = keeper.failed(now);
            log::warn!(exit:%, wait:?; "the keeper of commands has ended; another is started");
        }
    }
}
