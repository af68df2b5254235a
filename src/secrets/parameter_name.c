#include "secrets/parameter_internal.h"

#include "base/text.h"
#include "identity/identity.h"

/*
 * Names of parameters, and which version a reference means.
 */

struct text parameter_arn(const struct core_caller *caller, struct arena *arena, struct text name)
{
    bool path = text_starts(name, TEXT("/"));
    return arena_format(arena, "arn:aws:ssm:%.*s:%.*s:parameter%s%.*s", TEXT_FMT(caller->region),
                        TEXT_FMT(caller->account), path ? "" : "/", TEXT_FMT(name));
}

static int64_t find_name(const struct core *core, int64_t realm, struct text name)
{
    if (name.size == 0 || name.size > PARAMETER_ARN_MAX) {
        return 0;
    }
    struct index_key key = {0};
    index_key_u64(&key, (uint64_t)realm);
    index_key_text(&key, name);
    return index_get(parameter_state(core)->stock.by_name, &key);
}

// Cut `arn:aws:ssm:REGION:ACCOUNT:parameter` off. @return false for an ARN of something else
static bool cut_arn(const struct core_caller *caller, struct text *id)
{
    const struct text parts[] = {TEXT("arn"), TEXT("aws"), TEXT("ssm"), caller->region,
                                 caller->account};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (!text_equal(text_cut(id, ':'), parts[i])) {
            return false;
        }
    }
    bool right = text_starts(*id, TEXT("parameter/"));
    *id = text_slice(*id, sizeof("parameter") - 1, id->size);
    return right;
}

static int64_t find_selected(const struct core *core, int64_t parameter, struct text selector)
{
    uint64_t number = 0;
    struct text what = text_slice(selector, 1, selector.size);
    if (selector.data == NULL) {
        return parameter_version_find(core, parameter, 0);
    }
    if (text_to_u64(what, &number) == 0) {
        return number == 0 || number > INT32_MAX
                   ? 0
                   : parameter_version_find(core, parameter, (int64_t)number);
    }
    int64_t last = 0;
    for (int64_t key = parameter_version_next(core, parameter, 0); key != 0;
         key = parameter_version_next(core, parameter, last)) {
        const struct secrets_record_parameter_version *version =
            core_get(core, &parameter_version_kind, key);
        if (parameter_version_has(version, what)) {
            return key;
        }
        last = version->version;
    }
    return 0;
}

struct parameter_reference parameter_find(const struct core *core, const struct core_caller *caller,
                                          struct text id)
{
    struct parameter_reference reference = {.name = id};
    bool arn = text_starts(id, TEXT("arn:"));
    if (arn && !cut_arn(caller, &id)) {
        return reference;
    }
    size_t colon = text_find(id, ':');
    if (colon != SIZE_MAX) {
        reference.selector = text_slice(id, colon, id.size);
        id = text_slice(id, 0, colon);
    }
    reference.name = id;
    int64_t realm = identity_realm(core, caller->account, caller->region);
    if (realm == 0) {
        return reference;
    }
    reference.key = find_name(core, realm, id);
    if (reference.key == 0 && arn) {
        // An ARN has a slash in front of a name that is no path, too.
        reference.name = text_slice(id, 1, id.size);
        reference.key = find_name(core, realm, reference.name);
    }
    if (reference.key != 0) {
        reference.version = find_selected(core, reference.key, reference.selector);
    }
    return reference;
}

int parameter_open(struct core_call *call, struct text id,
                   struct parameter_reference *out_reference)
{
    struct parameter_reference reference = parameter_find(call->core, call->caller, id);
    if (reference.key == 0) {
        return core_fault(call, &ssm_error_parameter_not_found, "Parameter %.*s not found.",
                          TEXT_FMT(id));
    }
    if (reference.version == 0) {
        uint64_t number = 0;
        struct text what = text_slice(reference.selector, 1, reference.selector.size);
        bool version = text_to_u64(what, &number) == 0;
        return core_fault(call, &ssm_error_parameter_version_not_found,
                          "Systems Manager could not find %s %.*s of %.*s. Verify the %s and try "
                          "again.",
                          version ? "version" : "label", TEXT_FMT(what), TEXT_FMT(reference.name),
                          version ? "version" : "label");
    }
    *out_reference = reference;
    return 0;
}

// ---- versions -----------------------------------------------------------------------------------

int64_t parameter_version_find(const struct core *core, int64_t parameter, int64_t version)
{
    struct index_key key = {0};
    index_key_u64(&key, (uint64_t)parameter);
    if (version != 0) {
        index_key_u64(&key, (uint64_t)version);
    }
    struct index_cursor cursor;
    index_walk(parameter_state(core)->stock.versions, &key, true, &cursor);
    return index_step(&cursor);
}

int64_t parameter_version_next(const struct core *core, int64_t parameter, int64_t after)
{
    struct index_key prefix = {0};
    index_key_u64(&prefix, (uint64_t)parameter);
    struct index_cursor cursor;
    index_walk(parameter_state(core)->stock.versions, &prefix, false, &cursor);
    struct index_key at = prefix;
    index_key_u64(&at, (uint64_t)after);
    index_walk_after(&cursor, &at, INT64_MAX);
    return index_step(&cursor);
}

bool parameter_version_has(const struct secrets_record_parameter_version *version,
                           struct text label)
{
    for (size_t i = 0; i < version->labels.count; i++) {
        if (text_equal(version->labels.items[i], label)) {
            return true;
        }
    }
    return false;
}

struct text parameter_bound(struct arena *arena,
                            const struct secrets_record_parameter_version *version)
{
    return arena_format(arena, "parameter %lld %lld", (long long)version->parameter,
                        (long long)version->version);
}

// ---- new names ----------------------------------------------------------------------------------

static bool name_chars(struct text name)
{
    for (size_t i = 0; i < name.size; i++) {
        char byte = name.data[i];
        bool plain = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                     (byte >= '0' && byte <= '9');
        bool empty_level = byte == '/' && i + 1 < name.size && name.data[i + 1] == '/';
        if ((!plain && text_find(TEXT("_.-/"), byte) == SIZE_MAX) || empty_level) {
            return false;
        }
    }
    return name.size > 0 && name.data[name.size - 1] != '/';
}

static size_t levels_of(struct text name)
{
    size_t levels = 0;
    for (size_t i = 0; i < name.size; i++) {
        levels += name.data[i] == '/' ? 1 : 0;
    }
    return levels;
}

int parameter_check_name(struct core_call *call, struct text name)
{
    struct text first = text_starts(name, TEXT("/")) ? text_slice(name, 1, name.size) : name;
    if (text_equal_nocase(text_slice(first, 0, 3), TEXT("aws"))) {
        return core_fault(call, &parameter_validation_exception,
                          "Parameter name: can't be prefixed with \"aws\" or \"ssm\" "
                          "(case-insensitive).");
    }
    if (!name_chars(name) || text_equal_nocase(text_slice(first, 0, 3), TEXT("ssm"))) {
        return core_fault(call, &parameter_validation_exception,
                          "Parameter name: can't be prefixed with \"ssm\" (case-insensitive). If "
                          "formed as a path, it can consist of sub-paths divided by slash symbol; "
                          "each sub-path can be formed as a mix of letters, numbers and the "
                          "following 3 symbols .-_");
    }
    if (levels_of(name) > 0 && !text_starts(name, TEXT("/"))) {
        return core_fault(call, &parameter_validation_exception,
                          "Parameter name must be a fully qualified name.");
    }
    if (levels_of(name) > PARAMETER_LEVELS_MAX) {
        return core_fault(call, &ssm_error_hierarchy_level_limit_exceeded_exception,
                          "A hierarchy can have a maximum of %d levels.", PARAMETER_LEVELS_MAX);
    }
    struct text arn = parameter_arn(call->caller, call->arena, name);
    if (arn.size > PARAMETER_ARN_MAX) {
        return core_fault(call, &parameter_validation_exception,
                          "The parameter's ARN would have %zu characters; it can have at most %d.",
                          arn.size, PARAMETER_ARN_MAX);
    }
    return 0;
}
