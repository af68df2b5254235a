#include "ecs/diagnose.h"
#include "ecs/service.h"

#include <string.h>

/*
 * What found no place lately. It is kept in memory only: it is for a person who looks at what just
 * happened, and a record for each failed attempt would let anybody who may ask fill the store.
 */

#define PAGE_DEFAULT 20

/** One attempt, or several that were alike. */
struct note {
    int64_t realm;
    int64_t cluster;
    int64_t number;                       ///< grows with every attempt
    struct berth_unplaced_task *unplaced; ///< from shape_clone
};

struct diagnose_ring {
    struct note notes[DIAGNOSE_NOTES_MAX]; ///< oldest first
    size_t count;
    int64_t last_number;
};

void diagnose_ring_free(struct diagnose_ring *ring)
{
    for (size_t i = 0; ring != NULL && i < ring->count; i++) {
        alloc_free(ring->notes[i].unplaced);
    }
    alloc_free(ring);
}

static void forget(struct diagnose_ring *ring, size_t place)
{
    ASSERT(place < ring->count);
    alloc_free(ring->notes[place].unplaced);
    ring->count--;
    memmove(ring->notes + place, ring->notes + place + 1,
            (ring->count - place) * sizeof(*ring->notes));
}

static bool alike(const struct berth_unplaced_task *a, const struct berth_unplaced_task *b)
{
    return text_equal(a->operation, b->operation) && text_equal(a->cluster_arn, b->cluster_arn) &&
           text_equal(a->task_definition_arn, b->task_definition_arn) &&
           text_equal(a->group, b->group) && text_equal(a->started_by, b->started_by) &&
           a->launch_type == b->launch_type;
}

// The note of an attempt like this one. @return its place, or SIZE_MAX
static size_t find_alike(const struct diagnose_ring *ring, int64_t realm,
                         const struct berth_unplaced_task *unplaced)
{
    for (size_t i = ring->count; i > 0; i--) {
        if (ring->notes[i - 1].realm == realm && alike(ring->notes[i - 1].unplaced, unplaced)) {
            return i - 1;
        }
    }
    return SIZE_MAX;
}

static void make_room(struct diagnose_ring *ring, int64_t realm)
{
    size_t of_realm = 0;
    size_t oldest = 0;
    for (size_t i = ring->count; i > 0; i--) {
        if (ring->notes[i - 1].realm == realm) {
            of_realm++;
            oldest = i - 1;
        }
    }
    if (of_realm >= DIAGNOSE_NOTES_REALM) {
        forget(ring, oldest);
    } else if (ring->count == DIAGNOSE_NOTES_MAX) {
        forget(ring, 0);
    }
}

static struct text group_of(struct core_call *call, const struct task_run *run)
{
    if (!text_empty(run->request->group)) {
        return run->request->group;
    }
    if (run->deployment != 0) {
        return service_group_name(call, run->deployment);
    }
    const struct text parts[] = {TEXT("family:"),
                                 ecs_definition_family(call->core, run->definition_key)};
    return arena_join(call->arena, parts, ARRAY_LEN(parts));
}

// Who asked for what: what attempts are told apart by.
static struct berth_unplaced_task describe(struct core_call *call, const struct task_run *run,
                                           const struct diagnose_attempt *attempt)
{
    ASSERT(attempt->placed < attempt->asked);
    return (struct berth_unplaced_task){
        .operation = attempt->operation,
        .first_at = call->now_ms,
        .last_at = call->now_ms,
        .has_times = true,
        .times = 1,
        .cluster_arn = ecs_cluster_arn(call, run->cluster),
        .task_definition_arn = ecs_definition_arn(call, run->definition_key),
        .launch_type = run->launch_type,
        .group = group_of(call, run),
        .started_by =
            text_empty(run->request->started_by) ? (struct text){0} : run->request->started_by,
        .has_asked_count = true,
        .asked_count = (int32_t)attempt->asked,
        .has_placed_count = true,
        .placed_count = (int32_t)attempt->placed,
    };
}

static struct diagnose_ring *need_ring(struct core_call *call)
{
    struct task_state *state = task_state(call->core);
    if (state->unplaced == NULL) {
        state->unplaced = ALLOC(struct diagnose_ring);
    }
    return state->unplaced;
}

// Count an attempt that comes right behind one like it: whoever tries again in a loop must not have
// all hosts looked at each time. @return false when there is none
static bool count_again(struct core_call *call, const struct diagnose_ring *ring, int64_t realm,
                        const struct berth_unplaced_task *unplaced)
{
    size_t place = find_alike(ring, realm, unplaced);
    struct berth_unplaced_task *before = place == SIZE_MAX ? NULL : ring->notes[place].unplaced;
    if (before == NULL || before->asked_count != unplaced->asked_count ||
        before->placed_count != unplaced->placed_count || place + 1 != ring->count ||
        call->now_ms - before->looked_at >= DIAGNOSE_NOTE_REST_MS) {
        return false;
    }
    before->times += before->times < INT32_MAX ? 1 : 0;
    before->last_at = call->now_ms;
    return true;
}

static void keep(struct core_call *call, const struct task_run *run,
                 const struct diagnose_attempt *attempt, struct berth_unplaced_task *unplaced,
                 const struct diagnose_survey *survey)
{
    struct diagnose_ring *ring = need_ring(call);
    int64_t realm = run->cluster_record->realm;
    unplaced->looked_at = call->now_ms;
    unplaced->summary = diagnose_summary(call, run, attempt, survey);
    unplaced->has_host_count = true;
    unplaced->host_count = (int32_t)survey->total_count;
    unplaced->has_looked_at_count = true;
    unplaced->looked_at_count = (int32_t)survey->host_count;
    unplaced->has_fit_count = true;
    unplaced->fit_count = (int32_t)survey->fit_count;
    unplaced->reason_counts.items = survey->count_count > 0 ? survey->counts : SHAPE_EMPTY;
    unplaced->reason_counts.count = survey->count_count;
    unplaced->hosts.items = survey->shown_count > 0 ? survey->hosts : SHAPE_EMPTY;
    unplaced->hosts.count = survey->shown_count;
    size_t before = find_alike(ring, realm, unplaced);
    if (before != SIZE_MAX) {
        const struct berth_unplaced_task *older = ring->notes[before].unplaced;
        unplaced->times = older->times + (older->times < INT32_MAX ? 1 : 0);
        unplaced->first_at = older->first_at;
        forget(ring, before);
    }
    make_room(ring, realm);
    ring->last_number++;
    ring->notes[ring->count] = (struct note){
        .realm = realm,
        .cluster = run->cluster,
        .number = ring->last_number,
        .unplaced = shape_clone(&berth_unplaced_task_shape, unplaced, NULL),
    };
    ring->count++;
}

void diagnose_note(struct core_call *call, const struct task_run *run,
                   const struct diagnose_attempt *attempt, struct task_spots *spots)
{
    const struct diagnose_view view = {.run = run, .placed = true, .rehearsed = INT64_MAX};
    struct berth_unplaced_task unplaced = describe(call, run, attempt);
    if (count_again(call, need_ring(call), run->cluster_record->realm, &unplaced)) {
        return;
    }
    struct task_spots found = {0};
    if (spots != NULL && spots->spots != NULL) {
        found = *spots;
    } else if (diagnose_has_hosts(run)) {
        task_spots_find(call, run, true, &found);
    }
    size_t total = found.count;
    found.count = MIN(found.count, (size_t)DIAGNOSE_NOTE_LOOK);
    struct diagnose_survey survey;
    diagnose_survey(call, &view, &found, total, 0, DIAGNOSE_NOTE_HOSTS, &survey);
    keep(call, run, attempt, &unplaced, &survey);
}

static struct task_spot *spot_of(const struct task_spots *spots, struct text instance_id)
{
    for (size_t i = 0; i < spots->count; i++) {
        struct task_spot *spot = &spots->spots[i];
        if (text_equal(spot->record->memberships.items[spot->index].instance_id, instance_id)) {
            return spot;
        }
    }
    return NULL;
}

void diagnose_note_named(struct core_call *call, const struct task_run *run,
                         struct task_spots *spots, const struct ecs_start_task_response *response)
{
    const struct diagnose_view view = {.run = run, .placed = false, .rehearsed = INT64_MAX};
    const struct diagnose_attempt attempt = {
        TEXT("StartTask"), response->tasks.count + response->failures.count, response->tasks.count};
    size_t count = response->failures.count;
    struct diagnose_survey survey = {
        .host_count = attempt.asked,
        .total_count = attempt.asked,
        .fit_count = attempt.placed,
        .counts = arena_array(call->arena, DIAGNOSE_REASONS_MAX, sizeof(*survey.counts)),
        .hosts = arena_array(call->arena, count, sizeof(*survey.hosts)),
    };
    for (size_t i = 0; i < count; i++) {
        const struct ecs_failure *failure = &response->failures.items[i];
        size_t slash = text_find_last(failure->arn, '/');
        struct text id =
            text_slice(failure->arn, slash == SIZE_MAX ? 0 : slash + 1, failure->arn.size);
        struct task_spot *spot = spot_of(spots, id);
        struct berth_placement_host *host = &survey.hosts[i];
        if (spot != NULL) {
            diagnose_show(call, &view, spot, host);
        }
        if (spot == NULL || host->fits) {
            // No instance of the cluster, or one that only this attempt found wanting.
            struct berth_placement_reason *reason =
                ARENA_NEW(call->arena, struct berth_placement_reason);
            reason->reason = failure->reason;
            reason->detail = text_empty(failure->detail)
                                 ? TEXT("The cluster has no such container instance any more.")
                                 : failure->detail;
            *host = (struct berth_placement_host){
                .name = id,
                .container_instance_arn = failure->arn,
                .has_fits = true,
                .reasons = {.items = reason, .count = 1},
            };
        }
        diagnose_count(&survey, failure->reason);
    }
    survey.shown_count = count;
    struct berth_unplaced_task unplaced = describe(call, run, &attempt);
    keep(call, run, &attempt, &unplaced, &survey);
}

// ---- ListUnplacedTasks --------------------------------------------------------------------

int task_list_unplaced(struct core_call *call, void *pointer, const void *input, void *output)
{
    const struct task_state *state = pointer;
    const struct diagnose_ring *ring = state->unplaced;
    const struct berth_list_unplaced_tasks_request *request = input;
    struct berth_list_unplaced_tasks_response *response = output;
    int64_t before = INT64_MAX;
    if (!text_empty(request->next_token) &&
        (text_to_i64(request->next_token, &before) != 0 || before < 1)) {
        return core_fault(call, &berth_error_invalid_parameter_exception, "Invalid token");
    }
    int64_t cluster = 0;
    if (request->cluster.data != NULL) {
        int rc = ecs_cluster_resolve(call, request->cluster, &cluster);
        if (rc != 0) {
            return rc;
        }
    }
    int64_t realm = ecs_caller_realm(call);
    size_t max = request->has_max_results ? (size_t)request->max_results : PAGE_DEFAULT;
    response->unplaced.items = arena_array(call->arena, max, sizeof(struct berth_unplaced_task));
    int64_t last = 0;
    for (size_t i = ring == NULL ? 0 : ring->count; i > 0; i--) {
        const struct note *note = &ring->notes[i - 1];
        if (note->realm != realm || note->number >= before ||
            (cluster != 0 && note->cluster != cluster)) {
            continue;
        }
        if (response->unplaced.count == max) {
            response->next_token = arena_format(call->arena, "%lld", (long long)last);
            break;
        }
        response->unplaced.items[response->unplaced.count] = *note->unplaced;
        response->unplaced.count++;
        last = note->number;
    }
    return 0;
}
