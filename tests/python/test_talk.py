"""`onepoll talk` (T5, U3), with the tutorials' own scripts at the other end.

The peers here are what people wrote when they learnt sockets: a `send`, then a `recv(1024)`, and an `input()` in
between. They know nothing of lines.
"""

import os
import random
import re
import select
import signal
import socket
import struct
import subprocess
import threading
import time
import unittest

from harness import (
    BINARY,
    DEADLINE,
    LISTENING,
    ROOT,
    SILENCE,
    Case,
    address_of,
    ipv6_exists,
    left,
    main,
    onepoll,
)
from person import Person


class Talk:
    """`onepoll talk` through pipes."""

    def __init__(self, case, *arguments):
        self.process = subprocess.Popen(
            [BINARY, "talk", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self.unread = {self.process.stdout: bytearray(), self.process.stderr: bytearray()}
        case.addCleanup(self.kill)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()

    def port(self):
        """Where it listens."""
        return int(self.remark("listening on").rsplit(":", 1)[1])

    def says(self, text):
        self.process.stdin.write(text)
        return self

    def says_no_more(self):
        self.process.stdin.close()
        return self

    def _line(self, stream, deadline=DEADLINE):
        unread, until = self.unread[stream], time.monotonic() + deadline
        while b"\n" not in unread:
            assert select.select([stream], [], [], left(until))[0], "no line: %r" % self.unread
            more = os.read(stream.fileno(), 1 << 16)
            assert more, "it ended: %r" % self.unread
            unread += more
        at = unread.index(b"\n") + 1
        line = bytes(unread[:at])
        del unread[:at]
        return line

    def shows(self, *lines):
        for line in lines:
            shown = self._line(self.process.stdout)
            assert shown == line + b"\n", "shown %r, not %r; %r" % (shown, line, self.unread)
        return self

    def shows_nothing(self, seconds=SILENCE):
        out = self.process.stdout
        assert not self.unread[out] and not select.select([out], [], [], seconds)[0]
        return self

    def remark(self, expected):
        """The next of its own remarks."""
        line = self._line(self.process.stderr).decode()
        assert expected in line, "%r is not in %r" % (expected, line)
        return line

    def ends(self, code=0):
        self.process.wait(DEADLINE)
        rest = {stream: bytes(unread) + stream.read() for stream, unread in self.unread.items()}
        out, err = rest[self.process.stdout], rest[self.process.stderr]
        assert self.process.returncode == code, "exit code %r: %r" % (self.process.returncode, err)
        assert not out, "shown at the end: %r" % out
        return err.decode()


class Tutorial(Case):
    """A listener, and a connection, as the tutorials have them."""

    def listener(self, family=socket.AF_INET, at=("127.0.0.1", 0)):
        listener = socket.socket(family)
        self.addCleanup(listener.close)
        listener.bind(at)
        listener.listen()
        listener.settimeout(DEADLINE)
        return listener

    def accepts(self, listener):
        link, _ = listener.accept()
        self.addCleanup(link.close)
        link.settimeout(DEADLINE)
        return link

    def calls(self, port, host="127.0.0.1"):
        link = socket.create_connection((host, port), DEADLINE)
        self.addCleanup(link.close)
        return link

    def talk(self, *arguments):
        return Talk(self, *arguments)

    def called(self, *flags):
        """We call a tutorial's server: it, and the connection at its end."""
        listener = self.listener()
        talk = self.talk(*flags, "127.0.0.1:%d" % listener.getsockname()[1])
        return talk, self.accepts(listener)


class InTurns(Tutorial):
    def test_t5_the_tutorials_server_receives_and_then_answers(self):
        talk, link = self.called("--bare")
        for asked, answered in [("hello", "hi"), ("你好", "你也好"), ("x" * 900, "y" * 1000)]:
            talk.says(asked.encode() + b"\n")
            self.assertEqual(link.recv(1024), asked.encode())  # nothing appended
            link.send(answered.encode())
            talk.shows(answered.encode())
        talk.says(b"q\n")
        self.assertEqual(link.recv(1024), b"q")
        link.close()
        self.assertEqual(talk.ends(), "")

    def test_t5_the_tutorials_client_sends_and_then_receives(self):
        talk = self.talk("--listen", "--bare", "127.0.0.1:0")
        link = self.calls(talk.port())
        talk.remark("127.0.0.1:%d is here" % link.getsockname()[1])
        for asked, answered in [("hello", "hi"), ("再见", "bye")]:
            link.send(asked.encode())
            talk.shows(asked.encode())
            talk.says(answered.encode() + b"\n")
            self.assertEqual(link.recv(1024), answered.encode())
        # It says `q`, and leaves its loop.
        link.send(b"q")
        talk.remark("hung up")
        self.assertEqual(link.recv(1024), b"")
        link.close()
        talk.ends()

    def test_t5_our_own_two_ends_talk_to_each_other(self):
        for flags in ((), ("--bare",)):
            called = self.talk("--listen", *flags, "127.0.0.1:0")
            caller = self.talk(*flags, "127.0.0.1:%d" % called.port())
            called.remark("is here")
            caller.says(b"hello\n")
            called.shows(b"hello").says(b"hi\n")
            caller.shows(b"hi").says(b"Q\n").ends()
            called.remark("hung up")
            called.ends()

    def test_a_line_has_an_end_unless_it_is_bare(self):
        talk, link = self.called()
        talk.says(b"hello\n")
        self.assertEqual(link.recv(1024), b"hello\n")
        talk.says(b"q\n")
        self.assertEqual(link.recv(1024), b"q\n")
        link.close()
        talk.ends()


class OutOfTurn(Tutorial):
    def test_both_speak_at_any_time_and_neither_waits_for_the_other(self):
        talk, link = self.called()
        ours = b"".join(b"ours %d\n" % n for n in range(20000))
        theirs = [b"theirs %d" % n for n in range(20000)]
        writer = threading.Thread(target=lambda: talk.process.stdin.write(ours))
        sender = threading.Thread(target=lambda: link.sendall(b"\n".join(theirs) + b"\n"))
        heard = bytearray()

        def hears():
            while len(heard) < len(ours):
                heard.extend(link.recv(1 << 16))

        reader = threading.Thread(target=hears)
        for thread in (writer, sender, reader):
            thread.start()
        talk.shows(*theirs)
        for thread in (writer, sender, reader):
            thread.join(DEADLINE)
            self.assertFalse(thread.is_alive())
        self.assertTrue(bytes(heard) == ours)
        link.send(b"q\n")
        talk.remark("hung up")
        link.close()
        talk.ends()

    def test_a_dialogue_is_the_same_however_its_bytes_are_cut(self):
        said = "one\r\ntwo\n\n三 q\n q\nqq\nfour".encode()
        shown = [b"one", b"two", b"", "三 q".encode(), b" q", b"qq", b"four"]
        cuts = random.Random(7)
        ways = [[1] * len(said), [len(said)]]
        ways += [[cuts.randrange(1, 9) for _ in said] for _ in range(6)]
        for way in ways:
            talk, link = self.called()
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            at = 0
            for size in way:
                link.sendall(said[at : at + size])
                at += size
            link.shutdown(socket.SHUT_WR)  # the last line has no end but this
            talk.shows(*shown)
            talk.remark("says nothing more")
            talk.says(b"q\n")
            link.close()
            talk.ends()

    def test_q_inside_a_burst_or_a_line_does_not_hang_up(self):
        talk, link = self.called("--bare")
        link.send(b"quiet\nq\nplease")
        talk.shows(b"quiet", b"q", b"please")
        link.send(b"q \n")
        talk.shows(b"q ")
        talk.says(b"q?\nquit\n")
        heard = b""
        while len(heard) < len(b"q?quit"):
            heard += link.recv(1024)
        self.assertEqual(heard, b"q?quit")
        link.send(b"q\r\n")
        talk.remark("hung up")
        link.close()
        talk.ends()

    def test_a_line_without_an_end_is_announced_once(self):
        talk, link = self.called()
        link.send(b"no end")
        self.assertIn("--bare", talk.remark("6 bytes without an end of line"))
        link.send(b" yet\n")
        talk.shows(b"no end yet")
        link.send(b"q\n")
        talk.remark("hung up")
        link.close()
        talk.ends()


class Ends(Tutorial):
    def test_a_half_close_ends_one_direction_only(self):
        talk, link = self.called()
        link.sendall(b"that is all\n")
        link.shutdown(socket.SHUT_WR)
        talk.shows(b"that is all").remark("says nothing more")
        talk.says(b"still here\n")
        self.assertEqual(link.recv(1024), b"still here\n")
        talk.says_no_more()
        self.assertEqual(link.recv(1024), b"")
        link.close()
        talk.ends()
        # The other way round: what comes after our own end is shown.
        talk, link = self.called()
        talk.says(b"that is all\n").says_no_more()
        self.assertEqual(link.recv(1024), b"that is all\n")
        self.assertEqual(link.recv(1024), b"")
        link.sendall(b"fine\n")
        talk.shows(b"fine")
        link.close()
        self.assertEqual(talk.ends(), "")

    def test_fault_b17_a_peer_that_resets_the_connection_is_an_error_when_all_that_came_is_shown(self):
        talk, link = self.called()
        link.sendall(b"bye\n")
        talk.shows(b"bye")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        link.close()
        self.assertIn("reset by peer", talk.ends(1))

    def test_fault_b9_a_line_without_an_end_is_not_collected_for_ever(self):
        talk, link = self.called()
        link.sendall(b"x" * 70000)
        self.assertIn("longer than the limit of 65536", talk.ends(1))

    def test_nobody_there_is_said_with_exit_code_1(self):
        listener = self.listener()
        port = listener.getsockname()[1]
        listener.close()
        self.assertIn("refused", self.talk("127.0.0.1:%d" % port).ends(1))
        path = os.path.join(self.directory(), "talk.sock")
        self.assertIn("No such file", self.talk("unix://" + path).ends(1))
        # One that takes nobody: its queue is full.
        with socket.socket(socket.AF_UNIX) as full, socket.socket(socket.AF_UNIX) as first:
            full.bind(path)
            full.listen(0)
            first.connect(path)
            self.assertIn("does not take connections", self.talk("--timeout", "50ms", path).ends(1))

    def test_what_makes_no_sense_is_exit_code_2(self):
        for flags, why in [
            ((), "required"),
            (("nowhere",), "is no address"),
            (("127.0.0.1:0",), "is no address"),
            (("--listen",), "required"),
            (("--keep-open", "127.0.0.1:1"), "--listen"),
            (("--contacts", "x", "127.0.0.1:1"), "--udp"),
            (("--udp", "--bare", "127.0.0.1:1"), "cannot be used with"),
            (("--udp", "/tmp/x"), "over UDP it is HOST:PORT"),
            (("--settle", "1s", "127.0.0.1:1"), "--bare"),
            (("--listen", "0.0.0.0:0"), "allow it with --open"),
            (("--udp", "--listen", "0.0.0.0:0"), "allow it with --open"),
        ]:
            with self.subTest(flags=flags):
                self.assertIn(why, self.talk(*flags).ends(2))

    def test_a_signal_ends_it(self):
        for number, code in [(signal.SIGINT, 130), (signal.SIGTERM, 143)]:
            talk = self.talk("--listen", "127.0.0.1:0")
            talk.port()
            talk.process.send_signal(number)
            talk.ends(code)
            talk, link = self.called()
            link.sendall(b"hello\n")
            talk.shows(b"hello").process.send_signal(number)
            talk.ends(code)


class Listening(Tutorial):
    def test_one_may_call_and_who_calls_next_is_refused(self):
        talk = self.talk("--listen", "127.0.0.1:0")
        port = talk.port()
        link = self.calls(port)
        talk.remark("is here")
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), DEADLINE)
        link.close()
        talk.remark("says nothing more")
        talk.says_no_more().ends()

    def test_with_keep_open_who_calls_meanwhile_waits(self):
        talk = self.talk("--listen", "--keep-open", "127.0.0.1:0")
        port = talk.port()
        first, second = self.calls(port), self.calls(port)
        talk.remark("127.0.0.1:%d is here" % first.getsockname()[1])
        second.sendall(b"second\n")
        first.sendall(b"first\n")
        talk.shows(b"first").shows_nothing()
        first.sendall(b"q\n")
        talk.remark("hung up")
        first.close()
        talk.remark("127.0.0.1:%d is here" % second.getsockname()[1])
        talk.shows(b"second").says(b"now you\n")
        self.assertEqual(second.recv(1024), b"now you\n")
        # One that breaks is not the last.
        second.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        second.close()
        talk.remark("reset by peer")
        third = self.calls(port)
        talk.remark("is here")
        third.sendall(b"third\n")
        talk.shows(b"third").process.send_signal(signal.SIGTERM)
        talk.ends(143)

    def test_what_was_typed_before_anybody_called_is_for_whoever_calls(self):
        talk = self.talk("--listen", "127.0.0.1:0")
        port = talk.port()
        talk.says(b"welcome\n").says_no_more()
        link = self.calls(port)
        self.assertEqual(link.recv(1024), b"welcome\n")
        self.assertEqual(link.recv(1024), b"")
        link.close()
        talk.ends()

    def test_a_unix_socket_is_for_its_own_user_and_is_gone_afterwards(self):
        path = os.path.join(self.directory(), "talk.sock")
        talk = self.talk("--listen", path)
        talk.remark("listening on unix://" + path)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        caller = self.talk("unix://" + path)
        talk.remark("process %d of user %d is here" % (caller.process.pid, os.geteuid()))
        caller.says(b"hello\nq\n").ends()
        talk.shows(b"hello").remark("hung up")
        talk.ends()
        self.assertFalse(os.path.exists(path))

    @unittest.skipUnless(ipv6_exists(), "there is no ::1")
    def test_over_ipv6(self):
        talk = self.talk("--listen", "[::1]:0")
        link = self.calls(talk.port(), "::1")
        talk.remark("[::1]:%d is here" % link.getsockname()[1])
        link.sendall(b"hello\nq\n")
        talk.shows(b"hello").remark("hung up")
        link.close()
        talk.ends()


class Mail(Tutorial):
    """Sockets for datagrams, and a book of who has which."""

    def mailbox(self, family=socket.AF_INET, host="127.0.0.1"):
        box = socket.socket(family, socket.SOCK_DGRAM)
        self.addCleanup(box.close)
        box.bind((host, 0))
        box.settimeout(DEADLINE)
        return box

    def port_of(self, box):
        return box.getsockname()[1]

    def book(self, **contacts):
        path = os.path.join(self.directory(), "contacts.toml")
        with open(path, "w") as file:
            for name, box in contacts.items():
                file.write('%s = "127.0.0.1:%d"\n' % (name, box if isinstance(box, int) else self.port_of(box)))
        return path


class QQ(Mail):
    """The tutorials' UDP chats: a server that answers whoever spoke, and clients with a dictionary of contacts."""

    def test_u3_the_tutorials_server_answers_who_spoke(self):
        server = self.mailbox()
        talk = self.talk("--udp", "127.0.0.1:%d" % self.port_of(server))
        for asked, answered in [("hello", "hi"), ("你好", "你也好")]:
            talk.says(asked.encode() + b"\n")
            data, where = server.recvfrom(1024)
            self.assertEqual(data.decode(), asked)
            server.sendto(answered.encode(), where)
            talk.shows(("from [127.0.0.1:%d] %s" % (self.port_of(server), answered)).encode())
        talk.says(b"q\n").ends()

    def test_u3_the_tutorials_clients_are_answered_and_several_talk_at_once(self):
        talk = self.talk("--udp", "--listen", "127.0.0.1:0")
        here = ("127.0.0.1", talk.port())
        eva, bob = self.mailbox(), self.mailbox()
        mark = {box: b"from [127.0.0.1:%d] " % self.port_of(box) for box in (eva, bob)}
        eva.sendto("我是 eva".encode(), here)
        talk.shows(mark[eva] + "我是 eva".encode()).says(b"hello eva\n")
        self.assertEqual(eva.recvfrom(1024), (b"hello eva", here))
        bob.sendto(b"bob here\n", here)
        talk.shows(mark[bob] + b"bob here").says(b"hello bob\n")
        self.assertEqual(bob.recv(1024), b"hello bob")
        talk.says(b"127.0.0.1:%d: and you?\nstill you\n" % self.port_of(eva))
        self.assertEqual([eva.recv(1024), eva.recv(1024)], [b"and you?", b"still you"])
        # An empty datagram is something else than silence, and several lines are one datagram.
        bob.sendto(b"", here)
        talk.shows(mark[bob])
        bob.sendto(b"two\nlines", here)
        talk.shows(mark[bob] + b"two", mark[bob] + b"lines")
        talk.says(b"q\nq\n")
        talk.remark("left")
        talk.ends()

    def test_u3_q_leaves_a_contact_and_is_not_sent(self):
        eva, bob = self.mailbox(), self.mailbox()
        talk = self.talk("--udp", "--contacts", self.book(eva=eva, bob=bob))
        talk.says(b"eva: hello\nq\n")
        self.assertEqual(eva.recv(1024), b"hello")
        talk.remark("left [eva 127.0.0.1:")
        talk.says(b"anybody?\n").remark("to whom? NAME: TEXT (known: bob, eva)")
        talk.says(b"bob: hi\nQ\n")
        self.assertEqual(bob.recv(1024), b"hi")
        talk.remark("left [bob 127.0.0.1:")
        talk.says(b"eva: again\nq\nq\n")
        # Nothing was sent in between: datagrams on loopback keep their order.
        self.assertEqual(eva.recv(1024), b"again")
        talk.remark("left")
        talk.ends()
        for box in (eva, bob):
            self.assertEqual(select.select([box], [], [], 0)[0], [])

    def test_u3_an_unknown_name_is_answered_by_the_known_ones(self):
        eva = self.mailbox()
        talk = self.talk("--udp", "--contacts", self.book(eva=eva, bob=9))
        talk.says(b"alex: hello\n").remark("there is nobody called alex (known: bob, eva)")
        talk.says(b"EVA:\n alex: is a name\n")
        talk.remark("to [eva 127.0.0.1:%d]" % self.port_of(eva))
        self.assertEqual(eva.recv(1024), b"alex: is a name")
        talk.says(b"q\nq\n").ends()

    def test_a_book_that_is_wrong_is_exit_code_2(self):
        path = os.path.join(self.directory(), "contacts.toml")
        self.assertIn("cannot be read", self.talk("--udp", "--contacts", path).ends(2))
        with open(path, "w") as file:
            file.write('eva = "127.0.0.1:1"\nbob = 127\n')
        self.assertIn("contacts.toml: `bob`: an address is a text", self.talk("--udp", "--contacts", path).ends(2))

    def test_fault_e4_a_refusal_is_shown_and_survived(self):
        eva, gone = self.mailbox(), self.mailbox()
        nobody = self.port_of(gone)
        gone.close()
        talk = self.talk("--udp", "--wait", "50ms", "--contacts", self.book(eva=eva, bob=nobody))
        for _ in range(3):
            talk.says(b"bob: anybody?\n")
            talk.remark("what was said to [bob 127.0.0.1:%d] did not arrive: nobody listens there" % nobody)
            talk.says(b"eva: hello\n")
            data, where = eva.recvfrom(1024)
            self.assertEqual(data, b"hello")
            eva.sendto(b"hi", where)
            talk.shows(b"from [eva 127.0.0.1:%d] hi" % self.port_of(eva))
        # A script learns that somebody was not reached.
        talk.says_no_more().ends(1)

    def test_fault_e2_what_no_datagram_holds_is_not_sent_and_the_longest_is(self):
        eva = self.mailbox()
        talk = self.talk("--udp", "127.0.0.1:%d" % self.port_of(eva))
        text = b"x" * 65507
        talk.says(text + b"y\n" + text + b"\n")
        talk.remark("not sent to [127.0.0.1:%d]: 65508 bytes are more than the 65507" % self.port_of(eva))
        data, where = eva.recvfrom(1 << 16)
        self.assertTrue(data == text)
        eva.sendto(text, where)
        talk.shows(b"from [127.0.0.1:%d] " % self.port_of(eva) + text)
        talk.says(b"q\n").ends()

    def test_a_stranger_is_not_shown_to_one_who_only_calls(self):
        eva, stranger = self.mailbox(), self.mailbox()
        talk = self.talk("--udp", "127.0.0.1:%d" % self.port_of(eva))
        talk.says(b"hello\n")
        _, where = eva.recvfrom(1024)
        stranger.sendto(b"buy this", where)
        talk.remark("127.0.0.1:%d, to whom nothing was said, is not shown" % self.port_of(stranger))
        stranger.sendto(b"and this", where)
        eva.sendto(b"hi", where)
        talk.shows(b"from [127.0.0.1:%d] hi" % self.port_of(eva))
        self.assertEqual(talk.says(b"q\n").ends(), "")

    def test_at_the_end_of_input_the_answer_to_the_last_line_is_waited_for(self):
        eva = self.mailbox()
        talk = self.talk("--udp", "--wait", "200ms", "127.0.0.1:%d" % self.port_of(eva))
        talk.says(b"hello\n").says_no_more()
        _, where = eva.recvfrom(1024)
        eva.sendto(b"hi", where)
        talk.shows(b"from [127.0.0.1:%d] hi" % self.port_of(eva)).ends()

    @unittest.skipUnless(ipv6_exists(), "there is no ::1")
    def test_over_ipv6(self):
        eva = self.mailbox(socket.AF_INET6, "::1")
        talk = self.talk("--udp", "[::1]:%d" % self.port_of(eva))
        talk.says(b"hello\n")
        data, where = eva.recvfrom(1024)
        self.assertEqual(data, b"hello")
        eva.sendto(b"hi", where)
        talk.shows(b"from [[::1]:%d] hi" % self.port_of(eva)).says(b"q\n").ends()


class Attached(Tutorial):
    """`talk://` in `serve`, and the person behind it."""

    def setUp(self):
        self.socket = os.path.join(self.directory(), "talk.sock")

    def server(self, options=""):
        return self.serve("talk://127.0.0.1:0?attach=%s%s" % (self.socket, options))

    def attaches(self, *flags):
        return self.talk("--attach", self.socket, *flags)

    def test_t5_the_person_attaches_and_talks_until_one_of_them_hangs_up(self):
        server = self.server()
        person = self.attaches()
        person.remark("nobody has called yet")
        peer = self.dial(server.at("talk")).enters()
        person.remark("127.0.0.1:%d is here" % peer.link.getsockname()[1])
        peer.say(b"hello\n")
        person.shows(b"hello").says(b"hi\n")
        peer.hears(b"hi\n")
        peer.say(b"q\n")
        person.remark("hung up")
        peer.ended()
        person.ends()
        # The other way round, and the same person goes on.
        person = self.attaches("--keep-open")
        person.remark("nobody has called yet")
        for _ in range(2):
            peer = self.dial(server.at("talk")).enters()
            person.remark("is here")
            person.says(b"bye\nq\n").remark("you hung up on 127.0.0.1")
            peer.hears(b"bye\nq\n").ended()
            peer.close()
        person.says_no_more().process.send_signal(signal.SIGTERM)
        person.ends(143)
        server.stop()

    def test_while_nobody_is_attached_the_peer_is_told_so_and_the_person_may_come_and_go(self):
        server = self.server()
        alone = b"* nobody is here; what you say is kept until somebody is\n"
        peer = self.dial(server.at("talk")).hears(alone).say(b"anybody?\n")
        person = self.attaches()
        person.remark("is here")
        person.shows(b"anybody?")
        peer.hears(b"* somebody is here now\n")
        person.process.kill()
        peer.hears(alone)
        peer.say(b"come back\n")
        person = self.attaches()
        person.remark("is here")
        person.shows(b"come back")
        peer.hears(b"* somebody is here now\n")
        peer.link.shutdown(socket.SHUT_WR)
        person.remark("says nothing more")
        person.says(b"fine\nq\n").remark("you hung up")
        peer.hears(b"fine\nq\n").ended()
        person.ends()
        server.stop()

    def test_a_second_peer_is_busy_and_a_second_person_refused_with_a_word(self):
        server = self.server()
        person = self.attaches()
        person.remark("nobody has called yet")
        peer = self.dial(server.at("talk")).enters()
        person.remark("is here")
        self.dial(server.at("talk")).hears(b"* busy: one peer at a time; call again later\n").ended()
        self.assertIn("the server refuses: somebody is attached already", self.attaches().ends(1))
        person.says(b"still here\n")
        peer.hears(b"still here\n")
        peer.say(b"q\n")
        person.remark("hung up")
        peer.ended()
        person.ends()
        server.stop()

    def test_t5_bare_for_the_tutorials_clients(self):
        server = self.server("&bare=true")
        person = self.attaches()
        person.remark("nobody has called yet")
        peer = self.dial(server.at("talk")).enters()
        person.remark("is here")
        for asked, answered in [("hello", "hi"), ("你好", "你也好")]:
            peer.say(asked.encode())
            person.shows(asked.encode()).says(answered.encode() + b"\n")
            peer.hears(answered.encode())
        peer.say(b"q")
        person.remark("hung up")
        peer.ended()
        person.ends()
        server.stop()

    def test_our_own_client_is_a_peer_as_any_other(self):
        server = self.serve("talk://127.0.0.1:0?attach=" + self.socket, is_plain=True)
        peer = self.talk("127.0.0.1:%d" % server.at("talk")[1])
        peer.shows(b"* nobody is here; what you say is kept until somebody is")
        person = self.attaches()
        person.remark("is here")
        peer.shows(b"* somebody is here now").says(b"hello\n")
        person.shows(b"hello").says(b"q\n").remark("you hung up")
        peer.remark("hung up")
        peer.ends()
        person.ends()
        server.stop()

    def test_one_person_is_behind_all_endpoints_of_one_socket_and_the_socket_is_theirs_alone(self):
        over_unix = os.path.join(self.directory(), "peers.sock")
        server = self.serve(
            "talk://127.0.0.1:0?bare=true&attach=" + self.socket,
            "talk+unix://%s?attach=%s" % (over_unix, self.socket),
        )
        self.assertEqual(len(server.bound), 3)
        self.assertEqual(os.stat(self.socket).st_mode & 0o777, 0o600)
        person = self.attaches("--keep-open")
        person.remark("nobody has called yet")
        first = self.dial(over_unix).enters()
        person.remark("pid %d (uid %d) is here" % (os.getpid(), os.geteuid()))
        self.dial(server.at("talk")).hears(b"* busy: one peer at a time; call again later").ended()
        first.say(b"q\n")
        person.remark("hung up")
        first.ended().close()
        second = self.dial(server.at("talk")).enters()
        person.remark("127.0.0.1:")
        second.say(b"q")
        person.remark("hung up")
        second.ended()
        person.process.kill()
        server.stop()

    def test_fault_h3_a_reload_adds_the_person_and_takes_them_away_and_who_talks_goes_on(self):
        echo = '[[endpoint]]\nservice = "echo"\naddress = "127.0.0.1:0"\n\n'
        talks = '[[endpoint]]\nservice = "talk"\naddress = "127.0.0.1:0"\nattach = "%s"\n\n' % self.socket
        server = self.serve(config=echo)

        def reloads(config):
            with open(os.path.join(server.directory, "onepoll.toml"), "w") as file:
                file.write(config)
            before = len(server.lines)
            os.kill(server.pid, signal.SIGHUP)
            server.waits_for(lambda line: "reloaded the configuration" in line, after=before)
            opened = [LISTENING.match(line) for line in server.lines[before:]]
            return {found["service"]: address_of(found) for found in opened if found and found["transport"] != "unix"}

        at = reloads(echo + talks)["talk"]
        person = self.attaches("--keep-open")
        person.remark("nobody has called yet")
        peer = socket.create_connection(at, DEADLINE)
        self.addCleanup(peer.close)
        person.remark("is here")
        # Another endpoint for the same person, with other options of its own.
        bare = reloads(echo + talks + talks.replace("attach", "bare = true\nattach"))["talk"]
        peer.sendall(b"still here\n")
        person.shows(b"still here").says(b"I, too\n")
        self.assertEqual(peer.recv(1024), b"I, too\n")
        with socket.create_connection(bare, DEADLINE) as second:
            self.assertIn(b"* busy", second.recv(1024))
        reloads(echo)
        peer.sendall(b"to the end\nq\n")
        person.shows(b"to the end").remark("hung up")
        until = time.monotonic() + DEADLINE
        while os.path.exists(self.socket):
            self.assertTrue(left(until), "its socket is there still")
            threading.Event().wait(0.002)
        peer.close()
        person.process.kill()
        server.stop()

    def test_fault_h1_the_person_learns_that_the_server_stops_or_is_gone(self):
        server = self.server()
        person = self.attaches()
        person.remark("nobody has called yet")
        server.stop()
        person.remark("the server is stopping")
        person.ends()
        server = self.server()
        person = self.attaches("--keep-open")
        person.remark("nobody has called yet")
        server.kill()
        self.assertIn("the server hung up", person.ends(1))

    def test_a_server_of_another_user_says_where_its_person_is(self):
        done = onepoll("check", "--user", "nobody", "talk://127.0.0.1:0")
        self.assertEqual(done.returncode, 2)
        self.assertIn("`attach=PATH`", done.stderr)

    def test_what_is_attached_to_is_a_server_of_ones_own(self):
        self.assertIn("onepoll serve talk://", self.attaches().ends(1))
        server = self.serve("echo+unix://" + self.socket, is_plain=True)
        self.assertIn("no socket of a server's `talk`", self.attaches().says(b"hello\n").ends(1))
        server.stop()

    def test_who_could_be_the_person_is_nobody_else(self):
        for url, why in [
            ("talk://127.0.0.1:0?person=true", "would be the person whose server it is"),
            ("talk+unix://%s?person=true&any-user=true" % self.socket, "would be the person whose server it is"),
            ("talk://0.0.0.0:0", "`open=true`"),
            ("talk://127.0.0.1:0?attach=talk.sock", "absolute path"),
            ("talk://127.0.0.1:0?attach=%s&settle=1s" % self.socket, ""),
        ]:
            done = onepoll("check", url)
            self.assertEqual(done.returncode, 2 if why else 0, done.stderr)
            self.assertIn(why, done.stderr)


class AtTerminal(Mail):
    def person(self, *arguments):
        environment = {"TERM": "xterm", "PATH": os.environ["PATH"], "HOME": self.directory()}
        return Person([BINARY, "talk", *arguments], environment)

    def test_what_comes_stays_above_the_line_that_is_typed_and_moves_nothing(self):
        listener = self.listener()
        person = self.person("127.0.0.1:%d" % listener.getsockname()[1])
        link = self.accepts(listener)
        person.sees(b"> ")
        person.types(b"hal")
        person.sees(b"hal")
        link.sendall(b"\x1b[2J\x1b[31mboo\x1b]0;title\x07\r\x08\xff\xe2\x80\xae\n")
        shown = "< \ufffd[2J\ufffd[31mboo\ufffd]0;title\ufffd\ufffd\ufffd\ufffd\ufffd\r\n"
        # A carriage return at the end of a line would belong to it.
        person.sees(shown.encode())
        person.types(b"lo\r")
        self.assertEqual(link.recv(1024), b"hallo\n")
        link.sendall(b"q\n")
        person.sees(b"-- 127.0.0.1:%d hung up" % listener.getsockname()[1])
        link.close()
        self.assertEqual(person.ends(), 0)

    def test_ctrl_d_hangs_up_and_ctrl_c_is_130(self):
        for key, code in [(b"\x04", 0), (b"\x03", 130)]:
            listener = self.listener()
            person = self.person("127.0.0.1:%d" % listener.getsockname()[1])
            link = self.accepts(listener)
            person.sees(b"> ")
            person.types(key)
            self.assertEqual(link.recv(1024), b"")
            link.close()
            self.assertEqual(person.ends(), code)

    def test_u3_names_are_coloured_and_whom_a_line_goes_to_is_said(self):
        eva, bob = self.mailbox(), self.mailbox()
        person = self.person("--udp", "--contacts", self.book(eva=eva, bob=bob))
        person.sees(b"> ")
        person.types(b"ev\thello\r")
        person.sees(b"-- to [eva 127.0.0.1:%d]" % self.port_of(eva))
        data, where = eva.recvfrom(1024)
        self.assertEqual(data, b"hello")
        bob.sendto(b"me \x1b[31mtoo\xff", where)
        label = b"from [bob 127.0.0.1:%d]" % self.port_of(bob)
        person.sees(label + " me \ufffd[31mtoo\ufffd\r\n".encode())
        person.types(b"hi\r")
        person.sees(b"-- to [bob 127.0.0.1:%d]" % self.port_of(bob))
        self.assertEqual(bob.recv(1024), b"hi")
        person.types(b"q\r").sees(b"-- left [bob")
        person.types(b"q\r")
        self.assertEqual(person.ends(), 0)


class Guide(Mail):
    """What src/guide/serve.md shows of a terminal, typed."""

    def plays(self, command, directory, environment, replaced, brings):
        """Runs the command of a block, types what is typed there, and sees the rest; `brings` has what makes a line
        come."""
        with open(os.path.join(ROOT, "src", "guide", "serve.md")) as file:
            blocks = re.findall(r"^```text\n(.*?)^```$", file.read(), re.DOTALL | re.MULTILINE)
        (block,) = [block for block in blocks if block.startswith("$ %s\n" % command)]
        environment = {"TERM": "xterm", "PATH": os.environ["PATH"], "HOME": directory, **environment}
        person = Person([BINARY, *command.split()[1:]], environment, directory)
        for line in block.splitlines()[1:]:
            bring = brings.pop(line, None)
            for old, new in replaced.items():
                line = line.replace(old, new() if callable(new) else new)
            if line.startswith("> "):
                person.sees(b"> ")
                person.types(line[2:].encode() + b"\r")
                continue
            if bring:
                bring()
            for old, new in replaced.items():
                line = line.replace(old, new() if callable(new) else new)
            person.sees(line.encode() + b"\r\n")
        self.assertEqual((person.ends(), brings), (0, {}))

    def test_the_person_behind_a_server(self):
        server = self.serve("talk://127.0.0.1:0", is_plain=True)
        peer = []

        def calls():
            peer.append(self.calls(server.at("talk")[1]))

        self.plays(
            "onepoll talk --attach",
            self.directory(),
            {"XDG_RUNTIME_DIR": server.directory},
            {"40312": lambda: str(peer[0].getsockname()[1]) if peer else "40312"},
            {
                "-- 127.0.0.1:40312 is here": calls,
                "< is anybody there?": lambda: peer[0].sendall(b"is anybody there?\n"),
                "< the printer is out of paper": lambda: peer[0].sendall(b"the printer is out of paper\n"),
            },
        )
        heard = b""
        while more := peer[0].recv(1024):
            heard += more
        self.assertEqual(heard, b"just back, what is it?\nq\n")
        peer[0].close()
        server.stop()

    def test_several_people_over_udp(self):
        eva, bob, directory = self.mailbox(), self.mailbox(), self.directory()
        book = self.book(eva=eva, bob=bob)
        os.rename(book, os.path.join(directory, "friends.toml"))

        def answers():
            data, where = eva.recvfrom(1024)
            self.assertEqual(data, b"hello")
            bob.sendto(b"me too", where)

        ports = {"8081": str(self.port_of(eva)), "8082": str(self.port_of(bob))}
        self.plays(
            "onepoll talk --udp --contacts friends.toml",
            directory,
            {},
            ports,
            {"from [bob 127.0.0.1:8082] me too": answers},
        )
        self.assertEqual(bob.recv(1024), b"hi")


if __name__ == "__main__":
    main()
