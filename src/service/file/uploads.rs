//! Uploads: how one begins, what is done with what comes, and how it ends.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::Files;
use super::disk::{Disk, news, partial, temporary};
use super::following::Following;
use super::options::Overwrite;
use super::output::Output as ChildOutput;
use super::room::{Remains, grow};
use super::session::{
    Offer, Pending, Phase, Place, Receiving, Session, Staged, Work, lost, note, note_of,
};
use super::storing::{Arrived, within};
use super::work::{Order, Store, of_system};
use crate::config::limits::{
    FILE_AT_ONCE_BYTES_MAX, FILE_DROPPED_BYTES_MAX, FILE_FOLLOWED_BYTES_MIN, FILE_KEPT_BYTES_MIN,
    FILES_OPEN_MAX, FILES_PENDING_PER_CONNECTION_MAX, PROGRESS_BYTES_PER_SECOND_MIN,
    PROGRESS_GRACE, UPLOADS_PER_SOURCE_MAX,
};
use crate::config::random_bytes;
use crate::service::Peer;
use crate::turn::{BroadcastTurn, ConnId, Errand, ErrandEvent, FileFate, FileNote, Moment, Turn};
use crate::wire::{
    Encode, FileAnswer, FileError, FileErrorKind, FileName, Sha256Sum, Upload, UploadForm,
};

/// What becomes of an upload.
const UPLOAD: (FileFate, FileFate) = (FileFate::Stored, FileFate::Refused);

/// What came fast counts for the time after it up to so much: or a client that has sent a gigabyte could rest for
/// twelve days.
const SPARED_BYTES_MAX: u64 = 256 * 1024;

/// How an upload begins.
enum Begins {
    /// Its bytes come.
    Receives(Receiving),
    /// After room was taken for it.
    Reserves(Receiving, u64),
    /// Later.
    Waits,
}

impl Files {
    pub(super) fn begin_upload(&mut self, t: &mut Turn<'_>, upload: Upload) {
        let begins = self.try_upload(t, &upload);
        match begins {
            Ok(Begins::Receives(receiving)) => self.begin_to_receive(t, receiving),
            Ok(Begins::Reserves(receiving, bytes)) => {
                let order = Order::Reserve { bytes };
                let files = match self.lend(&receiving.staged) {
                    Ok(file) => vec![file],
                    Err(error) => return self.fail_reserved(t, receiving, error),
                };
                self.work(
                    t,
                    &order,
                    files,
                    Work::Reserves(receiving, ChildOutput::default()),
                );
            }
            Ok(Begins::Waits) => {
                if let Some(session) = self.sessions.get_mut(t.id) {
                    session.phase = Phase::Waits(Box::new(upload));
                    t.hold();
                }
                if !self.waiting.contains(&t.id) {
                    self.waiting.push_back(t.id);
                }
            }
            Err(error) => self.refuse_upload(t, error.about(&upload.name)),
        }
    }

    /// A file for a child that does not store it.
    pub(super) fn lend(&self, staged: &Staged) -> Result<Arc<OwnedFd>, FileError> {
        let lent = self.disk()?.lend(&staged.file);
        lent.map_err(|error| of_system(&error))
    }

    pub(super) fn begin_to_receive(&mut self, t: &mut Turn<'_>, mut receiving: Receiving) {
        receiving.since = t.now;
        receiving.following = self.follow(t, &receiving);
        let is_whole = receiving.is_whole();
        t.wake_at(slowest(&receiving));
        let Some(session) = self.sessions.get_mut(t.id) else {
            return;
        };
        session.phase = Phase::Receiving(Box::new(receiving));
        if is_whole {
            self.has_arrived(t);
        }
    }

    /// Has a child digest a large file while it comes. What is in it already it reads, too.
    fn follow(&mut self, t: &mut Turn<'_>, receiving: &Receiving) -> Option<Following> {
        let size = receiving.size?;
        let is_worth = size >= FILE_FOLLOWED_BYTES_MIN && receiving.md5.is_none();
        if !is_worth || !self.followers.has_room() {
            return None;
        }
        // Without, it is digested when it has come.
        let lent = self.lend(&receiving.staged).ok()?;
        let (its, ours) = news().ok()?;
        let number = self.storing.errand();
        self.followers.begins(number);
        t.send_on_errand(Errand {
            number,
            order: Order::Follow { size }.text(),
            files: vec![lent, Arc::new(its)],
            // As long as it may take to come, and then to be read.
            within: PROGRESS_GRACE
                + Duration::from_secs(size / PROGRESS_BYTES_PER_SECOND_MIN)
                + within(size),
        });
        Some(Following::new(number, ours))
    }

    /// News of a child that digests a file while it comes; `false`: it is none.
    pub(super) fn followed(
        &mut self,
        t: &mut BroadcastTurn<'_>,
        number: u64,
        event: &ErrandEvent<'_>,
    ) -> bool {
        if !self.followers.has(number) {
            return false;
        }
        match event {
            ErrandEvent::Wrote(bytes) => match self.followers.says(number, bytes) {
                Some(sha256) => self.storing.digested(number, Some(sha256)),
                None => return true,
            },
            ErrandEvent::Ended(_) | ErrandEvent::Failed(_) => {
                self.followers.ends(number);
                self.storing.digested(number, None);
            }
        }
        while let Some(errand) = self.next_errand() {
            t.send_on_errand(errand);
        }
        true
    }

    /// An upload is not stored; what follows of it is dropped, or too much.
    fn refuse_upload(&mut self, t: &mut Turn<'_>, error: FileError) {
        let Some(session) = self.sessions.get_mut(t.id) else {
            return;
        };
        session.phase = Phase::Idle;
        let answer = FileAnswer::Error(error);
        session.queue(&answer);
        t.note(note_of(&session.peer, &answer, UPLOAD, ("", 0)));
        let requests = &session.requests;
        if requests.is_in_parts() || requests.left() > FILE_DROPPED_BYTES_MAX {
            session.is_last = true;
        }
        self.let_next(|id| t.visit(id));
    }

    fn try_upload(&mut self, t: &mut Turn<'_>, upload: &Upload) -> Result<Begins, FileError> {
        if !self.options.access.writes() {
            return Err(FileError::new(
                FileErrorKind::Denied,
                "nothing is stored here",
            ));
        }
        let name = self.name(&upload.name)?;
        let replaces = self.may_store(&name, upload.size)?;
        let offer = self.offered(t, upload, &name)?;
        let Some(place) = self.place(t, offer.as_ref()) else {
            // Whoever waits keeps what it was told.
            self.put_back(t, offer);
            return Ok(Begins::Waits);
        };
        let kept = upload.kept.map_or(0, |kept| kept.bytes);
        let size = upload.size.unwrap_or(0);
        match self.has_room(t, size, replaces) {
            Ok(true) => {}
            Ok(false) => {
                self.put_back(t, offer);
                return Ok(Begins::Waits);
            }
            Err(error) => return Err(error),
        }
        let system = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock => FileError::new(
                FileErrorKind::Busy,
                "another connection is sending this file",
            ),
            _ => of_system(&error),
        };
        let staged = match offer {
            Some(offer) => offer.staged,
            None => self.stage(t, upload, &name).map_err(system)?,
        };
        if let Err(error) = self.disk()?.cut(&staged.file, kept) {
            self.drop_staged(&staged);
            return Err(system(error));
        }
        self.count.reserved += size;
        self.count.coming += 1;
        let receiving = Receiving {
            name,
            staged,
            size: upload.size,
            at: kept,
            has_end: upload.has_end,
            md5: upload.md5,
            sha256: upload.sha256,
            reserved: size,
            since: t.now,
            from: kept,
            replaces,
            is_lost: false,
            following: None,
            place,
        };
        if size > FILE_AT_ONCE_BYTES_MAX {
            return Ok(Begins::Reserves(receiving, size));
        }
        if let Err(error) = self.disk()?.reserve(&receiving.staged.file, size) {
            self.drop_receiving(receiving);
            return Err(of_system(&error));
        }
        Ok(Begins::Receives(receiving))
    }

    /// Whether a file of this name and size may be stored; and how large what it replaces is.
    pub(super) fn may_store(
        &self,
        name: &FileName,
        size: Option<u64>,
    ) -> Result<Option<u64>, FileError> {
        let max = self.options.max_file.map(|max| max as u64);
        if let (Some(max), Some(size)) = (max, size)
            && size > max
        {
            return Err(FileError::new(
                FileErrorKind::TooLarge,
                format!("{size} bytes are more than the {max} that a file may have"),
            ));
        }
        let there = self
            .disk()?
            .size_of(name)
            .map_err(|error| of_system(&error))?;
        match self.options.overwrite {
            Overwrite::Refuse if there.is_some() => Err(FileError::new(
                FileErrorKind::Exists,
                "a file of this name is there",
            )),
            Overwrite::Replace => Ok(there),
            Overwrite::Refuse | Overwrite::Rename => Ok(None),
        }
    }

    /// What is kept of an upload that goes on: what its connection was told, and it says again (fault G10).
    fn offered(
        &mut self,
        t: &mut Turn<'_>,
        upload: &Upload,
        name: &FileName,
    ) -> Result<Option<Offer>, FileError> {
        let Some(session) = self.sessions.get_mut(t.id) else {
            return Ok(None);
        };
        let offer = session.offer.take();
        let changed = |reason: &str| Err(FileError::new(FileErrorKind::Changed, reason));
        let (offer, kept) = match (offer, upload.kept) {
            (Some(offer), Some(kept)) => (offer, kept),
            (None, Some(_)) => return changed("ask with `resume` first how much is kept"),
            (offer, None) => {
                if let Some(offer) = offer {
                    self.keep(t.id, &offer.staged.name, offer.kept.bytes, t.now);
                }
                return Ok(None);
            }
        };
        if offer.name != *name || Some(offer.size) != upload.size || offer.kept != kept {
            self.keep(t.id, &offer.staged.name, offer.kept.bytes, t.now);
            return changed("what is kept is not what the client has");
        }
        if self.users.get(&offer.staged.name) != Some(&t.id) {
            return changed("another connection goes on with this file");
        }
        Ok(Some(offer))
    }

    /// A connection does not go on with what it was told, or was to be told; somebody may later.
    pub(super) fn keep(&mut self, id: ConnId, staged: &str, bytes: u64, now: Moment) {
        if self.users.get(staged) == Some(&id) {
            self.users.remove(staged);
            let remains = Remains::of(bytes, self.options.keep_partial, now);
            self.kept.entry(staged.to_owned()).or_insert(remains);
        }
    }

    fn put_back(&mut self, t: &Turn<'_>, offer: Option<Offer>) {
        if let Some(session) = self.sessions.get_mut(t.id) {
            session.offer = offer;
        }
    }

    /// Whether a connection may send one file more now. What it goes on with has a place already.
    pub(super) fn has_place(&self, session: &Session, has_offer: bool) -> bool {
        let is_stored = |pending: &&Pending| matches!(pending, Pending::Stores(_));
        let pending = session.pending.iter().filter(is_stored).count();
        let open = Arc::strong_count(&self.places.of_all) - 1;
        let of_source = counted(&session.peer).and_then(|ip| self.sources.get(&ip));
        pending < FILES_PENDING_PER_CONNECTION_MAX
            && (open < FILES_OPEN_MAX || has_offer)
            && of_source.is_none_or(|place| Arc::strong_count(place) <= UPLOADS_PER_SOURCE_MAX)
    }

    /// A place for one file more, if there is one.
    fn place(&mut self, t: &Turn<'_>, offer: Option<&Offer>) -> Option<Place> {
        let session = self.sessions.get(t.id)?;
        if !self.has_place(session, offer.is_some()) {
            return None;
        }
        let of_source = counted(&session.peer).map(|ip| {
            self.sources.retain(|_, place| Arc::strong_count(place) > 1);
            self.sources.entry(ip).or_default().clone()
        });
        Some(Place {
            of_all: offer.map_or_else(
                || self.places.of_all.clone(),
                |offer| offer.place.of_all.clone(),
            ),
            of_source,
        })
    }

    /// Opens what a file is written to until it is whole.
    fn stage(&mut self, t: &mut Turn<'_>, upload: &Upload, name: &FileName) -> io::Result<Staged> {
        self.sweep(t.now);
        if let Some(disk) = &mut self.disk {
            disk.take_over();
        }
        let is_kept = upload.form == UploadForm::Resumable && upload.size.is_some();
        let staged = if is_kept {
            partial(name, upload.size.unwrap_or(0))
        } else {
            temporary(u64::from_ne_bytes(random_bytes()?))
        };
        if let Some(staged) = self.take_from_another(t, &staged) {
            return Ok(staged);
        }
        let disk = self.disk.as_deref();
        let found = disk.ok_or(io::ErrorKind::NotConnected)?.stage(&staged)?;
        if is_kept {
            self.users.insert(staged.clone(), t.id);
        }
        Ok(Staged {
            name: staged,
            file: found.file,
            is_kept,
        })
    }

    /// The later connection has it: the earlier one may have been cut off without our hearing of it.
    pub(super) fn take_from_another(&mut self, t: &mut Turn<'_>, name: &str) -> Option<Staged> {
        let other = *self.users.get(name)?;
        let session = self.sessions.get_mut(other)?;
        let is_it = |staged: &Staged| staged.name == name;
        let works_with = match &mut session.phase {
            Phase::Receiving(receiving) if is_it(&receiving.staged) => Some(receiving.lose()),
            Phase::Working(work) => match &mut **work {
                Work::Reserves(receiving, _) if is_it(&receiving.staged) => Some(receiving.lose()),
                Work::Offers { staged, .. } if is_it(staged) => Some(staged.clone()),
                _ => None,
            },
            _ => None,
        };
        // Or it was told of it, and does something else.
        let staged = match works_with {
            Some(staged) => staged,
            None => session.offer.take_if(|offer| is_it(&offer.staged))?.staged,
        };
        self.users.insert(name.to_owned(), t.id);
        if other != t.id {
            t.visit(other);
        }
        Some(staged)
    }

    /// The next bytes of a file.
    pub(super) fn receive(&mut self, t: &mut Turn<'_>, bytes: &[u8]) {
        let Some(session) = self.sessions.get_mut(t.id) else {
            return;
        };
        let Phase::Receiving(receiving) = &mut session.phase else {
            // Of an upload that was refused.
            return;
        };
        let wrong = if receiving.is_lost {
            Some(lost())
        } else {
            let claimed = match receiving.size {
                Some(_) => Ok(()),
                None => grow(
                    &self.options,
                    &mut self.count,
                    receiving,
                    bytes.len() as u64,
                ),
            };
            let disk = self.disk.as_deref();
            let written = claimed.and_then(|()| write_all(disk, receiving, bytes));
            if let Some(following) = &mut receiving.following {
                following.hears(receiving.at);
            }
            written.err()
        };
        let is_whole = receiving.is_whole();
        match wrong {
            Some(error) => self.fail(t, error),
            None if is_whole => self.has_arrived(t),
            None => {}
        }
    }

    /// A file that came in parts is whole, or one of which the digest was to follow.
    pub(super) fn end_parts(&mut self, t: &mut Turn<'_>, sha256: Option<Sha256Sum>) {
        let Some(session) = self.sessions.get_mut(t.id) else {
            return;
        };
        let Phase::Receiving(receiving) = &mut session.phase else {
            return;
        };
        match (receiving.sha256, sha256) {
            _ if receiving.is_lost => return self.fail(t, lost()),
            (Some(before), Some(now)) if before != now => {
                let error = FileError::new(FileErrorKind::Digest, "it was another before");
                return self.fail(t, error);
            }
            (_, sha256 @ Some(_)) => receiving.sha256 = sha256,
            (_, None) => {}
        }
        self.has_arrived(t);
    }

    /// A file has come: a child stores it.
    fn has_arrived(&mut self, t: &mut Turn<'_>) {
        let Some(session) = self.sessions.get_mut(t.id) else {
            return;
        };
        let Phase::Receiving(receiving) = std::mem::replace(&mut session.phase, Phase::Idle) else {
            return;
        };
        let number = self.storing.number();
        session.pending.push_back(Pending::Stores(number));
        let peer = session.peer;
        t.wake_at(Moment::NEVER);
        let receiving = *receiving;
        // None: it has none, or it has said what it had to, or it has ended and cannot.
        let follower = receiving.following.map(|following| following.number);
        let digested = follower.and_then(|number| self.followers.digest(number));
        let follower = follower.filter(|number| digested.is_none() && self.followers.has(*number));
        self.users.remove(&receiving.staged.name);
        self.kept.remove(&receiving.staged.name);
        self.storing.push(Arrived {
            number,
            owner: t.id,
            peer,
            order: Store {
                staged: receiving.staged.name.clone(),
                name: receiving.name.as_str().to_owned(),
                size: receiving.at,
                md5: receiving.md5.map(|sum| sum.to_string()),
                sha256: receiving.sha256.map(|sum| sum.to_string()),
                digested: digested.map(|sum| sum.to_string()),
            },
            follower,
            staged: receiving.staged,
            reserved: receiving.reserved,
            replaces: receiving.replaces,
            // It waits for the disk now, and not for its sender.
            place: Place {
                of_source: None,
                ..receiving.place
            },
        });
        drop(receiving.place.of_source);
        while let Some(errand) = self.next_errand() {
            t.send_on_errand(errand);
        }
        self.let_next(|id| t.visit(id));
    }

    fn next_errand(&mut self) -> Option<Errand> {
        let directories = self.disk.as_deref()?.directories();
        let (sync, overwrite) = (self.options.sync, self.options.overwrite);
        self.storing.next(directories, sync, overwrite)
    }

    /// A file that comes is not stored, for this reason.
    pub(super) fn fail(&mut self, t: &mut Turn<'_>, error: FileError) {
        let Some(session) = self.sessions.get_mut(t.id) else {
            return;
        };
        let phase = std::mem::replace(&mut session.phase, Phase::Idle);
        t.wake_at(Moment::NEVER);
        let error = match phase {
            Phase::Receiving(receiving) => {
                let error = error.about(receiving.name.as_str());
                self.drop_receiving(*receiving);
                error
            }
            _ => error,
        };
        self.refuse_upload(t, error);
    }

    /// As [`fail`](Files::fail), of one whose bytes were not taken yet.
    pub(super) fn fail_reserved(
        &mut self,
        t: &mut Turn<'_>,
        receiving: Receiving,
        error: FileError,
    ) {
        let error = error.about(receiving.name.as_str());
        self.drop_receiving(receiving);
        self.refuse_upload(t, error);
    }

    /// What is kept of an upload, and how much it is.
    pub(super) fn open_partial(&mut self, t: &mut Turn<'_>, key: &str) -> Option<(Staged, u64)> {
        let staged = match self.take_from_another(t, key) {
            Some(staged) => staged,
            None => Staged {
                name: key.to_owned(),
                file: self.disk.as_deref()?.stage(key).ok()?.file,
                is_kept: true,
            },
        };
        self.users.insert(key.to_owned(), t.id);
        let bytes = self.disk.as_deref()?.staged_size(&staged.file).ok()?;
        (bytes > 0).then_some((staged, bytes))
    }

    /// Nothing is kept of it.
    fn drop_receiving(&mut self, receiving: Receiving) {
        self.count.release(receiving.reserved);
        if !receiving.is_lost {
            self.drop_staged(&receiving.staged);
        }
    }

    pub(super) fn drop_staged(&mut self, staged: &Staged) {
        self.forget_staged(staged);
        if let Some(disk) = &self.disk {
            disk.unstage(&staged.name, Some(&staged.file));
        }
    }

    /// What a connection is in the middle of does not come to its end.
    pub(super) fn cut_off(&mut self, t: &mut Turn<'_>, peer: &Peer, phase: Phase, why: &str) {
        let mut tell = |fate, name: &str, bytes| {
            t.note(FileNote {
                why: Some(why.to_owned()),
                ..note(peer, fate, name, bytes)
            });
        };
        let receiving = match phase {
            Phase::Receiving(receiving) => *receiving,
            Phase::Working(work) => match *work {
                Work::Reserves(receiving, _) => receiving,
                Work::Compares(sending, _) => {
                    return tell(FileFate::Unsent, sending.name.as_str(), 0);
                }
                Work::Offers { staged, bytes, .. } => {
                    return self.keep(t.id, &staged.name, bytes, t.now);
                }
                Work::Answers { .. } | Work::Ends => return,
            },
            Phase::Sending(sending) => {
                let bytes = sending.at - sending.from;
                return tell(FileFate::Unsent, sending.name.as_str(), bytes);
            }
            Phase::Waits(upload) => return tell(FileFate::Refused, &upload.name, 0),
            Phase::Idle | Phase::Asks(_) => return,
        };
        tell(FileFate::Refused, receiving.name.as_str(), receiving.at);
        self.abandon(receiving, t.now);
    }

    fn forget_staged(&mut self, staged: &Staged) {
        self.users.remove(&staged.name);
        self.kept.remove(&staged.name);
    }

    /// The connection breaks in the middle of it: it can be resumed, if it is worth that.
    fn abandon(&mut self, receiving: Receiving, now: Moment) {
        let is_worth = receiving.at >= FILE_KEPT_BYTES_MIN && !receiving.is_lost;
        if !receiving.staged.is_kept || !is_worth {
            return self.drop_receiving(receiving);
        }
        self.count.release(receiving.reserved);
        self.users.remove(&receiving.staged.name);
        // What was reserved beyond what came is given back: the quota does not count it.
        let disk = self.disk.as_deref();
        if disk.is_none_or(|disk| disk.cut(&receiving.staged.file, receiving.at).is_err()) {
            return self.drop_staged(&receiving.staged);
        }
        let remains = Remains::of(receiving.at, self.options.keep_partial, now);
        self.kept.insert(receiving.staged.name, remains);
    }

    /// A file came more slowly than it may, or goes on elsewhere.
    pub(super) fn check_progress(&mut self, t: &mut Turn<'_>) {
        let Some(session) = self.sessions.get_mut(t.id) else {
            return;
        };
        let (is_late, is_lost) = match &mut session.phase {
            Phase::Receiving(receiving) => {
                if receiving.at - receiving.from >= SPARED_BYTES_MAX {
                    (receiving.since, receiving.from) = (t.now, receiving.at);
                }
                let due = slowest(receiving);
                if due > t.now {
                    t.wake_at(due);
                }
                (due <= t.now, receiving.is_lost)
            }
            _ => return,
        };
        if is_lost {
            session.is_last = true;
            self.fail(t, lost());
        } else if is_late {
            session.is_last = true;
            let phase = std::mem::replace(&mut session.phase, Phase::Idle);
            let error = FileError::new(
                FileErrorKind::TooSlow,
                format!(
                    "slower than {PROGRESS_BYTES_PER_SECOND_MIN} bytes a second, after {} s",
                    PROGRESS_GRACE.as_secs()
                ),
            );
            if let Phase::Receiving(receiving) = phase {
                let answer = FileAnswer::Error(error.about(receiving.name.as_str()));
                session.queue(&answer);
                t.note(note_of(&session.peer, &answer, UPLOAD, ("", receiving.at)));
                self.abandon(*receiving, t.now);
            }
            self.let_next(|id| t.visit(id));
        }
    }

    /// What a child says of files that it stores, one answer each, in their order.
    pub(super) fn stored(&mut self, t: &mut BroadcastTurn<'_>, number: u64, bytes: &[u8]) {
        let Some(batch) = self.storing.batch(number) else {
            return;
        };
        let answers = batch.output.hear(bytes);
        let mut settled = Vec::new();
        for answer in answers {
            if let Some(arrived) = batch.files.pop_front() {
                settled.push((arrived, answer));
            }
        }
        for (arrived, answer) in settled {
            self.settle_upload(t, arrived, &answer);
        }
    }

    /// That child has ended, or did not begin: what it said nothing of is not stored.
    pub(super) fn storing_ended(&mut self, t: &mut BroadcastTurn<'_>, number: u64, why: &str) {
        for arrived in self.storing.end(number) {
            let error = FileError::new(FileErrorKind::System, why).about(&arrived.order.name);
            self.settle_upload(t, arrived, &FileAnswer::Error(error));
        }
        while let Some(errand) = self.next_errand() {
            t.send_on_errand(errand);
        }
    }

    fn settle_upload(
        &mut self,
        t: &mut BroadcastTurn<'_>,
        arrived: Arrived,
        answer: &FileAnswer<'_>,
    ) {
        self.count.release(arrived.reserved);
        let named = (arrived.order.name.as_str(), arrived.order.size);
        t.note(arrived.owner, note_of(&arrived.peer, answer, UPLOAD, named));
        if matches!(answer, FileAnswer::Ok(_)) {
            self.count.add(arrived.order.size, arrived.replaces);
        } else if let Some(disk) = &self.disk {
            // Not by its name alone: another of that name may have come since the child was done.
            disk.unstage(&arrived.staged.name, Some(&arrived.staged.file));
        }
        if let Some(session) = self.sessions.get_mut(arrived.owner) {
            let mut bytes = Vec::new();
            answer.encode(&mut bytes);
            let is_its = |pending: &&mut Pending| matches!(pending, Pending::Stores(n) if *n == arrived.number);
            if let Some(pending) = session.pending.iter_mut().find(is_its) {
                *pending = Pending::Ready(bytes);
            }
            t.visit(arrived.owner);
        }
        drop(arrived);
        self.let_next(|id| t.visit(id));
    }
}

/// The address by which uploads are counted: those of this machine are not.
fn counted(peer: &Peer) -> Option<IpAddr> {
    peer.ip().filter(|ip| !ip.is_loopback())
}

/// Until when more of it must have come.
fn slowest(receiving: &Receiving) -> Moment {
    let came = receiving.at.saturating_sub(receiving.from);
    let patience = Duration::from_secs(came / PROGRESS_BYTES_PER_SECOND_MIN);
    receiving.since.after(PROGRESS_GRACE + patience)
}

fn write_all(
    disk: Option<&dyn Disk>,
    receiving: &mut Receiving,
    mut bytes: &[u8],
) -> Result<(), FileError> {
    let disk =
        disk.ok_or_else(|| FileError::new(FileErrorKind::System, "the root was not opened"))?;
    while !bytes.is_empty() {
        match disk.write(&receiving.staged.file, bytes, receiving.at) {
            Ok(0) => return Err(of_system(&io::ErrorKind::WriteZero.into())),
            Ok(n) => {
                receiving.at += n as u64;
                bytes = &bytes[n..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(of_system(&error)),
        }
    }
    Ok(())
}
