//! Traffic over connections: what requests and the lines of a chat have in common.

use mio::Events;
use mio::event::Event;

use crate::load::drive::connections::{Connection, Connections};
use crate::load::measure::failures::Failure;

/// Reads of one connection before the others have their turn, and the clock is read again.
const READS_PER_TURN: usize = 16;

/// Serves the connections of one run. What it is told an error of has failed.
pub(super) trait Streams {
    /// What goes over one connection.
    type Payload;

    /// All of them.
    fn connections(&mut self) -> &mut Connections<Self::Payload>;
    /// One on the way may have arrived: whether it has.
    fn arrive(&mut self, index: usize) -> Result<bool, Failure>;
    /// Writes what is unsent, as far as there is room for it.
    fn write(&mut self, index: usize) -> Result<(), Failure>;
    /// Reads once: whether to go on. A short read is the last, but where `to_the_end` says that it proves
    /// nothing.
    fn receive(&mut self, index: usize, to_the_end: bool) -> Result<bool, Failure>;
    /// A connection failed.
    fn fail(&mut self, index: usize, failure: Failure);

    /// Serves connections that became readable or writable, and those whose budget was spent before.
    #[inline]
    fn serve_all(&mut self, events: &Events) {
        for index in self.connections().take_unread() {
            let read = self.read(index, true);
            self.settle(index, read);
        }
        for event in events {
            if let Some(index) = self.connections().index(event.token()) {
                let served = self.serve(index, event);
                self.settle(index, served);
            }
        }
    }

    #[inline]
    fn serve(&mut self, index: usize, event: &Event) -> Result<(), Failure> {
        let is_arriving = |conn: &Connection<Self::Payload>| conn.stage.is_arriving();
        if self.connections().get(index).is_none_or(is_arriving) && !self.arrive(index)? {
            return Ok(());
        }
        if event.is_writable() {
            self.write(index)?;
        }
        if event.is_readable() || event.is_error() || event.is_priority() {
            let to_the_end = event.is_read_closed() || event.is_error() || event.is_priority();
            self.read(index, to_the_end)?;
        }
        Ok(())
    }

    /// Reads until there is no more, or the budget is spent.
    #[inline]
    fn read(&mut self, index: usize, to_the_end: bool) -> Result<(), Failure> {
        for _ in 0..READS_PER_TURN {
            if !self.receive(index, to_the_end)? {
                return Ok(());
            }
        }
        self.connections().read_on(index);
        Ok(())
    }

    #[inline]
    fn settle(&mut self, index: usize, result: Result<(), Failure>) {
        if let Err(failure) = result {
            self.fail(index, failure);
        }
    }
}
