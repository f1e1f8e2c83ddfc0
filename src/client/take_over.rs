//! Asks a running server for its sockets.
//!
//! Knows the messages and that descriptors come beside them (`SCM_RIGHTS`, unix(7)). Does not know what is
//! served: which socket is for which endpoint is found elsewhere.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendFlags, recvmsg, send, sockopt};
use rustix::process::geteuid;

use super::ClientError;
use super::connection::{check_server_of, connect_unix};
use super::deadline::{RequestDeadline, is_patience};
use crate::config::limits::TAKE_OVER_TIMEOUT;
use crate::config::{check_private_socket, control_socket, control_socket_of, descriptors_beside};
use crate::wire::{
    Decode, Encode, SOCKETS_HANDED_OVER_MAX, SOCKETS_PER_MESSAGE_MAX, SocketDescription,
    TAKE_OVER_VERSION, TakeOverAnswer, TakeOverMessage, TakeOverRequest,
};

/// How much is read at once.
const READ_BYTES: usize = 64 * 1024;

/// A take-over in progress: the server at the other end still serves. Dropped before
/// [`ready`](TakeOver::ready), it changes nothing.
#[derive(Debug)]
pub struct TakeOver {
    socket: OwnedFd,
    address: String,
    unread: Vec<u8>,
    /// Descriptors that have come and whose message has not.
    descriptors: VecDeque<OwnedFd>,
}

/// A socket of the server at the other end.
#[derive(Debug)]
pub struct HandedSocket {
    /// Its number in this take-over.
    pub number: u32,
    /// Which it is.
    pub description: SocketDescription,
    /// Itself.
    pub socket: OwnedFd,
}

/// What became of the server at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// It accepts no more, and lets its connections finish.
    ByServer,
    /// It ended, however that came: the sockets have no other owner now.
    ByItsEnd,
}

impl TakeOver {
    /// Asks the server whose control socket is at `path` for its sockets. It must be this user's: at the usual
    /// place, so must be what leads there.
    pub fn ask(path: &Path) -> Result<(TakeOver, Vec<HandedSocket>), ClientError> {
        TakeOver::ask_of(path, geteuid().as_raw())
    }

    /// As [`ask`](TakeOver::ask), where it may as well be the server of the user that this process is about to
    /// become.
    pub fn ask_of(path: &Path, user: u32) -> Result<(TakeOver, Vec<HandedSocket>), ClientError> {
        let deadline = RequestDeadline::after(TAKE_OVER_TIMEOUT);
        let address = path.display().to_string();
        let socket = connect(path, user, &deadline).map_err(|cause| {
            let address = address.clone();
            match cause.kind() {
                io::ErrorKind::PermissionDenied if cause.raw_os_error().is_none() => {
                    ClientError::Untrusted { address, cause }
                }
                _ => ClientError::Connect { address, cause },
            }
        })?;
        let mut asked = TakeOver {
            socket,
            address,
            unread: Vec::new(),
            descriptors: VecDeque::new(),
        };
        let sockets = asked.sockets(&deadline)?;
        Ok((asked, sockets))
    }

    fn sockets(&mut self, deadline: &RequestDeadline) -> Result<Vec<HandedSocket>, ClientError> {
        let mut all: Vec<HandedSocket> = Vec::new();
        loop {
            let from = u32::try_from(all.len()).map_err(|_| self.damaged("too many sockets"))?;
            let version = TAKE_OVER_VERSION;
            self.send(&TakeOverRequest::Sockets { version, from }, deadline);
            let Some(answer) = self.answer(deadline)? else {
                return Err(ClientError::HungUp {
                    address: self.address.clone(),
                    progress: format!("after {from} sockets"),
                });
            };
            let TakeOverAnswer::Sockets { sockets, more } = answer else {
                return Err(self.damaged("it let go of sockets that were not asked for"));
            };
            if sockets.len() != self.descriptors.len() {
                return Err(self.damaged(format_args!(
                    "{} sockets are described, and {} came",
                    sockets.len(),
                    self.descriptors.len()
                )));
            }
            let new = sockets.into_iter().zip(self.descriptors.drain(..));
            let before = all.len();
            all.extend(
                new.zip(from..)
                    .map(|((description, socket), number)| HandedSocket {
                        number,
                        description,
                        socket,
                    }),
            );
            if !more {
                return Ok(all);
            }
            if all.len() == before || all.len() > SOCKETS_HANDED_OVER_MAX {
                return Err(self.damaged("it has no end of sockets"));
            }
        }
    }

    /// Says that those of these numbers are served from now on, and waits until the other server has let go of
    /// them. After an error it has not, and goes on.
    pub fn ready(mut self, taken: Vec<u32>) -> Result<Released, ClientError> {
        let deadline = RequestDeadline::after(TAKE_OVER_TIMEOUT);
        self.send(&TakeOverRequest::Ready { taken }, &deadline);
        match self.answer(&deadline)? {
            None => Ok(Released::ByItsEnd),
            Some(TakeOverAnswer::Released) => Ok(Released::ByServer),
            Some(TakeOverAnswer::Sockets { .. } | TakeOverAnswer::Refused { .. }) => {
                Err(self.damaged("it sent sockets again"))
            }
        }
    }

    /// Sends a request. That it cannot be sent shows in the answer: of a server that has ended, or has given us
    /// up, what it said last is still to be read.
    fn send(&self, request: &TakeOverRequest, deadline: &RequestDeadline) {
        let mut bytes = Vec::new();
        request.encode(&mut bytes);
        let mut left = &bytes[..];
        while let Some(time) = deadline.left().filter(|_| !left.is_empty()) {
            let sent =
                sockopt::set_socket_timeout(&self.socket, sockopt::Timeout::Send, Some(time))
                    .and_then(|()| send(&self.socket, left, SendFlags::NOSIGNAL));
            match sent.map_err(io::Error::from) {
                Ok(n) => left = &left[n..],
                Err(error) if is_patience(error.kind()) => {}
                Err(_) => return,
            }
        }
    }

    /// The next message that is no refusal; none at the end.
    fn answer(
        &mut self,
        deadline: &RequestDeadline,
    ) -> Result<Option<TakeOverAnswer>, ClientError> {
        loop {
            let read = TakeOverMessage::<TakeOverAnswer>::default()
                .decode(&self.unread)
                .map_err(|cause| ClientError::Wire {
                    address: self.address.clone(),
                    cause,
                })?;
            match read {
                Some((TakeOverAnswer::Refused { reason }, _)) => {
                    let address = self.address.clone();
                    return Err(ClientError::Refused { address, reason });
                }
                Some((answer, taken)) => {
                    self.unread.drain(..taken);
                    return Ok(Some(answer));
                }
                None => {}
            }
            let Some(time) = deadline.left() else {
                return Err(ClientError::Timeout {
                    address: self.address.clone(),
                    after: deadline.given(),
                    progress: format!("{} bytes came", self.unread.len()),
                });
            };
            let read =
                sockopt::set_socket_timeout(&self.socket, sockopt::Timeout::Recv, Some(time))
                    .map_err(io::Error::from)
                    .and_then(|()| self.receive());
            match read {
                Ok(0) if self.unread.is_empty() => return Ok(None),
                Ok(0) => {
                    return Err(ClientError::HungUp {
                        address: self.address.clone(),
                        progress: format!("in a message, after {} bytes", self.unread.len()),
                    });
                }
                Ok(_) => {}
                Err(error) if is_patience(error.kind()) => {}
                Err(error) if is_gone(error.kind()) => return Ok(None),
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    /// Reads once: bytes, and descriptors that came beside them.
    fn receive(&mut self) -> io::Result<usize> {
        let mut room =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_PER_MESSAGE_MAX))];
        let mut beside = RecvAncillaryBuffer::new(&mut room);
        let had = self.unread.len();
        self.unread.resize(had + READ_BYTES, 0);
        let received = recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut self.unread[had..])],
            &mut beside,
            RecvFlags::CMSG_CLOEXEC,
        );
        self.unread
            .truncate(had + received.as_ref().map_or(0, |r| r.bytes));
        let received = received?;
        self.descriptors
            .extend(descriptors_beside(&mut beside, received.flags)?);
        Ok(received.bytes)
    }

    fn damaged(&self, detail: impl fmt::Display) -> ClientError {
        ClientError::Damaged {
            address: self.address.clone(),
            detail: detail.to_string(),
        }
    }

    fn broken(&self, cause: io::Error) -> ClientError {
        ClientError::Broken {
            address: self.address.clone(),
            cause,
        }
    }
}

/// Whether the error tells that the other end is closed.
fn is_gone(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

fn connect(path: &Path, user: u32, deadline: &RequestDeadline) -> io::Result<OwnedFd> {
    let ours = geteuid().as_raw();
    if user == ours && path == control_socket() || path == control_socket_of(user) {
        check_private_socket(path, user)?;
    }
    let socket = connect_unix(path, deadline)?;
    // A path may lead elsewhere by now, and one that somebody named may be anybody's.
    check_server_of(&socket, &[ours, user])?;
    Ok(socket)
}
