"""Several hosts: agents in network namespaces of their own join with a token over TLS."""
import functools
import glob
import subprocess

import pytest

import support
from hosts import Agent, Host, Lan


@pytest.fixture(name="lan")
def make_lan():
    lan = Lan()
    yield lan
    lan.remove()


def details(task):
    found = {one["name"]: one["value"] for one in task["attachments"][0]["details"]}
    [namespace] = glob.glob(f"/run/berth/*/netns/{found['networkInterfaceId']}")
    return found["privateIPv4Address"], ["nsenter", f"--net={namespace}"]


def answers(prefix, address, seconds):
    return subprocess.run([*prefix, "curl", "-sf", "-m", str(seconds), f"http://{address}:8080/"],
                          capture_output=True, check=False).returncode == 0


def nothing_between_hosts(server, hosts, tasks):
    """Hosts are not joined: an address of the VPC is reached on its own host alone, whatever the
    rules of its groups are, and whichever way somebody else's packets come."""
    group = server.network()["awsvpcConfiguration"]["securityGroups"][0]
    server.client("ec2").authorize_security_group_ingress(GroupId=group, IpPermissions=[
        {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}])
    here, there = ([task for task in tasks if task["availabilityZone"][-1] == zone] for zone in "bc")
    (one, inside), (twin, _), (other, beyond) = details(here[0]), details(here[1]), details(there[0])
    support.wait_for(lambda: answers(inside, twin, 30), step=0.1)  # two of a host
    assert not answers(inside, other, 1) and not answers(beyond, one, 1), "of two hosts"
    # From another host, and from the server's, that send packets for the VPC to the first.
    for prefix in (hosts[1].prefix, []):
        route = [*prefix, "ip", "route"]
        subprocess.run([*route, "add", one, "via", hosts[0].address], check=True)
        assert not answers(prefix, one, 1), prefix
        subprocess.run([*route, "del", one], check=True)


def test_two_more_agents_join_over_tls_and_run_tasks(lan, tmp_path):
    # This host stands for zone a only, so that b and c are the others'.
    server = support.Berth(tmp_path / "server", "--zone", "us-east-1a", address="198.18.0.1")
    hosts, agents = [], []
    try:
        server.start()
        assert server.endpoint.startswith("https://")
        ecs = server.client()
        ecs.create_cluster(clusterName="default")
        for number, zone in ((2, "b"), (3, "c")):
            hosts.append(Host(f"host{number}", f"198.18.0.{number}"))
            token = server.run("node", "token").strip()
            data = tmp_path / f"host{number}"
            subprocess.run([support.BERTH, "image", "load", "--data", str(data),
                            f"{support.IMAGES}/hello.tar.gz"], check=True, capture_output=True)
            agents.append(Agent(hosts[-1], data, token, server.keys["region"] + zone))

        def joined():
            """three ACTIVE nodes"""
            for agent in agents:
                assert agent.process.poll() is None, agent.output()
            return server.run("node", "ls").count("ACTIVE") == 3
        support.wait_for(joined, step=0.2)
        ecs.register_task_definition(
            family="hello", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256",
            memory="512", containerDefinitions=[{"name": "hello", "image": "hello"}])
        network = server.network()["awsvpcConfiguration"]
        # Only the zones of the two other hosts, for the image is loaded there alone.
        subnets = network["subnets"][1:]
        answer = ecs.run_task(taskDefinition="hello", launchType="FARGATE", count=4,
                              networkConfiguration={"awsvpcConfiguration": {
                                  **network, "subnets": subnets}})
        arns = [task["taskArn"] for task in answer["tasks"]]
        assert len(arns) == 4
        ecs.get_waiter("tasks_running").wait(tasks=arns, WaiterConfig=support.WAITER)
        tasks = ecs.describe_tasks(tasks=arns)["tasks"]
        assert {task["availabilityZone"][-1] for task in tasks} == {"b", "c"}
        for task in tasks:
            host = hosts["bc".index(task["availabilityZone"][-1])]
            address = task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"]
            # A task is RUNNING before its program listens.
            support.wait_for(functools.partial(answers, host.prefix, address, 30), step=0.1)
            assert server.run("logs", task["taskArn"]) is not None
        nothing_between_hosts(server, hosts, tasks)
        for arn in arns:
            ecs.stop_task(task=arn)
        ecs.get_waiter("tasks_stopped").wait(tasks=arns, WaiterConfig=support.WAITER)
    finally:
        ends = [agent.stop() for agent in agents]
        status = server.stop()
        for host in hosts:
            host.remove()
    assert [code for code, _ in ends] == [0, 0], ends
    assert status == 0


def test_a_token_works_once_and_a_wrong_one_never(lan, tmp_path):
    server = support.Berth(tmp_path / "server", address="198.18.0.1").start()
    host = Host("host4", "198.18.0.4")
    try:
        token = server.run("node", "token").strip()
        first = Agent(host, tmp_path / "one", token, "us-east-1a")

        def joined():
            """two ACTIVE nodes"""
            return server.run("node", "ls").count("ACTIVE") == 2
        support.wait_for(joined, step=0.2)
        second = Agent(host, tmp_path / "two", token, "us-east-1a")
        status, out = second.end()
        assert status != 0 and "token" in out
        forged = token[:-8] + "AAAAAAAA"
        third = Agent(host, tmp_path / "three", forged, "us-east-1a")
        assert third.end()[0] != 0
        first.stop()
    finally:
        server.stop()
        host.remove()


def test_plain_http_off_loopback_is_refused(lan, tmp_path):
    """An address that is not on loopback is served over TLS only."""
    server = support.Berth(tmp_path / "server", address="198.18.0.1").start()
    try:
        with pytest.raises(subprocess.CalledProcessError):
            subprocess.run(["curl", "-sf", "-m", "5", f"http://198.18.0.1:{server.port}/healthz"],
                           check=True, capture_output=True)
        subprocess.run(["curl", "-sf", "-m", "60", "--cacert", server.keys["caFile"],
                        f"https://198.18.0.1:{server.port}/healthz"], check=True,
                       capture_output=True)
    finally:
        server.stop()
