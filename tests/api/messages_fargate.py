"""Messages and rules of Fargate: its sizes, what only it refuses; and of volumes."""
from messages import Case, refusal, send
from messages_containers import (A, ASM, AWSLOGS, ECR, SECRET, linux, logs, no_fargate, router, rule,
                                 same, wrong)
from messages_definitions import CLIENT, FARGATE, bad, kept, picked, register, request


def task_rule(title, want, container=None, **members):
    """A case: members of the task as it is stored."""
    return Case("1.4", title, lambda world: picked(
        world.ecs, "TaskDefinition", register(world, container, **members), want), want)


def unsupported(what, container=None, title=None, **members):
    return no_fargate(title or what, f"Fargate compatible task definitions do not support {what}",
                      container, **members)


def sized(cpu, memory, works, windows=False):
    """A case of the table of Fargate's sizes."""
    members = dict(FARGATE, cpu=cpu, memory=memory)
    if windows:
        members["runtimePlatform"] = {"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}
    title = f"cpu {cpu}, memory {memory}" + (", Windows" if windows else "")
    def arguments(world):
        made = request(world, **members)
        del made["containerDefinitions"][0]["memory"]
        return made
    if works:
        return Case("1.3", title, lambda world: picked(world.ecs, "TaskDefinition", send(
            world.ecs, "RegisterTaskDefinition", arguments(world))["taskDefinition"],
            {"cpu": cpu, "memory": memory}), {"cpu": cpu, "memory": memory})
    return refusal("1.3", title, "RegisterTaskDefinition", arguments, CLIENT,
                   "No Fargate configuration exists for given values.")


# ---- sizes --------------------------------------------------------------------------------

TABLE = {  # cpu: the least and the greatest memory, and the step
    256: (512, 2048, None), 512: (1024, 4096, 1024), 1024: (2048, 8192, 1024),
    2048: (4096, 16384, 1024), 4096: (8192, 30720, 1024), 8192: (16384, 61440, 4096),
    16384: (32768, 122880, 8192)}

SIZES = [sized("256", memory, True) for memory in ("512", "1024", "2048")]
for cpu, (low, high, step) in TABLE.items():
    if step is not None:
        SIZES += [sized(str(cpu), str(memory), True) for memory in (low, low + step, high)]
        SIZES += [sized(str(cpu), str(memory), False) for memory in (
            low - step, low + step // 2, high + step) if memory > 0]
SIZES += [sized("256", memory, False) for memory in ("256", "1536", "3072")]
SIZES += [sized("128", "512", False), sized("300", "1024", False), sized("32768", "65536", False)]
SIZES += [sized(cpu, memory, True, windows=True) for cpu, memory in (
    ("1024", "2048"), ("2048", "4096"), ("4096", "8192"))]
SIZES += [sized(cpu, memory, False, windows=True) for cpu, memory in (
    ("256", "512"), ("512", "1024"), ("8192", "16384"), ("16384", "32768"))]
SIZES += [
    bad("1.3", "the table holds also when EC2 is named beside FARGATE",
        "No Fargate configuration exists for given values.",
        **dict(FARGATE, memory="513", requiresCompatibilities=["EC2", "FARGATE"])),
    bad("1.3", "FARGATE without cpu", "Fargate requires that 'cpu' be defined at the task level.",
        requiresCompatibilities=["FARGATE"], networkMode="awsvpc", memory="512"),
    bad("1.3", "FARGATE without memory",
        "Fargate requires that 'memory' be defined at the task level.",
        requiresCompatibilities=["FARGATE"], networkMode="awsvpc", cpu="256"),
    kept("1.3", "sizes with units", {"cpu": "256", "memory": "512"},
         **dict(FARGATE, cpu=".25 vCPU", memory="0.5 GB")),
]

# ---- what only Fargate refuses ------------------------------------------------------------

ROLE = "Fargate requires task definition to have execution role ARN to support "


def strict(title, message, container):
    """A case of `berth server --strict`, which wants the execution role as ECS does."""
    return bad("1.4", f"--strict, Fargate: {title}", message, container, through="strict",
               **FARGATE)


FARGATE_ONLY = [
    *[no_fargate(f"networkMode {mode}", "Fargate only supports network mode ‘awsvpc’.",
                 networkMode=mode) for mode in ("bridge", "host", "none")],
    bad("1.4", "Fargate: no networkMode", "Fargate only supports network mode ‘awsvpc’.",
        requiresCompatibilities=["FARGATE"], cpu="256", memory="512"),
    strict("awslogs", ROLE + "log driver awslogs.", {"logConfiguration": AWSLOGS}),
    strict("an image of ECR", ROLE + "ECR images.", {"image": ECR}),
    strict("secrets", "When you are specifying container secrets, you must also specify a value for "
           "'executionRoleArn'.", {"secrets": SECRET}),
    rule("Fargate: none of these wants a role unless --strict",
         {"image": ECR, "secrets": SECRET, "logConfiguration": AWSLOGS},
         {"image": ECR, "secrets": SECRET, "logConfiguration": AWSLOGS}, "is kept", **FARGATE),
    unsupported("sourcePath", volumes=[{"name": "v", "host": {"sourcePath": "/v"}}]),
    unsupported("dockerVolumeConfiguration",
                volumes=[{"name": "v", "dockerVolumeConfiguration": {"driver": "local"}}]),
    unsupported("fsxWindowsFileServerVolumeConfiguration", volumes=[
        {"name": "v", "fsxWindowsFileServerVolumeConfiguration": {
            "fileSystemId": "f", "rootDirectory": "r",
            "authorizationConfig": {"credentialsParameter": "c", "domain": "d"}}}]),
    unsupported("placementConstraints",
                placementConstraints=[{"type": "memberOf", "expression": "attribute:a exists"}]),
    no_fargate("ipcMode", "Tasks using the Fargate launch type do not support ipcMode.",
               ipcMode="task"),
    no_fargate("pidMode host", "Tasks using the Fargate launch type do not support pidMode 'host'. "
               "The supported value for pidMode is 'task'.", pidMode="host"),
    task_rule("Fargate: pidMode task", {"pidMode": "task"}, pidMode="task", **FARGATE),
    unsupported("privileged", {"privileged": True}),
    unsupported("disableNetworking", {"disableNetworking": True}),
    unsupported("dnsServers", {"dnsServers": ["10.0.0.2"]}),
    unsupported("dnsSearchDomains", {"dnsSearchDomains": ["example.com"]}),
    unsupported("dockerSecurityOptions", {"dockerSecurityOptions": ["no-new-privileges"]}),
    unsupported("resourceRequirements", {"resourceRequirements": [{"type": "GPU", "value": "1"}]}),
    unsupported("credentialSpecs", {"credentialSpecs": ["credentialspec:arn:a"]}),
    unsupported("devices", linux(devices=[{"hostPath": "/dev/null"}])),
    unsupported("sharedMemorySize", linux(sharedMemorySize=64)),
    unsupported("maxSwap", linux(maxSwap=64)),
    unsupported("swappiness", linux(swappiness=60)),
    unsupported("adding the capability NET_ADMIN", linux(
        capabilities={"add": ["SYS_PTRACE", "NET_ADMIN"]})),
    same("Fargate: the capability SYS_PTRACE and a tmpfs", linux(
        capabilities={"add": ["SYS_PTRACE"], "drop": ["ALL"]},
        tmpfs=[{"containerPath": "/t", "size": 1}]), **FARGATE),
    *[unsupported(f"the log driver {driver}", {"logConfiguration": {"logDriver": driver}})
      for driver in ("json-file", "syslog", "journald", "gelf", "fluentd")],
    no_fargate("awslogs without a prefix",
               "Log driver awslogs requires options: awslogs-stream-prefix",
               logs("awslogs", awslogs_group="g", awslogs_region="r")),
    unsupported("the config-file-type s3", router(config_file_type="s3", config_file_value="arn:x")),
    no_fargate("the first of two errors is told",
               "Fargate only supports network mode ‘awsvpc’.", {"privileged": True},
               networkMode="bridge"),
]

# ---- volumes ------------------------------------------------------------------------------

EFS = {"fileSystemId": "fs-1"}


def volume(**kind):
    return {"volumes": [{"name": "v", **kind}]}


def bad_volume(title, message, **kind):
    return wrong(f"volume: {title}", message, **volume(**kind))


VOLUMES = [
    task_rule("volume: a name alone is a scratch volume",
              {"volumes": [{"name": "v", "host": {}}]}, **volume()),
    *[task_rule(f"volume: {next(iter(kind))} ({n})", volume(**kind), **volume(**kind))
      for n, kind in enumerate((
          {"host": {"sourcePath": "/v"}},
          {"dockerVolumeConfiguration": {"scope": "shared", "autoprovision": True,
                                         "driver": "local", "driverOpts": {"type": "tmpfs"},
                                         "labels": {"a": "b"}}},
          {"efsVolumeConfiguration": {
              "fileSystemId": "fs-1", "rootDirectory": "/", "transitEncryption": "ENABLED",
              "transitEncryptionPort": 2049,
              "authorizationConfig": {"accessPointId": "fsap-1", "iam": "ENABLED"}}},
          {"fsxWindowsFileServerVolumeConfiguration": {
              "fileSystemId": "fs-1", "rootDirectory": "share", "authorizationConfig": {
                  "credentialsParameter": ASM, "domain": "example.com"}}},
          {"s3filesVolumeConfiguration": {
              "fileSystemArn": "arn:aws:s3files:eu-west-1:111122223333:file-system/fs-1",
              "rootDirectory": "/", "transitEncryptionPort": 2049,
              "accessPointArn": "arn:aws:s3files:eu-west-1:111122223333:access-point/ap-1"}},
          {"configuredAtLaunch": True}))],
    bad_volume("two kinds at once", "Volume 'v' can have one kind of configuration only.",
               host={"sourcePath": "/v"}, efsVolumeConfiguration=EFS),
    bad_volume("EFS without a file system", "1 validation error detected: Value at "
               "'volumes[0].efsVolumeConfiguration.fileSystemId' failed to satisfy constraint: "
               "Member must not be null", efsVolumeConfiguration={}),
    bad_volume("S3 Files without a file system", "1 validation error detected: Value at "
               "'volumes[0].s3filesVolumeConfiguration.fileSystemArn' failed to satisfy constraint: "
               "Member must not be null", s3filesVolumeConfiguration={}),
    bad_volume("an unknown transitEncryption", "1 validation error detected: Value at "
               "'volumes[0].efsVolumeConfiguration.transitEncryption' failed to satisfy constraint: "
               "Member must satisfy enum value set: [ENABLED, DISABLED]",
               efsVolumeConfiguration=dict(EFS, transitEncryption="YES")),
    bad_volume("EFS: IAM without encryption", "Volume 'v': transitEncryption must be ENABLED when an "
               "access point or IAM authorization is used.",
               efsVolumeConfiguration=dict(EFS, authorizationConfig={"iam": "ENABLED"})),
    bad_volume("EFS: an access point without encryption", "Volume 'v': transitEncryption must be "
               "ENABLED when an access point or IAM authorization is used.",
               efsVolumeConfiguration=dict(EFS, transitEncryption="DISABLED",
                                           authorizationConfig={"accessPointId": "fsap-1"})),
    bad_volume("EFS: an access point below the root", "Volume 'v': rootDirectory must be / or absent "
               "when an access point is used.", efsVolumeConfiguration=dict(
                   EFS, rootDirectory="/data", transitEncryption="ENABLED",
                   authorizationConfig={"accessPointId": "fsap-1"})),
    bad_volume("autoprovision of the scope task", "Volume 'v': autoprovision needs the scope shared.",
               dockerVolumeConfiguration={"scope": "task", "autoprovision": True}),
    wrong("volume: two configured at launch",
          "Only one volume of a task definition can be configured at launch.",
          volumes=[{"name": "v", "configuredAtLaunch": True},
                   {"name": "w", "configuredAtLaunch": True}]),
    wrong("volume: a name twice", "The volume name 'v' is used more than once.",
          volumes=[{"name": "v"}, {"name": "v"}]),
    wrong("volume: a bad name", "Invalid volume name 'a b'. Up to 255 letters, digits, underscores "
          "and hyphens are allowed.", volumes=[{"name": "a b"}]),
    wrong("a mount of a volume that is not there", "Unknown volume 'x'.",
          {"mountPoints": [{"sourceVolume": "x", "containerPath": "/x"}]}),
    wrong("a mount at a relative path", f"Invalid 'containerPath' setting {A}.",
          {"mountPoints": [{"sourceVolume": "v", "containerPath": "x"}]}, volumes=[{"name": "v"}]),
]

CASES = SIZES + FARGATE_ONLY + VOLUMES
UNREACHABLE = []
