import signal
from socket import *

signal.alarm(30)  # nothing here waits for ever

READS_MAX = 1000  # when to give up


def reads_before_polite(budget):
    """How often the greedy one is read before the polite one is heard."""
    server = create_server(('127.0.0.1', 0))
    greedy = socket(AF_INET, SOCK_STREAM)
    greedy.connect(server.getsockname())
    from_greedy, _ = server.accept()
    polite = socket(AF_INET, SOCK_STREAM)
    polite.connect(server.getsockname())
    from_polite, _ = server.accept()
    greedy.send(b'x' * 4096)
    polite.send(b'?')
    from_polite.recv(1, MSG_PEEK)

    reads = 0
    while budget is None or reads < budget:
        if reads == READS_MAX:
            # from_greedy.recv(4096) until it would block
            return reads
        from_greedy.setblocking(True)
        from_greedy.recv(4096, MSG_PEEK | MSG_WAITALL)
        from_greedy.setblocking(False)
        from_greedy.recv(4096)
        reads += 1
        # As fast as we read: it is there again before we look again.
        greedy.send(b'x' * 4096)
    # one from_greedy.recv(4096); from_polite.recv(10)
    assert from_polite.recv(10) == b'?'
    return reads


print("the wrong way: until it would block, then the next")
reads = reads_before_polite(None)
print(f"[reads_before_polite_when_draining: {reads}]")
assert reads == READS_MAX, "after a thousand reads the polite one still waits"

print("the right way: one budget each, then the next")
reads = reads_before_polite(1)
print(f"[reads_before_polite_with_a_budget: {reads}]")
assert reads == 1, "the polite one is heard after one read of the other"
