#pragma once

#include "api/ssm.h"
#include "core/index.h"
#include "secrets/common.h"
#include "secrets/parameter.h"

/*
 * What the parts of parameter_module share: state and deletion (parameter.c), names and look-up
 * (parameter_name.c), reading (parameter_get.c), putting (parameter_put.c), labels and tags
 * (parameter_mark.c), listings and their filters (parameter_list.c).
 */

#define PARAMETERS_MAX 10000       ///< AWS: standard ones of an account and region
#define PARAMETER_ARN_MAX 1011     ///< AWS: characters of a name with the ARN around it
#define PARAMETER_LEVELS_MAX 15    ///< AWS: of a path
#define PARAMETER_VERSIONS_MAX 100 ///< AWS: of a parameter
#define PARAMETER_LABELS_MAX 10    ///< AWS: of a version
#define PARAMETER_LABEL_CHARS_MAX 100
#define PARAMETER_TAGS_MAX 50       ///< AWS: of a parameter
#define PARAMETER_STANDARD_MAX 4096 ///< AWS: bytes of a value
#define PARAMETER_ADVANCED_MAX 8192
#define PARAMETERS_STORED_MAX (256ll << 20) ///< bytes of all values: records are kept in memory
#define PARAMETER_KEY_USUAL "alias/aws/ssm"

/** Derived from records, never stored. */
struct parameter_state {
    struct secrets_stock stock; ///< versions are by parameter and version; what is gone has no name
};

/** @return the module's state */
struct parameter_state *parameter_state(const struct core *core);

// ---- names and versions -------------------------------------------------------------------

/** What a caller names: a parameter, and which of its versions. */
struct parameter_reference {
    int64_t key;          ///< 0 when there is no such parameter
    struct text name;     ///< without the selector
    struct text selector; ///< with its colon, absent when there is none
    int64_t version;      ///< key of the version's record; 0 when there is no such version
};

/** Find what `NAME`, `NAME:VERSION`, `NAME:LABEL` or such an ARN means. */
struct parameter_reference parameter_find(const struct core *core, const struct core_caller *caller,
                                          struct text id);

/** Find, or refuse with ParameterNotFound or ParameterVersionNotFound. */
MUST_CHECK int parameter_open(struct core_call *call, struct text id,
                              struct parameter_reference *out_reference);

/** @return key of the record of a version, or 0; version 0 is the newest */
int64_t parameter_version_find(const struct core *core, int64_t parameter, int64_t version);

/** @return the least version above `after` of a parameter, as its record's key; 0 at the end */
int64_t parameter_version_next(const struct core *core, int64_t parameter, int64_t after);

/** @return whether a version bears a label */
bool parameter_version_has(const struct secrets_record_parameter_version *version,
                           struct text label);

/** @return the ARN of a name, in the arena */
struct text parameter_arn(const struct core_caller *caller, struct arena *arena, struct text name);

/** Refuse a name that AWS does not take for a new parameter. */
MUST_CHECK int parameter_check_name(struct core_call *call, struct text name);

/** @return what a version's sealed value is bound to, in the arena */
struct text parameter_bound(struct arena *arena,
                            const struct secrets_record_parameter_version *version);

/**
 * Read a version's value.
 *
 * @param decrypt  false: a SecureString stays sealed, as hex
 * @return 0, or ERR_FAULT with InvalidKeyId
 */
MUST_CHECK int parameter_value(struct core_call *call, int64_t version, bool decrypt,
                               struct text *out_value);

/** Check tags as AWS does. */
MUST_CHECK int parameter_tags_check(struct core_call *call,
                                    const struct secrets_record_tag_list *tags);

/** @return tags as records keep them, in the call's arena */
struct secrets_record_tag_list parameter_tags_keep(struct core_call *call,
                                                   const struct ssm_tag_list *tags);

/** Delete a parameter: it is gone at once, its versions go in steps. */
void parameter_remove(struct core_call *call, int64_t key);

// ---- listings -----------------------------------------------------------------------------

/** A walk over the caller's parameters by name; index_step gives their keys. */
struct parameter_walk {
    struct index_cursor cursor;
};

/** Begin a walk over names that begin so, behind a name unless that is absent. */
void parameter_walk_begin(struct core_call *call, struct text beginning, struct text after,
                          struct parameter_walk *out_walk);

/** Read a token. @param out_after  what the page is to begin behind; absent on the first page */
MUST_CHECK int parameter_page_after(struct core_call *call, struct text token,
                                    struct text *out_after);

// ---- filters ------------------------------------------------------------------------------

/** Check filters of DescribeParameters, or of GetParametersByPath. */
MUST_CHECK int parameter_filters_check(struct core_call *call,
                                       const struct ssm_parameter_string_filter_list *filters,
                                       bool by_path);

/** @return whether a parameter passes all filters, which were checked */
bool parameter_filters_match(const struct core *core, int64_t key, int64_t version,
                             const struct ssm_parameter_string_filter_list *filters);

// ---- handlers; see core_handler_fn --------------------------------------------------------

/** Handler of PutParameter. */
int parameter_put(struct core_call *call, void *state, const void *request, void *response);
/** Handler of DeleteParameter. */
int parameter_delete(struct core_call *call, void *state, const void *request, void *response);
/** Handler of DeleteParameters. */
int parameter_delete_many(struct core_call *call, void *state, const void *request, void *response);
/** Handler of LabelParameterVersion. */
int parameter_label(struct core_call *call, void *state, const void *request, void *response);
/** Handler of UnlabelParameterVersion. */
int parameter_unlabel(struct core_call *call, void *state, const void *request, void *response);
/** Handler of AddTagsToResource. */
int parameter_tag(struct core_call *call, void *state, const void *request, void *response);
/** Handler of RemoveTagsFromResource. */
int parameter_untag(struct core_call *call, void *state, const void *request, void *response);
/** Handler of ListTagsForResource. */
int parameter_list_tags(struct core_call *call, void *state, const void *request, void *response);
/** Handler of GetParameter. */
int parameter_get(struct core_call *call, void *state, const void *request, void *response);
/** Handler of GetParameters. */
int parameter_get_many(struct core_call *call, void *state, const void *request, void *response);
/** Handler of GetParametersByPath. */
int parameter_get_path(struct core_call *call, void *state, const void *request, void *response);
/** Handler of GetParameterHistory. */
int parameter_history(struct core_call *call, void *state, const void *request, void *response);
/** Handler of DescribeParameters. */
int parameter_describe(struct core_call *call, void *state, const void *request, void *response);

/** An error that the model lacks: what Systems Manager says of members that do not fit. */
extern const struct api_error parameter_validation_exception;

extern const struct core_manager parameter_manager; ///< takes the versions of what was deleted
