#include "secrets/seal.h"

#include "base/text.h"

#include <string.h>

static void draw_nonce(struct core_call *call, unsigned char out_nonce[SEAL_NONCE_BYTES])
{
    uint64_t bits = 0;
    for (size_t i = 0; i < SEAL_NONCE_BYTES; i++) {
        bits = i % sizeof(bits) == 0 ? core_random(call) : bits >> 8;
        out_nonce[i] = (unsigned char)bits;
    }
}

struct text seal_close(struct core_call *call, const struct seal_cipher *cipher, struct text bound,
                       struct text plain)
{
    ASSERT(cipher != NULL);
    ASSERT(plain.data != NULL);
    size_t size = plain.size + SEAL_MORE_BYTES;
    char *out = arena_alloc(call->arena, size);
    unsigned char nonce[SEAL_NONCE_BYTES];
    draw_nonce(call, nonce);
    out[0] = SEAL_FORM;
    memcpy(out + 1, cipher->key_id, SEAL_KEY_ID_BYTES);
    memcpy(out + 1 + SEAL_KEY_ID_BYTES, nonce, SEAL_NONCE_BYTES);
    cipher->encrypt(cipher->context, nonce, bound, plain, out + SEAL_HEAD_BYTES);
    return (struct text){out, size};
}

bool seal_fits(const struct seal_cipher *cipher, struct text sealed)
{
    return sealed.size >= SEAL_MORE_BYTES &&
           memcmp(sealed.data + 1, cipher->key_id, SEAL_KEY_ID_BYTES) == 0;
}

int seal_open(const struct seal_cipher *cipher, struct text bound, struct text sealed,
              struct arena *arena, struct text *out_plain)
{
    if (sealed.size < SEAL_MORE_BYTES) {
        return ERR_CORRUPT;
    }
    if (sealed.data[0] != SEAL_FORM) {
        return ERR_VERSION;
    }
    if (!seal_fits(cipher, sealed)) {
        return ERR_DENIED;
    }
    size_t size = sealed.size - SEAL_MORE_BYTES;
    char *plain = arena_alloc(arena, size + 1);
    unsigned char nonce[SEAL_NONCE_BYTES];
    memcpy(nonce, sealed.data + 1 + SEAL_KEY_ID_BYTES, SEAL_NONCE_BYTES);
    int rc = cipher->decrypt(cipher->context, nonce, bound,
                             text_slice(sealed, SEAL_HEAD_BYTES, sealed.size), plain);
    if (rc == 0) {
        *out_plain = (struct text){plain, size};
    }
    return rc;
}
