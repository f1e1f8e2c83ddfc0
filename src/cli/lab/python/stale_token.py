import signal
from select import *
from socket import *

signal.alarm(30)  # nothing here waits for ever


def was_ended(s):
    """Waits until the peer has ended its side."""
    look = poll()
    look.register(s, POLLRDHUP)
    look.poll()


def kick_and_replace(generations):
    """Anna kicks bert while bert says good-bye; carla comes in, and gets bert's place."""
    server = create_server(('127.0.0.1', 0))
    ep = epoll()
    anna = socket(AF_INET, SOCK_STREAM)
    anna.connect(server.getsockname())
    annas, _ = server.accept()
    bert = socket(AF_INET, SOCK_STREAM)
    bert.connect(server.getsockname())
    berts, _ = server.accept()
    ep.register(annas, EPOLLIN | EPOLLRDHUP)
    ep.register(berts, EPOLLIN | EPOLLRDHUP)
    table = [annas, berts]
    # Python's epoll returns descriptors: what our tokens are. The kernel uses their numbers again, too.
    tokens = {annas.fileno(): (0, 1), berts.fileno(): (1, 1)}
    owners = [1, 1]  # the generation of each place's owner

    anna.send(b'kick bert')
    bert.close()
    annas.recv(9, MSG_PEEK | MSG_WAITALL)
    was_ended(berts)
    # ep.poll(): two events, for places
    seen = ep.poll()
    assert len(seen) == 2

    table[1].close()  # table[1].close(), as anna asked
    carla = socket(AF_INET, SOCK_STREAM)
    carla.connect(server.getsockname())
    carlas, _ = server.accept()
    ep.register(carlas, EPOLLIN | EPOLLRDHUP)
    table[1] = carlas
    owners[1] = 2

    for fd, flags in seen:
        place, generation = tokens[fd]
        if generations and generation != owners[place]:
            # the second event: generation 1, now 2
            print("an event of generation", generation, "for a place that has", owners[place])
        elif place == 1 and flags & EPOLLRDHUP:
            # the second event, `ended`: table[1].close()
            table[1].close()
    try:
        return carla.recv(1, MSG_DONTWAIT) != b''
    except BlockingIOError:
        return True


print("the wrong way: a token is a place in the table")
carla_lives = kick_and_replace(False)
print(f"[newcomer_lives_without_generation: {carla_lives}]")
assert not carla_lives, "carla was hung up on, for bert's good-bye"

print("the right way: a token is a place and a generation")
carla_lives = kick_and_replace(True)
print(f"[newcomer_lives_with_generation: {carla_lives}]")
assert carla_lives, "carla stays"
