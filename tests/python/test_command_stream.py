"""C5: commands as streams, spoken by a plain client, and the faults of commands there."""

import hashlib
import json
import os
import select
import signal
import socket
import struct
import threading
import time

from harness import DEADLINE, Case, Shared, everywhere, left, main

CREDIT = 65536
"""What may be sent of standard input before anything is granted."""


def frame(data=b"", /, **keys):
    header = json.dumps(keys).encode()
    while b"\n" in struct.pack("<H", len(header)):
        header += b" "
    return struct.pack("<i", len(header)) + header + data


def run(command, **keys):
    """A list is a program and its arguments, a string a line for the shell."""
    what = {"line": command} if isinstance(command, str) else {"args": command}
    return frame(type="run", **what, **keys)


def stdin(data):
    return frame(data, type="stdin", data_size=len(data))


END = frame(type="stdin-end")
CANCEL = frame(type="cancel")


def sends(name):
    return frame(type="signal", name=name)


def answer(peer):
    """The next frame: its header, and the bytes that belong to it."""
    (size,) = struct.unpack("<i", peer.takes(4))
    assert 0 <= size < 65536, "a header of %d bytes%s" % (size, peer.story())
    header = json.loads(peer.takes(size).decode())
    return header, peer.takes(header.get("data_size", 0))


def started(peer):
    header, _ = answer(peer)
    assert header["type"] == "started" and header["id"] > 0, header
    return header["id"]


def outcome(peer, had=b""):
    """The rest of a command: both outputs, and its end, whose counts are checked; `had` is the
    output that was heard before."""
    streams = {"stdout": [had], "stderr": []}
    while True:
        header, data = answer(peer)
        kind = header.pop("type")
        if kind in streams:
            streams[kind].append(data)
        elif kind in ("end", "error"):
            out, err = b"".join(streams["stdout"]), b"".join(streams["stderr"])
            if kind == "end":
                assert header["stdout_bytes"] == len(out), (header, len(out))
                assert header["stderr_bytes"] == len(err), (header, len(err))
                assert header["wall_us"] >= 0 and header["user_us"] >= 0, header
            return out, err, header
        else:
            assert kind in ("credit", "stdin-closed"), kind


def whole(peer):
    """A command from its `started` to its end."""
    started(peer)
    return outcome(peer)


def error(peer):
    header, _ = answer(peer)
    assert header["type"] == "error", header
    return header


def members(group):
    """Living processes of a session: every process of a command is in the one that it leads."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid) as file:
                state, _, _, session = file.read().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(session) == group and state not in "ZX":
            found.append(int(pid))
    return found


class Streams(Shared):
    endpoints = {
        "stream": "command?framing=stream&auth=none",
        "raw": "command?framing=raw&auth=none",
        "decimal": "command?framing=decimal&auth=none",
        "patient": "command?framing=i32&auth=none&settle=600ms",
        "never": "command?framing=json&auth=none&settle=never",
        "hasty": "command?framing=stream&auth=none&timeout=300ms",
    }
    places = ("tcp4", "unix")

    def all_gone(self, group):
        until = time.monotonic() + DEADLINE
        while members(group):
            self.assertTrue(left(until), "still there: %r" % members(group))
            threading.Event().wait(0.002)

    # What every endpoint understands.

    @everywhere("stream")
    def test_c5_both_outputs_and_the_exit_code(self, dial):
        out, err, end = whole(dial().say(run("echo out; echo err >&2; exit 7")))
        self.assertEqual((out, err, end["exit"]), (b"out\n", b"err\n", 7))
        self.assertEqual(end["stdin_bytes"], 0)
        self.assertGreater(end["peak_bytes"], 0)
        self.assertNotIn("why", end)

    def test_c5_beside_lines_on_every_endpoint(self):
        for name in ("stream", "raw", "decimal", "patient", "never"):
            peer = self.call(name).say(run(["echo", name]))
            self.assertEqual(whole(peer)[0], name.encode() + b"\n")

    def test_c5_after_lines_on_one_connection(self):
        peer = self.call("raw").say(b"echo line\n").hears(b"line\n").say(b"\n\r\n")
        self.assertEqual(whole(peer.say(run("echo frame")))[0], b"frame\n")

    def test_lines_of_a_stream_endpoint_are_answered_as_json(self):
        peer = self.call("stream").say(b"echo line\n")
        (size,) = struct.unpack("<i", peer.takes(4))
        header = json.loads(peer.takes(size).decode())
        self.assertEqual((header["exit"], peer.takes(header["data_size"])), (0, b"line\n"))

    def test_c5_byte_by_byte(self):
        for name in ("patient", "never"):
            request = run("cat", stdin=True) + stdin(b"one ") + stdin(b"") + stdin(b"two") + END
            out, _, end = whole(self.call(name).drip(request))
            self.assertEqual((out, end["exit"], end["stdin_bytes"]), (b"one two", 0, 7))

    def test_c5_glued_requests_are_run_in_order(self):
        requests = [run("cat; echo %d" % n, stdin=True) + stdin(b"in ") + END for n in range(20)]
        peer = self.call("stream").say(b"".join(requests))
        ids = []
        for n in range(20):
            ids.append(started(peer))
            self.assertEqual(outcome(peer)[0], b"in %d\n" % n)
        self.assertEqual(ids, sorted(set(ids)))

    def test_a_program_gets_its_arguments_untouched(self):
        words = ["a b", "", "$HOME", "it's", "*", "\\", "-n", "ä"]
        peer = self.call("stream")
        out, _, _ = whole(peer.say(run(["printf", "<%s>", *words])))
        self.assertEqual(out.decode(), "".join("<%s>" % word for word in words))
        arguments = b"printf\0<%s>\0\xff\xfe\0\0"
        peer.say(frame(arguments, type="run", data="args", data_size=len(arguments)))
        self.assertEqual(whole(peer)[0], b"<\xff\xfe><>")
        line = b"echo \xff; exit 3"
        peer.say(frame(line, type="run", data="line", data_size=len(line)))
        out, _, end = whole(peer)
        self.assertEqual((out, end["exit"]), (b"\xff\n", 3))

    def test_a_program_is_looked_for_where_the_shell_looks(self):
        peer = self.call("stream")
        directory = self.directory()
        script = os.path.join(directory, "mine")
        with open(script, "w") as file:
            file.write("#!/bin/sh\necho mine $0 $1\n")
        os.chmod(script, 0o755)
        for command in ([script, "x"], ["./mine", "x"]):
            out, _, _ = whole(peer.say(run(command, cwd=directory)))
            self.assertEqual(out.split()[0::2], [b"mine", b"x"])
        failed = error(peer.say(run(["mine"], cwd=directory)))
        self.assertEqual((failed["kind"], failed["errno"]), ("cannot-start", 2))

    def test_the_directory_and_the_environment_are_the_requests(self):
        directory, peer = os.path.realpath(self.directory()), self.call("stream")
        asked = {"cwd": directory, "env": ["TERM=dumb x", "LC_ALL=C.UTF-8", "TZ="]}
        out, _, _ = whole(peer.say(run("pwd; env", **asked)))
        lines = out.decode().splitlines()
        self.assertEqual(lines[0], directory)
        for variable in ("TERM=dumb x", "LC_ALL=C.UTF-8", "TZ="):
            self.assertIn(variable, lines)
        self.assertEqual(whole(peer.say(run("pwd")))[0].strip().decode(), os.getcwd())
        for keys, says in [
            ({"env": ["LD_PRELOAD=/x.so"]}, "LD_PRELOAD"),
            ({"env": ["PATH=/tmp"]}, "PATH"),
            ({"cwd": "tmp"}, "absolute"),
        ]:
            refused = error(peer.say(run("true", **keys)))
            self.assertEqual(refused["kind"], "refused")
            self.assertIn(says, refused["message"])
        failed = error(peer.say(run("true", cwd=directory + "/none")))
        self.assertEqual((failed["kind"], failed["errno"]), ("cannot-start", 2))
        self.assertEqual(whole(peer.say(run("pwd", cwd="/")))[0], b"/\n")

    # Output.

    def test_output_comes_while_the_command_runs(self):
        flag = os.path.join(self.directory(), "go")
        peer = self.call("stream")
        peer.say(run("echo one; while ! test -e %s; do sleep 0.01; done; echo two" % flag))
        started(peer)
        self.assertEqual(answer(peer)[1], b"one\n")
        open(flag, "w").close()
        self.assertEqual(outcome(peer, b"one\n")[0], b"one\ntwo\n")

    def test_each_stream_is_in_order(self):
        line = "i=0; while [ $i -lt 2000 ]; do echo $i; echo $i >&2; i=$((i+1)); done"
        out, err, _ = whole(self.call("stream").say(run(line)))
        expected = b"".join(b"%d\n" % n for n in range(2000))
        self.assertEqual((out, err), (expected, expected))

    def test_much_output_is_not_cut(self):
        peer = self.call("stream").say(run("head -c 30000000 /dev/zero; head -c 5000000 /dev/zero >&2"))
        out, err, end = whole(peer)
        self.assertEqual((len(out), len(err), end["exit"]), (30_000_000, 5_000_000, 0))
        self.assertEqual(out.count(b"\0") + err.count(b"\0"), 35_000_000)

    def test_fault_f18_every_byte_passes_as_it_is(self):
        every = bytes(range(256)) * 3
        octal = "".join("\\0%03o" % byte for byte in every)
        out, err, _ = whole(self.call("stream").say(run("printf '%%b' '%s' | tee /dev/stderr" % octal)))
        self.assertEqual((out, err), (every, every))

    def test_fault_f1_endless_output_waits_in_its_pipe_and_can_be_ended(self):
        for redirect in ("", " >&2"):
            peer = self.call("stream", rcvbuf=4096).say(run("yes" + redirect))
            started(peer)
            before = self.server.resident_bytes()
            self.until(lambda now: now["owed"] >= 256 * 1024)
            time.sleep(0.2)  # would it grow, it would now
            self.assertLess(self.server.counters()["owed"], 512 * 1024)
            self.assertLess(self.server.resident_bytes() - before, 16 << 20)
            # What the client says is heard though it reads nothing.
            peer.say(sends("INT"))
            _, _, end = outcome(peer)
            self.assertEqual(end["signal"], 2)

    # Standard input.

    def test_fault_f7_without_input_there_is_none(self):
        out, _, end = whole(self.call("stream").say(run("cat; readlink /proc/self/fd/0")))
        self.assertEqual((out, end["exit"]), (b"/dev/null\n", 0))

    def feeds(self, peer, data, until=DEADLINE * 3):
        """Sends input as it is granted, and reads meanwhile; what came back, and the end."""
        granted, sent, heard, end = CREDIT, 0, hashlib.sha256(), None
        size, closed, ended = 0, False, False
        until = time.monotonic() + until
        link, unread = peer.link, b""
        waiting = b""
        while end is None:
            if not waiting and not ended:
                chunk = data[sent : min(granted, sent + 50_000)]
                if closed or sent == len(data):
                    waiting, ended = END, True
                elif chunk:
                    waiting, sent = stdin(chunk), sent + len(chunk)
            readable, writable, _ = select.select([link], [link] if waiting else [], [], left(until))
            self.assertTrue(readable or writable, "stuck: %d sent of %d" % (sent, granted))
            if writable:
                waiting = waiting[link.send(waiting) :]
            if readable:
                more = link.recv(1 << 18)
                self.assertTrue(more, "it ended")
                unread += more
            while len(unread) >= 4:
                (length,) = struct.unpack("<i", unread[:4])
                if len(unread) < 4 + length:
                    break
                header = json.loads(unread[4 : 4 + length])
                after = 4 + length + header.get("data_size", 0)
                if len(unread) < after:
                    break
                body, unread = unread[4 + length : after], unread[after:]
                if header["type"] == "stdout":
                    heard.update(body)
                    size += len(body)
                elif header["type"] == "credit":
                    granted += header["bytes"]
                    self.assertLessEqual(granted - sent, 512 * 1024)
                elif header["type"] == "stdin-closed":
                    closed = True
                elif header["type"] == "end":
                    end = header
                else:
                    self.assertEqual(header["type"], "started")
        return size, heard.hexdigest(), end

    @everywhere("stream")
    def test_much_input_goes_there_and_back(self, dial):
        data = os.urandom(1 << 20) * 12
        size, digest, end = self.feeds(dial().say(run("cat", stdin=True)), data)
        self.assertEqual(size, len(data))
        self.assertEqual(digest, hashlib.sha256(data).hexdigest())
        self.assertEqual((end["exit"], end["stdin_bytes"]), (0, len(data)))

    def test_a_command_that_closes_its_input_has_not_failed(self):
        peer = self.call("stream").say(run("exec <&-; echo on; sleep 0.2; echo off", stdin=True))
        started(peer)
        kinds, out = [], b""
        while "end" not in kinds:
            header, data = answer(peer)
            kinds.append(header["type"])
            out += data
            if header["type"] == "stdin-closed":
                peer.say(stdin(b"dropped") + END)
        self.assertIn("stdin-closed", kinds)
        self.assertEqual((out, header["exit"]), (b"on\noff\n", 0))
        size, _, end = self.feeds(self.call("stream").say(run("head -c 10", stdin=True)), bytes(1 << 20))
        self.assertEqual((size, end["exit"]), (10, 0))

    def test_a_command_that_never_reads_blocks_nothing(self):
        deaf = self.call("stream").say(run("echo on; while :; do echo x; sleep 0.01; done", stdin=True))
        started(deaf)
        granted, heard = CREDIT, b""
        deaf.say(stdin(bytes(CREDIT)))
        while granted < 256 * 1024:
            header, data = answer(deaf)
            granted += header.get("bytes", 0)
            heard += data
        deaf.say(stdin(bytes(granted - CREDIT)))
        # Its output goes on, and so does everybody else.
        for _ in range(20):
            self.assertEqual(whole(self.call("stream").say(run("echo quick")))[0], b"quick\n")
        for _ in range(20):
            header, data = answer(deaf)
            heard += data
        self.assertEqual(header["type"], "stdout")
        _, _, end = outcome(deaf.say(CANCEL), heard)
        self.assertEqual((end["signal"], end["why"]), (15, "cancel"))
        self.assertLessEqual(end["stdin_bytes"], CREDIT)

    def test_more_input_than_was_granted_ends_the_connection(self):
        peer = self.call("stream").say(run("sleep 1000", stdin=True))
        started(peer)
        granted = answer(peer)[0]["bytes"]
        peer.say(stdin(bytes(CREDIT + granted)))
        peer.say(stdin(b"x"))
        self.assertEqual(error(peer)["kind"], "protocol")
        peer.ended()

    # Signals and ends.

    def test_signals_reach_the_whole_group(self):
        for name in ("INT", "TERM", "KILL", "HUP", "QUIT", "USR1", "USR2"):
            peer = self.call("stream").say(run("ulimit -c 0; sleep 1000 | sleep 1000"))
            started(peer)
            _, _, end = outcome(peer.say(sends(name)))
            self.assertEqual(end["signal"], getattr(signal, "SIG" + name))
            self.assertNotIn("why", end)

    def test_a_signal_can_be_caught(self):
        line = "trap 'echo caught' USR1; trap 'exit 5' HUP; echo on; while :; do :; done"
        peer = self.call("stream").say(run(line))
        started(peer)
        self.assertEqual(answer(peer)[1], b"on\n")
        self.assertEqual(answer(peer.say(sends("USR1")))[1], b"caught\n")
        _, _, end = outcome(peer.say(sends("HUP")), b"on\ncaught\n")
        self.assertEqual(end["exit"], 5)
        # What comes late is for nobody.
        peer.say(sends("KILL") + CANCEL + stdin(b"late") + END + run("echo next"))
        self.assertEqual(whole(peer)[0], b"next\n")

    def test_fault_f2_cancel_asks_and_then_forces(self):
        peer = self.call("stream").say(run("trap '' TERM; echo on; while :; do sleep 0.05; done"))
        started(peer)
        self.assertEqual(answer(peer)[1], b"on\n")
        began = time.monotonic()
        _, _, end = outcome(peer.say(CANCEL), b"on\n")
        self.assertGreater(time.monotonic() - began, 0.9)
        self.assertEqual((end["signal"], end["why"]), (9, "cancel"))

    def test_fault_f2_time_is_the_endpoints_or_the_requests_whichever_is_less(self):
        for name, asked, least in [("hasty", {}, 0.3), ("hasty", {"timeout_ms": 60000}, 0.3), ("stream", {"timeout_ms": 200}, 0.2)]:
            _, _, end = whole(self.call(name).say(run("sleep 1000", **asked)))
            self.assertEqual((end["signal"], end["why"]), (15, "timeout"))
            self.assertGreaterEqual(end["wall_us"], least * 1e6)

    def test_fault_f3_a_grandchild_that_holds_the_pipe_is_not_waited_for(self):
        began = time.monotonic()
        out, _, end = whole(self.call("stream").say(run("echo $$; sleep 1000 & exit 4")))
        self.assertLess(time.monotonic() - began, DEADLINE / 2)
        self.assertEqual(end["exit"], 4)
        self.all_gone(int(out))

    def test_fault_f8_a_command_that_closes_its_outputs_is_not_over(self):
        peer = self.call("stream").say(run("echo early; exec >&- 2>&-; sleep 0.3; exit 6"))
        out, _, end = whole(peer)
        self.assertEqual((out, end["exit"]), (b"early\n", 6))
        self.assertGreaterEqual(end["wall_us"], 300_000)

    def test_fault_f9_whoever_is_gone_needs_no_command(self):
        ways = {"fin": "half_close", "close": "close", "reset": "reset"}
        for place in self.places:
            for way in ways.values():
                for more in (b"", run("echo behind"), stdin(b"some")[:9]):
                    peer = self.call("stream", place)
                    peer.say(run("echo $$; sleep 1000 & sleep 1000"))
                    started(peer)
                    group = int(answer(peer)[1])
                    if more:
                        peer.say(more)
                    began = time.monotonic()
                    getattr(peer, way)()
                    self.all_gone(group)
                    self.assertLess(time.monotonic() - began, DEADLINE / 2)

    def test_fault_f9_also_one_that_reads_nothing(self):
        peer = self.call("stream", rcvbuf=4096).say(run("echo $$; exec yes"))
        started(peer)
        group = int(answer(peer)[1].split()[0])
        self.until(lambda now: now["owed"] >= 256 * 1024)
        peer.half_close()
        self.all_gone(group)

    def test_fault_f10_every_exit_is_told_exactly(self):
        peer = self.call("stream")
        for code in (0, 1, 2, 127, 128, 137, 254, 255):
            self.assertEqual(whole(peer.say(run("exit %d" % code)))[2]["exit"], code)
        for number in (1, 6, 9, 15, 34, 64):
            end = whole(peer.say(run("ulimit -c 0; kill -%d $$" % number)))[2]
            self.assertEqual((end.get("signal"), end.get("exit")), (number, None))
        _, _, end = whole(self.call("hasty").say(run("kill -STOP $$")))
        self.assertEqual((end["signal"], end["why"]), (9, "timeout"))

    def test_fault_f11_no_zombies(self):
        peer = self.call("stream")
        for _ in range(4):
            peer.say(run(["true"]) * 50)
            for _ in range(50):
                self.assertEqual(whole(peer)[2]["exit"], 0)
        self.assertEqual(self.server.children_now(), [])

    def test_fault_f12_what_cannot_start_is_told_with_the_systems_number(self):
        peer, directory = self.call("stream"), self.directory()
        plain = os.path.join(directory, "plain")
        open(plain, "w").close()
        for command, number in [(["no-such-program"], 2), (["/no/such/file"], 2), ([plain], 13), ([directory], 13)]:
            failed = error(peer.say(run(command)))
            self.assertEqual((failed["kind"], failed["errno"]), ("cannot-start", number), command)
        long = b"true\0" + b"x" * 131_072 + b"\0"
        failed = error(peer.say(frame(long, type="run", data="args", data_size=len(long))))
        self.assertEqual((failed["kind"], failed["errno"]), ("cannot-start", 7))
        fits = b"true\0" + b"x" * 131_071 + b"\0"
        peer.say(frame(fits, type="run", data="args", data_size=len(fits)))
        self.assertEqual(whole(peer)[2]["exit"], 0)

    def test_fault_f13_a_nul_byte_is_refused_before_anything_is_started(self):
        peer = self.call("stream")
        for command in ("echo a\0b", ["echo", "a\0b"], ["\0"]):
            refused = error(peer.say(run(command)))
            self.assertEqual(refused["kind"], "refused")
            self.assertIn("NUL", refused["message"])
        self.assertEqual(whole(peer.say(run("echo still")))[0], b"still\n")

    def test_fault_f16_only_the_three_descriptors(self):
        for keys in ({}, {"stdin": True}):
            peer = self.call("stream").say(run("ls -l /proc/self/fd", **keys) + (END if keys else b""))
            numbers = [line.split()[8] for line in whole(peer)[0].splitlines()[1:]]
            self.assertEqual(numbers, [b"0", b"1", b"2", b"3"])  # 3: ls reads the directory

    def test_fault_f17_no_signal_is_ignored_or_blocked(self):
        out, _, end = whole(self.call("stream").say(run("yes | head -1; grep -E 'Sig(Blk|Ign)' /proc/self/status")))
        self.assertEqual((out[:2], end["exit"]), (b"y\n", 0))
        masks = [int(line.split()[1], 16) for line in out.splitlines()[1:]]
        # glibc keeps 32 and 33 for itself, and leaves them as they are.
        self.assertEqual([mask & ~0x180000000 for mask in masks], [0, 0])

    def test_fault_f19_a_hundred_at_once(self):
        flag = os.path.join(self.directory(), "go")
        line = "while ! test -e %s; do sleep 0.02; done; echo ran" % flag
        peers = [self.call("stream").say(run(line)) for _ in range(100)]
        self.until(lambda now: now["commands_busy"] >= 20)
        now = self.server.counters()
        self.assertEqual((now["children"], now["children_waiting"]), (16, 64))
        # One that waits can be ended before it begins.
        told = []
        for peer in peers:
            readable, _, _ = select.select([peer.link], [], [], 0)
            told.append(bool(readable))
        waits = peers[told.index(False)]
        self.assertEqual(error(waits.say(CANCEL))["kind"], "cancelled")
        peers.remove(waits)
        open(flag, "w").close()
        kinds = []
        for peer in peers:
            header, _ = answer(peer)
            if header["type"] == "error":
                kinds.append(header["kind"])
            else:
                self.assertEqual(outcome(peer)[0], b"ran\n")
        self.assertEqual(kinds, ["busy"] * 20)

    # What makes no sense.

    def test_what_is_no_request_is_told_and_ends_the_connection(self):
        for wrong, says in [
            (b"\x02\0\0\0[]", "object"),
            (frame(type="dance"), "dance"),
            (frame(type="run"), "line"),
            (run("x", tiemout_ms=5), "tiemout_ms"),
            (frame(type="stdin", data_size=1 << 40), "data_size"),
            (run("sleep 1000") + stdin(b"x"), "without"),
            (run("cat", stdin=True) + END + stdin(b"x"), "after its end"),
        ]:
            peer = self.call("stream").say(wrong)
            header, _ = answer(peer)
            while header["type"] != "error":
                header, _ = answer(peer)
            self.assertEqual(header["kind"], "protocol")
            self.assertIn(says, header["message"])
            peer.ended()

    def until(self, wanted):
        until = time.monotonic() + DEADLINE
        while not wanted(self.server.counters()):
            self.assertTrue(left(until), self.server.counters())
            threading.Event().wait(0.01)


class Stopping(Case):
    def test_a_command_in_progress_ends_before_the_server_does(self):
        server = self.serve("command://127.0.0.1:0?framing=stream&auth=none")
        peer = self.dial(server.at("command"))
        peer.say(run("echo on; sleep 0.5; echo off") + run("echo never"))
        started(peer)
        self.assertEqual(answer(peer)[1], b"on\n")
        server.terminate()
        self.assertEqual(outcome(peer, b"on\n")[0], b"on\noff\n")
        self.assertEqual(error(peer)["kind"], "stopping")
        peer.ended()
        server.ends()


if __name__ == "__main__":
    main()
