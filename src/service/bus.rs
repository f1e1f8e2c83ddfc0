//! A bus by which several servers share what a service has: where its servers are, and how they are spoken to.
//!
//! It is known when names are resolved and files are read. Speaks no protocol.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use zeroize::Zeroizing;

#[cfg(feature = "tls")]
use crate::config::NkeySeed;
use crate::turn::Secure;

/// A bus that can be dialled: names are resolved, and files are read.
#[derive(Debug)]
pub struct Bus {
    /// Its servers; there is one at least.
    pub servers: Vec<BusServer>,
    /// By what its servers know us.
    pub login: BusLogin,
    /// How many copies JetStream keeps.
    pub replicas: u32,
    /// How long a name stays taken when its server is dead.
    pub lease: Duration,
    /// From where numbers are counted that no other server has.
    pub nonce: AtomicU64,
}

/// A server of a bus.
#[derive(Debug, Clone)]
pub struct BusServer {
    /// Its name in the log.
    pub name: String,
    /// Where it is.
    pub to: SocketAddr,
    /// What begins the session with it, without which nothing is said to it; none: there is none.
    pub secure: Option<Arc<dyn Secure>>,
}

impl Bus {
    /// A number that nobody else has, here or on another server: it is in ids and in the names of guests.
    pub(crate) fn own_number(&self) -> u64 {
        // Far apart, since the first digits are to differ.
        self.nonce
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }
}

/// By what the servers of a bus know a client.
#[derive(Clone, PartialEq, Eq)]
pub enum BusLogin {
    /// They ask for nothing.
    Nothing,
    /// A user and its password.
    Password(String, Zeroizing<String>),
    /// A token.
    Token(Zeroizing<String>),
    /// A user by a key, with which is signed what a server says.
    #[cfg(feature = "tls")]
    Nkey(NkeySeed),
}

impl fmt::Debug for BusLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Password(..) => "Password",
            Self::Token(_) => "Token",
            #[cfg(feature = "tls")]
            Self::Nkey(_) => "Nkey",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let login = BusLogin::Password("eva".into(), Zeroizing::new("secret".into()));
        assert!(!format!("{login:?}").contains("secret"));
    }
}
