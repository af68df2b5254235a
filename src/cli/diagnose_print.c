#include "cli/diagnose.h"

#include "base/text.h"

#include <stdio.h>

#define HOSTS_SHOWN 10 // of each attempt; the reasons of the others are counted

static struct text enum_text(const struct shape_type *type, int32_t number)
{
    return text_of(shape_enum_name(type, number));
}

static void print_next(const struct diagnose_next *next)
{
    for (size_t i = 0; i < next->count; i++) {
        printf("%s  %.*s\n", i == 0 ? "try:" : "    ", TEXT_FMT(next->lines[i]));
    }
}

// ---- hosts --------------------------------------------------------------------------------

// Words of ECS that are sentences are told by their first: the detail says the rest.
static struct text short_reason(struct text reason)
{
    size_t blank = text_find(reason, ' ');
    return blank == SIZE_MAX ? reason : text_slice(reason, 0, blank);
}

// One row for each reason; the host is named in the first of them. Where tasks went is known of a
// placement that was rehearsed only.
static void add_host(struct cli_table *table, const struct berth_placement_host *host, bool counted)
{
    const struct text blank = TEXT(" ");
    size_t rows = MAX(host->reasons.count, (size_t)1);
    for (size_t i = 0; i < rows; i++) {
        bool fits = host->reasons.count == 0;
        cli_table_cell(table, i == 0 ? host->name : blank);
        cli_table_cell(table, i == 0 ? host->availability_zone : blank);
        if (counted && i == 0) {
            cli_table_number(table, host->task_count);
        } else if (counted) {
            cli_table_cell(table, blank);
        }
        cli_table_cell(table, fits ? TEXT("fits") : short_reason(host->reasons.items[i].reason));
        cli_table_cell(table, fits ? (struct text){0} : host->reasons.items[i].detail);
    }
}

static void print_hosts(const struct berth_placement_host_list *hosts, int32_t all, bool counted,
                        size_t max)
{
    static const char *const with[] = {"HOST", "ZONE", "TASKS", "VERDICT", "WHY"};
    static const char *const without[] = {"HOST", "ZONE", "VERDICT", "WHY"};
    AUTO(cli_table_deinit) struct cli_table table;
    cli_table_init(&table, counted ? ARRAY_LEN(with) : ARRAY_LEN(without),
                   counted ? with : without);
    size_t shown = MIN(hosts->count, max);
    for (size_t i = 0; i < shown; i++) {
        add_host(&table, &hosts->items[i], counted);
    }
    if (shown > 0) {
        cli_table_print(&table);
    }
    size_t rest = (size_t)all - MIN(shown, (size_t)all);
    if (rest > 0) {
        printf("and %zu more %s\n", rest, rest == 1 ? "host" : "hosts");
    }
}

// ---- what found no place ------------------------------------------------------------------

void diagnose_print_hosts(const struct berth_unplaced_task *one)
{
    print_hosts(&one->hosts, one->host_count, false, HOSTS_SHOWN);
}

static void print_one(const struct diagnose_style *style, const struct berth_unplaced_task *one)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct text cluster = cli_short(one->cluster_arn);
    struct text definition = cli_short(one->task_definition_arn);
    printf("%.*s of %.*s in cluster %.*s, %s, group %.*s", TEXT_FMT(one->operation),
           TEXT_FMT(definition), TEXT_FMT(cluster),
           shape_enum_name(&ecs_launch_type_shape, (int32_t)one->launch_type),
           TEXT_FMT(one->group));
    if (one->started_by.data != NULL) {
        printf(", started by %.*s", TEXT_FMT(one->started_by));
    }
    printf("\n%.*s ago", TEXT_FMT(cli_age(one->last_at, style->now_ms, &arena)));
    if (one->times > 1) {
        printf(", %d times since %.*s ago", (int)one->times,
               TEXT_FMT(cli_age(one->first_at, style->now_ms, &arena)));
    }
    printf(": %.*s\n", TEXT_FMT(one->summary));
    diagnose_print_hosts(one);
    const struct diagnose_next next =
        diagnose_next_of_hosts(style, cluster, &one->reason_counts, &one->hosts, &arena);
    print_next(&next);
}

void diagnose_print_unplaced(const struct diagnose_style *style,
                             const struct berth_list_unplaced_tasks_response *answer)
{
    if (answer->unplaced.count == 0) {
        printf("Every task asked for found a place, as far as the server remembers: since its "
               "start.\n");
        return;
    }
    for (size_t i = 0; i < answer->unplaced.count; i++) {
        if (i > 0) {
            printf("\n");
        }
        print_one(style, &answer->unplaced.items[i]);
    }
    if (answer->next_token.data != NULL) {
        printf("\nand older ones: --json shows all\n");
    }
}

// ---- where tasks would go -----------------------------------------------------------------

void diagnose_print_placement(const struct diagnose_style *style,
                              const struct berth_explain_placement_response *answer)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct text cluster = cli_short(answer->cluster_arn);
    printf("%.*s in cluster %.*s, %s: %d CPU units and %d MiB for each task\n%.*s\n",
           TEXT_FMT(cli_short(answer->task_definition_arn)), TEXT_FMT(cluster),
           shape_enum_name(&ecs_launch_type_shape, (int32_t)answer->launch_type),
           (int)answer->cpu_units, (int)answer->memory_mib, TEXT_FMT(answer->summary));
    print_hosts(&answer->hosts, answer->host_count, true, answer->hosts.count);
    if (answer->placed_count < answer->asked_count) {
        const struct diagnose_next next =
            diagnose_next_of_hosts(style, cluster, &answer->reason_counts, &answer->hosts, &arena);
        print_next(&next);
    }
}

// ---- one task -----------------------------------------------------------------------------

static void print_moments(const struct diagnose_style *style, const struct ecs_task *task)
{
    const struct {
        const char *name;
        int64_t at;
    } moments[] = {
        {"created", task->created_at},         {"images", task->pull_stopped_at},
        {"started", task->started_at},         {"stopping", task->stopping_at},
        {"ended", task->execution_stopped_at}, {"stopped", task->stopped_at},
    };
    AUTO(arena_deinit) struct arena arena = {0};
    printf("life     ");
    const char *comma = "";
    for (size_t i = 0; i < ARRAY_LEN(moments); i++) {
        if (moments[i].at != 0) {
            printf("%s%s %.*s ago", comma, moments[i].name,
                   TEXT_FMT(cli_age(moments[i].at, style->now_ms, &arena)));
            comma = ", ";
        }
    }
    printf("\n");
}

static void print_containers(const struct ecs_task *task)
{
    static const char *const headings[] = {"CONTAINER", "IMAGE", "STATUS",
                                           "HEALTH",    "EXIT",  "REASON"};
    AUTO(cli_table_deinit) struct cli_table table;
    cli_table_init(&table, ARRAY_LEN(headings), headings);
    for (size_t i = 0; i < task->containers.count; i++) {
        const struct ecs_container *container = &task->containers.items[i];
        cli_table_cell(&table, container->name);
        cli_table_cell(&table, container->image);
        cli_table_cell(&table, container->last_status);
        cli_table_cell(&table, enum_text(&ecs_health_status_shape, container->health_status));
        if (container->has_exit_code) {
            cli_table_number(&table, container->exit_code);
        } else {
            cli_table_cell(&table, (struct text){0});
        }
        cli_table_cell(&table, container->reason);
    }
    cli_table_print(&table);
}

static void print_host(const struct diagnose_style *style,
                       const struct berth_explain_task_response *answer, struct arena *arena)
{
    if (answer->node_id.data == NULL) {
        printf("host     none, capacity provider %.*s\n",
               TEXT_FMT(answer->task->capacity_provider_name));
        return;
    }
    printf("host     %.*s (%.*s), %.*s, ", TEXT_FMT(answer->node_name), TEXT_FMT(answer->node_id),
           TEXT_FMT(answer->task->availability_zone));
    if (answer->node_seen_at == 0) {
        printf("has not connected yet\n");
    } else {
        printf("%s, heard of %.*s ago\n", answer->node_in_contact ? "in contact" : "LOST",
               TEXT_FMT(cli_age(answer->node_seen_at, style->now_ms, arena)));
    }
}

void diagnose_print_task(const struct diagnose_style *style,
                         const struct berth_explain_task_response *answer,
                         const struct text_list *wrote)
{
    AUTO(arena_deinit) struct arena arena = {0};
    const struct ecs_task *task = answer->task;
    printf("task     %.*s of %.*s in cluster %.*s, %s\n", TEXT_FMT(cli_short(task->task_arn)),
           TEXT_FMT(cli_short(task->task_definition_arn)), TEXT_FMT(cli_short(task->cluster_arn)),
           shape_enum_name(&ecs_launch_type_shape, (int32_t)task->launch_type));
    print_host(style, answer, &arena);
    printf("status   %.*s for %.*s", TEXT_FMT(task->last_status),
           TEXT_FMT(cli_age(answer->since, style->now_ms, &arena)));
    if (!text_equal(task->last_status, task->desired_status)) {
        printf(", is to be %.*s", TEXT_FMT(task->desired_status));
    }
    printf("\n");
    print_moments(style, task);
    if (task->stop_code != ECS_TASK_STOP_CODE_ABSENT || task->stopped_reason.data != NULL) {
        printf("stop     %.*s: %.*s\n",
               TEXT_FMT(enum_text(&ecs_task_stop_code_shape, (int32_t)task->stop_code)),
               TEXT_FMT(task->stopped_reason));
    }
    printf("cause    %.*s: %.*s\n",
           TEXT_FMT(enum_text(&berth_task_cause_shape, (int32_t)answer->cause)),
           TEXT_FMT(answer->summary));
    if (!text_empty(answer->note)) {
        printf("note     %.*s\n", TEXT_FMT(answer->note));
    }
    print_containers(task);
    for (size_t i = 0; i < wrote->count; i++) {
        printf(i == 0 ? "the last that %.*s wrote:\n  %.*s\n" : "%.*s  %.*s\n",
               TEXT_FMT(i == 0 ? answer->container : (struct text){0}), TEXT_FMT(wrote->items[i]));
    }
    const struct diagnose_next next = diagnose_next_of_task(style, answer, &arena);
    print_next(&next);
}
