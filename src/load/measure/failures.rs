//! The kinds of failures, and how many there were of each. A kind is one row of the table.

use std::io;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// From one row per kind: its documentation, its variant, its field (also the key in JSON), its name in
/// sentences.
macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident, $field:ident, $words:literal;)+) => {
        /// Why a request or a connection failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum FailureKind {
            $($(#[doc = $doc])+ $kind,)+
        }

        /// Failures by kind.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)] // an earlier result has fewer kinds
        pub struct Errors {
            /// All of them.
            pub total: u64,
            $(#[doc = concat!("See [`FailureKind::", stringify!($kind), "`].")] pub $field: u64,)+
        }

        impl Errors {
            /// Counts one.
            pub fn count(&mut self, kind: FailureKind) {
                self.total += 1;
                *self.of(kind) += 1;
            }

            /// So many of one kind, as far as there are, turn out to be of another; how many did.
            pub(crate) fn reassign(&mut self, from: FailureKind, to: FailureKind, most: u64) -> u64 {
                let count = most.min(*self.of(from));
                *self.of(from) -= count;
                *self.of(to) += count;
                count
            }

            fn of(&mut self, kind: FailureKind) -> &mut u64 {
                match kind {
                    $(FailureKind::$kind => &mut self.$field,)+
                }
            }

            /// The sums of both.
            #[must_use]
            pub fn and(self, other: &Self) -> Self {
                Self {
                    total: self.total + other.total,
                    $($field: self.$field + other.$field,)+
                }
            }

            /// Number and name of each kind that occurred.
            pub fn by_kind(&self) -> impl Iterator<Item = (u64, &'static str)> {
                [$((self.$field, $words),)+]
                    .into_iter()
                    .filter(|(count, _)| *count > 0)
            }
        }
    };
}

kinds! {
    /// Nothing listens there.
    Refused, refused, "refused";
    /// Closed right after our proof, before any answer: wrong secret. In
    /// [`Mode::Hold`](crate::load::Mode::Hold), where there is no answer, that cannot be told.
    NotAdmitted, not_admitted, "not admitted";
    /// The server reset the connection.
    Reset, reset, "reset";
    /// The answer was not complete in time.
    Timeout, timeout, "timed out";
    /// Datagrams: not answered in time, and there was no room for so many answers in our own receive buffer.
    OwnBuffer, own_buffer, "lost in our own receive buffer";
    /// Open model: never sent, since no connection was free within the timeout.
    Unsent, unsent, "never sent";
    /// No local port was left, or a local address is not ours.
    NoPort, no_port, "without a local port";
    /// No file descriptor was left.
    NoDescriptor, no_descriptor, "without a descriptor";
    /// The server closed the connection before the whole answer.
    ShortAnswer, short_answer, "short answers";
    /// A byte was not the one that was sent, or one too many.
    WrongAnswer, wrong_answer, "wrong answers";
    /// The server refused: a command, or its end; or a status of HTTP from 400 on.
    TurnedDown, turned_down, "turned down";
    /// A command ended with another exit code than it was to.
    Exited, exited, "with another exit code";
    /// A line that a member of a chat had received already.
    Duplicate, duplicate, "received twice";
    /// A line that a member of a chat received after a later one.
    Reordered, reordered, "received out of order";
    /// The connection was to itself: nothing listens there (fault B21).
    SelfConnect, self_connect, "connected to themselves";
    /// There is no TLS session, or no longer; the first reason is kept in words.
    Tls, tls, "failed in TLS";
    /// The connection through TLS ended without a close_notify: the server broke off, or somebody between did
    /// (RFC 8446, 6.1).
    CutOff, cut_off, "cut off without close_notify";
    /// In [`Mode::Hold`](crate::load::Mode::Hold): it still waits in the listener's queue, so no service has it.
    NotAccepted, not_accepted, "not accepted by the server";
    /// Likewise: established with us, and the server's machine, which is this one, knows nothing of it.
    Forgotten, forgotten, "unknown to the server's end";
    /// Anything else; the first is kept in words.
    Other, other, "other";
}

/// One failure, and what the kernel said of it, if it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Its kind.
    pub kind: FailureKind,
    /// The error of the system call that failed.
    pub errno: Option<Errno>,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(errno) => errno.into(),
            None => FailureKind::Other.into(),
        }
    }
}

impl From<FailureKind> for Failure {
    fn from(kind: FailureKind) -> Self {
        Self { kind, errno: None }
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        let kind = match errno {
            Errno::CONNREFUSED => FailureKind::Refused,
            Errno::CONNRESET | Errno::PIPE | Errno::CONNABORTED => FailureKind::Reset,
            Errno::TIMEDOUT => FailureKind::Timeout,
            // "In use" is a port that was asked for, or all of them where the kernel picks before it connects.
            Errno::ADDRNOTAVAIL | Errno::ADDRINUSE => FailureKind::NoPort,
            Errno::MFILE | Errno::NFILE => FailureKind::NoDescriptor,
            _ => FailureKind::Other,
        };
        Self {
            kind,
            errno: Some(errno),
        }
    }
}
