//! What the chat is told by the bus.

use super::asks::{Asked, Question};
use super::outgoing::Pending;
use super::subjects::Topic;
use crate::service::chat::name::Name;
use crate::turn::ConnId;

/// What the chat is told.
#[derive(Debug)]
pub(in super::super) enum Event {
    /// A message was kept: here it is, in the order that all see.
    Kept(Kept),
    /// A message will never be kept.
    Lost(Pending, String),
    /// A member may be called so now, or not.
    Claimed(ConnId, Name, Claimed),
    /// A member is called so no more: somebody else is.
    NameLost(ConnId, Name),
    /// Another server asks; where the answer goes.
    Asked(Question, String),
    /// Others have answered.
    Answered(Asked),
    /// Those who are here are alone.
    Alone,
    /// They are no more.
    Together,
    /// Who waited for room may go on.
    Room,
}

/// A message that was kept.
#[derive(Debug)]
pub(in super::super) struct Kept {
    pub(in super::super) topic: Topic,
    pub(in super::super) payload: Vec<u8>,
    /// What of it is whose, if it is of this server; and whether it was shown already.
    pub(in super::super) own: Option<Pending>,
    /// When, in nanoseconds since 1970.
    pub(in super::super) nanos: u64,
    /// It was kept before this server came.
    pub(in super::super) is_earlier: bool,
}

/// What became of a claim to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Claimed {
    /// It is the member's.
    Taken {
        /// It belongs to the member, by a token.
        is_owner: bool,
    },
    /// It is somebody else's.
    Refused,
    /// The bus does not say.
    Unknown,
}
