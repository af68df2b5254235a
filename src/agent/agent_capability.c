#include "agent/agent_internal.h"

#include "base/text.h"
#include "runtime/spec.h"

/*
 * What this node can do, as attributes that definitions require (requiresAttributes, see
 * src/ecs/definition_attributes.c). What needs the runtime is asked of the runtime's own rule, so
 * that a member it learns to honour is advertised from then on, and one it refuses never is.
 */

#define CAPABILITY "com.amazonaws.ecs.capability."

// True of every node: networks, order, limits, health and output are the agent's and the
// supervisor's. Images are those that were loaded, so none needs a login to a registry, and output
// is kept on the node whatever role there is. Docker's API versions stand for features here: 1.19
// for awslogs, 1.21 for images of ECR, 1.24 for health checks. Roles of tasks in the host's
// network and other log drivers are missing on purpose: a node has none of them.
static const char *const always[] = {
    CAPABILITY "docker-remote-api.1.17",
    CAPABILITY "docker-remote-api.1.18",
    CAPABILITY "docker-remote-api.1.19",
    CAPABILITY "docker-remote-api.1.21",
    CAPABILITY "docker-remote-api.1.24",
    CAPABILITY "ecr-auth",
    CAPABILITY "logging-driver.awslogs",
    CAPABILITY "logging-driver.json-file",
    CAPABILITY "task-iam-role",
    CAPABILITY "task-iam-role-network-host",
    "ecs.capability.container-health-check",
    "ecs.capability.container-ordering",
    "ecs.capability.execute-command",
    "ecs.capability.execution-role-awslogs",
    "ecs.capability.execution-role-ecr-pull",
    "ecs.capability.network.container-port-range",
    "ecs.capability.private-registry-authentication.secretsmanager",
    "ecs.capability.task-cpu-mem-limit",
    "ecs.capability.task-eni",
};

/** A definition that asks for one thing. */
struct probe {
    struct ecs_task_definition task;
    struct ecs_container_definition container;
    struct ecs_linux_parameters linux_parameters;
    struct ecs_container_restart_policy restart_policy;
    struct ecs_firelens_configuration firelens;
    struct ecs_secret secret;
    struct ecs_environment_file file;
    struct ecs_volume volume;
    struct ecs_docker_volume_configuration docker;
    struct ecs_efs_volume_configuration efs;
    struct ecs_s3_files_volume_configuration s3files;
};

static void ask_privileged(struct probe *probe)
{
    probe->container.has_privileged = true;
    probe->container.privileged = true;
}

static void ask_init(struct probe *probe)
{
    probe->linux_parameters.has_init_process_enabled = true;
    probe->linux_parameters.init_process_enabled = true;
    probe->container.linux_parameters = &probe->linux_parameters;
}

static void ask_restart(struct probe *probe)
{
    probe->restart_policy.has_enabled = true;
    probe->restart_policy.enabled = true;
    probe->container.restart_policy = &probe->restart_policy;
}

static void ask_environment_file(struct probe *probe)
{
    probe->container.environment_files.items = &probe->file;
    probe->container.environment_files.count = 1;
}

static void ask_parameter(struct probe *probe)
{
    probe->secret = (struct ecs_secret){.name = TEXT("A"), .value_from = TEXT("a")};
    probe->container.secrets.items = &probe->secret;
    probe->container.secrets.count = 1;
}

static void ask_secret(struct probe *probe)
{
    ask_parameter(probe);
    probe->secret.value_from = TEXT("arn:aws:secretsmanager:eu-west-1:000000000000:secret:a");
}

static void ask_fluentd(struct probe *probe)
{
    probe->firelens.type = ECS_FIRELENS_CONFIGURATION_TYPE_FLUENTD;
    probe->container.firelens_configuration = &probe->firelens;
}

static void ask_fluentbit(struct probe *probe)
{
    ask_fluentd(probe);
    probe->firelens.type = ECS_FIRELENS_CONFIGURATION_TYPE_FLUENTBIT;
}

static void ask_pid_mode(struct probe *probe)
{
    probe->task.pid_mode = ECS_PID_MODE_TASK;
}

static void ask_volume(struct probe *probe)
{
    probe->volume.name = TEXT("v");
    probe->task.volumes.items = &probe->volume;
    probe->task.volumes.count = 1;
}

static void ask_docker_volume(struct probe *probe)
{
    ask_volume(probe);
    probe->docker.driver = TEXT("local");
    probe->volume.docker_volume_configuration = &probe->docker;
}

static void ask_efs(struct probe *probe)
{
    ask_volume(probe);
    probe->volume.efs_volume_configuration = &probe->efs;
}

static void ask_s3files(struct probe *probe)
{
    ask_volume(probe);
    probe->volume.s3files_volume_configuration = &probe->s3files;
}

static void ask_ebs(struct probe *probe)
{
    ask_volume(probe);
    probe->volume.has_configured_at_launch = true;
    probe->volume.configured_at_launch = true;
}

static const struct {
    const char *name;
    void (*ask)(struct probe *probe);
} asked[] = {
    {CAPABILITY "docker-remote-api.1.25", ask_init},
    {CAPABILITY "logging-driver.awsfirelens", ask_fluentbit},
    {CAPABILITY "privileged-container", ask_privileged},
    {"ecs.capability.container-restart-policy", ask_restart},
    {"ecs.capability.docker-plugin.local", ask_docker_volume},
    {"ecs.capability.efsAuth", ask_efs},
    {"ecs.capability.env-files.s3", ask_environment_file},
    {"ecs.capability.firelens.fluentbit", ask_fluentbit},
    {"ecs.capability.firelens.fluentd", ask_fluentd},
    {"ecs.capability.pid-ipc-namespace-sharing", ask_pid_mode},
    {"ecs.capability.secrets.asm.environment-variables", ask_secret},
    {"ecs.capability.secrets.ssm.environment-variables", ask_parameter},
    {"ecs.capability.storage.ebs-task-volume-attach", ask_ebs},
    {"ecs.capability.storage.s3-files", ask_s3files},
};

static bool supported(void (*ask)(struct probe *probe))
{
    struct probe probe = {.container = {.name = TEXT("probe")}};
    struct err err = {0};
    ask(&probe);
    return spec_supported(&probe.task, &probe.container, &err) == 0;
}

size_t agent_capabilities(struct text *out_names, size_t max)
{
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(always) && count < max; i++) {
        out_names[count] = text_of(always[i]);
        count++;
    }
    for (size_t i = 0; i < ARRAY_LEN(asked) && count < max; i++) {
        if (supported(asked[i].ask)) {
            out_names[count] = text_of(asked[i].name);
            count++;
        }
    }
    return count;
}
