//! The helper: what would make the loop wait (reading files, resolving names) is done by this program once
//! more, with a hidden subcommand, and its output comes back through a pipe.
//!
//! Knows arguments and bytes. It does not know what they mean: what serves asks for it, and is told when it
//! has ended, as [`News::Helper`](super::News).

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::time::Duration;

use zeroize::{Zeroize, Zeroizing};

use super::Reactor;
use super::news::{Cut, Helped, News};
use super::os::Os;
use crate::config::limits::{HELPER_BYTES_MAX, HELPER_COMPLAINT_BYTES_MAX};
use crate::turn::{ConnId, Exit, Moment, Output, Severity};

/// For what a child runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// A command of this connection's.
    Connection(ConnId),
    /// The broadcast of this number.
    Broadcast(u32),
    /// An errand of a service.
    Errand(u32),
    /// The loop itself: the helper.
    Loop,
    /// The loop itself: the writer of the audit.
    Writer,
    /// The loop itself: the keeper of commands.
    Keeper,
    /// The scribe of this number, for a service.
    Scribe(u32),
}

/// What has come of the helper so far.
pub(super) struct Helper {
    /// What it wrote may be a secret.
    out: Zeroizing<Vec<u8>>,
    err: Vec<u8>,
    /// It is killed then.
    until: Moment,
    cut: Option<Cut>,
}

impl fmt::Debug for Helper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Helper")
            .field("until", &self.until)
            .field("cut", &self.cut)
            .finish_non_exhaustive()
    }
}

impl<O: Os> Reactor<O> {
    /// Starts this program once more, with these arguments, beside the loop; one at a time. After `within` it
    /// is killed, and so it is when it writes more than 16 MiB.
    pub fn help(&mut self, arguments: &[OsString], within: Duration) -> io::Result<()> {
        if self.children.helper.is_some() {
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "a helper runs already",
            ));
        }
        let spawned = self.os.spawn_helper(arguments)?;
        self.watch_child(Owner::Loop, spawned)?;
        self.children.helper = Some(Helper {
            out: Zeroizing::new(Vec::new()),
            err: Vec::new(),
            until: self.now.after(within),
            cut: None,
        });
        Ok(())
    }

    /// Until when the helper is waited for.
    pub(super) fn helper_due(&self) -> Option<Moment> {
        let helper = self.children.helper.as_ref();
        helper.filter(|h| h.cut.is_none()).map(|h| h.until)
    }

    /// Ends the helper if its time is up.
    pub(super) fn expire_helper(&mut self) {
        if self.helper_due().is_some_and(|until| until <= self.now) {
            self.cut_helper(Cut::TooLate);
        }
    }

    fn cut_helper(&mut self, why: Cut) {
        if let Some(helper) = &mut self.children.helper {
            helper.cut = Some(why);
            self.kill_of(Owner::Loop, Severity::Force);
        }
    }

    /// The helper wrote this. The buffer it came in is shared, so nothing of it stays there.
    pub(super) fn helper_wrote(&mut self, which: Output, bytes: &mut [u8]) {
        let Some(helper) = &mut self.children.helper else {
            return;
        };
        match which {
            Output::Out if helper.out.len() + bytes.len() > HELPER_BYTES_MAX => {
                if helper.cut.is_none() {
                    self.cut_helper(Cut::TooLong);
                }
            }
            Output::Out => push_and_leave_no_copy(&mut helper.out, bytes),
            Output::Err => {
                let room = HELPER_COMPLAINT_BYTES_MAX.saturating_sub(helper.err.len());
                helper
                    .err
                    .extend_from_slice(&bytes[..room.min(bytes.len())]);
            }
        }
        bytes.zeroize();
    }

    /// The helper has ended, and everything that it wrote has come.
    pub(super) fn helper_ended(&mut self, exit: Exit) {
        if let Some(Helper { out, err, cut, .. }) = self.children.helper.take() {
            let helped = Helped {
                out,
                err,
                exit,
                cut,
            };
            self.tell(News::Helper(helped));
        }
    }
}

/// Appends; where the storage must grow, the old one is wiped before it is given back.
fn push_and_leave_no_copy(all: &mut Zeroizing<Vec<u8>>, bytes: &[u8]) {
    if all.capacity() - all.len() < bytes.len() {
        let room = (all.len() + bytes.len()).next_power_of_two();
        let mut larger = Zeroizing::new(Vec::with_capacity(room));
        larger.extend_from_slice(all);
        *all = larger;
    }
    all.extend_from_slice(bytes);
}
