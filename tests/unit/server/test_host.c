#include "server/host.h"

#include "base/clock.h"
#include "base/text.h"
#include "toy_service.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct core_caller caller;

// ---- a store that waits to be let go, or fails --------------------------------------------

struct gate {
    struct store store;
    struct store *inner;
    uv_sem_t go; // a write takes one when `gated`
    bool gated;
    uint64_t fail_from; // versions from here on fail; 0 for none
    bool full;          // the disk was found full before the host began
    size_t write_count;
    size_t row_counts[256];
};

static int gate_load(struct store *store, store_visit_fn visit, void *context,
                     uint64_t *out_version, struct err *err)
{
    return store_load(CONTAINER_OF(store, struct gate, store)->inner, visit, context, out_version,
                      err);
}

static int gate_write(struct store *store, uint64_t version, const struct store_row *rows,
                      size_t row_count, struct err *err)
{
    struct gate *gate = CONTAINER_OF(store, struct gate, store);
    if (gate->gated) {
        uv_sem_wait(&gate->go);
    }
    if (gate->fail_from != 0 && version >= gate->fail_from) {
        return err_set(err, ERR_FULL_DISK, "the disk is full");
    }
    gate->row_counts[gate->write_count % ARRAY_LEN(gate->row_counts)] = row_count;
    gate->write_count++;
    return store_write(gate->inner, version, rows, row_count, err);
}

static void gate_close(struct store *store)
{
    (void)store;
}

static const struct store_ops gate_ops = {
    .name = "gate", .load = gate_load, .write = gate_write, .close = gate_close};

// ---- a host with all it needs -------------------------------------------------------------

#define EVENTS_MAX 4096

struct world {
    uv_loop_t loop;
    struct gate gate;
    struct core *core;
    struct host *host;
    struct arena arena;
    struct core_call call;
    struct toy_item_response response;
    char events[EVENTS_MAX]; // what came out, in order
    struct err fatal;
    int fatal_count;
};

static void note(struct world *world, const char *what)
{
    size_t used = strlen(world->events);
    snprintf(world->events + used, sizeof(world->events) - used, "%s ", what);
}

static void on_effect(void *context, const struct core_effect *effect)
{
    char line[64];
    snprintf(line, sizeof(line), "effect:%.*s", TEXT_FMT(effect->target));
    note(context, line);
}

static void on_fatal(void *context, const struct err *err)
{
    struct world *world = context;
    world->fatal = *err;
    world->fatal_count++;
    note(world, "fatal");
}

static void begin(struct world *world)
{
    world->core = core_new(toy_modules, 1);
    const struct host_options options = {
        .loop = &world->loop,
        .core = world->core,
        .store = &world->gate.store,
        .read_only = world->gate.full,
        .on_effect = on_effect,
        .on_fatal = on_fatal,
        .context = world,
    };
    struct err err = {0};
    assert_int_equal(host_start(&options, &world->host, &err), 0);
}

static void end(struct world *world)
{
    host_stop(world->host);
    core_free(world->core);
    world->host = NULL;
    world->core = NULL;
    assert_int_equal(uv_run(&world->loop, UV_RUN_DEFAULT), 0);
}

static void world_init(struct world *world)
{
    memset(world, 0, sizeof(*world));
    assert_int_equal(uv_loop_init(&world->loop), 0);
    world->gate.store.ops = &gate_ops;
    world->gate.inner = store_memory_new();
    assert_int_equal(uv_sem_init(&world->gate.go, 0), 0);
    begin(world);
}

static void world_deinit(struct world *world)
{
    if (world->host != NULL) {
        end(world);
    }
    assert_int_equal(uv_loop_close(&world->loop), 0);
    uv_sem_destroy(&world->gate.go);
    store_close(world->gate.inner);
    arena_deinit(&world->arena);
}

AUTO_VALUE(struct world, world_deinit)

static int ask(struct world *world, int operation, const void *request)
{
    arena_reset(&world->arena);
    world->call = (struct core_call){.arena = &world->arena};
    world->response = (struct toy_item_response){0};
    return host_request(world->host, &caller, &toy_operations[operation], &world->call, request,
                        &world->response);
}

static int create(struct world *world, const char *name, int64_t expires_at)
{
    const struct toy_create_item_request request = {
        .name = text_of(name), .expires_at = expires_at, .has_announce = true, .announce = true};
    return ask(world, TOY_OP_CREATE_ITEM, &request);
}

static struct host_stats stats(const struct world *world)
{
    struct host_stats numbers;
    host_stats(world->host, &numbers);
    return numbers;
}

// Run the loop until nothing is left to do: all is durable, no write is under way.
static void settle(struct world *world)
{
    assert_int_equal(uv_run(&world->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(stats(world).version_durable, stats(world).version_applied);
}

/** A reply that waits. */
struct reply {
    struct host_wait wait;
    struct world *world;
    const char *name;
    struct reply *then; // waits in its turn once this one is done
    struct reply *cancels;
};

static void on_durable(struct host_wait *wait)
{
    struct reply *reply = CONTAINER_OF(wait, struct reply, wait);
    struct host_stats numbers = stats(reply->world);
    assert_true(wait->version <= numbers.version_durable);
    note(reply->world, reply->name);
    if (reply->cancels != NULL) {
        host_wait_cancel(reply->world->host, &reply->cancels->wait);
    }
    if (reply->then != NULL) {
        host_wait(reply->world->host, &reply->then->wait);
    }
}

static struct reply make_reply(struct world *world, const char *name)
{
    return (struct reply){.wait.done = on_durable, .world = world, .name = name};
}

// ---- commit, then speak -------------------------------------------------------------------

// While a write is under way nothing comes out; what was asked meanwhile is one batch, and then all
// comes out in order: effects, then replies.
static void nothing_leaves_before_it_is_durable(void **state)
{
    (void)state;
    AUTO(world_deinit) struct world world;
    world_init(&world);
    settle(&world);
    assert_int_equal(world.gate.write_count, 1); // the total, made by recover

    world.gate.gated = true;
    struct reply replies[5];
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    assert_int_equal(create(&world, "a", 0), 0);
    replies[0] = make_reply(&world, "a");
    host_wait(world.host, &replies[0].wait);
    uv_run(&world.loop, UV_RUN_NOWAIT); // hands the first batch to the writer
    for (size_t i = 1; i < 4; i++) {
        assert_int_equal(create(&world, names[i], 0), 0);
        replies[i] = make_reply(&world, names[i]);
        host_wait(world.host, &replies[i].wait);
        uv_run(&world.loop, UV_RUN_NOWAIT);
    }
    // A read waits for what it saw.
    const struct toy_item_request show = {.has_key = true, .key = world.response.key};
    assert_int_equal(ask(&world, TOY_OP_SHOW_ITEM, &show), 0);
    replies[4] = make_reply(&world, names[4]);
    host_wait(world.host, &replies[4].wait);
    uv_run(&world.loop, UV_RUN_NOWAIT);
    assert_string_equal(world.events, "");
    assert_int_equal(stats(&world).waiting_count, 5);
    assert_true(stats(&world).version_durable < stats(&world).version_applied);

    uv_sem_post(&world.gate.go);
    uv_sem_post(&world.gate.go);
    settle(&world);
    assert_string_equal(world.events, "effect:a a effect:b effect:c effect:d b c d e ");
    assert_int_equal(world.gate.write_count, 3);
    assert_int_equal(world.gate.row_counts[2], 4); // three items and their total
    assert_int_equal(stats(&world).batch_count, 3);
    assert_int_equal(stats(&world).waiting_count, 0);

    // What is durable already is answered at once.
    replies[0] = make_reply(&world, "now");
    world.events[0] = '\0';
    host_wait(world.host, &replies[0].wait);
    assert_string_equal(world.events, "now ");
    world.gate.gated = false;
}

static void waits_may_wait_again_and_be_taken_back(void **state)
{
    (void)state;
    AUTO(world_deinit) struct world world;
    world_init(&world);
    settle(&world);
    world.gate.gated = true;
    assert_int_equal(create(&world, "x", 0), 0);
    static const char *const names[] = {"1", "2", "3", "4", "5", "6"};
    struct reply replies[6];
    for (size_t i = 0; i < 6; i++) {
        replies[i] = make_reply(&world, names[i]);
    }
    replies[1].cancels = &replies[2]; // the next one
    replies[1].then = &replies[5];
    replies[3].cancels = &replies[0]; // over already
    for (size_t i = 0; i < 5; i++) {
        host_wait(world.host, &replies[i].wait);
    }
    host_wait_cancel(world.host, &replies[4].wait); // the last one
    struct reply last = make_reply(&world, "last");
    host_wait(world.host, &last.wait);
    host_wait_cancel(world.host, &replies[5].wait); // never began
    assert_int_equal(stats(&world).waiting_count, 5);
    uv_run(&world.loop, UV_RUN_NOWAIT);
    uv_sem_post(&world.gate.go);
    settle(&world);
    assert_string_equal(world.events, "effect:x 1 2 6 4 last ");
    assert_int_equal(stats(&world).waiting_count, 0);
    world.gate.gated = false;
}

static void refusals_and_unknown_operations_come_back(void **state)
{
    (void)state;
    AUTO(world_deinit) struct world world;
    world_init(&world);
    assert_int_equal(create(&world, "a", 0), 0);
    assert_int_equal(create(&world, "a", 0), ERR_FAULT);
    assert_ptr_equal(world.call.fault, &toy_error_toy_exception);
    const struct toy_item_request show = {.has_key = true, .key = 1};
    assert_int_equal(ask(&world, TOY_OP_UNBUILT, &show), ERR_UNSUPPORTED);
    assert_ptr_equal(host_core(world.host), world.core);
}

// ---- overload and failure -----------------------------------------------------------------

// When the store does not keep up, changes are refused at a bound, reads are not, and managers
// rest; once it does, all goes on.
static void changes_are_refused_when_commits_back_up(void **state)
{
    (void)state;
    AUTO(world_deinit) struct world world;
    world_init(&world);
    settle(&world);
    world.gate.gated = true;
    int rc = 0;
    int count = 0;
    int64_t key = 0;
    while (rc == 0 && count < 100000) {
        char name[16];
        snprintf(name, sizeof(name), "%d", count);
        rc = create(&world, name, 0);
        key = rc == 0 ? world.response.key : key;
        count += rc == 0;
        if (count == 1) {
            uv_run(&world.loop, UV_RUN_NOWAIT);
        }
    }
    assert_int_equal(rc, ERR_BUSY);
    assert_true(count > 1000);
    assert_true(count < 100000);
    uint64_t work_count = toy_work_count(world.core);
    const struct toy_item_request show = {.has_key = true, .key = key};
    assert_int_equal(ask(&world, TOY_OP_SHOW_ITEM, &show), 0);
    uv_run(&world.loop, UV_RUN_NOWAIT);
    assert_int_equal(toy_work_count(world.core), work_count);
    for (int i = 0; i < 3; i++) {
        uv_sem_post(&world.gate.go);
    }
    settle(&world);
    assert_int_equal(toy_work_count(world.core), work_count + 1);
    world.gate.gated = false;
    assert_int_equal(create(&world, "again", 0), 0);
    assert_int_equal(world.fatal_count, 0);
}

// After a failed write nothing may come out any more, whatever is asked.
static void a_failed_write_is_fatal(void **state)
{
    (void)state;
    AUTO(world_deinit) struct world world;
    world_init(&world);
    settle(&world);
    world.gate.fail_from = stats(&world).version_applied + 1;
    assert_int_equal(create(&world, "a", 0), 0);
    struct reply reply = make_reply(&world, "a");
    host_wait(world.host, &reply.wait);
    uv_run(&world.loop, UV_RUN_DEFAULT);
    assert_string_equal(world.events, "fatal ");
    assert_int_equal(world.fatal.code, ERR_FULL_DISK);
    assert_string_equal(world.fatal.text, "the disk is full");
    assert_int_equal(create(&world, "b", 0), ERR_BUSY);
    struct reply late = make_reply(&world, "late");
    host_wait(world.host, &late.wait);
    uv_run(&world.loop, UV_RUN_DEFAULT);
    end(&world);
    assert_string_equal(world.events, "fatal ");
    assert_int_equal(world.fatal_count, 1);
}

// On a full disk what reads is answered and may leave at once; what would change something is
// refused, and managers do nothing, also when their time has come.
static void a_full_disk_is_read_only(void **state)
{
    (void)state;
    AUTO(world_deinit) struct world world;
    world_init(&world);
    assert_int_equal(create(&world, "kept", 1), 0); // expired: a manager would take it away
    const int64_t key = world.response.key;
    end(&world);
    world.gate.full = true;
    size_t write_count = world.gate.write_count;
    begin(&world);
    assert_true(host_is_read_only(world.host));
    world.events[0] = '\0';
    const struct toy_item_request show = {.has_key = true, .key = key};
    for (int turn = 0; turn < 10; turn++) {
        assert_int_equal(create(&world, "more", 0), ERR_FULL_DISK);
        assert_int_equal(ask(&world, TOY_OP_SHOW_ITEM, &show), 0);
        struct reply reply = make_reply(&world, "read");
        host_wait(world.host, &reply.wait);
        uv_run(&world.loop, UV_RUN_NOWAIT);
    }
    assert_string_equal(world.events, "read read read read read read read read read read ");
    end(&world);
    assert_int_equal(world.gate.write_count, write_count);
    assert_int_equal(world.fatal_count, 0);

    world.gate.full = false;
    begin(&world);
    settle(&world);
    assert_int_equal(ask(&world, TOY_OP_SHOW_ITEM, &show), ERR_FAULT); // now its time has come
    assert_int_equal(create(&world, "more", 0), 0);
}

// Stopping writes what is outstanding, behind a write under way, and releases what waited.
static void stopping_completes_what_was_begun(void **state)
{
    (void)state;
    AUTO(world_deinit) struct world world;
    world_init(&world);
    settle(&world);
    world.gate.gated = true;
    assert_int_equal(create(&world, "a", 0), 0);
    uv_run(&world.loop, UV_RUN_NOWAIT);
    assert_int_equal(create(&world, "b", 0), 0);
    struct reply reply = make_reply(&world, "b");
    host_wait(world.host, &reply.wait);
    uv_sem_post(&world.gate.go);
    uv_sem_post(&world.gate.go);
    end(&world);
    assert_string_equal(world.events, "effect:a effect:b b ");
    assert_int_equal(world.gate.write_count, 3);

    // The next start finds it all.
    world.gate.gated = false;
    begin(&world);
    assert_true(toy_find(world.core, TEXT("a")) > 0);
    assert_true(toy_find(world.core, TEXT("b")) > 0);
    assert_int_equal(create(&world, "c", 0), 0);
    settle(&world);
    host_stop(NULL);
}

// ---- time and work ------------------------------------------------------------------------

// Stop the loop when the item is gone: the engine's timer alone makes that happen.
static void on_look(uv_timer_t *timer)
{
    struct world *world = timer->data;
    if (toy_find(world->core, TEXT("a")) == 0) {
        uv_close((uv_handle_t *)timer, NULL);
    }
}

// The one test here that needs real time, as the host's clock is the system's.
static void timers_fire_by_the_wall_clock(void **state)
{
    (void)state;
    AUTO(world_deinit) struct world world;
    world_init(&world);
    int64_t due_ms = clock_wall_ms() + 30;
    assert_int_equal(create(&world, "a", due_ms), 0);
    settle(&world);
    bool found = toy_find(world.core, TEXT("a")) > 0;
    assert_true(found || clock_wall_ms() >= due_ms);
    uv_timer_t timer = {.data = &world};
    uv_timer_init(&world.loop, &timer);
    uv_timer_start(&timer, on_look, 1, 5);
    settle(&world);
    assert_int_equal(toy_find(world.core, TEXT("a")), 0);
}

// However much work there is, requests get their turn: a turn does a bounded piece.
static void work_does_not_starve_requests(void **state)
{
    (void)state;
    AUTO(world_deinit) struct world world;
    world_init(&world);
    settle(&world);
    for (int i = 0; i < 2000; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%d", i);
        assert_int_equal(create(&world, name, 1), 0); // expired long ago
    }
    size_t before = core_count(world.core, &toy_kinds[TOY_ITEM]);
    assert_int_equal(before, 2000);
    size_t turns = 0;
    while (before > 0) {
        uv_run(&world.loop, UV_RUN_NOWAIT);
        size_t after = core_count(world.core, &toy_kinds[TOY_ITEM]);
        assert_true(after < before);
        assert_true(after + 500 > before);
        before = after;
        turns++;
    }
    assert_true(turns > 4);
    assert_int_equal(create(&world, "behind", 0), 0);
    settle(&world);
    assert_int_equal(core_count(world.core, &toy_kinds[TOY_ITEM]), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_leaves_before_it_is_durable),
        cmocka_unit_test(waits_may_wait_again_and_be_taken_back),
        cmocka_unit_test(refusals_and_unknown_operations_come_back),
        cmocka_unit_test(changes_are_refused_when_commits_back_up),
        cmocka_unit_test(a_failed_write_is_fatal),
        cmocka_unit_test(a_full_disk_is_read_only),
        cmocka_unit_test(stopping_completes_what_was_begun),
        cmocka_unit_test(timers_fire_by_the_wall_clock),
        cmocka_unit_test(work_does_not_starve_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
