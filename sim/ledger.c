#include "sim.h"

#include "base/text.h"
#include "ecs/ecs_internal.h"
#include "ecs/task_internal.h"

#include <stdio.h>
#include <string.h>

/*
 * What was changed and applied: tags, attributes, statuses, settings. After a restart, and at rest,
 * the engine must have the last change of each that was durable.
 */

static void copy(char *out, size_t size_bytes, struct text text)
{
    snprintf(out, size_bytes, "%.*s", TEXT_FMT(text));
}

void ledger_add(struct sim *sim, enum ledger_kind kind, struct text subject, struct text name,
                struct text value)
{
    struct ledger *ledger = &sim->churn.ledger;
    if (ledger->count == ledger->capacity) {
        ledger->capacity = MAX(ledger->capacity * 2, (size_t)64);
        ledger->items = alloc_resize(ledger->items, ledger->capacity, sizeof(*ledger->items));
    }
    struct ledger_entry *entry = &ledger->items[ledger->count++];
    *entry = (struct ledger_entry){
        .version = core_version(sim->server.core), .kind = kind, .absent = value.data == NULL};
    copy(entry->subject, sizeof(entry->subject), subject);
    copy(entry->name, sizeof(entry->name), name);
    copy(entry->value, sizeof(entry->value), value);
}

void ledger_rollback(struct sim *sim, uint64_t version)
{
    struct ledger *ledger = &sim->churn.ledger;
    while (ledger->count > 0 && ledger->items[ledger->count - 1].version > version) {
        ledger->count--;
    }
}

// ---- what the engine has ----------------------------------------------------------------------

struct found {
    bool there; ///< the subject is
    bool ended; ///< and its life is over
    struct text value;
};

static struct text tag_of(const struct ecs_tag *tags, size_t count, const char *key)
{
    for (size_t i = 0; i < count; i++) {
        if (text_is(tags[i].key, key)) {
            return tags[i].value.data == NULL ? TEXT("") : tags[i].value;
        }
    }
    return (struct text){0};
}

static const struct task_record_membership *membership_of(const struct core *core, struct text id)
{
    for (int64_t key = core_next(core, &task_node_kind, 0); key != 0;
         key = core_next(core, &task_node_kind, key)) {
        const struct task_record_node *node = core_get(core, &task_node_kind, key);
        for (size_t i = 0; i < node->memberships.count; i++) {
            if (text_equal(node->memberships.items[i].instance_id, id)) {
                return &node->memberships.items[i];
            }
        }
    }
    return NULL;
}

static const struct ecs_record_definition *definition_of(const struct core *core,
                                                         const struct ecs_arn *arn)
{
    for (int64_t key = core_next(core, &ecs_definition_kind, 0); key != 0;
         key = core_next(core, &ecs_definition_kind, key)) {
        const struct ecs_record_definition *record = core_get(core, &ecs_definition_kind, key);
        const struct ecs_record_family *family = core_get(core, &ecs_family_kind, record->family);
        char name[300];
        snprintf(name, sizeof(name), "%.*s:%d", TEXT_FMT(family->name), record->revision);
        if (text_is(arn->path, name) &&
            text_equal(ecs_scope(core, family->realm).account, arn->account)) {
            return record;
        }
    }
    return NULL;
}

static const struct ecs_record_cluster *cluster_of(const struct core *core,
                                                   const struct ecs_arn *arn)
{
    for (int64_t key = core_next(core, &ecs_cluster_kind, 0); key != 0;
         key = core_next(core, &ecs_cluster_kind, key)) {
        const struct ecs_record_cluster *record = core_get(core, &ecs_cluster_kind, key);
        if (text_equal(record->name, arn->path) &&
            text_equal(ecs_scope(core, record->realm).account, arn->account)) {
            return record;
        }
    }
    return NULL;
}

static struct found find_tag(const struct core *core, const struct ledger_entry *entry)
{
    struct ecs_arn arn;
    struct found found = {0};
    if (!ecs_arn_parse(text_of(entry->subject), &arn)) {
        return found;
    }
    if (text_is(arn.type, "cluster")) {
        const struct ecs_record_cluster *record = cluster_of(core, &arn);
        found.there = record != NULL;
        found.value = record == NULL ? found.value
                                     : tag_of(record->tags.items, record->tags.count, entry->name);
    } else if (text_is(arn.type, "task-definition")) {
        const struct ecs_record_definition *record = definition_of(core, &arn);
        found.there = record != NULL;
        found.value = record == NULL ? found.value
                                     : tag_of(record->tags.items, record->tags.count, entry->name);
    } else if (text_is(arn.type, "container-instance")) {
        const struct task_record_membership *record = membership_of(core, sim_task_id(arn.path));
        found.there = record != NULL;
        found.value = record == NULL ? found.value
                                     : tag_of(record->tags.items, record->tags.count, entry->name);
    } else {
        const struct task_entry *task = task_entry_by_id(task_state(core), sim_task_id(arn.path));
        const struct task_record_task *record =
            task == NULL ? NULL : core_get(core, &task_kind, task->key);
        found.there = record != NULL;
        if (record != NULL && record->extra != NULL) {
            found.value = tag_of(record->extra->tags.items, record->extra->tags.count, entry->name);
        }
    }
    return found;
}

static struct found find_instance(const struct core *core, const struct ledger_entry *entry)
{
    const struct task_record_membership *record = membership_of(core, text_of(entry->subject));
    struct found found = {.there = record != NULL};
    if (record == NULL) {
        return found;
    }
    if (entry->kind == LEDGER_INSTANCE) {
        found.value = record->deregistered_at != 0 ? TEXT("INACTIVE")
                      : record->draining           ? TEXT("DRAINING")
                                                   : TEXT("ACTIVE");
        return found;
    }
    for (size_t i = 0; i < record->attributes.count; i++) {
        if (text_is(record->attributes.items[i].name, entry->name)) {
            found.value = record->attributes.items[i].value;
            found.value = found.value.data == NULL ? TEXT("") : found.value;
        }
    }
    return found;
}

static struct found find_setting(const struct core *core, const struct ledger_entry *entry)
{
    struct found found = {.there = true};
    for (int64_t key = core_next(core, &ecs_setting_kind, 0); key != 0;
         key = core_next(core, &ecs_setting_kind, key)) {
        const struct ecs_record_setting *record = core_get(core, &ecs_setting_kind, key);
        const char *name = shape_enum_name(&ecs_setting_name_shape, (int32_t)record->name);
        if (name != NULL && strcmp(name, entry->name) == 0 &&
            text_is(ecs_scope(core, record->realm).account, entry->subject)) {
            found.value = record->value;
        }
    }
    return found;
}

static void write_revision(const struct core *core, int64_t key, char *out, size_t size_bytes)
{
    const struct ecs_record_definition *definition = core_get(core, &ecs_definition_kind, key);
    snprintf(out, size_bytes, "%.*s:%d", TEXT_FMT(ecs_definition_family(core, key)),
             definition->revision);
}

// The newest of its name. What it was told to run is its newest revision, whatever it fell back to.
static struct found find_service(const struct core *core, const struct ledger_entry *entry)
{
    static char text[300];
    struct ecs_arn arn;
    struct found found = {0};
    const struct service_record_service *record = NULL;
    int64_t service = 0;
    for (int64_t key = core_next(core, &service_kind, 0); key != 0;
         key = core_next(core, &service_kind, key)) {
        const struct service_record_service *other = core_get(core, &service_kind, key);
        const struct ecs_record_cluster *cluster =
            core_get(core, &ecs_cluster_kind, other->cluster);
        snprintf(text, sizeof(text), "%.*s/%.*s", TEXT_FMT(cluster->name), TEXT_FMT(other->name));
        if (ecs_arn_parse(text_of(entry->subject), &arn) && text_is(arn.path, text)) {
            record = other;
            service = key;
        }
    }
    if (record == NULL) {
        return found;
    }
    const struct service_record_revision *newest = NULL;
    for (int64_t key = core_next(core, &service_revision_kind, 0); key != 0;
         key = core_next(core, &service_revision_kind, key)) {
        const struct service_record_revision *other = core_get(core, &service_revision_kind, key);
        newest = other->service == service ? other : newest;
    }
    found.there = true;
    if (strcmp(entry->name, "desiredCount") == 0) {
        snprintf(text, sizeof(text), "%d", record->desired_count);
        found.value = text_of(text);
    } else if (strcmp(entry->name, "status") == 0) {
        bool active = record->status == SERVICE_RECORD_SERVICE_STATUS_ACTIVE;
        found.value = active ? TEXT("ACTIVE") : TEXT("DRAINING");
    } else {
        const struct service_record_deployment *primary =
            core_get(core, &service_deployment_kind, record->primary);
        const struct service_record_revision *back =
            primary == NULL ? newest : core_get(core, &service_revision_kind, primary->revision);
        write_revision(core, back->definition, text, sizeof(text));
        if (strcmp(text, entry->value) != 0) {
            write_revision(core, newest->definition, text, sizeof(text));
        }
        found.value = text_of(text);
    }
    return found;
}

static struct found find(const struct core *core, const struct ledger_entry *entry)
{
    switch (entry->kind) {
    case LEDGER_TAG:
        return find_tag(core, entry);
    case LEDGER_ATTRIBUTE:
    case LEDGER_INSTANCE:
        return find_instance(core, entry);
    case LEDGER_SETTING:
        return find_setting(core, entry);
    case LEDGER_DEFINITION: {
        struct ecs_arn arn;
        const struct ecs_record_definition *record =
            ecs_arn_parse(text_of(entry->subject), &arn) ? definition_of(core, &arn) : NULL;
        return (struct found){.there = record != NULL,
                              .value = record == NULL ? (struct text){0} : record->status};
    }
    case LEDGER_CLUSTER: {
        struct ecs_arn arn;
        const struct ecs_record_cluster *record =
            ecs_arn_parse(text_of(entry->subject), &arn) ? cluster_of(core, &arn) : NULL;
        struct found found = {.there = record != NULL};
        for (size_t i = 0; record != NULL && i < record->settings.count; i++) {
            found.value = record->settings.items[i].value;
        }
        return found;
    }
    case LEDGER_SERVICE:
        return find_service(core, entry);
    case LEDGER_END:
        break;
    }
    return (struct found){0};
}

// ---- comparing --------------------------------------------------------------------------------

static bool same(const struct ledger_entry *entry, struct text value)
{
    if (entry->absent) {
        return value.data == NULL;
    }
    // The engine itself takes the last step of a definition's life.
    bool gone = entry->kind == LEDGER_DEFINITION && text_is(value, "DELETED") &&
                strcmp(entry->value, "DELETE_IN_PROGRESS") == 0;
    return value.data != NULL && (gone || text_is(value, entry->value));
}

void ledger_check(struct sim *sim, const char *when)
{
    const struct ledger *ledger = &sim->churn.ledger;
    AUTO(map_deinit) struct map newer = {0};
    for (size_t i = ledger->count; i > 0; i--) {
        const struct ledger_entry *entry = &ledger->items[i - 1];
        char name[320];
        snprintf(name, sizeof(name), "%s", entry->subject);
        if (map_get(&newer, text_of(name)) != NULL) {
            continue; // it began anew since
        }
        if (entry->kind == LEDGER_END) {
            map_put(&newer, text_of(name), sim);
            continue;
        }
        snprintf(name, sizeof(name), "%d %s %s", (int)entry->kind, entry->subject, entry->name);
        if (map_get(&newer, text_of(name)) != NULL) {
            continue;
        }
        map_put(&newer, text_of(name), sim);
        struct found found = find(sim->server.core, entry);
        if (found.there && !same(entry, found.value)) {
            world_fail(&sim->world, "%s: '%s' of %s was set to '%s' and is '%.*s'", when,
                       entry->name, entry->subject, entry->absent ? "(nothing)" : entry->value,
                       TEXT_FMT(found.value.data == NULL ? TEXT("(nothing)") : found.value));
        }
    }
}
