//! The two halves of a service: the one that serves who connects, and the one that dials.
//!
//! A listener says which of them its connections belong to, so that no service has to find out.

use super::listener::{Listener, ServiceId};
use crate::buf::ReadBuf;
use crate::service::{Dialler, Service};
use crate::turn::{Closed, Fault, Turn};

/// The half that a connection is served by.
pub(super) enum Half<'a> {
    /// It was accepted.
    Accepted(&'a mut dyn Service),
    /// It was dialled.
    Dialled(Dialled<'a>),
}

impl<'a> Half<'a> {
    /// That of the connections of this listener.
    #[inline]
    pub(super) fn of<L>(services: &'a mut [Box<dyn Service>], listener: &Listener<L>) -> Half<'a> {
        let service = listener.options.service;
        if listener.is_dialled {
            Half::Dialled(Dialled(dialler_of(services, service)))
        } else {
            Half::Accepted(&mut *services[service.0])
        }
    }

    /// What both halves can be asked.
    #[inline]
    pub(super) fn service(&mut self) -> &mut dyn Service {
        match self {
            Half::Accepted(service) => *service,
            Half::Dialled(dialled) => dialled,
        }
    }
}

/// That half as a service, so that a byte goes the same way whoever connected to whom.
#[derive(Debug)]
pub(super) struct Dialled<'a>(pub(super) &'a mut dyn Dialler);

impl Service for Dialled<'_> {
    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        self.0.input(t, input)
    }

    fn eof(&mut self, t: &mut Turn<'_>, rest: &mut ReadBuf) -> Result<(), Fault> {
        self.0.eof(t, rest)
    }

    fn drained(&mut self, t: &mut Turn<'_>) {
        self.0.drained(t);
    }

    fn wake(&mut self, t: &mut Turn<'_>) {
        self.0.wake(t);
    }

    fn stopping(&mut self, t: &mut Turn<'_>) {
        self.0.stopping(t);
    }

    fn closed(&mut self, t: &mut Turn<'_>, why: &Closed) {
        self.0.closed(t, why);
    }
}

/// The half of a service that has dialled.
pub(super) fn dialler_of(
    services: &mut [Box<dyn Service>],
    service: ServiceId,
) -> &mut dyn Dialler {
    services[service.0]
        .dialler()
        .expect("`dial_for` has seen that there is this half, and it stays")
}
