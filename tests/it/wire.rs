//! Every decoder: whole, byte by byte, split at every point, with a tail left alone, and garbage.
//!
//! The harness plays the read buffer: it keeps what was not taken, adds what comes, and asks until
//! the answer is "not yet". A decoder that depends on how bytes were cut cannot pass it.

use onepoll::wire::{
    AttachedNews, BURST_BYTES_MAX, Burst, CommandHeader, Decimal, DecimalLength, Decode,
    DecodeSettled, ERROR_BYTES_MAX, Encode, Escaped, FRAME_BYTES_MAX, Framed, HEADER_BYTES_MAX,
    JsonHeader, LENGTH_BYTES, LINE_BYTES_MAX, Length, Line, Md5, Prefix, Prefixed, Request,
    TalkMessage, TalkMessages, UpperCase, WireError, hangs_up, md5_hex, neutralise,
    trim_ascii_white, upper,
};
use proptest::prelude::*;

// The harness.

/// What a decoder said about some input: its frames, and how it ended.
#[derive(Debug, PartialEq)]
struct Heard<O> {
    frames: Vec<O>,
    end: Result<(), WireError>,
}

/// Feeds `chunks` one after another, then the end of input.
fn hear<'c, D: Decode, O>(
    mut decoder: D,
    chunks: impl IntoIterator<Item = &'c [u8]>,
    own: impl Fn(D::Frame<'_>) -> O,
) -> Heard<O> {
    let mut frames = Vec::new();
    let mut unread = Vec::new();
    let mut drain = |unread: &mut Vec<u8>, eof: bool| {
        loop {
            let taken = match ask(&mut decoder, unread, eof) {
                Ok(None) => return Ok(()),
                Ok(Some((frame, taken))) => {
                    frames.push(own(frame));
                    taken
                }
                Err(error) => {
                    let again = ask(&mut decoder, unread, eof).err();
                    assert_eq!(again.as_ref(), Some(&error), "never is never");
                    return Err(error);
                }
            };
            assert!(taken > 0, "a frame of no bytes would spin");
            unread.drain(..taken);
        }
    };
    let mut end = Ok(());
    for chunk in chunks {
        unread.extend_from_slice(chunk);
        end = drain(&mut unread, false);
        if end.is_err() {
            break;
        }
    }
    if end.is_ok() {
        end = drain(&mut unread, true);
        assert!(
            end.is_err() || unread.is_empty(),
            "the end left bytes behind"
        );
    }
    Heard { frames, end }
}

fn ask<'b, D: Decode>(
    decoder: &mut D,
    unread: &'b [u8],
    eof: bool,
) -> Result<Option<(D::Frame<'b>, usize)>, WireError> {
    if eof {
        decoder.decode_eof(unread)
    } else {
        decoder.decode(unread)
    }
}

/// `input` gives `frames` and then `end`, however it is cut.
fn hears<D, O>(
    make: impl Fn() -> D,
    own: impl Fn(D::Frame<'_>) -> O,
    input: &[u8],
    frames: &[O],
    end: Result<(), WireError>,
) where
    D: Decode,
    O: std::fmt::Debug + PartialEq + Clone,
{
    let expected = Heard {
        frames: frames.to_vec(),
        end,
    };
    assert_eq!(hear(make(), [input], &own), expected, "whole");
    assert_eq!(
        hear(make(), input.chunks(1), &own),
        expected,
        "byte by byte"
    );
    for at in 0..=input.len() {
        let (head, tail) = input.split_at(at);
        assert_eq!(hear(make(), [head, tail], &own), expected, "split at {at}");
    }
}

/// The first frame of `input` and `tail` takes exactly `input`, however both were cut.
fn leaves_tail<D: Decode>(make: impl Fn() -> D, input: &[u8], tail: &[u8]) {
    let all = [input, tail].concat();
    for start in 0..=all.len() {
        let mut decoder = make();
        // Cut once at `start`, then byte by byte until there is a frame.
        let taken = (start..=all.len()).find_map(|upto| {
            let answer = decoder
                .decode(&all[..upto])
                .expect("the input is well-formed");
            answer.map(|(_, taken)| taken)
        });
        assert_eq!(taken, Some(input.len()), "first {start} bytes at once");
    }
}

fn bytes(frame: &[u8]) -> Vec<u8> {
    frame.to_vec()
}

fn owned(frames: &[&[u8]]) -> Vec<Vec<u8>> {
    frames.iter().map(|frame| frame.to_vec()).collect()
}

fn encoded(frame: &(impl Encode + ?Sized)) -> Vec<u8> {
    let mut out = b"before".to_vec();
    frame.encode(&mut out);
    assert!(out.starts_with(b"before"), "encode only appends");
    out.split_off(6)
}

// Lines.

#[test]
fn fault_b2_lines_are_the_same_at_every_split_point() {
    let input = b"one\r\n\ntwo\r\r\n\r\n \rthree\nlast";
    let frames: &[&[u8]] = &[b"one", b"", b"two\r", b"", b" \rthree", b"last"];
    hears(Line::default, bytes, input, &owned(frames), Ok(()));
    hears(Request::default, bytes, input, &owned(frames), Ok(()));
}

#[test]
fn a_line_leaves_its_tail_alone() {
    leaves_tail(Line::default, b"one\r\n", b"two\n");
    leaves_tail(Line::default, b"\n", b"\n\n");
    leaves_tail(Request::default, b"ls\n", b"date");
}

#[test]
fn the_end_of_input_ends_the_last_line() {
    hears(Line::default, bytes, b"", &[], Ok(()));
    hears(Line::default, bytes, b"quit\r", &owned(&[b"quit"]), Ok(()));
    hears(Line::default, bytes, b"\r", &owned(&[b""]), Ok(()));
}

#[test]
fn fault_b8_a_line_at_the_limit_passes_and_one_byte_more_does_not() {
    let limit = b"12345".as_slice();
    let too_long = Err(WireError::TooLong {
        what: "line",
        len: 6,
        max: 5,
    });
    for terminator in [b"\n".as_slice(), b"\r\n", b"\r", b""] {
        let fits = [limit, terminator].concat();
        let over = [limit, b"6", terminator].concat();
        hears(|| Line::new(5), bytes, &fits, &owned(&[limit]), Ok(()));
        hears(|| Line::new(5), bytes, &over, &[], too_long.clone());
        hears(|| Request::new(5), bytes, &over, &[], too_long.clone());
    }
    // A CR in the place of the terminator's, and then no LF.
    hears(|| Line::new(5), bytes, b"12345\rx\n", &[], too_long);
}

#[test]
fn fault_b9_an_endless_line_is_refused_at_the_default_limit() {
    let line = vec![b'x'; LINE_BYTES_MAX + 1];
    assert_eq!(Line::default().decode(&line[..LINE_BYTES_MAX]), Ok(None));
    let error = Line::default().decode(&line).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line of 65537 bytes is longer than the limit of 65536"
    );
    // No limit does not overflow.
    assert_eq!(Line::new(usize::MAX).decode(&line), Ok(None));
    // A caller that sizes a buffer by the limit is told it.
    assert_eq!(
        (Line::default().max(), Line::new(7).max()),
        (LINE_BYTES_MAX, 7)
    );
}

#[test]
fn fault_b1_no_byte_of_a_line_is_looked_at_twice() {
    // Put an LF where the decoder has been: if it looked there again, it would find it.
    let mut unread = vec![b'x'; 1000];
    let mut line = Line::default();
    let mut request = Request::default();
    for upto in 0..=1000 {
        assert_eq!(line.decode(&unread[..upto]), Ok(None));
        assert_eq!(request.decode(&unread[..upto]), Ok(None));
    }
    unread.fill(b'\n');
    assert_eq!(line.decode(&unread), Ok(None));
    assert_eq!(request.decode(&unread), Ok(None));
    unread.push(b'\n');
    assert!(matches!(line.decode(&unread), Ok(Some((_, 1001)))));
    assert!(matches!(request.decode(&unread), Ok(Some((_, 1001)))));
    // And after a frame it begins anew.
    assert_eq!(line.decode(b"\nabc"), Ok(Some((&b""[..], 1))));
    assert_eq!(line.decode(b"abc"), Ok(None));
    assert_eq!(line.decode_eof(b"abc"), Ok(Some((&b"abc"[..], 3))));
    assert_eq!(line.decode(b"\n"), Ok(Some((&b""[..], 1))));
    // Which holds for what settled as well.
    assert_eq!(request.decode(b"abc"), Ok(None));
    assert_eq!(request.settled(b"abc"), Ok(Some((&b"abc"[..], 3))));
    assert_eq!(request.decode(b"\n"), Ok(Some((&b""[..], 1))));
}

#[test]
fn a_line_whose_searched_bytes_somebody_took_does_not_hang() {
    let mut line = Line::default();
    assert_eq!(line.decode(b"recv_ready"), Ok(None));
    // A burst took them, and this is what came then.
    assert_eq!(line.decode(b"date\n"), Ok(Some((&b"date"[..], 5))));
}

#[test]
fn fault_b1_a_long_line_byte_by_byte_is_one_frame() {
    let mut input = vec![b'x'; LINE_BYTES_MAX];
    input.push(b'\n');
    let mut line = Line::default();
    let frame = (0..=input.len()).find_map(|upto| line.decode(&input[..upto]).unwrap());
    assert_eq!(frame, Some((&input[..LINE_BYTES_MAX], LINE_BYTES_MAX + 1)));
}

#[test]
fn fault_b3_ten_thousand_lines_in_one_piece_come_out_in_order() {
    let input: String = (0..10_000).map(|n| format!("{n}\r\n")).collect();
    let heard = hear(Line::default(), [input.as_bytes()], bytes);
    assert_eq!(heard.end, Ok(()));
    assert_eq!(heard.frames.len(), 10_000);
    for (n, frame) in heard.frames.iter().enumerate() {
        assert_eq!(frame, n.to_string().as_bytes());
    }
}

// Talk.

#[test]
fn t5_messages_are_lines_or_bursts_without_their_end() {
    let lines = || TalkMessages::lines(5);
    let input = b"one\r\n\nq\r\r\nlast";
    let frames: &[&[u8]] = &[b"one", b"", b"q\r", b"last"];
    hears(lines, bytes, input, &owned(frames), Ok(()));
    leaves_tail(lines, b"one\r\n", b"two");
    let too_long = Err(WireError::TooLong {
        what: "line",
        len: 6,
        max: 5,
    });
    hears(lines, bytes, b"123456", &[], too_long);
    // Silence ends no line.
    assert_eq!(lines().settled(b"hel"), Ok(None));
    let mut bursts = TalkMessages::bursts(8);
    for (burst, message) in [
        (&b"two\nrow\n"[..], &b"two\nrow"[..]),
        (b"one\r\n", b"one"),
        (b"\n", b""),
    ] {
        assert_eq!(bursts.decode(burst), Ok(Some((message, burst.len()))));
        assert_eq!(bursts.settled(burst), Ok(Some((message, burst.len()))));
    }
    assert_eq!(bursts.decode(b"hello"), Ok(None));
    assert_eq!(bursts.settled(b"a\nq"), Ok(Some((&b"a\nq"[..], 3))));
    assert_eq!(bursts.decode_eof(b"q\r"), Ok(Some((&b"q"[..], 2))));
    assert!(bursts.decode(b"123456789").is_err());
}

#[test]
fn t5_q_alone_hangs_up_and_nothing_else_does() {
    for message in [&b"q"[..], b"Q"] {
        assert!(hangs_up(message));
    }
    for message in [
        &b""[..],
        b"qq",
        b" q",
        b"q ",
        b"q\n",
        "ｑ".as_bytes(),
        b"quit",
    ] {
        assert!(!hangs_up(message), "{message:?}");
    }
    let said = |is_bare| {
        encoded(&TalkMessage {
            text: b"hi",
            is_bare,
        })
    };
    assert_eq!(
        (said(false), said(true)),
        (b"hi\n".to_vec(), b"hi".to_vec())
    );
}

#[test]
fn t5_what_the_person_is_told_is_read_back_and_nothing_in_it_acts() {
    let told = |news: AttachedNews<'_>| String::from_utf8(encoded(&news)).unwrap();
    for news in [
        AttachedNews::Called("127.0.0.1:5000"),
        AttachedNews::Said(b"* not the server"),
        AttachedNews::Said(b""),
        AttachedNews::Over("it hung up"),
        AttachedNews::Notice("nobody has called yet"),
        AttachedNews::Refused("somebody is attached already"),
    ] {
        let line = told(news);
        let line = line.strip_suffix('\n').unwrap();
        assert_eq!(AttachedNews::of(line.as_bytes()), Some(news));
    }
    let hostile = told(AttachedNews::Said(b"a\x1b[2J\r\n- it hung up\rb\xff"));
    assert_eq!(hostile, "< a\u{fffd}[2J\n< - it hung up\u{fffd}b\u{fffd}\n");
    for line in [&b""[..], b"<", b"x y", b"hello", b"+ \xff"] {
        assert_eq!(AttachedNews::of(line), None, "{line:?}");
    }
}

// Bursts.

#[test]
fn t3_a_burst_is_over_at_a_newline_and_keeps_those_inside() {
    let mut burst = Burst::default();
    assert_eq!(burst.decode(b""), Ok(None));
    assert_eq!(burst.decode(b"two\nlines"), Ok(None));
    assert_eq!(
        burst.decode(b"two\nlines\n"),
        Ok(Some((&b"two\nlines\n"[..], 10)))
    );
}

#[test]
fn t3_a_burst_byte_by_byte_is_one_burst() {
    let whole = owned(&[b"hello\r\n"]);
    hears(Burst::default, bytes, b"hello\r\n", &whole, Ok(()));
    let unterminated = owned(&[b"hello"]);
    hears(Burst::default, bytes, b"hello", &unterminated, Ok(()));
}

#[test]
fn t4_silence_ends_a_burst_and_nothing_is_no_burst() {
    let mut burst = Burst::default();
    assert_eq!(burst.settled(b""), Ok(None));
    assert_eq!(burst.settled(b"hi"), Ok(Some((&b"hi"[..], 2))));
    assert_eq!(burst.decode_eof(b""), Ok(None));
    assert_eq!(burst.decode_eof(b"hi"), Ok(Some((&b"hi"[..], 2))));
}

#[test]
fn fault_b8_a_burst_at_the_limit_passes_and_one_byte_more_does_not() {
    let mut burst = Burst::default();
    let mut unread = vec![b'x'; BURST_BYTES_MAX];
    assert_eq!(burst.decode(&unread), Ok(None));
    assert!(matches!(burst.settled(&unread), Ok(Some(_))));
    unread.push(b'\n');
    let error = Err(WireError::TooLong {
        what: "burst",
        len: 65_537,
        max: 65_536,
    });
    assert_eq!(burst.decode(&unread), error);
    assert_eq!(burst.settled(&unread), error);
    assert_eq!(burst.decode_eof(&unread), error);
}

#[test]
fn c1_a_request_is_a_line_or_what_settles() {
    let mut request = Request::default();
    let glued = b"ls\r\n\ndate\r";
    assert_eq!(request.decode(glued), Ok(Some((&b"ls"[..], 4))));
    assert_eq!(request.decode(&glued[4..]), Ok(Some((&b""[..], 1))));
    assert_eq!(request.decode(&glued[5..]), Ok(None));
    assert_eq!(request.settled(&glued[5..]), Ok(Some((&b"date"[..], 5))));
    assert_eq!(request.settled(b""), Ok(None));
    // Silence after several: one at a time, in order.
    assert_eq!(request.settled(glued), Ok(Some((&b"ls"[..], 4))));
    // The newline that came after the silence is an empty request, which the service ignores.
    assert_eq!(request.decode(b"\n"), Ok(Some((&b""[..], 1))));
}

// White space and case.

#[test]
fn t3_strip_is_pythons_strip() {
    assert_eq!(
        trim_ascii_white(b" \t\n\r\x0b\x0ca b\x0b c\x0c\x0b\r\n\t "),
        b"a b\x0b c"
    );
    assert_eq!(trim_ascii_white(b" \x0b "), b"");
    assert_eq!(trim_ascii_white(b""), b"");
    // What Python does not strip: NUL, the separators 0x1c to 0x1f, NEL, and no-break space.
    let kept = b"\0\x1c\x1f\x85\xa0";
    assert_eq!(trim_ascii_white(kept), kept);
}

#[test]
fn t2_upper_is_pythons_upper() {
    let mut all: Vec<u8> = (0..=255).collect();
    upper(&mut all);
    for (byte, upper) in (0..=255_u8).zip(&all) {
        let expected = if byte.is_ascii_lowercase() {
            byte - 32
        } else {
            byte
        };
        assert_eq!(*upper, expected);
    }
    assert_eq!(
        encoded(&UpperCase("aZ ß 你".as_bytes())),
        "AZ ß 你".as_bytes()
    );
}

// Decimal lengths.

#[test]
fn c2_a_decimal_length_is_its_digits_and_comes_back() {
    for (value, digits) in [
        (0, "0"),
        (10_240, "10240"),
        (u64::MAX, "18446744073709551615"),
    ] {
        assert_eq!(encoded(&Decimal(value)), digits.as_bytes());
        hears(
            || DecimalLength::new(u64::MAX),
            |value| value,
            digits.as_bytes(),
            &[value],
            Ok(()),
        );
    }
}

#[test]
fn c2_a_decimal_length_is_taken_only_when_it_settles() {
    let mut length = DecimalLength::new(1024);
    assert_eq!(length.decode(b"10"), Ok(None));
    assert_eq!(length.settled(b"10"), Ok(Some((10, 2))));
    assert_eq!(length.settled(b""), Ok(None));
    assert_eq!(length.decode_eof(b""), Ok(None));
    assert_eq!(length.settled(b"1024"), Ok(Some((1024, 4))));
}

#[test]
fn c2_a_decimal_length_above_the_limit_or_of_anything_else_is_refused() {
    let mut length = DecimalLength::new(1024);
    let refused = |len| {
        Err(WireError::TooLong {
            what: "output",
            len,
            max: 1024,
        })
    };
    assert_eq!(length.decode(b"1025"), refused(1025));
    assert_eq!(length.decode(b"99999999999999999999"), refused(u64::MAX));
    for junk in [
        "-1",
        "+1",
        "1_0",
        " 1",
        "1\n",
        "12a",
        "000000000000000000001",
    ] {
        let answer = length.decode(junk.as_bytes());
        assert!(
            matches!(answer, Err(WireError::Malformed { .. })),
            "{junk:?}: {answer:?}"
        );
    }
}

// Frames behind an i32.

#[test]
fn c3_frames_are_the_same_at_every_split_point() {
    let mut input = Vec::new();
    let payloads: &[&[u8]] = &[b"sbzz", b"", b"\x00\xff\n", b""];
    for payload in payloads {
        Framed::new(payload).unwrap().encode(&mut input);
    }
    assert_eq!(&input[..8], b"\x04\0\0\0sbzz");
    hears(Prefixed::default, bytes, &input, &owned(payloads), Ok(()));
}

#[test]
fn c3_a_frame_leaves_its_tail_alone() {
    leaves_tail(Prefixed::default, b"\x02\0\0\0hi", b"\x01\0\0\0");
    leaves_tail(Prefixed::default, b"\0\0\0\0", b"\xff\xff\xff\xff");
    leaves_tail(|| Length::new("output", 9), b"\x02\0\0\0", b"hi");
    leaves_tail(JsonHeader::<CommandHeader>::new, &header_bytes(), b"output");
}

#[test]
fn c3_a_length_alone_is_a_frame_of_its_own() {
    hears(
        || Length::new("output", 1024),
        |len| len,
        b"\x00\x04\0\0\0\0\0\0",
        &[1024, 0],
        Ok(()),
    );
    assert_eq!(encoded(&Prefix::new(1024).unwrap()), b"\x00\x04\0\0");
}

#[test]
fn fault_b4_length_0x7fffffff_is_refused_on_its_header() {
    let header = 0x7fff_ffff_i32.to_le_bytes();
    let refused = |what, max| {
        Err(WireError::TooLong {
            what,
            len: 0x7fff_ffff,
            max,
        })
    };
    hears(
        Prefixed::default,
        bytes,
        &header,
        &[],
        refused("frame", 65_536),
    );
    hears(
        || Length::new("output", 1 << 20),
        |len| len,
        &header,
        &[],
        refused("output", 1 << 20),
    );
    hears(
        JsonHeader::<CommandHeader>::new,
        |header| header,
        &header,
        &[],
        refused("header", 4096),
    );
}

#[test]
fn fault_b5_negative_lengths_are_refused_on_their_header() {
    for said in [-1, i32::MIN, -65_536] {
        let refused = |what| {
            Err(WireError::Negative {
                what,
                len: i64::from(said),
            })
        };
        let input = said.to_le_bytes();
        hears(Prefixed::default, bytes, &input, &[], refused("frame"));
        // Also where the limit is no limit.
        hears(
            || Prefixed::new(usize::MAX),
            bytes,
            &input,
            &[],
            refused("frame"),
        );
        hears(
            || Length::new("output", usize::MAX),
            |len| len,
            &input,
            &[],
            refused("output"),
        );
    }
}

#[test]
fn fault_b6_a_frame_of_length_zero_is_a_frame() {
    hears(Prefixed::default, bytes, &[0; 4], &owned(&[b""]), Ok(()));
    assert_eq!(encoded(&Framed::new(b"").unwrap()), [0; 4]);
}

#[test]
fn fault_b7_empty_frames_take_bytes_and_come_one_at_a_time() {
    let heard = hear(Prefixed::default(), [[0; 4000].as_slice()], <[u8]>::len);
    assert_eq!(heard.frames, vec![0; 1000]);
}

#[test]
fn fault_b8_a_frame_at_the_limit_passes_and_one_byte_more_does_not() {
    let payload = vec![b'x'; FRAME_BYTES_MAX + 1];
    let fits = encoded(&Framed::new(&payload[..FRAME_BYTES_MAX]).unwrap());
    let over = encoded(&Framed::new(&payload).unwrap());
    assert_eq!(
        Prefixed::default().decode(&fits),
        Ok(Some((&payload[..FRAME_BYTES_MAX], fits.len())))
    );
    // On the header: none of the payload is needed.
    assert_eq!(
        Prefixed::default().decode(&over[..LENGTH_BYTES]),
        Err(WireError::TooLong {
            what: "frame",
            len: 65_537,
            max: 65_536
        })
    );
    assert!(Prefix::new(0x7fff_ffff).is_ok());
    assert!(Prefix::new(0x8000_0000).is_err());
}

#[test]
fn fault_b15_the_end_inside_a_frame_is_an_error_at_every_byte() {
    let frame = encoded(&Framed::new(b"sbzz").unwrap());
    for have in 1..frame.len() {
        assert_eq!(
            Prefixed::default().decode_eof(&frame[..have]),
            Err(WireError::Truncated { have })
        );
    }
    assert_eq!(Prefixed::default().decode_eof(b""), Ok(None));

    let header = header_bytes();
    for have in 1..header.len() {
        assert_eq!(
            JsonHeader::<CommandHeader>::new().decode_eof(&header[..have]),
            Err(WireError::Truncated { have })
        );
    }
}

// JSON headers.

fn header_bytes() -> Vec<u8> {
    encoded(&CommandHeader::new(b"hello\n", Some(0), None))
}

fn json_frame(json: &str) -> Vec<u8> {
    encoded(&Framed::new(json.as_bytes()).unwrap())
}

#[test]
fn c4_the_header_is_what_the_tutorials_read() {
    let bytes = header_bytes();
    assert_eq!(
        std::str::from_utf8(&bytes[LENGTH_BYTES..]).unwrap(),
        "{\"filename\":\"output\",\"data_size\":6,\"total_size\":6,\
         \"md5\":\"b1946ac92492d2347c6235b4d2611184\",\"exit\":0}"
    );
    let header = CommandHeader::new(b"hello\n", Some(0), None);
    hears(
        JsonHeader::<CommandHeader>::new,
        |header| header,
        &bytes,
        &[header],
        Ok(()),
    );
}

#[test]
fn c4_unknown_fields_are_ignored_and_known_ones_may_be_missing() {
    let frame = json_frame("{\"x\":[{}],\"data_size\":1073741824000}");
    let (header, taken) = JsonHeader::<CommandHeader>::new()
        .decode(&frame)
        .unwrap()
        .unwrap();
    assert_eq!(taken, frame.len());
    assert_eq!(header.filename, "output");
    assert_eq!(header.data_size, 1_073_741_824_000);
    assert_eq!((header.exit, header.error), (None, None));
}

#[test]
fn c4_the_longest_error_still_fits_the_header() {
    for text in ["\0", "a", "\"", "你", "\u{10ffff}"] {
        let error = text.repeat(HEADER_BYTES_MAX);
        let header = CommandHeader::new(b"", Some(i32::MIN), Some(&error));
        let kept = header.error.as_deref().unwrap();
        assert!(error.starts_with(kept) && kept.len() > ERROR_BYTES_MAX - 4);
        let bytes = encoded(&header);
        let (back, _) = JsonHeader::<CommandHeader>::new()
            .decode(&bytes)
            .unwrap()
            .unwrap();
        assert_eq!(back, header);
    }
}

#[test]
fn c4_what_is_no_header_is_refused_and_says_why() {
    for (json, said) in [
        ("", "not an object"),
        ("[\"output\", 1, 1, \"\", 0, null]", "not an object"),
        ("{}", "missing field `data_size`"),
        ("{\"data_size\":1} {}", "trailing characters"),
    ] {
        no_header(json, said);
    }
}

/// What is said of a frame with this JSON.
fn no_header(json: &str, said: &str) {
    match JsonHeader::<CommandHeader>::new().decode(&json_frame(json)) {
        Err(WireError::Malformed { what, detail }) => {
            assert_eq!(what, "header");
            assert!(detail.contains(said), "{json:.60}: {detail}");
            assert!(!detail.contains('\n'), "{detail}");
        }
        other => panic!("{json:.60}: {other:?}"),
    }
}

#[test]
fn fault_c3_json_that_is_nested_deep_is_refused_without_the_stack_for_it() {
    // As deep as a header is long; a thread with a small stack has no room for a frame each.
    let deep = ["[", "{\"x\":"].map(|open| {
        let depth = (HEADER_BYTES_MAX - 30) / open.len();
        format!("{{\"data_size\":1,\"x\":{}", open.repeat(depth))
    });
    let thread = std::thread::Builder::new().stack_size(256 << 10);
    let looks = thread.spawn(move || {
        deep.iter()
            .for_each(|json| no_header(json, "line 1 column"));
    });
    looks.unwrap().join().unwrap();
    // 100,000 levels are longer than any header.
    let frame = json_frame(&"[".repeat(100_000));
    let answer = JsonHeader::<CommandHeader>::new().decode(&frame);
    assert!(
        matches!(answer, Err(WireError::TooLong { .. })),
        "{answer:?}"
    );
}

#[test]
fn fault_c5_keys_that_come_twice_are_refused() {
    for (key, value) in [
        ("filename", "\"a\""),
        ("data_size", "1"),
        ("total_size", "1"),
        ("md5", "\"\""),
        ("exit", "0"),
        ("error", "\"a\""),
        ("cut", "1"),
    ] {
        // Also if both say the same, and if they are written in different ways.
        let (first, rest) = key.split_at(1);
        let escaped = format!("\\u{:04x}{rest}", first.as_bytes()[0]);
        for again in [key, &escaped] {
            let json = format!("{{\"{key}\":{value},\"{again}\":{value},\"data_size\":1}}");
            no_header(&json, &format!("duplicate field `{key}`"));
        }
    }
}

#[test]
fn fault_c6_a_field_of_the_wrong_type_or_size_is_one_error_that_says_where() {
    for (value, said) in [
        ("-1", "`-1`"),
        ("-0", "`-0.0`"),
        ("-0.0", "`-0.0`"),
        ("1.0", "`1.0`"),
        ("1.5", "`1.5`"),
        ("\"10\"", "\"10\""),
        ("true", "`true`"),
        ("null", "null"),
        ("[1]", "sequence"),
        ("{}", "map"),
        ("1e400", "out of range"),
        ("1e3", "`1000.0`"),
        ("18446744073709551616", ""),
        ("01", "invalid number"),
        ("+1", "expected value"),
        ("0x10", ""),
    ] {
        for field in ["data_size", "total_size", "cut"] {
            if (field, value) == ("cut", "null") {
                // As good as absent.
                continue;
            }
            no_header(
                &format!("{{\"data_size\":1,\"{field}\":{value}}}").replace(
                    &format!("\"data_size\":1,\"data_size\":{value}"),
                    &format!("\"data_size\":{value}"),
                ),
                said,
            );
        }
    }
    for exit in ["2147483648", "-2147483649", "-0", "1.5", "\"0\""] {
        no_header(
            &format!("{{\"data_size\":1,\"exit\":{exit}}}"),
            "line 1 column",
        );
    }
    // What a double cannot hold is told exactly, and so is the largest.
    for size in [(1_u64 << 53) + 1, u64::MAX] {
        let frame = json_frame(&format!("{{\"data_size\":{size}}}"));
        let decoded = JsonHeader::<CommandHeader>::new().decode(&frame).unwrap();
        assert_eq!(decoded.unwrap().0.data_size, size);
    }
}

#[test]
fn fault_c7_no_number_is_not_a_number() {
    for value in ["NaN", "nan", "Infinity", "-Infinity", "inf", "-inf"] {
        for field in ["total_size", "exit", "cut", "x"] {
            no_header(
                &format!("{{\"data_size\":1,\"{field}\":{value}}}"),
                "line 1 column",
            );
        }
    }
}

#[test]
fn fault_c4_a_header_of_one_gibibyte_is_refused_on_its_length() {
    let answer = JsonHeader::<CommandHeader>::new().decode(&(1_i32 << 30).to_le_bytes());
    assert!(matches!(
        answer,
        Err(WireError::TooLong { what: "header", .. })
    ));
    let limit = i32::try_from(HEADER_BYTES_MAX).unwrap();
    let mut header = JsonHeader::<CommandHeader>::new();
    assert_eq!(header.decode(&limit.to_le_bytes()), Ok(None));
    assert!(header.decode(&(limit + 1).to_le_bytes()).is_err());
}

#[test]
fn fault_c8_what_serde_quotes_is_escaped() {
    let frame = json_frame("{\"data_size\":\"\\u001b[2J\\n\\u202e\"}");
    let error = JsonHeader::<CommandHeader>::new()
        .decode(&frame)
        .unwrap_err();
    let said = error.to_string();
    assert!(!said.contains(['\x1b', '\n', '\u{202e}']), "{said}");
}

#[test]
fn c4_md5_is_the_same_however_it_is_fed() {
    assert_eq!(md5_hex(b""), "d41d8cd98f00b204e9800998ecf8427e");
    let mut md5 = Md5::new();
    for piece in b"hello\n".chunks(1) {
        md5.update(piece);
    }
    assert_eq!(md5.finish(), md5_hex(b"hello\n"));
}

// Text that is safe to show.

fn neutral(bytes: &[u8]) -> String {
    let mut out = b"eva: ".to_vec();
    neutralise(bytes, &mut out);
    let text = String::from_utf8(out).expect("what is shown is UTF-8");
    text.strip_prefix("eva: ")
        .expect("it only appends")
        .to_owned()
}

#[test]
fn t6_valid_text_stays_as_it_is() {
    for text in [
        "",
        "plain\tASCII ~ !\"#$%&'{}\\",
        "你好，世界",
        "👩‍👩‍👧 🇨🇳 e\u{301} – “quoted” … €",
        "שלום \u{200f}abc\u{200e} العربية",
        "\u{a0}¿\u{ff}\u{2027}\u{202f}\u{2065}\u{206a}\u{10ffff}",
    ] {
        assert_eq!(neutral(text.as_bytes()), text);
    }
}

#[test]
fn fault_c1_what_is_not_utf8_becomes_replacement_characters() {
    for bytes in [
        b"\xff".as_slice(),
        b"a\x80b",
        b"\xc0\xafx",    // overlong
        b"\xed\xa0\x80", // surrogate
        b"\xe4\xbd",     // cut
        b"\xe4\xbd\xa0\xe4 ok",
        b"\xf4\x90\x80\x80", // above U+10FFFF
        b"\xc4\xe3\xba\xc3", // GBK
        b"\xe2\x80",         // cut where the bidi controls are
    ] {
        assert_eq!(neutral(bytes), String::from_utf8_lossy(bytes));
    }
}

#[test]
fn fault_c8_what_acts_on_a_terminal_is_replaced() {
    for c in (0..=0x10_ffff).filter_map(char::from_u32) {
        let acts = (c.is_control() && c != '\t')
            || ('\u{2028}'..='\u{202e}').contains(&c)
            || ('\u{2066}'..='\u{2069}').contains(&c);
        let shown = if acts { '\u{fffd}' } else { c };
        let mut text = [0; 4];
        let line = neutral(c.encode_utf8(&mut text).as_bytes());
        assert!(line.chars().eq([shown]), "U+{:04X}", u32::from(c));
    }
    assert_eq!(
        neutral("\x1b]0;owned\x07你\u{9b}31m\r\n\u{202e}\x7f.".as_bytes()),
        "\u{fffd}]0;owned\u{fffd}你\u{fffd}31m\u{fffd}\u{fffd}\u{fffd}\u{fffd}."
    );
}

#[test]
fn fault_c8_a_log_line_stays_one_line_and_says_what_came() {
    for (bytes, shown) in [
        (b"eva".as_slice(), "eva"),
        ("你好 👋".as_bytes(), "你好 👋"),
        (b"a\nb\r\t\0\x1b[31m\x7f", r"a\x0ab\x0d\x09\x00\x1b[31m\x7f"),
        (b"\x85\xff\xe4\xbd", r"\x85\xff\xe4\xbd"),
        (
            "\u{85}\u{9b}\u{2028}\u{2029}".as_bytes(),
            r"\u{85}\u{9b}\u{2028}\u{2029}",
        ),
        (
            "\u{202e}\u{2066}\u{200b}\u{feff}".as_bytes(),
            r"\u{202e}\u{2066}\u{200b}\u{feff}",
        ),
        (br"\x1b", r"\\x1b"),
    ] {
        assert_eq!(Escaped(bytes).to_string(), shown);
        assert_eq!(format!("{:?}", Escaped(bytes)), format!("\"{shown}\""));
    }
}

#[test]
fn fault_c10_a_name_is_never_a_format() {
    let name = b"%s%n {} {0:?} %1$n";
    assert_eq!(Escaped(name).to_string().as_bytes(), name);
    assert_eq!(neutral(name).as_bytes(), name);
}

// Garbage.

/// Bytes that come near to meaning something: terminators, digits, small lengths, JSON.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        2 => Just(b'\n'),
        2 => Just(b'\r'),
        4 => Just(0),
        2 => 0..8_u8,
        2 => Just(0xff),
        2 => b'0'..=b'9',
        2 => prop::sample::select(b"{}[]\":,data_size".as_slice()),
        4 => any::<u8>(),
    ];
    prop::collection::vec(byte, 0..64)
}

/// However the bytes are cut, the same; and a frame, not yet or an error, which [`hear`] asserts.
fn same_however_cut<D: Decode, O: std::fmt::Debug + PartialEq>(
    make: impl Fn() -> D,
    own: impl Fn(D::Frame<'_>) -> O,
    input: &[u8],
    size: usize,
) {
    let whole = hear(make(), [input], &own);
    assert_eq!(whole, hear(make(), input.chunks(1), &own));
    assert_eq!(whole, hear(make(), input.chunks(size), &own));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn garbage_is_a_frame_or_not_yet_or_an_error(input in garbage(), size in 2..20_usize, max in 0..20_usize) {
        same_however_cut(|| Line::new(max), bytes, &input, size);
        same_however_cut(|| Request::new(max), bytes, &input, size);
        same_however_cut(|| Prefixed::new(max), bytes, &input, size);
        same_however_cut(|| Length::new("x", max), |len| len, &input, size);
        same_however_cut(JsonHeader::<CommandHeader>::new, |header| header, &input, size);
        let json = encoded(&Framed::new(&input).unwrap());
        same_however_cut(JsonHeader::<CommandHeader>::new, |header| header, &json, size);
    }

    #[test]
    fn garbage_in_bursts_is_lost_or_doubled_nowhere(input in garbage(), size in 1..20_usize) {
        let heard = hear(Burst::default(), input.chunks(size), bytes);
        prop_assert_eq!(heard.end, Ok(()));
        prop_assert_eq!(heard.frames.concat(), input);
    }

    #[test]
    fn garbage_as_a_decimal_length_is_refused_or_its_value(input in garbage()) {
        let mut length = DecimalLength::new(u64::MAX);
        let expected = std::str::from_utf8(&input)
            .ok()
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()) && text.len() <= 20)
            .and_then(|text| text.parse::<u64>().ok());
        match length.settled(&input) {
            Ok(Some((value, taken))) => prop_assert_eq!((Some(value), taken), (expected, input.len())),
            Ok(None) => prop_assert!(input.is_empty()),
            Err(_) => prop_assert_eq!(expected, None),
        }
    }

    #[test]
    fn garbage_shown_is_always_text_that_does_nothing(input in prop_oneof![
        garbage(),
        prop::collection::vec(any::<char>(), 0..16).prop_map(|text| String::from_iter(text).into_bytes()),
    ]) {
        let line = neutral(&input);
        prop_assert!(!line.chars().any(|c| c.is_control() && c != '\t'));
        prop_assert!(line.len() <= 3 * input.len());
        prop_assert_eq!(line.chars().count(), String::from_utf8_lossy(&input).chars().count());
        let log = Escaped(&input).to_string();
        prop_assert!(!log.chars().any(char::is_control));
        prop_assert!(log.len() <= 4 * input.len());
    }
}
