"""What each member of CreateService and UpdateService does, seen in the tasks that a service has.

A member of both is given when the service is made and, in a second run, by an update. Members that
are stored only are in test_service_stored.py; refusals are in the tables of messages.
"""
import collections
import datetime

import pytest

import support
from messages import refused, send
from service_world import (CONTAINER, Host, make_world,  # noqa: F401  (fixtures)
                           nothing_stays)

CREATE_AND_UPDATE = pytest.mark.parametrize("how", ["create", "update"])
MANY = [{"name": "CPU", "type": "INTEGER", "integerValue": 65536},
        {"name": "MEMORY", "type": "INTEGER", "integerValue": 131072}]


@pytest.fixture(name="pools", scope="module")
def make_pools(world):
    """Hosts of Fargate in another zone, and of both pools."""
    world.keep(Host(world.berth, zone="us-east-1b").connect(),
               Host(world.berth, capacity="FARGATE,FARGATE_SPOT", resources=MANY).connect())


def given(world, how, members, **more):
    """A service with members, given when it is made or by an update before it has any task."""
    if how == "create":
        return world.create(**{**more, **members})
    made = world.create(**{**more, "count": 0})
    count = more.get("count", members.get("count", 0))
    changed = {name: value for name, value in members.items() if name not in ("count", "family")}
    if "family" in members:
        changed["taskDefinition"] = members["family"]
    return world.update(made, desiredCount=count, **changed)


def running(world, made, count):
    """Wait until a service has so many tasks, all RUNNING; returns them."""
    def reached():
        tasks = world.tasks(made)
        return tasks if [one["lastStatus"] for one in tasks] == ["RUNNING"] * count else None
    reached.__doc__ = f"{count} RUNNING tasks"
    return support.wait_for(reached)


def never_more(world, made, count):
    """Wait until a service has told that it can place no more, and has so many tasks."""
    world.told(made, "was unable to place a task")
    tasks = world.tasks(made)
    assert len(tasks) == count, [one["lastStatus"] for one in tasks]
    return tasks


def of_family(world, tasks):
    return collections.Counter(
        one["taskDefinitionArn"].rsplit("/", 1)[1].split(":")[0] for one in tasks)


# ---- which service, where --------------------------------------------------------------------

def test_cluster(world):
    """The cluster that is named has the service and its tasks; `default` when none is."""
    cluster, [host] = world.place()
    made = world.create(cluster=cluster, count=1)
    [task] = running(world, made, 1)
    assert task["clusterArn"] == made["clusterArn"]
    assert made["clusterArn"].endswith(f":cluster/{cluster}")
    assert task["containerInstanceArn"] == host.arn
    world.ecs.create_cluster(clusterName="default")
    name = world.fresh("service")
    plain = world.ecs.create_service(serviceName=name, taskDefinition="job",
                                     desiredCount=0)["service"]
    world.services.append(("default", name))
    assert plain["clusterArn"].endswith(":cluster/default")
    assert world.ecs.describe_services(services=[name])["services"][0]["serviceName"] == name
    assert world.ecs.update_service(service=name, desiredCount=0)["service"] is not None
    assert world.ecs.delete_service(service=name)["service"]["status"] == "DRAINING"


def test_service_name(world):
    made = world.create(name="the-name_1")
    assert made["serviceName"] == "the-name_1"
    assert made["serviceArn"].endswith(":service/c/the-name_1")


def test_service(world):
    """UpdateService and DeleteService take a name or an ARN, and nobody else's service changes."""
    one, other = world.create(), world.create()
    world.ecs.update_service(cluster="c", service=one["serviceArn"],
                             healthCheckGracePeriodSeconds=3)
    world.ecs.update_service(cluster="c", service=other["serviceName"],
                             healthCheckGracePeriodSeconds=4)
    assert [world.show(made)["healthCheckGracePeriodSeconds"] for made in (one, other)] == [3, 4]
    world.ecs.delete_service(cluster="c", service=one["serviceArn"])
    assert world.show(other)["status"] == "ACTIVE"


@CREATE_AND_UPDATE
def test_task_definition(world, how):
    family = world.fresh("family")
    world.register(family)
    made = given(world, how, {"family": family}, count=1)
    [task] = running(world, made, 1)
    assert task["taskDefinitionArn"].endswith(f":task-definition/{family}:1")


@CREATE_AND_UPDATE
def test_desired_count(world, how):
    made = given(world, how, {"count": 2})
    running(world, made, 2)
    world.update(made, desiredCount=1)
    running(world, made, 1)


def test_launch_type(world):
    """EC2 is an instance of the cluster, FARGATE a host of the pool."""
    [hosted] = running(world, world.create(count=1, launchType="EC2"), 1)
    assert hosted["containerInstanceArn"] == world.host.arn and hosted["launchType"] == "EC2"
    [pooled] = running(world, world.fargate(count=1), 1)
    assert "containerInstanceArn" not in pooled and pooled["launchType"] == "FARGATE"


@CREATE_AND_UPDATE
def test_scheduling_strategy(world, how):
    """A DAEMON has one task on each instance; nothing can make a REPLICA one."""
    cluster, hosts = world.place(hosts=2)
    daemon = world.create(cluster=cluster, schedulingStrategy="DAEMON")
    tasks = running(world, daemon, 2)
    assert {one["containerInstanceArn"] for one in tasks} == {host.arn for host in hosts}
    if how == "update":  # it stays one
        world.update(daemon, forceNewDeployment=True)
        assert world.show(daemon)["schedulingStrategy"] == "DAEMON"
        world.stable(daemon)
        assert len(running(world, daemon, 2)) == 2


def test_deployment_controller(world):
    """Under EXTERNAL a service starts nothing until it has a task set."""
    made = world.create(family=None, count=1, deploymentController={"type": "EXTERNAL"})
    assert world.show(made)["deployments"] == []
    assert world.tasks(made) == []
    world.ecs.create_task_set(cluster="c", service=made["serviceName"], taskDefinition="job",
                              scale={"value": 100, "unit": "PERCENT"})
    running(world, made, 1)


def test_force_new_deployment(world):
    """Every task is replaced by one of the same definition."""
    made = world.create(count=1)
    [before] = running(world, made, 1)
    world.stable(made)
    world.update(made, forceNewDeployment=True)
    world.stable(made)
    [after] = running(world, made, 1)
    assert after["taskArn"] != before["taskArn"]
    assert after["taskDefinitionArn"] == before["taskDefinitionArn"]


# ---- where tasks go --------------------------------------------------------------------------

@CREATE_AND_UPDATE
def test_placement_constraints(world, how):
    """distinctInstance leaves the third task without a place, memberOf chooses the instance."""
    cluster, hosts = world.place(hosts=2)
    apart = given(world, how, {"placementConstraints": [{"type": "distinctInstance"}]},
                  cluster=cluster, count=3)
    tasks = never_more(world, apart, 2)
    assert {one["containerInstanceArn"] for one in tasks} == {host.arn for host in hosts}
    chosen = hosts[1].arn
    world.ecs.put_attributes(cluster=cluster, attributes=[
        {"name": "rack", "value": "r1", "targetType": "container-instance",
         "targetId": chosen}])
    meant = given(world, how, {"placementConstraints": [
        {"type": "memberOf", "expression": "attribute:rack == r1"}]}, cluster=cluster, count=3)
    assert {one["containerInstanceArn"] for one in running(world, meant, 3)} == {chosen}


@CREATE_AND_UPDATE
def test_placement_strategy(world, how):
    """binpack fills one instance, spread takes all."""
    cluster, _ = world.place(hosts=3)
    packed = given(world, how, {"placementStrategy": [{"type": "binpack", "field": "memory"}]},
                   cluster=cluster, count=3)
    assert len({one["containerInstanceArn"] for one in running(world, packed, 3)}) == 1
    spread = given(world, how, {"placementStrategy": [{"type": "spread", "field": "instanceId"}]},
                   cluster=cluster, count=3)
    assert len({one["containerInstanceArn"] for one in running(world, spread, 3)}) == 3


def subnet_of(task):
    details = {one["name"]: one["value"] for one in task["attachments"][0]["details"]}
    return details["subnetId"]


@CREATE_AND_UPDATE
@pytest.mark.usefixtures("pools")
def test_subnets(world, how):
    """Tasks are in the subnets that are given, and so in their zones."""
    subnets = world.network["awsvpcConfiguration"]["subnets"]
    at = {"awsvpcConfiguration": {**world.network["awsvpcConfiguration"], "subnets": [subnets[1]]}}
    made = given(world, how, {"networkConfiguration": at}, family="web", count=1,
                 launchType="FARGATE", **({} if how == "create" else {
                     "networkConfiguration": world.zone}))
    [task] = running(world, made, 1)
    assert subnet_of(task) == subnets[1] and task["availabilityZone"] == "us-east-1b"


@CREATE_AND_UPDATE
def test_platform_version(world, how):
    made = given(world, how, {"platformVersion": "1.3.0"}, family="web", count=1,
                 launchType="FARGATE", networkConfiguration=world.zone)
    assert world.show(made)["platformVersion"] == "1.3.0"
    [task] = running(world, made, 1)
    assert task["platformVersion"] == "1.3.0"


@CREATE_AND_UPDATE
@pytest.mark.usefixtures("pools")
def test_capacity_provider_strategy(world, how):
    """Base first, then by weight: 1 + 1 of 1 : 3, and 3 of Spot."""
    strategy = [{"capacityProvider": "FARGATE", "base": 1, "weight": 1},
                {"capacityProvider": "FARGATE_SPOT", "weight": 3}]
    more = {"cluster": "providers", "family": "web", "networkConfiguration": world.zone}
    made = given(world, how, {"capacityProviderStrategy": strategy, **(
        {} if how == "create" else {"forceNewDeployment": True})}, count=5, **more)
    has = collections.Counter(one["capacityProviderName"] for one in running(world, made, 5))
    assert has == {"FARGATE": 2, "FARGATE_SPOT": 3}


# ---- what tasks are like ---------------------------------------------------------------------

def tags_of(world, made):
    [task] = running(world, made, 1)
    shown = world.ecs.describe_tasks(cluster=made["clusterArn"], tasks=[task["taskArn"]],
                                     include=["TAGS"])["tasks"][0]
    return {one["key"]: one["value"] for one in shown["tags"]}


@CREATE_AND_UPDATE
def test_propagate_tags(world, how):
    """SERVICE gives tasks the tags of the service, TASK_DEFINITION those of the definition."""
    tags = [{"key": "from", "value": "service"}]
    made = given(world, how, {"propagateTags": "SERVICE"}, tags=tags, count=1)
    assert tags_of(world, made) == {"from": "service"}
    family = world.fresh("tagged")
    world.register(family, tags=[{"key": "of", "value": "definition"}])
    made = given(world, how, {"propagateTags": "TASK_DEFINITION"}, tags=tags, count=1,
                 family=family)
    assert tags_of(world, made) == {"of": "definition"}


@CREATE_AND_UPDATE
def test_enable_ecs_managed_tags(world, how):
    made = given(world, how, {"enableECSManagedTags": True}, count=1)
    assert tags_of(world, made) == {"aws:ecs:clusterName": "c",
                                    "aws:ecs:serviceName": made["serviceName"]}


@CREATE_AND_UPDATE
def test_enable_execute_command(world, how):
    """Tasks say so, and a host that cannot do it gets none."""
    made = given(world, how, {"enableExecuteCommand": True}, count=1)
    [task] = running(world, made, 1)
    assert task["enableExecuteCommand"] is True
    cluster, _ = world.place(lacks=["ecs.capability.execute-command"])
    never_more(world, given(world, how, {"enableExecuteCommand": True}, cluster=cluster, count=1), 0)


def test_tags(world):
    """A service has its tags, and tasks none unless they are propagated."""
    made = world.create(tags=[{"key": "k", "value": "v"}], count=1)
    assert world.show(made, include=["TAGS"])["tags"] == [{"key": "k", "value": "v"}]
    assert world.ecs.list_tags_for_resource(resourceArn=made["serviceArn"])["tags"] == [
        {"key": "k", "value": "v"}]
    assert tags_of(world, made) == {}


def test_client_token(world):
    """The same request again gives the same service; the token is worth nothing for another."""
    more = {"name": world.fresh("token"), "clientToken": "t"}
    first = world.create(**more)
    again = world.create(**more)
    world.services.pop()
    assert again["createdAt"] == first["createdAt"]
    assert len(world.ecs.list_services(cluster="c")["serviceArns"]) == 1
    assert refused(world.ecs, "CreateService", cluster="c", serviceName=more["name"],
                   clientToken="t", taskDefinition="job", desiredCount=7).message == (
                       "Creation of service was not idempotent.")


# ---- deployments -----------------------------------------------------------------------------

def replaced(world, count, configuration, how):
    """A service whose second deployment's tasks do not start yet: RUNNING ones of the first, and
    how many of the second there are, once nothing more can happen."""
    cluster, [host] = world.place(resources=MANY)
    made = given(world, how, {"deploymentConfiguration": configuration}, cluster=cluster,
                 count=count)
    running(world, made, count)
    world.stable(made)
    family = world.fresh("next")
    world.register(family)
    host.does[family] = "hold"
    world.update(made, taskDefinition=family)
    return made, host, family


@CREATE_AND_UPDATE
def test_minimum_healthy_percent(world, how):
    """50 percent of 4: two stop before any other runs, and never a third."""
    made, host, family = replaced(world, 4, {"minimumHealthyPercent": 50, "maximumPercent": 100},
                                  how)

    def two():
        """2 tasks of the first deployment, 2 of the second"""
        return of_family(world, world.tasks(made)) == {"job": 2, family: 2}
    support.wait_for(two)
    host.does = {}
    for task in world.tasks(made):
        if f"/{family}:" in task["taskDefinitionArn"]:
            host.run(task["taskArn"])
    world.stable(made)


@CREATE_AND_UPDATE
def test_maximum_percent(world, how):
    """150 percent of 4: two start beside the four, and none stops."""
    made, _, family = replaced(world, 4, {"minimumHealthyPercent": 100, "maximumPercent": 150}, how)

    def six():
        """6 tasks"""
        return of_family(world, world.tasks(made)) == {"job": 4, family: 2}
    support.wait_for(six)
    assert world.show(made)["runningCount"] == 4


@CREATE_AND_UPDATE
def test_circuit_breaker(world, how):
    """Enabled, it fails a deployment; without it one goes on for ever."""
    cluster, [host] = world.place()
    host.does["job"] = "fail"

    def failing(enable):
        made = given(world, how, {"deploymentConfiguration": {
            "deploymentCircuitBreaker": {"enable": enable, "rollback": False}}}, cluster=cluster,
            count=1)
        if how == "update":  # the one without tasks was completed before it
            world.update(made, forceNewDeployment=True)
        return made
    world.stable(failing(True), "FAILED")
    never = failing(False)

    def four():
        """4 failures, one more than the breaker's threshold"""
        [one] = world.show(never)["deployments"]
        return one["failedTasks"] >= 4 and one["rolloutState"]
    assert support.wait_for(four) == "IN_PROGRESS"


@CREATE_AND_UPDATE
def test_circuit_breaker_rollback(world, how):
    """With rollback the first deployment is PRIMARY again, without the failed one stays."""
    for rollback, state in ((True, "COMPLETED"), (False, "FAILED")):
        cluster, [host] = world.place()
        made = given(world, how, {"deploymentConfiguration": {
            "deploymentCircuitBreaker": {"enable": True, "rollback": rollback}}}, cluster=cluster,
            count=1)
        first = world.stable(made)["deployments"][0]["id"]
        family = world.fresh("bad")
        world.register(family)
        host.does[family] = "fail"
        world.update(made, taskDefinition=family)
        world.told(made, "rolling back" if rollback else "(deployment ecs-svc/")

        def over():
            """the end of the deployment"""
            one = world.show(made)["deployments"][0]
            return one if one["rolloutState"] == state else None
        assert (support.wait_for(over)["id"] == first) == rollback


@CREATE_AND_UPDATE
def test_health_check_grace_period_seconds(world, how):
    """In the grace period an UNHEALTHY task stays; an update to 0 ends that."""
    family = world.fresh("checked")
    world.register(family, containerDefinitions=[
        {**CONTAINER, "healthCheck": {"command": ["CMD", "true"]}}])
    cluster, [host] = world.place()
    made = given(world, how, {"healthCheckGracePeriodSeconds": 3600}, cluster=cluster,
                 family=family, count=1)
    [task] = running(world, made, 1)
    host.health(task["taskArn"], a="UNHEALTHY")

    def known():
        """UNHEALTHY"""
        return world.tasks(made)[0]["healthStatus"] == "UNHEALTHY"
    support.wait_for(known)
    world.update(made, desiredCount=2)  # the scheduler looks at all tasks, and starts one more
    world.told(made, "has started 1 tasks")
    assert task["taskArn"] in [one["taskArn"] for one in running(world, made, 2)]
    assert not any("unhealthy" in message for message in world.messages(made))
    world.update(made, healthCheckGracePeriodSeconds=0)

    def told():
        """its replacement"""
        return any("replaced 1 tasks due to an unhealthy status" in message
                   for message in world.messages(made))
    support.wait_for(told)


def staged(world, how, configuration, count=1):
    """A service whose second deployment goes by a strategy; returns it."""
    support.needs(world.ecs, "DescribeServiceDeployments")
    cluster, _ = world.place(resources=MANY)
    made = given(world, how, {"deploymentConfiguration": {
        "maximumPercent": 100, **configuration}}, cluster=cluster, count=count)
    world.rolled(made, "SUCCESSFUL")
    world.update(made, forceNewDeployment=True)
    return made


def at_stage(world, made, stage):
    """Wait until the service deployment under way is in a stage; returns it."""
    def reached():
        shown = world.rollout(made)
        return shown if shown.get("lifecycleStage") == stage else None
    reached.__doc__ = f"the stage {stage}"
    return support.wait_for(reached)


def weight(shown):
    return shown["targetServiceRevision"]["requestedProductionTrafficWeight"]


@CREATE_AND_UPDATE
def test_strategy(world, how):
    """BLUE_GREEN starts all of the new tasks beside all of the old, whatever maximumPercent is."""
    made = staged(world, how, {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 60}, count=2)
    at_stage(world, made, "BAKE_TIME")
    assert len(running(world, made, 4)) == 4


@CREATE_AND_UPDATE
def test_bake_time_in_minutes(world, how):
    """The first deployment had none to come from and was over at once; this one stays in the stage
    with all traffic shifted."""
    made = staged(world, how, {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 60})
    shown = at_stage(world, made, "BAKE_TIME")
    assert shown["status"] == "IN_PROGRESS" and weight(shown) == 100.0


def shifting(world, made):
    """Wait until production traffic shifted for the first time; returns the weight."""
    def shifted():
        """production traffic"""
        shown = world.rollout(made)
        return shown.get("lifecycleStage") == "PRODUCTION_TRAFFIC_SHIFT" and weight(shown)
    return support.wait_for(shifted)


@CREATE_AND_UPDATE
def test_linear_configuration(world, how):
    """One step, then its bake time."""
    assert shifting(world, staged(world, how, {"strategy": "LINEAR", "linearConfiguration": {
        "stepPercent": 12.5, "stepBakeTimeInMinutes": 60}})) == 12.5


@CREATE_AND_UPDATE
def test_canary_configuration(world, how):
    """The canary's share, then its bake time."""
    assert shifting(world, staged(world, how, {"strategy": "CANARY", "canaryConfiguration": {
        "canaryPercent": 7.5, "canaryBakeTimeInMinutes": 60}})) == 7.5


@CREATE_AND_UPDATE
def test_service_connect_namespace(world, how):
    """ListServicesByNamespace finds those whose Service Connect is enabled and names it."""
    support.needs(world.ecs, "ListServicesByNamespace")
    space = world.fresh("space")
    made = given(world, how, {"serviceConnectConfiguration": {"enabled": True,
                                                              "namespace": space}})
    given(world, how, {"serviceConnectConfiguration": {"enabled": False, "namespace": space}})
    found = world.ecs.list_services_by_namespace(namespace=space)["serviceArns"]
    assert found == [made["serviceArn"]]


@CREATE_AND_UPDATE
def test_volume_configurations(world, how):
    """A definition with a volume that is configured at launch finds no host: there is no EBS."""
    volume = {"name": "v", "managedEBSVolume": {"sizeInGiB": 1,
                                                "roleArn": "arn:aws:iam::000000000000:role/r"}}
    support.needs(world.ecs, "CreateService", "volumeConfigurations")
    made = given(world, how, {"volumeConfigurations": [volume], "family": "disk"}, count=1)
    assert "is missing an attribute" in world.told(made, "was unable to place a task")


# ---- DeleteService, Describe and List --------------------------------------------------------

def test_delete_force(world):
    """What is scaled above 0 is deleted with force alone, and its tasks end."""
    made = world.create(count=1)
    running(world, made, 1)
    ask = {"cluster": "c", "service": made["serviceName"]}
    assert refused(world.ecs, "DeleteService", **ask).code == "InvalidParameterException"
    assert refused(world.ecs, "DeleteService", force=False, **ask).code == (
        "InvalidParameterException")
    assert world.ecs.delete_service(force=True, **ask)["service"]["status"] == "DRAINING"

    def gone():
        """INACTIVE, without tasks"""
        shown = world.show(made)
        return shown["status"] == "INACTIVE" and shown["runningCount"] == 0
    support.wait_for(gone)
    assert world.ecs.list_tasks(cluster="c")["taskArns"] == []


def test_describe_services(world):
    """Names and ARNs of the cluster; tags where they are asked for."""
    one, other = world.create(tags=[{"key": "k", "value": "v"}]), world.create()
    world.create(cluster="empty")
    answer = world.ecs.describe_services(cluster="c", services=[
        one["serviceName"], other["serviceArn"]])
    assert [shown["serviceArn"] for shown in answer["services"]] == [
        one["serviceArn"], other["serviceArn"]]
    assert all("tags" not in shown for shown in answer["services"])
    [shown] = world.ecs.describe_services(cluster="c", services=[one["serviceName"]],
                                          include=["TAGS"])["services"]
    assert shown["tags"] == [{"key": "k", "value": "v"}]


def test_list_services(world):
    """Each filter, and pages of one."""
    cluster, _ = world.place(hosts=0)
    arns = {name: made["serviceArn"] for name, made in {
        "host": world.create(cluster=cluster), "web": world.fargate(cluster=cluster),
        "daemon": world.create(cluster=cluster, schedulingStrategy="DAEMON")}.items()}

    def listed(**members):
        return {name for name, arn in arns.items() if arn in send(
            world.ecs, "ListServices", {"cluster": cluster, **members})["serviceArns"]}
    assert listed() == {"host", "web", "daemon"}
    assert listed(launchType="FARGATE") == {"web"}
    assert listed(schedulingStrategy="DAEMON") == {"daemon"}
    pages = list(world.ecs.get_paginator("list_services").paginate(
        cluster=cluster, PaginationConfig={"PageSize": 1}))
    assert [len(page["serviceArns"]) for page in pages] == [1, 1, 1]
    assert listed(resourceManagementType="CUSTOMER") == {"host", "web", "daemon"}
    assert listed(resourceManagementType="ECS") == set()


def test_list_services_by_namespace(world):
    support.needs(world.ecs, "ListServicesByNamespace")
    space = world.fresh("space")
    made = {world.create(serviceConnectConfiguration={
        "enabled": True, "namespace": space})["serviceArn"] for _ in range(3)}
    pages = list(world.ecs.get_paginator("list_services_by_namespace").paginate(
        namespace=space, PaginationConfig={"PageSize": 2}))
    assert [len(page["serviceArns"]) for page in pages] == [2, 1]
    assert {arn for page in pages for arn in page["serviceArns"]} == made


# ---- service deployments and revisions -------------------------------------------------------

def history(world):
    """A service with two deployments that have ended, and one that is under way."""
    support.needs(world.ecs, "DescribeServiceDeployments")
    cluster, [host] = world.place()
    made = world.create(cluster=cluster, count=1)
    world.rolled(made, "SUCCESSFUL")
    world.update(made, forceNewDeployment=True)
    world.rolled(made, "SUCCESSFUL")
    host.does["job"] = "hold"
    world.update(made, forceNewDeployment=True)
    return made


def test_list_service_deployments(world):
    """Of a service by name or ARN; by status; by time; in pages."""
    made = history(world)
    ask = {"cluster": made["clusterArn"], "service": made["serviceName"]}

    def listed(**members):
        return [one["status"] for one in world.ecs.list_service_deployments(
            **{**ask, **members})["serviceDeployments"]]
    assert listed() == ["IN_PROGRESS", "SUCCESSFUL", "SUCCESSFUL"]
    assert listed(service=made["serviceArn"]) == listed()
    assert listed(status=["IN_PROGRESS"]) == ["IN_PROGRESS"]
    assert listed(status=["SUCCESSFUL", "STOPPED"]) == ["SUCCESSFUL", "SUCCESSFUL"]
    newest = world.rollout(made)["createdAt"]
    assert listed(createdAt={"before": newest}) == ["SUCCESSFUL", "SUCCESSFUL"]
    instant = datetime.timedelta(milliseconds=1)
    assert listed(createdAt={"after": newest - instant}) == ["IN_PROGRESS"]
    first = world.ecs.list_service_deployments(maxResults=2, **ask)
    rest = world.ecs.list_service_deployments(nextToken=first["nextToken"], **ask)
    assert [len(page["serviceDeployments"]) for page in (first, rest)] == [2, 1]


def test_describe_service_deployments(world):
    made = history(world)
    arns = [one["serviceDeploymentArn"] for one in world.ecs.list_service_deployments(
        cluster=made["clusterArn"], service=made["serviceName"])["serviceDeployments"]]
    shown = world.ecs.describe_service_deployments(serviceDeploymentArns=arns[:2])
    assert [one["serviceDeploymentArn"] for one in shown["serviceDeployments"]] == arns[:2]


def test_describe_service_revisions(world):
    """The revisions of a deployment's two ends are different ones of the same service."""
    made = history(world)
    current = world.rollout(made)
    arns = [current["sourceServiceRevisions"][0]["arn"], current["targetServiceRevision"]["arn"]]
    shown = world.ecs.describe_service_revisions(serviceRevisionArns=arns)["serviceRevisions"]
    assert [one["serviceRevisionArn"] for one in shown] == arns
    assert {one["serviceArn"] for one in shown} == {made["serviceArn"]}


def test_stop_service_deployment(world):
    """The deployment that was completed last is PRIMARY again."""
    made = history(world)
    last = next(one for one in world.show(made)["deployments"]
                if one["rolloutState"] == "COMPLETED")
    arn = world.show(made)["currentServiceDeployment"]
    answer = world.ecs.stop_service_deployment(serviceDeploymentArn=arn, stopType="ROLLBACK")
    assert answer["serviceDeploymentArn"] == arn
    assert world.stable(made)["deployments"][0]["id"] == last["id"]
    assert world.rolled(made, "ROLLBACK_SUCCESSFUL")["serviceDeploymentArn"] == arn
