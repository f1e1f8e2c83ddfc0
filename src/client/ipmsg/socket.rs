use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::cmsg_space;
use nix::sys::socket::sockopt::{Ipv4RecvErr, Ipv6RecvErr};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::bell::{Heard, IpmsgBell};
use crate::config::limits::DATAGRAM_BYTES_MAX;
use crate::ipmsg::{IpmsgHost, IpmsgNews, IpmsgSettings};

/// How many datagrams are taken before what they said is looked at.
const DATAGRAMS_AT_ONCE: u32 = 64;

/// A host of IPMSG with a socket and a clock.
#[derive(Debug)]
pub struct IpmsgSocket {
    host: IpmsgHost,
    socket: UdpSocket,
    at: SocketAddr,
    began: Instant,
    bell: IpmsgBell,
    heard: Heard,
    /// Where something could not be sent, and why: the last of each address.
    failed: Vec<(SocketAddr, io::Error)>,
    buffer: Vec<u8>,
}

impl IpmsgSocket {
    /// Binds this address, and is the host of these settings there.
    #[expect(
        clippy::disallowed_methods,
        reason = "a blocking client has no loop that could tell it the time"
    )]
    pub fn bind(at: SocketAddr, settings: IpmsgSettings) -> io::Result<IpmsgSocket> {
        let socket = UdpSocket::bind(at)?;
        socket.set_nonblocking(true)?;
        socket.set_broadcast(at.is_ipv4())?;
        // Where nothing listens, the other machine says so (ICMP, fault E4): ip(7), IP_RECVERR.
        if at.is_ipv4() {
            setsockopt(&socket, Ipv4RecvErr, &true)?;
        } else {
            setsockopt(&socket, Ipv6RecvErr, &true)?;
        }
        let at = socket.local_addr()?;
        let clock = SystemTime::now().duration_since(UNIX_EPOCH);
        let (bell, heard) = IpmsgBell::new()?;
        let settings = IpmsgSettings {
            port: at.port(),
            ..settings
        };
        Ok(IpmsgSocket {
            host: IpmsgHost::new(settings, clock.unwrap_or_default().as_secs()),
            socket,
            at,
            began: Instant::now(),
            bell,
            heard,
            failed: Vec::new(),
            buffer: vec![0; DATAGRAM_BYTES_MAX],
        })
    }

    /// Where it is bound.
    pub fn local_address(&self) -> SocketAddr {
        self.at
    }

    /// What wakes it up.
    pub fn bell(&self) -> IpmsgBell {
        self.bell.clone()
    }

    /// How long it has been there: what it and its host call the time.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// The host that it is, and the time.
    pub fn host(&mut self) -> (&mut IpmsgHost, Duration) {
        let now = self.now();
        (&mut self.host, now)
    }

    /// Why the last datagram to this host could not be sent, if it could not.
    pub fn failure(&self, to: IpAddr) -> Option<&io::Error> {
        let failed = self.failed.iter().find(|(at, _)| at.ip() == to);
        failed.map(|(_, error)| error)
    }

    /// Waits for what happens next. `None`: it is later than `until`, or the [bell](IpmsgSocket::bell) rang, or a
    /// signal came.
    pub fn wait(&mut self, until: Option<Duration>) -> io::Result<Option<IpmsgNews>> {
        loop {
            self.send_all();
            if let Some(news) = self.host.take_news() {
                return Ok(Some(news));
            }
            let now = self.now();
            if until.is_some_and(|until| until <= now) {
                return Ok(None);
            }
            let due = self.host.wakes_at().into_iter().chain(until).min();
            let has_rung = match self.poll(due.map(|due| due.saturating_sub(now))) {
                Err(Errno::INTR) => true,
                other => other?,
            };
            self.receive_all();
            let now = self.now();
            if self.host.wakes_at().is_some_and(|due| due <= now) {
                self.host.wake(now);
            }
            if has_rung {
                self.send_all();
                return Ok(self.host.take_news());
            }
        }
    }

    /// Says that it goes, and does not come back before that was said twice.
    pub fn leave(&mut self) -> io::Result<()> {
        let (host, now) = self.host();
        host.leave(now);
        self.send_all();
        while let Some(due) = self.host.wakes_at().filter(|due| *due <= now + GOODBYE_MAX) {
            // What comes now is still acknowledged.
            let until = Some(due);
            while self.wait(until)?.is_some() {}
            if self.now() > now + GOODBYE_MAX {
                break;
            }
        }
        self.send_all();
        Ok(())
    }

    /// Whether the bell rang.
    fn poll(&self, patience: Option<Duration>) -> Result<bool, Errno> {
        let mut ready = [
            PollFd::new(&self.socket, PollFlags::IN),
            PollFd::from_borrowed_fd(self.heard.as_fd(), PollFlags::IN),
        ];
        // Rounded up, or the last millisecond would be spent awake.
        let patience = patience.map(|patience| patience + Duration::from_micros(1));
        let patience = patience.map(|patience| Timespec::try_from(patience).unwrap_or_default());
        poll(&mut ready, patience.as_ref())?;
        let has_rung = !ready[1].revents().is_empty();
        if has_rung {
            self.heard.silence();
        }
        Ok(has_rung)
    }

    /// Takes what other machines said of datagrams that did not arrive.
    fn hear_of_failures(&mut self) {
        let mut told = cmsg_space!([u8; 128]);
        let mut returned = [0; 1];
        loop {
            let mut room = [IoSliceMut::new(&mut returned)];
            let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
            let fd = self.socket.as_raw_fd();
            let Ok(message) = recvmsg::<SockaddrStorage>(fd, &mut room, Some(&mut told), flags)
            else {
                return;
            };
            let address = message.address.as_ref();
            let to = address.and_then(|address| {
                let v4 = address
                    .as_sockaddr_in()
                    .map(|v4| SocketAddr::V4((*v4).into()));
                v4.or_else(|| Some(SocketAddr::V6((*address.as_sockaddr_in6()?).into())))
            });
            let errno = message.cmsgs().ok().and_then(|mut told| {
                told.find_map(|told| match told {
                    ControlMessageOwned::Ipv4RecvErr(error, _)
                    | ControlMessageOwned::Ipv6RecvErr(error, _) => {
                        i32::try_from(error.ee_errno).ok()
                    }
                    _ => None,
                })
            });
            if let (Some(to), Some(errno)) = (to, errno) {
                self.failed.retain(|(at, _)| *at != to);
                self.failed.push((to, io::Error::from_raw_os_error(errno)));
            }
        }
    }

    fn receive_all(&mut self) {
        self.hear_of_failures();
        for _ in 0..DATAGRAMS_AT_ONCE {
            match self.socket.recv_from(&mut self.buffer) {
                Ok((n, from)) => {
                    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                    let now = self.began.elapsed();
                    self.host.receive(now, from, &self.buffer[..n]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // An earlier datagram could not be delivered; the socket lives, and why is told beside.
                Err(_) => self.hear_of_failures(),
            }
        }
    }

    fn send_all(&mut self) {
        while let Some((to, bytes)) = self.host.take_datagram() {
            self.failed.retain(|(at, _)| *at != to);
            if let Err(error) = self.socket.send_to(&bytes, to) {
                self.failed.push((to, error));
            }
        }
    }
}

/// How long a goodbye takes at most.
const GOODBYE_MAX: Duration = Duration::from_millis(500);
