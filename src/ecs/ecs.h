#pragma once

#include "api/ecs.h"
#include "api/ecs_record.h"
#include "core/core.h"

/*
 * Amazon ECS: clusters, definitions, settings and tags (ecs_module), nodes, placement and tasks
 * (task_module). Messages and limits are those of ECS.
 *
 * Kinds 30 to 49 are ecs_module's, 50 to 69 task_module's.
 */

extern const struct core_module ecs_module;

/** Tables of ecs_module: the engine knows a kind by its address in this array. */
extern const struct core_kind ecs_kinds[];
#define ecs_cluster_kind (ecs_kinds[0])
#define ecs_family_kind (ecs_kinds[1])
#define ecs_definition_kind (ecs_kinds[2])
#define ecs_setting_kind (ecs_kinds[3])
#define ecs_provider_kind (ecs_kinds[4])

/** The region and account a record belongs to. Texts borrow from the realm's record. */
struct ecs_realm_scope {
    struct text region;
    struct text account;
};

/** @return scope of a realm; the realm must exist */
struct ecs_realm_scope ecs_scope(const struct core *core, int64_t realm);

/** Refuse what ECS refuses for want of a role that Berth's nodes do not need (DESIGN §5). Off at
 *  start. Not stored: the wiring sets it before the first request. */
void ecs_set_strict(struct core *core, bool strict);

/** The parts of `arn:aws:ecs:REGION:ACCOUNT:TYPE/PATH`. They borrow from the ARN. */
struct ecs_arn {
    struct text region;
    struct text account;
    struct text type; ///< such as `cluster` or `task-definition`
    struct text path; ///< what follows the first slash; may hold more of them
};

/** @return whether a text is an ARN of ECS; a text that does not begin with `arn:` is none */
bool ecs_arn_parse(struct text text, struct ecs_arn *out_arn);

/**
 * Take the path out of a reference that is an ARN of a type in a scope; other texts are paths as
 * they are.
 *
 * @return false when it is an ARN of something else, or of another region or account
 */
bool ecs_reference_path(struct text reference, const char *type, struct ecs_realm_scope scope,
                        struct text *out_path);

/**
 * Find a cluster by name or ARN; an absent reference is `default`.
 *
 * @return its key, or 0. INACTIVE ones are not found
 */
int64_t ecs_cluster_find(const struct core *core, int64_t realm, struct text reference);

/** The same, but refuses with ClusterNotFoundException "Cluster not found." @return 0 or ERR_FAULT
 */
MUST_CHECK int ecs_cluster_resolve(struct core_call *call, struct text reference,
                                   int64_t *out_cluster);

/** @return the ARN of a cluster, in the call's arena */
struct text ecs_cluster_arn(struct core_call *call, int64_t cluster);

/** What a reference to a definition is for. */
enum ecs_definition_use { ECS_DEFINITION_DESCRIBE, ECS_DEFINITION_RUN, ECS_DEFINITION_REVISION };

/**
 * Find a definition by `family` (its latest ACTIVE revision), `family:revision` or ARN.
 *
 * Refuses as ECS does for that use: unknown, inactive, revision missing or not a number.
 */
MUST_CHECK int ecs_definition_resolve(struct core_call *call, struct text reference,
                                      enum ecs_definition_use use, int64_t *out_definition);

/** @return the ARN of a definition, in the call's arena */
struct text ecs_definition_arn(struct core_call *call, int64_t definition);

/**
 * A definition as the API shows it: what was registered, with ARN, family, revision, status and
 * dates filled in.
 *
 * @return a copy in the call's arena whose members borrow from the record
 */
struct ecs_task_definition *ecs_definition_show(struct core_call *call, int64_t definition);

/** @return name of a definition's family; borrows from its record */
struct text ecs_definition_family(const struct core *core, int64_t definition);

/** The Fargate size table: whether a task may have this size. Units and MiB. */
bool ecs_fargate_size_valid(int64_t cpu_units, int64_t memory_mib);

/** Parse task sizes as ECS does: "1024", "1 vCPU", ".5 vcpu". @return 0 or ERR_INVALID */
MUST_CHECK int ecs_parse_cpu(struct text text, int64_t *out_units);

/** Parse "2048", "2GB", "2 GB" into MiB. @return 0 or ERR_INVALID */
MUST_CHECK int ecs_parse_memory(struct text text, int64_t *out_mib);
