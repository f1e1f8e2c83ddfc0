//! Servers of HTTP: where a response ends is found, and what is none, or says no, is counted exactly.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use serde_json::Value;

/// Answers each request head with what `answer` makes of its first line and its number on this
/// connection; hangs up after an answer that has no length.
fn server(answer: fn(&str, usize) -> String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || converse(&stream.unwrap(), answer));
        }
    });
    address
}

fn converse(mut stream: &TcpStream, answer: fn(&str, usize) -> String) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    for number in 0.. {
        let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        let Some(first) = head.first() else { return };
        assert!(
            head.iter().any(|line| line.starts_with("Host: 127.0.0.1:")),
            "{head:?}"
        );
        let answer = answer(first, number);
        let has_end = answer.contains("Content-Length") || answer.contains("chunked");
        if stream.write_all(answer.as_bytes()).is_err() || !has_end {
            return;
        }
    }
}

fn sized(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn bench(args: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onepoll"));
    let output = command
        .arg("bench")
        .args(args)
        .arg("--json")
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|wrong| panic!("{wrong}: {complaint}"))
}

#[test]
fn an_http_server_is_asked_for_its_path_on_new_and_on_kept_connections() {
    let address = server(|first, number| match first {
        // Of different lengths, so that none can be guessed from another.
        "GET /sized?n=1 HTTP/1.1" => sized("200 OK", &"x".repeat(number * 100)),
        "GET /chunked HTTP/1.1" => {
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_owned()
        }
        first => panic!("{first}"),
    });
    for path in ["sized%3Fn=1", "chunked"] {
        let url = format!("http://{address}/{path}");
        for args in [
            &["echo", &url, "-c", "3", "-n", "60"][..],
            &["echo", &url, "-c", "2", "-n", "60", "--pipeline", "5"],
            &["conn", &url, "-c", "3", "-n", "60"],
        ] {
            let json = bench(args);
            assert_eq!(json["expect"], "http");
            assert_eq!(json["requests"]["answered"], 60, "{args:?} {json}");
            assert_eq!(json["errors"]["total"], 0, "{args:?} {json}");
        }
    }
}

#[test]
fn a_response_may_last_until_the_connection_ends() {
    let address = server(|_, _| "HTTP/1.1 200 OK\r\n\r\nall of it".to_owned());
    let url = format!("http://{address}/");
    let json = bench(&["conn", &url, "-c", "2", "-n", "20", "--close", "server"]);
    assert_eq!(json["requests"]["answered"], 20, "{json}");
    assert_eq!(json["errors"]["total"], 0, "{json}");
    // One that ended was one answer, not the two that it was asked for.
    let twice = ["conn", &url, "-c", "2", "-n", "20", "--requests", "2"];
    let json = bench(&twice);
    assert_eq!(json["requests"]["answered"], 0, "{json}");
    assert_eq!(json["errors"]["short_answer"], 20, "{json}");
    // A connection that was to stay did not.
    let json = bench(&["echo", &url, "-c", "2", "-n", "20"]);
    assert_eq!(json["errors"]["short_answer"], 2, "{json}");
}

#[test]
fn refusals_and_nonsense_are_told_apart() {
    let address = server(|first, _| match first {
        "GET /no HTTP/1.1" => sized("404 Not Found", "no"),
        _ => "SMTP 220 Content-Length\r\n\r\n".to_owned(),
    });
    for (path, kind) in [("no", "turned_down"), ("what", "wrong_answer")] {
        let json = bench(&[
            "conn",
            &format!("http://{address}/{path}"),
            "-c",
            "2",
            "-n",
            "20",
        ]);
        assert_eq!(json["requests"]["answered"], 0, "{json}");
        assert_eq!(
            (&json["errors"][kind], &json["errors"]["total"]),
            (&20.into(), &20.into()),
            "{json}"
        );
    }
}
