#include "task_world.h"

#include "base/text.h"
#include "ecs/task_internal.h"

#include <stdio.h>
#include <string.h>

#define BEAT_MS 2500
#define WITH_ROLE "'overrides':{'taskRoleArn':'reader'},"

static size_t count(const struct world *world, const char *what)
{
    size_t found = 0;
    const char *at = world->effects.size == 0 ? NULL : strstr(world->effects.data, what);
    for (; at != NULL; at = strstr(at + 1, what)) {
        found++;
    }
    return found;
}

#define MESSAGES(world) count(world, "IAMRoleCredentialsMessage {")

// Let time pass for a node that is heard of.
static void live(struct world *world, size_t node, int64_t passed_ms)
{
    for (int64_t at_ms = 0; at_ms < passed_ms; at_ms += BEAT_MS) {
        world_beat(world, node);
        harness_advance(&world->harness, BEAT_MS);
    }
}

static void acknowledge(struct world *world, size_t node)
{
    const char *id = strrchr(world->task, '/') + 1;
    char uuid[40];
    snprintf(uuid, sizeof(uuid), "%.8s-%.4s-%.4s-%.4s-%.12s", id, id + 8, id + 12, id + 16,
             id + 20);
    world_as_node(world, node);
    harness_expect(&world->harness, "NodeCredentialsAck",
                   world_text("{'credentialsId':'%s'}", uuid), "{}");
    world_as_root(world);
}

static void credentials_follow_their_task(void **state)
{
    struct world *world = *state;
    world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, "");
    assert_int_equal(MESSAGES(world), 0); // it has no role
    world_run(world, 0, WITH_ROLE);
    assert_int_equal(MESSAGES(world), 1);
    world_effect(world, "'roleArn':'arn:aws:iam::123456789012:role/reader'");
    world_effect(world, "'roleType':'TaskApplication'");
    world_effect(world, world->task);
    // The node must know the task by then.
    assert_true(strstr(world->effects.data, "IAMRoleCredentialsMessage") >
                strstr(world->effects.data, "PayloadMessage"));
    // The engine knows no keys.
    world_effect(world, "'secretAccessKey':''");
}

static void they_are_sent_until_acknowledged(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, WITH_ROLE);
    world_ack(world, node);
    world_forget(world);
    live(world, node, 15000);
    assert_int_equal(MESSAGES(world), 1);
    acknowledge(world, node);
    world_forget(world);
    live(world, node, 60000);
    assert_int_equal(MESSAGES(world), 0);
    // What is acknowledged that was never sent changes nothing.
    world_as_node(world, node);
    harness_expect(&world->harness, "NodeCredentialsAck", "{'credentialsId':'nonsense'}", "{}");
    world_as_root(world);
}

static void they_are_renewed_long_before_they_expire(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, WITH_ROLE);
    world_ack(world, node);
    acknowledge(world, node);
    world_forget(world);
    live(world, node, TASK_CREDENTIALS_RENEW_MS - 60000);
    assert_int_equal(MESSAGES(world), 0);
    live(world, node, 120000);
    assert_true(MESSAGES(world) >= 1);
    acknowledge(world, node);
    world_forget(world);
    live(world, node, TASK_CREDENTIALS_RENEW_MS);
    assert_true(MESSAGES(world) >= 1);
}

static void a_new_session_gets_all_of_them(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, WITH_ROLE);
    world_run(world, 0, WITH_ROLE);
    world_ack(world, node);
    acknowledge(world, node);
    world_forget(world);
    world_connect(world, node);
    assert_int_equal(MESSAGES(world), 2);
    harness_restart(&world->harness);
    world_forget(world);
    world_connect(world, node);
    assert_int_equal(MESSAGES(world), 2);
}

static void a_task_that_stops_gets_none(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    world_run(world, 0, WITH_ROLE);
    world_ack(world, node);
    harness_contains(&world->harness, "StopTask",
                     world_text("{'cluster':'c','task':'%s'}", world->task), "stoppedReason");
    world_forget(world);
    live(world, node, 30000);
    world_connect(world, node);
    assert_int_equal(MESSAGES(world), 0);
}

// Amazon's agent has Docker's drivers use the execution role; Berth's has no use for it.
static void amazons_agent_gets_the_execution_role_too(void **state)
{
    struct world *world = *state;
    size_t node = world_pool_node(world, "eu-west-1a", 4096, 8192);
    const char *both = "'overrides':{'taskRoleArn':'reader','executionRoleArn':'puller'},";
    world_run(world, 0, both);
    assert_int_equal(MESSAGES(world), 1);
    world_ack(world, node);
    acknowledge(world, node);
    world_forget(world);
    world_as_node(world, node);
    harness_contains(
        &world->harness, "NodeConnect",
        world_text("{'session':9,'containerInstanceArn':'%s'}", world->nodes[node].instance),
        "leaseMs");
    world_as_root(world);
    assert_int_equal(MESSAGES(world), 2);
    world_effect(world, "'roleType':'TaskExecution'");
    world_effect(world, "'roleArn':'arn:aws:iam::123456789012:role/puller'");
    // Each is acknowledged for itself.
    acknowledge(world, node);
    world_ack(world, node);
    world_forget(world);
    live(world, node, 11000);
    assert_int_equal(MESSAGES(world), 1);
    world_effect(world, "'roleType':'TaskExecution'");
    world_as_node(world, node);
    harness_expect(
        &world->harness, "NodeCredentialsAck",
        world_text("{'credentialsId':'%s','execution':true}", strrchr(world->task, '/') + 1), "{}");
    world_as_root(world);
    world_forget(world);
    live(world, node, 30000);
    assert_int_equal(MESSAGES(world), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(credentials_follow_their_task),
        TEST(they_are_sent_until_acknowledged),
        TEST(they_are_renewed_long_before_they_expire),
        TEST(a_new_session_gets_all_of_them),
        TEST(a_task_that_stops_gets_none),
        TEST(amazons_agent_gets_the_execution_role_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
