"""Messages and rules of services: what they are like, UpdateService, DeleteService, listings."""
import support
from messages import Case, Refusal, Unreachable, refused, rules, send
from messages_services import (CLASSIC, FARGATE, GROUP, INVALID, LATTICE, REGISTRY, ROLE,
                               SPREAD_ZONES, STRATEGY, TARGET, given)
from service_world import ARN, CLIENT

CASES = []
rule = rules(CASES)


def want(world, shown, *names):
    return [shown.get(name) for name in names]


# ---- CreateService: what a new service is like -----------------------------------------------

BREAKER = {"enable": False, "rollback": False}


@rule("service.create", "what a new service is like", {
    "serviceArn": ARN + "service/c/⟨name⟩", "serviceName": "⟨name⟩",
    "clusterArn": ARN + "cluster/c", "loadBalancers": [], "serviceRegistries": [],
    "status": "ACTIVE", "desiredCount": 2, "runningCount": 0, "pendingCount": 0,
    "launchType": "EC2", "taskDefinition": ARN + "task-definition/job:1",
    "deploymentConfiguration": {
        "deploymentCircuitBreaker": BREAKER, "maximumPercent": 200, "minimumHealthyPercent": 100,
        "strategy": "ROLLING", "bakeTimeInMinutes": 0},
    "roleArn": "arn:aws:iam::⟨account⟩:role/aws-service-role/ecs.amazonaws.com/"
               "AWSServiceRoleForECS",
    "events": [], "currentServiceDeployment": ARN + "service-deployment/c/⟨name⟩/⟨id⟩",
    "currentServiceRevisions": [{
        "arn": ARN + "service-revision/c/⟨name⟩/⟨number⟩", "requestedTaskCount": 2,
        "runningTaskCount": 0, "pendingTaskCount": 0}],
    "placementConstraints": [], "placementStrategy": [], "healthCheckGracePeriodSeconds": 0,
    "schedulingStrategy": "REPLICA", "deploymentController": {"type": "ECS"},
    "tags": [], "createdBy": "arn:aws:iam::⟨account⟩:root", "enableECSManagedTags": False,
    "propagateTags": "NONE", "enableExecuteCommand": False,
    "availabilityZoneRebalancing": "ENABLED", "resourceManagementType": "CUSTOMER"})
def _(world):
    support.needs(world.ecs, "ListServices", "resourceManagementType")
    made = world.create(count=2)
    world.words["name"] = made["serviceName"]
    made.pop("deployments")
    made.pop("createdAt")
    return made


@rule("service.create", "the deployment of a new service", [{
    "id": "ecs-svc/⟨number⟩", "status": "PRIMARY", "taskDefinition": ARN + "task-definition/web:1",
    "desiredCount": 1, "pendingCount": 0, "runningCount": 0, "failedTasks": 0,
    "launchType": "FARGATE", "platformVersion": "1.4.0", "platformFamily": "Linux",
    "rolloutState": "IN_PROGRESS",
    "rolloutStateReason": "ECS deployment ecs-svc/⟨number⟩ in progress."}])
def _(world):
    made = world.fargate(count=1)
    for one in made["deployments"]:
        for name in ("createdAt", "updatedAt", "networkConfiguration"):
            one.pop(name)
    return made["deployments"]


@rule("service.create", "a service on Fargate is of platform version LATEST and family Linux",
      ["FARGATE", "LATEST", "Linux"])
def _(world):
    return want(world, world.fargate(), "launchType", "platformVersion", "platformFamily")


@rule("service.create", "a strategy is shown with its defaults, and no launch type",
      [None, [{"capacityProvider": "FARGATE", "weight": 1, "base": 0}]])
def _(world):
    made = world.create(cluster="providers", family="web", networkConfiguration=world.zone,
                        capacityProviderStrategy=STRATEGY)
    return want(world, made, "launchType", "capacityProviderStrategy")


@rule("service.create", "with neither, the cluster's default strategy",
      [None, [{"capacityProvider": "FARGATE", "weight": 1, "base": 0}]])
def _(world):
    made = world.create(cluster="providers", family="web", networkConfiguration=world.zone)
    return want(world, made, "launchType", "capacityProviderStrategy")


@rule("service.create", "a family alone means its newest ACTIVE revision", True)
def _(world):
    family = world.fresh("family")
    world.register(family)
    newest = world.register(family)
    return world.create(family=family)["taskDefinition"] == newest


@rule("service.create", "the field of a placement strategy comes back as ECS shows it",
      [{"type": "spread", "field": "instanceId"}, {"type": "binpack", "field": "CPU"},
       {"type": "binpack", "field": "MEMORY"}, {"type": "random"}])
def _(world):
    return world.create(placementStrategy=[
        {"type": "spread", "field": "host"}, {"type": "binpack", "field": "cpu"},
        {"type": "binpack", "field": "memory"}, {"type": "random"}])["placementStrategy"]


@rule("service.create", "the percents of a DAEMON", [100, 0, "DAEMON", "DISABLED"])
def _(world):
    support.needs(world.ecs, "CreateService", "availabilityZoneRebalancing")
    made = world.create(cluster="empty", schedulingStrategy="DAEMON")
    percents = made["deploymentConfiguration"]
    return [percents["maximumPercent"], percents["minimumHealthyPercent"],
            *want(world, made, "schedulingStrategy", "availabilityZoneRebalancing")]


@rule("service.create", "a role is shown by its ARN", "arn:aws:iam::⟨account⟩:role/r")
def _(world):
    return world.create(role="r", loadBalancers=[TARGET])["roleArn"]


def rebalancing(world, members):
    support.needs(world.ecs, "CreateService", "availabilityZoneRebalancing")
    return world.create(**members)["availabilityZoneRebalancing"]


for title, members in {
        "maximumPercent 100": {"deploymentConfiguration": {"maximumPercent": 100}},
        "binpack first": {"placementStrategy": [{"type": "binpack", "field": "cpu"}]},
        "a Classic Load Balancer": {"loadBalancers": [CLASSIC]}}.items():
    rule("service.create", f"zones of a service with {title} are not rebalanced", "DISABLED")(
        lambda world, members=members: rebalancing(world, members))
rule("service.create", "zones of a service that spreads over them first are rebalanced", "ENABLED")(
    lambda world: rebalancing(world, {"placementStrategy": [
        SPREAD_ZONES, {"type": "binpack", "field": "cpu"}]}))


@rule("service.create", "the defaults of LINEAR", {"stepPercent": 10.0, "stepBakeTimeInMinutes": 6})
def _(world):
    return world.create(deploymentConfiguration={"strategy": "LINEAR", "linearConfiguration": {}})[
        "deploymentConfiguration"]["linearConfiguration"]


@rule("service.create", "the defaults of CANARY",
      {"canaryPercent": 5.0, "canaryBakeTimeInMinutes": 10})
def _(world):
    return world.create(deploymentConfiguration={"strategy": "CANARY", "canaryConfiguration": {}})[
        "deploymentConfiguration"]["canaryConfiguration"]


@rule("service.create", "a service whose controller is EXTERNAL has no deployment",
      ["ACTIVE", [], None, None, 0])
def _(world):
    made = send(world.ecs, "CreateService", {"cluster": "c", "serviceName": world.fresh("external"),
                                             "deploymentController": {"type": "EXTERNAL"}})["service"]
    world.services.append(("c", made["serviceName"]))
    return want(world, made, "status", "deployments", "taskDefinition", "launchType",
                "desiredCount")


@rule("service.create", "Service Connect takes the cluster's namespace when it names none", "mesh")
def _(world):
    name, _ = world.place(hosts=0)
    support.needs(world.ecs, "UpdateCluster", "serviceConnectDefaults")
    world.ecs.update_cluster(cluster=name, serviceConnectDefaults={"namespace": "mesh"})
    made = world.create(cluster=name, serviceConnectConfiguration={"enabled": True})
    return made["deployments"][0]["serviceConnectConfiguration"]["namespace"]


@rule("service.create", "the same request with the same clientToken gives the same service",
      [True, True])
def _(world):
    more = {"name": world.fresh("token"), "clientToken": "t"}
    first = world.create(**more)
    second = world.create(**more)
    world.services.pop()
    return [first[name] == second[name] for name in ("serviceArn", "createdAt")]


NOT_IDEMPOTENT = Refusal(INVALID, "Creation of service was not idempotent.")


@rule("service.create", "CreateService of a name that an ACTIVE service has", NOT_IDEMPOTENT)
def _(world):
    made = world.create()
    return refused(world.ecs, "CreateService", cluster="c", serviceName=made["serviceName"],
                   taskDefinition="job", desiredCount=0)


@rule("service.create", "CreateService with a clientToken again, but another request",
      NOT_IDEMPOTENT)
def _(world):
    made = world.create(clientToken="t")
    return refused(world.ecs, "CreateService", cluster="c", serviceName=made["serviceName"],
                   taskDefinition="job", desiredCount=1, clientToken="t")


@rule("service.create", "CreateService of a name that a DRAINING service has", NOT_IDEMPOTENT)
def _(world):
    made, host = draining(world)
    got = refused(world.ecs, "CreateService", cluster=made["clusterArn"],
                  serviceName=made["serviceName"], taskDefinition="job", desiredCount=0)
    host.release()
    return got


@rule("service.create", "the name of an INACTIVE service is free", ["INACTIVE", "ACTIVE", False])
def _(world):
    made = world.create()
    ended = inactive(world, made)
    again = world.create(name=made["serviceName"])
    return [ended["status"], world.show(again)["status"],
            ended["createdAt"] == again["createdAt"]]


# ---- UpdateService ---------------------------------------------------------------------------

def draining(world):
    """A service that was deleted while its task takes its time, and the host of the task."""
    cluster, [host] = world.place()
    made = world.create(cluster=cluster, count=1)
    world.stable(made)
    host.does["stop"] = "hold"
    world.ecs.delete_service(cluster=cluster, service=made["serviceName"], force=True)
    return made, host


def inactive(world, made):
    world.ecs.delete_service(cluster=made["clusterArn"], service=made["serviceName"], force=True)

    def gone():
        """INACTIVE"""
        shown = world.show(made)
        return shown if shown["status"] == "INACTIVE" else None
    return support.wait_for(gone)


def update_refused(title, code, message, create=None, **members):
    """UpdateService of a service that is made with what `create` has, with members."""
    def ask(world):
        made = world.create(**given(world, create or {}))
        return refused(world.ecs, "UpdateService", **{
            "cluster": made["clusterArn"], "service": made["serviceName"],
            **given(world, members)})
    CASES.append(Case("service.update", f"UpdateService {title}", ask, Refusal(code, message)))


ON_FARGATE = {"family": "web", "launchType": "FARGATE",
              "networkConfiguration": lambda world: world.zone}
BY_STRATEGY = {"cluster": "providers", "family": "web", "capacityProviderStrategy": STRATEGY,
               "networkConfiguration": lambda world: world.zone}
FORCE = ("When switching from launch type to capacity provider strategy on an existing service, or "
         "making a change to a capacity provider strategy on a service that is already using one, "
         "you must force a new deployment.")
SPOT = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]

update_refused("in a cluster that does not exist", "ClusterNotFoundException", "Cluster not found.",
               cluster="none")
update_refused("of a service that does not exist", "ServiceNotFoundException", "Service not found.",
               service="none")
update_refused("to a definition that does not exist", CLIENT, "TaskDefinition not found.",
               taskDefinition="nothing")
update_refused("to a definition for another network mode", INVALID,
               "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
               taskDefinition="vpc")
update_refused("to a negative desiredCount", INVALID, "desiredCount cannot be negative.",
               desiredCount=-1)
update_refused("of a DAEMON with desiredCount", INVALID,
               "The daemon scheduling strategy does not support a desired count for services. "
               "Remove the desired count value and try again",
               create={"cluster": "empty", "schedulingStrategy": "DAEMON"}, desiredCount=1)
update_refused("to maximumPercent 99", INVALID, "maximumPercent must be between 100 and 200.",
               deploymentConfiguration={"maximumPercent": 99})
update_refused("to another strategy without forceNewDeployment", INVALID, FORCE,
               create=BY_STRATEGY, capacityProviderStrategy=SPOT)
update_refused("from a launch type to a strategy without forceNewDeployment", INVALID, FORCE,
               create={**ON_FARGATE, "cluster": "providers"}, capacityProviderStrategy=STRATEGY)
update_refused("from instances to Fargate", INVALID,
               "A service that uses container instances cannot be updated to use Fargate.",
               create={"cluster": "providers", "launchType": "EC2"}, forceNewDeployment=True,
               capacityProviderStrategy=STRATEGY)
update_refused("to zone rebalancing with binpack", INVALID,
               "Availability Zone rebalancing is not supported with a placement strategy that does "
               "not begin with a spread over attribute:ecs.availability-zone.",
               availabilityZoneRebalancing="ENABLED",
               placementStrategy=[{"type": "binpack", "field": "cpu"}])
update_refused("to a container that the definition has not", INVALID,
               "The container x does not exist in the task definition.",
               loadBalancers=[{**TARGET, "containerName": "x"}])
update_refused("to another controller", INVALID,
               "The deployment controller of a service can be updated only from CODE_DEPLOY to ECS.",
               deploymentController={"type": "EXTERNAL"})
DEPLOYED_ELSEWHERE = {
    "taskDefinition": ("job", "Unable to update task definition"),
    "networkConfiguration": (lambda world: world.zone, "Unable to update network parameters"),
    "platformVersion": ("LATEST", "Unable to update platform version"),
    "loadBalancers": ([TARGET], "Unable to update load balancers"),
    "serviceRegistries": ([{"registryArn": REGISTRY}], "Unable to update service registries"),
    "serviceConnectConfiguration": ({"enabled": False}, "Unable to update Service Connect"),
    "volumeConfigurations": ([], "Unable to update volume configurations"),
    "vpcLatticeConfigurations": ([], "Unable to update VPC Lattice"),
    "capacityProviderStrategy": (STRATEGY, "Unable to update capacity provider strategy"),
    "forceNewDeployment": (True, "Cannot force a new deployment"),
}
for member, (value, words) in DEPLOYED_ELSEWHERE.items():
    update_refused(f"of {member} under CODE_DEPLOY", INVALID,
                   f"{words} on services with a CODE_DEPLOY deployment controller. Use AWS "
                   "CodeDeploy to trigger a new deployment.",
                   create={"deploymentController": {"type": "CODE_DEPLOY"}}, **{member: value})
EXTERNAL = {"family": None, "deploymentController": {"type": "EXTERNAL"}}
for member, (value, words) in {
        **DEPLOYED_ELSEWHERE, "deploymentConfiguration": (
            {"maximumPercent": 150}, "Unable to update deployment configuration")}.items():
    update_refused(f"of {member} under EXTERNAL", INVALID,
                   f"{words} on services with an EXTERNAL deployment controller. Use a task set to "
                   "trigger a new deployment.", create=EXTERNAL, **{member: value})


@rule("service.update", "UpdateService of a service that is DRAINING",
      Refusal("ServiceNotActiveException", "Service was not ACTIVE."))
def _(world):
    made, host = draining(world)
    got = refused(world.ecs, "UpdateService", cluster=made["clusterArn"],
                  service=made["serviceName"], desiredCount=1)
    host.release()
    return got


@rule("service.update", "UpdateService of a service that is INACTIVE",
      Refusal("ServiceNotActiveException", "Service was not ACTIVE."))
def _(world):
    made = world.create()
    inactive(world, made)
    return refused(world.ecs, "UpdateService", cluster="c", service=made["serviceName"],
                   desiredCount=1)


def deploys(member, expected, value, create=None, also=None):
    """Whether an update of a member starts a deployment."""
    def ask(world):
        made = world.create(**given(world, create or {}))
        shown = world.update(made, **given(world, {member: value, **(also or {})}))
        return shown["deployments"][0]["id"] != made["deployments"][0]["id"]
    words = "starts" if expected else "does not start"
    extra = f" with {', '.join(also)}" if also else ""
    rule("service.update", f"{member}{extra} {words} a deployment",
         expected)(ask)


deploys("networkConfiguration", True, lambda world: world.zone, ON_FARGATE)
deploys("platformVersion", True, "1.4.0", ON_FARGATE)
deploys("loadBalancers", True, [TARGET])
deploys("serviceRegistries", True, [{"registryArn": REGISTRY}])
deploys("serviceConnectConfiguration", True, {"enabled": False})
deploys("volumeConfigurations", True, [])
deploys("vpcLatticeConfigurations", True, [
    {"roleArn": ROLE, "targetGroupArn": LATTICE, "portName": "http"}])
deploys("forceNewDeployment", True, True)
deploys("taskDefinition", False, "job")
deploys("desiredCount", False, 0)
deploys("deploymentConfiguration", False, {"maximumPercent": 150})
deploys("placementConstraints", False, [{"type": "distinctInstance"}])
deploys("placementStrategy", False, [{"type": "random"}])
deploys("healthCheckGracePeriodSeconds", False, 10)
deploys("enableExecuteCommand", False, True)
deploys("enableECSManagedTags", False, True)
deploys("propagateTags", False, "SERVICE")
deploys("availabilityZoneRebalancing", False, "DISABLED")
deploys("capacityProviderStrategy", False, STRATEGY, BY_STRATEGY)
deploys("capacityProviderStrategy", True, SPOT, BY_STRATEGY, {"forceNewDeployment": True})


@rule("service.update", "a taskDefinition of another revision starts a deployment",
      [["PRIMARY", "ACTIVE"], True])
def _(world):
    cluster, _ = world.place()
    made = world.create(cluster=cluster, count=1)
    world.stable(made)
    newer = world.register("job")
    shown = world.update(made, taskDefinition="job")
    return [[one["status"] for one in shown["deployments"]],
            shown["deployments"][0]["taskDefinition"] == shown["taskDefinition"] == newer]


@rule("service.update", "forceNewDeployment deploys the same definition again", True)
def _(world):
    made = world.create()
    world.register("job")
    shown = world.update(made, forceNewDeployment=True)
    return shown["taskDefinition"] == made["taskDefinition"]


@rule("service.update", "what an update does not name stays, an empty list clears",
      [[{"type": "random"}], [], [GROUP], []])
def _(world):
    made = world.create(placementStrategy=[{"type": "random"}], loadBalancers=[TARGET])
    kept = world.update(made, desiredCount=0)
    cleared = world.update(made, placementStrategy=[], loadBalancers=[])
    return [kept["placementStrategy"], cleared["placementStrategy"],
            [one["targetGroupArn"] for one in kept["loadBalancers"]], cleared["loadBalancers"]]


@rule("service.update", "an update of desiredCount edits the PRIMARY deployment in place",
      [3, 3, True])
def _(world):
    made = world.create(cluster="empty")
    shown = world.update(made, desiredCount=3)
    return [shown["desiredCount"], shown["deployments"][0]["desiredCount"],
            shown["deployments"][0]["id"] == made["deployments"][0]["id"]]


@rule("service.update", "an empty strategy gives way to the launch type", ["FARGATE", None])
def _(world):
    made = world.create(**given(world, BY_STRATEGY))
    shown = world.update(made, capacityProviderStrategy=[], forceNewDeployment=True)
    return want(world, shown, "launchType", "capacityProviderStrategy")


@rule("service.update", "a service under CODE_DEPLOY takes these", [
    2, 150, 5, [{"type": "random"}], "SERVICE"])
def _(world):
    made = world.create(cluster="empty", deploymentController={"type": "CODE_DEPLOY"})
    shown = world.update(
        made, desiredCount=2, deploymentConfiguration={"maximumPercent": 150},
        healthCheckGracePeriodSeconds=5, placementStrategy=[{"type": "random"}],
        propagateTags="SERVICE", enableECSManagedTags=True)
    return [shown["desiredCount"], shown["deploymentConfiguration"]["maximumPercent"],
            *want(world, shown, "healthCheckGracePeriodSeconds", "placementStrategy",
                  "propagateTags")]


@rule("service.update", "a service goes from CODE_DEPLOY to ECS", "ECS")
def _(world):
    support.needs(world.ecs, "UpdateService", "deploymentController")
    made = world.create(deploymentController={"type": "CODE_DEPLOY"})
    return world.update(made, deploymentController={"type": "ECS"})["deploymentController"]["type"]


# ---- DeleteService ---------------------------------------------------------------------------

def delete_refused(title, code, message, count=0, **members):
    def ask(world):
        made = world.create(cluster="empty", count=count)
        return refused(world.ecs, "DeleteService", **{
            "cluster": "empty", "service": made["serviceName"], **members})
    CASES.append(Case("service.delete", f"DeleteService {title}", ask, Refusal(code, message)))


delete_refused("in a cluster that does not exist", "ClusterNotFoundException", "Cluster not found.",
               cluster="none")
delete_refused("of a service that does not exist", "ServiceNotFoundException", "Service not found.",
               service="none")
delete_refused("above 0 without force", INVALID,
               "The service cannot be stopped while it is scaled above 0.", count=1)


@rule("service.delete", "DeleteService while a deployment replaces another, without force",
      Refusal(INVALID, "The service cannot be stopped while deployments are active."))
def _(world):
    cluster, [host] = world.place()
    made = world.create(cluster=cluster, count=1)
    world.stable(made)
    host.does["stop"] = "hold"
    world.update(made, forceNewDeployment=True, desiredCount=0)
    got = refused(world.ecs, "DeleteService", cluster=cluster, service=made["serviceName"])
    host.release()
    return got


@rule("service.delete", "DeleteService of a service that is INACTIVE",
      Refusal("ServiceNotFoundException", "Service not found."))
def _(world):
    made = world.create()
    inactive(world, made)
    return refused(world.ecs, "DeleteService", cluster="c", service=made["serviceName"])


@rule("service.delete", "a service is DRAINING while tasks remain, then INACTIVE; counts, listed",
      [["DRAINING", 0, 1, False], ["INACTIVE", 0, 0, False]])
def _(world):
    made, host = draining(world)

    def seen(shown):
        listed = world.ecs.list_services(cluster=made["clusterArn"])["serviceArns"]
        return [shown["status"], shown["desiredCount"], shown["runningCount"],
                made["serviceArn"] in listed]
    first = seen(world.show(made))
    host.release()

    def gone():
        """INACTIVE"""
        return world.show(made)["status"] == "INACTIVE"
    support.wait_for(gone)
    ended = world.show(made)
    return [first, [ended["status"], ended["runningCount"], len(ended["deployments"]),
                    made["serviceArn"] in world.ecs.list_services(
                        cluster=made["clusterArn"])["serviceArns"]]]


@rule("service.delete", "DeleteService of a service that is DRAINING shows it again", "DRAINING")
def _(world):
    made, host = draining(world)
    again = world.ecs.delete_service(cluster=made["clusterArn"], service=made["serviceName"])
    host.release()
    return again["service"]["status"]


@rule("service.delete", "a DAEMON needs no force", "DRAINING")
def _(world):
    made = world.create(cluster="empty", schedulingStrategy="DAEMON")
    return world.ecs.delete_service(cluster="empty", service=made["serviceName"])["service"]["status"]


@rule("service.delete", "DeleteCluster with a service",
      Refusal("ClusterContainsServicesException",
              "The Cluster cannot be deleted while Services are active."))
def _(world):
    cluster, _ = world.place(hosts=0)
    world.create(cluster=cluster)
    return refused(world.ecs, "DeleteCluster", cluster=cluster)


@rule("service.delete", "activeServicesCount and statistics of a cluster with a DRAINING service",
      [0, "0", "1"])
def _(world):
    made, host = draining(world)
    shown = world.ecs.describe_clusters(clusters=[made["clusterArn"]],
                                        include=["STATISTICS"])["clusters"][0]
    host.release()
    statistics = {one["name"]: one["value"] for one in shown["statistics"]}
    return [shown["activeServicesCount"], statistics["activeEC2ServiceCount"],
            statistics["drainingEC2ServiceCount"]]


@rule("service.delete", "statistics count services with a strategy by what its providers are", [
    "1", "2", "0", "0"])
def _(world):
    cluster, group = world.fresh("counted"), world.fresh("group")
    world.ecs.create_capacity_provider(name=group, autoScalingGroupProvider={
        "autoScalingGroupArn": group})
    world.ecs.create_cluster(clusterName=cluster, capacityProviders=["FARGATE", group])
    for name, more in (("FARGATE", {"family": "web", "networkConfiguration": world.zone}),
                       (group, {})):
        world.create(cluster=cluster, capacityProviderStrategy=[
            {"capacityProvider": name, "weight": 1}], **more)
    world.create(cluster=cluster)
    [shown] = world.ecs.describe_clusters(clusters=[cluster], include=["STATISTICS"])["clusters"]
    statistics = {one["name"]: one["value"] for one in shown["statistics"]}
    return [statistics[name] for name in (
        "activeFargateServiceCount", "activeEC2ServiceCount", "drainingFargateServiceCount",
        "drainingEC2ServiceCount")]


# ---- Describe and List -----------------------------------------------------------------------

def listed_refused(title, operation, code, message, **members):
    CASES.append(Case("service.list", f"{operation} {title}",
                      lambda world: refused(world.ecs, operation, **members),
                      Refusal(code, message)))


for operation, more in {"DescribeServices": {"services": ["s"]}, "ListServices": {}}.items():
    listed_refused("in a cluster that does not exist", operation, "ClusterNotFoundException",
                   "Cluster not found.", cluster="none", **more)
listed_refused("of none", "DescribeServices", INVALID, "Services cannot be empty.", cluster="c",
               services=[])
listed_refused("of 11", "DescribeServices", INVALID, "service names can have at most 10 items.",
               cluster="c", services=["s"] * 11)
listed_refused("of a namespace that nothing names", "ListServicesByNamespace",
               "NamespaceNotFoundException", "Namespace not found.", namespace="nowhere")
for operation, more in {"ListServices": {"cluster": "c"},
                        "ListServicesByNamespace": {"namespace": "n"}}.items():
    for number in (0, 101):
        listed_refused(f"with maxResults {number}", operation, INVALID,
                       "maxResults must be between 1 and 100.", maxResults=number, **more)


@rule("service.list", "failures of DescribeServices name services in full", [
    {"arn": ARN + "service/c/none", "reason": "MISSING"},
    {"arn": ARN + "service/other/none", "reason": "MISSING"}])
def _(world):
    account, region = world.words["account"], world.words["region"]
    return world.ecs.describe_services(cluster="c", services=[
        "none", f"arn:aws:ecs:{region}:{account}:service/other/none"])["failures"]


@rule("service.list", "tags are shown when they are asked for", [None, [{"key": "k", "value": "v"}]])
def _(world):
    made = world.create(tags=[{"key": "k", "value": "v"}])
    return [world.show(made).get("tags"), world.show(made, include=["TAGS"])["tags"]]


@rule("service.list", "a service is found by name, by ARN, and by the ARN without its cluster",
      [1, 1, 1])
def _(world):
    made = world.create()
    short = made["serviceArn"].replace(":service/c/", ":service/")
    return [len(world.ecs.describe_services(cluster="c", services=[name])["services"])
            for name in (made["serviceName"], made["serviceArn"], short)]


@rule("service.list", "ListServices shows 10, and in the order of their names", [10, 2, True])
def _(world):
    cluster, _ = world.place(hosts=0)
    made = sorted(world.create(cluster=cluster, name=f"s-{n:02}")["serviceArn"]
                  for n in range(12))
    first = world.ecs.list_services(cluster=cluster)
    second = world.ecs.list_services(cluster=cluster, nextToken=first["nextToken"])
    shown = first["serviceArns"] + second["serviceArns"]
    return [len(first["serviceArns"]), len(second["serviceArns"]), shown == made]


@rule("service.list", "filters of ListServices: EC2, FARGATE, REPLICA, DAEMON",
      [["daemon", "host"], ["web"], ["host", "web"], ["daemon"]])
def _(world):
    cluster, _ = world.place(hosts=0)
    world.create(cluster=cluster, name="host")
    world.create(cluster=cluster, name="daemon", schedulingStrategy="DAEMON")
    world.fargate(cluster=cluster, name="web")
    return [[arn.rsplit("/", 1)[1] for arn in world.ecs.list_services(
        cluster=cluster, **{name: value})["serviceArns"]]
        for name, value in (("launchType", "EC2"), ("launchType", "FARGATE"),
                            ("schedulingStrategy", "REPLICA"), ("schedulingStrategy", "DAEMON"))]


@rule("service.list", "ListServicesByNamespace lists those whose Service Connect names it",
      [["in"], []])
def _(world):
    support.needs(world.ecs, "ListServicesByNamespace")
    cluster, _ = world.place(hosts=0)
    space = world.fresh("space")
    connect = {"enabled": True, "namespace": space}
    world.create(cluster=cluster, name="in", serviceConnectConfiguration=connect)
    world.create(cluster=cluster, name="out", serviceConnectConfiguration={
        **connect, "namespace": "other"})
    world.create(cluster=cluster, name="off", serviceConnectConfiguration={
        **connect, "enabled": False})
    default = world.fresh("space")
    world.ecs.create_cluster(clusterName=world.fresh("default"),
                             serviceConnectDefaults={"namespace": default})
    return [[arn.rsplit("/", 1)[1] for arn in world.ecs.list_services_by_namespace(
        namespace=name)["serviceArns"]] for name in (space, default)]


@rule("service.list", "tasks of a service: group, startedBy, ListTasks by serviceName",
      [[True, True], 1])
def _(world):
    cluster, _ = world.place()
    made = world.create(cluster=cluster, count=1)
    world.stable(made)
    [task] = world.tasks(made)
    return [[task["group"] == f"service:{made['serviceName']}",
             task["startedBy"] == made["deployments"][0]["id"]], len(world.tasks(made))]


def propagated(world, **more):
    cluster, _ = world.place()
    made = world.create(cluster=cluster, count=1, tags=[{"key": "from", "value": "service"}], **more)
    world.stable(made)
    world.words.update(cluster=cluster, name=made["serviceName"])
    [task] = world.tasks(made, include=["TAGS"])
    return {tag["key"]: tag["value"] for tag in task["tags"]}


rule("service.create", "tags of tasks with propagateTags NONE", {})(propagated)
rule("service.create", "tags of tasks with propagateTags SERVICE", {"from": "service"})(
    lambda world: propagated(world, propagateTags="SERVICE"))
rule("service.create", "tags of tasks with enableECSManagedTags", {
    "aws:ecs:clusterName": "⟨cluster⟩", "aws:ecs:serviceName": "⟨name⟩"})(
    lambda world: propagated(world, enableECSManagedTags=True))


@rule("service.create", "tags of tasks with propagateTags TASK_DEFINITION", {"of": "definition"})
def _(world):
    family = world.fresh("tagged")
    world.register(family, tags=[{"key": "of", "value": "definition"}])
    return propagated(world, family=family, propagateTags="TASK_DEFINITION")


@rule("service.list", "a service's tags are changed by TagResource and UntagResource",
      [[{"key": "k", "value": "2"}], []])
def _(world):
    made = world.create(tags=[{"key": "k", "value": "1"}])
    arn = made["serviceArn"]
    world.ecs.tag_resource(resourceArn=arn, tags=[{"key": "k", "value": "2"}])
    first = world.ecs.list_tags_for_resource(resourceArn=arn)["tags"]
    world.ecs.untag_resource(resourceArn=arn, tagKeys=["k"])
    return [first, world.ecs.list_tags_for_resource(resourceArn=arn)["tags"]]


@rule("service.list", "TagResource of a service by its old ARN",
      Refusal(INVALID, "Long arn format must be used for tagging operations"))
def _(world):
    arn = world.create()["serviceArn"].replace(":service/c/", ":service/")
    return refused(world.ecs, "TagResource", resourceArn=arn, tags=[{"key": "k", "value": "v"}])


@rule("service.delete", "a definition that a service refers to is not DELETED before the service is",
      ["DELETE_IN_PROGRESS", "DELETE_IN_PROGRESS"])
def _(world):
    support.needs(world.ecs, "DeleteTaskDefinitions")
    family = world.fresh("kept")
    arn = world.register(family)
    world.create(family=family)
    world.ecs.deregister_task_definition(taskDefinition=arn)
    first = world.ecs.delete_task_definitions(taskDefinitions=[arn])["taskDefinitions"][0]
    then = world.ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]
    return [first["status"], then["status"]]


@rule("service.delete", "PutClusterCapacityProviders without a provider that a service uses",
      Refusal("ResourceInUseException",
              "The specified capacity provider is in use and cannot be removed."))
def _(world):
    world.create(**given(world, BY_STRATEGY))
    return refused(world.ecs, "PutClusterCapacityProviders", cluster="providers",
                   capacityProviders=["FARGATE_SPOT"], defaultCapacityProviderStrategy=[])


UNREACHABLE = [
    Unreachable("service.delete", "ServiceNotActiveException of DeleteService",
                "The operation does not declare it: what is DRAINING is shown again, what is "
                "INACTIVE is not found."),
]
