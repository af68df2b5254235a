#pragma once

#include "base/alloc.h"
#include "base/buf.h"
#include "base/err.h"

/*
 * AWS Signature Version 4, both ways: sign as a client, verify as a server. Header and query
 * ("pre-signed") forms, UNSIGNED-PAYLOAD. Pure: time and keys come from the caller.
 * Source: AWS General Reference, "Signature Version 4 signing process".
 */

/** A header; names are compared without case. */
struct sigv4_header {
    struct text name;
    struct text value;
};

/** A request as it is on the wire. Borrowed for the call. */
struct sigv4_request {
    struct text method;
    struct text path;  ///< as sent, percent-encoded, without the query
    struct text query; ///< as sent, without '?'; may be absent
    const struct sigv4_header *headers;
    size_t header_count;
    struct text body;
};

/** What a request claims before anything was verified. */
struct sigv4_claim {
    struct text key_id;
    struct text date; ///< yyyymmdd of the credential scope
    struct text region;
    struct text service;
    int64_t signed_at_ms;
    int64_t expires_s; ///< query form; 0 in the header form
    struct text signed_headers;
    struct text signature; ///< 64 hex digits
    struct text session_token;
    bool presigned;
};

/** Why a request was refused, each with an error of its own in AWS. */
enum sigv4_result {
    SIGV4_OK,
    SIGV4_MISSING,    ///< no authentication at all: MissingAuthenticationTokenException
    SIGV4_INCOMPLETE, ///< IncompleteSignatureException
    SIGV4_EXPIRED,    ///< outside the window of 5 minutes, or a pre-signed URL's life is over
    SIGV4_MISMATCH,   ///< InvalidSignatureException
};

/** How far a client's clock may be off: 5 minutes, as AWS. */
#define SIGV4_SKEW_MS (5 * 60 * 1000)

/**
 * Read the claim out of headers or query. Texts borrow from the request or the arena.
 *
 * @return SIGV4_OK, SIGV4_MISSING, or SIGV4_INCOMPLETE with the sentence in out_reason
 */
enum sigv4_result sigv4_parse(const struct sigv4_request *request, struct arena *arena,
                              struct sigv4_claim *out_claim, struct text *out_reason);

struct sigv4_cache;

/**
 * Verify a claim against a secret. Compares in constant time. Signing keys are derived anew in
 * each call unless cache is given.
 *
 * @param cache  derived keys by (key id, date, region, service); may be NULL
 * @return SIGV4_OK, SIGV4_EXPIRED or SIGV4_MISMATCH, with AWS's sentence in out_reason
 */
enum sigv4_result sigv4_verify(const struct sigv4_request *request, const struct sigv4_claim *claim,
                               struct text secret, int64_t now_ms, struct sigv4_cache *cache,
                               struct arena *arena, struct text *out_reason);

/** A bounded cache of derived keys. */
struct sigv4_cache *sigv4_cache_new(void);
/** Free; NULL is allowed. */
void sigv4_cache_free(struct sigv4_cache *cache);

/** Who signs. */
struct sigv4_identity {
    struct text key_id;
    struct text secret;
    struct text session_token; ///< may be absent
    struct text region;
    struct text service;
};

/** Headers to add to a request so that it is signed. */
struct sigv4_signature {
    struct text authorization;
    struct text amz_date;
    struct text content_sha256;
};

/** Sign in header form. The request must hold its Host header and all others that are to be
 *  signed; x-amz-date, x-amz-content-sha256 and x-amz-security-token are added by this function to
 *  what is signed. Results are in the arena. */
void sigv4_sign(const struct sigv4_request *request, const struct sigv4_identity *identity,
                int64_t now_ms, struct arena *arena, struct sigv4_signature *out_signature);

/** Make a pre-signed query string (without '?') for a request. */
struct text sigv4_presign(const struct sigv4_request *request,
                          const struct sigv4_identity *identity, int64_t now_ms, int64_t expires_s,
                          struct arena *arena);
