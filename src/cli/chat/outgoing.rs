//! What was typed, until it is known to have been said.
//!
//! Knows which lines a server may have, and which it cannot have. Does not know sockets: it is told how much left.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How many lines are kept for a server that is not there.
pub(super) const KEPT_LINES_MAX: usize = 100;

/// How many bytes they have at most.
pub(super) const KEPT_BYTES_MAX: usize = 128 * 1024;

/// After how long a line counts as said where the server confirms none, and the connection has not broken: after that
/// time a reset would have come.
const UNCONFIRMED: Duration = Duration::from_secs(30);

/// Lines on their way, in the order in which they were typed.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    entries: VecDeque<Entry>,
    /// How many lines were not given to a connection, and their bytes.
    kept: usize,
    kept_bytes: usize,
}

#[derive(Debug)]
enum Entry {
    Line {
        text: Vec<u8>,
        given: Option<Given>,
    },
    /// Answered when all before it was passed on.
    Ping(u64),
}

/// A line that a connection was given.
#[derive(Debug, Clone, Copy)]
struct Given {
    /// How many bytes were before it: as soon as more have left, it may arrive.
    after: u64,
    at: Instant,
}

impl Outgoing {
    /// Whether one more line would be kept.
    pub(super) fn has_room(&self) -> bool {
        self.kept < KEPT_LINES_MAX && self.kept_bytes < KEPT_BYTES_MAX
    }

    /// Keeps a line.
    pub(super) fn push(&mut self, text: Vec<u8>) {
        self.kept += 1;
        self.kept_bytes += text.len();
        self.entries.push_back(Entry::Line { text, given: None });
    }

    /// Gives lines to a connection, which says how many bytes are before each, until it takes no more.
    pub(super) fn give(&mut self, now: Instant, mut take: impl FnMut(&[u8]) -> Option<u64>) {
        if self.kept == 0 {
            return;
        }
        for entry in &mut self.entries {
            if let Entry::Line { text, given } = entry
                && given.is_none()
            {
                let Some(after) = take(text) else {
                    return;
                };
                *given = Some(Given { after, at: now });
                self.kept -= 1;
                self.kept_bytes -= text.len();
            }
        }
    }

    /// Whether lines were given that no ping follows.
    pub(super) fn wants_ping(&self) -> bool {
        let is_pinged = |entry: &Entry| matches!(entry, Entry::Ping(_));
        self.kept == 0 && !self.entries.is_empty() && !self.entries.iter().any(is_pinged)
    }

    /// This ping was given behind all lines.
    pub(super) fn pinged(&mut self, ping: u64) {
        self.entries.push_back(Entry::Ping(ping));
    }

    /// It was answered; `false`: there was none such.
    pub(super) fn answered(&mut self, ping: u64) -> bool {
        let at = self
            .entries
            .iter()
            .position(|entry| matches!(entry, Entry::Ping(given) if *given == ping));
        if let Some(at) = at {
            self.entries.drain(..=at);
        }
        at.is_some()
    }

    /// No ping will be answered.
    pub(super) fn forget_pings(&mut self) {
        self.entries
            .retain(|entry| matches!(entry, Entry::Line { .. }));
    }

    /// All that was given was said.
    pub(super) fn all_was_said(&mut self) {
        self.entries
            .retain(|entry| matches!(entry, Entry::Line { given: None, .. }));
    }

    /// Where nothing is confirmed, what was given long ago counts as said.
    pub(super) fn trust_old(&mut self, now: Instant) {
        while let Some(Entry::Line {
            given: Some(given), ..
        }) = self.entries.front()
            && now.saturating_duration_since(given.at) >= UNCONFIRMED
        {
            self.entries.pop_front();
        }
    }

    /// The connection broke when so many bytes had left: returns the lines of which it is not known whether they
    /// arrived. They are not given again; those that cannot have arrived are.
    pub(super) fn broke(&mut self, sent: u64) -> Vec<Vec<u8>> {
        let mut unsure = Vec::new();
        for entry in std::mem::take(&mut self.entries) {
            match entry {
                Entry::Line {
                    text,
                    given: Some(given),
                } if given.after < sent => unsure.push(text),
                Entry::Line { text, given } => {
                    if given.is_some() {
                        self.kept += 1;
                        self.kept_bytes += text.len();
                    }
                    self.entries.push_back(Entry::Line { text, given: None });
                }
                Entry::Ping(_) => {}
            }
        }
        unsure
    }

    /// How many lines were not given to a connection.
    pub(super) fn kept(&self) -> usize {
        self.kept
    }

    /// Takes those, which will not be said.
    pub(super) fn take_kept(&mut self) -> Vec<Vec<u8>> {
        let mut kept = Vec::new();
        self.entries.retain_mut(|entry| match entry {
            Entry::Line { text, given: None } => {
                kept.push(std::mem::take(text));
                false
            }
            _ => true,
        });
        (self.kept, self.kept_bytes) = (0, 0);
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives all that is kept to a connection that has taken `sent` bytes so far.
    fn give(outgoing: &mut Outgoing, now: Instant, mut sent: u64) -> (Vec<String>, u64) {
        let mut said = Vec::new();
        outgoing.give(now, |line| {
            said.push(String::from_utf8_lossy(line).into_owned());
            let after = sent;
            sent += line.len() as u64 + 1;
            Some(after)
        });
        (said, sent)
    }

    fn typed(lines: &[&str]) -> Outgoing {
        let mut outgoing = Outgoing::default();
        for line in lines {
            outgoing.push(line.as_bytes().to_vec());
        }
        outgoing
    }

    fn text(lines: Vec<Vec<u8>>) -> Vec<String> {
        let text = |line: Vec<u8>| String::from_utf8_lossy(&line).into_owned();
        lines.into_iter().map(text).collect()
    }

    #[expect(clippy::disallowed_methods, reason = "a moment like any other")]
    fn moment() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_line_is_given_again_only_if_not_one_byte_of_it_has_left_wherever_the_connection_breaks() {
        let lines = ["first", "second", "third"];
        let now = moment();
        // first LF: bytes 0 to 5, second LF: 6 to 12, third LF: 13 to 18.
        for (sent, unsure, again) in [
            (0, 0, 3),
            (1, 1, 2),
            (5, 1, 2),
            (6, 1, 2),
            (7, 2, 1),
            (13, 2, 1),
            (14, 3, 0),
            (19, 3, 0),
        ] {
            let mut outgoing = typed(&lines);
            assert_eq!(give(&mut outgoing, now, 0).0, lines);
            assert_eq!(text(outgoing.broke(sent)), lines[..unsure], "{sent}");
            outgoing.push(b"later".to_vec());
            let (said, _) = give(&mut outgoing, now, 0);
            assert_eq!(said[..again], lines[3 - again..], "{sent}");
            assert_eq!(said[again..], ["later"], "{sent}");
        }
    }

    #[test]
    fn what_an_answered_ping_followed_is_neither_unsure_nor_given_again() {
        let now = moment();
        let mut outgoing = typed(&["first"]);
        assert!(!outgoing.wants_ping(), "it is not given yet");
        let (_, sent) = give(&mut outgoing, now, 0);
        assert!(outgoing.wants_ping());
        outgoing.pinged(1);
        assert!(!outgoing.wants_ping(), "one is on its way");
        outgoing.push(b"second".to_vec());
        let (_, sent) = give(&mut outgoing, now, sent);
        assert!(!outgoing.answered(2));
        assert!(outgoing.answered(1));
        assert!(outgoing.wants_ping());
        assert_eq!(text(outgoing.broke(sent)), ["second"]);
        assert_eq!(outgoing.kept(), 0);
    }

    #[test]
    fn there_is_room_for_so_many_lines_and_bytes_and_no_more() {
        let mut outgoing = typed(&["x"; KEPT_LINES_MAX]);
        assert!(!outgoing.has_room());
        assert_eq!(outgoing.take_kept().len(), KEPT_LINES_MAX);
        assert!(outgoing.has_room());
        outgoing.push(vec![b'x'; KEPT_BYTES_MAX]);
        assert!(!outgoing.has_room());
        give(&mut outgoing, moment(), 0);
        assert!(outgoing.has_room());
    }

    #[test]
    fn without_pings_a_line_counts_as_said_after_a_while() {
        let now = moment();
        let mut outgoing = typed(&["old"]);
        give(&mut outgoing, now, 0);
        outgoing.push(b"new".to_vec());
        let later = now + UNCONFIRMED;
        give(&mut outgoing, later, 4);
        outgoing.trust_old(later);
        assert_eq!(text(outgoing.broke(8)), ["new"]);
    }
}
