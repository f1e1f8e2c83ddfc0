//! NATS: what its clients and its servers say, one frame a command with what belongs to it.
//!
//! Knows the [client protocol](https://docs.nats.io/reference/reference-protocols/nats-protocol), both directions of
//! it, and of JetStream the few answers that are read here. Does not know which side it is on, nor what a message says.

mod headers;
mod jetstream;

use std::io::Write as _;

use super::{Decode, Encode, WireError};

pub use headers::NatsHeaders;
pub use jetstream::{
    JetStreamAnswer, JetStreamConfig, JetStreamError, JetStreamMessage, JetStreamPosition,
    JetStreamState,
};

/// How long a line of a command may be, in bytes, as a NATS server has it (`max_control_line`).
pub const NATS_LINE_BYTES_MAX: usize = 4096;

/// How long the line of an INFO or a CONNECT may be: it has the addresses of a whole cluster.
pub const NATS_INFO_BYTES_MAX: usize = 32 * 1024;

/// One command of NATS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatsFrame<'b> {
    /// What a server says of itself, JSON: first of all, and again when that changes.
    Info(&'b [u8]),
    /// What a client says of itself, JSON.
    Connect(&'b [u8]),
    /// A client publishes a message; with headers it is `HPUB`.
    Pub(NatsMessage<'b>),
    /// A client subscribes.
    Sub {
        /// To this subject, which may have wildcards.
        subject: &'b str,
        /// As one of a group of which one gets each message.
        queue: Option<&'b str>,
        /// By this number.
        sid: u64,
    },
    /// A client wants no more of a subscription, at once or after so many messages in all.
    Unsub {
        /// Its number.
        sid: u64,
        /// After how many.
        after: Option<u64>,
    },
    /// A server delivers a message to the subscription of this number; with headers it is `HMSG`.
    Msg(u64, NatsMessage<'b>),
    /// To be answered by `Pong`.
    Ping,
    /// The answer.
    Pong,
    /// A server agrees; said only to clients that are verbose.
    Ok,
    /// A server does not.
    Err(&'b str),
}

/// A message, as it is published and delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NatsMessage<'b> {
    /// What it is about.
    pub subject: &'b str,
    /// Where an answer goes.
    pub reply: Option<&'b str>,
    /// Its headers; empty: it has none.
    pub headers: NatsHeaders<'b>,
    /// What it says.
    pub payload: &'b [u8],
}

/// Takes commands of NATS off the front.
///
/// # Errors
///
/// [`WireError::TooLong`] for a line above [`NATS_LINE_BYTES_MAX`] (INFO and CONNECT: [`NATS_INFO_BYTES_MAX`]) and for a
/// message of more than `payload_max` bytes, told before any of that is waited for; [`WireError::Malformed`] for
/// whatever is no command.
///
/// ```
/// use onepoll::wire::{Decode, NatsCommands, NatsFrame};
///
/// let mut commands = NatsCommands::new(1024);
/// assert_eq!(commands.decode(b"PI"), Ok(None));
/// assert_eq!(commands.decode(b"PING\r\nPONG\r\n"), Ok(Some((NatsFrame::Ping, 6))));
/// ```
#[derive(Debug, Clone)]
pub struct NatsCommands {
    payload_max: usize,
    /// How many bytes at the front are known to hold no LF. Zero after a frame.
    searched: usize,
    /// How many bytes the frame has whose line has been read; 0: none has.
    needed: usize,
}

impl NatsCommands {
    /// A decoder of messages of at most `payload_max` bytes, headers included.
    pub const fn new(payload_max: usize) -> Self {
        Self {
            payload_max,
            searched: 0,
            needed: 0,
        }
    }

    /// The length of the line, without its end, and what is behind it; `None`: not yet.
    fn line(&mut self, unread: &[u8]) -> Result<Option<(usize, usize)>, WireError> {
        let reach = unread.len().min(NATS_INFO_BYTES_MAX + 2);
        let from = self.searched.min(reach);
        let end = memchr::memchr(b'\n', &unread[from..reach]).map(|at| from + at);
        let length = end.unwrap_or(reach);
        let line = &unread[..length];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let max = if is_info(line) {
            NATS_INFO_BYTES_MAX
        } else {
            NATS_LINE_BYTES_MAX
        };
        if line.len() > max {
            return Err(too_long("line of NATS", max + 1, max));
        }
        if end.is_none() {
            self.searched = reach;
        }
        Ok(end.map(|end| (line.len(), end + 1)))
    }

    /// The sizes of headers and of all, of a command that has a message.
    fn sizes(&self, headers: Option<&str>, all: &str) -> Result<(usize, usize), WireError> {
        let all = number(all)?;
        let headers = headers.map_or(Ok(0), number)?;
        if all > self.payload_max as u64 {
            let len = usize::try_from(all).unwrap_or(usize::MAX);
            return Err(too_long("message of NATS", len, self.payload_max));
        }
        if headers > all {
            return Err(malformed("headers that are longer than their message"));
        }
        // Both are at most `payload_max` by now.
        Ok((headers as usize, all as usize))
    }

    /// Takes the message off behind the line of its command.
    fn message<'b>(
        &mut self,
        unread: &'b [u8],
        start: usize,
        (subject, reply): (&'b str, Option<&'b str>),
        (headers, all): (usize, usize),
    ) -> Result<Option<(NatsMessage<'b>, usize)>, WireError> {
        check_subject(subject)?;
        reply.map_or(Ok(()), check_subject)?;
        let end = start + all;
        let Some(found) = unread.get(start..end + 2) else {
            self.needed = end + 2;
            return Ok(None);
        };
        if found[all..] != *b"\r\n" {
            return Err(malformed("a message that is longer than it says"));
        }
        let message = NatsMessage {
            subject,
            reply,
            headers: NatsHeaders::read(&found[..headers])?,
            payload: &found[headers..all],
        };
        Ok(Some((message, end + 2)))
    }
}

impl Decode for NatsCommands {
    type Frame<'b> = NatsFrame<'b>;

    fn decode<'b>(
        &mut self,
        unread: &'b [u8],
    ) -> Result<Option<(NatsFrame<'b>, usize)>, WireError> {
        if self.needed > unread.len() {
            return Ok(None);
        }
        self.needed = 0;
        let Some((length, start)) = self.line(unread)? else {
            return Ok(None);
        };
        let line = std::str::from_utf8(&unread[..length])
            .map_err(|_| malformed("a line that is not UTF-8"))?;
        let (verb, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let rest = rest.trim_matches([' ', '\t']);
        let mut words = [""; WORDS_MAX];
        let count = split(rest, &mut words);
        let with_message = match (&*verb.to_ascii_uppercase(), &words[..count]) {
            ("PUB", [subject, all]) => Some((None, *subject, None, None, *all)),
            ("PUB", [subject, reply, all]) => Some((None, *subject, Some(*reply), None, *all)),
            ("HPUB", [subject, headers, all]) => Some((None, *subject, None, Some(*headers), *all)),
            ("HPUB", [subject, reply, headers, all]) => {
                Some((None, *subject, Some(*reply), Some(*headers), *all))
            }
            ("MSG", [subject, sid, all]) => Some((Some(*sid), *subject, None, None, *all)),
            ("MSG", [subject, sid, reply, all]) => {
                Some((Some(*sid), *subject, Some(*reply), None, *all))
            }
            ("HMSG", [subject, sid, headers, all]) => {
                Some((Some(*sid), *subject, None, Some(*headers), *all))
            }
            ("HMSG", [subject, sid, reply, headers, all]) => {
                Some((Some(*sid), *subject, Some(*reply), Some(*headers), *all))
            }
            ("INFO", _) => return self.done(NatsFrame::Info(rest.as_bytes()), start),
            ("CONNECT", _) => return self.done(NatsFrame::Connect(rest.as_bytes()), start),
            ("SUB", [subject, queue @ .., sid]) if queue.len() <= 1 => {
                check_subject(subject)?;
                let (queue, sid) = (queue.first().copied(), number(sid)?);
                return self.done(
                    NatsFrame::Sub {
                        subject,
                        queue,
                        sid,
                    },
                    start,
                );
            }
            ("UNSUB", [sid, after @ ..]) if after.len() <= 1 => {
                let (sid, after) = (number(sid)?, after.first().map(|n| number(n)).transpose()?);
                return self.done(NatsFrame::Unsub { sid, after }, start);
            }
            ("PING", []) => return self.done(NatsFrame::Ping, start),
            ("PONG", []) => return self.done(NatsFrame::Pong, start),
            ("+OK", []) => return self.done(NatsFrame::Ok, start),
            ("-ERR", _) => {
                let quoted = rest
                    .strip_prefix('\'')
                    .and_then(|rest| rest.strip_suffix('\''));
                return self.done(NatsFrame::Err(quoted.unwrap_or(rest)), start);
            }
            _ => None,
        };
        let Some((sid, subject, reply, headers, all)) = with_message else {
            return Err(malformed("a line that is no command"));
        };
        let sid = sid.map(number).transpose()?;
        let sizes = self.sizes(headers, all)?;
        let Some((message, taken)) = self.message(unread, start, (subject, reply), sizes)? else {
            return Ok(None);
        };
        self.done(
            sid.map_or(NatsFrame::Pub(message), |sid| NatsFrame::Msg(sid, message)),
            taken,
        )
    }
}

impl NatsCommands {
    fn done<'b>(
        &mut self,
        frame: NatsFrame<'b>,
        taken: usize,
    ) -> Result<Option<(NatsFrame<'b>, usize)>, WireError> {
        (self.searched, self.needed) = (0, 0);
        Ok(Some((frame, taken)))
    }
}

/// One more than the most words behind a verb, `HMSG subject sid reply headers all`: so many are too many.
const WORDS_MAX: usize = 6;

/// The first words of a line; how many there are.
fn split<'t>(text: &'t str, words: &mut [&'t str; WORDS_MAX]) -> usize {
    let found = text.split([' ', '\t']).filter(|word| !word.is_empty());
    let mut count = 0;
    for (word, place) in found.zip(words) {
        *place = word;
        count += 1;
    }
    count
}

fn is_info(line: &[u8]) -> bool {
    let begins = |verb: &[u8]| {
        line.get(..verb.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(verb))
    };
    begins(b"INFO ") || begins(b"CONNECT ")
}

fn number(text: &str) -> Result<u64, WireError> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = is_number.then(|| text.parse().ok()).flatten();
    parsed.ok_or_else(|| malformed("a number that is none"))
}

/// A subject is words with dots between them. White space cannot be in it, since it ends it.
fn check_subject(subject: &str) -> Result<(), WireError> {
    let is_wrong = |part: &str| part.is_empty() || part.bytes().any(|b| b.is_ascii_control());
    if subject.split('.').any(is_wrong) {
        return Err(malformed("a subject that is none"));
    }
    Ok(())
}

fn too_long(what: &'static str, len: usize, max: usize) -> WireError {
    let of = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    WireError::TooLong {
        what,
        len: of(len),
        max: of(max),
    }
}

fn malformed(detail: &str) -> WireError {
    WireError::Malformed {
        what: "command of NATS",
        detail: detail.to_owned(),
    }
}

impl Encode for NatsFrame<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        let line = |out: &mut Vec<u8>, verb: &[u8], rest: &[u8]| {
            out.extend_from_slice(verb);
            out.extend_from_slice(rest);
            out.extend_from_slice(b"\r\n");
        };
        match self {
            NatsFrame::Info(json) => line(out, b"INFO ", json),
            NatsFrame::Connect(json) => line(out, b"CONNECT ", json),
            NatsFrame::Pub(message) => message.encode("PUB", None, out),
            NatsFrame::Msg(sid, message) => message.encode("MSG", Some(*sid), out),
            NatsFrame::Sub {
                subject,
                queue,
                sid,
            } => {
                let queue = queue.map_or(String::new(), |queue| format!("{queue} "));
                line(out, b"SUB ", format!("{subject} {queue}{sid}").as_bytes());
            }
            NatsFrame::Unsub { sid, after } => {
                let after = after.map_or(String::new(), |after| format!(" {after}"));
                line(out, b"UNSUB ", format!("{sid}{after}").as_bytes());
            }
            NatsFrame::Ping => line(out, b"PING", b""),
            NatsFrame::Pong => line(out, b"PONG", b""),
            NatsFrame::Ok => line(out, b"+OK", b""),
            NatsFrame::Err(why) => line(out, b"-ERR ", format!("'{why}'").as_bytes()),
        }
    }
}

impl NatsMessage<'_> {
    fn encode(&self, verb: &str, sid: Option<u64>, out: &mut Vec<u8>) {
        let NatsMessage {
            subject,
            reply,
            headers,
            payload,
        } = self;
        let headers = headers.as_bytes();
        if !headers.is_empty() {
            out.push(b'H');
        }
        out.extend_from_slice(verb.as_bytes());
        let mut word = |text: std::fmt::Arguments<'_>| {
            write!(out, " {text}").expect("memory takes every byte");
        };
        word(format_args!("{subject}"));
        if let Some(sid) = sid {
            word(format_args!("{sid}"));
        }
        if let Some(reply) = reply {
            word(format_args!("{reply}"));
        }
        if !headers.is_empty() {
            word(format_args!("{}", headers.len()));
        }
        word(format_args!("{}", headers.len() + payload.len()));
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(headers);
        out.extend_from_slice(payload);
        out.extend_from_slice(b"\r\n");
    }
}
