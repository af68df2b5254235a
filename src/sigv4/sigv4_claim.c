#include "sigv4/sigv4_internal.h"

/*
 * What a request says of its signature, in its headers or in its query.
 */

#define PRESIGN_SECONDS_MAX (7 * 24 * 3600)

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
        sigv4_http_date_parse(date, &claim->signed_at_ms) != 0) {
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

struct text sigv4_query_find(struct text query, const char *name, struct arena *arena)
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
        values[i] = sigv4_query_find(query, names[i], arena);
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
    struct text expires = sigv4_query_find(query, "X-Amz-Expires", arena);
    if (expires.data != NULL && (text_to_i64(expires, &claim->expires_s) != 0 ||
                                 claim->expires_s < 1 || claim->expires_s > PRESIGN_SECONDS_MAX)) {
        *out_reason = arena_format(arena, "X-Amz-Expires must be a number from 1 to 604800 "
                                          "(seconds in a week).");
        return SIGV4_INCOMPLETE;
    }
    claim->session_token = sigv4_query_find(query, "X-Amz-Security-Token", arena);
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
    } else if (sigv4_query_find(request->query, "X-Amz-Algorithm", arena).data != NULL ||
               sigv4_query_find(request->query, "X-Amz-Credential", arena).data != NULL ||
               sigv4_query_find(request->query, "X-Amz-Signature", arena).data != NULL) {
        result = parse_query_form(request->query, arena, &claim, out_reason);
    } else {
        *out_reason = TEXT("Missing Authentication Token");
    }
    if (result == SIGV4_OK) {
        *out_claim = claim;
    }
    return result;
}
