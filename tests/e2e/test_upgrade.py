"""A new program is put in the place of the old one while tasks run: they go on untouched, under an
agent of the new program, and what the old one wrote is read by the new, not the other way round."""
import os
import shutil
import signal
import struct
import subprocess
import time

import pytest

import support

PROGRAMS = ("berth", "berth-task")
KEEP = ("--on-exit", "keep", "--cpu-units", "8192", "--memory", "8192")


def install(folder):
    """New files in the place of those that are there, by rename."""
    os.makedirs(folder, exist_ok=True)
    for name in PROGRAMS:
        source = os.path.join(os.path.dirname(os.path.abspath(support.BERTH)), name)
        shutil.copy2(source, os.path.join(folder, f"{name}.new"))
        os.rename(os.path.join(folder, f"{name}.new"), os.path.join(folder, name))


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A Berth that runs from a folder of its own."""
    folder = str(tmp_path / "bin")
    install(folder)
    monkeypatch.setattr(support, "BERTH", os.path.join(folder, "berth"))
    berth = support.Berth(tmp_path / "data", *KEEP).start()
    berth.load("hello.tar.gz")
    berth.client().create_cluster(clusterName="default")
    yield berth, folder
    if berth.process is None:
        berth.start()
    ecs = berth.client()
    for arn in ecs.list_tasks()["taskArns"]:
        ecs.stop_task(task=arn)
    support.wait_for(lambda: not ecs.list_tasks()["taskArns"])
    berth.stop()


INTERVAL_S = 5  # the shortest
# The supervisor's program is also the containers' init, and holds the namespaces that they share.
DEFINITION = [
    {"name": "main", "image": "hello", "entryPoint": ["/bin/sh", "-c"], "stopTimeout": 60,
     "linuxParameters": {"initProcessEnabled": True},
     "healthCheck": {"command": ["CMD-SHELL", "true"], "interval": INTERVAL_S, "timeout": 2},
     "command": ["trap 'exit 0' TERM; echo started; while :; do sleep 0.1; done"]},
    {"name": "side", "image": "hello", "entryPoint": ["/bin/sh", "-c"], "essential": False,
     "stopTimeout": 2, "linuxParameters": {"initProcessEnabled": True},
     "command": ["while :; do sleep 0.1; done"]},
]


def run(berth, ecs):
    ecs.register_task_definition(
        family="worker", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256",
        memory="512", pidMode="task", containerDefinitions=DEFINITION)
    arn = ecs.run_task(taskDefinition="worker", launchType="FARGATE",
                       networkConfiguration=berth.network())["tasks"][0]["taskArn"]
    running(ecs, arn)
    return arn


def running(ecs, arn):
    ecs.get_waiter("tasks_running").wait(tasks=[arn], WaiterConfig=support.WAITER)


def processes(berth, arn):
    """Numbers and times of start of all that runs for a task, by its cgroup."""
    task, found = arn.split("/")[-1], {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
                groups = file.read()
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                text = file.read()
            name = text[text.index("(") + 1:text.rindex(")")]
            start = text[text.rindex(")") + 2:].split()[19]
        except OSError:
            continue
        if task in groups and name != "sleep":  # which come and go
            found[int(pid)] = (name, start)
    return found


def settled(berth, arn):
    """Those that stay: without health checks, and shells that are about to be another program."""
    found, same = processes(berth, arn), 0
    while same < 3:
        time.sleep(0.2)
        now = processes(berth, arn)
        found, same = now, same + 1 if now == found else 0
    # A health check may have taken as long as that; the next one is another process.
    time.sleep(INTERVAL_S)
    return dict(found.items() & processes(berth, arn).items())


def test_tasks_go_on_under_a_new_program(installed):
    berth, folder = installed
    ecs = berth.client()
    arn = run(berth, ecs)
    before = settled(berth, arn)
    assert len(before) >= 4, before  # supervisor, two inits, two shells
    install(folder)  # while the old one runs
    # It starts what it was asked to with the supervisor that it came with.
    second = run(berth, ecs)
    assert berth.stop() == 0
    # Not only by rename: a file that a process executes cannot be written ("Text file busy"), and
    # three supervisors and their containers run.
    with open(os.path.join(folder, "berth-task"), "r+b") as file:
        content = file.read()
        file.seek(0)
        file.write(content)
    assert before.items() <= processes(berth, arn).items()
    berth.start()
    ecs = berth.client()
    task = ecs.describe_tasks(tasks=[arn])["tasks"][0]
    assert task["lastStatus"] == "RUNNING"
    assert before.items() <= processes(berth, arn).items()
    third = run(berth, ecs)
    # All three take orders from the new agent.
    for one in (arn, second, third):
        assert berth.written(one, "main").count("started") == 1
        ecs.stop_task(task=one)
    ecs.get_waiter("tasks_stopped").wait(tasks=[arn, second, third],
                                         WaiterConfig=support.WAITER)
    for task in ecs.describe_tasks(tasks=[arn, second, third])["tasks"]:
        codes = {container["name"]: container.get("exitCode") for container in task["containers"]}
        assert codes["main"] == 0, codes


def test_the_agents_version_is_told(installed):
    berth, _ = installed
    version = subprocess.run([support.BERTH, "--version"], capture_output=True, text=True,
                             check=True).stdout.split()[-1]
    assert version in berth.run("node", "ls").splitlines()[1].split()


def test_a_journal_of_a_newer_program_is_refused(installed):
    berth, _ = installed
    assert berth.stop() == 0
    path = os.path.join(berth.data, "node/journal/journal")
    with open(path, "r+b") as file:
        file.seek(8)
        [version] = struct.unpack("<I", file.read(4))
        file.seek(8)
        file.write(struct.pack("<I", version + 1))
    process = subprocess.run(
        [support.BERTH, "up", "--data", berth.data, "--listen", f"127.0.0.1:{berth.port}", *KEEP],
        capture_output=True, text=True, timeout=support.PATIENCE, check=False)
    assert process.returncode not in (0, -signal.SIGSEGV, -signal.SIGABRT)
    assert f"the journal is of version {version + 1}, which a newer berth wrote" in process.stderr
    assert "start that version or a newer one" in process.stderr
    with open(path, "r+b") as file:
        file.seek(8)
        file.write(struct.pack("<I", version))
