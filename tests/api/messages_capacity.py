"""Messages and rules of capacity providers, and of tasks that wait for an instance of one."""
import raw
import support
from messages import Refusal, Unreachable, refusal, refused, rules, send
from messages_definitions import INVALID

ARN = "arn:aws:ecs:⟨region⟩:⟨account⟩:"
SECTION = "capacity"
UNSUPPORTED = "UnsupportedFeatureException"
NOT_THERE = "The specified capacity provider does not exist. Specify a valid name or ARN and try again."
RESERVED_NAME = ("The capacity provider name cannot be prefixed with 'aws', 'ecs' or 'fargate'. "
                 "Specify another name and try again.")
BAD_NAME = ("The capacity provider name can have up to 255 characters: letters, numbers, hyphens and "
            "underscores.")
BAD_GROUP = ("The specified Auto Scaling group ARN is not valid. Specify the ARN or the name of a "
             "group and try again.")
UNPROTECTABLE = ("The managed termination protection setting for the capacity provider is invalid. "
                 "To enable managed termination protection for a capacity provider, managed scaling "
                 "must be enabled.")
STEPS = "The minimumScalingStepSize cannot be larger than the maximumScalingStepSize."
NO_CLUSTER = "The cluster can only be specified for capacity providers of managed instances."
NO_MANAGED = "Capacity providers of managed instances are not supported by this version of Berth."
MANAGED = {"infrastructureRoleArn": "arn:aws:iam::000000000000:role/r", "instanceLaunchTemplate": {
    "ec2InstanceProfileArn": "arn:aws:iam::000000000000:instance-profile/p",
    "networkConfiguration": {"subnets": ["subnet-1"]}}}
ENABLED = {"managedScaling": {"status": "ENABLED"}}


def provider(world, **members):
    """Make a provider of a group of its own; returns its name."""
    name = world.fresh("provider")
    send(world.ecs, "CreateCapacityProvider", {"name": name, "autoScalingGroupProvider": {
        "autoScalingGroupArn": name, **members}})
    return name


def cluster(world, *providers):
    """Make a cluster of providers whose strategy is the first."""
    name = world.fresh("cluster")
    world.ecs.create_cluster(clusterName=name, capacityProviders=list(providers),
                             defaultCapacityProviderStrategy=[
                                 {"capacityProvider": providers[0], "weight": 1}])
    return name


ERROR = "1 validation error detected: "

CASES = []
rule = rules(CASES)


# ---- CreateCapacityProvider --------------------------------------------------------------

def create(title, message, code=INVALID, group=None, **members):
    """A CreateCapacityProvider that is refused; group are members of autoScalingGroupProvider."""
    def arguments(world):
        given = {"name": world.fresh("refused"), "autoScalingGroupProvider": {
            "autoScalingGroupArn": world.fresh("group"), **(group or {})}, **members}
        return {name: value for name, value in given.items() if value is not None}
    CASES.append(refusal(SECTION, f"CreateCapacityProvider {title}", "CreateCapacityProvider",
                         arguments, code, message))


create("of a name with a space", BAD_NAME, name="a b")
create("of a name of 256 characters", BAD_NAME, name="x" * 256)
create("of an empty name", BAD_NAME, name="")
for prefix in ("aws", "ecs", "fargate", "FARGATE"):
    create(f"of a name that begins with {prefix}", RESERVED_NAME, name=prefix + "-mine")
create("without a provider", "autoScalingGroupProvider is required.", autoScalingGroupProvider=None)
create("of an empty group", BAD_GROUP, group={"autoScalingGroupArn": ""})
create("of an ARN that names no group", BAD_GROUP, group={
    "autoScalingGroupArn": "arn:aws:autoscaling:us-east-1:000000000000:autoScalingGroup"})
create("of a group of 256 characters", BAD_GROUP, group={"autoScalingGroupArn": "x" * 256})
create("with steps the wrong way round", STEPS, group={"managedScaling": {
    "minimumScalingStepSize": 5, "maximumScalingStepSize": 4}})
create("with termination protection and no managed scaling", UNPROTECTABLE,
       group={"managedTerminationProtection": "ENABLED"})
create("with termination protection and managed scaling DISABLED", UNPROTECTABLE,
       group={"managedTerminationProtection": "ENABLED", "managedScaling": {"status": "DISABLED"}})
for member, low, high in (("targetCapacity", 0, 101), ("minimumScalingStepSize", 0, 10001),
                          ("maximumScalingStepSize", 0, 10001),
                          ("instanceWarmupPeriod", -1, 10001)):
    for value, bound in ((low, f"greater than or equal to {low + 1}"),
                         (high, f"less than or equal to {high - 1}")):
        create(f"with {member} {value}", f"{ERROR}Value '{value}' at 'autoScalingGroupProvider."
               f"managedScaling.{member}' failed to satisfy constraint: Member must have value "
               f"{bound}", group={"managedScaling": {member: value}})
for member in ("managedTerminationProtection", "managedDraining", "managedScaling.status"):
    first, _, inner = member.partition(".")
    create(f"with an unknown {member}", f"{ERROR}Value at 'autoScalingGroupProvider.{member}' "
           "failed to satisfy constraint: Member must satisfy enum value set: [ENABLED, DISABLED]",
           group={first: {inner: "MAYBE"} if inner else "MAYBE"})
create("of managed instances", NO_MANAGED, UNSUPPORTED, autoScalingGroupProvider=None,
       managedInstancesProvider=MANAGED)
create("with a cluster", NO_CLUSTER, cluster="default")
create("with a cluster that does not exist", "Cluster not found.", "ClusterNotFoundException",
       cluster="nowhere")
create("with a tag twice", "Duplicate tag keys found. Key: a", tags=[{"key": "a", "value": "1"}] * 2)
create("with a tag of AWS's", "Tag keys that begin with 'aws:' are reserved. Key: aws:a",
       tags=[{"key": "aws:a", "value": "1"}])
create("with 51 tags", f"{ERROR}Value at 'tags' failed to satisfy constraint: Member must have "
       "length less than or equal to 50", tags=[{"key": str(n), "value": "1"} for n in range(51)])


@rule(SECTION, "CreateCapacityProvider of a name that is taken", Refusal(
    INVALID, "A capacity provider with the specified name already exists. Specify another name and "
             "try again."))
def _(world):
    return refused(world.ecs, "CreateCapacityProvider", name=provider(world),
                   autoScalingGroupProvider={"autoScalingGroupArn": world.fresh("group")})


@rule(SECTION, "CreateCapacityProvider of a group that has one", Refusal(
    "ClientException", "The specified Auto Scaling group ARN is already being used by another "
                       "capacity provider. Specify a unique Auto Scaling group ARN and try again."))
def _(world):
    return refused(world.ecs, "CreateCapacityProvider", name=world.fresh("second"),
                   autoScalingGroupProvider={"autoScalingGroupArn": (
                       "arn:aws:autoscaling:us-east-1:000000000000:autoScalingGroup:1:"
                       f"autoScalingGroupName/{provider(world)}")})


DEFAULTS = {"autoScalingGroupArn": "pool", "managedScaling": {
    "status": "DISABLED", "targetCapacity": 100, "minimumScalingStepSize": 1,
    "maximumScalingStepSize": 10000, "instanceWarmupPeriod": 300},
    "managedTerminationProtection": "DISABLED", "managedDraining": "ENABLED"}


@rule(SECTION, "what a new capacity provider is like", {
    "capacityProviderArn": ARN + "capacity-provider/plain", "name": "plain", "status": "ACTIVE",
    "type": "EC2_AUTOSCALING", "updateStatus": "CREATE_COMPLETE", "tags": [],
    "autoScalingGroupProvider": DEFAULTS})
def _(world):
    return send(world.ecs, "CreateCapacityProvider", {"name": "plain", "autoScalingGroupProvider": {
        "autoScalingGroupArn": "pool"}})["capacityProvider"]


@rule(SECTION, "managedScaling without a status is ENABLED", "ENABLED")
def _(world):
    name = provider(world, managedScaling={"targetCapacity": 80})
    return shown(world, name)["autoScalingGroupProvider"]["managedScaling"]["status"]


# ---- UpdateCapacityProvider --------------------------------------------------------------

def shown(world, name, **more):
    return world.ecs.describe_capacity_providers(
        capacityProviders=[name], **more)["capacityProviders"][0]


def update(title, message, code=INVALID, before=None, **members):
    """An UpdateCapacityProvider of a new provider that is refused."""
    def arguments(world):
        given = {"name": provider(world, **(before or {})), "autoScalingGroupProvider": {},
                 **members}
        return {name: value for name, value in given.items() if value is not None}
    CASES.append(refusal(SECTION, f"UpdateCapacityProvider {title}", "UpdateCapacityProvider",
                         arguments, code, message))


update("of one that does not exist", NOT_THERE, name="nobody")
update("of FARGATE", "The specified capacity provider cannot be updated: it is reserved.",
       name="FARGATE")
update("without a provider", "autoScalingGroupProvider is required.", autoScalingGroupProvider=None)
update("with steps the wrong way round", STEPS, autoScalingGroupProvider={
    "managedScaling": {"minimumScalingStepSize": 5, "maximumScalingStepSize": 4}})
update("with a step below the one there is", STEPS, before={
    "managedScaling": {"minimumScalingStepSize": 5}}, autoScalingGroupProvider={
        "managedScaling": {"maximumScalingStepSize": 4}})
update("with termination protection and no managed scaling", UNPROTECTABLE,
       autoScalingGroupProvider={"managedTerminationProtection": "ENABLED"})
update("of managed scaling to DISABLED under termination protection", UNPROTECTABLE, before={
    **ENABLED, "managedTerminationProtection": "ENABLED"}, autoScalingGroupProvider={
        "managedScaling": {"status": "DISABLED"}})
update("to managed instances", NO_MANAGED, UNSUPPORTED, autoScalingGroupProvider=None,
       managedInstancesProvider={"infrastructureRoleArn": MANAGED["infrastructureRoleArn"],
                                 "instanceLaunchTemplate": {}})
update("with a cluster", NO_CLUSTER, cluster="default")
update("with a cluster that does not exist", "Cluster not found.", "ClusterNotFoundException",
       cluster="nowhere")


@rule(SECTION, "an update changes what it names and leaves the rest", [
    "UPDATE_COMPLETE", {"status": "ENABLED", "targetCapacity": 80, "minimumScalingStepSize": 2,
                        "maximumScalingStepSize": 10000, "instanceWarmupPeriod": 300},
    "ENABLED", "DISABLED"])
def _(world):
    name = provider(world, managedScaling={"status": "ENABLED", "minimumScalingStepSize": 2},
                    managedDraining="DISABLED")
    world.ecs.update_capacity_provider(name=name, autoScalingGroupProvider={
        "managedScaling": {"targetCapacity": 80}, "managedTerminationProtection": "ENABLED"})
    now = shown(world, name)
    group = now["autoScalingGroupProvider"]
    return [now["updateStatus"], group["managedScaling"], group["managedTerminationProtection"],
            group["managedDraining"]]


# ---- DeleteCapacityProvider --------------------------------------------------------------

CASES += [
    refusal(SECTION, "DeleteCapacityProvider of one that does not exist", "DeleteCapacityProvider",
            {"capacityProvider": "nobody"}, INVALID, NOT_THERE),
    refusal(SECTION, "DeleteCapacityProvider of an ARN of another Region", "DeleteCapacityProvider",
            {"capacityProvider": "arn:aws:ecs:eu-west-3:000000000000:capacity-provider/mine"},
            INVALID, NOT_THERE),
    refusal(SECTION, "DeleteCapacityProvider of FARGATE_SPOT", "DeleteCapacityProvider",
            {"capacityProvider": "FARGATE_SPOT"}, INVALID,
            "The specified capacity provider is reserved and cannot be deleted."),
    refusal(SECTION, "DeleteCapacityProvider with a cluster", "DeleteCapacityProvider",
            lambda world: {"capacityProvider": provider(world), "cluster": "default"}, INVALID,
            NO_CLUSTER),
    refusal(SECTION, "DeleteCapacityProvider with a cluster that does not exist",
            "DeleteCapacityProvider", {"capacityProvider": "any", "cluster": "nowhere"},
            "ClusterNotFoundException", "Cluster not found."),
]


@rule(SECTION, "DeleteCapacityProvider of one that a cluster has", Refusal(
    INVALID, "The capacity provider cannot be deleted because it is associated with cluster: "
             "⟨cluster⟩. Remove the capacity provider from the cluster and try again."))
def _(world):
    name = provider(world)
    cluster(world, name)
    return refused(world.ecs, "DeleteCapacityProvider", capacityProvider=name)


@rule(SECTION, "a deleted capacity provider is INACTIVE, and gone", [
    "INACTIVE", "DELETE_COMPLETE", [[ARN + "capacity-provider/⟨name⟩", "MISSING"]]])
def _(world):
    name = provider(world)
    gone = world.ecs.delete_capacity_provider(capacityProvider=name)["capacityProvider"]
    answer = world.ecs.describe_capacity_providers(capacityProviders=[name])
    return [gone["status"], gone["updateStatus"],
            [[one["arn"], one["reason"]] for one in answer["failures"]]]


# ---- DescribeCapacityProviders -----------------------------------------------------------

CASES += [
    refusal(SECTION, "DescribeCapacityProviders of 101", "DescribeCapacityProviders",
            {"capacityProviders": [f"p{n}" for n in range(101)]}, INVALID,
            "capacityProviders can have at most 100 items."),
    refusal(SECTION, "DescribeCapacityProviders of a cluster that does not exist",
            "DescribeCapacityProviders", {"cluster": "nowhere"}, "ClusterNotFoundException",
            "Cluster not found."),
    refusal(SECTION, "DescribeCapacityProviders with a bad token", "DescribeCapacityProviders",
            {"nextToken": "x"}, INVALID, "Invalid token"),
    refusal(SECTION, "DescribeCapacityProviders with maxResults 11", "DescribeCapacityProviders",
            {"maxResults": 11}, INVALID, "maxResults must be between 1 and 10."),
]

rule(SECTION, "the capacity providers of Fargate", [
    {"capacityProviderArn": ARN + f"capacity-provider/{name}", "name": name, "status": "ACTIVE",
     "type": name, "tags": []} for name in ("FARGATE", "FARGATE_SPOT")])(
         lambda world: send(world.ecs, "DescribeCapacityProviders", {
             "capacityProviders": ["FARGATE", "FARGATE_SPOT"]})["capacityProviders"])


@rule(SECTION, "those of a cluster, by its name", ["FARGATE", "⟨name⟩"])
def _(world):
    name = world.words["name"] = provider(world)
    made = cluster(world, name)
    world.ecs.put_cluster_capacity_providers(cluster=made, capacityProviders=[name, "FARGATE"],
                                             defaultCapacityProviderStrategy=[])
    answer = send(world.ecs, "DescribeCapacityProviders", {"cluster": made})
    del world.words["name"]
    return [one["name"] for one in answer["capacityProviders"]]


# ---- tags ---------------------------------------------------------------------------------

CASES += [
    refusal(SECTION, "TagResource of a capacity provider that does not exist", "TagResource",
            lambda world: {"resourceArn": arn_of(world, "nobody"),
                           "tags": [{"key": "a", "value": "b"}]}, "ResourceNotFoundException",
            "The specified capacity provider was not found. Verify the ARN and try again."),
    refusal(SECTION, "UntagResource of a capacity provider that does not exist", "UntagResource",
            lambda world: {"resourceArn": arn_of(world, "nobody"), "tagKeys": ["a"]},
            "ResourceNotFoundException",
            "The specified capacity provider was not found. Verify the ARN and try again."),
    refusal(SECTION, "ListTagsForResource of a capacity provider that does not exist",
            "ListTagsForResource", lambda world: {"resourceArn": arn_of(world, "nobody")}, INVALID,
            "The specified capacity provider was not found. Verify the ARN and try again."),
    refusal(SECTION, "TagResource of FARGATE", "TagResource",
            lambda world: {"resourceArn": arn_of(world, "FARGATE"),
                           "tags": [{"key": "a", "value": "b"}]}, INVALID,
            "The capacity providers FARGATE and FARGATE_SPOT cannot be tagged."),
]


def arn_of(world, name):
    return (f"arn:aws:ecs:{world.words['region']}:{world.words['account']}:capacity-provider/"
            f"{name}")


@rule(SECTION, "tags of a capacity provider change, and are shown when they are asked for", [
    [], [{"key": "a", "value": "2"}, {"key": "b", "value": "3"}], [{"key": "b", "value": "3"}]])
def _(world):
    name = world.fresh("tagged")
    arn = send(world.ecs, "CreateCapacityProvider", {
        "name": name, "autoScalingGroupProvider": {"autoScalingGroupArn": name},
        "tags": [{"key": "a", "value": "1"}]})["capacityProvider"]["capacityProviderArn"]
    world.ecs.tag_resource(resourceArn=arn, tags=[{"key": "a", "value": "2"},
                                                  {"key": "b", "value": "3"}])
    plain, with_tags = shown(world, name), shown(world, name, include=["TAGS"])
    world.ecs.untag_resource(resourceArn=arn, tagKeys=["a"])
    return [plain["tags"], with_tags["tags"],
            world.ecs.list_tags_for_resource(resourceArn=arn)["tags"]]


# ---- tasks that wait ----------------------------------------------------------------------

def waiting(world, **members):
    """A cluster whose provider has managed scaling, and the answer of a RunTask there."""
    made = cluster(world, provider(world, **{**ENABLED, **members}))
    return made, world.ecs.run_task(cluster=made, taskDefinition="job")


@rule(SECTION, "a task that finds no room waits for an instance", [
    "PROVISIONING", "RUNNING", "EC2", [], False])
def _(world):
    task = waiting(world)[1]["tasks"][0]
    return [task["lastStatus"], task["desiredStatus"], task["launchType"], task["attachments"],
            "containerInstanceArn" in task]


def stopped(world, made, task):
    """How a task ended."""
    def found():
        """the task STOPPED"""
        shown_now = world.ecs.describe_tasks(cluster=made, tasks=[task])["tasks"][0]
        return shown_now if shown_now["lastStatus"] == "STOPPED" else None
    end = support.wait_for(found)
    return [end["stopCode"], end["stoppedReason"]]


@rule(SECTION, "a task that waited too long for a first instance", [
    "TaskFailedToStart", "TaskFailedToStart: EMPTY CAPACITY PROVIDER"])
def _(world):
    made, answer = waiting(world)
    return stopped(world, made, answer["tasks"][0]["taskArn"])


def with_host(world, **members):
    """A cluster and its provider's group with one instance."""
    name = provider(world, **ENABLED)
    made = cluster(world, name)
    host = world.host(made, name)
    world.ecs.register_task_definition(family=made, containerDefinitions=[
        {"name": "a", "image": "i", "memory": 64, **members}])
    return made, host


@rule(SECTION, "a task that waited too long for room", [
    ["TaskFailedToStart", "TaskFailedToStart: RESOURCE:CPU"],
    ["TaskFailedToStart", "TaskFailedToStart: RESOURCE:MEMORY"],
    ["TaskFailedToStart", "TaskFailedToStart: RESOURCE:GPU"]])
def _(world):
    lacking = [{"cpu": 100000}, {"memory": 1000000},
               {"resourceRequirements": [{"type": "GPU", "value": "1"}]}]
    begun = []
    for members in lacking:
        made, _ = with_host(world, **members)
        task = world.ecs.run_task(cluster=made, taskDefinition=made)["tasks"][0]["taskArn"]
        begun.append((made, task))
    return [stopped(world, *one) for one in begun]


@rule(SECTION, "a task that waited too long while all instances drain", [
    "TaskFailedToStart", "TaskFailedToStart: NO ACTIVE INSTANCES"])
def _(world):
    made, host = with_host(world)
    world.ecs.update_container_instances_state(cluster=made, status="DRAINING",
                                               containerInstances=[host.arn])
    answer = world.ecs.run_task(cluster=made, taskDefinition=made)
    return stopped(world, made, answer["tasks"][0]["taskArn"])


@rule(SECTION, "without managed scaling a task that finds no room fails", [
    "EMPTY CAPACITY PROVIDER"])
def _(world):
    made = cluster(world, provider(world))
    answer = world.ecs.run_task(cluster=made, taskDefinition="job")
    return [failure["reason"] for failure in answer["failures"]]


def events(world, made, part):
    """Messages of service `s` that have a text."""
    [service] = world.ecs.describe_services(cluster=made, services=["s"])["services"]
    return [event["message"] for event in service["events"] if part in event["message"]]


def told(world, made, part):
    """The first event of service `s` that has a text, behind the service's name."""
    def found():
        """the event"""
        return events(world, made, part)
    return support.wait_for(found)[0].removeprefix("(service s) ")


@rule("service.events", "a task of a service that waited too long for an instance with a GPU",
      "was unable to place a task. Reason: TaskFailedToStart: RESOURCE:GPU.")
def _(world):
    made, _ = with_host(world, resourceRequirements=[{"type": "GPU", "value": "1"}])
    world.ecs.create_service(cluster=made, serviceName="s", taskDefinition=made, desiredCount=1)
    return told(world, made, "was unable to place a task.")


@rule("service.events", "more than 500 tasks of a cluster that wait",
      "was unable to place tasks in your cluster because the tasks provisioning capacity limit was "
      "exceeded.")
def _(world):
    made = cluster(world, provider(world, **ENABLED))
    world.ecs.create_service(cluster=made, serviceName="s", taskDefinition="job", desiredCount=0)
    caller = raw.Caller(world.berth)
    wanted = 0

    def found():
        """the event of a service that wants another task while 500 wait"""
        # Some of those of the last time may have waited too long already.
        nonlocal wanted
        wanted += 1
        caller.many("RunTask", [{"cluster": made, "taskDefinition": "job", "count": 10}] * 50)
        world.ecs.update_service(cluster=made, service="s", desiredCount=wanted)
        return events(world, made, "was unable to place tasks")
    text = support.wait_for(found, step=0.5)[0].removeprefix("(service s) ")
    caller.close()
    return text


UNREACHABLE = [
    Unreachable(SECTION, "UpdateInProgressException of CreateCapacityProvider and "
                "DeleteCapacityProvider", "Providers come and go in one step: nothing is in progress "
                "between two requests."),
    Unreachable(SECTION, "CREATE_FAILED, UPDATE_FAILED and DELETE_FAILED of updateStatus",
                "There is no Auto Scaling group elsewhere that could refuse what was asked."),
]
