#include "base/buf.h"
#include "base/text.h"
#include "task/order.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

// The order of a task's containers, step by step: what happened and when goes in, what to do comes
// out, as text such as `start a; signal b 15`.

#define CONTAINERS_MAX 3
#define STEPS_MAX 14

// In a step without an event.
#define NOTHING ((enum order_event_kind) - 1)

struct container {
    const char *name;
    bool optional; ///< not essential
    const char *after;
    enum supervisor_condition condition;
    int64_t start_timeout_ms;
    int64_t stop_timeout_ms;
    const struct supervisor_health_check *check;
    const struct supervisor_health_check *readiness;
    const struct supervisor_restart_policy *policy;
    bool greets; ///< has a post-start command
    bool parts;  ///< has a pre-stop command
    bool traces; ///< could trace the starts of others
};

struct step {
    int64_t at_ms;
    enum order_event_kind event;
    const char *container;
    int32_t value; ///< exit code, or whether a command was well
    const char *want;
    enum order_command command; ///< of ORDER_COMMANDED
};

struct scenario {
    const char *name;
    struct container containers[CONTAINERS_MAX];
    struct step steps[STEPS_MAX];
    const char *want_end; ///< `a=0 b=137! c=-`: exit codes, ! for oom, - for none
};

static const struct supervisor_health_check check_10s = {
    .interval_ms = 10000, .timeout_ms = 2000, .retries = 2};
static const struct supervisor_health_check check_slow_start = {
    .interval_ms = 10000, .timeout_ms = 2000, .retries = 1, .start_period_ms = 25000};

static int32_t ignored_codes[] = {0, 7};
static const struct supervisor_restart_policy policy_60s = {
    .ignored_exit_codes = {ignored_codes, 2}, .attempt_period_ms = 60000};

static const struct scenario scenarios[] = {
    {
        .name = "containers without dependencies start together",
        .containers = {{.name = "a"}, {.name = "b"}},
        .steps = {{0, NOTHING, NULL, 0, "start a; start b"},
                  {5, ORDER_STARTED, "b", 0, ""},
                  {6, ORDER_STARTED, "a", 0, ""}},
    },
    {
        .name = "beside one that may trace, containers start one after another",
        .containers = {{.name = "a", .optional = true},
                       {.name = "b", .traces = true},
                       {.name = "c", .optional = true}},
        .steps = {{0, NOTHING, NULL, 0, "start a"},
                  {5, ORDER_STARTED, "a", 0, "start b"},
                  {6, ORDER_EXITED, "a", 0, ""},
                  {7, ORDER_STARTED, "b", 0, "start c"},
                  {8, ORDER_START_FAILED, "c", 0, ""}},
    },
    {
        .name = "a restart beside one that may trace waits for another",
        .containers = {{.name = "a", .policy = &policy_60s, .traces = true, .check = &check_10s},
                       {.name = "b", .policy = &policy_60s}},
        .steps = {{0, NOTHING, NULL, 0, "start a"},
                  {5, ORDER_STARTED, "a", 0, "start b"},
                  {6, ORDER_STARTED, "b", 0, ""},
                  {10005, NOTHING, NULL, 0, "run health in a"},
                  {10100, ORDER_COMMANDED, "a", 1, ""},
                  {70000, ORDER_EXITED, "b", 1, "run health in a; start b"},
                  {70001, ORDER_EXITED, "a", 1, ""},
                  {90000, NOTHING, NULL, 0, ""},
                  {90001, ORDER_STARTED, "b", 0, "start a"},
                  {90002, ORDER_STARTED, "a", 0, ""}},
    },
    {
        .name = "a stop during such a wait ends it",
        .containers = {{.name = "a", .policy = &policy_60s, .traces = true},
                       {.name = "b", .stop_timeout_ms = 5000, .policy = &policy_60s}},
        .steps = {{0, NOTHING, NULL, 0, "start a"},
                  {5, ORDER_STARTED, "a", 0, "start b"},
                  {6, ORDER_STARTED, "b", 0, ""},
                  {70000, ORDER_EXITED, "b", 1, "start b"},
                  {70001, ORDER_EXITED, "a", 1, ""},
                  {70002, ORDER_STOP, NULL, 0, ""},
                  {70003, ORDER_STARTED, "b", 0, "signal b 15"},
                  {70004, ORDER_EXITED, "b", 143, ""}},
        .want_end = "a=1 b=143",
    },
    {
        .name = "START waits until the other runs",
        .containers = {{.name = "a", .after = "b", .condition = SUPERVISOR_CONDITION_START},
                       {.name = "b"}},
        .steps = {{0, NOTHING, NULL, 0, "start b"}, {5, ORDER_STARTED, "b", 0, "start a"}},
    },
    {
        .name = "START is met by one that has run and ended",
        .containers = {{.name = "a", .after = "b", .condition = SUPERVISOR_CONDITION_START},
                       {.name = "b", .optional = true}},
        .steps = {{0, NOTHING, NULL, 0, "start b"},
                  {5, ORDER_STARTED, "b", 0, "start a"},
                  {6, ORDER_EXITED, "b", 1, ""}},
    },
    {
        .name = "COMPLETE takes any exit code",
        .containers = {{.name = "a", .after = "b", .condition = SUPERVISOR_CONDITION_COMPLETE},
                       {.name = "b", .optional = true}},
        .steps = {{0, NOTHING, NULL, 0, "start b"},
                  {5, ORDER_STARTED, "b", 0, ""},
                  {9, ORDER_EXITED, "b", 3, "start a"}},
    },
    {
        .name = "SUCCESS takes 0 only; a dependent that cannot start ends the task",
        .containers = {{.name = "a", .after = "b", .condition = SUPERVISOR_CONDITION_SUCCESS},
                       {.name = "b", .optional = true},
                       {.name = "c", .optional = true}},
        .steps = {{0, NOTHING, NULL, 0, "start b; start c"},
                  {5, ORDER_STARTED, "b", 0, ""},
                  {5, ORDER_STARTED, "c", 0, ""},
                  {9, ORDER_EXITED, "b", 3, "signal c 15"},
                  {10, ORDER_EXITED, "c", 143, ""}},
        .want_end = "a=- b=3 c=143",
    },
    {
        .name = "a failed start spreads to all that wait for it",
        .containers =
            {{.name = "a", .after = "b", .condition = SUPERVISOR_CONDITION_START},
             {.name = "b", .after = "c", .condition = SUPERVISOR_CONDITION_START, .optional = true},
             {.name = "c", .optional = true}},
        .steps = {{0, NOTHING, NULL, 0, "start c"}, {5, ORDER_START_FAILED, "c", 0, ""}},
        .want_end = "a=- b=- c=-",
    },
    {
        .name = "a dependency has its startTimeout from its start on",
        .containers =
            {{.name = "a", .after = "b", .condition = SUPERVISOR_CONDITION_HEALTHY},
             {.name = "b", .optional = true, .start_timeout_ms = 15000, .check = &check_10s}},
        .steps = {{0, NOTHING, NULL, 0, "start b"},
                  {100, ORDER_STARTED, "b", 0, ""},
                  {10100, NOTHING, NULL, 0, "run health in b"},
                  {10200, ORDER_COMMANDED, "b", 0, ""},
                  {15099, NOTHING, NULL, 0, ""},
                  {15100, NOTHING, NULL, 0, "signal b 15"},
                  {15200, ORDER_EXITED, "b", 143, ""}},
        .want_end = "a=- b=143",
    },
    {
        .name = "an essential exit stops the others; who depends goes first",
        .containers = {{.name = "a"},
                       {.name = "b", .optional = true, .stop_timeout_ms = 5000},
                       {.name = "c",
                        .optional = true,
                        .after = "b",
                        .condition = SUPERVISOR_CONDITION_START,
                        .stop_timeout_ms = 1000}},
        .steps = {{0, NOTHING, NULL, 0, "start a; start b"},
                  {1, ORDER_STARTED, "a", 0, ""},
                  {1, ORDER_STARTED, "b", 0, "start c"},
                  {2, ORDER_STARTED, "c", 0, ""},
                  {100, ORDER_EXITED, "a", 0, "signal c 15"},
                  {1099, NOTHING, NULL, 0, ""},
                  {1100, NOTHING, NULL, 0, "kill c"},
                  {1150, ORDER_EXITED, "c", 137, "signal b 15"},
                  {6149, NOTHING, NULL, 0, ""},
                  {6150, NOTHING, NULL, 0, "kill b"},
                  {6151, ORDER_EXITED, "b", 137, ""}},
        .want_end = "a=0 b=137 c=137",
    },
    {
        .name = "the exit of one that is not essential changes nothing",
        .containers = {{.name = "a"}, {.name = "b", .optional = true}},
        .steps = {{0, NOTHING, NULL, 0, "start a; start b"},
                  {1, ORDER_STARTED, "a", 0, ""},
                  {1, ORDER_STARTED, "b", 0, ""},
                  {100, ORDER_EXITED, "b", 1, ""},
                  {999999, NOTHING, NULL, 0, ""}},
    },
    {
        .name = "STOP while starting: the signal follows once it runs",
        .containers = {{.name = "a", .stop_timeout_ms = 5000}},
        .steps = {{0, NOTHING, NULL, 0, "start a"},
                  {10, ORDER_STOP, NULL, 0, ""},
                  {20, ORDER_STARTED, "a", 0, "signal a 15"},
                  {30, ORDER_EXITED, "a", 143, ""}},
        .want_end = "a=143",
    },
    {
        .name = "KILL while starting kills again what has come up since",
        .containers = {{.name = "a", .stop_timeout_ms = 5000}},
        .steps = {{0, NOTHING, NULL, 0, "start a"},
                  {10, ORDER_KILL_ALL, NULL, 0, "kill a"},
                  {20, ORDER_STARTED, "a", 0, "kill a"},
                  {30, ORDER_EXITED, "a", 137, ""}},
        .want_end = "a=137",
    },
    {
        .name = "a start that is given up leaves no error",
        .containers = {{.name = "a"}},
        .steps = {{0, NOTHING, NULL, 0, "start a"},
                  {10, ORDER_KILL_ALL, NULL, 0, "kill a"},
                  {20, ORDER_START_FAILED, "a", 0, ""}},
        .want_end = "a=-",
    },
    {
        .name = "KILL ignores the order",
        .containers = {{.name = "a"},
                       {.name = "b", .after = "a", .condition = SUPERVISOR_CONDITION_START}},
        .steps = {{0, NOTHING, NULL, 0, "start a"},
                  {1, ORDER_STARTED, "a", 0, "start b"},
                  {2, ORDER_STARTED, "b", 0, ""},
                  {3, ORDER_KILL_ALL, NULL, 0, "kill a; kill b"},
                  {4, ORDER_EXITED, "a", 137, ""},
                  {5, ORDER_EXITED, "b", 137, ""}},
        .want_end = "a=137 b=137",
    },
    {
        .name = "STOP before anything has started",
        .containers = {{.name = "a"}},
        .steps = {{0, ORDER_STOP, NULL, 0, ""}},
        .want_end = "a=-",
    },
    {
        .name = "a start that hangs is given up after three minutes",
        .containers = {{.name = "a"}},
        .steps = {{0, NOTHING, NULL, 0, "start a"},
                  {179999, NOTHING, NULL, 0, ""},
                  {180000, NOTHING, NULL, 0, "kill a"},
                  {180010, ORDER_START_FAILED, "a", 0, ""}},
        .want_end = "a=-",
    },
    {
        .name = "a probe that takes too long is ended and counts",
        .containers = {{.name = "a", .check = &check_10s}},
        .steps = {{0, NOTHING, NULL, 0, "start a"},
                  {0, ORDER_STARTED, "a", 0, ""},
                  {10000, NOTHING, NULL, 0, "run health in a"},
                  {11999, NOTHING, NULL, 0, ""},
                  {12000, NOTHING, NULL, 0, "cancel health in a"},
                  {12001, ORDER_COMMANDED, "a", 1, ""},
                  {22000, NOTHING, NULL, 0, "run health in a"}},
    },
    {
        .name = "a stop ends a probe under way",
        .containers = {{.name = "a", .check = &check_10s}},
        .steps = {{0, NOTHING, NULL, 0, "start a"},
                  {0, ORDER_STARTED, "a", 0, ""},
                  {10000, NOTHING, NULL, 0, "run health in a"},
                  {10001, ORDER_STOP, NULL, 0, "cancel health in a; signal a 15"},
                  {10002, ORDER_EXITED, "a", 0, ""}},
        .want_end = "a=0",
    },
    {
        .name = "what has run for its period is started again, and the task goes on",
        .containers = {{.name = "a", .policy = &policy_60s}},
        .steps = {{0, NOTHING, NULL, 0, "start a"},
                  {100, ORDER_STARTED, "a", 0, ""},
                  {60100, ORDER_EXITED, "a", 1, "start a"},
                  {60200, ORDER_STARTED, "a", 0, ""},
                  {120200, ORDER_EXITED, "a", 137, "start a"},
                  {120201, ORDER_STARTED, "a", 0, ""}},
    },
    {
        .name = "what has run for less than its period since the last start ends",
        .containers = {{.name = "a", .policy = &policy_60s}, {.name = "b", .optional = true}},
        .steps = {{0, NOTHING, NULL, 0, "start a; start b"},
                  {100, ORDER_STARTED, "a", 0, ""},
                  {100, ORDER_STARTED, "b", 0, ""},
                  {60100, ORDER_EXITED, "a", 1, "start a"},
                  {61000, ORDER_STARTED, "a", 0, ""},
                  {120999, ORDER_EXITED, "a", 2, "signal b 15"},
                  {121000, ORDER_EXITED, "b", 143, ""}},
        .want_end = "a=2 b=143",
    },
    {
        .name = "an exit code that is ignored is not followed by a restart",
        .containers = {{.name = "a", .policy = &policy_60s}},
        .steps = {{0, NOTHING, NULL, 0, "start a"},
                  {0, ORDER_STARTED, "a", 0, ""},
                  {90000, ORDER_EXITED, "a", 7, ""}},
        .want_end = "a=7",
    },
    {
        .name = "what is to stop is not started again",
        .containers = {{.name = "a", .policy = &policy_60s}},
        .steps = {{0, NOTHING, NULL, 0, "start a"},
                  {0, ORDER_STARTED, "a", 0, ""},
                  {90000, ORDER_STOP, NULL, 0, "signal a 15"},
                  {90001, ORDER_EXITED, "a", 143, ""}},
        .want_end = "a=143",
    },
    {
        .name = "a stop during a restart: the signal follows once it runs again",
        .containers = {{.name = "a", .policy = &policy_60s}},
        .steps = {{0, NOTHING, NULL, 0, "start a"},
                  {0, ORDER_STARTED, "a", 0, ""},
                  {90000, ORDER_EXITED, "a", 1, "start a"},
                  {90001, ORDER_STOP, NULL, 0, ""},
                  {90002, ORDER_STARTED, "a", 0, "signal a 15"},
                  {90003, ORDER_EXITED, "a", 143, ""}},
        .want_end = "a=143",
    },
    {
        .name = "a restart that hangs at a stop is killed when the stop timeout is over",
        .containers = {{.name = "a", .policy = &policy_60s, .stop_timeout_ms = 2000}},
        .steps = {{0, NOTHING, NULL, 0, "start a"},
                  {0, ORDER_STARTED, "a", 0, ""},
                  {90000, ORDER_EXITED, "a", 1, "start a"},
                  {90001, ORDER_STOP, NULL, 0, ""},
                  {92001, NOTHING, NULL, 0, "kill a"},
                  {92002, ORDER_START_FAILED, "a", 0, ""}},
        .want_end = "a=1",
    },
    {
        .name = "a restart that fails ends the task",
        .containers = {{.name = "a", .policy = &policy_60s}},
        .steps = {{0, NOTHING, NULL, 0, "start a"},
                  {0, ORDER_STARTED, "a", 0, ""},
                  {90000, ORDER_EXITED, "a", 1, "start a"},
                  {90001, ORDER_START_FAILED, "a", 0, ""}},
        .want_end = "a=1",
    },
    {
        .name = "a check under way at the end of a run is forgotten, and checks begin anew",
        .containers = {{.name = "a", .policy = &policy_60s, .check = &check_10s}},
        .steps = {{0, NOTHING, NULL, 0, "start a"},
                  {55000, ORDER_STARTED, "a", 0, ""},
                  {65000, NOTHING, NULL, 0, "run health in a"},
                  {65001, ORDER_COMMANDED, "a", 1, ""},
                  {115000, NOTHING, NULL, 0, "run health in a"},
                  {115100, ORDER_EXITED, "a", 1, "start a"},
                  {115200, ORDER_COMMANDED, "a", 1, ""},
                  {115300, ORDER_STARTED, "a", 0, ""},
                  {125299, NOTHING, NULL, 0, ""},
                  {125300, NOTHING, NULL, 0, "run health in a"}},
    },
    {
        .name = "who waits for START waits for the post-start command as well",
        .containers = {{.name = "a", .after = "b", .condition = SUPERVISOR_CONDITION_START},
                       {.name = "b", .greets = true}},
        .steps = {{0, NOTHING, NULL, 0, "start b"},
                  {5, ORDER_STARTED, "b", 0, "run post-start in b"},
                  {9, ORDER_COMMANDED, "b", 1, "start a", ORDER_POST_START},
                  {10, ORDER_STARTED, "a", 0, ""}},
    },
    {
        .name = "a post-start command that fails stops its container",
        .containers = {{.name = "a", .greets = true, .parts = true, .stop_timeout_ms = 2000}},
        .steps = {{0, NOTHING, NULL, 0, "start a"},
                  {5, ORDER_STARTED, "a", 0, "run post-start in a"},
                  {9, ORDER_COMMANDED, "a", 0, "signal a 15", ORDER_POST_START},
                  {2009, NOTHING, NULL, 0, "kill a"},
                  {2010, ORDER_EXITED, "a", 137, ""}},
        .want_end = "a=137",
    },
    {
        .name = "a post-start command has the container's startTimeout",
        .containers = {{.name = "a", .greets = true, .start_timeout_ms = 3000}},
        .steps = {{0, NOTHING, NULL, 0, "start a"},
                  {5, ORDER_STARTED, "a", 0, "run post-start in a"},
                  {3004, NOTHING, NULL, 0, ""},
                  {3005, NOTHING, NULL, 0, "cancel post-start in a; signal a 15"},
                  {3006, ORDER_EXITED, "a", 143, ""}},
        .want_end = "a=143",
    },
    {
        .name = "a pre-stop command comes before the signal, whatever it comes to",
        .containers = {{.name = "a", .parts = true}},
        .steps = {{0, NOTHING, NULL, 0, "start a"},
                  {5, ORDER_STARTED, "a", 0, ""},
                  {100, ORDER_STOP, NULL, 0, "run pre-stop in a"},
                  {200, ORDER_COMMANDED, "a", 0, "signal a 15", ORDER_PRE_STOP},
                  {201, ORDER_EXITED, "a", 143, ""}},
        .want_end = "a=143",
    },
    {
        .name = "a pre-stop command shares the stop timeout",
        .containers = {{.name = "a", .parts = true, .stop_timeout_ms = 4000}},
        .steps = {{0, NOTHING, NULL, 0, "start a"},
                  {5, ORDER_STARTED, "a", 0, ""},
                  {100, ORDER_STOP, NULL, 0, "run pre-stop in a"},
                  {4100, NOTHING, NULL, 0, "cancel pre-stop in a; kill a"},
                  {4101, ORDER_EXITED, "a", 137, ""}},
        .want_end = "a=137",
    },
    {
        .name = "KILL waits for no pre-stop command",
        .containers = {{.name = "a", .parts = true}},
        .steps = {{0, NOTHING, NULL, 0, "start a"},
                  {5, ORDER_STARTED, "a", 0, ""},
                  {100, ORDER_KILL_ALL, NULL, 0, "kill a"},
                  {201, ORDER_EXITED, "a", 137, ""}},
        .want_end = "a=137",
    },
};

static struct supervisor_hook hook;

static size_t make_plan(const struct container *containers,
                        struct supervisor_plan_container *out_containers,
                        struct supervisor_dependency *dependencies)
{
    size_t count = 0;
    for (; count < CONTAINERS_MAX && containers[count].name != NULL; count++) {
        const struct container *from = &containers[count];
        out_containers[count] = (struct supervisor_plan_container){
            .name = text_of(from->name),
            .essential = !from->optional,
            .stop_signal = 15,
            .stop_timeout_ms = from->stop_timeout_ms == 0 ? 30000 : from->stop_timeout_ms,
            .start_timeout_ms = from->start_timeout_ms,
            // What a plan points to is not changed by an order.
            .health_check = (struct supervisor_health_check *)(uintptr_t)from->check,
            .readiness = (struct supervisor_health_check *)(uintptr_t)from->readiness,
            .restart_policy = (struct supervisor_restart_policy *)(uintptr_t)from->policy,
            .post_start = from->greets ? &hook : NULL,
            .pre_stop = from->parts ? &hook : NULL,
            .freezer = from->traces ? TEXT("/frozen") : (struct text){0},
        };
        if (from->after != NULL) {
            dependencies[count] =
                (struct supervisor_dependency){text_of(from->after), from->condition};
            out_containers[count].depends_on.items = &dependencies[count];
            out_containers[count].depends_on.count = 1;
        }
    }
    return count;
}

static size_t index_of(const struct supervisor_plan *plan, const char *name)
{
    for (size_t i = 0; name != NULL && i < plan->containers.count; i++) {
        if (text_is(plan->containers.items[i].name, name)) {
            return i;
        }
    }
    return 0;
}

static void add_action(const struct supervisor_plan *plan, const struct order_action *action,
                       struct buf *out)
{
    static const char *const names[] = {"start", "signal", "kill", "run", "cancel"};
    static const char *const commands[] = {"health", "readiness", "post-start", "pre-stop"};
    bool command = action->kind == ORDER_COMMAND || action->kind == ORDER_CANCEL_COMMAND;
    buf_format(out, "%s%s %s%s%.*s", out->size == 0 ? "" : "; ", names[action->kind],
               command ? commands[action->command] : "", command ? " in " : "",
               TEXT_FMT(plan->containers.items[action->container].name));
    if (action->kind == ORDER_SIGNAL) {
        buf_format(out, " %d", action->signal);
    }
}

// Hours by which the wall clock is off, changing with every look at it.
static bool clock_steps;

static int64_t wall_ms(int64_t monotonic_ms)
{
    static const int64_t hours[] = {0, 5, -7, 30, -2, 0, 11};
    static size_t looks;
    looks += clock_steps ? 1 : 0;
    int64_t off = clock_steps ? hours[looks % ARRAY_LEN(hours)] : 0;
    return 1700000000000 + monotonic_ms + off * 3600000;
}

static void play_step(struct order *order, const struct supervisor_plan *plan,
                      const struct step *step)
{
    struct order_time now = {step->at_ms, wall_ms(step->at_ms)};
    AUTO(buf_deinit) struct buf got = {0};
    if (step->event != NOTHING) {
        order_event(order,
                    &(struct order_event){
                        .kind = step->event,
                        .container = index_of(plan, step->container),
                        .pid = 77,
                        .exit_code = step->value,
                        .command = step->command,
                        .healthy = step->value != 0,
                        .reason = TEXT("no such file"),
                    },
                    now);
    }
    struct order_action action;
    while (order_next(order, now, &action)) {
        add_action(plan, &action, &got);
    }
    buf_byte(&got, '\0');
    print_message("    %lld ms: %s\n", (long long)step->at_ms, got.data);
    assert_string_equal(got.data, step->want);
    // Whoever sleeps until then misses nothing, and nothing is due already.
    assert_true(order_wake_ms(order) > step->at_ms);
}

static void check_end(struct order *order, const char *want)
{
    AUTO(buf_deinit) struct buf got = {0};
    const struct supervisor_state *state = order_state(order);
    for (size_t i = 0; i < state->containers.count; i++) {
        const struct supervisor_container_state *container = &state->containers.items[i];
        buf_format(&got, "%s%.*s=", i == 0 ? "" : " ", TEXT_FMT(container->name));
        if (container->has_exit_code) {
            buf_format(&got, "%d", container->exit_code);
        } else {
            buf_byte(&got, '-');
        }
    }
    assert_string_equal(got.data, want);
    assert_true(order_finished(order));
    assert_true(state->finished);
}

static void follow_rules(void)
{
    for (size_t i = 0; i < ARRAY_LEN(scenarios); i++) {
        const struct scenario *scenario = &scenarios[i];
        struct supervisor_plan_container containers[CONTAINERS_MAX];
        struct supervisor_dependency dependencies[CONTAINERS_MAX];
        struct supervisor_plan plan = {
            .containers = {containers, make_plan(scenario->containers, containers, dependencies)}};
        struct err err = {0};
        AUTO(order_free) struct order *order = NULL;
        print_message("%s\n", scenario->name);
        assert_int_equal(order_new(&plan, &order, &err), 0);
        for (size_t k = 0; k < STEPS_MAX && scenario->steps[k].want != NULL; k++) {
            play_step(order, &plan, &scenario->steps[k]);
        }
        if (scenario->want_end != NULL) {
            check_end(order, scenario->want_end);
        } else {
            assert_false(order_finished(order));
        }
    }
}

static void order_follows_its_rules(void **state)
{
    (void)state;
    follow_rules();
}

// Whatever the wall clock does: intervals, timeouts, periods and waits are the monotonic one's.
static void steps_of_the_clock_change_nothing(void **state)
{
    (void)state;
    clock_steps = true;
    follow_rules();
    clock_steps = false;
}

// Health after Docker. Each letter is a probe in turn: + a success, - a failure; the row below is
// the health after it.
static void health_follows_docker(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const struct supervisor_health_check *check;
        const char *probes;
        const char *want; // ? unknown, h healthy, u unhealthy
    } cases[] = {
        {"one success is enough", &check_10s, "+", "h"},
        {"retries failures in a row are needed", &check_10s, "--", "?u"},
        {"a success forgets failures", &check_10s, "-+-+--", "?hhhhu"},
        {"a success heals", &check_10s, "--+", "?uh"},
        {"failures in the start period do not count", &check_slow_start, "--", "??"},
        {"after it they do", &check_slow_start, "---", "??u"},
        {"nor once it has been healthy", &check_slow_start, "+-", "hu"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        struct supervisor_health_check check = *cases[i].check;
        struct supervisor_plan_container container = {
            .name = TEXT("a"), .essential = true, .stop_signal = 15, .health_check = &check};
        struct supervisor_plan plan = {.containers = {&container, 1}};
        struct err err = {0};
        AUTO(order_free) struct order *order = NULL;
        struct order_action action;
        struct order_time now = {0, 1000000};
        assert_int_equal(order_new(&plan, &order, &err), 0);
        assert_true(order_next(order, now, &action));
        order_event(order, &(struct order_event){.kind = ORDER_STARTED}, now);
        for (size_t k = 0; cases[i].probes[k] != '\0'; k++) {
            static const char letters[] = {'-', '?', 'h', 'u'};
            assert_false(order_next(order, now, &action));
            now.monotonic_ms = order_wake_ms(order);
            now.wall_ms = 1000000 + now.monotonic_ms;
            assert_true(order_next(order, now, &action));
            assert_int_equal(action.kind, ORDER_COMMAND);
            order_event(order,
                        &(struct order_event){.kind = ORDER_COMMANDED,
                                              .healthy = cases[i].probes[k] == '+'},
                        now);
            const struct supervisor_container_state *now_is =
                &order_state(order)->containers.items[0];
            assert_int_equal(letters[now_is->health], cases[i].want[k]);
        }
    }
}

// One health of two checks. In each turn both come to an end, + or -; below is what is told then.
static void readiness_is_apart_from_health(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *alive; // NULL: no health check
        const char *ready;
        const char *want; // ? unknown, h healthy, u unhealthy
    } cases[] = {
        {"readiness alone makes healthy", NULL, "+", "h"},
        {"what was never ready is unknown", NULL, "---+", "???h"},
        {"failures in a row take it back, which is no reason to replace it", NULL, "+--+", "hh?h"},
        {"alive is not enough", "++", "-+", "?h"},
        {"nor is ready", "-+", "++", "?h"},
        {"what is not alive is unhealthy, ready or not", "+--", "+++", "hhu"},
        {"what lives but cannot work is unknown", "++++", "+--+", "hh?h"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        struct supervisor_health_check check = check_10s;
        struct supervisor_plan_container container = {
            .name = TEXT("a"),
            .essential = true,
            .stop_signal = 15,
            .readiness = &check,
            .health_check = cases[i].alive == NULL ? NULL : &check,
        };
        struct supervisor_plan plan = {.containers = {&container, 1}};
        struct err err = {0};
        AUTO(order_free) struct order *order = NULL;
        struct order_action action;
        struct order_time now = {0, 1000000};
        assert_int_equal(order_new(&plan, &order, &err), 0);
        assert_false(order_state(order)->containers.items[0].ready);
        assert_true(order_next(order, now, &action));
        order_event(order, &(struct order_event){.kind = ORDER_STARTED}, now);
        for (size_t k = 0; cases[i].want[k] != '\0'; k++) {
            static const char letters[] = {'-', '?', 'h', 'u'};
            now.monotonic_ms = order_wake_ms(order);
            while (order_next(order, now, &action)) {
                assert_int_equal(action.kind, ORDER_COMMAND);
                const char *of = action.command == ORDER_HEALTH ? cases[i].alive : cases[i].ready;
                order_event(order,
                            &(struct order_event){.kind = ORDER_COMMANDED,
                                                  .command = action.command,
                                                  .healthy = of[k] == '+'},
                            now);
            }
            const struct supervisor_container_state *told =
                &order_state(order)->containers.items[0];
            assert_int_equal(letters[told->health], cases[i].want[k]);
        }
    }
}

// Counted, timed, and without the pid of the run before.
static void state_tells_restarts(void **state)
{
    (void)state;
    struct supervisor_restart_policy policy = policy_60s;
    struct supervisor_health_check check = check_10s;
    struct supervisor_plan_container container = {.name = TEXT("a"),
                                                  .essential = true,
                                                  .stop_signal = 15,
                                                  .restart_policy = &policy,
                                                  .health_check = &check};
    struct supervisor_plan plan = {.containers = {&container, 1}};
    struct err err = {0};
    struct order_action action;
    AUTO(order_free) struct order *order = NULL;
    assert_int_equal(order_new(&plan, &order, &err), 0);
    assert_true(order_next(order, (struct order_time){0, 1000}, &action));
    struct order_time now = {10, 1010};
    order_event(order, &(struct order_event){.kind = ORDER_STARTED, .pid = 5}, now);
    const struct supervisor_container_state *told = &order_state(order)->containers.items[0];
    assert_true(told->has_restart_count);
    assert_int_equal(told->restart_count, 0);
    now = (struct order_time){10010, 11010};
    assert_true(order_next(order, now, &action));
    order_event(order, &(struct order_event){.kind = ORDER_COMMANDED, .healthy = true}, now);
    told = &order_state(order)->containers.items[0];
    assert_int_equal(told->health, SUPERVISOR_HEALTH_HEALTHY);
    int64_t version = order_version(order);
    now = (struct order_time){60010, 61010};
    order_event(order,
                &(struct order_event){.kind = ORDER_EXITED, .exit_code = 137, .oom_killed = true},
                now);
    assert_true(order_version(order) > version);
    told = &order_state(order)->containers.items[0];
    assert_int_equal(told->status, SUPERVISOR_STATUS_RUNNING);
    assert_int_equal(told->health, SUPERVISOR_HEALTH_UNKNOWN);
    assert_false(told->has_pid);
    assert_false(told->has_exit_code);
    assert_false(told->has_oom_killed);
    assert_int_equal(told->restart_count, 0);
    assert_true(order_next(order, now, &action));
    assert_int_equal(action.kind, ORDER_START);
    // A late word of the process before is not one of the next.
    order_event(order, &(struct order_event){.kind = ORDER_EXITED, .exit_code = 1}, now);
    now = (struct order_time){60020, 61020};
    order_event(order, &(struct order_event){.kind = ORDER_STARTED, .pid = 6}, now);
    told = &order_state(order)->containers.items[0];
    assert_int_equal(told->restart_count, 1);
    assert_int_equal(told->restarted_at, 61020);
    assert_int_equal(told->started_at, 1010);
    assert_int_equal(told->pid, 6);
    assert_false(order_state(order)->finished);
}

static void order_refuses_bad_plans(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct container containers[CONTAINERS_MAX];
        const char *want;
    } cases[] = {
        {"no containers", {{.name = NULL}}, "no containers"},
        {"unknown dependency",
         {{.name = "a", .after = "x", .condition = SUPERVISOR_CONDITION_START}},
         "does not exist"},
        {"a circle",
         {{.name = "a", .after = "b", .condition = SUPERVISOR_CONDITION_START},
          {.name = "b", .after = "a", .condition = SUPERVISOR_CONDITION_START}},
         "depends on itself"},
        {"HEALTHY without a check",
         {{.name = "a", .after = "b", .condition = SUPERVISOR_CONDITION_HEALTHY}, {.name = "b"}},
         "no health check"},
        {"two of a name", {{.name = "a"}, {.name = "a"}}, "two containers"},
        {"unknown condition",
         {{.name = "a", .after = "b", .condition = SUPERVISOR_CONDITION_UNRECOGNIZED},
          {.name = "b"}},
         "unknown condition"},
        {"a time out of range", {{.name = "a", .stop_timeout_ms = -1}}, "out of range"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct supervisor_plan_container containers[CONTAINERS_MAX];
        struct supervisor_dependency dependencies[CONTAINERS_MAX];
        struct supervisor_plan plan = {
            .containers = {containers, make_plan(cases[i].containers, containers, dependencies)}};
        struct err err = {0};
        struct order *order = NULL;
        print_message("%s\n", cases[i].name);
        assert_int_equal(order_new(&plan, &order, &err), ERR_INVALID);
        assert_null(order);
        assert_non_null(strstr(err.text, cases[i].want));
    }
}

// What the state tells: who began the end, when, and why a container is gone.
static void state_tells_the_end(void **state)
{
    (void)state;
    struct supervisor_plan_container containers[] = {
        {.name = TEXT("a"), .essential = true, .stop_signal = 15},
        {.name = TEXT("b"), .stop_signal = 15},
    };
    struct supervisor_plan plan = {.containers = {containers, 2}};
    struct err err = {0};
    struct order_action action;
    AUTO(order_free) struct order *order = NULL;
    assert_int_equal(order_new(&plan, &order, &err), 0);
    int64_t version = order_version(order);
    struct order_time now = {10, 1010};
    while (order_next(order, now, &action)) {}
    order_event(order, &(struct order_event){.kind = ORDER_STARTED, .container = 0, .pid = 5}, now);
    order_event(order,
                &(struct order_event){
                    .kind = ORDER_START_FAILED, .container = 1, .reason = TEXT("no such file")},
                now);
    const struct supervisor_state *told = order_state(order);
    assert_true(told->sequence > version);
    assert_int_equal(told->containers.items[0].status, SUPERVISOR_STATUS_RUNNING);
    assert_int_equal(told->containers.items[0].pid, 5);
    assert_int_equal(told->containers.items[0].started_at, 1010);
    assert_true(
        text_is(told->containers.items[1].reason, "CannotStartContainerError: no such file"));
    assert_false(told->containers.items[1].has_exit_code);
    assert_false(told->has_essential_exited);
    version = told->sequence;
    now = (struct order_time){20, 1020};
    order_event(order,
                &(struct order_event){
                    .kind = ORDER_EXITED, .container = 0, .exit_code = 137, .oom_killed = true},
                now);
    told = order_state(order);
    assert_true(told->sequence > version);
    assert_true(told->finished);
    assert_true(told->essential_exited);
    assert_int_equal(told->execution_stopped_at, 1020);
    assert_false(told->containers.items[0].has_pid);
    assert_true(told->containers.items[0].oom_killed);
    assert_true(text_is(told->containers.items[0].reason,
                        "OutOfMemoryError: Container killed due to memory usage"));
    // Late and doubled events change nothing.
    version = told->sequence;
    order_event(order, &(struct order_event){.kind = ORDER_EXITED, .container = 0}, now);
    order_event(order, &(struct order_event){.kind = ORDER_STARTED, .container = 1}, now);
    order_event(order, &(struct order_event){.kind = ORDER_COMMANDED, .container = 0}, now);
    assert_int_equal(order_version(order), version);
}

// An essential container that never started is no exit.
static void failed_start_is_no_exit(void **state)
{
    (void)state;
    struct supervisor_plan_container container = {
        .name = TEXT("a"), .essential = true, .stop_signal = 15};
    struct supervisor_plan plan = {.containers = {&container, 1}};
    struct err err = {0};
    struct order_action action;
    struct order_time now = {1, 2};
    AUTO(order_free) struct order *order = NULL;
    assert_int_equal(order_new(&plan, &order, &err), 0);
    assert_true(order_next(order, now, &action));
    order_event(order, &(struct order_event){.kind = ORDER_START_FAILED, .reason = TEXT("x")}, now);
    assert_false(order_state(order)->essential_exited);
    assert_true(order_state(order)->finished);
    assert_int_equal(order_state(order)->containers.items[0].finished_at, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_follows_its_rules),
        cmocka_unit_test(steps_of_the_clock_change_nothing),
        cmocka_unit_test(health_follows_docker),
        cmocka_unit_test(order_refuses_bad_plans),
        cmocka_unit_test(state_tells_the_end),
        cmocka_unit_test(failed_start_is_no_exit),
        cmocka_unit_test(readiness_is_apart_from_health),
        cmocka_unit_test(state_tells_restarts),
    };
    return cmocka_run_group_tests_name("order", tests, NULL, NULL);
}
