"""Berth's own agent as a container instance: what it advertises, and what it is therefore given."""
import pytest
import support


@pytest.fixture(scope="module")
def berth(tmp_path_factory):
    instance = support.Berth(tmp_path_factory.mktemp("berth"))
    instance.start()  # as a host of the pool, to make the cluster that it is then an instance of
    instance.client("ecs").create_cluster(clusterName="own")
    assert instance.stop() == 0, instance.tail()
    instance.arguments = ["--cluster", "own"]
    instance.start()
    yield instance
    assert instance.stop() == 0, instance.tail()


@pytest.fixture
def ecs(berth):
    return berth.client("ecs")


def own(ecs, *include):
    arns = ecs.list_container_instances(cluster="own")["containerInstanceArns"]
    return ecs.describe_container_instances(cluster="own", containerInstances=arns,
                                            include=list(include))["containerInstances"][0]


def test_it_says_what_it_can(ecs):
    instance = own(ecs)
    assert instance["agentConnected"] is True and instance["status"] == "ACTIVE"
    names = {item["name"] for item in instance["attributes"]}
    assert {"ecs.capability.task-eni", "ecs.capability.container-health-check",
            "ecs.capability.container-ordering", "ecs.capability.task-cpu-mem-limit",
            "com.amazonaws.ecs.capability.docker-remote-api.1.18",
            "com.amazonaws.ecs.capability.logging-driver.awslogs", "ecs.os-type",
            "ecs.cpu-architecture", "ecs.availability-zone", "ecs.instance-type"} <= names
    assert "com.amazonaws.ecs.capability.logging-driver.gelf" not in names


def test_its_runtime_is_looked_at(ecs):
    def ok():
        """healthStatus OK"""
        return own(ecs, "CONTAINER_INSTANCE_HEALTH")["healthStatus"]["overallStatus"] == "OK"
    support.wait_for(ok)
    detail = own(ecs, "CONTAINER_INSTANCE_HEALTH")["healthStatus"]["details"][0]
    assert detail["type"] == "CONTAINER_RUNTIME"
    assert detail["lastStatusChange"] <= detail["lastUpdated"]


@pytest.mark.parametrize("launch_type", ["EC2", "FARGATE"])
def test_what_it_cannot_it_is_not_given(berth, ecs, launch_type):
    family = f"splunk-{launch_type}"
    ecs.register_task_definition(
        family=family, networkMode="awsvpc", cpu="256", memory="512",
        requiresCompatibilities=[launch_type], containerDefinitions=[
            {"name": "a", "image": "busybox", "logConfiguration": {
                "logDriver": "splunk",
                "options": {"splunk-token": "t", "splunk-url": "https://s"}}}])
    failure = ecs.run_task(
        cluster="own", taskDefinition=family, launchType=launch_type,
        networkConfiguration=berth.network())["failures"][0]
    assert "com.amazonaws.ecs.capability.logging-driver.splunk" in failure["detail"]
    if launch_type == "EC2":
        assert failure["reason"] == "ATTRIBUTE"
    else:
        assert "ATTRIBUTE on 1 of 1" in failure["detail"]
