//! Where clients of commands have gone, and how: a run of seeds that misses one of these fails.

use std::fmt;

/// How a client goes that does not wait for the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    Reset,
    Close,
    /// Ends its side, which a command is told by nothing but its end.
    Shut,
}

/// A frame that a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    Run,
    Stdin,
    StdinEnd,
    Signal,
    Cancel,
}

/// What it heard last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    Nothing,
    Part,
    Started,
    Stdout,
    Stderr,
    Credit,
    StdinClosed,
    End,
}

const LEAVES: [Leave; 3] = [Leave::Reset, Leave::Close, Leave::Shut];

#[rustfmt::skip]
pub(crate) const SENT: [Sent; 5] = [Sent::Run, Sent::Stdin, Sent::StdinEnd, Sent::Signal, Sent::Cancel];

#[rustfmt::skip]
const HEARD: [Heard; 8] = [
    Heard::Nothing, Heard::Part, Heard::Started, Heard::Stdout, Heard::Stderr, Heard::Credit,
    Heard::StdinClosed, Heard::End,
];

/// How often clients went after, and in the middle of, which frame.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Partings {
    /// In the middle of one that they sent, and after it.
    sent: [[[u64; 2]; SENT.len()]; LEAVES.len()],
    heard: [[u64; HEARD.len()]; LEAVES.len()],
}

impl Partings {
    /// One goes now.
    pub(crate) fn note(&mut self, how: Leave, sent: Sent, is_whole: bool, heard: Heard) {
        self.sent[how as usize][sent as usize][usize::from(is_whole)] += 1;
        self.heard[how as usize][heard as usize] += 1;
    }

    pub(crate) fn add(&mut self, other: &Partings) {
        let sent = |of: &Partings| of.sent.as_flattened().as_flattened().to_vec();
        let (theirs, mine) = (sent(other), self.sent.as_flattened_mut().as_flattened_mut());
        for (mine, theirs) in mine.iter_mut().zip(theirs) {
            *mine += theirs;
        }
        let mine = self.heard.as_flattened_mut();
        for (mine, theirs) in mine.iter_mut().zip(other.heard.as_flattened()) {
            *mine += theirs;
        }
    }

    /// Each, and how often.
    fn each(&self) -> impl Iterator<Item = (String, u64)> {
        LEAVES.into_iter().flat_map(move |how| {
            let sent = SENT.into_iter().flat_map(move |frame| {
                let [within, after] = self.sent[how as usize][frame as usize];
                [
                    (format!("{how:?} within {frame:?}"), within),
                    (format!("{how:?} after {frame:?}"), after),
                ]
            });
            let heard = HEARD.into_iter().map(move |answer| {
                let times = self.heard[how as usize][answer as usize];
                (format!("{how:?} having heard {answer:?}"), times)
            });
            sent.chain(heard)
        })
    }

    /// Those that never were.
    pub(crate) fn missed(&self) -> Vec<String> {
        let never = self.each().filter(|(_, times)| *times == 0);
        never.map(|(what, _)| what).collect()
    }
}

impl fmt::Display for Partings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, times) in self.each() {
            writeln!(f, "{times:12} {what}")?;
        }
        Ok(())
    }
}
