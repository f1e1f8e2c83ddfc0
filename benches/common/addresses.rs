use std::net::SocketAddr;

/// Where a server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// Over TCP.
    pub(crate) stream: SocketAddr,
    /// Over UDP, where it serves that.
    pub(crate) datagram: Option<SocketAddr>,
}
