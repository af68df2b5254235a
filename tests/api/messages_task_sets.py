"""Messages and rules of task sets and of DAEMON services."""
import re

import support
from messages import refusal, rules, send
from service_world import ARN, CLIENT, ID, INVALID, Host

CASES = []
UNREACHABLE = []
rule = rules(CASES)
SECTION = "service.task_sets"
NOT_FOUND = "TaskSetNotFoundException"
DRAINING = "The task set is DRAINING. Create another one and try again."
WHOLE = {"value": 100, "unit": "PERCENT"}


# ---- a service with task sets ---------------------------------------------------------------

def external(world, count=1, **more):
    return world.create(family=None, count=count, deploymentController={"type": "EXTERNAL"}, **more)


def ask(world, operation, service, **members):
    return send(world.ecs, operation, {"cluster": service["clusterArn"],
                                       "service": service["serviceName"], **members})


def make(world, service, **members):
    """CreateTaskSet of `job`; returns the task set."""
    return ask(world, "CreateTaskSet", service, taskDefinition="job", **members)["taskSet"]


def show(world, service, one):
    return ask(world, "DescribeTaskSets", service, taskSets=[one["id"]])["taskSets"][0]


def steady(world, service, one):
    """Wait until a task set is in its steady state; returns it."""
    def reached():
        """the task set's steady state"""
        shown = show(world, service, one)
        return shown if shown["stabilityStatus"] == "STEADY_STATE" else None
    return support.wait_for(reached)


def refuse(title, operation, code, message, prepare=None, **members):
    """An operation on a task set of a service of the case's own that must fail."""
    def arguments(world):
        service = external(world)
        given = {"cluster": "c", "service": service["serviceName"], **members}
        if prepare is not None:
            given.update(prepare(world, service))
        if operation == "CreateTaskSet":
            given.setdefault("taskDefinition", "job")
        return given
    CASES.append(refusal(SECTION, f"{operation} {title}", operation, arguments, code, message))


# ---- what is refused ------------------------------------------------------------------------

NEEDS = {"CreateTaskSet": {"taskDefinition": "job"},
         "UpdateTaskSet": {"taskSet": "ecs-svc/1", "scale": WHOLE},
         "DeleteTaskSet": {"taskSet": "ecs-svc/1"},
         "UpdateServicePrimaryTaskSet": {"primaryTaskSet": "ecs-svc/1"},
         "DescribeTaskSets": {}}


def of_a_rolling_service(operation):
    def arguments(world):
        return {"cluster": "c", "service": world.create()["serviceName"], **NEEDS[operation]}
    return arguments


for name, needs in NEEDS.items():
    CASES.append(refusal(SECTION, f"{name} of a service that does not exist", name,
                         {"cluster": "c", "service": "none", **needs},
                         "ServiceNotFoundException", "Service not found."))
    CASES.append(refusal(SECTION, f"{name} in a cluster that does not exist", name,
                         {"cluster": "none", "service": "none", **needs},
                         "ClusterNotFoundException", "Cluster not found."))
    CASES.append(refusal(SECTION, f"{name} of a service with the controller ECS", name,
                         of_a_rolling_service(name), INVALID,
                         "Amazon ECS only supports task set management on services configured to "
                         "use external deployment controllers."))
    if "TaskSet" in name and name not in ("CreateTaskSet", "DescribeTaskSets"):
        refuse("that does not exist", name, NOT_FOUND, "TaskSet not found.", **needs)


def ended(world, service):
    send(world.ecs, "DeleteService", {"cluster": "c", "service": service["serviceName"],
                                      "force": True})
    return {}


refuse("of a service that was deleted", "CreateTaskSet", "ServiceNotActiveException",
       "Service was not ACTIVE.", ended)
refuse("of a definition that does not exist", "CreateTaskSet", CLIENT,
       "TaskDefinition not found.", taskDefinition="nowhere")
refuse("with a scale of 100.5", "CreateTaskSet", INVALID,
       "The value of a scale must be between 0 and 100.", scale={"value": 100.5})
refuse("with a scale of -1", "CreateTaskSet", INVALID,
       "The value of a scale must be between 0 and 100.", scale={"value": -1})
refuse("with a scale of another unit", "CreateTaskSet", INVALID,
       "1 validation error detected: Value at 'scale.unit' failed to satisfy constraint: Member must "
       "satisfy enum value set: [PERCENT]", scale={"value": 1, "unit": "TASKS"})
refuse("with a clientToken of 37 characters", "CreateTaskSet", INVALID,
       "clientToken can have up to 36 characters of ASCII 33 to 126.", clientToken="t" * 37)
refuse("with a reserved tag", "CreateTaskSet", INVALID,
       "Tag keys that begin with 'aws:' are reserved. Key: aws:x",
       tags=[{"key": "aws:x", "value": "y"}])
refuse("with launchType and capacityProviderStrategy", "CreateTaskSet", INVALID,
       "Specify either Launch Type or Capacity Provider Strategy, but not both.",
       launchType="EC2", capacityProviderStrategy=[{"capacityProvider": "FARGATE"}])
refuse("with a launch type that the definition is not for", "CreateTaskSet", INVALID,
       "Task definition does not support launch_type FARGATE.", launchType="FARGATE")
refuse("of awsvpc without networkConfiguration", "CreateTaskSet", INVALID,
       "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
       taskDefinition="web", launchType="FARGATE")


def same_token(world, service):
    make(world, service, clientToken="t")
    return {"clientToken": "t", "externalId": "another"}


refuse("with a clientToken that made another one", "CreateTaskSet", INVALID,
       "The clientToken was used before for a request with other parameters.", same_token)


def five(world, service):
    for _ in range(5):
        make(world, service)
    return {}


refuse("beside five others", "CreateTaskSet", INVALID,
       "5 deployments exist on the service. Unable to create new TaskSet since this exceeds the "
       "maximum limit.", five)


def one(**members):
    """A task set of the case, to be named by a request."""
    def prepare(world, service):
        return {"taskSet": make(world, service, **members)["id"]}
    return prepare


def primary(world, service):
    made = make(world, service)
    ask(world, "UpdateServicePrimaryTaskSet", service, primaryTaskSet=made["id"])
    return {"taskSet": made["id"]}


def drained(member):
    """A task set that is being deleted: its host holds its end back."""
    def prepare(world, service):
        world.host.does["stop"] = "hold"
        made = make(world, service, scale=WHOLE)
        steady(world, service, made)
        ask(world, "DeleteTaskSet", service, taskSet=made["id"], force=True)
        return {member: made["id"]}
    return prepare


refuse("with a scale of 101", "UpdateTaskSet", INVALID,
       "The value of a scale must be between 0 and 100.", one(), scale={"value": 101})
refuse("that is PRIMARY", "DeleteTaskSet", INVALID,
       "The primary task set cannot be deleted. Make another task set the primary one, or specify "
       "force, and try again.", primary)
refuse("that is scaled above 0", "DeleteTaskSet", INVALID,
       "The task set cannot be deleted while it is scaled above 0. Scale it to 0, or specify force, "
       "and try again.", one(scale={"value": 1, "unit": "PERCENT"}))


# ---- what is shown --------------------------------------------------------------------------

@rule(SECTION, "a new task set: its scale is 0 unless told", {
    "id": "ecs-svc/⟨n⟩", "taskSetArn": ARN + "task-set/c/⟨service⟩/ecs-svc/⟨n⟩",
    "serviceArn": ARN + "service/c/⟨service⟩", "clusterArn": ARN + "cluster/c",
    "externalId": "x", "status": "ACTIVE", "taskDefinition": ARN + "task-definition/job:1",
    "computedDesiredCount": 0, "pendingCount": 0, "runningCount": 0, "launchType": "EC2",
    "loadBalancers": [], "serviceRegistries": [], "scale": {"value": 0.0, "unit": "PERCENT"},
    "stabilityStatus": "STABILIZING", "tags": [{"key": "k", "value": "v"}]})
def _(world):
    made = make(world, external(world), externalId="x", tags=[{"key": "k", "value": "v"}])
    for name in ("createdAt", "updatedAt", "stabilityStatusAt"):
        assert made.pop(name) is not None, name
    return made


rule(SECTION, "computedDesiredCount of 3 tasks at 0, 1, 34 and 100 %", [0, 1, 2, 3])(
    lambda world: [make(world, service, scale={"value": value})["computedDesiredCount"]
                   for service in [external(world, 3)] for value in (0, 1, 34, 100)])


@rule(SECTION, "a service shows its task sets, newest first, and no deployments",
      [["b", "a"], [], False])
def _(world):
    service = external(world)
    for name in ("a", "b"):
        make(world, service, externalId=name)
    shown = world.show(service)
    return [[made["externalId"] for made in shown["taskSets"]], shown["deployments"],
            "taskDefinition" in shown]


@rule(SECTION, "DescribeTaskSets by id, by ARN, and of one that is none", [
    ["a", "b"], [{"arn": ARN + "task-set/c/⟨service⟩/ecs-svc/1", "reason": "MISSING"}], False,
    [{"key": "k", "value": "v"}]])
def _(world):
    service = external(world)
    made = [make(world, service, externalId=name, tags=[{"key": "k", "value": "v"}])
            for name in ("a", "b")]
    names = [made[0]["id"], made[1]["taskSetArn"], "ecs-svc/1"]
    plain = ask(world, "DescribeTaskSets", service, taskSets=names)
    tagged = ask(world, "DescribeTaskSets", service, include=["TAGS"])
    return [[one["externalId"] for one in plain["taskSets"]], plain["failures"],
            "tags" in plain["taskSets"][0], tagged["taskSets"][0]["tags"]]


@rule(SECTION, "the PRIMARY task set shows in the service",
      ["PRIMARY", ARN + "task-definition/job:1", "EC2", "ACTIVE"])
def _(world):
    service = external(world)
    first, second = make(world, service), make(world, service)
    now = ask(world, "UpdateServicePrimaryTaskSet", service,
              primaryTaskSet=first["taskSetArn"])["taskSet"]
    shown = world.show(service)
    ask(world, "UpdateServicePrimaryTaskSet", service, primaryTaskSet=second["id"])
    return [now["status"], shown["taskDefinition"], shown["launchType"],
            show(world, service, first)["status"]]


@rule(SECTION, "the same clientToken again gives the same task set", [True, 1])
def _(world):
    service = external(world)
    made = [make(world, service, clientToken="t") for _ in range(2)]
    return [made[0]["id"] == made[1]["id"], len(world.show(service)["taskSets"])]


@rule(SECTION, "tags of a task set", [[{"key": "a", "value": "b"}], []])
def _(world):
    arn = make(world, external(world))["taskSetArn"]
    world.ecs.tag_resource(resourceArn=arn, tags=[{"key": "a", "value": "b"}])
    seen = [world.ecs.list_tags_for_resource(resourceArn=arn)["tags"]]
    world.ecs.untag_resource(resourceArn=arn, tagKeys=["a"])
    return seen + [world.ecs.list_tags_for_resource(resourceArn=arn)["tags"]]


# ---- what they do ---------------------------------------------------------------------------

@rule(SECTION, "events of a task set up to its steady state, and when it is scaled in", [
    f"updated computedDesiredCount for taskSet {ID} to 2.",
    f", taskSet {ID}) has started 2 tasks: (task {ID}) (task {ID}).",
    f", taskSet {ID}) updated state to STEADY_STATE.",
    f"updated computedDesiredCount for taskSet {ID} to 1.",
    f", taskSet {ID}) has stopped 1 running tasks: (task {ID}).",
    f", taskSet {ID}) updated state to STEADY_STATE.",
    "SERVICE_DESIRED_COUNT_UPDATED", "TASKSET_STEADY_STATE", "SERVICE_DESIRED_COUNT_UPDATED",
    "TASKS_STOPPED", "TASKSET_STEADY_STATE"])
def _(world):
    service = external(world, 2)
    made = make(world, service, scale=WHOLE)
    steady(world, service, made)
    ask(world, "UpdateTaskSet", service, taskSet=made["id"], scale={"value": 50})
    world.told(service, f"updated computedDesiredCount for taskSet {made['id']} to 1.")

    def settled():
        """the steady state of one task"""
        shown = show(world, service, made)
        return shown["runningCount"] == 1 and shown["stabilityStatus"] == "STEADY_STATE"
    support.wait_for(settled)
    return world.messages(service) + world.actions(service)


@rule(SECTION, "tasks of a task set", [["ecs-svc/⟨n⟩", "service:⟨service⟩"], True])
def _(world):
    service = external(world)
    made = make(world, service, scale=WHOLE)
    steady(world, service, made)
    [task] = world.tasks(service)
    return [[task["startedBy"], task["group"]], task["startedBy"] == made["id"]]


@rule(SECTION, "stoppedReason of a task whose task set is scaled in",
      ["ServiceSchedulerInitiated", "Scaling activity initiated by (deployment ecs-svc/⟨n⟩)"])
def _(world):
    service = external(world)
    made = make(world, service, scale=WHOLE)
    steady(world, service, made)
    [task] = world.tasks(service)
    ask(world, "UpdateTaskSet", service, taskSet=made["id"], scale={"value": 0})

    def stopped():
        """the end of the task"""
        shown = world.ecs.describe_tasks(cluster="c", tasks=[task["taskArn"]])["tasks"][0]
        return shown if shown["lastStatus"] == "STOPPED" else None
    shown = support.wait_for(stopped)
    return [shown["stopCode"], shown["stoppedReason"]]


@rule(SECTION, "a task set that is deleted: DRAINING until its tasks ended",
      ["DRAINING", 0, 1, DRAINING, DRAINING, []])
def _(world):
    service = external(world)
    given = drained("taskSet")(world, service)
    shown = show(world, service, {"id": given["taskSet"]})
    said = []
    for operation, more in (("UpdateTaskSet", {**given, "scale": WHOLE}),
                            ("UpdateServicePrimaryTaskSet", {"primaryTaskSet": given["taskSet"]})):
        try:
            ask(world, operation, service, **more)
        except world.ecs.exceptions.InvalidParameterException as error:
            said.append(error.response["Error"]["Message"])
    support.wait_for(lambda: world.host.held)
    world.host.release()

    def gone():
        """the end of the task set"""
        return ask(world, "DescribeTaskSets", service)["taskSets"] == []
    support.wait_for(gone)
    return [shown["status"], shown["computedDesiredCount"], shown["runningCount"], *said,
            world.show(service)["taskSets"]]


@rule(SECTION, "UpdateService of an EXTERNAL service moves its task sets", [1, 2])
def _(world):
    service = external(world, 2)
    made = make(world, service, scale={"value": 50})
    before = made["computedDesiredCount"]
    world.update(service, desiredCount=4)
    return [before, show(world, service, made)["computedDesiredCount"]]


@rule(SECTION, "DeleteService of an EXTERNAL service with a task set, without force",
      "The service cannot be stopped while deployments are active.")
def _(world):
    service = external(world, 0)
    make(world, service)
    try:
        world.ecs.delete_service(cluster="c", service=service["serviceName"])
    except world.ecs.exceptions.InvalidParameterException as error:
        return error.response["Error"]["Message"]
    return "no refusal"


# ---- DAEMON ---------------------------------------------------------------------------------

def daemon(world, cluster, **more):
    return world.create(cluster=cluster, schedulingStrategy="DAEMON", **more)


def spread(world, service):
    """How many tasks that are to run the service has on each instance, as a sorted list."""
    counts = {}
    for task in world.tasks(service):
        if task["desiredStatus"] == "RUNNING":
            where = task["containerInstanceArn"]
            counts[where] = counts.get(where, 0) + 1
    return sorted(counts.values())


@rule(SECTION, "a DAEMON: configuration, desired and running count on two instances",
      [100, 0, 2, 2, [1, 1]])
def _(world):
    cluster, _ = world.place(hosts=2)
    service = world.stable(daemon(world, cluster))
    bounds = service["deploymentConfiguration"]
    return [bounds["maximumPercent"], bounds["minimumHealthyPercent"], service["desiredCount"],
            service["runningCount"], spread(world, service)]


@rule(SECTION, "a DAEMON starts a task on an instance that joins", [[1], [1, 1]])
def _(world):
    cluster, _ = world.place()
    service = world.stable(daemon(world, cluster))
    before = spread(world, service)
    world.hosts.append(Host(world.berth, cluster).connect())

    def there():
        """the task on the new instance"""
        return world.show(service)["runningCount"] == 2
    support.wait_for(there)
    return [before, spread(world, service)]


@rule(SECTION, "a DAEMON stops what its constraints do not mean any more", [
    1, 0, "The container instance of the task does not satisfy the placement constraints of the "
    "service any more."])
def _(world):
    cluster, [host] = world.place()
    attribute = {"name": "role", "value": "web", "targetId": host.arn}
    world.ecs.put_attributes(cluster=cluster, attributes=[attribute])
    service = world.stable(daemon(world, cluster, placementConstraints=[
        {"type": "memberOf", "expression": "attribute:role == web"}]))
    [task] = world.tasks(service)
    world.ecs.put_attributes(cluster=cluster, attributes=[{**attribute, "value": "db"}])

    def stopped():
        """the end of the task"""
        shown = world.ecs.describe_tasks(cluster=cluster, tasks=[task["taskArn"]])["tasks"][0]
        return shown if shown["lastStatus"] == "STOPPED" else None
    shown = support.wait_for(stopped)
    return [service["desiredCount"], world.show(service)["desiredCount"], shown["stoppedReason"]]


@rule(SECTION, "a DAEMON without room on an instance", (
    "was unable to place a task because no container instance met all of its requirements. The "
    f"closest matching (container-instance {ID}) has insufficient memory available. For more "
    "information, see the Troubleshooting section of the Amazon ECS Developer Guide."))
def _(world):
    cluster, _ = world.place()
    world.register("vast", containerDefinitions=[{"name": "a", "image": "i", "memory": 100000}])
    return world.told(daemon(world, cluster, family="vast"), "was unable to place a task")


@rule(SECTION, "an update of a DAEMON stops the old task, then starts the new one",
      [True, [1]])
def _(world):
    cluster, _ = world.place()
    service = world.stable(daemon(world, cluster))
    before = service["deployments"][0]["id"]
    world.update(service, forceNewDeployment=True)

    def done():
        """the new deployment's end"""
        shown = world.show(service)["deployments"]
        return len(shown) == 1 and shown[0]["id"] != before and \
            shown[0]["rolloutState"] == "COMPLETED"
    support.wait_for(done)
    started = [m for m in world.messages(service) if re.match("has (started|stopped)", m)]
    order = [m.split()[1] for m in started]
    return [order == ["started", "stopped", "started"], spread(world, service)]


@rule(SECTION, "a DAEMON is deleted without force", ["DRAINING"])
def _(world):
    cluster, _ = world.place()
    service = world.stable(daemon(world, cluster))
    deleted = world.ecs.delete_service(cluster=cluster, service=service["serviceName"])["service"]
    return [deleted["status"]]
