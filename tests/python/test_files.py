"""F1 to F3: files, as the tutorials' clients send them, and what is ours; faults C3 to C7, D10, B10, G1 to G17, H10, H11.

Nothing of ours is imported: headers are written with `json` and `struct`, digests are hashlib's."""

import contextlib
import hashlib
import json
import os
import random
import re
import socket
import stat
import struct
import subprocess
import sys
import time

from behind import without
from harness import BINARY, DEADLINE, ROOT, Case, left, main, onepoll

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

    def test_f1_of_several_with_one_name_the_last_is_there_whatever_they_wait_for(self):
        root = self.root()
        for sync in ("each", "batch"):
            server = self.files(root, "&overwrite=replace&sync=" + sync)
            peer = self.call(server)
            files = [b"%d" % n for n in range(30)]
            peer.say(b"".join(f1("a", data) for data in files))
            for data in files:
                self.assertEqual(answer(peer), stored("a", data))
            self.assertEqual(self.read(root, "a"), files[-1])
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

    def test_f3_a_digest_that_follows_a_file_decides_whether_it_is_stored(self):
        root = self.root()
        server = self.files(root)
        data = random.Random(11).randbytes(300_000)
        ask = dict(file_name="f", file_size=len(data))
        peer = self.call(server)
        begins = header(onepoll="upload", end=True, **ask) + data
        peer.say(begins + header(onepoll="end", sha256=sha256(b"other")))
        self.assertEqual(answer(peer)["kind"], "digest")
        self.assertEqual((self.visible(root), self.staged(root)), ([], []))
        # All has come but for the end, and then the connection breaks.
        peer.say(begins)
        peer.half_close()
        self.assertEqual(answer(peer)["kind"], "protocol")
        self.assertEqual(self.visible(root), [])
        peer = self.call(server)
        peer.say(header(onepoll="resume", **ask))
        said = answer(peer)
        self.assertEqual((said["offset"], said["sha256"]), (len(data), sha256(data)))
        rest = dict(offset=len(data), kept_sha256=said["sha256"], end=True)
        peer.say(header(onepoll="upload", **ask, **rest) + header(onepoll="end", sha256=sha256(data)))
        self.assertEqual(answer(peer), stored("f", data))
        self.assertEqual(self.staged(root), [])
        for wrong in (
            header(onepoll="upload", file_name="g", file_size=1, end=True, sha256="0" * 64),
            header(onepoll="upload", file_name="g", file_size=1, end=True) + b"g" + header(onepoll="end"),
            header(onepoll="upload", file_name="g", file_size=1, end=True) + b"g" + header(onepoll="list"),
        ):
            peer = self.call(server)
            peer.say(wrong)
            self.assertEqual(answer(peer)["kind"], "protocol")
            peer.ended()
        self.assertEqual((self.visible(root), self.staged(root)), (["f"], []))
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

    # Faults.

    def test_fault_c3_to_c7_what_is_no_header_is_said_and_ends_the_connection(self):
        root = self.root()
        server = self.files(root)
        deep = '{"file_name":"a","file_size":1,"x":%s%s}' % ("[" * 1000, "]" * 1000)
        for sent, said in (
            (framed(deep), "nested deeper than 16"),
            (struct.pack("<i", 4097), "4097 bytes is longer than the limit of 4096"),
            (struct.pack("<i", 1 << 30), "longer than the limit"),
            (struct.pack("<i", -1), "negative length -1"),
            (framed('{"file_name":"a","file_name":"b","file_size":1}'), "comes twice"),
            (framed('{"file_name":"a","file_size":1e400}'), "`file_size` is a whole number"),
            (framed('{"file_name":"a","file_size":-1}'), "`file_size` is a whole number"),
            (framed('{"file_name":"a","file_size":"10"}'), "`file_size` is a whole number"),
            (framed('{"file_name":"a","file_size":NaN}'), "header"),
            (b"GET / HTTP/1.1\r\n\r\n", "longer than the limit"),
        ):
            peer = self.call(server)
            peer.say(sent)
            heard = answer(peer)
            self.assertEqual((heard["ok"], heard["kind"]), (False, "protocol"))
            self.assertIn(said, heard["error"])
            peer.ended()
        self.assertEqual(self.visible(root), [])
        server.stop()

    def test_fault_g1_hostile_names_are_refused_and_what_follows_is_served(self):
        root = self.root()
        server = self.files(root)
        peer = self.call(server)
        for name in ("..", "a/..", ".bashrc", "", "a/", "x" * 256, "a\0b", "a\nb", "a\\b", ".onepoll"):
            peer.say(f1(name, b"evil") + f1("good", b"good"))
            self.assertEqual((lambda said: (said["ok"], said["kind"]))(answer(peer)), (False, "name"))
            self.assertEqual(answer(peer), stored("good", b"good"))
            os.remove(os.path.join(root, "good"))
        for name in ("../../etc/passwd", "/etc/passwd", "a/../../passwd"):
            peer.say(f1(name, b"mine"))
            self.assertEqual(answer(peer), stored("passwd", b"mine"))
            os.remove(os.path.join(root, "passwd"))
        for name in ("../root/x", ".onepoll/lock", "/etc/passwd"):
            peer.say(header(onepoll="download", file_name=name))
            self.assertIn(answer(peer)["kind"], ("not-found", "name"))
        server.stop()
        strict = self.files(root, "&names=refuse")
        peer = self.call(strict)
        peer.say(f1("a/b", b"1") + f1("b", b"1"))
        self.assertEqual(answer(peer)["kind"], "name")
        self.assertEqual(answer(peer), stored("b", b"1"))
        strict.stop()

    def test_names_tree_makes_directories_beneath_the_root(self):
        root = self.root()
        server = self.files(root, "&names=tree")
        peer = self.call(server)
        for name in ("a/b/c.txt", "a/d", "e"):
            peer.say(f1(name, name.encode()))
            self.assertEqual(answer(peer), stored(name, name.encode()))
        for name in ("a/../e", "/e", "a//e", "../e", "e/f", "a"):
            peer.say(f1(name, b"evil"))
            self.assertIs(answer(peer)["ok"], False, name)
        peer.say(header(onepoll="download", file_name="a/b/c.txt"))
        answer(peer)
        self.assertEqual(body(peer)[0], b"a/b/c.txt")
        peer.say(header(onepoll="list"))
        lines, end = body(peer)
        names = sorted(json.loads(line)["file_name"] for line in lines.splitlines())
        self.assertEqual((names, end["files"]), (["a/b/c.txt", "a/d", "e"], 3))
        server.stop()

    def test_fault_g2_links_are_not_followed(self):
        root, outside = self.root(), self.directory()
        self.write(outside, "secret", b"secret")
        os.symlink(os.path.join(outside, "secret"), os.path.join(root, "link"))
        os.symlink(outside, os.path.join(root, "dir"))
        os.symlink("/", os.path.join(root, "top"))
        server = self.files(root, "&names=tree&overwrite=replace")
        peer = self.call(server)
        for name in ("link", "dir/secret", "top/etc/passwd"):
            peer.say(header(onepoll="download", file_name=name))
            self.assertEqual(answer(peer)["kind"], "not-found", name)
            peer.say(header(onepoll="verify", file_name=name))
            self.assertEqual(answer(peer)["kind"], "not-found", name)
        peer.say(f1("dir/evil", b"evil"))
        self.assertIs(answer(peer)["ok"], False)
        # A link that is in the way is replaced, and what it led to is not touched.
        peer.say(f1("link", b"mine"))
        self.assertEqual(answer(peer), stored("link", b"mine"))
        self.assertEqual(self.read(outside, "secret"), b"secret")
        self.assertEqual(os.listdir(outside), ["secret"])
        self.assertFalse(os.path.islink(os.path.join(root, "link")))
        server.stop()

    def test_fault_g3_only_regular_files_are_served(self):
        root = self.root()
        os.mkfifo(os.path.join(root, "fifo"))
        os.mkdir(os.path.join(root, "dir"))
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(os.path.join(root, "socket"))
            server = self.files(root)
            peer = self.call(server)
            for name in ("fifo", "dir", "socket", "nothing"):
                peer.say(header(onepoll="download", file_name=name))
                self.assertEqual(answer(peer)["kind"], "not-found", name)
            peer.say(header(onepoll="list"))
            self.assertEqual(body(peer), (b"", dict(ok=True, files=0, skipped=0)))
            server.stop()

    def test_fault_g4_a_full_disk_is_a_refusal_and_leaves_nothing(self):
        self.needs("prlimit")
        root = self.root()
        server = self.serve(
            "file://127.0.0.1:0?auth=none&root=%s" % root, through=("prlimit", "--fsize=100000")
        )
        peer = self.call(server)
        for form in (f1("a", bytes(200_000)), header(onepoll="upload", file_name="a", file_size=200_000) + bytes(200_000)):
            peer.say(form)
            said = answer(peer)
            self.assertIn((said["ok"], said["kind"]), [(False, "too-large"), (False, "no-room")])
            self.assertEqual((self.visible(root), self.staged(root)), ([], []))
        peer.say(f1("b", bytes(50_000)))
        self.assertEqual(answer(peer), stored("b", bytes(50_000)))
        server.stop()

    def on_a_disk_of_its_own(self, options):
        """A server whose root is a tmpfs that is mounted for it alone, and the root as others see it."""
        self.needs("unshare", "mount")
        root = self.root()
        rights = [] if os.geteuid() == 0 else ["--map-root-user"]
        mount = 'mount -t tmpfs -o %s tmpfs "$0" && exec "$@"' % options
        through = ("unshare", *rights, "--mount", "sh", "-c", mount, root)
        tried = subprocess.run([*through, "true"], capture_output=True, text=True, timeout=60)
        if tried.returncode != 0:
            # Also where no test may be skipped: it is the kernel that refuses, and no program that is missing.
            self.skipTest("no file system can be mounted here: %s" % tried.stderr.strip())
        server = self.serve("file://127.0.0.1:0?auth=none&root=%s" % root, through=through)
        return server, "/proc/%d/root%s" % (server.pid, root)

    def test_fault_g4_a_disk_that_is_really_full_refuses_and_gives_room_back(self):
        server, root = self.on_a_disk_of_its_own("size=2m")
        there = lambda: (self.visible(root), self.staged(root))
        free = lambda: os.statvfs(root).f_bavail * os.statvfs(root).f_frsize
        at_first = free()
        # At once, whether its size is told or it grows until nothing more fits.
        peer = self.call(server)
        peer.say(f1("a", bytes(2_500_000))[:100_000])
        self.assertEqual(answer(peer)["kind"], "no-room")
        peer.ended()
        peer = self.call(server)
        peer.say(header(onepoll="upload", file_name="a"))
        piece = header(onepoll="part", data_size=1 << 20) + bytes(1 << 20)
        with contextlib.suppress(OSError):
            for _ in range(4):
                peer.say(piece)
        self.assertEqual(answer(peer)["kind"], "no-room")
        self.assertEqual((there(), free()), (([], []), at_first))
        # What is kept of an upload has no more room than what came of it.
        ask = dict(file_name="r", file_size=1_500_000)
        peer = self.call(server)
        peer.say(header(onepoll="upload", **ask) + bytes(500_000))
        peer.half_close()
        self.assertEqual(answer(peer)["kind"], "protocol")
        peer.ended()
        self.assertEqual(len(self.staged(root)), 1)
        self.assertGreater(free(), at_first - 600_000)
        # And when others have taken the rest, it cannot go on, and its own is given back.
        peer = self.call(server)
        peer.say(f1("b", bytes(1_000_000)))
        self.assertEqual(answer(peer), stored("b", bytes(1_000_000)))
        peer.say(header(onepoll="resume", **ask))
        said = answer(peer)
        self.assertEqual(said["offset"], 500_000)
        peer.say(header(onepoll="upload", **ask, offset=500_000, kept_sha256=said["sha256"]) + bytes(1_000_000))
        self.assertEqual(answer(peer)["kind"], "no-room")
        self.assertEqual(there(), (["b"], []))
        peer.say(f1("c", bytes(1_000_000)))
        self.assertEqual(answer(peer), stored("c", bytes(1_000_000)))
        server.stop()

    def test_fault_g4_a_disk_without_another_inode_refuses(self):
        server, root = self.on_a_disk_of_its_own("size=2m,nr_inodes=8")
        peer = self.call(server)
        names = ["f%d" % n for n in range(9)]
        peer.say(b"".join(f1(name, b"1") for name in names))
        said = [answer(peer) for _ in names]
        full = [one["kind"] for one in said if not one["ok"]]
        self.assertTrue(full)
        self.assertEqual(set(full), {"no-room"})
        there = sorted(one["file_name"] for one in said if one["ok"])
        self.assertEqual((self.visible(root), self.staged(root)), (there, []))
        os.remove(os.path.join(root, there[0]))
        # It is free when nobody has it open any more, which a child that ends may have for a moment.
        end = time.monotonic() + DEADLINE
        peer.say(f1("again", b"1"))
        while not (said := answer(peer))["ok"]:
            self.assertEqual(said["kind"], "no-room")
            self.assertTrue(left(end), "the disk stays full")
            peer.say(f1("again", b"1"))
        self.assertEqual(said, stored("again", b"1"))
        server.stop()

    def test_fault_g2_a_staging_directory_that_others_could_write_to_is_refused(self):
        root = self.root()
        staging = os.path.join(root, ".onepoll")
        os.mkdir(staging)
        os.chmod(staging, 0o777)
        done = onepoll("serve", "file://127.0.0.1:0?auth=none&root=" + root)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("others may write to it", done.stderr)
        os.chmod(staging, 0o700)
        if os.geteuid() == 0:
            os.chown(staging, 65534, 65534)
            done = onepoll("serve", "file://127.0.0.1:0?auth=none&root=" + root)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn("belongs to another user", done.stderr)
            os.chown(staging, 0, 0)
        server = self.files(root)
        server.stop()

    def test_fault_g6_two_uploads_of_one_name_are_not_mixed(self):
        root = self.root()
        server = self.files(root)
        one, two = self.call(server), self.call(server)
        first, second = b"1" * 100_000, b"2" * 100_000
        one.say(header(file_name="a", file_size=len(first)) + first[:50_000])
        two.say(header(file_name="a", file_size=len(second)) + second)
        self.assertEqual(answer(two), stored("a", second))
        one.say(first[50_000:])
        self.assertEqual(answer(one)["kind"], "exists")
        self.assertEqual(self.read(root, "a"), second)
        self.assertEqual(self.staged(root), [])
        one.say(f1("a", b"3"))
        self.assertEqual(answer(one)["kind"], "exists")
        server.stop()
        server = self.files(root, "&overwrite=rename")
        peer = self.call(server)
        for name in ("a-2", "a-3"):
            peer.say(f1("a", b"3"))
            self.assertEqual(answer(peer), stored(name, b"3"))
        peer.say(f1("x.tar", b"4") + f1("x.tar", b"5"))
        self.assertEqual(answer(peer), stored("x.tar", b"4"))
        self.assertEqual(answer(peer), stored("x-2.tar", b"5"))
        server.stop()
        server = self.files(root, "&overwrite=replace")
        peer = self.call(server)
        peer.say(f1("a", b"6"))
        self.assertEqual(answer(peer), stored("a", b"6"))
        self.assertEqual(self.read(root, "a"), b"6")
        server.stop()

    def test_fault_g7_d10_an_upload_that_is_cut_anywhere_is_not_visible(self):
        root = self.root()
        server = self.files(root)
        whole = f1("a", b"0123456789" * 4)
        for at in range(len(whole)):
            peer = self.call(server)
            peer.say(whole[:at])
            if at % 2:
                peer.half_close()
                if at:
                    self.assertEqual(answer(peer)["kind"], "protocol")
                peer.ended()
            else:
                peer.reset()
        server.rests(gauges=("connections", "children"))
        self.assertEqual((self.visible(root), self.staged(root)), ([], []))
        server.stop()

    def test_fault_g8_a_wrong_digest_leaves_nothing(self):
        root = self.root()
        server = self.files(root)
        peer = self.call(server)
        for wrong in (dict(sha256="0" * 64), dict(md5="0" * 32), dict(md5=hashlib.md5(b"data").hexdigest(), sha256="1" * 64)):
            peer.say(f1("a", b"data", **wrong))
            self.assertEqual(answer(peer)["kind"], "digest")
            self.assertEqual((self.visible(root), self.staged(root)), ([], []))
        peer.say(f1("a", b"data", md5=hashlib.md5(b"data").hexdigest().upper(), sha256=sha256(b"data")))
        self.assertEqual(answer(peer), stored("a", b"data"))
        server.stop()

    def test_fault_g9_a_size_that_lies(self):
        root = self.root()
        server = self.files(root)
        peer = self.call(server)
        peer.say(header(file_name="a", file_size=10) + b"0123456789" + b"X")
        self.assertEqual(answer(peer), stored("a", b"0123456789"))
        peer.say(b"YZ!")
        self.assertEqual(answer(peer)["kind"], "protocol")
        peer.ended()
        peer = self.call(server)
        peer.say(header(file_name="b", file_size=10) + b"012345678")
        peer.silence()
        peer.half_close()
        self.assertEqual(answer(peer)["kind"], "protocol")
        self.assertEqual(self.visible(root), ["a"])
        server.stop()

    def test_fault_g10_what_is_kept_of_another_source_is_sent_anew(self):
        root = self.root()
        server = self.files(root)
        data, other = random.Random(1).randbytes(200_000), random.Random(2).randbytes(200_000)
        ask = dict(file_name="f", file_size=200_000)
        peer = self.call(server)
        peer.say(header(onepoll="upload", **ask) + data[:150_000])
        peer.half_close()
        answer(peer)
        peer = self.call(server)
        peer.say(header(onepoll="resume", **ask))
        said = answer(peer)
        self.assertEqual((said["offset"], said["sha256"]), (150_000, sha256(data[:150_000])))
        # The client has something else, and says so: what follows is refused.
        lie = dict(offset=150_000, kept_sha256=sha256(other[:150_000]))
        peer.say(header(onepoll="upload", **ask, **lie) + other[150_000:])
        self.assertEqual(answer(peer)["kind"], "changed")
        # An offset that nobody was told, or was told on another connection.
        peer.say(header(onepoll="upload", **ask, offset=1, kept_sha256=sha256(data[:1])) + data[1:])
        self.assertEqual(answer(peer)["kind"], "changed")
        peer.say(header(onepoll="upload", **ask) + other)
        self.assertEqual(answer(peer), stored("f", other))
        self.assertEqual(self.staged(root), [])
        server.stop()

    def test_f3_the_later_connection_has_an_upload(self):
        root = self.root()
        server = self.files(root)
        data = random.Random(3).randbytes(300_000)
        ask = dict(file_name="f", file_size=len(data))
        one, two = self.call(server), self.call(server)
        one.say(header(onepoll="upload", **ask) + data[:100_000])
        self.staged_is(root, 1, 100_000)
        two.say(header(onepoll="resume", **ask))
        said = answer(two)
        self.assertEqual(said["offset"], 100_000)
        rest = dict(offset=100_000, kept_sha256=said["sha256"])
        two.say(header(onepoll="upload", **ask, **rest) + data[100_000:])
        self.assertEqual(answer(two), stored("f", data))
        self.assertEqual(answer(one)["kind"], "changed")
        one.ended()
        self.assertEqual(self.read(root, "f"), data)
        server.stop()

    def test_fault_g11_offsets_beyond_the_size_are_refused(self):
        root = self.root()
        self.write(root, "f", b"12345")
        server = self.files(root)
        for wrong in (6, -1, 1 << 63):
            peer = self.call(server)
            peer.say(header(onepoll="upload", file_name="a", file_size=5, offset=wrong, kept_sha256="0" * 64))
            self.assertEqual(answer(peer)["kind"], "protocol")
        peer = self.call(server)
        peer.say(header(onepoll="verify", file_name="f", bytes=6))
        self.assertEqual(answer(peer)["kind"], "changed")
        server.stop()

    def test_fault_g13_a_file_that_is_replaced_or_becomes_shorter_while_it_is_sent(self):
        root = self.root()
        data = random.Random(4).randbytes(12_000_000)
        self.write(root, "f", data)
        server = self.files(root)
        peer = self.dial(server.at("file"), rcvbuf=4096)
        peer.say(header(onepoll="download", file_name="f"))
        answer(peer)
        # The open file stays what it was.
        self.write(root, "g", b"new")
        os.rename(os.path.join(root, "g"), os.path.join(root, "f"))
        peer.link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.assertEqual(body(peer), (data, stored("f", data)))
        self.write(root, "f", data)
        peer.say(header(onepoll="download", file_name="f"))
        answer(peer)
        os.truncate(os.path.join(root, "f"), 1000)
        came, end = body(peer)
        self.assertEqual((end["ok"], end["kind"]), (False, "changed"))
        self.assertLess(end["valid"], len(data))
        self.assertEqual(came[: end["valid"]], data[: end["valid"]])
        server.stop()

    def test_fault_g14_a_sparse_file_beyond_4_gib(self):
        root = self.root()
        size = (5 << 30) + 3
        with open(os.path.join(root, "f"), "wb") as file:
            file.truncate(size)
            file.seek(size - 3)
            file.write(b"end")
        server = self.files(root)
        peer = self.call(server)
        peer.say(header(onepoll="list"))
        self.assertEqual(json.loads(body(peer)[0])["file_size"], size)
        peer.say(header(onepoll="verify", file_name="f", bytes=1 << 20))
        self.assertEqual(answer(peer)["sha256"], sha256(bytes(1 << 20)))
        # More than there is room for is refused at once, and not when the disk is full.
        peer.say(header(onepoll="upload", file_name="g", file_size=1 << 60))
        self.assertIn(answer(peer)["kind"], ("no-room", "too-large"))
        peer.ended()
        self.assertEqual((self.visible(root), self.staged(root)), (["f"], []))
        server.stop()

    def test_fault_g15_the_mode_is_ours(self):
        root = self.root()
        before = os.umask(0o027)
        try:
            server = self.files(root)
        finally:
            os.umask(before)
        peer = self.call(server)
        peer.say(f1("a", b"1", mode=0o6777, st_mode=0o6777))
        answer(peer)
        mode = os.stat(os.path.join(root, "a")).st_mode
        self.assertEqual(stat.S_IMODE(mode), 0o640)
        server.stop()

    def test_fault_g16_quota_max_file_and_max_files(self):
        root = self.root()
        self.write(root, "there", bytes(5_000))
        server = self.files(root, "&quota=10K&max-file=4K&max-files=3")
        peer = self.call(server)
        for name, size, kind in (("big", 4097, "too-large"), ("a", 4096, None), ("b", 4096, "quota"), ("c", 10, None), ("d", 1, "quota")):
            peer.say(f1(name, bytes(size)))
            said = answer(peer)
            self.assertEqual(said.get("kind"), kind, said)
        peer.say(header(onepoll="upload", file_name="p"))
        self.assertEqual(answer(peer)["kind"], "quota")
        peer.ended()
        # What somebody removed is counted again.
        os.remove(os.path.join(root, "there"))
        time.sleep(1.1)
        peer = self.call(server)
        peer.say(f1("b", bytes(4096)))
        self.assertEqual(answer(peer), stored("b", bytes(4096)))
        peer.say(header(onepoll="upload", file_name="p"))
        self.assertEqual(answer(peer)["kind"], "quota")
        server.stop()

    def test_fault_g17_names_are_bytes(self):
        root = self.root()
        server = self.files(root)
        peer = self.call(server)
        names = ["straße", "STRASSE", "\u00e9", "e\u0301", "A", "a"]
        for name in names:
            peer.say(f1(name, name.encode()))
            self.assertEqual(answer(peer), stored(name, name.encode()))
        with open(os.path.join(root.encode(), b"\xff"), "wb") as file:
            file.write(b"not UTF-8")
        peer.say(header(onepoll="list"))
        lines, end = body(peer)
        self.assertEqual(sorted(json.loads(line)["file_name"] for line in lines.splitlines()), sorted(names))
        self.assertEqual((end["files"], end["skipped"]), (len(names), 1))
        server.stop()

    def test_fault_h10_h11_one_server_has_a_root_and_a_killed_one_leaves_it_free(self):
        root = self.root()
        server = self.files(root)
        peer = self.call(server)
        peer.say(header(file_name="a", file_size=100_000) + bytes(50_000))
        self.staged_is(root, 1, 50_000)
        second = onepoll("serve", "file://127.0.0.1:0?auth=none&root=" + root)
        self.assertEqual(second.returncode, 1, second.stderr)
        self.assertIn("another server stores files in", second.stderr)
        server.kill()
        server = self.files(root)
        self.assertEqual((self.visible(root), self.staged(root)), ([], []))
        # Several endpoints of one server may, and it may be read by others.
        server.stop()
        both = self.serve(
            "file://127.0.0.1:0?auth=none&root=" + root,
            "file+unix://%s/s?root=%s" % (self.directory(), root),
        )
        reader = self.files(root, "&access=read")
        peer = self.dial(both.at("file", "unix"))
        peer.say(f1("a", b"1"))
        self.assertEqual(answer(peer), stored("a", b"1"))
        peer = self.call(reader)
        peer.say(header(onepoll="download", file_name="a"))
        answer(peer)
        self.assertEqual(body(peer), (b"1", stored("a", b"1")))
        reader.stop()
        both.stop()

    def staged_is(self, root, count, size):
        """Waits until so many uploads are under way, and have so many bytes together."""
        until = time.monotonic() + 10
        while True:
            names = self.staged(root)
            sizes = [os.stat(os.path.join(root, ".onepoll", name)).st_size for name in names]
            if (len(sizes), sum(sizes)) == (count, size):
                return
            self.assertLess(time.monotonic(), until, (names, sizes))
            time.sleep(0.005)

    @without("secret", "the endpoint is written in a file")
    @without("tls", "the endpoint is written in a file")
    def test_fault_h3_other_options_while_files_come_lose_none_of_them(self):
        root = self.root()
        config = '[[endpoint]]\nservice = "file"\naddress = "127.0.0.1:0"\nauth = "none"\nroot = "%s"\n' % root
        server = self.serve(config=config)
        before, later = self.call(server), self.call(server)
        data = random.Random(5).randbytes(200_000)
        before.say(header(onepoll="upload", file_name="f", file_size=len(data)) + data[:100_000])
        self.staged_is(root, 1, 100_000)
        reload = server.reload(config + 'max-file = "1K"\n')
        server.waits_for(lambda line: "reloaded the configuration" in line, after=reload)
        before.say(data[100_000:])
        self.assertEqual(answer(before), stored("f", data))
        later.say(f1("g", bytes(2000)))
        self.assertEqual(answer(later), stored("g", bytes(2000)))
        peer = self.call(server)
        peer.say(f1("h", bytes(2000)) + f1("i", bytes(1000)))
        self.assertEqual(answer(peer)["kind"], "too-large")
        self.assertEqual(answer(peer), stored("i", bytes(1000)))
        self.assertEqual(self.staged(root), [])
        server.stop()

    def test_fault_h4_a_server_that_is_taken_over_stores_what_it_was_sent(self):
        root = self.root()
        control = os.path.join(self.directory(), "control.sock")
        url = "file://127.0.0.1:0?auth=none&root=" + root
        old = self.serve(url, arguments=("--control", control), is_plain=True)
        peer = self.call(old)
        data = random.Random(6).randbytes(200_000)
        peer.say(f1("f", data)[:100_000])
        until = time.monotonic() + 10
        while not self.staged(root):
            self.assertLess(time.monotonic(), until)
        new = self.serve(url, arguments=("--control", control, "--take-over"), is_plain=True)
        # Both store files beneath the root until the old one has ended.
        other = self.call(new)
        other.say(f1("g", b"1"))
        self.assertEqual(answer(other), stored("g", b"1"))
        peer.say(f1("f", data)[100_000:])
        self.assertEqual(answer(peer), stored("f", data))
        # Whoever stays would be waited for until the drain's end.
        peer.half_close().ended()
        old.ends()
        other.say(f1("h", b"2"))
        self.assertEqual(answer(other), stored("h", b"2"))
        self.assertEqual((self.visible(root), self.staged(root)), (["f", "g", "h"], []))
        # And from then on the root is the new one's.
        third = onepoll("serve", url)
        self.assertIn("another server stores files in", third.stderr)
        new.stop()

    # Both are asked at length by `benches/files/run`.

    def test_fault_g12_a_server_that_is_killed_shows_no_torn_file_and_loses_none_that_it_acknowledged(self):
        figures = self.runs("--kills", "8", "--races", "0")["kills"]
        self.assertEqual((figures["kills"], figures["torn"], figures["lost"], figures["left"]), (8, 0, 0, 0))
        self.assertGreater(figures["acknowledged"], 0)

    def test_fault_g2_a_directory_that_is_swapped_for_a_link_leads_nowhere(self):
        figures = self.runs("--kills", "0", "--races", "1000")["races"]
        self.assertEqual(figures["escapes"], 0)
        self.assertGreater(min(figures["swaps"], figures["read_inside"], figures["refused"]), 10)

    def runs(self, *arguments):
        script = os.path.join(ROOT, "benches", "files", "run")
        done = subprocess.run(
            [sys.executable, script, "--json", *arguments],
            stdout=subprocess.PIPE, timeout=240, env={**os.environ, "ONEPOLL_BIN": BINARY},
        )
        figures = json.loads(done.stdout)
        self.assertEqual(done.returncode, 0, figures)
        return figures

    # Who may do what.

    def test_access_read_and_write(self):
        root = self.root()
        self.write(root, "f", b"1")
        server = self.files(root, "&access=read")
        peer = self.call(server)
        peer.say(f1("a", b"1") + header(onepoll="resume", file_name="a", file_size=1))
        self.assertEqual(answer(peer)["kind"], "denied")
        self.assertEqual(answer(peer)["kind"], "denied")
        self.assertEqual(os.listdir(root), ["f"])
        server.stop()
        server = self.files(root, "&access=write")
        peer = self.call(server)
        for asked in (dict(onepoll="list"), dict(onepoll="download", file_name="f"), dict(onepoll="verify", file_name="f")):
            peer.say(header(**asked))
            self.assertEqual(answer(peer)["kind"], "denied")
        peer.say(f1("a", b"1"))
        self.assertEqual(answer(peer), stored("a", b"1"))
        server.stop()

    def test_uploads_and_downloads_are_audited_and_counted(self):
        root = self.root()
        log = os.path.join(self.directory(), "audit")
        server = self.serve(
            "file://127.0.0.1:0?auth=none&root=" + root, arguments=("--audit", log)
        )
        peer = self.call(server)
        peer.say(f1("a", b"123") + f1("a", b"4") + f1("..", b"5"))
        peer.say(header(onepoll="download", file_name="a") + header(onepoll="download", file_name="b"))
        for _ in range(3):
            answer(peer)
        answer(peer)
        body(peer)
        answer(peer)
        counters = server.counters()
        self.assertEqual(
            {name: n for name, n in counters.items() if name.startswith("files_")},
            dict(
                files_stored=1, files_stored_bytes=3, files_refused=2,
                files_sent=1, files_sent_bytes=3, files_unsent=1,
            ),
        )
        self.assertEqual(counters["commands_started"], 0)
        server.stop()
        with open(log) as file:
            lines = [line for line in map(json.loads, file) if line["event"].startswith("file-")]
        told = {(line["event"], line["file"]): line for line in lines}
        self.assertEqual(
            {what: line["bytes"] for what, line in told.items()},
            {
                ("file-stored", "a"): 3,
                ("file-refused", "a"): 1,
                ("file-refused", ".."): 0,
                ("file-sent", "a"): 3,
                ("file-not-sent", "b"): 0,
            },
        )
        self.assertEqual(told["file-stored", "a"]["sha256"], sha256(b"123"))
        self.assertTrue(told["file-stored", "a"]["peer"].startswith("127.0.0.1:"))
        self.assertIn("exists", told["file-refused", "a"]["why"])

    @without("secret", "what is said before is traced as well")
    @without("tls", "nothing leaves from where it lies")
    def test_what_leaves_from_where_it_lies_is_traced(self):
        root = self.root()
        self.write(root, "f", bytes(300_000))
        server = self.serve("file://127.0.0.1:0?auth=none&root=" + root, arguments=("--trace",))
        peer = self.call(server)
        peer.say(header(onepoll="download", file_name="f"))
        answer(peer)
        self.assertEqual(len(body(peer)[0]), 300_000)
        peer.close()
        server.stop()
        told = "\n".join(server.lines)
        sent = re.findall(r"sendfile +#0 \(generation 1\): ([0-9]+) (?:of [0-9]+ )?bytes of a file from ([0-9]+) on", told)
        at = 0
        for n, begins in sent:
            self.assertEqual(int(begins), at)
            at += int(n)
        self.assertEqual(at, 300_000)

    def test_what_is_cut_in_the_middle_is_audited_with_its_reason(self):
        root = self.root()
        self.write(root, "large", bytes(20_000_000))
        log = os.path.join(self.directory(), "audit")
        server = self.serve("file://127.0.0.1:0?auth=none&root=" + root, arguments=("--audit", log))
        reset = self.call(server)
        reset.say(header(onepoll="upload", file_name="reset", file_size=200_000) + bytes(100_000))
        self.staged_is(root, 1, 100_000)
        reset.reset()
        ended = self.call(server)
        ended.say(f1("ended", bytes(10))[:-5])
        ended.half_close()
        self.assertEqual(answer(ended)["kind"], "protocol")
        ended.ended()
        torn = self.call(server)
        torn.say(header(onepoll="upload", file_name="torn") + header(onepoll="part", data_size=1) + b"1")
        torn.say(header(onepoll="list"))
        self.assertEqual(answer(torn)["kind"], "protocol")
        torn.ended()
        reader = self.dial(server.at("file"), rcvbuf=4096)
        reader.say(header(onepoll="download", file_name="large"))
        answer(reader)
        reader.reset()
        until = time.monotonic() + 10
        while True:
            counters = server.counters()
            if (counters["files_refused"], counters["files_unsent"]) == (3, 1):
                break
            self.assertLess(time.monotonic(), until, counters)
        server.stop()
        with open(log) as file:
            lines = [line for line in map(json.loads, file) if line["event"].startswith("file-")]
        told = {(line["event"], line["file"]): (line["why"], line["bytes"]) for line in lines}
        self.assertEqual(
            {what: bytes for what, (_, bytes) in told.items() if what[1] != "large"},
            {("file-refused", "reset"): 100_000, ("file-refused", "ended"): 5, ("file-refused", "torn"): 1},
        )
        self.assertIn("the peer is gone", told["file-refused", "reset"][0])
        self.assertIn("protocol: ", told["file-refused", "ended"][0])
        self.assertIn("protocol: ", told["file-refused", "torn"][0])
        self.assertIn("the peer is gone", told["file-not-sent", "large"][0])

    def test_who_may_serve_what_where(self):
        root = self.root()
        secret = os.path.join(self.directory(), "secret")
        onepoll("secret", secret)
        file = "file://%%s?root=%s" % root
        for url, said in (
            (file % "127.0.0.1:0", "could store files there"),
            (file % "0.0.0.0:0" + "&auth=none", "uploads from the network need a secret and TLS"),
            (file % "0.0.0.0:0" + "&secret-file=" + secret, "uploads from the network need a secret and TLS"),
            (file % "127.0.0.1:0" + "&access=read", "could read all files there"),
            (file % "0.0.0.0:0" + "&access=read&open=true", "would read all files"),
            (file % "0.0.0.0:0" + "&access=read&public=true", "would serve everybody"),
            (file % "127.0.0.1:0" + "&public=true", "say `access=read`"),
            ("file://127.0.0.1:0?auth=none&root=/nonexistent", "No such file"),
        ):
            checked = onepoll("check", url)
            self.assertNotEqual(checked.returncode, 0, url)
            self.assertIn(said, checked.stderr, url)
        for url in (
            file % "127.0.0.1:0" + "&auth=none",
            file % "127.0.0.1:0" + "&secret-file=" + secret,
            file % "127.0.0.1:0" + "&access=read&public=true",
            file % "0.0.0.0:0" + "&access=read&secret-file=" + secret,
            file % "0.0.0.0:0" + "&access=read&public=true&open=true",
            "file+unix://%s/s?root=%s" % (self.directory(), root),
        ):
            checked = onepoll("check", url)
            self.assertEqual(checked.returncode, 0, checked.stderr)


if __name__ == "__main__":
    main()
