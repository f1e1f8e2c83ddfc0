import signal
from select import *
from socket import *

signal.alarm(30)  # nothing here waits for ever


def was_reset(s):
    """Waits until the peer has reset the connection: poll reports errors even where it is asked for nothing."""
    look = poll()
    look.register(s, 0)
    look.poll()


def hear_out(client):
    """Reads to the end: how many bytes came, and what raised if it was not the end of the stream."""
    heard = 0
    try:
        while some := client.recv(65536):  # while some := client.recv(65536): ...
            heard += len(some)
    except OSError as raised:
        return heard, raised
    return heard, None


def narrow_pair():
    server = create_server(('127.0.0.1', 0))
    server.setsockopt(SOL_SOCKET, SO_RCVBUF, 4096)
    conn = socket(AF_INET, SOCK_STREAM)
    conn.connect(server.getsockname())
    client, _ = server.accept()
    conn.setsockopt(SOL_SOCKET, SO_SNDBUF, 131072)
    return conn, client


print("the wrong way: say goodbye and close, with input unread")
server = create_server(('127.0.0.1', 0))
client = socket(AF_INET, SOCK_STREAM)
client.connect(server.getsockname())
conn, _ = server.accept()
client.send(b'a long request')
print(f"{conn.recv(6)=}")
conn.send(b'* too long')
conn.close()
was_reset(client)
try:
    more = client.send(b'and more')
except OSError as raised:
    more = raised
print(f"{more=}")
reset = isinstance(more, ConnectionResetError)
assert reset, "a client that is still asking gets an error, not the reason"

# The accepting end plays the client: to TCP both ends are alike.
conn, client = narrow_pair()
client.send(b'a long request')
print(f"{conn.recv(6)=}")
said = conn.send(b'!' * 30000)
conn.close()
heard, end = hear_out(client)
print(f"[heard_of_30000_after_a_reset: {heard}]")
destroyed = said == 30000 and heard < said and isinstance(end, ConnectionResetError)
assert destroyed, "what was still on its way is destroyed: ConnectionResetError"

print("the right way: say it, end our side, discard what still comes, close when the peer has ended")
conn, client = narrow_pair()
client.send(b'a long request')
print(f"{conn.recv(6)=}")
conn.send(b'!' * 30000)
conn.shutdown(SHUT_WR)
print(f"{conn.recv(65536)=}")
heard, end = hear_out(client)
print(f"[heard_of_30000_after_an_end: {heard}]")
client.close()
last = conn.recv(65536)
print(f"{last=}")
assert heard == 30000 and end is None and last == b'', "every byte was heard, and then our end"
