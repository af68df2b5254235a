#include "base/alloc.h"
#include "net/net_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

// The file that remembers a task of the bridge network.

#define ID "0123456789abcdef0123456789abcdef"

static void files_are_read_as_written(void **state)
{
    (void)state;
    static const char content[] = "address 172.17.0.16 2\n"
                                  "tcp 0 8080 80 1\n"
                                  "udp 1 32768 53 10\n";
    struct net_task_entry *entry = NULL;
    assert_int_equal(net_task_file_read(TEXT(ID), text_of(content), &entry), 0);
    assert_string_equal(entry->id, ID);
    assert_int_equal(entry->binding_count, 2);
    assert_int_equal(entry->bindings[1].forward.address, entry->address + 1);
    assert_null(entry->bindings[1].holders);
    AUTO(buf_deinit) struct buf written = {0};
    net_task_file_write(entry, &written);
    assert_true(text_is(buf_view(&written), content));
    net_task_entry_free(entry);
}

static void damaged_files_are_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "address\n",
        "address 172.17.0.16\n",
        "address 172.17.0.16 0\n",
        "address 172.17.0.16 17\n",
        "address 172.17.0.x 1\n",
        "tcp 0 8080 80 1\n",
        "address 172.17.0.16 1\ntcp 1 8080 80 1\n",
        "address 172.17.0.16 1\nsctp 0 8080 80 1\n",
        "address 172.17.0.16 1\ntcp 0 0 80 1\n",
        "address 172.17.0.16 1\ntcp 0 8080 0 1\n",
        "address 172.17.0.16 1\ntcp 0 8080 80 0\n",
        "address 172.17.0.16 1\ntcp 0 65535 80 2\n",
        "address 172.17.0.16 1\ntcp 0 80 65535 2\n",
        "address 172.17.0.16 1\ntcp 0 8080 80\n",
        "address 172.17.0.16 1\ntcp 0 8080 80 1 9\n",
        "address 172.17.0.16 1\ntcp 0 8080 80 1\nudp 0 80",
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct net_task_entry *entry = NULL;
        print_message("%s\n", cases[i]);
        assert_int_equal(net_task_file_read(TEXT(ID), text_of(cases[i]), &entry), ERR_CORRUPT);
        assert_null(entry);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_read_as_written),
        cmocka_unit_test(damaged_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
