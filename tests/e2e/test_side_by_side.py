"""Two `berth up` with different folders and ports run side by side and clean up only their own."""
import subprocess

import pytest

import support
from test_crash import leftovers


@pytest.fixture
def start(tmp_path):
    """Starts Berths, and ends those that a failing test leaves."""
    started = []

    def begin(name):
        started.append(support.Berth(tmp_path / name))
        return started[-1].start()
    yield begin
    for berth in started:
        berth.stop()


def test_two_instances(start):
    one = start("one")
    two = start("two")
    arns = {}
    for berth in (one, two):
        berth.load("hello.tar.gz")
        ecs = berth.client()
        ecs.create_cluster(clusterName="default")
        ecs.register_task_definition(
            family="hello", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256",
            memory="512", containerDefinitions=[{"name": "hello", "image": "hello"}])
        arn = ecs.run_task(taskDefinition="hello", launchType="FARGATE",
                           networkConfiguration=berth.network())["tasks"][0]["taskArn"]
        ecs.get_waiter("tasks_running").wait(tasks=[arn],
                                             WaiterConfig=support.WAITER)
        arns[berth] = arn

    def answers(berth):
        task = berth.client().describe_tasks(tasks=[arns[berth]])["tasks"][0]
        address = task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"]
        return subprocess.run(["curl", "-sf", "-m", "30", f"http://{address}:8080/"],
                              capture_output=True, check=False).returncode == 0
    support.wait_for(lambda: answers(one) and answers(two))
    assert one.stop() == 0
    assert leftovers(one) == []
    assert leftovers(two) != []
    support.wait_for(lambda: answers(two))
    assert two.stop() == 0
    assert leftovers(two) == []


def test_a_second_one_on_the_same_folder_is_refused(start):
    one = start("one")
    second = subprocess.run([support.BERTH, "up", "--data", one.data, "--listen",
                             f"127.0.0.1:{support.free_port()}"], capture_output=True, text=True,
                            timeout=support.PATIENCE, check=False)
    assert second.returncode != 0 and one.data in second.stderr
    assert one.client().list_clusters()["clusterArns"] is not None
    assert one.stop() == 0
