"""Messages, failures and rules of RunTask and StartTask."""
import botocore.exceptions

import stock_agent
from messages import Case, Refusal, Unreachable, refused
from task_world import ARN, CLIENT, INVALID, lone_host, rules

CASES = []
rule = rules(CASES)


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
            "Error retrieving security group information for [sg-x]: The security group 'sg-x' "
            "does not exist (ErrorCode: InvalidGroup.NotFound)",
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
run_refused("with a group of 256 characters", INVALID, "group can have up to 255 characters.",
            group="g" * 256)
run_refused("with a referenceId of 1025 characters", INVALID,
            "referenceId can have up to 1024 characters.", referenceId="r" * 1025)
run_refused("with a clientToken of 65 characters", INVALID, TOKEN, clientToken="a" * 65)
run_refused("with a clientToken of other characters", INVALID, TOKEN, clientToken="a b")
run_refused("with propagateTags SERVICE", INVALID,
            "Invalid value for propagateTags: a task that no service starts has no service to take "
            "tags from.", propagateTags="SERVICE")
run_refused("with 6 placement strategies", INVALID,
            "A task can have at most 5 placement strategies.", placementStrategy=[{"type": "random"}] * 6)
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
overridden("containers above an overridden size", CLIENT,
           "The 'memory' setting for container is greater than for the task.",
           {"memory": "50"})
overridden("a role that is none", CLIENT, "Role is not valid", {"taskRoleArn": "a b"})
overridden("an override of memory below 6 MiB", CLIENT,
           "Invalid 'memory' setting for container 'a'.",
           {"containerOverrides": [{"name": "a", "memory": 5}]})


@rule("2.5", "Fargate's sizes hold on Fargate only: a definition for both, on an instance",
      ["EC2", "300", "700"])
def _(world):
    task = world.run("web", launchType="EC2", networkConfiguration=world.zone,
                     overrides={"cpu": "300", "memory": "700"})
    return [task["launchType"], task["cpu"], task["memory"]]


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


@rule("2.5", "a task of FARGATE_SPOT that no host has room for", [
    [None, "Capacity is unavailable at this time. Please try again later or in a different "
           "availability zone"]])
def _(world):
    return failures(world, cluster="providers", taskDefinition="web",
                    networkConfiguration=world.zone,
                    overrides={"cpu": "16384", "memory": "122880"},
                    capacityProviderStrategy=[{"capacityProvider": "FARGATE_SPOT"}])


@rule("2.5", "RunTask on an instance that is draining",
      [["INACTIVE", "The container instance is DRAINING."]])
def _(world):
    given = lacking()(world)
    arns = world.ecs.list_container_instances(cluster=given["cluster"])["containerInstanceArns"]
    world.ecs.update_container_instances_state(
        cluster=given["cluster"], containerInstances=arns, status="DRAINING")
    told = world.ask_for("RunTask", **given, taskDefinition="job")["failures"]
    return [[one["reason"], one["detail"]] for one in told]


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


UNREACHABLE = [
    Unreachable("2.5", "Task definition does not support launch_type EC2.",
                "what can be registered can run on instances"),
]
