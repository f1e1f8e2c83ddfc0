//! The commands of NATS, of clients and of servers: whole, byte by byte, cut at every point, with a tail, and what is none.

use onepoll::wire::{
    Decode, Encode, NATS_INFO_BYTES_MAX, NATS_LINE_BYTES_MAX, NatsCommands, NatsFrame, NatsHeaders,
    NatsMessage, WireError,
};
use proptest::prelude::*;

use crate::hear::hear;

const PAYLOAD_MAX: usize = 64;

fn heard<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> (Vec<String>, Result<(), WireError>) {
    hear(NatsCommands::new(PAYLOAD_MAX), chunks, |heard, frame| {
        heard.push(format!("{frame:?}"));
    })
}

/// What is heard of it, however it is cut.
fn hears(input: &[u8]) -> (Vec<String>, Result<(), WireError>) {
    let whole = heard([input]);
    assert_eq!(heard(input.chunks(1)), whole, "byte by byte");
    for at in 0..=input.len() {
        let (head, tail) = input.split_at(at);
        assert_eq!(heard([head, tail]), whole, "cut at {at}");
    }
    whole
}

fn encoded(frames: &[NatsFrame<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    frames.iter().for_each(|frame| frame.encode(&mut out));
    out
}

fn headers(lines: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    NatsHeaders::write(lines, &mut bytes);
    bytes
}

#[test]
fn every_command_of_both_sides_is_read_back() {
    let written = headers(&[("Nats-Msg-Id", "7-1")]);
    let plain = NatsMessage {
        subject: "a.b",
        reply: None,
        headers: NatsHeaders::default(),
        payload: b"PING\r\nnot a command",
    };
    let full = NatsMessage {
        reply: Some("_INBOX.1"),
        headers: NatsHeaders::read(&written).unwrap(),
        ..plain
    };
    let empty = NatsMessage {
        payload: b"",
        ..plain
    };
    let frames = [
        NatsFrame::Info(br#"{"headers":true, "version":"2.9"}"#),
        NatsFrame::Connect(br#"{"verbose":false}"#),
        NatsFrame::Pub(plain),
        NatsFrame::Pub(full),
        NatsFrame::Pub(NatsMessage {
            reply: Some("r"),
            ..plain
        }),
        NatsFrame::Pub(NatsMessage {
            reply: None,
            ..full
        }),
        NatsFrame::Msg(3, plain),
        NatsFrame::Msg(u64::MAX, full),
        NatsFrame::Msg(
            3,
            NatsMessage {
                reply: Some("r"),
                ..plain
            },
        ),
        NatsFrame::Msg(
            3,
            NatsMessage {
                reply: None,
                ..full
            },
        ),
        NatsFrame::Msg(3, empty),
        NatsFrame::Sub {
            subject: "a.*.>",
            queue: None,
            sid: 9,
        },
        NatsFrame::Sub {
            subject: "a",
            queue: Some("q"),
            sid: 9,
        },
        NatsFrame::Unsub {
            sid: 9,
            after: None,
        },
        NatsFrame::Unsub {
            sid: 9,
            after: Some(5),
        },
        NatsFrame::Ping,
        NatsFrame::Pong,
        NatsFrame::Ok,
        NatsFrame::Err("Slow Consumer Detected"),
    ];
    let expected: Vec<String> = frames.iter().map(|frame| format!("{frame:?}")).collect();
    assert_eq!(hears(&encoded(&frames)), (expected, Ok(())));
}

#[test]
fn commands_are_taken_as_other_programs_write_them() {
    let (frames, end) = hears(b"ping\nPub  a\t5 \r\nhello\r\nInfo {}\n-ERR no quotes\r\n");
    assert_eq!(end, Ok(()));
    let message = NatsMessage {
        subject: "a",
        payload: b"hello",
        ..NatsMessage::default()
    };
    let expected = [
        NatsFrame::Ping,
        NatsFrame::Pub(message),
        NatsFrame::Info(b"{}"),
        NatsFrame::Err("no quotes"),
    ];
    assert_eq!(frames, expected.map(|frame| format!("{frame:?}")));
}

#[test]
fn a_command_leaves_its_tail_alone() {
    for command in [
        "PING\r\n",
        "PUB a 3\r\nabc\r\n",
        "HMSG a 1 12 12\r\nNATS/1.0\r\n\r\n\r\n",
    ] {
        let all = [command, "PONG\r\nPUB"].concat();
        for start in 0..=all.len() {
            let mut decoder = NatsCommands::new(PAYLOAD_MAX);
            let taken = (start..=all.len()).find_map(|upto| {
                let answer = decoder.decode(&all.as_bytes()[..upto]).unwrap();
                answer.map(|(_, taken)| taken)
            });
            assert_eq!(taken, Some(command.len()), "first {start} bytes at once");
        }
    }
}

#[test]
fn what_is_no_command_is_refused() {
    for wrong in [
        "HELLO\r\n",
        "\r\n",
        "PUB a\r\n",
        "PUB a -1\r\n",
        "PUB a +1\r\n",
        "PUB a 99999999999999999999\r\n",
        "PUB a..b 1\r\nx\r\n",
        "PUB .a 1\r\nx\r\n",
        "PUB a\u{7}b 1\r\nx\r\n",
        "PUB a 1\r\nxyz\r\n",
        "MSG a x 1\r\ny\r\n",
        "MSG a 1 r 1 1 1 1\r\ny\r\n",
        "HPUB a 5 3\r\nabc\r\n",
        "HPUB a 3 3\r\nabc\r\n",
        "SUB a\r\n",
        "UNSUB\r\n",
        "PING 1\r\n",
    ] {
        let (frames, end) = hears(wrong.as_bytes());
        assert!(
            frames.is_empty() && matches!(end, Err(WireError::Malformed { .. })),
            "{wrong:?}: {end:?}"
        );
    }
    let (_, end) = hears(b"PUB \xff 1\r\nx\r\n");
    assert!(matches!(end, Err(WireError::Malformed { .. })));
    assert_eq!(
        hears(b"PUB a 3\r\nab").1,
        Err(WireError::Truncated { have: 11 })
    );
}

#[test]
fn fault_b8_a_message_at_the_limit_passes_and_one_byte_more_does_not() {
    let message = |len: usize| format!("PUB a {len}\r\n{}\r\n", "x".repeat(len));
    assert_eq!(hears(message(PAYLOAD_MAX).as_bytes()).1, Ok(()));
    let (_, end) = heard([format!("PUB a {}\r\n", PAYLOAD_MAX + 1).as_bytes()]);
    assert!(
        matches!(
            end,
            Err(WireError::TooLong {
                len: 65,
                max: 64,
                ..
            })
        ),
        "{end:?}"
    );
}

#[test]
fn fault_b9_an_endless_line_is_refused_and_that_of_a_cluster_is_not() {
    let line = |verb: &str, len: usize| format!("{verb} {}\r\n", "x".repeat(len - verb.len() - 1));
    for (verb, max) in [("INFO", NATS_INFO_BYTES_MAX), ("-ERR", NATS_LINE_BYTES_MAX)] {
        assert_eq!(heard([line(verb, max).as_bytes()]).1, Ok(()));
        let long = line(verb, max + 1);
        // Told without waiting for its end, and the same however it is cut.
        for chunk in [1, 1000, long.len()] {
            let end = heard(long.as_bytes()[..max + 2].chunks(chunk)).1;
            assert!(
                matches!(end, Err(WireError::TooLong { .. })),
                "{verb} {chunk}: {end:?}"
            );
        }
    }
}

fn near_a_command() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "PUB ", "HPUB ", "MSG ", "HMSG ", "SUB ", "UNSUB ", "INFO ", "PING", "-ERR ", "+OK",
            "a.b ", "r ", "1 ", "12 ", "NATS/1.0", "\r\n", "\r\n\r\n", "\n", " ", "x",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..3),
    ];
    prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn garbage_is_a_command_or_not_yet_or_an_error(input in near_a_command(), size in 2..20_usize) {
        let whole = heard([&input[..]]);
        prop_assert_eq!(&whole, &heard(input.chunks(1)));
        prop_assert_eq!(&whole, &heard(input.chunks(size)));
    }

    #[test]
    fn any_message_is_read_back(payload in prop::collection::vec(any::<u8>(), 0..PAYLOAD_MAX), sid in any::<u64>()) {
        let message = NatsMessage { subject: "a.b", payload: &payload, ..NatsMessage::default() };
        let frame = NatsFrame::Msg(sid, message);
        let (frames, end) = heard([&encoded(&[frame])[..]]);
        prop_assert_eq!((frames, end), (vec![format!("{frame:?}")], Ok(())));
    }
}
