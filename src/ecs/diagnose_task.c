#include "ecs/diagnose.h"

#include <string.h>

/*
 * ExplainTask: what became of one task, in a word for programs and a sentence for people.
 */

#define EXIT_SIGNAL 128 // a shell's convention, and the supervisor's: 128 and the signal
#define EXIT_KILLED (EXIT_SIGNAL + 9)
#define STOP_TIMEOUT 30 // seconds, where the definition says nothing

// ---- a task that is to run ----------------------------------------------------------------

static struct text silence(struct core_call *call, const struct diagnose_subject *subject)
{
    const struct task_node *node = subject->node;
    if (!node->seen) {
        return arena_format(call->arena, "host %.*s has not connected yet",
                            TEXT_FMT(subject->host));
    }
    return arena_format(call->arena, "host %.*s was last heard of %lld seconds ago",
                        TEXT_FMT(subject->host),
                        (long long)MAX(INT64_C(0), call->now_ms - node->beat_ms) / 1000);
}

static size_t unhealthy(const struct task_record_task *record)
{
    size_t i = 0;
    while (i < record->containers.count &&
           record->containers.items[i].health != ECS_HEALTH_STATUS_UNHEALTHY) {
        i++;
    }
    return i;
}

static struct text waiting(struct core_call *call, const struct task_record_task *record)
{
    struct text provider = record->extra->capacity_provider;
    int64_t left_ms =
        MAX(INT64_C(0), record->created_at + task_state(call->core)->waiting_ms - call->now_ms);
    return arena_format(call->arena,
                        "No instance of capacity provider %.*s has room for it. It waits for one, "
                        "%lld seconds more; `berth capacity` shows how the group is scaled.",
                        TEXT_FMT(provider), (long long)left_ms / 1000);
}

static size_t place_of(const struct diagnose_subject *subject, struct text name)
{
    const struct ecs_container_definition_list *all = &subject->definition->container_definitions;
    size_t i = 0;
    while (i < all->count && !text_equal(all->items[i].name, name)) {
        i++;
    }
    return i;
}

// A container that has not started, and the one that it waits for. @return whether there are such
static bool waits_for(const struct diagnose_subject *subject, size_t *out_waiting,
                      const struct ecs_container_dependency **out_for)
{
    const struct task_record_task *record = subject->record;
    for (size_t i = 0; i < record->containers.count; i++) {
        const struct ecs_container_definition *definition =
            &subject->definition->container_definitions.items[i];
        bool started = record->containers.items[i].status != TASK_RECORD_TASK_STATUS_PENDING;
        for (size_t k = 0; k < definition->depends_on.count && !started; k++) {
            const struct ecs_container_dependency *on = &definition->depends_on.items[k];
            size_t place = place_of(subject, on->container_name);
            bool runs = place < record->containers.count &&
                        record->containers.items[place].status == TASK_RECORD_TASK_STATUS_RUNNING;
            bool healthy =
                runs && record->containers.items[place].health == ECS_HEALTH_STATUS_HEALTHY;
            // One that has ended, or not begun, is not what it waits for longest.
            if (runs && (on->condition == ECS_CONTAINER_CONDITION_HEALTHY
                             ? !healthy
                             : on->condition != ECS_CONTAINER_CONDITION_START)) {
                *out_waiting = i;
                *out_for = on;
                return true;
            }
        }
    }
    return false;
}

static void explain_waiting(struct core_call *call, const struct diagnose_subject *subject,
                            size_t waiting, const struct ecs_container_dependency *on)
{
    size_t place = place_of(subject, on->container_name);
    bool sick = on->condition == ECS_CONTAINER_CONDITION_HEALTHY &&
                subject->record->containers.items[place].health == ECS_HEALTH_STATUS_UNHEALTHY;
    diagnose_point_at(subject, place);
    diagnose_conclude(
        subject, sick ? BERTH_TASK_CAUSE_UNHEALTHY : BERTH_TASK_CAUSE_STARTING, sick,
        arena_format(call->arena, "Container %.*s waits for container %.*s to be %s%s.",
                     TEXT_FMT(subject->definition->container_definitions.items[waiting].name),
                     TEXT_FMT(on->container_name),
                     on->condition == ECS_CONTAINER_CONDITION_HEALTHY   ? "HEALTHY"
                     : on->condition == ECS_CONTAINER_CONDITION_SUCCESS ? "over with exit code 0"
                                                                        : "over",
                     sick ? ", which fails its health check" : ""));
}

static void explain_live(struct core_call *call, const struct diagnose_subject *subject)
{
    const struct task_record_task *record = subject->record;
    bool running = record->last_status == TASK_RECORD_TASK_STATUS_RUNNING;
    size_t sick = unhealthy(record);
    size_t waiting_container = 0;
    const struct ecs_container_dependency *on = NULL;
    if (task_waits(record)) {
        diagnose_conclude(subject, BERTH_TASK_CAUSE_WAITING_FOR_CAPACITY, false,
                          waiting(call, record));
    } else if (!task_node_live(subject->node)) {
        diagnose_conclude(
            subject, BERTH_TASK_CAUSE_AGENT_LOST, true,
            arena_format(call->arena,
                         running ? "It ran when its host fell silent, and may run still: %.*s."
                                 : "It waits for its host: %.*s.",
                         TEXT_FMT(silence(call, subject))));
    } else if (running && sick < record->containers.count) {
        diagnose_point_at(subject, sick);
        diagnose_conclude(subject, BERTH_TASK_CAUSE_UNHEALTHY, true,
                          arena_format(call->arena,
                                       "Container %.*s runs and fails its health check.",
                                       TEXT_FMT(subject->response->container)));
    } else if (running) {
        diagnose_conclude(subject, BERTH_TASK_CAUSE_RUNNING, false, TEXT("It runs."));
    } else if (subject->entry->waiting) {
        diagnose_conclude(
            subject, BERTH_TASK_CAUSE_NOT_ACKNOWLEDGED, false,
            arena_format(call->arena,
                         "Host %.*s is in contact and has not confirmed the task yet; it is "
                         "told again every two seconds.",
                         TEXT_FMT(subject->host)));
    } else if (waits_for(subject, &waiting_container, &on)) {
        explain_waiting(call, subject, waiting_container, on);
    } else if (record->pull_started_at != 0 && record->pull_stopped_at == 0) {
        diagnose_conclude(subject, BERTH_TASK_CAUSE_STARTING, false,
                          TEXT("Its host prepares the images."));
    } else {
        diagnose_conclude(subject, BERTH_TASK_CAUSE_STARTING, false, TEXT("Its host starts it."));
    }
}

// ---- a task that ended, or is to end ------------------------------------------------------

static bool essential(const struct diagnose_subject *subject, size_t container)
{
    const struct ecs_container_definition *definition =
        &subject->definition->container_definitions.items[container];
    return !definition->has_essential || definition->essential;
}

// The container to blame: one that says why, else an essential one that ended badly, else one that
// ended. @return its place, or the count of containers
static size_t to_blame(const struct diagnose_subject *subject)
{
    const struct task_record_task *record = subject->record;
    size_t best = record->containers.count;
    int best_rank = 0;
    for (size_t i = 0; i < record->containers.count; i++) {
        const struct task_record_container *container = &record->containers.items[i];
        bool ended = container->has_exit_code;
        bool bad = ended && container->exit_code != 0;
        // When an essential container ends, the others are stopped: they exit badly and are not
        // the cause. So of two that ended badly, one that was not told to is not to be known.
        int rank = !text_empty(container->reason)   ? 4
                   : bad && essential(subject, i)   ? 3
                   : ended && essential(subject, i) ? 2
                   : bad                            ? 1
                                                    : 0;
        if (rank > best_rank) {
            best = i;
            best_rank = rank;
        }
    }
    return best;
}

static void explain_exit(struct core_call *call, const struct diagnose_subject *subject,
                         size_t container)
{
    const struct task_record_container *ended = &subject->record->containers.items[container];
    struct text name = subject->response->container;
    if (ended->exit_code == 0) {
        diagnose_conclude(
            subject, BERTH_TASK_CAUSE_FINISHED, false,
            arena_format(call->arena, "Container %.*s ended with exit code 0.", TEXT_FMT(name)));
        return;
    }
    bool signalled = ended->exit_code > EXIT_SIGNAL && ended->exit_code < EXIT_SIGNAL + 65;
    struct text how = {0};
    if (ended->exit_code == EXIT_KILLED) {
        how = TEXT(": killed (signal 9), and not by its own memory limit");
    } else if (signalled) {
        how = arena_format(call->arena, ": signal %d", (int)ended->exit_code - EXIT_SIGNAL);
    }
    diagnose_conclude(subject, BERTH_TASK_CAUSE_CONTAINER_EXITED, true,
                      arena_format(call->arena,
                                   "Essential container %.*s ended with exit code %d%.*s.",
                                   TEXT_FMT(name), (int)ended->exit_code, TEXT_FMT(how)));
}

// Who had to be killed, as it did not end when it was asked to. Absent when there is none.
static struct text stubborn(struct core_call *call, const struct diagnose_subject *subject)
{
    const struct task_record_task *record = subject->record;
    for (size_t i = 0; i < record->containers.count; i++) {
        const struct task_record_container *container = &record->containers.items[i];
        const struct ecs_container_definition *definition =
            &subject->definition->container_definitions.items[i];
        if (container->has_exit_code && container->exit_code == EXIT_KILLED &&
            text_empty(container->reason)) {
            diagnose_point_at(subject, i);
            return arena_format(call->arena,
                                ". Container %.*s did not end within the %d seconds of its "
                                "stopTimeout and was killed",
                                TEXT_FMT(definition->name),
                                definition->has_stop_timeout ? (int)definition->stop_timeout
                                                             : STOP_TIMEOUT);
        }
    }
    return (struct text){0};
}

static void explain_ended(struct core_call *call, const struct diagnose_subject *subject)
{
    const struct task_record_task *record = subject->record;
    struct text stopped_reason =
        record->extra == NULL ? (struct text){0} : record->extra->stopped_reason;
    size_t sick = unhealthy(record);
    if (text_starts(stopped_reason, TEXT("Task failed container health checks")) &&
        sick < record->containers.count) {
        diagnose_point_at(subject, sick);
        diagnose_conclude(
            subject, BERTH_TASK_CAUSE_UNHEALTHY, true,
            arena_format(call->arena,
                         "Container %.*s failed its health check, so the service stopped the "
                         "task.",
                         TEXT_FMT(subject->response->container)));
        return;
    }
    if (record->stop_code == ECS_TASK_STOP_CODE_USER_INITIATED ||
        record->stop_code == ECS_TASK_STOP_CODE_SERVICE_SCHEDULER_INITIATED) {
        diagnose_conclude(subject, BERTH_TASK_CAUSE_STOPPED_BY_USER, false,
                          arena_format(call->arena, "It was stopped on request: %.*s%.*s",
                                       TEXT_FMT(text_slice(stopped_reason, 0, 500)),
                                       TEXT_FMT(stubborn(call, subject))));
        return;
    }
    if (record->stop_code == ECS_TASK_STOP_CODE_TERMINATION_NOTICE ||
        record->stop_code == ECS_TASK_STOP_CODE_SPOT_INTERRUPTION) {
        diagnose_conclude(subject, BERTH_TASK_CAUSE_HOST_FAILED, true, stopped_reason);
        return;
    }
    size_t container = to_blame(subject);
    bool found = container < record->containers.count;
    if (found) {
        diagnose_point_at(subject, container);
        if (diagnose_reason(call, subject, record->containers.items[container].reason)) {
            return;
        }
    }
    if (diagnose_reason(call, subject, stopped_reason)) {
        return;
    }
    if (found && record->containers.items[container].has_exit_code) {
        explain_exit(call, subject, container);
        return;
    }
    diagnose_conclude(subject, BERTH_TASK_CAUSE_FAILED_TO_START, true,
                      text_empty(stopped_reason)
                          ? TEXT("It did not start, and its host did not say why.")
                          : stopped_reason);
}

static void explain(struct core_call *call, const struct diagnose_subject *subject)
{
    const struct task_record_task *record = subject->record;
    if (record->desired_status != TASK_RECORD_TASK_STATUS_STOPPED) {
        explain_live(call, subject);
        return;
    }
    explain_ended(call, subject);
    bool ending = record->last_status < TASK_RECORD_TASK_STATUS_DEPROVISIONING;
    if (ending && !task_node_live(subject->node)) {
        diagnose_conclude(subject, BERTH_TASK_CAUSE_AGENT_LOST, true,
                          arena_format(call->arena, "It is to stop, and cannot be told: %.*s.",
                                       TEXT_FMT(silence(call, subject))));
    } else if (ending && !subject->response->failed) {
        diagnose_conclude(subject, BERTH_TASK_CAUSE_STOPPING, false,
                          TEXT("It is to stop, and its containers have been told."));
    }
}

// ---- the answer ---------------------------------------------------------------------------

// Since when a task has had its status, as far as its record tells.
static int64_t since(const struct task_record_task *record)
{
    switch (record->last_status) {
    case TASK_RECORD_TASK_STATUS_STOPPED:
        return record->stopped_at;
    case TASK_RECORD_TASK_STATUS_DEACTIVATING:
    case TASK_RECORD_TASK_STATUS_STOPPING:
    case TASK_RECORD_TASK_STATUS_DEPROVISIONING:
        return MAX(record->stopping_at, record->execution_stopped_at);
    case TASK_RECORD_TASK_STATUS_RUNNING:
        return record->started_at;
    case TASK_RECORD_TASK_STATUS_PENDING:
    case TASK_RECORD_TASK_STATUS_ACTIVATING:
        return MAX(record->created_at, MAX(record->pull_started_at, record->pull_stopped_at));
    case TASK_RECORD_TASK_STATUS_PROVISIONING:
    case TASK_RECORD_TASK_STATUS_ABSENT:
    case TASK_RECORD_TASK_STATUS_UNRECOGNIZED:
        break;
    }
    return record->created_at;
}

int task_find_anywhere(struct core_call *call, const struct task_state *state,
                       struct text cluster_name, struct text task,
                       const struct task_entry **out_entry)
{
    int64_t cluster = 0;
    if (cluster_name.data != NULL) {
        int rc = ecs_cluster_resolve(call, cluster_name, &cluster);
        if (rc != 0) {
            return rc;
        }
    }
    struct text id = task;
    size_t slash = text_find_last(id, '/');
    if (slash != SIZE_MAX) {
        id = text_slice(id, slash + 1, id.size);
    }
    const struct task_entry *entry = task_entry_by_id(state, id);
    if (entry != NULL) {
        const struct task_record_task *record = core_get(call->core, &task_kind, entry->key);
        const struct ecs_record_cluster *in =
            core_get(call->core, &ecs_cluster_kind, record->cluster);
        // An ARN must be that of this very task.
        if (in->realm == ecs_caller_realm(call) && (cluster == 0 || cluster == record->cluster) &&
            (slash == SIZE_MAX || task_find(call->core, record->cluster, task) == entry)) {
            *out_entry = entry;
            return 0;
        }
    }
    return core_fault(call, &berth_error_resource_not_found_exception,
                      "There is no task %.*s. Stopped tasks are kept for some days; `berth ps "
                      "--all` lists those of a cluster.",
                      TEXT_FMT(text_slice(task, 0, 200)));
}

int task_explain_task(struct core_call *call, void *pointer, const void *input, void *output)
{
    const struct berth_explain_task_request *request = input;
    const struct task_entry *entry = NULL;
    int rc = task_find_anywhere(call, pointer, request->cluster, request->task, &entry);
    if (rc != 0) {
        return rc;
    }
    struct berth_explain_task_response *response = output;
    const struct task_record_task *record = core_get(call->core, &task_kind, entry->key);
    const struct task_record_node *host = core_get(call->core, &task_node_kind, record->node);
    const struct diagnose_subject subject = {
        .record = record,
        .entry = entry,
        .definition = task_definition(call->core, record->definition),
        .node = entry->node,
        .host = host == NULL ? TEXT("none") : host->name,
        .response = response,
    };
    response->task = ARENA_NEW(call->arena, struct ecs_task);
    task_show(call, entry->key, record, TASK_SHOW_TAGS, response->task);
    response->note = record->extra == NULL ? (struct text){0} : record->extra->note;
    response->has_failed = true;
    response->since = since(record);
    if (host != NULL) {
        response->node_id = host->node_id;
        response->node_name = host->name;
        response->has_node_in_contact = true;
        response->node_in_contact = !entry->node->removed && task_node_live(entry->node);
        response->node_seen_at = entry->node->seen ? entry->node->beat_ms : 0;
    }
    response->has_acknowledged = true;
    response->acknowledged = !entry->waiting;
    explain(call, &subject);
    return 0;
}
