//! Servers that were taken for servers of TLS.

use crate::wire::Escaped;

/// How much is shown of what is no TLS.
const SHOWN_BYTES_MAX: usize = 24;

/// The types of a record that a server may begin with: an alert, or a message of the handshake (RFC 8446, 5.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

/// The type of the first message of a client, which no server sends, but one that sends back what it receives.
const CLIENT_HELLO: u8 = 1;

/// What to say of a server whose first bytes show that it speaks no TLS, and what to do about it; none if they are those
/// of a record.
pub(super) fn plain_answer(first: &[u8], remedy: &str) -> Option<String> {
    let why = match *first {
        [] => return None,
        [HANDSHAKE, _, _, _, _, CLIENT_HELLO, ..] => "it sends back what it receives".to_owned(),
        [ALERT | HANDSHAKE, ..] => return None,
        _ => {
            let shown = Escaped(&first[..first.len().min(SHOWN_BYTES_MAX)]);
            format!("its answer begins with \"{shown}\"")
        }
    };
    Some(format!(
        "the server seems to speak no TLS, since {why}; {remedy}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_server_of_tls_begins_with_is_shown() {
        for bytes in [
            &b""[..],
            &[22],
            &[22, 3, 3, 0, 122],
            &[22, 3, 3, 0, 122, 2],
            &[21, 3, 3, 0, 2, 2, 40],
        ] {
            assert_eq!(plain_answer(bytes, ""), None, "{bytes:?}");
        }
        // A server that echoes, and one that greets.
        let echoed = plain_answer(&[22, 3, 1, 0, 240, 1, 0], "").unwrap();
        assert!(echoed.contains("sends back what it receives"), "{echoed}");
        let greeted = plain_answer(b"* you are guest-1, a name of your own", "write x").unwrap();
        assert!(
            greeted.contains("\"* you are guest-1, a nam\""),
            "{greeted}"
        );
    }
}
