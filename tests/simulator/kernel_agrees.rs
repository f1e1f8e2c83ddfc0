//! The simulator is a reading of the kernel until it is checked against it: the same scripts on
//! loopback sockets and on the simulator must show the same classes of events, none where none is
//! due, and the same answers to the same calls.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use onepoll::reactor::{Epoll, Os, Readiness, Source, Token, listen_tcp};
use onepoll::turn::{ConnId, Moment};
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{SendFlags, getsockname, send};

use crate::kernel::{Found, SimOs};
use crate::random::Random;

/// Longer than loopback needs for anything.
const MOMENT: Duration = Duration::from_millis(15);

/// The client's end.
trait End {
    fn dial(&mut self);
    fn say(&mut self, bytes: &[u8]);
    /// Sends one urgent byte.
    fn urge(&mut self);
    fn shut(&mut self);
    fn close(&mut self);
    fn reset(&mut self);
    /// Reads all that comes within a moment.
    fn hear(&mut self) -> usize;
}

/// Both ends, and what was seen from the server's.
struct Script<O: Os, E: End> {
    os: O,
    listener: O::Listener,
    stream: Option<O::Stream>,
    end: E,
    now: Moment,
    notes: Vec<String>,
}

impl<O: Os, E: End> Script<O, E> {
    fn new(mut os: O, listener: O::Listener, end: E) -> Self {
        os.watch_listener(&listener, Token::of(Source::Listener(0)))
            .unwrap();
        Script {
            os,
            listener,
            stream: None,
            end,
            now: Moment::START,
            notes: Vec::new(),
        }
    }

    fn note<T: std::fmt::Debug>(&mut self, what: &str, outcome: io::Result<T>) {
        let outcome = outcome.map_err(|error| error.kind());
        self.notes.push(format!("{what}: {outcome:?}"));
    }

    /// Everything the poll tells within a moment, by source: what came twice is told once, since
    /// how often it comes is a matter of chance.
    fn events(&mut self) -> (bool, Readiness) {
        let (mut pending, mut conn) = (false, Readiness::default());
        loop {
            let mut seen = Vec::new();
            let until = self.now.after(MOMENT);
            self.now = self.os.wait(&mut seen, Some(until)).unwrap().awake;
            if seen.is_empty() && self.now >= until {
                break;
            }
            for one in seen {
                let is = one.readiness;
                match one.token.source() {
                    Source::Listener(_) => pending |= is.readable,
                    _ => {
                        conn = Readiness {
                            readable: conn.readable | is.readable,
                            writable: conn.writable | is.writable,
                            read_closed: conn.read_closed | is.read_closed,
                            hung_up: conn.hung_up | is.hung_up,
                            urgent: conn.urgent | is.urgent,
                            error: conn.error | is.error,
                        }
                    }
                }
            }
        }
        (pending, conn)
    }

    fn look(&mut self) {
        let (pending, conn) = self.events();
        let flags = [
            (pending, "pending"),
            (conn.readable, "readable"),
            (conn.writable, "writable"),
            (conn.read_closed, "read_closed"),
            (conn.hung_up, "hung_up"),
            (conn.urgent, "urgent"),
            (conn.error, "error"),
        ];
        let set: Vec<&str> = flags
            .iter()
            .filter(|(on, _)| *on)
            .map(|(_, name)| *name)
            .collect();
        self.notes.push(format!("sees {set:?}"));
    }

    fn accept(&mut self) {
        let accepted = self
            .os
            .accept(&self.listener)
            .map(|(stream, _)| self.stream = Some(stream));
        self.note("accept", accepted);
    }

    fn pending(&mut self) {
        let pending = self.os.has_pending(&self.listener);
        self.notes.push(format!("pending {pending}"));
    }

    fn watch(&mut self) {
        let id = ConnId {
            slot: 0,
            generation: 1,
        };
        let stream = self.stream.as_ref().unwrap();
        self.os
            .watch(stream, Token::of(Source::Connection(id)))
            .unwrap();
    }

    /// A connection that is accepted and watched, with nothing to tell.
    fn welcome(&mut self) {
        self.end.dial();
        self.look();
        self.accept();
        self.watch();
        self.look();
    }

    fn read(&mut self, room: usize) {
        let read = self
            .os
            .read(self.stream.as_ref().unwrap(), &mut vec![0; room]);
        self.note("read", read);
    }

    fn write(&mut self, n: usize) {
        let written = self.os.write(self.stream.as_ref().unwrap(), &vec![b'x'; n]);
        self.note("write", written);
    }

    /// Writes until there is no room, also when what is on its way has arrived.
    fn fill(&mut self) {
        loop {
            match self
                .os
                .write(self.stream.as_ref().unwrap(), &[b'x'; 1 << 16])
            {
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    if !self.events().1.writable {
                        break;
                    }
                }
            }
        }
        self.notes.push("full".into());
    }

    fn shutdown(&mut self) {
        let done = self.os.shutdown(self.stream.as_ref().unwrap());
        self.note("shutdown", done);
    }
}

/// A client on loopback.
struct Loopback {
    address: SocketAddr,
    streams: Vec<TcpStream>,
}

impl Loopback {
    fn last(&mut self) -> &mut TcpStream {
        self.streams.last_mut().unwrap()
    }
}

impl End for Loopback {
    fn dial(&mut self) {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(MOMENT)).unwrap();
        self.streams.push(stream);
    }

    fn say(&mut self, bytes: &[u8]) {
        self.last().write_all(bytes).unwrap();
    }

    fn urge(&mut self) {
        send(self.last(), b"!", SendFlags::OOB).unwrap();
    }

    fn shut(&mut self) {
        self.last().shutdown(Shutdown::Write).unwrap();
    }

    fn close(&mut self) {
        self.streams.pop();
    }

    fn reset(&mut self) {
        let stream = self.streams.pop().unwrap();
        set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    }

    fn hear(&mut self) -> usize {
        let (mut all, mut piece) = (0, vec![0; 1 << 16]);
        while let Ok(n @ 1..) = self.last().read(&mut piece) {
            all += n;
        }
        all
    }
}

/// A client in the simulator.
struct Simulated {
    os: SimOs,
    links: Vec<usize>,
}

impl Simulated {
    fn last(&self) -> usize {
        *self.links.last().unwrap()
    }
}

impl End for Simulated {
    fn dial(&mut self) {
        let link = self.os.net(|net| net.connect_with(0, 1 << 20, 1 << 20));
        self.links.push(link);
    }

    fn say(&mut self, bytes: &[u8]) {
        let link = self.last();
        self.os.net(|net| net.client_write(link, bytes)).unwrap();
    }

    fn urge(&mut self) {
        let link = self.last();
        self.os.net(|net| net.client_urge(link));
    }

    fn shut(&mut self) {
        let link = self.last();
        self.os.net(|net| net.client_shut(link));
    }

    fn close(&mut self) {
        let link = self.links.pop().unwrap();
        self.os.net(|net| net.client_close(link));
    }

    fn reset(&mut self) {
        let link = self.links.pop().unwrap();
        self.os.net(|net| net.client_reset(link));
    }

    fn hear(&mut self) -> usize {
        let link = self.last();
        let mut all = 0;
        while let Found::Bytes(bytes) = self.os.net(|net| net.client_read(link, 1 << 20)) {
            all += bytes.len();
        }
        all
    }
}

/// A script that is performed twice, and the notes of both performances.
macro_rules! agrees {
    ($($name:ident($script:ident) $body:block)*) => { $(
        #[test]
        fn $name() {
            let socket = listen_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
            let end = Loopback {
                address: getsockname(&socket).unwrap().try_into().unwrap(),
                streams: Vec::new(),
            };
            let mut $script = Script::new(Epoll::new().unwrap(), socket, end);
            $body
            let kernel = $script.notes;

            let os = SimOs::new(Random::new(0));
            let end = Simulated {
                os: os.clone(),
                links: Vec::new(),
            };
            let mut $script = Script::new(os.clone(), os.listener(), end);
            $body
            assert_eq!($script.notes, kernel, "the simulator, and the kernel");
        }
    )* };
}

agrees! {
    data_that_was_there_before(s) {
        s.end.dial();
        s.end.say(b"early");
        s.look();
        s.accept();
        s.watch();
        s.look();
        s.look();
        s.read(100);
        s.look();
        s.read(100);
    }

    a_short_read_is_followed_by_nothing(s) {
        s.welcome();
        s.end.say(b"0123456789");
        s.look();
        s.read(4);
        s.look();
        s.read(4);
        s.read(4);
        s.look();
        s.read(4);
        s.end.say(b"more");
        s.look();
        s.end.say(b"and more, unread");
        s.look();
    }

    an_end_with_data_before_it(s) {
        s.welcome();
        s.end.say(b"last words");
        s.end.shut();
        s.look();
        s.read(100);
        s.look();
        s.read(100);
        s.read(100);
        s.look();
    }

    an_end_that_was_there_before(s) {
        s.end.dial();
        s.end.say(b"last words");
        s.end.shut();
        s.look();
        s.accept();
        s.read(100);
        s.watch();
        s.look();
        s.read(100);
    }

    writing_after_the_peers_end(s) {
        s.welcome();
        s.end.shut();
        s.look();
        s.read(100);
        s.write(5);
        s.look();
        let heard = s.end.hear();
        s.notes.push(format!("heard {heard}"));
        s.look();
    }

    both_ends_end_the_client_first(s) {
        s.welcome();
        s.end.shut();
        s.look();
        s.shutdown();
        s.look();
        s.read(100);
    }

    both_ends_end_the_server_first(s) {
        s.welcome();
        s.shutdown();
        s.look();
        s.end.say(b"still");
        s.look();
        s.read(100);
        s.end.shut();
        s.look();
        s.read(100);
        s.look();
    }

    a_reset(s) {
        s.welcome();
        s.end.reset();
        s.look();
        s.look();
        s.read(100);
        s.read(100);
        s.write(5);
    }

    a_reset_found_by_a_write(s) {
        s.welcome();
        s.end.reset();
        s.look();
        s.write(5);
        s.write(5);
        s.read(100);
    }

    a_reset_behind_data(s) {
        s.welcome();
        s.end.say(b"last words");
        s.look();
        s.end.reset();
        s.look();
        s.read(4);
        s.read(100);
        s.read(100);
        s.read(100);
    }

    a_reset_after_the_end(s) {
        s.welcome();
        s.end.shut();
        s.look();
        s.read(100);
        s.end.reset();
        s.look();
        s.write(5);
        s.write(5);
    }

    a_reset_before_accept(s) {
        s.end.dial();
        s.look();
        s.end.reset();
        s.look();
        s.accept();
        s.accept();
        s.watch();
        s.look();
        s.read(100);
        s.read(100);
    }

    writing_to_a_peer_that_closed(s) {
        s.welcome();
        s.end.close();
        s.look();
        s.write(5);
        s.look();
        s.write(5);
        s.read(100);
    }

    urgent_data_with_data_around_it(s) {
        s.welcome();
        s.end.say(b"abc");
        s.end.urge();
        s.end.say(b"defg");
        s.look();
        s.read(100);
        s.look();
        s.read(100);
        s.look();
        s.read(100);
    }

    urgent_data_alone(s) {
        s.welcome();
        s.end.urge();
        s.look();
        s.read(100);
        s.look();
        s.end.say(b"behind");
        s.look();
        s.read(100);
        s.look();
    }

    urgent_data_that_was_there_before(s) {
        s.end.dial();
        s.end.say(b"abc");
        s.end.urge();
        s.end.say(b"defg");
        s.look();
        s.accept();
        s.read(100);
        s.watch();
        s.look();
        s.read(100);
        s.look();
    }

    a_full_socket_and_then_room(s) {
        s.welcome();
        s.fill();
        s.look();
        assert!(s.end.hear() > 0);
        s.look();
        s.look();
    }

    a_socket_that_was_full_before(s) {
        s.end.dial();
        s.look();
        s.accept();
        s.fill();
        s.watch();
        s.look();
        assert!(s.end.hear() > 0);
        s.look();
    }

    full_and_reset(s) {
        s.welcome();
        s.fill();
        s.end.reset();
        s.look();
        s.write(5);
        s.write(5);
    }

    full_and_spoken_to(s) {
        s.welcome();
        s.fill();
        s.end.say(b"still there");
        s.look();
        s.end.shut();
        s.look();
    }

    connections_that_wait(s) {
        s.pending();
        s.accept();
        s.look();
        s.end.dial();
        s.end.dial();
        s.look();
        s.look();
        s.pending();
        s.accept();
        s.look();
        s.pending();
        s.end.dial();
        s.look();
        s.accept();
        s.accept();
        s.pending();
        s.accept();
        s.look();
        // That none waits is known from here on, and an edge tells of the next.
        s.end.dial();
        s.look();
        s.pending();
    }

    a_connection_that_was_reset_is_pending(s) {
        s.end.dial();
        s.look();
        s.end.reset();
        s.pending();
        s.accept();
        s.pending();
    }
}
