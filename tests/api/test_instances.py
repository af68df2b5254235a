"""Container instances through boto3, against a server without nodes: what is registered is offline."""
import botocore.exceptions
import pytest

import support

RESOURCES = [
    {"name": "CPU", "type": "INTEGER", "integerValue": 4096},
    {"name": "MEMORY", "type": "INTEGER", "integerValue": 8192},
    {"name": "PORTS", "type": "STRINGSET", "stringSetValue": ["22", "2375"]},
    {"name": "PORTS_UDP", "type": "STRINGSET", "stringSetValue": []},
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    instance = support.Berth(tmp_path_factory.mktemp("server"), command="server")
    instance.start()
    yield instance
    assert instance.stop() == 0, instance.tail()


@pytest.fixture
def ecs(server, request):
    client = server.client("ecs")
    client.create_cluster(clusterName=request.node.name[:200].replace("[", "-").replace("]", ""))
    client.cluster = request.node.name
    return client


def register(ecs, **more):
    return ecs.register_container_instance(
        cluster=ecs.cluster, totalResources=RESOURCES, **more)["containerInstance"]


def refusal(call, **arguments):
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        call(**arguments)
    return refused.value.response["Error"]


def test_describe(ecs):
    made = register(ecs, attributes=[{"name": "rack", "value": "r1"}],
                    tags=[{"key": "team", "value": "a"}])
    arn = made["containerInstanceArn"]
    answer = ecs.describe_container_instances(
        cluster=ecs.cluster, containerInstances=[arn, arn.rsplit("/", 1)[1], "nope"],
        include=["TAGS", "CONTAINER_INSTANCE_HEALTH"])
    assert [one["containerInstanceArn"] for one in answer["containerInstances"]] == [arn, arn]
    assert answer["failures"][0]["reason"] == "MISSING"
    one = answer["containerInstances"][0]
    assert one["agentConnected"] is False and one["status"] == "ACTIVE"
    assert one["ec2InstanceId"].startswith("i-")
    assert {"name": "rack", "value": "r1"} in one["attributes"]
    assert one["tags"] == [{"key": "team", "value": "a"}]
    assert one["healthStatus"]["overallStatus"] == "INSUFFICIENT_DATA"
    ports = {r["name"]: r.get("stringSetValue") for r in one["remainingResources"]}
    assert ports["PORTS"] == ["22", "2375"]
    plain = ecs.describe_container_instances(cluster=ecs.cluster, containerInstances=[arn])
    assert plain["containerInstances"][0]["tags"] == []
    assert "healthStatus" not in plain["containerInstances"][0]


def test_list_pages(ecs):
    made = {register(ecs)["containerInstanceArn"] for _ in range(25)}
    seen = []
    for page in ecs.get_paginator("list_container_instances").paginate(
            cluster=ecs.cluster, PaginationConfig={"PageSize": 7}):
        seen += page["containerInstanceArns"]
    assert len(seen) == 25 and set(seen) == made


def test_drain(ecs):
    arn = register(ecs)["containerInstanceArn"]
    answer = ecs.update_container_instances_state(
        cluster=ecs.cluster, containerInstances=[arn], status="DRAINING")
    assert answer["containerInstances"][0]["status"] == "DRAINING" and answer["failures"] == []
    assert ecs.list_container_instances(
        cluster=ecs.cluster, status="DRAINING")["containerInstanceArns"] == [arn]
    assert ecs.list_container_instances(
        cluster=ecs.cluster, status="ACTIVE")["containerInstanceArns"] == []
    error = refusal(ecs.update_container_instances_state, cluster=ecs.cluster,
                    containerInstances=[arn], status="REGISTERING")
    assert error["Message"] == "Container instance status should be one of [ACTIVE, DRAINING]"


def test_deregister(ecs):
    arn = register(ecs)["containerInstanceArn"]
    gone = ecs.deregister_container_instance(cluster=ecs.cluster, containerInstance=arn)
    assert gone["containerInstance"]["status"] == "INACTIVE"
    assert ecs.list_container_instances(cluster=ecs.cluster)["containerInstanceArns"] == []
    error = refusal(ecs.deregister_container_instance, cluster=ecs.cluster, containerInstance=arn)
    assert error["Code"] == "InvalidParameterException" and "not found" in error["Message"]


def test_agent_update_is_answered_honestly(ecs):
    unknown = register(ecs)["containerInstanceArn"]
    assert refusal(ecs.update_container_agent, cluster=ecs.cluster,
                   containerInstance=unknown)["Code"] == "MissingVersionException"
    known = register(ecs, versionInfo={"agentVersion": "1.0.0"})["containerInstanceArn"]
    assert refusal(ecs.update_container_agent, cluster=ecs.cluster,
                   containerInstance=known)["Code"] == "NoUpdateAvailableException"


def test_filter(ecs):
    arns = [register(ecs, attributes=[{"name": "rack", "value": f"r{number}"}])
            ["containerInstanceArn"] for number in range(4)]
    for text, want in [
            ("attribute:rack == r1", [1]), ("attribute:rack in [r0, r3]", [0, 3]),
            ("attribute:rack =~ r[12]", [1, 2]), ("not attribute:rack == r0", [1, 2, 3]),
            ("(attribute:rack == r0 or attribute:rack == r1) and attribute:none !exists", [0, 1]),
            ("agentConnected == true", [])]:
        found = ecs.list_container_instances(cluster=ecs.cluster, filter=text)
        assert found["containerInstanceArns"] == [arns[number] for number in want], text
    error = refusal(ecs.list_container_instances, cluster=ecs.cluster, filter="attribute:rack ==")
    assert error["Code"] == "InvalidParameterException" and "expected a value" in error["Message"]
