"""Events of tasks, deployments, services and container instances: the log, the stream, `berth events`."""
import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.parse

import pytest

import raw
import stock_agent
import support

TASK = "ECS Task State Change"
DEPLOYMENT = "ECS Deployment State Change"
ACTION = "ECS Service Action"
INSTANCE = "ECS Container Instance State Change"
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


class Stream:
    """GET /events, read line by line."""

    def __init__(self, berth, key_id=None, secret=None, receive_bytes=None, **parameters):
        keys = berth.keys
        query = urllib.parse.urlencode(sorted(parameters.items()), quote_via=urllib.parse.quote)
        signer = raw.Signer(key_id or keys["accessKeyId"], secret or keys["secretAccessKey"],
                            keys["region"], f"{berth.address}:{berth.port}", "berth")
        headers = signer.sign({}, b"", method="GET", path="/events", query=query)
        self.connection = raw.Connection(berth.address, berth.port, support.PATIENCE,
                                         keys.get("caFile"))
        if receive_bytes:
            self.connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.connection.send((f"GET /events?{query} HTTP/1.1\r\n" + "".join(
            f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n").encode())
        self.answer = self.connection.read("HEAD")
        self.text = b""

    def chunk(self):
        """The next chunk, empty at the end (RFC 9112, section 7.1)."""
        while b"\r\n" not in self.connection.buffer:
            self.connection.more()
        size, _, rest = self.connection.buffer.partition(b"\r\n")
        size = int(size, 16)
        self.connection.buffer = rest
        while len(self.connection.buffer) < size + 2:
            self.connection.more()
        data = self.connection.buffer[:size]
        self.connection.buffer = self.connection.buffer[size + 2:]
        return data

    def line(self):
        """The next line that is not empty; None at the end."""
        while True:
            line, end, rest = self.text.partition(b"\n")
            if end:
                self.text = rest
                if line:
                    return json.loads(line)
                continue
            data = self.chunk()
            if not data:
                return None
            self.text += data

    def until(self, last):
        """The events up to the first for which `last` holds."""
        events = []
        while not events or not last(events[-1]):
            events.append(self.line()["event"])
        return events

    def close(self):
        self.connection.close()


def pages(caller, **more):
    """All events, page by page."""
    events, token = [], {}
    while True:
        page = caller("ListEvents", maxResults=7, **more, **token)
        assert page["missed"] is False
        events += page["events"]
        if "nextToken" not in page:
            return events, page["lastSequence"]
        assert len(page["events"]) == 7
        token = {"nextToken": page["nextToken"]}


def listed(caller, **more):
    return [logged["event"] for logged in pages(caller, **more)[0]]


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    server = stock_agent.server(tmp_path_factory.mktemp("server"), "--healthy-after", "1s")
    ecs = server.client()
    ecs.create_cluster(clusterName="c")
    ecs.register_task_definition(family="job", containerDefinitions=[
        {"name": "a", "image": "i:1", "memory": 64, "cpu": 10}])
    ecs.register_task_definition(family="huge", containerDefinitions=[
        {"name": "a", "image": "i:1", "memory": 64, "cpu": 100000}])
    server.host = stock_agent.StockAgent(server, "c").connect()
    server.admin = raw.Caller(server, service="berth")
    yield server
    server.host.disconnect()
    assert server.stop() == 0, server.tail()


@pytest.fixture(scope="module")
def ecs(house):
    return house.client()


def finish(house, ecs, arn, reason="done"):
    ecs.stop_task(cluster="c", task=arn, reason=reason)
    house.host.task(arn, "STOPPED")
    stock_agent.wait_status(ecs, "c", arn, "STOPPED")


def test_a_task_is_told_from_begin_to_end(house, ecs):
    """In order, with ascending versions, in the shape of Amazon's events."""
    task = ecs.run_task(cluster="c", taskDefinition="job", startedBy="me")["tasks"][0]["taskArn"]
    house.host.task(task, "RUNNING")
    finish(house, ecs, task)
    events = listed(house.admin, task=task)
    states = [(e["detail"]["lastStatus"], e["detail"]["desiredStatus"]) for e in events]
    # asked to stop, it is told again with the status it has still
    assert states == [("PENDING", "RUNNING"), ("RUNNING", "RUNNING"), ("RUNNING", "STOPPED"),
                      ("STOPPED", "STOPPED")], states
    versions = [e["detail"]["version"] for e in events]
    assert versions == sorted(set(versions)), versions
    account, region = task.split(":")[4], task.split(":")[3]
    for event in events:
        assert set(event) == {"version", "id", "detail-type", "source", "account", "time", "region",
                              "resources", "detail"}
        assert event["version"] == "0" and event["source"] == "aws.ecs"
        assert event["detail-type"] == TASK and event["resources"] == [task]
        assert (event["account"], event["region"]) == (account, region)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event["time"])
        assert event["detail"]["taskArn"] == task and event["detail"]["startedBy"] == "me"
        assert ISO.fullmatch(event["detail"]["createdAt"])
    assert len({e["id"] for e in events}) == len(events)
    last = events[-1]["detail"]
    assert last["stoppedReason"] == "done" and ISO.fullmatch(last["stoppedAt"])
    shown = ecs.describe_tasks(cluster="c", tasks=[task])["tasks"][0]
    assert last["version"] == shown["version"]


def test_an_instance_is_told(house):
    events = listed(house.admin, detailType=INSTANCE, cluster="c")
    assert events and all(e["resources"] == [house.host.arn] for e in events)
    assert events[-1]["detail"]["agentConnected"] is True


def deployed(house, ecs, name, **more):
    ecs.create_service(cluster="c", serviceName=name, taskDefinition="job", desiredCount=1,
                       launchType="EC2", **more)

    def started():
        """the service has a task"""
        return ecs.list_tasks(cluster="c", serviceName=name)["taskArns"]
    task = support.wait_for(started)[0]
    house.host.task(task, "RUNNING")
    wait_event(house, name, "SERVICE_STEADY_STATE")
    return task


def named(house, service, kind=None):
    more = {"detailType": kind} if kind else {}
    return [e["detail"] for e in listed(house.admin, service=service, **more)
            if "eventName" in e["detail"]]


def wait_event(house, service, name):
    def told():
        """the event is told"""
        return [d for d in named(house, service) if d["eventName"] == name]
    return support.wait_for(told)


def remove(house, ecs, name):
    tasks = ecs.list_tasks(cluster="c", serviceName=name)["taskArns"]
    ecs.delete_service(cluster="c", service=name, force=True)
    for task in tasks:
        finish(house, ecs, task)


def test_a_deployment_is_told(house, ecs):
    deployed(house, ecs, "web")
    number = ecs.describe_services(cluster="c", services=["web"])["services"][0]["deployments"][0]["id"]
    deployments = named(house, "web", DEPLOYMENT)
    assert [(d["eventType"], d["eventName"], d["deploymentId"], d["reason"]) for d in deployments] == [
        ("INFO", "SERVICE_DEPLOYMENT_IN_PROGRESS", number, f"ECS deployment {number} in progress."),
        ("INFO", "SERVICE_DEPLOYMENT_COMPLETED", number, f"ECS deployment {number} completed.")]
    assert all(ISO.fullmatch(d["updatedAt"]) for d in deployments)
    steady, = named(house, "web", ACTION)
    assert steady["eventType"] == "INFO" and steady["eventName"] == "SERVICE_STEADY_STATE"
    assert steady["clusterArn"].endswith(":cluster/c") and ISO.fullmatch(steady["createdAt"])
    # Tasks are found by their service, too.
    kinds = {e["detail-type"] for e in listed(house.admin, service="web", cluster="c")}
    assert kinds == {TASK, DEPLOYMENT, ACTION}
    assert listed(house.admin, service="web", cluster="other") == []
    remove(house, ecs, "web")
    stopped, = wait_event(house, "web", "TASKS_STOPPED")
    assert stopped["reason"] == f"Scaling activity initiated by (deployment {number})"


def test_a_rollback_is_told(house, ecs):
    deployed(house, ecs, "back", deploymentConfiguration={
        "deploymentCircuitBreaker": {"enable": True, "rollback": True}})
    first = ecs.describe_services(cluster="c", services=["back"])["services"][0]["deployments"][0]["id"]
    ecs.update_service(cluster="c", service="back", forceNewDeployment=True)
    failed = set()

    def rolled_back():
        """every task of the new deployment fails, until it is over"""
        for arn in ecs.list_tasks(cluster="c", serviceName="back")["taskArns"]:
            task = ecs.describe_tasks(cluster="c", tasks=[arn])["tasks"][0]
            if task["startedBy"] != first and arn not in failed:
                failed.add(arn)
                house.host.task(arn, "STOPPED", reason="CannotPullContainerError: no such image")
        names = [d["eventName"] for d in named(house, "back", DEPLOYMENT)]
        return len(names) == 6 and names
    names = support.wait_for(rolled_back)
    prefix = "SERVICE_DEPLOYMENT_"
    assert [name[len(prefix):] for name in names] == [
        "IN_PROGRESS", "COMPLETED", "IN_PROGRESS", "FAILED", "IN_PROGRESS", "COMPLETED"]
    told = named(house, "back", DEPLOYMENT)
    assert told[3]["eventType"] == "ERROR"
    assert told[3]["reason"] == "ECS deployment circuit breaker: task failed to start."
    assert told[4]["deploymentId"] == first
    assert told[4]["reason"] == ("ECS deployment circuit breaker: rolling back to deploymentId "
                                 f"{first}.")
    impaired, = [d for d in named(house, "back", ACTION)
                 if d["eventName"] == "SERVICE_TASK_START_IMPAIRED"]
    assert impaired["eventType"] == "WARN" and "CannotPullContainerError" in impaired["reason"]
    remove(house, ecs, "back")


def test_want_of_room_is_told(house, ecs):
    ecs.create_service(cluster="c", serviceName="huge", taskDefinition="huge", desiredCount=1,
                       launchType="EC2")
    failure, = wait_event(house, "huge", "SERVICE_TASK_PLACEMENT_FAILURE")
    assert failure["eventType"] == "ERROR" and failure["reason"] == "RESOURCE:CPU"
    assert failure["containerInstanceArns"] == [house.host.arn]
    remove(house, ecs, "huge")


def test_questions_are_checked(house):
    for members, want in [({"nextToken": "x"}, "Invalid token."),
                          ({"maxResults": 0}, "maxResults"), ({"maxResults": 1001}, "maxResults"),
                          ({"after": -1}, "after"), ({"waitMs": 20001}, "waitMs")]:
        answer = house.admin.answer("ListEvents", **members)
        assert answer.code.endswith("InvalidParameterException"), (members, answer.body)
        assert want in answer.decoded()["message"], members
    assert listed(house.admin, task="none") == []
    assert listed(house.admin, since=time.time() + 1000) == []


def test_a_question_waits_for_an_event(house, ecs):
    _, last = pages(house.admin)
    waiting = raw.Caller(house, service="berth")
    connection = waiting.connections(1)[0]
    connection.send(waiting.request("ListEvents", {
        "after": last, "waitMs": 20000, "detailType": TASK}))
    task = ecs.run_task(cluster="c", taskDefinition="job")["tasks"][0]["taskArn"]
    page = connection.read().decoded()
    assert page["events"][0]["event"]["resources"] == [task]
    assert page["events"][0]["sequence"] > last
    finish(house, ecs, task)
    waiting.close()


def test_a_stream_follows(house, ecs):
    _, last = pages(house.admin)
    stream = Stream(house, after=last, detailType=TASK)
    assert stream.answer.status == 200
    assert stream.answer.headers["content-type"] == "application/x-ndjson"
    task = ecs.run_task(cluster="c", taskDefinition="job")["tasks"][0]["taskArn"]
    house.host.task(task, "RUNNING")
    finish(house, ecs, task)
    events = stream.until(lambda event: event["detail"]["lastStatus"] == "STOPPED")
    assert [e["detail"]["lastStatus"] for e in events] == [
        "PENDING", "RUNNING", "RUNNING", "STOPPED"]
    stream.close()


def test_a_stream_is_checked(house):
    for parameters, status in [({"color": "red"}, 400), ({"after": "x"}, 400),
                               ({"since": "yesterday"}, 400)]:
        assert Stream(house, **parameters).answer.status == status, parameters
    unsigned = raw.Connection(house.address, house.port, authority=house.keys.get("caFile"))
    unsigned.send(f"GET /events HTTP/1.1\r\nHost: {house.address}\r\n\r\n".encode())
    assert unsigned.read().status == 403
    unsigned.close()
    assert Stream(house, secret="wrong").answer.status == 403
    node = Stream(house, key_id=house.host.keys[0], secret=house.host.keys[1]).answer
    assert node.status == 403, node.status


# ---- accounts, restarts, slow readers -----------------------------------------------------

@pytest.fixture
def lone(tmp_path):
    """A server without hosts, where every key id of twelve digits is an account."""
    berth = support.Berth(tmp_path, "--any-credentials", command="server").start()
    yield berth
    berth.stop()


def churn(berth, count, key_id="111122223333", first=0):
    """Services that find no host: each makes two events."""
    ecs = raw.Caller(berth, key_id, "any")
    ecs("CreateCluster", clusterName="default")
    ecs("RegisterTaskDefinition", family="job", containerDefinitions=[
        {"name": "a", "image": "i", "memory": 64}])
    for i in range(first, first + count):
        ecs("CreateService", serviceName=f"s{i}", taskDefinition="job", desiredCount=1,
            launchType="EC2")
    ecs.close()


def test_other_accounts_and_regions_see_nothing(lone):
    churn(lone, 1)
    own = raw.Caller(lone, "111122223333", "any", service="berth")
    support.wait_for(lambda: len(listed(own)) == 2)
    other = raw.Caller(lone, "444455556666", "any", service="berth")
    assert listed(other) == []
    elsewhere = raw.Caller(lone, "111122223333", "any", service="berth")
    elsewhere.signer.region = "eu-central-1"
    assert listed(elsewhere) == []
    stream = Stream(lone, "444455556666", "any")
    churn(lone, 1, "444455556666")
    assert stream.line()["event"]["account"] == "444455556666"
    stream.close()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_events_survive_the_server(lone, how):
    churn(lone, 10)
    own = raw.Caller(lone, "111122223333", "any", service="berth")
    support.wait_for(lambda: len(listed(own)) == 20)
    events, last = pages(own)
    file = os.path.join(lone.data, "server", "events", "current.jsonl")

    def written():
        """all are in the file"""
        with open(file, encoding="utf-8") as lines:
            return len(lines.readlines()) == 20
    support.wait_for(written)
    assert os.stat(file).st_mode & 0o777 == 0o600
    lone.stop(how)
    with open(file, "a", encoding="utf-8") as lines:
        lines.write('{"sequence":99,"at":1')  # as a crash of the host tears a line
    lone.start()
    own = raw.Caller(lone, "111122223333", "any", service="berth")
    # What it does at its start is told behind the rest; what cannot be placed may be told again.
    assert pages(own)[0][:20] == events
    churn(lone, 1, first=10)
    support.wait_for(lambda: any(e["sequence"] > last for e in pages(own, after=last)[0]))
    sequences = [e["sequence"] for e in pages(own)[0]]
    assert sequences == sorted(set(sequences))


def segment_sizes(server):
    """A full segment is renamed before the next one is made, so either may be absent for a moment."""
    sizes = []
    for name in ("current.jsonl", "previous.jsonl"):
        try:
            sizes.append(os.stat(os.path.join(server.data, "server", "events", name)).st_size)
        except FileNotFoundError:
            sizes.append(0)
    return sizes


def test_a_reader_that_is_too_slow_is_told(tmp_path):
    """It holds nothing up, loses its place in a log of 1 MiB, and hears of it."""
    server = stock_agent.server(tmp_path, "--events-mib", "1")
    server.client().create_cluster(clusterName="default")
    host = stock_agent.StockAgent(server, "default", resources=[
        {"name": name, "type": "INTEGER", "integerValue": 1000000} for name in ("CPU", "MEMORY")])
    host.connect()
    ecs = raw.Caller(server)
    ecs("RegisterTaskDefinition", family="job", containerDefinitions=[
        {"name": "a", "image": "i", "memory": 64}])
    slow = Stream(server, receive_bytes=4096)
    assert slow.line()["sequence"] > 0  # of the instance
    fat = {"containerOverrides": [{"name": "a", "environment": [{"name": "A", "value": "x" * 7000}]}]}
    for _ in ecs.many("RunTask", [{"taskDefinition": "job", "count": 10, "overrides": fat}] * 150):
        pass
    sizes = segment_sizes(server)
    assert 0 < max(sizes) <= 1 << 19, sizes
    # Who reads is not held up by the one who does not.
    admin = raw.Caller(server, service="berth")
    page = admin("ListEvents", maxResults=1000)
    assert page["events"] and sum(len(json.dumps(e)) for e in page["events"]) < 2 << 20
    count = 1
    while True:
        line = slow.line()
        if "end" in line:
            break
        count += 1
    assert "gone" in line["end"] and line["lastSequence"] > 0
    assert count < 1500, count
    assert slow.line() is None
    late = Stream(server, after=1)
    assert "gone" in late.line()["end"]
    missed = admin("ListEvents", after=1)
    assert missed["missed"] is True and missed["events"]
    host.disconnect()
    assert server.stop() == 0, server.tail()


def test_a_stream_ends_with_the_server(lone):
    stream = Stream(lone, "111122223333", "any")
    assert lone.stop() == 0
    assert stream.line()["end"] == "The server is stopping."
    assert stream.line() is None


# ---- berth events -------------------------------------------------------------------------

def test_the_command_prints_a_line_for_each(house, ecs):
    task = ecs.run_task(cluster="c", taskDefinition="job")["tasks"][0]["taskArn"]
    house.host.task(task, "RUNNING")
    finish(house, ecs, task, reason="not \x1b[31mneeded")
    name = task.rsplit("/", 1)[1]
    lines = house.run("events", "--task", name, "--since", "10m").splitlines()
    shown = [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}  ", "", line) for line in lines]
    about = f"task        c/{name} (family:job)  "
    assert shown == [about + "PENDING → RUNNING", about + "RUNNING",
                     about + "RUNNING → STOPPED  not  [31mneeded",
                     about + "STOPPED  not  [31mneeded"]
    objects = [json.loads(line) for line in
               house.run("events", "--task", name, "--json").splitlines()]
    assert [e["event"]["detail"]["lastStatus"] for e in objects] == [
        "PENDING", "RUNNING", "RUNNING", "STOPPED"]
    assert house.run("events", "--type", "deployment", "--task", name) == ""
    assert "no span of time" in house.run("events", "--since", "x", check=False).stderr


def test_the_command_follows_over_a_restart(lone):
    follower = subprocess.Popen(
        [support.BERTH, "events", "-f", "--since", "10m", "--json"], stdout=subprocess.PIPE, text=True, env={
            **os.environ, "AWS_ENDPOINT_URL": lone.endpoint, "AWS_ACCESS_KEY_ID": "111122223333",
            "AWS_SECRET_ACCESS_KEY": "any", "AWS_REGION": lone.keys["region"],
            "AWS_DEFAULT_REGION": lone.keys["region"]})
    try:
        churn(lone, 3)
        first = json.loads(follower.stdout.readline())
        lone.stop(signal.SIGKILL)
        lone.start()
        churn(lone, 3, first=3)
        services, sequences = [], [first["sequence"]]
        while "s5" not in services:
            logged = json.loads(follower.stdout.readline())
            sequences.append(logged["sequence"])
            services.append(logged["event"]["resources"][0].rsplit("/", 1)[1])
        assert sequences == sorted(set(sequences))
        assert {"s3", "s4"} <= set(services)
    finally:
        follower.kill()
        follower.wait()
        follower.stdout.close()
