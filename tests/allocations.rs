//! What the loop allocates: nothing per message, and little per connection.
//!
//! The real loop runs on a thread of its own, and only that thread is counted.

mod counting;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use onepoll::config::{Limits, raise_descriptor_limit};
use onepoll::reactor::{
    DatagramOptions, DatagramSocket, Epoll, Handle, ListenerOptions, Reactor, listen_tcp, open_udp,
};
use onepoll::service::Echo;
use rustix::net::{getsockname, sockopt};

use counting::Tally;

const DEADLINE: Duration = Duration::from_secs(20);
/// Round trips before anything is counted: buffers find their sizes.
const WARMUP: usize = 200;
const ROUNDS: usize = 3000;

/// User memory of a connection at rest, timers included: what the design aims at.
const REST_BYTES_MAX: f64 = 128.0;
/// A full table: a doubling `Vec` has no slack then, so it shows what an entry is.
const FULL: usize = 8192;
const MANY: usize = 10_000;
/// Connections that are made before they are served: below the listen backlog.
const BATCH: usize = 512;

/// A loop on a thread of its own, which is counted; it stops when this is dropped.
struct Running {
    stream: SocketAddr,
    datagram: SocketAddr,
    handle: Handle,
    tally: &'static Tally,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn echo(idle: Option<Duration>) -> Running {
        let (tell, told) = mpsc::channel();
        let tally = Tally::new();
        // A reactor is not `Send`: it is built where it runs.
        let thread = thread::spawn(move || {
            tally.count_this_thread();
            let epoll = Epoll::new().unwrap();
            let handle = epoll.handle();
            let mut reactor = Reactor::new(epoll, Limits::default(), usize::MAX);
            let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
            let listener = listen_tcp(any).unwrap();
            let datagrams = open_udp(any).unwrap();
            let stream = getsockname(&listener).unwrap().try_into().unwrap();
            let datagram = getsockname(&datagrams).unwrap().try_into().unwrap();
            let service = reactor.add(Box::new(Echo));
            let door = ListenerOptions {
                name: "echo".into(),
                service,
                connections_max: usize::MAX,
                idle,
                only_uid: None,
            };
            reactor.listen(listener, door).unwrap();
            let service = reactor.add_datagrams(Box::new(Echo));
            let mailbox = DatagramOptions {
                name: "echo+udp".into(),
                service,
                own_ports: Vec::new(),
            };
            let datagrams = DatagramSocket::new(datagrams).unwrap();
            reactor.answer(datagrams, mailbox).unwrap();
            tell.send((stream, datagram, handle)).unwrap();
            reactor.run().unwrap();
        });
        let (stream, datagram, handle) = told.recv_timeout(DEADLINE).unwrap();
        Running {
            stream,
            datagram,
            handle,
            tally,
            thread: Some(thread),
        }
    }

    fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.stream).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        // Closing resets, so that thousands of ports do not wait for a minute each.
        sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        stream
    }

    /// How often the loop allocates in `ROUNDS` rounds, after some that do not count.
    fn allocations(&self, mut round: impl FnMut()) -> u64 {
        (0..WARMUP).for_each(|_| round());
        let before = self.tally.allocations();
        assert!(before > 0, "the thread of the loop is counted");
        (0..ROUNDS).for_each(|_| round());
        self.tally.allocations() - before
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

/// Sends a message on every connection, and awaits them all back.
fn echo(streams: &mut [TcpStream], message: &[u8], answer: &mut [u8]) {
    for stream in &mut *streams {
        stream.write_all(message).unwrap();
    }
    for stream in streams {
        stream.read_exact(answer).unwrap();
        assert!(answer == message);
    }
}

#[test]
fn no_message_allocates_on_kept_connections() {
    for (connections, bytes) in [(1, 64), (10, 64), (1, 16 * 1024), (4, 16 * 1024)] {
        for idle in [None, Some(Duration::from_secs(3600))] {
            let server = Running::echo(idle);
            let mut streams: Vec<_> = (0..connections).map(|_| server.dial()).collect();
            let message = vec![b'x'; bytes];
            let mut answer = vec![0; bytes];
            let allocations = server.allocations(|| echo(&mut streams, &message, &mut answer));
            assert_eq!(
                allocations, 0,
                "{connections} connections, {bytes} B, idle timeout {idle:?}"
            );
        }
    }
}

#[test]
fn no_message_in_pieces_allocates() {
    // Sixteen messages at once, so that one read brings several and turns overlap.
    let server = Running::echo(None);
    let mut streams: Vec<_> = (0..8).map(|_| server.dial()).collect();
    let message = vec![b'x'; 16 * 64];
    let mut answer = vec![0; message.len()];
    let allocations = server.allocations(|| {
        for stream in &mut streams {
            for piece in message.chunks(64) {
                stream.write_all(piece).unwrap();
            }
        }
        for stream in &mut streams {
            stream.read_exact(&mut answer).unwrap();
        }
    });
    assert_eq!(allocations, 0);
}

#[test]
fn no_datagram_allocates() {
    let server = Running::echo(None);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.datagram).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    for bytes in [0, 64, 1400] {
        let message = vec![b'x'; bytes];
        let mut answer = [0; 2048];
        let allocations = server.allocations(|| {
            socket.send(&message).unwrap();
            assert_eq!(socket.recv(&mut answer).unwrap(), bytes);
        });
        assert_eq!(allocations, 0, "{bytes} B");
    }
}

#[test]
fn connections_that_come_and_go_allocate_nothing() {
    // Slots, lanes and timers are used again, and so is the scratch of the turn.
    let server = Running::echo(Some(Duration::from_secs(3600)));
    let allocations = server.allocations(|| echo(&mut [server.dial()], &[b'x'; 64], &mut [0; 64]));
    println!("{allocations} allocations for {ROUNDS} connections, one after the other");
    // Another handful while the tables find their sizes.
    assert!(allocations <= 16, "{allocations}");
}

#[test]
fn a_connection_at_rest_owns_little() {
    let limit = raise_descriptor_limit();
    // Both ends are ours; some descriptors are for the tests beside this one.
    let room = usize::try_from(limit.saturating_sub(256) / 2).unwrap_or(usize::MAX);
    let many = MANY.min(room);
    if many < MANY {
        println!("{many} connections instead of {MANY}: the descriptor limit is {limit}");
    }
    let full = if room >= FULL {
        FULL
    } else {
        1 << room.ilog2()
    };
    for idle in [None, Some(Duration::from_secs(3600))] {
        let server = Running::echo(idle);
        // What the loop needs once, its read buffer above all, is no connection's.
        let mut first = vec![server.dial()];
        echo(&mut first, &[b'x'; 64], &mut [0; 64]);
        let at_first = server.tally.live();
        let mut streams = first;
        let mut each = |count: usize| {
            while streams.len() < count {
                let batch = BATCH.min(count - streams.len());
                let mut fresh: Vec<_> = (0..batch).map(|_| server.dial()).collect();
                echo(&mut fresh, &[b'x'; 64], &mut [0; 64]);
                streams.append(&mut fresh);
            }
            // One more answer: whatever the turn before it left to do has been done.
            echo(&mut streams[..1], b"x", &mut [0]);
            (server.tally.live() - at_first) as f64 / count as f64
        };
        let (exact, slack) = (each(full), each(many));
        println!(
            "idle timeout {idle:?}: {exact:.1} B a connection in a full table of {full}; \
             {slack:.1} B at {many}, where doubled tables have room to grow"
        );
        assert!(exact <= REST_BYTES_MAX, "{exact} B at {full} connections");
        assert!(
            slack <= 2.0 * REST_BYTES_MAX,
            "{slack} B at {many} connections"
        );
    }
}
