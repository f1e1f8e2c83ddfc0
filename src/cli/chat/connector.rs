//! How the server is reached, without anybody waiting for that.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use crate::client::{ClientError, ServerAddress, TextStream};
use crate::config::chat_socket;
#[cfg(feature = "tls")]
use crate::tls::ClientTls;
use crate::wire::HmacKey;

/// How a server is reached.
#[derive(Debug)]
pub(in crate::cli) struct Way {
    pub(in crate::cli) address: ServerAddress,
    pub(in crate::cli) key: Option<HmacKey>,
    #[cfg(feature = "tls")]
    pub(in crate::cli) tls: Option<ClientTls>,
    pub(in crate::cli) timeout: Duration,
}

impl Way {
    /// Without proof and TLS.
    pub(in crate::cli) fn plain(address: ServerAddress, timeout: Duration) -> Way {
        Way {
            address,
            key: None,
            #[cfg(feature = "tls")]
            tls: None,
            timeout,
        }
    }

    /// A connection on which nothing was said yet.
    pub(in crate::cli) fn connect(&self) -> Result<TextStream, ClientError> {
        #[cfg(feature = "tls")]
        let connected = match &self.tls {
            None => TextStream::connect(&self.address, self.timeout),
            Some(tls) => TextStream::connect_tls(&self.address, tls, self.timeout),
        };
        #[cfg(not(feature = "tls"))]
        let connected = TextStream::connect(&self.address, self.timeout);
        let mut stream = connected?;
        if let Some(key) = &self.key {
            stream.prove(key, self.timeout)?;
        }
        Ok(stream)
    }

    /// Whether it would be the same the next time.
    pub(super) fn is_final(&self, error: &ClientError) -> bool {
        match error {
            ClientError::Resolve { .. }
            | ClientError::Connect { .. }
            | ClientError::Timeout { .. }
            | ClientError::HungUp { .. }
            | ClientError::Broken { .. } => false,
            // A server that is just being started again may end a handshake.
            #[cfg(feature = "tls")]
            ClientError::Tls { .. } => false,
            _ => true,
        }
    }

    /// What went wrong, and what to do about it.
    pub(in crate::cli) fn explain(&self, error: &ClientError) -> String {
        let way_out = match (error, &self.address) {
            (ClientError::NotChallenged { .. }, ServerAddress::Host(_)) => {
                "; if it is over TLS, say --tls; if it asks for no secret, leave out --secret-file and \
                 ONEPOLL_SECRET_FILE"
                    .to_owned()
            }
            (ClientError::NotChallenged { .. }, ServerAddress::Unix(_)) => {
                "; if it asks for no secret, leave out --secret-file and ONEPOLL_SECRET_FILE".to_owned()
            }
            (ClientError::HungUp { .. } | ClientError::Broken { .. }, _) if self.key.is_some() => {
                "; to a wrong proof a server says nothing: is the secret its own, and is --digest?"
                    .to_owned()
            }
            (ClientError::Timeout { .. }, _) => "; --timeout raises this limit".to_owned(),
            (ClientError::Connect { .. }, ServerAddress::Unix(path)) if *path == chat_socket() => {
                "; `onepoll serve` starts a server there".to_owned()
            }
            (ClientError::Connect { cause, .. }, _)
                if matches!(
                    cause.kind(),
                    ErrorKind::ConnectionRefused | ErrorKind::NotFound
                ) =>
            {
                "; no server listens there".to_owned()
            }
            #[cfg(feature = "tls")]
            (ClientError::UnknownServer { fingerprint, .. }, _) => {
                crate::cli::trust::trust_it(fingerprint)
            }
            _ => String::new(),
        };
        format!("{error}{way_out}")
    }
}

/// A connection that is being made, by a thread: to resolve a name may take its time, and nobody can be asked not to
/// wait for it.
#[derive(Debug)]
pub(super) struct Attempt {
    outcome: Receiver<Result<TextStream, ClientError>>,
    /// Readable when there is one.
    done: Arc<OwnedFd>,
}

impl Attempt {
    pub(super) fn begin(way: &Arc<Way>) -> io::Result<Attempt> {
        let done = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let (sender, outcome) = channel();
        let (way, tells) = (Arc::clone(way), Arc::clone(&done));
        thread::Builder::new()
            .name("connect".to_owned())
            .spawn(move || {
                // Whoever has left meanwhile wants none.
                let _ = sender.send(way.connect());
                let _ = rustix::io::write(&tells, &1_u64.to_ne_bytes());
            })?;
        Ok(Attempt { outcome, done })
    }

    /// What came of it, when something has.
    pub(super) fn outcome(&self) -> Option<Result<TextStream, ClientError>> {
        match self.outcome.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(ClientError::Request(
                "the thread that connects has failed",
            ))),
        }
    }
}

impl AsFd for Attempt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }
}
