import signal
import struct
from socket import *

signal.alarm(30)  # nothing here waits for ever

server = create_server(('127.0.0.1', 0))
a = socket(AF_INET, SOCK_STREAM)
a.connect(server.getsockname())
b, _ = server.accept()


def arrived(n):
    """Waits until n bytes have come to b, and leaves them there."""
    b.setblocking(True)
    b.recv(n, MSG_PEEK | MSG_WAITALL)


print("the wrong way: one recv for one send")
for _ in range(3):
    a.send(b'sbzz')
arrived(12)
got = b.recv(1024)
print(f"{got=}")
assert got == b'sbzzsbzzsbzz', "three sends came out of one recv"

a.send(b'hello')
a.send(b'egg')
arrived(8)
first = b.recv(10)
b.setblocking(False)
try:
    second = b.recv(10)
except BlockingIOError as raised:
    second = raised
print(f"{first=} {second=}")
assert first == b'helloegg' and isinstance(second, BlockingIOError), "nothing is left for the second"

a.send(b'hello egg')
arrived(9)
first = b.recv(2)
second = b.recv(10)
print(f"{first=} {second=}")
assert (first, second) == (b'he', b'llo egg'), "one send came out of two recvs"

print("the right way: a length before each message: struct.pack('i', len(m)) + m")
b.setblocking(True)
said = [b'sbzz', b'hello', b'egg', b'hello egg']
assert [struct.pack('i', len(m)) + m for m in said] == [
    b'\x04\x00\x00\x00sbzz',
    b'\x05\x00\x00\x00hello',
    b'\x03\x00\x00\x00egg',
    b'\t\x00\x00\x00hello egg',
]
a.sendall(b'\x04\x00\x00\x00sbzz')
a.sendall(b'\x05\x00\x00\x00hello')
a.sendall(b'\x03\x00\x00\x00egg')
a.sendall(b'\t\x00\x00\x00hello egg')
f = b.makefile('rb')
heard = []
for _ in said:
    message = f.read(*struct.unpack('i', f.read(4)))
    print(f"{message=}")
    heard.append(message)
print(f"[whole_messages: {len(heard)}]")
assert heard == said, "every message came out whole"
