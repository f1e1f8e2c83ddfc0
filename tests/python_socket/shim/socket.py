"""A module named `socket` that stands on onepoll's, so that CPython's own tests can judge it.

What the tutorials list is asked of onepoll::socket, in another process: see tests/socket_cpython/bridge.rs.
What they do not list (name services, sendmsg, constants) is Python's own. Here is only what a dynamic
language adds: the types of arguments, and exceptions made from their names.
"""

import importlib.util
import io
import json
import math
import operator
import os
import struct
import sys
import sysconfig
import threading
import warnings

import _socket

_spec = importlib.util.spec_from_file_location(
    "_python_socket", os.path.join(sysconfig.get_path("stdlib"), "socket.py"))
_python = importlib.util.module_from_spec(_spec)
sys.modules[_python.__name__] = _python
_spec.loader.exec_module(_python)

#: What is ours; all else is Python's.
_OURS = {
    "socket", "SocketType", "SocketIO", "socketpair", "create_connection", "create_server",
    "has_dualstack_ipv6", "setdefaulttimeout", "getdefaulttimeout", "fromfd", "dup",
    "send_fds", "recv_fds",
}
for _name, _value in vars(_python).items():
    if not _name.startswith("__") and _name not in _OURS:
        globals()[_name] = _value
for _cls in (AddressFamily, SocketKind, MsgFlag, AddressInfo):  # noqa: F821
    _cls.__module__ = __name__
_LOCALHOST, _LOCALHOST_V6 = _python._LOCALHOST, _python._LOCALHOST_V6
_GLOBAL_DEFAULT_TIMEOUT = object()
__all__ = [*_python.__all__]
error = OSError
timeout = TimeoutError

# The bridge

_bridge = os.environ["ONEPOLL_SOCKET_BRIDGE"]
_thread = threading.local()


def _connect():
    line = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    line.settimeout(None)
    line.connect(_bridge)
    return line


def _receive(line, n):
    data = bytearray()
    while len(data) < n:
        got = line.recv(n - len(data))
        if not got:
            raise RuntimeError("the bridge has fallen")
        data += got
    return bytes(data)


def _ask(request, data=b"", fd=None):
    """One request, one answer: (value, bytes, descriptors)."""
    line = getattr(_thread, "line", None) or _connect()
    # An exception (a signal's, in the middle of waiting) leaves an answer unread: the line is given up.
    _thread.line = None
    text = json.dumps(request).encode()
    head = struct.pack("<II", len(text), len(data))
    control = []
    if fd is not None:
        control = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", fd))]
    try:
        line.sendmsg([head], control)
    except OSError:  # a number that is no descriptor cannot travel
        _thread.line = line
        raise
    line.sendall(text + bytes(data))
    head, control, _, _ = line.recvmsg(8, 1024, _socket.MSG_WAITALL | _socket.MSG_CMSG_CLOEXEC)
    fds = []
    for _, _, packed in control:
        fds += struct.unpack(f"{len(packed) // 4}i", packed)
    if len(head) < 8:
        raise RuntimeError("the bridge has fallen")
    len_text, len_data = struct.unpack("<II", head)
    answer = json.loads(_receive(line, len_text))
    data = _receive(line, len_data)
    _thread.line = line
    if "error" in answer:
        _raise(answer)
    return answer["ok"], data, fds


_EXCEPTIONS = {"gaierror": _socket.gaierror, "UnsupportedOperation": io.UnsupportedOperation}


def _raise(answer):
    import builtins
    name, errno, text = answer["error"], answer["errno"], answer["text"]
    kind = _EXCEPTIONS.get(name) or getattr(builtins, name)
    if errno is None:
        raise kind(text)
    if kind is BlockingIOError and answer["sent"]:
        raise kind(errno, text, answer["sent"])
    raise kind(errno, text)


# The types of arguments

def _seconds(value):
    if value is None:
        return None
    if not isinstance(value, float):
        value = float(operator.index(value))
    return repr(value)


def _data(data):
    if isinstance(data, str):
        raise TypeError("a bytes-like object is required, not 'str'")
    try:
        return memoryview(data).cast("B")
    except TypeError:
        name = type(data).__name__
        raise TypeError(f"a bytes-like object is required, not '{name}'") from None


def _int(value, low=-0x80000000, high=0x7fffffff):
    value = operator.index(value)
    if not low <= value <= high:
        raise OverflowError("Python int too large to convert to C int")
    return value


def _host(host):
    if host is None:
        return ""
    if isinstance(host, (bytes, bytearray)):
        return bytes(host).decode()
    if not isinstance(host, str):
        raise TypeError("str, bytes or bytearray expected, not " + type(host).__name__)
    return host if host.isascii() else host.encode("idna").decode()


def _port(port, caller):
    port = operator.index(port)
    if not 0 <= port <= 0xffff:
        raise OverflowError(f"{caller}(): port must be 0-65535.")
    return port


def _address(family, address, caller):
    if family in (AF_INET, AF_INET6):  # noqa: F821
        name = "AF_INET" if family == AF_INET else "AF_INET6"  # noqa: F821
        if not isinstance(address, tuple):
            raise TypeError(f"{caller}(): {name} address must be tuple, not {type(address).__name__}")
        if family == AF_INET and len(address) != 2:  # noqa: F821
            raise TypeError("AF_INET address must be a pair (host, port)")
        if not 2 <= len(address) <= 4:
            raise TypeError("AF_INET6 address must be a tuple (host, port[, flowinfo[, scopeid]])")
        host, port, *rest = address
        if rest and not 0 <= rest[0] <= 0xfffff:
            raise OverflowError(f"{caller}(): flowinfo must be 0-1048575.")
        return {"inet": [_host(host), _port(port, caller), *rest]}
    if isinstance(address, str):
        return {"unix": os.fsencode(address).hex()}
    return {"unix": bytes(_data(address)).hex()}


def _told(address):
    if address is None:
        return None
    if "inet" in address:
        return tuple(address["inet"])
    name = bytes.fromhex(address["unix"])
    return name if name[:1] == b"\0" else os.fsdecode(name)


class socket:
    """As the tutorials have it: every method is one question to onepoll."""

    def __init__(self, family=-1, type=-1, proto=-1, fileno=None):
        self._number = None
        if fileno is None:
            family = AF_INET if family == -1 else family  # noqa: F821
            type = SOCK_STREAM if type == -1 else type  # noqa: F821
            proto = 0 if proto == -1 else proto
            answer = _ask({"op": "socket", "family": _int(family), "kind": _int(type),
                           "proto": _int(proto)})
        else:
            fileno = _int(fileno)
            if fileno < 0:
                raise ValueError("negative file descriptor")
            answer = _ask({"op": "socket"}, fd=fileno)
            answer = answer[0], answer[1], [fileno]
        self._is(answer[0]["new"][0], answer[2][0])
        if fileno is not None:
            # Python believes what it is told.
            self._family = self._family if family == -1 else family
            self._type = self._type if type == -1 else type
            self._proto = self._proto if proto == -1 else proto

    def _is(self, told, fd):
        self._number, self._family, self._type, self._proto = told
        self._fd = fd
        self._refs = 0
        self._closed = False

    @classmethod
    def _born(cls, told, fd):
        new = cls.__new__(cls)
        new._is(told, fd)
        return new

    def _ask(self, op, data=b"", **arguments):
        return _ask({"op": op, "s": self._number, **arguments}, data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self._closed:
            self.close()

    def __del__(self):
        if getattr(self, "_number", None) is None or sys.is_finalizing():
            return
        if self._fd >= 0:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self)
            try:
                os.close(self._fd)
            except OSError:
                pass
        try:
            self._ask("forget")
        except Exception:  # noqa: BLE001
            pass

    def __repr__(self):
        text = (f"<{type(self).__module__}.{type(self).__qualname__}"
                f"{' [closed]' if self._closed else ''} fd={self.fileno()}, family={self.family!s}, "
                f"type={self.type!s}, proto={self.proto}")
        if not self._closed:
            for label, ask in ("laddr", self.getsockname), ("raddr", self.getpeername):
                try:
                    address = ask()
                except OSError:
                    continue
                if address:
                    text += f", {label}={address}"
        return text + ">"

    def __getstate__(self):
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    @property
    def family(self):
        return _python._intenum_converter(self._family, AddressFamily)  # noqa: F821

    @property
    def type(self):
        return _python._intenum_converter(self._type, SocketKind)  # noqa: F821

    @property
    def proto(self):
        return self._proto

    @property
    def timeout(self):
        return self.gettimeout()

    def fileno(self):
        return self._fd

    def get_inheritable(self):
        return os.get_inheritable(self._fd)

    def set_inheritable(self, inheritable):
        os.set_inheritable(self._fd, inheritable)

    # Modes

    def setblocking(self, flag):
        self._ask("setblocking", value=bool(operator.index(flag)))

    def settimeout(self, value):
        self._ask("settimeout", value=_seconds(value))

    def gettimeout(self):
        return self._ask("gettimeout")[0]

    def getblocking(self):
        return self._ask("getblocking")[0]

    # Meeting

    def bind(self, address):
        self._ask("bind", address=_address(self._family, address, "bind"))

    def listen(self, backlog=None):
        self._ask("listen", backlog=None if backlog is None else _int(backlog))

    def _accept(self):
        raise NotImplementedError("accept() is one question")

    def accept(self):
        answer, _, fds = self._ask("accept")
        return socket._born(answer["new"][0], fds[0]), _told(answer["address"])

    def connect(self, address):
        self._ask("connect", address=_address(self._family, address, "connect"))

    def connect_ex(self, address):
        return self._ask("connect_ex", address=_address(self._family, address, "connect_ex"))[0]

    # Speaking

    def send(self, data, flags=0):
        return self._ask("send", _data(data), flags=_int(flags))[0]

    def sendall(self, data, flags=0):
        self._ask("sendall", _data(data), flags=_int(flags))

    def sendto(self, data, *rest):
        if not 1 <= len(rest) <= 2:
            raise TypeError(f"sendto() takes 2 or 3 arguments ({len(rest) + 1} given)")
        flags = _int(rest[0]) if len(rest) == 2 else 0
        data = _data(data)
        address = _address(self._family, rest[-1], "sendto")
        return self._ask("sendto", data, flags=flags, address=address)[0]

    def shutdown(self, how):
        self._ask("shutdown", how=_int(how))

    # Listening

    def _size(self, n, call):
        n = operator.index(n)
        if n < 0:
            raise ValueError(f"negative buffersize in {call}")
        return n

    def _room(self, buffer, nbytes, call, too_big):
        room = memoryview(buffer).cast("B")
        nbytes = self._size(nbytes, call)
        if nbytes > len(room):
            raise ValueError(too_big)
        return room, nbytes or len(room)

    def recv(self, bufsize, flags=0):
        return self._ask("recv", n=self._size(bufsize, "recv"), flags=_int(flags))[1]

    def recv_into(self, buffer, nbytes=0, flags=0):
        room, n = self._room(buffer, nbytes, "recv_into", "buffer too small for requested bytes")
        n, data, _ = self._ask("recv_into", n=n, flags=_int(flags))
        room[:n] = data
        return n

    def recvfrom(self, bufsize, flags=0):
        n = self._size(bufsize, "recvfrom")
        address, data, _ = self._ask("recvfrom", n=n, flags=_int(flags))
        return data, _told(address)

    def recvfrom_into(self, buffer, nbytes=0, flags=0):
        room, n = self._room(buffer, nbytes, "recvfrom_into",
                             "nbytes is greater than the length of the buffer")
        address, data, _ = self._ask("recvfrom_into", n=n, flags=_int(flags))
        room[:len(data)] = data
        return len(data), _told(address)

    # Being asked

    def getsockname(self):
        return _told(self._ask("getsockname")[0])

    def getpeername(self):
        return _told(self._ask("getpeername")[0])

    def getsockopt(self, level, option, buflen=0):
        value, data, _ = self._ask("getsockopt", level=_int(level), option=_int(option),
                                   buflen=_int(buflen))
        return data if buflen else value

    def setsockopt(self, level, option, value):
        level, option = _int(level), _int(option)
        try:
            value = operator.index(value)
        except TypeError:
            self._ask("setsockopt", _data(value), level=level, option=option)
        else:
            self._ask("setsockopt", level=level, option=option, value=_int(value))

    # Leaving

    def close(self):
        self._closed = True
        if self._number is not None and not self._ask("close")[0]:
            self._let_go()

    def _let_go(self):
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def detach(self):
        self._closed = True
        fd, self._fd = self._fd, -1
        return fd if self._ask("detach")[0] else -1

    def dup(self):
        answer, _, fds = self._ask("dup")
        return type(self)._born(answer["new"][0], fds[0])

    def makefile(self, mode="r", buffering=None, *, encoding=None, errors=None, newline=None):
        binary = "b" in mode
        if buffering is not None and buffering < 0:
            buffering = None
        if buffering == 0 and not binary:
            raise ValueError("unbuffered streams must be binary")
        number = self._ask("makefile", mode=mode, buffering=buffering)[0]
        reading, writing = "r" in mode or "w" not in mode, "w" in mode
        file = _File(self, number, mode, reading, writing, buffering == 0)
        if binary:
            return file
        text = io.TextIOWrapper(file, io.text_encoding(encoding), errors, newline)
        text.mode = mode
        return text


SocketType = socket


class _File(io.BufferedIOBase):
    """What makefile returns: every method is one question to onepoll."""

    def __init__(self, sock, number, mode, reading, writing, bare):
        self._sock, self._number, self.mode = sock, number, mode
        self._reading, self._writing, self._bare = reading, writing, bare

    def _ask(self, op, data=b"", **arguments):
        return _ask({"op": op, "f": self._number, **arguments}, data)

    def _open(self):
        if self.closed:
            raise ValueError("I/O operation on closed file.")

    def readable(self):
        self._open()
        return self._reading

    def writable(self):
        self._open()
        return self._writing

    def seekable(self):
        self._open()
        return False

    def fileno(self):
        self._open()
        return self._sock.fileno()

    @property
    def name(self):
        return -1 if self.closed else self._sock.fileno()

    def __repr__(self):
        return f"<_io.BufferedReader name={self.name}>"

    def read(self, size=-1):
        size = None if size is None or size < 0 else size
        some, data, _ = self._ask("read", n=size)
        return data if some else None

    def read1(self, size=-1):
        size = None if size is None or size < 0 else size
        some, data, _ = self._ask("read1", n=size)
        return data if some else None

    def readinto(self, buffer):
        room = memoryview(buffer).cast("B")
        data = self.read1(len(room)) if self._bare else self.read(len(room))
        if data is None:
            return None
        room[:len(data)] = data
        return len(data)

    def readline(self, size=-1):
        size = None if size is None or size < 0 else size
        return self._ask("readline", n=size)[1]

    def write(self, data):
        return self._ask("write", _data(data))[0]

    def flush(self):
        if self._sock is not None:  # closing flushes once more
            self._ask("flush")

    def close(self):
        if self.closed:
            return
        sock, self._sock = self._sock, None
        try:
            self._ask("close")
        finally:
            super().close()
            # The last file of a closed socket takes the descriptor along.
            if sock._closed and not sock._ask("close")[0]:
                sock._let_go()
            try:
                self._ask("forget")
            except Exception:  # noqa: BLE001
                pass


def socketpair(family=None, type=SOCK_STREAM, proto=0):  # noqa: F821
    family = AF_UNIX if family is None else family  # noqa: F821
    answer, _, fds = _ask({"op": "socketpair", "family": family, "kind": type, "proto": proto})
    return tuple(socket._born(told, fd) for told, fd in zip(answer["new"], fds))


def create_connection(address, timeout=_GLOBAL_DEFAULT_TIMEOUT, source_address=None, *,
                      all_errors=False):
    host, port = address
    request = {"op": "create_connection", "host": _host(host), "port": _port(port, "connect")}
    if timeout is _GLOBAL_DEFAULT_TIMEOUT:
        request["timeout"] = "default"
    else:
        request["timeout"] = _seconds(timeout)
    if source_address:
        host, port = source_address
        request["source"] = {"host": _host(host), "port": _port(port, "bind")}
    answer, _, fds = _ask(request)
    return socket._born(answer["new"][0], fds[0])


def create_server(address, *, family=AF_INET, backlog=None, reuse_port=False,  # noqa: F821
                  dualstack_ipv6=False):
    answer, _, fds = _ask({
        "op": "create_server", "family": family, "backlog": backlog, "reuse_port": reuse_port,
        "dualstack_ipv6": dualstack_ipv6, "address": _address(family, address, "bind")})
    return socket._born(answer["new"][0], fds[0])


def has_dualstack_ipv6():
    return _ask({"op": "has_dualstack_ipv6"})[0]


def setdefaulttimeout(timeout):
    _ask({"op": "setdefaulttimeout", "value": _seconds(timeout)})


def getdefaulttimeout():
    return _ask({"op": "getdefaulttimeout"})[0]


def dup(fd):
    return os.dup(fd)


def fromfd(fd, family, type, proto=0):
    return socket(family, type, proto, fileno=os.dup(fd))


# The first to connect is the one the bridge lives for.
_anchor = _connect()
