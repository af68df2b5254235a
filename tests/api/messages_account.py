"""Messages and rules of account settings, tags, attributes, pages and quotas."""
from messages import Refusal, Unreachable, refusal, refused, rules, send
from messages_clusters import cluster, instance
from messages_definitions import INVALID, revisions

ID = "0" * 32
ROOT = "arn:aws:iam::⟨account⟩:root"


def arn(world, path):
    return f"arn:aws:ecs:{world.words['region']}:{world.words['account']}:{path}"


RULES = []
case = rules(RULES)

# ---- account settings ---------------------------------------------------------------------

# ECS's values, the default first.
VALUES = {
    "awsvpcTrunking": "disabled,enabled", "containerInsights": "disabled,enabled,enhanced",
    "defaultLogDriverMode": "non-blocking,blocking", "fargateEventWindows": "disabled,enabled",
    "fargateFIPSMode": "disabled,enabled", "fargateTaskRetirementWaitPeriod": "7,0,14",
    "tagResourceAuthorization": "on,off"}
LONG = ("containerInstanceLongArnFormat", "serviceLongArnFormat", "taskLongArnFormat")


def put(title, members, message):
    return refusal("settings", title, "PutAccountSetting", members, INVALID, message)


SETTINGS = [
    *[put(f"a wrong value of {name}", {"name": name, "value": "wrong"},
          f"The value of the setting {name} should be one of [{values}].")
      for name, values in VALUES.items()],
    *[put(f"{name} disabled", {"name": name, "value": "disabled"},
          "You can no longer disable Long Arn settings") for name in LONG],
    put("guardDutyActivate", {"name": "guardDutyActivate", "value": "on"},
        "The setting guardDutyActivate is read-only: it is managed by another service."),
    put("a principal that is none", {"name": "awsvpcTrunking", "value": "enabled",
                                     "principalArn": "anna"},
        "Invalid principal ARN: anna. Specify the root user, a user or a role of this account."),
    put("no name", {"value": "enabled"}, "1 validation error detected: Value at 'name' failed to "
        "satisfy constraint: Member must not be null"),
    put("no value", {"name": "awsvpcTrunking"}, "1 validation error detected: Value at 'value' "
        "failed to satisfy constraint: Member must not be null"),
    put("an unknown name", {"name": "color", "value": "red"}, "1 validation error detected: Value at "
        "'name' failed to satisfy constraint: Member must satisfy enum value set: "
        "[serviceLongArnFormat, taskLongArnFormat, containerInstanceLongArnFormat, awsvpcTrunking, "
        "containerInsights, fargateFIPSMode, tagResourceAuthorization, "
        "fargateTaskRetirementWaitPeriod, guardDutyActivate, defaultLogDriverMode, "
        "fargateEventWindows]"),
    refusal("settings", "a filter by value without a name", "ListAccountSettings",
            {"value": "enabled"}, INVALID, "You must specify a setting name to filter by value."),
]


def effective(world):
    found = []
    for page in world.ecs.get_paginator("list_account_settings").paginate(effectiveSettings=True):
        found += page["settings"]
    return {setting["name"]: setting["value"] for setting in found}


@case("settings", "effective settings when nothing was set", {
    **{name: values.split(",")[0] for name, values in VALUES.items()},
    **{name: "enabled" for name in LONG}, "guardDutyActivate": "off"})
def _(world):
    return effective(world)


@case("settings", "what was set is shown with whose it is, and goes again", [
    ("awsvpcTrunking", "enabled", ROOT), ("awsvpcTrunking", "disabled", ROOT), 0])
def _(world):
    made = world.ecs.put_account_setting(name="awsvpcTrunking", value="enabled")["setting"]
    gone = world.ecs.delete_account_setting(name="awsvpcTrunking")["setting"]
    return [*((each["name"], each["value"], each["principalArn"]) for each in (made, gone)),
            len(world.ecs.list_account_settings(name="awsvpcTrunking")["settings"])]


@case("settings", "root sets those of a user; who has none gets the account's",
      ["enabled", "disabled"])
def _(world):
    user = f"arn:aws:iam::{world.words['account']}:user/{world.fresh('user')}"
    world.ecs.put_account_setting(name="fargateFIPSMode", value="enabled", principalArn=user)
    return [world.ecs.list_account_settings(name="fargateFIPSMode", effectiveSettings=True,
                                            **principal)["settings"][0]["value"]
            for principal in ({"principalArn": user}, {})]


# ---- tags ---------------------------------------------------------------------------------

def tag_cluster(title, tags, code, message):
    return refusal("tags", title, "TagResource", lambda world: {
        "resourceArn": arn(world, "cluster/" + cluster(world)), "tags": tags}, code, message)


def tagging(title, path, code, message, operation="TagResource"):
    """A case: tagging what an ARN of this account names."""
    more = {"tags": [{"key": "a", "value": "b"}]} if operation == "TagResource" else {}
    return refusal("tags", title, operation,
                   lambda world: {"resourceArn": arn(world, path), **more}, code, message)


def inactive_cluster(world):
    name = cluster(world)
    world.ecs.delete_cluster(cluster=name)
    return {"resourceArn": arn(world, "cluster/" + name), "tags": [{"key": "a", "value": "b"}]}


def inactive_definition(world):
    name = revisions(world) + ":1"
    world.ecs.deregister_task_definition(taskDefinition=name)
    return {"resourceArn": arn(world, "task-definition/" + name),
            "tags": [{"key": "a", "value": "b"}]}


def full_cluster(world):
    name = cluster(world, tags=[{"key": f"k{n}", "value": "v"} for n in range(50)])
    return {"resourceArn": arn(world, "cluster/" + name), "tags": [{"key": "more", "value": "v"}]}


NOT_FOUND = "ResourceNotFoundException"
TAGS = [
    refusal("tags", "no ARN", "TagResource", {"tags": []}, INVALID,
            "resourceArn can not be blank."),
    refusal("tags", "an ARN that is none", "TagResource",
            {"resourceArn": "web", "tags": [{"key": "a", "value": "b"}]}, INVALID,
            "Invalid resource ARN: web"),
    refusal("tags", "an ARN of another account", "TagResource",
            {"resourceArn": "arn:aws:ecs:eu-south-2:111122223333:cluster/x",
             "tags": [{"key": "a", "value": "b"}]}, INVALID,
            "The resource ARN is of another account or Region: "
            "arn:aws:ecs:eu-south-2:111122223333:cluster/x"),
    tag_cluster("no tags", [], INVALID, "Tags can not be empty."),
    tag_cluster("a key that AWS keeps", [{"key": "AWS:x", "value": "v"}], INVALID,
                "Tag keys that begin with 'aws:' are reserved. Key: AWS:x"),
    tag_cluster("a value that AWS keeps", [{"key": "x", "value": "aws:v"}], INVALID,
                "Tag values that begin with 'aws:' are reserved. Key: x"),
    tag_cluster("one key twice", [{"key": "x", "value": "1"}, {"key": "x", "value": "2"}], INVALID,
                "Duplicate tag keys found. Key: x"),
    tag_cluster("an empty key", [{"key": "", "value": "1"}], INVALID,
                "1 validation error detected: Value '' at 'tags[0].key' failed to satisfy "
                "constraint: Member must have length greater than or equal to 1"),
    tag_cluster("a key of 129 characters", [{"key": "x" * 129, "value": "1"}], INVALID,
                "1 validation error detected: Value at 'tags[0].key' failed to satisfy constraint: "
                "Member must have length less than or equal to 128"),
    tag_cluster("a bad character", [{"key": "a#", "value": "1"}], INVALID,
                "Tags can only have letters, numbers, spaces and _.:/=+-@. Key: a#"),
    refusal("tags", "a 51st tag", "TagResource", full_cluster, "LimitExceededException",
            "The maximum number of tags is 50."),
    tagging("a cluster that is not there", "cluster/nowhere", "ClusterNotFoundException",
            "Cluster not found."),
    tagging("a task that is not there", f"task/default/{ID}", NOT_FOUND,
            "The specified task was not found. Verify the ARN and try again."),
    tagging("a task definition that is not there", "task-definition/nothing:1", NOT_FOUND,
            "The specified task definition was not found. Verify the ARN and try again."),
    tagging("a container instance that is not there", f"container-instance/default/{ID}", NOT_FOUND,
            "The specified container instance was not found. Verify the ARN and try again."),
    tagging("a service that is not there", "service/default/nothing", NOT_FOUND,
            "The specified service was not found. Verify the ARN and try again."),
    tagging("the list of a task that is not there", f"task/default/{ID}", INVALID,
            "The specified task was not found. Verify the ARN and try again.",
            "ListTagsForResource"),
    tagging("a short ARN", f"task/{ID}", INVALID,
            "Long arn format must be used for tagging operations"),
    tagging("a task definition without a revision", "task-definition/x", INVALID,
            "The ARN of a task definition must hold its revision."),
    tagging("what cannot have tags", "attachment/x", INVALID,
            "Resources of the type attachment cannot be tagged."),
    refusal("tags", "an INACTIVE cluster", "TagResource", inactive_cluster, INVALID,
            "The specified cluster is inactive. Specify an active cluster and try again."),
    refusal("tags", "an INACTIVE task definition", "TagResource", inactive_definition, INVALID,
            "The specified task definition is inactive. Specify an active task definition and try "
            "again."),
    refusal("tags", "take away nothing", "UntagResource", lambda world: {
        "resourceArn": arn(world, "cluster/" + cluster(world)), "tagKeys": []}, INVALID,
            "Tag keys cannot be empty."),
    refusal("tags", "take away what AWS keeps", "UntagResource", lambda world: {
        "resourceArn": arn(world, "cluster/" + cluster(world)), "tagKeys": ["aws:x"]}, INVALID,
            "Tag keys that begin with 'aws:' are reserved. Key: aws:x"),
]


@case("tags", "a tag of the same key takes the old one's place; what is not there goes without a word",
      [{"key": "a", "value": "2"}])
def _(world):
    name = arn(world, "cluster/" + cluster(world, tags=[{"key": "a", "value": "1"},
                                                        {"key": "b", "value": "1"}]))
    world.ecs.tag_resource(resourceArn=name, tags=[{"key": "a", "value": "2"}])
    world.ecs.untag_resource(resourceArn=name, tagKeys=["b", "none"])
    return world.ecs.list_tags_for_resource(resourceArn=name)["tags"]


# ---- attributes ---------------------------------------------------------------------------

def attributes_case(title, items, message, code=INVALID, operation="PutAttributes"):
    """A case: attributes of a container instance; ⟨me⟩ as a target means that one."""
    def arguments(world):
        name = cluster(world)
        me = instance(world, name)
        return {"cluster": name, "attributes": [
            {**item, **({"targetId": me} if item.get("targetId", "⟨me⟩") == "⟨me⟩" else {})}
            for item in items]}
    return refusal("attributes", title, operation, arguments, code, message)


NAME_RULE = "is not valid: it has 1 to 128 letters, numbers and -_/\\."
ATTRIBUTES = [
    attributes_case("none", [], "Attributes cannot be empty."),
    attributes_case("eleven", [{"name": f"a{n}"} for n in range(11)],
                    "attributes can have at most 10 items."),
    attributes_case("a name with a space", [{"name": "a b"}],
                    "Attribute name 'a b' " + NAME_RULE),
    attributes_case("a name that ECS keeps", [{"name": "ecs.os-type"}],
                    "Attribute name 'ecs.os-type' is reserved."),
    attributes_case("a value with a bad character", [{"name": "a", "value": "#"}],
                    "Value of the attribute 'a' is not valid: it has up to 128 letters, numbers, "
                    "-_/\\.@: and spaces inside."),
    attributes_case("an empty target", [{"name": "a", "targetId": ""}],
                    "Target id can not be blank."),
    attributes_case("a short id without a type", [{"name": "a", "targetId": ID}],
                    "Target type must be specified when the target id is no ARN."),
    attributes_case("a target that is not there", [
        {"name": "a", "targetType": "container-instance", "targetId": ID}],
                    f"Could not find {ID}", "TargetNotFoundException"),
    attributes_case("delete with a value", [{"name": "a", "value": "b"}],
                    "Attributes to delete are named without a value.",
                    operation="DeleteAttributes"),
    attributes_case("delete of a target that is not there", [
        {"name": "a", "targetType": "container-instance", "targetId": ID}],
                    f"Could not find {ID}", "TargetNotFoundException", "DeleteAttributes"),
]


@case("attributes", "an eleventh custom attribute", Refusal(
    "AttributeLimitExceededException",
    "A container instance can have at most 10 custom attributes."))
def _(world):
    name = cluster(world)
    me = instance(world, name)
    send(world.ecs, "PutAttributes", {"cluster": name, "attributes": [
        {"name": f"a{n}", "targetId": me} for n in range(10)]})
    return refused(world.ecs, "PutAttributes", cluster=name,
                   attributes=[{"name": "more", "targetId": me}])


@case("attributes", "put, listed by value, put again, deleted", [["x"], [], ["x"], []])
def _(world):
    name = cluster(world)
    me = instance(world, name)
    seen = []

    def having(value):
        found = world.ecs.list_attributes(cluster=name, targetType="container-instance",
                                          attributeName="x", attributeValue=value)["attributes"]
        seen.append([each["name"] for each in found if each["targetId"] == me])
    world.ecs.put_attributes(cluster=name, attributes=[
        {"name": "x", "value": "1", "targetId": me}])
    having("1")
    world.ecs.put_attributes(cluster=name, attributes=[
        {"name": "x", "value": "2", "targetId": me}])
    having("1")
    having("2")
    world.ecs.delete_attributes(cluster=name, attributes=[{"name": "x", "targetId": me}])
    having("2")
    return seen


# ---- pages and quotas ---------------------------------------------------------------------

# Each listing with its greatest page.
LISTINGS = {"ListAccountSettings": 10, "ListAttributes": 100, "ListClusters": 100,
            "ListContainerInstances": 100, "ListTaskDefinitionFamilies": 100,
            "ListServices": 100, "ListTaskDefinitions": 100, "ListTasks": 100}
WANTS = {"ListAttributes": {"targetType": "container-instance"}}
PAGES = [
    *[refusal("pages", f"{operation}: maxResults {size}", operation,
              {"maxResults": size, **WANTS.get(operation, {})}, INVALID,
              f"maxResults must be between 1 and {most}.")
      for operation, most in LISTINGS.items() for size in (0, most + 1)],
    *[refusal("pages", f"{operation}: a nextToken of someone else", operation,
              {"nextToken": "x", **WANTS.get(operation, {})}, INVALID, "Invalid token")
      for operation in LISTINGS],
    *[refusal("pages", f"{operation} of {most + 1}", operation,
              {"cluster": "default", member: [ID] * (most + 1), **more}, INVALID,
              f"{called} can have at most {most} items.")
      for operation, member, called, most, more in (
          ("DescribeTasks", "tasks", "taskIds", 100, {}),
          ("DescribeContainerInstances", "containerInstances", "instanceIds", 100, {}),
          ("DescribeServices", "services", "service names", 10, {}),
          ("UpdateContainerInstancesState", "containerInstances", "instanceIds", 10,
           {"status": "DRAINING"}),
          ("GetTaskProtection", "tasks", "taskIds", 100, {}),
          ("UpdateTaskProtection", "tasks", "taskIds", 10, {"protectionEnabled": True}))],
    refusal("pages", "DescribeClusters of 101", "DescribeClusters", {"clusters": ["x"] * 101},
            INVALID, "clusters can have at most 100 items."),
    refusal("pages", "a cluster with 21 capacity providers", "CreateCluster",
            {"clusterName": "many", "capacityProviders": [f"p{n}" for n in range(21)]}, INVALID,
            "A cluster can have at most 20 capacity providers."),
]


@case("pages", "the greatest page is the usual one, of settings as of clusters", [10, 100])
def _(world):
    found = len(world.ecs.list_clusters()["clusterArns"])
    for _ in range(found, 101):
        cluster(world)
    return [len(world.ecs.list_account_settings(effectiveSettings=True)["settings"]),
            len(world.ecs.list_clusters()["clusterArns"])]


@case("pages", "a token is good only for the listing that gave it", Refusal(INVALID,
                                                                           "Invalid token"))
def _(world):
    token = world.ecs.list_account_settings(effectiveSettings=True, maxResults=1)["nextToken"]
    return refused(world.ecs, "ListClusters", nextToken=token)


CASES = SETTINGS + TAGS + ATTRIBUTES + PAGES + RULES

UNREACHABLE = [
    Unreachable("settings", "The limit of 100000 account settings is reached.",
                "A test would need a hundred thousand requests."),
    Unreachable("settings", "You must be the root user, or the principal itself, to use "
                "principalArn.", "Every key is root's until IAM is built; a unit test says so for "
                "others."),
]
