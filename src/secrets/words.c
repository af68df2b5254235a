#include "secrets/secrets_internal.h"

#include "base/text.h"

/*
 * How filters of ListSecrets compare.
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
