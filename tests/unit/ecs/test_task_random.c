#include "task_world.h"

#include "base/text.h"
#include "ecs/task_internal.h"

#include <stdio.h>
#include <string.h>

/*
 * Long random sequences of everything that can happen to tasks and nodes, messages late, twice and
 * out of order, with restarts in between. The harness checks all invariants after every input;
 * here the history of each task is checked too: it only goes forward, and is never moved.
 */

enum { NODES = 5, TASKS = 400, STEPS = 1500 };

struct history {
    char arn[160];
    int64_t node;
    int status;
    int desired;
    int64_t stopped_at;
    int32_t version;
};

struct play {
    struct world *world;
    uint64_t seed;
    struct history tasks[TASKS];
    size_t task_count;
    char acks[64][40]; // message ids, some of them old
    size_t ack_count;
};

static size_t chance(struct play *play, size_t below)
{
    play->seed ^= play->seed << 13;
    play->seed ^= play->seed >> 7;
    play->seed ^= play->seed << 17;
    return (size_t)(play->seed % below);
}

static void look_at_history(struct play *play)
{
    const struct task_state *state = task_state(play->world->harness.core);
    for (size_t i = 0; i < play->task_count; i++) {
        struct history *history = &play->tasks[i];
        const struct task_entry *entry =
            task_entry_by_id(state, text_of(strrchr(history->arn, '/') + 1));
        if (entry == NULL) {
            assert_int_equal(history->status, TASK_RECORD_TASK_STATUS_STOPPED);
            continue;
        }
        const struct task_record_task *record =
            core_get(play->world->harness.core, &task_kind, entry->key);
        assert_true(history->node == 0 || history->node == record->node);
        assert_true((int)record->last_status >= history->status);
        assert_true((int)record->desired_status >= history->desired);
        assert_true(record->version >= history->version);
        if (history->status == TASK_RECORD_TASK_STATUS_STOPPED) {
            assert_int_equal(record->version, history->version);
            assert_int_equal(record->stopped_at, history->stopped_at);
        }
        history->node = record->node;
        history->status = (int)record->last_status;
        history->desired = (int)record->desired_status;
        history->version = record->version;
        history->stopped_at = record->stopped_at;
    }
}

// Remember the ids of payloads, to acknowledge them some time or never.
static void collect_acks(struct play *play)
{
    const char *needle = "PayloadMessage {\"messageId\":\"";
    for (const char *at =
             play->world->effects.data == NULL ? NULL : strstr(play->world->effects.data, needle);
         at != NULL; at = strstr(at + 1, needle)) {
        struct text rest = text_of(at + strlen(needle));
        struct text id = text_cut(&rest, '"');
        snprintf(play->acks[play->ack_count % 64], sizeof(play->acks[0]), "%.*s", TEXT_FMT(id));
        play->ack_count++;
    }
    world_forget(play->world);
}

static void run_some(struct play *play)
{
    struct world *world = play->world;
    bool fargate = chance(play, 3) > 0;
    const char *request =
        fargate
            ? world_text("{'cluster':'c','taskDefinition':'web','launchType':'FARGATE','count':%zu,"
                         "'networkConfiguration':{'awsvpcConfiguration':{'subnets':['%s','%s']}}}",
                         chance(play, 4) + 1, world->subnets[chance(play, 3)],
                         world->subnets[chance(play, 3)])
            : world_text("{'cluster':'c','taskDefinition':'job','count':%zu,'startedBy':'r'}",
                         chance(play, 4) + 1);
    const char *answer = harness_call(&world->harness, "RunTask", request);
    const char *needle = "\"taskArn\":\"";
    char previous[160] = "";
    for (const char *at = strstr(answer, needle); at != NULL && play->task_count < TASKS;
         at = strstr(at + 1, needle)) {
        struct text rest = text_of(at + strlen(needle));
        struct text arn = text_cut(&rest, '"');
        if (text_is(arn, previous)) {
            continue; // its containers name it too
        }
        snprintf(previous, sizeof(previous), "%.*s", TEXT_FMT(arn));
        snprintf(play->tasks[play->task_count].arn, sizeof(previous), "%s", previous);
        play->task_count++;
    }
}

static void report_some(struct play *play)
{
    static const char *const statuses[] = {"PENDING", "RUNNING", "RUNNING", "STOPPED"};
    static const char *const parts[] = {
        "",
        ",'containers':[{'containerName':'app','status':'RUNNING','runtimeId':'r'}]",
        ",'containers':[{'containerName':'app','status':'STOPPED','exitCode':1}]",
        ",'containers':[{'containerName':'side','status':'STOPPED','exitCode':0}]",
        ",'reason':'CannotPullContainerError: no'",
    };
    if (play->task_count == 0) {
        return;
    }
    struct world *world = play->world;
    const struct history *history = &play->tasks[chance(play, play->task_count)];
    world_as_node(world, chance(play, NODES)); // often the wrong one
    harness_call(&world->harness, "SubmitTaskStateChange",
                 world_text("{'task':'%s','status':'%s'%s}", history->arn,
                            statuses[chance(play, ARRAY_LEN(statuses))],
                            parts[chance(play, ARRAY_LEN(parts))]));
    world_as_root(world);
}

static void ack_some(struct play *play)
{
    if (play->ack_count > 0) {
        world_as_node(play->world, chance(play, NODES));
        harness_call(&play->world->harness, "NodeAck",
                     world_text("{'messageId':'%s'}",
                                play->acks[chance(play, MIN(play->ack_count, (size_t)64))]));
        world_as_root(play->world);
    }
}

static void disturb(struct play *play)
{
    struct world *world = play->world;
    size_t node = chance(play, NODES);
    switch (chance(play, 6)) {
    case 0:
        harness_restart(&world->harness);
        break;
    case 1:
        world_as_node(world, node);
        harness_call(&world->harness, "NodeDisconnect",
                     world_text("{'session':%lld}", (long long)world->nodes[node].session));
        world_as_root(world);
        break;
    case 2:
        world_connect(world, node);
        break;
    case 3:
        world_register(world, node, NULL, "eu-west-1a,eu-west-1b", 1024 << chance(play, 3), 8192);
        world_connect(world, node);
        break;
    case 4:
        world_register(world, node, "c", "eu-west-1c", 1024 << chance(play, 3), 4096);
        world_connect(world, node);
        break;
    default:
        harness_advance(&world->harness, (int64_t)chance(play, 7200) * 1000);
    }
}

static void play_step(struct play *play)
{
    struct world *world = play->world;
    switch (chance(play, 12)) {
    case 0:
    case 1:
        run_some(play);
        break;
    case 2:
    case 3:
    case 4:
        report_some(play);
        break;
    case 5:
    case 6:
        ack_some(play);
        break;
    case 7:
        if (play->task_count > 0) {
            harness_call(&world->harness, "StopTask",
                         world_text("{'cluster':'c','task':'%s'}",
                                    play->tasks[chance(play, play->task_count)].arn));
        }
        break;
    case 8:
        world_beat(world, chance(play, NODES));
        break;
    case 9:
        disturb(play);
        break;
    default:
        harness_advance(&world->harness, (int64_t)chance(play, 1500));
    }
    collect_acks(play);
    look_at_history(play);
}

// Whatever happened, once everything is told to stop and every node reports it, nothing is left.
static void wind_up(struct play *play)
{
    struct world *world = play->world;
    const struct task_state *state = task_state(world->harness.core);
    for (size_t i = 0; i < play->task_count; i++) {
        const struct task_entry *entry =
            task_entry_by_id(state, text_of(strrchr(play->tasks[i].arn, '/') + 1));
        if (entry == NULL) {
            continue;
        }
        harness_call(&world->harness, "StopTask",
                     world_text("{'cluster':'c','task':'%s'}", play->tasks[i].arn));
        world->harness.caller.node_id = entry->node->node_id;
        harness_call(&world->harness, "SubmitTaskStateChange",
                     world_text("{'task':'%s','status':'STOPPED'}", play->tasks[i].arn));
        world_as_root(world);
    }
    harness_advance(&world->harness, 0);
    look_at_history(play);
    for (size_t i = 0; i < state->node_count; i++) {
        assert_int_equal(state->nodes[i]->task_count, 0);
        assert_null(state->nodes[i]->waiting_first);
    }
    harness_advance(&world->harness, TASK_RETENTION_MS);
    assert_int_equal(core_count(world->harness.core, &task_kind), 0);
}

static void random_histories_keep_every_invariant(void **state)
{
    static struct play play;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        play = (struct play){.world = *state, .seed = seed * UINT64_C(88172645463325252)};
        if (play.world->node_count == 0) {
            for (size_t i = 0; i < NODES; i++) {
                world_pool_node(play.world, world_text("eu-west-1%c", "abc"[i % 3]), 4096, 8192);
                world_register(play.world, i, i % 2 == 0 ? "c" : NULL,
                               world_text("eu-west-1%c", "abc"[i % 3]), 4096, 8192);
            }
        }
        for (size_t i = 0; i < NODES; i++) {
            world_connect(play.world, i);
        }
        for (size_t step = 0; step < STEPS; step++) {
            play_step(&play);
        }
        print_message("seed %llu: %zu tasks\n", (unsigned long long)seed, play.task_count);
        assert_true(play.task_count > 20);
        wind_up(&play);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(random_histories_keep_every_invariant, world_setup,
                                        world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
