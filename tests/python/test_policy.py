#!/usr/bin/env python3
"""What commands may be and within what they run, and what becomes of what they leave behind.

Needs no program but a shell and coreutils; what only root can do (other users, cgroups) is skipped without it.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
import unittest

from behind import without
from harness import BINARY, DEADLINE, Case, main, onepoll
from test_command import takes_i32
from test_life import until

NOBODY = 65534
IS_ROOT = os.geteuid() == 0
CGROUPS = [path for path in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup") if os.path.exists(path + "/cgroup.procs")]
SYSTEM = [path for path in ("/usr", "/bin", "/lib", "/lib64", "/etc", "/proc", "/dev") if os.path.exists(path)]

only_root = unittest.skipUnless(IS_ROOT, "only root becomes another user")


def has_landlock():
    """Whether this kernel confines files, as the binary finds it."""
    return "landlock" not in onepoll("check", "command+unix://@landlock?writable=/tmp").stderr


def processes(mark):
    """The processes that have this in their command line, by number; zombies have none."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open("/proc/%s/cmdline" % pid, "rb") as file:
                if mark.encode() in file.read().split(b"\0"):
                    found.append(int(pid))
    return found


class Confined(Case):
    """Each server is at a Unix socket of its own."""

    def start(self, *options, **how):
        self.path = os.path.join(self.directory(), "s")
        url = "command+unix://%s?%s" % (self.path, "&".join(("framing=i32",) + options))
        self.server = self.serve(url, **how)
        return self.server

    def runs(self, line, peer=None):
        """The output of one command."""
        if not peer:
            with self.dial(self.path) as peer:
                return self.runs(line, peer)
        peer.say(line.encode() + b"\n")
        return takes_i32(peer).decode()

    def refused(self, *options, user=None, **how):
        """What `serve` says that does not start; `check` says the same."""
        url = "command+unix://%s?%s" % (os.path.join(self.directory(), "s"), "&".join(options))
        said = []
        for command in ("check", "serve"):
            done = subprocess.run(
                [BINARY, command, url], capture_output=True, timeout=DEADLINE, user=user, **how
            )
            self.assertIn(done.returncode, (1, 2), (command, done.stderr))
            said.append(done.stderr.decode())
        # The number of the process that tried it is part of the name of its cgroup.
        said = [re.sub(r"onepoll-\d+-0-try", "onepoll-try", text) for text in said]
        self.assertEqual(said[0], said[1])
        return said[0]


class Launched(Confined):
    @only_root
    def test_fault_h9_commands_run_as_another_user_with_nothing_of_roots(self):
        self.start("run-as=nobody")
        status = self.runs("id -u; id -ru; id -G; echo $HOME $USER $LOGNAME; grep -h ^Cap /proc/self/status")
        status = status.splitlines()
        self.assertEqual(status[:2], ["65534"] * 2)
        self.assertNotIn("0", status[2].split())
        home = os.path.expanduser("~nobody")
        self.assertEqual(status[3], "%s nobody nobody" % home)
        for line in status[4:]:
            if not line.startswith("CapBnd"):
                self.assertEqual(int(line.split()[1], 16), 0, line)
        self.assertIn("Permission denied", self.runs("cat /etc/shadow 2>&1"))
        self.server.rests()
        self.server.stop()

    @only_root
    def test_fault_h9_user_and_group_by_number(self):
        self.start("run-as=65534:1")
        self.assertEqual(self.runs("id -u; id -g").split(), ["65534", "1"])
        self.server.stop()

    def test_the_working_directory_and_variables_of_the_server(self):
        directory = self.directory()
        self.start("cwd=" + directory, "env=CI", "env=ABSENT", env={"CI": "yes it is", "SECRET": "x"})
        told = self.runs("pwd; echo $CI; env").splitlines()
        self.assertEqual(told[:2], [directory, "yes it is"])
        self.assertNotIn("SECRET=x", told)
        self.assertFalse([line for line in told if line.startswith("ABSENT")])
        self.server.stop()

    def test_fault_f6_limits_of_a_process(self):
        self.start("limit-memory=512M", "limit-cpu=1s", "limit-files=32", "limit-file-size=64K")
        told = self.runs("ulimit -Hv; ulimit -Ht; ulimit -Hn; ulimit -Hf; ulimit -n")
        self.assertEqual(told.split(), ["524288", "1", "32", "128", "32"])
        # A spinning process is ended by SIGXCPU or SIGKILL, a greedy one gets no memory, a file does not grow.
        peer = self.dial(self.path)
        spins = self.runs("exec 2>/dev/null; sh -c 'while :; do :; done'; echo $?", peer).split()[-1]
        self.assertIn(spins, (str(128 + signal.SIGXCPU), str(128 + signal.SIGKILL)))
        file = os.path.join(self.directory(), "file")
        self.runs("head -c 1000000 /dev/zero >%s 2>/dev/null" % file, peer)
        self.assertEqual(os.stat(file).st_size, 64 << 10)
        greedy = "head -c 2G /dev/zero | tail -c 1G | wc -c"
        self.assertEqual(self.runs("exec 2>/dev/null; " + greedy, peer).split()[-1], "0")
        peer.close()
        self.server.rests()
        self.server.stop()

    @only_root
    def test_fault_f5_a_fork_bomb_is_held_and_others_are_served(self):
        # A user of its own: the limit counts all processes of the user.
        self.start("run-as=48151:48151", "limit-nproc=24", "timeout=2s")
        bomb = self.dial(self.path)
        # A shell that cannot fork ends: without the sleep they may all have by when we look.
        bomb.say(b"f() { f & f & sleep 1; wait; }; f 2>/dev/null; sleep 30\n")
        until(lambda: len(of_user(48151)) > 5, "no bomb")
        other = self.dial(self.path)
        self.assertLessEqual(len(of_user(48151)), 24)
        # Others are of the same user: there may be no process left for theirs, and they are told so at once.
        begun = time.monotonic()
        self.runs("echo $((1 + 1))", other)
        self.assertLess(time.monotonic() - begun, 2)
        takes_i32(bomb)
        until(lambda: not of_user(48151), "there are survivors")
        self.assertEqual(self.runs("echo $((1 + 1))", other), "2\n")
        bomb.close()
        other.close()
        self.server.rests()
        self.server.stop()

    @only_root
    def test_fault_f20_a_setuid_program_gives_no_rights(self):
        directory = self.directory()
        program = os.path.join(directory, "id")
        shutil.copy(shutil.which("id"), program)
        os.chmod(program, 0o4755)
        os.chmod(directory, 0o755)
        self.start("run-as=nobody")
        self.assertEqual(self.runs(program + " -u"), "0\n")
        self.server.stop()
        self.start("run-as=nobody", "no-new-privs=true")
        self.assertEqual(self.runs(program + " -u"), "65534\n")
        self.assertIn("NoNewPrivs:\t1", self.runs("cat /proc/self/status"))
        self.server.stop()

    def test_files_are_out_of_reach(self):
        if not has_landlock():
            self.skipTest("this kernel has no landlock")
        directory, secret = self.directory(), os.path.join(self.directory(), "secret")
        with open(secret, "w") as file:
            file.write("x")
        self.start("writable=" + directory, *("readable=" + path for path in SYSTEM))
        inside = os.path.join(directory, "file")
        told = self.runs(
            "echo in >%s; cat %s; cat %s; echo out >%s; truncate -s 0 %s; rm %s; ls %s >/dev/null; echo null >/dev/null"
            % (inside, inside, secret, secret, secret, secret, os.path.dirname(secret))
        )
        self.assertEqual(told.splitlines()[0], "in")
        self.assertEqual(told.count("Permission denied"), 5, told)
        with open(secret) as file:
            self.assertEqual(file.read(), "x")
        self.server.stop()
        # With `writable` alone everything is read.
        self.start("writable=" + directory)
        self.assertEqual(self.runs("cat " + secret), "x")
        self.assertIn("Permission denied", self.runs("echo out >%s" % secret))
        self.server.stop()

    def test_fault_f16_f17_a_launched_command_inherits_nothing_either(self):
        self.start("no-new-privs=true")
        self.assertEqual(self.runs("ls /proc/self/fd").split(), ["0", "1", "2", "3"])
        self.assertEqual(self.runs("yes | head -1"), "y\n")
        status = self.runs("while read -r line; do case $line in Sig[BI]*) echo $line;; esac; done </proc/$$/status")
        blocked, ignored = (int(line.split()[1], 16) for line in status.splitlines())
        self.assertEqual((blocked, ignored & ~(3 << 31)), (0, 0), status)
        told = self.runs("cut -d' ' -f1,5,6 /proc/$$/stat; echo $$; env").splitlines()
        self.assertEqual(told[0], " ".join([told[1]] * 3))
        self.assertTrue(any(line.startswith("ONEPOLL_COMMAND=") for line in told))
        self.assertTrue(any(line.startswith("PATH=/usr/local/sbin:") for line in told))
        self.assertIn("exit", self.runs("(exit 7); echo exit $?"))
        self.server.rests()
        self.server.stop()

    def test_fault_h9_a_step_that_fails_is_told_and_nothing_is_run(self):
        directory = os.path.join(self.directory(), "here")
        os.mkdir(directory)
        mark = os.path.join(self.directory(), "ran")
        audit = os.path.join(self.directory(), "audit")
        self.start("cwd=" + directory, "no-new-privs=true", arguments=("--audit", audit))
        peer = self.dial(self.path)
        self.assertEqual(self.runs("pwd", peer), directory + "\n")
        os.rmdir(directory)
        told = self.runs("touch %s; pwd" % mark, peer)
        self.assertEqual(told.split(": ", 3)[:3], ["onepoll", "cannot start", "cwd"], told)
        self.assertIn("No such file or directory", told)
        self.assertFalse(os.path.exists(mark))
        os.mkdir(directory)
        self.assertEqual(self.runs("pwd", peer), directory + "\n")
        peer.close()
        self.assertEqual(self.server.counters()["commands_failed"], 1)
        self.server.stop()
        with open(audit) as file:
            ends = [event for event in map(json.loads, file) if event["event"] == "command-ended"]
        self.assertEqual(len(ends), 3, ends)
        for event, ran in zip(ends, (True, False, True)):
            self.assertEqual(("exit" in event, event.get("why", "")[:17]), (ran, "" if ran else "cannot start: cwd"))

    @without("secret", "`exec` is told of none")
    @without("tls", "`exec` is told of none")
    def test_fault_f12_h9_exec_says_that_it_was_not_run_and_the_commands_streams_are_silent(self):
        directory = os.path.join(self.directory(), "here")
        os.mkdir(directory)
        self.start("cwd=" + directory, "no-new-privs=true")
        done = onepoll("exec", self.path, "--", "/no/such", "program")
        self.assertEqual((done.returncode, done.stdout), (127, ""), done.stderr)
        os.rmdir(directory)
        done = onepoll("exec", self.path, "--", "echo", "out")
        self.assertEqual((done.returncode, done.stdout), (255, ""))
        self.assertRegex(done.stderr, r"^onepoll: [^\n]*: cannot start: cwd: [^\n]*: the command was not run\n$")
        self.server.stop()

    def test_a_command_cannot_speak_for_its_launcher(self):
        self.start("no-new-privs=true")
        told = self.runs("echo '!not so' >&3; ls /proc/self/fd/3; echo '!not so' | tee /proc/self/fd/3; exit 1")
        self.assertNotIn("cannot start", told)
        self.assertEqual(self.server.counters()["commands_failed"], 0)
        self.server.stop()


def of_user(uid):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.stat("/proc/" + pid).st_uid == uid:
                found.append(pid)
    return found


class Listed(Confined):
    def test_fault_f14_what_is_listed_runs_and_nothing_else(self):
        directory = self.directory()
        with open(os.path.join(directory, "file"), "w") as file:
            file.write("content\n")
        self.start("cwd=" + directory, "programs=ls", "programs=cat%20*", "programs=echo%20**")
        peer = self.dial(self.path)
        self.assertEqual(self.runs("ls", peer), "file\n")
        self.assertEqual(self.runs("cat 'fi'le", peer), "content\n")
        told = self.runs("echo $HOME `id` $(id) * ; rm file > x | sh", peer)
        self.assertEqual(told, "$HOME `id` $(id) * ; rm file > x | sh\n")
        refusal = "onepoll: it is not among the programs that may be run here\n"
        for line in ("ls; rm -rf file", "ls && rm file", "rm file", "cat -n file", "cat file file", "/bin/ls", "sh"):
            self.assertEqual(self.runs(line, peer), refusal, line)
        self.assertEqual(self.runs("cat 'file", peer), "onepoll: a quote is not closed\n")
        self.assertEqual(os.listdir(directory), ["file"])
        peer.close()
        self.server.rests()
        self.server.stop()

    def test_fault_f12_a_listed_program_that_is_not_there(self):
        self.start("programs=/no/such/program", "programs=no-such-program")
        for line in ("/no/such/program", "no-such-program"):
            self.assertEqual(self.runs(line), "onepoll: cannot start: No such file or directory (os error 2)\n")
        self.server.stop()
        self.start("programs=/no/such/program", "no-new-privs=true")
        told = self.runs("/no/such/program")
        self.assertEqual(told, "onepoll: cannot start: No such file or directory (os error 2)\n")
        self.server.stop()


class Refused(Confined):
    """What cannot be had stops the start, with the reason."""

    @only_root
    def test_a_user_who_does_not_exist(self):
        self.assertIn("there is no user `nobody-of-that-name`", self.refused("run-as=nobody-of-that-name"))
        self.assertIn("there is no group `none-such`", self.refused("run-as=nobody:none-such"))

    @only_root
    def test_fault_h9_only_root_becomes_another(self):
        directory = self.directory()
        os.chmod(directory, 0o777)
        url = "command+unix://%s/s?run-as=root" % directory
        done = subprocess.run([BINARY, "serve", url], capture_output=True, timeout=DEADLINE, user=NOBODY, group=NOBODY)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(b"only root becomes another", done.stderr)
        # And so it is with a server that becomes somebody before it serves.
        for command in ("check", "serve"):
            done = subprocess.run(
                [BINARY, command, "--user", "nobody", url], capture_output=True, timeout=DEADLINE
            )
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(b"only root becomes another", done.stderr)

    @only_root
    def test_fault_f5_a_limit_that_does_not_bind_root(self):
        self.assertIn("limit-nproc: the kernel does not hold root to it", self.refused("limit-nproc=10"))

    def test_directories_that_are_not_there(self):
        gone = os.path.join(self.directory(), "gone")
        self.assertIn("cwd: %s: No such file" % gone, self.refused("cwd=" + gone))
        if has_landlock():
            self.assertIn("landlock: %s" % gone, self.refused("readable=" + gone))

    def test_fault_f4_a_directory_that_is_none_of_cgroups(self):
        directory = self.directory()
        said = self.refused("cgroup=" + directory)
        self.assertIn("%s is no directory of cgroup version 2" % directory, said)

    @only_root
    def test_fault_f6_a_controller_that_is_off(self):
        with cgroup_directory(self) as directory:
            with open(directory + "/cgroup.controllers") as file:
                if "memory" in file.read():
                    self.skipTest("the controller is on")
            said = self.refused("cgroup=" + directory, "cgroup-memory=1M")
            self.assertIn("the controller `memory` may be off", said)
            self.assertEqual(cgroups(directory), [])

    def test_a_limit_that_leaves_no_room(self):
        self.assertIn("its commands cannot run so", self.refused("limit-memory=1M"))

    def test_options_that_contradict_each_other(self):
        for options, reason in (
            (("cgroup-pids=3",), "there is no `cgroup`"),
            (("cwd=tmp",), "no absolute path"),
            (("programs=ls", "shell=true"), "one of them goes"),
            (("shell=false",), "nothing can be run but `programs`"),
            (("programs=*",), "lets the client choose the program"),
            (("env=LD_PRELOAD",), "decides what a program does"),
            (("env=PATH",), "decides what a program does"),
            (("env=A-B",), "not the name of a variable"),
            (("limit-cpu=1500ms",), "whole seconds"),
            (("limit-nproc=0",), "no command runs"),
            (("run-as=a:b:c",), "neither USER nor USER:GROUP"),
        ):
            self.assertIn(reason, self.refused(*options))

    def test_a_reload_that_cannot_be_had_changes_nothing(self):
        path = os.path.join(self.directory(), "s")
        text = '[[endpoint]]\nservice = "command"\ntransport = "unix"\naddress = "%s"\nframing = "i32"\n' % path
        server = self.serve(config=text)
        file = server.argv[server.argv.index("--config") + 1]
        gone = os.path.join(self.directory(), "gone")
        with open(file, "a") as config:
            config.write('cwd = "%s"\n' % gone)
        os.kill(server.pid, signal.SIGHUP)
        line = server.waits_for(lambda line: "not reloaded" in line)
        self.assertIn("cwd: %s" % gone, line)
        os.mkdir(gone)
        os.kill(server.pid, signal.SIGHUP)
        server.waits_for(lambda line: "reloaded the configuration" in line)
        peer = self.dial(path).say(b"pwd\n")
        self.assertEqual(takes_i32(peer).decode(), gone + "\n")
        server.stop()

    def test_check_says_what_would_run_as_whom_within_what(self):
        done = onepoll("check", "command+unix://@policy?limit-files=64&no-new-privs=true&cwd=/")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(
            "runs any line, by /bin/sh, as the server's user, in /, within 64 descriptors, the rights it begins with",
            done.stdout,
        )


@contextlib.contextmanager
def cgroup_directory(case):
    """A directory in which cgroups can be made, or the test is skipped."""
    for parent in CGROUPS:
        directory = "%s/onepoll-test-%d" % (parent, os.getpid())
        try:
            os.mkdir(directory)
        except OSError:
            continue
        try:
            if os.path.exists(directory + "/cgroup.kill"):
                yield directory
                return
        finally:
            until(lambda: not cgroups(directory), "cgroups are left")
            os.rmdir(directory)
    case.skipTest("no cgroup of version 2 can be made here")


def cgroups(directory):
    return [name for name in os.listdir(directory) if os.path.isdir(os.path.join(directory, name))]


class Kept(Confined):
    """Nothing outlives its command, and no command the server."""

    def begins(self, line, mark, count, peer=None):
        """Sends a line, and waits until it has as many processes."""
        peer = peer or self.dial(self.path)
        peer.say(line.encode() + b"\n")
        until(lambda: len(processes(mark)) >= count, "it does not begin")
        return peer

    def mark(self):
        """An argument of `sleep` that nobody else has: fifteen digits."""
        return "%d.%d" % (10**6 + os.getpid(), time.monotonic_ns())

    def test_fault_f4_sessions_and_double_forks_do_not_escape(self):
        self.start()
        mark = self.mark()
        escapes = (
            "setsid sleep {0} & sleep 0.05; echo out",
            "(setsid sh -c 'sleep {0} & sleep {0}' &) ; sleep 0.05; echo out",
            # A new group in the same session, without the mark.
            "setsid sh -c 'setsid env sleep {0} & exit' ; sleep 0.05; echo out",
            "trap '' TERM HUP; nohup setsid sleep {0} >/dev/null 2>&1 & sleep 0.05; echo out",
            "bash -mc 'env -i sleep {0} & disown' 2>/dev/null; sleep 0.05; echo out",
        )
        peer = self.dial(self.path)
        for escape in escapes:
            self.assertEqual(self.runs(escape.format(mark), peer), "out\n")
            until(lambda: not processes(mark), "it survives: " + escape)
        # What a command that runs has started is its own.
        self.begins("setsid sleep %s & wait" % mark, mark, 1, peer)
        self.assertEqual(self.runs("echo other"), "other\n")
        time.sleep(0.3)  # more than one walk of the keeper's
        self.assertEqual(len(processes(mark)), 1)
        peer.reset()
        until(lambda: not processes(mark), "it survives its client")
        self.server.rests()
        self.server.stop()

    @only_root
    def test_fault_f4_f22_a_cgroup_holds_what_hides_from_everything_else(self):
        with cgroup_directory(self) as directory:
            self.start("cgroup=" + directory)
            mark = self.mark()
            peer = self.dial(self.path)
            inside = self.runs("cat /proc/self/cgroup", peer)
            self.assertIn("/onepoll-%d-" % self.server.pid, inside)
            until(lambda: not cgroups(directory), "cgroups are left")
            hides = "setsid env -i sh -c 'sleep %s & sleep %s' & sleep 0.1; echo out" % (mark, mark)
            self.assertEqual(self.runs(hides, peer), "out\n")
            until(lambda: not processes(mark), "it survives")
            until(lambda: not cgroups(directory), "cgroups are left")

            self.begins(hides.replace("sleep 0.1", "sleep 100"), mark, 2, peer)
            self.assertEqual(len(cgroups(directory)), 1)
            self.server.process.kill()
            until(lambda: not processes(mark), "it survives the server")
            until(lambda: not cgroups(directory), "cgroups are left")

            # A server and a keeper that are gone both leave it to the next one.
            stale = os.path.join(directory, "onepoll-%d-1-0-7" % self.server.pid)
            os.mkdir(stale)
            sleeper = subprocess.Popen(["sleep", mark])
            with open(stale + "/cgroup.procs", "w") as file:
                file.write(str(sleeper.pid))
            self.start("cgroup=" + directory)
            self.assertEqual(sleeper.wait(DEADLINE), -signal.SIGKILL)
            until(lambda: not cgroups(directory), "a stale cgroup is left")
            self.server.stop()

    def test_fault_f22_nothing_survives_a_server_that_was_killed(self):
        for options in ((), ("no-new-privs=true",)):
            self.start(*options)
            mark = self.mark()
            self.begins("setsid sleep %s & sleep %s" % (mark, mark), mark, 2)
            keepers = until(self.server.keepers, "it has no keeper")
            self.assertEqual(len(keepers), 1)
            self.server.process.kill()
            until(lambda: not processes(mark), "there are survivors")
            until(lambda: not lives(keepers[0]), "the keeper survives")
            self.server.kill()

    def test_a_keeper_is_not_woken_by_each_command(self):
        self.start()
        (keeper,) = until(self.server.keepers, "it has no keeper")
        peer = self.dial(self.path)
        self.runs(":", peer)

        def wakes():
            with open("/proc/%d/status" % keeper) as file:
                return sum(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt"))

        # Three messages for each, and ten times a second somebody looks.
        before, began = wakes(), time.monotonic()
        for _ in range(200):
            self.runs(":", peer)
        allowed = 50 + 5 * 10 * (time.monotonic() - began)
        self.assertLess(wakes() - before, allowed)
        self.server.stop()

    def test_fault_f22_a_keeper_that_is_killed_leaves_nothing_stopped(self):
        self.needs("strace")
        with open("/proc/self/stat") as file:
            prefix = "%d-%s-0-" % (os.getpid(), file.read().rsplit(") ", 1)[1].split()[19])
        with contextlib.ExitStack() as ends:
            left = []
            for _ in range(3):
                sleeper = subprocess.Popen(["sleep", "1000"], env={"ONEPOLL_COMMAND": prefix + "1"})
                ends.callback(sleeper.wait)
                ends.callback(sleeper.kill)
                left.append(sleeper)
            # It dies when it is about to send its second signal.
            dies = ["-e", "inject=pidfd_send_signal:signal=KILL:when=2"]
            keeper = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=pidfd_send_signal", *dies, BINARY, "keeper", prefix]
            ended = subprocess.run(keeper, stdin=subprocess.DEVNULL, timeout=DEADLINE, stderr=subprocess.PIPE)
            self.assertEqual(ended.returncode, -signal.SIGKILL, ended.stderr)
            for one in left:
                self.assertNotEqual(state(one.pid), "T", "it is stopped for ever")
            until(lambda: [one for one in left if one.poll() == -signal.SIGKILL], "it has killed nothing")

    def test_fault_f22_what_ends_other_programs_does_not_end_the_keeper(self):
        self.start()
        (keeper,) = until(self.server.keepers, "it has no keeper")
        # Once it has done something, it has begun.
        mark = self.mark()
        self.runs("setsid sleep %s & sleep 0.05" % mark)
        until(lambda: not processes(mark), "it survives")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1):
            os.kill(keeper, number)
        self.assertEqual(self.runs("setsid sleep %s & sleep 0.05; echo out" % mark), "out\n")
        until(lambda: not processes(mark), "it survives")
        self.assertEqual(self.server.keepers(), [keeper])
        # It has its input and two pipes to complain through; nothing that connections could come in by.
        open_now = set()
        for fd in os.listdir("/proc/%d/fd" % keeper):
            # What it looks through in /proc is open for a moment only.
            with contextlib.suppress(FileNotFoundError):
                open_now.add(os.readlink("/proc/%d/fd/%s" % (keeper, fd)))
        self.assertGreaterEqual(len(open_now), 2)
        self.assertFalse([place for place in open_now if "socket" in place], open_now)
        self.server.stop()
        until(lambda: not lives(keeper), "it survives the server")

    def test_fault_f4_a_keeper_that_was_killed_has_a_successor_that_knows(self):
        self.start()
        mark, left = self.mark(), self.mark()
        (keeper,) = until(self.server.keepers, "it has no keeper")
        peer = self.begins("setsid sleep %s & wait" % mark, mark, 1)
        os.kill(keeper, signal.SIGSTOP)
        self.assertEqual(self.runs("setsid sleep %s & sleep 0.05; echo out" % left), "out\n")
        os.kill(keeper, signal.SIGKILL)
        self.server.waits_for(lambda line: "the keeper of commands has ended; another is started" in line)
        until(lambda: not processes(left), "what the first did not see survives")
        self.assertNotEqual(self.server.keepers(), [keeper])
        self.assertEqual(len(processes(mark)), 1)
        peer.reset()
        until(lambda: not processes(mark), "it survives")
        self.server.rests()
        self.server.stop()

    def test_a_server_without_commands_has_no_keeper_until_it_runs_some(self):
        config = '[[endpoint]]\nservice = "echo"\naddress = "127.0.0.1:0"\n'
        server = self.serve(config=config)
        self.assertEqual(server.keepers(), [])
        path = os.path.join(self.directory(), "s")
        with open(server.argv[server.argv.index("--config") + 1], "a") as file:
            file.write('[[endpoint]]\nservice = "command"\ntransport = "unix"\naddress = "%s"\n' % path)
        os.kill(server.pid, signal.SIGHUP)
        server.waits_for(lambda line: "reloaded the configuration" in line)
        # On its way to becoming one, a process has no command line for a moment.
        until(lambda: len(server.keepers()) == 1, "it has no keeper")
        server.stop()


def state(pid):
    """As in proc_pid_stat(5); X also for one that is gone."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(") ", 1)[1][0]
    except FileNotFoundError:
        return "X"


def lives(pid):
    return state(pid) not in "ZX"


if __name__ == "__main__":
    main()
