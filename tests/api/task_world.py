"""The world of the tables about tasks: a `berth server` whose hosts run nothing.

The hosts are stock_agent.StockAgent, so a case decides what they report. A test of a table imports
the two fixtures.
"""
import datetime

import botocore
import pytest

import stock_agent
from messages import Case, World, send

CLIENT = "ClientException"
INVALID = "InvalidParameterException"
ARN = "arn:aws:ecs:⟨region⟩:⟨account⟩:"
CHECK = {"command": ["CMD", "true"]}


class TaskWorld(World):
    """Cluster `c` has one instance, `host`; `pool` is a host of Fargate; `empty` has none."""

    def __init__(self, berth):
        super().__init__(berth)
        for name in ("c", "empty", "providers"):
            self.ecs.create_cluster(clusterName=name)
        self.ecs.put_cluster_capacity_providers(
            cluster="providers", capacityProviders=["FARGATE", "FARGATE_SPOT"],
            defaultCapacityProviderStrategy=[{"capacityProvider": "FARGATE", "weight": 1}])
        self.host = stock_agent.StockAgent(berth, "c").connect()
        self.pool = stock_agent.StockAgent(berth).connect()
        self.made = []
        self.network = berth.network()
        subnets = self.network["awsvpcConfiguration"]["subnets"]
        self.words.update(host=self.host.arn, subnet=subnets[0])
        self.zone = {"awsvpcConfiguration": {**self.network["awsvpcConfiguration"],
                                             "subnets": [self.words["subnet"]]}}
        register = self.ecs.register_task_definition
        register(family="job", containerDefinitions=[
            {"name": "a", "image": "i:1", "memory": 64, "memoryReservation": 32, "cpu": 10},
            {"name": "b", "image": "i:2", "memory": 64, "essential": False}])
        register(family="ports", containerDefinitions=[
            {"name": "a", "image": "i", "memory": 64, "portMappings": [
                {"containerPort": 80, "hostPort": 8080}]}])
        register(family="checked", containerDefinitions=[
            {"name": "a", "image": "i", "memory": 64, "healthCheck": CHECK},
            {"name": "b", "image": "i", "memory": 64, "healthCheck": CHECK},
            {"name": "c", "image": "i", "memory": 64},
            {"name": "d", "image": "i", "memory": 64, "essential": False, "healthCheck": CHECK}])
        register(family="vpc", networkMode="awsvpc",
                 containerDefinitions=[{"name": "a", "image": "i", "memory": 64}])
        register(family="web", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256",
                 memory="512", containerDefinitions=[{"name": "a", "image": "i"}],
                 tags=[{"key": "from", "value": "definition"}, {"key": "both", "value": "lost"}])
        register(family="stored", networkMode="awsvpc", requiresCompatibilities=["FARGATE"],
                 cpu="256", memory="512", ephemeralStorage={"sizeInGiB": 30},
                 containerDefinitions=[{"name": "a", "image": "i"}])

    def ask_for(self, operation, cluster="c", **more):
        """RunTask or StartTask; what it makes is ended with the case."""
        answer = send(self.ecs, operation, {"cluster": cluster, **more})
        self.made += [(cluster, task) for task in answer["tasks"]]
        return answer

    def run(self, family="job", cluster="c", **more):
        """RunTask on the instance; returns the task as it was answered."""
        answer = self.ask_for("RunTask", cluster, taskDefinition=family, **more)
        assert answer["failures"] == [], answer["failures"]
        return answer["tasks"][0]

    def fargate(self, family="web", **more):
        """RunTask on Fargate; returns the task as it was answered."""
        return self.run(family, launchType="FARGATE", networkConfiguration=self.zone, **more)

    def show(self, task, **more):
        return self.ecs.describe_tasks(cluster="c", tasks=[task["taskArn"]], **more)["tasks"][0]

    def agent(self, task):
        return self.pool if task["launchType"] == "FARGATE" else self.host

    def report(self, task, status, **members):
        """What the task's host tells of it; returns the task as it is shown then."""
        self.agent(task).task(task["taskArn"], status, **members)
        return self.show(task)

    def pending(self, task):
        return stock_agent.wait_status(self.ecs, "c", task["taskArn"], "PENDING")

    def end(self, task, **members):
        """The host tells that the task ended; returns it STOPPED."""
        self.agent(task).task(task["taskArn"], "STOPPED", **members)
        return stock_agent.wait_status(self.ecs, "c", task["taskArn"], "STOPPED")

    def stop(self, task, **more):
        return self.ecs.stop_task(cluster="c", task=task["taskArn"], **more)["task"]

    def close(self):
        """Nothing is left on the two hosts that a later case would see."""
        for cluster, task in self.made:
            if cluster in ("c", "providers"):
                self.ecs.stop_task(cluster=cluster, task=task["taskArn"])
                self.agent(task).task(task["taskArn"], "STOPPED")
        self.made = []


def plain(value):
    """Without what is a time, so that the rest can be compared."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()
                if not isinstance(item, datetime.datetime)}
    return [plain(item) for item in value] if isinstance(value, list) else value


def whole(world, task):
    """A task to compare with all of its members; skips where this botocore drops some of them."""
    if "fargateEphemeralStorage" not in world.ecs.meta.service_model.shape_for("Task").members:
        pytest.skip(f"botocore {botocore.__version__} does not know Task.fargateEphemeralStorage")
    return plain(task)


def times(task):
    return sorted(name for name, value in task.items() if isinstance(value, datetime.datetime))


def rules(cases):
    """A function that adds cases to a table which are no refusals; what asks is decorated by it."""
    def rule(section, title, want, shown=""):
        def take(ask):
            cases.append(Case(section, title, ask, want, shown))
            return ask
        return take
    return rule


def lone_host(world):
    """A cluster with an instance of its own, and a task that runs there."""
    name = world.fresh("lone")
    world.ecs.create_cluster(clusterName=name)
    host = stock_agent.StockAgent(world.berth, name).connect()
    task = world.run(cluster=name)
    host.task(task["taskArn"], "RUNNING")
    return name, host, task


@pytest.fixture(name="world", scope="module")
def make_world(tmp_path_factory):
    server = stock_agent.server(tmp_path_factory.mktemp("server"))
    world = TaskWorld(server)
    yield world
    for agent in (world.host, world.pool):
        agent.disconnect()
    assert server.stop() == 0, server.tail()


@pytest.fixture(autouse=True)
def nothing_stays(world):
    """Every case begins with hosts without tasks."""
    yield
    world.close()
