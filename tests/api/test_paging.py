"""Listings of 10,000 items, walked while others come and go: nothing is skipped, nothing is twice.

The server runs alone; a fake node takes tasks without starting them, so there are as many of
everything as ECS's quotas allow. Between any two pages of a walk something comes or goes.
"""
import collections
import itertools
import random
import threading

import pytest

import fake_node
import raw
import support

MANY = 10000
CLUSTERS = 9700        # with what comes and goes, ECS's quota of 10,000 is kept
INSTANCES = 5000       # ECS: of a cluster
SERVICES = 4700        # ECS: 5,000 of a cluster, with what comes and goes
SEED = 20141113
DEFINITION = {"containerDefinitions": [{"name": "a", "image": "a", "memory": 8}]}
RESOURCES = [{"name": name, "type": "INTEGER", "integerValue": 1024} for name in ("CPU", "MEMORY")]
INSTANCE = {"cluster": "fleet", "totalResources": RESOURCES,
            "attributes": [{"name": "rack", "value": "r1"}]}
SERVICE = {"cluster": "services", "taskDefinition": "job", "desiredCount": 0, "launchType": "EC2"}


class World:
    """A server full of everything, and what is in it for good, by kind."""

    def __init__(self, folder):
        self.berth = support.Berth(folder).start()
        assert self.berth.stop() == 0  # its node has joined now; this process plays it from here
        self.berth = support.Berth(folder, command="server", port=self.berth.port).start()
        self.caller = raw.Caller(self.berth, width=64)
        self.node = None
        self.fill()

    def fill(self):
        many = self.caller.many
        for name in ("tasks", "ended", "fleet"):
            self.caller("CreateCluster", clusterName=name)
        self.clusters = {answer["cluster"]["clusterArn"] for answer in many(
            "CreateCluster", [{"clusterName": f"c-{n:05}"} for n in range(CLUSTERS)])}
        self.clusters |= {arn.replace("c-00000", name) for name in ("tasks", "ended", "fleet", "services")
                          for arn in self.clusters if arn.endswith("c-00000")}
        self.definitions = self.register([f"f-{n:05}" for n in range(MANY)])
        old = self.register(["old"] * MANY)
        many("DeregisterTaskDefinition", [{"taskDefinition": arn} for arn in old])
        self.inactive = old
        self.definitions |= self.register(["job"], networkMode="none")
        self.families = {f"f-{n:05}" for n in range(MANY)} | {"job"}
        self.node = fake_node.FakeNode(self.berth, "tasks", "ended").connect()
        self.tasks = self.run("tasks", MANY)
        ended = self.run("ended", MANY)
        many("StopTask", [{"cluster": "ended", "task": arn} for arn in ended])
        self.ended = ended
        self.caller("CreateCluster", clusterName="services")
        self.services = {answer["service"]["serviceArn"] for answer in many(
            "CreateService", [dict(SERVICE, serviceName=f"s-{n:05}") for n in range(SERVICES)])}
        self.instances = {answer["containerInstance"]["containerInstanceArn"] for answer in many(
            "RegisterContainerInstance", [INSTANCE] * INSTANCES)}

    def register(self, families, **more):
        return {answer["taskDefinition"]["taskDefinitionArn"] for answer in self.caller.many(
            "RegisterTaskDefinition", [dict(DEFINITION, family=each, **more) for each in families])}

    def run(self, cluster, count):
        answers = self.caller.many("RunTask", [
            {"cluster": cluster, "taskDefinition": "job", "count": 10, "startedBy": "me"}
        ] * (count // 10))
        assert not any(answer["failures"] for answer in answers)
        return {task["taskArn"] for answer in answers for task in answer["tasks"]}

    def restart(self):
        self.node.close()
        self.caller.close()
        assert self.berth.stop() == 0, self.berth.tail()
        self.berth.start()

    def close(self):
        self.node.close()
        self.caller.close()
        assert self.berth.stop() == 0, self.berth.tail()


@pytest.fixture(scope="module", name="world")
def make_world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("paging"))
    yield world
    world.close()


# ---- what comes and goes --------------------------------------------------------------------

class Churn(threading.Thread):
    """Adds and removes one kind of thing over and over, in a seeded order, until it is stopped."""

    def __init__(self, world, changes):
        super().__init__(daemon=True)
        self.caller = raw.Caller(world.berth)
        self.steps = changes(self.caller, random.Random(SEED))
        self.count = 0
        self.changed = threading.Condition()
        self.ending = False
        self.failure = None

    def run(self):
        try:
            while not self.ending:
                next(self.steps)
                with self.changed:
                    self.count += 1
                    self.changed.notify_all()
        except BaseException as failure:  # pylint: disable=broad-except
            with self.changed:
                self.failure = failure
                self.changed.notify_all()

    def wait(self):
        """Wait until something more came or went."""
        with self.changed:
            before = self.count
            while self.count == before and self.failure is None:
                assert self.changed.wait(support.PATIENCE), "nothing comes or goes any more"
        if self.failure is not None:
            raise self.failure

    def __enter__(self):
        self.start()
        self.wait()
        return self

    def __exit__(self, *_):
        self.ending = True
        self.join(support.PATIENCE)
        self.caller.close()


def clusters_change(caller, dice):
    """The names lie between those that stay; a cluster that was deleted keeps its name's place."""
    there = set()
    while True:
        name = f"c-{dice.randrange(0, CLUSTERS, 50):05}x"
        if name in there:
            caller("DeleteCluster", cluster=name)
        else:
            caller("CreateCluster", clusterName=name)
        there ^= {name}
        yield


def definitions_change(caller, dice):
    """A definition comes, is deregistered, and is deleted."""
    active, inactive = [], []
    while True:
        family = dice.choice([f"f-{dice.randrange(MANY):05}x", "old"])
        active.append(caller("RegisterTaskDefinition", family=family, **DEFINITION)[
            "taskDefinition"]["taskDefinitionArn"])
        yield
        if len(active) > 5:
            inactive.append(active.pop(dice.randrange(len(active))))
            caller("DeregisterTaskDefinition", taskDefinition=inactive[-1])
            yield
        if len(inactive) > 5:
            gone = inactive.pop(dice.randrange(len(inactive)))
            assert caller("DeleteTaskDefinitions", taskDefinitions=[gone])["failures"] == []
            yield


def tasks_change(caller, dice, cluster="tasks"):
    running = []
    while True:
        answer = caller("RunTask", cluster=cluster, taskDefinition="job", count=2, startedBy="me")
        assert answer["failures"] == []
        running += [task["taskArn"] for task in answer["tasks"]]
        yield
        if len(running) > 20:
            caller("StopTask", cluster=cluster, task=running.pop(dice.randrange(len(running))))
            yield


def ended_change(caller, dice):
    return tasks_change(caller, dice, "ended")


def instances_change(caller, dice):
    there = []
    while True:
        there.append(caller("RegisterContainerInstance", **INSTANCE)[
            "containerInstance"]["containerInstanceArn"])
        yield
        if len(there) > 10:
            caller("DeregisterContainerInstance", cluster="fleet",
                   containerInstance=there.pop(dice.randrange(len(there))))
            yield


ROUNDS = itertools.count()


def services_change(caller, dice):
    """Each walk has names of its own."""
    there, own = set(), next(ROUNDS)
    while True:
        name = f"s-{dice.randrange(0, SERVICES, 50):05}x{own}"
        if name in there:
            caller("DeleteService", cluster="services", service=name)
        else:
            caller("CreateService", **SERVICE, serviceName=name)
        there ^= {name}
        yield


def settings_change(caller, dice):
    while True:
        name = dice.choice(["awsvpcTrunking", "containerInsights", "fargateTaskRetirementWaitPeriod"])
        value = {"fargateTaskRetirementWaitPeriod": "14"}.get(name, "enabled")
        caller("PutAccountSetting", name=name, value=value)
        yield
        caller("DeleteAccountSetting", name=name)
        yield


# ---- the listings ---------------------------------------------------------------------------

Listing = collections.namedtuple("Listing", "operation method member arguments stays change size")


def listing(operation, member, stays, change, size=100, **arguments):
    method = "".join("_" + c.lower() if c.isupper() else c for c in operation)[1:]
    return Listing(operation, method, member, arguments, stays, change, size)


def attributes(names):
    return lambda world: {(arn, name) for arn in world.instances for name in names}


LISTINGS = {
    "clusters": listing("ListClusters", "clusterArns", lambda w: w.clusters, clusters_change),
    "definitions": listing("ListTaskDefinitions", "taskDefinitionArns", lambda w: w.definitions,
                           definitions_change),
    "definitions descending": listing(
        "ListTaskDefinitions", "taskDefinitionArns", lambda w: w.definitions, definitions_change,
        sort="DESC", status="ACTIVE"),
    "inactive definitions": listing(
        "ListTaskDefinitions", "taskDefinitionArns", lambda w: w.inactive, definitions_change,
        size=99, status="INACTIVE"),
    "definitions of a family, descending": listing(
        "ListTaskDefinitions", "taskDefinitionArns", lambda w: w.inactive, definitions_change,
        status="INACTIVE", familyPrefix="old", sort="DESC"),
    "families": listing("ListTaskDefinitionFamilies", "families",
                        lambda w: w.families | {"old"}, definitions_change),
    "active families": listing(
        "ListTaskDefinitionFamilies", "families", lambda w: w.families - {"job"},
        definitions_change, status="ACTIVE", familyPrefix="f-"),
    "tasks": listing("ListTasks", "taskArns", lambda w: w.tasks, tasks_change, cluster="tasks"),
    "tasks of a family": listing("ListTasks", "taskArns", lambda w: w.tasks, tasks_change,
                                 size=97, cluster="tasks", family="job", launchType="EC2"),
    "tasks of a starter": listing("ListTasks", "taskArns", lambda w: w.tasks, tasks_change,
                                  cluster="tasks", startedBy="me", desiredStatus="RUNNING"),
    "tasks of an instance": listing("ListTasks", "taskArns", lambda w: w.tasks, tasks_change,
                                    cluster="tasks", containerInstance="THE NODE"),
    "stopped tasks": listing("ListTasks", "taskArns", lambda w: w.ended, ended_change,
                             cluster="ended", desiredStatus="STOPPED"),
    "instances": listing("ListContainerInstances", "containerInstanceArns",
                         lambda w: w.instances, instances_change, size=50, cluster="fleet"),
    "instances by filter": listing(
        "ListContainerInstances", "containerInstanceArns", lambda w: w.instances, instances_change,
        cluster="fleet", filter="attribute:rack == r1 and agentConnected == false",
        status="ACTIVE"),
    "attributes": listing(
        "ListAttributes", "attributes",
        attributes(["rack", "ecs.os-type", "ecs.os-family", "ecs.availability-zone",
                    "ecs.cpu-architecture", "ecs.instance-type"]), instances_change,
        cluster="fleet", targetType="container-instance"),
    "attributes of a name": listing(
        "ListAttributes", "attributes", attributes(["rack"]), instances_change, cluster="fleet",
        targetType="container-instance", attributeName="rack", attributeValue="r1"),
    "services": listing("ListServices", "serviceArns", lambda w: w.services, services_change,
                        cluster="services"),
    "services of a launch type": listing(
        "ListServices", "serviceArns", lambda w: w.services, services_change, size=33,
        cluster="services", launchType="EC2", schedulingStrategy="REPLICA"),
    "settings": listing(
        "ListAccountSettings", "settings",
        lambda w: {"awsvpcTrunking", "containerInsights", "containerInstanceLongArnFormat",
                   "fargateFIPSMode", "fargateTaskRetirementWaitPeriod", "guardDutyActivate",
                   "serviceLongArnFormat", "tagResourceAuthorization", "taskLongArnFormat"},
        settings_change, size=2, effectiveSettings=True),
}
EVERY = pytest.mark.parametrize("which", LISTINGS)


def arguments_of(world, which):
    arguments = dict(which.arguments)
    if "containerInstance" in arguments:
        arguments["containerInstance"] = world.node.arn
    return arguments


def items(page, member):
    """What a page shows, each by what names it."""
    names = {"attributes": lambda item: (item["targetId"], item["name"]),
             "settings": lambda item: item["name"]}
    return [names.get(member, str)(item) for item in page[member]]


def check(world, which, seen):
    times = collections.Counter(seen)
    twice = [item for item, count in times.items() if count > 1]
    skipped = which.stays(world) - set(times)
    assert not twice, f"{len(twice)} shown more than once, such as {twice[:3]}"
    assert not skipped, f"{len(skipped)} never shown, such as {sorted(skipped)[:3]}"


@EVERY
def test_a_walk_skips_and_repeats_nothing(world, which, record_property):
    which = LISTINGS[which]
    client = world.berth.client()
    seen, pages = [], 0
    with Churn(world, which.change) as churn:
        for page in client.get_paginator(which.method).paginate(
                PaginationConfig={"PageSize": which.size}, **arguments_of(world, which)):
            assert len(page[which.member]) <= which.size
            seen += items(page, which.member)
            pages += 1
            churn.wait()
    check(world, which, seen)
    record_property("report", f"{which.operation}: {len(seen)} items on {pages} pages, "
                              f"{len(which.stays(world))} there all the time, "
                              f"{churn.count} changes meanwhile")


def test_order(world):
    """Definitions in both directions are the same, turned around; families are in order."""
    found = {}
    for sort in ("ASC", "DESC"):
        pages = world.berth.client().get_paginator("list_task_definitions").paginate(
            status="INACTIVE", familyPrefix="old", sort=sort)
        found[sort] = [arn for page in pages for arn in page["taskDefinitionArns"]]
    assert found["ASC"] == found["DESC"][::-1]
    revisions = [int(arn.rsplit(":", 1)[1]) for arn in found["ASC"]]
    assert revisions == sorted(revisions)


def test_the_quota_of_clusters(world):
    made = 0
    while made <= MANY - CLUSTERS:
        answer = world.caller.answer("CreateCluster", clusterName=f"fill-{made}")
        if answer.status != 200:
            break
        made += 1
    assert answer.code == "ClientException" and "10000 clusters" in answer.decoded()["message"]
    assert world.caller("CreateCluster", clusterName="c-00000")["cluster"]["status"] == "ACTIVE"
    for number in range(made):
        world.caller("DeleteCluster", cluster=f"fill-{number}")


# ---- tokens ---------------------------------------------------------------------------------

def first_page(world, which, caller=None):
    return (caller or world.caller)(which.operation, maxResults=which.size,
                                    **arguments_of(world, which))


@EVERY
def test_bad_tokens(world, which):
    which = LISTINGS[which]
    token = first_page(world, which)["nextToken"]
    others = {first_page(world, other)["nextToken"] for other in LISTINGS.values()
              if other.operation != which.operation}
    dice = random.Random(SEED)
    broken = [token[:size] for size in range(1, len(token), 3)] + [
        token + "00", " " + token, token.upper() + "x", "x", "0" * len(token), "-1",
        "null", "1'; drop table clusters", "../../etc/passwd", "%s%n", "\U0001f433" * 50,
        "AAAA" * 200, "f" * 900000]
    for _ in range(20):
        position = dice.randrange(len(token))
        changed = dice.choice([c for c in "0123456789abcdef" if c != token[position]])
        broken.append(token[:position] + changed + token[position + 1:])
    for bad in broken + sorted(others):
        answer = world.caller.answer(which.operation, nextToken=bad,
                                     **arguments_of(world, which))
        assert answer.status == 400 and answer.code == "InvalidParameterException", (
            bad[:100], answer.body[:300])
        assert answer.decoded()["message"] == "Invalid token", bad[:100]
    # More than a request may have is refused before it is read.
    answer = world.caller.answer(which.operation, nextToken="0" * (10 << 20),
                                 **arguments_of(world, which))
    assert (answer.status, answer.code) == (413, "RequestEntityTooLargeException")
    world.caller.close()  # that answer closes its connection


def test_tokens_of_others(tmp_path):
    """A token is good for one account and one region."""
    berth = support.Berth(tmp_path, "--any-credentials", command="server").start()
    try:
        owner, other = (raw.Caller(berth, account, "x") for account in ("1" * 12, "2" * 12))
        abroad = raw.Caller(berth, "1" * 12, "x")
        abroad.signer.region = "eu-west-1"
        for caller, name in itertools.product((owner, other, abroad), ("a", "b")):
            caller("CreateCluster", clusterName=name)
            caller("RegisterTaskDefinition", family=name, **DEFINITION)
            caller("RegisterContainerInstance", cluster="a", totalResources=RESOURCES)
        for which in (LISTINGS["clusters"], LISTINGS["definitions"], LISTINGS["families"],
                      LISTINGS["instances"], LISTINGS["attributes"], LISTINGS["settings"]):
            arguments = dict(which.arguments)
            if "cluster" in arguments:
                arguments["cluster"] = "a"
            token = owner(which.operation, maxResults=1, **arguments)["nextToken"]
            assert owner.answer(which.operation, nextToken=token, **arguments).status == 200
            for caller in (other, abroad):
                answer = caller.answer(which.operation, nextToken=token, **arguments)
                assert answer.code == "InvalidParameterException", which.operation
        for caller in (owner, other, abroad):
            caller.close()
    finally:
        assert berth.stop() == 0, berth.tail()


def test_tokens_survive_a_restart(world):
    """Last, for the node is gone afterwards."""
    begun = {name: first_page(world, which) for name, which in LISTINGS.items()}
    arguments = {name: arguments_of(world, which) for name, which in LISTINGS.items()}
    world.restart()
    for name, which in LISTINGS.items():
        page = begun[name]
        seen = items(page, which.member)
        while "nextToken" in page:
            page = world.caller(which.operation, nextToken=page["nextToken"], **arguments[name])
            seen += items(page, which.member)
        check(world, which, seen)
