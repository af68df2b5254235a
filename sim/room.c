#include "services.h"
#include "sim.h"

#include "base/text.h"
#include "ecs/ecs_internal.h"
#include "ecs/task_internal.h"
#include "vpc/vpc.h"

#include <string.h>

/*
 * Where there is room for one more task of a service, and whether its tasks are spread over the
 * zones as well as that allows: counted from records each time.
 */

struct need {
    int64_t cpu_units;
    int64_t memory_mib;
};

// What is looked for: room of a service's revision, in a zone or, for an empty name, anywhere.
struct search {
    int64_t service;
    const struct service_record_service *record;
    const struct service_record_revision *revision;
    int64_t cluster; ///< 0 for the pool
    bool network;
    bool spot; ///< of the pool FARGATE_SPOT, not of FARGATE
    struct text zone;
};

static struct need need_of(const struct core *core, int64_t definition)
{
    const struct ecs_record_definition *record = core_get(core, &ecs_definition_kind, definition);
    struct need need = {0};
    if (text_to_i64(record->definition->cpu, &need.cpu_units) == 0 &&
        text_to_i64(record->definition->memory, &need.memory_mib) == 0) {
        return need;
    }
    need = (struct need){0};
    for (size_t i = 0; i < record->definition->container_definitions.count; i++) {
        need.cpu_units += record->definition->container_definitions.items[i].cpu;
        need.memory_mib += record->definition->container_definitions.items[i].memory;
    }
    return need;
}

static bool wanted(const struct search *search, struct text zone)
{
    return text_empty(search->zone) || text_equal(search->zone, zone);
}

static bool is_zone_of(const struct task_record_membership *membership, struct text zone)
{
    for (size_t i = 0; i < membership->zones.count; i++) {
        if (text_equal(membership->zones.items[i], zone)) {
            return true;
        }
    }
    return false;
}

// Whether a subnet of a service that lies where a host is has an address left.
static bool has_address(const struct core *core, const struct task_record_membership *membership,
                        const struct search *search)
{
    const struct text_list *subnets =
        &search->revision->network_configuration->awsvpc_configuration->subnets;
    const struct ecs_record_cluster *cluster =
        core_get(core, &ecs_cluster_kind, search->record->cluster);
    for (size_t i = 0; i < subnets->count; i++) {
        int64_t key = vpc_subnet_find(core, cluster->realm, subnets->items[i]);
        const struct vpc_record_subnet *subnet = core_get(core, &vpc_subnet_kind, key);
        if (vpc_subnet_free(core, key) > 0 && wanted(search, subnet->availability_zone) &&
            is_zone_of(membership, subnet->availability_zone)) {
            return true;
        }
    }
    return false;
}

// Whether a host is where tasks of the service may go, and in the zone.
static bool offers(const struct core *core, const struct task_record_node *node,
                   const struct search *search)
{
    for (size_t i = 0; i < node->memberships.count; i++) {
        const struct task_record_membership *membership = &node->memberships.items[i];
        bool pooled = search->cluster != 0 || spot_offers(membership, search->spot);
        if (membership->cluster == search->cluster && pooled && !membership->draining &&
            membership->deregistered_at == 0 &&
            (search->network ? has_address(core, membership, search)
                             : wanted(search, membership->zones.items[0]))) {
            return true;
        }
    }
    return false;
}

static bool distinct(const struct service_record_service *record)
{
    for (size_t i = 0; i < record->placement_constraints.count; i++) {
        if (record->placement_constraints.items[i].type ==
            ECS_PLACEMENT_CONSTRAINT_TYPE_DISTINCT_INSTANCE) {
            return true;
        }
    }
    return false;
}

static bool takes(struct sim *sim, int64_t node_key, const struct search *search)
{
    const struct core *core = sim->server.core;
    const struct task_record_node *node = core_get(core, &task_node_kind, node_key);
    const struct task_node *known = task_node(task_state(core), node_key);
    struct need need = need_of(core, search->revision->definition);
    bool taken = false;
    int32_t interfaces = search->network;
    if (known == NULL || known->lost || known->removed || !known->connected ||
        !offers(core, node, search)) {
        return false;
    }
    for (int64_t key = core_next(core, &task_kind, 0); key != 0;
         key = core_next(core, &task_kind, key)) {
        const struct task_record_task *task = core_get(core, &task_kind, key);
        if (task->node == node_key && task->last_status != TASK_RECORD_TASK_STATUS_STOPPED) {
            need.cpu_units += task->cpu_units;
            need.memory_mib += task->memory_mib;
            interfaces += task->has_eni;
            taken = taken || (task->has_deployment &&
                              standing_service(core, task->deployment) == search->service);
        }
    }
    return (!taken || !distinct(search->record)) && interfaces <= node->eni_slots &&
           need.cpu_units <= node->cpu_units && need.memory_mib <= node->memory_mib;
}

static struct search search_of(struct sim *sim, int64_t service,
                               const struct service_record_revision *revision, struct text zone)
{
    const struct core *core = sim->server.core;
    const struct service_record_service *record = core_get(core, &service_kind, service);
    const struct ecs_record_definition *definition =
        core_get(core, &ecs_definition_kind, revision->definition);
    return (struct search){
        .service = service,
        .record = record,
        .revision = revision,
        .cluster = revision->launch_type == ECS_LAUNCH_TYPE_FARGATE ? 0 : record->cluster,
        .network = definition->definition->network_mode == ECS_NETWORK_MODE_AWSVPC,
        .zone = zone,
    };
}

bool room_on(struct sim *sim, int64_t node, int64_t service,
             const struct service_record_revision *revision)
{
    const struct search search = search_of(sim, service, revision, TEXT(""));
    return takes(sim, node, &search);
}

static bool found(struct sim *sim, const struct search *search)
{
    const struct core *core = sim->server.core;
    for (int64_t key = core_next(core, &task_node_kind, 0); key != 0;
         key = core_next(core, &task_node_kind, key)) {
        if (takes(sim, key, search)) {
            return true;
        }
    }
    return false;
}

bool room_for(struct sim *sim, int64_t service, const struct service_record_revision *revision,
              struct text zone)
{
    const struct search search = search_of(sim, service, revision, zone);
    return found(sim, &search);
}

bool room_short(struct sim *sim, int64_t service, const struct service_record_revision *revision)
{
    struct search search = search_of(sim, service, revision, TEXT(""));
    size_t count = revision->capacity_provider_strategy.count;
    for (size_t i = 0; i < count; i++) {
        search.spot = text_is(revision->capacity_provider_strategy.items[i].capacity_provider,
                              "FARGATE_SPOT");
        search.cluster = 0;
        if (!found(sim, &search)) {
            return true;
        }
    }
    return count == 0 && !found(sim, &search);
}

// ---- zones --------------------------------------------------------------------------------------

static const char *const zones[] = {"eu-west-1a", "eu-west-1b", "eu-west-1c"};

// A task is where its subnet is; without one, where its host says first.
static struct text zone_of(const struct core *core, const struct task_record_task *task)
{
    if (task->has_subnet) {
        const struct vpc_record_subnet *subnet = core_get(core, &vpc_subnet_kind, task->subnet);
        return subnet->availability_zone;
    }
    const struct task_record_node *node = core_get(core, &task_node_kind, task->node);
    return task_membership(node, task)->zones.items[0];
}

struct counts {
    int32_t tasks[ARRAY_LEN(zones)];
    int32_t movable[ARRAY_LEN(zones)];
};

static struct counts counts_of(struct sim *sim, int64_t service)
{
    const struct core *core = sim->server.core;
    struct counts counts = {0};
    for (int64_t key = core_next(core, &task_kind, 0); key != 0;
         key = core_next(core, &task_kind, key)) {
        const struct task_record_task *task = core_get(core, &task_kind, key);
        if (!task->has_deployment || standing_service(core, task->deployment) != service ||
            task->desired_status == TASK_RECORD_TASK_STATUS_STOPPED || standing_lost(core, task)) {
            continue;
        }
        bool guarded = task->extra != NULL && task->extra->protected_until > sim->server.input_ms;
        for (size_t i = 0; i < ARRAY_LEN(zones); i++) {
            if (text_is(zone_of(core, task), zones[i])) {
                counts.tasks[i]++;
                counts.movable[i] += !guarded;
            }
        }
    }
    return counts;
}

static bool evened_out(const struct service_record_service *record)
{
    const struct ecs_placement_strategy *first =
        record->placement_strategy.count == 0 ? NULL : &record->placement_strategy.items[0];
    int64_t upper = (int64_t)record->desired_count * record->configuration->maximum_percent / 100;
    return record->zone_rebalancing == ECS_AVAILABILITY_ZONE_REBALANCING_ENABLED &&
           upper > record->desired_count &&
           (first == NULL || (first->type == ECS_PLACEMENT_STRATEGY_TYPE_SPREAD &&
                              text_is(first->field, "attribute:ecs.availability-zone")));
}

bool room_uneven(struct sim *sim, int64_t service, const struct service_record_revision *revision)
{
    const struct service_record_service *record =
        core_get(sim->server.core, &service_kind, service);
    // Of a strategy, the providers are kept in proportion first.
    if (!evened_out(record) || revision->capacity_provider_strategy.count > 0) {
        return false;
    }
    struct counts counts = counts_of(sim, service);
    for (size_t from = 0; from < ARRAY_LEN(zones); from++) {
        for (size_t to = 0; to < ARRAY_LEN(zones); to++) {
            if (counts.movable[from] > 0 && counts.tasks[from] > counts.tasks[to] + 1 &&
                room_for(sim, service, revision, text_of(zones[to]))) {
                return true;
            }
        }
    }
    return false;
}
