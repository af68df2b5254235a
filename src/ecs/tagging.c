#include "ecs/ecs_internal.h"

#include "base/text.h"
#include "ecs/service.h"
#include "ecs/task.h"

/*
 * TagResource, UntagResource, ListTagsForResource: the tags of anything that has an ARN and tags.
 * What has ended keeps its tags but cannot change them any more.
 */

enum tagging_kind {
    TAGGING_CLUSTER,
    TAGGING_DEFINITION,
    TAGGING_TASK,
    TAGGING_SERVICE,
    TAGGING_TASK_SET,
    TAGGING_PROVIDER,
};

/** A resource that was found, and its tags. */
struct tagging_target {
    enum tagging_kind kind;
    int64_t key;             ///< of a cluster, definition, service, task set or capacity provider
    struct task_tagged task; ///< a task or a container instance
    const struct ecs_tag *tags;
    size_t count;
};

// ---- finding ------------------------------------------------------------------------------

static int invalid(struct core_call *call, const char *message)
{
    return core_fault(call, &ecs_error_invalid_parameter_exception, "%s", message);
}

/** ListTagsForResource does not know ResourceNotFoundException. */
static int missing(struct core_call *call, const char *what, bool change)
{
    return core_fault(call,
                      change ? &ecs_error_resource_not_found_exception
                             : &ecs_error_invalid_parameter_exception,
                      "The specified %s was not found. Verify the ARN and try again.", what);
}

static int find_cluster(struct core_call *call, struct text name, struct tagging_target *target)
{
    target->kind = TAGGING_CLUSTER;
    target->key = ecs_cluster_lookup(call->core, ecs_caller_realm(call), name);
    if (target->key == 0) {
        return core_fault(call, &ecs_error_cluster_not_found_exception, "Cluster not found.");
    }
    const struct ecs_record_cluster *record = core_get(call->core, &ecs_cluster_kind, target->key);
    if (!text_is(record->status, "ACTIVE")) {
        return invalid(call, "The specified cluster is inactive. Specify an active cluster and try "
                             "again.");
    }
    target->tags = record->tags.items;
    target->count = record->tags.count;
    return 0;
}

static int find_definition(struct core_call *call, struct text path, bool change,
                           struct tagging_target *target)
{
    struct text rest = path;
    struct text family = text_cut(&rest, ':');
    int64_t revision = 0;
    if (text_empty(rest) || text_to_i64(rest, &revision) != 0) {
        return invalid(call, "The ARN of a task definition must hold its revision.");
    }
    target->kind = TAGGING_DEFINITION;
    target->key = ecs_definition_lookup(
        call->core, ecs_family_lookup(call->core, ecs_caller_realm(call), family), revision);
    if (target->key == 0) {
        return missing(call, "task definition", change);
    }
    const struct ecs_record_definition *record = ecs_definition_record(call->core, target->key);
    if (change && !text_is(record->status, "ACTIVE")) {
        return invalid(call, "The specified task definition is inactive. Specify an active task "
                             "definition and try again.");
    }
    target->tags = record->tags.items;
    target->count = record->tags.count;
    return 0;
}

/** A task or a container instance of a cluster. */
static int find_task(struct core_call *call, struct text path, bool instance, bool change,
                     struct tagging_target *target)
{
    const char *what = instance ? "container instance" : "task";
    struct text id = path;
    struct text cluster_name = text_cut(&id, '/');
    if (text_empty(id)) {
        return invalid(call, "Long arn format must be used for tagging operations");
    }
    int64_t cluster = ecs_cluster_lookup(call->core, ecs_caller_realm(call), cluster_name);
    if (cluster == 0) {
        return core_fault(call, &ecs_error_cluster_not_found_exception, "Cluster not found.");
    }
    target->kind = TAGGING_TASK;
    if (!task_tagged_find(call->core, cluster, instance, id, &target->task)) {
        return missing(call, what, change);
    }
    if (change && target->task.ended) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "The specified %s is %s. Specify %s and try again.", what,
                          instance ? "inactive" : "stopped",
                          instance ? "an active container instance" : "a running task");
    }
    target->tags = target->task.tags;
    target->count = target->task.count;
    return 0;
}

static int find_service(struct core_call *call, struct text path, bool change,
                        struct tagging_target *target)
{
    struct text name = path;
    struct text cluster_name = text_cut(&name, '/');
    if (text_empty(name)) {
        return invalid(call, "Long arn format must be used for tagging operations");
    }
    int64_t cluster = ecs_cluster_lookup(call->core, ecs_caller_realm(call), cluster_name);
    if (cluster == 0) {
        return core_fault(call, &ecs_error_cluster_not_found_exception, "Cluster not found.");
    }
    target->kind = TAGGING_SERVICE;
    target->key = service_find(call->core, cluster, name);
    if (target->key == 0) {
        return missing(call, "service", change);
    }
    const struct service_record_service *record = core_get(call->core, &service_kind, target->key);
    target->tags = record->tags.items;
    target->count = record->tags.count;
    return 0;
}

static int find_task_set(struct core_call *call, struct text arn, struct text path, bool change,
                         struct tagging_target *target)
{
    struct text rest = path;
    struct text cluster_name = text_cut(&rest, '/');
    struct text service_name = text_cut(&rest, '/');
    int64_t cluster = ecs_cluster_lookup(call->core, ecs_caller_realm(call), cluster_name);
    if (cluster == 0) {
        return core_fault(call, &ecs_error_cluster_not_found_exception, "Cluster not found.");
    }
    int64_t service = service_find(call->core, cluster, service_name);
    target->kind = TAGGING_TASK_SET;
    target->key = service == 0 ? 0 : service_task_set_find(call, service, arn);
    if (target->key == 0) {
        return missing(call, "task set", change);
    }
    const struct service_record_deployment *record =
        core_get(call->core, &service_deployment_kind, target->key);
    target->tags = record->tags.items;
    target->count = record->tags.count;
    return 0;
}

// The predefined ones are nobody's: they have no tags, and cannot have any.
static int find_provider(struct core_call *call, struct text name, bool change,
                         struct tagging_target *target)
{
    if (ecs_provider_predefined(name)) {
        return invalid(call, "The capacity providers FARGATE and FARGATE_SPOT cannot be tagged.");
    }
    int64_t realm = ecs_caller_realm(call);
    target->kind = TAGGING_PROVIDER;
    target->key = realm == 0 ? 0 : ecs_provider_find(call->core, realm, name);
    if (target->key == 0) {
        return missing(call, "capacity provider", change);
    }
    const struct ecs_record_capacity_provider *record =
        core_get(call->core, &ecs_provider_kind, target->key);
    target->tags = record->tags.items;
    target->count = record->tags.count;
    return 0;
}

/** Find what an ARN names; change says whether its tags are to be changed. */
static int find_target(struct core_call *call, struct text resource_arn, bool change,
                       struct tagging_target *target)
{
    struct ecs_arn arn;
    *target = (struct tagging_target){0};
    if (text_empty(resource_arn)) {
        return invalid(call, "resourceArn can not be blank.");
    }
    if (!ecs_arn_parse(resource_arn, &arn)) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "Invalid resource ARN: %.*s", TEXT_FMT(text_slice(resource_arn, 0, 500)));
    }
    if (!text_equal(arn.region, call->caller->region) ||
        !text_equal(arn.account, call->caller->account)) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "The resource ARN is of another account or Region: %.*s",
                          TEXT_FMT(text_slice(resource_arn, 0, 500)));
    }
    if (text_is(arn.type, "cluster")) {
        return find_cluster(call, arn.path, target);
    }
    if (text_is(arn.type, "task-definition")) {
        return find_definition(call, arn.path, change, target);
    }
    if (text_is(arn.type, "task") || text_is(arn.type, "container-instance")) {
        return find_task(call, arn.path, text_is(arn.type, "container-instance"), change, target);
    }
    if (text_is(arn.type, "service")) {
        return find_service(call, arn.path, change, target);
    }
    if (text_is(arn.type, "task-set")) {
        return find_task_set(call, resource_arn, arn.path, change, target);
    }
    if (text_is(arn.type, "capacity-provider")) {
        return find_provider(call, arn.path, change, target);
    }
    return core_fault(call, &ecs_error_invalid_parameter_exception,
                      "Resources of the type %.*s cannot be tagged.",
                      TEXT_FMT(text_slice(arn.type, 0, 100)));
}

// ---- changing -----------------------------------------------------------------------------

static void put_tags(struct core_call *call, const struct tagging_target *target,
                     struct ecs_tag *tags, size_t count)
{
    switch (target->kind) {
    case TAGGING_CLUSTER: {
        struct ecs_record_cluster *record = core_edit(call, &ecs_cluster_kind, target->key);
        record->tags.items = tags;
        record->tags.count = count;
        core_put(call, &ecs_cluster_kind, target->key, record);
        return;
    }
    case TAGGING_DEFINITION: {
        struct ecs_record_definition *record = core_edit(call, &ecs_definition_kind, target->key);
        record->tags.items = tags;
        record->tags.count = count;
        core_put(call, &ecs_definition_kind, target->key, record);
        return;
    }
    case TAGGING_SERVICE: {
        struct service_record_service *record = core_edit(call, &service_kind, target->key);
        record->tags.items = tags;
        record->tags.count = count;
        core_put(call, &service_kind, target->key, record);
        return;
    }
    case TAGGING_TASK_SET: {
        struct service_record_deployment *record =
            core_edit(call, &service_deployment_kind, target->key);
        record->tags.items = tags;
        record->tags.count = count;
        core_put(call, &service_deployment_kind, target->key, record);
        return;
    }
    case TAGGING_PROVIDER: {
        struct ecs_record_capacity_provider *record =
            core_edit(call, &ecs_provider_kind, target->key);
        record->tags.items = tags;
        record->tags.count = count;
        core_put(call, &ecs_provider_kind, target->key, record);
        return;
    }
    case TAGGING_TASK:
        task_tagged_put(call, &target->task, tags, count);
        return;
    }
}

/** @return the place of a key among tags, or count */
static size_t find_tag(const struct ecs_tag *tags, size_t count, struct text key)
{
    size_t at = 0;
    while (at < count && !text_equal(tags[at].key, key)) {
        at++;
    }
    return at;
}

int ecs_tag_resource(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    (void)response;
    const struct ecs_tag_resource_request *in = request;
    struct tagging_target target;
    int rc = find_target(call, in->resource_arn, true, &target);
    if (rc == 0 && in->tags.count == 0) {
        rc = invalid(call, "Tags can not be empty.");
    }
    if (rc == 0) {
        rc = ecs_tags_check(call, in->tags.items, in->tags.count);
    }
    if (rc != 0) {
        return rc;
    }
    struct ecs_tag *tags = arena_array(call->arena, target.count + in->tags.count, sizeof(*tags));
    size_t count = 0;
    for (size_t i = 0; i < target.count; i++) {
        tags[count] = target.tags[i];
        count++;
    }
    for (size_t i = 0; i < in->tags.count; i++) {
        size_t at = find_tag(tags, count, in->tags.items[i].key);
        tags[at] = in->tags.items[i];
        count = MAX(count, at + 1);
    }
    size_t own = 0;
    for (size_t i = 0; i < count; i++) {
        own += ecs_tag_reserved(tags[i].key) ? 0 : 1;
    }
    if (own > ECS_TAGS_MAX) {
        return core_fault(call, &ecs_error_limit_exceeded_exception,
                          "The maximum number of tags is %d.", ECS_TAGS_MAX);
    }
    put_tags(call, &target, tags, count);
    return 0;
}

static int check_keys(struct core_call *call, const struct text_list *keys)
{
    if (keys->count == 0) {
        return invalid(call, "Tag keys cannot be empty.");
    }
    for (size_t i = 0; i < keys->count; i++) {
        if (ecs_tag_reserved(keys->items[i])) {
            return core_fault(call, &ecs_error_invalid_parameter_exception,
                              "Tag keys that begin with 'aws:' are reserved. Key: %.*s",
                              TEXT_FMT(text_slice(keys->items[i], 0, 200)));
        }
    }
    return 0;
}

int ecs_untag_resource(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    (void)response;
    const struct ecs_untag_resource_request *in = request;
    struct tagging_target target;
    int rc = find_target(call, in->resource_arn, true, &target);
    if (rc == 0) {
        rc = check_keys(call, &in->tag_keys);
    }
    if (rc != 0) {
        return rc;
    }
    struct ecs_tag *tags = arena_array(call->arena, target.count + 1, sizeof(*tags));
    size_t count = 0;
    for (size_t i = 0; i < target.count; i++) {
        bool goes = false;
        for (size_t j = 0; j < in->tag_keys.count; j++) {
            goes = goes || text_equal(in->tag_keys.items[j], target.tags[i].key);
        }
        if (!goes) {
            tags[count] = target.tags[i];
            count++;
        }
    }
    if (count < target.count) {
        put_tags(call, &target, tags, count);
    }
    return 0;
}

int ecs_list_tags_for_resource(struct core_call *call, void *state, const void *request,
                               void *response)
{
    (void)state;
    const struct ecs_list_tags_for_resource_request *in = request;
    struct ecs_list_tags_for_resource_response *out = response;
    struct tagging_target target;
    int rc = find_target(call, in->resource_arn, false, &target);
    if (rc != 0) {
        return rc;
    }
    out->tags.items = arena_array(call->arena, target.count + 1, sizeof(*out->tags.items));
    for (size_t i = 0; i < target.count; i++) {
        out->tags.items[i] = target.tags[i];
    }
    out->tags.count = target.count;
    return 0;
}
