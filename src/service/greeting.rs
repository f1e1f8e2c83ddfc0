//! A greeting, and perhaps a reply (T4).

use serde::{Deserialize, Serialize};

use super::peer::Peer;
use super::settling::Settling;
use super::{Checked, OverStreams, Row, Service};
use crate::buf::ReadBuf;
use crate::config::{Settle, Transport};
use crate::turn::{Closed, Fault, Turn};
use crate::wire::{Burst, Encode, Framed};

/// Its row in the table.
pub const ROW: Row = Row {
    name: "greeting",
    summary: "greets at connect, perhaps replies",
    usual: Transport::Tcp,
    stream: Some(&OverStreams {
        build: |options: &Options, _| Box::new(Greeting::new(options)),
    }),
    datagrams: None,
};

/// Greets each client that connects; then hangs up, or waits for one burst and perhaps replies to it (T4).
///
/// Each greeting is one frame of its own. Framed by length, a reader gets them apart; `raw`,
/// nobody does: they leave in one write, and would stick in the peer's buffer if they left in many,
/// since TCP keeps no boundaries. The reply is framed as the greetings are.
///
/// The reply answers a burst. A client that half-closes without a byte sent none, and is hung up on.
#[derive(Debug)]
pub struct Greeting {
    /// As they are sent.
    greetings: Vec<Vec<u8>>,
    /// What is done after them.
    then: Then,
}

#[derive(Debug)]
enum Then {
    /// The server closes at once.
    Close,
    /// It takes one burst, sends this, and closes then.
    Wait(Settling, Vec<u8>),
}

/// Options of `greeting`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Options {
    /// Each is sent separately at connect; the option may be repeated.
    pub greeting: Vec<String>,
    /// How greetings and reply are framed.
    pub framing: GreetingFraming,
    /// Sent after the first burst; asking for a reply means waiting for that burst.
    pub reply: Option<String>,
    /// Wait for one burst before closing, also without a reply.
    pub wait: bool,
    /// When that burst is over.
    pub settle: Settle,
}

/// How greetings are framed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GreetingFraming {
    /// The bytes alone.
    #[default]
    Raw,
    /// An `i32` length before each.
    I32,
}

impl Checked for Options {}

impl Greeting {
    /// As `options` say.
    pub fn new(options: &Options) -> Greeting {
        let frame = |text: &String| framed(text.as_bytes(), options.framing);
        let then = match &options.reply {
            None if !options.wait => Then::Close,
            reply => Then::Wait(
                Settling::new(options.settle),
                reply.as_ref().map(frame).unwrap_or_default(),
            ),
        };
        Greeting {
            greetings: options.greeting.iter().map(frame).collect(),
            then,
        }
    }
}

fn framed(text: &[u8], framing: GreetingFraming) -> Vec<u8> {
    match framing {
        GreetingFraming::Raw => text.to_vec(),
        GreetingFraming::I32 => {
            let frame = Framed::new(text).expect("a text that somebody configured is below 2 GiB");
            let mut out = Vec::new();
            frame.encode(&mut out);
            out
        }
    }
}

impl Service for Greeting {
    fn open(&mut self, t: &mut Turn<'_>, _peer: &Peer) {
        for greeting in &self.greetings {
            t.reply(&greeting[..]);
        }
        if matches!(self.then, Then::Close) {
            // What the client says on its own account is not read, and must not turn our end into
            // a reset that destroys the greeting on its way.
            t.close_lingering();
        }
    }

    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        if let Then::Wait(settling, reply) = &mut self.then
            && settling.next(t, &mut Burst::default(), input)?.is_some()
        {
            t.reply(&reply[..]);
            t.close_lingering();
        }
        Ok(())
    }

    fn wake(&mut self, t: &mut Turn<'_>) {
        if let Then::Wait(settling, _) = &mut self.then {
            settling.wake(t);
        }
    }

    fn eof(&mut self, t: &mut Turn<'_>, rest: &mut ReadBuf) -> Result<(), Fault> {
        if let Then::Wait(_, reply) = &self.then
            && rest.last(&mut Burst::default())?.is_some()
        {
            t.reply(&reply[..]);
        }
        t.close();
        Ok(())
    }

    fn closed(&mut self, t: &mut Turn<'_>, _why: &Closed) {
        if let Then::Wait(settling, _) = &mut self.then {
            settling.forget(t.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::service::rehearsal::Stage;

    const MS: Duration = Duration::from_millis(1);

    fn stage(options: &Options) -> Stage<Greeting> {
        Stage::new(Greeting::new(options))
    }

    fn greets(greetings: &[&str]) -> Options {
        Options {
            greeting: greetings.iter().map(ToString::to_string).collect(),
            ..Options::default()
        }
    }

    #[test]
    fn t4_three_greetings_unframed_then_the_server_closes() {
        let mut stage = stage(&greets(&["sbzz", "sbzz", "sbzz"]));
        let client = stage.enters();
        assert_eq!(stage.hears(client), b"sbzzsbzzsbzz");
        assert!(stage.is_leaving(client));
    }

    #[test]
    fn t4_two_greetings_framed_by_length() {
        let mut stage = stage(&Options {
            framing: GreetingFraming::I32,
            ..greets(&["hello", ""])
        });
        let client = stage.enters();
        assert_eq!(stage.hears(client), b"\x05\0\0\0hello\0\0\0\0");
        assert!(stage.is_leaving(client));
    }

    #[test]
    fn t4_hello_then_one_message_is_read() {
        let mut stage = stage(&Options {
            wait: true,
            ..greets(&["hello"])
        });
        let client = stage.enters();
        assert_eq!(stage.hears(client), b"hello");
        assert!(!stage.is_leaving(client));
        for byte in b"thanks" {
            stage.says(client, &[*byte]);
            stage.waits(19 * MS);
            assert!(!stage.is_leaving(client));
        }
        stage.waits(MS);
        assert_eq!(stage.hears(client), b"");
        assert!(stage.is_leaving(client));
    }

    #[test]
    fn t4_hi_is_the_reply_to_the_first_message_however_it_ends() {
        let options = Options {
            reply: Some("hi".into()),
            ..Options::default()
        };
        for ending in ["newline", "silence", "half-close"] {
            let mut stage = stage(&options);
            let client = stage.enters();
            stage.says(client, b"hel");
            stage.says(client, b"lo");
            assert_eq!(stage.hears(client), b"", "{ending}");
            match ending {
                "newline" => stage.says(client, b"\nand more\n"),
                "silence" => stage.waits(20 * MS),
                _ => stage.ends(client),
            }
            assert_eq!(stage.hears(client), b"hi", "{ending}");
            assert!(stage.is_leaving(client), "{ending}");
        }
    }

    #[test]
    fn t4_the_reply_is_framed_as_the_greetings_are() {
        let mut stage = stage(&Options {
            framing: GreetingFraming::I32,
            reply: Some("hi".into()),
            ..Options::default()
        });
        let client = stage.enters();
        stage.says(client, b"hello\n");
        assert_eq!(stage.hears(client), b"\x02\0\0\0hi");
    }

    #[test]
    fn fault_a14_a_half_close_with_no_request_ends_the_connection() {
        let mut stage = stage(&Options {
            reply: Some("hi".into()),
            ..greets(&["hello"])
        });
        let client = stage.enters();
        stage.ends(client);
        assert_eq!(stage.hears(client), b"hello");
        assert!(stage.is_leaving(client));
    }

    #[test]
    fn fault_b9_an_endless_burst_is_refused() {
        let mut stage = stage(&Options {
            wait: true,
            settle: Settle::Never,
            ..greets(&["hello"])
        });
        let client = stage.enters();
        for _ in 0..17 {
            stage.says(client, &b"x".repeat(4096));
        }
        assert!(stage.fault(client).is_some());
        assert!(stage.is_leaving(client));
    }
}
