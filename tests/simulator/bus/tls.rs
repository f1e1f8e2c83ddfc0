//! A bus through TLS: the session that is begun behind what NATS says first, and all that can go wrong with it.

use super::*;

/// Servers that have met a bus; all of them speak TLS.
fn through_tls(count: usize) -> Servers {
    Servers::through(count, Random::new(0), 0, 0, [true, true])
}

/// How often the bus was dialled.
fn dials(servers: &Servers) -> usize {
    let world = servers.world.borrow();
    world.wires.iter().filter(|wire| wire.is_bus).count()
}

/// Whether what is said on one server is heard on the other.
fn converses(servers: &mut Servers) {
    let [eva, bob] = servers.pair();
    servers.says(eva, "hello\n");
    servers.settles();
    assert_eq!(texts(&servers.hears(bob)), ["hello"]);
}

#[test]
fn what_is_said_goes_through_the_session_and_nothing_before_it() {
    let mut servers = through_tls(2);
    // The bus takes nothing but records: it would fail on anything else.
    converses(&mut servers);
    assert_eq!(dials(&servers), 2);
    let link = servers.world.borrow().links(0)[0];
    {
        let mut world = servers.world.borrow_mut();
        world.nats.is_lame(link);
        world.send_said();
    }
    servers.passes(3 * SECOND);
    assert_eq!(dials(&servers), 3, "it heeds what comes by it");
    converses(&mut servers);
}

#[test]
fn a_server_without_tls_is_told_nothing_and_one_with_it_neither() {
    for [these, bus] in [[true, false], [false, true]] {
        let mut servers = Servers::through(1, Random::new(0), 0, 0, [these, bus]);
        servers.passes(20 * SECOND);
        let world = servers.world.borrow();
        assert_eq!(
            (world.nats.heard, world.nats.logins),
            (0, 0),
            "nobody falls back"
        );
        drop(world);
        // It is not dialled in a hurry.
        assert!((4..20).contains(&dials(&servers)), "{}", dials(&servers));
    }
}

#[test]
fn fault_d12_what_is_put_behind_the_first_words_of_the_bus_is_not_believed() {
    for behind in [
        "x",
        "-ERR 'Slow Consumer'\r\n",
        "PING\r\n",
        "PONG\r\n",
        "INFO {\"headers\":true,\"jetstream\":true}\r\n",
        "MSG onepoll._.room.6c6f626279 1 3\r\nx\r\n",
        "\u{2}\u{1}",
    ] {
        let mut servers = through_tls(2);
        servers.world.borrow_mut().nats.behind = behind.into();
        servers.passes(3 * SECOND);
        {
            let mut world = servers.world.borrow_mut();
            assert_eq!((world.nats.heard, world.nats.logins), (0, 0), "{behind:?}");
            assert!(world.links(0).is_empty() && world.links(1).is_empty());
            world.nats.behind.clear();
        }
        assert!(dials(&servers) > 4, "another one is dialled");
        servers.passes(10 * SECOND);
        converses(&mut servers);
    }
}

#[test]
fn fault_b15_a_handshake_that_is_cut_off_at_any_byte_leads_to_the_next() {
    for way in 0..2 {
        let mut begins = None;
        // What a whole beginning takes is found as it goes.
        for at in 0..1200 {
            let mut servers = through_tls(1);
            servers.world.borrow_mut().severs[way] = Some(at);
            servers.passes(2 * SECOND);
            let world = servers.world.borrow();
            assert!(world.severs[way].is_none(), "it was cut");
            assert_eq!(world.links(0).len(), 1, "{way}, {at}: the next one is good");
            if world.nats.logins > 1 {
                begins = Some(at);
                break;
            }
        }
        assert!(begins.is_some_and(|bytes| bytes > 200), "{way}: {begins:?}");
    }
}

#[test]
fn fault_d3_a_bus_that_is_silent_in_the_handshake_is_not_waited_for() {
    let mut servers = through_tls(1);
    servers.world.borrow_mut().nats.is_mute = true;
    servers.passes(2 * SECOND);
    assert_eq!(dials(&servers), 1);
    servers.passes(8 * SECOND);
    assert!(dials(&servers) > 2, "it was left after three seconds");
    assert!(servers.world.borrow().links(0).len() <= 1, "and closed");
    servers.world.borrow_mut().nats.is_mute = false;
    servers.passes(10 * SECOND);
    let mut world = servers.world.borrow_mut();
    assert!(world.nats.logins > 0);
    // What it counts of that.
    world.nats.is_mute = true;
    drop(world);
    let figures = servers.loops[0].as_ref().expect("it lives").figures();
    let shown = format!("{figures:?}");
    assert!(shown.contains("onepoll_tls_handshakes_total"));
    let counters = servers.loops[0].as_ref().expect("it lives").counters();
    assert!(counters.tls_handshakes.failed >= 2);
    assert_eq!(counters.tls_handshakes.completed, 1);
}

#[test]
fn fault_d12_a_server_that_waits_for_the_first_words_of_the_bus_says_nothing_itself() {
    for stops in [false, true] {
        let mut servers = through_tls(1);
        // The bus has answered the dial, and does not say what it is.
        servers.world.borrow_mut().nats.is_slow_to_greet = true;
        servers.passes(2 * SECOND);
        if stops {
            servers.stops(0);
        }
        servers.passes(SECOND / 2);
        let world = servers.world.borrow();
        assert_eq!((world.nats.heard, world.nats.logins), (0, 0));
    }
}

#[test]
fn a_server_that_is_stopped_in_the_handshake_does_not_wait_for_it() {
    for (is_mute, is_slow) in [(true, false), (false, true)] {
        let mut servers = through_tls(1);
        {
            let nats = &mut servers.world.borrow_mut().nats;
            (nats.is_mute, nats.is_slow_to_greet) = (is_mute, is_slow);
        }
        servers.passes(SECOND / 2);
        assert_eq!(servers.world.borrow().links(0).len(), 1);
        servers.stops(0);
        servers.passes(SECOND / 2);
        assert!(servers.loops[0].is_none(), "it has ended");
        assert!(servers.world.borrow().links(0).is_empty());
    }
}
