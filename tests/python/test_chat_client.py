"""`onepoll chat`: as a person at a terminal has it, and through pipes; with a real server, and with some that are none."""

import contextlib
import fcntl
import os
import re
import signal
import socket
import struct
import subprocess
import termios
import threading
import time

import tls
from harness import BINARY, DEADLINE, ROOT, Case, Peer, left, main, onepoll
from person import Person

GREETING = "* you are guest-1 in lobby (1 here); /help lists the commands\n"


class Door:
    """Where a scripted server listens: a path, so that it can go away and come back."""

    def __init__(self, case):
        self.case = case
        self.path = os.path.join(case.directory(), "chat.sock")
        self.opens()
        case.addCleanup(self.closes)

    def opens(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        self.listener.settimeout(DEADLINE)

    def closes(self):
        self.listener.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def enters(self, greeting=GREETING):
        """The next that connects; greeted, unless that is empty."""
        link, _ = self.listener.accept()
        link.settimeout(DEADLINE)
        peer = Peer(link)
        self.case.addCleanup(peer.close)
        return peer.say(greeting.encode()) if greeting else peer


def said(peer):
    """The next line that is no /ping, nor the /who that a client asks by itself; both are answered."""
    while True:
        line = peer.line().decode()
        if line.startswith("/ping "):
            peer.say(("* pong %s\n" % line[6:]).encode())
        elif line == "/who":
            peer.say(b"* in lobby: eva, evan, bob\n")
        else:
            return line


class Clients(Case):
    def plain(self, at, *flags, **how):
        """A client that reads a pipe."""
        run = subprocess.Popen(
            [BINARY, "chat", str(at), *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **how,
        )

        def ends():
            run.kill()
            run.communicate()

        self.addCleanup(ends)
        return run

    def types(self, run, text):
        run.stdin.write(text.encode())
        run.stdin.flush()

    def has_said_all(self, run):
        """Its input ends."""
        run.stdin.close()
        run.stdin = None

    def ended(self, run, code):
        """All that it wrote, once it has ended so."""
        out, err = run.communicate(timeout=DEADLINE)
        self.assertEqual(run.returncode, code, (out, err))
        return out.decode(), err.decode()

    def person(self, at, *flags, **variables):
        """A client at a terminal of 80 columns."""
        environment = {"TERM": "xterm", "PATH": os.environ["PATH"], **variables}
        person = Person([BINARY, "chat", str(at), *flags], environment)

        def ends():
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(person.pid, signal.SIGKILL)
                os.waitpid(person.pid, 0)

        self.addCleanup(ends)
        self.resizes(person, 80)
        person.sees(b"Ctrl-D leaves\r\n")
        return person

    def resizes(self, person, columns):
        fcntl.ioctl(person.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


class Plain(Clients):
    def test_lines_of_a_pipe_are_said_and_what_comes_is_written(self):
        server = self.serve("chat://127.0.0.1:0", is_plain=True)
        at = "%s:%d" % server.at("chat")
        bob = self.dial(server.at("chat"))
        bob.line()
        run = self.plain(at, "--nick", "eva", "--room", "lobby")
        self.assertEqual([bob.line(), bob.line()], [b"* guest-2 joined", b"* guest-2 is now eva"])
        self.types(run, "one\n\ntwo\r\nthree")
        self.assertEqual([bob.line(), bob.line()], [b"eva: one", b"eva: two"])
        bob.say(b"/nick bob\n\x1b[31m hi \xfe\n")
        for _ in range(4):
            line = run.stdout.readline().decode()
        self.assertEqual(line, "* guest-1 is now bob\n")
        self.assertEqual(run.stdout.readline().decode(), "bob: \ufffd[31m hi \ufffd\n")
        out, err = self.ended(run, 0)
        self.assertEqual((out, err), ("", ""))
        bob.hears(b"* you are now bob\neva: three\n* eva left\n")
        server.stop()

    def test_at_the_end_of_input_all_that_still_comes_is_written(self):
        door = Door(self)
        run = self.plain(door.path)
        peer = door.enters()
        run.stdin.write(b"last")
        self.has_said_all(run)
        self.assertEqual(said(peer), "last")
        peer.rest()
        peer.say(b"eva: one\neva: two")
        peer.close()
        self.assertEqual(self.ended(run, 0), (GREETING + "eva: one\neva: two\n", ""))

    def test_who_is_turned_away_is_told_why_and_does_not_come_again(self):
        for reason in ["too many connections", "you are banned"]:
            door = Door(self)
            run = self.plain(door.path, "--retry", "1ms")
            peer = door.enters(greeting="* %s\n" % reason)
            peer.close()
            out, err = self.ended(run, 1)
            self.assertIn("turned us away: " + reason, err)
            self.assertEqual(out, "* %s\n" % reason)
            door.listener.settimeout(0)
            with self.assertRaises(BlockingIOError):
                door.listener.accept()

    def test_who_is_removed_does_not_come_again(self):
        for notice in ["you were removed: too loud", "you are banned: noise in here"]:
            door = Door(self)
            run = self.plain(door.path, "--retry", "1ms")
            peer = door.enters()
            self.assertEqual(run.stdout.readline().decode(), GREETING)
            peer.say(b"* %s\n" % notice.encode()).close()
            out, err = self.ended(run, 1)
            self.assertIn("turned us away: " + notice, err)
            self.assertEqual(out, "* %s\n" % notice)

    def test_without_an_address_it_is_the_operators_socket(self):
        runtime = self.directory()
        os.mkdir(os.path.join(runtime, "onepoll"), 0o700)
        names = os.path.join(runtime, "names")
        made = onepoll("secret", "--name", "Eva", names)
        token = os.path.join(runtime, "token")
        with open(os.open(token, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(made.stdout)
        path = os.path.join(runtime, "onepoll", "chat.sock")
        server = self.serve("chat+unix://%s?operator=true&names=%s" % (path, names), is_plain=True)
        eve = self.plain(path)
        self.assertEqual(eve.stdout.readline().decode(), GREETING)
        environment = {**os.environ, "XDG_RUNTIME_DIR": runtime}
        run = self.plain("--login", token, env=environment)
        eve.stdout.readline()
        self.assertEqual(eve.stdout.readline(), b"* guest-2 is now Eva\n")
        self.types(run, "/kick guest-1 too loud\n")
        self.assertEqual(eve.stdout.readline(), b"* you were removed: too loud\n")
        out, err = self.ended(eve, 1)
        self.assertIn("turned us away: you were removed: too loud", err)
        out, err = self.ended(run, 0)
        self.assertTrue(out.endswith("* guest-1 was removed\n"), out)
        server.stop()

    def test_a_wrong_secret_and_none_are_told_as_what_they_are(self):
        files = {}
        for name in ["right", "wrong"]:
            files[name] = os.path.join(self.directory(), name)
            with open(os.open(files[name], os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
                file.write(name * 8)
        server = self.serve("chat://127.0.0.1:0?secret-file=" + files["right"], is_plain=True)
        at = "%s:%d" % server.at("chat")
        out, err = self.ended(self.plain(at, "--secret-file", files["wrong"], "--retry", "1ms"), 1)
        self.assertIn("is the secret its own", err)
        environment = {**os.environ, "ONEPOLL_SECRET_FILE": files["right"]}
        self.assertEqual(self.ended(self.plain(at, env=environment), 0), (GREETING, ""))
        server.stop()

    def test_over_tls_it_is_the_server_that_was_named_or_none(self):
        cert, key, fingerprint = tls.certificate(os.path.join(self.directory(), "pair"))
        server = self.serve("chat://127.0.0.1:0?" + tls.options(cert, key), is_plain=True)
        at = "%s:%d" % server.at("chat")
        flags = ("--tls", "--fingerprint", fingerprint)
        self.assertEqual(self.ended(self.plain(at, *flags), 0), (GREETING, ""))
        _, err = self.ended(self.plain(at, "--tls"), 1)
        self.assertIn("say --fingerprint " + fingerprint, err)
        _, err = self.ended(self.plain(at, "--tls", "--fingerprint", "00" * 32), 1)
        self.assertIn("it may be another server", err)
        server.stop()

    def test_a_signal_ends_it_with_its_number(self):
        for number in [signal.SIGINT, signal.SIGTERM]:
            door = Door(self)
            run = self.plain(door.path)
            door.enters()
            self.assertEqual(run.stdout.readline().decode(), GREETING)
            run.send_signal(number)
            self.ended(run, 128 + number)

    def test_a_server_that_is_not_there_is_an_error(self):
        path = os.path.join(self.directory(), "none.sock")
        out, err = self.ended(self.plain(path), 1)
        self.assertIn("no server listens there", err)
        environment = {**os.environ, "XDG_RUNTIME_DIR": self.directory()}
        os.mkdir(os.path.join(environment["XDG_RUNTIME_DIR"], "onepoll"), 0o700)
        run = subprocess.run([BINARY, "chat"], env=environment, capture_output=True, timeout=DEADLINE)
        self.assertEqual(run.returncode, 1)
        self.assertIn(b"onepoll/chat.sock", run.stderr)
        self.assertIn(b"`onepoll serve` starts a server there", run.stderr)

    def test_a_server_of_another_kind_is_spoken_to_as_it_is(self):
        door = Door(self)
        run = self.plain(door.path)
        peer = door.enters(greeting="hello\n")
        self.types(run, "a\nb\n")
        peer.hears(b"a\nb\n")
        self.has_said_all(run)
        peer.rest()
        peer.say(b"bye\n").close()
        self.assertEqual(self.ended(run, 0), ("hello\nbye\n", ""))

    def test_nothing_is_said_to_people_in_another_room(self):
        door = Door(self)
        run = self.plain(door.path, "--room", "den")
        peer = door.enters()
        self.assertEqual(peer.line(), b"/join den")
        self.types(run, "for the den alone\n")
        ping = peer.line()
        self.assertTrue(ping.startswith(b"/ping "))
        peer.say(b"* den is closed\n* pong " + ping[6:] + b"\n")
        out, err = self.ended(run, 1)
        self.assertIn("nobody into den: den is closed", err)
        self.assertIn("not sent, since it was for that room: for the den alone", err)
        self.assertEqual(peer.rest(), b"")


class Cut(Clients):
    """The connection breaks."""

    LINES = ["first", "second", "third", "fourth"]

    def cut_after(self, taken, with_pongs):
        door = Door(self)
        run = self.plain(door.path, "--retry", "1ms")
        peer = door.enters()
        self.assertEqual(run.stdout.readline().decode(), GREETING)
        self.types(run, "".join(line + "\n" for line in self.LINES[:2]))
        heard, confirmed = b"", 0
        while len(heard) < taken:
            byte = peer.takes(1)
            heard += byte
            last = heard.rsplit(b"\n", 2)
            if with_pongs and byte == b"\n" and last[1].startswith(b"/ping "):
                confirmed = heard.count(b"\n") - heard.count(b"/ping ")
                peer.say(b"* pong " + last[1][6:] + b"\n")
        peer.reset()
        self.types(run, "".join(line + "\n" for line in self.LINES[2:]))
        peer = door.enters()
        # It tells of those that may be lost before it comes again.
        again = [said(peer), said(peer)]
        while again[-1] != "fourth":
            again.append(said(peer))
        self.has_said_all(run)
        again += [line for line in peer.rest().decode().splitlines() if not line.startswith("/ping ")]
        peer.close()
        _, err = self.ended(run, 0)
        before = [line for line in heard.decode().split("\n")[:-1] if not line.startswith("/ping ")]
        unsure = re.findall(r"may not have arrived, and is not sent again: (.*)", err)
        story = (taken, before, unsure, again)
        # Each once, in order; what may not have arrived is told, and only that.
        self.assertEqual(again, self.LINES[len(self.LINES) - len(again) :], story)
        self.assertFalse(set(again) & set(before), story)
        self.assertFalse(set(again) & set(unsure), story)
        self.assertEqual(unsure, self.LINES[confirmed : len(self.LINES) - len(again)], story)
        self.assertLessEqual({"third", "fourth"}, set(again), story)

    def test_wherever_a_connection_breaks_each_line_is_said_once_in_order_or_told_of(self):
        whole = len("first\nsecond\n/ping onepoll-1\n")
        for taken in [*range(0, len("first\nsecond\n"), 3), *range(len("first\nsecond\n"), whole + 1, 5), whole]:
            with self.subTest(taken=taken):
                self.cut_after(taken, with_pongs=True)

    def test_where_nothing_is_confirmed_what_was_sent_lately_is_told_of(self):
        self.cut_after(len("first\nsecond\n"), with_pongs=False)

    def test_a_server_that_knows_no_ping_is_not_asked_again(self):
        door = Door(self)
        run = self.plain(door.path)
        peer = door.enters()
        self.types(run, "one\n")
        self.assertEqual([peer.line(), peer.line()], [b"one", b"/ping onepoll-1"])
        peer.say(b"* unknown command /ping; /help lists the commands\n")
        peer.say(b"eva: heard\n")
        self.assertEqual(run.stdout.readline().decode(), GREETING)
        self.assertEqual(run.stdout.readline(), b"eva: heard\n")
        self.types(run, "two\nthree\n")
        peer.hears(b"two\nthree\n")
        self.has_said_all(run)
        peer.rest()
        peer.close()
        self.ended(run, 0)

    def test_what_is_typed_meanwhile_is_kept_and_said_in_the_same_room_by_the_same_name(self):
        door = Door(self)
        person = self.person(door.path, "--nick", "eva", "--retry", "5ms")
        peer = door.enters()
        self.assertEqual(said(peer), "/nick eva")
        peer.say(b"* you are now eva\n")
        person.sees(b"you are now eva").endswith(b"")
        person.types(b"/join den\r")
        self.assertEqual(said(peer), "/join den")
        peer.say(b"* you are in den (1 here)\n")
        person.sees(b"you are in den")
        door.closes()
        peer.close()
        person.sees(b"; connecting again")
        person.types(b"one\r").sees(b"kept, as at most 100 lines are")
        person.types(b"two\r").sees(b"> two")
        door.opens()
        peer = door.enters()
        self.assertEqual([peer.line(), peer.line()], [b"/nick eva", b"/join den"])
        # The connection that broke still has the name.
        peer.say(b"* eva is somebody else's name\n")
        person.sees(b"eva is still taken")
        self.assertTrue(peer.line().startswith(b"/ping "))
        peer.say(b"* you are in den (1 here)\n")
        self.assertEqual([said(peer), said(peer)], ["one", "two"])
        self.assertEqual(said(peer), "/nick eva")
        peer.say(b"* you are now eva\n")
        person.sees(b"* you are now eva")
        person.types(b"\x04")
        peer.rest()
        peer.close()
        self.assertEqual(person.ends(), 0)

    def test_a_server_that_is_started_again_is_come_back_to(self):
        path = os.path.join(self.directory(), "chat.sock")
        server = self.serve("chat+unix://" + path, is_plain=True)
        person = self.person(path, "--nick", "eva", "--retry", "5ms")
        person.sees(b"* you are now eva")
        server.drain()
        person.sees(b"ended the connection; connecting again")
        person.types(b"hello again\r").sees(b"kept, ")
        server = self.serve("chat+unix://%s?history=9" % path, is_plain=True)
        person.sees(b"* you are now eva")
        bob = self.dial(server.at("chat", "unix"))
        while not bob.line().endswith(b"eva: hello again"):
            pass
        person.types(b"/quit\r")
        self.assertEqual(person.ends(), 0)
        server.stop()


class Terminal(Clients):
    def meets(self, *flags, **variables):
        door = Door(self)
        person = self.person(door.path, *flags, **variables)
        peer = door.enters()
        person.sees(b"you are guest-1")
        self.assertEqual(peer.line(), b"/who")
        peer.say(b"* in lobby: guest-1, eva, evan, bob\n* now they are known\n")
        person.sees(b"* now they are known\r\n")
        return person, peer

    def leaves(self, person, peer, code=0):
        person.types(b"\x04")
        peer.rest()
        peer.close()
        self.assertEqual(person.ends(), code)

    def has_terminal_back(self, person):
        """Whoever uses the terminal next has lines and an echo, as before."""
        until = time.monotonic() + DEADLINE
        while not termios.tcgetattr(person.terminal)[3] & termios.ICANON:
            self.assertTrue(left(until))
            threading.Event().wait(0.001)  # polls; a mode is no event

    def all_shown(self, person, peer):
        """Everything that reached the terminal until a line that the peer says now."""
        peer.say(b"eva: thatsall\n")
        until, plain = time.monotonic() + DEADLINE, b""
        while b"thatsall\r\n" not in plain:
            self.assertTrue(left(until))
            plain += os.read(person.terminal, 65536)
        return bytes(person.heard) + plain

    def test_the_line_that_is_typed_stays_whole_while_others_speak(self):
        person, peer = self.meets()
        person.types(b"to be ").sees(b"to be ")
        for number in range(100):
            peer.say(b"eva: line %d\n" % number)
        person.types("或 not".encode())
        for number in range(100):
            person.sees(b"eva: line %d\r\n" % number)
        person.types(b"\r")
        self.assertEqual(said(peer), "to be 或 not")
        self.leaves(person, peer)

    def test_nothing_that_a_peer_sends_acts_on_the_terminal(self):
        person, peer = self.meets()
        hostile = [
            b"\x1b[2J",
            b"\x1b[H",
            b"\x1b]0;title\x07",
            b"\x9b31m",
            "\x9b31m".encode(),
            "\u202e".encode(),
            "\u2066".encode(),
            "\u2028".encode(),
            b"\x08\x08\x08",
            b"\rguest",
            b"\x0e",
            b"\x05",
            b"\x7f",
        ]
        for sequence in hostile:
            peer.say(b"eva: a" + sequence + b"b\n* " + sequence + b" joined\neva" + sequence + b": c\n" + sequence + b"\n")
        shown = self.all_shown(person, peer)
        for sequence in hostile:
            self.assertNotIn(sequence, shown)
        self.assertIn("a\ufffd[2Jb".encode(), shown)
        # Whatever else acts is the editor's, or ours.
        known = rb"\x1b\[(\d*[ABCDK]|\?2004[hl]|\?2026[hl]|\d*m|0m)|\r\n|\r"
        rest = re.sub(known, b"", shown)
        self.assertNotRegex(rest.decode().replace("\n", ""), r"[\x00-\x1f\x7f-\x9f]")
        self.leaves(person, peer)

    def test_names_have_colours_and_with_no_color_nothing_has(self):
        for variables, has_colours in [({}, True), ({"NO_COLOR": "1"}, False)]:
            person, peer = self.meets(**variables)
            peer.say(b"eva: hi\n* bob joined\n")
            shown = self.all_shown(person, peer)
            self.assertEqual(re.search(rb"\x1b\[\d+meva\x1b\[0m: hi", shown) is not None, has_colours)
            self.assertEqual(re.search(rb"\x1b\[\d*m", shown) is not None, has_colours)
            self.leaves(person, peer)

    def test_the_bell_rings_when_it_was_asked_for_and_a_name_is_said(self):
        lines = [(b"eva: hello GUEST-1", 1), (b"eva (private): psst", 1), (b"~ eva hugs guest-1", 1), (b"[x] eva: guest-1", 0), (b"eva: guest-12", 0), (b"* guest-1 x", 0)]
        for flags in [("--bell",), ()]:
            person, peer = self.meets(*flags)
            for line, rings in lines:
                person.heard.clear()
                peer.say(line + b"\n")
                shown = self.all_shown(person, peer)
                self.assertEqual(shown.count(b"\x07"), rings if flags else 0, line)
                # It takes no line of its own.
                self.assertEqual(shown.count(b"\n"), 2, shown)
            self.leaves(person, peer)

    def test_ctrl_c_gives_a_line_up_and_then_leaves_and_the_terminal_is_as_it_was(self):
        person, peer = self.meets()
        self.assertFalse(termios.tcgetattr(person.terminal)[3] & termios.ICANON)
        person.types(b"never mind").sees(b"never mind")
        person.types(b"\x03").sees(b"> ")
        person.types(b"mind\r")
        self.assertEqual(said(peer), "mind")
        person.types(b"\x03")
        self.has_terminal_back(person)
        self.assertEqual(person.ends(), 128 + signal.SIGINT)

    def test_sigterm_gives_the_terminal_back(self):
        person, peer = self.meets()
        person.types(b"unfinished").sees(b"unfinished")
        os.kill(person.pid, signal.SIGTERM)
        self.has_terminal_back(person)
        person.sees(b"\n")
        self.assertEqual(person.ends(), 128 + signal.SIGTERM)

    def test_words_are_completed_and_lines_are_remembered(self):
        person, peer = self.meets()
        person.types(b"bo\t").sees(b"bob: ")
        person.types(b"hi\r")
        self.assertEqual(said(peer), "bob: hi")
        person.types(b"/no\x7f\x7fni\teva\r")
        self.assertEqual(said(peer), "/nick eva")
        person.types(b"/login token\r")
        self.assertEqual(said(peer), "/login token")
        person.types(b"\x1b[A\x1b[A\r")
        self.assertEqual(said(peer), "bob: hi")
        self.leaves(person, peer)

    def test_lines_that_are_typed_and_pasted_at_once_are_all_said(self):
        person, peer = self.meets()
        person.types(b"one\rtwo\rthree\r")
        self.assertEqual([said(peer) for _ in range(3)], ["one", "two", "three"])
        lines = ["pasted %d" % number for number in range(250)]
        person.types(b"\x1b[200~" + "\n".join(lines).encode() + b"\x1b[201~\r")
        self.assertEqual([said(peer) for _ in lines], lines)
        self.leaves(person, peer)

    def test_a_window_that_changes_loses_nothing(self):
        person, peer = self.meets()
        person.types(b"x" * 30).sees(b"x" * 30)
        for columns in [20, 100, 7, 80]:
            self.resizes(person, columns)
            peer.say(b"eva: %d columns\n" % columns)
            person.sees(b"eva: %d columns" % columns)
        person.types(b"y\r")
        self.assertEqual(said(peer), "x" * 30 + "y")
        self.leaves(person, peer)

    def test_long_lines_are_shown_whole_and_none_without_end_is_waited_for(self):
        person, peer = self.meets()
        peer.say(b"eva: " + b"z" * 65536 + b"\n")
        person.sees(b"z" * 65536 + b"\r\n")
        peer.say(b"eva: " + b"w" * 300000 + b"\nbob: next\n")
        person.sees(b"cut: that line is longer than 131072 bytes")
        person.sees(b"bob: next")
        self.leaves(person, peer)

    def test_an_end_that_nobody_answers_is_not_waited_for_long(self):
        person, peer = self.meets()
        person.types(b"\x04")
        self.has_terminal_back(person)
        began = time.monotonic()
        person.types(b"\x03")
        self.assertEqual(person.ends(), 128 + signal.SIGINT)
        self.assertLess(time.monotonic() - began, 4)

    def test_a_terminal_without_a_cursor_has_lines_as_they_are(self):
        door = Door(self)
        person = Person([BINARY, "chat", door.path], {"TERM": "dumb"})
        peer = door.enters()
        person.sees(b"you are guest-1 in lobby (1 here); /help lists the commands\r\n")
        peer.say(b"eva: \x1b[2J\n")
        person.sees("eva: \ufffd[2J\r\n".encode())
        person.types(b"hi\n")
        self.assertEqual(said(peer), "hi")
        person.types(b"\x04")
        peer.rest()
        peer.close()
        self.assertEqual(person.ends(), 0)


class Guide(Clients):
    """What src/guide/serve.md shows of a chat, typed and said."""

    def page(self):
        with open(os.path.join(ROOT, "src", "guide", "serve.md")) as file:
            blocks = re.findall(r"^```text\n(.*?)^```$", file.read(), re.DOTALL | re.MULTILINE)
        (block,) = [block for block in blocks if block.startswith("$ onepoll chat")]
        return block.splitlines()

    def test_a_conversation_is_as_it_is_shown(self):
        server = self.serve("chat://127.0.0.1:0", is_plain=True)
        at = "%s:%d" % server.at("chat")
        first, *lines, last = [line.replace("127.0.0.1:9001", at) for line in self.page()]
        person = Person([BINARY, *first.split()[2:]], {"TERM": "xterm"})
        bob = None
        for line in lines:
            if line == "* guest-2 joined":
                bob = self.dial(server.at("chat"))
            elif line == "* guest-2 is now bob":
                bob.say(b"/nick bob\n")
            elif line.startswith("bob: "):
                bob.say(line[5:].encode() + b"\n")
            elif line.startswith("bob (private): "):
                bob.say(b"/msg eva " + line[15:].encode() + b"\n")
            elif line.startswith("~ bob "):
                bob.say(b"/me " + line[6:].encode() + b"\n")
            if line.startswith("> "):
                person.types(line[2:].encode() + b"\r").sees(line.encode())
            else:
                person.sees(line.encode() + b"\r\n")
        self.assertEqual((last, person.ends()), ("$", 0))
        while bob.line() != b"eva: bob: in five minutes":
            pass
        server.stop()


if __name__ == "__main__":
    main()
