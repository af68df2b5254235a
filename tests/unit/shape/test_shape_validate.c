#include "api/ecs.h"
#include "api/kinds.h"
#include "base/text.h"
#include "fixture.h"
#include "shape/api.h"
#include "shape/json.h"
#include "test.h"

#include <string.h>

#define AT(quoted, path) "Value " quoted "at '" path "' failed to satisfy constraint: Member must "

// Each rule, on its boundary and behind it; bodies are JSON to be easy to read.
static void shape_validate_checks_rules(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *body;
        const char *want_path; // NULL when the value is good
        const char *want_text;
    } cases[] = {
        {"the least that is needed", "{\"id\":\"ab\"}", NULL, NULL},
        {"a required member is missing", "{}", "id", AT("", "id") "not be null"},
        {"lengths count characters", "{\"id\":\"\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\"}", NULL, NULL},
        {"too short", "{\"id\":\"\xC3\xA9\"}", "id",
         AT("'\xC3\xA9' ", "id") "have length greater than or equal to 2"},
        {"too long", "{\"id\":\"abcde\"}", "id",
         AT("'abcde' ", "id") "have length less than or equal to 4"},
        {"a number at its bounds", "{\"id\":\"ab\",\"count\":1}", NULL, NULL},
        {"a number below", "{\"id\":\"ab\",\"count\":0}", "count",
         AT("'0' ", "count") "have value greater than or equal to 1"},
        {"a number above", "{\"id\":\"ab\",\"count\":11}", "count",
         AT("'11' ", "count") "have value less than or equal to 10"},
        {"a long below", "{\"id\":\"ab\",\"big\":-6}", "big",
         AT("'-6' ", "big") "have value greater than or equal to -5"},
        {"a double at its bounds", "{\"id\":\"ab\",\"ratio\":1.0}", NULL, NULL},
        {"a double above", "{\"id\":\"ab\",\"ratio\":1.5}", "ratio",
         AT("'1.5' ", "ratio") "have value less than or equal to 1"},
        {"a double that is no number", "{\"id\":\"ab\",\"ratio\":\"NaN\"}", "ratio",
         AT("'nan' ", "ratio") "have value greater than or equal to 0"},
        {"a list too short", "{\"id\":\"ab\",\"tags\":[]}", "tags",
         AT("", "tags") "have length greater than or equal to 1"},
        {"a list too long", "{\"id\":\"ab\",\"tags\":[\"a\",\"b\",\"c\"]}", "tags",
         AT("", "tags") "have length less than or equal to 2"},
        {"a map too long", "{\"id\":\"ab\",\"labels\":{\"a\":\"\",\"b\":\"\"}}", "labels",
         AT("", "labels") "have length less than or equal to 1"},
        {"an unknown enum", "{\"id\":\"ab\",\"color\":\"pink\"}", "color",
         AT("", "color") "satisfy enum value set: [RED, dark-green, BLUE]"},
        {"an unknown enum in a list", "{\"id\":\"ab\",\"colors\":[\"RED\",\"pink\"]}", "colors[1]",
         AT("", "colors[1]") "satisfy enum value set: [RED, dark-green, BLUE]"},
        {"a pattern that matches", "{\"id\":\"ab\",\"name\":\"web-1\"}", NULL, NULL},
        {"either side of a pattern", "{\"id\":\"ab\",\"name\":\"_\"}", NULL, NULL},
        {"a pattern covers the whole text", "{\"id\":\"ab\",\"name\":\"web_1\"}", "name",
         AT("'web_1' ", "name") "satisfy regular expression pattern: [a-z][a-z0-9-]*|_"},
        {"a newline does not end the text", "{\"id\":\"ab\",\"name\":\"web\\n\"}", "name",
         AT("'web\n' ", "name") "satisfy regular expression pattern: [a-z][a-z0-9-]*|_"},
        {"an empty text against a pattern", "{\"id\":\"ab\",\"name\":\"\"}", "name",
         AT("'' ", "name") "satisfy regular expression pattern: [a-z][a-z0-9-]*|_"},
        {"blobs count bytes and are not quoted", "{\"id\":\"ab\",\"bytes\":\"AAAAAA==\"}", "bytes",
         AT("", "bytes") "have length less than or equal to 3"},
        {"inside a struct", "{\"id\":\"ab\",\"inner\":{}}", "inner.port",
         AT("", "inner.port") "not be null"},
        {"inside a list", "{\"id\":\"ab\",\"inners\":[{\"port\":1},{\"port\":65536}]}",
         "inners[1].port",
         AT("'65536' ", "inners[1].port") "have value less than or equal to 65535"},
        {"inside a map", "{\"id\":\"ab\",\"byName\":{\"web\":{}}}", "byName[web].port",
         AT("", "byName[web].port") "not be null"},
        {"a secret is not quoted", "{\"id\":\"ab\",\"secret\":{\"password\":\"pw\"}}",
         "secret.password", AT("", "secret.password") "have length greater than or equal to 3"},
        {"the first member comes first", "{\"tags\":[],\"count\":0}", "id",
         AT("", "id") "not be null"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        AUTO(arena_deinit) struct arena arena = {0};
        struct shape_error error = {0};
        struct kinds_rules value;
        assert_int_equal(
            json_decode(&kinds_rules_shape, text_of(cases[i].body), &arena, &value, &error), 0);
        int rc = shape_validate(&kinds_rules_shape, &value, &error);
        assert_int_equal(rc, cases[i].want_path == NULL ? 0 : ERR_INVALID);
        assert_string_equal(error.path, cases[i].want_path == NULL ? "" : cases[i].want_path);
        assert_string_equal(error.text, cases[i].want_text == NULL ? "" : cases[i].want_text);
    }
}

// A refusal quotes no long value and fits its struct whatever the input.
static void shape_validate_keeps_sentences_short(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    char long_text[5000];
    memset(long_text, 'x', sizeof(long_text));
    struct kinds_rules value = {.id = {long_text, sizeof(long_text)}};
    struct shape_error error = {0};
    assert_int_equal(shape_validate(&kinds_rules_shape, &value, &error), ERR_INVALID);
    assert_string_equal(error.text, AT("", "id") "have length less than or equal to 4");

    struct kinds_rules deep = {.id = TEXT("ab")};
    deep.by_name.count = 1;
    deep.by_name.items = arena_alloc(&arena, sizeof(*deep.by_name.items));
    deep.by_name.items[0].key = (struct text){long_text, sizeof(long_text)};
    assert_int_equal(shape_validate(&kinds_rules_shape, &deep, &error), ERR_INVALID);
    assert_int_equal(strlen(error.path), sizeof(error.path) - 1);
}

static void check_patterns(const struct shape_type *type, struct arena *arena)
{
    // Validating a value compiles every pattern in it; a bad one ends the process.
    struct shape_error error;
    void *value = fixture_value(type, arena);
    IGNORE(shape_validate(type, value, &error), "whether the fixture is valid does not matter");
}

static void shape_validate_takes_every_shape(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    for (size_t i = 0; i < ecs_service.operation_count; i++) {
        check_patterns(ecs_service.operations[i].input, &arena);
        check_patterns(ecs_service.operations[i].output, &arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shape_validate_checks_rules),
        cmocka_unit_test(shape_validate_keeps_sentences_short),
        cmocka_unit_test(shape_validate_takes_every_shape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
