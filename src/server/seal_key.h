#pragma once

#include "base/err.h"
#include "secrets/seal.h"

/*
 * The key that values of secrets are sealed with: AES-256-GCM by OpenSSL, under one key in a file
 * that only the server's user may read.
 *
 * The file is made at the first start and never replaced. It is not in the store: a copy of the
 * store alone tells no secret, and without the file the values in it are lost.
 */

struct seal_key;

/**
 * Read the key; make it when the file is not there.
 *
 * @param out_made  whether it was made just now
 * @return 0; ERR_DENIED when others than the owner may read the file; ERR_CORRUPT when it holds no
 *         key; ERR_SYS and kin
 */
MUST_CHECK int seal_key_open(const char *path, struct seal_key **out_key, bool *out_made,
                             struct err *err);

/** Overwrite and free; NULL is allowed. */
void seal_key_free(struct seal_key *key);
AUTO_POINTER(struct seal_key, seal_key_free)

/** @return what seals and opens with the key; lives as long as it */
const struct seal_cipher *seal_key_cipher(const struct seal_key *key);
