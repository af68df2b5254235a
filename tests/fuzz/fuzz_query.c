#include "api/ecs.h"
#include "api/kinds.h"
#include "fuzz.h"
#include "shape/query.h"

/* What query_decode accepts is a whole value: it clones, compares and writes as XML. */
static void try_shape(const struct shape_type *type, struct text form)
{
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf xml = {0};
    struct shape_error error = {0};
    void *value = arena_alloc(&arena, type->size_bytes);
    if (query_decode(type, form, &arena, value, &error) != 0) {
        ASSERT(error.text[0] != '\0');
        return;
    }
    void *clone = shape_clone(type, value, NULL);
    ASSERT(shape_equal(type, value, clone));
    alloc_free(clone);
    query_encode(type, value, TEXT("Op"), TEXT("urn:x"), TEXT("r"), &xml);
    ASSERT(xml.size > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct text form = {(const char *)data, size};
    struct text action = query_parameter(form, TEXT("Action"), &arena);
    ASSERT(action.data != NULL || action.size == 0);
    try_shape(&kinds_form_shape, form);
    try_shape(&ecs_register_task_definition_request_shape, form);
    return 0;
}
