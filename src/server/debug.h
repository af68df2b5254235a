#pragma once

#include "core/core.h"

/*
 * DumpRecords: every record of every module as JSON, for people who look for a fault. Members that
 * the schema calls sensitive are masked.
 */

extern const struct core_module debug_module;

/** Append one record as a line of JSON: {"key": 1, "kind": "task", "record": {...}}. */
void debug_line(const struct core_kind *kind, int64_t key, const void *record, struct buf *out);
