"""Tasks that tell what a member of a definition does: started together, looked at one by one.

A test says with @task(...) what it runs. The first test of a module starts the tasks of all its
selected tests, at once, and waits for their ends; each test then gets its own as `ended`.
"""
import json
import os
import platform

import botocore.exceptions
import pytest

import models
import support

# Far more than any machine has: how much may run is not what these tests are about.
UNITS = 1 << 17
ARCHITECTURE = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
OTHER_ARCHITECTURE = "X86_64" if ARCHITECTURE == "arm64" else "ARM64"
# All that a definition may require, so that a task reaches the node whatever it asks for: what the
# node cannot do it must refuse itself. (Its own registration names only what it can.)
CAPABILITIES = ["com.amazonaws.ecs.capability." + name for name in (
    "docker-remote-api.1.17", "docker-remote-api.1.18", "docker-remote-api.1.19",
    "docker-remote-api.1.21", "docker-remote-api.1.24", "docker-remote-api.1.25", "ecr-auth",
    "logging-driver.awsfirelens", "logging-driver.awslogs", "logging-driver.json-file",
    "privileged-container", "task-iam-role", "task-iam-role-network-host")
] + ["ecs.capability." + name for name in (
    "container-health-check", "container-ordering", "container-restart-policy",
    "docker-plugin.local", "efsAuth", "env-files.s3", "execute-command", "execution-role-awslogs",
    "execution-role-ecr-pull", "fault-injection", "firelens.fluentbit", "firelens.fluentd",
    "network.container-port-range", "pid-ipc-namespace-sharing",
    "private-registry-authentication.secretsmanager", "secrets.asm.environment-variables",
    "secrets.ssm.environment-variables", "storage.ebs-task-volume-attach", "storage.s3-files",
    "task-cpu-mem-limit", "task-eni")]
RESOURCES = [{"name": name, "type": "INTEGER", "integerValue": UNITS} for name in ("CPU", "MEMORY")]


SLEEP = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
# The most that Fargate takes: a busy machine can stand still for seconds.
PATIENT = {"stopTimeout": 120}


def box(script, name="main", **members):
    """A container that runs a shell script.

    A first process that has set no trap yet ignores SIGTERM: hence a short stopTimeout. One that
    has to hear it gets PATIENT instead.
    """
    return {"name": name, "image": "hello", "entryPoint": ["/bin/sh", "-c"], "command": [script],
            "stopTimeout": 2, **members}


def after(*names):
    """What makes a container begin when others, which are not essential, are done: were it not so,
    the task would end with the first, whether the others had begun or not."""
    return {"dependsOn": [{"containerName": name, "condition": "COMPLETE"} for name in names]}


def task(*containers, ec2=False, run=None, **members):
    """Decorates a test with the task it is about: on Fargate, or on the container instance."""
    definition = {"containerDefinitions": list(containers), "cpu": "256", "memory": "512", **members}
    if ec2:
        definition.setdefault("networkMode", "host")
    else:
        definition.update(networkMode="awsvpc", requiresCompatibilities=["FARGATE"])
    # A member that is None is left out, such as a size of the task.
    definition = {name: value for name, value in definition.items() if value is not None}

    def decorate(function):
        function.task = (definition, {"launchType": "EC2" if ec2 else "FARGATE", **(run or {})})
        return function
    return decorate


class Ended:
    """How a task ended, and what its containers wrote."""

    def __init__(self, node, described):
        self.node = node
        self.task = described
        self.reason = described.get("stoppedReason")

    def container(self, name="main"):
        return next(one for one in self.task["containers"] if one["name"] == name)

    def code(self, name="main"):
        return self.container(name).get("exitCode")

    def output(self, name="main"):
        """What a container wrote that ended well: its task's reason tells, if it did not."""
        assert self.code(name) == 0, f"{name}: {self.task}\n{self.log(name)}"
        return self.log(name)

    def lines(self, name="main"):
        return self.output(name).splitlines()

    def log(self, name="main"):
        if "exitCode" not in self.container(name):
            return ""

        def told():
            """the output: a node that stands still for five seconds is asked again"""
            done = self.node.run("logs", self.task["taskArn"], name, check=False)
            return done if done.returncode == 0 else None
        return support.wait_for(told).stdout


class Node(support.Berth):
    """A `berth up` whose node is a host of the Fargate pool and a container instance as well."""

    def begin(self):
        self.start()
        self.load("hello.tar.gz")
        self.ecs = self.client()
        self.ecs.create_cluster(clusterName="default",
                                capacityProviders=["FARGATE", "FARGATE_SPOT"])
        # With the node's own key, so that the instance is this node and has its session.
        with open(os.path.join(self.data, "node/identity.json"), encoding="utf-8") as file:
            identity = json.load(file)
        self.instance = self.client(
            aws_access_key_id=identity["accessKeyId"],
            aws_secret_access_key=identity["secretAccessKey"]).register_container_instance(
                cluster="default", totalResources=RESOURCES,
                attributes=[{"name": name} for name in CAPABILITIES] + [
                    {"name": "ecs.cpu-architecture", "value": ARCHITECTURE},
                    {"name": "rack", "value": "r1"}])["containerInstance"]["containerInstanceArn"]

    def register(self, family, definition):
        try:
            return self.ecs.register_task_definition(
                family=family, **definition)["taskDefinition"]["taskDefinitionArn"]
        except botocore.exceptions.ParamValidationError as error:
            if not models.NEWEST:
                pytest.skip(f"this machine's AWS SDK is older than the member: {error}")
            raise

    def launch(self, family, definition, run):
        """Start a task; returns its ARN."""
        arguments = {"taskDefinition": self.register(family, definition), **run}
        if definition["networkMode"] == "awsvpc":
            arguments.setdefault("networkConfiguration", self.network_arguments)
        answer = self.ecs.run_task(**arguments)
        assert answer["failures"] == [], answer["failures"]
        return answer["tasks"][0]["taskArn"]

    def start_of(self, function):
        """Start the task of a test; returns its ARN."""
        return self.launch(function.__name__, *function.task)

    def describe(self, arn):
        return self.ecs.describe_tasks(tasks=[arn])["tasks"][0]

    def until(self, arn, seconds=support.PATIENCE, **wanted):
        def reached():
            found = self.describe(arn)
            return found if all(found.get(key) == value for key, value in wanted.items()) else None
        reached.__doc__ = f"{wanted} of {arn}"
        return support.wait_for(reached, seconds)

    def stopped(self, arn, seconds=support.PATIENCE):
        return Ended(self, self.until(arn, seconds, lastStatus="STOPPED"))

    def run_all(self, functions):
        """Start the tasks of tests, given by name; returns ARNs, or why there is none, by name."""
        found = {}
        for name, function in functions.items():
            try:
                found[name] = self.start_of(function)
            # The test that it belongs to fails or skips for it, not the first of the module.
            except (Exception, pytest.skip.Exception) as error:  # pylint: disable=broad-except
                found[name] = error
        return found

    def wait_all(self, arns, seconds=support.PATIENCE):
        def over():
            """all tasks STOPPED"""
            return all(one["lastStatus"] == "STOPPED" for start in range(0, len(arns), 100)
                       for one in self.ecs.describe_tasks(tasks=arns[start:start + 100])["tasks"])
        support.wait_for(over, seconds, 0.05)

    def commands(self, arn, container):
        """Command lines of a container's processes, as this host sees them."""
        task_id = arn.rsplit("/", 1)[1]
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
                    paths = {line.rstrip("\n").split(":", 2)[2] for line in file}
                if any(task_id in path and path.endswith(f"-{container}") for path in paths):
                    with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                        found.append(file.read())
            except OSError:
                continue  # it has ended
        return found

    def control(self, arn, v2, v1, container=None):
        """A control file of a task's or a container's cgroup: `v1` is CONTROLLER/FILE."""
        task_id = arn.rsplit("/", 1)[1]
        controller, name = v1.split("/")
        mount = f"/sys/fs/cgroup/{controller}"
        if not os.path.isdir(mount):
            mount, name = "/sys/fs/cgroup", v2
        for instance in filter(lambda one: one.startswith("berth-"), os.listdir(mount)):
            folder = os.path.join(mount, instance, task_id)
            if not os.path.isdir(folder):
                continue
            if container is not None:
                folder = next(os.path.join(folder, one) for one in os.listdir(folder)
                              if one.endswith(f"-{container}"))
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                return file.read().strip()
        raise AssertionError(f"no cgroup of {arn} below {mount}")

    def cpu_quota(self, arn):
        """Cores that a task may use."""
        return int(self.control(arn, "cpu.max", "cpu/cpu.cfs_quota_us").split()[0]) / 100000

    def memory_limit(self, arn, container=None):
        """Bytes that a task or a container may use; a huge number for no limit."""
        text = self.control(arn, "memory.max", "memory/memory.limit_in_bytes", container)
        return 1 << 62 if text == "max" else int(text)

    def soft_limit(self, arn, container):
        return int(self.control(arn, "memory.low", "memory/memory.soft_limit_in_bytes", container))

    def shares(self, arn, container, want):
        """Whether a container has that share of the CPU; crun makes v2's weight out of it."""
        have = int(self.control(arn, "cpu.weight", "cpu/cpu.shares", container))
        return have in (want, 1 + (want - 2) * 9999 // 262142)


def make_node(folder, *options):
    """A node for a module's tests; ended, and checked that it ends well, after them."""
    node = Node(folder, "--cpu-units", str(UNITS), "--memory-mib", str(UNITS),
                *options)
    try:
        node.begin()
        node.network_arguments = node.network()
        yield node
    finally:
        status = node.stop()
    assert status == 0, node.tail()
