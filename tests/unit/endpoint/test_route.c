#include "base/text.h"
#include "endpoint/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void paths_lead_where_amazons_do(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        const char *query;
        enum route_kind kind;
        int version;
        const char *id;
        const char *name;
    } cases[] = {
        {"/v4/abc", NULL, ROUTE_CONTAINER, 4, "abc", NULL},
        {"/v4/abc/", NULL, ROUTE_CONTAINER, 4, "abc", NULL},
        {"/v4/abc/task", NULL, ROUTE_TASK, 4, "abc", NULL},
        {"/v4/abc/taskWithTags", NULL, ROUTE_TASK_WITH_TAGS, 4, "abc", NULL},
        {"/v4/abc/stats", NULL, ROUTE_CONTAINER_STATS, 4, "abc", NULL},
        {"/v4/abc/task/stats", NULL, ROUTE_TASK_STATS, 4, "abc", NULL},
        {"/v3/abc", NULL, ROUTE_CONTAINER, 3, "abc", NULL},
        {"/v3/abc/task/stats", NULL, ROUTE_TASK_STATS, 3, "abc", NULL},
        {"/v4/abc/associations/gpu", NULL, ROUTE_ASSOCIATIONS, 4, "abc", "gpu"},
        {"/v4/abc/associations/gpu/0", NULL, ROUTE_ASSOCIATION, 4, "abc", "gpu"},
        {"/v4/abc/task/tags", NULL, ROUTE_NONE, 4, "abc", NULL},
        {"/v4/abc/stats/stats", NULL, ROUTE_NONE, 4, "abc", NULL},
        {"/v4/abc/associations", NULL, ROUTE_NONE, 4, "abc", NULL},
        {"/v4/abc/associations/gpu/0/1", NULL, ROUTE_NONE, 4, "abc", NULL},
        {"/v4", NULL, ROUTE_NONE, 0, NULL, NULL},
        {"/v5/abc", NULL, ROUTE_NONE, 0, NULL, NULL},
        {"/v2/metadata", NULL, ROUTE_TASK, 2, NULL, NULL},
        {"/v2/metadata/", NULL, ROUTE_TASK, 2, NULL, NULL},
        {"/v2/metadata/c1", NULL, ROUTE_CONTAINER, 2, "c1", NULL},
        {"/v2/metadataWithTags", NULL, ROUTE_TASK_WITH_TAGS, 2, NULL, NULL},
        {"/v2/stats", NULL, ROUTE_TASK_STATS, 2, NULL, NULL},
        {"/v2/stats/c1", NULL, ROUTE_CONTAINER_STATS, 2, "c1", NULL},
        {"/v2/stats/c1/x", NULL, ROUTE_NONE, 2, NULL, NULL},
        {"/v2/credentials/k", NULL, ROUTE_CREDENTIALS, 2, "k", NULL},
        {"/v2/credentials", NULL, ROUTE_CREDENTIALS, 2, NULL, NULL},
        {"/v1/credentials", "a=b&id=k", ROUTE_CREDENTIALS, 1, "k", NULL},
        {"/v1/credentials", NULL, ROUTE_CREDENTIALS, 1, NULL, NULL},
        {"/api/abc/task-protection/v1/state", NULL, ROUTE_PROTECTION, 0, "abc", NULL},
        {"/api/abc/task-protection/v2/state", NULL, ROUTE_NONE, 0, NULL, NULL},
        {"/api/abc/task-protection/v1/state/x/y", NULL, ROUTE_NONE, 0, NULL, NULL},
        {"/api/abc/fault/v1/network-blackhole-port/start", NULL, ROUTE_FAULT, 0, "abc", NULL},
        {"/api/abc/fault/v1/network-latency/stop", NULL, ROUTE_FAULT, 0, "abc", NULL},
        {"/api/abc/fault/v1/network-packet-loss/status", NULL, ROUTE_FAULT, 0, "abc", NULL},
        {"/api/abc/fault/v1/network-packet-loss/check", NULL, ROUTE_NONE, 0, NULL, NULL},
        {"/api/abc/fault/v1/network/start", NULL, ROUTE_NONE, 0, NULL, NULL},
        {"/api/abc/fault/v2/network-latency/start", NULL, ROUTE_NONE, 0, NULL, NULL},
        {"/api/abc/fault/v1/network-latency", NULL, ROUTE_NONE, 0, NULL, NULL},
        {"/api/abc", NULL, ROUTE_NONE, 0, NULL, NULL},
        {"v4/abc", NULL, ROUTE_NONE, 0, NULL, NULL},
        {"/", NULL, ROUTE_NONE, 0, NULL, NULL},
        {"", NULL, ROUTE_NONE, 0, NULL, NULL},
        {"//////////", NULL, ROUTE_NONE, 0, NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].path);
        struct route route = route_parse(text_of(cases[i].path), text_of(cases[i].query));
        assert_int_equal(route.kind, cases[i].kind);
        if (cases[i].kind == ROUTE_NONE) {
            continue;
        }
        assert_int_equal(route.version, cases[i].version);
        assert_true(cases[i].id == NULL ? text_empty(route.id) : text_is(route.id, cases[i].id));
        assert_true(cases[i].name == NULL ? text_empty(route.name)
                                          : text_is(route.name, cases[i].name));
    }
}

static void long_paths_lead_nowhere(void **state)
{
    (void)state;
    char path[ROUTE_PATH_MAX + 2];
    memset(path, 'a', sizeof(path));
    memcpy(path, "/v4/", 4);
    assert_int_equal(route_parse((struct text){path, ROUTE_PATH_MAX}, TEXT("")).kind,
                     ROUTE_CONTAINER);
    assert_int_equal(route_parse((struct text){path, ROUTE_PATH_MAX + 1}, TEXT("")).kind,
                     ROUTE_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_lead_where_amazons_do),
        cmocka_unit_test(long_paths_lead_nowhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
