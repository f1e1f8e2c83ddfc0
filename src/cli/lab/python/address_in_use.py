import signal
from socket import *

signal.alarm(30)  # nothing here waits for ever


def serve_and_stop(reuse):
    """A server that served one client, hung up first, and stopped: where it was."""
    server = socket(AF_INET, SOCK_STREAM)
    if reuse:
        server.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    server.bind(('127.0.0.1', 0))
    server.listen(1)
    port = server.getsockname()
    client = socket(AF_INET, SOCK_STREAM)
    client.connect(server.getsockname())
    conn, _ = server.accept()
    conn.close()
    client.recv(1)
    client.close()
    server.close()
    return port


def errno(bind, port):
    """What binding says: 0, or an errno."""
    try:
        bind(port)
    except OSError as raised:
        print(f"{raised=}")
        return raised.errno
    return 0


print("the wrong way: bind, as the first example of a book has it")
port = serve_and_stop(False)
again = socket(AF_INET, SOCK_STREAM)
code = errno(again.bind, port)  # again.bind(port)
assert code == 98, "in use, though no process has it"
again.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
code = errno(again.bind, port)
print(f"[flag_on_the_new_server_only: {code}]")
assert code == 98, "too late: the old server's connections are without it"

print("the right way: SO_REUSEADDR before every bind")
port = serve_and_stop(True)
again = socket(AF_INET, SOCK_STREAM)
again.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
code = errno(again.bind, port)
print(f"[flag_on_both: {code}]")
assert code == 0, "bound"

again.listen(1)
other = socket(AF_INET, SOCK_STREAM)
other.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
code = errno(other.bind, port)  # other.bind(port)
assert code == 98, "not while another one listens there"
