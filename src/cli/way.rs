//! How a server of text is reached: by the chat's client, and by one who talks.

use std::time::Duration;

use super::access::Access;
use crate::client::{ClientError, ServerAddress, TextStream};
use crate::config::chat_socket;

/// How a server is reached.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) address: ServerAddress,
    pub(super) access: Access,
    /// How long a connection may take to be made.
    pub(super) timeout: Duration,
}

impl Way {
    /// A connection on which nothing was said yet.
    pub(super) fn connect(&self) -> Result<TextStream, ClientError> {
        #[cfg(feature = "tls")]
        let connected = match &self.access.tls {
            None => TextStream::connect(&self.address, self.timeout),
            Some(tls) => TextStream::connect_tls(&self.address, tls, self.timeout),
        };
        #[cfg(not(feature = "tls"))]
        let connected = TextStream::connect(&self.address, self.timeout);
        let mut stream = connected?;
        if let Some(key) = &self.access.key {
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
    pub(super) fn explain(&self, error: &ClientError) -> String {
        let of_service = match (error, &self.address) {
            (ClientError::Connect { .. }, ServerAddress::Unix(path)) if *path == chat_socket() => {
                Some("; `onepoll serve` starts a server there")
            }
            _ => None,
        };
        self.access.explain(error, &self.address, of_service)
    }
}
