//! Upper case (T2, T3, U1).

use serde::{Deserialize, Serialize};

use super::settling::Settling;
use super::{
    Checked, DatagramTurn, Datagrams, NoOptions, OverDatagrams, OverStreams, Row, Service,
};
use crate::buf::ReadBuf;
use crate::config::{Settle, Transport, Trouble};
use crate::turn::{Closed, Fault, Turn};
use crate::wire;

/// Its row in the table. Only connections have options: a datagram is one burst by itself.
pub const ROW: Row = Row {
    name: "upper",
    summary: "`bytes.upper()`",
    usual: Transport::Tcp,
    stream: Some(&OverStreams {
        build: |options: &Options, _| Box::new(Upper::new(options)),
    }),
    datagrams: Some(&OverDatagrams {
        build: |_: &NoOptions, _| Box::new(Upper::new(&Options::default())),
    }),
};

/// ASCII letters in upper case, as Python's `bytes.upper()` (T2, U1); with `once`, one burst and
/// one answer, as a `socketserver` handler gives (T3).
///
/// With `once`, a client that half-closes without a byte has asked nothing and is answered nothing.
#[derive(Debug)]
pub struct Upper {
    /// Only when one burst is all that is answered.
    once: Option<Once>,
}

/// Options of `upper`. A stream endpoint alone has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Options {
    /// One burst, one answer, then the server closes.
    pub once: bool,
    /// Strip ASCII white space at both ends of the burst; needs `once`.
    pub strip: bool,
    /// When a burst is over.
    pub settle: Settle,
}

impl Checked for Options {
    fn check(&self) -> Result<(), Trouble> {
        if self.strip && !self.once {
            return Err(Trouble::with(
                "strip",
                "it needs `once=true`, for without it there is no end that could be stripped",
            ));
        }
        Ok(())
    }
}

impl Upper {
    /// As `options` say.
    pub fn new(options: &Options) -> Upper {
        Upper {
            once: options.once.then(|| Once {
                strip: options.strip,
                settling: Settling::new(options.settle),
            }),
        }
    }
}

#[derive(Debug)]
struct Once {
    strip: bool,
    settling: Settling,
}

impl Once {
    fn answer(&self, t: &mut Turn<'_>, burst: &[u8]) {
        let asked = if self.strip {
            wire::trim_ascii_white(burst)
        } else {
            burst
        };
        t.reply(&wire::UpperCase(asked));
        // A newline says that the request is over; silence only suggests it, and what comes after
        // the answer all the same must not turn our end into a reset that destroys it.
        if burst.ends_with(b"\n") {
            t.close();
        } else {
            t.close_lingering();
        }
    }
}

impl Service for Upper {
    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        let Some(once) = &mut self.once else {
            wire::upper(input.unread_mut());
            t.reply_all(input);
            return Ok(());
        };
        if let Some(burst) = once.settling.next(t, &mut wire::Burst::default(), input)? {
            once.answer(t, burst);
        }
        Ok(())
    }

    fn wake(&mut self, t: &mut Turn<'_>) {
        if let Some(once) = &mut self.once {
            once.settling.wake(t);
        }
    }

    fn eof(&mut self, t: &mut Turn<'_>, rest: &mut ReadBuf) -> Result<(), Fault> {
        if let Some(once) = &mut self.once
            && let Some(burst) = rest.last(&mut wire::Burst::default())?
        {
            once.answer(t, burst);
        }
        t.close();
        Ok(())
    }

    fn closed(&mut self, t: &mut Turn<'_>, _why: &Closed) {
        if let Some(once) = &mut self.once {
            once.settling.forget(t.id);
        }
    }
}

impl Datagrams for Upper {
    fn datagram(&mut self, t: &mut DatagramTurn<'_>, bytes: &[u8]) {
        t.answer(&wire::UpperCase(bytes));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::service::rehearsal::Stage;
    use crate::wire::WireError;

    const MS: Duration = Duration::from_millis(1);

    fn stage(options: Options) -> Stage<Upper> {
        Stage::new(Upper::new(&options))
    }

    fn once(settle: Settle) -> Stage<Upper> {
        stage(Options {
            once: true,
            strip: true,
            settle,
        })
    }

    fn twenty() -> Stage<Upper> {
        once(Settle::After(20 * MS))
    }

    #[test]
    fn t2_whole_byte_by_byte_glued_and_half_closed() {
        let text = "hello\negg grüße 你好 \0\x7f".as_bytes();
        let upper = "HELLO\nEGG GRüßE 你好 \0\x7f".as_bytes();
        let mut stage = stage(Options::default());
        let client = stage.enters();
        stage.says(client, text);
        assert_eq!(stage.hears(client), upper);
        for byte in text {
            stage.says(client, &[*byte]);
        }
        stage.says(client, &[text, text].concat());
        assert_eq!(stage.hears(client), [upper, upper, upper].concat());
        stage.says(client, b"last");
        stage.ends(client);
        assert_eq!(stage.hears(client), b"LAST");
        assert!(stage.is_leaving(client));
    }

    #[test]
    fn t2_a_large_piece_is_changed_where_it_lies() {
        let mut stage = stage(Options::default());
        let client = stage.enters();
        stage.says(client, &b"x".repeat(65_536));
        assert_eq!(stage.hears(client), b"X".repeat(65_536));
    }

    #[test]
    fn t3_a_newline_ends_the_burst_and_the_answer_is_stripped() {
        let mut stage = twenty();
        let client = stage.enters();
        stage.says(client, b"\x0b two\nlines \r\n");
        assert_eq!(stage.hears(client), b"TWO\nLINES");
        assert!(stage.is_leaving(client));
        assert_eq!(stage.wakes_in(client), None);
    }

    #[test]
    fn t3_silence_ends_the_burst() {
        let mut stage = twenty();
        let client = stage.enters();
        for byte in b" hello" {
            stage.says(client, &[*byte]);
            stage.waits(19 * MS);
        }
        assert_eq!(stage.hears(client), b"");
        stage.waits(MS);
        assert_eq!(stage.hears(client), b"HELLO");
        assert!(stage.is_leaving(client));
    }

    #[test]
    fn t3_a_half_close_ends_the_burst() {
        let mut stage = once(Settle::Never);
        let client = stage.enters();
        stage.says(client, b"hello");
        stage.waits(1_000_000 * MS);
        assert_eq!(stage.hears(client), b"");
        stage.ends(client);
        assert_eq!(stage.hears(client), b"HELLO");
        assert!(stage.is_leaving(client));
    }

    #[test]
    fn t3_without_settle_a_burst_is_what_one_read_returned() {
        let mut stage = once(Settle::After(Duration::ZERO));
        let client = stage.enters();
        stage.says(client, b"he");
        assert_eq!(stage.hears(client), b"HE");
        assert!(stage.is_leaving(client));
    }

    #[test]
    fn t3_white_space_alone_is_a_burst_and_its_answer_is_empty() {
        let mut stage = twenty();
        let client = stage.enters();
        stage.says(client, b" \n");
        assert_eq!(stage.hears(client), b"");
        assert!(stage.is_leaving(client));
    }

    #[test]
    fn fault_a14_a_half_close_with_no_request_ends_the_connection() {
        for options in [
            Options::default(),
            Options {
                once: true,
                ..Options::default()
            },
        ] {
            let mut stage = stage(options);
            let client = stage.enters();
            stage.ends(client);
            assert_eq!(stage.hears(client), b"");
            assert!(stage.is_leaving(client));
        }
    }

    #[test]
    fn fault_b8_b9_a_burst_at_the_limit_and_one_beyond() {
        for (len, fits) in [
            (wire::BURST_BYTES_MAX, true),
            (wire::BURST_BYTES_MAX + 1, false),
        ] {
            let mut stage = twenty();
            let client = stage.enters();
            stage.says(client, &b"x".repeat(len));
            stage.waits(20 * MS);
            assert_eq!(stage.hears(client).len(), if fits { len } else { 0 });
            let too_long = matches!(
                stage.fault(client),
                Some(Fault::Wire(WireError::TooLong { .. }))
            );
            assert_eq!(too_long, !fits);
            assert!(stage.is_leaving(client));
        }
    }

    #[test]
    fn u1_upper_answers_each_datagram_and_the_empty_one_with_an_empty_one() {
        let mut upper = Upper::new(&Options::default());
        let mut out = b"left over".to_vec();
        for (asked, answered) in [(&b"hi \xff"[..], &b"HI \xff"[..]), (b"", b"")] {
            let mut turn = DatagramTurn::new(
                crate::turn::Moment::START,
                std::time::UNIX_EPOCH,
                "127.0.0.1:5000".parse().unwrap(),
                &mut out,
            );
            upper.datagram(&mut turn, asked);
            assert_eq!(turn.into_answer(), Some(answered));
        }
    }
}
