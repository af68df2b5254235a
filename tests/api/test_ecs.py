"""Clusters, task definitions and tasks through boto3, against a real server and node."""
import json
import os

import botocore.exceptions
import pytest

import support

EXAMPLES = os.path.join(support.ROOT, "examples")


def refusal(call, **arguments):
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        call(**arguments)
    return refused.value.response["Error"]


def hello(**changes):
    definition = {
        "family": "hello", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"],
        "cpu": "256", "memory": "512",
        "containerDefinitions": [{"name": "hello", "image": "hello", "stopTimeout": 2}]}
    definition.update(changes)
    return definition


def test_cluster_life(ecs):
    made = ecs.create_cluster(clusterName="life", tags=[{"key": "a", "value": "b"}])["cluster"]
    assert made["status"] == "ACTIVE" and made["clusterArn"].endswith(":cluster/life")
    again = ecs.create_cluster(clusterName="life")["cluster"]
    assert again["clusterArn"] == made["clusterArn"]
    assert made["clusterArn"] in ecs.list_clusters()["clusterArns"]
    found = ecs.describe_clusters(clusters=["life", "nowhere"])
    assert [c["clusterName"] for c in found["clusters"]] == ["life"]
    assert found["failures"][0]["reason"] == "MISSING"
    assert ecs.describe_clusters(clusters=["life"], include=["TAGS"])["clusters"][0]["tags"] == [
        {"key": "a", "value": "b"}]


def test_cluster_pages_neither_skip_nor_repeat(ecs):
    names = {f"page-{number:03}" for number in range(25)}
    for name in names:
        ecs.create_cluster(clusterName=name)
    seen = []
    for page in ecs.get_paginator("list_clusters").paginate(PaginationConfig={"PageSize": 7}):
        seen += [arn.rsplit("/", 1)[1] for arn in page["clusterArns"]]
    assert len(seen) == len(set(seen))
    assert names <= set(seen)


def test_cluster_name_rules(ecs):
    assert refusal(ecs.create_cluster, clusterName="no spaces")["Code"] == "InvalidParameterException"


def test_seed_definition_registers_unedited_and_echoes(ecs):
    with open(os.path.join(EXAMPLES, "pinterest-image-processor.json"), encoding="utf-8") as file:
        seed = json.load(file)
    made = ecs.register_task_definition(**seed)["taskDefinition"]
    assert made["taskDefinitionArn"].endswith(f":task-definition/{seed['family']}:{made['revision']}")
    assert made["status"] == "ACTIVE" and made["cpu"] == "2048" and made["memory"] == "4096"
    processor, cache = made["containerDefinitions"]
    assert processor["portMappings"] == [{"containerPort": 8080, "hostPort": 8080, "protocol": "tcp"}]
    assert processor["essential"] is True and cache["essential"] is False
    assert processor["healthCheck"]["interval"] == 30
    assert "FARGATE" in made["compatibilities"]
    described = ecs.describe_task_definition(taskDefinition=seed["family"])["taskDefinition"]
    assert described == made


def test_revisions_count_up_and_identical_content_makes_a_new_one(ecs):
    first = ecs.register_task_definition(**hello(family="counted"))["taskDefinition"]["revision"]
    second = ecs.register_task_definition(**hello(family="counted"))["taskDefinition"]["revision"]
    assert second == first + 1
    arns = ecs.list_task_definitions(familyPrefix="counted")["taskDefinitionArns"]
    assert [arn.rsplit(":", 1)[1] for arn in arns] == [str(first), str(second)]


@pytest.mark.parametrize("changes, message", [
    ({"family": "bad family"}, "Family contains invalid characters."),
    ({"containerDefinitions": []}, "Container list cannot be empty."),
    ({"containerDefinitions": [{"image": "x"}]}, "Container.name should not be null or empty."),
    ({"containerDefinitions": [{"name": "x"}]}, "Container.image should not be null or empty."),
    ({"memory": "513"}, "No Fargate configuration exists for given values."),
    ({"cpu": "abc"}, "Invalid 'cpu' setting for task."),
    ({"networkMode": "bridge"}, "Fargate only supports network mode ‘awsvpc’."),
])
def test_definition_refusals(ecs, changes, message):
    error = refusal(ecs.register_task_definition, **hello(**changes))
    assert error["Code"] == "ClientException"
    assert error["Message"].startswith(message)


def test_unknown_definition(ecs):
    assert refusal(ecs.describe_task_definition, taskDefinition="nothing")["Message"] == \
        "Unable to describe task definition."


def test_task_life(berth, ecs):
    ecs.register_task_definition(**hello())
    answer = ecs.run_task(taskDefinition="hello", launchType="FARGATE",
                          networkConfiguration=berth.network(), startedBy="test")
    assert answer["failures"] == []
    task = answer["tasks"][0]
    assert task["lastStatus"] == "PROVISIONING" and task["desiredStatus"] == "RUNNING"
    assert task["version"] == 1 and task["group"] == "family:hello"
    assert task["overrides"] == {"containerOverrides": [{"name": "hello"}],
                                 "inferenceAcceleratorOverrides": []}
    assert task["attachments"][0]["type"] == "ElasticNetworkInterface"
    arn = task["taskArn"]
    ecs.get_waiter("tasks_running").wait(tasks=[arn], WaiterConfig=support.WAITER)
    running = ecs.describe_tasks(tasks=[arn])["tasks"][0]
    assert running["connectivity"] == "CONNECTED" and "startedAt" in running
    assert running["containers"][0]["networkInterfaces"][0]["privateIpv4Address"].startswith("172.")
    assert arn in ecs.list_tasks(startedBy="test")["taskArns"]
    stopping = ecs.stop_task(task=arn, reason="enough")["task"]
    assert stopping["desiredStatus"] == "STOPPED" and stopping["stopCode"] == "UserInitiated"
    ecs.get_waiter("tasks_stopped").wait(tasks=[arn], WaiterConfig=support.WAITER)
    stopped = ecs.describe_tasks(tasks=[arn])["tasks"][0]
    assert stopped["stoppedReason"] == "enough" and stopped["lastStatus"] == "STOPPED"
    assert stopped["containers"][0]["exitCode"] in (0, 137, 143)
    assert arn in ecs.list_tasks(desiredStatus="STOPPED")["taskArns"]


def test_client_token(berth, ecs):
    support.needs(ecs, "RunTask", "clientToken")
    ecs.register_task_definition(**hello())
    arguments = {"taskDefinition": "hello", "launchType": "FARGATE", "clientToken": "once",
                 "networkConfiguration": berth.network()}
    first = ecs.run_task(**arguments)["tasks"][0]["taskArn"]
    assert ecs.run_task(**arguments)["tasks"][0]["taskArn"] == first
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        ecs.run_task(**arguments, count=2)
    assert refused.value.response["Error"]["Code"] == "ConflictException"
    assert first in refused.value.response["resourceIds"]
    ecs.stop_task(task=first)


def test_run_task_refusals(berth, ecs):
    ecs.register_task_definition(**hello())
    assert refusal(ecs.run_task, taskDefinition="hello", launchType="FARGATE")["Message"] == \
        "Network Configuration must be provided when networkMode 'awsvpc' is specified."
    assert refusal(ecs.run_task, taskDefinition="hello", cluster="nowhere", launchType="FARGATE",
                   networkConfiguration=berth.network())["Code"] == "ClusterNotFoundException"
    assert refusal(ecs.run_task, taskDefinition="nothing", launchType="FARGATE",
                   networkConfiguration=berth.network())["Message"] == "TaskDefinition not found."
    wrong = {"awsvpcConfiguration": {"subnets": ["subnet-00000000000000000"]}}
    assert "subnet-00000000000000000" in refusal(
        ecs.run_task, taskDefinition="hello", launchType="FARGATE",
        networkConfiguration=wrong)["Message"]


def test_unknown_task(ecs):
    assert refusal(ecs.stop_task, task="0" * 32)["Message"] == "The referenced task was not found."
    missing = ecs.describe_tasks(tasks=["0" * 32])
    assert missing["tasks"] == [] and missing["failures"][0]["reason"] == "MISSING"


def test_missing_image_fails_with_its_reason(berth, ecs):
    ecs.register_task_definition(**hello(
        family="missing", containerDefinitions=[{"name": "x", "image": "no/such:image"}]))
    arn = ecs.run_task(taskDefinition="missing", launchType="FARGATE",
                       networkConfiguration=berth.network())["tasks"][0]["taskArn"]

    def stopped():
        """STOPPED"""
        task = ecs.describe_tasks(tasks=[arn])["tasks"][0]
        return task if task["lastStatus"] == "STOPPED" else None
    task = support.wait_for(stopped)
    assert task["stopCode"] == "TaskFailedToStart"
    assert "CannotPullContainerError" in task["stoppedReason"] and "no/such:image" in task["stoppedReason"]
    assert "exitCode" not in task["containers"][0]


def test_capacity_failure_is_an_answer_not_an_error(berth, ecs):
    ecs.register_task_definition(**hello(family="huge", cpu="16384", memory="122880"))
    answer = ecs.run_task(taskDefinition="huge", launchType="FARGATE",
                          networkConfiguration=berth.network())
    assert answer["tasks"] == []
    assert answer["failures"][0]["reason"].startswith(("Capacity is unavailable", "RESOURCE:"))
