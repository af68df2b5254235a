"""Amazon's real agent in a cluster of Berth's, with real containers: see amazon.py for what it
needs, without which all of this is skipped."""
import os
import signal
import urllib.request

import pytest

import amazon
import stock_agent
import support
from amazon import docker  # noqa: F401  (a fixture)

CLUSTER = "shop"
REDIS = "redis:6-alpine"  # has a shell


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    # The agent remembers for half a day where its sessions are, so they need an address that lasts.
    instance = support.Berth(tmp_path_factory.mktemp("server"), "--healthy-after", "1s",
                             "--session-listen", f"127.0.0.1:{support.free_port()}",
                             command="server")
    instance.start()
    instance.client("ecs").create_cluster(clusterName=CLUSTER)
    yield instance
    assert instance.stop() == 0, instance.tail()


@pytest.fixture(scope="module")
def agent(tmp_path_factory, docker, server):  # noqa: F811
    one = amazon.Agent(tmp_path_factory.mktemp("agent"), server, docker, CLUSTER).start()
    try:
        one.wait_connected()
        yield one
        assert not one.complaints()
    finally:
        one.stop()


@pytest.fixture
def ecs(server, agent, request):
    client = server.client("ecs")
    client.family = request.node.name[:60]
    return client


def define(ecs, *containers, **more):
    whole = [{"image": REDIS, "memory": 64, **container} for container in containers]
    ecs.register_task_definition(family=ecs.family, containerDefinitions=whole, **more)


def run(ecs, *containers, **more):
    define(ecs, *containers, **more)
    answer = ecs.run_task(cluster=CLUSTER, taskDefinition=ecs.family)
    assert not answer["failures"], answer["failures"]
    return answer["tasks"][0]["taskArn"]


def shown(ecs, agent, task, status, seconds=support.PATIENCE):
    def reached():
        """the task's status"""
        assert agent.process.poll() is None, agent.tail()
        now = stock_agent.status_of(ecs, CLUSTER, task)
        assert now["lastStatus"] != "STOPPED" or status == "STOPPED", now
        return now if now["lastStatus"] == status else None
    return support.wait_for(reached, seconds, 0.1)


def stop(ecs, agent, task):
    ecs.stop_task(cluster=CLUSTER, task=task)
    return shown(ecs, agent, task, "STOPPED")


def test_the_instance(agent):
    instance = agent.instance()
    assert instance["status"] == "ACTIVE"
    assert instance["versionInfo"]["agentVersion"] and instance["versionInfo"]["agentHash"]
    assert instance["versionInfo"]["dockerVersion"].startswith("DockerVersion: ")

    def healthy():
        """what it says of its own health"""
        health = agent.instance("CONTAINER_INSTANCE_HEALTH")["healthStatus"]
        return health["overallStatus"] == "OK"
    support.wait_for(healthy, step=0.5)


def test_a_task_runs_and_is_stopped(ecs, agent, docker):  # noqa: F811
    task = run(ecs, {"name": "web", "image": "hello:latest", "cpu": 128, "essential": True,
                     "portMappings": [{"containerPort": 8080}]})
    seen = shown(ecs, agent, task, "RUNNING")
    web = seen["containers"][0]
    [binding] = [one for one in web["networkBindings"] if one["bindIP"] == "0.0.0.0"]
    assert binding["containerPort"] == 8080
    with urllib.request.urlopen(f"http://127.0.0.1:{binding['hostPort']}/", timeout=10) as answer:
        assert answer.status == 200
    made = docker.inspect(web["runtimeId"])
    assert made["HostConfig"]["CpuShares"] == 128
    assert made["HostConfig"]["Memory"] == 64 << 20
    assert made["Config"]["Labels"]["com.amazonaws.ecs.task-arn"] == task
    assert "AWS_EXECUTION_ENV=AWS_ECS_EC2" in made["Config"]["Env"]
    seen = stop(ecs, agent, task)
    assert seen["stopCode"] == "UserInitiated" and "exitCode" in seen["containers"][0]


def test_what_a_container_is_given(ecs, agent, docker):  # noqa: F811
    """Seen from inside, and as Docker has it."""
    script = ("id -u; pwd; hostname; ulimit -n; grep -c ' /scratch tmpfs' /proc/mounts; "
              "touch /x || echo readonly; echo $A $B; cat /v/word; cat /proc/1/comm; "
              "grep other /etc/hosts; exit 3")
    task = run(ecs, {
        "name": "main", "entryPoint": ["sh", "-c"], "command": [script], "user": "1234",
        "workingDirectory": "/tmp", "hostname": "inside", "readonlyRootFilesystem": True,
        "environment": [{"name": "A", "value": "a b"}, {"name": "B", "value": "=c"}],
        "ulimits": [{"name": "nofile", "softLimit": 100, "hardLimit": 200}],
        "extraHosts": [{"hostname": "other", "ipAddress": "10.9.8.7"}], "memoryReservation": 32,
        "linuxParameters": {"initProcessEnabled": True, "sharedMemorySize": 8, "tmpfs": [
            {"containerPath": "/scratch", "size": 4, "mountOptions": ["noexec"]}]},
        "mountPoints": [{"sourceVolume": "shared", "containerPath": "/v", "readOnly": True}],
        "dependsOn": [{"containerName": "first", "condition": "SUCCESS"}],
        "logConfiguration": {"logDriver": "json-file", "options": {"max-size": "1m"}},
        "systemControls": [{"namespace": "net.core.somaxconn", "value": "77"}],
        "dockerLabels": {"mine": "yes"}, "stopTimeout": 3},
        {"name": "first", "essential": False, "user": "0", "entryPoint": ["sh", "-c"],
         "command": ["echo word > /v/word"],
         "mountPoints": [{"sourceVolume": "shared", "containerPath": "/v"}]},
        volumes=[{"name": "shared"}])
    seen = shown(ecs, agent, task, "STOPPED")
    assert (seen["stopCode"], seen["stoppedReason"]) == (
        "EssentialContainerExited", "Essential container in task exited")
    by_name = {one["name"]: one for one in seen["containers"]}
    assert by_name["first"]["exitCode"] == 0
    main = by_name["main"]
    assert main["exitCode"] == 3
    lines = docker.output(main["runtimeId"]).splitlines()
    assert lines[:9] == ["1234", "/tmp", "inside", "100", "1", "readonly", "a b =c", "word",
                         "docker-init"]
    assert lines[9].split() == ["10.9.8.7", "other"]
    made = docker.inspect(main["runtimeId"])
    host = made["HostConfig"]
    assert host["MemoryReservation"] == 32 << 20 and host["ShmSize"] == 8 << 20
    assert host["Sysctls"] == {"net.core.somaxconn": "77"}
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "1m"}}
    assert made["Config"]["Labels"]["mine"] == "yes"


def test_the_size_of_the_task(ecs, agent, docker):  # noqa: F811
    """The agent makes a cgroup for the whole, and the containers within."""
    names = {one["name"] for one in agent.instance()["attributes"]}
    if "ecs.capability.task-cpu-mem-limit" not in names or not os.path.isdir(
            "/sys/fs/cgroup/memory"):
        pytest.skip("here are no cgroups of version 1 that the agent could use for tasks")
    task = run(ecs, {"name": "main", "command": ["redis-server"]}, cpu="512", memory="128")
    seen = shown(ecs, agent, task, "RUNNING")
    parent = docker.inspect(seen["containers"][0]["runtimeId"])["HostConfig"]["CgroupParent"]
    assert parent == f"/ecs/{task.rpartition('/')[2]}"
    with open(f"/sys/fs/cgroup/memory{parent}/memory.limit_in_bytes", encoding="ascii") as file:
        assert int(file.read()) == 128 << 20
    with open(f"/sys/fs/cgroup/cpu{parent}/cpu.cfs_quota_us", encoding="ascii") as file:
        quota = int(file.read())
    with open(f"/sys/fs/cgroup/cpu{parent}/cpu.cfs_period_us", encoding="ascii") as file:
        assert quota / int(file.read()) == 0.5
    stop(ecs, agent, task)


def test_the_network_of_the_host(ecs, agent):
    task = run(ecs, {"name": "web", "image": "hello:latest",
                     "portMappings": [{"containerPort": 8080}]}, networkMode="host")
    seen = shown(ecs, agent, task, "RUNNING")
    with urllib.request.urlopen("http://127.0.0.1:8080/", timeout=10) as answer:
        assert answer.status == 200
    assert {one["hostPort"] for one in seen["containers"][0]["networkBindings"]} == {8080}
    stop(ecs, agent, task)


def test_health(ecs, agent):
    """It comes over the telemetry session, every twenty seconds."""
    task = run(ecs, {"name": "main", "command": ["redis-server"], "healthCheck": {
        "command": ["CMD-SHELL", "test ! -e /tmp/sick"], "interval": 5, "retries": 1}})
    shown(ecs, agent, task, "RUNNING")

    def healthy():
        """health"""
        return stock_agent.status_of(ecs, CLUSTER, task)["healthStatus"] == "HEALTHY"
    support.wait_for(healthy, step=0.5)
    stop(ecs, agent, task)


def test_credentials(server, ecs, agent, docker):  # noqa: F811
    task = run(ecs, {"name": "main", "command": ["redis-server"]},
               taskRoleArn="arn:aws:iam::000000000000:role/app")
    seen = shown(ecs, agent, task, "RUNNING")
    variables = docker.inspect(seen["containers"][0]["runtimeId"])["Config"]["Env"]
    [where] = [one.partition("=")[2] for one in variables
               if one.startswith("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=")]
    given = agent.credentials(where.rpartition("/")[2])
    assert given["RoleArn"] == "arn:aws:iam::000000000000:role/app"
    sts = server.client("sts", aws_access_key_id=given["AccessKeyId"],
                        aws_secret_access_key=given["SecretAccessKey"],
                        aws_session_token=given["Token"])
    assert "assumed-role/app/" in sts.get_caller_identity()["Arn"]
    stop(ecs, agent, task)


def test_a_service(ecs, agent, docker):  # noqa: F811
    define(ecs, {"name": "main", "command": ["redis-server"]},
           taskRoleArn="arn:aws:iam::000000000000:role/app")
    ecs.create_service(cluster=CLUSTER, serviceName="s", taskDefinition=ecs.family, desiredCount=2)

    def running():
        """the service's tasks"""
        arns = ecs.list_tasks(cluster=CLUSTER, serviceName="s")["taskArns"]
        tasks = ecs.describe_tasks(cluster=CLUSTER, tasks=arns)["tasks"] if arns else []
        return tasks if len(tasks) == 2 and all(
            task["lastStatus"] == "RUNNING" for task in tasks) else None
    before = support.wait_for(running, step=0.2)
    # A task asks its agent for protection, and that the server with the keys of the task's role.
    told = agent.protect(docker.inspect(before[1]["containers"][0]["runtimeId"]))["protection"]
    assert told["TaskArn"] == before[1]["taskArn"] and told["ProtectionEnabled"] is True
    [protected] = ecs.get_task_protection(
        cluster=CLUSTER, tasks=[before[1]["taskArn"]])["protectedTasks"]
    assert protected["protectionEnabled"] is True
    docker.run("kill", before[0]["containers"][0]["runtimeId"])

    def replaced():
        """a task in place of the one that was killed"""
        now = running()
        return now if now and before[0]["taskArn"] not in {one["taskArn"] for one in now} else None
    support.wait_for(replaced, step=0.2)
    killed = stock_agent.status_of(ecs, CLUSTER, before[0]["taskArn"])
    assert killed["containers"][0]["exitCode"] == 137
    ecs.delete_service(cluster=CLUSTER, service="s", force=True)
    support.wait_for(lambda: not ecs.list_tasks(cluster=CLUSTER)["taskArns"], step=0.2)


def test_it_is_started_again(ecs, agent, docker):  # noqa: F811
    """A task outlives its agent, which tells afterwards what became of it."""
    task = run(ecs, {"name": "main", "command": ["redis-server"]})
    runtime_id = shown(ecs, agent, task, "RUNNING")["containers"][0]["runtimeId"]
    agent.stop(signal.SIGKILL)
    support.wait_for(lambda: not agent.instance()["agentConnected"], step=0.2)
    ecs.stop_task(cluster=CLUSTER, task=task)
    agent.start()
    agent.wait_connected()
    shown(ecs, agent, task, "STOPPED")
    assert docker.inspect(runtime_id)["State"]["Running"] is False


def test_the_server_is_killed(server, ecs, agent, docker):  # noqa: F811
    """The agent comes back by itself; tasks ran on meanwhile, and are stopped afterwards."""
    task = run(ecs, {"name": "main", "command": ["redis-server"]})
    runtime_id = shown(ecs, agent, task, "RUNNING")["containers"][0]["runtimeId"]
    server.kill()
    assert docker.inspect(runtime_id)["State"]["Running"] is True
    server.start()
    agent.wait_connected(150)
    assert stock_agent.status_of(ecs, CLUSTER, task)["lastStatus"] == "RUNNING"
    again = run(ecs, {"name": "main", "command": ["redis-server"]})
    shown(ecs, agent, again, "RUNNING")
    for one in (task, again):
        stop(ecs, agent, one)
    assert docker.inspect(runtime_id)["State"]["Running"] is False


def test_secrets(server, ecs, agent, docker):  # noqa: F811
    """Here is no AWS that it could ask for them: they come as variables."""
    server.client("ssm").put_parameter(Name="/word", Type="SecureString", Value="open sesame")
    task = run(ecs, {"name": "main", "command": ["sh", "-c", "echo $WORD"],
                     "secrets": [{"name": "WORD", "valueFrom": "/word"}]},
               executionRoleArn="arn:aws:iam::000000000000:role/x")
    seen = shown(ecs, agent, task, "STOPPED")
    assert docker.output(seen["containers"][0]["runtimeId"]) == "open sesame\n"


def test_what_it_cannot_is_not_placed(ecs, agent):
    """It says that it reads files of variables; it would ask S3 for them."""
    names = {one["name"] for one in agent.instance()["attributes"]}
    assert "ecs.capability.env-files.s3" in names
    define(ecs, {"name": "main", "environmentFiles": [
        {"type": "s3", "value": "arn:aws:s3:::bucket/a.env"}]},
           executionRoleArn="arn:aws:iam::000000000000:role/x")
    [failure] = ecs.run_task(cluster=CLUSTER, taskDefinition=ecs.family)["failures"]
    assert failure["reason"] == "ATTRIBUTE"
    assert "does not do environmentFiles here" in failure["detail"]


def test_output_is_dockers(server, ecs, agent):
    task = run(ecs, {"name": "main", "command": ["redis-server"]})
    shown(ecs, agent, task, "RUNNING")
    done = server.run("logs", "--cluster", CLUSTER, task, check=False)
    assert done.returncode != 0 and "Amazon's container agent" in done.stderr
    stop(ecs, agent, task)
