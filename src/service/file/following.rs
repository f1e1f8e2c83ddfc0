//! Children that digest large files while these come, so that little is left to be read when the last byte has.
//!
//! A child reads what is in the file. What came is digested nowhere.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use super::disk::tell;
use super::output::Output;
use crate::config::limits::{FILE_CHILDREN_MAX, FILE_NEWS_BYTES};
use crate::wire::{FileAnswer, Sha256Sum};

/// The child of a file that comes. Dropping this tells it that no more does.
#[derive(Debug)]
pub(super) struct Following {
    /// Its errand.
    pub(super) number: u64,
    news: OwnedFd,
    /// How much was there when it was last told.
    told: u64,
}

impl Following {
    pub(super) fn new(number: u64, news: OwnedFd) -> Following {
        Following {
            number,
            news,
            told: 0,
        }
    }

    /// So much of the file is there.
    pub(super) fn hears(&mut self, at: u64) {
        if at.saturating_sub(self.told) >= FILE_NEWS_BYTES {
            self.told = at;
            tell(&self.news);
        }
    }
}

/// What these children have said, by the numbers of their errands.
#[derive(Debug, Default)]
pub(super) struct Followers(BTreeMap<u64, (Output, Option<Sha256Sum>)>);

impl Followers {
    /// Whether one more may run.
    pub(super) fn has_room(&self) -> bool {
        self.0.len() < FILE_CHILDREN_MAX
    }

    pub(super) fn begins(&mut self, number: u64) {
        self.0.insert(number, (Output::default(), None));
    }

    pub(super) fn has(&self, number: u64) -> bool {
        self.0.contains_key(&number)
    }

    /// It said this: the digest, when that is all.
    pub(super) fn says(&mut self, number: u64, bytes: &[u8]) -> Option<Sha256Sum> {
        let (output, sha256) = self.0.get_mut(&number)?;
        for answer in output.hear(bytes) {
            if let FileAnswer::Ok(facts) = answer {
                *sha256 = facts.sha256;
            }
        }
        *sha256
    }

    /// It has ended.
    pub(super) fn ends(&mut self, number: u64) {
        self.0.remove(&number);
    }

    /// The digest, if it has said it.
    pub(super) fn digest(&self, number: u64) -> Option<Sha256Sum> {
        self.0.get(&number)?.1
    }
}
