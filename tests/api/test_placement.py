"""Placement and StartTask through boto3, against a server whose container instances are offline."""
import botocore.exceptions
import pytest

import support

RESOURCES = [
    {"name": "CPU", "type": "INTEGER", "integerValue": 1024},
    {"name": "MEMORY", "type": "INTEGER", "integerValue": 1024},
]


@pytest.fixture(scope="module")
def ecs(tmp_path_factory):
    server = support.Berth(tmp_path_factory.mktemp("server"), command="server")
    server.start()
    client = server.client("ecs")
    client.create_cluster(clusterName="c")
    client.register_task_definition(
        family="job", containerDefinitions=[{"name": "a", "image": "a", "memory": 64}])
    client.arns = [client.register_container_instance(
        cluster="c", totalResources=RESOURCES,
        attributes=[{"name": "rack", "value": f"r{number}"}])
        ["containerInstance"]["containerInstanceArn"] for number in range(2)]
    yield client
    assert server.stop() == 0, server.tail()


def refusal(call, **arguments):
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        call(**arguments)
    return refused.value.response["Error"]


def test_every_instance_says_why(ecs):
    answer = ecs.run_task(
        cluster="c", taskDefinition="job", count=2,
        placementConstraints=[{"type": "memberOf", "expression": "attribute:rack == r1"}],
        placementStrategy=[{"type": "spread", "field": "attribute:rack"}, {"type": "random"}])
    assert answer["tasks"] == []
    assert [(f["arn"], f["reason"]) for f in answer["failures"]] == [
        (arn, "AGENT") for arn in ecs.arns]


def test_start_task_names_instances(ecs):
    answer = ecs.start_task(cluster="c", taskDefinition="job",
                            containerInstances=[ecs.arns[0], "nope"])
    assert answer["tasks"] == []
    assert [f["reason"] for f in answer["failures"]] == ["AGENT", "MISSING"]


@pytest.mark.parametrize("arguments", [
    {"placementConstraints": [{"type": "memberOf", "expression": "attribute:rack"}]},
    {"placementConstraints": [{"type": "distinctInstance"}] * 11},
    {"placementStrategy": [{"type": "random"}] * 6},
    {"placementStrategy": [{"type": "spread", "field": "rack"}]},
])
def test_what_is_wrong_is_refused(ecs, arguments):
    error = refusal(ecs.run_task, cluster="c", taskDefinition="job", **arguments)
    assert error["Code"] == "InvalidParameterException"


def test_protection_is_for_tasks_of_services(ecs):
    answer = ecs.update_task_protection(cluster="c", tasks=["nope"], protectionEnabled=True)
    assert answer["protectedTasks"] == [] and answer["failures"][0]["reason"] == "MISSING"
    assert ecs.get_task_protection(cluster="c")["failures"] == []
    error = refusal(ecs.update_task_protection, cluster="c", tasks=["nope"],
                    protectionEnabled=True, expiresInMinutes=2881)
    assert error["Code"] == "InvalidParameterException"
