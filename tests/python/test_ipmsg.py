"""U4: IPMSG and Feige, as the tutorials speak it and as real programs do, with raw datagrams."""

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import time

from harness import BINARY, DEADLINE, SILENCE, Case, main, shown

NI_HAO = "你好".encode("gbk")


def addresses():
    """Three loopback addresses of this process's own: hosts of IPMSG have one port and different addresses."""
    pid = os.getpid()
    return ["127.%d.%d.%d" % (128 + (pid >> 8) % 64, pid % 256, n) for n in (1, 2, 3)]


SERVER, HERE, ELSEWHERE = addresses()


def record(name, kind, size=0, data=b""):
    """A record of a directory: 1 is a file, 2 a directory, 3 goes up."""
    rest = name.replace(b":", b"::") + b":%x:%x:" % (size or len(data), kind)
    return b"%04x:" % (len(rest) + 5) + rest + data


UP = record(b".", 3)


def tree(stream):
    """What a stream of records has in it: bytes by path, None for a directory."""
    found, here = {}, []
    while stream:
        length = int(stream[:4], 16)
        head = re.sub(b"::", b"\0", stream[5:length]).split(b":")
        name, size, kind = head[0].replace(b"\0", b":").decode("gbk"), int(head[1], 16), int(head[2], 16)
        stream = stream[length:]
        if kind == 3:
            here.pop()
            if not here:
                assert not stream, shown(stream)
            continue
        path = "/".join(here + [name])
        found[path] = stream[:size] if kind == 1 else None
        stream = stream[size:]
        if kind == 2:
            here.append(name)
    assert not here, here
    return found


class Host:
    """A host of IPMSG as a script."""

    def __init__(self, case, at, there):
        self.link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        case.addCleanup(self.link.close)
        self.link.bind(at)
        self.at = self.link.getsockname()
        self.there = there

    def say(self, packet, to=None):
        packet = packet.encode() if isinstance(packet, str) else packet
        self.link.sendto(packet, to or self.there)
        return self

    def heard(self):
        """The next packet, as its six fields and what is behind the first NUL, and where it came from."""
        self.link.settimeout(DEADLINE)
        data, source = self.link.recvfrom(1 << 16)
        fields = data.split(b":", 5)
        assert len(fields) == 6, "no packet: %s" % shown(data)
        additional, _, more = fields[5].partition(b"\0")
        return (int(fields[1]), int(fields[4]), additional, more, source)

    def hears(self, mode):
        """The next packet, which is of this mode."""
        number, command, additional, more, source = self.heard()
        assert command & 0xFF == mode, "mode %#x: %s" % (command & 0xFF, shown(additional))
        return number, command, additional, more, source

    def silence(self, seconds=SILENCE):
        readable, _, _ = select.select([self.link], [], [], seconds)
        assert not readable, "heard %s, not silence" % shown(self.link.recv(1 << 16))
        return self


class Service(Case):
    def host(self, url="", **how):
        self.server = self.serve("ipmsg://%s:0%s" % (SERVER, url), **how)
        return Host(self, (HERE, 0), self.server.at("ipmsg"))

    def logs(self, *words, after=0):
        return self.server.waits_for(lambda line: all(word in line for word in words), after)

    def test_the_tutorials_messages_in_gbk_are_shown_and_not_answered(self):
        host = self.host()
        host.say(b"1:111:eva:eva:32:" + NI_HAO)
        self.logs("text=你好", "nick=eva", "not verified")
        # Their number is always the same.
        for text in ("one", "two", "a:b:c"):
            host.say("1:111:eva:eva:32:" + text)
            self.logs("text=%s" % text)
        host.silence()

    def test_text_of_every_encoding_is_read(self):
        host = self.host()
        for number, data in enumerate(
            [NI_HAO, "你好".encode(), "你好".encode("gb18030"), b"\xc4\xe3\xba\xc3\0"]
        ):
            before = len(self.server.lines)
            host.say(b"1:%d:e:e:32:" % number + data)
            self.logs("text=你好", after=before)
        host.say(b"1:9:e:e:8388640:" + "👋".encode())
        self.logs("text=👋")

    def test_fault_c2_half_a_character_is_shown_as_one_that_cannot_be_read(self):
        host = self.host()
        host.say(b"1:1:e:e:32:" + NI_HAO[:3])
        self.logs("text=你\N{REPLACEMENT CHARACTER}")
        host.say(b"1:2:e:e:8388640:" + "你".encode()[:2])
        self.logs("text=\N{REPLACEMENT CHARACTER}")

    def test_fault_e12_what_is_no_packet_is_met_with_silence(self):
        host = self.host()
        for data in (b"", b"x", b":::::", b"1:2:u:h:x:t", b"1:99999999999:u:h:288:t", b"\xff" * 60000):
            host.say(data)
        for mode in (0x00, 0x40, 0x50, 0x61, 0x72, 0xFE):
            host.say("1:2:u:h:%d:t" % mode)
        host.silence()
        host.say("1:3:u:h:288:alive")
        self.assertEqual(host.hears(0x21)[2], b"3")

    def test_fault_e13_a_message_is_acknowledged_again_and_shown_once(self):
        host = self.host()
        for end in ("", "\0", "", ""):
            host.say("1:7:u:h:288:once" + end)
            number, command, additional, _, source = host.hears(0x21)
            self.assertEqual((command, additional), (0x21, b"7"))
            self.assertEqual(source, self.server.at("ipmsg"))
        for _ in range(100):
            host.say("1:7:u:h:288:once")
        answers = 4
        with contextlib.suppress(AssertionError):
            while True:
                host.silence()
        host.say("1:8:u:h:288:then")
        host.link.settimeout(DEADLINE)
        while True:
            answers += 1
            if host.heard()[2] == b"8":
                break
        self.assertLessEqual(answers, 9)
        self.logs("text=then")
        self.assertEqual(sum("text=once" in line for line in self.server.lines), 1)

    def test_what_goes_to_everybody_or_is_automatic_is_never_answered(self):
        host = self.host()
        for option in (0x400, 0x2000):
            host.say("1:%d:u:h:%d:hi" % (option, 0x120 | option | 0x100000))
            self.logs("text=hi")
        host.silence()

    def test_an_entry_is_answered_with_who_is_there(self):
        host = self.host("?nick=%E6%9C%8D%E5%8A%A1&user=srv&host=box&group=g")
        host.say("1:1:u:h:1:nick\0group\0icon\0utf-8\0")
        _, command, nick, more, _ = host.hears(0x03)
        self.assertEqual(nick.decode(), "服务")
        self.assertIn("\nUN:srv\nHN:box\nNN:服务\nGN:g", more.decode())
        self.assertFalse(command & 0x800000)
        # A flood of them has few answers (fault E14).
        for n in range(200):
            host.say("1:%d:u:h:1:n\0g" % n)
        host.say("1:900:u:h:288:x")
        answers = 0
        while host.heard()[1] & 0xFF == 0x03:
            answers += 1
        self.assertLessEqual(answers, 8)

    def test_reading_is_told_until_that_is_acknowledged(self):
        host = self.host()
        host.say("1:7:u:h:%d:sealed" % (0x120 | 0x200 | 0x100000))
        host.hears(0x21)
        number, _, additional, _, _ = host.hears(0x30)
        self.assertEqual(additional, b"7")
        # A second later again; then it is acknowledged.
        self.assertEqual(host.hears(0x30)[0], number)
        host.say("1:8:u:h:%d:%d" % (0x32, number))
        host.silence()

    def test_answers_go_where_the_endpoint_says(self):
        self.server = self.serve("ipmsg://%s:0?reply-to=both" % SERVER)
        port = self.server.at("ipmsg")[1]
        there = self.server.at("ipmsg")
        usual = Host(self, (HERE, port), there)
        other = Host(self, (HERE, 0), there)
        other.say("1:7:u:h:288:hi")
        self.assertEqual(other.hears(0x21)[2], b"7")
        self.assertEqual(usual.hears(0x21)[2], b"7")

    def test_at_its_end_it_says_twice_that_it_goes(self):
        peer = Host(self, (HERE, 0), None)
        self.server = self.serve("ipmsg://%s:0?peer=%s:%d" % (SERVER, *peer.at))
        peer.hears(0x01)
        self.server.terminate()
        first = peer.hears(0x02)
        began = time.monotonic()
        self.assertEqual(peer.hears(0x02)[0], first[0])
        self.assertGreaterEqual(time.monotonic() - began, 0.05)
        self.server.ends()
        peer.silence()

    def test_fault_e9_a_flood_leaves_the_others_served(self):
        self.server = self.serve("ipmsg://%s:0" % SERVER, "echo://127.0.0.1:0")
        host = Host(self, (HERE, 0), self.server.at("ipmsg"))
        peer = self.dial(self.server.at("echo"))
        for n in range(20):
            for k in range(500):
                host.say("1:%d:u:h:32:flood" % (500 * n + k))
            peer.say(b"x%d" % n).hears(b"x%d" % n)
        # It is logged a few times a second, and that more came.
        self.assertLess(sum("text=flood" in line for line in self.server.lines), 200)


class Files(Case):
    def setUp(self):
        root = self.directory()
        self.root = root
        for name, content in (("a.txt", b"in a"), ("报告.txt", b"0123456789" * 30000), (".h", b"x")):
            with open(os.path.join(root, name), "wb") as file:
                file.write(content)
        os.symlink("/etc/passwd", os.path.join(root, "link"))
        with contextlib.closing(socket.socket()) as probe:
            probe.bind((SERVER, 0))
            port = probe.getsockname()[1]
        self.server = self.serve("ipmsg://%s:%d?root=%s" % (SERVER, port, root))
        self.there = (SERVER, port)
        self.host = Host(self, (HERE, 0), self.there)

    def list(self):
        self.host.say("1:1:u:h:288:/files")
        self.host.hears(0x21)
        number, command, additional, _, _ = self.host.hears(0x20)
        self.assertEqual(additional, b"files follow")
        self.host.silence()
        self.host.say("1:2:u:h:33:%d" % number)
        number, command, _, more, _ = self.host.hears(0x20)
        self.assertTrue(command & 0x200000)
        self.host.say("1:3:u:h:33:%d" % number)
        files = [one.split(b":") for one in more.rstrip(b"\0").split(b"\x07") if one]
        return number, {one[1].decode("gbk"): (int(one[0]), int(one[2], 16)) for one in files}

    def fetch(self, request, gap=None):
        with socket.create_connection(self.there, DEADLINE) as link:
            if gap is None:
                link.sendall(request)
            else:
                for byte in request:
                    link.sendall(bytes([byte]))
            data = b""
            while True:
                more = link.recv(1 << 16)
                if not more:
                    return data
                data += more

    def test_files_are_offered_and_fetched_with_an_offset(self):
        number, files = self.list()
        self.assertEqual(sorted(files), ["a.txt", "报告.txt"])
        id, size = files["报告.txt"]
        self.assertEqual(size, 300000)
        ask = "1:5:u:h:96:%x:%x:%x"
        whole = b"0123456789" * 30000
        self.assertEqual(self.fetch((ask % (number, id, 0)).encode() + b"\0"), whole)
        self.assertEqual(self.fetch((ask % (number, id, 299990)).encode() + b":"), whole[-10:])
        # Byte by byte, and with no end at all.
        self.assertEqual(self.fetch((ask % (number, id, 299999)).encode(), gap=0), b"9")
        for wrong in (
            ask % (number, id, 300001),
            ask % (number, id + 7, 0),
            ask % (number + 1, id, 0),
            "1:5:u:h:98:%x:%x" % (number, id),
            "1:5:u:h:32:hello",
        ):
            self.assertEqual(self.fetch(wrong.encode() + b"\0"), b"", wrong)
        os.remove(os.path.join(self.root, "a.txt"))
        os.symlink("/etc/passwd", os.path.join(self.root, "a.txt"))
        self.assertEqual(self.fetch((ask % (number, files["a.txt"][0], 0)).encode() + b"\0"), b"")
        self.server.rests()


    def test_a_directory_is_fetched_with_what_is_in_it_and_through_no_link(self):
        inner = os.path.join(self.root, "inner")
        os.makedirs(os.path.join(inner, "资料", "empty"))
        expected = {"inner": None, "inner/资料": None, "inner/资料/empty": None}
        for name, content in (("a:b", b"x"), ("none", b""), ("资料/large", b"0123456789" * 100000)):
            with open(os.path.join(inner, name), "wb") as file:
                file.write(content)
            expected["inner/" + name] = content
        os.symlink("../a.txt", os.path.join(inner, "link"))
        os.symlink("/etc", os.path.join(inner, "etc"))
        os.mkfifo(os.path.join(inner, "fifo"))
        number, files = self.list()
        id, size = files["inner"]
        self.assertEqual(size, 0)
        for end in ("", ":", ":0\0", "\0"):
            request = "1:5:u:h:98:%x:%x%s" % (number, id, end)
            self.assertEqual(tree(self.fetch(request.encode())), expected)
        self.server.waits_for(lambda line: "left out of a directory" in line and "a FIFO" in line)
        self.assertEqual(self.fetch(b"1:5:u:h:96:%x:%x:0\0" % (number, id)), b"")
        self.server.rests()


class Commands(Case):
    """`onepoll ipmsg` beside a script."""

    def send(self, *arguments, to=None):
        to = to or "%s:%d" % self.host.at
        return subprocess.Popen(
            [BINARY, "ipmsg", "send", "--bind", ELSEWHERE + ":0", "--nick", "me", to, *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )

    def ends(self, process, code):
        out, err = process.communicate(timeout=DEADLINE)
        self.assertEqual(process.returncode, code, out + err)
        return out, err

    def message(self):
        """The next message, when everything before it is answered as a host does."""
        while True:
            number, command, additional, more, source = self.host.heard()
            if command & 0xFF == 0x20:
                return number, command, additional, more, source
            if command & 0xFF == 0x01:
                self.host.say("1:1:eva:pc:3:eva", source)

    def setUp(self):
        self.host = Host(self, (HERE, 0), None)

    def test_fault_e15_send_ends_with_0_only_when_it_was_acknowledged(self):
        process = self.send("hi", "--retry", "50ms", "--tries", "20")
        number, command, additional, _, source = self.message()
        self.assertEqual((command & 0xFF, additional), (0x20, b"hi"))
        self.assertTrue(command & 0x100)
        # Not by an answer to something else, nor by one to an earlier message.
        for wrong in ("1:2:eva:pc:33:%d" % (number - 1), "1:2:eva:pc:33:", "1:2:eva:pc:32:%d" % number):
            self.host.say(wrong, source)
        self.assertEqual(self.message()[0], number)
        self.host.say("1:3:eva:pc:33:%d" % number, source)
        out, _ = self.ends(process, 0)
        self.assertIn("has acknowledged it", out)
        # And it says twice that it goes.
        modes = []
        while modes.count(0x02) < 2:
            modes.append(self.host.heard()[1] & 0xFF)

    def test_fault_e15_what_nobody_acknowledges_is_sent_as_often_as_was_said(self):
        process = self.send("hi", "--retry", "20ms", "--tries", "3", "--json")
        numbers = [self.message()[0] for _ in range(3)]
        self.assertEqual(len(set(numbers)), 1)
        out, err = self.ends(process, 1)
        self.assertEqual(out, "")
        self.assertIn("has not acknowledged it: it was sent 3 times", err)
        process = self.send("hi", "--timeout", "100ms")
        self.message()
        self.assertIn("within 100ms", self.ends(process, 1)[1])

    def test_gbk_is_written_until_utf_8_is_shown(self):
        process = self.send("你好", "--json")
        number, command, additional, _, source = self.message()
        self.assertEqual((additional, command & 0x800000), (NI_HAO, 0))
        self.host.say("1:3:eva:pc:33:%d" % number, source)
        event = json.loads(self.ends(process, 0)[0])
        self.assertEqual((event["event"], event["number"]), ("acknowledged", number))

    def test_a_name_is_found_among_those_who_answer(self):
        peer = ["--peer", "%s:%d" % self.host.at, "--wait", "5s"]
        process = self.send("hi", *peer, to="eva")
        number, _, _, _, source = self.message()
        self.host.say("1:3:eva:pc:33:%d" % number, source)
        self.ends(process, 0)
        process = self.send("hi", *peer[:2], "--wait", "300ms", to="adam")
        _, _, _, _, source = self.next_entry()
        self.host.say("1:1:eva:pc:3:eva", source)
        self.assertIn("nobody called adam answers", self.ends(process, 1)[1])

    def next_entry(self):
        while True:
            heard = self.host.heard()
            if heard[1] & 0xFF == 0x01:
                return heard

    def listen(self, *arguments):
        process = subprocess.Popen(
            [BINARY, "ipmsg", "listen", "--bind", ELSEWHERE + ":0", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        self.addCleanup(lambda: process.poll() is None and process.kill())
        line = process.stderr.readline()
        at = re.search(r"listening at udp (\S+):(\d+)$", line)
        self.host.there = (at[1], int(at[2]))
        return process

    def test_listen_shows_each_message_once_and_nothing_that_acts_on_a_terminal(self):
        process = self.listen("--count", "2")
        for _ in range(3):
            self.host.say(b"1:7:eva:pc:288:\x1b[2Jone\nadam (10.0.0.1:2425, unverified): two\x07")
            self.assertEqual(self.host.hears(0x21)[2], b"7")
        self.host.say(b"1:8:eva:pc:32:" + NI_HAO)
        out, _ = self.ends(process, 0)
        place = "eva (%s:%d, unverified): " % self.host.at
        self.assertEqual(out.split("\n"), [
            place + "\ufffd[2Jone",
            "    adam (10.0.0.1:2425, unverified): two\ufffd",
            place + "你好",
            "",
        ])

    def test_listen_says_in_json_what_came_and_ends_when_it_is_told(self):
        process = self.listen("--json")
        self.host.say("1:7:eva:pc:288:hi\x000:a::b.txt:1f:65e0:1:\x07")
        self.host.hears(0x21)
        event = json.loads(process.stdout.readline())
        self.assertEqual((event["text"], event["verified"], event["files"]), ("hi", False, []))
        self.host.say("1:8:eva:pc:%d:\0" % (0x200120) + "0:a::b.txt:1f:65e0:1:\x07")
        event = json.loads(process.stdout.readline())
        self.assertEqual(event["files"], [
            {"id": 0, "name": "a:b.txt", "size": 31, "modified": 0x65E0, "kind": "file"}
        ])
        process.send_signal(signal.SIGINT)
        self.ends(process, 130)

    def test_a_file_that_is_offered_is_fetched_beneath_the_directory_alone(self):
        there = self.directory()
        process = self.listen("--count", "2", "-o", there, "--json")
        server = socket.socket()
        self.addCleanup(server.close)
        server.bind(self.host.at)
        server.listen()
        server.settimeout(DEADLINE)
        self.host.say(
            "1:7:eva:pc:%d:take\0" % 0x200120
            + "5:../../a.txt:6:0:1:\x07" + "6:..:6:0:1:\x07" + "7:d:0:0:4:\x07" + "8:short:7:0:1:\x07"
        )
        # One that is cut goes on where it ended; one that does not come whole is given up.
        asked = []
        for _ in range(2 + 3):
            link, _ = server.accept()
            link.settimeout(DEADLINE)
            fields = link.recv(1000).rstrip(b"\0").split(b":")
            self.assertEqual(fields[4:6], [b"96", b"7"])
            id, offset = (int(field, 16) for field in fields[6:8])
            asked.append((id, offset))
            content = b"hello\n"[offset:]
            link.sendall(content[:2] if (id, offset) == (5, 0) else content)
            link.close()
        self.assertEqual(sorted(asked), [(5, 0), (5, 2), (8, 0), (8, 6), (8, 6)])
        self.host.say("1:8:eva:pc:32:bye")
        out, _ = self.ends(process, 1)
        events = [json.loads(line) for line in out.splitlines()]
        failed = {e["name"]: e["error"] for e in events if e["event"] == "file-failed"}
        self.assertEqual(sorted(failed), ["..", "d", "short"])
        self.assertIn("ended 1 bytes before its end", failed["short"])
        self.assertEqual(os.listdir(there), ["a.txt"])
        with open(os.path.join(there, "a.txt")) as file:
            self.assertEqual(file.read(), "hello\n")

    def offers(self, streams, *arguments):
        """What `listen` makes of these streams, each of a directory `d` that was offered; its events, and what is there."""
        there = os.path.join(self.directory(), "in")
        os.mkdir(there)
        process = self.listen("--count", "1", "-o", there, "--json", *arguments)
        server = socket.socket()
        self.addCleanup(server.close)
        server.bind(self.host.at)
        server.listen(100)
        server.settimeout(DEADLINE)
        offers = "".join("%d:d:0:0:2:\x07" % id for id in range(len(streams)))
        self.host.say("1:7:eva:pc:%d:take\0" % 0x200120 + offers)
        for _ in streams:
            link, _ = server.accept()
            link.settimeout(DEADLINE)
            fields = link.recv(1000).rstrip(b"\0").split(b":")
            self.assertEqual(fields[4:6], [b"98", b"7"])
            with contextlib.suppress(OSError):
                link.sendall(streams[int(fields[6], 16)])
                link.shutdown(socket.SHUT_WR)
                link.recv(1)
            link.close()
        out, _ = process.communicate(timeout=DEADLINE)
        events = [json.loads(line) for line in out.splitlines()][1:]
        self.assertEqual(os.listdir(os.path.dirname(there)), ["in"])
        found = {}
        for path, directories, names in os.walk(there):
            for name in names:
                with open(os.path.join(path, name), "rb") as file:
                    found[os.path.relpath(file.name, there)] = file.read()
            for name in directories:
                found[os.path.relpath(os.path.join(path, name), there)] = None
        return process.returncode, events, found

    def test_a_directory_is_fetched_whole_and_only_what_may_be_there(self):
        hostile = b"".join(
            record(name, 1, data=b"evil") + record(name, 2) + record(b"x", 1, data=b"evil") + UP
            for name in (b"..", b"../x", b"/x", b"/tmp/x", b".", b".x", b"a/b", b"a\\b", b"a\0b", b"..\xff/x")
        )
        good = record("资料".encode("gbk"), 2) + record(b"a:b", 1, data=b"hi") + UP
        stream = record(b"../../evil", 2) + hostile + good + record(b"a", 1, data=b"1") + record(b"a", 1, data=b"2")
        code, (event,), found = self.offers([stream + UP + b"garbage"])
        self.assertEqual((code, event["event"], event["omitted-count"]), (1, "directory", 20))
        self.assertEqual(found, {
            "d": None, "d/资料": None, "d/资料/a:b": b"hi", "d/a": b"1", "d/a-2": b"2",
        })
        self.assertEqual(event["omitted"][0], {"path": "d/..", "why": "a name does not begin with a dot"})

    def test_a_directory_that_is_cut_at_any_byte_is_told_and_what_was_whole_stays(self):
        stream = record(b"d", 2) + record(b"a", 1, data=b"hi") + record(b"b", 2) + UP + UP
        code, events, found = self.offers([stream[:cut] for cut in range(len(stream) + 1)])
        self.assertEqual(code, 1)
        kinds = [event["event"] for event in events]
        self.assertEqual((kinds.count("directory"), len(kinds)), (1, len(stream) + 1))
        for event in events:
            if event["event"] != "directory":
                self.assertIn("the connection ended before the directory did", event["error"])
        files = {path: data for path, data in found.items() if data is not None}
        self.assertEqual(set(files.values()), {b"hi"})
        whole = len(record(b"d", 2) + record(b"a", 1, data=b"hi"))
        self.assertEqual(len(files), len(stream) + 1 - whole)

    def test_a_directory_that_lies_is_refused_where_it_does(self):
        top = record(b"d", 2)
        lies = {
            "longer than the limit of 1024": top + record(b"a", 1, size=1025),
            "all of a directory": top + record(b"a", 1, size=(1 << 64) - 1),
            "depth of a directory": top + record(b"d", 2) * 10000,
            "number of entries": top + record(b".x", 1) * 100000,
            "does not begin with a directory": record(b"a", 1, data=b"x"),
            "does not begin with its length": top + b"GET / HTTP/1.1",
            "IPMSG record": top + b"ffff:",
            "its size is not hexadecimal": top + b"000b:a:-:1:",
        }
        code, events, found = self.offers(list(lies.values()), "--max-file", "1024")
        self.assertEqual((code, len(events)), (1, len(lies)))
        for what in lies:
            self.assertTrue(any(what in event["error"] for event in events), what)
        self.assertEqual([data for data in found.values() if data is not None], [])

    def test_a_directory_is_offered_and_what_is_left_out_is_said(self):
        there = os.path.join(self.directory(), "my dir")
        os.makedirs(os.path.join(there, "b"))
        with open(os.path.join(there, "b", "c"), "wb") as file:
            file.write(b"x" * 100000)
        os.symlink("/etc/passwd", os.path.join(there, "link"))
        process = self.send("take", "--file", there)
        number, _, _, more, source = self.message()
        self.assertRegex(more, rb"^10000:my dir:186a0:[0-9a-f]+:2:\x07")
        self.host.say("1:3:eva:pc:33:%d" % number, source)
        with socket.create_connection(source, DEADLINE, source_address=(HERE, 0)) as link:
            link.sendall(b"1:5:u:h:98:%x:%x:0\0" % (number, 10000))
            data = b"".join(iter(lambda: link.recv(1 << 16), b""))
        self.assertEqual(tree(data), {"my dir": None, "my dir/b": None, "my dir/b/c": b"x" * 100000})
        out, err = self.ends(process, 1)
        self.assertIn("has fetched my dir", out)
        self.assertEqual(err, "onepoll: left out my dir/link: a symbolic link\n")

    def test_a_port_that_is_taken_is_said_so(self):
        done = subprocess.run(
            [BINARY, "ipmsg", "who", "--bind", "%s:%d" % self.host.at],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE,
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn("another program has that port", done.stderr)


class Bridge(Case):
    """People of the network in a room, and the other way round."""

    def setUp(self):
        with contextlib.closing(socket.socket()) as probe:
            probe.bind((SERVER, 0))
            port = probe.getsockname()[1]
        urls = ("chat://127.0.0.1:0?rooms=lobby", "ipmsg://%s:%d?bridge=lobby" % (SERVER, port))
        # Nobody of the network comes in where a secret is asked for.
        self.server = self.serve(*urls, is_plain=True)
        self.eva = Host(self, (HERE, 0), (SERVER, port))
        self.name = "eva-%s.%d" % self.eva.at
        self.member = self.dial(self.server.at("chat"))
        self.until("guest-1")

    def until(self, what):
        """The next line in the room with this in it."""
        while True:
            line = self.member.line().decode()
            if what in line:
                return line.rstrip("\n")

    def told(self, what):
        """The next message to the person with this in it; each is acknowledged."""
        while True:
            number, command, additional, _, _ = self.eva.heard()
            if command & 0xFF != 0x20:
                continue
            self.eva.say("1:9:eva:pc:33:%d" % number)
            text = additional.decode("gbk")
            if what in text:
                return text

    def test_who_writes_is_a_member_and_hears_the_room(self):
        self.eva.say("1:1:eva:pc:1:eva\0g")
        self.eva.say(b"1:2:eva:pc:288:" + NI_HAO)
        self.until("is now %s" % self.name)
        self.assertEqual(self.until("你好"), "%s: 你好" % self.name)
        self.member.say("欢迎\n".encode())
        self.assertTrue(self.told("欢迎").endswith("guest-1: 欢迎"))
        # To one person alone, and what is not for people of the network.
        self.member.say(("/msg %s psst\n" % self.name).encode())
        self.told("psst")
        self.eva.say("1:3:eva:pc:288:/nick guest-1")
        self.told("/nick is not for people of the network")
        self.eva.say("1:4:eva:pc:288:two\nlines")
        self.until("%s: two" % self.name)
        self.until("%s: lines" % self.name)
        # The same once more is a retry, and said once.
        self.eva.say("1:4:eva:pc:288:two\nlines")
        self.eva.say("1:5:eva:pc:288:/me waves")
        self.assertIn("waves", self.until(self.name))
        self.eva.say("1:6:eva:pc:2:eva")
        self.until("%s left" % self.name)
        self.member.close()
        self.server.rests()

    def test_an_encrypted_or_automatic_message_says_nothing_there(self):
        for option in (0x400000, 0x2000, 0x400):
            self.eva.say("1:%d:eva:pc:%d:no" % (option, 0x20 | option))
        self.eva.say("1:3:eva:pc:32:yes")
        self.until("joined")
        self.until("is now")
        self.assertEqual(self.until(": "), "%s: yes" % self.name)


class Shut(Case):
    def test_nobody_comes_into_a_room_that_is_not_there_or_asks_for_a_secret(self):
        secret = os.path.join(self.directory(), "secret")
        with open(os.open(secret, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write("a secret of sixteen bytes or more")
        with contextlib.closing(socket.socket()) as probe:
            probe.bind((SERVER, 0))
            port = probe.getsockname()[1]
        urls = (
            "chat://127.0.0.1:0?rooms=lobby&secret-file=" + secret,
            "ipmsg://%s:%d?bridge=lobby" % (SERVER, port),
        )
        server = self.serve(*urls, is_plain=True)
        host = Host(self, (HERE, 0), (SERVER, port))
        host.say("1:2:eva:pc:32:hi")
        self.assertEqual(host.hears(0x20)[2], b"* the room cannot be reached")
        server.waits_for(lambda line: "lets everybody in" in line)


if __name__ == "__main__":
    main()
