#include "cli/cause.h"

#include "base/text.h"

#include <stdlib.h>

#define UNPLACED_MAX 100 // as many as the server remembers

// ---- which tasks failed alike -------------------------------------------------------------

bool cause_failed(const struct ecs_task *task)
{
    switch (task->stop_code) {
    case ECS_TASK_STOP_CODE_TASK_FAILED_TO_START:
    case ECS_TASK_STOP_CODE_ESSENTIAL_CONTAINER_EXITED:
        return true;
    case ECS_TASK_STOP_CODE_SERVICE_SCHEDULER_INITIATED:
        return text_starts(task->stopped_reason, TEXT("Task failed ")); // health checks
    case ECS_TASK_STOP_CODE_USER_INITIATED:
    case ECS_TASK_STOP_CODE_SPOT_INTERRUPTION:
    case ECS_TASK_STOP_CODE_TERMINATION_NOTICE:
        return false;
    case ECS_TASK_STOP_CODE_ABSENT:
    case ECS_TASK_STOP_CODE_UNRECOGNIZED:
        break;
    }
    return text_is(task->desired_status, "RUNNING") &&
           task->health_status == ECS_HEALTH_STATUS_UNHEALTHY;
}

const struct ecs_container *cause_container(const struct ecs_task *task)
{
    bool ill = task->stop_code == ECS_TASK_STOP_CODE_SERVICE_SCHEDULER_INITIATED ||
               task->stop_code == ECS_TASK_STOP_CODE_ABSENT;
    const struct ecs_container *best = NULL;
    int best_rank = 0;
    for (size_t i = 0; i < task->containers.count; i++) {
        const struct ecs_container *container = &task->containers.items[i];
        bool unhealthy = container->health_status == ECS_HEALTH_STATUS_UNHEALTHY;
        int rank = ill && unhealthy                                        ? 4
                   : !text_empty(container->reason)                        ? 3
                   : container->has_exit_code && container->exit_code != 0 ? 2
                   : container->has_exit_code                              ? 1
                                                                           : 0;
        if (rank > best_rank) {
            best = container;
            best_rank = rank;
        }
    }
    return best;
}

static struct text first_word(struct text reason)
{
    size_t colon = text_find(reason, ':');
    return text_slice(reason, 0, colon == SIZE_MAX ? reason.size : colon);
}

static bool alike(const struct ecs_task *a, const struct ecs_task *b)
{
    const struct ecs_container *one = cause_container(a);
    const struct ecs_container *other = cause_container(b);
    if (a->stop_code != b->stop_code || (one == NULL) != (other == NULL)) {
        return false;
    }
    if (one == NULL) {
        return text_equal(first_word(a->stopped_reason), first_word(b->stopped_reason));
    }
    return text_equal(one->name, other->name) && one->has_exit_code == other->has_exit_code &&
           one->exit_code == other->exit_code &&
           text_equal(first_word(one->reason), first_word(other->reason));
}

static int by_size(const void *a, const void *b)
{
    const struct cause_group *one = a;
    const struct cause_group *other = b;
    if (one->times != other->times) {
        return one->times > other->times ? -1 : 1;
    }
    int64_t first = one->newest->created_at;
    int64_t second = other->newest->created_at;
    return first > second ? -1 : first < second;
}

size_t cause_group(const struct ecs_task_list *tasks, int64_t since_ms, struct cause_group *groups,
                   size_t max)
{
    size_t count = 0;
    for (size_t i = 0; i < tasks->count; i++) {
        const struct ecs_task *task = &tasks->items[i];
        if (task->created_at < since_ms || !cause_failed(task)) {
            continue;
        }
        size_t place = 0;
        while (place < count && !alike(groups[place].newest, task)) {
            place++;
        }
        if (place == max) {
            continue;
        }
        if (place == count) {
            groups[count] = (struct cause_group){.newest = task};
            count++;
        }
        groups[place].times++;
        if (task->created_at > groups[place].newest->created_at) {
            groups[place].newest = task;
        }
    }
    qsort(groups, count, sizeof(*groups), by_size);
    return count;
}

// ---- what is known of them ----------------------------------------------------------------

static struct text_list keep_next(const struct diagnose_next *next, struct arena *arena)
{
    struct text_list list = {.items = arena_array(arena, next->count, sizeof(*list.items)),
                             .count = next->count};
    for (size_t i = 0; i < next->count; i++) {
        list.items[i] = next->lines[i];
    }
    return list;
}

static int explain(struct cli_context *context, const struct diagnose_style *style,
                   const struct cause_group *group, struct report_cause *out_cause, struct err *err)
{
    const struct ecs_task *task = group->newest;
    const struct berth_explain_task_request request = {.cluster = task->cluster_arn,
                                                       .task = task->task_arn};
    struct berth_explain_task_response answer = {0};
    int rc = cli_call(context, &berth_operations[BERTH_OP_EXPLAIN_TASK], &request, &answer, err);
    if (rc != 0) {
        return rc;
    }
    *out_cause = (struct report_cause){
        .kind = text_of(shape_enum_name(&berth_task_cause_shape, (int32_t)answer.cause)),
        .summary = answer.summary,
        .has_times = true,
        .times = (int32_t)group->times,
        .task_arn = task->task_arn,
        .task_definition_arn = task->task_definition_arn,
        .node_name = answer.node_name,
        .stop_code = task->stop_code,
        .stopped_reason = task->stopped_reason,
    };
    const struct ecs_container *container = cause_container(task);
    if (container != NULL) {
        out_cause->container = container->name;
        out_cause->image = container->image;
        out_cause->has_exit_code = container->has_exit_code;
        out_cause->exit_code = container->exit_code;
        out_cause->reason = container->reason;
        out_cause->health = container->health_status;
        look_logs(context, task->cluster_arn, task->task_arn, container->name, &out_cause->logs);
    }
    const struct diagnose_next next = diagnose_next_of_task(style, &answer, &context->arena);
    out_cause->next = keep_next(&next, &context->arena);
    return 0;
}

// The newest attempt of the service to place tasks that found no place, since it was asked about.
static int find_unplaced(struct cli_context *context, const struct diagnose_style *style,
                         const struct cause_question *question, struct report_cause *out_cause,
                         bool *out_found, struct err *err)
{
    const struct ecs_service *service = question->service;
    const struct berth_list_unplaced_tasks_request request = {
        .cluster = service->cluster_arn, .has_max_results = true, .max_results = UNPLACED_MAX};
    struct berth_list_unplaced_tasks_response answer = {0};
    int rc =
        cli_call(context, &berth_operations[BERTH_OP_LIST_UNPLACED_TASKS], &request, &answer, err);
    if (rc != 0) {
        return rc;
    }
    struct text group =
        arena_format(&context->arena, "service:%.*s", TEXT_FMT(service->service_name));
    for (size_t i = 0; i < answer.unplaced.count; i++) {
        struct berth_unplaced_task *one = &answer.unplaced.items[i];
        bool other =
            question->deployment.data != NULL && !text_equal(one->started_by, question->deployment);
        if (!text_equal(one->group, group) || one->last_at < question->since_ms || other) {
            continue;
        }
        const struct diagnose_next next =
            diagnose_next_of_hosts(style, cli_short(service->cluster_arn), &one->reason_counts,
                                   &one->hosts, &context->arena);
        *out_cause = (struct report_cause){
            .kind = TEXT("UnableToPlace"),
            .summary = one->summary,
            .has_times = true,
            .times = one->times,
            .task_definition_arn = one->task_definition_arn,
            .unplaced = one,
            .next = keep_next(&next, &context->arena),
        };
        *out_found = true;
        return 0;
    }
    return 0;
}

// Whether the deployment that is to have all tasks has fewer.
static bool lacks_tasks(const struct ecs_service *service)
{
    const struct ecs_deployment *first =
        service->deployments.count == 0 ? NULL : &service->deployments.items[0];
    return first != NULL && first->running_count + first->pending_count < first->desired_count;
}

static int list_tasks(struct cli_context *context, const struct cause_question *question,
                      enum ecs_desired_status desired, struct ecs_task_list *out_tasks,
                      struct err *err)
{
    bool one = question->deployment.data != NULL;
    const struct look_filter filter = {
        .cluster = question->service->cluster_arn,
        .service = one ? (struct text){0} : question->service->service_name,
        .started_by = question->deployment,
        .desired = desired,
    };
    return look_tasks(context, &filter, out_tasks, err);
}

int cause_find(struct cli_context *context, const struct diagnose_style *style,
               const struct cause_question *question, struct report_cause_list *out_causes,
               struct err *err)
{
    struct report_cause *causes = arena_array(&context->arena, CAUSES_MAX + 1, sizeof(*causes));
    size_t count = 0;
    struct ecs_task_list stopped = {0};
    struct ecs_task_list live = {0};
    int rc = list_tasks(context, question, ECS_DESIRED_STATUS_STOPPED, &stopped, err);
    if (rc == 0) {
        rc = list_tasks(context, question, ECS_DESIRED_STATUS_RUNNING, &live, err);
    }
    if (rc != 0) {
        return rc;
    }
    const struct ecs_task_list lists[] = {stopped, live};
    struct ecs_task_list all = {
        .items = arena_array(&context->arena, stopped.count + live.count, sizeof(*all.items))};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        for (size_t j = 0; j < lists[i].count; j++) {
            all.items[all.count] = lists[i].items[j];
            all.count++;
        }
    }
    struct cause_group groups[CAUSES_MAX];
    size_t group_count = cause_group(&all, question->since_ms, groups, CAUSES_MAX);
    for (size_t i = 0; i < group_count && rc == 0; i++) {
        rc = explain(context, style, &groups[i], &causes[count], err);
        count++;
    }
    bool unplaced = false;
    if (rc == 0 && lacks_tasks(question->service)) {
        rc = find_unplaced(context, style, question, &causes[count], &unplaced, err);
    }
    count += unplaced;
    *out_causes = (struct report_cause_list){count > 0 ? causes : SHAPE_EMPTY, count};
    return rc;
}

int cause_find_slow(struct cli_context *context, const struct diagnose_style *style,
                    const struct ecs_service *service, struct report_cause_list *out_causes,
                    struct err *err)
{
    const struct cause_question question = {.service = service};
    struct ecs_task_list live = {0};
    int rc = list_tasks(context, &question, ECS_DESIRED_STATUS_RUNNING, &live, err);
    if (rc != 0) {
        return rc;
    }
    const struct ecs_task *oldest = NULL;
    size_t count = 0;
    for (size_t i = 0; i < live.count; i++) {
        const struct ecs_task *task = &live.items[i];
        if (text_is(task->last_status, "RUNNING")) {
            continue;
        }
        count++;
        if (oldest == NULL || task->created_at < oldest->created_at) {
            oldest = task;
        }
    }
    *out_causes = (struct report_cause_list){.items = SHAPE_EMPTY};
    if (oldest == NULL) {
        return 0;
    }
    const struct cause_group group = {oldest, count};
    out_causes->items = ARENA_NEW(&context->arena, struct report_cause);
    out_causes->count = 1;
    return explain(context, style, &group, &out_causes->items[0], err);
}
