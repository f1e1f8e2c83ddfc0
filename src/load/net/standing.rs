//! Where connections stand, as far as the kernel knows: with us, and at the server's end.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use rustix::fs::fstat;
use rustix::net::{getpeername, getsockname};

use crate::load::net::sock_diag::{Place, place, tcp_ends, unix_waiting};
use crate::load::plan::target::TargetAddress;

/// Where one connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is established, and its other end is on another machine, or in another network namespace.
    Elsewhere,
    /// It is established, and the server has accepted it.
    Accepted,
    /// It is established, and waits in the queue of the listener.
    Waiting,
    /// It is established with us, and there is no other end: nobody has said so to us.
    Gone,
    /// It is not established.
    Broken,
}

/// Of each of `streams`, all to `target`.
pub(crate) fn standings<'s, S: AsFd + 's>(
    streams: impl Iterator<Item = &'s S>,
    target: &TargetAddress,
) -> io::Result<Vec<Standing>> {
    match target {
        TargetAddress::Tcp(server) => tcp(streams, *server),
        _ => unix(streams),
    }
}

fn tcp<'s, S: AsFd + 's>(
    streams: impl Iterator<Item = &'s S>,
    server: SocketAddr,
) -> io::Result<Vec<Standing>> {
    // Taken before the kernel is asked: what comes later is not in its answer.
    let pairs: Vec<_> = streams.map(|stream| pair(stream)).collect();
    let ends = tcp_ends(server.port())?;
    let far_end = |(own, server): (Place, Place)| ends.get(&(server, own));
    let is_here = |(own, server): (Place, Place)| own.0 == server.0 || server.0.is_loopback();
    let mut known = pairs.iter().flatten();
    // Another address of this machine, where the other ends are not ours by name.
    let are_here = known.any(|pair| is_here(*pair) || far_end(*pair).is_some());
    let standing = |pair: &Option<(Place, Place)>| {
        let Some(pair) = *pair else {
            return Standing::Broken;
        };
        match (ends.get(&pair), far_end(pair)) {
            (Some(own), _) if !own.is_established => Standing::Broken,
            (None, _) => Standing::Broken,
            (_, Some(far)) if far.is_accepted => Standing::Accepted,
            (_, Some(_)) => Standing::Waiting,
            (_, None) if are_here => Standing::Gone,
            (_, None) => Standing::Elsewhere,
        }
    };
    Ok(pairs.iter().map(standing).collect())
}

/// Our own place, and the server's.
fn pair(stream: &impl AsFd) -> Option<(Place, Place)> {
    let own = SocketAddr::try_from(getsockname(stream).ok()?).ok()?;
    let server = SocketAddr::try_from(getpeername(stream).ok()??).ok()?;
    Some((place(own), place(server)))
}

/// The end of a Unix socket is told to the other at once, so what is open is there.
fn unix<'s, S: AsFd + 's>(streams: impl Iterator<Item = &'s S>) -> io::Result<Vec<Standing>> {
    let waiting = unix_waiting()?;
    let standing = |stream: &S| {
        Ok(match waiting.contains(&fstat(stream)?.st_ino) {
            true => Standing::Waiting,
            false => Standing::Accepted,
        })
    };
    streams.map(standing).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn what_waits_in_a_queue_is_told_from_what_was_accepted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..3)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        let first = listener.accept().unwrap();
        let target = TargetAddress::Tcp(address);
        let seen = || standings(clients.iter(), &target).unwrap();
        use Standing::{Accepted, Broken, Waiting};
        assert_eq!(seen(), [Accepted, Waiting, Waiting]);
        // Its end has come, though nobody has read that.
        drop(first);
        let second = listener.accept().unwrap();
        assert_eq!(seen(), [Broken, Accepted, Waiting]);
        drop(second);
    }

    #[test]
    fn a_unix_connection_waits_or_was_accepted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("listener");
        let listener = UnixListener::bind(&path).unwrap();
        let clients: Vec<_> = (0..2)
            .map(|_| UnixStream::connect(&path).unwrap())
            .collect();
        let first = listener.accept().unwrap();
        let seen = standings(clients.iter(), &TargetAddress::Unix(path)).unwrap();
        assert_eq!(seen, [Standing::Accepted, Standing::Waiting]);
        drop(first);
    }
}
