use super::malformed;
use crate::wire::WireError;

/// How the headers of a message begin.
const VERSION: &[u8] = b"NATS/1.0";

/// The headers of a message: a version, perhaps a status, and lines of `Name: value`.
///
/// ```
/// use onepoll::wire::NatsHeaders;
///
/// let mut bytes = Vec::new();
/// NatsHeaders::write(&[("Nats-Msg-Id", "7")], &mut bytes);
/// assert_eq!(bytes, b"NATS/1.0\r\nNats-Msg-Id: 7\r\n\r\n");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NatsHeaders<'b>(&'b [u8]);

impl<'b> NatsHeaders<'b> {
    /// What came as headers; empty: there are none.
    ///
    /// # Errors
    ///
    /// [`WireError::Malformed`] if it is neither empty, nor begins with the version and ends with an empty line.
    pub fn read(bytes: &'b [u8]) -> Result<NatsHeaders<'b>, WireError> {
        let is_right = bytes.starts_with(VERSION)
            && bytes.ends_with(b"\r\n\r\n")
            && std::str::from_utf8(bytes).is_ok();
        if bytes.is_empty() || is_right {
            return Ok(NatsHeaders(bytes));
        }
        Err(malformed("headers that are none"))
    }

    /// Appends headers with these names and values, which have no ends of lines in them.
    pub fn write(lines: &[(&str, &str)], out: &mut Vec<u8>) {
        out.extend_from_slice(VERSION);
        out.extend_from_slice(b"\r\n");
        for (name, value) in lines {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// As they go over the wire.
    pub fn as_bytes(&self) -> &'b [u8] {
        self.0
    }

    /// The number behind the version, with which a server says what is the matter: 503 where nobody answers, 100 that
    /// it is still there.
    pub fn status(&self) -> Option<u16> {
        let line = self.lines().next()?;
        let rest = line.get(VERSION.len()..)?.trim_start();
        rest.split(' ').next()?.parse().ok()
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&'b str> {
        self.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn lines(&self) -> impl Iterator<Item = &'b str> + use<'b> {
        let text = std::str::from_utf8(self.0).unwrap_or_default();
        text.split("\r\n").filter(|line| !line.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_a_status_and_names() {
        let read = |text: &'static str| NatsHeaders::read(text.as_bytes());
        let alive = read("NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 8\r\n\r\n").unwrap();
        assert_eq!(alive.status(), Some(100));
        assert_eq!(alive.get("nats-last-consumer"), Some("8"));
        assert_eq!(alive.get("Nats-Last-Stream"), None);
        assert_eq!(read("NATS/1.0 503\r\n\r\n").unwrap().status(), Some(503));
        assert_eq!(read("NATS/1.0\r\n\r\n").unwrap().status(), None);
        assert_eq!(read("").unwrap().get("x"), None);
        for wrong in [
            "NATS/1.0",
            "NATS/1.0\r\nA: b\r\n",
            "HTTP/1.0 200\r\n\r\n",
            "\r\n\r\n",
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
