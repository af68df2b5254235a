#include "base/clock.h"
#include "base/text.h"
#include "cli/cause.h"
#include "cli/change.h"
#include "cli/commands.h"
#include "cli/watch.h"
#include "shape/json.h"

#include <stdio.h>
#include <unistd.h>

/*
 * `berth deploy`: change a service, show the deployment, and say why when it fails. Exit status: 0
 * completed, 1 failed, 2 the time was up or the command line was wrong, 130 after Ctrl-C.
 */

#define EXIT_INTERRUPTED 130

// ---- doing --------------------------------------------------------------------------------

static int register_definition(struct cli_context *context, struct change *change, struct err *err)
{
    if (change->registers == NULL) {
        return 0;
    }
    struct ecs_register_task_definition_response answer = {0};
    int rc = cli_call(context, &ecs_operations[ECS_OP_REGISTER_TASK_DEFINITION], change->registers,
                      &answer, err);
    if (rc == 0) {
        change->after = answer.task_definition;
    }
    return rc;
}

// A service that is made here is rolled back when its tasks do not start: who deploys by hand looks
// at the screen, and a deployment that never ends tells them nothing.
static int create(struct cli_context *context, const struct change_options *options,
                  const struct change *change, const struct ecs_service **out_service,
                  struct err *err)
{
    struct ecs_deployment_circuit_breaker breaker = {
        .has_enable = true, .enable = true, .has_rollback = true, .rollback = true};
    struct ecs_deployment_configuration configuration = {.deployment_circuit_breaker = &breaker};
    struct ecs_create_service_request request = {
        .cluster = options->cluster,
        .service_name = options->service,
        .task_definition = change->after->task_definition_arn,
        .has_desired_count = true,
        .desired_count = options->has_count ? options->count : 1,
        .launch_type = change_launch_type(&change->after->requires_compatibilities),
        .deployment_configuration = &configuration,
    };
    struct ecs_create_service_response answer = {0};
    int rc = 0;
    if (change->after->network_mode == ECS_NETWORK_MODE_AWSVPC) {
        rc = change_default_network(context, &request.network_configuration, err);
    }
    if (rc == 0) {
        rc = cli_call(context, &ecs_operations[ECS_OP_CREATE_SERVICE], &request, &answer, err);
    }
    *out_service = answer.service;
    return rc;
}

static int update(struct cli_context *context, const struct change_options *options,
                  const struct change *change, const struct ecs_service **out_service,
                  struct err *err)
{
    struct text now = change->service->task_definition;
    bool same = text_equal(change->after->task_definition_arn, now);
    const struct ecs_update_service_request request = {
        .cluster = options->cluster,
        .service = options->service,
        .task_definition = same ? (struct text){0} : change->after->task_definition_arn,
        .has_desired_count = options->has_count,
        .desired_count = options->count,
        .has_force_new_deployment = options->force,
        .force_new_deployment = options->force,
    };
    struct ecs_update_service_response answer = {0};
    int rc = cli_call(context, &ecs_operations[ECS_OP_UPDATE_SERVICE], &request, &answer, err);
    *out_service = answer.service;
    return rc;
}

static struct text first_deployment(const struct ecs_service *service)
{
    return service == NULL || service->deployments.count == 0 ? (struct text){0}
                                                              : service->deployments.items[0].id;
}

// ---- telling ------------------------------------------------------------------------------

static const struct {
    const char *word;
    const char *besides;
} outcome_words[] = {
    [REPORT_OUTCOME_ABSENT] = {"IN PROGRESS", ""},
    [REPORT_OUTCOME_COMPLETED] = {"COMPLETED", ""},
    [REPORT_OUTCOME_FAILED] = {"FAILED", ""},
    [REPORT_OUTCOME_ROLLED_BACK] = {"FAILED and rolled back", ""},
    [REPORT_OUTCOME_ROLLBACK_FAILED] = {"FAILED", ", and so did the rollback"},
    [REPORT_OUTCOME_SUPERSEDED] = {"SUPERSEDED", ": a newer deployment took its place"},
    [REPORT_OUTCOME_TIMED_OUT] = {"NOT COMPLETED", ": it goes on in the server"},
    [REPORT_OUTCOME_INTERRUPTED] = {"LEFT ALONE", ": it goes on in the server"},
};

static int exit_status(enum report_outcome outcome)
{
    return outcome == REPORT_OUTCOME_COMPLETED     ? 0
           : outcome == REPORT_OUTCOME_TIMED_OUT   ? CLI_OTHER
           : outcome == REPORT_OUTCOME_INTERRUPTED ? EXIT_INTERRUPTED
                                                   : CLI_FAILED;
}

static void print_outcome(const struct change_options *options,
                          const struct report_deployed *report)
{
    printf("%s after %.1f s: service %.*s with %.*s%s\n", outcome_words[report->outcome].word,
           report->seconds, TEXT_FMT(options->service),
           TEXT_FMT(cli_short(report->task_definition_arn)),
           outcome_words[report->outcome].besides);
    if (report->outcome == REPORT_OUTCOME_COMPLETED) {
        return;
    }
    if (report->cause != NULL) {
        cause_print(report->cause);
    }
    if (cause_adds(report->cause, report->reason)) {
        printf("because    %.*s\n", TEXT_FMT(report->reason));
    }
    if (report->outcome == REPORT_OUTCOME_ROLLED_BACK && report->standings.count > 0) {
        printf("then       rolled back to %.*s\n",
               TEXT_FMT(cli_short(report->standings.items[0].task_definition_arn)));
    }
    for (size_t i = 0; i < report->standings.count; i++) {
        const struct report_standing *standing = &report->standings.items[i];
        printf("now        %d of %d tasks of %.*s run (%.*s)\n", (int)standing->running_count,
               (int)standing->desired_count, TEXT_FMT(cli_short(standing->task_definition_arn)),
               TEXT_FMT(standing->deployment_id));
    }
    cause_print_next(&report->next);
}

// The first steps for who reads it: of the cause, then a closer look at the service.
static struct text_list next_steps(const struct change_options *options,
                                   const struct report_deployed *report, struct arena *arena)
{
    struct text_list next = {0};
    size_t of_cause = report->cause == NULL ? 0 : report->cause->next.count;
    next.items = arena_array(arena, of_cause + 1, sizeof(*next.items));
    for (size_t i = 0; i < of_cause; i++) {
        next.items[i] = report->cause->next.items[i];
    }
    bool data = options->data_dir != NULL;
    bool cluster = options->cluster.data != NULL;
    next.items[of_cause] =
        arena_format(arena, "berth diagnose%s%s%s%.*s %.*s", data ? " --data " : "",
                     data ? options->data_dir : "", cluster ? " --cluster " : "",
                     TEXT_FMT(options->cluster), TEXT_FMT(options->service));
    next.count = of_cause + 1;
    return next;
}

static void print_json(const struct report_deployed *report)
{
    AUTO(buf_deinit) struct buf json = {0};
    json_encode(&report_deployed_shape, report, &json);
    printf("%.*s\n", (int)json.size, json.data);
}

// Find out why it did not go well, and say it. @return 0 or an error of asking
static int tell_end(struct cli_context *context, const struct change_options *options,
                    struct watch *watch, struct report_deployed *report,
                    const struct watch_end *end, struct err *err)
{
    const struct diagnose_style style = {.data_dir = options->data_dir, .now_ms = clock_wall_ms()};
    struct report_cause_list causes = {0};
    bool well =
        end->outcome == REPORT_OUTCOME_COMPLETED || end->outcome == REPORT_OUTCOME_SUPERSEDED;
    if (!well && end->service != NULL) {
        const struct cause_question question = {
            .service = end->service,
            .deployment = report->deployment_id,
            .since_ms = watch->rollout.data == NULL ? watch->began_ms : 0,
        };
        int rc = cause_find(context, &style, &question, &causes, err);
        if (rc != 0) {
            return rc;
        }
    }
    report->outcome = end->outcome;
    report->has_seconds = true;
    report->seconds = (double)(clock_wall_ms() - watch->began_ms) / 1000.0;
    report->standings = end->standings;
    report->events = (struct text_list){watch->events, watch->event_count};
    report->cause = causes.count > 0 ? &causes.items[0] : NULL;
    if (!well) {
        report->reason = end->rollout == NULL ? (struct text){0} : end->rollout->status_reason;
        report->next = next_steps(options, report, &context->arena);
    }
    if (options->json) {
        print_json(report);
    } else {
        print_outcome(options, report);
    }
    return 0;
}

// ---- the command --------------------------------------------------------------------------

static void print_start(const struct change_options *options, const struct change *change,
                        bool deploys)
{
    struct text after = cli_short(change->after->task_definition_arn);
    if (change->service == NULL) {
        printf("service %.*s is made with %.*s\n", TEXT_FMT(options->service), TEXT_FMT(after));
    } else if (deploys) {
        printf("service %.*s: %.*s -> %.*s\n", TEXT_FMT(options->service),
               TEXT_FMT(cli_short(change->service->task_definition)), TEXT_FMT(after));
    } else {
        printf("service %.*s keeps %.*s: no new deployment\n", TEXT_FMT(options->service),
               TEXT_FMT(after));
    }
    fflush(stdout);
}

static int deploy(struct cli_context *context, const struct change_options *options,
                  int *out_status, struct err *err)
{
    struct change change = {0};
    AUTO(watch_deinit) struct watch watch = {0};
    int rc = change_work_out(context, options, &change, err);
    if (rc == 0) {
        rc = register_definition(context, &change, err);
    }
    const struct ecs_service *service = NULL;
    watch.began_ms = clock_wall_ms();
    if (rc == 0) {
        rc = change.service == NULL ? create(context, options, &change, &service, err)
                                    : update(context, options, &change, &service, err);
    }
    if (rc != 0) {
        return rc;
    }
    // What is kept beyond the next call.
    struct text id = first_deployment(service);
    bool deploys = !text_equal(id, first_deployment(change.service));
    bool seen = change.service != NULL && change.service->events.count > 0;
    watch.context = context;
    watch.cluster = options->cluster;
    watch.service = options->service;
    watch.until_ms = watch.began_ms + options->timeout_ms;
    watch.manner = options->json ? WATCH_QUIET : isatty(STDOUT_FILENO) ? WATCH_SCREEN : WATCH_LINES;
    watch.rollout =
        deploys ? arena_text(&watch.arena, service->current_service_deployment) : (struct text){0};
    watch.last_event =
        seen ? arena_text(&watch.arena, change.service->events.items[0].id) : (struct text){0};
    struct report_deployed report = {
        .service_arn = arena_text(&watch.arena, service->service_arn),
        .task_definition_arn = arena_text(&watch.arena, change.after->task_definition_arn),
        .deployment_id = arena_text(&watch.arena, id),
        .service_deployment_arn = watch.rollout,
        .standings = {.items = SHAPE_EMPTY},
    };
    if (!options->json) {
        print_start(options, &change, deploys);
    }
    struct watch_end end = {0};
    rc = watch_run(&watch, &end, err);
    if (rc == 0) {
        rc = tell_end(context, options, &watch, &report, &end, err);
    }
    *out_status = exit_status(end.outcome);
    return rc;
}

int cli_deploy(int argc, char **argv)
{
    struct change_options options;
    if (change_read(argc, argv, "deploy", &options) != 0) {
        return CLI_USAGE;
    }
    struct err err;
    AUTO(cli_context_close) struct cli_context context = {0};
    int status = CLI_FAILED;
    int rc = cli_context_open(&context, options.data_dir, &err);
    if (rc == 0) {
        rc = deploy(&context, &options, &status, &err);
    }
    return rc == 0 ? status : cli_fail(&err);
}
