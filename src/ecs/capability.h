#pragma once

#include "api/ecs.h"

/*
 * What instances can do and tasks need: the attributes `ecs.capability.*` and
 * `com.amazonaws.ecs.capability.*`, which agents advertise when they register and
 * requiresAttributes of a definition lists.
 *
 * Placement compares them for thousands of nodes, so the usual ones are bits of a number. The
 * numbers live in memory only.
 */

#define CAPABILITY_OTHER (UINT32_C(1) << 31) ///< needed: something that no bit stands for
/// needed: what only Berth's agent does; had by nodes with it
#define CAPABILITY_BERTH_AGENT (UINT32_C(1) << 30)
#define CAPABILITY_EXECUTE_COMMAND "ecs.capability.execute-command" ///< needed by ECS Exec alone

/** @return the bits of what an instance with these attributes has; never CAPABILITY_OTHER, nor
 *  CAPABILITY_BERTH_AGENT */
uint32_t capability_had(const struct ecs_attribute *attributes, size_t count);

/** @return the bits of what a definition with these requiresAttributes needs */
uint32_t capability_needed(const struct ecs_attribute *attributes, size_t count);

/** @return whether an attribute is among those of an instance, with the wanted value if any */
bool capability_has(const struct ecs_attribute *attributes, size_t count,
                    const struct ecs_attribute *wanted);
