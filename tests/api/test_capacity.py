"""FARGATE and FARGATE_SPOT: how tasks are divided, spread over zones, and taken back."""
import collections
import subprocess

import pytest

import stock_agent
import support

# The settings of the seed's ServiceWithSpot, and how many of 1 to 20 tasks go to FARGATE.
STRATEGY = [{"capacityProvider": "FARGATE", "base": 2, "weight": 1},
            {"capacityProvider": "FARGATE_SPOT", "base": 0, "weight": 4}]
ROLLING = {"maximumPercent": 200, "minimumHealthyPercent": 100,
           "deploymentCircuitBreaker": {"enable": True, "rollback": True}}
ON_FARGATE = {1: 1, 2: 2, 3: 2, 4: 2, 5: 3, 6: 3, 7: 3, 8: 3, 9: 3, 10: 4, 11: 4, 12: 4, 13: 4,
              14: 4, 15: 5, 16: 5, 17: 5, 18: 5, 19: 5, 20: 6}
BOTH = "FARGATE,FARGATE_SPOT"
LARGE = [{"name": "CPU", "type": "INTEGER", "integerValue": 65536},
         {"name": "MEMORY", "type": "INTEGER", "integerValue": 131072}]
INTERRUPTED = "Your Spot Task was interrupted."


class World:
    """Three hosts in three zones that run nothing, and clusters that use both providers."""

    def __init__(self, directory):
        self.berth = stock_agent.server(directory, "--healthy-after", "1s")
        self.ecs = self.berth.client("ecs")
        self.hosts = {}
        for letter in "abc":
            host = stock_agent.StockAgent(self.berth, zone=f"us-east-1{letter}", capacity=BOTH,
                                          resources=LARGE)
            self.hosts[host.node_id] = host.connect()
        self.ecs.create_cluster(clusterName="c", capacityProviders=["FARGATE", "FARGATE_SPOT"])
        self.ecs.register_task_definition(
            family="web", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256",
            memory="512", containerDefinitions=[{"name": "a", "image": "i"}])
        self.network = self.berth.network()

    def tasks(self, service):
        """Tasks of a service that are to run."""
        arns = self.ecs.list_tasks(cluster="c", serviceName=service)["taskArns"]
        return self.ecs.describe_tasks(cluster="c", tasks=arns)["tasks"] if arns else []

    def report(self):
        """Hosts say of tasks that run, or are to stop, that they do."""
        agents = {host.instance["attributes"][0]["value"]: host for host in self.hosts.values()}
        for desired, status in (("RUNNING", "RUNNING"), ("STOPPED", "STOPPED")):
            pages = self.ecs.get_paginator("list_tasks").paginate(
                cluster="c", desiredStatus=desired, PaginationConfig={"PageSize": 100})
            for page in pages:
                shown = self.ecs.describe_tasks(cluster="c", tasks=page["taskArns"])["tasks"] \
                    if page["taskArns"] else []
                for task in shown:
                    if task["lastStatus"] not in (status, "STOPPED", "DEPROVISIONING"):
                        agents[task["availabilityZone"]].task(task["taskArn"], status)

    def divided(self, service, count):
        """Wait until so many tasks are to run; how many each provider has."""
        def there():
            tasks = self.tasks(service)
            return tasks if len(tasks) == count else None
        there.__doc__ = f"{count} tasks of {service}"
        tasks = support.wait_for(there) if count else []
        self.report()
        zones = collections.Counter(task["availabilityZone"] for task in tasks)
        for zone in ("us-east-1a", "us-east-1b", "us-east-1c"):
            zones.setdefault(zone, 0)
        assert max(zones.values()) - min(zones.values()) <= 1, zones
        assert {task["launchType"] for task in tasks} <= {"FARGATE"}
        return collections.Counter(task["capacityProviderName"] for task in tasks)

    def create(self, name, count):
        self.ecs.create_service(cluster="c", serviceName=name, taskDefinition="web",
                                desiredCount=count, capacityProviderStrategy=STRATEGY,
                                deploymentConfiguration=ROLLING, networkConfiguration=self.network)

    def remove(self, name):
        self.ecs.delete_service(cluster="c", service=name, force=True)
        self.report()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("capacity"))
    yield made
    for host in made.hosts.values():
        host.disconnect()
    assert made.berth.stop() == 0, made.berth.tail()


def test_a_service_has_the_split_of_the_table(world):
    """Up one by one to 20, and between counts both ways."""
    world.create("split", 0)
    for count in [*range(1, 21), 7, 18, 3, 20, 10, 1, 12, 5, 2]:
        world.ecs.update_service(cluster="c", service="split", desiredCount=count)
        has = world.divided("split", count)
        assert (count, has["FARGATE"], has["FARGATE_SPOT"]) == (
            count, ON_FARGATE[count], count - ON_FARGATE[count])
    world.remove("split")


@pytest.mark.parametrize("count", [1, 4, 10])
def test_run_task_divides_its_tasks(world, count):
    answer = world.ecs.run_task(cluster="c", taskDefinition="web", count=count,
                                capacityProviderStrategy=STRATEGY,
                                networkConfiguration=world.network)
    assert answer["failures"] == []
    has = collections.Counter(task["capacityProviderName"] for task in answer["tasks"])
    assert has["FARGATE"] == ON_FARGATE[count]
    assert has["FARGATE_SPOT"] == count - ON_FARGATE[count]
    for task in answer["tasks"]:
        world.ecs.stop_task(cluster="c", task=task["taskArn"])


def test_a_task_of_spot_is_interrupted_and_replaced(world):
    """By `berth spot interrupt`; its stop says so, and protection does not hold it."""
    world.create("taken", 4)
    assert world.divided("taken", 4)["FARGATE_SPOT"] == 2
    spot = next(task for task in world.tasks("taken")
                if task["capacityProviderName"] == "FARGATE_SPOT")
    world.ecs.update_task_protection(cluster="c", tasks=[spot["taskArn"]], protectionEnabled=True)
    done = world.berth.run("spot", "interrupt", "--cluster", "c", spot["taskArn"])
    assert done == "interrupted 1 task\n"
    shown = stock_agent.status_of(world.ecs, "c", spot["taskArn"])
    assert (shown["desiredStatus"], shown["stopCode"], shown["stoppedReason"]) == (
        "STOPPED", "SpotInterruption", INTERRUPTED)

    def replaced():
        """two tasks of Spot besides the one that was interrupted"""
        return [task for task in world.tasks("taken") if task["taskArn"] != spot["taskArn"] and
                task["capacityProviderName"] == "FARGATE_SPOT"][1:]
    support.wait_for(replaced)
    other = next(task for task in world.tasks("taken")
                 if task["capacityProviderName"] == "FARGATE")
    refused = world.berth.run("spot", "interrupt", "--cluster", "c", other["taskArn"], check=False)
    assert refused.returncode != 0
    assert "was not placed through FARGATE_SPOT" in refused.stderr
    world.remove("taken")


def test_a_host_of_spot_is_taken_back_and_given_again(world):
    world.create("hosts", 20)
    world.divided("hosts", 20)
    node, host = next(iter(world.hosts.items()))
    zone = host.instance["attributes"][0]["value"]

    def spot_there():
        return [task["taskArn"] for task in world.tasks("hosts")
                if task["capacityProviderName"] == "FARGATE_SPOT" and
                task["availabilityZone"] == zone]
    before = spot_there()
    assert before
    done = world.berth.run("spot", "interrupt", node)
    assert done == f"interrupted {len(before)} task{'s' if len(before) != 1 else ''}\n"

    def moved():
        """20 tasks without any of Spot on the host"""
        return len(world.tasks("hosts")) == 20 and not spot_there()
    support.wait_for(moved)
    assert world.berth.run("spot", "restore", node) == f"restored {node}\n"
    world.remove("hosts")


def test_a_short_pool_holds_up_its_own_share_only(tmp_path):
    """Unless the server was told to fall back."""
    for arguments, want in (([], 4), (["--spot-fallback"], 10)):
        berth = stock_agent.server(tmp_path / f"server{want}", *arguments)
        ecs = berth.client("ecs")
        host = stock_agent.StockAgent(berth).connect()
        ecs.create_cluster(clusterName="c", capacityProviders=["FARGATE", "FARGATE_SPOT"])
        ecs.register_task_definition(
            family="web", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256",
            memory="512", containerDefinitions=[{"name": "a", "image": "i"}])
        ecs.create_service(cluster="c", serviceName="s", taskDefinition="web", desiredCount=10,
                           capacityProviderStrategy=STRATEGY, networkConfiguration=berth.network())

        def told():
            """the event about Spot"""
            service = ecs.describe_services(cluster="c", services=["s"])["services"][0]
            return [event["message"] for event in service["events"]
                    if "Capacity is unavailable" in event["message"]]
        assert support.wait_for(told) == [
            "(service s) was unable to place a task. Reason: Capacity is unavailable at this time. "
            "Please try again later or in a different availability zone."]
        assert len(ecs.list_tasks(cluster="c")["taskArns"]) == want
        host.disconnect()
        assert berth.stop() == 0, berth.tail()


@pytest.mark.parametrize("arguments, message", [
    (["up", "--spot-interruption-rate", "101%"], "takes percent from 0% to 100%, such as 5%"),
    (["up", "--spot-interruption-rate", "x"], "takes percent from 0% to 100%, such as 5%"),
    (["agent", "--auto-scaling-group", "g"], "--auto-scaling-group is for an instance of a cluster"),
    (["agent", "--capacity", "FARGATE", "--cluster", "c"], "give one of them"),
    (["spot", "interrupt"], "usage: berth spot interrupt"),
    (["spot", "what", "x"], "usage: berth spot interrupt"),
])
def test_commands_refuse_what_they_do_not_understand(arguments, message):
    done = subprocess.run([support.BERTH, *arguments], capture_output=True, text=True,
                          timeout=support.PATIENCE, check=False)
    assert done.returncode != 0
    assert message in done.stderr


def test_a_node_is_a_host_of_the_pools_that_its_option_names(tmp_path):
    berth = support.Berth(tmp_path, "--capacity", "FARGATE_SPOT").start()
    try:
        [node] = berth.run("node", "ls").splitlines()[1:]
        assert node.split()[4] == "FARGATE_SPOT", node
    finally:
        assert berth.stop() == 0
