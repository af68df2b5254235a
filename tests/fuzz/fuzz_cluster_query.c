#include "ecs/constraint.h"
#include "fuzz.h"

// Values as long as the data lets them be, so that patterns have something to match.
static bool value(void *context, enum constraint_subject subject, struct text name, size_t index,
                  struct text *out_value)
{
    const struct text *data = context;
    ASSERT(subject != CONSTRAINT_ATTRIBUTE || name.size > 0);
    *out_value = *data;
    return index < 2;
}

/* What is accepted can be evaluated, and twice with the same result. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct text text = {(const char *)data, size};
    struct constraint constraint = {0};
    struct err err = {0};
    if (constraint_parse(text, &arena, &constraint, &err) != 0) {
        ASSERT(err.text[0] != '\0');
        return 0;
    }
    ASSERT(constraint.count > 0);
    const struct constraint_view view = {value, &text};
    bool holds = constraint_holds(&constraint, &view);
    ASSERT(holds == constraint_holds(&constraint, &view));
    return 0;
}
