"""Why tasks end: stopCode, stoppedReason and what containers tell."""
import stock_agent
from messages import Case, Unreachable
from task_world import lone_host, rules

CASES = []
rule = rules(CASES)


# ---- 2.4 stopCode and stoppedReason -------------------------------------------------------

def why(task):
    """What tells why a task ended."""
    return {"stopCode": task["stopCode"], "stoppedReason": task["stoppedReason"], "containers": [
        {name: one[name] for name in ("exitCode", "reason") if name in one}
        for one in task["containers"]]}


def ended(title, code, told, parts, ran=True, **report):
    """A task that nobody asked to stop, and what its host told."""
    def ask(world):
        task = world.run()
        if ran:
            world.report(task, "RUNNING")
        return why(world.end(task, **report))
    rule("2.4", title, {"stopCode": code, "stoppedReason": told, "containers": parts})(ask)


NOT_FOUND = ("CannotPullContainerError: pull image manifest has been retried 5 time(s): failed to "
             "resolve ref docker.io/library/x:y: not found")
ROLE = ("ResourceInitializationError: unable to pull secrets or registry auth: execution resource "
        "retrieval failed: unable to retrieve ecr registry auth: service call has been retried 3 "
        "time(s): x. Please check your task network configuration.")
FAILED = "TaskFailedToStart"
EXITED = "EssentialContainerExited"
ESSENTIAL = "Essential container in task exited"

ended("it never ran and the agent gives no reason", FAILED, "Task failed to start", [{}, {}],
      ran=False)
ended("it never ran and a container tells why", FAILED, "Task failed to start",
      [{"reason": NOT_FOUND}, {}], ran=False,
      containers=[{"containerName": "a", "status": "STOPPED", "reason": NOT_FOUND}])
ended("it never ran and the agent tells why", FAILED, NOT_FOUND, [{}, {}], ran=False,
      reason=NOT_FOUND)
ended("its resources could not be made", FAILED, ROLE, [{}, {}], ran=False, reason=ROLE)
ended("an essential container ended", EXITED, ESSENTIAL, [{"exitCode": 0}, {"exitCode": 143}],
      containers=[{"containerName": "a", "status": "STOPPED", "exitCode": 0},
                  {"containerName": "b", "status": "STOPPED", "exitCode": 143}])
ended("an essential container was out of memory", EXITED, ESSENTIAL,
      [{"exitCode": 137,
        "reason": "OutOfMemoryError: Container killed due to memory usage"}, {}],
      containers=[{"containerName": "a", "status": "STOPPED", "exitCode": 137,
                   "reason": "OutOfMemoryError: Container killed due to memory usage"}])
ended("an essential container ended before the task was RUNNING", EXITED, ESSENTIAL,
      [{"exitCode": 1}, {}], ran=False,
      containers=[{"containerName": "a", "status": "STOPPED", "exitCode": 1}])
ended("a reason of 1030 characters is cut at 1024", FAILED, "r" * 1024,
      [{"reason": "s" * 1024}, {}],
      ran=False, reason="r" * 1030,
      containers=[{"containerName": "a", "status": "STOPPED", "reason": "s" * 1030}])
CASES[-1] = Case(*[getattr(CASES[-1], name) for name in ("section", "title", "ask", "want")],
                 "stoppedReason and container.reason of 1024 characters")

for prefix, text in (
        ("DockerTimeoutError", "Could not transition to started; timed out after waiting 3m0s"),
        ("ContainerRuntimeTimeoutError",
         "Could not transition to started; timed out after waiting 3m0s"),
        ("CannotPullContainerError", "pull access denied"),
        ("CannotPullECRContainerError", "pull access denied"),
        ("CannotPullContainerAuthError", "no basic auth credentials"),
        ("CannotPullImageManifestError", "not found"),
        ("CannotCreateContainerError", "failed to get container status: x"),
        ("CannotStartContainerError", "failed to get container status: x"),
        ("CannotStopContainerError", "failed to get container status: x"),
        ("CannotInspectContainerError", "failed to get container status: x"),
        ("CannotDescribeContainerError", "failed to get container status: x"),
        ("CannotCreateVolumeError", "failed to get container status: x"),
        ("OutOfMemoryError", "Container killed due to memory usage"),
        ("DockerStateError", "OCI runtime create failed"),
        ("ContainerRuntimeError", "OCI runtime create failed"),
        ("ResourceInitializationError", "failed to initialize logging driver: x"),
        ("TaskDependencyError", "x"), ("TaskStoppedBeforePullBeginError", "x"),
        ("ContainerNetworkingError", "x"), ("ContainerVanishedError", "x"),
        ("HostConfigError", "x"),
        ("DockerClientConfigError", "x"), ("InvalidVolumeError", "x"),
        ("ImpossibleStateTransitionError", "x"),
        ("TaskStateError", "Agent could not progress task's state to stopped")):
    line = f"{prefix}: {text}"
    ended(f"container.reason {prefix} as the agent tells it", FAILED, "Task failed to start",
          [{"reason": line}, {}], ran=False,
          containers=[{"containerName": "a", "status": "STOPPED", "reason": line}])


@rule("2.4", "an essential container ends: the others are to stop, the task is still RUNNING",
      ["RUNNING", "STOPPED", "STOPPED", EXITED, ESSENTIAL])
def _(world):
    task = world.run()
    world.report(task, "RUNNING")
    world.host.container(task["taskArn"], "a", "STOPPED", exitCode=0)
    world.host.wait_stop(task["taskArn"])
    shown = world.show(task)
    return [shown["lastStatus"], shown["desiredStatus"], shown["containers"][0]["lastStatus"],
            shown["stopCode"], shown["stoppedReason"]]


@rule("2.4", "a container that is not essential ends: the task goes on", ["RUNNING", "RUNNING", 3])
def _(world):
    task = world.run()
    world.report(task, "RUNNING")
    world.host.container(task["taskArn"], "b", "STOPPED", exitCode=3)
    shown = world.show(task)
    return [shown["lastStatus"], shown["desiredStatus"], shown["containers"][1]["exitCode"]]


@rule("2.4", "StopTask without a reason", ["UserInitiated", "Task stopped by user"])
def _(world):
    stopped = world.stop(world.run())
    return [stopped["stopCode"], stopped["stoppedReason"]]


@rule("2.4", "StopTask with a reason outlasts the agent's own",
      {"stopCode": "UserInitiated", "stoppedReason": "enough",
       "containers": [{"exitCode": 137}, {"exitCode": 0}]})
def _(world):
    task = world.run()
    world.report(task, "RUNNING")
    world.stop(task, reason="enough")
    return why(world.end(task, reason="DockerTimeoutError: x", containers=[
        {"containerName": "a", "status": "STOPPED", "exitCode": 137},
        {"containerName": "b", "status": "STOPPED", "exitCode": 0}]))


@rule("2.4", "an instance is deregistered by force",
      ["UserInitiated", "Container instance deregistration forced by user"])
def _(world):
    name, host, task = lone_host(world)
    world.ecs.deregister_container_instance(cluster=name, containerInstance=host.arn, force=True)
    host.wait_stop(task["taskArn"])
    shown = stock_agent.status_of(world.ecs, name, task["taskArn"])
    host.disconnect()
    return [shown["stopCode"], shown["stoppedReason"]]


@rule("2.4", "a node is removed by force (no operation of ECS)",
      ["TerminationNotice", "Node ⟨name⟩ was removed by force while it had this task.", "STOPPED"])
def _(world):
    name, host, task = lone_host(world)
    stock_agent.post(world.berth, "Berth.RemoveNode", {"nodeId": host.node_id, "force": True})
    shown = stock_agent.wait_status(world.ecs, name, task["taskArn"], "STOPPED")
    host.disconnect()
    return [shown["stopCode"], shown["stoppedReason"], shown["containers"][0]["lastStatus"]]


UNREACHABLE = [
    Unreachable("2.4", "Timeout waiting for network interface provisioning to complete.",
                "an interface is made in the same step as its task; a host that does not take the "
                "task is waited for, and the task stays PROVISIONING"),
    Unreachable("2.4", "Timeout waiting for EphemeralStorage provisioning to complete.",
                "a task's storage is on its host: nothing is provisioned"),
    Unreachable("2.4", "ECS was unable to assume the role '⟨arn⟩' that was provided for this task. "
                "Please verify that the role being passed has the proper trust relationship and "
                "permissions and that your IAM user has permissions to pass this role.",
                "roles are not looked at until there is IAM"),
    Unreachable("2.4", "Unexpected EC2 error while attempting to Create Network Interface with "
                "public IP assignment enabled in subnet '⟨subnet⟩': "
                "InsufficientFreeAddressesInSubnet",
                "a subnet without a free address is a failure of RunTask: RESOURCE:ENI, or of "
                "Fargate's capacity with the subnet's name in detail"),
    Unreachable("2.4", "Task failed ELB health checks in (target-group ⟨arn⟩)",
                "there are no load balancers yet"),
    Unreachable("2.4", "ECS is performing maintenance on the underlying infrastructure hosting the "
                "task.", "hosts are the user's own: none is retired by Berth"),
    Unreachable("2.4", "Host EC2 (instance ⟨id⟩) terminated.",
                "hosts are no EC2 instances; one that is removed by force is named in the reason"),
]
