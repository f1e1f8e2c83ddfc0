//! Which certificate a server shows.

use std::time::Duration;

use super::connection::ClientConnection;
use super::deadline::RequestDeadline;
use super::{ClientError, ServerAddress};
use crate::tls::{ClientTls, Fingerprint, Trust};

/// Begins a handshake with the server, and ends the connection when its certificate is known: which one it
/// has, all within `timeout`. Fails where it speaks no TLS.
pub fn ask_certificate(
    address: &ServerAddress,
    timeout: Duration,
) -> Result<Fingerprint, ClientError> {
    let deadline = RequestDeadline::after(timeout);
    let failed = |cause| ClientError::Tls {
        address: address.to_string(),
        cause,
    };
    let tls = ClientTls::new(Trust::Nobody, None).map_err(failed)?;
    let mut line = ClientConnection::connect(address, &deadline)?;
    match line.secure(address, &tls, &deadline) {
        Err(ClientError::UnknownServer { fingerprint, .. }) => fingerprint.parse().map_err(failed),
        Err(error) => Err(error),
        Ok(()) => Err(failed("it showed no certificate".to_owned())),
    }
}
