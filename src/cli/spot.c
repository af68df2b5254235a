#include "cli/commands.h"

#include "api/berth.h"
#include "base/text.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

/*
 * `berth spot`: what AWS does to FARGATE_SPOT without being asked, by hand.
 */

struct spot_options {
    const char *data_dir;
    const char *cluster;
};

// A task is named by its 32 hex digits or an ARN; all else is a node.
static bool names_task(struct text name)
{
    if (text_starts(name, TEXT("arn:"))) {
        return true;
    }
    unsigned char bytes[16];
    return name.size == 2 * sizeof(bytes) && text_unhex(name, bytes, sizeof(bytes)) == 0;
}

static int interrupt(struct cli_context *context, const struct spot_options *options,
                     const char *name, struct err *err)
{
    struct text given = text_of(name);
    struct berth_interrupt_spot_request request = {.cluster = text_of(options->cluster)};
    if (names_task(given)) {
        request.task = given;
    } else {
        request.node_id = given;
    }
    struct berth_interrupt_spot_response response = {0};
    int rc =
        cli_call(context, &berth_operations[BERTH_OP_INTERRUPT_SPOT], &request, &response, err);
    if (rc == 0) {
        printf("interrupted %d %s\n", (int)response.task_count,
               response.task_count == 1 ? "task" : "tasks");
    }
    return rc;
}

static int restore(struct cli_context *context, const char *node_id, struct err *err)
{
    const struct berth_restore_spot_request request = {.node_id = text_of(node_id)};
    struct berth_restore_spot_response response = {0};
    int rc = cli_call(context, &berth_operations[BERTH_OP_RESTORE_SPOT], &request, &response, err);
    if (rc == 0) {
        printf("restored %s\n", node_id);
    }
    return rc;
}

int cli_spot(int argc, char **argv)
{
    static const struct option known[] = {
        {"data", required_argument, NULL, 'd'}, {"cluster", required_argument, NULL, 'c'}, {0}};
    struct spot_options options = {0};
    bool understood = true;
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        options.data_dir = option == 'd' ? optarg : options.data_dir;
        options.cluster = option == 'c' ? optarg : options.cluster;
        understood = understood && option != '?';
    }
    const char *action = optind < argc ? argv[optind] : "";
    bool interrupting = strcmp(action, "interrupt") == 0;
    if (!understood || optind + 2 != argc || (!interrupting && strcmp(action, "restore") != 0)) {
        fprintf(stderr, "usage: berth spot interrupt [--data DIR] [--cluster CLUSTER] TASK|NODE\n"
                        "       berth spot restore [--data DIR] NODE\n");
        return CLI_USAGE;
    }
    struct err err;
    AUTO(cli_context_close) struct cli_context context = {0};
    int rc = cli_context_open(&context, options.data_dir, &err);
    if (rc == 0) {
        rc = interrupting ? interrupt(&context, &options, argv[optind + 1], &err)
                          : restore(&context, argv[optind + 1], &err);
    }
    return rc == 0 ? 0 : cli_fail(&err);
}
