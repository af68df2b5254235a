#pragma once

#include "core/agenda.h"
#include "core/chance.h"
#include "core/core.h"
#include "core/key_set.h"

#include "base/map.h"
#include "shape/cbor.h"

/*
 * The engine's inside, shared by core.c (registration and inputs), core_record.c (tables) and
 * core_batch.c (what leaves the engine).
 *
 * All records lie in one hash table from key to slot; each table adds the ordered set of its keys.
 * A slot stays, without a value, from a delete until the batch that carries it is taken.
 */

#define COUNTER_KEY 1 ///< of the engine's own row; keys of records are above it
#define COUNTER_KIND 0xFFFF

/** One record. */
struct slot {
    int64_t key;      ///< 0 in an empty slot
    void *value;      ///< from shape_clone; NULL when deleted
    uint32_t input;   ///< number of the input that changed it last
    uint16_t table;   ///< index in core->tables
    bool dirty;       ///< in core->dirty
    bool has_unknown; ///< core->unknown holds members that the schema does not know
};

/** All records of one kind. */
struct table {
    const struct core_kind *kind;
    struct key_set keys;
};

/** The handlers of one service. */
struct service {
    const struct api_service *api;
    const struct core_handler **handlers; ///< by index of the operation; NULL for none
    size_t *modules;                      ///< by index of the operation
};

/** Top-level members that a newer program wrote, kept over rewrites. */
struct unknown {
    uint32_t count;
    size_t size;
    char pairs[];
};

/** Values of records that no table holds any more. */
struct values {
    void **items;
    size_t count;
    size_t capacity;
};

/** What a rehearsal put, and what it has to leave as it was. */
struct rehearsal {
    bool active;
    int64_t *keys; ///< in the order in which they were put
    size_t key_count;
    size_t key_capacity;
    int64_t key_next;
    int64_t key_reserved;
    bool counter_dirty;
    uint64_t version;
    struct values old; ///< what it put, until the next input: no effect saw it
};

struct core {
    const struct core_module *const *modules;
    size_t module_count;
    void **states;           ///< by module
    uint32_t *manager_first; ///< by module: number of its first manager
    struct service *services;
    size_t service_count;

    struct table *tables;
    size_t table_count;
    uint16_t *table_numbers; ///< by number of the kind: index in tables plus one, 0 for none
    size_t table_number_count;
    struct slot *slots;   ///< open addressing; see slot_find
    size_t slot_capacity; ///< a power of two
    size_t slot_count;
    struct map unknown; ///< by key

    int64_t key_next;
    int64_t key_reserved; ///< keys below it may have been given out, says the stored row
    bool counter_dirty;

    bool recovered;
    struct core_call *call; ///< of the input being applied, else NULL
    bool notifying;         ///< modules are being told of a change
    uint32_t input_number;  ///< may wrap: it counts records for a limit and decides nothing else
    bool changed;           ///< the input changed a record
    bool measure;           ///< see core_measure
    size_t input_bytes_max; ///< of the largest input so far, when measured
    size_t record_bytes_max;
    struct rehearsal rehearsal;
    int64_t now_ms;
    uint64_t version;
    struct chance chance;
    struct agenda agenda;
    struct arena work_arena; ///< of managers' calls, and of loading

    struct values old; ///< replaced since the last batch was taken
    int64_t *dirty;    ///< keys of the next batch
    size_t dirty_count;
    size_t dirty_capacity;
    size_t pending_bytes;
    struct core_effect *effects;
    size_t effect_count;
    size_t effect_capacity;
    struct arena effect_arena;
};

/** A record that changed, as a batch keeps it until it is encoded. */
struct change {
    int64_t key;
    const struct core_kind *kind;
    const void *value; ///< NULL: it was deleted
    struct cbor_unknown unknown;
};

/** A batch with what it owns. */
struct batch {
    struct core_batch batch; ///< first, so that one pointer stands for both
    struct change *changes;  ///< to be encoded
    size_t change_count;
    int64_t counter; ///< how far keys are given out, when that changed; else 0
    struct buf bytes;
    struct arena arena; ///< of effects
    struct values old; ///< replaced: effects of this batch and of earlier ones may borrow from them
};

/** Make tables of all kinds that modules register. */
void core_tables_init(struct core *core);

/** Free tables, records and what goes with them. */
void core_tables_deinit(struct core *core);

/** Free values. */
void core_values_free(struct values *values);

/** @return where the search for a key begins */
UNUSED static inline size_t core_slot_home(const struct core *core, int64_t key)
{
    uint64_t hash = (uint64_t)key * 0x9E3779B97F4A7C15u;
    return (size_t)(hash >> 20) & (core->slot_capacity - 1);
}

/** @return the slot of the key, or the empty one where it would go. Inline: a placement asks for
 *  dozens of records. */
UNUSED static inline struct slot *core_slot_find(const struct core *core, int64_t key)
{
    size_t mask = core->slot_capacity - 1;
    size_t i = core_slot_home(core, key);
    while (core->slots[i].key != 0 && core->slots[i].key != key) {
        i = (i + 1) & mask;
    }
    return &core->slots[i];
}

/** Take a slot out of the hash table; its value was given up already. */
void core_slot_remove(struct core *core, int64_t key);

/** Append violations of the tables' own invariants. */
void core_tables_check(const struct core *core, struct buf *violations);

/** Load the engine's own row. */
MUST_CHECK int core_counter_load(struct core *core, int64_t key, struct text bytes,
                                 struct err *err);

/** Encode what the input under way changed, and remember the largest. */
void core_measure_input(struct core *core);
