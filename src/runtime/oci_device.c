#include "runtime/oci_internal.h"

#include "base/text.h"
#include "runtime/spec.h"

#include <errno.h>
#include <fts.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define DEVICES_MAX 4096 // a host with many disks has some hundreds

/** Devices as they are found. */
struct device_list {
    struct config_device *items;
    size_t count;
    struct arena *arena;
};

// Every container has these of its own, or makes them.
static bool is_default(struct text path)
{
    static const char *const names[] = {"/dev/null",   "/dev/zero",    "/dev/full",    "/dev/tty",
                                        "/dev/random", "/dev/urandom", "/dev/console", "/dev/ptmx",
                                        "/dev/stdin",  "/dev/stdout",  "/dev/stderr"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (text_is(path, names[i])) {
            return true;
        }
    }
    return false;
}

static int add_device(struct device_list *list, struct text path, const struct stat *status,
                      const char *access, struct err *err)
{
    if (list->count == DEVICES_MAX) {
        return err_set(err, ERR_NO_ROOM, "a container can have %d devices", DEVICES_MAX);
    }
    list->items[list->count] = (struct config_device){
        .path = path,
        .type = S_ISBLK(status->st_mode) ? 'b' : 'c',
        .major = major(status->st_rdev),
        .minor = minor(status->st_rdev),
        .mode = status->st_mode & 0777u,
        .uid = status->st_uid,
        .gid = status->st_gid,
        .access = access,
    };
    list->count++;
    return 0;
}

// All devices at and below a path of the host, at another path of the container. Other file systems
// mounted below, such as /dev/pts, are the host's own.
static int add_tree(struct device_list *list, struct text from, struct text to, const char *access,
                    struct err *err)
{
    AUTO(alloc_string) char *root = alloc_format("%.*s", TEXT_FMT(from));
    char *paths[] = {root, NULL};
    FTS *tree = fts_open(paths, FTS_COMFOLLOW | FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
    if (tree == NULL) {
        return err_sys(err, errno, "looking for devices at '%s'", root);
    }
    int rc = 0;
    for (FTSENT *entry = fts_read(tree); rc == 0 && entry != NULL; entry = fts_read(tree)) {
        bool device = entry->fts_info == FTS_DEFAULT &&
                      (S_ISCHR(entry->fts_statp->st_mode) || S_ISBLK(entry->fts_statp->st_mode));
        struct text path =
            arena_format(list->arena, "%.*s%s", TEXT_FMT(to), entry->fts_path + from.size);
        if (device && !is_default(path)) {
            rc = add_device(list, path, entry->fts_statp, access, err);
        }
    }
    fts_close(tree);
    return rc;
}

static const char *access_of(const struct ecs_device *device, struct arena *arena)
{
    if (device->permissions.count == 0) {
        return "rwm";
    }
    char *access = arena_alloc(arena, device->permissions.count + 1);
    size_t size = 0;
    static const char letters[] = {
        [ECS_DEVICE_CGROUP_PERMISSION_READ] = 'r',
        [ECS_DEVICE_CGROUP_PERMISSION_WRITE] = 'w',
        [ECS_DEVICE_CGROUP_PERMISSION_MKNOD] = 'm',
    };
    for (size_t i = 0; i < device->permissions.count; i++) {
        access[size++] = letters[device->permissions.items[i]];
    }
    access[size] = '\0';
    return access;
}

static int add_listed(struct device_list *list, const struct ecs_device *device, struct err *err)
{
    struct text from = spec_clean_path(device->host_path, list->arena);
    struct text to = text_empty(device->container_path)
                         ? from
                         : spec_clean_path(device->container_path, list->arena);
    if (from.data == NULL || to.data == NULL) {
        return err_set(err, ERR_INVALID, "the path of device '%.*s' is not absolute",
                       TEXT_FMT(device->host_path));
    }
    size_t before = list->count;
    int rc = add_tree(list, from, to, access_of(device, list->arena), err);
    if (rc == 0 && list->count == before && !is_default(to)) {
        return err_set(err, ERR_INVALID,
                       "linuxParameters.devices names '%.*s', which is no device of this node",
                       TEXT_FMT(device->host_path));
    }
    return rc;
}

int oci_devices(const struct ecs_container_definition *definition, struct arena *arena,
                const struct config_device **out_devices, size_t *out_count, struct err *err)
{
    const struct ecs_linux_parameters *parameters = definition->linux_parameters;
    size_t listed = parameters == NULL ? 0 : parameters->devices.count;
    *out_devices = NULL;
    *out_count = 0;
    if (!definition->privileged && listed == 0) {
        return 0;
    }
    struct device_list list = {
        .items = arena_array(arena, DEVICES_MAX, sizeof(struct config_device)), .arena = arena};
    int rc = definition->privileged ? add_tree(&list, TEXT("/dev"), TEXT("/dev"), "rwm", err) : 0;
    for (size_t i = 0; rc == 0 && i < listed; i++) {
        rc = add_listed(&list, &parameters->devices.items[i], err);
    }
    *out_devices = list.items;
    *out_count = list.count;
    return rc;
}
