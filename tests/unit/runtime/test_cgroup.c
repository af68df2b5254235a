#include "base/text.h"
#include "runtime/cgroup_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define V2 "31 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
#define TMPFS "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
#define V1_CPU                                                                                     \
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct\n"
#define V1_MEMORY "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
#define V1_FREEZER "37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer\n"
#define V1_SYSTEMD "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
#define UNIFIED "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
#define OTHER "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
#define ELSEWHERE "60 27 0:50 / /mnt/docker/cgroup rw - cgroup cgroup rw,memory\n"

static void layout_is_read_from_the_mount_table(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *mountinfo;
        int want_rc;
        enum cgroup_layout want;
        size_t want_count;
        const char *want_unified;
    } cases[] = {
        {"v2", OTHER V2, 0, CGROUP_V2, 0, "/sys/fs/cgroup"},
        {"v1", OTHER TMPFS V1_CPU V1_MEMORY V1_FREEZER V1_SYSTEMD, 0, CGROUP_V1, 4, ""},
        {"hybrid", TMPFS V1_CPU V1_MEMORY UNIFIED, 0, CGROUP_HYBRID, 2, "/sys/fs/cgroup/unified"},
        {"none", OTHER, 0, CGROUP_NONE, 0, ""},
        {"a mount elsewhere does not count", OTHER V2 ELSEWHERE, 0, CGROUP_V2, 0, "/sys/fs/cgroup"},
        {"no mount table", "what is this\n", ERR_INVALID, CGROUP_NONE, 0, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cgroup_host host = {.layout = CGROUP_NONE};
        print_message("%s\n", cases[i].name);
        assert_int_equal(cgroup_detect(text_of(cases[i].mountinfo), &host), cases[i].want_rc);
        assert_int_equal(host.layout, cases[i].want);
        assert_int_equal(host.count, cases[i].want_count);
        assert_string_equal(host.unified, cases[i].want_unified);
    }
}

// Names of containers never meet those of the kernel's files, nor each other, nor the supervisor.
static void paths_bear_instance_and_task(void **state)
{
    (void)state;
    static char long_name[255];
    AUTO(arena_deinit) struct arena arena = {0};
    struct cgroup_host v1;
    struct cgroup_host v2;
    memset(long_name, 'x', sizeof(long_name));
    assert_int_equal(cgroup_detect(text_of(TMPFS V1_CPU V1_MEMORY V1_FREEZER), &v1), 0);
    assert_int_equal(cgroup_detect(text_of(V2), &v2), 0);
    struct cgroup_task task = {&v1, "1a2b3c4d", TEXT("0123456789abcdef0123456789abcdef")};
    assert_true(text_is(cgroup_container_path(&task, 0, TEXT("tasks"), &arena),
                        "/berth-1a2b3c4d/0123456789abcdef0123456789abcdef/0-tasks"));
    assert_true(
        text_is(cgroup_memory_directory(&task, 1, TEXT("web"), &arena),
                "/sys/fs/cgroup/memory/berth-1a2b3c4d/0123456789abcdef0123456789abcdef/1-web"));
    assert_true(
        text_is(cgroup_freezer_directory(&task, 1, TEXT("web"), &arena),
                "/sys/fs/cgroup/freezer/berth-1a2b3c4d/0123456789abcdef0123456789abcdef/1-web"));
    struct text_list list = cgroup_supervisor_directories(&task, &arena);
    assert_int_equal(list.count, 4);
    assert_string_equal(cgroup_finder(&v1), "/sys/fs/cgroup/freezer");
    task.host = &v2;
    assert_true(text_is(cgroup_freezer_directory(&task, 1, TEXT("web"), &arena),
                        "/sys/fs/cgroup/berth-1a2b3c4d/0123456789abcdef0123456789abcdef/1-web"));
    list = cgroup_supervisor_directories(&task, &arena);
    assert_int_equal(list.count, 1);
    assert_true(
        text_is(list.items[0],
                "/sys/fs/cgroup/berth-1a2b3c4d/0123456789abcdef0123456789abcdef/supervisor"));
    struct text path =
        cgroup_container_path(&task, 9, (struct text){long_name, sizeof(long_name)}, &arena);
    assert_true(path.size - text_find_last(path, '/') - 1 <= 255);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layout_is_read_from_the_mount_table),
        cmocka_unit_test(paths_bear_instance_and_task),
    };
    return cmocka_run_group_tests_name("cgroup", tests, NULL, NULL);
}
