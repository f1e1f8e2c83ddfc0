//! What a server and the process that takes its sockets over say to each other.
//!
//! Knows the frames: an `i32` length and JSON, as everywhere here. Does not know descriptors, which go beside
//! the bytes of an answer, one for each socket that it describes and in the same order (`SCM_RIGHTS`, unix(7)).
//!
//! ```text
//! new                                        old
//!  │ {"sockets":{"version":1,"from":0}}       │
//!  │ ───────────────────────────────────────> │
//!  │ {"sockets":{"sockets":[…],"more":true}}  │  at most 253, with as many descriptors
//!  │ <─────────────────────────────────────── │
//!  │ {"sockets":{"version":1,"from":253}}     │
//!  │ ───────────────────────────────────────> │
//!  │                …                         │
//!  │ {"ready":{"taken":[0,1]}}                │  the new one could serve now
//!  │ ───────────────────────────────────────> │
//!  │ "released"                               │  the old one has let go of its sockets
//!  │ <─────────────────────────────────────── │
//! ```
//!
//! Instead of any answer the old one may say `{"refused":{"reason":"…"}}`: then it goes on serving, and so it
//! does when the new one is gone before it said that it is ready.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Decode, Encode, Escaped, Framed, Prefixed, WireError};

/// The version of the format. Requests of another are refused; this field and `refused` stay as they are in
/// every version.
pub const TAKE_OVER_VERSION: u32 = 1;

/// The most descriptors that one message may have: the kernel's own limit (`SCM_MAX_FD`, unix(7)).
pub const SOCKETS_PER_MESSAGE_MAX: usize = 253;

/// The most sockets that are handed over: the numbers of those that were taken fit a frame.
pub const SOCKETS_HANDED_OVER_MAX: usize = 4096;

/// The longest frame, its length's four bytes not counted: 253 sockets, each with a path of 107 bytes of which
/// all are percent-encoded.
pub const TAKE_OVER_BYTES_MAX: usize = 128 * 1024;

/// What the new process asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TakeOverRequest {
    /// Your sockets, from this one on.
    Sockets {
        /// [`TAKE_OVER_VERSION`].
        version: u32,
        /// The number of the first.
        from: u32,
    },
    /// I could serve now; let go.
    Ready {
        /// The numbers of the sockets that I go on with, from 0; the others are nobody's from then on.
        taken: Vec<u32>,
    },
}

/// What the old one answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TakeOverAnswer {
    /// What the descriptors are that came beside this.
    Sockets {
        /// One for each descriptor.
        sockets: Vec<SocketDescription>,
        /// Whether there are more, to be asked for.
        more: bool,
    },
    /// They are yours.
    Released,
    /// Nothing changes.
    Refused {
        /// Why not.
        reason: String,
    },
}

/// Which socket it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketDescription {
    /// Service, transport and address as they were asked for, such as `echo+tcp://localhost:0`; `control` of the
    /// socket that this is said through.
    pub place: String,
    /// The file of a Unix socket, where the server would remove it at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileNumbers>,
}

/// Which file it is, whatever the path that leads to it (inode(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileNumbers {
    /// The device that it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

impl Encode for TakeOverRequest {
    fn encode(&self, out: &mut Vec<u8>) {
        encode(self, out);
    }
}

impl Encode for TakeOverAnswer {
    fn encode(&self, out: &mut Vec<u8>) {
        encode(self, out);
    }
}

fn encode(message: &impl Serialize, out: &mut Vec<u8>) {
    let json = serde_json::to_vec(message).expect("strings and numbers make JSON");
    Framed::new(&json)
        .expect("it has fewer bytes than an i32 can say")
        .encode(out);
}

/// Takes one message off the front: a [`TakeOverRequest`] or a [`TakeOverAnswer`].
///
/// Fields that it does not know are ignored, so that a message of another version can still be told from
/// nonsense.
///
/// # Errors
///
/// [`WireError::Negative`] and [`WireError::TooLong`] on the length alone, [`WireError::Malformed`] when the
/// JSON is no such message. The detail is safe to log.
#[derive(Debug, Clone)]
pub struct TakeOverMessage<T> {
    frame: Prefixed,
    message: PhantomData<fn() -> T>,
}

impl<T> Default for TakeOverMessage<T> {
    fn default() -> Self {
        Self {
            frame: Prefixed::named("message", TAKE_OVER_BYTES_MAX),
            message: PhantomData,
        }
    }
}

impl<T: DeserializeOwned> Decode for TakeOverMessage<T> {
    type Frame<'b> = T;

    fn decode(&mut self, unread: &[u8]) -> Result<Option<(T, usize)>, WireError> {
        let Some((json, taken)) = self.frame.decode(unread)? else {
            return Ok(None);
        };
        match serde_json::from_slice(json) {
            Ok(message) => Ok(Some((message, taken))),
            Err(error) => Err(WireError::Malformed {
                what: "message",
                // serde quotes what it did not like.
                detail: Escaped(error.to_string().as_bytes()).to_string(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(message: &impl Encode) -> Vec<u8> {
        let mut out = Vec::new();
        message.encode(&mut out);
        out
    }

    fn longest() -> TakeOverAnswer {
        let socket = SocketDescription {
            place: format!("greeting+unix://{}", "%ff".repeat(107)),
            file: Some(FileNumbers {
                device: u64::MAX,
                inode: u64::MAX,
            }),
        };
        TakeOverAnswer::Sockets {
            sockets: vec![socket; SOCKETS_PER_MESSAGE_MAX],
            more: true,
        }
    }

    #[test]
    fn the_longest_messages_fit_their_limit() {
        assert!(encoded(&longest()).len() - 4 <= TAKE_OVER_BYTES_MAX);
        let taken = (0..SOCKETS_HANDED_OVER_MAX as u32).collect();
        // As long as the loop takes without being told of a frame.
        assert!(encoded(&TakeOverRequest::Ready { taken }).len() <= 64 * 1024);
    }

    #[test]
    fn every_message_is_read_whole_at_every_split_and_with_a_tail() {
        let answers = [
            longest(),
            TakeOverAnswer::Released,
            TakeOverAnswer::Refused {
                reason: "no \u{1b}[2J".into(),
            },
        ];
        for answer in &answers {
            let mut bytes = encoded(answer);
            for cut in (0..bytes.len()).step_by(1 + bytes.len() / 100) {
                let mut decoder = TakeOverMessage::<TakeOverAnswer>::default();
                assert_eq!(decoder.decode(&bytes[..cut]), Ok(None));
            }
            let whole = bytes.len();
            bytes.extend_from_slice(b"tail");
            let read = TakeOverMessage::default().decode(&bytes).unwrap();
            assert_eq!(read, Some((answer.clone(), whole)));
        }
    }

    #[test]
    fn the_format_is_what_the_first_lines_say() {
        let json = |message: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            message(&mut out);
            String::from_utf8(out.split_off(4)).unwrap()
        };
        let asks = TakeOverRequest::Sockets {
            version: TAKE_OVER_VERSION,
            from: 253,
        };
        assert_eq!(
            json(&|out| asks.encode(out)),
            r#"{"sockets":{"version":1,"from":253}}"#
        );
        let ready = TakeOverRequest::Ready { taken: vec![0, 1] };
        assert_eq!(
            json(&|out| ready.encode(out)),
            r#"{"ready":{"taken":[0,1]}}"#
        );
        assert_eq!(
            json(&|out| TakeOverAnswer::Released.encode(out)),
            r#""released""#
        );
        let sockets = TakeOverAnswer::Sockets {
            sockets: vec![SocketDescription {
                place: "echo+tcp://127.0.0.1:9000".into(),
                file: None,
            }],
            more: false,
        };
        assert_eq!(
            json(&|out| sockets.encode(out)),
            r#"{"sockets":{"sockets":[{"place":"echo+tcp://127.0.0.1:9000"}],"more":false}}"#
        );
    }

    #[test]
    fn another_version_is_read_as_far_as_it_is_the_same() {
        let mut newer = Vec::new();
        let json = br#"{"sockets":{"version":2,"from":0,"besides":[1,{}]}}"#;
        Framed::new(json).unwrap().encode(&mut newer);
        let read = TakeOverMessage::default().decode(&newer).unwrap();
        assert_eq!(
            read.map(|(message, _)| message),
            Some(TakeOverRequest::Sockets {
                version: 2,
                from: 0
            })
        );
    }

    #[test]
    fn what_is_no_message_is_refused_and_quoted_harmlessly() {
        let refused = |json: &[u8]| {
            let mut bytes = Vec::new();
            Framed::new(json).unwrap().encode(&mut bytes);
            TakeOverMessage::<TakeOverRequest>::default()
                .decode(&bytes)
                .unwrap_err()
                .to_string()
        };
        for json in [
            &b""[..],
            b"{}",
            b"[]",
            b"\"ready\"",
            b"{\"ready\":{\"taken\":[-1]}}",
            b"{\"ready\":{\"taken\":[0],\"taken\":[1]}}",
            b"{\"sockets\":{\"version\":1}}",
            b"{\"sockets\":{\"version\":1,\"from\":0}} more",
            b"{\"other\":{}}",
        ] {
            assert!(refused(json).contains("message"), "{json:?}");
        }
        assert!(!refused(b"{\"\x1b[2J\":{}}").contains('\x1b'));
        let mut decoder = TakeOverMessage::<TakeOverRequest>::default();
        let too_long = (TAKE_OVER_BYTES_MAX as i32 + 1).to_le_bytes();
        assert!(matches!(
            decoder.decode(&too_long),
            Err(WireError::TooLong { .. })
        ));
        assert!(matches!(
            decoder.decode(&(-1i32).to_le_bytes()),
            Err(WireError::Negative { .. })
        ));
    }
}
