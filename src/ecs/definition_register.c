#include "ecs/definition_internal.h"

#include "base/limits.h"
#include "base/text.h"
#include "identity/identity.h"
#include "shape/json.h"

#include <string.h>

#define REVISIONS_MAX 1000000 ///< ECS: revisions of a family

/** Values as ECS stores them when a health check does not say. */
#define HEALTH_INTERVAL_SECONDS 30
#define HEALTH_TIMEOUT_SECONDS 5
#define HEALTH_RETRIES 3

// ---- before anything else -----------------------------------------------------------------

/** Bound the whole before looking at its parts: later checks compare each with each. */
static int check_document(struct core_call *call,
                          const struct ecs_register_task_definition_request *in)
{
    AUTO(buf_deinit) struct buf json = {0};
    json_encode(&ecs_register_task_definition_request_shape, in, &json);
    if (json.size > LIMIT_DEFINITION_BYTES) {
        return core_fault(call, &ecs_error_client_exception,
                          "Actual length: '%zu'. Max allowed length is '%u' bytes.", json.size,
                          LIMIT_DEFINITION_BYTES);
    }
    return 0;
}

static int check_family(struct core_call *call, struct text family)
{
    if (text_empty(family)) {
        return core_fault(call, &ecs_error_client_exception, "Family should not be null or empty.");
    }
    if (family.size > LIMIT_NAME_CHARS) {
        return core_fault(call, &ecs_error_client_exception,
                          "Family should not be longer than %d characters.", LIMIT_NAME_CHARS);
    }
    if (!ecs_name_valid(family)) {
        return core_fault(call, &ecs_error_client_exception, "Family contains invalid characters.");
    }
    return 0;
}

static int check_request(struct core_call *call,
                         const struct ecs_register_task_definition_request *in)
{
    int rc = check_family(call, in->family);
    if (rc == 0 && in->container_definitions.count == 0) {
        rc = core_fault(call, &ecs_error_client_exception, "Container list cannot be empty.");
    }
    if (rc == 0 && in->container_definitions.count > LIMIT_CONTAINERS) {
        rc = core_fault(call, &ecs_error_client_exception, "Too many containers.");
    }
    if (rc == 0) {
        rc = check_document(call, in);
    }
    if (rc == 0) {
        rc = ecs_tags_check(call, in->tags.items, in->tags.count);
    }
    return rc;
}

// ---- normalisation ------------------------------------------------------------------------

/** A list that is echoed as [] when it was not sent. */
#define NEVER_ABSENT(list)                                                                         \
    do {                                                                                           \
        if ((list).items == NULL) {                                                                \
            (list).items = SHAPE_EMPTY;                                                            \
        }                                                                                          \
    } while (0)

static void normalise_ports(struct core_call *call, enum ecs_network_mode mode,
                            struct ecs_container_definition *container)
{
    size_t count = container->port_mappings.count;
    if (count == 0) {
        return;
    }
    struct ecs_port_mapping *items = arena_array(call->arena, count, sizeof(*items));
    memcpy(items, container->port_mappings.items, count * sizeof(*items));
    for (size_t i = 0; i < count; i++) {
        struct ecs_port_mapping *mapping = &items[i];
        if (mapping->protocol == ECS_TRANSPORT_PROTOCOL_ABSENT) {
            mapping->protocol = ECS_TRANSPORT_PROTOCOL_TCP;
        }
        if (!mapping->has_container_port) {
            continue;
        }
        mapping->has_host_port = true;
        if (mode == ECS_NETWORK_MODE_AWSVPC || mode == ECS_NETWORK_MODE_HOST) {
            mapping->host_port = mapping->container_port;
        }
    }
    container->port_mappings.items = items;
}

static void normalise_health(struct core_call *call, struct ecs_container_definition *container)
{
    if (container->health_check == NULL) {
        return;
    }
    struct ecs_health_check *check = ARENA_NEW(call->arena, struct ecs_health_check);
    *check = *container->health_check;
    check->interval = check->has_interval ? check->interval : HEALTH_INTERVAL_SECONDS;
    check->timeout = check->has_timeout ? check->timeout : HEALTH_TIMEOUT_SECONDS;
    check->retries = check->has_retries ? check->retries : HEALTH_RETRIES;
    check->has_interval = true;
    check->has_timeout = true;
    check->has_retries = true;
    container->health_check = check;
}

static void normalise_container(struct core_call *call, enum ecs_network_mode mode,
                                struct ecs_container_definition *container)
{
    container->has_cpu = true;
    if (!container->has_essential) {
        container->has_essential = true;
        container->essential = true;
    }
    normalise_ports(call, mode, container);
    normalise_health(call, container);
    NEVER_ABSENT(container->port_mappings);
    NEVER_ABSENT(container->environment);
    NEVER_ABSENT(container->mount_points);
    NEVER_ABSENT(container->volumes_from);
    NEVER_ABSENT(container->system_controls);
}

/** A volume of no kind is a scratch volume of the task, which ECS shows as an empty host. */
static void normalise_volumes(struct core_call *call, struct ecs_task_definition *definition)
{
    size_t count = definition->volumes.count;
    if (count == 0) {
        definition->volumes.items = SHAPE_EMPTY;
        return;
    }
    struct ecs_volume *items = arena_array(call->arena, count, sizeof(*items));
    memcpy(items, definition->volumes.items, count * sizeof(*items));
    for (size_t i = 0; i < count; i++) {
        struct ecs_volume *volume = &items[i];
        bool plain = volume->docker_volume_configuration == NULL &&
                     volume->efs_volume_configuration == NULL &&
                     volume->s3files_volume_configuration == NULL &&
                     volume->fsx_windows_file_server_volume_configuration == NULL &&
                     !volume->configured_at_launch;
        if (volume->host == NULL && plain) {
            volume->host = ARENA_NEW(call->arena, struct ecs_host_volume_properties);
        }
    }
    definition->volumes.items = items;
}

// ---- the operation ------------------------------------------------------------------------

/** What will be stored, before it is checked: members of the request, with containers of its own.
 */
static struct ecs_task_definition *
copy_request(struct core_call *call, const struct ecs_register_task_definition_request *in)
{
    struct ecs_task_definition *definition = ARENA_NEW(call->arena, struct ecs_task_definition);
    *definition = (struct ecs_task_definition){
        .container_definitions = in->container_definitions,
        .task_role_arn = in->task_role_arn,
        .execution_role_arn = in->execution_role_arn,
        .network_mode = in->network_mode,
        .volumes = in->volumes,
        .placement_constraints = in->placement_constraints,
        .runtime_platform = in->runtime_platform,
        .requires_compatibilities = in->requires_compatibilities,
        .cpu = in->cpu,
        .memory = in->memory,
        .inference_accelerators = in->inference_accelerators,
        .pid_mode = in->pid_mode,
        .ipc_mode = in->ipc_mode,
        .proxy_configuration = in->proxy_configuration,
        .ephemeral_storage = in->ephemeral_storage,
        .has_enable_fault_injection = true, // ECS echoes false when it was not sent
        .enable_fault_injection = in->enable_fault_injection,
    };
    size_t count = in->container_definitions.count;
    definition->container_definitions.items =
        arena_array(call->arena, count, sizeof(*definition->container_definitions.items));
    memcpy(definition->container_definitions.items, in->container_definitions.items,
           count * sizeof(*definition->container_definitions.items));
    return definition;
}

/** What only the execution role may fetch, whatever the launch type. Berth's nodes need no role. */
static int check_execution_role(const struct definition_draft *draft)
{
    if (!text_empty(draft->definition->execution_role_arn)) {
        return 0;
    }
    for (size_t i = 0; i < draft->definition->container_definitions.count; i++) {
        const struct ecs_container_definition *container =
            &draft->definition->container_definitions.items[i];
        const struct ecs_log_configuration *logs = container->log_configuration;
        if (container->secrets.count > 0 || (logs != NULL && logs->secret_options.count > 0)) {
            return core_fault(draft->call, &ecs_error_client_exception,
                              "When you are specifying container secrets, you must also specify a "
                              "value for 'executionRoleArn'.");
        }
        if (container->repository_credentials != NULL) {
            return core_fault(draft->call, &ecs_error_client_exception,
                              "Private repository authentication requires that the task definition "
                              "specify a value for executionRoleArn.");
        }
    }
    return 0;
}

int definition_check(struct definition_draft *draft, bool strict)
{
    struct core_call *call = draft->call;
    const struct ecs_task_definition *definition = draft->definition;
    int rc = definition_check_task(draft);
    for (size_t i = 0; i < definition->container_definitions.count && rc == 0; i++) {
        rc = definition_check_container(draft, &definition->container_definitions.items[i]);
    }
    if (rc == 0) {
        rc = definition_check_relations(draft);
    }
    if (rc == 0 && strict) {
        rc = check_execution_role(draft);
    }
    struct text refusal = {0};
    if (rc == 0 && definition_requires(definition, ECS_COMPATIBILITY_FARGATE)) {
        refusal = definition_fargate_refusal(draft, strict);
    }
    if (rc == 0 && refusal.data == NULL &&
        definition_requires(definition, ECS_COMPATIBILITY_EXTERNAL)) {
        refusal = definition_external_refusal(draft);
    }
    if (refusal.data != NULL) {
        rc = core_fault(call, &ecs_error_client_exception, "%.*s", TEXT_FMT(refusal));
    }
    return rc;
}

static void normalise(struct definition_draft *draft, bool strict)
{
    struct ecs_task_definition *definition = draft->definition;
    for (size_t i = 0; i < definition->container_definitions.count; i++) {
        normalise_container(draft->call, definition->network_mode,
                            &definition->container_definitions.items[i]);
    }
    definition_fill_attributes(draft, strict);
    normalise_volumes(draft->call, definition);
    NEVER_ABSENT(definition->placement_constraints);
    if (definition->requires_compatibilities.count == 0) {
        definition->requires_compatibilities.items = NULL;
    }
}

/** Count a family up. @return its key; the revision goes to out_revision */
static int64_t next_revision(struct core_call *call, int64_t realm, struct text name,
                             int32_t *out_revision)
{
    int64_t key = ecs_family_lookup(call->core, realm, name);
    struct ecs_record_family record = {
        .has_realm = true, .realm = realm, .name = name, .has_last_revision = true};
    if (key == 0) {
        key = core_new_key(call);
    } else {
        record = *(const struct ecs_record_family *)core_get(call->core, &ecs_family_kind, key);
    }
    record.last_revision++;
    core_put(call, &ecs_family_kind, key, &record);
    *out_revision = record.last_revision;
    return key;
}

int definition_accept(struct core_call *call, const struct ecs_register_task_definition_request *in,
                      struct ecs_task_definition **out_definition)
{
    const struct ecs_state *state = ecs_state(call->core);
    int rc = check_request(call, in);
    if (rc != 0) {
        return rc;
    }
    struct definition_draft draft = {.call = call, .definition = copy_request(call, in)};
    rc = definition_check(&draft, state->strict);
    if (rc != 0) {
        return rc;
    }
    normalise(&draft, state->strict);

    int64_t family = ecs_family_lookup(call->core, ecs_caller_realm(call), in->family);
    const struct ecs_record_family *counter =
        family == 0 ? NULL : core_get(call->core, &ecs_family_kind, family);
    if (counter != NULL && counter->last_revision >= REVISIONS_MAX) {
        return core_fault(call, &ecs_error_limit_exceeded_exception,
                          "The family has reached its limit of %d revisions.", REVISIONS_MAX);
    }
    *out_definition = draft.definition;
    return 0;
}

static struct ecs_record_definition record_of(const struct core_call *call,
                                              const struct ecs_register_task_definition_request *in,
                                              struct ecs_task_definition *definition)
{
    return (struct ecs_record_definition){
        .has_family = true,
        .has_revision = true,
        .definition = definition,
        .status = TEXT("ACTIVE"),
        .registered_at = call->now_ms,
        .registered_by = call->caller->arn,
        .tags = {.items = in->tags.items, .count = in->tags.count},
    };
}

int64_t definition_rehearse(struct core_call *call, int64_t realm,
                            const struct ecs_register_task_definition_request *in,
                            struct ecs_task_definition *definition)
{
    ASSERT(core_rehearsing(call->core));
    struct ecs_record_definition record = record_of(call, in, definition);
    record.family = ecs_family_lookup(call->core, realm, in->family);
    if (record.family == 0) {
        record.family = next_revision(call, realm, in->family, &record.revision);
    } else {
        // A rehearsal changes no record that is there, so the family is not counted up.
        const struct ecs_record_family *family =
            core_get(call->core, &ecs_family_kind, record.family);
        record.revision = family->last_revision + 1;
    }
    int64_t key = core_new_key(call);
    core_put(call, &ecs_definition_kind, key, &record);
    return key;
}

int ecs_register_task_definition(struct core_call *call, void *pointer, const void *request,
                                 void *response)
{
    (void)pointer;
    const struct ecs_register_task_definition_request *in = request;
    struct ecs_register_task_definition_response *out = response;
    struct ecs_task_definition *definition = NULL;
    int rc = definition_accept(call, in, &definition);
    if (rc != 0) {
        return rc;
    }
    int64_t realm = identity_realm_ensure(call, &ecs_error_limit_exceeded_exception);
    if (realm == 0) {
        return ERR_FAULT;
    }
    struct ecs_record_definition record = record_of(call, in, definition);
    record.family = next_revision(call, realm, in->family, &record.revision);
    int64_t key = core_new_key(call);
    core_put(call, &ecs_definition_kind, key, &record);
    out->task_definition = ecs_definition_show(call, key);
    out->tags = in->tags;
    return 0;
}
