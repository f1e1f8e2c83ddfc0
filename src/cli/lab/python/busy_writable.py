import signal
from select import *
from socket import *

signal.alarm(30)  # nothing here waits for ever

server = create_server(('127.0.0.1', 0))
server.setsockopt(SOL_SOCKET, SO_RCVBUF, 65536)
a = socket(AF_INET, SOCK_STREAM)
a.connect(server.getsockname())
b, _ = server.accept()
a.setsockopt(SOL_SOCKET, SO_SNDBUF, 65536)
a.setblocking(False)

print("the wrong way: EPOLLOUT, level-triggered, from the first day on")
ep = epoll()
ep.register(a, EPOLLIN | EPOLLOUT)
print(f"{ep.poll()=}")
wake_ups = 0
for _ in range(1000):  # ep.poll(), a thousand times
    wake_ups += len(ep.poll())
print(f"[wake_ups_level: {wake_ups}]")
assert wake_ups == 1000, "it was woken each time, and there was nothing to do"

print("the right way: both, edge-triggered, once and for all")
ep = epoll()
ep.register(a, EPOLLIN | EPOLLOUT | EPOLLET)
first = ep.poll()
second = ep.poll(0.02)
print(f"{first=} {second=}")
print(f"[wake_ups_edge: {len(first) + len(second)}]")
assert len(first) == 1 and not second, "told once, then it sleeps"

taken = read = 0
try:
    while True:  # a.send(...) until BlockingIOError
        taken += a.send(b'x' * 65536)
except BlockingIOError:
    print(f"{taken=}")
while read < taken and (some := b.recv(65536)):  # while some := b.recv(65536): ...
    read += len(some)
print(f"{read=}")
seen = ep.poll()
print(f"{seen=}")
assert seen == [(a.fileno(), EPOLLOUT)], "a full socket that has room again: an edge"
