//! Where a JSON object ends, and how one is written.

use serde::Serialize;

use crate::wire::headed::append_header;
use crate::wire::object::{Structure, malformed};
use crate::wire::{HEADER_BYTES_MAX, WireError};

/// Finds the end of an object that is glued to other bytes; looks at no byte twice.
#[derive(Debug, Clone, Default)]
pub(super) struct Scan {
    /// How many bytes were looked at.
    seen: usize,
    depth: u32,
    structure: Structure,
    has_ended: bool,
}

impl Scan {
    pub(super) const fn new() -> Scan {
        Scan {
            seen: 0,
            depth: 0,
            structure: Structure::new(),
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
            _ if !self.structure.has(byte) => {}
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
    append_header(&json, HEADER_BYTES_MAX, out)
}
