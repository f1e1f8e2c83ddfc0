import signal
import time
from select import *
from socket import *

signal.alarm(30)  # nothing here waits for ever


def connects(s, within=None):
    """Whether its connection is made within this time."""
    return s in select([], [s], [], within)[1]


print("the wrong way: a queue for one")
server = socket(AF_INET, SOCK_STREAM)
server.bind(('127.0.0.1', 0))
server.listen(0)
first = socket(AF_INET, SOCK_STREAM)
first.setblocking(False)
first.connect_ex(server.getsockname())
second = socket(AF_INET, SOCK_STREAM)
second.setblocking(False)
second.connect_ex(server.getsockname())
print("the first connects:", in_time := connects(first))
print("the second connects within 20 ms:", too := connects(second, 0.02))
assert in_time and not too, "the second is not refused, it is not answered"
try:
    waits = second.send(b'hello')
except OSError as raised:
    waits = raised
print(f"{waits=}")
began = time.monotonic()
print(f"{server.accept()[1]=}")  # server.accept()[1], of the first
print("the second connects:", at_last := connects(second))
print(f"[the_second_waited_ms: {int((time.monotonic() - began) * 1000)}]")
again = isinstance(waits, BlockingIOError) and at_last
assert again, "there is room again, and yet it waits until it calls again"

print("the right way: a queue for a burst")
server = create_server(('127.0.0.1', 0))
burst = []
for _ in range(100):
    s = socket(AF_INET, SOCK_STREAM)
    s.setblocking(False)
    s.connect_ex(server.getsockname())
    burst.append(s)
# 100 clients connect; accepted: none
connected = sum(connects(s) for s in burst)
print(f"[connected_unaccepted: {connected}]")
assert connected == 100, "all are connected, and may send already"
sent = burst[99].send(b'hello')
print(f"{sent=}")
assert sent == 5, "the kernel keeps that, too"
