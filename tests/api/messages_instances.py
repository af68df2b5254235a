"""Messages and rules of container instances and of what agents ask."""
import stock_agent
from messages import Case, Refusal, Unreachable, refusal, refused, send
from task_world import ARN, INVALID, lone_host, rules

CASES = []
rule = rules(CASES)


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


@rule("3.2", "an agent that registers again with another instance type",
      [INVALID, "Container instance type changes are not supported. Container instance ⟨arn⟩ was "
                "previously registered as m5.large."])
def _(world):
    name, made = one_of(world, attributes=[{"name": "ecs.instance-type", "value": "m5.large"}])
    return list(refused(world.ecs, "RegisterContainerInstance", cluster=name,
                        containerInstanceArn=made["containerInstanceArn"],
                        totalResources=stock_agent.RESOURCES,
                        attributes=[{"name": "ecs.instance-type", "value": "m5.xlarge"}]))


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
    refusal("3.2", "RegisterContainerInstance without CPU", "RegisterContainerInstance",
            {"cluster": "c", "totalResources": stock_agent.RESOURCES[1:]}, INVALID,
            "totalResources must hold an INTEGER resource CPU between 0 and 100000000."),
    refusal("3.2", "RegisterContainerInstance with an attribute of other characters",
            "RegisterContainerInstance",
            {"cluster": "c", "totalResources": stock_agent.RESOURCES,
             "attributes": [{"name": "a b", "value": "x"}]}, INVALID,
            "Attribute 'a b' is not valid: a name has 1 to 128 letters, numbers and -_/\\. and a "
            "value up to 128, with @ : and spaces as well."),
    refusal("3.2", "RegisterContainerInstance with 11 attributes of its own",
            "RegisterContainerInstance",
            {"cluster": "c", "totalResources": stock_agent.RESOURCES,
             "attributes": [{"name": f"a{number}", "value": "x"} for number in range(11)]}, INVALID,
            "Too many attributes: a container instance can have 10 of its own."),
]


@rule("3.2", "a name without a value, as agents send capabilities, comes back without one", [True])
def _(world):
    shown = world.ecs.describe_container_instances(
        cluster="c", containerInstances=[world.host.arn])["containerInstances"][0]
    return [{"name": "ecs.capability.task-eni"} in shown["attributes"]]


@rule("3.3", "DiscoverPollEndpoint: base URLs to which the agent appends `ws`", {
    "endpoint": "⟨server⟩/acs/", "telemetryEndpoint": "⟨server⟩/tcs/",
    "serviceConnectEndpoint": "⟨server⟩/acs/"})
def _(world):
    answer = world.ecs.discover_poll_endpoint()
    answer.pop("ResponseMetadata")
    return answer


UNREACHABLE = [
    Unreachable("3.2", "REGISTERING", "an instance is registered in one step"),
    Unreachable("3.2", "REGISTRATION_FAILED", "a registration that fails leaves no instance"),
    Unreachable("3.2", "DEREGISTERING", "an instance is INACTIVE at once; what is left of its tasks "
                "ends after it"),
]
