"""Deployments by stages with real containers: lifecycle hooks that refuse, wait, run as tasks, and a
server that is killed in the middle."""
import threading

import pytest

import support
from hook_endpoint import Endpoint
from services import (create, describe, make_house, messages, register, remove, running, stable,
                      tasks_of)

pytestmark = pytest.mark.not_in_guest(
    "stages of deployments are the server's, the same on every kernel")


ROLE = "arn:aws:iam::000000000000:role/hooks"


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    yield from make_house(tmp_path_factory.mktemp("stages"), "hello", "processor")


@pytest.fixture(scope="module")
def ecs(house):
    client = house.client()
    support.needs(client, "ContinueServiceDeployment")
    return client


def hook(target, *stages, **more):
    return {"hookTargetArn": target, "lifecycleStages": list(stages), **more}


def pause(*stages):
    return {"targetType": "PAUSE", "lifecycleStages": list(stages),
            "timeoutConfiguration": {"timeoutInMinutes": 60, "action": "ROLLBACK"}}


def configure(ecs, name, strategy="BLUE_GREEN", **more):
    ecs.update_service(service=name, deploymentConfiguration={
        "strategy": strategy, "bakeTimeInMinutes": 0, **more})


def deploy(ecs, name):
    """Begin a deployment; returns the ARN of the service deployment."""
    return ecs.update_service(service=name, forceNewDeployment=True)["service"][
        "currentServiceDeployment"]


def rollout(ecs, arn):
    return ecs.describe_service_deployments(serviceDeploymentArns=[arn])["serviceDeployments"][0]


def ended(ecs, arn, status, seconds=support.PATIENCE):
    def over():
        found = rollout(ecs, arn)
        return found if found["status"] == status else None
    over.__doc__ = f"{arn} {status}: {rollout(ecs, arn)}"
    return support.wait_for(over, seconds)


def paused(ecs, arn, stage):
    """Wait until it is paused in a stage; returns the hook's id."""
    def waits():
        found = rollout(ecs, arn)
        ids = [one["hookId"] for one in found.get("lifecycleHookDetails", [])
               if one["status"] == "AWAITING_ACTION"]
        return ids[0] if ids and found["lifecycleStage"] == stage else None
    waits.__doc__ = f"{arn} paused in {stage}"
    return support.wait_for(waits)


def weights(ecs, arn):
    """Percent of production traffic: of what it comes from, of where it goes."""
    found = rollout(ecs, arn)
    return (found["sourceServiceRevisions"][0]["requestedProductionTrafficWeight"],
            found["targetServiceRevision"]["requestedProductionTrafficWeight"])


@pytest.fixture
def service(house, ecs, request):
    """A service of two tasks that is stable; its name."""
    name = request.node.name.replace("test_", "").replace("[", "-").rstrip("]")
    create(house, ecs, name, register(ecs, name), 2)
    stable(ecs, name)
    yield name
    remove(ecs, name)


def test_hook_refuses(ecs, service):
    """An endpoint says FAILED while green is up: blue never notices, green goes."""
    before = describe(ecs, service)["deployments"][0]["id"]
    blue = sorted(running(ecs, service))
    with Endpoint({"hookStatus": "FAILED"}) as endpoint:
        configure(ecs, service, lifecycleHooks=[hook(endpoint.url, "POST_TEST_TRAFFIC_SHIFT",
                                                     hookDetails={"colour": "green"},
                                                     roleArn=ROLE)])
        arn = deploy(ecs, service)
        found = ended(ecs, arn, "ROLLBACK_SUCCESSFUL")
    [told] = endpoint.asked
    target = found["targetServiceRevision"]["arn"]
    source = found["sourceServiceRevisions"][0]["arn"]
    assert told["lifecycleStage"] == "POST_TEST_TRAFFIC_SHIFT"
    assert told["resourceArn"] == arn
    assert told["hookDetails"] == {"colour": "green"}
    assert told["executionDetails"] == {
        "serviceArn": describe(ecs, service)["serviceArn"], "targetServiceRevisionArn": target,
        "testTrafficWeights": {target: 100.0, source: 0.0},
        "productionTrafficWeights": {target: 0.0, source: 100.0}}
    assert found["lifecycleHookDetails"][0]["hookId"] == told["executionId"]
    assert found["rollback"]["serviceRevisionArn"] == source
    assert "It answered FAILED." in found["rollback"]["reason"]
    assert stable(ecs, service)["deployments"][0]["id"] == before
    [kept] = describe(ecs, service)["deploymentConfiguration"]["lifecycleHooks"]
    assert kept["roleArn"] == ROLE and kept["hookTargetArn"] == endpoint.url
    assert sorted(running(ecs, service)) == blue
    assert f"(service {service}) rolling back to deployment {before}." in messages(ecs, service)


def test_hook_asks_for_time(ecs, service):
    """An endpoint that is not done yet is asked again, with what it gave; then it is done."""
    answers = [{"hookStatus": "IN_PROGRESS", "callBackDelay": 1, "hookDetails": {"so": "far"}},
               {"hookStatus": "SUCCEEDED"}]
    blue = set(running(ecs, service))
    with Endpoint(*answers) as endpoint:
        configure(ecs, service, strategy="LINEAR", linearConfiguration={
            "stepPercent": 50.0, "stepBakeTimeInMinutes": 0},
            lifecycleHooks=[hook(endpoint.url, "PRE_SCALE_UP", "PRODUCTION_TRAFFIC_SHIFT")])
        arn = deploy(ecs, service)
        found = ended(ecs, arn, "SUCCESSFUL")
    target = found["targetServiceRevision"]["arn"]
    assert [(told["lifecycleStage"], told["executionDetails"]["productionTrafficWeights"][target])
            for told in endpoint.asked] == [
                ("PRE_SCALE_UP", 0.0), ("PRE_SCALE_UP", 0.0), ("PRODUCTION_TRAFFIC_SHIFT", 50.0),
                ("PRODUCTION_TRAFFIC_SHIFT", 100.0)]
    assert [told.get("hookDetails") for told in endpoint.asked[:2]] == [None, {"so": "far"}]
    assert endpoint.asked[0]["executionId"] == endpoint.asked[1]["executionId"]
    assert blue.isdisjoint(running(ecs, service))


def test_hook_cannot_be_asked(ecs, service):
    """An endpoint that is not there fails the deployment, and the reason names it."""
    url = f"http://127.0.0.1:{support.free_port()}/none"
    configure(ecs, service, lifecycleHooks=[hook(url, "PRE_SCALE_UP")])
    found = ended(ecs, deploy(ecs, service), "ROLLBACK_SUCCESSFUL")
    assert url in found["statusReason"]
    assert "Failed to connect" in found["statusReason"]


def test_pause(ecs, service):
    """A paused deployment is continued; the next one is rolled back."""
    configure(ecs, service, lifecycleHooks=[pause("PRE_PRODUCTION_TRAFFIC_SHIFT")])
    first = deploy(ecs, service)
    identity = paused(ecs, first, "PRODUCTION_TRAFFIC_SHIFT")
    assert identity.startswith("ecs-pause-")
    [shown] = rollout(ecs, first)["lifecycleHookDetails"]
    assert shown["targetType"] == "PAUSE" and shown["timeoutAction"] == "ROLLBACK"
    began = rollout(ecs, first)["startedAt"]
    assert 3600 <= (shown["expiresAt"] - began).total_seconds() < 3600 + support.PATIENCE
    assert len(running(ecs, service)) == 4
    assert weights(ecs, first) == (100.0, 0.0)
    again = ecs.continue_service_deployment(serviceDeploymentArn=first, hookId=identity)
    assert again["serviceDeploymentArn"] == first
    ended(ecs, first, "SUCCESSFUL")
    assert weights(ecs, first) == (0.0, 100.0)
    green = sorted(running(ecs, service))
    second = deploy(ecs, service)
    ecs.continue_service_deployment(
        serviceDeploymentArn=second, hookId=paused(ecs, second, "PRODUCTION_TRAFFIC_SHIFT"),
        action="ROLLBACK")
    ended(ecs, second, "ROLLBACK_SUCCESSFUL")
    assert sorted(running(ecs, service)) == green


def test_stop(ecs, service):
    """StopServiceDeployment after the shift gives blue its traffic back."""
    blue = sorted(running(ecs, service))
    configure(ecs, service, lifecycleHooks=[pause("POST_PRODUCTION_TRAFFIC_SHIFT")])
    arn = deploy(ecs, service)
    paused(ecs, arn, "POST_PRODUCTION_TRAFFIC_SHIFT")
    assert weights(ecs, arn) == (0.0, 100.0)
    ecs.stop_service_deployment(serviceDeploymentArn=arn, stopType="ROLLBACK")
    found = ended(ecs, arn, "ROLLBACK_SUCCESSFUL")
    assert weights(ecs, arn) == (100.0, 0.0)
    assert found["lifecycleHookDetails"][0]["status"] == "FAILED"
    assert sorted(running(ecs, service)) == blue


@pytest.mark.parametrize("code", [0, 7])
def test_task_hook(ecs, service, code):
    """A task definition is a hook: its exit code says whether the deployment goes on."""
    check = register(ecs, f"check-{code}", image="pinterest/processor:v2.0", command=(
        'case "$ECS_LIFECYCLE_HOOK" in *\\"lifecycleStage\\":\\"POST_SCALE_UP\\"*) '
        f"exit {code};; esac; exit 9"))
    configure(ecs, service, lifecycleHooks=[hook(check, "POST_SCALE_UP")])
    before = set(running(ecs, service))
    arn = deploy(ecs, service)
    found = ended(ecs, arn, "ROLLBACK_SUCCESSFUL" if code else "SUCCESSFUL")
    stable(ecs, service)
    [one] = found["lifecycleHookDetails"]
    assert one["status"] == ("FAILED" if code else "SUCCEEDED")
    assert one["targetArn"] == check
    assert set(running(ecs, service)).isdisjoint(before) == (code == 0)
    if code:
        assert f"container app exited with {code}." in found["statusReason"]
    started = ecs.list_tasks(startedBy=one["hookId"], desiredStatus="STOPPED")["taskArns"]
    [task] = ecs.describe_tasks(tasks=started)["tasks"]
    assert task["containers"][0]["exitCode"] == code


def test_killed_in_the_middle(house, ecs, service):
    """kill -9 in three stages: the deployment goes on where it was, with the same hooks."""
    stages = [("PRE_SCALE_UP", (100.0, 0.0), 2), ("POST_SCALE_UP", (100.0, 0.0), 4),
              ("POST_PRODUCTION_TRAFFIC_SHIFT", (0.0, 100.0), 4)]
    configure(ecs, service, lifecycleHooks=[pause(*[stage for stage, _, _ in stages])])
    arn = deploy(ecs, service)
    blue = set(running(ecs, service))
    for stage, shares, count in stages:
        identity = paused(ecs, arn, stage)
        tasks = sorted(running(ecs, service))
        assert len(tasks) == count
        house.kill()
        house.start()
        assert paused(ecs, arn, stage) == identity
        assert weights(ecs, arn) == shares
        support.wait_for(lambda: sorted(running(ecs, service)) == tasks)
        ecs.continue_service_deployment(serviceDeploymentArn=arn, hookId=identity)
    ended(ecs, arn, "SUCCESSFUL")
    assert len(stable(ecs, service)["deployments"]) == 1
    assert blue.isdisjoint(running(ecs, service))


def test_killed_while_an_endpoint_thinks(house, ecs, service):
    """The server that asked is killed: the next one asks again, with the same executionId."""
    never = threading.Event()
    with Endpoint(never, {"hookStatus": "SUCCEEDED"}) as endpoint:
        configure(ecs, service, lifecycleHooks=[hook(endpoint.url, "POST_SCALE_UP")])
        arn = deploy(ecs, service)
        support.wait_for(lambda: endpoint.asked)
        house.kill()
        house.start()
        ended(ecs, arn, "SUCCESSFUL")
        never.set()
    assert len(endpoint.asked) == 2
    assert endpoint.asked[0] == endpoint.asked[1]
    assert len(tasks_of(ecs, service, desiredStatus="RUNNING")) == 2
