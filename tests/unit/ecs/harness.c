#include "harness.h"

#include "api/berth.h"
#include "api/ec2.h"
#include "api/ecs.h"
#include "api/hook.h"
#include "api/identity.h"
#include "api/node.h"
#include "api/scaling.h"
#include "api/secretsmanager.h"
#include "api/ssm.h"
#include "api/sts.h"
#include "base/text.h"
#include "shape/json.h"

#include <stdlib.h>
#include <string.h>

struct harness_row {
    int64_t key;
    uint16_t kind;
    char *bytes;
    size_t size;
};

static const struct api_service *const services[] = {
    &ecs_service,  &ec2_service,      &berth_service,
    &sts_service,  &identity_service, &node_service,
    &hook_service, &scaling_service,  &secretsmanager_service,
    &ssm_service};

static struct core_input next_input(struct harness *harness)
{
    struct core_input input = {.now_ms = harness->now_ms};
    harness->input_count++;
    memcpy(input.entropy, &harness->input_count, sizeof(harness->input_count));
    return input;
}

static void row_put(struct harness *harness, const struct core_row *row)
{
    size_t at = 0;
    while (at < harness->row_count && harness->rows[at].key < row->key) {
        at++;
    }
    bool found = at < harness->row_count && harness->rows[at].key == row->key;
    if (found) {
        alloc_free(harness->rows[at].bytes);
    }
    if (row->bytes.data == NULL) {
        if (found) {
            harness->row_count--;
            memmove(&harness->rows[at], &harness->rows[at + 1],
                    (harness->row_count - at) * sizeof(*harness->rows));
        }
        return;
    }
    if (!found) {
        harness->rows = alloc_resize(harness->rows, harness->row_count + 1, sizeof(*harness->rows));
        memmove(&harness->rows[at + 1], &harness->rows[at],
                (harness->row_count - at) * sizeof(*harness->rows));
        harness->row_count++;
    }
    char *bytes = alloc_zero(row->bytes.size);
    memcpy(bytes, row->bytes.data, row->bytes.size);
    harness->rows[at] = (struct harness_row){
        .key = row->key, .kind = row->kind, .bytes = bytes, .size = row->bytes.size};
}

/** Make durable what the last input changed, and look at every invariant. */
static void commit(struct harness *harness)
{
    struct core_batch *batch = core_batch_take(harness->core);
    for (size_t i = 0; batch != NULL && i < batch->row_count; i++) {
        row_put(harness, &batch->rows[i]);
    }
    for (size_t i = 0; harness->on_effect != NULL && batch != NULL && i < batch->effect_count;
         i++) {
        harness->on_effect(harness->context, &batch->effects[i]);
    }
    core_batch_free(batch);
    AUTO(buf_deinit) struct buf violations = {0};
    core_check(harness->core, &violations);
    if (violations.size > 0) {
        fail_msg("invariants are violated:\n%s", violations.data);
    }
}

void harness_init(struct harness *harness, const struct core_module *const *modules,
                  size_t module_count)
{
    *harness = (struct harness){
        .modules = modules,
        .module_count = module_count,
        .now_ms = INT64_C(1800000000000),
        .caller = {.account = TEXT("123456789012"),
                   .region = TEXT("eu-west-1"),
                   .arn = TEXT("arn:aws:iam::123456789012:root"),
                   .key_id = TEXT("BERTHTESTKEY")},
    };
    harness_restart(harness);
}

void harness_deinit(struct harness *harness)
{
    core_free(harness->core);
    for (size_t i = 0; i < harness->row_count; i++) {
        alloc_free(harness->rows[i].bytes);
    }
    alloc_free(harness->rows);
    arena_deinit(&harness->arena);
    buf_deinit(&harness->answer);
}

void harness_restart(struct harness *harness)
{
    core_free(harness->core);
    harness->core = core_new(harness->modules, harness->module_count);
    core_measure(harness->core);
    for (size_t i = 0; i < harness->row_count; i++) {
        const struct harness_row *row = &harness->rows[i];
        struct err err = {0};
        struct text bytes = {row->bytes, row->size};
        if (core_load(harness->core, row->key, row->kind, bytes, &err) != 0) {
            fail_msg("a row cannot be loaded: %s", err.text);
        }
    }
    struct core_input input = next_input(harness);
    core_recover(harness->core, &input);
    commit(harness);
}

void harness_advance(struct harness *harness, int64_t passed_ms)
{
    harness->now_ms += passed_ms;
    bool more = true;
    while (more) {
        struct core_input input = next_input(harness);
        more = core_advance(harness->core, &input, 100);
        commit(harness);
    }
}

// A name that several services have comes with the service's in front: `ssm.PutParameter`.
static const struct api_operation *find_operation(const char *name)
{
    struct text rest = text_of(name);
    bool prefixed = text_find(rest, '.') != SIZE_MAX;
    struct text service = prefixed ? text_cut(&rest, '.') : (struct text){0};
    for (size_t i = 0; i < ARRAY_LEN(services); i++) {
        const struct api_operation *operation = api_find(services[i], rest);
        if (operation != NULL && (!prefixed || text_is(service, services[i]->name))) {
            return operation;
        }
    }
    fail_msg("no service has the operation %s", name);
    abort();
}

/** A copy in the arena with quotation marks for apostrophes. */
static struct text quoted(struct harness *harness, const char *text)
{
    struct text copy = arena_format(&harness->arena, "%s", text);
    char *bytes = arena_alloc(&harness->arena, copy.size + 1);
    for (size_t i = 0; i < copy.size; i++) {
        bytes[i] = copy.data[i] == '\'' ? '"' : copy.data[i];
    }
    return (struct text){bytes, copy.size};
}

const char *harness_call(struct harness *harness, const char *operation_name, const char *request)
{
    arena_reset(&harness->arena);
    buf_reset(&harness->answer);
    const struct api_operation *operation = find_operation(operation_name);
    struct shape_error error = {{0}, {0}};
    void *in = arena_alloc(&harness->arena, operation->input->size_bytes);
    void *out = arena_alloc(&harness->arena, operation->output->size_bytes);
    if (json_decode(operation->input, quoted(harness, request), &harness->arena, in, &error) != 0 ||
        shape_validate(operation->input, in, &error) != 0) {
        buf_format(&harness->answer, "Invalid: %s: %s", error.path, error.text);
        return harness->answer.data;
    }
    struct core_call call = {.arena = &harness->arena};
    struct core_input input = next_input(harness);
    int rc = core_request(harness->core, &input, &harness->caller, operation, &call, in, out);
    if (rc == ERR_FAULT) {
        assert_true(call.put_count == 0);
        buf_format(&harness->answer, "%s: %s", call.fault->name, call.fault_text);
    } else {
        assert_int_equal(rc, 0);
        assert_true(!operation->read_only || call.put_count == 0);
        if (shape_validate(operation->output, out, &error) != 0) {
            fail_msg("%s: the response is invalid at %s: %s", operation_name, error.path,
                     error.text);
        }
        json_encode(operation->output, out, &harness->answer);
    }
    commit(harness);
    return harness->answer.data;
}

void harness_expect(struct harness *harness, const char *operation, const char *request,
                    const char *want)
{
    const char *got = harness_call(harness, operation, request);
    // Refusals carry apostrophes of their own.
    struct text expected = want[0] == '{' ? quoted(harness, want) : text_of(want);
    if (!text_is(expected, got)) {
        fail_msg("%s %s\n  gave %s\n  want %.*s", operation, request, got, TEXT_FMT(expected));
    }
}

void harness_contains(struct harness *harness, const char *operation, const char *request,
                      const char *want)
{
    const char *got = harness_call(harness, operation, request);
    struct text expected = got[0] == '{' ? quoted(harness, want) : text_of(want);
    if (strstr(got, expected.data) == NULL) {
        fail_msg("%s %s\n  gave %s\n  which lacks %.*s", operation, request, got,
                 TEXT_FMT(expected));
    }
}

void harness_member(const struct harness *harness, const char *name, char *out_value,
                    size_t size_bytes)
{
    char pattern[80];
    struct buf search = {0};
    buf_format(&search, "\"%s\":\"", name);
    assert_int_equal(text_copy(buf_view(&search), pattern, sizeof(pattern)), 0);
    buf_deinit(&search);
    const char *start = strstr(harness->answer.data, pattern);
    if (start == NULL) {
        fail_msg("%s has no member %s", harness->answer.data, name);
        return;
    }
    struct text rest = text_of(start + strlen(pattern));
    assert_int_equal(text_copy(text_cut(&rest, '"'), out_value, size_bytes), 0);
}
