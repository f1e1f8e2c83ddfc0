"""Faults of the reactor and of streams (tables A and B), with the real binary on loopback."""

import contextlib
import hashlib
import os
import resource
import select
import signal
import threading
import time

from behind import without
from harness import DEADLINE, Case, Shared, dial, everywhere, left, main, read_to_the_end

from test_chat import Member
from test_life import until


class Accept(Case):
    """A1 to A5, A12: who gets in, and who does not."""

    @without("secret", "a connection that is not accepted gets no challenge")
    @without("tls", "a connection that is not accepted makes no handshake")
    def test_fault_a1_emfile_on_accept(self):
        server = self.serve("echo://127.0.0.1:0")
        address = server.at("echo")
        old = self.dial(address).say(b"first").hears(b"first")
        # Room for ten more descriptors and no further.
        limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        highest = max(server.descriptors_now())
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (highest + 11, limits[1]))

        peers = [self.dial(address).say(b"%d" % n) for n in range(200)]
        peers[0].hears(b"0")
        self.polls(server, "accepts_failed")
        # Existing connections are served, and the loop does not spin: listeners rest. Those
        # hundred exchanges are a hundred turns or so, and a busy loop would be millions.
        before = server.counters()
        for n in range(100):
            old.say(b"still %d" % n).hears(b"still %d" % n)
        select.select([], [], [], 0.3)  # three rests
        after = server.counters()
        self.assertLess(after["turns"] - before["turns"], 1000)
        self.assertLess(after["accepts_failed"] - before["accepts_failed"], 100)

        # After each close one more of those who queue is let in, without any new connect; the
        # kernel's queue is in order, so it is known who.
        inside = after["connections"] - 1  # `old` is the one
        self.assertIn(inside, range(1, 12))
        for n in range(1, inside):
            peers[n].hears(b"%d" % n)
        for n in range(200):
            peers[n].close()
            if n + inside < 200:
                peers[n + inside].hears(b"%d" % (n + inside))
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)
        old.say(b"last").hears(b"last").close()
        self.assertEqual(server.rests()["connections_opened"], 201)
        server.drain()

    def polls(self, server, counter):
        until = time.monotonic() + DEADLINE
        while not server.counters()[counter]:
            assert left(until), "%s stays 0" % counter
        return True

    @without("secret", "a server that is suspended sends no challenge")
    @without("tls", "a server that is suspended makes no handshake")
    def test_fault_a4_reset_before_accept(self):
        server = self.serve("echo://127.0.0.1:0", "chat://127.0.0.1:0", "greeting://127.0.0.1:0?greeting=hello")
        with server.suspended():
            for service in ("echo", "chat", "greeting"):
                for n in range(50):
                    peer = self.dial(server.at(service))
                    if n % 2:
                        peer.say(b"hello\n")
                    peer.reset()
        with dial(server.at("echo")) as peer:
            peer.say(b"x").hears(b"x")
        with dial(server.at("greeting")) as peer:
            peer.hears(b"hello").ended()
        with dial(server.at("chat")) as peer:
            Member(peer, "ann")
        server.rests()
        server.drain()

    def test_fault_a5_a_flood_above_the_limit(self):
        server = self.serve("echo://127.0.0.1:0?max-connections=20")
        address = server.at("echo")
        inside = [self.dial(address).say(b"x").hears(b"x") for _ in range(20)]
        for n in range(500):
            with dial(address, source=("127.0.%d.%d" % (n % 200, n % 99 + 2), 0)) as outside:
                outside.gone()
        for peer in inside:
            peer.say(b"y").hears(b"y")
        now = server.counters()
        self.assertEqual((now["connections"], now["refused"]["listener_full"]), (20, 500))
        # It recovers with the first who leaves.
        inside.pop().half_close().ended().close()
        # Through TLS the end is said before the connection is gone.
        until(lambda: server.counters()["connections"] == 19, "nobody has left")
        self.dial(address).say(b"x").hears(b"x").close()
        for peer in inside:
            peer.close()
        server.rests()
        server.drain()

    def test_fault_a5_a20_the_total(self):
        server = self.serve(
            "echo://127.0.0.1:0", "discard://127.0.0.1:0", config="[limits]\nconnections = 10\n"
        )
        inside = [self.dial(server.at("echo")).say(b"x").hears(b"x") for _ in range(10)]
        for service in ("echo", "discard") * 20:
            with dial(server.at(service)) as outside:
                outside.gone()
        self.assertEqual(server.counters()["refused"]["full"], 40)
        for peer in inside:
            peer.half_close().ended().close()
        self.dial(server.at("discard")).half_close().ended().close()
        server.rests()
        server.drain()

    def test_fault_a12_everybody_resets_at_once(self):
        server = self.serve("echo://127.0.0.1:0")
        address = server.at("echo")
        for _ in range(2):
            peers = [self.dial(address).enters() for _ in range(1000)]
            for peer in peers:
                peer.say(b"x")
            for peer in peers:
                peer.hears(b"x")
            with server.suspended():
                for n, peer in enumerate(peers):
                    if n % 3:
                        peer.say(b"more")
                    peer.reset()
        with dial(address) as peer:
            # A session that ends without saying so is cut.
            peer.say(b"y").hears(b"y").half_close().ended()
        now = server.rests()
        self.assertEqual(now["connections_opened"], 2001)
        self.assertEqual(now["closed"]["gone"] + now["closed"]["ended"] + now["closed"]["done"], 2001)
        server.drain()

    def test_fault_a12_b17_everybody_resets_with_an_answer_on_its_way(self):
        server = self.serve("echo://127.0.0.1:0", "upper://127.0.0.1:0?once=true")
        for service in ("echo", "upper"):
            for _ in range(200):
                self.dial(server.at(service)).say(b"x" * 3000 + b"\n").reset()
        with dial(server.at("echo")) as peer:
            peer.say(b"y").hears(b"y")
        server.rests()
        server.drain()


class Connections(Shared):
    """A13, A14, A18, B1, B3, B13, B16, B17 on one server."""

    endpoints = {
        "echo": "echo",
        "discard": "discard",
        "upper": "upper",
        "once": "upper?once=true",
        "never": "upper?once=true&settle=never",
        "wait": "greeting?greeting=hello&wait=true",
        "chat": "chat?flood=off",
        "raw": "command?framing=raw&auth=none",
        "decimal": "command?framing=decimal&auth=none",
        "i32": "command?framing=i32&auth=none",
        "json": "command?framing=json&auth=none",
    }
    places = ("tcp4", "unix")

    @everywhere("echo")
    def test_fault_a13_half_close_and_then_a_reply_to_a_slow_reader(self, dial):
        peer = dial()
        data = os.urandom(1 << 20) * 8  # more than the kernel holds for who does not read
        talker = threading.Thread(target=lambda: (peer.link.sendall(data), peer.half_close()))
        talker.start()
        heard = bytearray()
        while len(heard) < 100000:  # slowly
            heard += peer.takes(1000)
        heard += peer.rest()
        talker.join(DEADLINE)
        self.assertTrue(heard == data, "%d bytes came back of %d" % (len(heard), len(data)))

    def test_fault_a14_half_close_and_no_request(self):
        for (name, place), address in self.addresses.items():
            with self.subTest(name=name, place=place):
                self.dial(address).half_close().rest()

    def test_fault_a14_a_hundred_of_them(self):
        peers = [self.call(name) for name in self.endpoints for _ in range(10)]
        for peer in peers:
            peer.half_close()
        for peer in peers:
            peer.rest()
        before = self.server.rests()["turns"]
        self.assertLess(self.server.counters()["turns"] - before, 100)  # nobody spins

    def test_fault_a18_a_storm_of_signals(self):
        peer = self.call("echo")
        stop = threading.Event()

        def storm():
            while not stop.wait(0.001):
                os.kill(self.server.pid, signal.SIGUSR1)

        stormer = threading.Thread(target=storm)
        stormer.start()
        try:
            for n in range(500):
                peer.say(b"%d" % n * 100).hears(b"%d" % n * 100)
            data = os.urandom(1 << 20)
            talker = threading.Thread(target=peer.link.sendall, args=(data,))
            talker.start()
            peer.hears(data)
            talker.join(DEADLINE)
        finally:
            stop.set()
            stormer.join(DEADLINE)

    @everywhere("echo")
    def test_fault_b13_64_mib_unread_and_then_read(self, dial):
        peer = dial()
        block = os.urandom(1 << 20)
        before = self.server.resident_bytes()
        peer.link.setblocking(False)
        sent = 0
        # Until nothing more fits: both pipes are full, and the server waits.
        while sent < 64 << 20 and select.select([], [peer.link], [], 0.2)[1]:
            with contextlib.suppress(BlockingIOError):
                sent += peer.link.send(block[sent % len(block) :])
        self.assertLess(sent, 64 << 20, "somebody buffers without limit")
        self.assertLess(self.server.resident_bytes() - before, 8 << 20)
        peer.link.settimeout(DEADLINE)

        def talk():
            so_far = sent
            while so_far < 64 << 20:
                so_far += peer.link.send(block[so_far % len(block) :])
            peer.half_close()

        talker = threading.Thread(target=talk)
        talker.start()
        size, digest = read_to_the_end(peer.link)
        talker.join(DEADLINE)
        self.assertEqual(size, 64 << 20)
        expected = hashlib.sha256()
        for _ in range(64):
            expected.update(block)
        self.assertEqual(digest, expected.hexdigest())

    @everywhere("wait")
    def test_fault_b16_the_last_word_arrives_whatever_was_unread(self, dial):
        # The server closes with our input unread: that must not become a reset.
        for _ in range(5):
            peer = dial()
            with contextlib.suppress(BrokenPipeError):
                peer.say(b"x" * 300000)
            peer.hears(b"hello").ended()

    @everywhere("once")
    def test_fault_b16_an_answer_with_more_input_behind_it(self, dial):
        peer = dial().say(b"hello\n").hears(b"HELLO\n")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            peer.say(b"x" * 100000)
        peer.gone()

    @everywhere("never")
    def test_fault_b9_a_burst_without_end_is_refused(self, dial):
        peer = dial()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(100):
                peer.say(b"x" * 65536)
        peer.gone()

    @everywhere("chat")
    def test_fault_b17_the_room_talks_to_somebody_who_is_gone(self, dial):
        ann, bob = Member(dial(), "ann"), Member(dial(), "bob")
        for n in range(20):
            eve = Member(dial(), "eve%d" % n)
            ann.notice("eve%d" % n)
            eve.peer.reset() if n % 2 else eve.peer.close()
            for _ in range(3):  # the first write succeeds, the second meets the reset
                bob.says("anyone?\n")
                ann.hears("bob: anyone?")

    @everywhere("echo")
    def test_fault_b17_a_closed_peer_with_much_owed(self, dial):
        for _ in range(10):
            peer = dial()
            peer.link.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    peer.link.send(bytes(1 << 16))
            peer.close()
        dial().say(b"x").hears(b"x")


class Limits(Case):
    def test_fault_b11_a_slow_reader_in_the_room_is_let_go(self):
        server = self.serve(
            "chat://127.0.0.1:0?flood=off",
            config='[limits]\nchat-soft = "256K"\nchat-hard = "1M"\n',
        )
        address = server.at("chat")
        ann, bob = Member(self.dial(address), "ann"), Member(self.dial(address), "bob")
        eve = Member(self.dial(address, rcvbuf=4096), "eve")  # and reads no more
        ann.notice("bob")
        ann.notice("eve")
        bob.notice("eve")
        before = server.resident_bytes()
        text = "x" * 30000
        # What the kernel buffers for eve (some 4 MB) and the limit, twice over.
        for n in range(400):
            ann.says("%d %s\n" % (n, text))
            bob.hears("ann: %d %s" % (n, text))
        bob.told("eve left")
        ann.notice("eve", "left")
        ann.says("without her\n")
        bob.hears("ann: without her")
        now = server.counters()
        self.assertEqual((now["connections"], now["closed"]["too_slow"]), (2, 1))
        self.assertLess(server.resident_bytes() - before, 16 << 20)
        eve.peer.gone()
        for member in (ann, bob, eve):
            member.peer.close()
        server.rests()
        server.drain()

    def test_fault_b11_a_member_above_the_soft_limit_has_its_time(self):
        server = self.serve(
            "chat://127.0.0.1:0?flood=off",
            config='[limits]\nchat-soft = "64K"\nchat-soft-time = "200ms"\nchat-hard = "64M"\n',
        )
        address = server.at("chat")
        ann, bob = Member(self.dial(address), "ann"), Member(self.dial(address), "bob")
        Member(self.dial(address, rcvbuf=4096), "eve")
        text = "x" * 30000
        for n in range(300):
            ann.says("%d %s\n" % (n, text))
            bob.hears("ann: %d %s" % (n, text))
        bob.told("eve left")
        self.assertEqual(server.counters()["closed"]["too_slow"], 1)
        ann.peer.close()
        bob.peer.close()
        server.rests()
        server.drain()

    def test_an_idle_connection_is_closed_and_a_busy_one_is_not(self):
        server = self.serve(
            "echo://127.0.0.1:0?idle-timeout=300ms", "chat://127.0.0.1:0?idle-timeout=300ms"
        )
        idle, busy = self.dial(server.at("echo")), self.dial(server.at("echo"))
        member = self.dial(server.at("chat")).enters()
        begun = time.monotonic()
        idle.say(b"x").hears(b"x")
        while time.monotonic() < begun + 0.6:  # twice its time
            busy.say(b"y").hears(b"y")
            select.select([], [], [], 0.03)
        idle.ended().close()
        member.rest()
        member.close()
        busy.say(b"z").hears(b"z").ended().close()
        self.assertEqual(server.rests()["closed"]["idle"], 3)
        server.drain()

    def test_fault_a17_data_that_came_in_time_wins_over_the_timer(self):
        server = self.serve("echo://127.0.0.1:0?idle-timeout=300ms")
        peer = self.dial(server.at("echo")).say(b"x").hears(b"x")
        with server.suspended():
            peer.say(b"in time")
            select.select([], [], [], 0.4)  # its deadline passes meanwhile
        peer.hears(b"in time").ended().close()
        server.rests()
        server.drain()


if __name__ == "__main__":
    main()
