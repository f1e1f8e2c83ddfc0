use serde::Serialize;

use crate::wire::headed::{Body, append_header};
use crate::wire::object::Object;
use crate::wire::{Decode, Prefixed, WireError};

/// How many bytes of JSON a header of C5 may have, its length's four not counted: the largest length whose
/// third and fourth byte are NUL, by which a request is told from a line.
pub const STREAM_HEADER_BYTES_MAX: usize = 0xffff;

/// How many bytes one frame of input or output may carry: 4 MiB, the most that a server reads at once. They
/// are handed on as they come and never held whole.
pub const STREAM_CHUNK_BYTES_MAX: u64 = 4 << 20;

/// What is in no byte of a length: in the first two of a connection it would be the end of a line.
const NEWLINE: usize = b'\n' as usize;

/// The first byte of a request that runs something. If the connection breaks right behind it, or a server waits no
/// longer for more, it is a line, which a shell takes for a comment.
const COMMENT: usize = b'#' as usize;

/// Takes headers, and the bytes that belong to them, off the front.
#[derive(Debug, Clone)]
pub(super) struct Frames {
    header: Prefixed,
    body: Body,
}

/// What the next bytes are.
pub(super) enum Piece<'b> {
    Header(Object),
    /// Of what belongs to the last header; the rest comes.
    Data(&'b [u8]),
}

impl Frames {
    pub(super) const fn new() -> Frames {
        Frames {
            header: Prefixed::named("header", STREAM_HEADER_BYTES_MAX),
            body: Body::none(),
        }
    }

    /// So many bytes belong to the header that was just taken.
    pub(super) fn expect(&mut self, bytes: u64) {
        self.body = Body::of(bytes);
    }

    /// Whether all that belongs to the last header has come.
    pub(super) fn is_whole(&self) -> bool {
        self.body.is_whole()
    }

    pub(super) fn next<'b>(
        &mut self,
        unread: &'b [u8],
    ) -> Result<Option<(Piece<'b>, usize)>, WireError> {
        if let Some(data) = self.body.next(unread) {
            return Ok((!data.is_empty()).then_some((Piece::Data(data), data.len())));
        }
        let Some((json, taken)) = self.header.decode(unread)? else {
            return Ok(None);
        };
        Ok(Some((Piece::Header(Object::parse(json)?), taken)))
    }
}

/// Appends a header that fits.
pub(super) fn encode(header: &impl Serialize, out: &mut Vec<u8>) {
    let json = serde_json::to_vec(header).expect("strings and numbers make JSON");
    append(&json, out).expect("what can be long was measured");
}

/// Appends a header with which a connection may begin, or nothing if it is longer than may be.
///
/// Space behind the object is JSON too, so its length can be chosen; the last of it is a newline, so that a server
/// that knows lines alone has a whole one, which it refuses on account of its NUL bytes.
pub(super) fn encode_first(header: &impl Serialize, out: &mut Vec<u8>) -> Result<(), WireError> {
    let mut json = serde_json::to_vec(header).expect("strings and numbers make JSON");
    loop {
        let len = json.len() + 1;
        if len & 0xff == COMMENT && len >> 8 != NEWLINE {
            break;
        }
        json.push(b' ');
    }
    json.push(b'\n');
    append(&json, out)
}

fn append(json: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
    append_header(json, STREAM_HEADER_BYTES_MAX, out)
}
