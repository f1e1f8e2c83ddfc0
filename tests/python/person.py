"""A person at a terminal of their own."""

import os
import pty
import re
import select
import time

from harness import DEADLINE, left


class Person:
    """At a terminal of its own."""

    def __init__(self, argv, environment, directory="."):
        self.heard = bytearray()
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(directory)
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
