//! Scribes: a child for each service that writes something down, so that the loop waits for no disk.
//!
//! What the service writes goes through a pipe of which the loop keeps the reading end too: what a scribe has not read
//! when it ends is for the next one, which is started after a wait that grows as long as that happens again. When the
//! service has gone its end of the pipe has, too, and the scribe ends when it has written everything.

use std::ffi::OsString;
use std::os::fd::OwnedFd;

use super::Reactor;
use super::attendant::Attendant;
use super::helper::Owner;
use super::listener::ServiceId;
use super::os::Os;
use crate::turn::{Exit, Moment};
use crate::wire::Escaped;

/// The scribes of services.
#[derive(Debug, Default)]
pub(super) struct Scribes {
    all: Vec<Scribe>,
    /// How many there have been.
    count: u32,
}

#[derive(Debug)]
struct Scribe {
    /// No other has had it: the place of a service is used again.
    number: u32,
    /// None: it has gone, and there is nothing to write but what is in the pipe.
    service: Option<ServiceId>,
    arguments: Vec<OsString>,
    input: OwnedFd,
    child: Attendant,
}

impl Scribes {
    /// When one is to be started.
    pub(super) fn due(&self) -> Option<Moment> {
        let due = self.all.iter().filter_map(|scribe| scribe.child.due());
        due.min()
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut Scribe> {
        self.all.iter_mut().find(|scribe| scribe.number == number)
    }
}

impl<O: Os> Reactor<O> {
    /// A service has a listener: if it writes something down, a scribe begins, unless one has begun.
    pub(super) fn begin_scribe(&mut self, service: ServiceId) {
        let Some(file) = self.services[service.0].transcript() else {
            return;
        };
        if self
            .scribes
            .all
            .iter()
            .any(|scribe| scribe.service == Some(service))
        {
            return;
        }
        let arguments = vec!["audit-writer".into(), "--transcript".into(), file.into()];
        let (input, feed) = match self.os.new_feed() {
            Ok(ends) => ends,
            Err(error) => {
                log::error!(file:% = file.display(), error:%; "there is no pipe to a transcript, and nothing is written there");
                return;
            }
        };
        self.services[service.0].write_transcript_to(feed);
        let scribes = &mut self.scribes;
        scribes.count = scribes.count.wrapping_add(1);
        scribes.all.push(Scribe {
            number: scribes.count,
            service: Some(service),
            arguments,
            input,
            child: Attendant::new(self.now),
        });
    }

    /// A service has gone, and its end of the pipe: the scribe writes what is left, and ends.
    pub(super) fn end_scribe(&mut self, service: ServiceId) {
        let now = self.now;
        for scribe in &mut self.scribes.all {
            if scribe.service == Some(service) {
                scribe.service = None;
                scribe.child.hurry(now);
            }
        }
    }

    /// Starts those for which it is time.
    pub(super) fn tend_scribes(&mut self) {
        let now = self.now;
        let is_due = |scribe: &&Scribe| scribe.child.due().is_some_and(|due| due <= now);
        while let Some(scribe) = self.scribes.all.iter().find(is_due) {
            let number = scribe.number;
            let spawned = self.os.spawn_fed(&scribe.arguments, &scribe.input);
            let started = spawned.and_then(|new| self.watch_child(Owner::Scribe(number), new));
            let Some(scribe) = self.scribes.get_mut(number) else {
                continue;
            };
            match started {
                Ok(_) => scribe.child.started(now),
                Err(error) => {
                    let wait = scribe.child.failed(now);
                    log::warn!(error:%, wait:?; "the writer of a transcript cannot be started");
                }
            }
        }
    }

    /// A scribe complains.
    pub(super) fn scribe_wrote(&mut self, bytes: &[u8]) {
        log::warn!(said:% = Escaped(bytes.trim_ascii()); "the writer of a transcript complains");
    }

    /// A scribe has ended: as it should when its service has gone, else another follows.
    pub(super) fn scribe_ended(&mut self, number: u32, exit: Exit) {
        let now = self.now;
        let is_done = |scribe: &Scribe| scribe.number == number && scribe.service.is_none();
        self.scribes.all.retain(|scribe| !is_done(scribe));
        if let Some(scribe) = self.scribes.get_mut(number) {
            let wait = scribe.child.failed(now);
            log::warn!(exit:%, wait:?; "the writer of a transcript has ended; another is started");
        }
    }

    /// The configuration was read again: files that services write to are opened again, too.
    pub fn reopen_transcripts(&mut self) {
        for scribe in &self.scribes.all {
            if let Some(service) = scribe.service {
                self.services[service.0].reopen_transcript();
            }
        }
    }
}
