#include "cli/commands.h"
#include "cli/exec_session.h"
#include "cli/exec_words.h"

#include "api/ecs.h"
#include "base/text.h"

#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

#define SIGNAL_STATUS 128 // as shells say that a signal ended a program

static int status_of(const struct exec_session_end *end)
{
    struct text sentence = buf_view(&end->sentence);
    if (end->signal_number != 0) {
        return SIGNAL_STATUS + end->signal_number;
    }
    if (sentence.size > 0) {
        fprintf(stderr, "berth exec: %.*s\n", TEXT_FMT(sentence));
    }
    if (end->has_exit_code) {
        return end->exit_code;
    }
    if (sentence.size == 0) {
        fprintf(stderr, "berth exec: the session ended, and nobody told how the command did\n");
    }
    return CLI_FAILED;
}

static int run(const char *data_dir, const struct ecs_execute_command_request *request)
{
    struct err err;
    AUTO(cli_context_close) struct cli_context context = {0};
    struct ecs_execute_command_response response = {0};
    int rc = cli_context_open(&context, data_dir, &err);
    if (rc == 0) {
        rc = cli_call(&context, &ecs_operations[ECS_OP_EXECUTE_COMMAND], request, &response, &err);
    }
    if (rc != 0 || response.session == NULL) {
        return rc == 0 ? CLI_FAILED : cli_fail(&err);
    }
    // What responses borrow from is reset while the session lasts.
    AUTO(arena_deinit) struct arena arena = {0};
    const struct ecs_session session = {
        .session_id = arena_text(&arena, response.session->session_id),
        .stream_url = arena_text(&arena, response.session->stream_url),
        .token_value = arena_text(&arena, response.session->token_value)};
    struct exec_session_end end = {0};
    rc = exec_session_run(&context, &session, &end, &err);
    int status = rc == 0 ? status_of(&end) : cli_fail(&err);
    buf_deinit(&end.sentence);
    return status;
}

int cli_exec(int argc, char **argv)
{
    static const struct option known[] = {{"data", required_argument, NULL, 'd'},
                                          {"cluster", required_argument, NULL, 'c'},
                                          {"container", required_argument, NULL, 'n'},
                                          {0}};
    const char *data_dir = NULL;
    struct ecs_execute_command_request request = {.has_interactive = true, .interactive = true};
    // The task comes first; what follows the last option is the command's own. So options are read
    // up to the task, and again behind it.
    for (int pass = 0; pass < 2; pass++) {
        for (int option; (option = getopt_long(argc, argv, "+", known, NULL)) != -1;) {
            switch (option) {
            case 'd':
                data_dir = optarg;
                break;
            case 'c':
                request.cluster = text_of(optarg);
                break;
            case 'n':
                request.container = text_of(optarg);
                break;
            default:
                return CLI_USAGE;
            }
        }
        if (pass == 0 && optind < argc) {
            request.task = text_of(argv[optind++]);
        }
    }
    if (request.task.data == NULL || optind >= argc) {
        fprintf(stderr, "berth exec: name a task and a command, such as `berth exec TASK sh`; "
                        "`berth ps` lists tasks\n");
        return CLI_USAGE;
    }
    AUTO(buf_deinit) struct buf command = {0};
    exec_command_line((const char *const *)(argv + optind), (size_t)(argc - optind), &command);
    request.command = buf_view(&command);
    return run(data_dir, &request);
}
