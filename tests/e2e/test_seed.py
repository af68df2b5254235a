"""The seed's task definition, unedited, by the AWS CLI: from JSON to HEALTHY, and its ends."""
import json
import os
import re
import signal
import subprocess
import time

import pytest

import services
import support

EXAMPLE = os.path.join(support.ROOT, "examples", "pinterest-image-processor.json")


@pytest.fixture(scope="module")
def definition(berth):
    made = berth.aws("ecs", "register-task-definition", "--cli-input-json", f"file://{EXAMPLE}")
    return made["taskDefinition"]["taskDefinitionArn"]


def run_seed(berth, definition):
    network = berth.network()["awsvpcConfiguration"]
    config = (f"awsvpcConfiguration={{subnets=[{','.join(network['subnets'])}],"
              f"securityGroups=[{','.join(network['securityGroups'])}]}}")
    answer = berth.aws("ecs", "run-task", "--launch-type", "FARGATE", "--task-definition",
                       definition, "--network-configuration", config)
    assert answer["failures"] == []
    return answer["tasks"][0]["taskArn"]


def describe(ecs, arn):
    return ecs.describe_tasks(tasks=[arn])["tasks"][0]


def container(task, name):
    return next(c for c in task["containers"] if c["name"] == name)


def until(ecs, arn, seconds=support.PATIENCE, **wanted):
    def reached():
        task = describe(ecs, arn)
        return task if all(task.get(key) == value for key, value in wanted.items()) else None
    reached.__doc__ = str(wanted)
    return support.wait_for(reached, seconds, 0.1)


def address(task):
    return task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"]


def processes(pattern, task_id):
    """Pids of the task's processes whose command line matches, from the host's view."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
                inside = task_id in file.read()
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if inside and re.search(pattern, words):
            found.append(int(pid))
    return found


def curl(url, *options):
    return subprocess.run(["curl", "-sf", "-m", "60", *options, url], capture_output=True,
                          check=True).stdout


def test_reaches_healthy_and_containers_share_localhost(berth, ecs, definition):
    arn = run_seed(berth, definition)
    task = until(ecs, arn, lastStatus="RUNNING")
    task = until(ecs, arn, healthStatus="HEALTHY")
    assert container(task, "image-processor")["healthStatus"] == "HEALTHY"
    assert curl(f"http://{address(task)}:8080/health")
    # The image service counts its hits in the Redis beside it, which it finds at localhost.
    image = curl(f"http://{address(task)}:8080/image/32x16")
    assert len(image) > 32
    task_id = arn.rsplit("/", 1)[1]
    namespaces = {os.readlink(f"/proc/{pid}/ns/net")
                  for pid in processes("redis-server|image-processor", task_id)}
    assert len(namespaces) == 1 and namespaces != {os.readlink("/proc/self/ns/net")}
    berth.written(arn, "sidecar-cache", text="Ready to accept connections")
    ecs.stop_task(task=arn)
    until(ecs, arn, lastStatus="STOPPED")


def test_limits_bind(berth, ecs, definition):
    arn = run_seed(berth, definition)
    until(ecs, arn, lastStatus="RUNNING")
    pid = support.wait_for(lambda: processes("redis-server", arn.rsplit("/", 1)[1]))[0]
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
        groups = dict(line.strip().split(":", 2)[1:] for line in file)
    if groups.get("") and not groups.get("memory"):
        path = "/sys/fs/cgroup" + groups[""] + "/memory.max"
    else:
        path = "/sys/fs/cgroup/memory" + groups["memory"] + "/memory.limit_in_bytes"
    with open(path, encoding="utf-8") as file:
        assert int(file.read()) == 1024 << 20
    ecs.stop_task(task=arn)
    until(ecs, arn, lastStatus="STOPPED")


def test_sidecar_may_die_essential_may_not(berth, ecs, definition):
    arn = run_seed(berth, definition)
    task_id = arn.rsplit("/", 1)[1]
    until(ecs, arn, lastStatus="RUNNING")
    berth.written(arn, "sidecar-cache", text="Ready to accept connections")
    [redis] = processes("redis-server", task_id)
    os.kill(redis, signal.SIGKILL)

    def sidecar_stopped():
        """the sidecar is STOPPED"""
        task = describe(ecs, arn)
        return task if container(task, "sidecar-cache")["lastStatus"] == "STOPPED" else None
    task = support.wait_for(sidecar_stopped)
    assert container(task, "sidecar-cache")["exitCode"] == 137
    time.sleep(0.5)
    assert describe(ecs, arn)["lastStatus"] == "RUNNING"
    essential = support.wait_for(lambda: processes("image-processor", task_id))[0]
    os.kill(essential, signal.SIGKILL)
    task = until(ecs, arn, lastStatus="STOPPED")
    assert task["stopCode"] == "EssentialContainerExited"
    assert task["stoppedReason"] == "Essential container in task exited"
    assert container(task, "image-processor")["exitCode"] == 137
    support.wait_for(lambda: processes(".", task_id) == [])  # the supervisor parts after that


def test_essential_exit_stops_the_other_with_sigterm_then_sigkill(berth, ecs):
    ready = {"user": "0", "mountPoints": [{"sourceVolume": "v", "containerPath": "/v"}]}
    stubborn = "trap 'echo got TERM' TERM; touch /v/deaf; while :; do sleep 0.2; done"
    ecs.register_task_definition(
        family="stubborn", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256",
        memory="512", volumes=[{"name": "v"}], containerDefinitions=[
            {"name": "main", "image": "hello", "entryPoint": ["/bin/sh", "-c"],
             "command": ["until test -e /v/polite && test -e /v/deaf; do sleep 0.1; done; exit 7"],
             **ready},
            {"name": "polite", "image": "hello", "essential": False, "stopTimeout": 60,
             "entryPoint": ["/bin/sh", "-c"],
             "command": ["trap 'exit 3' TERM; touch /v/polite; while :; do sleep 0.2; done"],
             **ready},
            {"name": "deaf", "image": "hello", "essential": False, "stopTimeout": 5,
             "entryPoint": ["/bin/sh", "-c"], "command": [stubborn], **ready}])
    arn = ecs.run_task(taskDefinition="stubborn", launchType="FARGATE",
                       networkConfiguration=berth.network())["tasks"][0]["taskArn"]
    task = until(ecs, arn, lastStatus="STOPPED")
    codes = {c["name"]: c["exitCode"] for c in task["containers"]}
    assert codes == {"main": 7, "polite": 3, "deaf": 137}
    took = (task["stoppedAt"] - task["executionStoppedAt"]).total_seconds()
    assert took > 4.5
    assert "got TERM" in berth.run("logs", arn, "deaf")


def test_depends_on_order_environment_and_output(berth, ecs):
    ecs.register_task_definition(
        family="ordered", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256",
        memory="512", containerDefinitions=[
            {"name": "first", "image": "hello", "essential": False,
             "entryPoint": ["/bin/sh", "-c"], "command": ["echo $WORD from first; sleep 0.3"],
             "environment": [{"name": "WORD", "value": "hello"}]},
            {"name": "second", "image": "hello", "entryPoint": ["/bin/sh", "-c"],
             "command": ["echo second after first; echo to stderr >&2"],
             "dependsOn": [{"containerName": "first", "condition": "SUCCESS"}]}])
    arn = ecs.run_task(
        taskDefinition="ordered", launchType="FARGATE", networkConfiguration=berth.network(),
        overrides={"containerOverrides": [{"name": "first", "environment": [
            {"name": "WORD", "value": "overridden"}]}]})["tasks"][0]["taskArn"]
    task = until(ecs, arn, lastStatus="STOPPED")
    assert {c["name"]: c["exitCode"] for c in task["containers"]} == {"first": 0, "second": 0}
    assert berth.run("logs", arn, "first") == "overridden from first\n"
    assert berth.run("logs", arn, "second") == "second after first\nto stderr\n"


def test_logs_follow_ends_with_the_container(berth, ecs):
    ecs.register_task_definition(
        family="counting", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256",
        memory="512", containerDefinitions=[
            {"name": "count", "image": "hello", "entryPoint": ["/bin/sh", "-c"],
             "command": ["for i in 1 2 3 4 5; do echo line $i; sleep 0.2; "
                         "while [ $i = 3 ] && [ ! -e /tmp/go ]; do sleep 0.1; done; done"]}])
    arn = ecs.run_task(taskDefinition="counting", launchType="FARGATE",
                       networkConfiguration=berth.network())["tasks"][0]["taskArn"]
    until(ecs, arn, lastStatus="RUNNING")
    with subprocess.Popen([support.BERTH, "logs", "--data", berth.data, "-f", arn], text=True,
                          stdout=subprocess.PIPE) as follower:
        begin = "".join(follower.stdout.readline() for _ in range(3))
        with open(f"/proc/{services.container(arn)}/root/tmp/go", "w", encoding="ascii"):
            pass
        shown = begin + follower.stdout.read()
    assert shown == "".join(f"line {i}\n" for i in range(1, 6))
    assert follower.returncode == 0


def test_ps_shows_it(berth, ecs, definition):
    arn = run_seed(berth, definition)
    task_id = arn.rsplit("/", 1)[1]
    until(ecs, arn, lastStatus="RUNNING")
    assert task_id in berth.run("ps")
    shown = berth.run("ps", task_id)
    assert "image-processor" in shown and "sidecar-cache" in shown
    ecs.stop_task(task=arn)
    until(ecs, arn, lastStatus="STOPPED")
    assert task_id not in berth.run("ps") and task_id in berth.run("ps", "--all")


def test_json_of_the_example_is_the_seed(berth):
    with open(EXAMPLE, encoding="utf-8") as file:
        example = json.load(file)
    assert example["family"] == "pinterest-image-processor"
    assert [c["image"] for c in example["containerDefinitions"]] == [
        "pinterest/processor:v2.0", "redis:6-alpine"]
