#include "agent/logic_internal.h"

/*
 * The end of a task: wait for steps under way, kill what may still run, remove what is left, tell
 * the server, and let go of the record, in this order. Each step is repeated until it succeeds.
 */

static void dequeue(struct agent_logic *logic, struct agent_task *task)
{
    struct agent_task *before = NULL;
    for (struct agent_task *at = logic->queue_first; at != task; at = at->queue_next) {
        ASSERT(at != NULL);
        before = at;
    }
    if (before == NULL) {
        logic->queue_first = task->queue_next;
    } else {
        before->queue_next = task->queue_next;
    }
    if (logic->queue_last == task) {
        logic->queue_last = before;
    }
    task->queued = false;
}

void agent_task_end(struct turn *turn, struct agent_task *task, struct text reason)
{
    ASSERT(!task->ended);
    ASSERT(task->journaled);
    task->ended = true;
    task->phase = JOURNAL_PHASE_STOPPED;
    if (!text_empty(reason)) {
        struct text cut = text_slice(reason, 0, AGENT_REASON_MAX);
        task->reason = alloc_format("%.*s", TEXT_FMT(cut));
    }
    if (task->queued) {
        dequeue(turn->logic, task);
    }
    if (task->prepare == STEP_TODO) {
        task->prepare = STEP_SKIPPED;
    }
    if (task->launch == STEP_TODO) {
        task->launch = STEP_SKIPPED;
        // Nothing of it was ever started; but what an agent before this one began may come up yet.
        task->kill = task->relaunch ? STEP_TODO : STEP_DONE;
    }
    agent_task_put(turn, task);
    task->stopped_version = task->put_version;
    agent_task_facts(turn, task);
}

void agent_task_supervisor_lost(struct turn *turn, struct agent_task *task)
{
    if (task->ended || task->launch != STEP_DONE) {
        return;
    }
    agent_task_end(turn, task,
                   TEXT("ContainerRuntimeError: the task's supervisor ended unexpectedly"));
}

static void retry_later(struct turn *turn, struct agent_task *task)
{
    task->host_attempts++;
    task->host_retry_at_ms =
        turn->now.monotonic_ms +
        agent_backoff_ms(task->host_attempts, HOST_RETRY_FIRST_MS, HOST_RETRY_LAST_MS);
}

void agent_task_killed(struct turn *turn, struct agent_task *task, int rc)
{
    if (task->kill != STEP_BUSY) {
        return;
    }
    if (rc == 0) {
        task->kill = STEP_DONE;
        task->host_attempts = 0;
        return;
    }
    task->kill = STEP_TODO;
    retry_later(turn, task);
}

void agent_task_cleaned(struct turn *turn, struct agent_task *task, int rc)
{
    if (task->clean != STEP_BUSY) {
        return;
    }
    if (rc == 0) {
        task->clean = STEP_DONE;
        task->host_attempts = 0;
        return;
    }
    task->clean = STEP_TODO;
    task->clean_failed = true;
    retry_later(turn, task);
}

bool agent_task_may_report_stopped(const struct agent_task *task)
{
    bool quiet = task->prepare != STEP_BUSY && task->launch != STEP_BUSY;
    // What cannot be removed, or must not be yet, does not keep the truth from the server.
    bool clean = task->clean == STEP_DONE || task->clean_failed || task->stop_put_failed ||
                 MUTANT("reuse-address");
    return task->ended && quiet && task->kill == STEP_DONE && clean;
}

// Removing takes the supervisor's last state along, so the journal must have it first; or, when it
// cannot be written, the server.
static bool may_clean(const struct agent_task *task)
{
    return task->durable_version >= task->stopped_version ||
           (task->stop_put_failed && agent_task_stopped_accepted(task));
}

static bool retry_due(struct turn *turn, const struct agent_task *task)
{
    if (task->host_retry_at_ms > turn->now.monotonic_ms) {
        agent_turn_due(turn, task->host_retry_at_ms);
        return false;
    }
    return true;
}

// Nothing is left to do for the task but to let go of it. @return false when it is gone
static bool step_erase(struct turn *turn, struct agent_task *task)
{
    if (!task->journaled) {
        agent_task_forget(turn, task);
        return false;
    }
    if (task->erase == STEP_TODO && retry_due(turn, task)) {
        task->erase = STEP_BUSY;
        task->put_version++;
        agent_turn_effect(turn, AGENT_EFFECT_JOURNAL_DELETE, task)->version = task->put_version;
    }
    return true;
}

bool agent_task_step_end(struct turn *turn, struct agent_task *task)
{
    if (task->prepare == STEP_BUSY || task->launch == STEP_BUSY) {
        return true;
    }
    if (task->kill == STEP_TODO && retry_due(turn, task)) {
        task->kill = STEP_BUSY;
        agent_turn_effect(turn, AGENT_EFFECT_KILL, task);
    }
    if (task->kill != STEP_DONE) {
        return true;
    }
    if (task->clean == STEP_TODO && may_clean(task) && retry_due(turn, task)) {
        bool forget = MUTANT("forget-clean");
        task->clean = forget ? STEP_DONE : STEP_BUSY;
        if (!forget) {
            agent_turn_effect(turn, AGENT_EFFECT_CLEAN, task)->spec = task->spec;
        }
    }
    bool told = agent_task_stopped_accepted(task) && task->report_id == 0;
    if (task->clean == STEP_DONE && told) {
        return step_erase(turn, task);
    }
    return true;
}
