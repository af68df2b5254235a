#include "client/token.h"

#include "base/text.h"

#include <string.h>

#define TOKEN_VERSION "berth1"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

// Base64 in the URL-safe alphabet without padding (RFC 4648 §5), so that a double click selects
// the whole token.
static struct text base64url_encode(struct text bytes, struct arena *arena)
{
    char *out = arena_alloc(arena, bytes.size * 2 + 4);
    size_t size = 0;
    uint32_t bits = 0;
    int bit_count = 0;
    for (size_t i = 0; i < bytes.size; i++) {
        bits = bits << 8 | (unsigned char)bytes.data[i];
        bit_count += 8;
        while (bit_count >= 6) {
            bit_count -= 6;
            out[size++] = digits[bits >> bit_count & 63];
        }
    }
    if (bit_count > 0) {
        out[size++] = digits[bits << (6 - bit_count) & 63];
    }
    return (struct text){out, size};
}

static int base64url_decode(struct text text, struct arena *arena, struct text *out_bytes)
{
    char *out = arena_alloc(arena, text.size + 1);
    size_t size = 0;
    uint32_t bits = 0;
    int bit_count = 0;
    for (size_t i = 0; i < text.size; i++) {
        const char *digit = memchr(digits, text.data[i], sizeof(digits) - 1);
        if (digit == NULL) {
            return ERR_INVALID;
        }
        bits = bits << 6 | (uint32_t)(digit - digits);
        bit_count += 6;
        if (bit_count >= 8) {
            bit_count -= 8;
            out[size++] = (char)(bits >> bit_count & 255);
        }
    }
    *out_bytes = (struct text){out, size};
    return 0;
}

struct text client_token_compose(const struct client_token *token, struct arena *arena)
{
    ASSERT(text_find(token->token_id, '.') == SIZE_MAX);
    ASSERT(text_find(token->secret, '.') == SIZE_MAX);
    ASSERT(token->ca_sha256.size == CLIENT_TOKEN_HASH_CHARS);
    struct text endpoint = base64url_encode(token->endpoint, arena);
    return arena_format(arena, TOKEN_VERSION ".%.*s.%.*s.%.*s.%.*s", TEXT_FMT(token->token_id),
                        TEXT_FMT(token->secret), TEXT_FMT(token->ca_sha256), TEXT_FMT(endpoint));
}

static bool printable(struct text text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] <= ' ' || text.data[i] > '~') {
            return false;
        }
    }
    return true;
}

int client_token_parse(struct text text, struct arena *arena, struct client_token *out_token,
                       struct err *err)
{
    struct text parts[5] = {0};
    size_t count = 0;
    text = text_trim(text);
    if (text.size > CLIENT_TOKEN_CHARS_MAX || !printable(text)) {
        return err_set(err, ERR_INVALID,
                       "the join token is damaged: paste the whole text that "
                       "`berth node token` printed, on one line");
    }
    for (struct text rest = text; rest.data != NULL && count <= ARRAY_LEN(parts); count++) {
        struct text part = text_cut(&rest, '.');
        if (count < ARRAY_LEN(parts)) {
            parts[count] = part;
        }
    }
    if (count > 0 && !text_is(parts[0], TOKEN_VERSION)) {
        return err_set(err, ERR_INVALID,
                       "this is not a join token of this version: it must begin with '%s.'",
                       TOKEN_VERSION);
    }
    unsigned char hash[CLIENT_TOKEN_HASH_CHARS / 2];
    struct text endpoint = {0};
    if (count != ARRAY_LEN(parts) || text_empty(parts[1]) || text_empty(parts[2]) ||
        text_unhex(parts[3], hash, sizeof(hash)) != 0 ||
        base64url_decode(parts[4], arena, &endpoint) != 0) {
        return err_set(err, ERR_INVALID,
                       "the join token is incomplete: paste the whole text that "
                       "`berth node token` printed");
    }
    if (!text_starts(endpoint, TEXT("https://")) || !printable(endpoint)) {
        return err_set(err, ERR_INVALID,
                       "the join token names no https endpoint: ask the server "
                       "for a new one");
    }
    *out_token = (struct client_token){.token_id = arena_text(arena, parts[1]),
                                       .secret = arena_text(arena, parts[2]),
                                       .ca_sha256 = arena_text(arena, parts[3]),
                                       .endpoint = arena_text(arena, endpoint)};
    return 0;
}
