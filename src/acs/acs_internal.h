#pragma once

#include "acs/acs.h"
#include "api/docker.h"

/*
 * Parts of acs.h: acs_task.c (the task, its volumes and interfaces), acs_container.c (what the
 * agent reads of a container), acs_docker.c (what it passes on to Docker), acs_unsupported.c.
 */

/** A container on its way. */
struct acs_source {
    const struct session_task_spec *spec;
    const struct acs_private *given;
    const struct ecs_container_definition *definition;
    const struct session_container_identity *identity;
    struct arena *arena;
};

/** Fill a container. It borrows from the source. */
void acs_container(const struct acs_source *source, struct acs_container *out);

/** @return what Docker is told of a container, in the arena */
struct acs_docker_config *acs_docker(const struct acs_source *source);

/** @return zeroed items of a list, or NULL for none: then the list is absent, not empty */
void *acs_list(struct arena *arena, size_t count, size_t size_bytes);

/** @return the value of a key, absent when the map has none */
struct text acs_map_get(const struct text_map *map, const char *key);
