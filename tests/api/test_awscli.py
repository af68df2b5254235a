"""Every operation that the server serves, by a real call through Debian's AWS CLI and through boto3.

A story is a few calls in order, told once and run by both clients. Which operations must be told of
is asked of the server itself: all of the schema that it does not answer with 501.
"""
import concurrent.futures
import json
import os
import re
import subprocess

import botocore.exceptions
import botocore.session
import pytest

import models
import raw
import support

CLI = "/usr/bin/aws"
RESOURCES = [{"name": name, "type": "INTEGER", "integerValue": 1024} for name in ("CPU", "MEMORY")]
DEFINITION = {
    "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512",
    "containerDefinitions": [{"name": "hello", "image": "hello"}]}
HOME = "awscli"  # the cluster that stories share


def kebab(name):
    """CreateCluster, clusterName: create-cluster, cluster-name; as the CLI makes its words."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"-\1", name).lower()


class Refused(Exception):
    """An operation was refused; args[0] is the error's code."""


# Operations that Debian's CLI does not know.
YOUNG = {"DeleteTaskDefinitions", "DescribeServiceDeployments", "ListServiceDeployments",
         "DescribeServiceRevisions", "StopServiceDeployment", "ContinueServiceDeployment"}
# What the CLI asks only with a program of Amazon's beside it; test_exec_clients.py has that.
PLUGGED = {"ExecuteCommand"}


class CliClient:
    """Calls through Debian's AWS CLI: as the account's root by `berth aws`, or with a key."""

    name = "cli"

    def __init__(self, berth, told, key=None):
        self.berth, self.told = berth, told
        if key is None:
            self.program = [support.BERTH, "aws", "--data", berth.data]
        else:
            self.program = [CLI, "--endpoint-url", berth.endpoint]
        # `berth aws` finds the CLI by the path: Debian's, whichever others there are.
        self.environment = dict(berth.environment(), PATH="/usr/bin:/bin")
        if key is not None:
            self.environment.update(AWS_ACCESS_KEY_ID=key[0], AWS_SECRET_ACCESS_KEY=key[1])

    def run(self, *words, output="json"):
        return subprocess.run([*self.program, "--output", output, *words], capture_output=True,
                              text=True, timeout=120, env=self.environment, check=False)

    def knows(self, operation):
        return operation not in YOUNG | PLUGGED

    def __call__(self, operation, api="ecs", **members):
        words = [api, kebab(operation)]
        for name, value in members.items():
            if isinstance(value, bool):
                words.append(f"--{'' if value else 'no-'}{kebab(name)}")
            else:
                words += [f"--{kebab(name)}",
                          value if isinstance(value, str) else json.dumps(value)]
        done = self.run(*words)
        self.told.add(operation)
        if done.returncode != 0:
            found = re.search(r"An error occurred \((\w+)\) when calling the (\w+) operation: (.+)",
                              done.stderr)
            assert found and found[2] == operation, f"{' '.join(words)}: {done.stderr}"
            raise Refused(found[1], found[3])
        return json.loads(done.stdout) if done.stdout.strip() else {}

    def wait(self, waiter, **members):
        words = ["ecs", "wait", waiter]
        for name, value in members.items():
            words += [f"--{kebab(name)}", *(value if isinstance(value, list) else [value])]
        done = self.run(*words)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        self.told.add(waiter)


class BotoClient:
    """Calls through boto3; responses are checked against its model."""

    name = "boto3"

    def __init__(self, berth, told, key=None):
        self.told = told
        changes = {} if key is None else {"aws_access_key_id": key[0],
                                          "aws_secret_access_key": key[1]}
        self.clients = {service: models.install(berth.client(service, **changes))
                        for service in ("ecs", "sts")}

    def knows(self, operation):
        return any(operation in client.meta.service_model.operation_names
                   for client in self.clients.values())

    def __call__(self, operation, api="ecs", **members):
        self.told.add(operation)
        try:
            answer = getattr(self.clients[api], kebab(operation).replace("-", "_"))(**members)
        except botocore.exceptions.ClientError as error:
            raise Refused(error.response["Error"]["Code"],
                          error.response["Error"]["Message"]) from error
        answer.pop("ResponseMetadata")
        return answer

    def wait(self, waiter, **members):
        self.clients["ecs"].get_waiter(waiter.replace("-", "_")).wait(
            WaiterConfig=support.WAITER, **members)
        self.told.add(waiter)


def refusal(call, operation, **members):
    with pytest.raises(Refused) as refused:
        call(operation, **members)
    return refused.value.args[0]


# ---- the stories ------------------------------------------------------------------------------

def clusters(call, mine, _):
    made = call("CreateCluster", clusterName=mine,
                tags=[{"key": "team", "value": "blue"}])["cluster"]
    assert made["status"] == "ACTIVE" and made["tags"] == [{"key": "team", "value": "blue"}]
    assert made["clusterArn"] in call("ListClusters")["clusterArns"]
    found = call("DescribeClusters", clusters=[mine, "nowhere"], include=["SETTINGS"])
    assert found["clusters"][0]["clusterArn"] == made["clusterArn"]
    assert found["failures"][0]["reason"] == "MISSING"
    settings = [{"name": "containerInsights", "value": "enabled"}]
    assert call("UpdateClusterSettings", cluster=mine,
                settings=settings)["cluster"]["settings"] == settings
    exec_logs = {"executeCommandConfiguration": {"logging": "NONE"}}
    assert call("UpdateCluster", cluster=mine, configuration=exec_logs)[
        "cluster"]["clusterArn"] == made["clusterArn"]
    strategy = [{"capacityProvider": "FARGATE", "weight": 1, "base": 0}]
    assert call("PutClusterCapacityProviders", cluster=mine, capacityProviders=["FARGATE"],
                defaultCapacityProviderStrategy=strategy)[
                    "cluster"]["defaultCapacityProviderStrategy"] == strategy
    assert call("DeleteCluster", cluster=mine)["cluster"]["status"] == "INACTIVE"
    assert refusal(call, "DeleteCluster", cluster="nowhere") == "ClusterNotFoundException"


def definitions(call, mine, _):
    made = call("RegisterTaskDefinition", family=mine, **DEFINITION)["taskDefinition"]
    arn = made["taskDefinitionArn"]
    assert made["revision"] == 1 and made["status"] == "ACTIVE"
    assert call("DescribeTaskDefinition", taskDefinition=mine)[
        "taskDefinition"]["containerDefinitions"][0]["image"] == "hello"
    assert call("ListTaskDefinitions", familyPrefix=mine, sort="DESC")["taskDefinitionArns"] == [
        arn]
    assert call("ListTaskDefinitionFamilies", familyPrefix=mine)["families"] == [mine]
    assert call("DeregisterTaskDefinition", taskDefinition=arn)[
        "taskDefinition"]["status"] == "INACTIVE"
    if call.knows("DeleteTaskDefinitions"):
        assert call("DeleteTaskDefinitions", taskDefinitions=[arn])[
            "taskDefinitions"][0]["status"] == "DELETE_IN_PROGRESS"


def tasks(call, mine, berth):
    call("RegisterTaskDefinition", family=mine, **DEFINITION)
    run = call("RunTask", cluster=HOME, taskDefinition=mine, launchType="FARGATE", startedBy=mine,
               networkConfiguration=berth.network())
    assert run["failures"] == []
    task = run["tasks"][0]["taskArn"]
    call.wait("tasks-running", cluster=HOME, tasks=[task])
    assert call("ListTasks", cluster=HOME, startedBy=mine)["taskArns"] == [task]
    found = call("DescribeTasks", cluster=HOME, tasks=[task])["tasks"][0]
    assert found["lastStatus"] == "RUNNING" and found["containers"][0]["name"] == "hello"
    assert call("GetTaskProtection", cluster=HOME, tasks=[task])[
        "failures"][0]["reason"] == "TASK_NOT_VALID"
    assert call("UpdateTaskProtection", cluster=HOME, tasks=[task], protectionEnabled=True)[
        "failures"][0]["arn"] == task
    if call.knows("ExecuteCommand"):
        assert refusal(call, "ExecuteCommand", cluster=HOME, task=task, command="sh",
                       interactive=True) == "InvalidParameterException"
    assert call("StopTask", cluster=HOME, task=task, reason="enough")[
        "task"]["desiredStatus"] == "STOPPED"
    call.wait("tasks-stopped", cluster=HOME, tasks=[task])


def services(call, mine, berth):
    call("RegisterTaskDefinition", family=mine, **DEFINITION)
    made = call("CreateService", cluster=HOME, serviceName=mine, taskDefinition=mine,
                desiredCount=1, launchType="FARGATE", networkConfiguration=berth.network())[
                    "service"]
    assert made["status"] == "ACTIVE" and made["desiredCount"] == 1
    assert made["serviceArn"] in call("ListServices", cluster=HOME)["serviceArns"]
    call.wait("services-stable", cluster=HOME, services=[mine])
    found = call("DescribeServices", cluster=HOME, services=[mine, "nowhere"])
    assert found["services"][0]["runningCount"] == 1
    assert found["failures"][0]["reason"] == "MISSING"
    if call.knows("ListServicesByNamespace"):
        assert refusal(call, "ListServicesByNamespace", namespace="nowhere") == \
            "NamespaceNotFoundException"
    assert call("UpdateService", cluster=HOME, service=mine, desiredCount=0)[
        "service"]["desiredCount"] == 0
    assert call("DeleteService", cluster=HOME, service=mine, force=True)[
        "service"]["status"] == "DRAINING"
    call.wait("services-inactive", cluster=HOME, services=[mine])


def task_sets(call, mine, berth):
    call("RegisterTaskDefinition", family=mine, **DEFINITION)
    call("CreateService", cluster=HOME, serviceName=mine, desiredCount=1,
         deploymentController={"type": "EXTERNAL"})
    where = {"cluster": HOME, "service": mine}
    made = call("CreateTaskSet", **where, taskDefinition=mine, launchType="FARGATE",
                networkConfiguration=berth.network())["taskSet"]
    assert made["status"] == "ACTIVE" and made["computedDesiredCount"] == 0
    named = {**where, "taskSet": made["id"]}
    assert call("UpdateTaskSet", **named, scale={"value": 100, "unit": "PERCENT"})[
        "taskSet"]["computedDesiredCount"] == 1
    assert call("UpdateServicePrimaryTaskSet", **where, primaryTaskSet=made["id"])[
        "taskSet"]["status"] == "PRIMARY"

    def running():
        """the task of the task set"""
        found = call("DescribeTaskSets", **where, taskSets=[made["taskSetArn"]])["taskSets"]
        return found[0]["runningCount"] == 1
    support.wait_for(running)
    assert refusal(call, "DeleteTaskSet", **named) == "InvalidParameterException"
    assert call("DeleteTaskSet", **named, force=True)["taskSet"]["status"] == "DRAINING"
    call("DeleteService", cluster=HOME, service=mine, force=True)
    call.wait("services-inactive", cluster=HOME, services=[mine])


def capacity(call, mine, berth):
    group = "arn:aws:autoscaling:us-east-1:000000000000:autoScalingGroup:" \
        f"00000000-0000-0000-0000-000000000000:autoScalingGroupName/{mine}"
    made = call("CreateCapacityProvider", name=mine,
                autoScalingGroupProvider={"autoScalingGroupArn": group})["capacityProvider"]
    assert made["status"] == "ACTIVE"
    found = call("DescribeCapacityProviders", capacityProviders=[mine])["capacityProviders"]
    assert [provider["capacityProviderArn"] for provider in found] == [made["capacityProviderArn"]]
    scaling = {"managedScaling": {"status": "DISABLED"}}
    assert call("UpdateCapacityProvider", name=mine, autoScalingGroupProvider=scaling)[
        "capacityProvider"]["name"] == mine
    assert call("DeleteCapacityProvider", capacityProvider=mine)["capacityProvider"]["name"] == mine


def deployments(call, mine, berth):
    if not call.knows("ContinueServiceDeployment"):
        return
    call("RegisterTaskDefinition", family=mine, **DEFINITION)
    hooks = [{"targetType": "PAUSE", "lifecycleStages": ["PRE_SCALE_UP"]}]
    made = call("CreateService", cluster=HOME, serviceName=mine, taskDefinition=mine,
                desiredCount=0, launchType="FARGATE", networkConfiguration=berth.network(),
                deploymentConfiguration={"strategy": "BLUE_GREEN", "lifecycleHooks": hooks})[
                    "service"]
    arn = made["currentServiceDeployment"]
    assert call("ListServiceDeployments", cluster=HOME, service=mine)["serviceDeployments"][0][
        "serviceDeploymentArn"] == arn
    found = call("DescribeServiceDeployments", serviceDeploymentArns=[arn])[
        "serviceDeployments"][0]
    assert found["lifecycleStage"] == "PRE_SCALE_UP"
    revision = found["targetServiceRevision"]["arn"]
    assert call("DescribeServiceRevisions", serviceRevisionArns=[revision])["serviceRevisions"][0][
        "serviceRevisionArn"] == revision
    hook = found["lifecycleHookDetails"][0]
    assert hook["status"] == "AWAITING_ACTION"
    assert call("ContinueServiceDeployment", serviceDeploymentArn=arn, hookId=hook["hookId"])[
        "serviceDeploymentArn"] == arn

    def successful():
        """the deployment that was continued is SUCCESSFUL"""
        return call("DescribeServiceDeployments", serviceDeploymentArns=[arn])[
            "serviceDeployments"][0]["status"] == "SUCCESSFUL"
    support.wait_for(successful)
    assert refusal(call, "StopServiceDeployment", serviceDeploymentArn=arn) == "ConflictException"
    call("DeleteService", cluster=HOME, service=mine, force=True)


def instances(call, mine, _):
    made = call("RegisterContainerInstance", cluster=HOME, totalResources=RESOURCES)[
        "containerInstance"]
    arn = made["containerInstanceArn"]
    assert arn in call("ListContainerInstances", cluster=HOME)["containerInstanceArns"]
    found = call("DescribeContainerInstances", cluster=HOME, containerInstances=[arn])
    assert found["containerInstances"][0]["agentConnected"] is False
    given = [{"name": "rack", "value": mine, "targetId": arn}]
    assert call("PutAttributes", cluster=HOME, attributes=given)["attributes"] == given
    assert call("ListAttributes", cluster=HOME, targetType="container-instance",
                attributeName="rack", attributeValue=mine)["attributes"] == given
    assert call("DeleteAttributes", cluster=HOME, attributes=[{"name": "rack", "targetId": arn}])[
        "attributes"] == given
    call("RegisterTaskDefinition", family=mine, containerDefinitions=[
        {"name": "a", "image": "hello", "memory": 64}])
    assert call("StartTask", cluster=HOME, taskDefinition=mine, containerInstances=[arn])[
        "failures"] == [{"arn": arn, "reason": "AGENT"}]
    assert refusal(call, "UpdateContainerAgent", cluster=HOME,
                   containerInstance=arn) == "MissingVersionException"
    assert call("UpdateContainerInstancesState", cluster=HOME, containerInstances=[arn],
                status="DRAINING")["containerInstances"][0]["status"] == "DRAINING"
    assert call("DeregisterContainerInstance", cluster=HOME, containerInstance=arn, force=True)[
        "containerInstance"]["status"] == "INACTIVE"


def settings(call, mine, _):
    value = {"cli": "enabled", "boto3": "disabled"}[mine.rsplit("-", 1)[1]]
    name = {"cli": "awsvpcTrunking", "boto3": "fargateFIPSMode"}[mine.rsplit("-", 1)[1]]
    put = call("PutAccountSetting", name=name, value=value)["setting"]
    assert put["value"] == value
    assert put in call("ListAccountSettings", name=name)["settings"]
    assert call("DeleteAccountSetting", name=name)["setting"]["name"] == name
    assert call("PutAccountSettingDefault", name=name, value=value)["setting"]["value"] == value
    call("DeleteAccountSetting", name=name)


def tagging(call, mine, _):
    arn = call("CreateCluster", clusterName=mine)["cluster"]["clusterArn"]
    tags = [{"key": "stage", "value": "test"}]
    assert call("TagResource", resourceArn=arn, tags=tags) == {}
    assert call("ListTagsForResource", resourceArn=arn)["tags"] == tags
    assert call("UntagResource", resourceArn=arn, tagKeys=["stage"]) == {}


def agent(call, _, berth):
    """What an agent says, with a node's key."""
    poll = call("DiscoverPollEndpoint", cluster=HOME, containerInstance="x")
    assert poll["endpoint"].endswith("/acs/") and poll["telemetryEndpoint"].endswith("/tcs/")
    nowhere = f"arn:aws:ecs:{berth.keys['region']}:000000000000:task/{HOME}/{'0' * 32}"
    assert call("SubmitTaskStateChange", cluster=HOME, task=nowhere, status="STOPPED")[
        "acknowledgment"]
    assert call("SubmitContainerStateChange", cluster=HOME, task=nowhere, containerName="a",
                status="STOPPED")["acknowledgment"]
    attached = [{"attachmentArn": nowhere.replace(":task/", ":attachment/"), "status": "ATTACHED"}]
    assert call("SubmitAttachmentStateChanges", cluster=HOME, attachments=attached)[
        "acknowledgment"]


def identity(call, *_):
    who = call("GetCallerIdentity", api="sts")
    assert who["Arn"] == f"arn:aws:iam::{who['Account']}:root"


STORIES = [clusters, definitions, tasks, services, task_sets, capacity, deployments, instances,
           settings, tagging, agent, identity]
EVERY = pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
TOLD = {"cli": set(), "boto3": set()}


def node_key(berth):
    """The key of the node of a `berth up`."""
    with open(os.path.join(berth.data, "node", "identity.json"), encoding="utf-8") as file:
        identity_file = json.load(file)
    return identity_file["accessKeyId"], identity_file["secretAccessKey"]


def tell(kind, story, berth):
    key = node_key(berth) if story is agent else None
    story(kind(berth, TOLD[kind.name], key), f"{story.__name__}-{kind.name}", berth)


@pytest.fixture(scope="module", name="told_by_cli")
def tell_by_cli(berth, ecs):
    """The stories through the CLI, which takes most of a second to start: two at a time."""
    if not os.path.exists(CLI):
        pytest.skip(f"{CLI} is not there: apt-get install awscli")
    ecs.create_cluster(clusterName=HOME)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        longest_first = sorted(STORIES, key=[services, instances, tasks, clusters].__contains__, reverse=True)
        yield {story: pool.submit(tell, CliClient, story, berth) for story in longest_first}


@EVERY
def test_boto3(berth, ecs, story):
    ecs.create_cluster(clusterName=HOME)
    tell(BotoClient, story, berth)


@EVERY
def test_cli(told_by_cli, story):
    told_by_cli[story].result(600)


def test_cli_text_and_table(told_by_cli, berth):
    assert told_by_cli
    client = CliClient(berth, set())
    row = client.run("ecs", "describe-clusters", "--clusters", HOME, "--query",
                     "clusters[0].[clusterName,status]", output="text")
    assert row.stdout == f"{HOME}\tACTIVE\n", row.stderr
    table = client.run("ecs", "describe-clusters", "--clusters", HOME, output="table")
    assert "DescribeClusters" in table.stdout and f"|  {HOME}" in table.stdout, table.stderr


# ---- completeness -----------------------------------------------------------------------------

def schema(service):
    """The operations of a service and its API version, as the schema has them."""
    with open(os.path.join(support.ROOT, "api", f"{service}.api"), encoding="utf-8") as file:
        text = file.read()
    return re.findall(r"^operation (\w+)\(", text, re.M), re.search(r"version (\S+)", text)[1]


def served(berth):
    """The operations that are not answered with 501."""
    caller = raw.Caller(berth)
    names = {name for name in schema("ecs")[0] if caller.answer(name).status != 501}
    sts = raw.Caller(berth, service="sts")
    operations, version = schema("sts")
    for name in operations:
        body = f"Action={name}&Version={version}".encode()
        connection = sts.connections(1)[0]
        connection.send(raw.compose(sts.signer.sign(
            {"content-type": "application/x-www-form-urlencoded"}, body), body))
        if connection.read().status != 501:
            names.add(name)
    caller.close()
    sts.close()
    return names


def waiters(there):
    """The SDK's waiters for operations that are served, in the CLI's words."""
    model = botocore.session.get_session().get_waiter_model("ecs")
    return {re.sub(r"(?<=[a-z])([A-Z])", r"-\1", name).lower() for name in model.waiter_names
            if model.get_waiter(name).operation in there}


@pytest.mark.parametrize("kind", [CliClient, BotoClient], ids=lambda kind: kind.name)
def test_every_operation_is_told_of(berth, told_by_cli, kind, record_property):
    for story in STORIES:
        if kind is CliClient:
            told_by_cli[story].exception(600)
        elif not TOLD[kind.name]:
            tell(kind, story, berth)
    client = kind(berth, set())
    there = served(berth)
    missing = {name for name in there if client.knows(name)} | waiters(there)
    missing -= TOLD[kind.name]
    assert not missing, f"no story has a call of {', '.join(sorted(missing))}"
    record_property("report", f"{len(there)} operations are served, "
                              f"{len(there & TOLD[kind.name])} were called through {kind.name}")
