//! The vertical slice: one byte from socket to socket, through the real loop.

use std::io::Write;
use std::sync::mpsc;
use std::thread;

use onepoll::config::Limits;
use onepoll::reactor::{Epoll, Reactor, TracedBytes};
use onepoll::service::Echo;

use crate::support::DEADLINE;
use crate::support::peer::dial;
use crate::support::server::{Running, listen};

fn echo() -> Running {
    Running::serving(|| Box::new(Echo))
}

#[test]
fn t1_one_byte_comes_back() {
    echo().dial().says("x").hears("x");
}

#[test]
fn fault_a13_a_half_close_ends_input_and_nothing_else() {
    let server = echo();
    let mut client = server.dial();
    client.says("all of this").ends().hears_last("all of this");
}

#[test]
fn fault_b13_a_client_that_reads_late_loses_nothing() {
    const BYTES: usize = 64 * 1024 * 1024;
    let server = echo();
    let mut client = server.dial();
    let mut reader = client.twin();
    let byte = |at: usize| (at % 251) as u8;
    let writer = thread::spawn(move || {
        let all: Vec<u8> = (0..BYTES).map(byte).collect();
        client.says(all).ends();
    });
    let answer = reader.rest();
    writer.join().unwrap();
    assert_eq!(answer.len(), BYTES);
    assert!(answer.iter().enumerate().all(|(at, &b)| b == byte(at)));
}

/// Text that the tracer wrote, for the thread that reads it.
struct Told(mpsc::Sender<String>);

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = self.0.send(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_story_of_one_byte_is_told_in_the_order_of_the_walk() {
    let mut reactor = Reactor::new(Epoll::new().unwrap(), Limits::default(), 10);
    let address = listen(&mut reactor, Box::new(Echo));
    let (tell, told) = mpsc::channel();
    reactor.trace_to(Box::new(Told(tell)), TracedBytes::Public);

    let mut client = dial(address);
    client.says("x");
    reactor.turn().unwrap();
    let story = told.recv_timeout(DEADLINE).unwrap();
    let words = ["saw", "accept4", "recvfrom", "serve", "sendto", "epoll_ctl"];
    let places: Vec<usize> = words
        .iter()
        .map(|word| story.find(&format!("\n  {word} ")).expect(word))
        .collect();
    assert!(places.is_sorted(), "{story}");
    assert!(story.contains("1 of 65536 bytes \"x\"; short"), "{story}");
}
