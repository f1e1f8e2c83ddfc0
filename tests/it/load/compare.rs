//! Several servers in one call, an earlier result as a baseline, thresholds, and the highest rate that
//! holds: against servers that keep to a script.

use std::fmt;
use std::fs::Permissions;
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use onepoll::bench::study::search::find_rate;
use onepoll::load::Arrivals;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{ECHO, plan};
use crate::support::DEADLINE;
use crate::support::peer::Nobody;
use crate::support::process::{ended, lives};
use crate::support::program::{Group, Said, bench, command, run};
use crate::support::script::{Reply, Request, Scripted, echo, replies};
use crate::support::server::Served;

/// An echo of 64 bytes that takes `time` for each answer. The first request of each connection is told
/// with the server's letter.
fn server_of(time: Duration, letter: char, tell: &Sender<char>) -> Scripted {
    let tell = tell.clone();
    replies(Request::Bytes(64), move |_, number, message| {
        if number == 0 {
            let _ = tell.send(letter);
        }
        Reply::After(time, message.to_vec())
    })
}

fn quick_and_slow() -> (Scripted, Scripted, Receiver<char>) {
    let (tell, told) = mpsc::channel();
    let quick = server_of(Duration::ZERO, 'q', &tell);
    let slow = server_of(Duration::from_millis(40), 's', &tell);
    (quick, slow, told)
}

#[test]
fn servers_are_asked_in_turn_and_compared_round_by_round() {
    let (quick, slow, told) = quick_and_slow();
    let servers = format!("quick={quick} slow={slow}");
    let said = bench(format!("echo {servers} --rounds 6 -n 10 -c 1 --json"));
    let json = said.exits(0).json();
    let order: String = told.try_iter().collect();
    assert_eq!(order, "qs".repeat(6));
    assert_eq!((&json["schema"], &json["rounds"]), (&4.into(), &6.into()));
    let contest = &json["contests"][0];
    assert_eq!(contest["mode"], "echo");
    let [quick, slow] = [&contest["contenders"][0], &contest["contenders"][1]];
    assert_eq!(
        (&quick["name"], &slow["name"]),
        (&"quick".into(), &"slow".into())
    );
    for one in [quick, slow] {
        assert_eq!(one["reports"].as_array().unwrap().len(), 6);
        assert_eq!(one["figures"]["errors"]["total"], 0);
        assert_eq!(one["figures"]["rate_per_s"]["is_interval"], true);
    }
    assert_eq!(quick["ratios"], Value::Null);
    // A server that takes 40 ms answers at most 25 a second, however late everybody wakes.
    let most = slow["figures"]["rate_per_s"]["high"].as_f64().unwrap();
    assert!(most <= 25.1, "{most}");
    let ratio = slow["ratios"]["rate"]["median"].as_f64().unwrap();
    assert!(ratio < 1.0, "{ratio}");
}

#[test]
fn each_round_has_a_seed_of_its_own_which_is_printed_and_repeats_it() {
    let (one, other) = (echo(), echo());
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let asked = |more: &str| {
        let rate = "--rate 50000 --rounds 3 -n 20 -c 1";
        bench(format!("echo a={one} b={other} {rate} {more}"))
    };
    let seeds = |json: &Value| -> Vec<Value> {
        let contenders = json["contests"][0]["contenders"].as_array().unwrap();
        let reports = contenders
            .iter()
            .map(|one| one["reports"].as_array().unwrap());
        let seed = |report: &Value| report["schedule"]["seed"].clone();
        reports.flatten().map(seed).collect()
    };
    // In a round both have the same.
    let json = asked("--seed 4294967294 --json").exits(0).json();
    let first = 4_294_967_294_u64;
    let all = [first, first + 1, first + 2].repeat(2);
    assert_eq!(
        seeds(&json),
        all.iter().map(|seed| json!(seed)).collect::<Vec<_>>()
    );
    let said = asked(&format!("--seed 7 --html {}", page.display()));
    let text = "poisson arrivals (seeds 7 to 9, one each round); latency";
    assert!(said.exits(0).out.contains(text), "{}", said.out);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains(text));
    // Nobody asks for the same times twice unless they say so.
    let [here, there] = [(); 2].map(|()| seeds(&asked("--json").json()));
    assert_ne!(here, there);
    let number = |seed: &Value| seed.as_u64().unwrap();
    assert_eq!(number(&here[1]), number(&here[0]) + 1);
    // Nothing is random in a constant schedule, and nothing is said.
    let json = asked("--arrivals constant --json").exits(0).json();
    assert_eq!(seeds(&json), vec![Value::Null; 6]);
    let single = bench(format!("echo {one} --rate 50000 -n 20 -c 1 --seed 3"));
    let text = "poisson arrivals (seed 3); latency";
    assert!(single.exits(0).out.contains(text), "{}", single.out);
}

#[test]
fn a_call_may_have_several_modes_and_say_what_each_server_is_asked() {
    let (quick, slow, _told) = quick_and_slow();
    let pid = std::process::id();
    let one = format!("{quick}?size=64&close=client-fin&pid={pid}");
    let other = format!("{slow}?size=64&expect=64");
    let line =
        format!("compare {one} {other} --mode echo,conn --rounds 1 -n 4 -c 2 --size 9 --json");
    let json = bench(line).exits(0).json();
    let [echo, conn] = [&json["contests"][0], &json["contests"][1]];
    assert_eq!(
        (&echo["mode"], &conn["mode"]),
        (&"echo".into(), &"conn".into())
    );
    let report = |contest: &Value, at: usize| contest["contenders"][at]["reports"][0].clone();
    assert_eq!(report(conn, 0)["close"], "client-fin");
    assert_eq!(report(conn, 1)["close"], "client-rst");
    assert_eq!(report(echo, 0)["expect"], "echo");
    assert_eq!(report(echo, 1)["expect"], "any 64 bytes");
    assert_eq!(report(echo, 1)["server"], Value::Null);
    assert_eq!(report(echo, 0)["server"]["pids"][0], std::process::id());

    let one = one.replace("&close=client-fin", "");
    let text = bench(format!("echo {one} {other} --rounds 2 -n 4")).out;
    assert!(
        text.starts_with("bench echo: 2 servers in turn, 2 rounds"),
        "{text}"
    );
    assert!(
        text.contains("an interval of 95 % takes six rounds"),
        "{text}"
    );
}

#[test]
fn a_threshold_that_is_missed_has_an_exit_code_of_its_own() {
    let (quick, slow, _told) = quick_and_slow();
    let nobody = Nobody::new();
    let few = "-n 6 -c 1";
    let one = |server: &dyn fmt::Display, require: &str, code| {
        bench(format!("echo {server} {few} --require {require}")).exits(code);
    };
    one(&quick, "rate>1,errors<1,p50<60s", 0);
    // Of six there is no such percentile.
    one(&quick, "p99<60s", 3);
    one(&quick, "rate>100M", 3);
    one(&slow, "p50<1ms", 3);
    // What failed is 1, unless what was required says more.
    one(&nobody, "errors<1", 3);
    one(&nobody, "p99<60s", 3);
    let both = format!("echo {quick} {slow} --rounds 2 {few}");
    bench(format!("{both} --require ratio<1")).exits(0);
    bench(format!("{both} --require ratio>=1")).exits(3);
    bench(format!("echo {quick} {nobody} --rounds 2 {few}")).exits(1);
    // There is nothing to divide by, and so no ratio that would hold.
    let dead_first = format!("echo {nobody} {quick} --rounds 2 {few}");
    bench(format!("{dead_first} --require ratio>0.1")).exits(3);
    let said = bench(format!("echo {slow} -n 2 -c 1 --require p50<1ms"));
    let why = "p50<1ms does not hold, it is ";
    assert!(said.exits(3).err.contains(why), "{}", said.err);
}

/// Answers, but never what was asked.
fn wrong() -> Scripted {
    replies(Request::Any, |_, _, message| vec![b'!'; message.len()])
}

/// What the machine does is none of these tests' affair: the counts are.
const FEW: &str = "-n 6 -c 1 --max-busy 100";

#[test]
fn a_baseline_is_compared_by_more_than_chance() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("before.json");
    let path = file.to_str().unwrap();
    let (good, bad) = (echo(), wrong());
    let measured = |server: &Scripted, rounds: u32| {
        bench(format!(
            "echo it={server} --rounds {rounds} -n 6 -c 1 --json"
        ))
        .json()
    };
    let before = |json: &Value| std::fs::write(&file, json.to_string()).unwrap();
    let now = |server: &Scripted, more: &str| {
        bench(format!(
            "echo it={server} --rounds 5 {FEW} --baseline {path}{more}"
        ))
    };
    let verdict = |said: &Said, metric: &str| {
        let json = said.json();
        let changes = json["changes"].as_array().unwrap();
        let of_it = changes.iter().find(|change| change["metric"] == metric);
        let change = of_it.unwrap_or_else(|| panic!("no {metric}: {json}"));
        change["verdict"].clone()
    };
    // Every request fails now: complete separation of five and five, 2 of 252 orders.
    let five = measured(&good, 5);
    before(&five);
    let text = now(&bad, "").exits(3).out.clone();
    for part in [
        "echo of it, beside the baseline: ",
        "errors",
        "0.008  WORSE",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(verdict(now(&bad, " --json").exits(3), "errors"), "worse");
    // And none does any more.
    before(&measured(&bad, 5));
    let said = now(&good, " --json");
    assert_eq!(verdict(said.exits(0), "errors"), "better");
    // How fast it is by the baseline, whatever follows from that: six requests take a fraction of a millisecond, and on a
    // busy machine a second.
    before(&times_as_fast(&five, 1e6));
    now(&good, " --require ratio>=0.9").exits(3);
    before(&times_as_fast(&five, 1e-6));
    now(&good, " --require ratio>=0.9").exits(0);

    // With four rounds no difference could be told: that is said before anybody waits for it.
    before(&measured(&good, 4));
    let few = format!("echo it={good} --rounds 4 {FEW} --baseline {path}");
    bench(few).refuses("4 rounds before and 4 now are too few");
    before(&five);

    // What is not comparable is refused, what can be before anything is measured.
    let many = FEW.replace("-c 1", "-c 2");
    for (line, why) in [
        (
            format!("echo it={good} --rounds 5 {many} --baseline {path}"),
            "as many connections as 1, and now it is 2",
        ),
        (
            format!("conn it={good} -n 6 --baseline {path}"),
            "it has no conn of it, but echo of it",
        ),
        (
            format!("echo {good} -n 6 --baseline {path}"),
            "no echo of tcp://127.0.0.1:",
        ),
        (
            format!("echo it={good} --baseline /nonexistent"),
            "/nonexistent: No such file",
        ),
        (
            format!("echo it={good} --baseline {}", file!()),
            "it is no result of",
        ),
    ] {
        bench(line).refuses(why);
    }
}

#[test]
fn a_machine_that_others_use_is_refused_with_the_figure() {
    let server = echo();
    let is_over = Arc::new(AtomicBool::new(false));
    let others = {
        let is_over = Arc::clone(&is_over);
        thread::spawn(move || while !is_over.load(Ordering::Relaxed) {})
    };
    let said = bench(format!(
        "echo it={server} --against other={server} -n 6 -c 1 --max-busy 0"
    ));
    is_over.store(true, Ordering::Relaxed);
    others.join().unwrap();
    for part in ["other processes used ", " load average ", "say --max-busy"] {
        said.fails(4, part);
    }
    assert!(server.entries(0).is_empty());
}

#[test]
fn a_server_is_asked_in_turn_with_another_in_an_order_and_its_mirror_image() {
    let (tell, told) = mpsc::channel();
    let [good, other] = ['g', 'o'].map(|letter| server_of(Duration::ZERO, letter, &tell));
    let asked = |seed: u32| {
        let said = bench(format!(
            "echo it={good} --against other={other} --rounds 16 {FEW} --seed {seed} --json"
        ));
        let order: String = told.try_iter().collect();
        (said.json(), order)
    };
    let (json, order) = asked(5);
    let blocks: Vec<&str> = (0..8)
        .map(|block| &order[4 * block..4 * block + 4])
        .collect();
    assert!(
        blocks.iter().all(|block| ["goog", "oggo"].contains(block)),
        "{order}"
    );
    // By lot, and the same lots again.
    assert!(
        blocks.contains(&"goog") && blocks.contains(&"oggo"),
        "{order}"
    );
    assert_eq!(asked(5).1, order);
    assert_ne!(asked(6).1, order);
    let names: Vec<&Value> = json["contests"][0]["contenders"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["name"])
        .collect();
    assert_eq!(names, ["other", "it"]);
    let change = &json["changes"][0];
    assert_eq!(
        (&change["name"], &change["against"]),
        (&json!("it"), &json!("other"))
    );
    assert_eq!(
        (&change["metric"], &change["blocks"]),
        (&json!("rate"), &json!([8, 8]))
    );
    assert!(json["others"]["processors"].as_u64() > Some(0), "{json}");
}

#[test]
fn one_server_is_better_or_worse_than_another_where_every_block_says_so() {
    let (good, bad) = (echo(), wrong());
    let asked = |it: &Scripted, other: &Scripted, more: &str| {
        bench(format!(
            "echo it={it} --against other={other} --rounds 16 {FEW}{more}"
        ))
    };
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let with_page = format!(" --html {}", page.display());
    let text = asked(&bad, &good, &with_page).exits(3).out.clone();
    for part in [
        "asked in turn with other: 8 blocks of 2 rounds each",
        "0.008  WORSE",
    ] {
        assert!(text.contains(part), "{text}");
    }
    // One verdict, first, in the same words everywhere; and no ratios of rounds beside it. The rate may be worse as well.
    let says = |verdict: &str| {
        let (of_what, verdict) = verdict.split_once(": ").unwrap();
        let (worse, _) = verdict.split_once(';').unwrap_or((verdict, ""));
        of_what.ends_with("cho of it beside other")
            && worse.starts_with("WORSE in ")
            && worse.contains("errors")
    };
    let (verdict, rest) = text.split_once('\n').unwrap();
    assert!(says(verdict) && !rest.contains("to the first"), "{text}");
    let page = std::fs::read_to_string(page).unwrap();
    let first = page.split_once(r#"<p class="headline">"#).unwrap().1;
    assert!(says(first.split_once('<').unwrap().0), "{page}");
    assert!(!page.contains("to the first"), "{page}");
    let json = asked(&bad, &good, " --json").exits(3).json();
    assert!(says(json["verdicts"][0].as_str().unwrap()), "{json}");
    let contenders = &json["contests"][0]["contenders"];
    assert_eq!(contenders[1]["ratios"], Value::Null, "{json}");
    // The other's errors are not those of the server that is judged, nor is what is required.
    asked(&good, &bad, " --require errors<1,ratio>1").exits(3);
    let text = asked(&good, &bad, " --require errors<1")
        .exits(0)
        .out
        .clone();
    assert!(text.contains("0.008  BETTER"), "{text}");
}

#[test]
fn another_program_is_started_as_the_server_was_and_ends_with_the_call() {
    let served = Served::start("echo://127.0.0.1:0");
    let address = served.address();
    let program = env!("CARGO_BIN_EXE_onepoll");
    let said = bench(format!(
        "echo new=echo://{address}?max-connections=5 --against {program} --rounds 16 {FEW} --json"
    ));
    let json = said.json();
    let [other, new] = [0, 1].map(|at| &json["contests"][0]["contenders"][at]);
    assert_eq!(
        (&other["name"], &new["name"]),
        (&json!(program), &json!("new"))
    );
    let reports = |one: &Value| one["reports"].as_array().unwrap().clone();
    let endpoint = |one: &Value| reports(one)[0]["endpoint"].as_str().unwrap().to_owned();
    assert_eq!(endpoint(new), format!("tcp://{address}"));
    let there = endpoint(other);
    let there = there.strip_prefix("tcp://").unwrap();
    assert_ne!(there, address.to_string());
    for one in [other, new] {
        assert_eq!(
            (reports(one).len(), &one["figures"]["errors"]["total"]),
            (16, &json!(0))
        );
    }
    assert!(TcpStream::connect(there).is_err(), "{there} still listens");

    // What cannot be started says why, and nothing is measured.
    let asked = |line: &str| bench(format!("echo {line} --rounds 16 {FEW}"));
    asked(&format!("new=echo://{address} --against /bin/false"))
        .fails(1, "it ended before it could be asked");
    asked(&format!("{address} --against {program}")).refuses("name its process (--pid)");
    asked(&format!("{address} --against ./nothing")).refuses("write the path of a server program");
    asked(&format!("a={address} b={address} --against {address}")).refuses("takes one endpoint");
    bench(format!(
        "echo a={address} --against b={address} --rounds 14"
    ))
    .refuses("at least 16 rounds");
}

/// A program of these lines for /bin/sh.
fn script(path: &Path, lines: &str, mode: u32) {
    std::fs::write(path, format!("#!/bin/sh\n{lines}\n")).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_program_that_says_why_it_ends_is_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, old) = (folder.path().join("s"), folder.path().join("old"));
    let asked = format!("echo echo+unix://{}", socket.display());
    let asked = || bench(format!("{asked} --against {} {FEW}", old.display()));
    script(&old, "echo no such option >&2; exit 7", 0o700);
    for part in [
        "it ended before it could be asked (exit status: 7)",
        "no such option",
    ] {
        asked().fails(1, part);
    }
    script(&old, "", 0o600);
    asked().fails(1, "old cannot be run: ");
}

#[test]
fn another_program_ends_with_a_bench_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let (old, fifo) = (folder.path().join("old"), folder.path().join("fifo"));
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let (tell, told) = mpsc::channel();
    let said = fifo.clone();
    thread::spawn(move || tell.send(std::fs::read_to_string(said).unwrap()));
    // It becomes another program, and that is still the one that was started.
    let server = env!("CARGO_BIN_EXE_onepoll");
    let lines = format!("echo $$ > {}; exec {server} \"$@\"", fifo.display());
    script(&old, &lines, 0o700);
    let address = echo();
    let mut bench = command(&["bench", "echo", &format!("echo://{address}")]);
    bench.args(["--against", old.to_str().unwrap(), "--max-busy", "100"]);
    bench.args(["-d", "60s"]).stdin(Stdio::null());
    let bench = Group::spawn(bench.stdout(Stdio::null()).stderr(Stdio::null())).unwrap();
    let pid = told.recv_timeout(DEADLINE).unwrap();
    let program = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    assert!(lives(program));
    kill_process(Pid::from_child(&bench.0), Signal::KILL).unwrap();
    ended(program);
}

/// The same comparison as a server so many times as fast would have had it.
fn times_as_fast(json: &Value, times: f64) -> Value {
    let mut json = json.clone();
    for report in json["contests"][0]["contenders"][0]["reports"]
        .as_array_mut()
        .unwrap()
    {
        for (figures, factor) in [("/rate_per_s", times), ("/latency_us/p99", 1.0 / times)] {
            let figure = report.pointer_mut(figures).unwrap();
            if let Some(known) = figure.as_f64() {
                *figure = json!(known * factor);
            }
        }
    }
    json
}

#[test]
fn the_highest_rate_that_holds_is_found() {
    // No probe fails but the two in which answers are false: the second rate, which is retried once. Twenty requests are
    // those of a first run, and twenty those of each probe; one, between these two, asks whether the server is done.
    let asked = Arc::new(AtomicUsize::new(0));
    let server = replies(Request::Bytes(64), move |_, _, message| {
        let before = asked.fetch_add(1, Ordering::SeqCst);
        let mut answer = message.to_vec();
        answer[63] ^= u8::from((40..81).contains(&before));
        answer
    });
    let plan = plan(server, ECHO, 1, 20);
    let objectives = ["p50<60s".parse().unwrap()];
    let mut goes_on = |_| ControlFlow::Continue(());
    let found = find_rate(&plan, Arrivals::Constant, &objectives, &mut goes_on).unwrap();
    let found = serde_json::to_value(found).unwrap();
    let number = |of: &Value| of.as_f64().unwrap();
    let probes = found["probes"].as_array().unwrap();
    let rates: Vec<f64> = probes
        .iter()
        .map(|probe| number(&probe["rate_per_s"]))
        .collect();
    let broken: Vec<&Value> = probes.iter().map(|probe| &probe["broken"]).collect();
    // Twice the first rate fails, and then half of what lies between, in ratio, always holds.
    assert_eq!(rates[1], rates[2], "{found}");
    assert!((rates[1] / rates[0] - 2.0).abs() < 0.01, "{found}");
    assert!(rates[3..].is_sorted(), "{found}");
    for (at, broken) in broken.into_iter().enumerate() {
        let expected = if at == 1 || at == 2 {
            json!(["p50<60s", "no errors", "no backlog"])
        } else {
            json!([])
        };
        assert_eq!(*broken, expected, "{at} {found}");
    }
    // The last is a confirmation.
    let rate = number(&found["rate_per_s"]);
    assert_eq!(rates[rates.len() - 2..], [rate, rate], "{found}");
    let failed = number(&found["failed_per_s"]);
    assert_eq!(failed, rates[1], "{found}");
    assert!((1.0..1.06).contains(&(failed / rate)), "{found}");
    assert_eq!(found["report"]["schedule"]["rate_per_s"], rate);
}

#[test]
fn whether_any_rate_holds_is_in_the_exit_code() {
    let find = "-d 200ms --warmup 0s -c 1 --arrivals constant --find-rate";
    let (tell, _told) = mpsc::channel();
    // More may be required of what is found. What a server can do that sleeps costs no processor to find.
    let found = |require: &str| {
        let server = server_of(Duration::from_micros(200), 'f', &tell);
        bench(format!("echo {server} {find} p50<60s --require {require}"))
    };
    let said = found("rate>=1,p50<60s --json");
    let json = said.exits(0).json();
    assert_eq!(json["report"]["schedule"]["rate_per_s"], json["rate_per_s"]);

    // Nothing holds where each answer takes longer than it may.
    let slow = server_of(Duration::from_millis(1), 'x', &tell);
    let said = bench(format!("echo {slow} {find} p50<900us"));
    let text = &said.exits(3).out;
    assert!(text.contains("no rate holds down to 500 /s"), "{text}");
    assert!(text.contains("not: p50<900us"), "{text}");

    let said = found("rate>100M");
    assert!(
        said.exits(3)
            .err
            .contains("rate>100M does not hold, it is "),
        "{}",
        said.err
    );
}

#[test]
fn where_nobody_listens_no_rate_is_searched_for() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let find = "-d 200ms --warmup 0s -c 2 --find-rate p50<60s";
    let said = bench(format!(
        "echo {} {find} --html {}",
        Nobody::new(),
        page.display()
    ));
    let page = std::fs::read_to_string(page).unwrap();
    for text in [&said.exits(1).out, &page] {
        let (_, why) = text.split_once("othing, since no answer came: ").unwrap();
        let (why, _) = why.split_once(" refused").unwrap();
        assert!(why.parse::<u32>().is_ok_and(|count| count > 0), "{text}");
    }
    let json = bench(format!("echo {} {find} --json", Nobody::new()))
        .exits(1)
        .json();
    assert_eq!(
        (&json["rate_per_s"], &json["probes"]),
        (&Value::Null, &json!([]))
    );
    let errors = &json["unanswered"];
    assert!(errors["refused"].as_u64() > Some(0), "{json}");
    assert_eq!(errors["refused"], errors["total"]);
}

#[test]
fn too_few_connections_are_said_to_be_the_limit_of_a_search() {
    let (tell, _told) = mpsc::channel();
    // Two connections on which each answer takes 20 ms carry at most a hundred a second, however quick the machine is.
    let slow = server_of(Duration::from_millis(20), 'x', &tell);
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let find = format!("echo {slow} -d 300ms --warmup 0s -c 2 --find-rate p50<60s");
    let said = bench(format!("{find} --html {}", page.display()));
    let text = &said.exits(3).out;
    for part in [
        "no rate holds down to 333",
        "at the lowest rate that failed all connections were busy (2)",
        " would do",
        "no backlog",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let page = std::fs::read_to_string(page).unwrap();
    for part in [
        "All probes",
        "answered /s",
        "not: no backlog",
        "ll connections were busy (2)",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let json = bench(format!("{find} --json")).exits(3).json();
    let probes = json["probes"].as_array().unwrap();
    for probe in probes {
        assert!(
            probe["broken"]
                .as_array()
                .unwrap()
                .contains(&json!("no backlog")),
            "{probe}"
        );
        assert!(
            probe["backlog"].as_f64() > Some(1.0) && probe["asked"].as_u64() > Some(0),
            "{probe}"
        );
    }
    let last = probes.last().unwrap();
    assert!(last["crowded"]["enough"].as_u64() > Some(2), "{last}");
}

#[test]
fn what_a_run_will_lack_is_said_before_it_starts() {
    // The descriptor limit of this very process, lowered by the shell for the one it becomes.
    let bench = command(&[
        "bench",
        "hold",
        &echo().to_string(),
        "-c",
        "100",
        "-d",
        "10ms",
    ]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""]);
    let said = run(shell.arg(bench.get_program()).args(bench.get_args()), "");
    said.exits(1);
    for part in [
        "will fail: 100 connections need 116 descriptors, the limit is 64",
        "use `-c 48`",
    ] {
        assert!(said.err.contains(part), "{}", said.err);
    }
    assert!(said.out.contains("without a descriptor"), "{}", said.out);
}

#[test]
fn wrong_usage_says_what_would_be_right() {
    for (line, why) in [
        (
            "conn 127.0.0.1:9?pipeline=3",
            "`pipeline` has no effect in `bench conn`",
        ),
        ("conn 127.0.0.1:9?payloat=3", "perhaps `payload` was meant"),
        ("conn", "ENDPOINT"),
        (
            "conn 127.0.0.1:9 --rounds 0",
            "--rounds must be between 1 and 100",
        ),
        ("conn 127.0.0.1:9 --require p99<5", "not a duration"),
        (
            "conn 127.0.0.1:9 --require speed>5",
            "there is no figure \"speed\"",
        ),
        (
            "conn 127.0.0.1:9 --require ratio>1",
            "needs several endpoints, --against or a --baseline",
        ),
        ("conn 127.0.0.1:9 --tolerance 5", "--baseline"),
        (
            "conn 127.0.0.1:9 --seed 5",
            "--seed needs --rate or --find-rate",
        ),
        (
            "conn 127.0.0.1:9 --rate 5 --arrivals constant --seed 5",
            "nothing else is random",
        ),
        (
            "conn 127.0.0.1:9 --rate 5 --seed x",
            "'x' for '--seed <NUMBER>'",
        ),
        (
            "conn 127.0.0.1:9 127.0.0.1:9?size=5",
            "is given twice: name each",
        ),
        (
            "exec 127.0.0.1:9 --payload x",
            "--payload has no effect in `bench exec`",
        ),
        (
            "udp 127.0.0.1:9 --expect 5",
            "--expect has no effect in `bench udp`",
        ),
        ("conn 127.0.0.1:9 --find-rate ratio>1", "there is no ratio"),
        (
            "conn a\x1b[2Jb=127.0.0.1:9",
            r"a\x1b[2Jb=127.0.0.1:9 has characters",
        ),
        ("hold 127.0.0.1:9 --baseline x", "has no rate to compare"),
        ("conn 127.0.0.1:9 -d 0", "the time to measure"),
        (
            "conn time://127.0.0.1:9",
            "`bench conn` cannot ask udp://127.0.0.1:9",
        ),
        ("conn ehco://127.0.0.1:9", "perhaps `echo` was meant"),
        (
            "conn 127.0.0.1:9 127.0.0.1:8 --find-rate p99<5ms",
            "takes one mode and one endpoint",
        ),
        (
            "conn 127.0.0.1:9 --find-rate p99<5ms --rate 5",
            "cannot be used with",
        ),
        ("compare 127.0.0.1:9 --mode walk", "invalid value 'walk'"),
        ("compare unix:///x --mode udp", "cannot ask unix:///x"),
    ] {
        bench(line).refuses(why);
    }
}
