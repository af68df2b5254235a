#include "runtime/oci_internal.h"

#include "base/file.h"
#include "base/text.h"
#include "runtime/spec.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

// Where a task's volumes are on this host.

static const struct ecs_volume *find_volume(const struct oci_task *task, struct text name,
                                            size_t *out_index)
{
    const struct ecs_volume_list *volumes = &task->definition->volumes;
    for (size_t i = 0; i < volumes->count; i++) {
        if (text_equal(volumes->items[i].name, name)) {
            *out_index = i;
            return &volumes->items[i];
        }
    }
    return NULL;
}

// A fresh volume begins as what it covers first: its files, and the owner and mode of the folder,
// so that a container whose user is not root can write where its image lets it. It is filled beside
// its place and put there whole: whoever shares it sees all of it or nothing.
static int make_filled(const struct oci_task *task, int root_fd, struct text path,
                       struct text destination, struct err *err)
{
    if (access(path.data, F_OK) == 0) {
        return 0;
    }
    struct text fresh =
        arena_format(task->arena, "%.*s.%.*s", TEXT_FMT(path), TEXT_FMT(task->task->id));
    int rc = file_remove_tree(AT_FDCWD, fresh.data, err);
    if (rc == 0 && mkdir(fresh.data, 0755) != 0) {
        rc = err_sys(err, errno, "making volume '%s'", fresh.data);
    }
    rc = rc != 0 ? rc : oci_copy_up(root_fd, destination, fresh.data, err);
    bool late = false;
    if (rc == 0 && renameat2(AT_FDCWD, fresh.data, AT_FDCWD, path.data, RENAME_NOREPLACE) != 0) {
        // Another task that shares it was faster.
        late = errno == EEXIST;
        rc = late ? 0 : err_sys(err, errno, "making volume '%s'", path.data);
    }
    if (rc != 0 || late) {
        struct err ignored = {0};
        IGNORE(file_remove_tree(AT_FDCWD, fresh.data, &ignored), "the error before tells more");
    }
    return rc;
}

static int make_of_task(const struct oci_task *task, int root_fd, struct text name,
                        struct text destination, struct text *out_source, struct err *err)
{
    struct text parent = arena_format(task->arena, "%.*s/v", TEXT_FMT(task->data));
    int rc = file_make_dirs(parent.data, 0755, err);
    if (rc != 0) {
        return rc;
    }
    *out_source = arena_format(task->arena, "%.*s/%.*s", TEXT_FMT(parent), TEXT_FMT(name));
    return make_filled(task, root_fd, *out_source, destination, err);
}

static struct text number(const struct oci_task *task, size_t index)
{
    return arena_format(task->arena, "%zu", index);
}

static int shared_source(const struct oci_task *task, int root_fd, const struct ecs_volume *volume,
                         bool autoprovision, struct text destination, struct text *out_source,
                         struct err *err)
{
    struct text parent = arena_format(task->arena, "%s/volumes", task->oci->data_dir);
    // A name becomes one of a directory, with room behind it for one that is being filled.
    if (text_empty(volume->name) || volume->name.data[0] == '.' ||
        volume->name.size > NAME_MAX - sizeof(".0123456789abcdef0123456789abcdef") ||
        text_find(volume->name, '/') != SIZE_MAX) {
        return err_set(err, ERR_INVALID, "'%.*s' is no name for a volume that tasks share",
                       TEXT_FMT(volume->name));
    }
    *out_source = arena_format(task->arena, "%.*s/%.*s", TEXT_FMT(parent), TEXT_FMT(volume->name));
    if (!autoprovision && access(out_source->data, F_OK) != 0) {
        return err_set(err, ERR_INVALID,
                       "shared volume '%.*s' is not on this node, and the definition does not ask "
                       "for autoprovision; make the folder '%s', or set autoprovision",
                       TEXT_FMT(volume->name), out_source->data);
    }
    int rc = file_make_dirs(parent.data, 0711, err);
    return rc != 0 ? rc : make_filled(task, root_fd, *out_source, destination, err);
}

static int docker_source(const struct oci_task *task, int root_fd, const struct ecs_volume *volume,
                         size_t index, struct text destination, struct text *out_source,
                         struct err *err)
{
    struct spec_docker_volume docker = {0};
    int rc = spec_docker_volume(volume, task->arena, &docker, err);
    if (rc != 0) {
        return rc;
    }
    switch (docker.kind) {
    case SPEC_DOCKER_FOLDER:
        return docker.shared
                   ? shared_source(task, root_fd, volume, docker.autoprovision, destination,
                                   out_source, err)
                   : make_of_task(task, root_fd, number(task, index), destination, out_source, err);
    case SPEC_DOCKER_TMPFS:
        // The supervisor mounts it there: see oci_volume_mounts.
        *out_source = arena_format(task->arena, "%.*s/v/%zu", TEXT_FMT(task->data), index);
        return 0;
    case SPEC_DOCKER_BIND:
        *out_source = docker.device;
        return access(docker.device.data, F_OK) == 0
                   ? 0
                   : err_set(err, ERR_INVALID,
                             "device '%s' of volume '%.*s' is not on this node; the driver local "
                             "does not make it",
                             docker.device.data, TEXT_FMT(volume->name));
    }
    ASSERT(false);
    return ERR_INVALID;
}

int oci_volume_source(const struct oci_task *task, int root_fd, struct text name,
                      struct text destination, struct text *out_source, struct err *err)
{
    size_t index = 0;
    if (text_starts(name, TEXT(SPEC_IMAGE_VOLUME))) {
        struct text rest = text_slice(name, sizeof(SPEC_IMAGE_VOLUME) - 1, name.size);
        return make_of_task(task, root_fd, arena_format(task->arena, "i%.*s", TEXT_FMT(rest)),
                            destination, out_source, err);
    }
    const struct ecs_volume *volume = find_volume(task, name, &index);
    if (volume == NULL) {
        return err_set(err, ERR_INVALID, "volume '%.*s' is mounted and not defined",
                       TEXT_FMT(name));
    }
    if (volume->docker_volume_configuration != NULL) {
        return docker_source(task, root_fd, volume, index, destination, out_source, err);
    }
    if (volume->host != NULL && !text_empty(volume->host->source_path)) {
        *out_source = spec_clean_path(volume->host->source_path, task->arena);
        if (out_source->data == NULL) {
            return err_set(err, ERR_INVALID, "sourcePath of volume '%.*s' is not absolute",
                           TEXT_FMT(volume->name));
        }
        // What is there may be a file or a socket as well.
        int rc =
            access(out_source->data, F_OK) == 0 ? 0 : file_make_dirs(out_source->data, 0755, err);
        return rc == 0 ? 0 : err_wrap(err, "sourcePath of volume '%.*s'", TEXT_FMT(volume->name));
    }
    return make_of_task(task, root_fd, number(task, index), destination, out_source, err);
}

int oci_volume_mounts(const struct oci_task *task, struct supervisor_mount_list *out_mounts,
                      struct err *err)
{
    const struct ecs_volume_list *volumes = &task->definition->volumes;
    // With room for the task's /dev/shm.
    struct supervisor_mount_list mounts = {
        .items = arena_array(task->arena, volumes->count + 1, sizeof(struct supervisor_mount))};
    for (size_t i = 0; i < volumes->count; i++) {
        struct spec_docker_volume docker = {0};
        if (volumes->items[i].docker_volume_configuration == NULL) {
            continue;
        }
        int rc = spec_docker_volume(&volumes->items[i], task->arena, &docker, err);
        if (rc != 0) {
            return rc;
        }
        if (docker.kind == SPEC_DOCKER_TMPFS) {
            mounts.items[mounts.count++] = (struct supervisor_mount){
                .target = arena_format(task->arena, "%.*s/v/%zu", TEXT_FMT(task->data), i),
                .type = TEXT("tmpfs"),
                .options = docker.options,
            };
        }
    }
    *out_mounts = mounts;
    return 0;
}
