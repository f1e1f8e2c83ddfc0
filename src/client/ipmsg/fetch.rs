use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use thiserror::Error;

use crate::socket::{AF_INET, AF_INET6, SOCK_STREAM, Socket};
use crate::wire::{Encode, IPMSG_VERSION, IpmsgEntry, IpmsgFileRequest, IpmsgPacket};

/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How long the other end may send nothing.
const STALL_MAX: Duration = Duration::from_secs(30);

/// How many bytes are read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// A file that is fetched from the host that offered it.
#[derive(Debug)]
pub struct IpmsgFetch {
    connection: Socket,
    left: u64,
}

/// Why a file does not come.
#[derive(Debug, Error)]
pub enum IpmsgFetchError {
    /// Its host cannot be reached, or stopped.
    #[error("{0}")]
    Network(io::Error),
    /// It ended early.
    #[error("it ended {0} bytes before its end")]
    Short(u64),
    /// What came cannot be kept.
    #[error("{0}")]
    Keep(io::Error),
}

impl IpmsgFetch {
    /// Asks for the rest of a file that has `size` bytes, from the offset of the request on; `bound` is where our
    /// datagrams come from, since programs serve no files to hosts that they do not know.
    pub fn ask(
        from: SocketAddr,
        bound: IpAddr,
        me: &IpmsgEntry,
        number: u32,
        request: IpmsgFileRequest,
        size: u64,
    ) -> Result<IpmsgFetch, IpmsgFetchError> {
        let connection = connect(from, bound).map_err(IpmsgFetchError::Network)?;
        let additional = request.additional();
        let packet = IpmsgPacket {
            version: IPMSG_VERSION,
            number,
            user: me.user.as_bytes(),
            host: me.host.as_bytes(),
            command: request.command(),
            additional: &additional,
            fields: b"",
        };
        let mut bytes = Vec::new();
        packet.encode(&mut bytes);
        let said = connection.settimeout(STALL_MAX);
        let said = said.and_then(|()| connection.sendall(&bytes));
        said.map_err(|error| IpmsgFetchError::Network(error.into()))?;
        Ok(IpmsgFetch {
            connection,
            left: size.saturating_sub(request.offset),
        })
    }

    /// Hands out what comes, piece by piece, to the end of the file. What comes behind it is not read: the sizes of
    /// both ends would not be the same file.
    pub fn read(
        mut self,
        mut keep: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), IpmsgFetchError> {
        let mut piece = vec![0; PIECE_BYTES];
        while self.left > 0 {
            let room = usize::try_from(self.left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
            match self.connection.recv_into(&mut piece[..room]) {
                Ok(0) => return Err(IpmsgFetchError::Short(self.left)),
                Ok(n) => {
                    keep(&piece[..n]).map_err(IpmsgFetchError::Keep)?;
                    self.left -= n as u64;
                }
                Err(error) => return Err(IpmsgFetchError::Network(error.into())),
            }
        }
        Ok(())
    }
}

fn connect(to: SocketAddr, bound: IpAddr) -> io::Result<Socket> {
    let family = if to.is_ipv4() { AF_INET } else { AF_INET6 };
    let connection = Socket::new(family, SOCK_STREAM)?;
    if !bound.is_unspecified() {
        connection.bind(SocketAddr::new(bound, 0))?;
    }
    connection.settimeout(CONNECT_WITHIN)?;
    connection.connect(to)?;
    Ok(connection)
}
