#include "runtime/runtime.h"

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
