"""restartPolicy: which containers are started again, and what they find then."""
import time

import services
from fields import box, task


def policy(**members):
    return {"enabled": True, **members}


# As much as a container can tell of its own age: each run adds a line, in its writable layer.
COUNT = "echo run >>/tmp/runs; wc -l </tmp/runs"


@task(box(f"{COUNT}; test $(wc -l </tmp/runs) -gt 1 && exit 0; "
          "until test -e /tmp/go; do sleep 0.1; done; exit 1",
          restartPolicy=policy(ignoredExitCodes=[0], restartAttemptPeriod=60)))
def test_restart_attempt_period(node, live):
    """One that ran for its period is started again: same files, same log, and the task goes on.

    The second run ends soon, with a code that is ignored: that is the container's end.
    """
    node.until(live, lastStatus="RUNNING")
    time.sleep(60.1)  # its period began before anybody was told
    with open(f"/proc/{services.container(live)}/root/tmp/go", "w", encoding="utf-8"):
        pass
    ended = node.stopped(live)
    assert ended.output() == "1\n2\n"
    assert ended.task["stopCode"] == "EssentialContainerExited"
    assert (ended.task["stoppedAt"] - ended.task["startedAt"]).total_seconds() > 60


@task(box(f"{COUNT}; exit 1", restartPolicy=policy(restartAttemptPeriod=60)))
def test_restart_too_soon(ended):
    """One that ran for less than its period is not."""
    assert (ended.code(), ended.log()) == (1, "1\n")


@task(box(f"{COUNT}; exit 7", restartPolicy=policy(ignoredExitCodes=[7, 8])))
def test_ignored_exit_codes(ended):
    assert (ended.code(), ended.log()) == (7, "1\n")


@task(box(f"{COUNT}; exit 1", restartPolicy={"enabled": False}))
def test_restart_disabled(ended):
    assert (ended.code(), ended.log()) == (1, "1\n")
