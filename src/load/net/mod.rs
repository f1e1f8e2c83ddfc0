//! Sockets: opening connections, proving who we are, waiting for events.
//!
//! - [`dial`]: opens one connection, and says why that failed. `handshake`: the proof where the server sends
//!   a challenge.
//! - `poller`: the only place of a run that sleeps.

pub mod dial;
pub(crate) mod handshake;
pub(crate) mod poller;
