"""A real server of NATS with JetStream, on a port of loopback that the kernel chose. Knows nothing of ours."""

import contextlib
import glob
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

DEADLINE = 20.0


class Nats:
    """`nats-server`, from when it takes clients until it is stopped."""

    def __init__(self, config="", port=-1, directory=None):
        """`config` is more of its configuration; `directory` is that of one that was killed, for its memory."""
        self.directory = directory or tempfile.mkdtemp(prefix="onepoll-nats-")
        path = self.config(config)
        for old in glob.glob(self.directory + "/*.ports"):
            os.unlink(old)
        with open(os.path.join(self.directory, "log"), "ab") as log:
            self.process = subprocess.Popen(
                ["nats-server", "-c", path, "-p", str(port), "--ports_file_dir", self.directory],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        self.port = self._port()
        self.url = "nats://127.0.0.1:%d" % self.port

    def becomes(self, config):
        """It reads another configuration while it runs, and lets go of whom it would not let in any more."""
        self.config(config)
        self.process.send_signal(signal.SIGHUP)

    def config(self, config):
        path = os.path.join(self.directory, "nats.conf")
        with open(path, "w") as file:
            file.write('host: "127.0.0.1"\njetstream { store_dir: "%s/js" }\n%s' % (self.directory, config))
        return path

    def _port(self):
        until = time.monotonic() + DEADLINE
        while True:
            with contextlib.suppress(ValueError, LookupError, OSError):
                with open("%s/nats-server_%d.ports" % (self.directory, self.process.pid)) as file:
                    return int(json.load(file)["nats"][0].rsplit(":", 1)[1])
            if self.process.poll() is not None or time.monotonic() > until:
                with open(os.path.join(self.directory, "log")) as log:
                    raise AssertionError("nats-server does not start: %s" % log.read()[-2000:])
            threading.Event().wait(0.01)  # polls; it writes the file when it listens

    def kill(self):
        self.process.kill()
        self.process.wait()

    def remove(self):
        """It ends, and so does its memory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class Relay:
    """Another address of a server, as one of a cluster is: what comes is passed on until it is closed."""

    def __init__(self, port):
        self.to = ("127.0.0.1", port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "nats://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.left = threading.Event()  # set when a connection has ended
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with self.listener, contextlib.suppress(OSError):
            while True:
                near = self.listener.accept()[0]
                threading.Thread(target=self._relay, args=(near,), daemon=True).start()

    def _relay(self, near):
        with near, socket.create_connection(self.to) as far, contextlib.suppress(OSError):
            to = {near: far, far: near}
            while True:
                for one in select.select([near, far], [], [])[0]:
                    data = one.recv(65536)
                    if not data:
                        return self.left.set()
                    to[one].sendall(data)

    def close(self):
        # Whoever waits in accept(2) is woken, and closes it.
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
