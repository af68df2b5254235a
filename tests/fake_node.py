"""A node without containers: it registers, keeps its session, acknowledges all and starts nothing.

With it a server has as many tasks as a test wants, at the cost of their records only. It speaks
what a stock agent speaks (registration, the websocket, acknowledgements), with the key of a node
that joined before.
"""
import json
import os
import threading
import urllib.parse

import raw
import support
import websocket

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
        self.session = None
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
        query = urllib.parse.urlencode(sorted(
            {"agentVersion": "1.90.0", "clusterArn": self.cluster, "containerInstanceArn": self.arn,
             "protocolVersion": "2", "sendCredentials": "false", "seqNum": "1",
             **parameters}.items()),
            quote_via=urllib.parse.quote, safe="-_.~")
        self.session = websocket.WebSocket(
            f"{found['endpoint']}ws?{query}", self.key, self.berth.keys["region"],
            self.berth.keys.get("caFile"))
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()
        return self

    def serve(self):
        try:
            while True:
                self.acknowledge(json.loads(self.session.read()))
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
            self.session.send(json.dumps({"type": kind, "message": answer}))

    def close(self):
        self.ending = True
        if self.session is not None:
            self.session.close()
            self.thread.join(support.PATIENCE)
            self.session = None
        self.caller.close()
