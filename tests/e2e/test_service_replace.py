"""Tasks of a service that end or fail are replaced: killed from outside, UNHEALTHY, and while
server and agent die."""
import os
import signal
import statistics
import time

import pytest

import support
from services import (container, create, describe, make_house, messages, register, remove, running,
                      stable, steadies, steady, supervisor, tasks_of)

KILLS = 12


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    yield from make_house(tmp_path_factory.mktemp("replace"), "hello")


@pytest.fixture(scope="module")
def ecs(house):
    return house.client()


def kill_and_time(ecs, name, victim, pid_of):
    """kill -9 of a process of a task. @return its successor and the seconds until that ran"""
    before = set(running(ecs, name))
    told = steadies(ecs, name)
    began = time.time()
    os.kill(pid_of(victim), signal.SIGKILL)

    def replaced():
        """a new task RUNNING"""
        return [task for arn, task in running(ecs, name).items() if arn not in before]
    [successor] = support.wait_for(replaced, step=0.005)
    # A task that ends before it counts as healthy is a failure, and starts wait longer after
    # several; so each is killed when all are healthy.
    steady(ecs, name, told)
    return successor, successor["startedAt"].timestamp() - began


@pytest.mark.parametrize("what,pid_of", [("container", container), ("supervisor", supervisor)])
def test_killed_from_outside(house, ecs, what, pid_of):
    """A task whose process is killed is replaced at once; the others never notice."""
    name = f"killed-{what}"
    create(house, ecs, name, register(ecs, name), 3)
    stable(ecs, name)
    took = []
    for _ in range(KILLS):
        arns = sorted(running(ecs, name))
        assert len(arns) == 3
        successor, seconds = kill_and_time(ecs, name, arns[0], pid_of)
        took.append(seconds * 1000)
        assert set(arns[1:]) | {successor["taskArn"]} == set(running(ecs, name))
        [gone] = ecs.describe_tasks(tasks=[arns[0]])["tasks"]
        assert gone["lastStatus"] == "STOPPED"
        assert gone["stopCode"] == "EssentialContainerExited", gone["stoppedReason"]
    print(f"{what} killed, replacement RUNNING: p50 {statistics.median(took):.0f} ms, "
          f"most {max(took):.0f} ms of {KILLS}")
    assert describe(ecs, name)["deployments"][0]["failedTasks"] == 0
    remove(ecs, name)


def test_unhealthy_task_is_replaced_before_it_stops(house, ecs):
    """A task whose health check fails is replaced first and stopped after."""
    # The task that is told so fails its check from then on.
    definition = register(ecs, "sick", check="! test -e /tmp/sick")
    create(house, ecs, "sick", definition, 2)
    stable(ecs, "sick")
    victim, other = sorted(running(ecs, "sick"))
    root = f"/proc/{container(victim)}/root"
    with open(f"{root}/tmp/sick", "w", encoding="utf-8"):
        pass
    began = time.monotonic()

    def least(wanted):
        """two healthy tasks without the sick one"""
        tasks = tasks_of(ecs, "sick")
        healthy = [t for t in tasks if t["healthStatus"] == "HEALTHY"]
        assert any(t["taskArn"] == other for t in healthy)
        return len([t for t in healthy if t["taskArn"] != victim]) >= wanted
    support.wait_for(lambda: least(2))
    print(f"unhealthy task replaced {time.monotonic() - began:.1f} s after it fell sick "
          "(checked every 5 s)")

    def stopped():
        """the sick one STOPPED"""
        [task] = ecs.describe_tasks(tasks=[victim])["tasks"]
        return task if task["lastStatus"] == "STOPPED" else None
    task = support.wait_for(stopped)
    assert task["stoppedReason"] == "Task failed container health checks"
    assert task["stopCode"] == "ServiceSchedulerInitiated"
    assert other in running(ecs, "sick")
    remove(ecs, "sick")


def test_kill_nine_of_everything_during_a_deployment(house, ecs):
    """Server and agent are killed again and again while a service is updated: it converges, and
    nothing was started twice."""
    script = ("echo started; trap 'exit 0' TERM; while :; do sleep 0.1; done")
    definition = register(ecs, "torn", command=script)
    create(house, ecs, "torn", definition, 6)
    stable(ecs, "torn")
    definitions = [register(ecs, "torn", command=script) for _ in range(2)]
    seen = set(running(ecs, "torn"))
    for second in definitions:
        ecs.update_service(service="torn", taskDefinition=second)
        for pause in (0.05, 0.4, 0.9):
            time.sleep(pause)  # the moment is what is tested; any will do
            house.kill()
            house.start()
            ecs = house.client()
            seen |= {task["taskArn"] for task in tasks_of(ecs, "torn")}
    began = time.monotonic()
    service = stable(ecs, "torn")
    print(f"converged {time.monotonic() - began:.2f} s after the last of 6 kills; "
          f"{len(seen)} tasks seen")
    assert service["desiredCount"] == service["runningCount"] == 6 and not service["pendingCount"]
    now = running(ecs, "torn")
    assert {task["taskDefinitionArn"] for task in now.values()} == {definitions[-1]}
    for arn in seen | set(now):
        out = house.run("logs", arn, check=False)
        assert out.stdout.count("started") <= 1, f"{arn} ran twice"
    said = messages(ecs, "torn")
    done = [m for m in said if m.endswith("deployment completed.")]
    assert len(done) == len(set(done)), "a deployment was completed twice"
    remove(ecs, "torn")
