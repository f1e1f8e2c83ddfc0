use std::collections::VecDeque;
use std::net::{SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::disk::Found;
use super::following::Following;
use super::output::Output;
use crate::service::Peer;
use crate::turn::{FileFate, FileNote, Moment};
use crate::wire::{
    Encode, FileAnswer, FileError, FileErrorKind, FileName, FileRequests, Kept, Md5Sum, Sha256,
    Sha256Sum, Upload,
};

/// What is known of a connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) peer: Peer,
    pub(super) requests: FileRequests,
    pub(super) phase: Phase,
    /// Answers in the order of their requests, from the first that is not known yet.
    pub(super) pending: VecDeque<Pending>,
    /// What it was last told that is kept.
    pub(super) offer: Option<Offer>,
    /// Its peer has ended its input.
    pub(super) has_ended: bool,
    /// It ends when its answers have left.
    pub(super) is_last: bool,
    /// The server stops: what has begun is finished.
    pub(super) is_stopping: bool,
}

/// An answer.
#[derive(Debug)]
pub(super) enum Pending {
    /// To an upload with this number, which is being stored.
    Stores(u64),
    /// What follows it in order.
    Ready(Vec<u8>),
}

/// What a connection is in the middle of. Unless it is idle or receives, its input is held.
#[derive(Debug)]
pub(super) enum Phase {
    Idle,
    /// The bytes of a file come.
    Receiving(Box<Receiving>),
    /// A child works for it.
    Working(Box<Work>),
    /// An upload, for a place or for the count of what is there.
    Waits(Box<Upload>),
    /// Something else, for its answer to be the next.
    Asks(Box<Asked>),
    /// A file is sent.
    Sending(Box<Sending>),
}

/// A request that is no upload.
#[derive(Debug)]
pub(super) enum Asked {
    Resume { name: String, size: u64 },
    Verify { name: String, bytes: Option<u64> },
    Download { name: String, kept: Option<Kept> },
    List,
}

/// A file that comes.
#[derive(Debug)]
pub(super) struct Receiving {
    pub(super) name: FileName,
    pub(super) staged: Staged,
    /// None: its end is told.
    pub(super) size: Option<u64>,
    /// How much is there.
    pub(super) at: u64,
    /// Whether its end is told behind its bytes, with its digest.
    pub(super) has_end: bool,
    pub(super) md5: Option<Md5Sum>,
    pub(super) sha256: Option<Sha256Sum>,
    /// How much of the quota it has.
    pub(super) reserved: u64,
    /// Since when it comes, and how much was there then: what it must keep up with.
    pub(super) since: Moment,
    pub(super) from: u64,
    /// How large what it replaces is.
    pub(super) replaces: Option<u64>,
    /// Another connection goes on with it.
    pub(super) is_lost: bool,
    /// A child digests it while it comes.
    pub(super) following: Option<Following>,
    pub(super) place: Place,
}

/// As many of these as there are, files are open; and of those that come, by their source.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    pub(super) of_all: Arc<()>,
    pub(super) of_source: Option<Arc<()>>,
}

impl Receiving {
    /// Whether nothing more of it is to come.
    pub(super) fn is_whole(&self) -> bool {
        self.size == Some(self.at) && !self.has_end
    }

    /// Another connection goes on with it, and has its file.
    pub(super) fn lose(&mut self) -> Staged {
        self.is_lost = true;
        self.staged.clone()
    }
}

/// A file in the staging directory.
#[derive(Debug, Clone)]
pub(super) struct Staged {
    pub(super) name: String,
    pub(super) file: Arc<OwnedFd>,
    /// Whether what came is kept if the rest does not.
    pub(super) is_kept: bool,
}

/// What is kept of an upload, and was told.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) name: FileName,
    pub(super) size: u64,
    pub(super) staged: Staged,
    pub(super) kept: Kept,
    pub(super) place: Place,
}

/// What a child does for a connection.
#[derive(Debug)]
pub(super) enum Work {
    /// It takes room.
    Reserves(Receiving, Output),
    /// It digests what is kept.
    Offers {
        name: FileName,
        size: u64,
        staged: Staged,
        bytes: u64,
        output: Output,
        place: Place,
    },
    /// What it says is the answer.
    Answers {
        /// Whether it has begun to say it.
        has_begun: bool,
    },
    /// It digests what the client has, before the rest is sent.
    Compares(Sending, Kept),
    /// It was ended, and nobody asks for what it says.
    Ends,
}

/// A file that is sent.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) name: FileName,
    pub(super) found: Found,
    /// Why it has no digest, which is said behind the part that was announced.
    pub(super) wrong: Option<FileError>,
    /// How much of the part that was announced has not left.
    pub(super) promised: u64,
    /// When the client must have taken what was last sent.
    pub(super) due: Moment,
    /// Whether it is read and sent, since its connection takes nothing from a file.
    pub(super) is_read: bool,
    /// The next byte, and the first that was sent.
    pub(super) at: u64,
    pub(super) from: u64,
    /// What was sent is digested on the way, if that is all of it and little.
    pub(super) on_the_way: Option<Sha256>,
    /// What the child says.
    pub(super) output: Output,
    pub(super) sha256: Option<Sha256Sum>,
    /// Whether a child digests it, and whether it has begun.
    pub(super) has_child: bool,
    pub(super) child_runs: bool,
    #[expect(dead_code, reason = "it counts as long as the file is open")]
    pub(super) place: Place,
}

impl Session {
    pub(super) fn new(peer: Peer) -> Session {
        Session {
            peer,
            requests: FileRequests::new(),
            phase: Phase::Idle,
            pending: VecDeque::new(),
            offer: None,
            has_ended: false,
            is_last: false,
            is_stopping: false,
        }
    }

    /// Whether its input is to be held.
    pub(super) fn is_busy(&self) -> bool {
        !matches!(self.phase, Phase::Idle | Phase::Receiving(_))
    }

    /// Whether nothing that it asks from here on is done.
    pub(super) fn is_over(&self) -> bool {
        self.is_last || self.is_stopping && matches!(self.phase, Phase::Idle)
    }

    /// Queues an answer behind those that are not known yet.
    pub(super) fn queue(&mut self, answer: &FileAnswer<'_>) {
        let mut bytes = Vec::new();
        answer.encode(&mut bytes);
        self.pending.push_back(Pending::Ready(bytes));
    }
}

/// An upload is another connection's now.
pub(super) fn lost() -> FileError {
    FileError::new(
        FileErrorKind::Changed,
        "another connection goes on with this file",
    )
}

/// What is told of a file that comes from there or goes there.
pub(super) fn note(peer: &Peer, fate: FileFate, name: &str, bytes: u64) -> FileNote {
    FileNote {
        fate,
        name: name.to_owned(),
        bytes,
        sha256: None,
        why: None,
        peer: match *peer {
            Peer::V4(ip, port) => Some(SocketAddr::new(ip.into(), port)),
            Peer::V6(ip, port, scope) => Some(SocketAddrV6::new(ip, port, 0, scope).into()),
            Peer::Local { .. } | Peer::Unknown => None,
        },
        local: match *peer {
            Peer::Local { pid, uid } => Some((pid, uid)),
            _ => None,
        },
    }
}

/// Why a file is not stored or sent, as the audit says it.
pub(super) fn reason_of(error: &FileError) -> String {
    format!("{}: {}", error.kind, error.reason)
}

/// The same of a file of which this is said.
pub(super) fn note_of(
    peer: &Peer,
    answer: &FileAnswer<'_>,
    (done, not): (FileFate, FileFate),
    (name, bytes): (&str, u64),
) -> FileNote {
    match answer {
        FileAnswer::Error(error) => FileNote {
            why: Some(reason_of(error)),
            ..note(peer, not, error.name.as_deref().unwrap_or(name), bytes)
        },
        FileAnswer::Ok(facts) => FileNote {
            sha256: facts.sha256,
            ..note(peer, done, facts.name.as_deref().unwrap_or(name), bytes)
        },
        FileAnswer::Bytes(_) | FileAnswer::Part => note(peer, done, name, bytes),
    }
}
