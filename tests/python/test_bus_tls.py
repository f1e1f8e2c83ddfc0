#!/usr/bin/env python3
"""A bus through TLS: the real server of NATS, certificates by openssl, and every reason not to believe either."""

import json
import os

from authority import Authority, fingerprint
from harness import Case, main, onepoll
from nats import Nats

HERE = "IP:127.0.0.1,DNS:localhost"


class BusThroughTls(Case):
    def setUp(self):
        self.needs("nats-server", "openssl")
        super().setUp()
        self.directory_of_ca = self.directory()
        self.ours = Authority(self.directory_of_ca, "ours")
        self.cert, self.key = self.ours.signs(HERE)

    def nats(self, config=""):
        nats = Nats(config)
        self.addCleanup(nats.remove)
        return nats

    def nats_through_tls(self, cert=None, key=None, more=""):
        files = (cert or self.cert, key or self.key)
        return self.nats('tls { cert_file: "%s", key_file: "%s"%s }\n' % (*files, more))

    def joins(self, nats, scheme="nats+tls", **keys):
        """A server that names this bus."""
        config = self.config(nats, scheme, **keys)
        return self.serve("chat://127.0.0.1:0", "metrics://127.0.0.1:0", config=config)

    def config(self, nats, scheme="nats+tls", **keys):
        keys = "".join("%s = %s\n" % (name, json.dumps(value)) for name, value in keys.items())
        return "[bus]\nurl = ['%s://127.0.0.1:%d']\n%s" % (scheme, nats.port, keys)

    def is_connected(self, server, after=0):
        server.waits_for(lambda line: "connected to the bus" in line, after=after)

    def is_refused(self, server, *why):
        """It says why, in one line, and goes on to try."""
        line = server.waits_for(lambda line: "cannot connect to the bus" in line)
        for words in why:
            self.assertIn(words, line)
        self.assertFalse([line for line in server.lines if "connected to the bus" in line])
        wrong = [line for line in server.lines if "WARN" in line or "broke off" in line]
        self.assertEqual(wrong, [line])

    def test_what_is_said_goes_through_tls_from_one_server_to_the_other(self):
        nats = self.nats_through_tls()
        # One knows who has signed, the other the certificate itself.
        one = self.joins(nats, ca=self.ours.ca)
        other = self.joins(nats, fingerprint=fingerprint(self.cert))
        members = []
        for server in (one, other):
            self.is_connected(server)
            # That of the bus alone: a member may come through TLS as well.
            self.assertEqual(server.counters()["tls_handshakes"], {"completed": 1, "failed": 0})
            member = self.dial(server.at("chat"))
            member.say(b"/ping in\n")
            while b"pong in" not in member.line():
                pass
            members.append(member)
        members[0].say(b"through TLS\n")
        while not members[1].line().endswith(b": through TLS"):
            pass
        one.stop()
        other.stop()

    def test_a_server_that_is_not_the_expected_one_is_not_believed(self):
        nats = self.nats_through_tls()
        theirs = Authority(self.directory_of_ca, "theirs")
        self.is_refused(self.joins(nats, ca=theirs.ca), "UnknownIssuer")
        wrong = ":".join(["AB"] * 32)
        of_theirs = self.joins(nats, fingerprint=wrong)
        self.is_refused(of_theirs, fingerprint(self.cert), "the expected one has " + wrong)
        elsewhere = self.nats_through_tls(*self.ours.signs("DNS:elsewhere.example"))
        server = self.joins(elsewhere, ca=self.ours.ca)
        self.is_refused(server, "elsewhere.example")
        self.assertGreater(server.counters()["tls_handshakes"]["failed"], 0)
        expired = self.nats_through_tls(*self.ours.signs(HERE, days=-1))
        self.is_refused(self.joins(expired, ca=self.ours.ca), "xpired")

    def test_a_reload_takes_another_certificate_for_the_next_connection(self):
        nats, plain = self.nats_through_tls(), self.nats()
        server = self.joins(nats, fingerprint=":".join(["AB"] * 32))
        self.is_refused(server, fingerprint(self.cert))
        self.is_connected(server, after=server.reload(self.config(nats, fingerprint=fingerprint(self.cert))))
        # What the server has shown is enough while it is connected.
        before = server.reload(self.config(nats, fingerprint=":".join(["AB"] * 32)))
        server.waits_for(lambda line: "reloaded the configuration" in line, after=before)
        self.assertFalse([line for line in server.lines[before:] if "bus" in line])
        self.is_connected(server, after=server.reload(self.config(plain, "nats")))

    def test_a_reload_takes_another_authority_and_a_certificate_of_ours(self):
        nats = self.nats_through_tls(more=', ca_file: "%s", verify: true' % self.ours.ca)
        theirs = Authority(self.directory_of_ca, "theirs")
        server = self.joins(nats, ca=theirs.ca)
        self.is_refused(server, "UnknownIssuer")
        cert, key = self.ours.signs("DNS:onepoll")
        reload = server.reload(self.config(nats, ca=self.ours.ca, cert=cert, key=key))
        self.is_connected(server, after=reload)

    def test_several_processes_each_have_a_session_of_their_own(self):
        nats = self.nats_through_tls()
        config = "processes = 2\n" + self.config(nats, ca=self.ours.ca)
        server = self.serve("chat://127.0.0.1:0", config=config)
        for process in (1, 2):
            server.waits_for(lambda line: "connected to the bus" in line and "process=%d" % process in line)
        # Whichever of them the kernel gives each to.
        members = [self.dial(server.at("chat")) for _ in range(8)]
        for member in members:
            member.say(b"/ping in\n")
            while b"pong in" not in member.line():
                pass
        members[0].say(b"to all\n")
        for member in members[1:]:
            while not member.line().endswith(b": to all"):
                pass
        server.stop()

    def test_a_server_that_asks_for_a_certificate_is_shown_one(self):
        nats = self.nats_through_tls(more=', ca_file: "%s", verify: true' % self.ours.ca)
        cert, key = self.ours.signs("DNS:onepoll")
        self.is_connected(self.joins(nats, ca=self.ours.ca, cert=cert, key=key))
        none = self.joins(nats, ca=self.ours.ca)
        self.is_refused(
            none,
            "the server asks its clients for a certificate, and none was given: `cert` and `key` of `[bus]`",
        )
        theirs = Authority(self.directory_of_ca, "theirs")
        cert, key = theirs.signs("DNS:onepoll")
        other = self.joins(nats, ca=self.ours.ca, cert=cert, key=key)
        self.is_refused(other, "the server does not accept the certificate of `cert`")

    def test_nobody_falls_back_to_plaintext(self):
        tls, plain = self.nats_through_tls(), self.nats()
        self.is_refused(self.joins(tls, "nats"), "requires TLS: write nats+tls://")
        self.is_refused(self.joins(plain, ca=self.ours.ca), "speaks no TLS")

    def test_check_reads_what_is_needed_and_says_what_is_wrong(self):
        path = os.path.join(self.directory(), "onepoll.toml")

        def check(**keys):
            keys = "".join("%s = %s\n" % (name, json.dumps(value)) for name, value in keys.items())
            with open(path, "w") as file:
                file.write("[bus]\nurl = 'nats+tls://127.0.0.1'\n%s" % keys)
            return onepoll("check", "--config", path)

        self.assertEqual(check(ca=self.ours.ca).returncode, 0)
        self.assertEqual(check(ca=self.ours.ca, cert=self.cert, key=self.key).returncode, 0)
        other = self.ours.signs(HERE)[1]
        for keys, why in (
            ({}, 'ca = "system" or fingerprint'),
            ({"ca": "/nowhere"}, "/nowhere"),
            ({"ca": self.key}, "holds no certificate"),
            ({"fingerprint": "AB"}, "64 hexadecimal digits"),
            ({"ca": self.ours.ca, "cert": self.cert, "key": other}, "is not that of the certificate"),
            ({"ca": self.ours.ca, "cert": self.cert}, "go together"),
        ):
            done = check(**keys)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(why, done.stderr)


if __name__ == "__main__":
    main()
