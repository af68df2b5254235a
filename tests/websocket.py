"""The client's end of a websocket (RFC 6455), as far as agents and sessions need it.

The upgrade is signed with SigV4, as agents sign it, when keys are given.
"""
import base64
import os
import select
import socket
import ssl
import struct
import threading
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.credentials

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Refused(Exception):
    """The upgrade was answered with another status than 101."""

    def __init__(self, status, body):
        super().__init__(f"{status}: {body}")
        self.status, self.body = status, body


class Closed(ConnectionError):
    """The other end closed, with its reason and its code if it gave one."""

    def __init__(self, text, code=None):
        super().__init__(text)
        self.code = code


def signed_headers(url, keys, region):
    # A space may be sent as a plus, as Go does; what is signed has %20 for it.
    request = botocore.awsrequest.AWSRequest("GET", url.replace("+", "%20"))
    botocore.auth.SigV4Auth(botocore.credentials.Credentials(*keys), "ecs",
                            region).add_auth(request)
    return dict(request.headers.items())


class WebSocket:
    """One connection. Writers may be of several threads, the reader is one."""

    def __init__(self, url, keys=None, region=None, ca_file=None, timeout=90):
        parts = urllib.parse.urlsplit(url)
        secure = parts.scheme in ("https", "wss")
        self.socket = socket.create_connection(
            (parts.hostname, parts.port or (443 if secure else 80)), timeout=timeout)
        if secure:
            context = ssl.create_default_context(cafile=ca_file)
            self.socket = context.wrap_socket(self.socket, server_hostname=parts.hostname)
        self.lock = threading.Lock()
        self.reading = threading.Lock()
        self.received = b""
        headers = {"Host": parts.netloc, "Upgrade": "websocket", "Connection": "Upgrade",
                   "Sec-WebSocket-Version": "13",
                   "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode()}
        if keys is not None:
            headers |= signed_headers(url, keys, region)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        self.socket.sendall((f"GET {target} HTTP/1.1\r\n" + "".join(
            f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n").encode())
        self.upgrade()

    def upgrade(self):
        """Read the answer to the upgrade."""
        while b"\r\n\r\n" not in self.received:
            self.receive()
        head, self.received = self.received.split(b"\r\n\r\n", 1)
        status = int(head.split(b" ", 2)[1])
        if status == 101:
            return
        try:
            while True:
                self.receive()
        except Closed:
            pass
        self.socket.close()
        raise Refused(status, self.received.decode(errors="replace"))

    def receive(self):
        with self.reading:
            more = self.socket.recv(65536)
        if not more:
            raise Closed("the other end closed the connection")
        self.received += more

    def readable(self, seconds):
        """Wait until there is something to read, which may be a part of a frame, or the end."""
        pending = isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0
        return bool(self.received or pending or select.select([self.socket], [], [], seconds)[0])

    def take(self, size):
        while len(self.received) < size:
            self.receive()
        taken, self.received = self.received[:size], self.received[size:]
        return taken

    def frame(self):
        """The next frame: whether it ends a message, its opcode, its bytes. Servers do not mask."""
        first, size = self.take(2)
        if size == 126:
            size, = struct.unpack(">H", self.take(2))
        elif size == 127:
            size, = struct.unpack(">Q", self.take(8))
        return bool(first & 0x80), first & 15, self.take(size)

    def read(self):
        """The next message's bytes; pings are answered. Raises Closed."""
        message = b""
        while True:
            last, opcode, data = self.frame()
            if opcode == CLOSE:
                raise Closed(f"closed: {data[2:].decode(errors='replace')}",
                             int.from_bytes(data[:2], "big") if len(data) >= 2 else None)
            if opcode == PING:
                self.send(data, PONG)
            elif opcode != PONG:
                message += data
                if last:
                    return message

    def send(self, data, opcode=TEXT):
        """Send one frame, masked with zeroes, which leave the data as they are."""
        data = data.encode() if isinstance(data, str) else data
        size = len(data)
        head = bytes([0x80 | opcode]) + (
            bytes([0x80 | size]) if size < 126 else
            struct.pack(">BH", 0x80 | 126, size) if size < 65536 else
            struct.pack(">BQ", 0x80 | 127, size))
        with self.lock:
            self.socket.sendall(head + bytes(4) + data)

    def say_close(self, code):
        """Begin the closing handshake."""
        self.send(struct.pack(">H", code), CLOSE)

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes a reader, as close does not
        except OSError:
            pass
        # Not below a thread that still uses it: its number may be another file's at once, and what is
        # read or written then is that file's.
        with self.reading, self.lock:
            self.socket.close()
