#include "shape/api.h"

#include "base/text.h"

const struct api_operation *api_find(const struct api_service *service, struct text name)
{
    // Services have at most some hundred operations, and most names differ in their first bytes.
    for (size_t i = 0; i < service->operation_count; i++) {
        if (text_is(name, service->operations[i].name)) {
            return &service->operations[i];
        }
    }
    return NULL;
}
