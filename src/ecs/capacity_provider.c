#include "ecs/ecs_internal.h"

#include "base/text.h"
#include "ecs/service.h"
#include "ecs/task.h"
#include "identity/identity.h"

#include <string.h>

/*
 * Capacity providers: the two of Fargate, which always exist, and those of Auto Scaling groups. A
 * group is a set of hosts whose agents were started with its name (`berth agent
 * --auto-scaling-group`), so nothing has to exist when a provider names it.
 */

#define NAME_MAX_CHARS 255
#define PROVIDERS_MAX 500 // of an account and region, so that looking for a name stays cheap
#define GROUP_MAX_CHARS 255

#include "ecs/ecs_internal.h"

#include "base/text.h"
#include "ecs/page.h"
#include "ecs/service.h"
#include "ecs/task.h"
#include "identity/identity.h"

#include <string.h>

/*
 * Capacity providers: the two of Fargate, which always exist, and those of Auto Scaling groups. A
 * group is a set of hosts whose agents were started with its name (`berth agent
 * --auto-scaling-group`), so nothing has to exist when a provider names it.
 */

#define NAME_MAX_CHARS 255
#define PROVIDERS_MAX 500 // of an account and region, so that looking for a name stays cheap
#define GROUP_MAX_CHARS 255
#define PREDEFINED 2

static int refuse(struct core_call *call, const char *message)
{
    return core_fault(call, &ecs_error_invalid_parameter_exception, "%s", message);
}

bool ecs_provider_predefined(struct text name)
{
    return text_is(name, "FARGATE") || text_is(name, "FARGATE_SPOT");
}

int64_t ecs_provider_find(const struct core *core, int64_t realm, struct text name)
{
    for (int64_t key = core_next(core, &ecs_provider_kind, 0); key != 0;
         key = core_next(core, &ecs_provider_kind, key)) {
        const struct ecs_record_capacity_provider *record = core_get(core, &ecs_provider_kind, key);
        if (record->realm == realm && text_equal(record->name, name)) {
            return key;
        }
    }
    return 0;
}

// The name of a group, of its ARN or name.
static struct text group_of(struct text arn)
{
    size_t slash = text_find_last(arn, '/');
    return slash == SIZE_MAX ? arn : text_slice(arn, slash + 1, arn.size);
}

struct text ecs_provider_group(const struct core *core, int64_t realm, struct text name)
{
    int64_t key = ecs_provider_find(core, realm, name);
    const struct ecs_record_capacity_provider *record =
        key == 0 ? NULL : core_get(core, &ecs_provider_kind, key);
    if (record == NULL) {
        return (struct text){0};
    }
    return group_of(record->provider->auto_scaling_group_arn);
}

bool ecs_provider_scales(const struct core *core, int64_t realm, struct text name)
{
    int64_t key = ecs_provider_find(core, realm, name);
    const struct ecs_record_capacity_provider *record =
        key == 0 ? NULL : core_get(core, &ecs_provider_kind, key);
    return record != NULL &&
           record->provider->managed_scaling->status == ECS_MANAGED_SCALING_STATUS_ENABLED;
}

struct text ecs_provider_of_group(const struct core *core, int64_t cluster, struct text group)
{
    const struct ecs_record_cluster *record = core_get(core, &ecs_cluster_kind, cluster);
    for (size_t i = 0; !text_empty(group) && i < record->capacity_providers.count; i++) {
        struct text name = record->capacity_providers.items[i];
        if (!ecs_provider_predefined(name) &&
            text_equal(ecs_provider_group(core, record->realm, name), group)) {
            return name;
        }
    }
    return (struct text){0};
}

static int check_name(struct core_call *call, struct text name)
{
    if (name.size > NAME_MAX_CHARS || !ecs_name_valid(name)) {
        return refuse(call, "The capacity provider name can have up to 255 characters: letters, "
                            "numbers, hyphens and underscores.");
    }
    static const char *const reserved[] = {"aws", "ecs", "fargate"};
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++) {
        struct text prefix = text_of(reserved[i]);
        if (text_equal_nocase(text_slice(name, 0, prefix.size), prefix)) {
            return refuse(call, "The capacity provider name cannot be prefixed with 'aws', 'ecs' "
                                "or 'fargate'. Specify another name and try again.");
        }
    }
    return 0;
}

// The name of a group, or an ARN that ends in one.
static int check_group(struct core_call *call, struct text arn)
{
    size_t slash = text_find_last(arn, '/');
    struct text name = slash == SIZE_MAX ? arn : text_slice(arn, slash + 1, arn.size);
    bool is_arn = text_starts(arn, TEXT("arn:"));
    bool fine = !text_empty(name) && name.size <= GROUP_MAX_CHARS && is_arn == (slash != SIZE_MAX);
    return fine ? 0
                : refuse(call, "The specified Auto Scaling group ARN is not valid. Specify the ARN "
                               "or the name of a group and try again.");
}

static int check_scaling(struct core_call *call, const struct ecs_managed_scaling *scaling,
                         enum ecs_managed_termination_protection protection)
{
    bool enabled = scaling != NULL && scaling->status == ECS_MANAGED_SCALING_STATUS_ENABLED;
    if (scaling != NULL &&
        scaling->minimum_scaling_step_size > scaling->maximum_scaling_step_size) {
        return refuse(call, "The minimumScalingStepSize cannot be larger than the "
                            "maximumScalingStepSize.");
    }
    if (protection == ECS_MANAGED_TERMINATION_PROTECTION_ENABLED && !enabled) {
        return refuse(call, "The managed termination protection setting for the capacity provider "
                            "is invalid. To enable managed termination protection for a capacity "
                            "provider, managed scaling must be enabled.");
    }
    return 0;
}

// What was asked for over what there was, with ECS's defaults.
static struct ecs_managed_scaling *fill_scaling(struct core_call *call,
                                                const struct ecs_managed_scaling *asked,
                                                const struct ecs_managed_scaling *before)
{
    struct ecs_managed_scaling *scaling = ARENA_NEW(call->arena, struct ecs_managed_scaling);
    if (before != NULL) {
        *scaling = *before;
    } else {
        *scaling = (struct ecs_managed_scaling){
            .status = ECS_MANAGED_SCALING_STATUS_DISABLED,
            .has_target_capacity = true,
            .target_capacity = 100,
            .has_minimum_scaling_step_size = true,
            .minimum_scaling_step_size = 1,
            .has_maximum_scaling_step_size = true,
            .maximum_scaling_step_size = 10000,
            .has_instance_warmup_period = true,
            .instance_warmup_period = 300,
        };
    }
    if (asked == NULL) {
        return scaling;
    }
    // Given without a status it is meant to be used.
    scaling->status = asked->status == ECS_MANAGED_SCALING_STATUS_ABSENT
                          ? ECS_MANAGED_SCALING_STATUS_ENABLED
                          : asked->status;
    if (asked->has_target_capacity) {
        scaling->target_capacity = asked->target_capacity;
    }
    if (asked->has_minimum_scaling_step_size) {
        scaling->minimum_scaling_step_size = asked->minimum_scaling_step_size;
    }
    if (asked->has_maximum_scaling_step_size) {
        scaling->maximum_scaling_step_size = asked->maximum_scaling_step_size;
    }
    if (asked->has_instance_warmup_period) {
        scaling->instance_warmup_period = asked->instance_warmup_period;
    }
    return scaling;
}

static size_t count_of(const struct core *core, int64_t realm)
{
    size_t count = 0;
    for (int64_t key = core_next(core, &ecs_provider_kind, 0); key != 0;
         key = core_next(core, &ecs_provider_kind, key)) {
        const struct ecs_record_capacity_provider *record = core_get(core, &ecs_provider_kind, key);
        count += record->realm == realm;
    }
    return count;
}

static int refuse_managed_instances(struct core_call *call)
{
    return core_fault(
        call, &ecs_error_unsupported_feature_exception,
        "Capacity providers of managed instances are not supported by this version of "
        "Berth.");
}

// Those of managed instances belong to a cluster, those of Auto Scaling groups to the account.
static int check_cluster(struct core_call *call, struct text reference)
{
    int64_t cluster = 0;
    if (reference.data == NULL) {
        return 0;
    }
    int rc = ecs_cluster_resolve(call, reference, &cluster);
    return rc != 0 ? rc
                   : refuse(call, "The cluster can only be specified for capacity providers of "
                                  "managed instances.");
}

// A group that two providers scale would follow neither.
static int check_group_free(struct core_call *call, int64_t realm, struct text arn)
{
    struct text group = group_of(arn);
    for (int64_t key = core_next(call->core, &ecs_provider_kind, 0); key != 0;
         key = core_next(call->core, &ecs_provider_kind, key)) {
        const struct ecs_record_capacity_provider *record =
            core_get(call->core, &ecs_provider_kind, key);
        if (record->realm == realm &&
            text_equal(group_of(record->provider->auto_scaling_group_arn), group)) {
            return core_fault(call, &ecs_error_client_exception,
                              "The specified Auto Scaling group ARN is already being used by "
                              "another capacity provider. Specify a unique Auto Scaling group ARN "
                              "and try again.");
        }
    }
    return 0;
}

static int check_create(struct core_call *call,
                        const struct ecs_create_capacity_provider_request *in)
{
    int rc = check_name(call, in->name);
    if (rc == 0) {
        rc = ecs_tags_check(call, in->tags.items, in->tags.count);
    }
    if (rc != 0) {
        return rc;
    }
    if (in->managed_instances_provider != NULL) {
        return refuse_managed_instances(call);
    }
    if (in->auto_scaling_group_provider == NULL) {
        return refuse(call, "autoScalingGroupProvider is required.");
    }
    rc = check_cluster(call, in->cluster);
    if (rc != 0) {
        return rc;
    }
    return check_group(call, in->auto_scaling_group_provider->auto_scaling_group_arn);
}

int ecs_create_capacity_provider(struct core_call *call, void *state, const void *request,
                                 void *response)
{
    (void)state;
    const struct ecs_create_capacity_provider_request *in = request;
    struct ecs_create_capacity_provider_response *out = response;
    int rc = check_create(call, in);
    if (rc != 0) {
        return rc;
    }
    struct ecs_auto_scaling_group_provider *provider =
        ARENA_NEW(call->arena, struct ecs_auto_scaling_group_provider);
    *provider = *in->auto_scaling_group_provider;
    provider->managed_scaling = fill_scaling(call, provider->managed_scaling, NULL);
    if (provider->managed_termination_protection == ECS_MANAGED_TERMINATION_PROTECTION_ABSENT) {
        provider->managed_termination_protection = ECS_MANAGED_TERMINATION_PROTECTION_DISABLED;
    }
    if (provider->managed_draining == ECS_MANAGED_DRAINING_ABSENT) {
        provider->managed_draining = ECS_MANAGED_DRAINING_ENABLED;
    }
    rc = check_scaling(call, provider->managed_scaling, provider->managed_termination_protection);
    if (rc != 0) {
        return rc;
    }
    int64_t realm = ecs_caller_realm(call);
    if (realm != 0 && ecs_provider_find(call->core, realm, in->name) != 0) {
        return refuse(call, "A capacity provider with the specified name already exists. Specify "
                            "another name and try again.");
    }
    rc = check_group_free(call, realm, provider->auto_scaling_group_arn);
    if (rc != 0) {
        return rc;
    }
    if (realm != 0 && count_of(call->core, realm) >= PROVIDERS_MAX) {
        return core_fault(call, &ecs_error_limit_exceeded_exception,
                          "The limit of %d capacity providers is reached.", PROVIDERS_MAX);
    }
    realm = identity_realm_ensure(call, &ecs_error_client_exception);
    if (realm == 0) {
        return ERR_FAULT;
    }
    const struct ecs_record_capacity_provider record = {
        .has_realm = true,
        .realm = realm,
        .name = in->name,
        .provider = provider,
        .update_status = ECS_CAPACITY_PROVIDER_UPDATE_STATUS_CREATE_COMPLETE,
        .tags = {in->tags.count > 0 ? in->tags.items : NULL, in->tags.count},
    };
    int64_t key = core_new_key(call);
    core_put(call, &ecs_provider_kind, key, &record);
    task_provider_changed(call, key);
    out->capacity_provider = ARENA_NEW(call->arena, struct ecs_capacity_provider);
    ecs_provider_show(call, core_get(call->core, &ecs_provider_kind, key), true,
                      out->capacity_provider);
    return 0;
}

static int find_named(struct core_call *call, struct text reference, int64_t *out_key)
{
    struct text name = ecs_provider_name(call, reference);
    int64_t realm = ecs_caller_realm(call);
    *out_key = text_empty(name) || realm == 0 ? 0 : ecs_provider_find(call->core, realm, name);
    return *out_key != 0 ? 0
                         : refuse(call, "The specified capacity provider does not exist. Specify a "
                                        "valid name or ARN and try again.");
}

int ecs_update_capacity_provider(struct core_call *call, void *state, const void *request,
                                 void *response)
{
    (void)state;
    const struct ecs_update_capacity_provider_request *in = request;
    struct ecs_update_capacity_provider_response *out = response;
    int64_t key = 0;
    if (ecs_provider_predefined(in->name)) {
        return refuse(call, "The specified capacity provider cannot be updated: it is reserved.");
    }
    int rc = check_cluster(call, in->cluster);
    if (rc == 0) {
        rc = find_named(call, in->name, &key);
    }
    if (rc != 0) {
        return rc;
    }
    const struct ecs_auto_scaling_group_provider_update *asked = in->auto_scaling_group_provider;
    if (in->managed_instances_provider != NULL) {
        return refuse_managed_instances(call);
    }
    if (asked == NULL) {
        return refuse(call, "autoScalingGroupProvider is required.");
    }
    struct ecs_record_capacity_provider *record = core_edit(call, &ecs_provider_kind, key);
    struct ecs_auto_scaling_group_provider *provider =
        ARENA_NEW(call->arena, struct ecs_auto_scaling_group_provider);
    *provider = *record->provider;
    provider->managed_scaling =
        fill_scaling(call, asked->managed_scaling, provider->managed_scaling);
    if (asked->managed_termination_protection != ECS_MANAGED_TERMINATION_PROTECTION_ABSENT) {
        provider->managed_termination_protection = asked->managed_termination_protection;
    }
    if (asked->managed_draining != ECS_MANAGED_DRAINING_ABSENT) {
        provider->managed_draining = asked->managed_draining;
    }
    rc = check_scaling(call, provider->managed_scaling, provider->managed_termination_protection);
    if (rc != 0) {
        return rc;
    }
    record->provider = provider;
    record->update_status = ECS_CAPACITY_PROVIDER_UPDATE_STATUS_UPDATE_COMPLETE;
    core_put(call, &ecs_provider_kind, key, record);
    task_provider_changed(call, key);
    out->capacity_provider = ARENA_NEW(call->arena, struct ecs_capacity_provider);
    ecs_provider_show(call, core_get(call->core, &ecs_provider_kind, key), true,
                      out->capacity_provider);
    return 0;
}

int ecs_delete_capacity_provider(struct core_call *call, void *state, const void *request,
                                 void *response)
{
    (void)state;
    const struct ecs_delete_capacity_provider_request *in = request;
    struct ecs_delete_capacity_provider_response *out = response;
    if (ecs_provider_predefined(ecs_provider_name(call, in->capacity_provider))) {
        return refuse(call, "The specified capacity provider is reserved and cannot be deleted.");
    }
    int64_t key = 0;
    int rc = check_cluster(call, in->cluster);
    if (rc == 0) {
        rc = find_named(call, in->capacity_provider, &key);
    }
    if (rc != 0) {
        return rc;
    }
    const struct ecs_record_capacity_provider *record =
        core_get(call->core, &ecs_provider_kind, key);
    for (int64_t cluster = core_next(call->core, &ecs_cluster_kind, 0); cluster != 0;
         cluster = core_next(call->core, &ecs_cluster_kind, cluster)) {
        const struct ecs_record_cluster *user = core_get(call->core, &ecs_cluster_kind, cluster);
        if (user->realm == record->realm && text_is(user->status, "ACTIVE") &&
            text_list_has(&user->capacity_providers, record->name)) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "The capacity provider cannot be deleted because it is associated "
                              "with cluster: %.*s. Remove the capacity provider from the cluster "
                              "and try again.",
                              TEXT_FMT(user->name));
        }
    }
    out->capacity_provider = ARENA_NEW(call->arena, struct ecs_capacity_provider);
    ecs_provider_show(call, record, true, out->capacity_provider);
    out->capacity_provider->status = ECS_CAPACITY_PROVIDER_STATUS_INACTIVE;
    out->capacity_provider->update_status = ECS_CAPACITY_PROVIDER_UPDATE_STATUS_DELETE_COMPLETE;
    core_delete(call, &ecs_provider_kind, key);
    task_provider_changed(call, key);
    return 0;
}
