#include "ecs/page.h"
#include "ecs/task_internal.h"

/*
 * Task protection keeps a service from stopping a task when it scales in or deploys. A task that no
 * service started cannot have it, and there are no services yet: so of every task that is found,
 * ECS's failure for a standalone task is the whole truth.
 */

#define EXPIRES_MINUTES_MAX 2880 // ECS: two days

static int refuse(struct core_call *call, const char *message)
{
    return core_fault(call, &ecs_error_invalid_parameter_exception, "%s", message);
}

static void fail_each(struct core_call *call, int64_t cluster, const struct text_list *tasks,
                      struct ecs_failure_list *out_failures)
{
    out_failures->items = arena_array(call->arena, tasks->count, sizeof(*out_failures->items));
    out_failures->count = tasks->count;
    for (size_t i = 0; i < tasks->count; i++) {
        const struct task_entry *entry = task_find(call->core, cluster, tasks->items[i]);
        struct ecs_failure *failure = &out_failures->items[i];
        if (entry == NULL) {
            failure->arn = task_reference_arn(call, cluster, "task", tasks->items[i]);
            failure->reason = TEXT("MISSING");
            continue;
        }
        failure->arn = task_arn(call, core_get(call->core, &task_kind, entry->key));
        failure->reason = TEXT("TASK_NOT_VALID");
        failure->detail = TEXT("The task was not started by a service and cannot be protected.");
    }
}

int task_get_protection(struct core_call *call, void *state, const void *input, void *output)
{
    (void)state;
    const struct ecs_get_task_protection_request *request = input;
    struct ecs_get_task_protection_response *response = output;
    int64_t cluster = 0;
    int rc = ecs_batch_open(call, request->cluster, request->tasks.count, &cluster);
    if (rc != 0) {
        return rc;
    }
    response->protected_tasks.items = SHAPE_EMPTY;
    fail_each(call, cluster, &request->tasks, &response->failures);
    return 0;
}

int task_update_protection(struct core_call *call, void *state, const void *input, void *output)
{
    (void)state;
    const struct ecs_update_task_protection_request *request = input;
    struct ecs_update_task_protection_response *response = output;
    int64_t cluster = 0;
    int rc = ecs_batch_open(call, request->cluster, request->tasks.count, &cluster);
    if (rc != 0) {
        return rc;
    }
    if (request->has_expires_in_minutes &&
        (request->expires_in_minutes < 1 || request->expires_in_minutes > EXPIRES_MINUTES_MAX)) {
        return refuse(call, "expiresInMinutes must be between 1 and 2880.");
    }
    response->protected_tasks.items = SHAPE_EMPTY;
    fail_each(call, cluster, &request->tasks, &response->failures);
    return 0;
}
