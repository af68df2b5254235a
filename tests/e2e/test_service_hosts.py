"""Services on several hosts: one is cut off, freezes, drains; agents and the server are killed."""
import os
import signal
import subprocess
import time

import pytest

import support
from hosts import Agent, Host, Lan, sh
from services import (container, create, describe, messages, remove, running, running_at_once,
                      stable, supervisor, tasks_of)

pytestmark = pytest.mark.not_in_guest(
    "several hosts and agents that are killed: of the server, the same on every kernel")

LOOP = "echo started; trap 'exit 0' TERM; while :; do sleep 0.1; done"


class Fleet:
    """A server and three hosts of the cluster `default`."""

    def __init__(self, folder):
        self.lan = Lan()
        self.hosts, self.agents = [], []
        self.server = support.Berth(folder / "server", "--healthy-after", "1s", command="server",
                                    address="198.18.0.1")
        self.server.start()
        self.ecs = self.server.client()
        self.ecs.create_cluster(clusterName="default")
        for number in (2, 3, 4):
            self.hosts.append(Host(f"host{number}", f"198.18.0.{number}"))
            data = folder / f"host{number}"
            subprocess.run([support.BERTH, "image", "load", "--data", str(data),
                            f"{support.IMAGES}/hello.tar.gz"], check=True, capture_output=True)
            self.agents.append(Agent(
                self.hosts[-1], data, self.server.run("node", "token").strip(), "us-east-1a",
                "--cluster", "default", "--cpu-units", "4096", "--memory-mib", "8192"))
        support.wait_for(lambda: len(self.instances("ACTIVE")) == 3, step=0.2)

    def instances(self, status):
        """ARNs of the instances of a status whose agents are connected, by name of the host."""
        arns = self.ecs.list_container_instances(status=status)["containerInstanceArns"]
        if not arns:
            return {}
        shown = self.ecs.describe_container_instances(containerInstances=arns)
        return {instance["containerInstanceArn"]: instance
                for instance in shown["containerInstances"] if instance["agentConnected"]}

    def agent_of(self, instance):
        """The agent whose data names an instance."""
        part = instance.rsplit("/", 1)[1]
        for agent in self.agents:
            found = subprocess.run(["grep", "-rlqa", part, agent.data], check=False)
            if found.returncode == 0:
                return agent
        raise AssertionError(f"no host has {instance}")

    def close(self):
        ends = [agent.stop() for agent in self.agents]
        self.server.stop()
        for host in self.hosts:
            host.remove()
        self.lan.remove()
        assert [status for status, _ in ends] == [0] * len(ends), ends


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    made = Fleet(tmp_path_factory.mktemp("fleet"))
    yield made
    made.close()


def definition(fleet, family, **more):
    body = {"name": "app", "image": "hello", "memory": 64, "cpu": 64, "essential": True,
            "entryPoint": ["/bin/sh", "-c"], "command": [LOOP]}
    made = fleet.ecs.register_task_definition(
        family=family, containerDefinitions=[{**body, **more.pop("app", {})},
                                             *more.pop("others", [])], **more)
    return made["taskDefinition"]["taskDefinitionArn"]


def by_instance(tasks):
    found = {}
    for arn, task in tasks.items():
        found.setdefault(task["containerInstanceArn"], []).append(arn)
    return found


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def cut(agent):
    sh("ip", "link", "set", f"{agent.host.name}-u", "down")


def join(agent):
    sh("ip", "link", "set", f"{agent.host.name}-u", "up")


def freeze(agent):
    agent.process.send_signal(signal.SIGSTOP)


def thaw(agent):
    agent.process.send_signal(signal.SIGCONT)


def test_a_port_of_the_host_is_on_each_host_once(fleet):
    """Tasks that want the same port take one host each, and answer there from outside."""
    arn = definition(fleet, "ported", app={
        "command": ["exec nc -ll -p 80 -e hostname"], "stopTimeout": 2,
        "portMappings": [{"containerPort": 80, "hostPort": 8088}]})
    tasks = [one["taskArn"] for one in fleet.ecs.run_task(
        taskDefinition=arn, count=3, launchType="EC2")["tasks"]]
    answer = fleet.ecs.run_task(taskDefinition=arn, launchType="EC2")
    assert [one["reason"] for one in answer["failures"]] == ["RESOURCE:PORTS"] * 3

    def names():
        """each task's host name from another host"""
        found = {subprocess.run(["busybox", "nc", "-w", "60", host.address, "8088"],
                                stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                check=False).stdout.strip() for host in fleet.hosts}
        return found == {task.rsplit("/", 1)[1][:12] + "-0" for task in tasks}
    support.wait_for(names, step=0.2)
    support.wait_for(lambda: all(one["lastStatus"] == "RUNNING" for one in
                                 fleet.ecs.describe_tasks(tasks=tasks)["tasks"]))
    for task in fleet.ecs.describe_tasks(tasks=tasks)["tasks"]:
        assert task["containers"][0]["networkBindings"] == [
            {"bindIP": "0.0.0.0", "containerPort": 80, "hostPort": 8088, "protocol": "tcp"}]
        fleet.ecs.stop_task(task=task["taskArn"])
    support.wait_for(lambda: not fleet.ecs.run_task(
        taskDefinition=arn, launchType="EC2", count=1)["failures"], step=0.2)
    for task in fleet.ecs.list_tasks()["taskArns"]:
        fleet.ecs.stop_task(task=task)


@pytest.mark.parametrize("how,leave,back", [("cut off", cut, join), ("frozen", freeze, thaw)])
def test_a_host_that_is_silent(fleet, how, leave, back):
    """Its tasks are replaced elsewhere when its lease is over; when it is back they stop."""
    ecs = fleet.ecs
    name = "silent-" + how.split(maxsplit=1)[0]
    create(fleet.server, ecs, name, definition(fleet, name), 6, launchType="EC2",
           placementStrategy=[{"type": "spread", "field": "instanceId"}])
    stable(ecs, name)
    before = by_instance(running(ecs, name))
    assert len(before) == 3, before
    instance = sorted(before)[0]
    agent = fleet.agent_of(instance)
    pids = [container(arn) for arn in before[instance]]
    leave(agent)
    began = time.monotonic()
    try:
        def replaced():
            """six tasks RUNNING on other hosts"""
            kept = [arn for arn, task in running(ecs, name).items()
                    if task["containerInstanceArn"] != instance]
            return kept if len(kept) == 6 else None
        kept = support.wait_for(replaced)
        print(f"host {how}: {len(pids)} tasks replaced {time.monotonic() - began:.2f} s after its "
              "last word (the lease is 3 s)")
        assert set(kept) >= {arn for host, arns in before.items() if host != instance
                             for arn in arns}
        assert describe(ecs, name)["runningCount"] == 6
        assert all(alive(pid) for pid in pids), "nobody could have stopped them"
    finally:
        back(agent)
    began = time.monotonic()

    def connected():
        """the host heard again"""
        return instance in fleet.instances("ACTIVE")
    support.wait_for(connected, step=0.01)
    heard = time.monotonic()

    def gone():
        """the superseded tasks' processes gone"""
        return not any(alive(pid) for pid in pids)
    support.wait_for(gone, step=0.01)
    print(f"host {how}: superseded tasks ended {time.monotonic() - heard:.2f} s after the host was "
          f"heard again, {time.monotonic() - began:.2f} s after it could speak")

    def stopped():
        """the superseded tasks STOPPED"""
        shown = ecs.describe_tasks(tasks=before[instance])["tasks"]
        return shown if all(t["lastStatus"] == "STOPPED" for t in shown) else None
    for task in support.wait_for(stopped):
        assert task["stoppedReason"] == \
            "The host of the task lost contact; the service replaced the task."
    assert set(running(ecs, name)) == set(kept), "what replaced them stays"
    remove(ecs, name)


def test_most_hosts_silent_at_once(fleet):
    """When most fall silent together the fault is more likely elsewhere: nothing is replaced."""
    ecs = fleet.ecs
    create(fleet.server, ecs, "most", definition(fleet, "most"), 3, launchType="EC2",
           placementStrategy=[{"type": "spread", "field": "instanceId"}])
    stable(ecs, "most")
    before = set(running(ecs, "most"))
    for agent in fleet.agents[:2]:
        freeze(agent)
    try:
        time.sleep(6)  # twice the lease; none is declared lost for 60 s
        assert set(running(ecs, "most")) == before
        assert len(tasks_of(ecs, "most")) == 3
    finally:
        for agent in fleet.agents[:2]:
            thaw(agent)
    support.wait_for(lambda: len(fleet.instances("ACTIVE")) == 3)
    assert set(running(ecs, "most")) == before
    assert sum("has started" in m for m in messages(ecs, "most")) == 1
    remove(ecs, "most")


def test_an_instance_drains(fleet):
    """Service tasks leave an instance that drains, each after its successor is healthy."""
    ecs = fleet.ecs
    create(fleet.server, ecs, "drains", definition(fleet, "drains"), 6, launchType="EC2",
           placementStrategy=[{"type": "spread", "field": "instanceId"}])
    stable(ecs, "drains")
    instance = sorted(by_instance(running(ecs, "drains")))[0]
    began = time.monotonic()
    ecs.update_container_instances_state(containerInstances=[instance], status="DRAINING")
    least = 1000
    try:
        def left():
            """none of its tasks on the instance"""
            nonlocal least
            least = min(least, len(running_at_once(ecs, "drains")))
            return not ecs.list_tasks(containerInstance=instance)["taskArns"]
        support.wait_for(left)
        print(f"drained in {time.monotonic() - began:.2f} s; {least} of 6 ran at least")
        assert least == 6
        assert instance not in by_instance(running(ecs, "drains"))
        stable(ecs, "drains")
    finally:
        ecs.update_container_instances_state(containerInstances=[instance], status="ACTIVE")
    remove(ecs, "drains")


def test_what_has_not_started_leaves_a_draining_instance_at_once(fleet):
    ecs = fleet.ecs
    # The first container is never healthy, so the second never starts: PENDING.
    gate = {"name": "gate", "image": "hello", "memory": 64, "essential": False, "stopTimeout": 1,
            "entryPoint": ["/bin/sh", "-c"], "command": [LOOP],
            "healthCheck": {"command": ["CMD-SHELL", "exit 1"], "interval": 60, "retries": 10}}
    name = definition(fleet, "waits", others=[gate],
                      app={"dependsOn": [{"containerName": "gate", "condition": "HEALTHY"}]})
    create(fleet.server, ecs, "waits", name, 3, launchType="EC2",
           placementStrategy=[{"type": "spread", "field": "instanceId"}])

    def pending():
        """three tasks PENDING"""
        tasks = [t for t in tasks_of(ecs, "waits") if t["lastStatus"] == "PENDING"]
        return tasks if len(tasks) == 3 else None
    tasks = support.wait_for(pending)
    victim = tasks[0]
    instance = victim["containerInstanceArn"]
    ecs.update_container_instances_state(containerInstances=[instance], status="DRAINING")
    try:
        def stopped():
            """the PENDING task told to stop, with a successor elsewhere"""
            [shown] = ecs.describe_tasks(tasks=[victim["taskArn"]])["tasks"]
            rest = [t for t in tasks_of(ecs, "waits") if t["containerInstanceArn"] != instance]
            return shown["desiredStatus"] == "STOPPED" and len(rest) == 3
        support.wait_for(stopped)
    finally:
        ecs.update_container_instances_state(containerInstances=[instance], status="ACTIVE")
    remove(ecs, "waits")


def test_agents_and_server_are_killed_during_a_deployment(fleet):
    """kill -9 of an agent, of the server, of both, while a service rolls: it converges."""
    ecs = fleet.ecs
    create(fleet.server, ecs, "torn", definition(fleet, "torn"), 6, launchType="EC2",
           placementStrategy=[{"type": "spread", "field": "instanceId"}])
    stable(ecs, "torn")
    seen = {}
    second = definition(fleet, "torn")
    ecs.update_service(service="torn", taskDefinition=second)
    for victim in (0, None, 1):
        time.sleep(0.15)  # the moment is what is tested; any will do
        if victim is not None:
            fleet.agents[victim].stop(signal.SIGKILL)
        if victim != 0:
            fleet.server.kill()
            fleet.server.start()
            fleet.ecs = ecs = fleet.server.client()
        if victim is not None:
            fleet.agents[victim].start()
        seen.update({task["taskArn"]: task for task in tasks_of(ecs, "torn")})
    began = time.monotonic()
    stable(ecs, "torn")
    now = running(ecs, "torn")
    seen.update(now)
    print(f"converged {time.monotonic() - began:.2f} s after the last kill; {len(seen)} tasks seen")
    assert len(now) == 6
    assert {task["taskDefinitionArn"] for task in now.values()} == {second}
    for arn in seen:
        out = fleet.server.run("logs", arn, check=False)
        assert out.stdout.count("started") <= 1, f"{arn} ran twice"
    pids = [supervisor(arn) for arn in now]
    assert len(set(pids)) == 6
    remove(ecs, "torn")
    support.wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))
