//! What the loop allocates: nothing per message, and little per connection.
//!
//! The real loop runs on a thread of its own, and only that thread is counted.

mod counting;
mod support;

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use onepoll::buf::ReadBuf;
use onepoll::config::{Limits, raise_descriptor_limit};
use onepoll::reactor::{
    AddressRules, DatagramOptions, DatagramSocket, ListenerOptions, listen_tcp, open_udp,
};
use onepoll::service::{Chat, Echo, Service, chat};
use onepoll::turn::{Fault, Turn};
use rustix::net::getsockname;

use counting::Tally;
use support::peer::{Peer, dial};
use support::server::Running;
use support::{ANY, DEADLINE};

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

/// A loop whose thread is counted.
struct Server {
    /// Where it is reached over TCP, over UDP, and to be halted.
    running: Running<(SocketAddr, SocketAddr, SocketAddr)>,
    tally: &'static Tally,
    halt: Arc<Barrier>,
}

/// Halts the loop: a byte comes to the barrier, and waits there once more until it may go on.
#[derive(Debug)]
struct Halt(Arc<Barrier>);

impl Service for Halt {
    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        self.0.wait();
        self.0.wait();
        t.reply_all(input);
        Ok(())
    }
}

impl Server {
    fn echo(idle: Option<Duration>) -> Server {
        let tally = Tally::new();
        let halt = Arc::new(Barrier::new(2));
        let halting = Halt(Arc::clone(&halt));
        let running = Running::start(Limits::default(), move |reactor| {
            tally.count_this_thread();
            let listener = listen_tcp(ANY).unwrap();
            let halted_at = getsockname(&listener).unwrap().try_into().unwrap();
            let service = reactor.add(Box::new(halting));
            let options = ListenerOptions::to(service);
            reactor.listen(listener, options).unwrap();
            let listener = listen_tcp(ANY).unwrap();
            let stream = getsockname(&listener).unwrap().try_into().unwrap();
            let service = reactor.add(Box::new(Echo));
            let options = ListenerOptions {
                idle,
                ..ListenerOptions::to(service)
            };
            reactor.listen(listener, options).unwrap();
            let socket = open_udp(ANY).unwrap();
            let datagram = getsockname(&socket).unwrap().try_into().unwrap();
            let service = reactor.add_datagrams(Box::new(Echo));
            let options = DatagramOptions {
                name: "echo+udp".into(),
                service,
                own: Vec::new(),
                addresses: AddressRules::default(),
            };
            let socket = DatagramSocket::new(socket).unwrap();
            reactor.answer(socket, options).unwrap();
            (stream, datagram, halted_at)
        });
        Server {
            running,
            tally,
            halt,
        }
    }

    /// Has some turns see all these at once, as any turn may: what it needs for so many has its size then. Lists
    /// that a turn exchanges take part in every other one, so the number of turns between is odd and even.
    fn sees_at_once(&self, peers: &mut [Peer], message: &[u8]) {
        let mut halts = dial(self.running.place.2);
        halts.will_reset();
        for between in 0..6 {
            halts.says(b"!");
            self.halt.wait();
            for peer in &mut *peers {
                peer.says(message);
            }
            self.halt.wait();
            for peer in &mut *peers {
                peer.hears(message);
            }
            halts.hears(b"!");
            for _ in 0..between {
                echo(&mut peers[..1], message);
            }
        }
    }

    fn dial(&self) -> Peer {
        let peer = dial(self.running.place.0);
        // So that thousands of ports do not wait for a minute each.
        peer.will_reset();
        peer
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

/// Sends a message on every connection, and awaits them all back.
fn echo(peers: &mut [Peer], message: &[u8]) {
    for peer in &mut *peers {
        peer.says(message);
    }
    for peer in peers {
        peer.hears(message);
    }
}

#[test]
fn no_message_allocates_on_kept_connections() {
    for (connections, bytes) in [(1, 64), (10, 64), (1, 16 * 1024), (4, 16 * 1024)] {
        for idle in [None, Some(Duration::from_secs(3600))] {
            let server = Server::echo(idle);
            let mut peers: Vec<_> = (0..connections).map(|_| server.dial()).collect();
            let message = vec![b'x'; bytes];
            server.sees_at_once(&mut peers, &message);
            let allocations = server.allocations(|| echo(&mut peers, &message));
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
    let server = Server::echo(None);
    let mut peers: Vec<_> = (0..8).map(|_| server.dial()).collect();
    let message = vec![b'x'; 16 * 64];
    server.sees_at_once(&mut peers, &message);
    let allocations = server.allocations(|| {
        for stream in &mut peers {
            message.chunks(64).for_each(|piece| _ = stream.says(piece));
        }
        for stream in &mut peers {
            stream.hears(&message);
        }
    });
    assert_eq!(allocations, 0);
}

#[test]
fn no_datagram_allocates() {
    let server = Server::echo(None);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.running.place.1).unwrap();
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
    let server = Server::echo(Some(Duration::from_secs(3600)));
    let allocations = server.allocations(|| echo(&mut [server.dial()], &[b'x'; 64]));
    println!("{allocations} allocations for {ROUNDS} connections, one after the other");
    // Another handful while the tables find their sizes.
    assert!(allocations <= 16, "{allocations}");
}

/// Crowds come one after the other: each takes most of the descriptors that there are.
static CROWD: Mutex<()> = Mutex::new(());

#[test]
fn a_connection_at_rest_owns_little() {
    let _alone = CROWD.lock();
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
        let server = Server::echo(idle);
        // What the loop needs once, its read buffer above all, is no connection's.
        let mut first = vec![server.dial()];
        echo(&mut first, &[b'x'; 64]);
        let at_first = server.tally.live();
        let mut peers = first;
        let mut each = |count: usize| {
            while peers.len() < count {
                let batch = BATCH.min(count - peers.len());
                let mut fresh: Vec<_> = (0..batch).map(|_| server.dial()).collect();
                echo(&mut fresh, &[b'x'; 64]);
                peers.append(&mut fresh);
            }
            // One more answer: whatever the turn before it left to do has been done.
            echo(&mut peers[..1], b"x");
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

/// Through TLS: what issues and guides promise, and half of what a whole record takes.
#[cfg(feature = "tls")]
const TLS_REST_BYTES_MAX: f64 = 8.0 * 1024.0;

#[cfg(feature = "tls")]
#[test]
fn a_tls_connection_at_rest_owns_little_also_after_it_moved_megabytes() {
    // Sessions are made 64 at once: as many wait before as after.
    const CONNECTIONS: usize = 64;
    let _alone = CROWD.lock();
    let tally = Tally::new();
    let (secure, trust) = sealed::pair();
    let running = Running::start(Limits::default(), move |reactor| {
        tally.count_this_thread();
        let listener = listen_tcp(ANY).unwrap();
        let place: SocketAddr = getsockname(&listener).unwrap().try_into().unwrap();
        let service = reactor.add(Box::new(Echo));
        let options = ListenerOptions {
            secure: Some(secure),
            ..ListenerOptions::to(service)
        };
        reactor.listen(listener, options).unwrap();
        place
    });
    let mut first = sealed::dial(running.place, &trust);
    sealed::echo(&mut first, 1 << 20);
    sealed::echo(&mut first, 64);
    let before = tally.live();
    let each = || (tally.live() - before) as f64 / CONNECTIONS as f64;
    // All of them first, so that none finds room that another has left.
    let mut peers: Vec<_> = (0..CONNECTIONS)
        .map(|_| sealed::dial(running.place, &trust))
        .collect();
    peers.iter_mut().for_each(|peer| sealed::echo(peer, 64));
    sealed::echo(&mut first, 64);
    let opened = each();
    for peer in &mut peers {
        sealed::echo(peer, 1 << 20);
        sealed::echo(peer, 1 << 20);
    }
    // One more answer: whatever the turn before it left to do has been done.
    sealed::echo(&mut first, 64);
    let moved = each();
    println!("a TLS connection owns {opened:.0} B, and {moved:.0} B after it echoed 2 MiB");
    assert!(opened <= TLS_REST_BYTES_MAX, "{opened} B");
    assert!(moved <= TLS_REST_BYTES_MAX, "{moved} B");
}

/// Clients that speak TLS.
#[cfg(feature = "tls")]
mod sealed {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::sync::Arc;

    use onepoll::reactor::{Secure, Tls, TlsOptions};
    use onepoll::tls::tls_provider;
    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::sign::CertifiedKey;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

    use super::DEADLINE;

    pub(super) type Peer = StreamOwned<ClientConnection, TcpStream>;

    /// A server's side, and what a client needs to trust it.
    pub(super) fn pair() -> (Arc<dyn Secure>, Arc<ClientConfig>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = tls_provider();
        let certified = CertifiedKey::from_der(vec![certificate.clone()], key, &provider);
        let tls = Tls::new(TlsOptions {
            certified: Arc::new(certified.unwrap()),
            client_roots: None,
            allows_tls12: false,
        });
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let trust = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (Arc::new(tls.unwrap()), Arc::new(trust))
    }

    pub(super) fn dial(place: SocketAddr, trust: &Arc<ClientConfig>) -> Peer {
        let stream = TcpStream::connect(place).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::clone(trust), name).unwrap();
        StreamOwned::new(session, stream)
    }

    /// Sends so many bytes, in whole records, and hears them again.
    pub(super) fn echo(peer: &mut Peer, bytes: usize) {
        let message = vec![b'x'; bytes.min(64 << 10)];
        let mut answer = vec![0; message.len()];
        for _ in 0..bytes.div_ceil(message.len()) {
            peer.write_all(&message).unwrap();
            peer.read_exact(&mut answer).unwrap();
            assert!(answer == message);
        }
    }
}

/// What may stay when a crowd has gone: tables of `KEPT_PLACES`, which are 540 KB where its last thousand go together and
/// none is found too large, and buffers of `KEPT_BYTES`.
const STAYS_BYTES_MAX: i64 = 640 << 10;

#[test]
fn what_a_crowd_needed_is_given_back() {
    let _alone = CROWD.lock();
    let crowd =
        3000.min(usize::try_from(raise_descriptor_limit().saturating_sub(256) / 4).unwrap());
    let tally = Tally::new();
    let idle = Some(Duration::from_secs(3600));
    let running = Running::start(Limits::default(), move |reactor| {
        tally.count_this_thread();
        let chat = Chat::new(&chat::Options::default(), Limits::default().frame);
        let services: [Box<dyn Service>; 2] = [Box::new(Echo), Box::new(chat)];
        services.map(|service| {
            let listener = listen_tcp(ANY).unwrap();
            let place: SocketAddr = getsockname(&listener).unwrap().try_into().unwrap();
            let service = reactor.add(service);
            let options = ListenerOptions {
                idle,
                ..ListenerOptions::to(service)
            };
            reactor.listen(listener, options).unwrap();
            place
        })
    });
    let [echo_place, chat_place] = running.place;
    let dial_and_reset = |place| {
        let peer = dial(place);
        peer.will_reset();
        peer
    };
    // The first of each costs what the loop needs once.
    let mut stays = [echo_place, chat_place].map(dial_and_reset);
    echo(&mut stays[..1], &[b'x'; 64]);
    stays[1].line();
    let before = tally.live();

    // A room in which everybody is announced, echoes, an answer that is not read, half a line each.
    let mut members: Vec<Peer> = (0..crowd).map(|_| dial_and_reset(chat_place)).collect();
    let mut askers: Vec<Peer> = (0..crowd).map(|_| dial_and_reset(echo_place)).collect();
    echo(&mut askers, &[b'x'; 4096]);
    for member in &mut members[..4] {
        member.says([b'y'; 1000]);
        member.says(b"\n");
    }
    for member in &mut members[4..] {
        member.says(b"half a line");
    }
    echo(&mut stays[..1], b"x");
    let at_most = tally.live();
    assert!(
        at_most - before > 2 * STAYS_BYTES_MAX,
        "{}",
        at_most - before
    );
    drop((members, askers));

    // Each echo is a turn, after which the loop rests; the resets of the crowd come in some of them.
    let mut after_an_echo = || {
        echo(&mut stays[..1], b"x");
        tally.live() - before
    };
    let stayed = (0..10_000)
        .map(|_| after_an_echo())
        .find(|stayed| *stayed <= STAYS_BYTES_MAX)
        .expect("what the crowd needed is given back");
    println!(
        "{crowd} members and as many askers took {} B; {stayed} B stayed",
        at_most - before
    );
}
