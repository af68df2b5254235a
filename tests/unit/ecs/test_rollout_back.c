#include "service_world.h"

#include <string.h>

#define BREAKER(rollback)                                                                          \
    ",'deploymentConfiguration':{'deploymentCircuitBreaker':{'enable':true,'rollback':" #rollback  \
    "}}"

static int64_t rollout_key(struct world *world, int64_t service)
{
    const struct service_record_service *record =
        core_get(world->harness.core, &service_kind, service);
    return record->rollout;
}

static const struct service_record_rollout *rollout(struct world *world, int64_t service)
{
    return core_get(world->harness.core, &service_rollout_kind, rollout_key(world, service));
}

static void stop(struct world *world, int64_t service)
{
    struct text id = rollout(world, service)->id;
    harness_contains(&world->harness, "StopServiceDeployment",
                     world_text("{'serviceDeploymentArn':'arn:aws:ecs:eu-west-1:123456789012:"
                                "service-deployment/c/s/%.*s'}",
                                TEXT_FMT(id)),
                     "serviceDeploymentArn");
    harness_advance(&world->harness, 0);
}

// The reference's table (services §2.2).
static void half_of_the_tasks_within_bounds(void **state)
{
    (void)state;
    static const struct {
        int32_t desired;
        int32_t threshold;
    } cases[] = {{0, 3},   {1, 3},     {5, 3},     {6, 3},     {7, 4},    {10, 5},
                 {25, 13}, {399, 200}, {400, 200}, {401, 200}, {800, 200}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(service_breaker_threshold(cases[i].desired), cases[i].threshold);
    }
}

// The deployment that was completed last is PRIMARY again, with its tasks and as if nothing had
// failed; the service deployment remembers why.
static void the_way_back(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 2, BREAKER(true));
    svc_settle(world, service);
    const struct service_record_service *record =
        core_get(world->harness.core, &service_kind, service);
    int64_t good = record->primary;
    svc_update(world, "s", "'forceNewDeployment':true");
    int64_t bad = rollout_key(world, service);
    for (int i = 0; i < 3 && svc_primary(world, service)->number != 0; i++) {
        svc_crash(world, service);
        harness_advance(&world->harness, 2000);
    }
    record = core_get(world->harness.core, &service_kind, service);
    assert_int_equal(record->primary, good);
    const struct service_record_rollout *back =
        core_get(world->harness.core, &service_rollout_kind, bad);
    assert_true(back->tripped);
    assert_int_equal(back->threshold, 3);
    assert_true(back->failure_count >= 3);
    assert_true(back->rollback_at != 0);
    assert_true(text_equal(back->rollback_reason, back->status_reason));
    const struct service_record_deployment *revived = svc_primary(world, service);
    assert_int_equal(back->rollback_revision, revived->revision);
    assert_int_equal(revived->failed_tasks, 0);
    assert_int_equal(revived->retry_at, 0);
    svc_settle(world, service);
    svc_stands(world, service, "hh");
    back = core_get(world->harness.core, &service_rollout_kind, bad);
    assert_int_equal(back->status, ECS_SERVICE_DEPLOYMENT_STATUS_ROLLBACK_SUCCESSFUL);
    assert_true(back->finished_at != 0);
}

// With nothing to go back to a deployment stands still, whoever ended it.
static void nowhere_to_go(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 2, BREAKER(true));
    svc_stands(world, service, "..");
    stop(world, service);
    const struct service_record_rollout *ended = rollout(world, service);
    assert_int_equal(ended->status, ECS_SERVICE_DEPLOYMENT_STATUS_STOPPED);
    assert_true(ended->stopped_at == ended->finished_at);
    assert_true(ended->rollback_at == 0);
    svc_has(world, "s",
            "'rolloutState':'FAILED','rolloutStateReason':'ECS deployment stopped: a "
            "rollback was requested.'");
    svc_crash(world, service);
    harness_advance(&world->harness, 60000);
    svc_stands(world, service, "-"); // nothing of it starts any more
    svc_update(world, "s", "'forceNewDeployment':true");
    svc_stands(world, service, "..");
}

// StopServiceDeployment goes back without a circuit breaker, and once: what is on its way back is
// left alone, what has ended is refused.
static void a_stop_goes_back(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 2, "");
    svc_settle(world, service);
    int64_t good = svc_primary(world, service)->number;
    svc_update(world, "s", "'forceNewDeployment':true");
    svc_stands(world, service, ".. | hh");
    stop(world, service);
    assert_int_equal(svc_primary(world, service)->number, good);
    svc_stands(world, service, "hh | xx");
    const struct service_record_rollout *back = rollout(world, service);
    assert_int_equal(back->status, ECS_SERVICE_DEPLOYMENT_STATUS_ROLLBACK_IN_PROGRESS);
    assert_false(back->tripped);
    int64_t at_ms = back->rollback_at;
    stop(world, service);
    assert_true(rollout(world, service)->rollback_at == at_ms);
    svc_stop(world, service);
    svc_settle(world, service);
    svc_stands(world, service, "hh");
    struct text id = rollout(world, service)->id;
    harness_expect(&world->harness, "StopServiceDeployment",
                   world_text("{'serviceDeploymentArn':'arn:aws:ecs:eu-west-1:123456789012:service-"
                              "deployment/c/s/%.*s'}",
                              TEXT_FMT(id)),
                   "ConflictException: The service deployment has ended and cannot be stopped.");
    svc_has(world, "s", "'rolloutState':'COMPLETED'");
}

// A rollback whose own tasks fail trips as well, and that is the end: there is no third way.
static void a_rollback_that_fails(void **state)
{
    struct world *world = *state;
    int64_t service =
        svc_create(world, "s", "web", 2,
                   ",'deploymentConfiguration':{'minimumHealthyPercent':0,'maximumPercent':100,"
                   "'deploymentCircuitBreaker':{'enable':true,'rollback':true}}");
    svc_settle(world, service);
    svc_update(world, "s", "'forceNewDeployment':true");
    svc_stop(world, service);
    for (int i = 0; i < 12; i++) {
        svc_crash(world, service);
        harness_advance(&world->harness, 40000);
    }
    assert_int_equal(rollout(world, service)->status,
                     ECS_SERVICE_DEPLOYMENT_STATUS_ROLLBACK_FAILED);
    svc_stands(world, service, "-");
    svc_has(world, "s", "'rolloutState':'FAILED'");
}

// After a restart in the middle the way back goes on.
static void a_restart_on_the_way_back(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 2, "");
    svc_settle(world, service);
    int64_t good = svc_primary(world, service)->number;
    svc_update(world, "s", "'forceNewDeployment':true");
    stop(world, service);
    svc_stands(world, service, "hh | xx");
    harness_restart(&world->harness);
    for (size_t i = 0; i < world->node_count; i++) {
        world_connect(world, i);
    }
    world_as_root(world);
    svc_stop(world, service);
    svc_settle(world, service);
    svc_stands(world, service, "hh");
    assert_int_equal(svc_primary(world, service)->number, good);
    assert_int_equal(rollout(world, service)->status,
                     ECS_SERVICE_DEPLOYMENT_STATUS_ROLLBACK_SUCCESSFUL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(half_of_the_tasks_within_bounds),
        cmocka_unit_test_setup_teardown(the_way_back, svc_setup, world_teardown),
        cmocka_unit_test_setup_teardown(nowhere_to_go, svc_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_stop_goes_back, svc_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_rollback_that_fails, svc_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_restart_on_the_way_back, svc_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
