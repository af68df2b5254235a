"""What the tests of `berth deploy`, `berth plan` and `berth diagnose SERVICE` share."""
import json

import pytest

import support

GOOD = "while true; do sleep 1; done"
CRASH = "echo the database is not there; exit 3"


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    berth = support.Berth(tmp_path_factory.mktemp("deploy"), "--cpu-units", "8192",
                          "--memory-mib", "16384", "--healthy-after", "1s")
    berth.start()
    berth.load("hello.tar.gz", "processor.tar.gz")
    berth.client().create_cluster(clusterName="default")
    yield berth
    assert berth.stop() == 0, berth.tail()


@pytest.fixture(scope="module")
def ecs(house):
    return house.client()


def container(command=GOOD, **members):
    return {"name": "app", "image": "pinterest/processor:v2.0", "essential": True,
            "entryPoint": ["/bin/sh", "-c"], "command": [command], "stopTimeout": 2, **members}


def definition(family, command=GOOD, cpu="256", memory="512", **members):
    return {"family": family, "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"],
            "cpu": cpu, "memory": memory, "containerDefinitions": [container(command, **members)]}


LARGE = definition("web", cpu="16384", memory="32768")


def write(tmp_path, what):
    path = tmp_path / "definition.json"
    path.write_text(json.dumps(what), encoding="utf-8")
    return str(path)


def berth(house, command, *arguments, status=0, seconds=support.PATIENCE):
    """What a command printed, once its exit status was looked at."""
    done = house.run(command, *arguments, check=False, seconds=seconds)
    assert done.returncode == status, f"{done.stdout}\n{done.stderr}\n{house.tail()}"
    return done.stdout + done.stderr


def current(ecs, name="web"):
    return ecs.describe_services(services=[name])["services"][0]
