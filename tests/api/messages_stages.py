"""Messages and rules of deployments by stages: lifecycle hooks, ContinueServiceDeployment."""
from messages import Case, Refusal, refused, rules, send
from service_world import ARN, CLIENT, INVALID

CASES = []
UNREACHABLE = []
rule = rules(CASES)
SECTION = "service.stages"
LAMBDA = "arn:aws:lambda:us-east-1:000000000000:function:check"
NO_TARGET = ("hookTargetArn must be the ARN of a Lambda function or of a task definition, or an "
             "http:// or https:// URL.")


def hooks_refused(title, code, message, *hooks, strategy="BLUE_GREEN"):
    def ask(world):
        return refused(world.ecs, "CreateService", serviceName=world.fresh("refused"), cluster="c",
                       taskDefinition="job", desiredCount=1, deploymentConfiguration={
                           "strategy": strategy, "lifecycleHooks": list(hooks)})
    CASES.append(Case(SECTION, f"CreateService with {title}", ask, Refusal(code, message)))


def hook(target=None, *stages, **more):
    found = {"lifecycleStages": list(stages) or ["PRE_SCALE_UP"], **more}
    return found if target is None else {"hookTargetArn": target, **found}


PAUSE = {"targetType": "PAUSE", "lifecycleStages": ["PRE_SCALE_UP"]}
URL = "http://127.0.0.1:1/hook"

hooks_refused("a lifecycle hook of ROLLING", INVALID,
              "lifecycleHooks are only valid with the BLUE_GREEN, LINEAR and CANARY deployment "
              "strategies.", PAUSE, strategy="ROLLING")
hooks_refused("21 lifecycle hooks", INVALID, "lifecycleHooks can have at most 20 items.",
              *[PAUSE] * 21)
hooks_refused("a hook without a stage", INVALID, "lifecycleStages can not be empty.",
              {"hookTargetArn": URL, "lifecycleStages": []})
for stage in ("TEST_TRAFFIC_SHIFT", "PRODUCTION_TRAFFIC_SHIFT"):
    hooks_refused(f"a PAUSE hook of {stage}", INVALID,
                  "A lifecycle hook with the target type PAUSE is not valid for the stage "
                  f"{stage}.", {**PAUSE, "lifecycleStages": [stage]})
hooks_refused("a PAUSE hook with a target", INVALID,
              "hookTargetArn is not valid for a lifecycle hook with the target type PAUSE.",
              {**PAUSE, "hookTargetArn": URL})
hooks_refused("a timeout of a hook that is no PAUSE", INVALID,
              "timeoutConfiguration is only valid for a lifecycle hook with the target type PAUSE.",
              hook(URL, timeoutConfiguration={"timeoutInMinutes": 1, "action": "CONTINUE"}))
hooks_refused("hookDetails of 4097 bytes", INVALID, "hookDetails can have up to 4096 bytes.",
              hook(URL, hookDetails="d" * 4095))
hooks_refused("a Lambda function as a hook", "UnsupportedFeatureException",
              f"The lifecycle hook {LAMBDA} is a Lambda function, and there is no Lambda here. "
              "Specify an http:// or https:// URL or the ARN of a task definition and try again.",
              hook(LAMBDA, roleArn="arn:aws:iam::000000000000:role/r"))
hooks_refused("a hook without a target", INVALID, NO_TARGET, hook())
hooks_refused("a hook whose target is no ARN or URL", INVALID, NO_TARGET, hook("check"))
hooks_refused("a hook whose target is a cluster", INVALID, NO_TARGET,
              hook("arn:aws:ecs:us-east-1:000000000000:cluster/c"))
hooks_refused("a hook of a URL of 2049 characters", INVALID,
              "hookTargetArn is too long: a URL can have up to 2048 characters.",
              hook("http://" + "h" * 2042))
hooks_refused("a hook of a task definition that does not exist", CLIENT,
              "TaskDefinition not found.",
              hook("arn:aws:ecs:us-east-1:000000000000:task-definition/none:1"))


def staged(world, *hooks):
    """A service that is stable, with its second deployment under way: name and its ARN."""
    name = world.fresh("staged")
    send(world.ecs, "CreateService", {
        "serviceName": name, "cluster": "c", "taskDefinition": "job", "desiredCount": 0,
        "deploymentConfiguration": {"strategy": "BLUE_GREEN", "lifecycleHooks": list(hooks)}})
    found = world.ecs.describe_services(cluster="c", services=[name])["services"][0]
    return name, found["currentServiceDeployment"]


def continued(world, arn, identity, **more):
    return refused(world.ecs, "ContinueServiceDeployment", serviceDeploymentArn=arn,
                   hookId=identity, **more)


@rule(SECTION, "ContinueServiceDeployment of what is no ARN",
      Refusal(INVALID, "Invalid service deployment ARN: nothing"))
def _(world):
    return continued(world, "nothing", "x")


@rule(SECTION, "ContinueServiceDeployment of a service deployment that does not exist",
      Refusal("ServiceDeploymentNotFoundException", "Service deployment not found."))
def _(world):
    arn = ARN.replace("⟨region⟩", world.ecs.meta.region_name).replace("⟨account⟩", "000000000000")
    return continued(world, f"{arn}service-deployment/c/none/none", "x")


@rule(SECTION, "ContinueServiceDeployment with a hookId that is not awaited",
      Refusal(INVALID, "The service deployment has no lifecycle hook with that hookId that is "
                       "awaiting an action."))
def _(world):
    return continued(world, staged(world, PAUSE)[1], "ecs-pause-none")
