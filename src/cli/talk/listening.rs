//! Where somebody may call.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use anyhow::Context as _;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketFlags, acceptfrom_with, getsockname, sockopt};
use rustix::process::geteuid;

use super::call::Ending;
use crate::cli::Failure;
use crate::cli::conversation::{Conversation, Typed};
use crate::client::{ServerAddress, TalkDatagrams, TalkForm, TalkStream, TextStream};
use crate::config::HostPort;
use crate::endpoint::{Control, bind_control};
use crate::reactor::{listen_tcp, open_udp};

/// A socket at which one connection after another is taken.
#[derive(Debug)]
pub(super) struct Listening {
    socket: OwnedFd,
    address: String,
    /// The file of a Unix socket, which only our own user may connect to; gone with this.
    is_private: bool,
    _file: Option<crate::endpoint::SocketFile>,
}

impl Listening {
    /// Listens there; at an address of the network only if it `is_open`.
    pub(super) fn at(address: &ServerAddress, is_open: bool) -> Result<Listening, Failure> {
        match address {
            ServerAddress::Host(host) => {
                let at = local(host, is_open)?;
                let socket = listen_tcp(at).with_context(|| format!("cannot listen on {at}"))?;
                Ok(Listening {
                    address: place(&socket).unwrap_or(at).to_string(),
                    socket,
                    is_private: false,
                    _file: None,
                })
            }
            ServerAddress::Unix(path) => Listening::at_path(path.clone()),
        }
    }

    fn at_path(path: PathBuf) -> Result<Listening, Failure> {
        let bound = bind_control(&path, false);
        let Control { socket, file } =
            bound.with_context(|| format!("cannot listen on unix://{}", path.display()))?;
        Ok(Listening {
            socket,
            address: format!("unix://{}", path.display()),
            is_private: true,
            _file: Some(file),
        })
    }

    /// Where that is.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Waits until somebody has called, or the person wants to wait no longer. What comes through a pipe meanwhile is
    /// for whoever calls.
    pub(super) fn wait(
        &self,
        form: TalkForm,
        conversation: &mut Conversation,
    ) -> Result<Result<TalkStream, Ending>, Failure> {
        loop {
            if let Some(stream) = self.accept(form)? {
                return Ok(Ok(stream));
            }
            let is_wanted = !conversation.is_plain();
            conversation.wait(is_wanted, &[(self.socket.as_fd(), PollFlags::IN)], None)?;
            let typed = if is_wanted {
                conversation.next()?
            } else {
                conversation.next_signal()
            };
            match typed {
                None => {}
                Some(Typed::Signal(number)) => return Ok(Err(Ending::Signal(number))),
                Some(Typed::End) => return Ok(Err(Ending::NothingMore)),
                Some(Typed::Line(_)) => conversation.remark("nobody has called yet")?,
                Some(Typed::Failed(why)) => return Err(anyhow::Error::msg(why).into()),
            }
        }
    }

    fn accept(&self, form: TalkForm) -> Result<Option<TalkStream>, Failure> {
        loop {
            let (socket, from) = match acceptfrom_with(&self.socket, SocketFlags::CLOEXEC) {
                Ok(accepted) => accepted,
                Err(Errno::AGAIN) => return Ok(None),
                // Of one that has gone already.
                Err(Errno::INTR | Errno::CONNABORTED | Errno::PROTO) => continue,
                Err(errno) => {
                    let error = io::Error::from(errno);
                    return Err(anyhow::Error::new(error)
                        .context(format!("{}: cannot take a call", self.address))
                        .into());
                }
            };
            if let Some(peer) = self.peer(&socket, from) {
                let stream = TextStream::accepted(socket, peer).map_err(anyhow::Error::new)?;
                return Ok(Some(TalkStream::new(stream, form)));
            }
        }
    }

    /// Who that is; none: a user who may not call.
    fn peer(&self, socket: &OwnedFd, from: Option<SocketAddrAny>) -> Option<String> {
        if self.is_private {
            let peer = sockopt::socket_peercred(socket).ok()?;
            let (pid, uid) = (peer.pid.as_raw_nonzero(), peer.uid.as_raw());
            return (uid == geteuid().as_raw()).then(|| format!("process {pid} of user {uid}"));
        }
        let from = SocketAddr::try_from(from?).ok()?;
        let ip = from.ip().to_canonical();
        Some(if ip == from.ip() {
            from.to_string()
        } else {
            SocketAddr::new(ip, from.port()).to_string()
        })
    }
}

/// Datagrams at this address, from the network only if it `is_open`.
pub(super) fn listen_udp(host: &HostPort, is_open: bool) -> Result<TalkDatagrams, Failure> {
    let at = local(host, is_open)?;
    let socket = open_udp(at).with_context(|| format!("cannot listen on {at}"))?;
    let datagrams = TalkDatagrams::listening(socket);
    Ok(datagrams.with_context(|| format!("cannot listen on {at}"))?)
}

/// The first address of the host, if one may listen there.
fn local(host: &HostPort, is_open: bool) -> Result<SocketAddr, Failure> {
    let mut found = host
        .to_socket_addrs()
        .with_context(|| format!("cannot resolve {host}"))?;
    let at = found
        .next()
        .ok_or_else(|| anyhow::anyhow!("{host}: it has no address"))?;
    if !is_open && !is_loopback(at.ip()) {
        return Err(Failure::usage(format_args!(
            "{} is not a loopback address, and whoever can send a packet there could call; allow it with --open, or listen on 127.0.0.1 or [::1]",
            at.ip()
        )));
    }
    Ok(at)
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

fn place(socket: &OwnedFd) -> Option<SocketAddr> {
    SocketAddr::try_from(getsockname(socket).ok()?).ok()
}
