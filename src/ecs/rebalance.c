#include "ecs/service_internal.h"
#include "vpc/vpc.h"

/*
 * Evening out zones (availabilityZoneRebalancing): when a service that is otherwise at rest has two
 * tasks more in one zone than in another, as after the loss and return of a zone, tasks are started
 * in the thinnest zone that has room; when they are healthy, as many stop in the fattest.
 *
 * That more tasks than desired are there on purpose is kept in the service's record: `rebalancing`
 * says how many. Any other business of the service (a deployment, another desired count, an
 * unhealthy task) ends it at once: what is then beyond the desired count goes as when scaling in.
 *
 * It comes to an end, as every move makes the sum of the squares of the counts smaller: a task is
 * placed in the zone that was counted as thin or not at all, and it is counted where its subnet is.
 */

#define ZONES_MAX 26   // letters of a region's zones
#define RETRY_MS 60000 // no room in a thinner zone: looked for again
#define APART 2        // zones that differ by less are even
#define NO_ZONE SIZE_MAX

struct zone_count {
    struct text name;
    int32_t tasks;
    int32_t movable; ///< of tasks: not protected
    bool tried;      ///< a task found no place there in this step
};

// Zones that tasks of the service could be in, ascending by name, and how many are.
struct zones {
    struct zone_count items[ZONES_MAX];
    size_t count;
    int32_t tasks;
};

// ---- looking --------------------------------------------------------------------------------

static const struct ecs_aws_vpc_configuration *network_of(const struct service_survey *survey)
{
    const struct ecs_network_configuration *network =
        survey->primary->revision->network_configuration;
    return network == NULL ? NULL : network->awsvpc_configuration;
}

static bool reachable(const struct core *core, const struct service_survey *survey,
                      struct text zone)
{
    const struct ecs_aws_vpc_configuration *network = network_of(survey);
    const struct ecs_record_cluster *cluster =
        core_get(core, &ecs_cluster_kind, survey->record->cluster);
    for (size_t i = 0; network != NULL && i < network->subnets.count; i++) {
        int64_t key = vpc_subnet_find(core, cluster->realm, network->subnets.items[i]);
        const struct vpc_record_subnet *subnet =
            key == 0 ? NULL : core_get(core, &vpc_subnet_kind, key);
        if (subnet != NULL && text_equal(subnet->availability_zone, zone)) {
            return true;
        }
    }
    return network == NULL;
}

// Whether a task could be in that zone: some host there takes tasks. Without a subnet of its own it
// is where its host says first. One node may be left out.
static bool zone_open(const struct core *core, const struct task_zone *zone, bool home,
                      int64_t without)
{
    for (size_t i = 0; i < zone->nodes.count; i++) {
        int64_t node = zone->nodes.nodes[i];
        if (node != without && zone->nodes.cpu[i] != PLACE_UNUSABLE &&
            (!home || task_zone_home(task_node(task_state(core), node), zone))) {
            return true;
        }
    }
    return false;
}

static void add_zone(struct zones *zones, struct text name)
{
    size_t place = zones->count;
    while (place > 0 && text_compare(zones->items[place - 1].name, name) >= 0) {
        if (text_equal(zones->items[place - 1].name, name)) {
            return;
        }
        place--;
    }
    if (zones->count == ZONES_MAX) {
        return;
    }
    for (size_t i = zones->count; i > place; i--) {
        zones->items[i] = zones->items[i - 1];
    }
    zones->items[place] = (struct zone_count){.name = name};
    zones->count++;
}

static void add_zones(const struct core *core, const struct service_survey *survey,
                      const struct task_group *group, struct zones *zones)
{
    for (size_t i = 0; group != NULL && i < group->zone_count; i++) {
        const struct task_zone *zone = group->zones[i];
        if (zone_open(core, zone, network_of(survey) == NULL, 0) &&
            reachable(core, survey, zone->name)) {
            add_zone(zones, zone->name);
        }
    }
}

static struct zone_count *zone_of(struct zones *zones, struct text name)
{
    for (size_t i = 0; i < zones->count; i++) {
        if (text_equal(zones->items[i].name, name)) {
            return &zones->items[i];
        }
    }
    return NULL;
}

static void count_tasks(struct core_call *call, const struct service_survey *survey,
                        struct zones *zones)
{
    for (size_t i = 0; i < survey->entry->task_count; i++) {
        const struct service_task *task = &survey->entry->tasks[i];
        if (task->key == 0 || task->desired_status != TASK_RECORD_TASK_STATUS_RUNNING ||
            task->host->lost || task->host->removed) {
            continue;
        }
        struct zone_count *zone = zone_of(zones, task->zone->name);
        if (zone != NULL) {
            zone->tasks++;
            zone->movable += task->protected_ms <= call->now_ms;
            zones->tasks++;
        }
    }
}

static void look(struct core_call *call, const struct service_survey *survey, struct zones *zones)
{
    const struct task_state *state = task_state(call->core);
    *zones = (struct zones){0};
    if (service_on_fargate(survey->primary->revision)) {
        add_zones(call->core, survey, task_pool(state, false), zones);
        add_zones(call->core, survey, task_pool(state, true), zones);
    } else {
        add_zones(call->core, survey, task_group(state, survey->record->cluster), zones);
    }
    count_tasks(call, survey, zones);
}

// The zone with the fewest tasks among those that were not tried, the first of equals.
static size_t thinnest(const struct zones *zones)
{
    size_t best = NO_ZONE;
    for (size_t i = 0; i < zones->count; i++) {
        if (!zones->items[i].tried &&
            (best == NO_ZONE || zones->items[i].tasks < zones->items[best].tasks)) {
            best = i;
        }
    }
    return best;
}

// The zone with the most tasks, or among those that have a task that may be stopped.
static size_t fattest(const struct zones *zones, bool movable)
{
    size_t best = NO_ZONE;
    for (size_t i = 0; i < zones->count; i++) {
        if ((!movable || zones->items[i].movable > 0) &&
            (best == NO_ZONE || zones->items[i].tasks > zones->items[best].tasks)) {
            best = i;
        }
    }
    return best;
}

static bool even(const struct zones *zones)
{
    size_t thin = thinnest(zones);
    return thin == NO_ZONE ||
           zones->items[fattest(zones, false)].tasks - zones->items[thin].tasks < APART;
}

// ---- telling --------------------------------------------------------------------------------

// `3 tasks in az-a, 1 tasks in az-b`
static struct text list_of(struct core_call *call, const struct zones *zones)
{
    AUTO(buf_deinit) struct buf list = {0};
    for (size_t i = 0; i < zones->count; i++) {
        buf_format(&list, "%s%d tasks in %.*s", i == 0 ? "" : ", ", (int)zones->items[i].tasks,
                   TEXT_FMT(zones->items[i].name));
    }
    return arena_text(call->arena, buf_view(&list));
}

static void tell_action(struct core_call *call, const struct service_survey *survey,
                        enum event_service_event_name name)
{
    service_event_action(call, survey->entry->key,
                         &(struct event_service_action){.event_name = name});
}

static void tell_protected(struct core_call *call, struct service_survey *survey,
                           const struct zone_count *zone)
{
    struct text id = service_deployment_id(call, survey->primary->key);
    if (service_tell_once(call, survey->entry,
                          "was unable to AZ Rebalance because (taskSet %.*s) was unable to scale "
                          "in due to (reason %d tasks under protection).",
                          TEXT_FMT(id), (int)(zone->tasks - zone->movable))) {
        tell_action(call, survey,
                    EVENT_SERVICE_EVENT_NAME_TASKSET_SCALE_IN_FAILURE_BY_TASK_PROTECTION);
    }
}

// ---- starting -------------------------------------------------------------------------------

static void note(struct core_call *call, const struct service_survey *survey, int32_t extra)
{
    struct service_record_service *record = core_edit(call, &service_kind, survey->entry->key);
    record->has_rebalancing = extra != 0;
    record->rebalancing = extra;
    core_put(call, &service_kind, survey->entry->key, record);
}

// How many tasks a zone gets: no more than its share, and never so many that it is the fatter one
// afterwards.
static int32_t share_of(const struct zones *zones, const struct zone_count *from,
                        const struct zone_count *to)
{
    int32_t share = zones->tasks / (int32_t)zones->count;
    int32_t count = MIN((from->tasks - to->tasks) / 2, MAX(share - to->tasks, 1));
    return MIN(MIN(count, from->movable), SERVICE_LAUNCH_STEP);
}

// Start tasks in the thinnest zone that has room. @return how many
static size_t start(struct core_call *call, struct service_survey *survey, struct zones *zones,
                    const struct zone_count *from, int32_t room)
{
    size_t started = 0;
    bool quiet = false;
    for (size_t i = thinnest(zones); i != NO_ZONE && started == 0; i = thinnest(zones)) {
        struct zone_count *to = &zones->items[i];
        if (from->tasks - to->tasks < APART) {
            break;
        }
        const struct service_move move = {
            .zone = to->name,
            .unbalanced = survey->record->rebalancing > 0 ? (struct text){0} : list_of(call, zones),
            .quiet = quiet,
        };
        survey->move = &move;
        started = service_launch(call, survey, survey->primary,
                                 (size_t)MIN(share_of(zones, from, to), room));
        survey->move = NULL;
        to->tried = true;
        quiet = true; // of several zones without room the thinnest is told of
    }
    return started;
}

// Nothing else is to be done for the service, and it may start tasks.
static bool rests(struct core_call *call, struct service_survey *survey)
{
    const struct service_standing *primary = survey->primary;
    bool resting = primary->healthy == survey->record->desired_count &&
                   primary->live == primary->healthy && survey->occupying == primary->healthy;
    if (resting && service_must_wait(call, primary)) {
        service_due(survey, primary->record->retry_at);
        return false;
    }
    return resting;
}

// All zones are as they should be, as far as may be. @return whether tasks were started
static bool begin(struct core_call *call, struct service_survey *survey, struct zones *zones)
{
    const struct service_record_service *record = survey->record;
    const struct service_ask ask = {.service = *record, .revision = *survey->primary->revision};
    survey->entry->uneven = false;
    if (even(zones) || MUTANT("leave-uneven") || service_zones_refusal(call->core, &ask) != NULL) {
        return false;
    }
    size_t most = fattest(zones, false);
    size_t from = fattest(zones, true);
    if (zones->items[most].movable == 0) {
        tell_protected(call, survey, &zones->items[most]);
    }
    int64_t upper = (int64_t)record->desired_count * record->configuration->maximum_percent / 100;
    int32_t room = (int32_t)upper - survey->occupying;
    survey->entry->uneven = true;
    if (from == NO_ZONE || room <= 0) {
        return false;
    }
    size_t started = start(call, survey, zones, &zones->items[from], room);
    if (started > 0) {
        survey->entry->uneven = false;
        note(call, survey, (int32_t)started);
    } else {
        service_due(survey, call->now_ms + RETRY_MS);
    }
    return started > 0;
}

// ---- stopping -------------------------------------------------------------------------------

// Stop some tasks of one zone. @return how many
static size_t stop_in(struct core_call *call, struct service_survey *survey, struct text zone,
                      size_t count)
{
    const struct service_move move = {.zone = zone};
    const struct service_pick_limit limit = {
        .count = count, .serving = SIZE_MAX, .healthy = SIZE_MAX, .zone = zone};
    struct text id = service_deployment_id(call, survey->primary->key);
    survey->move = &move;
    size_t stopped = service_stop(
        call, survey, SERVICE_PICK_SURPLUS, limit,
        arena_format(call->arena, "Availability-zone rebalancing initiated by (deployment %.*s)",
                     TEXT_FMT(id)));
    survey->move = NULL;
    return stopped;
}

// Stop tasks where most are: of the zone that is the fattest when its turn comes. @return how many
static size_t stop(struct core_call *call, struct service_survey *survey, struct zones *zones,
                   size_t count)
{
    size_t takes[ZONES_MAX] = {0};
    size_t stopped = 0;
    for (size_t i = 0; i < count && fattest(zones, true) != NO_ZONE; i++) {
        size_t from = fattest(zones, true);
        takes[from]++;
        zones->items[from].tasks--;
        zones->items[from].movable--;
    }
    for (size_t i = 0; i < zones->count; i++) {
        stopped += takes[i] == 0 ? 0 : stop_in(call, survey, zones->items[i].name, takes[i]);
    }
    if (stopped == 0) {
        tell_protected(call, survey, &zones->items[fattest(zones, false)]);
    }
    return stopped;
}

static bool leave_off(struct core_call *call, struct service_survey *survey)
{
    note(call, survey, 0);
    service_tell(call, survey->entry->key, "stopped AZ Rebalancing.");
    tell_action(call, survey, EVENT_SERVICE_EVENT_NAME_SERVICE_REBALANCING_STOPPED);
    return true;
}

static bool complete(struct core_call *call, struct service_survey *survey,
                     const struct zones *zones)
{
    note(call, survey, 0);
    service_tell(call, survey->entry->key, "is AZ balanced with %.*s.",
                 TEXT_FMT(list_of(call, zones)));
    tell_action(call, survey, EVENT_SERVICE_EVENT_NAME_SERVICE_REBALANCING_COMPLETED);
    return true;
}

// More tasks than desired were started, or were there until just now. @return whether something
// was done
static bool go_on(struct core_call *call, struct service_survey *survey)
{
    const struct service_standing *primary = survey->primary;
    int32_t surplus = primary->staying - survey->record->desired_count;
    struct zones zones;
    look(call, survey, &zones);
    if (primary->live != primary->staying || surplus < 0 || surplus > survey->record->rebalancing ||
        zones.count == 0) {
        return leave_off(call, survey);
    }
    if (primary->healthy < primary->staying && !MUTANT("move-before-healthy")) {
        return false;
    }
    if (surplus > 0) {
        return stop(call, survey, &zones, (size_t)surplus) > 0 || leave_off(call, survey);
    }
    if (even(&zones)) {
        return complete(call, survey, &zones);
    }
    if (survey->occupying > primary->healthy) {
        return false; // what was stopped has not ended yet
    }
    return (rests(call, survey) && begin(call, survey, &zones)) || leave_off(call, survey);
}

bool service_rebalance(struct core_call *call, struct service_survey *survey)
{
    const struct service_record_service *record = survey->record;
    const struct service_standing *primary = survey->primary;
    bool free = primary != NULL && survey->count == 1 &&
                primary->record->rollout_state == ECS_DEPLOYMENT_ROLLOUT_STATE_COMPLETED &&
                record->zone_rebalancing == ECS_AVAILABILITY_ZONE_REBALANCING_ENABLED;
    if (record->rebalancing > 0) {
        return free ? go_on(call, survey) : leave_off(call, survey);
    }
    if (!free || record->desired_count < APART || !rests(call, survey)) {
        return false;
    }
    struct zones zones;
    look(call, survey, &zones);
    return begin(call, survey, &zones);
}

bool service_zone_opened(const struct core *core, int64_t key)
{
    const struct task_node *node = task_node(task_state(core), key);
    for (size_t i = 0; node != NULL && i < node->zone_count; i++) {
        if (task_zone_place(node, node->zones[i]).usable &&
            !zone_open(core, node->zones[i], task_zone_home(node, node->zones[i]), key)) {
            return true;
        }
    }
    return false;
}
