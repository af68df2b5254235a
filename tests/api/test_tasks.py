"""Lives of tasks that take a server, a host or an image of their own."""
import subprocess

import pytest

import stock_agent
import support

JOB = {"family": "job", "containerDefinitions": [{"name": "a", "image": "i", "memory": 64}]}


def cluster_with_host(server):
    """A client, and a connected instance of cluster `c`."""
    ecs = server.client("ecs")
    ecs.create_cluster(clusterName="c")
    ecs.register_task_definition(**JOB)
    return ecs, stock_agent.StockAgent(server, "c")


# ---- how long stopped tasks are kept ------------------------------------------------------

def test_stopped_tasks_go_after_the_time_that_was_asked_for(tmp_path):
    server = stock_agent.server(tmp_path / "server", "--keep-stopped-tasks", "1s")
    ecs, host = cluster_with_host(server)
    host.connect()
    kept, gone = (task["taskArn"] for task in
                  ecs.run_task(cluster="c", taskDefinition="job", count=2)["tasks"])
    host.task(gone, "STOPPED")

    def missing():
        """the stopped task is MISSING"""
        answer = ecs.describe_tasks(cluster="c", tasks=[kept, gone])
        return answer if answer["failures"] else None
    answer = support.wait_for(missing)
    assert answer["failures"] == [{"arn": gone, "reason": "MISSING"}]
    assert [task["taskArn"] for task in answer["tasks"]] == [kept]
    assert ecs.list_tasks(cluster="c", desiredStatus="STOPPED")["taskArns"] == []
    host.disconnect()
    assert server.stop() == 0, server.tail()


def test_stopped_tasks_are_kept_unless_asked_for(tmp_path):
    """They outlast a restart of the server; with a shorter time they go at its next start."""
    server = stock_agent.server(tmp_path / "server")
    ecs, host = cluster_with_host(server)
    host.connect()
    task = ecs.run_task(cluster="c", taskDefinition="job")["tasks"][0]["taskArn"]
    host.task(task, "STOPPED")
    host.disconnect()
    assert server.stop() == 0, server.tail()
    server.start()
    assert stock_agent.status_of(server.client("ecs"), "c", task)["lastStatus"] == "STOPPED"
    assert server.stop() == 0, server.tail()
    server.arguments = ["--keep-stopped-tasks", "1s"]
    server.start()
    ecs = server.client("ecs")

    def missing():
        """the stopped task is MISSING"""
        return ecs.describe_tasks(cluster="c", tasks=[task])["failures"]
    assert support.wait_for(missing) == [{"arn": task, "reason": "MISSING"}]
    assert server.stop() == 0, server.tail()


@pytest.mark.parametrize("word", ["7", "d", "0s", "-1s", "1.5h", "1w", "3651d", ""])
def test_a_time_that_cannot_be_read_is_refused(tmp_path, word):
    done = subprocess.run(
        [support.BERTH, "server", "--data", str(tmp_path), "--listen", "127.0.0.1:0",
         "--keep-stopped-tasks", word],
        capture_output=True, text=True, timeout=support.PATIENCE, check=False)
    assert done.returncode != 0
    assert f"--keep-stopped-tasks takes a number with a unit, such as 90s, 30m, 1h or 7d, and at " \
           f"most 3650d; not '{word}'" in done.stderr


# ---- contact ------------------------------------------------------------------------------

def test_a_host_that_falls_silent_and_comes_back(tmp_path):
    """Its tasks are DISCONNECTED, and it gets no new ones, until it is heard of again."""
    server = stock_agent.server(tmp_path / "server")
    ecs, host = cluster_with_host(server)
    others = [stock_agent.StockAgent(server).connect() for _ in range(2)]
    host.connect(berthAgent="true")  # whose lease is 3 s, not 120
    task = ecs.run_task(cluster="c", taskDefinition="job")["tasks"][0]["taskArn"]
    host.task(task, "RUNNING")
    first = stock_agent.status_of(ecs, "c", task)
    assert first["connectivity"] == "CONNECTED"
    host.silent = True

    def shown(connectivity):
        def reached():
            """its connectivity"""
            now = stock_agent.status_of(ecs, "c", task)
            return now if now["connectivity"] == connectivity else None
        return support.wait_for(reached)
    lost = shown("DISCONNECTED")
    assert lost["lastStatus"] == "RUNNING" and lost["connectivityAt"] > first["connectivityAt"]
    instance = ecs.describe_container_instances(
        cluster="c", containerInstances=[host.arn])["containerInstances"][0]
    assert instance["agentConnected"] is False and instance["status"] == "ACTIVE"
    refused = ecs.run_task(cluster="c", taskDefinition="job")["failures"]
    assert [(one["arn"], one["reason"]) for one in refused] == [(host.arn, "AGENT")]
    host.silent = False
    # That it was lost and that it came back are told as events, so each counts a version.
    # On a busy machine that happens more than once.
    times = shown("CONNECTED")["version"] - first["version"]
    assert times >= 2 and times % 2 == 0
    for agent in (host, *others):
        agent.disconnect()
    assert server.stop() == 0, server.tail()


# ---- addresses ----------------------------------------------------------------------------

def test_a_subnet_without_a_free_address(tmp_path):
    """It is no question of zones: an instance says RESOURCE:ENI, Fargate names the subnet."""
    server = stock_agent.server(tmp_path / "server", "--vpc-cidr", "10.9.0.0/24")
    ecs, host = cluster_with_host(server)
    pool = stock_agent.StockAgent(server).connect()
    host.connect()
    ecs.register_task_definition(family="vpc", networkMode="awsvpc", containerDefinitions=[
        {"name": "a", "image": "i", "memory": 64}])
    ecs.register_task_definition(**hello())
    network = server.network()
    subnet = network["awsvpcConfiguration"]["subnets"][0]
    network["awsvpcConfiguration"]["subnets"] = [subnet]
    started, failures = [], []
    while not failures:
        answer = ecs.run_task(cluster="c", taskDefinition="vpc", count=4,
                              networkConfiguration=network)
        started += answer["tasks"]
        failures = answer["failures"]
        assert len(started) < 16, "a /28 has 11 addresses"
    assert len(started) == 11
    assert [(one["arn"], one["reason"]) for one in failures] == [(host.arn, "RESOURCE:ENI")]
    answer = ecs.run_task(cluster="c", taskDefinition="hello-main", launchType="FARGATE",
                          networkConfiguration=network)
    assert answer["tasks"] == []
    assert answer["failures"][0]["reason"].startswith("Capacity is unavailable at this time.")
    assert f"subnet {subnet} has no free address" in answer["failures"][0]["detail"]
    # One that ends gives its address back.
    ecs.stop_task(cluster="c", task=started[0]["taskArn"])
    host.task(started[0]["taskArn"], "STOPPED")
    stock_agent.wait_status(ecs, "c", started[0]["taskArn"], "STOPPED")
    assert ecs.run_task(cluster="c", taskDefinition="vpc",
                        networkConfiguration=network)["failures"] == []
    for agent in (host, pool):
        agent.disconnect()
    assert server.stop() == 0, server.tail()


# ---- on a node that runs containers -------------------------------------------------------

def hello(**container):
    return {"family": "hello-" + (container.get("name") or "main"), "networkMode": "awsvpc",
            "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512",
            "containerDefinitions": [{"name": "hello", "image": "hello", **container}]}


def launch(berth, ecs, definition):
    ecs.register_task_definition(**definition)
    return ecs.run_task(taskDefinition=definition["family"], launchType="FARGATE",
                        networkConfiguration=berth.network())["tasks"][0]["taskArn"]


def test_times_follow_each_other_and_versions_count_what_happened(berth, ecs):
    arn = launch(berth, ecs, hello())
    running = stock_agent.wait_status(ecs, "default", arn, "RUNNING")
    assert running["version"] == 3
    assert ecs.stop_task(task=arn)["task"]["version"] == 4
    stopped = stock_agent.wait_status(ecs, "default", arn, "STOPPED")
    assert stopped["version"] == 6
    order = ["createdAt", "pullStartedAt", "pullStoppedAt", "startedAt", "stoppingAt",
             "executionStoppedAt", "stoppedAt"]
    times = [stopped[name] for name in order]
    assert times == sorted(times), dict(zip(order, times))
    assert stopped["createdAt"] <= stopped["connectivityAt"] <= stopped["startedAt"]
    assert stopped["containers"][0]["runtimeId"] == arn.rsplit("/", 1)[1] + "-0"
    assert stopped["containers"][0]["imageDigest"].startswith("sha256:")


def test_a_command_that_is_not_there(berth, ecs):
    arn = launch(berth, ecs, hello(name="lost", entryPoint=["/nothing/here"]))
    task = stock_agent.wait_status(ecs, "default", arn, "STOPPED")
    assert task["stopCode"] == "TaskFailedToStart"
    told = task["containers"][0]["reason"]
    assert told.split(": ")[0] in ("CannotStartContainerError", "CannotCreateContainerError"), told
    assert "/nothing/here" in told
    assert "exitCode" not in task["containers"][0] and "startedAt" not in task
