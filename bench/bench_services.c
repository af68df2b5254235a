/*
 * Services at the size of a large region: 2,000 container instances, ten services of 5,000 tasks.
 *
 * The engine, its scheduler and the SQLite store are the real ones; the nodes are this program,
 * which answers each payload as an agent would: acknowledged, RUNNING, or STOPPED. Time is virtual,
 * so that a wait costs nothing; what is measured is processor time, of the writer's thread, too,
 * and the wall time beside it.
 *
 * bench_services DIRECTORY [SERVICES]
 */
#include "place_region.h"
#include "place_writer.h"

#include "api/node.h"
#include "api/session.h"
#include "base/clock.h"
#include "base/text.h"
#include "ecs/ecs.h"
#include "ecs/service.h"
#include "ecs/task.h"
#include "identity/identity.h"
#include "vpc/vpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NODES 2000
#define SERVICES 10
#define TASKS_PER_SERVICE 5000 // ECS: of one service at most
#define STEP_MS 5              // of virtual time between two looks
#define SETTLE_MS 1000
#define TASK_LEAST_MS 20 // that a task takes to start or to end
#define TASK_MOST_MS 1000
#define ADVANCE_BUDGET 64
#define PROCESSOR_GOAL_S 10.0
#define ROLL_GOAL_S 20.0

static const struct core_module *const modules[] = {&identity_module, &vpc_module, &ecs_module,
                                                    &task_module, &service_module};

/** What a node is to report of a task. */
struct report {
    char *task_arn;
    char *node_id;
    bool running;
    int64_t due_ms; ///< a task takes its time to start and to end
};

struct bench {
    struct region region;
    struct store *store;
    struct report *reports;
    size_t report_count;
    size_t report_capacity;
    int64_t next_beat_ms;
    size_t started;
    size_t stopped;
    size_t batch_count;
    size_t row_count;
};

static double process_cpu_seconds(void)
{
    struct timespec time = {0};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

// ---- the nodes ------------------------------------------------------------------------------

static void add_report(struct bench *bench, struct text task_arn, struct text node_id, bool running)
{
    if (bench->report_count == bench->report_capacity) {
        bench->report_capacity = MAX((size_t)1024, 2 * bench->report_capacity);
        bench->reports =
            alloc_resize(bench->reports, bench->report_capacity, sizeof(*bench->reports));
    }
    bench->reports[bench->report_count] = (struct report){
        .task_arn = alloc_format("%.*s", TEXT_FMT(task_arn)),
        .node_id = alloc_format("%.*s", TEXT_FMT(node_id)),
        .running = running,
        .due_ms = bench->region.now_ms + TASK_LEAST_MS +
                  (int64_t)(text_hash(task_arn) % (TASK_MOST_MS - TASK_LEAST_MS)),
    };
    bench->report_count++;
}

static void read_payload(struct bench *bench, const struct core_effect *effect)
{
    const struct session_payload_message *payload = effect->message;
    for (size_t i = 0; i < payload->tasks.count; i++) {
        const struct session_task_spec *task = &payload->tasks.items[i];
        add_report(bench, task->task_arn, effect->target, text_is(task->desired_status, "RUNNING"));
    }
    bench->region.caller.node_id = effect->target;
    const struct node_node_ack_request ack = {.message_id = payload->message_id};
    region_ask(&bench->region, &node_operations[NODE_OP_NODE_ACK], &ack);
}

static void send_report(struct bench *bench, const struct report *report)
{
    bench->region.caller.node_id = text_of(report->node_id);
    struct ecs_container_state_change container = {
        .container_name = TEXT("app"),
        .status = report->running ? TEXT("RUNNING") : TEXT("STOPPED"),
        .has_exit_code = !report->running,
        .exit_code = 143,
    };
    const struct ecs_submit_task_state_change_request request = {
        .task = text_of(report->task_arn),
        .status = container.status,
        .containers = {&container, 1},
    };
    region_ask(&bench->region, &ecs_operations[ECS_OP_SUBMIT_TASK_STATE_CHANGE], &request);
    bench->started += report->running;
    bench->stopped += !report->running;
}

static void beat_all(struct bench *bench)
{
    for (size_t i = 0; i < bench->region.node_count; i++) {
        bench->region.caller.node_id = bench->region.node_ids[i];
        const struct node_node_empty empty = {0};
        region_ask(&bench->region, &node_operations[NODE_OP_NODE_BEAT], &empty);
    }
}

// ---- the server -----------------------------------------------------------------------------

// Write what gathered, then let its effects out, as the server does.
static void commit(struct bench *bench)
{
    struct core_batch *batch = core_batch_take(bench->region.core);
    if (batch == NULL) {
        return;
    }
    writer_rows(bench->store, batch);
    bench->batch_count++;
    bench->row_count += batch->row_count;
    for (size_t i = 0; i < batch->effect_count; i++) {
        const struct core_effect *effect = &batch->effects[i];
        if (effect->kind == CORE_EFFECT_NODE && strcmp(effect->type, "PayloadMessage") == 0) {
            read_payload(bench, effect);
        }
    }
    core_batch_free(batch);
}

static void step(struct bench *bench)
{
    struct region *region = &bench->region;
    region->now_ms += STEP_MS;
    if (region->now_ms >= bench->next_beat_ms) {
        beat_all(bench);
        bench->next_beat_ms = region->now_ms + 1000;
    }
    struct core_input input = region_input(region);
    while (core_advance(region->core, &input, ADVANCE_BUDGET)) {
        commit(bench);
        input = region_input(region);
    }
    commit(bench);
    // Those that are due are sent, the others move up. Nothing is added meanwhile: reports come
    // from commits only.
    struct report *reports = bench->reports;
    size_t count = bench->report_count;
    bench->report_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (reports[i].due_ms > region->now_ms) {
            bench->reports[bench->report_count] = reports[i];
            bench->report_count++;
            continue;
        }
        send_report(bench, &reports[i]);
        alloc_free(reports[i].task_arn);
        alloc_free(reports[i].node_id);
    }
    commit(bench);
}

static void as_root(struct bench *bench)
{
    bench->region.caller.account = text_of(bench->region.accounts[0]);
    bench->region.caller.node_id = (struct text){0};
}

static struct text service_label(char *room, size_t number)
{
    snprintf(room, 32, "service-%zu", number);
    return text_of(room);
}

static bool completed(struct bench *bench, size_t number)
{
    char room[32];
    struct text name = service_label(room, number);
    as_root(bench);
    const struct ecs_describe_services_request request = {.cluster = TEXT("c"),
                                                          .services = {&name, 1}};
    const struct ecs_describe_services_response *response =
        region_ask(&bench->region, &ecs_operations[ECS_OP_DESCRIBE_SERVICES], &request);
    const struct ecs_service *service = &response->services.items[0];
    return service->deployments.count == 1 && service->running_count == service->desired_count &&
           service->deployments.items[0].rollout_state == ECS_DEPLOYMENT_ROLLOUT_STATE_COMPLETED;
}

static void run_until_completed(struct bench *bench, size_t services)
{
    size_t done = 0;
    for (size_t i = 0; i < 1000 * 1000 && done < services; i++) {
        step(bench);
        if (i % 20 == 0) {
            while (done < services && completed(bench, done)) {
                done++;
            }
        }
    }
    if (done < services) {
        fprintf(stderr, "bench_services: service-%zu is never steady\n", done);
        exit(1);
    }
}

static void create(struct bench *bench, size_t services)
{
    for (size_t i = 0; i < services; i++) {
        char room[32];
        as_root(bench);
        const struct ecs_create_service_request request = {
            .cluster = TEXT("c"),
            .service_name = service_label(room, i),
            .task_definition = TEXT("job"),
            .has_desired_count = true,
            .desired_count = TASKS_PER_SERVICE,
            .launch_type = ECS_LAUNCH_TYPE_EC2,
        };
        region_ask(&bench->region, &ecs_operations[ECS_OP_CREATE_SERVICE], &request);
    }
}

static void update(struct bench *bench, size_t services)
{
    for (size_t i = 0; i < services; i++) {
        char room[32];
        as_root(bench);
        const struct ecs_update_service_request request = {
            .cluster = TEXT("c"),
            .service = service_label(room, i),
            .has_force_new_deployment = true,
            .force_new_deployment = true,
        };
        region_ask(&bench->region, &ecs_operations[ECS_OP_UPDATE_SERVICE], &request);
    }
}

// ---- the whole ------------------------------------------------------------------------------

static void measure(struct bench *bench, const char *what, size_t services, double goal_s,
                    void (*begin)(struct bench *, size_t))
{
    double cpu = process_cpu_seconds();
    int64_t begin_ns = clock_monotonic_ns();
    int64_t begin_ms = bench->region.now_ms;
    bench->started = bench->stopped = bench->batch_count = bench->row_count = 0;
    begin(bench, services);
    run_until_completed(bench, services);
    double spent = process_cpu_seconds() - cpu;
    printf("%-28s %6zu started, %6zu stopped; processor %6.2f s (goal %.0f), wall %6.2f s, virtual "
           "%5.1f s; %zu rows in %zu commits, %.0f us a task\n",
           what, bench->started, bench->stopped, spent, goal_s,
           (double)(clock_monotonic_ns() - begin_ns) / 1e9,
           (double)(bench->region.now_ms - begin_ms) / 1e3, bench->row_count, bench->batch_count,
           spent * 1e6 / (double)MAX(bench->started, (size_t)1));
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bench_services DIRECTORY [SERVICES]\n");
        return 2;
    }
    size_t services = argc > 2 ? (size_t)strtoul(argv[2], NULL, 10) : SERVICES;
    struct bench bench = {.region = {.node_count = NODES}};
    region_make(&bench.region, modules, ARRAY_LEN(modules));
    service_set_settle_ms(bench.region.core, SETTLE_MS);
    AUTO(alloc_string) char *path = alloc_format("%s/services.db", argv[1]);
    struct err err = {0};
    if (store_sqlite_open(path, &bench.store, &err) != 0) {
        fprintf(stderr, "bench_services: %s\n", err.text);
        return 1;
    }
    commit(&bench);
    printf("%d nodes, %zu services of %d tasks\n", NODES, services, TASKS_PER_SERVICE);
    measure(&bench, "create to steady", services, PROCESSOR_GOAL_S, create);
    measure(&bench, "rolling update of all", services, ROLL_GOAL_S, update);
    alloc_free(bench.reports);
    store_close(bench.store);
    region_free(&bench.region);
    return 0;
}
