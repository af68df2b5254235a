"""Messages and rules of tasks, their protection, and the container instances that run them.

The world is a `berth server` whose hosts are stock_agent.StockAgent: they run nothing, so that a
case decides what they report.
"""
import datetime

import botocore.exceptions
import pytest

import stock_agent
from messages import Case, Refusal, Unreachable, World, refusal, refused, send

CLIENT = "ClientException"
INVALID = "InvalidParameterException"
PULL_START = datetime.datetime(2026, 1, 1, 0, 0, 1, tzinfo=datetime.timezone.utc)
PULL_STOP = datetime.datetime(2026, 1, 1, 0, 0, 2, tzinfo=datetime.timezone.utc)
ENDED = datetime.datetime(2026, 1, 1, 0, 0, 3, tzinfo=datetime.timezone.utc)
CHECK = {"command": ["CMD", "true"]}


class TaskWorld(World):
    """Cluster `c` has one instance, `host`; `pool` is a host of Fargate; `empty` has none."""

    def __init__(self, berth):
        super().__init__(berth)
        for name in ("c", "empty", "providers"):
            self.ecs.create_cluster(clusterName=name)
        self.ecs.put_cluster_capacity_providers(
            cluster="providers", capacityProviders=["FARGATE", "FARGATE_SPOT"],
            defaultCapacityProviderStrategy=[{"capacityProvider": "FARGATE", "weight": 1}])
        self.host = stock_agent.StockAgent(berth, "c").connect()
        self.pool = stock_agent.StockAgent(berth).connect()
        self.made = []
        self.network = berth.network()
        self.words.update(host=self.host.arn, subnet=self.network["awsvpcConfiguration"]["subnets"][0])
        self.zone = {"awsvpcConfiguration": {**self.network["awsvpcConfiguration"],
                                             "subnets": [self.words["subnet"]]}}
        register = self.ecs.register_task_definition
        register(family="job", containerDefinitions=[
            {"name": "a", "image": "i:1", "memory": 64, "memoryReservation": 32, "cpu": 10},
            {"name": "b", "image": "i:2", "memory": 64, "essential": False}])
        register(family="ports", containerDefinitions=[
            {"name": "a", "image": "i", "memory": 64, "portMappings": [
                {"containerPort": 80, "hostPort": 8080}]}])
        register(family="checked", containerDefinitions=[
            {"name": "a", "image": "i", "memory": 64, "healthCheck": CHECK},
            {"name": "b", "image": "i", "memory": 64, "healthCheck": CHECK},
            {"name": "c", "image": "i", "memory": 64},
            {"name": "d", "image": "i", "memory": 64, "essential": False, "healthCheck": CHECK}])
        register(family="vpc", networkMode="awsvpc",
                 containerDefinitions=[{"name": "a", "image": "i", "memory": 64}])
        register(family="web", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256",
                 memory="512", containerDefinitions=[{"name": "a", "image": "i"}],
                 tags=[{"key": "from", "value": "definition"}, {"key": "both", "value": "lost"}])
        register(family="stored", networkMode="awsvpc", requiresCompatibilities=["FARGATE"],
                 cpu="256", memory="512", ephemeralStorage={"sizeInGiB": 30},
                 containerDefinitions=[{"name": "a", "image": "i"}])

    def ask_for(self, operation, cluster="c", **more):
        """RunTask or StartTask; what it makes is ended with the case."""
        answer = send(self.ecs, operation, {"cluster": cluster, **more})
        self.made += [(cluster, task) for task in answer["tasks"]]
        return answer

    def run(self, family="job", cluster="c", **more):
        """RunTask on the instance; returns the task as it was answered."""
        answer = self.ask_for("RunTask", cluster, taskDefinition=family, **more)
        assert answer["failures"] == [], answer["failures"]
        return answer["tasks"][0]

    def fargate(self, family="web", **more):
        """RunTask on Fargate; returns the task as it was answered."""
        return self.run(family, launchType="FARGATE", networkConfiguration=self.zone, **more)

    def show(self, task, **more):
        return self.ecs.describe_tasks(cluster="c", tasks=[task["taskArn"]], **more)["tasks"][0]

    def agent(self, task):
        return self.pool if task["launchType"] == "FARGATE" else self.host

    def report(self, task, status, **members):
        """What the task's host tells of it; returns the task as it is shown then."""
        self.agent(task).task(task["taskArn"], status, **members)
        return self.show(task)

    def pending(self, task):
        return stock_agent.wait_status(self.ecs, "c", task["taskArn"], "PENDING")

    def end(self, task, **members):
        """The host tells that the task ended; returns it STOPPED."""
        self.agent(task).task(task["taskArn"], "STOPPED", **members)
        return stock_agent.wait_status(self.ecs, "c", task["taskArn"], "STOPPED")

    def stop(self, task, **more):
        return self.ecs.stop_task(cluster="c", task=task["taskArn"], **more)["task"]

    def close(self):
        """Nothing is left on the two hosts that a later case would see."""
        for cluster, task in self.made:
            if cluster in ("c", "providers"):
                self.ecs.stop_task(cluster=cluster, task=task["taskArn"])
                self.agent(task).task(task["taskArn"], "STOPPED")
        self.made = []


def plain(value):
    """Without what is a time, so that the rest can be compared."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()
                if not isinstance(item, datetime.datetime)}
    return [plain(item) for item in value] if isinstance(value, list) else value


def whole(world, task):
    """A task to compare with all of its members; skips where this botocore drops some of them."""
    if "fargateEphemeralStorage" not in world.ecs.meta.service_model.shape_for("Task").members:
        pytest.skip(f"botocore {botocore.__version__} does not know Task.fargateEphemeralStorage")
    return plain(task)


def times(task):
    return sorted(name for name, value in task.items() if isinstance(value, datetime.datetime))


def rule(section, title, want, ask=None, shown=""):
    """A case that is no refusal; without ask it is a decorator for what asks."""
    if ask is not None:
        return Case(section, title, ask, want, shown)

    def take(function):
        CASES.append(Case(section, title, function, want, shown))
        return function
    return take


CASES = []


# ---- 2.1 states ---------------------------------------------------------------------------

def life(world, task):
    """Version, lastStatus and desiredStatus from RunTask to STOPPED."""
    seen = [task]
    if task["lastStatus"] == "PROVISIONING":
        seen.append(world.pending(task))
    seen.append(world.report(task, "RUNNING"))
    seen.append(world.stop(task))
    world.agent(task).wait_stop(task["taskArn"])
    seen.append(world.end(task))
    return [[one["version"], one["lastStatus"], one["desiredStatus"]] for one in seen]


rule("2.1", "versions of a Fargate task (5 is DEPROVISIONING)",
     [[1, "PROVISIONING", "RUNNING"], [2, "PENDING", "RUNNING"], [3, "RUNNING", "RUNNING"],
      [4, "RUNNING", "STOPPED"], [6, "STOPPED", "STOPPED"]])(lambda w: life(w, w.fargate()))
rule("2.1", "versions of a bridge task: nothing is provisioned",
     [[1, "PENDING", "RUNNING"], [2, "RUNNING", "RUNNING"], [3, "RUNNING", "STOPPED"],
      [4, "STOPPED", "STOPPED"]])(lambda w: life(w, w.run()))


@rule("2.1", "an attachment's status is no change of version", [2, 2, "ATTACHED"])
def _(world):
    task = world.fargate()
    before = world.pending(task)
    account, region = world.words["account"], world.words["region"]
    arn = f"arn:aws:ecs:{region}:{account}:attachment/{task['attachments'][0]['id']}"
    world.pool.ecs.submit_attachment_state_changes(
        attachments=[{"attachmentArn": arn, "status": "ATTACHED"}])
    after = world.show(task)
    return [before["version"], after["version"], after["attachments"][0]["status"]]


@rule("2.1", "a report that comes twice, or late, changes nothing", [2, 2, "RUNNING"])
def _(world):
    task = world.run()
    first = world.report(task, "RUNNING")
    world.report(task, "RUNNING")
    last = world.report(task, "PENDING")
    return [first["version"], last["version"], last["lastStatus"]]


@rule("2.1", "times of a task from RunTask to STOPPED", [
    ["createdAt"], ["connectivityAt", "createdAt"],
    ["connectivityAt", "createdAt", "pullStartedAt", "pullStoppedAt", "startedAt"],
    ["connectivityAt", "createdAt", "pullStartedAt", "pullStoppedAt", "startedAt", "stoppingAt"],
    ["connectivityAt", "createdAt", "executionStoppedAt", "pullStartedAt", "pullStoppedAt",
     "startedAt", "stoppedAt", "stoppingAt"]])
def _(world):
    task = world.fargate()
    seen = [task, world.pending(task)]
    seen.append(world.report(task, "RUNNING", pullStartedAt=PULL_START, pullStoppedAt=PULL_STOP))
    seen.append(world.stop(task))
    seen.append(world.end(task, executionStoppedAt=ENDED))
    return [times(one) for one in seen]


@rule("2.1", "times that the agent tells are shown as told",
      ["2026-01-01T00:00:01+00:00", "2026-01-01T00:00:02+00:00", "2026-01-01T00:00:03+00:00"])
def _(world):
    task = world.run()
    world.report(task, "RUNNING", pullStartedAt=PULL_START, pullStoppedAt=PULL_STOP)
    ended = world.end(task, executionStoppedAt=ENDED)
    return [ended[name].astimezone(datetime.timezone.utc).isoformat()
            for name in ("pullStartedAt", "pullStoppedAt", "executionStoppedAt")]


@rule("2.1", "a task that never ran has neither startedAt nor executionStoppedAt",
      ["connectivityAt", "createdAt", "stoppedAt", "stoppingAt"])
def _(world):
    return times(world.end(world.run()))


@rule("2.1", "connectivity before and after the host has the task", [None, "CONNECTED"])
def _(world):
    task = world.fargate()
    return [task.get("connectivity"), world.pending(task)["connectivity"]]


def listed(world, **filters):
    return send(world.ecs, "ListTasks", {"cluster": "c", **filters})["taskArns"]


def three_tasks(world):
    """One of Fargate, one of the instance, one that stopped."""
    starter = world.fresh("starter")
    web = world.fargate(startedBy=starter)
    job = world.run(startedBy=starter)
    gone = world.run(startedBy=starter)
    world.end(gone)
    names = {web["taskArn"]: "web", job["taskArn"]: "job", gone["taskArn"]: "gone"}
    return starter, lambda **filters: sorted(
        names[arn] for arn in listed(world, **filters) if arn in names)


def filtered(title, want, **filters):
    rule("2.1", f"ListTasks {title}", want)(lambda world: three_tasks(world)[1](**filters))


filtered("without a filter: desiredStatus RUNNING", ["job", "web"])
filtered("with desiredStatus PENDING: legal, matches nothing", [], desiredStatus="PENDING")
filtered("with desiredStatus STOPPED", ["gone"], desiredStatus="STOPPED")
filtered("with family", ["job"], family="job")
filtered("with a family that does not exist", [], family="nothing")
filtered("with launchType FARGATE", ["web"], launchType="FARGATE")
filtered("with launchType EC2", ["job"], launchType="EC2")
filtered("with a containerInstance that does not exist", [], containerInstance="nothing")


@rule("2.1", "ListTasks with containerInstance", ["job"])
def _(world):
    return three_tasks(world)[1](containerInstance=world.host.arn)


@rule("2.1", "ListTasks with startedBy, and with desiredStatus STOPPED", [["job", "web"], ["gone"]])
def _(world):
    starter, show = three_tasks(world)
    return [show(startedBy=starter), show(startedBy=starter, desiredStatus="STOPPED")]


for more in ({"family": "job"}, {"launchType": "EC2"}, {"containerInstance": "x"},
             {"serviceName": "x"}):
    CASES.append(refusal("2.1", f"ListTasks with startedBy and {[*more][0]}", "ListTasks",
                         {"cluster": "c", "startedBy": "me", **more}, INVALID,
                         "startedBy must be the only filter."))

CASES += [
    refusal("2.1", "ListTasks with serviceName", "ListTasks",
            {"cluster": "c", "serviceName": "x"}, "ServiceNotFoundException", "Service not found."),
    refusal("2.1", "ListTasks of a cluster that does not exist", "ListTasks", {"cluster": "none"},
            "ClusterNotFoundException", "Cluster not found."),
    refusal("2.1", "DescribeTasks of a cluster that does not exist", "DescribeTasks",
            {"cluster": "none", "tasks": ["x"]}, "ClusterNotFoundException", "Cluster not found."),
    refusal("2.5", "DescribeTasks without tasks", "DescribeTasks", {"cluster": "c", "tasks": []},
            INVALID, "Tasks cannot be empty."),
    rule("2.1", "DescribeTasks of an id that does not exist",
         [{"arn": "arn:aws:ecs:⟨region⟩:⟨account⟩:task/c/x", "reason": "MISSING"}],
         lambda w: w.ecs.describe_tasks(cluster="c", tasks=["x"])["failures"]),
    rule("2.1", "DescribeTasks of an ARN of another cluster",
         [{"arn": "arn:aws:ecs:⟨region⟩:⟨account⟩:task/empty/x", "reason": "MISSING"}],
         lambda w: w.ecs.describe_tasks(cluster="c", tasks=[
             f"arn:aws:ecs:{w.words['region']}:{w.words['account']}:task/empty/x"])["failures"]),
]


# ---- 2.2 the first answer -----------------------------------------------------------------

ATTRIBUTES = [{"name": "ecs.cpu-architecture", "value": "x86_64"}]
ARN = "arn:aws:ecs:⟨region⟩:⟨account⟩:"


def first_container(name, image, **more):
    return {"containerArn": f"{ARN}container/c/⟨task⟩/⟨uuid⟩", "taskArn": f"{ARN}task/c/⟨task⟩",
            "name": name, "image": image, "lastStatus": "PENDING", "networkInterfaces": [], **more}


rule("2.2", "every member of a bridge task's first answer", {
    "attachments": [], "attributes": ATTRIBUTES, "availabilityZone": "us-east-1a",
    "clusterArn": f"{ARN}cluster/c", "containerInstanceArn": "⟨host⟩",
    "containers": [first_container("a", "i:1", cpu="10", memory="64", memoryReservation="32"),
                   first_container("b", "i:2", cpu="0", memory="64")],
    "cpu": "10", "desiredStatus": "RUNNING", "enableExecuteCommand": False,
    "group": "family:job", "healthStatus": "UNKNOWN", "lastStatus": "PENDING",
    "launchType": "EC2", "memory": "96",
    "overrides": {"containerOverrides": [{"name": "a"}, {"name": "b"}],
                  "inferenceAcceleratorOverrides": []},
    "tags": [], "taskArn": f"{ARN}task/c/⟨task⟩",
    "taskDefinitionArn": f"{ARN}task-definition/job:1", "version": 1,
})(lambda world: plain(world.run()))

rule("2.2", "every member of a Fargate task's first answer", {
    "attachments": [{"id": "⟨uuid⟩", "type": "ElasticNetworkInterface", "status": "PRECREATED",
                     "details": [{"name": "subnetId", "value": "⟨subnet⟩"}]}],
    "attributes": ATTRIBUTES, "availabilityZone": "us-east-1a", "clusterArn": f"{ARN}cluster/c",
    "containers": [first_container("a", "i", cpu="0")],
    "cpu": "256", "desiredStatus": "RUNNING", "enableExecuteCommand": False, "group": "g",
    "healthStatus": "UNKNOWN", "lastStatus": "PROVISIONING", "launchType": "FARGATE",
    "memory": "512", "overrides": {"containerOverrides": [{"name": "a"}],
                                   "inferenceAcceleratorOverrides": []},
    "platformVersion": "1.4.0", "platformFamily": "Linux", "startedBy": "me", "tags": [],
    "taskArn": f"{ARN}task/c/⟨task⟩", "taskDefinitionArn": f"{ARN}task-definition/web:1",
    "version": 1, "ephemeralStorage": {"sizeInGiB": 20},
    "fargateEphemeralStorage": {"sizeInGiB": 20},
})(lambda world: whole(world, world.fargate(group="g", startedBy="me")))


@rule("2.2", "a strategy gives capacityProviderName and launchType", ["FARGATE", "FARGATE"])
def _(world):
    task = world.run("web", cluster="providers", networkConfiguration=world.zone,
                     capacityProviderStrategy=[{"capacityProvider": "FARGATE", "weight": 1},
                                               {"capacityProvider": "FARGATE_SPOT", "weight": 0}])
    return [task["capacityProviderName"], task["launchType"]]


@rule("2.2", "the cluster's default strategy where neither is asked for", ["FARGATE", "FARGATE"])
def _(world):
    task = world.run("web", cluster="providers", networkConfiguration=world.zone)
    return [task["capacityProviderName"], task["launchType"]]


@rule("2.2", "an overridden size and storage are shown", ["512", "1024", 40, 40, "64"])
def _(world):
    task = whole(world, world.fargate(overrides={
        "cpu": "512", "memory": "1024", "ephemeralStorage": {"sizeInGiB": 40},
        "containerOverrides": [{"name": "a", "cpu": 64}]}))
    return [task["cpu"], task["memory"], task["ephemeralStorage"]["sizeInGiB"],
            task["fargateEphemeralStorage"]["sizeInGiB"], task["containers"][0]["cpu"]]


# ---- 2.3 health ---------------------------------------------------------------------------

def healthy(world, **containers):
    """The task's health and that of its containers, after a report of the agent."""
    task = world.run("checked")
    world.report(task, "RUNNING", containers=[
        {"containerName": name, "status": "RUNNING"} for name in "abcd"])
    world.host.health(task["taskArn"], **containers)
    shown = world.show(task)
    return [shown["healthStatus"], *(one["healthStatus"] for one in shown["containers"]),
            shown["desiredStatus"]]


for heading, expected, told in (
        ("nothing reported", ["UNKNOWN"] * 5, {}),
        ("every essential container with a check is HEALTHY",
         ["HEALTHY", "HEALTHY", "HEALTHY", "UNKNOWN", "UNKNOWN"],
         {"a": "HEALTHY", "b": "HEALTHY"}),
        ("one of them is not known", ["UNKNOWN", "HEALTHY", "UNKNOWN", "UNKNOWN", "UNKNOWN"],
         {"a": "HEALTHY"}),
        ("one is UNHEALTHY: a standalone task is not stopped",
         ["UNHEALTHY", "HEALTHY", "UNHEALTHY", "UNKNOWN", "UNKNOWN"],
         {"a": "HEALTHY", "b": "UNHEALTHY"}),
        ("a container without a check has no health whatever is told",
         ["UNKNOWN"] * 5, {"c": "UNHEALTHY"}),
        ("a container that is not essential does not count",
         ["UNKNOWN", "UNKNOWN", "UNKNOWN", "UNKNOWN", "UNHEALTHY"], {"d": "UNHEALTHY"})):
    rule("2.3", f"health of task and containers: {heading}", [*expected, "RUNNING"])(
        lambda world, told=told: healthy(world, **told))


# ---- 2.4 stopCode and stoppedReason -------------------------------------------------------

def why(task):
    """What tells why a task ended."""
    return {"stopCode": task["stopCode"], "stoppedReason": task["stoppedReason"], "containers": [
        {name: one[name] for name in ("exitCode", "reason") if name in one}
        for one in task["containers"]]}


def ended(title, code, told, parts, ran=True, **report):
    """A task that nobody asked to stop, and what its host told."""
    def ask(world):
        task = world.run()
        if ran:
            world.report(task, "RUNNING")
        return why(world.end(task, **report))
    rule("2.4", title, {"stopCode": code, "stoppedReason": told, "containers": parts})(ask)


NOT_FOUND = ("CannotPullContainerError: pull image manifest has been retried 5 time(s): failed to "
             "resolve ref docker.io/library/x:y: not found")
ROLE = ("ResourceInitializationError: unable to pull secrets or registry auth: execution resource "
        "retrieval failed: unable to retrieve ecr registry auth: service call has been retried 3 "
        "time(s): x. Please check your task network configuration.")
FAILED = "TaskFailedToStart"
EXITED = "EssentialContainerExited"
ESSENTIAL = "Essential container in task exited"

ended("it never ran and the agent gives no reason", FAILED, "Task failed to start", [{}, {}],
      ran=False)
ended("it never ran and a container tells why", FAILED, "Task failed to start",
      [{"reason": NOT_FOUND}, {}], ran=False,
      containers=[{"containerName": "a", "status": "STOPPED", "reason": NOT_FOUND}])
ended("it never ran and the agent tells why", FAILED, NOT_FOUND, [{}, {}], ran=False,
      reason=NOT_FOUND)
ended("its resources could not be made", FAILED, ROLE, [{}, {}], ran=False, reason=ROLE)
ended("an essential container ended", EXITED, ESSENTIAL, [{"exitCode": 0}, {"exitCode": 143}],
      containers=[{"containerName": "a", "status": "STOPPED", "exitCode": 0},
                  {"containerName": "b", "status": "STOPPED", "exitCode": 143}])
ended("an essential container was out of memory", EXITED, ESSENTIAL,
      [{"exitCode": 137,
        "reason": "OutOfMemoryError: Container killed due to memory usage"}, {}],
      containers=[{"containerName": "a", "status": "STOPPED", "exitCode": 137,
                   "reason": "OutOfMemoryError: Container killed due to memory usage"}])
ended("an essential container ended before the task was RUNNING", EXITED, ESSENTIAL,
      [{"exitCode": 1}, {}], ran=False,
      containers=[{"containerName": "a", "status": "STOPPED", "exitCode": 1}])
ended("a reason of 1030 characters is cut at 1024", FAILED, "r" * 1024, [{"reason": "s" * 1024}, {}],
      ran=False, reason="r" * 1030,
      containers=[{"containerName": "a", "status": "STOPPED", "reason": "s" * 1030}])
CASES[-1] = Case(*[getattr(CASES[-1], name) for name in ("section", "title", "ask", "want")],
                 "stoppedReason and container.reason of 1024 characters")

for prefix, text in (
        ("DockerTimeoutError", "Could not transition to started; timed out after waiting 3m0s"),
        ("ContainerRuntimeTimeoutError",
         "Could not transition to started; timed out after waiting 3m0s"),
        ("CannotPullContainerError", "pull access denied"),
        ("CannotPullECRContainerError", "pull access denied"),
        ("CannotPullContainerAuthError", "no basic auth credentials"),
        ("CannotPullImageManifestError", "not found"),
        ("CannotCreateContainerError", "failed to get container status: x"),
        ("CannotStartContainerError", "failed to get container status: x"),
        ("CannotStopContainerError", "failed to get container status: x"),
        ("CannotInspectContainerError", "failed to get container status: x"),
        ("CannotDescribeContainerError", "failed to get container status: x"),
        ("CannotCreateVolumeError", "failed to get container status: x"),
        ("OutOfMemoryError", "Container killed due to memory usage"),
        ("DockerStateError", "OCI runtime create failed"),
        ("ContainerRuntimeError", "OCI runtime create failed"),
        ("ResourceInitializationError", "failed to initialize logging driver: x"),
        ("TaskDependencyError", "x"), ("TaskStoppedBeforePullBeginError", "x"),
        ("ContainerNetworkingError", "x"), ("ContainerVanishedError", "x"), ("HostConfigError", "x"),
        ("DockerClientConfigError", "x"), ("InvalidVolumeError", "x"),
        ("ImpossibleStateTransitionError", "x"),
        ("TaskStateError", "Agent could not progress task's state to stopped")):
    line = f"{prefix}: {text}"
    ended(f"container.reason {prefix} as the agent tells it", FAILED, "Task failed to start",
          [{"reason": line}, {}], ran=False,
          containers=[{"containerName": "a", "status": "STOPPED", "reason": line}])


@rule("2.4", "an essential container ends: the others are to stop, the task is still RUNNING",
      ["RUNNING", "STOPPED", "STOPPED", EXITED, ESSENTIAL])
def _(world):
    task = world.run()
    world.report(task, "RUNNING")
    world.host.container(task["taskArn"], "a", "STOPPED", exitCode=0)
    world.host.wait_stop(task["taskArn"])
    shown = world.show(task)
    return [shown["lastStatus"], shown["desiredStatus"], shown["containers"][0]["lastStatus"],
            shown["stopCode"], shown["stoppedReason"]]


@rule("2.4", "a container that is not essential ends: the task goes on", ["RUNNING", "RUNNING", 3])
def _(world):
    task = world.run()
    world.report(task, "RUNNING")
    world.host.container(task["taskArn"], "b", "STOPPED", exitCode=3)
    shown = world.show(task)
    return [shown["lastStatus"], shown["desiredStatus"], shown["containers"][1]["exitCode"]]


@rule("2.4", "StopTask without a reason", ["UserInitiated", "Task stopped by user"])
def _(world):
    stopped = world.stop(world.run())
    return [stopped["stopCode"], stopped["stoppedReason"]]


@rule("2.4", "StopTask with a reason outlasts the agent's own",
      {"stopCode": "UserInitiated", "stoppedReason": "enough",
       "containers": [{"exitCode": 137}, {"exitCode": 0}]})
def _(world):
    task = world.run()
    world.report(task, "RUNNING")
    world.stop(task, reason="enough")
    return why(world.end(task, reason="DockerTimeoutError: x", containers=[
        {"containerName": "a", "status": "STOPPED", "exitCode": 137},
        {"containerName": "b", "status": "STOPPED", "exitCode": 0}]))


def lone_host(world):
    """A cluster with an instance of its own, and a task that runs there."""
    name = world.fresh("lone")
    world.ecs.create_cluster(clusterName=name)
    host = stock_agent.StockAgent(world.berth, name).connect()
    task = world.run(cluster=name)
    host.task(task["taskArn"], "RUNNING")
    return name, host, task


@rule("2.4", "an instance is deregistered by force",
      ["UserInitiated", "Container instance deregistration forced by user"])
def _(world):
    name, host, task = lone_host(world)
    world.ecs.deregister_container_instance(cluster=name, containerInstance=host.arn, force=True)
    host.wait_stop(task["taskArn"])
    shown = stock_agent.status_of(world.ecs, name, task["taskArn"])
    host.disconnect()
    return [shown["stopCode"], shown["stoppedReason"]]


@rule("2.4", "a node is removed by force (no operation of ECS)",
      ["TerminationNotice", "Node ⟨name⟩ was removed by force while it had this task.", "STOPPED"])
def _(world):
    name, host, task = lone_host(world)
    stock_agent.post(world.berth, "Berth.RemoveNode", {"nodeId": host.node_id, "force": True})
    shown = stock_agent.wait_status(world.ecs, name, task["taskArn"], "STOPPED")
    host.disconnect()
    return [shown["stopCode"], shown["stoppedReason"], shown["containers"][0]["lastStatus"]]


# ---- 2.5 RunTask and StartTask ------------------------------------------------------------

def run_refused(title, code, message, family="job", operation="RunTask", **more):
    def ask(world):
        given = {name: value(world) if callable(value) else value for name, value in more.items()}
        return refused(world.ecs, operation,
                       **{"cluster": "c", "taskDefinition": family, **given})
    CASES.append(Case("2.5", f"{operation} {title}", ask, Refusal(code, message)))


def zone(world):
    return world.zone


def subnets(*ids, **more):
    return {"awsvpcConfiguration": {"subnets": list(ids), **more}}


WEB = {"family": "web", "launchType": "FARGATE"}
NETWORKED = {**WEB, "networkConfiguration": zone}
STARTED = ("startedBy can have up to {} characters: letters, numbers, hyphens, forward slashes and "
           "underscores.")
TOKEN = "clientToken can have up to 64 characters of ASCII 33 to 126."
ASSOCIATED = ("The specified capacity provider strategy contains a capacity provider that is not "
              "associated with the cluster. Associate the capacity provider with the cluster and "
              "try again.")

run_refused("in a cluster that does not exist", "ClusterNotFoundException", "Cluster not found.",
            cluster="none")
run_refused("of a definition that does not exist", CLIENT, "TaskDefinition not found.",
            family="nothing")
for number in (0, 11, -1):
    run_refused(f"with count {number}", INVALID, "Count must be between 1 and 10.", count=number)
run_refused("of awsvpc without networkConfiguration", INVALID,
            "Network Configuration must be provided when networkMode 'awsvpc' is specified.", **WEB)
run_refused("of another mode with networkConfiguration", INVALID,
            "Network Configuration is not valid for the given networkMode of this task definition.",
            networkConfiguration=zone)
run_refused("in a cluster without instances", INVALID,
            "No Container Instances were found in your cluster.", cluster="empty")
run_refused("with a launch type that the definition is not for", INVALID,
            "Task definition does not support launch_type FARGATE.", launchType="FARGATE")
run_refused("with launchType MANAGED_INSTANCES", INVALID,
            "launch type should be one of [EC2,FARGATE,EXTERNAL]", launchType="MANAGED_INSTANCES")
run_refused("with launchType EXTERNAL", "UnsupportedFeatureException",
            "Launch type EXTERNAL is not supported by this version of Berth.",
            launchType="EXTERNAL")
run_refused("with launchType and capacityProviderStrategy", INVALID,
            "Specify either Launch Type or Capacity Provider Strategy, but not both.",
            capacityProviderStrategy=[{"capacityProvider": "FARGATE"}], **NETWORKED)
run_refused("with a strategy of a provider that is not the cluster's", INVALID, ASSOCIATED,
            family="web", networkConfiguration=zone,
            capacityProviderStrategy=[{"capacityProvider": "FARGATE"}])
run_refused("with a strategy of two bases", INVALID,
            "Only one capacity provider of a strategy can have a base.", family="web",
            cluster="providers", networkConfiguration=zone, capacityProviderStrategy=[
                {"capacityProvider": "FARGATE", "base": 1, "weight": 1},
                {"capacityProvider": "FARGATE_SPOT", "base": 1}])
run_refused("with a strategy without a weight", INVALID,
            "At least one capacity provider of a strategy must have a weight greater than 0.",
            family="web", cluster="providers", networkConfiguration=zone, capacityProviderStrategy=[
                {"capacityProvider": "FARGATE"}, {"capacityProvider": "FARGATE_SPOT"}])
run_refused("with a platform version that does not exist", "PlatformUnknownException",
            "The specified platform does not exist.", platformVersion="9.9.9", **NETWORKED)
run_refused("with a platform version that the definition cannot have",
            "PlatformTaskDefinitionIncompatibilityException",
            "The specified platform does not satisfy the task definition's required capabilities.",
            platformVersion="1.3.0", **{**NETWORKED, "family": "stored"})
run_refused("on instances with a platform version", INVALID,
            "The platform version must be null when specifying an EC2 launch type.",
            platformVersion="LATEST")
run_refused("with no subnet", INVALID, "subnets can not be empty.",
            networkConfiguration=subnets(), **WEB)
run_refused("with 17 subnets", INVALID, "subnets can have at most 16 items.",
            networkConfiguration=subnets(*["subnet-x"] * 17), **WEB)
run_refused("with a subnet that does not exist", INVALID,
            "Error retrieving subnet information for [subnet-x]: The subnet ID 'subnet-x' does not "
            "exist (ErrorCode: InvalidSubnetID.NotFound)",
            networkConfiguration=subnets("subnet-x"), **WEB)
run_refused("with a security group that does not exist", INVALID,
            "Error retrieving security group information for [sg-x]: The security group 'sg-x' does "
            "not exist (ErrorCode: InvalidGroup.NotFound)",
            networkConfiguration=lambda w: subnets(w.words["subnet"], securityGroups=["sg-x"]),
            **WEB)
run_refused("with 6 security groups", INVALID, "securityGroups can have at most 5 items.",
            networkConfiguration=lambda w: subnets(w.words["subnet"], securityGroups=["sg-x"] * 6),
            **WEB)
run_refused("on instances with a public address", INVALID,
            "Assign public IP is not supported for this launch type.", family="vpc",
            networkConfiguration=lambda w: subnets(w.words["subnet"], assignPublicIp="ENABLED"))
run_refused("with startedBy of 129 characters", INVALID, STARTED.format(128), startedBy="a" * 129)
run_refused("with startedBy of other characters", INVALID, STARTED.format(128), startedBy="a b")
run_refused("with a clientToken of 65 characters", INVALID, TOKEN, clientToken="a" * 65)
run_refused("with a clientToken of other characters", INVALID, TOKEN, clientToken="a b")
run_refused("with propagateTags SERVICE", INVALID,
            "Invalid value for propagateTags: a task that no service starts has no service to take "
            "tags from.", propagateTags="SERVICE")
run_refused("with 6 placement strategies", INVALID, "A task can have at most 5 placement strategies.",
            placementStrategy=[{"type": "random"}] * 6)
run_refused("with placement constraints on Fargate", INVALID,
            "Placement constraints are not supported with FARGATE launch type.",
            placementConstraints=[{"type": "distinctInstance"}], **NETWORKED)
run_refused("with placement strategies on Fargate", INVALID,
            "Placement strategies are not supported with FARGATE launch type.",
            placementStrategy=[{"type": "random"}], **NETWORKED)
run_refused("with volumes that are configured at launch", "UnsupportedFeatureException",
            "Volumes that are configured at launch are not supported by this version of Berth.",
            volumeConfigurations=[{"name": "v"}])


def overridden(title, code, message, overrides, base=None):
    run_refused(f"with {title}", code, message, overrides=overrides, **(base or {}))


overridden("an override of an unknown container", INVALID,
           "Override for container named x is not a container in the TaskDefinition.",
           {"containerOverrides": [{"name": "x"}]})
overridden("overrides of more than 8192 characters", INVALID,
           "Container Overrides length must be at most 8192",
           {"containerOverrides": [{"name": "a", "command": ["x" * 8192]}]})
overridden("an overridden size that Fargate has not", CLIENT,
           "No Fargate configuration exists for given values.",
           {"cpu": "512", "memory": "512"}, NETWORKED)
overridden("an override of ephemeralStorage below 21 GiB", CLIENT,
           "Invalid setting for ephemeralStorage: 'sizeInGiB' must be between 21 and 200.",
           {"ephemeralStorage": {"sizeInGiB": 20}}, NETWORKED)
overridden("a role that is none", CLIENT, "Role is not valid", {"taskRoleArn": "a b"})
overridden("an override of memory below 6 MiB", CLIENT,
           "Invalid 'memory' setting for container 'a'.",
           {"containerOverrides": [{"name": "a", "memory": 5}]})


@rule("2.5", "overrides are shown with every container listed",
      {"containerOverrides": [
          {"name": "a", "command": ["x"], "environment": [{"name": "K", "value": "V"}],
           "memory": 100},
          {"name": "b"}], "inferenceAcceleratorOverrides": [], "taskRoleArn": "r"})
def _(world):
    return world.run(overrides={"taskRoleArn": "r", "containerOverrides": [
        {"name": "a", "command": ["x"], "environment": [{"name": "K", "value": "V"}],
         "memory": 100}]})["overrides"]


def conflict(world):
    """The error, and whether its resourceIds are the tasks that the token made."""
    token = world.fresh("token")
    first = world.ask_for("RunTask", taskDefinition="job", count=2, clientToken=token)["tasks"]
    try:
        world.ecs.run_task(cluster="c", taskDefinition="job", count=1, clientToken=token)
    except botocore.exceptions.ClientError as error:
        told = error.response["Error"]
        made = sorted(task["taskArn"] for task in first)
        return [told["Code"], told["Message"], sorted(error.response["resourceIds"]) == made]
    return None


@rule("2.5", "a clientToken again with the same parameters gives the same tasks", [2, True])
def _(world):
    given = {"taskDefinition": "job", "count": 2, "clientToken": world.fresh("token")}
    first, second = (sorted(task["taskArn"] for task in world.ask_for("RunTask", **given)["tasks"])
                     for _ in range(2))
    return [len(first), first == second]


rule("2.5", "a clientToken again with other parameters; resourceIds are its tasks",
     ["ConflictException", "The clientToken was used before for a request with other parameters.",
      True])(conflict)


def tags_of(world, **more):
    task = world.fargate(**more)
    shown = world.show(task, include=["TAGS"])["tags"]
    assert world.show(task)["tags"] == []
    return {tag["key"]: tag["value"] for tag in shown}


rule("2.5", "tags of the request win over those of the definition; shown with include TAGS only",
     {"own": "1", "both": "won", "from": "definition"})(lambda w: tags_of(
         w, propagateTags="TASK_DEFINITION",
         tags=[{"key": "own", "value": "1"}, {"key": "both", "value": "won"}]))
rule("2.5", "tags of the definition are not taken unless asked for", {})(tags_of)
rule("2.5", "enableECSManagedTags", {"aws:ecs:clusterName": "c"})(
    lambda w: tags_of(w, enableECSManagedTags=True))


# ---- failures -----------------------------------------------------------------------------

def failures(world, operation="RunTask", **more):
    answer = world.ask_for(operation, **{"taskDefinition": "job", **more})
    return [[one.get("arn"), one["reason"]] for one in answer["failures"]]


def failing(title, reason, prepare=None, **more):
    """A task that its cluster's one instance does not take."""
    def ask(world):
        given = prepare(world) if prepare else {}
        return failures(world, **{**more, **given})
    rule("2.5", f"failure {title}", [["⟨arn⟩", reason]])(ask)


def sized(**container):
    def prepare(world):
        family = world.fresh("sized")
        world.ecs.register_task_definition(family=family, containerDefinitions=[
            {"name": "a", "image": "i", "memory": 64, **container}])
        return {"taskDefinition": family}
    return prepare


def lacking(*names, **more):
    """A cluster whose only instance lacks capabilities."""
    def prepare(world):
        name = world.fresh("lacking")
        world.ecs.create_cluster(clusterName=name)
        stock_agent.StockAgent(world.berth, name, lacks=names, **more).connect()
        return {"cluster": name}
    return prepare


def offline(world):
    name = world.fresh("offline")
    world.ecs.create_cluster(clusterName=name)
    stock_agent.StockAgent(world.berth, name)
    return {"cluster": name}


def elsewhere(world):
    given = lacking(zone="us-east-1b")(world)
    return {**given, "taskDefinition": "vpc", "networkConfiguration": world.zone}


def ports_taken(world):
    world.run("ports")
    return {"taskDefinition": "ports"}


def no_interfaces(world):
    given = lacking(attributes=[{"name": "berth.eni-slots", "value": "0"}])(world)
    return {**given, "taskDefinition": "vpc", "networkConfiguration": world.zone}


failing("RESOURCE:CPU", "RESOURCE:CPU", sized(cpu=5000))
failing("RESOURCE:MEMORY", "RESOURCE:MEMORY", sized(memory=9000))
failing("RESOURCE:PORTS, of another task", "RESOURCE:PORTS", ports_taken)
failing("RESOURCE:PORTS, reserved by the agent", "RESOURCE:PORTS",
        sized(portMappings=[{"containerPort": 22, "hostPort": 22}]))
failing("RESOURCE:ENI", "RESOURCE:ENI", no_interfaces)
failing("RESOURCE:GPU", "RESOURCE:GPU",
        sized(resourceRequirements=[{"type": "GPU", "value": "1"}]))
failing("AGENT", "AGENT", offline)
failing("ATTRIBUTE", "ATTRIBUTE", lacking("com.amazonaws.ecs.capability.docker-remote-api.1.18"))
failing("of memberOf", "MemberOf placement constraint unsatisfied.",
        placementConstraints=[{"type": "memberOf", "expression": "attribute:rack == r1"}])


@rule("2.5", "failure of distinctInstance",
      [["⟨host⟩", "DistinctInstance placement constraint unsatisfied."]])
def _(world):
    world.run(group="alone")
    return failures(world, group="alone", placementConstraints=[{"type": "distinctInstance"}])


@rule("2.5", "Fargate out of capacity: one failure for each task, without an arn", [
    [None, "Capacity is unavailable at this time. Please try again later or in a different "
           "availability zone"]] * 2)
def _(world):
    return failures(world, count=2, taskDefinition="web", launchType="FARGATE",
                    networkConfiguration=world.zone,
                    overrides={"cpu": "16384", "memory": "122880"})


@rule("2.5", "a task of FARGATE_SPOT alone finds no capacity", [
    [None, "Capacity is unavailable at this time. Please try again later or in a different "
           "availability zone"]])
def _(world):
    return failures(world, cluster="providers", taskDefinition="web",
                    networkConfiguration=world.zone,
                    capacityProviderStrategy=[{"capacityProvider": "FARGATE_SPOT"}])


@rule("2.5", "StartTask puts a task on each instance that is named", ["⟨host⟩", "⟨host⟩"])
def _(world):
    answer = world.ask_for(
        "StartTask", taskDefinition="job", startedBy="a" * 36,
        containerInstances=[world.host.arn, world.host.arn.rsplit("/", 1)[1]])
    return [task["containerInstanceArn"] for task in answer["tasks"]]


@rule("2.5", "StartTask of an instance that does not exist",
      [[f"{ARN}container-instance/c/x", "MISSING"]])
def _(world):
    return failures(world, "StartTask", containerInstances=["x"])


@rule("2.5", "StartTask on an instance that was deregistered", [["⟨arn⟩", "INACTIVE"]])
def _(world):
    name, host, _ = lone_host(world)
    world.ecs.deregister_container_instance(cluster=name, containerInstance=host.arn, force=True)
    got = failures(world, "StartTask", cluster=name, containerInstances=[host.arn])
    host.disconnect()
    return got


@rule("2.5", "StartTask in another zone than the subnets'", [["⟨arn⟩", "LOCATION"]])
def _(world):
    given = elsewhere(world)
    arns = world.ecs.list_container_instances(cluster=given["cluster"])["containerInstanceArns"]
    return failures(world, "StartTask", containerInstances=arns, **given)


def start_refused(title, code, message, instances=("x",), **more):
    run_refused(title, code, message, operation="StartTask", containerInstances=list(instances),
                **more)


start_refused("with startedBy of 37 characters", INVALID, STARTED.format(36), startedBy="a" * 37)
start_refused("of a definition that does not exist", CLIENT, "TaskDefinition not found.",
              family="nothing")
start_refused("in a cluster that does not exist", "ClusterNotFoundException", "Cluster not found.",
              cluster="none")
start_refused("with an override of an unknown container", INVALID,
              "Override for container named x is not a container in the TaskDefinition.",
              overrides={"containerOverrides": [{"name": "x"}]})
start_refused("of awsvpc without networkConfiguration", INVALID,
              "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
              family="vpc")


# ---- 2.6 stopping -------------------------------------------------------------------------

CASES += [
    refusal("2.6", "StopTask of a task that does not exist", "StopTask",
            {"cluster": "c", "task": "x"}, INVALID, "The referenced task was not found."),
    refusal("2.6", "StopTask in a cluster that does not exist", "StopTask",
            {"cluster": "none", "task": "x"}, "ClusterNotFoundException", "Cluster not found."),
]


@rule("2.6", "StopTask answers at once: lastStatus, desiredStatus, stopCode, stoppingAt",
      ["RUNNING", "STOPPED", "UserInitiated", True, False])
def _(world):
    task = world.run()
    world.report(task, "RUNNING")
    stopped = world.stop(task)
    return [stopped["lastStatus"], stopped["desiredStatus"], stopped["stopCode"],
            "stoppingAt" in stopped, "stoppedAt" in stopped]


@rule("2.6", "StopTask of a stopped task changes nothing", [True, "STOPPED", "first"])
def _(world):
    task = world.run()
    world.stop(task, reason="first")
    before = world.end(task)
    after = world.stop(task, reason="second")
    return [before["version"] == after["version"], after["lastStatus"], after["stoppedReason"]]


@rule("2.6", "draining leaves standalone tasks alone", ["DRAINING", "RUNNING", "RUNNING"])
def _(world):
    name, host, task = lone_host(world)
    drained = world.ecs.update_container_instances_state(
        cluster=name, containerInstances=[host.arn], status="DRAINING")["containerInstances"]
    shown = stock_agent.status_of(world.ecs, name, task["taskArn"])
    host.disconnect()
    return [drained[0]["status"], shown["lastStatus"], shown["desiredStatus"]]


# ---- 2.7 protection -----------------------------------------------------------------------

def protection(world, task, operation="UpdateTaskProtection", **more):
    answer = send(world.ecs, operation, {"cluster": "c", "tasks": [task], **more})
    return [answer["protectedTasks"], [[one["arn"], one["reason"]] for one in answer["failures"]]]


rule("2.7", "UpdateTaskProtection of a standalone task",
     [[], [[f"{ARN}task/c/⟨task⟩", "TASK_NOT_VALID"]]])(
         lambda w: protection(w, w.run()["taskArn"], protectionEnabled=True))
rule("2.7", "UpdateTaskProtection of a task that does not exist",
     [[], [[f"{ARN}task/c/x", "MISSING"]]])(
         lambda w: protection(w, "x", protectionEnabled=True))
rule("2.7", "GetTaskProtection of a task that does not exist",
     [[], [[f"{ARN}task/c/x", "MISSING"]]])(
         lambda w: protection(w, "x", "GetTaskProtection"))
for minutes in (0, 2881):
    CASES.append(refusal("2.7", f"UpdateTaskProtection for {minutes} minutes",
                         "UpdateTaskProtection",
                         {"cluster": "c", "tasks": ["x"], "protectionEnabled": True,
                          "expiresInMinutes": minutes}, INVALID,
                         "expiresInMinutes must be between 1 and 2880."))
CASES.append(refusal("2.7", "UpdateTaskProtection in a cluster that does not exist",
                     "UpdateTaskProtection",
                     {"cluster": "none", "tasks": ["x"], "protectionEnabled": True},
                     "ClusterNotFoundException", "Cluster not found."))


# ---- 2.8 attachments ----------------------------------------------------------------------

@rule("2.8", "statuses and details of a task's interface from RunTask to STOPPED", [
    ["PRECREATED", ["subnetId"]],
    ["ATTACHING", ["subnetId", "networkInterfaceId", "macAddress", "privateDnsName",
                   "privateIPv4Address"]],
    ["ATTACHED", ["subnetId", "networkInterfaceId", "macAddress", "privateDnsName",
                  "privateIPv4Address"]],
    ["DELETED", ["subnetId", "networkInterfaceId", "macAddress", "privateDnsName",
                 "privateIPv4Address"]]])
def _(world):
    task = world.fargate()
    seen = [task, world.pending(task), world.report(task, "RUNNING")]
    world.stop(task)
    seen.append(world.end(task))
    return [[one["attachments"][0]["status"],
             [detail["name"] for detail in one["attachments"][0]["details"]]] for one in seen]


@rule("2.8", "an interface keeps id, address and name after it is gone", [True, True])
def _(world):
    task = world.fargate()
    before = world.pending(task)
    world.stop(task)
    after = world.end(task)
    return [before["attachments"][0]["details"] == after["attachments"][0]["details"],
            before["containers"][0]["networkInterfaces"]
            == after["containers"][0]["networkInterfaces"]]


# ---- 3.2 and 3.3 agents -------------------------------------------------------------------

def registered(world, **more):
    return send(world.ecs, "RegisterContainerInstance", {
        "cluster": "empty-of-agents", "totalResources": stock_agent.RESOURCES, **more})[
            "containerInstance"]


def one_of(world, **more):
    """An instance of a cluster of its own, which is offline; returns it as registered."""
    name = world.fresh("instances")
    world.ecs.create_cluster(clusterName=name)
    return name, registered(world, cluster=name, **more)


@rule("3.2", "every attribute that was sent comes back with its value; ECS's are added", {
    "rack": "r1", "com.amazonaws.ecs.capability.x": None, "ecs.os-type": "linux",
    "ecs.os-family": "LINUX", "ecs.availability-zone": "us-east-1b",
    "ecs.cpu-architecture": "x86_64", "ecs.instance-type": "berth"})
def _(world):
    _, made = one_of(world, attributes=[
        {"name": "rack", "value": "r1"}, {"name": "com.amazonaws.ecs.capability.x"},
        {"name": "ecs.availability-zone", "value": "us-east-1b"}])
    return {one["name"]: one.get("value") for one in made["attributes"]}


@rule("3.2", "resources have every kind of number, and what is left of them", {
    "CPU": [4096, 4096, 0.0, 0], "MEMORY": [8192, 8192, 0.0, 0]})
def _(world):
    _, made = one_of(world)
    left = {one["name"]: one["integerValue"] for one in made["remainingResources"]}
    return {one["name"]: [one["integerValue"], left[one["name"]], one["doubleValue"],
                          one["longValue"]]
            for one in made["registeredResources"] if one["type"] == "INTEGER"}


@rule("3.2", "remainingResources PORTS lists those in use", ["22", "2375", "2376", "51678", "8080"])
def _(world):
    world.run("ports")
    shown = world.ecs.describe_container_instances(
        cluster="c", containerInstances=[world.host.arn])["containerInstances"][0]
    return next(one["stringSetValue"] for one in shown["remainingResources"]
                if one["name"] == "PORTS")


@rule("3.2", "runningTasksCount counts desiredStatus RUNNING, pendingTasksCount PENDING",
      [[1, 1], [1, 0], [0, 0]])
def _(world):
    task = world.run()

    def counts():
        shown = world.ecs.describe_container_instances(
            cluster="c", containerInstances=[world.host.arn])["containerInstances"][0]
        return [shown["runningTasksCount"], shown["pendingTasksCount"]]
    seen = [counts()]
    world.report(task, "RUNNING")
    seen.append(counts())
    world.stop(task)
    return [*seen, counts()]


@rule("3.2", "agentConnected is the open session", [False, True])
def _(world):
    _, made = one_of(world)
    shown = world.ecs.describe_container_instances(
        cluster="c", containerInstances=[world.host.arn])["containerInstances"][0]
    return [made["agentConnected"], shown["agentConnected"]]


@rule("3.2", "an agent that registers again with its ARN is the same instance", [True, 2])
def _(world):
    name, made = one_of(world)
    again = registered(world, cluster=name, containerInstanceArn=made["containerInstanceArn"])
    return [again["containerInstanceArn"] == made["containerInstanceArn"], again["version"]]


def with_instance(operation, title, code, message, **more):
    def ask(world):
        name, made = one_of(world)
        given = {name: value(made["containerInstanceArn"]) if callable(value) else value
                 for name, value in more.items()}
        return refused(world.ecs, operation, cluster=name, **given)
    CASES.append(Case("3.2", f"{operation} {title}", ask, Refusal(code, message)))


with_instance("UpdateContainerInstancesState", "to a status that is not to be set", INVALID,
              "Container instance status should be one of [ACTIVE, DRAINING]",
              containerInstances=lambda arn: [arn], status="DEREGISTERING")
with_instance("DeregisterContainerInstance", "of one that does not exist", INVALID,
              "Referenced container instance x not found.", containerInstance="x")


@rule("3.2", "DeregisterContainerInstance of one with tasks, without force",
      [INVALID, "Found running tasks on the instance."])
def _(world):
    name, host, _ = lone_host(world)
    told = refused(world.ecs, "DeregisterContainerInstance", cluster=name,
                   containerInstance=host.arn)
    host.disconnect()
    return list(told)


@rule("3.2", "UpdateContainerInstancesState of one that does not exist",
      [[f"{ARN}container-instance/c/x", "MISSING"]])
def _(world):
    answer = world.ecs.update_container_instances_state(
        cluster="c", containerInstances=["x"], status="DRAINING")
    return [[one["arn"], one["reason"]] for one in answer["failures"]]


@rule("3.2", "DescribeContainerInstances of one that was deregistered: INACTIVE",
      ["INACTIVE", False])
def _(world):
    name, host, task = lone_host(world)
    world.ecs.deregister_container_instance(cluster=name, containerInstance=host.arn, force=True)
    shown = world.ecs.describe_container_instances(
        cluster=name, containerInstances=[host.arn])["containerInstances"][0]
    host.task(task["taskArn"], "STOPPED")
    host.disconnect()
    return [shown["status"], shown["agentConnected"]]


CASES += [
    refusal("3.2", "RegisterContainerInstance in a cluster that does not exist",
            "RegisterContainerInstance",
            {"cluster": "none", "totalResources": stock_agent.RESOURCES},
            "ClusterNotFoundException", "Cluster not found."),
    rule("3.3", "DiscoverPollEndpoint: base URLs to which the agent appends `ws`",
         {"endpoint": "⟨server⟩/acs/", "telemetryEndpoint": "⟨server⟩/tcs/",
          "serviceConnectEndpoint": "⟨server⟩/acs/"},
         lambda w: {name: url for name, url in w.ecs.discover_poll_endpoint().items()
                    if name != "ResponseMetadata"}),
]


UNREACHABLE = [
    Unreachable("2.4", "Timeout waiting for network interface provisioning to complete.",
                "an interface is made in the same step as its task, and its host attaches it when it "
                "starts the task"),
    Unreachable("2.4", "Timeout waiting for EphemeralStorage provisioning to complete.",
                "a task's storage is on its host: nothing is provisioned"),
    Unreachable("2.4", "ECS was unable to assume the role '⟨arn⟩' that was provided for this task. "
                "Please verify that the role being passed has the proper trust relationship and "
                "permissions and that your IAM user has permissions to pass this role.",
                "roles are not looked at until there is IAM"),
    Unreachable("2.4", "Unexpected EC2 error while attempting to Create Network Interface with "
                "public IP assignment enabled in subnet '⟨subnet⟩': "
                "InsufficientFreeAddressesInSubnet",
                "a subnet without a free address is a failure of RunTask: RESOURCE:ENI, or of "
                "Fargate's capacity with the subnet's name in detail"),
    Unreachable("2.4", "Scaling activity initiated by (deployment ecs-svc/⟨id⟩)",
                "there are no services yet"),
    Unreachable("2.4", "Task failed ELB health checks in (target-group ⟨arn⟩)",
                "there are no services yet"),
    Unreachable("2.4", "Task failed container health checks", "there are no services yet"),
    Unreachable("2.4", "Your Spot Task was interrupted.", "there is no pool of FARGATE_SPOT"),
    Unreachable("2.4", "ECS is performing maintenance on the underlying infrastructure hosting the "
                "task.", "hosts are the user's own: none is retired by Berth"),
    Unreachable("2.4", "Host EC2 (instance ⟨id⟩) terminated.",
                "hosts are no EC2 instances; one that is removed by force is named in the reason"),
    Unreachable("2.5", "Task definition does not support launch_type EC2.",
                "what can be registered can run on instances"),
    Unreachable("2.5", "EMPTY CAPACITY PROVIDER", "there are no capacity providers of instances"),
    Unreachable("2.5", "NO ACTIVE INSTANCES", "there are no capacity providers of instances"),
    Unreachable("2.7", "DEPLOYMENT_BLOCKED", "there are no services yet"),
]
