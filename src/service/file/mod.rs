//! Files: uploads as the tutorials send them (F1, F2), and uploads that can be resumed, downloads and lists (F3).
//!
//! What arrives is whole, or is not there: a file is in a staging directory until a child has digested and synced
//! it, put it under its name, and synced its directory. Only then is it acknowledged. The loop itself writes what
//! came, and reads what is sent, from and to the cache of pages, a budget a turn.
//!
//! Does not know processes: it asks for an [errand](crate::turn::Errand) and is told what came of it. What only
//! Linux has is in `disk.rs` and `work.rs`.

mod disk;
mod downloads;
mod following;
mod known;
mod open_root;
mod options;
mod output;
mod room;
mod session;
mod storing;
mod syncing;
#[cfg(test)]
mod tests;
mod uploads;
mod work;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use self::disk::{Disk, Leftover, Root};
use self::following::Followers;
use self::known::Known;
use self::room::{Count, Remains};
use self::session::{Asked, Pending, Phase, Place, Session, reason_of};
use self::storing::Storing;
use super::{Manner, Occasion, OverStreams, Peer, Row, Service, Sessions};
use crate::buf::ReadBuf;
use crate::config::Transport;
use crate::turn::{
    BroadcastTurn, ChildEvent, Closed, ConnId, ErrandEvent, Exit, Fault, Moment, Turn,
};
use crate::wire::{Encode, FileAnswer, FileError, FileErrorKind, FileName, FileRequest, WireError};

pub(super) use self::disk::Found;
pub(super) use self::open_root::OpenRoot;
pub use self::options::{Access, Options, Overwrite, Sync};
pub use self::syncing::sync_all;
pub use self::work::perform;

/// Its row in the table.
pub const ROW: Row = Row {
    name: "file",
    summary: "files beneath a directory",
    usual: Transport::Tcp,
    stream: Some(&OverStreams {
        build: |options: &Options, _| Box::new(Files::new(options)),
    }),
    datagrams: None,
};

/// How many bytes of memory an answer that waits has, about.
const PENDING_BYTES: usize = 512;

/// Files beneath a root (F1 to F3).
#[derive(Debug)]
pub struct Files {
    options: Options,
    /// None until it is prepared.
    disk: Option<Box<dyn Disk>>,
    sessions: Sessions<Session>,
    storing: Storing,
    followers: Followers,
    known: Known,
    /// What is kept of uploads, by its name in the staging directory.
    kept: BTreeMap<String, Remains>,
    /// Which connection goes on with one of them.
    users: BTreeMap<String, ConnId>,
    swept: Moment,
    count: Count,
    /// Connections that wait for a place, or for the count.
    waiting: VecDeque<ConnId>,
    places: Place,
    sources: BTreeMap<IpAddr, Arc<()>>,
}

impl Files {
    /// The service of an endpoint with these options; it serves nothing before it is
    /// [prepared](Service::prepare).
    pub fn new(options: &Options) -> Files {
        Files {
            options: options.clone(),
            disk: None,
            sessions: Sessions::default(),
            storing: Storing::default(),
            followers: Followers::default(),
            known: Known::default(),
            kept: BTreeMap::new(),
            users: BTreeMap::new(),
            swept: Moment::START,
            count: Count::default(),
            waiting: VecDeque::new(),
            places: Place::default(),
            sources: BTreeMap::new(),
        }
    }

    fn disk(&self) -> Result<&dyn Disk, FileError> {
        let missing = || FileError::new(FileErrorKind::System, "the root was not opened");
        self.disk.as_deref().ok_or_else(missing)
    }

    fn name(&self, name: &str) -> Result<FileName, FileError> {
        FileName::new(name, self.options.names)
            .map_err(|wrong| FileError::new(FileErrorKind::Name, wrong.to_string()))
    }

    /// Takes requests until something is to be waited for, or nothing whole is left.
    fn serve(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        loop {
            let Some(session) = self.sessions.get_mut(t.id) else {
                input.consume(input.len());
                return Ok(());
            };
            if session.is_busy() || session.is_over() || t.is_leaving() {
                return Ok(());
            }
            let request = match input.next(&mut session.requests) {
                Ok(Some(request)) => request,
                Ok(None) => return Ok(()),
                Err(error) => return self.cannot_read(t, error),
            };
            let asked = match request {
                FileRequest::Part => continue,
                FileRequest::Bytes(bytes) => {
                    self.receive(t, bytes);
                    continue;
                }
                FileRequest::Upload(upload) => {
                    self.begin_upload(t, *upload);
                    continue;
                }
                FileRequest::End(sha256) => {
                    self.end_parts(t, sha256);
                    continue;
                }
                FileRequest::Resume { name, size } => Asked::Resume { name, size },
                FileRequest::Verify { name, bytes } => Asked::Verify { name, bytes },
                FileRequest::Download { name, kept } => Asked::Download { name, kept },
                FileRequest::List => Asked::List,
            };
            session.phase = Phase::Asks(Box::new(asked));
            self.tend(t);
        }
    }

    /// What came is no request. It is said behind what is owed, and the connection ends.
    fn cannot_read(&mut self, t: &mut Turn<'_>, error: WireError) -> Result<(), Fault> {
        let answer = FileError::new(FileErrorKind::Protocol, error.to_string());
        let Some(session) = self.sessions.get_mut(t.id) else {
            return Ok(());
        };
        let is_alone = session.pending.is_empty();
        let phase = std::mem::replace(&mut session.phase, Phase::Idle);
        let peer = session.peer;
        session.queue(&FileAnswer::Error(answer.clone()));
        session.is_last = true;
        self.cut_off(t, &peer, phase, &reason_of(&answer));
        self.settle(t);
        if is_alone {
            return Err(error.into());
        }
        Ok(())
    }

    /// Sends what is answered, begins what has waited for that, and decides whether more is read.
    fn tend(&mut self, t: &mut Turn<'_>) {
        self.settle(t);
        let Some(session) = self.sessions.get_mut(t.id) else {
            return;
        };
        match std::mem::replace(&mut session.phase, Phase::Idle) {
            Phase::Asks(asked) if session.pending.is_empty() => self.begin_asked(t, *asked),
            Phase::Waits(upload) => self.begin_upload(t, *upload),
            other => session.phase = other,
        }
        self.settle(t);
        let Some(session) = self.sessions.get_mut(t.id) else {
            return;
        };
        match (session.is_busy(), t.is_held()) {
            (true, false) => t.hold(),
            (false, true) => t.resume(),
            _ => {}
        }
        t.keeps(session.pending.len() * PENDING_BYTES);
        if !matches!(session.phase, Phase::Idle) || !session.pending.is_empty() || t.is_leaving() {
            return;
        }
        if session.is_over() {
            t.close_lingering();
        } else if session.has_ended {
            t.close();
        }
    }

    /// Sends the answers that are known.
    fn settle(&mut self, t: &mut Turn<'_>) {
        let Some(session) = self.sessions.get_mut(t.id) else {
            return;
        };
        while let Some(Pending::Ready(_)) = session.pending.front() {
            if let Some(Pending::Ready(bytes)) = session.pending.pop_front() {
                t.reply(&bytes[..]);
            }
        }
    }

    fn answer(&mut self, t: &mut Turn<'_>, answer: &FileAnswer<'_>) {
        if let Some(session) = self.sessions.get_mut(t.id) {
            session.queue(answer);
        }
    }

    /// The first of those that wait for a place, and may have one now, has its turn.
    fn let_next(&mut self, visit: impl FnOnce(ConnId)) {
        let sessions = &self.sessions;
        self.waiting.retain(|id| {
            let session = sessions.get(*id);
            session.is_some_and(|session| matches!(session.phase, Phase::Waits(_)))
        });
        let next = self.waiting.iter().position(|id| {
            let session = self.sessions.get(*id);
            session.is_some_and(|session| self.has_place(session, session.offer.is_some()))
        });
        if let Some(id) = next.and_then(|n| self.waiting.remove(n)) {
            visit(id);
        }
    }
}

impl Service for Files {
    fn open(&mut self, t: &mut Turn<'_>, peer: &Peer) {
        self.sessions.insert(t.id, Session::new(*peer));
    }

    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        let outcome = self.serve(t, input);
        if outcome.is_ok() {
            self.tend(t);
        }
        outcome
    }

    fn drained(&mut self, t: &mut Turn<'_>) {
        self.send(t);
        self.tend(t);
    }

    fn file_sent(&mut self, t: &mut Turn<'_>, bytes: u64, error: Option<io::Error>) {
        self.piece_sent(t, bytes, error);
        self.tend(t);
    }

    fn wake(&mut self, t: &mut Turn<'_>) {
        self.check_progress(t);
        self.check_sending(t);
        self.tend(t);
    }

    fn child(&mut self, t: &mut Turn<'_>, event: ChildEvent<'_>) {
        self.child_has(t, event);
        self.tend(t);
    }

    fn errand(&mut self, t: &mut BroadcastTurn<'_>, number: u64, event: ErrandEvent<'_>) {
        if self.counted(t, number, &event) || self.followed(t, number, &event) {
            return;
        }
        match event {
            ErrandEvent::Wrote(bytes) => self.stored(t, number, bytes),
            ErrandEvent::Ended(exit) => {
                let why = match exit {
                    Exit::Code(code) => format!("the child that stores it ended with {code}"),
                    Exit::Signal(signal) => {
                        format!("the child that stores it was ended by signal {signal}")
                    }
                };
                self.storing_ended(t, number, &why);
            }
            ErrandEvent::Failed(error) => self.storing_ended(t, number, &error.to_string()),
        }
    }

    /// What is kept of uploads becomes too old, also where nobody sends any more.
    fn due(&self) -> Option<Moment> {
        self.next_sweep()
    }

    fn comes_due(&mut self, t: &mut Turn<'_>) {
        self.sweep(t.now);
    }

    fn prepare(&mut self, occasion: Occasion) -> Result<(), String> {
        let Some(path) = &self.options.root else {
            return Ok(());
        };
        let writes = self.options.access.writes();
        let (root, leftovers) = Root::open(path, writes, occasion)?;
        for Leftover { name, bytes, age } in leftovers {
            let left = self.options.keep_partial.saturating_sub(age);
            self.kept.insert(name, Remains::of_before(bytes, left));
        }
        self.disk = Some(Box::new(root));
        Ok(())
    }

    fn eof(&mut self, t: &mut Turn<'_>, rest: &mut ReadBuf) -> Result<(), Fault> {
        let Some(session) = self.sessions.get_mut(t.id) else {
            t.close();
            return Ok(());
        };
        session.has_ended = true;
        if !rest.is_empty() || !session.requests.is_whole() {
            // Half a header, or half a file (fault D10).
            let error = WireError::Truncated { have: rest.len() };
            let mut answer = FileError::new(FileErrorKind::Protocol, error.to_string());
            let why = reason_of(&answer);
            if let Phase::Receiving(receiving) = &session.phase {
                answer = answer.about(receiving.name.as_str());
            }
            session.queue(&FileAnswer::Error(answer));
            if matches!(session.phase, Phase::Receiving(_)) {
                let phase = std::mem::replace(&mut session.phase, Phase::Idle);
                let peer = session.peer;
                self.cut_off(t, &peer, phase, &why);
            }
        }
        self.tend(t);
        Ok(())
    }

    fn closed(&mut self, t: &mut Turn<'_>, why: &Closed) {
        let Some(session) = self.sessions.remove(t.id) else {
            return;
        };
        self.cut_off(t, &session.peer, session.phase, &why.to_string());
        if let Some(offer) = session.offer {
            self.keep(t.id, &offer.staged.name, offer.kept.bytes, t.now);
        }
        self.users.retain(|_, user| *user != t.id);
        self.let_next(|id| t.visit(id));
    }

    /// What has begun is finished, as long as the server waits.
    fn stopping(&mut self, t: &mut Turn<'_>) {
        if let Some(session) = self.sessions.get_mut(t.id) {
            session.is_stopping = true;
        }
        self.tend(t);
    }

    fn refusal(&self, reason: &str, out: &mut Vec<u8>) {
        FileAnswer::Error(FileError::new(FileErrorKind::Busy, reason)).encode(out);
    }

    fn manner(&self) -> Manner {
        Manner {
            // The tutorials' clients send and go, and never read what they are told.
            reads_after_reset: true,
            is_private: true,
            ..Manner::ANSWERS
        }
    }
}
