#include "ecs/diagnose.h"
#include "ecs/service_internal.h"
#include "ecs/task_run.h"

#define LAUNCH_CHUNK TASK_RUN_MAX // as many as one RunTask makes

// ---- what to start --------------------------------------------------------------------------

// What propagateTags names. Tags that ECS adds by itself come with the task.
static void fill_tags(struct core_call *call, const struct service_survey *survey,
                      const struct service_standing *standing, struct ecs_run_task_request *request)
{
    if (survey->record->propagate_tags == ECS_PROPAGATE_TAGS_SERVICE) {
        request->tags.items = survey->record->tags.items;
        request->tags.count = survey->record->tags.count;
    } else if (survey->record->propagate_tags == ECS_PROPAGATE_TAGS_TASK_DEFINITION) {
        const struct ecs_record_definition *definition =
            core_get(call->core, &ecs_definition_kind, standing->revision->definition);
        request->tags.items = definition->tags.items;
        request->tags.count = definition->tags.count;
    }
    request->has_enable_ecs_managed_tags = survey->record->enable_ecs_managed_tags;
    request->enable_ecs_managed_tags = survey->record->enable_ecs_managed_tags;
}

static void fill_request(struct core_call *call, const struct service_survey *survey,
                         const struct service_standing *standing,
                         struct ecs_run_task_request *request)
{
    const struct service_record_service *record = survey->record;
    const struct service_record_revision *revision = standing->revision;
    *request = (struct ecs_run_task_request){
        .has_enable_execute_command = record->enable_execute_command,
        .enable_execute_command = record->enable_execute_command,
        .launch_type = revision->launch_type,
        .network_configuration = revision->network_configuration,
        .platform_version = revision->platform_version,
        .started_by = service_deployment_id(call, standing->key),
    };
    request->placement_constraints.items = record->placement_constraints.items;
    request->placement_constraints.count = record->placement_constraints.count;
    request->placement_strategy.items = record->placement_strategy.items;
    request->placement_strategy.count = record->placement_strategy.count;
    request->capacity_provider_strategy.items = revision->capacity_provider_strategy.items;
    request->capacity_provider_strategy.count = revision->capacity_provider_strategy.count;
    fill_tags(call, survey, standing, request);
}

// ---- telling --------------------------------------------------------------------------------

static void tell_moved(struct core_call *call, const struct service_survey *survey,
                       struct text names, size_t count)
{
    int64_t service = survey->entry->key;
    const struct service_move *move = survey->move;
    if (!text_empty(move->unbalanced)) {
        service_tell(call, service, "is not AZ balanced with %.*s. AZ Rebalancing in progress.",
                     TEXT_FMT(move->unbalanced));
        service_event_action(call, service,
                             &(struct event_service_action){
                                 .event_name = EVENT_SERVICE_EVENT_NAME_SERVICE_REBALANCING_STARTED,
                             });
    }
    service_tell(call, service, "has started %zu tasks in %.*s to AZ Rebalance: %.*s.", count,
                 TEXT_FMT(move->zone), TEXT_FMT(names));
    service_event_action(
        call, service,
        &(struct event_service_action){.event_name = EVENT_SERVICE_EVENT_NAME_TASKS_STARTED});
}

// unhealthy counts the tasks that stay until what was started now takes their place.
static void tell_started(struct core_call *call, const struct service_survey *survey,
                         const struct ecs_task *tasks, size_t count, int32_t unhealthy)
{
    AUTO(buf_deinit) struct buf names = {0};
    for (size_t i = 0; i < count; i++) {
        struct text arn = tasks[i].task_arn;
        struct text id = text_slice(arn, text_find_last(arn, '/') + 1, arn.size);
        buf_format(&names, "%s(task %.*s)", i == 0 ? "" : " ", TEXT_FMT(id));
    }
    if (survey->move != NULL) {
        tell_moved(call, survey, buf_view(&names), count);
        return;
    }
    AUTO(buf_deinit) struct buf replaced = {0};
    if (unhealthy > 0) {
        buf_format(&replaced, " Amazon ECS replaced %zu tasks due to an unhealthy status.",
                   MIN(count, (size_t)unhealthy));
    }
    service_tell(call, survey->entry->key, "has started %zu tasks: %.*s.%.*s", count,
                 TEXT_FMT(buf_view(&names)), TEXT_FMT(buf_view(&replaced)));
}

static const char *nearest_reason(struct text reason)
{
    static const struct {
        const char *reason;
        const char *words;
    } table[] = {
        {"RESOURCE:CPU", "has insufficient CPU units available"},
        {"RESOURCE:MEMORY", "has insufficient memory available"},
        {"RESOURCE:PORTS", "is already using a port required by your task"},
        {"AGENT", "doesn't have the agent connected"},
        {"ATTRIBUTE", "is missing an attribute required by your task"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (text_is(reason, table[i].reason)) {
            return table[i].words;
        }
    }
    return NULL;
}

// The instance that meets most of what the task needs: requirements are looked at in this order, so
// the one that fails last is the closest; of equals the first.
static const struct ecs_failure *closest_failure(const struct ecs_failure_list *failures)
{
    static const char *const order[] = {"INACTIVE", "AGENT", "ATTRIBUTE"};
    const struct ecs_failure *closest = NULL;
    size_t best = 0;
    for (size_t i = 0; i < failures->count; i++) {
        const struct ecs_failure *failure = &failures->items[i];
        size_t rank = text_starts(failure->reason, TEXT("RESOURCE:")) ? ARRAY_LEN(order) + 1
                                                                      : ARRAY_LEN(order);
        for (size_t j = 0; j < ARRAY_LEN(order); j++) {
            rank = text_is(failure->reason, order[j]) ? j : rank;
        }
        if (closest == NULL || rank > best) {
            closest = failure;
            best = rank;
        }
    }
    return closest;
}

// What stands against the instance, in words; NULL when there are none for it.
static const char *why_not(const struct core *core, const struct ecs_failure *failure,
                           struct text id)
{
    const struct task_node *node = map_get(&task_state(core)->nodes_by_instance, id);
    // It is connected, and says itself that it has no room: see `berth node ls`.
    bool refuses = node != NULL && task_node_live(node) && !text_empty(node->refusal);
    return refuses && text_is(failure->reason, "AGENT") ? "takes no new tasks at the moment"
                                                        : nearest_reason(failure->reason);
}

static void tell_failures(struct core_call *call, struct service_survey *survey,
                          const struct service_standing *standing,
                          const struct ecs_failure_list *failures)
{
    AUTO(buf_deinit) struct buf closest = {0};
    if (failures->count > 0) {
        const struct ecs_failure *failure = closest_failure(failures);
        struct text id =
            text_slice(failure->arn, text_find_last(failure->arn, '/') + 1, failure->arn.size);
        const char *words = why_not(call->core, failure, id);
        buf_format(&closest, " The closest matching (container-instance %.*s) ", TEXT_FMT(id));
        if (words != NULL) {
            buf_string(&closest, words);
        } else {
            buf_format(&closest, "encountered error \"%.*s\"", TEXT_FMT(failure->reason));
        }
        buf_string(&closest, ".");
    }
    if (service_tell_once(call, survey->entry,
                          "was unable to place a task because no container instance met all of its "
                          "requirements.%.*s For more information, see the Troubleshooting section "
                          "of the Amazon ECS Developer Guide.",
                          TEXT_FMT(buf_view(&closest)))) {
        service_event_unplaced(call, survey, standing, failures);
    }
}

// The zone that tasks were to be moved to has no room.
static void tell_unmoved(struct core_call *call, struct service_survey *survey,
                         const struct service_standing *standing, bool fargate)
{
    const char *why = fargate ? "" : " because no container instance met all of its requirements";
    if (!survey->move->quiet &&
        service_tell_once(call, survey->entry, "is unable to place a task in %.*s%s.",
                          TEXT_FMT(survey->move->zone), why)) {
        service_event_unplaced(call, survey, standing,
                               fargate ? NULL : &(struct ecs_failure_list){0});
    }
}

static void tell_unplaced(struct core_call *call, struct service_survey *survey,
                          const struct service_standing *standing, const struct task_run *run,
                          struct task_spots *spots)
{
    bool fargate = run->launch_type == ECS_LAUNCH_TYPE_FARGATE;
    if (survey->move != NULL) {
        tell_unmoved(call, survey, standing, fargate);
        return;
    }
    if (fargate) {
        if (service_tell_once(call, survey->entry,
                              "was unable to place a task. Reason: Capacity is unavailable at this "
                              "time. Please try again later or in a different availability "
                              "zone.")) {
            service_event_unplaced(call, survey, standing, NULL);
        }
        return;
    }
    if (task_run_waits_in_vain(call, run)) {
        if (service_tell_once(call, survey->entry,
                              "was unable to place tasks in your cluster because the tasks "
                              "provisioning capacity limit was exceeded.")) {
            service_event_unplaced(call, survey, standing, NULL);
        }
        return;
    }
    struct ecs_failure_list failures = {0};
    if (run->group != NULL) {
        if (spots->count == 0) {
            task_spots_find(call, run, true, spots);
        }
        task_spots_explain(call, run, spots, &failures);
    }
    if (failures.count == 0 && !text_empty(run->scaling_group)) {
        if (service_tell_once(call, survey->entry,
                              "was unable to reach steady state. Reason: No Container Instances "
                              "were found in your capacity provider.")) {
            service_event_unplaced(call, survey, standing, NULL);
        }
        return;
    }
    tell_failures(call, survey, standing, &failures);
}

// ---- starting -------------------------------------------------------------------------------

// A request of the service was fine once; what it names may be gone meanwhile (a subnet, a role).
static void tell_refused(struct core_call *call, struct service_survey *survey)
{
    if (service_tell_once(call, survey->entry, "was unable to place a task. Reason: %s.",
                          call->fault_text)) {
        const struct event_service_action action = {
            .event_name = EVENT_SERVICE_EVENT_NAME_SERVICE_TASK_CONFIGURATION_FAILURE,
            .reason = text_of(call->fault_text),
        };
        service_event_action(call, survey->entry->key, &action);
    }
    call->fault = NULL;
    call->fault_text[0] = '\0';
}

int service_launch_read(struct core_call *call, struct service_survey *survey,
                        const struct service_standing *standing, size_t count,
                        struct task_run *out_run)
{
    struct ecs_run_task_request *request = ARENA_NEW(call->arena, struct ecs_run_task_request);
    fill_request(call, survey, standing, request);
    *out_run = (struct task_run){
        .request = request,
        .cluster = survey->record->cluster,
        .cluster_record = core_get(call->core, &ecs_cluster_kind, survey->record->cluster),
        .definition_key = standing->revision->definition,
        .deployment = standing->key,
        .count = count,
    };
    int rc = task_run_read(call, out_run);
    if (rc != 0) {
        tell_refused(call, survey);
        return rc;
    }
    task_run_group(call, out_run);
    return 0;
}

// What was started in one step.
struct launched {
    struct ecs_task *tasks;
    size_t count;
};

// Start tasks where one provider has room. @return whether all found a place
static bool launch_share(struct core_call *call, struct service_survey *survey,
                         const struct service_standing *standing, struct task_run *run,
                         size_t count, struct launched *launched)
{
    struct task_spots spots = {0};
    run->spread = service_entry_spread(call->core, survey->entry, run->group);
    for (size_t left = count; left > 0; left -= run->count) {
        run->count = MIN(left, (size_t)LAUNCH_CHUNK);
        int64_t keys[LAUNCH_CHUNK];
        struct ecs_task *tasks = &launched->tasks[launched->count];
        size_t placed = task_run_place(call, run, &spots, keys, tasks);
        task_run_send(call, keys, placed);
        launched->count += placed;
        if (placed < run->count && survey->move != NULL) {
            tell_unplaced(call, survey, standing, run, &spots);
            return false;
        }
        if (placed < run->count) {
            const struct diagnose_attempt attempt = {TEXT("Service"), run->count, placed};
            diagnose_note(call, run, &attempt, run->group == NULL ? NULL : &spots);
            tell_unplaced(call, survey, standing, run, &spots);
            return false;
        }
    }
    return true;
}

void service_capacity_items(struct core_call *call, const struct service_survey *survey,
                            const struct service_standing *standing,
                            struct capacity_item *out_items)
{
    const struct service_state *state = service_state(call->core);
    const struct service_record_revision *revision = standing->revision;
    size_t count = MIN(revision->capacity_provider_strategy.count, (size_t)CAPACITY_ITEMS_MAX);
    uint8_t numbers[CAPACITY_ITEMS_MAX];
    for (size_t i = 0; i < count; i++) {
        const struct ecs_capacity_provider_strategy_item *item =
            &revision->capacity_provider_strategy.items[i];
        out_items[i] = (struct capacity_item){.weight = item->weight, .base = item->base};
        numbers[i] = service_provider_number(state, item->capacity_provider);
    }
    for (size_t i = 0; count > 0 && i < survey->entry->task_count; i++) {
        const struct service_task *task = &survey->entry->tasks[i];
        bool leaving = false;
        if (task->key == 0 || task->deployment != standing->key) {
            continue;
        }
        enum service_place place = service_judge(call, survey, standing, task, &leaving);
        bool stays = place != SERVICE_PLACE_ENDING && place != SERVICE_PLACE_UNHEALTHY && !leaving;
        for (size_t j = 0; stays && j < count; j++) {
            out_items[j].tasks += numbers[j] != 0 && numbers[j] == task->provider;
        }
    }
}

// What Spot has no room for goes to FARGATE where the server was told so (see
// service_set_spot_fallback). ECS never does that. @return whether all found a place
static bool fall_back(struct core_call *call, struct service_survey *survey,
                      const struct service_standing *standing, struct task_run *run, size_t missing,
                      struct launched *launched)
{
    const struct text_list *providers = &run->cluster_record->capacity_providers;
    bool associated = false;
    for (size_t i = 0; i < providers->count; i++) {
        associated = associated || text_is(providers->items[i], "FARGATE");
    }
    if (!run->spot || !associated || !service_state(call->core)->spot_fallback) {
        return false;
    }
    run->provider = TEXT("FARGATE");
    run->spot = false;
    task_run_group(call, run);
    return launch_share(call, survey, standing, run, missing, launched);
}

// Each provider of the strategy gets what it lacks of its share. One without room holds up none of
// the others.
static bool launch_shares(struct core_call *call, struct service_survey *survey,
                          const struct service_standing *standing, struct task_run *run,
                          size_t count, struct launched *launched)
{
    struct capacity_item items[CAPACITY_ITEMS_MAX];
    size_t shares[CAPACITY_ITEMS_MAX];
    service_capacity_items(call, survey, standing, items);
    capacity_divide(items, run->strategy_count, count, shares);
    bool all = true;
    for (size_t i = 0; i < run->strategy_count; i++) {
        if (shares[i] > 0) {
            size_t before = launched->count;
            task_run_provider(call, run, i);
            all = (launch_share(call, survey, standing, run, shares[i], launched) ||
                   fall_back(call, survey, standing, run, shares[i] - (launched->count - before),
                             launched)) &&
                  all;
        }
    }
    return all;
}

size_t service_launch(struct core_call *call, struct service_survey *survey,
                      struct service_standing *standing, size_t count)
{
    size_t wanted = MIN(count, (size_t)SERVICE_LAUNCH_STEP);
    struct launched launched = {.tasks = arena_array(call->arena, wanted, sizeof(*launched.tasks))};
    struct task_run run;
    bool all = false;
    if (service_launch_read(call, survey, standing, wanted, &run) == 0) {
        task_run_confine(call->core, &run, survey->move == NULL ? TEXT("") : survey->move->zone);
        all = run.strategy_count > 0
                  ? launch_shares(call, survey, standing, &run, wanted, &launched)
                  : launch_share(call, survey, standing, &run, wanted, &launched);
    }
    if (launched.count > 0) {
        tell_started(call, survey, launched.tasks, launched.count, standing->unhealthy);
    }
    if (survey->move == NULL) {
        survey->entry->unplaced = !all;
    }
    if (all) {
        service_tell_cleared(survey->entry);
    }
    return launched.count;
}

// ---- on certain instances -------------------------------------------------------------------

void service_launch_on(struct core_call *call, struct service_survey *survey,
                       const struct task_run *run, struct task_spot *const *places, size_t count)
{
    struct ecs_task *tasks = arena_array(call->arena, count, sizeof(*tasks));
    for (size_t done = 0; done < count; done += LAUNCH_CHUNK) {
        int64_t keys[LAUNCH_CHUNK];
        size_t chunk = MIN(count - done, (size_t)LAUNCH_CHUNK);
        for (size_t i = 0; i < chunk; i++) {
            keys[i] = task_run_make(call, run, places[done + i], &tasks[done + i]);
        }
        task_run_send(call, keys, chunk);
    }
    if (count > 0) {
        tell_started(call, survey, tasks, count, 0);
    }
}

void service_launch_refused(struct core_call *call, struct service_survey *survey,
                            const struct task_run *run, const struct service_refusal *refusal)
{
    struct ecs_failure failure = task_spot_failure(call, run, refusal->spot, refusal->reason);
    const struct ecs_failure_list failures = {.items = &failure, .count = 1};
    tell_failures(call, survey, survey->primary, &failures);
}
