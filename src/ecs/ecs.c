#include "ecs/ecs_internal.h"

#include "base/limits.h"
#include "base/text.h"
#include "core/index.h"
#include "identity/identity.h"

// ---- volatile state -----------------------------------------------------------------------

static void *state_new(struct core *core)
{
    (void)core;
    struct ecs_state *state = ALLOC(struct ecs_state);
    state->clusters = index_new();
    state->families = index_new();
    state->revisions = index_new();
    state->definitions = index_new();
    state->settings = index_new();
    return state;
}

static void state_free(void *pointer)
{
    struct ecs_state *state = pointer;
    if (state == NULL) {
        return;
    }
    index_free(state->clusters);
    index_free(state->families);
    index_free(state->revisions);
    index_free(state->definitions);
    index_free(state->settings);
    map_deinit(&state->cluster_counts);
    alloc_free(state);
}

struct ecs_state *ecs_state(const struct core *core)
{
    return core_module_state(core, &ecs_module);
}

void ecs_set_strict(struct core *core, bool strict)
{
    ecs_state(core)->strict = strict;
}

static void named_key(struct index_key *out_key, int64_t realm, struct text name)
{
    out_key->size = 0;
    index_key_u64(out_key, (uint64_t)realm);
    index_key_text(out_key, name);
}

static void revision_key(struct index_key *out_key, int64_t family, int64_t revision)
{
    out_key->size = 0;
    index_key_u64(out_key, (uint64_t)family);
    index_key_u64(out_key, (uint64_t)revision);
}

size_t ecs_cluster_count(const struct core *core, int64_t realm)
{
    return (size_t)(uintptr_t)map_get_u64(&ecs_state(core)->cluster_counts, (uint64_t)realm);
}

/** Keep the number of a realm's clusters; 0 has no entry. */
static void count_clusters(struct ecs_state *state, int64_t realm, int change)
{
    intptr_t count = (intptr_t)map_get_u64(&state->cluster_counts, (uint64_t)realm) + change;
    ASSERT(count >= 0);
    if (count == 0) {
        map_remove_u64(&state->cluster_counts, (uint64_t)realm);
    } else {
        map_put_u64(&state->cluster_counts, (uint64_t)realm, (void *)count);
    }
}

static void cluster_changed(struct ecs_state *state, int64_t key,
                            const struct ecs_record_cluster *before,
                            const struct ecs_record_cluster *after)
{
    struct index_key at;
    // Neither realm nor name of a cluster ever changes.
    if (before == NULL && after != NULL) {
        named_key(&at, after->realm, after->name);
        index_add(state->clusters, &at, key);
        count_clusters(state, after->realm, 1);
    } else if (before != NULL && after == NULL) {
        named_key(&at, before->realm, before->name);
        index_remove(state->clusters, &at, key);
        count_clusters(state, before->realm, -1);
    }
}

static void family_changed(struct ecs_state *state, int64_t key,
                           const struct ecs_record_family *before,
                           const struct ecs_record_family *after)
{
    struct index_key at;
    if (before == NULL && after != NULL) {
        named_key(&at, after->realm, after->name);
        index_add(state->families, &at, key);
    } else if (before != NULL && after == NULL) {
        named_key(&at, before->realm, before->name);
        index_remove(state->families, &at, key);
    }
}

/** Key of a definition in the index that listings walk. Its family was put before it. */
static void definition_key(const struct core *core, const struct ecs_record_definition *record,
                           struct index_key *out_key)
{
    const struct ecs_record_family *family = core_get(core, &ecs_family_kind, record->family);
    ASSERT(family != NULL);
    out_key->size = 0;
    index_key_u64(out_key, (uint64_t)family->realm);
    index_key_text(out_key, record->status);
    index_key_text(out_key, family->name);
    index_key_u64(out_key, (uint64_t)record->revision);
}

static void definition_changed(struct ecs_state *state, const struct core *core, int64_t key,
                               const struct ecs_record_definition *before,
                               const struct ecs_record_definition *after)
{
    struct index_key at;
    if (before != NULL) {
        definition_key(core, before, &at);
        index_remove(state->definitions, &at, key);
        revision_key(&at, before->family, before->revision);
        index_remove(state->revisions, &at, key);
    }
    if (after != NULL) {
        definition_key(core, after, &at);
        index_add(state->definitions, &at, key);
        revision_key(&at, after->family, after->revision);
        index_add(state->revisions, &at, key);
    }
}

static void setting_changed(struct ecs_state *state, int64_t key,
                            const struct ecs_record_setting *before,
                            const struct ecs_record_setting *after)
{
    struct index_key at;
    // Only the value of a setting ever changes.
    if (before == NULL && after != NULL) {
        ecs_setting_key(&at, after->realm, after->principal, after->name);
        index_add(state->settings, &at, key);
    } else if (before != NULL && after == NULL) {
        ecs_setting_key(&at, before->realm, before->principal, before->name);
        index_remove(state->settings, &at, key);
    }
}

static void changed(void *state, struct core *core, const struct core_kind *kind, int64_t key,
                    const void *before, const void *after)
{
    if (kind == &ecs_cluster_kind) {
        cluster_changed(state, key, before, after);
    } else if (kind == &ecs_family_kind) {
        family_changed(state, key, before, after);
    } else if (kind == &ecs_definition_kind) {
        definition_changed(state, core, key, before, after);
    } else if (kind == &ecs_setting_kind) {
        setting_changed(state, key, before, after);
    }
}

// ---- invariants ---------------------------------------------------------------------------

static void check_definition(const struct core *core, int64_t key,
                             const struct ecs_record_definition *record, struct buf *violations)
{
    const struct ecs_record_family *family = core_get(core, &ecs_family_kind, record->family);
    if (family == NULL) {
        buf_format(violations, "ecs: definition %lld has no family\n", (long long)key);
        return;
    }
    if (record->revision < 1 || record->revision > family->last_revision) {
        buf_format(violations, "ecs: definition %lld has revision %d, its family counts to %d\n",
                   (long long)key, (int)record->revision, (int)family->last_revision);
    }
    if (record->definition == NULL) {
        buf_format(violations, "ecs: definition %lld is empty\n", (long long)key);
    }
}

static void check(void *pointer, struct core *core, struct buf *violations)
{
    const struct ecs_state *state = pointer;
    const struct core_kind *kinds[] = {&ecs_cluster_kind, &ecs_family_kind, &ecs_definition_kind,
                                       &ecs_setting_kind};
    const struct index *indexes[] = {state->clusters, state->families, state->definitions,
                                     state->settings};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (core_count(core, kinds[i]) != index_count(indexes[i])) {
            buf_format(violations, "ecs: %zu records of %s, %zu in its index\n",
                       core_count(core, kinds[i]), kinds[i]->name, index_count(indexes[i]));
        }
    }
    for (int64_t key = core_next(core, &ecs_cluster_kind, 0); key != 0;
         key = core_next(core, &ecs_cluster_kind, key)) {
        const struct ecs_record_cluster *cluster = core_get(core, &ecs_cluster_kind, key);
        if (core_get(core, &identity_realm_kind, cluster->realm) == NULL) {
            buf_format(violations, "ecs: cluster %lld has no realm\n", (long long)key);
        }
    }
    for (int64_t key = core_next(core, &ecs_setting_kind, 0); key != 0;
         key = core_next(core, &ecs_setting_kind, key)) {
        const struct ecs_record_setting *setting = core_get(core, &ecs_setting_kind, key);
        if (core_get(core, &identity_realm_kind, setting->realm) == NULL) {
            buf_format(violations, "ecs: setting %lld has no realm\n", (long long)key);
        }
    }
    for (int64_t key = core_next(core, &ecs_definition_kind, 0); key != 0;
         key = core_next(core, &ecs_definition_kind, key)) {
        check_definition(core, key, core_get(core, &ecs_definition_kind, key), violations);
    }
}

// ---- scopes and references ----------------------------------------------------------------

struct ecs_realm_scope ecs_scope(const struct core *core, int64_t realm)
{
    const struct identity_record_realm *record = core_get(core, &identity_realm_kind, realm);
    ASSERT(record != NULL);
    return (struct ecs_realm_scope){.region = record->region, .account = record->account};
}

int64_t ecs_caller_realm(const struct core_call *call)
{
    ASSERT(call->caller != NULL);
    return identity_realm(call->core, call->caller->account, call->caller->region);
}

bool ecs_must_wait(const struct core_call *call, int64_t until_ms, int64_t longest_ms)
{
    int64_t wait_ms = until_ms - call->now_ms;
    return wait_ms > 0 && wait_ms <= longest_ms;
}

bool ecs_arn_parse(struct text text, struct ecs_arn *out_arn)
{
    struct text rest = text;
    if (!text_is(text_cut(&rest, ':'), "arn") || !text_is(text_cut(&rest, ':'), "aws") ||
        !text_is(text_cut(&rest, ':'), "ecs")) {
        return false;
    }
    struct ecs_arn arn = {0};
    arn.region = text_cut(&rest, ':');
    arn.account = text_cut(&rest, ':');
    arn.type = text_cut(&rest, '/');
    arn.path = rest;
    if (text_empty(arn.type) || text_empty(arn.path)) {
        return false;
    }
    *out_arn = arn;
    return true;
}

bool ecs_reference_path(struct text reference, const char *type, struct ecs_realm_scope scope,
                        struct text *out_path)
{
    if (!text_starts(reference, TEXT("arn:"))) {
        *out_path = reference;
        return true;
    }
    struct ecs_arn arn;
    if (!ecs_arn_parse(reference, &arn) || !text_is(arn.type, type) ||
        !text_equal(arn.region, scope.region) || !text_equal(arn.account, scope.account)) {
        return false;
    }
    *out_path = arn.path;
    return true;
}

bool ecs_name_valid(struct text name)
{
    return name.size > 0 && text_made_of(name, "_-");
}

// ---- clusters -----------------------------------------------------------------------------

int64_t ecs_cluster_lookup(const struct core *core, int64_t realm, struct text name)
{
    // Longer names were never made, and the index refuses to build keys of them.
    if (realm == 0 || name.size > LIMIT_NAME_CHARS) {
        return 0;
    }
    struct index_key key;
    named_key(&key, realm, name);
    return index_get(ecs_state(core)->clusters, &key);
}

int64_t ecs_cluster_find(const struct core *core, int64_t realm, struct text reference)
{
    if (realm == 0) {
        return 0;
    }
    struct text name = TEXT("default");
    if (!text_empty(reference) &&
        !ecs_reference_path(reference, "cluster", ecs_scope(core, realm), &name)) {
        return 0;
    }
    int64_t cluster = ecs_cluster_lookup(core, realm, name);
    if (cluster == 0) {
        return 0;
    }
    const struct ecs_record_cluster *record = core_get(core, &ecs_cluster_kind, cluster);
    return text_is(record->status, "ACTIVE") ? cluster : 0;
}

int ecs_cluster_resolve(struct core_call *call, struct text reference, int64_t *out_cluster)
{
    int64_t cluster = ecs_cluster_find(call->core, ecs_caller_realm(call), reference);
    if (cluster == 0) {
        return core_fault(call, &ecs_error_cluster_not_found_exception, "Cluster not found.");
    }
    *out_cluster = cluster;
    return 0;
}

struct text ecs_cluster_arn(struct core_call *call, int64_t cluster)
{
    const struct ecs_record_cluster *record = core_get(call->core, &ecs_cluster_kind, cluster);
    ASSERT(record != NULL);
    struct ecs_realm_scope scope = ecs_scope(call->core, record->realm);
    return arena_format(call->arena, "arn:aws:ecs:%.*s:%.*s:cluster/%.*s", TEXT_FMT(scope.region),
                        TEXT_FMT(scope.account), TEXT_FMT(record->name));
}

// ---- definitions --------------------------------------------------------------------------

const struct ecs_record_definition *ecs_definition_record(const struct core *core,
                                                          int64_t definition)
{
    const struct ecs_record_definition *record = core_get(core, &ecs_definition_kind, definition);
    ASSERT(record != NULL);
    return record;
}

int64_t ecs_family_lookup(const struct core *core, int64_t realm, struct text name)
{
    if (realm == 0 || name.size > LIMIT_NAME_CHARS) {
        return 0;
    }
    struct index_key key;
    named_key(&key, realm, name);
    return index_get(ecs_state(core)->families, &key);
}

int64_t ecs_definition_lookup(const struct core *core, int64_t family, int64_t revision)
{
    if (family == 0 || revision < 1) {
        return 0;
    }
    struct index_key key;
    revision_key(&key, family, revision);
    int64_t definition = index_get(ecs_state(core)->revisions, &key);
    if (definition == 0 || text_is(ecs_definition_record(core, definition)->status, "DELETED")) {
        return 0;
    }
    return definition;
}

int64_t ecs_definition_latest(const struct core *core, int64_t realm, struct text family)
{
    if (realm == 0 || family.size > LIMIT_NAME_CHARS) {
        return 0;
    }
    struct index_key prefix = {0};
    index_key_u64(&prefix, (uint64_t)realm);
    index_key_text(&prefix, TEXT("ACTIVE"));
    index_key_text(&prefix, family);
    struct index_cursor cursor;
    index_walk(ecs_state(core)->definitions, &prefix, true, &cursor);
    return index_step(&cursor);
}

bool ecs_definition_reference_parse(const struct core_call *call, struct text reference,
                                    struct ecs_definition_reference *out_parts)
{
    struct ecs_realm_scope scope = {.region = call->caller->region,
                                    .account = call->caller->account};
    struct text path = {0};
    if (!ecs_reference_path(reference, "task-definition", scope, &path)) {
        return false;
    }
    struct ecs_definition_reference parts = {0};
    parts.family = text_cut(&path, ':');
    parts.revision = path;
    *out_parts = parts;
    return true;
}

/** The refusal of a reference that leads nowhere. */
static int definition_unknown(struct core_call *call, enum ecs_definition_use use)
{
    switch (use) {
    case ECS_DEFINITION_RUN:
        return core_fault(call, &ecs_error_client_exception, "TaskDefinition not found.");
    case ECS_DEFINITION_DESCRIBE:
        return core_fault(call, &ecs_error_client_exception, "Unable to describe task definition.");
    case ECS_DEFINITION_REVISION:
        return core_fault(call, &ecs_error_client_exception,
                          "The specified task definition does not exist.");
    }
    return ERR_INVALID;
}

int ecs_definition_resolve(struct core_call *call, struct text reference,
                           enum ecs_definition_use use, int64_t *out_definition)
{
    if (text_empty(reference)) {
        return core_fault(call, &ecs_error_client_exception, "TaskDefinition can not be blank.");
    }
    struct ecs_definition_reference parts;
    if (!ecs_definition_reference_parse(call, reference, &parts)) {
        return definition_unknown(call, use);
    }
    int64_t realm = ecs_caller_realm(call);
    int64_t definition = 0;
    if (parts.revision.data != NULL) {
        int64_t revision = 0;
        if (text_to_i64(parts.revision, &revision) != 0) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "Invalid revision number. Number: %.*s", TEXT_FMT(parts.revision));
        }
        definition = ecs_definition_lookup(
            call->core, ecs_family_lookup(call->core, realm, parts.family), revision);
    } else if (use == ECS_DEFINITION_REVISION) {
        return core_fault(call, &ecs_error_client_exception, "Revision is missing.");
    } else {
        definition = ecs_definition_latest(call->core, realm, parts.family);
    }
    if (definition == 0) {
        return definition_unknown(call, use);
    }
    if (use == ECS_DEFINITION_RUN &&
        !text_is(ecs_definition_record(call->core, definition)->status, "ACTIVE")) {
        return core_fault(call, &ecs_error_client_exception, "TaskDefinition is inactive");
    }
    *out_definition = definition;
    return 0;
}

struct text ecs_definition_family(const struct core *core, int64_t definition)
{
    const struct ecs_record_definition *record = ecs_definition_record(core, definition);
    const struct ecs_record_family *family = core_get(core, &ecs_family_kind, record->family);
    ASSERT(family != NULL);
    return family->name;
}

struct text ecs_definition_arn(struct core_call *call, int64_t definition)
{
    const struct ecs_record_definition *record = ecs_definition_record(call->core, definition);
    const struct ecs_record_family *family = core_get(call->core, &ecs_family_kind, record->family);
    ASSERT(family != NULL);
    struct ecs_realm_scope scope = ecs_scope(call->core, family->realm);
    return arena_format(call->arena, "arn:aws:ecs:%.*s:%.*s:task-definition/%.*s:%d",
                        TEXT_FMT(scope.region), TEXT_FMT(scope.account), TEXT_FMT(family->name),
                        (int)record->revision);
}

// ---- the module ---------------------------------------------------------------------------

const struct core_kind ecs_kinds[] = {
    {.number = 30, .name = "cluster", .type = &ecs_record_cluster_shape, .version = 1},
    {.number = 31, .name = "family", .type = &ecs_record_family_shape, .version = 1},
    {.number = 32, .name = "definition", .type = &ecs_record_definition_shape, .version = 1},
    {.number = 33, .name = "setting", .type = &ecs_record_setting_shape, .version = 1},
    {.number = 34,
     .name = "capacity_provider",
     .type = &ecs_record_capacity_provider_shape,
     .version = 1},
};

static const struct core_handler handlers[] = {
    {&ecs_operations[ECS_OP_CREATE_CLUSTER], ecs_create_cluster},
    {&ecs_operations[ECS_OP_DESCRIBE_CLUSTERS], ecs_describe_clusters},
    {&ecs_operations[ECS_OP_LIST_CLUSTERS], ecs_list_clusters},
    {&ecs_operations[ECS_OP_DELETE_CLUSTER], ecs_delete_cluster},
    {&ecs_operations[ECS_OP_UPDATE_CLUSTER], ecs_update_cluster},
    {&ecs_operations[ECS_OP_UPDATE_CLUSTER_SETTINGS], ecs_update_cluster_settings},
    {&ecs_operations[ECS_OP_PUT_CLUSTER_CAPACITY_PROVIDERS], ecs_put_cluster_capacity_providers},
    {&ecs_operations[ECS_OP_CREATE_CAPACITY_PROVIDER], ecs_create_capacity_provider},
    {&ecs_operations[ECS_OP_UPDATE_CAPACITY_PROVIDER], ecs_update_capacity_provider},
    {&ecs_operations[ECS_OP_DELETE_CAPACITY_PROVIDER], ecs_delete_capacity_provider},
    {&ecs_operations[ECS_OP_DESCRIBE_CAPACITY_PROVIDERS], ecs_describe_capacity_providers},
    {&ecs_operations[ECS_OP_PUT_ACCOUNT_SETTING], ecs_put_account_setting},
    {&ecs_operations[ECS_OP_PUT_ACCOUNT_SETTING_DEFAULT], ecs_put_account_setting_default},
    {&ecs_operations[ECS_OP_DELETE_ACCOUNT_SETTING], ecs_delete_account_setting},
    {&ecs_operations[ECS_OP_LIST_ACCOUNT_SETTINGS], ecs_list_account_settings},
    {&ecs_operations[ECS_OP_TAG_RESOURCE], ecs_tag_resource},
    {&ecs_operations[ECS_OP_UNTAG_RESOURCE], ecs_untag_resource},
    {&ecs_operations[ECS_OP_LIST_TAGS_FOR_RESOURCE], ecs_list_tags_for_resource},
    {&ecs_operations[ECS_OP_REGISTER_TASK_DEFINITION], ecs_register_task_definition},
    {&ecs_operations[ECS_OP_DESCRIBE_TASK_DEFINITION], ecs_describe_task_definition},
    {&ecs_operations[ECS_OP_LIST_TASK_DEFINITIONS], ecs_list_task_definitions},
    {&ecs_operations[ECS_OP_LIST_TASK_DEFINITION_FAMILIES], ecs_list_task_definition_families},
    {&ecs_operations[ECS_OP_DEREGISTER_TASK_DEFINITION], ecs_deregister_task_definition},
    {&ecs_operations[ECS_OP_DELETE_TASK_DEFINITIONS], ecs_delete_task_definitions},
};

const struct core_manager ecs_managers[] = {
    {.name = "definition", .work = ecs_definition_work},
    {.name = "cluster", .work = ecs_cluster_work},
};
enum { MANAGER_COUNT = ARRAY_LEN(ecs_managers) };

static void recover(struct core_call *call, void *state)
{
    (void)state;
    ecs_definition_recover(call);
    ecs_cluster_recover(call);
}

const struct core_module ecs_module = {
    .name = "ecs",
    .kinds = ecs_kinds,
    .kind_count = ARRAY_LEN(ecs_kinds),
    .handlers = handlers,
    .handler_count = ARRAY_LEN(handlers),
    .managers = ecs_managers,
    .manager_count = MANAGER_COUNT,
    .state_new = state_new,
    .state_free = state_free,
    .changed = changed,
    .recover = recover,
    .check = check,
};
