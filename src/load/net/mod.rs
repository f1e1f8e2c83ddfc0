//! Sockets: opening connections, proving who we are, waiting for events.
//!
//! - [`dial`]: opens one connection, and says why that failed. `secured`: its TLS session, if it has one.
//!   `handshake`: the proof where the server sends a challenge. `at_once`: what never waits.
//! - `poller`: the only place of a run that sleeps.

mod at_once;
pub mod dial;
pub(crate) mod handshake;
pub(crate) mod poller;
#[cfg(feature = "tls")]
pub(crate) mod secured;
#[cfg(not(feature = "tls"))]
#[path = "unsecured.rs"]
pub(crate) mod secured;
