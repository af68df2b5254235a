#pragma once

#include "base/alloc.h"
#include "base/buf.h"
#include "base/err.h"
#include "shape/api.h"
#include "shape/shape.h"

/*
 * The engine: a deterministic state machine over tables of records.
 *
 * Same state, same input: same new state, same effects, byte for byte. There is no clock, no
 * randomness, no I/O here; time and entropy come with each input. An input is an operation
 * (core_request) or the passing of time (core_advance). It reads records, replaces records and
 * yields effects; everything it changed forms part of the next batch (core_batch_take), which the
 * caller makes durable before it lets anything out: replies, effects, projections.
 *
 * Records are immutable: core_put clones the struct it is given and lets go of the older one when
 * the batch that carries the change is freed. So a pointer from core_get stays valid and unchanged
 * for the rest of the input, whatever is put meanwhile; a response may borrow from records when it
 * is encoded before the next input; and effects may borrow from them (core_effect_begin).
 *
 * Services register as modules: tables, handlers, managers, and volatile state (indexes, arrays)
 * that is derived from records in `changed` and never stored.
 */

struct core;

/** A table. */
struct core_kind {
    uint16_t number;               ///< permanent; unique over all modules; from 1 below 0xFFFF
    const char *name;              ///< for debug dump and messages
    const struct shape_type *type; ///< of the record
    uint32_t version;              ///< written into new rows
};

/** Who asks, and where. Borrowed for the call. */
struct core_caller {
    struct text account; ///< 12 digits
    struct text region;  ///< known to be a region's name
    struct text arn;     ///< of the caller, such as arn:aws:iam::000000000000:root
    struct text node_id; ///< present when a node asks: it may act for itself only
    struct text key_id;  ///< access key id, absent for unsigned operations
};

/** One input being applied. Lives for the call. */
struct core_call {
    struct core *core;
    int64_t now_ms;                        ///< never less than in the call before
    const struct core_caller *caller;      ///< NULL in managers
    const struct api_operation *operation; ///< what is asked for; NULL in managers
    struct arena *arena;                   ///< freed after the reply was encoded
    const struct api_error *fault;         ///< set by core_fault
    char fault_text[1024];
    struct text_list fault_resource_ids; ///< ConflictException's second member
    uint32_t put_count;                  ///< records changed by this input
};

/**
 * Work that a manager does for one entity. May put, delete, queue more work, set timers. The record
 * may be gone since the work was queued.
 */
typedef void (*core_work_fn)(struct core_call *call, void *state, int64_t key);

/**
 * Handle an operation: fill response (zeroed) or fail with `return core_fault(...)`, and then
 * without having put, deleted or yielded anything: an operation validates first.
 */
typedef int (*core_handler_fn)(struct core_call *call, void *state, const void *request,
                               void *response);

/** A handler for an operation of a service. */
struct core_handler {
    const struct api_operation *operation;
    core_handler_fn handle;
};

/** A manager: level-triggered work on entities, each of which is queued once at most. */
struct core_manager {
    const char *name;
    core_work_fn work;
};

/** A service folder as the engine sees it. */
struct core_module {
    const char *name;
    const struct core_kind *kinds;
    size_t kind_count;
    const struct core_handler *handlers;
    size_t handler_count;
    const struct core_manager *managers;
    size_t manager_count;
    /** Make volatile state; kept until core_free. May be NULL. */
    void *(*state_new)(struct core *core);
    void (*state_free)(void *state);
    /**
     * A record of any module came (before NULL), changed, or went (after NULL); also on load, where
     * records come in ascending key, so links to later ones do not resolve yet. core_get sees the
     * table after the change. May not put.
     */
    void (*changed)(void *state, struct core *core, const struct core_kind *kind, int64_t key,
                    const void *before, const void *after);
    /** After all rows were loaded: queue work, set timers, put at most what a store lacks that was
     *  never used. An input of its own for each module. */
    void (*recover)(struct core_call *call, void *state);
    /** Append a line for every violated invariant. Changes nothing. */
    void (*check)(void *state, struct core *core, struct buf *violations);
};

/** A message for the outside, released when the input that yielded it is durable. */
struct core_effect {
    uint32_t kind;      ///< of enum core_effect_kind
    struct text target; ///< such as a node's id
    const char *type;   ///< constant text, such as `PayloadMessage`
    const struct shape_type *shape;
    const void *message; ///< owned by the batch; parts may lie in records
};

enum core_effect_kind {
    CORE_EFFECT_NODE = 1,  ///< a frame for the ACS session of the node `target`
    CORE_EFFECT_EVENT = 2, ///< something that watchers of the event stream see
    CORE_EFFECT_HOOK = 3,  ///< an endpoint to call: the URL `target`
    CORE_EFFECT_SCALE = 4, ///< an Auto Scaling group to grow or shrink: its name is `target`
};

// ---- for the adapter that owns the engine -------------------------------------------------

/** What time and chance an input arrives with. */
struct core_input {
    int64_t now_ms;            ///< wall clock; the engine takes the maximum of all it was given
    unsigned char entropy[32]; ///< all randomness of this input
};

/** Make an engine. modules and what they point to must outlive it. */
struct core *core_new(const struct core_module *const *modules, size_t module_count);

/** Free the engine and all memory of its tables. */
void core_free(struct core *core);

/**
 * Load one stored row; call for every row in ascending key, then core_recover once.
 *
 * @return 0; ERR_CORRUPT when the bytes are no record of that kind; ERR_VERSION when the kind is
 *         unknown or the record's version is newer than this program's
 */
MUST_CHECK int core_load(struct core *core, int64_t key, uint16_t kind, struct text bytes,
                         struct err *err);

/**
 * Tell which version the loaded rows have, as the store told; before core_recover. Without it the
 * engine counts from 0.
 */
void core_set_version(struct core *core, uint64_t version);

/** All rows are in: give managers their first work. Once, also when the store was empty. */
void core_recover(struct core *core, const struct core_input *input);

/**
 * Apply an operation.
 *
 * On failure call->fault says which error. Nothing was changed then.
 *
 * @param call      its arena must be set by the caller; the rest is filled here. Response and
 *                  fault borrow from that arena
 * @param request   of operation->input; validated already
 * @param response  of operation->output, zeroed by the caller
 * @return 0, ERR_FAULT with call->fault, or ERR_UNSUPPORTED when no module handles the operation
 */
MUST_CHECK int core_request(struct core *core, const struct core_input *input,
                            const struct core_caller *caller, const struct api_operation *operation,
                            struct core_call *call, const void *request, void *response);

/** @return whether some module handles the operation */
bool core_handles(const struct core *core, const struct api_operation *operation);

/**
 * Let time pass: timers that are due queue their work, then at most budget pieces of queued work
 * are done.
 *
 * @return whether work is left to do now
 */
bool core_advance(struct core *core, const struct core_input *input, size_t budget);

/** @return when the earliest timer is due, in wall-clock ms; now when work is queued; else -1 */
int64_t core_next_due(const struct core *core);

/** Version of the state in memory: grows with every input that changed a record. */
uint64_t core_version(const struct core *core);

/**
 * Memory of what the next batch holds so far, about: records as they lie in memory, effects. For
 * back-pressure.
 */
size_t core_pending_bytes(const struct core *core);

/** A changed row. */
struct core_row {
    int64_t key;
    uint16_t kind;
    struct text bytes; ///< absent: the row goes
};

/** Everything since the last batch, to be made durable at once. Without rows the version may be
 *  that of the batch before. */
struct core_batch {
    uint64_t version;            ///< of the state once it is durable
    const struct core_row *rows; ///< in ascending key
    size_t row_count;
    const struct core_effect *effects; ///< in the order they were yielded
    size_t effect_count;
};

/**
 * Take what changed since the last call. A row that changed several times appears once.
 *
 * @return NULL when there is nothing to write and nothing to release; else the caller's, to be
 *         given back with core_batch_free
 */
struct core_batch *core_batch_take(struct core *core);

/**
 * The first half of core_batch_take, for an adapter with a thread that writes: the rows are counted
 * but not there until core_batch_encode, which needs the batch only. Meanwhile the engine goes on.
 */
struct core_batch *core_batch_begin(struct core *core);

/** The second half, once, on any thread. The batch is freed afterwards, on the engine's. */
void core_batch_encode(struct core_batch *batch);

/**
 * Free a batch; NULL is allowed. Batches are freed in the order in which they were taken, because a
 * later one holds the replaced records that effects of an earlier one may borrow from.
 */
void core_batch_free(struct core_batch *batch);

/**
 * From now on measure what each input changes, so that core_check tells of one that a transaction
 * of any store could not take: more than LIMIT_TX_BYTES, or a record above LIMIT_RECORD_BYTES. It
 * costs an encoding for each: for the simulator and tests.
 */
void core_measure(struct core *core);

/** Ask every module for violated invariants, and check the engine's own. Empty when all is well. */
void core_check(struct core *core, struct buf *violations);

/**
 * Visit every record in ascending key: for debug dump and the simulator. The engine's own row,
 * which remembers how far keys were given out, is none.
 */
void core_dump(struct core *core,
               void (*visit)(void *context, const struct core_kind *kind, int64_t key,
                             const void *record),
               void *context);

// ---- for modules, while an input is applied -----------------------------------------------

/** @return the record, or NULL when there is none of this kind under the key */
const void *core_get(const struct core *core, const struct core_kind *kind, int64_t key);

/**
 * @return a key that was never used: keys ascend over the life of the store, also over restarts,
 *         which skip some
 */
int64_t core_new_key(struct core_call *call);

/** Insert or replace; record is cloned. The key is from core_new_key and belongs to one kind. */
void core_put(struct core_call *call, const struct core_kind *kind, int64_t key,
              const void *record);

/**
 * Begin a rehearsal, for questions such as "where would these tasks go": records are put by the
 * code that always puts them, and what modules derive from records follows, but core_rehearse_end
 * takes everything back in the same input. Nothing of it is ever part of a batch; effects, work and
 * timers are dropped. Only new records may be put, none may be deleted.
 */
void core_rehearse_begin(struct core_call *call);

/** End the rehearsal: its records go, newest first, and their keys were never given out. Pointers
 * to them stay valid for the rest of the input. */
void core_rehearse_end(struct core_call *call);

/** @return whether a rehearsal is under way, for modules whose state remembers records that went */
bool core_rehearsing(const struct core *core);

/** Delete; the record must be there. */
void core_delete(struct core_call *call, const struct core_kind *kind, int64_t key);

/** @return the least key of that kind above `after`, or 0. Keys start at 1 */
int64_t core_next(const struct core *core, const struct core_kind *kind, int64_t after);

/** @return how many records of that kind there are */
size_t core_count(const struct core *core, const struct core_kind *kind);

/**
 * Copy a record, which must be there, shallowly into the call's arena, to change members and put
 * it.
 */
void *core_edit(struct core_call *call, const struct core_kind *kind, int64_t key);

/** Queue an entity for a manager; it is queued once however often this is called. */
void core_work(struct core_call *call, const struct core_manager *manager, int64_t key);

/** Have the manager called for the entity at a time; replaces an earlier one; 0 takes it away. */
void core_timer(struct core_call *call, const struct core_manager *manager, int64_t key,
                int64_t at_ms);

/** Yield an effect; target and message are cloned. */
void core_effect(struct core_call *call, enum core_effect_kind kind, struct text target,
                 const char *type, const struct shape_type *shape, const void *message);

/**
 * Build a message without a copy of it: until core_effect_end the call's arena is one that lives
 * as long as the effect. A response made there is good for the usual time.
 *
 * @return what core_effect_end takes
 */
struct arena *core_effect_begin(struct core_call *call);

/** The call's own arena again. */
void core_effect_end(struct core_call *call, struct arena *own);

/**
 * Yield an effect whose message was made since core_effect_begin. Its parts lie there, in records
 * as core_get gave them, or in constants: never in a request, nor in volatile state of a module. A
 * record that was just put is got again for that. The target is cloned.
 */
void core_effect_lend(struct core_call *call, enum core_effect_kind kind, struct text target,
                      const char *type, const struct shape_type *shape, const void *message);

/** 64 random bits out of the input's entropy; good enough for secrets (core/chance.h). */
uint64_t core_random(struct core_call *call);

/** A random id of digits hex characters (at most 64), in the call's arena. */
struct text core_random_hex(struct core_call *call, size_t digits);

/** A random UUID version 4 in its usual form. */
struct text core_random_uuid(struct core_call *call);

/** Refuse an operation. @return ERR_FAULT */
int core_fault(struct core_call *call, const struct api_error *error, const char *format, ...)
    PRINTF_LIKE(3, 4);

/** @return a module's volatile state, for modules that build on another */
void *core_module_state(const struct core *core, const struct core_module *module);
