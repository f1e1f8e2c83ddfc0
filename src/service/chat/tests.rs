use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::config;
use crate::service::Backlog;
use crate::service::rehearsal::{Paper, Stage};
use crate::wire::{LINE_BYTES_MAX, WireError};

const MS: Duration = Duration::from_millis(1);

/// A chat with these many guests, who have heard who came.
fn room(guests: usize) -> (Stage<Chat>, Vec<ConnId>) {
    crowd(&Options::default(), guests)
}

fn crowd(options: &Options, guests: usize) -> (Stage<Chat>, Vec<ConnId>) {
    let mut stage = Stage::new(Chat::new(options, LINE_BYTES_MAX));
    let ids: Vec<_> = (0..guests).map(|_| stage.enters()).collect();
    for &id in &ids {
        stage.hears(id);
    }
    (stage, ids)
}

trait Hears {
    fn hears_text(&mut self, id: ConnId) -> String;
}

impl Hears for Stage<Chat> {
    fn hears_text(&mut self, id: ConnId) -> String {
        String::from_utf8(self.hears(id)).expect("what a chat says is UTF-8")
    }
}

/// Seats, names and rooms agree with each other (I9).
fn check(stage: &Stage<Chat>) {
    let chat = &stage.service;
    assert_eq!(chat.names.len(), chat.members.len());
    let mut seated = 0;
    for (n, room) in chat.rooms.iter().enumerate() {
        assert!(n == 0 || !room.members.is_empty(), "{} is empty", room.name);
        let key = chat.rooms.find(room.name).unwrap();
        for (seat, &id) in room.members.iter().enumerate() {
            let member = chat.members.get(id).unwrap();
            assert_eq!((member.room, member.seat), (key, seat));
            assert_eq!(chat.names[&member.name.key()], id);
            seated += 1;
        }
    }
    for id in &chat.removed {
        assert!(chat.members.get(*id).is_none());
    }
    assert_eq!(seated, chat.members.len());
    let all = || chat.rooms.iter().flat_map(|room| &room.members);
    let member = |id| chat.members.get(id).unwrap();
    let in_gbk = all().filter(|&&id| member(id).encoding == Encoding::Gbk);
    assert_eq!(chat.in_gbk, in_gbk.count());
    for &id in all() {
        let deaf = all().filter(|&&other| member(other).ignores.contains(&id));
        assert_eq!(member(id).ignored_by as usize, deaf.count());
        assert!(member(id).ignores.len() <= IGNORED_MAX);
    }
    assert!(chat.said.is_empty());
}

#[test]
fn t6_a_newcomer_has_a_name_and_is_in_the_lobby_at_once() {
    let (mut stage, _) = room(0);
    let a = stage.enters();
    assert_eq!(
        stage.hears_text(a),
        "* you are guest-1 in lobby (1 here); /help lists the commands\n"
    );
    let b = stage.enters();
    assert_eq!(stage.hears_text(a), "* guest-2 joined\n");
    assert_eq!(
        stage.hears_text(b),
        "* you are guest-2 in lobby (2 here); /help lists the commands\n"
    );
}

#[test]
fn t6_lines_reach_the_others_and_never_oneself() {
    let (mut stage, ids) = room(3);
    stage.says(ids[0], "hello\n你好\r\n\n \n".as_bytes());
    for &other in &ids[1..] {
        assert_eq!(
            stage.hears_text(other),
            "guest-1: hello\nguest-1: 你好\nguest-1:  \n"
        );
    }
    assert_eq!(stage.hears_text(ids[0]), "");
}

#[test]
fn t6_byte_by_byte_and_glued_are_the_same() {
    let (mut stage, ids) = room(2);
    let script = "/nick eva\none\ntwo 好\r\n/nick bob\nthree\n".as_bytes();
    stage.says(ids[0], script);
    let glued = stage.hears_text(ids[1]);
    assert_eq!(
        glued,
        "* guest-1 is now eva\neva: one\neva: two 好\n* eva is now bob\nbob: three\n"
    );
    stage.says(ids[0], b"/nick guest-1\n/nick x\n");
    stage.hears(ids[1]);
    for byte in script {
        stage.says(ids[0], &[*byte]);
    }
    assert_eq!(stage.hears_text(ids[1]), glued.replace("guest-1", "x"));
}

#[test]
fn t6_half_close_counts_a_last_line_and_ends_the_membership() {
    let (mut stage, ids) = room(2);
    stage.says(ids[0], b"one\n/who\nlast");
    stage.ends(ids[0]);
    assert_eq!(
        stage.hears_text(ids[1]),
        "guest-1: one\nguest-1: last\n* guest-1 left\n"
    );
    assert!(stage.is_leaving(ids[0]));
    assert_eq!(stage.fault(ids[0]), None);
    stage.says(ids[1], b"too late\n");
    assert_eq!(stage.hears_text(ids[0]), "* in lobby: guest-1, guest-2\n");
    stage.leaves(ids[0]);
    assert_eq!(stage.hears_text(ids[1]), "", "left once");
    check(&stage);
}

#[test]
fn t6_names_are_unique_whatever_their_case() {
    let (mut stage, ids) = room(2);
    stage.says(ids[0], b"/nick Eva\n");
    assert_eq!(stage.hears_text(ids[0]), "* you are now Eva\n");
    assert_eq!(stage.hears_text(ids[1]), "* guest-1 is now Eva\n");
    for (asked, told) in [
        ("/nick eVA", "* eVA is somebody else's name\n"),
        (
            "/nick guest-1",
            "* names that begin with guest- are given by the server\n",
        ),
        (
            "/NICK Guest-9",
            "* names that begin with guest- are given by the server\n",
        ),
        ("/nick", "* you are guest-2\n"),
        ("/nick guest-2", "* you are guest-2 already\n"),
    ] {
        stage.says(ids[1], format!("{asked}\n").as_bytes());
        assert_eq!(stage.hears_text(ids[1]), told);
    }
    // One's own name in another case is one's own.
    stage.says(ids[0], b"/nick eva\n");
    assert_eq!(stage.hears_text(ids[0]), "* you are now eva\n");
    stage.leaves(ids[0]);
    stage.says(ids[1], b"/nick EVA\n");
    assert!(stage.hears_text(ids[1]).ends_with("* you are now EVA\n"));
    check(&stage);
}

#[test]
fn t6_rooms_are_made_heard_and_forgotten() {
    let (mut stage, ids) = room(3);
    stage.says(ids[0], b"/join #Rust\nalone\n/join lobby\n/join rust\n");
    stage.says(ids[1], b"/join rust\nhi\n");
    assert_eq!(
        stage.hears_text(ids[2]),
        "* guest-1 left\n* guest-1 joined\n* guest-1 left\n* guest-2 left\n"
    );
    assert_eq!(
        stage.hears_text(ids[0]),
        "* you are in Rust (1 here)\n* you are in lobby (3 here)\n* you are in rust (1 here)\n\
         * guest-2 joined\nguest-2: hi\n"
    );
    stage.says(ids[2], b"/rooms\n/who RUST\n/who\n/who nowhere\nlobby?\n");
    assert_eq!(
        stage.hears_text(ids[2]),
        "* rooms: lobby (1), rust (2)\n* in rust: guest-1, guest-2\n* in lobby: guest-3\n\
         * there is no room nowhere\n"
    );
    stage.hears(ids[1]);
    stage.says(ids[1], b"/join rust\n/part\n");
    stage.says(ids[0], b"/quit\nnot said\n");
    assert_eq!(
        stage.hears_text(ids[1]),
        "* you are in rust already\n* you are in lobby (2 here)\n"
    );
    assert!(stage.is_leaving(ids[0]));
    assert_eq!(stage.unread(ids[0]), b"");
    stage.hears(ids[2]);
    stage.says(ids[2], b"/rooms\n");
    assert_eq!(stage.hears_text(ids[2]), "* rooms: lobby (2)\n");
    check(&stage);
}

#[test]
fn t6_private_messages_reach_one_in_any_room() {
    let (mut stage, ids) = room(3);
    stage.says(ids[1], b"/join away\n/nick bob\n");
    ids.iter().for_each(|&id| drop(stage.hears(id)));
    stage.says(
        ids[0],
        b"/msg BOB  are you there? \n/msg guest-1 me\n/msg nobody x\n/msg bob\n",
    );
    assert_eq!(
        stage.hears_text(ids[1]),
        "guest-1 (private): are you there?\n"
    );
    assert_eq!(
        stage.hears_text(ids[0]),
        "* that is you\n* nobody is called nobody\n* /msg NAME TEXT\n"
    );
    assert_eq!(stage.hears_text(ids[2]), "");
}

#[test]
fn t6_unknown_commands_are_answered_and_a_doubled_slash_is_said() {
    let (mut stage, ids) = room(2);
    stage.says(ids[0], b"/frobnicate me\n/\n//etc/passwd\n/he\x1blp\n");
    let told = stage.hears_text(ids[0]);
    assert_eq!(told.lines().count(), 3);
    assert!(told.starts_with("* unknown command /frobnicate;"), "{told}");
    assert!(told.contains("/he\\x1blp;"), "{told}");
    assert_eq!(stage.hears_text(ids[1]), "guest-1: /etc/passwd\n");
    stage.says(ids[0], b"/help\n");
    assert!(
        stage
            .hears_text(ids[0])
            .lines()
            .all(|line| line.starts_with("* "))
    );
}

#[test]
fn t6_history_is_told_to_newcomers_of_a_room() {
    let options = Options {
        history: 2,
        ..Options::default()
    };
    let (mut stage, ids) = crowd(&options, 1);
    stage.says(ids[0], b"one\ntwo\nthree\n/msg guest-1 private\n");
    let b = stage.enters();
    assert_eq!(
        stage.hears_text(b),
        "* you are guest-2 in lobby (2 here); /help lists the commands\n\
         * earlier lines: 2\n[1970-01-01 00:00:00] guest-1: two\n[1970-01-01 00:00:00] guest-1: three\n"
    );
    stage.set_wall(SystemTime::UNIX_EPOCH + 86_400_007 * MS);
    stage.says(ids[0], b"/join x\n/me waves\n");
    stage.says(b, b"/join x\n");
    assert_eq!(
        stage.hears_text(b),
        "* guest-1 left\n* you are in x (2 here)\n* earlier lines: 1\n[1970-01-02 00:00:00] ~ guest-1 waves\n"
    );
}

#[test]
fn t6_flood_holds_the_speaker_and_loses_nothing() {
    let options = Options {
        flood: true,
        ..Options::default()
    };
    let (mut stage, ids) = crowd(&options, 2);
    let lines: String = (0..50).map(|n| format!("{n}\n")).collect();
    stage.says(ids[0], lines.as_bytes());
    assert_eq!(stage.hears_text(ids[1]).lines().count(), 20);
    assert_eq!(stage.wakes_in(ids[0]), Some(100 * MS));
    // What comes while it is held waits behind the rest, and the end of input behind that.
    stage.says(ids[0], b"last");
    stage.ends(ids[0]);
    let mut rest = String::new();
    for tenth in 1..=30 {
        stage.waits(100 * MS);
        let heard = stage.hears_text(ids[1]);
        assert!(!heard.is_empty(), "{tenth}");
        rest += &heard;
    }
    while !stage.is_leaving(ids[0]) {
        stage.waits(100 * MS);
    }
    rest += &stage.hears_text(ids[1]);
    let expected: String = (20..50).map(|n| format!("guest-1: {n}\n")).collect();
    assert_eq!(rest, expected + "guest-1: last\n* guest-1 left\n");
}

#[test]
fn t6_each_speaker_is_held_for_itself() {
    let options = Options {
        flood: true,
        ..Options::default()
    };
    let (mut stage, ids) = crowd(&options, 3);
    let lines: String = (0..25).map(|n| format!("{n}\n")).collect();
    stage.says(ids[0], lines.as_bytes());
    stage.waits(60 * MS);
    stage.says(ids[1], lines.as_bytes());
    assert_eq!(stage.wakes_in(ids[0]), Some(40 * MS));
    assert_eq!(stage.wakes_in(ids[1]), Some(100 * MS));
    stage.hears(ids[2]);
    stage.waits(40 * MS);
    assert_eq!(stage.hears_text(ids[2]), "guest-1: 20\n");
    stage.waits(60 * MS);
    assert_eq!(stage.hears_text(ids[2]), "guest-2: 20\n");
    // One who leaves releases nobody else.
    stage.leaves(ids[0]);
    assert_eq!(stage.hears_text(ids[2]), "* guest-1 left\n");
    assert_eq!(stage.wakes_in(ids[1]), Some(100 * MS));
}

#[test]
fn t6_flood_is_not_forgiven_for_another_name_or_room_and_is_for_a_pause() {
    let options = Options {
        flood: true,
        ..Options::default()
    };
    let (mut stage, ids) = crowd(&options, 1);
    // Also commands, and empty lines, are lines.
    stage.says(ids[0], &b"/who\n".repeat(16));
    stage.says(ids[0], b"/nick eva\n/join away\n\nword\n");
    assert_eq!(stage.wakes_in(ids[0]), None);
    stage.says(ids[0], b"one too many\n");
    assert_eq!(stage.wakes_in(ids[0]), Some(100 * MS));
    stage.waits(100 * MS);
    assert_eq!(stage.wakes_in(ids[0]), None);
    // A pause earns as many lines as it is long, and never more than twenty.
    for (pause, earned) in [(300, 3), (2000, 20), (60_000, 20)] {
        stage.waits(pause * MS);
        stage.says(ids[0], &b"word\n".repeat(earned));
        assert_eq!(stage.wakes_in(ids[0]), None, "after {pause} ms");
        stage.says(ids[0], b"word\n");
        assert_eq!(stage.wakes_in(ids[0]), Some(100 * MS), "after {pause} ms");
        stage.waits(100 * MS);
    }
}

#[test]
fn a_room_that_has_vanished_has_forgotten_what_was_said() {
    let options = Options {
        history: 10,
        ..Options::default()
    };
    let (mut stage, ids) = crowd(&options, 2);
    stage.says(ids[0], b"/join away\nsecret\n/join lobby\n");
    stage.hears(ids[0]);
    stage.says(ids[1], b"/join away\n");
    assert!(
        stage
            .hears_text(ids[1])
            .ends_with("* you are in away (1 here)\n")
    );
    // The lobby stays, also when nobody is in it.
    stage.says(ids[0], b"kept\n/join away\n/join lobby\n");
    let heard = stage.hears_text(ids[0]);
    assert!(
        heard.ends_with("* earlier lines: 1\n[1970-01-01 00:00:00] guest-1: kept\n"),
        "{heard}"
    );
    check(&stage);
}

#[test]
fn two_chats_have_nothing_in_common() {
    let (mut one, ids) = room(2);
    let (mut other, others) = room(2);
    one.says(ids[0], b"/nick eva\n/join away\n");
    other.says(others[0], b"/nick eva\n/rooms\n");
    let heard = other.hears_text(others[0]);
    assert_eq!(heard, "* you are now eva\n* rooms: lobby (2)\n");
    assert_eq!(other.hears_text(others[1]), "* guest-1 is now eva\n");
}

#[test]
fn what_a_crowd_needed_is_given_back() {
    let (mut stage, ids) = room(2);
    stage.says(
        ids[0],
        &[&[b'x'; LINE_BYTES_MAX][..], b"\n"].concat().repeat(4),
    );
    assert!(stage.service.said.capacity() <= SAID_BYTES_KEPT);
    // What so many who have left would leave behind.
    stage.service.names.reserve(16 * KEPT_PLACES);
    stage.service.rooms[Rooms::LOBBY]
        .members
        .reserve(16 * KEPT_PLACES);
    stage.leaves(ids[0]);
    let names = stage.service.names.capacity();
    assert!(names < 2 * KEPT_PLACES, "{names} names");
    let seats = stage.service.rooms[Rooms::LOBBY].members.capacity();
    assert!(seats < 2 * KEPT_PLACES, "{seats} seats");
    check(&stage);
}

#[test]
fn t6_a_refusal_is_a_notice() {
    let (stage, _) = room(0);
    let mut out = Vec::new();
    stage.service.refusal("too many connections", &mut out);
    assert_eq!(out, b"* too many connections\n");
    let manner = stage.service.manner();
    assert_eq!(manner.backlog, Backlog::Disconnect);
    assert!(manner.reads_after_reset && !manner.tells_time);
}

#[test]
fn an_http_request_line_is_hung_up_on() {
    for request in [
        "GET / HTTP/1.1\r\n",
        "POST /x y HTTP/1.0\n",
        "PRI * HTTP/2.0\r\n",
    ] {
        let (mut stage, ids) = room(2);
        stage.says(ids[0], request.as_bytes());
        stage.says(ids[0], b"Host: x\r\n\r\n/nick eva\n");
        assert!(stage.fault(ids[0]).is_some());
        assert!(stage.is_leaving(ids[0]));
        assert_eq!(stage.hears_text(ids[1]), "* guest-1 left\n", "{request}");
    }
    let (mut stage, ids) = room(2);
    stage.says(
        ids[0],
        b"GET me a coffee\nHTTP/1.1 is old\nGET / HTTP/1.1\n",
    );
    assert_eq!(
        stage.hears_text(ids[1]).lines().count(),
        3,
        "only a first line counts"
    );
    assert!(stage.fault(ids[0]).is_none());
}

#[test]
fn an_http_request_line_is_hung_up_on_also_without_its_end() {
    let (mut stage, ids) = room(2);
    stage.says(ids[0], b"GET / HTTP/1.1");
    stage.ends(ids[0]);
    assert!(stage.fault(ids[0]).is_some());
    assert_eq!(stage.hears_text(ids[1]), "* guest-1 left\n");
}

#[test]
fn fault_b9_the_last_line_has_the_limit_of_the_others() {
    for (len, is_heard) in [(LINE_BYTES_MAX, true), (LINE_BYTES_MAX + 1, false)] {
        for end in [&b"\n"[..], b"\r\n", b"\r", b""] {
            let (mut stage, ids) = room(2);
            stage.says(ids[0], &[&b"x".repeat(len)[..], end].concat());
            if !end.ends_with(b"\n") && stage.fault(ids[0]).is_none() {
                stage.ends(ids[0]);
            }
            let heard = stage.hears(ids[1]).len();
            assert_eq!(heard > LINE_BYTES_MAX, is_heard, "{len} bytes and {end:?}");
            assert_eq!(stage.fault(ids[0]).is_none(), is_heard);
        }
    }
}

#[test]
fn a_line_about_http_is_no_http_request() {
    let (mut stage, ids) = room(2);
    stage.says(ids[0], b"A word on HTTP/2\nI say GET / HTTP/1.1\n");
    assert_eq!(
        stage.hears_text(ids[1]),
        "guest-1: A word on HTTP/2\nguest-1: I say GET / HTTP/1.1\n"
    );
    assert!(stage.fault(ids[0]).is_none());
}

#[test]
fn what_a_telnet_client_negotiates_is_refused_and_shown_to_nobody() {
    // WILL NAWS with 10 columns, a line, Ctrl-C (IP, DO TIMING-MARK), a line that ends in CR NUL.
    let session = b"\xff\xfb\x1f\xff\xfa\x1f\0\x0a\0\x0a\xff\xf0hi\r\n\xff\xf4\xff\xfd\x06you\r\0";
    for cut in 0..session.len() {
        let (mut stage, ids) = room(2);
        stage.says(ids[0], &session[..cut]);
        stage.says(ids[0], &session[cut..]);
        assert_eq!(
            stage.hears_text(ids[1]),
            "guest-1: hi\nguest-1: you\n",
            "cut at {cut}"
        );
        assert_eq!(
            stage.hears(ids[0]),
            b"\xff\xfe\x1f\xff\xfc\x06",
            "cut at {cut}"
        );
    }
}

/// What was filtered once is text: a byte of it that looks like a command is none.
#[test]
fn what_a_telnet_client_sends_is_filtered_once() {
    let (mut stage, ids) = room(2);
    // A doubled 255 is one 255, and the letters behind it no option.
    stage.says(ids[0], b"x\xff\xff");
    stage.says(ids[0], b"\xfby");
    stage.says(ids[0], b"z\n");
    assert_eq!(stage.hears_text(ids[1]), "guest-1: x\u{fffd}\u{fffd}yz\n");
    assert_eq!(stage.hears(ids[0]), b"", "nothing was refused");
}

#[test]
fn fault_h1_members_are_told_that_the_server_stops() {
    let (mut stage, ids) = room(3);
    stage.stops();
    for &id in &ids {
        assert_eq!(stage.hears_text(id), "* the server is stopping\n");
        assert!(stage.is_leaving(id));
        stage.leaves(id);
    }
    check(&stage);
    assert!(stage.service.members.is_empty());
}

#[test]
fn fault_b1_single_bytes_of_a_long_line() {
    let (mut stage, ids) = room(2);
    for _ in 0..10_000 {
        stage.says(ids[0], b"x");
    }
    stage.says(ids[0], b"\n");
    assert_eq!(
        stage.hears_text(ids[1]),
        format!("guest-1: {}\n", "x".repeat(10_000))
    );
}

#[test]
fn fault_b3_ten_thousand_lines_in_one_segment_arrive_in_order() {
    let (mut stage, ids) = room(2);
    let lines: String = (0..10_000).map(|n| format!("{n}\n")).collect();
    stage.says(ids[0], lines.as_bytes());
    let expected: String = (0..10_000).map(|n| format!("guest-1: {n}\n")).collect();
    assert_eq!(stage.hears_text(ids[1]), expected);
}

#[test]
fn fault_b7_a_flood_of_empty_lines_is_nothing() {
    let (mut stage, ids) = room(2);
    stage.says(ids[0], &b"\n".repeat(100_000));
    assert_eq!(stage.hears_text(ids[1]), "");
    assert_eq!(stage.unread(ids[0]), b"");
}

#[test]
fn fault_b8_b9_a_line_at_the_limit_and_an_endless_one() {
    let (mut stage, ids) = room(3);
    stage.says(ids[0], &b"x".repeat(LINE_BYTES_MAX));
    stage.says(ids[0], b"\r\n");
    assert_eq!(stage.hears(ids[1]).len(), LINE_BYTES_MAX + 10);
    stage.says(ids[0], b"before\n");
    for _ in 0..17 {
        stage.says(ids[0], &b"x".repeat(4096));
    }
    assert_eq!(
        stage.hears_text(ids[0]),
        "* line too long (limit 65536 bytes)\n"
    );
    let fault = stage.fault(ids[0]);
    assert!(matches!(
        fault,
        Some(Fault::Wire(WireError::TooLong { .. }))
    ));
    assert_eq!(
        stage.hears_text(ids[1]),
        "guest-1: before\n* guest-1 left\n"
    );
    stage.leaves(ids[0]);
    assert_eq!(stage.hears_text(ids[1]), "");
    check(&stage);
}

#[test]
fn fault_b11_who_does_not_keep_up_is_seen_to_leave_for_that() {
    let (mut stage, ids) = room(2);
    stage.loses(ids[0], Closed::TooSlow);
    assert_eq!(
        stage.hears_text(ids[1]),
        "* guest-1 left (did not keep up)\n"
    );
}

#[test]
fn fault_c1_what_is_not_utf8_is_replaced() {
    let (mut stage, ids) = room(2);
    // A lone byte, a surrogate, an overlong slash, a cut character, and one that is whole.
    stage.says(
        ids[0],
        b"a\xfeb \xed\xa0\x80 \xc0\xaf \xe4\xbd\n\xe4\xbd\xa0\n",
    );
    assert_eq!(
        stage.hears_text(ids[1]),
        "guest-1: a\u{fffd}b \u{fffd}\u{fffd}\u{fffd} \u{fffd}\u{fffd} \u{fffd}\nguest-1: 你\n"
    );
    // One character over two reads, and another over two lines that end in CR.
    stage.says(ids[0], b"\xe4\xbd");
    stage.says(ids[0], b"\xa0\n");
    assert_eq!(stage.hears_text(ids[1]), "guest-1: 你\n");
}

#[test]
fn fault_c8_nothing_that_is_said_acts_on_a_terminal_or_looks_like_another_line() {
    let (mut stage, ids) = room(2);
    stage.says(
        ids[0],
        "\x1b[2J\rguest-2: mine\0\u{85}* x left\u{2028}y\u{202e}z\tok\n".as_bytes(),
    );
    assert_eq!(
        stage.hears_text(ids[1]),
        "guest-1: \u{fffd}[2J\u{fffd}guest-2: mine\u{fffd}\u{fffd}* x left\u{fffd}y\u{fffd}z\tok\n"
    );
}

#[test]
fn fault_c9_c10_a_name_is_plain() {
    let (mut stage, ids) = room(2);
    for name in [
        "{}",
        "%s%n",
        "eva\u{200b}",
        "е\u{301}va",
        "a b",
        "*",
        "-x",
        &"x".repeat(33),
        "a\x1b[m",
    ] {
        stage.says(ids[0], format!("/nick {name}\n").as_bytes());
        let told = stage.hears_text(ids[0]);
        assert!(told.contains("is no name"), "{told}");
        assert_eq!(told.lines().count(), 1);
        assert!(!told.contains('\x1b'));
    }
    stage.says(ids[0], b"{} %s%n {0:?}\n");
    assert_eq!(stage.hears_text(ids[1]), "guest-1: {} %s%n {0:?}\n");
}

#[test]
fn fault_d20_nobody_who_was_announced_stays_behind() {
    let (mut stage, ids) = room(1);
    let b = stage.enters();
    stage.leaves(b);
    assert_eq!(
        stage.hears_text(ids[0]),
        "* guest-2 joined\n* guest-2 left\n"
    );
    check(&stage);
}

#[test]
fn comings_and_goings_of_a_crowd_are_not_announced() {
    let (mut stage, ids) = room(ANNOUNCED_MAX);
    let late = stage.enters();
    let later = stage.enters();
    assert_eq!(stage.hears_text(ids[0]), "");
    // Announced when there were fewer, so announced to leave; the others neither.
    stage.leaves(ids[7]);
    assert_eq!(stage.hears_text(ids[0]), "* guest-8 left\n");
    stage.leaves(late);
    assert_eq!(stage.hears_text(ids[0]), "");
    stage.says(later, b"still heard\n/who\n");
    assert_eq!(stage.hears_text(ids[0]), "guest-1026: still heard\n");
    let told = stage.hears_text(later);
    assert!(told.ends_with(" and 924 more\n"), "{told}");
    check(&stage);
}

#[test]
fn rooms_are_bounded_and_their_list_too() {
    let (mut stage, ids) = room(ROOMS_MAX + 1);
    for (n, &id) in ids.iter().enumerate().skip(1) {
        stage.says(id, format!("/join r{n}\n").as_bytes());
    }
    assert_eq!(stage.service.rooms.len(), ROOMS_MAX);
    let last = ids[ROOMS_MAX];
    assert!(
        stage
            .hears_text(last)
            .ends_with("* there are 1024 rooms already: join one of them\n")
    );
    stage.hears(ids[0]);
    stage.says(ids[0], b"/rooms\n");
    assert!(stage.hears_text(ids[0]).ends_with(" and 924 more\n"));
    check(&stage);
}

/// One line of one member, as it is sent.
fn line() -> impl Strategy<Value = Vec<u8>> {
    // Nor Telnet's two bytes, with which a line may end elsewhere (`wire::telnet` has their cuts).
    let byte = any::<u8>().prop_filter("a line has no LF", |b| !b"\n\0\xff".contains(b));
    let line = prop_oneof![
        8 => prop::collection::vec(byte, 0..30),
        8 => "[a-z你好 ]{0,20}\r?".prop_map(String::into_bytes),
        2 => "/nick [abAB]{1,2}".prop_map(String::into_bytes),
        2 => "/join #?[xyX]".prop_map(String::into_bytes),
        2 => "/(un)?ignore( [abAB]{1,2}| guest-[1-4])?".prop_map(String::into_bytes),
        2 => "/(me|topic|away|ping)( [a-z好 ]{0,9})?".prop_map(String::into_bytes),
        1 => "/msg [abAB]{1,2} [a-z]{0,5}".prop_map(String::into_bytes),
        1 => "/(who|rooms|part|help|WHO x)".prop_map(String::into_bytes),
    ];
    line.prop_map(|mut line| {
        line.push(b'\n');
        line
    })
}

const SPEAKERS: usize = 4;

/// What everybody hears if each line comes whole.
fn heard_whole(options: &Options, script: &[(usize, Vec<u8>)]) -> Vec<String> {
    let (mut stage, ids) = crowd(options, SPEAKERS);
    for (who, line) in script {
        stage.says(ids[*who], line);
    }
    check(&stage);
    ids.iter().map(|&id| stage.hears_text(id)).collect()
}

/// The members say these lines, which end in this order; in pieces as `cut` has it, which picks a number up to one.
fn say_cut(
    mut stage: Stage<Chat>,
    ids: &[ConnId],
    script: &[(usize, Vec<u8>)],
    mut cut: impl FnMut(usize) -> usize,
) -> Stage<Chat> {
    // What each speaker says in all, how much of it was sent, how much of it must have been.
    let mut all = vec![Vec::new(); ids.len()];
    for (who, line) in script {
        all[*who].extend_from_slice(line);
    }
    let mut sent = vec![0; ids.len()];
    let mut due = vec![0; ids.len()];
    for (n, (who, line)) in script.iter().enumerate() {
        due[*who] += line.len();
        let same_speaks_next = script.get(n + 1).is_some_and(|(next, _)| next == who);
        if same_speaks_next && cut(1) == 1 {
            continue;
        }
        // The line, with a beginning of the speaker's next one, in any number of pieces.
        let next = all[*who][due[*who]..].iter().position(|&b| b == b'\n');
        let end = due[*who] + cut(next.unwrap_or(0));
        while sent[*who] < end {
            let piece = 1 + cut(end - sent[*who] - 1);
            stage.says(ids[*who], &all[*who][sent[*who]..sent[*who] + piece]);
            sent[*who] += piece;
        }
    }
    stage
}

proptest! {
    /// However the bytes are cut and glued, as long as the lines end in the same order.
    #[test]
    fn fault_b2_any_segmentation_gives_everybody_the_same(
        script in prop::collection::vec((0..SPEAKERS, line()), 0..40),
        cuts in prop::collection::vec(any::<Index>(), 200),
        history in 0u32..4,
    ) {
        let options = Options { history, ..Options::default() };
        let mut cuts = cuts.iter().cycle();
        let (stage, ids) = crowd(&options, SPEAKERS);
        let mut stage = say_cut(stage, &ids, &script, |len| cuts.next().unwrap().index(len + 1));
        check(&stage);
        let heard: Vec<_> = ids.iter().map(|&id| stage.hears_text(id)).collect();
        prop_assert_eq!(heard, heard_whole(&options, &script));
    }

    /// I11: what each member hears is part of one common order, and nothing of a room is missing.
    #[test]
    fn i11_everybody_hears_a_part_of_one_order(
        script in prop::collection::vec((0..SPEAKERS, prop::bool::weighted(0.2)), 0..60),
    ) {
        let (mut stage, ids) = crowd(&Options::default(), SPEAKERS);
        let mut rooms = [0; SPEAKERS];
        let mut expected = vec![Vec::new(); SPEAKERS];
        for (n, &(who, moves)) in script.iter().enumerate() {
            if moves {
                rooms[who] = (rooms[who] + 1) % 2;
                stage.says(ids[who], format!("/join {}\n", ["lobby", "x"][rooms[who]]).as_bytes());
            } else {
                stage.says(ids[who], format!("{n}\n").as_bytes());
                for other in (0..SPEAKERS).filter(|&other| other != who && rooms[other] == rooms[who]) {
                    expected[other].push(n);
                }
            }
        }
        for (n, &id) in ids.iter().enumerate() {
            let text = stage.hears_text(id);
            let said = text.lines().filter(|line| !line.starts_with("* "));
            let heard: Vec<usize> = said.map(|line| line.split_once(": ").unwrap().1.parse().unwrap()).collect();
            prop_assert_eq!(&heard, &expected[n]);
        }
    }

    /// Comings and goings in any order leave seats, names and rooms in agreement.
    #[test]
    fn i9_whoever_is_gone_is_gone_from_everywhere(
        steps in prop::collection::vec((any::<Index>(), 0..7u8), 0..80),
    ) {
        let (mut stage, mut ids) = room(2);
        for (pick, step) in steps {
            if ids.is_empty() || step == 0 {
                ids.push(stage.enters());
                continue;
            }
            let id = ids[pick.index(ids.len())];
            match step {
                1 => stage.says(id, b"/join x\n"),
                2 => stage.says(id, b"/nick eva\n/join y\n"),
                3 => stage.says(id, b"/quit\n"),
                4 => stage.ends(id),
                5 => stage.says(id, b"/ignore guest-1\n/ignore eva\n/unignore guest-2\n"),
                _ => {
                    stage.leaves(id);
                    ids.retain(|&here| here != id);
                }
            }
            check(&stage);
        }
        for id in ids {
            stage.leaves(id);
        }
        check(&stage);
        prop_assert_eq!((stage.service.rooms.len(), stage.service.members.len()), (1, 0));
    }
}

#[test]
fn t6_what_somebody_does_is_a_line_that_no_name_can_imitate() {
    let (mut stage, ids) = room(2);
    stage.says(
        ids[0],
        b"one\n/me waves  at you\n/ME\n/me \n/meow\ntwo\n~ guest-2 waves\n",
    );
    assert_eq!(
        stage.hears_text(ids[1]),
        "guest-1: one\n~ guest-1 waves  at you\nguest-1: two\nguest-1: ~ guest-2 waves\n"
    );
    let answers = stage.hears_text(ids[0]);
    assert!(
        answers.starts_with("* /me TEXT\n* /me TEXT\n* unknown command /meow;"),
        "{answers}"
    );
    for bad in ["~", "~x", "[x", "*"] {
        assert_eq!(Name::parse(bad.as_bytes()), None);
    }
    stage.says(ids[0], b"/me \x1b[2J\n");
    assert_eq!(stage.hears_text(ids[1]), "~ guest-1 \u{fffd}[2J\n");
}

#[test]
fn t6_a_topic_is_told_to_the_room_and_to_those_who_come() {
    let (mut stage, ids) = room(2);
    stage.says(ids[0], b"/topic\n/topic  tea \x07 and more \n");
    let told = "* guest-1 set the topic: tea \u{fffd} and more\n";
    assert_eq!(stage.hears_text(ids[1]), told);
    let asked = "* lobby has no topic; /topic TEXT gives it one\n";
    assert_eq!(stage.hears_text(ids[0]), format!("{asked}{told}"));
    let c = stage.enters();
    let greeting = stage.hears_text(c);
    assert!(
        greeting.ends_with("commands\n* topic of lobby: tea \u{fffd} and more\n"),
        "{greeting}"
    );
    let longest = "x".repeat(TOPIC_BYTES_MAX);
    stage.says(
        c,
        format!("/topic {longest}\n/topic {longest}x\n/topic\n").as_bytes(),
    );
    assert_eq!(
        stage.hears_text(c),
        format!(
            "* guest-3 set the topic: {longest}\n* a topic has at most 300 bytes\n* topic of lobby: {longest}\n"
        )
    );
    // It goes with its room.
    stage.says(c, b"/join x\n/topic here\n/part\n/join x\n");
    assert!(stage.hears_text(c).ends_with("* you are in x (1 here)\n"));
}

#[test]
fn t6_who_is_away_has_said_what_those_are_told_who_write() {
    let (mut stage, ids) = room(2);
    stage.says(ids[0], b"/away\n/away lunch\x1b, back at 2\n");
    assert_eq!(
        stage.hears_text(ids[0]),
        "* /away TEXT: TEXT is told to whoever writes to you alone\n* you are away; /away when you are back\n"
    );
    stage.says(ids[1], b"/msg guest-1 hi\n/who\n");
    assert_eq!(
        stage.hears_text(ids[1]),
        "* guest-1 is away: lunch\u{fffd}, back at 2\n* in lobby: guest-1 (away), guest-2\n"
    );
    assert_eq!(stage.hears_text(ids[0]), "guest-2 (private): hi\n");
    let longest = "x".repeat(AWAY_BYTES_MAX);
    stage.says(
        ids[0],
        format!("/away {longest}x\n/away {longest}\n/away\n").as_bytes(),
    );
    assert_eq!(
        stage.hears_text(ids[0]),
        "* that has at most 160 bytes\n* you are away; /away when you are back\n* you are back\n"
    );
    stage.says(ids[1], b"/msg guest-1 hi\n");
    assert_eq!(stage.hears_text(ids[1]), "");
}

#[test]
fn t6_who_is_ignored_is_not_heard_by_whatever_name_and_is_not_told() {
    let (mut stage, ids) = room(3);
    let [ann, bob, eve] = ids[..] else {
        unreachable!("three came")
    };
    stage.says(
        bob,
        b"/ignore guest-1\n/ignore guest-1\n/ignore guest-2\n/ignore nobody\n/ignore\n",
    );
    assert_eq!(
        stage.hears_text(bob),
        "* you ignore guest-1 until one of you leaves; /unignore guest-1 ends that\n\
         * you ignore guest-1 already\n* that is you\n* nobody is called nobody\n* you ignore guest-1\n"
    );
    stage.says(ann, b"/nick ann\nhello\n/me waves\n/msg guest-2 psst\n");
    assert_eq!(
        stage.hears_text(eve),
        "* guest-1 is now ann\nann: hello\n~ ann waves\n"
    );
    assert_eq!(stage.hears_text(bob), "* guest-1 is now ann\n");
    assert_eq!(
        stage.hears_text(ann),
        "* you are now ann\n",
        "she is not told"
    );
    stage.says(bob, b"/unignore ann\n/unignore ann\n/ignore\n");
    assert_eq!(
        stage.hears_text(bob),
        "* you hear ann again\n* you do not ignore ann\n* you ignore nobody\n"
    );
    stage.says(ann, b"again\n");
    assert_eq!(stage.hears_text(bob), "ann: again\n");
    // Who leaves ignores nobody, and is ignored by nobody.
    stage.says(eve, b"/ignore ann\n");
    check(&stage);
    stage.leaves(eve);
    check(&stage);
    stage.says(bob, b"/ignore ann\n");
    stage.leaves(ann);
    check(&stage);
    let other = stage.enters();
    stage.hears(bob);
    stage.says(other, b"/nick ann\nnot her\n");
    assert_eq!(
        stage.hears_text(bob),
        "* guest-4 is now ann\nann: not her\n"
    );
}

#[test]
fn those_who_are_ignored_are_bounded_and_those_who_left_do_not_count() {
    let (mut stage, ids) = room(IGNORED_MAX + 2);
    for n in 2..=IGNORED_MAX + 1 {
        stage.says(ids[0], format!("/ignore guest-{n}\n").as_bytes());
    }
    stage.hears(ids[0]);
    let last = format!("/ignore guest-{}\n", IGNORED_MAX + 2);
    stage.says(ids[0], last.as_bytes());
    assert_eq!(
        stage.hears_text(ids[0]),
        "* you ignore 64 already, and no more can be ignored\n"
    );
    stage.leaves(ids[5]);
    stage.hears(ids[0]);
    stage.says(ids[0], last.as_bytes());
    assert!(
        stage
            .hears_text(ids[0])
            .starts_with("* you ignore guest-66 until")
    );
    check(&stage);
}

/// Two names belong to somebody: Eva's token is `for eva`, and Bob's `for bob`.
fn with_names() -> (Stage<Chat>, Vec<ConnId>) {
    let options = Options {
        names: Some("names".into()),
        ..Options::default()
    };
    let (mut stage, _) = crowd(&options, 0);
    stage.service.listens(0, &names_of(&["Eva", "bob"]));
    let ids: Vec<ConnId> = (0..3).map(|_| stage.enters()).collect();
    for &id in &ids {
        stage.hears(id);
    }
    (stage, ids)
}

fn names_of(names: &[&str]) -> Terms {
    let line = |name: &&str| {
        let token = format!("for {}", name.to_lowercase());
        line_of_name(name, token.as_bytes(), b"").unwrap()
    };
    let file: String = names.iter().map(line).collect();
    Terms {
        file: Some(file.as_bytes().into()),
        ..Terms::default()
    }
}

#[test]
fn t6_a_name_that_belongs_to_somebody_is_taken_by_its_token_alone() {
    let (mut stage, ids) = with_names();
    let [ann, eve, other] = ids[..] else {
        unreachable!("three came")
    };
    assert!(stage.service.manner().is_private, "a trace shows no token");
    stage.says(ann, b"/nick eva\n/nick EVA\n/nick evan\n");
    assert_eq!(
        stage.hears_text(ann),
        "* eva belongs to somebody: /login TOKEN takes it\n\
         * EVA belongs to somebody: /login TOKEN takes it\n* you are now evan\n"
    );
    stage.hears(eve);
    stage.says(eve, b"/login for eva\n/nick eVa\n/login  for eva \n");
    assert_eq!(
        stage.hears_text(eve),
        "* you are now Eva\n* you are now eVa\n* you are now Eva\n"
    );
    // From another connection: the one that had it goes on as a guest.
    stage.hears(other);
    stage.says(other, b"/login for eva\nhere I am\n");
    assert_eq!(
        stage.hears_text(eve),
        "* Eva belongs to somebody, who has a token for it\n* you are now guest-4\n\
         * guest-3 is now Eva\nEva: here I am\n"
    );
    check(&stage);
    stage.hears(other);
    // Who gives it up may take it again, and nobody else.
    stage.says(
        other,
        b"/nick x\n/nick Eva\n/login for eva\n/login for eva\n",
    );
    assert_eq!(
        stage.hears_text(other),
        "* you are now x\n* Eva belongs to somebody: /login TOKEN takes it\n\
         * you are now Eva\n* you are Eva, who it belongs to\n"
    );
    check(&stage);
}

#[test]
fn t6_a_token_is_never_said_and_three_wrong_ones_end_it() {
    let (mut stage, ids) = with_names();
    stage.says(
        ids[0],
        b"one\n /login for eva\n//login for eva\n\t/LOGIN x\n/login\ntwo\n",
    );
    assert_eq!(stage.hears_text(ids[1]), "guest-1: one\nguest-1: two\n");
    let told = stage.hears_text(ids[0]);
    assert!(!told.contains("for eva"), "{told}");
    assert_eq!(told.matches("is the first word of its line").count(), 3);
    for n in 1..=LOGIN_TRIES {
        stage.says(ids[0], b"/login for evA\nmore\n");
        assert_eq!(stage.fault(ids[0]).is_some(), n == LOGIN_TRIES);
    }
    assert!(
        stage
            .hears_text(ids[0])
            .ends_with("* that is nobody's token, and you have tried enough\n")
    );
    let heard = stage.hears_text(ids[1]);
    assert_eq!(heard, "guest-1: more\nguest-1: more\n* guest-1 left\n");
    check(&stage);
    // A right one between them begins the count again.
    stage.says(
        ids[1],
        b"/login a\n/login b\n/login for bob\n/login c\n/login d\n",
    );
    assert_eq!(stage.fault(ids[1]), None);
    let (mut stage, ids) = room(1);
    stage.says(ids[0], b"/login for eva\n");
    assert_eq!(
        stage.hears_text(ids[0]),
        "* no name belongs to anybody here\n"
    );
}

#[test]
fn t6_a_name_that_comes_to_belong_to_somebody_is_given_up_before_it_speaks() {
    let (mut stage, ids) = with_names();
    stage.says(ids[0], b"/nick joe\n");
    stage.says(ids[1], b"/login for bob\n");
    ids.iter().for_each(|&id| _ = stage.hears(id));
    stage.service.listens(0, &names_of(&["joe"]));
    stage.says(ids[0], b"/who\nstill joe?\n");
    stage.says(ids[1], b"still bob\n");
    assert_eq!(
        stage.hears_text(ids[2]),
        "* joe is now guest-4\nguest-4: still joe?\nbob: still bob\n"
    );
    stage.says(ids[2], b"/login for bob\n/login for joe\n");
    assert_eq!(
        stage.hears_text(ids[2]),
        "* that is nobody's token\n* you are now joe\n"
    );
    check(&stage);
    // The file has no more names: so they are anybody's again.
    stage.service.listens(0, &Terms::default());
    stage.says(ids[2], b"/nick x\n");
    stage.says(ids[0], b"/nick joe\njoe here\n");
    assert!(stage.hears_text(ids[2]).ends_with("joe: joe here\n"));
}

/// A room with an operator and two others.
fn with_operator() -> (Stage<Chat>, ConnId, ConnId, ConnId) {
    let (mut stage, _) = room(0);
    let options = Options {
        operator: true,
        ..Options::default()
    };
    let terms = Terms {
        options: config::Written::of(&options),
        ..Terms::default()
    };
    stage.service.listens(1, &terms);
    stage.set_listener(1);
    let op = stage.enters();
    stage.set_listener(0);
    let (ann, bob) = (stage.enters(), stage.enters());
    stage.says(op, b"/nick op\n");
    stage.says(ann, b"/nick ann\n");
    stage.says(bob, b"/nick bob\n");
    for id in [op, ann, bob] {
        stage.hears(id);
    }
    (stage, op, ann, bob)
}

#[test]
fn t6_only_operators_say_who_may_be_here() {
    let (mut stage, _, ann, bob) = with_operator();
    let orders = [
        "kick bob",
        "ban bob",
        "unban bob",
        "bans",
        "whois bob",
        "watch lobby",
        "unwatch lobby",
    ];
    for order in orders {
        stage.says(ann, format!("/{order}\n").as_bytes());
        let refused = "* only an operator may do that, and you are none\n";
        assert_eq!(stage.hears_text(ann), refused, "{order}");
    }
    stage.says(ann, b"/help\n");
    assert!(!stage.hears_text(ann).contains("/kick"));
    assert!(stage.hears(bob).is_empty() && !stage.is_leaving(bob));
}

#[test]
fn t6_a_member_who_is_removed_is_told_and_so_is_the_room() {
    let (mut stage, op, ann, bob) = with_operator();
    stage.says(
        op,
        b"/help\n/kick nobody\n/kick op\n/kick BOB  too loud\x07 \n/kick bob\n",
    );
    let told = stage.hears_text(op);
    assert!(told.contains("* /kick NAME REASON"), "{told}");
    assert!(told.ends_with(
        "* nobody is called nobody\n* that is you\n* bob left (removed by an operator: too loud\u{fffd})\n\
         * bob was removed\n* nobody is called bob\n"
    ), "{told}");
    assert_eq!(
        stage.hears_text(bob),
        "* you were removed: too loud\u{fffd}\n"
    );
    assert_eq!(
        stage.hears_text(ann),
        "* bob left (removed by an operator: too loud\u{fffd})\n"
    );
    stage.waits(MS);
    assert!(stage.is_leaving(bob));
    stage.says(bob, b"and another thing\n");
    assert_eq!(stage.hears_text(ann), "");
    stage.leaves(bob);
    assert_eq!(stage.hears_text(ann), "", "left once");
    assert!(stage.service.removed.is_empty());
    check(&stage);
    // Of one who is gone in the same turn nothing stays.
    stage.says(op, b"/kick ann\n");
    stage.leaves(ann);
    assert!(stage.service.removed.is_empty());
    check(&stage);
}

#[test]
fn t6_bans_are_of_names_and_of_sources() {
    let (mut stage, op, ann, bob) = with_operator();
    stage.says(
        op,
        b"/bans\n/ban\n/ban guest-7\n/ban Bob rude\n/ban joe\n/bans\n",
    );
    assert_eq!(
        stage.hears_text(op),
        "* nobody is banned\n* /ban NAME REASON, /ban ADDRESS REASON\n\
         * a guest comes back by another name: /kick, or /whois and ban the address\n\
         * bob left (removed by an operator: rude)\n* Bob is banned; removed: 1\n* joe is banned; removed: 0\n\
         * banned: Bob (rude), joe\n"
    );
    assert_eq!(stage.hears_text(bob), "* you are banned: rude\n");
    stage.says(ann, b"/nick bOB\n/nick joe\n");
    assert!(
        stage.hears_text(ann).ends_with(
            "* nobody may be called that: Bob (rude)\n* nobody may be called that: joe\n"
        )
    );
    stage.says(
        op,
        b"/unban bob\n/unban bob\n/whois ann\n/ban 127.0.0.0/8 enough\n",
    );
    assert_eq!(
        stage.hears_text(op),
        "* bob is banned no more\n* bob is not banned\n* ann is in lobby, from 127.0.0.1:1026\n\
         * ann left (removed by an operator: enough)\n* 127.0.0.0/8 is banned; removed: 1\n"
    );
    assert_eq!(stage.hears_text(ann), "* you are banned: enough\n");
    let late = stage.enters();
    assert_eq!(
        stage.hears_text(late),
        "* you may not be here: 127.0.0.0/8 (enough)\n"
    );
    assert!(stage.is_leaving(late));
    stage.says(late, b"hello\n");
    assert_eq!(stage.hears_text(op), "");
    stage.leaves(late);
    stage.says(
        op,
        format!("/ban x {}\n", "y".repeat(REASON_BYTES_MAX + 1)).as_bytes(),
    );
    assert_eq!(stage.hears_text(op), "* a reason has at most 160 bytes\n");
    check(&stage);
}

#[test]
fn t6_an_operator_hears_rooms_without_being_there() {
    let (mut stage, op, ann, bob) = with_operator();
    stage.says(ann, b"/join den\n");
    stage.says(bob, b"/join den\n");
    for id in [op, ann, bob] {
        stage.hears(id);
    }
    stage.says(
        op,
        b"/watch\n/watch nowhere\n/watch #den\n/watch den\n/watch\n",
    );
    assert_eq!(
        stage.hears_text(op),
        "* you watch no room\n* there is no room nowhere\n* you watch den, until nobody is in it\n\
         * you watch den already\n* you watch den\n"
    );
    stage.says(
        ann,
        b"one\ntwo\n/me waves\n/topic tea\n/nick ann2\n/msg bob psst\n",
    );
    assert_eq!(
        stage.hears_text(op),
        "#den ann: one\n#den ann: two\n#den ~ ann waves\n#den * ann set the topic: tea\n#den * ann is now ann2\n"
    );
    // There, the operator hears everything once.
    stage.says(op, b"/join den\n");
    stage.hears(op);
    stage.says(ann, b"three\n");
    assert_eq!(stage.hears_text(op), "ann2: three\n");
    stage.says(op, b"/part\n/unwatch den\n/unwatch den\n");
    assert!(
        stage
            .hears_text(op)
            .ends_with("* you watch no more den\n* you do not watch den\n")
    );
    stage.says(ann, b"four\n");
    assert_eq!(stage.hears_text(op), "");
    stage.says(op, b"/watch den\n");
    stage.leaves(op);
    check(&stage);
    stage.says(ann, b"five\n");
    assert!(stage.service.watchers.is_empty());
}

#[test]
fn rooms_that_one_operator_watches_are_bounded() {
    let (mut stage, op, ..) = with_operator();
    let others: Vec<ConnId> = (0..=WATCHED_MAX).map(|_| stage.enters()).collect();
    for (n, &id) in others.iter().enumerate() {
        stage.says(id, format!("/join r{n}\n").as_bytes());
        stage.says(op, format!("/watch r{n}\n").as_bytes());
    }
    assert!(
        stage
            .hears_text(op)
            .ends_with("* you watch 16 rooms already: /unwatch one of them\n")
    );
    stage.leaves(others[3]);
    stage.says(op, b"/watch r16\n");
    assert!(
        stage
            .hears_text(op)
            .ends_with("* you watch r16, until nobody is in it\n")
    );
    check(&stage);
}

#[test]
fn t6_a_transcript_has_what_a_room_hears_and_nothing_that_is_for_one() {
    let options = Options {
        transcript: Some("/var/log/chat".into()),
        ..Options::default()
    };
    let mut stage = Stage::new(Chat::new(&options, LINE_BYTES_MAX));
    assert_eq!(stage.service.transcript(), Some(Path::new("/var/log/chat")));
    assert!(stage.service.manner().tells_time);
    let written = Paper::default();
    stage.service.write_transcript_to(Box::new(written.clone()));
    let (ann, bob) = (stage.enters(), stage.enters());
    stage.says(ann, "/nick ann\n你好 \x1b\n/me waves\n".as_bytes());
    stage.says(
        bob,
        b"/msg ann psst\n/login secret\n /login secret\n/topic tea\n/away\n/who\n/ping x\n",
    );
    stage.says(bob, b"/join den\nalone\n/quit\n");
    stage.service.reopen_transcript();
    stage.leaves(ann);
    let text = written.take();
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.strip_prefix("[1970-01-01 00:00:00] ").unwrap_or(line))
        .collect();
    assert_eq!(
        lines,
        [
            "#lobby * guest-1 joined",
            "#lobby * guest-2 joined",
            "#lobby * guest-1 is now ann",
            "#lobby ann: 你好 \u{fffd}",
            "#lobby ~ ann waves",
            "#lobby * guest-2 set the topic: tea",
            "#lobby * guest-2 left",
            "#den * guest-2 joined",
            "#den guest-2: alone",
            "#den * guest-2 left",
            "",
            "#lobby * ann left",
        ]
    );
}

/// A room with one listener of each encoding.
fn in_two_encodings() -> Stage<Chat> {
    let (mut stage, _) = room(0);
    for (n, encoding) in [Encoding::Utf8, Encoding::Gbk].into_iter().enumerate() {
        let options = Options {
            encoding,
            ..Options::default()
        };
        let terms = Terms {
            options: config::Written::of(&options),
            ..Terms::default()
        };
        stage.service.listens(n as u16, &terms);
    }
    stage
}

#[test]
fn t6_members_in_gbk_and_utf8_are_in_one_room() {
    let mut stage = in_two_encodings();
    let ann = stage.enters();
    stage.set_listener(1);
    let (bob, eve) = (stage.enters(), stage.enters());
    for id in [ann, bob, eve] {
        stage.hears(id);
    }
    check(&stage);
    stage.says(
        ann,
        "你好, 🦀 ä\n/me 走\n/topic 茶\n/msg guest-3 只有你\n".as_bytes(),
    );
    let in_gbk =
        b"guest-1: \xc4\xe3\xba\xc3, ? ?\n~ guest-1 \xd7\xdf\n* guest-1 set the topic: \xb2\xe8\n";
    assert_eq!(stage.hears(bob), in_gbk);
    let private = b"guest-1 (private): \xd6\xbb\xd3\xd0\xc4\xe3\n";
    assert_eq!(stage.hears(eve), [&in_gbk[..], private].concat());
    stage.hears(ann);
    // A second byte of a character may look like a letter, a bar or a backslash, and never ends a line.
    stage.says(
        bob,
        b"\xb5\x5c \xce\x7c \x81\x40\n/me \xd7\xdf\n/away \xb2\xe8\n",
    );
    assert_eq!(stage.hears_text(ann), "guest-2: 礬 蝲 丂\n~ guest-2 走\n");
    assert_eq!(
        stage.hears(eve),
        b"guest-2: \xb5\x5c \xce\x7c \x81\x40\n~ guest-2 \xd7\xdf\n"
    );
    stage.says(ann, b"/msg guest-2 hi\n");
    assert_eq!(stage.hears_text(ann), "* guest-2 is away: 茶\n");
    stage.leaves(bob);
    check(&stage);
}

#[test]
fn fault_c2_a_line_that_ends_in_half_a_character_is_a_line() {
    let mut stage = in_two_encodings();
    let ann = stage.enters();
    stage.set_listener(1);
    let bob = stage.enters();
    stage.hears(ann);
    stage.hears(bob);
    // The first byte of a pair before the end of the line, of the input, and one that is of none.
    stage.says(bob, b"\xc4\xe3\xba\n\xff\xff\xba\r\n\x80\xa0\xff\xff\n");
    stage.says(bob, b"\xc4");
    stage.says(bob, b"\xe3\n\xba");
    stage.ends(bob);
    assert_eq!(
        stage.hears_text(ann),
        "guest-2: 你\u{fffd}\nguest-2: \u{fffd}\u{fffd}\n\
         guest-2: €\u{fffd}\nguest-2: 你\nguest-2: \u{fffd}\n* guest-2 left\n"
    );
    check(&stage);
}

#[test]
fn what_tells_of_dropped_lines_stands_for_them() {
    let (mut stage, ids) = room(1);
    let mut notice = Vec::new();
    stage.service.dropped(ids[0], 1234, &mut notice);
    assert_eq!(
        notice,
        b"* lines dropped, since you did not read them: 1234\n"
    );
    assert_eq!(stage.service.stands_for(&notice), Some(1234));
    for other in [
        &b"eva: hello\n"[..],
        b"* pong 7\n",
        b"eva: * lines dropped, since you did not read them: 9\n",
    ] {
        assert_eq!(stage.service.stands_for(other), None);
    }
    let policy = |slow| {
        let options = Options {
            slow,
            ..Options::default()
        };
        Chat::new(&options, LINE_BYTES_MAX).manner().backlog
    };
    assert_eq!(policy(Slow::Disconnect), Backlog::Disconnect);
    assert_eq!(policy(Slow::DropOldest), Backlog::DropOldest);
}

/// What people said in the other tests, and in the suite in Python: each line with who says it. Ann and the operator
/// write UTF-8, Bob and Eve GBK.
const DIALOGUES: [&[(usize, &str)]; 9] = [
    &[
        (0, "hello"),
        (1, "hi ann"),
        (2, "你好 straße naïve"),
        (0, "tea at 4?"),
        (1, "yes"),
        (1, ""),
        (0, " \r"),
    ],
    &[
        (0, "/nick ann"),
        (1, "/nick ANN"),
        (1, "/nick bob"),
        (0, "still me"),
        (1, "/nick rob"),
        (2, "/nick bob"),
        (2, "new here"),
    ],
    &[
        (0, "/join den"),
        (1, "/join #DEN"),
        (0, "just us"),
        (2, "anyone?"),
        (1, "yes"),
        (1, "/part"),
        (0, "/who den"),
        (0, "/rooms"),
        (0, "/join lobby"),
    ],
    &[
        (0, "/msg guest-2 the key is 你好"),
        (0, "/msg guest-9 x"),
        (0, "/msg"),
        (1, "/away lunch 茶"),
        (0, "/msg guest-2 hungry?"),
        (1, "/away"),
        (0, "/msg guest-2 again"),
    ],
    &[
        (0, "/me waves"),
        (0, "~ guest-2 waves"),
        (1, "/me"),
        (1, "/topic 茶 at 4"),
        (2, "/topic"),
        (2, "/join x"),
        (2, "/topic"),
        (0, "* eve has left"),
        (0, "//quit"),
    ],
    &[
        (2, "/ignore guest-1"),
        (0, "heard by bob"),
        (0, "/me shouts"),
        (0, "/msg guest-3 psst"),
        (2, "/ignore"),
        (2, "/unignore guest-1"),
        (0, "back"),
        (0, "/ping 7"),
        (0, "/ping"),
    ],
    &[
        (1, "/login for eva"),
        (1, "it is me"),
        (0, "/nick eva"),
        (2, " /login for eva"),
        (2, "/login wrong"),
        (0, "/login for eva"),
        (0, "mine"),
        (1, "who am I"),
    ],
    &[
        (3, "/watch den"),
        (0, "/join den"),
        (3, "/watch den"),
        (0, "psst"),
        (3, "/kick guest-2 be nice"),
        (1, "what?"),
        (3, "/ban 10.0.0.0/8"),
        (3, "/bans"),
        (3, "/whois guest-1"),
        (0, "/kick guest-3"),
        (2, "/help"),
    ],
    &[
        (0, "/frobnicate now"),
        (0, "/"),
        (1, "%s%n {} ${PATH}"),
        (2, "red \u{1b}[31m bell \u{7}"),
        (0, "/names"),
        (0, "/list"),
        (1, "/quit"),
        (2, "bye"),
        (2, "/quit"),
    ],
];

/// Four who have come by listeners of both encodings, the last of them an operator; Eva's name belongs to somebody.
fn four() -> (Stage<Chat>, Vec<ConnId>) {
    let options = Options {
        history: 5,
        names: Some("names".into()),
        ..Options::default()
    };
    let (mut stage, _) = crowd(&options, 0);
    for (n, encoding) in [Encoding::Utf8, Encoding::Gbk].into_iter().enumerate() {
        let options = Options {
            encoding,
            operator: encoding == Encoding::Utf8,
            ..Options::default()
        };
        let terms = Terms {
            options: config::Written::of(&options),
            ..names_of(&["eva"])
        };
        stage.service.listens(n as u16, &terms);
    }
    let plain = Terms {
        options: config::Written::default(),
        ..names_of(&["eva"])
    };
    stage.service.listens(2, &plain);
    let ids: Vec<ConnId> = [2, 1, 1, 0]
        .into_iter()
        .map(|listener| {
            stage.set_listener(listener);
            stage.enters()
        })
        .collect();
    for &id in &ids {
        stage.hears(id);
    }
    (stage, ids)
}

#[test]
fn line_truth_every_dialogue_is_the_same_under_1000_segmentations() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    // Marsaglia's xorshift: any numbers will do, if they are the same each time.
    let mut up_to = |most: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % (most as u64 + 1)) as usize
    };
    for dialogue in DIALOGUES {
        let script: Vec<(usize, Vec<u8>)> = dialogue
            .iter()
            .map(|&(who, line)| {
                let mut bytes = Vec::new();
                if who == 1 || who == 2 {
                    crate::wire::encode_gbk(line, &mut bytes);
                } else {
                    bytes.extend_from_slice(line.as_bytes());
                }
                bytes.push(b'\n');
                (who, bytes)
            })
            .collect();
        let heard = |cut: &mut dyn FnMut(usize) -> usize| {
            let (stage, ids) = four();
            let mut stage = say_cut(stage, &ids, &script, cut);
            check(&stage);
            ids.iter().map(|&id| stage.hears(id)).collect::<Vec<_>>()
        };
        // Whole lines, one at a time.
        let whole = {
            let (mut stage, ids) = four();
            for (who, line) in &script {
                stage.says(ids[*who], line);
            }
            check(&stage);
            ids.iter().map(|&id| stage.hears(id)).collect::<Vec<_>>()
        };
        assert!(whole.iter().any(|all| !all.is_empty()), "{dialogue:?}");
        assert_eq!(heard(&mut |_| 0), whole, "byte by byte: {dialogue:?}");
        for _ in 1..1000 {
            assert_eq!(heard(&mut up_to), whole, "{dialogue:?}");
        }
    }
}

#[test]
fn fault_a7_a_line_that_many_hear_of_is_not_one_of_many_small_ones() {
    let (mut stage, ids) = crowd(&Options::default(), 500);
    let greedy = ids[0];
    let mut input = ReadBuf::default();
    let renames: Vec<u8> = (0..100)
        .flat_map(|n| format!("/nick n{n}\n").into_bytes())
        .collect();
    input.push(&renames);
    let mut budgets = 0;
    while !input.is_empty() {
        input.begin_budget(256);
        stage.offers(greedy, &mut input);
        budgets += 1;
    }
    // Some four renames, of 499 letters each, in a budget of 256 frames.
    assert!((20..40).contains(&budgets), "{budgets}");
    assert!(stage.hears_text(ids[499]).ends_with("* n98 is now n99\n"));
    assert_eq!(stage.hears_text(greedy).lines().count(), 100);
    check(&stage);
}
