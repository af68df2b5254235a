#include "sim.h"

#include <string.h>

/*
 * Faults. A seed has only some kinds of them, so that some seeds go deep where others go wide.
 */

enum fault {
    FAULT_SERVER_CRASH,
    FAULT_AGENT_CRASH,
    FAULT_SUPERVISOR_CRASH,
    FAULT_REBOOT,
    FAULT_CUT,
    FAULT_PARTITION,
    FAULT_CLOCK,
    FAULT_HOST_GONE,
    FAULT_FULL_DISK,
    FAULT_STOP_ALL,
    FAULT_COUNT,
};

void faults_init(struct sim *sim)
{
    static const int usual[FAULT_COUNT] = {20, 25, 15, 8, 25, 10, 20, 3, 8, 3};
    struct world *world = &sim->world;
    struct faults *faults = &sim->faults;
    for (size_t i = 0; i < FAULT_COUNT; i++) {
        faults->weights[i] = world_chance(world, 600) ? usual[i] : 0;
    }
    if (world_chance(world, 80)) {
        // What depends on clocks shows when nothing else gets in its way.
        memset(faults->weights, 0, sizeof(faults->weights));
        faults->weights[FAULT_CLOCK] = 50;
        faults->weights[FAULT_PARTITION] = 10;
        faults->weights[FAULT_REBOOT] = 10;
    }
    faults->network_permille = world_chance(world, 600) ? (int)world_between(world, 1, 40) : 0;
    faults->host_permille = world_chance(world, 500) ? (int)world_between(world, 1, 40) : 0;
    faults->crash_permille = world_chance(world, 500) ? (int)world_between(world, 2, 80) : 0;
    faults->pause_ms = world_chance(world, 300) ? world_between(world, 200, 1000) : 4000;
    faults->time_ms = world_chance(world, 100) ? 150000 : world_between(world, 20000, 45000);
}

bool faults_network(struct sim *sim)
{
    return sim->faults.active && world_chance(&sim->world, sim->faults.network_permille);
}

bool faults_host(struct sim *sim)
{
    return sim->faults.active && world_chance(&sim->world, sim->faults.host_permille);
}

// ---- one of each kind -----------------------------------------------------------------------

static void on_server_start(void *context, void *payload)
{
    (void)payload;
    struct sim *sim = context;
    if (sim->server.core == NULL) {
        server_start(sim);
    }
}

static void crash_server(struct sim *sim)
{
    if (sim->server.core == NULL) {
        return;
    }
    server_crash(sim);
    world_post(&sim->world, &(struct world_event){
                                .delay_ms = world_between(&sim->world, 50, 6000),
                                .run = on_server_start,
                                .context = sim,
                            });
}

static void on_agent_start(void *context, void *payload)
{
    (void)payload;
    struct node *node = context;
    if (node->powered && node->logic == NULL) {
        node_agent_start(node);
    }
}

static void crash_agent(struct node *node)
{
    struct world *world = &node->sim->world;
    if (node->logic == NULL) {
        return;
    }
    node_agent_crash(node, world_chance(world, 900));
    node->sim->crash_counts[1]++;
    world_post(world, &(struct world_event){.delay_ms = world_between(world, 20, 5000),
                                            .run = on_agent_start,
                                            .context = node});
}

static void on_agent_stopped(void *context, void *payload)
{
    (void)payload;
    crash_agent(context);
}

// The agent is ended by somebody: it stops its tasks, for as long as it is let.
static void stop_all(struct node *node)
{
    struct world *world = &node->sim->world;
    if (node->logic != NULL) {
        node_stop_all(node);
        world_post(world, &(struct world_event){.delay_ms = world_between(world, 0, 10000),
                                                .life = &node->life,
                                                .run = on_agent_stopped,
                                                .context = node});
    }
}

static void crash_supervisor(struct node *node)
{
    size_t count = 0;
    for (const struct host_task *task = node->tasks; task != NULL; task = task->next) {
        count += task->supervisor != NULL && task->supervisor->order != NULL;
    }
    if (count == 0) {
        return;
    }
    int64_t chosen = world_between(&node->sim->world, 0, (int64_t)count - 1);
    for (const struct host_task *task = node->tasks; task != NULL; task = task->next) {
        if (task->supervisor != NULL && task->supervisor->order != NULL && chosen-- == 0) {
            node->sim->crash_counts[2]++;
            supervisor_crash(task->supervisor);
            return;
        }
    }
}

static void on_boot(void *context, void *payload)
{
    (void)payload;
    struct node *node = context;
    if (!node->powered && !node->gone) {
        node_boot(node);
    }
}

static void reboot(struct node *node)
{
    struct world *world = &node->sim->world;
    if (!node->powered) {
        return;
    }
    node_power_off(node);
    node->sim->crash_counts[3]++;
    world_post(world, &(struct world_event){.delay_ms = world_between(world, 500, 15000),
                                            .run = on_boot,
                                            .context = node});
}

static void cut(struct node *node)
{
    struct session *session = world_chance(&node->sim->world, 800) ? node->acs : node->tcs;
    if (session != NULL && session->client_open) {
        world_trace(&node->sim->world, "%s session is cut", node->name);
        session_cut(session);
    }
}

static void on_heal(void *context, void *payload)
{
    (void)payload;
    struct node *node = context;
    world_trace(&node->sim->world, "%s is back in the network", node->name);
    node->partitioned = false;
}

static void partition(struct node *node)
{
    struct world *world = &node->sim->world;
    if (node->partitioned) {
        return;
    }
    world_trace(world, "%s is cut off", node->name);
    node->partitioned = true;
    world_post(world, &(struct world_event){.delay_ms = world_between(world, 200, 40000),
                                            .life = &node->partition_life,
                                            .run = on_heal,
                                            .context = node});
}

static void jump_clock(struct sim *sim, struct node *node)
{
    static const int64_t jumps_ms[] = {-3000, -200, 2500, 60000, 600000, 3600000};
    int64_t jump_ms = jumps_ms[world_between(&sim->world, 0, ARRAY_LEN(jumps_ms) - 1)];
    bool server = world_chance(&sim->world, 700);
    int64_t *offset_ms = server ? &sim->server.offset_ms : &node->offset_ms;
    // Back to about the truth when it is far from it already.
    *offset_ms =
        *offset_ms > 30000 ? world_between(&sim->world, -1000, 1000) : *offset_ms + jump_ms;
    if (server) {
        sim->server.steady_ms = sim->world.now_ms;
    }
    world_trace(&sim->world, "the clock of %s is off by %lld ms",
                server ? "the server" : node->name, (long long)*offset_ms);
}

static void on_remove(void *context, void *payload)
{
    (void)payload;
    struct node *node = context;
    workload_remove(node->sim, node);
}

// The host is off for ever. After a while somebody says so, and perhaps a new one joins.
static void lose_host(struct node *node)
{
    struct sim *sim = node->sim;
    size_t there = 0;
    for (size_t i = 0; i < sim->node_count; i++) {
        there += sim->nodes[i].gone ? 0 : 1;
    }
    if (there < 2 || node->gone) {
        return;
    }
    world_trace(&sim->world, "%s is off for ever", node->name);
    node_power_off(node);
    node->gone = true;
    world_post(&sim->world,
               &(struct world_event){
                   .delay_ms = world_between(&sim->world, 1000,
                                             world_chance(&sim->world, 300) ? 100000 : 20000),
                   .run = on_remove,
                   .context = node,
               });
    if (sim->node_count < SIM_NODE_MAX && world_chance(&sim->world, 500)) {
        workload_join(sim, &sim->nodes[sim->node_count]);
    }
}

// ---- when -----------------------------------------------------------------------------------

static void strike(struct sim *sim, enum fault fault, struct node *node)
{
    switch (fault) {
    case FAULT_SERVER_CRASH:
        crash_server(sim);
        return;
    case FAULT_AGENT_CRASH:
        crash_agent(node);
        return;
    case FAULT_SUPERVISOR_CRASH:
        crash_supervisor(node);
        return;
    case FAULT_REBOOT:
        reboot(node);
        return;
    case FAULT_CUT:
        cut(node);
        return;
    case FAULT_PARTITION:
        partition(node);
        return;
    case FAULT_CLOCK:
        jump_clock(sim, node);
        return;
    case FAULT_HOST_GONE:
        lose_host(node);
        return;
    case FAULT_FULL_DISK:
        node->full_ms = sim->world.now_ms + world_between(&sim->world, 500, 20000);
        world_trace(&sim->world, "%s has a full disk", node->name);
        return;
    case FAULT_STOP_ALL:
        stop_all(node);
        return;
    case FAULT_COUNT:
        return;
    }
}

static void on_fault(void *context, void *payload)
{
    (void)payload;
    struct sim *sim = context;
    struct world *world = &sim->world;
    int total = 0;
    for (size_t i = 0; i < FAULT_COUNT; i++) {
        total += sim->faults.weights[i];
    }
    if (total > 0) {
        int64_t at = world_between(world, 0, total - 1);
        size_t fault = 0;
        while (at >= sim->faults.weights[fault]) {
            at -= sim->faults.weights[fault];
            fault++;
        }
        size_t index = (size_t)world_between(world, 0, (int64_t)sim->node_count - 1);
        strike(sim, (enum fault)fault, &sim->nodes[index]);
    }
    world_post(world,
               &(struct world_event){.delay_ms = world_between(world, 50, sim->faults.pause_ms),
                                     .life = &sim->faults.life,
                                     .run = on_fault,
                                     .context = sim});
}

static void on_server_crash(void *context, void *payload)
{
    (void)payload;
    crash_server(context);
}

static void on_agent_crash(void *context, void *payload)
{
    (void)payload;
    struct node *node = context;
    if (world_chance(&node->sim->world, 300)) {
        reboot(node);
    } else {
        crash_agent(node);
    }
}

void faults_moment(struct sim *sim, struct node *node)
{
    struct world *world = &sim->world;
    if (!sim->faults.active || !world_chance(world, sim->faults.crash_permille)) {
        return;
    }
    world_post(world, &(struct world_event){
                          .delay_ms = world_between(world, 0, 10),
                          .life = &sim->faults.life,
                          .run = node == NULL ? on_server_crash : on_agent_crash,
                          .context = node == NULL ? (void *)sim : (void *)node,
                      });
}

void faults_begin(struct sim *sim)
{
    sim->faults.active = true;
    world_post(&sim->world,
               &(struct world_event){
                   .delay_ms = 500, .life = &sim->faults.life, .run = on_fault, .context = sim});
}

void faults_end(struct sim *sim)
{
    world_trace(&sim->world, "faults end");
    sim->faults.active = false;
    sim->faults.life++;
    on_server_start(sim, NULL);
    for (size_t i = 0; i < sim->node_count; i++) {
        struct node *node = &sim->nodes[i];
        node->partitioned = false;
        node->partition_life++;
        node->full_ms = 0;
        if (!node->joined) {
            continue;
        }
        on_boot(node, NULL);
        on_agent_start(node, NULL);
        if (node->gone && !node->removed) {
            workload_remove(sim, node);
        }
    }
}
