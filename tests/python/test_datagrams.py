"""U1, U2, U5 to U8, and the faults of datagrams: over IPv4 and IPv6, one socket, no connection."""

import contextlib
import itertools
import json
import os
import re
import select
import socket
import struct
import time

from harness import (
    CHARACTERS,
    DEADLINE,
    SILENCE,
    Case,
    Clocked,
    Server,
    dated,
    everywhere,
    ipv6_exists,
    main,
    shown,
)

LARGEST = 65507  # what a datagram over IPv4 can hold
SECONDS_1900_TO_1970 = 2208988800


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

    def say_connected(self, data):
        self.link.send(data)
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


class Datagrams(Clocked):
    endpoints = {
        "echo": "echo",
        "upper": "upper",
        "time": "time",
        "daytime": "daytime",
        "time868": "time868",
        "sntp": "sntp",
        "sntp-3": "sntp?stratum=3",
        "chargen": "chargen",
    }
    places = ("udp4", "udp6")

    def dial(self, address, **how):
        sender = Sender(address, **how)
        self.addCleanup(sender.close)
        return sender

    def formats(self, sender, form, raw=None):
        """The answer is what CPython prints."""
        request = form.encode() if raw is None else raw
        self.prints(lambda: sender.say(request).heard(), form)

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
        self.formats(dial(), "%Y-%m-%d %x", raw=b"")

    @everywhere("time")
    def test_u2_every_directive_is_cpythons(self, dial):
        sender = dial()
        for directive in "aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ%":
            self.formats(sender, "%" + directive)
        self.formats(sender, "%Y-%m-%d %H:%M:%S 你好 %A%%")

    @everywhere("time")
    def test_u2_flags_and_modifiers_are_cpythons(self, dial):
        sender = dial()
        for prefix, directive in itertools.product(("E", "O", "_", "-", "0", "^", "#"), "aBdHjpYZ"):
            self.formats(sender, "%" + prefix + directive)

    @everywhere("time")
    def test_fault_e7_malformed_formats_are_text(self, dial):
        sender = dial()
        for form in ("%Q", "100%", "%E", "%", "no directive", "%%Y"):
            self.formats(sender, form)

    @everywhere("time")
    def test_fault_e7_what_is_no_text_does_no_harm(self, dial):
        for form in (b"\xff\xfe%Y", b"%Y\x00%Y", b"%#z%.2f", b"%" * 60000, b"\xf0\x9f", b"%\xe4"):
            dial().say(form)  # an error text or silence; never the end
        self.formats(dial(), "%Y")

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
        self.formats(dial(), "%Y")

    # U5 to U8.

    @everywhere("daytime")
    def test_u5_daytime_is_one_line_whatever_is_asked(self, dial):
        sender = dial()
        for request in (b"", b"%H", bytes(LARGEST)):
            self.formats(sender, "%A, %B %-d, %Y %H:%M:%S%z\r\n", raw=request)

    @everywhere("time868")
    def test_u6_seconds_since_1900(self, dial):
        sender = dial()
        for request in (b"", b"%H", bytes(LARGEST)):
            self.counts(lambda: since_1900(sender.say(request).heard()))

    def test_u6_rdate_reads_it(self):
        host, port = self.addresses["time868", "udp4"]
        self.counts(lambda: dated(self.judged("rdate", "-p", "-u", "-o", str(port), host)))

    @everywhere("sntp")
    def test_u7_each_version_is_answered_in_its_own(self, dial):
        sender = dial()
        for version, poll in itertools.product((1, 2, 3, 4), (3, 6, 17)):
            transmit = os.urandom(8)
            request = ntp(version, 3, poll=poll, transmit=transmit)
            before = time.time()
            answer = sender.say(request).heard()
            after = time.time()
            self.assertEqual(len(answer), 48)
            first, stratum, poll_back, precision = struct.unpack_from(">BBbb", answer)
            self.assertEqual(first, version << 3 | 4, "no leap second, its version, a server")
            self.assertEqual((stratum, answer[12:16]), (10, b"LOCL"))
            self.assertEqual(poll_back, poll)
            self.assertIn(precision, range(-30, -5))
            delay, dispersion = struct.unpack_from(">II", answer, 4)
            self.assertEqual(delay, 0)
            self.assertIn(dispersion, range(1, 1 << 16), "below a second")
            self.assertEqual(answer[24:32], transmit)
            reference, receive, sent = (moment(answer[at : at + 8]) for at in (16, 32, 40))
            # The clock is read once a turn, which may have begun before this request came.
            self.assertLess(before - 1, receive)
            self.assertLessEqual(receive, sent)
            self.assertLessEqual(sent, after)
            self.assertLess(reference, receive)

    @everywhere("sntp-3")
    def test_u7_the_stratum_is_what_was_said(self, dial):
        self.assertEqual(dial().say(ntp(4, 3)).heard()[1], 3)

    @everywhere("sntp")
    def test_u7_extension_fields_and_authenticators_are_ignored(self, dial):
        sender = dial()
        for tail in (bytes(1), bytes(20), os.urandom(24), os.urandom(1000)):
            transmit = os.urandom(8)
            answer = sender.say(ntp(4, 3, transmit=transmit) + tail).heard()
            self.assertEqual((len(answer), answer[24:32]), (48, transmit))

    @everywhere("sntp")
    def test_u7_what_is_no_request_is_not_answered(self, dial):
        sender = dial()
        for version in range(8):
            for mode in range(8):
                if mode != 3 or version not in (1, 2, 3, 4):
                    sender.say(ntp(version, mode))
        for size in (0, 1, 4, 47):
            sender.say(ntp(4, 3)[:size])
        # Datagrams of one sender keep their order on loopback: the first answer is to the last.
        transmit = os.urandom(8)
        answer = sender.say(ntp(4, 3, transmit=transmit)).heard()
        self.assertEqual(answer[24:32], transmit)
        sender.silence()
        # An answer is no request: it could come from another server.
        sender.say(answer).silence()

    def test_u7_rdate_reads_it(self):
        host, port = self.addresses["sntp", "udp4"]
        self.counts(lambda: dated(self.judged("rdate", "-n", "-p", "-o", str(port), host)))

    def test_u7_chronyd_measures_by_it(self):
        host, port = self.addresses["sntp", "udp4"]
        # Four times a second: its usual two seconds between requests are for servers far away.
        source = "server %s port %d iburst minpoll -2 maxpoll -2" % (host, port)
        # -Q prints how wrong the clock is, and sets nothing.
        said = self.judged("chronyd", "-u", "root", "-Q", "-t", "8", source)
        wrong = re.search(r"System clock wrong by (-?[0-9.]+) seconds \(ignored\)", said)
        self.assertTrue(wrong, said)
        self.assertLess(abs(float(wrong[1])), 1, said)

    def test_u7_ntpdig_measures_by_it(self):
        self.needs("ntpdig", "unshare", "nsenter", "ip")
        if os.geteuid():
            self.skipTest("only root has a network of its own")
        # It knows one port, 123; in a network of the server's own that is free.
        alone = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
        server = Server("sntp://127.0.0.1:123", through=alone)
        self.addCleanup(server.kill)
        net = "--net=/proc/%d/ns/net" % server.pid
        said = self.judged("nsenter", net, "ntpdig", "-j", "-t", "5", "127.0.0.1")
        told = json.loads(said)
        self.assertEqual(told["stratum"], 10, said)
        self.assertLess(abs(told["offset"]), 1, said)
        server.stop()

    @everywhere("chargen")
    def test_u8_the_pattern_in_lengths_from_0_to_512(self, dial):
        sender = dial()
        lengths = set()
        for _ in range(200):
            answer = sender.say(b"whatever").heard()
            self.assertTrue(CHARACTERS.startswith(answer), answer)
            lengths.add(len(answer))
        self.assertLessEqual(max(lengths), 512)
        self.assertGreater(len(lengths), 50, "random lengths, so most differ")

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
        stays = dial()  # first, or it might have a port that an answer is still on its way to
        for _ in range(50):
            sender = dial()
            sender.say(b"nobody will hear this")
            sender.close()
        stays.say(b"still there?").hears(b"still there?")

    def test_fault_e8_our_own_ports_are_not_answered(self):
        host, port = self.addresses["echo", "udp4"]
        before = self.server.counters()["datagrams_unanswerable"]
        # The port of the time service, at another of loopback's addresses.
        own = self.addresses["time", "udp4"][1]
        self.dial((host, port), source=("127.0.0.2", own)).say(b"loop").silence()
        self.assertEqual(self.server.counters()["datagrams_unanswerable"], before + 1)
        self.call("echo", "udp4").say(b"on").hears(b"on")

    def test_fault_e8_a_port_of_ours_on_the_other_protocol_is_a_clients(self):
        # The kernel gives a client on IPv4 the number of any port that is free there.
        if not ipv6_exists():
            self.skipTest("this host has no IPv6")
        own = self.addresses["time", "udp6"][1]
        sender = self.dial(self.addresses["echo", "udp4"], source=("127.0.0.2", own))
        sender.say(b"hello").hears(b"hello")

    def test_fault_e8_well_known_ports_are_not_answered(self):
        try:
            sender = self.dial(self.addresses["echo", "udp4"], source=("127.0.0.2", 7))
        except PermissionError:
            self.skipTest("only root has port 7; the unit test of the rule does not need it")
        before = self.server.counters()["datagrams_unanswerable"]
        sender.say(b"loop").silence()
        self.assertEqual(self.server.counters()["datagrams_unanswerable"], before + 1)

    def test_fault_e8_port_123_is_answered_by_sntp_alone(self):
        for name, request in (("sntp", ntp(4, 3)), ("time868", b""), ("daytime", b"")):
            for port in (123, 37):
                try:
                    source = ("127.0.0.2", port)
                    sender = self.dial(self.addresses[name, "udp4"], source=source)
                except PermissionError:
                    self.skipTest("only root has port 123; the rule's own test does not need it")
                before = self.server.counters()["datagrams_unanswerable"]
                sender.say(request)
                if (name, port) == ("sntp", 123):
                    self.assertEqual(len(sender.heard()), 48)
                    refused = 0
                else:
                    sender.silence()
                    refused = 1
                after = self.server.counters()["datagrams_unanswerable"]
                self.assertEqual(after, before + refused, (name, port))
                sender.close()

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
                self.formats(polite, "%Y")
        flood.close()
        # What finds the socket's buffer full is lost, whoever sends it: asked again until it has room.
        other = self.call("echo", "udp4").say(b"on")
        until = time.monotonic() + DEADLINE
        while not select.select([other.link], [], [], 0.1)[0]:
            self.assertLess(time.monotonic(), until, "no answer in time")
            other.say(b"on")
        other.hears(b"on")


def since_1900(answer):
    """RFC 868's four bytes as Unix time."""
    (seconds,) = struct.unpack(">I", answer)
    return seconds - SECONDS_1900_TO_1970


def ntp(version, mode, poll=6, transmit=bytes(8)):
    """A packet of 48 bytes, as a client sends it: the rest may be anything."""
    return struct.pack(">BBbb", version << 3 | mode, 0, poll, -6) + os.urandom(36) + transmit


def moment(eight):
    """A timestamp of NTP as Unix time."""
    seconds, fraction = struct.unpack(">II", eight)
    return seconds - SECONDS_1900_TO_1970 + fraction / 2**32


def own_address():
    """An IPv4 address of this host that is not loopback's, if there is one; sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        host = probe.getsockname()[0]
    return None if host.startswith("127.") else host


def server_ports(count):
    """Free ports that the kernel gives to no client."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as ports:
        first = int(ports.read().split()[0])
    found = []
    for port in range(first - 1, 1024, -1):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no free ports below %d" % first)


class Open(Case):
    def test_fault_e6_off_loopback_an_answer_hardly_grows(self):
        server = self.serve("time://0.0.0.0:0?open=true")
        sender = Sender(("127.0.0.1", server.at("time")[1]))
        self.addCleanup(sender.close)
        for form in (b"", b"%Y", b"%c" * 3, b"%c" * 30, b"%A %B %c %D" * 20, b"%r%R%T%x%X%c" * 40):
            answer = sender.say(form).heard()
            self.assertLessEqual(len(answer), len(form) + 64, form)
        server.stop()

    def test_fault_e5_off_loopback_no_answer_is_longer_than_its_request_or_64_bytes(self):
        names = ("daytime", "time868", "chargen", "sntp")
        usual = {"sntp": "sntp"}
        server = self.serve(
            *("%s://0.0.0.0:0?open=true" % usual.get(name, name + "+udp") for name in names)
        )
        requests = [b"", b"x", bytes(64), bytes(100), bytes(1000), ntp(4, 3), ntp(4, 3) + bytes(500)]
        for name in names:
            sender = Sender(("127.0.0.1", server.at(name, "udp")[1]))
            self.addCleanup(sender.close)
            for request in requests:
                answered = name != "sntp" or request[:1] == ntp(4, 3)[:1]
                for _ in range(20 if answered else 0):
                    answer = sender.say(request).heard()
                    self.assertLessEqual(len(answer), max(len(request), 64), name)
        server.stop()

    def test_fault_e8_two_servers_do_not_talk_for_ever(self):
        host = own_address()
        if not host:
            self.skipTest("this host has no address but loopback's")
        self.set_talking("echo+udp://%s:0?open=true" % host, "echo+udp://%s:0?open=true" % host)

    def test_fault_e8_two_servers_on_loopback_do_not_talk_for_ever(self):
        self.set_talking(*("echo+udp://127.0.0.1:%d" % port for port in server_ports(2)))

    def set_talking(self, *urls):
        """Forges one datagram from one server to the other, and waits until they stop answering."""
        try:
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        except PermissionError:
            self.skipTest("only root forges; the unit test of the rule does not need it")
        one, two = (self.serve(url) for url in urls)
        host, port = one.at("echo", "udp")[:2]
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
            # The network's answers of this second may be used up: the next second has more.
            until = time.monotonic() + DEADLINE
            while not select.select([sender.say(b"on").link], [], [], SILENCE)[0]:
                self.assertLess(time.monotonic(), until, "no answer in time")
            sender.hears(b"on")
            server.stop()

    def test_an_answer_leaves_from_the_address_that_was_asked(self):
        hosts = ["127.0.0.1", "127.0.0.2"]
        wildcards = {"0.0.0.0": hosts}
        if ipv6_exists():
            wildcards["[::]"] = hosts + ["::1"]
        for wildcard, hosts in wildcards.items():
            server = self.serve(*(
                "%s+udp://%s:0?open=true" % (service, wildcard) for service in ("echo", "upper", "time")
            ))
            for service in ("echo", "upper", "time"):
                for host in hosts:
                    sender = Sender((host, server.at(service, "udp")[1]))
                    self.addCleanup(sender.close)
                    # Connected, so an answer from anywhere else is not for it.
                    sender.link.connect(sender.address)
                    sender.say_connected(b"1").hears(b"1")
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
