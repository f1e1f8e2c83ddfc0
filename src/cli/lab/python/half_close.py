import signal
from socket import *

signal.alarm(30)  # nothing here waits for ever


def pair():
    server = create_server(('127.0.0.1', 0))
    client = socket(AF_INET, SOCK_STREAM)
    client.connect(server.getsockname())
    conn, _ = server.accept()
    return client, conn


print("the wrong way: b'' is taken for a client that is gone")
client, conn = pair()
client.send(b'hello')
client.shutdown(SHUT_WR)
request = conn.recv(1024)
end = conn.recv(1024)
print(f"{request=} {end=}")
assert (request, end) == (b'hello', b''), "after the request comes b''"
conn.close()
answer = client.recv(1024)
print(f"[answer_when_taken_for_gone: {len(answer)}]")
assert answer == b'', "the client waited for an answer that was never sent"

print("the right way: what is owed is delivered, then our side ends too")
client, conn = pair()
client.send(b'hello')
client.shutdown(SHUT_WR)
print(f"{conn.recv(1024)=}")
print(f"{conn.recv(1024)=}")
conn.sendall(b'hello'.upper())
conn.close()
answer = client.recv(1024)
end = client.recv(1024)
print(f"{answer=} {end=}")
print(f"[answer_when_heard_out: {len(answer)}]")
assert (answer, end) == (b'HELLO', b''), "the answer arrived, and after it our end"
