#include "cli/diagnose_service.h"

#include "base/text.h"
#include "cli/cause.h"
#include "cli/look.h"
#include "cli/watch.h"
#include "shape/json.h"

#include <stdio.h>

#define EVENTS_SHOWN 5
#define NEXT_MAX 4
#define LOOK_BACK_MS (3600 * INT64_C(1000)) // what failed longer ago says nothing of now
#define TASK_ID_SIZE 32

bool diagnose_names_task(struct text argument)
{
    if (text_starts(argument, TEXT("arn:"))) {
        struct text rest = argument;
        struct text resource = {0};
        while (rest.data != NULL) {
            resource = text_cut(&rest, ':');
        }
        return text_starts(resource, TEXT("task/"));
    }
    unsigned char bytes[TASK_ID_SIZE / 2];
    return argument.size == TASK_ID_SIZE && text_unhex(argument, bytes, sizeof(bytes)) == 0;
}

bool diagnose_service_steady(const struct ecs_service *service,
                             const struct report_standing_list *standings)
{
    if (!text_is(service->status, "ACTIVE") || standings->count != 1 ||
        service->running_count != service->desired_count || service->pending_count != 0) {
        return false;
    }
    const struct report_standing *only = &standings->items[0];
    return only->rollout_state == ECS_DEPLOYMENT_ROLLOUT_STATE_COMPLETED &&
           (!only->has_healthy_count || only->healthy_count == only->running_count);
}

// ---- what is concluded --------------------------------------------------------------------

static bool went_back(const struct ecs_service_deployment *rollout)
{
    return rollout != NULL && rollout->status == ECS_SERVICE_DEPLOYMENT_STATUS_ROLLBACK_SUCCESSFUL;
}

static struct text summary_of(const struct ecs_service *service,
                              const struct ecs_service_deployment *rollout,
                              const struct report_diagnosis *diagnosis, struct arena *arena)
{
    if (text_is(service->status, "DRAINING")) {
        return arena_format(arena, "It is deleted, and %d of its tasks are left.",
                            (int)(service->running_count + service->pending_count));
    }
    if (diagnosis->steady) {
        return went_back(rollout)
                   ? TEXT("It is steady again: its last deployment failed and was rolled back.")
                   : TEXT("It is steady.");
    }
    const struct report_standing *first =
        diagnosis->standings.count == 0 ? NULL : &diagnosis->standings.items[0];
    if (first == NULL) {
        return TEXT("It has no deployment.");
    }
    if (first->rollout_state == ECS_DEPLOYMENT_ROLLOUT_STATE_FAILED) {
        return TEXT("Its deployment failed, and there was none to roll back to.");
    }
    if (first->rollout_state == ECS_DEPLOYMENT_ROLLOUT_STATE_IN_PROGRESS) {
        return arena_format(arena, "A deployment of %.*s is under way for %.0f seconds%s",
                            TEXT_FMT(cli_short(first->task_definition_arn)), first->seconds,
                            diagnosis->causes.count > 0 ? ", and does not get on."
                                                        : "; nothing failed so far.");
    }
    bool ill = first->has_healthy_count && first->healthy_count < first->running_count;
    return ill ? TEXT("It has tasks that run and are not known to be healthy.")
               : TEXT("It has other tasks than it is to have.");
}

static void add_next(struct report_diagnosis *diagnosis, struct text line)
{
    for (size_t i = 0; i < diagnosis->next.count; i++) {
        if (text_equal(diagnosis->next.items[i], line)) {
            return;
        }
    }
    if (diagnosis->next.count < NEXT_MAX) {
        diagnosis->next.items[diagnosis->next.count] = line;
        diagnosis->next.count++;
    }
}

// Of each cause the first step; then the way back while a deployment does not get on, and the
// tasks.
static void fill_next(const struct diagnose_style *style, const struct ecs_service *service,
                      struct report_diagnosis *diagnosis, struct arena *arena)
{
    diagnosis->next.items = arena_array(arena, NEXT_MAX, sizeof(*diagnosis->next.items));
    if (diagnosis->steady) {
        return;
    }
    for (size_t i = 0; i < diagnosis->causes.count; i++) {
        const struct report_cause *cause = &diagnosis->causes.items[i];
        for (size_t j = 0; j < cause->next.count && (j == 0 || i == 0); j++) {
            add_next(diagnosis, cause->next.items[j]);
        }
    }
    bool data = style->data_dir != NULL;
    const char *dir = data ? style->data_dir : "";
    struct text cluster = cli_short(service->cluster_arn);
    for (size_t i = 1; i < diagnosis->standings.count && diagnosis->causes.count > 0; i++) {
        const struct report_standing *old = &diagnosis->standings.items[i];
        if (old->rollout_state == ECS_DEPLOYMENT_ROLLOUT_STATE_COMPLETED) {
            add_next(diagnosis,
                     arena_format(arena,
                                  "berth deploy%s%s --cluster %.*s %.*s --task-definition %.*s",
                                  data ? " --data " : "", dir, TEXT_FMT(cluster),
                                  TEXT_FMT(service->service_name),
                                  TEXT_FMT(cli_short(old->task_definition_arn))));
        }
    }
    if (diagnosis->next.count == 0) {
        add_next(diagnosis, arena_format(arena, "berth ps%s%s --cluster %.*s",
                                         data ? " --data " : "", dir, TEXT_FMT(cluster)));
    }
}

// ---- asking -------------------------------------------------------------------------------

static int find_causes(struct cli_context *context, const struct diagnose_style *style,
                       const struct ecs_service *service,
                       const struct ecs_service_deployment *rollout,
                       struct report_diagnosis *diagnosis, struct err *err)
{
    int64_t since_ms = style->now_ms - LOOK_BACK_MS;
    const struct cause_question question = {
        .service = service,
        .since_ms = rollout == NULL ? since_ms : MAX(rollout->started_at, since_ms),
    };
    int rc = cause_find(context, style, &question, &diagnosis->causes, err);
    if (rc == 0 && diagnosis->causes.count == 0 && !diagnosis->steady) {
        rc = cause_find_slow(context, style, service, &diagnosis->causes, err);
    }
    return rc;
}

static int examine(struct cli_context *context, const struct diagnose_style *style,
                   const struct ecs_service *service, struct report_diagnosis *out, struct err *err)
{
    const struct ecs_service_deployment *rollout = NULL;
    int rc = look_rollout(context, service->current_service_deployment, &rollout, err);
    *out = (struct report_diagnosis){
        .service_arn = service->service_arn,
        .status = service->status,
        .has_steady = true,
        .task_definition_arn = service->task_definition,
        .has_desired_count = true,
        .desired_count = service->desired_count,
        .has_running_count = true,
        .running_count = service->running_count,
        .has_pending_count = true,
        .pending_count = service->pending_count,
    };
    AUTO(look_checks_deinit) struct look_checks checks = {0};
    if (rc == 0) {
        rc = look_standings(context, service, &checks, style->now_ms, &out->standings, err);
    }
    if (rc != 0) {
        return rc;
    }
    out->steady = diagnose_service_steady(service, &out->standings);
    if (rollout != NULL) {
        out->service_deployment_status = rollout->status;
        out->service_deployment_reason = rollout->status_reason;
    }
    rc = find_causes(context, style, service, rollout, out, err);
    if (rc != 0) {
        return rc;
    }
    out->summary = summary_of(service, rollout, out, &context->arena);
    out->events.count = MIN(service->events.count, (size_t)EVENTS_SHOWN);
    out->events.items = arena_array(&context->arena, out->events.count, sizeof(*out->events.items));
    for (size_t i = 0; i < out->events.count; i++) {
        out->events.items[i] = service->events.items[i].message;
    }
    fill_next(style, service, out, &context->arena);
    return 0;
}

// ---- telling ------------------------------------------------------------------------------

static void print(const struct diagnose_style *style, const struct ecs_service *service,
                  const struct report_diagnosis *diagnosis, struct arena *arena)
{
    printf("service    %.*s in cluster %.*s, %.*s: %d of %d tasks of %.*s run, %d pending\n",
           TEXT_FMT(service->service_name), TEXT_FMT(cli_short(service->cluster_arn)),
           TEXT_FMT(service->status), (int)service->running_count, (int)service->desired_count,
           TEXT_FMT(cli_short(service->task_definition)), (int)service->pending_count);
    printf("state      %.*s\n", TEXT_FMT(diagnosis->summary));
    const struct report_cause *first =
        diagnosis->causes.count == 0 ? NULL : &diagnosis->causes.items[0];
    if (cause_adds(first, diagnosis->service_deployment_reason)) {
        printf("because    %.*s\n", TEXT_FMT(diagnosis->service_deployment_reason));
    }
    AUTO(buf_deinit) struct buf table = {0};
    watch_write_table(&diagnosis->standings, &table);
    printf("%.*s", TEXT_FMT(buf_view(&table)));
    for (size_t i = 0; i < diagnosis->causes.count; i++) {
        cause_print(&diagnosis->causes.items[i]);
    }
    for (size_t i = 0; i < diagnosis->events.count; i++) {
        const struct ecs_service_event *event = &service->events.items[i];
        printf("%s  %.*s ago: %.*s\n", i == 0 ? "events   " : "         ",
               TEXT_FMT(cli_age(event->created_at, style->now_ms, arena)),
               TEXT_FMT(event->message));
    }
    cause_print_next(&diagnosis->next);
}

int diagnose_service(struct cli_context *context, const struct diagnose_style *style,
                     const struct diagnose_service *asked, bool *out_fine, struct err *err)
{
    const struct ecs_service *service = NULL;
    struct report_diagnosis diagnosis = {0};
    int rc = look_service(context, asked->cluster, asked->service, &service, err);
    if (rc == 0) {
        rc = examine(context, style, service, &diagnosis, err);
    }
    if (rc != 0) {
        return rc;
    }
    *out_fine = diagnosis.steady;
    if (asked->json) {
        AUTO(buf_deinit) struct buf json = {0};
        json_encode(&report_diagnosis_shape, &diagnosis, &json);
        printf("%.*s\n", (int)json.size, json.data);
    } else {
        print(style, service, &diagnosis, &context->arena);
    }
    return 0;
}
