"""TLS at a test's end of a connection, by Python's own `ssl`.

Knows sockets and no server of ours. `ssl.SSLSocket` cannot end one direction only, so records go through
memory: `Link` has the methods of a socket, and its `shutdown(SHUT_WR)` is a `close_notify`.
"""

import contextlib
import os
import socket
import ssl
import subprocess

RECORD_BYTES = 1 << 16


def certificate(directory, binary):
    """A pair of our own making: the paths of the certificate and its key, and the fingerprint."""
    made = subprocess.run(
        [binary, "certificate", directory], stdout=subprocess.PIPE, text=True, check=True, timeout=10
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
        self.incoming.write(data)

    def send(self, data):
        """Of a non-blocking link: whole, or not at all."""
        self.sendall(data)
        return len(data)

    def sendall(self, data):
        if data:
            self.tls.write(data)
        self._flush()

    def records(self, data):
        """The records that say this, not sent."""
        self.tls.write(data)
        return self.outgoing.read()

    def recv(self, _size):
        """All that came; nothing at the end."""
        data = b""
        while not self.has_ended:
            try:
                more = self.tls.read(RECORD_BYTES)
                if not more:
                    self.has_ended = True
                data += more
            except ssl.SSLWantReadError:
                self._flush()
                if data:
                    return data
                self._fill()
            except ssl.SSLZeroReturnError:
                self.has_ended = True
        return data

    def shutdown(self, _how):
        """Says that nothing more follows, and reads on."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self._flush()

    def close(self):
        self.link.close()


def listener():
    """A socket of the loopback that listens, and its address."""
    door = socket.create_server(("127.0.0.1", 0))
    return door, door.getsockname()


def makes_pair(binary, directory, name):
    """Another pair, in a directory of its own."""
    return certificate(os.path.join(directory, name), binary)
