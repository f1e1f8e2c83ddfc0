//! Sessions of real TLS that a service begins on what it dialled, whose server is in the test's hand: how they come about,
//! and every way in which they do not.

use std::fmt::Display;
use std::io::{self, Read as _, Write as _};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};

use super::*;
use crate::config::{Lookups, ServerAddress};
use crate::reactor::invariants::State;
use crate::reactor::{Signal, TlsClient};
use crate::service::{Dial, Dialler, Echo};
use crate::tls::{ClientTls, Fingerprint, Remedies, Trust, tls_provider};
use crate::turn::{ConnId, Moment, Secure};

/// How long it waits before it dials again, and how long a handshake may take.
const AGAIN: Duration = Duration::from_secs(5);
const WITHIN: Duration = Duration::from_secs(2);

const REMEDIES: Remedies = Remedies {
    plain: "write plain",
    ask: "give one",
    cert: "cert",
};

/// Begins a session when it is greeted, and passes on what comes by that.
#[derive(Debug)]
struct Starter {
    secure: Arc<dyn Secure>,
    due: Moment,
    link: Option<ConnId>,
    /// What it was told.
    told: Vec<String>,
    /// It says something before the session begins.
    is_rash: bool,
}

impl Service for Starter {
    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        // What it was told goes to whoever asks.
        input.consume(input.len());
        let told = std::mem::take(&mut self.told);
        t.reply(&*format!("{told:?}"));
        Ok(())
    }

    fn stopping(&mut self, t: &mut Turn<'_>) {
        t.close();
    }

    fn due(&self) -> Option<Moment> {
        Some(self.due)
    }

    fn dialler(&mut self) -> Option<&mut dyn Dialler> {
        Some(self)
    }
}

impl Dialler for Starter {
    fn dials(&mut self, now: Moment) -> Option<Dial> {
        (self.due <= now).then(|| {
            self.due = Moment::NEVER;
            Dial {
                name: "nats+tls://bus".into(),
                to: SocketAddr::from((Ipv4Addr::LOCALHOST, 4222)),
                within: SECOND,
            }
        })
    }

    fn dialled(&mut self, t: &mut Turn<'_>) {
        self.link = Some(t.id);
        self.told.push("dialled".into());
    }

    fn secured(&mut self, t: &mut Turn<'_>) {
        self.told.push("secured".into());
        t.reply("HELLO\n");
    }

    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        if input.unread().starts_with(b"INFO\n") {
            input.consume(5);
            if self.is_rash {
                t.reply("rash");
            }
            t.begin_session(Arc::clone(&self.secure), WITHIN);
            return Ok(());
        }
        let all = String::from_utf8_lossy(input.unread()).into_owned();
        self.told.push(all);
        input.consume(input.len());
        Ok(())
    }

    fn stopping(&mut self, t: &mut Turn<'_>) {
        t.close();
    }

    fn closed(&mut self, t: &mut Turn<'_>, why: &dyn Display) {
        self.told.push(format!("closed: {why}"));
        self.due = t.now.after(AGAIN);
    }

    fn dial_failed(&mut self, now: Moment, error: &io::Error) {
        self.told.push(format!("failed: {error}"));
        self.due = now.after(AGAIN);
    }
}

/// A loop, whoever asks what its service was told, and the server that was dialled.
struct Scene {
    world: World,
    asker: usize,
    wire: usize,
    server: ServerConnection,
}

/// What a server shows.
struct Shown {
    certificate: CertificateDer<'static>,
    config: Arc<ServerConfig>,
}

impl Shown {
    fn new() -> Shown {
        Shown::asking(None)
    }

    /// It asks for certificates for which one of these vouches.
    fn asking(roots: Option<RootCertStore>) -> Shown {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["bus".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(tls_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = match roots {
            None => config.with_no_client_auth(),
            Some(roots) => config.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                    .build()
                    .unwrap(),
            ),
        };
        let config = config
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        Shown {
            certificate,
            config: Arc::new(config),
        }
    }

    /// What a client has that expects just this certificate.
    fn expected(&self) -> Arc<dyn Secure> {
        let trust = Trust::Certificate(Fingerprint::of(&self.certificate));
        let tls = ClientTls::look_up(trust, None, REMEDIES, &mut Lookups::live()).unwrap();
        let address: ServerAddress = "bus:4222".parse().unwrap();
        Arc::new(TlsClient::new(tls, &address).unwrap())
    }
}

impl Scene {
    fn new(shown: &Shown, secure: Arc<dyn Secure>) -> Scene {
        Scene::with(shown, secure, false)
    }

    fn with(shown: &Shown, secure: Arc<dyn Secure>, is_rash: bool) -> Scene {
        let mut world = World::new();
        let listener = world.serves(Starter {
            secure,
            due: Moment::START,
            link: None,
            told: Vec::new(),
            is_rash,
        });
        world.settles();
        let wire = world.os().wires.len() - 1;
        world.os().decides(wire, Ok(()));
        world.settles();
        let asker = world.dials(listener);
        let mut scene = Scene {
            world,
            asker,
            wire,
            server: ServerConnection::new(Arc::clone(&shown.config)).unwrap(),
        };
        assert_eq!(scene.told(), ["dialled"]);
        scene
    }

    fn told(&mut self) -> Vec<String> {
        self.world.says(self.asker, "?");
        let told = self.world.hears(self.asker);
        serde_json::from_str(&told).unwrap()
    }

    fn state(&self) -> Option<State> {
        let mut looks = self.world.reactor.looks();
        looks.find_map(|look| (look.id.slot == 0).then_some(look.state))
    }

    /// What the server would send.
    fn seals(&mut self, plain: &[u8]) -> Vec<u8> {
        self.server.writer().write_all(plain).unwrap();
        let mut cipher = Vec::new();
        while self.server.wants_write() {
            self.server.write_tls(&mut cipher).unwrap();
        }
        cipher
    }

    /// The server takes what it was sent, and what it was told by that.
    fn takes(&mut self) -> Result<String, rustls::Error> {
        let cipher = std::mem::take(&mut self.world.os().wires[self.wire].heard);
        let mut cipher = &cipher[..];
        let mut heard = Vec::new();
        while !cipher.is_empty() {
            self.server.read_tls(&mut cipher).unwrap();
            let n = self.server.process_new_packets()?.plaintext_bytes_to_read();
            let had = heard.len();
            heard.resize(had + n, 0);
            self.server.reader().read_exact(&mut heard[had..]).unwrap();
        }
        Ok(String::from_utf8(heard).unwrap())
    }

    /// The server's whole flight after the client's first.
    fn flight(&mut self) -> Vec<u8> {
        self.world.says(self.wire, "INFO\n");
        assert_eq!(self.state(), Some(State::Handshaking));
        self.takes().unwrap();
        self.seals(b"")
    }

    /// It has come to nothing, was told so once, and another one is dialled in time.
    #[track_caller]
    fn failed(&mut self, why: &str) {
        let told = self.told();
        assert!(
            told.len() == 1 && told[0].starts_with("failed: "),
            "{told:?}"
        );
        assert!(told[0].contains(why), "{told:?}");
        assert!(!self.world.is_open(self.wire));
        self.world.os().ends(self.wire);
        self.world.passes(AGAIN);
        assert_eq!(self.told(), [""; 0], "told once");
        assert!(self.world.os().wires.len() > self.wire + 2, "dialled again");
    }

    fn handshakes(&self) -> [u64; 2] {
        let counted = self.world.reactor.counters().tls_handshakes;
        [counted.completed, counted.failed]
    }
}

#[test]
fn a_session_begins_on_what_was_dialled_and_its_service_is_told_when_it_is_there() {
    let shown = Shown::new();
    let mut scene = Scene::new(&shown, shown.expected());
    let flight = scene.flight();
    // Byte by byte, and with the first of what follows.
    for byte in &flight {
        assert_eq!(scene.told(), [""; 0]);
        scene.world.says(scene.wire, [*byte]);
    }
    assert_eq!(scene.told(), ["secured"]);
    assert_eq!(scene.takes().unwrap(), "HELLO\n");
    let cipher = scene.seals(b"one");
    scene.world.says(scene.wire, cipher);
    assert_eq!(scene.told(), ["one"]);
    // It may be silent from here on for as long as it likes.
    scene.world.passes(1000 * SECOND);
    assert!(scene.world.is_open(scene.wire));
    assert_eq!(scene.handshakes(), [1, 0]);
    // The end is said at both ends.
    scene.server.send_close_notify();
    let cipher = scene.seals(b"");
    scene.world.says(scene.wire, cipher);
    assert_eq!(scene.takes().unwrap(), "");
    assert!(!scene.world.is_open(scene.wire));
    scene.world.os().ends(scene.wire);
    scene.world.settles();
    assert_eq!(scene.told(), ["closed: the peer ended its input"]);
}

#[test]
fn what_comes_with_the_end_of_the_handshake_is_served_at_once() {
    let shown = Shown::new();
    let mut scene = Scene::new(&shown, shown.expected());
    scene.server.set_buffer_limit(None);
    let mut flight = scene.flight();
    // A server may say something before it has heard the end of the client's handshake.
    flight.extend(scene.seals(b"early"));
    scene.world.says(scene.wire, flight);
    let told = scene.told();
    assert_eq!(told[0], "secured");
    scene.takes().unwrap();
    let cipher = scene.seals(b"");
    scene.world.says(scene.wire, cipher);
    let told = [told, scene.told()].concat();
    assert_eq!(told, ["secured", "early"]);
}

#[test]
fn a_certificate_that_is_not_the_expected_one_ends_the_handshake_and_the_server_is_told() {
    let (shown, other) = (Shown::new(), Shown::new());
    let mut scene = Scene::new(&shown, other.expected());
    let flight = scene.flight();
    scene.world.says(scene.wire, flight);
    let alert = scene.takes().unwrap_err();
    assert!(matches!(alert, rustls::Error::AlertReceived(_)), "{alert}");
    scene.world.os().ends(scene.wire);
    scene.world.settles();
    scene.failed("and the expected one has");
    assert_eq!(scene.handshakes(), [0, 1]);
}

#[test]
fn fault_d12_plaintext_behind_what_was_waited_for_is_not_believed() {
    for behind in ["x", "INFO\n", "\u{16}\u{3}"] {
        let shown = Shown::new();
        let mut scene = Scene::new(&shown, shown.expected());
        scene.world.says(scene.wire, format!("INFO\n{behind}"));
        scene.failed("plaintext came before the session began");
    }
    // It comes a moment later.
    let shown = Shown::new();
    let mut scene = Scene::new(&shown, shown.expected());
    scene.world.says(scene.wire, "INFO\n");
    scene.world.says(scene.wire, "PING\n");
    scene.world.os().ends(scene.wire);
    scene.world.settles();
    scene.failed(
        "the server seems to speak no TLS, since its answer begins with \"PING\\x0a\"; write plain",
    );
}

#[test]
fn what_was_said_in_plaintext_must_have_left_before_a_session_begins() {
    let shown = Shown::new();
    let mut scene = Scene::with(&shown, shown.expected(), true);
    scene.world.says(scene.wire, "INFO\n");
    scene.failed("plaintext came before");
    assert_eq!(scene.world.hears(scene.wire), "", "and not in between");
}

#[test]
fn fault_d3_a_server_that_is_silent_in_the_handshake_or_slow_is_not_waited_for() {
    for trickles in [false, true] {
        let shown = Shown::new();
        let mut scene = Scene::new(&shown, shown.expected());
        let flight = scene.flight();
        for byte in flight.iter().take(19) {
            if trickles {
                scene.world.says(scene.wire, [*byte]);
            }
            scene.world.passes(100 * MS);
        }
        assert!(scene.world.is_open(scene.wire));
        scene.world.passes(100 * MS);
        scene.failed("in the TLS handshake: timed out");
    }
}

#[test]
fn fault_b15_a_handshake_that_is_cut_off_at_any_byte_is_a_dial_in_vain() {
    let shown = Shown::new();
    let len = Scene::new(&shown, shown.expected()).flight().len();
    for at in (0..len).step_by(7) {
        for resets in [false, true] {
            let mut scene = Scene::new(&shown, shown.expected());
            let flight = scene.flight();
            // A signature takes a byte more or less, so this flight may be shorter than the first: it is never whole.
            let at = at.min(flight.len() - 1);
            scene.world.says(scene.wire, &flight[..at]);
            if resets {
                scene.world.os().resets(scene.wire);
            } else {
                scene.world.os().ends(scene.wire);
            }
            scene.world.settles();
            let why = if resets {
                "in the TLS handshake: connection reset"
            } else {
                "in the TLS handshake: unexpected end of file"
            };
            scene.failed(why);
        }
    }
}

#[test]
fn a_server_that_asks_for_a_certificate_says_so_behind_its_handshake() {
    let mut roots = RootCertStore::empty();
    roots.add(Shown::new().certificate).unwrap();
    let shown = Shown::asking(Some(roots));
    let mut scene = Scene::new(&shown, shown.expected());
    let flight = scene.flight();
    scene.world.says(scene.wire, flight);
    // With TLS 1.3 the client's handshake is over before the server has seen that it has no certificate.
    assert_eq!(scene.told(), ["secured"]);
    assert!(scene.takes().is_err());
    let alert = scene.seals(b"");
    scene.world.says(scene.wire, alert);
    scene.world.os().ends(scene.wire);
    scene.world.settles();
    let asked =
        "closed: the server asks its clients for a certificate, and none was given: give one";
    assert_eq!(scene.told(), [asked]);
}

#[test]
fn fault_d10_a_session_that_is_cut_off_later_is_lost_and_not_ended() {
    let shown = Shown::new();
    let mut scene = Scene::new(&shown, shown.expected());
    let flight = scene.flight();
    scene.world.says(scene.wire, flight);
    assert_eq!(scene.told(), ["secured"]);
    scene.world.os().ends(scene.wire);
    scene.world.settles();
    let [told] = &scene.told()[..] else {
        panic!("told once");
    };
    assert!(
        told.contains("cut off: the connection ended without close_notify"),
        "{told}"
    );
}

#[test]
fn a_server_that_stops_waits_for_no_handshake_of_its_own() {
    let shown = Shown::new();
    let mut scene = Scene::new(&shown, shown.expected());
    scene.flight();
    scene.world.os().signal(Signal::Stop);
    scene.world.settles();
    assert!(scene.world.os().wires[scene.wire].is_closed);
    scene.world.os().ends(scene.asker);
    scene.world.settles();
    assert!(scene.world.reactor.is_stopped());
}

#[test]
fn plain_connections_are_served_while_a_handshake_waits() {
    let shown = Shown::new();
    let mut scene = Scene::new(&shown, shown.expected());
    let echo = scene.world.serves(Echo);
    scene.flight();
    let client = scene.world.dials(echo);
    scene.world.says(client, "at once");
    assert_eq!(scene.world.hears(client), "at once");
}
