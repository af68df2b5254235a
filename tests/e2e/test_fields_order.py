"""Members about when containers start, whether they are well, and how they end."""
import support
from fields import PATIENT, SLEEP, box, task


def wait_for_output(node, arn, text, count=1):
    def written():
        return node.run("logs", arn, "main", check=False).stdout.count(text) >= count
    written.__doc__ = f"{count} times {text!r} in the output of {arn}"
    support.wait_for(written, step=0.1)


def then(condition, container="first"):
    return [{"containerName": container, "condition": condition}]


SHARED = {"volumes": [{"name": "v"}]}
MOUNT = {"user": "0", "mountPoints": [{"sourceVolume": "v", "containerPath": "/v"}]}


@task(box("sleep 0.3; echo done > /v/first", name="first", essential=False, **MOUNT),
      box("cat /v/first", dependsOn=then("COMPLETE"), **MOUNT), **SHARED)
def test_depends_on_complete(ended):
    assert ended.output() == "done\n"


@task(box("exit 3", name="first", essential=False),
      box("echo ran", dependsOn=then("COMPLETE")))
def test_depends_on_complete_takes_any_exit_code(ended):
    assert (ended.code("first"), ended.output()) == (3, "ran\n")


@task(box("exit 3", name="first", essential=False),
      box("echo ran", dependsOn=then("SUCCESS")))
def test_depends_on_success(ended):
    """What did not end well keeps its dependants from starting, and the task with them."""
    assert ended.code("first") == 3
    assert ended.code() is None
    assert ended.container()["reason"] == (
        "CannotStartContainerError: dependency 'first' cannot reach SUCCESS: it exited with code 3")


@task(box("sleep 0.3; touch /v/well; " + SLEEP, name="first", essential=False, healthCheck={
    "command": ["CMD-SHELL", "test -e /v/well"], "interval": 5, "retries": 10}, **MOUNT),
      box("ls /v", dependsOn=then("HEALTHY"), **MOUNT), **SHARED)
def test_depends_on_healthy(ended):
    assert ended.output() == "well\n"


@task(box("echo started > /v/first; " + SLEEP, name="first", essential=False, **MOUNT),
      box("while ! cat /v/first; do sleep 0.05; done 2>/dev/null", dependsOn=then("START"),
          **MOUNT), **SHARED)
def test_depends_on_start(ended):
    assert ended.output() == "started\n"


@task(box("trap 'rm /v/up; ls /v; exit 0' TERM; touch /v/up; while :; do sleep 0.05; done",
          name="first", essential=False, **PATIENT, **MOUNT),
      box("trap 'sleep 0.3; touch /v/ended; exit 0' TERM; until test -e /v/up; do sleep 0.05; done; "
          "echo up; while :; do sleep 0.05; done",
          dependsOn=then("START"), **PATIENT, **MOUNT), **SHARED)
def test_depends_on_orders_the_end(node, live):
    """What depends ends first: when the other is asked to, it has."""
    wait_for_output(node, live, "up")
    node.ecs.stop_task(task=live)
    assert node.stopped(live).output("first") == "ended\n"


@task(box(SLEEP, name="first", startTimeout=2, healthCheck={
    "command": ["CMD-SHELL", "exit 1"], "interval": 60, "retries": 10}),
      box("echo ran", dependsOn=then("HEALTHY")))
def test_start_timeout(ended):
    """The task gives up 2 s after a container began that its dependants wait for."""
    assert ended.code() is None
    assert ended.container()["reason"] == (
        "CannotStartContainerError: dependency 'first' cannot reach HEALTHY: it took longer than "
        "its startTimeout of 2 s")


@task(box("trap 'echo asked' TERM; touch /v/up; while :; do sleep 0.1; done", name="deaf",
          essential=False, stopTimeout=7, **MOUNT),
      box("while ! test -e /v/up; do sleep 0.05; done", **MOUNT), **SHARED)
def test_stop_timeout(ended):
    """SIGTERM, then SIGKILL once the container's own 7 s are over."""
    assert ended.log("deaf") == "asked\n"
    assert ended.code("deaf") == 137
    waited = (ended.task["stoppedAt"] - ended.task["executionStoppedAt"]).total_seconds()
    assert waited >= 6.9


@task(box("while ! test -e /v/up; do sleep 0.05; done; exit 5", essential=True, **MOUNT),
      box("trap 'exit 6' TERM; touch /v/up; while :; do sleep 0.1; done", name="other",
          essential=False, **PATIENT, **MOUNT), **SHARED)
def test_essential(ended):
    """The end of an essential container ends the task."""
    assert (ended.code(), ended.code("other")) == (5, 6)
    assert ended.task["stopCode"] == "EssentialContainerExited"
    assert ended.reason == "Essential container in task exited"


@task(box("exit 5", name="helper", essential=False),
      box("sleep 0.5; echo still here"))
def test_essential_false(ended):
    assert ended.code("helper") == 5
    assert ended.output() == "still here\n"


# The first check is made after one interval, and 5 s is the shortest. A check's own output goes
# nowhere, so these write where the container's first process does.
TELL = "echo check >/proc/1/fd/1"


@task(box("touch /tmp/well; " + SLEEP, healthCheck={
    "command": ["CMD-SHELL", "test -e /tmp/well"], "interval": 5}))
def test_health_check_command(node, live):
    """It runs inside the container: a file there decides."""
    described = node.until(live, healthStatus="HEALTHY")
    assert described["containers"][0]["healthStatus"] == "HEALTHY"


@task(box(SLEEP, healthCheck={"command": ["CMD-SHELL", TELL + "; exit 1"],
                              "interval": 5, "retries": 2}))
def test_health_check_retries(node, live):
    """It takes that many failures; the task goes on with it."""
    described = node.until(live, healthStatus="UNHEALTHY")
    assert described["lastStatus"] == "RUNNING"
    wait_for_output(node, live, "check", 2)


@task(box(SLEEP, healthCheck={
    "command": ["CMD-SHELL", "cat /proc/uptime >/proc/1/fd/1"], "interval": 5}))
def test_health_check_interval(node, live):
    """From the end of a check to the next; the file counts in steps of 10 ms."""
    wait_for_output(node, live, "\n", 2)
    first, second = (float(line.split()[0]) for line in node.run("logs", live).splitlines()[:2])
    assert second - first >= 4.98


@task(box(SLEEP, healthCheck={"command": ["CMD-SHELL", "exec sleep 4321"], "interval": 5,
                              "timeout": 2, "retries": 1}))
def test_health_check_timeout(node, live):
    """A check that takes longer has failed, and does not stay."""
    node.until(live, healthStatus="UNHEALTHY")

    def gone():
        """no process of the check is left"""
        return not any("4321" in words for words in node.commands(live, "main"))
    support.wait_for(gone)
    assert node.commands(live, "main")


@task(box(SLEEP, healthCheck={"command": ["CMD-SHELL", TELL + "; exit 1"],
                              "interval": 5, "retries": 1, "startPeriod": 300}))
def test_health_check_start_period(node, live):
    """Failures within it do not count: when the second check begins, the first has not."""
    wait_for_output(node, live, "check", 2)
    assert node.describe(live)["healthStatus"] == "UNKNOWN"
