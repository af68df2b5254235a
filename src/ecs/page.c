#include "ecs/ecs.h"

#include "base/text.h"

/*
 * A token is hex: eight digits of a check value, then the key of the last entry shown. The check
 * only tells a token of ours from other text; it keeps no secret.
 */

#define TOKEN_CHECK_DIGITS 8
#define TOKEN_BYTES_MAX 1024 ///< no key of an entry is longer: names are bounded

/** The part of the hash that a token carries. */
static uint32_t token_check(struct text entry)
{
    return (uint32_t)text_hash(entry);
}

static int token_open(struct core_call *call, struct text token, struct text *out_entry)
{
    if (token.size < TOKEN_CHECK_DIGITS || token.size % 2 != 0 ||
        token.size > TOKEN_CHECK_DIGITS + 2 * TOKEN_BYTES_MAX) {
        return ERR_INVALID;
    }
    unsigned char check[TOKEN_CHECK_DIGITS / 2];
    size_t size = (token.size - TOKEN_CHECK_DIGITS) / 2;
    char *bytes = arena_alloc(call->arena, size + 1);
    if (text_unhex(text_slice(token, 0, TOKEN_CHECK_DIGITS), check, sizeof(check)) != 0 ||
        text_unhex(text_slice(token, TOKEN_CHECK_DIGITS, token.size), bytes, size) != 0) {
        return ERR_INVALID;
    }
    struct text entry = {bytes, size};
    uint32_t want = token_check(entry);
    for (size_t i = 0; i < sizeof(check); i++) {
        if (check[i] != (unsigned char)(want >> (24 - 8 * i))) {
            return ERR_INVALID;
        }
    }
    *out_entry = entry;
    return 0;
}

int ecs_page_open(struct core_call *call, struct text next_token, bool has_max_results,
                  int32_t max_results, size_t max_size, struct ecs_page *out_page)
{
    ASSERT(max_size > 0);
    struct ecs_page page = {.size = max_size};
    if (has_max_results) {
        if (max_results < 1 || (size_t)max_results > max_size) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "maxResults must be between 1 and %zu.", max_size);
        }
        page.size = (size_t)max_results;
    }
    // SDKs send an empty token for the first page when told to start from nothing.
    if (!text_empty(next_token) && token_open(call, next_token, &page.after) != 0) {
        return core_fault(call, &ecs_error_invalid_parameter_exception, "Invalid token");
    }
    *out_page = page;
    return 0;
}

struct text ecs_page_token(struct core_call *call, struct text last_entry)
{
    ASSERT(last_entry.size <= TOKEN_BYTES_MAX);
    uint32_t value = token_check(last_entry);
    unsigned char check[TOKEN_CHECK_DIGITS / 2];
    for (size_t i = 0; i < sizeof(check); i++) {
        check[i] = (unsigned char)(value >> (24 - 8 * i));
    }
    size_t size = TOKEN_CHECK_DIGITS + 2 * last_entry.size;
    char *token = arena_alloc(call->arena, size + 1);
    text_hex(check, sizeof(check), token);
    text_hex(last_entry.data, last_entry.size, token + TOKEN_CHECK_DIGITS);
    return (struct text){token, size};
}
