#pragma once

#include "api/secrets_record.h"
#include "core/core.h"
#include "secrets/seal.h"

/*
 * AWS Secrets Manager: secrets, their versions and what these are called.
 *
 * A value is stored sealed (seal.h) and opened for GetSecretValue and for the task that asks for
 * it, nowhere else. Kinds 100 to 119 are this folder's.
 */

extern const struct core_module secrets_module;

/** Tables of the module: the engine knows a kind by its address in this array. */
extern const struct core_kind secrets_kinds[];
#define secrets_secret_kind (secrets_kinds[0])
#define secrets_version_kind (secrets_kinds[1])

/** Give what seals and opens values; borrowed for good. Before any operation; without it those with
 *  values are refused with EncryptionFailure. */
void secrets_set_cipher(struct core *core, const struct seal_cipher *cipher);

/** @return how many stored values were sealed with another key than the cipher's, and are lost
 *          unless that key comes back; 0 without a cipher */
size_t secrets_count_foreign(const struct core *core);
