//! What answers in place of a command server, or why a command server does not.

use super::ClientError;
use super::connection::ClientConnection;
use crate::wire::Escaped;

/// The reason in the one line that a server of ours has to say: `onepoll: reason`.
pub(super) fn notice(output: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(output).ok()?;
    let reason = text.strip_prefix("onepoll: ")?.strip_suffix('\n')?;
    (!reason.contains('\n')).then(|| reason.to_owned())
}

/// Neither a length, the first bytes of a frame, nor a challenge, which is random, is all of this.
fn is_text(bytes: &[u8]) -> bool {
    let (text, is_whole) = match std::str::from_utf8(bytes) {
        Ok(text) => (text, true),
        Err(error) => {
            // A character may be cut at the end.
            let text = &bytes[..error.valid_up_to()];
            (
                std::str::from_utf8(text).unwrap_or_default(),
                error.error_len().is_none(),
            )
        }
    };
    let is_shown = |c: char| !c.is_control() || matches!(c, '\t' | '\r' | '\n');
    is_whole && text.chars().all(is_shown)
}

/// What was asked instead of a command server, where what it said in answer tells.
pub(super) fn no_command_server(
    line: &ClientConnection,
    request: &[u8],
    error: ClientError,
) -> ClientError {
    /// How much of it is shown.
    const SHOWN_BYTES: usize = 40;
    let unread = line.unread();
    let shown = &unread[..unread.len().min(SHOWN_BYTES)];
    let begins_as = |other: &[u8]| {
        !unread.is_empty() && (unread.starts_with(other) || other.starts_with(unread))
    };
    let is_garbled = matches!(error, ClientError::Wire { .. });
    let what = if begins_as(request) {
        "it sends back what it is sent, as an echo server does".to_owned()
    } else if begins_as(&request.to_ascii_uppercase()) {
        "it sends back what it is sent in capitals, as `upper` does".to_owned()
    } else if is_garbled && unread.len() >= 4 && is_text(shown) {
        format!("it sends text, {:?}", Escaped(shown))
    } else {
        return error;
    };
    ClientError::NotCommands {
        address: line.address().to_owned(),
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_that_begins_with_four_letters_is_no_text() {
        assert!(is_text(b"220 mail.example ready\r\n"));
        assert!(is_text("220 Gr\u{fc}ezi".as_bytes()));
        // A character that is cut, as by the end of what is shown.
        assert!(is_text(b"220 Gr\xc3"));
        assert!(!is_text(b"AbCd\x8f\x01\xee\x17"));
        assert!(!is_text(b"AbCd\x1b[2J"));
        assert!(!is_text(b"\0\0\0\x04"));
    }
}
