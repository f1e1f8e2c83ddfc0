//! What a terminal may be shown of what a peer sent.

use crate::wire::neutralise;

/// Everything disarmed that a terminal would act on, but line ends and tabs.
pub(super) fn safe_to_show(bytes: &[u8]) -> Vec<u8> {
    let mut safe = Vec::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let (text, end) = match line.strip_suffix(b"\n") {
            Some(text) => (text, &b"\n"[..]),
            None => (line, &b""[..]),
        };
        neutralise(text, &mut safe);
        safe.extend_from_slice(end);
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_keeps_lines_and_tabs_and_nothing_else() {
        let safe = safe_to_show(b"a\tb\n\x1b[2Jc\n");
        assert_eq!(safe, "a\tb\n\u{fffd}[2Jc\n".as_bytes());
    }
}
