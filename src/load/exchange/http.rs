//! Where a response of HTTP/1.1 ends (RFC 9112, 6.3), however the bytes are cut.
//!
//! It does not know the request, so it cannot measure HEAD: the answer to that has a length and no body.

use httparse::{EMPTY_HEADER, ParserConfig, Response, Status};

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
    /// Lines up to an empty one.
    Trailer,
}

impl Responses {
    /// How many responses end in `bytes`; an error when they are none, or say no (400 and above).
    pub(crate) fn count(&mut self, mut bytes: &[u8]) -> Result<usize, FailureKind> {
        let mut count = 0;
        loop {
            let taken = match self.part {
                Part::Body(0) => {
                    count += 1;
                    self.part = Part::Head;
                    continue;
                }
                _ if bytes.is_empty() => return Ok(count),
                Part::Rest => return Ok(count),
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
                Part::Head => self.piece(bytes, HEAD_BYTES_MAX, head)?,
                Part::ChunkLine => self.piece(bytes, CHUNK_LINE_BYTES_MAX, chunk_line)?,
                Part::Trailer => self.piece(bytes, HEAD_BYTES_MAX, trailer_line)?,
            };
            bytes = &bytes[taken..];
        }
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
    fn piece(&mut self, bytes: &[u8], max: usize, parse: Parse) -> Result<usize, FailureKind> {
        let had = self.carry.len();
        let parsed = if had == 0 {
            parse(bytes)?
        } else {
            self.carry.extend_from_slice(bytes);
            parse(&self.carry)?
        };
        if let Some((taken, next)) = parsed {
            // However it was cut, too long is too long.
            if taken > max {
                return Err(FailureKind::WrongAnswer);
            }
            self.carry.clear();
            self.part = next;
            return Ok(taken - had);
        }
        if had == 0 {
            self.carry.extend_from_slice(bytes);
        }
        match self.carry.len() {
            len if len > max => Err(FailureKind::WrongAnswer),
            _ => Ok(bytes.len()),
        }
    }
}

/// How long a piece is and what follows it, if it is whole.
type Parse = fn(&[u8]) -> Result<Option<(usize, Part)>, FailureKind>;

fn taken(left: u64, bytes: &[u8]) -> usize {
    usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()))
}

fn head(bytes: &[u8]) -> Result<Option<(usize, Part)>, FailureKind> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut response = Response::new(&mut headers);
    let parsed = ParserConfig::default().parse_response(&mut response, bytes);
    let Status::Complete(len) = parsed.map_err(|_| FailureKind::WrongAnswer)? else {
        return Ok(None);
    };
    let body = match response.code.unwrap_or(0) {
        // An interim response; the one that counts follows.
        100..200 => return Ok(Some((len, Part::Head))),
        204 | 304 => Part::Body(0),
        200..400 => body(response.headers)?,
        _ => return Err(FailureKind::TurnedDown),
    };
    Ok(Some((len, body)))
}

fn body(headers: &[httparse::Header<'_>]) -> Result<Part, FailureKind> {
    let named = |name: &str| {
        let mut all = headers.iter();
        all.find(|header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    };
    // Of several such lines the last one tells, as if they were one (RFC 9110, 5.3).
    let coding = headers
        .iter()
        .rfind(|header| header.name.eq_ignore_ascii_case("transfer-encoding"))
        .map(|header| header.value);
    if let Some(coding) = coding {
        let last = coding
            .rsplit(|byte| *byte == b',')
            .next()
            .unwrap_or_default();
        return Ok(if last.trim_ascii().eq_ignore_ascii_case(b"chunked") {
            Part::ChunkLine
        } else {
            Part::Rest
        });
    }
    match named("content-length") {
        None => Ok(Part::Rest),
        Some(digits) => number(digits, 10).map(Part::Body),
    }
}

fn chunk_line(bytes: &[u8]) -> Result<Option<(usize, Part)>, FailureKind> {
    let Some(end) = memchr::memchr(b'\n', bytes) else {
        return Ok(None);
    };
    let line = &bytes[..end];
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let next = match number(digits, 16)? {
        0 => Part::Trailer,
        // Behind the data of a chunk there is a line end.
        len => Part::Chunk(len.checked_add(2).ok_or(FailureKind::WrongAnswer)?),
    };
    Ok(Some((end + 1, next)))
}

fn trailer_line(bytes: &[u8]) -> Result<Option<(usize, Part)>, FailureKind> {
    let Some(end) = memchr::memchr(b'\n', bytes) else {
        return Ok(None);
    };
    let next = if bytes[..end].trim_ascii().is_empty() {
        Part::Body(0)
    } else {
        Part::Trailer
    };
    Ok(Some((end + 1, next)))
}

fn number(digits: &[u8], radix: u32) -> Result<u64, FailureKind> {
    let digits = digits.trim_ascii();
    let is_plain = digits.first().is_some_and(u8::is_ascii_hexdigit);
    std::str::from_utf8(digits)
        .ok()
        .filter(|_| is_plain)
        .and_then(|digits| u64::from_str_radix(digits, radix).ok())
        .ok_or(FailureKind::WrongAnswer)
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
            let counts = stream
                .chunks(cut)
                .map(|part| responses.count(part).unwrap());
            assert_eq!(counts.sum::<usize>(), 5, "{cut}");
            assert!(
                !responses.is_inside() && !responses.last_until_the_end(),
                "{cut}"
            );
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
    fn what_is_no_response_is_wrong_and_a_refusal_is_one() {
        for (bytes, kind) in [
            (&b"hello\r\n\r\n"[..], FailureKind::WrongAnswer),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
                FailureKind::WrongAnswer,
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
                FailureKind::WrongAnswer,
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
                FailureKind::WrongAnswer,
            ),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                FailureKind::WrongAnswer,
            ),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
                FailureKind::WrongAnswer,
            ),
            (
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
                FailureKind::TurnedDown,
            ),
            (b"HTTP/1.1 503 Busy\r\n\r\n", FailureKind::TurnedDown),
        ] {
            assert_eq!(
                Responses::default().count(bytes),
                Err(kind),
                "{}",
                bytes.escape_ascii()
            );
        }
        let endless = [
            b"HTTP/1.1 200 OK\r\nX: ".as_slice(),
            &[b'x'; HEAD_BYTES_MAX],
        ]
        .concat();
        let mut responses = Responses::default();
        let answers: Result<Vec<_>, _> = endless
            .chunks(1000)
            .map(|part| responses.count(part))
            .collect();
        assert_eq!(answers, Err(FailureKind::WrongAnswer));
    }
}
