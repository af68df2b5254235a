#include "sigv4/sigv4.h"

#include "sigv4/sigv4_internal.h"

#include <openssl/crypto.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PRESIGN_SECONDS_MAX (7 * 24 * 3600)

// ---- times ------------------------------------------------------------------------------------

struct text sigv4_time_text(int64_t time_ms, struct arena *arena)
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm parts;
    ASSERT(gmtime_r(&seconds, &parts) != NULL);
    char *string = arena_alloc(arena, SIGV4_TIME_CHARS + 16);
    size_t size = strftime(string, SIGV4_TIME_CHARS + 16, "%Y%m%dT%H%M%SZ", &parts);
    return (struct text){string, size};
}

static int digits_parse(struct text text, size_t from, size_t count, int *out_value)
{
    uint64_t value = 0;
    int rc = text_to_u64(text_slice(text, from, from + count), &value);
    *out_value = (int)value;
    return rc;
}

int sigv4_time_parse(struct text text, int64_t *out_ms)
{
    if (text.size != SIGV4_TIME_CHARS || text.data[8] != 'T' || text.data[15] != 'Z') {
        return ERR_INVALID;
    }
    struct tm parts = {0};
    if (digits_parse(text, 0, 4, &parts.tm_year) != 0 ||
        digits_parse(text, 4, 2, &parts.tm_mon) != 0 ||
        digits_parse(text, 6, 2, &parts.tm_mday) != 0 ||
        digits_parse(text, 9, 2, &parts.tm_hour) != 0 ||
        digits_parse(text, 11, 2, &parts.tm_min) != 0 ||
        digits_parse(text, 13, 2, &parts.tm_sec) != 0) {
        return ERR_INVALID;
    }
    if (parts.tm_year < 1970 || parts.tm_mon < 1 || parts.tm_mon > 12 || parts.tm_mday < 1 ||
        parts.tm_mday > 31 || parts.tm_hour > 23 || parts.tm_min > 59 || parts.tm_sec > 60) {
        return ERR_INVALID;
    }
    parts.tm_year -= 1900;
    parts.tm_mon -= 1;
    *out_ms = (int64_t)timegm(&parts) * 1000;
    return 0;
}

// ---- claims -----------------------------------------------------------------------------------

// Credential=AKID/20150830/us-east-1/ecs/aws4_request
static enum sigv4_result credential_parse(struct text credential, struct arena *arena,
                                          struct sigv4_claim *claim, struct text *out_reason)
{
    struct text parts[5] = {0};
    size_t count = 0;
    for (struct text rest = credential; rest.data != NULL && count <= ARRAY_LEN(parts); count++) {
        struct text part = text_cut(&rest, '/');
        if (count < ARRAY_LEN(parts)) {
            parts[count] = part;
        }
    }
    if (count != ARRAY_LEN(parts) || text_empty(parts[0])) {
        *out_reason = arena_format(arena,
                                   "Credential must have exactly 5 slash-delimited elements, e.g. "
                                   "keyid/date/region/service/term, got '%.*s'",
                                   TEXT_FMT(credential));
        return SIGV4_INCOMPLETE;
    }
    if (!text_is(parts[4], SIGV4_TERMINATOR)) {
        *out_reason = arena_format(arena,
                                   "Credential should be scoped with a valid terminator: "
                                   "'aws4_request', not '%.*s'.",
                                   TEXT_FMT(parts[4]));
        return SIGV4_INCOMPLETE;
    }
    claim->key_id = parts[0];
    claim->date = parts[1];
    claim->region = parts[2];
    claim->service = parts[3];
    return SIGV4_OK;
}

struct authorization {
    struct text credential;
    struct text signed_headers;
    struct text signature;
};

// Fields behind the algorithm: `Credential=.., SignedHeaders=.., Signature=..` in any order.
static enum sigv4_result authorization_parse(struct text fields, struct arena *arena,
                                             struct authorization *out, struct text *out_reason)
{
    for (struct text rest = fields; rest.data != NULL;) {
        struct text field = text_trim(text_cut(&rest, ','));
        if (field.size == 0) {
            continue;
        }
        size_t equals = text_find(field, '=');
        if (equals == SIZE_MAX) {
            *out_reason = arena_format(arena,
                                       "'%.*s' not a valid key=value pair (missing equal-sign) in "
                                       "Authorization header: '%.*s'.",
                                       TEXT_FMT(field), TEXT_FMT(fields));
            return SIGV4_INCOMPLETE;
        }
        struct text name = text_slice(field, 0, equals);
        struct text value = text_slice(field, equals + 1, field.size);
        if (text_is(name, "Credential")) {
            out->credential = value;
        } else if (text_is(name, "SignedHeaders")) {
            out->signed_headers = value;
        } else if (text_is(name, "Signature")) {
            out->signature = value;
        }
    }
    return SIGV4_OK;
}

// An HTTP date such as `Sun, 30 Aug 2015 12:36:00 GMT` (RFC 9110), which some clients sign with.
static int http_date_parse(struct text text, int64_t *out_ms)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm parts = {0};
    struct text zone = text_slice(text, 25, text.size);
    bool utc = text_is(zone, " GMT") || text_is(zone, " -0000") || text_is(zone, " +0000");
    if (!utc || digits_parse(text, 5, 2, &parts.tm_mday) != 0 ||
        digits_parse(text, 12, 4, &parts.tm_year) != 0 ||
        digits_parse(text, 17, 2, &parts.tm_hour) != 0 ||
        digits_parse(text, 20, 2, &parts.tm_min) != 0 ||
        digits_parse(text, 23, 2, &parts.tm_sec) != 0) {
        return ERR_INVALID;
    }
    while (parts.tm_mon < 12 && memcmp(months + parts.tm_mon * 3, text.data + 8, 3) != 0) {
        parts.tm_mon++;
    }
    if (parts.tm_mon == 12 || parts.tm_year < 1970) {
        return ERR_INVALID;
    }
    parts.tm_year -= 1900;
    *out_ms = (int64_t)timegm(&parts) * 1000;
    return 0;
}

static struct text header_date(const struct sigv4_request *request)
{
    struct text date = sigv4_find_header(request, TEXT("x-amz-date"));
    return date.data != NULL ? date : sigv4_find_header(request, TEXT("date"));
}

static enum sigv4_result parse_header_form(const struct sigv4_request *request,
                                           struct text authorization, struct arena *arena,
                                           struct sigv4_claim *claim, struct text *out_reason)
{
    struct text fields = text_trim(authorization);
    struct text algorithm = text_cut(&fields, ' ');
    if (!text_is(algorithm, SIGV4_ALGORITHM)) {
        *out_reason =
            arena_format(arena, "Unsupported AWS 'algorithm': '%.*s'.", TEXT_FMT(algorithm));
        return SIGV4_INCOMPLETE;
    }
    struct authorization parsed = {0};
    enum sigv4_result result = authorization_parse(fields, arena, &parsed, out_reason);
    if (result != SIGV4_OK) {
        return result;
    }

    struct text date = text_trim(header_date(request));
    bool dated = !text_empty(date);
    if (text_empty(parsed.credential) || text_empty(parsed.signature) ||
        text_empty(parsed.signed_headers) || !dated) {
        *out_reason = arena_format(
            arena, "%s%s%s%sAuthorization=%.*s",
            text_empty(parsed.credential) ? "Authorization header requires 'Credential' parameter. "
                                          : "",
            text_empty(parsed.signature) ? "Authorization header requires 'Signature' parameter. "
                                         : "",
            text_empty(parsed.signed_headers)
                ? "Authorization header requires 'SignedHeaders' parameter. "
                : "",
            dated ? ""
                  : "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' "
                    "header. ",
            TEXT_FMT(algorithm));
        return SIGV4_INCOMPLETE;
    }
    if (sigv4_time_parse(date, &claim->signed_at_ms) != 0 &&
        http_date_parse(date, &claim->signed_at_ms) != 0) {
        *out_reason = arena_format(arena,
                                   "Date must be in ISO-8601 'basic format'. Got '%.*s'. See "
                                   "http://en.wikipedia.org/wiki/ISO_8601",
                                   TEXT_FMT(date));
        return SIGV4_INCOMPLETE;
    }
    claim->signed_headers = parsed.signed_headers;
    claim->signature = parsed.signature;
    claim->session_token = sigv4_find_header(request, TEXT("x-amz-security-token"));
    return credential_parse(parsed.credential, arena, claim, out_reason);
}

// The decoded value of a parameter of the query, absent when it is not there.
static struct text query_find(struct text query, const char *name, struct arena *arena)
{
    for (struct text rest = query; rest.data != NULL;) {
        struct text pair = text_cut(&rest, '&');
        size_t equals = text_find(pair, '=');
        if (text_is(text_slice(pair, 0, equals), name)) {
            struct text value =
                text_slice(pair, equals == SIZE_MAX ? pair.size : equals + 1, pair.size);
            return sigv4_percent_decode(value, arena);
        }
    }
    return (struct text){0};
}

static size_t query_count(struct text query, const char *name)
{
    size_t count = 0;
    for (struct text rest = query; rest.data != NULL;) {
        struct text pair = text_cut(&rest, '&');
        count += text_is(text_slice(pair, 0, text_find(pair, '=')), name) ? 1 : 0;
    }
    return count;
}

static enum sigv4_result query_missing(const char *name, struct arena *arena,
                                       struct text *out_reason)
{
    *out_reason = arena_format(arena,
                               "AWS query-string parameters must include '%s'. Re-examine the "
                               "query-string parameters.",
                               name);
    return SIGV4_INCOMPLETE;
}

static enum sigv4_result parse_query_form(struct text query, struct arena *arena,
                                          struct sigv4_claim *claim, struct text *out_reason)
{
    static const char *const names[] = {"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature",
                                        "X-Amz-SignedHeaders", "X-Amz-Date"};
    struct text values[ARRAY_LEN(names)];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        values[i] = query_find(query, names[i], arena);
        if (text_empty(values[i])) {
            return query_missing(names[i], arena, out_reason);
        }
        if (query_count(query, names[i]) > 1) {
            *out_reason = arena_format(arena, "AWS query-string parameters must include '%s' once.",
                                       names[i]);
            return SIGV4_INCOMPLETE;
        }
    }
    if (!text_is(values[0], SIGV4_ALGORITHM)) {
        *out_reason =
            arena_format(arena, "Unsupported AWS 'algorithm': '%.*s'.", TEXT_FMT(values[0]));
        return SIGV4_INCOMPLETE;
    }
    claim->signature = values[2];
    claim->signed_headers = values[3];
    if (sigv4_time_parse(values[4], &claim->signed_at_ms) != 0) {
        *out_reason = arena_format(arena, "X-Amz-Date must be in the ISO8601 Long Format "
                                          "\"yyyyMMdd'T'HHmmss'Z'\"");
        return SIGV4_INCOMPLETE;
    }
    // Services other than S3 allow it to be left out, and then give the usual five minutes.
    struct text expires = query_find(query, "X-Amz-Expires", arena);
    if (expires.data != NULL && (text_to_i64(expires, &claim->expires_s) != 0 ||
                                 claim->expires_s < 1 || claim->expires_s > PRESIGN_SECONDS_MAX)) {
        *out_reason = arena_format(arena, "X-Amz-Expires must be a number from 1 to 604800 "
                                          "(seconds in a week).");
        return SIGV4_INCOMPLETE;
    }
    claim->session_token = query_find(query, "X-Amz-Security-Token", arena);
    claim->presigned = true;
    return credential_parse(values[1], arena, claim, out_reason);
}

enum sigv4_result sigv4_parse(const struct sigv4_request *request, struct arena *arena,
                              struct sigv4_claim *out_claim, struct text *out_reason)
{
    struct sigv4_claim claim = {0};
    enum sigv4_result result = SIGV4_MISSING;
    struct text authorization = sigv4_find_header(request, TEXT("authorization"));
    if (sigv4_header_doubled(request, TEXT("authorization"))) {
        *out_reason = TEXT("A request has one Authorization header.");
        result = SIGV4_INCOMPLETE;
    } else if (authorization.data != NULL) {
        result = parse_header_form(request, authorization, arena, &claim, out_reason);
    } else if (query_find(request->query, "X-Amz-Algorithm", arena).data != NULL ||
               query_find(request->query, "X-Amz-Credential", arena).data != NULL ||
               query_find(request->query, "X-Amz-Signature", arena).data != NULL) {
        result = parse_query_form(request->query, arena, &claim, out_reason);
    } else {
        *out_reason = TEXT("Missing Authentication Token");
    }
    if (result == SIGV4_OK) {
        *out_claim = claim;
    }
    return result;
}

// ---- verification -----------------------------------------------------------------------------

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

static unsigned char lower(char byte)
{
    return (unsigned char)(byte >= 'A' && byte <= 'Z' ? byte - 'A' + 'a' : byte);
}

static int compare_nocase(struct text a, struct text b)
{
    for (size_t i = 0; i < a.size && i < b.size; i++) {
        if (lower(a.data[i]) != lower(b.data[i])) {
            return lower(a.data[i]) < lower(b.data[i]) ? -1 : 1;
        }
    }
    return a.size == b.size ? 0 : a.size < b.size ? -1 : 1;
}

// Names must ascend, which also makes them distinct: a name given a thousand times would have its
// value copied a thousand times.
static bool ascending(struct text names)
{
    struct text before = TEXT("");
    for (struct text rest = names; rest.data != NULL;) {
        struct text name = text_cut(&rest, ';');
        if (compare_nocase(before, name) >= 0) {
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
        claimed = query_find(request->query, "X-Amz-Content-Sha256", arena);
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

// The text that is signed: algorithm, time, scope and the hash of the canonical request.
static struct text string_to_sign(EVP_MD_CTX *context, struct text signed_at,
                                  const struct sigv4_scope *scope, struct text canonical_request,
                                  struct arena *arena)
{
    struct text hash = sigv4_hash_hex(context, canonical_request, arena);
    const struct text parts[] = {TEXT(SIGV4_ALGORITHM "\n"),
                                 signed_at,
                                 TEXT("\n"),
                                 scope->date,
                                 TEXT("/"),
                                 scope->region,
                                 TEXT("/"),
                                 scope->service,
                                 TEXT("/" SIGV4_TERMINATOR "\n"),
                                 hash};
    size_t size = 0;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        size += parts[i].size;
    }
    char *bytes = arena_alloc(arena, size + 1);
    size = 0;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        memcpy(bytes + size, parts[i].data, parts[i].size);
        size += parts[i].size;
    }
    return (struct text){bytes, size};
}

static struct text signature_hex(EVP_MD_CTX *context,
                                 const unsigned char signing_key[SIGV4_DIGEST_BYTES],
                                 struct text to_sign, struct arena *arena)
{
    unsigned char signature[SIGV4_DIGEST_BYTES];
    sigv4_hmac(context, (struct text){(const char *)signing_key, SIGV4_DIGEST_BYTES}, to_sign,
               signature);
    char *hex = arena_alloc(arena, SIGV4_HEX_CHARS + 1);
    text_hex(signature, sizeof(signature), hex);
    return (struct text){hex, SIGV4_HEX_CHARS};
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
        struct text to_sign = string_to_sign(context, signed_at, &scope,
                                             sigv4_canonical_request(&canonical, arena), arena);
        struct text expected = signature_hex(context, signing_key, to_sign, arena);
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

// ---- signing ----------------------------------------------------------------------------------

static int name_compare(const void *left, const void *right)
{
    const struct text *a = left;
    const struct text *b = right;
    return compare_nocase(*a, *b);
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
        if (i > 0 && compare_nocase(names[i - 1], names[i]) == 0) {
            continue;
        }
        if (size > 0) {
            list[size++] = ';';
        }
        for (size_t j = 0; j < names[i].size; j++) {
            list[size++] = (char)lower(names[i].data[j]);
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
    struct text to_sign = string_to_sign(context, signed_at, &scope,
                                         sigv4_canonical_request(canonical, arena), arena);
    struct text signature = signature_hex(context, signing_key, to_sign, arena);
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
