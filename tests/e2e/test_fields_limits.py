"""Members about CPU and memory: the control groups that bind a task and its containers."""
import pytest

import fields
import support
from fields import box, task

MIB = 1 << 20
SLEEP = "trap 'exit 0' TERM; while :; do sleep 0.1; done"


@pytest.mark.guest
@task(box(SLEEP), cpu="512", memory="1024")
def test_task_sizes(node, live):
    """`cpu` and `memory` of the task bind all of it."""
    node.until(live, lastStatus="RUNNING")
    assert node.cpu_quota(live) == 0.5
    assert node.memory_limit(live) == 1024 * MIB


@task(box(SLEEP), cpu="1 vCPU", memory="2 GB")
def test_task_sizes_with_units(node, live):
    node.until(live, lastStatus="RUNNING")
    described = node.describe(live)
    assert (described["cpu"], described["memory"]) == ("1024", "2048")
    assert node.cpu_quota(live) == 1
    assert node.memory_limit(live) == 2048 * MIB


@pytest.mark.guest
@task(box(SLEEP, cpu=100, memory=64), box(SLEEP, name="second", cpu=0, memory=128))
def test_container_sizes(node, live):
    """`cpu` is a share, 2 at least; `memory` a limit of the container's own."""
    node.until(live, lastStatus="RUNNING")
    assert node.shares(live, "main", 100)
    assert node.shares(live, "second", 2)
    assert node.memory_limit(live, "main") == 64 * MIB
    assert node.memory_limit(live, "second") == 128 * MIB


@pytest.mark.guest
@task(box(SLEEP, memoryReservation=32), ec2=True, cpu=None, memory=None)
def test_memory_reservation(node, live):
    node.until(live, lastStatus="RUNNING")
    assert node.soft_limit(live, "main") == 32 * MIB
    assert node.memory_limit(live, "main") > 1 << 40


@pytest.mark.guest
@task(box("held=$(tr '\\0' x </dev/zero | head -c 100000000); echo survived", memory=16), ec2=True)
def test_memory_is_enforced(ended):
    """What holds more than its limit is killed, and the container says why."""
    assert ended.code() == 137, ended.log()
    assert ended.container()["reason"] == "OutOfMemoryError: Container killed due to memory usage"


def remaining(node):
    [instance] = node.ecs.describe_container_instances(
        cluster="default", containerInstances=[node.instance])["containerInstances"]
    return {one["name"]: one["integerValue"] for one in instance["remainingResources"]
            if one["name"] in ("CPU", "MEMORY")}


ROOM = {"networkMode": "host", "containerDefinitions": [
    box(SLEEP, cpu=100, memory=500, memoryReservation=300),
    box(SLEEP, name="second", memory=64)]}


def test_placement_takes_room(node):
    """Without sizes of the task the containers' are summed, reservations before limits."""
    def quiet():
        """no task of another test is left"""
        arns = node.ecs.list_tasks()["taskArns"]
        for arn in arns:
            node.ecs.stop_task(task=arn)
        return not arns and remaining(node) == {"CPU": fields.UNITS, "MEMORY": fields.UNITS}
    support.wait_for(quiet)
    arn = node.launch("room", ROOM, {"launchType": "EC2"})
    assert remaining(node) == {"CPU": fields.UNITS - 100, "MEMORY": fields.UNITS - 364}
    node.ecs.stop_task(task=arn)
    node.stopped(arn)
    assert remaining(node) == {"CPU": fields.UNITS, "MEMORY": fields.UNITS}
