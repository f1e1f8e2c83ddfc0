#!/usr/bin/env python3
"""`serve --processes N`: a supervisor, and processes that serve the same endpoints beside each other.

Which process has a connection or a datagram is the kernel's choice, by addresses and ports: where a test needs
one in each, it dials until it has (a hundred tries would all go to one of two once in 2**100 runs).
"""

import contextlib
import json
import os
import pwd
import re
import select
import signal
import socket
import subprocess
import threading
import time

from harness import BINARY, DEADLINE, Case, free_port, left, main, onepoll
from test_metrics import get, heard, samples
from test_supervisor import Supervisor

TRIES = 100
TWO = ("--processes", "2")


def processes(server):
    """The processes by their numbers, as the kernel knows them."""
    found = {}
    with open("/proc/%d/task/%d/children" % (server.pid, server.pid)) as file:
        children = file.read().split()
    for pid in children:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            with open("/proc/%s/cmdline" % pid, "rb") as file:
                words = file.read().split(b"\0")
            if words[1:2] == [b"process"]:
                found[int(words[words.index(b"--number") + 1])] = int(pid)
    return found


def until(condition, what):
    """Waits for what no event tells of; `what` is said if it does not come, or says it."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert left(end), what() if callable(what) else what
        threading.Event().wait(0.005)


def is_there(pid):
    """Whether it runs: a process whose parent was killed may stay a zombie where nobody reaps it."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(") ", 1)[1].split()[0] != "Z"
    return False


class Processes(Case):
    def serve_two(self, *urls, arguments=(), **how):
        """A server of two processes, which nobody else's take-over finds."""
        control = os.path.join(self.directory(), "control")
        server = self.serve(*urls, arguments=(*TWO, "--control", control, *arguments), **how)
        server.control = control
        return server

    def page(self, server):
        peer = self.dial(server.at("metrics"))
        status, _, body = heard(peer.say(get()))
        self.assertEqual(status, 200)
        peer.close()
        return samples(body)

    def opened(self, server, place):
        """Connections that each process has let in at this place."""
        of = {}
        for (name, *labels), value in self.page(server).items():
            labels = dict(labels)
            if name == "onepoll_connections_opened_total" and labels["endpoint"].startswith(place):
                of[int(labels["process"])] = of.get(int(labels["process"]), 0) + int(value)
        return of

    def one_in_each(self, server, at, place="echo://", ask=lambda peer: peer.say(b"hello").hears(b"hello")):
        """A connection in each of the two processes, by its number."""
        before, found = self.opened(server, place), {}
        for _ in range(TRIES):
            peer = self.dial(at)
            ask(peer)
            now = self.opened(server, place)
            (process,) = (n for n in now if now[n] != before.get(n, 0))
            before = now
            if process in found:
                peer.close()
            found.setdefault(process, peer)
            if len(found) == 2:
                return found
        self.fail("all connections went to one process")

    def has_no_descriptor_more(self, server):
        """Than when it began: soon, since the supervisor may still hold the file of a page that it passed on, though
        the page has been read."""
        began = sorted(server.descriptors.values())
        until(
            lambda: len(server.descriptors_now()) == len(began),
            lambda: "it began with %r, and has %r" % (began, sorted(server.descriptors_now().values())),
        )

    # ------------------------------------------------------------------------ start

    def test_fault_h6_a_port_that_is_taken_is_refused_though_it_could_be_shared(self):
        with socket.socket() as taken, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            datagrams.bind(("127.0.0.1", 0))
            for url, socket_ in (("echo://", taken), ("echo+udp://", datagrams)):
                url = "%s127.0.0.1:%d" % (url, socket_.getsockname()[1])
                for command in ("serve", "check"):
                    done = onepoll(command, *TWO, "upper://127.0.0.1:0", url)
                    self.assertEqual(done.returncode, 1, done.stderr)
                    self.assertIn("stop what listens there", done.stderr)
        server = self.serve_two("echo://127.0.0.1:0")
        done = onepoll("serve", *TWO, "echo://127.0.0.1:%d" % server.at("echo")[1])
        self.assertEqual(done.returncode, 1)
        self.assertIn("stop what listens there", done.stderr)
        server.stop()

    def test_what_several_cannot_serve_is_refused_with_what_would_be_right(self):
        home = self.directory()
        for url, why in (
            ("chat://127.0.0.1:0", "unless a `[bus]` joins them: each would have rooms of its own"),
            ("talk://127.0.0.1:0?attach=%s/talk.sock" % home, "there is one person behind it"),
            ("ipmsg://127.0.0.1:0", "a host of IPMSG knows who is there"),
            ("file+unix://%s/file.sock?root=%s" % (home, home), "`access=read` may be served by several"),
            (
                "command+unix://%s/tail.sock?run=true&tail=true" % home,
                "its command runs once for all connections",
            ),
        ):
            for command in ("serve", "check"):
                done = onepoll(command, *TWO, "echo://127.0.0.1:0", url)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn("2 processes cannot serve it", done.stderr)
                self.assertIn(why, done.stderr)
                self.assertIn("by a server of its own", done.stderr)
            self.assertEqual(onepoll("check", "--processes", "1", url).returncode, 0)
        read = "file+unix://%s/file.sock?root=%s&access=read" % (home, home)
        done = onepoll("check", *TWO, read)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_how_many_there_are_is_said_and_can_be_in_the_file(self):
        for number in ("0", "65", "two"):
            self.assertEqual(onepoll("serve", "--processes", number, "echo://127.0.0.1:0").returncode, 2)
        path = os.path.join(self.directory(), "onepoll.toml")
        with open(path, "w") as file:
            file.write("processes = 3\n[limits]\nconnections = 10\n")
        done = onepoll("check", "--config", path, "echo://127.0.0.1:0")
        self.assertTrue(done.stdout.endswith("3 processes, each with at most 4 connections in all\n"), done)
        done = onepoll("check", "--config", path, "--json", "--processes", "2", "echo://127.0.0.1:0")
        told = json.loads(done.stdout)
        self.assertEqual((told["processes"], told["connections"]), (2, 5))
        done = onepoll("check", "--config", path, "--print", "echo://127.0.0.1:0")
        self.assertIn("processes = 3\n", done.stdout)
        done = onepoll("serve", *TWO, "--trace", "echo://127.0.0.1:0")
        self.assertEqual(done.returncode, 2)
        self.assertIn("`--trace` follows one loop", done.stderr)
        with open(path, "w") as file:
            file.write("processes = 0\n")
        done = onepoll("check", "--config", path, "echo://127.0.0.1:0")
        self.assertEqual(done.returncode, 2)
        self.assertIn("line 1, column 1: `processes` is no number from 1 to 64", done.stderr)

    def test_nothing_but_a_supervisor_starts_one(self):
        done = onepoll("process", "--number", "1")
        self.assertEqual(done.returncode, 2)
        self.assertIn("`onepoll serve --processes N`", done.stderr)

    # ------------------------------------------------------------------------ serving

    def test_both_answer_and_the_figures_of_both_are_one_page(self):
        urls = ("echo://127.0.0.1:0", "echo+udp://127.0.0.1:0", "metrics://127.0.0.1:0")
        server = self.serve_two(*urls)
        peers = self.one_in_each(server, server.at("echo"))
        self.assertEqual(sorted(peers), [1, 2])
        for _ in range(3):
            for peer in peers.values():
                peer.say(b"again").hears(b"again")
        received, sent = {}, 0
        for _ in range(TRIES):
            with socket.socket(type=socket.SOCK_DGRAM) as peer:
                peer.settimeout(DEADLINE)
                peer.connect(server.at("echo", "udp"))
                peer.send(b"datagram")
                self.assertEqual(peer.recv(99), b"datagram")
            sent += 1
            received = {
                dict(labels)["process"]: value
                for (name, *labels), value in self.page(server).items()
                if name == "onepoll_datagrams_received_total"
            }
            if all(received.values()):
                break
        self.assertEqual(sorted(received), ["1", "2"])
        self.assertTrue(all(received.values()), received)
        self.assertEqual(sum(received.values()), sent)
        page = self.page(server)
        for process in ("1", "2"):
            self.assertEqual(page["onepoll_process_up", ("process", process)], 1)
            self.assertEqual(page["onepoll_process_restarts_total", ("process", process)], 0)
        # Whichever was asked.
        self.assertTrue(all(self.opened(server, "metrics://").values()))
        server.stop()

    def test_one_that_is_killed_is_replaced_and_what_waits_in_its_queue_is_served(self):
        server = self.serve_two("echo://127.0.0.1:0", "metrics://127.0.0.1:0")
        peers = self.one_in_each(server, server.at("echo"))
        first = processes(server)[1]
        os.kill(first, signal.SIGSTOP)
        until(lambda: state(first) == "T", "it does not stop")
        # Half of these wait in the queue of the one that stands.
        waiting = [self.dial(server.at("echo")) for _ in range(20)]
        os.kill(first, signal.SIGKILL)
        server.waits_for(lambda line: "a process has ended; another is started process=1" in line)
        for peer in waiting:
            peer.say(b"waited").hears(b"waited")
        peers[1].gone()
        peers[2].say(b"still").hears(b"still")
        server.waits_for(lambda line: "a process serves process=1" in line)
        self.assertNotEqual(processes(server)[1], first)
        page = self.page(server)
        self.assertEqual(page["onepoll_process_restarts_total", ("process", "1")], 1)
        self.assertEqual(page["onepoll_process_restarts_total", ("process", "2")], 0)
        self.one_in_each(server, server.at("echo"))
        # Nothing is left of the one that died.
        self.has_no_descriptor_more(server)
        server.stop()

    def test_while_one_does_not_hold_its_clients_go_to_the_other(self):
        for port in (0, free_port()):
            server = self.serve_two("echo://127.0.0.1:%d" % port, "metrics://127.0.0.1:0")
            at = server.at("echo")
            self.addCleanup(lambda pid=server.pid: is_there(pid) and os.kill(pid, signal.SIGCONT))
            for _ in range(8):
                second = processes(server)[2]
                with server.changed:
                    before = len(server.lines)
                os.kill(second, signal.SIGKILL)
                server.waits_for(lambda line: "another is started process=2" in line, after=before)
                # The wait for the next doubles each time, and is long enough for this at last.
                server.stopped_in_time()
                if 2 not in processes(server) and listening(at[1]) == 1:
                    break
                server.goes_on()
                server.waits_for(lambda line: "a process serves process=2" in line, after=before)
            else:
                self.fail("it was always there again")
            for _ in range(20):
                self.dial(at).say(b"still").hears(b"still").close()
            server.goes_on()
            server.waits_for(lambda line: "a process serves process=2" in line, after=before)
            self.assertEqual(listening(at[1]), 2)
            for peer in self.one_in_each(server, at).values():
                peer.close()
            server.stop()

    def test_figures_come_without_those_of_a_process_that_does_not_answer(self):
        server = self.serve_two("metrics://127.0.0.1:0", "metrics://127.0.0.1:0")
        at = server.at("metrics", nth=1)
        place = "metrics://%s:%d" % at
        peers = self.one_in_each(server, at, place, ask=lambda peer: heard(peer.say(get())))
        second = processes(server)[2]
        os.kill(second, signal.SIGSTOP)
        self.addCleanup(lambda: is_there(second) and os.kill(second, signal.SIGCONT))
        until(lambda: state(second) == "T", "it does not stop")
        page = samples(heard(peers[1].say(get()))[2])
        self.assertEqual(page["onepoll_process_up", ("process", "1")], 1)
        self.assertEqual(page["onepoll_process_up", ("process", "2")], 0)
        self.assertIn(("onepoll_connections", ("endpoint", place), ("process", "1")), page)
        self.assertNotIn(("onepoll_connections", ("endpoint", place), ("process", "2")), page)
        os.kill(second, signal.SIGCONT)
        server.stop()

    def test_all_share_a_unix_socket_and_commands_run_in_each(self):
        home = self.directory()
        path = os.path.join(home, "command.sock")
        server = self.serve_two("command+unix://%s?framing=json" % path, "metrics://127.0.0.1:0")
        for _ in range(TRIES):
            peers = [self.dial(path) for _ in range(4)]
            for peer in peers:
                peer.say(b"echo it ran\n")
            for peer in peers:
                # A header, its length before it, and what the command wrote.
                told = peer.line()
                self.assertTrue(b'"exit":0}' in told and told.endswith(b"it ran"), told)
                peer.close()
            if all(self.opened(server, "command+unix://").values()):
                break
        self.assertTrue(all(self.opened(server, "command+unix://").values()))
        server.stop()
        self.assertFalse(os.path.exists(path))

    def test_a_room_is_one_in_both_by_a_bus(self):
        self.needs("nats-server")
        store = self.directory()
        nats = subprocess.Popen(
            ["nats-server", "-a", "127.0.0.1", "-p", "-1", "-js", "-sd", store],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.addCleanup(nats.stderr.close)
        self.addCleanup(nats.wait)
        self.addCleanup(nats.kill)
        port = None
        for line in nats.stderr:
            listening = re.search(rb"Listening for client connections on 127\.0\.0\.1:(\d+)", line)
            port = int(listening[1]) if listening else port
            if b"Server is ready" in line:
                break
        config = "[bus]\nurl = 'nats://127.0.0.1:%d'\nreplicas = 1\n" % port
        server = self.serve_two("chat://127.0.0.1:0", "metrics://127.0.0.1:0", config=config)
        for process in ("1", "2"):
            server.waits_for(lambda line: "connected to the bus" in line and "process=" + process in line)
        members = self.one_in_each(
            server, server.at("chat"), "chat://", ask=lambda peer: hears_of(peer.say(b"/ping in\n"), b"* pong in")
        )
        members[1].say(b"a word from the other process\n")
        hears_of(members[2], b": a word from the other process")
        server.stop()

    def test_each_has_a_session_of_its_own_and_nothing_on_its_standard_input(self):
        server = self.serve_two("echo://127.0.0.1:0")
        for pid in processes(server).values():
            self.assertEqual(os.getsid(pid), pid)
            self.assertEqual(os.readlink("/proc/%d/fd/0" % pid), "/dev/null")
        # As Ctrl-C at a terminal, which is for the group in the foreground: they are told by the supervisor alone.
        peer = self.dial(server.at("echo"))
        peer.say(b"hello").hears(b"hello")
        server.process.send_signal(signal.SIGINT)
        peer.rest()
        server.ends(0)

    def test_the_log_and_the_audit_say_which_process_it_was(self):
        path = os.path.join(self.directory(), "audit")
        config = "processes = 2\n[log]\nformat = 'json'\n[limits]\nnot-logged-in = 9\n"
        secret = os.path.join(self.directory(), "secret")
        onepoll("secret", secret)
        server = self.serve_json(
            "echo://127.0.0.1:0?secret-file=" + secret, config, ("--audit", path)
        )
        self.assertEqual(len(server["ready"]["processes"]), 2)
        # The supervisor has no counters worth printing.
        server["process"].send_signal(signal.SIGUSR1)
        found = set()
        for line in server["process"].stderr:
            told = json.loads(line)
            if told["message"] == "counters":
                found.add(told["process"])
            if found == {1, 2}:
                break
        server["process"].terminate()
        self.assertEqual(server["process"].wait(DEADLINE), 0)
        with open(path) as file:
            told = [json.loads(line) for line in file]
        starts = {event["server"]: event.get("process") for event in told if event["event"] == "start"}
        pids = server["ready"]["processes"]
        self.assertEqual(starts, {server["process"].pid: None, pids[0]: 1, pids[1]: 2})

    def serve_json(self, url, config, arguments):
        path = os.path.join(self.directory(), "onepoll.toml")
        with open(path, "w") as file:
            file.write(config)
        home = self.directory()
        process = subprocess.Popen(
            [BINARY, "serve", "--json", "--config", path, *arguments, url],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "XDG_RUNTIME_DIR": home},
        )
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        readable, _, _ = select.select([process.stdout], [], [], DEADLINE)
        assert readable, "it is not ready"
        return {"process": process, "ready": json.loads(process.stdout.readline())}

    def test_root_binds_for_all_and_another_user_serves(self):
        if os.geteuid():
            self.skipTest("only root becomes another user")
        nobody = pwd.getpwnam("nobody").pw_uid
        home = self.directory()
        os.chmod(home, 0o777)
        server = self.serve(
            "echo://127.0.0.1:0",
            "metrics://127.0.0.1:0",
            arguments=(*TWO, "--user", "nobody", "--control", os.path.join(home, "control")),
            is_plain=True,  # behind what nobody cannot read
        )
        for pid in (server.pid, *processes(server).values()):
            self.assertEqual(os.stat("/proc/%d" % pid).st_uid, nobody)
        self.one_in_each(server, server.at("echo"))
        # One that is started by then has the same sockets.
        os.kill(processes(server)[1], signal.SIGKILL)
        server.waits_for(lambda line: "a process serves process=1" in line)
        self.one_in_each(server, server.at("echo"))
        server.stop()

    # ------------------------------------------------------------------------ the end

    def test_fault_h1_sigterm_drains_all(self):
        server = self.serve_two("echo://127.0.0.1:0", "metrics://127.0.0.1:0")
        peers = self.one_in_each(server, server.at("echo"))
        pids = list(processes(server).values())
        for peer in peers.values():
            peer.say(b"last")
        server.terminate()
        for peer in peers.values():
            self.assertEqual(peer.rest(), b"last")
            peer.close()
        server.ends(0)
        self.assertFalse([pid for pid in pids if is_there(pid)])

    def test_fault_h2_a_second_sigterm_ends_all_at_once(self):
        server = self.serve_two("echo://127.0.0.1:0", "metrics://127.0.0.1:0")
        # They do not go by themselves.
        self.one_in_each(server, server.at("echo"))
        pids = list(processes(server).values())
        server.terminate()
        server.waits_for(lambda line: "stopping" in line)
        # As systemd does: each process of the unit is told.
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        server.terminate()
        server.ends(0)
        self.assertFalse([pid for pid in pids if is_there(pid)])

    def test_when_the_supervisor_is_killed_the_processes_drain_and_end(self):
        server = self.serve_two("echo://127.0.0.1:0", "metrics://127.0.0.1:0")
        peers = self.one_in_each(server, server.at("echo"))
        pids = list(processes(server).values())
        port = server.at("echo")[1]
        for peer in peers.values():
            peer.say(b"last")
        server.process.kill()
        for peer in peers.values():
            self.assertEqual(peer.rest(), b"last")
            peer.close()
        until(lambda: not any(is_there(pid) for pid in pids), "processes without a supervisor stay")
        server.ends(-signal.SIGKILL)
        again = self.serve_two("echo://127.0.0.1:%d" % port)
        again.stop()

    def test_one_that_is_told_to_end_drains_and_is_replaced(self):
        server = self.serve_two("echo://127.0.0.1:0", "metrics://127.0.0.1:0")
        peers = self.one_in_each(server, server.at("echo"))
        os.kill(processes(server)[2], signal.SIGHUP)
        server.waits_for(lambda line: "it is for the supervisor" in line and "process=2" in line)
        os.kill(processes(server)[2], signal.SIGTERM)
        peers[2].ended().close()
        server.waits_for(lambda line: "another is started process=2 exit=" in line)
        server.waits_for(lambda line: "a process serves process=2" in line)
        peers[1].say(b"still").hears(b"still")
        server.stop()

    # ------------------------------------------------------------------------ reload, take-over, systemd

    def test_fault_h3_all_follow_a_reload_or_none(self):
        # Where nobody else listens when this server does no more.
        at = ("127.0.0.1", free_port())

        def config(*endpoints, more=""):
            port = {"upper": at[1]}
            tables = ['[[endpoint]]\nservice = "%s"\naddress = "127.0.0.1:%d"\n' % (e, port.get(e, 0)) for e in endpoints]
            return more + "".join(tables)

        # Behind nothing: an endpoint that reads a file counts as changed.
        server = self.serve_two("metrics://127.0.0.1:0", config=config("echo"), is_plain=True)
        peers = self.one_in_each(server, server.at("echo"))

        def reloads(text, line):
            before = server.reload(text)
            return server.waits_for(lambda told: line in told, after=before)

        reloads(config("echo", "upper"), "reloaded the configuration opened=1 changed=0 vanished=0")
        for _ in range(TRIES):
            self.dial(at).say(b"shout").hears(b"SHOUT")
            if all(self.opened(server, "upper://").values()):
                break
        self.assertEqual(sorted(self.opened(server, "upper://")), [1, 2])
        self.assertTrue(all(self.opened(server, "upper://").values()))
        reloads(config("echo", "nonsense"), "not reloaded, and everything stays as it was")
        reloads(config("echo", "upper", more="processes = 5\n"), "opened=0 changed=0 vanished=0")
        reloads(config("echo", "upper", "chat"), "2 processes cannot serve it")
        bus = '[bus]\nurl = "nats://127.0.0.1:4"\n'
        reloads(config("echo", "upper", "chat", more=bus), "joins nobody before the next start")
        for peer in peers.values():
            peer.say(b"still").hears(b"still")
        # A process that begins now has what is in force.
        os.kill(processes(server)[1], signal.SIGKILL)
        server.waits_for(lambda line: "a process serves process=1" in line)
        reloads(config("echo"), "opened=0 changed=0 vanished=1")
        self.has_no_descriptor_more(server)
        with self.assertRaises(ConnectionRefusedError):
            self.dial(at)
        self.one_in_each(server, server.at("echo"))
        server.stop()

    def test_fault_h4_from_one_number_of_processes_to_another(self):
        urls = ["echo://127.0.0.1:0", "echo+udp://127.0.0.1:0", "metrics://127.0.0.1:0"]
        unix = os.path.join(self.directory(), "echo.sock")
        control = os.path.join(self.directory(), "control")
        audit = os.path.join(self.directory(), "audit")
        common = ("--control", control, "--audit", audit)
        old = self.serve(*urls, "echo+unix://" + unix, arguments=common)
        for before, after in ((1, 2), (2, 2), (2, 3), (3, 1)):
            peers = [self.dial(old.at("echo")).say(b"old").hears(b"old") for _ in range(8)]
            new = self.serve(
                *urls,
                "echo+unix://" + unix,
                arguments=(*common, "--processes", str(after), "--take-over"),
            )
            self.assertEqual(new.at("echo"), old.at("echo"))
            # Those who were there stay where they are.
            for peer in peers:
                peer.say(b"still").hears(b"still").half_close().ended().close()
            old.ends(0)
            with open(audit) as file:
                told = [json.loads(line) for line in file]
            told = [event for event in told if event["event"] == "take-over" and event["server"] == old.pid]
            # Of each of three addresses, the Unix socket, and that of the take-over.
            sockets = 3 * min(before, after) + 2
            self.assertEqual([(event["pid"], event["sockets"]) for event in told], [(new.pid, sockets)])
            for _ in range(16):
                self.dial(new.at("echo")).say(b"new").hears(b"new").close()
            self.dial(unix).say(b"new").hears(b"new").close()
            with socket.socket(type=socket.SOCK_DGRAM) as peer:
                peer.settimeout(DEADLINE)
                peer.connect(new.at("echo", "udp"))
                peer.send(b"datagram")
                self.assertEqual(peer.recv(99), b"datagram")
            if after > 1:
                self.assertEqual(sorted(processes(new)), list(range(1, after + 1)))
            if after == 2:
                for peer in self.one_in_each(new, new.at("echo")).values():
                    peer.close()
            old = new
        old.stop()
        self.assertFalse(os.path.exists(unix))

    def test_systemd_hears_of_all_and_one_that_stands_is_killed(self):
        path = os.path.join(self.directory(), "notify")
        systemd = Supervisor(path)
        self.addCleanup(systemd.socket.close)
        env = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"}
        server = self.serve_two("echo://127.0.0.1:0", env=env)
        told = systemd.hears()
        self.assertEqual(told, {"READY": "1", "STATUS": "serving 1 endpoint with 2 processes"})
        self.assertEqual(systemd.hears(), {"WATCHDOG": "1"})
        os.kill(processes(server)[1], signal.SIGSTOP)
        server.waits_for(lambda line: "the loop of a process does not turn, and it is killed" in line)
        told = systemd.hears_but_the_watchdog()
        self.assertEqual(told, {"STATUS": "serving 1 endpoint with 1 of 2 processes"})
        told = systemd.hears_but_the_watchdog()
        self.assertEqual(told, {"STATUS": "serving 1 endpoint with 2 processes"})
        server.terminate()
        told = systemd.hears_but_the_watchdog()
        self.assertEqual(told, {"STOPPING": "1", "STATUS": "letting connections finish"})
        server.ends(0)

    def test_the_default_table_is_served_without_what_several_cannot_serve(self):
        done = onepoll("check", *TWO, "--json", env={"XDG_RUNTIME_DIR": self.directory()})
        would = {(one["service"], one["transport"]): one["would"] for one in json.loads(done.stdout)["endpoints"]}
        self.assertEqual({would["chat", "tcp"], would["chat", "unix"]}, {"skip"})
        # Another server of this machine may have its ports.
        self.assertIn(would["echo", "tcp"], ("serve", "skip"))
        self.assertEqual(would["command", "unix"], "serve")


def listening(port):
    """How many sockets listen at this port: in state 0A, as the kernel has it."""
    with open("/proc/net/tcp") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    return sum(row[1].endswith(":%04X" % port) and row[3] == "0A" for row in rows)


def hears_of(peer, what):
    """The next line with this in it."""
    while what not in peer.line():
        pass


def state(pid):
    with open("/proc/%d/stat" % pid) as file:
        return file.read().rsplit(") ", 1)[1].split()[0]


if __name__ == "__main__":
    main()
