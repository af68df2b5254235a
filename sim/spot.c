#include "services.h"
#include "sim.h"

#include "base/text.h"
#include "ecs/ecs_internal.h"
#include "ecs/service.h"
#include "ecs/task_internal.h"
#include "vpc/vpc.h"

#include <stdio.h>
#include <string.h>

/*
 * Capacity of FARGATE and FARGATE_SPOT: hosts whose capacity is taken back, many at once, and given
 * back after a while; and which of the two the tasks of a strategy are on.
 */

#define ITEMS_MAX 4
#define INTERRUPTED_MS 5000 // within which the tasks of a host that was taken back are to stop

// ---- waves ------------------------------------------------------------------------------------

static void on_answer(struct call *call)
{
    // Now it is a host of the pool, now it is none, and some are off for ever.
    bool known = strncmp(call->fault_text, "There is no node", strlen("There is no node")) == 0 ||
                 strstr(call->fault_text, "is no host of FARGATE_SPOT") != NULL;
    if (call->rc == ERR_FAULT && !known) {
        world_fail(&call->sim->world, "%s is refused: %s", call->operation->name, call->fault_text);
    }
    struct node *node = call->context;
    bool taken = call->operation == &berth_operations[BERTH_OP_INTERRUPT_SPOT];
    if (call->rc == 0) {
        node->reclaimed_ms = taken ? call->sim->world.now_ms : 0;
    }
    call->sim->churn.counts[ACT_SPOT_WAVE] += call->rc == 0 && taken;
}

static void restore(struct node *node)
{
    const struct berth_restore_spot_request request = {.node_id = text_of(node->node_id)};
    call_begin(node->sim,
               &(struct call_options){.operation = &berth_operations[BERTH_OP_RESTORE_SPOT],
                                      .request = &request,
                                      .done = on_answer,
                                      .context = node});
}

static void on_restore(void *context, void *payload)
{
    (void)payload;
    restore(context);
}

void spot_wave(struct sim *sim)
{
    struct world *world = &sim->world;
    world_trace(world, "capacity of FARGATE_SPOT is taken back");
    for (size_t i = 0; i < sim->node_count; i++) {
        struct node *node = &sim->nodes[i];
        if (!node->joined || node->spot == SPOT_NONE || world_chance(world, 300)) {
            continue;
        }
        const struct berth_interrupt_spot_request request = {.node_id = text_of(node->node_id)};
        call_begin(sim,
                   &(struct call_options){.operation = &berth_operations[BERTH_OP_INTERRUPT_SPOT],
                                          .request = &request,
                                          .done = on_answer,
                                          .context = node});
        int64_t most_ms = sim->services.hours ? 1200000 : 30000;
        world_post(world, &(struct world_event){.delay_ms = world_between(world, 100, most_ms),
                                                .life = &sim->services.life,
                                                .run = on_restore,
                                                .context = node});
    }
}

void spot_calm(struct sim *sim)
{
    for (size_t i = 0; i < sim->node_count; i++) {
        struct node *node = &sim->nodes[i];
        if (node->joined && node->spot != SPOT_NONE && world_chance(&sim->world, 800)) {
            restore(node);
        }
    }
}

// ---- tasks ------------------------------------------------------------------------------------

static bool is_spot(const struct task_record_task *task)
{
    return task->launch_type == ECS_LAUNCH_TYPE_FARGATE && task->extra != NULL &&
           text_is(task->extra->capacity_provider, "FARGATE_SPOT");
}

bool spot_offers(const struct task_record_membership *membership, bool spot)
{
    struct text rest = membership->capacity;
    bool named = false;
    while (rest.data != NULL && !text_empty(rest)) {
        named = text_is(text_cut(&rest, ','), spot ? "FARGATE_SPOT" : "FARGATE") || named;
    }
    return membership->cluster == 0 && named && !(spot && membership->spot_reclaimed_at != 0);
}

static const struct task_record_membership *pool_of(const struct core *core, int64_t node)
{
    const struct task_record_node *record = core_get(core, &task_node_kind, node);
    for (size_t i = 0; record != NULL && i < record->memberships.count; i++) {
        if (record->memberships.items[i].cluster == 0) {
            return &record->memberships.items[i];
        }
    }
    return NULL;
}

void spot_task_changed(struct sim *sim, const struct core *core,
                       const struct task_record_task *before, const struct task_record_task *after)
{
    const struct task_record_membership *pool =
        after->launch_type == ECS_LAUNCH_TYPE_FARGATE ? pool_of(core, after->node) : NULL;
    bool spot = is_spot(after);
    if (before == NULL) {
        if (after->launch_type == ECS_LAUNCH_TYPE_FARGATE &&
            (pool == NULL || !spot_offers(pool, spot))) {
            world_fail(&sim->world, "task %.*s of %s is placed on a host that is not of that pool",
                       TEXT_FMT(after->task_id), spot ? "FARGATE_SPOT" : "FARGATE");
        }
        sim->churn.counts[ACT_SPOT_START] += spot;
        return;
    }
    if (before->desired_status == after->desired_status ||
        after->stop_code != ECS_TASK_STOP_CODE_SPOT_INTERRUPTION) {
        return;
    }
    if (!spot || (pool != NULL && pool->spot_reclaimed_at == 0)) {
        world_fail(&sim->world, "task %.*s is interrupted, and its host was not taken back",
                   TEXT_FMT(after->task_id));
    }
    sim->churn.counts[ACT_SPOT_INTERRUPTED]++;
}

// A task that is to run on a host that was taken back; of a node, or of any when node_id is NULL.
static const struct task_record_task *left_behind(const struct core *core, const char *node_id)
{
    for (int64_t key = core_next(core, &task_kind, 0); key != 0;
         key = core_next(core, &task_kind, key)) {
        const struct task_record_task *task = core_get(core, &task_kind, key);
        const struct task_record_membership *pool =
            is_spot(task) ? pool_of(core, task->node) : NULL;
        if (pool == NULL || pool->spot_reclaimed_at == 0 ||
            task->desired_status != TASK_RECORD_TASK_STATUS_RUNNING) {
            continue;
        }
        const struct task_record_node *node = core_get(core, &task_node_kind, task->node);
        if (node_id == NULL || text_is(node->node_id, node_id)) {
            return task;
        }
    }
    return NULL;
}

// The engine interrupts at once; a server that is new has its other work to do first.
void spot_check(struct sim *sim)
{
    int64_t since_ms = sim->world.now_ms - INTERRUPTED_MS;
    for (size_t i = 0; i < sim->node_count && sim->server.started_ms < since_ms; i++) {
        const struct node *node = &sim->nodes[i];
        const struct task_record_task *task =
            node->reclaimed_ms != 0 && node->reclaimed_ms < since_ms
                ? left_behind(sim->server.core, node->node_id)
                : NULL;
        if (task != NULL) {
            world_fail(&sim->world, "task %.*s goes on on a host that was taken back",
                       TEXT_FMT(task->task_id));
        }
    }
}

bool spot_settled(struct sim *sim, char *why, size_t size_bytes)
{
    const struct task_record_task *task = left_behind(sim->server.core, NULL);
    if (task != NULL) {
        snprintf(why, size_bytes, "task %.*s is on a host that was taken back",
                 TEXT_FMT(task->task_id));
    }
    return task == NULL;
}

// ---- strategies -------------------------------------------------------------------------------

void spot_strategy(struct sim *sim, char *out, size_t size_bytes)
{
    struct world *world = &sim->world;
    int weight = (int)world_between(world, 0, 2);
    snprintf(out, size_bytes,
             "'capacityProviderStrategy':[{'capacityProvider':'FARGATE','base':%d,"
             "'weight':%d},{'capacityProvider':'FARGATE_SPOT','weight':%d}]%s",
             (int)world_between(world, 0, 2), weight, (int)world_between(world, 1, 4),
             world_chance(world, 700) ? ",'availabilityZoneRebalancing':'DISABLED'" : "");
}

// One task after the other: to the base first, then where the weights leave the largest deficit.
static void split(const struct ecs_capacity_provider_strategy_item *items, size_t count,
                  int32_t tasks, int32_t *out_tasks)
{
    int32_t weights = 0;
    for (size_t i = 0; i < count; i++) {
        weights += items[i].weight;
        out_tasks[i] = 0;
    }
    int32_t based = 0;
    for (size_t i = 0; i < count; i++) {
        out_tasks[i] = MIN(items[i].base, tasks - based);
        based += out_tasks[i];
    }
    int32_t above[ITEMS_MAX] = {0};
    for (int32_t placed = 0; placed < tasks - based; placed++) {
        size_t best = 0;
        double most = -1e9;
        for (size_t i = 0; i < count; i++) {
            double deficit = (double)items[i].weight * (placed + 1) / weights - above[i];
            if (items[i].weight > 0 && deficit > most + 1e-9) {
                best = i;
                most = deficit;
            }
        }
        above[best]++;
        out_tasks[best]++;
    }
}

void spot_started(struct sim *sim, const struct core *core,
                  const struct service_record_service *record,
                  const struct service_record_revision *revision,
                  const struct task_record_task *task)
{
    size_t count = revision->capacity_provider_strategy.count;
    int32_t want[ITEMS_MAX];
    int32_t have[ITEMS_MAX] = {0};
    int32_t total = 0;
    // To even out zones it starts more than are desired, all of one provider before the next.
    bool moves = record->zone_rebalancing == ECS_AVAILABILITY_ZONE_REBALANCING_ENABLED;
    if (count == 0 || count > ITEMS_MAX || moves) {
        return;
    }
    const struct ecs_capacity_provider_strategy_item *items =
        revision->capacity_provider_strategy.items;
    for (size_t i = 0; i < sim->services.live_count; i++) {
        const struct task_record_task *other = core_get(core, &task_kind, sim->services.live[i]);
        if (other->deployment != task->deployment ||
            other->desired_status == TASK_RECORD_TASK_STATUS_STOPPED ||
            standing_lost(core, other) || standing_drains(core, other) ||
            standing_sick(sim, record, other)) {
            continue;
        }
        total++;
        for (size_t j = 0; j < count; j++) {
            have[j] += is_spot(other) == text_is(items[j].capacity_provider, "FARGATE_SPOT");
        }
    }
    split(items, count, MAX(total, record->desired_count), want);
    for (size_t i = 0; i < count; i++) {
        bool here = is_spot(task) == text_is(items[i].capacity_provider, "FARGATE_SPOT");
        if (here && have[i] > want[i]) {
            world_fail(&sim->world,
                       "service %.*s of %d tasks starts number %d on %.*s, whose share are %d",
                       TEXT_FMT(record->name), record->desired_count, have[i],
                       TEXT_FMT(items[i].capacity_provider), want[i]);
        }
    }
    sim->churn.counts[ACT_SPOT_DIVIDED]++;
}
