#!/usr/bin/env python3
"""T6, rooms of several endpoints, and what a member may do there besides talking."""

import contextlib
import hashlib
import hmac
import os
import signal
import stat
import threading
import time

from harness import DEADLINE, left, main, onepoll
from test_chat import Member
from test_reload import Reload, at_text, table


def logged_in(peer, secret):
    """A peer that has answered the challenge of its endpoint."""
    peer.say(hmac.new(secret, peer.takes(32), hashlib.sha256).digest())
    return peer


class SharedRooms(Reload):
    """`rooms=NAME`: one value behind several endpoints."""

    def of(self, kind="chat", address="127.0.0.1:0", **options):
        return table(kind, address, rooms="lobby", **options)

    def secret(self):
        path = os.path.join(self.directory(), "secret")
        secret = os.urandom(24).hex().encode()
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secret + b"\n")
        return path, secret

    def all_hear(self, members):
        """Each says a line that all the others hear."""
        for one in members:
            one.says("I am %s\n" % one.name)
            for other in members:
                if other is not one:
                    other.hears("%s: I am %s" % (one.name, one.name))

    def test_t6_members_of_several_endpoints_are_in_one_room(self):
        path = os.path.join(self.directory(), "chat.sock")
        file, secret = self.secret()
        server = self.serve(
            config=self.of() + self.of("chat+unix", path) + self.of(secret_file=file) + table("chat")
        )
        ann = Member(self.dial(server.at("chat")), "ann")
        bob = Member(self.dial(path), "bob")
        gated = self.dial(server.at("chat", nth=1))
        eve = Member(logged_in(gated, secret), "eve")
        apart = Member(self.dial(server.at("chat", nth=2)), "ann")  # other rooms, where the name is free
        self.all_hear([ann, bob, eve])
        bob.says("/nick ANN\n").notice("ANN is somebody else's name")
        apart.says("/who\n").notice("in lobby: ann")
        # Who cannot prove the secret of one endpoint comes in by none.
        wrong = self.dial(server.at("chat", nth=1))
        wrong.takes(32)
        wrong.say(b"x" * 32 + b"/nick eve\n").gone()
        ann.says("/who\n").notice("in lobby: ")
        for member in (ann, bob, eve, apart):
            member.peer.close()
        server.rests()
        server.stop()

    def test_t6_endpoints_join_and_leave_a_set_and_its_members_stay(self):
        path = os.path.join(self.directory(), "chat.sock")
        file, secret = self.secret()
        server = self.serve(config=self.of(history=3))
        first = at_text(server.at("chat"))
        ann = Member(self.dial(server.at("chat")), "ann")
        ann.says("before\n/ping 1\n").notice("pong 1")
        # A second endpoint, with a secret; then that alone; then another beside it.
        both = self.of(address=first, history=3) + self.of("chat+unix", path, history=3, secret_file=file)
        self.reloads(server, both)
        self.assertEqual(self.counts, {"opened": 1, "changed": 0, "vanished": 0})
        bob = Member(logged_in(self.dial(path), secret))
        self.assertRegex(bob.line(), rb"\A\[[-0-9 :]{19}\] ann: before\Z")
        bob.is_called("bob")
        self.all_hear([ann, bob])
        self.reloads(server, self.of("chat+unix", path, history=3, secret_file=file))
        self.assertEqual((self.counts["opened"], self.counts["vanished"]), (0, 1))
        self.refuses(server.at("chat"))
        self.all_hear([ann, bob])
        [third] = self.reloads(server, self.of(history=3) + self.of("chat+unix", path, history=3))
        self.assertEqual(self.counts, {"opened": 1, "changed": 1, "vanished": 0})
        eve, joe = Member(self.dial(third), "eve"), Member(self.dial(path), "joe")
        self.all_hear([ann, bob, eve, joe])
        # The same name with two meanings changes nothing.
        why = self.stays(server, self.of(history=4) + self.of("chat+unix", path, history=3))
        self.assertIn("which has another `history`: all endpoints of one set say the same", why)
        self.all_hear([ann, bob, eve, joe])
        # The limits of the server are no options of the rooms.
        self.reloads(
            server, '[limits]\ncommand-timeout = "7s"\n' + self.of("chat+unix", path, history=3)
        )
        self.all_hear([ann, bob, eve, joe, Member(self.dial(path), "kim")])
        for member in (ann, bob, eve, joe):
            member.peer.close()
        server.stop()

    def test_t6_a_new_server_has_rooms_of_its_own_that_its_endpoints_share(self):
        at = self.directory()
        control = os.path.join(at, "control.sock")
        urls = ["chat://127.0.0.1:0?rooms=a", "chat+unix://%s/chat.sock?rooms=a" % at]
        old = self.serve(*urls, arguments=("--control", control), is_plain=True)
        ann, bob = (Member(self.dial(place), name) for place, name in self.places(old, at))
        self.all_hear([ann, bob])
        new = self.serve(*urls, arguments=("--control", control, "--take-over"), is_plain=True)
        eve, joe = (Member(self.dial(place), name) for place, name in self.places(new, at))
        self.all_hear([eve, joe])
        self.all_hear([ann, bob])
        for member in (ann, bob, eve, joe):
            member.peer.close()
        old.ends()
        new.stop()

    def places(self, server, at):
        return (server.at("chat"), "ann"), (os.path.join(at, "chat.sock"), "bob")

    def test_t6_a_ping_is_answered_when_all_before_it_was_passed_on(self):
        server = self.serve(config=table("chat"))
        ann, bob = (Member(self.dial(server.at("chat")), name) for name in ("ann", "bob"))
        ann.peer.drip(b"one\n/ping\r\ntwo\n/ping 7 \x1b[31m\n/PING x\n")
        for pong in (b"* pong", "* pong 7 \ufffd[31m".encode(), b"* pong x"):
            line = ann.peer.line()
            while not line.startswith(b"* pong"):
                line = ann.peer.line()
            self.assertEqual(line, pong)
        bob.hears("ann: one").hears("ann: two")
        bob.says("fin\n")
        ann.hears("bob: fin")
        ann.peer.close(), bob.peer.close()
        server.rests()
        server.stop()


class Members(Reload):
    """What a member may do besides talking, as `nc` and Telnet users type it."""

    def three(self, server):
        return [Member(self.dial(server.at("chat")), name) for name in ("ann", "bob", "eve")]

    def test_t6_deeds_topics_away_and_ignore(self):
        server = self.serve("chat://127.0.0.1:0")
        ann, bob, eve = self.three(server)
        ann.says("/me waves\r\n")
        bob.hears("~ ann waves")
        eve.hears("~ ann waves")
        eve.says("/topic tea at 4\n")
        ann.told("eve set the topic: tea at 4")
        ann.says("/away lunch\n").notice("you are away")
        bob.says("/msg ann hungry?\n").notice("ann is away: lunch")
        ann.hears("bob (private): hungry?")
        eve.says("/ignore bob\n").notice("you ignore bob")
        bob.says("heard by ann\n/me shouts\n/msg eve psst\n/ping\n").notice("pong")
        ann.hears("bob: heard by ann").hears("~ bob shouts").says("to all\n")
        eve.hears("ann: to all")
        eve.says("/unignore bob\n").notice("you hear bob again")
        bob.says("back\n")
        eve.hears("bob: back")
        newcomer = Member(self.dial(server.at("chat")))
        newcomer.notice("topic of lobby: tea at 4")
        for member in (ann, bob, eve, newcomer):
            member.peer.close()
        server.rests()
        server.drain()

    def test_t6_gbk_and_utf8_meet_in_one_room(self):
        server = self.serve("chat://127.0.0.1:0?rooms=a", "chat://127.0.0.1:0?rooms=a&encoding=gbk")
        ann, bob = Member(self.dial(server.at("chat")), "ann"), Member(self.dial(server.at("chat", nth=1)), "bob")
        text = "你好, 礬 is a letter with a backslash"
        ann.says(text + " 🦀\n")
        bob.hears(("ann: " + text).encode("gbk") + b" ?")
        bob.peer.drip((text + "\n").encode("gbk"))
        ann.hears("bob: " + text)
        # Cut in the middle of a character, also by the end of the line.
        for cut in range(1, 5):
            data = (text + "\n").encode("gbk")
            bob.says(data[:cut]).says(data[cut:])
            ann.hears("bob: " + text)
        bob.says(b"half \xc4\n").says(b"/msg ann \xc4\xe3\n")
        ann.hears("bob: half \ufffd").hears("bob (private): 你")
        ann.peer.close(), bob.peer.close()
        server.rests()
        server.drain()

    def token(self, path, name):
        """A new token for a name in the file of names."""
        done = onepoll("secret", "--name", name, path)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"\A[0-9a-f]{64}\n\Z")
        self.assertNotIn(done.stdout.strip(), done.stderr)
        return done.stdout.strip()

    def test_t6_names_belong_to_who_has_their_token(self):
        path = os.path.join(self.directory(), "names")
        eva = self.token(path, "Eva")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        config = table("chat", names=path, history=9)
        server = self.serve(config=config, arguments=("-vv",))
        ann, bob = (Member(self.dial(server.at("chat")), name) for name in ("ann", "bob"))
        ann.says("/nick eva\n").notice("eva belongs to somebody: /login TOKEN takes it")
        bob.says("/login %s\n" % eva).notice("you are now Eva")
        bob.says("it is me\n /login %s\n" % eva)
        ann.hears("Eva: it is me")
        # One more name, which somebody has by now; the server reads the file on SIGHUP.
        bobs = self.token(path, "Ann")
        os.kill(server.pid, signal.SIGHUP)
        server.waits_for(lambda line: "reloaded the configuration" in line)
        ann.says("/nick\n").notice("you are ann")
        ann.says("who am I?\n").notice("ann belongs to somebody")
        self.assertRegex(bob.line(), rb"\Aguest-\d+: who am I\?\Z")
        ann.says("/login %s\n" % bobs).notice("you are now Ann")
        for _ in range(3):
            bob.says("/login %s\n" % "0" * 64)
        bob.peer.rest()
        newcomer = Member(self.dial(server.at("chat")))
        newcomer.line()
        self.assertFalse([line for line in newcomer.skipped if eva in line])
        # Nothing of a token is in the log, nor in the file of names.
        self.assertFalse([line for line in server.lines if eva in line or bobs in line])
        with open(path) as file:
            self.assertNotIn(eva, file.read())
        os.chmod(path, 0o640)
        self.assertIn("open to others", self.stays(server, config))
        with open(path, "a") as file:
            file.write("eva x\n")
        os.chmod(path, 0o600)
        self.assertIn("line 3 is not `NAME SHA256`", self.stays(server, config))
        ann.says("/who\n").notice("Ann")
        for member in (ann, newcomer):
            member.peer.close()
        server.rests()
        server.stop()

    def test_t6_a_trace_shows_no_token(self):
        path = os.path.join(self.directory(), "names")
        eva = self.token(path, "Eva")
        server = self.serve(config=table("chat", names=path), arguments=("--trace",))
        bob = Member(self.dial(server.at("chat")))
        bob.says("/login %s\n" % eva).notice("you are now Eva")
        bob.peer.close()
        server.rests()
        server.stop()
        self.assertFalse([line for line in server.lines if eva[:8] in line])

    def test_t6_operators_remove_ban_and_watch(self):
        path = os.path.join(self.directory(), "chat.sock")
        config = table("chat", rooms="a") + table("chat+unix", path, rooms="a", operator=True)
        server = self.serve(config=config)
        at = server.at("chat")
        op, (ann, bob) = Member(self.dial(path), "op"), (Member(self.dial(at), name) for name in ("ann", "bob"))
        ann.says("/kick bob\n").notice("only an operator may do that")
        op.says("/kick bob be nice\n").notice("bob was removed")
        self.assertIn(b"* you were removed: be nice", bob.peer.rest().splitlines())
        ann.notice("bob left (removed by an operator: be nice)")
        bob = Member(self.dial(at), "bob")
        op.says("/whois bob\n").notice("bob is in lobby, from 127.0.0.1:")
        op.says("/ban 127.0.0.0/8 not today\n").notice("127.0.0.0/8 is banned; removed: 2")
        for member in (ann, bob):
            self.assertTrue(member.peer.rest().endswith(b"* you are banned: not today\n"))
        refused = self.dial(at).say(b"let me in\n").rest()
        self.assertEqual(refused, b"* you may not be here: 127.0.0.0/8 (not today)\n")
        op.says("/bans\n").notice("banned: 127.0.0.0/8 (not today)")
        op.says("/unban 127.0.0.0/8\n").notice("is banned no more")
        op.says("/ban Bob\n").notice("Bob is banned; removed: 0")
        ann, eve = Member(self.dial(at), "ann"), Member(self.dial(at), "eve")
        ann.says("/nick bob\n").notice("nobody may be called that: Bob")
        eve.says("/join den\n").notice("you are in den")
        op.says("/watch den\n").notice("you watch den")
        eve.says("psst\n")
        op.hears("#den eve: psst")
        for member in (op, ann, eve):
            member.peer.close()
        server.rests()
        server.stop()

    def test_t6_operators_have_a_private_socket_or_none(self):
        path = os.path.join(self.directory(), "chat.sock")
        for url in (
            "chat://127.0.0.1:0?operator=true",
            "chat://0.0.0.0:0?operator=true&open=true",
            "chat+unix://%s?operator=true&any-user=true" % path,
        ):
            for command in ("check", "serve"):
                done = onepoll(command, url)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn("operators have a private Unix socket", done.stderr)
        self.assertEqual(onepoll("check", "chat+unix://%s?operator=true" % path).returncode, 0)

    def writer(self, server):
        """The child that writes the transcript."""
        for pid in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                with open("/proc/%s/stat" % pid) as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
                with open("/proc/%s/cmdline" % pid, "rb") as file:
                    if parent == server.pid and b"--transcript" in file.read().split(b"\0"):
                        return int(pid)
        return None

    def written(self, path, line):
        """The transcript, when it has this line."""
        until = time.monotonic() + DEADLINE
        while left(until):
            with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
                lines = file.read().split(b"\n")
                if any(line in found for found in lines):
                    return lines
            threading.Event().wait(0.002)
        self.fail("the transcript does not have %r" % line)

    def test_t6_a_transcript_has_what_is_said_in_rooms_and_no_more(self):
        path = os.path.join(self.directory(), "transcript")
        config = table("chat", transcript=path)
        server = self.serve(config=config)
        ann, bob = (Member(self.dial(server.at("chat")), name) for name in ("ann", "bob"))
        ann.says("one \x1b[31m\n/me waves\n/msg bob psst\n/topic tea\n/join den\nalone\n/ping\n").notice("pong")
        lines = self.written(path, b"#den ann: alone")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        for line in lines[:-1]:
            self.assertRegex(line, rb"\A\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] #\w+ .*\Z")
        said = [line[22:].decode() for line in lines[:-1]]
        self.assertEqual(
            [line for line in said if "guest" not in line],
            [
                "#lobby ann: one \ufffd[31m", "#lobby ~ ann waves", "#lobby * ann set the topic: tea",
                "#lobby * ann left", "#den * ann joined", "#den ann: alone",
            ],
        )
        # Moved away, it goes on in a new file on SIGHUP; also if the configuration is wrong.
        os.rename(path, path + ".1")
        self.reloads(server, config)
        ann.says("in the second\n")
        self.written(path, b"#den ann: in the second")
        os.rename(path, path + ".2")
        self.stays(server, "nonsense")
        ann.says("in the third\n")
        self.assertEqual(len(self.written(path, b"#den ann: in the third")), 2)
        # A writer that is gone is followed by another, for what is said from then on.
        os.kill(self.writer(server), signal.SIGKILL)
        server.waits_for(lambda line: "the writer of a transcript has ended; another is started" in line)
        ann.says("meanwhile\n")
        self.written(path, b"#den ann: meanwhile")
        ann.says("last\n/quit\n").peer.rest()
        bob.peer.close()
        server.stop()
        self.written(path, b"#den * ann left")

    def test_fault_c12_a_writer_that_stops_stops_nobody_and_what_does_not_fit_is_counted(self):
        path = os.path.join(self.directory(), "transcript")
        server = self.serve(config=table("chat", transcript=path))
        ann, bob = (Member(self.dial(server.at("chat")), name) for name in ("ann", "bob"))
        ann.says("first\n")
        bob.hears("ann: first")
        self.written(path, b"ann: first")
        writer = self.writer(server)
        os.kill(writer, signal.SIGSTOP)
        count, text = 2500, "x" * 1000  # twice what the pipe holds
        for n in range(0, count, 100):
            ann.says("".join("%d %s\n" % (m, text) for m in range(n, n + 100)))
            for m in range(n, n + 100):
                bob.hears("ann: %d %s" % (m, text))
        server.waits_for(lambda line: "lines are missing in it" in line)
        os.kill(writer, signal.SIGCONT)
        # Until the pipe has room, lines are missing: the last is repeated until it is there.
        until, repeated = time.monotonic() + DEADLINE, 0
        while left(until):
            ann.says("again %d\n" % repeated)
            bob.hears("ann: again %d" % repeated)
            with open(path, "rb") as file:
                lines = file.read().split(b"\n")
            repeated += 1
            if any(b"lines missing here" in line for line in lines):
                break
        lines = self.written(path, b"ann: again %d" % (repeated - 1))
        missing = sum(int(line.split(b": ")[1]) for line in lines if b"lines missing here: " in line)
        there = [line for line in lines if b" ann: " in line and b"first" not in line]
        self.assertGreater(missing, 100)
        self.assertEqual(missing + len(there), count + repeated)
        for line in there:
            self.assertRegex(line, rb"#lobby ann: (\d+ x{1000}|again \d+)\Z")
        ann.peer.close(), bob.peer.close()
        server.stop()

    def test_a_transcript_that_cannot_be_written_is_said_at_start(self):
        directory = self.directory()
        open_to_others = os.path.join(directory, "open")
        with open(open_to_others, "w"):
            os.chmod(open_to_others, 0o644)
        for path, why in (
            ("relative", "is a relative path"),
            (directory, "is no regular file"),
            (directory + "/none/file", "none is no directory"),
            (open_to_others, "others must not read or write it"),
        ):
            for command in ("check", "serve"):
                done = onepoll(command, "chat://127.0.0.1:0?transcript=" + path)
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertIn(why, done.stderr)

    def test_fault_b11_lines_of_who_does_not_read_are_dropped_whole_and_counted(self):
        config = '[limits]\nchat-soft = "200K"\nframe = "4K"\n'
        server = self.serve(config=config + table("chat", slow="drop-oldest"))
        ann, bob = (Member(self.dial(server.at("chat")), name) for name in ("ann", "bob"))
        slow = Member(self.dial(server.at("chat"), rcvbuf=4096), "slow")
        count, text = 6000, "x" * 1000
        for n in range(0, count, 100):
            ann.says("".join("%d %s\n" % (m, text) for m in range(n, n + 100)))
            for m in range(n, n + 100):
                bob.hears("ann: %d %s" % (m, text))
        ann.says("fin\n")
        heard, dropped = [], 0
        notice = b"* lines dropped, since you did not read them: "
        while True:
            line = slow.peer.line()
            if line == b"ann: fin":
                break
            if line.startswith(notice):
                dropped += int(line[len(notice):])
            elif line.startswith(b"ann: "):
                number, _, rest = line[5:].partition(b" ")
                self.assertEqual(rest, text.encode())
                heard.append(int(number))
        self.assertGreater(dropped, 100)
        self.assertEqual(len(heard) + dropped, count)
        self.assertEqual(heard, sorted(set(heard)))
        self.assertEqual(heard[-1], count - 1)
        slow.says("/who\n").notice("in lobby: ", "slow")
        self.assertEqual(server.counters()["lines_dropped"], dropped)
        for member in (ann, bob, slow):
            member.peer.close()
        server.rests()
        server.drain()


if __name__ == "__main__":
    main()
