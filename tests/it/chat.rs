//! Chat, greeting and upper through the real loop: what a rehearsal cannot show.

use onepoll::service::{Chat, Greeting, Upper, chat, greeting, upper};
use onepoll::wire::LINE_BYTES_MAX;

use crate::support::server::Running;

fn room(flood: bool) -> Running {
    let options = chat::Options {
        flood,
        ..chat::Options::default()
    };
    Running::serving(move || Box::new(Chat::new(&options, LINE_BYTES_MAX)))
}

#[test]
fn t3_silence_a_half_close_and_a_newline_end_a_burst() {
    let options = upper::Options {
        once: true,
        strip: true,
        ..upper::Options::default()
    };
    let server = Running::serving(move || Box::new(Upper::new(&options)));
    for ending in ["", "\n", "half-close"] {
        let mut guest = server.dial();
        for byte in b" hello" {
            guest.says([*byte]);
        }
        match ending {
            "half-close" => guest.ends(),
            newline => guest.says(newline),
        };
        guest.hears_last("HELLO");
    }
}

#[test]
fn t4_a_greeting_survives_what_the_client_says_on_its_own_account() {
    let options = greeting::Options {
        greeting: vec!["sbzz".into(); 3],
        ..greeting::Options::default()
    };
    let server = Running::serving(move || Box::new(Greeting::new(&options)));
    let mut guest = server.dial();
    guest.says(b"x".repeat(10_000));
    guest.hears("sbzz");
    guest.says(b"y".repeat(10_000));
    guest.hears_last("sbzzsbzz");
}

#[test]
fn t6_a_conversation() {
    let server = room(false);
    let mut a = server.dial();
    assert!(a.line().starts_with("* you are guest-1 in lobby"));
    let mut b = server.dial();
    assert!(b.line().starts_with("* you are guest-2 in lobby"));
    a.hears("* guest-2 joined\n");
    for byte in "你好\n".as_bytes() {
        a.says([*byte]);
    }
    b.hears("guest-1: 你好\n");
    a.says(b"/who\nlast words");
    a.ends();
    a.hears_last("* in lobby: guest-1, guest-2\n");
    b.hears("guest-1: last words\n");
    b.hears("* guest-1 left\n");
    b.says(b"/quit\n");
    b.hears_last("");
}

#[test]
fn t6_a_reset_is_seen_and_what_was_said_before_it_counts() {
    let server = room(false);
    let mut a = server.dial();
    let mut b = server.dial();
    b.line();
    a.says(b"bye\n");
    // With something unread, a close is a reset.
    drop(a);
    b.hears("guest-1: bye\n");
    b.hears("* guest-1 left\n");
}

#[test]
fn t6_flood_is_held_and_nothing_is_lost() {
    let server = room(true);
    let mut a = server.dial();
    let mut b = server.dial();
    b.line();
    let lines: String = (0..25).map(|n| format!("{n}\n")).collect();
    a.says(lines.as_bytes());
    a.ends();
    for n in 0..25 {
        b.hears(format!("guest-1: {n}\n"));
    }
    b.hears("* guest-1 left\n");
}

#[test]
fn fault_b16_the_reason_arrives_with_input_unread() {
    let server = room(false);
    let mut a = server.dial();
    a.line();
    a.says(b"x".repeat(200_000));
    a.hears_last("* line too long (limit 65536 bytes)\n");
}

#[test]
fn fault_h1_members_are_told_that_the_server_stops() {
    let server = room(false);
    let mut a = server.dial();
    a.line();
    server.handle.stop().unwrap();
    a.hears_last("* the server is stopping\n");
}
