#include "toy_service.h"

#include "base/limits.h"
#include "base/text.h"
#include "core/index.h"

#include <string.h>

struct toy_state {
    struct index *by_name;
    int64_t items;
    int64_t size;
    int64_t total_key;
    uint64_t work_count;
};

const struct core_kind toy_kinds[TOY_KIND_COUNT] = {
    [TOY_ITEM] = {.number = 7, .name = "item", .type = &toy_item_shape, .version = 2},
    [TOY_TOTAL] = {.number = 300, .name = "total", .type = &toy_total_shape, .version = 1},
};

static const struct core_manager managers[2];
#define TOTAL_MANAGER (&managers[0])
#define EXPIRY_MANAGER (&managers[1])

static int64_t find(const struct toy_state *state, struct text name)
{
    struct index_key key = {0};
    index_key_text(&key, name);
    return index_get(state->by_name, &key);
}

// ---- operations ---------------------------------------------------------------------------

static void respond(struct core_call *call, int64_t key, struct toy_item_response *response)
{
    const struct toy_item *item = core_get(call->core, &toy_kinds[TOY_ITEM], key);
    response->has_key = true;
    response->key = key;
    response->name = item->name; // borrows from the record, as responses may
    response->id = item->id;
}

static int create_item(struct core_call *call, void *context, const void *body, void *response)
{
    struct toy_state *state = context;
    const struct toy_create_item_request *request = body;
    if (find(state, request->name) != 0) {
        return core_fault(call, &toy_error_toy_exception, "there is an item named %.*s",
                          TEXT_FMT(request->name));
    }
    const struct toy_item item = {
        .name = request->name,
        .id = core_random_uuid(call),
        .has_size = request->has_size,
        .size = request->size,
        .expires_at = request->expires_at,
        .tags = request->tags,
    };
    int64_t key = core_new_key(call);
    core_put(call, &toy_kinds[TOY_ITEM], key, &item);
    core_timer(call, EXPIRY_MANAGER, key, item.expires_at);
    core_work(call, TOTAL_MANAGER, state->total_key);
    if (request->announce) {
        const struct toy_notice notice = {.has_key = true, .key = key, .name = request->name};
        core_effect(call, CORE_EFFECT_NODE, request->name, "NoticeMessage", &toy_notice_shape,
                    &notice);
    }
    respond(call, key, response);
    return 0;
}

static int change_item(struct core_call *call, void *context, const void *body, void *response)
{
    struct toy_state *state = context;
    const struct toy_change_item_request *request = body;
    if (core_get(call->core, &toy_kinds[TOY_ITEM], request->key) == NULL) {
        return core_fault(call, &toy_error_toy_exception, "no such item");
    }
    if (request->name.data != NULL && find(state, request->name) != 0) {
        return core_fault(call, &toy_error_toy_exception, "the name is taken");
    }
    struct toy_item *item = core_edit(call, &toy_kinds[TOY_ITEM], request->key);
    item->name = request->name.data == NULL ? item->name : request->name;
    item->has_size = request->has_size;
    item->size = request->size;
    item->expires_at = request->expires_at;
    core_put(call, &toy_kinds[TOY_ITEM], request->key, item);
    core_timer(call, EXPIRY_MANAGER, request->key, item->expires_at);
    core_work(call, TOTAL_MANAGER, state->total_key);
    respond(call, request->key, response);
    return 0;
}

static int delete_item(struct core_call *call, void *context, const void *body, void *response)
{
    const struct toy_item_request *request = body;
    if (core_get(call->core, &toy_kinds[TOY_ITEM], request->key) == NULL) {
        return core_fault(call, &toy_error_toy_exception, "no such item");
    }
    respond(call, request->key, response);
    core_delete(call, &toy_kinds[TOY_ITEM], request->key);
    core_timer(call, EXPIRY_MANAGER, request->key, 0);
    core_work(call, TOTAL_MANAGER, ((struct toy_state *)context)->total_key);
    return 0;
}

static int show_item(struct core_call *call, void *context, const void *body, void *response)
{
    (void)context;
    const struct toy_item_request *request = body;
    if (core_get(call->core, &toy_kinds[TOY_ITEM], request->key) == NULL) {
        return core_fault(call, &toy_error_toy_exception, "no such item");
    }
    respond(call, request->key, response);
    return 0;
}

// More keys than a block of them has, and all of them given back.
static int rehearse_item(struct core_call *call, void *context, const void *body, void *response)
{
    enum { MORE = 5000 };
    core_rehearse_begin(call);
    int rc = create_item(call, context, body, response);
    const struct toy_item item = {.name = TEXT("more"), .id = TEXT("more")};
    for (size_t i = 0; rc == 0 && i < MORE; i++) {
        core_put(call, &toy_kinds[TOY_ITEM], core_new_key(call), &item);
    }
    ASSERT(rc != 0 || core_count(call->core, &toy_kinds[TOY_ITEM]) > MORE);
    core_rehearse_end(call);
    return rc;
}

// Breaks a rule of the engine; which one, the key tells.
static int misbehave(struct core_call *call, void *context, const void *body, void *response)
{
    (void)context;
    (void)response;
    const struct toy_item_request *request = body;
    const struct toy_item item = {.name = TEXT("bad"), .id = TEXT("bad")};
    switch (request->key) {
    case 1: // puts, then refuses
        core_put(call, &toy_kinds[TOY_ITEM], core_new_key(call), &item);
        return core_fault(call, &toy_error_toy_exception, "too late");
    case 2: // changes too much at once
        for (size_t i = 0; i <= LIMIT_TX_RECORDS; i++) {
            core_put(call, &toy_kinds[TOY_ITEM], core_new_key(call), &item);
        }
        return 0;
    case 3: // makes up a key
        core_put(call, &toy_kinds[TOY_ITEM], INT64_MAX, &item);
        return 0;
    case 4: // deletes what is not there
        core_delete(call, &toy_kinds[TOY_ITEM], core_new_key(call));
        return 0;
    case 5: // replaces a record in a rehearsal
    case 6: // deletes one in a rehearsal
    case 7: // leaves a rehearsal open
        core_rehearse_begin(call);
        if (request->key < 7) {
            int64_t key = core_new_key(call);
            core_put(call, &toy_kinds[TOY_ITEM], key, &item);
            if (request->key == 5) {
                core_put(call, &toy_kinds[TOY_ITEM], key, &item);
            } else {
                core_delete(call, &toy_kinds[TOY_ITEM], key);
            }
            core_rehearse_end(call);
        }
        return 0;
    default: // changes as much as is allowed, one record often
        for (size_t i = 0; i < LIMIT_TX_RECORDS; i++) {
            int64_t key = core_new_key(call);
            core_put(call, &toy_kinds[TOY_ITEM], key, &item);
            core_put(call, &toy_kinds[TOY_ITEM], key, &item);
            core_delete(call, &toy_kinds[TOY_ITEM], key);
        }
        return 0;
    }
}

// ---- managers -----------------------------------------------------------------------------

static void work_total(struct core_call *call, void *context, int64_t key)
{
    struct toy_state *state = context;
    state->work_count++;
    const struct toy_total *before = core_get(call->core, &toy_kinds[TOY_TOTAL], key);
    if (before->items == state->items && before->size == state->size) {
        return;
    }
    struct toy_total *total = core_edit(call, &toy_kinds[TOY_TOTAL], key);
    *total = (struct toy_total){true, state->items, true, state->size};
    core_put(call, &toy_kinds[TOY_TOTAL], key, total);
}

static void work_expiry(struct core_call *call, void *context, int64_t key)
{
    const struct toy_item *item = core_get(call->core, &toy_kinds[TOY_ITEM], key);
    if (item == NULL || item->expires_at == 0) {
        return;
    }
    if (item->expires_at > call->now_ms) {
        core_timer(call, EXPIRY_MANAGER, key, item->expires_at);
        return;
    }
    core_effect(call, CORE_EFFECT_EVENT, (struct text){0}, "Expired", NULL, NULL);
    core_delete(call, &toy_kinds[TOY_ITEM], key);
    core_work(call, TOTAL_MANAGER, ((struct toy_state *)context)->total_key);
}

static const struct core_manager managers[2] = {
    {.name = "total", .work = work_total},
    {.name = "expiry", .work = work_expiry},
};

// ---- state --------------------------------------------------------------------------------

static void *state_new(struct core *core)
{
    (void)core;
    struct toy_state *state = ALLOC(struct toy_state);
    state->by_name = index_new();
    return state;
}

static void state_free(void *context)
{
    struct toy_state *state = context;
    index_free(state->by_name);
    alloc_free(state);
}

static void changed(void *context, struct core *core, const struct core_kind *kind, int64_t key,
                    const void *before, const void *after)
{
    struct toy_state *state = context;
    if (kind == &toy_kinds[TOY_TOTAL]) {
        state->total_key = after == NULL ? 0 : key;
        return;
    }
    ASSERT(core_get(core, kind, key) == after);
    if (before != NULL) {
        const struct toy_item *item = before;
        struct index_key name = {0};
        index_key_text(&name, item->name);
        index_remove(state->by_name, &name, key);
        state->items--;
        state->size -= item->size;
    }
    if (after != NULL) {
        const struct toy_item *item = after;
        struct index_key name = {0};
        index_key_text(&name, item->name);
        index_add(state->by_name, &name, key);
        state->items++;
        state->size += item->size;
    }
}

static void recover(struct core_call *call, void *context)
{
    struct toy_state *state = context;
    if (state->total_key == 0) {
        const struct toy_total total = {true, 0, true, 0};
        core_put(call, &toy_kinds[TOY_TOTAL], core_new_key(call), &total);
    }
    core_work(call, TOTAL_MANAGER, state->total_key);
    const struct core_kind *kind = &toy_kinds[TOY_ITEM];
    for (int64_t key = core_next(call->core, kind, 0); key != 0;
         key = core_next(call->core, kind, key)) {
        const struct toy_item *item = core_get(call->core, kind, key);
        core_timer(call, EXPIRY_MANAGER, key, item->expires_at);
    }
}

static void check(void *context, struct core *core, struct buf *violations)
{
    const struct toy_state *state = context;
    int64_t size = 0;
    const struct core_kind *kind = &toy_kinds[TOY_ITEM];
    for (int64_t key = core_next(core, kind, 0); key != 0; key = core_next(core, kind, key)) {
        const struct toy_item *item = core_get(core, kind, key);
        size += item->size;
    }
    if (size != state->size || core_count(core, kind) != (size_t)state->items) {
        buf_string(violations, "toy: the sums are wrong\n");
    }
    if (!index_valid(state->by_name) || index_count(state->by_name) != (size_t)state->items) {
        buf_string(violations, "toy: the index of names is wrong\n");
    }
}

static const struct core_handler handlers[] = {
    {&toy_operations[TOY_OP_CREATE_ITEM], create_item},
    {&toy_operations[TOY_OP_CHANGE_ITEM], change_item},
    {&toy_operations[TOY_OP_DELETE_ITEM], delete_item},
    {&toy_operations[TOY_OP_SHOW_ITEM], show_item},
    {&toy_operations[TOY_OP_REHEARSE_ITEM], rehearse_item},
    {&toy_operations[TOY_OP_MISBEHAVE], misbehave},
};

const struct core_module toy_module = {
    .name = "toy",
    .kinds = toy_kinds,
    .kind_count = TOY_KIND_COUNT,
    .handlers = handlers,
    .handler_count = ARRAY_LEN(handlers),
    .managers = managers,
    .manager_count = ARRAY_LEN(managers),
    .state_new = state_new,
    .state_free = state_free,
    .changed = changed,
    .recover = recover,
    .check = check,
};

const struct core_module *const toy_modules[1] = {&toy_module};

// ---- for tests ----------------------------------------------------------------------------

int64_t toy_find(const struct core *core, struct text name)
{
    return find(core_module_state(core, &toy_module), name);
}

int64_t toy_total_key(const struct core *core)
{
    const struct toy_state *state = core_module_state(core, &toy_module);
    return state->total_key;
}

uint64_t toy_work_count(const struct core *core)
{
    const struct toy_state *state = core_module_state(core, &toy_module);
    return state->work_count;
}

struct core_input toy_input(int64_t now_ms, uint64_t serial)
{
    struct core_input input = {.now_ms = now_ms};
    memcpy(input.entropy, &serial, sizeof(serial));
    return input;
}

void toy_settle(struct core *core, int64_t now_ms, uint64_t serial)
{
    const struct core_input input = toy_input(now_ms, serial);
    while (core_advance(core, &input, 10)) {}
}
