// Unit tests of what `berth deploy`, `berth plan` and `berth diagnose SERVICE` conclude and print.

#include "base/text.h"
#include "cli/cause.h"
#include "cli/change.h"
#include "cli/diagnose_service.h"
#include "cli/plan.h"
#include "cli/watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static void shows(const struct buf *written, const char *want)
{
    assert_string_equal(written->data == NULL ? "" : written->data, want);
}

// ---- the root cause -----------------------------------------------------------------------

#define EXITED(code)                                                                               \
    {                                                                                              \
        .name = TEXT("app"), .has_exit_code = true, .exit_code = (code)                            \
    }

static void only_what_failed_counts(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct ecs_task task;
        bool want;
    } cases[] = {
        {"did not start", {.stop_code = ECS_TASK_STOP_CODE_TASK_FAILED_TO_START}, true},
        {"ended by itself", {.stop_code = ECS_TASK_STOP_CODE_ESSENTIAL_CONTAINER_EXITED}, true},
        {"stopped by somebody", {.stop_code = ECS_TASK_STOP_CODE_USER_INITIATED}, false},
        {"its host was reclaimed", {.stop_code = ECS_TASK_STOP_CODE_SPOT_INTERRUPTION}, false},
        {"stopped for its health",
         {.stop_code = ECS_TASK_STOP_CODE_SERVICE_SCHEDULER_INITIATED,
          .stopped_reason = TEXT("Task failed container health checks")},
         true},
        {"replaced by a deployment",
         {.stop_code = ECS_TASK_STOP_CODE_SERVICE_SCHEDULER_INITIATED,
          .stopped_reason = TEXT("Scaling activity initiated by (deployment ecs-svc/1)")},
         false},
        {"runs and is ill",
         {.desired_status = TEXT("RUNNING"), .health_status = ECS_HEALTH_STATUS_UNHEALTHY},
         true},
        {"runs", {.desired_status = TEXT("RUNNING")}, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        assert_int_equal(cause_failed(&cases[i].task), cases[i].want);
    }
}

// A container that says why comes before one that only ended, and that before one that ended well;
// of a task that is ill, the one that is.
static void a_container_is_to_blame(void **state)
{
    (void)state;
    struct ecs_container containers[] = {
        {.name = TEXT("side"), .has_exit_code = true},
        {.name = TEXT("app"), .has_exit_code = true, .exit_code = 3},
        {.name = TEXT("web"), .reason = TEXT("CannotPullContainerError: no")},
        {.name = TEXT("sick"), .health_status = ECS_HEALTH_STATUS_UNHEALTHY},
    };
    struct ecs_task task = {.stop_code = ECS_TASK_STOP_CODE_TASK_FAILED_TO_START,
                            .containers = {containers, 0}};
    assert_null(cause_container(&task));
    static const char *const blamed[] = {"side", "app", "web", "web"};
    for (size_t i = 0; i < ARRAY_LEN(blamed); i++) {
        task.containers.count = i + 1;
        assert_true(text_is(cause_container(&task)->name, blamed[i]));
    }
    task.stop_code = ECS_TASK_STOP_CODE_SERVICE_SCHEDULER_INITIATED;
    assert_true(text_is(cause_container(&task)->name, "sick"));
}

static void what_failed_most_comes_first(void **state)
{
    (void)state;
    struct ecs_container three[] = {EXITED(3)};
    struct ecs_container four[] = {EXITED(4)};
    struct ecs_container pull[] = {
        {.name = TEXT("app"), .reason = TEXT("CannotPullContainerError: one thing")}};
    struct ecs_container pull_again[] = {
        {.name = TEXT("app"), .reason = TEXT("CannotPullContainerError: another")}};
    const enum ecs_task_stop_code exit = ECS_TASK_STOP_CODE_ESSENTIAL_CONTAINER_EXITED;
    const enum ecs_task_stop_code start = ECS_TASK_STOP_CODE_TASK_FAILED_TO_START;
    struct ecs_task tasks[] = {
        {.created_at = 5, .stop_code = exit, .containers = {four, 1}},
        {.created_at = 9, .stop_code = exit, .containers = {three, 1}},
        {.created_at = 8, .stop_code = start, .containers = {pull, 1}},
        {.created_at = 7, .stop_code = start, .containers = {pull_again, 1}},
        {.created_at = 1, .stop_code = exit, .containers = {three, 1}}, // before the deployment
        {.created_at = 6, .stop_code = ECS_TASK_STOP_CODE_USER_INITIATED},
    };
    const struct ecs_task_list list = {tasks, ARRAY_LEN(tasks)};
    struct cause_group groups[4];
    assert_int_equal(cause_group(&list, 2, groups, 4), 3);
    assert_int_equal(groups[0].times, 2);
    assert_ptr_equal(groups[0].newest, &tasks[2]);
    assert_ptr_equal(groups[1].newest, &tasks[1]); // as often, and newer
    assert_ptr_equal(groups[2].newest, &tasks[0]);
    assert_int_equal(cause_group(&list, 2, groups, 1), 1);
}

static void the_server_is_not_repeated(void **state)
{
    (void)state;
    const struct report_cause cause = {.stopped_reason = TEXT("Essential container exited")};
    assert_true(cause_adds(&cause, TEXT("A rollback was requested.")));
    assert_false(cause_adds(&cause, TEXT("3 failed; last: Essential container exited: app")));
    assert_false(cause_adds(&cause, (struct text){0}));
    assert_true(cause_adds(NULL, TEXT("Essential container exited")));
}

static void last_lines_are_cut_out(void **state)
{
    (void)state;
    static const struct {
        const char *data;
        bool first;
        size_t count;
        const char *one;
    } cases[] = {
        {"", true, 0, NULL},
        {"only\n", true, 1, "only"},
        {"no end", true, 1, "no end"},
        {"half a line\nwhole\r\n\n", false, 1, "whole"},
        {"\033[2Jwiped\a\n", true, 1, "?[2Jwiped?"},
        {"\xff\n", true, 1, "?"},
        {"1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n", true, LOOK_LOG_LINES, "3"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(arena_deinit) struct arena arena = {0};
        struct text_list lines = look_last_lines(text_of(cases[i].data), cases[i].first, &arena);
        assert_int_equal(lines.count, cases[i].count);
        if (cases[i].one != NULL) {
            assert_true(text_is(lines.items[0], cases[i].one));
        }
    }
}

// ---- watching -----------------------------------------------------------------------------

static void deployments_are_judged(void **state)
{
    (void)state;
    static const struct {
        enum ecs_service_deployment_status status;
        const char *current;
        enum report_outcome want;
    } cases[] = {
        {ECS_SERVICE_DEPLOYMENT_STATUS_PENDING, "a", REPORT_OUTCOME_ABSENT},
        {ECS_SERVICE_DEPLOYMENT_STATUS_IN_PROGRESS, "a", REPORT_OUTCOME_ABSENT},
        {ECS_SERVICE_DEPLOYMENT_STATUS_STOP_REQUESTED, "a", REPORT_OUTCOME_ABSENT},
        {ECS_SERVICE_DEPLOYMENT_STATUS_ROLLBACK_IN_PROGRESS, "a", REPORT_OUTCOME_ABSENT},
        {ECS_SERVICE_DEPLOYMENT_STATUS_SUCCESSFUL, "a", REPORT_OUTCOME_COMPLETED},
        {ECS_SERVICE_DEPLOYMENT_STATUS_STOPPED, "a", REPORT_OUTCOME_FAILED},
        {ECS_SERVICE_DEPLOYMENT_STATUS_STOPPED, "b", REPORT_OUTCOME_SUPERSEDED},
        {ECS_SERVICE_DEPLOYMENT_STATUS_ROLLBACK_SUCCESSFUL, "a", REPORT_OUTCOME_ROLLED_BACK},
        {ECS_SERVICE_DEPLOYMENT_STATUS_ROLLBACK_FAILED, "a", REPORT_OUTCOME_ROLLBACK_FAILED},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct ecs_service service = {.current_service_deployment =
                                                text_of(cases[i].current)};
        const struct ecs_service_deployment rollout = {.status = cases[i].status};
        assert_int_equal(watch_judge(&service, &rollout, TEXT("a")), cases[i].want);
    }
    // A count alone: as many as desired, and nothing of an older deployment.
    struct ecs_deployment deployments[2] = {{.id = TEXT("ecs-svc/1")}, {.id = TEXT("ecs-svc/2")}};
    struct ecs_service service = {
        .desired_count = 2, .running_count = 2, .deployments = {deployments, 1}};
    const struct text none = {0};
    assert_int_equal(watch_judge(&service, NULL, none), REPORT_OUTCOME_COMPLETED);
    service.pending_count = 1;
    assert_int_equal(watch_judge(&service, NULL, none), REPORT_OUTCOME_ABSENT);
    service.pending_count = 0;
    service.deployments.count = 2;
    assert_int_equal(watch_judge(&service, NULL, none), REPORT_OUTCOME_ABSENT);
    deployments[0].rollout_state = ECS_DEPLOYMENT_ROLLOUT_STATE_FAILED;
    assert_int_equal(watch_judge(&service, NULL, none), REPORT_OUTCOME_FAILED);
}

static struct report_standing standing(const char *id, bool checked)
{
    return (struct report_standing){
        .deployment_id = text_of(id),
        .status = TEXT("PRIMARY"),
        .task_definition_arn = TEXT("arn:aws:ecs:r:1:task-definition/web:2"),
        .rollout_state = ECS_DEPLOYMENT_ROLLOUT_STATE_IN_PROGRESS,
        .desired_count = 10,
        .pending_count = 2,
        .running_count = 8,
        .has_healthy_count = checked,
        .healthy_count = 7,
        .failed_tasks = 1,
        .seconds = 4.25,
    };
}

static void standings_are_written(void **state)
{
    (void)state;
    struct report_standing items[] = {standing("ecs-svc/1", true), standing("ecs-svc/22", false)};
    const struct report_standing_list list = {items, ARRAY_LEN(items)};
    AUTO(buf_deinit) struct buf table = {0};
    watch_write_table(&list, &table);
    shows(&table,
          "DEPLOYMENT  STATUS   DEFINITION  STATE        DESIRED  PENDING  RUNNING  HEALTHY  "
          "FAILED  SECONDS\n"
          "ecs-svc/1   PRIMARY  web:2       IN_PROGRESS  10       2        8        7        1     "
          "  4.2\n"
          "ecs-svc/22  PRIMARY  web:2       IN_PROGRESS  10       2        8        -        1     "
          "  4.2\n");
    AUTO(buf_deinit) struct buf lines = {0};
    watch_write_lines(&list, &lines);
    shows(&lines, "ecs-svc/1 PRIMARY web:2 IN_PROGRESS: desired 10, pending 2, running 8, healthy "
                  "7, failed 1\n"
                  "ecs-svc/22 PRIMARY web:2 IN_PROGRESS: desired 10, pending 2, running 8, failed "
                  "1\n");
    // Characters count, not bytes; what is cut is whole ones.
    AUTO(buf_deinit) struct buf cut = {0};
    assert_int_equal(
        watch_write_cut(TEXT("abcdef\n\xe2\x86\x92\xe2\x86\x92\xe2\x86\x92x\n"), 2, &cut), 2);
    shows(&cut, "ab\n\xe2\x86\x92\xe2\x86\x92\n");
}

// ---- plans --------------------------------------------------------------------------------

static void tasks_start_and_stop_in_order(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int32_t minimum;
        int32_t maximum;
        int32_t there;
        int32_t desired;
        bool deploys;
        struct plan_order want;
        const char *text;
    } cases[] = {
        {"half as many more",
         50,
         150,
         4,
         4,
         true,
         {.lower = 2, .upper = 6, .starts = 2, .stops = 4},
         "Starts up to 2 at first (at most 6 in all), and stops an old one whenever a new one is "
         "healthy: never fewer than 2 healthy."},
        {"the bounds are rounded",
         50,
         150,
         3,
         3,
         true,
         {.lower = 2, .upper = 4, .starts = 1, .stops = 3},
         NULL},
        {"no room beside",
         50,
         100,
         4,
         4,
         true,
         {.lower = 2, .upper = 4, .starts = 0, .stops = 4, .blocked = true},
         "Stops old ones first, since there may be 4 tasks at most: never fewer than 2 healthy. "
         "Then starts new ones in their place."},
        {"nothing was there",
         100,
         200,
         0,
         3,
         true,
         {.lower = 3, .upper = 6, .starts = 3, .stops = 0},
         "Starts 3 and stops none."},
        {"more of the same",
         100,
         200,
         2,
         5,
         false,
         {.lower = 5, .upper = 10, .starts = 3, .stops = 0},
         "Starts 3 and stops none."},
        {"fewer of the same",
         100,
         200,
         5,
         2,
         false,
         {.lower = 2, .upper = 4, .starts = 0, .stops = 3},
         "Stops 3 and starts none."},
        {"down to none",
         100,
         200,
         2,
         0,
         true,
         {.lower = 0, .upper = 0, .starts = 0, .stops = 2},
         NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        AUTO(arena_deinit) struct arena arena = {0};
        struct ecs_deployment_configuration configuration = {
            .has_minimum_healthy_percent = true,
            .minimum_healthy_percent = cases[i].minimum,
            .has_maximum_percent = true,
            .maximum_percent = cases[i].maximum,
        };
        const struct ecs_service service = {.running_count = cases[i].there,
                                            .deployment_configuration = &configuration};
        struct plan_order order = plan_order(&service, cases[i].desired, cases[i].deploys, &arena);
        assert_int_equal(order.lower, cases[i].want.lower);
        assert_int_equal(order.upper, cases[i].want.upper);
        assert_int_equal(order.starts, cases[i].want.starts);
        assert_int_equal(order.stops, cases[i].want.stops);
        assert_int_equal(order.blocked, cases[i].want.blocked);
        if (cases[i].text != NULL) {
            assert_string_equal(order.text.data, cases[i].text);
        }
    }
}

static void all_start_beside_the_old_ones(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    struct ecs_deployment_configuration configuration = {.strategy =
                                                             ECS_DEPLOYMENT_STRATEGY_BLUE_GREEN};
    const struct ecs_service service = {.running_count = 4,
                                        .deployment_configuration = &configuration};
    struct plan_order order = plan_order(&service, 5, true, &arena);
    assert_int_equal(order.starts, 5);
    assert_int_equal(order.upper, 9);
    assert_int_equal(order.stops, 4);
}

static void changes_are_written(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    struct ecs_key_value_pair variables[] = {{.name = TEXT("A"), .value = TEXT("1")}};
    struct ecs_container_definition old[] = {{.name = TEXT("app"), .image = TEXT("a:1")}};
    struct ecs_container_definition new[] = {
        {.name = TEXT("app"), .image = TEXT("a:2"), .environment = {variables, 1}}};
    const struct ecs_task_definition before = {.task_definition_arn = TEXT("web:1"),
                                               .has_revision = true,
                                               .revision = 1,
                                               .task_role_arn = TEXT("r"),
                                               .container_definitions = {old, 1}};
    const struct ecs_task_definition after = {.task_definition_arn = TEXT("web:2"),
                                              .has_revision = true,
                                              .revision = 2,
                                              .container_definitions = {new, 1}};
    struct report_change_list changes = plan_definition_changes(&before, &after, &arena);
    AUTO(buf_deinit) struct buf lines = {0};
    plan_write_changes(&changes, &lines);
    shows(&lines, "  - taskRoleArn: \"r\"\n"
                  "  ~ containerDefinitions[app].image: \"a:1\" \xe2\x86\x92 \"a:2\"\n"
                  "  + containerDefinitions[app].environment: \"***\"\n");
    assert_int_equal(plan_definition_changes(&before, &before, &arena).count, 0);

    // What would fill the screen is cut, between characters.
    char long_text[602];
    for (size_t i = 0; i < 600; i += 3) {
        memcpy(&long_text[i], "\xe2\x86\x92", 3);
    }
    struct report_change change = {.path = TEXT("p"), .after = {long_text, 600}};
    const struct report_change_list one = {&change, 1};
    buf_reset(&lines);
    plan_write_changes(&one, &lines);
    assert_int_equal(lines.size, strlen("  + p: ") + 300 + strlen("...\n"));
    assert_true(text_is_utf8(buf_view(&lines)));
}

// ---- small things -------------------------------------------------------------------------

static void durations_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t want; // 0: refused
    } cases[] = {{"90s", 90000}, {"10m", 600000}, {"2h", 7200000}, {"7", 7000}, {"", 0},
                 {"m", 0},       {"0s", 0},       {"-1m", 0},      {"5d", 0},   {"1000001s", 0}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("'%s'\n", cases[i].text);
        int64_t ms = 0;
        int rc = change_duration(text_of(cases[i].text), &ms);
        assert_int_equal(rc == 0, cases[i].want != 0);
        assert_int_equal(ms, cases[i].want);
    }
}

static void images_are_replaced(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    struct ecs_container_definition containers[] = {{.name = TEXT("app"), .image = TEXT("a:1")},
                                                    {.name = TEXT("side"), .image = TEXT("s")}};
    const struct ecs_task_definition definition = {.family = TEXT("web"),
                                                   .container_definitions = {containers, 2}};
    struct ecs_register_task_definition_request *request = change_as_request(&definition, &arena);
    struct change_options options = {.images = {{TEXT("app"), TEXT("a:1")}}, .image_count = 1};
    bool changed = false;
    struct err err;
    assert_int_equal(change_images(request, &options, &changed, &err), 0);
    assert_false(changed);
    options.images[0].image = TEXT("a:2");
    assert_int_equal(change_images(request, &options, &changed, &err), 0);
    assert_true(changed);
    assert_true(text_is(request->container_definitions.items[0].image, "a:2"));
    assert_true(text_is(containers[0].image, "a:1"));
    options.images[0].container = TEXT("none");
    assert_int_equal(change_images(request, &options, &changed, &err), ERR_NOT_FOUND);
}

static void an_argument_names_a_task_or_a_service(void **state)
{
    (void)state;
    assert_true(diagnose_names_task(TEXT("0123456789abcdef0123456789abcdef")));
    assert_true(diagnose_names_task(TEXT("arn:aws:ecs:r:1:task/c/0123")));
    assert_false(diagnose_names_task(TEXT("arn:aws:ecs:r:1:service/task/web")));
    assert_false(diagnose_names_task(TEXT("web")));
    assert_false(diagnose_names_task(TEXT("zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz")));
}

static void a_steady_service_is_known(void **state)
{
    (void)state;
    struct report_standing items[] = {standing("ecs-svc/1", true), standing("ecs-svc/2", true)};
    items[0].rollout_state = ECS_DEPLOYMENT_ROLLOUT_STATE_COMPLETED;
    items[0].running_count = items[0].healthy_count = 3;
    struct report_standing_list list = {items, 1};
    struct ecs_service service = {.status = TEXT("ACTIVE"), .desired_count = 3, .running_count = 3};
    assert_true(diagnose_service_steady(&service, &list));
    items[0].healthy_count = 2;
    assert_false(diagnose_service_steady(&service, &list));
    items[0].has_healthy_count = false;
    assert_true(diagnose_service_steady(&service, &list));
    service.pending_count = 1;
    assert_false(diagnose_service_steady(&service, &list));
    service.pending_count = 0;
    service.running_count = 4;
    assert_false(diagnose_service_steady(&service, &list));
    service.running_count = 3;
    list.count = 2;
    assert_false(diagnose_service_steady(&service, &list));
    list.count = 1;
    service.status = TEXT("DRAINING");
    assert_false(diagnose_service_steady(&service, &list));
}

// Of a DAEMON no instance has two tasks: the old one goes first, whatever the counts say.
static void a_daemon_stops_before_it_starts(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    struct ecs_deployment_configuration configuration = {
        .has_maximum_percent = true,
        .maximum_percent = 100,
        .has_minimum_healthy_percent = true,
        .minimum_healthy_percent = 50,
    };
    const struct ecs_service service = {
        .scheduling_strategy = ECS_SCHEDULING_STRATEGY_DAEMON,
        .deployment_configuration = &configuration,
        .running_count = 3, // a fourth instance is new
    };
    struct plan_order order = plan_order(&service, 4, true, &arena);
    assert_true(order.blocked);
    assert_int_equal(order.starts, 0);
    assert_int_equal(order.stops, 3);
    assert_string_equal(order.text.data,
                        "Stops the old task of an instance, then starts the new one there, on at "
                        "most 2 of 4 instances at a time: never fewer than 2 healthy.");
    configuration.minimum_healthy_percent = 100;
    order = plan_order(&service, 4, true, &arena);
    assert_string_equal(order.text.data, "Stops none and starts none: minimumHealthyPercent keeps "
                                         "all 4, and no instance ever has two.");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_failed_counts),
        cmocka_unit_test(a_container_is_to_blame),
        cmocka_unit_test(what_failed_most_comes_first),
        cmocka_unit_test(the_server_is_not_repeated),
        cmocka_unit_test(last_lines_are_cut_out),
        cmocka_unit_test(deployments_are_judged),
        cmocka_unit_test(standings_are_written),
        cmocka_unit_test(tasks_start_and_stop_in_order),
        cmocka_unit_test(all_start_beside_the_old_ones),
        cmocka_unit_test(a_daemon_stops_before_it_starts),
        cmocka_unit_test(changes_are_written),
        cmocka_unit_test(durations_are_read),
        cmocka_unit_test(images_are_replaced),
        cmocka_unit_test(an_argument_names_a_task_or_a_service),
        cmocka_unit_test(a_steady_service_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
