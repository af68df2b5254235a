"""What holds for every operation: form of answers and errors, references, who may ask."""
import json

from messages import Case, Unreachable, refusal, refused, send
from messages_definitions import CLIENT, INVALID, request

JSON = "application/x-amz-json-1.1"
NOWHERE = {"cluster": "nowhere"}
ID = "0" * 32


# ---- the raw side of a call ---------------------------------------------------------------

def raw(client, operation, change=None, **arguments):
    """Call an operation; returns the bare response. Change may alter the request before it is
    signed and sent."""
    seen = {}

    def after(http_response, **_):
        seen["http"] = http_response

    def before(params, **_):
        change(params)
    events = client.meta.events
    events.register(f"after-call.ecs.{operation}", after)
    if change is not None:
        events.register(f"before-call.ecs.{operation}", before)
    try:
        send(client, operation, arguments)
    except client.exceptions.ClientError:
        pass
    finally:
        events.unregister(f"after-call.ecs.{operation}", after)
        if change is not None:
            events.unregister(f"before-call.ecs.{operation}", before)
    return seen["http"]


def answer(response):
    """An error as it goes over the wire: status, header, body."""
    return {"status": response.status_code, "type": response.headers.get("x-amzn-errortype"),
            "content": response.headers["content-type"], "body": json.loads(response.content)}


def error_form(world):
    return answer(raw(world.ecs, "DescribeTaskDefinition", taskDefinition="nothing"))


def conflict_form(world):
    return sorted(answer(raw(world.ecs, "DeleteCluster", cluster="nowhere"))["body"])


def body_of(text):
    """A case's question: ListClusters with another body."""
    def ask(world):
        def change(params):
            params["body"] = text
        return answer(raw(world.ecs, "ListClusters", change))["body"]
    return ask


def unknown_operation(world):
    def change(params):
        params["headers"]["X-Amz-Target"] = "AmazonEC2ContainerServiceV20141113.MakeCoffee"
    return answer(raw(world.ecs, "ListClusters", change))["body"]["__type"]


def decoded(world, operation, **arguments):
    return json.loads(raw(world.ecs, operation, **arguments).content)


def time_form(world):
    made = decoded(world, "RegisterTaskDefinition", **request(world))["taskDefinition"]
    at = made["registeredAt"]
    return {"number": isinstance(at, (int, float)), "milliseconds": round(at, 3) == at,
            "seconds": 1.5e9 < at < 1e10}


def nulls(value):
    """Whether there is a null anywhere in a decoded document."""
    if isinstance(value, dict):
        return any(nulls(item) for item in value.values())
    if isinstance(value, list):
        return any(nulls(item) for item in value)
    return value is None


def no_nulls(world):
    made = decoded(world, "RegisterTaskDefinition", **request(world))
    return [nulls(made), nulls(decoded(world, "DescribeTaskDefinition",
                                       taskDefinition=made["taskDefinition"]["family"])),
            nulls(decoded(world, "DescribeClusters"))]


def null_is_absent(world):
    def change(params):
        body = json.loads(params["body"])
        body["cpu"] = None
        body["containerDefinitions"][0]["memoryReservation"] = None
        params["body"] = json.dumps(body).encode()
    made = json.loads(raw(world.ecs, "RegisterTaskDefinition", change, **request(world)).content)
    return "cpu" in made["taskDefinition"]


def empty_lists(world):
    made = decoded(world, "RegisterTaskDefinition", **request(world))["taskDefinition"]
    container = made["containerDefinitions"][0]
    described = decoded(world, "DescribeClusters", clusters=["default"])
    return {
        "taskDefinition": sorted(name for name, value in made.items() if value == []),
        "container": sorted(name for name, value in container.items() if value == []),
        "DescribeClusters": sorted(name for name, value in described.items() if value == []),
        "cluster": sorted(name for name, value in described["clusters"][0].items() if value == []),
        "DescribeTaskDefinition": decoded(world, "DescribeTaskDefinition",
                                          taskDefinition=made["family"])["tags"],
        "DescribeTasks": decoded(world, "DescribeTasks", cluster="default", tasks=[ID])["tasks"],
    }


def request_id(world):
    response = raw(world.ecs, "ListClusters")
    value = response.headers["x-amzn-requestid"]
    return [len(part) for part in value.split("-")]


def arn_of_an_instance(world):
    made = world.ecs.register_container_instance(cluster="default", totalResources=[
        {"name": name, "type": "INTEGER", "integerValue": 64} for name in ("CPU", "MEMORY")])
    arn = made["containerInstance"]["containerInstanceArn"]
    head, name = arn.rsplit("/", 1)
    found = [world.ecs.describe_container_instances(cluster="default", containerInstances=[given])[
        "containerInstances"][0]["containerInstanceArn"] == arn for given in (arn, name)]
    return {"arn": head, "hex digits": len(name), "named by ARN and by id": found,
            "hex": set(name) <= set("0123456789abcdef")}


def by_name_and_arn(world):
    arn = f"arn:aws:ecs:{world.words['region']}:{world.words['account']}:cluster/default"
    return [world.ecs.describe_clusters(clusters=[name])["clusters"][0]["clusterArn"] == arn
            for name in ("default", arn)]


def forbidden(section, title, code, message, **changes):
    """A case: ListClusters of a client with other keys."""
    return Case(section, title,
                lambda world: refused(world.berth.client("ecs", **changes), "ListClusters"),
                (code, message))


# What ECS calls a cluster that is not there, and each operation that says so.
NO_CLUSTER = [refusal("0", f"{operation} in a cluster that does not exist", operation,
                      {**NOWHERE, **more}, "ClusterNotFoundException", "Cluster not found.")
              for operation, more in {
                  "CreateService": {"serviceName": "s", "taskDefinition": "x"},
                  "DeleteAttributes": {"attributes": [{"name": "a", "targetId": ID}]},
                  "DeleteCluster": {},
                  "DeleteService": {"service": "s"},
                  "DeregisterContainerInstance": {"containerInstance": ID},
                  "DescribeContainerInstances": {"containerInstances": [ID]},
                  "DescribeServices": {"services": ["s"]},
                  "DescribeTasks": {"tasks": [ID]},
                  "GetTaskProtection": {"tasks": [ID]},
                  "ListAttributes": {"targetType": "container-instance"},
                  "ListContainerInstances": {},
                  "ListServices": {},
                  "ListTasks": {},
                  "PutAttributes": {"attributes": [{"name": "a", "targetId": ID}]},
                  "PutClusterCapacityProviders": {"capacityProviders": [],
                                                  "defaultCapacityProviderStrategy": []},
                  "RunTask": {"taskDefinition": "x"},
                  "StartTask": {"taskDefinition": "x", "containerInstances": [ID]},
                  "StopTask": {"task": ID},
                  "UpdateCluster": {},
                  "UpdateClusterSettings": {"settings": [{"name": "containerInsights",
                                                          "value": "enabled"}]},
                  "UpdateContainerAgent": {"containerInstance": ID},
                  "UpdateContainerInstancesState": {"containerInstances": [ID],
                                                    "status": "DRAINING"},
                  "UpdateService": {"service": "s"},
                  "UpdateTaskProtection": {"tasks": [ID], "protectionEnabled": True},
              }.items()]

CASES = [
    Case("0", "an error over the wire", error_form, {
        "status": 400, "type": CLIENT, "content": JSON,
        "body": {"__type": CLIENT, "message": "Unable to describe task definition."}}),
    Case("0", "an error has no other members", conflict_form, ["__type", "message"]),
    Case("0", "times are seconds since 1970 with milliseconds", time_form,
         {"number": True, "milliseconds": True, "seconds": True}),
    Case("0", "no answer holds null", no_nulls, [False, False, False]),
    Case("0", "a member that is null counts as absent", null_is_absent, False),
    Case("0", "lists that are sent as [] when they are empty", empty_lists, {
        "taskDefinition": ["placementConstraints", "volumes"],
        "container": ["environment", "mountPoints", "portMappings", "systemControls",
                      "volumesFrom"],
        "DescribeClusters": ["failures"],
        "cluster": ["capacityProviders", "defaultCapacityProviderStrategy", "settings",
                    "statistics", "tags"],
        "DescribeTaskDefinition": [], "DescribeTasks": []}),
    Case("0", "the request id is a UUID", request_id, [8, 4, 4, 4, 12]),
    Case("0", "clusters are named by name or ARN", by_name_and_arn, [True, True]),
    Case("0", "the ARN of a container instance", arn_of_an_instance, {
        "arn": "arn:aws:ecs:⟨region⟩:⟨account⟩:container-instance/default", "hex digits": 32,
        "named by ARN and by id": [True, True], "hex": True}),
    Case("0", "an operation that does not exist", unknown_operation, "UnknownOperationException"),
    Case("0", "a body that is no JSON", body_of(b"{"),
         {"__type": "SerializationException",
          "message": "line 1, column 1: string or '}' expected near end of file"}),
    Case("0", "a string where a list belongs", lambda world: answer(raw(
        world.ecs, "DescribeClusters", lambda params: params.update(
            body=b'{"clusters":"default"}')))["body"],
         {"__type": "SerializationException", "message": "clusters expected a list"}),
    Case("0", "a number where a string belongs", body_of(b'{"nextToken":1}'),
         {"__type": "SerializationException", "message": "nextToken expected a string"}),
    Case("0", "a string where a number belongs", body_of(b'{"maxResults":"1"}'),
         {"__type": "SerializationException", "message": "maxResults expected an integer"}),
    Case("0", "a member twice", body_of(b'{"maxResults":1,"maxResults":2}'),
         {"__type": "SerializationException",
          "message": "line 1, column 28: duplicate object key near '\"maxResults\"'"}),
    Case("0", "a member that no model has is ignored",
         lambda world: sorted(body_of(b'{"color":"red"}')(world)), ["clusterArns"]),
    forbidden("0", "a wrong secret", "InvalidSignatureException",
              "The request signature we calculated does not match the signature you provided. Check "
              "your AWS Secret Access Key and signing method. Consult the service documentation for "
              "details.", aws_secret_access_key="wrong"),
    forbidden("0", "an unknown key", "UnrecognizedClientException",
              "The security token included in the request is invalid.",
              aws_access_key_id="AKIAIOSFODNN7EXAMPLE"),
    refusal("0", "a required member that is missing", "ListAttributes", {}, INVALID,
            "1 validation error detected: Value at 'targetType' failed to satisfy constraint: Member "
            "must not be null"),
    refusal("0", "a value that is none of an enum", "ListTaskDefinitions", {"status": "OLD"},
            INVALID, "1 validation error detected: Value at 'status' failed to satisfy constraint: "
            "Member must satisfy enum value set: [ACTIVE, INACTIVE, DELETE_IN_PROGRESS]"),
    *NO_CLUSTER,
]

UNREACHABLE = [
    Unreachable("0", "BlockedException: Your Amazon Web Services account was blocked.",
                "Nobody blocks accounts of a Berth."),
    Unreachable("0", "ServerException",
                "The server answers so to a change while its disk is full "
                "(`tests/api/test_full_disk.py`), and when it fails inside."),
    Unreachable("0", "ThrottlingException: Rate exceeded",
                "Said when the store is behind. Requests are not counted against buckets."),
    Unreachable("0", "NamespaceNotFoundException", "Cloud Map is not built yet."),
]
