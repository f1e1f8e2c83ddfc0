//! How much is beneath a root, how much of it is on its way, and what is kept of uploads that were cut off.

use std::time::Duration;

use super::Files;
use super::options::Options;
use super::output::Output as ChildOutput;
use super::session::Receiving;
use super::storing::within;
use super::work::Order;
use crate::config::limits::FILE_COUNT_AGE_MAX;
use crate::turn::{BroadcastTurn, Errand, ErrandEvent, Moment, Turn};
use crate::wire::{FileAnswer, FileError, FileErrorKind};

/// How often what is kept of uploads is looked through for what is too old.
const SWEEP: Duration = Duration::from_secs(60);

/// What is kept of an upload.
#[derive(Debug)]
pub(super) struct Remains {
    bytes: u64,
    /// For how long, counted from when it is looked at first.
    left: Duration,
    until: Option<Moment>,
}

impl Remains {
    /// What a server before this one has left.
    pub(super) fn of_before(bytes: u64, left: Duration) -> Remains {
        Remains {
            bytes,
            left,
            until: None,
        }
    }

    /// What is left now.
    pub(super) fn of(bytes: u64, left: Duration, now: Moment) -> Remains {
        Remains {
            bytes,
            left,
            until: Some(now.after(left)),
        }
    }
}

/// What is beneath the root, if somebody has to know.
#[derive(Debug, Default)]
pub(super) struct Count {
    known: Option<Known>,
    /// The errand that counts.
    errand: Option<(u64, ChildOutput)>,
    /// Bytes and files that are on their way.
    pub(super) reserved: u64,
    pub(super) coming: u64,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    bytes: u64,
    files: u64,
    at: Moment,
}

impl Count {
    /// A file that was on its way with so many bytes is not any more.
    pub(super) fn release(&mut self, bytes: u64) {
        self.reserved = self.reserved.saturating_sub(bytes);
        self.coming = self.coming.saturating_sub(1);
    }

    /// A file was stored, perhaps in place of another.
    pub(super) fn add(&mut self, bytes: u64, replaces: Option<u64>) {
        if let Some(known) = &mut self.known {
            known.bytes = (known.bytes + bytes).saturating_sub(replaces.unwrap_or(0));
            known.files += u64::from(replaces.is_none());
        }
    }
}

/// More has come of a file whose size is not known; it takes its room as it comes.
pub(super) fn grow(
    options: &Options,
    count: &mut Count,
    receiving: &mut Receiving,
    bytes: u64,
) -> Result<(), FileError> {
    let size = receiving.at + bytes;
    if let Some(max) = options.max_file.map(|max| max as u64)
        && size > max
    {
        return Err(FileError::new(
            FileErrorKind::TooLarge,
            format!("it has more than the {max} bytes that a file may have"),
        ));
    }
    receiving.reserved += bytes;
    count.reserved += bytes;
    let there = count.known.map_or(0, |known| known.bytes);
    match options.quota.map(|quota| quota as u64) {
        Some(quota) if there + count.reserved > quota => Err(beyond(quota)),
        _ => Ok(()),
    }
}

fn beyond(quota: u64) -> FileError {
    FileError::new(
        FileErrorKind::Quota,
        format!("all files together may have {quota} bytes"),
    )
}

impl Files {
    /// Whether a file of so many bytes fits; `false`: that is being counted.
    pub(super) fn has_room(
        &mut self,
        t: &mut Turn<'_>,
        size: u64,
        replaces: Option<u64>,
    ) -> Result<bool, FileError> {
        let quota = self.options.quota.map(|quota| quota as u64);
        let files_max = self.options.max_files;
        if quota.is_none() && files_max.is_none() {
            return Ok(true);
        }
        let Some(known) = self.count.known else {
            self.recount(t);
            return Ok(false);
        };
        let kept = self.kept.iter();
        let unused = kept.filter(|(name, _)| !self.users.contains_key(*name));
        let kept: u64 = unused.map(|(_, remains)| remains.bytes).sum();
        let all = [known.bytes, self.count.reserved, kept, size];
        let bytes = all
            .iter()
            .fold(0_u64, |sum, more| sum.saturating_add(*more));
        let files = known.files + self.count.coming + u64::from(replaces.is_none());
        let wrong = match (quota, files_max) {
            (Some(quota), _) if bytes.saturating_sub(replaces.unwrap_or(0)) > quota => {
                beyond(quota)
            }
            (_, Some(max)) if files > max => {
                FileError::new(FileErrorKind::Quota, format!("there may be {max} files"))
            }
            _ => return Ok(true),
        };
        // Somebody may have removed files since.
        if t.now.since(known.at) > FILE_COUNT_AGE_MAX {
            self.recount(t);
            return Ok(false);
        }
        Err(wrong)
    }

    fn recount(&mut self, t: &mut Turn<'_>) {
        let Some(disk) = self.disk.as_deref().filter(|_| self.count.errand.is_none()) else {
            return;
        };
        let number = self.storing.errand();
        self.count.errand = Some((number, ChildOutput::default()));
        t.send_on_errand(Errand {
            number,
            order: Order::Count.text(),
            files: disk.directories(),
            within: within(0),
        });
    }

    /// News of the child that counts, if it is that.
    pub(super) fn counted(
        &mut self,
        t: &mut BroadcastTurn<'_>,
        number: u64,
        event: &ErrandEvent<'_>,
    ) -> bool {
        let Some((_, output)) = self.count.errand.as_mut().filter(|(its, _)| *its == number) else {
            return false;
        };
        if let ErrandEvent::Wrote(bytes) = event {
            for answer in output.hear(bytes) {
                if let FileAnswer::Ok(facts) = answer {
                    self.count.known = Some(Known {
                        bytes: facts.bytes.unwrap_or(0),
                        files: facts.files.unwrap_or(0),
                        at: t.now,
                    });
                }
            }
            return true;
        }
        self.count.errand = None;
        if self.count.known.is_none() {
            // It cannot be counted: then nothing is known to be there, and the disk says when it is full.
            log::warn!("what is beneath the root cannot be counted");
            self.count.known = Some(Known {
                bytes: 0,
                files: 0,
                at: t.now,
            });
        }
        for id in std::mem::take(&mut self.waiting) {
            t.visit(id);
        }
        true
    }

    /// When what is kept of uploads is to be looked through again.
    pub(super) fn next_sweep(&self) -> Option<Moment> {
        (!self.kept.is_empty()).then(|| self.swept.after(SWEEP))
    }

    /// Removes what was kept of uploads for too long.
    pub(super) fn sweep(&mut self, now: Moment) {
        if now.since(self.swept) < SWEEP && self.swept != Moment::START {
            return;
        }
        self.swept = now;
        let Some(disk) = self.disk.as_deref() else {
            return;
        };
        let users = &self.users;
        self.kept.retain(|name, remains| {
            let until = *remains.until.get_or_insert(now.after(remains.left));
            let is_over = until <= now && !users.contains_key(name);
            if is_over {
                disk.unstage(name, None);
            }
            !is_over
        });
    }
}
