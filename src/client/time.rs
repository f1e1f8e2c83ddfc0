//! Asks a time server over UDP.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use super::deadline::RequestDeadline;
use super::{ClientError, ServerAddress};
use crate::config::limits::DATAGRAM_BYTES_MAX;
use crate::socket::{AF_INET, AF_INET6, Exception, SOCK_DGRAM, Socket};

/// How long the first try waits; each further one waits twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// What a time server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeAnswer {
    /// The datagram as it came; it may be empty, which is not the same as silence.
    pub bytes: Vec<u8>,
    /// The address that answered.
    pub from: SocketAddr,
    /// How often it was asked.
    pub tries: u32,
    /// From the first question to the answer.
    pub elapsed: Duration,
}

/// Asks `address` for the time in a `strftime` `format`; empty leaves the choice to the server.
///
/// A datagram may be lost, so the question is repeated, with longer and longer waits, until `timeout`
/// is over. The protocol has no number that would tell which question an answer belongs to: each try
/// has a socket of its own, so a late answer to an earlier try is discarded (fault E15). Because the
/// socket is connected, a port on which nothing listens is an error and not silence (fault E4).
pub fn ask_time(
    address: &ServerAddress,
    format: &[u8],
    timeout: Duration,
) -> Result<TimeAnswer, ClientError> {
    let ServerAddress::Host(host) = address else {
        return Err(ClientError::Request(
            "a time server is asked over UDP: write HOST:PORT",
        ));
    };
    let resolve = |cause| ClientError::Resolve {
        address: host.to_string(),
        cause,
    };
    let deadline = RequestDeadline::after(timeout);
    let mut peers: Vec<SocketAddr> = host.to_socket_addrs().map_err(resolve)?.collect();
    peers.dedup();
    if peers.is_empty() {
        return Err(resolve(io::Error::new(ErrorKind::NotFound, "no address")));
    }
    ask_in_turn(peers, &format!("udp {host}"), format, deadline)
}

/// Asks the addresses of a name in turn until the deadline.
fn ask_in_turn(
    mut peers: Vec<SocketAddr>,
    name: &str,
    format: &[u8],
    deadline: RequestDeadline,
) -> Result<TimeAnswer, ClientError> {
    let mut wait = FIRST_WAIT;
    let mut tries = 0;
    let mut buf = vec![0; DATAGRAM_BYTES_MAX];
    let mut next = 0;
    while let Some(patience) = deadline.left_up_to(wait) {
        let peer = peers[next % peers.len()];
        tries += 1;
        match ask_once(peer, format, patience, &mut buf) {
            Ok(Some(len)) => {
                buf.truncate(len);
                return Ok(TimeAnswer {
                    bytes: buf,
                    from: peer,
                    tries,
                    elapsed: deadline.elapsed(),
                });
            }
            Ok(None) => {
                next += 1;
                if next >= peers.len() {
                    wait *= 2;
                }
            }
            // A name may have an address at which nothing listens: the others are asked.
            Err(_) if peers.len() > 1 => {
                peers.remove(next % peers.len());
            }
            Err(cause) if cause.kind() == ErrorKind::ConnectionRefused => {
                let cause =
                    io::Error::new(cause.kind(), "refused: nothing listens on that UDP port");
                return Err(ClientError::Connect {
                    address: format!("udp {peer}"),
                    cause,
                });
            }
            Err(cause) => {
                return Err(ClientError::Broken {
                    address: format!("udp {peer}"),
                    cause,
                });
            }
        }
    }
    let progress = match tries {
        1 => "asked once".to_owned(),
        tries => format!("asked {tries} times"),
    };
    Err(ClientError::Timeout {
        address: name.to_owned(),
        after: deadline.given(),
        progress,
    })
}

/// One question on a socket of its own; `None` is silence for as long as `patience`.
fn ask_once(
    peer: SocketAddr,
    format: &[u8],
    patience: Duration,
    buf: &mut [u8],
) -> io::Result<Option<usize>> {
    let family = if peer.is_ipv4() { AF_INET } else { AF_INET6 };
    let socket = Socket::new(family, SOCK_DGRAM)?;
    // The timeout of each call; the poll that waits is resumed after a signal (PEP 475).
    socket.settimeout(patience)?;
    socket.connect(peer)?;
    socket.send(format)?;
    match socket.recv_into(buf) {
        Ok(len) => Ok(Some(len)),
        Err(error) if error.exception() == Exception::TimeoutError => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn of_several_addresses_one_that_refuses_is_not_asked_again() {
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let [closed_at, server_at] = [&closed, &server].map(|one| one.local_addr().unwrap());
        drop(closed);
        let patience = Duration::from_secs(10);
        server.set_read_timeout(Some(patience)).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // The first question is lost.
                let mut question = [0; 9];
                server.recv_from(&mut question).unwrap();
                let (n, from) = server.recv_from(&mut question).unwrap();
                assert_eq!(&question[..n], b"%H");
                server.send_to(b"12", from).unwrap();
            });
            let peers = vec![closed_at, server_at];
            let deadline = RequestDeadline::after(patience);
            let answer = ask_in_turn(peers, "udp several", b"%H", deadline).unwrap();
            assert_eq!((answer.bytes, answer.from), (b"12".to_vec(), server_at));
            assert_eq!(answer.tries, 3);
        });
    }
}
