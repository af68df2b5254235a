#include "sim.h"

#include "base/mutant.h"
#include "base/text.h"
#include "ecs/ecs.h"
#include "ecs/service.h"
#include "ecs/task.h"
#include "identity/identity.h"
#include "vpc/vpc.h"

#include <string.h>

/*
 * The server: the real engine, driven as src/server/host.c does. Inputs are applied at once; what
 * they changed is written in batches, one at a time; replies and effects wait until their batch is
 * durable. The store is in memory and outlives the process; a crash loses what was not written.
 */

#define WORK_PER_TURN 128
#define TIMER_MAX_MS 10000

static const struct core_module *const modules[] = {
    &identity_module, &vpc_module, &ecs_module, &task_module, &service_module, &watch_module};

static void arm(struct server *server);

static int64_t wall_ms(const struct server *server)
{
    return SIM_EPOCH_MS + server->sim->world.now_ms + server->offset_ms;
}

static int64_t engine_now_ms(const struct server *server)
{
    if (MUTANT("stop-the-clock")) {
        return MAX(server->clock.now_ms, wall_ms(server));
    }
    return core_clock_peek(&server->clock, wall_ms(server), server->sim->world.now_ms);
}

static void make_input(struct server *server, struct core_input *out_input)
{
    int64_t now_ms = engine_now_ms(server);
    server->input_ms = now_ms;
    out_input->now_ms = core_clock_take(&server->clock, wall_ms(server), server->sim->world.now_ms);
    if (MUTANT("stop-the-clock")) {
        server->clock.now_ms = now_ms;
        out_input->now_ms = now_ms;
    }
    for (size_t i = 0; i < sizeof(out_input->entropy); i += sizeof(uint64_t)) {
        uint64_t bits = world_random(&server->sim->world);
        memcpy(out_input->entropy + i, &bits, sizeof(bits));
    }
}

// ---- writing ------------------------------------------------------------------------------

static void let_out(struct server *server, const struct core_batch *batch)
{
    for (size_t i = 0; i < batch->effect_count; i++) {
        check_effect(server->sim, &batch->effects[i]);
        session_effect(server->sim, &batch->effects[i]);
        hooks_effect(server->sim, &batch->effects[i]);
    }
}

static void release_waits(struct server *server)
{
    size_t done = 0;
    while (done < server->wait_count && server->waits[done].version <= server->version_durable) {
        server->waits[done].done(server->waits[done].call);
        done++;
    }
    server->wait_count -= done;
    if (server->wait_count > 0) {
        memmove(server->waits, server->waits + done, server->wait_count * sizeof(*server->waits));
    }
}

static void release_batch(struct server *server, struct core_batch *batch)
{
    if (batch->version < server->version_durable) {
        world_fail(&server->sim->world, "version %llu follows %llu",
                   (unsigned long long)batch->version, (unsigned long long)server->version_durable);
    }
    server->version_durable = batch->version;
    if (!MUTANT("skip-commit-wait")) {
        let_out(server, batch);
    }
    core_batch_free(batch);
    release_waits(server);
}

static bool write_rows(struct server *server, struct store *store, const struct core_batch *batch,
                       bool may_fail)
{
    AUTO(alloc_free) void *block = alloc_array(batch->row_count, sizeof(struct store_row));
    struct store_row *rows = block;
    for (size_t i = 0; i < batch->row_count; i++) {
        rows[i] = (struct store_row){
            .key = batch->rows[i].key,
            .kind = batch->rows[i].kind,
            .bytes = batch->rows[i].bytes,
        };
    }
    struct err err = {0};
    if (store_write(store, batch->version, rows, batch->row_count, &err) != 0) {
        if (may_fail) {
            return false;
        }
        world_fail(&server->sim->world, "the store refuses a batch: %s", err.text);
    }
    return true;
}

static void write_batch(struct server *server)
{
    write_rows(server, server->store, server->batch, false);
    if (server->twin != NULL) {
        write_rows(server, server->twin, server->batch, false);
    }
    check_durable(server->sim, server->batch);
}

static void flush(struct server *server);

static void on_written(void *context, void *payload)
{
    (void)payload;
    struct server *server = context;
    struct core_batch *batch = server->batch;
    write_batch(server);
    server->batch = NULL;
    release_batch(server, batch);
    flush(server);
    arm(server);
}

static int64_t write_delay_ms(struct sim *sim)
{
    if (faults_host(sim)) {
        return world_between(&sim->world, 50, 1500); // a disk that hesitates
    }
    return world_between(&sim->world, 1, 12);
}

static void flush(struct server *server)
{
    struct core_batch *batch = server->batch == NULL ? core_batch_take(server->core) : NULL;
    if (batch == NULL) {
        return;
    }
    if (MUTANT("skip-commit-wait")) {
        let_out(server, batch);
    }
    if (batch->row_count == 0) {
        if (batch->version != server->version_durable) {
            world_fail(&server->sim->world, "a batch without rows has a version of its own");
        }
        release_batch(server, batch);
        return;
    }
    server->batch = batch;
    world_post(&server->sim->world, &(struct world_event){
                                        .delay_ms = write_delay_ms(server->sim),
                                        .life = &server->life,
                                        .run = on_written,
                                        .context = server,
                                    });
    faults_moment(server->sim, NULL);
}

static void on_flush(void *context, void *payload)
{
    (void)payload;
    struct server *server = context;
    server->flush_posted = false;
    flush(server);
}

// ---- turns --------------------------------------------------------------------------------

static void on_timer(void *context, void *payload)
{
    (void)payload;
    struct server *server = context;
    server->armed_ms = -1;
    int64_t due_ms = core_next_due(server->core);
    if (due_ms >= 0 && due_ms <= engine_now_ms(server)) {
        struct core_input input;
        make_input(server, &input);
        core_advance(server->core, &input, WORK_PER_TURN);
        server->touched = true;
        flush(server);
    }
    arm(server);
}

// Decide when the next turn must come.
static void arm(struct server *server)
{
    struct world *world = &server->sim->world;
    int64_t due_ms = core_next_due(server->core);
    if (due_ms < 0) {
        return;
    }
    int64_t wait_ms = MIN(MAX(due_ms - engine_now_ms(server), INT64_C(0)), TIMER_MAX_MS);
    int64_t at_ms = world->now_ms + wait_ms;
    if (server->armed_ms >= 0 && server->armed_ms <= at_ms) {
        return;
    }
    server->armed_ms = at_ms;
    server->arm_life++;
    world_post(world, &(struct world_event){.delay_ms = wait_ms,
                                            .life = &server->arm_life,
                                            .run = on_timer,
                                            .context = server});
}

int server_request(struct server *server, const struct core_caller *caller,
                   const struct api_operation *operation, struct core_call *call,
                   const void *request, void *response)
{
    struct core_input input;
    make_input(server, &input);
    server->before_version = core_version(server->core);
    struct rehearsed rehearsed = {0};
    rehearse(server->sim, &input, caller, operation, request, &rehearsed);
    int rc = core_request(server->core, &input, caller, operation, call, request, response);
    server->touched = true;
    const struct applied applied = {.caller = caller,
                                    .operation = operation,
                                    .request = request,
                                    .response = response,
                                    .rc = rc,
                                    .fault = call->fault,
                                    .fault_text = call->fault_text};
    check_applied(server->sim, &applied);
    rehearse_compare(server->sim, &rehearsed, &applied);
    arena_deinit(&rehearsed.arena);
    if (!server->flush_posted) {
        // What comes within the same turn of the loop makes one batch.
        server->flush_posted = true;
        world_post(&server->sim->world,
                   &(struct world_event){.delay_ms = world_between(&server->sim->world, 0, 1),
                                         .life = &server->life,
                                         .run = on_flush,
                                         .context = server});
    }
    arm(server);
    return rc;
}

void server_wait(struct server *server, struct call *call, void (*done)(struct call *call))
{
    uint64_t version = core_version(server->core);
    if (version <= server->version_durable || MUTANT("skip-commit-wait")) {
        done(call);
        return;
    }
    if (server->wait_count == server->wait_capacity) {
        server->wait_capacity = MAX(server->wait_capacity * 2, (size_t)16);
        server->waits = alloc_resize(server->waits, server->wait_capacity, sizeof(*server->waits));
    }
    server->waits[server->wait_count++] =
        (struct server_wait){.version = version, .done = done, .call = call};
}

bool server_caller(const struct server *server, const struct node *node, bool stranger,
                   struct core_caller *out_caller)
{
    const struct core_caller person = {
        .account = TEXT(SIM_ACCOUNT),
        .region = TEXT("eu-west-1"),
        .arn = TEXT("arn:aws:iam::" SIM_ACCOUNT ":root"),
        .key_id = TEXT("BERTHSIMKEY"),
    };
    const struct core_caller other = {
        .account = TEXT(SIM_STRANGER),
        .region = TEXT("eu-west-1"),
        .arn = TEXT("arn:aws:iam::" SIM_STRANGER ":root"),
        .key_id = TEXT("BERTHOTHERKEY"),
    };
    *out_caller = stranger ? other : person;
    if (node == NULL) {
        return true;
    }
    const struct identity_record_access_key *key =
        identity_key(server->core, text_of(node->key_id));
    if (key == NULL) {
        return false;
    }
    out_caller->arn = text_of(node->node_id); // borrowed from what outlives the call
    out_caller->node_id = text_of(node->node_id);
    out_caller->key_id = text_of(node->key_id);
    return true;
}

// ---- life ---------------------------------------------------------------------------------

/** What was loaded: rows go to the engine, when there is one, and into a sum. */
struct loading {
    struct core *core;
    uint64_t sum;
};

static int load_row(void *context, int64_t key, uint16_t kind, struct text bytes, struct err *err)
{
    struct loading *loading = context;
    loading->sum = (loading->sum * 31 + (uint64_t)key) * 31 + kind + text_hash(bytes);
    return loading->core == NULL ? 0 : core_load(loading->core, key, kind, bytes, err);
}

// One seed in ten has the real store, on a disk that fails.
static void open_store(struct server *server)
{
    struct sim *sim = server->sim;
    bool first = server->store == NULL && server->twin == NULL;
    if (first && world_chance(&sim->world, 100)) {
        server->disk = disk_new(&sim->world);
        server->twin = store_memory_new();
    } else if (first) {
        server->store = store_memory_new();
    }
    struct err err = {0};
    if (server->disk != NULL &&
        store_sqlite_open(disk_path(server->disk), &server->store, &err) != 0) {
        world_fail(&sim->world, "the database cannot be opened: %s", err.text);
    }
}

// The process is gone, and perhaps the power: what was being written is there or not.
static void crash_store(struct server *server)
{
    struct world *world = &server->sim->world;
    bool power = world_chance(world, 500);
    server->sim->churn.counts[power ? ACT_DISK_POWER : ACT_DISK_KILLED]++;
    if (server->batch != NULL) {
        disk_fail_after(server->disk, (int)world_between(world, 0, 12));
        write_rows(server, server->store, server->batch, true);
        server->doubt = server->batch;
        server->batch = NULL;
    }
    disk_stop(server->disk); // nothing is brought in order at the end
    store_close(server->store);
    server->store = NULL;
    disk_fail_after(server->disk, -1);
    if (power) {
        disk_lose_power(server->disk);
    }
}

// What was loaded must be all that was durable, with the batch in doubt or without it.
static void check_store(struct server *server, uint64_t version, uint64_t sum)
{
    struct sim *sim = server->sim;
    if (server->doubt != NULL) {
        bool written = version == server->doubt->version;
        sim->churn.counts[written ? ACT_DISK_WRITTEN : ACT_DISK_CUT]++;
        if (written) {
            write_rows(server, server->twin, server->doubt, false);
            check_durable(sim, server->doubt);
        }
        core_batch_free(server->doubt);
        server->doubt = NULL;
    }
    struct loading twin = {0};
    struct err err = {0};
    uint64_t twin_version = 0;
    if (server->twin != NULL &&
        (store_load(server->twin, load_row, &twin, &twin_version, &err) != 0 ||
         twin_version != version || twin.sum != sum)) {
        world_fail(&sim->world, "the database has version %llu, and not what was written in %llu",
                   (unsigned long long)version, (unsigned long long)twin_version);
    }
}

void server_start(struct sim *sim)
{
    struct server *server = &sim->server;
    server->sim = sim;
    open_store(server);
    if (sim->world.failed) {
        return;
    }
    watch_begin(sim);
    server->core = core_new(modules, ARRAY_LEN(modules));
    core_measure(server->core);
    server->life++;
    server->arm_life++;
    server->armed_ms = -1;
    server->clock = (struct core_clock){0};
    server->flush_posted = false;
    server->session_count = 0;
    server->steady_ms = sim->world.now_ms;
    server->started_ms = sim->world.now_ms;
    // Small, so that addresses are used again within a run.
    vpc_set_default_cidr(server->core, TEXT("172.31.0.0/24"));
    struct err err = {0};
    uint64_t version = 0;
    struct loading loading = {.core = server->core};
    if (store_load(server->store, load_row, &loading, &version, &err) != 0) {
        world_fail(&sim->world, "the store cannot be loaded: %s", err.text);
        return;
    }
    check_store(server, version, loading.sum);
    core_set_version(server->core, version);
    server->version_durable = version;
    ledger_rollback(sim, version);
    check_loaded(sim);
    ledger_check(sim, "after a restart");
    if (server->retention_ms != 0) {
        task_set_retention_ms(server->core, server->retention_ms);
    }
    if (sim->services.settle_ms != 0) {
        service_set_settle_ms(server->core, sim->services.settle_ms);
    }
    watch_loaded(sim);
    struct core_input input;
    make_input(server, &input);
    core_recover(server->core, &input);
    task_set_endpoints(server->core, TEXT("http://sim/acs"), TEXT("http://sim/tcs"));
    server->touched = true;
    world_trace(&sim->world, "server starts at version %llu", (unsigned long long)version);
    flush(server);
    arm(server);
}

void server_crash(struct sim *sim)
{
    struct server *server = &sim->server;
    if (server->core == NULL) {
        return;
    }
    bool written = server->disk == NULL && server->batch != NULL && world_chance(&sim->world, 500);
    world_trace(&sim->world, "server dies%s",
                server->batch == NULL ? ""
                : written             ? ", its batch written"
                                      : ", its batch lost");
    if (written) {
        write_batch(server);
    }
    if (server->disk != NULL) {
        crash_store(server);
    }
    core_batch_free(server->batch);
    server->batch = NULL;
    server->wait_count = 0;
    server->life++;
    server->arm_life++;
    core_free(server->core);
    server->core = NULL;
    sim->crash_counts[0]++;
    call_server_gone(sim);
    session_server_gone(sim, world_chance(&sim->world, 800));
}

void server_deinit(struct server *server)
{
    core_batch_free(server->batch);
    core_batch_free(server->doubt);
    core_free(server->core);
    store_close(server->store);
    store_close(server->twin);
    disk_free(server->disk);
    alloc_free(server->waits);
    arena_deinit(&server->scratch);
}
