import signal
import time
from select import *
from socket import *

signal.alarm(30)  # nothing here waits for ever

LINE = b'x' * 65536
LANE_BYTES_MAX = 1 << 20  # what a lane may hold


def pairs():
    server = create_server(('127.0.0.1', 0))
    server.setsockopt(SOL_SOCKET, SO_RCVBUF, 4096)
    to_slow = socket(AF_INET, SOCK_STREAM)
    to_slow.connect(server.getsockname())
    slow, _ = server.accept()
    to_slow.setsockopt(SOL_SOCKET, SO_SNDBUF, 65536)
    server = create_server(('127.0.0.1', 0))
    to_quick = socket(AF_INET, SOCK_STREAM)
    to_quick.connect(server.getsockname())
    quick, _ = server.accept()
    return to_slow, slow, to_quick, quick


print("the wrong way: sendall, to one after the other")
to_slow, slow, to_quick, quick = pairs()
to_slow.settimeout(0.2)
began = time.monotonic()
try:
    raised = to_slow.sendall(b'x' * 1000000)
except OSError as error:
    raised = error
print(f"{raised=}")
early = quick in select([quick], [], [], 0)[0]
print(f"[quick_one_waited_ms: {int((time.monotonic() - began) * 1000)}]")
to_quick.send(b'a line')
late = isinstance(raised, TimeoutError) and not early
assert late, "the quick reader got nothing while the server waited for the slow one"

print("the right way: send what fits, keep the rest up to a limit, close beyond it")
to_slow, slow, to_quick, quick = pairs()
to_slow.setblocking(False)
lane, lines, heard = b'', 0, 0
while len(lane) <= LANE_BYTES_MAX:  # a line to both, until a lane is over 1 MiB
    lane += LINE
    try:
        lane = lane[to_slow.send(lane):]
    except BlockingIOError:
        pass
    to_quick.sendall(LINE)
    lines += 1
    while heard < lines * len(LINE):
        heard += len(quick.recv(65536))
to_slow.close()  # to_slow.close(): too slow
print(f"[lines: {lines}]")
print(f"[lines_quick_one_heard: {heard // len(LINE)}]")
assert heard == lines * len(LINE), "the quick reader had every line at once"
left = 0
while some := slow.recv(65536):  # while some := slow.recv(65536): ...
    left += len(some)
print(f"{left=}")
assert left < heard, "the slow reader was disconnected, with what was in its queue"
