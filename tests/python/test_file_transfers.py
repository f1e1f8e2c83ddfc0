"""`onepoll send`, `fetch` and `list` against `onepoll serve file+unix://…`: what is cut at any time goes on, and what has
arrived is whole; faults G7, G12, H10."""

import json
import os
import random
import select
import signal
import subprocess
import time

import behind
from file_server import digest
from harness import BINARY, DEADLINE, Case, left, main

SEED = int(os.environ.get("ONEPOLL_SEED", "20261127"))

LARGE = 96_000_000
"""Takes long enough that a process can be killed in the middle of it."""


def guards():
    """What a client says to a server behind the guards."""
    for guard in behind.GUARDS.values():
        for option in guard.options:
            key, _, value = option.partition("=")
            yield from {"secret-file": ["--secret-file", value], "cert": ["--tls", "--ca", value]}.get(key, [])


class Transfers(Case):
    def setUp(self):
        self.home = self.directory()
        self.random = random.Random(SEED)
        self.root = os.path.join(self.home, "root")
        os.mkdir(self.root)
        self.address = os.path.join(self.home, "socket")

    def serves(self, options="names=tree"):
        return self.serve("file+unix://%s?root=%s&%s" % (self.address, self.root, options))

    def write(self, name, data):
        path = os.path.join(self.home, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)

    def read(self, *parts):
        with open(os.path.join(self.home, *parts), "rb") as file:
            return file.read()

    def starts(self, command, *arguments, stdin=subprocess.DEVNULL):
        process = subprocess.Popen(
            [BINARY, command, self.address, *arguments, *guards()],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.home,
        )

        def ends():
            if process.poll() is None:
                process.kill()
            process.communicate()

        self.addCleanup(ends)
        return process

    def runs(self, command, *arguments, input=None, code=0, within=6 * DEADLINE):
        process = self.starts(command, *arguments, stdin=subprocess.DEVNULL if input is None else subprocess.PIPE)
        out, err = process.communicate(input, timeout=within)
        self.assertEqual(process.returncode, code, err.decode())
        return out, err.decode()

    def grows(self, process, where, beyond):
        """Waits until something hidden in a directory is longer; whether it became so before the process ended."""
        until = time.monotonic() + 6 * DEADLINE
        while process.poll() is None:
            with os.scandir(where) as found:
                for one in found:
                    if one.name != "lock" and one.is_file() and one.stat().st_size > beyond:
                        return True
            assert left(until)
            select.select([], [], [], 0.002)
        return False

    def test_fault_g12_h10_a_server_killed_in_the_middle_has_all_or_nothing_and_goes_on(self):
        data = self.random.randbytes(LARGE)
        self.write("large", data)
        server = self.serves()
        beyond, cuts = 0, 0
        for _ in range(4):
            beyond += self.random.randrange(200_000, LARGE // 5)
            process = self.starts("send", "large")
            if not self.grows(process, os.path.join(self.root, ".onepoll"), beyond):
                break
            os.kill(server.pid, signal.SIGKILL)
            server.process.wait()
            _, err = process.communicate(timeout=6 * DEADLINE)
            visible = [name for name in os.listdir(self.root) if name != ".onepoll"]
            if process.returncode == 0 or visible:
                self.assertEqual(self.read("root", "large"), data)
            else:
                cuts += 1
                self.assertRegex(err.decode(), "large: [0-9]+ of %d bytes were sent: " % LARGE)
            server = self.serves()
        out, _ = self.runs("send", "large", "--json")
        self.assertEqual(self.read("root", "large"), data)
        told = json.loads(out)
        self.assertEqual(told["sha256"], digest(data))
        self.assertGreater(cuts, 0)
        self.assertTrue(told["outcome"] == "there" or told["resumed_at"] > 200_000, told)
        server.stop()

    def test_fault_g7_a_client_killed_in_the_middle_goes_on(self):
        data = self.random.randbytes(LARGE)
        self.write("large", data)
        server = self.serves()
        process = self.starts("send", "large")
        self.assertTrue(self.grows(process, os.path.join(self.root, ".onepoll"), LARGE // 4))
        process.kill()
        process.wait()
        out, _ = self.runs("send", "large", "--json")
        self.assertGreater(json.loads(out)["resumed_at"], 200_000)
        self.assertEqual(self.read("root", "large"), data)

        there = os.path.join(self.home, "there")
        os.mkdir(there)
        process = self.starts("fetch", "large", "-o", "there")
        self.assertTrue(self.grows(process, there, LARGE // 4))
        process.kill()
        process.wait()
        kept = os.path.getsize(os.path.join(there, ".large.onepoll-part"))
        # A server that is killed is no other case.
        process = self.starts("fetch", "large", "-o", "there")
        if self.grows(process, there, LARGE // 2):
            os.kill(server.pid, signal.SIGKILL)
            server.process.wait()
            process.communicate(timeout=6 * DEADLINE)
            server = self.serves()
        if not os.path.exists(os.path.join(there, "large")):
            out, _ = self.runs("fetch", "large", "-o", "there", "--json")
            self.assertGreaterEqual(json.loads(out)["resumed_at"], kept)
        self.assertEqual(self.read("there", "large"), data)
        self.assertEqual(os.listdir(there), ["large"])
        server.stop()

    def test_a_part_of_another_file_is_not_gone_on_with(self):
        data = self.random.randbytes(LARGE)
        self.write("large", data)
        server = self.serves()
        process = self.starts("send", "large")
        self.assertTrue(self.grows(process, os.path.join(self.root, ".onepoll"), LARGE // 4))
        process.kill()
        process.wait()
        other = data[:100] + b"!" + data[101:]
        self.write("large", other)
        out, _ = self.runs("send", "large", "--json")
        self.assertNotIn("resumed_at", json.loads(out))
        self.assertEqual(self.read("root", "large"), other)
        server.stop()

    def test_trees_go_there_and_come_back(self):
        server = self.serves()
        files = {"tree/%s" % name: self.random.randbytes(size) for name, size in
                 (("a", 0), ("b/c", 1), ("b/d/e", 70_000), ("你好", 65_536), ("f", 1_500_000))}
        for name, data in files.items():
            self.write(name, data)
        out, err = self.runs("send", "tree")
        self.assertEqual(err, "")
        sums = {line[66:]: line[:64] for line in out.decode().splitlines()}
        self.assertEqual(sums, {name: digest(data) for name, data in files.items()})
        out, _ = self.runs("list", "--json")
        listed = [json.loads(line) for line in out.splitlines()]
        self.assertEqual({one["file_name"]: one["file_size"] for one in listed[:-1]},
                         {name: len(data) for name, data in files.items()})
        os.mkdir(os.path.join(self.home, "back"))
        self.runs("fetch", *files, "-o", "back")
        for name, data in files.items():
            self.assertEqual(self.read("back", name), data)
        # Through pipes, too.
        piped = self.random.randbytes(3_000_000)
        self.runs("send", "-", "--name", "tree/piped", input=piped)
        out, _ = self.runs("fetch", "tree/piped", "-o", "-")
        self.assertEqual(out, piped)
        self.write("tree/b/c", b"changed")
        _, err = self.runs("send", "tree", code=1)
        self.assertIn("onepoll: tree/b/c: another file is there under its name\n", err)
        server.stop()

    def test_a_large_file_that_is_there_is_refused_and_the_others_go_on(self):
        server = self.serves()
        for name in ("a", "b"):
            self.write(name, self.random.randbytes(2_000_000))
        self.write("root/a", self.random.randbytes(3_000_000))
        _, err = self.runs("send", "a", "b", code=1)
        self.assertRegex(err, "^onepoll: a: refused: .*\n$")
        self.assertEqual(self.read("root", "b"), self.read("b"))
        server.stop()

    def test_many_small_files_go_in_bounded_time(self):
        server = self.serves("names=tree&sync=off")
        files = {"many/%04d" % n: b"%d" % n for n in range(200)}
        for name, data in files.items():
            self.write(name, data)
        out, _ = self.runs("send", "many")
        self.assertEqual(len(out.splitlines()), 200)
        os.mkdir(os.path.join(self.home, "back"))
        self.runs("fetch", *files, "-o", "back")
        for name, data in files.items():
            self.assertEqual(self.read("back", name), data)
        server.stop()


if __name__ == "__main__":
    main()
