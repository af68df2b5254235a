/*
 * What a placement costs at 10,000 nodes: from RunTask as the engine's input to its committed
 * record.
 *
 * Batches form as in the server: the engine goes on while the batch before is written by a thread
 * of its own. Then the same rows go raw into SQLite, which is the floor. Memory is what the heap
 * grew by per task that runs, with all indexes and its network interface.
 *
 *     bench_place [DIRECTORY]      where the database files are made and removed; default /tmp
 */
#include "api/berth.h"
#include "api/node.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "core/core.h"
#include "ecs/ecs.h"
#include "ecs/place.h"
#include "ecs/service.h"
#include "ecs/task.h"
#include "identity/identity.h"
#include "store/store.h"
#include "vpc/vpc.h"

#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODES 10000
#define TASKS 50000
#define ACCOUNTS 6              // a default VPC has some 12,000 addresses
#define PENDING_MAX (32u << 20) // bytes that may gather while a batch is written
#define NOW_MS INT64_C(1700000000000)

static const struct core_module *const modules[] = {&identity_module, &vpc_module, &ecs_module,
                                                    &task_module, &service_module};

/** Where tasks go, and how many a request asks for. */
struct scenario {
    const char *name;
    bool fargate;
    bool running; ///< report each task RUNNING, for the memory of one that runs
    int32_t count;
};

/** The engine and who asks. */
struct bench {
    struct core *core;
    struct arena arena;
    uint64_t serial;
    struct core_caller caller;
    char accounts[ACCOUNTS][13];
    struct text subnets[ACCOUNTS][3];
    struct arena kept; ///< lives as long as the bench
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

static struct core_input next_input(struct bench *bench)
{
    struct core_input input = {.now_ms = NOW_MS};
    bench->serial++;
    memcpy(input.entropy, &bench->serial, sizeof(bench->serial));
    return input;
}

static void *ask(struct bench *bench, const struct api_operation *operation, const void *request)
{
    arena_reset(&bench->arena);
    void *response = arena_alloc(&bench->arena, operation->output->size_bytes);
    struct core_call call = {.arena = &bench->arena};
    const struct core_input input = next_input(bench);
    int rc = core_request(bench->core, &input, &bench->caller, operation, &call, request, response);
    if (rc != 0) {
        fprintf(stderr, "bench_place: %s: %s\n", operation->name, call.fault_text);
        exit(1);
    }
    return response;
}

// ---- the region ---------------------------------------------------------------------------

static void make_account(struct bench *bench, size_t account)
{
    snprintf(bench->accounts[account], sizeof(bench->accounts[0]), "%012zu", account + 1);
    bench->caller.account = text_of(bench->accounts[account]);
    const struct ecs_create_cluster_request cluster = {.cluster_name = TEXT("c")};
    ask(bench, &ecs_operations[ECS_OP_CREATE_CLUSTER], &cluster);
    struct ecs_key_value_pair environment[] = {{TEXT("LOG_LEVEL"), TEXT("info")},
                                               {TEXT("PORT"), TEXT("8080")}};
    struct ecs_port_mapping port = {.has_container_port = true, .container_port = 8080};
    struct ecs_container_definition container = {
        .name = TEXT("app"),
        .image = TEXT("registry.example.com/team/app:1.2.3"),
        .has_cpu = true,
        .cpu = 256,
        .has_memory = true,
        .memory = 512,
        .environment = {environment, ARRAY_LEN(environment)},
    };
    struct ecs_register_task_definition_request definition = {
        .family = TEXT("job"),
        .container_definitions = {&container, 1},
    };
    ask(bench, &ecs_operations[ECS_OP_REGISTER_TASK_DEFINITION], &definition);
    enum ecs_compatibility fargate = ECS_COMPATIBILITY_FARGATE;
    container.port_mappings.items = &port;
    container.port_mappings.count = 1;
    definition.family = TEXT("web");
    definition.network_mode = ECS_NETWORK_MODE_AWSVPC;
    definition.cpu = TEXT("256");
    definition.memory = TEXT("512");
    definition.requires_compatibilities.items = &fargate;
    definition.requires_compatibilities.count = 1;
    ask(bench, &ecs_operations[ECS_OP_REGISTER_TASK_DEFINITION], &definition);
    const struct berth_describe_network_request network = {0};
    const struct berth_describe_network_response *shown =
        ask(bench, &berth_operations[BERTH_OP_DESCRIBE_NETWORK], &network);
    for (size_t i = 0; i < 3; i++) {
        bench->subnets[account][i] = arena_text(&bench->kept, shown->subnets.items[i].subnet_id);
    }
}

static void make_node(struct bench *bench, size_t node, struct text id, struct text secret)
{
    bench->caller.node_id = (struct text){0};
    char name[40];
    snprintf(name, sizeof(name), "host-%zu", node);
    const struct berth_join_node_request join = {
        .token_id = id, .token_secret = secret, .name = text_of(name)};
    const struct berth_join_node_response *joined =
        ask(bench, &berth_operations[BERTH_OP_JOIN_NODE], &join);
    bench->caller.node_id = arena_text(&bench->kept, joined->node_id);
    static const char *const zones[] = {"eu-west-1a", "eu-west-1b", "eu-west-1c"};
    struct ecs_resource resources[] = {
        {.name = TEXT("CPU"),
         .type = TEXT("INTEGER"),
         .has_integer_value = true,
         .integer_value = 16384},
        {.name = TEXT("MEMORY"),
         .type = TEXT("INTEGER"),
         .has_integer_value = true,
         .integer_value = 65536},
    };
    struct ecs_attribute attributes[] = {
        {.name = TEXT("ecs.availability-zone"), .value = text_of(zones[node % 3])},
        {.name = TEXT("com.amazonaws.ecs.capability.docker-remote-api.1.18")},
        {.name = TEXT("com.amazonaws.ecs.capability.docker-remote-api.1.24")},
        {.name = TEXT("ecs.capability.container-health-check")},
        {.name = TEXT("ecs.capability.container-ordering")},
        {.name = TEXT("ecs.capability.task-cpu-mem-limit")},
        {.name = TEXT("ecs.capability.task-eni")},
        {.name = TEXT("berth.capacity"), .value = TEXT("FARGATE")},
    };
    struct ecs_register_container_instance_request request = {
        .cluster = TEXT("c"),
        .total_resources = {resources, ARRAY_LEN(resources)},
        .attributes = {attributes, ARRAY_LEN(attributes) - 1},
    };
    ask(bench, &ecs_operations[ECS_OP_REGISTER_CONTAINER_INSTANCE], &request);
    request.attributes.count = ARRAY_LEN(attributes);
    const struct ecs_register_container_instance_response *response =
        ask(bench, &ecs_operations[ECS_OP_REGISTER_CONTAINER_INSTANCE], &request);
    const struct node_node_connect_request connect = {
        .has_session = true,
        .session = (int64_t)node + 1,
        .container_instance_arn =
            arena_text(&bench->kept, response->container_instance->container_instance_arn),
        .has_berth_agent = true,
        .berth_agent = true,
    };
    ask(bench, &node_operations[NODE_OP_NODE_CONNECT], &connect);
}

static void make_region(struct bench *bench)
{
    bench->core = core_new(modules, ARRAY_LEN(modules));
    bench->caller.region = TEXT("eu-west-1");
    bench->caller.arn = TEXT("arn:aws:iam::000000000001:root");
    const struct core_input input = next_input(bench);
    core_recover(bench->core, &input);
    for (size_t i = ACCOUNTS; i > 0; i--) {
        make_account(bench, i - 1);
    }
    const struct berth_create_join_token_request request = {.has_uses = true, .uses = NODES};
    const struct berth_create_join_token_response *made =
        ask(bench, &berth_operations[BERTH_OP_CREATE_JOIN_TOKEN], &request);
    struct text secret = arena_text(&bench->kept, made->token);
    struct text id = text_cut(&secret, '.');
    for (size_t i = 0; i < NODES; i++) {
        make_node(bench, i, id, secret);
    }
    bench->caller.node_id = (struct text){0};
}

static void free_region(struct bench *bench)
{
    core_free(bench->core);
    arena_deinit(&bench->arena);
    arena_deinit(&bench->kept);
    *bench = (struct bench){0};
}

// ---- requests -----------------------------------------------------------------------------

static void report_running(struct bench *bench, const struct text *arns, size_t count)
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
            .pull_started_at = NOW_MS,
            .pull_stopped_at = NOW_MS,
        };
        ask(bench, &ecs_operations[ECS_OP_SUBMIT_TASK_STATE_CHANGE], &request);
    }
}

static void run_once(struct bench *bench, const struct scenario *scenario, size_t placed)
{
    size_t account = scenario->fargate ? placed / (TASKS / ACCOUNTS + 1) : 0;
    bench->caller.account = text_of(bench->accounts[account]);
    struct ecs_aws_vpc_configuration config = {.subnets = {bench->subnets[account], 3}};
    struct ecs_network_configuration network = {.awsvpc_configuration = &config};
    const struct ecs_run_task_request request = {
        .cluster = TEXT("c"),
        .task_definition = scenario->fargate ? TEXT("web") : TEXT("job"),
        .has_count = true,
        .count = scenario->count,
        .launch_type = scenario->fargate ? ECS_LAUNCH_TYPE_FARGATE : ECS_LAUNCH_TYPE_EC2,
        .network_configuration = scenario->fargate ? &network : NULL,
    };
    const struct ecs_run_task_response *response =
        ask(bench, &ecs_operations[ECS_OP_RUN_TASK], &request);
    if (response->tasks.count != (size_t)scenario->count) {
        fprintf(stderr, "bench_place: placed %zu of %d after %zu: %.*s\n", response->tasks.count,
                (int)scenario->count, placed, TEXT_FMT(response->failures.items[0].detail));
        exit(1);
    }
    if (scenario->running) {
        struct text arns[10];
        for (size_t i = 0; i < response->tasks.count; i++) {
            char *copy = alloc_format("%.*s", TEXT_FMT(response->tasks.items[i].task_arn));
            arns[i] = text_of(copy);
        }
        size_t count = response->tasks.count;
        report_running(bench, arns, count);
        for (size_t i = 0; i < count; i++) {
            alloc_free((void *)(uintptr_t)arns[i].data);
        }
    }
}

// ---- the writer's thread ------------------------------------------------------------------

struct writer {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct store *store;
    struct core_batch *batch; ///< to write; NULL when idle
    bool written;
    bool stop;
    size_t batch_count;
};

static void write_rows(struct store *store, const struct core_batch *batch)
{
    AUTO(alloc_free) void *block = alloc_array(batch->row_count, sizeof(struct store_row));
    struct store_row *rows = block;
    for (size_t i = 0; i < batch->row_count; i++) {
        rows[i] = (struct store_row){batch->rows[i].key, batch->rows[i].kind, batch->rows[i].bytes};
    }
    struct err err = {0};
    stop_on(store_write(store, batch->version, rows, batch->row_count, &err), &err);
}

static void *write_batches(void *context)
{
    struct writer *writer = context;
    pthread_mutex_lock(&writer->mutex);
    for (;;) {
        while (!writer->stop && (writer->batch == NULL || writer->written)) {
            pthread_cond_wait(&writer->changed, &writer->mutex);
        }
        if (writer->stop) {
            break;
        }
        pthread_mutex_unlock(&writer->mutex);
        write_rows(writer->store, writer->batch);
        pthread_mutex_lock(&writer->mutex);
        writer->written = true;
        writer->batch_count++;
        pthread_cond_signal(&writer->changed);
    }
    pthread_mutex_unlock(&writer->mutex);
    return NULL;
}

// Hand over what gathered when the writer is free, or wait for it.
static void hand_over(struct writer *writer, struct core *core, bool wait)
{
    pthread_mutex_lock(&writer->mutex);
    while (wait && writer->batch != NULL && !writer->written) {
        pthread_cond_wait(&writer->changed, &writer->mutex);
    }
    struct core_batch *done = NULL;
    if (writer->batch == NULL || writer->written) {
        done = writer->batch;
        writer->batch = core_batch_take(core);
        writer->written = false;
        pthread_cond_signal(&writer->changed);
    }
    pthread_mutex_unlock(&writer->mutex);
    core_batch_free(done);
}

static void writer_start(struct writer *writer, struct store *store)
{
    *writer = (struct writer){.store = store};
    pthread_mutex_init(&writer->mutex, NULL);
    pthread_cond_init(&writer->changed, NULL);
    if (pthread_create(&writer->thread, NULL, write_batches, writer) != 0) {
        fprintf(stderr, "bench_place: cannot start a thread\n");
        exit(1);
    }
}

static void writer_stop(struct writer *writer)
{
    pthread_mutex_lock(&writer->mutex);
    writer->stop = true;
    pthread_cond_signal(&writer->changed);
    pthread_mutex_unlock(&writer->mutex);
    pthread_join(writer->thread, NULL);
    pthread_mutex_destroy(&writer->mutex);
    pthread_cond_destroy(&writer->changed);
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
    struct bench bench = {0};
    make_region(&bench);
    struct store *store = open_store(directory, "place.db");
    struct core_batch *region = core_batch_take(bench.core);
    write_rows(store, region);
    core_batch_free(region);
    struct writer writer;
    writer_start(&writer, store);
    int64_t begin_ns = clock_monotonic_ns();
    for (size_t placed = 0; placed < TASKS; placed += (size_t)scenario->count) {
        run_once(&bench, scenario, placed);
        hand_over(&writer, bench.core, core_pending_bytes(bench.core) > PENDING_MAX);
    }
    hand_over(&writer, bench.core, true);
    hand_over(&writer, bench.core, true);
    double seconds = seconds_since(begin_ns);
    *out_batches = writer.batch_count;
    writer_stop(&writer);
    store_close(store);
    free_region(&bench);
    return seconds;
}

/** What the engine alone gives: time, rows to write again, memory. */
struct alone {
    double seconds;
    double raw_seconds;
    size_t rows;
    size_t row_bytes;
    size_t task_bytes;
};

static void run_alone(const char *directory, const struct scenario *scenario, size_t batch_count,
                      struct alone *out_alone)
{
    struct bench bench = {0};
    make_region(&bench);
    struct store *store = open_store(directory, "raw.db");
    core_batch_free(core_batch_take(bench.core));
    *out_alone = (struct alone){0};
    size_t before = mallinfo2().uordblks;
    size_t step = MAX((size_t)1, TASKS / MAX(batch_count, (size_t)1));
    size_t next = step;
    int64_t begin_ns = clock_monotonic_ns();
    for (size_t placed = 0; placed < TASKS; placed += (size_t)scenario->count) {
        run_once(&bench, scenario, placed);
        if (placed + (size_t)scenario->count >= MIN(next, (size_t)TASKS)) {
            next += step;
            struct core_batch *batch = core_batch_take(bench.core);
            out_alone->seconds += seconds_since(begin_ns);
            out_alone->rows += batch->row_count;
            for (size_t i = 0; i < batch->row_count; i++) {
                out_alone->row_bytes += batch->rows[i].bytes.size;
            }
            begin_ns = clock_monotonic_ns();
            write_rows(store, batch);
            out_alone->raw_seconds += seconds_since(begin_ns);
            begin_ns = clock_monotonic_ns();
            core_batch_free(batch);
        }
    }
    out_alone->seconds += seconds_since(begin_ns);
    size_t held = mallinfo2().uordblks - before;
    out_alone->task_bytes = held / TASKS;
    store_close(store);
    free_region(&bench);
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
    const struct core_input input = {.now_ms = NOW_MS};
    core_recover(core, &input);
    printf("restart: %zu tasks with their interfaces on %zu nodes in %.2f s\n",
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
    for (int64_t i = 1; i <= NODES; i++) {
        const struct place_node node = {true, PLACE_ANY, 1024, 2048, 10, (int32_t)(NODES - i), 1};
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
    printf("worst scan of %d nodes: %.1f us (found %lld)\n", NODES, seconds_since(begin_ns) * 1e3,
           (long long)(sum / 1000));
    place_set_deinit(&set);
}

static void measure(const char *directory, const struct scenario *scenario)
{
    struct err err = {0};
    stop_on(file_remove_tree(AT_FDCWD, directory, &err), &err);
    stop_on(file_make_dirs(directory, 0700, &err), &err);
    size_t batch_count = 0;
    double seconds = run_durable(directory, scenario, &batch_count);
    struct alone alone;
    run_alone(directory, scenario, batch_count, &alone);
    printf("%s: %d tasks on %d nodes\n", scenario->name, TASKS, NODES);
    printf("  committed:      %8.0f placements/s in %zu batches\n", TASKS / seconds, batch_count);
    printf("  engine alone:   %8.0f placements/s\n", TASKS / alone.seconds);
    printf("  SQLite alone:   %8.0f rows/s, %.1f rows a task of %zu bytes (the floor)\n",
           (double)alone.rows / alone.raw_seconds, (double)alone.rows / TASKS,
           alone.row_bytes / alone.rows);
    printf("  ratio to the floor: %.2f (1 is a free engine)\n", alone.raw_seconds / seconds);
    printf("  memory: %zu bytes a task\n", alone.task_bytes);
}

int main(int argc, char **argv)
{
    static const struct scenario scenarios[] = {
        {"instances, one task a request", false, false, 1},
        {"instances, ten tasks a request", false, false, 10},
        {"Fargate with interfaces, one task a request", true, false, 1},
        {"Fargate with interfaces, ten tasks a request", true, false, 10},
        {"Fargate, ten a request, each reported RUNNING", true, true, 10},
    };
    AUTO(alloc_string)
    char *directory = alloc_format("%s/berth-bench-XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (mkdtemp(directory) == NULL) {
        fprintf(stderr, "bench_place: cannot make a directory like %s\n", directory);
        return 1;
    }
    measure_scan();
    for (size_t i = 0; i < ARRAY_LEN(scenarios); i++) {
        measure(directory, &scenarios[i]);
    }
    measure_restart(directory);
    struct err err = {0};
    stop_on(file_remove_tree(AT_FDCWD, directory, &err), &err);
    return 0;
}
