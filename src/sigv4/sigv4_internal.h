#pragma once

#include "base/text.h"
#include "sigv4/sigv4.h"

#include <openssl/evp.h>

/*
 * What the parts of this module share. sigv4_claim.c reads what a request says of its signature,
 * sigv4_verify.c checks it, sigv4_sign.c signs; sigv4_canonical.c writes what is signed,
 * sigv4_key.c has digests and derived keys, sigv4_time.c the forms of a time.
 */

#define SIGV4_ALGORITHM "AWS4-HMAC-SHA256"
#define SIGV4_TERMINATOR "aws4_request"
#define SIGV4_UNSIGNED_PAYLOAD "UNSIGNED-PAYLOAD"
#define SIGV4_DIGEST_BYTES 32
#define SIGV4_HEX_CHARS 64
#define SIGV4_TIME_CHARS 16 // 20150830T123600Z
#define SIGV4_DATE_CHARS 8  // 20150830

/** A context for digests, used for all of one call. */
EVP_MD_CTX *sigv4_context_new(void);
UNUSED static inline void sigv4_context_auto(EVP_MD_CTX **context)
{
    EVP_MD_CTX_free(*context);
}

/** SHA-256 of bytes. */
void sigv4_hash(EVP_MD_CTX *context, struct text bytes,
                unsigned char out_digest[SIGV4_DIGEST_BYTES]);

/** SHA-256 of bytes as hex in the arena. */
struct text sigv4_hash_hex(EVP_MD_CTX *context, struct text bytes, struct arena *arena);

/** HMAC-SHA-256. */
void sigv4_hmac(EVP_MD_CTX *context, struct text key, struct text message,
                unsigned char out_digest[SIGV4_DIGEST_BYTES]);

/** What a signing key is derived for. */
struct sigv4_scope {
    struct text key_id;
    struct text secret;
    struct text date;
    struct text region;
    struct text service;
};

/** The key that signs: out of the cache when it is there (cache may be NULL), else derived. */
void sigv4_signing_key(EVP_MD_CTX *context, const struct sigv4_scope *scope,
                       struct sigv4_cache *cache, unsigned char out_key[SIGV4_DIGEST_BYTES]);

/** Sign a text: hex in the arena. */
struct text sigv4_signature_hex(EVP_MD_CTX *context,
                                const unsigned char signing_key[SIGV4_DIGEST_BYTES],
                                struct text to_sign, struct arena *arena);

/** How to write a canonical request. */
struct sigv4_canonical {
    const struct sigv4_request *request;
    struct text signed_headers; ///< names with ';' between, in the order they are written
    struct text payload_hash;   ///< hex digits or UNSIGNED-PAYLOAD
    bool query_as_sent;         ///< sort the query's parameters without encoding them anew
    bool presigned;             ///< X-Amz-Signature of the query is the signature, not signed
};

/** Write the canonical request into the arena. */
struct text sigv4_canonical_request(const struct sigv4_canonical *canonical, struct arena *arena);

/** Write the text that is signed: algorithm, time, scope and the hash of the canonical request. */
struct text sigv4_string_to_sign(EVP_MD_CTX *context, struct text signed_at,
                                 const struct sigv4_scope *scope, struct text canonical_request,
                                 struct arena *arena);

/** Compare names of headers. @return less than, equal to or more than 0 */
int sigv4_compare_nocase(struct text a, struct text b);

/** @return the decoded value of a parameter of a query, absent when it is not there */
struct text sigv4_query_find(struct text query, const char *name, struct arena *arena);

/** Percent-decode; a broken escape stays as it is. */
struct text sigv4_percent_decode(struct text text, struct arena *arena);

/** Percent-encode all but unreserved characters. */
struct text sigv4_percent_encode(struct text text, struct arena *arena);

/** @return whether there are several headers of that name */
bool sigv4_header_doubled(const struct sigv4_request *request, struct text name);

/** @return value of the first header of that name, absent when there is none */
struct text sigv4_find_header(const struct sigv4_request *request, struct text name);

/** Write a time as 20150830T123600Z. */
struct text sigv4_time_text(int64_t time_ms, struct arena *arena);

/** Read 20150830T123600Z. @return 0 or ERR_INVALID */
MUST_CHECK int sigv4_time_parse(struct text text, int64_t *out_ms);

/** Read an HTTP date such as `Sun, 30 Aug 2015 12:36:00 GMT` (RFC 9110), which some clients sign
 *  with. @return 0 or ERR_INVALID */
MUST_CHECK int sigv4_http_date_parse(struct text text, int64_t *out_ms);
