"""As much of Amazon's agent as a test needs: registers, opens ACS and TCS, says and hears frames."""
import base64
import json
import os
import socket
import struct
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.credentials

BASE = [{"name": "com.amazonaws.ecs.capability.docker-remote-api.1.18"}]
RESOURCES = [
    {"name": "CPU", "type": "INTEGER", "integerValue": 4096},
    {"name": "MEMORY", "type": "INTEGER", "integerValue": 8192},
    {"name": "PORTS", "type": "STRINGSET", "stringSetValue": ["22", "2375"]},
    {"name": "PORTS_UDP", "type": "STRINGSET", "stringSetValue": []},
]


class Refused(Exception):
    """The upgrade was answered with another status than 101."""

    def __init__(self, status, body):
        super().__init__(f"{status}: {body}")
        self.status, self.body = status, body


class WebSocket:
    """A client's end, text frames only."""

    def __init__(self, server, url, timeout=10):
        keys = server.keys
        request = botocore.awsrequest.AWSRequest("GET", url)
        botocore.auth.SigV4Auth(
            botocore.credentials.Credentials(keys["accessKeyId"], keys["secretAccessKey"]),
            "ecs", keys["region"]).add_auth(request)
        parts = urllib.parse.urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout)
        self.bytes = b""
        headers = {"Host": parts.netloc, "Upgrade": "websocket", "Connection": "Upgrade",
                   "Sec-WebSocket-Version": "13",
                   "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
                   **dict(request.headers.items())}
        lines = [f"GET {parts.path}?{parts.query} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        while b"\r\n\r\n" not in self.bytes:
            self._more()
        head, self.bytes = self.bytes.split(b"\r\n\r\n", 1)
        status = int(head.split(b" ", 2)[1])
        if status != 101:
            try:
                while True:
                    self._more()
            except ConnectionError:
                pass
            self.socket.close()
            raise Refused(status, self.bytes.decode(errors="replace"))

    def _more(self):
        got = self.socket.recv(65536)
        if not got:
            raise ConnectionError("the server closed the connection")
        self.bytes += got

    def _take(self, size):
        while len(self.bytes) < size:
            self._more()
        taken, self.bytes = self.bytes[:size], self.bytes[size:]
        return taken

    def hear(self, kind):
        """The message of the next frame of that type."""
        while True:
            first, size = self._take(2)
            if size == 126:
                size = struct.unpack(">H", self._take(2))[0]
            elif size == 127:
                size = struct.unpack(">Q", self._take(8))[0]
            payload = self._take(size)
            if first & 15 == 8:
                raise ConnectionError(f"closed: {payload[2:].decode(errors='replace')}")
            if first & 15 == 1:
                frame = json.loads(payload)
                if frame["type"] == kind:
                    return frame["message"]

    def say(self, kind, message, head=""):
        data = (head + json.dumps({"type": kind, "message": message})).encode()
        size = struct.pack(">BBH", 0x81, 0x80 | 126, len(data))
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
        self.socket.sendall(size + mask + masked)

    def close(self):
        self.socket.close()


class StockAgent:
    """One container instance."""

    def __init__(self, server, ecs, cluster, version="1.70.2", attributes=(), **more):
        self.server, self.ecs, self.cluster, self.version = server, ecs, cluster, version
        self.registered = ecs.register_container_instance(
            cluster=cluster, totalResources=RESOURCES, attributes=[*BASE, *attributes],
            **more)["containerInstance"]
        self.arn = self.registered["containerInstanceArn"]
        self.acs = self.tcs = None

    def url(self, telemetry, arn=None):
        found = self.ecs.discover_poll_endpoint(containerInstance=self.arn, cluster=self.cluster)
        base = found["telemetryEndpoint" if telemetry else "endpoint"]
        names = (("cluster", "containerInstance") if telemetry
                 else ("clusterArn", "containerInstanceArn"))
        query = {"agentHash": "abc", "agentVersion": self.version, names[0]: self.cluster,
                 names[1]: arn or self.arn, "dockerVersion": "DockerVersion: 20.10.25"}
        if not telemetry:
            query.update(protocolVersion="2", seqNum="1", sendCredentials="true")
        return base + "ws?" + urllib.parse.urlencode(query, quote_via=urllib.parse.quote)

    def connect(self):
        self.acs = WebSocket(self.server, self.url(False))
        self.acs.hear("TaskManifestMessage")
        self.tcs = WebSocket(self.server, self.url(True))
        return self

    def say_status(self, status, at):
        """What the agent sends after each heartbeat: header lines of a signed request come first."""
        self.tcs.say("PublishInstanceStatusRequest", {
            "metadata": {"cluster": self.cluster, "containerInstance": self.arn, "requestId": "r"},
            "statuses": [{"type": "CONTAINER_RUNTIME", "status": status, "lastUpdated": at,
                          "lastStatusChange": at}], "timestamp": at},
                     head="GET /tcs/ws HTTP/1.1\r\nHost: h\r\nAuthorization: x\r\n\r\n")
        self.tcs.hear("AckPublishInstanceStatus")

    def describe(self, *include):
        return self.ecs.describe_container_instances(
            cluster=self.cluster, containerInstances=[self.arn],
            include=list(include))["containerInstances"][0]

    def close(self):
        for end in (self.acs, self.tcs):
            if end is not None:
                end.close()
