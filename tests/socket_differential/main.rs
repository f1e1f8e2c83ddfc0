//! The same random scripts of socket calls in CPython and here: same results, same errors, same waiting.
//!
//! A script is run by both at the same time, each on sockets of its own. Compared are results (bytes,
//! counts, addresses with ports numbered in the order of their appearance), errors (class, errno, text)
//! and whether a call returned at once or waited about its timeout. A busy machine delays things: a
//! script that differs is run again, and counts if the same step differs in the same way four times.
//!
//! `ONEPOLL_DIFF_STEPS` says how many steps (100,000 in a campaign), `ONEPOLL_DIFF_SEED` which.

mod interpreter;
mod scripts;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use scripts::{Dice, script};

/// No script takes longer, on the slowest machine: one that does waits for ever.
const SCRIPT_MAX: Duration = Duration::from_secs(30);
/// How often a script must differ.
const TRIES: u64 = 4;

#[test]
fn python_does_the_same() {
    let Some(mut python) = Python::start() else {
        let wanted = std::env::var_os("ONEPOLL_TEST_REQUIRE_ALL").is_some();
        assert!(!wanted, "python3 is missing");
        eprintln!("skipped: python3 is missing");
        return;
    };
    let wanted = number("ONEPOLL_DIFF_STEPS").unwrap_or(400);
    let seed = number("ONEPOLL_DIFF_SEED").unwrap_or_else(from_the_clock);
    println!("ONEPOLL_DIFF_SEED={seed}");
    let names = tempfile::tempdir().unwrap();
    let prefix = |run: u64, side: &str| {
        let name = format!("{run}{side}-");
        names.path().join(name).to_str().unwrap().to_owned()
    };
    let mut dice = Dice::new(seed);
    let mut tally = Tally::default();
    let mut runs = 0;
    while tally.steps < wanted {
        let steps = script(&mut dice);
        let mut differs = |steps: &[Value]| {
            runs += 1;
            python.begin(&prefix(runs, "p"), steps);
            let ours = run_bounded(&prefix(runs, "r"), steps);
            let theirs = python.results(steps);
            (difference(steps, &theirs, &ours), theirs, ours)
        };
        let (first, theirs, _) = differs(&steps);
        tally.add(&steps, &theirs);
        // The same step must differ in the same way each time.
        let mut always = |steps: &[Value], first: &Option<Difference>| {
            first.is_some() && (1..TRIES).all(|_| differs(steps).0 == *first)
        };
        if first.is_some() {
            tally.again += 1;
        }
        if always(&steps, &first) {
            let wanted = first.map(|(_, theirs, ours)| (theirs, ours));
            let least = shrunk(steps, |steps| {
                let (now, ..) = differs(steps);
                now.map(|(_, theirs, ours)| (theirs, ours)) == wanted
            });
            let (_, theirs, ours) = differs(&least);
            panic!("{}", told(seed, &least, &theirs, &ours));
        }
    }
    println!("{tally}");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a seed that is another each time"
)]
fn from_the_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs() << 20 | u64::from(since.subsec_micros())
}

/// Here, and not for ever.
fn run_bounded(prefix: &str, steps: &[Value]) -> Vec<Value> {
    let (prefix, script) = (prefix.to_owned(), steps.to_vec());
    let (done, result) = mpsc::channel();
    thread::spawn(move || done.send(interpreter::run(&prefix, &script)));
    result
        .recv_timeout(SCRIPT_MAX)
        .unwrap_or_else(|error| panic!("ours: {error}:\n{}", listed(steps)))
}

/// CPython, running scripts.
struct Python {
    child: Child,
    results: Receiver<String>,
}

impl Python {
    fn start() -> Option<Self> {
        let driver = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/python_socket/differential.py"
        );
        let mut child = Command::new("python3")
            .arg(driver)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let out = BufReader::new(child.stdout.take().unwrap());
        let (line, results) = mpsc::channel();
        thread::spawn(move || {
            for said in out.lines().map_while(Result::ok) {
                _ = line.send(said);
            }
        });
        Some(Self { child, results })
    }

    fn begin(&mut self, prefix: &str, steps: &[Value]) {
        let script = json!({"prefix": prefix, "steps": steps});
        writeln!(self.child.stdin.as_mut().unwrap(), "{script}").unwrap();
    }

    fn results(&mut self, steps: &[Value]) -> Vec<Value> {
        let line = self
            .results
            .recv_timeout(SCRIPT_MAX)
            .unwrap_or_else(|error| panic!("theirs: {error}:\n{}", listed(steps)));
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A step, what CPython said and what we did.
type Difference = (usize, Value, Value);

/// The first step whose results are not the same.
///
/// How much TCP takes and hands on once its buffers are full is a matter of timers. From the first step
/// that fills them, whether data steps find something is not compared, only how they fail.
fn difference(steps: &[Value], theirs: &[Value], ours: &[Value]) -> Option<Difference> {
    let tcp = steps
        .iter()
        .any(|step| step["family"].as_u64().is_some_and(|family| family > 1) && step["kind"] != 2);
    let mut full = false;
    let at = (0..steps.len()).find(|&i| {
        let op = steps[i]["op"].as_str().unwrap();
        full |= tcp && (op == "fill" || steps[i]["n"].as_u64().is_some_and(|n| n > 1 << 20));
        let moves_data = ["send", "recv", "fill", "drain", "file_"]
            .iter()
            .any(|data| op.starts_with(data));
        let timers = full && moves_data && soft(&theirs[i]) && soft(&ours[i]);
        !timers && theirs[i] != ours[i]
    })?;
    Some((at, theirs[at].clone(), ours[at].clone()))
}

/// Something, or nothing yet.
fn soft(result: &Value) -> bool {
    ["BlockingIOError", "TimeoutError"]
        .contains(&result["error"].as_str().unwrap_or("BlockingIOError"))
}

/// The script without the steps that do not matter.
fn shrunk(mut steps: Vec<Value>, mut still: impl FnMut(&[Value]) -> bool) -> Vec<Value> {
    let mut at = steps.len();
    while at > 0 {
        at -= 1;
        let mut fewer = steps.clone();
        fewer.remove(at);
        if still(&fewer) {
            steps = fewer;
        }
    }
    steps
}

fn listed(steps: &[Value]) -> String {
    steps.iter().fold(String::new(), |mut text, step| {
        _ = writeln!(text, "{step}");
        text
    })
}

fn told(seed: u64, steps: &[Value], theirs: &[Value], ours: &[Value]) -> String {
    let mut text = format!("CPython and we differ; ONEPOLL_DIFF_SEED={seed}\n");
    for (i, step) in steps.iter().enumerate() {
        _ = writeln!(text, "{step}");
        if theirs[i] == ours[i] {
            _ = writeln!(text, "    both   {}", ours[i]);
        } else {
            _ = writeln!(text, "    theirs {}\n    ours   {}", theirs[i], ours[i]);
        }
    }
    text
}

/// What was compared.
#[derive(Default)]
struct Tally {
    scripts: u64,
    steps: u64,
    again: u64,
    waited: u64,
    outcomes: BTreeMap<String, u64>,
}

impl Tally {
    fn add(&mut self, steps: &[Value], results: &[Value]) {
        self.scripts += 1;
        for (step, result) in steps.iter().zip(results) {
            if !result["skip"].is_null() {
                continue;
            }
            self.steps += 1;
            self.waited += u64::from(result["waited"] == true);
            let outcome = match result["error"].as_str() {
                None => "ok".to_owned(),
                Some(error) => format!("{error} {}", result["errno"]),
            };
            let op = step["op"].as_str().unwrap();
            *self.outcomes.entry(format!("{op}: {outcome}")).or_default() += 1;
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (outcome, count) in &self.outcomes {
            writeln!(f, "{count:8} {outcome}")?;
        }
        write!(
            f,
            "{} steps in {} scripts, {} of them waited, {} different outcomes; {} scripts were run again",
            self.steps,
            self.scripts,
            self.waited,
            self.outcomes.len(),
            self.again
        )
    }
}
