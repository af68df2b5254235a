#pragma once

#include "api/toy.h"
#include "core/core.h"

/*
 * A module for tests of the engine and its host: named items with a size, which may expire, and one
 * record that holds their total. It has what a real service has: an index as volatile state, a
 * level-triggered manager (the total), one driven by timers (expiry), effects, refusals.
 */

enum { TOY_ITEM = 0, TOY_TOTAL = 1, TOY_KIND_COUNT = 2 };

extern const struct core_kind toy_kinds[TOY_KIND_COUNT];
extern const struct core_module toy_module;
/** The array to give to core_new. */
extern const struct core_module *const toy_modules[1];

/** @return the key of the item with this name, or 0 */
int64_t toy_find(const struct core *core, struct text name);

/** @return the key of the record with the total */
int64_t toy_total_key(const struct core *core);

/** @return how often the manager of the total did its work */
uint64_t toy_work_count(const struct core *core);

/** An input at a time with entropy that follows from the serial number. */
struct core_input toy_input(int64_t now_ms, uint64_t serial);

/** Let go of nothing, do all queued work. */
void toy_settle(struct core *core, int64_t now_ms, uint64_t serial);
