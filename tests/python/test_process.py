"""What a command inherits from the server, and from whoever started the server; and what the
server hears whatever it inherited itself.

Each test starts the server through a program that leaves as much behind as a process can.
"""

import errno
import os
import re
import resource
import signal
import subprocess
import sys

from behind import without
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

# The shell reads its own status: while it starts a program, which could read it, it has all signals blocked.
TELL = """
echo descriptors $(ulimit -Sn) $(ulimit -Hn)
echo umask $(umask)
echo nice $(nice)
echo directory $(pwd)
echo open $(ls /proc/self/fd)
while read -r line; do case $line in Sig[BIPC]*|ShdPnd*) echo $line;; esac; done </proc/$$/status
echo stat $(cat /proc/$$/stat)
echo environment $(env | cut -d= -f1 | sort)
echo input $(readlink /proc/$$/fd/0)
"""

SOFT = 512


def needs(case, command):
    """Skips where this cannot be run, unless everything is required."""
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE)
    except (OSError, subprocess.CalledProcessError) as wrong:
        if os.environ.get("ONEPOLL_TEST_REQUIRE_ALL") == "1":
            raise
        case.skipTest("%s: %s" % (command[0], wrong))


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
        allowed = {"HOME", "LANG", "ONEPOLL_COMMAND", "PATH", "PWD", "OLDPWD", "SHLVL", "_"}
        self.assertLessEqual(names, allowed)
        self.assertLessEqual({"HOME", "LANG", "ONEPOLL_COMMAND", "PATH"}, names)
        # What the server was given and did not change is passed on.
        nice = min(os.nice(0) + 3, 19)
        self.assertEqual((found["umask"], found["nice"]), ("0027", str(nice)))
        peer.close()
        server.rests()
        server.stop()

    @without("secret", "more at once than may have not logged in")
    @without("tls", "more at once than may have not logged in")
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

    @without("secret", "its connections are of a program of its own")
    @without("tls", "its connections are of a program of its own")
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
    def test_a_command_is_started_without_copying_the_server(self):
        log = os.path.join(self.directory(), "log")
        through = ["strace", "-D", "-f", "-qq", "-e", "trace=process", "-o", log]
        needs(self, [*through, "true"])
        server = self.serve("command://127.0.0.1:0?framing=i32&auth=none", through=through)
        peer = self.dial(server.at("command")).say(b":\n")
        self.assertEqual(takes_i32(peer), b"")
        server.stop()
        with open(log) as file:
            lines = [line.split(None, 1) for line in file]
        calls = [call for pid, call in lines if pid == str(server.pid)]
        made = [call for call in calls if re.match("v?fork|clone", call)]
        # The keeper, and the command.
        self.assertEqual(len(made), 2, made)
        for call in made:
            self.assertIn("CLONE_VM|CLONE_VFORK", call)
        # Nobody can leave children to it, so after the start it looks for none.
        looks = [call for call in calls if call.startswith("waitid(P_ALL")]
        self.assertEqual(len(looks), 1, looks)


SUBREAPER = """
import ctypes, os, sys
if ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0):  # PR_SET_CHILD_SUBREAPER
    raise OSError(ctypes.get_errno(), "prctl")
os.execv(sys.argv[1], sys.argv[1:])
"""

def states(server):
    """Of its children, the oldest first."""
    return [state_of(pid) for pid in server.children_now()]


def state_of(pid):
    with open("/proc/%s/stat" % pid) as file:
        return file.read().rsplit(") ", 1)[1].split()[0]


def release(fifo):
    """Lets go whoever reads from it, as soon as somebody does."""

    def opened():
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as wrong:
            if wrong.errno != errno.ENXIO:
                raise
            return None

    os.close(until(opened, "nobody reads from %s" % fifo))


LEAVE = """
import os, signal, sys
reader, writer = os.pipe()
for number in range(%d):
    if not os.fork():
        os.close(writer)
        os.read(reader, 1)
        if number == 7:
            os.kill(os.getpid(), %d)
        os._exit(number %% 256)
open("%s", "w").close()
open("%s").read()
"""
"""Forks, waits to be told by a FIFO, and ends; its children end with it, one by a signal."""

NAMELESS = 40
"""A real-time signal, which nix has no name for and cannot tell of."""


class Init(Case):
    """What a command leaves behind comes to us if we are PID 1 or a subreaper."""

    COMMAND = "command://127.0.0.1:0?framing=json&auth=none"

    def as_subreaper(self):
        return self.serve(self.COMMAND, through=(sys.executable, "-c", SUBREAPER))

    def as_pid_1(self):
        through = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
        needs(self, [*through, "true"])
        server = self.serve(self.COMMAND, through=through)
        (server.pid,) = map(int, server.children_now())
        server.descriptors = server.descriptors_now()
        return server

    def leaves(self, peer, number, end=signal.SIGTERM, then=":"):
        """A command that leaves that many behind, and one more; writing to the FIFO ends them."""
        directory = self.directory()
        fifo, ready, script = (directory + name for name in ("/fifo", "/ready", "/leave.py"))
        os.mkfifo(fifo)
        os.mkfifo(ready)
        with open(script, "w") as file:
            file.write(LEAVE % (number, end, ready, fifo))
        # Out of the session before its shell exits, or it is killed with its group; and without its mark, or the
        # keeper kills it soon after.
        line = "setsid env -i %s %s >/dev/null 2>&1 & cat %s; %s; exit 3\n"
        peer.say((line % (sys.executable, script, ready, then)).encode())
        return fifo

    def exits(self, peer, *codes):
        self.assertEqual([takes_json(peer)[0]["exit"] for _ in codes], list(codes))

    def reaps(self, server):
        peer = self.dial(server.at("command"))
        fifo = self.leaves(peer, 0)
        self.exits(peer, 3)
        until(lambda: len(server.children_now()) == 1, "it was not left to us")
        release(fifo)
        until(lambda: not server.children_now(), "a zombie is left")

        # More than are reaped in a turn, and one signal tells of all.
        fifo = self.leaves(peer, 300)
        self.exits(peer, 3)
        with server.suspended():
            release(fifo)
            until(lambda: states(server) == ["Z"] * 301, "they are not left to us")
        until(lambda: not server.children_now(), "zombies are left")

        # One that ended by a signal without a name is in front of others.
        fifo = self.leaves(peer, 20, NAMELESS)
        self.exits(peer, 3)
        with server.suspended():
            release(fifo)
            until(lambda: states(server) == ["Z"] * 21, "they are not left to us")
        until(lambda: not server.children_now(), "zombies are left")

        # A command that has ended is in front, and not reaped before what it wrote is read.
        hold = os.path.join(self.directory(), "hold")
        os.mkfifo(hold)
        fifo = self.leaves(peer, 0, then="cat %s; echo out" % hold)
        until(lambda: len(server.children_now()) == 1, "it does not run")
        with server.suspended():
            release(hold)
            until(lambda: states(server) in (["Z", "S"], ["Z"]), "it does not end")
            release(fifo)
            until(lambda: states(server) == ["Z", "Z"], "it was not left to us")
        self.exits(peer, 3)
        until(lambda: not server.children_now(), "a zombie is left")

        # While many come to us, no command's status is taken.
        fifo = self.leaves(peer, 200)
        self.exits(peer, 3)
        release(fifo)
        codes = range(100)
        peer.say(b"".join(b"setsid env -i true & exit %d\n" % code for code in codes))
        self.exits(peer, *codes)
        until(lambda: not server.children_now(), "zombies are left")
        peer.close()
        server.rests()
        server.stop()

    def test_as_pid_1_it_reaps_what_commands_leave_behind(self):
        self.reaps(self.as_pid_1())

    def test_as_a_subreaper_it_reaps_what_commands_leave_behind(self):
        self.reaps(self.as_subreaper())

    def test_children_that_a_shell_had_before_it_became_the_server_are_reaped(self):
        fifo = os.path.join(self.directory(), "fifo")
        os.mkfifo(fifo)
        script = 'true & cat "$0" & exec "$@"'
        server = self.serve(self.COMMAND, through=("sh", "-c", script, fifo))
        until(lambda: len(server.children_now()) == 1, "`true` is a zombie")
        release(fifo)
        until(lambda: not server.children_now(), "a zombie is left")
        peer = self.dial(server.at("command")).say(b"exit 5\n")
        self.assertEqual(takes_json(peer)[0]["exit"], 5)
        server.stop()


if __name__ == "__main__":
    main()
