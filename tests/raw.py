"""Signed requests without an SDK: many at once, and any bytes in place of the right ones.

An SDK spends milliseconds on a request and sends only what its model allows. Here a request costs
some ten microseconds, dozens of connections are served by one thread, and each part of a request
can be something else than it ought to be.
"""
import datetime
import hashlib
import hmac
import json
import select
import socket
import ssl

TARGETS = {"ecs": "AmazonEC2ContainerServiceV20141113.", "berth": "Berth.",
           "secretsmanager": "secretsmanager.", "ssm": "AmazonSSM."}
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


def digest(key, message):
    return hmac.new(key, message.encode(), hashlib.sha256).digest()


def now():
    return datetime.datetime.now(datetime.timezone.utc)


class Signer:
    """Signs in header form with one key for one service."""

    def __init__(self, key_id, secret, region, host, service="ecs"):
        self.key_id, self.secret, self.region = key_id, secret, region
        self.host, self.service = host, service
        self.keys = {}

    def signing_key(self, date):
        if date not in self.keys:
            key = ("AWS4" + self.secret).encode()
            for part in (date, self.region, self.service, "aws4_request"):
                key = digest(key, part)
            self.keys[date] = key
        return self.keys[date]

    def sign(self, headers, body, at=None, method="POST", path="/", query=""):
        """The headers with X-Amz-Date and Authorization added; header names are in lower case."""
        stamp = (at or now()).strftime("%Y%m%dT%H%M%SZ")
        headers = {"host": self.host, "x-amz-date": stamp, **headers}
        names = sorted(headers)
        canonical = "\n".join(
            [method, path, query, *(f"{name}:{headers[name]}" for name in names), "",
             ";".join(names), hashlib.sha256(body).hexdigest()])
        scope = f"{stamp[:8]}/{self.region}/{self.service}/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope,
                          hashlib.sha256(canonical.encode()).hexdigest()])
        signature = hmac.new(self.signing_key(stamp[:8]), text.encode(), hashlib.sha256).hexdigest()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.key_id}/{scope}, SignedHeaders={';'.join(names)}, "
            f"Signature={signature}")
        return headers


def compose(headers, body, method="POST", target="/"):
    """The bytes of a request; headers are a dictionary or pairs."""
    pairs = headers.items() if isinstance(headers, dict) else headers
    lines = "".join(f"{name}: {value}\r\n" for name, value in pairs)
    return (f"{method} {target} HTTP/1.1\r\n{lines}"
            f"Content-Length: {len(body)}\r\n\r\n").encode("latin-1") + body


class Answer:
    """An HTTP answer."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def decoded(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The name of an error, None of a success."""
        return None if self.status == 200 else self.decoded()["__type"]


class Connection:
    """One connection; answers are read in the order of the requests."""

    def __init__(self, address, port, timeout=90, authority=None):
        self.socket = socket.create_connection((address, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if authority is not None:
            self.socket = ssl.create_default_context(cafile=authority).wrap_socket(
                self.socket, server_hostname=address)
        self.buffer = b""

    def send(self, data):
        self.socket.sendall(data)

    def more(self):
        piece = self.socket.recv(1 << 16)
        if not piece:
            raise ConnectionResetError("closed before the answer was complete")
        self.buffer += piece

    def ended(self):
        """Whether the server closed it, as it does with those that were idle for long."""
        return not self.buffer and bool(select.select([self.socket], [], [], 0)[0])

    def read(self, method="POST"):
        """The next answer; ConnectionError when the connection closes first."""
        while b"\r\n\r\n" not in self.buffer:
            self.more()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        size = 0 if method == "HEAD" else int(headers.get("content-length", 0))
        while len(self.buffer) < size:
            self.more()
        body, self.buffer = self.buffer[:size], self.buffer[size:]
        return Answer(int(lines[0].split(" ")[1]), headers, body)

    def close(self):
        self.socket.close()


class Caller:
    """Calls operations of a server with one key over its own connections. For one thread."""

    def __init__(self, berth, key_id=None, secret=None, service="ecs", width=32):
        keys = berth.keys
        self.address, self.port, self.width = berth.address, berth.port, width
        self.service, self.authority = service, keys.get("caFile")
        self.signer = Signer(key_id or keys["accessKeyId"], secret or keys["secretAccessKey"],
                             keys["region"], f"{berth.address}:{berth.port}", service)
        self.open = []

    def request(self, operation, members):
        body = members if isinstance(members, bytes) else json.dumps(members).encode()
        headers = {"x-amz-target": TARGETS[self.service] + operation,
                   "content-type": "application/x-amz-json-1.1"}
        return compose(self.signer.sign(headers, body), body)

    def connections(self, count):
        self.open = [one for one in self.open if not one.ended()]
        while len(self.open) < count:
            self.open.append(Connection(self.address, self.port, authority=self.authority))
        return self.open[:count]

    def answer(self, operation, **members):
        """One call, whatever comes back."""
        connection = self.connections(1)[0]
        connection.send(self.request(operation, members))
        return connection.read()

    def __call__(self, operation, **members):
        """One call that must succeed; returns its output."""
        answer = self.answer(operation, **members)
        assert answer.status == 200, f"{operation} {members}: {answer.body[:500]}"
        return answer.decoded()

    def many(self, operation, inputs):
        """A call for each of the inputs, `width` of them at a time; all must succeed."""
        inputs = list(inputs)
        outputs = []
        connections = self.connections(min(self.width, max(1, len(inputs))))
        for begin in range(0, len(inputs), len(connections)):
            part = inputs[begin:begin + len(connections)]
            for connection, members in zip(connections, part):
                connection.send(self.request(operation, members))
            for connection, members in zip(connections, part):
                answer = connection.read()
                assert answer.status == 200, f"{operation} {members}: {answer.body[:500]}"
                outputs.append(answer.decoded())
        return outputs

    def close(self):
        for connection in self.open:
            connection.close()
        self.open = []
