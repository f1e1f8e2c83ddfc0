//! How a line looks on a terminal.

use crate::wire::neutralise;

/// What is known of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Look {
    /// It was said, and begins with so many bytes of a name.
    Said(usize),
    /// A name is in it, between these bytes.
    Named { from: usize, to: usize },
    /// The server says it.
    Notice,
}

/// Colours that can be read on black and on white, less the red of errors.
const COLOURS: [u8; 9] = [32, 33, 35, 36, 92, 93, 94, 95, 96];

/// Rings the terminal's bell.
pub(super) const BELL: &str = "\x07";

const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// The line as it is shown, its end included.
pub(super) fn styled(line: &[u8], look: Look, colours: bool) -> String {
    let mut shown = String::with_capacity(line.len() + 16);
    let (from, to) = match look {
        Look::Said(to) => (0, to),
        Look::Named { from, to } => (from, to),
        Look::Notice => (0, 0),
    };
    let to = to.min(line.len());
    let (before, rest) = line.split_at(from.min(to));
    let (name, text) = rest.split_at(to - from.min(to));
    let mut marked = |mark: &str, part: &[u8]| {
        if colours && !mark.is_empty() && !part.is_empty() {
            shown.push_str(mark);
            shown.push_str(&disarmed(part));
            shown.push_str(PLAIN);
        } else {
            shown.push_str(&disarmed(part));
        }
    };
    marked(DIM, before);
    marked(&format!("\x1b[{}m", colour(name)), name);
    marked(if look == Look::Notice { DIM } else { "" }, text);
    shown.push('\n');
    shown
}

/// A remark of our own: neither a name nor a notice begins with a dash.
pub(super) fn remark(text: &str, colours: bool) -> String {
    let text = disarmed(text.as_bytes());
    if colours {
        format!("{DIM}-- {text}{PLAIN}\n")
    } else {
        format!("-- {text}\n")
    }
}

/// Nothing in it that acts on a terminal.
fn disarmed(text: &[u8]) -> String {
    let mut safe = Vec::with_capacity(text.len());
    neutralise(text, &mut safe);
    String::from_utf8(safe).expect("what acts, and what is not UTF-8, was replaced")
}

/// The same for the same name, whatever its case (FNV-1a).
fn colour(name: &[u8]) -> u8 {
    let hash = name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3)
    });
    let at = usize::try_from(hash >> 32).unwrap_or(0) % COLOURS.len();
    COLOURS[at]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_comes_acts_on_a_terminal_but_our_own_marks() {
        let hostile =
            "eva\x1b[2J: \x1b]0;title\x07 \u{9b}31m \u{202e}txt\u{2028}\r\x08 \x7f".as_bytes();
        for look in [
            Look::Said(3),
            Look::Said(7),
            Look::Said(999),
            Look::Named { from: 5, to: 9 },
            Look::Named { from: 9, to: 5 },
            Look::Notice,
        ] {
            for colours in [false, true] {
                let shown = styled(hostile, look, colours);
                let ours = [DIM, PLAIN].into_iter().map(str::to_owned);
                let ours = ours.chain(COLOURS.map(|colour| format!("\x1b[{colour}m")));
                let rest = ours.fold(shown.clone(), |rest, mark| rest.replace(&mark, ""));
                let rest = rest.strip_suffix('\n').unwrap();
                assert!(
                    !rest.chars().any(crate::wire::acts_on_a_terminal),
                    "{shown:?}"
                );
                assert!(rest.contains("]0;title"), "{shown:?}");
            }
        }
    }

    #[test]
    fn a_name_has_a_colour_of_its_own_whatever_its_case() {
        assert_eq!(colour(b"eva"), colour(b"EVA"));
        let names = [&b"eva"[..], b"bob", b"guest-1", b"guest-2", b"ann", b"li"];
        let mut colours: Vec<u8> = names.map(colour).to_vec();
        colours.sort_unstable();
        colours.dedup();
        assert!(colours.len() >= 3, "{colours:?}");
        assert_eq!(
            styled("eva: 你好".as_bytes(), Look::Said(3), true),
            format!("\x1b[{}meva\x1b[0m: 你好\n", colour(b"eva"))
        );
        assert_eq!(
            styled(b"~ eva waves", Look::Named { from: 2, to: 5 }, true),
            format!("\x1b[2m~ \x1b[0m\x1b[{}meva\x1b[0m waves\n", colour(b"eva"))
        );
        assert_eq!(styled(b"* x", Look::Notice, false), "* x\n");
    }
}
