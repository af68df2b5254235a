"""`berth plan` says what `berth deploy` would do, and does nothing; `berth diagnose SERVICE`."""
import json
import re
import time

import pytest

import support
from deploying import CRASH, GOOD, LARGE, berth, current, definition, ecs, house, write


@pytest.fixture(scope="module")
def service(house, tmp_path_factory):
    path = write(tmp_path_factory.mktemp("made"), definition("web"))
    berth(house, "deploy", "web", "--create", "--file", path, "--count", "2")
    steady(house)
    return "web"


def steady(house):
    """Wait until the service web is steady; returns what is said of it."""
    def said():
        """that it is steady"""
        out = berth(house, "diagnose", "web")
        return out if "has reached a steady state." in out and "It is steady" in out else None
    return support.wait_for(said, step=0.2)


def records(house):
    """Every stored record of what people make; hosts and sessions change by themselves."""
    return [line for line in house.run("debug", "dump").splitlines()
            if json.loads(line)["kind"] not in ("node", "node_beat", "session")]


@pytest.fixture
def unchanged(house, service):
    def settled():
        """nothing that hosts still have to tell of the service's tasks"""
        before = records(house)
        time.sleep(0.5)
        return before if records(house) == before else None
    before = support.wait_for(settled)
    yield
    assert records(house) == before


# ---- plan ---------------------------------------------------------------------------------

def test_another_image(house, service, unchanged):
    out = berth(house, "plan", service, "--image", "app=hello:latest", "--count", "3")
    assert out.splitlines()[:8] == [
        "task definition web:1 → web:2, to be registered",
        '  ~ containerDefinitions[app].image: "pinterest/processor:v2.0" → "hello:latest"',
        "service web",
        "  ~ desiredCount: 2 → 3",
        '  ~ taskDefinition: "web:1" → "web:2"',
        "a new deployment starts",
        "  Starts up to 3 at first (at most 6 in all), and stops an old one whenever a new one is "
        "healthy: never fewer than 3 healthy.",
        "where they would go"], out
    assert "web:2 in cluster default, FARGATE: 256 CPU units and 512 MiB for each task" in out
    assert re.search(r"^\S+ +us-east-1a  3 +fits", out, re.M), out


def test_another_size(house, service, unchanged, tmp_path):
    out = json.loads(berth(house, "plan", service, "--json", "--file",
                           write(tmp_path, definition("web", cpu="512", memory="1024"))))
    assert {change["path"]: (change["before"], change["after"])
            for change in out["definitionChanges"]} == {
                "cpu": ("256", "512"), "memory": ("512", "1024")}, out["definitionChanges"]
    assert out["registers"] and out["deploys"] and out["fine"]
    assert (out["minimumHealthyTasks"], out["maximumTasks"], out["startsAtFirst"]) == (2, 4, 2)
    assert out["placement"]["placedCount"] == 2 and out["placement"]["cpuUnits"] == 512


def test_what_does_not_fit(house, service, unchanged, tmp_path):
    out = berth(house, "plan", service, "--file", write(tmp_path, LARGE), status=1)
    assert "0 of 2 tasks find a place" in out and "RESOURCE:CPU" in out, out
    assert "so it never fits" in out and "try:  berth node token" in out, out


def test_only_the_count_is_planned(house, service, unchanged):
    out = berth(house, "plan", service, "--count", "5")
    assert "task definition web:1\n  no change\n" in out, out
    assert "  ~ desiredCount: 2 → 5\nno new deployment starts\n  Starts 3 and stops none." in out
    out = berth(house, "plan", service, "--count", "0")
    assert "  Stops 2 and starts none." in out and "where" not in out, out


def test_a_service_that_is_not_there_yet(house, service, unchanged, tmp_path):
    out = json.loads(berth(house, "plan", "api", "--create", "--count", "2", "--json", "--file",
                           write(tmp_path, definition("api"))))
    assert out["taskDefinitionArn"].endswith("/api:1") and "serviceArn" not in out
    assert out["startsAtFirst"] == 2 and out["stops"] == 0 and out["fine"]


def test_an_invalid_definition_is_refused_in_advance(house, service, unchanged, tmp_path):
    out = berth(house, "plan", service, "--file", write(tmp_path, definition("web", cpu="300")),
                status=2)
    assert "No Fargate configuration exists for given values" in out, out
    assert "usage" not in out


def test_what_is_planned_is_what_happens(house, ecs, service):
    """The definition told in advance is the one that is registered."""
    arguments = [service, "--image", "app=hello:latest", "--json"]
    told = json.loads(berth(house, "plan", *arguments))
    done = json.loads(berth(house, "deploy", *arguments))
    assert done["outcome"] == "Completed"
    assert done["taskDefinitionArn"] == told["taskDefinitionArn"]
    assert current(ecs)["taskDefinition"] == told["taskDefinitionArn"]
    berth(house, "deploy", service, "--task-definition", "web:1")


# ---- diagnose SERVICE ---------------------------------------------------------------------

def test_a_steady_service(house, service):
    out = steady(house)
    assert out.startswith("service    web in cluster default, ACTIVE: 2 of 2 tasks of web:1 run, 0 "
                          "pending\nstate      It is steady.\n"), out
    assert "(service web) has reached a steady state." in out and "try:" not in out, out
    arn = json.loads(berth(house, "diagnose", service, "--json"))["serviceArn"]
    assert berth(house, "diagnose", arn).startswith("service    web in cluster default")


def breaking(house, ecs, family, task):
    """A service whose tasks do not run, and whose deployment goes on trying."""
    ecs.register_task_definition(**task)
    ecs.create_service(serviceName=family, taskDefinition=family, desiredCount=2,
                       launchType="FARGATE", networkConfiguration=house.network())
    return family


@pytest.mark.parametrize("family, change, kind, evidence, following", [
    ("large", {"cpu": "16384", "memory": "32768"}, "UnableToPlace",
     ["RESOURCE:CPU", "so it never fits", "was unable to place a task"], "berth node token"),
    ("crash", {"command": CRASH}, "ContainerExited",
     ["exit code 3", "its log    the database is not there", "EssentialContainerExited"],
     "berth logs"),
    ("image", {"image": "nothing:v9"}, "ImageMissing",
     ["CannotPullContainerError", "nothing:v9", "TaskFailedToStart"], "berth image load"),
    ("sick", {"command": "echo listening on 9090; " + GOOD,
              "healthCheck": {"command": ["CMD-SHELL", "exit 1"], "interval": 5, "retries": 1}},
     "Unhealthy", ["UNHEALTHY", "its log    listening on 9090"], "berth logs"),
])
def test_what_is_wrong_is_told(house, ecs, family, change, kind, evidence, following):
    """The founding document's case 2: each cause with its evidence and the next command."""
    name = breaking(house, ecs, family, definition(family, **change))

    def told():
        out = berth(house, "diagnose", name, status=1)
        told.__doc__ = f"the cause and all of its evidence: {out}"
        return out if all(part in out for part in [f"cause      {kind}", *evidence]) else None
    try:
        out = support.wait_for(told, step=0.2)
        assert f"service    {family} in cluster default, ACTIVE: " in out, out
        assert " is under way for " in out and "does not get on." in out, out
        assert re.search(rf"^try:  {following}", out, re.M), out
        causes = json.loads(berth(house, "diagnose", name, "--json", status=1))["causes"]
        assert causes[0]["kind"] == kind and causes[0]["times"] >= 1, causes
    finally:
        ecs.delete_service(service=name, force=True)

        def gone():
            """the service is INACTIVE"""
            return current(ecs, name)["status"] == "INACTIVE"
        support.wait_for(gone, step=0.1)


def test_a_rollback_is_remembered(house, service, tmp_path):
    """The service is steady again, and why its last deployment failed is still told."""
    berth(house, "deploy", service, "--file", write(tmp_path, definition("web", CRASH)), status=1)
    out = steady(house)
    assert "It is steady again: its last deployment failed and was rolled back." in out, out
    assert "cause      ContainerExited" in out and "the database is not there" in out, out


def test_neither_task_nor_service(house, service):
    out = berth(house, "diagnose", "nope", status=1)
    assert "there is no service 'nope' in cluster 'default', and no task is called so" in out
