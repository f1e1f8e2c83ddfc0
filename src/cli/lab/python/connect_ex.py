import signal
from select import *
from socket import *

signal.alarm(30)  # nothing here waits for ever

server = create_server(('127.0.0.1', 0))
there = server.getsockname()
# Bound and not listening: no other process can take the port, and nothing answers there.
silent = socket(AF_INET, SOCK_STREAM)
silent.bind(('127.0.0.1', 0))
nowhere = silent.getsockname()

print("the wrong way: it is writable, so it is connected")
s = socket(AF_INET, SOCK_STREAM)
s.setblocking(False)
code = s.connect_ex(nowhere)
writable = s in select([], [s], [])[1]
print("select([], [s], []) finds it writable:", writable)
try:
    refused = s.send(b'hello')
except ConnectionRefusedError as raised:
    refused = raised.errno
print(f"{code=} {refused=}")
assert (code, writable, refused) == (115, True, 111), "115, then writable, and refused all the same"

print("the right way: writable, then ask SO_ERROR")
s = socket(AF_INET, SOCK_STREAM)
s.setblocking(False)
s.connect_ex(nowhere)
select([], [s], [])
code = s.getsockopt(SOL_SOCKET, SO_ERROR)
print(f"[refused: {code}]")
assert code == 111, "111: refused"

s = socket(AF_INET, SOCK_STREAM)
s.setblocking(False)
begun = s.connect_ex(there)
select([], [s], [])
code = s.getsockopt(SOL_SOCKET, SO_ERROR)
again = s.connect_ex(there)
once_more = s.connect_ex(there)
print(f"[codes: {[begun, again, once_more]}]")
assert (begun, code, again, once_more) == (115, 0, 0, 106), "115, then 0, then 106: connected already"

s = socket(AF_INET, SOCK_STREAM)
code = s.connect_ex(nowhere)
print(f"{code=}")
assert code == 111, "a blocking connect returns the error itself"
