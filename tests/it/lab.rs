//! The laboratory, run as its users run it: every experiment, and what each of them observes.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::program::{self, Group, RUN_MAX, Said, command, onepoll, skip, skipped};

fn lab(args: &[&str]) -> Said {
    onepoll(&[&["lab"], args].concat())
}

fn objects(said: &Said) -> Vec<Value> {
    let lines = said.out.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What an experiment observed in one run that went as described.
fn observed(name: &str) -> Value {
    let said = lab(&[name, "--json"]);
    let runs = objects(&said);
    let [run] = &runs[..] else {
        panic!("{name}: {runs:?}")
    };
    assert_eq!(run["ok"], json!(true), "{run:#}");
    said.exits(0);
    assert_eq!(run["experiment"], json!(name));
    let claims = run["claims"].as_object().unwrap();
    assert!(claims.values().all(|held| *held == json!(true)));
    let steps = run["steps"].as_array().unwrap();
    for way in ["wrong", "right"] {
        assert!(
            steps.iter().any(|step| step["way"] == json!(way)),
            "{name} has no {way} way"
        );
    }
    run["observations"].clone()
}

/// The results of the steps whose line of Python this is.
fn results(name: &str, python: &str) -> Vec<String> {
    let run = &objects(&lab(&[name, "--json"]))[0];
    let steps = run["steps"].as_array().unwrap().clone();
    steps
        .into_iter()
        .filter(|step| step["python"] == json!(python))
        .map(|step| step["result"].as_str().unwrap().to_owned())
        .collect()
}

fn number(observed: &Value, what: &str) -> u64 {
    observed[what]
        .as_u64()
        .unwrap_or_else(|| panic!("{what} of {observed}"))
}

#[test]
fn sticky() {
    assert_eq!(observed("sticky"), json!({ "whole_messages": 4 }));
    assert_eq!(results("sticky", "b.recv(1024)"), ["b'sbzzsbzzsbzz'"]);
    assert_eq!(results("sticky", "b.recv(2)"), ["b'he'"]);
    let [both, none, rest] = &results("sticky", "b.recv(10)")[..] else {
        panic!("three recvs of 10")
    };
    assert_eq!(
        (both.as_str(), rest.as_str()),
        ("b'helloegg'", "b'llo egg'")
    );
    assert!(none.starts_with("BlockingIOError: [Errno 11] "));
}

#[test]
fn nagle() {
    // The kernel delays an acknowledgement by 40 ms, unless the machine is busy: then by more, or
    // it was sent between the two sends, and the experiment tries again.
    assert!(number(&observed("nagle"), "waited_ms") >= 1);
}

#[test]
fn empty_message() {
    let seen = json!({ "tcp_empty_arrives": false, "udp_empty_arrives": true });
    assert_eq!(observed("empty-message"), seen);
}

#[test]
fn would_block() {
    let seen = json!({ "asked_in_vain": 1000, "asked": 1 });
    assert_eq!(observed("would-block"), seen);
}

#[test]
fn timeout_modes() {
    assert!(number(&observed("timeout-modes"), "waited_ms") >= 50);
    let [first, second] = &results("timeout-modes", "conn.recv(1)")[..] else {
        panic!("two recvs")
    };
    assert!(first.starts_with("BlockingIOError"));
    assert_eq!(second, "TimeoutError: timed out");
}

#[test]
fn connect_ex() {
    let seen = json!({ "refused": 111, "codes": [115, 0, 106] });
    assert_eq!(observed("connect-ex"), seen);
}

#[test]
fn partial_write() {
    let seen = observed("partial-write");
    assert!((1..1_000_000).contains(&number(&seen, "lost")));
    assert_eq!(number(&seen, "received"), 1_000_000);
}

#[test]
fn edge_trigger() {
    let seen = json!({ "edges_for_the_rest": 0, "drained": 7 });
    assert_eq!(observed("edge-trigger"), seen);
}

#[test]
fn short_read() {
    let seen = json!({ "edges_for_the_end": 0, "end_seen": true });
    assert_eq!(observed("short-read"), seen);
}

#[test]
fn busy_writable() {
    let seen = json!({ "wake_ups_level": 1000, "wake_ups_edge": 1 });
    assert_eq!(observed("busy-writable"), seen);
}

#[test]
fn stale_token() {
    let seen = json!({
        "newcomer_lives_without_generation": false,
        "newcomer_lives_with_generation": true,
    });
    assert_eq!(observed("stale-token"), seen);
}

#[test]
fn starvation() {
    let seen = json!({
        "reads_before_polite_when_draining": 1000,
        "reads_before_polite_with_a_budget": 1,
    });
    assert_eq!(observed("starvation"), seen);
}

#[test]
fn slow_reader() {
    let seen = observed("slow-reader");
    assert!(number(&seen, "quick_one_waited_ms") >= 200);
    assert!(number(&seen, "lines") > 16); // 1 MiB of lines, and what the sockets took
    assert_eq!(seen["lines"], seen["lines_quick_one_heard"]);
}

#[test]
fn half_close() {
    let seen = json!({ "answer_when_taken_for_gone": 0, "answer_when_heard_out": 5 });
    assert_eq!(observed("half-close"), seen);
}

#[test]
fn reset_eats_goodbye() {
    let seen = observed("reset-eats-goodbye");
    assert!(number(&seen, "heard_of_30000_after_a_reset") < 30_000);
    assert_eq!(number(&seen, "heard_of_30000_after_an_end"), 30_000);
}

#[test]
fn backlog() {
    let seen = observed("backlog");
    assert_eq!(number(&seen, "connected_unaccepted"), 100);
    // It calls again after a second, of which some had passed.
    assert!(number(&seen, "the_second_waited_ms") >= 100);
}

#[test]
fn address_in_use() {
    let seen = json!({ "flag_on_the_new_server_only": 98, "flag_on_both": 0 });
    assert_eq!(observed("address-in-use"), seen);
}

#[test]
fn emfile() {
    let seen = json!({
        "edges_afterwards": 0,
        "wake_ups_level": 1000,
        "accepted_when_tried_again": true,
    });
    assert_eq!(observed("emfile"), seen);
}

#[test]
fn udp_truncation() {
    let seen = json!({ "lost_bytes": 3, "whole_datagrams": 2 });
    assert_eq!(observed("udp-truncation"), seen);
}

#[test]
fn udp_65507() {
    let seen = json!({ "errno_at_65508": 90, "longest": 65_507 });
    assert_eq!(observed("udp-65507"), seen);
}

#[test]
fn udp_lost() {
    let seen = observed("udp-lost");
    assert!((1..100).contains(&number(&seen, "lost")));
    assert_eq!(number(&seen, "acknowledged"), 100);
}

#[test]
fn every_experiment_has_a_test_here() {
    let this = include_str!("lab.rs");
    for experiment in objects(&lab(&["--json"])) {
        let name = experiment["experiment"].as_str().unwrap();
        let test = format!("fn {}()", name.replace('-', "_"));
        assert!(this.contains(&test), "{name} has no test");
    }
}

#[test]
fn without_a_name_they_are_listed_with_a_line_each() {
    let said = lab(&[]);
    said.exits(0);
    let text = said.out;
    let names: BTreeSet<&str> = text
        .lines()
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_once(' ').unwrap().0)
        .collect();
    assert_eq!(names.len(), 21);
    assert!(names.contains("reset-eats-goodbye"));
}

#[test]
fn a_slip_of_the_finger_is_told_the_nearest_name() {
    for (typed, said) in [
        (
            "stiky",
            "there is no experiment \"stiky\"; did you mean sticky?",
        ),
        (
            "gopher",
            "there is no experiment \"gopher\"; `onepoll lab` lists them",
        ),
    ] {
        // Nothing runs when one of several is unknown.
        let output = lab(&["half-close", typed]);
        assert_eq!(output.exits(2).out, "");
        assert_eq!(output.err, format!("onepoll: {said}\n"));
    }
}

#[test]
fn the_text_says_what_is_done_and_seen_and_why_and_what_next() {
    let said = lab(&["half-close", "edge-trigger"]);
    said.exits(0);
    let text = said.out;
    for part in [
        "half-close: ",
        "\n  the wrong way: ",
        "\n  the right way: ",
        "\n    client.recv(1024)                         b'HELLO'\n",
        "\n  why\n",
        "\n  try next\n",
        "\n  in our code\n    src/reactor/mod.rs\n",
        "\nedge-trigger: ",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn each_step_waits_for_enter() {
    let mut lab = command(&["lab", "half-close", "--step"]);
    let mut group = Group::spawn(lab.stdin(Stdio::piped()).stdout(Stdio::piped())).unwrap();
    let mut keys = group.0.stdin.take().unwrap();
    let text = group.0.stdout.as_mut().unwrap();
    let mut seen = String::new();
    // Before the first key nothing but the first line has been done.
    while !seen.ends_with("[Enter] ") {
        let mut byte = [0];
        text.read_exact(&mut byte).unwrap();
        seen.push(byte[0].into());
    }
    assert!(seen.contains("client.send(b'hello')") && !seen.contains("shutdown"));
    keys.write_all(b"\n\n").unwrap();
    // The end of input is no reason to stop.
    drop(keys);
    let said = group.said(RUN_MAX);
    let rest = &said.exits(0).out;
    assert!(
        rest.contains("b'HELLO'") && rest.contains("  why\n"),
        "{rest}"
    );
}

#[test]
fn repetitions_are_counted() {
    let said = lab(&["sticky", "udp-65507", "--repeat", "3"]);
    let text = said.out;
    assert_eq!(
        text,
        "sticky               3 of 3 as described\nudp-65507            3 of 3 as described\n"
    );
    let runs = objects(&lab(&["sticky", "--repeat", "2", "--json"]));
    let numbers: Vec<&Value> = runs.iter().map(|run| &run["run"]).collect();
    assert_eq!(numbers, [&json!(1), &json!(2)]);
}

#[test]
fn together_they_leave_nothing_behind() {
    // One process for all of them: limits are restored, descriptors closed, or the last would fail.
    let said = lab(&["emfile", "all", "emfile", "--json"]);
    let runs = objects(&said);
    assert_eq!(runs.len(), 23);
    for run in runs {
        assert_eq!(run["ok"], json!(true), "{run:#}");
    }
    said.exits(0);
}

#[test]
fn the_guided_reading_quotes_lines_and_experiments_that_there_are() {
    let reading = std::fs::read_to_string("src/guide/reading.md").unwrap();
    let known: Vec<Value> = objects(&lab(&["--json"]));
    let mut quotes = 0;
    for line in reading.lines() {
        // > in [`FILE`]: `LINE`
        if let Some(quote) = line.strip_prefix("> in [`") {
            let (file, code) = quote.split_once("`]: `").unwrap();
            let code = code.strip_suffix('`').unwrap();
            let text = std::fs::read_to_string(file).unwrap();
            assert!(
                text.lines().any(|there| there.trim() == code),
                "{file} has no {code:?}"
            );
            quotes += 1;
        }
        for named in line.split("`onepoll lab ").skip(1) {
            let name = named.split([' ', '`']).next().unwrap();
            assert!(
                name == "NAME" || known.iter().any(|e| e["experiment"] == json!(name)),
                "{line}"
            );
        }
    }
    assert!(quotes > 12, "{quotes}");
}

/// What depends on the machine or on its load: its name is compared, not its value.
const VARIES: [&str; 7] = [
    "waited_ms",
    "quick_one_waited_ms",
    "the_second_waited_ms",
    "lost",
    "heard_of_30000_after_a_reset",
    "lines",
    "lines_quick_one_heard",
];

/// The lines `[key: value]` of a text, as JSON writes values, and without those that vary.
fn observations(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| {
        let (key, value) = line
            .trim()
            .strip_prefix('[')?
            .strip_suffix(']')?
            .split_once(": ")?;
        let value = value.replace(' ', "").to_lowercase();
        let value = if VARIES.contains(&key) { "…" } else { &value };
        Some(format!("[{key}: {value}]"))
    });
    lines.collect()
}

fn names() -> Vec<String> {
    let listed = objects(&lab(&["--json"]));
    let name = |one: &Value| one["experiment"].as_str().unwrap().to_owned();
    listed.iter().map(name).collect()
}

#[test]
fn the_script_of_an_experiment_observes_the_same_in_cpython() {
    if skipped("python3") {
        return;
    }
    for name in names() {
        let script = lab(&[&name, "--python"]);
        let mut python = Command::new("python3");
        // What it asserts is what the experiment claims.
        let theirs = program::run(python.arg("-"), &script.exits(0).out);
        assert_eq!(theirs.exits(0).err, "", "{name}");
        let ours = lab(&[&name]);
        let (theirs, ours) = (observations(&theirs.out), observations(&ours.exits(0).out));
        assert_eq!(theirs, ours, "{name}");
    }
}

#[test]
fn a_script_has_every_line_and_every_claim_of_its_experiment() {
    for name in names() {
        let script = lab(&[&name, "--python"]).exits(0).out.clone();
        let lines: BTreeSet<&str> = script.lines().map(str::trim).collect();
        let run = &objects(&lab(&[&name, "--json"]))[0];
        for step in run["steps"].as_array().unwrap() {
            if let Some(made) = step["made"].as_str() {
                assert!(lines.contains(made), "{name}: {made}\n{script}");
            }
            for part in ["python", "what", "claim"] {
                if let Some(text) = step[part].as_str() {
                    assert!(script.contains(text), "{name}: {text}\n{script}");
                }
            }
        }
    }
}

#[test]
fn an_experiment_shows_how_its_sockets_were_made_before_its_first_step() {
    for name in names() {
        let run = &objects(&lab(&[&name, "--json"]))[0];
        let steps = run["steps"].as_array().unwrap();
        let first = steps.iter().position(|step| step["python"].is_string());
        let before = &steps[..first.unwrap()];
        let makes = |what: &str| {
            let mut made = before.iter().filter_map(|step| step["made"].as_str());
            made.any(|line| line.contains(what))
        };
        let listens = makes("server = create_server(") || makes("server.bind(");
        let datagrams = makes(" = socket(AF_INET, SOCK_DGRAM)") && makes(".bind(");
        assert!(listens || datagrams, "{name}: {before:?}");
    }
}

#[test]
fn one_script_is_printed_at_a_time() {
    let said = lab(&["stiky", "--python"]);
    said.is(
        2,
        "",
        "onepoll: there is no experiment \"stiky\"; did you mean sticky?\n",
    );
    for names in [&[][..], &["all"], &["sticky", "nagle"]] {
        let said = lab(&[names, &["--python"]].concat());
        said.is(
            2,
            "",
            "onepoll: --python prints one script: name one experiment, such as `onepoll lab sticky --python`\n",
        );
    }
    lab(&["sticky", "--python", "--json"]).refuses("--json");
}

#[test]
fn strace_shows_the_calls_that_an_experiment_says_it_shows() {
    if skipped("strace") {
        return;
    }
    let mut hints = 0;
    for name in names() {
        let run = &objects(&lab(&[&name, "--json"]))[0];
        let next = run["next"].as_str().unwrap();
        for hint in next.split('`').filter(|part| part.starts_with("strace ")) {
            let words: Vec<&str> = hint.split(' ').collect();
            let at = words.iter().position(|word| *word == "-e");
            let calls = words[at.unwrap_or_else(|| panic!("{hint} names no call")) + 1];
            let ours = words.iter().position(|word| *word == "onepoll").unwrap();
            let mut strace = Command::new("strace");
            strace.args(&words[1..ours]);
            strace.arg(env!("CARGO_BIN_EXE_onepoll"));
            strace.args(&words[ours + 1..]);
            let said = program::run(&mut strace, "");
            if said.code != Some(0) && said.err.contains("Operation not permitted") {
                skip("strace may not trace here");
                return;
            }
            said.exits(0);
            for call in calls.split(',') {
                assert!(said.err.contains(call), "{hint}: {}", said.err);
            }
            hints += 1;
        }
    }
    assert!(hints >= 2, "{hints}");
}

/// Does what an experiment's lines of Python say, in CPython, and prints what comes of it.
const REPLAY: &str = r"
import fcntl, json, signal, socket, struct, sys, termios
from socket import *
names = sys.argv[1:]
signal.alarm(20)  # whatever waits for ever
def pair():
    server = create_server(('127.0.0.1', 0))
    one = create_connection(server.getsockname())
    other, _ = server.accept()
    return {**globals(), names[0]: one, names[1]: other}
results = []
for python in json.load(sys.stdin):
    if python is None:
        here = pair()
        continue
    for name in names:  # until all that was sent has arrived
        while here[name].fileno() >= 0 and fcntl.ioctl(here[name], termios.TIOCOUTQ, bytes(4)) != bytes(4):
            pass
    try:
        result = eval(python, here)
        results.append('' if result is None else repr(result))
    except OSError as raised:
        results.append(f'{type(raised).__name__}: {raised}')
json.dump(results, sys.stdout)
";

#[test]
fn python_prints_the_same() {
    if skipped("python3") {
        return;
    }
    for (name, ends, new_pair_each_way) in [
        ("sticky", ["a", "b"], false),
        ("half-close", ["client", "conn"], true),
    ] {
        let run = &objects(&lab(&[name, "--json"]))[0];
        let (mut lines, mut ours) = (vec![Value::Null], Vec::new());
        for step in run["steps"].as_array().unwrap() {
            if step["way"] == json!("right") {
                if new_pair_each_way {
                    lines.push(Value::Null)
                } else {
                    lines.push(json!("b.setblocking(True)"));
                    lines.push(json!("(f := b.makefile('rb')) and None"));
                    ours.extend([json!(""), json!("")]);
                }
            } else if step["python"].is_string() {
                lines.push(step["python"].clone());
                ours.push(step["result"].clone());
            }
        }
        let mut python = Command::new("python3");
        python.args(["-c", REPLAY, ends[0], ends[1]]);
        let said = program::run(&mut python, &Value::Array(lines).to_string());
        let theirs = said.exits(0).json();
        assert_eq!(theirs, Value::Array(ours), "{name}");
    }
}
