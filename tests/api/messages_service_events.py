"""What services tell: every event that the scheduler has a reason for, and when."""
import time

import support
from messages import Unreachable, rules
from service_world import CONTAINER, Host

CASES = []
rule = rules(CASES)
SECTION = "service.events"
UNPLACED = "was unable to place a task because no container instance met all of its requirements."
MORE = (" For more information, see the Troubleshooting section of the Amazon ECS Developer "
        "Guide.")
CLOSEST = UNPLACED + " The closest matching (container-instance ⟨host⟩) {}." + MORE
TASKS = "(task ⟨id⟩)"


def placed(world, count=1, **more):
    """A cluster with a host, and a service there."""
    cluster, [host] = world.place()
    return world.create(cluster=cluster, count=count, **more), host


@rule(SECTION, "a new service that comes to rest", [
    f"has started 2 tasks: {TASKS} {TASKS}.", "(deployment ⟨deployment⟩) deployment completed.",
    "has reached a steady state."])
def _(world):
    made, _ = placed(world, 2)
    world.words["deployment"] = made["deployments"][0]["id"]
    world.told(made, "has reached a steady state.")
    return world.messages(made)


@rule(SECTION, "a service that is scaled in", [
    f"has stopped 2 running tasks: {TASKS} {TASKS}.", "has reached a steady state."])
def _(world):
    made, _ = placed(world, 3)
    world.stable(made)
    before = world.messages(made)
    world.update(made, desiredCount=1)

    def more():
        """two events more"""
        told = world.messages(made)
        return told[len(before):] if len(told) >= len(before) + 2 else None
    return support.wait_for(more)


@rule(SECTION, "tasks that are stopped before they run", "stopped 2 pending tasks.")
def _(world):
    cluster, [host] = world.place()
    host.does["job"] = "hold"
    made = world.create(cluster=cluster, count=2)
    world.told(made, "has started 2 tasks")
    world.update(made, desiredCount=0)
    return world.told(made, "stopped 2")


@rule(SECTION, "a deployment that fails, and the way back", [
    "(deployment ⟨second⟩) deployment failed: tasks failed to start.",
    "rolling back to deployment ⟨first⟩.", "(deployment ⟨first⟩) deployment completed."])
def _(world):
    made, host = placed(world, deploymentConfiguration={
        "deploymentCircuitBreaker": {"enable": True, "rollback": True}})
    world.stable(made)
    world.words["first"] = made["deployments"][0]["id"]
    family = world.fresh("bad")
    world.register(family)
    host.does[family] = "fail"
    world.words["second"] = world.update(made, taskDefinition=family)["deployments"][0]["id"]
    world.told(made, "rolling back")

    def again():
        """the first deployment completed twice"""
        told = [m for m in world.messages(made) if "deployment" in m]
        return told[1:4] if len(told) >= 4 else None
    return support.wait_for(again)


@rule(SECTION, "a task that does not start, the same reason told once; then starts are delayed", [
    f"has started 1 tasks: {TASKS}.",
    "was unable to place a task. Reason: CannotPullContainerError: no such image.",
    f"has started 1 tasks: {TASKS}.", f"has started 1 tasks: {TASKS}.",
    "is unable to consistently start tasks successfully. For more information, see the "
    "Troubleshooting section."])
def _(world):
    cluster, [host] = world.place()
    host.does["job"] = "fail"
    made = world.create(cluster=cluster, count=1)
    world.told(made, "is unable to consistently")
    return world.messages(made)[:5]


# ---- tasks that find no place ----------------------------------------------------------------

rule(SECTION, "no instance at all", UNPLACED + MORE)(
    lambda world: world.told(world.create(cluster="empty", count=1), "was unable to place"))


def unplaced(title, why, container, fill=None, **more):
    """A service whose task fits no host of its cluster."""
    def ask(world):
        cluster, [host] = world.place()
        world.words["host"] = host.arn.rsplit("/", 1)[1]
        family = world.fresh("unplaced")
        world.register(family, containerDefinitions=[{**CONTAINER, **container}])
        made = world.create(cluster=cluster, family=family, count=fill or 1, **more)
        return world.told(made, UNPLACED)
    rule(SECTION, title, CLOSEST.format(why))(ask)


unplaced("no CPU is left", "has insufficient CPU units available", {"cpu": 8192})
unplaced("no memory is left", "has insufficient memory available", {"memory": 16384})
unplaced("a port of the host is taken", "is already using a port required by your task",
         {"portMappings": [{"containerPort": 80, "hostPort": 8080}]}, fill=2)
unplaced("the instance lacks an attribute", "is missing an attribute required by your task",
         {"logConfiguration": {"logDriver": "splunk"}})
unplaced("a constraint means no instance",
         'encountered error "MemberOf placement constraint unsatisfied."', {},
         placementConstraints=[{"type": "memberOf", "expression": "attribute:rack == none"}])


@rule(SECTION, "the agent is not connected", CLOSEST.format("doesn't have the agent connected"))
def _(world):
    cluster, _ = world.place(hosts=0)
    apart = Host(world.berth, cluster)
    world.words["host"] = apart.arn.rsplit("/", 1)[1]
    return world.told(world.create(cluster=cluster, count=1), UNPLACED)


@rule(SECTION, "the instance's disk is too full; the task starts when it has room again", [
    CLOSEST.format("takes no new tasks at the moment"), 1])
def _(world):
    cluster, [host] = world.place()
    world.words["host"] = host.arn.rsplit("/", 1)[1]
    host.say_status("IMPAIRED", time.time(), refusal="the disk is full")
    made = world.create(cluster=cluster, count=1)
    told = world.told(made, UNPLACED)
    host.say_status("OK", time.time())
    world.stable(made)
    return [told, world.show(made)["runningCount"]]


@rule(SECTION, "the agent has just gone; the task starts when it is back", [
    CLOSEST.format("doesn't have the agent connected"), 2])
def _(world):
    made, host = placed(world)
    world.stable(made)
    world.words["host"] = host.arn.rsplit("/", 1)[1]
    host.disconnect()

    def away():
        """an instance without its agent"""
        [shown] = world.ecs.describe_container_instances(
            cluster=made["clusterArn"], containerInstances=[host.arn])["containerInstances"]
        return not shown["agentConnected"]
    support.wait_for(away)
    world.update(made, desiredCount=2)
    told = world.told(made, UNPLACED)
    host.connect()

    def two():
        """two RUNNING tasks"""
        return world.show(made)["runningCount"] == 2
    support.wait_for(two)
    return [told, len(world.tasks(made))]


@rule(SECTION, "the closest instance is the one that meets most", CLOSEST.format(
    "has insufficient CPU units available"))
def _(world):
    cluster, _ = world.place(hosts=0)
    apart = Host(world.berth, cluster)
    near = Host(world.berth, cluster).connect()
    world.hosts += [apart, near]
    world.words["host"] = near.arn.rsplit("/", 1)[1]
    family = world.fresh("large")
    world.register(family, containerDefinitions=[{**CONTAINER, "cpu": 8192}])
    return world.told(world.create(cluster=cluster, family=family, count=1), UNPLACED)


@rule(SECTION, "what finds no place is told once", 1)
def _(world):
    made = world.create(cluster="empty", count=1)
    world.told(made, UNPLACED)
    for count in (2, 3, 4):
        world.update(made, desiredCount=count)
    return len(world.messages(made))


@rule(SECTION, "no room on Fargate", "was unable to place a task. Reason: Capacity is unavailable "
      "at this time. Please try again later or in a different availability zone.")
def _(world):
    family = world.fresh("large")
    world.register(family, networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="16384",
                   memory="32768", containerDefinitions=[{"name": "a", "image": "i"}])
    return world.told(world.fargate(family=family, count=1), "was unable to place")


# ---- what does not go on ---------------------------------------------------------------------

@rule(SECTION, "a deployment that its own percents forbid to begin",
      "was unable to stop or start tasks during a deployment because of the service deployment "
      "configuration. Update the minimumHealthyPercent or maximumPercent value and try again.")
def _(world):
    made, _ = placed(world, deploymentConfiguration={
        "maximumPercent": 100, "minimumHealthyPercent": 100})
    world.stable(made)
    world.update(made, forceNewDeployment=True)
    return world.told(made, "was unable to stop or start")


@rule(SECTION, "protection keeps tasks from being stopped",
      "was unable to reach steady state because (taskSet ⟨deployment⟩) was unable to scale in due "
      "to (reason 2 tasks under protection)")
def _(world):
    support.needs(world.ecs, "UpdateTaskProtection")
    made, _ = placed(world, 2)
    world.stable(made)
    world.words["deployment"] = made["deployments"][0]["id"]
    world.ecs.update_task_protection(
        cluster=made["clusterArn"], protectionEnabled=True,
        tasks=[task["taskArn"] for task in world.tasks(made)])
    world.update(made, desiredCount=0)
    return world.told(made, "was unable to reach steady state")


def unhealthy(world, **more):
    """A service of two tasks with a health check, both of which its host calls UNHEALTHY."""
    family = world.fresh("checked")
    world.register(family, containerDefinitions=[
        {**CONTAINER, "healthCheck": {"command": ["CMD", "true"]}}])
    made, host = placed(world, 2, family=family, **more)

    def running():
        """two tasks RUNNING"""
        tasks = world.tasks(made)
        return tasks if [task["lastStatus"] for task in tasks] == ["RUNNING"] * 2 else None
    tasks = support.wait_for(running)
    for task in tasks:
        host.health(task["taskArn"], a="HEALTHY")
    world.stable(made)
    host.does[family] = "hold"
    for task in tasks:
        host.health(task["taskArn"], a="UNHEALTHY")
    return made, host


@rule(SECTION, "tasks that are started in the place of unhealthy ones", [
    f"has started 1 tasks: {TASKS}. Amazon ECS replaced 1 tasks due to an unhealthy status."] * 2)
def _(world):
    made, _ = unhealthy(world)

    def replaced():
        """two replacements"""
        told = [m for m in world.messages(made) if "replaced" in m]
        return told if len(told) == 2 else None
    return support.wait_for(replaced)


@rule(SECTION, "a task that is stopped for its health",
      ["(task ⟨id⟩) failed container health checks.", f"has stopped 1 running tasks: {TASKS}.",
       ["Task failed container health checks", "ServiceSchedulerInitiated"]])
def _(world):
    made, host = unhealthy(world, deploymentConfiguration={
        "maximumPercent": 100, "minimumHealthyPercent": 0})
    said = [world.told(made, "(task"), world.told(made, "has stopped 1")]
    ended = world.ecs.list_tasks(cluster=made["clusterArn"], serviceName=made["serviceName"],
                                 desiredStatus="STOPPED")["taskArns"]
    task = world.ecs.describe_tasks(cluster=made["clusterArn"], tasks=ended[:1])["tasks"][0]
    return [*said, [task["stoppedReason"], task["stopCode"]]]


@rule(SECTION, "stopCode and stoppedReason of a task that a service stops", [
    "ServiceSchedulerInitiated", "Scaling activity initiated by (deployment ⟨deployment⟩)"])
def _(world):
    made, _ = placed(world)
    world.stable(made)
    world.words["deployment"] = made["deployments"][0]["id"]
    [task] = world.tasks(made)
    world.update(made, desiredCount=0)

    def stopped():
        """the task STOPPED"""
        shown = world.ecs.describe_tasks(cluster=made["clusterArn"], tasks=[task["taskArn"]])
        return shown["tasks"][0] if shown["tasks"][0]["lastStatus"] == "STOPPED" else None
    ended = support.wait_for(stopped)
    return [ended["stopCode"], ended["stoppedReason"]]


# ---- protection ------------------------------------------------------------------------------

@rule("2.7", "protection of a service's task: given, shown, taken away", [
    [True, True], [True, True], [False, False]])
def _(world):
    support.needs(world.ecs, "UpdateTaskProtection")
    made, _ = placed(world)
    world.stable(made)
    ask = {"cluster": made["clusterArn"], "tasks": [world.tasks(made)[0]["taskArn"]]}

    def seen(answer):
        [task] = answer["protectedTasks"]
        return [task["protectionEnabled"], "expirationDate" in task]
    return [seen(world.ecs.update_task_protection(protectionEnabled=True, **ask)),
            seen(world.ecs.get_task_protection(**ask)),
            seen(world.ecs.update_task_protection(protectionEnabled=False, **ask))]


@rule("2.7", "more protected tasks than the service is to have", [[
    "DEPLOYMENT_BLOCKED", "The service would have more protected tasks than its desired count, which "
    "keeps deployments from ending."]])
def _(world):
    support.needs(world.ecs, "UpdateTaskProtection")
    made, host = placed(world, 2)
    world.stable(made)
    host.does["stop"] = "hold"
    tasks = [task["taskArn"] for task in world.tasks(made)]
    world.update(made, desiredCount=1)
    answers = [world.ecs.update_task_protection(cluster=made["clusterArn"], tasks=[task],
                                                protectionEnabled=True) for task in tasks]
    host.release()
    return [[one["reason"], one["detail"]] for answer in answers for one in answer["failures"]]


NEVER = "Load balancers are not built yet."
NO_LIMIT = "A Berth has no such limits: what is there is what runs."
UNREACHABLE = [
    *(Unreachable(SECTION, message, NEVER) for message in (
        "registered 1 targets in (target-group ⟨arn⟩)",
        "deregistered 1 targets in (target-group ⟨arn⟩)",
        "has begun draining connections on 1 tasks.",
        "(task ⟨id⟩) (port 8080) is unhealthy in (target-group ⟨arn⟩) due to (reason ⟨why⟩).",
        "(taskSet ecs-svc/⟨n⟩) (task ⟨id⟩) is not healthy in (target-group ⟨arn⟩) due to TARGET "
        "GROUP IS NOT FOUND",
        "(taskSet ecs-svc/⟨n⟩) (task ⟨id⟩) is not healthy in (target-group ⟨arn⟩) due to TARGET IS "
        "NOT FOUND",
        "(task ⟨id⟩) (instance ⟨id⟩) is unhealthy in (elb ⟨name⟩) due to (reason ⟨why⟩)",
        "Task failed ELB health checks in (target-group ⟨arn⟩)")),
    Unreachable(SECTION, "(deployment ⟨id⟩) deployment failed: alarm detected.",
                "Nothing watches alarms yet."),
    Unreachable(SECTION, "The closest matching (container-instance ⟨id⟩) encountered error "
                "\"AGENT\".", "It is said as: doesn't have the agent connected."),
    *(Unreachable(SECTION, f"was unable to place a task. Reason: {why}.", NO_LIMIT) for why in (
        "You've reached the limit on the number of tasks you can run concurrently",
        "You've reached the limit on the number of vCPUs you can run concurrently",
        "The requested CPU configuration is above your limit",
        "The requested MEMORY configuration is above your limit", "Internal error")),
    Unreachable(SECTION, "operations are being throttled. Will try again later.",
                "The scheduler calls no other service that could throttle it."),
    Unreachable(SECTION, "could not launch ⟨n⟩ tasks for deployment ⟨id⟩.",
                "The reason is told instead."),
]
