//! Sockets of our own making, for the loop: non-blocking, close-on-exec, with a backlog that
//! bursts of connects fit in.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, chmod, lstat, unlink};
use rustix::net::sockopt::{
    set_ipv6_v6only, set_socket_recv_buffer_size, set_socket_reuseaddr, set_socket_reuseport,
    set_socket_send_buffer_size, set_tcp_nodelay, socket_error,
};
use rustix::net::{
    AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, bind, connect, getpeername,
    listen, shutdown, socket_with,
};

use super::keepalive::Keepalive;

/// How many connections may wait to be accepted. The kernel takes `net.core.somaxconn` (4096) at
/// most; with the 128 that are usual, bursts of connects were seen to stall for a second.
pub const LISTEN_BACKLOG: i32 = 4096;

/// What a datagram socket's kernel buffers are asked to hold, in bytes; `net.core.rmem_max` may
/// allow less.
const DATAGRAM_BUFFER_BYTES: usize = 4 * 1024 * 1024;

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// A listening TCP socket. `[::]` is dual-stack: it takes IPv4 too. What is accepted there has the
/// [`Keepalive`] that is ours by default.
pub fn listen_tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    let fd = bind_tcp(address)?;
    Keepalive::default().set(&fd)?;
    begin_to_listen(&fd)?;
    Ok(fd)
}

/// From here on connections may wait to be accepted; until here they are refused. Bound before,
/// so that a server with several endpoints listens on all of them or on none.
pub fn begin_to_listen(fd: &OwnedFd) -> io::Result<()> {
    // See `bind_tcp`.
    set_socket_reuseaddr(fd, true)?;
    Ok(listen(fd, LISTEN_BACKLOG)?)
}

/// Listens no more and keeps its place: what waits in its queue is reset, and the kernel gives new connections to the
/// others at its address.
pub fn rest_from_listening(fd: &OwnedFd) -> io::Result<()> {
    Ok(shutdown(fd, Shutdown::Read)?)
}

/// Listens again, at the address that it had. A port that the system chose was given up with listening, and others of ours
/// that [share](share_address) the address have kept it.
pub fn listen_again(fd: &OwnedFd, address: SocketAddr) -> io::Result<()> {
    match bind(fd, &address) {
        // It is bound.
        Ok(()) | Err(rustix::io::Errno::INVAL) => begin_to_listen(fd),
        Err(error) => Err(error.into()),
    }
}

/// A TCP socket that does not listen yet. `[::]` is dual-stack.
///
/// Until it listens it keeps its place to itself. With `SO_REUSEADDR` alone a second socket could be
/// bound there, and only its `listen` would be refused, when the first was serving already.
pub fn bind_tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    tcp(address, false)
}

/// Lets sockets be bound [beside](bind_tcp_beside) this one, by processes of this user. It is said after `bind`: said
/// before, it would hide that the port is another server's, which has said it too (`SO_REUSEPORT`, socket(7)).
pub fn share_address(fd: &OwnedFd) -> io::Result<()> {
    Ok(set_socket_reuseport(fd, true)?)
}

/// As [`bind_tcp`], beside others at the same address that [share](share_address) it: the kernel gives each connection to
/// one of those that listen, by its addresses and ports.
pub fn bind_tcp_beside(address: SocketAddr) -> io::Result<OwnedFd> {
    tcp(address, true)
}

fn tcp(address: SocketAddr, is_beside: bool) -> io::Result<OwnedFd> {
    let fd = socket_with(family(address), SocketType::STREAM, FLAGS, None)?;
    if is_beside {
        share_address(&fd)?;
    }
    // Connections of an earlier server in TIME_WAIT must not keep this one from its port.
    set_socket_reuseaddr(&fd, true)?;
    if address.is_ipv6() {
        set_ipv6_v6only(&fd, !address.ip().is_unspecified())?;
    }
    // Inherited by what is accepted, which saves a system call each.
    set_tcp_nodelay(&fd, true)?;
    bind(&fd, &address)?;
    set_socket_reuseaddr(&fd, false)?;
    Ok(fd)
}

/// A TCP socket that is on its way to `address`: the connection is made, or refused, while nobody waits for it.
pub(super) fn connect_tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    let fd = socket_with(family(address), SocketType::STREAM, FLAGS, None)?;
    set_tcp_nodelay(&fd, true)?;
    Keepalive::default().set(&fd)?;
    match connect(&fd, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(fd),
        Err(error) => Err(error.into()),
    }
}

/// Whether the connection of such a socket is made; why it never will be.
pub(super) fn is_connected(fd: &OwnedFd) -> io::Result<bool> {
    socket_error(fd)??;
    match getpeername(fd) {
        Ok(_) => Ok(true),
        Err(rustix::io::Errno::NOTCONN) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A bound UDP socket. `[::]` is dual-stack.
pub fn open_udp(address: SocketAddr) -> io::Result<OwnedFd> {
    udp(address, false)
}

/// As [`open_udp`], beside others at the same address that [share](share_address) it: the kernel gives each datagram to
/// one of them, by its addresses and ports.
pub fn open_udp_beside(address: SocketAddr) -> io::Result<OwnedFd> {
    udp(address, true)
}

fn udp(address: SocketAddr, is_beside: bool) -> io::Result<OwnedFd> {
    let fd = socket_with(family(address), SocketType::DGRAM, FLAGS, None)?;
    if is_beside {
        share_address(&fd)?;
    }
    if address.is_ipv6() {
        set_ipv6_v6only(&fd, !address.ip().is_unspecified())?;
    }
    set_socket_recv_buffer_size(&fd, DATAGRAM_BUFFER_BYTES)?;
    set_socket_send_buffer_size(&fd, DATAGRAM_BUFFER_BYTES)?;
    bind(&fd, &address)?;
    Ok(fd)
}

/// A Unix socket with this mode, which does not listen yet. What is there already is in its way.
pub fn bind_unix(path: &Path, mode: u32) -> io::Result<OwnedFd> {
    let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    bind(&fd, &SocketAddrUnix::new(path)?)?;
    // Between bind and listen no client can connect, so the mode is set in time.
    if let Err(wrong) = chmod(path, Mode::from_raw_mode(mode)) {
        let _ = unlink(path);
        return Err(wrong.into());
    }
    Ok(fd)
}

/// Whether there is a socket file that no socket has any more, so that it may be replaced.
///
/// One that a socket has, also if it does not listen yet, is `AddrInUse`; what is not a socket is
/// never touched. The socket that has it does not notice that we looked.
pub fn is_stale(path: &Path) -> io::Result<bool> {
    let Ok(found) = lstat(path) else {
        return Ok(false);
    };
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file of that name that is not a socket; it was left alone",
        ));
    }
    // A socket of another type cannot connect, and is told so only if there is one to connect to.
    let probe = socket_with(AddressFamily::UNIX, SocketType::DGRAM, FLAGS, None)?;
    match connect(&probe, &SocketAddrUnix::new(path)?) {
        Err(rustix::io::Errno::CONNREFUSED) => Ok(true),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        _ => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another server has its socket there",
        )),
    }
}

/// A Unix socket, not listening yet, in the abstract namespace, which has no file and no mode (unix(7)).
pub fn bind_abstract(name: &[u8]) -> io::Result<OwnedFd> {
    let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    bind(&fd, &SocketAddrUnix::new_abstract_name(name)?)?;
    Ok(fd)
}

fn family(address: SocketAddr) -> AddressFamily {
    if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use rustix::net::getsockname;

    use super::*;

    #[test]
    fn a_dial_that_nobody_answers_keeps_the_loop_waiting_for_nothing() {
        let listener = bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        // A queue of one, which nobody accepts: the kernel answers no more than that.
        listen(&listener, 0).unwrap();
        let at = SocketAddr::try_from(getsockname(&listener).unwrap()).unwrap();
        let (done, all) = mpsc::channel();
        thread::spawn(move || done.send(Vec::from([(); 8].map(|()| connect_tcp(at)))));
        // One that waited would wait for two minutes.
        let all = all
            .recv_timeout(Duration::from_secs(30))
            .expect("nobody waits");
        let made = all
            .into_iter()
            .map(|dialled| is_connected(&dialled.unwrap()).unwrap());
        assert!(
            made.collect::<Vec<_>>().contains(&false),
            "somebody is not answered"
        );
    }
}
