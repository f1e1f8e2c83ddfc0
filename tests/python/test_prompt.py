"""`onepoll exec` without a command, as a person at a terminal has it."""

import os
import re
import signal
import socket
import subprocess
import threading
import time

from harness import BINARY, DEADLINE, ROOT, Case, left, main
from person import Person

PROMPT = b"unix://"


class AtPrompt(Case):
    def setUp(self):
        self.home = self.directory()
        self.path = os.path.join(self.directory(), "command.sock")
        self.history = os.path.join(self.home, "onepoll", "exec-history")
        self.argv = [BINARY, "exec", "unix://" + self.path]

    def person(self, *flags):
        environment = {"XDG_STATE_HOME": self.home, "TERM": "xterm", "PATH": os.environ["PATH"]}
        person = Person(self.argv + list(flags), environment)
        person.sees(PROMPT)
        return person


class Prompt(AtPrompt):
    def setUp(self):
        super().setUp()
        self.server = self.serve("command+unix://" + self.path, is_plain=True)

    def test_lines_run_one_after_another_and_the_last_exit_code_is_that_of_exec(self):
        person = self.person().types(b"echo $((40 + 2))\r")
        person.sees(b"\r\n42\r\n")
        person.sees(PROMPT)
        person.types(b"echo $((40 + 3)); exit 5\r").sees(b"43\r\n")
        person.sees(PROMPT)
        person.types(b"\x04")
        self.assertEqual(person.ends(), 5)
        self.server.stop()

    def test_a_line_is_remembered_in_a_file_for_its_owner_alone_unless_it_begins_with_a_space(self):
        person = self.person().types(b"echo re$((1))membered\r")
        person.sees(b"re1membered\r\n")
        person.sees(PROMPT)
        person.types(b" echo pass$((1))word\r").sees(b"pass1word\r\n")
        person.sees(PROMPT)
        person.types(b"\x04")
        self.assertEqual(person.ends(), 0)
        self.assertEqual(os.stat(self.history).st_mode & 0o777, 0o600)
        with open(self.history) as file:
            kept = file.read()
        self.assertIn("echo re$((1))membered", kept)
        self.assertNotIn("word", kept)
        # The next time it is one key away.
        person = self.person().types(b"\x1b[A\r")
        person.sees(b"re1membered\r\n")
        person.sees(PROMPT)
        person.types(b"\x04")
        self.assertEqual(person.ends(), 0)
        self.server.stop()

    def test_ctrl_c_gives_up_a_line_and_ends_a_command(self):
        person = self.person().types(b"touch never")
        person.sees(b"never")
        person.types(b"\x03").sees(PROMPT)
        person.types(b"echo up; exec sleep 1000\r").sees(b"up\r\n")
        person.types(b"\x03").sees(PROMPT)
        person.types(b"\x04")
        self.assertEqual(person.ends(), 128 + signal.SIGINT)
        self.server.stop()


class Guide(AtPrompt):
    """What src/guide/serve.md shows of two terminals, typed."""

    def page(self):
        with open(os.path.join(ROOT, "src", "guide", "serve.md")) as file:
            blocks = re.findall(r"^```text\n(.*?)^```$", file.read(), re.DOTALL | re.MULTILINE)
        (block,) = [block for block in blocks if "onepoll exec" in block and "^C" in block]
        return block.splitlines()

    def test_a_build_shows_what_it_does_and_ctrl_c_ends_it(self):
        self.needs("make", "cc", "tar")
        private = os.path.join(self.home, "onepoll", "command.sock")
        os.mkdir(os.path.dirname(private), 0o700)
        programs = self.directory()
        os.symlink(BINARY, os.path.join(programs, "onepoll"))
        server = self.serve("command+unix://" + private, is_plain=True)
        shell = Person(
            ["/bin/bash", "--norc", "--noprofile", "--noediting", "-i"],
            {
                "PS1": "$ ",
                "TMPDIR": self.home,
                "XDG_RUNTIME_DIR": self.home,
                "PATH": programs + ":" + os.environ["PATH"],
            },
            ROOT,
        )
        for line in self.page():
            if line.startswith("^C"):
                shell.types(b"\x03").sees(b"^C")
                line = line[2:]
            if line.startswith("$ "):
                # Not before the command ahead of it has ended.
                shell.sees(b"$ ")
                shell.types(line[2:].encode() + b"\r").sees(line[2:].encode() + b"\r\n")
                continue
            self.assertEqual(shell.sees(line.encode() + b"\r\n"), b"")
        shell.sees(b"$ ")
        shell.types(b"\x04")
        self.assertEqual(shell.ends(), 0)
        server.stop()


class Framings(AtPrompt):
    """C1 to C5: what the person says the server has, since no server says it."""

    def serves(self, options):
        return self.serve("command+unix://" + self.path + options, is_plain=True)

    def lines(self, person, last):
        """Three commands, one of them without output."""
        person.types(b"echo $((40 + 2)); echo $((40 + 3)) >&2\r")
        person.sees(b"\r\n42\r\n43\r\n")
        person.sees(PROMPT)
        person.types(b"cd /\r").sees(PROMPT)
        person.types(b"printf '%s\\n' $((40 + 4)); exit 5\r").sees(b"\r\n44\r\n")
        person.sees(PROMPT)
        person.types(b"\x04")
        self.assertEqual(person.ends(), last)

    def test_each_framing_is_spoken_with_a_server_that_has_it(self):
        for framing, flags, last in [
            ("stream", (), 5),
            ("json", ("--framing", "json"), 5),
            ("i32", ("--framing", "i32"), 0),
            ("decimal", ("--framing", "decimal"), 0),
            ("decimal&ack=recv_ready", ("--framing", "decimal"), 0),
            ("decimal&ack=True", ("--framing", "decimal", "--ack", "True"), 0),
            ("decimal&settle=never", ("--framing", "decimal", "--ack", "recv_ready\n"), 0),
            ("raw", ("--framing", "raw"), 0),
        ]:
            with self.subTest(framing=framing):
                server = self.serves("?framing=" + framing)
                self.lines(self.person(*flags), last)
                server.stop()

    def test_a_raw_output_that_came_late_is_shown_by_an_empty_line(self):
        server = self.serves("?framing=raw")
        fifo = os.path.join(self.home, "go")
        os.mkfifo(fifo)
        person = Person(
            self.argv + ["--framing", "raw", "--settle", "50ms"], {"XDG_STATE_HOME": self.home, "TERM": "xterm"}
        )
        person.sees(b"one is taken to be over when nothing came for 50 ms, and an empty line shows what came later")
        person.sees(PROMPT)
        person.types(b"echo soo$((0))n; cat %s\r" % fifo.encode()).sees(b"soo0n\r\n")
        person.sees(PROMPT)
        with open(fifo, "w") as go:
            go.write("late\n")
        # Until it is there: the command has to end first.
        until = time.monotonic() + DEADLINE
        while b"late\r\n" not in person.types(b"\r").sees(PROMPT):
            self.assertTrue(left(until))
        person.types(b"\x04")
        self.assertEqual(person.ends(), 0)
        server.stop()

    def test_a_raw_output_is_shown_while_it_is_produced_and_to_its_end(self):
        server = self.serves("?framing=raw")
        fifo = os.path.join(self.home, "go")
        os.mkfifo(fifo)
        run = subprocess.Popen(
            self.argv + ["--framing", "raw", "--", "echo first; cat %s; head -c 3000000 /dev/zero" % fifo],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        with run:
            self.assertEqual(run.stdout.readline(), b"first\n")
            with open(fifo, "w") as go:
                go.write("second\n")
            rest = run.stdout.read()
            self.assertEqual(rest, b"second\n" + bytes(3000000))
            self.assertEqual(run.wait(DEADLINE), 0)
        server.stop()

    def test_lines_that_nobody_types_are_not_waited_for_one_by_one(self):
        server = self.serves("?framing=raw")
        lines = b"".join(b"echo %d\n" % at for at in range(100)) + b"yes | head -c 3000000\necho end\n"
        began = time.monotonic()
        # More than a pipe and two sockets hold, so it has to be read while more is asked.
        done = subprocess.run(
            self.argv + ["--framing", "raw", "--settle", "60s"],
            input=lines + b"echo %s\n" % (b"x" * 4000) * 300,
            stdout=subprocess.PIPE,
            timeout=DEADLINE,
        )
        self.assertEqual(done.returncode, 0)
        expected = b"".join(b"%d\n" % at for at in range(100)) + b"y\n" * 1500000 + b"end\n"
        self.assertTrue(done.stdout == expected + (b"x" * 4000 + b"\n") * 300, len(done.stdout))
        self.assertLess(time.monotonic() - began, 60)
        server.stop()

    def test_the_tutorials_servers_are_spoken_to(self):
        """Each `recv` is a request; the answer is raw, or its length and, when that was acknowledged, the output."""
        for framing, flags in [("raw", ("--framing", "raw")), ("decimal", ("--framing", "decimal"))]:
            with self.subTest(framing=framing), socket.socket() as listener:
                listener.bind(("127.0.0.1", 0))
                listener.listen()
                acknowledged = []

                def serves(listener=listener, framing=framing, acknowledged=acknowledged):
                    link, _ = listener.accept()
                    with link:
                        while command := link.recv(1024):
                            done = subprocess.run(
                                command.decode(), shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
                            )
                            if framing == "decimal":
                                link.sendall(str(len(done.stdout)).encode())
                                acknowledged.append(link.recv(1024))
                            link.sendall(done.stdout)

                server = threading.Thread(target=serves)
                server.start()
                argv = [BINARY, "exec", "127.0.0.1:%d" % listener.getsockname()[1], *flags]
                done = subprocess.run(
                    argv + ["--", "seq 1 20000; echo wrong >&2"],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    timeout=DEADLINE,
                )
                server.join(DEADLINE)
                self.assertFalse(server.is_alive())
                expected = "".join("%d\n" % at for at in range(1, 20001)) + "wrong\n"
                self.assertEqual((done.returncode, done.stdout.decode()), (0, expected))
                self.assertEqual(acknowledged, [b"recv_ready"] if framing == "decimal" else [])

    def test_a_raw_server_that_hangs_up_before_it_was_told_of_the_end_is_an_error(self):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            argv = [BINARY, "exec", "127.0.0.1:%d" % listener.getsockname()[1], "--framing", "raw"]
            run = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            with run:
                run.stdin.write(b"echo\n")
                run.stdin.flush()
                link, _ = listener.accept()
                with link:
                    self.assertEqual(link.recv(100), b"echo\n")
                    link.sendall(b"half")
                run.stdin.write(b"echo\n")
                out, err = run.communicate(timeout=DEADLINE)
                self.assertEqual((run.returncode, out), (255, b"half"), err)


if __name__ == "__main__":
    main()
