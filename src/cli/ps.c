#include "cli/ps.h"
#include "api/berth.h"
#include "api/ecs.h"
#include "base/clock.h"
#include "base/text.h"
#include "cli/commands.h"

#include <getopt.h>
#include <stdio.h>

// DescribeTasks takes at most 100 tasks.
#define DESCRIBE_MAX 100

struct text ps_address(const struct ecs_task *task)
{
    for (size_t i = 0; i < task->containers.count; i++) {
        const struct ecs_container *container = &task->containers.items[i];
        if (container->network_interfaces.count > 0) {
            return container->network_interfaces.items[0].private_ipv4_address;
        }
    }
    return (struct text){0};
}

struct text ps_enum(const struct shape_type *type, int32_t number)
{
    return text_of(shape_enum_name(type, number));
}

// What tasks take, as their nodes said last; without it the columns stay empty.
void ps_ask_usage(struct cli_context *context, struct text cluster, struct text_list tasks,
                  struct berth_get_task_usage_response *out)
{
    const struct berth_get_task_usage_request request = {.cluster = cluster, .tasks = tasks};
    struct err ignored;
    IGNORE(cli_call(context, &berth_operations[BERTH_OP_GET_TASK_USAGE], &request, out, &ignored),
           "a server of an older version does not know it");
}

const struct berth_task_usage *ps_usage_of(const struct berth_get_task_usage_response *usage,
                                           struct text task_arn)
{
    for (size_t i = 0; i < usage->tasks.count; i++) {
        if (text_equal(usage->tasks.items[i].task_arn, task_arn)) {
            return &usage->tasks.items[i];
        }
    }
    return NULL;
}

void ps_add_usage(struct cli_table *table, bool known, double cpu_percent, double memory_mib)
{
    if (!known) {
        cli_table_cell(table, (struct text){0});
        cli_table_cell(table, (struct text){0});
        return;
    }
    cli_table_cell(table, arena_format(&table->arena, "%.1f%%", cpu_percent));
    cli_table_cell(table, arena_format(&table->arena, "%.1f MiB", memory_mib));
}

static void add_task(struct cli_table *table, const struct ecs_task *task,
                     const struct berth_task_usage *usage, int64_t now_ms)
{
    cli_table_cell(table, cli_short(task->task_arn));
    cli_table_cell(table, cli_short(task->task_definition_arn));
    cli_table_cell(table, task->last_status);
    cli_table_cell(table, ps_enum(&ecs_health_status_shape, task->health_status));
    cli_table_cell(table, ps_address(task));
    ps_add_usage(table, usage != NULL, usage == NULL ? 0 : usage->cpu_percent,
                 usage == NULL ? 0 : usage->memory_mib);
    cli_table_cell(table, cli_age(task->created_at, now_ms, &table->arena));
    cli_table_cell(table, task->stopped_reason);
}

static int describe(struct cli_context *context, struct text cluster, struct text_list tasks,
                    struct ecs_describe_tasks_response *out, struct err *err)
{
    const struct ecs_describe_tasks_request request = {.cluster = cluster, .tasks = tasks};
    return cli_call(context, &ecs_operations[ECS_OP_DESCRIBE_TASKS], &request, out, err);
}

static int list_status(struct cli_context *context, const struct ps_options *options,
                       enum ecs_desired_status status, struct cli_table *table, struct err *err)
{
    struct text next = {0};
    do {
        const struct ecs_list_tasks_request request = {
            .cluster = options->cluster,
            .desired_status = status,
            .has_max_results = true,
            .max_results = DESCRIBE_MAX,
            .next_token = next,
        };
        struct ecs_list_tasks_response page = {0};
        int rc = cli_call(context, &ecs_operations[ECS_OP_LIST_TASKS], &request, &page, err);
        struct ecs_describe_tasks_response described = {0};
        if (rc == 0 && page.task_arns.count > 0) {
            rc = describe(context, options->cluster, page.task_arns, &described, err);
        }
        if (rc != 0) {
            return rc;
        }
        struct berth_get_task_usage_response usage = {0};
        if (page.task_arns.count > 0 && status == ECS_DESIRED_STATUS_RUNNING) {
            ps_ask_usage(context, options->cluster, page.task_arns, &usage);
        }
        for (size_t i = 0; i < described.tasks.count; i++) {
            const struct ecs_task *task = &described.tasks.items[i];
            add_task(table, task, ps_usage_of(&usage, task->task_arn), clock_wall_ms());
        }
        next = page.next_token;
    } while (!text_empty(next));
    return 0;
}

static int show_list(struct cli_context *context, const struct ps_options *options, struct err *err)
{
    static const char *const headings[] = {"TASK", "DEFINITION", "STATUS", "HEALTH", "ADDRESS",
                                           "CPU",  "MEMORY",     "AGE",    "REASON"};
    AUTO(cli_table_deinit) struct cli_table table;
    cli_table_init(&table, ARRAY_LEN(headings), headings);
    int rc = list_status(context, options, ECS_DESIRED_STATUS_RUNNING, &table, err);
    if (rc == 0 && options->all) {
        rc = list_status(context, options, ECS_DESIRED_STATUS_STOPPED, &table, err);
    }
    if (rc == 0) {
        cli_table_print(&table);
    }
    return rc;
}

int cli_ps(int argc, char **argv)
{
    static const struct option known[] = {{"data", required_argument, NULL, 'd'},
                                          {"cluster", required_argument, NULL, 'c'},
                                          {"all", no_argument, NULL, 'a'},
                                          {"json", no_argument, NULL, 'j'},
                                          {0}};
    struct ps_options options = {0};
    for (int option; (option = getopt_long(argc, argv, "a", known, NULL)) != -1;) {
        switch (option) {
        case 'd':
            options.data_dir = optarg;
            break;
        case 'c':
            options.cluster = text_of(optarg);
            break;
        case 'a':
            options.all = true;
            break;
        case 'j':
            options.json = true;
            break;
        default:
            return CLI_USAGE;
        }
    }
    options.task = optind < argc ? text_of(argv[optind]) : (struct text){0};
    if (options.json && options.task.data == NULL) {
        fprintf(stderr, "berth: --json needs a TASK; `berth aws ecs describe-tasks` lists many\n");
        return CLI_USAGE;
    }
    struct err err;
    AUTO(cli_context_close) struct cli_context context = {0};
    int rc = cli_context_open(&context, options.data_dir, &err);
    if (rc == 0) {
        rc = options.task.data != NULL ? ps_show_task(&context, &options, &err)
                                       : show_list(&context, &options, &err);
    }
    return rc == 0 ? 0 : cli_fail(&err);
}
