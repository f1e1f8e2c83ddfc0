//! The sockets that a server has, beside what the loop knows of them.

use std::path::PathBuf;

use anyhow::Context as _;
use rustix::process::geteuid;

use crate::cli::Failure;
use crate::config::control_socket;
use crate::config::limits::CONTROL_CONNECTIONS_MAX;
use crate::endpoint::{Endpoint, Handed, SocketFile, bind_control};
use crate::reactor::{Epoll, ListenerOptions, Reactor, SocketId};
use crate::service::Control;

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
    /// Somebody asked for it; else it is the usual one, in our private directory.
    is_asked_for: bool,
}

impl ControlPath {
    pub(super) fn of(asked: Option<PathBuf>) -> ControlPath {
        ControlPath {
            is_asked_for: asked.is_some(),
            path: asked.unwrap_or_else(control_socket),
        }
    }

    /// Opens the control socket. The usual place may be another server's of this user, or not there at all: the
    /// server runs without, and cannot be taken over.
    pub(super) fn open(
        &self,
        reactor: &mut Reactor<Epoll>,
        handed: &mut Handed,
    ) -> Result<Option<OpenSocket>, Failure> {
        let path = self.path.display();
        let (socket, file) = match bind_control(&self.path, !self.is_asked_for, handed) {
            Ok(bound) => bound,
            Err(error) if self.is_asked_for => {
                return Err(anyhow::Error::new(error)
                    .context(format!("cannot bind the control socket {path}"))
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
            only_uid: Some(geteuid().as_raw()),
            is_beside_limit: true,
            ..ListenerOptions::to(reactor.add(Box::new(Control::default())))
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
