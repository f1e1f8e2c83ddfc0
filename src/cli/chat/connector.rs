//! A connection that is being made, without anybody waiting for that.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;

use rustix::event::{EventfdFlags, eventfd};

use crate::cli::way::Way;
use crate::client::{ClientError, TextStream};

/// A connection that is being made, by a thread: to resolve a name may take its time, and nobody can be asked not to
/// wait for it.
#[derive(Debug)]
pub(super) struct Attempt {
    outcome: Receiver<Result<TextStream, ClientError>>,
    /// Readable when there is one.
    done: Arc<OwnedFd>,
}

impl Attempt {
    pub(super) fn begin(way: &Arc<Way>) -> io::Result<Attempt> {
        let done = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let (sender, outcome) = channel();
        let (way, tells) = (Arc::clone(way), Arc::clone(&done));
        thread::Builder::new()
            .name("connect".to_owned())
            .spawn(move || {
                // Whoever has left meanwhile wants none.
                let _ = sender.send(way.connect());
                let _ = rustix::io::write(&tells, &1_u64.to_ne_bytes());
            })?;
        Ok(Attempt { outcome, done })
    }

    /// What came of it, when something has.
    pub(super) fn outcome(&self) -> Option<Result<TextStream, ClientError>> {
        match self.outcome.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(ClientError::Request(
                "the thread that connects has failed",
            ))),
        }
    }
}

impl AsFd for Attempt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }
}
