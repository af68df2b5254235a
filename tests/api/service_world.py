"""The world of the tables about services: a `berth server` whose hosts say what a case wants.

A `Host` answers for its tasks by itself: what a family does is in `Host.does`, RUNNING unless a case
says otherwise. A task counts as healthy after a second, where ECS waits forty.
"""
import queue
import threading

import pytest

import stock_agent
import support
from messages import World, send

CLIENT = "ClientException"
INVALID = "InvalidParameterException"
ARN = "arn:aws:ecs:⟨region⟩:⟨account⟩:"
ID = "⟨id⟩"


class Host(stock_agent.StockAgent):
    """A host whose tasks run as soon as they are there, or do what `does` has for their family."""

    def __init__(self, berth, cluster=None, **more):
        super().__init__(berth, cluster, **more)
        self.does = {}      # by family: run (the default), hold (says nothing), fail, crash, or a
                            # function of the host and the task's ARN
        self.work = queue.Queue()
        self.specs = {}     # by ARN of a task: what the host was given to run
        self.held = []      # ARNs of tasks that were told to stop, with "stop": "hold"
        threading.Thread(target=self.answer, daemon=True).start()

    def heard(self, frame):
        if frame["type"] == "PayloadMessage":
            for task in frame["message"]["tasks"]:
                self.work.put(task)
        super().heard(frame)

    def answer(self):
        while True:
            task = self.work.get()
            try:
                self.act(task)
            except Exception as error:  # the server ended, or the cluster of a case did
                print(f"host {self.node_id}: {error}")

    def act(self, task):
        arn = task["arn"]
        if task["desiredStatus"] == "STOPPED":
            if self.does.get("stop") == "hold":
                self.held.append(arn)
            else:
                self.end(arn)
            return
        self.specs.setdefault(arn, task)
        what = self.does.get(task["family"], "run")
        if what == "fail":
            self.task(arn, "STOPPED", reason="CannotPullContainerError: no such image")
        elif what == "crash":
            self.run(arn)
            self.end(arn)
        elif what == "run":
            self.run(arn)
        elif callable(what):
            what(self, arn)

    def run(self, arn):
        self.task(arn, "RUNNING", containers=[
            {"containerName": "a", "status": "RUNNING", "imageDigest": DIGEST}])

    def release(self):
        """Tasks that were held when they were told to stop end now."""
        self.does.pop("stop", None)
        for arn in self.held:
            self.end(arn)
        self.held = []

    def end(self, arn, code=1):
        self.task(arn, "STOPPED", containers=[
            {"containerName": "a", "status": "STOPPED", "exitCode": code}])


DIGEST = "sha256:" + "ab" * 32
CONTAINER = {"name": "a", "image": "i", "memory": 64, "cpu": 64, "portMappings": [
    {"containerPort": 80, "name": "http"}]}


class ServiceWorld(World):
    """Cluster `c` has one host, `host`; `pool` is a host of Fargate; `empty` has none. Services that
    are refused are asked for in `c`; a case that wants one to run takes a cluster of its own."""

    def __init__(self, berth):
        super().__init__(berth)
        for name in ("c", "empty", "providers"):
            self.ecs.create_cluster(clusterName=name)
        self.ecs.put_cluster_capacity_providers(
            cluster="providers", capacityProviders=["FARGATE", "FARGATE_SPOT"],
            defaultCapacityProviderStrategy=[{"capacityProvider": "FARGATE", "weight": 1}])
        self.host = Host(berth, "c").connect()
        self.pool = Host(berth).connect()
        self.hosts = [self.host, self.pool]
        self.kept = len(self.hosts)  # those that outlast a case
        self.services = []
        self.network = berth.network()
        subnets = self.network["awsvpcConfiguration"]["subnets"]
        self.words.update(host=self.host.arn, subnet=subnets[0])
        self.zone = {"awsvpcConfiguration": {**self.network["awsvpcConfiguration"],
                                             "subnets": [self.words["subnet"]]}}
        self.register("job")
        self.register("web", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256",
                      memory="512", containerDefinitions=[
                          {"name": "a", "image": "i",
                           "portMappings": [{"containerPort": 80, "name": "http"}]}],
                      tags=[{"key": "from", "value": "definition"}])
        self.register("vpc", networkMode="awsvpc")
        two = {**CONTAINER, "portMappings": [{"containerPort": 80, "name": "http"},
                                             {"containerPort": 443, "name": "https"}]}
        self.register("ports", containerDefinitions=[two])
        self.register("ports-host", networkMode="host", containerDefinitions=[two])
        self.register("anywhere", requiresCompatibilities=["EXTERNAL"], networkMode="bridge")
        shape = self.ecs.meta.service_model.shape_for("Volume")
        if "configuredAtLaunch" in shape.members:  # of what needs it, an older SDK skips the cases
            self.register("disk", volumes=[{"name": "v", "configuredAtLaunch": True}])

    def register(self, family, **more):
        """A definition of one container `a`; returns its ARN."""
        given = {"containerDefinitions": [CONTAINER], **more}
        return self.ecs.register_task_definition(
            family=family, **given)["taskDefinition"]["taskDefinitionArn"]

    def create(self, name=None, cluster="c", family="job", count=0, **more):
        """CreateService; returns the service as it was answered. It ends with the case."""
        name = name or self.fresh("service")
        given = {"serviceName": name, "cluster": cluster, "desiredCount": count, **more}
        if family is not None:
            given["taskDefinition"] = family
        if more.get("schedulingStrategy") == "DAEMON":
            del given["desiredCount"]  # of a DAEMON, ECS refuses it
        made = send(self.ecs, "CreateService", given)["service"]
        self.services.append((cluster, name))
        return made

    def fargate(self, **more):
        return self.create(**{"family": "web", "launchType": "FARGATE",
                              "networkConfiguration": self.zone, **more})

    def update(self, service, **more):
        return send(self.ecs, "UpdateService", {"cluster": service["clusterArn"],
                                                "service": service["serviceName"], **more})["service"]

    def show(self, service, **more):
        return self.ecs.describe_services(cluster=service["clusterArn"],
                                          services=[service["serviceArn"]], **more)["services"][0]

    def messages(self, service):
        """What a service told, oldest first, without `(service NAME) `."""
        shown = self.show(service)
        begin = f"(service {shown['serviceName']}"
        told = [event["message"] for event in reversed(shown["events"])]
        assert all(message.startswith(begin) for message in told), told
        return [message[len(begin):].removeprefix(") ") for message in told]

    def actions(self, service):
        """What the event stream tells of a service beside its steady states, oldest first."""
        told = stock_agent.post(self.berth, "Berth.ListEvents", {
            "service": service["serviceName"], "detailType": "ECS Service Action"})["events"]
        names = [one["event"]["detail"]["eventName"] for one in told]
        return [name for name in names if name != "SERVICE_STEADY_STATE"]

    def told(self, service, beginning, seconds=support.PATIENCE):
        """Wait for an event; returns its text without `(service NAME) `."""
        def found():
            return next((m for m in self.messages(service) if m.startswith(beginning)), None)
        found.__doc__ = f"an event {beginning!r}"
        return support.wait_for(found, seconds)

    def stable(self, service, state="COMPLETED"):
        """Wait until there is one deployment, of a state; returns the service."""
        def reached():
            """one deployment of the wanted state"""
            shown = self.show(service)
            states = [one["rolloutState"] for one in shown["deployments"]]
            return shown if states == [state] else None
        return support.wait_for(reached)

    def rollout(self, service):
        """The service's current service deployment, in full."""
        support.needs(self.ecs, "DescribeServiceDeployments")
        arn = self.show(service)["currentServiceDeployment"]
        return self.ecs.describe_service_deployments(
            serviceDeploymentArns=[arn])["serviceDeployments"][0]

    def rolled(self, service, *statuses):
        """Wait until its service deployment has one of these; returns it."""
        def reached():
            shown = self.rollout(service)
            return shown if shown["status"] in statuses else None
        reached.__doc__ = f"a service deployment that is {' or '.join(statuses)}"
        return support.wait_for(reached)

    def tasks(self, service, **more):
        arns = self.ecs.list_tasks(cluster=service["clusterArn"],
                                   serviceName=service["serviceName"])["taskArns"]
        return self.ecs.describe_tasks(cluster=service["clusterArn"], tasks=arns,
                                       **more)["tasks"] if arns else []

    def place(self, prefix="place", hosts=1, **more):
        """A cluster of its own, with hosts; returns its name and them."""
        name = self.fresh(prefix)
        self.ecs.create_cluster(clusterName=name)
        made = [Host(self.berth, name, **more).connect() for _ in range(hosts)]
        self.hosts += made
        return name, made

    def keep(self, *hosts):
        """Hosts of the pools stay until the world ends: one that fell silent would still be given
        tasks of the next case."""
        self.hosts[self.kept:self.kept] = hosts
        self.kept += len(hosts)

    def close(self):
        """Services of the case end, and with them their tasks."""
        for host in self.hosts:
            host.does = {}
            host.release()
        services, self.services = self.services, []
        for cluster, name in services:
            shown = self.ecs.describe_services(cluster=cluster, services=[name])["services"][0]
            if shown["status"] == "ACTIVE":
                self.ecs.delete_service(cluster=cluster, service=name, force=True)
        for cluster, name in services:
            def gone():
                """the end of the service"""
                shown = self.ecs.describe_services(cluster=cluster, services=[name])["services"]
                return shown[0]["status"] == "INACTIVE"
            support.wait_for(gone)
        for host in self.hosts[self.kept:]:
            host.disconnect()
        self.hosts = self.hosts[:self.kept]


@pytest.fixture(name="world", scope="module")
def make_world(tmp_path_factory):
    server = stock_agent.server(tmp_path_factory.mktemp("server"), "--healthy-after", "1s")
    world = ServiceWorld(server)
    yield world
    for host in world.hosts:
        host.disconnect()
    assert server.stop() == 0, server.tail()


@pytest.fixture(autouse=True)
def nothing_stays(world):
    """Every case begins without services."""
    yield
    world.close()
