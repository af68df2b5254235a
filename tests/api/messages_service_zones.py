"""Zones that a service evens out: what it tells, and its tasks."""
import support
from messages import rules
from service_world import Host

CASES = []
UNREACHABLE = []
rule = rules(CASES)
SECTION = "service.events"
TASK = "(task ⟨id⟩)"
A, B = "us-east-1a", "us-east-1b"
TINY = [{"name": "CPU", "type": "INTEGER", "integerValue": 128},
        {"name": "MEMORY", "type": "INTEGER", "integerValue": 32}]


def crowded(world, count=4, **more):
    """A service whose tasks are all in the one zone that has a host; it is at rest."""
    cluster, _ = world.place()
    made = world.create(cluster=cluster, count=count, **more)
    world.stable(made)
    return made


def opens(world, service, zone=B, **more):
    """A host comes in another zone."""
    host = Host(world.berth, service["clusterArn"].rsplit("/", 1)[1], zone=zone, **more)
    world.hosts.append(host)
    return host


def zones(world, service):
    """How many tasks are in each zone."""
    found = [task["availabilityZone"] for task in world.tasks(service)]
    return {zone: found.count(zone) for zone in sorted(set(found))}


def about_zones(world, service):
    return [message for message in world.messages(service) if " AZ " in message]


@rule(SECTION, "a zone opens beside the one that all tasks are in", [
    f"is not AZ balanced with 4 tasks in {A}, 0 tasks in {B}. AZ Rebalancing in progress.",
    f"has started 2 tasks in {B} to AZ Rebalance: {TASK} {TASK}.",
    f"has stopped 2 running tasks in {A} due to AZ rebalancing: {TASK} {TASK}.",
    f"is AZ balanced with 2 tasks in {A}, 2 tasks in {B}.", {A: 2, B: 2}, ["COMPLETED"],
    ["ServiceSchedulerInitiated",
     "Availability-zone rebalancing initiated by (deployment ⟨deployment⟩)"],
    ["SERVICE_REBALANCING_STARTED", "TASKS_STARTED", "TASKS_STOPPED",
     "SERVICE_REBALANCING_COMPLETED"]])
def _(world):
    made = crowded(world)
    world.words["deployment"] = made["deployments"][0]["id"]
    old = [task["taskArn"] for task in world.tasks(made)]
    opens(world, made).connect()
    world.told(made, "is AZ balanced")
    shown = world.ecs.describe_tasks(cluster=made["clusterArn"], tasks=old)["tasks"]
    stopped = next(task for task in shown if task["desiredStatus"] == "STOPPED")
    states = [one["rolloutState"] for one in world.show(made)["deployments"]]
    return [*about_zones(world, made), zones(world, made), states,
            [stopped["stopCode"], stopped["stoppedReason"]], world.actions(made)]


@rule(SECTION, "a zone opens that has no room", [
    f"is unable to place a task in {B} because no container instance met all of its requirements.",
    {A: 4}, ["SERVICE_TASK_PLACEMENT_FAILURE"]])
def _(world):
    made = crowded(world)
    opens(world, made, resources=TINY).connect()
    return [world.told(made, "is unable to place"), zones(world, made), world.actions(made)]


@rule(SECTION, "a zone of Fargate that has no room", [
    f"is unable to place a task in {B}.", {A: 2}, ["SERVICE_TASK_PLACEMENT_FAILURE"]])
def _(world):
    made = world.fargate(count=2, networkConfiguration=world.network)
    world.stable(made)
    tiny = Host(world.berth, zone=B, resources=TINY).connect()
    world.hosts.append(tiny)
    return [world.told(made, "is unable to place"), zones(world, made), world.actions(made)]


@rule(SECTION, "a zone opens while all tasks are protected", [
    "was unable to AZ Rebalance because (taskSet ⟨deployment⟩) was unable to scale in due to "
    "(reason 4 tasks under protection).", {A: 4},
    ["TASKSET_SCALE_IN_FAILURE_BY_TASK_PROTECTION"]])
def _(world):
    support.needs(world.ecs, "UpdateTaskProtection")
    made = crowded(world)
    world.words["deployment"] = made["deployments"][0]["id"]
    world.ecs.update_task_protection(cluster=made["clusterArn"], protectionEnabled=True, tasks=[
        task["taskArn"] for task in world.tasks(made)])
    opens(world, made).connect()
    return [world.told(made, "was unable to AZ"), zones(world, made), world.actions(made)]


@rule(SECTION, "a deployment comes before even zones", [
    "stopped AZ Rebalancing.", {A: 2, B: 2},
    ["SERVICE_REBALANCING_STARTED", "TASKS_STARTED", "SERVICE_REBALANCING_STOPPED"]])
def _(world):
    made = crowded(world)
    host = opens(world, made)
    host.does["job"] = "hold"
    host.connect()
    world.told(made, f"has started 2 tasks in {B}")
    world.update(made, forceNewDeployment=True)
    said = world.told(made, "stopped AZ")
    before = world.actions(made)[:3]  # what the deployment stops comes behind
    host.does = {}
    for task in world.tasks(made):
        if task["containerInstanceArn"] == host.arn and task["lastStatus"] == "PENDING":
            host.run(task["taskArn"])

    def evened_out():
        """the tasks of the new deployment, two in each zone"""
        found = zones(world, made)
        return found if found == {A: 2, B: 2} else None
    return [said, support.wait_for(evened_out), before]


@rule("service.update", "a service that is told not to leaves its zones uneven, until it is told to",
      ["DISABLED", [], {A: 4}, "ENABLED", {A: 2, B: 2}])
def _(world):
    support.needs(world.ecs, "CreateService", "availabilityZoneRebalancing")
    made = crowded(world, availabilityZoneRebalancing="DISABLED")
    opens(world, made).connect()
    other = crowded(world)  # it is evened out: by then, the first would have been, too
    opens(world, other).connect()
    world.told(other, "is AZ balanced")
    seen = [world.show(made)["availabilityZoneRebalancing"], about_zones(world, made),
            zones(world, made)]
    world.update(made, availabilityZoneRebalancing="ENABLED")
    world.told(made, "is AZ balanced")
    return [*seen, world.show(made)["availabilityZoneRebalancing"], zones(world, made)]


@rule("service.update", "an update that does not name it keeps availabilityZoneRebalancing",
      ["ENABLED", "ENABLED", "DISABLED", "DISABLED"])
def _(world):
    support.needs(world.ecs, "CreateService", "availabilityZoneRebalancing")
    made = world.create()
    seen = [made["availabilityZoneRebalancing"]]
    for more in ({"desiredCount": 0}, {"availabilityZoneRebalancing": "DISABLED"},
                 {"desiredCount": 0}):
        seen.append(world.update(made, **more)["availabilityZoneRebalancing"])
    return seen
