"""Messages and rules of service deployments and service revisions."""
import datetime

import support
from messages import Case, Refusal, Unreachable, refused, rules, send
from messages_services import GROUP, INVALID, TARGET
from service_world import ARN, CONTAINER, DIGEST

CASES = []
rule = rules(CASES)
BREAKER = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
SECTION = "service.deployments"


def deployment_refused(title, operation, code, message, **members):
    CASES.append(Case(SECTION, f"{operation} {title}",
                      lambda world: refused(world.ecs, operation, **{
                          name: value(world) if callable(value) else value
                          for name, value in members.items()}), Refusal(code, message)))


def arn_of(kind):
    return lambda world: (f"arn:aws:ecs:{world.words['region']}:{world.words['account']}:"
                          f"{kind}/c/none/1")


for operation, member, what, kind in (
        ("DescribeServiceDeployments", "serviceDeploymentArns", "service deployment",
         "service-deployment"),
        ("DescribeServiceRevisions", "serviceRevisionArns", "service revision",
         "service-revision")):
    deployment_refused("of none", operation, INVALID,
                       f"{what.capitalize()}s cannot be empty.", **{member: []})
    deployment_refused("of 21", operation, INVALID, f"{what} ARNs can have at most 20 items.",
                       **{member: ["x"] * 21})
    deployment_refused("of what is no such ARN", operation, INVALID, f"Invalid {what} ARN: x",
                       **{member: ["x"]})
    rule(SECTION, f"{operation} of what does not exist", [
        {"arn": f"{ARN}{kind}/c/none/1", "reason": "MISSING"}])(
            lambda world, operation=operation, member=member, kind=kind: send(
                world.ecs, operation, {member: [arn_of(kind)(world)]})["failures"])

deployment_refused("in a cluster that does not exist", "ListServiceDeployments",
                   "ClusterNotFoundException", "Cluster not found.", cluster="none", service="s")
deployment_refused("of a service that does not exist", "ListServiceDeployments",
                   "ServiceNotFoundException", "Service not found.", cluster="c", service="none")
for number in (0, 101):
    deployment_refused(f"with maxResults {number}", "ListServiceDeployments", INVALID,
                       "maxResults must be between 1 and 100.", cluster="c", maxResults=number,
                       service=lambda world: world.create()["serviceName"])
deployment_refused("of what does not exist", "StopServiceDeployment",
                   "ServiceDeploymentNotFoundException", "Service deployment not found.",
                   serviceDeploymentArn=arn_of("service-deployment"))
deployment_refused("of what is no such ARN", "StopServiceDeployment", INVALID,
                   "Invalid service deployment ARN: x", serviceDeploymentArn="x")
deployment_refused("with stopType ABORT", "StopServiceDeployment", INVALID,
                   "The stopType ABORT is not supported. Specify ROLLBACK and try again.",
                   serviceDeploymentArn=arn_of("service-deployment"), stopType="ABORT")


@rule(SECTION, "StopServiceDeployment of one that has ended",
      Refusal("ConflictException", "The service deployment has ended and cannot be stopped."))
def _(world):
    support.needs(world.ecs, "StopServiceDeployment")
    made = world.create(cluster="empty")
    ended = world.rolled(made, "SUCCESSFUL")
    return refused(world.ecs, "StopServiceDeployment",
                   serviceDeploymentArn=ended["serviceDeploymentArn"])


# ---- what they are like ----------------------------------------------------------------------

def timeless(value):
    if isinstance(value, dict):
        return {name: timeless(item) for name, item in value.items()
                if not isinstance(item, datetime.datetime)}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def summary(requested, running):
    return {"arn": ARN + "service-revision/⟨cluster⟩/⟨name⟩/⟨number⟩",
            "requestedTaskCount": requested, "runningTaskCount": running, "pendingTaskCount": 0}


def named(world, made):
    world.words.update(cluster=made["clusterArn"].rsplit("/", 1)[1], name=made["serviceName"])
    return made


@rule(SECTION, "what a service deployment that has ended is like", {
    "serviceDeploymentArn": ARN + "service-deployment/⟨cluster⟩/⟨name⟩/⟨id⟩",
    "serviceArn": ARN + "service/⟨cluster⟩/⟨name⟩", "clusterArn": ARN + "cluster/⟨cluster⟩",
    "sourceServiceRevisions": [summary(0, 0)], "targetServiceRevision": summary(1, 1),
    "status": "SUCCESSFUL", "deploymentConfiguration": {
        "deploymentCircuitBreaker": {"enable": False, "rollback": False}, "maximumPercent": 200,
        "minimumHealthyPercent": 100, "strategy": "ROLLING", "bakeTimeInMinutes": 0},
    "deploymentCircuitBreaker": {"status": "DISABLED", "failureCount": 0, "threshold": 3},
    "alarms": {"status": "DISABLED", "alarmNames": []}})
def _(world):
    cluster, _ = world.place()
    made = named(world, world.create(cluster=cluster, count=1))
    world.stable(made)
    world.update(made, forceNewDeployment=True)
    world.stable(made)
    shown = timeless(world.rolled(made, "SUCCESSFUL"))
    shown["alarms"].setdefault("alarmNames", [])
    return shown


@rule(SECTION, "times of a service deployment, under way and ended",
      [["createdAt", "startedAt", "updatedAt"],
       ["createdAt", "finishedAt", "startedAt", "updatedAt"]])
def _(world):
    def times(shown):
        return sorted(name for name, value in shown.items()
                      if isinstance(value, datetime.datetime))
    cluster, [host] = world.place()
    host.does["job"] = "hold"
    made = world.create(cluster=cluster, count=1)
    first = times(world.rollout(made))
    host.does = {}
    [task] = world.tasks(made)
    host.run(task["taskArn"])
    return [first, times(world.rolled(made, "SUCCESSFUL"))]


@rule(SECTION, "the circuit breaker of a service deployment: under way, then ended",
      [{"status": "MONITORING", "failureCount": 0, "threshold": 5},
       {"status": "MONITORING_COMPLETE", "failureCount": 0, "threshold": 5}])
def _(world):
    cluster, [host] = world.place()
    host.does["job"] = "hold"
    made = world.create(cluster=cluster, count=10, deploymentConfiguration=BREAKER)
    first = world.rollout(made)["deploymentCircuitBreaker"]
    host.does = {}
    for task in world.tasks(made):
        host.run(task["taskArn"])
    return [first, world.rolled(made, "SUCCESSFUL")["deploymentCircuitBreaker"]]


def failing(world, count=1, **more):
    """A service that is stable, and then gets a revision whose tasks do not start."""
    cluster, [host] = world.place()
    made = named(world, world.create(cluster=cluster, count=count, **more))
    made = world.stable(made)
    family = world.fresh("bad")
    world.register(family)
    host.does[family] = "fail"
    world.update(made, taskDefinition=family)
    return made, host


@rule(SECTION, "the circuit breaker trips at its threshold, and the service goes back", [
    "ROLLBACK_SUCCESSFUL", {"status": "TRIGGERED", "failureCount": 3, "threshold": 3}, True, True,
    "Service deployment ecs-svc/⟨number⟩ failed: 3 tasks in a row failed to start; the last one: "
    "CannotPullContainerError: no such image"])
def _(world):
    made, _ = failing(world, deploymentConfiguration=BREAKER)
    ended = world.rolled(made, "ROLLBACK_SUCCESSFUL")
    back = ended["rollback"]
    return [ended["status"], ended["deploymentCircuitBreaker"],
            back["serviceRevisionArn"] == made["currentServiceRevisions"][0]["arn"],
            back["startedAt"] >= ended["startedAt"], back["reason"]]


@rule(SECTION, "deployments of a service that went back: the first one again, under its own id",
      ["COMPLETED", "ECS deployment ⟨first⟩ completed."])
def _(world):
    made, _ = failing(world, deploymentConfiguration=BREAKER)
    world.words["first"] = made["deployments"][0]["id"]
    world.rolled(made, "ROLLBACK_SUCCESSFUL")
    [shown] = world.stable(made)["deployments"]
    assert shown["id"] == made["deployments"][0]["id"]
    return [shown["rolloutState"], shown["rolloutStateReason"]]


@rule(SECTION, "without rollback the service deployment is STOPPED, and no task is started", [
    "STOPPED", "FAILED", "ECS deployment circuit breaker: tasks failed to start.", 3, 1])
def _(world):
    made, _ = failing(world, deploymentConfiguration={
        "deploymentCircuitBreaker": {"enable": True, "rollback": False}})
    ended = world.rolled(made, "STOPPED")
    shown = world.show(made)
    first = shown["deployments"][0]
    return [ended["status"], first["rolloutState"], first["rolloutStateReason"],
            first["failedTasks"], shown["runningCount"]]


@rule(SECTION, "a new service has nothing to go back to", ["STOPPED", None, "FAILED"])
def _(world):
    cluster, [host] = world.place()
    host.does["job"] = "fail"
    made = world.create(cluster=cluster, count=1, deploymentConfiguration=BREAKER)
    ended = world.rolled(made, "STOPPED")
    return [ended["status"], ended.get("rollback"),
            world.show(made)["deployments"][0]["rolloutState"]]


# ---- StopServiceDeployment -------------------------------------------------------------------

def stop(world, made, **more):
    support.needs(world.ecs, "StopServiceDeployment")
    arn = world.show(made)["currentServiceDeployment"]
    answer = world.ecs.stop_service_deployment(serviceDeploymentArn=arn, **more)
    assert answer["serviceDeploymentArn"] == arn
    return arn


def held(world, **more):
    """A service that is stable, and a deployment of it that does not get on."""
    cluster, [host] = world.place()
    made = named(world, world.create(cluster=cluster, count=2, **more))
    made = world.stable(made)
    family = world.fresh("held")
    world.register(family)
    host.does[family] = "hold"
    return made, host, world.update(made, taskDefinition=family)


@rule(SECTION, "StopServiceDeployment goes back to the deployment that was completed last", [
    "ROLLBACK_SUCCESSFUL", "A rollback was requested with StopServiceDeployment.", True, True, True])
def _(world):
    made, _, _ = held(world)
    running = sorted(task["taskArn"] for task in world.tasks(made)
                     if task["lastStatus"] == "RUNNING")
    stop(world, made, stopType="ROLLBACK")
    ended = world.rolled(made, "ROLLBACK_SUCCESSFUL")
    shown = world.stable(made)
    return [ended["status"], ended["rollback"]["reason"],
            ended["rollback"]["serviceRevisionArn"] == made["currentServiceRevisions"][0]["arn"],
            shown["deployments"][0]["id"] == made["deployments"][0]["id"],
            sorted(task["taskArn"] for task in world.tasks(made)) == running]


@rule(SECTION, "deployments while StopServiceDeployment goes back", [
    ["PRIMARY", "IN_PROGRESS", "ECS deployment rolling back to deploymentId ⟨first⟩."],
    ["ACTIVE", "FAILED", "ECS deployment stopped: a rollback was requested."],
    "ROLLBACK_IN_PROGRESS"])
def _(world):
    made, host, _ = held(world)
    world.words["first"] = made["deployments"][0]["id"]
    host.does["stop"] = "hold"
    stop(world, made)
    shown = world.show(made)["deployments"]
    stop(world, made)  # allowed, and changes nothing
    status = world.rollout(made)["status"]
    host.release()
    return [*([one["status"], one["rolloutState"], one["rolloutStateReason"]] for one in shown),
            status]


@rule(SECTION, "StopServiceDeployment of a new service's: there is nothing to go back to", [
    "STOPPED", "The service deployment was stopped with StopServiceDeployment. There is no completed "
    "deployment to roll back to.", None, "FAILED"])
def _(world):
    cluster, [host] = world.place()
    host.does["job"] = "hold"
    made = world.create(cluster=cluster, count=1)
    stop(world, made)
    ended = world.rolled(made, "STOPPED")
    return [ended["status"], ended["statusReason"], ended.get("rollback"),
            world.show(made)["deployments"][0]["rolloutState"]]


@rule(SECTION, "a new deployment ends the one under way", [
    ["IN_PROGRESS", None], ["STOPPED", "A newer service deployment took its place."],
    ["SUCCESSFUL", None]])
def _(world):
    support.needs(world.ecs, "ListServiceDeployments")
    made, _, _ = held(world)
    family = world.fresh("held")
    world.register(family)
    world.hosts[-1].does[family] = "hold"
    world.update(made, taskDefinition=family)
    shown = world.ecs.list_service_deployments(
        cluster=made["clusterArn"], service=made["serviceName"])["serviceDeployments"]
    return [[one["status"], one.get("statusReason")] for one in shown]


# ---- ListServiceDeployments ------------------------------------------------------------------

@rule(SECTION, "ListServiceDeployments shows 20, the newest first; by status; by time",
      [20, 2, True, 22, 0, 22, 0])
def _(world):
    support.needs(world.ecs, "ListServiceDeployments")
    made = world.create(cluster="empty")
    world.rolled(made, "SUCCESSFUL")
    for _ in range(21):
        world.update(made, forceNewDeployment=True)
        world.rolled(made, "SUCCESSFUL")
    ask = {"cluster": "empty", "service": made["serviceArn"]}
    first = world.ecs.list_service_deployments(**ask)
    second = world.ecs.list_service_deployments(nextToken=first["nextToken"], **ask)
    times = [one["createdAt"] for one in
             first["serviceDeployments"] + second["serviceDeployments"]]
    before = times[-1] - datetime.timedelta(seconds=5)

    def count(**more):
        return len(world.ecs.list_service_deployments(
            maxResults=100, **ask, **more)["serviceDeployments"])
    return [len(first["serviceDeployments"]), len(second["serviceDeployments"]),
            times == sorted(times, reverse=True), count(status=["SUCCESSFUL"]),
            count(status=["PENDING", "IN_PROGRESS"]), count(createdAt={"after": before}),
            count(createdAt={"before": before})]


# ---- revisions -------------------------------------------------------------------------------

def revision(world, made):
    support.needs(world.ecs, "DescribeServiceRevisions")
    arn = world.show(made)["currentServiceRevisions"][0]["arn"]
    return world.ecs.describe_service_revisions(serviceRevisionArns=[arn])["serviceRevisions"][0]


@rule(SECTION, "what a service revision is like, once a task of it ran", {
    "serviceRevisionArn": ARN + "service-revision/⟨cluster⟩/⟨name⟩/⟨number⟩",
    "serviceArn": ARN + "service/⟨cluster⟩/⟨name⟩", "clusterArn": ARN + "cluster/⟨cluster⟩",
    "taskDefinition": ARN + "task-definition/job:⟨revision⟩", "launchType": "EC2",
    "loadBalancers": [{"targetGroupArn": GROUP, "containerName": "a", "containerPort": 80}],
    "containerImages": [{"containerName": "a", "imageDigest": DIGEST, "image": "i"}],
    "guardDutyEnabled": False,
    "resolvedConfiguration": {"loadBalancers": [{"targetGroupArn": GROUP}]}})
def _(world):
    cluster, _ = world.place()
    made = named(world, world.create(cluster=cluster, count=1, loadBalancers=[TARGET]))
    world.stable(made)
    return timeless(revision(world, made))


def digests(world, made, host):
    """The digests that the host was told to use for the service's tasks, in the order of these."""
    arns = {task["taskArn"] for task in world.tasks(made)}
    images = [spec["containers"][0]["image"] for arn, spec in host.specs.items() if arn in arns]
    return [image.partition("@")[2] or None for image in images]


@rule(SECTION, "versionConsistency: later tasks of a revision get the image of its first one, those "
      "of a new deployment the one of their own first", [[None], [None, DIGEST, DIGEST], [None]])
def _(world):
    cluster, [host] = world.place()
    made = world.create(cluster=cluster, count=1)
    world.stable(made)
    seen = [digests(world, made, host)]
    world.update(made, desiredCount=3)
    world.stable(made)
    support.wait_for(lambda: len(digests(world, made, host)) == 3)
    seen.append(digests(world, made, host))
    world.update(made, desiredCount=1)
    world.update(made, forceNewDeployment=True)
    world.stable(made)
    return [*seen, digests(world, made, host)]


@rule(SECTION, "versionConsistency disabled: every task resolves its tag", [[None, None]])
def _(world):
    cluster, [host] = world.place()
    family = world.fresh("tags")
    world.register(family, containerDefinitions=[{**CONTAINER, "versionConsistency": "disabled"}])
    made = world.create(cluster=cluster, count=1, family=family)
    world.stable(made)
    world.update(made, desiredCount=2)
    world.stable(made)
    support.wait_for(lambda: len(digests(world, made, host)) == 2)
    return [digests(world, made, host)]


@rule(SECTION, "a revision on Fargate is of a platform version that is resolved",
      ["FARGATE", "1.4.0", "Linux"])
def _(world):
    shown = revision(world, world.fargate())
    return [shown.get(name) for name in ("launchType", "platformVersion", "platformFamily")]


@rule(SECTION, "a revision never changes: an update that deploys makes another one", [1, 2])
def _(world):
    made = world.create(cluster="empty")
    first = revision(world, made)["serviceRevisionArn"]
    world.update(made, desiredCount=0)
    same = revision(world, made)["serviceRevisionArn"]
    world.update(made, forceNewDeployment=True)
    other = revision(world, made)["serviceRevisionArn"]
    return [len({first, same}), len({first, other})]


UNREACHABLE = [
    Unreachable(SECTION, "STOP_REQUESTED, ROLLBACK_REQUESTED",
                "A rollback that is asked for begins before the answer can be followed by a "
                "question, so ROLLBACK_IN_PROGRESS is what is seen."),
    Unreachable(SECTION, "alarms: MONITORING, TRIGGERED, MONITORING_COMPLETE; deployment failed: "
                "alarm detected.", "Nothing watches alarms yet."),
]
