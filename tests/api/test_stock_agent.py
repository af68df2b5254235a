"""Tasks and a service on an instance with Amazon's agent, as far as the agent's end goes without
containers: tests/running_agent.py does what the real one would, and holds every frame against the
model of the protocol. tests/e2e/test_amazon_agent.py does the same with the real one."""
import json
import re
import time

import pytest

import running_agent
import stock_agent
import support
import websocket

ROLE = "arn:aws:iam::000000000000:role/"
CHECK = {"command": ["CMD-SHELL", "true"], "interval": 5, "timeout": 2, "retries": 1}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    instance = support.Berth(tmp_path_factory.mktemp("server"), "--healthy-after", "1s",
                             command="server")
    instance.start()
    yield instance
    assert instance.stop() == 0, instance.tail()


@pytest.fixture
def ecs(server, request):
    client = server.client("ecs")
    client.cluster = re.sub("[^a-z0-9_]+", "-", request.node.name)[:60]
    client.create_cluster(clusterName=client.cluster)
    return client


@pytest.fixture
def agent(server, ecs):
    made = []

    def make(kind=running_agent.RunningAgent, **options):
        options.setdefault("zone", "us-east-1a")
        if kind is stock_agent.StockAgent:
            options["joins"] = False
        made.append(kind(server, ecs.cluster, **options))
        return made[-1].connect()
    yield make
    for one in made:
        one.disconnect()
        assert one.problem is None, one.problem


def define(ecs, *containers, family=None, **more):
    whole = [{"image": "app:1", "memory": 64, **container} for container in containers]
    return ecs.register_task_definition(family=family or ecs.cluster, containerDefinitions=whole,
                                        **more)["taskDefinition"]["taskDefinitionArn"]


def run(ecs, family=None, **more):
    answer = ecs.run_task(cluster=ecs.cluster, taskDefinition=family or ecs.cluster, **more)
    assert not answer["failures"], answer["failures"]
    return answer["tasks"][0]["taskArn"]


def shown(ecs, task, status):
    return stock_agent.wait_status(ecs, ecs.cluster, task, status)


# ---- a task's life ---------------------------------------------------------------------------

def test_a_task_runs_and_is_stopped(agent, ecs):
    host = agent()
    define(ecs, {"name": "web", "portMappings": [{"containerPort": 80},
                                                 {"containerPort": 53, "protocol": "udp",
                                                  "hostPort": 5353}]},
           {"name": "log", "essential": False})
    task = run(ecs)
    seen = shown(ecs, task, "RUNNING")
    web, log = seen["containers"]
    assert web["networkBindings"] == [
        {"bindIP": "0.0.0.0", "containerPort": 80, "hostPort": 32768, "protocol": "tcp"},
        {"bindIP": "0.0.0.0", "containerPort": 53, "hostPort": 5353, "protocol": "udp"}]
    assert log["networkBindings"] == []
    for container in (web, log):
        assert container["imageDigest"] == running_agent.DIGEST
        assert container["runtimeId"] == host.running[task][container["name"]]["runtimeId"]
    assert seen["pullStartedAt"] <= seen["pullStoppedAt"]
    assert seen["containerInstanceArn"] == host.arn and seen["connectivity"] == "CONNECTED"
    ecs.stop_task(cluster=ecs.cluster, task=task, reason="enough")
    seen = shown(ecs, task, "STOPPED")
    assert (seen["stopCode"], seen["stoppedReason"]) == ("UserInitiated", "enough")
    assert [one["exitCode"] for one in seen["containers"]] == [143, 143]
    assert seen["executionStoppedAt"]
    assert [status for arn, status in host.reports if arn == task] == [
        "PENDING", "RUNNING", "STOPPED"]


def test_ports_in_the_network_of_the_host(agent, ecs):
    """The agent says nothing of them: they are what the definition has."""
    host = agent()
    define(ecs, {"name": "a", "portMappings": [{"containerPort": 80},
                                               {"containerPort": 53, "protocol": "udp"}]},
           networkMode="host")
    task = run(ecs)
    spec = host.wait_payload(task)
    assert spec["networkMode"] == "host"
    assert [one["hostPort"] for one in spec["containers"][0]["portMappings"]] == [80, 53]
    assert shown(ecs, task, "RUNNING")["containers"][0]["networkBindings"] == [
        {"bindIP": "0.0.0.0", "containerPort": 80, "hostPort": 80, "protocol": "tcp"},
        {"bindIP": "0.0.0.0", "containerPort": 53, "hostPort": 53, "protocol": "udp"}]


def test_an_essential_container_ends(agent, ecs):
    host = agent()
    define(ecs, {"name": "a"})
    task = run(ecs)
    shown(ecs, task, "RUNNING")
    host.end(task, a=3)
    seen = shown(ecs, task, "STOPPED")
    assert (seen["stopCode"], seen["stoppedReason"]) == (
        "EssentialContainerExited", "Essential container in task exited")
    assert seen["containers"][0]["exitCode"] == 3


def test_a_task_that_the_agent_cannot_read(agent, ecs):
    """It tells so and acknowledges nothing; the task has ended all the same."""
    host = agent(refuses=[ecs.cluster])
    define(ecs, {"name": "a"})
    seen = shown(ecs, run(ecs), "STOPPED")
    assert seen["stopCode"] == "TaskFailedToStart"
    assert seen["stoppedReason"].startswith("UnrecognizedTaskError: ")
    assert "exitCode" not in seen["containers"][0]
    assert host.known == {}


def test_a_service(agent, ecs):
    """Its tasks run, are replaced when one ends, make room for a new revision, and are stopped."""
    host = agent()
    first, second = define(ecs, {"name": "a"}), define(ecs, {"name": "a", "command": ["new"]})
    ecs.create_service(cluster=ecs.cluster, serviceName="s", taskDefinition=first, desiredCount=2)

    def running(revision, count):
        def reached():
            """the tasks of the service"""
            arns = ecs.list_tasks(cluster=ecs.cluster, serviceName="s")["taskArns"]
            tasks = ecs.describe_tasks(cluster=ecs.cluster, tasks=arns)["tasks"] if arns else []
            up = [task for task in tasks if task["lastStatus"] == "RUNNING"
                  and task["taskDefinitionArn"] == revision]
            return up if len(up) == len(tasks) == count else None
        return support.wait_for(reached)
    tasks = running(first, 2)
    spec = host.known[tasks[0]["taskArn"]]
    assert spec["serviceName"] == "s" and spec["group"] == "service:s"
    host.end(tasks[0]["taskArn"], a=1)
    again = {task["taskArn"] for task in running(first, 2)}
    assert tasks[0]["taskArn"] not in again and tasks[1]["taskArn"] in again
    # Later tasks of a deployment get the image of its first one.
    [new] = again - {tasks[1]["taskArn"]}
    assert host.known[new]["containers"][0]["image"] == f"app@{running_agent.DIGEST}"
    ecs.update_service(cluster=ecs.cluster, service="s", taskDefinition=second)
    new = running(second, 2)
    assert host.known[new[0]["taskArn"]]["containers"][0]["command"] == ["new"]
    assert host.known[new[0]["taskArn"]]["version"] == second.rpartition(":")[2]
    ecs.delete_service(cluster=ecs.cluster, service="s", force=True)
    support.wait_for(lambda: not host.running)


def test_health(agent, ecs):
    host = agent()
    define(ecs, {"name": "a", "healthCheck": CHECK}, {"name": "b"})
    task = run(ecs)
    assert shown(ecs, task, "RUNNING")["healthStatus"] == "UNKNOWN"
    for status in ("UNHEALTHY", "HEALTHY"):
        host.health(task, a=status)
        seen = stock_agent.status_of(ecs, ecs.cluster, task)
        assert (seen["healthStatus"], seen["containers"][0]["healthStatus"]) == (status, status)
    host.publish("PublishMetricsRequest", "AckPublishMetric", timestamp=time.time(),
                 metadata={"messageId": "m", "idle": False, "fin": True}, taskMetrics=[{
                     "taskArn": task, "clusterArn": ecs.cluster, "taskDefinitionFamily": "f",
                     "taskDefinitionVersion": "1", "containerMetrics": [{
                         "containerName": "a",
                         "cpuStatsSet": {"min": 0.0, "max": 1.5, "sampleCount": 2, "sum": 1.5},
                         "memoryStatsSet": {"min": 7, "max": 7, "sampleCount": 2, "sum": 14}}]}])


# ---- what is sent ----------------------------------------------------------------------------

def test_what_a_task_is_sent(agent, ecs):
    """One container with most of what there is: member by member is tests/unit/acs/test_acs.c."""
    host = agent(attributes=[{"name": "ecs.capability.pid-ipc-namespace-sharing"}])
    define(ecs, {
        "name": "a", "cpu": 128, "memory": 64, "memoryReservation": 32, "user": "7",
        "workingDirectory": "/w", "hostname": "h", "entryPoint": ["sh"], "command": ["-c", "x"],
        "environment": [{"name": "A", "value": "1"}], "readonlyRootFilesystem": True,
        "mountPoints": [{"sourceVolume": "v", "containerPath": "/v"}], "healthCheck": CHECK,
        "ulimits": [{"name": "nofile", "softLimit": 8, "hardLimit": 9}], "stopTimeout": 4,
        "dependsOn": [{"containerName": "b", "condition": "START"}],
        "logConfiguration": {"logDriver": "json-file", "options": {"max-size": "1m"}},
        "dockerLabels": {"x": "y"}, "extraHosts": [{"hostname": "k", "ipAddress": "10.0.0.9"}],
        "linuxParameters": {"capabilities": {"add": ["SYS_PTRACE"]}, "initProcessEnabled": True},
        "systemControls": [{"namespace": "net.core.somaxconn", "value": "9"}]}, {"name": "b"},
           cpu="256", memory="512", pidMode="task", volumes=[{"name": "v"}],
           taskRoleArn="app")
    task = run(ecs, overrides={"containerOverrides": [
        {"name": "a", "command": ["y"], "environment": [{"name": "B", "value": "2"}]}]})
    spec = host.wait_payload(task)
    assert (spec["cpu"], spec["memory"], spec["pidMode"]) == (0.25, 512, "task")
    assert (spec["family"], spec["version"], spec["launchType"]) == (ecs.cluster, "1", "EC2")
    assert spec["volumes"] == [{"name": "v", "type": "host", "host": {}}]
    container = spec["containers"][0]
    assert container["environment"] == {"AWS_EXECUTION_ENV": "AWS_ECS_EC2", "A": "1", "B": "2"}
    assert container["entryPoint"] == ["sh"] and container["command"] == ["y"]
    assert container["dependsOn"] == [{"containerName": "b", "condition": "START"}]
    assert (container["cpu"], container["memory"], container["stopTimeout"]) == (128, 64, 4)
    assert container["dockerConfig"]["version"] == "1.25"
    config, host_config = running_agent.docker(container)
    assert config == {"Hostname": "h", "User": "7", "WorkingDir": "/w", "Labels": {"x": "y"},
                      "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000,
                                      "Timeout": 2_000_000_000, "Retries": 1}}
    assert host_config == {
        "NetworkMode": "bridge", "CapAdd": ["SYS_PTRACE"], "CapDrop": [], "ReadonlyRootfs": True,
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
        "ExtraHosts": ["k:10.0.0.9"], "Ulimits": [{"Name": "nofile", "Soft": 8, "Hard": 9}],
        "MemoryReservation": 32 << 20, "Sysctls": {"net.core.somaxconn": "9"}, "Init": True}


def test_credentials(server, agent, ecs):
    """They come with the task and again behind it; they act as the role, and nobody can guess
    their name, by which the agent gives them to whoever asks."""
    host = agent()
    define(ecs, {"name": "a"}, taskRoleArn=ROLE + "app", executionRoleArn=ROLE + "pull")
    task = run(ecs)
    spec = host.wait_payload(task)
    role, execution = spec["roleCredentials"], spec["executionRoleCredentials"]
    assert (role["roleArn"], execution["roleArn"]) == (ROLE + "app", ROLE + "pull")
    assert role["credentialsId"] != execution["credentialsId"]
    assert task.rpartition("/")[2] not in role["credentialsId"].replace("-", "")
    for given, name in ((role, "app"), (execution, "pull")):
        sts = server.client("sts", aws_access_key_id=given["accessKeyId"],
                            aws_secret_access_key=given["secretAccessKey"],
                            aws_session_token=given["sessionToken"])
        assert f"assumed-role/{name}/" in sts.get_caller_identity()["Arn"]
    shown(ecs, task, "RUNNING")
    # With the next session all are sent anew, under the same names.
    host.disconnect()
    host.connect()
    fresh = {}
    while len(fresh) < 2:
        message = host.wait("IAMRoleCredentialsMessage", lambda one: one["taskArn"] == task)
        fresh[message["roleType"]] = message["roleCredentials"]
    assert fresh["TaskApplication"]["credentialsId"] == role["credentialsId"]
    assert fresh["TaskExecution"]["credentialsId"] == execution["credentialsId"]
    assert fresh["TaskApplication"]["secretAccessKey"] != role["secretAccessKey"]


def test_secrets(server, agent, ecs):
    """They are read when the task is sent, and are variables; one that is not there ends it."""
    host = agent(attributes=[{"name": f"ecs.capability.secrets.{store}.environment-variables"}
                             for store in ("ssm", "asm")])
    server.client("ssm").put_parameter(Name="/app/key", Type="SecureString", Value="open sesame")
    secret = server.client("secretsmanager").create_secret(
        Name="both", SecretString='{"user": "u", "word": "w"}')["ARN"]
    define(ecs, {"name": "a", "environment": [{"name": "A", "value": "1"}], "secrets": [
        {"name": "KEY", "valueFrom": "/app/key"}, {"name": "WORD", "valueFrom": f"{secret}:word::"}]},
           {"name": "b", "secrets": [{"name": "KEY", "valueFrom": "/app/key"}]},
           executionRoleArn=ROLE + "pull")
    task = run(ecs)
    spec = host.wait_payload(task)
    where = {"AWS_EXECUTION_ENV": "AWS_ECS_EC2"}
    assert [one["environment"] for one in spec["containers"]] == [
        {**where, "A": "1", "KEY": "open sesame", "WORD": "w"}, {**where, "KEY": "open sesame"}]
    shown(ecs, task, "RUNNING")
    define(ecs, {"name": "a", "secrets": [{"name": "KEY", "valueFrom": "/app/none"}]},
           executionRoleArn=ROLE + "pull")
    lost = run(ecs)
    seen = shown(ecs, lost, "STOPPED")
    assert seen["stopCode"] == "TaskFailedToStart"
    assert seen["stoppedReason"] == ("Fetching secret data from SSM Parameter Store in us-east-1: "
                                     "invalid parameters: /app/none")
    assert lost not in host.known


UNSUPPORTED = {
    "logConfiguration.secretOptions": ({"logConfiguration": {
        "logDriver": "splunk", "secretOptions": [{"name": "splunk-token", "valueFrom": "a"}],
        "options": {"splunk-url": "u"}}}, {}),
    "environmentFiles": ({"environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::b/a.env"}]},
                         {}),
    "repositoryCredentials": ({"repositoryCredentials": {
        "credentialsParameter": "arn:aws:secretsmanager:us-east-1:000000000000:secret:s"}}, {}),
    "dockerLabels of Berth's": ({"dockerLabels": {"berth.pre-stop": "true"}}, {}),
    "efsVolumeConfiguration": ({}, {"volumes": [{
        "name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}]}),
    "ephemeralStorage": ({}, {"ephemeralStorage": {"sizeInGiB": 30}}),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_never_placed(agent, ecs, name):
    """What the agent could only do with AWS, or not at all, keeps a task off its instance."""
    host = agent(attributes=[{"name": one} for one in (
        "com.amazonaws.ecs.capability.logging-driver.splunk", "ecs.capability.env-files.s3",
        "ecs.capability.secrets.ssm.bootstrap.log-driver", "ecs.capability.private-registry-authentication.secretsmanager",
        "ecs.capability.efsAuth")])
    container, more = UNSUPPORTED[name]
    define(ecs, {"name": "a", **container}, executionRoleArn=ROLE + "x", **more)
    [failure] = ecs.run_task(cluster=ecs.cluster, taskDefinition=ecs.cluster)["failures"]
    assert (failure["arn"], failure["reason"]) == (host.arn, "ATTRIBUTE")
    assert failure["detail"] == ("The container instance has Amazon's container agent, which does "
                                 f"not do {name} here.")
    refused = ecs.start_task(cluster=ecs.cluster, taskDefinition=ecs.cluster,
                             containerInstances=[host.arn])["failures"]
    assert [one["reason"] for one in refused] == ["ATTRIBUTE"]


# ---- sessions --------------------------------------------------------------------------------

@pytest.mark.parametrize("how", ["cut", "expired"])
def test_a_session_that_ends(agent, ecs, how):
    """All that runs is named in the next one's manifest, and nothing is started twice. The agent
    itself ends each session after half an hour."""
    host = agent()
    define(ecs, {"name": "a"})
    task = run(ecs)
    shown(ecs, task, "RUNNING")
    before = host.sequence
    if how == "expired":
        host.session.send(b"\x03\xe8ConnectionExpired: Reconnect to continue", websocket.CLOSE)
        support.wait_for(lambda: not host.describe()["agentConnected"])
    host.disconnect()
    host.connect()
    # Else the agent would drop it as an old one. It looks at it once it has come.
    support.wait_for(lambda: host.sequence > before)
    host.wait_payload(task)   # once more; the agent knows the task by its ARN
    assert [status for arn, status in host.reports if arn == task] == ["PENDING", "RUNNING"]
    assert stock_agent.status_of(ecs, ecs.cluster, task)["lastStatus"] == "RUNNING"


def test_an_unacknowledged_payload_is_sent_again(agent, ecs):
    host = agent(stock_agent.StockAgent)
    define(ecs, {"name": "a"})
    host.silent = True
    task = run(ecs)
    first = host.wait("PayloadMessage", lambda message: message["tasks"][0]["arn"] == task)
    second = host.wait("PayloadMessage", lambda message: message["tasks"][0]["arn"] == task)
    assert second["seqNum"] > first["seqNum"]
    assert stock_agent.status_of(ecs, ecs.cluster, task)["lastStatus"] == "PROVISIONING" \
        or stock_agent.status_of(ecs, ecs.cluster, task)["lastStatus"] == "PENDING"


def test_a_task_that_must_not_run(agent, ecs):
    """An agent that has one that the manifest lacks asks, and is told to stop it."""
    host = agent()
    define(ecs, {"name": "a"})
    task = run(ecs)
    shown(ecs, task, "RUNNING")
    ghost = task[:-32] + "0" * 32
    host.known[ghost] = {"desiredStatus": "RUNNING", "arn": ghost}
    host.running[ghost] = {"a": {"containerName": "a"}}
    host.disconnect()
    host.connect()
    answer = host.wait("TaskStopVerificationAck", lambda message: True)
    assert [one["taskArn"] for one in answer["stopTasks"]] == [ghost]
    support.wait_for(lambda: ghost not in host.running)
    assert stock_agent.status_of(ecs, ecs.cluster, task)["lastStatus"] == "RUNNING"


def test_a_stop_while_it_was_away(agent, ecs):
    host = agent()
    define(ecs, {"name": "a"})
    task = run(ecs)
    shown(ecs, task, "RUNNING")
    host.disconnect()
    support.wait_for(lambda: not host.describe()["agentConnected"])
    ecs.stop_task(cluster=ecs.cluster, task=task)
    # Nothing is placed where there is no session.
    [failure] = ecs.run_task(cluster=ecs.cluster, taskDefinition=ecs.cluster)["failures"]
    assert failure["reason"] == "AGENT"
    host.connect()
    assert shown(ecs, task, "STOPPED")["containers"][0]["exitCode"] == 143


def test_a_newer_session_takes_over(agent, ecs):
    """What comes to the older one is nothing any more, and it is closed."""
    host = agent(stock_agent.StockAgent)
    older = host.session
    host.connect()
    support.wait_for(lambda: older.socket.fileno() < 0 or not older_open(older))
    define(ecs, {"name": "a"})
    task = run(ecs)
    host.wait_payload(task)


def older_open(session):
    try:
        session.say("HeartbeatAckRequest", {"messageId": "1"})
        return True
    except OSError:
        return False


def test_telemetry_of_others_changes_nothing(server, agent, ecs):
    """A frame about a task of another instance is acknowledged, and its word does not count."""
    host = agent()
    other = running_agent.RunningAgent(server, ecs.cluster).connect()
    define(ecs, {"name": "a", "healthCheck": CHECK})
    task = run(ecs)
    shown(ecs, task, "RUNNING")
    [holder] = [one for one in (host, other) if task in one.running]
    [stranger] = [one for one in (host, other) if one is not holder]
    stranger.health(task, a="UNHEALTHY")
    assert stock_agent.status_of(ecs, ecs.cluster, task)["healthStatus"] == "UNKNOWN"
    holder.health(task, a="HEALTHY")
    assert stock_agent.status_of(ecs, ecs.cluster, task)["healthStatus"] == "HEALTHY"
    other.disconnect()


def test_frames_that_cannot_be_read(agent, ecs):
    """A type that is not known is dropped; a member of the wrong type closes the session."""
    host = agent(stock_agent.StockAgent)
    session = host.open_work()
    session.hear_of("TaskManifestMessage")
    session.say("SomethingNewRequest", {"a": 1})
    session.say("NackRequest", {"messageId": "1", "reason": "no"})
    session.send(json.dumps({"type": "AckRequest", "message": {"messageId": 7}}))
    with pytest.raises(ConnectionError) as closed:
        while True:
            session.hear()
    assert "messageId" in str(closed.value)
