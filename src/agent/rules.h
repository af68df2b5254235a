#pragma once

#include "api/session.h"
#include "base/map.h"

/*
 * What an agent was told of security groups: pure, so that the simulator runs exactly this.
 *
 * Versions ascend over all changes of rules, so the higher one counts, whatever came last.
 */

#define AGENT_RULES_MAX 1000 ///< of more groups than a node can have in use all are forgotten

/** Groups by id. Zero-initialised storage is empty. */
struct agent_rules {
    struct map groups; ///< to a struct session_security_group, one block each
};

/** Free what is known. */
void agent_rules_deinit(struct agent_rules *rules);

/** Take a group over unless it is known as it is or newer. @return whether it is news */
bool agent_rules_keep(struct agent_rules *rules, const struct session_security_group *from);

/** @return all that is known, in the arena, to be borrowed until a group is told anew */
struct session_security_group_list agent_rules_all(const struct agent_rules *rules,
                                                   struct arena *arena);

/** @return what is known of a group, until it is told anew, or NULL */
const struct session_security_group *agent_rules_of(const struct agent_rules *rules,
                                                    struct text id);
