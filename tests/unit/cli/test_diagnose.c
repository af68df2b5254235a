// Unit tests of what `berth diagnose` prints and advises.

#include "cli/diagnose.h"

#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define REASON(word, about, wants, has, of)                                                        \
    {                                                                                              \
        .reason = TEXT(word), .detail = TEXT("Why."), .subject = TEXT(about),                      \
        .has_asked = (of) > 0, .asked = (wants), .free = (has), .total = (of)                      \
    }

static const struct diagnose_style style = {.now_ms = 1000000};

static void hosts_advise(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct berth_placement_reason reason;
        const char *want;
    } cases[] = {
        {"an agent", REASON("AGENT", "", 0, 0, 0), "berth node ls"},
        {"draining", REASON("INACTIVE", "", 0, 0, 0),
         "berth aws ecs update-container-instances-state --cluster c --status ACTIVE "
         "--container-instances 12ab"},
        {"an attribute", REASON("ATTRIBUTE", "rack", 0, 0, 0),
         "berth aws ecs list-attributes --cluster c --target-type container-instance "
         "--attribute-name rack"},
        {"an expression",
         REASON("MemberOf placement constraint unsatisfied.", "attribute:a == 1", 0, 0, 0),
         "berth aws ecs list-container-instances --cluster c --filter 'attribute:a == 1'"},
        {"room that is taken", REASON("RESOURCE:CPU", "", 100, 50, 200), "berth ps --cluster c"},
        {"room that never was", REASON("RESOURCE:CPU", "", 300, 50, 200), "berth node token"},
        {"a port", REASON("RESOURCE:PORTS", "8080/tcp", 0, 0, 0), "berth ps --cluster c"},
        {"a zone", REASON("LOCATION", "z", 0, 0, 0), "berth env"},
    };
    AUTO(arena_deinit) struct arena arena = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        struct berth_placement_reason reason = cases[i].reason;
        struct berth_placement_host host = {.name = TEXT("h"),
                                            .container_instance_arn =
                                                TEXT("arn:aws:ecs:r:1:container-instance/c/12ab"),
                                            .reasons = {.items = &reason, .count = 1}};
        struct berth_reason_count count = {.reason = reason.reason, .host_count = 1};
        const struct berth_placement_host_list hosts = {&host, 1};
        const struct berth_reason_count_list counts = {&count, 1};
        struct diagnose_next next =
            diagnose_next_of_hosts(&style, TEXT("c"), &counts, &hosts, &arena);
        assert_int_equal(next.count, 1);
        assert_string_equal(next.lines[0].data, cases[i].want);
    }
}

// The most frequent reason comes first, nothing is advised twice, and a quote never reaches a
// shell.
static void advice_is_short_and_safe(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    struct berth_placement_reason reasons[] = {
        REASON("RESOURCE:CPU", "", 100, 50, 200),
        REASON("RESOURCE:MEMORY", "", 100, 50, 200),
        REASON("MemberOf placement constraint unsatisfied.", "attribute:a == 'x'; reboot", 0, 0, 0),
        REASON("AGENT", "", 0, 0, 0),
    };
    struct berth_reason_count counts[ARRAY_LEN(reasons)];
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
        counts[i] =
            (struct berth_reason_count){.reason = reasons[i].reason, .host_count = (int32_t)i};
    }
    struct berth_placement_host host = {.name = TEXT("h"),
                                        .reasons = {.items = reasons, .count = ARRAY_LEN(reasons)}};
    const struct berth_placement_host_list hosts = {&host, 1};
    const struct berth_reason_count_list list = {counts, ARRAY_LEN(counts)};
    const struct diagnose_style elsewhere = {.data_dir = "/d"};
    struct diagnose_next next =
        diagnose_next_of_hosts(&elsewhere, TEXT("c"), &list, &hosts, &arena);
    assert_int_equal(next.count, 2);
    assert_string_equal(next.lines[0].data, "berth node ls --data /d");
    assert_string_equal(next.lines[1].data, "berth ps --data /d --cluster c");
}

static void expect_line(const struct diagnose_next *next, const char *want)
{
    for (size_t i = 0; i < next->count; i++) {
        if (text_is(next->lines[i], want)) {
            return;
        }
    }
    fail_msg("%s is not advised", want);
}

static void tasks_advise(void **state)
{
    (void)state;
    static const struct {
        enum berth_task_cause cause;
        const char *want; // NULL for nothing
    } cases[] = {
        {BERTH_TASK_CAUSE_RUNNING, NULL},
        {BERTH_TASK_CAUSE_STOPPED_BY_USER, NULL},
        {BERTH_TASK_CAUSE_AGENT_LOST, "berth node ls"},
        {BERTH_TASK_CAUSE_IMAGE_MISSING, "berth image load --name web:1 FILE"},
        {BERTH_TASK_CAUSE_CANNOT_PULL, "berth image ls"},
        {BERTH_TASK_CAUSE_COMMAND_MISSING,
         "berth aws ecs describe-task-definition --task-definition web:3 --query "
         "'taskDefinition.containerDefinitions[].[name,image,entryPoint,command]'"},
        {BERTH_TASK_CAUSE_PORT_TAKEN,
         "berth aws ecs describe-task-definition --task-definition web:3 --query "
         "'taskDefinition.containerDefinitions[].[name,portMappings]'"},
        {BERTH_TASK_CAUSE_OUT_OF_MEMORY,
         "berth aws ecs describe-task-definition --task-definition web:3 --query "
         "'taskDefinition.[memory,containerDefinitions[].[name,memory]]'"},
        {BERTH_TASK_CAUSE_CONTAINER_EXITED, "berth logs --cluster c 12ab app"},
        {BERTH_TASK_CAUSE_UNHEALTHY, "berth logs --cluster c 12ab app"},
        {BERTH_TASK_CAUSE_HOST_FAILED, "berth node ls"},
        {BERTH_TASK_CAUSE_SECRET_MISSING,
         "berth aws ecs describe-task-definition --task-definition web:3 --query "
         "'taskDefinition.containerDefinitions[].[name,secrets]'"},
        {BERTH_TASK_CAUSE_SECRET_MISSING,
         "berth aws secretsmanager list-secrets --include-planned-deletion --query "
         "'SecretList[].[ARN,DeletedDate]'"},
        {BERTH_TASK_CAUSE_SECRET_MISSING,
         "berth aws ssm describe-parameters --query 'Parameters[].[Name,Version]'"},
        {BERTH_TASK_CAUSE_ENVIRONMENT_FILE_MISSING,
         "berth aws ecs describe-task-definition --task-definition web:3 --query "
         "'taskDefinition.containerDefinitions[].[name,environmentFiles,secrets]'"},
        {BERTH_TASK_CAUSE_VOLUME_MISSING,
         "berth aws ecs describe-task-definition --task-definition web:3 --query "
         "'taskDefinition.[volumes,containerDefinitions[].[name,mountPoints]]'"},
        {BERTH_TASK_CAUSE_HOOK_FAILED, "berth logs --cluster c 12ab app"},
        {BERTH_TASK_CAUSE_UNSUPPORTED,
         "berth aws ecs describe-task-definition --task-definition web:3"},
    };
    AUTO(arena_deinit) struct arena arena = {0};
    struct ecs_task task = {
        .task_arn = TEXT("arn:aws:ecs:r:1:task/c/12ab"),
        .cluster_arn = TEXT("arn:aws:ecs:r:1:cluster/c"),
        .task_definition_arn = TEXT("arn:aws:ecs:r:1:task-definition/web:3"),
    };
    const struct berth_explain_task_response odd = {
        .task = &task, .cause = BERTH_TASK_CAUSE_IMAGE_MISSING, .image = TEXT("a;reboot")};
    assert_string_equal(diagnose_next_of_task(&style, &odd, &arena).lines[0].data,
                        "berth image load --name NAME FILE");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct berth_explain_task_response answer = {.task = &task,
                                                           .cause = cases[i].cause,
                                                           .container = TEXT("app"),
                                                           .image = TEXT("web:1")};
        struct diagnose_next next = diagnose_next_of_task(&style, &answer, &arena);
        if (cases[i].want == NULL) {
            assert_int_equal(next.count, 0);
        } else {
            expect_line(&next, cases[i].want);
        }
    }
}

// ---- whole pages --------------------------------------------------------------------------

static int saved_stdout;
static int pipes[2];

static void capture_begin(void)
{
    assert_int_equal(pipe(pipes), 0);
    fflush(stdout);
    saved_stdout = dup(STDOUT_FILENO);
    dup2(pipes[1], STDOUT_FILENO);
}

static void capture_end(char *out_text, size_t size_bytes)
{
    fflush(stdout);
    dup2(saved_stdout, STDOUT_FILENO);
    close(saved_stdout);
    close(pipes[1]);
    ssize_t size = read(pipes[0], out_text, size_bytes - 1);
    assert_true(size > 0);
    out_text[size] = '\0';
    close(pipes[0]);
}

static void a_placement_is_a_page(void **state)
{
    (void)state;
    struct berth_placement_reason reasons[] = {
        {.reason = TEXT("RESOURCE:CPU"),
         .detail = TEXT("The task asks for 512 CPU units; 0 of 512 are free."),
         .has_asked = true,
         .asked = 512,
         .total = 512},
        {.reason = TEXT("MemberOf placement constraint unsatisfied."),
         .detail = TEXT("It is not meant by: a'b"),
         .subject = TEXT("a'b")},
    };
    struct berth_placement_host hosts[] = {
        {.name = TEXT("one"),
         .availability_zone = TEXT("za"),
         .task_count = 1,
         .reasons = {.items = reasons, .count = 2}},
        {.name = TEXT("second"), .availability_zone = TEXT("zb")},
    };
    struct berth_reason_count counts[] = {{.reason = TEXT("RESOURCE:CPU"), .host_count = 1}};
    const struct berth_explain_placement_response answer = {
        .cluster_arn = TEXT("arn:aws:ecs:r:1:cluster/c"),
        .task_definition_arn = TEXT("arn:aws:ecs:r:1:task-definition/web:3"),
        .launch_type = ECS_LAUNCH_TYPE_EC2,
        .cpu_units = 512,
        .memory_mib = 64,
        .asked_count = 2,
        .placed_count = 1,
        .summary = TEXT("1 of 2 tasks find a place: so."),
        .host_count = 4,
        .reason_counts = {counts, 1},
        .hosts = {hosts, 2},
    };
    char got[2048];
    capture_begin();
    diagnose_print_placement(&style, &answer);
    capture_end(got, sizeof(got));
    assert_string_equal(
        got, "web:3 in cluster c, EC2: 512 CPU units and 64 MiB for each task\n"
             "1 of 2 tasks find a place: so.\n"
             "HOST    ZONE  TASKS  VERDICT       WHY\n"
             "one     za    1      RESOURCE:CPU  The task asks for 512 CPU units; 0 of 512 are "
             "free.\n"
             "                     MemberOf      It is not meant by: a'b\n"
             "second  zb    0      fits          -\n"
             "and 2 more hosts\n"
             "try:  berth ps --cluster c\n");
}

static void a_task_is_a_page(void **state)
{
    (void)state;
    struct ecs_container container = {.name = TEXT("app"),
                                      .image = TEXT("web:1"),
                                      .last_status = TEXT("STOPPED"),
                                      .health_status = ECS_HEALTH_STATUS_UNKNOWN,
                                      .has_exit_code = true,
                                      .exit_code = 3};
    struct ecs_task task = {
        .task_arn = TEXT("arn:aws:ecs:r:1:task/c/12ab"),
        .cluster_arn = TEXT("arn:aws:ecs:r:1:cluster/c"),
        .task_definition_arn = TEXT("arn:aws:ecs:r:1:task-definition/web:3"),
        .launch_type = ECS_LAUNCH_TYPE_FARGATE,
        .availability_zone = TEXT("za"),
        .last_status = TEXT("STOPPED"),
        .desired_status = TEXT("STOPPED"),
        .created_at = 1000000 - 90000,
        .started_at = 1000000 - 60000,
        .stopped_at = 1000000 - 5000,
        .stop_code = ECS_TASK_STOP_CODE_ESSENTIAL_CONTAINER_EXITED,
        .stopped_reason = TEXT("Essential container in task exited"),
        .containers = {&container, 1},
    };
    const struct berth_explain_task_response answer = {
        .task = &task,
        .cause = BERTH_TASK_CAUSE_CONTAINER_EXITED,
        .failed = true,
        .summary = TEXT("It ended."),
        .container = TEXT("app"),
        .since = 1000000 - 5000,
        .node_id = TEXT("node-1"),
        .node_name = TEXT("one"),
        .node_in_contact = true,
        .node_seen_at = 1000000 - 1000,
    };
    char got[2048];
    capture_begin();
    struct text lines[] = {TEXT("one"), TEXT("two")};
    const struct text_list wrote = {.items = lines, .count = 2};
    diagnose_print_task(&style, &answer, &wrote);
    capture_end(got, sizeof(got));
    assert_string_equal(got,
                        "task     12ab of web:3 in cluster c, FARGATE\n"
                        "host     one (node-1), za, in contact, heard of 1s ago\n"
                        "status   STOPPED for 5s\n"
                        "life     created 1m ago, started 1m ago, stopped 5s ago\n"
                        "stop     EssentialContainerExited: Essential container in task exited\n"
                        "cause    ContainerExited: It ended.\n"
                        "CONTAINER  IMAGE  STATUS   HEALTH   EXIT  REASON\n"
                        "app        web:1  STOPPED  UNKNOWN  3     -\n"
                        "the last that app wrote:\n"
                        "  one\n"
                        "  two\n"
                        "try:  berth logs --cluster c 12ab app\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_advise),     cmocka_unit_test(advice_is_short_and_safe),
        cmocka_unit_test(tasks_advise),     cmocka_unit_test(a_placement_is_a_page),
        cmocka_unit_test(a_task_is_a_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
