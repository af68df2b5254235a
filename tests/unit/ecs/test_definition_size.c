#include "harness.h"

#include "base/text.h"
#include "ecs/ecs.h"

static void cpu_is_units_or_cpus(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int want_rc;
        int64_t want_units;
    } cases[] = {
        {"1024", 0, 1024},
        {"256", 0, 256},
        {"1 vCPU", 0, 1024},
        {"1vcpu", 0, 1024},
        {".5 vcpu", 0, 512},
        {"0.25 VCPU", 0, 256},
        {"1.5vCPU", 0, 1536},
        {" 512 ", 0, 512},
        {"0", 0, 0},
        {"", ERR_INVALID, -1},
        {"vCPU", ERR_INVALID, -1},
        {"abc", ERR_INVALID, -1},
        {".5", ERR_INVALID, -1},
        {"1.", ERR_INVALID, -1},
        {"1. vCPU", ERR_INVALID, -1},
        {"-1", ERR_INVALID, -1},
        {"1 cpu", ERR_INVALID, -1},
        {"0.3 vCPU", ERR_INVALID, -1},
        {"1e3", ERR_INVALID, -1},
        {"99999999999", ERR_INVALID, -1},
        {"1.0000000000 vCPU", ERR_INVALID, -1},
        {"1 vCPU 2", ERR_INVALID, -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("'%s'\n", cases[i].text);
        int64_t units = -1;
        assert_int_equal(ecs_parse_cpu(text_of(cases[i].text), &units), cases[i].want_rc);
        assert_int_equal(units, cases[i].want_units);
    }
}

static void memory_is_mib_or_gb(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int want_rc;
        int64_t want_mib;
    } cases[] = {
        {"2048", 0, 2048},     {"2GB", 0, 2048},          {"2 gb", 0, 2048},
        {"0.5GB", 0, 512},     {"2 MB", ERR_INVALID, -1}, {"2.1 GB", ERR_INVALID, -1},
        {"", ERR_INVALID, -1}, {"GB", ERR_INVALID, -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("'%s'\n", cases[i].text);
        int64_t mib = -1;
        assert_int_equal(ecs_parse_memory(text_of(cases[i].text), &mib), cases[i].want_rc);
        assert_int_equal(mib, cases[i].want_mib);
    }
}

// The table of Fargate's sizes, row by row: the ends, one step, and what is just beside them.
static void fargate_sizes_are_the_table(void **state)
{
    (void)state;
    static const struct {
        int64_t cpu_units;
        int64_t min_mib;
        int64_t max_mib;
        int64_t step_mib;
    } rows[] = {
        {512, 1024, 4096, 1024},   {1024, 2048, 8192, 1024},   {2048, 4096, 16384, 1024},
        {4096, 8192, 30720, 1024}, {8192, 16384, 61440, 4096}, {16384, 32768, 122880, 8192},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t cpu = rows[i].cpu_units;
        print_message("%lld units\n", (long long)cpu);
        for (int64_t mib = rows[i].min_mib; mib <= rows[i].max_mib; mib += rows[i].step_mib) {
            assert_true(ecs_fargate_size_valid(cpu, mib));
            assert_false(ecs_fargate_size_valid(cpu, mib + 1));
            assert_false(ecs_fargate_size_valid(cpu, mib + rows[i].step_mib / 2));
            assert_false(ecs_fargate_size_valid(cpu + 1, mib));
        }
        assert_false(ecs_fargate_size_valid(cpu, rows[i].min_mib - rows[i].step_mib));
        assert_false(ecs_fargate_size_valid(cpu, rows[i].max_mib + rows[i].step_mib));
    }
    assert_true(ecs_fargate_size_valid(256, 512));
    assert_true(ecs_fargate_size_valid(256, 1024));
    assert_true(ecs_fargate_size_valid(256, 2048));
    assert_false(ecs_fargate_size_valid(256, 1536));
    assert_false(ecs_fargate_size_valid(256, 3072));
    assert_false(ecs_fargate_size_valid(0, 0));
    assert_false(ecs_fargate_size_valid(-256, 512));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_is_units_or_cpus),
        cmocka_unit_test(memory_is_mib_or_gb),
        cmocka_unit_test(fargate_sizes_are_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
