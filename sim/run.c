#include "sim.h"

#include "base/text.h"

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define SETTLE_MS 400000           // after them, until everything must be as desired
#define SETTLE_SERVICES_MS 1500000 // services may wait 15 minutes before they try again
#define SETTLE_LOOK_MS 500
#define LATE_MS 15000 // longer than any request is held up
#define STEP_MAX_HOURS 10000000
#define STEP_MAX 200000 // a run that does not end is broken, too

static const char *mutant_name;
static sigjmp_buf assertion;

void sim_set_mutant(const char *name)
{
    mutant_name = name;
}

bool mutant_is(const char *name)
{
    return mutant_name != NULL && strcmp(mutant_name, name) == 0;
}

// An assertion that fails is a broken invariant like any other; memory of the run is given up.
static void on_abort(int signal_number)
{
    siglongjmp(assertion, signal_number);
}

static bool step(struct sim *sim)
{
    if (sim->world.failed || !world_step(&sim->world)) {
        return false;
    }
    check_step(sim);
    if (sim->world.step > (sim->services.hours ? STEP_MAX_HOURS : STEP_MAX)) {
        world_fail(&sim->world, "the run does not end");
    }
    return !sim->world.failed;
}

static void nothing(void *context, void *payload)
{
    (void)context;
    (void)payload;
}

static void pass(struct sim *sim, int64_t time_ms)
{
    int64_t end_ms = sim->world.now_ms + time_ms;
    world_post(&sim->world, &(struct world_event){.delay_ms = time_ms, .run = nothing});
    while (sim->world.now_ms < end_ms && step(sim)) {}
}

// Go on until all is settled, twice in a row.
static void settle(struct sim *sim, const char *what)
{
    int64_t time_ms = sim->services.active ? SETTLE_SERVICES_MS : SETTLE_MS;
    int64_t deadline_ms = sim->world.now_ms + time_ms;
    int64_t look_ms = sim->world.now_ms;
    int in_row = 0;
    char why[512] = "";
    while (in_row < 2) {
        if (!step(sim)) {
            return;
        }
        if (sim->world.now_ms < look_ms) {
            continue;
        }
        in_row = check_settled(sim, why, sizeof(why)) ? in_row + 1 : 0;
        look_ms = sim->world.now_ms + SETTLE_LOOK_MS;
        world_post(&sim->world, &(struct world_event){.delay_ms = SETTLE_LOOK_MS, .run = nothing});
        if (sim->world.now_ms > deadline_ms) {
            world_fail(&sim->world, "%s it does not settle: %s", what, why);
            return;
        }
    }
}

static void run(struct sim *sim, const struct sim_options *options)
{
    faults_init(sim);
    server_start(sim);
    workload_setup(sim, options->hours);
    settle(sim, "after joining");
    workload_begin(sim);
    churn_begin(sim);
    services_begin(sim);
    faults_begin(sim);
    int64_t end_ms = sim->world.now_ms + sim->faults.time_ms;
    uint64_t last_step = options->step_max == 0 ? UINT64_MAX : sim->world.step + options->step_max;
    world_post(&sim->world, &(struct world_event){.delay_ms = sim->faults.time_ms, .run = nothing});
    while (sim->world.now_ms < end_ms && sim->world.step < last_step && step(sim)) {}
    sim->workload.life++;
    sim->churn.life++;
    sim->services.life++;
    faults_end(sim);
    pass(sim, LATE_MS); // what was held up arrives
    sim->calm = true;
    services_calm(sim);
    pass(sim, 200);
    settle(sim, "without faults");
    standing_count(sim);
    services_delete_all(sim);
    pass(sim, 200);
    workload_stop_all(sim);
    pass(sim, 200);
    settle(sim, "at the end");
    if (!sim->world.failed) {
        check_end(sim);
    }
}

static void sim_free(struct sim *sim)
{
    world_deinit(&sim->world);
    for (size_t i = 0; i < sim->node_count; i++) {
        node_deinit(&sim->nodes[i]);
    }
    while (sim->supervisors != NULL) {
        struct supervisor *supervisor = sim->supervisors;
        sim->supervisors = supervisor->next;
        supervisor_free(supervisor);
    }
    while (sim->sessions != NULL) {
        struct session *session = sim->sessions;
        sim->sessions = session->next;
        alloc_free(session);
    }
    while (sim->calls != NULL) {
        struct call *call = sim->calls;
        sim->calls = call->next;
        call_free(call);
    }
    pages_deinit(sim);
    alloc_free(sim->churn.ledger.items);
    groups_deinit(&sim->groups);
    alloc_free(sim->services.live);
    hooks_deinit(&sim->services);
    server_deinit(&sim->server);
    facts_deinit(&sim->facts);
    alloc_free(sim);
}

static void fill_result(const struct sim *sim, struct sim_result *out_result)
{
    *out_result = (struct sim_result){
        .failed = sim->world.failed,
        .step_count = sim->world.step,
        .hash = sim->world.hash,
        .task_count = sim->facts.count,
        .placed_count = sim->workload.placed_count,
        .virtual_ms = sim->world.now_ms,
    };
    memcpy(out_result->failure, sim->world.failure, sizeof(out_result->failure));
    memcpy(out_result->crash_counts, sim->crash_counts, sizeof(out_result->crash_counts));
    memcpy(out_result->counts, sim->churn.counts, sizeof(out_result->counts));
    for (size_t i = 0; i < sim->facts.count; i++) {
        out_result->launch_count += (uint64_t)sim->facts.items[i]->launch_count;
    }
}

void sim_run(const struct sim_options *options, struct sim_result *out_result)
{
    static struct sim *sim;
    sim = ALLOC(struct sim);
    world_init(&sim->world, options->seed);
    sim->world.print = options->print;
    struct sigaction catch = {.sa_handler = on_abort};
    struct sigaction before;
    sigaction(SIGABRT, &catch, &before);
    bool aborted = sigsetjmp(assertion, 1) != 0;
    if (!aborted) {
        run(sim, options);
    } else {
        world_fail(&sim->world, "an assertion failed, see above");
    }
    sigaction(SIGABRT, &before, NULL);
    fill_result(sim, out_result);
    if (sim->world.failed && mutant_name == NULL) {
        world_print_tail(&sim->world, 60);
    }
    if (!aborted) {
        sim_free(sim);
    } else {
        disk_free(sim->server.disk); // there is but one
    }
    sim = NULL;
}
