//! A process that takes the listeners over: a client of a service that knows nothing but who that is.

use std::cell::Cell;
use std::rc::Rc;

use onepoll::buf::ReadBuf;
use onepoll::reactor::{ListenerId, SocketId};
use onepoll::service::Service;
use onepoll::turn::{Closed, ConnId, Fault, Turn};
use onepoll::wire::{SocketDescription, TakeOverAnswer};

use crate::kernel::{Client, Due, Found, MICRO, MILLI, Net};
use crate::occasions::Occasion;
use crate::play::Play;
use crate::random::Random;

/// The connection of the process that asked last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked(Rc<Cell<Option<ConnId>>>);

impl Asked {
    pub(crate) fn id(&self) -> Option<ConnId> {
        self.0.get()
    }
}

/// Waits to be asked, and then until it is answered from outside.
#[derive(Debug, Default)]
pub(crate) struct Hands(pub(crate) Asked);

impl Service for Hands {
    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        input.consume(input.len());
        self.0.0.set(Some(t.id));
        t.hold();
        Ok(())
    }

    fn closed(&mut self, t: &mut Turn<'_>, _why: &Closed) {
        if self.0.id() == Some(t.id) {
            self.0.0.set(None);
        }
    }
}

/// The other process: it asks, and may be gone at any time.
#[derive(Debug)]
pub(crate) struct Successor {
    pub(crate) listener: usize,
    /// After so many looks.
    pub(crate) goes_after: u32,
    pub(crate) link: Option<usize>,
    pub(crate) is_home: bool,
}

impl Client for Successor {
    fn step(&mut self, net: &mut Net) -> Option<u64> {
        let Some(link) = self.link else {
            self.link = net.connect(self.listener, 16);
            self.is_home = self.link.is_none();
            return self.link.map(|_| MICRO);
        };
        // Again and again: it is held from one answer to the next.
        net.client_write(link, b"?");
        let found = net.client_read(link, 1 << 10);
        self.goes_after = self.goes_after.saturating_sub(1);
        match found {
            Found::Bytes(_) | Found::Nothing if self.goes_after > 0 && !net.calm => {
                Some(1 + net.random.below(5 * MILLI))
            }
            Found::Bytes(_) | Found::Nothing => {
                net.client_reset(link);
                self.is_home = true;
                None
            }
            Found::End | Found::Reset => {
                net.client_close(link);
                self.is_home = true;
                None
            }
        }
    }

    fn is_home(&self) -> bool {
        self.is_home
    }
}

/// How far the taking over is.
#[derive(Debug)]
pub(crate) struct TakesOver {
    pub(crate) asked: Asked,
    pub(crate) has_sockets: Option<ConnId>,
}

impl TakesOver {
    /// The next step of it, if somebody asked: first the sockets, then they are let go of.
    pub(crate) fn goes_on(&mut self, play: &mut Play, random: &mut Random, drain: u64) {
        let asked = self.asked.id();
        if self.has_sockets.is_some() && self.has_sockets != asked {
            self.has_sockets = None;
            play.os.net(|net| net.occasions.note(Occasion::TakerGone));
        }
        let Some(id) = asked else {
            return;
        };
        let all = play.listeners_open();
        if self.has_sockets != Some(id) {
            let sockets: Vec<SocketId> =
                all.iter().map(|(_, id)| SocketId::Listener(*id)).collect();
            let description = SocketDescription {
                place: "somewhere".into(),
                file: None,
            };
            let answer = TakeOverAnswer::Sockets {
                sockets: vec![description; sockets.len()],
                more: false,
            };
            if play.reactor.hand_over(id, &answer, &sockets).is_ok() {
                self.has_sockets = Some(id);
                play.os.net(|net| net.occasions.note(Occasion::HandedOver));
            }
            return;
        }
        // It need not go on with all of them.
        let keeps_all = random.once_in(2);
        let taken: Vec<(usize, ListenerId)> = all
            .into_iter()
            .filter(|_| keeps_all || random.once_in(2))
            .collect();
        play.os.net(|net| {
            for (listener, _) in &taken {
                net.listeners[*listener].is_taken = true;
            }
        });
        let sockets: Vec<SocketId> = taken
            .iter()
            .map(|(_, id)| SocketId::Listener(*id))
            .collect();
        let released = play
            .reactor
            .release(id, &TakeOverAnswer::Released, &sockets);
        play.os.net(|net| {
            if released.is_err() {
                // It is closed, and not freed yet.
                for (listener, _) in &taken {
                    net.listeners[*listener].is_taken = false;
                }
                return;
            }
            net.occasions.note(Occasion::Released);
            // That of the other process is one.
            if net.connections() > 1 {
                net.occasions.note(Occasion::ReleasedInUse);
            }
            net.wait_in_time();
            // Until then connections go on as if nothing had happened.
            let since = net.now - net.woke;
            net.plan(drain.saturating_sub(since), Due::DrainsReleased);
        });
    }
}
