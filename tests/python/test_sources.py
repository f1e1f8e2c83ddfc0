"""Sources: addresses that are served, and how many connections one source has, with the real binary.

127.0.0.0/8 is a network of 16 million sources. What concerns addresses off loopback needs a network namespace,
where `10.9.0.0/16` is made the machine's own; without the right to make one those tests are skipped.
"""

import hmac
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from behind import GUARDS, without
from harness import DEADLINE, Case, dial, ipv6_exists, main, onepoll

from test_life import until

INSIDE = "ONEPOLL_TEST_NAMESPACE"
"""Set in a namespace that this suite has made for itself."""

NAMESPACE = """
ip link set lo up &&
ip address add 10.9.0.1/24 dev lo &&
ip route add local 10.9.0.0/16 dev lo &&
exec "$@"
"""


SECRET = b"0123456789abcdef0123456789abcdef"


def secret_file(case):
    """A file with `SECRET`, as the server demands it."""
    directory = tempfile.mkdtemp(prefix="onepoll-")
    case.addCleanup(shutil.rmtree, directory)
    path = os.path.join(directory, "secret")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(SECRET + b"\n")
    return path


def asked(peer):
    """Whether a challenge comes; else it is the end."""
    try:
        return len(peer.takes(32)) == 32
    except (AssertionError, OSError):
        return False


def own_namespace(*command):
    """A command line that runs `command` in a network namespace of its own."""
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", *rights, "--net", "sh", "-c", NAMESPACE, "sh", *command]


def namespaces_exist():
    if not shutil.which("unshare") or not shutil.which("ip"):
        return False
    tried = subprocess.run(own_namespace("true"), capture_output=True, timeout=DEADLINE)
    return tried.returncode == 0


class Addresses(Case):
    """`allow-from` and `deny-from`."""

    def lets_in(self, address, source=None):
        """Whether a connection is served; one that is not hears nothing at all."""
        with dial(address, source=source and (source, 0)) as peer:
            try:
                heard = peer.say(b"x").half_close().rest()
            except (AssertionError, OSError):
                return False  # it was reset
            self.assertIn(heard, (b"x", b""))
            return heard == b"x"

    def test_an_address_that_is_not_served_is_closed_before_it_is_read(self):
        server = self.serve(
            "echo://127.0.0.1:0?allow-from=127.0.0.0/30&deny-from=127.0.0.2",
            "chat://127.0.0.1:0?allow-from=127.0.0.1",
        )
        for source, expected in (("127.0.0.1", True), ("127.0.0.2", False), ("127.0.0.3", True), ("127.0.0.4", False)):
            self.assertEqual(self.lets_in(server.at("echo"), source), expected, source)
        with dial(server.at("chat"), source=("127.0.0.9", 0)) as stranger:
            stranger.ended()
        now = server.rests()
        self.assertEqual((now["refused"]["denied"], now["connections_opened"]), (3, 2))
        server.waits_for(lambda line: "127.0.0.2" in line and "not among those that are served" in line)
        server.stop()

    def test_ipv4_over_a_dual_stack_socket_is_judged_as_ipv4(self):
        if not ipv6_exists():
            self.skipTest("no IPv6 here")
        server = self.serve(
            "echo://[::]:0?open=true&deny-from=127.0.0.2",
            "upper://[::]:0?open=true&allow-from=127.0.0.0/8",
            "discard://[::]:0?open=true&allow-from=::1",
        )
        at = lambda service, host: (host, server.at(service)[1])
        self.assertTrue(self.lets_in(at("echo", "127.0.0.1"), "127.0.0.1"))
        self.assertFalse(self.lets_in(at("echo", "127.0.0.1"), "127.0.0.2"))
        self.assertTrue(self.lets_in(at("echo", "::1")))
        with dial(at("upper", "127.0.0.1"), source=("127.0.0.2", 0)) as peer:
            peer.say(b"x").hears(b"X")
        with dial(at("upper", "::1")) as peer:
            peer.gone()
        with dial(at("discard", "::1")) as peer:
            peer.say(b"x").silence()
        with dial(at("discard", "127.0.0.1")) as peer:
            peer.gone()
        server.rests()
        server.stop()

    def test_a_flood_of_what_is_not_served_is_counted_and_does_not_fill_the_log(self):
        server = self.serve("echo://127.0.0.1:0?deny-from=127.1.0.0/16")
        address = server.at("echo")
        with dial(address) as friend:
            for n in range(1000):
                with dial(address, source=("127.1.%d.%d" % (n // 250, n % 250 + 1), 0)) as stranger:
                    stranger.gone()
                if n % 100 == 0:
                    friend.say(b"x").hears(b"x")
        now = server.rests()
        self.assertEqual((now["refused"]["denied"], now["connections_opened"]), (1000, 1))
        lines = [line for line in server.lines if "refused a connection" in line]
        # 20 a second, and one line that says how many were left out.
        self.assertGreater(len(lines), 0)
        self.assertLess(len(lines), 500)
        server.stop()

    def test_datagrams_of_addresses_that_are_not_served_are_dropped(self):
        server = self.serve("echo+udp://127.0.0.1:0?deny-from=127.0.0.2")
        address = server.at("echo", "udp")
        denied, served = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        with denied, served:
            denied.bind(("127.0.0.2", 0))
            denied.sendto(b"no", address)
            served.settimeout(DEADLINE)
            served.sendto(b"yes", address)
            self.assertEqual(served.recvfrom(100)[0], b"yes")
            denied.setblocking(False)
            self.assertRaises(BlockingIOError, denied.recv, 100)
        now = server.counters()
        self.assertEqual((now["datagrams_denied"], now["datagrams_out"]), (1, 1))
        server.stop()

    def test_what_is_written_wrong_is_refused_with_what_would_be_right(self):
        for url, pieces in (
            ("echo://127.0.0.1:0?allow-from=10.0.0.1/8", ["allow-from", "10.0.0.0/8"]),
            ("echo://127.0.0.1:0?deny-from=example.org", ["deny-from", "names are not looked up"]),
            ("echo://127.0.0.1:0?rate-per-source=10", ["rate-per-source", "10/s"]),
            ("echo+unix:///tmp/x.sock?allow-from=::1", ["Unix socket", "`any-user`"]),
            ("time://127.0.0.1:0?max-per-source=5", ["datagrams have no connection"]),
        ):
            done = onepoll("check", url)
            self.assertEqual(done.returncode, 2, url)
            for piece in pieces:
                self.assertIn(piece, done.stderr)

    def test_lists_are_written_in_a_file_too(self):
        config = """
        [[endpoint]]
        service = "echo"
        address = "127.0.0.1:0"
        allow-from = ["127.0.0.0/30", "::1"]
        deny-from = "127.0.0.2"
        max-per-source = 5
        rate-per-source = "100/m"
        """
        server = self.serve(config=config)
        for source, expected in (("127.0.0.1", True), ("127.0.0.2", False), ("127.0.0.9", False)):
            self.assertEqual(self.lets_in(server.at("echo"), source), expected, source)
        server.stop()


class Shares(Case):
    """`max-per-source` and `rate-per-source`."""

    def test_a_source_has_so_many_connections_and_others_have_theirs(self):
        server = self.serve("echo://127.0.0.1:0?max-per-source=3")
        address = server.at("echo")
        dial_from = lambda last: self.dial(address, source=("127.0.0.%d" % last, 0))
        for last in (1, 2):
            inside = [dial_from(last).say(b"x").hears(b"x") for _ in range(3)]
            for _ in range(5):
                dial_from(last).gone()
        self.assertEqual(server.counters()["refused"]["source_full"], 10)
        inside.pop().half_close().ended().close()
        # Through TLS the end is said before the connection is gone.
        until(lambda: server.counters()["connections"] == 5, "nobody has left")
        dial_from(2).say(b"y").hears(b"y")
        server.stop()

    def is_refused(self, address, why):
        """The chat says why; behind a guard nothing is said before it is passed."""
        peer = self.dial(address)
        if GUARDS:
            peer.gone()
        else:
            self.assertEqual(peer.line(), why)

    def test_chat_says_why(self):
        server = self.serve("chat://127.0.0.1:0?max-per-source=1&rate-per-source=2/h")
        address = server.at("chat")
        first = self.dial(address)
        first.line()
        self.is_refused(address, b"* this address has as many connections as one may have")
        first.half_close()
        first.rest()
        server.rests()
        second = self.dial(address)
        second.line()
        second.half_close()
        second.rest()
        server.rests()
        self.is_refused(address, b"* this address connects more often than one may")
        refused = server.counters()["refused"]
        self.assertEqual((refused["source_full"], refused["source_too_fast"]), (1, 1))
        server.stop()

    def test_a_source_connects_so_often(self):
        server = self.serve("echo://127.0.0.1:0?rate-per-source=5/h")
        address = server.at("echo")

        def let_in(last):
            peers = [self.dial(address, source=("127.0.0.%d" % last, 0)) for _ in range(20)]
            return sum(self.is_served(peer) for peer in peers)

        self.assertEqual([let_in(1), let_in(1), let_in(2)], [5, 0, 5])
        now = server.counters()
        self.assertEqual((now["refused"]["source_too_fast"], now["sources"]), (50, 2))
        server.stop()

    def is_served(self, peer):
        try:
            peer.say(b"x").hears(b"x")
        except (AssertionError, OSError):
            return False
        return True

    def test_buckets_are_forgotten_when_they_are_full_again(self):
        server = self.serve("echo://127.0.0.1:0?rate-per-source=5/100ms")
        address = server.at("echo")
        for n in range(200):
            with dial(address, source=("127.2.0.%d" % (n + 1), 0)) as peer:
                peer.say(b"x").hears(b"x")
        until = time.monotonic() + DEADLINE
        while server.counters()["sources"]:
            self.assertLess(time.monotonic(), until, "they stay")
            threading.Event().wait(0.02)
        server.rests()
        server.stop()


class Namespace(Case):
    """Runs `InNamespace` where addresses off loopback are the machine's own."""

    def test_in_a_network_namespace(self):
        if INSIDE in os.environ:
            self.skipTest("this is the namespace")
        if not namespaces_exist():
            self.skipTest("no right to make a network namespace here")
        suite = own_namespace(sys.executable, os.path.abspath(__file__), "InNamespace")
        done = subprocess.run(
            suite,
            env={**os.environ, INSIDE: "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=12 * DEADLINE,
        )
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, r"Ran [1-9]\d* test")
        self.assertNotIn("skipped", done.stdout)


@unittest.skipUnless(INSIDE in os.environ, "needs the namespace that `Namespace` makes")
class InNamespace(Case):
    """What loopback cannot show."""

    def test_sources_off_loopback_are_judged_by_the_same_rules(self):
        server = self.serve("echo://10.9.0.1:0?open=true&allow-from=10.9.0.0/24&max-per-source=1")
        address = server.at("echo")
        inside = self.dial(address, source=("10.9.0.7", 0)).say(b"x").hears(b"x")
        for source in ("10.9.0.7", "10.9.1.7"):
            with dial(address, source=(source, 0)) as peer:
                peer.gone()
        inside.say(b"y").hears(b"y")
        refused = server.counters()["refused"]
        self.assertEqual((refused["source_full"], refused["denied"]), (1, 1))
        server.stop()

    def test_fault_d15_a_source_that_guesses_is_closed_before_it_is_asked(self):
        server = self.serve("echo://10.9.0.1:0?secret-file=%s" % secret_file(self))
        address = server.at("echo")
        from_there = lambda last: self.dial(address, source=("10.9.0.%d" % last, 0))
        for n in range(5):
            peer = from_there(7)
            if not asked(peer):
                break
            peer.say(bytes(32)).gone()
        # Three at one moment, one more if a moment passes between.
        self.assertIn(n, (3, 4))
        self.assertEqual(server.counters()["penalties"], 1)
        for _ in range(10):
            from_there(7).gone()
        self.assertEqual(server.counters()["refused"]["penalised"], 11)
        server.waits_for(lambda line: "failed to log in too often" in line and "10.9.0.7" in line)
        # Its neighbours log in as before.
        for last in (6, 8):
            peer = from_there(last)
            proof = hmac.new(SECRET, peer.takes(32), "sha256").digest()
            peer.say(proof + b"x").hears(b"x")
        server.stop()

    def test_fault_d15_loopback_has_no_penalties(self):
        server = self.serve("echo://127.0.0.1:0?secret-file=%s" % secret_file(self))
        for _ in range(20):
            self.dial(server.at("echo")).say(bytes(32)).takes(32)
        self.assertTrue(asked(self.dial(server.at("echo"))))
        self.assertEqual(server.counters()["penalties"], 0)
        server.stop()


if __name__ == "__main__":
    main()
