"""A conversation with every default endpoint, as the README shows it.

    python3 tests/python/session.py             starts a server of its own, and stops it
    python3 tests/python/session.py --running   talks to the one that is running here

Nothing but the standard library: sockets, `struct` and `json`. What is sent is marked `>`, what
is received `<`.
"""

import hashlib
import json
import os
import socket
import struct
import sys

DEADLINE = 5.0
HERE = "127.0.0.1"


def command_socket():
    """Where the private command socket of this user is."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime):
        return os.path.join(runtime, "onepoll/command.sock")
    return "/tmp/onepoll-%d/command.sock" % os.geteuid()


DEFAULT_TABLE = {
    "echo": (HERE, 9000),
    "time+udp": (HERE, 9000),
    "chat": (HERE, 9001),
    "upper": (HERE, 9999),
    "upper+udp": (HERE, 9999),
    "command+unix": command_socket(),
}


def dial(address):
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    link = socket.socket(family, socket.SOCK_STREAM)
    link.settimeout(DEADLINE)
    link.connect(address)
    return link


def title(name, address):
    print("%s at %s" % (name, address if isinstance(address, str) else "%s:%d" % address))


def show(way, who, data):
    """As text where it is text, else as bytes."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = ""
    if not text or "\0" in text:
        text = data
    print("  %s%s %r" % (who and who + " ", way, text))


def say(link, data, who=""):
    show(">", who, data)
    link.sendall(data)


def exactly(link, size):
    data = b""
    while len(data) < size:
        more = link.recv(size - len(data))
        assert more, "it ended after %r" % data
        data += more
    return data


def hears(link, size, who=""):
    data = exactly(link, size)
    show("<", who, data)
    return data


def line(link, who=""):
    data = b""
    while not data.endswith(b"\n"):
        data += exactly(link, 1)
    show("<", who, data)
    return data


def ended(link, who=""):
    link.shutdown(socket.SHUT_WR)
    while True:
        data = link.recv(4096)
        if not data:
            break
        show("<", who, data)
    print("  %s< (the end)" % (who and who + " "))
    link.close()


def echo(address):
    link = dial(address)
    say(link, b"hello \xff\x00")
    assert hears(link, 8) == b"hello \xff\x00"
    ended(link)


def upper(address):
    link = dial(address)
    text = "hello straße\n".encode()
    say(link, text)
    assert hears(link, len(text)) == text.upper()
    ended(link)


def datagram(address, data, expected=None):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(DEADLINE)
        show(">", "", data)
        link.sendto(data, address)
        answer = link.recv(65536)
        show("<", "", answer)
        assert expected is None or answer == expected


def time(address):
    datagram(address, b"")
    datagram(address, b"%A, %H:%M")


def upper_datagram(address):
    datagram(address, b"hello", b"HELLO")
    datagram(address, b"", b"")


def until(link, who, part):
    while part not in line(link, who):
        pass


def chat(address):
    ann = dial(address)
    say(ann, b"/nick ann\n", "ann")
    until(ann, "ann", b"you are now ann")
    bob = dial(address)
    say(bob, b"/nick bob\n", "bob")
    until(bob, "bob", b"you are now bob")
    until(ann, "ann", b"is now bob")
    say(ann, "hello 你好\n".encode(), "ann")
    until(bob, "bob", b"ann: hello")
    say(bob, b"/msg ann just for you\n", "bob")
    until(ann, "ann", b"just for you")
    say(bob, b"/quit\n", "bob")
    ended(bob, "bob")
    until(ann, "ann", b"bob left")
    ended(ann, "ann")


def command(address):
    link = dial(address)
    say(link, b"echo out; echo wrong >&2; exit 3\n")
    header = json.loads(hears(link, struct.unpack("<i", hears(link, 4))[0]))
    output = hears(link, header["data_size"])
    assert header["md5"] == hashlib.md5(output).hexdigest()
    assert header["exit"] == 3
    ended(link)


CONVERSATIONS = {
    "echo": echo,
    "time+udp": time,
    "chat": chat,
    "upper": upper,
    "upper+udp": upper_datagram,
    "command+unix": command,
}


def talk(table):
    for name, converse in CONVERSATIONS.items():
        title(name, table[name])
        converse(table[name])


def on_a_server_of_our_own():
    """The default table, on ports that are free: it is the same table, at other places."""
    import harness

    directory = harness.tempfile.mkdtemp(prefix="onepoll-")
    path = os.path.join(directory, "command.sock")
    server = harness.Server(
        "echo://127.0.0.1:0",
        "time://127.0.0.1:0",
        "chat://127.0.0.1:0",
        "upper://127.0.0.1:0",
        "upper+udp://127.0.0.1:0",
        "command+unix://" + path,
        is_plain=True,
    )
    try:
        talk(
            {
                "echo": server.at("echo"),
                "time+udp": server.at("time"),
                "chat": server.at("chat"),
                "upper": server.at("upper"),
                "upper+udp": server.at("upper", "udp"),
                "command+unix": path,
            }
        )
        server.rests()
        server.stop()
    finally:
        server.kill()
        harness.shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    if "--running" in sys.argv[1:]:
        talk(DEFAULT_TABLE)
    else:
        on_a_server_of_our_own()
