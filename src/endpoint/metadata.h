#pragma once

#include "api/endpoint.h"
#include "api/journal.h"
#include "api/session.h"
#include "api/supervisor.h"
#include "base/alloc.h"

/*
 * A task's metadata, as versions 2, 3 and 4 of the endpoint show it. Pure.
 *
 * Version 4 has more members. A task on Fargate shows its cluster's ARN, clock and storage where
 * one on a container instance shows the cluster's name.
 */

/** What is known of a task. Borrowed for the call. */
struct metadata_source {
    struct text task_id;
    const struct session_task_spec *spec;
    const struct supervisor_state *state; ///< NULL when none was seen
    struct journal_container_image_list images;
    struct journal_container_ports_list ports; ///< of the host, mode bridge
    struct text_list addresses;                ///< of containers, mode bridge, by their place
    int64_t pull_started_at;
    int64_t pull_stopped_at;
    bool stop_requested;
    bool ended;
    const struct endpoint_clock_drift *clock;         ///< NULL: left out
    const struct endpoint_ephemeral_storage *storage; ///< NULL: left out
};

/** @return whether the task runs as on Fargate */
bool metadata_is_fargate(const struct session_task_spec *spec);

/** @return the name by which a container is known here: also its runtimeId in the API */
struct text metadata_container_id(const struct metadata_source *source, size_t index,
                                  struct arena *arena);

/** Describe a container by its place in the definition. */
void metadata_container(const struct metadata_source *source, size_t index, int version,
                        struct arena *arena, struct endpoint_container *out_container);

/** Describe the task with all its containers. */
void metadata_task(const struct metadata_source *source, int version, struct arena *arena,
                   struct endpoint_task *out_task);
