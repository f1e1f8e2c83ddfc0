"""`onepoll send`, `fetch` and `list` against a server in Python, right and wrong; faults G7, G8, G10, G11, G13, G15.

The server of these tests is none of ours, so nothing here stands behind what `$ONEPOLL_BEHIND` names; a secret and
TLS have a test of their own."""

import contextlib
import hmac
import json
import os
import pty
import random
import resource
import select
import signal
import socket
import ssl
import stat
import struct
import subprocess
import threading
import time

import tls
from file_server import Cut, FileServer, digest, header, part, refusal
from harness import BINARY, DEADLINE, Case, main

AS_BYTES = 1 << 28
"""What a client may have of addresses: far less than a lying server talks of."""

SEED = int(os.environ.get("ONEPOLL_SEED", "20261127"))


def bytes_of(size, seed=1):
    return random.Random(seed).randbytes(size)


class Clients(Case):
    def setUp(self):
        self.home = self.directory()
        self.random = random.Random(SEED)

    def path(self, *parts):
        return os.path.join(self.home, *parts)

    def write(self, name, data=b""):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def read(self, *parts):
        with open(self.path(*parts), "rb") as file:
            return file.read()

    def starts(self, *arguments, stdin=subprocess.DEVNULL, limits=True, **more):
        def within():
            resource.setrlimit(resource.RLIMIT_AS, (AS_BYTES, AS_BYTES))

        more.setdefault("stderr", subprocess.PIPE)
        process = subprocess.Popen(
            [BINARY, *arguments],
            stdin=stdin,
            stdout=more.pop("stdout", subprocess.PIPE),
            cwd=self.home,
            preexec_fn=within if limits else None,
            env={name: value for name, value in os.environ.items() if not name.startswith("ONEPOLL_")},
            **more,
        )
        self.addCleanup(self.ends, process)
        return process

    @staticmethod
    def ends(process):
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                stream.close()

    def runs(self, *arguments, code=0, input=None, within=6 * DEADLINE):
        process = self.starts(*arguments, stdin=subprocess.DEVNULL if input is None else subprocess.PIPE)
        out, err = process.communicate(input, timeout=within)
        err = err.decode()
        self.assertEqual(process.returncode, code, "%s: %s%s" % (" ".join(arguments), out[-500:], err[-2000:]))
        return out.decode(), err

    def checks(self, out):
        """That `sha256sum` finds all of it to be right."""
        self.needs("sha256sum")
        done = subprocess.run(
            ["sha256sum", "-c", "--strict", "--quiet"], input=out.encode(), cwd=self.home, capture_output=True
        )
        self.assertEqual((done.returncode, done.stdout), (0, b""), done.stderr)

    def hidden(self, where=""):
        return [name for name in os.listdir(self.path(where)) if name.startswith(".")]


class Send(Clients):
    def test_files_and_trees_arrive_with_their_digests(self):
        large = bytes_of(3_000_000)
        self.write("one.txt", b"hello")
        self.write("large", large)
        self.write("tree/a/b", b"b")
        self.write("tree/empty")
        server = FileServer(self)
        out, err = self.runs("send", server.address, "one.txt", "large", "tree")
        self.assertEqual(err, "")
        self.assertEqual(
            server.files, {"one.txt": b"hello", "large": large, "tree/a/b": b"b", "tree/empty": b""}
        )
        self.assertEqual(len(out.splitlines()), 4)
        self.checks(out)
        # Again: nothing of it is sent.
        server.requests.clear()
        out, _ = self.runs("send", server.address, "large", "tree", "--json")
        lines = [json.loads(line) for line in out.splitlines()]
        self.assertEqual([line["outcome"] for line in lines], ["there"] * 3)
        self.assertEqual(lines[0]["sha256"], digest(large))
        self.assertNotIn("upload", [one.get("onepoll") for one in server.requests if one.get("file_size", 0) > 9])

    def test_what_is_skipped_is_said(self):
        self.write("tree/good", b"1")
        self.write("tree/.git/config", b"1")
        os.symlink("good", self.path("tree/link"))
        os.mkfifo(self.path("tree/fifo"))
        self.write("tree/esc\x1b[2J", b"1")
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(self.path("tree/socket"))
            server = FileServer(self)
            out, err = self.runs("send", server.address, "tree", "/dev/null", "missing", code=1)
        self.assertEqual(server.files, {"tree/good": b"1"})
        self.assertEqual(out, "%s  tree/good\n" % digest(b"1"))
        said = sorted(err.splitlines())
        self.assertEqual(
            said,
            sorted(
                [
                    "onepoll: tree/.git: skipped: a name does not begin with a dot",
                    "onepoll: tree/link: skipped: a symbolic link",
                    "onepoll: tree/fifo: skipped: a FIFO",
                    "onepoll: tree/socket: skipped: a socket",
                    "onepoll: tree/esc\\u{1b}[2J: skipped: a name has no control characters",
                    "onepoll: /dev/null: skipped: a device",
                    "onepoll: missing: No such file or directory (os error 2)",
                ]
            ),
        )

    def test_fault_g10_what_was_kept_goes_on_only_if_it_is_the_same(self):
        data = bytes_of(2_000_000)
        self.write("large", data)
        for kept, offset in ((data[:700_001], 700_001), (bytes_of(700_001, 2), None), (data, len(data))):
            server = FileServer(self)
            server.kept["large", len(data)] = kept
            out, _ = self.runs("send", server.address, "large", "--json")
            self.assertEqual(server.files["large"], data)
            self.assertEqual(json.loads(out).get("resumed_at"), offset)
            self.assertEqual(json.loads(out)["sha256"], digest(data))

    def test_fault_g7_what_is_cut_is_said_and_the_same_command_goes_on(self):
        data = bytes_of(4_000_000)
        self.write("large file", data)
        self.write("other", b"1")
        server = FileServer(self)
        tries = 0
        while "large file" not in server.files:
            tries += 1
            self.assertLess(tries, 50)
            had = len(server.kept.get(("large file", len(data)), b""))
            server.cut_after = had + self.random.randrange(1, 1_500_000)
            process = self.starts("send", server.address, "large file", "other")
            out, err = process.communicate(timeout=60)
            err = err.decode()
            if process.returncode == 0:
                break
            self.assertEqual(process.returncode, 1, err)
            self.assertRegex(err, r"onepoll: large file: [0-9]+ of 4000000 bytes were sent: ")
            self.assertIn("go on with: onepoll send %s 'large file' other\n" % server.address, err)
        self.assertEqual((server.files["large file"], server.files["other"]), (data, b"1"))
        self.assertGreater(tries, 1)

    def test_many_small_files_wait_for_no_answer(self):
        files = {"d/%04d" % n: b"%d" % n for n in range(300)}
        for name, data in files.items():
            self.write(name, data)

        def talks(server, link):
            # Nothing is answered before a hundred have come whole.
            held = []
            while True:
                asked = link.request()
                data = link.takes(asked["file_size"])
                server.files[asked["file_name"]] = data
                held.append(header(ok=True, file_size=len(data), sha256=digest(data)))
                if len(held) == 100:
                    link.says(b"".join(held))
                    held.clear()

        server = FileServer(self, talks=talks)
        out, _ = self.runs("send", server.address, "d", within=DEADLINE)
        self.assertEqual(server.files, files)
        self.checks(out)

    def test_a_server_whose_answers_are_not_read_is_not_waited_for(self):
        # Answers to such names are more than both sockets hold.
        files = {"d/%04d" % n + "n" * 200: bytes([n % 256]) * 3000 for n in range(1000)}
        for name, data in files.items():
            self.write(name, data)

        def wrap(link):
            # It writes before it reads on, and has little room for what is not read.
            link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            return link

        server = FileServer(self, wrap=wrap)
        self.runs("send", server.address, "d")
        self.assertEqual(server.files, files)

    def test_fault_g13_a_file_that_changes_is_never_whole_there(self):
        size = 8_000_000
        changes = {
            "shrank": lambda path: os.truncate(path, 1_000_000),
            "changed": lambda path: os.utime(path),
            "grew": lambda path: os.truncate(path, size + 1),
        }
        for name, change in changes.items():
            path = self.write(name, bytes_of(size))
            begun, changed = threading.Event(), threading.Event()

            def talks(server, link):
                if link.number > 1:
                    return server.talk(link)
                while True:
                    asked = link.request()
                    if asked["onepoll"] == "upload":
                        link.takes(100_000)
                        begun.set()
                        assert changed.wait(DEADLINE)
                        link.takes(asked["file_size"] - 100_000)
                        server.files["it came to its end"] = b""
                    server.answer(link, asked)

            server = FileServer(self, talks=talks)
            self.write("after", b"1")
            process = self.starts("send", server.address, path, "after")
            self.assertTrue(begun.wait(DEADLINE))
            change(path)
            changed.set()
            _, err = process.communicate(timeout=60)
            word = "shrank" if name == "shrank" else "changed"
            self.assertEqual(process.returncode, 1)
            self.assertRegex(err.decode(), r"%s: [0-9]+ of %d bytes were sent: it %s while" % (name, size, word))
            # The others go on, over another connection.
            self.assertEqual(server.files, {"after": b"1"})

    def test_what_is_there_is_not_replaced_and_compared(self):
        self.write("small", b"ours")
        self.write("large", bytes_of(100_000))
        server = FileServer(self, {"small": b"theirs", "large": bytes_of(100_000, 2)})
        _, err = self.runs("send", server.address, "small", "large", code=1)
        self.assertIn("onepoll: small: another file is there under its name\n", err)
        self.assertIn("onepoll: large: refused: a file of this name is there\n", err)
        server.overwrite = True
        self.runs("send", server.address, "large")
        self.assertEqual(server.files["large"], bytes_of(100_000))

    def test_a_large_one_that_is_refused_does_not_hold_up_the_others(self):
        self.write("a", bytes_of(5_000_000))
        self.write("b", bytes_of(100_000))
        self.write("c", b"1")

        def talks(server, link):
            while True:
                asked = link.request()
                if asked["onepoll"] == "upload" and asked["file_name"] == "a":
                    link.says(refusal("quota", "no more than this", "a"))
                    # As the protocol has it, the connection ends.
                    link.link.shutdown(socket.SHUT_WR)
                    while link.link.recv(1 << 16):
                        pass
                    raise Cut
                server.answer(link, asked)

        server = FileServer(self, talks=talks)
        out, err = self.runs("send", server.address, "a", "b", "c", code=1)
        self.assertEqual(err, "onepoll: a: refused: no more than this\n")
        self.assertEqual(sorted(server.files), ["b", "c"])
        self.checks(out)

    def test_what_one_connection_has_said_is_asked_again_on_the_next(self):
        first, second = bytes_of(300_000), bytes_of(300_000, 2)
        self.write("a", first)
        self.write("b", second)

        def talks(server, link):
            if link.number > 1:
                return server.talk(link)
            while True:
                asked = link.request()
                if asked["onepoll"] == "upload":
                    link.takes(asked["file_size"] - asked["offset"])
                    # It is known by then that another file is in the way of `b`.
                    while asked.get("bytes") != len(second):
                        asked = link.request()
                    link.says(refusal("changed", "it is gone", "a"))
                    raise Cut
                server.answer(link, asked)

        server = FileServer(self, {"b": bytes_of(300_000, 3)}, talks=talks, overwrite=True)
        server.kept["a", len(first)] = first[:100_000]
        self.runs("send", server.address, "a", "b", within=DEADLINE)
        self.assertEqual((server.files["a"], server.files["b"]), (first, second))
        self.assertEqual(server.connections, 2)

    def test_an_interrupt_ends_what_only_connects(self):
        with socket.create_server(("127.0.0.1", 0), backlog=1) as full:
            address = "127.0.0.1:%d" % full.getsockname()[1]
            held = []
            while True:
                one = socket.socket()
                held.append(one)
                self.addCleanup(one.close)
                one.setblocking(False)
                one.connect_ex(full.getsockname())
                if not select.select([], [one], [], 0.3)[1]:
                    break
            self.write("a", b"1")
            for arguments in (("send", address, "a"), ("fetch", address, "b"), ("list", address)):
                process = self.starts(*arguments)
                # It has begun when it has a socket; one interrupt may come before that is the one that connects.
                until = time.monotonic() + DEADLINE
                while not self.has_socket(process):
                    self.assertLess(time.monotonic(), until)
                    select.select([], [], [], 0.01)
                while process.poll() is None:
                    self.assertLess(time.monotonic(), until)
                    process.send_signal(signal.SIGINT)
                    select.select([], [], [], 0.05)
                self.assertEqual(process.returncode, -signal.SIGINT)

    @staticmethod
    def has_socket(process):
        with contextlib.suppress(FileNotFoundError):
            place = "/proc/%d/fd" % process.pid
            return any(os.readlink(os.path.join(place, fd)).startswith("socket:") for fd in os.listdir(place))
        return False

    def test_a_server_that_says_what_is_not_so(self):
        self.write("a", b"hello")
        self.write("large", bytes_of(1_000_000))

        def stores_others(server, link):
            while True:
                asked = link.request()
                if asked["onepoll"] == "upload":
                    link.takes(asked["file_size"])
                    link.says(header(ok=True, file_size=asked["file_size"], sha256=digest(b"no")))
                else:
                    server.answer(link, asked)

        server = FileServer(self, talks=stores_others)
        _, err = self.runs("send", server.address, "a", "large", code=1)
        self.assertEqual(err.count("the server has stored another file: its digest is "), 2)

        def too_early(server, link):
            while True:
                asked = link.request()
                if asked["onepoll"] == "upload":
                    link.says(header(ok=True, file_size=asked["file_size"], sha256=digest(b"no")))
                    link.takes(1 << 30)
                server.answer(link, asked)

        self.write("huge", bytes_of(20_000_000))
        server = FileServer(self, talks=too_early)
        _, err = self.runs("send", server.address, "huge", code=1)
        self.assertIn("stored before all of it was sent", err)

    def test_a_server_that_takes_nothing_is_given_up(self):
        self.write("large", bytes_of(20_000_000))
        held = threading.Event()
        self.addCleanup(held.set)

        def talks(server, link):
            while True:
                asked = link.request()
                if asked["onepoll"] == "upload":
                    held.wait(6 * DEADLINE)
                    raise Cut
                server.answer(link, asked)

        server = FileServer(self, talks=talks)
        _, err = self.runs("send", server.address, "large", "--timeout", "500ms", code=1, within=DEADLINE)
        self.assertIn("no whole answer within 500 ms: it has made no progress; --timeout raises this limit", err)

    def test_standard_input_is_sent_in_parts(self):
        server = FileServer(self)
        data = bytes_of(300_000)
        out, _ = self.runs("send", server.address, "-", "--name", "piped", input=data)
        self.assertEqual(server.files, {"piped": data})
        self.assertEqual(out, "%s  -\n" % digest(data))
        self.runs("send", server.address, "-", "--name", "empty", input=b"")
        self.assertEqual(server.files["empty"], b"")
        _, err = self.runs("send", server.address, "-", code=2)
        self.assertIn("standard input has no name: say --name NAME", err)

    def test_wrong_usage(self):
        self.write("a/x")
        self.write("b/x")
        for arguments, why in (
            (("a/x", "b/x"), 'a/x and b/x would both be called "x" there'),
            (("a", "b", "--name", "c"), "--name is for one file"),
            (("a/x", "--fingerprint", "ab"), "say --tls, too"),
        ):
            _, err = self.runs("send", "127.0.0.1:1", *arguments, code=2)
            self.assertIn(why, err)

    def test_an_interrupt_leaves_what_goes_on(self):
        data = bytes_of(6_000_000)
        self.write("large", data)
        begun = threading.Event()

        def talks(server, link):
            if link.number > 1:
                return server.talk(link)
            while True:
                asked = link.request()
                if asked["onepoll"] == "upload":
                    server.kept["large", len(data)] = link.takes(1_000_000)
                    begun.set()
                    link.takes(1 << 30)
                server.answer(link, asked)

        server = FileServer(self, talks=talks)
        # Less is taken than there is, so it waits for room.
        process = self.starts("send", server.address, "large")
        self.assertTrue(begun.wait(DEADLINE))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE)
        if process.returncode == 130:
            self.assertIn("bytes were sent: interrupted\n", err.decode())
            self.assertIn("go on with: onepoll send", err.decode())
        out, _ = self.runs("send", server.address, "large", "--json")
        self.assertEqual(server.files["large"], data)
        self.assertEqual(json.loads(out)["resumed_at"], 1_000_000)


class Fetch(Clients):
    def test_files_come_whole_with_their_digests(self):
        files = {"a": b"hello", "t/u/b": bytes_of(500_000), "empty": b""}
        server = FileServer(self, files)
        out, err = self.runs("fetch", server.address, *files)
        self.assertEqual(err, "")
        for name, data in files.items():
            self.assertEqual(self.read(name), data)
        self.checks(out)
        self.assertEqual(self.hidden(), [])
        os.mkdir(self.path("out"))
        out, _ = self.runs("fetch", server.address, *files, "-o", "out")
        self.checks(out)
        self.assertEqual(out.split("\n")[0], "%s  out/a" % digest(b"hello"))
        # Again: they are there.
        out, _ = self.runs("fetch", server.address, *files, "--json")
        lines = [json.loads(line) for line in out.splitlines()]
        self.assertEqual(sorted(line["file_name"] for line in lines), sorted(files))
        self.assertEqual({line["outcome"] for line in lines}, {"there"})

    def test_fault_g15_modes_are_those_of_the_umask(self):
        server = FileServer(self, {"a": b"1"})
        process = self.starts("fetch", server.address, "a", umask=0o027)
        self.assertEqual(process.wait(DEADLINE), 0)
        self.assertEqual(stat.S_IMODE(os.stat(self.path("a")).st_mode), 0o640)

    def test_what_was_cut_goes_on_from_where_it_stopped(self):
        data = bytes_of(4_000_000)
        server = FileServer(self, {"large": data})
        tries = 0
        while not os.path.exists(self.path("large")):
            tries += 1
            self.assertLess(tries, 50)
            kept = os.path.getsize(self.path(".large.onepoll-part")) if self.hidden() else 0
            server.cut_after = kept + self.random.randrange(1, 1_500_000)
            process = self.starts("fetch", server.address, "large")
            _, err = process.communicate(timeout=60)
            if process.returncode:
                self.assertRegex(err.decode(), r"large: [0-9]+ of 4000000 bytes came, and is kept: ")
                self.assertIn("go on with: onepoll fetch %s large\n" % server.address, err.decode())
                mode = os.stat(self.path(".large.onepoll-part")).st_mode
                self.assertEqual(stat.S_IMODE(mode), 0o600)
        self.assertEqual(self.read("large"), data)
        self.assertGreater(tries, 1)
        self.assertEqual(self.hidden(), [])
        offsets = [one.get("offset", 0) for one in server.requests]
        self.assertEqual(offsets, sorted(set(offsets)), "nothing came twice")

    def test_fault_g10_what_is_kept_of_another_file_is_of_no_use(self):
        data = bytes_of(500_000)
        for kept in (bytes_of(200_000, 2), data + b"more", data[:200_000], data):
            server = FileServer(self, {"a": data})
            self.write(".a.onepoll-part", kept)
            out, _ = self.runs("fetch", server.address, "a", "--json")
            self.assertEqual(self.read("a"), data)
            whole = kept == data[: len(kept)]
            self.assertEqual(json.loads(out).get("resumed_at"), len(kept) if whole else None)
            os.remove(self.path("a"))
            self.assertEqual(self.hidden(), [])

    def test_what_is_there_stays_without_force(self):
        server = FileServer(self, {"a": b"theirs", "link": b"theirs", "dir": b"1"})
        self.write("a", b"mine!!")
        self.write("precious", b"precious")
        os.symlink("precious", self.path("link"))
        os.mkdir(self.path("dir"))
        _, err = self.runs("fetch", server.address, "a", "link", "dir", code=1)
        self.assertEqual(
            sorted(err.splitlines()),
            [
                "onepoll: a: another file is there; --force replaces it",
                "onepoll: dir: a directory is there",
                "onepoll: link: a symbolic link is there; --force replaces it",
            ],
        )
        self.assertEqual((self.read("a"), self.read("link")), (b"mine!!", b"precious"))
        _, err = self.runs("fetch", server.address, "a", "link", "dir", "--force", code=1)
        self.assertEqual((self.read("a"), self.read("link"), self.read("precious")), (b"theirs", b"theirs", b"precious"))
        self.assertFalse(os.path.islink(self.path("link")))

    def test_nothing_is_written_outside(self):
        server = FileServer(self, {"way/a": b"1", "a": b"1"})
        for name in ("../a", "/etc/passwd", "a/../../b", ".", "", "a//b", ".hidden", "a\\b", "a\x1bb", "x" * 256):
            _, err = self.runs("fetch", server.address, name, code=2)
            self.assertIn("no server has a file", err)
        outside = self.directory()
        os.symlink(outside, self.path("way"))
        _, err = self.runs("fetch", server.address, "way/a", code=1)
        self.assertEqual(os.listdir(outside), [])
        # Nor is what somebody put in the way of a part.
        self.write("precious", b"precious")
        os.symlink("precious", self.path(".a.onepoll-part"))
        self.runs("fetch", server.address, "a", code=1)
        self.assertEqual(self.read("precious"), b"precious")

    def lies(self, *said, code=1, name="a", within=DEADLINE, arguments=()):
        """What comes of a server that says this to the first request, and then waits."""

        def talks(server, link):
            link.request()
            for some in said:
                link.says(some)
            link.link.shutdown(socket.SHUT_WR)
            link.takes(1)

        server = FileServer(self, talks=talks)
        _, err = self.runs("fetch", server.address, name, *arguments, code=code, within=within)
        self.assertFalse(os.path.exists(self.path(name)))
        return err

    def test_fault_g8_g11_a_server_that_lies_gets_no_file(self):
        begins = header(ok=True, file_name="a", file_size=5, offset=0, modified=0)
        ends = header(ok=True, file_name="a", file_size=5, sha256=digest(b"hello"))
        for said, why in (
            ((header(ok=True, file_name="b", file_size=5, offset=0),), "another than was asked for"),
            ((header(ok=True, file_name="a", file_size=5, offset=3),), "`offset` is none that was offered"),
            ((begins, part(b"hello!")), "more bytes of the file came than were told"),
            ((begins, part(b"hell"), ends), "fewer bytes of the file came than were told"),
            ((begins, part(b"HELLO"), ends), "what came has the digest"),
            ((begins, part(b"hello")), "hung up: in the middle of an answer"),
            ((begins, refusal("changed", "it became shorter", "a")), "0 of 5 bytes came: it became shorter"),
            ((struct.pack("<i", 2**31 - 1),), "is longer than the limit of 4096"),
            ((struct.pack("<i", -1),), "negative length"),
            ((header(ok=True, file_name="a", file_size=-1, offset=0),), "`file_size`"),
            ((header(ok=True, file_name="a", file_size=float("nan"), offset=0),), "malformed"),
            ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), "is it a `file` endpoint"),
            ((b"onepoll: there are too many connections\n",), "there are too many connections"),
            ((refusal("protocol", "esc\x1b[2J"),), "esc\\u{1b}[2J"),
        ):
            self.assertIn(why, self.lies(*said))
            keeps = "hung up" in why or "fewer bytes" in why
            self.assertEqual(self.hidden(), [".a.onepoll-part"] if keeps else [], why)
            for name in self.hidden():
                os.remove(self.path(name))

    def test_fault_g13_of_a_file_that_shrank_only_what_is_of_it_is_kept(self):
        begins = header(ok=True, file_name="a", file_size=9, offset=0, modified=0)
        end = header(ok=False, kind="changed", error="it became shorter", file_name="a", valid=3)
        self.assertIn("3 of 9 bytes came: it became shorter", self.lies(begins, part(b"abc\0\0\0\0\0\0"), end))
        self.assertEqual(self.read(".a.onepoll-part"), b"abc")

    def test_fault_b10_a_server_that_drips_is_given_up(self):
        begins = header(ok=True, file_name="a", file_size=1 << 40, offset=0, modified=0)
        stops = threading.Event()
        self.addCleanup(stops.set)
        for first in (b"", begins, begins + header(data_size=1000)):

            def talks(server, link):
                link.request()
                link.says(first)
                drip = b"\x00" if first else header(ok=True, file_name="a", file_size=1, offset=0)
                if first == begins:
                    drip = header(data_size=0)
                at = 0
                while not stops.wait(0.02):
                    link.says(drip if first == begins else drip[at % len(drip) :][:1])
                    at += 1

            server = FileServer(self, talks=talks)
            began = time.monotonic()
            _, err = self.runs("fetch", server.address, "a", "--timeout", "400ms", code=1, within=DEADLINE)
            if first:
                self.assertIn("it has made no progress", err)
            self.assertLess(time.monotonic() - began, DEADLINE / 2)

    def test_a_disk_that_is_full_is_said(self):
        server = FileServer(self, {"a": bytes_of(1_000_000), "b": b"1"})

        def limited():
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

        process = subprocess.run(
            [BINARY, "fetch", server.address, "a", "b"],
            cwd=self.home,
            preexec_fn=limited,
            capture_output=True,
            timeout=DEADLINE,
        )
        self.assertEqual(process.returncode, 1)
        self.assertIn(b"a cannot be written: File too large", process.stderr)
        self.assertFalse(os.path.exists(self.path("a")))

    def test_to_standard_output(self):
        data = bytes_of(1_000_000)
        server = FileServer(self, {"a": data, "b": b"b"})
        process = self.starts("fetch", server.address, "a", "b", "-o", "-")
        out, err = process.communicate(timeout=DEADLINE)
        self.assertEqual((process.returncode, out), (0, data + b"b"))
        self.assertEqual(err.decode(), "%s  a\n%s  b\n" % (digest(data), digest(b"b")))
        # A reader that goes away wants no more.
        process = self.starts("fetch", server.address, "a", "-o", "-")
        process.stdout.read(1)
        process.stdout.close()
        self.assertEqual(process.wait(DEADLINE), 0)
        # One that waits is waited for, longer than the server would be.
        process = self.starts("fetch", server.address, "a", "-o", "-", "--timeout", "200ms")
        self.assertEqual(select.select([process.stdout], [], [], DEADLINE)[0], [process.stdout])
        with self.assertRaises(subprocess.TimeoutExpired):
            process.wait(0.5)
        self.assertEqual(process.stdout.read(), data)
        self.assertEqual(process.wait(DEADLINE), 0)

    def test_two_do_not_write_one_file(self):
        held, begun = threading.Event(), threading.Event()
        self.addCleanup(held.set)

        def talks(server, link):
            if link.number > 1:
                return server.talk(link)
            link.request()
            link.says(header(ok=True, file_name="a", file_size=5, offset=0) + part(b"he"))
            begun.set()
            assert held.wait(6 * DEADLINE)
            link.says(part(b"llo") + header(ok=True, sha256=digest(b"hello")))
            link.takes(1)

        server = FileServer(self, {"a": b"hello"}, talks=talks)
        first = self.starts("fetch", server.address, "a")
        self.assertTrue(begun.wait(DEADLINE))
        until = time.monotonic() + DEADLINE
        while not self.hidden() or not os.path.getsize(self.path(".a.onepoll-part")):
            self.assertLess(time.monotonic(), until)
            select.select([], [], [], 0.01)
        _, err = self.runs("fetch", server.address, "a", code=1)
        self.assertIn("another process writes to .a.onepoll-part", err)
        held.set()
        self.assertEqual(first.wait(DEADLINE), 0)
        self.assertEqual(self.read("a"), b"hello")

    def test_an_interrupt_leaves_what_goes_on(self):
        data = bytes_of(1_000_000)
        stops = threading.Event()
        self.addCleanup(stops.set)

        def talks(server, link):
            if link.number > 1:
                return server.talk(link)
            link.request()
            link.says(header(ok=True, file_name="a", file_size=len(data), offset=0) + part(data[:300_000]))
            stops.wait(6 * DEADLINE)

        server = FileServer(self, {"a": data}, talks=talks)
        process = self.starts("fetch", server.address, "a")
        until = time.monotonic() + DEADLINE
        while not self.hidden() or os.path.getsize(self.path(".a.onepoll-part")) < 300_000:
            self.assertLess(time.monotonic(), until)
            select.select([], [], [], 0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE)
        self.assertEqual(process.returncode, 130)
        self.assertIn("onepoll: a: 300000 of 1000000 bytes came, and is kept: interrupted\n", err.decode())
        out, _ = self.runs("fetch", server.address, "a", "--json")
        self.assertEqual(json.loads(out)["resumed_at"], 300_000)
        self.assertEqual(self.read("a"), data)

    def test_progress_is_a_bar_on_a_terminal_and_nothing_when_quiet(self):
        data = bytes_of(3_000_000)
        for quiet in ((), ("-q",)):

            def talks(server, link):
                link.request()
                link.says(header(ok=True, file_name="a", file_size=len(data), offset=0))
                for at in range(0, len(data), 30_000):
                    link.says(part(data[at : at + 30_000]))
                    time.sleep(0.01)  # a bar is drawn five times a second
                link.says(header(ok=True, sha256=digest(data)))
                link.takes(1)

            server = FileServer(self, {"a": data}, talks=talks)
            master, slave = pty.openpty()
            self.addCleanup(os.close, master)
            process = self.starts("fetch", server.address, "a", *quiet, stderr=slave)
            os.close(slave)
            seen = b""
            while True:
                try:
                    some = os.read(master, 4096)
                except OSError:
                    break
                seen += some
            self.assertEqual(process.wait(DEADLINE), 0)
            if quiet:
                self.assertEqual(seen, b"")
            else:
                self.assertRegex(seen.decode(), r"[0-9.]+ [KM]iB of 2.86 MiB, [0-9.]+ [KM]iB/s, .* left: a")
            os.remove(self.path("a"))


class List(Clients):
    def test_a_list_acts_on_no_terminal(self):
        server = FileServer(self, {"a": b"hello", "esc\x1b[2J": b"", "t/b": b"1"})
        out, err = self.runs("list", server.address)
        self.assertEqual(
            out,
            "           5  1970-01-01T00:00:00Z  a\n"
            "           0  1970-01-01T00:00:00Z  esc\ufffd[2J\n"
            "           1  1970-01-01T00:00:00Z  t/b\n",
        )
        out, _ = self.runs("list", server.address, "--json")
        lines = [json.loads(line) for line in out.splitlines()]
        self.assertEqual([line["file_name"] for line in lines[:-1]], ["a", "esc\x1b[2J", "t/b"])
        self.assertEqual(lines[-1], {"schema": 1, "files": 3, "bytes": 6, "skipped": 0})

    def test_a_list_without_an_end_needs_no_memory_and_ends_with_its_reader(self):
        line = json.dumps({"file_name": "n" * 1000, "file_size": 1, "modified": 1}).encode() + b"\n"

        def talks(server, link):
            link.request()
            while True:
                link.says(part(line * 500))

        server = FileServer(self, talks=talks)
        process = self.starts("list", server.address)
        heard = 0
        while heard < AS_BYTES // 2:
            heard += len(process.stdout.read1(1 << 20))
        process.stdout.close()
        self.assertEqual(process.wait(DEADLINE), 0)


class Behind(Clients):
    def test_a_secret_and_tls(self):
        secret, pair = self.write("secret", b"0123456789abcdef0123"), self.directory()
        os.chmod(secret, 0o600)
        cert, key, fingerprint = tls.certificate(os.path.join(pair, "pair"))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(cert, key)
        data = bytes_of(300_000)

        def proves(link):
            challenge = os.urandom(32)
            link.sendall(challenge)
            proof = b""
            while len(proof) < 32:
                some = link.recv(32 - len(proof))
                if not some:
                    raise Cut
                proof += some
            if not hmac.compare_digest(proof, hmac.digest(b"0123456789abcdef0123", challenge, "sha256")):
                raise Cut
            return link

        server = FileServer(self, {"a": data}, wrap=proves)
        self.runs("fetch", server.address, "a", "--secret-file", secret)
        self.assertEqual(self.read("a"), data)
        wrong = self.write("wrong", b"another secret of ours")
        os.chmod(wrong, 0o600)
        _, err = self.runs("send", server.address, "secret", "--secret-file", wrong, code=1)
        self.assertIn("to a wrong proof a server says nothing", err)

        sealed = FileServer(self, {"b": data}, wrap=lambda link: context.wrap_socket(link, server_side=True))
        trust = ("--tls", "--fingerprint", fingerprint)
        self.runs("fetch", sealed.address, "b", *trust)
        self.assertEqual(self.read("b"), data)
        large = bytes_of(5_000_000, 3)
        self.write("large", large)
        self.runs("send", sealed.address, "large", *trust)
        self.assertEqual(sealed.files["large"], large)
        _, err = self.runs("list", sealed.address, "--tls", code=1)
        self.assertIn("say --fingerprint " + fingerprint, err)


if __name__ == "__main__":
    main()
