"""Runs scripts of socket calls in CPython, for tests/socket_differential.rs.

One script per line of standard input, one line of results per script on standard output. The same
interpreter, step for step, is in the Rust test: what differs between the two is the socket module.
"""

import json
import os
import select
import socket
import sys
import threading
import time

#: What a call may take and still have returned at once, when nothing says how long it could wait.
AT_ONCE = 0.05

#: After this long a helper that did not help gives up.
RESCUE = 0.05


def pattern(seed, n):
    period = bytes((seed + i * 7) % 256 for i in range(256))
    return (period * (n // 256 + 1))[:n]


class Skip(Exception):
    """The step makes no sense here, or would wait for ever."""


class Interpreter:
    def __init__(self, prefix):
        self.prefix = prefix
        self.sockets = {}
        self.files = {}
        self.dead = set()  # files that timed out
        self.both_or_bare = {}  # files whose readline does not expect None from read
        self.ports = {}
        self.names = {}
        self.helped = []

    # What the results say

    def say_bytes(self, data):
        if len(data) <= 64:
            return data.hex()
        total = 0
        for i, byte in enumerate(data):
            total = (total + byte * (i + 1)) % 65521
        return f"{len(data)} bytes, {total}"

    def say_address(self, address):
        if address is None:
            return None
        if isinstance(address, tuple):
            port = address[1]
            if port:
                port = self.ports.setdefault(port, f"port {len(self.ports)}")
            return [address[0], port]
        if isinstance(address, str):
            address = address.encode()
        if self.prefix.encode() in address:
            return address.replace(self.prefix.encode(), b"@").hex()
        if address:  # the kernel chose it
            return self.names.setdefault(address, f"name {len(self.names)}")
        return ""

    # What the steps mean

    def socket(self, step):
        return self.known(self.sockets, step["s"])

    def known(self, table, key):
        if key not in table:
            raise Skip("nobody there")
        return table[key]

    def address(self, step):
        to = step["to"]
        if "of" in to:
            return self.known(self.sockets, to["of"]).getsockname()
        if "unix" in to:
            return to["unix"].replace("@", self.prefix)
        return (to["host"], to["port"])

    def ready(self, sock, event):
        if sock.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(sock.fileno(), event)
        return bool(poll.poll(0))

    def guard(self, step, sock, event):
        """A blocking call that nobody would ever wake is not made."""
        if sock.gettimeout() is None and "helper" not in step and not self.ready(sock, event):
            raise Skip("would wait for ever")

    def run(self, step):
        op = step["op"]
        call = getattr(self, "do_" + op)
        sock = self.sockets.get(step.get("s", -1))
        timeout = sock.gettimeout() if sock else None
        helper = step.get("helper")
        reference = AT_ONCE
        if timeout:
            reference = timeout * 0.8
        if helper:
            reference = min(reference, helper["after_ms"] / 1000 * 0.8)
        about = sock or self.files.get(step.get("f", -1), (None, None))[1]
        if about and about.gettimeout() is not None and about.fileno() >= 0:
            if os.get_blocking(about.fileno()) and op not in ("settimeout", "setblocking"):
                # A duplicate was set to blocking, and the descriptor with it.
                return {"skip": "might wait for ever"}
        try:
            # What is looked up before is not part of what is timed.
            ready = call(step)
        except Skip as skip:
            return {"skip": str(skip)}
        except Exception as error:  # noqa: BLE001
            return self.raised(error)
        thread = None
        done = threading.Event()
        if helper:
            thread = threading.Thread(target=self.help, args=(helper, sock, done))
            thread.start()
        began = time.monotonic()
        try:
            result = {"ok": ready()}
        except Skip as skip:
            result = {"skip": str(skip)}
        except Exception as error:  # noqa: BLE001
            result = self.raised(error)
        if "skip" not in result:
            result["waited"] = time.monotonic() - began >= reference
        done.set()
        if thread:
            thread.join()
        return result

    def raised(self, error):
        # io.BlockingIOError carries what a file took; its text differs with it.
        result = {"error": type(error).__name__, "errno": getattr(error, "errno", None)}
        if result["errno"] is not None and not isinstance(error, BlockingIOError):
            result["text"] = str(error)
        return result

    def help(self, helper, waiting, done):
        """Wakes a call after a while; if that was no help, ends its waiting."""
        time.sleep(helper["after_ms"] / 1000)
        try:
            self.act(helper)
        finally:
            if not done.wait(RESCUE):
                try:
                    waiting.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def act(self, helper):
        sock = self.sockets.get(helper["s"])
        if sock is None:
            return
        try:
            if helper["op"] == "send":
                sock.send(pattern(1, helper["n"]), socket.MSG_DONTWAIT)
            elif helper["op"] == "recv":
                sock.recv(1 << 20, socket.MSG_DONTWAIT)
            elif helper["op"] == "shutdown":
                sock.shutdown(socket.SHUT_WR)
            elif helper["op"] == "connect":
                other = socket.socket(sock.family, socket.SOCK_STREAM)
                other.setblocking(False)
                other.connect_ex(sock.getsockname())
                self.helped.append(other)
        except OSError:
            pass

    # The calls: each returns what is to be timed

    def make(self, step, new):
        def ready():
            self.sockets[step["into"]] = new()
        return ready

    def do_socket(self, step):
        return self.make(step, lambda: socket.socket(step["family"], step["kind"]))

    def do_socketpair(self, step):
        def ready():
            a, b = socket.socketpair(step["family"], step["kind"])
            self.sockets[step["into"]] = a
            self.sockets[step["into"] + 1] = b
        return ready

    def do_dup(self, step):
        sock = self.socket(step)
        return self.make(step, sock.dup)

    def do_adopt(self, step):
        sock = self.socket(step)

        def ready():
            fd = sock.detach()
            if fd < 0:
                return "nothing to adopt"
            new = socket.socket(fileno=fd)
            self.sockets[step["into"]] = new
            return [int(new.family), int(new.type), new.proto, new.gettimeout()]
        return ready

    def do_detach(self, step):
        sock = self.socket(step)

        def ready():
            fd = sock.detach()
            if fd >= 0:
                os.close(fd)
            return fd >= 0
        return ready

    def do_bind(self, step):
        sock, address = self.socket(step), self.address(step)
        return lambda: sock.bind(address)

    def do_listen(self, step):
        sock = self.socket(step)
        return lambda: sock.listen(step["n"])

    def do_accept(self, step):
        sock = self.socket(step)
        self.guard(step, sock, select.POLLIN)

        def ready():
            conn, address = sock.accept()
            self.sockets[step["into"]] = conn
            return [self.say_address(address), conn.gettimeout(), conn.getblocking()]
        return ready

    def dialled(self, step):
        sock, address = self.socket(step), self.address(step)
        if sock.gettimeout() is None and not step.get("safe"):
            raise Skip("might wait for ever")
        return sock, address

    def do_connect(self, step):
        sock, address = self.dialled(step)
        return lambda: sock.connect(address)

    def do_connect_ex(self, step):
        sock, address = self.dialled(step)
        return lambda: sock.connect_ex(address)

    def do_send(self, step):
        sock, data = self.socket(step), pattern(step["seed"], step["n"])
        if "helper" in step and sock.type != socket.SOCK_STREAM:
            raise Skip("might wait for ever")
        self.guard(step, sock, select.POLLOUT)
        return lambda: sock.send(data, step["flags"])

    def do_sendall(self, step):
        sock, data = self.socket(step), pattern(step["seed"], step["n"])
        self.guard(step, sock, select.POLLOUT)
        return lambda: sock.sendall(data)

    def do_sendto(self, step):
        sock, address = self.socket(step), self.address(step)
        if sock.gettimeout() is None and sock.family == socket.AF_UNIX:
            raise Skip("might wait for ever")
        self.guard(step, sock, select.POLLOUT)
        data = pattern(step["seed"], step["n"])
        return lambda: sock.sendto(data, address)

    def do_fill(self, step):
        """Sends until the socket takes no more, which must be in this mode's own way."""
        sock = self.socket(step)
        if sock.gettimeout() is None:
            raise Skip("would wait for ever")
        data = pattern(0, 65536 if sock.type == socket.SOCK_STREAM else 100)

        def ready():
            for _ in range(5000):
                sock.send(data)
            return "it takes everything"
        return ready

    def do_drain(self, step):
        """Reads until there is nothing more, without waiting."""
        sock = self.socket(step)

        def ready():
            while sock.recv(65536, socket.MSG_DONTWAIT):
                pass
            return "the end"
        return ready

    def do_recv(self, step):
        sock = self.socket(step)
        self.guard(step, sock, select.POLLIN)
        return lambda: self.say_bytes(sock.recv(step["n"], step["flags"]))

    def do_recv_into(self, step):
        sock, buffer = self.socket(step), bytearray(step["n"])
        self.guard(step, sock, select.POLLIN)

        def ready():
            n = sock.recv_into(buffer, 0, step["flags"])
            return [n, self.say_bytes(bytes(buffer))]
        return ready

    def do_recvfrom(self, step):
        sock = self.socket(step)
        self.guard(step, sock, select.POLLIN)

        def ready():
            data, address = sock.recvfrom(step["n"], step["flags"])
            return [self.say_bytes(data), self.say_address(address)]
        return ready

    def do_recvfrom_into(self, step):
        sock, buffer = self.socket(step), bytearray(step["n"])
        self.guard(step, sock, select.POLLIN)

        def ready():
            n, address = sock.recvfrom_into(buffer, 0, step["flags"])
            return [n, self.say_bytes(bytes(buffer)), self.say_address(address)]
        return ready

    def do_shutdown(self, step):
        sock = self.socket(step)
        return lambda: sock.shutdown(step["n"])

    def do_close(self, step):
        sock = self.socket(step)
        return sock.close

    def do_fileno(self, step):
        sock = self.socket(step)
        return lambda: sock.fileno() >= 0

    def do_setblocking(self, step):
        sock = self.socket(step)
        return lambda: sock.setblocking(step["value"])

    def do_settimeout(self, step):
        sock = self.socket(step)
        return lambda: sock.settimeout(step["value"])

    def do_mode(self, step):
        sock = self.socket(step)
        return lambda: [sock.gettimeout(), sock.getblocking()]

    def do_setdefaulttimeout(self, step):
        return lambda: socket.setdefaulttimeout(step["value"])

    def do_getdefaulttimeout(self, step):
        return socket.getdefaulttimeout

    def do_getsockname(self, step):
        sock = self.socket(step)
        return lambda: self.say_address(sock.getsockname())

    def do_getpeername(self, step):
        sock = self.socket(step)
        return lambda: self.say_address(sock.getpeername())

    def do_getsockopt(self, step):
        sock = self.socket(step)
        if step["n"]:
            return lambda: self.say_bytes(sock.getsockopt(step["level"], step["option"], step["n"]))
        return lambda: sock.getsockopt(step["level"], step["option"])

    def do_setsockopt(self, step):
        sock, value = self.socket(step), step["value"]
        if isinstance(value, str):
            value = bytes.fromhex(value)
        return lambda: sock.setsockopt(step["level"], step["option"], value)

    # Files

    def do_makefile(self, step):
        sock = self.socket(step)
        if sock.type != socket.SOCK_STREAM:
            raise Skip("a file of datagrams")

        def ready():
            self.files[step["f"]] = sock.makefile(step["mode"], step["buffering"]), sock
            self.both_or_bare[step["f"]] = step["mode"] == "rwb" or step["buffering"] == 0
        return ready

    def file(self, step):
        file, sock = self.known(self.files, step["f"])
        if step["f"] in self.dead:
            raise Skip("it has timed out")
        return file, sock

    def reading(self, step, call):
        file, sock = self.file(step)
        if sock.gettimeout() is None:
            raise Skip("might wait for ever")

        def ready():
            try:
                data = call(file)
            except TimeoutError:
                self.dead.add(step["f"])
                raise
            return None if data is None else self.say_bytes(data)
        return ready

    def do_file_read(self, step):
        return self.reading(step, lambda file: file.read(step["n"]))

    def do_file_readline(self, step):
        _, sock = self.file(step)
        if sock.gettimeout() == 0 and self.both_or_bare[step["f"]]:
            raise Skip("Python loses what it has read")
        return self.reading(step, lambda file: file.readline())

    def do_file_write(self, step):
        file, sock = self.file(step)
        if sock.gettimeout() is None:
            raise Skip("might wait for ever")
        data = pattern(step["seed"], step["n"])
        return lambda: file.write(data)

    def do_file_flush(self, step):
        file, sock = self.file(step)
        if sock.gettimeout() is None:
            raise Skip("might wait for ever")
        return lambda: file.flush()

    def do_file_close(self, step):
        file, sock = self.known(self.files, step["f"])
        if sock.gettimeout() is None:
            raise Skip("might wait for ever")
        return lambda: file.close()

    def end(self):
        socket.setdefaulttimeout(None)
        for sock in self.sockets.values():
            try:
                sock.setblocking(False)
            except OSError:
                pass
        for file, _ in self.files.values():
            # What cannot be flushed is dropped, as with everything of this script.
            for _ in range(2):
                try:
                    file.close()
                except (OSError, ValueError):
                    pass
        for sock in [*self.sockets.values(), *self.helped]:
            try:
                sock.close()
            except OSError:
                pass


def main():
    for line in sys.stdin:
        script = json.loads(line)
        interpreter = Interpreter(script["prefix"])
        results = [interpreter.run(step) for step in script["steps"]]
        interpreter.end()
        print(json.dumps(results), flush=True)


if __name__ == "__main__":
    main()
