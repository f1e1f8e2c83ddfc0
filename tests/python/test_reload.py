#!/usr/bin/env python3
"""SIGHUP: the configuration is read again, and nobody who is connected is lost (fault H3).

`ONEPOLL_RELOADS=10000 python3 tests/python/test_reload.py Leaks` reloads as often as the fault says.
"""

import hmac
import os
import signal
import socket
import ssl
import stat
import subprocess
import tempfile
import threading
import time

from harness import DEADLINE, Case, LISTENING, address_of, dial, left, main

RELOADS = int(os.environ.get("ONEPOLL_RELOADS", "200"))
"""How often the configuration is read again where something might leak."""


def table(service, address="127.0.0.1:0", **options):
    """An endpoint, as the file has it."""
    lines = ["[[endpoint]]", 'service = "%s"' % service, 'address = "%s"' % address]
    for name, value in options.items():
        name = name.replace("_", "-")
        if isinstance(value, bool):
            value = str(value).lower()
        elif isinstance(value, list):
            value = "[%s]" % ", ".join('"%s"' % item for item in value)
        elif not isinstance(value, int):
            value = '"%s"' % value
        lines.append("%s = %s" % (name, value))
    return "\n".join(lines) + "\n\n"


def limits(**options):
    return "[limits]\n" + "".join(
        '%s = "%s"\n' % (name.replace("_", "-"), value) for name, value in options.items()
    )


class Reload(Case):
    """What tests of a reload have in common."""

    def asks(self, server, config, said):
        """Writes the file and sends SIGHUP; the first line that says what came of it."""
        before = server.reload(config)
        return server.waits_for(lambda line: said in line, after=before), before

    def reloads(self, server, config):
        """It takes effect; returns the addresses of the endpoints that were opened."""
        line, before = self.asks(server, config, "reloaded the configuration")
        opened = [LISTENING.match(said) for said in server.lines[before:]]
        self.counts = {
            name: int(count) for name, count in (p.split("=") for p in line.split() if "=" in p)
        }
        return [address_of(found) for found in opened if found]

    def stays(self, server, config):
        """It does not; returns why."""
        line, _ = self.asks(server, config, "not reloaded")
        return line.split("stays as it was: ")[1]

    def refuses(self, address):
        """Nobody listens there any more."""
        until = time.monotonic() + DEADLINE
        while left(until):
            try:
                dial(address).close()
            except (ConnectionRefusedError, FileNotFoundError):
                return
            threading.Event().wait(0.002)  # the queue is emptied first
        self.fail("somebody listens at %r still" % (address,))


class Changes(Reload):
    def test_fault_h3_what_is_wrong_changes_nothing_and_is_said_with_line_and_column(self):
        echo, chat = table("echo"), table("chat")
        server = self.serve(config=echo + chat)
        at = server.at("echo")
        member = self.dial(server.at("chat"))
        member.line()
        path = os.path.join(server.directory, "onepoll.toml")
        for config, why in (
            (echo + table("ecko"), "%s, line 6, column 1: there is no service `ecko`, perhaps" % path),
            (echo + "open = maybe", "%s, line 5, column 8: " % path),
            (limits(frame="0") + echo, "%s, line 2, column 1: limit `frame`: 0" % path),
            (echo + "[limit]\n", "%s, line 5, column 2: a configuration has no table `limit`" % path),
            (echo + table("upper", onec=True), "%s, line 8, column 1: `upper` has no option" % path),
            (table("echo", "0.0.0.0:0"), "0.0.0.0 is not a loopback address"),
            (table("echo", "no.such.host.invalid:1"), "cannot be resolved"),
            (table("echo", "192.0.2.1:1", open=True), "no interface of this machine has it"),
            (limits(connections=1 << 31) + echo, "connections"),
            (table("chat", max_connections=1 << 31), "max-connections"),
        ):
            self.assertIn(why, self.stays(server, config))
            self.dial(at).say(b"x").hears(b"x").close()
            member.say(b"/who\n").hears(b"* in lobby: guest-1\n")
        os.remove(path)
        os.kill(server.pid, signal.SIGHUP)
        server.waits_for(lambda line: "No such file" in line and "not reloaded" in line)
        self.reloads(server, echo + chat)
        self.assertEqual(self.counts, {"opened": 0, "changed": 0, "vanished": 0})
        member.close()
        server.rests()
        server.stop()

    def test_who_is_connected_keeps_what_it_has_and_who_comes_gets_what_is_new(self):
        server = self.serve(config=table("greeting", greeting="one", wait=True))
        at = server.at("greeting")
        first = self.dial(at).hears(b"one")
        self.assertEqual(self.reloads(server, table("greeting", at_text(at), greeting="two", wait=True)), [])
        second = self.dial(at).hears(b"two")
        self.assertEqual(self.reloads(server, table("upper", at_text(at))), [])
        third = self.dial(at).say(b"x\n").hears(b"X\n")
        for peer in (first, second):
            peer.silence().say(b"bye").ended()
        third.say(b"y\n").hears(b"Y\n").close()
        server.rests()
        server.stop()

    def test_endpoints_appear_and_those_that_vanish_let_their_connections_go_on(self):
        echo = table("echo")
        server = self.serve(config=echo)
        stays = self.dial(server.at("echo")).say(b"x").hears(b"x")
        upper, path = table("upper"), os.path.join(server.directory, "u.sock")
        [at, unix] = self.reloads(server, echo + upper + table("chat+unix", path))
        self.assertEqual((unix, self.counts["opened"]), (path, 2))
        peer = self.dial(at).say(b"x\n").hears(b"X\n")
        member = self.dial(path)
        member.line()
        self.reloads(server, echo)
        self.assertEqual(self.counts, {"opened": 0, "changed": 0, "vanished": 2})
        self.refuses(at)
        self.refuses(path)
        self.assertFalse(os.path.exists(path))
        peer.say(b"y\n").hears(b"Y\n").close()
        member.say(b"/who\n").hears(b"* in lobby: guest-1\n").close()
        stays.say(b"y").hears(b"y").close()
        server.descriptors = server.descriptors_now()
        server.stop()

    def test_those_who_wait_at_an_endpoint_that_vanishes_are_served(self):
        echo, upper = table("echo"), table("upper")
        server = self.serve(config=echo + upper)
        at = server.at("upper")
        # They come while the server stands still, and the reload with them.
        for _ in range(5):
            with server.suspended():
                waiting = [self.dial(at).say(b"x\n") for _ in range(20)]
            self.reloads(server, echo)
            for peer in waiting:
                peer.hears(b"X\n").close()
            [at] = self.reloads(server, echo + upper)
        server.stop()

    def test_a_room_stays_while_the_options_of_the_chat_do(self):
        chat = {"max_connections": 3}
        server = self.serve(config=table("chat", **chat))
        at = server.at("chat")
        ann = self.dial(at)
        ann.say(b"/nick ann\n")
        ann.line(), ann.line()
        for changed in ({"max_connections": 2}, {"max_connections": 2, "idle_timeout": "1h"}):
            self.reloads(server, limits(command_timeout="7s") + table("chat", at_text(at), **changed))
            self.assertEqual(self.counts["changed"], 1)
            bob = self.dial(at)
            self.assertIn(b"2 here", bob.line())
            self.assertIn(b"joined", ann.line())
            bob.say(b"hello\n")
            self.assertIn(b": hello", ann.line())
            # Ann counts, though she came before there was a limit.
            self.dial(at).hears(b"* this endpoint has as many connections as it holds\n").ended()
            bob.close()
            self.assertIn(b"left", ann.line())
        # Other options of its own make another chat, for those who come.
        self.reloads(server, table("chat", at_text(at), history=5))
        self.assertIn(b"1 here", self.dial(at).line())
        ann.say(b"/who\n").hears(b"* in lobby: ann\n").close()
        server.stop()

    def test_endpoints_of_the_command_line_stay(self):
        server = self.serve("upper://127.0.0.1:0", config=table("echo"))
        at = server.at("upper")
        for config in (table("chat"), "", table("echo")):
            self.reloads(server, config)
            self.dial(at).say(b"x\n").hears(b"X\n").close()
        self.refuses(server.at("echo"))
        server.stop()

    def test_the_default_table_and_arguments_are_read_again_too(self):
        server = self.serve("echo://127.0.0.1:0")
        os.kill(server.pid, signal.SIGHUP)
        server.waits_for(lambda line: "reloaded the configuration opened=0 changed=0" in line)
        self.dial(server.at("echo")).say(b"x").hears(b"x").close()
        server.stop()

    def test_limits_hold_for_those_who_come(self):
        echo = table("echo")
        server = self.serve(config=limits(connections=2) + echo)
        at = server.at("echo")
        one, other = (self.dial(at).say(b"x").hears(b"x") for _ in range(2))
        self.dial(at).gone()
        self.reloads(server, limits(connections=3) + echo)
        third = self.dial(at).say(b"x").hears(b"x")
        self.dial(at).gone()
        self.reloads(server, limits(connections=1) + echo)
        for peer in (one, other, third):
            peer.say(b"y").hears(b"y")
        self.dial(at).gone()
        server.stop()

    def test_what_cannot_change_is_named_and_the_rest_changes(self):
        server = self.serve(config=table("echo"))
        at = server.at("echo")
        config = limits(frame="32K", read_per_turn="32K", connections=1) + '[log]\nlevel = "debug"\n'
        self.reloads(server, config + table("echo", at_text(at)))
        for what in ("`[log]`", "limit `frame`", "limit `read-per-turn`"):
            server.waits_for(lambda line: line.endswith(" until the next start") and what in line)
        self.dial(at).say(b"x").hears(b"x")
        self.dial(at).gone()
        server.stop()

    def test_a_port_of_our_own_that_is_in_the_way_is_named(self):
        server = self.serve(config=table("echo"))
        at = server.at("echo")
        config = table("echo", "0.0.0.0:%d" % at[1], open=True)
        self.assertIn("cannot bind 0.0.0.0:%d" % at[1], self.stays(server, config))
        server.waits_for(lambda line: "has that port until it is gone: take it out in one reload" in line)
        self.dial(at).say(b"x").hears(b"x").close()
        server.stop()

    def test_a_port_of_another_process_changes_nothing(self):
        echo, upper = table("echo"), table("upper")
        server = self.serve(config=echo)
        with socket.create_server(("127.0.0.1", 0)) as other:
            taken = "127.0.0.1:%d" % other.getsockname()[1]
            self.assertIn("cannot bind %s" % taken, self.stays(server, upper + table("echo", taken)))
        self.dial(server.at("echo")).say(b"x").hears(b"x").close()
        server.stop()

    def test_a_socket_file_keeps_its_socket_and_gets_its_mode(self):
        path = os.path.join(self.directory(), "e.sock")
        server = self.serve(config=table("echo+unix", path))
        inode = os.stat(path).st_ino
        first = self.dial(path).say(b"x\n").hears(b"x\n")
        self.reloads(server, table("upper+unix", path, mode="0660"))
        found = os.stat(path)
        self.assertEqual((found.st_ino, stat.S_IMODE(found.st_mode)), (inode, 0o660))
        self.dial(path).say(b"x\n").hears(b"X\n").close()
        first.say(b"x\n").hears(b"x\n").close()
        server.stop()
        self.assertFalse(os.path.exists(path))

    def test_datagram_sockets_are_changed_and_closed(self):
        echo = table("echo")
        server = self.serve(config=echo + table("echo+udp"))
        at = server.at("echo", "udp")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.settimeout(DEADLINE)
            peer.connect(at)
            peer.send(b"x")
            self.assertEqual(peer.recv(9), b"x")
            self.assertEqual(self.reloads(server, echo + table("upper+udp", at_text(at))), [])
            peer.send(b"x")
            self.assertEqual(peer.recv(9), b"X")
            self.reloads(server, echo)
            until = time.monotonic() + DEADLINE
            with self.assertRaises(ConnectionRefusedError):
                while left(until):
                    peer.send(b"x")
                    peer.recv(9)
        server.stop()

    def test_sources_change_for_those_who_come(self):
        server = self.serve(config=table("echo"))
        at = server.at("echo")
        stays = self.dial(at).say(b"x").hears(b"x")
        self.reloads(server, table("echo", at_text(at), deny_from=["127.0.0.0/8"]))
        self.dial(at).gone()
        self.reloads(server, table("echo", at_text(at), max_per_source=2))
        second, third = self.dial(at).say(b"x").hears(b"x"), self.dial(at).say(b"x").hears(b"x")
        self.dial(at).gone()
        self.reloads(server, table("echo", at_text(at), deny_from=["192.0.2.1"]))
        for peer in (stays, second, third, self.dial(at)):
            peer.say(b"y").hears(b"y").close()
        server.stop()

    def test_a_certificate_changes_for_those_who_come(self):
        self.needs("openssl")
        home = self.directory()
        cert, key = os.path.join(home, "cert.pem"), os.path.join(home, "key.pem")

        def certificate(name):
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
                + ["-nodes", "-days", "9", "-subj", "/CN=" + name, "-keyout", key, "-out", cert]
                + ["-addext", "subjectAltName=DNS:" + name],
                check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE,
            )
            os.chmod(key, 0o600)

        def name(link):
            der = link.getpeercert(binary_form=True)
            with tempfile.NamedTemporaryFile("w", dir=home) as pem:
                pem.write(ssl.DER_cert_to_PEM_cert(der))
                pem.flush()
                decoded = ssl._ssl._test_decode_cert(pem.name)
            return decoded["subject"][0][0][1]

        def secure():
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            link = context.wrap_socket(socket.create_connection(server.at("echo"), DEADLINE))
            self.addCleanup(link.close)
            return link

        certificate("one")
        config = table("echo", tls=True, cert=cert, key=key)
        server = self.serve(config=config)
        first = secure()
        self.assertEqual(name(first), "one")
        certificate("two")
        self.reloads(server, config)
        self.assertEqual(self.counts["changed"], 1)
        second = secure()
        self.assertEqual(name(second), "two")
        with open(key, "w") as file:
            file.write("no key at all")
        self.assertIn("holds no private key", self.stays(server, config))
        for link in (first, second, secure()):
            link.sendall(b"x")
            self.assertEqual(link.recv(9), b"x")
            link.close()
        server.stop()

    def test_fault_d18_a_secret_is_rotated_and_the_room_stays(self):
        home = self.directory()

        def secret(name, content):
            path = os.path.join(home, name)
            with open(path, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                file.write(content)
            return path

        def proves(content):
            peer = self.dial(server.at("chat"))
            proof = hmac.new(content.encode(), peer.takes(32), "sha256").digest()
            return peer.say(proof)

        old, new = "the old secret, sixteen", "the new secret, sixteen"
        paths = [secret("old", old), secret("new", new)]
        server = self.serve(config=table("chat", secret_file=paths[:1]))
        at = at_text(server.at("chat"))
        ann = proves(old)
        self.assertIn(b"1 here", ann.line())
        proves(new).ended()
        # Both for a while, then the new one alone; and a file whose content changes.
        for files, changed, right, wrong in (
            (paths, None, (old, new), ("neither of the two secrets",)),
            (paths[1:], None, (new,), (old,)),
            (paths[1:], "another secret, sixteen", ("another secret, sixteen",), (new, old)),
        ):
            if changed:
                secret("new", changed)
            # One that was asked before the change answers after it.
            asked = self.dial(server.at("chat"))
            challenge = asked.takes(32)
            self.reloads(server, table("chat", at, secret_file=files))
            self.assertEqual(self.counts["changed"], 1)
            asked.say(hmac.new(right[-1].encode(), challenge, "sha256").digest())
            self.assertIn(b"2 here", asked.line())
            asked.close()
            self.assertIn(b"joined", ann.line())
            self.assertIn(b"left", ann.line())
            for content in right:
                peer = proves(content)
                self.assertIn(b"2 here", peer.line())
                peer.close()
                self.assertIn(b"joined", ann.line())
                self.assertIn(b"left", ann.line())
            for content in wrong:
                proves(content).ended()
        os.chmod(paths[1], 0o644)
        self.assertIn("open to others", self.stays(server, table("chat", at, secret_file=paths[1:])))
        # Without a secret it is another room: nobody in it has proven anything.
        self.reloads(server, table("chat", at))
        self.assertIn(b"1 here", self.dial(server.at("chat")).line())
        ann.say(b"/who\n").hears(b"* in lobby: guest-1\n").close()
        server.stop()

    def test_the_loop_does_not_wait_for_a_file(self):
        server = self.serve(config=table("echo"))
        at = server.at("echo")
        peer = self.dial(at).say(b"x").hears(b"x")
        path = os.path.join(server.directory, "onepoll.toml")
        os.remove(path)
        os.mkfifo(path)
        before = len(server.lines)
        for _ in range(3):
            os.kill(server.pid, signal.SIGHUP)
            peer.say(b"y").hears(b"y")
        self.assertEqual(len(server.children_now()), 1)
        # Two helpers read it: the second, since there were signals while the first did.
        for _ in range(2):
            with open(path, "w") as file:
                file.write(table("echo", at_text(at), max_connections=1))
            server.waits_for(lambda line: "reloaded the configuration" in line, after=before)
            before = len(server.lines)
        self.dial(at).gone()
        self.assertEqual(server.children_now(), [])
        peer.close()
        server.stop()

    def test_the_last_of_many_signals_counts(self):
        server = self.serve(config=table("echo"))
        at = server.at("echo")
        path = os.path.join(server.directory, "onepoll.toml")
        for most in range(1, 60):
            with open(path + ".new", "w") as file:
                file.write(table("echo", at_text(at), max_connections=most))
            os.rename(path + ".new", path)
            os.kill(server.pid, signal.SIGHUP)
        # Twice: when the second comes, the last signal has been heard and acted upon.
        server.counters(), server.counters()
        until = time.monotonic() + DEADLINE
        while server.children_now():
            self.assertTrue(left(until), server.tail())
            threading.Event().wait(0.005)
        server.counters()
        for peer in [self.dial(at) for _ in range(59)]:
            peer.say(b"x").hears(b"x")
        self.dial(at).gone()
        server.stop()

    def test_a_signal_while_the_server_stops_is_ignored(self):
        server = self.serve(config=table("echo"))
        peer = self.dial(server.at("echo")).say(b"x").hears(b"x")
        with server.suspended():
            server.terminate()
            os.kill(server.pid, signal.SIGHUP)
        server.waits_for(lambda line: "SIGHUP was ignored" in line)
        peer.close()
        server.ends(0)


class Leaks(Reload):
    def test_fault_h3_no_descriptor_or_memory_is_left_by_a_reload(self):
        path = os.path.join(self.directory(), "e.sock")
        echo = table("echo")
        other = table("upper+udp") + table("echo+unix", path) + table("chat")
        server = self.serve(config=echo)
        at = server.at("echo")
        echo = table("echo", at_text(at))
        stays = self.dial(at).say(b"x").hears(b"x")
        descriptors = len(server.descriptors_now())
        resident = None
        for n in range(RELOADS):
            [_, unix, chat] = self.reloads(server, echo + other + limits(commands=1 + n % 8))
            guests = [self.dial(unix).say(b"x").hears(b"x"), self.dial(chat)]
            guests[1].line()
            self.reloads(server, table("echo", at_text(at), max_connections=10 + n % 5))
            passes = self.dial(at).say(b"y").hears(b"y")
            for peer in [*guests, passes]:
                peer.close()
            if n == RELOADS // 2:
                resident = server.resident_bytes()
        stays.say(b"y").hears(b"y").close()
        now = server.rests()
        self.assertEqual(len(server.descriptors_now()), descriptors - 1)
        self.assertEqual(now["connections_opened"], 3 * RELOADS + 1)
        self.assertLess(server.resident_bytes() - resident, 4 << 20)
        server.stop()


def at_text(at):
    """An address as the file has it."""
    return at if isinstance(at, str) else "%s:%d" % at


if __name__ == "__main__":
    main()
