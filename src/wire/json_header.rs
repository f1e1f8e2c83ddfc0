//! A JSON header behind an `i32` length, and what C4's header says.
//!
//! Knows the header: its length, its limit, its fields. Does not know the bytes that follow it:
//! the reader counts off `data_size` of them itself, since they may be too many to hold.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Decode, Encode, Escaped, Prefix, Prefixed, WireError, md5_hex};

/// How many bytes of JSON a header may have: 4 KiB, its length's four not counted.
///
/// A file name of 255 bytes, two digests and what clients add of their own come to about 1 KiB;
/// the limit also keeps nesting harmless, which `serde_json` stops at a depth of 128.
pub const HEADER_BYTES_MAX: usize = 4 * 1024;

/// How many bytes of [`CommandHeader::error`] are sent.
///
/// JSON writes one byte as six at worst (`\u0000`), so this much always leaves a quarter of
/// [`HEADER_BYTES_MAX`] for the other fields.
pub const ERROR_BYTES_MAX: usize = HEADER_BYTES_MAX / 8;

/// How the reason begins when the time of a command was over; how much it had follows.
pub const TIMEOUT_REASON: &str = "timeout after ";

/// Takes a JSON header off the front as a `T`.
///
/// # Errors
///
/// [`WireError::Negative`] and [`WireError::TooLong`] on the length alone, before any JSON has come;
/// [`WireError::Malformed`] when the JSON is not an object that makes a `T`: missing or repeated
/// fields, wrong types, bytes behind the object. The detail is safe to log.
#[derive(Debug, Clone)]
pub struct JsonHeader<T> {
    frame: Prefixed,
    header: PhantomData<fn() -> T>,
}

impl<T> JsonHeader<T> {
    /// A decoder of headers of at most [`HEADER_BYTES_MAX`].
    pub const fn new() -> Self {
        Self {
            frame: Prefixed::named("header", HEADER_BYTES_MAX),
            header: PhantomData,
        }
    }
}

impl<T> Default for JsonHeader<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: DeserializeOwned> Decode for JsonHeader<T> {
    type Frame<'b> = T;

    fn decode(&mut self, unread: &[u8]) -> Result<Option<(T, usize)>, WireError> {
        let Some((json, taken)) = self.frame.decode(unread)? else {
            return Ok(None);
        };
        // serde would take an array for a struct, its fields by position; no other reader would.
        if !json.trim_ascii_start().starts_with(b"{") {
            return Err(malformed("not an object".to_owned()));
        }
        match serde_json::from_slice(json) {
            Ok(header) => Ok(Some((header, taken))),
            // serde quotes what it did not like, and that came from outside.
            Err(error) => Err(malformed(Escaped(error.to_string().as_bytes()).to_string())),
        }
    }
}

fn malformed(detail: String) -> WireError {
    WireError::Malformed {
        what: "header",
        detail,
    }
}

/// What the server says about a command's output before it sends it (C4).
///
/// Encodes as `i32` length and JSON; the output follows. Decoded by
/// `JsonHeader<CommandHeader>`, which ignores fields it does not know.
///
/// ```
/// use onepoll::wire::{CommandHeader, Decode, Encode, JsonHeader};
///
/// let mut out = Vec::new();
/// CommandHeader::new(b"hello\n", Some(0), None).encode(&mut out);
/// out.extend_from_slice(b"hello\n");
///
/// let (header, taken) = JsonHeader::<CommandHeader>::new().decode(&out)?.unwrap();
/// assert_eq!(header.data_size, 6);
/// assert_eq!(&out[taken..], b"hello\n");
/// # Ok::<(), onepoll::wire::WireError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandHeader {
    /// Always `output` from us; some of the tutorials' clients print it.
    #[serde(default = "output")]
    pub filename: String,
    /// How many bytes of output follow.
    pub data_size: u64,
    /// The same: some of the tutorials' clients read this name, some the other.
    #[serde(default)]
    pub total_size: u64,
    /// MD5 of the output in lower-case hexadecimal, against accidents only.
    #[serde(default)]
    pub md5: String,
    /// The exit code, or 128 + N when signal N ended it; none when the command did not run or was
    /// out of time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// Why the command was refused, when it was. The output then is the one line that says so. The
    /// reason of a command whose time was over begins with [`TIMEOUT_REASON`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// After how many bytes the output was cut and the command killed, if it was. The last line of the
    /// output then says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<u64>,
}

impl CommandHeader {
    /// The header of `output`.
    ///
    /// `error` is cut to [`ERROR_BYTES_MAX`] at a character, so that the header always fits
    /// [`HEADER_BYTES_MAX`].
    pub fn new(output: &[u8], exit: Option<i32>, error: Option<&str>) -> Self {
        let size = u64::try_from(output.len()).unwrap_or(u64::MAX);
        Self {
            filename: self::output(),
            data_size: size,
            total_size: size,
            md5: md5_hex(output),
            exit,
            error: error.map(|text| text[..text.floor_char_boundary(ERROR_BYTES_MAX)].to_owned()),
            cut: None,
        }
    }
}

impl Encode for CommandHeader {
    fn encode(&self, out: &mut Vec<u8>) {
        let json = serde_json::to_vec(self).expect("strings and numbers are always JSON");
        debug_assert!(
            json.len() <= HEADER_BYTES_MAX,
            "a header made by new() fits"
        );
        let prefix = Prefix::new(json.len()).expect("a header of a few KiB fits an i32");
        prefix.encode(out);
        out.extend_from_slice(&json);
    }
}

fn output() -> String {
    "output".to_owned()
}
