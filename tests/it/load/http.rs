//! Servers of HTTP: where a response ends is found, and what is none, or says no, is counted exactly.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    for path in ["sized%3Fn=1", "chunked"] {
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
