#include "journal/journal.h"

#include "base/text.h"
#include "shape/cbor.h"

#define RECORD_VERSION 1

void journal_encode(const struct journal_task *task, struct buf *out)
{
    cbor_encode(&journal_task_shape, task, RECORD_VERSION, NULL, out);
}

int journal_decode(struct text bytes, struct arena *arena, struct journal_task *out_task,
                   struct err *err)
{
    struct journal_task task = {0};
    struct shape_error why = {0};
    uint32_t version = 0;
    int rc = cbor_decode(&journal_task_shape, bytes, arena, &task, &version, NULL, &why);
    if (rc != 0) {
        return err_set(err, ERR_CORRUPT, "a record of the journal is damaged: %s %s", why.path,
                       why.text);
    }
    if (version > RECORD_VERSION) {
        return err_set(err, ERR_VERSION,
                       "a record of the journal is of version %u, which a newer berth wrote",
                       version);
    }
    if (task.spec == NULL || task.spec->definition == NULL || task.phase <= 0) {
        return err_set(err, ERR_CORRUPT, "a record of the journal is incomplete");
    }
    *out_task = task;
    return 0;
}

/** A load under way. */
struct load {
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
    int rc = journal_decode(bytes, &arena, &task, err);
    if (rc == ERR_CORRUPT) {
        // Its checksum was right, so an older Berth wrote it, or something else did.
        load->unreadable += bytes.size;
        load->loss->gaps++;
        return 0;
    }
    if (rc != 0) {
        return rc;
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
    struct load load = {.visit = visit, .context = context, .loss = &unreadable};
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
        journal->ops->close(journal);
    }
}
