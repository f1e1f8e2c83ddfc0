//! An `http://` URL: everything in it is for the server, and nothing for us.

use std::fmt::{self, Write};

/// What is asked of a server of HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HttpUrl {
    /// The host, and the port where it is written.
    host: String,
    /// Path and query, as they go on the wire.
    target: String,
}

impl HttpUrl {
    /// Of `url`, if that begins with `http://`. The fragment is not sent (RFC 9110, 4.2.5); what a request
    /// line has no room for is written in per cent, as browsers do.
    pub(super) fn of(url: &str) -> Result<Option<Self>, String> {
        let Some(rest) = url.strip_prefix("http://") else {
            return Ok(None);
        };
        let sent = rest.split('#').next().unwrap_or_default();
        let end = sent.find(['/', '?']).unwrap_or(sent.len());
        let (host, target) = sent.split_at(end);
        if host.contains('@') {
            return Err(format!(
                "{url} names a user, which no request is sent with: give the whole request by --payload"
            ));
        }
        let mut path = String::with_capacity(target.len() + 1);
        if !target.starts_with('/') {
            path.push('/');
        }
        for byte in target.bytes() {
            match byte {
                b'!'..=b'~' => path.push(byte.into()),
                // Into a string: it does not fail.
                _ => drop(write!(path, "%{byte:02X}")),
            }
        }
        Ok(Some(Self {
            host: host.to_owned(),
            target: path,
        }))
    }

    /// GET, as it would be typed for --payload.
    pub(super) fn request(&self) -> String {
        let target = self.target.replace('\\', r"\\");
        format!(r"GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host)
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.host, self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_fragment_goes_on_the_wire_as_it_was_written() {
        for (url, target) in [
            ("http://h:1", "/"),
            ("http://h:1/", "/"),
            ("http://h:1/list?requests=3", "/list?requests=3"),
            ("http://h:1/?size=10&payload=x", "/?size=10&payload=x"),
            ("http://h:1?key=val", "/?key=val"),
            ("http://h:1/a%3Fb?c?d", "/a%3Fb?c?d"),
            ("http://h:1/a#top", "/a"),
            ("http://h:1/a?b=c#d?e=f", "/a?b=c"),
            ("http://h:1#top", "/"),
            ("http://h:1/a b/ü", "/a%20b/%C3%BC"),
        ] {
            let read = HttpUrl::of(url).unwrap().unwrap();
            assert_eq!(
                (read.host.as_str(), read.target.as_str()),
                ("h:1", target),
                "{url}"
            );
            assert_eq!(read.to_string(), format!("http://h:1{target}"));
            let request = format!(r"GET {target} HTTP/1.1\r\nHost: h:1\r\n\r\n");
            assert_eq!(read.request(), request);
        }
        let backslash = HttpUrl::of(r"http://h:1/a\n").unwrap().unwrap();
        assert!(backslash.request().starts_with(r"GET /a\\n HTTP"));
        assert_eq!(HttpUrl::of("tcp://h:1/?x"), Ok(None));
        let user = HttpUrl::of("http://me:secret@h:1/").unwrap_err();
        assert!(user.contains("names a user"), "{user}");
    }
}
