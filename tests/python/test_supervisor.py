#!/usr/bin/env python3
"""What a supervisor such as systemd sends and is told: sockets by name, sd_notify, the watchdog."""

import contextlib
import os
import signal
import socket
import threading
import time

from harness import DEADLINE, Case, free_port, main, onepoll


class Supervisor:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(DEADLINE)

    def hears(self):
        """The next message."""
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines())

    def hears_but_the_watchdog(self):
        while True:
            message = self.hears()
            if message != {"WATCHDOG": "1"}:
                return message


class Notified(Case):
    def supervisor(self, address):
        supervisor = Supervisor(address)
        self.addCleanup(supervisor.socket.close)
        return supervisor

    def test_it_is_told_of_the_start_a_reload_and_the_end(self):
        path = os.path.join(self.directory(), "notify")
        abstract = "onepoll-test-%d" % os.getpid()
        for address, written in ((path, path), ("\0" + abstract, "@" + abstract)):
            supervisor = self.supervisor(address)
            config = '[[endpoint]]\nservice = "echo"\naddress = "127.0.0.1:0"\n'
            server = self.serve("upper://127.0.0.1:0", config=config, env={"NOTIFY_SOCKET": written})
            self.assertEqual(supervisor.hears(), {"READY": "1", "STATUS": "serving 2 endpoints"})
            for what, status in (
                ("", "serving 1 endpoint"),
                ("echo\n", "serving 1 endpoint; the configuration is wrong, see the log"),
                (config, "serving 2 endpoints"),
            ):
                with open(os.path.join(server.directory, "onepoll.toml"), "w") as file:
                    file.write(what)
                before = time.monotonic_ns() // 1000
                os.kill(server.pid, signal.SIGHUP)
                told = supervisor.hears()
                at = int(told.pop("MONOTONIC_USEC"))
                self.assertTrue(before <= at <= time.monotonic_ns() // 1000)
                self.assertEqual(told, {"RELOADING": "1", "STATUS": "reading the configuration"})
                self.assertEqual(supervisor.hears(), {"READY": "1", "STATUS": status})
            server.terminate()
            self.assertEqual(
                supervisor.hears(), {"STOPPING": "1", "STATUS": "letting connections finish"}
            )
            server.ends(0)

    def test_the_watchdog_hears_that_the_loop_turns_and_not_that_it_stands(self):
        path = os.path.join(self.directory(), "notify")
        supervisor = self.supervisor(path)
        env = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"}
        server = self.serve("echo://127.0.0.1:0", env=env)
        supervisor.hears()
        began = time.monotonic()
        for _ in range(5):
            self.assertEqual(supervisor.hears(), {"WATCHDOG": "1"})
        # Every 100 ms, half of what was asked for; late on a busy machine.
        self.assertGreater(time.monotonic() - began, 0.35)
        with server.suspended():
            supervisor.socket.settimeout(0.05)
            with self.assertRaises(TimeoutError):
                while True:
                    supervisor.hears()
            supervisor.socket.settimeout(0.5)
            with self.assertRaises(TimeoutError):
                supervisor.hears()
        supervisor.socket.settimeout(DEADLINE)
        self.assertEqual(supervisor.hears(), {"WATCHDOG": "1"})
        server.terminate()
        self.assertEqual(supervisor.hears_but_the_watchdog()["STOPPING"], "1")
        server.ends(0)

    def test_a_watchdog_of_another_process_is_none_of_ours(self):
        path = os.path.join(self.directory(), "notify")
        supervisor = self.supervisor(path)
        env = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}
        server = self.serve("echo://127.0.0.1:0", env=env)
        self.assertEqual(supervisor.hears()["READY"], "1")
        supervisor.socket.settimeout(0.3)
        with self.assertRaises(TimeoutError):
            supervisor.hears()
        server.drain()

    def test_a_supervisor_that_is_not_there_is_no_reason_not_to_serve(self):
        for address, why in (
            (os.path.join(self.directory(), "nobody"), "could not tell the supervisor"),
            ("vsock:2:1234", "cannot reach the supervisor"),
            ("relative", "cannot reach the supervisor"),
        ):
            server = self.serve("echo://127.0.0.1:0", env={"NOTIFY_SOCKET": address})
            server.waits_for(lambda line: why in line)
            self.dial(server.at("echo")).say(b"x").hears(b"x").close()
            server.drain()

    def test_commands_and_helpers_do_not_speak_in_our_name(self):
        path = os.path.join(self.directory(), "notify")
        supervisor = self.supervisor(path)
        sock = os.path.join(self.directory(), "c.sock")
        env = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "3600000000", "LISTEN_FDNAMES": "x"}
        server = self.serve("command+unix://%s?framing=raw" % sock, env=env)
        supervisor.hears()
        peer = self.dial(sock).say(b"env | grep -c -e NOTIFY -e WATCHDOG -e LISTEN\n")
        peer.hears(b"0\n").close()
        server.drain()


class Activated(Case):
    """Sockets that somebody else opened, by `systemd-socket-activate`."""

    def activated(self, sockets, names, *urls, datagram=False, config=None):
        self.needs("systemd-socket-activate")
        through = ["systemd-socket-activate", *(["-d"] if datagram else [])]
        for address in sockets:
            through += ["-l", address]
        if names:
            through += ["--fdname=%s" % ":".join(names)]
        for name in ("XDG_RUNTIME_DIR", "RUST_BACKTRACE"):
            through += ["-E", name]
        # It starts the server when something comes.
        kind = socket.SOCK_DGRAM if datagram else socket.SOCK_STREAM
        wakes = socket.socket(socket.AF_UNIX if "/" in sockets[0] else socket.AF_INET, kind)
        self.addCleanup(wakes.close)

        def connect():
            until = time.monotonic() + DEADLINE
            host, _, port = sockets[0].rpartition(":")
            address = sockets[0] if "/" in sockets[0] else (host, int(port))
            while True:
                try:
                    wakes.connect(address)
                    if datagram:
                        wakes.send(b"wake up")
                        # Refused for as long as nobody has the port.
                        wakes.send(b"wake up")
                    return
                except OSError:
                    assert time.monotonic() < until, "nobody listens at %r" % (address,)
                    threading.Event().wait(0.01)

        caller = threading.Thread(target=connect, daemon=True)
        caller.start()
        server = self.serve(*urls, through=through, config=config)
        caller.join(DEADLINE)
        return server, wakes

    def ports(self, count):
        """Ports that nobody has, and that the kernel gives to nobody who asks for any."""
        with contextlib.ExitStack() as held:
            ports = []
            for _ in range(count):
                ports.append(free_port())
                held.enter_context(socket.create_server(("127.0.0.1", ports[-1])))
        return ports

    def test_an_endpoint_takes_the_sockets_that_have_its_name(self):
        web, api, more = self.ports(3)
        at = ["127.0.0.1:%d" % port for port in (web, api, more)]
        server, first = self.activated(
            at, ["web", "api", "web"], "echo+fd://web?max-connections=9", "upper+fd://api"
        )
        first.settimeout(DEADLINE)
        first.sendall(b"x")
        self.assertEqual(first.recv(9), b"x")
        self.dial(("127.0.0.1", more)).say(b"a\n").hears(b"a\n").close()
        upper = self.dial(("127.0.0.1", api)).say(b"a\n").hears(b"A\n")
        # They do not block, whatever they were.
        for fd in (3, 4, 5):
            with open("/proc/%d/fdinfo/%d" % (server.pid, fd)) as file:
                flags = next(line for line in file if line.startswith("flags:"))
            self.assertTrue(int(flags.split()[1], 8) & os.O_NONBLOCK)
        # A reload finds them again.
        os.kill(server.pid, signal.SIGHUP)
        server.waits_for(lambda line: "reloaded the configuration opened=0 changed=0 vanished=0" in line)
        upper.say(b"b\n").hears(b"B\n")
        self.dial(("127.0.0.1", more)).say(b"a\n").hears(b"a\n").close()
        first.close()
        server.stop()

    def test_an_endpoint_with_an_address_takes_the_socket_that_is_bound_there(self):
        one, other, spare = self.ports(3)
        path = os.path.join(self.directory(), "e.sock")
        at = ["127.0.0.1:%d" % one, "127.0.0.1:%d" % other, path, "127.0.0.1:%d" % spare]
        server, first = self.activated(
            at, ["one", "other", "file", "spare"],
            "echo://127.0.0.1:%d" % one, "upper://127.0.0.1:%d" % other, "echo+unix://" + path,
        )
        server.waits_for(lambda line: 'a descriptor named "spare" was handed over, and no endpoint' in line)
        self.dial(("127.0.0.1", other)).say(b"a\n").hears(b"A\n").close()
        self.dial(path).say(b"a\n").hears(b"a\n").close()
        first.close()
        server.drain()
        self.assertTrue(os.path.exists(path), "the file is its maker's")

    def test_datagram_sockets_too(self):
        [port] = self.ports(1)
        server, peer = self.activated(["127.0.0.1:%d" % port], ["dns"], "upper+fd://dns", datagram=True)
        peer.settimeout(DEADLINE)
        self.assertEqual(peer.recv(99), b"WAKE UP")
        peer.close()
        server.drain()

    def test_what_is_not_there_is_said(self):
        for environment, why in (
            ({}, "no descriptor is named `web`: LISTEN_FDS is not set"),
            ({"LISTEN_PID": "1", "LISTEN_FDS": "1"}, "LISTEN_FDS is for process 1, and this is process "),
        ):
            done = onepoll("check", "echo+fd://web", env=environment)
            self.assertEqual(done.returncode, 1)
            self.assertIn(why, done.stderr)
        [port] = self.ports(1)
        with self.assertRaisesRegex(AssertionError, "those that were handed over: wed"):
            self.activated(["127.0.0.1:%d" % port], ["wed"], "echo+fd://web")


if __name__ == "__main__":
    main()
