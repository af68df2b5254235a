#include "ecs/task_internal.h"

#include "secrets/source.h"

/*
 * The values of a task's secrets, for the node that starts it: GetTaskSecrets.
 *
 * A node asks when it prepares a task, so a task has the values of that moment, and a node can ask
 * only while a task of its own is to run. What cannot be had is told in the words of ECS: those of
 * Fargate, or those of the agent on instances.
 */

#define SECRETS_BYTES_MAX (1u << 20) ///< of all values of a task: no program is started with more
#define FARGATE_PREFIX                                                                             \
    "ResourceInitializationError: unable to pull secrets or registry auth: execution resource "    \
    "retrieval failed: "
#define RETRIED "service call has been retried 1 time(s): "

/** One task's secrets being read. */
struct reading {
    struct core_call *call;
    struct text account;
    struct text region;
    bool fargate;
    size_t bytes;
    struct berth_get_task_secrets_response *out;
    struct text missing; ///< parameters that are not there, as ECS lists them
};

static struct text secret_reason(const struct reading *reading, const struct secret_source *source,
                                 const struct secret_source_fault *fault)
{
    struct arena *arena = reading->call->arena;
    struct text id = source->id;
    struct text why = fault->text;
    if (!reading->fargate) {
        struct text region = text_empty(source->region) ? reading->region : source->region;
        struct text who =
            fault->answered ? arena_format(arena, "secret %.*s: ", TEXT_FMT(id)) : TEXT("");
        return arena_format(arena,
                            "Fetching secret data from AWS Secrets Manager in region %.*s: "
                            "%.*s%.*s",
                            TEXT_FMT(region), TEXT_FMT(who), TEXT_FMT(why));
    }
    struct text who =
        fault->answered
            ? arena_format(arena,
                           "failed to fetch secret %.*s from secrets manager: ", TEXT_FMT(id))
            : TEXT("");
    return arena_format(arena,
                        FARGATE_PREFIX "unable to retrieve secret from asm: " RETRIED "%.*s%.*s",
                        TEXT_FMT(who), TEXT_FMT(why));
}

static struct text parameters_reason(const struct reading *reading, struct text region,
                                     bool answered, struct text why)
{
    struct arena *arena = reading->call->arena;
    if (!reading->fargate) {
        return arena_format(arena, "Fetching secret data from SSM Parameter Store in %.*s: %s%.*s",
                            TEXT_FMT(region),
                            answered ? "" : "invalid parameters: ", TEXT_FMT(why));
    }
    return arena_format(arena,
                        FARGATE_PREFIX "unable to retrieve secrets from ssm: " RETRIED "%s%.*s",
                        answered ? "" : "invalid ssm parameters: ", TEXT_FMT(why));
}

static void read_one(struct reading *reading, struct text container,
                     const struct ecs_secret *secret)
{
    struct berth_get_task_secrets_response *out = reading->out;
    struct secret_source source = {.id = secret->value_from};
    struct secret_source_fault fault = {0};
    struct text value = {0};
    int rc = secret_source_parse(secret->value_from, &source);
    if (rc != 0) {
        fault.text = TEXT("unexpected ARN format with parameters when trying to retrieve ASM "
                          "secret");
    } else {
        rc = secret_source_read(reading->call, &source, reading->account, reading->region, &value,
                                &fault);
    }
    reading->bytes += value.size;
    if (rc == 0 && reading->bytes > SECRETS_BYTES_MAX) {
        rc = ERR_NO_ROOM;
        fault.text = TEXT("the values of the task's secrets have more than 1 MiB together");
    }
    if (rc == 0) {
        out->secrets.items[out->secrets.count++] = (struct berth_task_secret){
            .container = container, .name = secret->name, .value = value};
        return;
    }
    bool listed = source.parameter && !fault.answered;
    if (out->reason.data != NULL && !(listed && reading->missing.data != NULL)) {
        return; // one tells enough, but ECS lists all parameters that are not there
    }
    if (listed) {
        reading->missing = reading->missing.data == NULL
                               ? fault.text
                               : arena_format(reading->call->arena, "%.*s,%.*s",
                                              TEXT_FMT(reading->missing), TEXT_FMT(fault.text));
        fault.text = reading->missing;
    }
    if (out->reason.data == NULL) {
        out->container = container;
    }
    out->reason = source.parameter
                      ? parameters_reason(
                            reading, text_empty(source.region) ? reading->region : source.region,
                            fault.answered, fault.text)
                      : secret_reason(reading, &source, &fault);
}

static int find_task(struct core_call *call, const struct task_state *state, struct text arn,
                     const struct task_record_task **out_record)
{
    const struct task_node *node = task_node_of(state, call->caller->node_id);
    if (text_empty(call->caller->node_id)) {
        return core_fault(call, &berth_error_access_denied_exception,
                          "Only the node that is to start a task is told its secrets.");
    }
    size_t slash = text_find_last(arn, '/');
    struct text id = slash == SIZE_MAX ? arn : text_slice(arn, slash + 1, arn.size);
    const struct task_entry *entry = node == NULL ? NULL : task_entry_by_id(state, id);
    const struct task_record_task *record =
        entry == NULL || entry->node != node ? NULL : core_get(call->core, &task_kind, entry->key);
    if (record == NULL || record->desired_status != TASK_RECORD_TASK_STATUS_RUNNING ||
        record->last_status >= TASK_RECORD_TASK_STATUS_DEPROVISIONING ||
        !text_equal(task_arn(call, record), arn)) {
        return core_fault(call, &berth_error_resource_not_found_exception,
                          "Node %.*s has no task %.*s that is to run.",
                          TEXT_FMT(call->caller->node_id), TEXT_FMT(arn));
    }
    *out_record = record;
    return 0;
}

int task_secrets(struct core_call *call, void *pointer, const void *input, void *output)
{
    const struct berth_get_task_secrets_request *request = input;
    struct berth_get_task_secrets_response *response = output;
    const struct task_record_task *record = NULL;
    int rc = find_task(call, pointer, request->task, &record);
    if (rc != 0) {
        return rc;
    }
    const struct ecs_record_cluster *cluster =
        core_get(call->core, &ecs_cluster_kind, record->cluster);
    struct ecs_realm_scope scope = ecs_scope(call->core, cluster->realm);
    struct reading reading = {
        .call = call,
        .account = scope.account,
        .region = scope.region,
        .fargate = record->launch_type == ECS_LAUNCH_TYPE_FARGATE,
        .out = response,
    };
    const struct ecs_container_definition_list *containers =
        &task_definition(call->core, record->definition)->container_definitions;
    size_t count = 0;
    for (size_t i = 0; i < containers->count; i++) {
        count += containers->items[i].secrets.count;
    }
    response->secrets.items = arena_array(call->arena, count, sizeof(*response->secrets.items));
    for (size_t i = 0; i < containers->count; i++) {
        const struct ecs_container_definition *container = &containers->items[i];
        for (size_t k = 0; k < container->secrets.count; k++) {
            read_one(&reading, container->name, &container->secrets.items[k]);
        }
    }
    if (response->reason.data != NULL) {
        response->secrets.count = 0;
    }
    return 0;
}
