#include "ecs/task_internal.h"

#include <stdio.h>

/*
 * A container instance as the cluster query language sees it.
 */

static bool show_number(struct task_instance_view *view, int64_t number, struct text *out_value)
{
    int size = snprintf(view->scratch, sizeof(view->scratch), "%lld", (long long)number);
    ASSERT(size > 0);
    *out_value = (struct text){view->scratch, (size_t)size};
    return true;
}

// The group of the next task that the instance holds.
static bool next_group(struct task_instance_view *view, struct text *out_value)
{
    const struct task_record_membership *own = &view->record->memberships.items[view->index];
    for (; view->entry != NULL; view->entry = view->entry->next) {
        const struct task_record_task *task = core_get(view->core, &task_kind, view->entry->key);
        if (!view->entry->holds || task_membership(view->record, task) != own) {
            continue;
        }
        view->entry = view->entry->next;
        if (task->extra != NULL && task->extra->group.data != NULL) {
            *out_value = task->extra->group;
            return true;
        }
        struct text family = ecs_definition_family(view->core, task->definition);
        int size = snprintf(view->scratch, sizeof(view->scratch), "family:%.*s", TEXT_FMT(family));
        ASSERT(size > 0);
        ASSERT((size_t)size < sizeof(view->scratch)); // a family has 255 characters at most
        *out_value = (struct text){view->scratch, (size_t)size};
        return true;
    }
    return false;
}

static bool instance_attribute(const struct task_record_membership *membership, struct text name,
                               struct text *out_value)
{
    for (size_t i = 0; i < membership->attributes.count; i++) {
        if (text_equal(membership->attributes.items[i].name, name)) {
            struct text value = membership->attributes.items[i].value;
            *out_value = value.data == NULL ? TEXT("") : value;
            return true;
        }
    }
    return false;
}

static bool view_value(void *context, enum constraint_subject subject, struct text name,
                       size_t index, struct text *out_value)
{
    struct task_instance_view *view = context;
    const struct task_record_membership *membership = &view->record->memberships.items[view->index];
    if (subject == CONSTRAINT_TASK_GROUP) {
        view->entry = index == 0 ? view->node->first : view->entry;
        return next_group(view, out_value);
    }
    if (index > 0) {
        return false; // all other subjects have one value
    }
    switch (subject) {
    case CONSTRAINT_AGENT_CONNECTED:
        *out_value = task_node_agent_connected(view->node) ? TEXT("true") : TEXT("false");
        return true;
    case CONSTRAINT_AGENT_VERSION:
        *out_value = view->record->version_info != NULL ? view->record->version_info->agent_version
                                                        : view->node->agent_version;
        return !text_empty(*out_value);
    case CONSTRAINT_ATTRIBUTE:
        return instance_attribute(membership, name, out_value);
    case CONSTRAINT_EC2_INSTANCE_ID: {
        if (membership->ec2_instance_id.data != NULL) {
            *out_value = membership->ec2_instance_id;
            return true;
        }
        int size =
            snprintf(view->scratch, sizeof(view->scratch), "i-%.17s", membership->instance_id.data);
        ASSERT(size > 0);
        *out_value = (struct text){view->scratch, (size_t)size};
        return true;
    }
    case CONSTRAINT_REGISTERED_AT:
        return show_number(view, membership->registered_at, out_value);
    case CONSTRAINT_RUNNING_TASKS: {
        struct task_instance_counts counts;
        task_instance_count(view->core, view->node, view->record, view->index, &counts);
        return show_number(view, counts.running, out_value);
    }
    case CONSTRAINT_TASK_GROUP:
        break;
    }
    return false;
}

bool task_instance_meant(const struct constraint *constraint, struct task_instance_view *view)
{
    const struct constraint_view values = {view_value, view};
    return constraint_holds(constraint, &values);
}

int task_constraint_parse(struct core_call *call, struct text text,
                          struct constraint *out_constraint)
{
    struct err err = {0};
    if (constraint_parse(text, call->arena, out_constraint, &err) != 0) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "Invalid cluster query expression: %s.", err.text);
    }
    return 0;
}
