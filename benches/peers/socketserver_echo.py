"""A peer: an echo server on socketserver, a thread for each connection."""

import socket
import socketserver
import sys


class Echo(socketserver.BaseRequestHandler):
    def setup(self):
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def handle(self):
        try:
            while data := self.request.recv(65536):
                self.request.sendall(data)
        except ConnectionError:
            pass


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 4096

    def handle_error(self, request, client_address):
        """A client that is gone before its thread began is no news."""


with Server(("127.0.0.1", int(sys.argv[1])), Echo) as server:
    server.serve_forever()
