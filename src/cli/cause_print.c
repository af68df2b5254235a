#include "cli/cause.h"

#include "base/text.h"

#include <stdio.h>

void cause_print_next(const struct text_list *next)
{
    for (size_t i = 0; i < next->count; i++) {
        printf("%s  %.*s\n", i == 0 ? "try:" : "    ", TEXT_FMT(next->items[i]));
    }
}

bool cause_adds(const struct report_cause *cause, struct text reason)
{
    if (text_empty(reason)) {
        return false;
    }
    struct text known = cause == NULL ? (struct text){0} : cause->stopped_reason;
    for (size_t i = 0; !text_empty(known) && i + known.size <= reason.size; i++) {
        if (text_starts(text_slice(reason, i, reason.size), known)) {
            return false;
        }
    }
    return true;
}

static void print_task(const struct report_cause *cause)
{
    printf("task       %.*s of %.*s on host %.*s\n", TEXT_FMT(cli_short(cause->task_arn)),
           TEXT_FMT(cli_short(cause->task_definition_arn)),
           TEXT_FMT(text_empty(cause->node_name) ? TEXT("none") : cause->node_name));
    if (cause->stop_code != ECS_TASK_STOP_CODE_ABSENT) {
        printf("stopped    %s: %.*s\n",
               shape_enum_name(&ecs_task_stop_code_shape, (int32_t)cause->stop_code),
               TEXT_FMT(cause->stopped_reason));
    }
    if (cause->container.data == NULL) {
        return;
    }
    printf("container  %.*s, image %.*s", TEXT_FMT(cause->container), TEXT_FMT(cause->image));
    if (cause->has_exit_code) {
        printf(", exit code %d", (int)cause->exit_code);
    }
    if (cause->health == ECS_HEALTH_STATUS_UNHEALTHY) {
        printf(", UNHEALTHY");
    }
    if (!text_empty(cause->reason) && !text_equal(cause->reason, cause->stopped_reason)) {
        printf(": %.*s", TEXT_FMT(cause->reason));
    }
    printf("\n");
    for (size_t i = 0; i < cause->logs.count; i++) {
        printf("%s  %.*s\n", i == 0 ? "its log  " : "         ", TEXT_FMT(cause->logs.items[i]));
    }
}

void cause_print(const struct report_cause *cause)
{
    printf("cause      %.*s", TEXT_FMT(cause->kind));
    if (cause->times > 1) {
        printf(", %d %s", (int)cause->times, cause->unplaced != NULL ? "times" : "tasks");
    }
    printf(": %.*s\n", TEXT_FMT(cause->summary));
    if (cause->unplaced != NULL) {
        diagnose_print_hosts(cause->unplaced);
    } else {
        print_task(cause);
    }
}
