#!/usr/bin/env python3
"""Rooms on a real bus: how a server logs in to NATS, and what it says when it may not."""

import base64
import json
import os
import signal
import socket
import time

from harness import DEADLINE, Case, main, onepoll
from nats import Nats, Relay

# Two users of NATS that nobody uses: the first is of its documentation.
SEED = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
USER = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
OTHER_SEED = "SUAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H776Y"
ACCOUNT_SEED = "SAAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4HYMHI"


CHAT = '[[endpoint]]\nservice = "chat"\naddress = "127.0.0.1:0"\nopen = true\n'


def config_of(*urls, **keys):
    """A configuration whose chat is on this bus."""
    keys = "".join("%s = %s\n" % (key.replace("_", "-"), json.dumps(value)) for key, value in keys.items())
    return "[bus]\nurl = %s\n%s\n%s" % (json.dumps(urls), keys, CHAT)


class OnBus(Case):
    def nats(self, config=""):
        self.needs("nats-server")
        server = Nats(config)
        self.addCleanup(server.remove)
        return server

    def private(self, text):
        """A file that only its owner may read."""
        path = os.path.join(self.directory(), "private")
        with open(path, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(text)
        return path

    def on_bus(self, *urls, **keys):
        """A server whose chat is on this bus."""
        return self.serve(config=config_of(*urls, **keys))

    def comes(self, server, after=0):
        server.waits_for(lambda line: "connected to the bus" in line, after=after)

    def member(self, server):
        """Somebody in the lobby of this server, and the name."""
        peer = self.dial(server.at("chat"))
        words = peer.line().split()
        assert words[:3] == [b"*", b"you", b"are"], words
        return peer, words[3]


class Logins(OnBus):
    USERS = 'authorization { users: [ {user: eva, password: hush}, {nkey: "%s"} ] }' % USER

    def test_a_user_an_nkey_and_a_token_are_let_in(self):
        users = self.nats(self.USERS)
        eva = self.on_bus(users.url, user="eva", password_file=self.private("hush\n"))
        key = self.on_bus(users.url, nkey_file=self.private(SEED + "\n"))
        token = self.nats("authorization { token: sesame }")
        other = self.on_bus(token.url, token_file=self.private("sesame"))
        for server in (eva, key, other):
            self.comes(server)
        # By whatever they have logged in, they are in one room.
        one, _ = self.member(eva)
        two, name = self.member(key)
        self.assertEqual(one.line(), b"* %s joined" % name)
        two.say(b"hello\n")
        self.assertEqual(one.line(), b"%s: hello" % name)

    def test_who_may_not_come_is_told_why_and_goes_on_alone(self):
        users = self.nats(self.USERS)
        for keys in (
            {},
            {"user": "eva", "password_file": self.private("wrong")},
            {"token_file": self.private("sesame")},
            {"nkey_file": self.private(OTHER_SEED)},
        ):
            server = self.on_bus(users.url, **keys)
            server.waits_for(lambda line: "cannot connect to the bus" in line and "Authorization Violation" in line)
            self.member(server)
        nobody = self.nats()
        server = self.on_bus(nobody.url, nkey_file=self.private(SEED))
        server.waits_for(lambda line: "cannot connect to the bus" in line and "no nonce to sign" in line)
        self.member(server)


class Reloads(OnBus):
    """A reload takes what has changed of `[bus]`."""

    def reloads(self, server, config, said="reloaded the configuration"):
        """How much was said before it did."""
        before = server.reload(config)
        server.waits_for(lambda line: said in line, after=before)
        return before

    def pair(self, one, other):
        """Somebody on each, who have heard of each other."""
        eva, _ = self.member(one)
        bob, name = self.member(other)
        self.assertEqual(eva.line(), b"* %s joined" % name)
        return eva, bob

    def hears(self, peer, lines):
        """These are said to them, each once, and nothing else is but notices."""
        for line in lines:
            while (heard := peer.line()).startswith(b"* "):
                pass
            self.assertEqual(heard.split(b": ", 1)[-1], line)

    def test_another_server_is_taken_and_members_notice_nothing(self):
        nats = self.nats()
        relay = Relay(nats.port)
        self.addCleanup(relay.close)
        one, other = self.on_bus(relay.url), self.on_bus(nats.url)
        for server in (one, other):
            self.comes(server)
        eva, bob = self.pair(one, other)
        lines = [b"line %d" % n for n in range(600)]
        said = lambda some: b"".join(line + b"\n" for line in some)
        eva.say(said(lines[:300]))
        # Still listed, it is kept; then it is not, in the middle of what is said.
        before = self.reloads(one, config_of(nats.url, relay.url))
        eva.say(said(lines[300:400]))
        self.assertFalse([line for line in one.lines[before:] if "bus" in line])
        self.assertFalse(relay.left.is_set())
        before = self.reloads(one, config_of(nats.url))
        eva.say(said(lines[400:]) + b"/ping all\n")
        self.comes(one, after=before)
        self.assertTrue(relay.left.wait(DEADLINE))
        relay.close()
        self.hears(bob, lines)
        eva.hears(b"* pong all\n")
        bob.say(b"and back\n")
        self.hears(eva, [b"and back"])

    def test_another_password_and_what_is_wrong_or_waits_for_a_start(self):
        users = "authorization { users: [ {user: eva, password: %s}, {user: ann, password: pw} ] }"
        nats = self.nats(users % "hush")
        password = self.private("hush\n")
        one = self.on_bus(nats.url, user="eva", password_file=password)
        other = self.on_bus(nats.url, user="ann", password_file=self.private("pw"))
        for server in (one, other):
            self.comes(server)
        eva, bob = self.pair(one, other)
        good = dict(user="eva", password_file=password)
        missing = os.path.join(self.directory(), "missing")
        for config, why in (
            (config_of(nats.url, user="eva", password_file=missing), "[bus]: %s" % missing),
            (config_of(nats.url, "nats://no.such.host.invalid", **good), "host.invalid:4222 cannot be resolved"),
            (config_of("nats+tls://127.0.0.1:1", ca=missing), "`ca`: "),
            (config_of(**good), "`[bus]` names no server"),
        ):
            before = self.reloads(one, config, "not reloaded, and everything stays as it was: ")
            self.assertIn(why, "".join(one.lines[before:]))
        with open(password, "w") as file:
            file.write("psst\n")
        before = self.reloads(one, config_of(nats.url, lease="30s", replicas=3, **good))
        log = "".join(one.lines[before:])
        for key in ("replicas", "lease"):
            self.assertIn("`%s` of `[bus]` cannot change while the server runs" % key, log)
        self.assertNotIn("connected to the bus", log)
        eva.say(b"as before\n")
        self.hears(bob, [b"as before"])
        # The old password is none any more.
        before = len(one.lines)
        nats.becomes(users % "psst")
        self.comes(one, after=before)
        eva.say(b"hello\n")
        self.hears(bob, [b"hello"])
        # A bus that goes stays until the next start.
        before = self.reloads(one, CHAT)
        self.assertIn("`[bus]` cannot change while the server runs", "".join(one.lines[before:]))
        eva.say(b"still here\n")
        self.hears(bob, [b"still here"])

    def test_all_processes_take_another_server(self):
        nats = self.nats()
        relay = Relay(nats.port)
        self.addCleanup(relay.close)
        both = self.serve(config="processes = 2\n" + config_of(relay.url))
        other = self.on_bus(nats.url)
        self.comes(other)
        is_of = lambda n: lambda line: "connected to the bus" in line and "process=%d" % n in line
        for n in (1, 2):
            both.waits_for(is_of(n))
        before = self.reloads(both, "processes = 3\n" + config_of(nats.url, lease="30s"))
        for n in (1, 2):
            both.waits_for(is_of(n), after=before)
        relay.close()
        # A process that comes later, too, and not to the one that is closed by now.
        before = len(both.lines)
        os.kill(int(both.children_now()[0]), signal.SIGKILL)
        both.waits_for(lambda line: is_of(1)(line) or is_of(2)(line), after=before)
        self.assertFalse([line for line in both.lines[before:] if "cannot connect" in line])
        for pid in both.children_now():
            with open("/proc/%s/cmdline" % pid) as file:
                words = file.read().split("\0")
            for key, value in (("--processes", "2"), ("--lease", "15s")):
                self.assertEqual(words[words.index(key) + 1], value, "a reload does not change that")


class Asks:
    """A client of NATS that asks one thing after the other."""

    def __init__(self, server):
        self.socket = socket.create_connection(("127.0.0.1", server.port), DEADLINE)
        self.file = self.socket.makefile("rwb")
        self.file.write(b'CONNECT {"verbose":false,"headers":false}\r\nSUB answers 1\r\n')

    def ask(self, subject, payload):
        self.file.write(b"PUB %s answers %d\r\n%s\r\n" % (subject.encode(), len(payload), payload))
        self.file.flush()
        while True:
            words = self.file.readline().split()
            if words[0] == b"PING":
                self.file.write(b"PONG\r\n")
                self.file.flush()
            if words[0] == b"MSG":
                return json.loads(self.file.read(int(words[-1]) + 2))

    def close(self):
        self.file.close()
        self.socket.close()


class Names(OnBus):
    KEY = "$KV.ONEPOLL__." + b"eva".hex()

    def test_whose_a_name_is_that_could_not_be_renewed(self):
        nats = self.nats()
        server = self.on_bus(nats.url, lease="3s")
        self.comes(server)
        eva, _ = self.member(server)
        eva.say(b"/nick eva\n")
        self.assertEqual(eva.line(), b"* you are now eva")
        bus = Asks(nats)
        self.addCleanup(bus.close)

        def found():
            asked = json.dumps({"last_by_subj": self.KEY}).encode()
            message = bus.ask("$JS.API.STREAM.MSG.GET.KV_ONEPOLL__", asked)["message"]
            return message["seq"], base64.b64decode(message["data"])

        # Written by this server, as far as anybody can tell; its renewal has the place before this one.
        _, owner = found()
        written = bus.ask(self.KEY, owner)["seq"]
        until = time.monotonic() + DEADLINE
        while found()[0] <= written:
            self.assertLess(time.monotonic(), until, "it is renewed no more")
            time.sleep(0.05)  # polls; renewed each second
        self.assertEqual(found()[1], owner)
        eva.say(b"/nick\n")
        self.assertEqual(eva.line(), b"* you are eva")
        # Written by another one.
        bus.ask(self.KEY, b"0123456789abcdef")
        self.assertIn(b"eva is somebody else's by now", eva.line())
        # Whoever comes later renews as often as this bucket needs.
        later = self.on_bus(nats.url, lease="1m")
        later.waits_for(lambda line: "the bus keeps a name for 3s" in line and "not for 1m" in line)
        self.comes(later)


class Files(OnBus):
    def test_a_seed_that_is_none_is_refused_before_anything_listens(self):
        for seed, why in (
            (USER, "is a public key; a seed begins with SU"),
            (ACCOUNT_SEED, "the seed of an account; write that of a user"),
            (SEED[:-1] + "A", "has a typing error: its checksum is wrong"),
            (SEED + "\n" + USER + "\n", "is not one line"),
            ("", "is not one line"),
        ):
            path = self.private(seed)
            config = self.private('[bus]\nurl = ["nats://127.0.0.1:4"]\nnkey-file = "%s"\n' % path)
            for command in ("serve", "check"):
                done = onepoll(command, "--config", config)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn(why, done.stderr)
                self.assertNotIn(seed[:20] or "\0", done.stderr)
        path = self.private(SEED)
        os.chmod(path, 0o640)
        config = self.private('[bus]\nurl = ["nats://127.0.0.1:4"]\nnkey-file = "%s"\n' % path)
        self.assertIn("chmod 600", onepoll("check", "--config", config).stderr)


if __name__ == "__main__":
    main()
