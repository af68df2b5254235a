#include "runtime/spec.h"

#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

// Links between the containers of a task, as Docker's legacy links.

static void links_are_taken_apart(void **state)
{
    (void)state;
    static const struct {
        const char *link;
        const char *name;
        const char *alias;
    } cases[] = {
        {"db", "db", "db"},
        {"db:database", "db", "database"},
        {"db:", "db", "db"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct text name = {0};
        struct text alias = {0};
        print_message("%s\n", cases[i].link);
        spec_link_parse(text_of(cases[i].link), &name, &alias);
        assert_true(text_is(name, cases[i].name));
        assert_true(text_is(alias, cases[i].alias));
    }
}

static void ranges_are_taken_apart(void **state)
{
    (void)state;
    static const struct {
        const char *range;
        int rc;
        uint16_t first;
        uint16_t last;
    } cases[] = {
        {"8000-8010", 0, 8000, 8010},     {"1-65535", 0, 1, 65535},   {"0-1", ERR_INVALID, 7, 7},
        {"1-65536", ERR_INVALID, 7, 7},   {"2-1", ERR_INVALID, 7, 7}, {"80", ERR_INVALID, 7, 7},
        {"80-90-100", ERR_INVALID, 7, 7}, {"", ERR_INVALID, 7, 7},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint16_t first = 7;
        uint16_t last = 7;
        print_message("%s\n", cases[i].range);
        assert_int_equal(spec_port_range(text_of(cases[i].range), &first, &last), cases[i].rc);
        assert_int_equal(first, cases[i].first);
        assert_int_equal(last, cases[i].last);
    }
}

// Docker's variables: the default port is the lowest, TCP before UDP; PATH and HOME stay out.
static void links_give_dockers_variables(void **state)
{
    (void)state;
    struct ecs_port_mapping ports[] = {
        {.container_port = 53, .protocol = ECS_TRANSPORT_PROTOCOL_UDP},
        {.container_port = 53, .protocol = ECS_TRANSPORT_PROTOCOL_TCP},
        {.container_port_range = TEXT("8000-8001")},
    };
    struct ecs_key_value_pair variables[] = {{.name = TEXT("MODE"), .value = TEXT("fast")},
                                             {.name = TEXT("HOME"), .value = TEXT("/x")}};
    const struct ecs_container_definition other = {
        .name = TEXT("my-db"),
        .port_mappings = {.items = ports, .count = ARRAY_LEN(ports)},
        .environment = {.items = variables, .count = ARRAY_LEN(variables)},
    };
    struct text image_variables[] = {TEXT("PATH=/bin"), TEXT("LANG=C")};
    const struct image image = {.environment = {image_variables, 2}};
    const struct spec_link link = {.container = &other,
                                   .image = &image,
                                   .address = TEXT("172.17.0.17"),
                                   .alias = TEXT("my-db")};
    static const char *const want[] = {
        "MY_DB_NAME=/web/my-db",
        "MY_DB_PORT_53_UDP=udp://172.17.0.17:53",
        "MY_DB_PORT_53_UDP_ADDR=172.17.0.17",
        "MY_DB_PORT_53_UDP_PORT=53",
        "MY_DB_PORT_53_UDP_PROTO=udp",
        "MY_DB_PORT_53_TCP=tcp://172.17.0.17:53",
        "MY_DB_PORT_53_TCP_ADDR=172.17.0.17",
        "MY_DB_PORT_53_TCP_PORT=53",
        "MY_DB_PORT_53_TCP_PROTO=tcp",
        "MY_DB_PORT_8000_TCP=tcp://172.17.0.17:8000",
        "MY_DB_PORT_8000_TCP_ADDR=172.17.0.17",
        "MY_DB_PORT_8000_TCP_PORT=8000",
        "MY_DB_PORT_8000_TCP_PROTO=tcp",
        "MY_DB_PORT_8001_TCP=tcp://172.17.0.17:8001",
        "MY_DB_PORT_8001_TCP_ADDR=172.17.0.17",
        "MY_DB_PORT_8001_TCP_PORT=8001",
        "MY_DB_PORT_8001_TCP_PROTO=tcp",
        "MY_DB_PORT=tcp://172.17.0.17:53",
        "MY_DB_ENV_LANG=C",
        "MY_DB_ENV_MODE=fast",
    };
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf out = {0};
    spec_link_environment(&link, TEXT("web"), &arena, &out);
    const struct text *got = (const struct text *)(const void *)out.data;
    for (size_t i = 0; i < out.size / sizeof(*got) && i < ARRAY_LEN(want); i++) {
        print_message("%.*s\n", TEXT_FMT(got[i]));
        assert_true(text_is(got[i], want[i]));
    }
    assert_int_equal(out.size / sizeof(*got), ARRAY_LEN(want));
}

// A link is a dependency, unless one is there that waits for as much or more.
static void links_are_dependencies(void **state)
{
    (void)state;
    struct text links[] = {TEXT("db:database"), TEXT("cache"), TEXT("db")};
    const struct ecs_container_definition definition = {.links = {links, ARRAY_LEN(links)}};
    struct supervisor_dependency own[] = {
        {.container = TEXT("cache"), .condition = SUPERVISOR_CONDITION_HEALTHY}};
    struct supervisor_dependency_list list = {own, 1};
    AUTO(arena_deinit) struct arena arena = {0};
    spec_links_depend(&definition, &arena, &list);
    assert_int_equal(list.count, 2);
    assert_true(text_is(list.items[0].container, "cache"));
    assert_int_equal(list.items[0].condition, SUPERVISOR_CONDITION_HEALTHY);
    assert_true(text_is(list.items[1].container, "db"));
    assert_int_equal(list.items[1].condition, SUPERVISOR_CONDITION_START);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(links_are_taken_apart),
        cmocka_unit_test(ranges_are_taken_apart),
        cmocka_unit_test(links_give_dockers_variables),
        cmocka_unit_test(links_are_dependencies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
