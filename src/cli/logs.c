#include "cli/commands.h"

#include "api/berth.h"
#include "base/file.h"
#include "base/text.h"

#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

// What one call brings; also how much of the end is shown at first.
#define CHUNK_BYTES 200000
// How long the server holds a follower's call when there is nothing new.
#define FOLLOW_WAIT_MS 10000

static int follow(struct cli_context *context, struct berth_get_task_logs_request request,
                  bool keep_following, struct err *err)
{
    for (;;) {
        struct berth_get_task_logs_response response = {0};
        int rc =
            cli_call(context, &berth_operations[BERTH_OP_GET_TASK_LOGS], &request, &response, err);
        if (rc == 0) {
            rc = fd_write_all(STDOUT_FILENO, response.data.data, response.data.size, err);
        }
        if (rc != 0) {
            return rc;
        }
        // The first call brings all up to the end. What is written meanwhile, by a container that
        // never pauses, is for those who follow.
        if (!keep_following || (response.ended && response.data.size == 0)) {
            return 0;
        }
        request.has_offset = true;
        request.offset = response.next_offset;
        request.has_wait_ms = keep_following;
        request.wait_ms = FOLLOW_WAIT_MS;
        // A follower may run for weeks.
        arena_reset(&context->arena);
    }
}

int cli_logs(int argc, char **argv)
{
    static const struct option known[] = {{"data", required_argument, NULL, 'd'},
                                          {"cluster", required_argument, NULL, 'c'},
                                          {"follow", no_argument, NULL, 'f'},
                                          {0}};
    const char *data_dir = NULL;
    bool keep_following = false;
    struct berth_get_task_logs_request request = {.has_limit = true, .limit = CHUNK_BYTES};
    for (int option; (option = getopt_long(argc, argv, "f", known, NULL)) != -1;) {
        switch (option) {
        case 'd':
            data_dir = optarg;
            break;
        case 'c':
            request.cluster = text_of(optarg);
            break;
        case 'f':
            keep_following = true;
            break;
        default:
            return CLI_USAGE;
        }
    }
    if (optind >= argc) {
        fprintf(stderr, "berth logs: name a task; `berth ps` lists them\n");
        return CLI_USAGE;
    }
    request.task = text_of(argv[optind]);
    request.container = optind + 1 < argc ? text_of(argv[optind + 1]) : (struct text){0};
    struct err err;
    AUTO(cli_context_close) struct cli_context context = {0};
    int rc = cli_context_open(&context, data_dir, &err);
    if (rc == 0) {
        rc = follow(&context, request, keep_following, &err);
    }
    return rc == 0 ? 0 : cli_fail(&err);
}
