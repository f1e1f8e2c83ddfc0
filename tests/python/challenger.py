"""A server that asks who is there: A1 to A3, with Python's own `hmac` and nothing of ours.

    challenger.py sha256|md5 MANNER

The secret comes in hexadecimal as the first line of standard input; at its end the server ends. It
says its port, and then for each connection that proves something `right`, `wrong` or `more` (bytes
that came where none were asked for), in lines. Who is admitted is echoed to.

Manners: `plain`; `drip`: the challenge byte by byte; `silent`: no challenge; `short`: 31 bytes of
one, then silence; `gone`: no challenge, and a hang-up; `glued`: a byte too many behind it; `twice`:
a second challenge instead of the first answer.
"""

import hmac
import os
import socket
import sys
import threading
import time

DIGEST, MANNER = sys.argv[1:]
SECRET = bytes.fromhex(sys.stdin.readline())
PROOF_BYTES = {"sha256": 32, "md5": 16}[DIGEST]


def say(word):
    os.write(1, (word + "\n").encode())


def takes(peer, size):
    """`size` bytes, or fewer at the end."""
    got = b""
    while len(got) < size:
        more = peer.recv(size - len(got))
        if not more:
            break
        got += more
    return got


def challenge(peer):
    bytes_ = os.urandom(32)
    if MANNER == "drip":
        for at in range(32):
            peer.sendall(bytes_[at : at + 1])
            time.sleep(0.0005)  # so that most bytes come alone; none must
    else:
        peer.sendall(bytes_ + (b"!" if MANNER == "glued" else b""))
    return bytes_


def serve(peer):
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if MANNER == "gone":
        return
    if MANNER in ("silent", "short"):
        if MANNER == "short":
            peer.sendall(bytes(31))
        if peer.recv(1):
            say("more")
        return
    expected = hmac.new(SECRET, challenge(peer), DIGEST).digest()
    proof = takes(peer, PROOF_BYTES)
    if not hmac.compare_digest(proof, expected):
        return say("wrong" if proof else "nothing")
    say("right")
    if MANNER == "twice":
        takes(peer, 64)
        peer.sendall(os.urandom(32))
        return say("more" if peer.recv(1) else "no more")
    while True:
        asked = peer.recv(65536)
        if not asked:
            return
        peer.sendall(asked)


def keep(peer):
    with peer:
        try:
            serve(peer)
        except OSError:
            pass  # a client may reset at any time


def listen(door):
    while True:
        peer, _ = door.accept()
        threading.Thread(target=keep, args=(peer,), daemon=True).start()


door = socket.create_server(("127.0.0.1", 0), backlog=128)
say(str(door.getsockname()[1]))
threading.Thread(target=listen, args=(door,), daemon=True).start()
sys.stdin.read()
