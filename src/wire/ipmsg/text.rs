use encoding_rs::GB18030;

use crate::wire::encode_gbk;

/// How the text of a packet is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IpmsgEncoding {
    /// UTF-8, and says so.
    Utf8,
    /// The code page of China: GBK when it is written, GB18030, which contains it, when it is read.
    Gbk,
}

impl IpmsgEncoding {
    /// Its name, as iptux writes it behind an entry.
    pub fn name(self) -> &'static str {
        match self {
            IpmsgEncoding::Utf8 => "utf-8",
            IpmsgEncoding::Gbk => "gbk",
        }
    }

    /// The one of this name, if it is one of these.
    pub fn named(name: &[u8]) -> Option<IpmsgEncoding> {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        if is("utf-8") || is("utf8") {
            Some(IpmsgEncoding::Utf8)
        } else if is("gbk") || is("gb2312") || is("gb18030") {
            Some(IpmsgEncoding::Gbk)
        } else {
            None
        }
    }

    /// Text in this encoding. What GBK lacks becomes `?`.
    pub fn encode(self, text: &str) -> Vec<u8> {
        match self {
            IpmsgEncoding::Utf8 => text.as_bytes().to_vec(),
            IpmsgEncoding::Gbk => {
                let mut out = Vec::with_capacity(text.len());
                encode_gbk(text, &mut out);
                out
            }
        }
    }
}

/// The text that these bytes are, and the encoding they turned out to be in.
///
/// What is flagged as UTF-8 is that, and so is what is valid UTF-8, flagged or not: a text of GBK is that by chance
/// only when it is very short. Everything else is read as GB18030. What cannot be read is U+FFFD: also half a
/// character where a program cut its text at 1,024 bytes (fault C2). The end of a text is not touched, and new lines
/// are LF, as in the protocol.
///
/// ```
/// use onepoll::wire::{IpmsgEncoding, ipmsg_text};
///
/// assert_eq!(ipmsg_text(b"\xc4\xe3\xba\xc3", false), ("你好".into(), IpmsgEncoding::Gbk));
/// assert_eq!(ipmsg_text("你好".as_bytes(), false), ("你好".into(), IpmsgEncoding::Utf8));
/// ```
pub fn ipmsg_text(bytes: &[u8], is_utf8: bool) -> (String, IpmsgEncoding) {
    if is_utf8 {
        let text = String::from_utf8_lossy(bytes).into_owned();
        return (text, IpmsgEncoding::Utf8);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), IpmsgEncoding::Utf8),
        Err(_) => {
            let (text, _) = GB18030.decode_without_bom_handling(bytes);
            (text.into_owned(), IpmsgEncoding::Gbk)
        }
    }
}
