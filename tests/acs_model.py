"""The protocol that Amazon's agent speaks, as its own model has it: the members of each message and
their types. What is not here the agent would not know; what is required it refuses to be without.
"""
import json


class Required:
    """A member without which the agent takes no message of the kind."""

    def __init__(self, shape):
        self.shape = shape


class Map:
    """An object whose keys are data."""

    def __init__(self, shape):
        self.shape = shape


class Json:
    """A string that is JSON itself."""

    def __init__(self, shape):
        self.shape = shape


STRINGS = Map(str)
DIGITS = "0123456789"

# ---- Docker's, in strings ----------------------------------------------------------------------

CONFIG = {
    "Hostname": str, "User": str, "Tty": bool, "OpenStdin": bool, "NetworkDisabled": bool,
    "WorkingDir": str, "Labels": STRINGS, "Healthcheck": {
        "Test": Required([str]), "Interval": int, "Timeout": int, "StartPeriod": int,
        "Retries": int},
}
HOST_CONFIG = {
    "NetworkMode": Required(str), "CapAdd": Required([str]), "CapDrop": Required([str]),
    "LogConfig": {"Type": Required(str), "Config": STRINGS}, "Dns": [str], "DnsSearch": [str],
    "ExtraHosts": [str], "Privileged": bool, "ReadonlyRootfs": bool, "SecurityOpt": [str],
    "Ulimits": [{"Name": Required(str), "Soft": Required(int), "Hard": Required(int)}],
    "MemoryReservation": int, "MemorySwap": int, "MemorySwappiness": int, "ShmSize": int,
    "Tmpfs": STRINGS, "Sysctls": STRINGS, "Init": bool,
    "Devices": [{"PathOnHost": Required(str), "PathInContainer": Required(str),
                 "CgroupPermissions": Required(str)}],
}

# ---- tasks -------------------------------------------------------------------------------------

CREDENTIALS = {
    "credentialsId": Required(str), "roleArn": str, "accessKeyId": str, "secretAccessKey": str,
    "sessionToken": str, "expiration": str, "credentialScope": str,
}
CONTAINER = {
    "name": Required(str), "image": Required(str), "containerArn": str, "essential": bool,
    "cpu": int, "memory": int, "command": [str], "entryPoint": [str], "environment": STRINGS,
    "environmentFiles": [{"type": str, "value": str}], "links": [str],
    "portMappings": [{"containerPort": int, "hostPort": int, "protocol": str,
                      "containerPortRange": str}],
    "mountPoints": [{"sourceVolume": str, "containerPath": str, "readOnly": bool}],
    "volumesFrom": [{"sourceContainer": str, "readOnly": bool}],
    "dependsOn": [{"containerName": str, "condition": str}], "startTimeout": int,
    "stopTimeout": int, "restartPolicy": {"enabled": bool, "ignoredExitCodes": [int],
                                          "restartAttemptPeriod": int},
    "firelensConfiguration": {"type": str, "options": STRINGS}, "credentialSpecs": [str],
    "privileged": bool, "healthCheckType": str, "logsAuthStrategy": str,
    "managedAgents": [{"name": str, "properties": STRINGS}],
    "overrides": Json({"command": [str]}),
    "secrets": [{"name": str, "valueFrom": str, "region": str, "provider": str, "type": str,
                 "target": str, "containerPath": str}],
    "dockerConfig": {"version": str, "config": Json(CONFIG), "hostConfig": Json(HOST_CONFIG)},
}
INTERFACE = {
    "attachmentArn": str, "ec2Id": Required(str), "macAddress": Required(str),
    "ipv4Addresses": Required([{"privateAddress": str, "primary": bool}]),
    "ipv6Addresses": [{"address": str, "primary": bool}],
    "subnetGatewayIpv4Address": Required(str), "subnetGatewayIpv6Address": str,
    "domainNameServers": [str], "domainName": [str], "privateDnsName": str,
    "interfaceAssociationProtocol": str,
}
VOLUME = {
    "name": Required(str), "type": str, "host": {"sourcePath": str},
    "dockerVolumeConfiguration": {"scope": str, "autoprovision": bool, "driver": str,
                                  "driverOpts": STRINGS, "labels": STRINGS},
}
TASK = {
    "arn": Required(str), "taskClusterArn": str, "family": str, "version": str,
    "desiredStatus": Required(str), "overrides": str, "launchType": str, "networkMode": str,
    "cpu": float, "memory": int, "zone": str, "serviceName": str, "group": str,
    "taskDefinitionAccountId": str, "pidMode": str, "ipcMode": str, "enableFaultInjection": bool,
    "roleCredentials": CREDENTIALS, "executionRoleCredentials": CREDENTIALS,
    "elasticNetworkInterfaces": [INTERFACE], "volumes": [VOLUME], "containers": [CONTAINER],
    "associations": [{"name": str, "type": str, "containers": [str],
                      "content": {"encoding": str, "value": str}}],
    "proxyConfiguration": {"type": str, "containerName": str, "properties": STRINGS},
}

# ---- messages ----------------------------------------------------------------------------------

TASK_IDENTIFIERS = [{"taskArn": Required(str), "taskClusterArn": str,
                     "desiredStatus": Required(str)}]
ACS = {
    "HeartbeatMessage": {"healthy": bool, "messageId": Required(str)},
    "PayloadMessage": {
        "messageId": Required(str), "clusterArn": Required(str),
        "containerInstanceArn": Required(str), "tasks": [TASK], "generatedAt": int,
        "seqNum": Required(int), "timeline": int},
    "TaskManifestMessage": {
        "messageId": Required(str), "timeline": Required(int), "clusterArn": str,
        "containerInstanceArn": str, "tasks": TASK_IDENTIFIERS, "generatedAt": int},
    "TaskStopVerificationAck": {
        "messageId": Required(str), "stopTasks": TASK_IDENTIFIERS, "generatedAt": int},
    "IAMRoleCredentialsMessage": {
        "messageId": Required(str), "taskArn": Required(str), "taskClusterArn": str,
        "roleType": Required(str), "roleCredentials": Required(CREDENTIALS)},
    "CloseMessage": {"message": str},
    "ErrorMessage": {"message": str},
}
TCS = {
    "HeartbeatMessage": {"healthy": bool, "messageId": str},
    "AckPublishMetric": {"message": str},
    "AckPublishHealth": {"message": str},
    "AckPublishInstanceStatus": {"message": str},
}

# ---- the check ---------------------------------------------------------------------------------


def differs(shape, value, path):
    """What is wrong with a value, as sentences."""
    if isinstance(shape, Required):
        if value in ("", []) and shape.shape is str:
            return [f"{path} is empty"]
        return differs(shape.shape, value, path)
    if isinstance(shape, Json):
        if not isinstance(value, str):
            return [f"{path} is no string"]
        return differs(shape.shape, json.loads(value), f"{path} as JSON")
    if isinstance(shape, Map):
        if not isinstance(value, dict):
            return [f"{path} is no object"]
        return [wrong for key, one in value.items()
                for wrong in differs(shape.shape, one, f"{path}[{key}]")]
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{path} is no list"]
        return [wrong for index, one in enumerate(value)
                for wrong in differs(shape[0], one, f"{path}[{index}]")]
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return [f"{path} is no object"]
        found = [f"{path}.{name} is not known" for name in value if name not in shape]
        found += [f"{path}.{name} is missing" for name, member in shape.items()
                  if isinstance(member, Required) and name not in value]
        return found + [wrong for name, one in value.items() if name in shape
                        for wrong in differs(shape[name], one, f"{path}.{name}")]
    # Go takes no fraction for an integer, and any number for one with a fraction.
    wanted = (int, float) if shape is float else shape
    if not isinstance(value, wanted) or (isinstance(value, bool) and shape is not bool):
        return [f"{path} is {value!r}, no {shape.__name__}"]
    return []


def task_differs(task):
    """What the agent would refuse of a task whose members are all of the right type."""
    path = task["arn"]
    found = []
    if task["desiredStatus"] not in ("RUNNING", "STOPPED"):
        found.append(f"{path}.desiredStatus is {task['desiredStatus']}")
    if task["overrides"] != "{}":
        found.append(f"{path}.overrides is {task['overrides']}")
    if task["desiredStatus"] == "STOPPED":
        return found
    if not task["version"].isdigit():
        found.append(f"{path}.version is no number")
    if task["networkMode"] not in ("bridge", "host", "none", "awsvpc"):
        found.append(f"{path}.networkMode is {task['networkMode']}")
    volumes = {volume["name"] for volume in task.get("volumes", ())}
    for volume in task.get("volumes", ()):
        body = {"host": "host", "docker": "dockerVolumeConfiguration"}.get(volume.get("type"))
        if body is None or body not in volume:
            found.append(f"{path}: volume {volume['name']} has no configuration")
    for eni in task.get("elasticNetworkInterfaces", ()):
        if eni["subnetGatewayIpv4Address"].count("/") != 1:
            found.append(f"{path}: the gateway has no prefix")
    names = {container["name"] for container in task["containers"]}
    for container in task["containers"]:
        docker = container["dockerConfig"]
        if (container.get("healthCheckType") == "docker") != (
                "Healthcheck" in json.loads(docker["config"])):
            found.append(f"{path}: the health check of {container['name']} is told by halves")
        found += [f"{path}: {container['name']} mounts {point['sourceVolume']}, which is no volume"
                  for point in container.get("mountPoints", ())
                  if point["sourceVolume"] not in volumes]
        found += [f"{path}: {container['name']} depends on {other['containerName']}"
                  for other in container.get("dependsOn", ())
                  if other["containerName"] not in names or other["condition"] not in (
                      "START", "COMPLETE", "SUCCESS", "HEALTHY")]
        found += [f"{path}: {container['name']} has a port of protocol {port['protocol']}"
                  for port in container.get("portMappings", ())
                  if port["protocol"] not in ("tcp", "udp")]
        if not all(part in DIGITS + "." for part in docker["version"]):
            found.append(f"{path}: Docker's API has no version {docker['version']}")
    return found


def frame_differs(frame, telemetry=False):
    """What the agent would not understand of a frame."""
    messages = TCS if telemetry else ACS
    if sorted(frame) != ["message", "type"] or frame["type"] not in messages:
        return [f"a frame {frame} is none of the protocol"]
    found = differs(messages[frame["type"]], frame["message"], frame["type"])
    if not found and frame["type"] == "PayloadMessage":
        for task in frame["message"]["tasks"]:
            found += task_differs(task)
    return found
