"""Messages and rules of ExecuteCommand."""
import botocore.exceptions

import exec_world
import stock_agent
from messages import Refusal, refusal, rules, send

INVALID = "InvalidParameterException"
ARN = "arn:aws:ecs:⟨region⟩:⟨account⟩:"
NOT_ENABLED = ("The execute command failed because execute command was not enabled when the task "
               "was run or the execute command agent isn’t running. Wait and try again or run a new "
               "task with execute command enabled and try again.")
NOT_RUNNING = ("The execute command failed because the task is not running. Run a new task with "
               "execute command enabled and try again.")
NOT_CONNECTED = "The execute command failed due to an internal error. Try again later."
CASES = []
rule = rules(CASES)


def bad(title, message, change, family="one", code=INVALID):
    """A task that could be entered, and a request that is wrong."""
    CASES.append(refusal("4.4", title, "ExecuteCommand", lambda world: {
        "cluster": "x", "task": world.task(family), "command": "sh", "interactive": True,
        **(change(world) if callable(change) else change)}, code, message))


bad("in a cluster that does not exist", "Cluster not found.", {"cluster": "none"},
    code="ClusterNotFoundException")
bad("of an empty task", "Task cannot be empty.", {"task": ""})
bad("of a task that does not exist", "The referenced task was not found.", {"task": "0" * 32})
bad("of a task of another cluster", "The referenced task was not found.", {"cluster": "empty"})
bad("with an empty command", "Command cannot be empty.", {"command": ""})
bad("that is not interactive", "Interactive is the only mode supported currently.",
    {"interactive": False})
bad("without a container where the task has several",
    "A container name must be specified for a task with multiple containers.", {}, family="two")
bad("in a container that the task does not have",
    "The container other does not exist in the task.", {"container": "other"}, family="two")
bad("in a task that was not enabled", NOT_ENABLED,
    lambda world: {"task": world.task(enableExecuteCommand=False)})
bad("in a task that does not run yet", NOT_ENABLED,
    lambda world: {"task": world.task(running=False)})


def stopping(world):
    task = world.task()
    world.ecs.stop_task(cluster="x", task=task)
    return {"task": task}


bad("in a task that is to stop", NOT_RUNNING, stopping)


def container_gone(world):
    task = world.task("two")
    world.host.task(task, "RUNNING", containers=[
        {"containerName": "side", "status": "STOPPED", "exitCode": 0}])
    return {"task": task, "container": "side"}


bad("in a container that ended", NOT_ENABLED, container_gone)


def asked(world, host, cluster):
    task = world.task(host=host, cluster=cluster)
    host.disconnect()
    while True:
        try:
            send(world.ecs, "ExecuteCommand",
                 {"cluster": cluster, "task": task, "command": "sh", "interactive": True})
        except botocore.exceptions.ClientError as error:
            return Refusal(error.response["Error"]["Code"], error.response["Error"]["Message"])


@rule("4.4", "on a host whose session is away", Refusal("TargetNotConnectedException", NOT_CONNECTED))
def _(world):
    name = world.fresh("away")
    world.ecs.create_cluster(clusterName=name)
    return asked(world, exec_world.Host(world.berth, name).connect(), name)


@rule("4.4", "on a host of Amazon's agent, whose sessions are AWS's",
      Refusal("TargetNotConnectedException", NOT_CONNECTED))
def _(world):
    name = world.fresh("stock")
    world.ecs.create_cluster(clusterName=name)
    host = stock_agent.StockAgent(world.berth, name).connect()
    task = world.task(host=host, cluster=name)
    host.task(task, "RUNNING", managedAgents=[
        {"containerName": "app", "managedAgentName": "ExecuteCommandAgent", "status": "RUNNING"}])
    return asked_of_stock(world, task, name)


def asked_of_stock(world, task, cluster):
    try:
        return world.execute(task, cluster=cluster)
    except botocore.exceptions.ClientError as error:
        return Refusal(error.response["Error"]["Code"], error.response["Error"]["Message"])


@rule("4.4", "what an accepted command is answered", {
    "clusterArn": ARN + "cluster/x", "containerArn": ARN + "container/x/⟨task⟩/⟨uuid⟩",
    "containerName": "app", "interactive": True, "taskArn": ARN + "task/x/⟨task⟩",
    "session": {"sessionId": "⟨session⟩", "tokenValue": "⟨token⟩",
                "streamUrl": "wss://10.254.254.1:⟨port⟩/v1/data-channel/⟨session⟩"
                             "?role=publish_subscribe"}})
def _(world):
    answer = world.execute(world.task())
    answer.pop("ResponseMetadata")
    world.words["session"] = answer["session"]["sessionId"]
    return answer


def agents(world, arn):
    return [{key: value for key, value in one.items() if key != "lastStartedAt"}
            for container in world.show(arn)["containers"]
            for one in container.get("managedAgents", [])]


def agent(status, **more):
    return {"name": "ExecuteCommandAgent", "lastStatus": status, **more}


rule("4.4", "managedAgents before the container runs", [agent("PENDING")])(
    lambda world: agents(world, world.task(running=False)))
rule("4.4", "managedAgents of a container that runs", [agent("RUNNING")])(
    lambda world: agents(world, world.task()))
rule("4.4", "managedAgents of a task that was not enabled", [])(
    lambda world: agents(world, world.task(enableExecuteCommand=False)))


@rule("4.4", "managedAgents of a container that ended",
      [agent("STOPPED", reason="Received Container Stopped event")])
def _(world):
    task = world.task()
    world.host.task(task, "STOPPED", containers=[
        {"containerName": "app", "status": "STOPPED", "exitCode": 0}])
    return agents(world, task)


def strict_service(operation, message):
    network = {"cluster": "x", **({"service": "s"} if operation == "UpdateService" else {"serviceName": "t"}),
               "enableExecuteCommand": True}
    if operation == "CreateService":
        network |= {"taskDefinition": "one", "desiredCount": 0}
    CASES.append(refusal("4.4", f"--strict: {operation} without a task role", operation,
                         network, INVALID, message, through="strict"))


strict_service("CreateService", "The service couldn't be created because a valid taskRoleArn is not "
               "being used. Specify a valid task role in your task definition and try again.")
strict_service("UpdateService", "The service couldn't be updated because a valid taskRoleArn is not "
               "being used. Specify a valid task role in your task definition and try again.")

UNREACHABLE = []
