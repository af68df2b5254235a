"""Clusters through boto3: what changes after they were made, what they count, how they end."""
import botocore.exceptions
import pytest

import support


def refusal(call, **arguments):
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        call(**arguments)
    return refused.value.response["Error"]


def described(ecs, name):
    return ecs.describe_clusters(clusters=[name], include=[
        "ATTACHMENTS", "CONFIGURATIONS", "SETTINGS", "STATISTICS", "TAGS"])["clusters"][0]


def test_update(ecs):
    ecs.create_cluster(clusterName="updated", tags=[{"key": "a", "value": "b"}])
    execute = {"logging": "OVERRIDE", "logConfiguration": {"s3BucketName": "b", "s3KeyPrefix": "p"}}
    made = ecs.update_cluster(
        cluster="updated", configuration={"executeCommandConfiguration": execute},
        serviceConnectDefaults={"namespace": "local"})["cluster"]
    assert made["configuration"] == {"executeCommandConfiguration": execute}
    ecs.update_cluster_settings(cluster="updated", settings=[
        {"name": "containerInsights", "value": "enhanced"}])
    found = described(ecs, "updated")
    assert found["configuration"] == {"executeCommandConfiguration": execute}
    assert found["serviceConnectDefaults"] == {"namespace": "local"}
    assert found["settings"] == [{"name": "containerInsights", "value": "enhanced"}]
    assert found["tags"] == [{"key": "a", "value": "b"}]


def test_capacity_providers(ecs):
    ecs.create_cluster(clusterName="providers")
    strategy = [{"capacityProvider": "FARGATE", "weight": 1, "base": 2},
                {"capacityProvider": "FARGATE_SPOT", "weight": 3}]
    made = ecs.put_cluster_capacity_providers(
        cluster="providers", capacityProviders=["FARGATE", "FARGATE_SPOT"],
        defaultCapacityProviderStrategy=strategy)["cluster"]
    assert made["capacityProviders"] == ["FARGATE", "FARGATE_SPOT"]
    assert made["defaultCapacityProviderStrategy"] == [strategy[0], dict(strategy[1], base=0)]
    refused = refusal(ecs.put_cluster_capacity_providers, cluster="providers",
                      capacityProviders=["mine"], defaultCapacityProviderStrategy=[])
    assert refused["Message"].startswith("The specified capacity provider 'mine' was not found.")
    ecs.put_cluster_capacity_providers(cluster="providers", capacityProviders=[],
                                       defaultCapacityProviderStrategy=[])
    assert described(ecs, "providers")["capacityProviders"] == []


def test_life(ecs):
    ecs.create_cluster(clusterName="ends")
    assert ecs.delete_cluster(cluster="ends")["cluster"]["status"] == "INACTIVE"
    assert described(ecs, "ends")["status"] == "INACTIVE"
    for call in (ecs.delete_cluster, ecs.update_cluster):
        refused = refusal(call, cluster="ends")
        assert refused == {"Code": "ClusterNotFoundException", "Message": "Cluster not found."}
    assert ecs.create_cluster(clusterName="ends")["cluster"]["status"] == "ACTIVE"


def test_statistics_count_tasks_by_launch_type(berth, ecs):
    ecs.create_cluster(clusterName="counted")
    definition = ecs.register_task_definition(
        family="counted-cluster", networkMode="awsvpc", requiresCompatibilities=["FARGATE"],
        cpu="256", memory="512", containerDefinitions=[
            {"name": "hello", "image": "hello"}])["taskDefinition"]["taskDefinitionArn"]
    run = ecs.run_task(cluster="counted", taskDefinition=definition, launchType="FARGATE",
                       networkConfiguration=berth.network())
    task = run["tasks"][0]["taskArn"]
    found = described(ecs, "counted")
    counts = {pair["name"]: int(pair["value"]) for pair in found["statistics"]}
    assert counts["pendingFargateTasksCount"] == found["pendingTasksCount"]
    assert counts["pendingFargateTasksCount"] + counts["runningFargateTasksCount"] == 1
    assert counts["runningEC2TasksCount"] == counts["runningExternalTasksCount"] == 0
    assert counts["activeFargateServiceCount"] == found["activeServicesCount"] == 0
    refused = refusal(ecs.delete_cluster, cluster="counted")
    assert refused["Code"] == "ClusterContainsTasksException"
    ecs.stop_task(cluster="counted", task=task)
    ecs.get_waiter("tasks_stopped").wait(cluster="counted", tasks=[task], WaiterConfig=support.WAITER)
    counts = {pair["name"]: pair["value"] for pair in described(ecs, "counted")["statistics"]}
    assert set(counts.values()) == {"0"}
    ecs.delete_cluster(cluster="counted")


@pytest.mark.parametrize("program", support.aws_programs())
def test_cli(berth, program):
    berth.aws("ecs", "create-cluster", "--cluster-name", "cli", program=program)
    made = berth.aws("ecs", "update-cluster-settings", "--cluster", "cli", "--settings",
                     "name=containerInsights,value=enabled", program=program)["cluster"]
    assert made["settings"] == [{"name": "containerInsights", "value": "enabled"}]
    berth.aws("ecs", "delete-cluster", "--cluster", "cli", program=program)
