"""The founding document's texts about services, as the calls of ECS that they lead to: CloudFormation
becomes the members of CreateService by rule, without a word of this file's own."""
import collections

import pytest
import yaml

import support
from service_world import Host, make_world, nothing_stays  # noqa: F401  (fixtures)
from test_service_members import MANY, running

SERVICE_WITH_SPOT = """
# Fargate Spot 설정
ServiceWithSpot:
  Type: AWS::ECS::Service
  Properties:
    CapacityProviderStrategy:
      - Base: 2
        Weight: 1
        CapacityProvider: FARGATE
      - Base: 0
        Weight: 4
        CapacityProvider: FARGATE_SPOT

    # Spot 중단 처리
    PlacementStrategies:
      - Type: spread
        Field: attribute:ecs.availability-zone

    # 중단 내성 설정
    DeploymentConfiguration:
      MaximumPercent: 200
      MinimumHealthyPercent: 100
      DeploymentCircuitBreaker:
        Enable: true
        Rollback: true
"""

STEP_SCALING = """
RequestCountScalingPolicy:
  Type: AWS::ApplicationAutoScaling::ScalingPolicy
  Properties:
    PolicyType: StepScaling
    StepScalingPolicyConfiguration:
      AdjustmentType: PercentChangeInCapacity
      Cooldown: 60
      StepAdjustments:
        - MetricIntervalLowerBound: 0
          MetricIntervalUpperBound: 100
          ScalingAdjustment: 10
        - MetricIntervalLowerBound: 100
          MetricIntervalUpperBound: 200
          ScalingAdjustment: 30
        - MetricIntervalLowerBound: 200
          ScalingAdjustment: 50
"""

# The Python box "ECSService".
DESIRED_COUNT = 10
DEPLOYMENT_CONFIG = {
    "maximum_percent": 200,      # 최대 200% (20개 태스크)
    "minimum_healthy_percent": 100  # 최소 100% (10개 유지)
}


def member_of(shape, name):
    """The member of a shape that a property of CloudFormation, or a name of Python, means: in camel
    case, and where CloudFormation has the plural of a list, in the singular."""
    words = name.split("_")
    camel = words[0][:1].lower() + words[0][1:] + "".join(word.title() for word in words[1:])
    for candidate in (camel, camel.removesuffix("ies") + "y", camel.removesuffix("s")):
        if candidate in shape.members:
            return candidate
    raise AssertionError(f"{shape.name} has no member for {name}")


def translated(shape, value):
    """A value of CloudFormation as the API has it."""
    if shape.type_name == "structure":
        names = {name: member_of(shape, name) for name in value}
        return {names[name]: translated(shape.members[names[name]], item)
                for name, item in value.items()}
    if shape.type_name == "list":
        return [translated(shape.member, item) for item in value]
    return value


@pytest.fixture(name="hosts", scope="module")
def make_hosts(world):
    """Both pools, in three zones."""
    made = [Host(world.berth, zone=f"us-east-1{letter}", capacity="FARGATE,FARGATE_SPOT",
                 resources=MANY).connect() for letter in "abc"]
    world.keep(*made)
    return made


@pytest.fixture(name="wide")
def make_wide(world):
    """More room on the host of instances."""
    cluster, _ = world.place(resources=MANY)
    return cluster


def create_shape(world):
    return world.ecs.meta.service_model.operation_model("CreateService").input_shape


@pytest.mark.usefixtures("hosts")
@pytest.mark.parametrize("count,on_fargate", [(2, 2), (6, 3), (10, 4)])
def test_service_with_spot(world, count, on_fargate):
    """Two on Fargate first, then one in five; over the zones as evenly as can be."""
    [resource] = yaml.safe_load(SERVICE_WITH_SPOT).values()
    assert resource["Type"] == "AWS::ECS::Service"
    members = translated(create_shape(world), resource["Properties"])
    made = world.create(cluster="providers", family="web", count=count,
                        networkConfiguration=world.network, **members)
    shown = world.show(made)
    assert shown["capacityProviderStrategy"] == members["capacityProviderStrategy"]
    assert shown["placementStrategy"] == members["placementStrategy"]
    configuration = members["deploymentConfiguration"]
    assert {name: shown["deploymentConfiguration"][name] for name in configuration} == configuration
    tasks = running(world, made, count)
    providers = collections.Counter(task["capacityProviderName"] for task in tasks)
    assert providers["FARGATE"] == on_fargate
    assert providers["FARGATE_SPOT"] == count - on_fargate
    zones = collections.Counter(task["availabilityZone"] for task in tasks)
    assert max(zones.values()) - min(zones.get(f"us-east-1{z}", 0) for z in "abc") <= 1, zones


def test_rolling_update(world, wide):
    """Ten stay RUNNING, never more than twenty are there, and in the end all are new."""
    shape = create_shape(world).members["deploymentConfiguration"]
    made = world.create(cluster=wide, count=DESIRED_COUNT,
                        deploymentConfiguration=translated(shape, DEPLOYMENT_CONFIG))
    before = {task["taskArn"] for task in running(world, made, DESIRED_COUNT)}
    world.stable(made)
    newer = world.register("job")
    world.update(made, taskDefinition=newer)
    seen = []

    def over():
        """the end of the deployment"""
        shown = world.show(made)
        seen.append((shown["runningCount"], shown["runningCount"] + shown["pendingCount"]))
        return [one["rolloutState"] for one in shown["deployments"]] == ["COMPLETED"]
    support.wait_for(over)
    assert min(running_count for running_count, _ in seen) >= DESIRED_COUNT
    assert max(total for _, total in seen) <= 2 * DESIRED_COUNT
    after = running(world, made, DESIRED_COUNT)
    assert {task["taskDefinitionArn"] for task in after} == {newer}
    assert before.isdisjoint(task["taskArn"] for task in after)


def test_steps_of_scaling(world, wide):
    """The counts that the steps give for ten tasks, one after the other. The policy itself is of
    Application Auto Scaling, which is not built yet."""
    [resource] = yaml.safe_load(STEP_SCALING).values()
    steps = resource["Properties"]["StepScalingPolicyConfiguration"]
    assert steps["AdjustmentType"] == "PercentChangeInCapacity"
    made = world.create(cluster=wide, count=DESIRED_COUNT)
    running(world, made, DESIRED_COUNT)
    for step in steps["StepAdjustments"]:
        count = DESIRED_COUNT + DESIRED_COUNT * step["ScalingAdjustment"] // 100
        assert world.update(made, desiredCount=count)["desiredCount"] == count
        running(world, made, count)
