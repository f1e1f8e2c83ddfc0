#!/usr/bin/env python3
"""What is printed for other programs: units for systemd, pages for man, completions for shells, TOML for us."""

import os
import signal
import subprocess
import threading
import time

from harness import BINARY, DEADLINE, Case, main, onepoll

NOBODY = 65534

# Asks for the sockets, and prints what it is told.
INTRUDES = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
try:
    s.sendall(b"x" * 64)
    print(s.recv(99))
except ConnectionError:
    print(b"")
"""

CONFIG = """
user = "root"

[[endpoint]]
service = "echo"
address = "127.0.0.1:7"

[[endpoint]]
service = "echo"
transport = "udp"
address = "[::1]:9000"

[[endpoint]]
service = "chat"
transport = "unix"
address = "/run/onepoll/chat.sock"

[[endpoint]]
service = "command"
transport = "unix"
address = "@onepoll-%s"
settle = "never"

[[endpoint]]
service = "upper"
address = "localhost:9999"
once = true

[limits]
commands = 4

[log]
format = "json"
"""


class Printed(Case):
    def config(self, text):
        path = os.path.join(self.directory(), "with blank.toml")
        with open(path, "w") as file:
            file.write(text)
        return path

    def test_units_are_what_systemd_understands(self):
        self.needs("systemd-analyze")
        inherited = '[[endpoint]]\nservice = "echo"\naddress = "web"\ntransport = "fd"\n'
        for config in (CONFIG, CONFIG.replace('user = "root"', ""), inherited, ""):
            directory = self.directory()
            path = self.config(config)
            done = onepoll("unit", "--config", path, directory)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            written = [os.path.basename(line) for line in done.stdout.splitlines()]
            self.assertEqual(sorted(os.listdir(directory)), sorted(written))
            expected = ["onepoll.service"] if config == inherited else ["onepoll.service", "onepoll.socket"]
            self.assertEqual(written, expected)
            units = [os.path.join(directory, name) for name in written]
            said = self.judged("systemd-analyze", "verify", "--man=no", *units)
            # It also has something to say of units of the machine.
            ours = [line for line in said.splitlines() if "onepoll" in line or directory in line]
            self.assertEqual(ours, [])
            # What is there is not overwritten.
            again = onepoll("unit", "--config", path, directory)
            self.assertEqual(again.returncode, 1)
            self.assertIn("File exists", again.stderr)
            printed = onepoll("unit", "--config", path).stdout
            for unit in units:
                with open(unit) as file:
                    self.assertIn(file.read(), printed)

    def test_a_unit_has_what_the_configuration_needs(self):
        path = self.config(CONFIG.replace('user = "root"', ""))
        text = onepoll("unit", "--config", path).stdout
        for line in (
            'ExecStart=%s serve --config "%s"' % (BINARY, path),
            "ListenStream=127.0.0.1:7",
            "ListenDatagram=[::1]:9000",
            "ListenStream=@onepoll-%%s",
            "AmbientCapabilities=CAP_NET_BIND_SERVICE",
            "DynamicUser=yes",
            "ProtectSystem=strict",
            "WatchdogSec=30",
        ):
            self.assertIn("\n%s\n" % line, text)
        self.assertNotIn("chat.sock", text)
        self.assertNotIn("localhost", text)
        unprivileged = self.config('[[endpoint]]\nservice = "echo"\naddress = "127.0.0.1:9000"\n')
        self.assertIn("\nCapabilityBoundingSet=\n", onepoll("unit", "--config", unprivileged).stdout)
        command = '[[endpoint]]\nservice = "command"\naddress = "@c"\ntransport = "unix"\n%s'
        confined = self.config(command % 'run-as = "nobody"\ncgroup = "/sys/fs/cgroup/x"\n')
        text = onepoll("unit", "--config", confined).stdout
        for line in ("Delegate=yes", "ProtectControlGroups=no", "CAP_KILL", "CAP_SETUID", "CAP_SYS_PTRACE"):
            self.assertIn(line, text)
        self.assertNotIn("DynamicUser", text)
        free = onepoll("unit", "--config", self.config(command % "")).stdout
        for line in ("DynamicUser=yes", "ProtectControlGroups=yes", "\nCapabilityBoundingSet=\n"):
            self.assertIn(line, free)
        wrong = onepoll("unit", "--config", self.config("endpoint = 3"))
        self.assertEqual((wrong.returncode, wrong.stdout), (2, ""))

    def test_pages_are_what_man_understands(self):
        self.needs("mandoc")
        directory = os.path.join(self.directory(), "man", "man1")
        done = onepoll("man", directory)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        pages = sorted(os.listdir(directory))
        for name in ("", "-serve", "-check", "-bench", "-exec", "-unit", "-man", "-completions"):
            self.assertIn("onepoll%s.1" % name, pages)
        self.assertNotIn("onepoll-look-up.1", pages)
        paths = [os.path.join(directory, page) for page in pages]
        self.assertEqual(self.judged("mandoc", "-Tlint", "-Wwarning", *paths), "")
        shown = self.judged("mandoc", "-Tascii", os.path.join(directory, "onepoll-serve.1"))
        self.assertIn("--config", shown.replace("\b", ""))
        with open(os.path.join(directory, "onepoll.1")) as page:
            self.assertEqual(onepoll("man").stdout, page.read())

    def test_completions_are_what_shells_understand(self):
        for shell in ("bash", "elvish", "fish", "powershell", "zsh"):
            done = onepoll("completions", shell)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn("take-over", done.stdout)
            self.assertNotIn("look-up", done.stdout)
        self.needs("bash")
        script = onepoll("completions", "bash").stdout
        complete = script + '\nCOMP_WORDS=(onepoll serve --conf)\nCOMP_CWORD=2\n'
        complete += '_onepoll onepoll --conf serve\necho "${COMPREPLY[@]}"\n'
        said = subprocess.run(
            ["bash", "-c", complete], capture_output=True, text=True, timeout=DEADLINE, check=True
        )
        self.assertEqual(said.stdout.strip(), "--config")
        self.assertEqual(onepoll("completions", "csh").returncode, 2)

    def test_what_check_prints_is_read_again_and_says_the_same(self):
        path = self.config(CONFIG.replace(":7\"", ":0\"").replace('user = "root"', ""))
        extra = ["upper://127.0.0.1:0?once=true&strip=true", "greeting://127.0.0.1:0?greeting=a&greeting=b"]
        first = onepoll("check", "--print", "--config", path, *extra)
        self.assertIn('greeting = ["a", "b"]', first.stdout)
        self.assertIn("commands = 4", first.stdout)
        again = onepoll("check", "--print", "--config", self.config(first.stdout))
        self.assertEqual((again.returncode, again.stdout), (first.returncode, first.stdout))
        # Without a file it is the default table, and with a flag that is the flag's.
        default = onepoll("check", "--print", "--user", "root").stdout
        self.assertTrue(default.startswith('user = "root"\n\n[[endpoint]]\nservice = "echo"\n'), default)


class Users(Case):
    """`user=`: root binds, somebody else serves (fault H9)."""

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("only root becomes another user")

    def ids(self, pid):
        with open("/proc/%d/status" % pid) as file:
            found = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        return found["Uid"].split("\t"), found["Gid"].split("\t"), found["Groups"].split()

    def test_root_binds_and_another_serves(self):
        home = self.directory()
        os.chmod(home, 0o755)
        path = os.path.join(home, "c.sock")
        command = '[[endpoint]]\nservice = "command"\ntransport = "unix"\naddress = "%s"\nframing = "raw"\n'
        config = 'user = "nobody"\n' + command % path + '[[endpoint]]\nservice = "echo"\naddress = "127.0.0.1:0"\n'
        server = self.serve(config=config)
        os.chmod(server.directory, 0o755)
        server.waits_for(lambda line: line == "onepoll: serving as user nobody")
        uid = os.stat(path).st_uid
        self.assertNotEqual(uid, 0)
        users, groups, others = self.ids(server.pid)
        self.assertEqual((set(users), len(set(groups))), ({str(uid)}, 1))
        self.assertEqual(others, [groups[0]])
        self.dial(server.at("echo")).say(b"x").hears(b"x").close()
        # Its commands are that user's too, who alone may connect.
        asks = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\ns.sendall(b'id -u\\n')\nprint(s.recv(99))"
        said = subprocess.run(
            ["python3", "-c", asks, path], user=uid, group=int(groups[0]), extra_groups=[],
            capture_output=True, text=True, timeout=DEADLINE,
        )
        self.assertEqual(said.stdout, "b'%d\\n'\n" % uid, said.stderr)
        server.stop()

    def place(self):
        """A directory of the user's, for whom everybody may look at it."""
        home = self.directory()
        os.chmod(home, 0o755)
        os.chown(home, NOBODY, NOBODY)
        return home

    def test_fault_h5_the_user_and_root_take_a_server_over_and_nobody_else(self):
        self.needs("setpriv")
        home = self.place()
        control, path = os.path.join(home, "control.sock"), os.path.join(home, "u.sock")
        urls = ("echo://127.0.0.1:0", "upper+unix://%s" % path)
        root = ("--user", str(NOBODY), "--control", control)
        old = self.serve(*urls, arguments=root, is_plain=True)
        self.assertEqual(os.stat(control).st_uid, NOBODY)
        # Another user is not let in, though he can reach the socket.
        os.chmod(control, 0o666)
        other = subprocess.run(
            [BINARY, "serve", "--take-over", "--control", control, "echo://127.0.0.1:0"], user=NOBODY - 1,
            group=NOBODY - 1, extra_groups=[], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=DEADLINE,
        )
        self.assertEqual(other.returncode, 1, other.stderr)
        self.assertIn("is user %d's, not %d's" % (NOBODY, NOBODY - 1), other.stderr)
        intruder = subprocess.run(
            ["python3", "-c", INTRUDES, control], user=NOBODY - 1, group=NOBODY - 1, extra_groups=[],
            capture_output=True, text=True, timeout=DEADLINE,
        )
        self.assertEqual(intruder.stdout, "b''\n", intruder.stderr)
        # Root, which becomes that user again.
        at = old.at("echo")
        urls = ("echo://%s:%d" % at, urls[1])
        new = self.serve(*urls, arguments=("--take-over", *root), is_plain=True)
        old.ends(0)
        self.dial(at).say(b"x").hears(b"x").close()
        # The user himself.
        drop = ("setpriv", "--reuid=%d" % NOBODY, "--regid=%d" % NOBODY, "--clear-groups")
        last = self.serve(
            *urls, through=drop, arguments=("--take-over", "--control", control), is_plain=True
        )
        new.ends(0)
        self.dial(at).say(b"x").hears(b"x").close()
        self.assertEqual(sorted(os.listdir(home)), ["control.sock", "u.sock"])
        last.stop()
        self.assertEqual(os.listdir(home), [])

    def test_what_the_user_cannot_read_or_remove_is_said_at_start(self):
        home = self.directory()
        os.chmod(home, 0o755)
        secret, path = os.path.join(home, "secret"), os.path.join(home, "u.sock")
        self.assertEqual(onepoll("secret", secret).returncode, 0)
        url = "echo+unix://%s?secret-file=%s" % (path, secret)
        server = self.serve(url, arguments=("--user", str(NOBODY)), is_plain=True)
        user = "onepoll: warning: user %d cannot " % NOBODY
        server.waits_for(lambda line: line.startswith(user + "read %s, so no reload can" % secret))
        server.waits_for(lambda line: line.startswith(user + "remove %s, so it stays" % path))
        server.stop()
        # Nothing to say of what is the user's.
        os.chown(secret, NOBODY, NOBODY)
        os.chown(home, NOBODY, NOBODY)
        server = self.serve(url, arguments=("--user", str(NOBODY)), is_plain=True)
        server.stop()
        self.assertFalse([line for line in server.lines if "warning" in line], server.lines)
        self.assertEqual(os.listdir(home), ["secret"])

    def test_the_audit_is_the_users_file_or_the_server_does_not_start(self):
        home = self.directory()
        os.chmod(home, 0o755)
        path = os.path.join(home, "audit")
        config = os.path.join(home, "onepoll.toml")
        with open(config, "w") as file:
            file.write('user = "%d"\n[[endpoint]]\nservice = "echo"\naddress = "127.0.0.1:0"\n' % NOBODY)
            file.write('[log]\naudit = "%s"\n' % path)
        serve = lambda: onepoll("serve", "--config", config)
        done = serve()
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("be able to write to its directory", done.stderr)
        os.close(os.open(path, os.O_CREAT, 0o600))
        for done in (serve(), onepoll("check", "--config", config)):
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn("`chown %d %s`" % (NOBODY, path), done.stderr)
        os.chown(path, NOBODY, NOBODY)
        os.chown(home, NOBODY, NOBODY)
        self.assertEqual(onepoll("check", "--config", config).returncode, 0)
        server = self.serve(arguments=("--config", config), is_plain=True)
        # It is opened again as that user, who can make it.
        os.rename(path, path + ".1")
        os.kill(server.pid, signal.SIGHUP)
        until = time.monotonic() + DEADLINE
        while not os.path.exists(path):
            self.assertLess(time.monotonic(), until, "it is not made again")
            threading.Event().wait(0.001)
        self.assertEqual(os.stat(path).st_uid, NOBODY)
        server.stop()

    def test_without_endpoints_another_user_serves_no_commands(self):
        default = onepoll("check", "--print", "--user", "nobody").stdout
        self.assertIn('service = "echo"', default)
        self.assertNotIn('service = "command"', default)
        self.assertIn('service = "command"', onepoll("check", "--print").stdout)

    def test_fault_h9_whatever_call_fails_nothing_is_served(self):
        self.needs("strace")
        for call in ("setgroups", "setresgid", "setresuid"):
            inject = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=%s:error=EAGAIN" % call]
            done = subprocess.run(
                [*inject, BINARY, "serve", "--user", "nobody", "echo://127.0.0.1:0"],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE,
            )
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn("cannot become user nobody: %s" % call, done.stderr)
            self.assertNotIn("ready", done.stderr)
            # It says that it succeeded, and did nothing: what it has done is looked at.
            inject[-1] = "inject=%s:retval=0" % call
            done = subprocess.run(
                [*inject, BINARY, "serve", "--user", "nobody", "echo://127.0.0.1:0"],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE, extra_groups=[5],
            )
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertNotIn("ready", done.stderr)

    def test_fault_h9_a_user_that_cannot_be_become_is_refused_at_start(self):
        for arguments, why in (
            (("--user", "no-such-user"), "there is no user `no-such-user`"),
            (("--group", "no-such-group"), "there is no group `no-such-group`"),
        ):
            for subcommand in ("serve", "check"):
                done = onepoll(subcommand, *arguments, "echo://127.0.0.1:0")
                self.assertEqual(done.returncode, 2)
                self.assertIn(why, done.stderr)
        done = subprocess.run(
            [BINARY, "serve", "--user", "root", "echo://127.0.0.1:0"], user=65534, group=65534,
            extra_groups=[], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE,
        )
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("only root becomes another", done.stderr)


if __name__ == "__main__":
    main()
