"""A TCP peer that is gone without a word: which sockets send probes, when, and what becomes of it.

What the server's own sockets are set to is read from outside, from a duplicate (pidfd_getfd(2)).
"""

import contextlib
import ctypes
import os
import socket
import subprocess
import sys

from behind import without
from harness import BINARY, DEADLINE, Case, dial, main

from test_life import until
from test_process import needs

PIDFD_GETFD = 438

KEEPALIVE = ("SO_KEEPALIVE", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")


def settings(link):
    """On or off, first probe, interval (s), how many, user timeout (ms)."""
    level = {"SO_KEEPALIVE": socket.SOL_SOCKET}
    return tuple(
        link.getsockopt(level.get(name, socket.IPPROTO_TCP), getattr(socket, name))
        for name in KEEPALIVE
    )


def accepted_from(server, peer):
    """The server's end of a connection, duplicated."""
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(server.pid)
    try:
        for number, target in server.descriptors_now().items():
            if not target.startswith("socket:"):
                continue
            copy = libc.syscall(PIDFD_GETFD, pidfd, number, 0)
            if copy < 0:
                raise OSError(ctypes.get_errno(), "pidfd_getfd")
            link = socket.socket(fileno=copy)
            with contextlib.suppress(OSError):
                if link.getpeername() == peer.link.getsockname():
                    return link
            link.close()
    finally:
        os.close(pidfd)
    raise AssertionError("it has no such connection")


class Set(Case):
    def accepted(self, server, address):
        peer = self.dial(address).say(b"x").hears(b"x")
        try:
            link = accepted_from(server, peer)
        except PermissionError as wrong:
            if os.environ.get("ONEPOLL_TEST_REQUIRE_ALL") == "1":
                raise
            self.skipTest("other processes' sockets cannot be looked at here: %s" % wrong)
        with link:
            return settings(link)

    def test_fault_b18_what_is_accepted_probes_after_two_minutes_unless_told_otherwise(self):
        server = self.serve(
            "echo://127.0.0.1:0",
            "echo://127.0.0.1:0?keepalive=9s",
            "echo://127.0.0.1:0?keepalive=off",
            "echo://127.0.0.1:0?keepalive=1500ms&user-timeout=1m",
        )
        found = [self.accepted(server, server.at("echo", nth=nth)) for nth in range(4)]
        self.assertEqual(found[0], (1, 120, 40, 3, 0))
        self.assertEqual(found[1], (1, 9, 3, 3, 0))
        self.assertEqual((found[2][0], found[2][4]), (0, 0))
        self.assertEqual(found[3], (1, 2, 1, 3, 60000))
        server.stop()

    def test_fault_b18_an_inherited_socket_probes_too(self):
        # Whoever opened it may have set it otherwise; what the endpoint says counts.
        for options, expected in (
            ("", (1, 120, 40, 3, 0)),
            ("?keepalive=30s&user-timeout=2m", (1, 30, 10, 3, 120000)),
            ("?keepalive=off", None),
        ):
            holder = socket.create_server(("127.0.0.1", 0))
            self.addCleanup(holder.close)
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            holder.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 9)
            holder.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 7)
            with self.subTest(options):
                server = subprocess.Popen(
                    [BINARY, "serve", "echo+fd://%d%s" % (holder.fileno(), options)],
                    pass_fds=[holder.fileno()],
                    stdin=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
                self.addCleanup(server.wait)
                self.addCleanup(server.kill)
                with dial(holder.getsockname()) as peer:
                    peer.say(b"x").hears(b"x")
                found = settings(holder)
                if expected:
                    self.assertEqual(found, expected)
                else:
                    self.assertEqual((found[0], found[4]), (0, 0))
                server.terminate()
                self.assertEqual(server.wait(DEADLINE), 0)


CLIENT = """
import socket, sys
links = [socket.create_connection(("127.0.0.1", int(port))) for port in sys.argv[2:]]
for link in links:
    link.sendall(sys.argv[1].encode())
    assert link.recv(1) == b"x"
print("connected", flush=True)
sys.stdin.read()
"""


class Living(Case):
    def test_fault_b18_a_living_peer_that_does_not_read_is_not_taken_for_gone(self):
        # The second's user timeout is the clock: longer than the first takes to be given up.
        server = self.serve(
            "echo://127.0.0.1:0?keepalive=1s", "echo://127.0.0.1:0?keepalive=1s&user-timeout=5s"
        )
        for nth in range(2):
            peer = self.dial(server.at("echo", nth=nth), rcvbuf=4096)
            peer.link.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    peer.link.send(bytes(1 << 16))
        until(lambda: server.counters()["connections"] < 2, "no user timeout")
        counters = server.counters()
        self.assertEqual((counters["connections"], counters["closed"]["gone"]), (1, 1))


class Gone(Case):
    """A network of its own, whose only address is taken away: neither FIN nor reset can come."""

    def isolated(self, *urls):
        through = ("unshare", "-r", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
        needs(self, [*through, "true"])
        return self.serve(*urls, through=through)

    def connects(self, server, service, says):
        """A client of each endpoint that has got an `x`; returns what takes the address away."""
        inside = ("nsenter", "-t", str(server.pid), "-U", "--preserve-credentials", "-n")
        ports = [str(server.at(service, nth=nth)[1]) for nth in range(len(server.bound))]
        client = subprocess.Popen(
            [*inside, sys.executable, "-c", CLIENT, says, *ports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.addCleanup(client.communicate)
        self.addCleanup(client.kill)
        self.assertEqual(client.stdout.readline(), b"connected\n")
        away = [*inside, "ip", "address", "delete", "127.0.0.1/8", "dev", "lo"]
        return lambda: subprocess.run(away, check=True, timeout=DEADLINE)

    def one_of_two_is_gone(self, server):
        until(lambda: server.counters()["connections"] < 2, "nobody notices")
        counters = server.counters()
        self.assertEqual((counters["connections"], counters["closed"]["gone"]), (1, 1))

    @without("secret", "its client is a program of its own")
    @without("tls", "its client is a program of its own")
    def test_fault_b18_a_peer_that_is_gone_without_a_word_is_noticed(self):
        server = self.isolated("echo://127.0.0.1:0?keepalive=1s", "echo://127.0.0.1:0?keepalive=off")
        take_away = self.connects(server, "echo", "x")
        take_away()
        # Without probes the other takes its peer for present, and would for ever.
        self.one_of_two_is_gone(server)

    @without("secret", "its client is a program of its own")
    @without("tls", "its client is a program of its own")
    def test_fault_b18_what_is_owed_to_a_peer_that_is_gone_is_given_up_at_the_user_timeout(self):
        # While bytes are on their way the kernel sends no probes, but the bytes again.
        flag = os.path.join(self.directory(), "go")
        says = "printf x; while ! test -e %s; do sleep 0.02; done; echo late\n" % flag
        url = "command://127.0.0.1:0?framing=raw&auth=none&keepalive=1s"
        server = self.isolated(url + "&user-timeout=2s", url)
        take_away = self.connects(server, "command", says)
        take_away()
        open(flag, "w").close()
        self.one_of_two_is_gone(server)


if __name__ == "__main__":
    main()
