//! What the kernel knows of sockets, by `NETLINK_SOCK_DIAG` (sock_diag(7)): of ours, and of those at the other
//! end where that is on this machine.
//!
//! It takes no privilege. Sockets of other network namespaces are not told.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// `SOCK_DIAG_BY_FAMILY` of linux/sock_diag.h.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP` of linux/netlink.h.
const DUMP: u16 = 0x301;
/// `NLMSG_ERROR` and `NLMSG_DONE` likewise.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;
/// The kernel writes at most 32 KiB at once.
const DUMP_BYTES: usize = 64 * 1024;
/// A dump is there at once; nobody waits for a kernel that has lost one.
const PATIENCE: Duration = Duration::from_secs(5);
const TCP: u8 = 6;
/// `AF_INET`, `AF_INET6`, `AF_UNIX`.
const INET: u8 = 2;
const INET6: u8 = 10;
const UNIX: u8 = 1;
/// `UNIX_DIAG_ICONS` of linux/unix_diag.h: the inodes of those in a listener's queue.
const WAITING_INODES: u16 = 3;
/// `UDIAG_SHOW_ICONS` likewise.
const SHOW_WAITING: u32 = 1 << 3;
/// `TCP_LISTEN`, which is a Unix socket's state, too.
const LISTENS: u32 = 1 << 10;

/// An address without what the other family writes of it.
pub(crate) type Place = (IpAddr, u16);

/// `address` as both families call it: `::ffff:127.0.0.1` is 127.0.0.1.
pub(crate) fn place(address: SocketAddr) -> Place {
    (address.ip().to_canonical(), address.port())
}

/// One end of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TcpEnd {
    /// Whether it is established.
    pub(crate) is_established: bool,
    /// Whether a process has it, or had: one that was never accepted has no inode.
    pub(crate) is_accepted: bool,
}

/// Both ends of all TCP connections with `port` at one of them, each by its own place and the other's.
pub(crate) fn tcp_ends(port: u16) -> io::Result<HashMap<(Place, Place), TcpEnd>> {
    let mut ends = HashMap::new();
    for family in [INET, INET6] {
        for (own, other) in [(port, 0), (0, port)] {
            // `struct inet_diag_req_v2`: family, protocol, extensions, states, ports, addresses, interface, cookie.
            let mut request = vec![family, TCP, 0, 0, 0xff, 0xff, 0xff, 0xff];
            request.extend(own.to_be_bytes());
            request.extend(other.to_be_bytes());
            request.extend([0; 36]);
            request.extend([0xff; 8]);
            dump(&request, &mut |message| {
                ends.extend(tcp_end(message));
            })?;
        }
    }
    Ok(ends)
}

/// Of `struct inet_diag_msg`.
fn tcp_end(message: &[u8]) -> Option<((Place, Place), TcpEnd)> {
    /// `TCP_ESTABLISHED` of linux/tcp_states.h.
    const ESTABLISHED: u8 = 1;
    let port = |at| Some(u16::from_be_bytes(field(message, at)?));
    let ip = |at| {
        Some(match *message.first()? {
            INET => Ipv4Addr::from(field::<4>(message, at)?).into(),
            _ => Ipv6Addr::from(field::<16>(message, at)?).to_canonical(),
        })
    };
    let inode = u32::from_ne_bytes(field(message, 68)?);
    let end = TcpEnd {
        is_established: *message.get(1)? == ESTABLISHED,
        is_accepted: inode != 0,
    };
    Some((((ip(8)?, port(4)?), (ip(24)?, port(6)?)), end))
}

/// The inodes of all Unix sockets that wait in the queue of a listener.
pub(crate) fn unix_waiting() -> io::Result<HashSet<u64>> {
    // `struct unix_diag_req`: family, protocol, padding, states, inode, what to show, cookie.
    let mut request = vec![UNIX, 0, 0, 0];
    for word in [LISTENS, 0, SHOW_WAITING, u32::MAX, u32::MAX] {
        request.extend(word.to_ne_bytes());
    }
    let mut waiting = HashSet::new();
    dump(&request, &mut |message| {
        // `struct unix_diag_msg`, and then attributes.
        let mut attributes = message.get(16..).unwrap_or_default();
        while let (Some(len), Some(kind)) = (field(attributes, 0), field(attributes, 2)) {
            let (len, kind) = (u16::from_ne_bytes(len), u16::from_ne_bytes(kind));
            let value = attributes.get(4..len.into()).unwrap_or_default();
            if kind == WAITING_INODES {
                let (inodes, _) = value.as_chunks();
                waiting.extend(
                    inodes
                        .iter()
                        .map(|inode| u64::from(u32::from_ne_bytes(*inode))),
                );
            }
            attributes = attributes.get(aligned(len.into())..).unwrap_or_default();
        }
    })?;
    Ok(waiting)
}

/// Asks, and hands over each message of the answer.
fn dump(request: &[u8], tell: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let fd = ask(request)?;
    let mut buffer = vec![0; DUMP_BYTES];
    loop {
        let (len, _) = rustix::io::retry_on_intr(|| recv(&fd, &mut *buffer, RecvFlags::empty()))?;
        let mut left = &buffer[..len];
        if left.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while let (Some(len), Some(kind)) = (field(left, 0), field(left, 4)) {
            let len = u32::from_ne_bytes(len) as usize;
            let body = left.get(HEADER_BYTES..len);
            let body = body.ok_or(io::ErrorKind::InvalidData)?;
            match u16::from_ne_bytes(kind) {
                DONE => return Ok(()),
                ERROR => {
                    let errno = field(body, 0).map_or(0, i32::from_ne_bytes);
                    return Err(io::Error::from_raw_os_error(errno.saturating_neg()));
                }
                _ => tell(body),
            }
            left = left.get(aligned(len)..).unwrap_or_default();
        }
    }
}

fn ask(request: &[u8]) -> io::Result<OwnedFd> {
    let fd = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    set_socket_timeout(&fd, Timeout::Recv, Some(PATIENCE))?;
    let len = HEADER_BYTES + request.len();
    let len = u32::try_from(len).map_err(io::Error::other)?;
    let mut message = len.to_ne_bytes().to_vec();
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(DUMP.to_ne_bytes());
    // A number of this question, and who asks: it is the only one on this socket.
    message.extend([0; 8]);
    message.extend(request);
    rustix::io::retry_on_intr(|| send(&fd, &message, SendFlags::empty()))?;
    Ok(fd)
}

/// Messages and attributes begin at multiples of four.
fn aligned(len: usize) -> usize {
    // One of length 0 would never end.
    len.next_multiple_of(4).max(4)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};

    use rustix::fs::fstat;

    use super::*;

    #[test]
    fn both_ends_of_a_connection_are_known_and_whether_it_was_accepted() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(at).unwrap();
            let server = listener.local_addr().unwrap();
            let [first, second] = [(), ()].map(|()| TcpStream::connect(server).unwrap());
            let accepted = listener.accept().unwrap();
            let ends = tcp_ends(server.port()).unwrap();
            for (ours, is_accepted) in [(&first, true), (&second, false)] {
                let own = place(ours.local_addr().unwrap());
                let established = |is_accepted| TcpEnd {
                    is_established: true,
                    is_accepted,
                };
                assert_eq!(ends.get(&(own, place(server))), Some(&established(true)));
                let far = ends.get(&(place(server), own));
                assert_eq!(far, Some(&established(is_accepted)), "{at}");
            }
            drop((accepted, first));
        }
    }

    #[test]
    fn a_client_over_ipv4_of_a_listener_on_ipv6_is_known() {
        let listener = TcpListener::bind("[::]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let server = place(client.peer_addr().unwrap());
        let own = place(client.local_addr().unwrap());
        let ends = tcp_ends(port).unwrap();
        assert!(ends.contains_key(&(server, own)) && ends.contains_key(&(own, server)));
    }

    #[test]
    fn those_in_the_queue_of_a_unix_listener_are_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("listener");
        let listener = UnixListener::bind(&path).unwrap();
        let [first, second] = [(), ()].map(|()| UnixStream::connect(&path).unwrap());
        let accepted = listener.accept().unwrap();
        let waiting = unix_waiting().unwrap();
        assert!(!waiting.contains(&fstat(&first).unwrap().st_ino));
        assert!(waiting.contains(&fstat(&second).unwrap().st_ino));
        drop(accepted);
    }

    #[test]
    fn what_is_no_message_tells_nothing() {
        assert_eq!(tcp_end(&[]), None);
        assert_eq!(tcp_end(&[2, 1, 0, 0, 0, 80]), None);
        assert_eq!((aligned(0), aligned(4), aligned(5)), (4, 4, 8));
    }
}
