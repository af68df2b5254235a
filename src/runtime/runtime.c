#include "runtime/runtime.h"

#include "base/buf.h"
#include "base/text.h"
#include "runtime/spec.h"

#include <sys/resource.h>

struct text runtime_output_path(const char *data_dir, struct text task_id, struct text container,
                                struct arena *arena)
{
    return arena_format(arena, "%s/output/%.*s/%.*s/log", data_dir, TEXT_FMT(task_id),
                        TEXT_FMT(container));
}

void runtime_close(struct runtime *runtime)
{
    if (runtime != NULL) {
        runtime->ops->close(runtime);
    }
}

uint64_t runtime_hard_limit(int resource)
{
    struct rlimit limit;
    return getrlimit((__rlimit_resource_t)resource, &limit) != 0 || limit.rlim_max == RLIM_INFINITY
               ? UINT64_MAX
               : limit.rlim_max;
}

struct text runtime_note(const struct ecs_task_definition *definition, struct arena *arena)
{
    AUTO(buf_deinit) struct buf note = {0};
    for (size_t i = 0; i < definition->container_definitions.count; i++) {
        struct text one = spec_limits_note(&definition->container_definitions.items[i],
                                           runtime_hard_limit, arena);
        if (one.data != NULL) {
            buf_format(&note, "%s%.*s", note.size == 0 ? "" : "; ", TEXT_FMT(one));
        }
    }
    return note.size == 0 ? (struct text){0} : arena_text(arena, buf_view(&note));
}
