#include "cli/commands.h"

#include "api/berth.h"
#include "base/clock.h"
#include "base/text.h"
#include "shape/json.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

/*
 * `berth capacity`: how Auto Scaling groups stand, and giving one of their instances up.
 */

struct capacity_options {
    const char *data_dir;
    const char *cluster;
    bool json;
};

// ---- the table ----------------------------------------------------------------------------

static struct text last_of(const struct berth_capacity_status *status, int64_t now_ms,
                           struct arena *arena)
{
    const struct berth_scale_action *action =
        status->under_way != NULL ? status->under_way : status->last;
    if (action == NULL) {
        return (struct text){0};
    }
    bool under_way = action == status->under_way;
    struct text size =
        arena_format(arena, "%lld to %lld", (long long)action->current, (long long)action->desired);
    struct text age = cli_age(under_way ? action->asked_at : action->ended_at, now_ms, arena);
    const char *result = under_way ? "runs since" : text_empty(action->failure) ? "done" : "FAILED";
    return under_way
               ? arena_format(arena, "%.*s, %s %.*s", TEXT_FMT(size), result, TEXT_FMT(age))
               : arena_format(arena, "%.*s, %s %.*s ago", TEXT_FMT(size), result, TEXT_FMT(age));
}

static void add_row(struct cli_table *table, const struct berth_capacity_status *status,
                    int64_t now_ms)
{
    struct arena *arena = &table->arena;
    cli_table_cell(table, cli_short(status->cluster_arn));
    cli_table_cell(table, status->capacity_provider);
    cli_table_cell(table, status->auto_scaling_group);
    cli_table_cell(table, arena_format(arena, "%d/%d", (int)status->active_count,
                                       (int)status->draining_count));
    cli_table_number(table, status->waiting_task_count);
    if (status->managed_scaling) {
        cli_table_cell(table, arena_format(arena, "%.0f%%/%d%%", status->reservation,
                                           (int)status->target_capacity));
        cli_table_cell(table, arena_format(arena, "%lld/%lld", (long long)status->size,
                                           (long long)status->desired));
    } else {
        cli_table_cell(table, (struct text){0});
        cli_table_cell(table, (struct text){0});
    }
    cli_table_cell(table, last_of(status, now_ms, arena));
}

// What somebody should know, below the table.
static void note(const struct berth_capacity_status *status, int64_t now_ms, struct buf *out)
{
    struct text group = status->auto_scaling_group;
    if (status->last != NULL && !text_empty(status->last->failure)) {
        buf_format(out, "group %.*s: the scale command failed: %.*s.", TEXT_FMT(group),
                   TEXT_FMT(status->last->failure));
        if (status->under_way != NULL) {
            buf_format(out, " It runs again.\n");
        } else {
            buf_format(out, " It is run again in %lld s.\n",
                       (long long)MAX(INT64_C(0), status->retry_at - now_ms) / 1000);
        }
    }
    if (status->managed_scaling && !status->command && status->desired != status->size) {
        buf_format(
            out,
            "group %.*s: it needs %lld instances. The server has no --scale-command: start or "
            "end hosts by hand.\n",
            TEXT_FMT(group), (long long)status->desired);
    }
    for (size_t i = 0; i < status->instances.count; i++) {
        const struct berth_group_instance *instance = &status->instances.items[i];
        if (!text_is(instance->status, "ACTIVE")) {
            buf_format(out, "group %.*s: %.*s on %.*s is %.*s with %d tasks\n", TEXT_FMT(group),
                       TEXT_FMT(cli_short(instance->container_instance_arn)),
                       TEXT_FMT(instance->node_name), TEXT_FMT(instance->status),
                       (int)instance->task_count);
        }
    }
}

static int ask(struct cli_context *context, const struct capacity_options *options,
               struct text next, struct berth_list_capacity_response *out, struct err *err)
{
    const struct berth_list_capacity_request request = {
        .cluster = text_of(options->cluster),
        .next_token = next,
    };
    *out = (struct berth_list_capacity_response){0};
    return cli_call(context, &berth_operations[BERTH_OP_LIST_CAPACITY], &request, out, err);
}

static int list(struct cli_context *context, const struct capacity_options *options,
                struct err *err)
{
    static const char *const headings[] = {"CLUSTER", "PROVIDER",    "GROUP",        "ACTIVE/DRAIN",
                                           "WAITING", "RESERVATION", "SIZE/DESIRED", "LAST SCALED"};
    AUTO(cli_table_deinit) struct cli_table table;
    cli_table_init(&table, ARRAY_LEN(headings), headings);
    AUTO(buf_deinit) struct buf json = {0};
    AUTO(buf_deinit) struct buf notes = {0};
    int64_t now_ms = clock_wall_ms();
    struct text next = {0};
    struct berth_list_capacity_response page = {0};
    do {
        int rc = ask(context, options, next, &page, err);
        if (rc != 0) {
            return rc;
        }
        for (size_t i = 0; i < page.capacity.count; i++) {
            add_row(&table, &page.capacity.items[i], now_ms);
            note(&page.capacity.items[i], now_ms, &notes);
            buf_string(&json, json.size == 0 ? "[" : ",");
            json_encode(&berth_capacity_status_shape, &page.capacity.items[i], &json);
        }
        next = page.next_token;
    } while (!text_empty(next));
    if (options->json) {
        printf("%s%.*s]\n", json.size == 0 ? "[" : "", TEXT_FMT(buf_view(&json)));
        return 0;
    }
    cli_table_print(&table);
    printf("%.*s", TEXT_FMT(buf_view(&notes)));
    return 0;
}

// ---- giving an instance up ----------------------------------------------------------------

static int terminate(struct cli_context *context, const struct capacity_options *options,
                     const char *instance, struct err *err)
{
    const struct berth_terminate_instance_request request = {
        .cluster = text_of(options->cluster), .container_instance = text_of(instance)};
    struct berth_terminate_instance_response response = {0};
    int rc =
        cli_call(context, &berth_operations[BERTH_OP_TERMINATE_INSTANCE], &request, &response, err);
    if (rc == 0 && response.named) {
        printf("group %.*s gives it up now\n", TEXT_FMT(response.auto_scaling_group));
    } else if (rc == 0) {
        printf("group %.*s gives it up when its %d %s gone; `berth capacity` shows it\n",
               TEXT_FMT(response.auto_scaling_group), (int)response.task_count,
               response.task_count == 1 ? "task is" : "tasks are");
    }
    return rc;
}

int cli_capacity(int argc, char **argv)
{
    static const struct option known[] = {{"data", required_argument, NULL, 'd'},
                                          {"cluster", required_argument, NULL, 'c'},
                                          {"json", no_argument, NULL, 'j'},
                                          {0}};
    struct capacity_options options = {0};
    bool understood = true;
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        options.data_dir = option == 'd' ? optarg : options.data_dir;
        options.cluster = option == 'c' ? optarg : options.cluster;
        options.json = options.json || option == 'j';
        understood = understood && option != '?';
    }
    bool terminating = optind + 2 == argc && strcmp(argv[optind], "terminate") == 0;
    if (!understood || (optind != argc && !terminating) || (terminating && options.json)) {
        fprintf(stderr, "usage: berth capacity [--data DIR] [--cluster NAME] [--json]\n"
                        "       berth capacity terminate [--data DIR] [--cluster NAME] INSTANCE\n");
        return CLI_USAGE;
    }
    struct err err;
    AUTO(cli_context_close) struct cli_context context = {0};
    int rc = cli_context_open(&context, options.data_dir, &err);
    if (rc == 0) {
        rc = terminating ? terminate(&context, &options, argv[optind + 1], &err)
                         : list(&context, &options, &err);
    }
    return rc == 0 ? 0 : cli_fail(&err);
}
