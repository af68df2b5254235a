#include "core/chance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

// RFC 8439, appendix A.1, test vector 1: key, counter and nonce are zero.
static void block_agrees_with_the_rfc(void **state)
{
    (void)state;
    static const uint32_t want[16] = {
        0xade0b876, 0x903df1a0, 0xe56a5d40, 0x28bd8653, 0xb819d2bd, 0x1aed8da0,
        0xccef36a8, 0xc70d778b, 0x7c5941da, 0x8d485751, 0x3fe02477, 0x374ad8b8,
        0xf4b8436a, 0x1ca11815, 0x69b687c3, 0x8665eeb2,
    };
    static const uint32_t key[8] = {0};
    uint32_t words[16];
    chance_block(key, words);
    assert_memory_equal(words, want, sizeof(want));
}

static void streams_follow_from_entropy_alone(void **state)
{
    (void)state;
    unsigned char entropy[32] = {7};
    struct chance first;
    struct chance second;
    memset(&second, 0xff, sizeof(second));
    chance_init(&first, entropy);
    chance_init(&second, entropy);
    uint64_t drawn[100];
    for (size_t i = 0; i < ARRAY_LEN(drawn); i++) {
        drawn[i] = chance_next(&first);
        assert_true(drawn[i] == chance_next(&second));
        for (size_t j = 0; j < i; j++) {
            assert_true(drawn[i] != drawn[j]);
        }
    }
    entropy[31] = 1;
    chance_init(&first, entropy);
    assert_true(chance_next(&first) != drawn[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(block_agrees_with_the_rfc),
        cmocka_unit_test(streams_follow_from_entropy_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
