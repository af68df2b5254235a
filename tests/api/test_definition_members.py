"""No member of RegisterTaskDefinition is dropped, and no value of an enum refused.

What the members and values are is read from botocore's model, so that a newer one makes these tests
fail until Berth knows what is new.
"""
import copy

import pytest

import messages
import support

ROLE = "arn:aws:iam::111122223333:role/app"
SECRET = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:key-abc:json:AWSCURRENT:id"
PERMISSIONS = ["read", "write", "mknod"]

# What can stand together in one container and one task without awsvpc.
FULL = {
    "name": "full", "image": "registry.example.com/team/app:1", "cpu": 64, "memory": 256,
    "memoryReservation": 128, "repositoryCredentials": {"credentialsParameter": SECRET},
    "links": ["router:logs"], "portMappings": [
        {"containerPort": 80, "hostPort": 8080, "protocol": "tcp", "name": "web",
         "appProtocol": "http2"},
        {"containerPortRange": "9000-9010", "protocol": "udp"}],
    "essential": True, "restartPolicy": {"enabled": True, "ignoredExitCodes": [0, 143],
                                         "restartAttemptPeriod": 120},
    "entryPoint": ["/bin/sh", "-c"], "command": ["exec app"],
    "environment": [{"name": "A", "value": "1"}, {"name": "B", "value": ""}],
    "environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::bucket/app.env"}],
    "mountPoints": [{"sourceVolume": "scratch", "containerPath": "/scratch", "readOnly": True}],
    "volumesFrom": [{"sourceContainer": "router", "readOnly": True}],
    "linuxParameters": {
        "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
        "devices": [{"hostPath": "/dev/null", "containerPath": "/dev/x",
                     "permissions": PERMISSIONS}],
        "initProcessEnabled": True, "sharedMemorySize": 64, "maxSwap": 128, "swappiness": 10,
        "tmpfs": [{"containerPath": "/tmp", "size": 16, "mountOptions": ["noexec"]}]},
    "secrets": [{"name": "KEY", "valueFrom": SECRET}],
    "dependsOn": [{"containerName": "router", "condition": "START"}],
    "startTimeout": 30, "stopTimeout": 20, "versionConsistency": "disabled", "hostname": "h",
    "user": "1000:1000", "workingDirectory": "/app", "disableNetworking": False,
    "privileged": False, "readonlyRootFilesystem": True, "dnsServers": ["10.0.0.2"],
    "dnsSearchDomains": ["example.com"],
    "extraHosts": [{"hostname": "db", "ipAddress": "10.0.0.3"}],
    "dockerSecurityOptions": ["no-new-privileges"], "interactive": True, "pseudoTerminal": True,
    "dockerLabels": {"team": "a", "empty": ""},
    "ulimits": [{"name": "nofile", "softLimit": 1024, "hardLimit": 2048}],
    "logConfiguration": {"logDriver": "splunk", "options": {"splunk-url": "https://s"},
                         "secretOptions": [{"name": "splunk-token", "valueFrom": SECRET}]},
    "healthCheck": {"command": ["CMD-SHELL", "true"], "interval": 10, "timeout": 3, "retries": 4,
                    "startPeriod": 5},
    "systemControls": [{"namespace": "net.core.somaxconn", "value": "512"}],
    "resourceRequirements": [{"type": "GPU", "value": "1"},
                             {"type": "InferenceAccelerator", "value": "device"}],
    "credentialSpecs": ["credentialspec:arn:aws:s3:::bucket/spec.json"],
}
ROUTER = {"name": "router", "image": "fluent", "memory": 64, "essential": False,
          "firelensConfiguration": {"type": "fluentd", "options": {
              "enable-ecs-log-metadata": "true", "config-file-type": "file",
              "config-file-value": "/etc/x.conf"}}}
VOLUMES = [
    {"name": "scratch"},
    {"name": "host", "host": {"sourcePath": "/srv"}},
    {"name": "docker", "dockerVolumeConfiguration": {
        "scope": "shared", "autoprovision": True, "driver": "local",
        "driverOpts": {"type": "nfs"}, "labels": {"a": "b"}}},
    {"name": "efs", "efsVolumeConfiguration": {
        "fileSystemId": "fs-1", "rootDirectory": "/", "transitEncryption": "ENABLED",
        "transitEncryptionPort": 2049,
        "authorizationConfig": {"accessPointId": "fsap-1", "iam": "ENABLED"}}},
    {"name": "s3", "s3filesVolumeConfiguration": {
        "fileSystemArn": "arn:aws:s3files:eu-west-1:111122223333:file-system/fs-1",
        "rootDirectory": "/data", "transitEncryptionPort": 2050,
        "accessPointArn": "arn:aws:s3files:eu-west-1:111122223333:access-point/ap-1"}},
    {"name": "fsx", "fsxWindowsFileServerVolumeConfiguration": {
        "fileSystemId": "fs-2", "rootDirectory": "share",
        "authorizationConfig": {"credentialsParameter": SECRET, "domain": "example.com"}}},
    {"name": "ebs", "configuredAtLaunch": True},
]
BRIDGE = {
    "family": "bridge", "taskRoleArn": ROLE, "executionRoleArn": ROLE, "networkMode": "bridge",
    "containerDefinitions": [FULL, ROUTER], "volumes": VOLUMES,
    "placementConstraints": [{"type": "memberOf", "expression": "attribute:rack == r1"}],
    "requiresCompatibilities": ["EC2"], "cpu": "1024", "memory": "2048",
    "tags": [{"key": "k", "value": "v"}], "pidMode": "task", "ipcMode": "task",
    "inferenceAccelerators": [{"deviceName": "device", "deviceType": "eia1.medium"}],
    "ephemeralStorage": {"sizeInGiB": 30},
    "runtimePlatform": {"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"},
    "enableFaultInjection": True,
}
AWSVPC = {
    "family": "awsvpc", "networkMode": "awsvpc",
    "containerDefinitions": [{"name": "a", "image": "b", "memory": 64}],
    "proxyConfiguration": {"type": "APPMESH", "containerName": "a", "properties": [
        {"name": "ProxyIngressPort", "value": "15000"}]},
}


@pytest.fixture(name="berth", scope="module")
def make_berth(tmp_path_factory):
    berth = support.Berth(tmp_path_factory.mktemp("members"), command="server").start()
    yield berth
    assert berth.stop() == 0


@pytest.fixture(name="shape", scope="module")
def make_shape(berth):
    model = berth.client("ecs").meta.service_model
    return model.operation_model("RegisterTaskDefinition").input_shape


def members(shape, path=""):
    """Every member below a shape: its path and its shape. The shapes contain no circles."""
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            yield f"{path}.{name}", member
            yield from members(member, f"{path}.{name}")
    elif shape.type_name == "list":
        if shape.member.type_name not in ("structure", "list"):
            yield f"{path}[]", shape.member
        yield from members(shape.member, path + "[]")


def known(shape, value):
    """A value without the members that this botocore does not know."""
    if shape.type_name == "structure":
        return {name: known(shape.members[name], item) for name, item in value.items()
                if name in shape.members}
    if shape.type_name == "list":
        # A mapping whose only port is a range is none without it.
        return [item for item in (known(shape.member, item) for item in value)
                if item != {"protocol": "udp"}]
    return value


def paths(value, path=""):
    """The paths of all that a value sets."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield f"{path}.{name}"
            yield from paths(item, f"{path}.{name}")
    elif isinstance(value, list):
        for item in value:
            yield f"{path}[]"
            yield from paths(item, path + "[]")


def lost(sent, got, path=""):
    """What was sent and is not there, or not the same."""
    if isinstance(sent, dict) and isinstance(got, dict):
        for name, item in sent.items():
            if name not in got:
                yield f"{path}.{name} is dropped"
            else:
                yield from lost(item, got[name], f"{path}.{name}")
    elif isinstance(sent, list) and isinstance(got, list) and len(sent) == len(got):
        for n, item in enumerate(sent):
            yield from lost(item, got[n], f"{path}[{n}]")
    elif sent != got or type(sent) is not type(got):
        yield f"{path}: sent {sent!r}, got {got!r}"


def test_the_definitions_here_set_every_member(shape):
    every = {path for path, _ in members(shape)}
    assert every - {path for sent in (BRIDGE, AWSVPC) for path in paths(sent)} == set()


@pytest.mark.parametrize("sent", [BRIDGE, AWSVPC], ids=lambda sent: sent["family"])
def test_every_member_comes_back(berth, shape, sent):
    sent = known(shape, sent)
    answer = messages.client_of(berth).register_task_definition(**sent)
    # Tags stand beside the definition.
    assert list(lost(sent, {**answer["taskDefinition"], "tags": answer.get("tags")})) == []
    # And from the store, after the server was gone.
    berth.kill()
    berth.start()
    found = messages.client_of(berth).describe_task_definition(
        taskDefinition=answer["taskDefinition"]["taskDefinitionArn"], include=["TAGS"])
    assert found["taskDefinition"] == answer["taskDefinition"]
    assert found["tags"] == sent.get("tags", [])


def replaced(value, path, new):
    """A copy of a value with whatever is at a path replaced."""
    if path == "":
        return new
    if path.startswith("[]"):
        return [replaced(item, path[2:], new) for item in value]
    name = path[1:].split(".")[0].split("[")[0]
    if name not in value:
        return value
    return dict(value, **{name: replaced(value[name], path[1 + len(name):], new)})


def test_every_value_of_an_enum_is_known(berth, shape):
    client = messages.client_of(berth)
    unknown = []
    for path, member in members(shape):
        for value in getattr(member, "enum", []):
            sent = AWSVPC if path in set(paths(AWSVPC)) else BRIDGE
            sent = known(shape, replaced(copy.deepcopy(sent), path, value))
            try:
                client.register_task_definition(**sent)
            except client.exceptions.ClientException as error:
                # It may not fit to the rest; that it is none of the enum is what must not be said.
                if "enum" in error.response["Error"]["Message"]:
                    unknown.append(f"{path} = {value}")
    assert unknown == []
