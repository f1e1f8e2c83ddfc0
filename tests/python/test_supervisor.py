#!/usr/bin/env python3
"""What a supervisor such as systemd sends and is told: sockets by name, sd_notify, the watchdog."""

import os
import signal
import socket
import time

from harness import DEADLINE, Case, main


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
        server.stop()

    def test_a_supervisor_that_is_not_there_is_no_reason_not_to_serve(self):
        for address, why in (
            (os.path.join(self.directory(), "nobody"), "could not tell the supervisor"),
            ("vsock:2:1234", "cannot reach the supervisor"),
            ("relative", "cannot reach the supervisor"),
        ):
            server = self.serve("echo://127.0.0.1:0", env={"NOTIFY_SOCKET": address})
            server.waits_for(lambda line: why in line)
            self.dial(server.at("echo")).say(b"x").hears(b"x").close()
            server.stop()

    def test_commands_and_helpers_do_not_speak_in_our_name(self):
        path = os.path.join(self.directory(), "notify")
        supervisor = self.supervisor(path)
        sock = os.path.join(self.directory(), "c.sock")
        env = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "3600000000", "LISTEN_FDNAMES": "x"}
        server = self.serve("command+unix://%s?framing=raw" % sock, env=env)
        supervisor.hears()
        peer = self.dial(sock).say(b"env | grep -c -e NOTIFY -e WATCHDOG -e LISTEN\n")
        peer.hears(b"0\n").close()
        server.stop()


if __name__ == "__main__":
    main()
