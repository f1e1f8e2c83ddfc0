"""U1 and U2, and the faults of datagrams: over IPv4 and IPv6, one socket, no connection."""

import contextlib
import itertools
import locale
import os
import select
import socket
import struct
import time

from harness import DEADLINE, SILENCE, Case, Shared, everywhere, ipv6_exists, main, shown

ZONE = "America/St_Johns"  # half an hour off, and with a summer time
LARGEST = 65507  # what a datagram over IPv4 can hold


class Sender:
    """A datagram socket as a script. One that is connected hears of its own errors."""

    def __init__(self, address, source=None):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.link = socket.socket(family, socket.SOCK_DGRAM)
        if source:
            self.link.bind(source)
        self.link.settimeout(DEADLINE)
        self.address = address

    def close(self):
        self.link.close()

    def say(self, data):
        self.link.sendto(data, self.address)
        return self

    def heard(self, deadline=DEADLINE):
        self.link.settimeout(deadline)
        try:
            data, source = self.link.recvfrom(1 << 16)
        except socket.timeout:
            raise AssertionError("no answer in time") from None
        assert source[1] == self.address[1], "somebody else answered: %r" % (source,)
        return data

    def hears(self, expected):
        data = self.heard()
        assert data == expected, "heard %s, expected %s" % (shown(data), shown(expected))
        return self

    def silence(self, seconds=SILENCE):
        readable, _, _ = select.select([self.link], [], [], seconds)
        assert not readable, "heard %s, not silence" % shown(self.link.recv(1 << 16))
        return self


class Datagrams(Shared):
    endpoints = {"echo": "echo", "upper": "upper", "time": "time"}
    places = ("udp4", "udp6")
    env = {"TZ": ZONE, "LC_ALL": "C"}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.addClassCleanup(locale.setlocale, locale.LC_ALL, locale.setlocale(locale.LC_ALL))
        locale.setlocale(locale.LC_ALL, "C")
        before = os.environ.get("TZ")

        def restore():
            os.environ.pop("TZ", None)
            if before is not None:
                os.environ["TZ"] = before
            time.tzset()

        cls.addClassCleanup(restore)
        os.environ["TZ"] = ZONE
        time.tzset()

    def dial(self, address, **how):
        sender = Sender(address, **how)
        self.addCleanup(sender.close)
        return sender

    def prints(self, sender, form, raw=None):
        """The answer is what CPython prints, before or after it came."""
        request = form.encode() if raw is None else raw
        for _ in range(5):
            # The second may turn in between, once.
            before = time.strftime(form)
            answer = sender.say(request).heard()
            after = time.strftime(form)
            if answer in (before.encode(), after.encode()):
                return
        self.fail("%r: heard %s, CPython prints %r" % (form, shown(answer), after))

    # U1.

    @everywhere("echo")
    def test_u1_echo(self, dial):
        every = bytes(range(256))
        dial().say(every).hears(every).say(b"x").hears(b"x")

    @everywhere("upper")
    def test_u1_upper(self, dial):
        every = bytes(range(256))
        sender = dial()
        for data in (every, "straße 你好".encode(), "你好abc".encode("gbk")):
            sender.say(data).hears(data.upper())

    @everywhere("echo")
    def test_u1_datagrams_do_not_stick(self, dial):
        sender = dial()
        for n in range(20):
            sender.say(b"sbzz%d" % n)
        for n in range(20):
            sender.hears(b"sbzz%d" % n)

    @everywhere("echo")
    def test_u1_every_sender_hears_its_own(self, dial):
        senders = [dial() for _ in range(20)]
        for n, sender in enumerate(senders):
            sender.say(b"from %d" % n)
        for n, sender in enumerate(senders):
            sender.hears(b"from %d" % n)

    # U2.

    @everywhere("time")
    def test_u2_an_empty_format_is_the_date_twice(self, dial):
        self.prints(dial(), "%Y-%m-%d %x", raw=b"")

    @everywhere("time")
    def test_u2_every_directive_is_cpythons(self, dial):
        sender = dial()
        for directive in "aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ%":
            self.prints(sender, "%" + directive)
        self.prints(sender, "%Y-%m-%d %H:%M:%S 你好 %A%%")

    @everywhere("time")
    def test_u2_flags_and_modifiers_are_cpythons(self, dial):
        sender = dial()
        for prefix, directive in itertools.product(("E", "O", "_", "-", "0", "^", "#"), "aBdHjpYZ"):
            self.prints(sender, "%" + prefix + directive)

    @everywhere("time")
    def test_fault_e7_malformed_formats_are_text(self, dial):
        sender = dial()
        for form in ("%Q", "100%", "%E", "%", "no directive", "%%Y"):
            self.prints(sender, form)

    @everywhere("time")
    def test_fault_e7_what_is_no_text_does_no_harm(self, dial):
        for form in (b"\xff\xfe%Y", b"%Y\x00%Y", b"%#z%.2f", b"%" * 60000, b"\xf0\x9f", b"%\xe4"):
            dial().say(form)  # an error text or silence; never the end
        self.prints(dial(), "%Y")

    @everywhere("time")
    def test_fault_e6_widths_are_literal_text(self, dial):
        dial().say(b"%1536Y").hears(b"%1536Y").say(b"%10000000000d").hears(b"%10000000000d")

    @everywhere("time")
    def test_fault_e6_an_answer_has_at_most_512_bytes(self, dial):
        sender = dial()
        for form in (b"%c" * 200, b"%A%B%c" * 1000, b"x" * LARGEST):
            sender.say(form)
            try:
                answer = sender.heard(deadline=SILENCE)
            except AssertionError:
                continue  # silence amplifies nothing
            self.assertLessEqual(len(answer), 512)
        self.prints(dial(), "%Y")

    # The faults.

    @everywhere("echo")
    def test_fault_e1_an_empty_datagram_is_answered_by_an_empty_one(self, dial):
        sender = dial()
        for _ in range(3):
            sender.say(b"").hears(b"")
        sender.silence().say(b"and on").hears(b"and on")

    @everywhere("upper")
    def test_fault_e1_upper_too(self, dial):
        dial().say(b"").hears(b"").say(b"on").hears(b"ON")

    @everywhere("echo")
    def test_fault_e2_the_largest_datagram_comes_back_whole(self, dial):
        data = os.urandom(LARGEST)
        dial().say(data).hears(data)
        dial().say(data[:-1]).hears(data[:-1])

    @everywhere("upper")
    def test_fault_e2_upper_too(self, dial):
        dial().say(b"x" * LARGEST).hears(b"X" * LARGEST)

    def test_fault_e2_one_more_is_an_error_for_the_sender(self):
        with self.assertRaises(OSError):
            self.call("echo", "udp4").say(bytes(LARGEST + 1))

    @everywhere("echo")
    def test_fault_e3_e4_a_sender_that_has_gone_is_no_trouble(self, dial):
        # The answers meet closed ports: ICMP comes back, and the socket lives.
        for _ in range(50):
            sender = dial()
            sender.say(b"nobody will hear this")
            sender.close()
        dial().say(b"still there?").hears(b"still there?")

    def test_fault_e8_our_own_ports_are_not_answered(self):
        host, port = self.addresses["echo", "udp4"]
        before = self.server.counters()["datagrams_unanswerable"]
        # The port of the time service, at another of loopback's addresses.
        own = self.addresses["time", "udp4"][1]
        self.dial((host, port), source=("127.0.0.2", own)).say(b"loop").silence()
        self.assertEqual(self.server.counters()["datagrams_unanswerable"], before + 1)
        self.call("echo", "udp4").say(b"on").hears(b"on")

    def test_fault_e8_well_known_ports_are_not_answered(self):
        try:
            sender = self.dial(self.addresses["echo", "udp4"], source=("127.0.0.2", 7))
        except PermissionError:
            self.skipTest("only root has port 7; the unit test of the rule does not need it")
        before = self.server.counters()["datagrams_unanswerable"]
        sender.say(b"loop").silence()
        self.assertEqual(self.server.counters()["datagrams_unanswerable"], before + 1)

    def test_fault_e3_e8_forged_sources_are_not_answered(self):
        host, port = self.addresses["echo", "udp4"]
        try:
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        except PermissionError:
            self.skipTest("only root forges; the unit test of the rule does not need it")
        before = self.server.counters()
        with contextlib.closing(raw):
            raw.settimeout(DEADLINE)
            for source in (0, port):  # port 0 (an answer would be EINVAL), and the very socket
                raw.sendto(struct.pack(">HHHH", source, port, 8 + 4, 0) + b"loop", (host, 0))
        self.call("echo", "udp4").say(b"on").hears(b"on")
        after = self.server.counters()
        unanswerable = after["datagrams_unanswerable"] - before["datagrams_unanswerable"]
        self.assertEqual(unanswerable, 2, after)

    def test_fault_e9_a_flood_leaves_the_others_their_turn(self):
        flood = self.call("echo", "udp4")
        flood.link.setblocking(False)
        polite = self.call("time", "udp4")
        for n in range(20000):
            with contextlib.suppress(BlockingIOError):
                flood.link.sendto(b"flood", flood.address)
            if n % 2000 == 0:
                self.prints(polite, "%Y")
        flood.close()
        self.call("echo", "udp4").say(b"on").hears(b"on")


def own_address():
    """An IPv4 address of this host that is not loopback's, if there is one; sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        host = probe.getsockname()[0]
    return None if host.startswith("127.") else host


class Open(Case):
    def test_fault_e6_off_loopback_an_answer_hardly_grows(self):
        server = self.serve("time://0.0.0.0:0?open=true")
        sender = Sender(("127.0.0.1", server.at("time")[1]))
        self.addCleanup(sender.close)
        for form in (b"", b"%Y", b"%c" * 3, b"%c" * 30, b"%A %B %c %D" * 20, b"%r%R%T%x%X%c" * 40):
            answer = sender.say(form).heard()
            self.assertLessEqual(len(answer), len(form) + 64, form)
        server.stop()

    def test_fault_e8_two_servers_do_not_talk_for_ever(self):
        try:
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        except PermissionError:
            self.skipTest("only root forges; the unit test of the rule does not need it")
        # Loopback is exempt from the limit; so this needs an address of another interface.
        host = own_address()
        if not host:
            self.skipTest("this host has no address but loopback's")
        one, two = (self.serve("echo+udp://%s:0?open=true" % host) for _ in range(2))
        port = one.at("echo", "udp")[1]
        with contextlib.closing(raw):
            source = two.at("echo", "udp")[1]
            raw.sendto(struct.pack(">HHHH", source, port, 8 + 4, 0) + b"loop", (host, 0))
        until = time.monotonic() + DEADLINE
        before, now = -1, 0
        while now == 0 or now != before:
            self.assertLess(time.monotonic(), until, "they still talk after %d" % now)
            before = now
            select.select([], [], [], SILENCE)
            now = one.counters()["datagrams_in"]
        for server in (one, two):
            sender = Sender(server.at("echo", "udp"))
            self.addCleanup(sender.close)
            sender.say(b"on").hears(b"on")
            server.stop()

    def test_u1_dual_stack(self):
        if not ipv6_exists():
            self.skipTest("this host has no IPv6")
        server = self.serve("echo+udp://[::]:0?open=true")
        for host in ("127.0.0.1", "::1"):
            sender = Sender((host, server.at("echo", "udp")[1]))
            self.addCleanup(sender.close)
            sender.say(b"x").hears(b"x")
        server.stop()


if __name__ == "__main__":
    main()
