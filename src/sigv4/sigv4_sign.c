#include "sigv4/sigv4_internal.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

/*
 * Signing.
 */

static int name_compare(const void *left, const void *right)
{
    const struct text *a = left;
    const struct text *b = right;
    return sigv4_compare_nocase(*a, *b);
}

// Names of all headers in lower case, sorted, each once, with ';' between.
static struct text signed_header_names(const struct sigv4_request *request, struct arena *arena)
{
    struct text *names = arena_array(arena, request->header_count, sizeof(*names));
    size_t size = 0;
    for (size_t i = 0; i < request->header_count; i++) {
        names[i] = request->headers[i].name;
        size += names[i].size + 1;
    }
    qsort(names, request->header_count, sizeof(*names), name_compare);
    char *list = arena_alloc(arena, size + 1);
    size = 0;
    for (size_t i = 0; i < request->header_count; i++) {
        if (i > 0 && sigv4_compare_nocase(names[i - 1], names[i]) == 0) {
            continue;
        }
        if (size > 0) {
            list[size++] = ';';
        }
        for (size_t j = 0; j < names[i].size; j++) {
            list[size++] = text_lower(names[i].data[j]);
        }
    }
    return (struct text){list, size};
}

static struct text sign(EVP_MD_CTX *context, const struct sigv4_canonical *canonical,
                        const struct sigv4_identity *identity, struct text signed_at,
                        struct arena *arena)
{
    const struct sigv4_scope scope = {.key_id = identity->key_id,
                                      .secret = identity->secret,
                                      .date = text_slice(signed_at, 0, SIGV4_DATE_CHARS),
                                      .region = identity->region,
                                      .service = identity->service};
    unsigned char signing_key[SIGV4_DIGEST_BYTES];
    sigv4_signing_key(context, &scope, NULL, signing_key);
    struct text to_sign = sigv4_string_to_sign(context, signed_at, &scope,
                                               sigv4_canonical_request(canonical, arena), arena);
    struct text signature = sigv4_signature_hex(context, signing_key, to_sign, arena);
    OPENSSL_cleanse(signing_key, sizeof(signing_key));
    return signature;
}

void sigv4_sign(const struct sigv4_request *request, const struct sigv4_identity *identity,
                int64_t now_ms, struct arena *arena, struct sigv4_signature *out_signature)
{
    AUTO(sigv4_context) EVP_MD_CTX *context = sigv4_context_new();
    struct sigv4_signature result = {
        .amz_date = sigv4_time_text(now_ms, arena),
        .content_sha256 = sigv4_hash_hex(context, request->body, arena),
    };

    struct sigv4_request full = *request;
    struct sigv4_header *headers = arena_array(arena, request->header_count + 3, sizeof(*headers));
    if (request->header_count > 0) {
        memcpy(headers, request->headers, request->header_count * sizeof(*headers));
    }
    headers[full.header_count++] = (struct sigv4_header){TEXT("x-amz-date"), result.amz_date};
    headers[full.header_count++] =
        (struct sigv4_header){TEXT("x-amz-content-sha256"), result.content_sha256};
    if (identity->session_token.data != NULL) {
        headers[full.header_count++] =
            (struct sigv4_header){TEXT("x-amz-security-token"), identity->session_token};
    }
    full.headers = headers;

    const struct sigv4_canonical canonical = {.request = &full,
                                              .signed_headers = signed_header_names(&full, arena),
                                              .payload_hash = result.content_sha256};
    struct text signature = sign(context, &canonical, identity, result.amz_date, arena);
    result.authorization =
        arena_format(arena,
                     SIGV4_ALGORITHM " Credential=%.*s/%.*s/%.*s/%.*s/" SIGV4_TERMINATOR
                                     ", SignedHeaders=%.*s, Signature=%.*s",
                     TEXT_FMT(identity->key_id), SIGV4_DATE_CHARS, result.amz_date.data,
                     TEXT_FMT(identity->region), TEXT_FMT(identity->service),
                     TEXT_FMT(canonical.signed_headers), TEXT_FMT(signature));
    *out_signature = result;
}

struct text sigv4_presign(const struct sigv4_request *request,
                          const struct sigv4_identity *identity, int64_t now_ms, int64_t expires_s,
                          struct arena *arena)
{
    AUTO(sigv4_context) EVP_MD_CTX *context = sigv4_context_new();
    struct text signed_at = sigv4_time_text(now_ms, arena);
    struct text names = signed_header_names(request, arena);
    struct text credential = arena_format(
        arena, "%.*s/%.*s/%.*s/%.*s/" SIGV4_TERMINATOR, TEXT_FMT(identity->key_id),
        SIGV4_DATE_CHARS, signed_at.data, TEXT_FMT(identity->region), TEXT_FMT(identity->service));
    struct text token = identity->session_token;
    struct text query = arena_format(
        arena,
        "%.*s%sX-Amz-Algorithm=" SIGV4_ALGORITHM "&X-Amz-Credential=%.*s&X-Amz-Date=%.*s"
        "&X-Amz-Expires=%lld&X-Amz-SignedHeaders=%.*s%s%.*s",
        TEXT_FMT(request->query), text_empty(request->query) ? "" : "&",
        TEXT_FMT(sigv4_percent_encode(credential, arena)), TEXT_FMT(signed_at),
        (long long)expires_s, TEXT_FMT(sigv4_percent_encode(names, arena)),
        token.data == NULL ? "" : "&X-Amz-Security-Token=",
        TEXT_FMT(token.data == NULL ? TEXT("") : sigv4_percent_encode(token, arena)));

    struct sigv4_request full = *request;
    full.query = query;
    const struct sigv4_canonical canonical = {.request = &full,
                                              .signed_headers = names,
                                              .payload_hash =
                                                  sigv4_hash_hex(context, request->body, arena)};
    struct text signature = sign(context, &canonical, identity, signed_at, arena);
    return arena_format(arena, "%.*s&X-Amz-Signature=%.*s", TEXT_FMT(query), TEXT_FMT(signature));
}
