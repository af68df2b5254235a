#include "secrets/parameter_internal.h"

#include "base/text.h"

/*
 * Volatile state of the module, deletion in steps, and the module itself.
 */

#define STEP_VERSIONS 50 ///< deleted by one piece of work

const struct api_error parameter_validation_exception = {.name = "ValidationException",
                                                         .http_status = 400};

static void *state_new(struct core *core)
{
    (void)core;
    struct parameter_state *state = ALLOC(struct parameter_state);
    secrets_stock_init(&state->stock);
    return state;
}

static void state_free(void *pointer)
{
    struct parameter_state *state = pointer;
    if (state == NULL) {
        return;
    }
    secrets_stock_deinit(&state->stock);
    alloc_free(state);
}

struct parameter_state *parameter_state(const struct core *core)
{
    return core_module_state(core, &parameter_module);
}

static struct text sealed_of(const void *record)
{
    return ((const struct secrets_record_parameter_version *)record)->sealed;
}

size_t parameter_count_foreign(const struct core *core)
{
    return secrets_foreign(core, &parameter_version_kind, sealed_of);
}

// ---- what follows from records ----------------------------------------------------------------

static void parameter_index(struct parameter_state *state, int64_t key,
                            const struct secrets_record_parameter *parameter, bool add)
{
    if (parameter == NULL || (parameter->has_gone && parameter->gone)) {
        return;
    }
    struct index_key name = {0};
    index_key_u64(&name, (uint64_t)parameter->realm);
    index_key_text(&name, parameter->name);
    if (add) {
        index_add(state->stock.by_name, &name, key);
    } else {
        index_remove(state->stock.by_name, &name, key);
    }
    secrets_count_change(&state->stock.counts, parameter->realm, add ? 1 : -1);
}

static void version_index(struct parameter_state *state, int64_t key,
                          const struct secrets_record_parameter_version *version, bool add)
{
    if (version == NULL) {
        return;
    }
    struct index_key at = {0};
    index_key_u64(&at, (uint64_t)version->parameter);
    index_key_u64(&at, (uint64_t)version->version);
    if (add) {
        index_add(state->stock.versions, &at, key);
        state->stock.stored_bytes += version->size;
    } else {
        index_remove(state->stock.versions, &at, key);
        state->stock.stored_bytes -= version->size;
    }
}

static void changed(void *state, struct core *core, const struct core_kind *kind, int64_t key,
                    const void *before, const void *after)
{
    (void)core;
    if (kind == &parameter_kind) {
        parameter_index(state, key, before, false);
        parameter_index(state, key, after, true);
    } else if (kind == &parameter_version_kind) {
        version_index(state, key, before, false);
        version_index(state, key, after, true);
    }
}

// ---- deletion -----------------------------------------------------------------------------------

void parameter_remove(struct core_call *call, int64_t key)
{
    struct secrets_record_parameter *parameter = core_edit(call, &parameter_kind, key);
    parameter->has_gone = true;
    parameter->gone = true;
    core_put(call, &parameter_kind, key, parameter);
    core_work(call, &parameter_manager, key);
}

static void parameter_work(struct core_call *call, void *state, int64_t key)
{
    (void)state;
    const struct secrets_record_parameter *parameter = core_get(call->core, &parameter_kind, key);
    if (parameter == NULL || !parameter->has_gone || !parameter->gone) {
        return;
    }
    for (int i = 0; i < STEP_VERSIONS; i++) {
        int64_t version = parameter_version_next(call->core, key, 0);
        if (version == 0) {
            core_delete(call, &parameter_kind, key);
            return;
        }
        core_delete(call, &parameter_version_kind, version);
    }
    core_work(call, &parameter_manager, key);
}

static void recover(struct core_call *call, void *state)
{
    (void)state;
    for (int64_t key = core_next(call->core, &parameter_kind, 0); key != 0;
         key = core_next(call->core, &parameter_kind, key)) {
        const struct secrets_record_parameter *parameter =
            core_get(call->core, &parameter_kind, key);
        if (parameter->has_gone && parameter->gone) {
            core_work(call, &parameter_manager, key);
        }
    }
}

// ---- invariants ---------------------------------------------------------------------------------

static void check_versions(struct core *core, int64_t parameter, struct buf *violations)
{
    size_t count = 0;
    int64_t last = 0;
    for (int64_t key = parameter_version_next(core, parameter, 0); key != 0;
         key = parameter_version_next(core, parameter, last)) {
        const struct secrets_record_parameter_version *version =
            core_get(core, &parameter_version_kind, key);
        if (version->version <= last) {
            buf_format(violations, "parameters: %lld has version %lld twice\n",
                       (long long)parameter, (long long)version->version);
        }
        if (version->sealed.size != (size_t)version->size + SEAL_MORE_BYTES) {
            buf_format(violations, "parameters: version %lld does not have its size\n",
                       (long long)key);
        }
        last = version->version;
        count++;
    }
    if (count == 0 || count > PARAMETER_VERSIONS_MAX) {
        buf_format(violations, "parameters: %lld has %zu versions\n", (long long)parameter, count);
    }
}

static void check(void *pointer, struct core *core, struct buf *violations)
{
    const struct parameter_state *state = pointer;
    int64_t bytes = 0;
    size_t named = 0;
    for (int64_t key = core_next(core, &parameter_version_kind, 0); key != 0;
         key = core_next(core, &parameter_version_kind, key)) {
        const struct secrets_record_parameter_version *version =
            core_get(core, &parameter_version_kind, key);
        bytes += version->size;
        if (core_get(core, &parameter_kind, version->parameter) == NULL) {
            buf_format(violations, "parameters: version %lld has no parameter\n", (long long)key);
        }
    }
    for (int64_t key = core_next(core, &parameter_kind, 0); key != 0;
         key = core_next(core, &parameter_kind, key)) {
        const struct secrets_record_parameter *parameter = core_get(core, &parameter_kind, key);
        if (!parameter->has_gone || !parameter->gone) {
            named++;
            check_versions(core, key, violations);
        }
    }
    if (bytes != state->stock.stored_bytes) {
        buf_string(violations, "parameters: the values' bytes are not counted right\n");
    }
    if (index_count(state->stock.by_name) != named) {
        buf_string(violations, "parameters: the index of names does not fit\n");
    }
}

// ---- the module ---------------------------------------------------------------------------------

const struct core_kind parameter_kinds[] = {
    {.number = 110, .name = "parameter", .type = &secrets_record_parameter_shape, .version = 1},
    {.number = 111,
     .name = "parameter_version",
     .type = &secrets_record_parameter_version_shape,
     .version = 1},
};

const struct core_manager parameter_manager = {.name = "parameter", .work = parameter_work};

static const struct core_handler handlers[] = {
    {&ssm_operations[SSM_OP_ADD_TAGS_TO_RESOURCE], parameter_tag},
    {&ssm_operations[SSM_OP_DELETE_PARAMETER], parameter_delete},
    {&ssm_operations[SSM_OP_DELETE_PARAMETERS], parameter_delete_many},
    {&ssm_operations[SSM_OP_DESCRIBE_PARAMETERS], parameter_describe},
    {&ssm_operations[SSM_OP_GET_PARAMETER], parameter_get},
    {&ssm_operations[SSM_OP_GET_PARAMETER_HISTORY], parameter_history},
    {&ssm_operations[SSM_OP_GET_PARAMETERS], parameter_get_many},
    {&ssm_operations[SSM_OP_GET_PARAMETERS_BY_PATH], parameter_get_path},
    {&ssm_operations[SSM_OP_LABEL_PARAMETER_VERSION], parameter_label},
    {&ssm_operations[SSM_OP_LIST_TAGS_FOR_RESOURCE], parameter_list_tags},
    {&ssm_operations[SSM_OP_PUT_PARAMETER], parameter_put},
    {&ssm_operations[SSM_OP_REMOVE_TAGS_FROM_RESOURCE], parameter_untag},
    {&ssm_operations[SSM_OP_UNLABEL_PARAMETER_VERSION], parameter_unlabel},
};

const struct core_module parameter_module = {
    .name = "parameter",
    .kinds = parameter_kinds,
    .kind_count = ARRAY_LEN(parameter_kinds),
    .handlers = handlers,
    .handler_count = ARRAY_LEN(handlers),
    .managers = &parameter_manager,
    .manager_count = 1,
    .state_new = state_new,
    .state_free = state_free,
    .changed = changed,
    .recover = recover,
    .check = check,
};
