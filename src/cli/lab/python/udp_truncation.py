import signal
from socket import *

signal.alarm(30)  # nothing here waits for ever

a = socket(AF_INET, SOCK_DGRAM)
a.bind(('127.0.0.1', 0))
b = socket(AF_INET, SOCK_DGRAM)
b.bind(('127.0.0.1', 0))
there = b.getsockname()

print("the wrong way: a buffer for what one expects")
a.sendto(b'hello', there)
a.sendto(b'egg', there)
first = b.recv(2)
second = b.recv(10)
try:
    third = b.recv(10, MSG_DONTWAIT)
except BlockingIOError as raised:
    third = raised
print(f"{first=} {second=} {third=}")
print(f"[lost_bytes: {8 - len(first) - len(second)}]")
assert (first, second) == (b'he', b'egg'), "nothing sticks: each recv is one datagram"
assert isinstance(third, BlockingIOError), "and llo is nowhere"

server = create_server(('127.0.0.1', 0))
c = socket(AF_INET, SOCK_STREAM)
c.connect(server.getsockname())
d, _ = server.accept()
c.send(b'hello')
d.recv(5, MSG_PEEK | MSG_WAITALL)
print(f"{d.recv(2)=}")
rest = d.recv(10)
print(f"{rest=}")
assert rest == b'llo', "a stream keeps the rest"

print("the right way: a buffer that no datagram exceeds")
a.sendto(b'hello', there)
a.sendto(b'egg', there)
whole = [b.recv(65536), b.recv(65536)]
print(f"[whole_datagrams: {len(whole)}]")
assert whole == [b'hello', b'egg'], "both are whole, and apart"
