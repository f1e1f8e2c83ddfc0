//! What is kept of what is said: for those who come later, and in a file. Each line with its time.
//!
//! Knows how a line is kept. Does not know rooms, nor who has said it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::tz::TimeZone;

use super::name::Name;
use super::options::Options;
use super::stamp::Stamp;
use crate::service::transcript::Transcript;

/// How much memory is kept for the lines of one input.
pub(super) const SAID_BYTES_KEPT: usize = 64 * 1024;

/// What is kept, and how.
#[derive(Debug)]
pub(super) struct Minutes {
    /// Whether earlier lines are kept.
    keeps_history: bool,
    /// The file in which it is written down.
    transcript: Option<PathBuf>,
    record: Option<Transcript>,
    stamp: Stamp,
    /// Lines with their time; between two calls it is there for its memory alone.
    stamped: Vec<u8>,
}

impl Minutes {
    /// As these options say, with the time of UTC.
    pub(super) fn new(options: &Options) -> Minutes {
        Minutes {
            keeps_history: options.history > 0,
            transcript: options.transcript.clone(),
            record: None,
            stamp: Stamp::new(TimeZone::UTC),
            stamped: Vec::new(),
        }
    }

    /// The same, with the time of this zone.
    pub(super) fn in_zone(self, zone: TimeZone) -> Minutes {
        Minutes {
            stamp: Stamp::new(zone),
            ..self
        }
    }

    pub(super) fn keeps_history(&self) -> bool {
        self.keeps_history
    }

    /// Whether it matters what time it is.
    pub(super) fn tells_time(&self) -> bool {
        self.keeps_history || self.transcript.is_some()
    }

    pub(super) fn transcript(&self) -> Option<&Path> {
        self.transcript.as_deref()
    }

    /// Where that is written.
    pub(super) fn write_to(&mut self, out: Box<dyn Write>) {
        self.record = Some(Transcript::to(out));
    }

    pub(super) fn reopen(&mut self) {
        if let Some(record) = &mut self.record {
            record.reopen();
        }
    }

    /// Whether what is said is written down.
    pub(super) fn writes(&self) -> bool {
        self.record.is_some()
    }

    /// Writes down what was said or told to a room, if that is wanted: each line with its time and its room.
    pub(super) fn write_down(&mut self, room: Name, lines: &[u8], when: SystemTime) {
        let Some(record) = &mut self.record else {
            return;
        };
        let stamp = self.stamp.at(when);
        let mut written = Vec::with_capacity(lines.len() + 64);
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            written.extend_from_slice(stamp.as_bytes());
            written.push(b'#');
            written.extend_from_slice(room.as_bytes());
            written.push(b' ');
            written.extend_from_slice(line);
        }
        record.write(&written);
    }

    /// Gives what was said then, with the time, to whoever keeps it: not what the server told.
    pub(super) fn stamp(&mut self, lines: &[u8], when: SystemTime, keep: impl FnOnce(&[u8])) {
        let stamp = self.stamp.at(when);
        self.stamped.clear();
        let lines = lines.split_inclusive(|&byte| byte == b'\n');
        for line in lines.filter(|line| !line.starts_with(b"* ")) {
            self.stamped.extend_from_slice(stamp.as_bytes());
            self.stamped.extend_from_slice(line);
        }
        keep(&self.stamped);
        self.stamped.shrink_to(SAID_BYTES_KEPT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::rehearsal::Paper;

    #[test]
    fn what_people_said_is_kept_and_what_the_server_told_is_written_down_as_well() {
        let options = Options {
            history: 2,
            ..Options::default()
        };
        let mut minutes = Minutes::new(&options);
        assert!(minutes.keeps_history() && minutes.tells_time() && !minutes.writes());
        let lines = b"* eva joined\neva: hello\n";
        let when = SystemTime::UNIX_EPOCH;
        let mut kept = Vec::new();
        minutes.stamp(lines, when, |lines| kept.extend_from_slice(lines));
        assert_eq!(kept, b"[1970-01-01 00:00:00] eva: hello\n");
        let (room, paper) = (Name::parse(b"den").unwrap(), Paper::default());
        minutes.write_down(room, lines, when);
        minutes.write_to(Box::new(paper.clone()));
        minutes.write_down(room, lines, when);
        assert_eq!(
            paper.take(),
            "[1970-01-01 00:00:00] #den * eva joined\n[1970-01-01 00:00:00] #den eva: hello\n"
        );
    }
}
