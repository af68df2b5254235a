"""As much of Amazon's agent as a test needs: registers, opens ACS and TCS, says and hears frames."""
import json
import urllib.parse

import websocket

BASE = [{"name": "com.amazonaws.ecs.capability.docker-remote-api.1.18"}]
RESOURCES = [
    {"name": "CPU", "type": "INTEGER", "integerValue": 4096},
    {"name": "MEMORY", "type": "INTEGER", "integerValue": 8192},
    {"name": "PORTS", "type": "STRINGSET", "stringSetValue": ["22", "2375"]},
    {"name": "PORTS_UDP", "type": "STRINGSET", "stringSetValue": []},
]


class Session(websocket.WebSocket):
    """A session in the name of a user's key."""

    def __init__(self, server, url):
        keys = server.keys
        super().__init__(url, (keys["accessKeyId"], keys["secretAccessKey"]), keys["region"],
                         timeout=10)

    def hear(self, kind):
        """The message of the next frame of that type."""
        while True:
            frame = json.loads(self.read())
            if frame["type"] == kind:
                return frame["message"]

    def say(self, kind, message, head=""):
        self.send(head + json.dumps({"type": kind, "message": message}))


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
        self.acs = Session(self.server, self.url(False))
        self.acs.hear("TaskManifestMessage")
        self.tcs = Session(self.server, self.url(True))
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
