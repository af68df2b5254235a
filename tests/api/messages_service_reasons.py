"""Why deployments of services fail, why their tasks stop, and what EventBridge is told of them."""
import stock_agent
import support
from hook_endpoint import Endpoint
from messages import Refusal, Unreachable, refused, rules, send
from messages_deployments import BREAKER, failing
from messages_stages import PAUSE
from service_world import ARN, CONTAINER, INVALID

CASES = []
rule = rules(CASES)
SECTION = "service.deployments"
STAGES = "service.stages"
EVENTS = "service.events"


# ---- the circuit breaker ---------------------------------------------------------------------

def tripped(world, end):
    """A service whose second revision's tasks end as a host says; why that deployment failed."""
    cluster, [host] = world.place()
    made = world.create(cluster=cluster, count=1, deploymentConfiguration=BREAKER)
    world.stable(made)
    family = world.fresh("bad")
    world.register(family)
    host.does[family] = end
    world.update(made, taskDefinition=family)
    return world.rolled(made, "ROLLBACK_SUCCESSFUL")["statusReason"]


FAILED = ("Service deployment ecs-svc/⟨number⟩ failed: 3 tasks in a row failed to start; the last "
          "one: ")


rule(SECTION, "why a deployment failed whose container exits", FAILED +
     "Essential container in task exited: container a exited with code 1")(
         lambda world: tripped(world, "crash"))


def out_of_memory(host, arn):
    host.run(arn)
    host.task(arn, "STOPPED", containers=[{
        "containerName": "a", "status": "STOPPED", "exitCode": 137,
        "reason": "OutOfMemoryError: container killed due to memory usage"}])


rule(SECTION, "why a deployment failed whose container says why it ended", FAILED +
     "Essential container in task exited: container a: OutOfMemoryError: container killed due to "
     "memory usage")(lambda world: tripped(world, out_of_memory))


def no_image(host, arn):
    reason = "CannotPullContainerError: no such image"
    host.task(arn, "STOPPED", reason=reason, containers=[
        {"containerName": "a", "status": "STOPPED", "reason": reason}])


rule(SECTION, "why a deployment failed whose task and container say the same", FAILED +
     "container a: CannotPullContainerError: no such image")(
         lambda world: tripped(world, no_image))


@rule(SECTION, "the deployment that the circuit breaker goes back to",
      "ECS deployment circuit breaker: rolling back to deploymentId ⟨first⟩.")
def _(world):
    cluster, [host] = world.place()
    made = world.stable(world.create(cluster=cluster, count=4, deploymentConfiguration=BREAKER))
    world.words["first"] = first = made["deployments"][0]["id"]
    family, ended = world.fresh("bad"), []
    world.register(family)

    def fail_thrice(host, arn):  # the fourth starts, and is in the way of the rollback
        if len(ended) < 3:
            ended.append(arn)
            host.task(arn, "STOPPED", reason="CannotPullContainerError: no such image")
    host.does.update({family: fail_thrice, "stop": "hold"})
    world.update(made, taskDefinition=family)

    def back():
        """the first deployment PRIMARY again"""
        one = world.show(made)["deployments"][0]
        return one if one["id"] == first else None
    return support.wait_for(back)["rolloutStateReason"]


@rule(SECTION, "a deployment that another one of nothing but failures goes back to fails as well",
      "ROLLBACK_FAILED")
def _(world):
    cluster, [host] = world.place()
    made = world.create(cluster=cluster, count=1, deploymentConfiguration=BREAKER)
    made = world.stable(made)
    [task] = world.tasks(made)
    family = world.fresh("bad")
    world.register(family)
    host.does.update({family: "fail", "job": "fail"})
    # The task of the first one must be gone when the second one fails, and cannot come again.
    world.update(made, taskDefinition=family, deploymentConfiguration={
        **BREAKER, "minimumHealthyPercent": 0, "maximumPercent": 100})
    host.end(task["taskArn"])
    return world.rolled(made, "ROLLBACK_FAILED")["status"]


@rule(SECTION, "a service that is deleted while a deployment is under way", [
    "STOPPED", "The service was deleted."])
def _(world):
    support.needs(world.ecs, "DescribeServiceDeployments")
    cluster, [host] = world.place()
    host.does["job"] = "hold"
    made = world.create(cluster=cluster, count=1)
    arn = world.show(made)["currentServiceDeployment"]
    world.ecs.delete_service(cluster=cluster, service=made["serviceName"], force=True)
    [shown] = world.ecs.describe_service_deployments(
        serviceDeploymentArns=[arn])["serviceDeployments"]
    return [shown["status"], shown["statusReason"]]


# ---- lifecycle hooks -------------------------------------------------------------------------

def hooked(world, *hooks, **more):
    """A service that ran, with a second deployment under way that has hooks; and its host."""
    support.needs(world.ecs, "ContinueServiceDeployment")
    cluster, [host] = world.place()
    made = world.create(cluster=cluster, count=1, **more)
    made = world.stable(made)
    world.update(made, forceNewDeployment=True, deploymentConfiguration={
        "strategy": "BLUE_GREEN", "lifecycleHooks": list(hooks)})
    return made, host


def of(target, **more):
    return {"hookTargetArn": target, "lifecycleStages": ["PRE_SCALE_UP"], **more}


HOOK = "Lifecycle hook ⟨id⟩ (⟨target⟩) of stage PRE_SCALE_UP failed: "


def answered(answer):
    def ask(world):
        with Endpoint(answer) as endpoint:
            made, _ = hooked(world, of(endpoint.url))
            return world.rolled(made, "ROLLBACK_SUCCESSFUL")["statusReason"]
    return ask


for title, answer, said in (
        ("FAILED", {"hookStatus": "FAILED"}, "It answered FAILED."),
        ("nothing of use", {}, "It answered without a hookStatus of SUCCEEDED, FAILED or "
         "IN_PROGRESS."),
        ("with too many hookDetails", {"hookStatus": "SUCCEEDED", "hookDetails": "d" * 5000},
         "It answered with more than 4096 bytes of hookDetails.")):
    rule(STAGES, f"why a deployment failed whose hook answers {title}", HOOK + said)(
        answered(answer))


@rule(STAGES, "events and states of a deployment whose hook fails", [
    "(deployment ⟨second⟩) deployment failed: a lifecycle hook failed.", "FAILED",
    "ECS deployment failed: " + HOOK + "It answered FAILED.",
    "ECS deployment rolling back to deploymentId ⟨first⟩."])
def _(world):
    with Endpoint({"hookStatus": "IN_PROGRESS", "callBackDelay": 1},
                  {"hookStatus": "FAILED"}) as endpoint:
        made, host = hooked(world, {**of(endpoint.url), "lifecycleStages": ["POST_SCALE_UP"]})
        world.words.update(first=made["deployments"][0]["id"],
                           second=world.show(made)["deployments"][0]["id"])
        host.does["stop"] = "hold"
        told = world.told(made, "(deployment ⟨second⟩) deployment failed".replace(
            "⟨second⟩", world.words["second"]))
        first, second = world.show(made)["deployments"]
    return [told, second["rolloutState"],
            second["rolloutStateReason"].replace("POST_SCALE_UP", "PRE_SCALE_UP"),
            first["rolloutStateReason"]]


@rule(STAGES, "why a deployment failed that a person did not continue",
      "Lifecycle hook ⟨id⟩ (PAUSE) of stage PRE_SCALE_UP failed: A rollback was requested with "
      "ContinueServiceDeployment.")
def _(world):
    made, _ = hooked(world, PAUSE)

    def waits():
        """a hook that waits"""
        return world.rollout(made).get("lifecycleHookDetails")
    world.ecs.continue_service_deployment(
        serviceDeploymentArn=world.show(made)["currentServiceDeployment"],
        hookId=support.wait_for(waits)[0]["hookId"], action="ROLLBACK")
    return world.rolled(made, "ROLLBACK_SUCCESSFUL")["statusReason"]


def by_task(world, end, *before):
    """Why a deployment failed whose hook is a task that ends as a host says."""
    family = world.fresh("check")
    check = world.register(family)
    support.needs(world.ecs, "ContinueServiceDeployment")
    cluster, [host] = world.place()
    made = world.stable(world.create(cluster=cluster, count=1))
    host.does[family] = end
    world.update(made, forceNewDeployment=True, deploymentConfiguration={
        "strategy": "BLUE_GREEN", "lifecycleHooks": [*before, of(check)]})
    return made, check


rule(STAGES, "why a deployment failed whose hook is a task that exits with 1",
     HOOK + "task ⟨id⟩: container a exited with 1.")(
         lambda world: world.rolled(by_task(world, "crash")[0],
                                    "ROLLBACK_SUCCESSFUL")["statusReason"])
rule(STAGES, "why a deployment failed whose hook is a task that does not start",
     HOOK + "task ⟨id⟩: CannotPullContainerError: no such image")(
         lambda world: world.rolled(by_task(world, "fail")[0],
                                    "ROLLBACK_SUCCESSFUL")["statusReason"])


@rule(STAGES, "why a deployment failed whose hook's task definition went meanwhile",
      "Lifecycle hook ⟨id⟩ (⟨target⟩) of stage POST_SCALE_UP failed: Its task definition is gone or "
      "INACTIVE.")
def _(world):
    check = world.register(world.fresh("check"))
    made, _ = hooked(world, PAUSE, {**of(check), "lifecycleStages": ["POST_SCALE_UP"]})

    def waits():
        """a hook that waits"""
        return world.rollout(made).get("lifecycleHookDetails")
    identity = support.wait_for(waits)[0]["hookId"]
    world.ecs.deregister_task_definition(taskDefinition=check)
    world.ecs.continue_service_deployment(
        serviceDeploymentArn=world.show(made)["currentServiceDeployment"], hookId=identity)
    return world.rolled(made, "ROLLBACK_SUCCESSFUL")["statusReason"]


@rule(STAGES, "a hook's task that finds no place",
      "was unable to place the task of lifecycle hook ⟨id⟩. It is tried again.")
def _(world):
    family = world.fresh("large")
    check = world.register(family, containerDefinitions=[{**CONTAINER, "cpu": 100000}])
    made, _ = hooked(world, of(check))
    return world.told(made, "was unable to place the task of")


@rule(STAGES, "stoppedReason of a hook's task that is not waited for any more",
      "The lifecycle hook is no longer awaited.")
def _(world):
    made, _ = by_task(world, "run")

    def runs():
        """the hook's task"""
        shown = world.rollout(made).get("lifecycleHookDetails")
        return shown and world.ecs.list_tasks(
            cluster=made["clusterArn"], startedBy=shown[0]["hookId"])["taskArns"]
    [task] = support.wait_for(runs)
    world.ecs.stop_service_deployment(
        serviceDeploymentArn=world.show(made)["currentServiceDeployment"])

    def told():
        """its end"""
        return world.ecs.describe_tasks(cluster=made["clusterArn"],
                                        tasks=[task])["tasks"][0].get("stoppedReason")
    return support.wait_for(told)


@rule(STAGES, "CreateService of a DAEMON that goes by stages", Refusal(
    INVALID, "The daemon scheduling strategy is not supported with the BLUE_GREEN deployment "
             "strategy."))
def _(world):
    return refused(world.ecs, "CreateService", cluster="c", serviceName="daemon",
                   taskDefinition="job", schedulingStrategy="DAEMON",
                   deploymentConfiguration={"strategy": "BLUE_GREEN"})


# ---- capacity --------------------------------------------------------------------------------

@rule(EVENTS, "a capacity provider without instances",
      ["was unable to reach steady state. Reason: No Container Instances were found in your capacity "
       "provider.", ["SERVICE_TASK_PLACEMENT_FAILURE"]])
def _(world):
    cluster, _ = world.place()  # its host is of no group
    name = world.fresh("void")
    world.ecs.create_capacity_provider(name=name, autoScalingGroupProvider={
        "autoScalingGroupArn": name, "managedScaling": {"status": "DISABLED"}})
    world.ecs.put_cluster_capacity_providers(cluster=cluster, capacityProviders=[name],
                                             defaultCapacityProviderStrategy=[])
    made = world.create(cluster=cluster, count=1, capacityProviderStrategy=[
        {"capacityProvider": name, "weight": 1}])
    return [world.told(made, "was unable to reach steady state"), world.actions(made)]


@rule(EVENTS, "a task that its host cannot set up",
      "was unable to place a task. Reason: ResourceInitializationError: no secret.")
def _(world):
    cluster, [host] = world.place()
    host.does["job"] = lambda host, arn: host.task(
        arn, "STOPPED", reason="ResourceInitializationError: no secret")
    return world.told(world.create(cluster=cluster, count=1), "was unable to place a task")


@rule(EVENTS, "events begin with the name of the service, those of a task set with its own, too", [
    "(service ⟨name⟩) updated computedDesiredCount for taskSet ⟨set⟩ to 1.",
    "(service ⟨name⟩, taskSet ⟨set⟩) updated state to STEADY_STATE."])
def _(world):
    made = world.create(family=None, count=1, deploymentController={"type": "EXTERNAL"})
    one = world.ecs.create_task_set(cluster="c", service=made["serviceName"], taskDefinition="job",
                                    scale={"value": 100, "unit": "PERCENT"})["taskSet"]
    world.words.update(name=made["serviceName"], set=one["id"])

    def told():
        """the steady state"""
        found = [event["message"] for event in reversed(world.show(made)["events"])]
        return found if any("STEADY_STATE" in message for message in found) else None
    found = support.wait_for(told)
    return [next(message for message in found if word in message)
            for word in ("computedDesiredCount", "STEADY_STATE")]


# ---- protection ------------------------------------------------------------------------------

def protected(world, cluster, arn):
    support.needs(world.ecs, "UpdateTaskProtection")
    [failure] = world.ecs.update_task_protection(cluster=cluster, tasks=[arn],
                                                 protectionEnabled=True)["failures"]
    return [failure["reason"], failure["detail"]]


@rule("2.7", "protection of a task that no service started", [
    "TASK_NOT_VALID", "The task was not started by a service and cannot be protected."])
def _(world):
    cluster, _ = world.place()
    [task] = world.ecs.run_task(cluster=cluster, taskDefinition="job")["tasks"]
    return protected(world, cluster, task["taskArn"])


@rule("2.7", "protection of a task that is STOPPED", [
    "TASK_NOT_VALID", "The task is STOPPED and cannot be protected."])
def _(world):
    cluster, _ = world.place()
    made = world.stable(world.create(cluster=cluster, count=1))
    [task] = world.tasks(made)
    world.update(made, desiredCount=0)
    stock_agent.wait_status(world.ecs, cluster, task["taskArn"], "STOPPED")
    return protected(world, cluster, task["taskArn"])


# ---- what EventBridge is told ----------------------------------------------------------------

def names_told(world, made, *last):
    """Names of the events of a service, once the last of them are there."""
    def told():
        events = stock_agent.post(world.berth, "Berth.ListEvents", {
            "service": made["serviceArn"], "maxResults": 100})["events"]
        names = [event["event"]["detail"].get("eventName") for event in events]
        names = [name for name in names if name is not None]
        return names if set(last) <= set(names) else None
    told.__doc__ = f"the events {last}"
    return support.wait_for(told)


@rule(EVENTS, "names of the events of a service that comes to rest and is updated in vain", [
    "SERVICE_DEPLOYMENT_IN_PROGRESS", "SERVICE_DEPLOYMENT_COMPLETED", "SERVICE_STEADY_STATE",
    "SERVICE_DEPLOYMENT_FAILED", "SERVICE_TASK_START_IMPAIRED"])
def _(world):
    made, _ = failing(world, deploymentConfiguration={
        "deploymentCircuitBreaker": {"enable": True, "rollback": False}})
    names = names_told(world, made, "SERVICE_DEPLOYMENT_FAILED", "SERVICE_TASK_START_IMPAIRED")
    return [*names[:3], *sorted(set(names) - set(names[:3]))]


@rule(EVENTS, "an event of a task set that is steady", "TASKSET_STEADY_STATE")
def _(world):
    made = world.create(family=None, deploymentController={"type": "EXTERNAL"})
    world.ecs.create_task_set(cluster="c", service=made["serviceName"], taskDefinition="job")
    return names_told(world, made, "TASKSET_STEADY_STATE")[-1]


@rule(EVENTS, "an event of a task of a DAEMON that its constraints do not mean any more",
      "SERVICE_DAEMON_PLACEMENT_CONSTRAINT_VIOLATED")
def _(world):
    cluster, [host] = world.place()
    rack = {"name": "rack", "targetType": "container-instance", "targetId": host.arn}
    world.ecs.put_attributes(cluster=cluster, attributes=[{**rack, "value": "r1"}])
    made = world.create(cluster=cluster, schedulingStrategy="DAEMON", placementConstraints=[
        {"type": "memberOf", "expression": "attribute:rack == r1"}])
    world.stable(made)
    world.ecs.put_attributes(cluster=cluster, attributes=[{**rack, "value": "r2"}])
    wanted = "SERVICE_DAEMON_PLACEMENT_CONSTRAINT_VIOLATED"
    return next(name for name in names_told(world, made, wanted) if name == wanted)


UNREACHABLE = [
    Unreachable(EVENTS, "SERVICE_TASK_CONFIGURATION_FAILURE",
                "Nothing that a service names can go while the service is there: definitions are "
                "kept, subnets and groups cannot be deleted, providers are in use."),
    Unreachable(EVENTS, "SERVICE_DESIRED_COUNT_UPDATED",
                "It is of a count that scaling sets, and there is no scaling yet."),
]
