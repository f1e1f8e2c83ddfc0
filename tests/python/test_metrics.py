"""The figures: raw HTTP/1.1 over TCP and Unix sockets, and what other people's programs make of them.

`promtool check metrics` (Debian's prometheus) lints the text, curl and urllib fetch it.
"""

import http.client
import json
import re
import socket
import subprocess
import threading
import urllib.request

from behind import without
from harness import DEADLINE, Case, Shared, dial, everywhere, main, onepoll

SAMPLE = re.compile(r'^(?P<name>[a-z_]+)(?:\{(?P<labels>[^}]*)\})? (?P<value>[0-9.]+)$')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


def samples(text):
    """Each sample by its name and labels; every line is one, or says what it means."""
    found = {}
    for line in text.splitlines():
        if line.startswith(("# HELP onepoll_", "# TYPE onepoll_")):
            continue
        sample = SAMPLE.match(line)
        assert sample, line
        labels = dict(LABEL.findall(sample["labels"] or ""))
        key = (sample["name"], *sorted(labels.items()))
        assert key not in found, "twice: %r" % line
        found[key] = float(sample["value"])
    return found


def get(path="/metrics", method="GET", version="1.1", fields=("Host: h",)):
    return ("%s %s HTTP/%s\r\n%s\r\n\r\n" % (method, path, version, "\r\n".join(fields))).encode()


def heard(peer, is_head=False):
    """The next response: its status, its fields, and its body."""
    lines = []
    while True:
        line = peer.line()
        assert line.endswith(b"\r"), line
        if line == b"\r":
            break
        lines.append(line[:-1].decode())
    version, status, _ = lines[0].split(" ", 2)
    assert version == "HTTP/1.1", lines
    fields = dict(line.split(": ", 1) for line in lines[1:])
    assert len(fields) == len(lines) - 1, lines
    body = b"" if is_head else peer.takes(int(fields["Content-Length"]))
    return int(status), fields, body.decode()


class T11(Shared):
    endpoints = {"metrics": "metrics", "echo": "echo", "chat": "chat"}

    @everywhere("metrics")
    def test_t11_figures_are_text_and_the_connection_stays(self, call):
        peer = call()
        for _ in range(3):
            status, fields, body = heard(peer.say(get()))
            self.assertEqual(status, 200)
            self.assertEqual(fields["Content-Type"], "text/plain; version=0.0.4; charset=utf-8")
            self.assertEqual(fields["Connection"], "keep-alive")
            self.assertIn(("onepoll_build_info", ("version", version())), samples(body))
        self.assertEqual(heard(peer.say(get("/healthz"))), (200, fields_of("ok\n"), "ok\n"))
        peer.half_close().ended()

    @everywhere("metrics")
    def test_t11_byte_by_byte_and_all_at_once(self, call):
        requests = get("/healthz") + get("/no") + get(method="POST") + get("/healthz")
        told = []
        for way in ("say", "drip"):
            peer = call()
            getattr(peer, way)(requests)
            told.append([heard(peer)[::2] for _ in range(4)])
            peer.half_close().ended()
        self.assertEqual(told[0], told[1])
        self.assertEqual([status for status, _ in told[0]], [200, 404, 405, 200])

    def test_t11_every_cut_of_a_request(self):
        request = get("/healthz")
        for cut in range(1, len(request)):
            peer = self.call("metrics").say(request[:cut])
            self.call("echo").say(b"x").hears(b"x")  # the part has been read
            self.assertEqual(heard(peer.say(request[cut:]))[2], "ok\n")
            peer.close()

    def test_t11_head_is_get_without_its_body(self):
        peer = self.call("metrics")
        for path, status in (("/metrics", 200), ("/healthz", 200), ("/", 404)):
            said, fields, _ = heard(peer.say(get(path, "HEAD")), is_head=True)
            self.assertEqual(said, status)
            self.assertGreater(int(fields["Content-Length"]), 2)
        self.assertEqual(heard(peer.say(get("/healthz")))[2], "ok\n")

    def test_t11_many_requests_in_one_write_are_answered_in_order(self):
        peer = self.call("metrics")
        paths = ["/metrics", "/healthz", "/metrics", "/metrics", "/x"] * 100
        sender = threading.Thread(target=peer.say, args=(b"".join(map(get, paths)),))
        sender.start()
        for path in paths:
            status, _, body = heard(peer)
            expected = {"/metrics": "onepoll_", "/healthz": "ok\n", "/x": "there is nothing here"}
            self.assertIn(expected[path], body)
            self.assertEqual(status, 404 if path == "/x" else 200)
        sender.join(DEADLINE)
        peer.half_close().ended()

    def test_t11_the_last_request_of_a_connection(self):
        for request in (
            get(fields=("Host: h", "Connection: close")),
            get(version="1.0", fields=("X: y",)),
            get(fields=("Host: h", "Connection: TE, Close")),
        ):
            peer = self.call("metrics").say(request + get())
            status, fields, body = heard(peer)
            self.assertEqual((status, fields["Connection"]), (200, "close"))
            self.assertTrue(samples(body))
            peer.ended()
        peer = self.call("metrics").say(get(version="1.0", fields=("Connection: keep-alive",)))
        self.assertEqual(heard(peer)[1]["Connection"], "keep-alive")
        self.assertEqual(heard(peer.say(get("/healthz")))[2], "ok\n")

    def test_t11_a_half_close_behind_a_request_gets_its_answer(self):
        peer = self.call("metrics").say(get()).half_close()
        self.assertTrue(samples(heard(peer)[2]))
        peer.ended()
        self.call("metrics").half_close().ended()

    def test_t11_what_is_wrong_is_told_and_ends_the_connection(self):
        long = "X: " + "x" * 8192
        for request, status in (
            (b"hello\r\n\r\n", 400),
            (b"\x16\x03\x01\x02\x00\x01", 400),
            (get(fields=("X: y",)), 400),
            (get(fields=("Host: a", "Host: b")), 400),
            (get(version="2.0"), 400),
            (get(fields=("Host: h", "Content-Length: 3")) + b"abc", 400),
            (get(method="POST", fields=("Host: h", "Transfer-Encoding: chunked")), 405),
            (get("/" + "x" * 9000), 431),
            (get(fields=("Host: h", long)), 431),
            (get(fields=("Host: h", *["A: b"] * 70)), 431),
            (get()[:-2], 400),
        ):
            with self.subTest(request=request[:40]):
                peer = self.call("metrics").say(request + b"GET " * 5000 * (status == 431))
                if request == get()[:-2]:
                    peer.half_close()
                said, fields, body = heard(peer)
                self.assertEqual((said, fields["Connection"]), (status, "close"))
                self.assertTrue(body.endswith("\n"))
                if status == 405:
                    self.assertEqual(fields["Allow"], "GET, HEAD")
                peer.ended()

    @without("secret", "the proofs are bytes received, too")
    def test_t11_figures_tell_what_happened_at_each_endpoint(self):
        def now():
            with self.call("metrics") as peer:
                return samples(heard(peer.say(get()))[2])

        def at(figures, name, **more):
            host, port = self.addresses["echo", "tcp4"]
            labels = {"endpoint": "echo://%s:%d" % (host, port), **more}
            return figures["onepoll_" + name, *sorted(labels.items())]

        before = now()
        with self.call("echo") as one:
            one.say(b"x" * 5000).takes(5000)
            during = now()
            self.assertEqual(at(during, "connections"), at(before, "connections") + 1)
            one.half_close().ended()
        self.server.rests()
        after = now()
        grown = lambda name, **more: at(after, name, **more) - at(before, name, **more)
        self.assertEqual(grown("connections_opened_total"), 1)
        self.assertEqual(grown("connections_closed_total", reason="ended"), 1)
        self.assertEqual(grown("connections_closed_total", reason="idle"), 0)
        self.assertEqual(grown("received_bytes_total"), 5000)
        self.assertEqual(grown("sent_bytes_total"), 5000)
        self.assertEqual(at(after, "connections"), 0)
        turns = lambda figures: figures["onepoll_turn_seconds_count",]
        self.assertGreater(turns(after), turns(before))

    def test_t11_a_histogram_never_falls_and_ends_at_its_count(self):
        figures = samples(heard(self.call("metrics").say(get()))[2])
        for name in ("onepoll_turn_seconds", "onepoll_wake_up_events"):
            buckets = [
                (float(dict(key[1:])["le"]), value)
                for key, value in figures.items()
                if key[0] == name + "_bucket"
            ]
            buckets.sort()
            counts = [count for _, count in buckets]
            self.assertEqual(counts, sorted(counts))
            self.assertEqual(buckets[-1], (float("inf"), figures[name + "_count",]))
            self.assertGreater(figures[name + "_count",], 0)

    def test_t11_every_counter_of_the_log_is_a_figure(self):
        counters = self.server.counters()
        figures = samples(heard(self.call("metrics").say(get()))[2])
        endpoints = {key[1][1] for key in figures if key[0] == "onepoll_connections"}
        # Beside what was asked for, the socket through which a server is taken over.
        self.assertIn("control", endpoints)
        self.assertEqual(len(endpoints), len(self.server.bound) + 1)
        for reason in counters["closed"]:
            found = [k for k in figures if k[0].endswith("closed_total") and ("reason", reason) in k]
            self.assertEqual(len(found), len(endpoints), reason)
        for reason in counters["refused"]:
            found = [k for k in figures if k[0].endswith("refused_total") and ("reason", reason) in k]
            self.assertEqual(len(found), len(endpoints), reason)

    def test_t11_promtool_finds_nothing_to_say(self):
        self.needs("promtool")
        text = heard(self.call("metrics").say(get()))[2]
        done = subprocess.run(
            ["promtool", "check", "metrics"],
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=2 * DEADLINE,
            text=True,
        )
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    @without("secret", "curl answers no challenge")
    @without("tls", "curl is told of no certificate")
    def test_t11_curl_and_python_fetch_it(self):
        host, port = self.addresses["metrics", "tcp4"]
        at = "http://%s:%d/" % (host, port)
        with urllib.request.urlopen(at + "metrics", timeout=DEADLINE) as answer:
            self.assertTrue(samples(answer.read().decode()))
        link = http.client.HTTPConnection(host, port, timeout=DEADLINE)
        for path, status in (("/healthz", 200), ("/metrics", 200), ("/x", 404)):
            link.request("GET", path)
            with link.getresponse() as answer:
                self.assertEqual(answer.status, status)
                answer.read()
        link.close()
        # Twice on one connection, and by the Unix socket.
        said = self.judged("curl", "-sS", "-w", "%{num_connects}\n", at + "healthz", at + "healthz")
        self.assertEqual(said, "ok\n1\nok\n0\n")
        path = self.addresses["metrics", "unix"]
        said = self.judged("curl", "-sS", "--unix-socket", path, "http://h/metrics")
        self.assertTrue(samples(said))
        said = self.judged("curl", "-sSI", at + "metrics")
        self.assertTrue(said.startswith("HTTP/1.1 200 OK\n"), said)


class Limits(Case):
    @without("secret", "nothing is said before a challenge")
    @without("tls", "nothing is said before the handshake")
    def test_t11_a_connection_too_many_is_told_so(self):
        server = self.serve("metrics://127.0.0.1:0?max-connections=1")
        address = server.at("metrics")
        first = self.dial(address).say(get("/healthz"))
        self.assertEqual(heard(first)[0], 200)
        second = self.dial(address)
        status, fields, body = heard(second)
        self.assertEqual((status, fields["Connection"]), (503, "close"))
        self.assertIn("as many connections", body)
        server.stop()

    def test_t11_a_reader_that_does_not_read_stops_being_read(self):
        server = self.serve("metrics://127.0.0.1:0", "echo://127.0.0.1:0")
        greedy = self.dial(server.at("metrics"), rcvbuf=4096)
        greedy.link.settimeout(0.2)
        sent = 0
        # Until neither side's buffers have room: its requests stay in the kernel.
        try:
            while sent < 64 << 20:
                sent += greedy.link.send(get() * 200)
        except socket.timeout:
            pass
        self.assertLess(sent, 64 << 20)
        self.assertLess(server.counters()["owed"], 1 << 20)
        with dial(server.at("echo")) as other:
            other.say(b"x").hears(b"x")
        server.stop()

    def test_metrics_off_loopback_needs_open(self):
        told = onepoll("check", "metrics://0.0.0.0:0")
        self.assertEqual(told.returncode, 2)
        self.assertIn("`open=true`", told.stderr)
        told = onepoll("check", "--json", "metrics://0.0.0.0:0?open=true")
        self.assertEqual(told.returncode, 0, told.stderr)
        self.assertEqual(json.loads(told.stdout)["endpoints"][0]["exposure"], "open")


def version():
    return onepoll("--version").stdout.split()[1]


def fields_of(text):
    return {
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": str(len(text)),
        "Connection": "keep-alive",
    }


if __name__ == "__main__":
    main()
