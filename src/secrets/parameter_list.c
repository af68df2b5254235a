#include "secrets/parameter_internal.h"

#include "base/text.h"
#include "core/page_token.h"
#include "identity/identity.h"

/*
 * DescribeParameters, and the filters and pages of listings.
 *
 * Parameters are listed by name. A token holds the name shown last, so a walk goes on behind it
 * whether that is still there or not.
 */

#define PAGE 50

void parameter_walk_begin(struct core_call *call, struct text beginning, struct text after,
                          struct parameter_walk *out_walk)
{
    int64_t realm = identity_realm(call->core, call->caller->account, call->caller->region);
    struct index_key prefix = {0};
    index_key_u64(&prefix, (uint64_t)realm);
    struct index_key at = prefix;
    index_key_text_begin(&prefix, beginning);
    index_walk(parameter_state(call->core)->stock.by_name, &prefix, false, &out_walk->cursor);
    if (after.data != NULL) {
        index_key_text(&at, after);
        index_walk_after(&out_walk->cursor, &at, INT64_MAX);
    }
}

// ---- pages --------------------------------------------------------------------------------------

int parameter_page_after(struct core_call *call, struct text token, struct text *out_after)
{
    *out_after = (struct text){0};
    return text_empty(token) || page_token_open(call, token, out_after) == 0
               ? 0
               : core_fault(call, &ssm_error_invalid_next_token,
                            "The specified token isn't valid.");
}

// ---- filters ------------------------------------------------------------------------------------

static bool option_is(const struct ssm_parameter_string_filter *filter, const char *option)
{
    return text_is(filter->option, option);
}

static int check_option(struct core_call *call, const struct ssm_parameter_string_filter *filter)
{
    bool path = text_is(filter->key, "Path");
    if (filter->option.data == NULL) {
        return 0;
    }
    if (path && !option_is(filter, "Recursive") && !option_is(filter, "OneLevel")) {
        return core_fault(call, &ssm_error_invalid_filter_option,
                          "The following filter option is not valid: %.*s. Valid options include: "
                          "[Recursive, OneLevel].",
                          TEXT_FMT(filter->option));
    }
    bool contains = text_is(filter->key, "Name") && option_is(filter, "Contains");
    if (!path && !contains && !option_is(filter, "Equals") && !option_is(filter, "BeginsWith")) {
        return core_fault(call, &ssm_error_invalid_filter_option,
                          "The following filter option is not valid: %.*s. Valid options include: "
                          "[BeginsWith, Equals].",
                          TEXT_FMT(filter->option));
    }
    return 0;
}

int parameter_filters_check(struct core_call *call,
                            const struct ssm_parameter_string_filter_list *filters, bool by_path)
{
    for (size_t i = 0; i < filters->count; i++) {
        const struct ssm_parameter_string_filter *filter = &filters->items[i];
        bool tag = text_starts(filter->key, TEXT("tag:"));
        bool anywhere = text_is(filter->key, "Type") || text_is(filter->key, "KeyId");
        if (by_path && !anywhere && !text_is(filter->key, "Label")) {
            return core_fault(call, &ssm_error_invalid_filter_key,
                              "The following filter key is not valid: %.*s. Valid filter keys "
                              "include: [Type, KeyId].",
                              TEXT_FMT(filter->key));
        }
        if (!by_path && text_is(filter->key, "Label")) {
            return core_fault(call, &ssm_error_invalid_filter_key,
                              "The following filter key is not valid: Label. Valid filter keys "
                              "include: [Path, Name, Type, KeyId, Tier].");
        }
        if (filter->values.count == 0 && !tag) {
            return core_fault(call, &ssm_error_invalid_filter_value,
                              "The following filter values are missing : null for filter key "
                              "%.*s.",
                              TEXT_FMT(filter->key));
        }
        for (size_t j = 0; j < i; j++) {
            if (text_equal(filters->items[j].key, filter->key)) {
                return core_fault(call, &ssm_error_invalid_filter_key,
                                  "The following filter is duplicated in the request: %.*s. A "
                                  "request can contain only one occurrence of a specific filter.",
                                  TEXT_FMT(filter->key));
            }
        }
        int rc = check_option(call, filter);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static bool contains(struct text text, struct text part)
{
    for (size_t i = 0; i + part.size <= text.size; i++) {
        if (text_equal(text_slice(text, i, i + part.size), part)) {
            return true;
        }
    }
    return false;
}

static struct text without_slash(struct text text)
{
    return text_starts(text, TEXT("/")) ? text_slice(text, 1, text.size) : text;
}

static bool path_matches(const struct ssm_parameter_string_filter *filter, struct text name,
                         struct text path)
{
    struct text rest = without_slash(name);
    path = without_slash(path);
    path = text_ends(path, TEXT("/")) ? text_slice(path, 0, path.size - 1) : path;
    if (path.size > 0) {
        if (!text_starts(rest, path) || rest.size <= path.size || rest.data[path.size] != '/') {
            return false;
        }
        rest = text_slice(rest, path.size + 1, rest.size);
    }
    return option_is(filter, "Recursive") || text_find(rest, '/') == SIZE_MAX;
}

static bool value_matches(const struct ssm_parameter_string_filter *filter, struct text what,
                          struct text value)
{
    return option_is(filter, "BeginsWith") ? text_starts(what, value)
           : option_is(filter, "Contains") ? contains(what, value)
                                           : text_equal(what, value);
}

static bool tag_matches(const struct secrets_record_parameter *parameter,
                        const struct ssm_parameter_string_filter *filter)
{
    struct text key = text_slice(filter->key, sizeof("tag:") - 1, filter->key.size);
    for (size_t i = 0; i < parameter->tags.count; i++) {
        const struct secrets_record_tag *tag = &parameter->tags.items[i];
        if (!text_equal(tag->key, key)) {
            continue;
        }
        bool any = filter->values.count == 0;
        for (size_t j = 0; j < filter->values.count && !any; j++) {
            any = value_matches(filter, tag->value, filter->values.items[j]);
        }
        return any;
    }
    return false;
}

static bool filter_matches(const struct secrets_record_parameter *parameter,
                           const struct secrets_record_parameter_version *version,
                           const struct ssm_parameter_string_filter *filter, struct text value)
{
    if (text_is(filter->key, "Path")) {
        return path_matches(filter, parameter->name, value);
    }
    if (text_is(filter->key, "Label")) {
        return parameter_version_has(version, value);
    }
    if (text_is(filter->key, "Name")) {
        return option_is(filter, "Contains")
                   ? contains(parameter->name, value)
                   : value_matches(filter, without_slash(parameter->name), without_slash(value));
    }
    struct text what = {0};
    if (text_is(filter->key, "Type")) {
        what =
            text_of(shape_enum_name(&secrets_record_parameter_type_shape, (int32_t)version->type));
    } else if (text_is(filter->key, "Tier")) {
        what =
            text_of(shape_enum_name(&secrets_record_parameter_tier_shape, (int32_t)version->tier));
    } else if (text_is(filter->key, "KeyId")) {
        what = version->key_id;
    } else {
        what = TEXT("text"); // DataType
    }
    return what.data != NULL && value_matches(filter, what, value);
}

bool parameter_filters_match(const struct core *core, int64_t key, int64_t version,
                             const struct ssm_parameter_string_filter_list *filters)
{
    const struct secrets_record_parameter *parameter = core_get(core, &parameter_kind, key);
    const struct secrets_record_parameter_version *newest =
        core_get(core, &parameter_version_kind, version);
    for (size_t i = 0; i < filters->count; i++) {
        const struct ssm_parameter_string_filter *filter = &filters->items[i];
        bool any = text_starts(filter->key, TEXT("tag:")) && tag_matches(parameter, filter);
        for (size_t j = 0;
             !text_starts(filter->key, TEXT("tag:")) && !any && j < filter->values.count; j++) {
            any = filter_matches(parameter, newest, filter, filter->values.items[j]);
        }
        if (!any) {
            return false;
        }
    }
    return true;
}

// The older form of filters as the newer one: a name by its beginning, the rest as it is.
static int newer_filters(struct core_call *call, const struct ssm_describe_parameters_request *in,
                         struct ssm_parameter_string_filter_list *out_filters)
{
    *out_filters = in->parameter_filters;
    if (in->filters.count == 0) {
        return 0;
    }
    if (in->parameter_filters.count > 0) {
        return core_fault(call, &parameter_validation_exception,
                          "You can use either Filters or ParameterFilters in a single request.");
    }
    out_filters->items = arena_array(call->arena, in->filters.count, sizeof(*out_filters->items));
    out_filters->count = in->filters.count;
    for (size_t i = 0; i < in->filters.count; i++) {
        const struct ssm_parameters_filter *filter = &in->filters.items[i];
        bool name = filter->key == SSM_PARAMETERS_FILTER_KEY_NAME;
        out_filters->items[i] = (struct ssm_parameter_string_filter){
            .key = text_of(shape_enum_name(&ssm_parameters_filter_key_shape, (int32_t)filter->key)),
            .option = name ? TEXT("BeginsWith") : TEXT("Equals"),
            .values = filter->values,
        };
    }
    return 0;
}

// ---- DescribeParameters -------------------------------------------------------------------------

static void show(struct core_call *call, const struct secrets_record_parameter *parameter,
                 int64_t version_key, struct ssm_parameter_metadata *out)
{
    const struct secrets_record_parameter_version *version =
        core_get(call->core, &parameter_version_kind, version_key);
    *out = (struct ssm_parameter_metadata){
        .name = parameter->name,
        .arn = parameter_arn(call->caller, call->arena, parameter->name),
        .type = (enum ssm_parameter_type)version->type,
        .key_id = arena_text(call->arena, version->key_id), // terminated: it has a pattern
        .last_modified_date = version->modified_at,
        .last_modified_user = version->modified_by,
        .description = version->description,
        .has_version = true,
        .version = version->version,
        .tier = (enum ssm_parameter_tier)version->tier,
        .policies = {.items = SHAPE_EMPTY},
        .data_type = TEXT("text"),
    };
}

int parameter_describe(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct ssm_describe_parameters_request *in = request;
    struct ssm_describe_parameters_result *out = response;
    struct ssm_parameter_string_filter_list filters;
    struct text after = {0};
    int rc = newer_filters(call, in, &filters);
    if (rc == 0) {
        rc = parameter_filters_check(call, &filters, false);
    }
    if (rc == 0) {
        rc = parameter_page_after(call, in->next_token, &after);
    }
    if (rc != 0) {
        return rc;
    }
    size_t size = in->has_max_results ? (size_t)in->max_results : PAGE;
    out->parameters.items = arena_array(call->arena, size, sizeof(*out->parameters.items));
    if (in->has_shared && in->shared) {
        return 0; // what other accounts share: nothing is shared between accounts here
    }
    struct parameter_walk walk;
    parameter_walk_begin(call, TEXT(""), after, &walk);
    for (int64_t key = index_step(&walk.cursor); key != 0; key = index_step(&walk.cursor)) {
        int64_t version = parameter_version_find(call->core, key, 0);
        if (!parameter_filters_match(call->core, key, version, &filters)) {
            continue;
        }
        if (out->parameters.count == size) {
            out->next_token = page_token_make(call, out->parameters.items[size - 1].name);
            break;
        }
        show(call, core_get(call->core, &parameter_kind, key), version,
             &out->parameters.items[out->parameters.count++]);
    }
    return 0;
}
