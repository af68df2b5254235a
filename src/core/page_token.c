#include "core/page_token.h"

#include "base/text.h"

#define CHECK_DIGITS 8

/** Write the check of an entry: over who lists what, too. */
static void write_check(struct core_call *call, struct text entry, char *out_digits)
{
    struct text whole = arena_format(
        call->arena, "%s %.*s %.*s %016llx", call->operation->name, TEXT_FMT(call->caller->account),
        TEXT_FMT(call->caller->region), (unsigned long long)text_hash(entry));
    uint64_t hash = text_hash(whole);
    unsigned char bytes[CHECK_DIGITS / 2];
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (unsigned char)(hash >> (8 * i));
    }
    text_hex(bytes, sizeof(bytes), out_digits);
}

int page_token_open(struct core_call *call, struct text token, struct text *out_entry)
{
    if (token.size <= CHECK_DIGITS || token.size % 2 != 0 ||
        token.size > CHECK_DIGITS + 2 * PAGE_TOKEN_ENTRY_MAX) {
        return ERR_INVALID;
    }
    size_t size = (token.size - CHECK_DIGITS) / 2;
    char *bytes = arena_alloc(call->arena, size + 1);
    if (text_unhex(text_slice(token, CHECK_DIGITS, token.size), bytes, size) != 0) {
        return ERR_INVALID;
    }
    struct text entry = {bytes, size};
    char want[CHECK_DIGITS + 1] = "";
    write_check(call, entry, want);
    if (!text_equal(text_slice(token, 0, CHECK_DIGITS), (struct text){want, CHECK_DIGITS})) {
        return ERR_INVALID;
    }
    *out_entry = entry;
    return 0;
}

struct text page_token_make(struct core_call *call, struct text entry)
{
    ASSERT(entry.size > 0);
    ASSERT(entry.size <= PAGE_TOKEN_ENTRY_MAX);
    size_t size = CHECK_DIGITS + 2 * entry.size;
    char *token = arena_alloc(call->arena, size + 1);
    write_check(call, entry, token);
    text_hex(entry.data, entry.size, token + CHECK_DIGITS);
    return (struct text){token, size};
}
