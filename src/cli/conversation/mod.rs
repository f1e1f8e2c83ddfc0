//! A conversation in a terminal, or through pipes: what a person types goes out, what others say comes in beside it.
//!
//! Knows lines, and what of a line may be shown. Does not know who is at the other end, nor the network: its caller
//! polls the socket, in [`wait`](Conversation::wait).
//!
//! On a terminal the line that is being typed stays below what comes. A thread reads it, by rustyline, which waits
//! for keys and for nothing else; another hands it what is to be shown, since it may take its time for that, as while
//! the person searches the history. Neither knows the network, and the caller never waits for either. Elsewhere, and
//! with `--plain`, lines are read from standard input and written to standard output as they are.

mod board;
mod editor;
mod manner;
mod mode;
mod plain;
mod shown;
mod terminal;

use std::io::{self, IsTerminal};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::stdio::{stdin, stdout};

use self::plain::Plain;
use self::terminal::Terminal;
use super::exec::signals::{Signals, number};
use super::{Failure, complain, is_colourful};

pub(super) use self::board::Typed;
pub(super) use self::manner::{Completions, Manner};
pub(super) use self::shown::Look;

/// A person, who types and reads.
#[derive(Debug)]
pub(super) struct Conversation {
    way: Way,
    signals: Signals,
    colours: bool,
    /// The bell rings with the next line.
    rings: bool,
}

#[derive(Debug)]
enum Way {
    Plain(Plain),
    Terminal(Box<Terminal>),
}

impl Conversation {
    /// Begins one: through pipes if that was asked for, or if standard input or output is no terminal on which a line
    /// can be edited.
    pub(super) fn begin(is_plain: bool, manner: Manner) -> Result<Conversation, Failure> {
        // Before rustyline, which puts back what it found.
        let signals = Signals::take().context("signals cannot be taken")?;
        let is_terminal = stdin().is_terminal() && stdout().is_terminal();
        let way = if is_plain || !is_terminal || !has_cursor() {
            Way::Plain(Plain::new())
        } else {
            let terminal = Terminal::begin(manner).context("the terminal cannot be used")?;
            Way::Terminal(Box::new(terminal))
        };
        Ok(Conversation {
            way,
            signals,
            colours: is_colourful(&io::stdout()),
            rings: false,
        })
    }

    /// Whether lines go in and out as they are.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.way, Way::Plain(_))
    }

    /// Waits until one of these descriptors is ready, the person has done something, or there is
    /// [room](Conversation::has_room) again where there was none; at most for so long. What the person types is waited
    /// for only if it `is_wanted`: it can be dealt with.
    pub(super) fn wait(
        &mut self,
        is_wanted: bool,
        others: &[(BorrowedFd<'_>, PollFlags)],
        at_most: Option<Duration>,
    ) -> Result<(), Failure> {
        let mut asked: Vec<PollFd<'_>> = others
            .iter()
            // What nothing is asked of is left out: that it has broken would be said again and again.
            .filter(|(_, flags)| !flags.is_empty())
            .map(|(other, flags)| PollFd::from_borrowed_fd(*other, *flags))
            .collect();
        asked.push(PollFd::new(&self.signals, PollFlags::IN));
        match &self.way {
            Way::Plain(plain) => plain.ask(is_wanted, &mut asked),
            Way::Terminal(terminal) => {
                asked.push(PollFd::new(&**terminal, PollFlags::IN));
            }
        }
        let at_most = at_most.and_then(|wait| Timespec::try_from(wait).ok());
        match poll(&mut asked, at_most.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => {
                return Err(anyhow::Error::new(io::Error::from(errno)).into());
            }
        }
        match &mut self.way {
            Way::Plain(plain) => plain.flush(),
            Way::Terminal(terminal) => {
                terminal.clear();
                Ok(())
            }
        }
    }

    /// The next that the person did; none: nothing more yet.
    pub(super) fn next(&mut self) -> Result<Option<Typed>, Failure> {
        if let Some(signal) = self.next_signal() {
            return Ok(Some(signal));
        }
        match &mut self.way {
            Way::Plain(plain) => plain.next(),
            Way::Terminal(terminal) => terminal.next(),
        }
    }

    /// The next signal; whatever else the person did is left for later.
    pub(super) fn next_signal(&mut self) -> Option<Typed> {
        let came = self.signals.came();
        let came = came.first().map(|signal| Typed::Signal(number(*signal)));
        match &self.way {
            Way::Plain(_) => came,
            Way::Terminal(terminal) => came.or_else(|| terminal.next_signal()),
        }
    }

    /// Whether more may be shown: if not, what comes is better left where it is.
    pub(super) fn has_room(&self) -> bool {
        match &self.way {
            Way::Plain(plain) => plain.has_room(),
            Way::Terminal(terminal) => terminal.has_room(),
        }
    }

    /// Shows a line that came, without its end. On a terminal nothing in it acts but what `look` says of it.
    pub(super) fn show(&mut self, line: &[u8], look: Look) -> Result<(), Failure> {
        match &mut self.way {
            Way::Plain(plain) => plain.show(line),
            Way::Terminal(terminal) => {
                let bell = if std::mem::take(&mut self.rings) {
                    shown::BELL
                } else {
                    ""
                };
                terminal.show(&format!(
                    "{bell}{}",
                    shown::styled(line, look, self.colours)
                ))
            }
        }
    }

    /// Says something of our own, which no line that comes can imitate.
    pub(super) fn remark(&mut self, text: &str) -> Result<(), Failure> {
        match &mut self.way {
            Way::Plain(_) => {
                complain(text);
                Ok(())
            }
            Way::Terminal(terminal) => terminal.show(&shown::remark(text, self.colours)),
        }
    }

    /// Rings the terminal's bell when the next line is shown.
    pub(super) fn ring(&mut self) {
        self.rings = true;
    }

    /// Ends it when all is shown, and gives the terminal back.
    pub(super) fn end(self) -> Result<(), Failure> {
        match self.way {
            Way::Plain(plain) => plain.end(self.signals),
            // Dropping it does.
            Way::Terminal(_) => Ok(()),
        }
    }
}

/// Whether the terminal is one of those whose cursor can be moved; rustyline knows these.
fn has_cursor() -> bool {
    let dumb = ["dumb", "cons25", "emacs"];
    std::env::var("TERM").map_or(true, |term| {
        !dumb.iter().any(|name| name.eq_ignore_ascii_case(&term))
    })
}
