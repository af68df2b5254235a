#include "runtime/oci_internal.h"

#include "base/file.h"
#include "base/text.h"
#include "runtime/spec.h"
#include "shape/cbor.h"

#include <fcntl.h>
#include <string.h>

/*
 * The records of commands that berth-task runs in a running container: see task/join.h.
 */

#define PROCESS_VERSION 1

// The environment is what is large in it, and comes from a definition; then there is the filter.
#define PROCESS_BYTES_MAX (1u << 20)

// No limit is all bits, which -1 is.
static struct supervisor_process_limit_list limits_of(const struct config_process *process,
                                                      struct arena *arena)
{
    struct supervisor_process_limit_list list = {
        .items = arena_array(arena, process->limit_count, sizeof(*list.items))};
    for (size_t i = 0; i < process->limit_count; i++) {
        const struct config_limit *limit = &process->limits[i];
        list.items[list.count++] = (struct supervisor_process_limit){
            .has_resource = true,
            .resource = limit->resource,
            .has_soft = true,
            .soft = (int64_t)limit->soft,
            .has_hard = true,
            .hard = (int64_t)limit->hard,
        };
    }
    return list;
}

int oci_command_write(const struct config_process *process, struct text filter,
                      struct text directory, const char *name, struct arena *arena, struct err *err)
{
    struct long_list groups = {.items = arena_array(arena, process->group_count, sizeof(int64_t))};
    for (size_t i = 0; i < process->group_count; i++) {
        groups.items[groups.count++] = process->groups[i];
    }
    const struct supervisor_process record = {
        .arguments = process->arguments,
        .environment = process->environment,
        .directory = process->directory,
        .has_uid = true,
        .uid = process->uid,
        .has_gid = true,
        .gid = process->gid,
        .groups = groups,
        .has_capabilities = true,
        .capabilities = (int64_t)spec_capability_bits(process->capabilities),
        .limits = limits_of(process, arena),
        .has_no_new_privileges = true,
        .no_new_privileges = process->no_new_privileges,
        .filter = filter,
        .has_terminal = true,
        .terminal = process->terminal,
        .has_oom_score_adj = true,
        .oom_score_adj = CONFIG_OOM_SCORE,
    };
    AUTO(buf_deinit) struct buf bytes = {0};
    cbor_encode(&supervisor_process_shape, &record, PROCESS_VERSION, NULL, &bytes);
    return oci_write_file(directory, name, 0600, buf_view(&bytes), err);
}

int oci_command_copy(const char *path, struct text_list arguments, struct text directory,
                     const char *name, struct arena *arena, struct err *err)
{
    AUTO(buf_deinit) struct buf bytes = {0};
    int rc = file_read(AT_FDCWD, path, PROCESS_BYTES_MAX, &bytes, err);
    if (rc != 0) {
        return rc;
    }
    struct supervisor_process record = {0};
    struct shape_error error = {0};
    rc = cbor_decode(&supervisor_process_shape, buf_view(&bytes), arena, &record, NULL, NULL,
                     &error);
    if (rc != 0) {
        return err_set(err, rc, "'%s': %s %s", path, error.path, error.text);
    }
    record.arguments = arguments;
    buf_reset(&bytes);
    cbor_encode(&supervisor_process_shape, &record, PROCESS_VERSION, NULL, &bytes);
    return oci_write_file(directory, name, 0600, buf_view(&bytes), err);
}
