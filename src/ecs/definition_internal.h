#pragma once

#include "ecs/ecs_internal.h"

/*
 * What the parts of RegisterTaskDefinition share.
 *
 * definition_register.c copies the request, has it checked and normalised, and puts it.
 * definition_check.c checks the task's members, definition_container.c those of one container,
 * definition_relation.c what containers and volumes say of each other, definition_fargate.c what
 * only Fargate refuses. definition_attributes.c computes what a host must have.
 *
 * Every check_ function refuses with ECS's message and returns ERR_FAULT, or returns 0.
 */

/** A definition on its way in, with what was found out about it so far. */
struct definition_draft {
    struct core_call *call;
    struct ecs_task_definition *definition; ///< a copy; its containers may be changed
    int64_t cpu_units;                      ///< of the whole task; 0 when it says nothing
    int64_t memory_mib;                     ///< likewise
    bool windows;
};

/**
 * All checks of a definition as RegisterTaskDefinition makes them; sizes and roles of the task
 * become what is stored.
 *
 * @param strict  also for want of roles that Berth's nodes do not need
 */
MUST_CHECK int definition_check(struct definition_draft *draft, bool strict);

/** Sizes, modes, placement constraints, storage: what is said of the task as a whole. */
MUST_CHECK int definition_check_task(struct definition_draft *draft);

/** One container by itself. */
MUST_CHECK int definition_check_container(const struct definition_draft *draft,
                                          const struct ecs_container_definition *container);

/** The port mappings of one container under the task's network mode. */
MUST_CHECK int definition_check_ports(const struct definition_draft *draft,
                                      const struct ecs_container_definition *container);

/** The log configuration of one container. */
MUST_CHECK int definition_check_logs(const struct definition_draft *draft,
                                     const struct ecs_container_definition *container);

/** Linux parameters, limits, system controls and resources of one container. */
MUST_CHECK int definition_check_kernel(const struct definition_draft *draft,
                                       const struct ecs_container_definition *container);

/** @return whether an environment file is none of S3: a file of the node, or of an HTTP server */
bool definition_env_file_here(struct text value);

/** @return whether a container tells of its health: by its health check, or its readiness */
bool definition_has_health(const struct ecs_container_definition *container);

/** Names, sums, dependencies, links, volumes and their mounts. */
MUST_CHECK int definition_check_relations(const struct definition_draft *draft);

/**
 * Why Fargate would not run a definition.
 *
 * @param strict  also for want of roles that Berth's nodes do not need
 * @return ECS's message in the call's arena; absent when it would
 */
struct text definition_fargate_refusal(const struct definition_draft *draft, bool strict);

/** Why an external instance could not run a definition. @return a message, absent when it could */
struct text definition_external_refusal(const struct definition_draft *draft);

/** Fill compatibilities and requiresAttributes. */
void definition_fill_attributes(const struct definition_draft *draft, bool strict);

/** Refuse with "Invalid 'SETTING' setting for container 'NAME'." @return ERR_FAULT */
int definition_invalid_setting(const struct definition_draft *draft,
                               const struct ecs_container_definition *container,
                               const char *setting);

/** Find a container by name. @return its position, or SIZE_MAX */
size_t definition_container_index(const struct ecs_task_definition *definition, struct text name);

/** The option of a log configuration or the like, absent when it is not there. */
struct text definition_option(const struct text_map *options, const char *name);

/** @return whether requiresCompatibilities names it */
bool definition_requires(const struct ecs_task_definition *definition,
                         enum ecs_compatibility compatibility);

/** @return whether an image lies in a registry of Amazon ECR */
bool definition_image_is_ecr(struct text image);
