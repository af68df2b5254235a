"""Members of a definition that Berth stores and shows, and does nothing else about (yet)."""
import botocore.exceptions
import pytest

import models
import support

ROLE = "arn:aws:iam::000000000000:role/r"
AWSVPC = {"networkMode": "awsvpc"}

# Members of the container, members of the task.
STORED = {
    "executionRoleArn": ({}, {"executionRoleArn": ROLE}),
    "proxyConfiguration": ({}, {**AWSVPC, "proxyConfiguration": {
        "type": "APPMESH", "containerName": "main", "properties": [
            {"name": "IgnoredUID", "value": "1337"}, {"name": "AppPorts", "value": "80"},
            {"name": "ProxyIngressPort", "value": "15000"},
            {"name": "ProxyEgressPort", "value": "15001"}]}}),
    "inferenceAccelerators": ({}, {"inferenceAccelerators": [
        {"deviceName": "d", "deviceType": "t"}]}),
    "ephemeralStorage": ({}, {"ephemeralStorage": {"sizeInGiB": 30}}),
    "enableFaultInjection": ({}, {"enableFaultInjection": True}),
    "repositoryCredentials": ({"repositoryCredentials": {
        "credentialsParameter": "arn:aws:secretsmanager:us-east-1:000000000000:secret:s"}},
        {"executionRoleArn": ROLE}),
    "portMappings": ({"portMappings": [
        {"containerPort": 80, "hostPort": 80, "protocol": "tcp", "name": "web",
         "appProtocol": "http"},
        {"containerPort": 53, "hostPort": 53, "protocol": "udp"}]}, AWSVPC),
    "containerPortRange": ({"portMappings": [
        {"containerPortRange": "8000-8010", "protocol": "tcp"}]}, AWSVPC),
    "restartPolicy": ({"restartPolicy": {"enabled": False}}, {}),
    "versionConsistency": ({"versionConsistency": "disabled"}, {}),
    "dockerLabels": ({"dockerLabels": {"a": "b", "empty": ""}}, {}),
    "logConfiguration": ({"logConfiguration": {
        "logDriver": "splunk", "options": {"splunk-url": "https://x"}, "secretOptions": [
            {"name": "splunk-token", "valueFrom": "token"}]}}, {"executionRoleArn": ROLE}),
}


@pytest.fixture(scope="module")
def ecs(tmp_path_factory):
    server = support.Berth(tmp_path_factory.mktemp("server"), command="server")
    server.start()
    yield server.client("ecs")
    assert server.stop() == 0, server.tail()


@pytest.mark.parametrize("name", STORED)
def test_stored(ecs, name):
    container, members = STORED[name]
    try:
        ecs.register_task_definition(family=name, **members, containerDefinitions=[
            {"name": "main", "image": "hello", "memory": 64, **container}])
    except botocore.exceptions.ParamValidationError as error:
        if not models.NEWEST:
            pytest.skip(f"this machine's AWS SDK is older than the member: {error}")
        raise
    shown = ecs.describe_task_definition(taskDefinition=name)["taskDefinition"]
    for member, value in members.items():
        assert shown[member] == value
    for member, value in container.items():
        assert shown["containerDefinitions"][0][member] == value
