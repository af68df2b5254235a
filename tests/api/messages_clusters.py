"""Messages and rules of clusters."""
from messages import Refusal, Unreachable, refusal, refused, rules, send
from messages_definitions import FARGATE, INVALID, register

ARN = "arn:aws:ecs:⟨region⟩:⟨account⟩:"


def cluster(world, **members):
    """Make a cluster of a new name; returns the name."""
    name = world.fresh("cluster")
    send(world.ecs, "CreateCluster", {"clusterName": name, **members})
    return name


def instance(world, name):
    """A container instance as an agent registers it, with nothing behind it."""
    return world.ecs.register_container_instance(cluster=name, totalResources=[
        {"name": kind, "type": "INTEGER", "integerValue": 1024} for kind in ("CPU", "MEMORY")])[
            "containerInstance"]["containerInstanceArn"]


RULES = []
case = rules(RULES)

STRATEGY = [{"capacityProvider": "FARGATE", "weight": 1}]


def create(title, message, **members):
    return refusal("clusters", title, "CreateCluster", {"clusterName": "refused", **members},
                   INVALID, message)


def of_new_cluster(title, operation, members, code, message):
    return refusal("clusters", title, operation,
                   lambda world: {"cluster": cluster(world), **members}, code, message)


CLUSTERS = [
    create("a name with a space", "Cluster name contains invalid characters.", clusterName="a b"),
    create("a name of 256 characters", "Cluster name cannot be longer than 255 characters.",
           clusterName="x" * 256),
    create("an unknown value of containerInsights", "Invalid cluster setting: containerInsights must "
           "be one of [enabled,disabled,enhanced].",
           settings=[{"name": "containerInsights", "value": "on"}]),
    create("containerInsights twice", "Invalid cluster setting: containerInsights is given twice.",
           settings=[{"name": "containerInsights", "value": "enabled"}] * 2),
    create("OVERRIDE without a log configuration",
           "Log configuration must be specified when logging is OVERRIDE.",
           configuration={"executeCommandConfiguration": {"logging": "OVERRIDE"}}),
    create("a log configuration without OVERRIDE",
           "Log configuration can only be specified when logging is OVERRIDE.",
           configuration={"executeCommandConfiguration": {
               "logging": "DEFAULT", "logConfiguration": {"s3BucketName": "b"}}}),
    create("an unknown capacity provider", "The specified capacity provider 'mine' was not found. "
           "Specify a valid capacity provider and try again.", capacityProviders=["mine"]),
    create("a capacity provider twice", "The capacity provider 'FARGATE' is specified twice.",
           capacityProviders=["FARGATE", "FARGATE"]),
    create("a strategy of a provider that the cluster lacks", "The specified capacity provider "
           "strategy contains a capacity provider that is not associated with the cluster. Associate "
           "the capacity provider with the cluster and try again.",
           defaultCapacityProviderStrategy=STRATEGY),
    create("a strategy with two bases", "Only one capacity provider of a strategy can have a base.",
           capacityProviders=["FARGATE", "FARGATE_SPOT"], defaultCapacityProviderStrategy=[
               {"capacityProvider": name, "weight": 1, "base": 1}
               for name in ("FARGATE", "FARGATE_SPOT")]),
    create("a strategy without a weight", "At least one capacity provider of a strategy must have a "
           "weight greater than 0.", capacityProviders=["FARGATE", "FARGATE_SPOT"],
           defaultCapacityProviderStrategy=[{"capacityProvider": "FARGATE"},
                                            {"capacityProvider": "FARGATE_SPOT"}]),
    refusal("clusters", "delete without saying which", "DeleteCluster", {}, INVALID,
            "Cluster can not be blank."),
    refusal("clusters", "update without saying which", "UpdateCluster", {}, INVALID,
            "Cluster can not be blank."),
    refusal("clusters", "settings without saying of which", "UpdateClusterSettings", {}, INVALID,
            "Cluster can not be blank."),
    of_new_cluster("no settings", "UpdateClusterSettings", {"settings": []}, INVALID,
                   "Cluster settings can not be blank."),
]


@case("clusters", "what a new cluster is like", {
    "clusterArn": ARN + "cluster/NAME", "clusterName": "NAME", "status": "ACTIVE",
    "registeredContainerInstancesCount": 0, "runningTasksCount": 0, "pendingTasksCount": 0,
    "activeServicesCount": 0, "statistics": [], "tags": [], "capacityProviders": [],
    "settings": [{"name": "containerInsights", "value": "disabled"}],
    "defaultCapacityProviderStrategy": []})
def _(world):
    name = world.fresh("new")
    made = send(world.ecs, "CreateCluster", {"clusterName": name})["cluster"]
    made["clusterArn"] = made["clusterArn"].replace(name, "NAME")
    made["clusterName"] = made["clusterName"].replace(name, "NAME")
    return made


@case("clusters", "a cluster without a name is `default`", "default")
def _(world):
    return send(world.ecs, "CreateCluster", {})["cluster"]["clusterName"]


@case("clusters", "creating an ACTIVE one again shows it as it is", [{"key": "a", "value": "b"}])
def _(world):
    name = cluster(world, tags=[{"key": "a", "value": "b"}])
    return send(world.ecs, "CreateCluster", {"clusterName": name})["cluster"]["tags"]


@case("clusters", "strategy items have weight and base",
      [{"capacityProvider": "FARGATE", "weight": 1, "base": 0}])
def _(world):
    name = cluster(world)
    return send(world.ecs, "PutClusterCapacityProviders", {
        "cluster": name, "capacityProviders": ["FARGATE"],
        "defaultCapacityProviderStrategy": STRATEGY})["cluster"]["defaultCapacityProviderStrategy"]


@case("clusters", "describing what is not there", [{"arn": ARN + "cluster/nowhere",
                                                   "reason": "MISSING"}])
def _(world):
    return world.ecs.describe_clusters(clusters=["nowhere"])["failures"]


@case("clusters", "what include adds", {
    "none": [], "ATTACHMENTS": ["attachments"], "CONFIGURATIONS": ["configuration"],
    "SETTINGS": ["settings"], "STATISTICS": ["statistics"], "TAGS": ["tags"]})
def _(world):
    name = cluster(world, tags=[{"key": "a", "value": "b"}], configuration={
        "executeCommandConfiguration": {"logging": "NONE"}})

    def shown(include):
        found = world.ecs.describe_clusters(clusters=[name], include=include)["clusters"][0]
        return sorted(member for member in ("attachments", "configuration", "settings",
                                            "statistics", "tags")
                      if found.get(member) or (member == "attachments" and member in found))
    return {field or "none": shown([field] if field else []) for field in (
        "", "ATTACHMENTS", "CONFIGURATIONS", "SETTINGS", "STATISTICS", "TAGS")}


@case("clusters", "the names of statistics", [
    "activeEC2ServiceCount", "activeExternalServiceCount", "activeFargateServiceCount",
    "drainingEC2ServiceCount", "drainingExternalServiceCount", "drainingFargateServiceCount",
    "pendingEC2TasksCount", "pendingExternalTasksCount", "pendingFargateTasksCount",
    "runningEC2TasksCount", "runningExternalTasksCount", "runningFargateTasksCount"])
def _(world):
    found = world.ecs.describe_clusters(clusters=[cluster(world)], include=["STATISTICS"])
    return sorted(pair["name"] for pair in found["clusters"][0]["statistics"])


@case("clusters", "a deleted cluster is INACTIVE, described and not listed",
      ["INACTIVE", "INACTIVE", False])
def _(world):
    name = cluster(world)
    gone = world.ecs.delete_cluster(cluster=name)["cluster"]
    found = world.ecs.describe_clusters(clusters=[name])["clusters"][0]["status"]
    pages = world.ecs.get_paginator("list_clusters").paginate()
    return [gone["status"], found,
            any(gone["clusterArn"] in page["clusterArns"] for page in pages)]


@case("clusters", "a deleted cluster cannot be deleted again",
      Refusal("ClusterNotFoundException", "Cluster not found."))
def _(world):
    name = cluster(world)
    world.ecs.delete_cluster(cluster=name)
    return refused(world.ecs, "DeleteCluster", cluster=name)


@case("clusters", "delete one with container instances", Refusal(
    "ClusterContainsContainerInstancesException",
    "The Cluster cannot be deleted while Container Instances are active or draining."))
def _(world):
    name = cluster(world)
    instance(world, name)
    return refused(world.ecs, "DeleteCluster", cluster=name)


@case("clusters", "delete one with tasks", Refusal(
    "ClusterContainsTasksException", "The Cluster cannot be deleted while Tasks are active."))
def _(world):
    name = cluster(world)
    definition = register(world, {"image": "hello"}, **FARGATE)["taskDefinitionArn"]
    task = world.ecs.run_task(cluster=name, taskDefinition=definition, launchType="FARGATE",
                              networkConfiguration=world.berth.network())["tasks"][0]["taskArn"]
    said = refused(world.ecs, "DeleteCluster", cluster=name)
    in_use = world.ecs.stop_task(cluster=name, task=task)
    assert in_use["task"]["desiredStatus"] == "STOPPED"
    return said


@case("clusters", "delete one with services", Refusal(
    "ClusterContainsServicesException",
    "The Cluster cannot be deleted while Services are active."))
def _(world):
    name = cluster(world)
    world.ecs.create_service(cluster=name, serviceName="s", desiredCount=0,
                             taskDefinition=register(world)["taskDefinitionArn"])
    return refused(world.ecs, "DeleteCluster", cluster=name)


@case("clusters", "take a capacity provider away that tasks use", Refusal(
    "ResourceInUseException", "The specified capacity provider is in use and cannot be removed."))
def _(world):
    name = cluster(world, capacityProviders=["FARGATE"], defaultCapacityProviderStrategy=STRATEGY)
    definition = register(world, {"image": "hello"}, **FARGATE)["taskDefinitionArn"]
    task = world.ecs.run_task(cluster=name, taskDefinition=definition,
                              networkConfiguration=world.berth.network())["tasks"][0]["taskArn"]
    said = refused(world.ecs, "PutClusterCapacityProviders", cluster=name, capacityProviders=[],
                   defaultCapacityProviderStrategy=[])
    world.ecs.stop_task(cluster=name, task=task)
    return said


# ---- what needs a task on a node ----------------------------------------------------------

@case("1.2", "a deleted revision stays DELETE_IN_PROGRESS while a task refers to it", {
    "deleted": "DELETE_IN_PROGRESS", "described": "DELETE_IN_PROGRESS", "listed": 1,
    "run": Refusal("ClientException", "TaskDefinition is inactive"),
    "task": "RUNNING"})
def _(world):
    definition = register(world, {"image": "hello", "stopTimeout": 2}, **FARGATE)
    name, arn = f"{definition['family']}:1", definition["taskDefinitionArn"]
    run = {"cluster": "default", "taskDefinition": arn, "launchType": "FARGATE",
           "networkConfiguration": world.berth.network()}
    task = world.ecs.run_task(**run)["tasks"][0]["taskArn"]
    world.ecs.deregister_task_definition(taskDefinition=name)
    deleted = send(world.ecs, "DeleteTaskDefinitions", {"taskDefinitions": [name]})
    found = {
        "deleted": deleted["taskDefinitions"][0]["status"],
        "described": world.ecs.describe_task_definition(
            taskDefinition=arn)["taskDefinition"]["status"],
        "listed": len(world.ecs.list_task_definitions(
            familyPrefix=definition["family"],
            status="DELETE_IN_PROGRESS")["taskDefinitionArns"]),
        "run": refused(world.ecs, "RunTask", **run),
        "task": world.ecs.describe_tasks(tasks=[task])["tasks"][0]["desiredStatus"]}
    world.ecs.stop_task(task=task)
    return found


CASES = CLUSTERS + RULES

UNREACHABLE = [
    Unreachable("clusters", "The limit of 10000 clusters is reached. Delete some that are not used.",
                "A test of it would make 10,000 clusters; tests/api/test_paging.py makes 9,703."),
]
