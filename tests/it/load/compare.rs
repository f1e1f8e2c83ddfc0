//! Several servers in one call, an earlier result as a baseline, thresholds, and the highest rate that
//! holds: against servers that take as long as their script says.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// An echo of 64 bytes that takes `time` for each answer, and one connection at a time when it `is_single`.
/// Each first request of a connection is told with the server's letter.
fn server(time: Duration, is_single: bool, letter: char, told: &Sender<char>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let told = told.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let told = told.clone();
            let mut serve = move || {
                let (_keep, never) = mpsc::channel::<()>();
                let mut message = [0; 64];
                let mut is_first = true;
                while stream.read_exact(&mut message).is_ok() {
                    if std::mem::take(&mut is_first) {
                        let _ = told.send(letter);
                    }
                    let waited = never.recv_timeout(time);
                    assert_eq!(waited, Err(RecvTimeoutError::Timeout));
                    if stream.write_all(&message).is_err() {
                        return;
                    }
                }
            };
            if is_single {
                serve()
            } else {
                drop(thread::spawn(serve))
            }
        }
    });
    address
}

fn quick_and_slow() -> (String, String, mpsc::Receiver<char>) {
    let (tell, told) = mpsc::channel();
    let quick = server(Duration::from_millis(2), false, 'q', &tell);
    let slow = server(Duration::from_millis(40), false, 's', &tell);
    (quick.to_string(), slow.to_string(), told)
}

fn bench(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onepoll"));
    command.arg("bench").args(args).output().unwrap()
}

#[track_caller]
fn json(output: &Output) -> Value {
    let complaint = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|wrong| panic!("{wrong}: {complaint}"))
}

#[track_caller]
fn exits(args: &[&str], code: i32, why: &str) {
    let output = bench(args);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {complaint}");
    assert!(complaint.contains(why), "{args:?}: {complaint}");
}

#[test]
fn servers_are_asked_in_turn_and_compared_round_by_round() {
    let (quick, slow, told) = quick_and_slow();
    let (quick, slow) = (format!("quick={quick}"), format!("slow={slow}"));
    let output = bench(&[
        "echo", &quick, &slow, "--rounds", "6", "-n", "10", "-c", "1", "--json",
    ]);
    assert!(output.status.success(), "{output:?}");
    let order: String = told.try_iter().collect();
    assert_eq!(order, "qs".repeat(6));
    let json = json(&output);
    assert_eq!((&json["schema"], &json["rounds"]), (&3.into(), &6.into()));
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
fn a_call_may_have_several_modes_and_say_what_each_server_is_asked() {
    let (quick, slow, _told) = quick_and_slow();
    let one = format!(
        "{quick}?size=64&close=client-fin&pid={}",
        std::process::id()
    );
    let other = format!("{slow}?size=64&expect=64");
    let output = bench(&[
        "compare",
        &one,
        &other,
        "--mode",
        "echo,conn",
        "--rounds",
        "1",
        "-n",
        "4",
        "-c",
        "2",
        "--size",
        "9",
        "--json",
    ]);
    assert!(output.status.success(), "{output:?}");
    let json = json(&output);
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

    let text = String::from_utf8(
        bench(&[
            "echo",
            &one.replace("&close=client-fin", ""),
            &other,
            "--rounds",
            "2",
            "-n",
            "4",
        ])
        .stdout,
    )
    .unwrap();
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
    let few = ["-n", "6", "-c", "1"];
    let with = |args: &[&'static str]| [args, &few].concat();
    let call = |more: &[&'static str], endpoints: &[&str]| {
        let mut args = vec!["echo"];
        args.extend(endpoints);
        args.extend(with(more));
        bench(&args).status.code()
    };
    assert_eq!(
        call(&["--require", "rate>1,errors<1,p99<60s"], &[&quick]),
        Some(0)
    );
    assert_eq!(call(&["--require", "rate>100M"], &[&quick]), Some(3));
    assert_eq!(call(&["--require", "p50<1ms"], &[&slow]), Some(3));
    let both = [quick.as_str(), slow.as_str()];
    assert_eq!(
        call(&["--rounds", "2", "--require", "ratio<1"], &both),
        Some(0)
    );
    assert_eq!(
        call(&["--rounds", "2", "--require", "ratio>=1"], &both),
        Some(3)
    );
    // What failed is 1, unless what was required says more.
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    assert_eq!(call(&["--rounds", "2"], &[&quick, &nobody]), Some(1));
    assert_eq!(call(&["--require", "errors<1"], &[&nobody]), Some(3));
    assert_eq!(call(&["--require", "p99<60s"], &[&nobody]), Some(3));
    // There is nothing to divide by, and so no ratio that would hold.
    let dead_first = [nobody.as_str(), quick.as_str()];
    assert_eq!(
        call(&["--rounds", "2", "--require", "ratio>0.1"], &dead_first),
        Some(3)
    );
    exits(
        &["echo", &slow, "-n", "2", "-c", "1", "--require", "p50<1ms"],
        3,
        "p50<1ms does not hold, it is 4",
    );
}

#[test]
fn a_baseline_is_compared_by_more_than_chance() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("before.json");
    let path = file.to_str().unwrap();
    let (quick, slow, _told) = quick_and_slow();
    let measure = |endpoint: &str, rounds: &str| {
        bench(&[
            "echo",
            &format!("it={endpoint}"),
            "--rounds",
            rounds,
            "-n",
            "6",
            "-c",
            "1",
            "--json",
        ])
    };
    let against = |endpoint: &str, more: &[&str]| {
        let it = format!("it={endpoint}");
        let mut args = vec![
            "echo",
            &it,
            "--rounds",
            "4",
            "-n",
            "6",
            "-c",
            "1",
            "--baseline",
            path,
        ];
        args.extend(more);
        bench(&args)
    };
    std::fs::write(&file, measure(&quick, "4").stdout).unwrap();
    // Complete separation of four and four: 2 of 70 orders.
    let output = against(&slow, &[]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("WORSE (chance alone: 0.029)"), "{text}");
    let output = against(&slow, &["--json"]);
    assert_eq!(json(&output)["changes"][0]["verdict"], "worse");
    // Twenty times slower is within a tolerance of 99 %.
    assert_eq!(
        against(&slow, &["--tolerance", "99"]).status.code(),
        Some(0)
    );
    assert_eq!(
        against(&slow, &["--tolerance", "99", "--require", "ratio>=0.9"])
            .status
            .code(),
        Some(3)
    );

    std::fs::write(&file, measure(&slow, "4").stdout).unwrap();
    let output = against(&quick, &[]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("BETTER"), "{text}");

    // With three rounds no difference could be told: that is said before anybody waits for it.
    std::fs::write(&file, measure(&quick, "3").stdout).unwrap();
    let it = format!("it={slow}");
    let three = [
        "echo",
        &it,
        "--rounds",
        "3",
        "-n",
        "6",
        "-c",
        "1",
        "--baseline",
        path,
    ];
    exits(&three, 2, "3 rounds before and 3 now are too few");
    std::fs::write(&file, measure(&quick, "4").stdout).unwrap();

    // What is not comparable is refused, what can be before anything is measured.
    for (args, why) in [
        (
            &[
                "echo",
                &it,
                "--rounds",
                "4",
                "-n",
                "6",
                "-c",
                "2",
                "--baseline",
                path,
            ][..],
            "as many connections as 1, and now it is 2",
        ),
        (
            &["conn", &it, "-n", "6", "--baseline", path],
            "it has no conn of it, but echo of it",
        ),
        (
            &["echo", &slow, "-n", "6", "--baseline", path],
            "no echo of tcp://127.0.0.1:",
        ),
        (
            &["echo", &it, "--baseline", "/nonexistent"],
            "/nonexistent: No such file",
        ),
        (&["echo", &it, "--baseline", file!()], "it is no result of"),
    ] {
        exits(args, 2, why);
    }
}

#[test]
fn the_highest_rate_that_holds_is_found() {
    // One at a time, 1 ms each, on a connection that stays: less than 1,000 a second.
    let (tell, _told) = mpsc::channel();
    let address = server(Duration::from_millis(1), true, 'x', &tell).to_string();
    let find = |objective: &str, more: &[&str]| {
        let mut args = vec!["echo", &address, "-c", "1", "-d", "200ms", "--warmup", "0s"];
        args.extend(["--arrivals", "constant", "--find-rate", objective]);
        args.extend(more);
        bench(&args)
    };
    let output = find("p50<150ms", &["--json"]);
    let found = json(&output);
    assert_eq!(output.status.code(), Some(0), "{found}");
    let rate = found["rate_per_s"].as_f64().unwrap();
    // Two of a hundred may be late, and who is in flight.
    assert!(rate <= 1_100.0, "{found}");
    assert!(found["failed_per_s"].as_f64().unwrap() > rate, "{found}");
    let broken = |probe: &Value| !probe["broken"].as_array().unwrap().is_empty();
    let probes = found["probes"].as_array().unwrap();
    assert!(probes.iter().any(broken), "{found}");
    assert_eq!(found["report"]["schedule"]["rate_per_s"], rate);

    // Nothing holds where each answer takes longer than it may.
    let output = find("p50<900us", &[]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("no rate holds down to 500 /s"), "{text}");
    assert!(text.contains("not: p50<900us"), "{text}");
}

#[test]
fn what_a_run_will_lack_is_said_before_it_starts() {
    let (quick, ..) = quick_and_slow();
    // The descriptor limit of this very process, lowered by the shell for the one it becomes.
    let output = Command::new("sh")
        .args([
            "-c",
            "ulimit -n 64; exec \"$0\" bench hold \"$1\" -c 100 -d 10ms",
        ])
        .args([env!("CARGO_BIN_EXE_onepoll"), &quick])
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        complaint.contains("will fail: 100 connections need 116 descriptors, the limit is 64"),
        "{complaint}"
    );
    assert!(complaint.contains("use `-c 48`"), "{complaint}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("without a descriptor"), "{text}");
    assert_eq!(output.status.code(), Some(1), "{text}");
}

#[test]
fn wrong_usage_says_what_would_be_right() {
    for (args, why) in [
        (
            &["conn", "127.0.0.1:9?pipeline=3"][..],
            "`pipeline` has no effect in `bench conn`",
        ),
        (
            &["conn", "127.0.0.1:9?payloat=3"],
            "perhaps `payload` was meant",
        ),
        (&["conn"], "ENDPOINT"),
        (
            &["conn", "127.0.0.1:9", "--rounds", "0"],
            "--rounds must be between 1 and 100",
        ),
        (
            &["conn", "127.0.0.1:9", "--require", "p99<5"],
            "not a duration",
        ),
        (
            &["conn", "127.0.0.1:9", "--require", "speed>5"],
            "there is no figure \"speed\"",
        ),
        (
            &["conn", "127.0.0.1:9", "--require", "ratio>1"],
            "needs several endpoints, or a --baseline",
        ),
        (&["conn", "127.0.0.1:9", "--tolerance", "5"], "--baseline"),
        (
            &["conn", "127.0.0.1:9", "127.0.0.1:9?size=5"],
            "is given twice: name each",
        ),
        (
            &["exec", "127.0.0.1:9", "--payload", "x"],
            "--payload has no effect in `bench exec`",
        ),
        (
            &["udp", "127.0.0.1:9", "--expect", "5"],
            "--expect has no effect in `bench udp`",
        ),
        (
            &["conn", "127.0.0.1:9", "--find-rate", "ratio>1"],
            "there is no ratio",
        ),
        (
            &["conn", "a\x1b[2Jb=127.0.0.1:9"],
            r"a\x1b[2Jb=127.0.0.1:9 has characters",
        ),
        (
            &["hold", "127.0.0.1:9", "--baseline", "x"],
            "has no rate to compare",
        ),
        (&["conn", "127.0.0.1:9", "-d", "0"], "the time to measure"),
        (
            &["conn", "time://127.0.0.1:9"],
            "`bench conn` cannot ask udp://127.0.0.1:9",
        ),
        (&["conn", "ehco://127.0.0.1:9"], "perhaps `echo` was meant"),
        (
            &[
                "conn",
                "127.0.0.1:9",
                "127.0.0.1:8",
                "--find-rate",
                "p99<5ms",
            ],
            "takes one mode and one endpoint",
        ),
        (
            &[
                "conn",
                "127.0.0.1:9",
                "--find-rate",
                "p99<5ms",
                "--rate",
                "5",
            ],
            "cannot be used with",
        ),
        (
            &["compare", "127.0.0.1:9", "--mode", "walk"],
            "invalid value 'walk'",
        ),
        (
            &["compare", "unix:///x", "--mode", "udp"],
            "cannot ask unix:///x",
        ),
    ] {
        exits(args, 2, why);
    }
}
