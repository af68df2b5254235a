"""Faults that a task injects into its own network, asked for at ECS_AGENT_URI."""
import concurrent.futures
import ctypes
import http.client
import json
import os
import select
import socket
import subprocess
import sys
import urllib.parse

import pytest

from fields import SLEEP, box, task

import support

URI = "/fault/v1/network-"
TELL = "echo $ECS_AGENT_URI; " + SLEEP
HOLE = {"Port": 7000, "Protocol": "tcp", "TrafficType": "egress"}
EVERYWHERE = ["0.0.0.0/0"]
LOSS = {"LossPercent": 100, "Sources": EVERYWHERE}
LATENCY = {"DelayMilliseconds": 60000, "JitterMilliseconds": 0, "Sources": EVERYWHERE}
RUNNING, STOPPED, NOT_RUNNING = ({"Status": word} for word in ("running", "stopped", "not-running"))
LIMIT = "You have reached maximum request limit"

CLONE_NEWNET = 0x40000000


def in_network(path, function):
    """What a function returns in a thread that is in a network namespace; None for this one."""
    def run():
        if path is not None:
            with open(path, encoding="utf-8") as file:
                libc = ctypes.CDLL(None, use_errno=True)
                assert libc.setns(file.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        return function()
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        return threads.submit(run).result()


class Task:
    """A task that runs, seen from inside its network. Each container has paths of its own, and
    each path answers once in five seconds: every question of a test takes the next container."""

    def __init__(self, node, arn):
        self.node, self.arn = node, arn
        node.until(arn, lastStatus="RUNNING")
        self.names = [one["name"] for one in node.describe(arn)["containers"]]
        self.uris = [support.wait_for(lambda name=name: node.run("logs", arn, name).strip())
                     for name in self.names]
        self.turn = 0
        found = node.describe(arn)["attachments"]
        self.network = None
        if found:
            details = {one["name"]: one["value"] for one in found[0]["details"]}
            self.address = details["privateIPv4Address"]
            self.network = f"{networks(node)}/{details['networkInterfaceId']}"

    @property
    def prefix(self):
        return [] if self.network is None else ["nsenter", f"--net={self.network}"]

    def run(self, code, *arguments):
        return subprocess.run([*self.prefix, sys.executable, "-c", code, *arguments], check=True,
                              capture_output=True, text=True,
                              timeout=support.PATIENCE).stdout

    def raw(self, path, body, uri=None, method="POST"):
        self.turn += 1
        uri = uri or self.uris[self.turn % len(self.uris)]
        body = body if isinstance(body, str) else json.dumps(body)
        where = urllib.parse.urlsplit(uri)

        def request():
            asked = http.client.HTTPConnection(where.netloc, timeout=support.PATIENCE)
            asked.request(method, where.path + URI + path, body)
            answer = asked.getresponse()
            text = answer.read().decode()
            asked.close()
            return answer.status, text.rstrip("\n")
        return in_network(self.network, request)

    def ask(self, path, body="", **options):
        status, text = self.raw(path, body, **options)
        return status, json.loads(text)


def networks(node):
    with open(f"{node.data}/instance", encoding="utf-8") as file:
        return f"/run/berth/{file.read().strip()}/netns"


def boxes(count):
    return [box(TELL, name=f"c{i}", memory=16) for i in range(count)]


# ---- from inside a container

# `ask PATH BODY`, which prints the answer, or the status of a refusal.
SHELL = """
ask() { wget -qO- --post-data "$2" $ECS_AGENT_URI/fault/v1/network-$1 2>&1 || true; echo; }
try() { timeout $2 wget -qO- http://127.0.0.1:$1/hostname >/dev/null 2>&1 && echo open || echo shut; }
httpd -f -p 7000 -h /etc & httpd -f -p 7001 -h /etc &
"""


@task(box(SHELL + f"""
for port in 7000 7001; do until [ $(try $port 5) = open ]; do sleep 0.1; done; done
ask blackhole-port/start '{json.dumps(HOLE)}'
try 7000 2; try 7001 30
wget -qO- $ECS_CONTAINER_METADATA_URI_V4 | grep -c DockerId
ask blackhole-port/status '{json.dumps(HOLE)}'
for i in $(seq 20); do
    again=$(ask blackhole-port/status '{json.dumps(HOLE)}')
    case $again in *429*) break;; esac
done
echo "$again"
ask blackhole-port/stop '{json.dumps(HOLE)}'
try 7000 30
ask latency/start '{{}}'
""", memory=64, user="0"), ec2=True, networkMode="awsvpc", enableFaultInjection=True)
def test_a_container_shuts_a_port(ended):
    lines = list(filter(None, ended.lines()))
    assert [json.loads(lines[0]), *lines[1:4]] == [RUNNING, "shut", "open", "1"]
    assert json.loads(lines[4]) == RUNNING and "429" in lines[5]
    assert [json.loads(lines[6]), lines[7]] == [STOPPED, "open"] and "400" in lines[8]


@task(*boxes(2), ec2=True, networkMode="awsvpc")
def test_a_task_that_may_not(node, live):
    seen = Task(node, live)
    want = {"Error": f"enableFaultInjection is not enabled for task: {live}"}
    assert seen.ask("blackhole-port/start", HOLE) == (400, want)
    assert seen.ask("latency/status") == (400, want)
    # What is asked for is looked at before who asks.
    assert seen.ask("packet-loss/start", {}) == (
        400, {"Error": "required parameter LossPercent is missing"})


@task(*boxes(1), ec2=True, networkMode="bridge", enableFaultInjection=True)
def test_a_mode_that_cannot(node, live):
    seen = Task(node, live)
    seen.network = f"{networks(node)}/task-{live.rsplit('/', 1)[1]}-0"
    assert seen.ask("latency/stop") == (
        400, {"Error": "bridge mode is not supported. Please use either host or awsvpc mode."})


# ---- what is answered, asked from the task's network

@task(*boxes(4), ec2=True, networkMode="awsvpc", enableFaultInjection=True)
def test_answers(node, live):
    seen = Task(node, live)
    for method in ("GET", "PUT"):
        assert seen.raw("latency/status", "", method=method) == (405, "")
    assert seen.raw("latency/list", "") == (404, "404 page not found")
    unknown = seen.uris[0][:seen.uris[0].rindex("/")] + "/nobody"
    assert seen.ask("latency/status", uri=unknown) == (404, {
        "Error": "unable to get container ID from request: unable to get docker ID from v3 "
                 "endpoint ID: nobody"})
    # Once in five seconds for each path of each container, whatever the answer was.
    uri = seen.uris[0]
    assert seen.ask("blackhole-port/start", "", uri=uri) == (
        400, {"Error": "required request body is missing"})
    # On a machine that stands still they may be over: then the next one is too early.
    support.wait_for(
        lambda: seen.raw("blackhole-port/start", HOLE, uri=uri) == (429, LIMIT))
    assert seen.ask("blackhole-port/stop", HOLE, uri=uri) == (200, STOPPED)
    assert seen.ask("blackhole-port/start", {**HOLE, "Port": "x"}, uri=seen.uris[1]) == (
        400, {"Error": "json: cannot unmarshal string into Go struct field "
                       "NetworkBlackholePortRequest.Port of type uint16"})
    # Only one of loss and latency; the same blackhole twice is one.
    assert seen.ask("packet-loss/start", LOSS, uri=uri) == (200, RUNNING)
    assert seen.ask("packet-loss/start", LOSS, uri=seen.uris[1]) == (
        409, {"Error": "There is already one network packet loss fault running"})
    assert seen.ask("latency/start", LATENCY, uri=uri) == (
        409, {"Error": "There is already one network packet loss fault running"})
    assert seen.ask("latency/status", uri=uri) == (200, NOT_RUNNING)
    assert seen.ask("latency/stop", uri=uri) == (200, STOPPED)
    assert seen.ask("packet-loss/status", uri=uri) == (200, RUNNING)
    assert seen.ask("packet-loss/stop", uri=uri) == (200, STOPPED)
    assert seen.ask("packet-loss/status", uri=seen.uris[1]) == (200, NOT_RUNNING)
    for uri in seen.uris[2:]:
        assert seen.ask("blackhole-port/start", HOLE, uri=uri) == (200, RUNNING)
    assert seen.ask("blackhole-port/stop", HOLE, uri=seen.uris[2]) == (200, STOPPED)
    assert seen.ask("blackhole-port/status", HOLE, uri=seen.uris[2]) == (200, NOT_RUNNING)


@task(*boxes(2), ec2=True, networkMode="awsvpc", enableFaultInjection=True)
def test_latency(node, live):
    """Late where the kernel can do that; elsewhere the answer says what it lacks, and Fargate
    places no task that asks for faults here."""
    seen = Task(node, live)
    status, answer = seen.ask("latency/start", LATENCY)
    run = {"launchType": "FARGATE", "networkConfiguration": node.network_arguments}
    definition = node.register("placed", {
        "containerDefinitions": boxes(1), "cpu": "256", "memory": "512", "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"], "enableFaultInjection": True})
    placed = node.ecs.run_task(taskDefinition=definition, **run)
    if status == 500:
        assert answer["Error"].startswith("internal error: this host's kernel has no queueing")
        assert seen.ask("latency/status") == (200, NOT_RUNNING)
        failure, = placed["failures"]
        assert "ATTRIBUTE on 1 of 1 (ecs.capability.fault-injection)" in failure["detail"]
        return
    assert (status, answer) == (200, RUNNING)
    assert seen.ask("latency/status") == (200, RUNNING)
    assert placed["failures"] == []
    node.ecs.stop_task(task=placed["tasks"][0]["taskArn"])


# ---- what they do, and to whom

# A listener: prints a line when it listens, and one for each datagram.
HEAR = """
import socket, sys
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.bind(("0.0.0.0", int(sys.argv[1])))
print("listening", flush=True)
while True:
    print(one.recv(64).decode(), flush=True)
"""
SAY = """
import socket, sys
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for port in sys.argv[2:]:
    try:
        one.sendto(port.encode(), (sys.argv[1], int(port)))
        print("sent")
    except PermissionError:
        print("refused")
"""


@pytest.fixture
def pair(node, live):
    """The test's own task, and another that may have faults, too, and injects none."""
    first = Task(node, live)
    other = Task(node, node.launch("other", {
        "containerDefinitions": boxes(1), "networkMode": "awsvpc", "memory": "64",
        "enableFaultInjection": True}, {"launchType": "EC2"}))
    yield first, other
    node.ecs.stop_task(task=other.arn)


def hears(seen, port):
    """A process in a task's network that prints what comes to a port."""
    process = subprocess.Popen([*seen.prefix, sys.executable, "-c", HEAR, str(port)],
                               stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "listening\n"
    return process


def udp(port, way, **more):
    return {"Port": port, "Protocol": "udp", "TrafficType": way, **more}


@task(*boxes(4), ec2=True, networkMode="awsvpc", enableFaultInjection=True)
def test_deaf_ports(node, pair):
    """In, out, but for those who are spared, and for nobody else; also after the agent's restart."""
    first, other = pair
    ours, theirs = hears(first, 7101), hears(other, 7103)
    for change in (udp(7100, "ingress"), udp(7102, "egress"), udp(7101, "egress"),
                   udp(7103, "egress", SourcesToFilter=["192.0.2.0/24", other.address])):
        assert first.ask("blackhole-port/start", change) == (200, RUNNING), change
    with hears(first, 7100) as deaf:
        assert other.run(SAY, first.address, "7100", "7101") == "sent\nsent\n"
        assert ours.stdout.readline() == "7101\n"
        assert not select.select([deaf.stdout], [], [], 0)[0], "it is on the same way, before that"
        deaf.kill()
    assert first.run(SAY, other.address, "7102", "7103") == "refused\nsent\n"
    assert theirs.stdout.readline() == "7103\n"
    assert first.run(SAY, "192.0.3.1", "7103") == "refused\n"
    # Others are as they were.
    assert other.run(SAY, first.address, "7102", "7101") == "sent\nsent\n"
    assert ours.stdout.readline() == "7101\n"
    # An agent that comes back finds what runs, and removes what belongs to no task.
    instance = networks(node).split("/")[3]
    stray = f"berth-fault-{instance}-egress-tcp-9-{'0' * 32}"
    subprocess.run(["nft", "add", "table", "inet", stray], check=True)
    node.kill()
    node.start()
    node.ecs = node.client()
    support.wait_for(lambda: stray not in filters())
    uri = first.uris[0]
    support.wait_for(lambda: answers(first, uri))
    assert first.ask("blackhole-port/status", udp(7102, "egress"), uri=uri) == (200, RUNNING)
    assert first.ask("blackhole-port/stop", udp(7102, "egress"), uri=uri) == (200, STOPPED)
    assert first.run(SAY, other.address, "7102") == "sent\n"
    for process in (ours, theirs):
        process.kill()
        process.wait()


def answers(seen, uri):
    """the agent answers again"""
    try:
        return seen.raw("latency/list", "", uri=uri)[0] == 404
    except OSError:
        return False


@task(*boxes(4), ec2=True, networkMode="awsvpc", enableFaultInjection=True)
def test_lost_packets(pair):
    """Without a word to their sender; all of them, or about as many as it says."""
    first, other = pair
    meant = {"Sources": [other.address + "/32"]}
    with hears(other, 7200) as heard:
        assert first.ask("packet-loss/start", {**meant, "LossPercent": 100}) == (200, RUNNING)
        assert first.run(SAY, other.address, *["7200"] * 20) == "sent\n" * 20
        assert first.ask("packet-loss/stop") == (200, STOPPED)
        first.run(SAY, other.address, "7200")
        assert heard.stdout.readline() == "7200\n"
        assert not select.select([heard.stdout], [], [], 0)[0]
        assert first.ask("packet-loss/start", {**meant, "LossPercent": 50}) == (200, RUNNING)
        first.run(SAY, other.address, *["7200"] * 200)
        assert first.ask("packet-loss/stop") == (200, STOPPED)
        first.run(SAY, other.address, "07200")  # the same port: it comes behind all others
        came = len(list(iter(heard.stdout.readline, "07200\n")))
        heard.kill()
        # Fewer or more come once in 10^25 runs.
        assert 25 < came < 175, came
    # The half that throws packets away was removed by somebody else: the other ends all the same.
    uris = first.uris
    assert first.ask("packet-loss/start", {**meant, "LossPercent": 100}, uri=uris[0]) == (
        200, RUNNING)
    tables = subprocess.run([*first.prefix, "nft", "list", "tables", "netdev"], check=True,
                            capture_output=True, text=True).stdout
    subprocess.run([*first.prefix, "nft", "delete", *tables.split()], check=True)
    assert first.ask("packet-loss/stop", uri=uris[1]) == (200, STOPPED)
    assert first.ask("packet-loss/status", uri=uris[1]) == (200, NOT_RUNNING)


# ---- mode host

@task(*boxes(3), ec2=True, networkMode="awsvpc", enableFaultInjection=True)
def test_too_many(node, live):
    """There is an end to them; what is there can be looked at and ended all the same."""
    seen = Task(node, live)
    instance, task_id = networks(node).split("/")[3], live.split("/")[-1]
    tables = [f"berth-fault-{instance}-egress-tcp-{port}-{task_id}" for port in range(1, 1101)]
    subprocess.run([*seen.prefix, "nft", "-f", "-"], check=True, text=True,
                   input="".join(f"add table inet {name}\n" for name in tables))
    status, error = seen.ask("blackhole-port/start", {**HOLE, "Port": 2000})
    assert status == 500 and "there are 1100 faults already" in error["Error"], error
    last = {**HOLE, "Port": 1100}
    assert seen.ask("blackhole-port/status", last) == (200, RUNNING)
    assert seen.ask("blackhole-port/stop", last) == (200, STOPPED)
    assert seen.ask("blackhole-port/status", last) == (200, NOT_RUNNING)


CONNECT = """
import socket, sys
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), int(sys.argv[2])).close()
    print("open")
except socket.timeout:
    print("shut")
"""


def filters():
    return subprocess.run(["nft", "list", "tables"], capture_output=True, text=True,
                          check=True).stdout


@task(*boxes(3), ec2=True, networkMode="host", enableFaultInjection=True)
def test_mode_host(node, live):
    """It is the host's network that is broken, for all in it, until the task ends; but neither
    the agent's way to its server nor that of tasks to their agent."""
    seen = Task(node, live)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        change = {**HOLE, "Port": port}
        assert seen.ask("blackhole-port/start", change) == (200, RUNNING)
        assert seen.run(CONNECT, str(port), "1") == "shut\n"
        assert seen.ask("blackhole-port/start", {**HOLE, "Port": node.port}) == (200, RUNNING)
        assert seen.ask("blackhole-port/start", {**HOLE, "Port": 51679}) == (200, RUNNING)
        assert seen.ask("blackhole-port/status", change) == (200, RUNNING)
        assert node.describe(live)["lastStatus"] == "RUNNING"
        other = Task(node, node.launch("neighbour", {
            "containerDefinitions": boxes(1), "networkMode": "host",
            "enableFaultInjection": True}, {"launchType": "EC2"}))
        assert other.ask("blackhole-port/status", change) == (200, RUNNING)
        # By the links of default routes; a host without has none that could lose anything.
        lost = {"LossPercent": 100, "Sources": ["192.0.2.1"]}
        routes = subprocess.run(["ip", "route", "show", "default"], capture_output=True, check=True)
        assert other.ask("packet-loss/start", lost) == (
            (200, RUNNING) if routes.stdout else
            (500, {"Error": "failed to resolve default host network interface"}))
        node.ecs.stop_task(task=other.arn)
        node.stopped(other.arn)
        assert seen.run(CONNECT, str(port), "1") == "shut\n", "the other began none"
        assert "-loss-" not in filters()
        node.ecs.stop_task(task=live)
        node.stopped(live)
        support.wait_for(lambda: "berth-fault" not in filters())
        assert seen.run(CONNECT, str(port), "30") == "open\n"
