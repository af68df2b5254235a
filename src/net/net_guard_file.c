#include "net/net_guard.h"

#include "shape/cbor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/*
 * What an agent that comes after must know of groups, where nothing outlives a boot, as the
 * interfaces do not: records as the server sent them. A file that a crash cut short is as one that
 * was never there: the server tells again.
 */

#define FILE_BYTES_MAX (1 << 20)

static char *path_of(const struct net *net, const char *name)
{
    return alloc_format("%s/groups/%s", net->run_dir, name);
}

static void keep(const struct net *net, const char *name, const struct shape_type *type,
                 const void *record)
{
    AUTO(alloc_string) char *dir = alloc_format("%s/groups", net->run_dir);
    AUTO(alloc_string) char *path = path_of(net, name);
    AUTO(buf_deinit) struct buf bytes = {0};
    struct err ignored;
    AUTO(alloc_string) char *beside = alloc_format("%s/groups/.%s", net->run_dir, name);
    cbor_encode(type, record, 1, NULL, &bytes);
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 && errno == ENOENT && file_make_dirs(dir, 0700, &ignored) == 0) {
        fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    }
    // Whoever reads finds the old one or the new one, whole.
    if (fd >= 0) {
        int rc = fd_write_all(fd, bytes.data, bytes.size, &ignored);
        fd_close(fd);
        if (rc == 0 && rename(beside, path) == 0) {
            return;
        }
        unlink(beside);
    }
}

static void *kept(const struct net *net, const char *name, const struct shape_type *type,
                  struct arena *arena)
{
    AUTO(alloc_string) char *path = path_of(net, name);
    AUTO(buf_deinit) struct buf bytes = {0};
    struct err ignored;
    struct shape_error error;
    void *record = arena_alloc(arena, type->size_bytes);
    if (file_read(AT_FDCWD, path, FILE_BYTES_MAX, &bytes, &ignored) != 0 ||
        cbor_decode(type, buf_view(&bytes), arena, record, NULL, NULL, &error) != 0) {
        return NULL;
    }
    return record;
}

void net_guard_keep_group(struct net *net, const struct session_security_group *group)
{
    char name[NET_ID_MAX + 1];
    if (!net_id_valid(group->group_id) || text_copy(group->group_id, name, sizeof(name)) != 0) {
        return;
    }
    AUTO(arena_deinit) struct arena arena = {0};
    pthread_mutex_lock(&net->files);
    const struct session_security_group *there =
        kept(net, name, &session_security_group_shape, &arena);
    if (there == NULL || there->version < group->version) {
        keep(net, name, &session_security_group_shape, group);
    }
    pthread_mutex_unlock(&net->files);
}

void net_guard_keep_member(const struct net *net, const struct net_eni *eni)
{
    char name[NET_ID_MAX + 1];
    const struct session_eni record = {
        .eni_id = eni->id,
        .mac_address = eni->mac_address,
        .address = eni->address,
        .has_prefix_length = true,
        .prefix_length = (int32_t)eni->prefix_length,
        .gateway = eni->gateway,
        .vpc_id = eni->vpc.id,
        .vpc_cidr = eni->vpc.cidr,
        .subnet_id = eni->subnet_id,
        .security_groups = eni->groups,
    };
    if (text_copy(eni->id, name, sizeof(name)) == 0) {
        keep(net, name, &session_eni_shape, &record);
    }
}

void net_guard_drop_member(const struct net *net, const char *eni_id)
{
    AUTO(alloc_string) char *path = path_of(net, eni_id);
    unlink(path);
}

struct session_security_group *net_guard_kept_group(const struct net *net, struct text id,
                                                    struct arena *arena)
{
    char name[NET_ID_MAX + 1];
    if (!net_id_valid(id) || text_copy(id, name, sizeof(name)) != 0) {
        return NULL;
    }
    return kept(net, name, &session_security_group_shape, arena);
}

struct session_eni *net_guard_kept_member(const struct net *net, const char *id,
                                          struct arena *arena)
{
    return kept(net, id, &session_eni_shape, arena);
}

int net_guard_forget(const struct net *net, struct err *err)
{
    AUTO(alloc_string) char *dir = alloc_format("%s/groups", net->run_dir);
    return file_remove_tree(AT_FDCWD, dir, err);
}
