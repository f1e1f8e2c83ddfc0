use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::sockopt::{Ipv4RecvErr, Ipv6RecvErr};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};

use super::deadline::RequestDeadline;
use crate::config::limits::DATAGRAM_BYTES_MAX;

/// The most that a datagram over IPv4 holds: 65,535 bytes less the headers of IP and UDP.
const IPV4_BYTES_MAX: usize = 65_507;
/// The same over IPv6, whose length does not count its own header.
const IPV6_BYTES_MAX: usize = 65_527;

/// A refusal that was queued makes the next send fail, and may be followed by another: so often one is tried.
const SENDS_MAX: usize = 8;

/// Datagrams from and to several people (U3), from one port. Nothing in it waits: the caller polls its
/// [sockets](TalkDatagrams::sockets) for reading.
///
/// They are not connected, since several people share them; so the kernel tells of an ICMP error only because it is
/// asked to keep them (`IP_RECVERR`, ip(7)), and says whom it was about (fault E4).
#[derive(Debug)]
pub struct TalkDatagrams {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    /// None: it does not listen, and has a socket for each family to which it sends.
    listens_for: Option<Families>,
    incoming: Box<[u8]>,
    /// After how much silence it is over, and since when nothing has come; none: never.
    silence: Option<RequestDeadline>,
}

/// From whom a socket that listens takes datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Families {
    /// From addresses of its own family.
    Own,
    /// From IPv4, too, though it is an IPv6 socket.
    Both,
}

/// What happened to datagrams.
#[derive(Debug)]
pub enum DatagramNews<'b> {
    /// One has come, whole.
    Said {
        /// From here.
        from: SocketAddr,
        /// It may be empty.
        bytes: &'b [u8],
    },
    /// One that was sent here did not arrive.
    Refused {
        /// Where it was sent.
        to: SocketAddr,
        /// `ConnectionRefused`: nothing listens there.
        cause: io::Error,
    },
}

impl TalkDatagrams {
    /// Listens with this socket, which is bound and does not wait, and sends from it: only to addresses of its own
    /// family, unless it takes both, as one at `[::]` does.
    ///
    /// # Errors
    ///
    /// It is no UDP socket.
    pub fn listening(socket: OwnedFd) -> io::Result<TalkDatagrams> {
        let socket = UdpSocket::from(socket);
        let at = socket.local_addr()?;
        let is_dual = at.is_ipv6() && at.ip().is_unspecified();
        keep_errors(&socket, at.is_ipv4() || is_dual, at.is_ipv6())?;
        let (v4, v6) = if at.is_ipv4() {
            (Some(socket), None)
        } else {
            (None, Some(socket))
        };
        Ok(TalkDatagrams {
            v4,
            v6,
            listens_for: Some(if is_dual {
                Families::Both
            } else {
                Families::Own
            }),
            ..TalkDatagrams::new()
        })
    }

    /// Sends from whatever port the system chooses.
    pub fn new() -> TalkDatagrams {
        TalkDatagrams {
            v4: None,
            v6: None,
            listens_for: None,
            incoming: vec![0; DATAGRAM_BYTES_MAX].into_boxed_slice(),
            silence: None,
        }
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self.v4.iter().chain(&self.v6).next() {
            Some(socket) => socket.local_addr(),
            None => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// The most that one datagram to this address holds, in bytes.
    pub fn bytes_max(to: SocketAddr) -> usize {
        if to.is_ipv4() {
            IPV4_BYTES_MAX
        } else {
            IPV6_BYTES_MAX
        }
    }

    /// Sends one datagram. That it left says nothing of its arrival.
    ///
    /// # Errors
    ///
    /// It is too long, the address is of another family than the one that is listened at, or as sendto(2) has them.
    pub fn say(&mut self, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let max = TalkDatagrams::bytes_max(to);
        if bytes.len() > max {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "{} bytes are more than the {max} that a datagram holds",
                    bytes.len()
                ),
            ));
        }
        let is_v4 = to.is_ipv4() && self.listens_for != Some(Families::Both);
        let (socket, any) = if is_v4 {
            (&mut self.v4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))
        } else {
            (&mut self.v6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)))
        };
        let to = if is_v4 { to } else { mapped(to) };
        let socket = match socket {
            Some(socket) => socket,
            None if self.listens_for.is_some() => {
                return Err(io::Error::new(
                    ErrorKind::Unsupported,
                    "it is of another family than the address that is listened at",
                ));
            }
            None => {
                let opened = UdpSocket::bind(any)?;
                opened.set_nonblocking(true)?;
                keep_errors(&opened, any.is_ipv4(), any.is_ipv6())?;
                socket.insert(opened)
            }
        };
        let mut sent = Ok(());
        for _ in 0..SENDS_MAX {
            sent = match socket.send_to(bytes, to) {
                Ok(_) => return Ok(()),
                Err(error) => Err(error),
            };
            // What an earlier datagram met is told by whichever call comes next, and by the queue as well.
            if !matches!(&sent, Err(error) if is_of_another(error)) {
                return sent;
            }
        }
        sent
    }

    /// The next that happened; none: nothing yet.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator's items cannot borrow from it"
    )]
    pub fn next(&mut self) -> io::Result<Option<DatagramNews<'_>>> {
        for socket in self.v4.iter().chain(&self.v6) {
            if let Some((to, cause)) = next_error(socket)? {
                return Ok(Some(DatagramNews::Refused { to, cause }));
            }
            let received = loop {
                match socket.recv_from(&mut self.incoming) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if is_of_another(&error) => {
                        if let Some((to, cause)) = next_error(socket)? {
                            return Ok(Some(DatagramNews::Refused { to, cause }));
                        }
                    }
                    received => break received,
                }
            };
            match received {
                Ok((len, from)) => {
                    self.silence = self
                        .silence
                        .map(|silence| RequestDeadline::after(silence.given()));
                    let from = unmapped(from);
                    let bytes = &self.incoming[..len];
                    return Ok(Some(DatagramNews::Said { from, bytes }));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// From now on it is over when nothing has come for so long.
    pub fn end_after(&mut self, silence: Duration) {
        self.silence = Some(RequestDeadline::after(silence));
    }

    /// Whether nothing has come for long enough.
    pub fn is_over(&self) -> bool {
        self.silence.is_some_and(|silence| silence.left().is_none())
    }

    /// How long it is until then, if nothing comes.
    pub fn patience(&self) -> Option<Duration> {
        self.silence
            .map(|silence| silence.left().unwrap_or_default())
    }

    /// What can be polled.
    pub fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.v4.iter().chain(&self.v6).map(AsFd::as_fd)
    }
}

impl Default for TalkDatagrams {
    fn default() -> TalkDatagrams {
        TalkDatagrams::new()
    }
}

/// Has the kernel keep ICMP errors for the socket.
fn keep_errors(socket: &UdpSocket, of_v4: bool, of_v6: bool) -> io::Result<()> {
    if of_v4 {
        setsockopt(socket, Ipv4RecvErr, &true)?;
    }
    if of_v6 {
        setsockopt(socket, Ipv6RecvErr, &true)?;
    }
    Ok(())
}

/// As a socket for both families has it.
fn mapped(to: SocketAddr) -> SocketAddr {
    match to {
        SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
        v6 @ SocketAddr::V6(_) => v6,
    }
}

/// As people write it.
fn unmapped(from: SocketAddr) -> SocketAddr {
    match from.ip().to_canonical() {
        ip if ip == from.ip() => from,
        ip => SocketAddr::new(ip, from.port()),
    }
}

/// Whether an error may be about a datagram that left before (udp(7)).
fn is_of_another(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::ConnectionReset
    )
}

/// The next of the errors that the kernel has kept, and which address it is about.
fn next_error(socket: &UdpSocket) -> io::Result<Option<(SocketAddr, io::Error)>> {
    let mut returned = [0; 1];
    let mut parts = [IoSliceMut::new(&mut returned)];
    let mut room = nix::cmsg_space!([u8; 64]);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let received =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut room), flags);
    let message = match received.map_err(io::Error::from) {
        Ok(message) => message,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error),
    };
    let number = message.cmsgs()?.find_map(|about| match about {
        ControlMessageOwned::Ipv4RecvErr(error, _) => Some(error.ee_errno),
        ControlMessageOwned::Ipv6RecvErr(error, _) => Some(error.ee_errno),
        _ => None,
    });
    let to = message.address.as_ref().and_then(address);
    Ok(
        match (to, number.and_then(|number| i32::try_from(number).ok())) {
            (Some(to), Some(number)) => Some((unmapped(to), io::Error::from_raw_os_error(number))),
            _ => None,
        },
    )
}

fn address(stored: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = stored
        .as_sockaddr_in()
        .map(|v4| SocketAddr::V4((*v4).into()));
    v4.or_else(|| {
        stored
            .as_sockaddr_in6()
            .map(|v6| SocketAddr::V6((*v6).into()))
    })
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    /// Waits for what can be polled, for 10 s at most.
    fn wait(talk: &TalkDatagrams) {
        let patience = Timespec::try_from(Duration::from_secs(10)).unwrap();
        let sockets: Vec<_> = talk.sockets().collect();
        let mut asked: Vec<_> = sockets
            .iter()
            .map(|socket| PollFd::new(socket, PollFlags::IN))
            .collect();
        assert!(poll(&mut asked, Some(&patience)).unwrap() > 0);
    }

    #[test]
    fn fault_e4_a_refusal_names_its_address_and_the_others_are_heard_on() {
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap();
        let nobody = closed.local_addr().unwrap();
        drop(closed);
        let friend = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = friend.local_addr().unwrap();
        let mut talk = TalkDatagrams::new();
        for round in 0..3 {
            talk.say(nobody, b"anybody?").unwrap();
            // The refusal of that one is pending: this one leaves all the same.
            talk.say(at, b"hello").unwrap();
            let mut came = [0; 16];
            let (len, from) = friend.recv_from(&mut came).unwrap();
            assert_eq!(&came[..len], b"hello");
            friend.send_to(b"hi", ("127.0.0.1", from.port())).unwrap();
            let (mut refused, mut said) = (0, 0);
            while refused == 0 || said == 0 {
                wait(&talk);
                while let Some(news) = talk.next().unwrap() {
                    match news {
                        DatagramNews::Refused { to, cause } => {
                            assert_eq!(to, nobody);
                            assert_eq!(cause.kind(), ErrorKind::ConnectionRefused);
                            refused += 1;
                        }
                        DatagramNews::Said { from, bytes } => {
                            assert_eq!((from, bytes), (at, &b"hi"[..]));
                            said += 1;
                        }
                    }
                }
            }
            assert_eq!((refused, said), (1, 1), "round {round}");
        }
    }

    #[test]
    fn what_is_too_long_is_not_cut() {
        let friend = UdpSocket::bind("127.0.0.1:0").unwrap();
        friend
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let at = friend.local_addr().unwrap();
        let mut talk = TalkDatagrams::new();
        let text = vec![b'x'; IPV4_BYTES_MAX + 1];
        let said = talk.say(at, &text).unwrap_err().to_string();
        assert_eq!(
            said,
            "65508 bytes are more than the 65507 that a datagram holds"
        );
        talk.say(at, &text[1..]).unwrap();
        talk.say(at, b"").unwrap();
        let mut came = vec![0; DATAGRAM_BYTES_MAX];
        assert_eq!(friend.recv(&mut came).unwrap(), IPV4_BYTES_MAX);
        assert_eq!(friend.recv(&mut came).unwrap(), 0);
    }

    fn listening(at: &str) -> (TalkDatagrams, SocketAddr) {
        let socket = UdpSocket::bind(at).unwrap();
        socket.set_nonblocking(true).unwrap();
        let at = socket.local_addr().unwrap();
        (TalkDatagrams::listening(socket.into()).unwrap(), at)
    }

    #[test]
    fn one_that_listens_sends_from_there_and_to_its_own_family_unless_it_takes_both() {
        let (mut own, at) = listening("127.0.0.1:0");
        let said = own.say("[::1]:9".parse().unwrap(), b"");
        assert_eq!(said.unwrap_err().kind(), ErrorKind::Unsupported);
        let (mut both, both_at) = listening("[::]:0");
        // Each hears the other as IPv4.
        both.say(at, b"from both").unwrap();
        wait(&own);
        match own.next().unwrap() {
            Some(DatagramNews::Said { from, bytes }) => {
                let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, both_at.port()));
                assert_eq!((from, bytes), (v4, &b"from both"[..]));
            }
            other => panic!("{other:?}"),
        }
        own.say((Ipv4Addr::LOCALHOST, both_at.port()).into(), b"back")
            .unwrap();
        wait(&both);
        match both.next().unwrap() {
            Some(DatagramNews::Said { from, bytes }) => {
                assert_eq!((from, bytes), (at, &b"back"[..]))
            }
            other => panic!("{other:?}"),
        }
        drop(own);
        both.say(at, b"gone?").unwrap();
        wait(&both);
        match both.next().unwrap() {
            Some(DatagramNews::Refused { to, .. }) => assert_eq!(to, at),
            other => panic!("{other:?}"),
        }
    }
}
