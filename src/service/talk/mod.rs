//! A person behind an endpoint (T5).
//!
//! One value serves the peers, who call through one or more endpoints, one at a time; and the person, who comes
//! through a private Unix socket of the same value, and may come and go while a peer is there. It does not know
//! terminals: whoever the person is, they read marked [lines](AttachedNews) and say plain ones.
//!
//! What a peer is told, besides what the person says, begins with `* `: that nobody is here, or is here now; why it is
//! turned away. A half-close ends what it says, and nothing else: the person may still answer it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::settling::Settling;
use super::{
    Backlog, Checked, Class, Companion, Manner, OverStreams, Peer, Row, Service, Several, Terms,
};
use crate::buf::ReadBuf;
use crate::config::limits::TALK_KEPT_BYTES_MAX;
use crate::config::{Settle, Transport, Trouble, UNIX_PATH_BYTES_MAX, Written, talk_socket};
use crate::turn::{Closed, ConnId, Fault, Turn};
use crate::wire::{AttachedNews, Encode, TalkMessage, TalkMessages, hangs_up, is_http_request};

/// Its row in the table.
pub const ROW: Row = Row {
    name: "talk",
    summary: "a person, who attaches to the server",
    usual: Transport::Tcp,
    stream: Some(&OverStreams {
        build: |options: &Options, setting| Box::new(Talk::new(options, setting.limits.frame)),
    }),
    datagrams: None,
};

/// Options of `talk`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Options {
    /// Nothing is appended to what the peer is told, and a burst of its is a message: for programs that send no line
    /// end.
    pub bare: bool,
    /// When a burst is over.
    pub settle: Settle,
    /// The private Unix socket of the person; absent: `talk.sock` in the user's runtime directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attach: Option<String>,
    /// Whether who connects here is the person: of the endpoint that is made for `attach`.
    pub person: bool,
}

/// The name under which those share a value that say nothing of `attach`.
const USUALLY_ATTACHED: &str = "talk.sock";

impl Checked for Options {
    const OF_LISTENER: &'static [&'static str] = &["bare", "person"];

    fn set(&self) -> Option<&str> {
        Some(self.attach.as_deref().unwrap_or(USUALLY_ATTACHED))
    }

    fn check(&self) -> Result<(), Trouble> {
        if self.person && self.bare {
            return Err(Trouble::with(
                "bare",
                "it is about peers, not about the person",
            ));
        }
        match self.attach.as_deref() {
            Some(path) if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') => {
                Err(Trouble::with(
                    "attach",
                    "it is the absolute path of a socket",
                ))
            }
            Some(path) if path.len() > UNIX_PATH_BYTES_MAX => Err(Trouble::with(
                "attach",
                format!("it is longer than the {UNIX_PATH_BYTES_MAX} bytes of a socket's path"),
            )),
            _ => Ok(()),
        }
    }

    fn several(&self) -> Several {
        Several::No("there is one person behind it, and each would have one")
    }

    fn class(&self) -> Class {
        if self.person {
            Class::Person
        } else {
            Class::Plain
        }
    }

    fn companion(&self) -> Option<Companion> {
        let options = Options {
            bare: false,
            person: true,
            ..self.clone()
        };
        (!self.person).then(|| Companion {
            path: self.attach.as_ref().map_or_else(talk_socket, Into::into),
            options: Written::of(&options),
        })
    }
}

/// The person, and whoever is talking to them. Any other connection is on its way out.
#[derive(Debug)]
pub struct Talk {
    message_bytes_max: usize,
    settling: Settling,
    /// What is said of each listener.
    listeners: HashMap<u16, Options>,
    person: Option<Person>,
    call: Option<Call>,
}

/// The connection of the person.
#[derive(Debug)]
struct Person {
    id: ConnId,
    messages: TalkMessages,
}

/// A peer that is not over.
#[derive(Debug)]
struct Call {
    id: ConnId,
    name: String,
    is_bare: bool,
    messages: TalkMessages,
    has_spoken: bool,
    /// What it said while nobody was here, for whoever attaches.
    kept: Vec<u8>,
    /// So much memory is counted as that of what is kept.
    counted: usize,
    /// How many messages were not kept, since there were too many.
    lost: u64,
    /// It was told that nobody is here.
    is_alone: bool,
}

impl Talk {
    /// With messages of at most `message_bytes_max` bytes.
    pub fn new(options: &Options, message_bytes_max: usize) -> Talk {
        Talk {
            message_bytes_max,
            settling: Settling::new(options.settle),
            listeners: HashMap::new(),
            person: None,
            call: None,
        }
    }

    fn person_comes(&mut self, t: &mut Turn<'_>) {
        if self.person.is_some() {
            t.reply(&AttachedNews::Refused("somebody is attached already"));
            return t.close_lingering();
        }
        self.person = Some(Person {
            id: t.id,
            messages: TalkMessages::lines(self.message_bytes_max),
        });
        let Some(call) = &mut self.call else {
            return t.reply(&AttachedNews::Notice("nobody has called yet"));
        };
        t.reply(&AttachedNews::Called(&call.name));
        t.reply(&call.kept[..]);
        call.kept = Vec::new();
        if call.lost > 0 {
            let lost = format!("{} messages more were not kept", call.lost);
            t.reply(&AttachedNews::Notice(&lost));
            call.lost = 0;
        }
        if std::mem::take(&mut call.is_alone) {
            t.send(call.id, &call.notice("somebody is here now"));
        }
    }

    fn peer_comes(&mut self, t: &mut Turn<'_>, peer: &Peer, is_bare: bool) {
        if self.call.is_some() {
            let sentence = "busy: one peer at a time; call again later";
            t.reply(&PeerNotice { sentence, is_bare });
            return t.close_lingering();
        }
        let mut call = Call {
            id: t.id,
            name: peer.to_string(),
            is_bare,
            messages: if is_bare {
                TalkMessages::bursts(self.message_bytes_max)
            } else {
                TalkMessages::lines(self.message_bytes_max)
            },
            has_spoken: false,
            kept: Vec::new(),
            counted: 0,
            lost: 0,
            is_alone: false,
        };
        match &self.person {
            Some(person) => t.send(person.id, &AttachedNews::Called(&call.name)),
            None => call.tell_alone(t),
        }
        self.call = Some(call);
    }

    /// Takes what the peer says.
    fn hear_peer(
        &mut self,
        t: &mut Turn<'_>,
        input: &mut ReadBuf,
        has_ended: bool,
    ) -> Result<(), Fault> {
        while let Some(call) = self.call.as_mut().filter(|call| call.id == t.id) {
            let message = if has_ended {
                input.last(&mut call.messages)
            } else if call.is_bare {
                self.settling.next(t, &mut call.messages, input)
            } else {
                input.next(&mut call.messages)
            };
            let message = match message {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(()),
                Err(error) => {
                    let max = self.message_bytes_max;
                    t.reply(&call.notice(&format!("too long (limit {max} bytes)")));
                    return Err(error.into());
                }
            };
            if !std::mem::replace(&mut call.has_spoken, true) && is_http_request(message) {
                t.reply(&call.notice("this is a person, not a web server"));
                return Err(Fault::Refused("an HTTP request instead of a message"));
            }
            if hangs_up(message) {
                let over = format!("{} hung up", call.name);
                t.close_lingering();
                self.end_call(t, &over);
                break;
            }
            match &self.person {
                Some(person) => {
                    call.uncount(t);
                    t.send(person.id, &AttachedNews::Said(message));
                }
                None => call.keep(t, message),
            }
        }
        input.consume(input.len());
        Ok(())
    }

    /// Takes what the person types.
    fn hear_person(
        &mut self,
        t: &mut Turn<'_>,
        input: &mut ReadBuf,
        has_ended: bool,
    ) -> Result<(), Fault> {
        while let Some(person) = &mut self.person {
            let message = if has_ended {
                input.last(&mut person.messages)
            } else {
                input.next(&mut person.messages)
            };
            let text = match message {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(error) => {
                    let max = self.message_bytes_max;
                    let too_long = format!("a line has at most {max} bytes");
                    t.reply(&AttachedNews::Refused(&too_long));
                    return Err(error.into());
                }
            };
            let Some(call) = &self.call else {
                t.reply(&AttachedNews::Notice("nobody has called yet"));
                continue;
            };
            let is_bare = call.is_bare;
            t.send(call.id, &TalkMessage { text, is_bare });
            if hangs_up(text) {
                // Only in its own turn can a connection be closed.
                t.visit(call.id);
                let over = format!("you hung up on {}", call.name);
                self.end_call(t, &over);
            }
        }
        Ok(())
    }

    /// The peer is none any more, which the person is told.
    fn end_call(&mut self, t: &mut Turn<'_>, over: &str) {
        if let Some(call) = self.call.take() {
            self.settling.forget(call.id);
        }
        if let Some(person) = &self.person {
            t.send(person.id, &AttachedNews::Over(over));
        }
    }

    fn is_person(&self, id: ConnId) -> bool {
        self.person.as_ref().is_some_and(|person| person.id == id)
    }

    fn is_peer(&self, id: ConnId) -> bool {
        self.call.as_ref().is_some_and(|call| call.id == id)
    }
}

impl Call {
    /// The server's own word, as the peer takes messages.
    fn notice<'n>(&self, sentence: &'n str) -> PeerNotice<'n> {
        PeerNotice {
            sentence,
            is_bare: self.is_bare,
        }
    }

    /// Whose turn it is, is told that nobody is here.
    fn tell_alone(&mut self, t: &mut Turn<'_>) {
        self.is_alone = true;
        let sentence = "nobody is here; what you say is kept until somebody is";
        t.send(self.id, &self.notice(sentence));
    }

    /// Keeps a message for whoever attaches.
    fn keep(&mut self, t: &mut Turn<'_>, message: &[u8]) {
        let had = self.kept.len();
        AttachedNews::Said(message).encode(&mut self.kept);
        if self.kept.len() > TALK_KEPT_BYTES_MAX {
            self.kept.truncate(had);
            if self.lost == 0 {
                t.reply(&self.notice("no more is kept until somebody is here"));
            }
            self.lost += 1;
        }
        self.counted = self.kept.capacity();
        t.keeps(self.counted);
    }

    /// What was kept has been handed on.
    fn uncount(&mut self, t: &mut Turn<'_>) {
        if std::mem::take(&mut self.counted) > 0 {
            t.keeps(0);
        }
    }
}

/// A notice for a peer: `* ` and a sentence, with an end unless it is bare.
struct PeerNotice<'n> {
    sentence: &'n str,
    is_bare: bool,
}

impl Encode for PeerNotice<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"* ");
        out.extend_from_slice(self.sentence.as_bytes());
        if !self.is_bare {
            out.push(b'\n');
        }
    }
}

impl Service for Talk {
    fn open(&mut self, t: &mut Turn<'_>, peer: &Peer) {
        let options = self.listeners.get(&t.listener());
        let (is_person, is_bare) = options.map_or((false, false), |of| (of.person, of.bare));
        if is_person {
            self.person_comes(t);
        } else {
            self.peer_comes(t, peer, is_bare);
        }
    }

    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        if self.is_person(t.id) {
            self.hear_person(t, input, false)
        } else {
            self.hear_peer(t, input, false)
        }
    }

    fn wake(&mut self, t: &mut Turn<'_>) {
        if self.is_peer(t.id) {
            self.settling.wake(t);
        } else {
            // The person hung up on it.
            t.close_lingering();
        }
    }

    /// Whoever has said all may still be told something.
    fn eof(&mut self, t: &mut Turn<'_>, rest: &mut ReadBuf) -> Result<(), Fault> {
        if self.is_person(t.id) {
            return self.hear_person(t, rest, true);
        }
        self.hear_peer(t, rest, true)?;
        match (&self.call, &self.person) {
            (Some(call), person) if call.id == t.id => {
                if let Some(person) = person {
                    let ended = format!("{} says nothing more; `q` hangs up", call.name);
                    t.send(person.id, &AttachedNews::Notice(&ended));
                }
            }
            _ => t.close(),
        }
        Ok(())
    }

    fn closed(&mut self, t: &mut Turn<'_>, why: &Closed) {
        if self.is_person(t.id) {
            self.person = None;
            if let Some(call) = &mut self.call {
                call.tell_alone(t);
            }
        } else if let Some(call) = self.call.as_ref().filter(|call| call.id == t.id) {
            let over = format!("{}: {why}", call.name);
            self.end_call(t, &over);
        }
    }

    fn stopping(&mut self, t: &mut Turn<'_>) {
        if self.is_person(t.id) {
            t.reply(&AttachedNews::Over("the server is stopping"));
        } else if let Some(call) = self.call.take_if(|call| call.id == t.id) {
            t.reply(&call.notice("the server is stopping"));
        }
        t.close_lingering();
    }

    fn refusal(&self, reason: &str, out: &mut Vec<u8>) {
        PeerNotice {
            sentence: reason,
            is_bare: false,
        }
        .encode(out);
    }

    fn listens(&mut self, listener: u16, terms: &Terms) {
        // What was read once is read again.
        if let Ok(options) = terms.options.read() {
            self.listeners.insert(listener, options);
        }
    }

    fn listens_no_more(&mut self, listener: u16) {
        self.listeners.remove(&listener);
    }

    /// Neither end is to blame for what the other says.
    fn manner(&self) -> Manner {
        Manner {
            is_shared: true,
            backlog: Backlog::Disconnect,
            reads_after_reset: true,
            ..Manner::ANSWERS
        }
    }
}

#[cfg(test)]
mod tests;
