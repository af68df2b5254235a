#include "core/core_internal.h"

#include "base/limits.h"
#include "shape/cbor.h"

#include <stdlib.h>
#include <string.h>

// Keys are given out in blocks, so that the counter's row changes once per block and not with
// every new record. A restart skips the rest of a block; 2^63 keys are enough for that.
#define KEY_BLOCK 4096

#define SLOT_CAPACITY_MIN 64

// ---- the hash table -----------------------------------------------------------------------

// Fibonacci hashing spreads the runs of consecutive keys that tables are made of.
static void slots_resize(struct core *core, size_t capacity)
{
    struct slot *old = core->slots;
    size_t old_capacity = core->slot_capacity;
    core->slots = alloc_array(capacity, sizeof(*core->slots));
    core->slot_capacity = capacity;
    for (size_t i = 0; i < old_capacity; i++) {
        if (old[i].key != 0) {
            *core_slot_find(core, old[i].key) = old[i];
        }
    }
    alloc_free(old);
}

static struct slot *slot_add(struct core *core, int64_t key)
{
    if ((core->slot_count + 1) * 5 > core->slot_capacity * 4) {
        slots_resize(core, core->slot_capacity * 2);
    }
    struct slot *slot = core_slot_find(core, key);
    ASSERT(slot->key == 0);
    slot->key = key;
    core->slot_count++;
    return slot;
}

void core_slot_remove(struct core *core, int64_t key)
{
    size_t mask = core->slot_capacity - 1;
    size_t hole = (size_t)(core_slot_find(core, key) - core->slots);
    ASSERT(core->slots[hole].key == key);
    ASSERT(core->slots[hole].value == NULL);
    // Move later slots of the same run up, so that no search stops short of them.
    for (size_t i = (hole + 1) & mask; core->slots[i].key != 0; i = (i + 1) & mask) {
        size_t home = core_slot_home(core, core->slots[i].key);
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            core->slots[hole] = core->slots[i];
            hole = i;
        }
    }
    core->slots[hole] = (struct slot){0};
    core->slot_count--;
    if (core->slot_count * 8 < core->slot_capacity && core->slot_capacity > SLOT_CAPACITY_MIN) {
        slots_resize(core, core->slot_capacity / 2);
    }
}

// ---- tables -------------------------------------------------------------------------------

static void add_table(struct core *core, const struct core_kind *kind)
{
    ASSERT(kind->number > 0);
    ASSERT(kind->number < COUNTER_KIND);
    ASSERT(kind->type->kind == SHAPE_STRUCT);
    if (kind->number >= core->table_number_count) {
        size_t count = (size_t)kind->number + 1;
        core->table_numbers =
            alloc_resize(core->table_numbers, count, sizeof(*core->table_numbers));
        memset(core->table_numbers + core->table_number_count, 0,
               (count - core->table_number_count) * sizeof(*core->table_numbers));
        core->table_number_count = count;
    }
    ASSERT(core->table_numbers[kind->number] == 0);
    core->tables = alloc_resize(core->tables, core->table_count + 1, sizeof(*core->tables));
    core->tables[core->table_count] = (struct table){.kind = kind};
    core->table_count++;
    core->table_numbers[kind->number] = (uint16_t)core->table_count;
}

void core_tables_init(struct core *core)
{
    core->slot_capacity = SLOT_CAPACITY_MIN;
    core->slots = alloc_array(core->slot_capacity, sizeof(*core->slots));
    for (size_t i = 0; i < core->module_count; i++) {
        for (size_t j = 0; j < core->modules[i]->kind_count; j++) {
            add_table(core, &core->modules[i]->kinds[j]);
        }
    }
}

static void unknown_drop(struct core *core, struct slot *slot)
{
    if (slot->has_unknown) {
        alloc_free(map_remove_u64(&core->unknown, (uint64_t)slot->key));
        slot->has_unknown = false;
    }
}

void core_tables_deinit(struct core *core)
{
    core_values_free(&core->old);
    core_values_free(&core->rehearsal.old);
    for (size_t i = 0; i < core->slot_capacity; i++) {
        unknown_drop(core, &core->slots[i]);
        alloc_free(core->slots[i].value);
    }
    alloc_free(core->slots);
    map_deinit(&core->unknown);
    for (size_t i = 0; i < core->table_count; i++) {
        key_set_deinit(&core->tables[i].keys);
    }
    alloc_free(core->tables);
    alloc_free(core->table_numbers);
    alloc_free(core->rehearsal.keys);
}

static uint16_t table_index(const struct core *core, const struct core_kind *kind)
{
    ASSERT(kind->number < core->table_number_count);
    uint16_t index = core->table_numbers[kind->number];
    ASSERT(index != 0);
    ASSERT(core->tables[index - 1].kind == kind);
    return (uint16_t)(index - 1);
}

static void notify(struct core *core, const struct core_kind *kind, int64_t key, const void *before,
                   const void *after)
{
    core->notifying = true;
    for (size_t i = 0; i < core->module_count; i++) {
        if (core->modules[i]->changed != NULL) {
            core->modules[i]->changed(core->states[i], core, kind, key, before, after);
        }
    }
    core->notifying = false;
}

// ---- reading ------------------------------------------------------------------------------

const void *core_get(const struct core *core, const struct core_kind *kind, int64_t key)
{
    const struct slot *slot = core_slot_find(core, key);
    return slot->key == key && core->tables[slot->table].kind == kind ? slot->value : NULL;
}

int64_t core_next(const struct core *core, const struct core_kind *kind, int64_t after)
{
    return key_set_next(&core->tables[table_index(core, kind)].keys, after);
}

size_t core_count(const struct core *core, const struct core_kind *kind)
{
    return core->tables[table_index(core, kind)].keys.count;
}

void *core_edit(struct core_call *call, const struct core_kind *kind, int64_t key)
{
    const void *record = core_get(call->core, kind, key);
    ASSERT(record != NULL);
    void *copy = arena_alloc(call->arena, kind->type->size_bytes);
    memcpy(copy, record, kind->type->size_bytes);
    return copy;
}

static int compare_keys(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left;
    int64_t b = *(const int64_t *)right;
    return a < b ? -1 : a > b;
}

void core_dump(struct core *core,
               void (*visit)(void *context, const struct core_kind *kind, int64_t key,
                             const void *record),
               void *context)
{
    AUTO(alloc_free) void *block = alloc_array(core->slot_count, sizeof(int64_t));
    int64_t *keys = block;
    size_t count = 0;
    for (size_t i = 0; i < core->slot_capacity; i++) {
        if (core->slots[i].value != NULL) {
            keys[count] = core->slots[i].key;
            count++;
        }
    }
    qsort(keys, count, sizeof(*keys), compare_keys);
    for (size_t i = 0; i < count; i++) {
        const struct slot *slot = core_slot_find(core, keys[i]);
        visit(context, core->tables[slot->table].kind, slot->key, slot->value);
    }
}

// ---- changing -----------------------------------------------------------------------------

int64_t core_new_key(struct core_call *call)
{
    struct core *core = call->core;
    ASSERT(core->call == call);
    if (core->key_next == core->key_reserved) {
        core->key_reserved += KEY_BLOCK;
        if (!core->counter_dirty) {
            core->counter_dirty = true;
            core->version++; // a row changes even when the input changes no record in the end
        }
    }
    core->key_next++;
    return core->key_next - 1;
}

// Count the record as changed by this input and as part of the next batch.
static void mark_changed(struct core_call *call, struct slot *slot)
{
    struct core *core = call->core;
    core->changed = true;
    if (slot->input != core->input_number) {
        slot->input = core->input_number;
        call->put_count++;
        ASSERT(call->put_count <= LIMIT_TX_RECORDS);
    }
    if (!slot->dirty) {
        slot->dirty = true;
        if (core->dirty_count == core->dirty_capacity) {
            core->dirty_capacity = MAX((size_t)64, core->dirty_capacity * 2);
            core->dirty = alloc_resize(core->dirty, core->dirty_capacity, sizeof(*core->dirty));
        }
        core->dirty[core->dirty_count] = slot->key;
        core->dirty_count++;
    }
}

static void keep_value(struct values *values, void *value)
{
    if (values->count == values->capacity) {
        values->capacity = MAX((size_t)16, values->capacity * 2);
        values->items = alloc_resize(values->items, values->capacity, sizeof(*values->items));
    }
    values->items[values->count] = value;
    values->count++;
}

void core_values_free(struct values *values)
{
    for (size_t i = 0; i < values->count; i++) {
        alloc_free(values->items[i]);
    }
    alloc_free(values->items);
    *values = (struct values){0};
}

static void rehearsal_add(struct rehearsal *rehearsal, int64_t key)
{
    if (rehearsal->key_count == rehearsal->key_capacity) {
        rehearsal->key_capacity = MAX((size_t)16, rehearsal->key_capacity * 2);
        rehearsal->keys =
            alloc_resize(rehearsal->keys, rehearsal->key_capacity, sizeof(*rehearsal->keys));
    }
    rehearsal->keys[rehearsal->key_count] = key;
    rehearsal->key_count++;
}

void core_put(struct core_call *call, const struct core_kind *kind, int64_t key, const void *record)
{
    struct core *core = call->core;
    ASSERT(core->call == call);
    ASSERT(!core->notifying);
    ASSERT(key > COUNTER_KEY);
    ASSERT(key < core->key_next);
    ASSERT(record != NULL);
    uint16_t table = table_index(core, kind);
    size_t size = 0;
    void *value = shape_clone(kind->type, record, &size);

    struct slot *slot = core_slot_find(core, key);
    if (slot->key == 0) {
        slot = slot_add(core, key);
        slot->table = table;
    }
    ASSERT(slot->table == table);
    void *before = slot->value;
    slot->value = value;
    if (core->rehearsal.active) {
        ASSERT(before == NULL);
        rehearsal_add(&core->rehearsal, key);
    } else {
        core->pending_bytes += size;
        mark_changed(call, slot);
    }
    if (before == NULL) {
        key_set_add(&core->tables[table].keys, key);
    } else {
        keep_value(&core->old, before);
    }
    notify(core, kind, key, before, value);
}

void core_delete(struct core_call *call, const struct core_kind *kind, int64_t key)
{
    struct core *core = call->core;
    ASSERT(core->call == call);
    ASSERT(!core->notifying);
    ASSERT(!core->rehearsal.active);
    uint16_t table = table_index(core, kind);
    struct slot *slot = core_slot_find(core, key);
    ASSERT(slot->key == key);
    ASSERT(slot->table == table);
    ASSERT(slot->value != NULL);
    void *before = slot->value;
    slot->value = NULL;
    unknown_drop(core, slot);
    mark_changed(call, slot);
    key_set_remove(&core->tables[table].keys, key);
    keep_value(&core->old, before);
    notify(core, kind, key, before, NULL);
}

// ---- rehearsing ---------------------------------------------------------------------------

bool core_rehearsing(const struct core *core)
{
    return core->rehearsal.active;
}

void core_rehearse_begin(struct core_call *call)
{
    struct core *core = call->core;
    struct rehearsal *rehearsal = &core->rehearsal;
    ASSERT(core->call == call);
    ASSERT(!rehearsal->active);
    ASSERT(rehearsal->key_count == 0);
    rehearsal->active = true;
    rehearsal->key_next = core->key_next;
    rehearsal->key_reserved = core->key_reserved;
    rehearsal->counter_dirty = core->counter_dirty;
    rehearsal->version = core->version;
}

void core_rehearse_end(struct core_call *call)
{
    struct core *core = call->core;
    struct rehearsal *rehearsal = &core->rehearsal;
    ASSERT(core->call == call);
    ASSERT(rehearsal->active);
    // Newest first: a record may be derived from together with those that were put before it.
    while (rehearsal->key_count > 0) {
        rehearsal->key_count--;
        int64_t key = rehearsal->keys[rehearsal->key_count];
        struct slot *slot = core_slot_find(core, key);
        struct table *table = &core->tables[slot->table];
        void *before = slot->value;
        slot->value = NULL;
        core_slot_remove(core, key);
        key_set_remove(&table->keys, key);
        keep_value(&rehearsal->old, before);
        notify(core, table->kind, key, before, NULL);
    }
    core->key_next = rehearsal->key_next;
    core->key_reserved = rehearsal->key_reserved;
    core->counter_dirty = rehearsal->counter_dirty;
    core->version = rehearsal->version;
    rehearsal->active = false;
}

// ---- loading ------------------------------------------------------------------------------

static void keep_unknown(struct core *core, struct slot *slot, const struct cbor_unknown *from)
{
    if (from->count == 0) {
        return;
    }
    struct unknown *unknown = alloc_zero(sizeof(*unknown) + from->pairs.size);
    unknown->count = from->count;
    unknown->size = from->pairs.size;
    memcpy(unknown->pairs, from->pairs.data, from->pairs.size);
    void *replaced = map_put_u64(&core->unknown, (uint64_t)slot->key, unknown);
    ASSERT(replaced == NULL);
    slot->has_unknown = true;
}

int core_load(struct core *core, int64_t key, uint16_t kind_number, struct text bytes,
              struct err *err)
{
    ASSERT(!core->recovered);
    if (kind_number == COUNTER_KIND) {
        return core_counter_load(core, key, bytes, err);
    }
    if (key <= COUNTER_KEY) {
        return err_set(err, ERR_CORRUPT, "row %lld: no such key is ever given out", (long long)key);
    }
    if (kind_number >= core->table_number_count || core->table_numbers[kind_number] == 0) {
        return err_set(err, ERR_VERSION,
                       "row %lld is of kind %u, which this version of Berth does "
                       "not know",
                       (long long)key, kind_number);
    }
    struct table *table = &core->tables[core->table_numbers[kind_number] - 1];
    const struct core_kind *kind = table->kind;
    if (core_slot_find(core, key)->key != 0) {
        return err_set(err, ERR_CORRUPT, "row %lld is there twice", (long long)key);
    }

    arena_reset(&core->work_arena);
    void *record = arena_alloc(&core->work_arena, kind->type->size_bytes);
    uint32_t version = 0;
    struct cbor_unknown unknown = {0};
    struct shape_error error = {0};
    int rc = cbor_decode(kind->type, bytes, &core->work_arena, record, &version, &unknown, &error);
    if (rc != 0) {
        return err_set(err, rc, "row %lld (%s) cannot be read: %s%s%s", (long long)key, kind->name,
                       error.path, error.path[0] == '\0' ? "" : " ", error.text);
    }
    if (version > kind->version) {
        return err_set(err, ERR_VERSION,
                       "row %lld (%s) was written by a newer Berth: its version is "
                       "%u, this one knows %u",
                       (long long)key, kind->name, version, kind->version);
    }
    struct slot *slot = slot_add(core, key);
    slot->table = (uint16_t)(table - core->tables);
    slot->value = shape_clone(kind->type, record, NULL);
    keep_unknown(core, slot, &unknown);
    key_set_add(&table->keys, key);
    core->key_next = MAX(core->key_next, key + 1);
    core->key_reserved = MAX(core->key_reserved, core->key_next);
    const void *value = slot->value;
    notify(core, kind, key, NULL, value);
    return 0;
}

// ---- invariants ---------------------------------------------------------------------------

static void check_table(const struct core *core, size_t index, struct buf *violations)
{
    const struct table *table = &core->tables[index];
    if (!key_set_valid(&table->keys)) {
        buf_format(violations, "core: keys of %s are out of order\n", table->kind->name);
    }
    for (int64_t key = key_set_next(&table->keys, 0); key != 0;
         key = key_set_next(&table->keys, key)) {
        const struct slot *slot = core_slot_find(core, key);
        if (slot->key != key || slot->table != index || slot->value == NULL) {
            buf_format(violations, "core: %s %lld has a key but no record\n", table->kind->name,
                       (long long)key);
        }
    }
}

void core_tables_check(const struct core *core, struct buf *violations)
{
    size_t keys = 0;
    for (size_t i = 0; i < core->table_count; i++) {
        check_table(core, i, violations);
        keys += core->tables[i].keys.count;
    }
    size_t values = 0;
    size_t dirty = 0;
    size_t unknown = 0;
    for (size_t i = 0; i < core->slot_capacity; i++) {
        const struct slot *slot = &core->slots[i];
        values += slot->value != NULL;
        dirty += slot->dirty;
        unknown += slot->has_unknown;
        if (slot->key >= core->key_next) {
            buf_format(violations, "core: key %lld was never given out\n", (long long)slot->key);
        }
        if (slot->key != 0 && slot->value == NULL && !slot->dirty) {
            buf_format(violations, "core: the delete of %lld got lost\n", (long long)slot->key);
        }
    }
    if (keys != values) {
        buf_format(violations, "core: %zu records but %zu keys\n", values, keys);
    }
    if (dirty != core->dirty_count) {
        buf_format(violations, "core: %zu changed records but %zu listed\n", dirty,
                   core->dirty_count);
    }
    if (unknown != core->unknown.count) {
        buf_string(violations, "core: unknown members of records that are gone\n");
    }
    if (core->key_next > core->key_reserved) {
        buf_string(violations, "core: keys were given out that the stored counter allows again\n");
    }
}
