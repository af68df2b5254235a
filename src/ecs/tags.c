#include "ecs/ecs_internal.h"

#include "base/text.h"

#define TAGS_MAX 50

int ecs_tags_check(struct core_call *call, const struct ecs_tag *tags, size_t count)
{
    if (count > TAGS_MAX) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "The maximum number of tags is %d.", TAGS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        if (text_empty(tags[i].key)) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "Tag keys cannot be empty.");
        }
        if (text_equal_nocase(text_slice(tags[i].key, 0, 4), TEXT("aws:"))) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "Tag keys that begin with 'aws:' are reserved. Key: %.*s",
                              TEXT_FMT(tags[i].key));
        }
        for (size_t j = 0; j < i; j++) {
            if (text_equal(tags[i].key, tags[j].key)) {
                return core_fault(call, &ecs_error_invalid_parameter_exception,
                                  "Duplicate tag keys found. Key: %.*s", TEXT_FMT(tags[i].key));
            }
        }
    }
    return 0;
}
