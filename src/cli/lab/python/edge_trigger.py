import signal
from select import *
from socket import *

signal.alarm(30)  # nothing here waits for ever

server = create_server(('127.0.0.1', 0))
a = socket(AF_INET, SOCK_STREAM)
a.connect(server.getsockname())
b, _ = server.accept()
ep = epoll()
b.setblocking(False)
ep.register(b, EPOLLIN | EPOLLET)


def arrived(n):
    """Waits until n bytes have come to b, and leaves them there."""
    b.setblocking(True)
    b.recv(n, MSG_PEEK | MSG_WAITALL)
    b.setblocking(False)


print("the wrong way: one recv for each edge")
a.send(b'abcdefgh')
arrived(8)
seen = ep.poll()
print(f"{seen=}")
assert seen == [(b.fileno(), EPOLLIN)], "an edge came"
print(f"{b.recv(3)=}")
seen = ep.poll(0.02)
print(f"{seen=}")
print(f"[edges_for_the_rest: {len(seen)}]")
assert not seen, "five bytes are there, and no edge: this server hangs"

print("the right way: recv until it would block")
a.send(b'ij')
arrived(7)
print(f"{ep.poll()=}")
got = b''
try:
    while True:
        some = b.recv(3)
        print(f"{some=}")
        got += some
except BlockingIOError as raised:
    print(f"{raised=}")
print(f"[drained: {len(got)}]")
assert got == b'defghij', "nothing is left behind, also not of before"
