"""A container agent for tests, with the habits of Amazon's: it runs nothing, and says what it is
told to.

It registers a container instance and keeps the sessions; what it reports of tasks is the test's to
say (running_agent.py says what the real one would). What it is sent it holds against the model of
the protocol (acs_model.py), and acknowledges as the real one does.

It joins as a node, so that its key may speak for it; nodes join over TLS, so the server must listen
off loopback: see `server`. One that does not join (`joins=False`) uses the user's key, as the real
agent does.
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

import acs_model
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
                prepared.url, prepared.body, dict(prepared.headers)), timeout=support.PATIENCE,
                context=ssl.create_default_context(cafile=keys["caFile"])) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{target}: {error.read().decode()}") from error


class Session(websocket.WebSocket):
    """A session that sends and hears frames, each held against the model."""

    def __init__(self, url, keys, region, ca_file, telemetry):
        super().__init__(url, keys, region, ca_file)
        self.telemetry = telemetry
        self.strict = "berthAgent" not in url  # who says so is spoken to as Berth's agent

    def hear(self):
        frame = json.loads(self.read())
        wrong = acs_model.frame_differs(frame, self.telemetry) if self.strict else None
        assert not wrong, "; ".join(wrong)
        return frame

    def hear_of(self, kind):
        """The message of the next frame of that type."""
        while True:
            frame = self.hear()
            if frame["type"] == kind:
                return frame["message"]

    def say(self, kind, message):
        # On the telemetry session each frame is the body of a signed request, as it were.
        head = "GET /tcs/ws HTTP/1.1\r\nHost: h\r\nAuthorization: x\r\n\r\n"
        self.send((head if self.telemetry else "") + json.dumps({"type": kind, "message": message}))


class StockAgent:
    """One host. `cluster` None makes it one of the pools that `capacity` names."""

    def __init__(self, berth, cluster=None, zone="us-east-1a", resources=None, attributes=(),
                 lacks=(), capacity="FARGATE", joins=True, version="1.105.1", **more):
        self.berth = berth
        self.cluster = cluster
        self.version = version
        if joins:
            self.join()
        else:
            self.node_id = None
            self.keys = (berth.keys["accessKeyId"], berth.keys["secretAccessKey"])
        self.ecs = berth.client("ecs", aws_access_key_id=self.keys[0],
                                aws_secret_access_key=self.keys[1])
        self.session = None
        self.telemetry = None
        self.frames = queue.Queue()
        self.problem = None      # why the session is heard no more, if that is a mistake
        self.silent = False      # the session stays open, but nothing is said
        self.sequence = 0        # of the newest payload or manifest
        self.known = {}          # tasks by ARN, as they came
        self.credentials = {}    # by id
        given = [] if zone is None else [{"name": "ecs.availability-zone", "value": zone}]
        given += [*attributes, *({"name": name} for name in CAPABILITIES if name not in lacks)]
        if cluster is None:
            given.append({"name": "berth.capacity", "value": capacity})
        where = {} if cluster is None else {"cluster": cluster}
        self.instance = self.ecs.register_container_instance(
            totalResources=resources or RESOURCES, attributes=given, **where,
            **more)["containerInstance"]
        self.arn = self.instance["containerInstanceArn"]

    def join(self):
        token = post(self.berth, "Berth.CreateJoinToken", {})["token"]
        _, token_id, secret, *_ = token.split(".")
        joined = post(self.berth, "Berth.JoinNode", {
            "tokenId": token_id, "tokenSecret": secret, "name": f"stock-{token_id}"}, signed=False)
        self.node_id = joined["nodeId"]
        self.keys = (joined["accessKeyId"], joined["secretAccessKey"])

    # ---- sessions -------------------------------------------------------------------------

    def open(self, which, query):
        base = self.ecs.discover_poll_endpoint(containerInstance=self.arn)[which]
        # As the agent's library writes a query: sorted, a space is a plus.
        url = f"{base}ws?{urllib.parse.urlencode(sorted(query.items()))}"
        return Session(url, self.keys, self.berth.keys["region"], self.berth.keys.get("caFile"),
                       which == "telemetryEndpoint")

    def open_work(self, **more):
        return self.open("endpoint", {
            "agentHash": "test", "agentVersion": self.version,
            "clusterArn": self.cluster or "default", "containerInstanceArn": self.arn,
            "dockerVersion": "DockerVersion: 20.10.0", "protocolVersion": "2",
            "sendCredentials": "true", "seqNum": "1", **more})

    def open_telemetry(self, **more):
        return self.open("telemetryEndpoint", {
            "agentHash": "test", "agentVersion": self.version,
            "cluster": self.cluster or "default", "containerInstance": self.arn,
            "dockerVersion": "20.10.0", **more})

    def connect(self, **more):
        """Open the ACS session; what comes is acknowledged as it comes."""
        self.frames = queue.Queue()
        self.session = self.open_work(**more)
        threading.Thread(target=self.listen, args=(self.session,), daemon=True).start()
        # The manifest comes first of all: then the server counts the host as connected.
        self.wait("TaskManifestMessage", lambda message: True)
        return self

    def listen(self, session):
        try:
            while True:
                frame = session.hear()
                self.heard(frame)
                if not self.silent:
                    self.reply(session, frame)
        except OSError:
            pass
        except AssertionError as error:
            self.problem = error
            self.frames.put({"type": None})

    def heard(self, frame):
        """A frame came; its acknowledgement follows."""
        self.frames.put(frame)

    # ---- what the agent does of itself ----------------------------------------------------

    def reply(self, session, frame):
        message = frame["message"]
        handle = getattr(self, "on_" + frame["type"], None)
        if handle is not None:
            handle(session, message)

    def acknowledge(self, session, message):
        session.say("AckRequest", {
            "cluster": message.get("clusterArn"), "messageId": message["messageId"],
            "containerInstance": message.get("containerInstanceArn")})

    def take_credentials(self, session, message, credentials):
        self.credentials[credentials["credentialsId"]] = credentials
        session.say("IAMRoleCredentialsAckRequest", {
            "messageId": message["messageId"], "credentialsId": credentials["credentialsId"],
            "expiration": credentials["expiration"]})

    def on_HeartbeatMessage(self, session, message):
        session.say("HeartbeatAckRequest", {"messageId": message["messageId"]})

    def on_PayloadMessage(self, session, message):
        self.sequence = max(self.sequence, message["seqNum"])
        for task in message["tasks"]:
            # To stop a task it needs its name alone; what it is it knows already.
            known = self.known.setdefault(task.get("arn", task.get("taskArn")), task)
            known["desiredStatus"] = task["desiredStatus"]
            for name in ("roleCredentials", "executionRoleCredentials"):
                if name in task:
                    self.take_credentials(session, message, task[name])
        self.acknowledge(session, message)

    def on_IAMRoleCredentialsMessage(self, session, message):
        if message["taskArn"] in self.known:
            self.take_credentials(session, message, message["roleCredentials"])

    def on_TaskManifestMessage(self, session, message):
        if message["timeline"] <= self.sequence:
            return  # an old one, dropped without a word
        self.sequence = message["timeline"]
        self.acknowledge(session, message)
        wanted = {one["taskArn"] for one in message["tasks"] if one["desiredStatus"] == "RUNNING"}
        candidates = [{"taskArn": arn, "desiredStatus": "STOPPED"}
                      for arn, task in self.known.items()
                      if task["desiredStatus"] == "RUNNING" and arn not in wanted]
        if candidates:
            session.say("TaskStopVerificationMessage", {
                "messageId": message["messageId"], "stopCandidates": candidates})

    # ---- waiting --------------------------------------------------------------------------

    def wait(self, kind, meant, seconds=support.PATIENCE):
        """The next frame of a type that is meant; those before it are dropped."""
        deadline = time.monotonic() + seconds
        while True:
            frame = self.frames.get(timeout=max(0.01, deadline - time.monotonic()))
            if self.problem is not None:
                raise self.problem
            if frame["type"] == kind and meant(frame["message"]):
                return frame["message"]

    def wait_payload(self, task, status="RUNNING"):
        """What the server sends of a task."""
        def of_task(message):
            return [one for one in message["tasks"]
                    if one["arn"] == task and one["desiredStatus"] == status]
        return of_task(self.wait("PayloadMessage", of_task))[0]

    def wait_stop(self, task):
        """Until the server asks for the end of a task."""
        return self.wait_payload(task, "STOPPED")

    def disconnect(self):
        for session in (self.session, self.telemetry):
            if session is not None:
                session.close()
        self.session = self.telemetry = None

    def describe(self, *include):
        return self.ecs.describe_container_instances(
            cluster=self.cluster, containerInstances=[self.arn],
            include=list(include))["containerInstances"][0]

    # ---- telemetry ------------------------------------------------------------------------

    def publish(self, kind, acknowledgement, **message):
        if self.telemetry is None:
            self.telemetry = self.open_telemetry()
        metadata = {"cluster": self.cluster or "default", "containerInstance": self.arn}
        self.telemetry.say(kind, {"metadata": {**metadata, **message.pop("metadata")}, **message})
        self.telemetry.hear_of(acknowledgement)

    def health(self, task, **containers):
        """Tell the health of containers, as every 20 seconds."""
        now = time.time()
        self.publish("PublishHealthRequest", "AckPublishHealth",
                     metadata={"messageId": "1", "fin": True}, timestamp=now, tasks=[{
                         "taskArn": task, "clusterArn": self.cluster or "default",
                         "taskDefinitionFamily": "f", "taskDefinitionVersion": "1",
                         "containers": [{"containerName": name, "healthStatus": status,
                                         "statusSince": now}
                                        for name, status in containers.items()]}])

    def say_status(self, status, at, kind="ContainerRuntime", **more):
        """Tell how the host is, as after a heartbeat."""
        self.publish("PublishInstanceStatusRequest", "AckPublishInstanceStatus",
                     metadata={"requestId": "r"}, timestamp=at, statuses=[
                         {"type": kind, "status": status, "lastUpdated": at,
                          "lastStatusChange": at, **more}])

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
