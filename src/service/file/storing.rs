use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::options::{Overwrite, Sync};
use super::output::Output;
use super::session::{Place, Staged};
use super::work::{Order, Store};
use crate::config::limits::{
    FILE_CHILD_BYTES_PER_SECOND_MIN, FILE_CHILD_GRACE, FILE_CHILDREN_MAX, FILES_PER_BATCH_MAX,
};
use crate::service::Peer;
use crate::turn::{ConnId, Errand};
use crate::wire::Sha256Sum;

/// Files that have come: those that wait for a child to store them, and those that one stores.
#[derive(Debug, Default)]
pub(super) struct Storing {
    queue: VecDeque<Arrived>,
    running: BTreeMap<u64, Batch>,
    /// How many files, and how many children, there have been.
    files: u64,
    children: u64,
}

/// A file that has come, and is not under its name.
#[derive(Debug)]
pub(super) struct Arrived {
    /// Its answer has this number.
    pub(super) number: u64,
    /// Whose it is, which may be gone.
    pub(super) owner: ConnId,
    pub(super) peer: Peer,
    pub(super) staged: Staged,
    pub(super) order: Store,
    /// It waits for the child that digests it.
    pub(super) follower: Option<u64>,
    /// How much of the quota it has.
    pub(super) reserved: u64,
    /// How large what it replaces is.
    pub(super) replaces: Option<u64>,
    #[expect(dead_code, reason = "it counts as long as the file is open")]
    pub(super) place: Place,
}

/// What one child stores.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) files: VecDeque<Arrived>,
    pub(super) output: Output,
}

impl Storing {
    /// The number of the next file that comes.
    pub(super) fn number(&mut self) -> u64 {
        self.files += 1;
        self.files
    }

    /// A number that no errand has.
    pub(super) fn errand(&mut self) -> u64 {
        self.children += 1;
        self.children
    }

    /// A file has come.
    pub(super) fn push(&mut self, arrived: Arrived) {
        self.queue.push_back(arrived);
    }

    /// The child that digests a file has said its digest, or has ended; then the one that stores it does it.
    pub(super) fn digested(&mut self, follower: u64, sha256: Option<Sha256Sum>) {
        let is_its = |arrived: &&mut Arrived| arrived.follower == Some(follower);
        if let Some(arrived) = self.queue.iter_mut().find(is_its) {
            arrived.follower = None;
            arrived.order.digested = sha256.map(|sha256| sha256.to_string());
        }
    }

    /// What the next child does, if one more may run.
    pub(super) fn next(
        &mut self,
        directories: Vec<Arc<OwnedFd>>,
        sync: Sync,
        overwrite: Overwrite,
    ) -> Option<Errand> {
        // What came while as many run as may is one batch when one of them ends.
        let (at_once, children) = match sync {
            Sync::Each => (1, FILE_CHILDREN_MAX),
            Sync::Batch | Sync::Off => (FILES_PER_BATCH_MAX, 1),
        };
        if self.queue.is_empty() || self.running.len() >= children {
            return None;
        }
        let files = self.take(at_once);
        if files.is_empty() {
            return None;
        }
        let bytes = files.iter().map(|arrived| arrived.order.size).sum();
        let order = Order::Store {
            sync: sync != Sync::Off,
            overwrite,
            files: files.iter().map(|arrived| arrived.order.clone()).collect(),
        };
        let number = self.errand();
        let opened = files.iter().map(|arrived| arrived.staged.file.clone());
        let errand = Errand {
            number,
            order: order.text(),
            files: directories.into_iter().chain(opened).collect(),
            within: within(bytes),
        };
        let batch = Batch {
            files,
            output: Output::default(),
        };
        self.running.insert(number, batch);
        Some(errand)
    }

    /// The first of those that wait. Of two with one name the later waits until the earlier has it, or its place
    /// would be taken by chance.
    fn take(&mut self, at_once: usize) -> VecDeque<Arrived> {
        let running = self.running.values().flat_map(|batch| &batch.files);
        let mut busy: BTreeSet<String> = running.map(|one| one.order.name.clone()).collect();
        let (mut taken, mut left) = (VecDeque::new(), VecDeque::new());
        for arrived in self.queue.drain(..) {
            if arrived.follower.is_some() {
                busy.insert(arrived.order.name.clone());
                left.push_back(arrived);
            } else if taken.len() < at_once && busy.insert(arrived.order.name.clone()) {
                taken.push_back(arrived);
            } else {
                left.push_back(arrived);
            }
        }
        self.queue = left;
        taken
    }

    /// What this child stores.
    pub(super) fn batch(&mut self, number: u64) -> Option<&mut Batch> {
        self.running.get_mut(&number)
    }

    /// It has ended: what it said nothing of.
    pub(super) fn end(&mut self, number: u64) -> VecDeque<Arrived> {
        let batch = self.running.remove(&number);
        batch.map(|batch| batch.files).unwrap_or_default()
    }
}

/// How long a child may take that reads and writes so many bytes.
pub(super) fn within(bytes: u64) -> Duration {
    FILE_CHILD_GRACE + Duration::from_secs(bytes / FILE_CHILD_BYTES_PER_SECOND_MIN)
}
