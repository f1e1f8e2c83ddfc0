//! The sockets that a server has, beside what the loop knows of them.

use std::path::PathBuf;

use anyhow::Context as _;
use rustix::process::geteuid;

use crate::cli::Failure;
use crate::cli::identity::Identity;
use crate::config::limits::CONTROL_CONNECTIONS_MAX;
use crate::config::{control_socket, control_socket_of};
use crate::endpoint::{Control, Endpoint, Handed, SocketFile, bind_control, take_control};
use crate::reactor::{Epoll, ListenerOptions, Reactor, SocketId};
use crate::service;

/// A socket of the loop's.
#[derive(Debug)]
pub(super) struct OpenSocket {
    /// Service, transport and address as they were asked for; `control` of the control socket.
    pub(super) place: String,
    /// What the loop calls it.
    pub(super) socket: SocketId,
    /// The file of a Unix socket: gone when this is dropped.
    pub(super) file: Option<SocketFile>,
    /// What is served there; of the control socket, nothing that anybody configures.
    pub(super) endpoint: Option<Endpoint>,
}

/// Where the server is taken over.
#[derive(Debug)]
pub(super) struct ControlPath {
    pub(super) path: PathBuf,
    /// Whose server it is of.
    pub(super) user: u32,
    /// Somebody asked for it; else it is the usual one, in our private directory.
    is_asked_for: bool,
}

impl ControlPath {
    /// That which was asked for, or the usual one of the user that serves.
    pub(super) fn of(asked: Option<PathBuf>, identity: Option<&Identity>) -> ControlPath {
        let becomes = identity.map(|identity| identity.owner().0);
        let usual = || becomes.map_or_else(control_socket, control_socket_of);
        ControlPath {
            is_asked_for: asked.is_some(),
            path: asked.unwrap_or_else(usual),
            user: becomes.unwrap_or_else(|| geteuid().as_raw()),
        }
    }

    /// Takes the control socket of the server that is taken over, if that has the file at this path.
    pub(super) fn take(&self, handed: &mut Handed) -> Result<Option<Control>, Failure> {
        let taken = take_control(&self.path, handed);
        let path = self.path.display();
        Ok(taken.with_context(|| format!("cannot take the control socket {path} over"))?)
    }

    /// Opens the control socket, as the user that serves, so that it can be removed. The usual place may be
    /// another server's of this user, or not there at all: the server runs without, and cannot be taken over.
    pub(super) fn open(
        &self,
        reactor: &mut Reactor<Epoll>,
        taken: Option<Control>,
    ) -> Result<Option<OpenSocket>, Failure> {
        let path = self.path.display();
        let bound = match taken {
            Some(taken) => Ok(taken),
            None => bind_control(&self.path, !self.is_asked_for),
        };
        let Control { socket, file } = match bound {
            Ok(bound) => bound,
            Err(error) if self.is_asked_for => {
                let user = self.user;
                return Err(anyhow::Error::new(error)
                    .context(format!(
                        "user {user} cannot bind the control socket {path}, and must be able to write to its directory"
                    ))
                    .into());
            }
            Err(error) => {
                log::debug!("this server cannot be taken over: {path}: {error}");
                return Ok(None);
            }
        };
        let options = ListenerOptions {
            name: "control".into(),
            connections_max: CONTROL_CONNECTIONS_MAX,
            only_uid: Some(self.user),
            and_root: true,
            is_beside_limit: true,
            ..ListenerOptions::to(reactor.add(Box::new(service::Control::default())))
        };
        let socket = reactor
            .listen(socket, options)
            .context("cannot watch the control socket")?;
        Ok(Some(OpenSocket {
            place: "control".into(),
            socket: SocketId::Listener(socket),
            file: Some(file),
            endpoint: None,
        }))
    }
}
