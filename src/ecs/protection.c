#include "ecs/page.h"
#include "ecs/service_internal.h"

/*
 * Task protection keeps a service from stopping a task when it scales in, deploys or evens out its
 * zones. It does not keep a task from StopTask, from its own end or from the loss of its host. A
 * task that no service started cannot have it.
 */

#define EXPIRES_MINUTES_MAX 2880 // ECS: two days
#define EXPIRES_MINUTES_DEFAULT 120
#define MINUTE_MS (60 * INT64_C(1000))

static int refuse(struct core_call *call, const char *message)
{
    return core_fault(call, &ecs_error_invalid_parameter_exception, "%s", message);
}

// The task of a reference, when it can be protected. Otherwise a failure is added.
static struct task_entry *find_task(struct core_call *call, int64_t cluster, struct text reference,
                                    struct ecs_failure_list *failures)
{
    struct task_entry *entry = task_find(call->core, cluster, reference);
    struct ecs_failure *failure = &failures->items[failures->count];
    if (entry == NULL) {
        *failure = (struct ecs_failure){
            .arn = task_reference_arn(call, cluster, "task", reference),
            .reason = TEXT("MISSING"),
        };
        failures->count++;
        return NULL;
    }
    const struct task_record_task *record = core_get(call->core, &task_kind, entry->key);
    if (!record->has_deployment || record->last_status == TASK_RECORD_TASK_STATUS_STOPPED) {
        *failure = (struct ecs_failure){
            .arn = task_arn(call, record),
            .reason = TEXT("TASK_NOT_VALID"),
            .detail = record->has_deployment
                          ? TEXT("The task is STOPPED and cannot be protected.")
                          : TEXT("The task was not started by a service and cannot be protected."),
        };
        failures->count++;
        return NULL;
    }
    return entry;
}

static void show(struct core_call *call, int64_t key, struct ecs_protected_task *out)
{
    const struct task_record_task *record = core_get(call->core, &task_kind, key);
    int64_t until_ms = record->extra == NULL ? 0 : record->extra->protected_until;
    bool protected = until_ms > call->now_ms;
    *out = (struct ecs_protected_task){
        .task_arn = task_arn(call, record),
        .has_protection_enabled = true,
        .protection_enabled = protected,
        .expiration_date = protected ? until_ms : 0,
    };
}

// A service with more protected tasks than it is to have could never end a deployment. A daemon has
// as many as there are instances.
static bool blocks(struct core_call *call, int64_t key, const struct task_record_task *task)
{
    const struct service_entry *entry =
        service_entry(service_state(call->core), service_of(call->core, task->deployment));
    const struct service_record_service *service =
        entry == NULL ? NULL : core_get(call->core, &service_kind, entry->key);
    if (service == NULL || service->scheduling_strategy == ECS_SCHEDULING_STRATEGY_DAEMON) {
        return false;
    }
    int32_t others = 0;
    for (size_t i = 0; i < entry->task_count; i++) {
        others += entry->tasks[i].key != 0 && entry->tasks[i].key != key &&
                  entry->tasks[i].protected_ms > call->now_ms;
    }
    return others + 1 > service->desired_count;
}

static void add_blocked(struct core_call *call, int64_t key, struct ecs_failure_list *failures)
{
    failures->items[failures->count] = (struct ecs_failure){
        .arn = task_arn(call, core_get(call->core, &task_kind, key)),
        .reason = TEXT("DEPLOYMENT_BLOCKED"),
        .detail = TEXT("The service would have more protected tasks than its desired count, which "
                       "keeps deployments from ending."),
    };
    failures->count++;
}

int task_get_protection(struct core_call *call, void *state, const void *input, void *output)
{
    (void)state;
    const struct ecs_get_task_protection_request *request = input;
    struct ecs_get_task_protection_response *response = output;
    int64_t cluster = 0;
    size_t count = request->tasks.count;
    int rc = ecs_batch_open(call, request->cluster, count, &cluster);
    if (rc != 0) {
        return rc;
    }
    response->protected_tasks.items =
        arena_array(call->arena, count, sizeof(*response->protected_tasks.items));
    response->failures.items = arena_array(call->arena, count, sizeof(*response->failures.items));
    for (size_t i = 0; i < count; i++) {
        const struct task_entry *entry =
            find_task(call, cluster, request->tasks.items[i], &response->failures);
        if (entry != NULL) {
            show(call, entry->key,
                 &response->protected_tasks.items[response->protected_tasks.count]);
            response->protected_tasks.count++;
        }
    }
    return 0;
}

int task_update_protection(struct core_call *call, void *state, const void *input, void *output)
{
    (void)state;
    const struct ecs_update_task_protection_request *request = input;
    struct ecs_update_task_protection_response *response = output;
    int64_t cluster = 0;
    size_t count = request->tasks.count;
    int rc = ecs_batch_open(call, request->cluster, count, &cluster);
    if (rc != 0) {
        return rc;
    }
    int32_t minutes =
        request->has_expires_in_minutes ? request->expires_in_minutes : EXPIRES_MINUTES_DEFAULT;
    if (minutes < 1 || minutes > EXPIRES_MINUTES_MAX) {
        return refuse(call, "expiresInMinutes must be between 1 and 2880.");
    }
    response->protected_tasks.items =
        arena_array(call->arena, count, sizeof(*response->protected_tasks.items));
    response->failures.items = arena_array(call->arena, count, sizeof(*response->failures.items));
    for (size_t i = 0; i < count; i++) {
        const struct task_entry *entry =
            find_task(call, cluster, request->tasks.items[i], &response->failures);
        if (entry == NULL) {
            continue;
        }
        if (request->protection_enabled &&
            blocks(call, entry->key, core_get(call->core, &task_kind, entry->key))) {
            add_blocked(call, entry->key, &response->failures);
            continue;
        }
        struct task_record_task *record = task_edit(call, entry->key);
        record->extra->protected_until =
            request->protection_enabled ? call->now_ms + minutes * MINUTE_MS : 0;
        task_put(call, entry->key, record);
        show(call, entry->key, &response->protected_tasks.items[response->protected_tasks.count]);
        response->protected_tasks.count++;
    }
    return 0;
}
