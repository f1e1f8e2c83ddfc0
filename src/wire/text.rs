//! Making bytes from a peer safe to show.
//!
//! Knows which bytes and characters make a terminal, a log or a line-oriented reader do something
//! other than show a character. Does not know what is shown to which reader. Two ways, for two readers:
//! [`Escaped`] for logs loses nothing and says exactly what came; [`neutralise`] for chat leaves
//! text as text and puts U+FFFD where something would have acted.

use std::fmt::{self, Write};

/// What stands where something could not be shown: the replacement character, in UTF-8.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// Bytes from a peer on one line of a log, with nothing in it that acts.
///
/// Valid UTF-8 is shown as it is, except that these are escaped: the backslash (as `\\`, so that no
/// peer can write something that looks like an escape), control characters below 0x80 and DEL (as
/// `\x1b`), C1 controls, line and paragraph separators, and characters that reorder or hide text:
/// bidi marks, embeddings, overrides and isolates, zero-width ones, and tags (as `\u{202e}`). Each
/// byte that is not UTF-8 is `\xff`. The outcome is at most 4 bytes for one that came, so bound what
/// is logged before.
///
/// ```
/// use onepoll::wire::Escaped;
///
/// let nick = b"eva\x1b[2J\n\xff \xe2\x80\xaetxt \xe4\xbd\xa0";
/// assert_eq!(Escaped(nick).to_string(), "eva\\x1b[2J\\x0a\\xff \\u{202e}txt 你");
/// ```
#[derive(Clone, Copy)]
pub struct Escaped<'b>(pub &'b [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for part in chunk.valid().split_inclusive(must_escape) {
                let last = part.chars().next_back().filter(|&c| must_escape(c));
                let shown = part.len() - last.map_or(0, char::len_utf8);
                f.write_str(&part[..shown])?;
                match last {
                    None => {}
                    Some('\\') => f.write_str("\\\\")?,
                    Some(c) if c.is_ascii() => write!(f, "\\x{:02x}", u32::from(c))?,
                    Some(c) => write!(f, "\\u{{{:x}}}", u32::from(c))?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// As shown, between quotes: what a log's `{:?}` prints is safe as well.
impl fmt::Debug for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        fmt::Display::fmt(self, f)?;
        f.write_char('"')
    }
}

/// Appends one line of chat to `out` so that no terminal acts on it.
///
/// Valid UTF-8 stays as it is: CJK, emoji with their joiners, combining marks, right-to-left text
/// and its marks. Replaced by U+FFFD, one for each:
/// - sequences that are not UTF-8 (surrogates and overlong ones too), by the same rule as Python's
///   `decode("utf-8", "replace")`;
/// - control characters: C0 except the tab, DEL, and C1;
/// - U+2028 and U+2029, and with the controls all that Python's `splitlines` takes for the end of a
///   line;
/// - bidi embeddings, overrides and isolates, which would reorder what stands beside them.
///
/// Replaced and not dropped, so that a reader sees that something was there and two different
/// lines do not become the same one by an invisible character.
///
/// At most 3 bytes are appended for one that came.
///
/// ```
/// let mut line = b"eva: ".to_vec();
/// onepoll::wire::neutralise("你好 \x1b[31mred 👋".as_bytes(), &mut line);
/// assert_eq!(line, "eva: 你好 \u{fffd}[31mred 👋".as_bytes());
/// ```
pub fn neutralise(bytes: &[u8], out: &mut Vec<u8>) {
    if is_plain_ascii(bytes) {
        out.extend_from_slice(bytes);
        return;
    }
    for chunk in bytes.utf8_chunks() {
        neutralise_text(chunk.valid(), out);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(REPLACEMENT);
        }
    }
}

/// Printable ASCII and tabs only.
///
/// This is what a chat does with every line, so it is one pass without a branch on the bytes, which
/// the compiler turns into vector instructions; a search that stops early would not be.
fn is_plain_ascii(bytes: &[u8]) -> bool {
    let acts = |byte: u8| (byte < 0x20) & (byte != b'\t') | (byte >= 0x7f);
    !bytes.iter().fold(false, |any, &byte| any | acts(byte))
}

fn neutralise_text(text: &str, out: &mut Vec<u8>) {
    // In valid UTF-8 whatever must go is a C0 control, DEL, or begins with 0xC2 (C1) or 0xE2 (the
    // rest). CJK and emoji begin otherwise, so most text is seen to be harmless by its bytes.
    let suspect = |byte: u8| {
        (byte < 0x20) & (byte != b'\t') | (byte == 0x7f) | (byte == 0xc2) | (byte == 0xe2)
    };
    if !text.bytes().fold(false, |any, byte| any | suspect(byte)) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    for part in text.split_inclusive(must_neutralise) {
        match part.chars().next_back().filter(|&c| must_neutralise(c)) {
            None => out.extend_from_slice(part.as_bytes()),
            Some(c) => {
                out.extend_from_slice(&part.as_bytes()[..part.len() - c.len_utf8()]);
                out.extend_from_slice(REPLACEMENT);
            }
        }
    }
}

/// Whether a terminal would do something with it, or show what is around it otherwise than it is.
pub(crate) fn acts_on_a_terminal(c: char) -> bool {
    c.is_control() || ends_line(c) || reorders(c)
}

fn must_neutralise(c: char) -> bool {
    c != '\t' && acts_on_a_terminal(c)
}

fn must_escape(c: char) -> bool {
    c == '\\' || acts_on_a_terminal(c) || hides(c)
}

/// Line and paragraph separator.
fn ends_line(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}')
}

/// Bidi embeddings and overrides, then isolates, each with what ends them.
fn reorders(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Takes no room: zero-width characters, bidi marks, joiners, invisible operators, the byte order
/// mark, interlinear annotation, and tags.
fn hides(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2060}'..='\u{2065}'
            | '\u{206a}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of it are copied whole; what is taken for something else is only slower.
    #[test]
    fn what_a_keyboard_types_is_plain() {
        for byte in 0..=u8::MAX {
            let line = [b"plain words".as_slice(), &[byte]].concat();
            let is_plain = byte == b'\t' || (b' '..=b'~').contains(&byte);
            assert_eq!(is_plain_ascii(&line), is_plain, "{byte:#04x}");
        }
    }
}
