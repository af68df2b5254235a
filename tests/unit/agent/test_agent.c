#include "house.h"

#include "api/berth.h"
#include "api/ssm.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "client/token.h"
#include "ecs/task_internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* The agent against a real server. Containers are invented; docs/agent.md names what else tests
 * it with real ones. */

static int open_house(void **state)
{
    struct house *house = ALLOC(struct house);
    house_open(house, false);
    house_join(house);
    *state = house;
    return 0;
}

static int open_tls_house(void **state)
{
    struct house *house = ALLOC(struct house);
    house_open(house, true);
    *state = house;
    return 0;
}

static int close_house(void **state)
{
    house_close(*state);
    alloc_free(*state);
    return 0;
}

static const struct ecs_container *container_of(const struct ecs_task *task, const char *name)
{
    for (size_t i = 0; i < task->containers.count; i++) {
        if (text_is(task->containers.items[i].name, name)) {
            return &task->containers.items[i];
        }
    }
    fail_msg("no container %s", name);
    return NULL;
}

static struct text id_of(struct text arn)
{
    return text_slice(arn, arn.size - 32, arn.size);
}

// The journal must be empty once a task's end was told: nothing is left of it.
static bool is_forgotten(struct house *house, const void *argument)
{
    struct agent_stats stats;
    agent_stats(house->agent, &stats);
    return stats.task_count == 0 && stats.job_count == 0;
}

static void expect_no_remains(struct house *house)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct runtime_found *found = NULL;
    size_t count = 0;
    struct err err = {0};
    house_until(house, is_forgotten, NULL, "the task is forgotten");
    assert_int_equal(house->runtime->ops->list(house->runtime, &arena, &found, &count, &err), 0);
    assert_int_equal(count, 0);
}

// ---- a task's life ------------------------------------------------------------------------

static void task_runs_and_is_stopped(void **state)
{
    struct house *house = *state;
    house_start_agent(house);
    struct text arn = house_run_task(house);
    const struct ecs_task *task = house_expect(house, arn, "RUNNING");
    assert_true(text_is(container_of(task, "log")->last_status, "RUNNING"));
    assert_true(task->pull_started_at > 0);
    assert_true(task->started_at >= task->pull_stopped_at);
    house_stop_task(house, arn);
    task = house_expect(house, arn, "STOPPED");
    assert_true(container_of(task, "web")->has_exit_code);
    assert_int_equal(container_of(task, "web")->exit_code, 143);
    assert_int_equal(task->stop_code, ECS_TASK_STOP_CODE_USER_INITIATED);
    expect_no_remains(house);
}

static void task_ends_by_itself(void **state)
{
    struct house *house = *state;
    const struct runtime_fake_script script = {.run_ms = 1, .exit_code = 7};
    runtime_fake_set(house->runtime, "web", &script);
    house_start_agent(house);
    struct text arn = house_run_task(house);
    const struct ecs_task *task = house_expect(house, arn, "STOPPED");
    assert_int_equal(task->stop_code, ECS_TASK_STOP_CODE_ESSENTIAL_CONTAINER_EXITED);
    assert_int_equal(container_of(task, "web")->exit_code, 7);
    assert_int_equal(container_of(task, "log")->exit_code, 143);
    assert_true(task->started_at > 0); // however short its life was
    assert_true(task->execution_stopped_at > 0);
    expect_no_remains(house);
}

static bool is_known(struct house *house, const void *argument)
{
    struct agent_stats stats;
    agent_stats(house->agent, &stats);
    return stats.task_count == 1;
}

static void put_parameter(struct house *house, const char *name)
{
    const struct ssm_put_parameter_request request = {
        .name = text_of(name), .type = SSM_PARAMETER_TYPE_STRING, .value = TEXT("value")};
    struct ssm_put_parameter_result result = {0};
    struct err err = {0};
    assert_int_equal(
        house_call(house, &ssm_operations[SSM_OP_PUT_PARAMETER], &request, &result, &err), 0);
}

// The server goes in the moment in which the agent asks it for what a secret holds.
static void secrets_come_from_a_server_that_was_away(void **state)
{
    struct house *house = *state;
    put_parameter(house, "/key");
    house->secret = "/key";
    house_start_agent(house);
    struct text arn = house_run_task(house);
    house_until(house, is_known, NULL, "the agent has the task");
    house_stop_server(house);
    for (int i = 0; i < 20; i++) {
        uv_run(&house->loop, UV_RUN_ONCE);
    }
    assert_true(is_known(house, NULL)); // it waits
    house_start_server(house);
    house_expect(house, arn, "RUNNING");
    house_stop_task(house, arn);
    house_expect(house, arn, "STOPPED");
    expect_no_remains(house);
}

static void a_secret_that_is_not_there_ends_the_task(void **state)
{
    struct house *house = *state;
    house->secret = "/none";
    house_start_agent(house);
    struct text arn = house_run_task(house);
    const struct ecs_task *task = house_expect(house, arn, "STOPPED");
    assert_int_equal(task->stop_code, ECS_TASK_STOP_CODE_TASK_FAILED_TO_START);
    assert_true(text_is(task->stopped_reason,
                        "ResourceInitializationError: unable to pull secrets or registry auth: "
                        "execution resource retrieval failed: unable to retrieve secrets from ssm: "
                        "service call has been retried 1 time(s): invalid ssm parameters: /none"));
    assert_false(container_of(task, "web")->has_exit_code);
    expect_no_remains(house);
}

static void task_that_cannot_start(void **state)
{
    struct house *house = *state;
    static const struct {
        enum runtime_fake_step step;
        const char *reason;
    } cases[] = {
        {RUNTIME_FAKE_PREPARE, "ResourceInitializationError: a failure that the test asked for"},
        {RUNTIME_FAKE_LAUNCH, "ContainerRuntimeError: a failure that the test asked for"},
    };
    house_start_agent(house);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        runtime_fake_fail(house->runtime, cases[i].step, ERR_SYS, 1);
        struct text arn = house_run_task(house);
        const struct ecs_task *task = house_expect(house, arn, "STOPPED");
        assert_int_equal(task->stop_code, ECS_TASK_STOP_CODE_TASK_FAILED_TO_START);
        assert_true(text_is(task->stopped_reason, cases[i].reason));
        assert_false(container_of(task, "web")->has_exit_code);
        expect_no_remains(house);
    }
}

static void supervisor_dies(void **state)
{
    struct house *house = *state;
    house_start_agent(house);
    struct text arn = house_run_task(house);
    house_expect(house, arn, "RUNNING");
    runtime_fake_crash(house->runtime, id_of(arn));
    const struct ecs_task *task = house_expect(house, arn, "STOPPED");
    assert_true(text_starts(task->stopped_reason, TEXT("ContainerRuntimeError: ")));
    assert_false(container_of(task, "web")->has_exit_code);
    expect_no_remains(house);
}

// ---- agents and servers come and go -------------------------------------------------------

static void agent_takes_over(void **state)
{
    struct house *house = *state;
    house_start_agent(house);
    struct text arn = house_run_task(house);
    house_expect(house, arn, "RUNNING");
    house_stop_agent(house, AGENT_STOP_KEEP);
    house_start_agent(house);
    struct agent_stats stats;
    agent_stats(house->agent, &stats);
    assert_int_equal(stats.task_count, 1);
    house_stop_task(house, arn);
    const struct ecs_task *task = house_expect(house, arn, "STOPPED");
    assert_int_equal(container_of(task, "web")->exit_code, 143);
    expect_no_remains(house);
}

// Sanitizers make each of them slow, and look at code rather than at numbers.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MANY 60
#else
#define MANY 500
#endif

static size_t open_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t count = 0;
    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

static bool has_many(const struct house *house, size_t links)
{
    struct agent_stats stats;
    agent_stats(house->agent, &stats);
    return stats.task_count == MANY && stats.job_count == 0 && open_files() >= links;
}

// So many take longer than one on a machine that has other things to do.
static void until_many(struct house *house, size_t links)
{
    int64_t deadline_ns = clock_monotonic_ns() + INT64_C(240000000000);
    while (!has_many(house, links)) {
        assert_true(clock_monotonic_ns() < deadline_ns);
        uv_run(&house->loop, UV_RUN_ONCE);
    }
}

// Each costs the agent one descriptor, the stream of its supervisor, whose other end is ours here.
static void hundreds_are_taken_over(void **state)
{
    struct house *house = *state;
    struct text arns[MANY];
    house->cpu_units = MANY * 1024;
    house->memory_mib = MANY * 2048;
    house_start_agent(house);
    const size_t before = open_files();
    for (size_t i = 0; i < MANY; i++) {
        arns[i] = house_run_task(house);
    }
    for (size_t i = 0; i < MANY; i++) {
        house_expect(house, arns[i], "RUNNING");
    }
    const size_t links = before + 2 * (size_t)MANY;
    until_many(house, links);
    const size_t running = open_files();
    house_stop_agent(house, AGENT_STOP_KEEP);
    int64_t begun_ns = clock_monotonic_ns();
    house_begin_agent(house);
    print_message("%d tasks are known again after %lld ms\n", MANY,
                  (long long)((clock_monotonic_ns() - begun_ns) / 1000000));
    until_many(house, links);
    print_message("%zu descriptors with %d tasks, %zu without\n", open_files(), MANY, before);
    assert_in_range(open_files(), links, running + 32);
    house_stop_agent(house, AGENT_STOP_TASKS);
    house_start_agent(house);
    expect_no_remains(house);
    assert_in_range(open_files(), 1, before + 32);
}

static void agent_hears_of_an_end_it_missed(void **state)
{
    struct house *house = *state;
    house_start_agent(house);
    struct text arn = house_run_task(house);
    house_expect(house, arn, "RUNNING");
    house_stop_agent(house, AGENT_STOP_KEEP);
    // It dies while nobody looks; what it wrote before is all that is known.
    runtime_fake_crash(house->runtime, id_of(arn));
    house_start_agent(house);
    const struct ecs_task *task = house_expect(house, arn, "STOPPED");
    assert_false(container_of(task, "web")->has_exit_code);
    expect_no_remains(house);
}

static bool is_away(struct house *house, const void *argument)
{
    struct agent_stats stats;
    agent_stats(house->agent, &stats);
    return !stats.connected;
}

static bool has_ended(struct house *house, const void *argument)
{
    struct agent_stats stats;
    agent_stats(house->agent, &stats);
    return stats.task_count == 0;
}

// While the server is away tasks go on; what ended meanwhile is told when it is back.
static void server_is_started_again(void **state)
{
    struct house *house = *state;
    const struct runtime_fake_script script = {.run_ms = 2000, .exit_code = 3};
    runtime_fake_set(house->runtime, "web", &script);
    house_start_agent(house);
    struct text arn = house_run_task(house);
    house_expect(house, arn, "RUNNING");
    house_stop_server(house);
    house_until(house, is_away, NULL, "the session ends");
    house_until(house, has_ended, NULL, "the task ends");
    house_start_server(house);
    const struct ecs_task *task = house_expect(house, arn, "STOPPED");
    assert_int_equal(container_of(task, "web")->exit_code, 3);
    expect_no_remains(house);
}

static bool is_refused(struct house *house, const void *argument)
{
    return house->refused_count > 0;
}

static void node_that_was_removed(void **state)
{
    struct house *house = *state;
    struct err err = {0};
    const struct agent_identity stranger = {
        .node_id = TEXT("node-unknown"),
        .key_id = TEXT("AKIDUNKNOWN"),
        .secret = TEXT("no secret"),
        .region = TEXT(HOUSE_REGION),
        .endpoint = text_of(server_url(house->server, 0)),
    };
    assert_int_equal(agent_identity_store(house->data_dir, &stranger, (struct text){0}, &err), 0);
    house_begin_agent(house);
    house_until(house, is_refused, NULL, "the server refuses the node");
    assert_int_equal(house->ready_count, 0);
}

static void stop_takes_tasks_along(void **state)
{
    struct house *house = *state;
    house_start_agent(house);
    struct text arn = house_run_task(house);
    house_expect(house, arn, "RUNNING");
    house_stop_agent(house, AGENT_STOP_TASKS);
    const struct ecs_task *task = house_task(house, arn);
    assert_true(text_is(task->last_status, "STOPPED"));
    assert_int_equal(container_of(task, "web")->exit_code, 143);
}

// The same when nobody answers: the tasks are gone, and a later agent tells.
static void stop_without_a_server(void **state)
{
    struct house *house = *state;
    house_start_agent(house);
    struct text arn = house_run_task(house);
    house_expect(house, arn, "RUNNING");
    house_stop_server(house);
    house_stop_agent(house, AGENT_STOP_TASKS);
    house_start_server(house);
    house_start_agent(house);
    const struct ecs_task *task = house_expect(house, arn, "STOPPED");
    assert_int_equal(container_of(task, "web")->exit_code, 143);
    expect_no_remains(house);
}

// What is on the host and in no record was being prepared when an agent died: it goes.
static void remains_of_unknown_tasks_go(void **state)
{
    struct house *house = *state;
    struct err err = {0};
    AUTO(arena_deinit) struct arena arena = {0};
    struct ecs_container_definition container = {.name = TEXT("web"), .image = TEXT("web")};
    struct ecs_task_definition definition = {
        .container_definitions = {.items = &container, .count = 1}};
    const struct session_task_spec spec = {
        .task_arn = TEXT("arn:aws:ecs:eu-west-1:000000000000:task/c/"
                         "0123456789abcdef0123456789abcdef"),
        .definition = &definition,
    };
    const struct image image = {.digest = TEXT("sha256:1")};
    const struct runtime_container with = {.definition = &container, .image = &image};
    const struct runtime_task task = {.id = TEXT("0123456789abcdef0123456789abcdef"),
                                      .spec = &spec,
                                      .containers = &with,
                                      .container_count = 1};
    struct runtime *runtime = house->runtime;
    assert_int_equal(runtime->ops->prepare(runtime, &task, &err), 0);
    house_start_agent(house);
    struct runtime_found *found = NULL;
    size_t count = 0;
    assert_int_equal(runtime->ops->list(runtime, &arena, &found, &count, &err), 0);
    assert_int_equal(count, 0);
}

// ---- output -------------------------------------------------------------------------------

static void write_output(struct house *house, struct text arn, const char *suffix,
                         const char *content)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct text path = runtime_output_path(house->data_dir, id_of(arn), TEXT("web"), &arena);
    AUTO(alloc_string) char *name = alloc_format("%.*s%s", TEXT_FMT(path), suffix);
    AUTO(alloc_string)
    char *directory = alloc_format("%.*s", (int)(strrchr(name, '/') - name), name);
    struct err err = {0};
    assert_int_equal(file_make_dirs(directory, 0700, &err), 0);
    AUTO(fd_close) int fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_int_equal(fd_write_all(fd, content, strlen(content), &err), 0);
}

static void rotate_output(struct house *house, struct text arn)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct text path = runtime_output_path(house->data_dir, id_of(arn), TEXT("web"), &arena);
    AUTO(alloc_string) char *older = alloc_format("%.*s.1", TEXT_FMT(path));
    assert_int_equal(rename(path.data, older), 0);
    write_output(house, arn, "", "");
}

static int64_t expect_output(struct house *house, struct text arn, int64_t offset, int32_t limit,
                             const char *want, bool ended)
{
    const struct berth_get_task_logs_request request = {
        .task = arn,
        .container = TEXT("web"),
        .has_offset = true,
        .offset = offset,
        .has_limit = true,
        .limit = limit,
    };
    struct berth_get_task_logs_response response = {0};
    struct err err = {0};
    if (house_call(house, &berth_operations[BERTH_OP_GET_TASK_LOGS], &request, &response, &err) !=
        0) {
        fail_msg("%s", err.text);
    }
    if (!text_is(response.data, want)) {
        fail_msg("want '%s', got '%.*s'", want, TEXT_FMT(response.data));
    }
    assert_int_equal(response.ended, ended);
    return response.next_offset;
}

static bool runtime_is(struct house *house, const void *argument)
{
    const enum ecs_instance_health_check_state *want = argument;
    const struct task_node *node = task_node_of(task_state(house->core), house->identity.node_id);
    return node != NULL && node->status[0].state == *want;
}

// The server knows how the host's runtime is, from each agent anew.
static void the_runtime_is_looked_at(void **state)
{
    struct house *house = *state;
    static const enum ecs_instance_health_check_state states[] = {
        ECS_INSTANCE_HEALTH_CHECK_STATE_IMPAIRED, ECS_INSTANCE_HEALTH_CHECK_STATE_OK};
    runtime_fake_fail(house->runtime, RUNTIME_FAKE_CHECK, ERR_SYS, 1);
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        house_start_agent(house);
        house_until(house, runtime_is, &states[i], i == 0 ? "it is IMPAIRED" : "it is OK");
        house_stop_agent(house, AGENT_STOP_KEEP);
    }
}

static void output_is_read(void **state)
{
    struct house *house = *state;
    house_start_agent(house);
    struct text arn = house_run_task(house);
    house_expect(house, arn, "RUNNING");

    struct err err = {0};
    struct berth_get_task_logs_response response = {0};
    struct berth_get_task_logs_request request = {.task = arn, .container = TEXT("web")};
    const struct api_operation *operation = &berth_operations[BERTH_OP_GET_TASK_LOGS];
    assert_int_equal(house_call(house, operation, &request, &response, &err), ERR_FAULT);
    request.container = TEXT("../web");
    assert_int_equal(house_call(house, operation, &request, &response, &err), ERR_FAULT);
    request.container = (struct text){0};
    assert_int_equal(house_call(house, operation, &request, &response, &err), ERR_FAULT);
    assert_non_null(strstr(err.text, "name one"));

    write_output(house, arn, "", "one\ntwo\n");
    int64_t at = expect_output(house, arn, 0, 1000, "one\ntwo\n", false);
    expect_output(house, arn, at, 1000, "", false);
    expect_output(house, arn, -1, 4, "two\n", false);
    at = expect_output(house, arn, 0, 4, "one\n", false);

    // A reader that was in the midst of a part goes on in it, and then in the next.
    rotate_output(house, arn);
    write_output(house, arn, "", "three\n");
    expect_output(house, arn, at, 1000, "two\nthree\n", false);
    expect_output(house, arn, -1, 8, "o\nthree\n", false);
    at = expect_output(house, arn, at, 4, "two\n", false);
    at = expect_output(house, arn, at, 1000, "three\n", false);
    write_output(house, arn, "", "four\n");
    rotate_output(house, arn);
    write_output(house, arn, "", "five\n");
    at = expect_output(house, arn, at, 1000, "four\nfive\n", false);
    // One whose part is gone goes on with the oldest there is.
    rotate_output(house, arn);
    rotate_output(house, arn);
    write_output(house, arn, "", "six\n");
    expect_output(house, arn, at, 1000, "six\n", false);

    house_stop_task(house, arn);
    house_expect(house, arn, "STOPPED");
    house_until(house, is_forgotten, NULL, "the task is forgotten");
    expect_output(house, arn, -1, 1000, "six\n", true);
}

// ---- joining ------------------------------------------------------------------------------

// A process of its own joins with the token's text, as `berth agent --join` does.
static int join_in_child(struct house *house, const char *token)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct arena arena = {0};
        struct agent_identity identity;
        struct err err = {0};
        int rc = agent_join(house->data_dir, token, "host", &arena, &identity, &err);
        if (rc != 0) {
            fprintf(stderr, "join: %s\n", err.text);
        }
        _exit(-rc);
    }
    int status = 0;
    pid_t ended = 0;
    while (ended == 0) {
        uv_run(&house->loop, UV_RUN_ONCE);
        ended = waitpid(child, &status, WNOHANG);
    }
    assert_int_equal(ended, child);
    assert_true(WIFEXITED(status));
    return -WEXITSTATUS(status);
}

static void node_joins_over_tls(void **state)
{
    struct house *house = *state;
    const struct berth_create_join_token_request ask = {.has_uses = true, .uses = 2};
    struct berth_create_join_token_response made = {0};
    struct err err = {0};
    if (house_call(house, &berth_operations[BERTH_OP_CREATE_JOIN_TOKEN], &ask, &made, &err) != 0) {
        fail_msg("%s", err.text);
    }
    AUTO(alloc_string) char *token = alloc_format("%.*s", TEXT_FMT(made.token));

    // A server with another CA is not believed.
    struct client_token parts = {0};
    assert_int_equal(client_token_parse(made.token, &house->arena, &parts, &err), 0);
    char wrong_hash[CLIENT_TOKEN_HASH_CHARS + 1];
    memset(wrong_hash, '0', CLIENT_TOKEN_HASH_CHARS);
    wrong_hash[CLIENT_TOKEN_HASH_CHARS] = '\0';
    parts.ca_sha256 = text_of(wrong_hash);
    struct text wrong = client_token_compose(&parts, &house->arena);
    assert_int_not_equal(join_in_child(house, wrong.data), 0);
    struct agent_identity identity;
    assert_int_equal(agent_identity_load(house->data_dir, &house->arena, &identity, &err),
                     ERR_NOT_FOUND);

    assert_int_equal(join_in_child(house, token), 0);
    assert_int_equal(join_in_child(house, token), ERR_EXISTS);
    assert_int_equal(agent_identity_load(house->data_dir, &house->arena, &identity, &err), 0);
    struct stat status;
    AUTO(alloc_string) char *path = alloc_format("%s/identity.json", house->data_dir);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_true(text_starts(identity.endpoint, TEXT("https://")));

    // Both sessions are over TLS now, and the server's address is in its certificate.
    house_start_agent(house);
    struct text arn = house_run_task(house);
    house_expect(house, arn, "RUNNING");
}

// ---- speed --------------------------------------------------------------------------------

// Not a bench: what the agent adds must stay far below what a container's start costs.
static void start_is_quick(void **state)
{
    struct house *house = *state;
    house_start_agent(house);
    house_run_task(house);
    int64_t best_ns = INT64_MAX;
    for (int i = 0; i < 10; i++) {
        int64_t begin_ns = clock_monotonic_ns();
        struct text arn = house_run_task(house);
        house_expect(house, arn, "RUNNING");
        best_ns = MIN(best_ns, clock_monotonic_ns() - begin_ns);
    }
    print_message("RunTask, with three calls before it, to RUNNING: %.1f ms at best\n",
                  (double)best_ns / 1e6);
    assert_in_range(best_ns, 0, 5000000000);
}

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(task_runs_and_is_stopped, open_house, close_house),
        cmocka_unit_test_setup_teardown(task_ends_by_itself, open_house, close_house),
        cmocka_unit_test_setup_teardown(task_that_cannot_start, open_house, close_house),
        cmocka_unit_test_setup_teardown(secrets_come_from_a_server_that_was_away, open_house,
                                        close_house),
        cmocka_unit_test_setup_teardown(a_secret_that_is_not_there_ends_the_task, open_house,
                                        close_house),
        cmocka_unit_test_setup_teardown(supervisor_dies, open_house, close_house),
        cmocka_unit_test_setup_teardown(agent_takes_over, open_house, close_house),
        cmocka_unit_test_setup_teardown(hundreds_are_taken_over, open_house, close_house),
        cmocka_unit_test_setup_teardown(agent_hears_of_an_end_it_missed, open_house, close_house),
        cmocka_unit_test_setup_teardown(server_is_started_again, open_house, close_house),
        cmocka_unit_test_setup_teardown(node_that_was_removed, open_house, close_house),
        cmocka_unit_test_setup_teardown(stop_takes_tasks_along, open_house, close_house),
        cmocka_unit_test_setup_teardown(stop_without_a_server, open_house, close_house),
        cmocka_unit_test_setup_teardown(remains_of_unknown_tasks_go, open_house, close_house),
        cmocka_unit_test_setup_teardown(the_runtime_is_looked_at, open_house, close_house),
        cmocka_unit_test_setup_teardown(output_is_read, open_house, close_house),
        cmocka_unit_test_setup_teardown(start_is_quick, open_house, close_house),
        cmocka_unit_test_setup_teardown(node_joins_over_tls, open_tls_house, close_house),
    };
    return cmocka_run_group_tests_name("agent", tests, NULL, NULL);
}
