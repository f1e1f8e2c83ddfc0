use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use thiserror::Error;

use crate::socket::{AF_INET, AF_INET6, SOCK_STREAM, Socket};
use crate::wire::{
    Decode, Encode, IPMSG_VERSION, IpmsgEntry, IpmsgFileRequest, IpmsgPacket, IpmsgTree,
    IpmsgTreePart, WireError,
};

/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How long the other end may send nothing.
const STALL_MAX: Duration = Duration::from_secs(30);

/// How often it is looked whether it is to stop, while the other end sends nothing.
const LOOK_AFTER: Duration = Duration::from_millis(200);

/// How many bytes are read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// A file or a directory that is fetched from the host that offered it.
#[derive(Debug)]
pub struct IpmsgFetch<'s> {
    connection: Socket,
    stops: &'s AtomicBool,
}

/// Why a file or a directory does not come.
#[derive(Debug, Error)]
pub enum IpmsgFetchError {
    /// Its host cannot be reached, or stopped.
    #[error("{0}")]
    Network(io::Error),
    /// It ended early.
    #[error("it ended {0} bytes before its end")]
    Short(u64),
    /// A directory ended early: this much before the end of the file that came, if one did.
    #[error("the connection ended before the directory did{}", within(*.0))]
    Cut(u64),
    /// It is no directory, or one that is too large.
    #[error("{0}")]
    Wrong(WireError),
    /// Nobody waits for it any more.
    #[error("it was stopped")]
    Stopped,
    /// What came cannot be kept.
    #[error("{0}")]
    Keep(io::Error),
}

fn within(left: u64) -> String {
    match left {
        0 => String::new(),
        left => format!(", {left} bytes before the end of a file"),
    }
}

impl<'s> IpmsgFetch<'s> {
    /// Asks for it: a file from the offset of the request on; `bound` is where our datagrams come from, since programs
    /// serve nothing to hosts that they do not know. It ends when `stops` becomes true.
    pub fn ask(
        from: SocketAddr,
        bound: IpAddr,
        me: &IpmsgEntry,
        number: u32,
        request: IpmsgFileRequest,
        stops: &'s AtomicBool,
    ) -> Result<IpmsgFetch<'s>, IpmsgFetchError> {
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
        let said = said.and_then(|()| connection.settimeout(LOOK_AFTER));
        said.map_err(|error| IpmsgFetchError::Network(error.into()))?;
        Ok(IpmsgFetch { connection, stops })
    }

    /// Hands out the `left` bytes of a file that are to come, piece by piece. What comes behind them is not read: the
    /// sizes of both ends would not be the same file.
    pub fn read(
        mut self,
        mut left: u64,
        mut keep: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), IpmsgFetchError> {
        let mut piece = vec![0; PIECE_BYTES];
        while left > 0 {
            let room = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
            let n = self.receive(&mut piece[..room])?;
            if n == 0 {
                return Err(IpmsgFetchError::Short(left));
            }
            keep(&piece[..n]).map_err(IpmsgFetchError::Keep)?;
            left -= n as u64;
        }
        Ok(())
    }

    /// Hands out a directory, part by part, to its end.
    pub fn read_tree(
        mut self,
        mut tree: IpmsgTree,
        mut keep: impl FnMut(IpmsgTreePart<'_>) -> io::Result<()>,
    ) -> Result<(), IpmsgFetchError> {
        let mut piece = vec![0; PIECE_BYTES];
        let mut have = 0;
        loop {
            let mut unread = &piece[..have];
            while let Some((part, taken)) = tree.decode(unread).map_err(IpmsgFetchError::Wrong)? {
                keep(part).map_err(IpmsgFetchError::Keep)?;
                unread = &unread[taken..];
            }
            if tree.is_over() {
                return Ok(());
            }
            // At most a part of a head, which is much shorter.
            let rest = unread.len();
            piece.copy_within(have - rest..have, 0);
            let n = self.receive(&mut piece[rest..])?;
            if n == 0 {
                return Err(IpmsgFetchError::Cut(tree.left()));
            }
            have = rest + n;
        }
    }

    /// What comes next; nothing at the end.
    fn receive(&mut self, into: &mut [u8]) -> Result<usize, IpmsgFetchError> {
        let mut silence = Duration::ZERO;
        loop {
            if self.stops.load(Ordering::Relaxed) {
                return Err(IpmsgFetchError::Stopped);
            }
            match self.connection.recv_into(into).map_err(io::Error::from) {
                Ok(n) => return Ok(n),
                Err(error) if error.kind() == io::ErrorKind::TimedOut && silence < STALL_MAX => {
                    silence += LOOK_AFTER;
                }
                Err(error) => return Err(IpmsgFetchError::Network(error)),
            }
        }
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
