"""What tests of services have in common: making them, waiting for them, asking their tasks."""
import os
import time

import support


def make_house(folder, *images, healthy_after="1s"):
    """A Berth that counts a task as healthy soon: ECS waits forty seconds. For a fixture."""
    berth = support.Berth(folder, "--cpu-units", "16384", "--memory-mib", "32768",
                          "--healthy-after", healthy_after)
    berth.start()
    berth.load(*[f"{image}.tar.gz" for image in images])
    berth.client().create_cluster(clusterName="default")
    yield berth
    assert berth.stop() == 0, berth.tail()


def register(ecs, family, command=None, image="hello", check=None, **more):
    """A Fargate definition of one container `app`; check is a health check's command."""
    container = {"name": "app", "image": image, "essential": True}
    if command:
        container["entryPoint"] = ["/bin/sh", "-c"]
        container["command"] = [command]
    if check:
        container["healthCheck"] = {"command": ["CMD-SHELL", check], "interval": 5, "timeout": 30,
                                    "retries": 1}
    container.update(more)
    made = ecs.register_task_definition(
        family=family, networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256",
        memory="512", containerDefinitions=[container])
    return made["taskDefinition"]["taskDefinitionArn"]


def create(house, ecs, name, definition, count, **more):
    more.setdefault("launchType", "FARGATE")
    if more["launchType"] == "FARGATE":
        more.setdefault("networkConfiguration", house.network())
    return ecs.create_service(serviceName=name, taskDefinition=definition, desiredCount=count,
                              **more)["service"]


def describe(ecs, name):
    return ecs.describe_services(services=[name])["services"][0]


def messages(ecs, name):
    return [event["message"] for event in reversed(describe(ecs, name)["events"])]


def stable(ecs, name, seconds=support.PATIENCE):
    def reached():
        """one deployment, completed, with as many tasks as desired"""
        service = describe(ecs, name)
        first = service["deployments"][0]
        done = len(service["deployments"]) == 1 and first["rolloutState"] == "COMPLETED"
        return service if done and service["runningCount"] == service["desiredCount"] else None
    return support.wait_for(reached, seconds)


def steady(ecs, name, since, seconds=support.PATIENCE):
    """Wait until the service told more often than before that it has reached a steady state."""
    def told():
        """steady again"""
        return steadies(ecs, name) > since
    support.wait_for(told, seconds)


def steadies(ecs, name):
    return sum(m.endswith("has reached a steady state.") for m in messages(ecs, name))


def tasks_of(ecs, name, **more):
    arns = ecs.list_tasks(serviceName=name, **more)["taskArns"]
    return ecs.describe_tasks(tasks=arns)["tasks"] if arns else []


def running(ecs, name):
    """Its tasks that are RUNNING and are to be, by ARN."""
    return {task["taskArn"]: task for task in tasks_of(ecs, name)
            if task["lastStatus"] == task["desiredStatus"] == "RUNNING"}


def running_at_once(ecs, name):
    """The same, at one moment: between listing and describing tasks some may take the place of
    others, which would then be missed."""
    def unchanged():
        """two equal lists of the tasks, one before and one after they are described"""
        before = ecs.list_tasks(serviceName=name)["taskArns"]
        found = running(ecs, name)
        return (found,) if ecs.list_tasks(serviceName=name)["taskArns"] == before else None
    return support.wait_for(unchanged)[0]


def address(task):
    for interface in task["containers"][0].get("networkInterfaces", []):
        return interface.get("privateIpv4Address")
    return None


def remove(ecs, name):
    ecs.delete_service(service=name, force=True)
    deadline = time.monotonic() + support.PATIENCE
    while describe(ecs, name)["status"] != "INACTIVE":
        if time.monotonic() > deadline:
            left = [(t["taskArn"], t["lastStatus"], t["desiredStatus"], t.get("stoppedReason"))
                    for t in tasks_of(ecs, name) + tasks_of(ecs, name, desiredStatus="STOPPED")]
            raise AssertionError(f"{name} is not INACTIVE after {support.PATIENCE} s: {left}")
        time.sleep(0.02)


# ---- processes of tasks -----------------------------------------------------------------------

def children(pid):
    """A process's, the oldest first."""
    found = []
    for child in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{child}/stat", encoding="utf-8", errors="replace") as file:
                words = file.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(words[1]) == pid:
            found.append((int(words[19]), int(child)))
    return [child for _, child in sorted(found)]


def supervisors(mark):
    """Pids of supervisors whose command lines have a word with these bytes. What a supervisor is
    about to run looks like it for a moment: it is its child."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
            with open(f"/proc/{pid}/stat", "rb") as file:
                parent = int(file.read().rsplit(b")", 1)[1].split()[1])
        except OSError:
            continue  # it has ended
        if words[0].endswith(b"berth-task") and any(mark in word for word in words):
            found[int(pid)] = parent
    return [pid for pid, parent in found.items() if parent not in found]


def supervisor(task_arn):
    """The pid of the supervisor of a task."""
    def only():
        found = supervisors(task_arn.rsplit("/", 1)[1].encode())
        return found if len(found) == 1 else None
    only.__doc__ = f"one supervisor of {task_arn}"
    return support.wait_for(only)[0]


def container(task_arn):
    """The pid of the first process of a task's only container. Its checks are processes as well."""
    return children(supervisor(task_arn))[0]
