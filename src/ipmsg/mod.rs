//! One host of IPMSG among others (U4): who is there, what came, what was acknowledged, and what is sent again.
//!
//! Knows packets, people and moments that it is told. It has no socket and no clock: what it wants to send is
//! [taken out](IpmsgHost::take_datagram) of it, and it says when it wants to be [woken](IpmsgHost::wakes_at). So the
//! service and the client are the same host, and a test lets a thousand of them talk in no time.
//!
//! Beside the host, and apart from it, is a [directory](IpmsgWalk) on its way to somebody who asked for it: service and
//! client send the same.
//!
//! Nothing that it is told is verified: anybody can write any name and any address into a datagram. So it answers
//! private addresses only, with no more than it was asked, and never what goes to everybody or was itself automatic; it
//! keeps a bounded number of everything.

mod answers;
mod host;
mod news;
mod people;
mod private;
mod seen;
mod settings;
#[cfg(test)]
mod tests;
mod unacknowledged;
mod walk;

pub use host::{IpmsgCounts, IpmsgHost, SendError};
pub use news::{IpmsgMessage, IpmsgNews};
pub use people::{IPMSG_PEOPLE_MAX, IpmsgPerson};
pub use seen::IPMSG_ACKNOWLEDGEMENTS_MAX;
pub use settings::{
    IPMSG_EXIT_AGAIN, IPMSG_RETRY_AFTER, IPMSG_TRIES_MAX, IpmsgReplyTo, IpmsgSettings,
};
pub use unacknowledged::IPMSG_UNACKNOWLEDGED_MAX;
pub use walk::{IpmsgOmitted, IpmsgWalk, IpmsgWalked, IpmsgWalkedFile};
