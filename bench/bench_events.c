/*
 * What the event log costs: the processor time of the engine for tasks from RunTask to RUNNING and
 * back to STOPPED, and beside it that of taking their events in, with the writing of the files by
 * the worker told apart.
 *
 *     bench_events [DIRECTORY]   where the files are made, default /tmp
 */
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "ecs/ecs.h"
#include "ecs/service.h"
#include "ecs/task.h"
#include "identity/identity.h"
#include "place_region.h"
#include "server/event_log.h"
#include "vpc/vpc.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TASKS 20000
#define STEP 10 // tasks of a request

static const struct core_module *const modules[] = {&identity_module, &vpc_module, &ecs_module,
                                                    &task_module, &service_module};

struct sums {
    double engine_s;
    double events_s;
    double process_s; ///< all threads while events were taken in and written
    size_t events;
};

static double cpu_seconds(clockid_t clock)
{
    struct timespec time = {0};
    if (clock_gettime(clock, &time) != 0) {
        fprintf(stderr, "bench_events: processor time cannot be read\n");
        exit(1);
    }
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

// What is committed goes to the log, as in the server.
static void release(struct region *region, struct event_log *log, struct sums *sums)
{
    struct core_batch *batch = core_batch_take(region->core);
    double begin = cpu_seconds(CLOCK_THREAD_CPUTIME_ID);
    for (size_t i = 0; i < batch->effect_count; i++) {
        if (batch->effects[i].kind == CORE_EFFECT_EVENT) {
            sums->events++;
            if (log != NULL) {
                event_log_effect(log, &batch->effects[i]);
            }
        }
    }
    sums->events_s += cpu_seconds(CLOCK_THREAD_CPUTIME_ID) - begin;
    core_batch_free(batch);
}

static void report(struct region *region, struct text arn, const char *status)
{
    const struct ecs_submit_task_state_change_request request = {.task = arn,
                                                                 .status = text_of(status)};
    region_ask(region, &ecs_operations[ECS_OP_SUBMIT_TASK_STATE_CHANGE], &request);
}

static void run_step(struct region *region, struct event_log *log, struct sums *sums)
{
    const struct ecs_run_task_request request = {.cluster = TEXT("c"),
                                                 .task_definition = TEXT("job"),
                                                 .has_count = true,
                                                 .count = STEP,
                                                 .launch_type = ECS_LAUNCH_TYPE_EC2};
    double begin = cpu_seconds(CLOCK_THREAD_CPUTIME_ID);
    double before = sums->events_s;
    const struct ecs_run_task_response *response =
        region_ask(region, &ecs_operations[ECS_OP_RUN_TASK], &request);
    char *arns[STEP];
    if (response->tasks.count != STEP) {
        fprintf(stderr, "bench_events: placed %zu of %d\n", response->tasks.count, STEP);
        exit(1);
    }
    for (size_t i = 0; i < STEP; i++) {
        arns[i] = alloc_format("%.*s", TEXT_FMT(response->tasks.items[i].task_arn));
    }
    release(region, log, sums);
    for (size_t i = 0; i < STEP; i++) {
        report(region, text_of(arns[i]), "RUNNING");
    }
    release(region, log, sums);
    for (size_t i = 0; i < STEP; i++) {
        report(region, text_of(arns[i]), "STOPPED");
        alloc_free(arns[i]);
    }
    release(region, log, sums);
    sums->engine_s += cpu_seconds(CLOCK_THREAD_CPUTIME_ID) - begin - (sums->events_s - before);
}

static void measure(const char *name, uv_loop_t *loop, const char *directory)
{
    struct region region = {0};
    region_make(&region, modules, ARRAY_LEN(modules));
    core_batch_free(core_batch_take(region.core));
    AUTO(alloc_string) char *dir = alloc_format("%s/bench-events", directory);
    const struct event_log_options options = {.loop = loop, .dir = dir};
    struct event_log *log = loop == NULL ? NULL : event_log_open(&options);
    struct sums sums = {0};
    double begin = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (size_t placed = 0; placed < TASKS; placed += STEP) {
        run_step(&region, log, &sums);
        if (loop != NULL) {
            uv_run(loop, UV_RUN_NOWAIT);
        }
    }
    event_log_close(log);
    sums.process_s = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) - begin;
    double other = sums.process_s - sums.engine_s - sums.events_s;
    printf("  %-12s engine %5.1f us/task, events %5.2f us each (%zu), worker and loop %5.2f us "
           "each\n",
           name, sums.engine_s * 1e6 / TASKS, sums.events_s * 1e6 / (double)sums.events,
           sums.events, other * 1e6 / (double)sums.events);
    region_free(&region);
    struct err err;
    IGNORE(file_remove_tree(AT_FDCWD, dir, &err) != 0, "a directory of the benchmark's own");
}

int main(int argc, char **argv)
{
    const char *directory = argc > 1 ? argv[1] : "/tmp";
    uv_loop_t loop;
    int rc = uv_loop_init(&loop);
    ASSERT(rc == 0);
    printf("events: %d tasks on %d instances, RunTask to RUNNING to STOPPED\n", TASKS,
           REGION_NODES);
    measure("without", NULL, directory);
    measure("with", &loop, directory);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return 0;
}
