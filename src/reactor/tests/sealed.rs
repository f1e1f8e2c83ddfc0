//! A connection through real TLS, whose client is in the test's hand: what has begun and does not end, and
//! what is held for it.

use std::io;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;
use crate::config::limits::{LINGER, PROGRESS_GRACE};
use crate::reactor::{Tls, TlsOptions};
use crate::service::{Chat, Command, Echo, chat, command};
use crate::tls::tls_provider;
use crate::turn::Exit;
use crate::wire::LINE_BYTES_MAX;

/// A listener that speaks TLS, and what its clients need.
struct Endpoint {
    listener: usize,
    config: Arc<ClientConfig>,
}

impl Endpoint {
    fn new(world: &mut World, service: impl Service + 'static, idle: Option<Duration>) -> Endpoint {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = tls_provider();
        let certified = CertifiedKey::from_der(vec![certificate.clone()], key, &provider).unwrap();
        let secure = Tls::new(TlsOptions {
            certified: Arc::new(certified),
            client_roots: None,
            allows_tls12: false,
        });
        let secure = Arc::new(secure.unwrap());
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Endpoint {
            listener: world.serves_with(service, |listener| {
                listener.secure = Some(secure);
                listener.idle = idle;
            }),
            config: Arc::new(config),
        }
    }

    /// A client whose handshake is over.
    fn dials(&self, world: &mut World) -> Client {
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        let wire = world.dials(self.listener);
        let mut client = Client { wire, session };
        while client.session.is_handshaking() {
            let cipher = client.seals(b"");
            world.says(client.wire, cipher);
            client.hears(world);
        }
        let cipher = client.seals(b"");
        world.says(client.wire, cipher);
        client
    }
}

struct Client {
    wire: usize,
    session: ClientConnection,
}

impl Client {
    /// The records of what it would say.
    fn seals(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut cipher = Vec::new();
        for plain in plain.chunks(16 << 10) {
            io::Write::write_all(&mut self.session.writer(), plain).unwrap();
            self.session.write_tls(&mut cipher).unwrap();
        }
        while self.session.wants_write() {
            self.session.write_tls(&mut cipher).unwrap();
        }
        cipher
    }

    /// What it heard since it was last asked.
    fn hears(&mut self, world: &mut World) -> Vec<u8> {
        let cipher = std::mem::take(&mut world.os().wires[self.wire].heard);
        let (mut cipher, mut heard) = (&cipher[..], Vec::new());
        while !cipher.is_empty() {
            self.session.read_tls(&mut cipher).unwrap();
            let state = self.session.process_new_packets().unwrap();
            let had = heard.len();
            heard.resize(had + state.plaintext_bytes_to_read(), 0);
            io::Read::read_exact(&mut self.session.reader(), &mut heard[had..]).unwrap();
        }
        heard
    }
}

fn a_chat() -> Chat {
    Chat::new(&chat::Options::default(), LINE_BYTES_MAX)
}

fn buffered(world: &World) -> usize {
    usize::try_from(world.reactor.counters().buffered).unwrap()
}

#[track_caller]
fn is_closed_in(world: &mut World, wire: usize, time: Duration) {
    world.passes(time - MS);
    assert!(world.is_open(wire), "closed too early");
    world.passes(MS);
    assert!(!world.is_open(wire), "not closed in time");
}

#[test]
fn fault_b10_a_record_that_does_not_end_has_the_time_of_a_frame_and_no_byte_renews_it() {
    let mut world = World::new();
    world.passes(SECOND);
    let echo = Endpoint::new(&mut world, Echo, None);
    let mut client = echo.dials(&mut world);
    world.passes(1000 * SECOND);
    let record = client.seals(&[b'x'; 100]);
    // A second after a byte of the header has come, and a byte of it each second.
    for byte in &record[..29] {
        world.says(client.wire, [*byte]);
        world.passes(SECOND);
    }
    is_closed_in(&mut world, client.wire, PROGRESS_GRACE - 29 * SECOND);
    world.passes(LINGER);
    assert_eq!(world.reactor.counters().closed.slow_frame, 1);
    assert_eq!(buffered(&world), 0);
}

#[test]
fn fault_b10_a_record_that_comes_fast_enough_has_time_for_all_of_it() {
    let mut world = World::new();
    world.passes(SECOND);
    let echo = Endpoint::new(&mut world, Echo, None);
    let (mut client, mut slow) = (echo.dials(&mut world), echo.dials(&mut world));
    let (record, other) = (client.seals(&[b'x'; 16_000]), slow.seals(&[b'y'; 16_000]));
    world.says(client.wire, &record[..10 << 10]);
    world.says(slow.wire, &other[..10 << 10]);
    world.passes(PROGRESS_GRACE + 9 * SECOND);
    world.says(client.wire, &record[10 << 10..]);
    assert_eq!(client.hears(&mut world), [b'x'; 16_000]);
    is_closed_in(&mut world, slow.wire, SECOND);
    // One that has ended asks for nothing.
    world.passes(1000 * SECOND);
    assert!(world.is_open(client.wire));
}

#[test]
fn fault_b10_a_record_that_begins_when_another_has_ended_has_its_own_time() {
    let mut world = World::new();
    world.passes(SECOND);
    let echo = Endpoint::new(&mut world, Echo, None);
    let mut client = echo.dials(&mut world);
    let mut records = Vec::new();
    for n in 0..100_u8 {
        records.extend(client.seals(&[n; 50]));
    }
    let each = records.len() / 100;
    // Each read ends in the middle of a record.
    world.says(client.wire, &records[..each / 2]);
    for n in 1..100 {
        world.passes(SECOND);
        let at = n * each - each / 2;
        world.says(client.wire, &records[at..at + each]);
    }
    assert_eq!(client.hears(&mut world).len(), 99 * 50);
    is_closed_in(&mut world, client.wire, PROGRESS_GRACE);
}

#[test]
fn fault_b10_records_that_end_do_not_renew_the_time_of_a_frame() {
    let mut world = World::new();
    world.passes(SECOND);
    let room = Endpoint::new(&mut world, a_chat(), None);
    let mut client = room.dials(&mut world);
    for _ in 0..29 {
        let record = client.seals(b"x");
        world.says(client.wire, record);
        world.passes(SECOND);
    }
    is_closed_in(&mut world, client.wire, PROGRESS_GRACE - 29 * SECOND);
}

#[test]
fn silence_in_the_middle_of_a_record_is_silence() {
    let mut world = World::new();
    world.passes(SECOND);
    let idle = 10 * SECOND;
    let echo = Endpoint::new(&mut world, Echo, Some(idle));
    let mut client = echo.dials(&mut world);
    let record = client.seals(&[b'x'; 100]);
    world.says(client.wire, &record[..50]);
    world.passes(idle - MS);
    world.says(client.wire, &record[50..60]);
    is_closed_in(&mut world, client.wire, idle);
    world.passes(LINGER);
    assert_eq!(world.reactor.counters().closed.idle, 1);
}

#[test]
fn fault_b12_records_count_that_were_not_written_and_those_that_have_not_ended() {
    let mut world = World::new();
    let echo = Endpoint::new(&mut world, Echo, None);
    let mut client = echo.dials(&mut world);
    assert_eq!(buffered(&world), 0);
    // What is owed, and its records.
    world.os().takes(client.wire, 0);
    let cipher = client.seals(&[b'x'; 50_000]);
    world.says(client.wire, &cipher);
    assert!(
        buffered(&world) >= 50_000 + cipher.len(),
        "{}",
        buffered(&world)
    );
    // Half of it is taken: the other half counts.
    world.os().takes(client.wire, 30_000);
    world.settles();
    let half = buffered(&world);
    assert!(half >= 50_000 + cipher.len() - 30_000, "{half}");
    world.os().takes(client.wire, usize::MAX);
    world.settles();
    assert_eq!(client.hears(&mut world), [b'x'; 50_000]);
    assert_eq!(buffered(&world), 0);
    let cipher = client.seals(&[b'x'; 16_000]);
    world.says(client.wire, &cipher[..10_000]);
    assert_eq!(buffered(&world), 10_000);
    world.says(client.wire, &cipher[10_000..]);
    assert_eq!(buffered(&world), 0);
}

#[test]
fn fault_b12_the_answers_of_a_handshake_count_that_nobody_reads() {
    let mut world = World::new();
    let echo = Endpoint::new(&mut world, Echo, None);
    let name = ServerName::try_from("localhost").unwrap();
    let session = ClientConnection::new(Arc::clone(&echo.config), name).unwrap();
    let wire = world.dials(echo.listener);
    let mut client = Client { wire, session };
    world.os().takes(wire, 100);
    let hello = client.seals(b"");
    world.says(wire, hello);
    let unwritten = buffered(&world);
    assert!((300..4000).contains(&unwritten), "{unwritten}");
    world.os().takes(wire, usize::MAX);
    world.settles();
    assert_eq!(buffered(&world), 0);
}

/// A command runs, half of a record of the next has come, and for so long nothing of its service's is ready.
fn half_a_record_while_a_command_runs(idle: Option<Duration>) {
    let mut world = World::new();
    let command = Command::new(&command::Options::default(), &Limits::default());
    let endpoint = Endpoint::new(&mut world, command, idle);
    let mut client = endpoint.dials(&mut world);
    let (first, next) = (client.seals(b"first\n"), client.seals(b"next\n"));
    let (half, rest) = next.split_at(next.len() / 2);
    world.says(client.wire, [&first, half].concat());
    world.settles();
    assert_eq!(world.os().commands.len(), 1);
    world.says(client.wire, rest);
    world.passes(2 * PROGRESS_GRACE);
    world.os().prints(0, b"done\n");
    world.os().exits(0, Exit::Code(0));
    world.settles();
    assert!(
        world.is_open(client.wire),
        "{:?}",
        world.reactor.counters().closed
    );
    assert_eq!(world.os().commands.len(), 2, "its client is served on");
}

#[test]
fn half_a_record_is_waited_for_while_its_service_is_busy_however_long_that_takes() {
    half_a_record_while_a_command_runs(None);
}

#[test]
fn half_a_record_is_no_silence_while_its_service_is_busy() {
    half_a_record_while_a_command_runs(Some(Duration::from_secs(5)));
}
