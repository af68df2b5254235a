"""Managed scaling: a server with a scale command, and instances played by the test."""
import json
import os
import ssl
import urllib.request

import pytest

import stock_agent
import support

# Notes how it was called, a line of JSON each, says something, and ends as the test wants.
SCRIPT = """#!/bin/sh
python3 -c 'import json, os, sys
print(json.dumps({"arguments": sys.argv[1:], **{name: value for name, value in os.environ.items()
                                               if name.startswith("BERTH_SCALE_")}}))' "$@" \\
    >> {calls}
echo "thinking about it"
echo "no quota for $2" >&2
[ ! -e {slow} ] || exec sleep 60
exit "$(cat {code})"
"""


class Group:
    """A server with its scale command."""

    def __init__(self, directory, *arguments):
        self.calls_path = directory / "calls"
        self.code_path = directory / "code"
        self.slow_path = directory / "slow"
        self.code_path.write_text("0")
        command = directory / "scale"
        command.write_text(SCRIPT.replace("{calls}", str(self.calls_path))
                           .replace("{code}", str(self.code_path))
                           .replace("{slow}", str(self.slow_path)))
        command.chmod(0o755)
        self.server = stock_agent.server(directory / "data", "--scale-command", str(command),
                                         "--scaling-period", "1s", *arguments)
        self.ecs = self.server.client("ecs")

    def calls(self):
        if not self.calls_path.exists():
            return []
        return [json.loads(line) for line in self.calls_path.read_text().splitlines()]

    def provider(self, name, **members):
        """A provider of the group of the same name, alone in a cluster of the same name."""
        self.ecs.create_capacity_provider(name=name, autoScalingGroupProvider={
            "autoScalingGroupArn": name, "managedScaling": {"status": "ENABLED"}, **members})
        self.ecs.create_cluster(clusterName=name, capacityProviders=[name],
                                defaultCapacityProviderStrategy=[
                                    {"capacityProvider": name, "weight": 1}])

    def host(self, name):
        return stock_agent.StockAgent(
            self.server, name,
            attributes=[{"name": "berth.auto-scaling-group", "value": name}]).connect()

    def capacity(self, name):
        shown = json.loads(self.server.run("capacity", "--json", "--cluster", name))
        assert len(shown) == 1, shown
        return shown[0]


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    made = Group(tmp_path_factory.mktemp("scaling"))
    made.ecs.register_task_definition(family="job", containerDefinitions=[
        {"name": "a", "image": "i", "memory": 64, "cpu": 2500}])  # one on each instance
    yield made
    assert made.server.stop() == 0, made.server.tail()


def test_the_command_is_told_what_to_do(group):
    """Arguments and environment of a growth; the reservation in `berth capacity` and metrics."""
    group.provider("out")
    group.ecs.run_task(cluster="out", taskDefinition="job", count=3)

    def called():
        """the command was called for the group"""
        return [call for call in group.calls() if call["BERTH_SCALE_GROUP"] == "out"]
    call = support.wait_for(called)[0]
    assert call["arguments"][:4] == ["out", "out", "0", "2"]
    assert "3 tasks wait for an instance" in call["arguments"][4]
    assert call["BERTH_SCALE_REASON"] == call["arguments"][4]
    assert {name: call["BERTH_SCALE_" + name] for name in (
        "ACTION", "GROUP", "PROVIDER", "CLUSTER", "REGION", "ACCOUNT", "CURRENT", "DESIRED",
        "HOSTS", "NODES", "INSTANCES", "EC2_INSTANCES")} == {
        "ACTION": "out", "GROUP": "out", "PROVIDER": "out", "CLUSTER": "out",
        "REGION": "us-east-1", "ACCOUNT": "000000000000", "CURRENT": "0", "DESIRED": "2",
        "HOSTS": "", "NODES": "", "INSTANCES": "", "EC2_INSTANCES": ""}
    assert call["BERTH_SCALE_DATA"] == str(group.server.data)

    def done():
        """its end is known"""
        return group.capacity("out").get("last")
    assert "failure" not in support.wait_for(done)
    shown = group.capacity("out")
    assert (shown["size"], shown["needed"], shown["waitingTaskCount"]) == (2, 1, 3)
    table = group.server.run("capacity", "--cluster", "out")
    assert "0 to 2, done" in table and "50%/100%" in table, table
    with urllib.request.urlopen(
            group.server.keys["endpoint"] + "/metrics", timeout=support.PATIENCE,
            context=ssl.create_default_context(cafile=group.server.keys["caFile"])) as answer:
        metrics = answer.read().decode()
    assert ('berth_capacity_provider_reservation{account="000000000000",region="us-east-1",'
            'cluster="out",capacity_provider="out"} 50\n') in metrics

    first, second = group.host("out"), group.host("out")

    def all_placed():
        """two tasks have an instance; one waits, for which one more is needed"""
        return [call["arguments"][2:4] for call in called()][1:] == [["2", "3"]]
    support.wait_for(all_placed)
    for host in (first, second):
        host.disconnect()


def test_a_failure_is_shown_and_tried_again(group):
    group.provider("bad")
    group.code_path.write_text("7")
    group.ecs.run_task(cluster="bad", taskDefinition="job")

    def failed():
        """the failure is known"""
        return group.capacity("bad").get("last", {}).get("failure")
    assert support.wait_for(failed) == "exit code 7: no quota for bad"
    table = group.server.run("capacity", "--cluster", "bad")
    assert "group bad: the scale command failed: exit code 7: no quota for bad." in table, table
    assert "exit code 7" in group.server.tail()
    group.code_path.write_text("0")

    def fine():
        """it was run again"""
        last = group.capacity("bad").get("last", {})
        return "failure" not in last and last.get("attempt", 0) >= 2
    support.wait_for(fine)


def test_a_command_that_does_not_end_is_ended(tmp_path):
    group = Group(tmp_path, "--scale-timeout", "2s")
    group.ecs.register_task_definition(family="job", containerDefinitions=[
        {"name": "a", "image": "i", "memory": 64}])
    group.provider("slow")
    group.slow_path.write_text("")
    group.ecs.run_task(cluster="slow", taskDefinition="job")

    def ended():
        """its time was over"""
        return group.capacity("slow").get("last", {}).get("failure")
    failure = support.wait_for(ended)
    os.remove(group.slow_path)
    assert failure.startswith("it was ended after 2 s (--scale-timeout)"), failure
    assert group.server.stop() == 0, group.server.tail()


def test_an_instance_without_tasks_goes_and_one_with_tasks_is_drained(group):
    """After 15 periods the idle one is named; the other, given up by hand, when its task is
    gone."""
    group.provider("in", managedTerminationProtection="ENABLED")
    busy, idle = group.host("in"), group.host("in")
    made = group.ecs.run_task(cluster="in", taskDefinition="job")["tasks"][0]
    if made["containerInstanceArn"] == idle.arn:
        busy, idle = idle, busy

    def named():
        """instances were named to the command"""
        return [call for call in group.calls()
                if call["BERTH_SCALE_GROUP"] == "in" and call["BERTH_SCALE_ACTION"] == "in"]
    call = support.wait_for(named)[0]
    assert call["arguments"][:4] == ["in", "in", "2", "1"]
    assert call["BERTH_SCALE_INSTANCES"] == idle.arn

    def gone():
        """what was named is of the cluster no more"""
        arns = group.ecs.list_container_instances(cluster="in")["containerInstanceArns"]
        return arns == [busy.arn]
    support.wait_for(gone)

    said = group.server.run("capacity", "terminate", "--cluster", "in", busy.arn)
    assert said == "group in gives it up when its 1 task is gone; `berth capacity` shows it\n"
    shown = group.ecs.describe_container_instances(
        cluster="in", containerInstances=[busy.arn])["containerInstances"][0]
    assert shown["status"] == "DRAINING"
    assert "is TERMINATING with 1 tasks" in group.server.run("capacity", "--cluster", "in")
    assert len(named()) == 1
    group.ecs.stop_task(cluster="in", task=made["taskArn"])
    busy.task(made["taskArn"], "STOPPED")

    def second():
        """the other instance was named, too"""
        return named()[1:]
    assert support.wait_for(second)[0]["BERTH_SCALE_INSTANCES"] == busy.arn

    def empty():
        """the group has none"""
        return group.capacity("in")["instances"] == []
    support.wait_for(empty)
    refused = group.server.run("capacity", "terminate", "--cluster", "in", busy.arn, check=False)
    assert "There is no container instance" in refused.stderr, refused


def sizes(group, name, action="out"):
    """What each call for a group said: its size and what it should be."""
    return [(int(call["BERTH_SCALE_CURRENT"]), int(call["BERTH_SCALE_DESIRED"]))
            for call in group.calls()
            if call["BERTH_SCALE_GROUP"] == name and call["BERTH_SCALE_ACTION"] == action]


@pytest.mark.parametrize("member, value, hosts, tasks, want", [
    ("minimumScalingStepSize", 3, 0, 1, (0, 3)),
    ("maximumScalingStepSize", 1, 0, 5, (0, 1)),
    ("targetCapacity", 50, 1, 1, (1, 2)),
])
def test_a_member_of_managed_scaling_decides_the_size(group, member, value, hosts, tasks, want):
    name = member[:12]
    group.provider(name, managedScaling={"status": "ENABLED", member: value})
    there = [group.host(name) for _ in range(hosts)]
    group.ecs.run_task(cluster=name, taskDefinition="job", count=tasks)

    def called():
        """the command was called for the group"""
        return sizes(group, name)
    assert support.wait_for(called)[0] == want
    for host in there:
        host.disconnect()


def test_what_does_not_come_within_the_warm_up_is_asked_for_again(group):
    for name, warm_up in (("cold", 300), ("warm", 1)):
        group.provider(name, managedScaling={"status": "ENABLED", "instanceWarmupPeriod": warm_up})
        group.ecs.run_task(cluster=name, taskDefinition="job")

    def again():
        """the one with the short warm-up was asked for three times"""
        return sizes(group, "warm")[:3] == [(0, 2)] * 3
    support.wait_for(again)
    assert sizes(group, "cold") == [(0, 2)]


def test_without_managed_draining_an_instance_goes_with_its_tasks(group):
    group.provider("cut", managedDraining="DISABLED")
    host = group.host("cut")
    task = group.ecs.run_task(cluster="cut", taskDefinition="job")["tasks"][0]["taskArn"]
    said = group.server.run("capacity", "terminate", "--cluster", "cut", host.arn)
    assert said == "group cut gives it up now\n"

    def ended():
        """the task ended with its host"""
        [one] = group.ecs.describe_tasks(cluster="cut", tasks=[task])["tasks"]
        return one["lastStatus"] == "STOPPED" and one
    one = support.wait_for(ended)
    assert one["stopCode"] == "TerminationNotice"
    assert one["stoppedReason"].startswith("Auto Scaling group cut terminated host ")


def test_a_protected_instance_with_tasks_is_not_given_up(group):
    group.provider("kept", managedDraining="DISABLED", managedTerminationProtection="ENABLED")
    host = group.host("kept")
    group.ecs.run_task(cluster="kept", taskDefinition="job")
    refused = group.server.run("capacity", "terminate", "--cluster", "kept", host.arn, check=False)
    assert refused.returncode == 1
    assert "has 1 tasks and is protected from termination" in refused.stderr, refused
    host.disconnect()


def test_a_program_that_cannot_be_run_is_refused(tmp_path):
    berth = support.Berth(tmp_path, "--scale-command", "/no/such/program", command="server")
    with pytest.raises(AssertionError):
        berth.start()
    assert "'/no/such/program' cannot be run: No such file or directory" in berth.tail()
