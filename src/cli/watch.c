#include "cli/watch.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define STEP_MS 250       // between two looks: often enough for an eye
#define EVENTS_SHOWN 6    // on a screen
#define WIDTH_UNKNOWN 100 // characters

void watch_deinit(struct watch *watch)
{
    look_checks_deinit(&watch->checks);
    arena_deinit(&watch->arena);
    *watch = (struct watch){0};
}

// ---- whether it is over -------------------------------------------------------------------

// Without a deployment of its own, a change is done when there are as many tasks as desired.
static enum report_outcome judge_count(const struct ecs_service *service)
{
    const struct ecs_deployment *first =
        service->deployments.count == 0 ? NULL : &service->deployments.items[0];
    if (first != NULL && first->rollout_state == ECS_DEPLOYMENT_ROLLOUT_STATE_FAILED) {
        return REPORT_OUTCOME_FAILED;
    }
    bool there = service->running_count == service->desired_count && service->pending_count == 0;
    return there && service->deployments.count <= 1 ? REPORT_OUTCOME_COMPLETED
                                                    : REPORT_OUTCOME_ABSENT;
}

enum report_outcome watch_judge(const struct ecs_service *service,
                                const struct ecs_service_deployment *rollout, struct text asked)
{
    if (rollout == NULL) {
        return judge_count(service);
    }
    switch (rollout->status) {
    case ECS_SERVICE_DEPLOYMENT_STATUS_SUCCESSFUL:
        return REPORT_OUTCOME_COMPLETED;
    case ECS_SERVICE_DEPLOYMENT_STATUS_STOPPED:
        return text_equal(service->current_service_deployment, asked) ? REPORT_OUTCOME_FAILED
                                                                      : REPORT_OUTCOME_SUPERSEDED;
    case ECS_SERVICE_DEPLOYMENT_STATUS_ROLLBACK_SUCCESSFUL:
        return REPORT_OUTCOME_ROLLED_BACK;
    case ECS_SERVICE_DEPLOYMENT_STATUS_ROLLBACK_FAILED:
        return REPORT_OUTCOME_ROLLBACK_FAILED;
    case ECS_SERVICE_DEPLOYMENT_STATUS_ABSENT:
    case ECS_SERVICE_DEPLOYMENT_STATUS_UNRECOGNIZED:
    case ECS_SERVICE_DEPLOYMENT_STATUS_PENDING:
    case ECS_SERVICE_DEPLOYMENT_STATUS_STOP_REQUESTED:
    case ECS_SERVICE_DEPLOYMENT_STATUS_IN_PROGRESS:
    case ECS_SERVICE_DEPLOYMENT_STATUS_ROLLBACK_REQUESTED:
    case ECS_SERVICE_DEPLOYMENT_STATUS_ROLLBACK_IN_PROGRESS:
        break;
    }
    return REPORT_OUTCOME_ABSENT;
}

// ---- how it looks -------------------------------------------------------------------------

static const char *state_name(const struct report_standing *standing)
{
    const char *name =
        shape_enum_name(&ecs_deployment_rollout_state_shape, (int32_t)standing->rollout_state);
    return name == NULL ? "-" : name;
}

void watch_write_table(const struct report_standing_list *standings, struct buf *out)
{
    static const char *const headings[] = {"DEPLOYMENT", "STATUS",  "DEFINITION", "STATE",
                                           "DESIRED",    "PENDING", "RUNNING",    "HEALTHY",
                                           "FAILED",     "SECONDS"};
    AUTO(cli_table_deinit) struct cli_table table;
    cli_table_init(&table, ARRAY_LEN(headings), headings);
    for (size_t i = 0; i < standings->count; i++) {
        const struct report_standing *standing = &standings->items[i];
        cli_table_cell(&table, standing->deployment_id);
        cli_table_cell(&table, standing->status);
        cli_table_cell(&table, cli_short(standing->task_definition_arn));
        cli_table_cell(&table, text_of(state_name(standing)));
        cli_table_number(&table, standing->desired_count);
        cli_table_number(&table, standing->pending_count);
        cli_table_number(&table, standing->running_count);
        if (standing->has_healthy_count) {
            cli_table_number(&table, standing->healthy_count);
        } else {
            cli_table_cell(&table, (struct text){0});
        }
        cli_table_number(&table, standing->failed_tasks);
        cli_table_cell(&table, arena_format(&table.arena, "%.1f", standing->seconds));
    }
    cli_table_write(&table, out);
}

void watch_write_lines(const struct report_standing_list *standings, struct buf *out)
{
    for (size_t i = 0; i < standings->count; i++) {
        const struct report_standing *standing = &standings->items[i];
        buf_format(out, "%.*s %.*s %.*s %s: desired %d, pending %d, running %d, ",
                   TEXT_FMT(standing->deployment_id), TEXT_FMT(standing->status),
                   TEXT_FMT(cli_short(standing->task_definition_arn)), state_name(standing),
                   (int)standing->desired_count, (int)standing->pending_count,
                   (int)standing->running_count);
        if (standing->has_healthy_count) {
            buf_format(out, "healthy %d, ", (int)standing->healthy_count);
        }
        buf_format(out, "failed %d\n", (int)standing->failed_tasks);
    }
}

size_t watch_write_cut(struct text content, size_t width, struct buf *out)
{
    size_t lines = 0;
    size_t column = 0;
    for (size_t i = 0; i < content.size; i++) {
        unsigned char byte = (unsigned char)content.data[i];
        if (byte == '\n') {
            buf_byte(out, '\n');
            lines++;
            column = 0;
            continue;
        }
        column += (byte & 0xc0) != 0x80; // not the middle of a character
        if (column <= width) {
            buf_byte(out, (char)byte);
        }
    }
    return lines;
}

static int write_out(const struct buf *content, struct err *err)
{
    return fd_write_all(STDOUT_FILENO, content->data, content->size, err);
}

// What stands there is wiped and written anew, in one write so that nothing flickers.
static int draw(struct watch *watch, const struct report_standing_list *standings, struct err *err)
{
    AUTO(buf_deinit) struct buf content = {0};
    watch_write_table(standings, &content);
    size_t first = watch->event_count > EVENTS_SHOWN ? watch->event_count - EVENTS_SHOWN : 0;
    for (size_t i = first; i < watch->event_count; i++) {
        buf_format(&content, "%.*s\n", TEXT_FMT(watch->events[i]));
    }
    struct winsize size = {0};
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    AUTO(buf_deinit) struct buf screen = {0};
    if (watch->lines > 0) {
        buf_format(&screen, "\033[%zuA\r\033[J", watch->lines);
    }
    watch->lines =
        watch_write_cut(buf_view(&content), known ? size.ws_col : WIDTH_UNKNOWN, &screen);
    return write_out(&screen, err);
}

static int tell(struct watch *watch, const struct report_standing_list *standings,
                size_t new_events, int64_t now_ms, struct err *err)
{
    AUTO(buf_deinit) struct buf lines = {0};
    watch_write_lines(standings, &lines);
    AUTO(buf_deinit) struct buf content = {0};
    for (size_t i = watch->event_count - new_events; i < watch->event_count; i++) {
        buf_format(&content, "        %.*s\n", TEXT_FMT(watch->events[i]));
    }
    struct text rest = buf_view(&lines);
    struct text told = watch->told;
    double seconds = (double)(now_ms - watch->began_ms) / 1000.0;
    while (rest.data != NULL && rest.size > 0) {
        struct text line = text_cut(&rest, '\n');
        bool known = false;
        for (struct text old = told; old.data != NULL && old.size > 0 && !known;) {
            known = text_equal(text_cut(&old, '\n'), line);
        }
        if (!known) {
            buf_format(&content, "%6.1fs %.*s\n", seconds, TEXT_FMT(line));
        }
    }
    if (!text_equal(told, buf_view(&lines))) {
        watch->told = arena_text(&watch->arena, buf_view(&lines));
    }
    return content.size == 0 ? 0 : write_out(&content, err);
}

// ---- looking ------------------------------------------------------------------------------

// Remember events that are newer than the last one. @return how many
static size_t note_events(struct watch *watch, const struct ecs_service *service)
{
    size_t fresh = 0;
    while (fresh < service->events.count &&
           !text_equal(service->events.items[fresh].id, watch->last_event)) {
        fresh++;
    }
    size_t noted = 0;
    for (size_t i = fresh; i > 0 && watch->event_count < WATCH_EVENTS_MAX; i--) {
        watch->events[watch->event_count] =
            arena_text(&watch->arena, service->events.items[i - 1].message);
        watch->event_count++;
        noted++;
    }
    if (fresh > 0) {
        watch->last_event = arena_text(&watch->arena, service->events.items[0].id);
    }
    return noted;
}

static int look(struct watch *watch, struct watch_end *out, struct err *err)
{
    arena_reset(&watch->context->arena);
    int rc = look_service(watch->context, watch->cluster, watch->service, &out->service, err);
    if (rc == 0) {
        rc = look_rollout(watch->context, watch->rollout, &out->rollout, err);
    }
    if (rc == 0) {
        rc = look_standings(watch->context, out->service, &watch->checks, clock_wall_ms(),
                            &out->standings, err);
    }
    if (rc == 0) {
        out->outcome = watch_judge(out->service, out->rollout, watch->rollout);
    }
    return rc;
}

static int show(struct watch *watch, const struct watch_end *now, size_t new_events,
                struct err *err)
{
    switch (watch->manner) {
    case WATCH_QUIET:
        return 0;
    case WATCH_LINES:
        return tell(watch, &now->standings, new_events, clock_wall_ms(), err);
    case WATCH_SCREEN:
        return draw(watch, &now->standings, err);
    }
    return 0;
}

static int watch_until(struct watch *watch, int interrupts, struct watch_end *out_end,
                       struct err *err)
{
    for (;;) {
        struct watch_end now = {0};
        int rc = look(watch, &now, err);
        bool away = rc == ERR_CLOSED || rc == ERR_TIMEOUT;
        if (rc == 0) {
            rc = show(watch, &now, note_events(watch, now.service), err);
        }
        if (rc != 0 && !(away && clock_wall_ms() < watch->until_ms)) {
            return rc;
        }
        if (!away && now.outcome == REPORT_OUTCOME_ABSENT && clock_wall_ms() >= watch->until_ms) {
            now.outcome = REPORT_OUTCOME_TIMED_OUT;
        }
        struct pollfd pressed = {.fd = interrupts, .events = POLLIN};
        if (now.outcome == REPORT_OUTCOME_ABSENT && poll(&pressed, 1, STEP_MS) > 0) {
            // Taken, so that it does not end the command before it has said what goes on.
            struct signalfd_siginfo taken;
            IGNORE(read(interrupts, &taken, sizeof(taken)), "it is there, as poll said");
            now.outcome = REPORT_OUTCOME_INTERRUPTED;
        }
        if (now.outcome != REPORT_OUTCOME_ABSENT) {
            *out_end = now;
            return 0;
        }
    }
}

int watch_run(struct watch *watch, struct watch_end *out_end, struct err *err)
{
    sigset_t interrupt;
    sigset_t before;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    sigprocmask(SIG_BLOCK, &interrupt, &before);
    int interrupts = signalfd(-1, &interrupt, SFD_CLOEXEC);
    if (interrupts < 0) {
        return err_sys(err, errno, "waiting for Ctrl-C");
    }
    int rc = watch_until(watch, interrupts, out_end, err);
    close(interrupts);
    // A second Ctrl-C, while what happened is printed, ends the command.
    sigprocmask(SIG_SETMASK, &before, NULL);
    return rc;
}
