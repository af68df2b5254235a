#pragma once

#include "agent/agent_internal.h"
#include "endpoint/endpoint.h"
#include "endpoint/metadata.h"
#include "endpoint/route.h"

/*
 * What the parts of the agent that answer tasks share: agent_endpoint.c finds out who asks for
 * what, agent_credentials.c, agent_protection.c, agent_fault.c and agent_stats.c answer what is not
 * metadata.
 *
 * The names in a task's paths come from the node's secret and the task's id, so that an agent that
 * was started again knows them, and nobody else can tell them.
 */

#define ENDPOINT_ID_CHARS 48 ///< of a path's id, with its terminator

/** The id of a container's endpoint, by its place in the definition: a UUID, or on Fargate the
 *  task's id and ten digits. */
void agent_endpoint_id(const struct agent *agent, const struct session_task_spec *spec,
                       size_t index, char out_id[ENDPOINT_ID_CHARS]);

/** The id of a task's credentials: a UUID. */
void agent_credentials_id(const struct agent *agent, struct text task_id,
                          char out_id[ENDPOINT_ID_CHARS]);

/**
 * Where a task in mode host finds its agent: an address of the host's loopback that is its own, so
 * that it asks through a socket of its own and one that was started again finds the same.
 */
uint32_t agent_endpoint_loopback(const struct agent *agent, struct text task_id);

/** @return the id of the task that asks */
struct text agent_endpoint_task(const struct endpoint_call *call);

/** @return whether a container's endpoint has that id, with its place in the definition */
bool agent_endpoint_find(const struct agent *agent, const struct session_task_spec *spec,
                         struct text id, size_t *out_index);

/** What metadata is made of. Borrows from the view; the rest is in the arena. */
struct metadata_source agent_endpoint_source(const struct agent *agent, struct text task_id,
                                             const struct agent_task_view *view,
                                             struct arena *arena);

/** @return the address of a container on the bridge network, by its place; absent for none */
struct text agent_endpoint_address(const struct agent *agent, struct text task_id, size_t index);

/** Answer with a struct as JSON. */
void agent_endpoint_answer(struct endpoint_call *call, int status, const struct shape_type *shape,
                           const void *value);

/** Answer with a sentence as a JSON string. */
void agent_endpoint_refuse(struct endpoint_call *call, int status, struct text sentence);

/** Answer a request for credentials. */
void agent_credentials_serve(struct agent *agent, struct endpoint_call *call,
                             const struct route *route);

/** Answer a request about the protection of the task that asks. */
void agent_protection_serve(struct agent *agent, struct endpoint_call *call,
                            const struct route *route);

/** Answer a request for a fault in the network of the task that asks. */
void agent_fault_serve(struct agent *agent, struct endpoint_call *call, const struct route *route);

/** Answer with the task's metadata and its tags. */
void agent_tags_serve(struct agent *agent, struct endpoint_call *call, const struct route *route);

/** Look at a container, or at all of a task (index SIZE_MAX), and answer. */
void agent_stats_serve(struct agent *agent, struct endpoint_call *call, size_t index);
