//! Where a response of HTTP/1.1 ends (RFC 9112, 6.3), however the bytes are cut.
//!
//! It does not know the request, so it cannot measure HEAD: the answer to that has a length and no body.

use httparse::{EMPTY_HEADER, Header, Response, parse_chunk_size, parse_headers};

use crate::load::measure::failures::FailureKind;

/// A head that is longer is no head.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 128;
/// The line before a chunk: a length of 16 digits, and extensions, which are hardly ever used.
const CHUNK_LINE_BYTES_MAX: usize = 4 << 10;

/// The responses on one connection.
#[derive(Debug, Default)]
pub(crate) struct Responses {
    part: Part,
    /// Of a head or a line that is not whole.
    carry: Vec<u8>,
    /// What the head said of the response that comes.
    current: Said,
    /// The statuses of those that ended in what was fed last.
    ended: Vec<Status>,
    /// Whether a response that has ended was the last on this connection.
    is_last: bool,
}

/// The status code of a response: three digits.
pub(crate) type Status = u16;

/// Whether a response says no.
pub(crate) fn is_refusal(status: Status) -> bool {
    status >= 400
}

/// What a head says besides its body's length.
#[derive(Debug, Default, Clone, Copy)]
struct Said {
    status: Status,
    /// The server ends the connection behind this response (RFC 9112, 9.3).
    closes: bool,
}

/// What comes next.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Part {
    #[default]
    Head,
    /// So many bytes more of the body.
    Body(u64),
    /// All that comes before the connection ends.
    Rest,
    /// A line with the length of the next chunk.
    ChunkLine,
    /// So many bytes more of a chunk, its line end included.
    Chunk(u64),
    /// Fields up to an empty line.
    Trailer,
}

impl Responses {
    /// How many responses end in `bytes`; an error when they are none. What comes behind the last is not looked at.
    pub(crate) fn count(&mut self, mut bytes: &[u8]) -> Result<usize, FailureKind> {
        self.ended.clear();
        loop {
            let taken = match self.part {
                Part::Body(0) => {
                    self.end();
                    if self.is_last {
                        return Ok(self.ended.len());
                    }
                    continue;
                }
                _ if bytes.is_empty() => return Ok(self.ended.len()),
                Part::Rest => return Ok(self.ended.len()),
                Part::Body(left) => {
                    let n = taken(left, bytes);
                    self.part = Part::Body(left - n as u64);
                    n
                }
                Part::Chunk(left) => {
                    let n = taken(left, bytes);
                    self.part = match left - n as u64 {
                        0 => Part::ChunkLine,
                        left => Part::Chunk(left),
                    };
                    n
                }
                Part::Head => self.head(bytes)?,
                Part::ChunkLine => self.piece(bytes, CHUNK_LINE_BYTES_MAX, chunk_line)?,
                Part::Trailer => self.piece(bytes, HEAD_BYTES_MAX, trailer)?,
            };
            bytes = &bytes[taken..];
        }
    }

    /// The statuses of the responses that ended in what was fed last, in order.
    pub(crate) fn ended(&self) -> &[Status] {
        &self.ended
    }

    /// Whether a response that has ended was the last on this connection, as the server said in it.
    pub(crate) fn is_last(&self) -> bool {
        self.is_last
    }

    /// The connection has ended, and with it the response that lasted until then.
    pub(crate) fn ended_with_the_connection(&mut self) {
        self.ended.clear();
        self.end();
    }

    fn end(&mut self) {
        self.ended.push(self.current.status);
        self.is_last |= self.current.closes;
        self.part = Part::Head;
    }

    /// Takes a head; an interim response (1xx) has no other part, and the one that counts follows.
    fn head(&mut self, bytes: &[u8]) -> Result<usize, FailureKind> {
        let mut said = Said::default();
        let taken = self.piece(bytes, HEAD_BYTES_MAX, |bytes| head(bytes, &mut said))?;
        self.current = said;
        Ok(taken)
    }

    /// Whether part of a response has come.
    pub(crate) fn is_inside(&self) -> bool {
        self.part != Part::Head || !self.carry.is_empty()
    }

    /// Whether the response lasts until the connection ends.
    pub(crate) fn last_until_the_end(&self) -> bool {
        self.part == Part::Rest
    }

    /// Takes something that must be whole to be understood; what is not is kept. A piece that came whole is
    /// read where it lies.
    fn piece(
        &mut self,
        bytes: &[u8],
        max: usize,
        parse: impl FnOnce(&[u8]) -> Parsed,
    ) -> Result<usize, FailureKind> {
        let had = self.carry.len();
        let all = if had == 0 {
            bytes
        } else {
            self.carry.extend_from_slice(bytes);
            &self.carry
        };
        let parsed = parse(all)?;
        // However it was cut, too long is too long.
        if parsed.map_or(all.len(), |(taken, _)| taken) > max {
            return Err(FailureKind::WrongAnswer);
        }
        if let Some((taken, next)) = parsed {
            self.carry.clear();
            self.part = next;
            return Ok(taken - had);
        }
        if had == 0 {
            self.carry.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }
}

/// How long a piece is and what follows it, if it is whole.
type Parsed = Result<Option<(usize, Part)>, FailureKind>;

fn taken(left: u64, bytes: &[u8]) -> usize {
    usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()))
}

fn head(bytes: &[u8], said: &mut Said) -> Parsed {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut response = Response::new(&mut headers);
    let httparse::Status::Complete(len) = response.parse(bytes).map_err(wrong)? else {
        return Ok(None);
    };
    said.status = response.code.unwrap_or(0);
    let body = match said.status {
        // An interim response; the one that counts follows.
        100..200 => return Ok(Some((len, Part::Head))),
        204 | 304 => Part::Body(0),
        200..600 => body(response.headers)?,
        _ => return Err(FailureKind::WrongAnswer),
    };
    let is_said = |option| options(response.headers).any(|one| one.eq_ignore_ascii_case(option));
    said.closes = is_said(b"close") || response.version == Some(0) && !is_said(b"keep-alive");
    Ok(Some((len, body)))
}

/// The options of the connection, of all such lines (RFC 9110, 7.6.1).
fn options<'h>(headers: &'h [Header<'h>]) -> impl Iterator<Item = &'h [u8]> {
    headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("connection"))
        .flat_map(|header| header.value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

fn body(headers: &[Header<'_>]) -> Result<Part, FailureKind> {
    let named = |name: &'static str| {
        let is_named = move |header: &&Header<'_>| header.name.eq_ignore_ascii_case(name);
        headers.iter().filter(is_named).map(|header| header.value)
    };
    // Of several such lines the last one tells, as if they were one (RFC 9110, 5.3).
    if let Some(coding) = named("transfer-encoding").next_back() {
        let last = coding.rsplit(|byte| *byte == b',').next();
        return Ok(match last.map(<[u8]>::trim_ascii) {
            Some(last) if last.eq_ignore_ascii_case(b"chunked") => Part::ChunkLine,
            _ => Part::Rest,
        });
    }
    let Some(length) = named("content-length").next() else {
        return Ok(Part::Rest);
    };
    // A sign is none of it, though `parse` would take one.
    let is_plain = length.iter().all(u8::is_ascii_digit);
    let length = std::str::from_utf8(length).ok().filter(|_| is_plain);
    let length = length.and_then(|digits| digits.parse().ok());
    length.map(Part::Body).ok_or(FailureKind::WrongAnswer)
}

fn chunk_line(bytes: &[u8]) -> Parsed {
    // A line without a digit would pass for the last chunk.
    if !bytes.first().is_some_and(u8::is_ascii_hexdigit) {
        return Err(FailureKind::WrongAnswer);
    }
    let httparse::Status::Complete((taken, len)) = parse_chunk_size(bytes).map_err(wrong)? else {
        return Ok(None);
    };
    let next = match len {
        0 => Part::Trailer,
        // Behind the data of a chunk there is a line end.
        _ => Part::Chunk(len.checked_add(2).ok_or(FailureKind::WrongAnswer)?),
    };
    Ok(Some((taken, next)))
}

fn trailer(bytes: &[u8]) -> Parsed {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    Ok(match parse_headers(bytes, &mut headers).map_err(wrong)? {
        httparse::Status::Complete((taken, _)) => Some((taken, Part::Body(0))),
        httparse::Status::Partial => None,
    })
}

fn wrong<E>(_: E) -> FailureKind {
    FailureKind::WrongAnswer
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZED: &[u8] = b"HTTP/1.1 200 OK\r\nServer: x\r\ncontent-length: 5\r\n\r\nhello";
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5;x=y\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\nX: y\r\n\r\n";
    const EMPTY: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
    const INTERIM: &[u8] =
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n";

    #[test]
    fn responses_are_counted_however_they_were_cut() {
        let stream = [SIZED, CHUNKED, EMPTY, INTERIM, SIZED].concat();
        for cut in 1..=stream.len() {
            let mut responses = Responses::default();
            let parts = stream.chunks(cut);
            let counts = parts.map(|part| responses.count(part).unwrap());
            assert_eq!(counts.sum::<usize>(), 5, "{cut}");
            assert_eq!(responses.part, Part::Head, "{cut}");
            assert!(!responses.is_inside(), "{cut}");
        }
        for one in [SIZED, CHUNKED, INTERIM] {
            let mut responses = Responses::default();
            assert_eq!(responses.count(&one[..one.len() - 1]), Ok(0));
            assert!(responses.is_inside());
            assert_eq!(responses.count(&one[one.len() - 1..]), Ok(1));
        }
    }

    #[test]
    fn a_response_without_a_length_lasts_until_the_end() {
        let mut responses = Responses::default();
        assert_eq!(responses.count(b"HTTP/1.0 200 OK\r\n\r\nhello"), Ok(0));
        assert!(responses.last_until_the_end() && responses.is_inside());
    }

    #[test]
    fn what_is_no_response_is_wrong() {
        let is = |bytes: &str, kind| {
            let count = Responses::default().count(bytes.as_bytes());
            assert_eq!(count, Err(kind), "{bytes}");
        };
        is("hello\r\n\r\n", FailureKind::WrongAnswer);
        for length in ["-1", "+1", "99999999999999999999"] {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            is(&head, FailureKind::WrongAnswer);
        }
        for line in ["zz", "ffffffffffffffff", "", "5 5", "5;x=y\r\r"] {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            is(&format!("{head}{line}\r\n"), FailureKind::WrongAnswer);
        }
        for code in ["099", "600", "999"] {
            is(
                &format!("HTTP/1.1 {code} x\r\n\r\n"),
                FailureKind::WrongAnswer,
            );
        }
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(HEAD_BYTES_MAX));
        let mut responses = Responses::default();
        let mut parts = endless.as_bytes().chunks(1000);
        let failed = parts.find_map(|part| responses.count(part).err());
        assert_eq!(failed, Some(FailureKind::WrongAnswer));
    }

    #[test]
    fn a_refusal_is_a_response_of_which_the_status_is_told() {
        let refusal = "HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno";
        let stream = [EMPTY, refusal.as_bytes(), SIZED].concat();
        let mut responses = Responses::default();
        assert_eq!(responses.count(&stream), Ok(3));
        assert_eq!(responses.ended(), [204, 500, 200]);
        assert!(is_refusal(500) && is_refusal(400) && !is_refusal(399));
        assert!(!responses.is_last());
        // What was told once is not told again.
        assert_eq!((responses.count(b""), responses.ended()), (Ok(0), &[][..]));
    }

    #[test]
    fn the_last_response_on_a_connection_says_so() {
        let sized = |head: &str| format!("{head}\r\nContent-Length: 1\r\n\r\n.");
        for (head, is_last) in [
            ("HTTP/1.1 200 OK", false),
            ("HTTP/1.1 200 OK\r\nConnection: keep-alive", false),
            ("HTTP/1.1 200 OK\r\nconnection: x, Close", true),
            ("HTTP/1.1 503 Busy\r\nConnection: close", true),
            ("HTTP/1.0 200 OK", true),
            ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive", false),
        ] {
            let mut responses = Responses::default();
            let stream = sized(head) + &sized(head);
            // Behind the last comes nothing that counts.
            let count = if is_last { 1 } else { 2 };
            assert_eq!(responses.count(stream.as_bytes()), Ok(count), "{head}");
            assert_eq!(responses.is_last(), is_last, "{head}");
        }
    }
}
