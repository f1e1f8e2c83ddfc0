//! Chat, greeting and upper through the real loop: what a rehearsal cannot show.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use onepoll::config::Limits;
use onepoll::reactor::{Epoll, Handle, ListenerOptions, Reactor, listen_tcp};
use onepoll::service::{Chat, Greeting, Service, Upper, chat, greeting, upper};
use onepoll::wire::LINE_BYTES_MAX;

const DEADLINE: Duration = Duration::from_secs(10);

/// A loop on a thread of its own; it stops when this is dropped.
struct Running {
    address: SocketAddr,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn new(service: impl FnOnce() -> Box<dyn Service> + Send + 'static) -> Running {
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            let epoll = Epoll::new().unwrap();
            let handle = epoll.handle();
            let mut reactor = Reactor::new(epoll, Limits::default(), 100);
            let socket = listen_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
            let address = rustix::net::getsockname(&socket).unwrap();
            let service = reactor.add(service());
            let door = ListenerOptions {
                name: "test".into(),
                service,
                connections_max: usize::MAX,
                idle: None,
                only_uid: None,
            };
            reactor.listen(socket, door).unwrap();
            tell.send((address.try_into().unwrap(), handle)).unwrap();
            reactor.run().unwrap();
        });
        let (address, handle) = told.recv_timeout(DEADLINE).unwrap();
        Running {
            address,
            handle,
            thread: Some(thread),
        }
    }

    fn chat(flood: bool) -> Running {
        let options = chat::Options {
            flood,
            ..chat::Options::default()
        };
        Running::new(move || Box::new(Chat::new(&options, LINE_BYTES_MAX)))
    }

    fn dial(&self) -> Guest {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Guest(BufReader::new(stream))
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

struct Guest(BufReader<TcpStream>);

impl Guest {
    fn says(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    fn hears_line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }

    fn hears_rest(&mut self) -> String {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).unwrap();
        rest
    }

    fn ends(&mut self) {
        self.0.get_ref().shutdown(Shutdown::Write).unwrap();
    }
}

#[test]
fn t3_silence_a_half_close_and_a_newline_end_a_burst() {
    let options = upper::Options {
        once: true,
        strip: true,
        ..upper::Options::default()
    };
    let server = Running::new(move || Box::new(Upper::new(&options)));
    for ending in ["", "\n", "half-close"] {
        let mut guest = server.dial();
        for byte in b" hello" {
            guest.says(&[*byte]);
        }
        match ending {
            "half-close" => guest.ends(),
            newline => guest.says(newline.as_bytes()),
        }
        assert_eq!(guest.hears_rest(), "HELLO", "{ending:?}");
    }
}

#[test]
fn t4_a_greeting_survives_what_the_client_says_on_its_own_account() {
    let options = greeting::Options {
        greeting: vec!["sbzz".into(); 3],
        ..greeting::Options::default()
    };
    let server = Running::new(move || Box::new(Greeting::new(&options)));
    let mut guest = server.dial();
    guest.says(&b"x".repeat(10_000));
    let mut first = [0; 4];
    guest.0.read_exact(&mut first).unwrap();
    guest.says(&b"y".repeat(10_000));
    assert_eq!(guest.hears_rest(), "sbzzsbzz");
}

#[test]
fn t6_a_conversation() {
    let server = Running::chat(false);
    let mut a = server.dial();
    assert!(a.hears_line().starts_with("* you are guest-1 in lobby"));
    let mut b = server.dial();
    assert!(b.hears_line().starts_with("* you are guest-2 in lobby"));
    assert_eq!(a.hears_line(), "* guest-2 joined\n");
    for byte in "你好\n".as_bytes() {
        a.says(&[*byte]);
    }
    assert_eq!(b.hears_line(), "guest-1: 你好\n");
    a.says(b"/who\nlast words");
    a.ends();
    assert_eq!(a.hears_rest(), "* in lobby: guest-1, guest-2\n");
    assert_eq!(b.hears_line(), "guest-1: last words\n");
    assert_eq!(b.hears_line(), "* guest-1 left\n");
    b.says(b"/quit\n");
    assert_eq!(b.hears_rest(), "");
}

#[test]
fn t6_a_reset_is_seen_and_what_was_said_before_it_counts() {
    let server = Running::chat(false);
    let mut a = server.dial();
    let mut b = server.dial();
    b.hears_line();
    a.says(b"bye\n");
    // With something unread, a close is a reset.
    drop(a);
    assert_eq!(b.hears_line(), "guest-1: bye\n");
    assert_eq!(b.hears_line(), "* guest-1 left\n");
}

#[test]
fn t6_flood_is_held_and_nothing_is_lost() {
    let server = Running::chat(true);
    let mut a = server.dial();
    let mut b = server.dial();
    b.hears_line();
    let lines: String = (0..25).map(|n| format!("{n}\n")).collect();
    a.says(lines.as_bytes());
    a.ends();
    for n in 0..25 {
        assert_eq!(b.hears_line(), format!("guest-1: {n}\n"));
    }
    assert_eq!(b.hears_line(), "* guest-1 left\n");
}

#[test]
fn fault_b16_the_reason_arrives_with_input_unread() {
    let server = Running::chat(false);
    let mut a = server.dial();
    a.hears_line();
    a.says(&b"x".repeat(200_000));
    assert_eq!(a.hears_rest(), "* line too long (limit 65536 bytes)\n");
}

#[test]
fn fault_h1_members_are_told_that_the_server_stops() {
    let server = Running::chat(false);
    let mut a = server.dial();
    a.hears_line();
    let told = thread::spawn(move || a.hears_rest());
    server.handle.stop().unwrap();
    assert_eq!(told.join().unwrap(), "* the server is stopping\n");
}
