#include "service_world.h"

#include "api/hook.h"
#include "base/text.h"
#include "ecs/stage.h"

#include <stdio.h>
#include <string.h>

#define MINUTE_MS 60000
#define DAY_MS (24 * 3600 * INT64_C(1000))
#define CONFIGURATION(strategy) "'deploymentConfiguration':{'strategy':" strategy "}"
#define URL "http://127.0.0.1:1/hook"

// ---- helpers --------------------------------------------------------------------------------

static const struct service_record_rollout *rollout_of(struct world *world, int64_t service)
{
    const struct service_record_service *record =
        core_get(world->harness.core, &service_kind, service);
    return core_get(world->harness.core, &service_rollout_kind, record->rollout);
}

static void in_stage(struct world *world, int64_t service, const char *want)
{
    const struct service_record_rollout *rollout = rollout_of(world, service);
    AUTO(buf_deinit) struct buf line = {0};
    struct stage_weights weights;
    stage_weights(world->harness.core, service, &weights);
    buf_format(&line, "%s %s test %g production %g",
               shape_enum_name(&ecs_service_deployment_status_shape, rollout->status),
               stage_name(rollout->stage), rollout->test_weight, rollout->weight);
    if (!text_is(buf_view(&line), want)) {
        fail_msg("the rollout is    %.*s (%.*s)\n  and is to be   %s", TEXT_FMT(buf_view(&line)),
                 TEXT_FMT(rollout->status_reason), want);
    }
    if (!service_rollout_over(rollout->status)) {
        assert_true(weights.production == rollout->weight);
        assert_true(weights.green == rollout->deployment);
    }
}

// A service of two healthy tasks of its first deployment, with a configuration.
static int64_t begun(struct world *world, const char *configuration)
{
    char members[2048]; // what world_text made does not live through svc_settle
    assert_int_equal(text_copy(text_of(configuration), members, sizeof(members)), 0);
    int64_t service = svc_create(world, "s", "web", 2, "");
    svc_settle(world, service);
    svc_update(world, "s", members);
    svc_stands(world, service, "hh"); // a configuration alone deploys nothing
    return service;
}

static void deploy(struct world *world)
{
    svc_update(world, "s", "'forceNewDeployment':true");
}

// Report every task that runs as HEALTHY, without time passing.
static void heal(struct world *world, int64_t service)
{
    svc_run(world, service);
    struct service_task tasks[SVC_TASKS];
    size_t count = svc_tasks(world, service, tasks);
    for (size_t i = 0; i < count; i++) {
        bool runs = tasks[i].last_status == TASK_RECORD_TASK_STATUS_RUNNING &&
                    tasks[i].desired_status == TASK_RECORD_TASK_STATUS_RUNNING;
        if (runs && tasks[i].health != ECS_HEALTH_STATUS_HEALTHY) {
            svc_health(world, tasks[i].key, "HEALTHY");
        }
    }
}

static void pass(struct world *world, int64_t passed_ms)
{
    harness_advance(&world->harness, passed_ms);
}

static const char *rollout_arn(struct world *world, int64_t service)
{
    struct text id = rollout_of(world, service)->id;
    return world_text("arn:aws:ecs:eu-west-1:123456789012:service-deployment/c/s/%.*s",
                      TEXT_FMT(id));
}

static void rollout_has(struct world *world, int64_t service, const char *want)
{
    harness_contains(&world->harness, "DescribeServiceDeployments",
                     world_text("{'serviceDeploymentArns':['%s']}", rollout_arn(world, service)),
                     want);
}

static void stop_rollout(struct world *world, int64_t service)
{
    harness_contains(&world->harness, "StopServiceDeployment",
                     world_text("{'serviceDeploymentArn':'%s'}", rollout_arn(world, service)),
                     "service-deployment");
    pass(world, 0);
}

// Every task of the PRIMARY deployment ends by itself.
static void fail_green(struct world *world, int64_t service)
{
    const struct service_record_service *record =
        core_get(world->harness.core, &service_kind, service);
    struct service_task tasks[SVC_TASKS];
    size_t count = svc_tasks(world, service, tasks);
    for (size_t i = 0; i < count; i++) {
        if (tasks[i].deployment == record->primary) {
            svc_report(world, tasks[i].key, "STOPPED", SVC_ENDS);
        }
    }
    pass(world, 0);
}

// The server starts anew, and its clock is set back.
static void set_back(struct world *world, int64_t back_ms)
{
    world->harness.now_ms -= back_ms;
    harness_restart(&world->harness);
    pass(world, 0);
    for (size_t i = 0; i < world->node_count; i++) {
        world_connect(world, i);
    }
    pass(world, 0);
}

// ---- stages ---------------------------------------------------------------------------------

static void blue_green_goes_by_stages(void **state)
{
    struct world *world = *state;
    int64_t service = begun(world, "'deploymentConfiguration':{'strategy':'BLUE_GREEN',"
                                   "'bakeTimeInMinutes':5}");
    const struct service_record_service *record =
        core_get(world->harness.core, &service_kind, service);
    int64_t blue = record->primary;
    deploy(world);
    svc_stands(world, service, ".. | hh"); // capacity doubles at once
    in_stage(world, service, "IN_PROGRESS SCALE_UP test 0 production 0");
    svc_run(world, service);
    svc_stands(world, service, "rr | hh");
    in_stage(world, service, "IN_PROGRESS SCALE_UP test 0 production 0");
    heal(world, service);
    in_stage(world, service, "IN_PROGRESS BAKE_TIME test 100 production 100");
    svc_stands(world, service, "hh | hh");
    rollout_has(world, service, "'lifecycleStage':'BAKE_TIME'");
    rollout_has(world, service,
                "'requestedTestTrafficWeight':100.0,'requestedProductionTrafficWeight':100.0}");
    rollout_has(world, service,
                "'requestedTestTrafficWeight':0.0,'requestedProductionTrafficWeight':0.0}");
    struct stage_weights weights;
    stage_weights(world->harness.core, service, &weights);
    assert_true(weights.blue == blue);
    pass(world, 5 * MINUTE_MS - 1);
    svc_stands(world, service, "hh | hh");
    pass(world, 1);
    in_stage(world, service, "IN_PROGRESS CLEAN_UP test 100 production 100");
    svc_stands(world, service, "hh | xx");
    svc_has(world, "s", "'status':'ACTIVE','taskDefinition'"); // blue stays listed until it is gone
    svc_has(world, "s", "'rolloutState':'IN_PROGRESS'");
    svc_stop(world, service);
    svc_stands(world, service, "hh");
    in_stage(world, service, "SUCCESSFUL CLEAN_UP test 100 production 100");
    svc_has(world, "s", "'rolloutState':'COMPLETED'");
    svc_told(world, "s", "deployment completed.");
}

// A task of blue or green that goes away is replaced while both have to be there.
static void both_sides_are_kept(void **state)
{
    struct world *world = *state;
    int64_t service = begun(world, "'deploymentConfiguration':{'strategy':'BLUE_GREEN',"
                                   "'bakeTimeInMinutes':60}");
    deploy(world);
    heal(world, service);
    svc_stands(world, service, "hh | hh");
    struct service_task tasks[SVC_TASKS];
    assert_int_equal(svc_tasks(world, service, tasks), 4);
    svc_report(world, tasks[0].key, "STOPPED", "");
    svc_stands(world, service, "hh | h.");
    svc_report(world, tasks[2].key, "STOPPED", "");
    svc_stands(world, service, "h. | h.");
    svc_update(world, "s", "'desiredCount':3");
    svc_stands(world, service, "h.. | h..");
    heal(world, service);
    svc_stands(world, service, "hhh | hhh");
    svc_update(world, "s", "'desiredCount':1");
    svc_stop(world, service);
    svc_stands(world, service, "h | h");
    in_stage(world, service, "IN_PROGRESS BAKE_TIME test 100 production 100");
}

static void linear_takes_equal_steps(void **state)
{
    struct world *world = *state;
    int64_t service =
        begun(world, "'deploymentConfiguration':{'strategy':'LINEAR','bakeTimeInMinutes':1,"
                     "'linearConfiguration':{'stepPercent':30,'stepBakeTimeInMinutes':2}}");
    deploy(world);
    heal(world, service);
    static const char *const steps[] = {"30", "60", "90"};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        in_stage(
            world, service,
            world_text("IN_PROGRESS PRODUCTION_TRAFFIC_SHIFT test 100 production %s", steps[i]));
        pass(world, 2 * MINUTE_MS - 1);
        in_stage(
            world, service,
            world_text("IN_PROGRESS PRODUCTION_TRAFFIC_SHIFT test 100 production %s", steps[i]));
        pass(world, 1);
    }
    // No bake of the last step: the final one follows.
    in_stage(world, service, "IN_PROGRESS BAKE_TIME test 100 production 100");
    pass(world, MINUTE_MS);
    svc_stands(world, service, "hh | xx");
    svc_stop(world, service);
    in_stage(world, service, "SUCCESSFUL CLEAN_UP test 100 production 100");
}

static void canary_takes_a_slice_then_the_rest(void **state)
{
    struct world *world = *state;
    int64_t service = begun(world, "'deploymentConfiguration':{'strategy':'CANARY',"
                                   "'canaryConfiguration':{'canaryPercent':0.5}}");
    deploy(world);
    heal(world, service);
    in_stage(world, service, "IN_PROGRESS PRODUCTION_TRAFFIC_SHIFT test 100 production 0.5");
    pass(world, 10 * MINUTE_MS - 1); // the default
    in_stage(world, service, "IN_PROGRESS PRODUCTION_TRAFFIC_SHIFT test 100 production 0.5");
    pass(world, 1);
    in_stage(world, service, "IN_PROGRESS CLEAN_UP test 100 production 100");
    svc_stop(world, service);
    in_stage(world, service, "SUCCESSFUL CLEAN_UP test 100 production 100");
}

// Without an older deployment there is nobody to share with, and nothing to bake beside.
static void the_first_deployment_shares_with_nobody(void **state)
{
    struct world *world = *state;
    int64_t service = svc_create(world, "s", "web", 1,
                                 ",'deploymentConfiguration':{'strategy':'CANARY',"
                                 "'bakeTimeInMinutes':60}");
    in_stage(world, service, "IN_PROGRESS SCALE_UP test 0 production 0");
    heal(world, service);
    in_stage(world, service, "SUCCESSFUL CLEAN_UP test 100 production 100");
    svc_stands(world, service, "h");
}

// With more than one revision active, the service is gathered on the one that was completed first.
static void several_revisions_are_reconciled(void **state)
{
    struct world *world = *state;
    int64_t service = begun(world, "'deploymentConfiguration':{'strategy':'BLUE_GREEN',"
                                   "'bakeTimeInMinutes':60}");
    deploy(world);
    heal(world, service);
    svc_stands(world, service, "hh | hh");
    deploy(world); // takes the place of the one under way
    in_stage(world, service, "IN_PROGRESS RECONCILE_SERVICE test 0 production 0");
    svc_stands(world, service, "- | xx | hh");
    svc_stop(world, service);
    in_stage(world, service, "IN_PROGRESS SCALE_UP test 0 production 0");
    svc_stands(world, service, ".. | hh");
    heal(world, service);
    in_stage(world, service, "IN_PROGRESS BAKE_TIME test 100 production 100");
}

// ---- the way back ---------------------------------------------------------------------------

// StopServiceDeployment in a stage: traffic is blue's again, then green goes.
static void a_stop_rolls_back_in_every_stage(void **state)
{
    struct world *world = *state;
    static const struct {
        const char *name;
        const char *members;
        int heal;
        int64_t pass_ms;
        const char *before;
        const char *after;
        const char *stands; ///< after the stop
    } cases[] = {
        {"PRE_SCALE_UP", "'PRE_SCALE_UP'", 0, 0, "PRE_SCALE_UP test 0 production 0",
         "ROLLBACK_SUCCESSFUL CLEAN_UP test 0 production 0", "hh"},
        {"SCALE_UP", NULL, 0, 0, "SCALE_UP test 0 production 0",
         "ROLLBACK_IN_PROGRESS CLEAN_UP test 0 production 0", "hh | xx"},
        {"POST_SCALE_UP", "'POST_SCALE_UP'", 1, 0, "POST_SCALE_UP test 0 production 0",
         "ROLLBACK_IN_PROGRESS CLEAN_UP test 0 production 0", "hh | xx"},
        {"POST_TEST_TRAFFIC_SHIFT", "'POST_TEST_TRAFFIC_SHIFT'", 1, 0,
         "POST_TEST_TRAFFIC_SHIFT test 100 production 0",
         "ROLLBACK_IN_PROGRESS CLEAN_UP test 0 production 0", "hh | xx"},
        {"PRE_PRODUCTION_TRAFFIC_SHIFT", "'PRE_PRODUCTION_TRAFFIC_SHIFT'", 1, 0,
         "PRE_PRODUCTION_TRAFFIC_SHIFT test 100 production 0",
         "ROLLBACK_IN_PROGRESS CLEAN_UP test 0 production 0", "hh | xx"},
        {"PRODUCTION_TRAFFIC_SHIFT", NULL, 1, 0, "PRODUCTION_TRAFFIC_SHIFT test 100 production 40",
         "ROLLBACK_IN_PROGRESS CLEAN_UP test 0 production 0", "hh | xx"},
        {"POST_PRODUCTION_TRAFFIC_SHIFT", "'POST_PRODUCTION_TRAFFIC_SHIFT'", 1, MINUTE_MS,
         "POST_PRODUCTION_TRAFFIC_SHIFT test 100 production 100",
         "ROLLBACK_IN_PROGRESS CLEAN_UP test 0 production 0", "hh | xx"},
        {"BAKE_TIME", NULL, 1, MINUTE_MS, "BAKE_TIME test 100 production 100",
         "ROLLBACK_IN_PROGRESS CLEAN_UP test 0 production 0", "hh | xx"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        const char *hooks = cases[i].members == NULL
                                ? ""
                                : world_text(",'lifecycleHooks':[{'targetType':'PAUSE',"
                                             "'lifecycleStages':[%s]}]",
                                             cases[i].members);
        int64_t service =
            begun(world, world_text("'deploymentConfiguration':{'strategy':'CANARY',"
                                    "'bakeTimeInMinutes':1,'canaryConfiguration':{'canaryPercent':"
                                    "40,'canaryBakeTimeInMinutes':1}%s}",
                                    hooks));
        const struct service_record_service *record =
            core_get(world->harness.core, &service_kind, service);
        int64_t blue = record->primary;
        deploy(world);
        if (cases[i].heal) {
            heal(world, service);
        }
        for (int64_t passed = 0; passed < cases[i].pass_ms; passed += MINUTE_MS) {
            pass(world, MINUTE_MS);
        }
        in_stage(world, service, world_text("IN_PROGRESS %s", cases[i].before));
        stop_rollout(world, service);
        in_stage(world, service, cases[i].after);
        svc_stands(world, service, cases[i].stands);
        record = core_get(world->harness.core, &service_kind, service);
        assert_true(record->primary == blue);
        svc_settle(world, service);
        in_stage(world, service, "ROLLBACK_SUCCESSFUL CLEAN_UP test 0 production 0");
        svc_stands(world, service, "hh");
        svc_told(world, "s", "rolling back to deployment ecs-svc/");
        harness_contains(&world->harness, "DeleteService",
                         "{'cluster':'c','service':'s','force':true}", "'status':'DRAINING'");
        pass(world, 0);
        svc_stop(world, service);
        svc_settle(world, service);
    }
}

// In CLEAN_UP blue is started again first; traffic moves when it is healthy.
static void a_stop_while_cleaning_up_brings_blue_back_first(void **state)
{
    struct world *world = *state;
    int64_t service = begun(world, CONFIGURATION("'BLUE_GREEN'"));
    deploy(world);
    heal(world, service);
    svc_stands(world, service, "hh | xx");
    in_stage(world, service, "IN_PROGRESS CLEAN_UP test 100 production 100");
    stop_rollout(world, service);
    in_stage(world, service, "ROLLBACK_IN_PROGRESS SCALE_UP test 100 production 100");
    svc_stands(world, service, "xx.. | hh");
    svc_stop(world, service);
    svc_stands(world, service, ".. | hh");
    in_stage(world, service, "ROLLBACK_IN_PROGRESS SCALE_UP test 100 production 100");
    heal(world, service);
    in_stage(world, service, "ROLLBACK_IN_PROGRESS CLEAN_UP test 0 production 0");
    svc_stands(world, service, "hh | xx");
    svc_stop(world, service);
    in_stage(world, service, "ROLLBACK_SUCCESSFUL CLEAN_UP test 0 production 0");
    svc_stands(world, service, "hh");
}

#define BREAKER(rollback)                                                                          \
    "'deploymentConfiguration':{'strategy':'BLUE_GREEN','deploymentCircuitBreaker':{'enable':"     \
    "true,'rollback':" rollback "}}"

static void the_breaker_trips_while_green_scales_up(void **state)
{
    struct world *world = *state;
    int64_t service = begun(world, BREAKER("true"));
    deploy(world);
    for (int i = 0;
         i < 20 && rollout_of(world, service)->status == ECS_SERVICE_DEPLOYMENT_STATUS_IN_PROGRESS;
         i++) {
        svc_crash(world, service);
        pass(world, 1000);
    }
    svc_settle(world, service);
    in_stage(world, service, "ROLLBACK_SUCCESSFUL CLEAN_UP test 0 production 0");
    svc_stands(world, service, "hh");
    svc_told(world, "s", "deployment failed: tasks failed to start.");
}

// Without rollback the deployment stalls; blue has the traffic, so it is kept.
static void without_rollback_blue_goes_on(void **state)
{
    struct world *world = *state;
    int64_t service = begun(world, BREAKER("false"));
    deploy(world);
    for (int i = 0;
         i < 20 && rollout_of(world, service)->status == ECS_SERVICE_DEPLOYMENT_STATUS_IN_PROGRESS;
         i++) {
        svc_crash(world, service);
        pass(world, 1000);
    }
    in_stage(world, service, "STOPPED SCALE_UP test 0 production 0");
    svc_has(world, "s", "'rolloutState':'FAILED'");
    svc_crash(world, service);
    struct service_task tasks[SVC_TASKS];
    svc_tasks(world, service, tasks);
    svc_report(world, tasks[0].key, "STOPPED", "");
    svc_stands(world, service, "- | h.");
    svc_settle(world, service);
    svc_stands(world, service, "- | hh");
}

// ---- time limits ----------------------------------------------------------------------------

static void a_stage_has_a_day(void **state)
{
    struct world *world = *state;
    int64_t service = begun(world, CONFIGURATION("'BLUE_GREEN'"));
    deploy(world);
    svc_run(world, service); // RUNNING, but never HEALTHY
    pass(world, DAY_MS - 1);
    in_stage(world, service, "IN_PROGRESS SCALE_UP test 0 production 0");
    pass(world, 1);
    in_stage(world, service, "ROLLBACK_IN_PROGRESS CLEAN_UP test 0 production 0");
    rollout_has(world, service, "Stage SCALE_UP did not end within 24 hours.");
    svc_told(world, "s", "deployment failed: a stage took longer than 24 hours.");
    svc_settle(world, service);
    svc_stands(world, service, "hh");
}

// Bakes and pauses are no part of a stage's day, but of the thirty days of the whole.
static void a_deployment_has_thirty_days(void **state)
{
    struct world *world = *state;
    int64_t service =
        begun(world, "'deploymentConfiguration':{'strategy':'BLUE_GREEN','bakeTimeInMinutes':1440,"
                     "'lifecycleHooks':[{'targetType':'PAUSE','lifecycleStages':['PRE_SCALE_UP',"
                     "'POST_SCALE_UP','PRE_PRODUCTION_TRAFFIC_SHIFT'],'timeoutConfiguration':"
                     "{'timeoutInMinutes':20160,'action':'CONTINUE'}}]}");
    deploy(world);
    in_stage(world, service, "IN_PROGRESS PRE_SCALE_UP test 0 production 0");
    pass(world, 14 * DAY_MS);
    in_stage(world, service, "IN_PROGRESS SCALE_UP test 0 production 0");
    heal(world, service);
    in_stage(world, service, "IN_PROGRESS POST_SCALE_UP test 0 production 0");
    pass(world, 14 * DAY_MS);
    in_stage(world, service, "IN_PROGRESS PRE_PRODUCTION_TRAFFIC_SHIFT test 100 production 0");
    pass(world, 2 * DAY_MS - 1);
    in_stage(world, service, "IN_PROGRESS PRE_PRODUCTION_TRAFFIC_SHIFT test 100 production 0");
    pass(world, 1);
    in_stage(world, service, "ROLLBACK_IN_PROGRESS CLEAN_UP test 0 production 0");
    rollout_has(world, service, "The service deployment did not end within 30 days.");
    svc_told(world, "s", "deployment failed: it took longer than 30 days.");
}

// ---- hooks ----------------------------------------------------------------------------------

static const char *pause_id(struct world *world, int64_t service)
{
    const struct service_record_rollout *rollout = rollout_of(world, service);
    assert_true(rollout->hooks.count > 0);
    return world_text("%.*s", TEXT_FMT(rollout->hooks.items[0].id));
}

#define PAUSED                                                                                     \
    "'deploymentConfiguration':{'strategy':'BLUE_GREEN','lifecycleHooks':[{'targetType':'PAUSE',"  \
    "'lifecycleStages':['PRE_PRODUCTION_TRAFFIC_SHIFT']%s}]}"

static void a_pause_is_continued_or_rolled_back(void **state)
{
    struct world *world = *state;
    int64_t service = begun(world, world_text(PAUSED, ""));
    for (int round = 0; round < 2; round++) {
        deploy(world);
        heal(world, service);
        in_stage(world, service, "IN_PROGRESS PRE_PRODUCTION_TRAFFIC_SHIFT test 100 production 0");
        rollout_has(world, service, "'lifecycleStage':'PRODUCTION_TRAFFIC_SHIFT'");
        rollout_has(world, service, "'targetType':'PAUSE','status':'AWAITING_ACTION','expiresAt':");
        rollout_has(world, service, "'timeoutAction':'ROLLBACK'");
        const char *id = pause_id(world, service);
        assert_true(strncmp(id, "ecs-pause-", 10) == 0);
        assert_int_equal(strlen(id), 10 + 43);
        harness_contains(&world->harness, "ContinueServiceDeployment",
                         world_text("{'serviceDeploymentArn':'%s','hookId':'ecs-pause-x'}",
                                    rollout_arn(world, service)),
                         "InvalidParameterException: The service deployment has no lifecycle hook");
        const char *action = round == 0 ? "" : ",'action':'ROLLBACK'";
        const char *request = world_text("{'serviceDeploymentArn':'%s','hookId':'%s'%s}",
                                         rollout_arn(world, service), id, action);
        harness_contains(&world->harness, "ContinueServiceDeployment", request,
                         "{'serviceDeploymentArn':'");
        pass(world, 0);
        in_stage(world, service,
                 round == 0 ? "IN_PROGRESS CLEAN_UP test 100 production 100"
                            : "ROLLBACK_IN_PROGRESS CLEAN_UP test 0 production 0");
        harness_contains(&world->harness, "ContinueServiceDeployment", request,
                         "InvalidParameterException: ");
        svc_stop(world, service);
        svc_stands(world, service, "hh");
    }
    rollout_has(world, service, "'status':'ROLLBACK_SUCCESSFUL'");
    rollout_has(world, service, "A rollback was requested with ContinueServiceDeployment.");
}

static void a_pause_times_out_with_its_action(void **state)
{
    struct world *world = *state;
    int64_t service = begun(world, world_text(PAUSED, ",'timeoutConfiguration':{"
                                                      "'timeoutInMinutes':3,'action':'CONTINUE'}"));
    deploy(world);
    heal(world, service);
    pass(world, 3 * MINUTE_MS - 1);
    in_stage(world, service, "IN_PROGRESS PRE_PRODUCTION_TRAFFIC_SHIFT test 100 production 0");
    pass(world, 1);
    in_stage(world, service, "IN_PROGRESS CLEAN_UP test 100 production 100");
    rollout_has(world, service, "'status':'TIMED_OUT'");
    svc_stop(world, service);
    svc_update(world, "s",
               world_text(PAUSED, ",'timeoutConfiguration':{'timeoutInMinutes':3,"
                                  "'action':'ROLLBACK'}"));
    deploy(world);
    heal(world, service);
    pass(world, 3 * MINUTE_MS);
    in_stage(world, service, "ROLLBACK_IN_PROGRESS CLEAN_UP test 0 production 0");
    rollout_has(world, service, "timed out: Nobody continued the service deployment in time.");
}

#define CALLED(stages)                                                                             \
    "'deploymentConfiguration':{'strategy':'BLUE_GREEN','lifecycleHooks':[{'hookTargetArn':'" URL  \
    "','lifecycleStages':[" stages "],'hookDetails':{'colour':'green'}}]}"

// What the endpoint answers: the rest of a ReportHook.
static void answer(struct world *world, int64_t service, const char *members)
{
    const struct service_record_service *record =
        core_get(world->harness.core, &service_kind, service);
    harness_expect(&world->harness, "ReportHook",
                   world_text("{'rollout':%lld,'hookId':'%s',%s}", (long long)record->rollout,
                              pause_id(world, service), members),
                   "{}");
    pass(world, 0);
}

static void an_endpoint_is_asked_until_it_answers(void **state)
{
    struct world *world = *state;
    int64_t service = begun(world, CALLED("'POST_TEST_TRAFFIC_SHIFT'"));
    deploy(world);
    world_forget(world);
    heal(world, service);
    in_stage(world, service, "IN_PROGRESS POST_TEST_TRAFFIC_SHIFT test 100 production 0");
    world_effect(world, "HOOK " URL " LifecycleHook {'rollout':");
    world_effect(world, "'lifecycleStage':'POST_TEST_TRAFFIC_SHIFT','resourceArn':'arn:aws:ecs:"
                        "eu-west-1:123456789012:service-deployment/c/s/");
    world_effect(world, "'executionDetails':{'serviceArn':'arn:aws:ecs:eu-west-1:123456789012:"
                        "service/c/s','targetServiceRevisionArn':'arn:aws:ecs:");
    world_effect(world, "'hookDetails':{'colour':'green'}");
    world_forget(world);
    pass(world, 29999);
    world_no_effect(world, "HOOK");
    pass(world, 1); // it may have been lost
    world_effect(world, "HOOK");
    world_forget(world);
    harness_restart(&world->harness); // forgets calls under way
    pass(world, 0);
    world_effect(world, "HOOK");
    world_forget(world);
    answer(world, service,
           "'answer':{'hookStatus':'IN_PROGRESS','callBackDelay':90,'hookDetails':[7]}");
    pass(world, 89999);
    world_no_effect(world, "HOOK");
    pass(world, 1);
    world_effect(world, "'hookDetails':[7]");
    rollout_has(world, service,
                "'targetType':'AWS_LAMBDA','targetArn':'" URL "','status':'IN_PROGRESS'}");
    answer(world, service, "'answer':{'hookStatus':'SUCCEEDED'}");
    in_stage(world, service, "IN_PROGRESS CLEAN_UP test 100 production 100");
    rollout_has(world, service, "'status':'SUCCEEDED'}");
}

static void what_is_no_success_rolls_back(void **state)
{
    struct world *world = *state;
    static const struct {
        const char *answer;
        const char *want;
    } cases[] = {
        {"'answer':{'hookStatus':'FAILED'}", "failed: It answered FAILED."},
        {"'answer':{'hookStatus':'YES'}", "failed: It answered without a hookStatus of SUCCEEDED,"},
        {"'answer':{}", "failed: It answered without a hookStatus of SUCCEEDED,"},
        {"'failure':'no route'", "failed: no route"},
    };
    int64_t service = begun(world, CALLED("'PRODUCTION_TRAFFIC_SHIFT'"));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].answer);
        deploy(world);
        heal(world, service);
        in_stage(world, service, "IN_PROGRESS PRODUCTION_TRAFFIC_SHIFT test 100 production 100");
        answer(world, service, cases[i].answer);
        // The hook is told of the shift back, but has no say in it.
        in_stage(world, service,
                 "ROLLBACK_IN_PROGRESS PRODUCTION_TRAFFIC_SHIFT test 100 production 0");
        world_forget(world);
        answer(world, service, "'answer':{'hookStatus':'FAILED'}");
        in_stage(world, service, "ROLLBACK_IN_PROGRESS CLEAN_UP test 0 production 0");
        rollout_has(world, service, cases[i].want);
        svc_told(world, "s", "deployment failed: a lifecycle hook failed.");
        svc_stop(world, service);
        in_stage(world, service, "ROLLBACK_SUCCESSFUL CLEAN_UP test 0 production 0");
        svc_stands(world, service, "hh");
    }
}

// A hook is called in each of its stages, those of production in each step.
static void hooks_are_called_in_order(void **state)
{
    struct world *world = *state;
    int64_t service =
        begun(world, "'deploymentConfiguration':{'strategy':'LINEAR','linearConfiguration':{"
                     "'stepPercent':50,'stepBakeTimeInMinutes':0},'lifecycleHooks':[{"
                     "'hookTargetArn':'" URL "','lifecycleStages':['RECONCILE_SERVICE',"
                     "'PRE_SCALE_UP','POST_SCALE_UP','TEST_TRAFFIC_SHIFT',"
                     "'POST_TEST_TRAFFIC_SHIFT','PRE_PRODUCTION_TRAFFIC_SHIFT',"
                     "'PRODUCTION_TRAFFIC_SHIFT','POST_PRODUCTION_TRAFFIC_SHIFT']}]}");
    static const char *const want[] = {
        "PRE_SCALE_UP test 0 production 0",
        "POST_SCALE_UP test 0 production 0",
        "TEST_TRAFFIC_SHIFT test 100 production 0",
        "POST_TEST_TRAFFIC_SHIFT test 100 production 0",
        "PRE_PRODUCTION_TRAFFIC_SHIFT test 100 production 0",
        "PRODUCTION_TRAFFIC_SHIFT test 100 production 50",
        "PRE_PRODUCTION_TRAFFIC_SHIFT test 100 production 50",
        "PRODUCTION_TRAFFIC_SHIFT test 100 production 100",
        "POST_PRODUCTION_TRAFFIC_SHIFT test 100 production 100",
    };
    deploy(world);
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        in_stage(world, service, world_text("IN_PROGRESS %s", want[i]));
        answer(world, service, "'answer':{'hookStatus':'SUCCEEDED'}");
        heal(world, service);
    }
    in_stage(world, service, "IN_PROGRESS CLEAN_UP test 100 production 100");
}

static void a_hook_has_a_day(void **state)
{
    struct world *world = *state;
    int64_t service = begun(world, CALLED("'PRE_SCALE_UP'"));
    deploy(world);
    pass(world, DAY_MS - 1);
    in_stage(world, service, "IN_PROGRESS PRE_SCALE_UP test 0 production 0");
    pass(world, 1);
    rollout_has(world, service, "failed: It did not end within 24 hours.");
    svc_stands(world, service, "hh");
}

// ---- hooks that are tasks -------------------------------------------------------------------

static void a_task_is_a_hook(void **state)
{
    struct world *world = *state;
    int64_t service =
        begun(world, "'deploymentConfiguration':{'strategy':'BLUE_GREEN','lifecycleHooks':[{"
                     "'hookTargetArn':'arn:aws:ecs:eu-west-1:123456789012:task-definition/bare:1',"
                     "'lifecycleStages':['PRE_SCALE_UP']}]}");
    for (int exit_code = 0; exit_code < 2; exit_code++) {
        world_forget(world);
        deploy(world);
        in_stage(world, service, "IN_PROGRESS PRE_SCALE_UP test 0 production 0");
        const struct service_record_rollout *rollout = rollout_of(world, service);
        int64_t task = rollout->hooks.items[0].task;
        assert_true(task != 0);
        world_effect(world,
                     "{'name':'ECS_LIFECYCLE_HOOK','value':'{\\'executionId\\':\\'ecs-hook-");
        svc_report(world, task, "RUNNING",
                   ",'containers':[{'containerName':'app','status':'RUNNING','runtimeId':"
                   "'r1'}]");
        in_stage(world, service, "IN_PROGRESS PRE_SCALE_UP test 0 production 0");
        svc_report(world, task, "STOPPED",
                   world_text(",'containers':[{'containerName':'app','status':'STOPPED',"
                              "'exitCode':%d}]",
                              exit_code));
        if (exit_code == 0) {
            in_stage(world, service, "IN_PROGRESS SCALE_UP test 0 production 0");
            svc_settle(world, service);
        } else {
            in_stage(world, service, "ROLLBACK_SUCCESSFUL CLEAN_UP test 0 production 0");
            rollout_has(world, service, "container app exited with 1.");
        }
        svc_stands(world, service, "hh");
    }
}

// A rollback ends the task of a hook that is no longer awaited.
static void a_stop_ends_the_hooks_task(void **state)
{
    struct world *world = *state;
    int64_t service =
        begun(world, "'deploymentConfiguration':{'strategy':'BLUE_GREEN','lifecycleHooks':[{"
                     "'hookTargetArn':'arn:aws:ecs:eu-west-1:123456789012:task-definition/bare:1',"
                     "'lifecycleStages':['PRE_SCALE_UP']}]}");
    deploy(world);
    int64_t task = rollout_of(world, service)->hooks.items[0].task;
    stop_rollout(world, service);
    svc_task_has(world, task, "'desiredStatus':'STOPPED'");
    svc_task_has(world, task, "The lifecycle hook is no longer awaited.");
    in_stage(world, service, "ROLLBACK_SUCCESSFUL CLEAN_UP test 0 production 0");
}

// What is deleted awaits nothing any more.
static void a_deleted_service_ends_its_rollout(void **state)
{
    struct world *world = *state;
    int64_t service =
        begun(world, "'deploymentConfiguration':{'strategy':'BLUE_GREEN','lifecycleHooks':[{"
                     "'hookTargetArn':'arn:aws:ecs:eu-west-1:123456789012:task-definition/bare:1',"
                     "'lifecycleStages':['PRE_SCALE_UP']}]}");
    deploy(world);
    int64_t task = rollout_of(world, service)->hooks.items[0].task;
    harness_contains(&world->harness, "DeleteService", "{'cluster':'c','service':'s','force':true}",
                     "'status':'DRAINING'");
    pass(world, 0);
    svc_task_has(world, task, "'desiredStatus':'STOPPED'");
    rollout_has(world, service, "'status':'STOPPED','statusReason':'The service was deleted.'");
    svc_stop(world, service);
    svc_settle(world, service);
    svc_has(world, "s", "'status':'INACTIVE'");
}

// A hook's task that finds no place is tried again until it does.
static void a_hooks_task_waits_for_a_place(void **state)
{
    struct world *world = *state;
    harness_contains(
        &world->harness, "RegisterTaskDefinition",
        "{'family':'huge','networkMode':'awsvpc','requiresCompatibilities':['FARGATE'],"
        "'cpu':'16384','memory':'122880','containerDefinitions':[{'name':'app',"
        "'image':'app:1','essential':true}]}",
        "huge:1");
    int64_t service =
        begun(world, "'deploymentConfiguration':{'strategy':'BLUE_GREEN','lifecycleHooks':[{"
                     "'hookTargetArn':'arn:aws:ecs:eu-west-1:123456789012:task-definition/huge:1',"
                     "'lifecycleStages':['PRE_SCALE_UP']}]}");
    // A task of the first subnet's zone fills its node but for a little.
    world_run(world, 0, "'overrides':{'cpu':'16384','memory':'122880'},");
    deploy(world);
    assert_true(rollout_of(world, service)->hooks.items[0].task == 0);
    svc_told(world, "s", "was unable to place the task of lifecycle hook ecs-hook-");
    world_pool_node(world, "eu-west-1a", 65536, 131072);
    pass(world, 5000);
    assert_true(rollout_of(world, service)->hooks.items[0].task != 0);
    in_stage(world, service, "IN_PROGRESS PRE_SCALE_UP test 0 production 0");
}

// ---- restart and refusals -------------------------------------------------------------------

static void a_restart_goes_on(void **state)
{
    struct world *world = *state;
    int64_t service =
        begun(world, "'deploymentConfiguration':{'strategy':'CANARY','bakeTimeInMinutes':5}");
    deploy(world);
    harness_restart(&world->harness);
    pass(world, 0);
    in_stage(world, service, "IN_PROGRESS SCALE_UP test 0 production 0");
    svc_stands(world, service, ".. | hh");
    for (size_t i = 0; i < world->node_count; i++) {
        world_connect(world, i);
    }
    heal(world, service);
    in_stage(world, service, "IN_PROGRESS PRODUCTION_TRAFFIC_SHIFT test 100 production 5");
    harness_restart(&world->harness);
    pass(world, 0);
    in_stage(world, service, "IN_PROGRESS PRODUCTION_TRAFFIC_SHIFT test 100 production 5");
    for (size_t i = 0; i < world->node_count; i++) {
        world_connect(world, i);
    }
    svc_pass(world, 10 * MINUTE_MS, WORLD_NODES);
    in_stage(world, service, "IN_PROGRESS BAKE_TIME test 100 production 100");
}

// Green has all traffic when it cleans up. Tasks that it loses then are started again although
// blue's fill the service's bounds, which would otherwise keep both from moving for ever.
static void green_is_kept_while_blue_waits(void **state)
{
    struct world *world = *state;
    int64_t service =
        begun(world, "'deploymentConfiguration':{'strategy':'BLUE_GREEN','bakeTimeInMinutes':5,"
                     "'minimumHealthyPercent':100,'maximumPercent':100}");
    deploy(world);
    heal(world, service);
    in_stage(world, service, "IN_PROGRESS BAKE_TIME test 100 production 100");
    fail_green(world, service);
    svc_stands(world, service, ".. | hh");
    pass(world, 5 * MINUTE_MS);
    in_stage(world, service, "IN_PROGRESS CLEAN_UP test 100 production 100");
    fail_green(world, service);
    pass(world, MINUTE_MS);
    svc_stands(world, service, ".. | hh");
    heal(world, service);
    svc_stands(world, service, "hh | xx");
    svc_stop(world, service);
    in_stage(world, service, "SUCCESSFUL CLEAN_UP test 100 production 100");
}

// A server that comes back with its clock set back by an hour bakes for the time that was asked
// for, and not for an hour more.
static void a_clock_set_back_prolongs_no_stage(void **state)
{
    struct world *world = *state;
    int64_t service =
        begun(world, "'deploymentConfiguration':{'strategy':'BLUE_GREEN','bakeTimeInMinutes':5,"
                     "'lifecycleHooks':[{'targetType':'PAUSE','lifecycleStages':['PRE_SCALE_UP'],"
                     "'timeoutConfiguration':{'timeoutInMinutes':3,'action':'CONTINUE'}}]}");
    deploy(world);
    set_back(world, 60 * MINUTE_MS);
    in_stage(world, service, "IN_PROGRESS PRE_SCALE_UP test 0 production 0");
    svc_pass(world, 3 * MINUTE_MS, WORLD_NODES);
    in_stage(world, service, "IN_PROGRESS SCALE_UP test 0 production 0");
    heal(world, service);
    in_stage(world, service, "IN_PROGRESS BAKE_TIME test 100 production 100");
    set_back(world, 60 * MINUTE_MS);
    in_stage(world, service, "IN_PROGRESS BAKE_TIME test 100 production 100");
    svc_pass(world, 5 * MINUTE_MS, WORLD_NODES);
    in_stage(world, service, "IN_PROGRESS CLEAN_UP test 100 production 100");
}

static void refusals(void **state)
{
    struct world *world = *state;
    static const struct {
        const char *configuration;
        const char *want;
    } cases[] = {
        {"'strategy':'ROLLING','lifecycleHooks':[{'targetType':'PAUSE','lifecycleStages':["
         "'PRE_SCALE_UP']}]",
         "InvalidParameterException: lifecycleHooks are only valid with the BLUE_GREEN, LINEAR and "
         "CANARY deployment strategies."},
        {"'strategy':'BLUE_GREEN','lifecycleHooks':[{'targetType':'PAUSE','lifecycleStages':[]}]",
         "InvalidParameterException: lifecycleStages can not be empty."},
        {"'strategy':'BLUE_GREEN','lifecycleHooks':[{'targetType':'PAUSE','lifecycleStages':["
         "'TEST_TRAFFIC_SHIFT']}]",
         "InvalidParameterException: A lifecycle hook with the target type PAUSE is not valid for "
         "the stage TEST_TRAFFIC_SHIFT."},
        {"'strategy':'BLUE_GREEN','lifecycleHooks':[{'targetType':'PAUSE','hookTargetArn':'" URL
         "','lifecycleStages':['PRE_SCALE_UP']}]",
         "InvalidParameterException: hookTargetArn is not valid for a lifecycle hook with the "
         "target type PAUSE."},
        {"'strategy':'BLUE_GREEN','lifecycleHooks':[{'hookTargetArn':'" URL
         "','lifecycleStages':['PRE_SCALE_UP'],'timeoutConfiguration':{'timeoutInMinutes':1}}]",
         "InvalidParameterException: timeoutConfiguration is only valid for a lifecycle hook with "
         "the target type PAUSE."},
        {"'strategy':'BLUE_GREEN','lifecycleHooks':[{'hookTargetArn':'arn:aws:lambda:eu-west-1:"
         "123456789012:function:f','lifecycleStages':['PRE_SCALE_UP']}]",
         "UnsupportedFeatureException: The lifecycle hook arn:aws:lambda:eu-west-1:123456789012:"
         "function:f is a Lambda function, and there is no Lambda here. Specify an http:// or "
         "https:// URL or the ARN of a task definition and try again."},
        {"'strategy':'BLUE_GREEN','lifecycleHooks':[{'hookTargetArn':'f','lifecycleStages':["
         "'PRE_SCALE_UP']}]",
         "InvalidParameterException: hookTargetArn must be the ARN of a Lambda function or of a "
         "task definition, or an http:// or https:// URL."},
        {"'strategy':'BLUE_GREEN','lifecycleHooks':[{'lifecycleStages':['PRE_SCALE_UP']}]",
         "InvalidParameterException: hookTargetArn must be the ARN of a Lambda function or of a "
         "task definition, or an http:// or https:// URL."},
        {"'strategy':'BLUE_GREEN','lifecycleHooks':[{'hookTargetArn':'arn:aws:ecs:eu-west-1:"
         "123456789012:task-definition/none:1','lifecycleStages':['PRE_SCALE_UP']}]",
         "ClientException: TaskDefinition not found."},
        {"'strategy':'LINEAR','linearConfiguration':{'stepPercent':2.9}",
         "InvalidParameterException: stepPercent must be between 3.0 and 100.0, in steps of 0.1."},
        {"'strategy':'CANARY','canaryConfiguration':{'canaryPercent':0.15}",
         "InvalidParameterException: canaryPercent must be between 0.1 and 100.0, in steps of "
         "0.1."},
    };
    svc_create(world, "s", "web", 1, "");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        harness_expect(&world->harness, "UpdateService",
                       world_text("{'cluster':'c','service':'s','deploymentConfiguration':{%s}}",
                                  cases[i].configuration),
                       cases[i].want);
    }
    harness_expect(&world->harness, "ContinueServiceDeployment",
                   "{'serviceDeploymentArn':'arn:aws:ecs:eu-west-1:123456789012:service-deployment/"
                   "c/s/none','hookId':'x'}",
                   "ServiceDeploymentNotFoundException: Service deployment not found.");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, svc_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(blue_green_goes_by_stages),
        TEST(both_sides_are_kept),
        TEST(linear_takes_equal_steps),
        TEST(canary_takes_a_slice_then_the_rest),
        TEST(the_first_deployment_shares_with_nobody),
        TEST(several_revisions_are_reconciled),
        TEST(a_stop_rolls_back_in_every_stage),
        TEST(a_stop_while_cleaning_up_brings_blue_back_first),
        TEST(the_breaker_trips_while_green_scales_up),
        TEST(without_rollback_blue_goes_on),
        TEST(a_stage_has_a_day),
        TEST(a_deployment_has_thirty_days),
        TEST(a_pause_is_continued_or_rolled_back),
        TEST(a_pause_times_out_with_its_action),
        TEST(an_endpoint_is_asked_until_it_answers),
        TEST(what_is_no_success_rolls_back),
        TEST(hooks_are_called_in_order),
        TEST(a_hook_has_a_day),
        TEST(a_task_is_a_hook),
        TEST(a_stop_ends_the_hooks_task),
        TEST(a_deleted_service_ends_its_rollout),
        TEST(a_hooks_task_waits_for_a_place),
        TEST(a_restart_goes_on),
        TEST(green_is_kept_while_blue_waits),
        TEST(a_clock_set_back_prolongs_no_stage),
        TEST(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
