"""What the API has of a service, its deployments, revisions and task sets is shown by some operation,
or docs/fields.md says why it never is."""
import re

import botocore.session
import pytest

import models
import support
import test_fields_page
from messages import send
from service_world import make_world, nothing_stays  # noqa: F401  (fixtures)
from test_service_stored import CLASSIC, DISK, WHOLE

SHAPES = ("Service", "ServiceDeployment", "ServiceRevision", "TaskSet")
SECTION = "Never shown"


def members(shape):
    """Every member below a shape, as a path; lists are followed by their items'."""
    work, found = [("", shape)], set()
    while work:
        prefix, at = work.pop()
        for name, member in at.members.items():
            found.add(prefix + name)
            inner = member.member if member.type_name == "list" else member
            if inner.type_name == "structure" and not inner.is_document_type:
                work.append((f"{prefix}{name}.", inner))
    return found


def seen_in(value, prefix=""):
    """The paths of all that is shown with a value: an empty list is none."""
    if isinstance(value, list):
        for item in value:
            yield from seen_in(item, prefix)
    elif isinstance(value, dict):
        for name, item in value.items():
            path = f"{prefix}.{name}" if prefix else name
            if item not in ([], {}):
                yield path
                yield from seen_in(item, path)


def beside(world, service, **more):
    """A service of test_service_stored.py, in this world."""
    request = {**service, "serviceName": world.fresh("shown"), **more}
    request = {name: value(world.berth) if callable(value) else value
               for name, value in request.items()}
    world.services.append((request["cluster"], request["serviceName"]))
    return send(world.ecs, "CreateService", request)["service"]


def rolled_back(world):
    """A service that ran, and whose second deployment failed."""
    cluster, [host] = world.place()
    made = world.create(cluster=cluster, count=1, deploymentConfiguration={
        "deploymentCircuitBreaker": {"enable": True, "rollback": True}})
    world.stable(made)
    family = world.fresh("bad")
    world.register(family)
    host.does[family] = "fail"
    world.update(made, taskDefinition=family)
    world.rolled(made, "ROLLBACK_SUCCESSFUL")
    return made


def shifted(world):
    """A service whose second deployment has all the traffic."""
    made = world.create(deploymentConfiguration={"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 60})
    world.rolled(made, "SUCCESSFUL")
    world.update(made, forceNewDeployment=True)
    return made


def stopped(world):
    """The service with everything, once its second hook was called in vain."""
    made = beside(world, WHOLE)

    def paused():
        """a pause that waits"""
        return world.rollout(made).get("lifecycleHookDetails")
    world.ecs.continue_service_deployment(
        serviceDeploymentArn=made["currentServiceDeployment"],
        hookId=support.wait_for(paused)[0]["hookId"])
    world.rolled(made, "STOPPED")
    return made


def with_task_sets(world):
    made = world.create(family=None, cluster="providers", deploymentController={"type": "EXTERNAL"})
    request = {name: value(world.berth) if callable(value) else value
               for name, value in WHOLE.items()}
    for more in ({"tags": [{"key": "k", "value": "v"}], "externalId": "e",
                  **{name: request[name] for name in (
                      "capacityProviderStrategy", "platformVersion", "networkConfiguration",
                      "serviceRegistries")},
                  "loadBalancers": [{name: value for name, value in request["loadBalancers"][0].items()
                                     if name != "advancedConfiguration"}]},
                 {"taskDefinition": "job", "launchType": "EC2",
                  "serviceRegistries": DISK["serviceRegistries"],
                  "loadBalancers": CLASSIC["loadBalancers"]}):
        world.ecs.create_task_set(**{"cluster": "providers", "service": made["serviceName"],
                                     "taskDefinition": "web", **more})
    return made


def test_every_member_is_shown(world):
    if not models.NEWEST:
        pytest.skip("the page follows the newest AWS SDK; this machine's is older")
    services = [beside(world, CLASSIC, taskDefinition="job"), beside(world, WHOLE),
                beside(world, DISK), rolled_back(world), with_task_sets(world), shifted(world),
                stopped(world)]

    def paused():
        """a pause that waits"""
        return "lifecycleHookDetails" in world.rollout(services[1])
    support.wait_for(paused)
    seen = {shape: set() for shape in SHAPES}
    for one in services:
        shown = world.show(one, include=["TAGS"])
        seen["Service"] |= set(seen_in(shown))
        seen["TaskSet"] |= set(seen_in(shown.get("taskSets", [])))
        for revision in shown.get("currentServiceRevisions", []):
            seen["ServiceRevision"] |= set(seen_in(world.ecs.describe_service_revisions(
                serviceRevisionArns=[revision["arn"]])["serviceRevisions"]))
        for rollout in world.ecs.list_service_deployments(
                cluster=shown["clusterArn"], service=shown["serviceArn"])["serviceDeployments"]:
            seen["ServiceDeployment"] |= set(seen_in(world.ecs.describe_service_deployments(
                serviceDeploymentArns=[rollout["serviceDeploymentArn"]])["serviceDeployments"]))

    model = botocore.session.Session().get_service_model("ecs")
    page = [name for row in test_fields_page.rows_of(SECTION) for name in row[0]]
    wrong = []
    for shape in SHAPES:
        every = members(model.shape_for(shape))
        never = {name.split(":")[1] for name in page if name.split(":")[0] == shape}
        for path in sorted(every):
            told = any(test_fields_page.covers(name, path) for name in never)
            if told == (path in seen[shape]):
                wrong.append(f"{shape}:{path} is {'' if told else 'not '}shown")
        wrong += [f"{shape}:{name} is no member" for name in never
                  if not any(test_fields_page.covers(name, path) for path in every)]
    assert wrong == [], f"docs/fields.md, '{SECTION}': {wrong}"
    assert all(re.fullmatch(r"\w+:[\w.*]+", name) for name in page)
