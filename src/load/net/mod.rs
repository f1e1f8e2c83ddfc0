//! Sockets: opening connections, proving who we are, waiting for events.
//!
//! - [`dial`]: opens one connection, and says why that failed. `secured`: its TLS session, if it has one.
//!   `handshake`: the proof where the server sends a challenge. `at_once`: what never waits.
//! - `greeting`: what a server sends before it is asked.
//! - `poller`: the only place of a run that sleeps. `receive_buffer`: where datagrams wait to be read, or find no room.
//! - `standing`: where connections stand at both ends, as `sock_diag` has it from the kernel.

mod at_once;
pub mod dial;
pub(crate) mod greeting;
pub(crate) mod handshake;
pub(crate) mod poller;
pub(crate) mod receive_buffer;
#[cfg(feature = "tls")]
pub(crate) mod secured;
#[cfg(not(feature = "tls"))]
#[path = "unsecured.rs"]
pub(crate) mod secured;
mod sock_diag;
pub(crate) mod standing;
