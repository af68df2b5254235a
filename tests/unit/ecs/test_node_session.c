#include "task_world.h"

#include "base/text.h"
#include "ecs/task_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The number behind a member in the last effect that has it.
static long long last_number(const struct world *world, const char *member)
{
    char needle[60];
    snprintf(needle, sizeof(needle), "\"%s\":", member);
    const char *found = NULL;
    for (const char *at = strstr(world->effects.data, needle); at != NULL;
         at = strstr(at + 1, needle)) {
        found = at + strlen(needle);
    }
    assert_non_null(found);
    return strtoll(found, NULL, 10);
}

static void pass(struct world *world, size_t half_seconds)
{
    for (size_t i = 0; i < half_seconds; i++) {
        harness_advance(&world->harness, 500);
    }
}

static struct task_node *node_of(const struct world *world, size_t node)
{
    struct task_node *found =
        task_node_of(task_state(world->harness.core), text_of(world->nodes[node].node_id));
    assert_non_null(found);
    return found;
}

// A manifest first, whose timeline is above all seqNums before; then all tasks, ten in a payload.
static void connecting_sends_a_manifest_and_all_tasks(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 65536, 131072);
    for (size_t i = 0; i < 25; i++) {
        world_run(world, 0, "");
    }
    long long last = last_number(world, "seqNum");
    world_forget(world);
    world_connect(world, node);
    world_effect(world, "TaskManifestMessage");
    assert_true(last_number(world, "timeline") > last);
    assert_true(last_number(world, "seqNum") > last_number(world, "timeline"));
    size_t payloads = 0;
    for (const char *at = strstr(world->effects.data, "PayloadMessage {"); at != NULL;
         at = strstr(at + 1, "PayloadMessage {")) {
        payloads++;
    }
    assert_int_equal(payloads, 3);
    assert_true(strstr(world->effects.data, "TaskManifestMessage") <
                strstr(world->effects.data, "PayloadMessage"));
    // Also over a restart, with a clock that stands still.
    last = last_number(world, "seqNum");
    harness_restart(&world->harness);
    world_forget(world);
    world_connect(world, node);
    assert_true(last_number(world, "timeline") > last);
}

static void hundreds_of_tasks_are_sent_in_steps(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 1000000, 2000000);
    node_of(world, node)->eni_slots = 1000;
    task_node_refresh(node_of(world, node));
    for (size_t i = 0; i < 25; i++) {
        world_run(world, 0, "'count':10,");
    }
    harness_contains(&world->harness, "ListNodes", "{}", "'taskCount':250");
    world_forget(world);
    world_connect(world, node);
    harness_advance(&world->harness, 0);
    size_t payloads = 0;
    for (const char *at = strstr(world->effects.data, "PayloadMessage {"); at != NULL;
         at = strstr(at + 1, "PayloadMessage {")) {
        payloads++;
    }
    assert_int_equal(payloads, 25);
    world_ack(world, node);
    harness_contains(&world->harness, "ListTasks", "{'cluster':'c'}", "nextToken");
    assert_null(node_of(world, node)->waiting_first);
}

static void what_is_not_acknowledged_is_sent_again(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, "");
    world_forget(world);
    harness_advance(&world->harness, NODE_RESEND_MS - 1);
    world_no_effect(world, "PayloadMessage");
    harness_advance(&world->harness, 1);
    world_effect(world, "PayloadMessage");
    world_ack(world, node);
    world_task_has(world, "'lastStatus':'PENDING'");
    world_forget(world);
    harness_advance(&world->harness, 10 * NODE_RESEND_MS);
    world_no_effect(world, "PayloadMessage");
    // A report tells as much as an acknowledgement.
    world_beat(world, node);
    world_run(world, 0, "");
    world_submit(world, node, "PENDING", "");
    world_forget(world);
    harness_advance(&world->harness, 10 * NODE_RESEND_MS);
    world_no_effect(world, "PayloadMessage");
}

// An acknowledgement of an older payload says nothing of what was asked for later.
static void an_old_acknowledgement_does_not_cover_a_stop(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_forget(world);
    world_run(world, 0, "");
    char run[40];
    snprintf(run, sizeof(run), "%lld", last_number(world, "seqNum"));
    harness_contains(&world->harness, "StopTask",
                     world_text("{'cluster':'c','task':'%s'}", world->task),
                     "Task stopped by user");
    world_as_node(world, node);
    harness_expect(&world->harness, "NodeAck", world_text("{'messageId':'%s'}", run), "{}");
    harness_expect(&world->harness, "NodeAck", "{'messageId':'nonsense'}", "{}");
    world_as_root(world);
    world_forget(world);
    harness_advance(&world->harness, NODE_RESEND_MS);
    world_effect(world, "'desiredStatus':'STOPPED'}],");
    world_ack(world, node);
    world_forget(world);
    harness_advance(&world->harness, NODE_RESEND_MS);
    world_no_effect(world, "PayloadMessage");
    world_task_has(world, "'lastStatus':'PROVISIONING'");
}

// A node that acknowledged a task is still told to stop it until it acknowledges that too.
static void a_stop_is_sent_again_after_the_task_was_acknowledged(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_forget(world);
    world_run(world, 0, "");
    world_ack(world, node);
    harness_contains(&world->harness, "StopTask",
                     world_text("{'cluster':'c','task':'%s'}", world->task), "stopping");
    world_forget(world);
    harness_advance(&world->harness, NODE_RESEND_MS);
    world_effect(world, "'desiredStatus':'STOPPED'}],");
}

static void only_those_that_must_stop_are_confirmed(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, "");
    char runs[160];
    snprintf(runs, sizeof(runs), "%s", world->task);
    world_run(world, 0, "");
    harness_contains(&world->harness, "StopTask",
                     world_text("{'cluster':'c','task':'%s'}", world->task), "stopping");
    world_forget(world);
    world_as_node(world, node);
    harness_expect(&world->harness, "NodeStopCandidates",
                   world_text("{'messageId':'m','stopCandidates':[{'taskArn':'%s','desiredStatus':"
                              "'RUNNING'},{'taskArn':'%s','desiredStatus':'RUNNING'},{'taskArn':"
                              "'arn:x/unknown','desiredStatus':'RUNNING'}]}",
                              runs, world->task),
                   "{}");
    world_effect(world, world_text("TaskStopVerificationAck {'messageId':'m','stopTasks':[{"
                                   "'taskArn':'%s','desiredStatus':'STOPPED'},{'taskArn':"
                                   "'arn:x/unknown','desiredStatus':'STOPPED'}]",
                                   world->task));
}

static void a_silent_node_is_lost_and_comes_back(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, "");
    world_submit(world, node, "RUNNING", "");
    size_t rows = world->harness.row_count;
    pass(world, 5);
    world_task_has(world, "'connectivity':'CONNECTED'");
    pass(world, 1);
    world_task_has(world, "'connectivity':'DISCONNECTED','connectivityAt':1800000003");
    world_task_has(world, "'version':3"); // made, RUNNING, out of contact
    world_effect(world, "'connectivity':'DISCONNECTED'");
    world_task_has(world, "'lastStatus':'RUNNING'");
    harness_contains(
        &world->harness, "RunTask",
        world_text("{'cluster':'c','taskDefinition':'web','launchType':'FARGATE'," WORLD_NETWORK
                   "}",
                   world->subnets[0]),
        "AGENT on 1 of 1");
    assert_int_equal(world->harness.row_count, rows); // leases never reach the disk
    world_beat(world, node);
    harness_advance(&world->harness, 0);
    world_task_has(world, "'connectivity':'CONNECTED'");
    world_task_has(world, "'version':4");
    world_run(world, 0, "");
}

// 4 of 10 silent at once is more likely our fault than theirs; 3 of 10 is not.
static void mass_silence_holds_for_a_minute(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; i < 10; i++) {
        world_pool_node(world, "eu-west-1a", 4096, 8192);
    }
    static const size_t silent_counts[] = {3, 4};
    for (size_t c = 0; c < ARRAY_LEN(silent_counts); c++) {
        size_t silent = silent_counts[c];
        size_t lost_after = 0; // half seconds
        for (size_t step = 1; step <= 140 && lost_after == 0; step++) {
            for (size_t i = silent; i < 10; i++) {
                world_beat(world, i);
            }
            pass(world, 1);
            if (node_of(world, 0)->lost) {
                lost_after = step;
            }
        }
        // The last beat was at the end of the step before.
        assert_in_range(lost_after, silent == 3 ? 6 : 126, silent == 3 ? 7 : 127);
        for (size_t i = 0; i < 10; i++) {
            assert_int_equal(node_of(world, i)->lost, i < silent);
            world_beat(world, i);
        }
    }
}

static void after_a_jump_or_restart_every_lease_is_full(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    pass(world, 4);
    harness_advance(&world->harness, 3600000); // a suspend of an hour
    assert_false(node_of(world, node)->lost);
    pass(world, 5);
    assert_false(node_of(world, node)->lost);
    pass(world, 1);
    assert_true(node_of(world, node)->lost);
    harness_restart(&world->harness);
    assert_false(node_of(world, node)->lost);
    world_run(world, 0, ""); // placed in good faith, sent when the node is back
    world_no_effect(world, "'seqNum'");
    world_connect(world, node);
    world_effect(world, "'seqNum'");
    // After a restart the lease is longer, until the node is back.
    harness_restart(&world->harness);
    pass(world, 29);
    assert_false(node_of(world, node)->lost);
    pass(world, 1);
    assert_true(node_of(world, node)->lost);
    harness_restart(&world->harness);
    world_connect(world, node);
    pass(world, 5);
    assert_false(node_of(world, node)->lost);
    pass(world, 1);
    assert_true(node_of(world, node)->lost);
}

static void an_older_session_changes_nothing(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_connect(world, node);
    world_as_node(world, node);
    harness_expect(&world->harness, "NodeDisconnect", "{'session':1}", "{}");
    assert_true(node_of(world, node)->connected);
    world_forget(world);
    harness_contains(&world->harness, "NodeConnect",
                     world_text("{'session':1,'containerInstanceArn':'%s','berthAgent':true}",
                                world->nodes[node].instance),
                     "leaseMs");
    world_no_effect(world, "NODE");
    harness_expect(&world->harness, "NodeDisconnect", "{'session':2}", "{}");
    assert_false(node_of(world, node)->connected);
    harness_contains(
        &world->harness, "NodeConnect",
        world_text("{'session':3,'containerInstanceArn':'%s'}", world->nodes[node].instance),
        "{'leaseMs':120000}");
    size_t other = world_join(world);
    world_as_node(world, other);
    harness_contains(
        &world->harness, "NodeConnect",
        world_text("{'session':3,'containerInstanceArn':'%s'}", world->nodes[node].instance),
        "ResourceNotFoundException: ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(connecting_sends_a_manifest_and_all_tasks, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(hundreds_of_tasks_are_sent_in_steps, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(what_is_not_acknowledged_is_sent_again, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(an_old_acknowledgement_does_not_cover_a_stop, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(a_stop_is_sent_again_after_the_task_was_acknowledged,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(only_those_that_must_stop_are_confirmed, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(a_silent_node_is_lost_and_comes_back, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(mass_silence_holds_for_a_minute, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(after_a_jump_or_restart_every_lease_is_full, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(an_older_session_changes_nothing, world_setup,
                                        world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
