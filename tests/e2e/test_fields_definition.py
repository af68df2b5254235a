"""Members of a task definition that are about the task as a whole: where it may run, as whom."""
import botocore.exceptions
import pytest

import fields
from fields import box, task

ROLE = "arn:aws:iam::000000000000:role/r"
SECRET = "arn:aws:secretsmanager:us-east-1:000000000000:secret:s"
FARGATE = {"networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256",
           "memory": "512"}
CAPABILITY = "com.amazonaws.ecs.capability."

# What no node of Berth's has, so that a task with it is not placed: members of the container, of
# the task, and the attribute that the failure names.
UNPLACED = {
    "logDriver": ({"logConfiguration": {"logDriver": "splunk"}}, {},
                  CAPABILITY + "logging-driver.splunk"),
    "secretOptions": (
        {"logConfiguration": {"logDriver": "awslogs", "options": {
            "awslogs-group": "g", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p"},
            "secretOptions": [{"name": "S", "valueFrom": SECRET}]}}, {"executionRoleArn": ROLE},
        "ecs.capability.secrets.asm.bootstrap.log-driver"),
    "efsVolumeConfiguration": ({}, {"volumes": [
        {"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}]},
        "ecs.capability.efsAuth"),
}


@pytest.mark.parametrize("name", UNPLACED)
def test_unplaced(node, name):
    container, members, attribute = UNPLACED[name]
    node.register(name, {**FARGATE, **members, "containerDefinitions": [box("true", **container)]})
    answer = node.ecs.run_task(taskDefinition=name, launchType="FARGATE",
                               networkConfiguration=node.network_arguments)
    assert answer["tasks"] == []
    assert f"ATTRIBUTE on 1 of 1 ({attribute})" in answer["failures"][0]["detail"]


@pytest.mark.parametrize("launch", ["FARGATE", "EC2"])
def test_runtime_platform_architecture(node, launch):
    """A node of the other architecture is not chosen."""
    members = FARGATE if launch == "FARGATE" else {"networkMode": "awsvpc"}
    node.register("other", {**members, "containerDefinitions": [box("true", memory=64)],
                            "runtimePlatform": {"cpuArchitecture": fields.OTHER_ARCHITECTURE}})
    answer = node.ecs.run_task(taskDefinition="other", launchType=launch,
                               networkConfiguration=node.network_arguments)
    assert answer["tasks"] == []
    assert "ATTRIBUTE" in str(answer["failures"][0])


@task(box("uname -m"), runtimePlatform={
    "cpuArchitecture": fields.ARCHITECTURE.upper(), "operatingSystemFamily": "LINUX"})
def test_runtime_platform(ended):
    assert ended.output().strip() in ("x86_64", "aarch64")
    assert ended.task["platformFamily"] == "Linux"


@task(box("true"))
def test_family(ended):
    """It names the revisions, and the task's group when nothing else does."""
    assert "/test_family:" in ended.task["taskDefinitionArn"]
    assert ended.task["group"] == "family:test_family"


def test_requires_compatibilities(node):
    """What is only for instances does not run on Fargate."""
    node.register("instances", {"networkMode": "host", "requiresCompatibilities": ["EC2"],
                                "containerDefinitions": [box("true", memory=64)]})
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        node.ecs.run_task(taskDefinition="instances", launchType="FARGATE")
    assert refused.value.response["Error"]["Message"] == (
        "Task definition does not support launch_type FARGATE.")


def test_resource_requirements(node):
    """No instance has a GPU."""
    node.register("gpu", {"networkMode": "host", "containerDefinitions": [
        box("true", memory=64, resourceRequirements=[{"type": "GPU", "value": "1"}])]})
    answer = node.ecs.run_task(taskDefinition="gpu", launchType="EC2")
    assert [one["reason"] for one in answer["failures"]] == ["RESOURCE:GPU"]


@task(box("echo kept", logConfiguration={"logDriver": "awslogs", "options": {
    "awslogs-group": "g", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p"}}))
def test_log_configuration(ended):
    """Output is kept on the node, whatever the options say."""
    assert ended.output() == "kept\n"


@task(box("true", portMappings=[{"containerPort": 80, "hostPort": 11999}], memory=64),
      ec2=True, networkMode="bridge")
def test_host_port_taken(ended, node):
    """Two tasks with one port of the host are not placed on one instance at a time."""
    sleeper = {"networkMode": "bridge", "containerDefinitions": [
        box("sleep 60", memory=64, portMappings=[{"containerPort": 80, "hostPort": 11998}])]}
    arn = node.launch("port", sleeper, {"launchType": "EC2"})
    answer = node.ecs.run_task(taskDefinition="port", launchType="EC2")
    assert [one["reason"] for one in answer["failures"]] == ["RESOURCE:PORTS"]
    node.ecs.stop_task(task=arn)
    node.stopped(arn)
    assert ended.code() == 0
