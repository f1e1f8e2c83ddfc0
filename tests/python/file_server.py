"""A server of files in memory (F3), by PROTOCOL.md, with hashlib, json and struct and nothing of ours.

`FileServer` serves each connection on a thread of its own, and keeps to the protocol. A test that wants it otherwise
gives it a function that is called with each request, or for all of a connection, and answers in its own way.
"""

import hashlib
import json
import socket
import ssl
import struct
import threading

PART_BYTES = 1 << 16


def digest(data):
    return hashlib.sha256(data).hexdigest()


def header(**keys):
    text = json.dumps(keys).encode()
    return struct.pack("<i", len(text)) + text


def part(data):
    return header(data_size=len(data)) + data


class Cut(Exception):
    """The connection ends here."""


class Link:
    """A connection, as the server has it."""

    def __init__(self, link, number):
        self.link, self.number = link, number

    def takes(self, size):
        got = bytearray()
        while len(got) < size:
            more = self.link.recv(min(size - len(got), 1 << 16))
            if not more:
                raise Cut
            got += more
        return bytes(got)

    def request(self):
        (size,) = struct.unpack("<i", self.takes(4))
        assert 0 <= size <= 4096, size
        return json.loads(self.takes(size).decode())

    def says(self, data):
        self.link.sendall(data)


class FileServer:
    """`files`: what is there; `kept`: what was kept of what was cut, by name and size."""

    def __init__(self, case, files=None, talks=None, overwrite=False, wrap=None):
        self.files = dict(files or {})
        self.kept, self.parts, self.requests, self.faults = {}, [], [], []
        self.overwrite, self.talks, self.wrap = overwrite, talks or FileServer.talk, wrap
        self.links, self.connections, self.cut_after = [], 0, None
        self.is_closed = False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()
        case.addCleanup(self.close)

    def close(self):
        self.is_closed = True
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for link in self.links:
            link.close()
        assert not self.faults, self.faults

    def accept(self):
        while True:
            try:
                link, _ = self.listener.accept()
            except OSError:
                return
            self.links.append(link)
            self.connections += 1
            threading.Thread(target=self.serve, args=(link, self.connections), daemon=True).start()

    def serve(self, link, number):
        link.settimeout(20)
        try:
            if self.wrap:
                link = self.wrap(link)
            self.talks(self, Link(link, number))
        except (Cut, ConnectionError, TimeoutError, ssl.SSLError):
            pass
        except Exception as fault:  # it would be lost on its thread
            # `close` closes links that threads still read from.
            if not (self.is_closed and isinstance(fault, OSError)):
                self.faults.append(fault)
        finally:
            link.close()

    def talk(self, link):
        """What the protocol says, one request after another; blocking, so it reads nothing while it writes."""
        while True:
            asked = link.request()
            self.requests.append(dict(asked))
            self.answer(link, asked)

    def answer(self, link, asked):
        what, name = asked.pop("onepoll"), asked.pop("file_name", None)
        if what == "list":
            lines = b"".join(
                json.dumps({"file_name": one, "file_size": len(data), "modified": 0}).encode() + b"\n"
                for one, data in self.files.items()
            )
            for at in range(0, len(lines), 100):
                link.says(part(lines[at : at + 100]))
            return link.says(header(ok=True, files=len(self.files), skipped=0))
        if what == "resume":
            size = asked.pop("file_size")
            assert not asked, asked
            kept = self.kept.get((name, size), b"")
            more = {"sha256": digest(kept)} if kept else {}
            return link.says(header(ok=True, file_name=name, file_size=size, offset=len(kept), **more))
        if what == "upload":
            return self.store(link, name, asked)
        if name not in self.files:
            return link.says(refusal("not-found", "there is no such file", name))
        data = self.files[name]
        if what == "verify":
            n = min(asked.pop("bytes", len(data)), len(data))
            assert not asked, asked
            return link.says(
                header(ok=True, file_name=name, file_size=len(data), modified=0, bytes=n, sha256=digest(data[:n]))
            )
        assert what == "download", what
        offset, kept = asked.pop("offset", 0), asked.pop("kept_sha256", None)
        assert not asked, asked
        assert (offset > 0) == (kept is not None)
        if digest(data[:offset]) != kept or offset > len(data):
            offset = 0
        link.says(header(ok=True, file_name=name, file_size=len(data), offset=offset, modified=0))
        for at in range(offset, len(data), PART_BYTES):
            if self.cut_after is not None and at >= self.cut_after:
                raise Cut
            link.says(part(data[at : at + PART_BYTES]))
        link.says(header(ok=True, file_name=name, file_size=len(data), sha256=digest(data)))

    def store(self, link, name, asked):
        size, sha256 = asked.pop("file_size", None), asked.pop("sha256", None)
        offset, kept_sha256 = asked.pop("offset", 0), asked.pop("kept_sha256", None)
        has_end = asked.pop("end", False)
        assert not asked, asked
        if size is None:
            data = bytearray()
            while True:
                inner = link.request()
                if inner["onepoll"] == "end":
                    sha256 = inner["sha256"]
                    break
                assert inner["onepoll"] == "part", inner
                data += link.takes(inner["data_size"])
        else:
            data = bytearray(self.kept.pop((name, size), b"") if offset else b"")
            assert len(data) == offset and (not offset or digest(data) == kept_sha256), (offset, len(data))
            try:
                while len(data) < size:
                    if self.cut_after is not None and len(data) >= self.cut_after:
                        raise Cut
                    data += link.takes(min(size - len(data), PART_BYTES))
                if has_end:
                    inner = link.request()
                    assert inner.pop("onepoll") == "end", inner
                    sha256 = inner.pop("sha256")
                    assert not inner, inner
            except (Cut, OSError):
                self.kept[name, size] = bytes(data)
                raise
        data = bytes(data)
        if name in self.files and not self.overwrite:
            return link.says(refusal("exists", "a file of this name is there", name))
        if sha256 not in (None, digest(data)):
            return link.says(refusal("digest", "these are other bytes", name))
        self.files[name] = data
        link.says(header(ok=True, file_name=name, file_size=len(data), sha256=digest(data)))


def refusal(kind, error, name=None):
    more = {"file_name": name} if name else {}
    return header(ok=False, kind=kind, error=error, **more)
