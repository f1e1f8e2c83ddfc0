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

/// Neither a length nor the first bytes of a frame are all of this.
fn is_text(byte: &u8) -> bool {
    byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
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
    let begins_as = |other: &[u8]| {
        !unread.is_empty() && (unread.starts_with(other) || other.starts_with(unread))
    };
    let is_garbled = matches!(error, ClientError::Wire { .. });
    let what = if begins_as(request) {
        "it sends back what it is sent, as an echo server does".to_owned()
    } else if begins_as(&request.to_ascii_uppercase()) {
        "it sends back what it is sent in capitals, as `upper` does".to_owned()
    } else if is_garbled && unread.len() >= 4 && unread[..4].iter().all(is_text) {
        let shown = &unread[..unread.len().min(SHOWN_BYTES)];
        format!("it sends text, {:?}", Escaped(shown))
    } else {
        return error;
    };
    ClientError::NotCommands {
        address: line.address().to_owned(),
        what,
    }
}
