#include "base/text.h"
#include "endpoint/metadata.h"
#include "shape/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define TASK "d64d834d3239c0897ac6107b2db94e50"

/** A task of two containers. */
struct fixture {
    struct ecs_container_definition containers[2];
    struct ecs_task_definition definition;
    struct session_container_identity identities[2];
    struct session_eni eni;
    struct session_task_spec spec;
    struct supervisor_container_state states[2];
    struct supervisor_state state;
    struct endpoint_clock_drift clock;
    struct metadata_source source;
    struct arena arena;
};

static int set_up(void **state)
{
    struct fixture *f = ALLOC(struct fixture);
    f->containers[0] = (struct ecs_container_definition){
        .name = TEXT("web"), .image = TEXT("web:1"), .has_cpu = true, .cpu = 1};
    f->containers[1] = (struct ecs_container_definition){
        .name = TEXT("side"), .image = TEXT("side:1"), .has_memory = true, .memory = 64};
    f->definition = (struct ecs_task_definition){
        .family = TEXT("shop"),
        .has_revision = true,
        .revision = 7,
        .network_mode = ECS_NETWORK_MODE_AWSVPC,
        .container_definitions = {f->containers, 2},
    };
    f->eni = (struct session_eni){.address = TEXT("10.0.0.5"),
                                  .gateway = TEXT("10.0.0.1"),
                                  .has_prefix_length = true,
                                  .prefix_length = 24,
                                  .vpc_id = TEXT("vpc-1"),
                                  .mac_address = TEXT("02:00:00:00:00:01")};
    f->spec = (struct session_task_spec){
        .task_arn = TEXT("arn:aws:ecs:eu-west-1:000000000000:task/prod/" TASK),
        .cluster_arn = TEXT("arn:aws:ecs:eu-west-1:000000000000:cluster/prod"),
        .definition = &f->definition,
        .has_cpu_units = true,
        .cpu_units = 512,
        .launch_type = TEXT("FARGATE"),
        .group = TEXT("service:front"),
        .eni = &f->eni,
    };
    f->states[0] = (struct supervisor_container_state){
        .name = TEXT("web"), .status = SUPERVISOR_STATUS_RUNNING, .started_at = 5000};
    f->states[1] = (struct supervisor_container_state){.name = TEXT("side"),
                                                       .status = SUPERVISOR_STATUS_WAITING};
    f->state = (struct supervisor_state){.containers = {f->states, 2}};
    f->source = (struct metadata_source){.task_id = TEXT(TASK),
                                         .spec = &f->spec,
                                         .state = &f->state,
                                         .pull_started_at = 1000,
                                         .pull_stopped_at = 2000,
                                         .clock = &f->clock};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    arena_deinit(&f->arena);
    alloc_free(f);
    return 0;
}

static struct endpoint_task describe(struct fixture *f, int version)
{
    struct endpoint_task task;
    metadata_task(&f->source, version, &f->arena, &task);
    return task;
}

#define ASSERT_TEXT(text, want) assert_true(text_is(text, want))

static void fargate_and_instances_differ(void **state)
{
    struct fixture *f = *state;
    struct endpoint_task task = describe(f, 4);
    ASSERT_TEXT(task.cluster, "arn:aws:ecs:eu-west-1:000000000000:cluster/prod");
    ASSERT_TEXT(task.service_name, "front");
    ASSERT_TEXT(task.containers.items[0].docker_name, "web");
    ASSERT_TEXT(task.containers.items[0].docker_id, TASK "-0");
    ASSERT_TEXT(task.containers.items[0].snapshotter, "overlayfs");
    assert_true(task.clock_drift == &f->clock);

    f->spec.launch_type = TEXT("EC2");
    task = describe(f, 4);
    ASSERT_TEXT(task.cluster, "prod");
}

static void docker_names_end_in_twenty_digits(void **state)
{
    struct fixture *f = *state;
    f->spec.launch_type = TEXT("EC2");
    struct endpoint_task task = describe(f, 4);
    ASSERT_TEXT(task.containers.items[1].docker_name, "ecs-shop-7-side-c0897ac6107b2db94e50");
    assert_null(task.clock_drift);
    assert_null(task.containers.items[1].snapshotter.data);
}

static void versions_before_4_say_less(void **state)
{
    struct fixture *f = *state;
    struct endpoint_task task = describe(f, 3);
    assert_null(task.launch_type.data);
    assert_null(task.vpcid.data);
    assert_false(task.has_fault_injection_enabled);
    assert_null(task.containers.items[0].log_driver.data);
    struct endpoint_network *network = &task.containers.items[0].networks.items[0];
    assert_int_equal(network->ipv4_addresses.count, 1);
    assert_null(network->mac_address.data);
    task = describe(f, 4);
    ASSERT_TEXT(task.vpcid, "vpc-1");
    assert_true(task.has_fault_injection_enabled);
    network = &task.containers.items[0].networks.items[0];
    ASSERT_TEXT(network->subnet_gateway_ipv4_address, "10.0.0.1/24");
}

static void limits_are_those_that_bind(void **state)
{
    struct fixture *f = *state;
    struct endpoint_task task = describe(f, 4);
    assert_true(task.limits->cpu == 0.5);
    assert_false(task.limits->has_memory);
    assert_true(task.containers.items[0].limits->cpu == 2); // the kernel's least share
    assert_int_equal(task.containers.items[0].limits->memory, 0);
    assert_int_equal(task.containers.items[1].limits->memory, 64);
    f->spec.cpu_units = 0;
    assert_null(describe(f, 4).limits);
}

static void statuses_are_amazons_agents(void **state)
{
    struct fixture *f = *state;
    ASSERT_TEXT(describe(f, 4).known_status, "CREATED"); // one waits still
    ASSERT_TEXT(describe(f, 4).containers.items[0].known_status, "RUNNING");
    ASSERT_TEXT(describe(f, 4).containers.items[1].known_status, "CREATED");
    f->states[1] = (struct supervisor_container_state){.name = TEXT("side"),
                                                       .status = SUPERVISOR_STATUS_STOPPED,
                                                       .started_at = 6000,
                                                       .finished_at = 7000,
                                                       .has_exit_code = true,
                                                       .exit_code = 3,
                                                       .health = SUPERVISOR_HEALTH_UNHEALTHY};
    struct endpoint_task task = describe(f, 4);
    ASSERT_TEXT(task.known_status, "RUNNING");
    ASSERT_TEXT(task.desired_status, "RUNNING");
    ASSERT_TEXT(task.containers.items[1].known_status, "STOPPED");
    assert_int_equal(task.containers.items[1].exit_code, 3);
    ASSERT_TEXT(task.containers.items[1].health->status, "UNHEALTHY");
    f->source.stop_requested = true;
    ASSERT_TEXT(describe(f, 4).desired_status, "STOPPED");
    f->source.ended = true;
    ASSERT_TEXT(describe(f, 4).known_status, "STOPPED");
    f->source = (struct metadata_source){.task_id = TEXT(TASK), .spec = &f->spec};
    ASSERT_TEXT(describe(f, 4).known_status, "NONE");
}

static void own_labels_yield_to_amazons(void **state)
{
    struct fixture *f = *state;
    struct text_entry labels[] = {{TEXT("com.amazonaws.ecs.cluster"), TEXT("mine")},
                                  {TEXT("team"), TEXT("blue")}};
    f->containers[0].docker_labels = (struct text_map){labels, 2};
    struct endpoint_task task = describe(f, 4);
    AUTO(buf_deinit) struct buf json = {0};
    json_encode_iso(&endpoint_container_shape, &task.containers.items[0], &json);
    assert_non_null(strstr(json.data, "\"team\":\"blue\""));
    assert_null(strstr(json.data, "mine"));
    assert_non_null(strstr(json.data, "\"com.amazonaws.ecs.task-definition-version\":\"7\""));
}

static void times_are_written_as_text(void **state)
{
    struct fixture *f = *state;
    struct endpoint_task task = describe(f, 4);
    AUTO(buf_deinit) struct buf json = {0};
    json_encode_iso(&endpoint_task_shape, &task, &json);
    assert_non_null(strstr(json.data, "\"PullStartedAt\":\"1970-01-01T00:00:01.000Z\""));
    assert_null(strstr(json.data, "ExecutionStoppedAt")); // not yet
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fargate_and_instances_differ, set_up, tear_down),
        cmocka_unit_test_setup_teardown(docker_names_end_in_twenty_digits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(versions_before_4_say_less, set_up, tear_down),
        cmocka_unit_test_setup_teardown(limits_are_those_that_bind, set_up, tear_down),
        cmocka_unit_test_setup_teardown(statuses_are_amazons_agents, set_up, tear_down),
        cmocka_unit_test_setup_teardown(own_labels_yield_to_amazons, set_up, tear_down),
        cmocka_unit_test_setup_teardown(times_are_written_as_text, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
