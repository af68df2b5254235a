#include "journal/journal.h"

#include "base/text.h"
#include "shape/cbor.h"

#include <string.h>

#define RECORD_VERSION 1

void journal_encode(const struct journal_task *task, struct buf *out)
{
    cbor_encode(&journal_task_shape, task, RECORD_VERSION, NULL, out);
}

// Members of a record that are to be written again.
struct kept {
    char id[JOURNAL_ID_SIZE];
    struct cbor_unknown unknown; // its pairs are owned
};

static void keep_unknown(struct journal *journal, struct text task_id,
                         const struct cbor_unknown *unknown)
{
    struct kept *kept = ALLOC(struct kept);
    memcpy(kept->id, task_id.data, JOURNAL_ID_SIZE);
    char *pairs = alloc_zero(unknown->pairs.size + 1);
    memcpy(pairs, unknown->pairs.data, unknown->pairs.size);
    kept->unknown = (struct cbor_unknown){{pairs, unknown->pairs.size}, unknown->count};
    journal_forget(journal, task_id);
    map_put(&journal->unknown, (struct text){kept->id, JOURNAL_ID_SIZE}, kept);
}

void journal_forget(struct journal *journal, struct text task_id)
{
    struct kept *kept = map_remove(&journal->unknown, task_id);
    if (kept != NULL) {
        alloc_free((void *)(uintptr_t)kept->unknown.pairs.data);
        alloc_free(kept);
    }
}

void journal_encode_again(const struct journal *journal, struct text task_id,
                          const struct journal_task *task, struct buf *out)
{
    const struct kept *kept = map_get(&journal->unknown, task_id);
    cbor_encode(&journal_task_shape, task, RECORD_VERSION, kept == NULL ? NULL : &kept->unknown,
                out);
}

int journal_decode(struct text bytes, struct arena *arena, struct journal_task *out_task,
                   struct cbor_unknown *out_unknown, struct err *err)
{
    struct journal_task task = {0};
    struct shape_error why = {0};
    uint32_t version = 0;
    int rc = cbor_decode(&journal_task_shape, bytes, arena, &task, &version, out_unknown, &why);
    if (rc != 0) {
        return err_set(err, ERR_CORRUPT, "a record of the journal is damaged: %s %s", why.path,
                       why.text);
    }
    if (version > RECORD_VERSION) {
        return err_set(err, ERR_VERSION,
                       "a record of the journal is of version %u, which a newer berth wrote; this "
                       "one reads up to %d: start that version or a newer one",
                       version, RECORD_VERSION);
    }
    if (task.spec == NULL || task.spec->definition == NULL || task.phase <= 0) {
        return err_set(err, ERR_CORRUPT, "a record of the journal is incomplete");
    }
    *out_task = task;
    return 0;
}

/** A load under way. */
struct load {
    struct journal *journal;
    journal_visit_fn visit;
    void *context;
    struct journal_loss *loss;
    size_t unreadable;
};

static int load_one(void *context, struct text task_id, struct text bytes, bool uncertain,
                    struct err *err)
{
    struct load *load = context;
    AUTO(arena_deinit) struct arena arena = {0};
    struct journal_task task = {0};
    struct cbor_unknown unknown = {0};
    int rc = journal_decode(bytes, &arena, &task, &unknown, err);
    if (rc == ERR_CORRUPT) {
        // Its checksum was right, so an older Berth wrote it, or something else did.
        load->unreadable += bytes.size;
        load->loss->gaps++;
        return 0;
    }
    if (rc != 0) {
        return rc;
    }
    if (unknown.count > 0) {
        keep_unknown(load->journal, task_id, &unknown);
    }
    if (uncertain && task.phase == JOURNAL_PHASE_ACCEPTED) {
        task.phase = JOURNAL_PHASE_LAUNCHED;
    }
    return load->visit(load->context, task_id, &task, err);
}

int journal_load(struct journal *journal, journal_visit_fn visit, void *context,
                 struct journal_loss *out_loss, struct err *err)
{
    struct journal_loss loss = {0};
    struct journal_loss unreadable = {0};
    struct load load = {
        .journal = journal, .visit = visit, .context = context, .loss = &unreadable};
    int rc = journal->ops->load(journal, load_one, &load, &loss, err);
    if (rc != 0) {
        return rc;
    }
    loss.bytes += load.unreadable;
    loss.gaps += unreadable.gaps;
    *out_loss = loss;
    return 0;
}

int journal_write(struct journal *journal, const struct journal_change *changes, size_t count,
                  struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        ASSERT(changes[i].task_id.size == JOURNAL_ID_SIZE);
        if (changes[i].bytes.size > JOURNAL_RECORD_MAX) {
            return err_set(err, ERR_NO_ROOM, "a record of %zu bytes is too large for the journal",
                           changes[i].bytes.size);
        }
    }
    return journal->ops->write(journal, changes, count, err);
}

void journal_close(struct journal *journal)
{
    if (journal != NULL) {
        for (size_t cursor = 0;; cursor = 0) {
            const struct kept *kept = map_next(&journal->unknown, &cursor, NULL);
            if (kept == NULL) {
                break;
            }
            journal_forget(journal, (struct text){kept->id, JOURNAL_ID_SIZE});
        }
        map_deinit(&journal->unknown);
        journal->ops->close(journal);
    }
}
