use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::Exit;

/// Work that would make the loop wait, such as syncing a file: a short-lived child, this program once more, does
/// it.
///
/// It reads its order from its standard input, finds the files from descriptor 3 on, and answers on its standard
/// output.
#[derive(Clone)]
pub struct Errand {
    /// What its service knows it by.
    pub number: u64,
    /// What is to be done.
    pub order: Vec<u8>,
    /// What it is done with.
    pub files: Vec<Arc<OwnedFd>>,
    /// It is killed after this.
    pub within: Duration,
}

/// What becomes of an errand that a service runs for no connection in particular.
#[derive(Debug)]
pub enum ErrandEvent<'a> {
    /// It wrote this.
    Wrote(&'a [u8]),
    /// It ended, and everything that it wrote has been told.
    Ended(Exit),
    /// It never began.
    Failed(io::Error),
}

impl fmt::Debug for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Errand")
            .field("number", &self.number)
            .field("order", &self.order.escape_ascii().to_string())
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

impl PartialEq for Errand {
    fn eq(&self, other: &Errand) -> bool {
        let numbers = |files: &[Arc<OwnedFd>]| -> Vec<i32> {
            files.iter().map(|file| file.as_raw_fd()).collect()
        };
        self.number == other.number
            && self.order == other.order
            && numbers(&self.files) == numbers(&other.files)
    }
}

impl Eq for Errand {}
