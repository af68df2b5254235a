"""Messages and rules of task definitions: members of the task, life cycle."""
from messages import Case, Unreachable, refusal, rules, send

import models
import support

CLIENT = "ClientException"
INVALID = "InvalidParameterException"
ABSENT = "(absent)"

CONTAINER = {"name": "a", "image": "b", "memory": 64}
FARGATE = {"requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": "256",
           "memory": "512"}
TROUBLE = " For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."


# ---- asking, also for messages_containers.py ----------------------------------------------

def request(world, container=None, **members):
    """Arguments of RegisterTaskDefinition: one container, changed by what a case says."""
    return {"family": world.fresh("family"),
            "containerDefinitions": [{**CONTAINER, **(container or {})}], **members}


def register(world, container=None, through="ecs", **members):
    """Register a definition; returns it as the answer shows it."""
    return send(getattr(world, through), "RegisterTaskDefinition",
                request(world, container, **members))["taskDefinition"]


def bad(section, title, message, container=None, through="ecs", **members):
    """A case: RegisterTaskDefinition refuses with ClientException."""
    return refusal(section, title, "RegisterTaskDefinition",
                   lambda world: request(world, container, **members), CLIENT, message, through)


def picked(client, shape_name, got, wanted):
    """The wanted members of what was got; those that this botocore does not know are as wanted."""
    known = client.meta.service_model.shape_for(shape_name).members
    return {name: got.get(name, ABSENT) if name in known or models.NEWEST else wanted[name]
            for name in wanted}


def kept(section, title, want, container=None, shown="", **members):
    """A case: members of the definition that RegisterTaskDefinition answers."""
    def ask(world):
        got = register(world, container, **members)
        return picked(world.ecs, "TaskDefinition", got, want)
    return Case(section, title, ask, want, shown)


# ---- 1.1 members of the task --------------------------------------------------------------

def _register_raw(world, **members):
    return send(world.ecs, "RegisterTaskDefinition", members)


def tags_beside(world):
    answer = _register_raw(world, tags=[{"key": "a", "value": "b"}], **request(world))
    return {"beside": answer.get("tags"), "inside": answer["taskDefinition"].get("tags", ABSENT)}


def output_only(world):
    """What the server adds: which members, and those whose value is known."""
    made = request(world)
    got = _register_raw(world, **made)["taskDefinition"]
    return {"arn": got["taskDefinitionArn"].replace(made["family"], "FAMILY"),
            "revision": got["revision"], "status": got["status"],
            "registeredBy": got["registeredBy"],
            "registeredAt": type(got["registeredAt"]).__name__,
            "deregisteredAt": got.get("deregisteredAt", ABSENT),
            "deleteRequestedAt": got.get("deleteRequestedAt", ABSENT)}


LONG = "x" * 256
PROXY = {"type": "APPMESH", "containerName": "a", "properties": [
    {"name": name, "value": "1"} for name in (
        "IgnoredUID", "IgnoredGID", "AppPorts", "ProxyIngressPort", "ProxyEgressPort",
        "EgressIgnoredPorts", "EgressIgnoredIPs")]}

MEMBERS = [
    refusal("1.1", "no family", "RegisterTaskDefinition", {"containerDefinitions": [CONTAINER]},
            CLIENT, "Family should not be null or empty."),
    bad("1.1", "an empty family", "Family should not be null or empty.", family=""),
    bad("1.1", "a family with a space", "Family contains invalid characters.", family="a b"),
    bad("1.1", "a family of 256 characters",
        "Family should not be longer than 255 characters.", family=LONG),
    kept("1.1", "a family of 255 characters", {"family": LONG[1:]}, family=LONG[1:],
         shown="is taken"),
    refusal("1.1", "no containerDefinitions", "RegisterTaskDefinition", {"family": "none"}, CLIENT,
            "Container list cannot be empty."),
    bad("1.1", "no containers", "Container list cannot be empty.", containerDefinitions=[]),
    bad("1.1", "eleven containers", "Too many containers.", containerDefinitions=[
        dict(CONTAINER, name=f"c{n}") for n in range(11)]),
    bad("1.1", "a definition over 64 KiB",
        "Actual length: '⟨size⟩'. Max allowed length is '65536' bytes.",
        {"command": ["x" * 66000]}),
    bad("1.1", "51 tags", "1 validation error detected: Value at 'tags' failed to satisfy "
        "constraint: Member must have length less than or equal to 50",
        tags=[{"key": f"k{n}", "value": "v"} for n in range(51)]),
    bad("1.1", "eleven placement constraints",
        "A task definition can have at most 10 placement constraints.",
        placementConstraints=[{"type": "memberOf", "expression": "attribute:a exists"}] * 11),
    bad("1.1", "a placement constraint that is no memberOf",
        "1 validation error detected: Value at 'placementConstraints[0].type' failed to satisfy "
        "constraint: Member must satisfy enum value set: [memberOf]",
        placementConstraints=[{"type": "distinctInstance"}]),
    bad("1.1", "a placement constraint without a type",
        "Placement constraint type should be one of [memberOf].", placementConstraints=[{}]),
    bad("1.1", "a placement constraint without an expression",
        "The expression of a memberOf placement constraint cannot be empty.",
        placementConstraints=[{"type": "memberOf"}]),
    bad("1.1", "a placement constraint that cannot be read",
        "Invalid cluster query expression: expected a value at character 15.",
        placementConstraints=[{"type": "memberOf", "expression": "attribute:a =~"}]),
    bad("1.1", "a placement constraint of 2001 characters",
        "Invalid cluster query expression: an expression can have at most 2000 characters.",
        placementConstraints=[{"type": "memberOf", "expression":
                               "attribute:a == " + "x" * 1986}]),
    kept("1.1", "a role by its short name",
         {"taskRoleArn": "arn:aws:iam::⟨account⟩:role/app",
          "executionRoleArn": "arn:aws:iam::⟨account⟩:role/run"},
         taskRoleArn="app", executionRoleArn="run"),
    kept("1.1", "a role by its ARN", {"taskRoleArn": "arn:aws:iam::111122223333:role/p/app"},
         taskRoleArn="arn:aws:iam::111122223333:role/p/app"),
    bad("1.1", "an ARN that is of no role", "Role is not valid",
        taskRoleArn="arn:aws:iam::111122223333:user/x"),
    bad("1.1", "a role name with a bad character", "Role is not valid", executionRoleArn="a b"),
    kept("1.1", "networkMode is bridge when absent", {"networkMode": "bridge"}),
    kept("1.1", "networkMode of a Windows definition is not filled in", {"networkMode": ABSENT},
         runtimePlatform={"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}),
    bad("1.1", "an unknown networkMode", "1 validation error detected: Value at 'networkMode' failed "
        "to satisfy constraint: Member must satisfy enum value set: [bridge, host, awsvpc, none]",
        networkMode="overlay"),
    kept("1.1", "requiresCompatibilities is absent when it was not sent",
         {"requiresCompatibilities": ABSENT}),
    kept("1.1", "requiresCompatibilities as sent", {"requiresCompatibilities": ["EC2", "EXTERNAL"]},
         requiresCompatibilities=["EC2", "EXTERNAL"]),
    bad("1.1", "an unknown compatibility",
        "1 validation error detected: Value at 'requiresCompatibilities[0]' failed to satisfy "
        "constraint: Member must satisfy enum value set: [EC2, FARGATE, EXTERNAL, "
        "MANAGED_INSTANCES]", requiresCompatibilities=["LAMBDA"]),
    bad("1.1", "EXTERNAL with awsvpc",
        "The EXTERNAL launch type does not support network mode awsvpc.",
        requiresCompatibilities=["EXTERNAL"], networkMode="awsvpc"),
    *[kept("1.1", f"cpu '{sent}'", {"cpu": stored}, cpu=sent) for sent, stored in (
        ("1024", "1024"), ("1 vCPU", "1024"), ("1vcpu", "1024"), (".5 vcpu", "512"),
        ("0.25 VCPU", "256"), ("128", "128"), ("196608", "196608"))],
    *[bad("1.1", f"cpu '{sent}'", "Invalid 'cpu' setting for task." + TROUBLE, cpu=sent)
      for sent in ("abc", "127", "196609", "-1", "1.5", "1 CPU")],
    *[kept("1.1", f"memory '{sent}'", {"memory": stored}, memory=sent) for sent, stored in (
        ("2048", "2048"), ("2 GB", "2048"), ("2GB", "2048"), ("0.5 gb", "512"))],
    *[bad("1.1", f"memory '{sent}'", "Invalid 'memory' setting for task." + TROUBLE, memory=sent)
      for sent in ("abc", "3", "-1", "2 TB")],
    kept("1.1", "volumes and placementConstraints are [] when absent",
         {"volumes": [], "placementConstraints": []}),
    kept("1.1", "pidMode and ipcMode as sent", {"pidMode": "task", "ipcMode": "none"},
         pidMode="task", ipcMode="none"),
    kept("1.1", "proxyConfiguration with every property", {"proxyConfiguration": PROXY},
         networkMode="awsvpc", proxyConfiguration=PROXY, shown="is kept"),
    bad("1.1", "a proxy container that does not exist",
        "Invalid proxyConfiguration: container 'x' does not exist.", networkMode="awsvpc",
        proxyConfiguration={"containerName": "x"}),
    bad("1.1", "a proxy without awsvpc",
        "proxyConfiguration is only supported when networkMode=awsvpc.",
        proxyConfiguration={"containerName": "a"}),
    bad("1.1", "an unknown property of the proxy",
        "Invalid proxyConfiguration: unknown property 'Color'.", networkMode="awsvpc",
        proxyConfiguration={"containerName": "a", "properties": [{"name": "Color", "value": "x"}]}),
    kept("1.1", "inferenceAccelerators as sent",
         {"inferenceAccelerators": [{"deviceName": "d", "deviceType": "eia1.medium"}]},
         inferenceAccelerators=[{"deviceName": "d", "deviceType": "eia1.medium"}]),
    *[bad("1.1", f"ephemeralStorage of {gib} GiB",
          "Invalid setting for ephemeralStorage: 'sizeInGiB' must be between 21 and 200.",
          ephemeralStorage={"sizeInGiB": gib}) for gib in (20, 201)],
    *[kept("1.1", f"ephemeralStorage of {gib} GiB", {"ephemeralStorage": {"sizeInGiB": gib}},
           ephemeralStorage={"sizeInGiB": gib}) for gib in (21, 200)],
    kept("1.1", "runtimePlatform is not filled in", {"runtimePlatform": ABSENT}),
    *[kept("1.1", f"operatingSystemFamily {family}",
           {"runtimePlatform": {"cpuArchitecture": "X86_64", "operatingSystemFamily": family}},
           runtimePlatform={"cpuArchitecture": "X86_64", "operatingSystemFamily": family},
           shown="is kept")
      for family in ["LINUX"] + ["WINDOWS_SERVER_" + name for name in (
          "2016_FULL", "2019_FULL", "2019_CORE", "2004_CORE", "20H2_CORE", "2022_FULL", "2022_CORE",
          "2025_FULL", "2025_CORE")]],
    kept("1.1", "cpuArchitecture ARM64", {"runtimePlatform": {"cpuArchitecture": "ARM64"}},
         runtimePlatform={"cpuArchitecture": "ARM64"}),
    kept("1.1", "enableFaultInjection is false when absent", {"enableFaultInjection": False}),
    kept("1.1", "enableFaultInjection as sent", {"enableFaultInjection": True},
         enableFaultInjection=True),
    Case("1.1", "tags stand beside the definition", tags_beside,
         {"beside": [{"key": "a", "value": "b"}], "inside": ABSENT}),
    Case("1.1", "what the server adds", output_only,
         {"arn": "arn:aws:ecs:⟨region⟩:⟨account⟩:task-definition/FAMILY:1", "revision": 1,
          "status": "ACTIVE", "registeredBy": "arn:aws:iam::⟨account⟩:root",
          "registeredAt": "datetime", "deregisteredAt": ABSENT, "deleteRequestedAt": ABSENT}),
]


# ---- 1.2 life cycle -----------------------------------------------------------------------

def revisions(world, count=1, family=None):
    """Register a family some times; returns its name."""
    family = family or world.fresh("life")
    for _ in range(count):
        register(world, family=family)
    return family


def deregister(world, reference):
    return world.ecs.deregister_task_definition(taskDefinition=reference)["taskDefinition"]


def delete(world, *references):
    return send(world.ecs, "DeleteTaskDefinitions", {"taskDefinitions": list(references)})


def status_of(world, reference):
    return world.ecs.describe_task_definition(taskDefinition=reference)["taskDefinition"]["status"]


LIFE = []


def life(title, want):
    """Decorator: a rule of the life cycle is a function that returns what happened."""
    return rules(LIFE)("1.2", title, want)


@life("revisions count from 1, also for the same content", [1, 2, 3])
def _(world):
    family = world.fresh("life")
    return [register(world, family=family)["revision"] for _ in range(3)]


@life("a revision is never used again", 3)
def _(world):
    family = revisions(world, 2)
    for revision in (1, 2):
        deregister(world, f"{family}:{revision}")
    delete(world, f"{family}:1", f"{family}:2")
    return register(world, family=family)["revision"]


@life("ACTIVE, INACTIVE, DELETE_IN_PROGRESS", ["ACTIVE", "INACTIVE", "INACTIVE", "INACTIVE",
                                               "DELETE_IN_PROGRESS"])
def _(world):
    name = revisions(world) + ":1"
    seen = [status_of(world, name), deregister(world, name)["status"], status_of(world, name),
            deregister(world, name)["status"]]
    return seen + [delete(world, name)["taskDefinitions"][0]["status"]]


@life("deregisteredAt and deleteRequestedAt appear with the change", ["deregisteredAt",
                                                                     "deleteRequestedAt"])
def _(world):
    name = revisions(world) + ":1"
    first = deregister(world, name)
    second = delete(world, name)["taskDefinitions"][0]
    return [member for got, member in ((first, "deregisteredAt"), (second, "deleteRequestedAt"))
            if member in got]


@life("a family's name means its latest ACTIVE revision", [2, 1])
def _(world):
    family = revisions(world, 2)
    first = world.ecs.describe_task_definition(taskDefinition=family)["taskDefinition"]["revision"]
    deregister(world, f"{family}:2")
    return [first, world.ecs.describe_task_definition(
        taskDefinition=family)["taskDefinition"]["revision"]]


@life("a revision is named by family:revision or by ARN", [1, 1])
def _(world):
    family = revisions(world, 2)
    arn = (f"arn:aws:ecs:{world.words['region']}:{world.words['account']}:"
           f"task-definition/{family}:1")
    return [world.ecs.describe_task_definition(taskDefinition=name)["taskDefinition"]["revision"]
            for name in (f"{family}:1", arn)]


@life("tags are shown only when asked for", {"without": [], "with": [{"key": "k", "value": "v"}]})
def _(world):
    family = register(world, tags=[{"key": "k", "value": "v"}])["family"]
    return {"without": world.ecs.describe_task_definition(taskDefinition=family)["tags"],
            "with": world.ecs.describe_task_definition(taskDefinition=family,
                                                       include=["TAGS"])["tags"]}


def listed(world, operation="list_task_definitions", **arguments):
    """What a listing gives, page by page, with the run's own prefix cut off."""
    key = "taskDefinitionArns" if operation == "list_task_definitions" else "families"
    answer = getattr(world.ecs, operation)(**arguments)
    found = [answer[key]]
    while "nextToken" in answer:
        answer = getattr(world.ecs, operation)(nextToken=answer["nextToken"], **arguments)
        found.append(answer[key])
    return [[name.rsplit("/", 1)[-1] for name in page] for page in found]


@life("ListTaskDefinitions shows ACTIVE ones unless told otherwise",
      {"default": ["F:2"], "ACTIVE": ["F:2"], "INACTIVE": ["F:1"]})
def _(world):
    family = revisions(world, 2)
    deregister(world, f"{family}:1")
    return {status or "default": [name.replace(family, "F") for name in listed(
        world, familyPrefix=family, **({"status": status} if status else {}))[0]]
            for status in ("", "ACTIVE", "INACTIVE")}


@life("a deleted revision goes when no task refers to it", "Unable to describe task definition.")
def _(world):
    name = revisions(world) + ":1"
    deregister(world, name)
    delete(world, name)

    def gone():
        """the refusal of DescribeTaskDefinition"""
        try:
            world.ecs.describe_task_definition(taskDefinition=name)
        except world.ecs.exceptions.ClientException as error:
            return error.response["Error"]["Message"]
        return None
    return support.wait_for(gone)


@life("familyPrefix of ListTaskDefinitions is the whole name of a family", {"web": 1, "we": 0})
def _(world):
    base = world.fresh("whole")
    revisions(world, family=base + "-web")
    return {"web": len(listed(world, familyPrefix=base + "-web")[0]),
            "we": len(listed(world, familyPrefix=base + "-we")[0])}


@life("familyPrefix of ListTaskDefinitionFamilies is a prefix", ["a-web", "a-wes"])
def _(world):
    base = world.fresh("prefix")
    for name in ("a-web", "a-wes", "a-x"):
        revisions(world, family=f"{base}-{name}")
    found = listed(world, "list_task_definition_families", familyPrefix=f"{base}-a-we")
    return [name[len(base) + 1:] for name in found[0]]


@life("the order is that of names, then of numbers", {"ASC": ["2", "9", "10"],
                                                      "DESC": ["10", "9", "2"]})
def _(world):
    family = revisions(world, 10)
    for revision in (1, 3, 4, 5, 6, 7, 8):
        deregister(world, f"{family}:{revision}")
    return {sort: [name.rsplit(":", 1)[1] for name in listed(
        world, familyPrefix=family, sort=sort)[0]] for sort in ("ASC", "DESC")}


@life("families sort by name", ["a", "a-b", "b"])
def _(world):
    base = world.fresh("sorted")
    for name in ("b", "a", "a-b"):
        revisions(world, family=f"{base}-{name}")
    return [name[len(base) + 1:] for name in listed(
        world, "list_task_definition_families", familyPrefix=base)[0]]


@life("pages of ListTaskDefinitions", [2, 2, 1])
def _(world):
    family = revisions(world, 5)
    return [len(page) for page in listed(world, familyPrefix=family, maxResults=2)]


@life("pages of ListTaskDefinitionFamilies", [2, 1])
def _(world):
    base = world.fresh("pages")
    for name in ("a", "b", "c"):
        revisions(world, family=f"{base}-{name}")
    return [len(page) for page in listed(world, "list_task_definition_families", familyPrefix=base,
                                         maxResults=2)]


@life("a family is ACTIVE while one revision is; all are listed by default",
      {"default": ["both", "none"], "ALL": ["both", "none"], "ACTIVE": ["both"],
       "INACTIVE": ["none"]})
def _(world):
    base = world.fresh("status")
    revisions(world, 2, family=base + "-both")
    revisions(world, 1, family=base + "-none")
    deregister(world, base + "-both:1")
    deregister(world, base + "-none:1")
    return {status or "default": [name[len(base) + 1:] for name in listed(
        world, "list_task_definition_families", familyPrefix=base,
        **({"status": status} if status else {}))[0]] for status in ("", "ALL", "ACTIVE",
                                                                     "INACTIVE")}


@life("DeleteTaskDefinitions does what it can and says what it cannot", {
    "deleted": ["F:1"], "failures": [
        ("F:2", "The specified task definition is still in ACTIVE status. Please deregister the "
                "target and try again."),
        ("F:9", "The specified task definition does not exist. Specify a valid account, family, "
                "revision and try again."),
        ("F", "The specified task definition does not exist. Specify a valid account, family, "
              "revision and try again.")]})
def _(world):
    family = revisions(world, 2)
    deregister(world, f"{family}:1")
    answer = delete(world, f"{family}:1", f"{family}:2", f"{family}:9", family)
    return {"deleted": [f"F:{each['revision']}" for each in answer["taskDefinitions"]],
            "failures": [(each["arn"].replace(family, "F"), each["reason"])
                         for each in answer["failures"]]}


@life("what is INACTIVE can still be described", "INACTIVE")
def _(world):
    name = revisions(world) + ":1"
    deregister(world, name)
    return status_of(world, name)


def inactive(world):
    """A reference to an INACTIVE revision, for a call in a cluster."""
    name = revisions(world) + ":1"
    deregister(world, name)
    return {"cluster": "default", "taskDefinition": name}


LIFE += [
    refusal("1.2", "describe what does not exist", "DescribeTaskDefinition",
            {"taskDefinition": "nothing"}, CLIENT, "Unable to describe task definition."),
    refusal("1.2", "describe a revision that does not exist", "DescribeTaskDefinition",
            lambda world: {"taskDefinition": revisions(world) + ":7"}, CLIENT,
            "Unable to describe task definition."),
    refusal("1.2", "describe an ARN of another Region", "DescribeTaskDefinition",
            {"taskDefinition": "arn:aws:ecs:eu-south-2:111122223333:task-definition/x:1"}, CLIENT,
            "Unable to describe task definition."),
    refusal("1.2", "describe without saying what", "DescribeTaskDefinition", {}, CLIENT,
            "TaskDefinition can not be blank."),
    refusal("1.2", "deregister without saying what", "DeregisterTaskDefinition", {}, CLIENT,
            "TaskDefinition can not be blank."),
    refusal("1.2", "deregister a family without a revision", "DeregisterTaskDefinition",
            lambda world: {"taskDefinition": revisions(world)}, CLIENT, "Revision is missing."),
    refusal("1.2", "deregister a revision that is no number", "DeregisterTaskDefinition",
            {"taskDefinition": "web:one"}, INVALID, "Invalid revision number. Number: one"),
    refusal("1.2", "describe a revision that is no number", "DescribeTaskDefinition",
            {"taskDefinition": "web:one"}, INVALID, "Invalid revision number. Number: one"),
    refusal("1.2", "deregister what does not exist", "DeregisterTaskDefinition",
            {"taskDefinition": "nothing:1"}, CLIENT,
            "The specified task definition does not exist."),
    refusal("1.2", "run what does not exist", "RunTask",
            {"cluster": "default", "taskDefinition": "nothing"}, CLIENT,
            "TaskDefinition not found."),
    refusal("1.2", "run what is INACTIVE", "RunTask", inactive, CLIENT,
            "TaskDefinition is inactive"),
    refusal("1.2", "start what is INACTIVE", "StartTask",
            lambda world: dict(inactive(world), containerInstances=["0" * 32]), CLIENT,
            "TaskDefinition is inactive"),
    refusal("1.2", "delete nothing", "DeleteTaskDefinitions", {"taskDefinitions": []}, INVALID,
            "size of TaskDefinition references list must be greater than 0"),
    refusal("1.2", "delete without a list", "DeleteTaskDefinitions", {}, INVALID,
            "size of TaskDefinition references list must be greater than 0"),
    refusal("1.2", "delete eleven", "DeleteTaskDefinitions",
            {"taskDefinitions": [f"x:{n}" for n in range(1, 12)]}, INVALID,
            "Size of TaskDefinition references list cannot exceed 10"),
]

CASES = MEMBERS + LIFE

UNREACHABLE = [
    Unreachable("1.2", "Too many concurrent attempts to create a new revision of the specified "
                "family.", "The engine applies one request at a time: no two registrations race."),
    Unreachable("1.2", "The family has reached its limit of 1000000 revisions.",
                "A test would need a million requests."),
]
