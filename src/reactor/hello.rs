/// The first byte of a TLS record of the handshake.
const HANDSHAKE: u8 = 22;

/// Whether these bytes begin as the first record of a TLS client does (RFC 8446, 5.1 and 4): for the log of
/// an endpoint without TLS, which would else serve it as if a client had meant that.
#[inline]
pub(super) fn is_client_hello(bytes: &[u8]) -> bool {
    // Nearly every time one byte tells.
    matches!(bytes.first(), Some(&HANDSHAKE)) && is_whole_hello(bytes)
}

#[cold]
fn is_whole_hello(bytes: &[u8]) -> bool {
    // A record of SSL 3 to TLS 1.3, and in it the message of type 1, which ends within that record.
    matches!(*bytes, [HANDSHAKE, 3, 0..=4, high, low, 1, 0, len_high, len_low, ..]
        if u16::from_be_bytes([len_high, len_low]) < u16::from_be_bytes([high, low]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_hello_is_told_from_other_bytes() {
        let hello = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, 7];
        assert!(is_client_hello(&hello));
        for at in [0, 1, 5, 6] {
            let mut other = hello;
            other[at] ^= 8;
            assert!(!is_client_hello(&other), "{at}");
        }
        assert!(!is_client_hello(b""));
        assert!(!is_client_hello(&hello[..8]));
        assert!(!is_client_hello(b"\x16 is a control character"));
    }
}
