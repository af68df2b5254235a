#include "ecs/ecs_internal.h"

#include "base/text.h"

bool ecs_tag_reserved(struct text text)
{
    return text_equal_nocase(text_slice(text, 0, 4), TEXT("aws:"));
}

/** Of ASCII, what AWS allows in tags; what is beyond ASCII may be a letter of any script. */
static bool tag_bytes(struct text text)
{
    for (size_t i = 0; i < text.size; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        bool plain = text_plain((char)byte) || byte >= 0x80;
        if (!plain && text_find(TEXT(" _.:/=+-@"), (char)byte) == SIZE_MAX) {
            return false;
        }
    }
    return true;
}

int ecs_tags_check(struct core_call *call, const struct ecs_tag *tags, size_t count)
{
    if (count > ECS_TAGS_MAX) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "The maximum number of tags is %d.", ECS_TAGS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        if (text_empty(tags[i].key)) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "Tag keys cannot be empty.");
        }
        if (ecs_tag_reserved(tags[i].key)) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "Tag keys that begin with 'aws:' are reserved. Key: %.*s",
                              TEXT_FMT(tags[i].key));
        }
        if (ecs_tag_reserved(tags[i].value)) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "Tag values that begin with 'aws:' are reserved. Key: %.*s",
                              TEXT_FMT(tags[i].key));
        }
        if (!tag_bytes(tags[i].key) || !tag_bytes(tags[i].value)) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "Tags can only have letters, numbers, spaces and _.:/=+-@. Key: %.*s",
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
