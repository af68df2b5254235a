#include "server/event_log.h"

#include "api/ecs.h"
#include "api/event.h"
#include "base/file.h"
#include "base/text.h"
#include "server/event_file.h"
#include "shape/json.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SKIPS 77
#define TASK_ARN "arn:aws:ecs:eu-west-1:111122223333:task/c/"

struct world {
    uv_loop_t loop;
    char dir[64];
    struct event_log *log;
    uint64_t segment_bytes;
    int64_t start_ms; // of the log that is opened next
};

static void open_log(struct world *world)
{
    const struct event_log_options options = {.loop = &world->loop,
                                              .dir = world->dir,
                                              .segment_bytes = world->segment_bytes,
                                              .start_ms = world->start_ms};
    world->log = event_log_open(&options);
    world->start_ms++;
}

static void settle(struct world *world)
{
    while (uv_run(&world->loop, UV_RUN_ONCE) != 0) {}
}

static void reopen(struct world *world)
{
    event_log_close(world->log);
    open_log(world);
}

static int set_up(void **state)
{
    struct world *world = ALLOC(struct world);
    assert_int_equal(uv_loop_init(&world->loop), 0);
    snprintf(world->dir, sizeof(world->dir), "/tmp/test-event-log-XXXXXX");
    assert_non_null(mkdtemp(world->dir));
    world->start_ms = 1700000000000;
    open_log(world);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    struct err err;
    event_log_close(world->log);
    assert_int_equal(uv_run(&world->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&world->loop), 0);
    assert_int_equal(file_remove_tree(AT_FDCWD, world->dir, &err), 0);
    alloc_free(world);
    return 0;
}

// A task's event with about as many bytes.
static void tell(struct world *world, const char *id, size_t bytes)
{
    char *filler = alloc_array(bytes + 1, 1);
    memset(filler, 'x', bytes);
    const struct ecs_task task = {
        .cluster_arn = TEXT("arn:aws:ecs:eu-west-1:111122223333:cluster/c"),
        .group = TEXT("service:web"),
        .stopped_reason = {filler, bytes},
        .created_at = 1700000000123,
    };
    char arn[256];
    snprintf(arn, sizeof(arn), TASK_ARN "%s", id);
    const struct core_effect effect = {.kind = CORE_EFFECT_EVENT,
                                       .target = text_of(arn),
                                       .type = "ECS Task State Change",
                                       .shape = &ecs_task_shape,
                                       .message = &task};
    event_log_effect(world->log, &effect);
    alloc_free(filler);
}

static struct event_query own(void)
{
    return (struct event_query){.account = TEXT("111122223333"), .region = TEXT("eu-west-1")};
}

// The ids of the tasks that a query finds, with a space behind each.
static const char *found(const struct world *world, struct event_query query)
{
    static char ids[65536];
    size_t used = 0;
    uint64_t after = 0;
    uint64_t last = 0;
    ids[0] = '\0';
    for (const struct event_entry *entry = event_log_next(world->log, &query, &after);
         entry != NULL; entry = event_log_next(world->log, &query, &after)) {
        assert_true(entry->sequence > last);
        assert_int_equal(entry->sequence, after);
        last = entry->sequence;
        used += (size_t)snprintf(ids + used, sizeof(ids) - used, "%.*s ", TEXT_FMT(entry->task));
        assert_in_range(used, 0, sizeof(ids) - 1);
    }
    return ids;
}

static struct event_log_stats stats_of(const struct world *world)
{
    struct event_log_stats stats;
    event_log_stats(world->log, &stats);
    return stats;
}

static uint64_t size_of(const struct world *world, const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", world->dir, name);
    struct stat about;
    return stat(path, &about) == 0 ? (uint64_t)about.st_size : UINT64_MAX;
}

static void append(const struct world *world, const char *bytes)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/current.jsonl", world->dir);
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_true(fd >= 0);
    struct err err;
    assert_int_equal(fd_write_all(fd, bytes, strlen(bytes), &err), 0);
    close(fd);
}

// ---- the tests ----------------------------------------------------------------------------

static void an_event_has_the_shape_of_amazons(void **state)
{
    struct world *world = *state;
    tell(world, "t1", 3);
    struct event_query query = own();
    uint64_t after = 0;
    const struct event_entry *entry = event_log_next(world->log, &query, &after);
    assert_non_null(entry);
    assert_true(text_starts(entry->event, TEXT("{\"version\":\"0\",\"id\":\"")));
    AUTO(alloc_string) char *event = alloc_format("%.*s", TEXT_FMT(entry->event));
    assert_non_null(strstr(event,
                           "\"detail-type\":\"ECS Task State Change\",\"source\":\"aws.ecs\","
                           "\"account\":\"111122223333\",\"time\":\"20"));
    assert_non_null(strstr(event, "Z\",\"region\":\"eu-west-1\",\"resources\":[\"" TASK_ARN
                                  "t1\"],\"detail\":{"));
    assert_non_null(strstr(event, "\"createdAt\":\"2023-11-14T22:13:20.123Z\""));
    assert_non_null(strstr(event, "\"stoppedReason\":\"xxx\""));
    assert_true(text_is(entry->cluster, "c"));
    assert_true(text_is(entry->service, "web"));
    assert_true(text_is(entry->task, "t1"));
}

static void queries_choose(void **state)
{
    struct world *world = *state;
    tell(world, "t1", 1);
    tell(world, "t2", 1);
    const struct {
        const char *name;
        struct event_query change;
        const char *want;
    } cases[] = {
        {"all", {.since_ms = 0}, "t1 t2 "},
        {"another account", {.account = TEXT("999999999999")}, ""},
        {"another region", {.region = TEXT("us-east-1")}, ""},
        {"a type", {.type = TEXT("ECS Task State Change")}, "t1 t2 "},
        {"another type", {.type = TEXT("ECS Service Action")}, ""},
        {"a cluster", {.cluster = TEXT("c")}, "t1 t2 "},
        {"by ARN", {.cluster = TEXT("arn:aws:ecs:eu-west-1:111122223333:cluster/c")}, "t1 t2 "},
        {"another cluster", {.cluster = TEXT("d")}, ""},
        {"the service of a task", {.service = TEXT("web")}, "t1 t2 "},
        {"another service", {.service = TEXT("we")}, ""},
        {"a task", {.task = TEXT("t2")}, "t2 "},
        {"a task by ARN", {.task = TEXT(TASK_ARN "t1")}, "t1 "},
        {"time", {.since_ms = INT64_MAX}, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        struct event_query query = cases[i].change;
        query.account = text_empty(query.account) ? own().account : query.account;
        query.region = text_empty(query.region) ? own().region : query.region;
        assert_string_equal(found(world, query), cases[i].want);
    }
}

static void a_restart_keeps_events_and_order(void **state)
{
    struct world *world = *state;
    tell(world, "t1", 1);
    tell(world, "t2", 1);
    reopen(world);
    tell(world, "t3", 1);
    reopen(world);
    assert_string_equal(found(world, own()), "t1 t2 t3 ");
    assert_int_equal(stats_of(world).refused, 0);
}

// What a crash tears off, or somebody writes into the file, costs those lines and no others.
static void lines_that_cannot_be_read_are_left_out(void **state)
{
    static const char *const bad[] = {
        "\n",
        "{}\n",
        "no JSON\n",
        "{\"sequence\":1,\"at\":1,\"type\":\"t\",\"resource\":\"" TASK_ARN "x\",\"event\":{}}\n",
        "{\"sequence\":9223372036854775807,\"at\":1,\"type\":\"t\",\"resource\":\"" TASK_ARN
        "x\",\"event\":{}}\n",
        "{\"sequence\":4000000000000000000,\"at\":1,\"type\":\"t\",\"resource\":\"arn:x\","
        "\"event\":{}}\n",
        "{\"sequence\":4000000000000000000,\"at\":1,\"type\":\"t\",\"resource\":\"" TASK_ARN
        "x\",\"event\":7}\n",
    };
    struct world *world = *state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        print_message("%s", bad[i]);
        char id[8];
        snprintf(id, sizeof(id), "t%zu", i);
        tell(world, id, 1);
        settle(world);
        append(world, bad[i]);
        reopen(world);
        // Line 1 is empty; the others are counted each time that the file is read.
        assert_int_equal(stats_of(world).refused, i);
    }
    assert_string_equal(found(world, own()), "t0 t1 t2 t3 t4 t5 t6 ");
    settle(world);
    uint64_t size = size_of(world, "current.jsonl");
    append(world, "{\"sequence\":5,\"at\":1,\"type\":\"t\",\"resource\":\"arn");
    reopen(world);
    assert_int_equal(size_of(world, "current.jsonl"), size); // a torn line is cut off
    tell(world, "t7", 1);
    reopen(world);
    assert_string_equal(found(world, own()), "t0 t1 t2 t3 t4 t5 t6 t7 ");
}

// Neither files nor memory grow beyond the bound, and the newest events are those that stay.
static void the_log_is_bounded(void **state)
{
    struct world *world = *state;
    world->segment_bytes = 20000;
    reopen(world);
    for (int i = 0; i < 300; i++) {
        char id[16];
        snprintf(id, sizeof(id), "t%d", i);
        tell(world, id, 500);
        if (i % 7 == 0) {
            settle(world); // jobs of one line and of several
        }
    }
    settle(world);
    assert_in_range(size_of(world, "current.jsonl"), 1, world->segment_bytes);
    assert_in_range(size_of(world, "previous.jsonl"), world->segment_bytes / 2,
                    world->segment_bytes);
    assert_int_equal(stats_of(world).unwritten, 0);
    size_t kept = stats_of(world).kept;
    assert_in_range(kept, 20, 60);
    assert_non_null(strstr(found(world, own()), " t298 t299 "));
    struct event_query query = own();
    uint64_t first = 0;
    assert_non_null(event_log_next(world->log, &query, &first));
    assert_true(event_log_missed(world->log, first - 2));
    assert_false(event_log_missed(world->log, first - 1));
    assert_false(event_log_missed(world->log, first));
    assert_false(event_log_missed(world->log, 0)); // from the beginning, whatever that is
    reopen(world);
    assert_non_null(strstr(found(world, own()), " t298 t299 "));
    assert_in_range(stats_of(world).kept, 10, kept);
    assert_true(event_log_missed(world->log, 1));
    // One that is larger than all of it is the only one.
    tell(world, "large", 100000);
    assert_string_equal(found(world, own()), "large ");
    reopen(world);
    assert_string_equal(found(world, own()), "large ");
}

// Numbers go on behind those that were given out, even if nothing of them reached the disk.
static void numbers_ascend_without_the_files(void **state)
{
    struct world *world = *state;
    tell(world, "t1", 1);
    struct event_query query = own();
    uint64_t before = 0;
    assert_non_null(event_log_next(world->log, &query, &before));
    event_log_close(world->log);
    char path[128];
    snprintf(path, sizeof(path), "%s/current.jsonl", world->dir);
    assert_int_equal(unlink(path), 0);
    open_log(world);
    tell(world, "t2", 1);
    assert_string_equal(found(world, own()), "t2 ");
    uint64_t after = before;
    assert_non_null(event_log_next(world->log, &query, &after));
    assert_true(after > before);
}

static void a_directory_that_cannot_be_had_leaves_memory(void **state)
{
    struct world *world = *state;
    event_log_close(world->log);
    const struct event_log_options options = {.loop = &world->loop, .dir = "/dev/null/events"};
    world->log = event_log_open(&options);
    tell(world, "t1", 1);
    assert_string_equal(found(world, own()), "t1 ");
    assert_int_equal(stats_of(world).unwritten, 1);
}

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "line %d: not %s\n", __LINE__, #condition);                            \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

// On a file system of 256 KiB: events stay readable, whole lines stay in the file, and when there
// is room again the log writes on.
static void run_on_full_disk(struct world *world)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/filler", world->dir);
    int filler = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(filler >= 0);
    struct text bytes = {alloc_array(200000, 1), 200000};
    struct err err;
    CHECK(fd_write_all(filler, bytes.data, bytes.size, &err) == 0);
    for (int i = 0; i < 60; i++) {
        char id[16];
        snprintf(id, sizeof(id), "t%d", i);
        tell(world, id, 2000);
        settle(world);
    }
    struct event_log_stats stats = stats_of(world);
    CHECK(stats.unwritten > 0);
    CHECK(stats.unwritten < 60);
    CHECK(stats.kept == 60);
    CHECK(ftruncate(filler, 0) == 0);
    tell(world, "late", 1);
    settle(world);
    CHECK(stats_of(world).unwritten == stats.unwritten);
    reopen(world);
    CHECK(stats_of(world).refused == 0);
    CHECK(stats_of(world).kept == 61 - stats.unwritten);
    CHECK(strstr(found(world, own()), "t0 ") != NULL);
    CHECK(strstr(found(world, own()), " late ") != NULL);
}

static void a_full_disk_ends_nothing(void **state)
{
    struct world *world = *state;
    event_log_close(world->log);
    world->log = NULL;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (unshare(CLONE_NEWNS) != 0 ||
            mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0 ||
            mount("tmpfs", world->dir, "tmpfs", 0, "size=256k") != 0) {
            _exit(SKIPS);
        }
        CHECK(uv_loop_fork(&world->loop) == 0);
        open_log(world);
        run_on_full_disk(world);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == SKIPS) {
        print_message("SKIP: mounting a small file system needs root\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void note(void *context)
{
    (*(int *)context)++;
}

// What has no ARN is no event; whoever watches hears of each that is one.
static void watchers_hear_of_events(void **state)
{
    struct world *world = *state;
    int count = 0;
    event_log_watch(world->log, note, &count);
    tell(world, "t1", 1);
    const struct core_effect none = {
        .kind = CORE_EFFECT_EVENT, .target = TEXT("x"), .type = "Expired", .shape = NULL};
    event_log_effect(world->log, &none);
    assert_int_equal(count, 1);
    event_log_watch(world->log, NULL, NULL);
    tell(world, "t2", 1);
    assert_int_equal(count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_event_has_the_shape_of_amazons, set_up, tear_down),
        cmocka_unit_test_setup_teardown(queries_choose, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_restart_keeps_events_and_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lines_that_cannot_be_read_are_left_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_log_is_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(numbers_ascend_without_the_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_directory_that_cannot_be_had_leaves_memory, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(watchers_hear_of_events, set_up, tear_down),
        // Last: it forks, which the worker threads of the others should not see.
        cmocka_unit_test_setup_teardown(a_full_disk_ends_nothing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
