#include "api/ec2.h"
#include "api/ecs.h"
#include "api/kinds.h"
#include "fuzz.h"
#include "shape/query.h"

/* What query_decode accepts is a whole value: it clones, compares and writes as XML. */
static void try_shape(enum query_dialect dialect, const struct shape_type *type, struct text form)
{
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf xml = {0};
    struct shape_error error = {0};
    void *value = arena_alloc(&arena, type->size_bytes);
    if (query_decode(dialect, type, form, &arena, value, &error) != 0) {
        ASSERT(error.text[0] != '\0');
        return;
    }
    void *clone = shape_clone(type, value, NULL);
    ASSERT(shape_equal(type, value, clone));
    alloc_free(clone);
    const struct query_envelope envelope = {TEXT("Op"), TEXT("urn:x"), TEXT("r")};
    query_encode(dialect, type, value, &envelope, &xml);
    ASSERT(xml.size > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct text form = {(const char *)data, size};
    struct text action = query_parameter(form, TEXT("Action"), &arena);
    ASSERT(action.data != NULL || action.size == 0);
    try_shape(QUERY_AWS, &kinds_form_shape, form);
    try_shape(QUERY_AWS, &ecs_register_task_definition_request_shape, form);
    try_shape(QUERY_EC2, &kinds_form_shape, form);
    try_shape(QUERY_EC2, &ec2_authorize_security_group_ingress_request_shape, form);
    return 0;
}
