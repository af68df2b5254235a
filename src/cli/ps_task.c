#include "cli/ps.h"

#include "base/text.h"
#include "shape/json.h"

#include <stdio.h>

static void add_container_usage(struct cli_table *table, const struct berth_task_usage *usage,
                                struct text container)
{
    for (size_t i = 0; usage != NULL && i < usage->containers.count; i++) {
        const struct berth_container_usage *found = &usage->containers.items[i];
        if (text_equal(found->name, container)) {
            ps_add_usage(table, true, found->cpu_percent, found->memory_mib);
            return;
        }
    }
    ps_add_usage(table, false, 0, 0);
}

static int32_t restarts_of(const struct berth_get_task_timeline_response *answer,
                           struct text container)
{
    for (size_t i = 0; i < answer->restarts.count; i++) {
        if (text_equal(answer->restarts.items[i].name, container)) {
            return answer->restarts.items[i].restart_count;
        }
    }
    return 0;
}

static void print_containers(const struct berth_get_task_timeline_response *answer,
                             const struct berth_task_usage *usage)
{
    static const char *const headings[] = {"CONTAINER", "IMAGE",    "STATUS", "HEALTH", "CPU",
                                           "MEMORY",    "RESTARTS", "EXIT",   "REASON"};
    AUTO(cli_table_deinit) struct cli_table table;
    cli_table_init(&table, ARRAY_LEN(headings), headings);
    for (size_t i = 0; i < answer->task->containers.count; i++) {
        const struct ecs_container *container = &answer->task->containers.items[i];
        cli_table_cell(&table, container->name);
        cli_table_cell(&table, container->image);
        cli_table_cell(&table, container->last_status);
        cli_table_cell(&table, ps_enum(&ecs_health_status_shape, container->health_status));
        add_container_usage(&table, usage, container->name);
        cli_table_number(&table, restarts_of(answer, container->name));
        if (container->has_exit_code) {
            cli_table_number(&table, container->exit_code);
        } else {
            cli_table_cell(&table, (struct text){0});
        }
        cli_table_cell(&table, container->reason);
    }
    cli_table_print(&table);
}

// Seconds to the millisecond; a host whose clock is behind can be before the start.
static struct text seconds(int64_t after_ms, struct arena *arena)
{
    uint64_t ms = (uint64_t)(after_ms < 0 ? -after_ms : after_ms);
    return arena_format(arena, "%s%llu.%03llu", after_ms < 0 ? "-" : "+",
                        (unsigned long long)(ms / 1000), (unsigned long long)(ms % 1000));
}

static struct text step_name(enum berth_timeline_step step)
{
    switch (step) {
    case BERTH_TIMELINE_STEP_NETWORK_READY:
        return TEXT("network ready");
    case BERTH_TIMELINE_STEP_ABSENT:
    case BERTH_TIMELINE_STEP_UNRECOGNIZED:
        return TEXT("?");
    case BERTH_TIMELINE_STEP_QUEUED:
    case BERTH_TIMELINE_STEP_PLACED:
    case BERTH_TIMELINE_STEP_PULLING:
    case BERTH_TIMELINE_STEP_PULLED:
    case BERTH_TIMELINE_STEP_CREATED:
    case BERTH_TIMELINE_STEP_STARTED:
    case BERTH_TIMELINE_STEP_RESTARTED:
    case BERTH_TIMELINE_STEP_HEALTHY:
    case BERTH_TIMELINE_STEP_RUNNING:
    case BERTH_TIMELINE_STEP_STOPPING:
    case BERTH_TIMELINE_STEP_EXITED:
    case BERTH_TIMELINE_STEP_STOPPED:
        break;
    }
    return text_of(shape_enum_name(&berth_timeline_step_shape, step));
}

static void print_timeline(const struct berth_get_task_timeline_response *answer)
{
    static const char *const headings[] = {"SECONDS", "STEP", "CONTAINER"};
    AUTO(cli_table_deinit) struct cli_table table;
    cli_table_init(&table, ARRAY_LEN(headings), headings);
    for (size_t i = 0; i < answer->timeline.count; i++) {
        const struct berth_timeline_event *event = &answer->timeline.items[i];
        cli_table_cell(&table, seconds(event->after_ms, &table.arena));
        cli_table_cell(&table, step_name(event->step));
        cli_table_cell(&table, event->container);
    }
    printf("\n");
    cli_table_print(&table);
}

int ps_show_task(struct cli_context *context, const struct ps_options *options, struct err *err)
{
    const struct berth_get_task_timeline_request request = {.cluster = options->cluster,
                                                            .task = options->task};
    struct berth_get_task_timeline_response answer = {0};
    int rc =
        cli_call(context, &berth_operations[BERTH_OP_GET_TASK_TIMELINE], &request, &answer, err);
    if (rc != 0) {
        return rc;
    }
    if (options->json) {
        AUTO(buf_deinit) struct buf json = {0};
        json_encode(&berth_get_task_timeline_response_shape, &answer, &json);
        printf("%.*s\n", (int)json.size, json.data);
        return 0;
    }
    const struct ecs_task *task = answer.task;
    struct text arn = task->task_arn;
    printf("%.*s  %.*s  %.*s  %.*s\n", TEXT_FMT(arn), TEXT_FMT(task->last_status),
           TEXT_FMT(ps_address(task)), TEXT_FMT(task->stopped_reason));
    struct berth_get_task_usage_response usage = {0};
    ps_ask_usage(context, task->cluster_arn, (struct text_list){&arn, 1}, &usage);
    print_containers(&answer, ps_usage_of(&usage, arn));
    if (!text_empty(answer.note)) {
        printf("\nnote: %.*s\n", TEXT_FMT(answer.note));
    }
    print_timeline(&answer);
    return 0;
}
