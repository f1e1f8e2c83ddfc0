//! The supervisor's side of a take-over, where its processes serve the sockets.

use std::io;
use std::os::fd::OwnedFd;

use super::shared::Shared;
use super::supervising::{Stage, Supervising};
use crate::cli::serve::handing_over::{pid, process};
use crate::cli::serve::reload::number;
use crate::cli::serve::serving::Reading;
use crate::endpoint::SocketFile;
use crate::reactor::{Epoll, Reactor};
use crate::turn::{ConnId, HandOver};
use crate::wire::{
    SOCKETS_HANDED_OVER_MAX, SOCKETS_PER_MESSAGE_MAX, SocketDescription, TakeOverAnswer, ToProcess,
};

impl Supervising {
    /// Answers a process that would take this server over.
    pub(super) fn hand_over(&mut self, reactor: &mut Reactor<Epoll>, id: ConnId, wanted: HandOver) {
        let is_busy = self.reading != Reading::Rests || self.following.is_some();
        let answered = match wanted {
            HandOver::Sockets { .. } if is_busy => Err(io::Error::other(
                "the server is reading its configuration again; try again when it has",
            )),
            HandOver::Sockets { from } => {
                self.taker = Some(id);
                self.offer(reactor, id, from as usize)
            }
            HandOver::Ready { taken } => self.release(reactor, id, &taken),
        };
        if let Err(error) = answered {
            log::warn!("not taken over: {error}");
            let reason = error.to_string();
            reactor.refuse_hand_over(id, &TakeOverAnswer::Refused { reason });
        }
    }

    /// All sockets, in the order in which they have their numbers: that of the control socket is the last.
    fn sockets(&self, reactor: &Reactor<Epoll>) -> io::Result<Vec<(SocketDescription, OwnedFd)>> {
        let mut all = Vec::new();
        for shared in &self.shared {
            for socket in shared.sockets() {
                all.push((shared.description(), socket.try_clone()?));
            }
        }
        if let Some(control) = &self.control
            && let Some(socket) = reactor.duplicate(control.socket)?
        {
            let description = SocketDescription {
                place: control.place.clone(),
                file: control.file.as_ref().and_then(SocketFile::numbers),
            };
            all.push((description, socket));
        }
        Ok(all)
    }

    fn offer(&self, reactor: &mut Reactor<Epoll>, id: ConnId, from: usize) -> io::Result<()> {
        if reactor.is_stopping() || !matches!(self.stage, Stage::Serves) {
            let why = "the server has handed its sockets over already, or is stopping";
            return Err(io::Error::other(why));
        }
        let all = self.sockets(reactor)?;
        if all.len() > SOCKETS_HANDED_OVER_MAX {
            let (all, max) = (all.len(), SOCKETS_HANDED_OVER_MAX);
            let why =
                format!("the server has {all} sockets, and no more than {max} can be handed over");
            return Err(io::Error::other(why));
        }
        if from == 0 {
            let process = process(pid(reactor, id));
            log::info!("{process} asks for the sockets of this server, to take it over");
        }
        let rest = all.get(from..).unwrap_or_default();
        let batch = &rest[..rest.len().min(SOCKETS_PER_MESSAGE_MAX)];
        let answer = TakeOverAnswer::Sockets {
            sockets: batch.iter().map(|(which, _)| which.clone()).collect(),
            more: rest.len() > batch.len(),
        };
        let sockets: Vec<&OwnedFd> = batch.iter().map(|(_, socket)| socket).collect();
        reactor.hand_over_kept(id, &answer, &sockets)
    }

    /// The other server and the processes have the same sockets for a moment: whichever accepts a connection
    /// serves it.
    fn release(
        &mut self,
        reactor: &mut Reactor<Epoll>,
        id: ConnId,
        taken: &[u32],
    ) -> io::Result<()> {
        let all = self.sockets(reactor)?;
        let mut numbers = Vec::new();
        for wanted in taken {
            let Some((_, socket)) = all.get(*wanted as usize) else {
                return Err(io::Error::other(format!("there is no socket {wanted}")));
            };
            numbers.push(number(socket));
        }
        let own = self.control.as_ref().filter(|control| {
            let socket = reactor.duplicate(control.socket).ok().flatten();
            socket.is_some_and(|socket| numbers.contains(&number(&socket)))
        });
        let own: Vec<_> = own.map(|control| control.socket).into_iter().collect();
        let pid = pid(reactor, id);
        let kept = numbers.len() - own.len();
        reactor.release_with(id, &TakeOverAnswer::Released, &own, kept)?;
        for shared in &mut self.shared {
            let is_taken = |socket: &OwnedFd| numbers.contains(&number(socket));
            // What is at the path is the other's to remove.
            if shared.sockets().iter().any(is_taken)
                && let Some(file) = &mut shared.file
            {
                file.give_up();
            }
        }
        if let Some(control) = &mut self.control
            && !own.is_empty()
            && let Some(file) = &mut control.file
        {
            file.give_up();
        }
        self.stage = Stage::Released;
        self.tell_all(reactor, &ToProcess::Release { taken: numbers });
        self.shared.iter_mut().for_each(Shared::close);
        let is_alone = self.members.iter().all(|member| member.companion.is_none());
        reactor.wait_for_others(!is_alone);
        let process = process(pid);
        log::info!("{process} serves from now on; what is left here finishes");
        if let Some(pid) = pid {
            self.supervisor.main_process(pid);
        }
        Ok(())
    }
}
