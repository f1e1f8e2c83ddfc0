use std::fmt;
use std::io::{self, Write};

/// What is written at once: as much as a pipe takes whole or not at all (POSIX's `PIPE_BUF` on Linux).
const WRITTEN_AT_ONCE: usize = 4096;

/// Lines on their way to a file, through something that takes what it has room for and never waits.
///
/// A line goes whole or not at all. Those for which there is no room are counted, and the next that goes is
/// preceded by a line that says how many are missing.
pub(super) struct Transcript {
    out: Box<dyn Write>,
    /// The rest of a long line whose beginning has gone.
    rest: Vec<u8>,
    /// Lines that are missing, of which nothing was said yet.
    missing: u64,
}

impl Transcript {
    /// To this, which must not wait.
    pub(super) fn to(out: Box<dyn Write>) -> Transcript {
        Transcript {
            out,
            rest: Vec::new(),
            missing: 0,
        }
    }

    /// Writes whole lines, or counts them.
    pub(super) fn write(&mut self, lines: &[u8]) {
        let mut left = lines;
        while !left.is_empty() {
            let (piece, others) = left.split_at(whole_lines(left));
            left = others;
            if !self.write_piece(piece) {
                self.miss(count(piece));
            }
        }
    }

    /// Asks whoever writes the file to open it again, which an empty line does.
    pub(super) fn reopen(&mut self) {
        self.write_piece(b"\n");
    }

    fn write_piece(&mut self, piece: &[u8]) -> bool {
        if !self.write_rest() {
            return false;
        }
        if self.missing > 0 {
            let told = format!("* lines missing here: {}\n", self.missing);
            if self.offer(told.as_bytes()) == 0 {
                return false;
            }
            self.missing = 0;
        }
        let done = self.offer(piece);
        if done > 0 {
            self.rest = piece[done..].to_vec();
        }
        done > 0
    }

    /// Whether nothing is left of the last line.
    fn write_rest(&mut self) -> bool {
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            let done = self.offer(&rest);
            self.rest = rest[done..].to_vec();
        }
        self.rest.is_empty()
    }

    /// How many bytes were taken, at once.
    fn offer(&mut self, bytes: &[u8]) -> usize {
        loop {
            match self.out.write(bytes) {
                Ok(done) => return done,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return 0,
            }
        }
    }

    fn miss(&mut self, lines: u64) {
        if self.missing == 0 {
            log::warn!(
                "a transcript is not written as fast as people talk: lines are missing in it"
            );
        }
        self.missing += lines;
    }
}

impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transcript")
            .field("missing", &self.missing)
            .finish_non_exhaustive()
    }
}

/// How many bytes whole lines at the front have that go at once: all of one line, if that is long.
fn whole_lines(lines: &[u8]) -> usize {
    let most = &lines[..lines.len().min(WRITTEN_AT_ONCE)];
    let last = most.iter().rposition(|&byte| byte == b'\n');
    let first = || lines.iter().position(|&byte| byte == b'\n');
    last.or_else(first).map_or(lines.len(), |at| at + 1)
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|&&byte| byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    /// Takes so many bytes more, whole or not at all if they are few, as a pipe does.
    #[derive(Clone, Default)]
    struct Pipe(Rc<RefCell<(Vec<u8>, usize)>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (taken, room) = &mut *self.0.borrow_mut();
            let done = if bytes.len() <= WRITTEN_AT_ONCE && bytes.len() > *room {
                0
            } else {
                bytes.len().min(*room)
            };
            if done == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            taken.extend_from_slice(&bytes[..done]);
            *room -= done;
            Ok(done)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Pipe {
        fn has_room(&self, room: usize) {
            self.0.borrow_mut().1 = room;
        }
        fn read(&self) -> String {
            String::from_utf8(std::mem::take(&mut self.0.borrow_mut().0)).unwrap()
        }
    }

    #[test]
    fn fault_c12_what_does_not_fit_is_counted_and_said_and_lines_are_whole() {
        let pipe = Pipe::default();
        let mut transcript = Transcript::to(Box::new(pipe.clone()));
        pipe.has_room(10);
        transcript.write(b"one\ntwo\n");
        transcript.write(b"three\n");
        transcript.write(b"four\nfive\n");
        assert_eq!(pipe.read(), "one\ntwo\n");
        pipe.has_room(1000);
        transcript.write(b"six\n");
        assert_eq!(pipe.read(), "* lines missing here: 3\nsix\n");
        // A line that is longer than goes at once is finished before anything else.
        let long = format!("{}\n", "x".repeat(3 * WRITTEN_AT_ONCE));
        pipe.has_room(5000);
        transcript.write(format!("seven\n{long}eight\n").as_bytes());
        transcript.write(b"nine\n");
        pipe.has_room(100_000);
        transcript.write(b"ten\n");
        assert_eq!(
            pipe.read(),
            format!("seven\n{long}* lines missing here: 2\nten\n")
        );
        transcript.reopen();
        assert_eq!(pipe.read(), "\n");
    }

    #[test]
    fn many_lines_go_in_pieces_of_whole_lines() {
        let line = |length: usize| [&b"x".repeat(length - 1)[..], b"\n"].concat();
        assert_eq!(whole_lines(&line(7)), 7);
        assert_eq!(whole_lines(&[line(7), line(8)].concat()), 15);
        assert_eq!(whole_lines(&[line(4000), line(100)].concat()), 4000);
        assert_eq!(whole_lines(&[line(5000), line(100)].concat()), 5000);
        assert_eq!(whole_lines(b"no end"), 6);
    }
}
