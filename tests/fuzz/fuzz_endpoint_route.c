#include "base/text.h"
#include "endpoint/route.h"
#include "fuzz.h"

/* A path and, behind a question mark, a query. What is found lies in them. */
static void assert_inside(struct text part, struct text path, struct text query)
{
    bool in_path = part.data >= path.data && part.data + part.size <= path.data + path.size;
    bool in_query = query.data != NULL && part.data >= query.data &&
                    part.data + part.size <= query.data + query.size;
    ASSERT(part.data == NULL || part.size == 0 || in_path || in_query);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text query = {(const char *)data, size};
    struct text path = text_cut(&query, '?');
    struct route route = route_parse(path, query);
    assert_inside(route.id, path, query);
    assert_inside(route.name, path, query);
    ASSERT(route.kind == ROUTE_NONE || route.kind == ROUTE_PROTECTION ||
           route.kind == ROUTE_FAULT || (route.version >= 1 && route.version <= 4));
    return 0;
}
