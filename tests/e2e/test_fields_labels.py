"""Labels that Berth reads: commands at a start and before a stop, readiness apart from health."""
import json
import os

import services
import support
from fields import PATIENT, SLEEP, box, task

SHARED = {"volumes": [{"name": "v"}]}
MOUNT = {"user": "0", "mountPoints": [{"sourceVolume": "v", "containerPath": "/v"}]}


def labels(**commands):
    return {"dockerLabels": {"berth." + name.replace("_", "-"): value
                             for name, value in commands.items()}}


@task(box(SLEEP, name="first", **MOUNT, **labels(
    post_start="CMD /bin/cp /etc/hostname /v/greeting")),
      box("cat /v/greeting; hostname", **MOUNT, dependsOn=[
          {"containerName": "first", "condition": "START"}]), **SHARED)
def test_post_start(ended):
    """It ran in the first container before the second, which waits for START, began."""
    written, own = ended.lines()
    assert written == own


@task(box("trap 'exit 0' TERM; touch /tmp/up; while :; do sleep 0.1; done", **PATIENT,
          **labels(post_start="until test -e /tmp/up; do sleep 0.1; done; exit 3")))
def test_post_start_fails(ended):
    assert ended.code() == 0
    assert ended.container()["reason"] == "CannotStartContainerError: its post-start command failed"


@task(box("trap 'cat /tmp/parted; exit 0' TERM; echo up; while :; do sleep 0.1; done",
          **PATIENT, **labels(pre_stop="echo parted >/tmp/parted")))
def test_pre_stop(node, live):
    """Before the signal: whoever hears that finds what it did."""
    node.until(live, lastStatus="RUNNING")
    support.wait_for(lambda: "up" in node.run("logs", live), step=0.1)
    node.ecs.stop_task(task=live)
    assert node.stopped(live).output() == "up\nparted\n"


READY = {"berth.readiness": "test ! -e /tmp/busy", "berth.readiness.interval": "1",
         "berth.readiness.timeout": "60", "berth.readiness.retries": "1"}


@task(box(SLEEP, dockerLabels=READY))
def test_readiness(node, live):
    """What is ready is HEALTHY; what is no longer is UNKNOWN, and goes on."""
    node.until(live, healthStatus="HEALTHY")
    with open(f"/proc/{services.container(live)}/root/tmp/busy", "w", encoding="utf-8"):
        pass
    described = node.until(live, healthStatus="UNKNOWN")
    assert described["containers"][0]["healthStatus"] == "UNKNOWN"
    assert described["lastStatus"] == "RUNNING"


@task(box(SLEEP, dockerLabels={**READY, "berth.readiness": "false"},
          healthCheck={"command": ["CMD-SHELL", "false"], "interval": 5, "retries": 1}))
def test_readiness_apart_from_health(node, live):
    """Not to be ready is no illness: it takes the health check to say so."""
    node.until(live, healthStatus="UNHEALTHY")


@task(box(SLEEP, dockerLabels={"com.example.team": "a b", "run.oci.handler": "wasm"}))
def test_docker_labels(node, live):
    """They are annotations for the OCI runtime, but for those that it would obey."""
    node.until(live, lastStatus="RUNNING")
    with open(os.path.join(node.data, "instance"), encoding="utf-8") as file:
        instance = file.read().strip()
    path = f"/run/berth/{instance}/tasks/{live.rsplit('/', 1)[1]}/c/0/config.json"
    with open(path, encoding="utf-8") as file:
        annotations = json.load(file)["annotations"]
    annotations.pop("run.oci.seccomp_bpf_data", None)  # the filter of system calls, for crun
    assert annotations == {"com.example.team": "a b"}
