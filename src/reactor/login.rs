//! Connections that have to log in before they are served: how many there are, and until when.
//!
//! Does not know what logging in is: a service with a [gated manner](crate::service::Manner::is_gated)
//! says when it is done, by [`Turn::admit`](crate::turn::Turn::admit); where no service asks, the end of a
//! TLS handshake does. Until then a connection has one
//! deadline, from when it was accepted, which neither bytes nor turns put off, or a client that sends a
//! byte a second would be waited for for ever (fault D3).

use super::Reactor;
use super::connection::Must;
use super::listener::{Listener, ServiceId};
use super::os::Os;
use crate::service::Secrets;
use crate::turn::ConnId;

impl<O: Os> Reactor<O> {
    /// From now on a connection that was just accepted is waited for until it has logged in.
    pub(super) fn expect_login(&mut self, slot: u32) {
        self.conns[slot as usize].must = Must::LogIn;
        self.logging_in += 1;
        let until = self.now.after(self.limits.login_timeout);
        self.deadlines.set(slot, until);
    }

    /// Its handshake is over, and that was all that it had to do.
    pub(super) fn need_not_log_in(&mut self, slot: u32) {
        let conn = &mut self.conns[slot as usize];
        conn.must = conn.must_besides();
        self.logging_in -= 1;
        self.deadlines.cancel(slot);
    }

    /// From now on this service accepts these secrets of connections that have not logged in; those that
    /// have stay. Says whether it asks for any.
    pub fn replace_secrets(&mut self, service: ServiceId, secrets: &Secrets) -> bool {
        self.services[service.0].replace_secrets(secrets)
    }

    /// It has logged in. What it is waited for from now on is decided after its turn.
    pub(super) fn log_in(&mut self, id: ConnId) {
        let conn = &mut self.conns[id.slot as usize];
        if !conn.is_logging_in() {
            return;
        }
        conn.must = conn.must_besides();
        self.logging_in -= 1;
        self.deadlines.cancel(id.slot);
        let Listener { options, tally, .. } = &mut self.listeners[usize::from(conn.listener)];
        self.recorder
            .logged_in(tally, id, &options.name, &conn.peer);
    }
}
