//! The old server's side of a take-over: which sockets it has, and what it says of them.

use std::io;

use super::open_socket::OpenSocket;
use super::serving::{Reading, Serving};
use crate::endpoint::SocketFile;
use crate::reactor::{Epoll, Reactor, SocketId};
use crate::service::Peer;
use crate::turn::{ConnId, HandOver};
use crate::wire::{
    SOCKETS_HANDED_OVER_MAX, SOCKETS_PER_MESSAGE_MAX, SocketDescription, TakeOverAnswer,
};

impl Serving {
    /// Answers a process that would take this server over.
    pub(super) fn hand_over(&mut self, reactor: &mut Reactor<Epoll>, id: ConnId, wanted: HandOver) {
        let answered = match wanted {
            HandOver::Sockets { .. } if self.reading != Reading::Rests => Err(io::Error::other(
                "the server is reading its configuration again; try again when it has",
            )),
            HandOver::Sockets { from } => {
                self.taker = Some(id);
                offer(reactor, &self.sockets, id, from as usize)
            }
            HandOver::Ready { taken } => release(reactor, &mut self.sockets, id, &taken),
        };
        match answered {
            Ok(None) => {}
            Ok(Some(pid)) => self.supervisor.main_process(pid),
            Err(error) => {
                log::warn!("not taken over: {error}");
                let reason = error.to_string();
                reactor.refuse_hand_over(id, &TakeOverAnswer::Refused { reason });
            }
        }
    }
}

/// Whether a process has got the sockets and goes by their numbers, so that they must stay as they are.
pub(super) fn is_being_taken_over(reactor: &Reactor<Epoll>, taker: Option<ConnId>) -> bool {
    taker.is_some_and(|taker| reactor.is_open(taker))
}

fn offer(
    reactor: &mut Reactor<Epoll>,
    sockets: &[OpenSocket],
    id: ConnId,
    from: usize,
) -> io::Result<Option<u32>> {
    if reactor.is_stopping() {
        let why = "the server has handed its sockets over already, or is stopping";
        return Err(io::Error::other(why));
    }
    if sockets.len() > SOCKETS_HANDED_OVER_MAX {
        let (all, max) = (sockets.len(), SOCKETS_HANDED_OVER_MAX);
        let why =
            format!("the server has {all} sockets, and no more than {max} can be handed over");
        return Err(io::Error::other(why));
    }
    if from == 0 {
        let process = process(pid(reactor, id));
        log::info!("{process} asks for the sockets of this server, to take it over");
    }
    let rest = sockets.get(from..).unwrap_or_default();
    let batch = &rest[..rest.len().min(SOCKETS_PER_MESSAGE_MAX)];
    let ids: Vec<SocketId> = batch.iter().map(|socket| socket.socket).collect();
    let describe = |socket: &OpenSocket| SocketDescription {
        place: socket.place.clone(),
        file: socket.file.as_ref().and_then(SocketFile::numbers),
    };
    let answer = TakeOverAnswer::Sockets {
        sockets: batch.iter().map(describe).collect(),
        more: rest.len() > batch.len(),
    };
    reactor.hand_over(id, &answer, &ids)?;
    Ok(None)
}

/// The number of the process that serves from now on.
fn release(
    reactor: &mut Reactor<Epoll>,
    sockets: &mut [OpenSocket],
    id: ConnId,
    taken: &[u32],
) -> io::Result<Option<u32>> {
    let mut ids = Vec::with_capacity(taken.len());
    for number in taken {
        let Some(socket) = sockets.get(*number as usize) else {
            let why = format!("there is no socket {number}");
            return Err(io::Error::other(why));
        };
        ids.push(socket.socket);
    }
    let pid = pid(reactor, id);
    reactor.release(id, &TakeOverAnswer::Released, &ids)?;
    for number in taken {
        // What is at the path is the other's to remove.
        if let Some(file) = &mut sockets[*number as usize].file {
            file.give_up();
        }
    }
    // This connection is one of them.
    let (left, process) = (reactor.connections() - 1, process(pid));
    log::info!(connections = left; "{process} serves from now on; what is left here finishes");
    Ok(pid)
}

/// The number of the process at the other end, if the kernel knows it.
pub(super) fn pid(reactor: &Reactor<Epoll>, id: ConnId) -> Option<u32> {
    match reactor.peer(id) {
        Some(Peer::Local { pid, .. }) => Some(pid),
        _ => None,
    }
}

/// It, for people.
pub(super) fn process(pid: Option<u32>) -> String {
    pid.map_or_else(|| "a process".into(), |pid| format!("process {pid}"))
}
