use super::*;

fn id(slot: u32, generation: u32) -> ConnId {
    ConnId { slot, generation }
}

/// Delivers everything, `at_most` bytes a write.
fn all(outbox: &mut Outbox, slot: u32, at_most: usize) -> Vec<u8> {
    let mut got = Vec::new();
    while outbox.owed(slot) > 0 {
        outbox
            .deliver(slot, |bytes| {
                let n = bytes.len().min(at_most);
                got.extend_from_slice(&bytes[..n]);
                Ok(n)
            })
            .unwrap();
    }
    got
}

#[test]
fn fault_a10_a_letter_to_somebody_gone_goes_to_nobody_else() {
    let mut outbox = Outbox::default();
    outbox.open(id(0, 1));
    outbox.shut(0);
    outbox.open(id(0, 2));
    outbox.say([id(0, 1)], |out| out.extend_from_slice(b"for the first"));
    assert_eq!(outbox.owed(0), 0);
    outbox.say([id(7, 1)], |out| out.extend_from_slice(b"for nobody"));
    assert!(!outbox.has_listed());
}

#[test]
fn stretches_that_do_not_touch_arrive_in_order() {
    let mut outbox = Outbox::default();
    (0..3).for_each(|slot| outbox.open(id(slot, slot + 1)));
    let (a, b, c) = (id(0, 1), id(1, 2), id(2, 3));
    outbox.say([b, c], |out| out.extend_from_slice(b"from a;"));
    outbox.say([a, c], |out| out.extend_from_slice(b"from b;"));
    outbox.say([a, b], |out| out.extend_from_slice(b"from c;"));
    assert_eq!(all(&mut outbox, 0, 3), b"from b;from c;");
    assert_eq!(all(&mut outbox, 1, 99), b"from a;from c;");
    assert_eq!(all(&mut outbox, 2, 1), b"from a;from b;");
    outbox.trim();
}

#[test]
fn what_a_socket_did_not_take_comes_before_what_is_said_later() {
    let mut outbox = Outbox::default();
    outbox.open(id(0, 1));
    outbox.say([id(0, 1)], |out| out.extend_from_slice(b"first "));
    assert_eq!(outbox.deliver(0, |_| Ok(2)).unwrap(), 2);
    outbox.trim();
    outbox.say([id(0, 1)], |out| out.extend_from_slice(b"second"));
    assert_eq!(all(&mut outbox, 0, 4), b"rst second");
    assert!(
        outbox.lanes[0].kept.is_none(),
        "a lane at rest owns nothing"
    );
}

#[test]
fn the_first_reason_to_leave_counts() {
    let mut outbox = Outbox::default();
    outbox.open(id(0, 1));
    outbox.leave(0, Closed::Refused, true);
    outbox.leave(0, Closed::Done, false);
    assert_eq!(
        outbox.fate(0),
        Fate::Leaving {
            why: Closed::Refused,
            linger: true
        }
    );
}

#[test]
fn a_lane_at_rest_is_small() {
    assert!(size_of::<Lane>() <= 24, "{} bytes", size_of::<Lane>());
}

#[test]
fn fault_b16_a_letter_to_somebody_who_has_left_goes_nowhere() {
    let mut outbox = Outbox::default();
    outbox.open(id(0, 1));
    outbox.leave(0, Closed::Done, true);
    outbox.say([id(0, 1)], |out| out.extend_from_slice(b"last words"));
    assert_eq!(all(&mut outbox, 0, 99), b"last words");
    outbox.seal(0);
    outbox.say([id(0, 1)], |out| out.extend_from_slice(b"too late"));
    assert_eq!(outbox.owed(0), 0);
}
