"""TLS at a test's end of a connection, by Python's own `ssl`.

Knows sockets and no server of ours. `ssl.SSLSocket` cannot end one direction only, so records go through
memory: `Link` has the methods of a socket, and its `shutdown(SHUT_WR)` is a `close_notify`.
"""

import contextlib
import os
import ssl
import subprocess
import threading

RECORD_BYTES = 1 << 16

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.environ.get("ONEPOLL_BIN") or os.path.join(ROOT, "target", "debug", "onepoll")


def certificate(directory):
    """A pair of our own making: the paths of the certificate and its key, and the fingerprint."""
    made = subprocess.run(
        [BINARY, "certificate", directory], stdout=subprocess.PIPE, text=True, check=True, timeout=10
    )
    facts = dict(line.split("=", 1) for line in made.stdout.splitlines())
    return facts["cert"], facts["key"], facts["fingerprint"]


def options(cert, key):
    """What makes an endpoint speak TLS."""
    return "tls=true&cert=%s&key=%s" % (cert, key)


def trusting(cert, **changes):
    """What a client needs that trusts this certificate."""
    context = ssl.create_default_context(cafile=cert)
    for name, value in changes.items():
        setattr(context, name, value)
    return context


class Link:
    """A connected socket, through TLS."""

    def __init__(self, link, context, name="localhost", handshake=True):
        self.link = link
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)
        self.has_ended = False
        # Records that a non-blocking link did not take yet: half a record and then another is no session.
        self.unsent = bytearray()
        self.sending, self.using = threading.Lock(), threading.Lock()
        if handshake:
            self.shakes_hands()

    def __getattr__(self, name):
        return getattr(self.link, name)

    def shakes_hands(self):
        while True:
            try:
                self.tls.do_handshake()
                self._flush()
                return
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
            except ssl.SSLError:
                # Why, as an alert.
                with contextlib.suppress(OSError):
                    self._flush()
                raise

    def _flush(self):
        if self.outgoing.pending:
            self.link.sendall(self.outgoing.read())

    def _fill(self):
        data = self.link.recv(RECORD_BYTES)
        if not data:
            raise ConnectionResetError("it ended without close_notify")
        with self.using:
            self.incoming.write(data)

    def send(self, data):
        """Whole, or not at all: what a non-blocking link does not take now goes before what follows."""
        with self.sending:
            self._push()
            self._seal(data)
            with contextlib.suppress(BlockingIOError):
                self._push()
        return len(data)

    def sendall(self, data):
        # One thread may send while another receives; records leave in the order in which they were made.
        with self.sending:
            self._seal(data)
            self._push()

    def _seal(self, data):
        with self.using:
            if data:
                self.tls.write(data)
            self.unsent += self.outgoing.read()

    def _push(self):
        while self.unsent:
            sent = self.link.send(self.unsent)
            del self.unsent[:sent]

    def records(self, data):
        """The records that say this, not sent."""
        self.tls.write(data)
        return self.outgoing.read()

    def recv(self, _size):
        """All that came; nothing at the end."""
        while True:
            data = self._opened()
            if data or self.has_ended:
                return data
            self._fill()

    def _opened(self):
        data = b""
        with self.using, contextlib.suppress(ssl.SSLWantReadError):
            while not self.has_ended:
                try:
                    more = self.tls.read(RECORD_BYTES)
                except ssl.SSLZeroReturnError:
                    more = b""
                data += more
                self.has_ended = not more
        return data

    def shutdown(self, _how):
        """Says that nothing more follows, and reads on."""
        with self.using, contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.sendall(b"")

    def close(self):
        self.link.close()
