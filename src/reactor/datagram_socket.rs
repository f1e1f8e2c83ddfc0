use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::cmsg_space;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
};
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny, getsockname, recvfrom, sendto};

use super::os::Received;

/// A UDP socket that answers from the address that was asked.
///
/// One that is bound to a wildcard address receives at every address of the machine, and the kernel would
/// choose which of them an answer leaves from: a connected client, and most firewalls, take only an
/// answer that comes from where they sent the question. So such a socket has the kernel tell where each
/// datagram was sent to (IP_PKTINFO, ip(7); IPV6_RECVPKTINFO, RFC 3542). Others are spared that.
#[derive(Debug)]
pub struct DatagramSocket {
    fd: OwnedFd,
    /// What the kernel tells of each datagram, if it tells.
    wildcard: Option<Vec<u8>>,
}

impl DatagramSocket {
    /// Takes a bound, non-blocking datagram socket.
    pub fn new(fd: OwnedFd) -> io::Result<DatagramSocket> {
        let bound = SocketAddr::try_from(getsockname(&fd)?)?;
        let wildcard = bound.ip().to_canonical().is_unspecified().then(|| {
            if bound.is_ipv4() {
                setsockopt(&fd, Ipv4PacketInfo, &true)?;
            } else {
                // Of a dual-stack socket's IPv4 datagrams too, as mapped addresses.
                setsockopt(&fd, Ipv6RecvPacketInfo, &true)?;
            }
            Ok::<_, io::Error>(cmsg_space!(in6_pktinfo))
        });
        Ok(DatagramSocket {
            wildcard: wildcard.transpose()?,
            fd,
        })
    }

    /// Receives one datagram.
    pub(super) fn receive(&mut self, into: &mut [u8]) -> io::Result<Received> {
        let Some(told) = &mut self.wildcard else {
            let (_, n, from) = recvfrom(&self.fd, into, RecvFlags::empty())?;
            let from: SocketAddrAny = from.ok_or(io::ErrorKind::AddrNotAvailable)?;
            return Ok(Received {
                n,
                from: SocketAddr::try_from(from)?,
                asked: None,
            });
        };
        let mut room = [IoSliceMut::new(into)];
        let message = recvmsg::<SockaddrStorage>(
            self.fd.as_raw_fd(),
            &mut room,
            Some(told),
            MsgFlags::empty(),
        )?;
        let from = message.address.as_ref().and_then(socket_addr);
        let told = message.cmsgs().ok();
        let asked = told.into_iter().flatten().find_map(|told| match told {
            // Of a broadcast, the address of the interface that it came through.
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                Some(IpAddr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()))
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => Some(IpAddr::from(info.ipi6_addr.s6_addr)),
            _ => None,
        });
        Ok(Received {
            n: message.bytes,
            from: from.ok_or(io::ErrorKind::AddrNotAvailable)?,
            asked: asked.filter(|ip| !ip.is_multicast() && !ip.is_unspecified()),
        })
    }

    /// Sends one datagram, from `asked` if that is known.
    pub(super) fn send(
        &mut self,
        bytes: &[u8],
        to: SocketAddr,
        asked: Option<IpAddr>,
    ) -> io::Result<()> {
        match asked {
            None => {
                sendto(&self.fd, bytes, SendFlags::empty(), &to)?;
            }
            Some(IpAddr::V4(ip)) => {
                let info = in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: in_addr {
                        s_addr: u32::from_ne_bytes(ip.octets()),
                    },
                    ipi_addr: in_addr { s_addr: 0 },
                };
                self.send_telling(bytes, to, &ControlMessage::Ipv4PacketInfo(&info))?;
            }
            Some(IpAddr::V6(ip)) => {
                let info = in6_pktinfo {
                    ipi6_addr: in6_addr {
                        s6_addr: ip.octets(),
                    },
                    // A link-local destination says its interface itself (sin6_scope_id).
                    ipi6_ifindex: 0,
                };
                self.send_telling(bytes, to, &ControlMessage::Ipv6PacketInfo(&info))?;
            }
        }
        Ok(())
    }

    fn send_telling(
        &self,
        bytes: &[u8],
        to: SocketAddr,
        from: &ControlMessage<'_>,
    ) -> io::Result<()> {
        sendmsg(
            self.fd.as_raw_fd(),
            &[IoSlice::new(bytes)],
            std::slice::from_ref(from),
            MsgFlags::empty(),
            Some(&SockaddrStorage::from(to)),
        )?;
        Ok(())
    }
}

impl AsFd for DatagramSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn socket_addr(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address
        .as_sockaddr_in()
        .map(|v4| SocketAddr::V4((*v4).into()));
    v4.or_else(|| {
        address
            .as_sockaddr_in6()
            .map(|v6| SocketAddr::V6((*v6).into()))
    })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket as Client;
    use std::time::Duration;

    use super::*;
    use crate::reactor::open_udp;

    /// What a client that is connected to `asked` receives from a server bound to `bound`.
    fn answer_from(bound: &str, asked: &str) -> io::Result<Option<IpAddr>> {
        let mut server = DatagramSocket::new(open_udp(bound.parse().unwrap())?)?;
        let port = SocketAddr::try_from(getsockname(&server.fd)?)?.port();
        let asked: IpAddr = asked.parse().unwrap();
        let any = if asked.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let client = Client::bind(any)?;
        client.set_read_timeout(Some(Duration::from_secs(10)))?;
        client.connect((asked, port))?;
        client.send(b"question")?;
        let mut room = [0; 64];
        // On loopback a datagram that was sent has come.
        let received = server.receive(&mut room)?;
        assert_eq!(&room[..received.n], b"question");
        assert_eq!(received.from.port(), client.local_addr()?.port());
        server.send(b"answer", received.from, received.asked)?;
        assert_eq!(client.recv(&mut room)?, 6);
        Ok(received.asked.map(|ip| ip.to_canonical()))
    }

    #[test]
    fn an_answer_leaves_from_the_address_that_was_asked() {
        for asked in ["127.0.0.1", "127.0.0.2", "127.1.2.3"] {
            let told = answer_from("0.0.0.0:0", asked).unwrap();
            assert_eq!(told, asked.parse().ok());
            // Dual stack, where this machine has IPv6.
            match answer_from("[::]:0", asked) {
                Ok(told) => assert_eq!(told, asked.parse().ok()),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}"),
            }
        }
        match answer_from("[::]:0", "::1") {
            Ok(told) => assert_eq!(told, "::1".parse().ok()),
            Err(error) => assert!(
                matches!(
                    error.kind(),
                    io::ErrorKind::Unsupported | io::ErrorKind::AddrNotAvailable
                ),
                "{error}"
            ),
        }
    }

    #[test]
    fn a_socket_with_one_address_is_told_nothing() {
        assert_eq!(answer_from("127.0.0.2:0", "127.0.0.2").unwrap(), None);
    }
}
