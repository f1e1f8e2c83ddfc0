import signal
import struct
from socket import *

signal.alarm(30)  # nothing here waits for ever

a = socket(AF_INET, SOCK_DGRAM)
a.bind(('127.0.0.1', 0))
b = socket(AF_INET, SOCK_DGRAM)
b.bind(('127.0.0.1', 0))
here, there = a.getsockname(), b.getsockname()
b.setsockopt(SOL_SOCKET, SO_RCVBUF, 8192)

print("the wrong way: a hundred datagrams as fast as they can be sent")
sent = received = 0
for _ in range(100):
    a.sendto(b'x' * 100, there)  # a.sendto(b'x' * 100, there), 100 times
    sent += 1
try:
    while True:
        b.recv(1024, MSG_DONTWAIT)  # b.recv(1024, MSG_DONTWAIT), until nothing is left
        received += 1
except BlockingIOError:
    print(f"{sent=} {received=}")
print(f"[lost: {sent - received}]")
assert sent == 100 and received < sent, "the sender knows of no loss"

print("the right way: numbered, and acknowledged one by one")
acknowledged = 0
for number in range(100):  # send, await its acknowledgement, 100 times
    numbered = struct.pack('q', number)
    while True:
        a.sendto(numbered, there)
        # The receiver: what has come is acknowledged, also what came before.
        b.sendto(b.recv(1024), here)
        if a.recv(1024) == numbered:
            break
    acknowledged += 1
print(f"[acknowledged: {acknowledged}]")
assert acknowledged == 100, "every one arrived"
