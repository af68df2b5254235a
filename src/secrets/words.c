#include "secrets/secrets_internal.h"

#include "base/text.h"

/*
 * Tags of secrets, and how filters of ListSecrets compare.
 */

bool words_start(struct text text, struct text prefix)
{
    return text.size >= prefix.size && text_equal_nocase(text_slice(text, 0, prefix.size), prefix);
}

static bool is_separator(char byte)
{
    return text_find(TEXT(" /_+=.@-"), byte) != SIZE_MAX;
}

bool words_any_start(struct text text, struct text prefix)
{
    for (size_t i = 0; i < text.size; i++) {
        if ((i == 0 || is_separator(text.data[i - 1])) &&
            words_start(text_slice(text, i, text.size), prefix)) {
            return true;
        }
    }
    return false;
}

int secret_tags_check(struct core_call *call, const struct secretsmanager_tag_list *tags)
{
    if (tags->count > SECRETS_TAGS_MAX) {
        return core_fault(call, &secretsmanager_error_invalid_parameter_exception,
                          "A secret can have at most %d tags.", SECRETS_TAGS_MAX);
    }
    for (size_t i = 0; i < tags->count; i++) {
        struct text key = tags->items[i].key;
        if (text_empty(key)) {
            return core_fault(call, &secretsmanager_error_invalid_parameter_exception,
                              "A tag needs a key.");
        }
        if (words_start(key, TEXT("aws:"))) {
            return core_fault(call, &secretsmanager_error_invalid_parameter_exception,
                              "Tag keys that begin with 'aws:' are reserved. Key: %.*s",
                              TEXT_FMT(key));
        }
        for (size_t j = 0; j < i; j++) {
            if (text_equal(tags->items[j].key, key)) {
                return core_fault(call, &secretsmanager_error_invalid_parameter_exception,
                                  "Duplicate tag keys found. Key: %.*s", TEXT_FMT(key));
            }
        }
    }
    return 0;
}

struct secrets_record_tag_list secret_tags_keep(struct core_call *call,
                                                const struct secretsmanager_tag_list *tags)
{
    if (tags->count == 0) {
        return (struct secrets_record_tag_list){0};
    }
    struct secrets_record_tag_list kept = {
        .items = arena_array(call->arena, tags->count, sizeof(*kept.items)),
        .count = tags->count,
    };
    for (size_t i = 0; i < tags->count; i++) {
        kept.items[i] =
            (struct secrets_record_tag){.key = tags->items[i].key, .value = tags->items[i].value};
    }
    return kept;
}
