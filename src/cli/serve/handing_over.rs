//! The old server's side of a take-over: which sockets it has, and what it says of them.

use std::io;

use super::open_socket::OpenSocket;
use crate::endpoint::SocketFile;
use crate::reactor::{Epoll, Reactor, SocketId};
use crate::service::Peer;
use crate::turn::{ConnId, HandOver};
use crate::wire::{
    SOCKETS_HANDED_OVER_MAX, SOCKETS_PER_MESSAGE_MAX, SocketDescription, TakeOverAnswer,
};

/// Answers a process that would take this server over.
pub(super) fn answer(
    reactor: &mut Reactor<Epoll>,
    sockets: &mut [OpenSocket],
    id: ConnId,
    wanted: HandOver,
) {
    let answered = match wanted {
        HandOver::Sockets { from } => offer(reactor, sockets, id, from as usize),
        HandOver::Ready { taken } => release(reactor, sockets, id, &taken),
    };
    if let Err(error) = answered {
        log::warn!("not taken over: {error}");
        let reason = error.to_string();
        reactor.refuse_hand_over(id, &TakeOverAnswer::Refused { reason });
    }
}

fn offer(
    reactor: &mut Reactor<Epoll>,
    sockets: &[OpenSocket],
    id: ConnId,
    from: usize,
) -> io::Result<()> {
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
        let process = process(reactor, id);
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
    reactor.hand_over(id, &answer, &ids)
}

fn release(
    reactor: &mut Reactor<Epoll>,
    sockets: &mut [OpenSocket],
    id: ConnId,
    taken: &[u32],
) -> io::Result<()> {
    let mut ids = Vec::with_capacity(taken.len());
    for number in taken {
        let Some(socket) = sockets.get(*number as usize) else {
            let why = format!("there is no socket {number}");
            return Err(io::Error::other(why));
        };
        ids.push(socket.socket);
    }
    let process = process(reactor, id);
    reactor.release(id, &TakeOverAnswer::Released, &ids)?;
    for number in taken {
        // What is at the path is the other's to remove.
        if let Some(file) = &mut sockets[*number as usize].file {
            file.give_up();
        }
    }
    // This connection is one of them.
    let left = reactor.connections() - 1;
    log::info!(connections = left; "{process} serves from now on; what is left here finishes");
    Ok(())
}

fn process(reactor: &Reactor<Epoll>, id: ConnId) -> String {
    match reactor.peer(id) {
        Some(Peer::Local { pid, .. }) => format!("process {pid}"),
        _ => "a process".into(),
    }
}
