"""Messages and rules of services: CreateService, UpdateService, DeleteService, Describe, List."""
from messages import Case, Refusal, Unreachable, refused, rules, send
from service_world import ARN, CLIENT, CONTAINER, INVALID

CASES = []
rule = rules(CASES)
GROUP = "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/g/0123456789abcdef"
LATTICE = "arn:aws:vpc-lattice:us-east-1:000000000000:targetgroup/tg-0123456789abcdef0"
REGISTRY = "arn:aws:servicediscovery:us-east-1:000000000000:service/srv-0123456789"
ROLE = "arn:aws:iam::000000000000:role/r"
DAEMON_COUNT = ("The daemon scheduling strategy does not support a desired count for services. "
                "Remove the desired count value and try again")
SPREAD_ZONES = {"type": "spread", "field": "attribute:ecs.availability-zone"}


def given(world, members):
    """Members that are functions of the world, called."""
    return {name: value(world) if callable(value) else value for name, value in members.items()}


def zone(world):
    return world.zone


# ---- CreateService: refusals ----------------------------------------------------------------

def create_refused(title, code, message, **members):
    """CreateService of `job` in `c`, with members; None takes one away."""
    def ask(world):
        whole = {"serviceName": world.fresh("refused"), "cluster": "c", "taskDefinition": "job",
                 "desiredCount": 1, **given(world, members)}
        return refused(world.ecs, "CreateService",
                       **{name: value for name, value in whole.items() if value is not None})
    CASES.append(Case("service.create", f"CreateService {title}", ask, Refusal(code, message)))


FARGATE = {"taskDefinition": "web", "launchType": "FARGATE", "networkConfiguration": zone}
STRATEGY = [{"capacityProvider": "FARGATE", "weight": 1}]
NAME = "Service name can have up to 255 characters: letters, numbers, hyphens and underscores."
TOKEN = "clientToken can have up to 36 characters of ASCII 33 to 126."

create_refused("in a cluster that does not exist", "ClusterNotFoundException", "Cluster not found.",
               cluster="none")
create_refused("with an empty name", INVALID, "Service name cannot be empty.", serviceName="")
create_refused("with a name of 256 characters", INVALID, NAME, serviceName="n" * 256)
create_refused("with a name of other characters", INVALID, NAME, serviceName="a b")
create_refused("with a clientToken of 37 characters", INVALID, TOKEN, clientToken="t" * 37)
create_refused("with a clientToken of other characters", INVALID, TOKEN, clientToken="a b")
create_refused("without a definition", CLIENT, "TaskDefinition can not be blank.",
               taskDefinition=None)
create_refused("of a definition that does not exist", CLIENT, "TaskDefinition not found.",
               taskDefinition="nothing")
create_refused("without desiredCount", INVALID,
               "desiredCount is required for the REPLICA scheduling strategy.", desiredCount=None)
create_refused("with a negative desiredCount", INVALID, "desiredCount cannot be negative.",
               desiredCount=-1)
create_refused("with a desiredCount of 5001", INVALID, "desiredCount can be at most 5000.",
               desiredCount=5001)
create_refused("with service discovery and a desiredCount of 1001", INVALID,
               "desiredCount can be at most 1000 for a service with service discovery or Service "
               "Connect.", desiredCount=1001, serviceRegistries=[{"registryArn": REGISTRY}])
create_refused("of a DAEMON with desiredCount", INVALID, DAEMON_COUNT, schedulingStrategy="DAEMON")
create_refused("of a DAEMON on Fargate", INVALID,
               "The daemon scheduling strategy does not support the FARGATE launch type. Change "
               "the launch type and try again", schedulingStrategy="DAEMON",
               desiredCount=None, **FARGATE)
create_refused("of a DAEMON with a capacity provider strategy", INVALID,
               "Specifying a capacity provider strategy is not supported when you create a service "
               "using the DAEMON scheduling strategy.", schedulingStrategy="DAEMON",
               desiredCount=None, capacityProviderStrategy=[{"capacityProvider": "x"}])
for name in ("CODE_DEPLOY", "EXTERNAL"):
    create_refused(f"of a DAEMON with controller {name}", INVALID,
                   f"The daemon scheduling strategy is not supported with the {name} deployment "
                   "controller.", schedulingStrategy="DAEMON", desiredCount=None,
                   taskDefinition=None if name == "EXTERNAL" else "job",
                   deploymentController={"type": name})
create_refused("of a DAEMON with placement strategies", INVALID,
               "The daemon scheduling strategy does not support placement strategies. Remove the "
               "placement strategy and try again", schedulingStrategy="DAEMON",
               desiredCount=None, placementStrategy=[{"type": "random"}])
create_refused("of a DAEMON with maximumPercent 200", INVALID,
               "The daemon scheduling strategy does not support values above 100 for "
               "maximumPercent. Specify 100 and try again.", schedulingStrategy="DAEMON",
               desiredCount=None, deploymentConfiguration={"maximumPercent": 200})
create_refused("with launchType and capacityProviderStrategy", INVALID,
               "Specify either Launch Type or Capacity Provider Strategy, but not both.",
               cluster="providers", capacityProviderStrategy=STRATEGY, **FARGATE)
create_refused("with launchType MANAGED_INSTANCES", INVALID,
               "launch type should be one of [EC2,FARGATE,EXTERNAL]",
               launchType="MANAGED_INSTANCES")
create_refused("with a strategy of a provider that is not the cluster's", INVALID,
               "The specified capacity provider strategy contains a capacity provider that is not "
               "associated with the cluster. Associate the capacity provider with the cluster and "
               "try again.", taskDefinition="web", networkConfiguration=zone,
               capacityProviderStrategy=STRATEGY)
create_refused("with a launch type that the definition is not for", INVALID,
               "Task definition does not support launch_type FARGATE.", launchType="FARGATE")
create_refused("with a platform version on instances", INVALID,
               "The platform version must be null when specifying an EC2 launch type.",
               platformVersion="LATEST")
create_refused("with a platform version that does not exist", "PlatformUnknownException",
               "The specified platform does not exist.", platformVersion="9.9.9", **FARGATE)
create_refused("with execute command on a platform version that has none",
               "PlatformTaskDefinitionIncompatibilityException",
               "The specified platform does not satisfy the task definition's required "
               "capabilities.", platformVersion="1.3.0", enableExecuteCommand=True, **FARGATE)
create_refused("of awsvpc without networkConfiguration", INVALID,
               "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
               taskDefinition="web", launchType="FARGATE")
create_refused("without a subnet", INVALID, "subnets can not be empty.", taskDefinition="web",
               launchType="FARGATE",
               networkConfiguration={"awsvpcConfiguration": {"subnets": []}})
create_refused("with placement constraints on Fargate", INVALID,
               "Placement constraints are not supported with FARGATE launch type.",
               placementConstraints=[{"type": "distinctInstance"}], **FARGATE)
create_refused("with placement strategies on Fargate", INVALID,
               "Placement strategies are not supported with FARGATE launch type.",
               placementStrategy=[{"type": "random"}], **FARGATE)
create_refused("with 6 placement strategies", INVALID,
               "A task can have at most 5 placement strategies.",
               placementStrategy=[{"type": "random"}] * 6)
create_refused("with a negative grace period", INVALID,
               "healthCheckGracePeriodSeconds must be between 0 and 2147483647.",
               healthCheckGracePeriodSeconds=-1)
create_refused("with a reserved tag", INVALID,
               "Tag keys that begin with 'aws:' are reserved. Key: aws:x",
               tags=[{"key": "aws:x", "value": "y"}])
create_refused("with a role for awsvpc", INVALID,
               "You cannot specify an IAM role for services that require a service linked role.",
               role="r", **FARGATE)
create_refused("with a role but no load balancer", INVALID,
               "You can specify an IAM role only for services that use a load balancer.", role="r")
create_refused("with zone rebalancing and maximumPercent 100", INVALID,
               "Availability Zone rebalancing is not supported with a maximumPercent of 100.",
               availabilityZoneRebalancing="ENABLED",
               deploymentConfiguration={"maximumPercent": 100})
create_refused("with zone rebalancing and a DAEMON", INVALID,
               "Availability Zone rebalancing is not supported with the daemon scheduling "
               "strategy.", availabilityZoneRebalancing="ENABLED", schedulingStrategy="DAEMON",
               desiredCount=None)
create_refused("with zone rebalancing and the EXTERNAL deployment controller", INVALID,
               "Availability Zone rebalancing is not supported with the EXTERNAL deployment "
               "controller.", availabilityZoneRebalancing="ENABLED", taskDefinition=None,
               deploymentController={"type": "EXTERNAL"})
create_refused("with zone rebalancing and binpack first", INVALID,
               "Availability Zone rebalancing is not supported with a placement strategy that does "
               "not begin with a spread over attribute:ecs.availability-zone.",
               availabilityZoneRebalancing="ENABLED",
               placementStrategy=[{"type": "binpack", "field": "cpu"}, SPREAD_ZONES])
create_refused("with zone rebalancing and a constraint on the zone", INVALID,
               "Availability Zone rebalancing is not supported with a placement constraint on "
               "ecs.availability-zone.", availabilityZoneRebalancing="ENABLED",
               placementConstraints=[{"type": "memberOf",
                                      "expression": "attribute:ecs.availability-zone == z"}])
create_refused("with launch type EXTERNAL", "UnsupportedFeatureException",
               "Launch type EXTERNAL is not supported by this version of Berth.",
               launchType="EXTERNAL", taskDefinition="anywhere")
create_refused("with zone rebalancing and a Classic Load Balancer", INVALID,
               "Availability Zone rebalancing is not supported with a Classic Load Balancer.",
               availabilityZoneRebalancing="ENABLED", loadBalancers=[
                   {"loadBalancerName": "b", "containerName": "a", "containerPort": 80}])


def configured(title, message, **members):
    create_refused(f"with {title}", INVALID, message, deploymentConfiguration=members)


configured("minimumHealthyPercent 101", "minimumHealthyPercent must be between 0 and 100.",
           minimumHealthyPercent=101)
configured("minimumHealthyPercent -1", "minimumHealthyPercent must be between 0 and 100.",
           minimumHealthyPercent=-1)
configured("maximumPercent 99", "maximumPercent must be between 100 and 200.", maximumPercent=99)
configured("maximumPercent 201", "maximumPercent must be between 100 and 200.", maximumPercent=201)
configured("a bakeTimeInMinutes of 1441", "bakeTimeInMinutes must be between 0 and 1440.",
           strategy="BLUE_GREEN", bakeTimeInMinutes=1441)
configured("linearConfiguration of ROLLING",
           "linearConfiguration can be specified only with the LINEAR strategy.",
           linearConfiguration={"stepPercent": 10.0})
configured("canaryConfiguration of ROLLING",
           "canaryConfiguration can be specified only with the CANARY strategy.",
           canaryConfiguration={"canaryPercent": 10.0})
for percent in (2.9, 100.1, 3.05):
    configured(f"stepPercent {percent}",
               "stepPercent must be between 3.0 and 100.0, in steps of 0.1.", strategy="LINEAR",
               linearConfiguration={"stepPercent": percent})
for percent in (0.0, 100.1, 0.15):
    configured(f"canaryPercent {percent}",
               "canaryPercent must be between 0.1 and 100.0, in steps of 0.1.", strategy="CANARY",
               canaryConfiguration={"canaryPercent": percent})
configured("a stepBakeTimeInMinutes of -1", "stepBakeTimeInMinutes must be between 0 and 1440.",
           strategy="LINEAR", linearConfiguration={"stepBakeTimeInMinutes": -1})
configured("a canaryBakeTimeInMinutes of 1441",
           "canaryBakeTimeInMinutes must be between 0 and 1440.", strategy="CANARY",
           canaryConfiguration={"canaryBakeTimeInMinutes": 1441})
configured("alarms without a name",
           "alarmNames can not be empty when deployment alarms are enabled.",
           alarms={"alarmNames": [], "enable": True, "rollback": False})
configured("11 alarms", "alarmNames can have at most 10 items.",
           alarms={"alarmNames": ["a"] * 11, "enable": True, "rollback": False})
configured("a blank alarm name", "An alarm name can not be blank.",
           alarms={"alarmNames": [""], "enable": True, "rollback": False})
CODE_DEPLOY = {"deploymentController": {"type": "CODE_DEPLOY"}}
create_refused("with a strategy under CODE_DEPLOY", INVALID,
               "A deployment strategy is supported only with the ECS deployment controller.",
               deploymentConfiguration={"strategy": "BLUE_GREEN"}, **CODE_DEPLOY)
create_refused("with a circuit breaker under CODE_DEPLOY", INVALID,
               "The deployment circuit breaker is supported only with the ECS deployment "
               "controller.", deploymentConfiguration={
                   "deploymentCircuitBreaker": {"enable": True, "rollback": False}}, **CODE_DEPLOY)
create_refused("with alarms under CODE_DEPLOY", INVALID,
               "Deployment alarms are supported only with the ECS deployment controller.",
               deploymentConfiguration={"alarms": {"alarmNames": ["a"], "enable": True,
                                                   "rollback": False}}, **CODE_DEPLOY)
for member, value in {"taskDefinition": "job", "launchType": "EC2", "platformVersion": "LATEST",
                      "capacityProviderStrategy": STRATEGY, "networkConfiguration": zone,
                      "loadBalancers": [{"targetGroupArn": GROUP}], "role": "r",
                      "serviceRegistries": [{"registryArn": REGISTRY}],
                      "serviceConnectConfiguration": {"enabled": False},
                      "volumeConfigurations": [{"name": "v"}],
                      "vpcLatticeConfigurations": [
                          {"roleArn": ROLE, "targetGroupArn": LATTICE, "portName": "http"}],
                      }.items():
    create_refused(f"with {member} under EXTERNAL", INVALID,
                   f"{member} cannot be specified for a service with the EXTERNAL deployment "
                   "controller. Specify it for a task set.",
                   **{"taskDefinition": None, "deploymentController": {"type": "EXTERNAL"},
                      member: value})


# ---- CreateService: what is beside the tasks -------------------------------------------------

def balanced(title, message, *balancers, **more):
    create_refused(f"with {title}", INVALID, message, loadBalancers=list(balancers), **more)


TARGET = {"targetGroupArn": GROUP, "containerName": "a", "containerPort": 80}
CLASSIC = {"loadBalancerName": "b", "containerName": "a", "containerPort": 80}
EITHER = "Specify either targetGroupArn or loadBalancerName of a load balancer."
balanced("6 load balancers", "load balancers can have at most 5 items.", *[TARGET] * 6)
balanced("two Classic Load Balancers", "A service can have at most one Classic Load Balancer.",
         CLASSIC, CLASSIC)
balanced("a Classic Load Balancer for awsvpc",
         "Classic Load Balancers are not supported with networkMode 'awsvpc'.", CLASSIC, **FARGATE)
balanced("a load balancer that is none", EITHER, {"containerName": "a", "containerPort": 80})
balanced("a load balancer that is two", EITHER, {**TARGET, **CLASSIC})
balanced("a target group that is none", "The target group x does not exist.",
         {**TARGET, "targetGroupArn": "x"})
balanced("a container that the definition has not",
         "The container x does not exist in the task definition.",
         {**TARGET, "containerName": "x"})
balanced("a port that the container has not",
         "The container a did not have a container port 81 defined.",
         {**TARGET, "containerPort": 81})
balanced("advancedConfiguration of ROLLING",
         "The advancedConfiguration of a load balancer can be specified only with the BLUE_GREEN, "
         "LINEAR and CANARY strategies.",
         {**TARGET, "advancedConfiguration": {"alternateTargetGroupArn": GROUP}})
balanced("advancedConfiguration that is not whole",
         "The advancedConfiguration of a load balancer needs alternateTargetGroupArn, "
         "productionListenerRule and roleArn.",
         {**TARGET, "advancedConfiguration": {"alternateTargetGroupArn": GROUP}},
         deploymentConfiguration={"strategy": "BLUE_GREEN"})


def registered(title, message, *registries):
    create_refused(f"with {title}", INVALID, message, serviceRegistries=list(registries))


PORT = "Specify either port, or containerName and containerPort together, of a service registry."
registered("2 service registries", "service registries can have at most 1 items.",
           *[{"registryArn": REGISTRY}] * 2)
registered("a registry that is none", "The service registry x does not exist.",
           {"registryArn": "x"})
registered("a registry with a container but no port", PORT,
           {"registryArn": REGISTRY, "containerName": "a"})
registered("a registry with both kinds of port", PORT,
           {"registryArn": REGISTRY, "containerName": "a", "containerPort": 80, "port": 80})
registered("a registry with port 0", "The port of a service registry must be between 1 and 65535.",
           {"registryArn": REGISTRY, "port": 0})
registered("a registry of a container that the definition has not",
           "The container x does not exist in the task definition.",
           {"registryArn": REGISTRY, "containerName": "x", "containerPort": 80})


def connected(title, message, services=(), taskDefinition="job", **more):
    create_refused(f"with Service Connect {title}", INVALID, message, taskDefinition=taskDefinition,
                   serviceConnectConfiguration={
                       "enabled": True, "namespace": "n", "services": list(services), **more})


connected("without a namespace",
          "Service Connect needs a namespace: specify one, or a default of the cluster.",
          namespace="")
connected("of a port that has no such name",
          "portName(x) does not refer to any named PortMapping in the task definition.",
          [{"portName": "x"}])
connected("that names a port twice", "Duplicate portName in Service Connect services: http",
          [{"portName": "http"}, {"portName": "http", "discoveryName": "other"}])
connected("with a discoveryName of other characters",
          "discoveryName can have up to 64 characters: lowercase letters, numbers, underscores and "
          "hyphens, and cannot begin with a hyphen.",
          [{"portName": "http", "discoveryName": "A"}])
connected("with the discoveryName of another port's name",
          "Duplicate discoveryName in Service Connect services: http",
          [{"portName": "http"}, {"portName": "https", "discoveryName": "http"}],
          taskDefinition="ports")
connected("in networkMode host",
          "Service Connect is supported only with the network modes 'awsvpc' and 'bridge'.",
          taskDefinition="ports-host")
connected("with 2 aliases", "clientAliases can have at most 1 items.",
          [{"portName": "http", "clientAliases": [{"port": 1}, {"port": 2}]}])
connected("with an alias of port 0", "The port of a client alias must be between 1 and 65535.",
          [{"portName": "http", "clientAliases": [{"port": 0}]}])
connected("with a dnsName of 128 characters",
          "The dnsName of a client alias can have up to 127 characters.",
          [{"portName": "http", "clientAliases": [{"port": 1, "dnsName": "d" * 128}]}])


def stored(title, message, *volumes, family="disk"):
    create_refused(f"with {title}", INVALID, message, taskDefinition=family,
                   volumeConfigurations=list(volumes))


EBS = {"roleArn": ROLE, "sizeInGiB": 1}
stored("2 volumes", "volume configurations can have at most 1 items.", *[{"name": "v"}] * 2)
stored("a volume that is not configured at launch",
       "The volume v is not a volume of the task definition that is configured at launch.",
       {"name": "v", "managedEBSVolume": EBS}, family="job")
stored("no configuration for a volume that needs one",
       "The volume v of the task definition is configured at launch. Specify volumeConfigurations "
       "and try again.")
stored("a volume of nothing", "A volume configuration needs managedEBSVolume.", {"name": "v"})
stored("a volume without a size", "A managedEBSVolume needs sizeInGiB or snapshotId.",
       {"name": "v", "managedEBSVolume": {"roleArn": ROLE}})
stored("a volume of 16385 GiB", "sizeInGiB must be between 1 and 16384.",
       {"name": "v", "managedEBSVolume": {**EBS, "sizeInGiB": 16385}})
stored("a volume of a type that does not exist",
       "volumeType should be one of [gp2,gp3,io1,io2,sc1,st1,standard]",
       {"name": "v", "managedEBSVolume": {**EBS, "volumeType": "x"}})
create_refused("with a VPC Lattice target group that is none", INVALID,
               "The target group x does not exist.", vpcLatticeConfigurations=[
                   {"roleArn": ROLE, "targetGroupArn": "x", "portName": "http"}])
create_refused("with a VPC Lattice port that has no such name", INVALID,
               "portName(x) does not refer to any named PortMapping in the task definition.",
               vpcLatticeConfigurations=[
                   {"roleArn": ROLE, "targetGroupArn": LATTICE, "portName": "x"}])
create_refused("with 6 VPC Lattice target groups", INVALID,
               "VPC Lattice configurations can have at most 5 items.", vpcLatticeConfigurations=[
                   {"roleArn": ROLE, "targetGroupArn": LATTICE, "portName": "http"}] * 6)

UNREACHABLE = [
    Unreachable("service.create", "The target group with targetGroupArn ⟨arn⟩ does not have an "
                "associated load balancer.", "There are no load balancers yet: any target group's "
                "ARN is stored."),
    Unreachable("service.create", "NamespaceNotFoundException of CreateService",
                "There is no directory of namespaces yet: any namespace is stored."),
    Unreachable("service.create", "Unable to describe task definition. (of CreateService)",
                "A definition is at hand or not there, and then TaskDefinition not found. is said."),
    Unreachable("service.create", "The cluster has 5000 services, as many as a cluster can have. "
                "Delete some and try again.", "A test of it would make 5,000 services."),
    Unreachable("service.create", "AccessDeniedException of operations on services",
                "Policies are not evaluated yet: a key may do everything in its account."),
    Unreachable("service.create", "ServerException of operations on services",
                "The server answers so when it fails inside; no request is known to make it."),
    Unreachable("service.task_sets", "LimitExceededException of operations on task sets",
                "What ECS says of a sixth task set is an InvalidParameterException, and clients try "
                "again for a LimitExceededException."),
    Unreachable("service.delete", "UpdateInProgressException of PutClusterCapacityProviders",
                "Providers come and go in one step: nothing is in progress between two requests."),
]
