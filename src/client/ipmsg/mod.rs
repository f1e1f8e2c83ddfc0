//! IPMSG from a program that runs for a while, or for one message (U4).
//!
//! The host that it is has its own folder, [`ipmsg`](crate::ipmsg): here are its sockets and its time. Files come and
//! go on threads of their own, each with deadlines, so that a message that comes meanwhile is acknowledged.

mod bell;
mod broadcast;
mod fetch;
mod offer;
mod socket;

pub use bell::IpmsgBell;
pub use broadcast::ipmsg_broadcast_addresses;
pub use fetch::{IpmsgFetch, IpmsgFetchError};
pub use offer::{IpmsgOffer, IpmsgOffered, ipmsg_walk};
pub use socket::IpmsgSocket;
