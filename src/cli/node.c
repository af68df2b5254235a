#include "cli/commands.h"

#include "api/berth.h"
#include "base/clock.h"
#include "base/text.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

struct node_options {
    const char *data_dir;
    int64_t uses;
    int64_t expires_s;
    bool force;
};

static void add_node(struct cli_table *table, const struct berth_node *node)
{
    cli_table_cell(table, node->node_id);
    cli_table_cell(table, node->name);
    cli_table_cell(table, node->status);
    cli_table_cell(table, node->availability_zone);
    cli_table_cell(table, node->capacity);
    cli_table_cell(table,
                   arena_format(&table->arena, "%d/%d", node->cpu_units_free, node->cpu_units));
    cli_table_cell(table,
                   arena_format(&table->arena, "%d/%d", node->memory_mib_free, node->memory_mib));
    cli_table_number(table, node->task_count);
    cli_table_cell(table, node->agent_version);
    cli_table_cell(table, cli_age(node->last_seen_at, clock_wall_ms(), &table->arena));
}

static int list(struct cli_context *context, struct err *err)
{
    static const char *const headings[] = {"NODE",     "NAME",   "STATUS", "ZONE",    "CAPACITY",
                                           "CPU FREE", "MEMORY", "TASKS",  "VERSION", "SEEN"};
    AUTO(cli_table_deinit) struct cli_table table;
    cli_table_init(&table, ARRAY_LEN(headings), headings);
    AUTO(buf_deinit) struct buf refusals = {0};
    struct text next = {0};
    do {
        const struct berth_list_nodes_request request = {.next_token = next};
        struct berth_list_nodes_response page = {0};
        int rc = cli_call(context, &berth_operations[BERTH_OP_LIST_NODES], &request, &page, err);
        if (rc != 0) {
            return rc;
        }
        for (size_t i = 0; i < page.nodes.count; i++) {
            const struct berth_node *node = &page.nodes.items[i];
            add_node(&table, node);
            if (!text_empty(node->refusal)) {
                buf_format(&refusals, "%.*s takes no new tasks: %.*s\n", TEXT_FMT(node->node_id),
                           TEXT_FMT(node->refusal));
            }
        }
        next = page.next_token;
    } while (!text_empty(next));
    cli_table_print(&table);
    fputs(refusals.size > 0 ? refusals.data : "", stdout);
    return 0;
}

static int make_token(struct cli_context *context, const struct node_options *options,
                      struct err *err)
{
    const struct berth_create_join_token_request request = {
        .has_uses = options->uses > 0,
        .uses = (int32_t)options->uses,
        .has_expires_in_seconds = options->expires_s > 0,
        .expires_in_seconds = (int32_t)options->expires_s,
    };
    struct berth_create_join_token_response response = {0};
    int rc =
        cli_call(context, &berth_operations[BERTH_OP_CREATE_JOIN_TOKEN], &request, &response, err);
    if (rc == 0) {
        printf("%.*s\n", TEXT_FMT(response.token));
    }
    return rc;
}

static int remove_node(struct cli_context *context, const struct node_options *options,
                       const char *node_id, struct err *err)
{
    const struct berth_remove_node_request request = {
        .node_id = text_of(node_id), .has_force = options->force, .force = options->force};
    struct berth_remove_node_response response = {0};
    int rc = cli_call(context, &berth_operations[BERTH_OP_REMOVE_NODE], &request, &response, err);
    if (rc == 0) {
        printf("removed %s\n", node_id);
    }
    return rc;
}

static int read_options(int argc, char **argv, struct node_options *out)
{
    static const struct option known[] = {{"data", required_argument, NULL, 'd'},
                                          {"uses", required_argument, NULL, 'u'},
                                          {"expires", required_argument, NULL, 'e'},
                                          {"force", no_argument, NULL, 'f'},
                                          {0}};
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        int64_t *number = option == 'u' ? &out->uses : &out->expires_s;
        switch (option) {
        case 'd':
            out->data_dir = optarg;
            break;
        case 'f':
            out->force = true;
            break;
        case 'u':
        case 'e':
            if (text_to_i64(text_of(optarg), number) != 0 || *number < 1 || *number > INT32_MAX) {
                fprintf(stderr, "berth node: '%s' is no number from 1\n", optarg);
                return ERR_INVALID;
            }
            break;
        default:
            return ERR_INVALID;
        }
    }
    return 0;
}

int cli_node(int argc, char **argv)
{
    struct node_options options = {0};
    if (read_options(argc, argv, &options) != 0) {
        return CLI_USAGE;
    }
    const char *action = optind < argc ? argv[optind] : "";
    const char *node_id = optind + 1 < argc ? argv[optind + 1] : NULL;
    bool removing = strcmp(action, "remove") == 0 && node_id != NULL;
    bool listing = strcmp(action, "ls") == 0;
    if (!removing && !listing && strcmp(action, "token") != 0) {
        fprintf(stderr, "usage: berth node ls [--data DIR]\n"
                        "       berth node token [--data DIR] [--uses N] [--expires SECONDS]\n"
                        "       berth node remove [--data DIR] [--force] NODE\n");
        return CLI_USAGE;
    }
    struct err err;
    AUTO(cli_context_close) struct cli_context context = {0};
    int rc = cli_context_open(&context, options.data_dir, &err);
    if (rc == 0) {
        rc = listing    ? list(&context, &err)
             : removing ? remove_node(&context, &options, node_id, &err)
                        : make_token(&context, &options, &err);
    }
    return rc == 0 ? 0 : cli_fail(&err);
}
