#include "base/alloc.h"
#include "base/clock.h"
#include "image/image_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the lock, and directories to work in */

static int flock_wait(int fd, int operation)
{
    while (flock(fd, operation) != 0) {
        if (errno != EINTR) {
            return -1;
        }
    }
    return 0;
}

int image_lock(const struct image_store *store, bool exclusive, int *out_fd, struct err *err)
{
    // A descriptor of its own: flock would be shared between threads using the same one.
    AUTO(fd_close) int fd = openat(store->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || flock_wait(fd, exclusive ? LOCK_EX : LOCK_SH) != 0) {
        return err_sys(err, errno, "locking the image store");
    }
    *out_fd = fd;
    fd = -1;
    return 0;
}

static int scratch_make(const struct image_store *store, struct image_scratch *scratch,
                        struct err *err)
{
    uint64_t random = 0;
    clock_entropy(&random, sizeof(random));
    snprintf(scratch->name, sizeof(scratch->name), "%d-%016llx", (int)getpid(),
             (unsigned long long)random);
    if (mkdirat(store->tmp_fd, scratch->name, 0700) != 0) {
        return err_sys(err, errno, "making a directory in the image store");
    }
    scratch->fd = openat(store->tmp_fd, scratch->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (scratch->fd < 0 || flock_wait(scratch->fd, LOCK_EX) != 0) {
        int rc = err_sys(err, errno, "opening a directory in the image store");
        image_scratch_destroy(scratch);
        return rc;
    }
    return 0;
}

int image_scratch_create(const struct image_store *store, bool locked,
                         struct image_scratch *out_scratch, struct err *err)
{
    // Under the lock, so that nobody sweeps it between its making and its flock.
    AUTO(fd_close) int lock_fd = -1;
    int rc = locked ? 0 : image_lock(store, true, &lock_fd, err);
    if (rc != 0) {
        return rc;
    }
    struct image_scratch scratch = {.store = store, .fd = -1};
    rc = scratch_make(store, &scratch, err);
    if (rc == 0) {
        *out_scratch = scratch;
    }
    return rc;
}

void image_scratch_destroy(struct image_scratch *scratch)
{
    if (scratch->store == NULL || scratch->name[0] == '\0') {
        return;
    }
    struct err ignored;
    IGNORE(file_remove_tree(scratch->store->tmp_fd, scratch->name, &ignored),
           "what is left is swept when the store is opened next");
    fd_close(scratch->fd);
    *scratch = (struct image_scratch){.fd = -1};
}

// Take over the directory of an owner that is gone. @return its descriptor, or -1
static int adopt_stale(const struct image_store *store, const char *name)
{
    int fd = openat(store->tmp_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

#define SWEEP_MAX 64 // descriptors held while sweeping; what is beyond waits for the next time

// Remove what killed loads and removals left. Deciding takes the lock; deleting, which may take
// long, does not.
int image_sweep(const struct image_store *store, struct err *err)
{
    struct image_scratch stale[SWEEP_MAX];
    size_t count = 0;
    AUTO(fd_close) int lock_fd = -1;
    int rc = image_lock(store, true, &lock_fd, err);
    if (rc != 0) {
        return rc;
    }
    int list_fd = openat(store->tmp_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = list_fd < 0 ? NULL : fdopendir(list_fd);
    if (dir == NULL) {
        int number = errno;
        fd_close(list_fd);
        return err_sys(err, number, "listing the image store");
    }
    for (;;) {
        struct dirent *entry = readdir(dir);
        if (entry == NULL || count == SWEEP_MAX) {
            break;
        }
        struct image_scratch *scratch = &stale[count];
        *scratch = (struct image_scratch){.store = store};
        if (entry->d_name[0] == '.' ||
            text_copy(text_of(entry->d_name), scratch->name, sizeof(scratch->name)) != 0) {
            continue;
        }
        scratch->fd = adopt_stale(store, entry->d_name);
        count += scratch->fd >= 0 ? 1 : 0;
    }
    closedir(dir);
    fd_close(lock_fd);
    lock_fd = -1;
    for (size_t i = 0; i < count; i++) {
        image_scratch_destroy(&stale[i]);
    }
    return 0;
}

/* ---- opening */

static int open_part(const struct image_store *store, const char *name, int *out_fd,
                     struct err *err)
{
    if (mkdirat(store->dir_fd, name, 0700) != 0 && errno != EEXIST) {
        return err_sys(err, errno, "making '%s/%s'", store->path, name);
    }
    *out_fd = openat(store->dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *out_fd < 0 ? err_sys(err, errno, "opening '%s/%s'", store->path, name) : 0;
}

static int open_parts(struct image_store *store, struct err *err)
{
    AUTO(fd_close) int blobs_fd = -1;
    int rc = open_part(store, "tmp", &store->tmp_fd, err);
    if (rc == 0) {
        rc = open_part(store, "layers", &store->layers_fd, err);
    }
    if (rc == 0) {
        rc = open_part(store, "names", &store->names_fd, err);
    }
    if (rc == 0) {
        rc = open_part(store, "blobs", &blobs_fd, err);
    }
    return rc == 0 ? open_part(store, "blobs/sha256", &store->blobs_fd, err) : rc;
}

static void store_free(struct image_store *store)
{
    if (store == NULL) {
        return;
    }
    fd_close(store->dir_fd);
    fd_close(store->tmp_fd);
    fd_close(store->blobs_fd);
    fd_close(store->layers_fd);
    fd_close(store->names_fd);
    image_forget_uses(store);
    free(store->path); // realpath's, not the allocator's
    alloc_free(store);
}
AUTO_POINTER(struct image_store, store_free)

int image_open(const char *directory, struct image_store **out_store, struct err *err)
{
    AUTO(store_free) struct image_store *store = ALLOC(struct image_store);
    store->dir_fd = store->tmp_fd = store->blobs_fd = store->layers_fd = store->names_fd = -1;
    store->sync = true;
    pthread_mutex_init(&store->use_lock, NULL); // never fails on Linux

    // 0700, because layers hold set-user-id programs and device nodes for containers only.
    int rc = file_make_dirs(directory, 0700, err);
    if (rc != 0) {
        return err_wrap(err, "opening the image store");
    }
    store->path = realpath(directory, NULL);
    store->dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (store->path == NULL || store->dir_fd < 0) {
        return err_sys(err, errno, "opening the image store '%s'", directory);
    }
    rc = open_parts(store, err);
    if (rc == 0) {
        rc = image_sweep(store, err);
    }
    if (rc != 0) {
        return err_wrap(err, "opening the image store '%s'", directory);
    }
    *out_store = store;
    store = NULL;
    return 0;
}

void image_close(struct image_store *store)
{
    store_free(store);
}

/* ---- reading */

int image_blob_read(const struct image_store *store, struct text digest, struct buf *out,
                    struct err *err)
{
    char hex[IMAGE_HEX_SIZE];
    IGNORE(text_copy(image_digest_hex(digest), hex, sizeof(hex)),
           "digests are checked where they are parsed");
    int rc = file_read(store->blobs_fd, hex, IMAGE_JSON_MAX, out, err);
    if (rc != 0) {
        return err_wrap(err, "blob %.*s", TEXT_FMT(digest));
    }
    char actual[IMAGE_HEX_SIZE];
    image_hash(buf_view(out), actual);
    if (strcmp(hex, actual) != 0) {
        return err_set(err, ERR_CORRUPT,
                       "blob %.*s of the image store is damaged: load the image "
                       "again",
                       TEXT_FMT(digest));
    }
    return 0;
}

int image_record_read(const struct image_store *store, const char *file, struct arena *arena,
                      struct image_record *out_record, struct err *err)
{
    AUTO(buf_deinit) struct buf json = {0};
    int rc = file_read(store->names_fd, file, IMAGE_JSON_MAX, &json, err);
    if (rc != 0) {
        return rc;
    }
    rc = image_record_parse(buf_view(&json), arena, out_record, err);
    return rc == 0 ? 0 : err_wrap(err, "'%s/names/%s'", store->path, file);
}

int image_layer_info_read(const struct image_store *store, struct text diff_id,
                          struct image_layer_info *out_info, struct err *err)
{
    char path[IMAGE_HEX_SIZE + 16];
    snprintf(path, sizeof(path), "%.*s/layer.json", TEXT_FMT(image_digest_hex(diff_id)));
    AUTO(buf_deinit) struct buf json = {0};
    int rc = file_read(store->layers_fd, path, IMAGE_JSON_MAX, &json, err);
    if (rc == 0) {
        rc = image_layer_info_parse(buf_view(&json), out_info, err);
    }
    return rc == 0 ? 0 : err_wrap(err, "layer %.*s", TEXT_FMT(diff_id));
}

static int compare_records(const void *a, const void *b)
{
    return text_compare(((const struct image_record *)a)->name,
                        ((const struct image_record *)b)->name);
}

int image_records(const struct image_store *store, struct arena *arena,
                  struct image_record **out_records, size_t *out_count, struct err *err)
{
    int list_fd = openat(store->names_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = list_fd < 0 ? NULL : fdopendir(list_fd);
    if (dir == NULL) {
        int number = errno;
        fd_close(list_fd);
        return err_sys(err, number, "listing the images");
    }
    AUTO(buf_deinit) struct buf found = {0};
    int rc = 0;
    for (;;) {
        struct dirent *entry = readdir(dir);
        if (entry == NULL || rc != 0) {
            break;
        }
        if (entry->d_name[0] == '.') {
            continue;
        }
        struct image_record record;
        rc = image_record_read(store, entry->d_name, arena, &record, err);
        if (rc == 0) {
            buf_add(&found, &record, sizeof(record));
        }
    }
    closedir(dir);
    if (rc != 0) {
        return rc;
    }
    size_t count = found.size / sizeof(struct image_record);
    struct image_record *records = arena_array(arena, count, sizeof(*records));
    if (count > 0) {
        memcpy(records, found.data, found.size);
        qsort(records, count, sizeof(*records), compare_records);
    }
    *out_records = records;
    *out_count = count;
    return 0;
}

static int not_found(struct text reference, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "image '%.*s' is not on this node", TEXT_FMT(reference));
}

// A digest names an image whatever its tag, as long as the repository is the same.
static int find_by_digest(const struct image_store *store, struct text text,
                          const struct image_reference *reference, struct arena *arena,
                          struct image_record *out_record, struct err *err)
{
    struct image_record *records = NULL;
    size_t count = 0;
    int rc = image_records(store, arena, &records, &count, err);
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < count; i++) {
        struct image_reference have;
        if (image_reference_parse(records[i].name, arena, &have) == 0 &&
            text_equal(have.repository, reference->repository) &&
            (text_equal(records[i].manifest, reference->digest) ||
             text_equal(records[i].index, reference->digest))) {
            *out_record = records[i];
            return 0;
        }
    }
    return not_found(text, err);
}

int image_record_find(const struct image_store *store, struct text text, struct arena *arena,
                      struct image_record *out_record, struct err *err)
{
    struct image_reference reference;
    if (image_reference_parse(text, arena, &reference) != 0) {
        return err_set(err, ERR_INVALID, "'%.*s' is not an image reference",
                       (int)MIN(text.size, (size_t)IMAGE_REFERENCE_MAX), text.data);
    }
    struct text name = image_reference_text(&reference, arena);
    int rc = image_record_read(store, image_name_file(name, arena).data, arena, out_record, err);
    if (rc != ERR_NOT_FOUND) {
        return rc;
    }
    return reference.digest.data == NULL
               ? not_found(text, err)
               : find_by_digest(store, text, &reference, arena, out_record, err);
}

int image_config_read(const struct image_store *store, struct text manifest_digest,
                      struct arena *arena, struct image_config *out_config,
                      struct text *out_config_digest, struct err *err)
{
    AUTO(buf_deinit) struct buf json = {0};
    int rc = image_blob_read(store, manifest_digest, &json, err);
    struct image_document manifest;
    if (rc == 0) {
        rc = image_document_parse(buf_view(&json), arena, &manifest, err);
    }
    if (rc == 0 && manifest.is_index) {
        rc = err_set(err, ERR_CORRUPT, "a name of the image store points to an index");
    }
    if (rc != 0) {
        return rc;
    }
    buf_reset(&json);
    rc = image_blob_read(store, manifest.config.digest, &json, err);
    if (rc == 0) {
        rc = image_config_parse(buf_view(&json), arena, out_config, err);
    }
    if (rc == 0) {
        *out_config_digest = manifest.config.digest;
    }
    return rc;
}

static bool appears_later(const struct text_list *list, size_t at)
{
    for (size_t i = at + 1; i < list->count; i++) {
        if (text_equal(list->items[i], list->items[at])) {
            return true;
        }
    }
    return false;
}

// The directories to stack. Overlayfs refuses the same directory twice; a layer that comes again
// hides all that its first occurrence had, so the upper one is enough. Nothing below a layer that
// is opaque at its root can be seen.
static int stack_layers(const struct image_store *store, const struct text_list *diff_ids,
                        struct arena *arena, struct image *image, struct err *err)
{
    image->layers = (struct text_list){
        .items = arena_array(arena, diff_ids->count, sizeof(*image->layers.items))};
    for (size_t i = 0; i < diff_ids->count; i++) {
        if (appears_later(diff_ids, i)) {
            continue;
        }
        struct image_layer_info info;
        int rc = image_layer_info_read(store, diff_ids->items[i], &info, err);
        if (rc != 0) {
            return rc == ERR_NOT_FOUND
                       ? err_set(err, ERR_CORRUPT, "a layer of the image is gone: load it again")
                       : rc;
        }
        if (info.opaque) {
            image->layers.count = 0;
        }
        struct text id = diff_ids->items[i];
        image->layers.items[image->layers.count++] =
            arena_format(arena, "%s/layers/%.*s/fs", store->path, TEXT_FMT(image_digest_hex(id)));
        image->size_bytes += info.size_bytes;
    }
    return 0;
}

static int read_image(const struct image_store *store, const struct image_record *record,
                      struct arena *arena, struct image *out_image, struct err *err)
{
    struct image_config config;
    struct text config_digest;
    int rc = image_config_read(store, record->manifest, arena, &config, &config_digest, err);
    if (rc == 0) {
        rc = stack_layers(store, &config.diff_ids, arena, &config.image, err);
    }
    if (rc != 0) {
        return err_wrap(err, "image '%.*s'", TEXT_FMT(record->name));
    }
    config.image.name = record->name;
    config.image.digest = record->manifest;
    *out_image = config.image;
    return 0;
}

int image_resolve(struct image_store *store, struct text reference, struct arena *arena,
                  struct image *out_image, struct err *err)
{
    AUTO(fd_close) int lock_fd = -1;
    int rc = image_lock(store, false, &lock_fd, err);
    if (rc != 0) {
        return rc;
    }
    struct image_record record;
    rc = image_record_find(store, reference, arena, &record, err);
    if (rc == 0) {
        rc = read_image(store, &record, arena, out_image, err);
    }
    if (rc == 0) {
        image_note_use(store, record.manifest);
    }
    return rc;
}

int image_resolve_pinned(struct image_store *store, struct text reference, struct text digest,
                         struct arena *arena, struct image *out_image, struct err *err)
{
    struct image_record record = {.manifest = digest};
    if (image_normalise(reference, arena, &record.name) != 0 || !image_is_digest(digest)) {
        return err_set(err, ERR_INVALID, "'%.*s' is not an image reference, or '%.*s' no digest",
                       TEXT_FMT(text_slice(reference, 0, IMAGE_REFERENCE_MAX)),
                       TEXT_FMT(text_slice(digest, 0, IMAGE_REFERENCE_MAX)));
    }
    AUTO(fd_close) int lock_fd = -1;
    int rc = image_lock(store, false, &lock_fd, err);
    if (rc == 0) {
        rc = read_image(store, &record, arena, out_image, err);
    }
    if (rc == 0) {
        image_note_use(store, record.manifest);
    }
    if (rc == ERR_NOT_FOUND) {
        struct text whole =
            arena_format(arena, "%.*s@%.*s", TEXT_FMT(record.name), TEXT_FMT(digest));
        return not_found(whole, err);
    }
    return rc;
}

int image_list(struct image_store *store, struct arena *arena, struct image **out_images,
               size_t *out_count, struct err *err)
{
    AUTO(fd_close) int lock_fd = -1;
    int rc = image_lock(store, false, &lock_fd, err);
    if (rc != 0) {
        return rc;
    }
    struct image_record *records = NULL;
    size_t count = 0;
    rc = image_records(store, arena, &records, &count, err);
    if (rc != 0) {
        return rc;
    }
    struct image *images = arena_array(arena, count, sizeof(*images));
    for (size_t i = 0; i < count; i++) {
        rc = read_image(store, &records[i], arena, &images[i], err);
        if (rc == ERR_CORRUPT || rc == ERR_NOT_FOUND) {
            // Listed all the same, so that it can be seen and removed.
            images[i] = (struct image){.name = records[i].name, .digest = records[i].manifest};
        } else if (rc != 0) {
            return rc;
        }
    }
    *out_images = images;
    *out_count = count;
    return 0;
}
