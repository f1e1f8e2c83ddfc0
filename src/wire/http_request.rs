/// Whether a line is what a browser sends first to any port of this machine, if a page asks it to: the
/// request line of HTTP/1.1 (RFC 9112, section 3), or the preface of HTTP/2 (RFC 9113, section 3.4).
///
/// Method, target and version must all be plausible, since people also write about HTTP: a method that
/// browsers send without asking first, a target that is a path, a URL or an authority, and `HTTP/` with
/// one digit on each side of the dot. Other methods come after a preflight, whose OPTIONS is refused.
///
/// ```
/// use onepoll::wire::is_http_request;
///
/// assert!(is_http_request(b"POST /run HTTP/1.1\r"));
/// assert!(!is_http_request(b"A word on HTTP/2"));
/// ```
pub fn is_http_request(line: &[u8]) -> bool {
    const METHODS: [&[u8]; 10] = [
        b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"CONNECT", b"TRACE",
        b"PRI",
    ];
    let mut words = line
        .trim_ascii_end()
        .split(|&byte| byte == b' ')
        .filter(|word| !word.is_empty());
    let (Some(method), Some(target), Some(version)) =
        (words.next(), words.next(), words.next_back())
    else {
        return false;
    };
    METHODS.contains(&method) && is_target(method, target) && is_version(version)
}

fn is_target(method: &[u8], target: &[u8]) -> bool {
    let lower = target.to_ascii_lowercase();
    match method {
        // An authority: a host and a port.
        b"CONNECT" => target.contains(&b':'),
        _ => {
            target.starts_with(b"/")
                || target == b"*"
                || lower.starts_with(b"http://")
                || lower.starts_with(b"https://")
        }
    }
}

fn is_version(word: &[u8]) -> bool {
    matches!(word, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
        if major.is_ascii_digit() && minor.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_from_talk_about_them() {
        for request in [
            "GET / HTTP/1.1",
            "GET / HTTP/1.1\r",
            "POST /x y HTTP/1.0",
            "OPTIONS * HTTP/1.1",
            "GET http://127.0.0.1:9001/ HTTP/1.1",
            "CONNECT 127.0.0.1:22 HTTP/1.1",
            "PRI * HTTP/2.0",
            "HEAD  /  HTTP/1.1 ",
        ] {
            assert!(is_http_request(request.as_bytes()), "{request}");
        }
        for talk in [
            "A word on HTTP/2",
            "I prefer HTTP/1.1",
            "GET me a coffee HTTP/1.1",
            "GET / HTTP/2 is what I typed",
            "GET / is slow over HTTP/11",
            "POST offices / HTTP/1.1",
            "GET /",
            "HTTP/1.1 200 OK",
            "CONNECT us HTTP/1.1",
            "",
        ] {
            assert!(!is_http_request(talk.as_bytes()), "{talk}");
        }
    }
}
