use std::time::Duration;

use super::*;
use crate::service::rehearsal::Stage;

const PEERS: u16 = 0;
const PERSON: u16 = 1;
const BARE: u16 = 2;

fn stage() -> Stage<Talk> {
    stage_with(64 * 1024)
}

/// Lines through one listener, bursts through another, and the person through a third.
fn stage_with(message_bytes_max: usize) -> Stage<Talk> {
    let mut stage = Stage::new(Talk::new(&Options::default(), message_bytes_max));
    let of = |options: Options| Terms {
        options: Written::of(&options),
        ..Terms::default()
    };
    let person = Options {
        person: true,
        ..Options::default()
    };
    let bare = Options {
        bare: true,
        ..Options::default()
    };
    stage.service.listens(PEERS, &of(Options::default()));
    stage.service.listens(PERSON, &of(person));
    stage.service.listens(BARE, &of(bare));
    stage
}

fn attaches(stage: &mut Stage<Talk>) -> ConnId {
    stage.set_listener(PERSON);
    stage.enters()
}

fn calls(stage: &mut Stage<Talk>, through: u16) -> ConnId {
    stage.set_listener(through);
    stage.enters()
}

/// A person who is there, and a peer who has called.
fn pair(through: u16) -> (Stage<Talk>, ConnId, ConnId) {
    let mut stage = stage();
    let person = attaches(&mut stage);
    assert_eq!(stage.hears(person), b"* nobody has called yet\n");
    let peer = calls(&mut stage, through);
    let heard = stage.hears(person);
    assert!(heard.starts_with(b"+ 127.0.0.1:"), "{heard:?}");
    assert_eq!(stage.hears(peer), b"");
    (stage, person, peer)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn t5_each_hears_the_other_line_by_line() {
    let (mut stage, person, peer) = pair(PEERS);
    for byte in "hello\r\n你好 q\nq".as_bytes() {
        stage.says(peer, &[*byte]);
    }
    assert_eq!(text(&stage.hears(person)), "< hello\n< 你好 q\n");
    stage.says(person, b"hi\nthere");
    assert_eq!(stage.hears(peer), b"hi\n");
    stage.says(person, b"\n");
    assert_eq!(stage.hears(peer), b"there\n");
    stage.says(peer, b"\n");
    assert!(text(&stage.hears(person)).ends_with("hung up\n"));
    assert!(stage.is_leaving(peer));
    assert!(!stage.is_leaving(person));
}

#[test]
fn t5_bare_nothing_is_appended_and_a_burst_is_a_message() {
    let (mut stage, person, peer) = pair(BARE);
    stage.says(peer, b"hel");
    stage.says(peer, b"lo");
    assert_eq!(stage.hears(person), b"");
    stage.waits(Duration::from_millis(20));
    assert_eq!(stage.hears(person), b"< hello\n");
    stage.says(peer, b"two\nq\nlines");
    stage.waits(Duration::from_millis(20));
    assert_eq!(stage.hears(person), b"< two\n< q\n< lines\n");
    stage.says(person, b"hi\n");
    assert_eq!(stage.hears(peer), b"hi");
    stage.says(peer, b"Q");
    assert!(!stage.is_leaving(peer));
    stage.waits(Duration::from_millis(20));
    assert!(stage.is_leaving(peer));
    assert!(text(&stage.hears(person)).ends_with("hung up\n"));
}

#[test]
fn t5_q_of_the_person_is_sent_and_hangs_up_and_the_next_may_call() {
    for (through, said) in [(PEERS, &b"q\n"[..]), (BARE, b"q")] {
        let (mut stage, person, peer) = pair(through);
        stage.says(person, b"q\nto nobody\n");
        assert_eq!(stage.hears(peer), said);
        stage.waits(Duration::ZERO);
        assert!(stage.is_leaving(peer));
        let heard = text(&stage.hears(person));
        assert!(heard.starts_with("- you hung up on 127.0.0.1:"), "{heard}");
        assert!(heard.ends_with("\n* nobody has called yet\n"), "{heard}");
        // What it had on its way is for nobody.
        stage.says(peer, b"late\n");
        let next = calls(&mut stage, through);
        stage.says(next, b"hello\n");
        let heard = text(&stage.hears(person));
        assert!(
            heard.starts_with("+ ") && heard.ends_with("\n< hello\n"),
            "{heard}"
        );
        assert_eq!(stage.hears(peer), b"");
    }
}

#[test]
fn a_second_peer_is_busy_and_a_second_person_is_refused() {
    let (mut stage, person, peer) = pair(PEERS);
    let second = calls(&mut stage, PEERS);
    assert_eq!(
        stage.hears(second),
        b"* busy: one peer at a time; call again later\n"
    );
    assert!(stage.is_leaving(second));
    stage.says(second, b"let me in\n");
    assert_eq!(stage.hears(person), b"");
    let imposter = attaches(&mut stage);
    assert_eq!(stage.hears(imposter), b"! somebody is attached already\n");
    assert!(stage.is_leaving(imposter));
    stage.says(imposter, b"q\n");
    assert!(!stage.is_leaving(peer));
    // Neither of them takes anything with it.
    stage.leaves(second);
    stage.leaves(imposter);
    stage.says(person, b"still here\n");
    assert_eq!(stage.hears(peer), b"still here\n");
    stage.leaves(peer);
    assert!(text(&stage.hears(person)).starts_with("- 127.0.0.1:"));
    let next = calls(&mut stage, PEERS);
    assert_eq!(stage.hears(next), b"");
    assert!(text(&stage.hears(person)).starts_with("+ "));
}

#[test]
fn while_nobody_is_attached_the_peer_is_told_so_and_what_it_says_is_kept() {
    let mut stage = stage();
    let peer = calls(&mut stage, PEERS);
    let alone = b"* nobody is here; what you say is kept until somebody is\n";
    assert_eq!(stage.hears(peer), alone);
    stage.says(peer, b"anybody?\nhello\n");
    assert_eq!(stage.hears(peer), b"");
    let person = attaches(&mut stage);
    let heard = text(&stage.hears(person));
    assert!(heard.ends_with("\n< anybody?\n< hello\n"), "{heard}");
    assert!(heard.starts_with("+ 127.0.0.1:"), "{heard}");
    assert_eq!(stage.hears(peer), b"* somebody is here now\n");
    // The person goes and comes back, and the peer stays.
    stage.leaves(person);
    assert_eq!(stage.hears(peer), alone);
    stage.says(peer, b"come back\n");
    let person = attaches(&mut stage);
    assert!(text(&stage.hears(person)).ends_with("\n< come back\n"));
    assert_eq!(stage.hears(peer), b"* somebody is here now\n");
    assert!(!stage.is_leaving(peer));
}

#[test]
fn what_is_kept_for_the_person_is_bounded_and_what_is_not_kept_is_said_to_both() {
    let mut stage = stage();
    let peer = calls(&mut stage, PEERS);
    stage.hears(peer);
    let line = [&b"x".repeat(1000)[..], b"\n"].concat();
    for _ in 0..100 {
        stage.says(peer, &line);
        assert!(stage.service.call.as_ref().unwrap().kept.len() <= TALK_KEPT_BYTES_MAX);
    }
    assert_eq!(
        stage.hears(peer),
        b"* no more is kept until somebody is here\n"
    );
    let person = attaches(&mut stage);
    let heard = text(&stage.hears(person));
    let kept = TALK_KEPT_BYTES_MAX / 1003;
    assert_eq!(heard.matches("\n< x").count(), kept);
    let lost = format!("* {} messages more were not kept\n", 100 - kept);
    assert!(heard.ends_with(&lost), "{}", &heard[heard.len() - 80..]);
    stage.says(peer, b"one more\n");
    assert_eq!(stage.hears(person), b"< one more\n");
}

#[test]
fn a_half_close_of_the_peer_ends_what_it_says_and_it_is_still_answered() {
    let (mut stage, person, peer) = pair(PEERS);
    stage.says(peer, b"that is all");
    stage.ends(peer);
    let heard = text(&stage.hears(person));
    assert!(heard.starts_with("< that is all\n* 127.0.0.1:"), "{heard}");
    assert!(
        heard.ends_with("says nothing more; `q` hangs up\n"),
        "{heard}"
    );
    assert!(!stage.is_leaving(peer));
    stage.says(person, b"fine\n");
    assert_eq!(stage.hears(peer), b"fine\n");
    stage.says(person, b"q\n");
    assert_eq!(stage.hears(peer), b"q\n");
    stage.waits(Duration::ZERO);
    assert!(stage.is_leaving(peer));
    // A last `q` without its end hangs up as well.
    let (mut stage, person, peer) = pair(PEERS);
    stage.says(peer, b"q");
    stage.ends(peer);
    assert!(text(&stage.hears(person)).ends_with("hung up\n"));
    assert!(stage.is_leaving(peer));
}

#[test]
fn a_half_close_of_the_person_still_hears() {
    let (mut stage, person, peer) = pair(PEERS);
    stage.says(person, b"that is all");
    stage.ends(person);
    assert_eq!(stage.hears(peer), b"that is all\n");
    stage.says(peer, b"fine\n");
    assert_eq!(stage.hears(person), b"< fine\n");
    assert!(!stage.is_leaving(person));
}

#[test]
fn fault_c8_what_a_peer_says_does_not_act_and_cannot_look_like_the_servers_word() {
    let (mut stage, person, peer) = pair(PEERS);
    stage.says(peer, b"\x1b[2J\x07a\rb\xff\n* hung up\n- gone\n");
    let heard = text(&stage.hears(person));
    assert_eq!(
        heard,
        "< \u{fffd}[2J\u{fffd}a\u{fffd}b\u{fffd}\n< * hung up\n< - gone\n"
    );
}

#[test]
fn fault_b9_a_message_that_is_too_long_ends_whoever_says_it() {
    let mut stage = stage_with(10);
    let person = attaches(&mut stage);
    stage.hears(person);
    let peer = calls(&mut stage, PEERS);
    stage.hears(person);
    stage.says(peer, b"0123456789\n0123456789a");
    assert!(stage.fault(peer).is_some());
    assert_eq!(stage.hears(peer), b"* too long (limit 10 bytes)\n");
    stage.leaves(peer);
    let heard = text(&stage.hears(person));
    assert!(heard.starts_with("< 0123456789\n- 127.0.0.1:"), "{heard}");
    stage.says(person, b"0123456789ab");
    assert!(stage.fault(person).is_some());
    assert_eq!(stage.hears(person), b"! a line has at most 10 bytes\n");
}

#[test]
fn a_web_page_is_no_peer() {
    let (mut stage, person, peer) = pair(PEERS);
    stage.says(peer, b"POST / HTTP/1.1\r\nhi\n");
    assert!(stage.fault(peer).is_some());
    assert_eq!(stage.hears(person), b"");
    assert!(text(&stage.hears(peer)).contains("not a web server"));
}

#[test]
fn fault_h1_both_are_told_that_the_server_stops() {
    let (mut stage, person, peer) = pair(PEERS);
    stage.stops();
    assert_eq!(stage.hears(peer), b"* the server is stopping\n");
    assert_eq!(stage.hears(person), b"- the server is stopping\n");
    assert!(stage.is_leaving(peer) && stage.is_leaving(person));
}

#[test]
fn the_person_goes_with_every_endpoint_and_is_one_for_all_that_name_the_same_socket() {
    let of = |options: Options| options.companion();
    let usual = of(Options::default()).unwrap();
    assert_eq!(usual.path, talk_socket());
    let person: Options = usual.options.read().unwrap();
    assert!(person.person && !person.bare && person.check().is_ok());
    assert_eq!(of(person), None);
    let elsewhere = Options {
        bare: true,
        attach: Some("/run/a.sock".into()),
        ..Options::default()
    };
    assert_eq!(
        of(elsewhere.clone()).unwrap().path.to_str(),
        Some("/run/a.sock")
    );
    assert_ne!(elsewhere.set(), Options::default().set());
    for wrong in ["a.sock", "", "/run/", &format!("/{}", "x".repeat(107))] {
        let options = Options {
            attach: Some(wrong.into()),
            ..Options::default()
        };
        let trouble = options.check().unwrap_err();
        assert_eq!(trouble.option.as_deref(), Some("attach"), "{wrong}");
    }
}

/// The next number of a sequence that is the same in every run (Numerical Recipes' constants).
fn next(seed: &mut u32, below: usize) -> usize {
    *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    (*seed >> 8) as usize % below
}

#[test]
fn t5_a_dialogue_is_the_same_under_a_thousand_segmentations() {
    let of_peer = "hello\r\n\n你好 q\nqq\n q\nquit\r\r\n\u{9b}\u{202e}\nlast\n".as_bytes();
    let of_person = "hi\nq?\n再见\n\nQ \nbye\r\n".as_bytes();
    let heard_by_person = "< hello\n< \n< 你好 q\n< qq\n<  q\n< quit\n< \u{fffd}\u{fffd}\n< last\n";
    let heard_by_peer = "hi\nq?\n再见\n\nQ \nbye\n";
    for segmentation in 0..1000 {
        let mut seed = segmentation;
        let (mut stage, person, peer) = pair(PEERS);
        let (mut of_peer, mut of_person) = (of_peer, of_person);
        let (mut by_person, mut by_peer) = (Vec::new(), Vec::new());
        while !(of_peer.is_empty() && of_person.is_empty()) {
            let is_peer = of_person.is_empty() || !of_peer.is_empty() && next(&mut seed, 2) == 0;
            let (who, said) = if is_peer {
                (peer, &mut of_peer)
            } else {
                (person, &mut of_person)
            };
            let (now, later) = said.split_at(1 + next(&mut seed, said.len()));
            stage.says(who, now);
            *said = later;
            stage.waits(Duration::from_millis(next(&mut seed, 50) as u64));
            by_person.extend(stage.hears(person));
            by_peer.extend(stage.hears(peer));
        }
        assert_eq!(text(&by_person), heard_by_person, "{segmentation}");
        assert_eq!(text(&by_peer), heard_by_peer, "{segmentation}");
        stage.says(peer, b"Q\n");
        assert!(stage.is_leaving(peer), "{segmentation}");
    }
}
