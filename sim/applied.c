#include "sim.h"

#include "base/text.h"
#include "ecs/ecs_internal.h"
#include "ecs/task_internal.h"
#include "shape/json.h"

#include <stdio.h>
#include <string.h>

/*
 * What the engine did with an operation, looked at before the next one: what was refused had a
 * reason, what was changed goes into the ledger, and nobody sees another account.
 */

static void count(struct sim *sim, enum act act)
{
    sim->churn.counts[act]++;
}

// ---- looking at records -----------------------------------------------------------------------

static const struct task_record_membership *instance_of(const struct core *core, struct text id,
                                                        const struct task_record_node **out_node)
{
    for (int64_t key = core_next(core, &task_node_kind, 0); key != 0;
         key = core_next(core, &task_node_kind, key)) {
        const struct task_record_node *node = core_get(core, &task_node_kind, key);
        for (size_t i = 0; i < node->memberships.count; i++) {
            if (text_equal(node->memberships.items[i].instance_id, sim_task_id(id))) {
                *out_node = node;
                return &node->memberships.items[i];
            }
        }
    }
    return NULL;
}

struct held {
    int64_t cpu_units;
    int64_t memory_mib;
    int32_t tasks;
    int32_t running; ///< of those, that are to run
    int32_t pending;
};

// What the tasks of a node hold; counts are of one of its memberships.
static struct held held(const struct core *core, const struct task_record_node *node,
                        const struct task_record_membership *membership)
{
    struct held held = {0};
    for (int64_t key = core_next(core, &task_kind, 0); key != 0;
         key = core_next(core, &task_kind, key)) {
        const struct task_record_task *task = core_get(core, &task_kind, key);
        if (task->last_status == TASK_RECORD_TASK_STATUS_STOPPED ||
            core_get(core, &task_node_kind, task->node) != (const void *)node) {
            continue;
        }
        held.cpu_units += task->cpu_units;
        held.memory_mib += task->memory_mib;
        if (task_membership(node, task) == membership) {
            held.tasks++;
            held.running += task->desired_status == TASK_RECORD_TASK_STATUS_RUNNING;
            held.pending += task->last_status == TASK_RECORD_TASK_STATUS_PENDING;
        }
    }
    return held;
}

// ---- container instances ----------------------------------------------------------------------

static void check_instance(struct sim *sim, const struct ecs_container_instance *shown)
{
    const struct task_record_node *node = NULL;
    const struct task_record_membership *membership =
        instance_of(sim->server.core, shown->container_instance_arn, &node);
    if (membership == NULL) {
        world_fail(&sim->world, "an instance is shown that has no record");
        return;
    }
    struct held sums = held(sim->server.core, node, membership);
    bool wrong =
        sums.running != shown->running_tasks_count || sums.pending != shown->pending_tasks_count;
    for (size_t i = 0; i < shown->remaining_resources.count; i++) {
        const struct ecs_resource *resource = &shown->remaining_resources.items[i];
        int64_t left = text_is(resource->name, "CPU") ? node->cpu_units - sums.cpu_units
                                                      : node->memory_mib - sums.memory_mib;
        bool counted = text_is(resource->name, "CPU") || text_is(resource->name, "MEMORY");
        wrong = wrong || (counted && resource->integer_value != MAX(left, INT64_C(0)));
    }
    if (wrong) {
        world_fail(&sim->world, "what is shown of instance %.*s is not what its tasks leave",
                   TEXT_FMT(shown->container_instance_arn));
    }
}

static void on_update(struct sim *sim, const struct applied *applied)
{
    const struct ecs_update_container_instances_state_response *response = applied->response;
    for (size_t i = 0; i < response->container_instances.count; i++) {
        const struct ecs_container_instance *shown = &response->container_instances.items[i];
        const struct ecs_update_container_instances_state_request *request = applied->request;
        bool drains = request->status == ECS_CONTAINER_INSTANCE_STATUS_DRAINING;
        ledger_add(sim, LEDGER_INSTANCE, sim_task_id(shown->container_instance_arn), TEXT("status"),
                   drains ? TEXT("DRAINING") : TEXT("ACTIVE"));
        count(sim, drains ? ACT_DRAIN : ACT_ACTIVATE);
    }
}

static void on_deregister(struct sim *sim, const struct applied *applied)
{
    const struct ecs_deregister_container_instance_request *request = applied->request;
    const struct task_record_node *node = NULL;
    const struct task_record_membership *membership =
        instance_of(sim->server.core, request->container_instance, &node);
    struct held sums =
        membership == NULL ? (struct held){0} : held(sim->server.core, node, membership);
    bool busy = sums.tasks > 0;
    bool force = request->has_force && request->force;
    if (applied->rc != 0) {
        bool active =
            membership != NULL && membership->deregistered_at == 0 && node->removed_at == 0;
        if (active && text_is(applied->caller->account, SIM_ACCOUNT) && (force || !busy)) {
            world_fail(&sim->world, "instance %.*s is not deregistered, without reason",
                       TEXT_FMT(request->container_instance));
        }
        sim->churn.counts[ACT_DEREGISTER_REFUSED] += active;
        return;
    }
    if (busy && !force) {
        world_fail(&sim->world, "instance %.*s is deregistered while it has tasks",
                   TEXT_FMT(request->container_instance));
    }
    ledger_add(sim, LEDGER_INSTANCE, sim_task_id(request->container_instance), TEXT("status"),
               TEXT("INACTIVE"));
    count(sim, busy ? ACT_DEREGISTER_FORCED : ACT_DEREGISTER);
}

static void on_register(struct sim *sim, const struct applied *applied)
{
    const struct ecs_register_container_instance_response *response = applied->response;
    const struct task_record_node *node = NULL;
    const struct task_record_membership *membership =
        instance_of(sim->server.core, response->container_instance->container_instance_arn, &node);
    if (membership == NULL || membership->deregistered_at != 0) {
        world_fail(&sim->world, "a host registers as an instance that there is not");
        return;
    }
    for (size_t i = 0; i < node->memberships.count; i++) {
        if (node->memberships.items[i].deregistered_at != 0) {
            count(sim, ACT_REGISTER_AGAIN);
            return;
        }
    }
}

static void on_attributes(struct sim *sim, const struct ecs_attribute *items, size_t item_count,
                          bool put)
{
    for (size_t i = 0; i < item_count; i++) {
        ledger_add(sim, LEDGER_ATTRIBUTE, sim_task_id(items[i].target_id), items[i].name,
                   put ? items[i].value : (struct text){0});
        count(sim, put ? ACT_PUT_ATTRIBUTES : ACT_DELETE_ATTRIBUTES);
    }
}

// ---- definitions, clusters --------------------------------------------------------------------

static void on_definition(struct sim *sim, const struct ecs_task_definition *shown)
{
    const char *status = shape_enum_name(&ecs_task_definition_status_shape, (int32_t)shown->status);
    ledger_add(sim, LEDGER_DEFINITION, shown->task_definition_arn, TEXT("status"), text_of(status));
}

static bool used(const struct core *core, struct text arn)
{
    struct text revision = arn;
    size_t colon = text_find_last(arn, ':');
    int64_t number = 0;
    if (colon == SIZE_MAX || text_to_i64(text_slice(revision, colon + 1, arn.size), &number) != 0) {
        return false;
    }
    struct text family = sim_task_id(text_slice(arn, 0, colon));
    for (int64_t key = core_next(core, &task_kind, 0); key != 0;
         key = core_next(core, &task_kind, key)) {
        const struct task_record_task *task = core_get(core, &task_kind, key);
        const struct ecs_record_definition *definition =
            core_get(core, &ecs_definition_kind, task->definition);
        if (task->last_status != TASK_RECORD_TASK_STATUS_STOPPED &&
            definition->revision == number &&
            text_equal(ecs_definition_family(core, task->definition), family)) {
            return true;
        }
    }
    return false;
}

static void on_delete_definitions(struct sim *sim, const struct applied *applied)
{
    const struct ecs_delete_task_definitions_response *response = applied->response;
    for (size_t i = 0; i < response->task_definitions.count; i++) {
        const struct ecs_task_definition *shown = &response->task_definitions.items[i];
        on_definition(sim, shown);
        count(sim, used(sim->server.core, shown->task_definition_arn) ? ACT_DELETE_DEFINITION_USED
                                                                      : ACT_DELETE_DEFINITION);
    }
}

static void note_tags(struct sim *sim, struct text arn, const struct ecs_tag *tags,
                      size_t tag_count)
{
    for (size_t i = 0; i < tag_count; i++) {
        ledger_add(sim, LEDGER_TAG, arn, tags[i].key,
                   tags[i].value.data == NULL ? TEXT("") : tags[i].value);
    }
}

// Whether anything of a cluster is left that keeps it from being deleted.
static bool cluster_busy(const struct core *core, struct text name, struct text account)
{
    for (int64_t key = core_next(core, &task_kind, 0); key != 0;
         key = core_next(core, &task_kind, key)) {
        const struct task_record_task *task = core_get(core, &task_kind, key);
        const struct ecs_record_cluster *cluster = core_get(core, &ecs_cluster_kind, task->cluster);
        if (task->last_status != TASK_RECORD_TASK_STATUS_STOPPED &&
            text_equal(cluster->name, name) &&
            text_equal(ecs_scope(core, cluster->realm).account, account)) {
            return true;
        }
    }
    for (int64_t key = core_next(core, &task_node_kind, 0); key != 0;
         key = core_next(core, &task_node_kind, key)) {
        const struct task_record_node *node = core_get(core, &task_node_kind, key);
        for (size_t i = 0; i < node->memberships.count; i++) {
            const struct task_record_membership *membership = &node->memberships.items[i];
            const struct ecs_record_cluster *cluster =
                core_get(core, &ecs_cluster_kind, membership->cluster);
            if (cluster != NULL && membership->deregistered_at == 0 && node->removed_at == 0 &&
                text_equal(cluster->name, name) &&
                text_equal(ecs_scope(core, cluster->realm).account, account)) {
                return true;
            }
        }
    }
    for (int64_t key = core_next(core, &service_kind, 0); key != 0;
         key = core_next(core, &service_kind, key)) {
        const struct service_record_service *service = core_get(core, &service_kind, key);
        const struct ecs_record_cluster *cluster =
            core_get(core, &ecs_cluster_kind, service->cluster);
        if (service->status != SERVICE_RECORD_SERVICE_STATUS_INACTIVE &&
            text_equal(cluster->name, name) &&
            text_equal(ecs_scope(core, cluster->realm).account, account)) {
            return true;
        }
    }
    return false;
}

static void on_delete_cluster(struct sim *sim, const struct applied *applied)
{
    const struct ecs_delete_cluster_request *request = applied->request;
    struct text name = sim_task_id(request->cluster);
    bool busy = cluster_busy(sim->server.core, name, applied->caller->account);
    if (applied->rc != 0) {
        bool says_busy =
            applied->fault == &ecs_error_cluster_contains_tasks_exception ||
            applied->fault == &ecs_error_cluster_contains_services_exception ||
            applied->fault == &ecs_error_cluster_contains_container_instances_exception;
        if (says_busy != busy) {
            world_fail(&sim->world, "cluster %.*s is %s, says DeleteCluster, which is not so",
                       TEXT_FMT(name), says_busy ? "in use" : "not there");
        }
        sim->churn.counts[ACT_DELETE_CLUSTER_REFUSED] += says_busy;
        return;
    }
    if (busy) {
        world_fail(&sim->world, "cluster %.*s is deleted with things in it", TEXT_FMT(name));
    }
    const struct ecs_delete_cluster_response *response = applied->response;
    ledger_add(sim, LEDGER_END, response->cluster->cluster_arn, (struct text){0}, (struct text){0});
    count(sim, ACT_DELETE_CLUSTER);
}

// ---- tags, settings ---------------------------------------------------------------------------

static void on_untag(struct sim *sim, const struct applied *applied)
{
    const struct ecs_untag_resource_request *request = applied->request;
    for (size_t i = 0; i < request->tag_keys.count; i++) {
        ledger_add(sim, LEDGER_TAG, request->resource_arn, request->tag_keys.items[i],
                   (struct text){0});
    }
    count(sim, ACT_UNTAG);
}

static void on_run(struct sim *sim, const struct applied *applied)
{
    const struct ecs_run_task_request *request = applied->request;
    const struct ecs_run_task_response *response = applied->response;
    bool stranger = !text_is(applied->caller->account, SIM_ACCOUNT);
    sim->churn.counts[ACT_STRANGER_TASK] += stranger ? response->tasks.count : 0;
    for (size_t i = 0; i < response->tasks.count; i++) {
        const struct ecs_task *task = &response->tasks.items[i];
        // A repeated request shows the tags that the task has now: also those are known already.
        if (task->version == 1 && core_version(sim->server.core) > sim->server.before_version) {
            note_tags(sim, task->task_arn, request->tags.items, request->tags.count);
        }
    }
}

static void on_start(struct sim *sim, const struct applied *applied)
{
    const struct ecs_start_task_response *response = applied->response;
    sim->churn.counts[ACT_START_TASK] += response->tasks.count;
    sim->churn.counts[ACT_START_TASK_REFUSED] += response->failures.count;
}

// ---- accounts ---------------------------------------------------------------------------------

static void check_account(struct sim *sim, const struct applied *applied)
{
    const char *other =
        text_is(applied->caller->account, SIM_STRANGER) ? SIM_ACCOUNT : SIM_STRANGER;
    AUTO(buf_deinit) struct buf asked = {0};
    AUTO(buf_deinit) struct buf told = {0};
    json_encode(applied->operation->input, applied->request, &asked);
    json_encode(applied->operation->output, applied->response, &told);
    buf_byte(&asked, '\0');
    buf_byte(&told, '\0');
    // What was asked for by an ARN is named by it, also when it is not found.
    if (strstr(told.data, other) != NULL && strstr(asked.data, other) == NULL) {
        world_fail(&sim->world, "%s shows account %.*s what is not its own",
                   applied->operation->name, TEXT_FMT(applied->caller->account));
    }
}

// ---- all --------------------------------------------------------------------------------------

static void on_describe(struct sim *sim, const struct applied *applied)
{
    const struct ecs_describe_container_instances_response *response = applied->response;
    for (size_t i = 0; i < response->container_instances.count; i++) {
        check_instance(sim, &response->container_instances.items[i]);
    }
}

static void on_put_attributes(struct sim *sim, const struct applied *applied)
{
    const struct ecs_put_attributes_response *response = applied->response;
    on_attributes(sim, response->attributes.items, response->attributes.count, true);
}

static void on_delete_attributes(struct sim *sim, const struct applied *applied)
{
    const struct ecs_delete_attributes_response *response = applied->response;
    on_attributes(sim, response->attributes.items, response->attributes.count, false);
}

static void on_register_definition(struct sim *sim, const struct applied *applied)
{
    const struct ecs_register_task_definition_response *response = applied->response;
    on_definition(sim, response->task_definition);
    note_tags(sim, response->task_definition->task_definition_arn, response->tags.items,
              response->tags.count);
    count(sim, ACT_REGISTER_DEFINITION);
}

static void on_deregister_definition(struct sim *sim, const struct applied *applied)
{
    const struct ecs_deregister_task_definition_response *response = applied->response;
    on_definition(sim, response->task_definition);
    count(sim, ACT_DEREGISTER_DEFINITION);
}

static void on_create_cluster(struct sim *sim, const struct applied *applied)
{
    (void)applied;
    count(sim, ACT_CREATE_CLUSTER);
}

static void on_tag(struct sim *sim, const struct applied *applied)
{
    const struct ecs_tag_resource_request *request = applied->request;
    note_tags(sim, request->resource_arn, request->tags.items, request->tags.count);
    count(sim, ACT_TAG);
}

static void on_setting(struct sim *sim, const struct applied *applied)
{
    const struct ecs_put_account_setting_request *request = applied->request;
    ledger_add(sim, LEDGER_SETTING, applied->caller->account,
               text_of(shape_enum_name(&ecs_setting_name_shape, (int32_t)request->name)),
               request->value);
    count(sim, ACT_SETTING);
}

static void on_cluster_settings(struct sim *sim, const struct applied *applied)
{
    const struct ecs_update_cluster_settings_request *request = applied->request;
    const struct ecs_update_cluster_settings_response *response = applied->response;
    ledger_add(sim, LEDGER_CLUSTER, response->cluster->cluster_arn, TEXT("containerInsights"),
               request->settings.items[0].value);
    count(sim, ACT_CLUSTER_SETTING);
}

static void note_success(struct sim *sim, const struct applied *applied)
{
    static const struct {
        enum ecs_operation operation;
        void (*note)(struct sim *sim, const struct applied *applied);
    } notes[] = {
        {ECS_OP_UPDATE_CONTAINER_INSTANCES_STATE, on_update},
        {ECS_OP_DESCRIBE_CONTAINER_INSTANCES, on_describe},
        {ECS_OP_REGISTER_CONTAINER_INSTANCE, on_register},
        {ECS_OP_PUT_ATTRIBUTES, on_put_attributes},
        {ECS_OP_DELETE_ATTRIBUTES, on_delete_attributes},
        {ECS_OP_REGISTER_TASK_DEFINITION, on_register_definition},
        {ECS_OP_DEREGISTER_TASK_DEFINITION, on_deregister_definition},
        {ECS_OP_DELETE_TASK_DEFINITIONS, on_delete_definitions},
        {ECS_OP_CREATE_CLUSTER, on_create_cluster},
        {ECS_OP_TAG_RESOURCE, on_tag},
        {ECS_OP_UNTAG_RESOURCE, on_untag},
        {ECS_OP_PUT_ACCOUNT_SETTING, on_setting},
        {ECS_OP_UPDATE_CLUSTER_SETTINGS, on_cluster_settings},
        {ECS_OP_RUN_TASK, on_run},
        {ECS_OP_START_TASK, on_start},
    };
    for (size_t i = 0; i < ARRAY_LEN(notes); i++) {
        if (applied->operation == &ecs_operations[notes[i].operation]) {
            notes[i].note(sim, applied);
        }
    }
}

void check_applied(struct sim *sim, const struct applied *applied)
{
    struct server *server = &sim->server;
    int64_t after = server->task_key;
    bool made = false;
    for (int64_t key = core_next(server->core, &task_kind, after); key != 0;
         key = core_next(server->core, &task_kind, key)) {
        const struct task_record_task *task = core_get(server->core, &task_kind, key);
        made = made || !task->has_deployment; // services start theirs between requests
        server->task_key = key;
    }
    groups_applied(sim, applied);
    if (applied->operation->service != ecs_operations[0].service) {
        return;
    }
    standing_applied(sim, applied);
    if (applied->operation == &ecs_operations[ECS_OP_DEREGISTER_CONTAINER_INSTANCE]) {
        on_deregister(sim, applied);
    } else if (applied->operation == &ecs_operations[ECS_OP_DELETE_CLUSTER]) {
        on_delete_cluster(sim, applied);
    } else if (applied->rc == 0) {
        note_success(sim, applied);
    }
    if (applied->rc == 0 && text_empty(applied->caller->node_id)) {
        check_account(sim, applied);
    }
    bool run = applied->operation == &ecs_operations[ECS_OP_RUN_TASK] ||
               applied->operation == &ecs_operations[ECS_OP_START_TASK];
    if (applied->rc == 0 && run) {
        check_placed(sim, applied, after);
    } else if (made) {
        world_fail(&sim->world, "%s makes tasks", applied->operation->name);
    }
}
