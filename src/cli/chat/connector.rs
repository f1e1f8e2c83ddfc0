use std::io::ErrorKind;
use std::time::Duration;

use crate::client::{ClientError, ServerAddress, TextStream};
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
            (ClientError::Connect { cause, .. }, _)
                if matches!(cause.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) =>
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
