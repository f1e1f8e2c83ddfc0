"""The audit: a line of JSON for each event, in a file that a child of the server writes, or in the log.

What a disk, a reader or an operator can do to it is done here: files that cannot be opened, that are renamed,
that may not grow; a writer that stands still, and one that is killed.
"""

import contextlib
import glob
import hmac
import json
import os
import re
import resource
import signal
import stat
import subprocess
import threading
import time

from behind import without
from harness import BINARY, DEADLINE, Case, main, onepoll

from test_life import until

TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
COMMANDS = "command://127.0.0.1:0?auth=none&framing=raw"

SECRET = b"Oh, a secret: 8Qz1 of this test alone"


def events(text):
    """Each line as an object; every line is one, in printable ASCII."""
    found = []
    for line in text.split("\n")[:-1]:
        assert re.fullmatch(r"[ -~]+", line), line
        event = json.loads(line)
        assert TIME.match(event["time"]), line
        assert list(event)[:2] == ["time", "event"], line
        found.append(event)
    assert text.endswith("\n") or not text, text[-80:]
    return found


class Audited(Case):
    def audited(self, *urls, through=(), path=None, arguments=(), **how):
        self.path = path or os.path.join(self.directory(), "audit.jsonl")
        server = self.serve(*urls, through=through, arguments=("--audit", self.path, *arguments), **how)
        self.writer_of(server)
        return server

    def told(self, path=None):
        with open(path or self.path) as file:
            return events(file.read())

    def tells(self, predicate, path=None):
        """Waits for the first event that fits."""
        found = []

        def come():
            with contextlib.suppress(FileNotFoundError):
                found[:] = [event for event in self.told(path) if predicate(event)]
            return found

        until(come, "the audit does not say so: %s" % self.path)
        return found[0]

    def writer_of(self, server, other_than=None):
        """The writer's process, once it has its file open: its signals are set up by then."""
        found = []

        def is_ready(pid):
            numbers = os.listdir("/proc/%s/fd" % pid)
            return self.path in [os.readlink("/proc/%s/fd/%s" % (pid, n)) for n in numbers]

        def come():
            found[:] = []
            for pid in server.children_now():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    with open("/proc/%s/cmdline" % pid, "rb") as file:
                        is_writer = b"\0audit-writer\0" in file.read()
                    if is_writer and int(pid) != other_than and is_ready(pid):
                        found.append(int(pid))
            return found

        until(come, "there is no writer")
        return found[0]

    def runs(self, server, line, nth=0):
        peer = self.dial(server.at("command", nth=nth))
        peer.say(line.encode() + b"\n").half_close()
        return peer.rest()


class Lines(Audited):
    @without("secret", "a login is a line of its own")
    def test_commands_are_told_when_they_start_and_when_they_end(self):
        server = self.audited(COMMANDS)
        self.assertEqual(self.runs(server, "echo hello; exit 3"), b"hello\n")
        self.assertEqual(self.runs(server, "kill -9 $$"), b"")
        server.stop()
        told = self.told()
        names = [event["event"] for event in told]
        started, ended = "command-started", "command-ended"
        self.assertEqual(names, ["start", started, ended, started, ended, "stop"])
        self.assertEqual((told[0]["server"], told[0]["version"]), (server.pid, version()))
        address = "%s:%d" % server.at("command")
        for event in told[1:5]:
            self.assertEqual(event["endpoint"], "command://" + address)
            self.assertRegex(event["peer"], r"^127\.0\.0\.1:\d+$")
        self.assertEqual((told[1]["command"], told[1]["command_bytes"]), ("echo hello; exit 3", 18))
        self.assertEqual((told[2]["exit"], told[2]["output_bytes"]), (3, 6))
        self.assertEqual((told[4]["signal"], told[4]["output_bytes"]), (9, 0))
        self.assertEqual(told[1]["connection"], told[2]["connection"])
        self.assertNotEqual(told[1]["connection"], told[3]["connection"])
        self.assertLess(told[2]["ms"], 60_000)

    def test_a_command_that_the_end_of_the_server_ends_is_told(self):
        server = self.audited(COMMANDS)
        peer = self.dial(server.at("command")).say(b"echo up; exec sleep 100\n")
        peer.hears(b"up\n")
        self.tells(lambda event: event["event"] == "command-started")
        server.terminate()
        # Two signals at once are one.
        server.waits_for(lambda line: "stopping" in line)
        server.terminate()
        server.ends(0)
        ended = self.told()[-2]
        self.assertEqual((ended["event"], ended["output_bytes"]), ("command-ended", 3))
        self.assertTrue(ended.get("why") == "the server stopped" or ended.get("signal"), ended)
        self.assertEqual(self.told()[-1]["event"], "stop")

    def test_refusals_are_told_with_their_reason(self):
        path = os.path.join(self.directory(), "echo.sock")
        server = self.audited("echo://127.0.0.1:0?max-connections=1", "echo+unix://" + path)
        first = self.dial(server.at("echo")).say(b"x").hears(b"x")
        self.dial(server.at("echo")).ended()
        refused = self.tells(lambda event: event["event"] == "refused")
        self.assertEqual(refused["why"], "listener_full")
        # Options are the operator's, and not part of a name.
        self.assertEqual(refused["endpoint"], "echo://%s:%d" % server.at("echo"))
        self.assertNotIn("connection", refused)
        if os.geteuid() == 0:
            os.chmod(os.path.dirname(path), 0o755)
            os.chmod(path, 0o666)
            other = 'import socket; socket.socket(socket.AF_UNIX).connect("%s")' % path
            subprocess.run(["python3", "-c", other], check=True, user=65534, timeout=DEADLINE)
            refused = self.tells(lambda event: event.get("why") == "other_user")
            self.assertEqual(refused["uid"], 65534)
            self.assertIn("pid", refused)
        first.close()
        server.stop()

    def test_busy_and_impossible_commands_are_told(self):
        config = "[limits]\ncommands = 1\ncommands-queued = 0\n"
        server = self.audited(COMMANDS, config=config)
        one = self.dial(server.at("command")).say(b"echo up; exec sleep 100\n")
        one.hears(b"up\n")
        self.assertIn(b"busy", self.runs(server, "echo no"))
        refused = self.tells(lambda event: event["event"] == "command-refused")
        self.assertEqual((refused["why"], refused["command"]), ("busy", "echo no"))
        # A FIN would leave it its time: only a reset ends it.
        one.reset()
        server.stop()

    @without("secret", "a login is a line of its own")
    def test_fault_c8_nothing_of_a_peer_leaves_its_line(self):
        server = self.audited(COMMANDS)
        nasty = "true \x1b[2J\r \x7f \u009b1m \u202e {\"event\":\"let-in\"} 你好 \\ \" 🦀"
        self.runs(server, nasty)
        self.runs(server, "true " + "ü" * 5000)
        server.stop()
        commands = [event for event in self.told() if event["event"] == "command-started"]
        self.assertEqual(commands[0]["command"], nasty)
        self.assertEqual(commands[1]["command_bytes"], 10_005)
        self.assertLess(len(commands[1]["command"]), 300)
        # Whatever it says, it is one line each.
        self.assertEqual(len(self.told()), 6)

    def test_it_can_go_to_the_log_and_from_a_file(self):
        for form in ("text", "json"):
            config = '[log]\naudit = "log"\nlevel = "error"\nformat = "%s"\n' % form
            config += '[[endpoint]]\nservice = "command"\naddress = "127.0.0.1:0"\nauth = "none"\nframing = "raw"\n'
            process = Started(self, config)
            host, port = process.address()
            peer = self.dial((host, port)).say(b"echo logged\n").half_close()
            peer.hears(b"logged\n").ended()
            line = process.line(lambda line: "command-ended" in line)
            if form == "json":
                event = json.loads(line)
                self.assertEqual((event["message"], event["level"]), ("audit", "INFO"))
            else:
                event = json.loads(line[line.index("audit {") + 6 :])
                self.assertRegex(line, r"^\d{4}-\S+ INFO  audit \{")
            self.assertEqual((event["event"], event["exit"]), ("command-ended", 0))
            process.stop()


class Files(Audited):
    def test_the_file_is_for_nobody_else_and_is_appended_to(self):
        self.path = os.path.join(self.directory(), "a b.jsonl")
        for times in (1, 2, 3):
            server = self.audited("echo://127.0.0.1:0", path=self.path, through=("sh", "-c", 'umask 0; exec "$@"', "sh"))
            server.stop()
            self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
            self.assertEqual([e["event"] for e in self.told()], ["start", "stop"] * times)

    def test_what_cannot_be_written_is_refused_at_start_and_by_check(self):
        home = self.directory()
        readable, link, fifo = (os.path.join(home, name) for name in ("readable", "link", "fifo"))
        with open(readable, "w") as file:
            os.fchmod(file.fileno(), 0o644)
        os.symlink(os.path.join(home, "elsewhere"), link)
        os.mkfifo(fifo, 0o600)
        for path, why in (
            (readable, "`chmod 600 "),
            (link, "cannot be opened"),
            (fifo, "cannot be opened"),
            (home, "cannot be opened"),
            (os.path.join(home, "none", "file"), ""),
            ("", "no file"),
        ):
            with self.subTest(path=path):
                told = onepoll("serve", "--audit", path, "echo://127.0.0.1:0")
                self.assertIn(told.returncode, (1, 2))
                self.assertIn(why, told.stderr)
                self.assertNotIn("ready", told.stderr)
                config = os.path.join(home, "onepoll.toml")
                with open(config, "w") as file:
                    file.write('[log]\naudit = "%s"\n' % path)
                told = onepoll("check", "--config", config, "echo://127.0.0.1:0")
                self.assertIn(told.returncode, (1, 2))
                self.assertIn(why, told.stderr)
        self.assertFalse(os.path.exists(os.path.join(home, "elsewhere")))

    def test_check_makes_no_file(self):
        home = self.directory()
        config, path = os.path.join(home, "onepoll.toml"), os.path.join(home, "audit")
        with open(config, "w") as file:
            file.write('[log]\naudit = "%s"\n' % path)
        told = onepoll("check", "--config", config, "echo://127.0.0.1:0")
        self.assertEqual(told.returncode, 0, told.stderr)
        self.assertFalse(os.path.exists(path))

    def test_sighup_opens_it_again_and_no_line_is_lost(self):
        server = self.audited(COMMANDS)
        for turn in range(3):
            self.runs(server, "true %d" % turn)
            self.tells(lambda event: event.get("command") == "true %d" % turn)
            os.rename(self.path, "%s.%d" % (self.path, turn))
            os.kill(server.pid, signal.SIGHUP)
            until(lambda: os.path.exists(self.path), "it is not opened again")
            self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
            self.tells(lambda event: event["event"] == "reload")
        self.runs(server, "true last")
        server.stop()
        told = []
        for path in [*("%s.%d" % (self.path, turn) for turn in range(3)), self.path]:
            told += self.told(path)
        commands = [event["command"] for event in told if event["event"] == "command-started"]
        self.assertEqual(commands, ["true 0", "true 1", "true 2", "true last"])
        self.assertEqual([told[0]["event"], told[-1]["event"]], ["start", "stop"])

    @without("secret", "a login is a line of its own")
    def test_fault_c12_a_file_that_may_not_grow_is_counted_and_said(self):
        # The writer inherits the limit; the server writes no file.
        server = self.audited("echo://127.0.0.1:0?max-connections=1")
        writer = self.writer_of(server)
        keeps = self.dial(server.at("echo")).say(b"x").hears(b"x")
        self.tells(lambda event: event["event"] == "start")
        size = os.stat(self.path).st_size
        _, hard = resource.prlimit(writer, resource.RLIMIT_FSIZE)
        resource.prlimit(writer, resource.RLIMIT_FSIZE, (size + 100, hard))
        for _ in range(50):
            self.dial(server.at("echo")).ended()
        server.waits_for(lambda line: "the audit cannot be written" in line)
        resource.prlimit(writer, resource.RLIMIT_FSIZE, (hard, hard))
        self.dial(server.at("echo")).ended()
        keeps.close()
        server.stop()
        with open(self.path) as file:
            text = file.read()
        # The line that was cut is the only one that is none.
        whole = [line for line in text.splitlines() if line.endswith("}")]
        self.assertLessEqual(len(text.splitlines()) - len(whole), 1, text)
        told = [json.loads(line) for line in whole]
        lost = sum(event["lines"] for event in told if event["event"] == "lost")
        refused = sum(event["event"] == "refused" for event in told)
        self.assertEqual(lost + refused, 51, text)
        self.assertGreater(lost, 0)

    def test_fault_h4_a_take_over_is_told_with_both_processes_and_how_many_sockets(self):
        control = os.path.join(self.directory(), "control.sock")
        urls = ("echo://127.0.0.1:0", "upper+udp://127.0.0.1:0")
        old = self.audited(*urls, arguments=("--control", control), is_plain=True)
        urls = tuple(
            "%s://%s:%d" % (scheme, *old.at(service, transport))
            for scheme, service, transport in (("echo", "echo", "tcp"), ("upper+udp", "upper", "udp"))
        )
        before = self.path
        new = self.audited(*urls, arguments=("--control", control, "--take-over"), is_plain=True)
        old.ends(0)
        told = self.told(before)
        self.assertEqual([event["event"] for event in told], ["start", "take-over", "stop"])
        del told[1]["time"]
        # The control socket is one of them.
        expected = {"event": "take-over", "uid": os.geteuid(), "pid": new.pid, "server": old.pid, "sockets": 3}
        self.assertEqual(told[1], expected)
        new.stop()
        self.assertEqual([event["event"] for event in self.told()], ["start", "stop"])

    def test_a_directory_that_has_gone_does_not_stop_it(self):
        server = self.audited(COMMANDS)
        self.tells(lambda event: event["event"] == "start")
        moved = os.path.dirname(self.path) + ".moved"
        os.rename(os.path.dirname(self.path), moved)
        self.addCleanup(subprocess.run, ["rm", "-r", moved])
        os.kill(server.pid, signal.SIGHUP)
        server.waits_for(lambda line: "goes on in the file that was open" in line)
        self.runs(server, "true after")
        server.stop()
        told = self.told(os.path.join(moved, os.path.basename(self.path)))
        self.assertIn("true after", [event.get("command") for event in told])


class Writer(Audited):
    def test_one_that_is_killed_is_replaced_and_what_is_said_meanwhile_is_written(self):
        server = self.audited(COMMANDS)
        for turn in range(3):
            writer = self.writer_of(server)
            said = len(server.lines)
            os.kill(writer, signal.SIGKILL)
            server.waits_for(lambda line: "the writer of the audit has ended" in line, after=said)
            self.runs(server, "true %d" % turn)
            self.writer_of(server, other_than=writer)
            self.tells(lambda event: event.get("command") == "true %d" % turn)
        server.stop()
        self.assertEqual(self.told()[-1]["event"], "stop")

    def test_one_that_is_killed_at_the_end_is_replaced_all_the_same(self):
        server = self.audited(COMMANDS)
        writer = self.writer_of(server)
        with server.suspended():
            os.kill(writer, signal.SIGKILL)
            # A read that has begun could still take what is said next.
            until(lambda: state(writer) == "Z", "it does not die")
            server.terminate()
        server.ends(0)
        self.assertEqual([e["event"] for e in self.told()][-1:], ["stop"])

    def test_signals_to_its_group_do_not_end_it_before_the_last_line(self):
        server = self.audited(COMMANDS)
        writer = self.writer_of(server)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(writer, number)
        self.runs(server, "true")
        os.kill(writer, signal.SIGTERM)
        server.stop()
        self.assertEqual([e["event"] for e in self.told()][-2:], ["command-ended", "stop"])
        self.assertFalse(os.path.exists("/proc/%d" % writer))

    def test_fault_c12_one_that_stands_still_stops_nobody_and_is_told_of(self):
        server = self.audited("echo://127.0.0.1:0?max-connections=1", "echo+unix://" + self.directory() + "/e.sock")
        writer = self.writer_of(server)
        keeps = self.dial(server.at("echo")).say(b"x").hears(b"x")
        self.tells(lambda event: event["event"] == "start")
        os.kill(writer, signal.SIGSTOP)
        other = self.dial(server.at("echo", "unix"))
        refused = 0
        # Until the pipe is full; a second brings no more than a thousand lines.
        end = time.monotonic() + 6 * DEADLINE
        while server.counters()["audit_lines_missing"] < 1000:
            self.assertLess(time.monotonic(), end, "the pipe has no end: %r" % server.counters())
            for _ in range(400):
                with self.dial(server.at("echo")) as peer:
                    peer.gone()
            refused += 400
            other.say(b"x").hears(b"x")
        os.kill(writer, signal.SIGCONT)
        keeps.close()
        other.close()
        server.stop()
        told = self.told()
        lost = sum(event["lines"] for event in told if event["event"] == "lost")
        written = sum(event["event"] == "refused" for event in told)
        self.assertEqual(lost + written, refused)
        self.assertEqual(told[-1]["event"], "stop")

    def test_one_that_stands_still_puts_the_end_off_for_two_seconds_at_most(self):
        server = self.audited("echo://127.0.0.1:0")
        writer = self.writer_of(server)
        os.kill(writer, signal.SIGSTOP)
        server.stop()
        os.kill(writer, signal.SIGCONT)
        # It goes on alone, and says the rest.
        self.tells(lambda event: event["event"] == "stop")
        until(lambda: has_ended(writer), "the writer does not end")

    def test_one_that_cannot_write_is_tried_again_less_and_less_often(self):
        server = self.audited("echo://127.0.0.1:0")
        writer = self.writer_of(server)
        self.tells(lambda event: event["event"] == "start")
        os.chmod(self.path, 0o644)
        os.kill(writer, signal.SIGKILL)
        for wait in ("100ms", "200ms", "400ms", "800ms"):
            server.waits_for(lambda line: "has ended" in line and "wait=%s" % wait in line)
        self.assertTrue(any("chmod 600" in line for line in server.lines), server.tail())
        os.chmod(self.path, 0o600)
        self.writer_of(server)
        server.stop()
        self.assertEqual(self.told()[-1]["event"], "stop")

    def test_it_has_nothing_of_the_server_but_its_input(self):
        server = self.audited("echo://127.0.0.1:0", env={"SECRET": "sixteen bytes or more"})
        writer = self.writer_of(server)
        open_now = {}
        for number in os.listdir("/proc/%d/fd" % writer):
            open_now[int(number)] = os.readlink("/proc/%d/fd/%s" % (writer, number))
        files = [number for number, target in open_now.items() if target == self.path]
        self.assertEqual(len(files), 1, open_now)
        pipes = sorted(number for number in open_now if number not in files)
        # Standard streams, and the pair of sockets by which a signal is heard.
        self.assertEqual(pipes[:3], [0, 1, 2])
        self.assertFalse([t for n, t in open_now.items() if n > 2 and t.startswith("socket:[") and listens(t)])
        with open("/proc/%d/environ" % writer, "rb") as file:
            self.assertNotIn(b"SECRET", file.read())
        server.stop()

    def test_commands_do_not_count_the_writer(self):
        server = self.audited("command://127.0.0.1:0?auth=none&framing=raw", config="[limits]\ncommands = 1\n")
        self.assertEqual(server.counters()["children"], 0)
        self.assertEqual(self.runs(server, "echo one"), b"one\n")
        server.stop()


class Secrets(Audited):
    def asks(self):
        path = os.path.join(self.directory(), "secret")
        with open(path, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(SECRET + b"\n")
        return "secret-file=" + path

    def proves(self, address, secret=SECRET):
        peer = self.dial(address)
        challenge = peer.takes(32)
        return peer.say(hmac.new(secret, challenge, "sha256").digest())

    @without("secret", "it has a secret of its own")
    def test_who_logs_in_is_told_and_who_does_not(self):
        server = self.audited("echo://127.0.0.1:0?" + self.asks())
        address = server.at("echo")
        right = self.proves(address).say(b"x").hears(b"x")
        login = self.tells(lambda event: event["event"] == "login")
        self.assertEqual(login["peer"], "%s:%d" % right.link.getsockname())
        self.assertEqual(login["endpoint"], "echo://%s:%d" % address)
        wrong = self.proves(address, b"not the secret that it should be")
        # It is refused once it has gone.
        wrong.ended().close()
        refused = self.tells(lambda event: event["event"] == "refused")
        self.assertEqual(refused["why"], "wrong_proof")
        self.assertNotEqual(refused["connection"], login["connection"])
        right.close()
        server.stop()
        self.assertEqual([e["event"] for e in self.told()], ["start", "login", "refused", "stop"])

    @without("secret", "it has a secret of its own")
    def test_fault_c11_a_secret_is_nowhere_but_in_its_file(self):
        asks = self.asks()
        server = self.audited(
            "echo://127.0.0.1:0?" + asks,
            "command://127.0.0.1:0?framing=raw&" + asks,
            "metrics://127.0.0.1:0",
            arguments=("-vv", "--trace=bytes"),
        )
        self.proves(server.at("echo")).say(b"x").hears(b"x")
        self.proves(server.at("echo"), SECRET[::-1]).ended()
        self.dial(server.at("echo")).takes(32)
        busy = self.proves(server.at("command")).say(b"echo up; exec sleep 100\n").hears(b"up\n")
        self.tells(lambda event: event["event"] == "command-started")
        places = {}
        for pid in [server.pid, *map(int, server.children_now())]:
            for what in ("cmdline", "environ"):
                with open("/proc/%d/%s" % (pid, what), "rb") as file:
                    places["%s of %d" % (what, pid)] = file.read()
        with open("/proc/%d/cmdline" % server.pid, "rb") as file:
            self.assertIn(b"secret-file=", file.read())
        os.kill(server.pid, signal.SIGHUP)
        # While it is read again, the loop holds what the child has read; then that is wiped.
        self.tells(lambda event: event["event"] == "reload")
        metrics = self.dial(server.at("metrics")).say(b"GET /metrics HTTP/1.0\r\n\r\n")
        places["the figures"] = metrics.rest()
        if os.geteuid() == 0:
            # What a core would hold.
            with server.suspended():
                places["the memory"] = memory(server.pid)
            self.assertIn(b"audit-writer", places["the memory"])
        busy.reset()
        server.stop()
        with open(self.path, "rb") as file:
            places["the audit"] = file.read()
        places["the log"] = "\n".join(server.lines).encode()
        self.assertIn(b"wrong_proof", places["the audit"])
        self.assertIn(b"recv", places["the log"])
        for place, text in places.items():
            for form in (SECRET, SECRET.hex().encode(), SECRET[8:], SECRET[:-8]):
                self.assertNotIn(form, text, place)

    @without("secret", "a login is a line of its own")
    def test_metrics_tell_how_many_lines_there_were(self):
        server = self.audited("metrics://127.0.0.1:0", "echo://127.0.0.1:0?max-connections=1")
        keeps = self.dial(server.at("echo")).say(b"x").hears(b"x")
        self.dial(server.at("echo")).ended()
        self.tells(lambda event: event["event"] == "refused")
        peer = self.dial(server.at("metrics"))
        text = peer.say(b"GET /metrics HTTP/1.0\r\n\r\n").rest().decode()
        self.assertIn("\nonepoll_audit_lines_total 2\n", text)
        self.assertIn("\nonepoll_audit_lines_missing_total 0\n", text)
        keeps.close()
        server.stop()


def has_ended(pid):
    """Whoever inherits it may reap it later."""
    try:
        return state(pid) == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def state(pid):
    with open("/proc/%d/stat" % pid) as file:
        return file.read().rsplit(") ", 1)[1].split()[0]


def memory(pid):
    """Everything that a process could write to."""
    text = bytearray()
    with open("/proc/%d/maps" % pid) as maps, open("/proc/%d/mem" % pid, "rb", buffering=0) as file:
        for line in maps:
            area, mode = line.split()[:2]
            if mode.startswith("rw"):
                first, last = (int(end, 16) for end in area.split("-"))
                file.seek(first)
                with contextlib.suppress(OSError):
                    while first < last:
                        piece = file.read(min(last - first, 1 << 20))
                        if not piece:
                            break
                        text += piece
                        first += len(piece)
    return bytes(text)


def listens(target):
    """Whether a socket of this name listens somewhere."""
    inode = target[len("socket:[") : -1]
    for path in glob.glob("/proc/net/tcp*"):
        with open(path) as file:
            for line in file.readlines()[1:]:
                fields = line.split()
                if fields[9] == inode and fields[3] == "0A":
                    return True
    return False


class Started:
    """A server whose endpoints and log stand in a file; its log may be JSON."""

    def __init__(self, test, config):
        path = os.path.join(test.directory(), "onepoll.toml")
        with open(path, "w") as file:
            file.write(config)
        self.process = subprocess.Popen(
            [BINARY, "serve", "--json", "--config", path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        test.addCleanup(self.kill)
        self.lines = []
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stderr:
            with self.changed:
                self.lines.append(line.rstrip("\n"))
                self.changed.notify_all()

    def address(self):
        url = json.loads(self.process.stdout.readline())["listening"][0]
        host, port = url.split("://")[1].split("?")[0].rsplit(":", 1)
        return host, int(port)

    def line(self, predicate):
        with self.changed:
            fits = lambda: any(predicate(line) for line in self.lines)
            assert self.changed.wait_for(fits, DEADLINE), self.lines
            return next(line for line in self.lines if predicate(line))

    def stop(self):
        self.process.terminate()
        code = self.process.wait(DEADLINE)
        assert code == 0, code

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE)
        self.reader.join(DEADLINE)
        self.process.stdout.close()
        self.process.stderr.close()


def version():
    return onepoll("--version").stdout.split()[1]


if __name__ == "__main__":
    main()
