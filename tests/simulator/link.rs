use std::collections::VecDeque;
use std::io;

use onepoll::reactor::{Readiness, Token};
use rustix::io::Errno;

use crate::kernel::SECOND;
use crate::sealed::Tunnel;
use crate::sources::Place;

/// What the poll knows of a source: whether it is watched, and whether it is on the list of those
/// to be told about. An edge puts it there; being told takes it off.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Watch {
    pub(crate) token: Option<Token>,
    pub(crate) listed: bool,
}

/// A connection: a pipe each way, as the kernel at the server's end sees it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) watch: Watch,
    /// The client that made it, unless a script did.
    pub(crate) client: Option<usize>,
    /// Where it was made.
    pub(crate) listener: usize,
    /// The user at the other end, of a Unix socket.
    pub(crate) uid: u32,
    /// Where it comes from.
    pub(crate) place: Place,
    /// It is among those that its listener counts by source.
    pub(crate) is_counted: bool,
    /// The service that it was accepted for.
    pub(crate) service: usize,
    /// A service was told of it, which may be a gate.
    pub(crate) is_known: bool,
    /// It came to a gate.
    pub(crate) is_gated: bool,
    /// It has passed it.
    pub(crate) is_inside: bool,
    /// By the clock of the turn in which it was accepted: until then it has to log in.
    pub(crate) logs_in_until: Option<u64>,
    /// A client that is silent for so long is disconnected, by what held when it was accepted.
    pub(crate) idle: Option<u64>,
    /// The server must not let it in.
    pub(crate) must_refuse: bool,
    /// It waited to be accepted when the server began to drain.
    pub(crate) was_in_time: bool,
    /// A Unix socket: a close is heard at once, as a hang-up.
    pub(crate) local: bool,
    /// From the client to the server.
    pub(crate) up: VecDeque<u8>,
    pub(crate) up_max: usize,
    /// From the server to the client.
    pub(crate) down: VecDeque<u8>,
    pub(crate) down_max: usize,
    /// How many bytes stand before the urgent one, which itself is not in `up`.
    pub(crate) mark: Option<usize>,
    /// The client ended its output; it arrives behind the last byte of `up`.
    pub(crate) fin: bool,
    /// The connection is no more.
    pub(crate) reset: bool,
    /// What the next call is told, once.
    pub(crate) error: Option<Errno>,
    /// A write did not take all.
    pub(crate) was_full: bool,
    /// A write found no room, so that room is worth an edge.
    pub(crate) no_space: bool,
    /// The kernel is short of memory until then: there is no room, whatever the pipe says.
    pub(crate) squeezed_until: u64,
    pub(crate) accepted: bool,
    /// Something had come by then.
    pub(crate) asked: bool,
    /// The server has shut down its output.
    pub(crate) shut: bool,
    /// The server has closed.
    pub(crate) closed: bool,
    /// The client has closed; what the server writes from now on is answered by a reset.
    pub(crate) client_gone: bool,
    /// The client has been told, or will be, that the connection was reset.
    pub(crate) client_reset: bool,
    /// Whatever becomes of it is our doing, not the server's.
    pub(crate) excused: bool,
    /// The server has read from it, or tried.
    pub(crate) tried: bool,
    /// The server has read from it before it ended its side, or tried.
    pub(crate) served: bool,
    /// The turn in which it was last read, and how often.
    pub(crate) budget: (u64, u32),
    /// What its client says goes through this.
    pub(crate) tunnel: Option<Tunnel>,
    /// When it was accepted, when the server last read something, last wrote something, shut down
    /// its output, and closed.
    pub(crate) times: Times,
}

/// When what happened last.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) accepted: u64,
    pub(crate) read: u64,
    pub(crate) written: u64,
    pub(crate) shut: u64,
    pub(crate) closed: u64,
}

impl Link {
    pub(crate) fn new(listener: usize, up_max: usize, down_max: usize) -> Link {
        Link {
            watch: Watch::default(),
            client: None,
            listener,
            uid: 0,
            place: 0,
            is_counted: false,
            service: 0,
            is_gated: false,
            is_known: false,
            is_inside: false,
            logs_in_until: None,
            idle: None,
            must_refuse: false,
            was_in_time: false,
            local: false,
            up: VecDeque::new(),
            up_max,
            down: VecDeque::new(),
            down_max,
            mark: None,
            fin: false,
            reset: false,
            error: None,
            was_full: false,
            no_space: false,
            squeezed_until: 0,
            accepted: false,
            asked: false,
            shut: false,
            closed: false,
            client_gone: false,
            client_reset: false,
            excused: false,
            tried: false,
            served: false,
            budget: (0, 0),
            tunnel: None,
            times: Times::default(),
        }
    }

    /// Whether it is known to have logged in, or to have ended the handshake that was all that it had to do.
    pub(crate) fn has_logged_in(&self) -> bool {
        match self.is_gated {
            true => self.is_inside,
            false => self.is_known,
        }
    }

    /// When the server's side ended: what it heard and said before that counts.
    pub(crate) fn end(&self) -> u64 {
        match () {
            () if self.shut => self.times.shut,
            () if self.closed => self.times.closed,
            // A record of the server's said that this is the end.
            () => self.times.written,
        }
    }

    /// The client was silent for as long as it may be.
    pub(crate) fn was_idle(&self) -> bool {
        let silent = self.end().saturating_sub(self.times.read);
        self.idle.is_some_and(|idle| silent >= idle)
    }

    /// It took nothing of the server's last words, for as long as that may last.
    pub(crate) fn was_stuck(&self) -> bool {
        self.times.closed.saturating_sub(self.times.written) >= 10 * SECOND
    }

    /// It did not end its side in time when the server's had ended.
    pub(crate) fn has_lingered(&self) -> bool {
        self.shut && self.times.closed.saturating_sub(self.times.shut) >= 2 * SECOND
    }

    /// The server saw no end of its handshake or of its login in time, as far as its client knows.
    pub(crate) fn was_late(&self, has_to_log_in: bool) -> bool {
        let is_shaking = self
            .tunnel
            .as_ref()
            .is_some_and(|tunnel| !tunnel.heard_data);
        let time = self.end().saturating_sub(self.times.accepted);
        (is_shaking || has_to_log_in) && time >= 10 * SECOND
    }

    /// Whether it is waited for until it has.
    pub(crate) fn is_logging_in(&self) -> bool {
        let is_there = self.accepted && !self.closed && !self.must_refuse;
        is_there && self.logs_in_until.is_some() && !self.has_logged_in()
    }

    /// For the reader of a failure: everything but the bytes.
    pub(crate) fn sketch(&self) -> String {
        let Link {
            up,
            down,
            fin,
            reset,
            error,
            no_space,
            shut,
            closed,
            accepted,
            times,
            watch,
            tunnel,
            ..
        } = self;
        let (up, down) = (up.len(), down.len());
        format!(
            "up {up} down {down} fin {fin} reset {reset} {error:?} no_space {no_space} shut {shut} closed {closed} accepted {accepted} {times:?} {watch:?} {tunnel:?}"
        )
    }

    /// As the kernel's `sk_stream_is_writeable`: half as much room as there is in use.
    pub(crate) fn is_writable(&self, now: u64) -> bool {
        now >= self.squeezed_until && self.down_max - self.down.len() >= self.down.len() / 2
    }

    /// As the kernel's EPOLLHUP.
    fn has_hung_up(&self) -> bool {
        self.reset || self.fin && self.shut || self.local && self.client_gone
    }

    /// What a poll would say now, as the kernel's `tcp_poll`. Looking at a socket that is not
    /// writable asks for an edge, as a failed write does.
    pub(crate) fn readiness(&mut self, now: u64) -> Readiness {
        let ended = self.fin || self.reset;
        let readable = if self.mark == Some(0) {
            !self.up.is_empty()
        } else {
            !self.up.is_empty() || self.mark.is_some()
        };
        let writable = self.shut || self.has_hung_up() || self.is_writable(now);
        self.no_space |= !writable;
        let urgent = self.mark.is_some();
        Readiness {
            readable: readable || ended || urgent,
            writable,
            read_closed: ended,
            // EPOLLHUP: both halves are shut down; with an error it counts as that.
            hung_up: self.has_hung_up() && self.error.is_none(),
            urgent,
            error: self.error.is_some(),
        }
    }

    /// What a read would return at once: how many bytes, or nothing yet, or the end.
    pub(crate) fn readable(&mut self) -> io::Result<usize> {
        if self.mark == Some(0) {
            // The urgent byte is read by a call that asks for it, and skipped by every other.
            self.mark = None;
        }
        match self.up.len().min(self.mark.unwrap_or(usize::MAX)) {
            0 => {
                if let Some(error) = self.error.take() {
                    Err(error.into())
                } else if self.fin || self.reset {
                    Ok(0)
                } else {
                    Err(Errno::AGAIN.into())
                }
            }
            n => Ok(n),
        }
    }

    pub(crate) fn take_up(&mut self, into: &mut [u8]) {
        take(&mut self.up, into);
        if let Some(mark) = &mut self.mark {
            *mark -= into.len();
        }
    }

    /// The connection is no more, from the client's end.
    pub(crate) fn reset_by_client(&mut self) {
        // In CLOSE_WAIT the kernel calls a reset a broken pipe.
        self.error = Some(if self.fin {
            Errno::PIPE
        } else {
            Errno::CONNRESET
        });
        self.reset = true;
        self.client_gone = true;
        self.down.clear();
    }

    /// The connection is no more, from the server's end. Linux lets a client read what had
    /// arrived; what was on its way is lost, and the pipe does not tell the two apart.
    pub(crate) fn reset_by_server(&mut self) {
        self.reset = true;
        self.client_reset = true;
        self.down.clear();
        self.up.clear();
    }
}

/// Moves bytes out of a queue.
pub(crate) fn take(from: &mut VecDeque<u8>, into: &mut [u8]) {
    let (front, back) = from.as_slices();
    let n = into.len().min(front.len());
    into[..n].copy_from_slice(&front[..n]);
    let rest = into.len() - n;
    into[n..].copy_from_slice(&back[..rest]);
    from.drain(..into.len());
}
