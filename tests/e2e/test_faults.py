"""Faults that a task injects into its own network, asked for at ECS_AGENT_URI."""
import json
import subprocess
import sys

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

# A request from a network namespace: prints the status and the body.
ASK = """
import sys, urllib.error, urllib.request
request = urllib.request.Request(sys.argv[1], sys.argv[3].encode(), method=sys.argv[2])
try:
    with urllib.request.urlopen(request, timeout=20) as answer:
        print(answer.status, answer.read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
"""


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
        self.prefix = []
        if found:
            details = {one["name"]: one["value"] for one in found[0]["details"]}
            self.address = details["privateIPv4Address"]
            run = f"/run/berth/{instance_of(node)}/netns"
            self.prefix = ["nsenter", f"--net={run}/{details['networkInterfaceId']}"]

    def run(self, code, *arguments):
        return subprocess.run([*self.prefix, sys.executable, "-c", code, *arguments], check=True,
                              capture_output=True, text=True, timeout=60).stdout

    def raw(self, path, body, uri=None, method="POST"):
        self.turn += 1
        uri = uri or self.uris[self.turn % len(self.uris)]
        body = body if isinstance(body, str) else json.dumps(body)
        status, _, text = self.run(ASK, uri + URI + path, method, body).partition(" ")
        return int(status), text.rstrip("\n")

    def ask(self, path, body="", **options):
        status, text = self.raw(path, body, **options)
        return status, json.loads(text)


def instance_of(node):
    with open(f"{node.data}/instance", encoding="utf-8") as file:
        return file.read().strip()


def boxes(count):
    return [box(TELL, name=f"c{i}", memory=16) for i in range(count)]


# ---- from inside a container

# `ask PATH BODY`, which prints the answer, or the status of a refusal.
SHELL = """
ask() { wget -qO- --post-data "$2" $ECS_AGENT_URI/fault/v1/network-$1 2>&1 || true; echo; }
try() { timeout 2 wget -qO- http://127.0.0.1:$1/hostname >/dev/null 2>&1 && echo open || echo shut; }
httpd -f -p 7000 -h /etc & httpd -f -p 7001 -h /etc &
"""


@task(box(SHELL + f"""
until [ $(try 7000) = open ]; do sleep 0.1; done
ask blackhole-port/start '{json.dumps(HOLE)}'
try 7000; try 7001
wget -qO- $ECS_CONTAINER_METADATA_URI_V4 | grep -c DockerId
ask blackhole-port/status '{json.dumps(HOLE)}'
ask blackhole-port/status '{json.dumps(HOLE)}'
ask blackhole-port/stop '{json.dumps(HOLE)}'
try 7000
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
    seen.prefix = ["nsenter", f"--net=/run/berth/{instance_of(node)}/netns/"
                              f"task-{live.rsplit('/', 1)[1]}-0"]
    assert seen.ask("latency/stop") == (
        400, {"Error": "bridge mode is not supported. Please use either host or awsvpc mode."})
