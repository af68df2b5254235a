#pragma once

#include "api/acs.h"
#include "api/berth.h"
#include "api/session.h"
#include "base/alloc.h"

/*
 * Tasks as Amazon's container agent takes them.
 *
 * Berth's own agent is sent one typed TaskSpec. Here the same is put into the form of Amazon's
 * protocol: members of its own for what the agent looks at, and for what it only passes on Docker's
 * Config and HostConfig, as JSON within strings. Pure: what a task is sent is decided by its
 * TaskSpec alone. docs/acs.md tells member by member where it goes.
 *
 * The rules of the agent are those of amazon-ecs-agent 1.105.
 */

/** What a task is given besides its TaskSpec, and only when the message leaves. */
struct acs_private {
    struct session_role_credentials *task;      ///< of its role; NULL without one
    struct session_role_credentials *execution; ///< of its execution role; NULL without one
    struct berth_task_secret_list secrets;      ///< values, for its containers' environments
};

/**
 * Put a task into the agent's form.
 *
 * @param spec  one to run has a definition that acs_unsupported lets pass
 * @param out   borrows from spec, given and the arena
 */
void acs_task(const struct session_task_spec *spec, const struct acs_private *given,
              struct arena *arena, struct acs_task *out);

/**
 * What a definition asks for that Amazon's agent cannot do without AWS, or not at all: such a task
 * is never placed where one is.
 *
 * @return the member's name as users write it, or NULL when all of it is honoured
 */
const char *acs_unsupported(const struct ecs_task_definition *definition);
