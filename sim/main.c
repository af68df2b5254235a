#include "sim.h"

#include "base/text.h"
#include "commit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MUTANT_SEEDS 1000
#define STATS_SEEDS 200 // each act happens often enough for that
#define EXIT_USAGE 64

static const struct {
    const char *name;
    const char *what;
} mutants[] = {
    {"skip-commit-wait", "replies and effects leave the server before they are durable"},
    {"launch-before-journal", "a task is launched before its record is durable"},
    {"forget-launched", "records in phase LAUNCHED never reach the journal"},
    {"relaunch-after-crash", "a task that was launched is launched again, though it may have run"},
    {"forget-ended-tasks", "a late payload starts a task that has ended"},
    {"launch-after-stop", "a task that is to stop is launched all the same"},
    {"forget-clean", "what is left of a task stays on its host"},
    {"reuse-address", "STOPPED is reported before the address is free on the host"},
    {"invent-exit-code", "a container whose end nobody saw is given exit code 0"},
    {"report-once", "a report that got lost is not sent again"},
    {"forget-token", "a clientToken that comes again runs its tasks again"},
    {"overcommit", "placement does not count what a node's tasks hold"},
    {"lose-stop", "StopTask is told to the node by chance only"},
    {"stop-the-clock", "engine time stands still while the wall clock catches up"},
    {"place-on-draining", "constraints and strategies place on instances that drain"},
    {"forget-distinct", "distinctInstance does not count what is there"},
    {"look-once", "what changes with every task is looked at once for a request"},
    {"share-ports", "placement does not count ports of the host that tasks have"},
    {"share-gpus", "placement does not count GPUs that tasks have"},
    {"spread-once", "spread does not count the tasks of its own request"},
    {"register-undrains", "an agent that registers again makes its instance ACTIVE"},
    {"register-forgets", "an agent that registers again loses what PutAttributes gave"},
    {"leave-tasks", "forced deregistration leaves the tasks alone"},
    {"delete-used", "a definition disappears while tasks run that use it"},
    {"delete-full-cluster", "a cluster is deleted with tasks in it"},
    {"reap-early", "stopped tasks go at once"},
    {"skip-in-pages", "a page of tasks begins one too far"},
    {"any-account", "a task is found by its id from anywhere"},
    {"skip-sync", "the disk says that it has what it has not"},
    {"skip-lower-bound", "an update stops what it likes below minimumHealthyPercent"},
    {"exceed-maximum", "an update starts tasks beyond maximumPercent"},
    {"ignore-health", "what health checks say of a task counts for nothing"},
    {"stop-protected", "a service stops tasks that are protected"},
    {"trip-early", "the circuit breaker trips at the first task that fails"},
    {"never-trip", "the circuit breaker never trips"},
    {"forget-failure", "failed tasks of a deployment are not counted"},
    {"start-failed", "a deployment that failed goes on starting tasks"},
    {"roll-back-to-failed", "a rollback goes to the deployment that failed"},
    {"lose-completed", "which deployment was completed last is not kept"},
    {"two-primaries", "a new deployment leaves the old one PRIMARY"},
    {"never-back-off", "what never starts is started again at once"},
    {"trust-lost-hosts", "tasks of lost hosts count as if they ran"},
    {"stay-on-draining", "a service leaves its tasks on instances that drain"},
    {"leave-behind", "a deleted service is INACTIVE before its tasks have ended"},
    {"leave-uneven", "a service leaves its zones uneven"},
    {"move-before-healthy", "a service evens out its zones before the new task is healthy"},
    {"zone-of-host", "a task counts in the first zone of its host, wherever its subnet is"},
    {"count-spread-once", "where a service's tasks are is not counted on while they come and go"},
    {"keep-weight", "a deployment that turns back leaves traffic to green"},
    {"skip-green-health", "green has traffic before its tasks are healthy"},
    {"ignore-hook", "a lifecycle hook that failed stops nothing"},
    {"skip-bake", "stages do not bake"},
    {"touch-blue", "blue goes before green has the traffic"},
    {"early-green", "green starts while its hooks are still asked"},
    {"two-daemons", "an instance gets another task of its daemon"},
    {"daemon-leaves-first", "a daemon leaves an instance that drains before other tasks do"},
    {"round-down", "a task set's share is rounded down"},
    {"place-on-reclaimed", "tasks are placed on Spot hosts that were taken back"},
    {"forget-spot", "tasks of a Spot host that was taken back go on"},
    {"forget-base", "the base of a capacity provider counts for nothing"},
    {"forget-group-change", "hosts are not told when the rules of a group change"},
    {"keep-group-version", "rules that were added are of the version before"},
    {"tell-first-host", "of a group's hosts one is told"},
    {"hand-over-without-rules", "a task is handed over without the rules of its groups"},
    {"forget-what-ends", "a host that was away hears of no rules for tasks that are to stop"},
    {"stop-telling", "a task that is to stop hears of no change of rules any more"},
    {"delete-used-group", "a group is deleted while an interface is in it"},
    {"delete-named-group", "a group is deleted while a rule of another names it"},
    {"run-in-any-group", "tasks are run in groups that are gone"},
    {"accept-stale-report", "a late report takes a task back to PENDING"},
};

struct options {
    uint64_t first;
    uint64_t last;
    uint64_t step_max;
    const char *mutant;
    bool print;
    bool all_mutants;
    bool list_mutants;
    bool twice;
    bool stats;
    bool hours;
};

static int usage(void)
{
    fputs("usage: berth-sim --seed N | --seeds A..B [--steps M] [--trace] [--mutant NAME] "
          "[--twice] [--stats] [--hours]\n"
          "       berth-sim --mutants [--check]\n"
          "\n"
          "  --seed N       run one seed\n"
          "  --seeds A..B   run many and print a summary; A-B means the same\n"
          "  --steps M      end the faults after M events\n"
          "  --trace        print what happens\n"
          "  --hours        each with services, for hours of virtual time\n"
          "  --twice        run each seed twice and compare the traces\n"
          "  --stats        print how often each act happened; over 200 seeds none may be missing\n"
          "  --mutant NAME  with a mistake built in that must be noticed\n"
          "  --mutants      list the mistakes; with --check, have each noticed\n",
          stderr);
    return EXIT_USAGE;
}

static bool parse_seeds(const char *argument, struct options *options)
{
    struct text rest = text_of(argument);
    struct text first = text_cut(&rest, text_find(rest, '-') == SIZE_MAX ? '.' : '-');
    if (rest.data != NULL && text_starts(rest, TEXT("."))) {
        rest = text_slice(rest, 1, rest.size);
    }
    return text_to_u64(first, &options->first) == 0 && rest.data != NULL &&
           text_to_u64(rest, &options->last) == 0 && options->first <= options->last;
}

static bool parse(int count, char **arguments, struct options *options)
{
    for (int i = 1; i < count; i++) {
        struct text name = text_of(arguments[i]);
        const char *value = i + 1 < count ? arguments[i + 1] : "";
        bool takes_value = true;
        bool good = true;
        if (text_is(name, "--seed")) {
            good = text_to_u64(text_of(value), &options->first) == 0;
            options->last = options->first;
        } else if (text_is(name, "--seeds")) {
            good = parse_seeds(value, options);
        } else if (text_is(name, "--steps")) {
            good = text_to_u64(text_of(value), &options->step_max) == 0;
        } else if (text_is(name, "--mutant")) {
            options->mutant = value;
        } else {
            takes_value = false;
            options->print = options->print || text_is(name, "--trace");
            options->twice = options->twice || text_is(name, "--twice");
            options->stats = options->stats || text_is(name, "--stats");
            options->hours = options->hours || text_is(name, "--hours");
            options->list_mutants = options->list_mutants || text_is(name, "--mutants");
            options->all_mutants = options->all_mutants || text_is(name, "--check");
            good = text_is(name, "--trace") || text_is(name, "--twice") ||
                   text_is(name, "--stats") || text_is(name, "--hours") ||
                   text_is(name, "--mutants") || text_is(name, "--check");
        }
        if (!good) {
            return false;
        }
        i += takes_value ? 1 : 0;
    }
    return true;
}

static bool known_mutant(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(mutants); i++) {
        if (strcmp(mutants[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void print_failure(uint64_t seed, const struct sim_result *result)
{
    fprintf(stderr,
            "seed %llu, step %llu, commit %s: %s\n"
            "again: berth-sim --seed %llu --trace\n",
            (unsigned long long)seed, (unsigned long long)result->step_count, BERTH_COMMIT,
            result->failure, (unsigned long long)seed);
}

// ---- many seeds -------------------------------------------------------------------------------

struct totals {
    uint64_t runs;
    uint64_t steps;
    uint64_t tasks;
    uint64_t launches;
    uint64_t crashes[4];
    int64_t virtual_ms;
    uint64_t failures;
    uint64_t hash; ///< of all traces
    uint64_t counts[ACT_COUNT];
};

static void add(struct totals *totals, const struct sim_result *result)
{
    totals->runs++;
    totals->steps += result->step_count;
    totals->tasks += result->task_count;
    totals->launches += result->launch_count;
    totals->virtual_ms += result->virtual_ms;
    totals->failures += result->failed ? 1 : 0;
    totals->hash = totals->hash * 31 + result->hash;
    for (size_t i = 0; i < ARRAY_LEN(totals->crashes); i++) {
        totals->crashes[i] += result->crash_counts[i];
    }
    for (size_t i = 0; i < ACT_COUNT; i++) {
        totals->counts[i] += result->counts[i];
    }
}

static bool run_seed(const struct options *options, uint64_t seed, struct totals *totals)
{
    const struct sim_options run = {.seed = seed,
                                    .step_max = options->step_max,
                                    .print = options->print,
                                    .hours = options->hours};
    struct sim_result result;
    sim_run(&run, &result);
    add(totals, &result);
    if (result.failed) {
        print_failure(seed, &result);
        return false;
    }
    if (options->twice) {
        struct sim_result again;
        sim_run(&run, &again);
        if (again.hash != result.hash) {
            fprintf(stderr, "seed %llu: two runs differ: %016llx and %016llx\n",
                    (unsigned long long)seed, (unsigned long long)result.hash,
                    (unsigned long long)again.hash);
            totals->failures++;
            return false;
        }
    }
    return true;
}

// Print what happened how often. @return whether nothing that ought to happen is missing
static bool print_stats(const struct totals *totals)
{
    bool whole = true;
    for (size_t i = 0; i < ACT_COUNT; i++) {
        printf("%10llu  %s\n", (unsigned long long)totals->counts[i], act_name((enum act)i));
        if (totals->counts[i] == 0 && totals->runs >= STATS_SEEDS) {
            fprintf(stderr, "'%s' never happened in %llu seeds\n", act_name((enum act)i),
                    (unsigned long long)totals->runs);
            whole = false;
        }
    }
    return whole;
}

static int run_seeds(const struct options *options)
{
    struct totals totals = {0};
    double begin = seconds();
    for (uint64_t seed = options->first; seed <= options->last; seed++) {
        run_seed(options, seed, &totals);
        if (options->last > options->first && totals.runs % 100 == 0) {
            printf("%llu seeds, %.1f s\n", (unsigned long long)totals.runs, seconds() - begin);
            fflush(stdout);
        }
        if (totals.failures >= 10) {
            fprintf(stderr, "giving up after %llu failures\n", (unsigned long long)totals.failures);
            break;
        }
    }
    printf("%llu seeds in %.1f s: %llu events, %.1f h of virtual time, %llu tasks, %llu launches; "
           "ended: %llu servers, %llu agents, %llu supervisors, %llu hosts; %llu failures; traces "
           "%016llx\n",
           (unsigned long long)totals.runs, seconds() - begin, (unsigned long long)totals.steps,
           (double)totals.virtual_ms / 3.6e6, (unsigned long long)totals.tasks,
           (unsigned long long)totals.launches, (unsigned long long)totals.crashes[0],
           (unsigned long long)totals.crashes[1], (unsigned long long)totals.crashes[2],
           (unsigned long long)totals.crashes[3], (unsigned long long)totals.failures,
           (unsigned long long)totals.hash);
    if (options->stats && !print_stats(&totals)) {
        return EXIT_FAILURE;
    }
    return totals.failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

// ---- mutants ------------------------------------------------------------------------------

static int check_mutants(const struct options *options)
{
    int survivors = 0;
    for (size_t i = 0; i < ARRAY_LEN(mutants); i++) {
        if (options->mutant != NULL && strcmp(options->mutant, mutants[i].name) != 0) {
            continue;
        }
        sim_set_mutant(mutants[i].name);
        double begin = seconds();
        struct sim_result result = {0};
        uint64_t seed = 0;
        while (seed < MUTANT_SEEDS && !result.failed) {
            seed++;
            sim_run(&(struct sim_options){.seed = seed}, &result);
        }
        printf("%-22s %s seed %3llu, %.1f s: %s\n", mutants[i].name,
               result.failed ? "noticed," : "SURVIVES", (unsigned long long)seed, seconds() - begin,
               result.failed ? result.failure : "");
        fflush(stdout);
        survivors += result.failed ? 0 : 1;
    }
    return survivors == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int count, char **arguments)
{
    struct options options = {.first = 1, .last = 1};
    const char *limit = getenv("BERTH_SIM_SEEDS");
    if (count < 2 || !parse(count, arguments, &options)) {
        return usage();
    }
    if (options.mutant != NULL && !known_mutant(options.mutant)) {
        fprintf(stderr, "there is no mutant '%s'; see --mutants\n", options.mutant);
        return EXIT_USAGE;
    }
    if (options.list_mutants && !options.all_mutants) {
        for (size_t i = 0; i < ARRAY_LEN(mutants); i++) {
            printf("%-22s %s\n", mutants[i].name, mutants[i].what);
        }
        return EXIT_SUCCESS;
    }
    if (options.all_mutants) {
        return check_mutants(&options);
    }
    // How many of a range: fewer under sanitizers, which make a seed slow, more over night.
    uint64_t seeds = 0;
    if (options.last > options.first && limit != NULL && text_to_u64(text_of(limit), &seeds) == 0 &&
        seeds > 0) {
        options.last = options.first + seeds - 1;
    }
    sim_set_mutant(options.mutant);
    return run_seeds(&options);
}
