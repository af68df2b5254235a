#include "cli/look.h"

#include "api/berth.h"
#include "base/text.h"

#define PAGE 100 // DescribeTasks takes as many

void look_checks_deinit(struct look_checks *checks)
{
    arena_deinit(&checks->arena);
    *checks = (struct look_checks){0};
}

// ---- services -----------------------------------------------------------------------------

int look_service(struct cli_context *context, struct text cluster, struct text name,
                 const struct ecs_service **out_service, struct err *err)
{
    struct text names[] = {name};
    const struct ecs_describe_services_request request = {.cluster = cluster,
                                                          .services = {names, 1}};
    struct ecs_describe_services_response answer = {0};
    int rc = cli_call(context, &ecs_operations[ECS_OP_DESCRIBE_SERVICES], &request, &answer, err);
    if (rc != 0) {
        return rc;
    }
    if (answer.services.count == 0 || text_is(answer.services.items[0].status, "INACTIVE")) {
        return err_set(err, ERR_NOT_FOUND, "there is no service '%.*s' in cluster '%.*s'",
                       TEXT_FMT(cli_short(name)),
                       TEXT_FMT(text_empty(cluster) ? TEXT("default") : cli_short(cluster)));
    }
    *out_service = answer.services.items;
    return 0;
}

int look_definition(struct cli_context *context, struct text reference,
                    const struct ecs_task_definition **out_definition, struct err *err)
{
    const struct ecs_describe_task_definition_request request = {.task_definition = reference};
    struct ecs_describe_task_definition_response answer = {0};
    int rc =
        cli_call(context, &ecs_operations[ECS_OP_DESCRIBE_TASK_DEFINITION], &request, &answer, err);
    if (rc == 0) {
        *out_definition = answer.task_definition;
    }
    return rc;
}

int look_rollout(struct cli_context *context, struct text arn,
                 const struct ecs_service_deployment **out_rollout, struct err *err)
{
    *out_rollout = NULL;
    if (text_empty(arn)) {
        return 0;
    }
    const struct ecs_describe_service_deployments_request request = {
        .service_deployment_arns = {&arn, 1}};
    struct ecs_describe_service_deployments_response answer = {0};
    int rc = cli_call(context, &ecs_operations[ECS_OP_DESCRIBE_SERVICE_DEPLOYMENTS], &request,
                      &answer, err);
    if (rc == 0 && answer.service_deployments.count > 0) {
        *out_rollout = answer.service_deployments.items;
    }
    return rc;
}

// ---- tasks --------------------------------------------------------------------------------

// The newest of those that are listed, which is in the order in which they were made.
static int list_newest(struct cli_context *context, const struct look_filter *filter,
                       struct text_list *out_arns, struct err *err)
{
    struct text *ring = arena_array(&context->arena, LOOK_TASKS_MAX, sizeof(*ring));
    size_t count = 0;
    struct text next = {0};
    do {
        const struct ecs_list_tasks_request request = {
            .cluster = filter->cluster,
            .service_name = filter->service,
            .started_by = filter->started_by,
            .desired_status = filter->desired,
            .has_max_results = true,
            .max_results = PAGE,
            .next_token = next,
        };
        struct ecs_list_tasks_response page = {0};
        int rc = cli_call(context, &ecs_operations[ECS_OP_LIST_TASKS], &request, &page, err);
        if (rc != 0) {
            return rc;
        }
        for (size_t i = 0; i < page.task_arns.count; i++) {
            ring[count % LOOK_TASKS_MAX] = page.task_arns.items[i];
            count++;
        }
        next = page.next_token;
    } while (!text_empty(next));
    *out_arns = (struct text_list){ring, MIN(count, (size_t)LOOK_TASKS_MAX)};
    return 0;
}

int look_tasks(struct cli_context *context, const struct look_filter *filter,
               struct ecs_task_list *out_tasks, struct err *err)
{
    struct text_list arns = {0};
    int rc = list_newest(context, filter, &arns, err);
    if (rc != 0) {
        return rc;
    }
    struct ecs_task_list tasks = {
        .items = arena_array(&context->arena, arns.count, sizeof(*tasks.items))};
    for (size_t from = 0; from < arns.count; from += PAGE) {
        const struct ecs_describe_tasks_request those = {
            .cluster = filter->cluster,
            .tasks = {&arns.items[from], MIN(arns.count - from, (size_t)PAGE)}};
        struct ecs_describe_tasks_response described = {0};
        rc = cli_call(context, &ecs_operations[ECS_OP_DESCRIBE_TASKS], &those, &described, err);
        if (rc != 0) {
            return rc;
        }
        for (size_t i = 0; i < described.tasks.count; i++) {
            tasks.items[tasks.count] = described.tasks.items[i];
            tasks.count++;
        }
    }
    *out_tasks = tasks;
    return 0;
}

// ---- how deployments stand ----------------------------------------------------------------

static int has_check(struct cli_context *context, struct look_checks *checks, struct text arn,
                     bool *out_checked, struct err *err)
{
    for (size_t i = 0; i < checks->count; i++) {
        if (text_equal(checks->definitions[i], arn)) {
            *out_checked = checks->checked[i];
            return 0;
        }
    }
    const struct ecs_task_definition *definition = NULL;
    int rc = look_definition(context, arn, &definition, err);
    if (rc != 0) {
        return rc;
    }
    bool checked = false;
    for (size_t i = 0; i < definition->container_definitions.count; i++) {
        checked = checked || definition->container_definitions.items[i].health_check != NULL;
    }
    if (checks->count < LOOK_CHECKED_MAX) {
        checks->definitions[checks->count] = arena_text(&checks->arena, arn);
        checks->checked[checks->count] = checked;
        checks->count++;
    }
    *out_checked = checked;
    return 0;
}

static int32_t count_healthy(const struct ecs_task_list *tasks, struct text deployment)
{
    int32_t count = 0;
    for (size_t i = 0; i < tasks->count; i++) {
        const struct ecs_task *task = &tasks->items[i];
        count += text_equal(task->started_by, deployment) &&
                 task->health_status == ECS_HEALTH_STATUS_HEALTHY;
    }
    return count;
}

static struct report_standing stand(const struct ecs_deployment *deployment, int64_t now_ms)
{
    return (struct report_standing){
        .deployment_id = deployment->id,
        .status = deployment->status,
        .task_definition_arn = deployment->task_definition,
        .rollout_state = deployment->rollout_state,
        .has_desired_count = true,
        .desired_count = deployment->desired_count,
        .has_pending_count = true,
        .pending_count = deployment->pending_count,
        .has_running_count = true,
        .running_count = deployment->running_count,
        .has_failed_tasks = true,
        .failed_tasks = deployment->failed_tasks,
        .has_seconds = true,
        .seconds = (double)MAX(now_ms - deployment->created_at, INT64_C(0)) / 1000.0,
    };
}

int look_standings(struct cli_context *context, const struct ecs_service *service,
                   struct look_checks *checks, int64_t now_ms,
                   struct report_standing_list *out_standings, struct err *err)
{
    size_t count = service->deployments.count;
    struct report_standing *items = arena_array(&context->arena, count, sizeof(*items));
    struct ecs_task_list tasks = {0};
    bool listed = false;
    bool small = service->running_count + service->pending_count <= LOOK_TASKS_MAX;
    for (size_t i = 0; i < count; i++) {
        items[i] = stand(&service->deployments.items[i], now_ms);
        bool checked = false;
        int rc = has_check(context, checks, items[i].task_definition_arn, &checked, err);
        if (rc == 0 && checked && small && !listed) {
            const struct look_filter filter = {.cluster = service->cluster_arn,
                                               .service = service->service_name,
                                               .desired = ECS_DESIRED_STATUS_RUNNING};
            rc = look_tasks(context, &filter, &tasks, err);
            listed = true;
        }
        if (rc != 0) {
            return rc;
        }
        items[i].has_healthy_count = checked && small;
        items[i].healthy_count = count_healthy(&tasks, items[i].deployment_id);
    }
    *out_standings = (struct report_standing_list){count > 0 ? items : SHAPE_EMPTY, count};
    return 0;
}

// ---- logs ---------------------------------------------------------------------------------

// A terminal must not obey what a container wrote.
static struct text printable(struct text line, struct arena *arena)
{
    struct text cut = text_slice(line, 0, LOOK_LOG_LINE_BYTES);
    char *copy = arena_alloc(arena, cut.size + 1);
    bool utf8 = text_is_utf8(cut);
    for (size_t i = 0; i < cut.size; i++) {
        unsigned char byte = (unsigned char)cut.data[i];
        bool control = (byte < 0x20 && byte != '\t') || byte == 0x7f;
        copy[i] = control || (byte >= 0x80 && !utf8) ? '?' : cut.data[i];
    }
    return (struct text){copy, cut.size};
}

struct text_list look_last_lines(struct text data, bool first, struct arena *arena)
{
    struct text lines[LOOK_LOG_LINES];
    size_t count = 0;
    struct text rest = data;
    if (!first && text_find(rest, '\n') != SIZE_MAX) {
        text_cut(&rest, '\n'); // the end of a line
    }
    while (rest.data != NULL && rest.size > 0) {
        struct text line = text_trim(text_cut(&rest, '\n'));
        if (line.size == 0) {
            continue;
        }
        lines[count % LOOK_LOG_LINES] = line;
        count++;
    }
    size_t kept = MIN(count, (size_t)LOOK_LOG_LINES);
    struct text_list list = {.items = arena_array(arena, kept, sizeof(*list.items)), .count = kept};
    for (size_t i = 0; i < kept; i++) {
        list.items[i] = printable(lines[(count - kept + i) % LOOK_LOG_LINES], arena);
    }
    return list;
}

void look_logs(struct cli_context *context, struct text cluster, struct text task,
               struct text container, struct text_list *out_lines)
{
    const struct berth_get_task_logs_request request = {.cluster = cli_short(cluster),
                                                        .task = task,
                                                        .container = container,
                                                        .has_limit = true,
                                                        .limit = LOOK_LOG_BYTES};
    struct berth_get_task_logs_response answer = {0};
    struct err err;
    *out_lines = (struct text_list){0};
    // A task whose log is out of reach still has a cause, which is what this is about.
    if (cli_call(context, &berth_operations[BERTH_OP_GET_TASK_LOGS], &request, &answer, &err) ==
        0) {
        *out_lines =
            look_last_lines(answer.data, answer.data.size < LOOK_LOG_BYTES, &context->arena);
    }
}
