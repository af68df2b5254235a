#pragma once

#include "base/map.h"
#include "base/mutant.h"
#include "core/index.h"
#include "ecs/ecs.h"

/*
 * What the parts of ecs_module share: its volatile state and the handlers that ecs.c registers.
 */

/** Derived from records, never stored. */
struct ecs_state {
    bool strict;               ///< see ecs_set_strict
    struct map cluster_counts; ///< realm to how many clusters it has, of any status
    struct index *clusters;    ///< realm, name
    struct index *families;    ///< realm, name
    struct index *revisions;   ///< family's key, revision
    struct index *definitions; ///< realm, status, name of the family, revision
    struct index *settings;    ///< realm, principal, name
};

/** The managers of the module. */
extern const struct core_manager ecs_managers[];
/** Lets definitions go whose deletion was asked for, once nothing refers to them. */
#define ecs_definition_manager (ecs_managers[0])
/** Lets INACTIVE clusters go after a week, once nothing refers to them. */
#define ecs_cluster_manager (ecs_managers[1])

/** Work of ecs_definition_manager. */
void ecs_definition_work(struct core_call *call, void *state, int64_t key);
/** Work of ecs_cluster_manager. */
void ecs_cluster_work(struct core_call *call, void *state, int64_t key);
/** Give ecs_definition_manager its work after a start. */
void ecs_definition_recover(struct core_call *call);
/** Give ecs_cluster_manager its work after a start. */
void ecs_cluster_recover(struct core_call *call);

/** @return the module's state of an engine */
struct ecs_state *ecs_state(const struct core *core);

/** @return key of the caller's realm, or 0 when nothing was ever written in it */
int64_t ecs_caller_realm(const struct core_call *call);
/** @return whether what is tried again must still wait until a stored time. A time further off than
 * any wait was noted before the server's clock was set back, and does not count. */
bool ecs_must_wait(const struct core_call *call, int64_t until_ms, int64_t longest_ms);

/** @return how many clusters of any status a realm has */
size_t ecs_cluster_count(const struct core *core, int64_t realm);

/** Find a cluster of any status by its name. @return its key, or 0 */
int64_t ecs_cluster_lookup(const struct core *core, int64_t realm, struct text name);

/** Find a family by its name. @return its key, or 0 */
int64_t ecs_family_lookup(const struct core *core, int64_t realm, struct text name);

/** Find a definition that was not deleted. @return its key, or 0 */
int64_t ecs_definition_lookup(const struct core *core, int64_t family, int64_t revision);

/** Find the latest ACTIVE revision of a family. @return its key, or 0 */
int64_t ecs_definition_latest(const struct core *core, int64_t realm, struct text family);

/** The record of a definition, which must exist. Valid until the input ends. */
const struct ecs_record_definition *ecs_definition_record(const struct core *core,
                                                          int64_t definition);

/** Check a definition as RegisterTaskDefinition does. @return 0 with what would be stored, which
 *  borrows from the request and the call's arena, or ERR_FAULT */
MUST_CHECK int definition_accept(struct core_call *call,
                                 const struct ecs_register_task_definition_request *in,
                                 struct ecs_task_definition **out_definition);

/** Within a rehearsal: put what definition_accept gave as the next revision. @return its key */
int64_t definition_rehearse(struct core_call *call, int64_t realm,
                            const struct ecs_register_task_definition_request *in,
                            struct ecs_task_definition *definition);

/** A reference to a definition, cut into its parts. They borrow from it. */
struct ecs_definition_reference {
    struct text family;
    struct text revision; ///< absent when it names none
};

/** Cut a reference. @return false when it is an ARN of something else or from elsewhere */
bool ecs_definition_reference_parse(const struct core_call *call, struct text reference,
                                    struct ecs_definition_reference *out_parts);

/** @return whether a text has at least one byte and each is a letter, a digit, `_` or `-` */
bool ecs_name_valid(struct text name);

/** Compose the key of an account setting in its index. */
void ecs_setting_key(struct index_key *out_key, int64_t realm, struct text principal,
                     enum ecs_setting_name name);

/** @return the value of an account setting that holds for the caller; may borrow from a record */
struct text ecs_setting_value(struct core_call *call, enum ecs_setting_name name);

/**
 * Refuse a capacity provider strategy that breaks ECS's rules.
 *
 * @param providers  those of the cluster
 * @return 0 or ERR_FAULT
 */
MUST_CHECK int ecs_strategy_check(struct core_call *call, const struct text_list *providers,
                                  const struct ecs_capacity_provider_strategy_item *items,
                                  size_t count);

// ---- capacity_provider.c ------------------------------------------------------------------

/** @return whether it is FARGATE or FARGATE_SPOT, which always exist */
bool ecs_provider_predefined(struct text name);
/** Find a provider of an Auto Scaling group by its name. @return its key, or 0 */
int64_t ecs_provider_find(const struct core *core, int64_t realm, struct text name);
/** @return the name of a provider's Auto Scaling group; borrows from its record */
struct text ecs_provider_group(const struct core *core, int64_t realm, struct text name);
/** @return whether a capacity provider has managed scaling: what finds no room waits for it */
bool ecs_provider_scales(const struct core *core, int64_t realm, struct text name);
/** @return the provider of a cluster that is of a group, absent when there is none */
struct text ecs_provider_of_group(const struct core *core, int64_t cluster, struct text group);
/** Handler of CreateCapacityProvider. */
int ecs_create_capacity_provider(struct core_call *call, void *state, const void *request,
                                 void *response);
/** Handler of UpdateCapacityProvider. */
int ecs_update_capacity_provider(struct core_call *call, void *state, const void *request,
                                 void *response);
/** Handler of DeleteCapacityProvider. */
int ecs_delete_capacity_provider(struct core_call *call, void *state, const void *request,
                                 void *response);

// ---- capacity_provider_show.c -------------------------------------------------------------

/** @return a provider's name, of its name or ARN; absent when it is an ARN of something else */
struct text ecs_provider_name(const struct core_call *call, struct text reference);
/** Write what a provider of an Auto Scaling group shows, its tags too when they are asked for. */
void ecs_provider_show(struct core_call *call, const struct ecs_record_capacity_provider *record,
                       bool tags, struct ecs_capacity_provider *out);
/** Handler of DescribeCapacityProviders. */
int ecs_describe_capacity_providers(struct core_call *call, void *state, const void *request,
                                    void *response);

#define ECS_TAGS_MAX 50 ///< ECS: of a resource, without those that AWS adds

/** @return whether a key or value begins with what only AWS may use */
bool ecs_tag_reserved(struct text text);

/** Refuse tags that break ECS's rules. @return 0 or ERR_FAULT */
MUST_CHECK int ecs_tags_check(struct core_call *call, const struct ecs_tag *tags, size_t count);

/** Handler of CreateCluster; see core_handler_fn. */
int ecs_create_cluster(struct core_call *call, void *state, const void *request, void *response);
/** Handler of DescribeClusters. */
int ecs_describe_clusters(struct core_call *call, void *state, const void *request, void *response);
/** Handler of ListClusters. */
int ecs_list_clusters(struct core_call *call, void *state, const void *request, void *response);
/** Handler of DeleteCluster. */
int ecs_delete_cluster(struct core_call *call, void *state, const void *request, void *response);
/** Handler of UpdateCluster. */
int ecs_update_cluster(struct core_call *call, void *state, const void *request, void *response);
/** Handler of UpdateClusterSettings. */
int ecs_update_cluster_settings(struct core_call *call, void *state, const void *request,
                                void *response);
/** Handler of PutClusterCapacityProviders. */
int ecs_put_cluster_capacity_providers(struct core_call *call, void *state, const void *request,
                                       void *response);
/** Handler of PutAccountSetting. */
int ecs_put_account_setting(struct core_call *call, void *state, const void *request,
                            void *response);
/** Handler of PutAccountSettingDefault. */
int ecs_put_account_setting_default(struct core_call *call, void *state, const void *request,
                                    void *response);
/** Handler of DeleteAccountSetting. */
int ecs_delete_account_setting(struct core_call *call, void *state, const void *request,
                               void *response);
/** Handler of ListAccountSettings. */
int ecs_list_account_settings(struct core_call *call, void *state, const void *request,
                              void *response);
/** Handler of TagResource. */
int ecs_tag_resource(struct core_call *call, void *state, const void *request, void *response);
/** Handler of UntagResource. */
int ecs_untag_resource(struct core_call *call, void *state, const void *request, void *response);
/** Handler of ListTagsForResource. */
int ecs_list_tags_for_resource(struct core_call *call, void *state, const void *request,
                               void *response);
/** Handler of RegisterTaskDefinition. */
int ecs_register_task_definition(struct core_call *call, void *state, const void *request,
                                 void *response);
/** Handler of DescribeTaskDefinition. */
int ecs_describe_task_definition(struct core_call *call, void *state, const void *request,
                                 void *response);
/** Handler of ListTaskDefinitions. */
int ecs_list_task_definitions(struct core_call *call, void *state, const void *request,
                              void *response);
/** Handler of ListTaskDefinitionFamilies. */
int ecs_list_task_definition_families(struct core_call *call, void *state, const void *request,
                                      void *response);
/** Handler of DeregisterTaskDefinition. */
int ecs_deregister_task_definition(struct core_call *call, void *state, const void *request,
                                   void *response);
/** Handler of DeleteTaskDefinitions. */
int ecs_delete_task_definitions(struct core_call *call, void *state, const void *request,
                                void *response);
