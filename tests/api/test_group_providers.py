"""Capacity providers of Auto Scaling groups: sets of hosts whose agents name the group."""
import botocore.exceptions
import pytest

import stock_agent
import support

GROUP = "arn:aws:autoscaling:us-east-1:000000000000:autoScalingGroup:1:autoScalingGroupName/"
INVALID = "InvalidParameterException"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = stock_agent.server(tmp_path_factory.mktemp("groups"))
    yield made
    assert made.stop() == 0, made.tail()


@pytest.fixture(scope="module")
def ecs(server):
    return server.client("ecs")


def provider(ecs, name, group=None, **more):
    return ecs.create_capacity_provider(name=name, autoScalingGroupProvider={
        "autoScalingGroupArn": GROUP + (group or name), **more})["capacityProvider"]


def refused(ecs, operation, **members):
    with pytest.raises(botocore.exceptions.ClientError) as error:
        getattr(ecs, operation)(**members)
    answer = error.value.response["Error"]
    return answer["Code"], answer["Message"]


def test_a_provider_has_the_defaults_of_ecs(ecs):
    made = provider(ecs, "plain")
    assert made["status"] == "ACTIVE"
    assert made["capacityProviderArn"].endswith(":capacity-provider/plain")
    assert made["updateStatus"] == "CREATE_COMPLETE"
    assert made["autoScalingGroupProvider"] == {
        "autoScalingGroupArn": GROUP + "plain",
        "managedScaling": {"status": "DISABLED", "targetCapacity": 100,
                           "minimumScalingStepSize": 1, "maximumScalingStepSize": 10000,
                           "instanceWarmupPeriod": 300},
        "managedTerminationProtection": "DISABLED", "managedDraining": "ENABLED"}
    shown = ecs.describe_capacity_providers(capacityProviders=["plain"])["capacityProviders"][0]
    assert shown["autoScalingGroupProvider"] == made["autoScalingGroupProvider"]
    changed = ecs.update_capacity_provider(name="plain", autoScalingGroupProvider={
        "managedScaling": {"status": "ENABLED", "targetCapacity": 80},
        "managedTerminationProtection": "ENABLED"})["capacityProvider"]
    assert changed["updateStatus"] == "UPDATE_COMPLETE"
    assert changed["autoScalingGroupProvider"]["managedScaling"]["targetCapacity"] == 80
    assert changed["autoScalingGroupProvider"]["managedScaling"]["instanceWarmupPeriod"] == 300
    gone = ecs.delete_capacity_provider(capacityProvider="plain")["capacityProvider"]
    assert (gone["status"], gone["updateStatus"]) == ("INACTIVE", "DELETE_COMPLETE")
    answer = ecs.describe_capacity_providers(capacityProviders=["plain", "FARGATE"])
    assert [failure["reason"] for failure in answer["failures"]] == ["MISSING"]
    assert [one["name"] for one in answer["capacityProviders"]] == ["FARGATE"]


def test_all_are_listed_by_pages_of_ten(ecs):
    names = [f"many-{number}" for number in range(21)]
    for name in names:
        provider(ecs, name)
    seen, token = [], {}
    while True:
        page = ecs.describe_capacity_providers(**token)
        assert len(page["capacityProviders"]) <= 10
        seen += [one["name"] for one in page["capacityProviders"]]
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert seen == ["FARGATE", "FARGATE_SPOT", *names]
    for name in names:
        ecs.delete_capacity_provider(capacityProvider=name)


@pytest.mark.parametrize("name, more, message", [
    ("aws-one", {}, "The capacity provider name cannot be prefixed with 'aws', 'ecs' or 'fargate'. "
                    "Specify another name and try again."),
    ("Fargate2", {}, "The capacity provider name cannot be prefixed with 'aws', 'ecs' or "
                     "'fargate'. Specify another name and try again."),
    ("a b", {}, "The capacity provider name can have up to 255 characters: letters, numbers, "
                "hyphens and underscores."),
    ("steps", {"managedScaling": {"minimumScalingStepSize": 5, "maximumScalingStepSize": 4}},
     "The minimumScalingStepSize cannot be larger than the maximumScalingStepSize."),
    ("guarded", {"managedTerminationProtection": "ENABLED"},
     "The managed termination protection setting for the capacity provider is invalid. To enable "
     "managed termination protection for a capacity provider, managed scaling must be enabled."),
])
def test_create_is_refused(ecs, name, more, message):
    assert refused(ecs, "create_capacity_provider", name=name, autoScalingGroupProvider={
        "autoScalingGroupArn": GROUP + "g", **more}) == (INVALID, message)


def test_what_is_not_there_or_reserved_is_refused(ecs):
    missing = (INVALID, "The specified capacity provider does not exist. Specify a valid name or "
                        "ARN and try again.")
    assert refused(ecs, "delete_capacity_provider", capacityProvider="none") == missing
    assert refused(ecs, "update_capacity_provider", name="none",
                   autoScalingGroupProvider={}) == missing
    assert refused(ecs, "delete_capacity_provider", capacityProvider="FARGATE") == (
        INVALID, "The specified capacity provider is reserved and cannot be deleted.")
    provider(ecs, "twice")
    assert refused(ecs, "create_capacity_provider", name="twice", autoScalingGroupProvider={
        "autoScalingGroupArn": GROUP + "g"}) == (
        INVALID, "A capacity provider with the specified name already exists. Specify another name "
                 "and try again.")


def test_tasks_go_to_the_instances_of_their_group(server, ecs):
    """Two groups, 1 to 2; a task of a group without instances says so; the service spreads."""
    for name in ("red", "blue", "void"):
        provider(ecs, name)
    ecs.create_cluster(clusterName="g", capacityProviders=["red", "blue", "void", "FARGATE"])
    hosts = {name: stock_agent.StockAgent(
        server, "g", attributes=[{"name": "berth.auto-scaling-group", "value": name}]).connect()
        for name in ("red", "blue")}
    for name, host in hosts.items():
        assert host.instance["capacityProviderName"] == name
    ecs.register_task_definition(family="job", containerDefinitions=[
        {"name": "a", "image": "i", "memory": 64, "cpu": 10}])
    strategy = [{"capacityProvider": "red", "weight": 1}, {"capacityProvider": "blue", "weight": 2}]
    made = ecs.run_task(cluster="g", taskDefinition="job", count=9,
                        capacityProviderStrategy=strategy)
    assert made["failures"] == []
    for task in made["tasks"]:
        assert task["launchType"] == "EC2"
        assert task["containerInstanceArn"] == hosts[task["capacityProviderName"]].arn
    names = [task["capacityProviderName"] for task in made["tasks"]]
    assert (names.count("red"), names.count("blue")) == (3, 6)

    empty = ecs.run_task(cluster="g", taskDefinition="job",
                         capacityProviderStrategy=[{"capacityProvider": "void", "weight": 1}])
    assert [failure["reason"] for failure in empty["failures"]] == ["EMPTY CAPACITY PROVIDER"]
    ecs.update_container_instances_state(cluster="g", status="DRAINING",
                                         containerInstances=[hosts["red"].arn])
    drained = ecs.run_task(cluster="g", taskDefinition="job",
                           capacityProviderStrategy=[{"capacityProvider": "red", "weight": 1}])
    assert [failure["reason"] for failure in drained["failures"]] == ["NO ACTIVE INSTANCES"]
    ecs.update_container_instances_state(cluster="g", status="ACTIVE",
                                         containerInstances=[hosts["red"].arn])

    ecs.create_service(cluster="g", serviceName="s", taskDefinition="job", desiredCount=6,
                       capacityProviderStrategy=strategy)

    def six():
        """six tasks of the service"""
        arns = ecs.list_tasks(cluster="g", serviceName="s")["taskArns"]
        return arns if len(arns) == 6 else None
    tasks = ecs.describe_tasks(cluster="g", tasks=support.wait_for(six))["tasks"]
    assert sorted(task["capacityProviderName"] for task in tasks) == ["blue"] * 4 + ["red"] * 2

    mixed = [{"capacityProvider": "red", "weight": 1}, {"capacityProvider": "FARGATE", "weight": 1}]
    assert refused(ecs, "run_task", cluster="g", taskDefinition="job",
                   capacityProviderStrategy=mixed) == (
        INVALID, "A capacity provider strategy cannot contain a mix of capacity providers using "
                 "Auto Scaling groups and Fargate providers. Specify one or the other and try "
                 "again.")
    assert refused(ecs, "delete_capacity_provider", capacityProvider="red") == (
        INVALID, "The capacity provider cannot be deleted because it is associated with cluster: "
                 "g. Remove the capacity provider from the cluster and try again.")
    assert refused(ecs, "put_cluster_capacity_providers", cluster="g", capacityProviders=["blue"],
                   defaultCapacityProviderStrategy=[]) == (
        "ResourceInUseException",
        "The specified capacity provider is in use and cannot be removed.")
    for host in hosts.values():
        host.disconnect()


def test_tasks_of_a_provider_with_managed_scaling_wait_for_an_instance(server, ecs):
    """PROVISIONING without an instance until one of the group registers; the rest goes on
    waiting, and can be stopped."""
    provider(ecs, "grow", managedScaling={"status": "ENABLED"})
    ecs.create_cluster(clusterName="w", capacityProviders=["grow"], defaultCapacityProviderStrategy=[
        {"capacityProvider": "grow", "weight": 1}])
    ecs.register_task_definition(family="half", containerDefinitions=[
        {"name": "a", "image": "i", "memory": 64, "cpu": 2500}])
    made = ecs.run_task(cluster="w", taskDefinition="half", count=2)
    assert made["failures"] == []
    arns = [task["taskArn"] for task in made["tasks"]]
    for task in made["tasks"]:
        assert (task["lastStatus"], task["desiredStatus"]) == ("PROVISIONING", "RUNNING")
        assert task["capacityProviderName"] == "grow"
        assert "containerInstanceArn" not in task
    assert ecs.describe_clusters(clusters=["w"])["clusters"][0]["pendingTasksCount"] == 2
    cause = server.run("diagnose", "--cluster", "w", arns[0])
    assert "No instance of capacity provider grow has room for it." in cause

    host = stock_agent.StockAgent(
        server, "w", attributes=[{"name": "berth.auto-scaling-group", "value": "grow"}]).connect()

    def placed():
        """the first task has its instance"""
        task = ecs.describe_tasks(cluster="w", tasks=arns[:1])["tasks"][0]
        return task.get("containerInstanceArn") == host.arn and task["lastStatus"] != "PROVISIONING"
    support.wait_for(placed)
    second = ecs.describe_tasks(cluster="w", tasks=arns[1:])["tasks"][0]
    assert second["lastStatus"] == "PROVISIONING"
    assert ecs.stop_task(cluster="w", task=arns[1])["task"]["lastStatus"] == "STOPPED"
    second = ecs.describe_tasks(cluster="w", tasks=arns[1:])["tasks"][0]
    assert (second["stopCode"], second["stoppedReason"]) == ("UserInitiated", "Task stopped by user")
    host.disconnect()
