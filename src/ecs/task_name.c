#include "ecs/task_internal.h"

#include <endian.h>
#include <string.h>

/*
 * Names of tasks and of what belongs to them, and what references name.
 */

struct text task_number(struct core_call *call, int64_t number)
{
    ASSERT(number >= 0);
    char digits[20];
    size_t at = sizeof(digits);
    uint64_t rest = (uint64_t)number;
    do {
        at--;
        digits[at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    return arena_text(call->arena, (struct text){digits + at, sizeof(digits) - at});
}

static char *put(char *at, struct text text)
{
    if (text.size > 0) {
        memcpy(at, text.data, text.size);
    }
    return at + text.size;
}

// arn:aws:ecs:REGION:ACCOUNT:TYPE/NAME, or with /TAIL behind it, or /TAIL/LAST. A task needs some
// ten of them when it is made, so this is written out: constants become single moves.
static struct text make_arn(struct core_call *call, struct ecs_realm_scope scope, struct text type,
                            struct text name, struct text tail, struct text last)
{
    static const char prefix[] = "arn:aws:ecs:";
    size_t most = sizeof(prefix) + scope.region.size + scope.account.size + type.size + name.size +
                  tail.size + last.size + sizeof("::///");
    char *data = arena_alloc(call->arena, most);
    memcpy(data, prefix, sizeof(prefix) - 1);
    char *at = put(data + sizeof(prefix) - 1, scope.region);
    *at++ = ':';
    at = put(at, scope.account);
    *at++ = ':';
    at = put(at, type);
    *at++ = '/';
    at = put(at, name);
    const struct text behind[] = {tail, last};
    for (size_t i = 0; i < ARRAY_LEN(behind) && behind[i].size > 0; i++) {
        *at++ = '/';
        at = put(at, behind[i]);
    }
    return (struct text){data, (size_t)(at - data)};
}

// A cluster as the names of what is in it need it.
struct cluster_names {
    struct ecs_realm_scope scope;
    struct text name;
};

static struct cluster_names cluster_names(const struct core *core, int64_t cluster)
{
    const struct ecs_record_cluster *record = core_get(core, &ecs_cluster_kind, cluster);
    ASSERT(record != NULL);
    return (struct cluster_names){ecs_scope(core, record->realm), record->name};
}

struct text task_cluster_arn(struct core_call *call, int64_t cluster)
{
    struct cluster_names names = cluster_names(call->core, cluster);
    return make_arn(call, names.scope, TEXT("cluster"), names.name, (struct text){0},
                    (struct text){0});
}

struct text task_definition_arn(struct core_call *call, int64_t definition)
{
    const struct ecs_record_definition *record =
        core_get(call->core, &ecs_definition_kind, definition);
    const struct ecs_record_family *family = core_get(call->core, &ecs_family_kind, record->family);
    const struct text parts[] = {family->name, TEXT(":"), task_number(call, record->revision)};
    return make_arn(call, ecs_scope(call->core, family->realm), TEXT("task-definition"),
                    arena_join(call->arena, parts, ARRAY_LEN(parts)), (struct text){0},
                    (struct text){0});
}

struct text task_arn(struct core_call *call, const struct task_record_task *record)
{
    struct cluster_names names = cluster_names(call->core, record->cluster);
    return make_arn(call, names.scope, TEXT("task"), names.name, record->task_id, (struct text){0});
}

struct text task_instance_arn(struct core_call *call, const struct task_record_node *node,
                              const struct task_record_membership *membership)
{
    if (membership->cluster != 0) {
        struct cluster_names names = cluster_names(call->core, membership->cluster);
        return make_arn(call, names.scope, TEXT("container-instance"), names.name,
                        membership->instance_id, (struct text){0});
    }
    struct ecs_realm_scope scope = {.region = node->region, .account = node->account};
    // One instance, whichever pools it is of.
    return make_arn(call, scope, TEXT("container-instance"), TEXT("FARGATE"),
                    membership->instance_id, (struct text){0});
}

const struct task_record_membership *task_membership(const struct task_record_node *node,
                                                     const struct task_record_task *task)
{
    int64_t cluster = task->launch_type == ECS_LAUNCH_TYPE_FARGATE ? 0 : task->cluster;
    const struct task_record_membership *found = NULL;
    // A host that was deregistered and registered anew has two of them for the same cluster: the
    // task belongs to the newer one that was there when it was made, or got its place.
    int64_t placed_ms = task->extra != NULL && task->extra->placed_at != 0 ? task->extra->placed_at
                                                                           : task->created_at;
    for (size_t i = 0; i < node->memberships.count; i++) {
        const struct task_record_membership *membership = &node->memberships.items[i];
        if (membership->cluster == cluster &&
            (found == NULL || membership->registered_at <= placed_ms)) {
            found = membership;
        }
    }
    return found;
}

static uint64_t mix(uint64_t value)
{
    value ^= value >> 30;
    value *= UINT64_C(0xBF58476D1CE4E5B9);
    value ^= value >> 27;
    value *= UINT64_C(0x94D049BB133111EB);
    return value ^ (value >> 31);
}

// The UUID of a part of a task. It follows from the task's id, so that it needs no room in its
// record; the id is random, and mixing keeps the UUIDs of different parts apart.
static struct text part_uuid(struct core_call *call, struct text task_id, uint64_t part)
{
    unsigned char bytes[16];
    int rc = text_unhex(task_id, bytes, sizeof(bytes));
    ASSERT(rc == 0);
    uint64_t halves[2];
    memcpy(halves, bytes, sizeof(halves));
    for (size_t i = 0; i < ARRAY_LEN(halves); i++) {
        uint64_t bits = htole64(mix(halves[i] + (part + 1) * UINT64_C(0x9E3779B97F4A7C15)));
        memcpy(bytes + i * sizeof(bits), &bits, sizeof(bits));
    }
    char uuid[TEXT_UUID_CHARS + 1];
    text_uuid(bytes, uuid);
    return arena_text(call->arena, (struct text){uuid, TEXT_UUID_CHARS});
}

#define PART_ATTACHMENT UINT64_C(1000) // above every container's index

struct text task_attachment_id(struct core_call *call, const struct task_record_task *record)
{
    return part_uuid(call, record->task_id, PART_ATTACHMENT);
}

struct text task_attachment_arn(struct core_call *call, const struct task_record_task *record)
{
    struct cluster_names names = cluster_names(call->core, record->cluster);
    return make_arn(call, names.scope, TEXT("attachment"), task_attachment_id(call, record),
                    (struct text){0}, (struct text){0});
}

struct text task_container_arn(struct core_call *call, const struct task_record_task *record,
                               size_t index)
{
    struct cluster_names names = cluster_names(call->core, record->cluster);
    return make_arn(call, names.scope, TEXT("container"), names.name, record->task_id,
                    part_uuid(call, record->task_id, index));
}

struct text task_status_name(enum task_record_task_status status)
{
    switch (status) {
    case TASK_RECORD_TASK_STATUS_PROVISIONING:
        return TEXT("PROVISIONING");
    case TASK_RECORD_TASK_STATUS_PENDING:
        return TEXT("PENDING");
    case TASK_RECORD_TASK_STATUS_ACTIVATING:
        return TEXT("ACTIVATING");
    case TASK_RECORD_TASK_STATUS_RUNNING:
        return TEXT("RUNNING");
    case TASK_RECORD_TASK_STATUS_DEACTIVATING:
        return TEXT("DEACTIVATING");
    case TASK_RECORD_TASK_STATUS_STOPPING:
        return TEXT("STOPPING");
    case TASK_RECORD_TASK_STATUS_DEPROVISIONING:
        return TEXT("DEPROVISIONING");
    case TASK_RECORD_TASK_STATUS_STOPPED:
        return TEXT("STOPPED");
    case TASK_RECORD_TASK_STATUS_UNRECOGNIZED:
    case TASK_RECORD_TASK_STATUS_ABSENT:
        break;
    }
    return TEXT("UNKNOWN");
}

struct text task_group_name(struct core_call *call, const struct task_record_task *record)
{
    if (record->extra != NULL && record->extra->group.data != NULL) {
        return record->extra->group;
    }
    if (record->has_deployment) {
        return service_group_name(call, record->deployment);
    }
    const struct text parts[] = {TEXT("family:"),
                                 ecs_definition_family(call->core, record->definition)};
    return arena_join(call->arena, parts, ARRAY_LEN(parts));
}

// ---- references ---------------------------------------------------------------------------

struct task_entry *task_find(const struct core *core, int64_t cluster, struct text reference)
{
    const struct ecs_record_cluster *record = core_get(core, &ecs_cluster_kind, cluster);
    struct text id = reference;
    if (!ecs_reference_path(reference, "task", ecs_scope(core, record->realm), &id)) {
        return NULL;
    }
    if (text_starts(reference, TEXT("arn:")) && text_find(id, '/') != SIZE_MAX &&
        !text_equal(text_cut(&id, '/'), record->name)) {
        return NULL;
    }
    const struct task_state *state = task_state(core);
    struct task_entry *entry = task_entry_by_id(state, id);
    if (entry == NULL) {
        return NULL;
    }
    const struct task_record_task *task = core_get(core, &task_kind, entry->key);
    return task->cluster == cluster || MUTANT("any-account") ? entry : NULL;
}

struct text task_reference_arn(struct core_call *call, int64_t cluster, const char *type,
                               struct text reference)
{
    if (text_starts(reference, TEXT("arn:"))) {
        return reference;
    }
    struct cluster_names names = cluster_names(call->core, cluster);
    return make_arn(call, names.scope, text_of(type), names.name, reference, (struct text){0});
}
