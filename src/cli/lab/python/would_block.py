import signal
from select import *
from socket import *

signal.alarm(30)  # nothing here waits for ever

server = create_server(('127.0.0.1', 0))
a = socket(AF_INET, SOCK_STREAM)
a.connect(server.getsockname())
b, _ = server.accept()
b.setblocking(False)

print("the wrong way: ask again until something has come")
try:
    b.recv(1)
except BlockingIOError as raised:
    errno = raised.errno
print(f"{errno=}")
assert errno == 11, "nothing has come: EAGAIN"
refused = 0
for _ in range(1000):  # the same, a thousand times
    try:
        b.recv(1)
    except BlockingIOError:
        refused += 1
print(f"[asked_in_vain: {refused}]")
assert refused == 1000, "a thousand system calls, and nothing came of them"

print("the right way: poll, then ask once")
print(f"{a.send(b'x')=}")
select([b], [], [])  # select([b], [], []) finds it readable
got = b.recv(1)
print(f"{got=}")
print(f"[asked: {1}]")
assert got == b'x', "one call, one result"

print(f"{a.send(b'still there')=}")
b.setblocking(True)
b.recv(11, MSG_PEEK | MSG_WAITALL)
b.setblocking(False)
got = b.recv(1024)
print(f"{got=}")
assert got == b'still there', "no refusal has lost anything"
