//! The load generator through TLS: at our own server, and at servers by rustls that behave as others do.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use onepoll::load::{Close, Mode, Plan, Report};
use onepoll::tls::{ClientTls, Fingerprint, Trust, tls_provider};
use onepoll::wire::{Digest, HmacKey, Secret};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, ServerConfig, ServerConnection, SupportedProtocolVersion};
use tempfile::TempDir;

use super::{ECHO, NONE_AFTER, RST, closing, counted, failed, plan, run};
use crate::support::program::{bench, onepoll};
use crate::support::server::Served;
use crate::support::{ANY, DEADLINE};

/// Through TLS, with the server that has this certificate.
fn through(mut plan: Plan, fingerprint: Fingerprint) -> Plan {
    plan.tls = Some(ClientTls::new(Trust::Certificate(fingerprint), None).unwrap());
    plan
}

/// A folder with a certificate, as `onepoll certificate` makes it, and its fingerprint.
fn certificate() -> (TempDir, Fingerprint) {
    let folder = tempfile::tempdir().unwrap();
    let said = onepoll(&["certificate", folder.path().to_str().unwrap()]);
    let (_, fingerprint) = said.exits(0).out.split_once("fingerprint=").unwrap();
    let fingerprint = fingerprint.trim().parse().unwrap();
    (folder, fingerprint)
}

/// `URL` with the options of TLS, and more.
fn secured(url: &str, folder: &TempDir, more: &str) -> Served {
    let at = folder.path().display();
    Served::start(&format!(
        "{url}?tls=true&cert={at}/cert.pem&key={at}/key.pem{more}"
    ))
}

#[test]
fn every_mode_of_connections_goes_through_tls() {
    let (folder, fingerprint) = certificate();
    let echo = secured("echo://127.0.0.1:0", &folder, "");
    let once = secured("upper://127.0.0.1:0", &folder, "&once=true");
    let chat = secured("chat://127.0.0.1:0", &folder, "");
    let fanout = Mode::Fanout {
        depth: 4,
        hello: b"/nick ann\n".to_vec(),
        any_prefix: false,
    };
    for (server, mode) in [
        (&echo, RST),
        (&echo, closing(Close::ClientFin, 3)),
        (&once, closing(Close::Server, 1)),
        (&echo, ECHO),
        (&echo, Mode::Echo { depth: 16 }),
        (&chat, fanout),
    ] {
        let said = format!("{mode:?}");
        let report = run(&through(plan(server.address(), mode, 5, 40), fingerprint));
        counted(&report, 40, &[]);
        let agreed = report.tls_session.as_deref();
        assert_eq!(agreed, Some("TLS 1.3, TLS_AES_128_GCM_SHA256"), "{said}");
        assert!(report.tls && report.tls_error.is_none(), "{report}");
        let text = report.to_string();
        assert!(
            text.contains(", through TLS 1.3, TLS_AES_128_GCM_SHA256 (a whole"),
            "{text}"
        );
    }
    let mut hold = through(plan(echo.address(), Mode::Hold, 20, 1), fingerprint);
    hold.amount = onepoll::load::Amount::For(Duration::from_millis(50));
    let report = run(&hold);
    assert_eq!(
        (report.connections.held, report.errors.total),
        (20, 0),
        "{report}"
    );
    assert!(
        report
            .to_string()
            .contains("20 idle connections, through TLS 1.3"),
        "{report}"
    );
}

#[test]
fn commands_and_unix_sockets_go_through_tls_too() {
    let (folder, fingerprint) = certificate();
    let at = folder.path().display();
    let url = format!(
        "command+unix://{at}/socket?framing=json&tls=true&cert={at}/cert.pem&key={at}/key.pem"
    );
    let _server = Served::start(&url);
    let line = format!(
        "exec command+unix://{at}/socket --tls --fingerprint {fingerprint} -c 2 -n 4 --json"
    );
    let report = bench(line).exits(0).json();
    assert_eq!(report["requests"]["answered"], 4, "{report}");
    assert_eq!(report["tls"], true, "{report}");
}

#[test]
fn messages_of_any_size_come_back_whole_through_tls() {
    let (folder, fingerprint) = certificate();
    let server = secured("echo://127.0.0.1:0", &folder, "");
    for (size, depth, count) in [
        (1, 300, 900),
        (16_383, 3, 30),
        (16_384, 3, 30),
        (16_385, 3, 30),
        (1 << 20, 3, 12),
        (16 << 20, 1, 2),
    ] {
        let mut plan = plan(server.address(), Mode::Echo { depth }, 2, count);
        plan.size = size;
        counted(&run(&through(plan, fingerprint)), count, &[]);
    }
}

#[test]
fn fault_d7_a_secret_is_proven_with_what_belongs_to_the_session() {
    let (folder, fingerprint) = certificate();
    let secret = folder.path().join("secret");
    onepoll(&["secret", secret.to_str().unwrap()]).exits(0);
    let only = format!("&secret-file={}&proof=exporter", secret.display());
    let server = secured("echo://127.0.0.1:0", &folder, &only);
    let key = |secret: &[u8]| {
        let secret = Secret::new(secret.trim_ascii().to_vec()).unwrap();
        Some(HmacKey::new(&secret, Digest::Sha256))
    };
    for mode in [ECHO, RST] {
        let mut right = through(plan(server.address(), mode, 3, 12), fingerprint);
        right.hmac_key = key(&std::fs::read(&secret).unwrap());
        counted(&run(&right), 12, &[]);
    }
    let mut wrong = through(plan(server.address(), ECHO, 3, 12), fingerprint);
    wrong.hmac_key = key(b"a secret of somebody else");
    counted(&run(&wrong), 0, &[("not_admitted", 3)]);
}

/// What a server does to each of its connections.
#[derive(Debug, Clone, Copy)]
enum Manner {
    /// Sends what it received, byte by byte.
    InPieces,
    /// Sends what it received with new keys each time.
    WithNewKeys,
    /// Sends what it received, says that this is all, and closes: in one write.
    AndCloses,
    /// Sends what it received, and is gone without a word.
    AndIsGone,
    /// Sends what it received, damaged on its way.
    Damaged,
    /// Ends the connection before the session stands.
    HangsUp,
    /// Says nothing.
    IsSilent,
}

/// What became of a connection at the server's end.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The handshake was whole or not; the client said that it would send nothing more, or not.
    Served {
        is_whole: bool,
        was_said: bool,
    },
    Unserved,
}

/// A server by rustls, with what rustls does by itself: it offers to resume sessions.
struct Other {
    address: SocketAddr,
    fingerprint: Fingerprint,
    ends: mpsc::Receiver<End>,
}

impl Other {
    fn start(manner: Manner, version: &'static SupportedProtocolVersion) -> Other {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate: CertificateDer<'static> = params.self_signed(&key).unwrap().der().clone();
        let fingerprint = Fingerprint::of(&certificate);
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(tls_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind(ANY).unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, ends) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (config, tell) = (Arc::clone(&config), tell.clone());
                thread::spawn(move || {
                    stream.set_nodelay(true).unwrap();
                    stream.set_read_timeout(Some(DEADLINE)).unwrap();
                    let connection = ServerConnection::new(config).unwrap();
                    let end = serve(manner, stream, connection).unwrap_or(End::Unserved);
                    let _ = tell.send(end);
                });
            }
        });
        Other {
            address,
            fingerprint,
            ends,
        }
    }

    fn plan(&self, mode: Mode, count: u64) -> Plan {
        through(plan(self.address, mode, 3, count), self.fingerprint)
    }

    /// The next connections end so.
    #[track_caller]
    fn ends(&self, how: &End, times: usize) {
        for _ in 0..times {
            assert_eq!(&self.ends.recv_timeout(DEADLINE).unwrap(), how);
        }
    }
}

fn serve(manner: Manner, mut stream: TcpStream, mut tls: ServerConnection) -> io::Result<End> {
    match manner {
        Manner::HangsUp => {
            // Its hello, so that it is no reset.
            let _ = stream.read(&mut [0; 4096])?;
            return Ok(End::Unserved);
        }
        Manner::IsSilent => {
            while stream.read(&mut [0; 4096])? > 0 {}
            return Ok(End::Unserved);
        }
        _ => {}
    }
    let mut came = [0; 4096];
    let was_said = loop {
        // A reset ends it as a cut does.
        match rustls::Stream::new(&mut tls, &mut stream).read(&mut came) {
            Ok(0) => break true,
            Ok(n) => {
                if !answer(manner, &mut stream, &mut tls, &came[..n])? {
                    break false;
                }
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                ) =>
            {
                break false;
            }
            Err(error) => return Err(error),
        }
    };
    let is_whole = tls.handshake_kind() == Some(HandshakeKind::Full);
    Ok(End::Served { is_whole, was_said })
}

/// Whether it goes on.
fn answer(
    manner: Manner,
    stream: &mut TcpStream,
    tls: &mut ServerConnection,
    bytes: &[u8],
) -> io::Result<bool> {
    if matches!(manner, Manner::WithNewKeys) {
        tls.refresh_traffic_keys().map_err(io::Error::other)?;
    }
    tls.writer().write_all(bytes)?;
    if matches!(manner, Manner::AndCloses) {
        tls.send_close_notify();
    }
    let mut records = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut records)?;
    }
    if matches!(manner, Manner::Damaged)
        && let Some(last) = records.last_mut()
    {
        *last ^= 1;
    }
    if matches!(manner, Manner::InPieces) {
        for byte in records {
            stream.write_all(&[byte])?;
        }
    } else {
        stream.write_all(&records)?;
    }
    Ok(!matches!(manner, Manner::AndCloses | Manner::AndIsGone))
}

const SAID: End = End::Served {
    is_whole: true,
    was_said: true,
};
const UNSAID: End = End::Served {
    is_whole: true,
    was_said: false,
};

#[test]
fn every_handshake_is_a_whole_one_whatever_the_server_offers() {
    let server = Other::start(Manner::WithNewKeys, &TLS13);
    // One after the other, when a ticket has long been there.
    let mut plan = server.plan(closing(Close::ClientFin, 2), 9);
    plan.connections = 1;
    counted(&run(&plan), 9, &[]);
    server.ends(&SAID, 9);
    let server = Other::start(Manner::InPieces, &TLS12);
    let report = run(&server.plan(closing(Close::ClientFin, 2), 9));
    counted(&report, 9, &[]);
    server.ends(&SAID, 9);
    let agreed = report.tls_session.unwrap();
    assert!(
        agreed.starts_with("TLS 1.2, TLS_ECDHE_ECDSA_WITH_"),
        "{agreed}"
    );
}

#[test]
fn a_connection_ends_with_a_word_unless_it_is_reset() {
    let server = Other::start(Manner::InPieces, &TLS13);
    counted(&run(&server.plan(ECHO, 6)), 6, &[]);
    server.ends(&SAID, 3);
    counted(&run(&server.plan(RST, 6)), 6, &[]);
    server.ends(&UNSAID, 6);
}

#[test]
fn an_answer_and_the_end_in_one_write_are_an_answer_and_an_end() {
    let server = Other::start(Manner::AndCloses, &TLS13);
    counted(&run(&server.plan(closing(Close::Server, 1), 9)), 9, &[]);
    // The same from a server that says nothing of the end: the answers came whole, their ends did not.
    let server = Other::start(Manner::AndIsGone, &TLS13);
    counted(&run(&server.plan(closing(Close::ClientFin, 1), 9)), 9, &[]);
    counted(
        &run(&server.plan(closing(Close::Server, 1), 9)),
        0,
        &[("cut_off", 9)],
    );
    // One that has asked again by then may be told by a reset.
    let report = run(&server.plan(ECHO, 9));
    let json = serde_json::to_value(&report).unwrap();
    let of = |kind: &str| json["errors"][kind].as_u64().unwrap();
    // The first on each connection is answered, and the second is cut off with it.
    let requests = report.requests;
    assert!((4..=6).contains(&requests.answered), "{report}");
    assert_eq!(requests.answered + requests.unanswered, 9, "{report}");
    assert_eq!(of("cut_off") + of("reset"), of("total"), "{report}");
    assert!(of("total") >= requests.unanswered, "{report}");
}

#[test]
fn what_is_damaged_on_its_way_is_a_failure_of_tls_and_no_answer() {
    let server = Other::start(Manner::Damaged, &TLS13);
    let report = run(&server.plan(ECHO, 9));
    counted(&report, 0, &[("tls", 3)]);
    let why = report.tls_error.as_deref().unwrap();
    assert!(why.contains("cannot decrypt"), "{why}");
    assert!(
        report.to_string().contains("the first failure of TLS: "),
        "{report}"
    );
}

#[test]
fn a_handshake_that_does_not_end_has_the_timeout_of_the_connection() {
    let server = Other::start(Manner::IsSilent, &TLS13);
    for mode in [ECHO, RST] {
        let mut plan = server.plan(mode, 3);
        plan.timeout = NONE_AFTER;
        let report = run(&plan);
        failed(&report, &[("timeout", 3)]);
        let text = report.to_string();
        assert!(
            text.contains("no TLS handshake came to its end: if the server speaks no TLS"),
            "{text}"
        );
    }
    let server = Other::start(Manner::HangsUp, &TLS13);
    let report = run(&server.plan(ECHO, 3));
    failed(&report, &[("tls", 3)]);
    let why = report.tls_error.unwrap();
    assert!(
        why.contains("ended the connection in the handshake"),
        "{why}"
    );
}

#[track_caller]
fn says(report: &Report, what: &str) {
    let why = report.tls_error.as_deref().unwrap_or_default();
    assert!(why.contains(what), "{why}");
}

#[test]
fn another_server_than_the_right_one_is_asked_nothing() {
    let (folder, fingerprint) = certificate();
    let server = secured("echo://127.0.0.1:0", &folder, "");
    let (_, other) = certificate();
    let report = run(&through(plan(server.address(), ECHO, 3, 9), other));
    counted(&report, 0, &[("tls", 3)]);
    says(
        &report,
        &format!("fingerprint {fingerprint}, and the expected one has {other}"),
    );
}

#[test]
fn with_no_certificate_to_trust_nothing_is_asked_and_the_one_that_was_seen_is_said() {
    let (folder, fingerprint) = certificate();
    let server = secured("echo://127.0.0.1:0", &folder, "");
    let at = server.address();
    let said = bench(format!("echo {at} --tls"));
    said.fails(
        1,
        &format!(
            "{at} shows a certificate of which nothing is known here: {fingerprint}; if that is"
        ),
    );
    let trusted = said.err.trim().split_once("say ").unwrap().1;
    bench(format!("echo {at} --tls {trusted} -n 5")).exits(0);
    // Of several, each that is not known.
    let said = bench(format!(
        "compare a={at}?tls=true b=echo://{at}?tls=true c={at}?tls=true&fingerprint={fingerprint} --mode echo,conn"
    ));
    said.fails(1, "shows a certificate");
    assert_eq!(said.err.lines().count(), 2, "{}", said.err);
}

#[test]
fn a_result_of_plain_connections_is_no_baseline_for_tls_however_old_it_is() {
    let (folder, fingerprint) = certificate();
    let server = secured("echo://127.0.0.1:0", &folder, "");
    let plain = Served::start("echo://127.0.0.1:0");
    let line = |server: &Served, more: &str| {
        let at = server.address();
        format!("echo server={at} -c 2 -n 20 --rounds 5 {more}")
    };
    let said = bench(line(&plain, "--json"));
    let mut earlier = said.exits(0).json();
    // As it was printed before there was any of this.
    for contender in earlier["contests"][0]["contenders"].as_array_mut().unwrap() {
        for report in contender["reports"].as_array_mut().unwrap() {
            let report = report.as_object_mut().unwrap();
            assert_eq!(report.remove("tls"), Some(false.into()));
            for key in ["tls_session", "tls_error"] {
                assert_eq!(report.remove(key), Some(().into()));
            }
            for key in ["tls", "cut_off"] {
                let errors = report["errors"].as_object_mut().unwrap();
                assert_eq!(errors.remove(key), Some(0.into()));
            }
        }
    }
    let file = folder.path().join("earlier.json");
    std::fs::write(&file, earlier.to_string()).unwrap();
    let baseline = format!(
        "--baseline {} --tolerance 99 --max-busy 100",
        file.display()
    );
    bench(line(&plain, &baseline)).exits(0);
    let through = format!("--tls --fingerprint {fingerprint} {baseline}");
    let why = "was measured with a transport that is plain, and now it is TLS";
    bench(line(&server, &through)).refuses(why);
}

#[test]
fn plain_bytes_at_a_server_of_tls_and_the_reverse_are_called_by_their_names() {
    let (folder, _) = certificate();
    let server = secured("echo://127.0.0.1:0", &folder, "");
    let at = server.address();
    let say = "the server speaks TLS: say --tls, with --ca FILE|system or --fingerprint SHA256";
    for line in [
        format!("echo {at} -n 3"),
        format!("conn a={at} b={at} -n 3 --rounds 1"),
    ] {
        let said = bench(line);
        assert!(said.exits(1).err.contains(say), "{}", said.err);
    }
    let ca = folder.path().join("cert.pem");
    let ca = ca.display();
    // One that sends back what it receives, and one that greets.
    for (url, what) in [
        ("echo://127.0.0.1:0", "it sends back what it receives"),
        (
            "chat://127.0.0.1:0",
            "its answer begins with \"* you are guest-",
        ),
    ] {
        let server = Served::start(url);
        let said = bench(format!("echo {} --tls --ca {ca} -n 3", server.address()));
        let text = &said.exits(1).out;
        let why = format!("the server seems to speak no TLS, since {what}");
        assert!(
            text.contains(&why) && text.contains("; leave out --tls"),
            "{text}"
        );
    }
}

#[test]
fn what_is_wrong_with_the_options_is_said_before_anything_is_dialled() {
    let (folder, fingerprint) = certificate();
    let at = folder.path().display();
    // Nothing listens there.
    let nowhere = "127.0.0.1:9";
    let no_pem = folder.path().join("none");
    std::fs::write(&no_pem, "nothing").unwrap();
    for (options, why) in [
        (
            "--ca x.pem".to_owned(),
            "--ca is about a server that speaks TLS: say --tls, too",
        ),
        (
            format!("--fingerprint {fingerprint}"),
            "--fingerprint is about a server",
        ),
        (
            "--tls --ca /nonexistent.pem".to_owned(),
            "--ca /nonexistent.pem: No such file",
        ),
        (
            format!("--tls --ca {at}/none"),
            "holds no certificate (PEM)",
        ),
        (
            "--tls --fingerprint ab".to_owned(),
            "--fingerprint: a fingerprint is the SHA-256",
        ),
        (
            "--tls --ca a --fingerprint b".to_owned(),
            "cannot be used with",
        ),
        ("--tsl".to_owned(), "a similar argument exists: '--tls'"),
    ] {
        bench(format!("echo {nowhere} {options}")).refuses(why);
    }
    bench(format!(
        "echo a={nowhere}?ca=x b={nowhere}?tls=true&fingerprint={fingerprint}"
    ))
    .refuses("--ca is about");
    bench(format!("udp {nowhere} --tls --fingerprint {fingerprint}")).refuses("needs a connection");
    bench(format!(
        "echo http://a..b:80 --tls --fingerprint {fingerprint}"
    ))
    .refuses("`a..b` cannot be the name");
    bench("echo https://127.0.0.1").refuses("write http://HOST:PORT/PATH and say --tls");
    // A URL as `serve` takes it: what is for the server alone is passed over.
    let server = secured("echo://127.0.0.1:0", &folder, "");
    bench(format!("echo {} --ca {at}/cert.pem -n 3", server.endpoint)).exits(0);
}
