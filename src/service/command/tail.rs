//! One command of the endpoint's, and many readers of what it writes, as `tail -f` has one.
//!
//! Nothing is asked of it: what a reader sends is dropped, and its half-close ends nothing. Lines of standard
//! output and standard error are told as they come, whole, so that none is cut by another. A reader who does
//! not keep up is disconnected, as a member of a room is, and the others go on.

use std::collections::BTreeSet;

use super::job;
use super::options::{Options, Restart};
use super::terms::Terms;
use crate::buf::ReadBuf;
use crate::config::Limits;
use crate::config::limits::TAIL_LINE_BYTES_MAX;
use crate::service::history::History;
use crate::service::{Backlog, Manner, Peer, Service};
use crate::turn::{Broadcast, BroadcastTurn, ChildEvent, Closed, ConnId, Fault, Output, Turn};
use crate::wire::is_http_request;

/// What `history` is where nothing is said: as many lines as tail(1) begins with.
const HISTORY_LINES: u32 = 10;

/// The command of an endpoint, and its readers.
#[derive(Debug)]
pub struct Tail {
    broadcast: Broadcast,
    readers: BTreeSet<ConnId>,
    history: History,
    out: Begun,
    err: Begun,
    /// The command has ended for good.
    is_over: bool,
}

/// A line that has no end yet.
#[derive(Debug, Default)]
struct Begun {
    bytes: Vec<u8>,
    /// Its beginning was told already, since it is longer than is kept.
    is_told: bool,
}

impl Tail {
    /// The command line of an endpoint with these options.
    pub fn new(line: &str, options: &Options, limits: &Limits) -> Tail {
        let terms = Terms::new(options, limits);
        let job = job::of_line(&terms, line.as_bytes().to_vec());
        Tail {
            broadcast: Broadcast {
                job: job.expect("options are checked before they are used"),
                restarts: options.restart == Restart::Always,
            },
            readers: BTreeSet::new(),
            history: History::new(options.history.unwrap_or(HISTORY_LINES)),
            out: Begun::default(),
            err: Begun::default(),
            is_over: false,
        }
    }

    /// Tells the whole lines of what the command wrote; the rest waits for its end.
    fn wrote(&mut self, t: &mut BroadcastTurn<'_>, which: Output, bytes: &[u8]) {
        let begun = match which {
            Output::Out => &mut self.out,
            Output::Err => &mut self.err,
        };
        let lines = bytes.iter().rposition(|&byte| byte == b'\n');
        let (lines, rest) = bytes.split_at(lines.map_or(0, |last| last + 1));
        if !lines.is_empty() {
            let was_told = std::mem::take(&mut begun.is_told);
            begun.bytes.extend_from_slice(lines);
            t.send_all(self.readers.iter().copied(), &begun.bytes[..]);
            // The end of a line whose beginning is not there is not kept.
            let unkept = if was_told {
                end_of_line(&begun.bytes)
            } else {
                0
            };
            self.history.keep(&begun.bytes[unkept..]);
            begun.bytes.clear();
        }
        begun.bytes.extend_from_slice(rest);
        if begun.bytes.len() > TAIL_LINE_BYTES_MAX {
            t.send_all(self.readers.iter().copied(), &begun.bytes[..]);
            begun.is_told = true;
            begun.bytes.clear();
        }
        begun.bytes.shrink_to(TAIL_LINE_BYTES_MAX);
    }

    /// Ends a line that the command left without an end, or what it writes when it is started again would be
    /// taken for the rest of it.
    fn end_lines(&mut self, t: &mut BroadcastTurn<'_>) {
        for which in [Output::Out, Output::Err] {
            let begun = match which {
                Output::Out => &self.out,
                Output::Err => &self.err,
            };
            if begun.is_told || !begun.bytes.is_empty() {
                self.wrote(t, which, b"\n");
            }
        }
    }
}

impl Service for Tail {
    fn open(&mut self, t: &mut Turn<'_>, _peer: &Peer) {
        t.reply(&self.history);
        if self.is_over {
            return t.close_lingering();
        }
        self.readers.insert(t.id);
    }

    fn input(&mut self, _t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        let first = &input.unread()[..end_of_line(input.unread())];
        let is_of_a_browser = is_http_request(first);
        input.consume(input.len());
        if is_of_a_browser {
            return Err(Fault::Refused(
                "an HTTP request, and this endpoint takes none",
            ));
        }
        Ok(())
    }

    /// It reads on.
    fn eof(&mut self, _t: &mut Turn<'_>, rest: &mut ReadBuf) -> Result<(), Fault> {
        rest.consume(rest.len());
        Ok(())
    }

    fn broadcast(&self) -> Option<Broadcast> {
        Some(self.broadcast.clone())
    }

    fn heard(&mut self, t: &mut BroadcastTurn<'_>, event: ChildEvent<'_>) {
        match event {
            ChildEvent::Wrote(which, bytes) => self.wrote(t, which, bytes),
            ChildEvent::Ended(_) => {
                self.end_lines(t);
                self.is_over = !self.broadcast.restarts;
                if self.is_over {
                    self.readers.iter().for_each(|&id| t.close(id));
                }
            }
            _ => {}
        }
    }

    fn closed(&mut self, t: &mut Turn<'_>, _why: &Closed) {
        self.readers.remove(&t.id);
    }

    fn manner(&self) -> Manner {
        Manner {
            backlog: Backlog::Disconnect,
            is_private: true,
            is_shared: true,
            ..Manner::ANSWERS
        }
    }
}

/// Where the first line of these bytes ends.
fn end_of_line(bytes: &[u8]) -> usize {
    let newline = bytes.iter().position(|&byte| byte == b'\n');
    newline.map_or(bytes.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::rehearsal::Stage;
    use crate::turn::Exit;

    fn stage(options: &Options) -> Stage<Tail> {
        Stage::new(Tail::new("make watch", options, &Limits::default()))
    }

    #[test]
    fn readers_hear_whole_lines_and_a_newcomer_the_last_of_them() {
        let options = Options {
            history: Some(2),
            ..Options::default()
        };
        let mut stage = stage(&options);
        let first = stage.enters();
        stage.broadcasts(Output::Out, b"one\ntwo\nthr");
        stage.broadcasts(Output::Err, b"warning\n");
        assert_eq!(stage.hears(first), b"one\ntwo\nwarning\n");
        let second = stage.enters();
        assert_eq!(stage.hears(second), b"two\nwarning\n");
        stage.broadcasts(Output::Out, b"ee\n");
        for reader in [first, second] {
            assert_eq!(stage.hears(reader), b"three\n");
        }
        stage.leaves(first);
        stage.broadcasts(Output::Out, b"four\n");
        assert_eq!(stage.hears(second), b"four\n");
    }

    #[test]
    fn at_every_cut_of_its_output_readers_hear_the_same() {
        let said = b"one\n\ntwo\r\n\xff\0three\nfour";
        for cut in 0..=said.len() {
            let mut stage = stage(&Options::default());
            let reader = stage.enters();
            stage.broadcasts(Output::Out, &said[..cut]);
            stage.broadcasts(Output::Out, &said[cut..]);
            stage.broadcast_ends(Exit::Code(0));
            let newcomer = stage.enters();
            let expected = [&said[..], b"\n"].concat();
            assert_eq!(stage.hears(reader), expected, "{cut}");
            assert_eq!(stage.hears(newcomer), expected, "{cut}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_to_be_kept_is_told_in_pieces_and_not_shown_to_a_newcomer() {
        let mut stage = stage(&Options::default());
        let reader = stage.enters();
        stage.broadcasts(Output::Out, b"before\n");
        let mut heard = stage.hears(reader);
        for _ in 0..3 {
            stage.broadcasts(Output::Out, &[b'x'; TAIL_LINE_BYTES_MAX]);
            heard.extend(stage.hears(reader));
        }
        assert!(heard.len() > 2 * TAIL_LINE_BYTES_MAX);
        stage.broadcasts(Output::Out, b"\nafter\n");
        heard.extend(stage.hears(reader));
        let expected = [
            b"before\n",
            &[b'x'; 3 * TAIL_LINE_BYTES_MAX][..],
            b"\nafter\n",
        ]
        .concat();
        assert_eq!(heard, expected);
        let newcomer = stage.enters();
        assert_eq!(stage.hears(newcomer), b"before\nafter\n");
    }

    #[test]
    fn a_command_that_is_not_restarted_ends_its_readers_and_shows_newcomers_its_last_lines() {
        let options = Options {
            restart: Restart::Never,
            ..Options::default()
        };
        let mut stage = stage(&options);
        let reader = stage.enters();
        stage.broadcasts(Output::Out, b"done");
        stage.broadcast_ends(Exit::Code(3));
        assert!(stage.is_leaving(reader));
        assert_eq!(stage.hears(reader), b"done\n");
        let late = stage.enters();
        assert!(stage.is_leaving(late));
        assert_eq!(stage.hears(late), b"done\n");
    }

    #[test]
    fn a_reader_may_say_anything_but_an_http_request_and_end_its_input() {
        let mut stage = stage(&Options::default());
        let reader = stage.enters();
        stage.says(reader, b"anything\nGET / HTTP/1.1\r\n");
        stage.ends(reader);
        assert!(!stage.is_leaving(reader));
        stage.broadcasts(Output::Out, b"still there\n");
        assert_eq!(stage.hears(reader), b"still there\n");
        let browser = stage.enters();
        stage.says(browser, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n");
        assert!(stage.fault(browser).is_some());
    }
}
