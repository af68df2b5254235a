"""Services with real containers: kept running, rolled forward, rolled back."""
import base64
import concurrent.futures
import http.client
import socket
import threading
import time

import pytest

import raw
import support
from services import (address, create, describe, make_house, messages, register, remove, running,
                      stable, tasks_of)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    yield from make_house(tmp_path_factory.mktemp("services"), "hello", "processor", healthy_after="3s")


@pytest.fixture(scope="module")
def ecs(house):
    return house.client()


def test_kept_running(house, ecs):
    """A service starts its tasks, replaces one that is gone, scales out and in, and ends."""
    definition = register(ecs, "kept")
    made = create(house, ecs, "kept", definition, 3)
    assert made["status"] == "ACTIVE" and made["events"] == []
    assert [d["status"] for d in made["deployments"]] == ["PRIMARY"]
    ecs.get_waiter("services_stable").wait(services=["kept"],
                                           WaiterConfig=support.WAITER)
    service = stable(ecs, "kept")
    deployment = service["deployments"][0]["id"]
    tasks = tasks_of(ecs, "kept")
    assert {task["group"] for task in tasks} == {"service:kept"}
    assert {task["startedBy"] for task in tasks} == {deployment}
    gone = tasks[0]["taskArn"]
    ecs.stop_task(task=gone)
    support.wait_for(lambda: len([t for t in tasks_of(ecs, "kept")
                                  if t["lastStatus"] == "RUNNING" and t["taskArn"] != gone]) == 3)
    ecs.update_service(service="kept", desiredCount=5)
    support.wait_for(lambda: describe(ecs, "kept")["runningCount"] == 5)
    assert describe(ecs, "kept")["deployments"][0]["id"] == deployment
    ecs.update_service(service="kept", desiredCount=1)
    support.wait_for(lambda: describe(ecs, "kept")["runningCount"] == 1)
    said = messages(ecs, "kept")
    assert said[0].startswith("(service kept) has started 3 tasks: (task ")
    assert f"(service kept) (deployment {deployment}) deployment completed." in said
    assert "(service kept) has reached a steady state." in said
    assert any(m.startswith("(service kept) has stopped 4 running tasks: (task ") for m in said)
    remove(ecs, "kept")


class Load:
    """Requests to whatever tasks of a service run, all the time, and what came of them.

    A round asks all that run when it begins. When one of them has been told to stop by its end, it
    says nothing of how many served at once: that the next round does.
    """

    def __init__(self, ecs, name):
        self.ecs, self.name = ecs, name
        self.least = 1000
        self.answered = set()
        self.requests = self.failures = self.passes = 0
        self.ends = False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        with concurrent.futures.ThreadPoolExecutor(20) as askers:
            while not self.ends:
                asked = running(self.ecs, self.name)
                served = sum(askers.map(self.ask, asked.values()))
                if served >= 10 or set(asked) <= set(running(self.ecs, self.name)):
                    self.least = min(self.least, served)
                    self.passes += 1

    def ask(self, task):
        connection = http.client.HTTPConnection(address(task), 8080, timeout=support.PATIENCE)
        try:
            connection.request("GET", "/")
            assert connection.getresponse().status == 200
            self.requests += 1
            self.answered.add(task["taskArn"])
            return True
        except (OSError, socket.timeout):
            # One that never answered is not ready yet; another may have been told to stop since.
            again = self.ecs.describe_tasks(tasks=[task["taskArn"]])["tasks"][0]
            self.failures += task["taskArn"] in self.answered and \
                again["desiredStatus"] == again["lastStatus"] == "RUNNING"
            return False
        finally:
            connection.close()

    def end(self):
        self.ends = True
        self.thread.join()


CHECK = "wget -q -O /dev/null http://127.0.0.1:8080/"


# With a check a container may take as long as it wants to be ready; without one, which counts as
# healthy after some seconds, it must not.
@pytest.mark.parametrize("kind,check,command", [
    ("unchecked", None, None), ("checked", CHECK, "sleep 1; exec /usr/local/bin/hello")])
def test_rolling_update_under_load(house, ecs, kind, check, command):
    """Ten tasks go to a new revision while each is asked all the time: ten serve at every moment."""
    name = f"roll-{kind}"
    definition = register(ecs, name, command, check=check)
    create(house, ecs, name, definition, 10)
    stable(ecs, name)
    load = Load(ecs, name)
    try:
        began = time.monotonic()
        second = register(ecs, name, command, check=check)
        updated = ecs.update_service(service=name, taskDefinition=second)["service"]
        assert [d["status"] for d in updated["deployments"]] == ["PRIMARY", "ACTIVE"]
        assert updated["deployments"][0]["taskDefinition"] == second
        stable(ecs, name)
        took = time.monotonic() - began
    finally:
        load.end()
    print(f"rolled 10 tasks ({kind}) in {took:.2f} s; {load.requests} requests in {load.passes} "
          f"rounds, {load.failures} failed; {load.least} served at least")
    assert load.failures == 0
    assert load.requests > 100
    assert load.least >= 10
    assert {t["taskDefinitionArn"] for t in running(ecs, name).values()} == {second}
    remove(ecs, name)


CRASHES = {
    "exits": dict(command="exit 3", want="container app exited with code 3"),
    "no-image": dict(image="no-such-image:1", want="CannotPullContainer"),
    "unhealthy": dict(command="trap 'exit 0' TERM; while :; do sleep 0.1; done", check="exit 1",
                      want="Task failed container health checks"),
}


@pytest.mark.parametrize("how", CRASHES)
def test_crashing_revision_is_rolled_back(house, ecs, how):
    """A revision that crashes trips the circuit breaker; the old tasks never notice."""
    name = f"breaker-{how}"
    good = register(ecs, name)
    create(house, ecs, name, good, 4, deploymentConfiguration={
        "deploymentCircuitBreaker": {"enable": True, "rollback": True},
        "minimumHealthyPercent": 100, "maximumPercent": 200})
    first = stable(ecs, name)["deployments"][0]["id"]
    before = running(ecs, name)
    crash = dict(CRASHES[how])
    want = crash.pop("want")
    bad = register(ecs, name, **crash)
    began = time.monotonic()
    failing = ecs.update_service(service=name, taskDefinition=bad)["service"]["deployments"][0]

    def tripped():
        """the first deployment PRIMARY again"""
        return describe(ecs, name)["deployments"][0]["id"] == first
    support.wait_for(tripped)
    at = time.monotonic()
    stable(ecs, name)
    print(f"{how}: tripped after {at - began:.2f} s, rolled back {time.monotonic() - at:.2f} s "
          "after that")
    after = running(ecs, name)
    assert {arn: task["startedAt"] for arn, task in after.items()} == {
        arn: task["startedAt"] for arn, task in before.items()}
    said = messages(ecs, name)
    assert any(m.endswith("deployment failed: tasks failed to start.") for m in said)
    assert f"(service {name}) rolling back to deployment {first}." in said
    # The reason names the crash, of the deployment and of its tasks.
    stopped = tasks_of(ecs, name, desiredStatus="STOPPED")
    assert len(stopped) >= 3
    assert all(t["startedBy"] == failing["id"] for t in stopped)
    assert any(want in t["stoppedReason"] or want.endswith(
        f"code {t['containers'][0].get('exitCode')}") for t in stopped)
    support.needs(ecs, "DescribeServiceDeployments")
    [listed] = ecs.list_service_deployments(service=name, status=["ROLLBACK_SUCCESSFUL"])[
        "serviceDeployments"]
    [shown] = ecs.describe_service_deployments(
        serviceDeploymentArns=[listed["serviceDeploymentArn"]])["serviceDeployments"]
    assert want in shown["rollback"]["reason"], shown
    breaker = shown["deploymentCircuitBreaker"]
    assert breaker["status"] == "TRIGGERED" and breaker["threshold"] == 3
    # Four start at the same time: more may have failed before the count is looked at.
    assert 3 <= breaker["failureCount"] <= len(stopped)
    remove(ecs, name)


def test_output_by_name_and_by_arn(house, ecs):
    """What a task of a service wrote is found by the names and the ARNs of cluster and task."""
    made = create(house, ecs, "writes", register(ecs, "writes", command=(
        "trap 'exit 0' TERM; echo written; while :; do sleep 0.1; done")),
                  1)
    stable(ecs, "writes")
    [task] = tasks_of(ecs, "writes")
    asker = raw.Caller(house, service="berth")
    for cluster in ({}, {"cluster": "default"}, {"cluster": made["clusterArn"]}):
        for name in (task["taskArn"], task["taskArn"].rsplit("/", 1)[1]):
            answer = asker("GetTaskLogs", task=name, waitMs=5000, **cluster)
            assert base64.b64decode(answer["data"]) == b"written\n", (cluster, name)
    assert house.run("logs", "--cluster", made["clusterArn"], task["taskArn"]) == "written\n"
    remove(ecs, "writes")


def test_waiters(house, ecs):
    """`aws ecs wait services-stable` of every AWS CLI here, and boto3's waiters."""
    create(house, ecs, "waits", register(ecs, "waits"), 3)
    for program in support.aws_programs():
        house.aws("ecs", "wait", "services-stable", "--services", "waits", program=program)
        assert describe(ecs, "waits")["runningCount"] == 3
    ecs.update_service(service="waits", desiredCount=5, forceNewDeployment=True)
    ecs.get_waiter("services_stable").wait(services=["waits"],
                                           WaiterConfig=support.WAITER)
    service = describe(ecs, "waits")
    assert len(service["deployments"]) == 1 and service["runningCount"] == 5
    ecs.delete_service(service="waits", force=True)
    ecs.get_waiter("services_inactive").wait(services=["waits"],
                                             WaiterConfig=support.WAITER)
