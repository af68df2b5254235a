#include "base/alloc.h"
#include "base/clock.h"
#include "base/map.h"
#include "image/image_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * What the store holds, named or not, and removing chosen images together with what belongs to
 * none. The choice is the caller's: agent/garbage.h.
 */

// Between looking an image up and mounting it lies the rest of a task's preparation.
#define USE_MS (10 * 60 * 1000)

// ---- looked up lately ---------------------------------------------------------------------

void image_note_use(struct image_store *store, struct text manifest)
{
    int64_t now_ms = clock_monotonic_ns() / 1000000;
    pthread_mutex_lock(&store->use_lock);
    int64_t *at_ms = map_get(&store->used, image_digest_hex(manifest));
    if (at_ms == NULL) {
        at_ms = ALLOC(int64_t);
        map_put(&store->used, image_digest_hex(manifest), at_ms);
    }
    *at_ms = now_ms;
    pthread_mutex_unlock(&store->use_lock);
}

static bool used_lately(struct image_store *store, struct text manifest)
{
    int64_t now_ms = clock_monotonic_ns() / 1000000;
    pthread_mutex_lock(&store->use_lock);
    int64_t *at_ms = map_get(&store->used, image_digest_hex(manifest));
    bool lately = at_ms != NULL && now_ms - *at_ms < USE_MS;
    if (at_ms != NULL && !lately) {
        map_remove(&store->used, image_digest_hex(manifest));
        alloc_free(at_ms);
    }
    pthread_mutex_unlock(&store->use_lock);
    return lately;
}

void image_forget_uses(struct image_store *store)
{
    size_t cursor = 0;
    int64_t *at_ms = NULL;
    while ((at_ms = map_next(&store->used, &cursor, NULL)) != NULL) {
        alloc_free(at_ms);
    }
    map_deinit(&store->used);
    pthread_mutex_destroy(&store->use_lock);
}

// ---- looking ------------------------------------------------------------------------------

/** A manifest that can be read. */
struct found {
    struct image_content content;
    struct text config_digest;
    struct image_config config;
};

struct look {
    struct image_store *store;
    struct arena *arena;
    struct image_record *records;
    size_t record_count;
    struct map mounted;
    struct buf found; ///< of struct found
};

static void look_deinit(struct look *look)
{
    map_deinit(&look->mounted);
    buf_deinit(&look->found);
}
AUTO_VALUE(struct look, look_deinit)

static void add_names(const struct look *look, struct image_content *content)
{
    content->names.items = arena_array(look->arena, look->record_count, sizeof(struct text));
    for (size_t i = 0; i < look->record_count; i++) {
        if (text_equal(look->records[i].manifest, content->digest)) {
            content->names.items[content->names.count++] = look->records[i].name;
        }
    }
}

static void add_found(struct look *look, const char *hex)
{
    struct err ignored = {0};
    struct found found = {.content.digest = arena_format(look->arena, "sha256:%s", hex)};
    if (image_config_read(look->store, found.content.digest, look->arena, &found.config,
                          &found.config_digest, &ignored) != 0) {
        return; // a configuration, or damaged
    }
    const struct text_list *layers = &found.config.diff_ids;
    for (size_t i = 0; i < layers->count; i++) {
        struct image_layer_info info;
        bool known = image_layer_info_read(look->store, layers->items[i], &info, &ignored) == 0;
        found.content.size_bytes += known ? info.size_bytes : 0;
    }
    // Mount tables name the uppermost layer of what a container shows.
    struct text top = layers->count == 0 ? (struct text){0} : layers->items[layers->count - 1];
    found.content.in_use =
        used_lately(look->store, found.content.digest) ||
        (layers->count > 0 && map_get(&look->mounted, image_digest_hex(top)) != NULL);
    add_names(look, &found.content);
    buf_add(&look->found, &found, sizeof(found));
}

// Under the lock, shared or exclusive.
static int look_at_all(struct look *look, struct err *err)
{
    int rc = image_records(look->store, look->arena, &look->records, &look->record_count, err);
    if (rc != 0) {
        return rc;
    }
    image_mounted_layers(&look->mounted);
    int list_fd = openat(look->store->blobs_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = list_fd < 0 ? NULL : fdopendir(list_fd);
    if (dir == NULL) {
        int number = errno;
        fd_close(list_fd);
        return err_sys(err, number, "listing the image store");
    }
    const struct dirent *entry = NULL;
    while ((entry = readdir(dir)) != NULL) {
        if (image_is_hex_name(entry->d_name)) {
            add_found(look, entry->d_name);
        }
    }
    closedir(dir);
    return 0;
}

static int compare_contents(const void *a, const void *b)
{
    return text_compare(((const struct image_content *)a)->digest,
                        ((const struct image_content *)b)->digest);
}

int image_contents(struct image_store *store, struct arena *arena,
                   struct image_content **out_contents, size_t *out_count, struct err *err)
{
    AUTO(fd_close) int lock_fd = -1;
    AUTO(look_deinit) struct look look = {.store = store, .arena = arena};
    int rc = image_lock(store, false, &lock_fd, err);
    if (rc == 0) {
        rc = look_at_all(&look, err);
    }
    if (rc != 0) {
        return rc;
    }
    size_t count = look.found.size / sizeof(struct found);
    const struct found *found = (const struct found *)(const void *)look.found.data;
    struct image_content *contents = arena_array(arena, count, sizeof(*contents));
    for (size_t i = 0; i < count; i++) {
        contents[i] = found[i].content;
    }
    if (count > 0) {
        qsort(contents, count, sizeof(*contents), compare_contents);
    }
    *out_contents = contents;
    *out_count = count;
    return 0;
}

// ---- removing -----------------------------------------------------------------------------

static int remove_names_of(const struct look *look, const struct image_content *content,
                           struct err *err)
{
    for (size_t i = 0; i < content->names.count; i++) {
        struct text file = image_name_file(content->names.items[i], look->arena);
        if (unlinkat(look->store->names_fd, file.data, 0) != 0) {
            return err_sys(err, errno, "removing the name '%.*s'",
                           TEXT_FMT(content->names.items[i]));
        }
    }
    if (content->names.count > 0 && look->store->sync && fsync(look->store->names_fd) != 0) {
        return err_sys(err, errno, "removing a name");
    }
    return 0;
}

int image_collect(struct image_store *store, const struct text_list *digests, struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(image_scratch_destroy) struct image_scratch scratch = {.fd = -1};
    AUTO(image_live_deinit) struct image_live live = {0};
    AUTO(look_deinit) struct look look = {.store = store, .arena = &arena};
    AUTO(fd_close) int lock_fd = -1;
    int rc = image_sweep(store, err);
    if (rc == 0) {
        rc = image_lock(store, true, &lock_fd, err);
    }
    if (rc == 0) {
        rc = look_at_all(&look, err);
    }
    struct image_live check = {0};
    if (rc == 0) {
        rc = image_live_named(store, &arena, &check, err); // that none of them is damaged
    }
    image_live_deinit(&check);
    size_t count = look.found.size / sizeof(struct found);
    const struct found *found = (const struct found *)(const void *)look.found.data;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (text_list_has(digests, found[i].content.digest) && !found[i].content.in_use) {
            rc = remove_names_of(&look, &found[i].content, err);
        } else {
            image_live_add(&live, found[i].content.digest, found[i].config_digest,
                           &found[i].config);
        }
    }
    return rc == 0 ? image_take_dead(store, &live, &look.mounted, &scratch, err) : rc;
}
