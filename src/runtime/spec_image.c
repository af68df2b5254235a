#include "base/text.h"
#include "runtime/spec.h"

#include <string.h>

// VOLUME of images.

static bool is_mounted(const struct ecs_container_definition *container, struct text path,
                       struct arena *arena)
{
    for (size_t i = 0; i < container->mount_points.count; i++) {
        struct text other = spec_clean_path(container->mount_points.items[i].container_path, arena);
        if (text_equal(other, path)) {
            return true;
        }
    }
    const struct ecs_linux_parameters *parameters = container->linux_parameters;
    for (size_t i = 0; parameters != NULL && i < parameters->tmpfs.count; i++) {
        struct text other = spec_clean_path(parameters->tmpfs.items[i].container_path, arena);
        if (text_equal(other, path)) {
            return true;
        }
    }
    return false;
}

static void add_volumes(struct ecs_container_definition *container, size_t index,
                        const struct image *image, struct arena *arena)
{
    size_t most = container->mount_points.count + image->volumes.count;
    struct ecs_mount_point *points = arena_array(arena, most, sizeof(*points));
    size_t count = 0;
    for (size_t i = 0; i < container->mount_points.count; i++) {
        points[count++] = container->mount_points.items[i];
    }
    for (size_t i = 0; i < image->volumes.count; i++) {
        struct text path = spec_clean_path(image->volumes.items[i], arena);
        if (path.size <= 1 || is_mounted(container, path, arena)) {
            continue; // the root itself is no volume
        }
        points[count++] = (struct ecs_mount_point){
            .source_volume = arena_format(arena, SPEC_IMAGE_VOLUME "%zu-%zu", index, i),
            .container_path = path,
        };
    }
    container->mount_points.items = points;
    container->mount_points.count = count;
}

const struct ecs_task_definition *spec_with_image_volumes(const struct ecs_task_definition *task,
                                                          const struct image *const *images,
                                                          struct arena *arena)
{
    size_t count = task->container_definitions.count;
    struct ecs_task_definition *copy = ARENA_NEW(arena, struct ecs_task_definition);
    struct ecs_container_definition *containers = arena_array(arena, count, sizeof(*containers));
    *copy = *task;
    for (size_t i = 0; i < count; i++) {
        containers[i] = task->container_definitions.items[i];
        if (images[i]->volumes.count > 0) {
            add_volumes(&containers[i], i, images[i], arena);
        }
    }
    copy->container_definitions.items = containers;
    return copy;
}
