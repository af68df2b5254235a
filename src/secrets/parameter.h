#pragma once

#include "api/secrets_record.h"
#include "core/core.h"

/*
 * AWS Systems Manager's Parameter Store: parameters, their versions and what these are called.
 *
 * It shares the cipher of secrets_module, which must be registered before. Values of every type are
 * stored sealed; what a SecureString is more is that it is shown only to who asks for decryption.
 */

extern const struct core_module parameter_module;

/** Tables of the module: the engine knows a kind by its address in this array. */
extern const struct core_kind parameter_kinds[];
#define parameter_kind (parameter_kinds[0])
#define parameter_version_kind (parameter_kinds[1])

/** @return how many stored values were sealed with another key; see secrets_count_foreign */
size_t parameter_count_foreign(const struct core *core);
