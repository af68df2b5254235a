"""A stock agent's registration and sessions, spoken by a few lines of Python."""
import contextlib
import json

import botocore.exceptions
import pytest
import stock_agent
import support
import websocket


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    instance = support.Berth(tmp_path_factory.mktemp("server"), command="server")
    instance.start()
    yield instance
    assert instance.stop() == 0, instance.tail()


@pytest.fixture
def ecs(server, request):
    client = server.client("ecs")
    client.cluster = request.node.name
    client.create_cluster(clusterName=client.cluster)
    return client


@pytest.fixture
def agent(server, ecs):
    made = []

    def make(**options):
        made.append(stock_agent.StockAgent(server, ecs.cluster, joins=False, **options))
        return made[-1]
    yield make
    for one in made:
        one.disconnect()


def define(ecs, family, *containers, **more):
    whole = [{"image": "busybox", "memory": 16, **container} for container in containers]
    return ecs.register_task_definition(family=family, containerDefinitions=whole,
                                        **more)["taskDefinition"]["taskDefinitionArn"]


def test_attributes_come_back_as_they_were_sent(agent):
    sent = [{"name": f"ecs.capability.thing-{number}"} for number in range(60)]
    sent += [{"name": "ecs.os-type", "value": "linux"}, {"name": "mine", "value": "a b"}]
    shown = agent(attributes=sent).instance["attributes"]
    for attribute in sent:
        assert attribute in shown
    assert {"name": "ecs.instance-type", "value": "berth"} in shown


def test_a_session_is_contact(agent, ecs):
    one = agent(version="1.70.2")
    assert one.instance["agentConnected"] is False and one.instance["version"] == 1
    one.connect()
    shown = one.describe()
    assert shown["agentConnected"] is True and shown["version"] == 2
    assert shown["versionInfo"] == {"agentVersion": "1.70.2", "agentHash": "test",
                                    "dockerVersion": "DockerVersion: 20.10.0"}
    for filter_, want in [("agentConnected == true", 1), ("agentConnected != true", 0),
                          ("agentVersion > 1.9.0", 1), ("agentVersion == 1.70.2.0", 1),
                          ("agentVersion >= 1.70.3", 0), ("runningTasksCount == 0", 1),
                          ("registeredAt > 2018-06-18T22:28:28+00:00", 1),
                          ("registeredAt < 2018-06-18", 0), ("ec2InstanceId =~ i-.*", 1),
                          ("task:group == family:none", 0), ("task:group != family:none", 1)]:
        found = ecs.list_container_instances(cluster=ecs.cluster, filter=filter_)
        assert len(found["containerInstanceArns"]) == want, filter_
    one.disconnect()
    support.wait_for(lambda: one.describe()["agentConnected"] is False)
    assert one.describe()["version"] == 3


def test_health_is_what_it_says(agent):
    one = agent().connect()
    assert one.describe("CONTAINER_INSTANCE_HEALTH")["healthStatus"][
        "overallStatus"] == "INSUFFICIENT_DATA"
    for status, at in [("INITIALIZING", 1700000000), ("OK", 1700000020), ("IMPAIRED", 1700000040)]:
        one.say_status(status, at)
        health = one.describe("CONTAINER_INSTANCE_HEALTH")["healthStatus"]
        assert health["overallStatus"] == status
        detail = health["details"][0]
        assert detail["type"] == "CONTAINER_RUNTIME" and detail["status"] == status
        assert detail["lastUpdated"].timestamp() == at
        assert detail["lastStatusChange"].timestamp() == at
    assert "healthStatus" not in one.describe()
    one.say_status("OK", 1700000060, kind="EBSDaemon")
    one.say_status("OK", 1700000080, kind="Agent")  # no part of what the API shows
    details = one.describe("CONTAINER_INSTANCE_HEALTH")["healthStatus"]["details"]
    assert {part["type"]: part["status"] for part in details} == {
        "CONTAINER_RUNTIME": "IMPAIRED", "DAEMON": "OK"}


def refusal(open_session, **query):
    with pytest.raises(websocket.Refused) as refused:
        open_session(**query)
    [(name, message)] = json.loads(refused.value.body).items()
    assert message
    return name


def test_sessions_are_for_ones_own_instance(agent, ecs):
    """The names of refusals are those that the agent knows."""
    one = agent().connect()
    strange = one.arn[:-32] + "0" * 32
    assert refusal(one.open_work, containerInstanceArn=strange) == "InvalidInstanceException"
    assert refusal(one.open_telemetry, containerInstance=strange) == "InvalidInstanceException"
    assert refusal(one.open_work, containerInstanceArn="") == "BadRequestException"
    assert refusal(one.open_work, protocolVersion="1") == "BadRequestException"
    assert one.describe()["agentConnected"] is True  # it was not replaced by them
    one.keys = (one.keys[0], "wrong")
    assert refusal(one.open_work) == "AccessDeniedException"


def test_a_deregistered_instance_is_inactive(agent, ecs):
    """Its session is closed with the name at which the agent waits long, and there is no other."""
    one = agent()
    session = one.open_work()
    session.hear_of("TaskManifestMessage")
    ecs.deregister_container_instance(cluster=ecs.cluster, containerInstance=one.arn)
    with pytest.raises(websocket.Closed) as closed:
        while True:
            # What it says at a heartbeat, sooner.
            with contextlib.suppress(ConnectionError):  # closed already: that is read below
                session.say("HeartbeatAckRequest", {"messageId": "1"})
            if session.readable(0.5):
                session.hear()
    assert "InactiveInstanceException" in str(closed.value)
    assert refusal(one.open_work) == "InactiveInstanceException"


def test_requirements_and_resources_refuse(agent, ecs):
    one = agent(lacks=["com.amazonaws.ecs.capability.privileged-container"]).connect()
    family = ecs.cluster
    define(ecs, family + "-priv", {"name": "a", "privileged": True})
    failure = ecs.run_task(cluster=ecs.cluster, taskDefinition=family + "-priv")["failures"][0]
    assert failure["arn"] == one.arn and failure["reason"] == "ATTRIBUTE"
    assert "com.amazonaws.ecs.capability.privileged-container" in failure["detail"]
    define(ecs, family + "-ssh", {"name": "a",
                                  "portMappings": [{"containerPort": 22, "hostPort": 22}]})
    failure = ecs.run_task(cluster=ecs.cluster, taskDefinition=family + "-ssh")["failures"][0]
    assert failure["reason"] == "RESOURCE:PORTS"


def test_no_interfaces_without_ec2(server, agent, ecs):
    agent(attributes=[{"name": "berth.eni-slots", "value": "3"}]).connect()
    define(ecs, ecs.cluster, {"name": "a"}, networkMode="awsvpc")
    answer = ecs.run_task(
        cluster=ecs.cluster, taskDefinition=ecs.cluster,
        networkConfiguration=server.network())
    assert answer["failures"][0]["reason"] == "RESOURCE:ENI"


def resources(instance, which):
    return {one["name"]: one.get("stringSetValue", one["integerValue"]) for one in instance[which]}


def test_gpus_and_ports_are_handed_out(agent, ecs):
    one = agent(platformDevices=[{"id": f"GPU-{number}", "type": "GPU"} for number in range(3)])
    one.connect()
    assert resources(one.instance, "registeredResources")["GPU"] == ["GPU-0", "GPU-1", "GPU-2"]
    define(ecs, ecs.cluster,
           {"name": "a", "cpu": 10, "resourceRequirements": [{"type": "GPU", "value": "1"}],
            "portMappings": [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81}]},
           {"name": "b", "cpu": 10, "resourceRequirements": [{"type": "GPU", "value": "1"}]})
    task = ecs.run_task(cluster=ecs.cluster, taskDefinition=ecs.cluster)["tasks"][0]
    given = {container["name"]: container["gpuIds"] for container in task["containers"]}
    assert given == {"a": ["GPU-0"], "b": ["GPU-1"]}
    payload = one.wait_payload(task["taskArn"])
    assert {gpu["name"]: gpu["containers"] for gpu in payload["associations"]} == {
        "GPU-0": ["a"], "GPU-1": ["b"]}
    left = resources(one.describe(), "remainingResources")
    assert left == {"CPU": 4076, "MEMORY": 8160, "PORTS_UDP": [], "GPU": ["GPU-2"],
                    "PORTS": ["22", "2375", "2376", "51678", "8080"]}
    failure = ecs.run_task(cluster=ecs.cluster, taskDefinition=ecs.cluster)["failures"][0]
    assert failure["reason"] in ("RESOURCE:GPU", "RESOURCE:PORTS")
    ecs.submit_task_state_change(cluster=ecs.cluster, task=task["taskArn"], status="STOPPED")
    assert resources(one.describe(), "remainingResources") == resources(
        one.instance, "remainingResources")


def test_a_type_does_not_change(agent, ecs):
    def document(kind):
        return json.dumps({"instanceId": "i-0123456789", "instanceType": kind, "imageId": "ami-1",
                           "availabilityZone": "us-east-1c", "architecture": "x86_64"})
    one = agent(instanceIdentityDocument=document("m5.large"), zone=None)
    assert one.instance["ec2InstanceId"] == "i-0123456789"
    attributes = {item["name"]: item.get("value") for item in one.instance["attributes"]}
    assert attributes["ecs.instance-type"] == "m5.large" and attributes["ecs.ami-id"] == "ami-1"
    assert attributes["ecs.availability-zone"] == "us-east-1c"
    again = {"cluster": ecs.cluster, "containerInstanceArn": one.arn,
             "totalResources": stock_agent.RESOURCES}
    same = ecs.register_container_instance(instanceIdentityDocument=document("m5.large"), **again)
    assert same["containerInstance"]["containerInstanceArn"] == one.arn
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        ecs.register_container_instance(instanceIdentityDocument=document("c5.large"), **again)
    assert "Container instance type changes are not supported." in str(refused.value)


def test_update_of_an_agent(agent, ecs):
    one = agent()
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        ecs.update_container_agent(cluster=ecs.cluster, containerInstance=one.arn)
    assert refused.value.response["Error"]["Code"] == "MissingVersionException"
    one.connect()
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        ecs.update_container_agent(cluster=ecs.cluster, containerInstance=one.arn)
    assert refused.value.response["Error"]["Code"] == "NoUpdateAvailableException"
