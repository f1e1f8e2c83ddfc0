import signal
import struct
from select import *
from socket import *

signal.alarm(30)  # nothing here waits for ever

print("the wrong way: an empty message over TCP, just so")
server = create_server(('127.0.0.1', 0))
a = socket(AF_INET, SOCK_STREAM)
a.connect(server.getsockname())
b, _ = server.accept()
print(f"{a.send(b'')=}")
came = b in select([b], [], [], 0.02)[0]
print("select([b], [], [], 0.02) finds it readable:", came)
print(f"[tcp_empty_arrives: {came}]")
assert not came, "nothing was sent, and nothing arrives"

print("the right way: over TCP with a length, over UDP as it is")
print(f"{a.send(struct.pack('i', 0))=}")
b.recv(4, MSG_PEEK | MSG_WAITALL)
length = b.recv(4)
print(f"{length=}")
assert length == struct.pack('i', 0), "a message of no bytes has a length"

c = socket(AF_INET, SOCK_DGRAM)
c.bind(('127.0.0.1', 0))
d = socket(AF_INET, SOCK_DGRAM)
d.bind(('127.0.0.1', 0))
there = d.getsockname()
print(f"{c.sendto(b'', there)=}")
print(f"{c.sendto(b'next', there)=}")
empty, sender = d.recvfrom(1024)  # d.recvfrom(1024)[0]
following = d.recv(1024)
print(f"{empty=} {following=}")
arrives = empty == b'' and sender == c.getsockname()
print(f"[udp_empty_arrives: {arrives}]")
assert arrives, "it arrived, with its sender"
assert following == b'next', "and was not an end"
