// cmocka wants these in front of its own header.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "ecs/place.h"

#include <string.h>

// place_spread() must skip what does not fit before it compares, and must break ties by key so
// that replicas agree. Nodes are put out of order on purpose.
static void spread_chooses(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct place_node nodes[2]; // with keys 9 and 4
        struct place_request request;
        int want_rc;
        int64_t want;
    } cases[] = {
        {
            "fewer tasks win over more room",
            {{true, PLACE_ANY, 1024, 512, 9, 1}, {true, PLACE_ANY, 4096, 8192, 9, 3}},
            {256, 128, false, PLACE_X86_64},
            0,
            9,
        },
        {
            "a tie goes to the lowest key",
            {{true, PLACE_ANY, 4096, 8192, 9, 2}, {true, PLACE_ANY, 4096, 8192, 9, 2}},
            {256, 128, false, PLACE_X86_64},
            0,
            4,
        },
        {
            "too little memory, and out of contact",
            {{true, PLACE_ANY, 256, 127, 9, 0}, {false, PLACE_ANY, 4096, 8192, 9, 0}},
            {256, 128, false, PLACE_X86_64},
            ERR_NO_ROOM,
            -1,
        },
        {
            "just enough is enough",
            {{true, PLACE_ANY, 256, 128, 1, 7}, {true, PLACE_ANY, 255, 128, 1, 0}},
            {256, 128, true, PLACE_X86_64},
            0,
            9,
        },
        {
            "no slot for an interface",
            {{true, PLACE_ANY, 4096, 8192, 0, 0}, {true, PLACE_ANY, 4096, 8192, 1, 5}},
            {256, 128, true, PLACE_X86_64},
            0,
            4,
        },
        {
            "interfaces are only counted for those who need one",
            {{true, PLACE_ANY, 4096, 8192, -3, 0}, {true, PLACE_ANY, 4096, 8192, 1, 5}},
            {256, 128, false, PLACE_X86_64},
            0,
            9,
        },
        {
            "another architecture",
            {{true, PLACE_X86_64, 4096, 8192, 9, 0}, {true, PLACE_ARM64, 4096, 8192, 9, 5}},
            {256, 128, false, PLACE_ARM64},
            0,
            4,
        },
        {
            "all capabilities that are needed",
            {{true, PLACE_ANY, 4096, 8192, 9, 0, 5}, {true, PLACE_ANY, 4096, 8192, 9, 5, 7}},
            {256, 128, false, PLACE_ANY, 6},
            0,
            4,
        },
        {
            "a task that needs nothing fits where nothing is left, but not where less is",
            {{true, PLACE_ANY, 0, 0, 0, 3}, {true, PLACE_ANY, -1, 0, 0, 0}},
            {0, 0, false, PLACE_ANY},
            0,
            9,
        },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        struct place_set set = {0};
        place_set_put(&set, 9, &cases[i].nodes[0]);
        place_set_put(&set, 4, &cases[i].nodes[1]);
        int64_t node = -1;
        assert_int_equal(place_spread(&set, &cases[i].request, &node, NULL), cases[i].want_rc);
        assert_int_equal(node, cases[i].want);
        place_set_deinit(&set);
    }
}

static void explain_names_the_first_reason(void **state)
{
    (void)state;
    static const struct place_request request = {256, 128, true, PLACE_X86_64};
    static const struct {
        struct place_node node;
        const char *want;
    } cases[] = {
        {{true, PLACE_ANY, 256, 128, 1, 0}, NULL},
        {{false, PLACE_ARM64, 0, 0, 0, 0}, "AGENT"},
        {{true, PLACE_ARM64, 0, 0, 0, 0}, "ATTRIBUTE"},
        {{true, PLACE_ANY, 255, 0, 0, 0}, "RESOURCE:CPU"},
        {{true, PLACE_ANY, 256, 127, 0, 0}, "RESOURCE:MEMORY"},
        {{true, PLACE_ANY, 256, 128, 0, 0}, "RESOURCE:ENI"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *name = place_reason_name(place_explain(&cases[i].node, &request));
        if (cases[i].want == NULL) {
            assert_null(name);
        } else {
            assert_string_equal(name, cases[i].want);
        }
    }
}

// The same choice by looking at every node, for comparison.
static int64_t choose_plainly(const struct place_node *nodes, size_t count,
                              const struct place_request *request)
{
    int64_t best = -1;
    for (size_t i = 0; i < count; i++) {
        if (nodes[i].task_count >= 0 && place_explain(&nodes[i], request) == PLACE_FITS &&
            (best < 0 || nodes[i].task_count < nodes[best - 1].task_count)) {
            best = (int64_t)i + 1;
        }
    }
    return best;
}

static uint64_t next(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

// Summaries of blocks must never hide a node: choices equal those of a plain scan while nodes come,
// go and change.
static void choices_equal_a_plain_scan(void **state)
{
    (void)state;
    enum { COUNT = 300 };
    static struct place_node nodes[COUNT]; // node i has key i + 1; task_count -1 is not there
    struct place_set set = {0};
    uint64_t seed = 88172645463325252u;
    for (size_t i = 0; i < COUNT; i++) {
        nodes[i].task_count = -1;
    }
    for (size_t step = 0; step < 20000; step++) {
        size_t i = next(&seed) % COUNT;
        if (next(&seed) % 10 == 0) {
            nodes[i].task_count = -1;
            place_set_remove(&set, (int64_t)i + 1);
        } else {
            nodes[i] = (struct place_node){
                .usable = next(&seed) % 8 != 0,
                .architecture = (uint8_t)(next(&seed) % 3 + 1),
                .cpu_units_free = (int32_t)(next(&seed) % 5) * 256,
                .memory_mib_free = (int32_t)(next(&seed) % 5) * 512,
                .eni_free = (int32_t)(next(&seed) % 3),
                .task_count = (int32_t)(next(&seed) % 6),
                .capabilities = (uint32_t)(next(&seed) % 4),
            };
            place_set_put(&set, (int64_t)i + 1, &nodes[i]);
        }
        const struct place_request request = {
            .cpu_units = (int32_t)(next(&seed) % 5) * 256,
            .memory_mib = (int32_t)(next(&seed) % 5) * 512,
            .eni = next(&seed) % 2 == 0,
            .architecture = (uint8_t)(next(&seed) % 3 + 1),
            .capabilities = (uint32_t)(next(&seed) % 4),
        };
        int64_t want = choose_plainly(nodes, COUNT, &request);
        int64_t got = -1;
        int rc = place_spread(&set, &request, &got, NULL);
        assert_int_equal(rc, want < 0 ? ERR_NO_ROOM : 0);
        assert_int_equal(got, want);
        if (step % 1000 == 0) {
            assert_true(place_set_valid(&set));
        }
    }
    assert_true(place_set_valid(&set));
    place_set_deinit(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spread_chooses),
        cmocka_unit_test(explain_names_the_first_reason),
        cmocka_unit_test(choices_equal_a_plain_scan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
