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

static void counter_encode(int64_t reserved, struct buf *out)
{
    const struct counter counter = {.reserved = reserved, .has_reserved = true};
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

static struct cbor_unknown unknown_of(const struct core *core, const struct slot *slot)
{
    if (!slot->has_unknown) {
        return (struct cbor_unknown){0};
    }
    const struct unknown *kept = map_get_u64(&core->unknown, (uint64_t)slot->key);
    ASSERT(kept != NULL);
    return (struct cbor_unknown){.pairs = {kept->pairs, kept->size}, .count = kept->count};
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
        const struct core_kind *kind = core->tables[slot->table].kind;
        struct cbor_unknown unknown = unknown_of(core, slot);
        cbor_encode(kind->type, slot->value, kind->version, &unknown, &bytes);
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

// Note what changed. Records stay as they are and where they are until this batch is freed; unknown
// members may go before, so they are copied.
static void collect_changes(struct core *core, struct batch *batch)
{
    batch->changes = alloc_array(core->dirty_count, sizeof(*batch->changes));
    for (size_t i = 0; i < core->dirty_count; i++) {
        struct slot *slot = core_slot_find(core, core->dirty[i]);
        ASSERT(slot->key == core->dirty[i]);
        ASSERT(slot->dirty);
        struct cbor_unknown unknown = unknown_of(core, slot);
        unknown.pairs = arena_text(&batch->arena, unknown.pairs);
        batch->changes[i] = (struct change){
            .key = slot->key,
            .kind = core->tables[slot->table].kind,
            .value = slot->value,
            .unknown = unknown,
        };
        slot->dirty = false;
        if (slot->value == NULL) {
            core_slot_remove(core, slot->key);
        }
    }
    batch->change_count = core->dirty_count;
    batch->batch.row_count = core->dirty_count;
    if (core->counter_dirty) {
        batch->counter = core->key_reserved;
        batch->batch.row_count++;
        core->counter_dirty = false;
    }
}

static int compare_changes(const void *left, const void *right)
{
    int64_t a = ((const struct change *)left)->key;
    int64_t b = ((const struct change *)right)->key;
    return a < b ? -1 : a > b;
}

struct core_batch *core_batch_begin(struct core *core)
{
    ASSERT(core->call == NULL);
    if (core->dirty_count == 0 && core->effect_count == 0 && !core->counter_dirty) {
        return NULL;
    }
    struct batch *batch = ALLOC(struct batch);
    batch->batch.version = core->version;
    batch->batch.effects = core->effects;
    batch->batch.effect_count = core->effect_count;
    batch->arena = core->effect_arena;
    core->effects = NULL;
    core->effect_count = 0;
    core->effect_capacity = 0;
    core->effect_arena = (struct arena){0};
    batch->old = core->old;
    core->old = (struct values){0};
    collect_changes(core, batch);
    core->dirty_count = 0;
    core->pending_bytes = 0;
    return &batch->batch;
}

void core_batch_encode(struct core_batch *taken)
{
    struct batch *batch = CONTAINER_OF(taken, struct batch, batch);
    ASSERT(taken->rows == NULL);
    if (taken->row_count == 0) {
        return;
    }
    struct core_row *rows = alloc_array(taken->row_count, sizeof(*rows));
    size_t row_count = 0;
    if (batch->counter != 0) {
        counter_encode(batch->counter, &batch->bytes);
        add_row(&rows[0], COUNTER_KEY, COUNTER_KIND, 0, &batch->bytes);
        row_count = 1;
    }
    qsort(batch->changes, batch->change_count, sizeof(*batch->changes), compare_changes);
    for (size_t i = 0; i < batch->change_count; i++) {
        const struct change *change = &batch->changes[i];
        size_t begin = batch->bytes.size;
        if (change->value != NULL) {
            cbor_encode(change->kind->type, change->value, change->kind->version, &change->unknown,
                        &batch->bytes);
            ASSERT(batch->bytes.size > begin);
        }
        add_row(&rows[row_count], change->key, change->kind->number, begin, &batch->bytes);
        row_count++;
    }
    point_rows(rows, row_count, &batch->bytes);
    ASSERT(row_count == taken->row_count);
    taken->rows = rows;
    alloc_free(batch->changes);
    batch->changes = NULL;
}

struct core_batch *core_batch_take(struct core *core)
{
    struct core_batch *batch = core_batch_begin(core);
    if (batch != NULL) {
        core_batch_encode(batch);
    }
    return batch;
}

void core_batch_free(struct core_batch *taken)
{
    if (taken == NULL) {
        return;
    }
    struct batch *batch = CONTAINER_OF(taken, struct batch, batch);
    alloc_free(batch->changes);
    buf_deinit(&batch->bytes);
    arena_deinit(&batch->arena);
    core_values_free(&batch->old);
    alloc_free((void *)(uintptr_t)batch->batch.rows);
    alloc_free((void *)(uintptr_t)batch->batch.effects);
    alloc_free(batch);
}
