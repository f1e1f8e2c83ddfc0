use std::time::Duration;

use data_encoding::BASE64;
use serde::Deserialize;

use super::NatsMessage;

/// What JetStream answers to any request of ours: what is read of it, in one shape.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct JetStreamAnswer {
    error: Option<JetStreamError>,
    /// The place of a message that was published.
    pub seq: u64,
    /// Whether a message of the same id was there already.
    pub duplicate: bool,
    /// When a stream was made, by the clock of the server that leads it: another leader says another time.
    pub created: String,
    /// Whether something was done that answers nothing else.
    pub success: bool,
    /// As what a stream was made.
    pub config: JetStreamConfig,
    /// What is in it.
    pub state: JetStreamState,
    /// How many messages a consumer has to deliver.
    pub num_pending: u64,
    /// The message that was asked for.
    pub message: Option<JetStreamMessage>,
}

/// A message of a stream, as its server finds it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct JetStreamMessage {
    /// Its place.
    pub seq: u64,
    /// In Base64.
    data: String,
}

impl JetStreamMessage {
    /// What it says; nothing, where that is no Base64.
    pub fn data(&self) -> Vec<u8> {
        BASE64.decode(self.data.as_bytes()).unwrap_or_default()
    }
}

/// Why a request was not done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct JetStreamError {
    /// As HTTP has them.
    pub code: u16,
    /// Exactly which error.
    pub err_code: u32,
    /// In words.
    pub description: String,
}

/// As what a stream was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct JetStreamConfig {
    /// In nanoseconds; 0: for ever.
    max_age: u64,
}

impl JetStreamConfig {
    /// How long it keeps a message, if not for ever.
    pub fn max_age(&self) -> Option<Duration> {
        (self.max_age > 0).then(|| Duration::from_nanos(self.max_age))
    }
}

/// What is in a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct JetStreamState {
    /// The place of its newest message.
    pub last_seq: u64,
}

/// The subject has another newest message than the one that was expected.
const WRONG_LAST_SEQUENCE: u32 = 10071;

/// The same, as servers of NATS 2.11 say it of a stream that several of them keep.
const WRONG_LAST_SEQUENCE_SOMEWHERE: u32 = 10164;

impl JetStreamError {
    /// No message is what was asked for.
    pub const NO_MESSAGE_FOUND: u32 = 10037;
    /// A stream of that name has other options.
    pub const STREAM_NAME_IN_USE: u32 = 10058;

    /// Whether what was published is refused for good: neither for what may pass, such as that nobody leads the stream (5xx)
    /// or that there is much to do (429), nor because it is being kept at this moment (409).
    pub fn is_final(&self) -> bool {
        self.code < 500 && !matches!(self.code, 409 | 429)
    }

    /// The newest message of a subject is another one than was expected.
    pub fn is_wrong_last_sequence(&self) -> bool {
        [WRONG_LAST_SEQUENCE, WRONG_LAST_SEQUENCE_SOMEWHERE].contains(&self.err_code)
    }

    fn failure(code: u16, description: &str) -> JetStreamError {
        JetStreamError {
            code,
            description: description.to_owned(),
            ..JetStreamError::default()
        }
    }
}

impl JetStreamAnswer {
    /// What a message answers, or why it is no success.
    pub fn of(message: &NatsMessage<'_>) -> Result<JetStreamAnswer, JetStreamError> {
        if message.headers.status() == Some(503) {
            return Err(JetStreamError::failure(503, "nobody answers"));
        }
        let answer: JetStreamAnswer = serde_json::from_slice(message.payload)
            .map_err(|_| JetStreamError::failure(500, "what came is no answer"))?;
        match answer.error {
            Some(error) => Err(error),
            None => Ok(answer),
        }
    }
}

/// Where in its stream a message is that a consumer delivers, as its reply subject says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JetStreamPosition {
    /// In the stream.
    pub stream: u64,
    /// In what the consumer has delivered, from 1 on without a gap.
    pub consumer: u64,
    /// When it was stored, in nanoseconds since 1970.
    pub nanos: u64,
    /// How many the consumer has not delivered yet.
    pub pending: u64,
}

impl JetStreamPosition {
    /// Reads `$JS.ACK.STREAM.CONSUMER.DELIVERED.STREAM_SEQ.CONSUMER_SEQ.NANOS.PENDING`, or the same with a domain and an
    /// account before the stream and perhaps more behind it.
    pub fn read(reply: &str) -> Option<JetStreamPosition> {
        let rest = reply.strip_prefix("$JS.ACK.")?;
        let words: Vec<&str> = rest.split('.').collect();
        let numbers = match words.len() {
            7 => words.get(3..7)?,
            9.. => words.get(5..9)?,
            _ => return None,
        };
        let number = |n: usize| numbers.get(n)?.parse().ok();
        Some(JetStreamPosition {
            stream: number(0)?,
            consumer: number(1)?,
            nanos: number(2)?,
            pending: number(3)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::NatsHeaders;
    use super::*;

    #[test]
    fn answers_are_read_as_the_server_gives_them() {
        let read = |text: &str| {
            JetStreamAnswer::of(&NatsMessage {
                payload: text.as_bytes(),
                ..NatsMessage::default()
            })
        };
        let stored = read(r#"{"stream":"S","seq":7,"duplicate":true}"#).unwrap();
        assert!(stored.seq == 7 && stored.duplicate);
        let wrong = read(
            r#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 3"},"stream":"S","seq":0}"#,
        );
        let error = wrong.unwrap_err();
        assert!(error.is_wrong_last_sequence());
        let made = read(
            r#"{"type":"io.nats.jetstream.api.v1.stream_create_response","config":{"max_age":15000000000},"created":"2026-11-27T23:00:00Z","state":{"messages":2,"last_seq":9},"did_create":true}"#,
        );
        let made = made.unwrap();
        assert_eq!(made.config.max_age(), Some(Duration::from_secs(15)));
        assert_eq!(read("{}").unwrap().config.max_age(), None);
        assert_eq!(
            (made.state.last_seq, &*made.created),
            (9, "2026-11-27T23:00:00Z")
        );
        assert_eq!(read("+ACK").unwrap_err().code, 500);
        let found = read(
            r#"{"type":"io.nats.jetstream.api.v1.stream_msg_get_response","message":{"subject":"$KV.S.61","seq":5,"data":"Zm9yIGV2YQ==","time":"2026-11-28T08:00:00Z"}}"#,
        );
        let found = found.unwrap().message.unwrap();
        assert_eq!((found.seq, &*found.data()), (5, &b"for eva"[..]));
        for wrong in [r#"{"message":{"data":"Zm9y=="}}"#, r#"{"message":{}}"#] {
            assert_eq!(read(wrong).unwrap().message.unwrap().data(), b"", "{wrong}");
        }
        let none =
            read(r#"{"error":{"code":404,"err_code":10037,"description":"no message found"}}"#);
        let none = none.unwrap_err();
        assert_eq!(none.err_code, JetStreamError::NO_MESSAGE_FOUND);
    }

    #[test]
    fn what_may_pass_is_not_refused_for_good() {
        for (code, is_final) in [
            (400, true),
            (404, true),
            (409, false),
            (429, false),
            (503, false),
        ] {
            assert_eq!(
                JetStreamError::failure(code, "").is_final(),
                is_final,
                "{code}"
            );
        }
    }

    #[test]
    fn nobody_who_answers_is_an_answer_that_says_so() {
        let nobody = NatsMessage {
            headers: NatsHeaders::read(b"NATS/1.0 503\r\n\r\n").unwrap(),
            ..NatsMessage::default()
        };
        assert_eq!(JetStreamAnswer::of(&nobody).unwrap_err().code, 503);
    }

    #[test]
    fn a_position_is_read_in_both_forms() {
        let expected = JetStreamPosition {
            stream: 12,
            consumer: 3,
            nanos: 1_700_000_000_000_000_000,
            pending: 4,
        };
        for reply in [
            "$JS.ACK.S.C.1.12.3.1700000000000000000.4",
            "$JS.ACK._.acc.S.C.1.12.3.1700000000000000000.4",
            "$JS.ACK.hub.acc.S.C.1.12.3.1700000000000000000.4.random",
        ] {
            assert_eq!(JetStreamPosition::read(reply), Some(expected), "{reply}");
        }
        for wrong in [
            "",
            "_INBOX.x",
            "$JS.ACK.S.C.1.12.3.x.4",
            "$JS.ACK.S.C.1.2.3.4",
            "$JS.ACK.S.C.1.2.3.4.5.6",
        ] {
            assert_eq!(JetStreamPosition::read(wrong), None, "{wrong}");
        }
    }
}
