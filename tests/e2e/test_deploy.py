"""`berth deploy` with real containers: what succeeds, and the root cause of what fails."""
import json
import os
import pty
import re
import signal
import subprocess

import pytest

import support
from deploying import CRASH, GOOD, LARGE, berth, current, definition, ecs, house, write


@pytest.fixture(scope="module")
def service(house, ecs, tmp_path_factory):
    """A service made by `berth deploy --create`, with two tasks."""
    path = write(tmp_path_factory.mktemp("made"), definition("web"))
    out = berth(house, "deploy", "web", "--create", "--file", path, "--count", "2")
    assert "service web is made with web:1" in out and "COMPLETED after" in out, out
    yield "web"
    ecs.delete_service(service="web", force=True)


def test_a_good_deployment(house, ecs, service, tmp_path):
    """Plain lines tell what changes, events come in between, and the end is said."""
    out = berth(house, "deploy", service, "--file", write(tmp_path, definition("web")))
    assert "service web: web:1 -> web:2" in out, out
    assert re.search(r"s ecs-svc/\d+ PRIMARY web:2 IN_PROGRESS: desired 2, pending \d", out), out
    assert re.search(r"s ecs-svc/\d+ PRIMARY web:2 COMPLETED: desired 2, pending 0, running 2, "
                     r"failed 0", out), out
    assert "(service web) has started 2 tasks: (task " in out, out
    assert re.search(r"^COMPLETED after [0-9.]+ s: service web with web:2$", out, re.M), out
    assert current(ecs)["taskDefinition"].endswith("/web:2")


def test_only_the_count(house, ecs, service):
    out = berth(house, "deploy", service, "--count", "3")
    assert "no new deployment" in out and "COMPLETED" in out, out
    assert current(ecs)["runningCount"] == 3
    out = json.loads(berth(house, "deploy", service, "--count", "2", "--json"))
    assert out["outcome"] == "Completed" and "serviceDeploymentArn" not in out
    assert current(ecs)["runningCount"] == 2


def test_a_crash_is_the_root_cause(house, ecs, service, tmp_path):
    """The cause comes before everything else: exit code, last log line, the way back."""
    before = current(ecs)["taskDefinition"]
    out = berth(house, "deploy", service, "--file", write(tmp_path, definition("web", CRASH)),
                status=1)
    end = out[out.index("FAILED and rolled back after"):]
    lines = end.splitlines()
    assert re.match(r"cause      ContainerExited, \d+ tasks: Essential container app ended with "
                    r"exit code 3\.", lines[1]), end
    assert lines[2].startswith("task       ") and " of web:3 on host " in lines[2], end
    assert lines[3] == ("stopped    EssentialContainerExited: Essential container in task exited")
    assert lines[4] == "container  app, image pinterest/processor:v2.0, exit code 3", end
    assert lines[5] == "its log    the database is not there", end
    assert re.match(r"then       rolled back to web:\d$", lines[6]), end
    assert re.search(r"^now        2 of 2 tasks of web:\d run", end, re.M), end
    assert re.search(r"^try:  berth logs --data \S+ --cluster default [0-9a-f]{32} app$", end,
                     re.M), end
    assert current(ecs)["taskDefinition"] == before


def test_an_image_that_is_not_there(house, service):
    out = json.loads(berth(house, "deploy", service, "--image", "app=nothing:v9", "--json",
                           status=1))
    assert out["outcome"] == "RolledBack"
    cause = out["cause"]
    assert cause["kind"] == "ImageMissing" and cause["image"] == "nothing:v9", cause
    assert cause["stopCode"] == "TaskFailedToStart" and "nothing:v9" in cause["reason"], cause
    assert any("image load" in line for line in out["next"]), out["next"]


def test_a_task_that_does_not_fit(house, ecs, service, tmp_path):
    """Nothing fails when nothing starts: the time is up, and the hosts say why."""
    out = berth(house, "deploy", service, "--file", write(tmp_path, LARGE), "--timeout", "10s",
                status=2)
    assert re.search(r"^NOT COMPLETED after [0-9.]+ s: service web with web:\d: it goes on in the "
                     r"server$", out, re.M), out
    assert "cause      UnableToPlace" in out and "RESOURCE:CPU" in out, out
    assert re.search(r"The task asks for 16384 CPU units; \d+ of 8192 are free, so it never fits\.",
                     out), out
    berth(house, "deploy", service, "--task-definition", "web:2")


def test_a_failing_health_check(house, service, tmp_path):
    check = {"command": ["CMD-SHELL", "exit 1"], "interval": 5, "timeout": 30, "retries": 1}
    sick = definition("web", "echo listening on 9090; " + GOOD, healthCheck=check)
    out = berth(house, "deploy", service, "--file", write(tmp_path, sick), status=1)
    assert "cause      Unhealthy" in out, out
    assert "Container app failed its health check" in out, out
    assert "UNHEALTHY" in out and "its log    listening on 9090" in out, out
    assert re.search(r"IN_PROGRESS: desired 2, pending \d, running \d, healthy 0", out), out


def test_a_terminal_is_drawn_anew(house, service):
    """On a terminal the table stays in its place; elsewhere nothing of that is written."""
    main, other = pty.openpty()
    process = subprocess.Popen(
        [support.BERTH, "deploy", "--data", house.data, service, "--force"], stdout=other,
        stderr=other, stdin=subprocess.DEVNULL)
    os.close(other)
    out = b""
    try:
        while True:
            out += os.read(main, 65536)
    except OSError:
        pass  # Linux: the other side is closed
    os.close(main)
    assert process.wait(support.PATIENCE) == 0, out
    assert re.search(rb"\x1b\[\d+A\r\x1b\[J", out), out
    assert b"HEALTHY" in out and b"COMPLETED after" in out, out
    assert b"\x1b" not in berth(house, "deploy", service, "--force").encode()


def test_ctrl_c_leaves_it_alone(house, ecs, service, tmp_path):
    process = subprocess.Popen(
        [support.BERTH, "deploy", "--data", house.data, service, "--file", write(tmp_path, LARGE)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    line = process.stdout.readline()
    assert "->" in line, line
    while "IN_PROGRESS" not in line:
        line = process.stdout.readline()
        assert line
    process.send_signal(signal.SIGINT)
    out = process.stdout.read()
    assert process.wait(support.PATIENCE) == 130, out
    assert re.search(r"^LEFT ALONE after [0-9.]+ s: .*: it goes on in the server$", out, re.M), out
    assert len(current(ecs)["deployments"]) == 2
    berth(house, "deploy", service, "--task-definition", "web:2")


@pytest.mark.parametrize("arguments, problem", [
    ([], "name a service"),
    (["web"], "say what to change"),
    (["web", "--count", "-1"], "'-1' is no count from 0 to 5000"),
    (["web", "--image", "app"], "'app' is no CONTAINER=IMAGE"),
    (["web", "--timeout", "soon", "--force"], "'soon' is no duration"),
    (["web", "--file", "a", "--task-definition", "b"], "not both"),
    (["web", "api", "--force"], "'api' is no option, nor a second service"),
])
def test_wrong_command_lines(house, arguments, problem):
    for command in ("deploy", "plan"):
        assert f"berth {command}: " in berth(house, command, *arguments, status=2)
        assert problem in berth(house, command, *arguments, status=2)


def test_what_is_not_there(house, ecs, service, tmp_path):
    assert "there is no service 'none' in cluster 'default'; --create makes it" in berth(
        house, "deploy", "none", "--force", status=1)
    assert "has no container 'side'" in berth(
        house, "deploy", service, "--image", "side=a", status=1)
    assert "there is a service 'web' already" in berth(
        house, "deploy", service, "--create", "--task-definition", "web", status=1)
    (tmp_path / "bad.json").write_text("{")
    assert "is no task definition" in berth(
        house, "deploy", service, "--file", str(tmp_path / "bad.json"), status=1)
    assert len(current(ecs)["deployments"]) == 1


def test_a_server_that_restarts_is_asked_again(house, ecs, service, tmp_path):
    """Whoever watches goes on watching: deployments are in the store, not in the command."""
    process = subprocess.Popen(
        [support.BERTH, "deploy", "--data", house.data, service, "--file", write(tmp_path, LARGE),
         "--timeout", "10m"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    line = ""
    while "IN_PROGRESS" not in line:
        line = process.stdout.readline()
        assert line
    house.kill()
    house.start()
    ecs.update_service(service=service, taskDefinition="web:2")
    out = process.stdout.read()
    assert process.wait(support.PATIENCE) == 1, out
    assert re.search(r"^SUPERSEDED after [0-9.]+ s: .*: a newer deployment took its place$", out,
                     re.M), out
    berth(house, "deploy", service, "--count", "2")
