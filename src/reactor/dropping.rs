//! Connections that do not read what others say, where that is no reason to disconnect them: the oldest lines that
//! they are owed are dropped, and they are told how many ([`Backlog::DropOldest`](crate::service::Backlog)).
//!
//! Knows where a line ends, and no more: what tells of dropped lines is the service's. A line that has begun to leave
//! stays whole, and so does what lies in records of TLS already.

use super::Reactor;
use super::listener::listener_of;
use super::os::Os;

impl<O: Os> Reactor<O> {
    /// Drops the oldest lines of a connection that is owed more than `chat-soft`, until half of that is left: so
    /// that the bytes are looked at and moved once, however long it does not read.
    #[cold]
    pub(super) fn drop_oldest(&mut self, slot: u32) {
        let Some(conn) = self.conns.get(slot as usize) else {
            return;
        };
        let id = conn.id(slot);
        let sealed = conn.secured.as_ref().map_or(0, |secured| secured.sealed);
        let service = listener_of(&self.listeners, conn).options.service;
        let service = &mut self.services[service.0];
        let most = self.limits.chat_soft / 2;
        let Some(oldest) = self.outbox.oldest_lines(slot, sealed, most) else {
            return;
        };
        let (at, len) = (oldest.at, oldest.bytes.len());
        let (mut lines, mut told) = (0, 0);
        for line in oldest.bytes.split_inclusive(|&byte| byte == b'\n') {
            match service.stands_for(line) {
                None => lines += 1,
                Some(others) => told += others,
            }
        }
        let mut notice = Vec::new();
        service.dropped(id, told + lines, &mut notice);
        self.outbox.drop_kept(slot, at, len, &notice);
        self.recorder.dropped(len);
        self.recorder.counters.lines_dropped += lines;
    }
}
