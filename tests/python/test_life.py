"""Start and end: what is bound, what is refused, how it stops, and who may stop listening to it."""

import contextlib
import fcntl
import json
import os
import pty
import resource
import select
import signal
import socket
import stat
import subprocess
import tempfile
import sys
import threading
import time

from behind import without
from harness import BINARY, DEADLINE, Case, dial, free_port, left, main, onepoll

from test_chat import Member
from test_command import members, takes_i32, takes_json


def taken_port():
    """A socket that listens, and its port."""
    holder = socket.create_server(("127.0.0.1", 0))
    return holder, holder.getsockname()[1]


def until(predicate, what):
    """Polls for what has no event to wait for."""
    end = time.monotonic() + DEADLINE
    while True:
        result = predicate()
        if result:
            return result
        assert left(end), what
        threading.Event().wait(0.005)


def refuses_connections(address):
    try:
        dial(address).close()
    except (ConnectionRefusedError, FileNotFoundError, ConnectionResetError):
        return True
    return False


class Start(Case):
    def refused(self, code, *arguments, containing=(), env=None):
        """It must not start: this exit code, one clear error, nothing served."""
        done = onepoll(*arguments, env=env)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual(done.stdout, "")
        self.assertTrue(done.stderr.startswith("onepoll: "), done.stderr)
        self.assertNotIn("onepoll: ready", done.stderr)
        self.assertNotIn("listening on", done.stderr)
        self.assertNotIn("panicked", done.stderr)
        for part in containing:
            self.assertIn(part, done.stderr)
        return done.stderr

    @without("secret", "the report names the option of the secret too")
    @without("tls", "the report names the options of TLS too")
    def test_the_report_names_what_is_bound(self):
        path = os.path.join(self.directory(), "echo.sock")
        server = self.serve(
            "echo://127.0.0.1:0",
            "time://127.0.0.1:0",
            "echo+udp://127.0.0.1:0",
            "upper://127.0.0.1:0?once=true",
            "echo+unix://" + path,
        )
        self.assertEqual(len(server.bound), 5)
        self.assertEqual(server.at("echo", "unix"), path)
        self.assertEqual(server.bound[3]["options"], "once=true")
        dial(server.at("echo")).say(b"x").hears(b"x").close()
        server.drain()

    def test_a_name_is_served_at_each_of_its_addresses(self):
        server = self.serve("echo://localhost:0")
        self.assertTrue(server.bound)
        for nth in range(len(server.bound)):
            dial(server.at("echo", nth=nth)).say(b"x").hears(b"x").close()
        server.drain()

    def test_an_inherited_descriptor(self):
        with socket.create_server(("127.0.0.1", 0)) as opened:
            os.set_inheritable(opened.fileno(), True)
            process = subprocess.Popen(
                [BINARY, "serve", "echo+fd://%d" % opened.fileno()],
                pass_fds=[opened.fileno()],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            self.addCleanup(process.stderr.close)
            self.addCleanup(process.wait)
            self.addCleanup(process.kill)
            with dial(opened.getsockname()) as peer:
                peer.say(b"x").hears(b"x")
            process.terminate()
            self.assertEqual(process.wait(DEADLINE), 0)

    def test_an_inherited_datagram_socket(self):
        for service, asks, hears in (("echo", b"x", b"x"), ("time", b"%%", b"%")):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
                opened.bind(("127.0.0.1", 0))
                at = opened.getsockname()
                process = subprocess.Popen(
                    [BINARY, "serve", "%s+fd://%d" % (service, opened.fileno())],
                    pass_fds=[opened.fileno()],
                    stdin=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                )
            self.addCleanup(process.stderr.close)
            self.addCleanup(process.wait)
            self.addCleanup(process.kill)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                peer.settimeout(DEADLINE)
                peer.sendto(asks, at)
                self.assertEqual(peer.recv(100), hears)
            process.terminate()
            self.assertEqual(process.wait(DEADLINE), 0)

    def test_an_inherited_descriptor_that_is_neither_tcp_nor_unix_stream(self):
        with contextlib.ExitStack() as stack:
            packets = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            packets.bind("\0onepoll-test-%d" % os.getpid())
            packets.listen()
            listening = [packets]
            with contextlib.suppress(OSError):  # not every kernel has vsock
                virtual = stack.enter_context(socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM))
                virtual.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
                virtual.listen()
                listening.append(virtual)
            for opened in listening:
                with self.subTest(opened.family):
                    done = subprocess.run(
                        [BINARY, "serve", "command+fd://%d" % opened.fileno()],
                        pass_fds=[opened.fileno()],
                        stdin=subprocess.DEVNULL,
                        stderr=subprocess.PIPE,
                        timeout=DEADLINE,
                    )
                    self.assertEqual(done.returncode, 1)
                    self.assertIn(b"descriptor %d is n" % opened.fileno(), done.stderr)

    def test_a_file_says_the_same_as_urls(self):
        server = self.serve(
            config="""
                [[endpoint]]
                service = "greeting"
                address = "127.0.0.1:0"
                greeting = ["hello", "egg"]
                [[endpoint]]
                service = "echo"
                transport = "udp"
                address = "127.0.0.1:0"
                [limits]
                connections = 10
            """
        )
        dial(server.at("greeting")).hears(b"helloegg").ended().close()
        server.drain()

    # H6.

    def test_fault_h6_a_port_in_use(self):
        holder, port = taken_port()
        self.addCleanup(holder.close)
        asked = "echo://127.0.0.1:%d" % port
        self.refused(1, "serve", asked, containing=[asked])

    def test_fault_h6_nothing_is_half_started(self):
        holder, port = taken_port()
        self.addCleanup(holder.close)
        path = os.path.join(self.directory(), "echo.sock")
        asked = "echo://127.0.0.1:%d" % port
        self.refused(
            1,
            "serve",
            "echo+unix://" + path,
            "discard://127.0.0.1:%d" % free_port(),
            asked,
            containing=[asked],
        )
        self.assertFalse(os.path.exists(path), "a socket file was left behind")

    def test_fault_h6_a_udp_port_in_use(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
            holder.bind(("127.0.0.1", 0))
            asked = "time://127.0.0.1:%d" % holder.getsockname()[1]
            self.refused(1, "serve", "echo://127.0.0.1:0", asked, containing=[asked])

    def test_fault_h6_an_address_that_nobody_here_has(self):
        asked = "echo://203.0.113.1:9000?open=true"
        self.refused(1, "serve", asked, containing=["203.0.113.1:9000"])
        self.refused(1, "serve", "echo://no.such.host.invalid:9000", containing=["no.such.host"])

    def test_fault_h6_wrong_usage(self):
        for asked, naming in (
            ("ehco://127.0.0.1:0", ["ehco://127.0.0.1:0", "echo"]),
            ("echo://127.0.0.1:0?colour=red", ["echo://127.0.0.1:0?colour=red", "colour"]),
            ("echo://127.0.0.1", ["echo://127.0.0.1"]),
            ("echo://127.0.0.1:99999", ["99999"]),
            ("echo://127.0.0.1:0?idle-timeout=soon", ["idle-timeout", "soon"]),
            ("echo", ["echo"]),
            ("", []),
            ("echo+pigeon://127.0.0.1:0", ["pigeon"]),
            ("upper://127.0.0.1:0?strip=true", ["strip"]),
            ("echo+unix://" + "x" * 200, ["xxx"]),
            ("nats://127.0.0.1:0", ["nats"]),
        ):
            with self.subTest(asked):
                self.refused(2, "serve", "echo://127.0.0.1:0", asked, containing=naming)
        self.refused(2, "serve", "--no-such-flag", containing=["--no-such-flag"])
        self.refused(2, "serve", "--config", "/no/such/file", containing=["/no/such/file"])
        self.refused(2, "serve", "--config", "/dev/zero", containing=["/dev/zero", "larger"])

    def test_fault_h6_one_place_twice(self):
        asked = "echo://127.0.0.1:%d" % free_port()
        self.refused(2, "serve", asked, asked, containing=[asked])

    def test_fault_h6_one_socket_file_by_two_names(self):
        path = self.directory()
        for other in ("echo+unix://%s/./s" % path, "echo+unix://%s//s" % path):
            with self.subTest(other):
                self.refused(2, "serve", "echo+unix://%s/s" % path, other, containing=[other])
                self.assertEqual(os.listdir(path), [])

    def test_more_connections_than_descriptors_is_refused(self):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.refused(
            2,
            "serve",
            "echo://127.0.0.1:0?max-connections=%d" % (hard + 1),
            containing=["max-connections", str(hard + 1)],
        )

    # Exposure.

    def test_exposure_is_refused_before_anything_listens(self):
        for asked, naming in (
            ("echo://0.0.0.0:0", ["open=true"]),
            ("chat://[::]:0", ["open=true"]),
            ("time://0.0.0.0:0", ["open=true"]),
            ("upper+udp://203.0.113.1:9999", ["open=true"]),
            ("command://127.0.0.1:0", ["auth=none"]),
            ("command://[::1]:0?framing=raw", ["auth=none"]),
            ("command://0.0.0.0:8080?auth=none", ["ssh", "-L"]),
            ("command://203.0.113.1:8080?auth=none", ["ssh", "-L", "203.0.113.1"]),
        ):
            with self.subTest(asked):
                self.refused(2, "serve", "echo://127.0.0.1:0", asked, containing=[asked, *naming])

    def test_open_is_the_way_out(self):
        server = self.serve("echo://0.0.0.0:0?open=true")
        dial(server.at("echo")).say(b"x").hears(b"x").close()
        server.drain()

    # Unix sockets.

    def test_a_unix_socket_is_private_unless_told_otherwise(self):
        directory = self.directory()
        private, shared = (os.path.join(directory, name) for name in ("private", "shared"))
        server = self.serve(
            "echo+unix://" + private, "echo+unix://" + shared + "?mode=0666&any-user=true"
        )
        self.assertEqual(stat.S_IMODE(os.stat(private).st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(shared).st_mode), 0o666)
        for path in (private, shared):
            dial(path).say(b"x").hears(b"x").close()
        server.drain()
        self.assertEqual(os.listdir(directory), [], "socket files were left behind")

    @without("secret", "its client is a program of its own")
    @without("tls", "its client is a program of its own")
    def test_a_private_unix_socket_is_for_its_user_alone(self):
        if os.geteuid() != 0:
            self.skipTest("only root can be somebody else")
        directory = self.directory()
        os.chmod(directory, 0o755)
        private, shared = (os.path.join(directory, name) for name in ("private", "shared"))
        server = self.serve(
            "echo+unix://" + private + "?mode=0666",
            "echo+unix://" + shared + "?mode=0666&any-user=true",
        )
        nobody = (
            "import os, socket, sys\n"
            "os.setgid(65534); os.setuid(65534)\n"
            "s = socket.socket(socket.AF_UNIX); s.settimeout(10); s.connect(sys.argv[1])\n"
            "try: s.sendall(b'x'); print(s.recv(1))\n"
            "except (BrokenPipeError, ConnectionResetError): print(b'')\n"
        )
        for path, answer in ((private, "b''\n"), (shared, "b'x'\n")):
            done = subprocess.run(
                [sys.executable, "-c", nobody, path],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                timeout=DEADLINE,
                text=True,
                check=True,
            )
            self.assertEqual(done.stdout, answer)
        self.assertEqual(server.rests()["refused"]["other_user"], 1)
        server.drain()

    def test_a_stale_socket_file_is_replaced(self):
        path = os.path.join(self.directory(), "echo.sock")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as old:
            old.bind(path)
            old.listen()
        server = self.serve("echo+unix://" + path)
        dial(path).say(b"x").hears(b"x").close()
        server.drain()

    def test_fault_h10_the_socket_file_of_a_killed_server_is_stale(self):
        path = os.path.join(self.directory(), "echo.sock")
        server = self.serve("echo+unix://" + path)
        server.kill()
        self.assertTrue(os.path.exists(path))
        server = self.serve("echo+unix://" + path)
        dial(path).say(b"x").hears(b"x").close()
        server.drain()

    def test_a_server_that_drains_leaves_the_file_of_its_successor(self):
        path = os.path.join(self.directory(), "echo.sock")
        first = self.serve("echo+unix://" + path)
        slow = dial(path, rcvbuf=4096)
        slow.link.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                slow.link.send(b"x" * 65536)  # an echo that is owed more than the kernel holds
        first.terminate()
        until(lambda: refuses_connections(path), "the first server does not stop listening")
        second = self.serve("echo+unix://" + path)
        slow.reset()
        first.ends(0)
        dial(path).say(b"x").hears(b"x").close()
        second.drain()
        self.assertFalse(os.path.exists(path))

    def test_of_two_servers_that_start_at_once_on_one_socket_file_one_refuses(self):
        path = os.path.join(self.directory(), "echo.sock")
        for _ in range(20):
            start = [BINARY, "serve", "echo+unix://" + path]
            pair = [subprocess.Popen(start, stderr=subprocess.PIPE, text=True) for _ in range(2)]
            ready = [p for p in pair if any(line.endswith("ready\n") for line in p.stderr)]
            self.assertEqual(len(ready), 1)
            dial(path).say(b"x").hears(b"x").close()
            for process in ready:
                process.terminate()
            codes = sorted(process.wait(DEADLINE) for process in pair)
            self.assertEqual(codes, [0, 1])
            for process in pair:
                process.stderr.close()

    def test_a_live_socket_file_is_an_error_and_lives_on(self):
        path = os.path.join(self.directory(), "echo.sock")
        server = self.serve("echo+unix://" + path)
        self.refused(1, "serve", "discard+unix://" + path, containing=[path])
        dial(path).say(b"x").hears(b"x").close()
        server.drain()

    def test_a_file_that_is_no_socket_is_left_alone(self):
        path = os.path.join(self.directory(), "notes")
        with open(path, "w") as file:
            file.write("precious")
        self.refused(1, "serve", "echo+unix://" + path, containing=[path])
        with open(path) as file:
            self.assertEqual(file.read(), "precious")

    # check.

    def test_check_says_what_serve_would_do(self):
        directory = self.directory()
        path = os.path.join(directory, "echo.sock")
        done = onepoll("check", "echo://127.0.0.1:0", "echo+unix://" + path)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("echo", done.stdout)
        self.assertEqual(os.listdir(directory), [])

    def test_check_ends_as_serve_would(self):
        holder, port = taken_port()
        self.addCleanup(holder.close)
        for asked, code in (
            ("echo://127.0.0.1:%d" % port, 1),
            ("echo://0.0.0.0:0", 2),
            ("ehco://127.0.0.1:0", 2),
            ("command://127.0.0.1:0", 2),
        ):
            with self.subTest(asked):
                done = onepoll("check", asked)
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertIn(asked, done.stderr)
                done = onepoll("check", "--json", asked)
                self.assertEqual(done.returncode, code)
                verdict = json.loads(done.stdout)
                self.assertFalse(verdict["ok"])
                self.assertIn(asked, " ".join(verdict["errors"]))

    # The default table.

    def test_the_default_table_skips_what_is_taken(self):
        # Its ports are fixed, so whoever else runs on this machine may have some of them.
        holder = None
        with contextlib.suppress(OSError):
            holder = socket.create_server(("127.0.0.1", 9000), backlog=1)
            self.addCleanup(holder.close)
        server = self.serve()
        self.assertTrue(any("9000" in line for line in server.lines), server.tail())
        self.assertNotIn("echo", [found["service"] for found in server.bound])
        path = server.at("command", "unix")
        self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode), 0o700)
        with dial(path) as peer:
            peer.say(b"echo here\n")
            self.assertEqual(takes_json(peer)[1], b"here\n")
        # Operators of the chat beside it, and what `check` makes of the directory is gone with it.
        with dial(server.at("chat", "unix")) as peer:
            peer.say(b"/bans\n")
            self.assertTrue(peer.line().startswith(b"* you are guest-1 in lobby"))
            self.assertEqual(peer.line(), b"* nobody is banned")
        server.drain()
        with tempfile.TemporaryDirectory() as runtime:
            onepoll("check", env={"XDG_RUNTIME_DIR": runtime})
            self.assertEqual(os.listdir(runtime), [])


class Streams(Case):
    """The standard descriptors, and who reads standard error."""

    def start_on(self, redirections):
        path = os.path.join(self.directory(), "echo.sock")
        process = subprocess.Popen(
            ["sh", "-c", 'exec "$@" ' + redirections, "sh", BINARY, "serve", "echo+unix://" + path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        until(lambda: os.path.exists(path) and not refuses_connections(path), "it did not start")
        return process, path

    def test_fault_h7_start_without_standard_descriptors(self):
        for redirections in ("<&- >&- 2>&-", "<&-", "2>&-", "<&- >&-", ">&- 2>&-"):
            with self.subTest(redirections):
                process, path = self.start_on(redirections)
                for fd in (0, 1, 2):
                    link = os.readlink("/proc/%d/fd/%d" % (process.pid, fd))
                    self.assertEqual(link, "/dev/null")
                with dial(path) as peer:
                    os.kill(process.pid, signal.SIGUSR1)  # prints, to nobody
                    peer.say(b"x" * 1000).hears(b"x" * 1000)
                process.terminate()
                self.assertEqual(process.wait(DEADLINE), 0)

    def test_fault_h8_the_reader_of_standard_error_dies(self):
        server = self.serve("echo://127.0.0.1:0", listen=False)
        server.process.stderr.close()
        with dial(server.at("echo")) as peer:
            for n in range(100):
                os.kill(server.pid, signal.SIGUSR1)
                peer.say(b"%d" % n).hears(b"%d" % n)
        server.drain()

    def test_fault_c12_a_full_pipe_does_not_block_the_loop(self):
        server = self.serve("echo://127.0.0.1:0?max-connections=1", listen=False)
        fcntl.fcntl(server.process.stderr, 1031, 4096)  # F_SETPIPE_SZ, as small as it goes
        address = server.at("echo")
        with dial(address) as peer:
            peer.say(b"x").hears(b"x")
            for n in range(200):
                os.kill(server.pid, signal.SIGUSR1)
                with dial(address) as refused:
                    refused.gone()
                peer.say(b"%d" % n).hears(b"%d" % n)
        server.drain()

    def test_fault_c12_a_full_pipe_does_not_block_the_start(self):
        for stream in ("stdout", "stderr"):
            reader, writer = os.pipe()
            self.addCleanup(os.close, reader)
            os.set_blocking(writer, False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(writer, b"x" * 4096)
            os.set_blocking(writer, True)
            path = os.path.join(self.directory(), "echo.sock")
            others = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            process = subprocess.Popen(
                [BINARY, "serve", "--json", "echo+unix://" + path], **{**others, stream: writer}
            )
            os.close(writer)
            self.addCleanup(process.kill)
            if stream == "stdout":
                # A result that cannot be written is an error.
                self.assertEqual(process.wait(DEADLINE), 1)
                continue
            until(lambda: os.path.exists(path) and not refuses_connections(path), "no start")
            dial(path).say(b"x").hears(b"x").close()
            process.terminate()
            self.assertEqual(process.wait(DEADLINE), 0)

    def test_fault_c12_a_log_that_may_not_grow(self):
        directory = self.directory()
        with open(directory + "/log", "wb") as log:
            process = subprocess.Popen(
                ["prlimit", "--fsize=4096", BINARY, "serve", "-v", "echo+unix://%s/s" % directory],
                stdin=subprocess.DEVNULL,
                stderr=log,
            )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        until(lambda: not refuses_connections(directory + "/s"), "it does not listen")
        for n in range(100):
            with dial(directory + "/s") as peer:
                peer.say(b"%d" % n).hears(b"%d" % n)
        self.assertEqual(os.path.getsize(directory + "/log"), 4096)
        process.terminate()
        self.assertEqual(process.wait(DEADLINE), 0)

    def test_fault_c12_a_terminal_that_nobody_reads_does_not_block_the_loop(self):
        reader, terminal = pty.openpty()
        self.addCleanup(os.close, reader)
        directory = self.directory()
        process = subprocess.Popen(
            [BINARY, "serve", "-v", "echo+unix://%s/s" % directory],
            stdin=subprocess.DEVNULL,
            stderr=terminal,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        os.close(terminal)
        said = b""
        while b"ready" not in said:
            self.assertTrue(select.select([reader], [], [], DEADLINE)[0], said)
            said += os.read(reader, 4096)
        # Two lines each; a terminal holds some 20 KB, and is at last left with room for half a line.
        for n in range(500):
            with dial(directory + "/s") as peer:
                peer.say(b"%d" % n).hears(b"%d" % n)
        process.terminate()
        self.assertEqual(process.wait(DEADLINE), 0)


class Watchdog(Case):
    # A budget that really takes long is not to be had from outside, so these call everything long.

    def test_fault_a22_a_turn_that_takes_long_is_told(self):
        server = self.serve("echo://127.0.0.1:0", config='[limits]\nturn-warn = "1ns"\n')
        self.dial(server.at("echo")).say(b"x").hears(b"x").close()
        server.waits_for(lambda line: "a turn took too long took_ms=" in line)
        self.assertGreater(server.counters()["turns_slow"], 0)
        server.drain()

    def test_fault_a22_a_turn_that_takes_far_too_long_ends_the_process(self):
        config = '[limits]\nturn-warn = "1ns"\nturn-abort = "1ns"\n'
        server = self.serve("echo://127.0.0.1:0", config=config)
        with contextlib.suppress(OSError):  # it may be gone before that
            self.dial(server.at("echo")).say(b"x")
        server.ends(-signal.SIGABRT)
        self.assertIn("longer than the user allows", server.tail())


class Stop(Case):
    def test_fault_h1_sigint_is_a_polite_end_too(self):
        server = self.serve("echo://127.0.0.1:0")
        os.kill(server.pid, signal.SIGINT)
        server.ends(0)

    def test_fault_h1_sigterm_under_load(self):
        server = self.serve(
            "echo://127.0.0.1:0",
            "chat://127.0.0.1:0",
            "command://127.0.0.1:0?framing=i32&auth=none",
            "discard://127.0.0.1:0",
        )
        flag = os.path.join(self.directory(), "go")
        ann = Member(self.dial(server.at("chat")), "ann")
        bob = Member(self.dial(server.at("chat")), "bob")
        command = self.dial(server.at("command"))
        command.say(b"while ! test -e %s; do sleep 0.02; done; echo finished\n" % flag.encode())
        idle = self.dial(server.at("discard"))
        # An echo that is owed more than the kernel holds.
        data = os.urandom(1 << 20) * 16
        echo = self.dial(server.at("echo"))
        echo.link.setblocking(False)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < len(data):
                sent += echo.link.send(data[sent : sent + (1 << 16)])
        until(lambda: server.counters()["children"] == 1, "the command does not begin")

        server.terminate()
        for member in (ann, bob):
            member.notice("stop")  # they are told
            member.peer.rest()
        idle.gone()
        until(lambda: refuses_connections(server.at("echo")), "it still accepts")
        with open(flag, "w"):
            pass
        self.assertEqual(takes_i32(command), b"finished\n")
        command.gone()
        # What it had read is delivered; what it had not read may be lost with the connection.
        echo.link.settimeout(DEADLINE)
        heard = bytearray()
        with contextlib.suppress(ConnectionResetError):
            while True:
                more = echo.link.recv(1 << 18)
                if not more:
                    break
                heard += more
        self.assertTrue(heard)
        self.assertTrue(data.startswith(heard), "what came back is not what was sent")
        server.ends(0)

    @without("secret", "a server that is suspended sends no challenge")
    @without("tls", "a server that is suspended makes no handshake")
    def test_fault_h1_what_waits_to_be_accepted_is_served(self):
        urls = ["upper://127.0.0.1:0", "command://127.0.0.1:0?framing=i32&auth=none"]
        path = os.path.join(self.directory(), "echo.sock")
        server = self.serve(*urls, "echo+unix://" + path)
        asked = {"upper": b"ONE\n", "command": b"\x04\0\0\0one\n"}
        with server.suspended():
            peers = []
            for _ in range(100):
                peers += [(dial(server.at("upper")).say(b"one\n"), asked["upper"])]
                peers += [(dial(path).say(b"one\n"), b"one\n")]
            for _ in range(8):
                peers += [(dial(server.at("command")).say(b"echo one\n"), asked["command"])]
            server.terminate()
        for peer, answer in peers:
            peer.hears(answer).ended()
            peer.close()
        server.ends(0)

    def test_fault_h1_the_drain_has_an_end(self):
        server = self.serve(
            "command://127.0.0.1:0?framing=raw&auth=none",
            config='[limits]\ndrain-timeout = "200ms"\n',
        )
        peer = self.dial(server.at("command")).say(b"echo $$; sleep 1000\n")
        group = int(peer.line())
        server.terminate()
        peer.gone()
        server.ends(0)
        until(lambda: not members(group), "the command outlived its server")

    def test_fault_h2_a_second_sigterm_stops_at_once(self):
        server = self.serve("command://127.0.0.1:0?framing=raw&auth=none")
        peer = self.dial(server.at("command")).say(b"echo $$; sleep 1000\n")
        group = int(peer.line())
        server.terminate()
        until(lambda: refuses_connections(server.at("command")), "it still accepts")
        self.assertIsNone(server.process.poll(), "it did not wait for the command")
        self.assertTrue(members(group))
        server.terminate()
        server.ends(0, deadline=4)  # the drain would take 8
        until(lambda: not members(group), "the command outlived its server")

    def test_fault_a19_a_storm_of_sigterm(self):
        server = self.serve("echo://127.0.0.1:0")
        peer = self.dial(server.at("echo")).say(b"x").hears(b"x")
        for _ in range(100):
            with contextlib.suppress(ProcessLookupError):
                server.terminate()
        server.ends(0)
        peer.gone()

    def test_fault_h3_sighup_loses_no_connection(self):
        server = self.serve("echo://127.0.0.1:0")
        peer = self.dial(server.at("echo")).say(b"x").hears(b"x")
        for _ in range(20):
            os.kill(server.pid, signal.SIGHUP)
            peer.say(b"y").hears(b"y")
        peer.close()
        server.rests()
        server.drain()

    def test_connections_that_come_while_it_stops_are_refused(self):
        server = self.serve("echo://127.0.0.1:0")
        with dial(server.at("echo")) as peer:
            peer.say(b"x").hears(b"x")
            server.terminate()
            until(lambda: refuses_connections(server.at("echo")), "it still accepts")
            peer.gone()
        server.ends(0)


if __name__ == "__main__":
    main()
