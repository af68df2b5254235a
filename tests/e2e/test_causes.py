"""Why a task is not there: every cause of which a user hears, with ECS's words, and what to do."""
import json
import re
import socket

import pytest

import support
from fields import SLEEP, box

FAILING = {"command": ["CMD-SHELL", "exit 1"], "interval": 5, "retries": 1}


def definition(*containers, mode="bridge", **members):
    return {"containerDefinitions": list(containers), "networkMode": mode, "memory": "128",
            **members}


@pytest.fixture(scope="module")
def taken():
    """A port of the host that a program has."""
    with socket.create_server(("0.0.0.0", 0)) as program:
        yield program.getsockname()[1]


# What is run; what ECS shows as the reason of the task and of its container; what the cause is
# called, and what the advice is about. TAKEN, FILE_HERE, DATA and ID are put in.
CAUSES = {
    "image missing": (
        definition({"name": "main", "image": "no/such:image"}),
        "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to "
        "resolve ref docker.io/no/such:image: not found",
        "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to "
        "resolve ref docker.io/no/such:image: not found", "ImageMissing",
        "berth image load --data DATA --name no/such:image FILE"),
    "command missing": (
        definition({"name": "main", "image": "hello", "command": ["no-such-command"],
                    "entryPoint": ["/no/such"]}),
        "Task failed to start",
        "CannotStartContainerError: .*(/no/such|executable file).*", "CommandMissing",
        "berth aws --data DATA ecs describe-task-definition --task-definition command-missing:1 "
        "--query 'taskDefinition.containerDefinitions[].[name,image,entryPoint,command]'"),
    "port taken": (
        definition(box(SLEEP, portMappings=[{"containerPort": 80, "hostPort": "TAKEN"}])),
        "CannotStartContainerError: .*external connectivity.*TAKEN.*",
        "CannotStartContainerError: .*external connectivity.*TAKEN.*", "PortTaken",
        "berth ps --data DATA --cluster default"),
    "host path missing": (
        definition(box(SLEEP, mountPoints=[{"sourceVolume": "v", "containerPath": "/v"}]),
                   volumes=[{"name": "v", "host": {"sourcePath": "FILE_HERE/below"}}]),
        "ResourceInitializationError: .*sourcePath of volume 'v': .*FILE_HERE.*: Not a directory",
        None, "VolumeMissing",
        "berth aws --data DATA ecs describe-task-definition --task-definition host-path-missing:1 "
        "--query 'taskDefinition.[volumes,containerDefinitions[].[name,mountPoints]]'"),
    "volume missing": (
        definition(box(SLEEP, mountPoints=[{"sourceVolume": "shared", "containerPath": "/v"}]),
                   volumes=[{"name": "shared", "dockerVolumeConfiguration": {"scope": "shared"}}]),
        "ResourceInitializationError: .*shared volume 'shared' is not on this node, .*",
        None, "VolumeMissing", None),
    "out of memory": (
        definition(box("tail /dev/zero", memory=16)),
        "Essential container in task exited",
        "OutOfMemoryError: Container killed due to memory usage", "OutOfMemory",
        "berth logs --data DATA --cluster default ID main"),
    "user missing": (
        definition(box("true", user="nobody-there")),
        "ResourceInitializationError: container 'main': the image has no user 'nobody-there'.*",
        None, "CannotStart", None),
    "dependency failed": (
        definition(box("echo not today; exit 4", name="first", essential=False),
                   box("true", dependsOn=[{"containerName": "first", "condition": "SUCCESS"}])),
        "Task failed to start",
        "CannotStartContainerError: dependency 'first' cannot reach SUCCESS: it exited with code 4",
        "DependencyFailed",
        "the last that first wrote:\n  not today\n"
        "try:  berth logs --data DATA --cluster default ID first"),
    "exits": (
        definition(box("exit 3")), "Essential container in task exited", None, "ContainerExited",
        "berth logs --data DATA --cluster default ID main"),
}


@pytest.mark.parametrize("name", CAUSES)
def test_causes(node, taken, tmp_path, name):
    (tmp_path / "file").write_text("")
    put = {"TAKEN": str(taken), "FILE_HERE": str(tmp_path / "file"), "DATA": node.data}

    def filled(text):
        for word, value in put.items():
            text = text.replace(word, value)
        return text
    what, reason, container_reason, cause, advice = CAUSES[name]
    what = json.loads(filled(json.dumps(what).replace('"TAKEN"', "TAKEN")))
    arn = node.launch(name.replace(" ", "-"), what, {"launchType": "EC2"})
    put["ID"] = arn.rsplit("/", 1)[1]
    ended = node.stopped(arn)
    assert re.match(filled(reason.replace("(s)", r"\(s\)")), ended.reason), ended.reason
    if container_reason is not None:
        found = ended.container()["reason"]
        assert re.match(filled(container_reason.replace("(s)", r"\(s\)")), found), found
    shown = node.run("diagnose", arn, check=False)
    assert shown.returncode == 1
    assert re.search(rf"^cause +{cause}: ", shown.stdout, re.M), shown.stdout
    assert advice is None or filled(advice) in shown.stdout, shown.stdout


def test_health_failing(node):
    """Of a service, which replaces it; and of a task alone, which runs on."""
    node.register("sick", definition(box(SLEEP, healthCheck=FAILING)))
    node.ecs.create_service(serviceName="sick", taskDefinition="sick", desiredCount=1,
                            launchType="EC2")

    def replaced():
        """a task that the service stopped"""
        arns = node.ecs.list_tasks(serviceName="sick", desiredStatus="STOPPED")["taskArns"]
        return arns[0] if arns else None
    try:
        arn = support.wait_for(replaced)
        described = node.describe(arn)
        assert described["stoppedReason"].startswith("Task failed container health checks")
        assert described["stopCode"] == "ServiceSchedulerInitiated"
        shown = node.run("diagnose", arn, check=False)
        assert shown.returncode == 1
        assert re.search(r"^cause +Unhealthy: Container main failed its health check", shown.stdout,
                         re.M), shown.stdout
        assert "taskDefinition.containerDefinitions[].[name,healthCheck]" in shown.stdout
    finally:
        node.ecs.delete_service(service="sick", force=True)
    alone = node.launch("sick-alone", definition(box(SLEEP, healthCheck=FAILING)),
                        {"launchType": "EC2"})
    node.until(alone, healthStatus="UNHEALTHY")
    shown = node.run("diagnose", alone, check=False)
    assert "Unhealthy: Container main runs and fails its health check." in shown.stdout
    assert node.describe(alone)["lastStatus"] == "RUNNING"
    node.ecs.stop_task(task=alone)
    node.stopped(alone)


def test_dependency_never_healthy(node):
    """Nothing ends it: what it waits for is told, and that that fails."""
    arn = node.launch("never", definition(
        box(f"echo cannot; {SLEEP}", name="first", healthCheck=FAILING),
        box("true", dependsOn=[{"containerName": "first", "condition": "HEALTHY"}])),
        {"launchType": "EC2"})

    def told():
        """what it waits for, and why in vain"""
        shown = node.run("diagnose", arn, check=False)
        return shown if "Unhealthy" in shown.stdout else None
    shown = support.wait_for(told, step=0.3)
    assert shown.returncode == 1
    assert ("Container main waits for container first to be HEALTHY, which fails its health check."
            in shown.stdout), shown.stdout
    assert "the last that first wrote:\n  cannot\n" in shown.stdout
    node.ecs.stop_task(task=arn)
    node.stopped(arn)


def test_killed_at_its_stop_timeout(node):
    arn = node.launch("stubborn", definition(box(
        "trap 'echo no' TERM; echo here; while :; do sleep 0.1; done", stopTimeout=2)),
        {"launchType": "EC2"})
    support.wait_for(lambda: "here" in node.run("logs", arn, check=False).stdout)
    node.ecs.stop_task(task=arn, reason="enough")
    node.stopped(arn)
    shown = node.run("diagnose", arn)
    assert ("It was stopped on request: enough. Container main did not end within the 2 seconds of "
            "its stopTimeout and was killed" in shown), shown


def test_memory_short(node):
    """No task is made; what RunTask said is remembered, with the numbers."""
    node.register("greedy", definition(box(SLEEP), memory=str(1 << 20)))
    answer = node.ecs.run_task(taskDefinition="greedy", launchType="EC2")
    assert [one["reason"] for one in answer["failures"]] == ["RESOURCE:MEMORY"]
    shown = node.run("diagnose", check=False)
    assert shown.returncode == 1
    assert "RESOURCE:MEMORY" in shown.stdout and "greedy:1" in shown.stdout
    asked = node.run("diagnose", "--task-definition", "greedy", check=False)
    assert asked.returncode == 1
    assert "The task asks for 1048576 MiB" in asked.stdout and "berth node token" in asked.stdout
