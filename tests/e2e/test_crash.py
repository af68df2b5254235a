"""kill -9 of server, agent and supervisor while tasks start and stop: nothing acknowledged is
lost, nothing runs twice, nothing is left behind."""
import json
import os
import random
import signal
import subprocess
import time

import botocore.exceptions
import pytest

import services
import support
from services import container


# It hears that it is to stop from its first line of output on.
SERVES = "trap 'exit 0' TERM; echo started; while :; do sleep 0.1; done"


def definition(ecs, script=SERVES, stop_timeout=2):
    """A task that says when it starts. Whoever looks at its exit code gives it time to end."""
    return ecs.register_task_definition(
        family="worker", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256",
        memory="512", containerDefinitions=[
            {"name": "main", "image": "hello", "entryPoint": ["/bin/sh", "-c"],
             "stopTimeout": stop_timeout,
             # Each start leaves a line, so a second start of the same task would be seen.
             "command": [script]}],
    )["taskDefinition"]["taskDefinitionArn"]


def leftovers(berth):
    """What of this instance is in the kernel: mounts, links, cgroups, supervisors."""
    with open(os.path.join(berth.data, "instance"), encoding="utf-8") as file:
        instance = file.read().strip()
    found = []
    with open("/proc/self/mounts", encoding="utf-8") as file:
        found += [line.split()[1] for line in file if instance in line or berth.data in line]
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    found += [line for line in links.splitlines() if instance[:6] in line]
    for root in ("/sys/fs/cgroup/memory", "/sys/fs/cgroup"):
        path = os.path.join(root, f"berth-{instance}")
        if os.path.isdir(path):
            found += [os.path.join(path, name) for name in os.listdir(path)
                      if os.path.isdir(os.path.join(path, name))]
    return found


def tasks_of(found, status):
    return [task for task in found if task["lastStatus"] == status]


def describe_all(ecs, arns):
    out = []
    for start in range(0, len(arns), 100):
        out += ecs.describe_tasks(tasks=arns[start:start + 100])["tasks"]
    return out


def settled(ecs, arns, wanted):
    def all_settled():
        tasks = describe_all(ecs, arns)
        return tasks if all(task["lastStatus"] == wanted.get(task["taskArn"], task["desiredStatus"])
                            for task in tasks) and len(tasks) == len(arns) else None
    all_settled.__doc__ = "every task where it should be"
    return support.wait_for(all_settled, step=0.2)


def started_once(berth, arns):
    for arn in arns:
        out = berth.run("logs", arn, check=False)
        assert out.stdout.count("started") <= 1, f"{arn} ran twice"


@pytest.fixture
def crashing(tmp_path):
    berth = support.Berth(tmp_path / "data", "--cpu-units", "8192").start()
    berth.load("hello.tar.gz")
    berth.client().create_cluster(clusterName="default")
    yield berth
    berth.stop()


def attempt(call, **arguments):
    """A call that may hit the moment of a crash. @return its answer or None"""
    try:
        return call(**arguments)
    except (botocore.exceptions.ClientError, botocore.exceptions.EndpointConnectionError,
            botocore.exceptions.ConnectionClosedError, botocore.exceptions.ReadTimeoutError,
            botocore.exceptions.HTTPClientError):
        return None


def test_kill_server_and_agent_in_transition(crashing):
    dice = random.Random(7)
    ecs = crashing.client()
    name = definition(ecs)
    network = crashing.network()
    acknowledged, stopped = [], set()
    for round_number in range(4):
        for number in range(4):
            answer = attempt(ecs.run_task, taskDefinition=name, launchType="FARGATE",
                             networkConfiguration=network, startedBy=f"r{round_number}-{number}")
            acknowledged += [task["taskArn"] for task in (answer or {"tasks": []})["tasks"]]
        alive = [arn for arn in acknowledged if arn not in stopped]
        for arn in dice.sample(alive, min(2, len(alive))):
            if attempt(ecs.stop_task, task=arn):
                stopped.add(arn)
        time.sleep(dice.random() * 0.15)
        crashing.kill()
        crashing.start()
        ecs = crashing.client()
    assert len(acknowledged) >= 12
    tasks = settled(ecs, acknowledged, {})
    assert {task["taskArn"] for task in tasks} == set(acknowledged)
    for task in tasks:
        assert (task["desiredStatus"] == "STOPPED") >= (task["taskArn"] in stopped)
    # Only what was asked to stop has ended: a task that was caught while it was being launched goes
    # on, or is launched by the next agent when nothing of it had started (docs/agent.md).
    ended = {t["taskArn"]: t.get("stoppedReason") for t in tasks_of(tasks, "STOPPED")}
    assert set(ended) == stopped, ended
    started_once(crashing, acknowledged)
    for arn in acknowledged:
        ecs.stop_task(task=arn)
    settled(ecs, acknowledged, {})

    def clean():
        """nothing left of any task"""
        rest = [item for item in leftovers(crashing) if "/tasks/" in item or "cgroup" in item]
        return rest == [] or None
    support.wait_for(clean, step=0.2)
    assert crashing.stop() == 0
    assert leftovers(crashing) == []


def test_the_lock_of_a_killed_one(crashing):
    """A child that was just being started has its parent's lock for a moment: that is waited for.
    One that runs is not."""
    lock = os.path.join(crashing.data, "lock")
    crashing.kill()
    with subprocess.Popen(["flock", lock, "sleep", "2"]) as holder:
        support.wait_for(lambda: subprocess.run(["flock", "-n", lock, "true"],
                                                check=False).returncode != 0)
        crashing.start()
        assert holder.poll() == 0
    second = subprocess.run([support.BERTH, "up", "--data", crashing.data], check=False,
                            capture_output=True, text=True, timeout=support.PATIENCE)
    assert second.returncode == 1
    assert f"process {crashing.process.pid} runs on the directory '{crashing.data}' already" \
        in second.stderr


def test_killed_at_a_launch(crashing, tmp_path):
    """The agent dies after its record that it launches the task and before the supervisor has
    begun: the next one launches it. What the first one began comes up late, and gives up."""
    folder = os.path.join(crashing.data, "node/bin")
    [content] = os.listdir(folder)
    go, began = tmp_path / "go", tmp_path / "began"
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\n"
                    f"echo $$ > {began}.new && mv {began}.new {began}\n"
                    f"while [ ! -e {go} ]; do sleep 0.1; done\n"
                    f'exec {os.path.abspath(support.BERTH)}-task "$@"\n')
    slow.chmod(0o755)
    os.rename(slow, os.path.join(folder, content, "berth-task"))
    ecs = crashing.client()
    arn = ecs.run_task(taskDefinition=definition(ecs, stop_timeout=60), launchType="FARGATE",
                       networkConfiguration=crashing.network())["tasks"][0]["taskArn"]

    def launched():
        """a supervisor that takes its time"""
        return began.exists() and began.read_text().strip()
    late = int(support.wait_for(launched))
    crashing.kill()
    crashing.start()
    ecs = crashing.client()
    ecs.get_waiter("tasks_running").wait(tasks=[arn], WaiterConfig=support.WAITER)
    before = supervisors(crashing)
    assert len(before) == 1 and late not in before
    go.touch()

    def given_up():
        """the late one has ended"""
        try:
            with open(f"/proc/{late}/stat", encoding="utf-8") as file:
                return file.read().split(")")[1].split()[0] == "Z"
        except OSError:
            return True
    support.wait_for(given_up)
    assert supervisors(crashing) == before
    assert crashing.written(arn).count("started") == 1
    ecs.stop_task(task=arn)
    ecs.get_waiter("tasks_stopped").wait(tasks=[arn], WaiterConfig=support.WAITER)
    assert ecs.describe_tasks(tasks=[arn])["tasks"][0]["containers"][0]["exitCode"] == 0


def supervisors(berth):
    with open(os.path.join(berth.data, "instance"), encoding="utf-8") as file:
        return services.supervisors(file.read().strip().encode())


def test_kill_supervisor(crashing):
    ecs = crashing.client()
    name = definition(ecs)
    arn = ecs.run_task(taskDefinition=name, launchType="FARGATE",
                       networkConfiguration=crashing.network())["tasks"][0]["taskArn"]
    ecs.get_waiter("tasks_running").wait(tasks=[arn], WaiterConfig=support.WAITER)
    [supervisor] = supervisors(crashing)
    os.kill(supervisor, signal.SIGKILL)

    def stopped():
        """STOPPED"""
        task = ecs.describe_tasks(tasks=[arn])["tasks"][0]
        return task if task["lastStatus"] == "STOPPED" else None
    task = support.wait_for(stopped)
    assert "supervisor" in task["stoppedReason"] + task["containers"][0].get("reason", "")
    assert "exitCode" not in task["containers"][0], "nobody saw the end, so no code may be told"
    assert supervisors(crashing) == []


def test_tasks_outlive_server_and_agent(crashing):
    ecs = crashing.client()
    name = definition(ecs, stop_timeout=60)
    arn = ecs.run_task(taskDefinition=name, launchType="FARGATE",
                       networkConfiguration=crashing.network())["tasks"][0]["taskArn"]
    ecs.get_waiter("tasks_running").wait(tasks=[arn], WaiterConfig=support.WAITER)
    before = supervisors(crashing)
    crashing.kill()
    assert supervisors(crashing) == before and len(before) == 1
    crashing.start()
    ecs = crashing.client()
    task = ecs.describe_tasks(tasks=[arn])["tasks"][0]
    assert task["lastStatus"] == "RUNNING" and supervisors(crashing) == before
    crashing.written(arn)
    ecs.stop_task(task=arn)
    ecs.get_waiter("tasks_stopped").wait(tasks=[arn], WaiterConfig=support.WAITER)
    assert ecs.describe_tasks(tasks=[arn])["tasks"][0]["containers"][0]["exitCode"] == 0


@pytest.fixture
def apart(tmp_path):
    """A server and an agent in processes of their own."""
    subprocess.run(["ip", "link", "add", "apart", "type", "bridge"], check=True)
    subprocess.run(["ip", "addr", "add", "198.18.1.1/24", "dev", "apart"], check=True)
    subprocess.run(["ip", "link", "set", "apart", "up"], check=True)
    server = support.Berth(tmp_path / "server", command="server", address="198.18.1.1").start()
    data = str(tmp_path / "agent")
    agents = []

    def start_agent(*arguments):
        log = open(os.path.join(tmp_path, "agent.log"), "ab")  # the child's; closed with it
        agents.append(subprocess.Popen([support.BERTH, "agent", "--data", data, *arguments],
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        log.close()
        return agents[-1]

    subprocess.run([support.BERTH, "image", "load", "--data", data,
                    f"{support.IMAGES}/hello.tar.gz"], check=True, capture_output=True)
    yield server, start_agent
    for agent in agents:
        if agent.poll() is None:
            agent.terminate()
            agent.wait(support.PATIENCE)
    server.stop()
    subprocess.run(["ip", "link", "del", "apart"], check=True)


def placed_with_the_agent(server, name):
    """What RunTask is asked. The agent stands for the region's first zone only."""
    return {"taskDefinition": name, "launchType": "FARGATE", "networkConfiguration": {
        "awsvpcConfiguration": {
            "subnets": server.network()["awsvpcConfiguration"]["subnets"][:1]}}}


def test_server_and_agent_die_apart(apart):
    server, start_agent = apart
    ecs = server.client()
    ecs.create_cluster(clusterName="default")
    name = definition(ecs, stop_timeout=60)
    token = server.run("node", "token").strip()
    agent = start_agent("--join", token)
    arguments = placed_with_the_agent(server, name)

    def run_task():
        """a placed task"""
        tasks = ecs.run_task(**arguments)["tasks"]
        return tasks[0]["taskArn"] if tasks else None

    def wait(arns):
        ecs.get_waiter("tasks_running").wait(tasks=arns,
                                             WaiterConfig=support.WAITER)
    first = support.wait_for(run_task, step=0.2)
    wait([first])
    agent.kill()
    agent.wait()
    second = run_task()  # the node is within its lease still, so the task is given to it
    agent = start_agent()
    wait([first, second] if second else [first])
    server.kill()
    time.sleep(0.5)
    server.start()
    ecs = server.client()
    third = support.wait_for(run_task, step=0.2)
    wait([first, third])
    arns = [arn for arn in (first, second, third) if arn]
    for arn in arns:
        server.written(arn)
        ecs.stop_task(task=arn)
    tasks = settled(ecs, arns, {})
    assert [task["containers"][0]["exitCode"] for task in tasks] == [0] * len(arns)
    started_once(server, arns)


def test_last_steps_are_told_when_the_server_is_back(apart):
    """A task that ends while there is nobody to tell: its end is on its timeline, too."""
    server, start_agent = apart
    ecs = server.client()
    ecs.create_cluster(clusterName="default")
    name = definition(ecs, "trap 'exit 0' TERM; echo started; until test -e /tmp/go; do sleep 0.1; "
                           "done; exit 5")
    start_agent("--join", server.run("node", "token").strip())
    arguments = placed_with_the_agent(server, name)

    def run_task():
        """a placed task"""
        tasks = ecs.run_task(**arguments)["tasks"]
        return tasks[0]["taskArn"] if tasks else None
    arn = support.wait_for(run_task, step=0.2)
    ecs.get_waiter("tasks_running").wait(tasks=[arn], WaiterConfig=support.WAITER)
    pid = container(arn)
    server.kill()
    with open(f"/proc/{pid}/root/tmp/go", "w", encoding="ascii"):
        pass
    support.wait_for(lambda: not os.path.exists(f"/proc/{pid}"))
    server.start()
    settled(server.client(), [arn], {})

    def told():
        """the end of the container on the timeline"""
        shown = json.loads(server.run("ps", arn, "--json"))
        return {"started", "exited"} <= {one["step"] for one in shown["timeline"]}
    support.wait_for(told)
