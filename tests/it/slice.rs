//! The vertical slice: one byte from socket to socket, through the real loop.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use onepoll::config::Limits;
use onepoll::reactor::{Epoll, Handle, ListenerOptions, Reactor, listen_tcp};
use onepoll::service::Echo;

const DEADLINE: Duration = Duration::from_secs(10);

/// A loop on a thread of its own; it stops when this is dropped.
struct Running {
    address: SocketAddr,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn echo() -> Running {
        let (tell, told) = mpsc::channel();
        // A reactor is not `Send`: it is built where it runs.
        let thread = thread::spawn(move || {
            let epoll = Epoll::new().unwrap();
            let handle = epoll.handle();
            let mut reactor = Reactor::new(epoll, Limits::default(), 100);
            let socket = listen_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
            let address = rustix::net::getsockname(&socket)
                .unwrap()
                .try_into()
                .unwrap();
            let service = reactor.add(Box::new(Echo));
            let door = ListenerOptions {
                name: "echo".into(),
                service,
                connections_max: usize::MAX,
                idle: None,
                only_uid: None,
            };
            reactor.listen(socket, door).unwrap();
            tell.send((address, handle)).unwrap();
            reactor.run().unwrap();
        });
        let (address, handle) = told.recv_timeout(DEADLINE).unwrap();
        Running {
            address,
            handle,
            thread: Some(thread),
        }
    }

    fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.stop().unwrap();
        let ended = self.thread.take().unwrap().join();
        if !thread::panicking() {
            ended.unwrap();
        }
    }
}

#[test]
fn t1_one_byte_comes_back() {
    let server = Running::echo();
    let mut client = server.dial();
    client.write_all(b"x").unwrap();
    let mut byte = [0];
    client.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"x");
}

#[test]
fn fault_a13_a_half_close_ends_input_and_nothing_else() {
    let server = Running::echo();
    let mut client = server.dial();
    client.write_all(b"all of this").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"all of this");
}

#[test]
fn fault_b13_a_client_that_reads_late_loses_nothing() {
    const BYTES: usize = 64 * 1024 * 1024;
    let server = Running::echo();
    let mut client = server.dial();
    let mut reader = client.try_clone().unwrap();
    let byte = |at: usize| (at % 251) as u8;
    let writer = thread::spawn(move || {
        let all: Vec<u8> = (0..BYTES).map(byte).collect();
        client.write_all(&all).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut answer = Vec::new();
    reader.read_to_end(&mut answer).unwrap();
    writer.join().unwrap();
    assert_eq!(answer.len(), BYTES);
    assert!(answer.iter().enumerate().all(|(at, &b)| b == byte(at)));
}

/// Text that the narrator wrote, for the thread that reads it.
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
    let socket = listen_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let address: SocketAddr = rustix::net::getsockname(&socket)
        .unwrap()
        .try_into()
        .unwrap();
    let service = reactor.add(Box::new(Echo));
    reactor
        .listen(socket, ListenerOptions::to(service))
        .unwrap();
    let (tell, told) = mpsc::channel();
    reactor.trace_to(Box::new(Told(tell)));

    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"x").unwrap();
    reactor.turn().unwrap();
    let story = told.recv_timeout(DEADLINE).unwrap();
    let words = ["saw", "accept", "read", "serve", "write", "watch"];
    let places: Vec<usize> = words
        .iter()
        .map(|word| story.find(&format!("\n  {word} ")).expect(word))
        .collect();
    assert!(places.is_sorted(), "{story}");
    assert!(story.contains("1 of 65536 bytes; short"), "{story}");
}
