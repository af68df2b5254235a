"""The host goes down with tasks on it and comes back: no process, mount, namespace or link of
before is there, /run is empty and the boot has another id. What the node's disk and the server
remember is made good."""
import errno
import os
import shutil
import signal
import subprocess
import uuid

import pytest

import support
from test_crash import leftovers

BOOT_ID = "/proc/sys/kernel/random/boot_id"


def instance_of(berth):
    with open(os.path.join(berth.data, "instance"), encoding="utf-8") as file:
        return file.read().strip()


def cgroup_folders(instance):
    """All cgroups of an instance, the innermost first."""
    found = []
    for top, folders, _ in os.walk("/sys/fs/cgroup", topdown=False):
        found += [os.path.join(top, name) for name in folders
                  if f"berth-{instance}" in os.path.join(top, name)]
    return found


def processes_of(instance):
    found = set()
    for folder in cgroup_folders(instance):
        try:
            with open(os.path.join(folder, "cgroup.procs"), encoding="utf-8") as file:
                found |= {int(line) for line in file}
        except OSError:
            pass  # a controller without processes, or it has just gone
    return found


def reboot(berth, tmp_path):
    """All that a loss of power takes, and another boot's id."""
    instance = instance_of(berth)
    berth.kill()

    def all_dead():
        """no process of any task"""
        for pid in processes_of(instance):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return not processes_of(instance)
    support.wait_for(all_dead)

    def removed():
        """no cgroup of the instance: one whose last process has just died is busy for a moment"""
        for folder in cgroup_folders(instance):
            try:
                os.rmdir(folder)
            except OSError as error:
                assert error.errno in (errno.EBUSY, errno.ENOENT), error
        return not cgroup_folders(instance)
    support.wait_for(removed)
    with open("/proc/self/mounts", encoding="utf-8") as file:
        points = [line.split()[1] for line in file]
    for point in reversed(points):
        if instance in point or point.startswith(berth.data):
            subprocess.run(["umount", "-l", point], check=True)
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    for line in links.splitlines():
        name = line.split(":")[1].strip().split("@")[0]
        if instance[:6] in name:
            subprocess.run(["ip", "link", "del", name], check=False)  # its peer may be gone with it
    shutil.rmtree(f"/run/berth/{instance}")
    fresh = tmp_path / f"boot_id-{uuid.uuid4()}"
    fresh.write_text(f"{uuid.uuid4()}\n")
    subprocess.run(["mount", "--bind", str(fresh), BOOT_ID], check=True)
    assert leftovers(berth) == []


@pytest.fixture
def rebooting(tmp_path):
    berth = support.Berth(tmp_path / "data", "--cpu-units", "8192").start()
    berth.load("hello.tar.gz")
    berth.client().create_cluster(clusterName="default")
    yield berth
    berth.stop()
    while subprocess.run(["umount", BOOT_ID], capture_output=True, check=False).returncode == 0:
        pass


def register(ecs, family, command):
    ecs.register_task_definition(
        family=family, networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256",
        memory="512", ephemeralStorage={"sizeInGiB": 21},
        volumes=[{"name": "scratch"}], containerDefinitions=[
            {"name": "main", "image": "hello", "entryPoint": ["/bin/sh", "-c"], "stopTimeout": 2,
             "mountPoints": [{"sourceVolume": "scratch", "containerPath": "/scratch"}],
             "command": [command]}])


def live_of_service(ecs, number):
    arns = ecs.list_tasks(serviceName="web")["taskArns"]
    tasks = ecs.describe_tasks(tasks=arns)["tasks"] if arns else []
    running = [task for task in tasks if task["lastStatus"] == "RUNNING"]
    return running if len(running) == number else None


def test_a_host_that_was_restarted(rebooting, tmp_path):
    berth, ecs = rebooting, rebooting.client()
    register(ecs, "web", "echo started; touch /scratch/a; trap 'exit 0' TERM; "
                         "while :; do sleep 0.1; done")
    register(ecs, "short", "exit 7")
    network = berth.network()
    ecs.create_service(serviceName="web", taskDefinition="web", desiredCount=2,
                       launchType="FARGATE", networkConfiguration=network)
    [lone] = ecs.run_task(taskDefinition="web", launchType="FARGATE",
                          networkConfiguration=network)["tasks"]
    [short] = ecs.run_task(taskDefinition="short", launchType="FARGATE",
                           networkConfiguration=network)["tasks"]
    waits = support.WAITER
    ecs.get_waiter("tasks_running").wait(tasks=[lone["taskArn"]], WaiterConfig=waits)
    ecs.get_waiter("tasks_stopped").wait(tasks=[short["taskArn"]], WaiterConfig=waits)
    before = support.wait_for(lambda: live_of_service(ecs, 2), step=0.2)
    old = {task["taskArn"] for task in before} | {lone["taskArn"]}
    tasks = os.path.join(berth.data, "node/tasks")
    support.wait_for(lambda: set(os.listdir(tasks)) == {arn.split("/")[-1] for arn in old})
    # Of a task that was being prepared, which no journal knows.
    os.makedirs(os.path.join(tasks, "f" * 32, "c/0/upper"))

    berth.written(lone["taskArn"])
    reboot(berth, tmp_path)
    berth.start()
    ecs = berth.client()

    def ended():
        """all of before are STOPPED"""
        found = ecs.describe_tasks(tasks=sorted(old))["tasks"]
        return found if all(task["lastStatus"] == "STOPPED" for task in found) else None
    for task in support.wait_for(ended, step=0.2):
        assert task["stoppedReason"] == "ContainerRuntimeError: the host was restarted", task
        assert task["stopCode"] == "TaskFailedToStart" or task["startedAt"], task
        assert "exitCode" not in task["containers"][0], "nobody saw its end"
    [told] = ecs.describe_tasks(tasks=[short["taskArn"]])["tasks"]
    assert told["containers"][0]["exitCode"] == 7
    # The service has its tasks again; the one that was run by hand stays ended.
    after = support.wait_for(lambda: live_of_service(ecs, 2), step=0.2)
    assert not {task["taskArn"] for task in after} & old
    for task in after:
        assert berth.written(task["taskArn"]).count("started") == 1

    def cleared():
        """the disk has the new tasks only"""
        return set(os.listdir(tasks)) == {task["taskArn"].split("/")[-1] for task in after}
    support.wait_for(cleared, step=0.2)
    # What they wrote can be read for a while.
    assert berth.run("logs", lone["taskArn"]).count("started") == 1
    ecs.delete_service(service="web", force=True)
    support.wait_for(lambda: not ecs.list_tasks()["taskArns"], step=0.2)
    assert berth.stop() == 0
    assert leftovers(berth) == []
