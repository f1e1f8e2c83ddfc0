import signal
import threading
import time
from fcntl import F_GETFL, fcntl
from os import O_NONBLOCK
from socket import *

signal.alarm(30)  # nothing here waits for ever

server = create_server(('127.0.0.1', 0))
client = socket(AF_INET, SOCK_STREAM)

print("the wrong way: a timeout on the listener is for the sockets that it accepts")
server.settimeout(0.05)
client.connect(server.getsockname())
conn, _ = server.accept()
print(f"{conn.gettimeout()=}")
assert conn.gettimeout() is None, "the accepted socket would wait for ever"

print("the right way: each socket its own mode")
conn.settimeout(0)
try:
    raised = conn.recv(1)
except OSError as error:
    raised = error
print(f"{raised=}")
assert isinstance(raised, BlockingIOError), "at once: BlockingIOError"

conn.settimeout(0.05)
began = time.monotonic()
try:
    raised = conn.recv(1)
except OSError as error:
    raised = error
waited_ms = int((time.monotonic() - began) * 1000)
print(f"{raised=}")
print(f"[waited_ms: {waited_ms}]")
assert isinstance(raised, TimeoutError) and waited_ms >= 50, "after 50 ms: TimeoutError"
print(f"{conn.getblocking()=}")
print(f"{fcntl(conn, F_GETFL) & O_NONBLOCK != 0=}")
assert fcntl(conn, F_GETFL) & O_NONBLOCK, "yet the descriptor does not block: it is poll that waits"

conn.settimeout(None)
threading.Timer(0.01, client.send, [b'late']).start()
late = conn.recv(10)
print(f"{late=}")
assert late == b'late', "as long as it takes, and the timeout before lost nothing"
