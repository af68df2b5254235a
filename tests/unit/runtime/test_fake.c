#include "base/file.h"
#include "base/text.h"
#include "runtime/fake.h"
#include "task/frame.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ID "0123456789abcdef0123456789abcdef"

// One task of two containers on a fake.
struct bench {
    struct runtime *runtime;
    struct arena arena;
    struct ecs_container_definition definitions[2];
    struct image image;
    int fd;
    struct buf in;
    struct supervisor_state state;
    bool closed;
};

static int set_up(void **state)
{
    struct bench *bench = ALLOC(struct bench);
    bench->runtime = runtime_fake_new();
    bench->fd = -1;
    bench->definitions[0] = (struct ecs_container_definition){.name = TEXT("web")};
    bench->definitions[1] = (struct ecs_container_definition){
        .name = TEXT("side"), .has_essential = true, .essential = false};
    *state = bench;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *bench = *state;
    fd_close(bench->fd);
    buf_deinit(&bench->in);
    arena_deinit(&bench->arena);
    runtime_close(bench->runtime);
    alloc_free(bench);
    return 0;
}

static int prepare(struct bench *bench)
{
    struct err err = {0};
    struct session_task_spec spec = {.task_arn = TEXT("arn")};
    const struct runtime_container containers[] = {{&bench->definitions[0], &bench->image},
                                                   {&bench->definitions[1], &bench->image}};
    const struct runtime_task task = {
        .id = TEXT(ID), .spec = &spec, .containers = containers, .container_count = 2};
    return bench->runtime->ops->prepare(bench->runtime, &task, &err);
}

static int launch(struct bench *bench)
{
    struct err err = {0};
    return bench->runtime->ops->launch(bench->runtime, TEXT(ID), &err);
}

static int attach(struct bench *bench)
{
    struct err err = {0};
    fd_close(bench->fd);
    bench->fd = -1;
    return bench->runtime->ops->attach(bench->runtime, TEXT(ID), &bench->fd, &err);
}

// Reads all that is there, keeps the newest state.
static void receive(struct bench *bench)
{
    ssize_t got = 0;
    while ((got = read(bench->fd, buf_reserve(&bench->in, 4096), 4096)) > 0) {
        bench->in.size += (size_t)got;
    }
    bench->closed = got == 0;
    struct supervisor_frame frame = {0};
    struct err err = {0};
    while (frame_next(&bench->in, &bench->arena, &frame, &err) == 1) {
        assert_true(frame.state->sequence > bench->state.sequence);
        bench->state = *frame.state;
    }
}

static void command(struct bench *bench, enum supervisor_command_kind kind)
{
    struct err err = {0};
    AUTO(buf_deinit) struct buf out = {0};
    struct supervisor_command message = {.kind = kind};
    frame_encode(&(struct supervisor_frame){.command = &message}, &out);
    assert_int_equal(fd_write_all(bench->fd, out.data, out.size, &err), 0);
}

// A whole life: delays, states in order, STOP, exit codes, the end of the stream, and clean-up.
static void fake_lives_as_scripted(void **state)
{
    struct bench *bench = *state;
    struct err err = {0};
    const struct runtime_fake_script web = {.start_ms = 10, .stop_ms = 5};
    const struct runtime_fake_script side = {.run_ms = 100, .exit_code = 3};
    runtime_fake_set(bench->runtime, "web", &web);
    runtime_fake_set(bench->runtime, "side", &side);
    assert_int_equal(launch(bench), ERR_NOT_FOUND);
    assert_int_equal(prepare(bench), 0);
    assert_int_equal(attach(bench), ERR_NOT_FOUND);
    assert_int_equal(launch(bench), 0);
    assert_int_equal(launch(bench), 0);
    assert_int_equal(attach(bench), 0);
    struct pollfd waiting = {.fd = runtime_fake_fd(bench->runtime), .events = POLLIN};
    assert_int_equal(poll(&waiting, 1, 0), 1);
    assert_int_equal(runtime_fake_advance(bench->runtime, 1000), 1010);
    assert_int_equal(poll(&waiting, 1, 0), 0);
    receive(bench);
    assert_int_equal(bench->state.containers.items[0].status, SUPERVISOR_STATUS_STARTING);
    assert_int_equal(bench->state.containers.items[1].status, SUPERVISOR_STATUS_RUNNING);
    assert_int_equal(runtime_fake_advance(bench->runtime, 1010), 1100);
    receive(bench);
    assert_int_equal(bench->state.containers.items[0].status, SUPERVISOR_STATUS_RUNNING);
    assert_int_equal(runtime_fake_advance(bench->runtime, 1100), INT64_MAX);
    receive(bench);
    assert_int_equal(bench->state.containers.items[1].exit_code, 3);
    command(bench, SUPERVISOR_COMMAND_KIND_STOP);
    assert_int_equal(poll(&waiting, 1, 0), 1);
    assert_int_equal(bench->runtime->ops->clean(bench->runtime, TEXT(ID), &err), ERR_BUSY);
    assert_int_equal(runtime_fake_advance(bench->runtime, 1200), 1205);
    assert_int_equal(runtime_fake_advance(bench->runtime, 1205), INT64_MAX);
    receive(bench);
    assert_true(bench->closed);
    assert_true(bench->state.finished);
    assert_int_equal(bench->state.containers.items[0].exit_code, 143);
    struct supervisor_state kept = {0};
    assert_int_equal(
        bench->runtime->ops->read_state(bench->runtime, TEXT(ID), &bench->arena, &kept, &err), 0);
    assert_int_equal(kept.sequence, bench->state.sequence);
    assert_int_equal(launch(bench), ERR_EXISTS);
    assert_int_equal(bench->runtime->ops->clean(bench->runtime, TEXT(ID), &err), 0);
    assert_int_equal(bench->runtime->ops->clean(bench->runtime, TEXT(ID), &err), 0);
    struct runtime_found *found = NULL;
    size_t count = 1;
    assert_int_equal(bench->runtime->ops->list(bench->runtime, &bench->arena, &found, &count, &err),
                     0);
    assert_int_equal(count, 0);
}

// A supervisor that dies closes its streams; its last state stays to be read.
static void fake_crash_is_like_kill_9(void **state)
{
    struct bench *bench = *state;
    struct err err = {0};
    assert_int_equal(prepare(bench), 0);
    assert_int_equal(launch(bench), 0);
    assert_int_equal(attach(bench), 0);
    runtime_fake_advance(bench->runtime, 1000);
    runtime_fake_crash(bench->runtime, TEXT(ID));
    receive(bench);
    assert_true(bench->closed);
    assert_false(bench->state.finished);
    struct runtime_found *found = NULL;
    size_t count = 0;
    assert_int_equal(bench->runtime->ops->list(bench->runtime, &bench->arena, &found, &count, &err),
                     0);
    assert_int_equal(count, 1);
    assert_false(found[0].supervisor_alive);
    assert_true(found[0].has_state);
    assert_int_equal(attach(bench), ERR_NOT_FOUND);
    assert_int_equal(launch(bench), ERR_EXISTS);
}

static void fake_fails_as_asked(void **state)
{
    struct bench *bench = *state;
    runtime_fake_fail(bench->runtime, RUNTIME_FAKE_PREPARE, ERR_FULL_DISK, 1);
    runtime_fake_fail(bench->runtime, RUNTIME_FAKE_LAUNCH, ERR_SYS, 1);
    assert_int_equal(prepare(bench), ERR_FULL_DISK);
    assert_int_equal(prepare(bench), 0);
    assert_int_equal(launch(bench), ERR_SYS);
    assert_int_equal(launch(bench), 0);
    const struct runtime_fake_script broken = {.fails_to_start = true};
    runtime_fake_set(bench->runtime, "web", &broken);
    assert_int_equal(attach(bench), 0);
    runtime_fake_advance(bench->runtime, 1000);
    receive(bench);
    assert_true(bench->state.finished);
    assert_true(
        text_starts(bench->state.containers.items[0].reason, TEXT("CannotStartContainerError: ")));
}

// Health by script, and KILL of one that is deaf.
static void fake_has_health(void **state)
{
    struct bench *bench = *state;
    struct text check_command[] = {TEXT("CMD"), TEXT("/check")};
    struct ecs_health_check check = {
        .command = {check_command, 2}, .has_retries = true, .retries = 1};
    const struct runtime_fake_script web = {.deaf = true, .unhealthy_until_ms = 40000};
    bench->definitions[0].health_check = &check;
    runtime_fake_set(bench->runtime, "web", &web);
    assert_int_equal(prepare(bench), 0);
    assert_int_equal(launch(bench), 0);
    assert_int_equal(attach(bench), 0);
    assert_int_equal(runtime_fake_advance(bench->runtime, 1000), 31000);
    assert_int_equal(runtime_fake_advance(bench->runtime, 31000), 61000);
    receive(bench);
    assert_int_equal(bench->state.containers.items[0].health, SUPERVISOR_HEALTH_UNHEALTHY);
    runtime_fake_advance(bench->runtime, 61000);
    receive(bench);
    assert_int_equal(bench->state.containers.items[0].health, SUPERVISOR_HEALTH_HEALTHY);
    command(bench, SUPERVISOR_COMMAND_KIND_STOP);
    assert_int_equal(runtime_fake_advance(bench->runtime, 62000), 92000);
    command(bench, SUPERVISOR_COMMAND_KIND_KILL);
    runtime_fake_advance(bench->runtime, 62001);
    receive(bench);
    assert_int_equal(bench->state.containers.items[0].exit_code, 137);
}

#define FAKE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAKE_TEST(fake_lives_as_scripted),
        FAKE_TEST(fake_crash_is_like_kill_9),
        FAKE_TEST(fake_fails_as_asked),
        FAKE_TEST(fake_has_health),
    };
    return cmocka_run_group_tests_name("fake", tests, NULL, NULL);
}
