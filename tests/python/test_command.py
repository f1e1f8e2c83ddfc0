"""C1 to C4: remote commands in the tutorials' four framings, and the faults of commands."""

import hashlib
import json
import os
import struct
import sys
import threading
import time

from behind import without
from harness import DEADLINE, Case, Shared, everywhere, left, main


def takes_i32(peer):
    """A length and as many bytes (C3)."""
    (size,) = struct.unpack("<i", peer.takes(4))
    assert 0 <= size, "a negative length: %d%s" % (size, peer.story())
    return peer.takes(size)


def takes_json(peer):
    """A header and what it announces, with every promise of C4 checked."""
    header = json.loads(takes_i32(peer).decode())
    assert header["data_size"] == header["total_size"], header
    output = peer.takes(header["data_size"])
    assert header["md5"] == hashlib.md5(output).hexdigest(), header
    assert header["filename"] == "output", header
    assert "exit" in header or header.get("error"), header  # no exit if it did not run
    return header, output


class Commands(Shared):
    endpoints = {
        # Byte by byte, a busy machine may pause longer than 20 ms; a newline needs no patience.
        "raw": "command?framing=raw&auth=none",
        "raw-patient": "command?framing=raw&auth=none&settle=600ms",
        "raw-never": "command?framing=raw&auth=none&settle=never",
        "raw-either": "command?framing=raw&auth=none&output=stderr-or-stdout",
        "decimal": "command?framing=decimal&auth=none",
        "decimal-patient": "command?framing=decimal&auth=none&settle=600ms",
        "decimal-word": "command?framing=decimal&auth=none&ack=recv_ready&settle=200ms",
        "i32": "command?framing=i32&auth=none",
        "i32-patient": "command?framing=i32&auth=none&settle=600ms",
        "i32-either": "command?framing=i32&auth=none&output=stderr-or-stdout",
        "i32-gbk": "command?framing=i32&auth=none&encoding=gbk",
        "i32-hasty": "command?framing=i32&auth=none&timeout=300ms",
        "i32-short": "command?framing=i32&auth=none&max-output=1000",
        "json": "command?framing=json&auth=none",
        "json-patient": "command?framing=json&auth=none&settle=600ms",
        "json-hasty": "command?framing=json&auth=none&timeout=300ms",
        "json-short": "command?framing=json&auth=none&max-output=1000",
    }
    places = ("tcp4", "unix")

    # C1, raw.

    @everywhere("raw")
    def test_c1_whole(self, dial):
        dial().say(b"printf abc\n").hears(b"abc").say(b"echo d\n").hears(b"d\n")

    @everywhere("raw")
    def test_c1_without_a_newline(self, dial):
        dial().say(b"printf abc").hears(b"abc").silence().say(b"printf d").hears(b"d")

    @everywhere("raw")
    def test_c1_stdout_then_stderr(self, dial):
        peer = dial().say(b"echo one; echo wrong >&2; echo two\n").half_close()
        peer.hears(b"one\ntwo\nwrong\n").ended()

    @everywhere("raw")
    def test_c1_glued_requests_are_run_in_order(self, dial):
        peer = dial().say(b"sleep 0.05; echo 1\necho 2\r\n\n\r\necho 3").half_close()
        peer.hears(b"1\n2\n3\n").ended()

    @everywhere("raw-patient", at_once=True)
    def test_c1_byte_by_byte(self, dial):
        dial().drip(b"printf abc").hears(b"abc").drip(b"printf d\n").hears(b"d")
        dial().drip(b"echo a\necho b\n").hears(b"a\nb\n").half_close().ended()

    @everywhere("raw")
    def test_c1_half_close_ends_input_and_nothing_else(self, dial):
        dial().say(b"sleep 0.1; echo late").half_close().hears(b"late\n").ended()
        dial().say(b"\n\n").half_close().ended()
        dial().half_close().ended()

    @everywhere("raw-never")
    def test_c1_without_settling_a_newline_is_needed(self, dial):
        dial().say(b"printf a").silence().say(b"bc\n").hears(b"abc")
        dial().say(b"printf abc").half_close().hears(b"abc").ended()

    @everywhere("raw")
    def test_c1_as_it_comes(self, dial):
        peer = dial().say(b"echo first; read nothing; sleep 0.2; echo second\n")
        peer.hears(b"first\n").hears(b"second\n")

    @everywhere("raw")
    def test_c1_much(self, dial):
        peer = dial().say(b"head -c 3000000 /dev/zero | tr '\\0' x").half_close()
        self.assertEqual(peer.rest(), b"x" * 3000000)

    @everywhere("raw-either")
    def test_c1_stderr_or_stdout(self, dial):
        dial().say(b"echo out; echo err >&2\n").half_close().hears(b"err\n").ended()
        dial().say(b"echo out\n").half_close().hears(b"out\n").ended()

    @everywhere("raw")
    def test_c1_text_of_any_language_and_any_bytes(self, dial):
        dial().say("printf 你好\n".encode()).hears("你好".encode())
        dial().say(b"printf '\\377\\000\\001'\n").hears(b"\xff\x00\x01")

    # C2, decimal.

    @everywhere("decimal")
    def test_c2_length_acknowledgement_output(self, dial):
        peer = dial()
        for ack in (b"recv_ready", b"True", b"x\n", b"\0"):
            peer.say(b"printf abcdefghijkl\n").hears(b"12").silence(0.02)
            peer.say(ack).hears(b"abcdefghijkl")

    @everywhere("decimal-patient", at_once=True)
    def test_c2_byte_by_byte(self, dial):
        peer = dial().drip(b"printf abc").hears(b"3").drip(b"recv_ready").hears(b"abc")
        peer.drip(b"printf d\n").hears(b"1").drip(b"True").hears(b"d")

    @everywhere("decimal")
    def test_c2_an_empty_output_is_acknowledged_too(self, dial):
        # Nothing tells when it was read: without its newline the next line might be taken for more of it.
        peer = dial().say(b"true\n").hears(b"0").say(b"recv_ready\n")
        peer.say(b"printf on\n").hears(b"2").say(b"recv_ready").hears(b"on")

    @everywhere("decimal")
    def test_c2_half_close(self, dial):
        peer = dial().say(b"printf abc\n").hears(b"3").say(b"True").half_close()
        peer.hears(b"abc").ended()

    @everywhere("decimal")
    def test_c2_half_close_without_acknowledgement_ends(self, dial):
        dial().say(b"printf abc\n").half_close().hears(b"3").gone()

    @everywhere("decimal-patient")
    def test_c2_an_acknowledgement_with_a_newline_is_told_from_the_next_request(self, dial):
        peer = dial().say(b"printf abc\n").hears(b"3")
        peer.say(b"True\nprintf d\n").hears(b"abc1").say(b"True\n").hears(b"d")

    @everywhere("decimal-word")
    def test_c2_the_word_releases_the_moment_it_is_complete(self, dial):
        peer = dial().say(b"printf abc\n").hears(b"3")
        # No newline, nothing settles for 200 ms, and the next request is glued to it.
        peer.say(b"recv_readyprintf d\n").hears(b"abc1").drip(b"recv_ready").hears(b"d")

    @everywhere("decimal-word", at_once=True)
    def test_c2_any_other_word_drops_the_output(self, dial):
        # What has no newline is complete after the silence of `settle`, counted from when it is read.
        for word, wait in ((b"no\n", 0.05), (b"recv_read\n", 0.05), (b"True", 1)):
            peer = dial().say(b"printf abc\n").hears(b"3").say(word).silence(wait)
            peer.say(b"printf d\n").hears(b"1").say(b"recv_ready").hears(b"d")

    # C3, i32.

    @everywhere("i32")
    def test_c3_whole(self, dial):
        peer = dial().say(b"echo out; echo err >&2\n")
        self.assertEqual(takes_i32(peer), b"out\nerr\n")
        peer.say(b"printf abc")
        self.assertEqual(takes_i32(peer), b"abc")
        peer.half_close().ended()

    @everywhere("i32-patient")
    def test_c3_byte_by_byte(self, dial):
        peer = dial().drip(b"printf abc").half_close()
        self.assertEqual(takes_i32(peer), b"abc")
        peer.ended()

    @everywhere("i32")
    def test_c3_glued_and_half_closed(self, dial):
        peer = dial().say(b"printf a\nprintf bb\r\n\n\r\ntrue\nprintf cccc").half_close()
        self.assertEqual([takes_i32(peer) for _ in range(4)], [b"a", b"bb", b"", b"cccc"])
        peer.ended()

    @everywhere("i32")
    def test_c3_ten_kilobytes_are_neither_lost_nor_glued(self, dial):
        peer = dial()
        for _ in range(5):
            peer.say(b"head -c 10000 /dev/zero\nprintf next\n")
            self.assertEqual(takes_i32(peer), bytes(10000))
            self.assertEqual(takes_i32(peer), b"next")

    @everywhere("i32-either")
    def test_c3_stderr_or_stdout(self, dial):
        peer = dial().say(b"echo out; echo err >&2\necho out\n")
        self.assertEqual([takes_i32(peer), takes_i32(peer)], [b"err\n", b"out\n"])

    @everywhere("i32-gbk")
    def test_c3_requests_and_output_in_gbk(self, dial):
        peer = dial().say("printf 你好 | wc -c | tr -d ' '\n".encode("gbk"))
        self.assertEqual(takes_i32(peer), b"6\n")  # to the shell it is UTF-8
        peer.say("test 你好 = 你好 && echo same\n".encode("gbk"))
        self.assertEqual(takes_i32(peer), b"same\n")
        peer.say("printf 你好".encode("gbk"))
        self.assertEqual(takes_i32(peer), "你好".encode("gbk"))

    # C4, json.

    @everywhere("json")
    def test_c4_whole(self, dial):
        peer = dial().say(b"echo out; echo err >&2; exit 3\n")
        header, output = takes_json(peer)
        self.assertEqual((header["exit"], output), (3, b"out\nerr\n"))
        peer.say(b"true")
        header, output = takes_json(peer)
        self.assertEqual((header["exit"], output), (0, b""))
        peer.half_close().ended()

    @everywhere("json-patient")
    def test_c4_byte_by_byte(self, dial):
        peer = dial().drip(b"printf abc").half_close()
        self.assertEqual(takes_json(peer)[1], b"abc")
        peer.ended()

    @everywhere("json")
    def test_c4_glued_and_half_closed(self, dial):
        peer = dial().say(b"printf a\nexit 7\nprintf '\\377'").half_close()
        answers = [takes_json(peer) for _ in range(3)]
        self.assertEqual([output for _, output in answers], [b"a", b"", b"\xff"])
        self.assertEqual([header["exit"] for header, _ in answers], [0, 7, 0])
        peer.ended()

    @everywhere("json")
    def test_fault_f10_every_exit_code(self, dial):
        peer = dial()
        codes = (0, 1, 2, 126, 127, 128, 254, 255)
        peer.say(b"".join(b"exit %d\n" % code for code in codes))
        self.assertEqual(tuple(takes_json(peer)[0]["exit"] for _ in codes), codes)
        peer.say(b"kill -9 $$\n")
        self.assertEqual(takes_json(peer)[0]["exit"], 137)

    @everywhere("json-hasty")
    def test_fault_f2_the_time_is_up(self, dial):
        peer = dial().say(b"echo begun; sleep 1000\n")
        header, output = takes_json(peer)
        self.assertRegex(output, rb"\Aonepoll: [^\n]+\n\Z")
        self.assertTrue(header["error"], header)
        peer.say(b"echo on\n")
        self.assertEqual(takes_json(peer)[1], b"on\n")

    @everywhere("json-hasty")
    def test_fault_f2_a_command_cannot_leave_its_group(self, dial):
        # Only if that is refused does it sleep, and run into the limit.
        leaves = "import os, time\\ntry: os.setpgid(0, os.getpgid(os.getppid()))\\n"
        leaves += "except PermissionError: time.sleep(1000)"
        line = "exec %s -c \"$(printf '%s')\"\n" % (sys.executable, leaves)
        peer = dial().say(line.encode())
        self.assertTrue(takes_json(peer)[0]["error"])
        self.assertEqual(self.server.children_now(), [])

    @everywhere("i32-hasty")
    def test_c3_a_refusal_has_the_same_framing(self, dial):
        peer = dial().say(b"sleep 1000\n")
        self.assertRegex(takes_i32(peer), rb"\Aonepoll: [^\n]+\n\Z")

    @everywhere("json-short")
    def test_fault_f1_endless_output_is_cut(self, dial):
        peer = dial().say(b"yes\n")
        output = takes_json(peer)[1]
        self.assertRegex(output, rb"\n?onepoll: output cut at 1000 bytes\n?\Z")
        self.assertLess(len(output), 1100)
        peer.say(b"echo on\n")
        self.assertEqual(takes_json(peer)[1], b"on\n")

    @everywhere("i32-short")
    def test_c3_output_at_the_limit_and_above(self, dial):
        peer = dial().say(b"head -c 1000 /dev/zero\n")
        self.assertEqual(takes_i32(peer), bytes(1000))
        peer.say(b"head -c 1001 /dev/zero\n")
        self.assertRegex(takes_i32(peer), rb"onepoll: output cut at 1000 bytes\n?\Z")

    # Faults of commands.

    @everywhere("i32")
    def test_a_web_page_runs_nothing(self, dial):
        flag = os.path.join(self.directory(), "ran")
        body = b"touch %s\n" % flag.encode()
        peer = dial().say(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        self.assertRegex(takes_i32(peer), rb"\Aonepoll: [^\n]*HTTP[^\n]*\n\Z")
        peer.ended()
        self.assertFalse(os.path.exists(flag))

    @everywhere("i32")
    def test_fault_f3_a_grandchild_that_holds_the_pipe(self, dial):
        peer = dial().say(b"sleep 1000 & echo hi\n")
        self.assertEqual(takes_i32(peer), b"hi\n")

    @everywhere("i32")
    def test_fault_f7_standard_input_is_at_its_end(self, dial):
        peer = dial().say(b"cat; echo done\n")
        self.assertEqual(takes_i32(peer), b"done\n")

    @everywhere("json")
    def test_fault_f8_closes_its_output_early(self, dial):
        peer = dial().say(b"echo a; exec >&- 2>&-; sleep 0.1; exit 3\n")
        header, output = takes_json(peer)
        self.assertEqual((header["exit"], output), (3, b"a\n"))

    @everywhere("json")
    def test_fault_f13_a_nul_byte_is_refused(self, dial):
        peer = dial().say(b"echo a\0b\n")
        header, output = takes_json(peer)
        self.assertRegex(output, rb"\Aonepoll: [^\n]+\n\Z")
        self.assertTrue(header["error"], header)

    @everywhere("i32")
    def test_fault_f16_only_the_standard_descriptors(self, dial):
        peer = dial().say(b"ls /proc/self/fd\n")
        found = takes_i32(peer).split()
        self.assertEqual(found, [b"0", b"1", b"2", b"3"])  # 3 is the directory that ls reads

    @everywhere("i32")
    def test_fault_f17_signals_are_as_a_shell_has_them(self, dial):
        peer = dial().say(b"yes | head -1\n")
        self.assertEqual(takes_i32(peer), b"y\n")
        peer.say(b"grep -E 'SigBlk|SigIgn' /proc/self/status\n")
        for line in takes_i32(peer).decode().splitlines():
            # glibc's posix_spawn ignores 32 and 33 in every child: it keeps them to itself.
            self.assertEqual(int(line.split()[1], 16) & ~(3 << 31), 0, line)

    @everywhere("raw")
    def test_fault_f1_endless_raw_output_waits_for_its_reader(self, dial):
        before = self.server.resident_bytes()
        peer = dial().say(b"yes\n")
        peer.takes(4 << 20)
        # Nobody reads: the child's pipe is paused, and after that nothing grows.
        grown = self.until(lambda now: now["owed"] >= 1 << 17)
        self.assertLess(grown["owed"], 1 << 20)
        self.assertLess(self.server.resident_bytes() - before, 8 << 20)
        self.assertEqual(peer.takes(8 << 20), b"y\n" * (4 << 20))
        peer.close()

    def test_fault_f9_whoever_is_gone_needs_no_command(self):
        for place in self.places:
            peer = self.call("raw", place).say(b"echo $$; sleep 1000 & sleep 1000\n")
            group = int(peer.line())
            if place == "unix":
                peer.close()  # with nothing unread this is a hang-up of both halves
            else:
                peer.reset()
            until = time.monotonic() + DEADLINE
            while members(group):
                self.assertTrue(left(until), "still there: %r" % members(group))
                threading.Event().wait(0.005)

    def test_fault_f11_no_zombies(self):
        peer = self.call("i32")
        for _ in range(4):
            peer.say(b"true\n" * 50)
            self.assertEqual([takes_i32(peer) for _ in range(50)], [b""] * 50)
        self.assertEqual(self.server.children_now(), [])

    def test_fault_f19_a_hundred_at_once(self):
        flag = os.path.join(self.directory(), "go")
        line = b"while ! test -e %s; do sleep 0.02; done; echo ran\n" % flag.encode()
        peers = [self.call("i32") for _ in range(100)]
        for peer in peers:
            peer.say(line)
        # 16 run, 64 wait; the others are told at once, and only then may the 16 end.
        self.until(lambda now: now["commands_busy"] >= 20)
        now = self.server.counters()
        self.assertEqual((now["children"], now["children_waiting"]), (16, 64))
        with open(flag, "w"):
            pass
        answers = [takes_i32(peer) for peer in peers]
        self.assertEqual(answers.count(b"ran\n"), 80)
        refusals = [answer for answer in answers if answer != b"ran\n"]
        for refusal in refusals:
            self.assertRegex(refusal, rb"\Aonepoll: [^\n]*busy[^\n]*\n\Z")

    @everywhere("i32")
    def test_fault_b9_an_endless_request_is_refused(self, dial):
        peer = dial().say(b"#" * 100000)
        self.assertRegex(takes_i32(peer), rb"\Aonepoll: [^\n]+\n\Z")
        peer.ended()

    def until(self, predicate):
        until = time.monotonic() + DEADLINE
        while True:
            now = self.server.counters()
            if predicate(now):
                return now
            self.assertTrue(left(until), now)
            threading.Event().wait(0.005)


class Patient(Case):
    def test_a_client_that_waits_for_its_command_is_not_idle(self):
        for ends in (False, True):
            url = "command://127.0.0.1:0?framing=i32&auth=none&idle-timeout=100ms"
            server = self.serve(url)
            peer = self.dial(server.at("command")).say(b"sleep 0.4; echo late\n")
            if ends:
                peer.half_close()
            self.assertEqual(takes_i32(peer), b"late\n")
            peer.close()
            server.rests()
            server.stop()


class Inherited(Case):
    def test_fault_f10_whoever_started_us_ignores_its_children(self):
        ignores = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
        ignores += "; os.execv(sys.argv[1], sys.argv[1:])"
        path = os.path.join(self.directory(), "s")
        server = self.serve("command+unix://" + path, through=(sys.executable, "-c", ignores))
        peer = self.dial(path).say(b"exit 3\nkill -9 $$\n")
        self.assertEqual([takes_json(peer)[0]["exit"] for _ in range(2)], [3, 137])
        peer.close()
        server.rests()
        server.stop()


class Refused(Case):
    @without("secret", "nothing is said before a challenge")
    @without("tls", "nothing is said before the handshake")
    def test_fault_a5_a_full_endpoint_answers_in_its_framing(self):
        framings = ("raw", "i32", "json")
        server = self.serve(
            *("command://127.0.0.1:0?framing=%s&auth=none&max-connections=1" % f for f in framings)
        )
        for nth, framing in enumerate(framings):
            with self.subTest(framing):
                address = server.at("command", nth=nth)
                inside = self.dial(address)
                outside = self.dial(address)
                if framing == "json":
                    header, said = takes_json(outside)
                    self.assertTrue(header["error"])
                elif framing == "i32":
                    said = takes_i32(outside)
                else:
                    said = outside.line() + b"\n"
                self.assertRegex(said, rb"\Aonepoll: [^\n]+\n\Z")
                outside.ended().close()
                inside.close()
        server.rests()
        server.stop()


def members(group):
    """Processes of a group that are alive."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid) as file:
                fields = file.read().rsplit(") ", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(pid))
    return found


if __name__ == "__main__":
    main()
