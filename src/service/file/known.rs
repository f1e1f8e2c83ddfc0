//! Digests of files that were sent, so that what many fetch is not digested for each of them.
//!
//! That a file is what it was is told by its times, which can be wrong. Then the digest is another than that of what is
//! sent, and the client keeps nothing: it is believed by nobody.

use std::collections::{BTreeMap, VecDeque};

use crate::config::limits::{FILE_DIGEST_KNOWN, FILE_DIGESTS_KNOWN_MAX};
use crate::turn::Moment;
use crate::wire::Sha256Sum;

/// What changes when a file does: times in seconds and nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) modified: (i64, u64),
    pub(super) changed: (i64, u64),
}

/// The digests.
#[derive(Debug, Default)]
pub(super) struct Known {
    digests: BTreeMap<Stamp, (Sha256Sum, Moment)>,
    /// In the order in which they were learnt.
    order: VecDeque<Stamp>,
}

impl Known {
    /// The digest of the file that has this stamp.
    pub(super) fn find(&self, stamp: &Stamp, now: Moment) -> Option<Sha256Sum> {
        let (sha256, until) = self.digests.get(stamp)?;
        (now < *until).then_some(*sha256)
    }

    /// A child has said it.
    pub(super) fn learn(&mut self, stamp: Stamp, sha256: Sha256Sum, now: Moment) {
        let until = now.after(FILE_DIGEST_KNOWN);
        if self
            .digests
            .insert(stamp.clone(), (sha256, until))
            .is_none()
        {
            self.order.push_back(stamp);
        }
        if self.order.len() > FILE_DIGESTS_KNOWN_MAX
            && let Some(first) = self.order.pop_front()
        {
            self.digests.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Sha256;

    #[test]
    fn as_many_are_known_as_may_be_and_the_oldest_are_forgotten() {
        let mut known = Known::default();
        let stamp = |n: usize| Stamp {
            device: 1,
            inode: n as u64,
            size: 5,
            modified: (0, 0),
            changed: (0, 0),
        };
        let sum = Sha256::new().finish();
        for n in 0..=FILE_DIGESTS_KNOWN_MAX {
            // Twice is once.
            known.learn(stamp(n), sum, Moment::START);
            known.learn(stamp(n), sum, Moment::START);
        }
        let found = |n| known.find(&stamp(n), Moment::START);
        assert_eq!((found(0), found(1)), (None, Some(sum)));
        assert_eq!(known.digests.len(), FILE_DIGESTS_KNOWN_MAX);
        let late = Moment::START.after(FILE_DIGEST_KNOWN);
        assert_eq!(known.find(&stamp(1), late), None);
    }
}
