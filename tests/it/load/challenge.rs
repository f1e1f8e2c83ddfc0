//! The load generator against a server that asks who is there, written in plain Python: admitted with
//! the right secret, refused with a wrong one, and never left hanging.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use onepoll::load::{self, Amount, Arrivals, Close, Mode, Model, Plan, Report};
use onepoll::wire::{Digest, HmacKey, Secret};

const SECRET: &[u8] = b"a secret of the two of us";
const WRONG: &[u8] = b"a secret of somebody else";
const DEADLINE: Duration = Duration::from_secs(20);
const RST: Mode = Mode::Conn {
    close: Close::ClientRst,
};

/// `tests/python/challenger.py`; it ends when this is dropped.
struct Challenger {
    child: Child,
    port: u16,
    said: Receiver<String>,
}

impl Challenger {
    /// None, and said so, where there is no Python.
    fn start(digest: &str, manner: &str) -> Option<Self> {
        let mut python = Command::new("python3");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/challenger.py");
        python.arg("-B").arg(script).args([digest, manner]);
        python.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = match python.spawn() {
            Ok(child) => child,
            Err(error) if std::env::var("ONEPOLL_TEST_REQUIRE_ALL").as_deref() == Ok("1") => {
                panic!("python3 cannot be run: {error}");
            }
            Err(error) => {
                // Not `eprintln!`, whose lines the test runner keeps to itself.
                let _ = writeln!(std::io::stderr(), "skipped: python3: {error}");
                return None;
            }
        };
        let hex = SECRET.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let stdin = child.stdin.as_mut().expect("it was asked for");
        writeln!(stdin, "{hex}").unwrap();
        let stdout = child.stdout.take().expect("it was asked for");
        let (tell, said) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        let port = said.recv_timeout(DEADLINE).unwrap().parse().unwrap();
        Some(Self { child, port, said })
    }

    /// Its next words are these, so often.
    fn says(&self, word: &str, times: u64) {
        for _ in 0..times {
            assert_eq!(self.said.recv_timeout(DEADLINE).as_deref(), Ok(word));
        }
    }

    fn plan(&self, mode: Mode, secret: &[u8], digest: Digest) -> Plan {
        let endpoint = format!("127.0.0.1:{}", self.port);
        let mut plan = Plan::new(endpoint.parse().unwrap(), mode);
        plan.hmac_key = Some(HmacKey::new(&Secret::new(secret.to_vec()).unwrap(), digest));
        plan.connections = 3;
        plan.amount = Amount::Count(12);
        plan.warmup = Duration::ZERO;
        plan.timeout = Duration::from_secs(10);
        plan
    }
}

impl Drop for Challenger {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn run(plan: &Plan) -> Report {
    load::run(plan).unwrap()
}

#[track_caller]
fn all_is_well(report: &Report) {
    let counts = (report.requests.answered, report.errors.total);
    assert_eq!(counts, (12, 0), "{report}");
}

#[test]
fn a1_to_a3_the_right_secret_is_admitted() {
    for (digest, name, manner) in [
        (Digest::Sha256, "sha256", "plain"),
        (Digest::Md5, "md5", "plain"),
        (Digest::Sha256, "sha256", "drip"),
    ] {
        let Some(server) = Challenger::start(name, manner) else {
            return;
        };
        let open = Model::Open {
            rate: 1_000.0,
            arrivals: Arrivals::Poisson,
        };
        for model in [Model::Closed, open] {
            let mut plan = server.plan(RST, SECRET, digest);
            plan.model = model;
            let report = run(&plan);
            all_is_well(&report);
            assert_eq!(report.digest, Some(digest));
            server.says("right", 12);
            if manner == "drip" {
                // 32 bytes half a millisecond apart: that counts into being connected.
                let phases = &report.phases_us;
                assert!(phases.connect.p50 > 10_000.0, "{report}");
                assert!(phases.connect.p50 < report.latency_us.max, "{report}");
            }

            let mut plan = server.plan(Mode::Echo, SECRET, digest);
            (plan.model, plan.pipeline) = (model, 2);
            let report = run(&plan);
            all_is_well(&report);
            assert_eq!(report.phases_us.connect.count, 3, "{report}");
            server.says("right", 3);
        }
        let mut plan = server.plan(RST, SECRET, digest);
        plan.requests_per_connection = 4;
        all_is_well(&run(&plan));
        server.says("right", 12);

        let mut plan = server.plan(Mode::Hold, SECRET, digest);
        plan.amount = Amount::For(Duration::from_millis(30));
        let report = run(&plan);
        assert_eq!((report.connections.held, report.errors.total), (3, 0));
        server.says("right", 3);
    }
}

#[test]
fn a3_a_wrong_secret_is_not_admitted_and_told_from_a_short_answer() {
    let Some(server) = Challenger::start("sha256", "plain") else {
        return;
    };
    let report = run(&server.plan(RST, WRONG, Digest::Sha256));
    assert_eq!(report.requests.unanswered, 12, "{report}");
    let counts = (report.errors.not_admitted, report.errors.total);
    assert_eq!(counts, (12, 12), "{report}");
    assert!(report.to_string().contains("12 not admitted"), "{report}");
    server.says("wrong", 12);

    let report = run(&server.plan(Mode::Echo, WRONG, Digest::Sha256));
    let counts = (report.errors.not_admitted, report.errors.total);
    assert_eq!(counts, (3, 3), "{report}");
    assert_eq!(report.requests.answered, 0, "{report}");
    server.says("wrong", 3);

    // Nothing is asked there, so a refusal and a hang-up for idleness look alike.
    let mut plan = server.plan(Mode::Hold, WRONG, Digest::Sha256);
    plan.amount = Amount::For(Duration::from_secs(5));
    let report = run(&plan);
    let ended = report.errors.short_answer + report.errors.reset;
    assert_eq!((ended, report.connections.held), (3, 0), "{report}");
    server.says("wrong", 3);
}

#[test]
fn a1_without_a_whole_challenge_nothing_is_said() {
    for (manner, mode) in [
        ("silent", RST),
        ("short", RST),
        ("silent", Mode::Echo),
        ("short", Mode::Echo),
    ] {
        let Some(server) = Challenger::start("sha256", manner) else {
            return;
        };
        let mut plan = server.plan(mode, SECRET, Digest::Sha256);
        (plan.timeout, plan.amount) = (Duration::from_millis(150), Amount::Count(3));
        let report = run(&plan);
        let counts = (report.errors.timeout, report.errors.total);
        assert_eq!(counts, (3, 3), "{manner} {report}");
        assert!(server.said.try_recv().is_err(), "{manner}");
    }
    let Some(server) = Challenger::start("sha256", "gone") else {
        return;
    };
    let report = run(&server.plan(RST, SECRET, Digest::Sha256));
    let counts = (report.errors.short_answer, report.errors.total);
    assert_eq!(counts, (12, 12), "{report}");
}

#[test]
fn what_is_glued_to_a_challenge_is_no_part_of_it() {
    let Some(server) = Challenger::start("sha256", "glued") else {
        return;
    };
    for mode in [RST, Mode::Echo] {
        let report = run(&server.plan(mode, SECRET, Digest::Sha256));
        let failed = if mode == RST { 12 } else { 3 };
        let counts = (report.errors.wrong_answer, report.errors.total);
        assert_eq!(counts, (failed, failed), "{report}");
    }
}

#[test]
fn fault_d6_one_challenge_is_answered_on_a_connection() {
    let Some(server) = Challenger::start("sha256", "twice") else {
        return;
    };
    let mut plan = server.plan(
        Mode::Conn {
            close: Close::ClientFin,
        },
        SECRET,
        Digest::Sha256,
    );
    plan.connections = 1;
    let report = run(&plan);
    let counts = (report.errors.wrong_answer, report.errors.total);
    assert_eq!(counts, (12, 12), "{report}");
    let mut said: Vec<_> = (0..24)
        .map(|_| server.said.recv_timeout(DEADLINE).unwrap())
        .collect();
    said.sort();
    assert_eq!(said, [["no more"; 12], ["right"; 12]].concat());
}

/// Runs `onepoll bench` with words; its exit code, and all that it said.
fn bench(words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_onepoll"))
        .args(["-vv", "bench"])
        .args(words)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn secret_file(folder: &Path, content: &[u8], mode: u32) -> PathBuf {
    let path = folder.join("secret");
    let _ = fs::remove_file(&path);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn a_secret_comes_from_a_file_and_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    for (name, digest) in [("sha256", None), ("md5", Some("md5"))] {
        let Some(server) = Challenger::start(name, "plain") else {
            return;
        };
        let content = [SECRET, b"\n"].concat();
        let path = secret_file(folder.path(), &content, 0o600);
        let address = format!("127.0.0.1:{}", server.port);
        for extra in [&["-n", "5"][..], &["-n", "5", "--json"]] {
            let mut words = vec!["conn", &address, "--secret-file", path.to_str().unwrap()];
            words.extend(digest.iter().flat_map(|digest| ["--digest", *digest]));
            words.extend(extra);
            let (code, said) = bench(&words);
            assert_eq!(code, Some(0), "{said}");
            assert!(!said.contains("a secret of"), "{said}");
            server.says("right", 5);
        }
    }
}

#[test]
fn a_secret_that_is_none_is_refused_beforehand() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |path: &Path, more: &[&str]| {
        let path = path.to_str().unwrap();
        let (code, said) = bench(&[&["echo", "127.0.0.1:9", "--secret-file", path], more].concat());
        assert_eq!(code, Some(2), "{said}");
        assert!(!said.contains("a secret of"), "{said}");
        said
    };
    for mode in [0o640, 0o604, 0o620, 0o777] {
        let said = refused(&secret_file(folder.path(), SECRET, mode), &[]);
        assert!(said.contains("chmod 600"), "{said}");
    }
    let said = refused(
        &secret_file(folder.path(), b"fifteen bytes..\n", 0o600),
        &[],
    );
    assert!(said.contains("16 to 4096 bytes, not 15"), "{said}");
    let said = refused(&secret_file(folder.path(), &[b'x'; 5000], 0o600), &[]);
    assert!(said.contains("16 to 4096 bytes"), "{said}");
    let said = refused(Path::new("/nonexistent"), &[]);
    assert!(said.contains("cannot be read"), "{said}");
    let path = secret_file(folder.path(), SECRET, 0o600);
    let said = refused(&path, &["--digest", "sha1"]);
    assert!(said.contains("sha1"), "{said}");

    let (code, said) = bench(&["echo", "127.0.0.1:9", "--digest", "md5"]);
    assert_eq!(code, Some(2), "{said}");
    let words = [
        "udp",
        "127.0.0.1:9",
        "--secret-file",
        path.to_str().unwrap(),
    ];
    let (code, said) = bench(&words);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("connection"), "{said}");
}
