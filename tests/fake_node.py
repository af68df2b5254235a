"""A node without containers: it registers, keeps its session, acknowledges all and starts nothing.

With it a server has as many tasks as a test wants, at the cost of their records only. It speaks
what a stock agent speaks (registration, the websocket, acknowledgements), with the key of a node
that joined before.
"""
import base64
import json
import os
import socket
import struct
import threading
import urllib.parse

import raw

# What plain task definitions ask of an instance.
CAPABILITIES = ["com.amazonaws.ecs.capability.docker-remote-api.1.17",
                "com.amazonaws.ecs.capability.docker-remote-api.1.18",
                "com.amazonaws.ecs.capability.docker-remote-api.1.21", "ecs.capability.task-eni"]

class FakeNode:
    """The node of a data directory, played by this process. `berth up` must have run there once."""

    def __init__(self, berth, *clusters, units=100_000_000):
        with open(os.path.join(berth.data, "node", "identity.json"), encoding="utf-8") as file:
            identity = json.load(file)
        self.berth = berth
        self.key = (identity["accessKeyId"], identity["secretAccessKey"])
        self.caller = raw.Caller(berth, *self.key)
        self.cluster = clusters[0]
        self.arns = {cluster: self.register(cluster, units) for cluster in clusters}
        self.connection = None
        self.thread = None
        self.ending = False

    @property
    def arn(self):
        """The container instance of the first cluster, in whose name the session is."""
        return self.arns[self.cluster]

    def register(self, cluster, units):
        return self.caller(
            "RegisterContainerInstance", cluster=cluster,
            totalResources=[{"name": name, "type": "INTEGER", "integerValue": units}
                            for name in ("CPU", "MEMORY")],
            attributes=[{"name": name} for name in CAPABILITIES],
            versionInfo={"agentVersion": "1.90.0"})["containerInstance"]["containerInstanceArn"]

    def connect(self, **parameters):
        """Open the session, with more parameters in its URL, and serve it in a thread."""
        found = self.caller("DiscoverPollEndpoint", cluster=self.cluster,
                            containerInstance=self.arn)
        url = urllib.parse.urlsplit(found["endpoint"])
        query = urllib.parse.urlencode(sorted(
            {"agentVersion": "1.90.0", "clusterArn": self.cluster, "containerInstanceArn": self.arn,
             "protocolVersion": "2", "sendCredentials": "false", "seqNum": "1",
             **parameters}.items()),
            quote_via=urllib.parse.quote, safe="-_.~")
        signer = raw.Signer(*self.key, self.berth.keys["region"], url.netloc)
        headers = signer.sign({}, b"", method="GET", path="/acs/ws", query=query)
        headers |= {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13",
                    "sec-websocket-key": base64.b64encode(os.urandom(16)).decode()}
        self.connection = raw.Connection(url.hostname, url.port,
                                         authority=self.caller.authority)
        self.connection.send((f"GET /acs/ws?{query} HTTP/1.1\r\n" + "".join(
            f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n").encode())
        answer = self.connection.read("HEAD")
        assert answer.status == 101, answer.status
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()
        return self

    def take(self, size):
        while len(self.connection.buffer) < size:
            self.connection.more()
        taken, self.connection.buffer = (self.connection.buffer[:size],
                                         self.connection.buffer[size:])
        return taken

    def frame(self):
        """The next frame: its opcode and bytes. RFC 6455, section 5.2; servers do not mask."""
        first, size = self.take(2)
        if size == 126:
            size, = struct.unpack(">H", self.take(2))
        elif size == 127:
            size, = struct.unpack(">Q", self.take(8))
        return first & 15, self.take(size)

    def say(self, opcode, data):
        """Send one frame, masked with zeroes, which leave it as it is."""
        size = (bytes([0x80 | len(data)]) if len(data) < 126 else
                struct.pack(">BH", 0x80 | 126, len(data)))
        self.connection.send(bytes([0x80 | opcode]) + size + bytes(4) + data)

    def serve(self):
        message = b""
        try:
            while True:
                opcode, data = self.frame()
                if opcode == 9:
                    self.say(10, data)
                elif opcode == 8:
                    return
                elif opcode in (0, 1):
                    message += data
                    try:
                        decoded = json.loads(message)
                    except ValueError:
                        continue  # the rest comes in the next frame
                    message = b""
                    self.acknowledge(decoded)
        except OSError:
            if not self.ending:
                raise

    def acknowledge(self, frame):
        kind = "HeartbeatAckRequest" if frame["type"] == "HeartbeatMessage" else "AckRequest"
        identifier = frame["message"].get("messageId")
        if identifier is not None:
            answer = {"messageId": identifier}
            if kind == "AckRequest":
                answer |= {"cluster": self.cluster, "containerInstance": self.arn}
            self.say(1, json.dumps({"type": kind, "message": answer}).encode())

    def close(self):
        self.ending = True
        if self.connection is not None:
            self.connection.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread, as close does not
            self.thread.join(10)
            self.connection.close()
            self.connection = None
        self.caller.close()
