#include "api/supervisor.h"
#include "base/file.h"
#include "base/text.h"
#include "journal/journal.h"
#include "shape/cbor.h"
#include "task/frame.h"
#include "task/order.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/*
 * What earlier releases left on a node is read by this one: tests/samples has a folder of each,
 * written by this program with `--write FOLDER` when that release was made, and never changed
 * again. The journal, a task's plan and state, and the stream of its supervisor, which goes on
 * running while the agent is upgraded.
 */

#define SAMPLE_BYTES_MAX (1u << 20)
#define TASK_COUNT 3

static const char *const ids[TASK_COUNT] = {
    "0000000000000000000000000000000a",
    "0000000000000000000000000000000b",
    "0000000000000000000000000000000c",
};

static const enum journal_phase phases[TASK_COUNT] = {
    JOURNAL_PHASE_ACCEPTED,
    JOURNAL_PHASE_LAUNCHED,
    JOURNAL_PHASE_STOPPED,
};

// ---- what every release writes ------------------------------------------------------------

static struct supervisor_container_state web_state = {
    .name = TEXT("web"),
    .status = SUPERVISOR_STATUS_STOPPED,
    .has_exit_code = true,
    .exit_code = 3,
    .reason = TEXT("OutOfMemoryError: Container killed due to memory usage"),
    .health = SUPERVISOR_HEALTH_UNHEALTHY,
    .started_at = 1700000000000,
    .finished_at = 1700000001000,
    .has_oom_killed = true,
    .oom_killed = true,
};

static struct supervisor_state make_state(void)
{
    return (struct supervisor_state){
        .has_sequence = true,
        .sequence = 17,
        .containers = {.items = &web_state, .count = 1},
        .has_finished = true,
        .finished = true,
        .has_essential_exited = true,
        .essential_exited = true,
        .execution_stopped_at = 1700000001000,
    };
}

static struct journal_task make_task(size_t index, struct arena *arena)
{
    static struct ecs_container_definition container = {
        .name = TEXT("web"), .image = TEXT("hello"), .has_essential = true, .essential = true};
    static struct ecs_task_definition definition = {
        .family = TEXT("hello"), .container_definitions = {.items = &container, .count = 1}};
    static struct session_eni eni = {.eni_id = TEXT("eni-0123456789abcdef0"),
                                     .address = TEXT("172.31.0.4")};
    static struct journal_container_image image = {.name = TEXT("web"), .digest = TEXT("sha256:1")};
    struct session_task_spec *spec = ARENA_NEW(arena, struct session_task_spec);
    *spec = (struct session_task_spec){
        .task_arn = arena_format(arena, "arn:aws:ecs:eu-west-1:000000000000:task/c/%s", ids[index]),
        .cluster_arn = TEXT("arn:aws:ecs:eu-west-1:000000000000:cluster/c"),
        .desired_status = TEXT("RUNNING"),
        .definition = &definition,
        .has_cpu_units = true,
        .cpu_units = 256,
        .eni = &eni,
    };
    struct journal_task task = {.spec = spec, .phase = phases[index]};
    if (index > 0) {
        task.boot_id = TEXT("boot-1");
        task.images.items = &image;
        task.images.count = 1;
    }
    if (index == 2) {
        struct supervisor_state *state = ARENA_NEW(arena, struct supervisor_state);
        *state = make_state();
        task.last = state;
        task.has_stop_requested = true;
        task.stop_requested = true;
    }
    return task;
}

static struct supervisor_plan make_plan(void)
{
    static struct text runtime[] = {TEXT("/usr/bin/crun"), TEXT("--root"), TEXT("/run/oci")};
    static struct supervisor_plan_container containers[] = {
        {
            .name = TEXT("web"),
            .id = TEXT("0b-0"),
            .bundle = TEXT("/run/c/0"),
            .has_essential = true,
            .essential = true,
            .has_stop_timeout_ms = true,
            .stop_timeout_ms = 30000,
            .has_stop_signal = true,
            .stop_signal = 15,
            .output = TEXT("/data/output/web/log"),
            .cgroup = TEXT("/sys/fs/cgroup/berth-1/0b/0"),
        },
    };
    return (struct supervisor_plan){
        .task_arn = TEXT("arn:aws:ecs:eu-west-1:000000000000:task/c/0b"),
        .runtime = {.items = runtime, .count = ARRAY_LEN(runtime)},
        .containers = {.items = containers, .count = ARRAY_LEN(containers)},
        .has_output_max_bytes = true,
        .output_max_bytes = 1 << 20,
    };
}

// ---- writing ------------------------------------------------------------------------------

static void write_file(const char *directory, const char *name, struct text content)
{
    struct err err = {0};
    AUTO(alloc_string) char *path = alloc_format("%s/%s", directory, name);
    if (file_replace(AT_FDCWD, path, 0644, content, &err) != 0) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
}

// Without the zeros ahead, which only cost room here.
static void write_journal(const char *directory)
{
    struct err err = {0};
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf content = {0};
    struct journal *journal = NULL;
    int rc = journal_file_open(directory, &journal, &err);
    for (size_t i = 0; rc == 0 && i < TASK_COUNT; i++) {
        AUTO(buf_deinit) struct buf bytes = {0};
        struct journal_task task = make_task(i, &arena);
        journal_encode(&task, &bytes);
        const struct journal_change change = {.task_id = text_of(ids[i]),
                                              .bytes = buf_view(&bytes)};
        rc = journal_write(journal, &change, 1, &err);
    }
    journal_close(journal);
    AUTO(alloc_string) char *path = alloc_format("%s/journal", directory);
    rc = rc == 0 ? file_read(AT_FDCWD, path, SAMPLE_BYTES_MAX, &content, &err) : rc;
    if (rc != 0) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    while (content.size > 0 && content.data[content.size - 1] == '\0') {
        content.size--;
    }
    write_file(directory, "journal", buf_view(&content));
}

static void write_samples(const char *directory)
{
    AUTO(buf_deinit) struct buf bytes = {0};
    struct err err = {0};
    if (file_make_dirs(directory, 0755, &err) != 0) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    write_journal(directory);
    struct supervisor_state state = make_state();
    cbor_encode(&supervisor_state_shape, &state, 1, NULL, &bytes);
    write_file(directory, "state", buf_view(&bytes));
    buf_reset(&bytes);
    struct supervisor_plan plan = make_plan();
    cbor_encode(&supervisor_plan_shape, &plan, 1, NULL, &bytes);
    write_file(directory, "plan", buf_view(&bytes));
    buf_reset(&bytes);
    frame_encode(&(struct supervisor_frame){.state = &state}, &bytes);
    struct supervisor_command command = {.kind = SUPERVISOR_COMMAND_KIND_STOP};
    frame_encode(&(struct supervisor_frame){.command = &command}, &bytes);
    write_file(directory, "frames", buf_view(&bytes));
}

// ---- reading ------------------------------------------------------------------------------

static void read_sample(const char *directory, const char *name, struct buf *out)
{
    struct err err = {0};
    AUTO(alloc_string) char *path = alloc_format("%s/%s", directory, name);
    if (file_read(AT_FDCWD, path, SAMPLE_BYTES_MAX, out, &err) != 0) {
        fail_msg("%s", err.text);
    }
}

static void check_equal(const struct shape_type *shape, const void *got, const void *want)
{
    AUTO(buf_deinit) struct buf one = {0};
    AUTO(buf_deinit) struct buf other = {0};
    cbor_encode(shape, got, 1, NULL, &one);
    cbor_encode(shape, want, 1, NULL, &other);
    assert_true(text_equal(buf_view(&one), buf_view(&other)));
}

static int see_task(void *context, struct text task_id, const struct journal_task *task,
                    struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    size_t *count = context;
    for (size_t i = 0; i < TASK_COUNT; i++) {
        if (text_is(task_id, ids[i])) {
            struct journal_task want = make_task(i, &arena);
            check_equal(&journal_task_shape, task, &want);
            ++*count;
        }
    }
    return 0;
}

// Opened where it may be written: a copy.
static void check_journal(const char *directory)
{
    struct err err = {0};
    char place[] = "/tmp/berth-sample-XXXXXX";
    AUTO(buf_deinit) struct buf content = {0};
    assert_non_null(mkdtemp(place));
    read_sample(directory, "journal", &content);
    write_file(place, "journal", buf_view(&content));
    struct journal *journal = NULL;
    struct journal_loss loss = {0};
    size_t count = 0;
    assert_int_equal(journal_file_open(place, &journal, &err), 0);
    assert_int_equal(journal_load(journal, see_task, &count, &loss, &err), 0);
    assert_int_equal(count, TASK_COUNT);
    assert_int_equal(loss.gaps, 0);
    journal_close(journal);
    assert_int_equal(file_remove_tree(AT_FDCWD, place, &err), 0);
}

static void check_documents(const char *directory)
{
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf bytes = {0};
    struct shape_error error = {0};
    struct err err = {0};
    struct supervisor_state state = {0};
    struct supervisor_state want_state = make_state();
    read_sample(directory, "state", &bytes);
    assert_int_equal(
        cbor_decode(&supervisor_state_shape, buf_view(&bytes), &arena, &state, NULL, NULL, &error),
        0);
    check_equal(&supervisor_state_shape, &state, &want_state);
    struct supervisor_plan plan = {0};
    struct supervisor_plan want_plan = make_plan();
    buf_reset(&bytes);
    read_sample(directory, "plan", &bytes);
    assert_int_equal(
        cbor_decode(&supervisor_plan_shape, buf_view(&bytes), &arena, &plan, NULL, NULL, &error),
        0);
    check_equal(&supervisor_plan_shape, &plan, &want_plan);
    struct order *order = NULL;
    if (order_new(&plan, &order, &err) != 0) {
        fail_msg("%s", err.text);
    }
    order_free(order);
}

static void check_frames(const char *directory)
{
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf bytes = {0};
    struct err err = {0};
    struct supervisor_frame frame = {0};
    struct supervisor_state want = make_state();
    read_sample(directory, "frames", &bytes);
    assert_int_equal(frame_next(&bytes, &arena, &frame, &err), 1);
    assert_non_null(frame.state);
    check_equal(&supervisor_state_shape, frame.state, &want);
    assert_int_equal(frame_next(&bytes, &arena, &frame, &err), 1);
    assert_non_null(frame.command);
    assert_int_equal(frame.command->kind, SUPERVISOR_COMMAND_KIND_STOP);
    assert_int_equal(frame_next(&bytes, &arena, &frame, &err), 0);
}

static void what_earlier_releases_wrote_is_read(void **state)
{
    (void)state;
    const char *samples = getenv("BERTH_SAMPLES");
    assert_non_null(samples);
    DIR *dir = opendir(samples);
    assert_non_null(dir);
    size_t count = 0;
    const struct dirent *entry = NULL;
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        print_message("%s\n", entry->d_name);
        AUTO(alloc_string) char *path = alloc_format("%s/%s", samples, entry->d_name);
        check_journal(path);
        check_documents(path);
        check_frames(path);
        count++;
    }
    closedir(dir);
    assert_in_range(count, 1, 1000);
}

// As from a later release: members with numbers that nobody knows here, in a state, in what is in
// it, and in a frame.
static void what_later_releases_write_is_read(void **state)
{
    (void)state;
    static const char pairs[] = "\x18\x63\x63new";
    const struct cbor_unknown unknown = {{pairs, sizeof(pairs) - 1}, 1};
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf bytes = {0};
    struct shape_error error = {0};
    struct supervisor_state want = make_state();
    struct supervisor_state got = {0};
    struct cbor_unknown found = {0};
    cbor_encode(&supervisor_state_shape, &want, 2, &unknown, &bytes);
    assert_int_equal(
        cbor_decode(&supervisor_state_shape, buf_view(&bytes), &arena, &got, NULL, &found, &error),
        0);
    assert_int_equal(found.count, 1);
    check_equal(&supervisor_state_shape, &got, &want);
}

int main(int count, char **arguments)
{
    if (count == 3 && strcmp(arguments[1], "--write") == 0) {
        write_samples(arguments[2]);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_earlier_releases_wrote_is_read),
        cmocka_unit_test(what_later_releases_write_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
