//! What a line of a chat is.

use crate::cli::conversation::Look;

/// How a line looks: who says it, or that the server does.
pub(super) fn look(line: &[u8]) -> Look {
    if line.starts_with(b"* ") {
        return Look::Notice;
    }
    let end = line
        .iter()
        .position(|byte| matches!(byte, b':' | b' '))
        .unwrap_or(0);
    Look::Said(end)
}

/// Whether somebody says this name, as a word of its own.
pub(super) fn is_said(name: &str, line: &[u8]) -> bool {
    let Look::Said(end) = look(line) else {
        return false;
    };
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    line[end..]
        .split(|byte| !is_of_name(byte))
        .any(|word| word.eq_ignore_ascii_case(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_said_as_a_word_of_its_own_by_somebody() {
        for line in ["bob: hi eva", "bob: Eva, look", "bob (private): (eva)"] {
            assert!(is_said("eva", line.as_bytes()), "{line}");
        }
        for line in ["bob: evaluate", "eva: hi", "* eva joined", "bob: eva-2"] {
            assert!(!is_said("eva", line.as_bytes()), "{line}");
        }
    }
}
