import signal
from socket import *

signal.alarm(30)  # nothing here waits for ever

a = socket(AF_INET, SOCK_DGRAM)
a.bind(('127.0.0.1', 0))
b = socket(AF_INET, SOCK_DGRAM)
b.bind(('127.0.0.1', 0))
there = b.getsockname()

print("the wrong way: a message of any length in one datagram")
errno = 0
try:
    a.sendto(b'x' * 65508, there)
except OSError as raised:
    print(f"{raised=}")
    errno = raised.errno
print(f"[errno_at_65508: {errno}]")
assert errno == 90, "EMSGSIZE: nothing of it was sent"

print("the right way: at most 65507, the rest in the next")
print(f"{a.sendto(b'x' * 65507, there)=}")
whole = b.recv(65536)
print(f"[longest: {len(whole)}]")
assert whole == b'x' * 65507, "the longest there is arrives whole"
print(f"{a.sendto(b'x', there)=}")
rest = b.recv(65536)
print(f"{rest=}")
assert rest == b'x', "and the rest in a datagram of its own"
