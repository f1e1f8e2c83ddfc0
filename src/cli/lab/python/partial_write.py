import signal
from select import *
from socket import *

signal.alarm(30)  # nothing here waits for ever


def narrow_pair():
    server = create_server(('127.0.0.1', 0))
    server.setsockopt(SOL_SOCKET, SO_RCVBUF, 65536)
    a = socket(AF_INET, SOCK_STREAM)
    a.connect(server.getsockname())
    b, _ = server.accept()
    a.setsockopt(SOL_SOCKET, SO_SNDBUF, 65536)
    a.setblocking(False)
    return a, b


def hear_out():
    """Reads to the end: how many bytes came."""
    heard = 0
    while some := b.recv(65536):  # while some := b.recv(65536): ...
        heard += len(some)
    return heard


print("the wrong way: what send returns is ignored")
a, b = narrow_pair()
taken = a.send(b'x' * 1000000)
a.close()
received = hear_out()
print(f"{taken=} {received=}")
print(f"[lost: {1000000 - received}]")
assert received == taken < 1000000, "what was not taken was never sent"

print("the right way: the rest is kept, and sent when there is room")
a, b = narrow_pair()
rest, received, sends = b'x' * 1000000, 0, 0
while rest:
    if a in select([], [a], [], 0)[1]:
        # when writable: rest = rest[a.send(rest):]
        rest = rest[a.send(rest):]
        sends += 1
    elif b in select([b], [], [], 0)[0]:
        # The reader reads whenever the writer has to wait.
        received += len(b.recv(65536))
a.close()
received += hear_out()
print(f"[received: {received}]")
assert sends > 1 and received == 1000000, "it took several sends, and every byte arrived"
