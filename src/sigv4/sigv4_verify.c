#include "sigv4/sigv4_internal.h"

#include <openssl/crypto.h>

/*
 * Whether a request is what its signature says.
 */

static enum sigv4_result check_time(const struct sigv4_claim *claim, int64_t now_ms,
                                    struct arena *arena, struct text *out_reason)
{
    struct text signed_at = sigv4_time_text(claim->signed_at_ms, arena);
    if (!text_equal(text_slice(signed_at, 0, SIGV4_DATE_CHARS), claim->date)) {
        *out_reason = arena_format(arena,
                                   "Date in Credential scope does not match YYYYMMDD from ISO-8601 "
                                   "version of date from HTTP: '%.*s' != '%.8s', from '%.*s'.",
                                   TEXT_FMT(claim->date), signed_at.data, TEXT_FMT(signed_at));
        return SIGV4_MISMATCH;
    }
    if (claim->signed_at_ms > now_ms + SIGV4_SKEW_MS) {
        *out_reason = arena_format(
            arena, "Signature not yet current: %.*s is still later than %.*s (%.*s + 5 min.)",
            TEXT_FMT(signed_at), TEXT_FMT(sigv4_time_text(now_ms + SIGV4_SKEW_MS, arena)),
            TEXT_FMT(sigv4_time_text(now_ms, arena)));
        return SIGV4_EXPIRED;
    }
    // A pre-signed request lives as long as it says, from when it was signed.
    if (claim->expires_s > 0) {
        int64_t end_ms = claim->signed_at_ms + claim->expires_s * 1000;
        if (end_ms < now_ms) {
            *out_reason = arena_format(arena, "Signature expired: %.*s is now earlier than %.*s.",
                                       TEXT_FMT(sigv4_time_text(end_ms, arena)),
                                       TEXT_FMT(sigv4_time_text(now_ms, arena)));
            return SIGV4_EXPIRED;
        }
    } else if (claim->signed_at_ms < now_ms - SIGV4_SKEW_MS) {
        *out_reason = arena_format(
            arena, "Signature expired: %.*s is now earlier than %.*s (%.*s - 5 min.)",
            TEXT_FMT(signed_at), TEXT_FMT(sigv4_time_text(now_ms - SIGV4_SKEW_MS, arena)),
            TEXT_FMT(sigv4_time_text(now_ms, arena)));
        return SIGV4_EXPIRED;
    }
    return SIGV4_OK;
}

// Names must ascend, which also makes them distinct: a name given a thousand times would have its
// value copied a thousand times.
static bool ascending(struct text names)
{
    struct text before = TEXT("");
    for (struct text rest = names; rest.data != NULL;) {
        struct text name = text_cut(&rest, ';');
        if (sigv4_compare_nocase(before, name) >= 0) {
            return false;
        }
        before = name;
    }
    return true;
}

static bool list_has(struct text names, struct text wanted)
{
    for (struct text rest = names; rest.data != NULL;) {
        if (text_equal_nocase(text_cut(&rest, ';'), wanted)) {
            return true;
        }
    }
    return false;
}

// The signature says nothing about headers outside the list; those that decide what is asked must
// be in it. A session token may be added after signing; it proves itself.
static enum sigv4_result check_signed_headers(const struct sigv4_request *request,
                                              struct text names, struct arena *arena,
                                              struct text *out_reason)
{
    if (!ascending(names)) {
        *out_reason = arena_format(
            arena, "SignedHeaders must be distinct and in alphabetical order, got '%.*s'.",
            TEXT_FMT(names));
        return SIGV4_MISMATCH;
    }
    if (!list_has(names, TEXT("host"))) {
        *out_reason = TEXT("'Host' or ':authority' must be a 'SignedHeader' in the AWS "
                           "Authorization.");
        return SIGV4_MISMATCH;
    }
    for (size_t i = 0; i < request->header_count; i++) {
        struct text name = request->headers[i].name;
        if (text_equal_nocase(text_slice(name, 0, 6), TEXT("x-amz-")) &&
            !text_equal_nocase(name, TEXT("x-amz-security-token")) && !list_has(names, name)) {
            *out_reason = arena_format(
                arena, "There were headers present in the request which were not signed: %.*s",
                TEXT_FMT(name));
            return SIGV4_MISMATCH;
        }
    }
    return SIGV4_OK;
}

static enum sigv4_result payload_hash(EVP_MD_CTX *context, const struct sigv4_request *request,
                                      const struct sigv4_claim *claim, struct arena *arena,
                                      struct text *out_hash, struct text *out_reason)
{
    struct text claimed = sigv4_find_header(request, TEXT("x-amz-content-sha256"));
    if (claimed.data == NULL && claim->presigned) {
        claimed = sigv4_query_find(request->query, "X-Amz-Content-Sha256", arena);
    }
    if (claimed.data != NULL && text_is(text_trim(claimed), SIGV4_UNSIGNED_PAYLOAD)) {
        *out_hash = TEXT(SIGV4_UNSIGNED_PAYLOAD);
        return SIGV4_OK;
    }
    struct text hash = sigv4_hash_hex(context, request->body, arena);
    if (claimed.data != NULL && !text_equal_nocase(text_trim(claimed), hash)) {
        *out_reason = TEXT("The provided 'x-amz-content-sha256' header does not match what was "
                           "computed.");
        return SIGV4_MISMATCH;
    }
    *out_hash = hash;
    return SIGV4_OK;
}

enum sigv4_result sigv4_verify(const struct sigv4_request *request, const struct sigv4_claim *claim,
                               struct text secret, int64_t now_ms, struct sigv4_cache *cache,
                               struct arena *arena, struct text *out_reason)
{
    ASSERT(claim->key_id.data != NULL);
    ASSERT(secret.data != NULL);
    enum sigv4_result result = check_time(claim, now_ms, arena, out_reason);
    if (result == SIGV4_OK) {
        result = check_signed_headers(request, claim->signed_headers, arena, out_reason);
    }
    if (result != SIGV4_OK) {
        return result;
    }

    AUTO(sigv4_context) EVP_MD_CTX *context = sigv4_context_new();
    struct sigv4_canonical canonical = {
        .request = request, .signed_headers = claim->signed_headers, .presigned = claim->presigned};
    result = payload_hash(context, request, claim, arena, &canonical.payload_hash, out_reason);
    if (result != SIGV4_OK) {
        return result;
    }
    const struct sigv4_scope scope = {.key_id = claim->key_id,
                                      .secret = secret,
                                      .date = claim->date,
                                      .region = claim->region,
                                      .service = claim->service};
    unsigned char signing_key[SIGV4_DIGEST_BYTES];
    sigv4_signing_key(context, &scope, cache, signing_key);

    // Some clients sign the query as they send it, others decode and encode it anew. What is
    // signed names the same request either way, so both prove that the holder of the key made it.
    struct text signed_at = sigv4_time_text(claim->signed_at_ms, arena);
    bool matches = false;
    for (int as_sent = 0; as_sent < (text_empty(request->query) ? 1 : 2) && !matches; as_sent++) {
        canonical.query_as_sent = as_sent == 1;
        struct text to_sign = sigv4_string_to_sign(
            context, signed_at, &scope, sigv4_canonical_request(&canonical, arena), arena);
        struct text expected = sigv4_signature_hex(context, signing_key, to_sign, arena);
        matches = claim->signature.size == expected.size &&
                  CRYPTO_memcmp(claim->signature.data, expected.data, expected.size) == 0;
    }
    OPENSSL_cleanse(signing_key, sizeof(signing_key));
    if (!matches) {
        *out_reason = TEXT("The request signature we calculated does not match the signature you "
                           "provided. Check your AWS Secret Access Key and signing method. Consult "
                           "the service documentation for details.");
        return SIGV4_MISMATCH;
    }
    return SIGV4_OK;
}
