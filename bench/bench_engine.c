/*
 * What the engine costs on top of its store.
 *
 * The same rows in the same batches go through the whole engine (request, tables, index, managers,
 * encoding, SQLite) and then raw into SQLite, which is the floor. Memory is what the heap grew by
 * per record, with all tables and indexes.
 *
 *     bench_engine [DIRECTORY]      where the database files are made and removed; default /tmp
 */
#include "base/clock.h"
#include "base/file.h"
#include "store/store.h"
#include "toy_service.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ITEMS 100000
#define BATCH 1000 // what gathers during one commit of some milliseconds at this speed
#define ROUNDS 3   // the best of each counts: others may use the machine meanwhile

/** All batches of a run, kept to be written again raw. */
struct recording {
    struct core_batch *batches[ITEMS / BATCH + 2];
    size_t count;
    size_t rows;
};

static double seconds_since(int64_t begin_ns)
{
    return (double)(clock_monotonic_ns() - begin_ns) / 1e9;
}

static void stop_on(int rc, const struct err *err)
{
    if (rc != 0) {
        fprintf(stderr, "bench_engine: %s\n", err->text);
        exit(1);
    }
}

static void write_batch(struct store *store, const struct core_batch *batch)
{
    AUTO(alloc_free) void *block = alloc_array(batch->row_count, sizeof(struct store_row));
    struct store_row *rows = block;
    for (size_t i = 0; i < batch->row_count; i++) {
        rows[i] = (struct store_row){batch->rows[i].key, batch->rows[i].kind, batch->rows[i].bytes};
    }
    struct err err = {0};
    stop_on(store_write(store, batch->version, rows, batch->row_count, &err), &err);
}

static struct store *open_store(const char *directory, const char *name)
{
    AUTO(alloc_string) char *path = alloc_format("%s/%s", directory, name);
    struct store *store = NULL;
    struct err err = {0};
    stop_on(store_sqlite_open(path, &store, &err), &err);
    return store;
}

static void ask(struct core *core, struct arena *arena, uint64_t serial)
{
    static const struct core_caller caller;
    static struct toy_tag tags[4] = {
        {TEXT("team"), TEXT("payments and invoices")},
        {TEXT("stage"), TEXT("production")},
        {TEXT("owner"), TEXT("arn:aws:iam::000000000000:user/somebody")},
        {TEXT("cost"), TEXT("4711-0815-2342")},
    };
    arena_reset(arena);
    const struct toy_create_item_request request = {
        .name = arena_format(arena, "service-of-medium-length-%llu", (unsigned long long)serial),
        .has_size = true,
        .size = (int64_t)serial,
        .tags = {tags, ARRAY_LEN(tags)},
    };
    struct toy_item_response response = {0};
    struct core_call call = {.arena = arena};
    const struct core_input input = toy_input(1700000000000, serial);
    int rc = core_request(core, &input, &caller, &toy_operations[TOY_OP_CREATE_ITEM], &call,
                          &request, &response);
    ASSERT(rc == 0);
}

// Create all items; store may be NULL to leave the store out. @return seconds
static double run_engine(struct store *store, struct core *core, struct recording *recording)
{
    AUTO(arena_deinit) struct arena arena = {0};
    int64_t begin_ns = clock_monotonic_ns();
    uint64_t serial = 0;
    const struct core_input input = toy_input(1700000000000, 0);
    core_recover(core, &input);
    while (serial < ITEMS) {
        for (size_t i = 0; i < BATCH; i++) {
            ask(core, &arena, serial++);
        }
        toy_settle(core, 1700000000000, serial);
        struct core_batch *batch = core_batch_take(core);
        if (store != NULL) {
            write_batch(store, batch);
        }
        recording->batches[recording->count++] = batch;
        recording->rows += batch->row_count;
    }
    return seconds_since(begin_ns);
}

static double run_raw(struct store *store, const struct recording *recording)
{
    int64_t begin_ns = clock_monotonic_ns();
    for (size_t i = 0; i < recording->count; i++) {
        write_batch(store, recording->batches[i]);
    }
    return seconds_since(begin_ns);
}

static void recording_free(struct recording *recording)
{
    for (size_t i = 0; i < recording->count; i++) {
        core_batch_free(recording->batches[i]);
    }
    *recording = (struct recording){0};
}

static int load_row(void *context, int64_t key, uint16_t kind, struct text bytes, struct err *err)
{
    return core_load(context, key, kind, bytes, err);
}

// Read the database back as a restart does, and tell what a record takes.
static void measure_load(const char *directory, const char *name)
{
    struct store *store = open_store(directory, name);
    struct err err = {0};
    uint64_t version = 0;
    size_t before = mallinfo2().uordblks;
    int64_t begin_ns = clock_monotonic_ns();
    struct core *core = core_new(toy_modules, 1);
    stop_on(store_load(store, load_row, core, &version, &err), &err);
    const struct core_input input = toy_input(1700000000000, 0);
    core_recover(core, &input);
    double seconds = seconds_since(begin_ns);
    size_t records = core_count(core, &toy_kinds[TOY_ITEM]);
    size_t bytes = mallinfo2().uordblks - before;
    store_close(store);
    printf("restart: %zu records loaded, indexed and recovered in %.2f s\n", records, seconds);
    printf("memory: %zu bytes per record in memory, with its tables and index of names\n",
           bytes / records);
    core_free(core);
}

static void run_round(const char *directory, double best[3], struct recording *recording)
{
    struct core *core = core_new(toy_modules, 1);
    double alone = run_engine(NULL, core, recording);
    core_free(core);
    recording_free(recording);

    struct store *store = open_store(directory, "engine.db");
    core = core_new(toy_modules, 1);
    double whole = run_engine(store, core, recording);
    core_free(core);
    store_close(store);

    store = open_store(directory, "raw.db");
    double raw = run_raw(store, recording);
    store_close(store);
    best[0] = MIN(best[0], alone);
    best[1] = MIN(best[1], whole);
    best[2] = MIN(best[2], raw);
}

int main(int argc, char **argv)
{
    AUTO(alloc_string)
    char *directory = alloc_format("%s/berth-bench-XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (mkdtemp(directory) == NULL) {
        fprintf(stderr, "bench_engine: cannot make a directory like %s\n", directory);
        return 1;
    }
    double best[3] = {1e9, 1e9, 1e9};
    static struct recording recording;
    struct err err = {0};
    for (int i = 0; i < ROUNDS; i++) {
        recording_free(&recording);
        stop_on(file_remove_tree(AT_FDCWD, directory, &err), &err);
        stop_on(file_make_dirs(directory, 0700, &err), &err);
        run_round(directory, best, &recording);
    }
    size_t bytes = 0;
    for (size_t i = 0; i < recording.count; i++) {
        for (size_t j = 0; j < recording.batches[i]->row_count; j++) {
            bytes += recording.batches[i]->rows[j].bytes.size;
        }
    }
    printf("rows: %zu of %zu bytes on average, in batches of %d inputs\n", recording.rows,
           bytes / recording.rows, BATCH);
    recording_free(&recording);
    printf("engine alone:       %9.0f inputs/s\n", ITEMS / best[0]);
    printf("engine with SQLite: %9.0f inputs/s\n", ITEMS / best[1]);
    printf("SQLite alone:       %9.0f rows/s (the floor)\n", ITEMS / best[2]);
    printf("ratio to the floor: %.2f (1 is a free engine)\n", best[2] / best[1]);
    measure_load(directory, "engine.db");
    stop_on(file_remove_tree(AT_FDCWD, directory, &err), &err);
    return 0;
}
