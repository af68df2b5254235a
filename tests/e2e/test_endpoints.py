"""What a container reads from its agent at 169.254.170.2."""
import datetime
import json
import os
import urllib.error
import urllib.request

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.exceptions
import pytest

from fields import box, task

import support

GET = "wget -qO- "
ROLE = "arn:aws:iam::000000000000:role/app/reader"
CREDENTIALS = "http://169.254.170.2$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
# The agent hears of the container's start a moment after the container itself.
STARTED = "until " + GET + "$ECS_CONTAINER_METADATA_URI_V4 | grep -q '\"KnownStatus\":\"RUNNING\"'; " \
          "do sleep 0.1; done; "
ALL = STARTED + "; echo; ".join(GET + "$ECS_CONTAINER_METADATA_URI_V4" + path for path in (
    "", "/task", "/stats", "/task/stats", "/associations/gpu"))


def post(node, keys, target, body):
    """A signed call of an operation that boto3 does not know. Returns status and text."""
    request = botocore.awsrequest.AWSRequest("POST", node.endpoint, data=body, headers={
        "X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1"})
    botocore.auth.SigV4Auth(botocore.credentials.Credentials(*keys.values()), "berth",
                            "us-east-1").add_auth(request)
    try:
        with urllib.request.urlopen(urllib.request.Request(
                node.endpoint, body.encode(), dict(request.headers))) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def documents(ended, name="main"):
    return [json.loads(line) for line in ended.lines(name)]


@task(box(ALL, dockerLabels={"team": "blue", "com.amazonaws.ecs.cluster": "mine"}, cpu=128,
          memory=256, portMappings=[{"containerPort": 8080}]))
def test_metadata_v4_on_fargate(ended):
    container, whole, stats, all_stats, associations = documents(ended)
    arn = ended.task["taskArn"]
    described = ended.container()
    interface = {one["name"]: one["value"] for one in ended.task["attachments"][0]["details"]}
    assert container["DockerId"] == described["runtimeId"]
    assert container["Name"] == container["DockerName"] == "main"
    assert container["Image"] == "hello" and container["ImageID"].startswith("sha256:")
    assert container["Labels"] == {
        "team": "blue",
        "com.amazonaws.ecs.cluster": ended.task["clusterArn"],
        "com.amazonaws.ecs.container-name": "main",
        "com.amazonaws.ecs.task-arn": arn,
        "com.amazonaws.ecs.task-definition-family": "test_metadata_v4_on_fargate",
        "com.amazonaws.ecs.task-definition-version": "1"}
    assert (container["DesiredStatus"], container["KnownStatus"]) == ("RUNNING", "RUNNING")
    assert container["Limits"] == {"CPU": 128, "Memory": 256}
    assert container["Type"] == "NORMAL" and container["Snapshotter"] == "overlayfs"
    assert container["ContainerARN"] == described["containerArn"]
    assert container["LogDriver"] == "json-file"
    assert container["Ports"] == [{"ContainerPort": 8080, "Protocol": "tcp", "HostPort": 8080}]
    assert container["CreatedAt"] <= container["StartedAt"]
    network, = container["Networks"]
    assert network["NetworkMode"] == "awsvpc" and network["AttachmentIndex"] == 0
    assert network["IPv4Addresses"] == [interface["privateIPv4Address"]]
    assert network["MACAddress"] == interface["macAddress"]
    assert network["IPv4SubnetCIDRBlock"].endswith("/20")
    assert network["SubnetGatewayIpv4Address"].endswith("/20")
    assert network["PrivateDNSName"] == interface["privateDnsName"]

    assert whole["Cluster"] == ended.task["clusterArn"] and whole["TaskARN"] == arn
    assert (whole["Family"], whole["Revision"]) == ("test_metadata_v4_on_fargate", "1")
    assert (whole["DesiredStatus"], whole["KnownStatus"]) == ("RUNNING", "RUNNING")
    assert whole["Limits"] == {"CPU": 0.25, "Memory": 512}
    assert whole["AvailabilityZone"] == ended.task["availabilityZone"]
    assert whole["LaunchType"] == "FARGATE" and whole["VPCID"].startswith("vpc-")
    assert whole["FaultInjectionEnabled"] is False
    assert whole["PullStartedAt"] <= whole["PullStoppedAt"]
    assert whole["ClockDrift"]["ClockSynchronizationStatus"] in ("SYNCHRONIZED", "NOT_SYNCHRONIZED")
    assert whole["Containers"] == [container]

    assert stats["id"] == container["DockerId"]
    assert stats["cpu_stats"]["cpu_usage"]["total_usage"] > 0
    assert stats["cpu_stats"]["system_cpu_usage"] > stats["cpu_stats"]["cpu_usage"]["total_usage"]
    assert stats["cpu_stats"]["online_cpus"] > 0
    assert 0 < stats["memory_stats"]["usage"] <= stats["memory_stats"]["limit"] == 256 << 20
    assert stats["networks"]["eth0"]["tx_packets"] >= 0
    assert set(all_stats) == {container["DockerId"]}
    assert all_stats[container["DockerId"]]["read"] >= stats["read"]
    # The second look has one before it to compare with: the first, or what the agent saw since.
    second = all_stats[container["DockerId"]]
    assert stats["read"] <= second["preread"] <= second["read"]
    assert "rx_bytes_per_sec" in all_stats[container["DockerId"]]["network_rate_stats"]
    assert associations == {"Associations": []}


@task(box("env", environment=[{"name": "ECS_AGENT_URI", "value": "mine"}]))
def test_environment(ended):
    found = dict(line.split("=", 1) for line in ended.lines())
    task_id = ended.task["taskArn"].rsplit("/", 1)[1]
    uri = found["ECS_CONTAINER_METADATA_URI_V4"]
    base, name = uri.rsplit("/", 1)
    assert base == "http://169.254.170.2/v4"
    assert name.startswith(task_id + "-") and len(name) == 32 + 1 + 10
    assert found["ECS_CONTAINER_METADATA_URI"] == uri.replace("/v4/", "/v3/")
    assert found["ECS_AGENT_URI"] == uri.replace("/v4/", "/api/"), "the agent's, whatever is set"
    assert "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI" not in found, "it has no role"
    assert found["AWS_EXECUTION_ENV"] == "AWS_ECS_FARGATE"
    assert found["AWS_REGION"] == found["AWS_DEFAULT_REGION"] == "us-east-1"


OLD = (GET + "$ECS_CONTAINER_METADATA_URI; echo; " + GET + "$ECS_CONTAINER_METADATA_URI/task; echo; " +
       GET + "http://169.254.170.2/v2/metadata; echo; " +
       GET + "http://169.254.170.2/v2/stats; echo")


@task(box(STARTED + OLD, dependsOn=[{"containerName": "side", "condition": "START"}]),
      box("sleep 600", name="side", essential=False))
def test_metadata_v3_and_v2(ended):
    container, third, second, stats = documents(ended)
    assert container["Name"] == "main"
    assert third["TaskARN"] == second["TaskARN"] == ended.task["taskArn"]
    assert [one["Name"] for one in second["Containers"]] == ["main", "side"]
    assert "LaunchType" not in third and "LogDriver" not in container, "those came with version 4"
    assert set(container["Networks"][0]) == {"NetworkMode", "IPv4Addresses"}
    assert set(stats) == {one["DockerId"] for one in second["Containers"]}


@task(box(STARTED + GET + "$ECS_CONTAINER_METADATA_URI_V4/task", memory=64), ec2=True, networkMode="awsvpc")
def test_metadata_on_a_container_instance(ended):
    """The cluster's name, Docker's names, a UUID in the path, and nothing of Fargate."""
    whole, = documents(ended)
    assert whole["Cluster"] == "default" and whole["LaunchType"] == "EC2"
    container, = whole["Containers"]
    assert container["DockerName"].startswith("ecs-test_metadata_on_a_container_instance-1-main-")
    assert "Snapshotter" not in container and "ClockDrift" not in whole
    assert container["Labels"]["com.amazonaws.ecs.cluster"] == "default"


def others_ended(count):
    """Waits for the others, which are not essential: else the first to end would end them all."""
    return (f"; until test $({GET} $ECS_CONTAINER_METADATA_URI_V4/task | "
            f"grep -o 'KnownStatus\":\"STOPPED' | wc -l) = {count}; do sleep 0.1; done")


@task(box(STARTED + GET + "$ECS_CONTAINER_METADATA_URI_V4; echo; ip -o -4 addr show dev eth0 | "
          "awk '{print $4}' | cut -d/ -f1 | sed 's/.*/\"&\"/'; " + GET + CREDENTIALS +
          others_ended(2), memory=64, portMappings=[{"containerPort": 80}]),
      box(GET + "$ECS_CONTAINER_METADATA_URI_V4/task; echo; env | grep -c ^ECS_", name="side",
          memory=64, essential=False),
      box("env | grep -c ^ECS_; true", name="alone", memory=64, essential=False,
          disableNetworking=True),
      ec2=True, networkMode="bridge", taskRoleArn=ROLE)
def test_bridge(ended):
    """A socket in the namespace of each container; none in one without a network."""
    container, address, credentials = documents(ended)
    whole, count = documents(ended, "side")
    network, = container["Networks"]
    assert network == {"NetworkMode": "bridge", "IPv4Addresses": [address]}
    port, = container["Ports"]
    binding = next(one for one in ended.container()["networkBindings"] if one["bindIP"] == "0.0.0.0")
    assert port == {"ContainerPort": 80, "Protocol": "tcp", "HostPort": binding["hostPort"],
                    "HostIp": "0.0.0.0"}
    assert credentials["RoleArn"] == ROLE
    assert whole["TaskARN"] == ended.task["taskArn"] and count == 3
    assert [one["Name"] for one in whole["Containers"]] == ["main", "side", "alone"]
    assert ended.lines("alone") == ["0"]


# What a container in mode host has: whole addresses, of the host's loopback.
ON_HOST = "; ".join([
    STARTED + GET + "$ECS_CONTAINER_METADATA_URI_V4; echo", GET + "$ECS_CONTAINER_METADATA_URI_V4/task",
    "echo", "until " + GET + "$AWS_CONTAINER_CREDENTIALS_FULL_URI; do sleep 0.1; done", "echo",
    GET + "$ECS_AGENT_URI/task-protection/v1/state >/dev/null && echo 1 || echo 0",
    "env | grep -c RELATIVE_URI; true"])


@task(box(ON_HOST + others_ended(1), memory=64),
      box("env | grep -c ^ECS_; true", name="alone", memory=64, essential=False,
          disableNetworking=True),
      ec2=True, networkMode="host", taskRoleArn=ROLE)
def test_host(ended):
    container, whole, credentials, _, relative = documents(ended)
    assert container["KnownStatus"] == "RUNNING" and container["Name"] == "main"
    assert container["Networks"] == [{"NetworkMode": "host", "IPv4Addresses": []}]
    assert whole["TaskARN"] == ended.task["taskArn"] and whole["FaultInjectionEnabled"] is False
    assert credentials["RoleArn"] == ROLE and relative == 0
    assert ended.lines("alone") == ["0"]


@task(box("env | grep -e ^ECS -e ^AWS_CONT; echo end=; sleep 600", memory=64), ec2=True,
      networkMode="host", taskRoleArn=ROLE)
def test_no_other_task_gets_in_on_the_host(node, live):
    """Another task in mode host, and the host itself, reach the socket: without one of the ids,
    which nobody can guess, it tells nothing. With an id of its own neither."""
    node.until(live, lastStatus="RUNNING")
    words = dict(line.split("=", 1) for line in
                 node.written(live, "main", text="end=\n").splitlines())
    uri = words["ECS_CONTAINER_METADATA_URI_V4"]
    base = uri[:uri.index("/v4/")]
    assert base.startswith("http://127.") and base.endswith(":51679")
    with urllib.request.urlopen(uri + "/task") as answer:
        assert json.load(answer)["TaskARN"] == live
    for path in ("/", "/v2/metadata", "/v2/stats", "/v2/metadataWithTags", "/v4/", "/v4/x/task",
                 "/v3/x", "/v2/credentials", "/v2/credentials/x", "/v1/credentials?id=x",
                 "/api/x/task-protection/v1/state"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(base + path)
        assert refused.value.code in (400, 404), path
        assert live.rsplit("/", 1)[1] not in refused.value.read().decode()
    own = f"p=${{ECS_CONTAINER_METADATA_URI_V4#http://*/}}; wget -O- {base}/$p/task 2>&1 | grep -c 404"
    ended = node.stopped(node.launch("neighbour", {
        "containerDefinitions": [box(own)], "memory": "64", "networkMode": "host"},
        {"launchType": "EC2"}))
    assert ended.lines() == ["1"]
    # Nobody beyond the host: an address of loopback, bound to it.
    node.ecs.stop_task(task=live)
    node.stopped(live)

    def closed():
        """nobody listens there any more"""
        try:
            urllib.request.urlopen(base, timeout=2)
        except urllib.error.HTTPError:
            return False
        except OSError:
            return True
        return False
    support.wait_for(closed)


@task(box(STARTED + "dd if=/dev/zero of=/big bs=1M count=50 2>/dev/null; "
          + GET + "$ECS_CONTAINER_METADATA_URI_V4/task", user="0"),
      ephemeralStorage={"sizeInGiB": 21})
def test_ephemeral_storage_is_measured(ended):
    whole, = documents(ended)
    metrics = whole["EphemeralStorageMetrics"]
    assert metrics["Reserved"] == 21 * 1024 and 50 <= metrics["Utilized"] < 1024, metrics


SERVE = "httpd -p 80 -h /etc -f & until nc 127.0.0.1 80 </dev/null; do sleep 0.1; done; " + GET + "$ECS_CONTAINER_METADATA_URI_V4 >/dev/null && " \
        "wget -qO- http://127.0.0.1/hostname && wget -qO- http://127.0.0.1:80/hostname | wc -l"


@task(box(SERVE, user="0"))
def test_port_80_stays_the_containers(ended):
    assert ended.lines()[-1] == "1"


@task(box("echo $ECS_CONTAINER_METADATA_URI_V4; sleep 600"))
def test_no_other_task_gets_in(node, live):
    """Neither with another's id, nor through another's address."""
    node.until(live, lastStatus="RUNNING")
    uri = support.wait_for(lambda: node.run("logs", live, "main").strip())
    address = next(one["value"] for one in node.describe(live)["attachments"][0]["details"]
                   if one["name"] == "privateIPv4Address")
    tries = "; ".join([
        f"timeout 3 wget -O- {uri}/task 2>&1 | grep -c TaskARN",
        f"timeout 3 wget -O- {uri.replace('169.254.170.2', address)} 2>&1 | grep -c DockerId",
        f"timeout 3 wget -O- {uri.replace('169.254.170.2', address + ':51679')} 2>&1 | grep -c DockerId",
        f"ip route add 169.254.170.2 via {address} 2>/dev/null; "
        f"timeout 3 wget -O- {uri} 2>&1 | grep -c DockerId",
        GET + "$ECS_CONTAINER_METADATA_URI_V4 | grep -c DockerId"])
    ended = node.stopped(node.launch("intruder", {
        "containerDefinitions": [box(tries, user="0")], "cpu": "256", "memory": "512",
        "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"]},
        {"launchType": "FARGATE"}))
    assert ended.lines() == ["0", "0", "0", "0", "1"]


def keys_of(node, arn):
    """What a container that writes its credentials got, once it has."""
    found = json.loads(node.written(arn, "main", text="}"))
    return {"aws_access_key_id": found["AccessKeyId"],
            "aws_secret_access_key": found["SecretAccessKey"],
            "aws_session_token": found["Token"]}, found


@task(box(f"until wget -qO- {CREDENTIALS}; do sleep 0.1; done; sleep 600"), taskRoleArn=ROLE)
def test_credentials_of_the_role(node, live):
    """They act in the account as the role, under the task's name, and manage nothing of Berth."""
    keys, found = keys_of(node, live)
    assert found["RoleArn"] == ROLE
    left = datetime.datetime.fromisoformat(found["Expiration"].replace("Z", "+00:00")) - \
        datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(hours=5) < left <= datetime.timedelta(hours=6)
    identity = node.client("sts", **keys).get_caller_identity()
    task_id = live.rsplit("/", 1)[1]
    assert identity["Arn"] == f"arn:aws:sts::000000000000:assumed-role/reader/{task_id}"
    assert identity["Account"] == "000000000000" and identity["UserId"] == f"reader:{task_id}"
    assert live in node.client(**keys).list_tasks()["taskArns"]

    for change, code in (({"aws_session_token": None}, "UnrecognizedClientException"),
                         ({"aws_session_token": keys["aws_session_token"][:-8] + "AAAAAAA="},
                          "UnrecognizedClientException"),
                         ({"aws_secret_access_key": "x" * 40}, "InvalidSignatureException"),
                         ({"aws_access_key_id": "BERTHRAAAAAAAAAAAAAA"},
                          "UnrecognizedClientException")):
        with pytest.raises(botocore.exceptions.ClientError) as refused:
            node.client(**{**keys, **change}).list_tasks()
        assert refused.value.response["Error"]["Code"] == code, change
    status, text = post(node, keys, "Berth.CreateJoinToken", "{}")
    assert status == 400 and "Tasks' roles may not manage Berth itself" in text, text


@task(box("; ".join([f"until wget -qO- {CREDENTIALS} >/tmp/a; do sleep 0.1; done",
                     "grep -c reader /tmp/a",
                     "wget -O- http://169.254.170.2/v2/credentials/x 2>&1 | grep -c 400",
                     "wget -O- http://169.254.170.2/v2/credentials 2>&1 | grep -c 400"])),
      taskRoleArn=ROLE)
def test_credentials_by_their_id_only(ended):
    assert ended.lines() == ["1", "1", "1"]


@task(box(f"until wget -qO- {CREDENTIALS}; do sleep 0.1; done"), taskRoleArn=ROLE,
      run={"overrides": {"taskRoleArn": "arn:aws:iam::000000000000:role/other"}})
def test_credentials_of_another_role(ended):
    found, = documents(ended)
    assert found["RoleArn"] == "arn:aws:iam::000000000000:role/other"


def test_credentials_outlive_a_restart(node):
    """Of the server, which knows what it minted, and of the agent, which is sent it anew."""
    arn = node.launch("lasting", {
        "containerDefinitions": [box(f"until wget -qO- {CREDENTIALS}; do sleep 0.1; done; sleep 2; "
                                     "trap 'exit 0' TERM; sleep 600 & wait")],
        "cpu": "256", "memory": "512", "networkMode": "awsvpc", "taskRoleArn": ROLE,
        "requiresCompatibilities": ["FARGATE"]}, {"launchType": "FARGATE"})
    node.until(arn, lastStatus="RUNNING")
    keys, _ = keys_of(node, arn)
    node.kill()
    node.start()
    node.ecs = node.client()
    assert node.client("sts", **keys).get_caller_identity()["Arn"].endswith(arn.rsplit("/", 1)[1])
    node.ecs.stop_task(task=arn)
    node.until(arn, lastStatus="STOPPED")


PROTECT = ("until wget -qO- {get}; do sleep 0.2; done; echo; {put}").format(
    get="$ECS_AGENT_URI/task-protection/v1/state",
    put="b='{\"ProtectionEnabled\":true,\"ExpiresInMinutes\":5}'; p=${ECS_AGENT_URI#http://*/}; "
        "printf \"PUT /$p/task-protection/v1/state HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n"
        "Content-Length: ${#b}\\r\\n\\r\\n$b\" | nc 169.254.170.2 80 | tail -1; sleep 600")


def test_protection_through_the_agent(node):
    """A service's task sees and sets its own, with its role; ECS shows it."""
    node.register("protecting", {
        "containerDefinitions": [box(PROTECT)], "cpu": "256", "memory": "512",
        "networkMode": "awsvpc", "taskRoleArn": ROLE, "requiresCompatibilities": ["FARGATE"]})
    node.ecs.create_service(serviceName="protecting", taskDefinition="protecting", desiredCount=1,
                            launchType="FARGATE", networkConfiguration=node.network_arguments)

    def first():
        """the service's task"""
        return node.ecs.list_tasks(serviceName="protecting")["taskArns"]
    arn, = support.wait_for(first)

    def protected():
        """protected by itself"""
        found = node.ecs.get_task_protection(cluster="default", tasks=[arn])["protectedTasks"]
        return found and found[0]["protectionEnabled"]
    try:
        support.wait_for(protected)

        def answers():
            """both answers"""
            lines = node.run("logs", arn, "main").splitlines()
            whole = len(lines) == 2 and lines[1].endswith("}}")
            return [json.loads(line) for line in lines] if whole else None
        before, after = support.wait_for(answers)
        assert before == {"protection": {"ProtectionEnabled": False, "TaskArn": arn}}
        assert after["protection"]["ProtectionEnabled"] is True
        assert after["protection"]["TaskArn"] == arn and after["protection"]["ExpirationDate"]
    finally:
        node.ecs.delete_service(service="protecting", force=True)
        node.until(arn, lastStatus="STOPPED")


@task(box("; ".join([
    "wget -O- $ECS_AGENT_URI/task-protection/v1/state 2>&1 | grep -c 403",
    "wget -O- http://169.254.170.2/api/x/task-protection/v1/state 2>&1 | grep -c 404"])))
def test_protection_needs_a_role(ended):
    assert ended.lines() == ["1", "1"]


@task(box(GET + "$ECS_CONTAINER_METADATA_URI_V4/taskWithTags"),
      run={"tags": [{"key": "team", "value": "blue"}]})
def test_metadata_with_tags(ended):
    whole, = documents(ended)
    assert whole["TaskTags"] == {"team": "blue"}, whole
    assert "ContainerInstanceTags" not in whole and "Errors" not in whole


@task(box(GET + "$ECS_CONTAINER_METADATA_URI_V4/taskWithTags", memory=64), ec2=True,
      networkMode="awsvpc")
def test_metadata_with_tags_on_a_container_instance(ended):
    whole, = documents(ended)
    assert whole["TaskTags"] == {}, "it has none"


BUSY = "i=0; while :; do i=$((i+1)); done"


@task(box(BUSY), box("sleep 600", name="idle"), cpu="512",
      memory="1024")
def test_usage_is_published(node, live):
    """What the node saw of it, by `berth ps`, and in the metrics."""
    task_id = live.rsplit("/", 1)[1]

    def percent(line):
        return float(next(word for word in line.split() if word.endswith("%"))[:-1])

    def shown():
        rows = {line.split()[0]: line for line in node.run("ps", live).splitlines()[1:] if line}
        shown.__doc__ = f"both containers, with what they take: {rows}"
        if not rows.get("main", "").count("%") or not rows["idle"].count("%"):
            return None
        # Its quota is half a CPU; how much of it this machine gave is not the test's to say. What
        # is shown at first may have the start of the containers in it.
        return rows if 1 < percent(rows["main"]) < 75 and percent(rows["idle"]) < 1 else None
    rows = support.wait_for(shown, step=0.5)
    assert "MiB" in rows["main"] and "MiB" in rows["idle"]
    line = next(one for one in node.run("ps").splitlines() if task_id in one)
    assert "%" in line and "MiB" in line

    def measured():
        """the same in the metrics"""
        with urllib.request.urlopen(node.endpoint + "/metrics") as answer:
            text = answer.read().decode()
        values = dict(line.rsplit(" ", 1) for line in text.splitlines()
                      if line.startswith("berth_tasks"))
        return (float(values["berth_tasks_measured"]) >= 1
                and float(values["berth_tasks_cpu_cores"]) > 0.01
                and float(values["berth_tasks_memory_bytes"]) > 0)
    support.wait_for(measured, step=0.5)


FLOOD = "; ".join([
    "p=${ECS_CONTAINER_METADATA_URI_V4#http://169.254.170.2}",
    "i=0; while [ $i -lt 2000 ]; do printf 'GET %s HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' $p; i=$((i+1)); "
    "done > /tmp/flood",
    "printf 'GET %s HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' $p >> /tmp/flood",
    "nc -w 90 169.254.170.2 80 < /tmp/flood > /tmp/answers",
    "echo served $(grep -o 'HTTP/1.1 200' /tmp/answers | wc -l)",
    "echo refused $(grep -o 'HTTP/1.1 429' /tmp/answers | wc -l)",
    "sleep 1; " + GET + "$ECS_CONTAINER_METADATA_URI_V4 | grep -c DockerId"])


@task(box(FLOOD))
def test_a_task_is_throttled(ended):
    """60 requests at once and 40 a second; after a second it is served again."""
    lines = ended.lines()
    counts = dict(line.split() for line in lines[-3:-1])
    assert int(counts["served"]) >= 60 and int(counts["refused"]) > 0, lines
    assert lines[-1] == "1"


HOSTILE = "; ".join([
    "a=169.254.170.2",
    "printf 'GET / HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 99999999\\r\\n\\r\\n' | nc -w 1 $a 80",
    "printf 'GET /%s HTTP/1.1\\r\\n\\r\\n' $(head -c 20000 /dev/zero | tr '\\0' a) | nc -w 1 $a 80",
    "head -c 100000 /dev/urandom | nc -w 1 $a 80",
    "printf 'PUT /api/x/task-protection/v1/state HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 9\\r\\n\\r\\n"
    "[[[[[[[[[' | nc -w 1 $a 80",
    "i=0; while [ $i -lt 50 ]; do (sleep 3 | nc $a 80) & i=$((i+1)); done",
    "wait",
    "echo; " + GET + "$ECS_CONTAINER_METADATA_URI_V4 | grep -c DockerId"])


@task(box(HOSTILE))
def test_hostile_input_ends_nothing(ended):
    assert ended.lines()[-1] == "1"


@pytest.mark.parametrize("mode", ["awsvpc", "bridge", "host"])
def test_an_agent_that_comes_back_answers(node, mode):
    """After a kill -9: the socket is the agent's, and is opened again when the task is taken over."""
    arn = node.launch("kept", {
        "containerDefinitions": [box(
            "while :; do timeout 2 wget -qO- $ECS_CONTAINER_METADATA_URI_V4 >/tmp/a 2>/dev/null "
            "&& echo answered || echo refused; sleep 0.2; done")],
        "cpu": "256", "memory": "512", "networkMode": mode}, {"launchType": "EC2"})
    node.until(arn, lastStatus="RUNNING")

    def lines():
        return node.run("logs", arn, "main", check=False).stdout.split()
    support.wait_for(lambda: "answered" in lines())
    node.kill()
    output = os.path.join(node.data, "node/output", arn.rsplit("/", 1)[1], "main/log")

    def nobody():
        """the container found nobody there"""
        with open(output, "rb") as file:
            return b"refused" in file.read()
    support.wait_for(nobody)
    node.start()
    node.ecs = node.client()

    def answers_again():
        """answered, refused and answered again"""
        found = lines()
        return "refused" in found and found[-1] == "answered"
    support.wait_for(answers_again)
    assert node.describe(arn)["lastStatus"] == "RUNNING"
    node.ecs.stop_task(task=arn)
    node.until(arn, lastStatus="STOPPED")
