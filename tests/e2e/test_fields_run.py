"""Members of RunTask and StartTask, with what they do to the task."""
import botocore.exceptions
import pytest

import fields
import support
from fields import after, box, task

EC2 = {"launchType": "EC2"}
SLEEP = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
PLAIN = {"networkMode": "host", "containerDefinitions": [box("echo $WORD", memory=64)]}
MIB = 1 << 20


def override(**members):
    return {"overrides": {"containerOverrides": [{"name": "main", **members}]}}


def refusal(call, **arguments):
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        call(**arguments)
    return refused.value.response["Error"]


# ---- overrides

@task(box("echo from the definition"), run=override(command=["echo overridden"]))
def test_override_command(ended):
    assert ended.output() == "overridden\n"


@task(box("echo $KEPT $WORD $NEW", environment=[{"name": "KEPT", "value": "kept"},
                                                {"name": "WORD", "value": "definition"}]),
      run=override(environment=[{"name": "WORD", "value": "override"},
                                {"name": "NEW", "value": "new"}]))
def test_override_environment(ended):
    """Merged by name; the override wins."""
    assert ended.output() == "kept override new\n"


@task(box("echo $WORD", **after("second")),
      box("echo second $WORD", name="second", essential=False),
      run=override(environment=[{"name": "WORD", "value": "override"}]))
def test_override_name(ended):
    """Only the container that it names."""
    assert (ended.output(), ended.output("second")) == ("override\n", "second\n")


@task(box(SLEEP, cpu=10, memory=64), cpu="512", memory="1024",
      run=override(cpu=200, memory=96))
def test_override_container_sizes(node, live):
    node.until(live, lastStatus="RUNNING")
    assert node.shares(live, "main", 200)
    assert node.memory_limit(live, "main") == 96 * MIB
    [shown] = node.describe(live)["containers"]
    assert (shown["cpu"], shown["memory"]) == ("200", "96")


@task(box(SLEEP, memory=64, memoryReservation=32), ec2=True, cpu=None, memory=None,
      run=override(memoryReservation=48))
def test_override_memory_reservation(node, live):
    node.until(live, lastStatus="RUNNING")
    assert node.soft_limit(live, "main") == 48 * MIB


@task(box(SLEEP), run={"overrides": {"cpu": "1024", "memory": "3 GB"}})
def test_override_task_sizes(node, live):
    described = node.until(live, lastStatus="RUNNING")
    assert (described["cpu"], described["memory"]) == ("1024", "3072")
    assert node.cpu_quota(live) == 1
    assert node.memory_limit(live) == 3072 * MIB


def test_override_environment_files(node):
    """The node refuses them, as it does those of the definition."""
    arn = node.launch("files", PLAIN, {**EC2, **override(
        environmentFiles=[{"value": "arn:aws:s3:::b/a.env", "type": "s3"}])})
    assert "nothing that stands for S3, to find 'arn:aws:s3:::b/a.env'" in node.stopped(arn).reason


def test_override_resource_requirements(node):
    """No instance has a GPU."""
    node.register("gpus", PLAIN)
    answer = node.ecs.run_task(taskDefinition="gpus", **EC2, **override(
        resourceRequirements=[{"type": "GPU", "value": "1"}]))
    assert answer["tasks"] == []
    assert [one["reason"] for one in answer["failures"]] == ["RESOURCE:GPU"]


SHOWN = {"executionRoleArn": "arn:aws:iam::000000000000:role/execution",
         "taskRoleArn": "arn:aws:iam::000000000000:role/task",
         "ephemeralStorage": {"sizeInGiB": 33},
         "inferenceAcceleratorOverrides": [{"deviceName": "d", "deviceType": "t"}]}


@task(box("true"), run={"overrides": SHOWN})
def test_overrides_that_are_shown(ended):
    shown = ended.task["overrides"]
    assert {name: shown[name] for name in SHOWN} == SHOWN
    assert ended.task["ephemeralStorage"] == {"sizeInGiB": 33}


# ---- where it runs

def test_cluster(node):
    node.ecs.create_cluster(clusterName="other")
    definition = {**PLAIN, "networkMode": "awsvpc", "cpu": "256", "memory": "512",
                  "requiresCompatibilities": ["FARGATE"]}
    arn = node.register("other-cluster", definition)
    made = node.ecs.run_task(cluster="other", taskDefinition=arn, launchType="FARGATE",
                             networkConfiguration=node.network_arguments)["tasks"][0]
    assert ":task/other/" in made["taskArn"] and made["clusterArn"].endswith(":cluster/other")

    def stopped():
        """STOPPED in the other cluster"""
        [found] = node.ecs.describe_tasks(cluster="other", tasks=[made["taskArn"]])["tasks"]
        return found["lastStatus"] == "STOPPED"
    support.wait_for(stopped)


def test_count(node):
    node.register("several", PLAIN)
    answer = node.ecs.run_task(taskDefinition="several", count=3, **EC2)
    arns = {one["taskArn"] for one in answer["tasks"]}
    assert len(arns) == 3
    assert [node.stopped(arn).output() for arn in arns] == ["\n"] * 3


@task(box("env | grep AWS_EXECUTION_ENV", memory=64), ec2=True)
def test_launch_type_ec2(ended, node):
    assert ended.output() == "AWS_EXECUTION_ENV=AWS_ECS_EC2\n"
    assert ended.task["launchType"] == "EC2"
    assert ended.task["containerInstanceArn"] == node.instance


@task(box("env | grep AWS_EXECUTION_ENV"))
def test_launch_type_fargate(ended):
    assert ended.output() == "AWS_EXECUTION_ENV=AWS_ECS_FARGATE\n"
    assert ended.task["launchType"] == "FARGATE"
    assert ended.task["platformVersion"] == "1.4.0"
    assert "containerInstanceArn" not in ended.task


def test_capacity_provider_strategy(node):
    """A pool by its name; the node is a host of both."""
    definition = {**PLAIN, "networkMode": "awsvpc", "cpu": "256", "memory": "512",
                  "requiresCompatibilities": ["FARGATE"]}
    arn = node.launch("provided", definition, {"capacityProviderStrategy": [
        {"capacityProvider": "FARGATE", "weight": 1}]})
    assert node.stopped(arn).task["capacityProviderName"] == "FARGATE"
    answer = node.ecs.run_task(
        taskDefinition="provided", networkConfiguration=node.network_arguments,
        capacityProviderStrategy=[{"capacityProvider": "FARGATE_SPOT", "weight": 1}])
    assert [task["capacityProviderName"] for task in answer["tasks"]] == ["FARGATE_SPOT"]


def test_capacity_provider_strategy_without_weight(node):
    """Among several, one with neither base nor weight gets no task."""
    node.register("weighed", {**PLAIN, "networkMode": "awsvpc", "cpu": "256", "memory": "512",
                              "requiresCompatibilities": ["FARGATE"]})
    answer = node.ecs.run_task(
        taskDefinition="weighed", networkConfiguration=node.network_arguments,
        capacityProviderStrategy=[{"capacityProvider": "FARGATE", "weight": 0},
                                  {"capacityProvider": "FARGATE_SPOT", "weight": 1}])
    assert [task["capacityProviderName"] for task in answer["tasks"]] == ["FARGATE_SPOT"]


@task(box("ip -o -4 addr show dev eth0; ip route show default"))
def test_subnets(ended, node):
    """The address is one of the subnet that was chosen, and its zone the task's."""
    details = {one["name"]: one["value"] for one in ended.task["attachments"][0]["details"]}
    assert details["subnetId"] in node.network_arguments["awsvpcConfiguration"]["subnets"]
    assert f" {details['privateIPv4Address']}/" in ended.lines()[0]


def test_subnets_choose_the_zone(node):
    subnets = node.network_arguments["awsvpcConfiguration"]["subnets"]
    definition = {**PLAIN, "networkMode": "awsvpc", "cpu": "256", "memory": "512",
                  "requiresCompatibilities": ["FARGATE"]}
    zones = []
    for subnet in subnets:
        arn = node.launch("zone", definition, {"launchType": "FARGATE", "networkConfiguration": {
            "awsvpcConfiguration": {"subnets": [subnet]}}})
        zones.append(node.stopped(arn).task["availabilityZone"][-1])
    assert zones == ["a", "b", "c"]


def test_security_groups(node):
    """Those of the VPC only; what they let through is told by test_groups.py."""
    definition = {**PLAIN, "networkMode": "awsvpc"}
    node.register("groups", definition)
    network = {**node.network_arguments["awsvpcConfiguration"], "securityGroups": ["sg-1"]}
    assert "'sg-1' does not exist" in refusal(
        node.ecs.run_task, taskDefinition="groups", **EC2,
        networkConfiguration={"awsvpcConfiguration": network})["Message"]


def test_assign_public_ip(node):
    node.register("public", {**PLAIN, "networkMode": "awsvpc"})
    network = {**node.network_arguments["awsvpcConfiguration"], "assignPublicIp": "ENABLED"}
    assert refusal(node.ecs.run_task, taskDefinition="public", **EC2,
                   networkConfiguration={"awsvpcConfiguration": network})["Message"] == (
        "Assign public IP is not supported for this launch type.")


def rack(value):
    return [{"type": "memberOf", "expression": f"attribute:rack == {value}"}]


def test_placement_constraints(node):
    """The request's and the definition's."""
    ended = node.stopped(node.launch("placed", PLAIN, {**EC2, "placementConstraints": rack("r1")}))
    assert ended.output() == "\n"
    unmet = ["MemberOf placement constraint unsatisfied."]
    answer = node.ecs.run_task(taskDefinition="placed", placementConstraints=rack("r2"), **EC2)
    assert [one["reason"] for one in answer["failures"]] == unmet
    node.register("elsewhere", {**PLAIN, "placementConstraints": rack("r2")})
    answer = node.ecs.run_task(taskDefinition="elsewhere", **EC2)
    assert [one["reason"] for one in answer["failures"]] == unmet


def test_placement_strategy(node):
    ended = node.stopped(node.launch("strategy", PLAIN, {**EC2, "placementStrategy": [
        {"type": "spread", "field": "attribute:rack"}, {"type": "binpack", "field": "memory"}]}))
    assert ended.output() == "\n"
    assert refusal(node.ecs.run_task, taskDefinition="strategy", **EC2, placementStrategy=[
        {"type": "binpack", "field": "rack"}])["Code"] == "InvalidParameterException"


def test_platform_version(node):
    definition = {**PLAIN, "networkMode": "awsvpc", "cpu": "256", "memory": "512",
                  "requiresCompatibilities": ["FARGATE"]}
    arn = node.launch("platform", definition, {"launchType": "FARGATE", "platformVersion": "1.3.0"})
    assert node.stopped(arn).task["platformVersion"] == "1.3.0"
    assert refusal(node.ecs.run_task, taskDefinition="platform", launchType="FARGATE",
                   platformVersion="9", networkConfiguration=node.network_arguments)["Code"] == (
        "PlatformUnknownException")


# ---- what it is called

def test_names(node):
    """group, startedBy and referenceId are shown; group and startedBy find it again."""
    arn = node.launch("names", PLAIN, {**EC2, "group": "mine", "startedBy": "someone"})
    found = node.stopped(arn).task
    assert (found["group"], found["startedBy"]) == ("mine", "someone")
    assert node.ecs.list_tasks(startedBy="someone", desiredStatus="STOPPED")["taskArns"] == [arn]


def test_reference_id(node):
    support.needs(node.ecs, "RunTask", "referenceId")
    arn = node.launch("reference", PLAIN, {**EC2, "referenceId": "ticket-7"})
    assert node.stopped(arn).code() == 0


def test_tags(node):
    """The request's, the definition's when propagated, and ECS's own."""
    definition = {**PLAIN, "tags": [{"key": "a", "value": "definition"},
                                    {"key": "b", "value": "definition"}]}
    arn = node.launch("tagged", definition, {
        **EC2, "tags": [{"key": "a", "value": "request"}], "propagateTags": "TASK_DEFINITION",
        "enableECSManagedTags": True})
    [found] = node.ecs.describe_tasks(tasks=[arn], include=["TAGS"])["tasks"]
    assert {one["key"]: one["value"] for one in found["tags"]} == {
        "a": "request", "b": "definition", "aws:ecs:clusterName": "default"}


def test_client_token(node):
    support.needs(node.ecs, "RunTask", "clientToken")
    first, again = (node.launch("token", PLAIN, {**EC2, "taskDefinition": "token:1",
                                                 "clientToken": "once"}) for _ in range(2))
    assert first == again


def test_task_definition(node):
    """A revision, or the family for the newest."""
    for word in ("one", "two"):
        definition = {"networkMode": "host", "containerDefinitions": [
            box(f"echo {word}", memory=64)]}
        node.register("revised", definition)
    outputs = []
    for name in ("revised:1", "revised:2", "revised"):
        made = node.ecs.run_task(taskDefinition=name, **EC2)["tasks"][0]
        outputs.append(node.stopped(made["taskArn"]).output())
    assert outputs == ["one\n", "two\n", "two\n"]


def test_enable_execute_command(node):
    """What it does is in test_exec.py."""
    for enabled in (True, False):
        definition = {**PLAIN, "networkMode": "awsvpc", "cpu": "256", "memory": "512",
                      "requiresCompatibilities": ["FARGATE"],
                      "containerDefinitions": [box(fields.SLEEP)]}
        arn = node.launch("exec", definition, {"launchType": "FARGATE",
                                               "enableExecuteCommand": enabled})
        found = node.until(arn, lastStatus="RUNNING")
        agents = found["containers"][0].get("managedAgents", [])
        assert found["enableExecuteCommand"] is enabled
        assert [one["lastStatus"] for one in agents] == (["RUNNING"] if enabled else [])
        arguments = {"task": arn, "command": "true", "interactive": True}
        if enabled:
            assert node.ecs.execute_command(**arguments)["containerName"] == "main"
        else:
            with pytest.raises(node.ecs.exceptions.InvalidParameterException):
                node.ecs.execute_command(**arguments)
        node.ecs.stop_task(task=arn)


def test_volume_configurations(node):
    support.needs(node.ecs, "RunTask", "volumeConfigurations")
    node.register("ebs", {**PLAIN, "volumes": [{"name": "v", "configuredAtLaunch": True}]})
    error = refusal(node.ecs.run_task, taskDefinition="ebs", **EC2, volumeConfigurations=[
        {"name": "v", "managedEBSVolume": {"sizeInGiB": 1, "roleArn": "arn:aws:iam::1:role/r"}}])
    assert error["Code"] == "UnsupportedFeatureException"


# ---- StartTask

def test_start_task(node):
    """On the instances that it names, with the same members as RunTask has."""
    node.register("named", {**PLAIN, "tags": [{"key": "b", "value": "definition"}]})
    answer = node.ecs.start_task(
        cluster="default", taskDefinition="named", containerInstances=[node.instance],
        startedBy="hand", group="mine", tags=[{"key": "a", "value": "request"}],
        propagateTags="TASK_DEFINITION", enableECSManagedTags=True,
        **override(environment=[{"name": "WORD", "value": "started"}]))
    assert answer["failures"] == []
    arn = answer["tasks"][0]["taskArn"]
    ended = node.stopped(arn)
    assert ended.output() == "started\n"
    assert ended.task["containerInstanceArn"] == node.instance
    assert (ended.task["startedBy"], ended.task["group"]) == ("hand", "mine")
    [found] = node.ecs.describe_tasks(tasks=[arn], include=["TAGS"])["tasks"]
    assert {one["key"]: one["value"] for one in found["tags"]} == {
        "a": "request", "b": "definition", "aws:ecs:clusterName": "default"}


def test_start_task_network(node):
    node.register("start-awsvpc", {**PLAIN, "networkMode": "awsvpc", "containerDefinitions": [
        box("ip -o -4 addr show dev eth0", memory=64)]})
    subnets = node.network_arguments["awsvpcConfiguration"]["subnets"][:1]
    answer = node.ecs.start_task(
        taskDefinition="start-awsvpc", containerInstances=[node.instance],
        networkConfiguration={"awsvpcConfiguration": {"subnets": subnets}})
    ended = node.stopped(answer["tasks"][0]["taskArn"])
    details = {one["name"]: one["value"] for one in ended.task["attachments"][0]["details"]}
    assert details["subnetId"] == subnets[0]
    assert f" {details['privateIPv4Address']}/" in ended.output()


def test_start_task_refusals(node):
    node.register("start-refused", {**PLAIN, "volumes": [
        {"name": "v", "configuredAtLaunch": True}]})
    named = {"taskDefinition": "start-refused", "containerInstances": [node.instance]}
    support.needs(node.ecs, "StartTask", "volumeConfigurations")
    assert refusal(node.ecs.start_task, **named, volumeConfigurations=[
        {"name": "v", "managedEBSVolume": {"sizeInGiB": 1, "roleArn": "arn:aws:iam::1:role/r"}}])[
            "Code"] == "UnsupportedFeatureException"
    assert refusal(node.ecs.start_task, **named, cluster="nowhere")["Code"] == (
        "ClusterNotFoundException")
