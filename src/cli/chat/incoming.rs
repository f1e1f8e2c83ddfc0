use memchr::memchr;

/// The longest line that is shown whole: twice what our servers pass on.
pub(super) const LINE_BYTES_MAX: usize = 128 * 1024;

/// Finds the lines in what comes.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// So much of what is unread has no end of a line in it.
    searched: usize,
    /// The rest of a line that is too long comes, and is passed over.
    is_cut: bool,
}

/// What there is at the front of what is unread.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Not a whole line.
    Nothing,
    /// A line of so many bytes, its end not included, and how many bytes it takes up.
    Line {
        len: usize,
        taken: usize,
        is_cut: bool,
    },
    /// So many bytes that are not shown.
    Dropped(usize),
}

impl Incoming {
    /// The next; what it takes up is to be consumed.
    pub(super) fn next(&mut self, unread: &[u8]) -> Piece {
        let end = memchr(b'\n', &unread[self.searched..]).map(|at| self.searched + at);
        let piece = match end {
            Some(end) if self.is_cut => {
                self.is_cut = false;
                Piece::Dropped(end + 1)
            }
            None if self.is_cut && !unread.is_empty() => Piece::Dropped(unread.len()),
            Some(end) if end <= LINE_BYTES_MAX => Piece::Line {
                len: end - usize::from(unread[..end].ends_with(b"\r")),
                taken: end + 1,
                is_cut: false,
            },
            _ if unread.len() > LINE_BYTES_MAX => {
                self.is_cut = true;
                Piece::Line {
                    len: LINE_BYTES_MAX,
                    taken: LINE_BYTES_MAX,
                    is_cut: true,
                }
            }
            _ => {
                self.searched = unread.len();
                return Piece::Nothing;
            }
        };
        self.searched = 0;
        piece
    }

    /// What is left when nothing more comes: a last line without its end.
    pub(super) fn last(&mut self, unread: &[u8]) -> Piece {
        self.searched = 0;
        match (unread.len(), self.is_cut) {
            (0, _) => Piece::Nothing,
            (len, true) => Piece::Dropped(len),
            (len, false) => Piece::Line {
                len,
                taken: len,
                is_cut: false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a text that comes in pieces of so many bytes.
    fn lines(text: &[u8], at_once: usize) -> Vec<(usize, bool)> {
        let (mut incoming, mut unread, mut lines) = (Incoming::default(), Vec::new(), Vec::new());
        for piece in text.chunks(at_once) {
            unread.extend_from_slice(piece);
            loop {
                match incoming.next(&unread) {
                    Piece::Nothing => break,
                    Piece::Line { len, taken, is_cut } => {
                        lines.push((len, is_cut));
                        unread.drain(..taken);
                    }
                    Piece::Dropped(taken) => drop(unread.drain(..taken)),
                }
            }
        }
        if let Piece::Line { len, .. } = incoming.last(&unread) {
            lines.push((len, false));
        }
        lines
    }

    #[test]
    fn lines_are_the_same_however_they_come() {
        let text = b"one\ntwo\r\n\n\xff\nlast";
        for at_once in 1..text.len() {
            let expected = [3, 3, 0, 1, 4].map(|len| (len, false));
            assert_eq!(lines(text, at_once), expected, "{at_once}");
        }
    }

    #[test]
    fn a_line_without_end_is_cut_and_what_follows_it_is_heard() {
        let mut text = vec![b'x'; 3 * LINE_BYTES_MAX];
        text.extend_from_slice(b"\nnext\n");
        for at_once in [1 << 10, 1 << 16, 1 << 20] {
            assert_eq!(lines(&text, at_once), [(LINE_BYTES_MAX, true), (4, false)]);
        }
    }
}
