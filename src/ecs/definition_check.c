#include "ecs/definition_internal.h"

#include "base/text.h"
#include "ecs/constraint.h"

#define CPU_UNITS_MIN 128
#define CPU_UNITS_MAX 196608
#define MEMORY_MIB_MIN 4           ///< the smallest limit that the kernel's users ever allowed
#define MEMORY_MIB_MAX (INT32_MAX) ///< records hold an int
#define CONSTRAINTS_MAX 10
#define EPHEMERAL_GIB_MIN 21
#define EPHEMERAL_GIB_MAX 200
#define SIZE_HELP                                                                                  \
    "For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."

bool definition_requires(const struct ecs_task_definition *definition,
                         enum ecs_compatibility compatibility)
{
    for (size_t i = 0; i < definition->requires_compatibilities.count; i++) {
        if (definition->requires_compatibilities.items[i] == compatibility) {
            return true;
        }
    }
    return false;
}

size_t definition_container_index(const struct ecs_task_definition *definition, struct text name)
{
    for (size_t i = 0; i < definition->container_definitions.count; i++) {
        if (text_equal(definition->container_definitions.items[i].name, name)) {
            return i;
        }
    }
    return SIZE_MAX;
}

/** Parse the task's sizes and store them as plain integers. */
static int check_sizes(struct definition_draft *draft)
{
    struct ecs_task_definition *definition = draft->definition;
    struct core_call *call = draft->call;
    if (!text_empty(definition->cpu)) {
        if (ecs_parse_cpu(definition->cpu, &draft->cpu_units) != 0 ||
            draft->cpu_units < CPU_UNITS_MIN || draft->cpu_units > CPU_UNITS_MAX) {
            return core_fault(call, &ecs_error_client_exception,
                              "Invalid 'cpu' setting for task. " SIZE_HELP);
        }
        definition->cpu = arena_format(call->arena, "%lld", (long long)draft->cpu_units);
    } else {
        definition->cpu = (struct text){0};
    }
    if (!text_empty(definition->memory)) {
        if (ecs_parse_memory(definition->memory, &draft->memory_mib) != 0 ||
            draft->memory_mib < MEMORY_MIB_MIN || draft->memory_mib > MEMORY_MIB_MAX) {
            return core_fault(call, &ecs_error_client_exception,
                              "Invalid 'memory' setting for task. " SIZE_HELP);
        }
        definition->memory = arena_format(call->arena, "%lld", (long long)draft->memory_mib);
    } else {
        definition->memory = (struct text){0};
    }
    return 0;
}

/** A role as an ARN; a short name is one of the caller's account. */
static int check_role(const struct definition_draft *draft, struct text *role)
{
    if (text_empty(*role)) {
        *role = (struct text){0};
        return 0;
    }
    struct core_call *call = draft->call;
    if (text_starts(*role, TEXT("arn:"))) {
        struct text rest = *role;
        text_cut(&rest, ':');
        text_cut(&rest, ':');
        bool iam = text_is(text_cut(&rest, ':'), "iam");
        text_cut(&rest, ':');
        struct text account = text_cut(&rest, ':');
        if (!iam || account.size != 12 || !text_starts(rest, TEXT("role/"))) {
            return core_fault(call, &ecs_error_client_exception, "Role is not valid");
        }
        return 0;
    }
    for (size_t i = 0; i < role->size; i++) {
        unsigned char byte = (unsigned char)role->data[i];
        bool letter = (byte | 32) >= 'a' && (byte | 32) <= 'z';
        bool digit = byte >= '0' && byte <= '9';
        if (!letter && !digit && text_find(TEXT("_+=,.@-/"), (char)byte) == SIZE_MAX) {
            return core_fault(call, &ecs_error_client_exception, "Role is not valid");
        }
    }
    *role = arena_format(call->arena, "arn:aws:iam::%.*s:role/%.*s",
                         TEXT_FMT(call->caller->account), TEXT_FMT(*role));
    return 0;
}

static int check_constraints(const struct definition_draft *draft)
{
    const struct ecs_task_definition_placement_constraint_list *constraints =
        &draft->definition->placement_constraints;
    if (constraints->count > CONSTRAINTS_MAX) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "A task definition can have at most %d placement constraints.",
                          CONSTRAINTS_MAX);
    }
    for (size_t i = 0; i < constraints->count; i++) {
        const struct ecs_task_definition_placement_constraint *constraint = &constraints->items[i];
        if (constraint->type != ECS_TASK_DEFINITION_PLACEMENT_CONSTRAINT_TYPE_MEMBER_OF) {
            return core_fault(draft->call, &ecs_error_client_exception,
                              "Placement constraint type should be one of [memberOf].");
        }
        if (text_empty(constraint->expression)) {
            return core_fault(draft->call, &ecs_error_client_exception,
                              "The expression of a memberOf placement constraint cannot be empty.");
        }
        struct constraint parsed;
        struct err err = {0};
        if (constraint_parse(constraint->expression, draft->call->arena, &parsed, &err) != 0) {
            return core_fault(draft->call, &ecs_error_client_exception,
                              "Invalid cluster query expression: %s.", err.text);
        }
    }
    return 0;
}

/** What App Mesh's proxy can be told. */
static bool proxy_knows(struct text property)
{
    static const char *const known[] = {
        "IgnoredUID",      "IgnoredGID",         "AppPorts",         "ProxyIngressPort",
        "ProxyEgressPort", "EgressIgnoredPorts", "EgressIgnoredIPs",
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (text_is(property, known[i])) {
            return true;
        }
    }
    return false;
}

static int check_proxy(const struct definition_draft *draft)
{
    const struct ecs_proxy_configuration *proxy = draft->definition->proxy_configuration;
    if (proxy == NULL) {
        return 0;
    }
    if (definition_container_index(draft->definition, proxy->container_name) == SIZE_MAX) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Invalid proxyConfiguration: container '%.*s' does not exist.",
                          TEXT_FMT(proxy->container_name));
    }
    if (draft->definition->network_mode != ECS_NETWORK_MODE_AWSVPC) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "proxyConfiguration is only supported when networkMode=awsvpc.");
    }
    for (size_t i = 0; i < proxy->properties.count; i++) {
        if (!proxy_knows(proxy->properties.items[i].name)) {
            return core_fault(draft->call, &ecs_error_client_exception,
                              "Invalid proxyConfiguration: unknown property '%.*s'.",
                              TEXT_FMT(proxy->properties.items[i].name));
        }
    }
    return 0;
}

static int check_storage(const struct definition_draft *draft)
{
    const struct ecs_ephemeral_storage *storage = draft->definition->ephemeral_storage;
    if (storage != NULL &&
        (storage->size_in_gib < EPHEMERAL_GIB_MIN || storage->size_in_gib > EPHEMERAL_GIB_MAX)) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "Invalid setting for ephemeralStorage: 'sizeInGiB' must be between %d "
                          "and %d.",
                          EPHEMERAL_GIB_MIN, EPHEMERAL_GIB_MAX);
    }
    return 0;
}

int definition_check_task(struct definition_draft *draft)
{
    struct ecs_task_definition *definition = draft->definition;
    const struct ecs_runtime_platform *platform = definition->runtime_platform;
    draft->windows = platform != NULL &&
                     platform->operating_system_family != ECS_OS_FAMILY_ABSENT &&
                     platform->operating_system_family != ECS_OS_FAMILY_LINUX;
    // ECS keeps `bridge` for what names none, but for Fargate, which demands the choice.
    if (definition->network_mode == ECS_NETWORK_MODE_ABSENT && !draft->windows &&
        !definition_requires(definition, ECS_COMPATIBILITY_FARGATE)) {
        definition->network_mode = ECS_NETWORK_MODE_BRIDGE;
    }
    int rc = check_sizes(draft);
    if (rc == 0) {
        rc = check_role(draft, &definition->task_role_arn);
    }
    if (rc == 0) {
        rc = check_role(draft, &definition->execution_role_arn);
    }
    if (rc == 0) {
        rc = check_constraints(draft);
    }
    if (rc == 0) {
        rc = check_proxy(draft);
    }
    if (rc == 0) {
        rc = check_storage(draft);
    }
    return rc;
}
