//! What both ends of TLS need, servers and clients: which certificates a client trusts, algorithms, and rustls' view of a
//! socket. It does not know sockets, nor what is said.
//!
//! - [`ClientTls`]: begins a client's sessions, and says why one failed. `plain_answer`: servers of something else.
//! - [`Trust`]: which servers are the right ones. [`Fingerprint`]: how one is known for which no authority
//!   vouches. `verifier`: who judges. [`Identity`]: a client's own certificate. `certified`: one that is read, and its key.
//! - [`tls_provider`], [`tls_versions`]: algorithms and versions. `channel_binding`: what belongs to one session.
//! - `records`: where records end. `out`, `nothing_yet`: what rustls writes to and reads from.

mod certified;
mod channel_binding;
mod client;
mod fingerprint;
mod identity;
mod nothing_yet;
mod out;
mod plain_answer;
mod provider;
mod records;
mod trust;
mod verifier;

pub(crate) use certified::{Problem, certified, roots};
pub(crate) use channel_binding::channel_binding;
pub use client::{ClientTls, TlsError};
pub(crate) use client::{Remedies, server_name};
pub use fingerprint::Fingerprint;
pub use identity::Identity;
pub(crate) use nothing_yet::NothingYet;
pub(crate) use out::Out;
pub use provider::{tls_provider, tls_versions};
pub(crate) use records::Records;
pub use trust::Trust;
