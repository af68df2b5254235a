#include "base/text.h"
#include "fuzz.h"
#include "secrets/source.h"

/* A line with a valueFrom, a line with a key, and what may be an object. */
static void assert_inside(struct text part, struct text whole)
{
    ASSERT(part.data == NULL || part.size == 0 ||
           (part.data >= whole.data && part.data + part.size <= whole.data + whole.size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text json = {(const char *)data, size};
    struct text value_from = text_cut(&json, '\n');
    struct text key = text_cut(&json, '\n');
    struct secret_source source = {0};
    if (secret_source_parse(value_from, &source) == 0) {
        assert_inside(source.id, value_from);
        assert_inside(source.region, value_from);
        assert_inside(source.json_key, value_from);
        assert_inside(source.version_stage, value_from);
        assert_inside(source.version_id, value_from);
    }
    AUTO(arena_deinit) struct arena arena = {0};
    struct text value = {0};
    if (secret_json_value(json, key, &arena, &value) == 0) {
        ASSERT(value.data != NULL);
        ASSERT(text_is_utf8(value));
    }
    return 0;
}
