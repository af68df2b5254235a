#pragma once

#include "api/endpoint.h"
#include "runtime/stats.h"

/*
 * A container's statistics as Docker's API has them, with the rates that Amazon's agent adds. Pure.
 */

/**
 * Describe a container by two looks at it.
 *
 * @param before  the look before, for differences and rates; NULL for none
 */
void stats_describe(const struct container_sample *now, const struct container_counters *before,
                    struct text id, struct text name, struct arena *arena,
                    struct endpoint_container_stats *out_stats);

/** Share of one CPU between two looks, in percent: 100 is a whole one. */
double stats_cpu_percent(const struct container_counters *now,
                         const struct container_counters *before);

/** Bytes per second between two looks over all interfaces, received and sent. */
void stats_network_rate(const struct container_counters *now,
                        const struct container_counters *before, double *out_received,
                        double *out_sent);
