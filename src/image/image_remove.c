#include "base/alloc.h"
#include "base/map.h"
#include "image/image_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * Removing a name, and then everything that no name refers to any more.
 *
 * Content goes by a rename into a scratch directory under the lock, so that others see it whole or
 * not at all; deleting it, which may take long, comes after. Layers that a mounted overlay shows
 * stay for a later removal.
 */

#define MOUNTS_MAX (64u << 20) // bytes of one mount table; 100,000 mounts of usual size
#define NAMESPACES_MAX 65536   // mount namespaces looked into

void image_live_deinit(struct image_live *live)
{
    map_deinit(&live->blobs);
    map_deinit(&live->layers);
}

static void add(struct map *map, struct text digest)
{
    map_put(map, image_digest_hex(digest), map);
}

void image_live_add(struct image_live *live, struct text manifest, struct text config_digest,
                    const struct image_config *config)
{
    add(&live->blobs, manifest);
    add(&live->blobs, config_digest);
    for (size_t i = 0; i < config->diff_ids.count; i++) {
        add(&live->layers, config->diff_ids.items[i]);
    }
}

int image_live_named(const struct image_store *store, struct arena *arena, struct image_live *live,
                     struct err *err)
{
    struct image_record *records = NULL;
    size_t count = 0;
    int rc = image_records(store, arena, &records, &count, err);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct image_config config;
        struct text config_digest;
        rc = image_config_read(store, records[i].manifest, arena, &config, &config_digest, err);
        if (rc == ERR_CORRUPT || rc == ERR_NOT_FOUND || rc == ERR_INVALID) {
            return err_set(err, ERR_CORRUPT,
                           "the name is removed, but its content stays: image '%.*s' is damaged, "
                           "so nobody can tell what it shares; load it again or remove it",
                           TEXT_FMT(records[i].name));
        }
        if (rc != 0) {
            return rc;
        }
        image_live_add(live, records[i].manifest, config_digest, &config);
    }
    return rc;
}

/* ---- layers in use */

static bool is_hex_run(const char *text)
{
    return strspn(text, "0123456789abcdef") >= 64;
}

// Keep every layer whose digest is named in a mount table: lower directories show there by path, or
// the uppermost one as the source (task/overlay.h).
static void keep_named(const struct buf *mounts, struct map *layers)
{
    for (const char *at = mounts->data; at != NULL && *at != '\0';) {
        if (is_hex_run(at)) {
            map_put(layers, (struct text){at, 64}, layers);
            at += strspn(at, "0123456789abcdef");
        } else {
            size_t other = strcspn(at, "0123456789abcdef");
            at += other > 0 ? other : strspn(at, "0123456789abcdef");
        }
    }
}

// Containers may have their overlays in mount namespaces of their own, so look once into each
// namespace that a process is in.
void image_mounted_layers(struct map *layers)
{
    DIR *proc = opendir("/proc");
    if (proc == NULL) {
        return;
    }
    AUTO(map_deinit) struct map seen = {0};
    AUTO(buf_deinit) struct buf mounts = {0};
    for (;;) {
        struct dirent *entry = readdir(proc);
        if (entry == NULL || seen.count >= NAMESPACES_MAX) {
            break;
        }
        if (entry->d_name[0] < '0' || entry->d_name[0] > '9') {
            continue;
        }
        char path[300];
        char target[64];
        snprintf(path, sizeof(path), "%s/ns/mnt", entry->d_name);
        ssize_t size = readlinkat(dirfd(proc), path, target, sizeof(target));
        if (size <= 0 || map_put(&seen, (struct text){target, (size_t)size}, &seen) != NULL) {
            continue;
        }
        snprintf(path, sizeof(path), "%s/mountinfo", entry->d_name);
        buf_reset(&mounts);
        struct err ignored;
        if (file_read(dirfd(proc), path, MOUNTS_MAX, &mounts, &ignored) == 0) {
            keep_named(&mounts, layers);
        }
    }
    closedir(proc);
}

/* ---- collecting */

bool image_is_hex_name(const char *name)
{
    return strlen(name) == 64 && is_hex_run(name);
}

static bool stays(const struct map *live, const struct map *mounted, const char *hex)
{
    return map_get(live, text_of(hex)) != NULL ||
           (mounted != NULL && map_get(mounted, text_of(hex)) != NULL);
}

// Move what is not live, nor mounted, from one directory of the store into the scratch directory.
static int collect(int from_fd, const struct map *live, const struct map *mounted,
                   const struct image_scratch *scratch, const char *prefix, struct err *err)
{
    int list_fd = openat(from_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = list_fd < 0 ? NULL : fdopendir(list_fd);
    if (dir == NULL) {
        int number = errno;
        fd_close(list_fd);
        return err_sys(err, number, "listing the image store");
    }
    int rc = 0;
    for (;;) {
        struct dirent *entry = readdir(dir);
        if (entry == NULL || rc != 0) {
            break;
        }
        if (!image_is_hex_name(entry->d_name) || stays(live, mounted, entry->d_name)) {
            continue;
        }
        char to[IMAGE_HEX_SIZE + 16];
        snprintf(to, sizeof(to), "%s-%.64s", prefix, entry->d_name);
        if (renameat(from_fd, entry->d_name, scratch->fd, to) != 0 && errno != ENOENT) {
            rc = err_sys(err, errno, "removing %s %s", prefix, entry->d_name);
        }
    }
    closedir(dir);
    return rc;
}

// An image that a container shows stays whole, though no name refers to it any more: its service
// may start another one of it. It is known by its uppermost layer.
static void keep_shown(const struct image_store *store, const struct map *mounted,
                       struct arena *arena, struct image_live *live)
{
    int list_fd = openat(store->blobs_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = list_fd < 0 ? NULL : fdopendir(list_fd);
    for (struct dirent *entry = dir == NULL ? NULL : readdir(dir); entry != NULL;
         entry = readdir(dir)) {
        if (!image_is_hex_name(entry->d_name) ||
            map_get(&live->blobs, text_of(entry->d_name)) != NULL) {
            continue;
        }
        struct image_config config;
        struct text config_digest;
        struct err ignored;
        struct text manifest = arena_format(arena, "sha256:%s", entry->d_name);
        if (image_config_read(store, manifest, arena, &config, &config_digest, &ignored) != 0 ||
            config.diff_ids.count == 0) {
            continue; // a configuration, or damaged
        }
        struct text top = config.diff_ids.items[config.diff_ids.count - 1];
        if (map_get(mounted, image_digest_hex(top)) != NULL) {
            image_live_add(live, manifest, config_digest, &config);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    } else {
        fd_close(list_fd);
    }
}

int image_take_dead(const struct image_store *store, const struct image_live *live,
                    const struct map *mounted, struct image_scratch *scratch, struct err *err)
{
    int rc = image_scratch_create(store, true, scratch, err);
    if (rc == 0) {
        rc = collect(store->layers_fd, &live->layers, mounted, scratch, "layer", err);
    }
    if (rc == 0) {
        rc = collect(store->blobs_fd, &live->blobs, NULL, scratch, "blob", err);
    }
    return rc;
}

static int collect_all(const struct image_store *store, struct arena *arena,
                       struct image_scratch *scratch, struct err *err)
{
    AUTO(image_live_deinit) struct image_live live = {0};
    int rc = image_live_named(store, arena, &live, err);
    if (rc != 0) {
        return rc;
    }
    AUTO(map_deinit) struct map mounted = {0};
    image_mounted_layers(&mounted);
    keep_shown(store, &mounted, arena, &live);
    return image_take_dead(store, &live, &mounted, scratch, err);
}

// A reference with a digest removes every name of that repository that points to it, as Docker
// does; one without removes just itself.
static int remove_names(const struct image_store *store, struct text reference, struct arena *arena,
                        struct err *err)
{
    struct image_record record;
    int rc = image_record_find(store, reference, arena, &record, err);
    if (rc != 0) {
        return rc;
    }
    do {
        if (unlinkat(store->names_fd, image_name_file(record.name, arena).data, 0) != 0) {
            return err_sys(err, errno, "removing the name '%.*s'", TEXT_FMT(record.name));
        }
        rc = text_find(reference, '@') == SIZE_MAX
                 ? ERR_NOT_FOUND
                 : image_record_find(store, reference, arena, &record, err);
    } while (rc == 0);
    if (rc != ERR_NOT_FOUND) {
        return rc;
    }
    if (store->sync && fsync(store->names_fd) != 0) {
        return err_sys(err, errno, "removing a name");
    }
    return 0;
}

int image_remove(struct image_store *store, struct text reference, struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(image_scratch_destroy) struct image_scratch scratch = {.fd = -1};
    AUTO(fd_close) int lock_fd = -1;
    int rc = image_lock(store, true, &lock_fd, err);
    if (rc == 0) {
        rc = remove_names(store, reference, &arena, err);
    }
    return rc == 0 ? collect_all(store, &arena, &scratch, err) : rc;
}
