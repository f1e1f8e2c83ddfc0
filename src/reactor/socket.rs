//! Sockets of our own making, for the loop: non-blocking, close-on-exec, with a backlog that
//! bursts of connects fit in.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, chmod, lstat, unlink};
use rustix::net::sockopt::{
    set_ipv6_v6only, set_socket_recv_buffer_size, set_socket_reuseaddr,
    set_socket_send_buffer_size, set_tcp_nodelay,
};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

/// How many connections may wait to be accepted. The kernel takes `net.core.somaxconn` (4096) at
/// most; with the 128 that are usual, bursts of connects were seen to stall for a second.
pub const LISTEN_BACKLOG: i32 = 4096;

/// What a datagram socket's kernel buffers are asked to hold, in bytes; `net.core.rmem_max` may
/// allow less.
const DATAGRAM_BUFFER_BYTES: usize = 4 * 1024 * 1024;

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// A listening TCP socket. `[::]` is dual-stack: it hears IPv4 too.
pub fn listen_tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    let fd = bind_tcp(address)?;
    begin_to_listen(&fd)?;
    Ok(fd)
}

/// From here on connections may wait to be accepted; until here they are refused. Bound before,
/// so that a server with several endpoints listens on all of them or on none.
pub fn begin_to_listen(fd: &OwnedFd) -> io::Result<()> {
    Ok(listen(fd, LISTEN_BACKLOG)?)
}

/// A TCP socket that does not listen yet. `[::]` is dual-stack.
pub fn bind_tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    let fd = socket_with(family(address), SocketType::STREAM, FLAGS, None)?;
    // Connections of an earlier server in TIME_WAIT must not keep this one from its port.
    set_socket_reuseaddr(&fd, true)?;
    if address.is_ipv6() {
        set_ipv6_v6only(&fd, !address.ip().is_unspecified())?;
    }
    // Inherited by what is accepted, which saves a system call each.
    set_tcp_nodelay(&fd, true)?;
    bind(&fd, &address)?;
    Ok(fd)
}

/// A bound UDP socket. `[::]` is dual-stack.
pub fn open_udp(address: SocketAddr) -> io::Result<OwnedFd> {
    let fd = socket_with(family(address), SocketType::DGRAM, FLAGS, None)?;
    if address.is_ipv6() {
        set_ipv6_v6only(&fd, !address.ip().is_unspecified())?;
    }
    set_socket_recv_buffer_size(&fd, DATAGRAM_BUFFER_BYTES)?;
    set_socket_send_buffer_size(&fd, DATAGRAM_BUFFER_BYTES)?;
    bind(&fd, &address)?;
    Ok(fd)
}

/// A Unix socket with this mode, which does not listen yet.
///
/// A socket file that nobody listens on any more is replaced; one that somebody listens on is
/// `AddrInUse`, and what is not a socket is never touched.
pub fn bind_unix(path: &Path, mode: u32) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    remove_stale(path, &address)?;
    let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    // Between bind and listen nobody can connect, so the mode is set in time.
    bind(&fd, &address)?;
    chmod(path, Mode::from_raw_mode(mode))?;
    Ok(fd)
}

/// A Unix socket, not listening yet, in the abstract namespace, which has no file and no mode (unix(7)).
pub fn bind_abstract(name: &[u8]) -> io::Result<OwnedFd> {
    let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    bind(&fd, &SocketAddrUnix::new_abstract_name(name)?)?;
    Ok(fd)
}

fn remove_stale(path: &Path, address: &SocketAddrUnix) -> io::Result<()> {
    let Ok(found) = lstat(path) else {
        return Ok(());
    };
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file of that name that is not a socket; it was left alone",
        ));
    }
    let probe = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    match connect(&probe, address) {
        Err(rustix::io::Errno::CONNREFUSED) => Ok(unlink(path)?),
        Err(rustix::io::Errno::NOENT) => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another server listens there",
        )),
    }
}

fn family(address: SocketAddr) -> AddressFamily {
    if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    }
}
