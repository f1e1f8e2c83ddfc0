import signal
from select import *
from socket import *

signal.alarm(30)  # nothing here waits for ever


def watched():
    server = create_server(('127.0.0.1', 0))
    a = socket(AF_INET, SOCK_STREAM)
    a.connect(server.getsockname())
    b, _ = server.accept()
    b.setblocking(False)
    ep = epoll()
    ep.register(b, EPOLLIN | EPOLLRDHUP | EPOLLET)
    return ep, a, b


def was_ended(s):
    """Waits until the peer has ended its side."""
    look = poll()
    look.register(s, POLLRDHUP)
    look.poll()


print("the wrong way: a short read is believed although the peer has ended")
ep, a, b = watched()
a.send(b'bye')
a.shutdown(SHUT_WR)
was_ended(b)
seen = ep.poll()
short = b.recv(100)
none = ep.poll(0.02)
print(f"{seen=} {short=} {none=}")
print(f"[edges_for_the_end: {len(none)}]")
hangs = seen == [(b.fileno(), EPOLLIN | EPOLLRDHUP)] and short == b'bye' and not none
assert hangs, "the end is there, and no edge: it is never seen"

print("the right way: a short read is believed, but not with EPOLLRDHUP")
ep, a, b = watched()
a.send(b'hello')
print(f"{ep.poll()=}")
short = b.recv(100)
a.send(b'bye')
a.shutdown(SHUT_WR)
was_ended(b)
seen = ep.poll()
print(f"{short=} {seen=}")
anew = short == b'hello' and seen == [(b.fileno(), EPOLLIN | EPOLLRDHUP)]
assert anew, "no recv was asked for twice, and the next bytes made an edge"
print(f"{b.recv(100)=}")
end = b.recv(100)
print(f"{end=}")
print(f"[end_seen: {end == b''}]")
assert end == b'', "EPOLLRDHUP: read on, and there is the end"
