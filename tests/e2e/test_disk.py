"""The node's disk: what nothing needs is let go of, and a disk that fills up stops new tasks, never
the end of those that run."""
import os
import signal
import subprocess

import pytest

import images
import support
from disk import MIB, UNANSWERED, fill_store, small_disk
from test_crash import definition, describe_all

SIZE_MIB = 256


@pytest.fixture(name="filler")
def make_filler(tmp_path):
    with small_disk(str(tmp_path / "disk"), SIZE_MIB) as filler:
        yield filler


@pytest.fixture
def small(tmp_path, filler):
    """A server, and an agent whose data is on a small file system of its own."""
    subprocess.run(["ip", "link", "add", "apart", "type", "bridge"], check=True)
    subprocess.run(["ip", "addr", "add", "198.18.1.1/24", "dev", "apart"], check=True)
    subprocess.run(["ip", "link", "set", "apart", "up"], check=True)
    server = support.Berth(tmp_path / "server", command="server", address="198.18.1.1").start()
    data = os.path.join(filler.folder, "data")
    subprocess.run([support.BERTH, "image", "load", "--data", data,
                    f"{support.IMAGES}/hello.tar.gz"], check=True, capture_output=True)
    agents = []

    def start_agent(*arguments):
        with open(os.path.join(tmp_path, "agent.log"), "ab") as log:
            agents.append(subprocess.Popen([support.BERTH, "agent", "--data", data, *arguments],
                                           stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        return agents[-1]
    yield server, start_agent, filler
    for agent in agents:
        if agent.poll() is None:
            agent.terminate()
            agent.wait(support.PATIENCE)
    server.stop()
    subprocess.run(["ip", "link", "del", "apart"], check=True)


def nodes(server):
    return server.run("node", "ls")


def test_a_disk_that_fills_up(small):
    server, start_agent, filler = small
    ecs = server.client()
    ecs.create_cluster(clusterName="default")
    name = definition(ecs, stop_timeout=60)
    agent = start_agent("--join", server.run("node", "token").strip())
    subnets = {"awsvpcConfiguration": {
        "subnets": server.network()["awsvpcConfiguration"]["subnets"][:1]}}

    def run_task():
        """a placed task"""
        return ecs.run_task(taskDefinition=name, launchType="FARGATE",
                            networkConfiguration=subnets)["tasks"]

    def run():
        """a task that runs"""
        arn = support.wait_for(run_task, step=0.2)[0]["taskArn"]
        ecs.get_waiter("tasks_running").wait(tasks=[arn],
                                             WaiterConfig=support.WAITER)
        server.written(arn)
        return arn
    first, second = run(), run()
    support.wait_for(lambda: "ACTIVE" in nodes(server), step=0.2)
    filler.leave(6 * MIB)  # a twentieth, less than 13 MiB, is kept

    def full():
        """the node says that its disk is too full"""
        text = nodes(server)
        return text if " FULL " in text else None
    text = support.wait_for(full, step=0.2)
    assert "takes no new tasks: the disk of" in text and "berth image rm NAME" in text
    answer = ecs.run_task(taskDefinition=name, launchType="FARGATE", networkConfiguration=subnets)
    assert answer["tasks"] == [] and answer["failures"], "placed on a node without room"
    # Not a byte: what runs is untouched, and its end is written down and told.
    filler.leave(0)
    assert [task["lastStatus"] for task in describe_all(ecs, [first, second])] == ["RUNNING"] * 2
    ecs.stop_task(task=first)
    waits = support.WAITER
    ecs.get_waiter("tasks_stopped").wait(tasks=[first], WaiterConfig=waits)
    [task] = describe_all(ecs, [first])
    assert task["containers"][0]["exitCode"] == 0, task
    assert agent.poll() is None
    # An agent that starts on it takes over what it finds.
    agent.send_signal(signal.SIGKILL)
    agent.wait()
    filler.leave(0)
    agent = start_agent()

    def back():
        """its node is in contact"""
        text = nodes(server)
        return " FULL " in text
    support.wait_for(back, step=0.2)
    assert agent.poll() is None
    [task] = describe_all(ecs, [second])
    assert task["lastStatus"] == "RUNNING"
    ecs.stop_task(task=second)
    ecs.get_waiter("tasks_stopped").wait(tasks=[second], WaiterConfig=waits)
    assert describe_all(ecs, [second])[0]["containers"][0]["exitCode"] == 0
    # With room again it takes tasks, by itself.
    filler.remove()
    support.wait_for(lambda: " ACTIVE " in nodes(server), step=0.2)
    third = run()
    ecs.stop_task(task=third)
    ecs.get_waiter("tasks_stopped").wait(tasks=[third], WaiterConfig=waits)


def test_what_nothing_needs_goes(tmp_path):
    berth = support.Berth(tmp_path / "data", "--cpu-units", "8192")
    store = os.path.join(berth.data, "node/images")
    berth.start()
    try:
        berth.load("hello.tar.gz")
        ecs = berth.client()
        ecs.create_cluster(clusterName="default")
        name = definition(ecs)
        ecs.register_task_definition(
            family="short", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256",
            memory="512", containerDefinitions=[
                {"name": "main", "image": "hello", "entryPoint": ["/bin/sh", "-c"],
                 "command": ["echo short"]}])

        def run(which):
            return ecs.run_task(taskDefinition=which, launchType="FARGATE",
                                networkConfiguration=berth.network())["tasks"][0]["taskArn"]
        live, short = run(name), run("short")
        waits = support.WAITER
        ecs.get_waiter("tasks_running").wait(tasks=[live], WaiterConfig=waits)
        ecs.get_waiter("tasks_stopped").wait(tasks=[short], WaiterConfig=waits)
        assert os.path.exists(os.path.join(berth.data, "node/output", short.split("/")[-1]))
        # Of a load that was killed: a layer that no image has, and its scratch.
        os.makedirs(os.path.join(store, "layers", "ab" * 32, "fs"))
        os.makedirs(os.path.join(store, "tmp", "1-2", "half"))
        # Its last layer is in no other store of this machine, where a container could show it.
        berth.run("image", "load", images.derive(
            tmp_path / "unused.tar", "unused", [(images.entry("here"), os.urandom(16))]))
        assert "unused" in berth.run("image", "ls")
        # Only now, when all is there, does the time of what nothing needs begin to be short.
        berth.kill()
        berth.arguments += ["--cleanup-interval", "1s", "--keep-output", "2s",
                            "--remove-unused-images", "4s"]
        berth.start()
        ecs = berth.client()
        output = os.path.join(berth.data, "node/output")

        def gone():
            left = {
                "image": "unused" in berth.run("image", "ls"),
                "layer": os.path.exists(os.path.join(store, "layers", "ab" * 32)),
                "scratch": os.listdir(os.path.join(store, "tmp")),
                "output": set(os.listdir(output)) - {live.split("/")[-1]},
                "blobs": os.listdir(os.path.join(store, "blobs/sha256"))[2:],
            }
            gone.__doc__ = f"only what is in use is left, but there is {left}"
            return not any(left.values())
        support.wait_for(gone, step=0.5)
        assert "hello" in berth.run("image", "ls"), "a container shows it"
        assert berth.written(live).count("started") == 1
        assert len(os.listdir(os.path.join(store, "blobs/sha256"))) == 2
        # It is whole: another task of it starts.
        again = run(name)
        ecs.get_waiter("tasks_running").wait(tasks=[again], WaiterConfig=waits)
    finally:
        berth.stop()


def test_images_with_a_name_stay(tmp_path):
    berth = support.Berth(tmp_path / "data", "--cleanup-interval", "1s").start()
    try:
        berth.load("hello.tar.gz", "processor.tar.gz")
        orphan = os.path.join(berth.data, "node/images/layers", "cd" * 32)
        os.makedirs(orphan)
        support.wait_for(lambda: not os.path.exists(orphan), step=0.2)
        listed = berth.run("image", "ls")
        assert "hello" in listed and "processor" in listed
    finally:
        berth.stop()


@pytest.fixture
def filled(tmp_path, filler):
    """A whole Berth on a small disk, with an image and a cluster, and what fills that disk."""
    berth = support.Berth(os.path.join(filler.folder, "data"))
    berth.log = str(tmp_path / "log")
    berth.start()
    try:
        berth.load("hello.tar.gz")
        berth.client().create_cluster(clusterName="default")
        yield berth, filler
    finally:
        berth.stop()


def test_a_whole_berth_on_a_full_disk(filled):
    """Server and node end with it and begin anew: tasks go on, and what was promised is there."""
    berth, filler = filled
    ecs = berth.client()
    arn = ecs.run_task(taskDefinition=definition(ecs, stop_timeout=60), launchType="FARGATE",
                       networkConfiguration=berth.network())["tasks"][0]["taskArn"]
    ecs.get_waiter("tasks_running").wait(tasks=[arn], WaiterConfig=support.WAITER)
    berth.written(arn)
    process = berth.process.pid
    filler.fill(0)
    promised, _ = fill_store(ecs)
    for name in promised[-3:]:
        assert ecs.describe_clusters(clusters=[name])["clusters"][0]["status"] == "ACTIVE"
    [task] = describe_all(ecs, [arn])
    assert task["lastStatus"] == "RUNNING"
    assert "RUNNING" in berth.run("ps")
    filler.remove()

    def stopped():
        """the task is told to stop, now that there is room"""
        try:
            return ecs.stop_task(task=arn)
        except UNANSWERED:
            return None
    support.wait_for(stopped, step=0.2)
    ecs.get_waiter("tasks_stopped").wait(tasks=[arn], WaiterConfig=support.WAITER)
    [task] = describe_all(ecs, [arn])
    assert task["containers"][0]["exitCode"] == 0, task
    assert berth.process.poll() is None and berth.process.pid == process


def test_who_is_told_to_end_ends(filled):
    """Room on the disk is noticed while the last task takes its time: nothing begins anew."""
    berth, filler = filled
    ecs = berth.client()
    slow = ecs.register_task_definition(
        family="slow", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256",
        memory="512", containerDefinitions=[
            {"name": "main", "image": "hello", "entryPoint": ["/bin/sh", "-c"],
             "stopTimeout": 5, "command": ["trap '' TERM; while :; do sleep 0.1; done"]}],
    )["taskDefinition"]["taskDefinitionArn"]
    arn = ecs.run_task(taskDefinition=slow, launchType="FARGATE",
                       networkConfiguration=berth.network())["tasks"][0]["taskArn"]
    ecs.get_waiter("tasks_running").wait(tasks=[arn], WaiterConfig=support.WAITER)
    berth.kill()
    filler.leave(3 * MIB)
    berth.start()
    assert describe_all(ecs, [arn])[0]["lastStatus"] == "RUNNING"
    berth.process.terminate()
    filler.remove()
    assert berth.process.wait(support.PATIENCE * support.SLOW) == 0, berth.tail()
