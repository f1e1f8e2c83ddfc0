//! One turn of a service, and all that it can reach.
//!
//! Bytes that a service sends wait in the `Outbox`, a lane per connection; what
//! else it asks for (a wake-up, a command) is an `Effect`. This folder does not know what the bytes
//! mean, nor what a socket is. It promises that what is sent to a connection that has ended goes
//! nowhere, and to no other connection.

mod broadcast;
mod child;
pub(crate) mod column;
mod effect;
mod ending;
mod errand;
mod file_piece;
mod id;
mod moment;
mod note;
mod order;
mod outbox;
mod session;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::buf::ReadBuf;
use crate::wire::{CommandSignal, Encode};

pub use self::broadcast::{Broadcast, BroadcastTurn};
pub use self::child::{ChildEvent, Exit, Output, Usage};
pub(crate) use self::effect::{Beginning, Effect};
pub use self::effect::{HandOver, Job, Severity};
pub(crate) use self::ending::Fate;
pub use self::ending::{Closed, Fault};
pub use self::errand::{Errand, ErrandEvent};
pub use self::file_piece::FilePiece;
pub use self::id::ConnId;
pub use self::moment::Moment;
pub use self::note::{FileFate, FileNote};
pub use self::order::{ERRNO, Order, REFUSAL};
pub(crate) use self::outbox::Outbox;
pub use self::outbox::{ARENA_BYTES_MAX, REPLY_AT_ONCE_BYTES};
pub use self::session::{Broken, Secure, Session, Taken, Written};

/// How long a [channel binding](Turn::channel_binding) is.
pub const CHANNEL_BINDING_BYTES: usize = 32;

/// One service's turn of the loop: all it may do, and all it can reach.
///
/// Nothing here waits and nothing fails. What is sent leaves at the end of the turn; what is sent to a
/// connection that is gone goes nowhere.
#[derive(Debug)]
pub struct Turn<'a> {
    /// The loop's clock, read once a turn.
    pub now: Moment,
    /// The connection whose turn it is.
    pub id: ConnId,
    outbox: &'a mut Outbox,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(now: Moment, id: ConnId, outbox: &'a mut Outbox) -> Turn<'a> {
        Turn { now, id, outbox }
    }

    /// Answers the connection whose turn it is.
    pub fn reply<E: Encode + ?Sized>(&mut self, frame: &E) {
        self.outbox.say([self.id], |out| frame.encode(out));
    }

    /// Answers with everything that is unread, and takes it.
    ///
    /// A large answer leaves from where it lies, without a copy.
    pub fn reply_all(&mut self, input: &mut ReadBuf) {
        let small = input.len() < REPLY_AT_ONCE_BYTES;
        // What is already owed goes first, so only an empty lane can lend.
        if small || self.owed() > 0 {
            self.outbox
                .say([self.id], |out| out.extend_from_slice(input.unread()));
            input.consume(input.len());
        } else {
            input.lend();
        }
    }

    /// Writes to another connection.
    pub fn send<E: Encode + ?Sized>(&mut self, to: ConnId, frame: &E) {
        self.outbox.say([to], |out| frame.encode(out));
    }

    /// Writes the same to many: it is in memory once, however many they are.
    pub fn send_all<E: Encode + ?Sized>(
        &mut self,
        to: impl IntoIterator<Item = ConnId>,
        frame: &E,
    ) {
        self.outbox.say(to, |out| frame.encode(out));
    }

    /// Wall time, read once a turn, for services that show it or send it.
    ///
    /// The loop looks at that clock only if the [manner](crate::service::Manner) of some service says
    /// that it tells the time; to a service whose manner does not say so, this means nothing. It may
    /// jump, in both directions; what measures time is [`now`](Turn::now).
    pub fn wall(&self) -> SystemTime {
        self.outbox.wall()
    }

    /// Asks to be told once, by [`drained`](crate::service::Service::drained), when all that this
    /// connection is owed has left: for a producer that goes on then.
    ///
    /// Without it, a service is told only after the connection's socket was full. With it, also when
    /// everything left in the first write; and if nothing is owed, at the end of the turn. A service
    /// that asks again without saying anything keeps the loop awake.
    pub fn tell_when_sent(&mut self) {
        self.outbox.tell_when_sent(self.id);
    }

    /// How many bytes this connection was sent and has not taken.
    pub fn owed(&self) -> usize {
        self.outbox.owed(self.id.slot)
    }

    /// Whether this connection is on its way out already.
    pub fn is_leaving(&self) -> bool {
        self.outbox.fate(self.id.slot) != Fate::Open
    }

    /// Whether this connection's input is [held](Turn::hold).
    pub fn is_held(&self) -> bool {
        self.outbox.is_held(self.id.slot)
    }

    /// Ends this connection when what it is owed has left.
    pub fn close(&mut self) {
        self.leave(Closed::Done, false);
    }

    /// As [`close`](Turn::close), when the peer may be sending something that will not be read:
    /// writing is shut down first and a bounded amount of input discarded, or the kernel's reset
    /// would destroy our last words on their way.
    pub fn close_lingering(&mut self) {
        self.leave(Closed::Done, true);
    }

    /// Says how many bytes of memory the service itself now has for this connection, such as output that it
    /// collects: they count for the budget of [all buffers](crate::config::Limits::buffers). Forgotten when
    /// the connection ends.
    pub fn keeps(&mut self, bytes: usize) {
        if self.outbox.has(self.id) {
            self.outbox.set_kept_by_service(self.id.slot, bytes);
        }
    }

    /// Says that what the service keeps for no connection in particular had so many bytes of memory, and has so
    /// many now: they count, too.
    pub fn shares(&mut self, had: usize, has: usize) {
        self.outbox.resized(had, has);
    }

    /// Takes no input for now: what has come stays unread, what comes stays in the kernel.
    pub fn hold(&mut self) {
        self.outbox.set_held(self.id, true);
    }

    /// Takes input again, beginning with what is unread.
    pub fn resume(&mut self) {
        if self.outbox.set_held(self.id, false) {
            self.outbox.ask(self.id, Effect::Resume);
        }
    }

    /// Asks for [`wake`](crate::service::Service::wake) at that moment; a later call replaces an
    /// earlier one, and [`Moment::NEVER`] cancels it.
    pub fn wake_at(&mut self, at: Moment) {
        self.outbox.ask(self.id, Effect::Wake(at));
    }

    /// Asks for [`wake`](crate::service::Service::wake) of another connection of the service, as soon as may be; it
    /// replaces what that had asked for.
    pub fn visit(&mut self, id: ConnId) {
        self.outbox.ask(id, Effect::Wake(self.now));
    }

    /// Sends bytes of a file behind what the connection is owed, without a copy, if that can be;
    /// [`file_sent`](crate::service::Service::file_sent) tells how many have left. One piece at a time.
    pub fn send_file(&mut self, piece: FilePiece) {
        self.outbox.ask(self.id, Effect::SendFile(piece));
    }

    /// Tells the audit and the counters of a file.
    pub fn note(&mut self, note: FileNote) {
        self.outbox.ask(self.id, Effect::Note(Box::new(note)));
    }

    /// Runs a command for this connection, which has at most one. Says the number that it has then.
    pub fn spawn(&mut self, job: Job) -> u64 {
        let id = self.outbox.next_job();
        let job = Job { id, ..job };
        self.outbox.ask(self.id, Effect::Spawn(Box::new(job)));
        id
    }

    /// Has a child do this for the service, whatever becomes of this connection;
    /// [`errand`](crate::service::Service::errand) tells what comes of it.
    pub fn send_on_errand(&mut self, errand: Errand) {
        self.outbox.ask(self.id, Effect::Errand(Box::new(errand)));
    }

    /// Passes bytes to the standard input of this connection's command, which runs: in order, as it reads
    /// them. [`Took`](ChildEvent::Took) tells how many it has taken; the service limits how many it has not.
    pub fn feed(&mut self, bytes: Vec<u8>) {
        self.outbox.ask(self.id, Effect::Feed(bytes));
    }

    /// The standard input of this connection's command ends behind what it was fed.
    pub fn end_feed(&mut self) {
        self.outbox.ask(self.id, Effect::EndFeed);
    }

    /// Sends a signal to the process group of this connection's command, if it runs.
    pub fn signal(&mut self, signal: CommandSignal) {
        self.outbox.ask(self.id, Effect::Signal(signal));
    }

    /// Whether this connection is listened to whatever it is owed, and may be silent for as long as it likes: while
    /// what its peer says is not what makes it be owed more. The service sees to it that that is so.
    pub fn listen_always(&mut self, always: bool) {
        self.outbox.set_always_heard(self.id, always);
    }

    /// Ends this connection's command and everything in its process group.
    pub fn kill(&mut self, severity: Severity) {
        self.outbox.kill(self.id, severity);
    }

    /// Asks for what the loop has counted: [`figures`](crate::service::Service::figures) is called with it
    /// when this turn of the service is over, before anybody else's begins.
    ///
    /// They are put together only then, so that what nobody asks for costs no message anything.
    pub fn ask_figures(&mut self) {
        self.outbox.ask(self.id, Effect::Figures);
    }

    /// Tells what runs the loop what the process at the other end wants of its sockets.
    pub fn hand_over(&mut self, wanted: HandOver) {
        self.outbox.ask(self.id, Effect::HandOver(wanted));
    }

    /// Begins a session on this connection, which the service has dialled: what is said and heard on it from here on goes
    /// through the session.
    ///
    /// Whatever came before in plaintext must have been taken by then, and what was said must have left: the session
    /// fails where that is not so, since somebody between may have put there what the service would take for something that
    /// came through the session.
    ///
    /// The service is told by [`secured`](crate::service::Dialler::secured) when the handshake is over, and of nothing
    /// before; if it fails or is not over `within` that time, the connection was
    /// [dialled in vain](crate::service::Dialler::dial_failed).
    pub fn begin_session(&mut self, secure: Arc<dyn Secure>, within: Duration) {
        let beginning = Beginning { secure, within };
        self.outbox
            .ask(self.id, Effect::Secure(Box::new(beginning)));
    }

    /// The connection has logged in: it has no deadline for that any more, and is not counted among
    /// those that have not. For the service that [asks for it](crate::service::Manner::is_gated).
    pub fn admit(&mut self) {
        self.outbox.ask(self.id, Effect::Admit);
    }

    /// What no other connection has, and both its ends know: the 32 bytes of RFC 9266, if it is over TLS.
    /// Only while [`open`](crate::service::Service::open) runs.
    pub fn channel_binding(&self) -> Option<&[u8; CHANNEL_BINDING_BYTES]> {
        self.outbox.channel_binding()
    }

    /// Through which listener of its service the connection came: the number of which
    /// [`listens`](crate::service::Service::listens) was told. Only while [`open`](crate::service::Service::open)
    /// runs.
    pub fn listener(&self) -> u16 {
        self.outbox.listener()
    }

    /// Says so to the service behind a gate, to which the connection is opened later.
    pub(crate) fn set_listener(&mut self, listener: u16) {
        self.outbox.set_listener(listener);
    }

    /// Ends this connection without a word, since it cannot be served.
    pub(crate) fn refuse(&mut self) {
        self.leave(Closed::Refused, false);
    }

    fn leave(&mut self, why: Closed, linger: bool) {
        if self.outbox.has(self.id) {
            self.outbox.leave(self.id.slot, why, linger);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ConnId = ConnId {
        slot: 0,
        generation: 1,
    };

    #[test]
    fn a_large_answer_leaves_from_where_it_lies_unless_something_goes_before_it() {
        for (owed, answer, is_lent) in [
            (0, REPLY_AT_ONCE_BYTES - 1, false),
            (0, REPLY_AT_ONCE_BYTES, true),
            (0, REPLY_AT_ONCE_BYTES + 1, true),
            (1, REPLY_AT_ONCE_BYTES + 1, false),
        ] {
            let mut outbox = Outbox::default();
            outbox.open(ID);
            let mut t = Turn::new(Moment::START, ID, &mut outbox);
            t.reply(&*"x".repeat(owed));
            assert_eq!(t.owed(), owed);
            let mut input = ReadBuf::default();
            input.push(&vec![b'y'; answer]);
            t.reply_all(&mut input);
            assert!(input.is_empty());
            let lent = if is_lent { answer } else { 0 };
            assert_eq!((input.lent().len(), t.owed()), (lent, owed + answer - lent));
        }
    }
}
