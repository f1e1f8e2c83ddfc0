"""What a command inherits from the server, and from whoever started the server; and what the
server hears whatever it inherited itself.

Each test starts the server through a program that leaves as much behind as a process can.
"""

import os
import re
import resource
import signal
import subprocess
import sys

from harness import BINARY, DEADLINE, Case, main

from test_command import takes_i32, takes_json
from test_life import until

HOSTILE = """
import fcntl, os, pty, resource, signal, sys, termios

soft, gone = int(sys.argv[1]), sys.argv[2]
os.setsid()
master, terminal = pty.openpty()
fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
for fd in (master, terminal, os.open("/", os.O_RDONLY)):
    os.set_inheritable(fd, True)
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
os.umask(0o027)
os.nice(3)
os.mkdir(gone)
os.chdir(gone)
os.rmdir(gone)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""A terminal, descriptors, ignored and blocked signals, a soft limit, and no working directory."""

TELL = """
echo descriptors $(ulimit -Sn) $(ulimit -Hn)
echo umask $(umask)
echo nice $(nice)
echo directory $(pwd)
echo open $(ls /proc/self/fd)
grep -E 'Sig(Blk|Ign|Pnd|Cgt)|ShdPnd' /proc/$$/status
echo stat $(cat /proc/$$/stat)
echo environment $(env | cut -d= -f1 | sort)
echo input $(readlink /proc/$$/fd/0)
"""

SOFT = 512


class Inherited(Case):
    def hostile(self, *urls, **how):
        gone = os.path.join(self.directory(), "gone")
        through = (sys.executable, "-c", HOSTILE, str(SOFT), gone)
        return self.serve(*urls, through=through, **how)

    def told(self, peer):
        """What a command finds itself to have, by the first word of each line."""
        peer.say(TELL.strip().replace("\n", ";").encode() + b"\n")
        header, output = takes_json(peer)
        self.assertEqual(header["exit"], 0, output)
        lines = [line.split(None, 1) for line in output.decode().splitlines()]
        return {name.rstrip(":"): value for name, value in lines}

    def test_a_command_inherits_nothing_that_the_server_changed_for_itself(self):
        path = os.path.join(self.directory(), "s")
        secret = {"LD_PRELOAD": "", "SECRET": "x", "LANG": "C.UTF-8"}
        server = self.hostile("command+unix://" + path, env=secret)
        peer = self.dial(path)
        found = self.told(peer)

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        hard = "unlimited" if hard == resource.RLIM_INFINITY else str(hard)
        self.assertEqual(found["descriptors"], "%d %s" % (SOFT, hard))
        # What is open in `ls` itself: the directory that it reads is the fourth.
        self.assertEqual(found["open"], "0 1 2 3")
        self.assertEqual(found["input"], "/dev/null")
        self.assertEqual(found["directory"], "/")
        for name in ("SigBlk", "SigPnd", "ShdPnd"):
            self.assertEqual(int(found[name], 16), 0, name)
        # glibc's posix_spawn leaves 32 and 33 ignored, which it keeps for itself.
        self.assertEqual(int(found["SigIgn"], 16) & ~(3 << 31), 0, found["SigIgn"])
        stat = found["stat"].rsplit(") ", 1)
        pid, (parent, group, session, terminal) = stat[0].split()[0], stat[1].split()[1:5]
        self.assertEqual(int(parent), server.pid)
        self.assertEqual((group, session, terminal), (pid, pid, "0"))
        # `PWD` and what else a shell sets by itself beside the names that are kept.
        names = set(found["environment"].split())
        self.assertLessEqual(names, {"HOME", "LANG", "PATH", "PWD", "OLDPWD", "SHLVL", "_"})
        self.assertLessEqual({"HOME", "LANG", "PATH"}, names)
        # What the server was given and did not change is passed on.
        self.assertEqual((found["umask"], found["nice"]), ("0027", "3"))
        peer.close()
        server.rests()
        server.stop()

    def test_with_3000_descriptors_open_a_command_has_the_limit_the_server_was_started_with(self):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if hard != resource.RLIM_INFINITY and hard < 8192:
            self.skipTest("the hard limit on descriptors is %d" % hard)
        directory = self.directory()
        command, echo = directory + "/command", directory + "/echo"
        server = self.hostile("command+unix://" + command, "echo+unix://" + echo)
        # First, since our own select() takes no descriptor above 1023 either.
        peer, probe = self.dial(command), self.dial(echo)
        for _ in range(3000):
            self.dial(echo)
        probe.say(b"x").hears(b"x")
        until(lambda: len(server.descriptors_now()) > 3000, "they do not come in")
        for _ in range(3):
            self.assertEqual(self.told(peer)["descriptors"].split()[0], str(SOFT))
        # And the server's own is what it was: the next connections still come in.
        before = len(server.descriptors_now())
        for _ in range(10):
            self.dial(echo)
        until(lambda: len(server.descriptors_now()) == before + 10, "they do not come in")
        server.stop()

    def test_a_working_directory_that_is_removed_meanwhile_is_left(self):
        directory = os.path.join(self.directory(), "here")
        os.mkdir(directory)
        server = self.serve(
            "command://127.0.0.1:0?framing=i32&auth=none",
            through=("sh", "-c", 'cd "$0" && exec "$@"', directory),
        )
        peer = self.dial(server.at("command")).say(b"pwd\n")
        self.assertEqual(takes_i32(peer), os.path.realpath(directory).encode() + b"\n")
        os.rmdir(directory)
        for _ in range(2):
            peer.say(b"pwd\n")
            self.assertEqual(takes_i32(peer), b"/\n")  # and no complaint of getcwd()
        said = [line for line in server.lines if "working directory is gone" in line]
        self.assertEqual(len(said), 1, server.tail())
        server.stop()

    def test_an_ignored_sigquit_and_a_background_start_in_a_script(self):
        path = os.path.join(self.directory(), "s")
        # A shell without job control starts what is behind `&` with SIGINT and SIGQUIT ignored.
        script = '"$@" & trap "kill $!" TERM; wait; wait'
        server = self.serve("command+unix://" + path, through=("sh", "-c", script, "sh"))
        peer = self.dial(path).say(b"kill -QUIT $$; echo lives on\n")
        self.assertEqual(takes_json(peer)[0]["exit"], 128 + signal.SIGQUIT)
        peer.close()
        server.terminate()
        server.process.wait(DEADLINE)


class Heard(Case):
    def test_signals_that_whoever_started_us_blocked_are_heard(self):
        for ends in (signal.SIGTERM, signal.SIGINT):
            path = os.path.join(self.directory(), "gone")
            through = (sys.executable, "-c", HOSTILE, str(SOFT), path)
            server = self.serve("echo://127.0.0.1:0", through=through)
            server.counters()  # SIGUSR1
            os.kill(server.pid, signal.SIGHUP)
            peer = self.dial(server.at("echo")).say(b"x").hears(b"x")
            peer.close()
            os.kill(server.pid, ends)
            server.ends(0)

    def test_the_load_generator_hears_them_too(self):
        server = self.serve("echo://127.0.0.1:0")
        url = "echo://%s:%d" % server.at("echo")
        through = (sys.executable, "-c", HOSTILE, str(SOFT), os.path.join(self.directory(), "gone"))
        bench = subprocess.Popen(
            [*through, BINARY, "bench", "echo", "-c", "1", "-d", "1h", "--warmup", "0s", url],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(bench.wait)
        self.addCleanup(bench.kill)
        until(lambda: server.counters()["connections_opened"], "it does not begin")
        bench.terminate()
        self.assertEqual(bench.wait(DEADLINE), 130)
        server.stop()


class Started(Case):
    def needs(self, command):
        """Skips where this cannot be run, unless everything is required."""
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE)
        except (OSError, subprocess.CalledProcessError) as wrong:
            if os.environ.get("ONEPOLL_TEST_REQUIRE_ALL") == "1":
                raise
            self.skipTest("%s: %s" % (command[0], wrong))

    def test_a_command_is_started_without_copying_the_server(self):
        log = os.path.join(self.directory(), "log")
        through = ["strace", "-D", "-f", "-qq", "-e", "trace=process", "-o", log]
        self.needs([*through, "true"])
        server = self.serve("command://127.0.0.1:0?framing=i32&auth=none", through=through)
        peer = self.dial(server.at("command")).say(b":\n")
        self.assertEqual(takes_i32(peer), b"")
        server.stop()
        with open(log) as file:
            lines = [line.split(None, 1) for line in file]
        calls = [call for pid, call in lines if pid == str(server.pid)]
        made = [call for call in calls if re.match("v?fork|clone", call)]
        self.assertEqual(len(made), 1, made)
        self.assertIn("CLONE_VM|CLONE_VFORK", made[0])


if __name__ == "__main__":
    main()
