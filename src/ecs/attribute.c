#include "ecs/page.h"
#include "ecs/task_internal.h"

#include <string.h>

/*
 * PutAttributes, DeleteAttributes, ListAttributes: what people say of container instances. Those of
 * ECS itself are the agent's to tell and only listed.
 */

#define CALL_MAX 10        ///< ECS: attributes of one call
#define CUSTOM_MAX 10      ///< ECS: of an instance, besides ECS's own
#define NAME_MAX_CHARS 128 ///< ECS
#define TOKEN_NODE_BYTES 8

static int refuse(struct core_call *call, const char *message)
{
    return core_fault(call, &ecs_error_invalid_parameter_exception, "%s", message);
}

// ---- names and values ---------------------------------------------------------------------

bool task_attribute_own(struct text name)
{
    return text_starts(name, TEXT("ecs.")) || text_starts(name, TEXT("com.amazonaws.ecs.")) ||
           text_starts(name, TEXT("berth."));
}

static int check_name(struct core_call *call, struct text name)
{
    if (name.size < 1 || name.size > NAME_MAX_CHARS || !text_made_of(name, "-_/\\.")) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "Attribute name '%.*s' is not valid: it has 1 to %d letters, numbers and "
                          "-_/\\.",
                          TEXT_FMT(text_slice(name, 0, 200)), NAME_MAX_CHARS);
    }
    if (task_attribute_own(name)) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "Attribute name '%.*s' is reserved.", TEXT_FMT(name));
    }
    return 0;
}

static int check_value(struct core_call *call, const struct ecs_attribute *attribute)
{
    struct text value = attribute->value;
    bool edge = value.size > 0 && (value.data[0] == ' ' || value.data[value.size - 1] == ' ');
    if (value.size > NAME_MAX_CHARS || edge || !text_made_of(value, "-_/\\.@: ")) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "Value of the attribute '%.*s' is not valid: it has up to %d letters, "
                          "numbers, -_/\\.@: and spaces inside.",
                          TEXT_FMT(attribute->name), NAME_MAX_CHARS);
    }
    return 0;
}

// ---- targets ------------------------------------------------------------------------------

/** What an attribute of a request is about. */
struct target {
    struct task_node *node;
    size_t index; ///< of the membership
};

static int find_target(struct core_call *call, int64_t cluster,
                       const struct ecs_attribute *attribute, struct target *out_target)
{
    struct target target = {0};
    if (text_empty(attribute->target_id)) {
        return refuse(call, "Target id can not be blank.");
    }
    if (attribute->target_type == ECS_TARGET_TYPE_ABSENT &&
        !text_starts(attribute->target_id, TEXT("arn:"))) {
        return refuse(call, "Target type must be specified when the target id is no ARN.");
    }
    target.node = task_instance_find(call->core, cluster, attribute->target_id, &target.index);
    if (target.node != NULL) {
        const struct task_record_node *record =
            core_get(call->core, &task_node_kind, target.node->key);
        if (record->memberships.items[target.index].deregistered_at != 0) {
            target.node = NULL;
        }
    }
    if (target.node == NULL) {
        return core_fault(call, &ecs_error_target_not_found_exception, "Could not find %.*s",
                          TEXT_FMT(text_slice(attribute->target_id, 0, 300)));
    }
    *out_target = target;
    return 0;
}

/** Check what Put and Delete have in common and find all targets. */
static int read_attributes(struct core_call *call, struct text cluster_reference,
                           const struct ecs_attribute *items, size_t count,
                           struct target *out_targets)
{
    int64_t cluster = 0;
    int rc = ecs_batch_open(call, cluster_reference, count, &cluster);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = check_name(call, items[i].name);
        if (rc == 0) {
            rc = find_target(call, cluster, &items[i], &out_targets[i]);
        }
    }
    return rc;
}

static const struct task_record_membership *membership(const struct core *core,
                                                       const struct target *target)
{
    const struct task_record_node *record = core_get(core, &task_node_kind, target->node->key);
    ASSERT(target->index < record->memberships.count);
    return &record->memberships.items[target->index];
}

/** @return the place of a name among attributes, or count */
static size_t find_name(const struct ecs_attribute *items, size_t count, struct text name)
{
    size_t at = 0;
    while (at < count && !text_equal(items[at].name, name)) {
        at++;
    }
    return at;
}

static void put_membership(struct core_call *call, const struct target *target,
                           struct ecs_attribute *items, size_t count)
{
    struct task_record_node *record = core_edit(call, &task_node_kind, target->node->key);
    struct task_record_membership *all =
        arena_array(call->arena, record->memberships.count, sizeof(*all));
    memcpy(all, record->memberships.items, record->memberships.count * sizeof(*all));
    all[target->index].attributes.items = items;
    all[target->index].attributes.count = count;
    all[target->index].version++;
    record->memberships.items = all;
    core_put(call, &task_node_kind, target->node->key, record);
    service_node_changed(call, target->node->key); // constraints may mean it now, or no more
}

/** An attribute as the API shows it: the target is named by its ARN. */
static struct ecs_attribute shown(struct core_call *call, const struct target *target,
                                  struct text name, struct text value)
{
    const struct task_record_node *record =
        core_get(call->core, &task_node_kind, target->node->key);
    return (struct ecs_attribute){
        .name = name,
        .value = value,
        .target_id = task_instance_arn(call, record, &record->memberships.items[target->index]),
    };
}

// ---- PutAttributes ------------------------------------------------------------------------

/** An attribute's value as stored: what has none is a name alone. */
static struct ecs_attribute plain(const struct ecs_attribute *attribute)
{
    return (struct ecs_attribute){.name = attribute->name, .value = attribute->value};
}

/** @return the attributes of the membership after those of the request up to count were put */
static struct ecs_attribute *merged(struct core_call *call, const struct target *targets,
                                    const struct ecs_attribute *items, size_t at, size_t until,
                                    size_t *out_count)
{
    const struct task_record_membership *old = membership(call->core, &targets[at]);
    size_t count = old->attributes.count;
    struct ecs_attribute *all = arena_array(call->arena, count + CALL_MAX, sizeof(*all));
    if (count > 0) {
        memcpy(all, old->attributes.items, count * sizeof(*all));
    }
    for (size_t i = 0; i < until; i++) {
        if (targets[i].node == targets[at].node && targets[i].index == targets[at].index) {
            size_t place = find_name(all, count, items[i].name);
            all[place] = plain(&items[i]);
            count = MAX(count, place + 1);
        }
    }
    *out_count = count;
    return all;
}

static int check_limit(struct core_call *call, const struct ecs_attribute *items, size_t count)
{
    size_t custom = 0;
    for (size_t i = 0; i < count; i++) {
        custom += task_attribute_own(items[i].name) ? 0 : 1;
    }
    if (custom > CUSTOM_MAX) {
        return core_fault(call, &ecs_error_attribute_limit_exceeded_exception,
                          "A container instance can have at most %d custom attributes.",
                          CUSTOM_MAX);
    }
    return 0;
}

int task_put_attributes(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct ecs_put_attributes_request *in = request;
    struct ecs_put_attributes_response *out = response;
    struct target targets[CALL_MAX];
    const struct ecs_attribute *items = in->attributes.items;
    size_t count = in->attributes.count;
    int rc = read_attributes(call, in->cluster, items, count, targets);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = check_value(call, &items[i]);
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        size_t total = 0;
        const struct ecs_attribute *all = merged(call, targets, items, i, count, &total);
        rc = check_limit(call, all, total);
    }
    if (rc != 0) {
        return rc;
    }
    out->attributes.items = arena_array(call->arena, count, sizeof(*out->attributes.items));
    for (size_t i = 0; i < count; i++) {
        // Put once for each target: with the last attribute that is about it all are merged.
        bool last = true;
        for (size_t j = i + 1; j < count; j++) {
            last = last &&
                   (targets[j].node != targets[i].node || targets[j].index != targets[i].index);
        }
        if (last) {
            size_t total = 0;
            struct ecs_attribute *all = merged(call, targets, items, i, count, &total);
            put_membership(call, &targets[i], all, total);
        }
        out->attributes.items[i] = shown(call, &targets[i], items[i].name, items[i].value);
    }
    out->attributes.count = count;
    return 0;
}

// ---- DeleteAttributes ---------------------------------------------------------------------

int task_delete_attributes(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct ecs_delete_attributes_request *in = request;
    struct ecs_delete_attributes_response *out = response;
    struct target targets[CALL_MAX];
    const struct ecs_attribute *items = in->attributes.items;
    size_t count = in->attributes.count;
    int rc = read_attributes(call, in->cluster, items, count, targets);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (items[i].value.data != NULL) {
            rc = refuse(call, "Attributes to delete are named without a value.");
        }
    }
    if (rc != 0) {
        return rc;
    }
    out->attributes.items = arena_array(call->arena, count, sizeof(*out->attributes.items));
    for (size_t i = 0; i < count; i++) {
        const struct task_record_membership *old = membership(call->core, &targets[i]);
        size_t total = old->attributes.count;
        size_t at = find_name(old->attributes.items, total, items[i].name);
        if (at == total) {
            continue; // it is gone already
        }
        struct text value = old->attributes.items[at].value;
        struct ecs_attribute *rest = arena_array(call->arena, total, sizeof(*rest));
        memcpy(rest, old->attributes.items, total * sizeof(*rest));
        memmove(&rest[at], &rest[at + 1], (total - at - 1) * sizeof(*rest));
        put_membership(call, &targets[i], rest, total - 1);
        out->attributes.items[out->attributes.count] =
            shown(call, &targets[i], items[i].name, value);
        out->attributes.count++;
    }
    return 0;
}

// ---- ListAttributes -----------------------------------------------------------------------

/** Where a page begins: behind a name of a node. */
struct place_after {
    int64_t node;
    struct text name;
};

static int read_token(struct core_call *call, struct text entry, struct place_after *out_after)
{
    if (entry.data == NULL) {
        *out_after = (struct place_after){0};
        return 0;
    }
    if (entry.size <= TOKEN_NODE_BYTES) {
        return ecs_page_refuse(call);
    }
    uint64_t node = 0;
    for (size_t i = 0; i < TOKEN_NODE_BYTES; i++) {
        node = (node << 8) | (unsigned char)entry.data[i];
    }
    out_after->node = (int64_t)node;
    out_after->name = text_slice(entry, TOKEN_NODE_BYTES, entry.size);
    return 0;
}

static struct text write_token(struct core_call *call, int64_t node, struct text name)
{
    char *bytes = arena_alloc(call->arena, TOKEN_NODE_BYTES + name.size);
    for (size_t i = 0; i < TOKEN_NODE_BYTES; i++) {
        bytes[i] = (char)(unsigned char)((uint64_t)node >> (56 - 8 * i));
    }
    memcpy(bytes + TOKEN_NODE_BYTES, name.data, name.size);
    return ecs_page_token(call, (struct text){bytes, TOKEN_NODE_BYTES + name.size});
}

static bool matches(const struct ecs_list_attributes_request *in,
                    const struct ecs_attribute *attribute)
{
    return (text_empty(in->attribute_name) || text_equal(in->attribute_name, attribute->name)) &&
           (in->attribute_value.data == NULL || text_equal(in->attribute_value, attribute->value));
}

/** @return the attribute that matches with the least name behind another, or NULL */
static const struct ecs_attribute *next_match(const struct ecs_list_attributes_request *in,
                                              const struct task_record_membership *of,
                                              struct text after)
{
    const struct ecs_attribute *found = NULL;
    for (size_t i = 0; i < of->attributes.count; i++) {
        const struct ecs_attribute *attribute = &of->attributes.items[i];
        if (matches(in, attribute) && text_compare(attribute->name, after) > 0 &&
            (found == NULL || text_compare(attribute->name, found->name) < 0)) {
            found = attribute;
        }
    }
    return found;
}

/** Add what a node has to a page, in the order of names. @return false when the page is full */
static bool list_node(struct core_call *call, const struct ecs_list_attributes_request *in,
                      const struct target *target, struct text after, size_t page_size,
                      struct ecs_list_attributes_response *out, struct place_after *last)
{
    const struct task_record_membership *of = membership(call->core, target);
    for (const struct ecs_attribute *next = next_match(in, of, after); next != NULL;
         next = next_match(in, of, next->name)) {
        if (out->attributes.count == page_size) {
            return false;
        }
        out->attributes.items[out->attributes.count] = shown(call, target, next->name, next->value);
        out->attributes.count++;
        *last = (struct place_after){.node = target->node->key, .name = next->name};
    }
    return true;
}

int task_list_attributes(struct core_call *call, void *pointer, const void *request, void *response)
{
    const struct task_state *state = pointer;
    const struct ecs_list_attributes_request *in = request;
    struct ecs_list_attributes_response *out = response;
    int64_t cluster = 0;
    int rc = ecs_cluster_resolve(call, in->cluster, &cluster);
    if (rc == 0 && in->attribute_value.data != NULL && text_empty(in->attribute_name)) {
        rc = refuse(call, "You must specify an attribute name to filter by value.");
    }
    struct ecs_page page = {0};
    if (rc == 0) {
        rc = ecs_page_open(call, in->next_token, in->has_max_results, in->max_results, &page);
    }
    struct place_after after = {0};
    if (rc == 0) {
        rc = read_token(call, page.after, &after);
    }
    if (rc != 0) {
        return rc;
    }
    out->attributes.items = arena_array(call->arena, page.size, sizeof(*out->attributes.items));
    struct place_after last = {0};
    for (size_t i = 0; i < state->node_count; i++) {
        struct target target = {.node = state->nodes[i]};
        if (target.node->key < after.node || target.node->removed) {
            continue;
        }
        const struct task_record_node *record =
            core_get(call->core, &task_node_kind, target.node->key);
        target.index = task_instance_in(record, cluster);
        if (target.index == SIZE_MAX) {
            continue;
        }
        struct text behind = target.node->key == after.node ? after.name : (struct text){0};
        if (!list_node(call, in, &target, behind, page.size, out, &last)) {
            out->next_token = write_token(call, last.node, last.name);
            break;
        }
    }
    return 0;
}
