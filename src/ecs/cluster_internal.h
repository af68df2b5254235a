#pragma once

#include "ecs/ecs_internal.h"

/*
 * What the handlers of clusters share: cluster.c (create, describe, list, delete),
 * cluster_update.c, cluster_check.c (what must hold), cluster_show.c.
 */

// ---- cluster_check.c ----------------------------------------------------------------------

/** Refuse a bad name. Absent or empty means `default`. @return 0 or ERR_FAULT */
MUST_CHECK int cluster_check_name(struct core_call *call, struct text name);
/** Find the cluster of an operation that demands to be told which. @return 0 or ERR_FAULT */
MUST_CHECK int cluster_resolve_named(struct core_call *call, struct text reference,
                                     int64_t *out_cluster);
/** Refuse settings that are none of a cluster's. @return 0 or ERR_FAULT */
MUST_CHECK int cluster_check_settings(struct core_call *call,
                                      const struct ecs_cluster_setting_list *settings);
/** Where the output of ExecuteCommand goes: a destination of its own exactly when OVERRIDE says so;
 *  absent is fine. @return 0 or ERR_FAULT */
MUST_CHECK int cluster_check_configuration(struct core_call *call,
                                           const struct ecs_cluster_configuration *configuration);
/** Refuse a default namespace that is too long; absent is fine. @return 0 or ERR_FAULT */
MUST_CHECK int
cluster_check_namespace(struct core_call *call,
                        const struct ecs_cluster_service_connect_defaults_request *defaults);
/** Refuse providers that a cluster cannot name: there are two that always exist, and those of
 * groups.
 *  @return 0 or ERR_FAULT */
MUST_CHECK int cluster_check_providers(struct core_call *call, const struct text_list *providers);

// ---- cluster_show.c -----------------------------------------------------------------------

/** Which parts of a cluster a caller wants to see. */
struct cluster_view {
    bool settings;
    bool configuration;
    bool statistics;
    bool tags;
    bool attachments;
};

/** Fill what the API shows of a cluster. Lists are never absent. */
void cluster_show(struct core_call *call, int64_t key, const struct cluster_view *view,
                  struct ecs_cluster *out);
/** @return a cluster as the operations show it that change it */
struct ecs_cluster *cluster_shown(struct core_call *call, int64_t key);

// ---- cluster_update.c ---------------------------------------------------------------------

/** Copy a strategy as ECS echoes it: weight and base are never absent. */
void cluster_copy_strategy(struct core_call *call,
                           const struct ecs_capacity_provider_strategy_item_list *from,
                           struct ecs_record_cluster *record);
/** Copy the default namespace, if one is given; an empty one takes the default away. */
void cluster_copy_namespace(struct core_call *call,
                            const struct ecs_cluster_service_connect_defaults_request *from,
                            struct ecs_record_cluster *record);
