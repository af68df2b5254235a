"""Messages and rules of tasks: states, first answer, health, stopping, attachments."""
import datetime

import stock_agent
from messages import Unreachable, refusal, send
from task_world import ARN, INVALID, lone_host, plain, times, whole, rules

PULL_START = datetime.datetime(2026, 1, 1, 0, 0, 1, tzinfo=datetime.timezone.utc)
PULL_STOP = datetime.datetime(2026, 1, 1, 0, 0, 2, tzinfo=datetime.timezone.utc)
ENDED = datetime.datetime(2026, 1, 1, 0, 0, 3, tzinfo=datetime.timezone.utc)
CASES = []
rule = rules(CASES)


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
]
rule("2.1", "DescribeTasks of an id that does not exist",
     [{"arn": f"{ARN}task/c/x", "reason": "MISSING"}])(
         lambda w: w.ecs.describe_tasks(cluster="c", tasks=["x"])["failures"])
rule("2.1", "DescribeTasks of an ARN of another cluster",
     [{"arn": f"{ARN}task/empty/x", "reason": "MISSING"}])(
         lambda w: w.ecs.describe_tasks(cluster="c", tasks=[
             f"arn:aws:ecs:{w.words['region']}:{w.words['account']}:task/empty/x"])["failures"])


# ---- 2.2 the first answer -----------------------------------------------------------------

ATTRIBUTES = [{"name": "ecs.cpu-architecture", "value": "x86_64"}]


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


# ---- 2.6 stopping -------------------------------------------------------------------------

CASES += [
    refusal("2.6", "StopTask of a task that does not exist", "StopTask",
            {"cluster": "c", "task": "x"}, INVALID, "The referenced task was not found."),
    refusal("2.6", "StopTask in a cluster that does not exist", "StopTask",
            {"cluster": "none", "task": "x"}, "ClusterNotFoundException", "Cluster not found."),
    refusal("2.6", "StopTask of an empty reference", "StopTask", {"cluster": "c", "task": ""},
            INVALID, "Task cannot be empty."),
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


UNREACHABLE = [
    Unreachable("2.1", "ACTIVATING", "there is nothing to register a task with yet: no load "
                "balancer, no discovery"),
    Unreachable("2.1", "DEACTIVATING", "as ACTIVATING"),
    Unreachable("2.1", "STOPPING", "as measured on AWS a task is RUNNING, desired STOPPED, until its "
                "host tells that it ended"),
    Unreachable("2.1", "DELETED", "a task whose time is over is MISSING at once"),
    Unreachable("2.8", "CREATED", "an interface is made in the same step as its task, so it goes "
                "from PRECREATED to ATTACHING when the host has the task"),
    Unreachable("2.8", "DETACHING", "a host tells the end of a task when its interface is gone"),
    Unreachable("2.8", "FAILED", "a host that cannot make the interface tells the end of the task, "
                "with the reason"),
    Unreachable("2.8", "AmazonElasticBlockStorage", "there are no EBS volumes"),
    Unreachable("2.8", "Service Connect", "a service's Service Connect is stored, and not acted upon yet"),
]
