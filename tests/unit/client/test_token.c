#include "base/text.h"
#include "client/token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define HASH "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static void what_is_composed_parses(void **state)
{
    (void)state;
    static const char *const endpoints[] = {"https://10.0.0.1:4566", "https://[::1]:4566",
                                            "https://berth.example.org:443", "https://a"};
    for (size_t i = 0; i < ARRAY_LEN(endpoints); i++) {
        AUTO(arena_deinit) struct arena arena = {0};
        const struct client_token token = {.token_id = TEXT("0123abcd"),
                                           .secret = TEXT("5ec7e7"),
                                           .ca_sha256 = TEXT(HASH),
                                           .endpoint = text_of(endpoints[i])};
        struct text text = client_token_compose(&token, &arena);
        assert_true(text_starts(text, TEXT("berth1.0123abcd.5ec7e7." HASH ".")));
        struct text pasted = arena_format(&arena, "  %.*s\r\n", TEXT_FMT(text));
        struct client_token read = {0};
        struct err err = {0};
        assert_int_equal(client_token_parse(pasted, &arena, &read, &err), 0);
        assert_true(text_equal(read.token_id, token.token_id));
        assert_true(text_equal(read.secret, token.secret));
        assert_true(text_equal(read.ca_sha256, token.ca_sha256));
        assert_true(text_equal(read.endpoint, token.endpoint));
        assert_int_equal(read.endpoint.data[read.endpoint.size], '\0');
    }
}

// What people paste instead; the sentence must never repeat the secret.
static void damage_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *want;
    } cases[] = {
        {"", "must begin with 'berth1.'"},
        {"hello", "must begin with 'berth1.'"},
        {"berth2.id.5ec7e7." HASH ".aHR0cHM6Ly9h", "must begin with 'berth1.'"},
        {"berth1.id.5ec7e7." HASH, "incomplete"},
        {"berth1.id.5ec7e7." HASH ".aHR0cHM6Ly9h.more", "incomplete"},
        {"berth1..5ec7e7." HASH ".aHR0cHM6Ly9h", "incomplete"},
        {"berth1.id.." HASH ".aHR0cHM6Ly9h", "incomplete"},
        {"berth1.id.5ec7e7.0011.aHR0cHM6Ly9h", "incomplete"},
        {"berth1.id.5ec7e7." HASH ".a/b+", "incomplete"},
        {"berth1.id.5ec7e7." HASH ".", "names no https endpoint"},
        {"berth1.id.5ec7e7." HASH ".aHR0cDovL2E", "names no https endpoint"},
        {"berth1.id.5ec7e7." HASH ".aHR0cHM6Ly8gCg", "names no https endpoint"},
        {"berth1.id.5ec 7e7." HASH ".aHR0cHM6Ly9h", "damaged"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].text);
        AUTO(arena_deinit) struct arena arena = {0};
        struct client_token token = {0};
        struct err err = {0};
        assert_int_equal(client_token_parse(text_of(cases[i].text), &arena, &token, &err),
                         ERR_INVALID);
        assert_non_null(strstr(err.text, cases[i].want));
        assert_null(strstr(err.text, "5ec7e7"));
        assert_null(token.secret.data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_composed_parses),
        cmocka_unit_test(damage_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
