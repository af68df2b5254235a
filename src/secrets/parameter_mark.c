#include "secrets/parameter_internal.h"

#include "base/text.h"

/*
 * Labels of versions, and tags of parameters.
 */

// ---- labels -------------------------------------------------------------------------------------

static bool label_valid(struct text label)
{
    for (size_t i = 0; i < label.size; i++) {
        char byte = label.data[i];
        bool plain = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                     (byte >= '0' && byte <= '9');
        if (!plain && text_find(TEXT("_.-"), byte) == SIZE_MAX) {
            return false;
        }
    }
    struct text start = text_slice(label, 0, 3);
    return label.size > 0 && !(label.data[0] >= '0' && label.data[0] <= '9') &&
           !text_equal_nocase(start, TEXT("aws")) && !text_equal_nocase(start, TEXT("ssm"));
}

static bool listed(const struct text_list *list, struct text text)
{
    for (size_t i = 0; i < list->count; i++) {
        if (text_equal(list->items[i], text)) {
            return true;
        }
    }
    return false;
}

// Take labels from a version. @return how many it had
static size_t take_labels(struct core_call *call, int64_t key, const struct text_list *labels)
{
    struct secrets_record_parameter_version *version =
        core_edit(call, &parameter_version_kind, key);
    struct text_list left = {
        .items = arena_array(call->arena, version->labels.count, sizeof(struct text))};
    for (size_t i = 0; i < version->labels.count; i++) {
        if (!listed(labels, version->labels.items[i])) {
            left.items[left.count++] = version->labels.items[i];
        }
    }
    size_t taken = version->labels.count - left.count;
    if (taken > 0) {
        left.items = left.count == 0 ? NULL : left.items;
        version->labels = left;
        core_put(call, &parameter_version_kind, key, version);
    }
    return taken;
}

static int open_version(struct core_call *call, struct text name, bool has_version, int64_t number,
                        struct parameter_reference *out_reference)
{
    struct parameter_reference reference;
    int rc = parameter_open(call, name, &reference);
    if (rc != 0) {
        return rc;
    }
    if (has_version) {
        reference.version =
            number < 1 ? 0 : parameter_version_find(call->core, reference.key, number);
    }
    if (reference.version == 0) {
        return core_fault(call, &ssm_error_parameter_version_not_found,
                          "Systems Manager could not find version %lld of %.*s. Verify the version "
                          "and try again.",
                          (long long)number, TEXT_FMT(reference.name));
    }
    *out_reference = reference;
    return 0;
}

int parameter_label(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct ssm_label_parameter_version_request *in = request;
    struct ssm_label_parameter_version_result *out = response;
    struct parameter_reference reference;
    int rc =
        open_version(call, in->name, in->has_parameter_version, in->parameter_version, &reference);
    if (rc != 0) {
        return rc;
    }
    struct text *invalid = arena_array(call->arena, in->labels.count, sizeof(*invalid));
    const struct secrets_record_parameter_version *version =
        core_get(call->core, &parameter_version_kind, reference.version);
    struct text_list labels = {.items = arena_array(call->arena,
                                                    version->labels.count + in->labels.count,
                                                    sizeof(struct text))};
    for (size_t i = 0; i < version->labels.count; i++) {
        labels.items[labels.count++] = version->labels.items[i];
    }
    struct text_list moved = {.items =
                                  arena_array(call->arena, in->labels.count, sizeof(struct text))};
    for (size_t i = 0; i < in->labels.count; i++) {
        struct text label = in->labels.items[i];
        if (label.size > PARAMETER_LABEL_CHARS_MAX) {
            return core_fault(call, &parameter_validation_exception,
                              "A label can have at most %d characters.", PARAMETER_LABEL_CHARS_MAX);
        }
        if (!label_valid(label)) {
            invalid[out->invalid_labels.count++] = label;
        } else if (!listed(&labels, label)) {
            labels.items[labels.count++] = label;
            moved.items[moved.count++] = label;
        }
    }
    if (labels.count > PARAMETER_LABELS_MAX) {
        return core_fault(call, &ssm_error_parameter_version_label_limit_exceeded,
                          "A parameter version can have maximum 10 labels. Move one or more labels "
                          "to another version and try again.");
    }
    // A label is on one version of a parameter: at most ten others lose one.
    int64_t last = 0;
    for (int64_t key = parameter_version_next(call->core, reference.key, 0);
         key != 0 && moved.count > 0;
         key = parameter_version_next(call->core, reference.key, last)) {
        const struct secrets_record_parameter_version *other =
            core_get(call->core, &parameter_version_kind, key);
        last = other->version;
        if (key != reference.version && other->labels.count > 0) {
            take_labels(call, key, &moved);
        }
    }
    if (moved.count > 0) {
        struct secrets_record_parameter_version *changed =
            core_edit(call, &parameter_version_kind, reference.version);
        changed->labels = labels;
        core_put(call, &parameter_version_kind, reference.version, changed);
    }
    out->invalid_labels.items = invalid;
    out->has_parameter_version = true;
    out->parameter_version = version->version;
    return 0;
}

int parameter_unlabel(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct ssm_unlabel_parameter_version_request *in = request;
    struct ssm_unlabel_parameter_version_result *out = response;
    struct parameter_reference reference;
    int rc = open_version(call, in->name, true, in->parameter_version, &reference);
    if (rc != 0) {
        return rc;
    }
    const struct secrets_record_parameter_version *version =
        core_get(call->core, &parameter_version_kind, reference.version);
    struct text *removed = arena_array(call->arena, in->labels.count, sizeof(*removed));
    struct text *invalid = arena_array(call->arena, in->labels.count, sizeof(*invalid));
    for (size_t i = 0; i < in->labels.count; i++) {
        if (parameter_version_has(version, in->labels.items[i])) {
            removed[out->removed_labels.count++] = in->labels.items[i];
        } else {
            invalid[out->invalid_labels.count++] = in->labels.items[i];
        }
    }
    take_labels(call, reference.version, &in->labels);
    out->removed_labels.items = removed;
    out->invalid_labels.items = invalid;
    return 0;
}

// ---- tags ---------------------------------------------------------------------------------------

static int open_tagged(struct core_call *call, enum ssm_resource_type_for_tagging type,
                       struct text id, struct parameter_reference *out_reference)
{
    if (type != SSM_RESOURCE_TYPE_FOR_TAGGING_PARAMETER) {
        return core_fault(call, &ssm_error_invalid_resource_type, "Invalid Resource Type");
    }
    struct parameter_reference reference = parameter_find(call->core, call->caller, id);
    if (reference.key == 0) {
        return core_fault(call, &ssm_error_invalid_resource_id, "Invalid Resource Id");
    }
    *out_reference = reference;
    return 0;
}

static void put_tags(struct core_call *call, int64_t key, struct secrets_record_tag_list tags)
{
    struct secrets_record_parameter *parameter = core_edit(call, &parameter_kind, key);
    parameter->tags = tags;
    core_put(call, &parameter_kind, key, parameter);
}

int parameter_tag(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    (void)response;
    const struct ssm_add_tags_to_resource_request *in = request;
    struct parameter_reference reference;
    int rc = open_tagged(call, in->resource_type, in->resource_id, &reference);
    if (rc != 0) {
        return rc;
    }
    const struct secrets_record_parameter *parameter =
        core_get(call->core, &parameter_kind, reference.key);
    const struct secrets_record_tag_list given = parameter_tags_keep(call, &in->tags);
    const struct secrets_record_tag_list merged = tags_merge(call->arena, &parameter->tags, &given);
    rc = parameter_tags_check(call, &given);
    if (rc == 0) {
        rc = parameter_tags_check(call, &merged);
    }
    if (rc == 0) {
        put_tags(call, reference.key, merged);
    }
    return rc;
}

int parameter_untag(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    (void)response;
    const struct ssm_remove_tags_from_resource_request *in = request;
    struct parameter_reference reference;
    int rc = open_tagged(call, in->resource_type, in->resource_id, &reference);
    if (rc == 0) {
        const struct secrets_record_parameter *parameter =
            core_get(call->core, &parameter_kind, reference.key);
        put_tags(call, reference.key, tags_without(call->arena, &parameter->tags, &in->tag_keys));
    }
    return rc;
}

int parameter_list_tags(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct ssm_list_tags_for_resource_request *in = request;
    struct ssm_list_tags_for_resource_result *out = response;
    struct parameter_reference reference;
    int rc = open_tagged(call, in->resource_type, in->resource_id, &reference);
    if (rc != 0) {
        return rc;
    }
    const struct secrets_record_parameter *parameter =
        core_get(call->core, &parameter_kind, reference.key);
    out->tag_list.items =
        arena_array(call->arena, parameter->tags.count, sizeof(*out->tag_list.items));
    out->tag_list.count = parameter->tags.count;
    for (size_t i = 0; i < parameter->tags.count; i++) {
        const struct secrets_record_tag *tag = &parameter->tags.items[i];
        out->tag_list.items[i] = (struct ssm_tag){
            .key = tag->key, .value = tag->value.data == NULL ? TEXT("") : tag->value};
    }
    return 0;
}
