"""No member of CreateService and UpdateService is dropped: each comes back from every operation that
shows it, and from the store once the server was killed. No value of an enum is refused as unknown.

What the members and values are is read from botocore's model, so that a newer one makes these tests
fail until Berth knows what is new.
"""
import copy

import botocore.exceptions
import pytest

import messages
import support
from test_definition_members import known, lost, members, paths, replaced

ACCOUNT = "us-east-1:000000000000"
ROLE = "arn:aws:iam::000000000000:role/r"
GROUP = f"arn:aws:elasticloadbalancing:{ACCOUNT}:targetgroup/%s/0123456789abcdef"
RULE = f"arn:aws:elasticloadbalancing:{ACCOUNT}:listener-rule/app/l/%s"
REGISTRY = f"arn:aws:servicediscovery:{ACCOUNT}:service/srv-0123456789"
LATTICE = f"arn:aws:vpc-lattice:{ACCOUNT}:targetgroup/tg-0123456789abcdef0"
SECRET = f"arn:aws:secretsmanager:{ACCOUNT}:secret:key"

# A container instance's service, with a Classic Load Balancer and so with a role.
CLASSIC = {
    "cluster": "c", "serviceName": "classic", "taskDefinition": "host", "desiredCount": 0,
    "clientToken": "token", "launchType": "EC2", "role": "r",
    "loadBalancers": [
        {"loadBalancerName": "classic", "containerName": "a", "containerPort": 80}],
    "serviceRegistries": [],
    "deploymentConfiguration": {
        "deploymentCircuitBreaker": {"enable": True, "rollback": True}, "maximumPercent": 150,
        "minimumHealthyPercent": 50, "strategy": "ROLLING", "bakeTimeInMinutes": 0,
        "alarms": {"alarmNames": ["one", "two"], "enable": True, "rollback": False}},
    "placementConstraints": [{"type": "distinctInstance"},
                             {"type": "memberOf", "expression": "attribute:rack == r1"}],
    "placementStrategy": [{"type": "spread", "field": "attribute:rack"}, {"type": "random"}],
    "healthCheckGracePeriodSeconds": 7, "schedulingStrategy": "REPLICA",
    "deploymentController": {"type": "ECS"}, "tags": [{"key": "k", "value": "v"}],
    "enableECSManagedTags": True, "propagateTags": "SERVICE", "enableExecuteCommand": True,
    "availabilityZoneRebalancing": "DISABLED",
}
# Fargate's, with all that stands beside tasks. Its deployments wait for a person at once.
WHOLE = {
    "cluster": "providers", "serviceName": "whole", "taskDefinition": "web", "desiredCount": 0,
    "capacityProviderStrategy": [{"capacityProvider": "FARGATE", "weight": 2, "base": 1},
                                 {"capacityProvider": "FARGATE_SPOT", "weight": 3, "base": 0}],
    "platformVersion": "1.4.0",
    "networkConfiguration": lambda berth: {"awsvpcConfiguration": {
        **berth.network()["awsvpcConfiguration"], "assignPublicIp": "ENABLED"}},
    "loadBalancers": [
        {"targetGroupArn": GROUP % "g", "containerName": "a", "containerPort": 80,
         "advancedConfiguration": {
             "alternateTargetGroupArn": GROUP % "h", "productionListenerRule": RULE % "p",
             "testListenerRule": RULE % "t", "roleArn": ROLE}}],
    "serviceRegistries": [{"registryArn": REGISTRY, "containerName": "a", "containerPort": 80}],
    "deploymentConfiguration": {
        "maximumPercent": 200, "minimumHealthyPercent": 100, "strategy": "LINEAR",
        "bakeTimeInMinutes": 3,
        "linearConfiguration": {"stepPercent": 12.5, "stepBakeTimeInMinutes": 4},
        "lifecycleHooks": [
            {"targetType": "PAUSE", "lifecycleStages": ["PRE_SCALE_UP"], "hookDetails": {"a": 1},
             "timeoutConfiguration": {"timeoutInMinutes": 5, "action": "CONTINUE"}},
            {"targetType": "AWS_LAMBDA", "hookTargetArn": "http://127.0.0.1:9/",
             "roleArn": ROLE, "lifecycleStages": ["POST_SCALE_UP", "TEST_TRAFFIC_SHIFT"],
             "hookDetails": {"b": [2, "c"]}}]},
    "serviceConnectConfiguration": {
        "enabled": True, "namespace": "mesh", "services": [
            {"portName": "http", "discoveryName": "found", "ingressPortOverride": 8080,
             "clientAliases": [{"port": 81, "dnsName": "alias", "testTrafficRules": {
                 "header": {"name": "x", "value": {"exact": "y"}}}}],
             "timeout": {"idleTimeoutSeconds": 11, "perRequestTimeoutSeconds": 12},
             "tls": {"issuerCertificateAuthority": {"awsPcaAuthorityArn": "arn:pca"},
                     "kmsKey": "key", "roleArn": ROLE}}],
        "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "g"},
                             "secretOptions": [{"name": "s", "valueFrom": SECRET}]},
        "accessLogConfiguration": {"format": "JSON", "includeQueryParameters": "ENABLED"}},
    "vpcLatticeConfigurations": [
        {"roleArn": ROLE, "targetGroupArn": LATTICE, "portName": "http"}],
}
# With a volume that is configured at launch.
DISK = {
    "cluster": "c", "serviceName": "disk", "taskDefinition": "disk", "desiredCount": 0,
    "serviceRegistries": [{"registryArn": REGISTRY, "port": 8080}],
    "deploymentConfiguration": {
        "strategy": "CANARY",
        "canaryConfiguration": {"canaryPercent": 7.5, "canaryBakeTimeInMinutes": 2}},
    "volumeConfigurations": [{"name": "v", "managedEBSVolume": {
        "encrypted": True, "kmsKeyId": "key", "volumeType": "gp3", "sizeInGiB": 20,
        "snapshotId": "snap-1", "volumeInitializationRate": 100, "iops": 3000,
        "throughput": 125, "roleArn": ROLE, "filesystemType": "ext4", "tagSpecifications": [
            {"resourceType": "volume", "propagateTags": "NONE",
             "tags": [{"key": "k", "value": "v"}]}]}}],
}
SERVICES = {one["serviceName"]: one for one in (CLASSIC, WHOLE, DISK)}
# Members of UpdateService alone, and of CreateService alone.
ONLY_UPDATE = {"service": "name", "forceNewDeployment": True}
ONLY_CREATE = {"serviceName", "clientToken", "launchType", "role", "schedulingStrategy", "tags"}

# What is shown under another name, or not at all: its place is checked below, or elsewhere.
RENAMED = {"cluster", "clientToken", "role", "taskDefinition", "service", "forceNewDeployment"}
# What a service shows in its deployments.
OF_DEPLOYMENT = {"serviceConnectConfiguration", "volumeConfigurations", "vpcLatticeConfigurations"}
# What a revision shows.
OF_REVISION = OF_DEPLOYMENT | {"launchType", "capacityProviderStrategy", "platformVersion",
                               "networkConfiguration", "loadBalancers", "serviceRegistries"}


@pytest.fixture(name="berth", scope="module")
def make_berth(tmp_path_factory):
    berth = support.Berth(tmp_path_factory.mktemp("stored"), command="server").start()
    ecs = messages.client_of(berth)
    port = {"containerPort": 80, "name": "http"}
    container = {"name": "a", "image": "i", "memory": 64, "portMappings": [port]}
    ecs.create_cluster(clusterName="c")
    ecs.create_cluster(clusterName="providers", capacityProviders=["FARGATE", "FARGATE_SPOT"])
    ecs.register_task_definition(family="host", containerDefinitions=[container])
    ecs.register_task_definition(
        family="web", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256",
        memory="512", containerDefinitions=[container])
    volume = ecs.meta.service_model.shape_for("Volume")
    ecs.register_task_definition(
        family="disk", containerDefinitions=[container],
        volumes=[known(volume, {"name": "v", "configuredAtLaunch": True})])
    yield berth
    assert berth.stop() == 0


def input_of(berth, operation):
    return berth.client("ecs").meta.service_model.operation_model(operation).input_shape


def given(berth, service, shape):
    """A request as this botocore can send it."""
    whole = {name: value(berth) if callable(value) else value for name, value in service.items()}
    return known(shape, copy.deepcopy(whole))


def test_the_services_here_set_every_member(berth):
    for operation, more in {"CreateService": {}, "UpdateService": ONLY_UPDATE}.items():
        shape = input_of(berth, operation)
        every = {path for path, _ in members(shape)}
        sent = {path for one in [*SERVICES.values(), more]
                for path in paths(given(berth, one, shape))}
        assert every - sent == set(), operation


def dropped(berth, request, service, revision):
    """What was asked for and is not shown."""
    plain = {name: value for name, value in request.items() if name not in RENAMED | OF_DEPLOYMENT}
    yield from lost(plain, service)
    for shown, names in ((service["deployments"][0], OF_DEPLOYMENT), (revision, OF_REVISION)):
        # An empty list is shown as none.
        yield from lost({name: value for name, value in request.items()
                         if name in names and value != []}, shown)
    if service["clusterArn"].rsplit("/", 1)[1] != request["cluster"]:
        yield "cluster"
    if f"/{request['taskDefinition']}:" not in service["taskDefinition"]:
        yield "taskDefinition"
    if "role" in request and not service["roleArn"].endswith(f":role/{request['role']}"):
        yield "role"


def shown(berth, name, cluster):
    """A service and its newest revision; None where this botocore has no such operation."""
    ecs = messages.client_of(berth)
    [service] = ecs.describe_services(cluster=cluster, services=[name], include=["TAGS"])["services"]
    if "DescribeServiceRevisions" not in ecs.meta.service_model.operation_names:
        return service, None
    # The newest one is the one that is PRIMARY.
    arn = service["currentServiceRevisions"][0]["arn"]
    return service, ecs.describe_service_revisions(serviceRevisionArns=[arn])["serviceRevisions"][0]


def check(berth, request):
    service, revision = shown(berth, request["serviceName"], request["cluster"])
    if revision is None:
        revision = service | service["deployments"][0]
    assert list(dropped(berth, request, service, revision)) == []
    return service, revision


def lasting(service):
    """What does not follow from the deployment that is under way."""
    return {name: value for name, value in service.items() if name not in (
        "events", "deployments", "currentServiceDeployment", "currentServiceRevisions")}


@pytest.mark.parametrize("name", SERVICES)
def test_every_member_comes_back(berth, name):
    """From the answer, from Describe, and from the store after a kill."""
    shape = input_of(berth, "CreateService")
    request = given(berth, SERVICES[name], shape)
    if "volumeConfigurations" in SERVICES[name] and "volumeConfigurations" not in request:
        pytest.skip("botocore does not know volumeConfigurations")
    made = messages.client_of(berth).create_service(**request)["service"]
    assert list(dropped(berth, request, made, made | made["deployments"][0])) == []
    before, revision = check(berth, request)
    berth.kill()
    berth.start()
    after, again = check(berth, request)
    assert lasting(after) == lasting(before)
    if "serviceRevisionArn" in revision:
        assert again == revision


@pytest.mark.parametrize("name", SERVICES)
def test_every_member_is_updated(berth, name):
    """A plain service is given each member of UpdateService: it shows them as if it was made so."""
    create, update = input_of(berth, "CreateService"), input_of(berth, "UpdateService")
    whole = given(berth, SERVICES[name], update)
    if "volumeConfigurations" in SERVICES[name] and "volumeConfigurations" not in whole:
        pytest.skip("botocore does not know volumeConfigurations")
    ecs = messages.client_of(berth)
    first = {"networkConfiguration": berth.network(), "capacityProviderStrategy": [
        {"capacityProvider": "FARGATE", "weight": 1}]} if name == "whole" else {}
    whole.pop("desiredCount")
    plain = {"cluster": whole["cluster"], "serviceName": f"{name}-updated", "desiredCount": 1,
             "taskDefinition": "host" if name == "disk" else whole["taskDefinition"], **first}
    ecs.create_service(**known(create, plain))
    ecs.update_service(**{**whole, "service": plain["serviceName"], "desiredCount": 0,
                          **known(update, {"forceNewDeployment": True})})
    check(berth, {**whole, "serviceName": plain["serviceName"], "desiredCount": 0})


def test_every_value_of_an_enum_is_known(berth):
    ecs = messages.client_of(berth)
    shape = input_of(berth, "CreateService")
    unknown = []
    for path, member in members(shape):
        for value in getattr(member, "enum", []):
            whole = next(one for one in SERVICES.values() if path in set(paths(
                given(berth, one, shape))))
            sent = replaced(given(berth, whole, shape), path, value)
            try:
                ecs.create_service(**{**sent, "cluster": "nowhere", "serviceName": "enums"})
            except botocore.exceptions.ClientError as error:
                # There is no such cluster; that a value is none of the enum is said before.
                if error.response["Error"]["Code"] != "ClusterNotFoundException":
                    unknown.append((path, value, error.response["Error"]["Message"]))
    assert unknown == []
