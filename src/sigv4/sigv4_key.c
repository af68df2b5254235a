#include "sigv4/sigv4_internal.h"

#include <openssl/crypto.h>

#include <pthread.h>
#include <string.h>

#define HMAC_BLOCK_BYTES 64

// Looking an algorithm up in OpenSSL's providers costs more than hashing a small body, so it is
// done once for the life of the process.
static EVP_MD *sha256;
static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;

static void sha256_fetch(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    ASSERT(sha256 != NULL);
}

EVP_MD_CTX *sigv4_context_new(void)
{
    IGNORE(pthread_once(&sha256_once, sha256_fetch), "fails for a broken argument only");
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (context == NULL) {
        base_out_of_memory(sizeof(void *));
    }
    return context;
}

// The digest functions fail only when memory runs out or a provider is broken: neither leaves
// anything sensible to do.
static void digest_begin(EVP_MD_CTX *context)
{
    int ok = EVP_DigestInit_ex2(context, sha256, NULL);
    ASSERT(ok == 1);
}

static void digest_add(EVP_MD_CTX *context, const void *bytes, size_t size)
{
    int ok = EVP_DigestUpdate(context, bytes, size);
    ASSERT(ok == 1);
}

static void digest_end(EVP_MD_CTX *context, unsigned char out_digest[SIGV4_DIGEST_BYTES])
{
    unsigned int size = 0;
    int ok = EVP_DigestFinal_ex(context, out_digest, &size);
    ASSERT(ok == 1);
    ASSERT(size == SIGV4_DIGEST_BYTES);
}

void sigv4_hash(EVP_MD_CTX *context, struct text bytes,
                unsigned char out_digest[SIGV4_DIGEST_BYTES])
{
    digest_begin(context);
    digest_add(context, bytes.data, bytes.size);
    digest_end(context, out_digest);
}

struct text sigv4_hash_hex(EVP_MD_CTX *context, struct text bytes, struct arena *arena)
{
    unsigned char digest[SIGV4_DIGEST_BYTES];
    sigv4_hash(context, bytes, digest);
    char *hex = arena_alloc(arena, SIGV4_HEX_CHARS + 1);
    text_hex(digest, sizeof(digest), hex);
    return (struct text){hex, SIGV4_HEX_CHARS};
}

void sigv4_hmac(EVP_MD_CTX *context, struct text key, struct text message,
                unsigned char out_digest[SIGV4_DIGEST_BYTES])
{
    unsigned char inner[HMAC_BLOCK_BYTES] = {0};
    unsigned char outer[HMAC_BLOCK_BYTES];
    if (key.size > HMAC_BLOCK_BYTES) {
        sigv4_hash(context, key, inner);
    } else if (key.size > 0) {
        memcpy(inner, key.data, key.size);
    }
    for (size_t i = 0; i < HMAC_BLOCK_BYTES; i++) {
        outer[i] = inner[i] ^ 0x5c;
        inner[i] ^= 0x36;
    }

    unsigned char digest[SIGV4_DIGEST_BYTES];
    digest_begin(context);
    digest_add(context, inner, sizeof(inner));
    digest_add(context, message.data, message.size);
    digest_end(context, digest);

    digest_begin(context);
    digest_add(context, outer, sizeof(outer));
    digest_add(context, digest, sizeof(digest));
    digest_end(context, out_digest);

    OPENSSL_cleanse(inner, sizeof(inner));
    OPENSSL_cleanse(outer, sizeof(outer));
}

static void derive(EVP_MD_CTX *context, const struct sigv4_scope *scope,
                   unsigned char out_key[SIGV4_DIGEST_BYTES])
{
    AUTO(buf_deinit) struct buf first = {0};
    buf_string(&first, "AWS4");
    buf_text(&first, scope->secret);

    const struct text steps[] = {scope->date, scope->region, scope->service,
                                 TEXT(SIGV4_TERMINATOR)};
    unsigned char key[SIGV4_DIGEST_BYTES];
    sigv4_hmac(context, buf_view(&first), steps[0], key);
    for (size_t i = 1; i < ARRAY_LEN(steps); i++) {
        unsigned char next[SIGV4_DIGEST_BYTES];
        sigv4_hmac(context, (struct text){(const char *)key, sizeof(key)}, steps[i], next);
        memcpy(key, next, sizeof(key));
    }
    memcpy(out_key, key, sizeof(key));
    OPENSSL_cleanse(first.data, first.size);
    OPENSSL_cleanse(key, sizeof(key));
}

// ---- cache ------------------------------------------------------------------------------------

// Enough for every node of the largest cluster we build for to sign as itself; an entry that is
// pushed out costs 4 µs to derive again.
#define CACHE_SLOTS 16384
// Longer scopes are derived anew each time: real ones are about 60 characters.
#define CACHE_SCOPE_CHARS_MAX 200
#define CACHE_SECRET_CHARS_MAX 64

struct cache_entry {
    unsigned char key[SIGV4_DIGEST_BYTES];
    uint16_t scope_size;
    uint16_t secret_size;
    uint16_t key_id_size;
    char scope[CACHE_SCOPE_CHARS_MAX]; // key id, date, region, service with a zero byte between
    char secret[CACHE_SECRET_CHARS_MAX];
};

struct sigv4_cache {
    struct cache_entry *slots[CACHE_SLOTS];
};

struct sigv4_cache *sigv4_cache_new(void)
{
    return ALLOC(struct sigv4_cache);
}

static void entry_free(struct cache_entry *entry)
{
    if (entry != NULL) {
        OPENSSL_cleanse(entry, sizeof(*entry));
        alloc_free(entry);
    }
}

void sigv4_cache_free(struct sigv4_cache *cache)
{
    if (cache == NULL) {
        return;
    }
    for (size_t i = 0; i < CACHE_SLOTS; i++) {
        entry_free(cache->slots[i]);
    }
    alloc_free(cache);
}

// The scope as one run of bytes. @return its size, or 0 when it is too long to be cached
static size_t cache_scope(const struct sigv4_scope *scope, char out_bytes[CACHE_SCOPE_CHARS_MAX])
{
    const struct text parts[] = {scope->key_id, scope->date, scope->region, scope->service};
    size_t size = 0;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (parts[i].size + 1 > CACHE_SCOPE_CHARS_MAX - size) {
            return 0;
        }
        if (parts[i].size > 0) {
            memcpy(out_bytes + size, parts[i].data, parts[i].size);
        }
        size += parts[i].size;
        out_bytes[size++] = '\0';
    }
    return size;
}

void sigv4_signing_key(EVP_MD_CTX *context, const struct sigv4_scope *scope,
                       struct sigv4_cache *cache, unsigned char out_key[SIGV4_DIGEST_BYTES])
{
    char bytes[CACHE_SCOPE_CHARS_MAX];
    size_t size = cache == NULL ? 0 : cache_scope(scope, bytes);
    if (size == 0 || scope->secret.size > CACHE_SECRET_CHARS_MAX) {
        derive(context, scope, out_key);
        return;
    }

    struct cache_entry **slot = &cache->slots[text_hash((struct text){bytes, size}) % CACHE_SLOTS];
    struct cache_entry *entry = *slot;
    // The secret is part of the match, so a key id that got a new secret never verifies with the
    // older one, whether or not somebody called forget.
    if (entry != NULL && entry->scope_size == size && entry->secret_size == scope->secret.size &&
        memcmp(entry->scope, bytes, size) == 0 &&
        CRYPTO_memcmp(entry->secret, scope->secret.data, scope->secret.size) == 0) {
        memcpy(out_key, entry->key, sizeof(entry->key));
        return;
    }

    derive(context, scope, out_key);
    if (entry == NULL) {
        entry = ALLOC(struct cache_entry);
        *slot = entry;
    }
    entry->scope_size = (uint16_t)size;
    entry->key_id_size = (uint16_t)scope->key_id.size;
    entry->secret_size = (uint16_t)scope->secret.size;
    memcpy(entry->scope, bytes, size);
    memcpy(entry->secret, scope->secret.data, scope->secret.size);
    memcpy(entry->key, out_key, sizeof(entry->key));
}

struct text sigv4_signature_hex(EVP_MD_CTX *context,
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
