//! What a server tells the person behind its `talk` endpoints: lines, each with a mark that says whose it is.
//!
//! Knows marks and lines. Does not know connections, nor a screen.

use std::io::Write as _;

use super::{Encode, neutralise};

/// A line for the person. What they type comes back as lines without a mark: `q` or `Q` alone hangs up on the peer.
///
/// ```
/// use onepoll::wire::{AttachedNews, Encode};
///
/// let mut out = Vec::new();
/// AttachedNews::Said(b"two\nlines \x1b[2J").encode(&mut out);
/// assert_eq!(out, "< two\n< lines \u{fffd}[2J\n".as_bytes());
/// assert_eq!(AttachedNews::of(b"+ 127.0.0.1:5000"), Some(AttachedNews::Called("127.0.0.1:5000")));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachedNews<'b> {
    /// `+ PEER`: it has called, and is heard from now on.
    Called(&'b str),
    /// `< TEXT`: it said this; each line of it is one here, with nothing in it that acts on a terminal.
    Said(&'b [u8]),
    /// `- SENTENCE`: the conversation is over.
    Over(&'b str),
    /// `* SENTENCE`: the server says it.
    Notice(&'b str),
    /// `! REASON`: whoever attaches is turned away.
    Refused(&'b str),
}

impl<'b> AttachedNews<'b> {
    /// What a line, without its end, says; none: it is none of these.
    pub fn of(line: &'b [u8]) -> Option<AttachedNews<'b>> {
        let (mark, rest) = line.split_at_checked(2)?;
        if mark == b"< " {
            return Some(AttachedNews::Said(rest));
        }
        let text = std::str::from_utf8(rest).ok()?;
        Some(match mark {
            b"+ " => AttachedNews::Called(text),
            b"- " => AttachedNews::Over(text),
            b"* " => AttachedNews::Notice(text),
            b"! " => AttachedNews::Refused(text),
            _ => return None,
        })
    }
}

impl Encode for AttachedNews<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        let (mark, text) = match self {
            AttachedNews::Said(said) => {
                for line in said.split(|byte| *byte == b'\n') {
                    out.extend_from_slice(b"< ");
                    neutralise(line.strip_suffix(b"\r").unwrap_or(line), out);
                    out.push(b'\n');
                }
                return;
            }
            AttachedNews::Called(text) => ('+', text),
            AttachedNews::Over(text) => ('-', text),
            AttachedNews::Notice(text) => ('*', text),
            AttachedNews::Refused(text) => ('!', text),
        };
        writeln!(out, "{mark} {text}").expect("memory takes every byte");
    }
}
