//! Servers of HTTP: where a response ends is found, and what is none, or says no, is counted exactly.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use serde_json::Value;

use crate::support::program::bench;
use crate::support::script::{Reply, Request, Scripted, replies};

/// Answers each request head with what `answer` makes of its first line and its number on this
/// connection; hangs up after an answer that has no length.
fn server(answer: fn(&str, usize) -> String) -> Scripted {
    replies(Request::Until("\r\n\r\n"), move |_, number, head| {
        let head = std::str::from_utf8(head).unwrap();
        assert!(head.contains("\r\nHost: 127.0.0.1:"), "{head:?}");
        let answer = answer(head.lines().next().unwrap(), number);
        if answer.contains("Content-Length") || answer.contains("chunked") {
            Reply::Bytes(answer.into())
        } else {
            Reply::Last(answer.into())
        }
    })
}

fn sized(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[track_caller]
fn json(line: String) -> Value {
    bench(line + " --json").json()
}

#[track_caller]
fn counted(json: &Value, answered: u64, errors: u64) {
    assert_eq!(json["requests"]["answered"], answered, "{json}");
    assert_eq!(json["errors"]["total"], errors, "{json}");
}

#[test]
fn an_http_server_is_asked_for_its_path_on_new_and_on_kept_connections() {
    let server = server(|first, number| match first {
        // Of different lengths, so that none can be guessed from another.
        "GET /sized?n=1 HTTP/1.1" => sized("200 OK", &"x".repeat(number * 100)),
        "GET /chunked HTTP/1.1" => {
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_owned()
        }
        first => panic!("{first}"),
    });
    for path in ["sized?n=1#top", "chunked"] {
        let url = format!("http://{server}/{path}");
        for line in [
            format!("echo {url} -c 3 -n 60"),
            format!("echo {url} -c 2 -n 60 --pipeline 5"),
            format!("conn {url} -c 3 -n 60"),
        ] {
            let json = json(line);
            assert_eq!(json["expect"], "http");
            counted(&json, 60, 0);
        }
    }
}

#[test]
fn all_of_an_http_url_is_the_servers_and_the_report_says_what_was_sent() {
    let (tell, told) = mpsc::channel();
    let server = replies(Request::Until("\r\n\r\n"), move |_, _, head| {
        let head = std::str::from_utf8(head).unwrap();
        tell.send(head.lines().next().unwrap().to_owned()).unwrap();
        Reply::Bytes(sized("200 OK", "hello").into())
    });
    for (url, target) in [
        ("/list?requests=3", "/list?requests=3"),
        ("/?size=10", "/?size=10"),
        ("?key=val", "/?key=val"),
        ("/a?payload=x&pid=1#top", "/a?payload=x&pid=1"),
        ("#top", "/"),
    ] {
        let url = format!("http://{server}{url}");
        let line = format!("GET {target} HTTP/1.1");
        let report = json(format!("echo {url} -c 1 -n 3"));
        counted(&report, 3, 0);
        assert_eq!(report["request"], line, "{report}");
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [&*line; 3], "{url}");
        let said = bench(format!("conn {url} -c 1 -n 1"));
        let shown = format!("\n  request    {line}\n");
        assert!(said.exits(0).out.contains(&shown), "{}", said.out);
        // Both endpoints are the same, so each has a name of its own.
        let dir = tempfile::tempdir().unwrap();
        let page = dir.path().join("page.html");
        let html = page.to_str().unwrap();
        let said = bench(format!(
            "conn a={url} b={url} -c 1 -n 1 --rounds 1 --for b expect=http --html {html}"
        ));
        let shown = format!(", answer: http, request: {line}\n");
        assert!(said.exits(0).out.contains(&shown), "{}", said.out);
        let escaped = line.replace('&', "&amp;");
        let page = fs::read_to_string(page).unwrap();
        assert!(page.contains(&format!("request: {escaped}.")), "{page}");
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [&*line; 3], "{url}");
    }
}

#[test]
fn what_is_for_one_server_alone_is_said_apart_from_its_url() {
    let (tell, told) = mpsc::channel();
    let server = replies(Request::Until("\n"), move |_, _, line| {
        tell.send(String::from_utf8_lossy(line).into_owned())
            .unwrap();
        Reply::Bytes(line.into())
    });
    let command = |own: &str| {
        format!("echo old=tcp://{server} new=tcp://{server} -c 1 -n 1 --rounds 1 {own}")
    };
    let own = [
        "--for old payload=hi\\n expect=echo --for new payload=you\\n",
        "--for new payload=you\\n old payload=hi\\n",
    ];
    for own in own {
        bench(command(own)).exits(0);
        assert_eq!(
            told.try_iter().collect::<Vec<_>>(),
            ["hi\n", "you\n"],
            "{own}"
        );
    }
    // As it was typed, where it has no name.
    bench(format!(
        "echo echo://{server} -c 1 -n 1 --for echo://{server} payload=x\\n"
    ))
    .exits(0);
    assert_eq!(told.try_iter().collect::<Vec<_>>(), ["x\n"]);
    for (own, why) in [
        (
            "--for odl size=1",
            "--for odl: no endpoint has this name: perhaps `old` was meant",
        ),
        (
            "--for server size=1",
            "--for server: no endpoint has this name: write one of old, new",
        ),
        (
            "--for old payloat=x",
            "--for old: `bench` has no option `payloat`: perhaps `payload` was meant",
        ),
        (
            "--for old zebra=x",
            "--for old: there is no option `zebra`: write one of size, payload",
        ),
        (
            "--for old rate=5",
            "--for old: `rate` is the same for all servers: say it as --rate",
        ),
        (
            "--for old size=x",
            "--for old: invalid value 'x' for '--size <BYTES>'",
        ),
        ("--for old size=1 size=2", "--for old: `size` is said twice"),
        (
            "--for old window=2",
            "old: `window` has no effect in `bench echo`",
        ),
        (
            "--for old new",
            "--for old: write what is for it alone behind it: OPTION=VALUE",
        ),
        ("--for old size", "--for old: \"size\" is no OPTION=VALUE"),
        (
            "--for old size=1 c=tcp://127.0.0.1:9",
            "\"c=tcp://127.0.0.1:9\" is no OPTION=VALUE; endpoints stand before --for",
        ),
    ] {
        bench(command(own)).refuses(why);
    }
    bench(format!(
        "echo tcp://{server}?size=1 --for tcp://{server} size=2"
    ))
    .refuses(&format!("--for tcp://{server}: `size` is said twice"));
}

#[test]
fn a_response_may_last_until_the_connection_ends() {
    let server = server(|_, _| "HTTP/1.1 200 OK\r\n\r\nall of it".to_owned());
    let url = format!("http://{server}/");
    counted(
        &json(format!("conn {url} -c 2 -n 20 --close server")),
        20,
        0,
    );
    // One that ended was one answer, not the two that it was asked for.
    let twice = json(format!("conn {url} -c 2 -n 20 --requests 2"));
    counted(&twice, 0, 20);
    assert_eq!(twice["errors"]["short_answer"], 20, "{twice}");
    // Where connections are to stay, another one takes the place of each.
    let kept = json(format!("echo {url} -c 2 -n 20"));
    counted(&kept, 20, 0);
    assert_eq!(kept["reconnects"], 20, "{kept}");
}

#[test]
fn the_load_stays_up_where_the_server_ends_connections_and_says_no() {
    // Every third answer on a connection says that it is the last, and every fourth of all says no.
    let answers = Arc::new(AtomicU64::new(0));
    let count = answers.clone();
    let server = replies(Request::Until("\r\n\r\n"), move |_, number, _| {
        let status = match count.fetch_add(1, Ordering::SeqCst) % 4 {
            3 => "500 Oh\r\nX: y",
            _ => "200 OK",
        };
        if number % 3 == 2 {
            let last = format!("{status}\r\nConnection: close");
            return Reply::Last(sized(&last, "bye").into());
        }
        Reply::Bytes(sized(status, "hello").into())
    });
    for line in [
        format!("echo http://{server}/ -c 2 -n 120"),
        format!("echo http://{server}/ -c 2 -n 120 --pipeline 4"),
        format!("echo http://{server}/ -c 2 -n 120 --rate 4000"),
    ] {
        let before = answers.load(Ordering::SeqCst);
        let json = json(line);
        let number = |of: &Value| of.as_u64().unwrap();
        // What came behind the last on a connection was asked again on the next, and is counted once.
        assert_eq!(
            number(&json["statuses"]["2xx"]) + number(&json["statuses"]["5xx"]),
            120,
            "{json}"
        );
        assert_eq!(
            json["requests"]["answered"], json["statuses"]["2xx"],
            "{json}"
        );
        assert_eq!(
            json["errors"]["turned_down"], json["statuses"]["5xx"],
            "{json}"
        );
        assert_eq!(json["errors"]["total"], json["statuses"]["5xx"], "{json}");
        assert_eq!(
            json["requests"]["unanswered"], json["statuses"]["5xx"],
            "{json}"
        );
        // The server's own count agrees.
        assert_eq!(answers.load(Ordering::SeqCst) - before, 120, "{json}");
        assert!(number(&json["reconnects"]) >= 38, "{json}");
        assert_eq!(json["died"], false, "{json}");
    }
}

#[test]
fn refusals_and_nonsense_are_told_apart() {
    let server = server(|first, _| match first {
        "GET /no HTTP/1.1" => sized("404 Not Found", "no"),
        _ => "SMTP 220 Content-Length\r\n\r\n".to_owned(),
    });
    for (path, kind) in [("no", "turned_down"), ("what", "wrong_answer")] {
        let json = json(format!("conn http://{server}/{path} -c 2 -n 20"));
        counted(&json, 0, 20);
        assert_eq!(json["errors"][kind], 20, "{json}");
    }
}
