//! The frames of C5: whole, byte by byte, cut at every point, with a tail, and what is none.

use std::time::Duration;

use onepoll::wire::{
    CommandAnswer, CommandAnswers, CommandEnd, CommandError, CommandErrorKind, CommandRequest,
    CommandRequests, CommandSignal, Decode, Encode, Opening, RunCommand, STREAM_ARGUMENTS_MAX,
    STREAM_CHUNK_BYTES_MAX, STREAM_COMMAND_BYTES_MAX, STREAM_HEADER_BYTES_MAX, StdinChunk,
    StreamedCommand, WhyEnded, WireError,
};
use proptest::prelude::*;

use crate::hear::hear;

/// What was heard, however it was cut: data that came in pieces is one.
#[derive(Debug, Clone, PartialEq)]
enum Heard {
    Said(String),
    Data(String, Vec<u8>),
}

fn request(heard: &mut Vec<Heard>, request: &CommandRequest<'_>) {
    match request {
        CommandRequest::Part => {}
        CommandRequest::Stdin(bytes) => data(heard, "stdin", bytes),
        other => heard.push(Heard::Said(format!("{other:?}"))),
    }
}

fn answer(heard: &mut Vec<Heard>, answer: &CommandAnswer<'_>) {
    match answer {
        CommandAnswer::Part => {}
        CommandAnswer::Stdout(bytes) => data(heard, "stdout", bytes),
        CommandAnswer::Stderr(bytes) => data(heard, "stderr", bytes),
        other => heard.push(Heard::Said(format!("{other:?}"))),
    }
}

fn data(heard: &mut Vec<Heard>, which: &str, bytes: &[u8]) {
    match heard.last_mut() {
        Some(Heard::Data(name, all)) if name == which => all.extend_from_slice(bytes),
        _ => heard.push(Heard::Data(which.to_owned(), bytes.to_vec())),
    }
}

fn requests(chunks: &[&[u8]]) -> (Vec<Heard>, Result<(), WireError>) {
    let chunks = chunks.iter().copied();
    hear(CommandRequests::new(), chunks, |all, one| {
        request(all, &one);
    })
}

fn answers(chunks: &[&[u8]]) -> (Vec<Heard>, Result<(), WireError>) {
    let chunks = chunks.iter().copied();
    hear(CommandAnswers::new(), chunks, |all, one| answer(all, &one))
}

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

/// A frame as a client that imports nothing of ours writes it.
fn frame(json: &str, data: &[u8]) -> Vec<u8> {
    let len = u32::try_from(json.len()).unwrap();
    [&len.to_le_bytes()[..], json.as_bytes(), data].concat()
}

fn line(line: &str) -> RunCommand {
    RunCommand::new(StreamedCommand::Line(line.as_bytes().to_vec()))
}

fn program(arguments: &[&[u8]]) -> RunCommand {
    let arguments = arguments.iter().map(|bytes| bytes.to_vec()).collect();
    RunCommand::new(StreamedCommand::Program(arguments))
}

/// All kinds of requests, one after another.
fn conversation() -> (Vec<u8>, Vec<Heard>) {
    let full = RunCommand {
        directory: Some("/tmp/ä b".to_owned()),
        environment: vec!["LANG=C".to_owned(), "TERM=".to_owned()],
        timeout: Some(Duration::from_millis(1500)),
        has_input: true,
        ..line("cat > '\\\"'\n")
    };
    let runs = [
        full,
        line(""),
        program(&[b"ls", b"-l", b""]),
        program(&[b"ls", b"\xff\xfe", b""]),
        RunCommand::new(StreamedCommand::Line(b"echo \xff".to_vec())),
    ];
    let mut out = Vec::new();
    let mut expected = Vec::new();
    for run in runs {
        run.encode(&mut out).unwrap();
        let request = CommandRequest::Run(Box::new(run));
        expected.push(Heard::Said(format!("{request:?}")));
        for chunk in [&b"some input"[..], b"", b"\0\0\0\0"] {
            StdinChunk(chunk).encode(&mut out);
        }
        let input = b"some input\0\0\0\0".to_vec();
        expected.push(Heard::Data("stdin".to_owned(), input));
        for signal in CommandSignal::ALL {
            CommandRequest::Signal(signal).encode(&mut out);
            let signal = CommandRequest::Signal(signal);
            expected.push(Heard::Said(format!("{signal:?}")));
        }
        for request in [CommandRequest::StdinEnd, CommandRequest::Cancel] {
            request.encode(&mut out);
            expected.push(Heard::Said(format!("{request:?}")));
        }
    }
    (out, expected)
}

/// All kinds of answers, one after another.
fn replies() -> (Vec<u8>, Vec<Heard>) {
    let end = CommandEnd {
        exit: Some(3),
        wall: Duration::from_micros(1_234_567),
        stdin: 1,
        stdout: u64::MAX,
        stderr: 3,
        ..CommandEnd::default()
    };
    let killed = CommandEnd {
        exit: None,
        signal: Some(15),
        why: Some(WhyEnded::Timeout),
        is_cut: true,
        user: Some(Duration::from_micros(7)),
        system: Some(Duration::ZERO),
        peak: Some(1 << 40),
        ..end
    };
    let cancelled = CommandEnd {
        why: Some(WhyEnded::Cancel),
        ..killed
    };
    let mut frames = vec![
        CommandAnswer::Started { id: u64::MAX },
        CommandAnswer::Stdout(b"to out"),
        CommandAnswer::Stderr(b"to err\0"),
        CommandAnswer::Stdout(b""),
        CommandAnswer::Credit(65_536),
        CommandAnswer::StdinClosed,
        CommandAnswer::End(end),
        CommandAnswer::End(killed),
        CommandAnswer::End(cancelled),
    ];
    frames.extend(CommandErrorKind::ALL.map(|kind| {
        CommandAnswer::Error(CommandError {
            kind,
            errno: Some(2).filter(|_| kind == CommandErrorKind::CannotStart),
            message: format!("{kind}: \u{1b}[31m\n"),
        })
    }));
    let mut out = Vec::new();
    let mut expected = Vec::new();
    for frame in &frames {
        frame.encode(&mut out);
        match frame {
            CommandAnswer::Stdout(b"") => {}
            frame => answer(&mut expected, frame),
        }
    }
    (out, expected)
}

#[test]
fn fault_b1_b2_frames_are_the_same_however_they_are_cut() {
    let (out, expected) = conversation();
    assert_eq!(requests(&[&out]), (expected.clone(), Ok(())));
    let bytes: Vec<&[u8]> = out.chunks(1).collect();
    assert_eq!(requests(&bytes), (expected.clone(), Ok(())));
    for at in 0..=out.len() {
        let (head, tail) = out.split_at(at);
        assert_eq!(requests(&[head, tail]), (expected.clone(), Ok(())), "{at}");
    }
    let (out, expected) = replies();
    assert_eq!(answers(&[&out]), (expected.clone(), Ok(())));
    let bytes: Vec<&[u8]> = out.chunks(1).collect();
    assert_eq!(answers(&bytes), (expected.clone(), Ok(())));
    for at in 0..=out.len() {
        let (head, tail) = out.split_at(at);
        assert_eq!(answers(&[head, tail]), (expected.clone(), Ok(())), "{at}");
    }
}

#[test]
fn a_frame_leaves_its_tail_alone() {
    let frames = [
        encoded(|out| line("ls").encode(out).unwrap()),
        encoded(|out| StdinChunk(b"abc").encode(out)),
        encoded(|out| CommandRequest::Cancel.encode(out)),
    ];
    for whole in frames {
        for tail in [&b"x"[..], b"\0\0\0\0", &whole] {
            let mut decoder = CommandRequests::new();
            let all = [&whole, tail].concat();
            let mut at = 0;
            while at < whole.len() || !decoder.is_whole() {
                at += decoder.decode(&all[at..]).unwrap().unwrap().1;
            }
            assert_eq!(at, whole.len());
        }
    }
}

#[test]
fn fault_b15_an_end_inside_of_a_frame_is_an_error_and_between_frames_none() {
    let (out, _) = conversation();
    let mut decoder = CommandRequests::new();
    let mut ends = vec![0];
    let mut at = 0;
    while at < out.len() {
        at += decoder.decode(&out[at..]).unwrap().unwrap().1;
        if decoder.is_whole() {
            ends.push(at);
        }
    }
    for at in 0..=out.len() {
        let (_, end) = requests(&[&out[..at]]);
        assert_eq!(end.is_ok(), ends.contains(&at), "{at}: {end:?}");
    }
}

#[test]
fn fault_b4_b5_b8_a_length_is_judged_before_anything_of_the_header_has_come() {
    let said = |length: i32| requests(&[&length.to_le_bytes()]).1.unwrap_err();
    let max = i32::try_from(STREAM_HEADER_BYTES_MAX).unwrap();
    assert_eq!(said(max), WireError::Truncated { have: 4 });
    let too_long = |length| WireError::TooLong {
        what: "header",
        len: length,
        max: max as u64,
    };
    assert_eq!(said(max + 1), too_long(65_536));
    assert_eq!(said(i32::MAX), too_long(0x7fff_ffff));
    for length in [-1, i32::MIN] {
        let what = "header";
        let len = i64::from(length);
        assert_eq!(said(length), WireError::Negative { what, len });
    }
}

#[test]
fn fault_c5_c6_c7_what_is_wrong_with_a_header_is_said_with_the_key() {
    let deep = format!(r#"{{"type":{}"#, "[".repeat(200));
    for (json, says) in [
        ("", "EOF while parsing"),
        ("[]", "expected an object"),
        ("{}", "`type` is missing"),
        (r#"{"type":1}"#, "`type` is a string, not 1"),
        (
            r#"{"type":"ran"}"#,
            "`type` is one of run, stdin, stdin-end, signal, cancel, not \"ran\"",
        ),
        (r#"{"type":"run","line":"x"} {}"#, "trailing characters"),
        (
            r#"{"type":"run","type":"run","line":"x"}"#,
            "`type` comes twice",
        ),
        (
            r#"{"type":"run"}"#,
            "a run has one of `line`, `args` and `data`",
        ),
        (
            r#"{"type":"run","line":"x","args":["x"]}"#,
            "a run has one of",
        ),
        (r#"{"type":"run","line":7}"#, "`line` is a string, not 7"),
        (
            r#"{"type":"run","line":null}"#,
            "`line` is a string, not null",
        ),
        (
            r#"{"type":"run","args":"ls"}"#,
            "`args` is a list of strings, not \"ls\"",
        ),
        (
            r#"{"type":"run","args":["ls",1]}"#,
            "`args` is a list of strings, not 1",
        ),
        (
            r#"{"type":"run","line":"x","cwd":[]}"#,
            "`cwd` is a string, not []",
        ),
        (
            r#"{"type":"run","line":"x","env":{"A":"b"}}"#,
            "`env` is a list of strings",
        ),
        (
            r#"{"type":"run","line":"x","timeout_ms":0}"#,
            "`timeout_ms` is 0",
        ),
        (
            r#"{"type":"run","line":"x","timeout_ms":-1}"#,
            "`timeout_ms` is a whole number from 0 to",
        ),
        (r#"{"type":"run","line":"x","timeout_ms":1.5}"#, "not 1.5"),
        (
            r#"{"type":"run","line":"x","timeout_ms":1e400}"#,
            "`timeout_ms` is a whole number from 0 to 18446744073709551615, not 1e400",
        ),
        (
            r#"{"type":"run","line":"x","timeout_ms":NaN}"#,
            "expected value",
        ),
        (
            r#"{"type":"run","line":"x","timeout_ms":18446744073709551616}"#,
            "`timeout_ms` is a whole number",
        ),
        (
            r#"{"type":"run","line":"x","stdin":"yes"}"#,
            "`stdin` is true or false, not \"yes\"",
        ),
        (
            r#"{"type":"run","line":"x","tiemout_ms":5}"#,
            "unknown key `tiemout_ms`",
        ),
        (
            r#"{"type":"run","line":"x","data_size":5}"#,
            "`data_size` without `data`",
        ),
        (
            r#"{"type":"run","data":"args"}"#,
            "`data` without `data_size`",
        ),
        (
            r#"{"type":"run","data":"args","data_size":0}"#,
            "`data` without `data_size`",
        ),
        (
            r#"{"type":"run","data":"json","data_size":1}"#,
            "`data` is line or args, not \"json\"",
        ),
        (
            r#"{"type":"run","data":"line","data_size":1048577}"#,
            "`data_size` is a whole number from 0 to 1048576",
        ),
        (r#"{"type":"stdin"}"#, "`data_size` is missing"),
        (
            r#"{"type":"stdin","data_size":-0}"#,
            "`data_size` is a whole number",
        ),
        (
            r#"{"type":"stdin","data_size":true}"#,
            "`data_size` is a whole number from 0 to 4194304, not true",
        ),
        (
            r#"{"type":"stdin","data_size":4194305}"#,
            "`data_size` is a whole number from 0 to 4194304, not 4194305",
        ),
        (r#"{"type":"stdin-end","x":1}"#, "unknown key `x`"),
        (r#"{"type":"signal"}"#, "`name` is missing"),
        (
            r#"{"type":"signal","name":"STOP"}"#,
            "`name` is one of INT, TERM, KILL, HUP, QUIT, USR1, USR2, not \"STOP\"",
        ),
        ("{\"type\":\"\\u001b[31m\"}", "not \"\\x1b[31m\""),
        (&deep, "nested deeper than 16"),
    ] {
        let (heard, end) = requests(&[&frame(json, b"")]);
        let error = end.unwrap_err().to_string();
        assert!(error.starts_with("malformed header: "), "{json}: {error}");
        assert!(error.contains(says), "{json}: {error}");
        assert_eq!(heard, [], "{json}");
    }
    let (_, end) = requests(&[&frame(
        r#"{"type":"run","data":"args","data_size":2}"#,
        b"ls",
    )]);
    let error = end.unwrap_err().to_string();
    assert!(error.ends_with("each argument ends with a NUL"), "{error}");
}

#[test]
fn what_an_answer_must_have_is_asked_for_and_what_is_new_in_it_is_not() {
    for (json, says) in [
        (r#"{"type":"started"}"#, "`id` is missing"),
        (
            r#"{"type":"stdout","data_size":4194305}"#,
            "`data_size` is a whole number",
        ),
        (
            r#"{"type":"credit","bytes":-1}"#,
            "`bytes` is a whole number",
        ),
        (
            r#"{"type":"end","wall_us":1,"stdin_bytes":0,"stdout_bytes":0,"stderr_bytes":0}"#,
            "one of `exit` and `signal`",
        ),
        (
            r#"{"type":"end","exit":256,"wall_us":1}"#,
            "`exit` is a whole number from 0 to 255",
        ),
        (
            r#"{"type":"end","exit":0,"why":"fun"}"#,
            "`why` is timeout or cancel",
        ),
        (r#"{"type":"end","exit":0}"#, "`wall_us` is missing"),
        (r#"{"type":"error","message":"m"}"#, "`kind` is one of"),
        (r#"{"type":"error","kind":"busy"}"#, "`message` is missing"),
        (r#"{"type":"news"}"#, "`type` is one of started"),
    ] {
        let error = answers(&[&frame(json, b"")]).1.unwrap_err().to_string();
        assert!(error.contains(says), "{json}: {error}");
    }
    let (heard, end) = answers(&[&frame(r#"{"type":"started","id":1,"pid":77}"#, b"")]);
    assert_eq!((heard.len(), end), (1, Ok(())));
}

#[test]
fn a_command_that_the_header_cannot_carry_goes_in_the_data_up_to_a_limit() {
    let long = "x".repeat(STREAM_HEADER_BYTES_MAX);
    let most = "y".repeat(usize::try_from(STREAM_COMMAND_BYTES_MAX).unwrap());
    // One byte is the NUL behind it.
    let runs = [
        line(&long),
        line(&most),
        program(&[b"p", &most.as_bytes()[3..]]),
    ];
    for run in runs {
        let out = encoded(|out| run.encode(out).unwrap());
        assert!(out.len() > STREAM_HEADER_BYTES_MAX);
        let expected = format!("{:?}", CommandRequest::Run(Box::new(run)));
        assert_eq!(requests(&[&out]), (vec![Heard::Said(expected)], Ok(())));
    }
    let too_long = |run: RunCommand| {
        let mut out = b"before".to_vec();
        let error = run.encode(&mut out).unwrap_err();
        assert_eq!(out, b"before");
        error.to_string()
    };
    let says = "command of 1048577 bytes is longer than the limit of 1048576";
    assert_eq!(too_long(line(&(most.clone() + "y"))), says);
    assert_eq!(too_long(program(&[b"p", &most.as_bytes()[2..]])), says);
    let mut wide = line("x");
    wide.directory = Some(long);
    let says = too_long(wide);
    assert!(
        says.starts_with("header of ") && says.ends_with(" of 65535"),
        "{says}"
    );
    let says = too_long(program(&[b"p", b"\xff", b"a\0b"]));
    assert!(says.ends_with("an argument contains a NUL byte"), "{says}");
}

#[test]
fn a_command_has_so_many_arguments_and_no_more() {
    let run = |count: usize| {
        let data = b"\0".repeat(count);
        let size = data.len();
        frame(
            &format!(r#"{{"type":"run","data":"args","data_size":{size}}}"#),
            &data,
        )
    };
    let (heard, end) = requests(&[&run(STREAM_ARGUMENTS_MAX)]);
    assert_eq!((heard.len(), end), (1, Ok(())));
    let error = requests(&[&run(STREAM_ARGUMENTS_MAX + 1)]).1.unwrap_err();
    let says = "malformed command: 65537 arguments are more than the limit of 65536";
    assert_eq!(error.to_string(), says);
    let many = program(&vec![&b"\xff"[..]; STREAM_ARGUMENTS_MAX + 1]);
    assert_eq!(many.encode(&mut Vec::new()).unwrap_err().to_string(), says);
}

#[test]
fn the_length_of_a_run_is_no_line_and_its_beginning_a_comment() {
    for len in (0..3000).chain([60_000, 65_000]) {
        let mut run = line("");
        run.directory = Some("d".repeat(len));
        let out = encoded(|out| run.encode(out).unwrap());
        assert!(out[0] == b'#' && out[1] != b'\n', "{len}");
        assert_eq!(Opening::of(&out), Opening::Frame);
        assert!(requests(&[&out]).1.is_ok());
    }
}

#[test]
fn what_begins_is_told_by_its_first_four_bytes() {
    for (bytes, opening) in [
        (&b""[..], Opening::Unclear),
        (b"l", Opening::Unclear),
        (b"ls", Opening::Unclear),
        (b"ls ", Opening::Line),
        (b"x\n", Opening::Line),
        (b"\n", Opening::Unclear),
        (b"\r\n", Opening::Unclear),
        (b"\n\n", Opening::Unclear),
        (b"\nl", Opening::Unclear),
        (b"\nls", Opening::Line),
        (b"ls\0", Opening::Unclear),
        (b"ls\0x", Opening::Line),
        (b"x\n\0", Opening::Line),
        (b"x\n\0\0", Opening::Frame),
        (b"\0\0\0\0", Opening::Frame),
        (b"\xff\xff\0\0", Opening::Frame),
        (b"\0\0\x01\0", Opening::Line),
        (b"\xff\xff\xff\xff", Opening::Line),
    ] {
        assert_eq!(Opening::of(bytes), opening, "{}", bytes.escape_ascii());
    }
}

proptest! {
    #[test]
    fn fault_b3_any_command_comes_out_as_it_went_in_at_any_cut(
        arguments in proptest::collection::vec(proptest::collection::vec(1_u8.., 0..40), 1..6),
        environment in proptest::collection::vec(".{0,20}", 0..3),
        is_line in any::<bool>(),
        has_input in any::<bool>(),
        timeout in proptest::option::of(1..1_000_000_u64),
        cut in 1..64_usize,
    ) {
        let command = if is_line {
            StreamedCommand::Line(arguments.concat())
        } else {
            StreamedCommand::Program(arguments)
        };
        prop_assume!(command != StreamedCommand::Line(Vec::new()));
        let run = RunCommand {
            environment,
            has_input,
            timeout: timeout.map(Duration::from_millis),
            ..RunCommand::new(command)
        };
        let mut out = Vec::new();
        run.encode(&mut out).unwrap();
        run.encode(&mut out).unwrap();
        let pieces: Vec<&[u8]> = out.chunks(cut).collect();
        let said = Heard::Said(format!("{:?}", CommandRequest::Run(Box::new(run))));
        prop_assert_eq!(requests(&pieces), (vec![said.clone(), said], Ok(())));
    }

    #[test]
    fn fault_b2_garbage_is_refused_or_waited_for_and_never_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        len in 0..60_u8,
    ) {
        for first in [&bytes[..], &[&[len, 0, 0, 0][..], &bytes].concat()] {
            let pieces: Vec<&[u8]> = first.chunks(1).collect();
            prop_assert_eq!(requests(&[first]), requests(&pieces));
            prop_assert_eq!(answers(&[first]), answers(&pieces));
        }
    }
}

#[test]
fn a_chunk_is_as_long_as_a_frame_may_be_and_no_longer() {
    let most = vec![b'z'; usize::try_from(STREAM_CHUNK_BYTES_MAX).unwrap()];
    let out = encoded(|out| StdinChunk(&most).encode(out));
    assert_eq!(
        requests(&[&out]),
        (vec![Heard::Data("stdin".to_owned(), most)], Ok(()))
    );
}
