"""When a task came how far: `berth ps TASK`, and the same for programs."""
import json
import re

import pytest

import support
from fields import SLEEP, box, task

START = ["queued", "pulling", "pulled", "networkReady", "created"]


def timeline(node, arn):
    return json.loads(node.run("ps", arn, "--json"))


def steps(shown, container=None):
    return [one["step"] for one in shown["timeline"]
            if one.get("container") in (None, container)]


def told(node, arn, step, container=None):
    """The timeline, once it has a step: hosts tell a little later."""
    def has():
        shown = timeline(node, arn)
        return shown if any(one["step"] == step and one.get("container") == container
                            for one in shown["timeline"]) else None
    has.__doc__ = f"{step} of {container}"
    return support.wait_for(has)


CHECK = {"command": ["CMD-SHELL", "true"], "interval": 5, "startPeriod": 0}


@task(box("exit 0", name="first", essential=False),
      box(SLEEP, healthCheck=CHECK, dependsOn=[{"containerName": "first", "condition": "SUCCESS"}]))
def test_a_life(node, live):
    shown = told(node, live, "healthy", "main")
    assert [one for one in steps(shown) if one != "running"] == START
    assert steps(shown, "first")[5:7] == ["started", "exited"]
    assert [one for one in steps(shown, "main") if one not in START] in (
        ["started", "running", "healthy"], ["running", "started", "healthy"])
    first = shown["timeline"][0]
    assert (first["step"], first["afterMs"]) == ("queued", 0)
    assert [one["afterMs"] for one in shown["timeline"]] == sorted(
        one["afterMs"] for one in shown["timeline"])
    assert all(round((one["at"] - first["at"]) * 1000) == one["afterMs"]
               for one in shown["timeline"])
    # What ECS itself shows of it is the same.
    described = node.describe(live)
    at = {one["step"]: one["at"] for one in shown["timeline"]}
    assert at["running"] == pytest.approx(described["startedAt"].timestamp(), abs=0.001)
    assert at["pulled"] == pytest.approx(described["pullStoppedAt"].timestamp(), abs=0.001)
    node.ecs.stop_task(task=live)
    node.stopped(live)
    shown = told(node, live, "exited", "main")
    assert steps(shown, "main")[-3:] == ["stopping", "exited", "stopped"]
    lines = node.run("ps", live).splitlines()
    assert next(line for line in lines if line.startswith("CONTAINER")).split()[6] == "RESTARTS"
    rows = [line.split() for line in lines[lines.index("") + 2:]]
    assert rows[0] == ["+0.000", "queued", "-"]
    assert all(re.fullmatch(r"\+\d+\.\d{3}", row[0]) for row in rows)
    assert [row[1:] for row in rows if row[1] == "network"] == [["network", "ready", "-"]]


@task(box("sleep 75; exit 1", restartPolicy={"enabled": True, "restartAttemptPeriod": 60}))
def test_restarts_are_told(node, live):
    shown = None

    def restarted():
        """a restart"""
        nonlocal shown
        shown = timeline(node, live)
        return shown["restarts"]
    support.wait_for(restarted, 75 + support.PATIENCE, 0.5)
    assert shown["restarts"] == [{"name": "main", "restartCount": 1}]
    told(node, live, "restarted", "main")
    row = next(line for line in node.run("ps", live).splitlines() if line.startswith("main"))
    assert row.split()[-3:] == ["1", "-", "-"]


@task({"name": "main", "image": "no-such-image"})
def test_a_task_that_never_ran(node, ended):
    """No step is made up."""
    shown = told(node, ended.task["taskArn"], "pulled")
    assert [one for one in steps(shown) if one != "stopping"] == [
        "queued", "pulling", "pulled", "stopped"]


def test_no_such_task(node):
    done = node.run("ps", "0" * 32, "--json", check=False)
    assert done.returncode == 1 and f"There is no task {'0' * 32}." in done.stderr
    done = node.run("ps", "--json", check=False)
    assert done.returncode == 2 and "--json needs a TASK" in done.stderr
