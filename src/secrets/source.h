#pragma once

#include "core/core.h"

/*
 * Where a secret of a container definition comes from: its `valueFrom`, and the value behind it.
 *
 * `valueFrom` is the ARN of a secret, with `:json-key:version-stage:version-id` behind it or
 * without, the ARN of a parameter, or a parameter's name.
 */

/** A `valueFrom`, taken apart. Texts borrow from it; parts that are not given are empty or absent.
 */
struct secret_source {
    bool parameter;       ///< of the Parameter Store; else of Secrets Manager
    struct text region;   ///< of its ARN; absent: the task's
    struct text id;       ///< the secret's ARN without the parts behind it; the parameter
    struct text json_key; ///< of the object that the value is; the whole value without it
    struct text version_stage;
    struct text version_id;
};

/** @return 0, or ERR_INVALID for an ARN of a secret with some but not all of its parts */
MUST_CHECK int secret_source_parse(struct text value_from, struct secret_source *out_source);

/**
 * Find what a key of an object holds: a string as it reads, anything else as its JSON.
 *
 * @param out_value  in the arena
 * @return 0; ERR_INVALID when json is no object; ERR_NOT_FOUND when the object has no such key
 */
MUST_CHECK int secret_json_value(struct text json, struct text key, struct arena *arena,
                                 struct text *out_value);

/** Why a value cannot be had. */
struct secret_source_fault {
    bool answered;    ///< by a refusal of the store, `Code: message`; else the value is at fault
    struct text text; ///< a clause, in the arena
};

/**
 * Read the value that a source names, for an account; what is read is noted as an access.
 *
 * @param region     of the task
 * @param out_value  in the call's arena
 * @return 0, or ERR_NOT_FOUND with out_fault
 */
MUST_CHECK int secret_source_read(struct core_call *call, const struct secret_source *source,
                                  struct text account, struct text region, struct text *out_value,
                                  struct secret_source_fault *out_fault);
