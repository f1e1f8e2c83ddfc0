"""What every suite here stands on: a server to talk to, and a peer to talk with.

Knows the command line and bytes, and nothing that onepoll is made of. Tests read as a script:
`dial`, `say`, `hears`, `silence`, `ended`. No wait is without a deadline, and none is a sleep
that hopes: what is waited for is always something that the other side does.

Every stream endpoint of every server stands behind what `$ONEPOLL_BEHIND` names (`behind.py`), and
every connection that is dialled has passed it before it is used.

The binary is `$ONEPOLL_BIN`, else the one that `cargo build` leaves in `target/debug`. What needs
root (forging a source, being another user) is skipped without it, and IPv6 where there is none.
"""

import calendar
import concurrent.futures
import contextlib
import errno
import functools
import hashlib
import json
import locale
import os
import re
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import behind

DEADLINE = 10.0
"""No single wait is longer (seconds); on an idle machine none comes near."""

SILENCE = 0.05
"""How long nothing must come before it counts as silence. Used where no later event could tell."""

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.environ.get("ONEPOLL_BIN") or os.path.join(ROOT, "target", "debug", "onepoll")

GAUGES = ("connections", "timers", "children", "children_waiting", "ready", "owed")
"""Counters of what there is now: all zero when nobody is there."""

USUALLY_UDP = ("time", "sntp", "ipmsg")
"""The services whose URL without a transport means UDP."""

LISTENING = re.compile(
    r"^onepoll: listening on "
    r"(?P<service>[a-z0-9]+)(?:\+(?P<transport>[a-z]+))?://(?P<at>[^?]*)(?:\?(?P<options>.*))?$"
)


RING = bytes(range(32, 127)) * 2
CHARACTERS = b"".join(RING[first : first + 72] + b"\r\n" for first in range(95))
"""RFC 864's pattern, until it begins again."""


def raise_descriptor_limit():
    """Some tests hold more sockets than a shell's soft limit allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


raise_descriptor_limit()


def left(until):
    """Seconds until a deadline; never negative, since select() would take that for "forever"."""
    return max(0.0, until - time.monotonic())


def free_port():
    """A port that nobody has, and that the kernel gives to nobody who asks for any: those begin at 32768 (ip(7))."""
    first = 20000 + os.getpid() % 10000
    for port in range(first, 32768):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port from %d on is free" % first)


def ipv6_exists():
    """Whether this host has ::1 at all. Any other trouble with it is not hidden here."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError as wrong:
        if wrong.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            return False
        raise
    return True




# ---------------------------------------------------------------------------------- the server


class Report(list):
    """The lines of a start-up report that say what is bound, in order."""


class Server:
    """`onepoll serve ENDPOINT…`, from its start-up report to its exit code."""

    def __init__(
        self, *urls, config=None, env=None, through=(), arguments=(), listen=True, is_plain=False
    ):
        """`through` is a command to start it with (`sh -c …`); with `listen=False` nobody reads
        standard error after the report, so that its pipe fills; `is_plain`: behind nothing."""
        if not is_plain:
            urls = [guarded(url) for url in urls]
        self.directory = tempfile.mkdtemp(prefix="onepoll-")
        self.argv = [*through, BINARY, "serve"]
        if config is not None:
            path = os.path.join(self.directory, "onepoll.toml")
            with open(path, "w") as file:
                file.write(config)
            self.argv += ["--config", path]
        self.argv += [*arguments, *urls]
        environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": self.directory}
        environment["XDG_RUNTIME_DIR"] = self.directory
        environment["RUST_BACKTRACE"] = "1"
        environment.update(env or {})
        self.process = subprocess.Popen(
            self.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
        )
        self.pid = self.process.pid
        self.peers = []
        self.lines = []
        self.changed = threading.Condition()
        self.closed = False
        self.bound = Report()
        self.listen = listen
        self.reader = None
        try:
            if listen:
                self.reader = threading.Thread(target=self._read, daemon=True)
                self.reader.start()
                self.waits_for(lambda line: line == "onepoll: ready")
            else:
                self._read_report()
            self._understand()
            self.descriptors = self.descriptors_now()
        except BaseException:
            self.kill()
            raise

    def _read(self):
        with contextlib.suppress(ValueError, OSError):
            for line in self.process.stderr:
                with self.changed:
                    self.lines.append(line.decode("utf-8", "backslashreplace").rstrip("\n"))
                    self.changed.notify_all()
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def _read_report(self):
        until, buffered = time.monotonic() + DEADLINE, b""
        while not buffered.endswith(b"onepoll: ready\n"):
            readable, _, _ = select.select([self.process.stderr], [], [], left(until))
            assert readable, "no start-up report: %r" % buffered
            more = os.read(self.process.stderr.fileno(), 1)
            assert more, "no start-up report: %r" % buffered
            buffered += more
        self.lines = buffered.decode().splitlines()

    def _understand(self):
        for line in self.lines:
            found = LISTENING.match(line)
            if found:
                self.bound.append(found)
                if found["transport"] not in ("udp", "fd"):
                    # A port comes back: what listened there before may have stood behind something.
                    GUARDED.difference_update(places(address_of(found)))
                    if behind.is_guarded(found["options"] or ""):
                        GUARDED.add(address_of(found))

    def at(self, service, transport=None, nth=0):
        """The address of the nth endpoint of this service, by the start-up report."""
        default = "udp" if service in USUALLY_UDP else "tcp"
        wanted = (service, transport or default)
        matching = [
            found
            for found in self.bound
            if (found["service"], found["transport"] or default) == wanted
        ]
        assert len(matching) > nth, "%r is not in the report: %r" % (wanted, self.lines)
        return address_of(matching[nth])

    def waits_for(self, predicate, after=0, deadline=DEADLINE):
        """The first line of standard error from `after` on that fits."""
        until = time.monotonic() + deadline
        with self.changed:
            while True:
                for number in range(after, len(self.lines)):
                    if predicate(self.lines[number]):
                        return self.lines[number]
                after = len(self.lines)
                assert not self.closed, "standard error ended: %s" % self.tail()
                assert left(until), "it did not say so in time: %s" % self.tail()
                self.changed.wait(left(until))

    def reload(self, config):
        """Writes its configuration anew and sends SIGHUP; how many lines it had said before."""
        with open(os.path.join(self.directory, "onepoll.toml"), "w") as file:
            file.write(config)
        with self.changed:
            before = len(self.lines)
        os.kill(self.pid, signal.SIGHUP)
        return before

    def tail(self):
        return "\n".join(["", *self.lines[-20:]])

    def counters(self):
        """What SIGUSR1 prints."""
        with self.changed:
            before = len(self.lines)
        os.kill(self.pid, signal.SIGUSR1)
        line = self.waits_for(lambda line: '{"connections_opened":' in line, after=before)
        return json.JSONDecoder().raw_decode(line[line.index("{") :])[0]

    def rests(self, deadline=DEADLINE, gauges=GAUGES):
        """Waits until nobody is connected and nothing is left of anybody; returns the counters."""
        self.lets_go()
        until = time.monotonic() + deadline
        while True:
            now = self.counters()
            over = {name: now[name] for name in gauges if now[name]}
            if now["connections_opened"] != now["connections_closed"]:
                over["opened"] = now["connections_opened"]
                over["closed"] = now["connections_closed"]
            if not over:
                descriptors, children = self.descriptors_now(), self.children_now()
                if len(descriptors) == len(self.descriptors) and not children:
                    return now
                over = {"descriptors": descriptors, "children": children}
            assert left(until), "not at rest: %r" % over
            threading.Event().wait(0.005)  # polls; there is no event for "at rest"

    def descriptors_now(self):
        found = {}
        for fd in os.listdir("/proc/%d/fd" % self.pid):
            with contextlib.suppress(FileNotFoundError):
                found[int(fd)] = os.readlink("/proc/%d/fd/%s" % (self.pid, fd))
        return found

    def children_now(self):
        """All but the keeper of commands, which is there for as long as the server is."""
        with open("/proc/%d/task/%d/children" % (self.pid, self.pid)) as file:
            children = file.read().split()
        return [pid for pid in children if int(pid) not in self.keepers()]

    def keepers(self):
        """The keeper of its commands, if it has one."""
        found = []
        with open("/proc/%d/task/%d/children" % (self.pid, self.pid)) as file:
            children = file.read().split()
        for pid in children:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                with open("/proc/%s/cmdline" % pid, "rb") as file:
                    if file.read().split(b"\0")[1:2] == [b"keeper"]:
                        found.append(int(pid))
        return found

    def resident_bytes(self):
        with open("/proc/%d/statm" % self.pid) as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    def cpu_seconds(self):
        with open("/proc/%d/stat" % self.pid) as file:
            fields = file.read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stopped_in_time(self):
        """SIGSTOP, and waits until it stands still."""
        os.kill(self.pid, signal.SIGSTOP)
        until = time.monotonic() + DEADLINE
        while self.state() != "T":
            assert left(until), "it does not stop"
            threading.Event().wait(0.001)

    def state(self):
        with open("/proc/%d/stat" % self.pid) as file:
            return file.read().rsplit(") ", 1)[1].split()[0]

    def goes_on(self):
        os.kill(self.pid, signal.SIGCONT)

    @contextlib.contextmanager
    def suspended(self):
        self.stopped_in_time()
        try:
            yield
        finally:
            self.goes_on()

    def terminate(self):
        os.kill(self.pid, signal.SIGTERM)

    def ends(self, code=0, deadline=DEADLINE):
        """It exits by itself, with this code."""
        self.lets_go()
        try:
            self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("it does not end: %s" % self.tail()) from None
        if self.reader:
            self.reader.join(DEADLINE)
        self.tidy()
        assert self.process.returncode == code, "exit code %r, not %r: %s" % (
            self.process.returncode,
            code,
            self.tail(),
        )

    def stop(self):
        """SIGTERM, once nobody is connected any more; it says 0."""
        for peer in self.peers:
            peer.close()
        self.drain()

    def drain(self):
        """SIGTERM, whoever is connected; it drains and says 0."""
        if self.process.poll() is None:
            self.terminate()
        self.ends(0)

    def lets_go(self):
        """Peers that have read to the end leave: the server would wait two seconds for each."""
        for peer in self.peers:
            if peer.is_over:
                peer.close()

    def kill(self):
        """For clean-up: ends it, whatever state it is in."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE)
        if self.reader:
            self.reader.join(DEADLINE)
        self.tidy()

    def tidy(self):
        self.process.stderr.close()
        shutil.rmtree(self.directory, ignore_errors=True)


GUARDED = set()
"""Addresses of endpoints that stand behind something."""


def guarded(url):
    """The same endpoint, behind what the whole suite is behind, if it is one of connections."""
    scheme, separator, rest = url.partition("://")
    service, _, transport = scheme.partition("+")
    usually = "udp" if service in USUALLY_UDP else "tcp"
    if not behind.GUARDS or not separator or (transport or usually) not in ("tcp", "unix"):
        return url
    address, _, query = rest.partition("?")
    return "%s://%s?%s" % (scheme, address, behind.options_of(query))


def address_of(found):
    """The address in a line of the report, as the socket module takes it."""
    at, transport = found["at"], found["transport"]
    if transport == "unix":
        return at
    host, port = at.rsplit(":", 1)
    host = host.strip("[]")
    assert int(port), "port 0 is not where it listens: %s" % found.string
    return (host, int(port))


def onepoll(*arguments, env=None, **more):
    """Runs the binary to its end; for what must refuse, and for `check`."""
    return subprocess.run(
        [BINARY, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=DEADLINE,
        text=True,
        env={**os.environ, **(env or {})},
        **more,
    )


# ------------------------------------------------------------------------------------ the peer


def dial(address, rcvbuf=None, source=None):
    """Connects to a stream endpoint: a path, or a host and port. A wildcard is called by 127.0.0.1."""
    named = address
    if isinstance(address, str):
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    else:
        host, port = address
        address = ("127.0.0.1" if host in ("::", "0.0.0.0") else host, port)
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        link = socket.socket(family, socket.SOCK_STREAM)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if rcvbuf:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    if source:
        link.bind(source)
    link.settimeout(DEADLINE)
    try:
        link.connect(address)
    except BaseException:
        link.close()
        raise
    return Peer(link, not GUARDED.isdisjoint(places(named)))


def places(address):
    """Where an endpoint may listen that this address reaches: whoever listens everywhere listens at each address."""
    if isinstance(address, str):
        return {address}
    return {address, ("::", address[1]), ("0.0.0.0", address[1])}


class Peer:
    """One side of a conversation, as a script."""

    def __init__(self, link, is_guarded=False):
        self._link = link
        self._is_guarded = is_guarded
        self._passing = threading.Lock()
        self.unread = bytearray()
        self.log = []
        self.is_over = False

    @property
    def link(self):
        """The connection, to the service itself: what it stands behind is passed at first use."""
        with self._passing:
            if self._is_guarded:
                self._link = behind.passes(self._link)
                self._is_guarded = False
        return self._link

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def enters(self):
        """Passes what the endpoint stands behind, if it stands behind something: now, not at first use."""
        assert self.link
        return self

    # Outward.

    def say(self, data):
        """All of it, in one call."""
        self.log.append((">", bytes(data)))
        self.link.settimeout(DEADLINE)
        self.link.sendall(data)
        return self

    def drip(self, data, gap=0.0005):
        """Byte by byte, with gaps; TCP_NODELAY makes each a segment."""
        self.log.append((">", bytes(data)))
        self.link.settimeout(DEADLINE)
        pause = threading.Event()
        for n in range(len(data)):
            self.link.sendall(data[n : n + 1])
            pause.wait(gap)
        return self

    def half_close(self):
        self.link.shutdown(socket.SHUT_WR)
        return self

    def close(self):
        self._link.close()

    def reset(self):
        """Closes with a reset instead of a FIN."""
        self.link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.link.close()

    # Inward.

    def _more(self, until):
        """Reads once. False at the end of the stream."""
        readable, _, _ = select.select([self.link], [], [], left(until))
        if not readable:
            raise AssertionError("nothing came in time%s" % self.story())
        try:
            data = self.link.recv(1 << 16)
        except ConnectionResetError:
            raise AssertionError("it was reset%s" % self.story()) from None
        self.unread += data
        self.is_over = not data
        return bool(data)

    def _take(self, size):
        taken = bytes(self.unread[:size])
        del self.unread[:size]
        self.log.append(("<", taken))
        return taken

    def takes(self, size, deadline=DEADLINE):
        """The next `size` bytes."""
        until = time.monotonic() + deadline
        while len(self.unread) < size:
            assert self._more(until), "it ended after %d of %d bytes%s" % (
                len(self.unread),
                size,
                self.story(),
            )
        return self._take(size)

    def hears(self, expected, deadline=DEADLINE):
        """Exactly these bytes next."""
        until = time.monotonic() + deadline
        while len(self.unread) < len(expected):
            common = len(os.path.commonprefix([bytes(self.unread), expected]))
            if common < len(self.unread):
                break
            assert self._more(until), "it ended%s\n  expected %s" % (
                self.story(),
                shown(expected),
            )
        heard = bytes(self.unread[: len(expected)])
        if heard != expected:
            raise AssertionError(
                "heard    %s\n  expected %s%s" % (shown(heard), shown(expected), self.story())
            )
        self._take(len(expected))
        return self

    def line(self, deadline=DEADLINE):
        """The next line, without its newline."""
        until = time.monotonic() + deadline
        while b"\n" not in self.unread:
            assert self._more(until), "it ended without a newline%s" % self.story()
        return self._take(self.unread.index(b"\n") + 1)[:-1]

    def rest(self, deadline=DEADLINE):
        """All bytes until the other side ends."""
        until = time.monotonic() + deadline
        while self._more(until):
            pass
        return self._take(len(self.unread))

    def ended(self, deadline=DEADLINE):
        """Nothing more, and the other side has ended in good order."""
        more = self.rest(deadline)
        assert not more, "heard %s instead of the end%s" % (shown(more), self.story())
        return self

    def gone(self, deadline=DEADLINE):
        """The connection is over, in good order or not; what still came does not matter."""
        until = time.monotonic() + deadline
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            while True:
                readable, _, _ = select.select([self.link], [], [], left(until))
                assert readable, "it is still there%s" % self.story()
                if not self.link.recv(1 << 16):
                    break
        self.is_over = True

    def silence(self, seconds=SILENCE):
        """Nothing comes for a while, and the connection stays."""
        readable = self.unread or select.select([self.link], [], [], seconds)[0]
        if readable:
            with contextlib.suppress(AssertionError):
                self._more(time.monotonic())
            raise AssertionError("heard %s, not silence%s" % (shown(self.unread), self.story()))
        return self

    def story(self):
        """The conversation so far, for a message."""
        lines = ["  %s %s" % (way, shown(data)) for way, data in self.log[-8:]]
        if self.unread:
            lines.append("  (unread: %s)" % shown(self.unread))
        return "".join("\n" + line for line in lines)


def shown(data, most=72):
    data = bytes(data)
    return repr(data) if len(data) <= most else "%r… (%d bytes)" % (data[:most], len(data))


# ------------------------------------------------------------------------------------ the tests


class Case(unittest.TestCase):
    """A test that opens things and closes them again, whatever happens."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.peers = []

    def serve(self, *urls, **how):
        """A server for this test alone. The test stops it; if it does not come to that, we do."""
        server = Server(*urls, **how)
        server.peers = self.peers
        self.addCleanup(server.kill)
        return server

    def dial(self, address, **how):
        peer = dial(address, **how)
        self.peers.append(peer)
        self.addCleanup(peer.close)
        return peer

    def needs(self, *programs):
        """Skips the test where one of these is missing, unless none may be skipped."""
        missing = [name for name in programs if not shutil.which(name)]
        if missing and os.environ.get("ONEPOLL_TEST_REQUIRE_ALL") == "1":
            self.fail("missing: %s" % ", ".join(missing))
        if missing:
            self.skipTest("missing: %s" % ", ".join(missing))

    def judged(self, *command):
        """What another's program prints about the server, once it has ended well."""
        self.needs(command[0])
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=2 * DEADLINE,
            text=True,
            env={**os.environ, "LC_ALL": "C", "TZ": "UTC0"},
        )
        self.assertEqual(done.returncode, 0, "%s: %s" % (" ".join(command), done.stdout))
        return done.stdout

    def directory(self):
        path = tempfile.mkdtemp(prefix="onepoll-")
        self.addCleanup(shutil.rmtree, path, ignore_errors=True)
        return path


class Shared(Case):
    """Tests that share one server: each endpoint in several places.

    `endpoints` maps a name to `service` or `service?options`. After each test everybody leaves,
    and the server must be at rest: no connection, timer, child or descriptor is left of it.
    """

    endpoints = {}
    places = ("tcp4", "tcp6", "dual", "unix")
    config = None
    env = None

    @classmethod
    def setUpClass(cls):
        cls.home = tempfile.mkdtemp(prefix="onepoll-")
        cls.addClassCleanup(shutil.rmtree, cls.home, ignore_errors=True)
        cls.start()

    @classmethod
    def start(cls):
        cls.addresses = {}
        keys, urls = [], []
        for name, endpoint in cls.endpoints.items():
            for place in cls.places:
                if place in ("tcp6", "dual") and not ipv6_exists():
                    continue
                if place == "dual" and endpoint.startswith("command"):
                    continue  # never off loopback
                keys.append((name, place))
                urls.append(url(endpoint, place, cls.home, name))
        cls.server = Server(*urls, config=cls.config, env=cls.env)
        cls.addClassCleanup(cls.server.kill)
        bound = cls.server.bound
        assert len(bound) == len(urls), "%d endpoints, report: %s" % (
            len(urls),
            cls.server.tail(),
        )
        for key, asked, found in zip(keys, urls, bound):
            assert asked.split("://")[0] == found.string.split(" on ")[1].split("://")[0]
            cls.addresses[key] = address_of(found)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def setUp(self):
        # Clean-ups run last in, first out: this one after every peer has left.
        self.addCleanup(self.comes_to_rest)

    def comes_to_rest(self):
        """The server is at rest, or the next test gets another."""
        try:
            self.assertIsNone(self.server.process.poll(), "it is gone: " + self.server.tail())
            self.server.rests()
        except BaseException:
            self.server.kill()
            self.start()
            raise

    def call(self, name, place="tcp4", **how):
        return self.dial(self.addresses[name, place], **how)


class Clocked(Shared):
    """Tests of what tells the local time: the server's zone is CPython's, and an odd one."""

    zone = "America/St_Johns"  # half an hour off, and with a summer time

    @classmethod
    def setUpClass(cls):
        cls.env = {"TZ": cls.zone, "LC_ALL": "C"}
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
        os.environ["TZ"] = cls.zone
        time.tzset()

    def prints(self, ask, form):
        """What `ask()` returns is what CPython prints, before or after it was asked."""

        def now():
            # Without its second argument, strftime goes by the kernel's last tick: milliseconds ago.
            return time.strftime(form, time.localtime(time.time()))

        for _ in range(5):
            # The second may turn in between, once.
            before = now()
            answer = ask()
            after = now()
            if answer in (before.encode(), after.encode()):
                return
        self.fail("%r: heard %s, CPython prints %r" % (form, shown(answer), after))

    def counts(self, ask):
        """What `ask()` returns is the Unix time in seconds, of before, after, or between."""
        # The server reads the clock once a turn, which may have begun a little before.
        before = int(time.time() - 0.1)
        answer = ask()
        self.assertIn(answer, range(before, int(time.time()) + 1))


def dated(line):
    """A line of `date` or `rdate` as Unix time; the zone is UTC's, as `judged` has it."""
    return calendar.timegm(time.strptime(line.strip(), "%a %b %d %H:%M:%S UTC %Y"))


def everywhere(name, at_once=False):
    """Runs a test once per place of the endpoint called `name`; it gets a function that dials.

    `at_once`: in all places beside each other, for a test that takes long since it waits, and asks nothing
    of the server as a whole.
    """

    def decorate(test):
        @functools.wraps(test)
        def run(self):
            places = {p: a for (which, p), a in self.addresses.items() if which == name}
            self.assertTrue(places, "there is no endpoint %r" % name)
            with concurrent.futures.ThreadPoolExecutor(len(places) if at_once else 1) as threads:
                began = {
                    place: threads.submit(test, self, functools.partial(self.dial, address))
                    for place, address in places.items()
                }
            for place, running in began.items():
                with self.subTest(place=place):
                    running.result()

        return run

    return decorate


def url(endpoint, place, directory, name):
    service, _, options = endpoint.partition("?")
    where = {
        "tcp4": "://127.0.0.1:0",
        "tcp6": "://[::1]:0",
        "dual": "://[::]:0",
        "unix": "+unix://%s/%s.sock" % (directory, name),
        "udp4": "+udp://127.0.0.1:0",
        "udp6": "+udp://[::1]:0",
    }[place]
    if service in USUALLY_UDP:
        where = where.replace("+udp://", "://") if "udp" in place else where.replace("://", "+tcp://")
        where = where.replace("+unix+tcp", "+unix")
    if place == "dual":
        options = "&".join(filter(None, [options, "open=true"]))
    return service + where + ("?" + options if options else "")


def read_to_the_end(link, deadline=DEADLINE):
    """The size and digest of what comes until the end; keeps nothing."""
    until, size, digest = time.monotonic() + deadline, 0, hashlib.sha256()
    link.settimeout(deadline)
    while True:
        assert left(until), "no end in time after %d bytes" % size
        data = link.recv(1 << 18)
        if not data:
            return size, digest.hexdigest()
        size += len(data)
        digest.update(data)


def main():
    done = unittest.main(verbosity=2 if "-v" in sys.argv else 1, warnings="error", exit=False)
    for test, why in done.result.skipped:
        print("skipped: %s: %s" % (test.id(), why), file=sys.stderr)
    sys.exit(not done.result.wasSuccessful())
