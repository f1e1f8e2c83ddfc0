//! Where a JSON object ends, and how one is written.

use serde::Serialize;

use crate::wire::object::malformed;
use crate::wire::{Encode, HEADER_BYTES_MAX, LENGTH_BYTES, Prefix, WireError};

/// Finds the end of an object that is glued to other bytes; looks at no byte twice.
#[derive(Debug, Clone, Default)]
pub(super) struct Scan {
    /// How many bytes were looked at.
    seen: usize,
    depth: u32,
    in_string: bool,
    escaped: bool,
    has_ended: bool,
}

impl Scan {
    pub(super) const fn new() -> Scan {
        Scan {
            seen: 0,
            depth: 0,
            in_string: false,
            escaped: false,
            has_ended: false,
        }
    }

    /// How long the object is with which `bytes` begin, if all of it is there.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, WireError> {
        if self.has_ended {
            return Ok(Some(self.seen));
        }
        let window = &bytes[..bytes.len().min(HEADER_BYTES_MAX)];
        while let Some(&byte) = window.get(self.seen) {
            if self.depth == 0 && byte != b'{' {
                return Err(malformed("a header is a JSON object"));
            }
            self.seen += 1;
            if self.step(byte) {
                self.has_ended = true;
                return Ok(Some(self.seen));
            }
        }
        if self.seen >= HEADER_BYTES_MAX {
            return Err(WireError::TooLong {
                what: "header",
                len: bytes.len() as u64,
                max: HEADER_BYTES_MAX as u64,
            });
        }
        Ok(None)
    }

    /// Whether this byte is the last of the object.
    fn step(&mut self, byte: u8) -> bool {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_string => self.escaped = true,
            b'"' => self.in_string = !self.in_string,
            _ if self.in_string => {}
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth -= 1;
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}

/// Appends a header that fits.
pub(super) fn encode(header: &impl Serialize, out: &mut Vec<u8>) -> Result<(), WireError> {
    let json = serde_json::to_vec(header).expect("strings and numbers make JSON");
    if json.len() > HEADER_BYTES_MAX {
        return Err(WireError::TooLong {
            what: "header",
            len: json.len() as u64,
            max: HEADER_BYTES_MAX as u64,
        });
    }
    out.reserve(LENGTH_BYTES + json.len());
    Prefix::new(json.len())
        .expect("it was measured")
        .encode(out);
    out.extend_from_slice(&json);
    Ok(())
}
