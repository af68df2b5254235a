/*
 * What a placement costs at 10,000 nodes: from RunTask as the engine's input to its committed
 * record.
 *
 * Batches form as in the server: the engine goes on while the batch before is written by a thread
 * of its own. Then the same rows go raw into SQLite, which is the floor. The engine's share is told
 * in processor time as well, which a busy machine changes little. Memory is what the heap grew by
 * per task that runs, with all indexes and its network interface.
 *
 *     bench_place [DIRECTORY [CASE]]   where the database files are made and removed, default /tmp;
 *                                      only the cases whose names hold CASE
 */
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "ecs/ecs.h"
#include "ecs/place.h"
#include "ecs/service.h"
#include "ecs/task.h"
#include "identity/identity.h"
#include "place_region.h"
#include "place_writer.h"
#include "vpc/vpc.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TASKS 50000             // of a plain case
#define CHOSEN_BEFORE 20000     // of a case with constraints: plain ones that are there already
#define CHOSEN_TASKS 5000       // and then
#define PENDING_MAX (32u << 20) // bytes that may gather while a batch is written

static const struct core_module *const modules[] = {&identity_module, &vpc_module, &ecs_module,
                                                    &task_module, &service_module};

/** Where tasks go, and how many a request asks for. */
struct scenario {
    const char *name;
    const char *family;
    int32_t count;
    bool fargate;
    bool running;  ///< report each task RUNNING, for the memory of one that runs
    bool distinct; ///< constraint distinctInstance
    const char *member_of;
    struct ecs_placement_strategy strategies[2];
    size_t strategy_count;
    bool chosen; ///< of those whose place is chosen among all instances
};

static const struct scenario scenarios[] = {
    {.name = "instances, one task a request", .family = "job", .count = 1},
    {.name = "instances, ten tasks a request", .family = "job", .count = 10},
    {.name = "Fargate with interfaces, one task a request",
     .family = "web",
     .count = 1,
     .fargate = true},
    {.name = "Fargate with interfaces, ten tasks a request",
     .family = "web",
     .count = 10,
     .fargate = true},
    {.name = "Fargate, ten a request, each reported RUNNING",
     .family = "web",
     .count = 10,
     .fargate = true,
     .running = true},
    {.name = "chosen: distinctInstance",
     .family = "job",
     .count = 1,
     .distinct = true,
     .chosen = true},
    {.name = "chosen: memberOf attributes",
     .family = "job",
     .count = 1,
     .member_of = "attribute:ecs.availability-zone in [eu-west-1a, eu-west-1b] and "
                  "attribute:rack =~ r1.*",
     .chosen = true},
    {.name = "chosen: memberOf task:group",
     .family = "job",
     .count = 1,
     .member_of = "not(task:group == family:edge)",
     .chosen = true},
    {.name = "chosen: spread zones, binpack cpu",
     .family = "job",
     .count = 1,
     .strategies = {{ECS_PLACEMENT_STRATEGY_TYPE_SPREAD, TEXT("attribute:ecs.availability-zone")},
                    {ECS_PLACEMENT_STRATEGY_TYPE_BINPACK, TEXT("cpu")}},
     .strategy_count = 2,
     .chosen = true},
    {.name = "chosen: spread zones and instances, ten tasks a request",
     .family = "job",
     .count = 10,
     .strategies = {{ECS_PLACEMENT_STRATEGY_TYPE_SPREAD, TEXT("attribute:ecs.availability-zone")},
                    {ECS_PLACEMENT_STRATEGY_TYPE_SPREAD, TEXT("instanceId")}},
     .strategy_count = 2,
     .chosen = true},
    {.name = "chosen: a port of the host", .family = "edge", .count = 1, .chosen = true},
    {.name = "chosen: random",
     .family = "job",
     .count = 1,
     .strategies = {{ECS_PLACEMENT_STRATEGY_TYPE_RANDOM, {0}}},
     .strategy_count = 1,
     .chosen = true},
};

static void stop_on(int rc, const struct err *err)
{
    if (rc != 0) {
        fprintf(stderr, "bench_place: %s\n", err->text);
        exit(1);
    }
}

static double seconds_since(int64_t begin_ns)
{
    return (double)(clock_monotonic_ns() - begin_ns) / 1e9;
}

static double thread_cpu_seconds(void)
{
    struct timespec time = {0};
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time) != 0) {
        fprintf(stderr, "bench_place: a thread's processor time cannot be read\n");
        exit(1);
    }
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

// ---- requests -----------------------------------------------------------------------------

static void report_running(struct region *region, const struct text *arns, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct ecs_container_state_change container = {
            .container_name = TEXT("app"),
            .image_digest =
                TEXT("sha256:9b7cd0d1e1f9b1f6c7a3f2f1d6a5e4c3b2a190817263544536271809fadecbaa"),
            .runtime_id = TEXT("0123456789abcdef0123456789abcdef-0123456789"),
            .status = TEXT("RUNNING"),
        };
        const struct ecs_submit_task_state_change_request request = {
            .task = arns[i],
            .status = TEXT("RUNNING"),
            .containers = {&container, 1},
            .pull_started_at = REGION_NOW_MS,
            .pull_stopped_at = REGION_NOW_MS,
        };
        region_ask(region, &ecs_operations[ECS_OP_SUBMIT_TASK_STATE_CHANGE], &request);
    }
}

static void run_once(struct region *region, const struct scenario *scenario, size_t placed)
{
    size_t account = scenario->fargate ? placed / (TASKS / REGION_ACCOUNTS + 1) : 0;
    region->caller.account = text_of(region->accounts[account]);
    struct ecs_aws_vpc_configuration config = {.subnets = {region->subnets[account], 3}};
    struct ecs_network_configuration network = {.awsvpc_configuration = &config};
    struct ecs_placement_constraint constraints[2];
    size_t constraint_count = 0;
    if (scenario->distinct) {
        constraints[constraint_count] = (struct ecs_placement_constraint){
            .type = ECS_PLACEMENT_CONSTRAINT_TYPE_DISTINCT_INSTANCE};
        constraint_count++;
    }
    if (scenario->member_of != NULL) {
        constraints[constraint_count] =
            (struct ecs_placement_constraint){.type = ECS_PLACEMENT_CONSTRAINT_TYPE_MEMBER_OF,
                                              .expression = text_of(scenario->member_of)};
        constraint_count++;
    }
    const struct ecs_run_task_request request = {
        .cluster = TEXT("c"),
        .task_definition = text_of(scenario->family),
        .has_count = true,
        .count = scenario->count,
        .group = scenario->chosen ? TEXT("chosen") : (struct text){0},
        .launch_type = scenario->fargate ? ECS_LAUNCH_TYPE_FARGATE : ECS_LAUNCH_TYPE_EC2,
        .network_configuration = scenario->fargate ? &network : NULL,
        .placement_constraints = {constraints, constraint_count},
        .placement_strategy = {(struct ecs_placement_strategy *)(uintptr_t)scenario->strategies,
                               scenario->strategy_count},
    };
    const struct ecs_run_task_response *response =
        region_ask(region, &ecs_operations[ECS_OP_RUN_TASK], &request);
    if (response->tasks.count != (size_t)scenario->count) {
        fprintf(stderr, "bench_place: placed %zu of %d after %zu: %.*s\n", response->tasks.count,
                (int)scenario->count, placed, TEXT_FMT(response->failures.items[0].reason));
        exit(1);
    }
    if (scenario->running) {
        struct text arns[10];
        for (size_t i = 0; i < response->tasks.count; i++) {
            char *copy = alloc_format("%.*s", TEXT_FMT(response->tasks.items[i].task_arn));
            arns[i] = text_of(copy);
        }
        size_t count = response->tasks.count;
        report_running(region, arns, count);
        for (size_t i = 0; i < count; i++) {
            alloc_free((void *)(uintptr_t)arns[i].data);
        }
    }
}

static size_t task_count(const struct scenario *scenario)
{
    return scenario->chosen ? CHOSEN_TASKS : TASKS;
}

// A region, with the tasks that are there before the first that is measured.
static void prepare(struct region *region, const struct scenario *scenario)
{
    static const struct scenario before = {.family = "job", .count = 10};
    region_make(region, modules, ARRAY_LEN(modules));
    for (size_t placed = 0; scenario->chosen && placed < CHOSEN_BEFORE; placed += 10) {
        run_once(region, &before, placed);
    }
}

// ---- runs ---------------------------------------------------------------------------------

static struct store *open_store(const char *directory, const char *name)
{
    AUTO(alloc_string) char *path = alloc_format("%s/%s", directory, name);
    struct store *store = NULL;
    struct err err = {0};
    stop_on(store_sqlite_open(path, &store, &err), &err);
    return store;
}

// All placements with the store. @return seconds until the last is durable
static double run_durable(const char *directory, const struct scenario *scenario,
                          size_t *out_batches)
{
    struct region region = {0};
    prepare(&region, scenario);
    struct store *store = open_store(directory, "place.db");
    struct core_batch *made = core_batch_take(region.core);
    writer_rows(store, made);
    core_batch_free(made);
    struct writer writer;
    writer_start(&writer, store);
    int64_t begin_ns = clock_monotonic_ns();
    for (size_t placed = 0; placed < task_count(scenario); placed += (size_t)scenario->count) {
        run_once(&region, scenario, placed);
        writer_hand_over(&writer, region.core, core_pending_bytes(region.core) > PENDING_MAX);
    }
    writer_hand_over(&writer, region.core, true);
    writer_hand_over(&writer, region.core, true);
    double seconds = seconds_since(begin_ns);
    *out_batches = writer.batch_count;
    writer_stop(&writer);
    store_close(store);
    region_free(&region);
    return seconds;
}

/** What the engine alone gives: time, rows to write again, memory. */
struct alone {
    double seconds;
    double cpu_seconds;
    double raw_seconds;
    double raw_cpu_seconds;
    size_t rows;
    size_t row_bytes;
    size_t task_bytes;
};

static void run_alone(const char *directory, const struct scenario *scenario, size_t batch_count,
                      struct alone *out_alone)
{
    struct region region = {0};
    prepare(&region, scenario);
    struct store *store = open_store(directory, "raw.db");
    core_batch_free(core_batch_take(region.core));
    *out_alone = (struct alone){0};
    size_t before = mallinfo2().uordblks;
    size_t tasks = task_count(scenario);
    size_t step = MAX((size_t)1, tasks / MAX(batch_count, (size_t)1));
    size_t next = step;
    int64_t begin_ns = clock_monotonic_ns();
    double begin_cpu = thread_cpu_seconds();
    for (size_t placed = 0; placed < tasks; placed += (size_t)scenario->count) {
        run_once(&region, scenario, placed);
        if (placed + (size_t)scenario->count >= MIN(next, tasks)) {
            next += step;
            struct core_batch *batch = core_batch_take(region.core);
            out_alone->seconds += seconds_since(begin_ns);
            out_alone->cpu_seconds += thread_cpu_seconds() - begin_cpu;
            out_alone->rows += batch->row_count;
            for (size_t i = 0; i < batch->row_count; i++) {
                out_alone->row_bytes += batch->rows[i].bytes.size;
            }
            begin_ns = clock_monotonic_ns();
            begin_cpu = thread_cpu_seconds();
            writer_rows(store, batch);
            out_alone->raw_seconds += seconds_since(begin_ns);
            out_alone->raw_cpu_seconds += thread_cpu_seconds() - begin_cpu;
            begin_ns = clock_monotonic_ns();
            begin_cpu = thread_cpu_seconds();
            core_batch_free(batch);
        }
    }
    out_alone->seconds += seconds_since(begin_ns);
    out_alone->cpu_seconds += thread_cpu_seconds() - begin_cpu;
    size_t held = mallinfo2().uordblks - before;
    out_alone->task_bytes = held / tasks;
    store_close(store);
    region_free(&region);
}

static int load_row(void *context, int64_t key, uint16_t kind, struct text bytes, struct err *err)
{
    return core_load(context, key, kind, bytes, err);
}

// Read the database of the last scenario as a restart does.
static void measure_restart(const char *directory)
{
    struct store *store = open_store(directory, "place.db");
    struct core *core = core_new(modules, ARRAY_LEN(modules));
    struct err err = {0};
    uint64_t version = 0;
    int64_t begin_ns = clock_monotonic_ns();
    stop_on(store_load(store, load_row, core, &version, &err), &err);
    const struct core_input input = {.now_ms = REGION_NOW_MS};
    core_recover(core, &input);
    printf("  restart: %zu tasks with their interfaces on %zu nodes in %.2f s\n",
           core_count(core, &task_kind), core_count(core, &task_node_kind),
           seconds_since(begin_ns));
    store_close(store);
    core_free(core);
}

// A scan of placement's arrays alone, when no summary helps: every node has room but the last has
// the fewest tasks, and each block's fewest is less than the block's before.
static void measure_scan(void)
{
    struct place_set set = {0};
    for (int64_t i = 1; i <= REGION_NODES; i++) {
        const struct place_node node = {
            true, PLACE_ANY, 1024, 2048, 10, (int32_t)(REGION_NODES - i), 1};
        place_set_put(&set, i, &node);
    }
    const struct place_request request = {256, 512, true, PLACE_X86_64, 1};
    int64_t sum = 0;
    int64_t begin_ns = clock_monotonic_ns();
    for (size_t i = 0; i < 1000; i++) {
        int64_t node = 0;
        IGNORE(place_spread(&set, &request, &node, NULL), "it fits");
        sum += node;
    }
    printf("worst scan of %d nodes: %.1f us (found %lld)\n", REGION_NODES,
           seconds_since(begin_ns) * 1e3, (long long)(sum / 1000));
    place_set_deinit(&set);
}

static void measure(const char *directory, const struct scenario *scenario)
{
    struct err err = {0};
    stop_on(file_remove_tree(AT_FDCWD, directory, &err), &err);
    stop_on(file_make_dirs(directory, 0700, &err), &err);
    double tasks = (double)task_count(scenario);
    size_t batch_count = 0;
    double seconds = run_durable(directory, scenario, &batch_count);
    struct alone alone;
    run_alone(directory, scenario, batch_count, &alone);
    printf("%s: %.0f tasks on %d nodes\n", scenario->name, tasks, REGION_NODES);
    printf("  committed:      %8.0f placements/s in %zu batches\n", tasks / seconds, batch_count);
    printf("  engine alone:   %8.0f placements/s, %.1f us of processor time each\n",
           tasks / alone.seconds, alone.cpu_seconds / tasks * 1e6);
    printf(
        "  SQLite alone:   %8.0f rows/s, %.1f us of processor time each, %.1f rows a task of %zu "
        "bytes (the floor)\n",
        (double)alone.rows / alone.raw_seconds, alone.raw_cpu_seconds / (double)alone.rows * 1e6,
        (double)alone.rows / tasks, alone.row_bytes / alone.rows);
    printf("  ratio to the floor: %.2f (1 is a free engine)\n", alone.raw_seconds / seconds);
    printf("  memory: %zu bytes a task\n", alone.task_bytes);
    if (scenario->running) {
        measure_restart(directory);
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const char *wanted = argc > 2 ? argv[2] : "";
    AUTO(alloc_string)
    char *directory = alloc_format("%s/berth-bench-XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (mkdtemp(directory) == NULL) {
        fprintf(stderr, "bench_place: cannot make a directory like %s\n", directory);
        return 1;
    }
    measure_scan();
    for (size_t i = 0; i < ARRAY_LEN(scenarios); i++) {
        if (strstr(scenarios[i].name, wanted) != NULL) {
            measure(directory, &scenarios[i]);
        }
    }
    struct err err = {0};
    stop_on(file_remove_tree(AT_FDCWD, directory, &err), &err);
    return 0;
}
