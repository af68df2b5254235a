"""The sentences of services that test_service_strings.py looks for in what tests expect.

ECS lists what Amazon ECS says of services, deployments, task sets, placement and capacity providers:
⟨what⟩ stands for what is new each time. One that Berth cannot say is in UNREACHABLE of a table of
messages, with its reason.
"""

ECS = [
    # CreateService, UpdateService, DeleteService
    "Cluster not found.",
    "Service not found.",
    "Service was not ACTIVE.",
    "Creation of service was not idempotent.",
    "The service cannot be stopped while it is scaled above 0.",
    "The service cannot be stopped while deployments are active.",
    "The target group with targetGroupArn ⟨arn⟩ does not have an associated load balancer.",
    "The target group ⟨arn⟩ does not exist.",
    "The daemon scheduling strategy does not support a desired count for services. Remove the "
    "desired count value and try again",
    "subnets can not be empty.",
    "Unable to describe task definition. (of CreateService)",
    "TaskDefinition is inactive",
    "MISSING",
    "ClusterNotFoundException",
    "ServiceNotFoundException",
    "ServiceNotActiveException",
    "InvalidParameterException",
    "ClientException",
    "PlatformUnknownException",
    "PlatformTaskDefinitionIncompatibilityException",
    "UnsupportedFeatureException",
    "Namespace not found.",
    "NamespaceNotFoundException of CreateService",
    "AccessDeniedException of operations on services",
    "LimitExceededException of operations on task sets",
    "TaskSetNotFoundException",
    "ServiceDeploymentNotFoundException",
    "ConflictException",
    "ServerException of operations on services",
    "ThrottlingException: Rate exceeded",
    "Long arn format must be used for tagging operations",
    # What services tell
    "(service ⟨name⟩) has reached a steady state.",
    "(service ⟨name⟩, taskSet ⟨id⟩) updated state to STEADY_STATE.",
    "has reached a steady state.",
    "has started ⟨n⟩ tasks: (task ⟨id⟩) (task ⟨id⟩).",
    "has started ⟨n⟩ tasks: (task ⟨id⟩). Amazon ECS replaced ⟨n⟩ tasks due to an unhealthy status.",
    "has stopped ⟨n⟩ running tasks: (task ⟨id⟩).",
    "stopped ⟨n⟩ pending tasks.",
    "registered 1 targets in (target-group ⟨arn⟩)",
    "deregistered 1 targets in (target-group ⟨arn⟩)",
    "has begun draining connections on 1 tasks.",
    "(task ⟨id⟩) (port 8080) is unhealthy in (target-group ⟨arn⟩) due to (reason ⟨why⟩).",
    "(task ⟨id⟩) failed container health checks.",
    "(deployment ⟨id⟩) deployment completed.",
    "(deployment ⟨id⟩) deployment failed: tasks failed to start.",
    "(deployment ⟨id⟩) deployment failed: alarm detected.",
    "rolling back to deployment ⟨id⟩.",
    "was unable to place a task because no container instance met all of its requirements. For more "
    "information, see the Troubleshooting section of the Amazon ECS Developer Guide.",
    "The closest matching (container-instance ⟨id⟩) has insufficient CPU units available.",
    "The closest matching (container-instance ⟨id⟩) has insufficient memory available.",
    "The closest matching (container-instance ⟨id⟩) is already using a port required by your task.",
    "The closest matching (container-instance ⟨id⟩) doesn't have the agent connected.",
    "The closest matching (container-instance ⟨id⟩) encountered error \"AGENT\".",
    "The closest matching (container-instance ⟨id⟩) encountered error \"MemberOf placement "
    "constraint unsatisfied.\".",
    "The closest matching (container-instance ⟨id⟩) is missing an attribute required by your task.",
    "was unable to place a task. Reason: You've reached the limit on the number of tasks you can run "
    "concurrently.",
    "was unable to place a task. Reason: You've reached the limit on the number of vCPUs you can run "
    "concurrently.",
    "was unable to place a task. Reason: The requested CPU configuration is above your limit.",
    "was unable to place a task. Reason: The requested MEMORY configuration is above your limit.",
    "was unable to place a task. Reason: Internal error.",
    "was unable to place a task. Reason: Capacity is unavailable at this time. Please try again "
    "later or in a different availability zone.",
    "was unable to place a task. Reason: CannotPullContainerError: ⟨why⟩.",
    "was unable to place a task. Reason: ResourceInitializationError: ⟨why⟩.",
    "was unable to place a task. Reason: TaskFailedToStart: RESOURCE:GPU.",
    "is unable to consistently start tasks successfully. For more information, see the "
    "Troubleshooting section.",
    "operations are being throttled. Will try again later.",
    "was unable to stop or start tasks during a deployment because of the service deployment "
    "configuration. Update the minimumHealthyPercent or maximumPercent value and try again.",
    "was unable to reach steady state because (taskSet ⟨id⟩) was unable to scale in due to (reason "
    "⟨n⟩ tasks under protection)",
    "was unable to reach steady state. Reason: No Container Instances were found in your capacity "
    "provider.",
    "was unable to place tasks in your cluster because the tasks provisioning capacity limit was "
    "exceeded.",
    "could not launch ⟨n⟩ tasks for deployment ⟨id⟩.",
    "(taskSet ecs-svc/⟨n⟩) (task ⟨id⟩) is not healthy in (target-group ⟨arn⟩) due to TARGET GROUP IS "
    "NOT FOUND",
    "(taskSet ecs-svc/⟨n⟩) (task ⟨id⟩) is not healthy in (target-group ⟨arn⟩) due to TARGET IS NOT "
    "FOUND",
    "(task ⟨id⟩) (instance ⟨id⟩) is unhealthy in (elb ⟨name⟩) due to (reason ⟨why⟩)",
    "updated computedDesiredCount for taskSet ⟨id⟩ to ⟨n⟩.",
    "updated state to STEADY_STATE.",
    "is not AZ balanced with ⟨n⟩ tasks in ⟨zone⟩, ⟨n⟩ tasks in ⟨zone⟩. AZ Rebalancing in progress.",
    "is AZ balanced with ⟨n⟩ tasks in ⟨zone⟩, ⟨n⟩ tasks in ⟨zone⟩.",
    "has started ⟨n⟩ tasks in ⟨zone⟩ to AZ Rebalance: (task ⟨id⟩).",
    "has stopped ⟨n⟩ running tasks in ⟨zone⟩ due to AZ rebalancing: (task ⟨id⟩).",
    "stopped AZ Rebalancing.",
    "is unable to place a task in ⟨zone⟩ because no container instance met all of its requirements.",
    # Why a task stopped
    "Scaling activity initiated by (deployment ⟨id⟩)",
    "Task failed ELB health checks in (target-group ⟨arn⟩)",
    "Task failed container health checks",
    "Availability-zone rebalancing initiated by (deployment ⟨id⟩)",
    "Your Spot Task was interrupted.",
    "ServiceSchedulerInitiated",
    "SpotInterruption",
    # Deployments
    "ECS deployment ⟨id⟩ completed.",
    "ECS deployment ⟨id⟩ in progress.",
    "ECS deployment circuit breaker: tasks failed to start.",
    "ECS deployment circuit breaker: rolling back to deploymentId ⟨id⟩.",
    *("PENDING", "IN_PROGRESS", "SUCCESSFUL", "STOP_REQUESTED, ROLLBACK_REQUESTED", "STOPPED",
      "ROLLBACK_IN_PROGRESS", "ROLLBACK_SUCCESSFUL", "ROLLBACK_FAILED"),
    *("TRIGGERED", "MONITORING", "MONITORING_COMPLETE", "DISABLED"),
    # Events of EventBridge
    *("SERVICE_DEPLOYMENT_IN_PROGRESS", "SERVICE_DEPLOYMENT_COMPLETED", "SERVICE_DEPLOYMENT_FAILED"),
    *("SERVICE_STEADY_STATE", "TASKSET_STEADY_STATE", "SERVICE_TASK_START_IMPAIRED",
      "SERVICE_TASK_PLACEMENT_FAILURE", "SERVICE_TASK_CONFIGURATION_FAILURE",
      "SERVICE_DAEMON_PLACEMENT_CONSTRAINT_VIOLATED", "TASKS_STOPPED"),
    *("SERVICE_REBALANCING_STARTED", "SERVICE_REBALANCING_COMPLETED", "SERVICE_REBALANCING_STOPPED",
      "TASKSET_SCALE_IN_FAILURE_BY_TASK_PROTECTION"),
    # Placement and capacity, as far as a service meets them
    *("RESOURCE:CPU", "RESOURCE:MEMORY", "RESOURCE:PORTS", "RESOURCE:ENI", "RESOURCE:GPU", "AGENT",
      "ATTRIBUTE", "LOCATION", "INACTIVE", "MemberOf placement constraint unsatisfied.",
      "NO ACTIVE INSTANCES", "EMPTY CAPACITY PROVIDER"),
    "ResourceInUseException",
    "UpdateInProgressException of PutClusterCapacityProviders",
]

# Where services speak.
SOURCES = ["service*.c", "rollout*.c", "task_set*.c", "stage*.c", "hook*.c", "launch.c", "daemon.c",
           "rebalance*.c", "schedule.c", "pick.c", "spread.c", "survey.c", "protection.c", "revision_image.c",
           "event.c"]

# What no test is told: it goes into other texts, or would take too much.
INSIDE = [
    "the EXTERNAL launch type",  # such services are refused before, as long as there are no hosts
    "The cluster has %d services, as many as a cluster can have. Delete some and try again.",
    "The stage ended before the hook did.",  # kept with the hook, whose stage failed for another
    "Its task is gone.",     # a hook looks at its task long before that is let go
    "it did not run",        # a task that ends without a reason: hosts always give one
]

# What a client would have to wait for too long: unit tests expect it.
IN_UNIT_TESTS = {
    "Nobody continued the service deployment in time.": "test_service_stage.c",
    "It did not end within 24 hours.": "test_service_stage.c",
    "Stage %s did not end within 24 hours.": "test_service_stage.c",
    "a stage took longer than 24 hours": "test_service_stage.c",
    "The service deployment did not end within 30 days.": "test_service_stage.c",
    "it took longer than 30 days": "test_service_stage.c",
}
