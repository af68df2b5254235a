"""A container agent for tests, with the habits of Amazon's: it runs nothing, and says what it is
told to.

It joins as a node, so that its key may speak for it, registers a container instance, and keeps the
ACS session; what it reports of tasks is the test's to say. Nodes join over TLS, so the server must
listen off loopback: see `server`.
"""
import json
import queue
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import botocore.auth
import botocore.awsrequest
import botocore.credentials

import support
import websocket

RESOURCES = [
    {"name": "CPU", "type": "INTEGER", "integerValue": 4096},
    {"name": "MEMORY", "type": "INTEGER", "integerValue": 8192},
    {"name": "PORTS", "type": "STRINGSET", "stringSetValue": ["22", "2375", "2376", "51678"]},
    {"name": "PORTS_UDP", "type": "STRINGSET", "stringSetValue": []},
]


# What Amazon's agent says of itself on a usual instance, as far as tests ask for it.
CAPABILITIES = [
    *(f"com.amazonaws.ecs.capability.docker-remote-api.1.{minor}" for minor in range(17, 45)),
    "com.amazonaws.ecs.capability.logging-driver.awslogs",
    "com.amazonaws.ecs.capability.logging-driver.json-file",
    "com.amazonaws.ecs.capability.privileged-container",
    "com.amazonaws.ecs.capability.task-iam-role",
    "ecs.capability.container-health-check", "ecs.capability.container-ordering",
    "ecs.capability.execute-command", "ecs.capability.execution-role-awslogs",
    "ecs.capability.task-cpu-mem-limit", "ecs.capability.task-eni",
]
ADDRESS = "10.254.254.1"  # of the tests' own network namespace


def server(data, *arguments):
    """A `berth server` that agents can join."""
    subprocess.run(["ip", "address", "replace", f"{ADDRESS}/32", "dev", "lo"], check=True)
    return support.Berth(data, *arguments, command="server", address=ADDRESS).start()


def post(berth, target, body, signed=True):
    """An operation of Berth's own, which boto3 does not know."""
    keys = berth.keys
    request = botocore.awsrequest.AWSRequest(
        "POST", keys["endpoint"] + "/", data=json.dumps(body).encode(), headers={
        "X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1"})
    if signed:
        credentials = botocore.credentials.Credentials(keys["accessKeyId"], keys["secretAccessKey"])
        botocore.auth.SigV4Auth(credentials, "berth", keys["region"]).add_auth(request)
    prepared = request.prepare()
    try:
        with urllib.request.urlopen(urllib.request.Request(
                prepared.url, prepared.body, dict(prepared.headers)), timeout=30,
                context=ssl.create_default_context(cafile=keys["caFile"])) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{target}: {error.read().decode()}") from error


class StockAgent:
    """One host. `cluster` None makes it one of the pools that `capacity` names."""

    def __init__(self, berth, cluster=None, zone="us-east-1a", resources=None, attributes=(),
                 lacks=(), capacity="FARGATE"):
        self.berth = berth
        self.cluster = cluster
        token = post(berth, "Berth.CreateJoinToken", {})["token"]
        _, token_id, secret, *_ = token.split(".")
        joined = post(berth, "Berth.JoinNode", {
            "tokenId": token_id, "tokenSecret": secret, "name": f"stock-{token_id}"}, signed=False)
        self.node_id = joined["nodeId"]
        self.keys = (joined["accessKeyId"], joined["secretAccessKey"])
        self.ecs = berth.client("ecs", aws_access_key_id=self.keys[0],
                                aws_secret_access_key=self.keys[1])
        self.session = None
        self.frames = queue.Queue()
        self.silent = False  # the session stays open, but nothing is said
        given = [{"name": "ecs.availability-zone", "value": zone}, *attributes,
                 *({"name": name} for name in CAPABILITIES if name not in lacks)]
        if cluster is None:
            given.append({"name": "berth.capacity", "value": capacity})
        where = {} if cluster is None else {"cluster": cluster}
        self.instance = self.ecs.register_container_instance(
            totalResources=resources or RESOURCES, attributes=given, **where)["containerInstance"]
        self.arn = self.instance["containerInstanceArn"]

    # ---- sessions -------------------------------------------------------------------------

    def open(self, which, query):
        base = self.ecs.discover_poll_endpoint(containerInstance=self.arn)[which]
        words = urllib.parse.urlencode(sorted(query.items()), quote_via=urllib.parse.quote)
        url = f"{base}ws?{words}"
        return websocket.WebSocket(url, self.keys, self.berth.keys["region"],
                                   self.berth.keys["caFile"])

    def connect(self, **more):
        """Open the ACS session; heartbeats and payloads are acknowledged as they come."""
        self.frames = queue.Queue()
        self.session = self.open("endpoint", {**more,
            "agentHash": "test", "agentVersion": "1.105.1", "clusterArn": self.cluster or "default",
            "containerInstanceArn": self.arn, "dockerVersion": "DockerVersion: 20.10.0",
            "protocolVersion": "2", "sendCredentials": "true", "seqNum": "1"})
        threading.Thread(target=self.listen, args=(self.session,), daemon=True).start()
        # The manifest comes first of all: then the server counts the host as connected.
        self.wait("TaskManifestMessage", lambda message: True)
        return self

    def listen(self, session):
        try:
            while True:
                frame = json.loads(session.read())
                self.heard(frame)
                reply = {"HeartbeatMessage": "HeartbeatAckRequest",
                         "PayloadMessage": "AckRequest"}.get(frame["type"])
                if reply is not None and not self.silent:
                    body = {"messageId": frame["message"]["messageId"]}
                    session.send(json.dumps({"type": reply, "message": body}))
        except OSError:
            pass

    def heard(self, frame):
        """A frame came; its acknowledgement follows."""
        self.frames.put(frame)

    def wait(self, kind, meant, seconds=20):
        """The next frame of a type that is meant; those before it are dropped."""
        deadline = time.monotonic() + seconds
        while True:
            frame = self.frames.get(timeout=max(0.01, deadline - time.monotonic()))
            if frame["type"] == kind and meant(frame["message"]):
                return frame["message"]

    def wait_stop(self, task):
        """Until the server asks for the end of a task."""
        return self.wait("PayloadMessage", lambda message: any(
            one["taskArn"] == task and one["desiredStatus"] == "STOPPED"
            for one in message["tasks"]))

    def disconnect(self):
        if self.session is not None:
            self.session.close()
            self.session = None

    def health(self, task, **containers):
        """Tell the health of containers over the telemetry session, as Amazon's agent does."""
        session = self.open("telemetryEndpoint", {
            "agentHash": "test", "agentVersion": "1.105.1", "cluster": self.cluster or "default",
            "containerInstance": self.arn, "dockerVersion": "DockerVersion: 20.10.0"})
        now = time.time()
        body = {"metadata": {"cluster": self.cluster or "default", "containerInstance": self.arn,
                             "messageId": "1", "fin": True}, "timestamp": now,
                "tasks": [{"taskArn": task, "clusterArn": self.cluster or "default",
                           "taskDefinitionFamily": "f", "taskDefinitionVersion": "1",
                           "containers": [{"containerName": name, "healthStatus": status,
                                           "statusSince": now}
                                          for name, status in containers.items()]}]}
        frame = json.dumps({"type": "PublishHealthRequest", "message": body})
        session.send(f"GET /tcs/ws HTTP/1.1\r\nHost: x\r\n\r\n{frame}")
        while json.loads(session.read())["type"] != "AckPublishHealth":
            pass
        session.close()

    # ---- reports --------------------------------------------------------------------------

    def task(self, task, status, **members):
        return self.ecs.submit_task_state_change(task=task, status=status, **members)

    def container(self, task, name, status, **members):
        return self.ecs.submit_container_state_change(task=task, containerName=name, status=status,
                                                      **members)


def status_of(client, cluster, task):
    return client.describe_tasks(cluster=cluster, tasks=[task])["tasks"][0]


def wait_status(client, cluster, task, status):
    """Until a task has a status; returns the task."""
    def reached():
        """the task's status"""
        shown = status_of(client, cluster, task)
        return shown if shown["lastStatus"] == status else None
    return support.wait_for(reached)
