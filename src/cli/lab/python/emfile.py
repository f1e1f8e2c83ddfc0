import signal
from resource import RLIMIT_NOFILE, getrlimit, setrlimit
from select import *
from socket import *

signal.alarm(30)  # nothing here waits for ever

server = create_server(('127.0.0.1', 0))
server.setblocking(False)
ep = epoll()
levels = epoll()
ep.register(server, EPOLLIN | EPOLLET)
levels.register(server, EPOLLIN)
client = socket(AF_INET, SOCK_STREAM)
client.connect(server.getsockname())
select([server], [], [])

print("the wrong way: accept has failed, so back to poll")
seen = ep.poll()
print(f"{seen=}")
assert len(seen) == 1, "a client is waiting"
with socket() as lowest:  # the lowest number that is free is the next: that is one too high
    next_one = lowest.fileno()
before = getrlimit(RLIMIT_NOFILE)
setrlimit(RLIMIT_NOFILE, (next_one, before[1]))
try:
    too_many = server.accept()
except OSError as raised:
    too_many = raised
print(f"{too_many=}")
assert too_many.errno == 24, "EMFILE: no descriptor is left"
wake_ups = 0
for _ in range(1000):  # a level-triggered poll, a thousand times
    wake_ups += len(levels.poll())
setrlimit(RLIMIT_NOFILE, before)  # a descriptor is free again
seen = ep.poll(0.02)
print(f"[edges_afterwards: {len(seen)}]")
print(f"[wake_ups_level: {wake_ups}]")
assert not seen and wake_ups == 1000, "edges: no more events; levels: the loop never sleeps"

print("the right way: remember the waiting client, try again when there is a descriptor")
accepted = server.accept()[1]
print(f"[accepted_when_tried_again: {accepted == client.getsockname()}]")
assert accepted == client.getsockname(), "it was in the queue all the time"
