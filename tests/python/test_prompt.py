"""`onepoll exec` without a command, as a person at a terminal has it."""

import os
import pty
import re
import select
import signal
import time

from harness import BINARY, DEADLINE, Case, left, main

PROMPT = b"unix://"


class Person:
    """At a terminal of its own."""

    def __init__(self, argv, environment):
        self.heard = bytearray()
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execve(argv[0], argv, environment)

    def types(self, text):
        os.write(self.terminal, text)
        return self

    def sees(self, expected, deadline=DEADLINE):
        """Reads on until this is seen, and takes all up to its end."""
        until = time.monotonic() + deadline
        while True:
            # What moves the cursor and colours the line is the editor's.
            plain = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", bytes(self.heard))
            at = plain.find(expected)
            if at >= 0:
                self.heard = bytearray(plain[at + len(expected) :])
                return plain[:at]
            assert select.select([self.terminal], [], [], left(until))[0], "not %r: %r" % (expected, plain)
            self.heard += os.read(self.terminal, 4096)

    def ends(self, deadline=DEADLINE):
        until = time.monotonic() + deadline
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.terminal)
                return os.waitstatus_to_exitcode(status)
            if select.select([self.terminal], [], [], 0.01)[0]:
                try:
                    self.heard += os.read(self.terminal, 4096)
                except OSError:
                    pass  # the other end is closed: it is about to end
            assert left(until), "it does not end: %r" % self.heard


class Prompt(Case):
    def setUp(self):
        self.home = self.directory()
        path = os.path.join(self.directory(), "command.sock")
        self.server = self.serve("command+unix://" + path, is_plain=True)
        self.history = os.path.join(self.home, "onepoll", "exec-history")
        self.argv = [BINARY, "exec", "unix://" + path]

    def person(self):
        person = Person(self.argv, {"XDG_STATE_HOME": self.home, "TERM": "xterm", "PATH": os.environ["PATH"]})
        person.sees(PROMPT)
        return person

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


if __name__ == "__main__":
    main()
