"""TLS on any stream endpoint: Python's ssl, openssl, curl and ncat as clients, and what somebody between
the two can do, which is to end the connection (faults D7 to D11)."""

import concurrent.futures
import contextlib
import hashlib
import hmac
import os
import re
import select
import shutil
import socket
import ssl
import subprocess
import threading
import time
import warnings

import tls
from harness import BINARY, DEADLINE, Case, Peer, dial, left, main, onepoll

EXPORTER = "EXPORTER-Channel-Binding"


def until(condition, why):
    """Polls; there is no event for what another process has counted or made."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert left(deadline), why
        threading.Event().wait(0.005)


class Tls(Case):
    """A server with a certificate of our own making."""

    def setUp(self):
        super().setUp()
        self.dir = self.directory()
        self.cert, self.key, self.fingerprint = tls.certificate(self.dir + "/pair")
        self.options = tls.options(self.cert, self.key)

    def serves(self, service, *options):
        """A server of this service, behind TLS."""
        query = "&".join([self.options, *options])
        server = self.serve("%s://127.0.0.1:0?%s" % (service, query))
        return server

    def link(self, server, service, **changes):
        """A client's end, after the handshake."""
        name = changes.pop("name", "localhost")
        raw = dial(server.at(service)).link
        self.addCleanup(raw.close)
        try:
            return tls.Link(raw, tls.trusting(self.cert, **changes), name)
        except ssl.SSLError:
            raw.close()
            raise

    def peer(self, server, service, **changes):
        peer = Peer(self.link(server, service, **changes))
        self.peers.append(peer)
        return peer

    def commands(self, *options):
        """A server of commands, whose lines end in a newline, and a file that they may make."""
        marker = os.path.join(self.dir, "marker-%d" % len(os.listdir(self.dir)))
        every = ["settle=never", *options]
        if not any(option.startswith("framing=") for option in options):
            every.append("framing=raw")
        if not any(option.startswith("secret-file=") for option in options):
            every.append("auth=none")
        return self.serves("command", *every), marker

    def rests(self, server):
        """Nobody is connected, and nothing is left of anybody."""
        return server.rests()


class Clients(Tls):
    def test_python_both_ways_at_once_and_byte_by_byte(self):
        server = self.serves("echo")
        peer = self.peer(server, "echo")
        self.assertEqual(peer.link.tls.version(), "TLSv1.3")
        peer.drip(b"one byte at a time").hears(b"one byte at a time")
        data = os.urandom(4 << 20)
        context = tls.trusting(self.cert)
        raw = dial(server.at("echo")).link
        with context.wrap_socket(raw, server_hostname="localhost") as both:
            both.settimeout(DEADLINE)
            said = threading.Thread(target=both.sendall, args=(data,))
            said.start()
            heard = bytearray()
            while len(heard) < len(data):
                heard += both.recv(1 << 16)
            said.join(DEADLINE)
            self.assertEqual(heard, data)
            both.unwrap()
        peer.half_close().ended()
        closed = self.rests(server)["closed"]
        self.assertEqual((closed["ended"], closed["cut"]), (2, 0))

    def test_fault_a13_a_half_close_is_a_close_notify_and_all_that_is_owed_comes(self):
        server = self.serves("echo")
        peer = self.peer(server, "echo")
        data = os.urandom(200_000)
        peer.say(data).half_close()
        self.assertEqual(peer.rest(), data)
        self.assertTrue(peer.link.has_ended, "the server said so too")
        # Then its FIN.
        self.assertEqual(peer.link.link.recv(1), b"")

    def test_fault_d10_an_end_without_close_notify_is_no_end(self):
        server, marker = self.commands()
        peer = self.peer(server, "command")
        peer.say(b"touch %s" % marker.encode())
        until(lambda: server.counters()["bytes_in"] > 0, "it was not read")
        peer.link.link.shutdown(socket.SHUT_WR)
        peer.ended()
        self.assertEqual(self.rests(server)["closed"]["cut"], 1)
        self.assertFalse(os.path.exists(marker))
        # With one it is.
        peer = self.peer(server, "command")
        peer.say(b"touch %s" % marker.encode()).half_close().ended()
        self.assertTrue(os.path.exists(marker))

    def test_openssl_talks_to_echo_and_chat(self):
        server = self.serve(
            "echo://127.0.0.1:0?" + self.options, "chat://127.0.0.1:0?" + self.options
        )
        for service, says, hears in [
            ("echo", b"hello\n", b"hello\n"),
            ("chat", b"/quit\n", b"* you are guest-1 in lobby"),
        ]:
            at = "%s:%d" % server.at(service)
            argv = ["openssl", "s_client", "-connect", at, "-CAfile", self.cert, "-quiet"]
            argv += ["-verify_return_error", "-no_ign_eof", "-nocommands"]
            self.converses(argv, says, hears)
        self.rests(server)

    def test_ncat_talks_to_echo_and_chat(self):
        server = self.serve(
            "echo://127.0.0.1:0?" + self.options, "chat://127.0.0.1:0?" + self.options
        )
        for service, says, hears in [
            ("echo", b"hello\n", b"hello\n"),
            ("chat", b"/quit\n", b"* you are guest-1 in lobby"),
        ]:
            host, port = server.at(service)
            argv = ["ncat", "--ssl", "--ssl-verify", "--ssl-trustfile", self.cert]
            # It names the address, which the certificate does not have as a name.
            argv += ["--ssl-servername", "localhost", host, str(port)]
            self.converses(argv, says, hears)

    def test_curl_fetches_metrics(self):
        server = self.serves("metrics")
        host, port = server.at("metrics")
        argv = ["curl", "-sS", "--cacert", self.cert, "https://%s:%d/metrics" % (host, port)]
        self.assertIn(b"onepoll_tls_handshakes_total", self.runs(argv, b""))

    def converses(self, argv, says, hears):
        """It says this, hears that, and ends when its input does."""
        self.needs(argv[0])
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        client = subprocess.Popen(argv, **pipes)
        self.addCleanup(client.wait)
        self.addCleanup(client.kill)
        with client.stdin, client.stdout:
            client.stdin.write(says)
            client.stdin.flush()
            heard, deadline = b"", time.monotonic() + DEADLINE
            while hears not in heard:
                assert select.select([client.stdout], [], [], left(deadline))[0], heard
                more = os.read(client.stdout.fileno(), 1 << 16)
                self.assertTrue(more, heard)
                heard += more
        self.assertEqual(client.wait(DEADLINE), 0)

    def runs(self, argv, says):
        self.needs(argv[0])
        ran = subprocess.run(
            argv, input=says, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE
        )
        self.assertEqual(ran.returncode, 0, ran.stderr)
        return ran.stdout

    def test_exec_trusts_whom_it_was_told_and_nobody_else(self):
        server, _ = self.commands("framing=json")
        at = "%s:%d" % server.at("command")
        for trust in [("--fingerprint", self.fingerprint), ("--ca", self.cert)]:
            ran = onepoll("exec", at, "--tls", *trust, "--", "echo hi; exit 3")
            self.assertEqual((ran.stdout, ran.returncode), ("hi\n", 3), ran.stderr)
        seen = onepoll("exec", at, "--tls", "--", "echo hi")
        self.assertEqual((seen.stdout, seen.returncode), ("", 255))
        self.assertIn(self.fingerprint, seen.stderr)
        other = "00" + self.fingerprint[2:]
        ran = onepoll("exec", at, "--tls", "--fingerprint", other, "--", "echo hi")
        self.assertEqual((ran.stdout, ran.returncode), ("", 255))
        self.assertIn("the fingerprint %s, and the expected one has %s" % (self.fingerprint, other), ran.stderr)
        ran = onepoll("exec", at, "--tls", "--ca", "system", "--", "echo hi")
        self.assertEqual((ran.stdout, ran.returncode), ("", 255))
        counters = self.rests(server)
        self.assertEqual(counters["commands_started"], 2)
        self.assertEqual(counters["closed"]["cut"], 0)

    def test_input_and_output_in_bulk_go_through_a_secret_and_tls_whole(self):
        """Several MiB each way: more than a record, a grant of input, and every queue between the two ends."""
        secret = os.path.join(self.directory(), "secret")
        self.assertEqual(onepoll("secret", secret).returncode, 0)
        server, _ = self.commands("framing=raw", "secret-file=" + secret)
        argv = [BINARY, "exec", "%s:%d" % server.at("command"), "--tls", "--ca", self.cert, "--secret-file", secret]
        data = hashlib.shake_256(b"onepoll").digest(8 << 20)
        digest = hashlib.sha256(data).hexdigest()

        def runs(*arguments, **how):
            ran = subprocess.run(argv + list(arguments), stdout=subprocess.PIPE, timeout=DEADLINE, **how)
            self.assertEqual(ran.returncode, 0)
            return ran.stdout

        self.assertEqual(runs("--", "sha256sum", input=data).split()[0].decode(), digest)
        back = runs("--", "cat", input=data)
        self.assertEqual((len(back), hashlib.sha256(back).hexdigest()), (len(data), digest))
        # Also where the end of input is that of the session, and the end of output that of the connection (C1).
        kept = os.path.join(self.directory(), "kept")
        with open(kept, "wb") as file:
            file.write(data)
        back = runs("--framing", "raw", "--", "cat " + kept, stdin=subprocess.DEVNULL)
        self.assertEqual((len(back), hashlib.sha256(back).hexdigest()), (len(data), digest))
        counters = self.rests(server)
        self.assertEqual((counters["commands_started"], counters["closed"]["cut"]), (3, 0))

    def test_mutual_tls_lets_in_who_has_a_certificate(self):
        theirs, their_key, _ = tls.certificate(self.dir + "/theirs")
        server = self.serves("echo", "client-ca=" + theirs)
        context = tls.trusting(self.cert)
        context.load_cert_chain(theirs, their_key)
        with Peer(tls.Link(dial(server.at("echo")).link, context)) as peer:
            peer.say(b"in").hears(b"in")
        # In TLS 1.3 a client learns what becomes of its certificate after its own handshake.
        peer = self.peer(server, "echo")
        with self.assertRaises((ssl.SSLError, ConnectionError)):
            peer.say(b"in").hears(b"in")


class Start(Tls):
    def refused(self, *options):
        ran = onepoll("check", "echo://127.0.0.1:0?" + "&".join(options))
        self.assertEqual(ran.returncode, 2, ran.stderr)
        return ran.stderr

    def test_a_key_of_another_certificate(self):
        _, other, _ = tls.certificate(self.dir + "/other")
        said = self.refused(tls.options(self.cert, other))
        self.assertIn("is not that of the certificate in %s" % self.cert, said)

    def test_files_that_are_none(self):
        private = shutil.copy(self.cert, self.dir + "/private.pem")
        os.chmod(private, 0o600)
        for cert, key, says in [
            (self.dir + "/none", self.key, "cannot be read"),
            (self.cert, self.dir + "/none", "cannot be read"),
            (self.key, self.key, "holds no certificate"),
            (self.cert, private, "holds no private key"),
        ]:
            self.assertIn(says, self.refused(tls.options(cert, key)))
        os.chmod(self.key, 0o644)
        self.assertIn("chmod 600", self.refused(self.options))

    def test_options_without_the_others(self):
        self.assertIn("`key=FILE`", self.refused("tls=true", "cert=" + self.cert))
        self.assertIn("only with `tls=true`", self.refused("cert=" + self.cert))

    def test_a_pair_is_never_overwritten(self):
        with open(self.key, "rb") as file:
            before = file.read()
        ran = onepoll("certificate", os.path.dirname(self.key))
        self.assertEqual(ran.returncode, 1)
        self.assertIn("nothing was overwritten", ran.stderr)
        with open(self.key, "rb") as file:
            self.assertEqual(file.read(), before)
        self.assertEqual(os.stat(self.key).st_mode & 0o777, 0o600)


class Versions(Tls):
    def version(self, server, minimum, maximum):
        context = tls.trusting(self.cert)
        context.set_ciphers("DEFAULT@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            context.minimum_version, context.maximum_version = minimum, maximum
        raw = dial(server.at("echo")).link
        self.addCleanup(raw.close)
        link = tls.Link(raw, context)
        Peer(link).say(b"x").hears(b"x")
        return link.tls.version()

    def test_old_ones_are_refused_and_1_2_is_served_where_it_is_allowed(self):
        version = ssl.TLSVersion
        server = self.serves("echo")
        for old in [version.TLSv1, version.TLSv1_1, version.TLSv1_2]:
            with self.assertRaises((ssl.SSLError, ConnectionError)):
                self.version(server, old, old)
        server = self.serves("echo", "tls-min=1.2")
        for old in [version.TLSv1, version.TLSv1_1]:
            with self.assertRaises((ssl.SSLError, ConnectionError)):
                self.version(server, old, old)
        self.assertEqual(self.version(server, version.TLSv1_2, version.TLSv1_2), "TLSv1.2")
        self.assertEqual(self.version(server, version.TLSv1_2, version.TLSv1_3), "TLSv1.3")

    def test_a_name_that_is_not_the_servers_is_the_clients_to_judge(self):
        server, marker = self.commands()
        with self.assertRaises(ssl.SSLCertVerificationError):
            self.link(server, "command", name="elsewhere.example")
        counters = self.rests(server)
        self.assertEqual(counters["tls_handshakes"], {"completed": 0, "failed": 1})


class Logs(Tls):
    def test_plain_bytes_at_a_tls_endpoint(self):
        server = self.serves("echo")
        with dial(server.at("echo")) as peer:
            peer.say(b"GET / HTTP/1.1\r\n\r\n").gone()
        server.waits_for(lambda line: "plain bytes came" in line and "GET / HTTP" in line)

    def test_a_client_that_speaks_tls_at_a_plain_endpoint(self):
        server = self.serve("echo://127.0.0.1:0", is_plain=True)
        raw = dial(server.at("echo")).link
        with self.assertRaises(ssl.SSLError):
            tls.Link(raw, tls.trusting(self.cert))
        raw.close()
        server.waits_for(lambda line: "ClientHello" in line and "no TLS" in line)


class Between(Tls):
    """Somebody between the client and the server."""

    def honest(self, server, lines):
        """Everything that a client sends: its ClientHello, the end of its handshake, and a record a line;
        and a function that goes on with that client after a change."""
        raw = dial(server.at("command")).link
        link = tls.Link(raw, tls.trusting(self.cert), handshake=False)
        with contextlib.suppress(ssl.SSLWantReadError):
            link.tls.do_handshake()
        return raw, link, link.outgoing.read()

    def sends(self, server, change, lines):
        """One session whose bytes pass through `change`: it is given how many were sent, and bytes."""
        raw, link, hello = self.honest(server, lines)
        # A record that seems longer than it is is waited for; nobody has to wait for the server.
        raw.settimeout(0.5)
        try:
            raw.sendall(change(0, hello))
            sent = len(hello)
            while True:
                try:
                    link.tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    link._fill()
            rest = link.outgoing.read() + b"".join(link.records(line) for line in lines)
            raw.sendall(change(sent, rest))
            sent += len(rest)
            with contextlib.suppress(ssl.SSLWantReadError):
                link.tls.unwrap()
            raw.sendall(link.outgoing.read())
            with contextlib.suppress(ssl.SSLError):
                link.recv(1)
            return sent
        except (ssl.SSLError, ConnectionError, TimeoutError):
            # The server broke it off, or the client saw that what it agreed to is not what it said.
            with contextlib.suppress(OSError):
                raw.sendall(link.outgoing.read())
            return None
        finally:
            raw.close()

    def test_fault_d8_no_bit_of_a_session_can_be_turned(self):
        server, marker = self.commands()
        seen = []

        def marker_of(nth):
            return "%s-%05d" % (marker, nth)

        def line_of(nth):
            return [b"touch %s\n" % marker_of(nth).encode()]

        def honest(at, data):
            seen.append((at, data))
            return data

        length = self.sends(server, honest, line_of(0))
        until(lambda: os.path.exists(marker_of(0)), "it was not run")
        os.unlink(marker_of(0))
        self.rests(server)
        self.assertGreater(length, 500)
        # The version in the header of a record is ignored for all purposes (RFC 8446, 5.1), and so is the
        # record that only makes it look like TLS 1.2 (appendix D.4).
        data, free, at = b"".join(data for _, data in seen), set(), 0
        while at < len(data):
            size = 5 + int.from_bytes(data[at + 3 : at + 5], "big")
            free |= set(range(at, at + size)) if data[at] == 20 else {at + 1, at + 2}
            at += size
        self.assertLess(len(free), 20)

        def with_a_bit_turned_at(nth):
            def turned(at, data):
                if at <= nth < at + len(data):
                    data = bytearray(data)
                    data[nth - at] ^= 1 << (nth % 8)
                return bytes(data)

            self.sends(server, turned, line_of(nth))

        # Beside each other: where a length grew, server and client wait for the rest.
        with concurrent.futures.ThreadPoolExecutor(16) as at_once:
            list(at_once.map(with_a_bit_turned_at, range(length)))
        self.rests(server)
        ran = {nth for nth in range(length) if os.path.exists(marker_of(nth))}
        self.assertLessEqual(ran, free, "a command was run that somebody had changed")

    def test_fault_d9_records_are_neither_lost_nor_doubled_nor_put_in_another_order(self):
        for name, order in [("lost", [1]), ("doubled", [0, 0, 1]), ("turned round", [1, 0])]:
            server, marker = self.commands()
            link = self.link(server, "command")
            records = [link.records(b"echo %d >> %s\n" % (n, marker.encode())) for n in range(2)]
            link.link.sendall(b"".join(records[n] for n in order))
            with contextlib.suppress(ConnectionError), self.assertRaises(ssl.SSLError):
                while link.recv(1):
                    pass
            link.close()
            self.assertEqual(self.rests(server)["closed"]["insecure"], 1, name)
            ran = open(marker).read() if os.path.exists(marker) else ""
            self.assertIn(ran, ("", "0\n") if name == "doubled" else ("",), name)

    def test_fault_d11_records_of_another_connection_or_direction(self):
        server, marker = self.commands()
        one, other = self.link(server, "command"), self.link(server, "command")
        stolen = one.records(b"touch %s\n" % marker.encode())
        one.close()
        other.link.sendall(stolen)
        Peer(other.link).gone()
        echo = self.serves("echo")
        link = self.link(echo, "echo")
        link.sendall(b"hello")
        theirs = link.link.recv(1 << 16)
        link.link.sendall(theirs)
        Peer(link.link).gone()
        link.close()
        other.close()
        self.assertEqual(self.rests(server)["closed"]["insecure"], 1)
        self.assertFalse(os.path.exists(marker))
        self.assertEqual(self.rests(echo)["closed"]["insecure"], 1)

    def test_fault_d10_a_session_cut_at_any_byte_runs_nothing(self):
        server, marker = self.commands()
        line = [b"touch %s\n" % marker.encode()]
        length = self.sends(server, lambda _, data: data, line)
        until(lambda: os.path.exists(marker), "it was not run")
        os.unlink(marker)
        # What is behind the record of the command is its end.
        for cut in [*range(0, length - 60, 37), *range(length - 60, length - 1)]:
            self.is_cut(server, line, cut)
        self.rests(server)
        self.assertFalse(os.path.exists(marker))

    def is_cut(self, server, line, cut):
        raw, link, hello = self.honest(server, line)
        with contextlib.suppress(ssl.SSLError, ConnectionError, BrokenPipeError):
            raw.sendall(hello[:cut])
            if cut > len(hello):
                while True:
                    try:
                        link.tls.do_handshake()
                        break
                    except ssl.SSLWantReadError:
                        link._fill()
                rest = link.outgoing.read() + link.records(line[0])
                raw.sendall(rest[: cut - len(hello)])
            raw.shutdown(socket.SHUT_WR)
            Peer(raw).gone()
        raw.close()


class Bound(Tls):
    """Proofs that fit one session only (fault D7)."""

    def setUp(self):
        super().setUp()
        self.secret_file = os.path.join(self.dir, "secret")
        self.assertEqual(onepoll("secret", self.secret_file).returncode, 0)
        with open(self.secret_file, "rb") as file:
            self.secret = file.read().rstrip(b"\n")

    def relays(self, server):
        """Somebody between: TLS with the client by a certificate of its own, TLS with the server, and what
        comes from one goes to the other."""
        cert, key, fingerprint = tls.certificate(self.dir + "/relay-%d" % len(os.listdir(self.dir)))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        door = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(door.close)

        def pump(source, sink):
            with contextlib.suppress(OSError):
                while data := source.recv(1 << 16):
                    sink.sendall(data)
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

        def serve():
            with contextlib.suppress(OSError):
                raw, _ = door.accept()
                with context.wrap_socket(raw, server_side=True) as client:
                    there = dial(server.at("command")).link
                    with tls.trusting(self.cert).wrap_socket(
                        there, server_hostname="localhost"
                    ) as far:
                        back = threading.Thread(target=pump, args=(far, client))
                        back.start()
                        pump(client, far)
                        back.join(DEADLINE)

        relay = threading.Thread(target=serve, daemon=True)
        relay.start()
        self.addCleanup(relay.join, DEADLINE)
        return "127.0.0.1:%d" % door.getsockname()[1], fingerprint

    def test_fault_d7_a_relay_fails_over_tls(self):
        server, marker = self.commands("framing=json", "secret-file=" + self.secret_file)
        command = ("--secret-file", self.secret_file, "--", "touch " + marker)
        at, theirs = self.relays(server)
        ran = onepoll("exec", at, "--tls", "--fingerprint", theirs, *command)
        self.assertEqual(ran.returncode, 255, ran.stderr)
        self.assertEqual(self.rests(server)["closed"]["wrong_proof"], 1)
        self.assertFalse(os.path.exists(marker))
        at = "%s:%d" % server.at("command")
        ran = onepoll("exec", at, "--tls", "--fingerprint", self.fingerprint, *command)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        self.assertTrue(os.path.exists(marker))

    def proves(self, server, exporter):
        """A client that openssl makes, whose proof covers what openssl says the exporter is."""
        self.needs("openssl")
        at = "%s:%d" % server.at("echo")
        argv = ["openssl", "s_client", "-connect", at, "-CAfile", self.cert, "-nocommands"]
        argv += ["-no_ign_eof", "-keymatexport", EXPORTER, "-keymatexportlen", "32"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        client = subprocess.Popen(argv, **pipes)
        self.addCleanup(client.wait)
        self.addCleanup(client.kill)
        with client.stdin, client.stdout:
            heard, deadline = b"", time.monotonic() + DEADLINE

            def more():
                assert select.select([client.stdout], [], [], left(deadline))[0], heard
                return os.read(client.stdout.fileno(), 1 << 16)

            # The last line before the peer's bytes.
            while not (found := re.search(b"Keying material: ([0-9A-F]{64})\n---\n", heard)):
                heard += more()
            while len(heard) < found.end() + 32:
                heard += more()
            challenge = heard[found.end() : found.end() + 32]
            binding = bytes.fromhex(found[1].decode()) if exporter else b""
            proof = hmac.new(self.secret, challenge + binding, hashlib.sha256).digest()
            client.stdin.write(proof + b"hello")
            client.stdin.flush()
            heard = b""
            while not heard.endswith(b"hello"):
                new = more()
                if not new:
                    return False
                heard += new
        return True

    def test_a_proof_over_the_exporter_is_what_openssl_says_it_is(self):
        secret = "secret-file=" + self.secret_file
        server = self.serves("echo", secret)
        self.assertTrue(self.proves(server, exporter=True))
        self.assertTrue(self.proves(server, exporter=False))
        server = self.serves("echo", secret, "proof=exporter")
        self.assertTrue(self.proves(server, exporter=True))
        self.assertFalse(self.proves(server, exporter=False))


class Memory(Tls):
    def test_a_connection_at_rest_is_small_also_after_it_moved_much(self):
        server = self.serves("echo")
        first = self.peer(server, "echo")
        first.say(bytes(1 << 20)).takes(1 << 20)
        count = 200
        before = server.resident_bytes()
        # One after another, or the allocator's holes are measured: a buffer that grew lies elsewhere.
        for _ in range(count):
            self.peer(server, "echo").say(bytes(1 << 18)).takes(1 << 18)
        each = (server.resident_bytes() - before) / count
        self.assertLess(each, 10 * 1024)

    def test_fault_d19_handshakes_that_do_not_end(self):
        server = self.serves("echo")
        first = self.peer(server, "echo")
        first.say(bytes(1 << 18)).takes(1 << 18)
        before = server.resident_bytes()
        half = []
        for _ in range(511):
            raw = dial(server.at("echo")).link
            self.addCleanup(raw.close)
            context = tls.trusting(self.cert)
            link = tls.Link(raw, context, handshake=False)
            with contextlib.suppress(ssl.SSLWantReadError):
                link.tls.do_handshake()
            hello = link.outgoing.read()
            # A record that never ends, after a handshake that began.
            raw.sendall(hello + bytes([22, 3, 3, 0x3F, 0]) + bytes(8000))
            half.append(raw)
        until(lambda: server.counters()["not_logged_in"] == 511, "they were not let in")
        grown = server.resident_bytes() - before
        self.assertLess(grown, 16 << 20)
        # There is room for one more, and for no second.
        extra = dial(server.at("echo"))
        with dial(server.at("echo")) as peer:
            peer.gone()
        self.assertEqual(server.counters()["refused"]["logins_full"], 1)
        extra.close()
        first.say(b"served").hears(b"served")


if __name__ == "__main__":
    main()
