#include "ecs/capability.h"

#include "base/text.h"

#include "base/err.h"

// What a Fargate task can ask for and a host of a pool can have, for those are told apart by bits
// alone; and what most others ask for. The rest is rare: whoever asks for it has the attributes of
// each instance looked at, and finds no host of a pool.
static const struct text known[] = {
    TEXT("com.amazonaws.ecs.capability.docker-remote-api.1.18"),
    TEXT("com.amazonaws.ecs.capability.docker-remote-api.1.19"),
    TEXT("com.amazonaws.ecs.capability.docker-remote-api.1.21"),
    TEXT("com.amazonaws.ecs.capability.docker-remote-api.1.24"),
    TEXT("com.amazonaws.ecs.capability.docker-remote-api.1.25"),
    TEXT("com.amazonaws.ecs.capability.ecr-auth"),
    TEXT("com.amazonaws.ecs.capability.logging-driver.awsfirelens"),
    TEXT("com.amazonaws.ecs.capability.logging-driver.awslogs"),
    TEXT("com.amazonaws.ecs.capability.task-iam-role"),
    TEXT("ecs.capability.container-health-check"),
    TEXT("ecs.capability.container-ordering"),
    TEXT("ecs.capability.container-restart-policy"),
    TEXT("ecs.capability.efsAuth"),
    TEXT("ecs.capability.env-files.s3"),
    TEXT(CAPABILITY_EXECUTE_COMMAND),
    TEXT("ecs.capability.execution-role-awslogs"),
    TEXT("ecs.capability.execution-role-ecr-pull"),
    TEXT("ecs.capability.fault-injection"),
    TEXT("ecs.capability.firelens.fluentbit"),
    TEXT("ecs.capability.firelens.fluentd"),
    TEXT("ecs.capability.network.container-port-range"),
    TEXT("ecs.capability.pid-ipc-namespace-sharing"),
    TEXT("ecs.capability.private-registry-authentication.secretsmanager"),
    TEXT("ecs.capability.secrets.asm.bootstrap.log-driver"),
    TEXT("ecs.capability.secrets.asm.environment-variables"),
    TEXT("ecs.capability.secrets.ssm.bootstrap.log-driver"),
    TEXT("ecs.capability.secrets.ssm.environment-variables"),
    TEXT("ecs.capability.storage.ebs-task-volume-attach"),
    TEXT("ecs.capability.task-cpu-mem-limit"),
    TEXT("ecs.capability.task-eni"),
};
_Static_assert(ARRAY_LEN(known) <= 30, "the last two bits stand for the agent and for all others");

static uint32_t bit_of(struct text name)
{
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (name.size == known[i].size && text_equal(name, known[i])) {
            return UINT32_C(1) << i;
        }
    }
    return CAPABILITY_OTHER;
}

uint32_t capability_had(const struct ecs_attribute *attributes, size_t count)
{
    uint32_t bits = 0;
    for (size_t i = 0; i < count; i++) {
        bits |= bit_of(attributes[i].name);
    }
    return bits & ~CAPABILITY_OTHER;
}

uint32_t capability_needed(const struct ecs_attribute *attributes, size_t count)
{
    uint32_t bits = 0;
    for (size_t i = 0; i < count; i++) {
        // An attribute that must have a certain value is more than a bit can tell.
        bits |= text_empty(attributes[i].value) ? bit_of(attributes[i].name) : CAPABILITY_OTHER;
    }
    return bits;
}

bool capability_has(const struct ecs_attribute *attributes, size_t count,
                    const struct ecs_attribute *wanted)
{
    for (size_t i = 0; i < count; i++) {
        if (text_equal(attributes[i].name, wanted->name)) {
            return text_empty(wanted->value) || text_equal(attributes[i].value, wanted->value);
        }
    }
    return false;
}
