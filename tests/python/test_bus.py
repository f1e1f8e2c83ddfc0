#!/usr/bin/env python3
"""Rooms on a real bus: how a server logs in to NATS, and what it says when it may not."""

import os

from harness import Case, main, onepoll
from nats import Nats

# Two users of NATS that nobody uses: the first is of its documentation.
SEED = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
USER = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
OTHER_SEED = "SUAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H776Y"
ACCOUNT_SEED = "SAAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4HYMHI"


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
        keys = "".join('%s = "%s"\n' % (key.replace("_", "-"), value) for key, value in keys.items())
        urls = ", ".join('"%s"' % url for url in urls)
        endpoint = '[[endpoint]]\nservice = "chat"\naddress = "127.0.0.1:0"\nopen = true\n'
        return self.serve(config="[bus]\nurl = [%s]\n%s\n%s" % (urls, keys, endpoint))

    def comes(self, server):
        server.waits_for(lambda line: "connected to the bus" in line)

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
