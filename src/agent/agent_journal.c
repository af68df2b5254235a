#include "agent/agent_internal.h"

#include "base/log.h"
#include "base/text.h"

#include <string.h>

/*
 * Records on their way to the disk: one write at a time, in a worker; what is asked for meanwhile
 * goes along with the next, so many tasks share one synchronisation. This does not count among the
 * agent's jobs: starting a task waits for it.
 */

static void batch_reset(struct journal_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        alloc_free((void *)(uintptr_t)batch->changes[i].task_id.data);
        alloc_free((void *)(uintptr_t)batch->changes[i].bytes.data);
    }
    batch->count = 0;
}

static void batch_deinit(struct journal_batch *batch)
{
    batch_reset(batch);
    alloc_free(batch->changes);
    alloc_free(batch->versions);
    *batch = (struct journal_batch){0};
}

void agent_journal_add(struct agent *agent, const struct agent_effect *effect)
{
    struct journal_batch *batch = &agent->journal.waiting;
    if (batch->count == batch->capacity) {
        batch->capacity = MAX(batch->capacity * 2, (size_t)16);
        batch->changes = alloc_resize(batch->changes, batch->capacity, sizeof(*batch->changes));
        batch->versions = alloc_resize(batch->versions, batch->capacity, sizeof(*batch->versions));
    }
    struct buf bytes = {0};
    if (effect->record != NULL) {
        journal_encode_again(agent->journal.journal, effect->task_id, effect->record, &bytes);
    } else {
        journal_forget(agent->journal.journal, effect->task_id);
    }
    batch->versions[batch->count] = effect->version;
    batch->changes[batch->count++] = (struct journal_change){
        .task_id = text_of(alloc_format("%.*s", TEXT_FMT(effect->task_id))),
        .bytes = {bytes.data, bytes.size},
    };
}

static void write_batch(uv_work_t *work)
{
    struct agent_journal *journal = CONTAINER_OF(work, struct agent_journal, work);
    journal->rc = journal_write(journal->journal, journal->writing.changes, journal->writing.count,
                                &journal->err);
}

static void after_write(uv_work_t *work, int status)
{
    (void)status;
    struct agent_journal *journal = CONTAINER_OF(work, struct agent_journal, work);
    struct agent *agent = CONTAINER_OF(journal, struct agent, journal);
    struct journal_batch done = journal->writing;
    journal->writing = (struct journal_batch){0};
    journal->busy = false;
    journal->write_count++;
    journal->record_count += done.count;
    AUTO(alloc_string) char *reason = NULL;
    if (journal->rc != 0) {
        LOG(ERROR, "the node's journal cannot be written; no new tasks are taken until it can",
            LOG_STR("reason", journal->err.text));
        reason = alloc_format("ResourceInitializationError: the node's journal cannot be written: "
                              "%s",
                              journal->err.text);
    }
    int rc = journal->rc;
    // The next write begins before the logic goes on with what is durable now.
    agent_journal_flush(agent);
    for (size_t i = 0; i < done.count && !agent->closed; i++) {
        agent_apply(agent, &(struct agent_event){.kind = AGENT_EVENT_JOURNALED,
                                                 .task_id = done.changes[i].task_id,
                                                 .version = done.versions[i],
                                                 .rc = rc,
                                                 .reason = text_of(reason)});
    }
    batch_deinit(&done);
    agent_check_stopped(agent);
}

void agent_journal_flush(struct agent *agent)
{
    struct agent_journal *journal = &agent->journal;
    if (journal->busy || journal->waiting.count == 0 || agent->closed) {
        return;
    }
    journal->writing = journal->waiting;
    journal->waiting = (struct journal_batch){0};
    journal->busy = true;
    journal->err = (struct err){0};
    int rc = uv_queue_work(agent->options.loop, &journal->work, write_batch, after_write);
    ASSERT(rc == 0);
}

void agent_journal_deinit(struct agent_journal *journal)
{
    ASSERT(!journal->busy);
    batch_deinit(&journal->waiting);
    batch_deinit(&journal->writing);
    journal_close(journal->journal);
    journal->journal = NULL;
}
