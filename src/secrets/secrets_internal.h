#pragma once

#include "api/secretsmanager.h"
#include "core/index.h"
#include "secrets/common.h"
#include "secrets/secrets.h"

/*
 * What the parts of secrets_module share: state (secrets.c), how secrets are named and found
 * (secret_name.c), versions and their values (secret_value.c), staging labels (secret_stage.c), the
 * operations that change (secret_change.c) and show (secret_show.c, secret_list.c), and passwords
 * (password.c).
 */

#define SECRETS_MAX 50000       ///< of one account and region; AWS: 500,000
#define SECRETS_NAME_MAX 512    ///< AWS: characters of a name
#define SECRETS_VALUE_MAX 65536 ///< AWS: bytes of a value
#define SECRETS_VERSIONS_MAX 90 ///< of a secret; AWS: about 100. They go in one transaction
#define SECRETS_STAGES_MAX 20   ///< AWS: staging labels of a secret
#define SECRETS_TAGS_MAX 50     ///< AWS: tags of a secret
#define SECRETS_STORED_MAX (256ll << 20) ///< bytes of all values: records are kept in memory
#define SECRETS_WINDOW_DAYS 30           ///< AWS: before a deleted secret goes, unless told
#define SECRETS_WINDOW_DAYS_MIN 7
#define SECRETS_DAY_MS (24 * 3600 * INT64_C(1000))

#define SECRETS_CURRENT "AWSCURRENT"
#define SECRETS_PREVIOUS "AWSPREVIOUS"
#define SECRETS_PENDING "AWSPENDING"

/** Derived from records, never stored. */
struct secrets_state {
    const struct seal_cipher *cipher;
    struct secrets_stock stock; ///< versions are by secret, oldest first
    struct index *by_realm;     ///< realm
};

/** @return the module's state */
struct secrets_state *secrets_state(const struct core *core);

// ---- names --------------------------------------------------------------------------------

/** @return the secret's ARN, in the call's arena */
struct text secret_arn(struct core_call *call, const struct secrets_record_secret *secret);

/**
 * Find what a caller means by a name, a full ARN, or an ARN without the random characters.
 *
 * @return its key, or 0
 */
int64_t secret_find(const struct core *core, const struct core_caller *caller, struct text id);

/** Find, or refuse with ResourceNotFoundException. @param out_secret  valid for the input */
MUST_CHECK int secret_open(struct core_call *call, struct text id, int64_t *out_key,
                           const struct secrets_record_secret **out_secret);

/** The same, and refuse a secret that was deleted. */
MUST_CHECK int secret_open_live(struct core_call *call, struct text id, int64_t *out_key,
                                const struct secrets_record_secret **out_secret);

/** Refuse a name that AWS does not take for a new secret. */
MUST_CHECK int secret_check_name(struct core_call *call, struct text name);

/** @return six random characters, as AWS puts behind the name in an ARN */
struct text secret_suffix(struct core_call *call);

// ---- versions -----------------------------------------------------------------------------

/** A version and its key. */
struct secret_version {
    int64_t key;
    const struct secrets_record_version *record; ///< NULL when there is none
};

/** Walk over versions, oldest first: begin with key 0. @return false at the end */
bool secret_version_next(const struct core *core, int64_t secret, struct secret_version *version);

/** Find by id. */
struct secret_version secret_version_by_id(const struct core *core, int64_t secret, struct text id);

/** Find by staging label. */
struct secret_version secret_version_by_stage(const struct core *core, int64_t secret,
                                              struct text stage);

/** @return whether a version bears a staging label */
bool secret_version_has(const struct secrets_record_version *version, struct text stage);

/** What a request brings as a value. */
struct secret_value {
    struct text bytes; ///< absent when it brings none
    bool binary;
};

/** Take the value out of a request's two members. Both, or too many bytes, are refused. */
MUST_CHECK int secret_value_take(struct core_call *call, struct text string, struct text binary,
                                 struct secret_value *out_value);

/** Open a version's value. @return 0, or ERR_FAULT with DecryptionFailure */
MUST_CHECK int secret_value_open(struct core_call *call, const struct secret_version *version,
                                 struct text *out_bytes);

/**
 * Check that a new version can be made. A version with that id and value that is there already is
 * the same request once more.
 *
 * @param secret      0 when the secret itself is new
 * @param arn         of the secret, for messages
 * @param out_repeat  set when there is nothing to do
 */
MUST_CHECK int secret_version_check(struct core_call *call, int64_t secret, struct text arn,
                                    struct text version_id, const struct secret_value *value,
                                    bool *out_repeat);

/**
 * Make a version, after secret_version_check, and move staging labels to it. Old versions without
 * labels go where there are too many.
 *
 * @param stages  the first version bears AWSCURRENT besides
 */
void secret_version_put(struct core_call *call, int64_t secret, struct text version_id,
                        const struct secret_value *value, const struct text_list *stages);

/** Delete a secret with all of its versions. */
void secret_remove(struct core_call *call, int64_t secret);

// ---- staging labels -----------------------------------------------------------------------

/** Check labels that a request gives to a version which may not be there yet. */
MUST_CHECK int secret_stages_check(struct core_call *call, int64_t secret,
                                   const struct text_list *stages);

/**
 * Put a label on a version, and take it from the one that had it. AWSPREVIOUS follows AWSCURRENT.
 *
 * @param version  0: take it away only
 */
void secret_stage_move(struct core_call *call, int64_t secret, struct text stage, int64_t version);

// ---- words --------------------------------------------------------------------------------

/** @return whether text begins with prefix; ASCII case is ignored */
bool words_start(struct text text, struct text prefix);

/** @return whether some word of text begins with the prefix; ASCII case is ignored */
bool words_any_start(struct text text, struct text prefix);

// ---- listings -----------------------------------------------------------------------------

#define SECRETS_PAGE 100 ///< entries of a page, unless told

/** Where an entry stands in a listing: what its order goes by, and its key. */
struct secret_place {
    int64_t key;
    int64_t number;   ///< a time, where the order goes by one
    struct text name; ///< where it goes by names
};

/** Read a token. @param out_after  place of the entry shown last; all 0 on the first page */
MUST_CHECK int secret_page_after(struct core_call *call, struct text token,
                                 struct secret_place *out_after);

/** @return the token for the page that follows an entry, in the call's arena */
struct text secret_page_token(struct core_call *call, const struct secret_place *last);

/** Describe a secret as ListSecrets does. */
void secret_show(struct core_call *call, int64_t key, struct secretsmanager_secret_list_entry *out);

// ---- handlers; see core_handler_fn --------------------------------------------------------

/** Handler of CreateSecret; see core_handler_fn. */
int secret_create(struct core_call *call, void *state, const void *request, void *response);
/** Handler of PutSecretValue. */
int secret_put_value(struct core_call *call, void *state, const void *request, void *response);
/** Handler of UpdateSecret. */
int secret_update(struct core_call *call, void *state, const void *request, void *response);
/** Handler of DeleteSecret. */
int secret_delete(struct core_call *call, void *state, const void *request, void *response);
/** Handler of RestoreSecret. */
int secret_restore(struct core_call *call, void *state, const void *request, void *response);
/** Handler of TagResource. */
int secret_tag(struct core_call *call, void *state, const void *request, void *response);
/** Handler of UntagResource. */
int secret_untag(struct core_call *call, void *state, const void *request, void *response);
/** Handler of UpdateSecretVersionStage. */
int secret_update_stage(struct core_call *call, void *state, const void *request, void *response);
/** Handler of GetSecretValue. */
int secret_get_value(struct core_call *call, void *state, const void *request, void *response);
/** Handler of DescribeSecret. */
int secret_describe(struct core_call *call, void *state, const void *request, void *response);
/** Handler of GetResourcePolicy. */
int secret_get_policy(struct core_call *call, void *state, const void *request, void *response);
/** Handler of DeleteResourcePolicy. */
int secret_delete_policy(struct core_call *call, void *state, const void *request, void *response);
/** Handler of ListSecretVersionIds. */
int secret_list_versions(struct core_call *call, void *state, const void *request, void *response);
/** Handler of ListSecrets. */
int secret_list(struct core_call *call, void *state, const void *request, void *response);
/** Handler of GetRandomPassword. */
int secret_random_password(struct core_call *call, void *state, const void *request,
                           void *response);

/** An error that the model lacks: what Secrets Manager says of members that do not fit. */
extern const struct api_error secret_validation_exception;

extern const struct core_manager secret_manager; ///< deletes secrets whose window is over
