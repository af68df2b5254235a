#pragma once

// cmocka wants these in front of its own header.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/core.h"

/*
 * An engine with services, for tests that read like calls of the API: JSON in, JSON or a refusal
 * out. Requests are validated as the server does; every response is validated against its shape,
 * and the invariants are checked after each input. Rows are kept as a store would, so that the
 * engine can be started again from them.
 *
 * In requests and expected responses an apostrophe stands for a quotation mark; in refusals it is
 * itself.
 */
struct harness {
    const struct core_module *const *modules;
    size_t module_count;
    struct core *core;
    int64_t now_ms; ///< of the next input; tests may set it forward
    struct core_caller caller;
    uint64_t input_count; ///< entropy follows from it
    struct arena arena;   ///< of the last answer
    struct buf answer;
    struct harness_row *rows; ///< in ascending key
    size_t row_count;
    /** Given every effect once it is durable; may be NULL. Borrowed for the call. */
    void (*on_effect)(void *context, const struct core_effect *effect);
    void *context;
};

/** Start an engine; the caller is the root of account 123456789012 in eu-west-1. */
void harness_init(struct harness *harness, const struct core_module *const *modules,
                  size_t module_count);

/** Stop it. */
void harness_deinit(struct harness *harness);

/** Stop the engine and start it again from the rows that were made durable. */
void harness_restart(struct harness *harness);

/** Let time pass by milliseconds, then do all queued work. */
void harness_advance(struct harness *harness, int64_t passed_ms);

/**
 * Call an operation of any service by its name; `service.Operation` where several have it.
 *
 * @return the response as JSON, or `Error: message`; valid until the next call
 */
const char *harness_call(struct harness *harness, const char *operation, const char *request);

/** Call, and fail the test unless the answer is this one to the letter. */
void harness_expect(struct harness *harness, const char *operation, const char *request,
                    const char *want);

/** Call, and fail the test unless the answer contains this. */
void harness_contains(struct harness *harness, const char *operation, const char *request,
                      const char *want);

/** Copy the first string member of that name out of the last answer. */
void harness_member(const struct harness *harness, const char *name, char *out_value,
                    size_t size_bytes);
