"""Why tasks are where they are, or nowhere: every reason at the right host, and ends of tasks told apart.

The first part has a server with hosts that this process plays: each is in contact and has a flaw.
The second has a real node, whose containers end in different ways.
"""
import json
import subprocess

import pytest

import fake_node
import raw
import support

ADDRESS = "198.18.0.77"
DRIVERS = "com.amazonaws.ecs.capability.docker-remote-api.1.19"  # what log drivers ask besides
LOGS = "com.amazonaws.ecs.capability.logging-driver.awslogs"


class Host(fake_node.FakeNode):
    """A container instance of the cluster `c`: a joined node, in contact unless told."""

    def __init__(self, berth, name, zone="a", units=1024, attributes=(), connected=True):
        admin = raw.Caller(berth, service="berth")
        token = admin("CreateJoinToken")["token"].split(".")
        token = token[1:] if token[0] == "berth1" else token
        joined = admin("JoinNode", tokenId=token[0], tokenSecret=token[1], name=name)
        admin.close()
        self.name, self.zone, self.extra = name, berth.keys["region"] + zone, attributes
        self.berth, self.cluster = berth, "c"
        self.key = (joined["accessKeyId"], joined["secretAccessKey"])
        self.caller = raw.Caller(berth, *self.key)
        self.session, self.thread, self.ending = None, None, False
        self.arns = {"c": self.register("c", units)}
        if connected:
            self.connect(berthAgent="true")

    def register(self, cluster, units):
        attributes = [*fake_node.CAPABILITIES, DRIVERS, *self.extra]
        return self.caller(
            "RegisterContainerInstance", cluster=cluster,
            totalResources=[{"name": name, "type": "INTEGER", "integerValue": units}
                            for name in ("CPU", "MEMORY")],
            attributes=[{"name": name, "value": "yes"} if name == "rack" else {"name": name}
                        for name in attributes] +
            [{"name": "ecs.availability-zone", "value": self.zone}],
            )["containerInstance"]["containerInstanceArn"]


class Fleet:
    """A server, four hosts in contact, and one that never was."""

    def __init__(self, berth):
        self.berth = berth
        self.ecs = berth.client("ecs")
        self.ecs.create_cluster(clusterName="c")
        self.ecs.create_cluster(clusterName="empty")
        self.hosts = {host.name: host for host in [
            Host(berth, "large", units=4096, attributes=["rack", LOGS]),
            Host(berth, "small", units=64), Host(berth, "far", zone="b"),
            Host(berth, "drained"), Host(berth, "silent", connected=False)]}
        self.ecs.update_container_instances_state(
            cluster="c", containerInstances=[self.hosts["drained"].arn], status="DRAINING")
        for family, changes in {
                "job": {"memory": 256, "cpu": 256}, "huge": {"memory": 9000, "cpu": 256},
                "port": {"portMappings": [{"containerPort": 80, "hostPort": 8080}]},
                "logs": {"logConfiguration": {"logDriver": "awslogs", "options": {
                    "awslogs-group": "g", "awslogs-region": berth.keys["region"]}}}}.items():
            self.ecs.register_task_definition(family=family, containerDefinitions=[
                {"name": "a", "image": "a", "memory": 8, **changes}])
        self.ecs.register_task_definition(
            family="own", networkMode="awsvpc",
            containerDefinitions=[{"name": "a", "image": "a", "memory": 8}])

    def diagnose(self, *arguments, status=None):
        """`berth diagnose --json`: what it printed, once its exit status was looked at."""
        done = self.berth.run("diagnose", "--json", *arguments, check=False)
        assert done.stderr == "" and done.returncode == (status if status is not None else 1), done
        return json.loads(done.stdout)

    def plan(self, definition, *arguments, status=0):
        """Reasons by the name of each host, of a dry run in the cluster `c`."""
        answer = self.diagnose("--task-definition", definition, "--cluster", "c", *arguments,
                               status=status)
        assert answer["hostCount"] == len(self.hosts)
        return answer, reasons(answer)

    def refused(self, **request):
        """Reasons by host of a RunTask, as the failures tell; none of its tasks may be placed."""
        answer = self.ecs.run_task(cluster="c", **request)
        assert answer["tasks"] == []
        names = {host.arn: name for name, host in self.hosts.items()}
        return {names[failure["arn"]]: failure["reason"] for failure in answer["failures"]}


def reasons(answer):
    return {host["name"]: [reason["reason"] for reason in host.get("reasons", [])]
            for host in answer["hosts"]}


def detail(answer, name, reason):
    return next(each for host in answer["hosts"] if host["name"] == name
                for each in host["reasons"] if each["reason"] == reason)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    # Hosts may join only a server that listens off loopback, with TLS.
    subprocess.run(["ip", "address", "add", f"{ADDRESS}/32", "dev", "lo"], check=True)
    server = support.Berth(tmp_path_factory.mktemp("fleet"), command="server", address=ADDRESS,
                           port=support.free_port(ADDRESS)).start()
    made = Fleet(server)
    yield made
    for host in made.hosts.values():
        host.close()
    assert server.stop() == 0, server.tail()
    subprocess.run(["ip", "address", "del", f"{ADDRESS}/32", "dev", "lo"], check=True)


def test_where_tasks_go_is_told_and_nothing_is_done(fleet):
    answer, by_host = fleet.plan("job", "--count", "6")
    assert answer["placedCount"] == 6 and len(answer["tasks"]) == 6
    assert answer["summary"] == "All 6 tasks find a place."
    assert {host["name"]: host["taskCount"] for host in answer["hosts"]} == {
        "large": 3, "small": 0, "far": 3, "drained": 0, "silent": 0}
    assert by_host == {"large": [], "small": ["RESOURCE:CPU", "RESOURCE:MEMORY"], "far": [],
                       "drained": ["INACTIVE"], "silent": ["AGENT"]}
    assert fleet.ecs.list_tasks(cluster="c")["taskArns"] == []
    assert fleet.diagnose("--cluster", "c", status=0)["unplaced"] == []


def test_too_large(fleet):
    answer, by_host = fleet.plan("huge", status=1)
    assert by_host["large"] == ["RESOURCE:MEMORY"] and by_host["far"] == ["RESOURCE:MEMORY"]
    told = detail(answer, "large", "RESOURCE:MEMORY")
    assert (told["asked"], told["free"], told["total"]) == (9000, 4096, 4096)
    assert "never fits" in told["detail"]
    assert {each["reason"]: each["hostCount"] for each in answer["reasonCounts"]} == {
        "RESOURCE:MEMORY": 5, "RESOURCE:CPU": 1, "INACTIVE": 1, "AGENT": 1}
    # Of each host, RunTask says the first of them.
    failures = fleet.refused(taskDefinition="huge")
    assert failures == {name: told[0] for name, told in by_host.items()}


def test_attribute_missing(fleet):
    _, by_host = fleet.plan("logs")
    assert by_host["large"] == [] and by_host["far"] == ["ATTRIBUTE"]
    answer, _ = fleet.plan("logs", "--cpu", "512", "--memory", "512")
    assert detail(answer, "far", "ATTRIBUTE")["subject"] == LOGS


def test_constraint_unsatisfied(fleet):
    answer, by_host = fleet.plan("job", "--constraint", "attribute:rack == no",
                                 "--constraint", "distinctInstance", status=1)
    assert by_host["large"] == by_host["far"] == ["MemberOf placement constraint unsatisfied."]
    assert detail(answer, "far", by_host["far"][0])["subject"] == "attribute:rack == no"
    failures = fleet.refused(taskDefinition="job", placementConstraints=[
        {"type": "memberOf", "expression": "attribute:rack == no"}])
    assert failures["large"] == by_host["large"][0]
    answer, by_host = fleet.plan("job", "--constraint", "distinctInstance", "--count", "3",
                                 status=1)
    assert answer["placedCount"] == 2
    assert by_host["large"] == ["DistinctInstance placement constraint unsatisfied."]


def test_wrong_zone(fleet):
    network = raw.Caller(fleet.berth, service="berth")
    subnet = next(each["subnetId"] for each in network("DescribeNetwork")["subnets"]
                  if each["availabilityZone"] == fleet.hosts["far"].zone)
    network.close()
    answer, by_host = fleet.plan("own", "--launch-type", "EC2", "--subnets", subnet)
    assert by_host["far"] == [] and by_host["large"] == ["LOCATION"]
    assert detail(answer, "large", "LOCATION")["subject"] == fleet.hosts["large"].zone
    assert answer["tasks"][0]["subnetId"] == subnet


def test_port_taken(fleet):
    ran = fleet.ecs.run_task(cluster="c", taskDefinition="port", startedBy="first")["tasks"][0]
    at = next(name for name, host in fleet.hosts.items()
              if host.arn == ran["containerInstanceArn"])
    answer, by_host = fleet.plan("port")
    assert by_host[at] == ["RESOURCE:PORTS"]
    told = detail(answer, at, "RESOURCE:PORTS")
    assert told["subject"] == "8080/tcp" and ran["taskArn"].rsplit("/", 1)[1] in told["detail"]
    ran = fleet.ecs.start_task(cluster="c", taskDefinition="port",
                               containerInstances=[fleet.hosts[at].arn])
    assert [each["reason"] for each in ran["failures"]] == ["RESOURCE:PORTS"]
    newest = fleet.diagnose("--cluster", "c")["unplaced"][0]
    assert newest["operation"] == "StartTask" and reasons(newest) == {at: ["RESOURCE:PORTS"]}


def test_what_found_no_place_is_remembered(fleet):
    fleet.refused(taskDefinition="huge", startedBy="memory", group="g")
    fleet.refused(taskDefinition="huge", startedBy="memory", group="g")
    newest = fleet.diagnose("--cluster", "c")["unplaced"][0]
    assert newest["operation"] == "RunTask" and newest["startedBy"] == "memory"
    assert newest["group"] == "g" and newest["times"] == 2
    assert (newest["askedCount"], newest["placedCount"]) == (1, 0)
    assert reasons(newest)["large"] == ["RESOURCE:MEMORY"]
    shown = fleet.berth.run("diagnose", check=False)
    assert shown.returncode == 1 and "huge:1 in cluster c" in shown.stdout
    assert "The task asks for 9000 MiB" in shown.stdout and "try:  berth" in shown.stdout
    # A cluster without instances is refused by RunTask, and told of all the same.
    with pytest.raises(fleet.ecs.exceptions.InvalidParameterException):
        fleet.ecs.run_task(cluster="empty", taskDefinition="job")
    assert "has no container instances" in fleet.diagnose("--cluster", "empty")["unplaced"][0][
        "summary"]


def test_agent_gone(fleet):
    lost = Host(fleet.berth, "gone")
    fleet.hosts["gone"] = lost
    assert fleet.plan("job")[1]["gone"] == []
    task = fleet.ecs.start_task(cluster="c", taskDefinition="job", containerInstances=[lost.arn])
    task = task["tasks"][0]["taskArn"]

    def confirmed():
        """a task that its host confirmed"""
        return fleet.diagnose(task, status=0)["cause"] == "Starting"
    support.wait_for(confirmed)
    lost.close()

    def silent():
        """a host that nobody heard of for its lease"""
        return fleet.plan("job")[1]["gone"] == ["AGENT"]
    support.wait_for(silent)
    assert "last heard of" in detail(fleet.plan("job")[0], "gone", "AGENT")["detail"]
    assert fleet.refused(taskDefinition="huge")["gone"] == "AGENT"
    answer = fleet.diagnose(task, status=1)
    assert answer["cause"] == "AgentLost" and answer["nodeInContact"] is False
    assert answer["summary"].startswith("It waits for its host: host gone was last heard of")
    assert "try:  berth node ls" in fleet.berth.run("diagnose", task, check=False).stdout


@pytest.mark.parametrize("arguments, problem", [
    (["--count", "3"], "need --task-definition"),
    (["--task-definition", "job", "--strategy", "best"], "'best' is no strategy"),
    (["--task-definition", "job", "--launch-type", "MOON"], "'MOON' is no launch type"),
    (["--task-definition", "job", "--count", "0"], "'0' is no count from 1 to 1000"),
    (["one", "two"], "'two' is no"),
])
def test_wrong_command_lines(fleet, arguments, problem):
    done = fleet.berth.run("diagnose", *arguments, check=False)
    assert done.returncode == 2 and problem in done.stderr, done


def test_unknown_things(fleet):
    for arguments, problem in [(["--task-definition", "none"], "Unable to describe"),
                               (["nope", "--cluster", "c"],
                                "there is no service 'nope' in cluster 'c'"),
                               (["0" * 32], "There is no task 0000000"),
                               (["--cluster", "none"], "Cluster not found")]:
        done = fleet.berth.run("diagnose", *arguments, check=False)
        assert done.returncode == 1 and problem in done.stderr, done


# ---- ends of tasks, on a real node --------------------------------------------------------

def run(ecs, berth, family, **container):
    """Run a Fargate task of one container; returns its ARN."""
    ecs.register_task_definition(
        family=family, networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256",
        memory="512", containerDefinitions=[{"name": "app", "image": "hello", **container}])
    answer = ecs.run_task(taskDefinition=family, launchType="FARGATE",
                          networkConfiguration=berth.network())
    assert answer["failures"] == []
    return answer["tasks"][0]["taskArn"]


def ended(ecs, arn):
    def stopped():
        """a STOPPED task"""
        return ecs.describe_tasks(tasks=[arn])["tasks"][0]["lastStatus"] == "STOPPED"
    support.wait_for(stopped)


@pytest.mark.parametrize("family, container, cause, status, part, following", [
    ("ends-well", {"entryPoint": ["/bin/sh"], "command": ["-c", "exit 0"]},
     "Finished", 0, "Container app ended with exit code 0.", "berth logs"),
    ("ends-badly", {"entryPoint": ["/bin/sh"], "command": ["-c", "exit 3"]},
     "ContainerExited", 1, "Essential container app ended with exit code 3.", "berth logs"),
    ("no-image", {"image": "no/such:image"},
     "ImageMissing", 1, "Container app needs the image no/such:image, which is not on host",
     "berth image load"),
    ("no-command", {"entryPoint": ["/no/such/command"]},
     "CommandMissing", 1, "Container app has a command that is not in its image: ",
     "ecs describe-task-definition --task-definition no-command:1"),
    ("no-memory", {"memory": 16, "entryPoint": ["/bin/sh"], "command": ["-c", "tail /dev/zero"]},
     "OutOfMemory", 1, "Container app was killed because its memory was used up.", "berth logs"),
    ("no-file", {"environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::b/a.env"}]},
     "EnvironmentFileMissing", 1, "Container app needs an environment file that host",
     "environmentFiles"),
    ("no-greeting", {"entryPoint": ["/bin/sh"], "command": ["-c", "exec sleep 100"],
                     "stopTimeout": 2, "dockerLabels": {"berth.post-start": "exit 1"}},
     "HookFailed", 1, "The command that app has as its label berth.post-start failed.",
     "dockerLabels"),
])
def test_ends_are_told_apart(berth, ecs, family, container, cause, status, part, following):
    arn = run(ecs, berth, family, **container)
    ended(ecs, arn)
    told = berth.run("diagnose", "--json", arn, check=False)
    answer = json.loads(told.stdout)
    assert (answer["cause"], told.returncode) == (cause, status), answer
    assert part in answer["summary"] and answer["task"]["taskArn"] == arn
    shown = berth.run("diagnose", arn.rsplit("/", 1)[1], check=False)
    assert shown.returncode == status
    assert part in shown.stdout and following in shown.stdout, shown.stdout
    assert f"{family}:1 in cluster default, FARGATE" in shown.stdout


def test_a_running_task_and_one_that_was_stopped(berth, ecs):
    arn = run(ecs, berth, "lives")

    def running():
        """a RUNNING task"""
        return ecs.describe_tasks(tasks=[arn])["tasks"][0]["lastStatus"] == "RUNNING"
    support.wait_for(running)
    shown = berth.run("diagnose", arn)
    assert "cause    Running: It runs." in shown and "in contact" in shown
    ecs.stop_task(task=arn, reason="enough of it")
    ended(ecs, arn)
    shown = berth.run("diagnose", arn)
    assert "cause    StoppedByUser: It was stopped on request: enough of it" in shown
    assert "stop     UserInitiated: enough of it" in shown


def test_the_pool_is_told_by_host(berth, ecs):
    ecs.register_task_definition(
        family="pool", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="16384",
        memory="32768", containerDefinitions=[{"name": "app", "image": "hello"}])
    # The launch type and the subnets follow from the definition.
    done = berth.run("diagnose", "--json", "--task-definition", "pool", check=False)
    answer = json.loads(done.stdout)
    assert done.returncode == 1 and answer["launchType"] == "FARGATE"
    assert answer["hosts"][0]["reasons"][0]["reason"] == "RESOURCE:CPU"
    assert answer["hosts"][0]["reasons"][0]["total"] == 4096
    assert "containerInstanceArn" not in answer["hosts"][0]
    failed = ecs.run_task(taskDefinition="pool", launchType="FARGATE",
                          networkConfiguration=berth.network())["failures"]
    assert len(failed) == 1 and "RESOURCE:CPU on 1 of 1" in failed[0]["detail"]
    newest = json.loads(berth.run("diagnose", "--json", check=False).stdout)["unplaced"][0]
    assert newest["taskDefinitionArn"].endswith("/pool:1") and newest["hostCount"] == 1
