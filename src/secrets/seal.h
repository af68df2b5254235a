#pragma once

#include "core/core.h"

/*
 * Sealing: what is put as a secret is stored encrypted, under a key that the store does not hold.
 *
 * The engine is pure and calls no library of ciphers, so whoever wires the program together gives
 * it a sealer: a function of key, nonce and bytes. The nonce is drawn from the input's entropy. A
 * sealed value is bound to a text, which names the record that it belongs to, so that it opens
 * nowhere else.
 *
 *   1 byte    form, 1
 *   8 bytes   which key it was sealed with
 *   12 bytes  nonce
 *   n bytes   cipher text
 *   16 bytes  tag
 */

#define SEAL_FORM 1
#define SEAL_KEY_ID_BYTES 8
#define SEAL_NONCE_BYTES 12
#define SEAL_TAG_BYTES 16
#define SEAL_HEAD_BYTES (1 + SEAL_KEY_ID_BYTES + SEAL_NONCE_BYTES)
#define SEAL_MORE_BYTES (SEAL_HEAD_BYTES + SEAL_TAG_BYTES)

/** A cipher with its key. */
struct seal_cipher {
    unsigned char key_id[SEAL_KEY_ID_BYTES];
    /** Encrypt; out has plain.size + SEAL_TAG_BYTES bytes, the tag behind the cipher text. */
    void (*encrypt)(const void *context, const unsigned char nonce[SEAL_NONCE_BYTES],
                    struct text bound, struct text plain, char *out);
    /**
     * Decrypt cipher text with its tag; out has SEAL_TAG_BYTES bytes less.
     *
     * @return 0, or ERR_CORRUPT when it is not what was sealed for that text under this key
     */
    int (*decrypt)(const void *context, const unsigned char nonce[SEAL_NONCE_BYTES],
                   struct text bound, struct text cipher, char *out);
    const void *context;
};

/** Seal a value. @return what is stored, in the call's arena */
struct text seal_close(struct core_call *call, const struct seal_cipher *cipher, struct text bound,
                       struct text plain);

/**
 * Open a sealed value.
 *
 * @param out_plain  in the arena; set on success only
 * @return 0; ERR_DENIED when it was sealed with another key; ERR_CORRUPT; ERR_VERSION for another
 *         form
 */
MUST_CHECK int seal_open(const struct seal_cipher *cipher, struct text bound, struct text sealed,
                         struct arena *arena, struct text *out_plain);

/** @return whether a sealed value was sealed with the cipher's key */
bool seal_fits(const struct seal_cipher *cipher, struct text sealed);
