//! What `onepoll exec` says through TLS: of a server's certificate, and of its own.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;

use onepoll::tls::Fingerprint;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;

use crate::support::program::{Said, bench, onepoll};
use crate::support::server::Served;

/// Certificates of a server, and of two people.
struct Certificates(TempDir);

impl Certificates {
    fn make() -> Certificates {
        let folder = tempfile::tempdir().unwrap();
        for (name, of) in [("server", "localhost"), ("ann", "ann"), ("bob", "bob")] {
            let path = folder.path().join(name);
            onepoll(&[
                "certificate",
                path.to_str().unwrap(),
                "--name",
                of,
                "--name",
                "127.0.0.1",
            ])
            .exits(0);
        }
        Certificates(folder)
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// Commands for Ann.
    fn served(&self, more: &str) -> Served {
        let [cert, key, ann] =
            ["server/cert.pem", "server/key.pem", "ann/cert.pem"].map(|name| self.file(name));
        Served::start(&format!(
            "command://127.0.0.1:0?tls=true&cert={cert}&key={key}&client-ca={ann}{more}"
        ))
    }

    fn fingerprint(&self, name: &str) -> String {
        let pem = fs::read(self.file(&format!("{name}/cert.pem"))).unwrap();
        let der = CertificateDer::from_pem_slice(&pem).unwrap();
        Fingerprint::of(&der).to_string()
    }

    fn exec(&self, address: &str, args: &[&str]) -> Said {
        let ca = self.file("server/cert.pem");
        onepoll(
            &[
                &["exec", address, "--tls", "--ca", &ca],
                args,
                &["--", "echo hi"],
            ]
            .concat(),
        )
    }
}

#[test]
fn a_client_shows_its_certificate_to_a_server_that_asks() {
    let made = Certificates::make();
    let server = made.served("");
    let at = server.address().to_string();
    let shown = |name: &str| ["cert", "key"].map(|file| made.file(&format!("{name}/{file}.pem")));
    let [cert, key] = shown("ann");
    for framing in ["stream", "json"] {
        let said = made.exec(&at, &["--framing", framing, "--cert", &cert, "--key", &key]);
        said.is(0, "hi\n", "");
        // Nothing of a command is looked at before.
        let said = made.exec(&at, &["--framing", framing]);
        said.fails(255, "the server asks its clients for a certificate, and none was given: --cert FILE and --key FILE");
        let [cert, key] = shown("bob");
        let said = made.exec(&at, &["--framing", framing, "--cert", &cert, "--key", &key]);
        said.fails(
            255,
            "the server does not accept the certificate of --cert: UnknownCA",
        );
        if framing == "stream" {
            said.fails(255, ": the command was not run");
        }
    }
    let ca = made.file("server/cert.pem");
    for mode in ["echo", "conn"] {
        let line = format!(
            "{mode} tcp://{at} --tls --ca {ca} -c 2 -n 2 --payload true\\n --expect until=\\n"
        );
        let none = bench(&line);
        assert!(none.exits(1).out.contains("failed in TLS"), "{}", none.out);
        assert!(
            none.out
                .contains("and none was given: --cert FILE and --key FILE"),
            "{}",
            none.out
        );
        let [cert, key] = shown("bob");
        let other = bench(format!("{line} --cert {cert} --key {key}"));
        assert!(
            other
                .exits(1)
                .out
                .contains("does not accept the certificate of --cert: UnknownCA"),
            "{}",
            other.out
        );
    }
    bench(format!(
        "exec {at} --tls --ca {ca} -c 2 -n 2 --cert {cert} --key {key}"
    ))
    .exits(0);
}

#[test]
fn what_is_wrong_with_a_certificate_of_ours_is_said_before_anything_is_dialled() {
    let made = Certificates::make();
    let [cert, key] = ["ann/cert.pem", "ann/key.pem"].map(|name| made.file(name));
    let [other, open] = ["bob/key.pem", "open.pem"].map(|name| made.file(name));
    fs::copy(&key, &open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o644)).unwrap();
    // Nothing listens there.
    let nowhere = "127.0.0.1:9";
    let mismatch = format!("--key: the key in {other} is not that of the certificate in {cert}");
    let readable = format!("so it is no secret: chmod 600 {open}");
    let cases: [(&[&str], &str); 7] = [
        (
            &["--cert", &cert],
            "--cert needs its private key, too: --key FILE",
        ),
        (
            &["--key", &key],
            "--key needs the certificate that it belongs to, too: --cert FILE",
        ),
        (&["--cert", &cert, "--key", &other], &mismatch),
        (&["--cert", &cert, "--key", &open], &readable),
        (
            &["--cert", "/nonexistent", "--key", &key],
            "--cert: /nonexistent cannot be read: No such file",
        ),
        (
            &["--cert", &cert, "--key", "/nonexistent"],
            "--key: /nonexistent cannot be read: No such file",
        ),
        (
            &["--cert", &key, "--key", &key],
            "holds no certificate (PEM",
        ),
    ];
    for (options, why) in cases {
        made.exec(nowhere, options).refuses(why);
        let ca = made.file("server/cert.pem");
        let line = format!("echo {nowhere} --tls --ca {ca} {}", options.join(" "));
        bench(line).refuses(why);
    }
    let plain = [
        "exec", nowhere, "--cert", &cert, "--key", &key, "--", "true",
    ];
    onepoll(&plain).refuses("--cert and --key are for a server that speaks TLS: say --tls, too");
    bench(format!("echo {nowhere} --cert {cert} --key {key}")).refuses("say --tls, too");
}

#[test]
fn of_a_wrong_certificate_both_fingerprints_are_named() {
    let made = Certificates::make();
    let server = made.served("");
    let at = server.address().to_string();
    let [shown, expected] = ["server", "bob"].map(|name| made.fingerprint(name));
    let said = onepoll(&[
        "exec",
        &at,
        "--tls",
        "--fingerprint",
        &expected,
        "--",
        "true",
    ]);
    said.fails(255, &format!("{at} shows a certificate with the fingerprint {shown}, and the expected one has {expected}: it may be another server"));
    assert_eq!(said.err.matches(&shown).count(), 1, "{}", said.err);
}

#[test]
fn a_file_of_authorities_that_is_not_there_is_wrong_usage_and_nothing_is_dialled() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    for (ca, why) in [
        (
            "/nonexistent.pem",
            "--ca /nonexistent.pem: No such file or directory",
        ),
        (
            file!(),
            "it holds no certificate (PEM) that can vouch for another",
        ),
    ] {
        let ca = if Path::new(ca).is_absolute() {
            ca.to_owned()
        } else {
            format!("{}/{ca}", env!("CARGO_MANIFEST_DIR"))
        };
        onepoll(&["exec", &at, "--tls", "--ca", &ca, "--", "true"]).refuses(why);
    }
    onepoll(&["exec", &at, "--ca", "/nonexistent.pem", "--", "true"]).refuses("say --tls, too");
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err());
}

#[test]
fn a_server_that_speaks_no_tls_is_called_so() {
    let made = Certificates::make();
    let echo = Served::start("echo://127.0.0.1:0");
    let said = made.exec(&echo.address().to_string(), &[]);
    said.fails(
        255,
        "the server seems to speak no TLS, since it sends back what it receives; leave out --tls",
    );
    let greeting = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = greeting.local_addr().unwrap().to_string();
    let greets = thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = greeting.accept().unwrap();
        stream.write_all(b"220 ready\r\n").unwrap();
        // Until the client has gone, or a reset would overtake it.
        while stream.read(&mut [0; 512]).is_ok_and(|n| n > 0) {}
    });
    made.exec(&at, &[]).fails(
        255,
        r#"since its answer begins with "220 ready\x0d\x0a"; leave out --tls"#,
    );
    greets.join().unwrap();
}
