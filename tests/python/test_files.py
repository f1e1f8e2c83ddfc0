"""F1 to F3: files, as the tutorials' clients send them, and what is ours; faults C3 to C7, D10, B10, G1 to G17, H10, H11.

Nothing of ours is imported: headers are written with `json` and `struct`, digests are hashlib's."""

import hashlib
import json
import os
import random
import re
import socket
import stat
import struct
import subprocess
import threading
import time

from behind import without
from harness import Case, main, onepoll

EXAMPLE = b"hello, files\n" * 5


def header(**keys):
    return framed(json.dumps(keys))


def framed(text):
    data = text.encode()
    return struct.pack("<i", len(data)) + data


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def f1(name, data, **more):
    return header(file_name=name, file_size=len(data), **more) + data


def stored(name, data):
    return {"ok": True, "file_name": name, "file_size": len(data), "sha256": sha256(data)}


def answer(peer):
    """One header that the server sends."""
    (length,) = struct.unpack("<i", peer.takes(4))
    return json.loads(peer.takes(length))


def body(peer):
    """The parts of a file or a list, and the header that ends them."""
    data = b""
    while True:
        said = answer(peer)
        if "data_size" not in said:
            return data, said
        data += peer.takes(said["data_size"])


class Files(Case):
    def root(self):
        path = os.path.join(self.directory(), "root")
        os.mkdir(path)
        return path

    def files(self, root, more=""):
        return self.serve("file://127.0.0.1:0?auth=none&root=%s%s" % (root, more))

    def call(self, server):
        return self.dial(server.at("file"))

    def visible(self, root):
        return sorted(name for name in os.listdir(root) if name != ".onepoll")

    def staged(self, root):
        return sorted(name for name in os.listdir(os.path.join(root, ".onepoll")) if name != "lock")

    def read(self, root, name):
        with open(os.path.join(root, name), "rb") as file:
            return file.read()

    def write(self, root, name, data):
        with open(os.path.join(root, name), "wb") as file:
            file.write(data)

    # F1 and F2.

    def test_f1_one_file_and_its_answer(self):
        root = self.root()
        server = self.files(root)
        peer = self.call(server)
        peer.say(f1("a.txt", EXAMPLE))
        self.assertEqual(answer(peer), stored("a.txt", EXAMPLE))
        self.assertEqual(self.read(root, "a.txt"), EXAMPLE)
        self.assertEqual(self.staged(root), [])
        peer.half_close().ended()
        server.stop()

    def test_f1_as_the_tutorials_write_it_and_go_without_reading(self):
        root = self.root()
        server = self.files(root)
        digest = hashlib.md5(EXAMPLE).hexdigest()
        peer = self.call(server)
        peer.say(header(filename="/a/b/c/d/e/a.txt", filesize=len(EXAMPLE), md5=digest))
        peer.say(EXAMPLE)
        peer.close()
        self.comes(root, "a.txt", EXAMPLE)
        server.stop()

    def comes(self, root, name, data):
        until = time.monotonic() + 10
        while time.monotonic() < until:
            if name in self.visible(root):
                self.assertEqual(self.read(root, name), data)
                return
            time.sleep(0.005)
        self.fail("%s did not come" % name)

    def test_f2_glued_and_with_braces_in_its_strings(self):
        root = self.root()
        server = self.files(root)
        peer = self.call(server)
        first = {"file_name": "one}{.bin", "file_size": 5, "more": {"a": ["}"]}}
        second = {"filename": "two", "filesize": 3}
        peer.say(json.dumps(first).encode() + b"}}{{\0" + json.dumps(second).encode() + b"abc")
        self.assertEqual(answer(peer), stored("one}{.bin", b"}}{{\0"))
        self.assertEqual(answer(peer), stored("two", b"abc"))
        server.stop()

    def test_f1_f2_byte_by_byte(self):
        root = self.root()
        server = self.files(root)
        peer = self.call(server)
        naive = json.dumps({"file_name": "b", "file_size": 4}).encode() + b"\0\1\2\3"
        peer.drip(f1("a", b"some bytes", sha256=sha256(b"some bytes")) + naive)
        self.assertEqual(answer(peer), stored("a", b"some bytes"))
        self.assertEqual(answer(peer), stored("b", b"\0\1\2\3"))
        server.stop()

    def test_f1_many_files_glued_empty_ones_among_them(self):
        root = self.root()
        for sync in ("each", "batch", "off"):
            server = self.files(root, "&overwrite=replace&sync=" + sync)
            peer = self.call(server)
            files = [("f%d" % n, bytes([n % 251]) * (n * 7 % 300)) for n in range(150)]
            peer.say(b"".join(f1(name, data) for name, data in files))
            for name, data in files:
                self.assertEqual(answer(peer), stored(name, data))
            for name, data in files:
                self.assertEqual(self.read(root, name), data)
            self.assertEqual(self.staged(root), [])
            server.stop()

    def test_f1_a_large_file(self):
        root = self.root()
        server = self.files(root)
        data = random.Random(7).randbytes(5_000_000)
        peer = self.call(server)
        peer.say(f1("large", data, sha256=sha256(data)))
        self.assertEqual(answer(peer), stored("large", data))
        self.assertEqual(self.read(root, "large"), data)
        server.stop()

    # F3.

    def test_f3_download_verify_list(self):
        root = self.root()
        small, large = b"small", random.Random(8).randbytes(3_000_000)
        self.write(root, "small", small)
        self.write(root, "large", large)
        self.write(root, "empty", b"")
        server = self.files(root)
        peer = self.call(server)
        # All of it is asked ahead.
        asked = [dict(onepoll="download", file_name=name) for name in ("small", "large", "empty")]
        asked += [dict(onepoll="list"), dict(onepoll="verify", file_name="large")]
        asked += [dict(onepoll="verify", file_name="large", bytes=1000)]
        peer.say(b"".join(header(**one) for one in asked))
        for name, data in (("small", small), ("large", large), ("empty", b"")):
            said = answer(peer)
            modified = int(os.stat(os.path.join(root, name)).st_mtime)
            self.assertEqual(
                said,
                dict(ok=True, file_name=name, file_size=len(data), offset=0, modified=modified),
            )
            self.assertEqual(body(peer), (data, stored(name, data)))
        lines, end = body(peer)
        listed = {one["file_name"]: one["file_size"] for one in map(json.loads, lines.splitlines())}
        self.assertEqual(listed, {"small": 5, "large": len(large), "empty": 0})
        self.assertEqual(end, dict(ok=True, files=3, skipped=0))
        said = answer(peer)
        self.assertEqual((said["bytes"], said["sha256"]), (len(large), sha256(large)))
        said = answer(peer)
        self.assertEqual((said["bytes"], said["sha256"]), (1000, sha256(large[:1000])))
        server.stop()

    def test_f3_a_download_goes_on_where_it_stopped_if_the_digests_agree(self):
        root = self.root()
        data = random.Random(9).randbytes(1_000_000)
        self.write(root, "f", data)
        server = self.files(root)
        peer = self.call(server)
        for kept, offset in ((data[:400_000], 400_000), (b"x" * 400_000, 0), (data, len(data))):
            peer.say(
                header(
                    onepoll="download", file_name="f", offset=len(kept), kept_sha256=sha256(kept)
                )
            )
            self.assertEqual(answer(peer)["offset"], offset)
            self.assertEqual(body(peer), (data[offset:], stored("f", data)))
        peer.say(header(onepoll="download", file_name="f", offset=2_000_000, kept_sha256="0" * 64))
        self.assertEqual(answer(peer)["offset"], 0)
        self.assertEqual(body(peer)[0], data)
        server.stop()

    def test_f3_an_upload_goes_on_where_it_stopped(self):
        root = self.root()
        server = self.files(root)
        data = random.Random(10).randbytes(1_000_000)
        ask = dict(file_name="f", file_size=len(data))
        peer = self.call(server)
        peer.say(header(onepoll="resume", **ask))
        self.assertEqual(answer(peer), dict(ok=True, offset=0, **ask))
        peer.say(header(onepoll="upload", **ask) + data[:700_000])
        peer.half_close()
        self.assertEqual(answer(peer)["kind"], "protocol")
        self.assertEqual(self.visible(root), [])
        # Also after the server was killed.
        server.kill()
        server = self.files(root)
        peer = self.call(server)
        peer.say(header(onepoll="resume", **ask))
        said = answer(peer)
        kept = said["offset"]
        self.assertEqual((kept, said["sha256"]), (700_000, sha256(data[:700_000])))
        rest = dict(offset=kept, kept_sha256=said["sha256"], sha256=sha256(data))
        peer.say(header(onepoll="upload", **ask, **rest) + data[kept:])
        self.assertEqual(answer(peer), stored("f", data))
        self.assertEqual(self.staged(root), [])
        server.stop()

    def test_f3_in_parts_when_the_size_is_not_known(self):
        root = self.root()
        server = self.files(root)
        peer = self.call(server)
        peer.say(header(onepoll="upload", file_name="p"))
        for piece in (b"one", b"", b"two" * 1000):
            peer.say(header(onepoll="part", data_size=len(piece)) + piece)
        data = b"one" + b"two" * 1000
        peer.say(header(onepoll="end", sha256=sha256(data)))
        self.assertEqual(answer(peer), stored("p", data))
        self.assertEqual(self.read(root, "p"), data)
        server.stop()


if __name__ == "__main__":
    main()
