//! Services that exist for the sake of states that echo and discard never reach.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use onepoll::buf::ReadBuf;
use onepoll::service::{Backlog, Manner, Peer, Service};
use onepoll::turn::{ChildEvent, Closed, ConnId, Exit, Fault, Job, Output, Turn};
use onepoll::wire::Line;

use crate::family::{outcome_of, steps_of};

/// Answers lines, and does as some of them say:
/// `!` is refused with a word, `q` ends with a word, `Q` ends without lingering, `h` holds its input
/// for a millisecond less than the line is long.
#[derive(Debug)]
pub(crate) struct Lines;

impl Lines {
    /// What a client that says all this and ends hears, and whether the service ends first.
    pub(crate) fn answers(said: &[u8]) -> (Vec<u8>, bool) {
        let mut heard = Vec::new();
        let mut lines: Vec<&[u8]> = said.split(|&b| b == b'\n').collect();
        if lines.last().is_some_and(|last| last.is_empty()) {
            lines.pop();
        }
        for line in lines {
            match line.first() {
                Some(b'!') => {
                    heard.extend_from_slice(b"no\n");
                    return (heard, true);
                }
                Some(b'q' | b'Q') => {
                    heard.extend_from_slice(b"bye\n");
                    return (heard, true);
                }
                Some(b'h') => heard.extend_from_slice(b"held\n"),
                _ => {
                    heard.push(b'>');
                    heard.extend_from_slice(line);
                    heard.push(b'\n');
                }
            }
        }
        (heard, false)
    }

    fn line(t: &mut Turn<'_>, line: &[u8]) -> Result<(), Fault> {
        match line.first() {
            Some(b'!') => {
                t.reply(&b"no\n"[..]);
                return Err(Fault::Refused("it said no"));
            }
            Some(b'q') => {
                t.reply(&b"bye\n"[..]);
                t.close_lingering();
            }
            Some(b'Q') => {
                t.reply(&b"bye\n"[..]);
                t.close();
            }
            Some(b'h') => {
                t.hold();
                let wait = Duration::from_millis(line.len() as u64 - 1);
                t.wake_at(t.now.after(wait));
            }
            _ => {
                t.reply(&b">"[..]);
                t.reply(line);
                t.reply(&b"\n"[..]);
            }
        }
        Ok(())
    }
}

impl Service for Lines {
    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        let mut lines = Line::default();
        while !t.is_held() && !t.is_leaving() {
            let Some(line) = input.next(&mut lines)? else {
                break;
            };
            Lines::line(t, line)?;
        }
        Ok(())
    }

    fn wake(&mut self, t: &mut Turn<'_>) {
        if t.is_held() {
            t.reply(&b"held\n"[..]);
            t.resume();
        }
    }

    fn eof(&mut self, t: &mut Turn<'_>, rest: &mut ReadBuf) -> Result<(), Fault> {
        if let Some(line) = rest.last(&mut Line::default())? {
            // To hold now would be to hold for ever.
            if line.first() == Some(&b'h') {
                t.reply(&b"held\n"[..]);
            } else {
                Lines::line(t, line)?;
            }
        }
        t.close();
        Ok(())
    }
}

/// Says every line to every other member, disconnects a member that does not keep up, refuses to go on
/// after `!`, ends after `Q`, and holds the input of a member for a moment after some lines.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    members: BTreeSet<ConnId>,
}

impl Service for Crowd {
    fn open(&mut self, t: &mut Turn<'_>, _peer: &Peer) {
        self.members.insert(t.id);
    }

    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        let mut lines = Line::default();
        while let Some(line) = input.next(&mut lines)? {
            if line.first() == Some(&b'!') {
                return Err(Fault::Refused("it said no"));
            }
            if line.first() == Some(&b'Q') {
                t.close();
                break;
            }
            let mut said = line.to_vec();
            said.push(b'\n');
            let others: Vec<ConnId> = self
                .members
                .iter()
                .copied()
                .filter(|&id| id != t.id)
                .collect();
            t.send_all(others, &said[..]);
            if said.len() % 4 == 3 {
                t.hold();
                let wait = Duration::from_micros(said.len() as u64);
                t.wake_at(t.now.after(wait));
                break;
            }
        }
        Ok(())
    }

    fn wake(&mut self, t: &mut Turn<'_>) {
        t.resume();
    }

    fn eof(&mut self, t: &mut Turn<'_>, rest: &mut ReadBuf) -> Result<(), Fault> {
        // Some may not leave without a word.
        let is_rude = rest.is_empty() && t.id.generation.is_multiple_of(4);
        if is_rude || rest.unread().first() == Some(&b'!') {
            return Err(Fault::Refused("it said no"));
        }
        t.close();
        Ok(())
    }

    fn closed(&mut self, t: &mut Turn<'_>, _why: &Closed) {
        self.members.remove(&t.id);
        // The others hear of it, also after the flush.
        let others = self.members.iter().copied();
        t.send_all(others, &b"* gone\n"[..]);
    }

    fn manner(&self) -> Manner {
        Manner {
            backlog: Backlog::Disconnect,
            reads_after_reset: true,
            ..Manner::ANSWERS
        }
    }
}

/// Says each byte that it is sent many times over: the next when the last ones have left.
#[derive(Debug, Default)]
pub(crate) struct Produces {
    asked: BTreeMap<ConnId, Asked>,
}

/// What one connection asked for and was not sent.
#[derive(Debug, Default)]
struct Asked {
    bytes: VecDeque<u8>,
    /// It will be told when the last ones have left.
    waits: bool,
    ended: bool,
}

impl Produces {
    /// How often it says a byte.
    const TIMES: usize = 300;

    /// What a client that says all this hears.
    pub(crate) fn answers(said: &[u8]) -> Vec<u8> {
        let times = |&byte| std::iter::repeat_n(byte, Produces::TIMES);
        said.iter().flat_map(times).collect()
    }

    fn go_on(&mut self, t: &mut Turn<'_>) {
        let asked = self.asked.entry(t.id).or_default();
        if asked.waits {
            return;
        }
        if let Some(byte) = asked.bytes.pop_front() {
            asked.waits = true;
            t.reply(&[byte; Produces::TIMES][..]);
            t.tell_when_sent();
        } else if asked.ended {
            t.close();
        }
    }
}

impl Service for Produces {
    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        let asked = self.asked.entry(t.id).or_default();
        asked.bytes.extend(input.unread());
        input.consume(input.len());
        self.go_on(t);
        Ok(())
    }

    fn drained(&mut self, t: &mut Turn<'_>) {
        self.asked.entry(t.id).or_default().waits = false;
        self.go_on(t);
    }

    fn eof(&mut self, t: &mut Turn<'_>, _rest: &mut ReadBuf) -> Result<(), Fault> {
        self.asked.entry(t.id).or_default().ended = true;
        self.go_on(t);
        Ok(())
    }

    fn closed(&mut self, t: &mut Turn<'_>, _why: &Closed) {
        self.asked.remove(&t.id);
    }
}

/// Runs each line as a command: what it says comes as it is, then how it ended. After some ends it
/// has enough.
#[derive(Debug)]
pub(crate) struct Runs;

impl Runs {
    /// What a client that sends these lines hears, and whether the service ends first.
    pub(crate) fn answers(said: &[u8]) -> (Vec<u8>, bool) {
        let mut heard = Vec::new();
        for line in said.split_inclusive(|&b| b == b'\n') {
            // Half a line is no command.
            let Some(line) = line.strip_suffix(b"\n") else {
                break;
            };
            if line.is_empty() {
                continue;
            }
            let outcome = outcome_of(&steps_of(line, false), b"");
            heard.extend(outcome.out);
            heard.extend(format!("={}\n", outcome.code).bytes());
            if Runs::has_enough(outcome.code) {
                return (heard, true);
            }
        }
        (heard, false)
    }

    fn has_enough(code: i32) -> bool {
        code % 8 == 7
    }

    fn next(t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        while !t.is_held() {
            let Some(line) = input.next(&mut Line::default())? else {
                break;
            };
            if !line.is_empty() {
                t.hold();
                t.spawn(Job::line(line.to_vec()));
            }
        }
        Ok(())
    }
}

impl Service for Runs {
    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        Runs::next(t, input)
    }

    fn child(&mut self, t: &mut Turn<'_>, event: ChildEvent<'_>) {
        match event {
            ChildEvent::Wrote(Output::Out, bytes) => return t.reply(bytes),
            ChildEvent::Started | ChildEvent::Wrote(Output::Err, _) => return,
            // Its commands are neither fed nor streamed.
            ChildEvent::Took(_) | ChildEvent::InputClosed | ChildEvent::Used(_) => return,
            ChildEvent::Ended(Exit::Code(code)) => {
                t.reply(format!("={code}\n").as_bytes());
                if Runs::has_enough(code) {
                    t.close();
                }
            }
            ChildEvent::Ended(Exit::Signal(signal)) => t.reply(format!("-{signal}\n").as_bytes()),
            ChildEvent::Busy => t.reply(&b"busy\n"[..]),
            ChildEvent::Failed(_) => t.reply(&b"failed\n"[..]),
        }
        t.resume();
    }
}
