#include "core/core_internal.h"

#include "base/limits.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// ---- registration -------------------------------------------------------------------------

static struct service *need_service(struct core *core, const struct api_service *api)
{
    for (size_t i = 0; i < core->service_count; i++) {
        if (core->services[i].api == api) {
            return &core->services[i];
        }
    }
    core->services = alloc_resize(core->services, core->service_count + 1, sizeof(*core->services));
    struct service *service = &core->services[core->service_count];
    core->service_count++;
    *service = (struct service){
        .api = api,
        .handlers = alloc_array(api->operation_count, sizeof(struct core_handler *)),
        .modules = alloc_array(api->operation_count, sizeof(size_t)),
    };
    return service;
}

static void register_handlers(struct core *core, size_t module)
{
    for (size_t i = 0; i < core->modules[module]->handler_count; i++) {
        const struct core_handler *handler = &core->modules[module]->handlers[i];
        const struct api_operation *operation = handler->operation;
        struct service *service = need_service(core, operation->service);
        ASSERT(operation->index < operation->service->operation_count);
        ASSERT(service->handlers[operation->index] == NULL);
        service->handlers[operation->index] = handler;
        service->modules[operation->index] = module;
    }
}

struct core *core_new(const struct core_module *const *modules, size_t module_count)
{
    struct core *core = ALLOC(struct core);
    core->modules = modules;
    core->module_count = module_count;
    core->states = alloc_array(module_count, sizeof(*core->states));
    core->manager_first = alloc_array(module_count, sizeof(*core->manager_first));
    core->key_next = COUNTER_KEY + 1;
    core->key_reserved = COUNTER_KEY + 1;
    core_tables_init(core);
    uint32_t manager_count = 0;
    for (size_t i = 0; i < module_count; i++) {
        core->manager_first[i] = manager_count;
        manager_count += (uint32_t)modules[i]->manager_count;
        register_handlers(core, i);
    }
    // States last: a module may look at the tables, which are empty still.
    for (size_t i = 0; i < module_count; i++) {
        if (modules[i]->state_new != NULL) {
            core->states[i] = modules[i]->state_new(core);
        }
    }
    return core;
}

void core_free(struct core *core)
{
    if (core == NULL) {
        return;
    }
    ASSERT(core->call == NULL);
    for (size_t i = core->module_count; i > 0; i--) {
        if (core->modules[i - 1]->state_free != NULL) {
            core->modules[i - 1]->state_free(core->states[i - 1]);
        }
    }
    for (size_t i = 0; i < core->service_count; i++) {
        alloc_free(core->services[i].handlers);
        alloc_free(core->services[i].modules);
    }
    core_tables_deinit(core);
    agenda_deinit(&core->agenda);
    arena_deinit(&core->work_arena);
    arena_deinit(&core->effect_arena);
    alloc_free(core->services);
    alloc_free(core->states);
    alloc_free(core->manager_first);
    alloc_free(core->effects);
    alloc_free(core->dirty);
    alloc_free(core);
}

void *core_module_state(const struct core *core, const struct core_module *module)
{
    for (size_t i = 0; i < core->module_count; i++) {
        if (core->modules[i] == module) {
            return core->states[i];
        }
    }
    ASSERT(!"the module is registered");
    return NULL;
}

// ---- inputs -------------------------------------------------------------------------------

static void input_begin(struct core *core, const struct core_input *input)
{
    ASSERT(core->call == NULL);
    core_values_free(&core->rehearsal.old);
    core->now_ms = MAX(core->now_ms, input->now_ms);
    chance_init(&core->chance, input->entropy);
}

// Fill in everything but the arena.
static void call_begin(struct core *core, struct core_call *call, const struct core_caller *caller)
{
    ASSERT(core->call == NULL);
    core->input_number++;
    core->changed = false;
    core->call = call;
    call->core = core;
    call->now_ms = core->now_ms;
    call->caller = caller;
    call->operation = NULL;
    call->fault = NULL;
    call->fault_text[0] = '\0';
    call->fault_resource_ids = (struct text_list){0};
    call->put_count = 0;
}

static void call_end(struct core *core, struct core_call *call)
{
    ASSERT(core->call == call);
    ASSERT(!core->rehearsal.active);
    core->call = NULL;
    if (core->changed) {
        core->version++;
    }
    if (core->changed && core->measure) {
        core_measure_input(core);
    }
}

void core_measure(struct core *core)
{
    core->measure = true;
}

void core_set_version(struct core *core, uint64_t version)
{
    ASSERT(!core->recovered);
    ASSERT(version >= core->version);
    core->version = version;
}

void core_recover(struct core *core, const struct core_input *input)
{
    ASSERT(!core->recovered);
    core->recovered = true;
    arena_deinit(&core->work_arena);
    input_begin(core, input);
    for (size_t i = 0; i < core->module_count; i++) {
        if (core->modules[i]->recover == NULL) {
            continue;
        }
        struct core_call call = {.arena = &core->work_arena};
        call_begin(core, &call, NULL);
        core->modules[i]->recover(&call, core->states[i]);
        call_end(core, &call);
        arena_reset(&core->work_arena);
    }
}

static const struct core_handler *
find_handler(const struct core *core, const struct api_operation *operation, size_t *out_module)
{
    for (size_t i = 0; i < core->service_count; i++) {
        const struct service *service = &core->services[i];
        if (service->api == operation->service) {
            *out_module = service->modules[operation->index];
            return service->handlers[operation->index];
        }
    }
    return NULL;
}

bool core_handles(const struct core *core, const struct api_operation *operation)
{
    size_t module = 0;
    return find_handler(core, operation, &module) != NULL;
}

int core_request(struct core *core, const struct core_input *input,
                 const struct core_caller *caller, const struct api_operation *operation,
                 struct core_call *call, const void *request, void *response)
{
    ASSERT(core->recovered);
    ASSERT(call->arena != NULL);
    size_t module = 0;
    const struct core_handler *handler = find_handler(core, operation, &module);
    if (handler == NULL) {
        call->fault = NULL;
        return ERR_UNSUPPORTED;
    }
    input_begin(core, input);
    call_begin(core, call, caller);
    call->operation = operation;
    size_t effect_count = core->effect_count;
    int rc = handler->handle(call, core->states[module], request, response);
    if (rc != 0) {
        ASSERT(rc == ERR_FAULT);
        ASSERT(call->fault != NULL);
        ASSERT(!core->changed);
        ASSERT(core->effect_count == effect_count);
    }
    call_end(core, call);
    return rc;
}

static void work_one(struct core *core, uint32_t manager, int64_t key)
{
    size_t module = core->module_count - 1;
    while (core->manager_first[module] > manager) {
        module--;
    }
    size_t index = manager - core->manager_first[module];
    ASSERT(index < core->modules[module]->manager_count);
    struct core_call call;
    call.arena = &core->work_arena;
    call_begin(core, &call, NULL);
    core->modules[module]->managers[index].work(&call, core->states[module], key);
    ASSERT(call.fault == NULL);
    call_end(core, &call);
    arena_reset(&core->work_arena);
}

bool core_advance(struct core *core, const struct core_input *input, size_t budget)
{
    ASSERT(core->recovered);
    input_begin(core, input);
    agenda_ring(&core->agenda, core->now_ms);
    uint32_t manager = 0;
    int64_t key = 0;
    for (size_t i = 0; i < budget && agenda_take(&core->agenda, &manager, &key); i++) {
        work_one(core, manager, key);
    }
    return core->agenda.queue_count > 0;
}

int64_t core_next_due(const struct core *core)
{
    return core->agenda.queue_count > 0 ? core->now_ms : agenda_next_due(&core->agenda);
}

uint64_t core_version(const struct core *core)
{
    return core->version;
}

void core_check(struct core *core, struct buf *violations)
{
    ASSERT(core->call == NULL);
    core_tables_check(core, violations);
    if (!agenda_valid(&core->agenda)) {
        buf_string(violations, "core: work queue and timers disagree\n");
    }
    if (core->input_bytes_max > LIMIT_TX_BYTES) {
        buf_format(violations, "core: an input changed %zu bytes, a transaction takes %u\n",
                   core->input_bytes_max, LIMIT_TX_BYTES);
    }
    if (core->record_bytes_max > LIMIT_RECORD_BYTES) {
        buf_format(violations, "core: a record has %zu bytes, the limit is %u\n",
                   core->record_bytes_max, LIMIT_RECORD_BYTES);
    }
    for (size_t i = 0; i < core->module_count; i++) {
        if (core->modules[i]->check != NULL) {
            core->modules[i]->check(core->states[i], core, violations);
        }
    }
}

// ---- for modules --------------------------------------------------------------------------

static uint32_t manager_number(const struct core *core, const struct core_manager *manager)
{
    for (size_t i = 0; i < core->module_count; i++) {
        const struct core_module *module = core->modules[i];
        uintptr_t distance = (uintptr_t)manager - (uintptr_t)module->managers;
        if (distance < module->manager_count * sizeof(*manager)) {
            return core->manager_first[i] + (uint32_t)(distance / sizeof(*manager));
        }
    }
    ASSERT(!"the manager is registered");
    return 0;
}

void core_work(struct core_call *call, const struct core_manager *manager, int64_t key)
{
    ASSERT(call->core->call == call);
    if (call->core->rehearsal.active) {
        return;
    }
    agenda_queue(&call->core->agenda, manager_number(call->core, manager), key);
}

void core_timer(struct core_call *call, const struct core_manager *manager, int64_t key,
                int64_t at_ms)
{
    ASSERT(call->core->call == call);
    if (call->core->rehearsal.active) {
        return;
    }
    agenda_timer(&call->core->agenda, manager_number(call->core, manager), key, at_ms);
}

uint64_t core_random(struct core_call *call)
{
    ASSERT(call->core->call == call);
    return chance_next(&call->core->chance);
}

struct text core_random_hex(struct core_call *call, size_t digits)
{
    static const char hex[] = "0123456789abcdef";
    ASSERT(digits <= 64);
    char *string = arena_alloc(call->arena, digits + 1);
    uint64_t bits = 0;
    for (size_t i = 0; i < digits; i++) {
        bits = i % 16 == 0 ? core_random(call) : bits >> 4;
        string[i] = hex[bits & 15];
    }
    return (struct text){string, digits};
}

struct text core_random_uuid(struct core_call *call)
{
    struct text digits = core_random_hex(call, 32);
    uint64_t variant = core_random(call) & 3;
    // RFC 4122, section 4.4: version 4 in the 13th digit, the variant's bits 10 in the 17th.
    return arena_format(call->arena, "%.8s-%.4s-4%.3s-%c%.3s-%.12s", digits.data, digits.data + 8,
                        digits.data + 13, "89ab"[variant], digits.data + 17, digits.data + 20);
}

int core_fault(struct core_call *call, const struct api_error *error, const char *format, ...)
{
    ASSERT(call->core->call == call);
    ASSERT(error != NULL);
    call->fault = error;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(call->fault_text, sizeof(call->fault_text), format, arguments);
    va_end(arguments);
    return ERR_FAULT;
}
