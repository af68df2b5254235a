"""An Auto Scaling group of real hosts: examples/scale/namespaces makes and ends their agents."""
import os
import pathlib
import signal
import subprocess

import pytest

import support
from hosts import Lan

COMMAND = os.path.join(support.ROOT, "examples", "scale", "namespaces")


@pytest.fixture(name="lan")
def make_lan():
    lan = Lan()
    yield lan
    lan.remove()


@pytest.fixture(name="region")
def make_region(lan, tmp_path, monkeypatch):
    """A server on the bridge whose scale command is the example; hosts that are left are ended."""
    hosts = tmp_path / "hosts"
    for name, value in (("HOSTS", str(hosts)), ("BERTH", os.path.abspath(support.BERTH)),
                        ("IMAGES", os.path.abspath(f"{support.IMAGES}/hello.tar.gz")),
                        ("AGENT", "--cpu-units 1024 --memory-mib 512")):
        monkeypatch.setenv(name, value)
    server = support.Berth(tmp_path / "server", "--scale-command", COMMAND, "--scaling-period", "1s",
                           "--healthy-after", "1s", command="server", address="198.18.0.1")
    server.hosts = hosts
    try:
        yield server.start()
    finally:
        status = server.stop()
        for directory in sorted(hosts.glob("g-*")):
            end(directory)
    assert status == 0, server.tail()


def end(directory):
    """End a host that the command made."""
    pid = int((directory / "pid").read_text())
    try:
        os.kill(pid, signal.SIGTERM)
        subprocess.run(["tail", f"--pid={pid}", "-f", "/dev/null"], check=False,
                       timeout=support.PATIENCE)
    except ProcessLookupError:
        pass
    subprocess.run(["ip", "netns", "del", directory.name], check=False, capture_output=True)


def told(region):
    """What server and hosts have to say."""
    logs = [file.read_text(errors="replace")[-2000:]
            for file in sorted(region.hosts.glob("g-*/agent.log"))]
    return "\n".join([region.run("capacity"), region.tail(), *logs])


def namespaces():
    out = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout
    return sorted(line.split()[0] for line in out.splitlines() if line.startswith("g-"))


def test_a_group_grows_from_nothing_and_shrinks_to_nothing(region):
    ecs = region.client()
    ecs.create_capacity_provider(name="g", autoScalingGroupProvider={
        "autoScalingGroupArn": "g", "managedScaling": {"status": "ENABLED"},
        "managedTerminationProtection": "ENABLED"})
    ecs.create_cluster(clusterName="c", capacityProviders=["g"], defaultCapacityProviderStrategy=[
        {"capacityProvider": "g", "weight": 1}])
    # One task fills a host.
    ecs.register_task_definition(family="hello", containerDefinitions=[
        {"name": "hello", "image": "hello", "cpu": 1000, "memory": 64}])
    # What a call left that failed in the middle counts as no host.
    (region.hosts / "g-101").mkdir(parents=True)
    ecs.create_service(cluster="c", serviceName="s", taskDefinition="hello", desiredCount=3)

    def running(count):
        def found():
            """as many tasks of the service RUNNING, each on an instance of its own"""
            [service] = ecs.describe_services(cluster="c", services=["s"])["services"]
            if service["runningCount"] != count or service["pendingCount"] != 0:
                return None
            arns = ecs.list_tasks(cluster="c", serviceName="s")["taskArns"]
            tasks = ecs.describe_tasks(cluster="c", tasks=arns)["tasks"]
            return {task["containerInstanceArn"] for task in tasks}
        return found
    # Two hosts at first, as ECS has it, then the third.
    try:
        assert len(support.wait_for(running(3), step=0.5)) == 3
    except AssertionError as error:
        raise AssertionError(f"{error}\n{told(region)}") from error
    assert len(namespaces()) == 3
    support.wait_for(lambda: "3/0" in region.run("capacity"), step=0.5)

    # What the service keeps running stays; the two others go, once they are idle long enough.
    ecs.update_service(cluster="c", service="s", desiredCount=1)

    def instances(count):
        def found():
            """as many instances, and as many hosts"""
            arns = ecs.list_container_instances(cluster="c")["containerInstanceArns"]
            return len(arns) == count and len(namespaces()) == count and (arns or True)
        return found
    [kept] = support.wait_for(instances(1), step=0.5)
    assert support.wait_for(running(1)) == {kept}

    # An instance that is given up by hand: its task goes on elsewhere before it is gone.
    assert "when its 1 task is gone" in region.run("capacity", "terminate", "--cluster", "c", kept)

    def moved():
        """the task on another instance, and the old one gone"""
        here = running(1)()
        arns = ecs.list_container_instances(cluster="c")["containerInstanceArns"]
        return here and here != {kept} and kept not in arns
    support.wait_for(moved, step=0.5)

    ecs.delete_service(cluster="c", service="s", force=True)
    support.wait_for(instances(0), step=0.5)
    support.wait_for(lambda: not [path for path in pathlib.Path(region.hosts).iterdir()
                                  if path.is_dir()], step=0.1)
    support.wait_for(lambda: region.run("node", "ls").count("\n") == 1, step=0.1)
