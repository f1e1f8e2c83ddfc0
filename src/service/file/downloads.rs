//! What is asked for besides uploads: what is kept of one, a digest, a file, a list.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::Files;
use super::disk::{Disk, partial};
use super::output::Output as ChildOutput;
use super::session::{Asked, Offer, Phase, Place, Sending, Work, lost, note_of};
use super::storing::within;
use super::work::{Order, of_system};
use crate::config::limits::{
    FILE_AT_ONCE_BYTES_MAX, FILES_OPEN_MAX, PROGRESS_BYTES_PER_SECOND_MIN, PROGRESS_GRACE,
};
use crate::turn::{
    ChildEvent, Errand, Exit, FileFate, FilePiece, Job, Moment, Output, Severity, Turn,
};
use crate::wire::{
    FileAnswer, FileError, FileErrorKind, FileFacts, FilePartHead, Kept, Names, Sha256,
};

/// What becomes of a download.
const DOWNLOAD: (FileFate, FileFate) = (FileFate::Sent, FileFate::Unsent);

/// How much of a file is announced at a time; it leaves by one budget a turn.
const PIECE_BYTES: u64 = 256 * 1024;

/// How much of a file is read and sent at a time: a budget of one turn.
const SEND_BYTES: usize = 64 * 1024;

impl Files {
    /// Begins what was asked, when its answer is the next.
    pub(super) fn begin_asked(&mut self, t: &mut Turn<'_>, asked: Asked) {
        let is_download = matches!(asked, Asked::Download { .. });
        let (name, outcome) = match asked {
            Asked::Resume { name, size } => {
                let outcome = self.resume(t, &name, size);
                (Some(name), outcome)
            }
            Asked::Verify { name, bytes } => {
                let outcome = self.verify(t, &name, bytes);
                (Some(name), outcome)
            }
            Asked::Download { name, kept } => {
                let outcome = self.download(t, &name, kept);
                (Some(name), outcome)
            }
            Asked::List => (None, self.list(t)),
        };
        if let Err(error) = outcome {
            let error = match name {
                Some(name) => error.about(&name),
                None => error,
            };
            let answer = FileAnswer::Error(error);
            if let Some(session) = self.sessions.get(t.id).filter(|_| is_download) {
                t.note(note_of(&session.peer, &answer, DOWNLOAD, ("", 0)));
            }
            self.answer(t, &answer);
        }
    }

    fn may_read(&self) -> Result<(), FileError> {
        if self.options.access.reads() {
            return Ok(());
        }
        Err(FileError::new(
            FileErrorKind::Denied,
            "nothing is read here",
        ))
    }

    /// Has a child work for this connection.
    pub(super) fn work(
        &mut self,
        t: &mut Turn<'_>,
        order: &Order,
        files: Vec<Arc<OwnedFd>>,
        work: Work,
    ) {
        let Some(session) = self.sessions.get_mut(t.id) else {
            return;
        };
        session.phase = Phase::Working(Box::new(work));
        t.hold();
        self.spawn(t, order, files);
    }

    fn spawn(&mut self, t: &mut Turn<'_>, order: &Order, files: Vec<Arc<OwnedFd>>) {
        let errand = Errand {
            number: self.storing.errand(),
            order: order.text(),
            files,
            within: within(0),
        };
        t.spawn(Job {
            errand: Some(errand),
            is_streamed: true,
            ..Job::default()
        });
    }

    /// How much is kept of an upload.
    fn resume(&mut self, t: &mut Turn<'_>, name: &str, size: u64) -> Result<(), FileError> {
        if !self.options.access.writes() {
            return Err(FileError::new(
                FileErrorKind::Denied,
                "nothing is stored here",
            ));
        }
        let name = self.name(name)?;
        self.may_store(&name, Some(size))?;
        self.sweep(t.now);
        if let Some(session) = self.sessions.get_mut(t.id)
            && let Some(offer) = session.offer.take()
        {
            self.keep(t.id, &offer.staged.name, offer.kept.bytes, t.now);
            drop(offer);
            self.let_next(|id| t.visit(id));
        }
        let key = partial(&name, size);
        let is_there = self.kept.contains_key(&key) || self.users.contains_key(&key);
        let staged = if is_there {
            self.open_partial(t, &key)
        } else {
            None
        };
        let Some((staged, there)) = staged else {
            let facts = FileFacts {
                name: Some(name.to_string()),
                size: Some(size),
                offset: Some(0),
                ..FileFacts::default()
            };
            self.answer(t, &FileAnswer::Ok(facts));
            return Ok(());
        };
        let bytes = there.min(size);
        let order = Order::Digest {
            first: None,
            size: Some(bytes),
        };
        let files = vec![self.lend(&staged)?];
        let work = Work::Offers {
            name,
            size,
            staged,
            bytes,
            output: ChildOutput::default(),
            place: self.places.clone(),
        };
        self.work(t, &order, files, work);
        Ok(())
    }

    fn verify(
        &mut self,
        t: &mut Turn<'_>,
        name: &str,
        bytes: Option<u64>,
    ) -> Result<(), FileError> {
        self.may_read()?;
        let name = self.name(name)?;
        let found = self
            .disk()?
            .open(&name)
            .map_err(|error| not_there(&error))?;
        let bytes = bytes.unwrap_or(found.size);
        if bytes > found.size {
            return Err(FileError::new(
                FileErrorKind::Changed,
                format!("the file has {} bytes", found.size),
            ));
        }
        let order = Order::Verify {
            name: name.to_string(),
            modified: found.modified,
            size: found.size,
            bytes,
        };
        let work = Work::Answers { has_begun: false };
        self.work(t, &order, vec![found.file], work);
        Ok(())
    }

    fn list(&mut self, t: &mut Turn<'_>) -> Result<(), FileError> {
        self.may_read()?;
        let order = Order::List {
            is_tree: self.options.names == Names::Tree,
        };
        let files = self.disk()?.directories();
        self.work(t, &order, files, Work::Answers { has_begun: false });
        Ok(())
    }

    fn download(
        &mut self,
        t: &mut Turn<'_>,
        name: &str,
        kept: Option<Kept>,
    ) -> Result<(), FileError> {
        self.may_read()?;
        let name = self.name(name)?;
        if Arc::strong_count(&self.places.of_all) > FILES_OPEN_MAX {
            return Err(FileError::new(
                FileErrorKind::Busy,
                "as many files are open as may",
            ));
        }
        let found = self
            .disk()?
            .open(&name)
            .map_err(|error| not_there(&error))?;
        // What has more than there is cannot be its beginning.
        let kept = kept.filter(|kept| kept.bytes <= found.size);
        let is_small = found.size <= FILE_AT_ONCE_BYTES_MAX && kept.is_none();
        // What the client shows is compared with the file itself.
        let sha256 = match kept {
            None if found.is_settled => self.known.find(&found.stamp, t.now),
            _ => None,
        };
        let order = Order::Digest {
            first: kept.map(|kept| kept.bytes),
            size: Some(found.size),
        };
        let files = vec![found.file.clone()];
        let sending = Sending {
            name,
            found,
            at: 0,
            from: 0,
            wrong: None,
            promised: 0,
            due: Moment::NEVER,
            is_read: is_small,
            on_the_way: is_small.then(Sha256::new),
            output: ChildOutput::default(),
            sha256,
            has_child: !is_small && sha256.is_none(),
            child_runs: false,
            place: Place {
                of_all: self.places.of_all.clone(),
                of_source: None,
            },
        };
        match kept {
            Some(kept) => {
                self.work(t, &order, files, Work::Compares(sending, kept));
            }
            None => {
                let has_child = sending.has_child;
                self.begin_to_send(t, sending);
                if has_child {
                    self.spawn(t, &order, files);
                }
            }
        }
        Ok(())
    }

    fn begin_to_send(&mut self, t: &mut Turn<'_>, sending: Sending) {
        let facts = FileFacts {
            name: Some(sending.name.to_string()),
            size: Some(sending.found.size),
            offset: Some(sending.at),
            modified: Some(sending.found.modified),
            ..FileFacts::default()
        };
        let Some(session) = self.sessions.get_mut(t.id) else {
            return;
        };
        session.phase = Phase::Sending(Box::new(sending));
        t.hold();
        t.reply(&FileAnswer::Ok(facts));
        self.send(t);
    }

    /// Sends the next bytes of a file, or its end.
    pub(super) fn send(&mut self, t: &mut Turn<'_>) {
        let (Some(disk), Some(session)) = (self.disk.as_deref(), self.sessions.get_mut(t.id))
        else {
            return;
        };
        let Phase::Sending(sending) = &mut session.phase else {
            return;
        };
        if sending.promised > 0 {
            // A part is on its way, and nothing else may come between its bytes.
            return;
        }
        let size = sending.found.size;
        if let Some(error) = sending.wrong.take() {
            let error = FileError {
                valid: Some(valid(disk, sending)),
                ..error.about(sending.name.as_str())
            };
            return self.sent(t, &FileAnswer::Error(error));
        }
        if sending.at == size {
            if let Some(sha256) = sending.on_the_way.take() {
                sending.sha256 = Some(sha256.finish());
            }
            // Or the child says it, and then this is done again.
            if let Some(sha256) = sending.sha256 {
                let facts = FileFacts {
                    name: Some(sending.name.to_string()),
                    size: Some(size),
                    sha256: Some(sha256),
                    ..FileFacts::default()
                };
                self.sent(t, &FileAnswer::Ok(facts));
            }
            return;
        }
        if !sending.is_read {
            sending.promised = PIECE_BYTES.min(size - sending.at);
            t.reply(&FilePartHead(sending.promised));
            t.send_file(FilePiece {
                file: sending.found.file.clone(),
                at: sending.at,
                bytes: sending.promised,
            });
            sending.due = t.now.after(patience(sending.promised));
            return t.wake_at(sending.due);
        }
        let room = usize::try_from(size - sending.at).unwrap_or(usize::MAX);
        let mut buffer = vec![0; room.min(SEND_BYTES)];
        let read = loop {
            match disk.read(&sending.found.file, &mut buffer, sending.at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let error = match read {
            Ok(0) => shorter(size),
            Ok(n) => {
                let bytes = &buffer[..n];
                if let Some(sha256) = &mut sending.on_the_way {
                    sha256.update(bytes);
                }
                sending.at += n as u64;
                t.reply(&FileAnswer::Bytes(bytes));
                t.tell_when_sent();
                sending.due = t.now.after(patience(n as u64));
                return t.wake_at(sending.due);
            }
            Err(error) => of_system(&error),
        };
        let error = FileError {
            valid: Some(valid(disk, sending)),
            ..error.about(sending.name.as_str())
        };
        self.sent(t, &FileAnswer::Error(error));
    }

    /// So much of the part that was announced has left, and no more will if there is an error.
    pub(super) fn piece_sent(&mut self, t: &mut Turn<'_>, bytes: u64, error: Option<io::Error>) {
        let (Some(disk), Some(session)) = (self.disk.as_deref(), self.sessions.get_mut(t.id))
        else {
            return;
        };
        let Phase::Sending(sending) = &mut session.phase else {
            return;
        };
        sending.at += bytes;
        sending.promised = sending.promised.saturating_sub(bytes);
        if error.is_some() && sending.promised > 0 {
            // It was announced, so it is read and sent now; and so is all that follows.
            sending.is_read = true;
            let mut buffer = vec![0; usize::try_from(sending.promised).unwrap_or(0)];
            let mut came = 0;
            while came < buffer.len() {
                match disk.read(&sending.found.file, &mut buffer[came..], sending.at) {
                    Ok(0) => break,
                    Ok(n) => {
                        came += n;
                        sending.at += n as u64;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            t.reply(&buffer[..came]);
            sending.promised -= came as u64;
            if sending.promised == 0 {
                return t.tell_when_sent();
            }
        }
        if sending.promised == 0 {
            return self.send(t);
        }
        // What was announced is filled up, and then said how much of it is the file's (fault G13).
        let filling = vec![0; usize::try_from(sending.promised).unwrap_or(0)];
        t.reply(&filling[..]);
        let error = FileError {
            valid: Some(valid(disk, sending)),
            ..shorter(sending.found.size).about(sending.name.as_str())
        };
        self.sent(t, &FileAnswer::Error(error));
    }

    /// A file was sent, or will not be.
    fn sent(&mut self, t: &mut Turn<'_>, answer: &FileAnswer<'_>) {
        let Some(session) = self.sessions.get_mut(t.id) else {
            return;
        };
        let phase = std::mem::replace(&mut session.phase, Phase::Idle);
        if let Phase::Sending(sending) = &phase
            && sending.has_child
        {
            t.kill(Severity::Force);
            if sending.child_runs {
                // Another may begin when it has ended.
                session.phase = Phase::Working(Box::new(Work::Ends));
            }
        }
        t.wake_at(Moment::NEVER);
        if let Phase::Sending(sending) = &phase {
            let bytes = sending.at - sending.from;
            let named = (sending.name.as_str(), bytes);
            t.note(note_of(&session.peer, answer, DOWNLOAD, named));
        }
        session.queue(answer);
        drop(phase);
        self.let_next(|id| t.visit(id));
    }

    /// A client that is sent a file takes nothing of it.
    pub(super) fn check_sending(&mut self, t: &mut Turn<'_>) {
        let Some(session) = self.sessions.get(t.id) else {
            return;
        };
        let Phase::Sending(sending) = &session.phase else {
            return;
        };
        if t.now < sending.due {
            // It was woken for something else, such as that what it was told is another's now.
            t.wake_at(sending.due);
        } else if sending.promised > 0 || t.owed() > 0 {
            t.close();
        }
    }

    /// News of the child that works for this connection.
    pub(super) fn child_has(&mut self, t: &mut Turn<'_>, event: ChildEvent<'_>) {
        let answers = match event {
            ChildEvent::Wrote(Output::Out, bytes) => return self.child_wrote(t, bytes),
            ChildEvent::Started => return self.child_started(t),
            ChildEvent::Wrote(Output::Err, _)
            | ChildEvent::Took(_)
            | ChildEvent::InputClosed
            | ChildEvent::Used(_) => return,
            ChildEvent::Ended(Exit::Code(0)) => None,
            ChildEvent::Ended(_) => Some(FileError::new(
                FileErrorKind::System,
                "the child that works on the file ended early",
            )),
            ChildEvent::Busy => Some(FileError::new(
                FileErrorKind::Busy,
                "as many children run and wait as may",
            )),
            ChildEvent::Failed(error) => Some(of_system(&error)),
        };
        self.child_ended(t, answers);
    }

    fn child_started(&mut self, t: &Turn<'_>) {
        let Some(session) = self.sessions.get_mut(t.id) else {
            return;
        };
        match &mut session.phase {
            Phase::Sending(sending) => sending.child_runs = true,
            Phase::Working(work) => {
                if let Work::Compares(sending, _) = &mut **work {
                    sending.child_runs = true;
                }
            }
            _ => {}
        }
    }

    fn child_wrote(&mut self, t: &mut Turn<'_>, bytes: &[u8]) {
        let Some(session) = self.sessions.get_mut(t.id) else {
            return;
        };
        match &mut session.phase {
            Phase::Sending(sending) => {
                for answer in sending.output.hear(bytes) {
                    // The first is of what the client has, if it was asked for.
                    if let FileAnswer::Ok(facts) = answer
                        && facts.bytes == Some(sending.found.size)
                    {
                        sending.sha256 = facts.sha256;
                        if let Some(sha256) = facts.sha256.filter(|_| sending.found.is_settled) {
                            let stamp = sending.found.stamp.clone();
                            self.known.learn(stamp, sha256, t.now);
                        }
                    }
                }
                if sending.sha256.is_some() && sending.at == sending.found.size {
                    self.send(t);
                }
            }
            Phase::Working(work) => match &mut **work {
                Work::Answers { has_begun } => {
                    *has_begun = true;
                    t.reply(bytes);
                }
                Work::Compares(sending, kept) => {
                    let answers = sending.output.hear(bytes);
                    let is_first = |answer: &&FileAnswer<'_>| matches!(answer, FileAnswer::Ok(facts) if facts.bytes == Some(kept.bytes));
                    let Some(FileAnswer::Ok(facts)) = answers.iter().find(is_first) else {
                        return;
                    };
                    let is_same = facts.sha256 == Some(kept.sha256);
                    let at = if is_same { kept.bytes } else { 0 };
                    let last = answers.iter().rev().find_map(|answer| match answer {
                        FileAnswer::Ok(facts) if facts.bytes == Some(sending.found.size) => {
                            facts.sha256
                        }
                        _ => None,
                    });
                    let phase = std::mem::replace(&mut session.phase, Phase::Idle);
                    if let Phase::Working(work) = phase
                        && let Work::Compares(mut sending, _) = *work
                    {
                        (sending.at, sending.from, sending.sha256) = (at, at, last);
                        self.begin_to_send(t, sending);
                    }
                }
                Work::Reserves(_, output) | Work::Offers { output, .. } => {
                    let answers = output.hear(bytes);
                    output.keep(answers);
                }
                Work::Ends => {}
            },
            _ => {}
        }
    }

    fn child_ended(&mut self, t: &mut Turn<'_>, wrong: Option<FileError>) {
        let Some(session) = self.sessions.get_mut(t.id) else {
            return;
        };
        let phase = std::mem::replace(&mut session.phase, Phase::Idle);
        let work = match phase {
            Phase::Working(work) => *work,
            Phase::Sending(mut sending) => {
                (sending.has_child, sending.child_runs) = (false, false);
                let wrong = match sending.sha256 {
                    Some(_) => None,
                    None => Some(wrong.unwrap_or_else(|| {
                        FileError::new(FileErrorKind::Changed, "the file changed while it was sent")
                    })),
                };
                let is_between_parts = sending.promised == 0;
                sending.wrong = wrong;
                let is_wrong = sending.wrong.is_some();
                session.phase = Phase::Sending(sending);
                if is_wrong && is_between_parts {
                    self.send(t);
                }
                return;
            }
            other => {
                session.phase = other;
                return;
            }
        };
        match work {
            Work::Ends => {}
            Work::Answers { has_begun: false } => {
                if let Some(error) = wrong {
                    session.queue(&FileAnswer::Error(error));
                }
            }
            // What it had begun to say has no end.
            Work::Answers { has_begun: true } => session.is_last = wrong.is_some(),
            Work::Compares(sending, _) => {
                let error = wrong.unwrap_or_else(|| {
                    FileError::new(FileErrorKind::Changed, "the file changed while it was read")
                });
                session.queue(&FileAnswer::Error(error.about(sending.name.as_str())));
            }
            Work::Reserves(receiving, output) => match wrong.or(output.error()) {
                _ if receiving.is_lost => self.fail_reserved(t, receiving, lost()),
                Some(error) => self.fail_reserved(t, receiving, error),
                None => self.begin_to_receive(t, receiving),
            },
            Work::Offers {
                name,
                size,
                staged,
                bytes,
                output,
                place,
            } => {
                let sha256 = output.sha256();
                let offset = if sha256.is_some() && wrong.is_none() {
                    bytes
                } else {
                    0
                };
                if let (Some(sha256), 1..) = (sha256, offset) {
                    session.offer = Some(Offer {
                        name: name.clone(),
                        size,
                        staged,
                        kept: Kept { bytes, sha256 },
                        place,
                    });
                }
                let facts = FileFacts {
                    name: Some(name.to_string()),
                    size: Some(size),
                    offset: Some(offset),
                    sha256: sha256.filter(|_| offset > 0),
                    ..FileFacts::default()
                };
                session.queue(&FileAnswer::Ok(facts));
            }
        }
        self.let_next(|id| t.visit(id));
    }
}

/// How much of what was sent is still of the file: what sendfile(2) has queued is what the file has when it leaves, so
/// what was cut off may have left as zeros.
fn valid(disk: &dyn Disk, sending: &Sending) -> u64 {
    let size = disk.staged_size(&sending.found.file);
    size.unwrap_or(0).min(sending.at)
}

/// Whoever does not take so much in that time takes nothing.
fn patience(bytes: u64) -> Duration {
    PROGRESS_GRACE + Duration::from_secs(bytes / PROGRESS_BYTES_PER_SECOND_MIN)
}

fn shorter(size: u64) -> FileError {
    FileError::new(
        FileErrorKind::Changed,
        format!("the file became shorter while it was sent: {size} bytes were announced"),
    )
}

/// Why a file cannot be opened. Whatever is in the way, no file that is served has this name.
fn not_there(error: &io::Error) -> FileError {
    use rustix::io::Errno;
    let is_elsewhere = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    let ways = [
        Errno::LOOP,
        Errno::XDEV,
        Errno::NOTDIR,
        Errno::NXIO,
        Errno::ISDIR,
    ];
    match error.kind() {
        io::ErrorKind::NotFound => FileError::new(FileErrorKind::NotFound, "there is no such file"),
        _ if ways.into_iter().any(is_elsewhere) => {
            FileError::new(FileErrorKind::NotFound, "there is no such file")
        }
        _ => of_system(error),
    }
}
