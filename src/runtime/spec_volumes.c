#include "base/text.h"
#include "runtime/spec.h"

// volumesFrom: the mount points of other containers of the task, at the same paths.

/** Mount points as they are collected, each path once. */
struct point_list {
    struct ecs_mount_point_list points;
    struct text *paths; ///< cleaned, beside the points
    struct arena *arena;
};

// Which of a container's mount points are added.
enum which { DEFINED, OF_IMAGE, ALL };

static void add_points(struct point_list *list, const struct ecs_mount_point_list *more,
                       enum which which, bool read_only)
{
    for (size_t i = 0; i < more->count; i++) {
        struct ecs_mount_point point = more->items[i];
        bool of_image = text_starts(point.source_volume, TEXT(SPEC_IMAGE_VOLUME));
        if (which != ALL && of_image != (which == OF_IMAGE)) {
            continue;
        }
        struct text path = spec_clean_path(point.container_path, list->arena);
        size_t at = 0;
        while (at < list->points.count && !text_equal(list->paths[at], path)) {
            at++;
        }
        if (at < list->points.count) {
            continue; // one of its own, or of a container named before, is there already
        }
        point.has_read_only = point.has_read_only || read_only;
        point.read_only = point.read_only || read_only;
        list->points.items[at] = point;
        list->paths[at] = path;
        list->points.count++;
    }
}

static const struct ecs_container_definition *find(const struct ecs_task_definition *task,
                                                   struct text name)
{
    for (size_t i = 0; i < task->container_definitions.count; i++) {
        if (text_equal(task->container_definitions.items[i].name, name)) {
            return &task->container_definitions.items[i];
        }
    }
    return NULL;
}

/** A container whose volumes are to be taken, and how. */
struct source {
    const struct ecs_container_definition *container;
    bool read_only;
};

static bool is_known(const struct source *sources, size_t count, const struct source *source)
{
    for (size_t i = 0; i < count; i++) {
        if (sources[i].container == source->container &&
            sources[i].read_only == source->read_only) {
            return true;
        }
    }
    return false;
}

int spec_mount_points(const struct ecs_task_definition *task,
                      const struct ecs_container_definition *definition, struct arena *arena,
                      struct ecs_mount_point_list *out_points, struct err *err)
{
    if (definition->volumes_from.count == 0) {
        *out_points = definition->mount_points;
        return 0;
    }
    size_t most = definition->mount_points.count;
    for (size_t i = 0; i < task->container_definitions.count; i++) {
        most += task->container_definitions.items[i].mount_points.count;
    }
    struct point_list list = {
        .points.items = arena_array(arena, most, sizeof(struct ecs_mount_point)),
        .paths = arena_array(arena, most, sizeof(struct text)),
        .arena = arena,
    };
    // Each container at most twice, read-only and not: so a circle ends, too.
    struct source *sources =
        arena_array(arena, 2 * task->container_definitions.count + 1, sizeof(struct source));
    size_t count = 1;
    sources[0] = (struct source){definition, false};
    for (size_t i = 0; i < count; i++) {
        const struct ecs_container_definition *container = sources[i].container;
        add_points(&list, &container->mount_points, i == 0 ? DEFINED : ALL, sources[i].read_only);
        for (size_t k = 0; k < container->volumes_from.count; k++) {
            const struct ecs_volume_from *from = &container->volumes_from.items[k];
            struct source next = {find(task, from->source_container),
                                  sources[i].read_only || from->read_only};
            if (next.container == NULL) {
                return err_set(err, ERR_INVALID,
                               "volumesFrom of container '%.*s' names '%.*s', which the task does "
                               "not have",
                               TEXT_FMT(container->name), TEXT_FMT(from->source_container));
            }
            if (!is_known(sources, count, &next)) {
                sources[count++] = next;
            }
        }
    }
    // What others give comes before what the container's own image declares, as in Docker.
    add_points(&list, &definition->mount_points, OF_IMAGE, false);
    *out_points = list.points;
    return 0;
}
