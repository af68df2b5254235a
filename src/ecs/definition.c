#include "ecs/ecs_internal.h"

#include "base/limits.h"
#include "base/text.h"
#include "ecs/page.h"
#include "ecs/service.h"
#include "ecs/task.h"

#define DELETE_MAX 10               ///< ECS
#define DELETE_RETRY_MS (60 * 1000) ///< tasks that still run are looked for this often

// ---- showing ------------------------------------------------------------------------------

struct ecs_task_definition *ecs_definition_show(struct core_call *call, int64_t definition)
{
    const struct ecs_record_definition *record = ecs_definition_record(call->core, definition);
    struct ecs_task_definition *shown = ARENA_NEW(call->arena, struct ecs_task_definition);
    *shown = *record->definition;
    shown->task_definition_arn = ecs_definition_arn(call, definition);
    shown->family = ecs_definition_family(call->core, definition);
    shown->has_revision = true;
    shown->revision = record->revision;
    shown->status = (enum ecs_task_definition_status)shape_enum_number(
        &ecs_task_definition_status_shape, record->status);
    shown->registered_at = record->registered_at;
    shown->registered_by = record->registered_by;
    shown->deregistered_at = record->deregistered_at;
    shown->delete_requested_at = record->delete_requested_at;
    return shown;
}

int ecs_describe_task_definition(struct core_call *call, void *state, const void *request,
                                 void *response)
{
    (void)state;
    const struct ecs_describe_task_definition_request *in = request;
    struct ecs_describe_task_definition_response *out = response;
    int64_t definition = 0;
    int rc =
        ecs_definition_resolve(call, in->task_definition, ECS_DEFINITION_DESCRIBE, &definition);
    if (rc != 0) {
        return rc;
    }
    out->task_definition = ecs_definition_show(call, definition);
    out->tags.items = SHAPE_EMPTY;
    const struct ecs_record_definition *record = ecs_definition_record(call->core, definition);
    for (size_t i = 0; i < in->include.count; i++) {
        if (in->include.items[i] == ECS_TASK_DEFINITION_FIELD_TAGS && record->tags.count > 0) {
            out->tags.items = record->tags.items;
            out->tags.count = record->tags.count;
        }
    }
    return 0;
}

// ---- listings -----------------------------------------------------------------------------

static struct text status_text(enum ecs_task_definition_status status)
{
    return text_of(shape_enum_name(&ecs_task_definition_status_shape, (int32_t)status));
}

/** Put a walk behind the entry that a token `family:revision` names. @return 0 or ERR_FAULT */
static int definitions_resume(struct core_call *call, struct text after,
                              const struct index_key *realm_and_status, struct index_cursor *cursor)
{
    struct text rest = after;
    struct text family = text_cut(&rest, ':');
    uint64_t revision = 0;
    if (text_empty(family) || family.size > LIMIT_NAME_CHARS || text_empty(rest) ||
        text_to_u64(rest, &revision) != 0) {
        return ecs_page_refuse(call);
    }
    struct index_key at = *realm_and_status;
    index_key_text(&at, family);
    index_key_u64(&at, revision);
    index_walk_after(cursor, &at, cursor->descending ? 0 : INT64_MAX);
    return 0;
}

int ecs_list_task_definitions(struct core_call *call, void *pointer, const void *request,
                              void *response)
{
    struct ecs_state *state = pointer;
    const struct ecs_list_task_definitions_request *in = request;
    struct ecs_list_task_definitions_response *out = response;
    struct ecs_page page;
    int rc = ecs_page_open(call, in->next_token, in->has_max_results, in->max_results, &page);
    if (rc != 0) {
        return rc;
    }
    out->task_definition_arns.items = arena_array(call->arena, page.size, sizeof(struct text));
    int64_t realm = ecs_caller_realm(call);
    if (realm == 0 || in->family_prefix.size > LIMIT_NAME_CHARS) {
        return 0;
    }
    struct index_key realm_and_status = {0};
    index_key_u64(&realm_and_status, (uint64_t)realm);
    index_key_text(&realm_and_status, status_text(in->status == ECS_TASK_DEFINITION_STATUS_ABSENT
                                                      ? ECS_TASK_DEFINITION_STATUS_ACTIVE
                                                      : in->status));
    struct index_key prefix = realm_and_status;
    if (!text_empty(in->family_prefix)) {
        index_key_text(&prefix, in->family_prefix);
    }
    struct index_cursor cursor;
    index_walk(state->definitions, &prefix, in->sort == ECS_SORT_ORDER_DESC, &cursor);
    if (page.after.data != NULL) {
        rc = definitions_resume(call, page.after, &realm_and_status, &cursor);
        if (rc != 0) {
            return rc;
        }
    }
    int64_t last = 0;
    for (int64_t key = index_step(&cursor); key != 0; key = index_step(&cursor)) {
        if (out->task_definition_arns.count == page.size) {
            struct text family = ecs_definition_family(call->core, last);
            const struct ecs_record_definition *shown = ecs_definition_record(call->core, last);
            out->next_token = ecs_page_token(
                call, arena_format(call->arena, "%.*s:%d", TEXT_FMT(family), (int)shown->revision));
            break;
        }
        out->task_definition_arns.items[out->task_definition_arns.count] =
            ecs_definition_arn(call, key);
        out->task_definition_arns.count++;
        last = key;
    }
    return 0;
}

/** @return whether a family has a revision of a status */
static bool family_has(const struct ecs_state *state, const struct ecs_record_family *family,
                       enum ecs_task_definition_status status)
{
    struct index_key prefix = {0};
    index_key_u64(&prefix, (uint64_t)family->realm);
    index_key_text(&prefix, status_text(status));
    index_key_text(&prefix, family->name);
    struct index_cursor cursor;
    index_walk(state->definitions, &prefix, false, &cursor);
    return index_step(&cursor) != 0;
}

/** A family is ACTIVE while one revision is; one whose revisions are all gone is not listed. */
static bool family_matches(const struct ecs_state *state, const struct ecs_record_family *family,
                           enum ecs_task_definition_family_status status)
{
    bool active = family_has(state, family, ECS_TASK_DEFINITION_STATUS_ACTIVE);
    bool other =
        !active && (family_has(state, family, ECS_TASK_DEFINITION_STATUS_INACTIVE) ||
                    family_has(state, family, ECS_TASK_DEFINITION_STATUS_DELETE_IN_PROGRESS));
    switch (status) {
    case ECS_TASK_DEFINITION_FAMILY_STATUS_ACTIVE:
        return active;
    case ECS_TASK_DEFINITION_FAMILY_STATUS_INACTIVE:
        return other;
    case ECS_TASK_DEFINITION_FAMILY_STATUS_ALL:
    case ECS_TASK_DEFINITION_FAMILY_STATUS_ABSENT:
    case ECS_TASK_DEFINITION_FAMILY_STATUS_UNRECOGNIZED:
        return active || other;
    }
    return false;
}

int ecs_list_task_definition_families(struct core_call *call, void *pointer, const void *request,
                                      void *response)
{
    struct ecs_state *state = pointer;
    const struct ecs_list_task_definition_families_request *in = request;
    struct ecs_list_task_definition_families_response *out = response;
    struct ecs_page page;
    int rc = ecs_page_open(call, in->next_token, in->has_max_results, in->max_results, &page);
    if (rc == 0 && page.after.size > LIMIT_NAME_CHARS) {
        rc = ecs_page_refuse(call);
    }
    if (rc != 0) {
        return rc;
    }
    out->families.items = arena_array(call->arena, page.size, sizeof(struct text));
    int64_t realm = ecs_caller_realm(call);
    if (realm == 0 || in->family_prefix.size > LIMIT_NAME_CHARS) {
        return 0;
    }
    struct index_key at = {0};
    index_key_u64(&at, (uint64_t)realm);
    struct index_key prefix = at;
    index_key_text_begin(&prefix, in->family_prefix);
    struct index_cursor cursor;
    index_walk(state->families, &prefix, false, &cursor);
    if (page.after.data != NULL) {
        index_key_text(&at, page.after);
        index_walk_after(&cursor, &at, INT64_MAX);
    }
    for (int64_t key = index_step(&cursor); key != 0; key = index_step(&cursor)) {
        const struct ecs_record_family *family = core_get(call->core, &ecs_family_kind, key);
        if (!family_matches(state, family, in->status)) {
            continue;
        }
        if (out->families.count == page.size) {
            out->next_token = ecs_page_token(call, out->families.items[out->families.count - 1]);
            break;
        }
        out->families.items[out->families.count] = family->name;
        out->families.count++;
    }
    return 0;
}

// ---- the end of a definition's life -------------------------------------------------------

int ecs_deregister_task_definition(struct core_call *call, void *state, const void *request,
                                   void *response)
{
    (void)state;
    const struct ecs_deregister_task_definition_request *in = request;
    struct ecs_deregister_task_definition_response *out = response;
    int64_t definition = 0;
    int rc =
        ecs_definition_resolve(call, in->task_definition, ECS_DEFINITION_REVISION, &definition);
    if (rc != 0) {
        return rc;
    }
    if (text_is(ecs_definition_record(call->core, definition)->status, "ACTIVE")) {
        struct ecs_record_definition *record = core_edit(call, &ecs_definition_kind, definition);
        record->status = TEXT("INACTIVE");
        record->deregistered_at = call->now_ms;
        core_put(call, &ecs_definition_kind, definition, record);
    }
    out->task_definition = ecs_definition_show(call, definition);
    return 0;
}

/** Find what DeleteTaskDefinitions may delete. @return why not; absent when it may */
static struct text delete_refusal(struct core_call *call, struct text reference,
                                  int64_t *out_definition)
{
    struct ecs_definition_reference parts = {0};
    int64_t revision = 0;
    int64_t definition = 0;
    if (ecs_definition_reference_parse(call, reference, &parts) && !text_empty(parts.revision) &&
        text_to_i64(parts.revision, &revision) == 0) {
        int64_t family = ecs_family_lookup(call->core, ecs_caller_realm(call), parts.family);
        definition = ecs_definition_lookup(call->core, family, revision);
    }
    if (definition == 0) {
        return TEXT("The specified task definition does not exist. Specify a valid account, "
                    "family, revision and try again.");
    }
    if (text_is(ecs_definition_record(call->core, definition)->status, "ACTIVE")) {
        return TEXT("The specified task definition is still in ACTIVE status. Please deregister "
                    "the target and try again.");
    }
    *out_definition = definition;
    return (struct text){0};
}

static void delete_begin(struct core_call *call, int64_t definition)
{
    if (!text_is(ecs_definition_record(call->core, definition)->status, "INACTIVE")) {
        return;
    }
    struct ecs_record_definition *record = core_edit(call, &ecs_definition_kind, definition);
    record->status = TEXT("DELETE_IN_PROGRESS");
    record->delete_requested_at = call->now_ms;
    core_put(call, &ecs_definition_kind, definition, record);
    core_work(call, &ecs_definition_manager, definition);
}

int ecs_delete_task_definitions(struct core_call *call, void *state, const void *request,
                                void *response)
{
    (void)state;
    const struct ecs_delete_task_definitions_request *in = request;
    struct ecs_delete_task_definitions_response *out = response;
    size_t count = in->task_definitions.count;
    if (count == 0) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "size of TaskDefinition references list must be greater than 0");
    }
    if (count > DELETE_MAX) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "Size of TaskDefinition references list cannot exceed %d", DELETE_MAX);
    }
    out->task_definitions.items =
        arena_array(call->arena, count, sizeof(*out->task_definitions.items));
    out->failures.items = arena_array(call->arena, count, sizeof(*out->failures.items));
    for (size_t i = 0; i < count; i++) {
        int64_t definition = 0;
        struct text refusal = delete_refusal(call, in->task_definitions.items[i], &definition);
        if (refusal.data != NULL) {
            out->failures.items[out->failures.count] =
                (struct ecs_failure){.arn = in->task_definitions.items[i], .reason = refusal};
            out->failures.count++;
            continue;
        }
        delete_begin(call, definition);
        out->task_definitions.items[out->task_definitions.count] =
            *ecs_definition_show(call, definition);
        out->task_definitions.count++;
    }
    return 0;
}

// A definition that was deleted keeps its row: tasks that have stopped are still shown, and they
// take names, images and sizes of their containers from it.
void ecs_definition_work(struct core_call *call, void *state, int64_t key)
{
    (void)state;
    const struct ecs_record_definition *record = core_get(call->core, &ecs_definition_kind, key);
    if (record == NULL || !text_is(record->status, "DELETE_IN_PROGRESS")) {
        return;
    }
    bool used =
        task_definition_in_use(call->core, key) || service_definition_in_use(call->core, key);
    if (used && !MUTANT("delete-used")) {
        core_timer(call, &ecs_definition_manager, key, call->now_ms + DELETE_RETRY_MS);
        return;
    }
    struct ecs_record_definition *gone = core_edit(call, &ecs_definition_kind, key);
    gone->status = TEXT("DELETED");
    core_put(call, &ecs_definition_kind, key, gone);
}

void ecs_definition_recover(struct core_call *call)
{
    for (int64_t key = core_next(call->core, &ecs_definition_kind, 0); key != 0;
         key = core_next(call->core, &ecs_definition_kind, key)) {
        if (text_is(ecs_definition_record(call->core, key)->status, "DELETE_IN_PROGRESS")) {
            core_work(call, &ecs_definition_manager, key);
        }
    }
}
