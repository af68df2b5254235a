"""What a definition requires of a host and what it is good for: computed members."""
from messages import Case
from messages_containers import ASM, AWSLOGS, ECR, SECRET, linux, ports, router, two
from messages_definitions import CONTAINER, FARGATE, register

API = "com.amazonaws.ecs.capability.docker-remote-api."
OWN = "com.amazonaws.ecs.capability."
NEW = "ecs.capability."
BASE = API + "1.18"


def requires(feature, added, container=None, **members):
    """A case: what a feature adds to the attributes that every definition requires."""
    def ask(world):
        got = [attribute["name"] for attribute in register(
            world, container, **members)["requiresAttributes"]]
        assert len(got) == len(set(got)), f"one twice: {got}"
        assert BASE in got, got
        return sorted(set(got) - {BASE})
    return Case("1.5", feature, ask, sorted(added))


def good_for(title, want, container=None, **members):
    """A case: compatibilities."""
    return Case("1.5", f"compatibilities: {title}",
                lambda world: register(world, container, **members)["compatibilities"], want)


def attributes_alone(world):
    return register(world)["requiresAttributes"]


def secret(value, where):
    named = [{"name": "KEY", "valueFrom": value}]
    return {"secrets": named} if where == "environment" else {
        "logConfiguration": {"logDriver": "splunk", "secretOptions": named}}


VOLUME = {"name": "v"}

ATTRIBUTES = [
    Case("1.5", "what every definition requires", attributes_alone, [{"name": BASE}]),
    *[requires(f"log driver {driver}", [OWN + "logging-driver." + driver],
               {"logConfiguration": {"logDriver": driver}})
      for driver in ("json-file", "syslog", "journald", "gelf", "fluentd", "splunk")],
    requires("awslogs", [OWN + "logging-driver.awslogs", API + "1.19"],
             {"logConfiguration": AWSLOGS}),
    requires("awslogs with an execution role", [OWN + "logging-driver.awslogs", API + "1.19",
                                                NEW + "execution-role-awslogs"],
             {"logConfiguration": AWSLOGS}, executionRoleArn="run"),
    requires("an image of ECR", [OWN + "ecr-auth", API + "1.21"], {"image": ECR}),
    requires("an image of ECR with an execution role",
             [OWN + "ecr-auth", API + "1.21", NEW + "execution-role-ecr-pull"], {"image": ECR},
             executionRoleArn="run"),
    requires("an execution role alone", [], executionRoleArn="run"),
    requires("privileged", [OWN + "privileged-container"], {"privileged": True}),
    requires("a task role", [OWN + "task-iam-role"], taskRoleArn="app"),
    requires("a task role in host mode", [OWN + "task-iam-role-network-host"], taskRoleArn="app",
             networkMode="host"),
    requires("awsvpc", [NEW + "task-eni"], networkMode="awsvpc"),
    requires("cpu of the task", [NEW + "task-cpu-mem-limit"], cpu="256"),
    requires("memory of the task", [NEW + "task-cpu-mem-limit"], memory="512"),
    requires("enableFaultInjection", [NEW + "fault-injection"], enableFaultInjection=True),
    requires("enableFaultInjection that is off", [], enableFaultInjection=False),
    requires("pidMode", [NEW + "pid-ipc-namespace-sharing"], pidMode="task"),
    requires("ipcMode", [NEW + "pid-ipc-namespace-sharing"], ipcMode="task"),
    *[requires(f"a secret of {source} in the {where}", [NEW + f"secrets.{source}.{suffix}"] + extra,
               secret(value, where))
      for source, value in (("ssm", SECRET[0]["valueFrom"]), ("asm", ASM))
      for where, suffix, extra in (
          ("environment", "environment-variables", []),
          ("log driver", "bootstrap.log-driver", [OWN + "logging-driver.splunk"]))],
    requires("a private registry", [NEW + "private-registry-authentication.secretsmanager"],
             {"repositoryCredentials": {"credentialsParameter": ASM}}),
    requires("dependsOn", [NEW + "container-ordering"], containerDefinitions=two(
        second={"dependsOn": [{"containerName": "a", "condition": "START"}]})),
    requires("healthCheck", [NEW + "container-health-check", API + "1.24"],
             {"healthCheck": {"command": ["CMD", "true"]}}),
    requires("initProcessEnabled", [API + "1.25"], linux(initProcessEnabled=True)),
    requires("environmentFiles", [NEW + "env-files.s3"],
             {"environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::b/x.env"}]}),
    requires("containerPortRange", [NEW + "network.container-port-range"],
             ports({"containerPortRange": "80-90"})),
    requires("restartPolicy", [NEW + "container-restart-policy"],
             {"restartPolicy": {"enabled": True}}),
    requires("restartPolicy that is off", [], {"restartPolicy": {"enabled": False}}),
    requires("a volume of EFS", [NEW + "efsAuth"], volumes=[
        {**VOLUME, "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}]),
    requires("a volume of EBS", [NEW + "storage.ebs-task-volume-attach"],
             volumes=[{**VOLUME, "configuredAtLaunch": True}]),
    requires("a volume of S3 Files", [NEW + "storage.s3-files"], volumes=[
        {**VOLUME, "s3filesVolumeConfiguration": {"fileSystemArn": "arn:aws:s3files:r:a:f"}}]),
    requires("a docker volume of the driver rexray", [NEW + "docker-plugin.rexray"],
             volumes=[{**VOLUME, "dockerVolumeConfiguration": {"driver": "rexray"}}]),
    requires("a docker volume without a driver", [NEW + "docker-plugin.local"],
             volumes=[{**VOLUME, "dockerVolumeConfiguration": {"scope": "task"}}]),
    requires("a scratch volume", [], volumes=[VOLUME]),
    *[requires(f"firelens {kind}", [NEW + f"firelens.{kind}", OWN + "logging-driver.awsfirelens"],
               containerDefinitions=two(
                   {"logConfiguration": {"logDriver": "awsfirelens"}},
                   {"firelensConfiguration": dict(router()["firelensConfiguration"], type=kind)}))
      for kind in ("fluentbit", "fluentd")],
]

COMPATIBILITIES = [
    good_for("bridge", ["EXTERNAL", "EC2"]),
    good_for("host", ["EXTERNAL", "EC2"], networkMode="host"),
    good_for("awsvpc with sizes", ["EC2", "FARGATE"], networkMode="awsvpc", cpu="256",
             memory="512"),
    good_for("awsvpc without sizes", ["EC2"], networkMode="awsvpc"),
    good_for("awsvpc with a size that Fargate lacks", ["EC2"], networkMode="awsvpc", cpu="256",
             memory="513"),
    good_for("what Fargate refuses", ["EC2"], {"privileged": True}, networkMode="awsvpc", cpu="256",
             memory="512"),
    good_for("FARGATE was required", ["EC2", "FARGATE"], **FARGATE),
    good_for("MANAGED_INSTANCES was required", ["EXTERNAL", "EC2", "MANAGED_INSTANCES"],
             requiresCompatibilities=["MANAGED_INSTANCES"]),
    good_for("a volume that external instances lack", ["EC2"],
             volumes=[{**VOLUME, "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}]),
    good_for("two containers, one that Fargate refuses", ["EC2"], networkMode="awsvpc", cpu="256",
             memory="512", containerDefinitions=[
                 CONTAINER, {**CONTAINER, "name": "b", "dnsServers": ["10.0.0.2"]}]),
]

CASES = ATTRIBUTES + COMPATIBILITIES
UNREACHABLE = []
