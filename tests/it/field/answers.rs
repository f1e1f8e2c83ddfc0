//! An answer belongs to the request that it was given to (fault E15, for streams).

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc;
use std::thread;

use onepoll::client::{ClientError, Exec, ExecFraming};
use onepoll::wire::{CommandHeader, Encode};

use super::PATIENCE;

const FRAMINGS: [ExecFraming; 2] = [ExecFraming::I32, ExecFraming::Json];

fn answer(framing: ExecFraming, output: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    match framing {
        ExecFraming::Decimal => {
            unreachable!("it is acknowledged, so no second answer is glued to it")
        }
        ExecFraming::Json => CommandHeader::new(output, Some(0), None).encode(&mut answer),
        ExecFraming::I32 => {
            answer.extend_from_slice(&i32::try_from(output.len()).unwrap().to_le_bytes());
        }
    }
    answer.extend_from_slice(output);
    answer
}

/// A client, and the server's end of its connection.
fn connected(framing: ExecFraming) -> (Exec, BufReader<UnixStream>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let address = path.to_str().unwrap().parse().unwrap();
    let exec = Exec::connect(&address, framing, PATIENCE).unwrap();
    let (stream, _) = listener.accept().unwrap();
    (exec, BufReader::new(stream))
}

fn is_unasked(error: &ClientError, bytes: usize) {
    let expected = matches!(error, ClientError::Unasked { bytes: b, .. } if *b == bytes);
    assert!(expected, "{error}");
}

#[test]
fn a_second_answer_glued_to_the_first_is_not_the_answer_to_the_next_request() {
    for framing in FRAMINGS {
        let (mut exec, mut stream) = connected(framing);
        let twice = answer(framing, b"one").repeat(2);
        let len = twice.len();
        let server = thread::spawn(move || {
            stream.read_line(&mut String::new()).unwrap();
            stream.get_mut().write_all(&twice).unwrap();
            // Nothing more is asked: the connection was given up.
            assert_eq!(stream.read_line(&mut String::new()).unwrap(), 0);
        });
        assert_eq!(exec.run("first", PATIENCE).unwrap().bytes, b"one");
        is_unasked(&exec.run("second", PATIENCE).unwrap_err(), len / 2);
        let again = exec.run("third", PATIENCE).unwrap_err();
        assert!(matches!(again, ClientError::Request(_)), "{again}");
        server.join().unwrap();
    }
}

#[test]
fn a_second_answer_that_comes_late_is_not_the_answer_to_the_next_request() {
    for framing in FRAMINGS {
        let (mut exec, mut stream) = connected(framing);
        let (got_first, first) = mpsc::channel();
        let (sent_again, again) = mpsc::channel();
        let once = answer(framing, b"one");
        let len = once.len();
        let server = thread::spawn(move || {
            stream.read_line(&mut String::new()).unwrap();
            stream.get_mut().write_all(&once).unwrap();
            first.recv_timeout(PATIENCE).unwrap();
            stream.get_mut().write_all(&once).unwrap();
            sent_again.send(()).unwrap();
            assert_eq!(stream.read_line(&mut String::new()).unwrap(), 0);
        });
        assert_eq!(exec.run("first", PATIENCE).unwrap().bytes, b"one");
        got_first.send(()).unwrap();
        again.recv_timeout(PATIENCE).unwrap();
        is_unasked(&exec.run("second", PATIENCE).unwrap_err(), len);
        server.join().unwrap();
    }
}

#[test]
fn a_server_that_speaks_first_is_not_taken_to_answer() {
    for framing in FRAMINGS {
        let (mut exec, mut stream) = connected(framing);
        stream.get_mut().write_all(&answer(framing, b"hi")).unwrap();
        let len = answer(framing, b"hi").len();
        is_unasked(&exec.run("first", PATIENCE).unwrap_err(), len);
    }
}

#[test]
fn a_connection_that_ended_between_two_requests_is_not_asked() {
    for framing in FRAMINGS {
        let (mut exec, stream) = connected(framing);
        drop(stream);
        let error = exec.run("first", PATIENCE).unwrap_err();
        assert!(matches!(error, ClientError::HungUp { .. }), "{error}");
    }
}
