#include "sim.h"

#include "base/mutant.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

/*
 * The journal of a node: the real records and the real loading over a medium in memory that loses
 * what was not synchronised. A write that is cut off leaves a prefix of its records, as a torn log
 * does. Above it the queue of src/agent: one write at a time, what comes meanwhile goes along with
 * the next.
 */

struct record {
    struct record *next;
    char id[SIM_ID_CHARS];
    struct buf bytes;
};

struct medium {
    struct journal journal;
    struct record *records;
};

struct journal_queue {
    struct journal_change *changes; // ids and bytes are owned
    int64_t *versions;
    size_t count;
};

// ---- the medium -----------------------------------------------------------------------------

static struct medium *medium_of(const struct journal *journal)
{
    return (struct medium *)(uintptr_t)journal;
}

static int medium_load(struct journal *journal,
                       int (*visit)(void *context, struct text task_id, struct text bytes,
                                    bool uncertain, struct err *err),
                       void *context, struct journal_loss *out_loss, struct err *err)
{
    *out_loss = (struct journal_loss){0};
    for (struct record *at = medium_of(journal)->records; at != NULL; at = at->next) {
        int rc = visit(context, text_of(at->id), buf_view(&at->bytes), false, err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static struct record **find(struct medium *medium, struct text id)
{
    struct record **at = &medium->records;
    while (*at != NULL && !text_is(id, (*at)->id)) {
        at = &(*at)->next;
    }
    return at;
}

static void put(struct medium *medium, const struct journal_change *change)
{
    struct record **at = find(medium, change->task_id);
    if (change->bytes.data == NULL) {
        struct record *gone = *at;
        if (gone != NULL) {
            *at = gone->next;
            buf_deinit(&gone->bytes);
            alloc_free(gone);
        }
        return;
    }
    if (*at == NULL) {
        *at = ALLOC(struct record);
        snprintf((*at)->id, sizeof((*at)->id), "%.*s", TEXT_FMT(change->task_id));
    }
    buf_reset(&(*at)->bytes);
    buf_text(&(*at)->bytes, change->bytes);
}

// The mutant: a record in phase LAUNCHED never reaches the medium.
static bool forgotten(const struct journal_change *change)
{
    if (!MUTANT("forget-launched") || change->bytes.data == NULL) {
        return false;
    }
    AUTO(arena_deinit) struct arena arena = {0};
    struct journal_task task = {0};
    struct err err = {0};
    int rc = journal_decode(change->bytes, &arena, &task, NULL, &err);
    ASSERT(rc == 0);
    return task.phase == JOURNAL_PHASE_LAUNCHED;
}

static int medium_write(struct journal *journal, const struct journal_change *changes, size_t count,
                        struct err *err)
{
    (void)err;
    for (size_t i = 0; i < count; i++) {
        if (!forgotten(&changes[i])) {
            put(medium_of(journal), &changes[i]);
        }
    }
    return 0;
}

static void medium_close(struct journal *journal)
{
    struct medium *medium = medium_of(journal);
    while (medium->records != NULL) {
        struct record *record = medium->records;
        medium->records = record->next;
        buf_deinit(&record->bytes);
        alloc_free(record);
    }
    alloc_free(medium);
}

struct journal *sim_journal_new(void)
{
    static const struct journal_ops ops = {
        .name = "sim", .load = medium_load, .write = medium_write, .close = medium_close};
    struct medium *medium = ALLOC(struct medium);
    medium->journal.ops = &ops;
    return &medium->journal;
}

bool sim_journal_find(struct journal *journal, const char *id, enum journal_phase *out_phase)
{
    const struct record *record = *find(medium_of(journal), text_of(id));
    if (record == NULL) {
        return false;
    }
    AUTO(arena_deinit) struct arena arena = {0};
    struct journal_task task = {0};
    struct err err = {0};
    int rc = journal_decode(buf_view(&record->bytes), &arena, &task, NULL, &err);
    ASSERT(rc == 0);
    *out_phase = task.phase;
    return true;
}

size_t sim_journal_count(const struct journal *journal)
{
    size_t count = 0;
    for (const struct record *at = medium_of(journal)->records; at != NULL; at = at->next) {
        count++;
    }
    return count;
}

// ---- the queue ------------------------------------------------------------------------------

static void queue_free(void *pointer)
{
    struct journal_queue *queue = pointer;
    if (queue == NULL) {
        return;
    }
    for (size_t i = 0; i < queue->count; i++) {
        alloc_free((void *)(uintptr_t)queue->changes[i].task_id.data);
        alloc_free((void *)(uintptr_t)queue->changes[i].bytes.data);
    }
    alloc_free(queue->changes);
    alloc_free(queue->versions);
    alloc_free(queue);
}

void node_journal_add(struct node *node, const struct agent_effect *effect)
{
    if (node->waiting == NULL) {
        node->waiting = ALLOC(struct journal_queue);
    }
    struct journal_queue *queue = node->waiting;
    queue->changes = alloc_resize(queue->changes, queue->count + 1, sizeof(*queue->changes));
    queue->versions = alloc_resize(queue->versions, queue->count + 1, sizeof(*queue->versions));
    struct buf bytes = {0};
    if (effect->record != NULL) {
        journal_encode(effect->record, &bytes);
    }
    queue->versions[queue->count] = effect->version;
    queue->changes[queue->count] = (struct journal_change){
        .task_id = text_of(alloc_format("%.*s", TEXT_FMT(effect->task_id))),
        .bytes = {bytes.data, bytes.size},
    };
    queue->count++;
}

static void on_written(void *context, void *payload)
{
    (void)payload;
    struct node *node = context;
    struct sim *sim = node->sim;
    struct journal_queue *done = node->writing;
    node->writing = NULL;
    struct err err = {0};
    bool full = node->full_ms > sim->world.now_ms;
    int rc = full || faults_host(sim) ? err_set(&err, ERR_FULL_DISK, "no space left on device") : 0;
    if (rc == 0) {
        rc = journal_write(node->journal, done->changes, done->count, &err);
    }
    world_trace(&sim->world, "%s journals %zu records%s%s", node->name, done->count,
                rc == 0 ? "" : ": ", rc == 0 ? "" : err.text);
    node_journal_flush(node);
    for (size_t i = 0; i < done->count; i++) {
        struct fact *fact = fact_of(sim, done->changes[i].task_id);
        fact->end_exempt = fact->end_exempt || rc != 0;
        node_apply(node,
                   &(struct agent_event){.kind = AGENT_EVENT_JOURNALED,
                                         .task_id = done->changes[i].task_id,
                                         .version = done->versions[i],
                                         .rc = rc,
                                         .reason = TEXT("ResourceInitializationError: the node's "
                                                        "journal cannot be written")});
    }
    queue_free(done);
}

void node_journal_flush(struct node *node)
{
    if (node->writing != NULL || node->waiting == NULL) {
        return;
    }
    node->writing = node->waiting;
    node->waiting = NULL;
    struct world *world = &node->sim->world;
    world_post(world, &(struct world_event){.delay_ms = world_between(world, 1, 8),
                                            .life = &node->life,
                                            .run = on_written,
                                            .context = node});
    faults_moment(node->sim, node);
}

void node_journal_crash(struct node *node)
{
    if (node->writing != NULL) {
        // A log is torn at any record; what comes before the tear counts.
        int64_t count = world_between(&node->sim->world, 0, (int64_t)node->writing->count);
        for (int64_t i = 0; i < count; i++) {
            put(medium_of(node->journal), &node->writing->changes[i]);
        }
    }
    queue_free(node->writing);
    queue_free(node->waiting);
    node->writing = NULL;
    node->waiting = NULL;
}
