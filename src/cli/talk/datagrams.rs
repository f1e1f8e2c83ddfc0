//! Several people, and a datagram for each line (U3).

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::event::PollFlags;

use super::call::Ending;
use super::people::{Meant, People};
use super::said::show;
use crate::cli::Failure;
use crate::cli::conversation::{Conversation, Typed};
use crate::client::{DatagramNews, TalkDatagrams};

/// So many datagrams are dealt with before the person has a turn, and so many lines before the datagrams have one.
const PER_TURN: usize = 64;

/// So many people are remembered who did not get what was said to them: of more, the first are forgotten.
const UNHEARD_MAX: usize = 64;

/// A conversation with several people.
#[derive(Debug)]
pub(super) struct DatagramTalk<'c> {
    datagrams: TalkDatagrams,
    people: People,
    conversation: &'c mut Conversation,
    /// How long it goes on when nothing more is said and nothing comes; none: for ever.
    wait: Option<Duration>,
    /// A refusal came from there, and nothing since.
    unheard: Vec<SocketAddr>,
    /// Whom the last line was for.
    told: Option<SocketAddr>,
    /// A stranger was passed over, which was said.
    has_complained: bool,
}

impl<'c> DatagramTalk<'c> {
    pub(super) fn new(
        datagrams: TalkDatagrams,
        people: People,
        wait: Option<Duration>,
        conversation: &'c mut Conversation,
    ) -> DatagramTalk<'c> {
        DatagramTalk {
            datagrams,
            told: people.current(),
            people,
            conversation,
            wait,
            unheard: Vec::new(),
            has_complained: false,
        }
    }

    /// Goes on until the person wants no more.
    pub(super) fn run(mut self) -> Result<Ending, Failure> {
        for contact in self.people.contacts().missing() {
            let (name, host) = (&contact.name, &contact.host);
            self.conversation
                .remark(&format!("{name}: {host} has no address"))?;
        }
        loop {
            for _ in 0..PER_TURN {
                let Some(typed) = self.conversation.next()? else {
                    break;
                };
                if let Some(ending) = self.heed(typed)? {
                    return Ok(ending);
                }
            }
            let may_have_more = self.hear()?;
            if self.datagrams.is_over() && !may_have_more {
                return Ok(self.ending());
            }
            let at_most = if may_have_more {
                Some(Duration::ZERO)
            } else {
                self.datagrams.patience()
            };
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, self.conversation.has_room());
            let sockets: Vec<_> = self.datagrams.sockets().map(|one| (one, flags)).collect();
            self.conversation.wait(true, &sockets, at_most)?;
        }
    }

    /// Does what the person wants; says how it is to end, if that was it.
    fn heed(&mut self, typed: Typed) -> Result<Option<Ending>, Failure> {
        let line = match typed {
            Typed::Line(line) => line,
            Typed::End if self.conversation.is_plain() => {
                if let Some(wait) = self.wait {
                    self.datagrams.end_after(wait);
                }
                return Ok(None);
            }
            Typed::End => return Ok(Some(self.ending())),
            Typed::Signal(number) => return Ok(Some(Ending::Signal(number))),
            Typed::Failed(why) => return Err(anyhow::Error::msg(why).into()),
        };
        let remark = match self.people.understand(&line) {
            Meant::Say(to, text) => return self.say(to, text).map(|()| None),
            Meant::TurnTo(to) => {
                self.told = Some(to);
                format!("to {}", self.people.label(to))
            }
            Meant::Leave(from) => {
                format!("left {}; `q` once more ends", self.people.label(from))
            }
            Meant::End => return Ok(Some(self.ending())),
            Meant::Unknown(name, known) => format!(
                "there is nobody called {name} (known: {}); a blank before it says that no name is meant",
                known.join(", ")
            ),
            Meant::Nowhere(name, host) => format!("{name}: {host} has no address"),
            Meant::ForNobody(known) if known.is_empty() => "nobody has called yet".to_owned(),
            Meant::ForNobody(known) => {
                format!("to whom? NAME: TEXT (known: {})", known.join(", "))
            }
        };
        self.conversation.remark(&remark)?;
        Ok(None)
    }

    fn say(&mut self, to: SocketAddr, text: &[u8]) -> Result<(), Failure> {
        let label = self.people.label(to);
        if self.told.replace(to) != Some(to) && !self.conversation.is_plain() {
            self.conversation.remark(&format!("to {label}"))?;
        }
        if let Err(error) = self.datagrams.say(to, text) {
            self.miss(to);
            self.conversation
                .remark(&format!("not sent to {label}: {error}"))?;
        }
        Ok(())
    }

    /// Shows what has come; says whether there may be more.
    fn hear(&mut self) -> Result<bool, Failure> {
        for _ in 0..PER_TURN {
            if !self.conversation.has_room() {
                return Ok(false);
            }
            match self.datagrams.next().map_err(anyhow::Error::new)? {
                None => return Ok(false),
                Some(DatagramNews::Said { from, bytes }) => {
                    if self.people.hear(from) {
                        self.unheard.retain(|other| *other != from);
                        let mark = format!("from {}", self.people.label(from));
                        let said = bytes.strip_suffix(b"\n").unwrap_or(bytes);
                        show(self.conversation, &mark, true, said)?;
                    } else if !std::mem::replace(&mut self.has_complained, true) {
                        self.conversation.remark(&format!(
                            "{from}, to whom nothing was said, is not shown, nor are others; with --listen they are"
                        ))?;
                    }
                }
                Some(DatagramNews::Refused { to, cause }) => {
                    let label = self.people.label(to);
                    let why = match cause.kind() {
                        ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
                        _ => cause.to_string(),
                    };
                    self.miss(to);
                    self.conversation
                        .remark(&format!("what was said to {label} did not arrive: {why}"))?;
                }
            }
        }
        Ok(true)
    }

    fn miss(&mut self, to: SocketAddr) {
        self.unheard.retain(|other| *other != to);
        if self.unheard.len() >= UNHEARD_MAX {
            self.unheard.remove(0);
        }
        self.unheard.push(to);
    }

    fn ending(&self) -> Ending {
        if self.unheard.is_empty() || !self.conversation.is_plain() {
            Ending::Over
        } else {
            Ending::Unheard
        }
    }
}
