use std::borrow::Cow;

use encoding_rs::GBK;

use crate::service::Encoding;
use crate::wire::encode_gbk;

/// A request as the shell is given it, or `None` when its bytes are not in the encoding.
///
/// What cannot be decoded is not run by guess. UTF-8 is not checked: the shell takes bytes, and a
/// file may have a name that is not UTF-8.
pub(super) fn decode(encoding: Encoding, request: &[u8]) -> Option<Cow<'_, [u8]>> {
    match encoding {
        Encoding::Utf8 => Some(Cow::Borrowed(request)),
        Encoding::Gbk => {
            let text = GBK.decode_without_bom_handling_and_without_replacement(request)?;
            Some(match text {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            })
        }
    }
}

/// Puts what a command writes into the encoding of the endpoint, however it is cut.
///
/// To GBK: bytes that are not UTF-8 pass unchanged, since a file that is GBK already, or an image,
/// must arrive as it is; a character that GBK lacks becomes `?`.
#[derive(Debug)]
pub(super) struct Encoder {
    encoding: Encoding,
    /// The beginning of a character whose end has not come: at most three bytes.
    half: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(encoding: Encoding) -> Encoder {
        Encoder {
            encoding,
            half: Vec::new(),
        }
    }

    /// Output all at once.
    pub(super) fn whole(encoding: Encoding, output: Vec<u8>) -> Vec<u8> {
        if encoding == Encoding::Utf8 {
            return output;
        }
        let mut encoder = Encoder::new(encoding);
        let mut encoded = encoder.encode(&output).into_owned();
        encoded.append(&mut encoder.finish());
        encoded
    }

    /// The next piece of output.
    pub(super) fn encode<'b>(&mut self, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        if self.encoding == Encoding::Utf8 {
            return Cow::Borrowed(bytes);
        }
        let mut joined = std::mem::take(&mut self.half);
        let bytes = if joined.is_empty() {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            &joined
        };
        let mut encoded = Vec::with_capacity(bytes.len());
        let mut left = bytes.len();
        for chunk in bytes.utf8_chunks() {
            let invalid = chunk.invalid();
            left -= chunk.valid().len() + invalid.len();
            encode_gbk(chunk.valid(), &mut encoded);
            if left == 0 && may_be_completed(invalid) {
                self.half = invalid.to_vec();
            } else {
                encoded.extend_from_slice(invalid);
            }
        }
        Cow::Owned(encoded)
    }

    /// What is left when no more comes.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.half)
    }
}

fn may_be_completed(invalid: &[u8]) -> bool {
    std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "你好 hello 👋 中文";
    const GBK_TEXT: &[u8] = b"\xc4\xe3\xba\xc3 hello ? \xd6\xd0\xce\xc4";

    #[test]
    fn text_becomes_gbk_however_it_is_cut() {
        for cut in 0..=TEXT.len() {
            let (head, tail) = TEXT.as_bytes().split_at(cut);
            let mut encoder = Encoder::new(Encoding::Gbk);
            let mut encoded = encoder.encode(head).into_owned();
            encoded.extend_from_slice(&encoder.encode(tail));
            encoded.extend(encoder.finish());
            assert_eq!(encoded, GBK_TEXT, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_not_utf_8_passes_unchanged() {
        for bytes in [&b"\xff\xfe\0"[..], b"\xc4\xe3\xba\xc3", b"a\xe4\xbd"] {
            assert_eq!(Encoder::whole(Encoding::Gbk, bytes.to_vec()), bytes);
            assert_eq!(Encoder::whole(Encoding::Utf8, bytes.to_vec()), bytes);
        }
    }

    #[test]
    fn a_request_that_is_not_gbk_is_not_guessed() {
        let decoded = decode(Encoding::Gbk, b"echo \xc4\xe3\xba\xc3");
        assert_eq!(decoded.as_deref(), Some("echo 你好".as_bytes()));
        assert_eq!(decode(Encoding::Gbk, b"echo \xff"), None);
        assert!(decode(Encoding::Utf8, b"echo \xff").is_some());
    }
}
