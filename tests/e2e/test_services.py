"""Services with real containers: kept running, rolled forward, rolled back."""
import http.client
import socket
import threading
import time

import pytest

import support
from services import (address, create, describe, messages, register, remove, stable, supervisor,
                      tasks_of)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A Berth that counts a task as healthy after a second: ECS waits forty."""
    berth = support.Berth(tmp_path_factory.mktemp("services"), "--cpu-units", "16384",
                          "--memory-mib", "32768", "--healthy-after", "1s")
    berth.start()
    berth.load("hello.tar.gz", "processor.tar.gz")
    berth.client().create_cluster(clusterName="default")
    yield berth
    assert berth.stop() == 0, berth.tail()


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
                                           WaiterConfig={"Delay": 1, "MaxAttempts": 20})
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
    """Requests to whatever tasks of a service run, all the time, and what came of them."""

    def __init__(self, ecs, name):
        self.ecs, self.name = ecs, name
        self.least = 1000
        self.requests = self.failures = 0
        self.ends = False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.ends:
            serving = 0
            for task in tasks_of(self.ecs, self.name):
                if task["lastStatus"] != "RUNNING" or task["desiredStatus"] != "RUNNING":
                    continue
                serving += 1
                connection = http.client.HTTPConnection(address(task), 8080, timeout=2)
                try:
                    connection.request("GET", "/")
                    assert connection.getresponse().status == 200
                    self.requests += 1
                except (OSError, socket.timeout):
                    # It may have been told to stop since it was described.
                    again = self.ecs.describe_tasks(tasks=[task["taskArn"]])["tasks"][0]
                    self.failures += again["desiredStatus"] == "RUNNING" and \
                        again["lastStatus"] == "RUNNING" and again["startedAt"] == task["startedAt"]
                    serving -= 1
                finally:
                    connection.close()
            self.least = min(self.least, serving)

    def end(self):
        self.ends = True
        self.thread.join()


def test_rolling_update_under_load(house, ecs):
    """Ten tasks go to a new revision while each is asked all the time: ten serve at every moment."""
    definition = register(ecs, "roll")
    create(house, ecs, "roll", definition, 10)
    stable(ecs, "roll")
    load = Load(ecs, "roll")
    try:
        began = time.monotonic()
        second = register(ecs, "roll")
        updated = ecs.update_service(service="roll", taskDefinition=second)["service"]
        assert [d["status"] for d in updated["deployments"]] == ["PRIMARY", "ACTIVE"]
        assert updated["deployments"][0]["taskDefinition"] == second
        stable(ecs, "roll")
        took = time.monotonic() - began
    finally:
        load.end()
    print(f"rolled 10 tasks in {took:.2f} s; {load.requests} requests, {load.failures} failed; "
          f"{load.least} served at least")
    assert load.failures == 0
    assert load.requests > 100
    assert load.least >= 10
    assert {t["taskDefinitionArn"] for t in tasks_of(ecs, "roll")} == {second}
    remove(ecs, "roll")


def test_crashing_revision_is_rolled_back(house, ecs):
    """A revision that crashes trips the circuit breaker; the old tasks never notice."""
    good = register(ecs, "breaker")
    create(house, ecs, "breaker", good, 4, deploymentConfiguration={
        "deploymentCircuitBreaker": {"enable": True, "rollback": True},
        "minimumHealthyPercent": 100, "maximumPercent": 200})
    first = stable(ecs, "breaker")["deployments"][0]["id"]
    before = sorted(task["taskArn"] for task in tasks_of(ecs, "breaker"))
    bad = register(ecs, "breaker", command="exit 3", image="pinterest/processor:v2.0")
    began = time.monotonic()
    ecs.update_service(service="breaker", taskDefinition=bad)

    def rolled_back():
        """the rollback to the first deployment is complete"""
        service = describe(ecs, "breaker")
        deployments = service["deployments"]
        return len(deployments) == 1 and deployments[0]["id"] == first and \
            deployments[0]["rolloutState"] == "COMPLETED"
    support.wait_for(rolled_back, 30)
    print(f"rolled back in {time.monotonic() - began:.2f} s")
    assert sorted(task["taskArn"] for task in tasks_of(ecs, "breaker")) == before
    said = messages(ecs, "breaker")
    assert any(m.endswith("deployment failed: tasks failed to start.") for m in said)
    assert f"(service breaker) rolling back to deployment {first}." in said
    remove(ecs, "breaker")
