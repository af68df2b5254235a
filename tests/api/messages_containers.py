"""Messages and rules of container definitions."""
from messages import Case
from messages_definitions import ABSENT, CONTAINER, FARGATE, bad, picked, register

A = "for container 'a'"
ECR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/app:1"
SECRET = [{"name": "KEY", "valueFrom": "parameter"}]
ASM = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:key-abc"
AWSLOGS = {"logDriver": "awslogs", "options": {
    "awslogs-group": "g", "awslogs-region": "r", "awslogs-stream-prefix": "p"}}


def wrong(title, message, container=None, **members):
    return bad("1.4", title, message, container, **members)


def rule(title, want, container=None, shown="", **members):
    """A case: members of the container as it is stored."""
    def ask(world):
        got = register(world, container, **members)["containerDefinitions"][0]
        return picked(world.ecs, "ContainerDefinition", got, want)
    return Case("1.4", title, ask, want, shown)


def same(title, container, **members):
    """A case: members of the container that are stored as they were sent."""
    return rule(title, container, container, "is kept", **members)


def no_fargate(title, message, container=None, **members):
    """A case: Fargate refuses, and without FARGATE among requiresCompatibilities it would do."""
    return bad("1.4", f"Fargate: {title}", message, container, **{**FARGATE, **members})


def two(first=None, second=None):
    """Two containers, a and b."""
    return [{**CONTAINER, **(first or {})}, {**CONTAINER, "name": "b", **(second or {})}]


def depends(condition, on="a"):
    return {"dependsOn": [{"containerName": on, "condition": condition}]}


# ---- names, images, sizes -----------------------------------------------------------------

BASIC = [
    wrong("no name", "Container.name should not be null or empty.",
          containerDefinitions=[{"image": "b", "memory": 64}]),
    wrong("an empty name", "Container.name should not be null or empty.", {"name": ""}),
    wrong("no image", "Container.image should not be null or empty.",
          containerDefinitions=[{"name": "a", "memory": 64}]),
    wrong("an empty image", "Container.image should not be null or empty.", {"image": ""}),
    wrong("a name of 256 characters", "Container.name should not be longer than 255 characters.",
          {"name": "x" * 256}),
    wrong("a name with a dot", "Container.name contains invalid characters.", {"name": "a.b"}),
    wrong("two containers of one name", "Container names must be unique within a Task Definition.",
          containerDefinitions=two(second={"name": "a"})),
    wrong("an image of 256 characters", "Container.image should not be longer than 255 characters.",
          {"image": "x" * 256}),
    same("an image of 255 characters and a digest",
         {"image": "x" * 255 + "@sha256:" + "0" * 64}),
    wrong("an image with a bad digest", "Container.image contains invalid characters.",
          {"image": "x@sha256:00"}),
    wrong("an image with a space", "Container.image contains invalid characters.",
          {"image": "a b"}),
    wrong("an image without a repository",
          "Container.image repository should not be null or empty.", {"image": ":1"}),
    rule("what is filled in", {
        "name": "a", "image": "b", "memory": 64, "cpu": 0, "essential": True, "portMappings": [],
        "environment": [], "mountPoints": [], "volumesFrom": [], "systemControls": [],
        "memoryReservation": ABSENT, "healthCheck": ABSENT, "ulimits": ABSENT, "command": ABSENT,
        "entryPoint": ABSENT, "secrets": ABSENT, "dependsOn": ABSENT, "links": ABSENT,
        "logConfiguration": ABSENT, "linuxParameters": ABSENT, "stopTimeout": ABSENT,
        "privileged": ABSENT, "user": ABSENT, "versionConsistency": ABSENT}),
    wrong("no essential container", "Task definition doesn't have any essential container.",
          {"essential": False}),
    rule("essential as sent", {"essential": False}, containerDefinitions=two(
        {"essential": False})),
    wrong("cpu below 0", f"Invalid 'cpu' setting {A}.", {"cpu": -1}),
    wrong("more cpu than the task has", "The sum of all container 'cpu' values cannot be greater "
          "than the value of the task 'cpu'.", cpu="1024",
          containerDefinitions=two({"cpu": 1000}, {"cpu": 25})),
    rule("all of the task's cpu", {"cpu": 1024}, {"cpu": 1024}, cpu="1 vCPU"),
    wrong("neither memory nor memoryReservation, none of the task",
          "Invalid setting for container 'a'. At least one of 'memory' or 'memoryReservation' must "
          "be specified.", containerDefinitions=[{"name": "a", "image": "b"}]),
    rule("neither of both where the task has memory",
         {"memory": ABSENT, "memoryReservation": ABSENT}, memory="512",
         containerDefinitions=[{"name": "a", "image": "b"}]),
    wrong("memory 0", f"Invalid 'memory' setting {A}.", {"memory": 0}),
    wrong("memory 5", f"Invalid 'memory' setting {A}.", {"memory": 5}),
    same("memory 6", {"memory": 6}),
    wrong("memoryReservation 5", f"Invalid 'memoryReservation' setting {A}.",
          {"memoryReservation": 5}),
    wrong("memoryReservation above memory", "Invalid setting for container 'a'. "
          "'memoryReservation' cannot be greater than 'memory'.",
          {"memory": 64, "memoryReservation": 65}),
    same("memory and memoryReservation", {"memory": 64, "memoryReservation": 32}),
    wrong("more memory than the task has",
          "The 'memory' setting for container is greater than for the task.", {"memory": 513},
          memory="512"),
    wrong("more memoryReservation than the task's memory",
          "The sum of all container 'memoryReservation' values cannot be greater than the value of "
          "the task 'memory'.", memory="64", containerDefinitions=two(
              {"memoryReservation": 40}, {"memoryReservation": 40})),
    same("entryPoint, command, workingDirectory, user",
         {"entryPoint": ["/a"], "command": ["b"], "workingDirectory": "/w", "user": "1:1"}),
    same("versionConsistency", {"versionConsistency": "disabled"}),
    wrong("an unknown versionConsistency",
          "1 validation error detected: Value at 'containerDefinitions[0].versionConsistency' "
          "failed to satisfy constraint: Member must satisfy enum value set: [enabled, disabled]",
          {"versionConsistency": "on"}),
]

# ---- environment, secrets, dependencies ---------------------------------------------------

HEALTH = {"command": ["CMD-SHELL", "true"]}
RANGES = (("interval", 5, 300), ("timeout", 2, 60), ("retries", 1, 10), ("startPeriod", 0, 300))

BEHAVIOUR = [
    wrong("an empty name of a variable", f"Invalid 'environment' setting {A}. A name cannot be "
          "empty or contain '='.", {"environment": [{"name": "", "value": "1"}]}),
    wrong("eleven environmentFiles", "Container 'a' has more than 10 environmentFiles.",
          {"environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::b/x.env"}] * 11}),
    wrong("an environment file that is no .env", f"Invalid 'environmentFiles' setting {A}. The value "
          "must be the ARN of an S3 object that ends with '.env'.",
          {"environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::b/x.txt"}]}),
    *[same(f"an environment file beyond ECS: {value}",
           {"environmentFiles": [{"type": "s3", "value": value}]})
      for value in ("file:///etc/x.env", "https://files.example.com/x.env")],
    *[wrong(f"an environment file that is neither: {value}",
            f"Invalid 'environmentFiles' setting {A}. The value must be the ARN of an S3 object "
            "that ends with '.env'.", {"environmentFiles": [{"type": "s3", "value": value}]})
      for value in ("file://etc/x.env", "ftp://h/x.env", "http://h/x")],
    no_fargate("an environment file of the host",
               "Fargate compatible task definitions do not support environmentFiles of the host",
               {"environmentFiles": [{"type": "s3", "value": "file:///etc/x.env"}]}),
    wrong("an environment file of another type",
          "1 validation error detected: Value at 'containerDefinitions[0].environmentFiles[0].type' "
          "failed to satisfy constraint: Member must satisfy enum value set: [s3]",
          {"environmentFiles": [{"type": "http", "value": "arn:aws:s3:::b/x.env"}]}),
    wrong("a secret with the name of a variable", "The secret name must be unique and not shared "
          "with any new or existing environment variables set on the container, such as 'KEY'.",
          {"environment": [{"name": "KEY", "value": "1"}], "secrets": SECRET}),
    wrong("a secret without a source", "1 validation error detected: Value at "
          "'containerDefinitions[0].secrets[0].valueFrom' failed to satisfy constraint: Member must "
          "not be null", {"secrets": [{"name": "KEY"}]}),
    wrong("an empty source of a secret", f"Invalid 'secrets' setting {A}.",
          {"secrets": [{"name": "KEY", "valueFrom": ""}]}),
    bad("1.4", "--strict: secrets without the execution role",
        "When you are specifying container secrets, you must also specify a value for "
        "'executionRoleArn'.", {"secrets": SECRET}, through="strict"),
    bad("1.4", "--strict: repositoryCredentials without the execution role",
        "Private repository authentication requires that the task definition specify a value for "
        "executionRoleArn.", {"repositoryCredentials": {"credentialsParameter": ASM}},
        through="strict"),
    *[rule(f"dependsOn {condition}", depends(condition, "b"), containerDefinitions=two(
        depends(condition, "b"), {"essential": False, "healthCheck": HEALTH}))
      for condition in ("START", "COMPLETE", "SUCCESS", "HEALTHY")],
    *[wrong(f"dependsOn {condition} of an essential container", "A dependency container with "
            "SUCCESS or COMPLETE condition cannot be an essential container",
            containerDefinitions=two(second=depends(condition)))
      for condition in ("SUCCESS", "COMPLETE")],
    wrong("dependsOn of a container that is not there",
          "Cannot depend on container + 'x' because it does not exist", depends("START", "x")),
    wrong("dependsOn HEALTHY of a container without a health check",
          "Cannot depend on container 'a' with HEALTHY condition because it has no health check",
          containerDefinitions=two(second=depends("HEALTHY"))),
    wrong("dependsOn in a circle", "Container dependencies should not have a cycle",
          containerDefinitions=two(depends("START", "b"), depends("START"))),
    wrong("an unknown condition", "1 validation error detected: Value at "
          "'containerDefinitions[0].dependsOn[0].condition' failed to satisfy constraint: Member "
          "must satisfy enum value set: [START, COMPLETE, SUCCESS, HEALTHY]", depends("DONE", "b")),
    same("startTimeout and stopTimeout", {"startTimeout": 600, "stopTimeout": 0}),
    *[wrong(f"{name} below 0", f"Invalid '{name}' setting {A}.", {name: -1})
      for name in ("startTimeout", "stopTimeout")],
    *[no_fargate(f"{name} of {value} s", f"Invalid '{name}' setting {A}. Fargate supports values "
                 "between 2 and 120.", {name: value})
      for name in ("startTimeout", "stopTimeout") for value in (1, 121)],
    *[same(f"Fargate: stopTimeout of {value} s", {"stopTimeout": value}, **FARGATE)
      for value in (2, 120)],
    same("restartPolicy", {"restartPolicy": {"enabled": True, "ignoredExitCodes": [0],
                                             "restartAttemptPeriod": 60}}),
    *[wrong(f"restartPolicy: {what}", f"Invalid 'restartPolicy' setting {A}. "
            "'restartAttemptPeriod' must be between 60 and 1800, and there can be at most 50 "
            "'ignoredExitCodes'.", {"restartPolicy": {"enabled": True, **members}})
      for what, members in (("59 s", {"restartAttemptPeriod": 59}),
                            ("1801 s", {"restartAttemptPeriod": 1801}),
                            ("51 codes", {"ignoredExitCodes": list(range(51))}))],
    wrong("restartPolicy without enabled", "1 validation error detected: Value at "
          "'containerDefinitions[0].restartPolicy.enabled' failed to satisfy constraint: Member "
          "must not be null", {"restartPolicy": {}}),
    *[same(f"labels of Berth's: {what}", {"dockerLabels": labels}) for what, labels in (
        ("commands", {"berth.post-start": "date >/tmp/began", "berth.pre-stop": "CMD /bin/drain"}),
        ("readiness", {"berth.readiness": "test -e /ready", "berth.readiness.interval": "5"}))],
    *[wrong(f"a label of Berth's {what}", f"Invalid 'dockerLabels' setting {A}. {text}",
            {"dockerLabels": labels}) for what, labels, text in (
        ("that it does not know", {"berth.poststart": "date"},
         "'berth.poststart' is no label that Berth knows."),
        ("without a command", {"berth.pre-stop": " "}, "'berth.pre-stop' must be a command."),
        ("out of range", {"berth.readiness": "true", "berth.readiness.retries": "11"},
         "'berth.readiness.retries' must be a number between 1 and 10."),
        ("that needs another", {"berth.readiness.timeout": "2"},
         "'berth.readiness.timeout' needs berth.readiness beside it."))],
    rule("healthCheck: what is filled in", {"healthCheck": dict(
        HEALTH, interval=30, timeout=5, retries=3)}, {"healthCheck": HEALTH}),
    rule("healthCheck: a command without CMD is kept as sent", {"healthCheck": {
        "command": ["true"], "interval": 30, "timeout": 5, "retries": 3}},
         {"healthCheck": {"command": ["true"]}}),
    wrong("healthCheck without a command", f"Invalid 'healthCheck' setting {A}. The command cannot "
          "be empty.", {"healthCheck": {"command": []}}),
    *[wrong(f"healthCheck: {name} {value}", f"Invalid 'healthCheck' setting {A}. '{name}' must be "
            f"between {low} and {high}.", {"healthCheck": dict(HEALTH, **{name: value})})
      for name, low, high in RANGES for value in (low - 1, high + 1)],
    *[rule(f"healthCheck: {name} {value}", {"healthCheck": {
        **HEALTH, "interval": 30, "timeout": 5, "retries": 3, name: value}},
           {"healthCheck": dict(HEALTH, **{name: value})}, "is kept")
      for name, low, high in RANGES for value in (low, high)],
]

# ---- ports and network modes --------------------------------------------------------------

MATCH = "the host ports and container ports in port mappings must match."


def ports(*mappings):
    return {"portMappings": list(mappings)}


PORTS = [
    wrong("no containerPort", f"Invalid 'containerPort' setting {A}.", ports({"hostPort": 80})),
    *[wrong(f"containerPort {port}", f"Invalid 'containerPort' setting {A}.",
            ports({"containerPort": port})) for port in (0, 65536, -1)],
    wrong("hostPort 65536", f"Invalid 'hostPort' setting {A}.",
          ports({"containerPort": 80, "hostPort": 65536})),
    rule("bridge: hostPort 0 and tcp when absent",
         ports({"containerPort": 80, "hostPort": 0, "protocol": "tcp"}),
         ports({"containerPort": 80})),
    rule("bridge: hostPort as sent", ports({"containerPort": 80, "hostPort": 8080,
                                            "protocol": "udp"}),
         ports({"containerPort": 80, "hostPort": 8080, "protocol": "udp"})),
    *[rule(f"{mode}: hostPort {sent}", ports({"containerPort": 80, "hostPort": 80,
                                              "protocol": "tcp"}),
           ports({"containerPort": 80, **({} if sent == "absent" else {"hostPort": sent})}),
           networkMode=mode) for mode in ("awsvpc", "host") for sent in ("absent", 0, 80)],
    *[wrong(f"{mode}: another hostPort", f"When networkMode={mode}, {MATCH}",
            ports({"containerPort": 80, "hostPort": 8080}), networkMode=mode)
      for mode in ("awsvpc", "host")],
    wrong("none: port mappings", "Port mappings are not supported when networkMode=none.",
          ports({"containerPort": 80}), networkMode="none"),
    wrong("one host port twice", "TCP host port '80' is mapped multiple times in task.",
          containerDefinitions=two(ports({"containerPort": 1, "hostPort": 80}),
                                   ports({"containerPort": 2, "hostPort": 80}))),
    wrong("awsvpc: one port in two containers", "UDP host port '53' is mapped multiple times in "
          "task.", networkMode="awsvpc", containerDefinitions=two(
              ports({"containerPort": 53, "protocol": "udp"}),
              ports({"containerPort": 53, "protocol": "udp"}))),
    rule("one port of two protocols", ports(
        {"containerPort": 53, "hostPort": 53, "protocol": "udp"},
        {"containerPort": 53, "hostPort": 53, "protocol": "tcp"}), ports(
            {"containerPort": 53, "protocol": "udp"}, {"containerPort": 53}), networkMode="host"),
    wrong("an unknown protocol", "1 validation error detected: Value at "
          "'containerDefinitions[0].portMappings[0].protocol' failed to satisfy constraint: Member "
          "must satisfy enum value set: [tcp, udp]",
          ports({"containerPort": 80, "protocol": "sctp"})),
    *[rule(f"{mode}: containerPortRange", ports({"containerPortRange": "80-90",
                                                 "protocol": "tcp"}),
           ports({"containerPortRange": "80-90"}), networkMode=mode)
      for mode in ("bridge", "awsvpc")],
    *[wrong(f"containerPortRange: {what}", f"Invalid 'containerPortRange' setting {A}.",
            ports(*mappings), networkMode=mode) for what, mode, mappings in (
                ("one port", "bridge", [{"containerPortRange": "80"}]),
                ("no span", "bridge", [{"containerPortRange": "80-80"}]),
                ("backwards", "bridge", [{"containerPortRange": "90-80"}]),
                ("two that overlap", "bridge", [{"containerPortRange": "80-90"},
                                                {"containerPortRange": "90-95"}]),
                ("beside containerPort", "bridge", [{"containerPortRange": "80-90",
                                                     "containerPort": 80}]),
                ("host mode", "host", [{"containerPortRange": "80-90"}]),
                ("101 ranges", "bridge", [{"containerPortRange": f"{n}-{n + 1}"}
                                          for n in range(1000, 1202, 2)]))],
    *[wrong(f"a port's name {what}", f"Invalid port mapping name '{name}' {A}. Up to 64 lowercase "
            "letters, digits, underscores and hyphens are allowed, and it cannot begin with a "
            "hyphen.", ports({"containerPort": 80, "name": name})) for what, name in (
                ("in upper case", "Web"), ("that begins with a hyphen", "-web"),
                ("of 65 characters", "x" * 65))],
    wrong("a port's name twice", "The port mapping name 'web' is used more than once.",
          ports({"containerPort": 80, "name": "web"}, {"containerPort": 81, "name": "web"})),
    *[rule(f"appProtocol {name}", ports({"containerPort": 80, "hostPort": 0, "protocol": "tcp",
                                         "name": "web", "appProtocol": name}),
           ports({"containerPort": 80, "name": "web", "appProtocol": name}), "is kept")
      for name in ("http", "http2", "grpc")],
    wrong("an unknown appProtocol", "1 validation error detected: Value at "
          "'containerDefinitions[0].portMappings[0].appProtocol' failed to satisfy constraint: "
          "Member must satisfy enum value set: [http, http2, grpc]",
          ports({"containerPort": 80, "appProtocol": "ftp"})),
    *[wrong(f"{mode}: links", f"Links are not supported when networkMode={mode}.",
            {"links": ["b"]}, networkMode=mode) for mode in ("awsvpc", "host", "none")],
    wrong("awsvpc: hostname", "hostname is not supported on container when networkMode=awsvpc.",
          {"hostname": "h"}, networkMode="awsvpc"),
    wrong("awsvpc: extraHosts", "Extra hosts are not supported on container when "
          "networkMode=awsvpc.", {"extraHosts": [{"hostname": "h", "ipAddress": "10.0.0.1"}]},
          networkMode="awsvpc"),
    wrong("a link to nothing", "Container 'a' links to 'x', which does not exist.",
          {"links": ["x:alias"]}),
    wrong("links in a circle", "Container links should not have a cycle",
          containerDefinitions=two({"links": ["b"]}, {"links": ["a"]})),
    wrong("volumesFrom nothing", "Container 'a' takes volumes from 'x', which does not exist.",
          {"volumesFrom": [{"sourceContainer": "x"}]}),
    wrong("volumesFrom in a circle", "Container volumesFrom should not have a cycle",
          containerDefinitions=two({"volumesFrom": [{"sourceContainer": "b"}]},
                                   {"volumesFrom": [{"sourceContainer": "a"}]})),
]

# ---- logs, kernel, resources --------------------------------------------------------------


def logs(driver, secrets=None, **options):
    return {"logConfiguration": {
        "logDriver": driver, "options": {name.replace("_", "-"): value
                                         for name, value in options.items()},
        **({"secretOptions": secrets} if secrets else {})}}


def linux(**members):
    return {"linuxParameters": members}


def router(**options):
    return {"firelensConfiguration": {"type": "fluentbit", "options": {
        name.replace("_", "-"): value for name, value in options.items()}}}


LIMITS = ("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc",
          "rss", "rtprio", "rttime", "sigpending", "stack")

KERNEL = [
    wrong("awslogs without options",
          "Log driver awslogs requires options: awslogs-region, awslogs-group", logs("awslogs")),
    wrong("awslogs without a region", "Log driver awslogs requires options: awslogs-region",
          logs("awslogs", awslogs_group="g")),
    wrong("awslogs without a group", "Log driver awslogs requires options: awslogs-group",
          logs("awslogs", awslogs_region="r")),
    wrong("awslogs with an unknown option", "Log driver awslogs disallows options: tag",
          logs("awslogs", awslogs_group="g", awslogs_region="r", tag="x")),
    wrong("awslogs with two kinds of lines", "Log driver awslogs takes awslogs-datetime-format or "
          "awslogs-multiline-pattern, but not both.",
          logs("awslogs", awslogs_group="g", awslogs_region="r", awslogs_datetime_format="%Y",
               awslogs_multiline_pattern="^")),
    same("awslogs with every option", logs(
        "awslogs", awslogs_group="g", awslogs_region="r", awslogs_stream_prefix="p",
        awslogs_create_group="true", awslogs_datetime_format="%Y", mode="non-blocking",
        max_buffer_size="25m")),
    *[same(f"log driver {driver}", {"logConfiguration": {"logDriver": driver}})
      for driver in ("json-file", "syslog", "journald", "gelf", "fluentd", "splunk")],
    wrong("an unknown log driver", "1 validation error detected: Value at "
          "'containerDefinitions[0].logConfiguration.logDriver' failed to satisfy constraint: "
          "Member must satisfy enum value set: [json-file, syslog, journald, gelf, fluentd, awslogs, "
          "splunk, awsfirelens]", {"logConfiguration": {"logDriver": "none"}}),
    wrong("an unknown log mode", f"Invalid log mode 'fast' {A}. It must be blocking or "
          "non-blocking.", logs("json-file", mode="fast")),
    wrong("a secret option without a source", f"Invalid 'secretOptions' setting {A}.",
          logs("splunk", secrets=[{"name": "splunk-token", "valueFrom": ""}])),
    wrong("awsfirelens without a router", "When a container uses the log driver awsfirelens, one "
          "container must have a firelensConfiguration.", logs("awsfirelens")),
    rule("awsfirelens beside a router", {"logConfiguration": {"logDriver": "awsfirelens",
                                                              "options": {}}},
         containerDefinitions=two(logs("awsfirelens"), router())),
    wrong("two routers", "Only one container of a task definition can have a "
          "firelensConfiguration.", containerDefinitions=two(router(), router())),
    same("firelens: every option", router(enable_ecs_log_metadata="true", config_file_type="s3",
                                          config_file_value="arn:aws:s3:::b/c.conf")),
    wrong("firelens: an unknown option", f"Invalid 'firelensConfiguration' setting {A}: unknown "
          "option 'color'.", router(color="x")),
    *[wrong(f"firelens: {what}", f"Invalid 'firelensConfiguration' setting {A}: config-file-type "
            "must be s3 or file, and comes with a config-file-value.", router(**options))
      for what, options in (("config-file-type http", {"config_file_type": "http",
                                                       "config_file_value": "x"}),
                            ("config-file-type alone", {"config_file_type": "file"}),
                            ("config-file-value alone", {"config_file_value": "x"}))],
    *[same(f"ulimit {name}", {"ulimits": [{"name": name, "softLimit": 1, "hardLimit": 2}]})
      for name in LIMITS],
    *[wrong(f"ulimits: {what}", f"Invalid 'ulimits' setting {A}. Each limit can be set once, and "
            "'softLimit' cannot be greater than 'hardLimit'.", {"ulimits": limits})
      for what, limits in (
          ("soft above hard", [{"name": "nofile", "softLimit": 2, "hardLimit": 1}]),
          ("one twice", [{"name": "nofile", "softLimit": 1, "hardLimit": 1}] * 2))],
    same("linuxParameters", linux(
        capabilities={"add": ["NET_ADMIN"], "drop": ["ALL"]}, initProcessEnabled=True,
        devices=[{"hostPath": "/dev/null", "containerPath": "/dev/x", "permissions": ["read"]}],
        sharedMemorySize=64, maxSwap=0, swappiness=60,
        tmpfs=[{"containerPath": "/t", "size": 1, "mountOptions": ["ro"]}])),
    *[wrong(f"swappiness {value}", f"Invalid 'swappiness' setting {A}.", linux(swappiness=value))
      for value in (-1, 101)],
    wrong("maxSwap below 0", f"Invalid 'maxSwap' setting {A}.", linux(maxSwap=-1)),
    wrong("sharedMemorySize 0", f"Invalid 'sharedMemorySize' setting {A}.",
          linux(sharedMemorySize=0)),
    wrong("a device without a path", f"Invalid 'devices' setting {A}.",
          linux(devices=[{"hostPath": "null"}])),
    *[wrong(f"tmpfs {what}", f"Invalid 'tmpfs' setting {A}. It needs an absolute containerPath and a "
            "size in MiB greater than 0.", linux(tmpfs=[tmpfs])) for what, tmpfs in (
                ("of size 0", {"containerPath": "/t", "size": 0}),
                ("at a relative path", {"containerPath": "t", "size": 1}))],
    wrong("an unknown capability", f"Invalid capability 'CAP_CHOWN' {A}.",
          linux(capabilities={"add": ["CAP_CHOWN"]})),
    *[same(f"systemControls {name}", {"systemControls": [{"namespace": name, "value": "1"}]})
      for name in ("net.core.somaxconn", "fs.mqueue.queues_max", "kernel.msgmax", "kernel.sem",
                   "kernel.shmmax")],
    wrong("systemControls of the host", f"Invalid 'systemControls' setting {A}: 'kernel.panic'.",
          {"systemControls": [{"namespace": "kernel.panic", "value": "1"}]}),
    wrong("systemControls net in host mode", f"Invalid 'systemControls' setting {A}: "
          "'net.core.somaxconn'.", {"systemControls": [
              {"namespace": "net.core.somaxconn", "value": "1"}]}, networkMode="host"),
    same("a GPU", {"resourceRequirements": [{"type": "GPU", "value": "1"}]}),
    wrong("no number of GPUs", f"Invalid 'resourceRequirements' setting {A}.",
          {"resourceRequirements": [{"type": "GPU", "value": "many"}]}),
    same("an accelerator of the task", {"resourceRequirements": [
        {"type": "InferenceAccelerator", "value": "d"}]},
         inferenceAccelerators=[{"deviceName": "d", "deviceType": "eia1.medium"}]),
    wrong("an accelerator that the task lacks", f"Invalid 'resourceRequirements' setting {A}.",
          {"resourceRequirements": [{"type": "InferenceAccelerator", "value": "d"}]}),
    wrong("two credentialSpecs", f"Invalid 'credentialSpecs' setting {A}.",
          {"credentialSpecs": ["credentialspec:arn:a", "credentialspec:arn:b"]}),
]

CASES = BASIC + BEHAVIOUR + PORTS + KERNEL
UNREACHABLE = []
