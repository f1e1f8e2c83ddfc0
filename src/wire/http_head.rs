//! Requests and responses of HTTP/1.1 (RFC 9112), as far as a service of small texts needs them: requests
//! without a body, responses with a length.

use std::io::Write as _;

use httparse::{EMPTY_HEADER, Header, Request, Status};

use super::{Decode, Encode, WireError};

/// The head of a request is at most this long: more than programs send that ask for figures, and as much
/// as nginx takes of one line.
pub const HTTP_HEAD_BYTES_MAX: usize = 8 << 10;

/// … and has at most so many fields.
pub const HTTP_FIELDS_MAX: usize = 64;

/// What the errors of a head are about; a service tells it from a head that makes no sense.
const HEAD: &str = "head of an HTTP request";

/// Takes heads of requests.
///
/// ```
/// use onepoll::wire::{Decode, HttpRequests};
///
/// let sent = b"GET /metrics?x=1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
/// let (head, _) = HttpRequests.decode(sent)?.expect("it is whole");
/// assert_eq!((head.method, head.path, head.keeps_alive), ("GET", "/metrics", false));
/// # Ok::<(), onepoll::wire::WireError>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpRequests;

/// What the head of a request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpRequest<'b> {
    /// The method, as it was sent: methods are case-sensitive.
    pub method: &'b str,
    /// The path of the target, without scheme, authority and query; `*` where that is all.
    pub path: &'b str,
    /// Whether another request may follow on the connection.
    pub keeps_alive: bool,
    /// Whether a body follows.
    pub has_body: bool,
}

impl Decode for HttpRequests {
    type Frame<'b> = HttpRequest<'b>;

    fn decode<'b>(
        &mut self,
        unread: &'b [u8],
    ) -> Result<Option<(HttpRequest<'b>, usize)>, WireError> {
        let mut fields = [EMPTY_HEADER; HTTP_FIELDS_MAX];
        let mut request = Request::new(&mut fields);
        let status = request.parse(unread).map_err(|error| match error {
            httparse::Error::TooManyHeaders => too_long(unread.len()),
            error => malformed(error.to_string()),
        })?;
        let len = match status {
            Status::Complete(len) if len <= HTTP_HEAD_BYTES_MAX => len,
            Status::Partial if unread.len() < HTTP_HEAD_BYTES_MAX => return Ok(None),
            Status::Complete(len) => return Err(too_long(len)),
            Status::Partial => return Err(too_long(unread.len())),
        };
        let fields = Fields(request.headers);
        let (Some(method), Some(target), Some(minor)) =
            (request.method, request.path, request.version)
        else {
            return Err(malformed("a request line without its parts".to_owned()));
        };
        if minor == 1 && fields.named("host").count() != 1 {
            return Err(malformed("it has not one Host".to_owned()));
        }
        let head = HttpRequest {
            method,
            path: path(target),
            keeps_alive: match minor {
                0 => fields.connection("keep-alive"),
                _ => !fields.connection("close"),
            },
            has_body: fields.named("transfer-encoding").next().is_some()
                || fields.named("content-length").any(|length| length != b"0"),
        };
        Ok(Some((head, len)))
    }
}

fn too_long(len: usize) -> WireError {
    WireError::TooLong {
        what: HEAD,
        len: len as u64,
        max: HTTP_HEAD_BYTES_MAX as u64,
    }
}

fn malformed(detail: String) -> WireError {
    WireError::Malformed { what: HEAD, detail }
}

/// A target is a path, a whole URL (RFC 9112, 3.2.2: every server understands that), or `*`.
fn path(target: &str) -> &str {
    let path = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find('/').map_or("/", |at| &rest[at..])
        }
        _ => target,
    };
    path.split('?').next().unwrap_or(path)
}

struct Fields<'h, 'b>(&'h [Header<'b>]);

impl<'b> Fields<'_, 'b> {
    fn named(&self, name: &'static str) -> impl Iterator<Item = &'b [u8]> {
        let all = self.0.iter();
        let is_named = move |field: &&Header<'b>| field.name.eq_ignore_ascii_case(name);
        all.filter(is_named).map(|field| field.value.trim_ascii())
    }

    /// Whether `Connection` lists this option.
    fn connection(&self, option: &str) -> bool {
        let mut listed = self
            .named("connection")
            .flat_map(|value| value.split(|byte| *byte == b','));
        listed.any(|listed| listed.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
    }
}

/// A response with a body of a known length.
#[derive(Debug, Clone, Copy)]
pub struct HttpResponse<'a> {
    /// The status, and its usual words.
    pub status: (u16, &'static str),
    /// The media type of the body.
    pub media_type: &'static str,
    /// The body.
    pub body: &'a [u8],
    /// Whether the body is only told of: the answer to HEAD.
    pub is_head: bool,
    /// Whether another request may follow on the connection.
    pub keeps_alive: bool,
    /// The methods that would be allowed, where it was the method that is not.
    pub allow: Option<&'static str>,
}

impl Encode for HttpResponse<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        let (code, words) = self.status;
        let (len, media_type) = (self.body.len(), self.media_type);
        // Writing to a vector does not fail.
        let _ = write!(
            out,
            "HTTP/1.1 {code} {words}\r\nContent-Type: {media_type}\r\nContent-Length: {len}\r\n"
        );
        if let Some(methods) = self.allow {
            let _ = write!(out, "Allow: {methods}\r\n");
        }
        // Said both ways: to a client of HTTP/1.0 it is not the rule.
        let connection = if self.keeps_alive {
            "keep-alive"
        } else {
            "close"
        };
        let _ = write!(out, "Connection: {connection}\r\n\r\n");
        if !self.is_head {
            out.extend_from_slice(self.body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> HttpRequest<'_> {
        let decoded = HttpRequests.decode(text.as_bytes());
        let decoded = decoded.unwrap_or_else(|wrong| panic!("{wrong}: {text:?}"));
        let (head, len) = decoded.unwrap_or_else(|| panic!("not whole: {text:?}"));
        assert_eq!(len, text.len());
        head
    }

    #[test]
    fn a_head_is_the_same_however_it_was_cut() {
        let text = "HEAD /metrics HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n\r\n";
        for cut in 0..text.len() {
            let whole = HttpRequests.decode(&text.as_bytes()[..cut]);
            assert_eq!(whole, Ok(None), "{cut}");
        }
        let glued = format!("{text}GET / HTTP/1.1\r\n");
        let (first, len) = HttpRequests.decode(glued.as_bytes()).unwrap().unwrap();
        assert_eq!((first, len), (head(text), text.len()));
        assert_eq!((first.method, first.path), ("HEAD", "/metrics"));
    }

    #[test]
    fn the_path_is_what_is_left_of_a_target() {
        for (target, path) in [
            ("/metrics", "/metrics"),
            ("/metrics?name=%2F", "/metrics"),
            ("http://h:9100/metrics?x", "/metrics"),
            ("http://h:9100", "/"),
            ("/a://b", "/a://b"),
            ("*", "*"),
        ] {
            let text = format!("GET {target} HTTP/1.1\r\nhost: h\r\n\r\n");
            assert_eq!(head(&text).path, path, "{target}");
        }
    }

    #[test]
    fn a_connection_stays_where_both_sides_say_so() {
        for (version, connection, stays) in [
            ("1.1", "X: y", true),
            ("1.1", "Connection: close", false),
            ("1.1", "CONNECTION: te , Close", false),
            ("1.1", "Connection: closed", true),
            ("1.0", "X: y", false),
            ("1.0", "Connection: TE, Keep-Alive", true),
        ] {
            let text = format!("GET / HTTP/{version}\r\nHost: h\r\n{connection}\r\n\r\n");
            assert_eq!(head(&text).keeps_alive, stays, "{version} {connection}");
        }
    }

    #[test]
    fn a_body_is_seen_however_it_is_announced() {
        for (field, has_body) in [
            ("Content-Length: 0", false),
            ("content-length: 1", true),
            ("Content-Length: 0, 1", true),
            ("Content-Length: +0", true),
            ("Transfer-Encoding: chunked", true),
            ("Content-Length: 0\r\nContent-Length: 5", true),
        ] {
            let text = format!("GET / HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n");
            assert_eq!(head(&text).has_body, has_body, "{field}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for text in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /\r\n\r\n",
            "\x16\x03\x01",
            "G\0T",
            "GET / HTTP/1.1\r\nHost : h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nHo\rst: h\r\n\r\n",
        ] {
            let told = HttpRequests.decode(text.as_bytes());
            assert!(
                matches!(told, Err(WireError::Malformed { .. })),
                "{text:?}: {told:?}"
            );
        }
    }

    #[test]
    fn too_long_is_too_long_however_it_was_cut() {
        let start = "GET / HTTP/1.1\r\nHost: h\r\nX: ";
        let room = HTTP_HEAD_BYTES_MAX - start.len() - 4;
        for (len, fits) in [(room, true), (room + 1, false), (10 * room, false)] {
            let text = format!("{start}{}\r\n\r\n", "x".repeat(len));
            for cut in [HTTP_HEAD_BYTES_MAX - 1, HTTP_HEAD_BYTES_MAX, text.len()] {
                let told = HttpRequests.decode(&text.as_bytes()[..cut.min(text.len())]);
                let is_long = matches!(told, Err(WireError::TooLong { .. }));
                let is_whole = matches!(told, Ok(Some(_)));
                let may_fit = fits || cut < HTTP_HEAD_BYTES_MAX;
                assert_eq!(is_long, !may_fit, "{len} {cut}: {told:?}");
                assert_eq!(is_whole, fits && cut >= text.len(), "{len} {cut}: {told:?}");
            }
        }
        let fields = "A: b\r\n".repeat(HTTP_FIELDS_MAX);
        let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        let told = HttpRequests.decode(many.as_bytes());
        assert!(matches!(told, Err(WireError::TooLong { .. })), "{told:?}");
    }

    #[test]
    fn a_response_has_a_length_and_its_end() {
        let response = HttpResponse {
            status: (405, "Method Not Allowed"),
            media_type: "text/plain",
            body: b"no\n",
            is_head: false,
            keeps_alive: true,
            allow: Some("GET, HEAD"),
        };
        let mut out = b"x".to_vec();
        response.encode(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "xHTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\
             Allow: GET, HEAD\r\nConnection: keep-alive\r\n\r\nno\n"
        );
        let mut out = Vec::new();
        let head = HttpResponse {
            is_head: true,
            keeps_alive: false,
            ..response
        };
        head.encode(&mut out);
        assert!(out.ends_with(b"Connection: close\r\n\r\n"));
    }
}
