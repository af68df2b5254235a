"""Members of the operations on task sets that messages_task_sets.py has no case for."""
import support
from messages import send
from service_world import make_world, nothing_stays  # noqa: F401  (fixtures)

GROUP = "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/g/0123456789abcdef"
REGISTRY = "arn:aws:servicediscovery:us-east-1:000000000000:service/srv-0123456789"
STRATEGY = [{"capacityProvider": "FARGATE", "weight": 1, "base": 1}]


def make(world, cluster="c", family="job", **members):
    service = world.create(cluster=cluster, family=None, count=1,
                           deploymentController={"type": "EXTERNAL"})
    return send(world.ecs, "CreateTaskSet", {
        "cluster": cluster, "service": service["serviceName"], "taskDefinition": family,
        "scale": {"value": 100, "unit": "PERCENT"}, **members})["taskSet"]


def task_of(world, made):
    """The task of a task set of one, once it is there."""
    service = {"clusterArn": made["clusterArn"],
               "serviceName": made["serviceArn"].rsplit("/", 1)[1]}
    [task] = support.wait_for(lambda: world.tasks(service))
    return task


def test_what_stands_beside_the_tasks_is_shown(world):
    balancers = [{"targetGroupArn": GROUP, "containerName": "a", "containerPort": 80}]
    registries = [{"registryArn": REGISTRY, "containerName": "a", "containerPort": 80}]
    made = make(world, loadBalancers=balancers, serviceRegistries=registries)
    assert made["loadBalancers"] == balancers and made["serviceRegistries"] == registries


def test_a_strategy_decides_where_its_tasks_run(world):
    made = make(world, "providers", "web", capacityProviderStrategy=STRATEGY,
                networkConfiguration=world.zone, platformVersion="1.4.0")
    assert made["capacityProviderStrategy"] == STRATEGY and "launchType" not in made
    assert made["platformVersion"] == "1.4.0" and made["platformFamily"] == "Linux"
    task = task_of(world, made)
    assert task["capacityProviderName"] == "FARGATE" and task["platformVersion"] == "1.4.0"


def test_the_network_is_that_of_its_tasks(world):
    made = make(world, family="web", launchType="FARGATE", networkConfiguration=world.zone)
    assert made["networkConfiguration"]["awsvpcConfiguration"]["subnets"] == [
        world.words["subnet"]]
    task = task_of(world, made)
    details = {one["name"]: one["value"] for one in task["attachments"][0]["details"]}
    assert details["subnetId"] == world.words["subnet"]
