#include "ecs/service_internal.h"

/*
 * Which images a revision turned out to have: the digest that the first task's container resolved
 * its image to is kept in the revision, and shown by DescribeServiceRevisions. Later tasks of the
 * revision get that image, unless versionConsistency is disabled: so a deployment runs one version,
 * and one that is rolled back to runs what it ran.
 *
 * What a node resolves is an image for its own architecture. Hosts of another one than the first
 * task's resolve their tags themselves.
 */

static struct text architecture_of(const struct core *core, int64_t node)
{
    const struct task_record_node *record = core_get(core, &task_node_kind, node);
    return record == NULL || text_empty(record->architecture) ? TEXT("unknown")
                                                              : record->architecture;
}

struct text service_pinned_image(const struct core *core, const struct task_record_task *task,
                                 const struct ecs_container_definition *container)
{
    const struct service_record_deployment *deployment =
        task->has_deployment ? core_get(core, &service_deployment_kind, task->deployment) : NULL;
    const struct service_record_revision *revision =
        deployment == NULL ? NULL : core_get(core, &service_revision_kind, deployment->revision);
    if (revision == NULL || container->version_consistency == ECS_VERSION_CONSISTENCY_DISABLED ||
        !text_equal(revision->images_from, architecture_of(core, task->node))) {
        return (struct text){0};
    }
    for (size_t i = 0; i < revision->container_images.count; i++) {
        if (text_equal(revision->container_images.items[i].container_name, container->name)) {
            return revision->container_images.items[i].image_digest;
        }
    }
    return (struct text){0};
}

static bool is_known(const struct service_record_revision *revision, struct text container)
{
    for (size_t i = 0; i < revision->container_images.count; i++) {
        if (text_equal(revision->container_images.items[i].container_name, container)) {
            return true;
        }
    }
    return false;
}

void service_revision_learn(struct core_call *call, int64_t key,
                            const struct task_record_task *task)
{
    const struct service_record_revision *stored =
        core_get(call->core, &service_revision_kind, key);
    const struct ecs_task_definition *definition = task_definition(call->core, stored->definition);
    size_t count = MIN(task->containers.count, definition->container_definitions.count);
    if (stored->container_images.count >= count) {
        return; // all are known: of most tasks there is no more to be looked at
    }
    struct text from = architecture_of(call->core, task->node);
    if (!text_empty(stored->images_from) && !text_equal(stored->images_from, from)) {
        return; // what is known are images of one architecture
    }
    struct ecs_container_image *images =
        arena_array(call->arena, stored->container_images.count + count, sizeof(*images));
    size_t known = stored->container_images.count;
    for (size_t i = 0; i < known; i++) {
        images[i] = stored->container_images.items[i];
    }
    for (size_t i = 0; i < count; i++) {
        const struct ecs_container_definition *container =
            &definition->container_definitions.items[i];
        struct text digest = task->containers.items[i].image_digest;
        if (!text_empty(digest) && !is_known(stored, container->name)) {
            images[known] = (struct ecs_container_image){.container_name = container->name,
                                                         .image_digest = digest,
                                                         .image = container->image};
            known++;
        }
    }
    if (known == stored->container_images.count) {
        return;
    }
    struct service_record_revision *record = core_edit(call, &service_revision_kind, key);
    record->container_images.items = images;
    record->container_images.count = known;
    record->images_from = from;
    core_put(call, &service_revision_kind, key, record);
}
