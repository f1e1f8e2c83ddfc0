"""A1 to A3 and faults D1 to D20: a secret in front of every service, as a client sees it that knows
nothing of ours but the bytes of the wire.

Right, wrong, missing, short, split, glued and late proofs, with SHA-256 and MD5, over TCP and Unix
sockets; what is refused at start; the limits on those who have not logged in.
"""

import concurrent.futures
import hashlib
import hmac
import os
import pwd
import shutil
import socket
import stat
import struct
import subprocess
import threading
import time

import harness
from harness import BINARY, Case, Shared, everywhere, left, main, onepoll

SECRET = b"a secret of thirty-two characters"
PREVIOUS = b"the one that it was before today."
PROOF_BYTES = {"sha256": 32, "md5": 16}

# Behind something else, these are the same questions asked twice.
harness.guarded = lambda url: url


def secret_file(directory, content=SECRET + b"\n", mode=0o600, name="secret"):
    path = os.path.join(directory, name)
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, mode)
    return path


def proof(challenge, secret=SECRET, digest="sha256"):
    return hmac.new(secret, challenge, digest).digest()


class Proofs(Shared):
    """One server for all: every service, and echo with each digest."""

    @classmethod
    def setUpClass(cls):
        cls.files = harness.tempfile.mkdtemp(prefix="onepoll-")
        cls.addClassCleanup(shutil.rmtree, cls.files, ignore_errors=True)
        asks = "secret-file=" + secret_file(cls.files)
        previous = "secret-file=" + secret_file(cls.files, PREVIOUS, name="previous")
        cls.endpoints = {
            "echo": "echo?" + asks,
            "md5": "echo?%s&digest=md5" % asks,
            "both": "echo?%s&%s" % (previous, asks),
            "discard": "discard?" + asks,
            "upper": "upper?" + asks,
            "once": "upper?once=true&" + asks,
            "greeting": "greeting?greeting=hello&greeting=again&" + asks,
            "reply": "greeting?reply=hi&settle=never&" + asks,
            "chat": "chat?" + asks,
            "command": "command?framing=i32&" + asks,
            "raw": "command?framing=raw&" + asks,
            "daytime": "daytime?" + asks,
            "time868": "time868?" + asks,
            "chargen": "chargen?" + asks,
            "time": "time?" + asks,
            "metrics": "metrics?" + asks,
        }
        super().setUpClass()

    def asked(self, dial):
        """A connection, and its challenge, with which nothing else came."""
        peer = dial()
        return peer, peer.takes(32)

    @everywhere("echo")
    def test_a2_the_right_proof_and_then_the_service(self, dial):
        peer, challenge = self.asked(dial)
        peer.say(proof(challenge)).silence(0.02)
        peer.say(b"hello").hears(b"hello").half_close().ended()

    @everywhere("md5")
    def test_fault_d17_md5_where_it_is_asked_for(self, dial):
        peer, challenge = self.asked(dial)
        peer.say(proof(challenge, digest="md5") + b"glued").hears(b"glued")
        # 32 bytes of the other digest are a wrong proof and more.
        peer, challenge = self.asked(dial)
        peer.say(proof(challenge)).ended()

    @everywhere("echo")
    def test_fault_d17_the_shorter_digest_is_half_a_proof(self, dial):
        peer, challenge = self.asked(dial)
        peer.say(proof(challenge, digest="md5")).silence()
        peer.say(bytes(16)).ended()

    @everywhere("echo")
    def test_a2_a_request_glued_to_the_proof_is_served_whatever_its_size(self, dial):
        for size in (1, 32, 4096, 65536, 300_000):
            text = os.urandom(size)
            peer, challenge = self.asked(dial)
            peer.say(proof(challenge) + text).hears(text).half_close().ended()

    @everywhere("echo")
    def test_fault_d2_split_anywhere_and_byte_by_byte(self, dial):
        for cut in range(33):
            peer, challenge = self.asked(dial)
            whole = proof(challenge) + b"text"
            peer.say(whole[:cut]).say(whole[cut:]).hears(b"text")
        peer, challenge = self.asked(dial)
        peer.drip(proof(challenge) + b"text").hears(b"text")

    @everywhere("echo")
    def test_a2_a_proof_with_a_half_close(self, dial):
        peer, challenge = self.asked(dial)
        peer.say(proof(challenge) + b"last words").half_close().hears(b"last words").ended()
        peer, challenge = self.asked(dial)
        peer.say(proof(challenge)).half_close().ended()

    @everywhere("echo")
    def test_fault_d1_a_wrong_proof_is_closed_with_nothing_sent(self, dial):
        for wrong in (0, 15, 31):
            peer, challenge = self.asked(dial)
            bad = bytearray(proof(challenge))
            bad[wrong] ^= 1
            peer.say(bytes(bad)).ended()
        peer, challenge = self.asked(dial)
        peer.say(proof(challenge, secret=b"another secret, of another server")).ended()
        # With a request behind it, which is not answered.
        peer, challenge = self.asked(dial)
        peer.say(bytes(32) + b"a request" * 1000).ended()

    @everywhere("echo")
    def test_a2_too_short_a_proof_and_the_end(self, dial):
        for size in (0, 1, 16, 31):
            peer, challenge = self.asked(dial)
            peer.say(proof(challenge)[:size]).half_close().ended()

    @everywhere("echo")
    def test_fault_d4_a_recorded_proof_is_worth_nothing(self, dial):
        peer, challenge = self.asked(dial)
        recorded = proof(challenge)
        peer.say(recorded + b"x").hears(b"x")
        for _ in range(3):
            peer, _ = self.asked(dial)
            peer.say(recorded).ended()

    @everywhere("echo")
    def test_fault_d6_d13_a_challenge_of_the_client_is_not_answered(self, dial):
        peer, challenge = self.asked(dial)
        peer.say(challenge).ended()
        peer, _ = self.asked(dial)
        peer.say(os.urandom(32)).ended()

    @everywhere("echo")
    def test_a1_no_challenge_comes_twice(self, dial):
        seen = set()
        for _ in range(200):
            with dial() as peer:
                seen.add(peer.takes(32))
        self.assertEqual(len(seen), 200)
        self.assertNotIn(bytes(32), seen)

    @everywhere("both")
    def test_fault_d18_each_of_two_secrets_is_accepted(self, dial):
        for secret in (SECRET, PREVIOUS):
            peer, challenge = self.asked(dial)
            peer.say(proof(challenge, secret) + b"x").hears(b"x")
        peer, challenge = self.asked(dial)
        peer.say(proof(challenge, b"and a third that is none of both")).ended()

    SERVED = {
        "discard": (b"anything", b""),
        "upper": (b"hello\n", b"HELLO\n"),
        "once": (b"hello\n", b"HELLO\n"),
        "greeting": (b"", b"helloagain"),
        "reply": (b"anybody?\n", b"hi"),
        "chat": (b"/nick ann\n/quit\n", b"you are now ann"),
        "command": (b"printf abc\n", struct.pack("<i", 3) + b"abc"),
        "raw": (b"printf abc\n", b"abc"),
        "daytime": (b"", b"\r\n"),
        "time868": (b"", b""),
        "time": (b"%%\n", b"%\n"),
        "metrics": (b"GET /healthz HTTP/1.0\r\n\r\n", b"200 OK"),
    }

    def test_fault_d12_every_service_is_served_behind_it_and_none_before(self):
        for name, (request, answer) in self.SERVED.items():
            for place in ("tcp4", "unix"):
                with self.subTest(name=name, place=place):
                    dial = lambda: self.dial(self.addresses[name, place])
                    # Everything but the last byte of a proof: nothing comes, whatever the service.
                    peer, challenge = self.asked(dial)
                    peer.say(proof(challenge)[:31]).silence(0.02)
                    # A wrong last byte, with a request.
                    wrong = proof(challenge)[31] ^ 1
                    peer.say(bytes([wrong]) + request).ended()
                    # The right one, in one piece with the request.
                    peer, challenge = self.asked(dial)
                    peer.say(proof(challenge) + request).half_close()
                    self.assertIn(answer, peer.rest())

    def test_fault_d12_a_producer_says_nothing_before(self):
        peer, challenge = self.asked(lambda: self.call("chargen"))
        peer.silence(0.1)
        peer.say(proof(challenge)).hears(harness.CHARACTERS[:200])
        peer.reset()

    def test_fault_d20_a_reset_after_the_proof_leaves_no_member_behind(self):
        watcher, challenge = self.asked(lambda: self.call("chat"))
        watcher.say(proof(challenge) + b"/nick ann\n")
        while b"you are now ann" not in watcher.line():
            pass
        for _ in range(20):
            peer, challenge = self.asked(lambda: self.call("chat"))
            peer.say(proof(challenge))
            peer.reset()
        members = set()
        with self.asked(lambda: self.call("chat"))[0] as never_in:
            never_in.say(b"half a proof")
            watcher.say(b"/who\n")
            until = time.monotonic() + harness.DEADLINE
            while left(until):
                line = watcher.line().decode()
                words = line.split()
                if line.endswith(" joined"):
                    members.add(words[1])
                elif line.endswith(" left"):
                    members.discard(words[1])
                elif "ann" in line:
                    break
        # Who is still announced then leaves in a moment.
        while members:
            line = watcher.line().decode()
            if line.endswith(" left"):
                members.discard(line.split()[1])

    def test_threat_model_a_web_page_runs_nothing(self):
        peer, _ = self.asked(lambda: self.call("command"))
        peer.say(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 20\r\n\r\necho hello; echo you\n")
        peer.ended()


class Limits(Case):
    def start(self, options="", config=None):
        path = secret_file(self.directory())
        return self.serve("echo://127.0.0.1:0?secret-file=%s%s" % (path, options), config=config)

    def log_in(self, at):
        peer = self.dial(at)
        peer.say(proof(peer.takes(32)) + b"in").hears(b"in")
        return peer

    def test_fault_d3_the_deadline_counts_from_accept_and_no_byte_puts_it_off(self):
        server = self.start(config='[limits]\nlogin-timeout = "400ms"\n')
        at = server.at("echo")
        admitted = self.log_in(at)
        began = time.monotonic()
        silent, busy, late = self.dial(at), self.dial(at), self.dial(at)
        challenges = [peer.takes(32) for peer in (silent, busy, late)]

        def drip():
            pause = threading.Event()
            for byte in proof(challenges[1])[:31]:
                try:
                    busy.link.send(bytes([byte]))
                except OSError:
                    return
                pause.wait(0.05)

        threading.Thread(target=drip, daemon=True).start()
        silent.ended()
        self.assertGreater(time.monotonic() - began, 0.39)
        busy.gone()
        self.assertLess(time.monotonic() - began, 1.5)
        # The right proof, but too late: the end has come already.
        with self.assertRaises((BrokenPipeError, ConnectionResetError, AssertionError)):
            late.say(proof(challenges[2])).say(b"text").hears(b"text")
        admitted.say(b"still here").hears(b"still here")
        counters = server.counters()
        self.assertEqual(counters["closed"]["login_timeout"], 3)
        self.assertEqual((counters["not_logged_in"], counters["logged_in"]), (0, 1))

    def test_fault_d3_only_so_many_may_be_there_that_have_not_logged_in(self):
        server = self.start(config="[limits]\nnot-logged-in = 8\n")
        at = server.at("echo")
        admitted = [self.log_in(at) for _ in range(20)]
        silent = [self.dial(at) for _ in range(8)]
        challenges = [peer.takes(32) for peer in silent]
        for _ in range(5):
            self.dial(at).ended()  # not a byte, which would be taken for a challenge
        self.assertEqual(server.counters()["refused"]["logins_full"], 5)
        # One that logs in makes room, as does one that goes away.
        silent[0].say(proof(challenges[0]) + b"in").hears(b"in")
        self.log_in(at)
        silent[1].reset()
        until = time.monotonic() + harness.DEADLINE
        while server.counters()["not_logged_in"] > 6:
            assert left(until)
        self.log_in(at)
        for peer in admitted:
            peer.say(b"still here").hears(b"still here")

    def test_a1_nothing_is_said_to_a_connection_that_is_refused(self):
        path = secret_file(self.directory())
        for service in ("chat", "command?framing=raw", "metrics"):
            service, _, options = service.partition("?")
            asks = "&".join(filter(None, [options, "max-connections=1", "secret-file=" + path]))
            server = self.serve("%s://127.0.0.1:0?%s" % (service, asks))
            at = server.at(service)
            with self.dial(at) as first:
                first.takes(32)
                self.dial(at).ended()
            self.assertEqual(server.counters()["refused"]["listener_full"], 1)
            server.stop()

    def test_fault_d19_memory_before_login(self):
        server = self.start()
        at = server.at("echo")
        self.log_in(at).close()
        server.rests()
        before = server.resident_bytes()
        peers = [self.dial(at) for _ in range(512)]
        for peer in peers:
            peer.takes(32)
            peer.say(bytes(31))
        while server.counters()["bytes_in"] < 512 * 31:
            pass
        self.assertLess(server.resident_bytes() - before, 4 << 20)
        self.assertEqual(server.counters()["not_logged_in"], 512)

    def test_h1_a_drain_does_not_wait_for_those_that_have_not_logged_in(self):
        server = self.start()
        waits = self.dial(server.at("echo"))
        waits.takes(32)
        server.terminate()
        waits.gone()
        server.ends()

    def test_fault_c11_a_secret_is_nowhere_to_be_seen(self):
        server = self.start()
        at = server.at("echo")
        peer = self.dial(at)
        answer = proof(peer.takes(32))
        peer.say(answer + b"x").hears(b"x")
        self.dial(at).say(bytes(32)).gone()
        said = ["\n".join(server.lines).encode()]
        for name in ("cmdline", "environ"):
            with open("/proc/%d/%s" % (server.pid, name), "rb") as file:
                said.append(file.read())
        for text in said:
            for part in (SECRET, SECRET.hex().encode(), answer, answer.hex().encode()):
                self.assertNotIn(part, text)


class Start(Case):
    """What `serve` refuses, before anything listens; `check` says the same."""

    def refuses(self, path, *pieces, **how):
        for command in ("serve", "check"):
            done = onepoll(command, "echo://127.0.0.1:0?secret-file=" + path, **how)
            self.assertEqual(done.returncode, 2, done.stderr)
            for piece in pieces:
                self.assertIn(piece, done.stderr)

    def test_fault_d15_d16_a_weak_or_empty_one(self):
        for content in (b"", b"\n", b"fifteen bytes..", b"fifteen bytes..\n", bytes(5000)):
            path = secret_file(self.directory(), content)
            self.refuses(path, path, "a secret has 16 to 4096 bytes", "onepoll secret")
        for content in (b"sixteen bytes...", b"sixteen bytes...\n", bytes(4096)):
            path = secret_file(self.directory(), content)
            done = onepoll("check", "echo://127.0.0.1:0?secret-file=" + path)
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_fault_d16_one_that_others_may_read_with_the_chmod_that_mends_it(self):
        for mode in (0o644, 0o640, 0o604, 0o620, 0o666, 0o611):
            path = secret_file(self.directory(), mode=mode)
            self.refuses(path, "mode %04o" % mode, "chmod 600 " + path)
            subprocess.run(["chmod", "600", path], check=True)
            done = onepoll("check", "echo://127.0.0.1:0?secret-file=" + path)
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_fault_d16_one_that_is_not_there_or_not_readable(self):
        directory = self.directory()
        path = os.path.join(directory, "none")
        self.refuses(path, "No such file", "`onepoll secret %s` makes one" % path)
        os.chmod(directory, 0o700)
        self.refuses(directory, directory)

    def test_fault_d16_one_that_this_user_cannot_read(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, to be another user")
        nobody = pwd.getpwnam("nobody")
        directory = self.directory()
        os.chmod(directory, 0o755)
        # A copy that `nobody` can reach, wherever the other one is.
        program = os.path.join(directory, "onepoll")
        shutil.copy(BINARY, program)
        os.chmod(program, 0o755)
        path = secret_file(directory)
        asks = "echo://127.0.0.1:0?secret-file=" + path
        as_nobody = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        for command in ("serve", "check"):
            done = subprocess.run(
                [program, command, asks],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=harness.DEADLINE,
                env={"PATH": "/usr/bin:/bin"},
                cwd="/",
                **as_nobody,
            )
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn("%s cannot be read: Permission denied" % path, done.stderr)
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
        done = subprocess.run(
            [program, "check", asks],
            capture_output=True,
            text=True,
            timeout=harness.DEADLINE,
            cwd="/",
            **as_nobody,
        )
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_secret_makes_one_that_works_and_never_overwrites(self):
        path = os.path.join(self.directory(), "made")
        self.assertEqual(onepoll("secret", path).returncode, 0)
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        with open(path, "rb") as file:
            content = file.read()
        self.assertRegex(content, rb"\A[0-9a-f]{64}\n\Z")
        again = onepoll("secret", path)
        self.assertEqual(again.returncode, 1)
        self.assertIn("is there already", again.stderr)
        with open(path, "rb") as file:
            self.assertEqual(file.read(), content)
        server = self.serve("echo://127.0.0.1:0?secret-file=" + path)
        peer = self.dial(server.at("echo"))
        peer.say(proof(peer.takes(32), content[:-1]) + b"x").hears(b"x")

    def test_threat_model_where_a_secret_lets_an_endpoint_listen(self):
        path = secret_file(self.directory())
        asks = "?secret-file=" + path
        for url in ("echo://0.0.0.0:0", "chat://0.0.0.0:0", "command://127.0.0.1:0"):
            self.assertEqual(onepoll("check", url).returncode, 2)
            self.assertEqual(onepoll("check", url + asks).returncode, 0)
        told = onepoll("check", "command://0.0.0.0:8080" + asks)
        self.assertEqual(told.returncode, 2)
        for piece in ("tls=true", "ssh -N -L 8080:127.0.0.1:8080"):
            self.assertIn(piece, told.stderr)


class Clients(Case):
    def test_exec_proves_itself_and_gives_nothing_away(self):
        path = secret_file(self.directory())
        other = secret_file(self.directory(), b"another secret, of another server")
        for digest in ("sha256", "md5"):
            asks = "secret-file=%s&digest=%s" % (path, digest)
            server = self.serve("command://127.0.0.1:0?" + asks)
            at = "%s:%d" % server.at("command")
            answers = ["--digest", digest]
            run = lambda *arguments, **how: onepoll(
                "exec", at, "--timeout", "5s", *answers, *arguments, "--", "echo out; exit 3", **how
            )
            done = run("--secret-file", path)
            self.assertEqual((done.returncode, done.stdout), (3, "out\n"), done.stderr)
            done = run(env={"ONEPOLL_SECRET_FILE": path})
            self.assertEqual((done.returncode, done.stdout), (3, "out\n"), done.stderr)
            done = run("--secret-file", other)
            self.assertEqual((done.returncode, done.stdout), (255, ""))
            self.assertIn("to a wrong proof a server says nothing", done.stderr)
            server.stop()

    def test_exec_without_a_secret_says_what_is_missing(self):
        server = self.serve("command://127.0.0.1:0?secret-file=" + secret_file(self.directory()))
        at = "%s:%d" % server.at("command")
        done = onepoll("exec", at, "--timeout", "1s", "--", "a command of more than thirty-two bytes")
        self.assertEqual((done.returncode, done.stdout), (255, ""))
        self.assertIn("--secret-file", done.stderr)

    def answered(self, first, *arguments):
        """What a server that sends `first` gets from `exec`, and how `exec` ends."""
        path = secret_file(self.directory())
        with socket.create_server(("127.0.0.1", 0)) as door:
            door.settimeout(harness.DEADLINE)
            client = subprocess.Popen(
                [BINARY, "exec", "127.0.0.1:%d" % door.getsockname()[1], "--secret-file", path]
                + ["--timeout", "500ms", *arguments, "--", "true"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            link, _ = door.accept()
            with link:
                link.settimeout(harness.DEADLINE)
                link.sendall(first)
                heard = b""
                while True:
                    more = link.recv(4096)
                    if not more:
                        break
                    heard += more
            _, said = client.communicate(timeout=harness.DEADLINE)
        return heard, client.returncode, said

    def test_fault_d6_a_client_answers_one_challenge_and_nothing_else(self):
        challenge = os.urandom(32)
        # The second comes with the first: something else than a challenge, and no answer at all.
        two = challenge + os.urandom(32)
        short = (b"", b"hello\n", challenge[:31], challenge + b"!")
        # Beside each other: each client waits until its time is up.
        with concurrent.futures.ThreadPoolExecutor(len(short) + 2) as at_once:
            answers = list(at_once.map(self.answered, (two, *short, challenge)))
        heard, code, said = answers[0]
        self.assertEqual((heard, code), (b"", 255), said)
        for heard, code, said in answers[1:-1]:
            self.assertEqual((heard, code), (b"", 255), said)
            self.assertIn("sent no challenge of 32 bytes", said)
        heard, code, said = answers[-1]
        self.assertEqual(heard[:32], proof(challenge))
        self.assertNotEqual(code, 0)


if __name__ == "__main__":
    main()
