#include "core/core_internal.h"

#include "base/limits.h"
#include "shape/cbor.h"

#include <stdlib.h>
#include <string.h>

// ---- the engine's own row -----------------------------------------------------------------

// What the engine itself must remember; numbers and version are permanent as in api/internal.
struct counter {
    int64_t reserved;
    bool has_reserved;
};

#define COUNTER_VERSION 1

static const struct shape_member counter_members[] = {
    {
        .name = "reserved",
        .type = &shape_long,
        .number = 1,
        .offset = offsetof(struct counter, reserved),
        .has_offset = offsetof(struct counter, has_reserved),
        .flags = SHAPE_REQUIRED,
        .min = SHAPE_NO_MIN,
        .max = SHAPE_NO_MAX,
    },
};
static const uint16_t counter_by_name[] = {0};
static const struct shape_type counter_shape = {
    .kind = SHAPE_STRUCT,
    .name = "Counter",
    .size_bytes = sizeof(struct counter),
    .align_bytes = _Alignof(struct counter),
    .members = counter_members,
    .by_name = counter_by_name,
    .member_count = ARRAY_LEN(counter_members),
};

int core_counter_load(struct core *core, int64_t key, struct text bytes, struct err *err)
{
    arena_reset(&core->work_arena);
    struct counter counter = {0};
    uint32_t version = 0;
    struct shape_error error = {0};
    int rc =
        cbor_decode(&counter_shape, bytes, &core->work_arena, &counter, &version, NULL, &error);
    if (rc != 0) {
        return err_set(err, rc, "the key counter cannot be read: %s", error.text);
    }
    if (version > COUNTER_VERSION) {
        return err_set(err, ERR_VERSION, "the key counter was written by a newer Berth");
    }
    if (key != COUNTER_KEY || counter.reserved <= COUNTER_KEY) {
        return err_set(err, ERR_CORRUPT, "the key counter has impossible values");
    }
    core->key_next = MAX(core->key_next, counter.reserved);
    core->key_reserved = MAX(core->key_reserved, core->key_next);
    return 0;
}

void core_counter_encode(const struct core *core, struct buf *out)
{
    const struct counter counter = {.reserved = core->key_reserved, .has_reserved = true};
    cbor_encode(&counter_shape, &counter, COUNTER_VERSION, NULL, out);
}

// ---- effects ------------------------------------------------------------------------------

void core_effect(struct core_call *call, enum core_effect_kind kind, struct text target,
                 const char *type, const struct shape_type *shape, const void *message)
{
    struct arena *own = core_effect_begin(call);
    core_effect_lend(call, kind, target, type, shape,
                     message == NULL ? NULL : shape_copy(shape, message, call->arena));
    core_effect_end(call, own);
}

struct arena *core_effect_begin(struct core_call *call)
{
    struct core *core = call->core;
    struct arena *own = call->arena;
    ASSERT(core->call == call);
    ASSERT(own != &core->effect_arena);
    if (!core->rehearsal.active) {
        call->arena = &core->effect_arena;
    }
    return own;
}

void core_effect_end(struct core_call *call, struct arena *own)
{
    ASSERT(own != &call->core->effect_arena);
    call->arena = own;
}

void core_effect_lend(struct core_call *call, enum core_effect_kind kind, struct text target,
                      const char *type, const struct shape_type *shape, const void *message)
{
    struct core *core = call->core;
    ASSERT(core->call == call);
    ASSERT(type != NULL);
    if (core->rehearsal.active) {
        return;
    }
    if (core->effect_count == core->effect_capacity) {
        core->effect_capacity = MAX((size_t)16, core->effect_capacity * 2);
        core->effects = alloc_resize(core->effects, core->effect_capacity, sizeof(*core->effects));
    }
    core->effects[core->effect_count] = (struct core_effect){
        .kind = kind,
        .target = arena_text(&core->effect_arena, target),
        .type = type,
        .shape = shape,
        .message = message,
    };
    core->effect_count++;
}

// ---- batches ------------------------------------------------------------------------------

size_t core_pending_bytes(const struct core *core)
{
    return core->pending_bytes + core->effect_arena.total_bytes;
}

static int compare_keys(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left;
    int64_t b = *(const int64_t *)right;
    return a < b ? -1 : a > b;
}

static void encode_slot(const struct core *core, const struct slot *slot, struct buf *out)
{
    const struct core_kind *kind = core->tables[slot->table].kind;
    struct cbor_unknown unknown = {0};
    if (slot->has_unknown) {
        const struct unknown *kept = map_get_u64(&core->unknown, (uint64_t)slot->key);
        ASSERT(kept != NULL);
        unknown.pairs = (struct text){kept->pairs, kept->size};
        unknown.count = kept->count;
    }
    cbor_encode(kind->type, slot->value, kind->version, &unknown, out);
}

void core_measure_input(struct core *core)
{
    AUTO(buf_deinit) struct buf bytes = {0};
    for (size_t i = 0; i < core->dirty_count; i++) {
        const struct slot *slot = core_slot_find(core, core->dirty[i]);
        if (slot->input != core->input_number || slot->value == NULL) {
            continue;
        }
        size_t begin = bytes.size;
        encode_slot(core, slot, &bytes);
        core->record_bytes_max = MAX(core->record_bytes_max, bytes.size - begin);
    }
    core->input_bytes_max = MAX(core->input_bytes_max, bytes.size);
}

// Until all rows are encoded the bytes may move: rows hold offsets in the place of pointers.
static void add_row(struct core_row *row, int64_t key, uint16_t kind, size_t begin,
                    const struct buf *bytes)
{
    *row = (struct core_row){.key = key, .kind = kind, .bytes.size = bytes->size - begin};
}

static void point_rows(struct core_row *rows, size_t count, const struct buf *bytes)
{
    const char *at = bytes->data;
    for (size_t i = 0; i < count; i++) {
        // A record is never empty: it has its version at least. So no bytes mean a delete.
        if (rows[i].bytes.size > 0) {
            rows[i].bytes.data = at;
            at += rows[i].bytes.size;
        }
    }
}

static void encode_rows(struct core *core, struct batch *batch)
{
    size_t count = core->dirty_count + (core->counter_dirty ? 1 : 0);
    if (count == 0) {
        return;
    }
    struct core_row *rows = alloc_array(count, sizeof(*rows));
    size_t row_count = 0;
    if (core->counter_dirty) {
        core_counter_encode(core, &batch->bytes);
        add_row(&rows[0], COUNTER_KEY, COUNTER_KIND, 0, &batch->bytes);
        row_count = 1;
        core->counter_dirty = false;
    }
    qsort(core->dirty, core->dirty_count, sizeof(*core->dirty), compare_keys);
    for (size_t i = 0; i < core->dirty_count; i++) {
        struct slot *slot = core_slot_find(core, core->dirty[i]);
        ASSERT(slot->key == core->dirty[i]);
        ASSERT(slot->dirty);
        uint16_t kind = core->tables[slot->table].kind->number;
        size_t begin = batch->bytes.size;
        if (slot->value != NULL) {
            encode_slot(core, slot, &batch->bytes);
            ASSERT(batch->bytes.size > begin);
        }
        add_row(&rows[row_count], slot->key, kind, begin, &batch->bytes);
        row_count++;
        slot->dirty = false;
        if (slot->value == NULL) {
            core_slot_remove(core, slot->key);
        }
    }
    point_rows(rows, row_count, &batch->bytes);
    batch->batch.rows = rows;
    batch->batch.row_count = row_count;
}

struct core_batch *core_batch_take(struct core *core)
{
    ASSERT(core->call == NULL);
    if (core->dirty_count == 0 && core->effect_count == 0 && !core->counter_dirty) {
        return NULL;
    }
    struct batch *batch = ALLOC(struct batch);
    batch->batch.version = core->version;
    encode_rows(core, batch);
    core->dirty_count = 0;
    core->pending_bytes = 0;

    batch->batch.effects = core->effects;
    batch->batch.effect_count = core->effect_count;
    batch->arena = core->effect_arena;
    core->effects = NULL;
    core->effect_count = 0;
    core->effect_capacity = 0;
    core->effect_arena = (struct arena){0};
    batch->old = core->old;
    core->old = (struct values){0};
    return &batch->batch;
}

void core_batch_free(struct core_batch *taken)
{
    if (taken == NULL) {
        return;
    }
    struct batch *batch = CONTAINER_OF(taken, struct batch, batch);
    buf_deinit(&batch->bytes);
    arena_deinit(&batch->arena);
    core_values_free(&batch->old);
    alloc_free((void *)(uintptr_t)batch->batch.rows);
    alloc_free((void *)(uintptr_t)batch->batch.effects);
    alloc_free(batch);
}
