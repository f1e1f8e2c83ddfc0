//! What several subcommands need: durations as they are typed, results as they are printed.

use std::io::{self, Write};
use std::time::Duration;

use crate::wire::neutralise;

/// `500ms`, `10s`, `1m 30s`; a bare number is seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    parsed
        .ok_or_else(|| "write a duration such as 500ms, 10s, 1m, or a number of seconds".to_owned())
}

/// Writes one result and a newline to standard output.
pub(super) fn print(result: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(result)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// What a peer sent, with everything disarmed that a terminal would act on but line ends and tabs.
pub(super) fn for_terminal(bytes: &[u8]) -> Vec<u8> {
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
        let safe = for_terminal(b"a\tb\n\x1b[2Jc\n");
        assert_eq!(safe, "a\tb\n\u{fffd}[2Jc\n".as_bytes());
    }

    #[test]
    fn durations_as_they_are_typed() {
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        for wrong in ["", "-1", "NaN", "inf", "1e300", "soon"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
