import signal
import time
from socket import *

signal.alarm(30)  # nothing here waits for ever


def pair():
    server = create_server(('127.0.0.1', 0))
    a = socket(AF_INET, SOCK_STREAM)
    a.connect(server.getsockname())
    b, _ = server.accept()
    return a, b


def two_sends(nodelay, awaited):
    """What has come right after two sends, and for how long one waits for the rest.

    A machine that is busy may rest between the two for as long as an acknowledgement takes: then it did
    not count."""
    for _ in range(20):
        a, b = pair()
        b.setsockopt(IPPROTO_TCP, TCP_QUICKACK, 0)
        if nodelay:
            a.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        else:
            a.setsockopt(IPPROTO_TCP, TCP_NODELAY, 0)
        # a.send(b'head'); a.send(b'body'); b.recv(1024, MSG_PEEK)
        a.send(b'head')
        a.send(b'body')
        peeked = b.recv(1024, MSG_PEEK)
        began = time.monotonic()
        b.recv(8, MSG_PEEK | MSG_WAITALL)
        waited = time.monotonic() - began
        # b.recv(8), when all has come
        assert b.recv(8) == b'headbody'
        if peeked == awaited:
            break
    print(f"{nodelay=} {peeked=}")
    return peeked, int(waited * 1000)


print("the wrong way: two small sends for one message")
peeked, waited_ms = two_sends(0, b'head')
print(f"[waited_ms: {waited_ms}]")
assert peeked == b'head', "the first went at once; the second waits for an acknowledgement"

print("the right way: TCP_NODELAY")
peeked, _ = two_sends(1, b'headbody')
assert peeked == b'headbody', "both went at once"

print("the wrong way: TCP_NODELAY is taken for a cure of sticking")
for nodelay in (0, 1):
    a, b = pair()
    a.setsockopt(IPPROTO_TCP, TCP_NODELAY, nodelay)  # first 0, then 1
    # a.send(b'sbzz'); a.send(b'sbzz')
    a.send(b'sbzz')
    a.send(b'sbzz')
    b.recv(8, MSG_PEEK | MSG_WAITALL)
    # b.recv(1024), late
    got = b.recv(1024)
    print(f"{nodelay=} {got=}")
    assert got == b'sbzzsbzz', "two sends stick when the reader is late"
