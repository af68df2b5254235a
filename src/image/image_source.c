#include "base/alloc.h"
#include "base/file.h"
#include "base/map.h"
#include "image/image_internal.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * An archive's files may come in any order: manifests before or after what they name. So a tar is
 * read once, from front to back, into numbered files of the spool directory, and opened by path
 * from there. A directory needs no spool.
 */

#define LINK_DEPTH_MAX 8 // docker save links equal layers to the first one; no chains are known

/** One file or link of the archive. */
struct spooled {
    uint32_t number;   ///< name of the file in the spool
    char *link_target; ///< cleaned path in the archive; NULL for files
};

struct image_source {
    int directory_fd; ///< of a layout directory; -1 for an archive
    int spool_fd;     ///< borrowed
    struct map files; ///< path to struct spooled
    uint32_t file_count;
    uint64_t total_bytes;
    uint64_t read_bytes;
};

static void spooled_free(struct spooled *spooled)
{
    if (spooled != NULL) {
        alloc_free(spooled->link_target);
        alloc_free(spooled);
    }
}

void image_source_free(struct image_source *source)
{
    if (source == NULL) {
        return;
    }
    size_t cursor = 0;
    for (;;) {
        struct spooled *spooled = map_next(&source->files, &cursor, NULL);
        if (spooled == NULL) {
            break;
        }
        spooled_free(spooled);
    }
    map_deinit(&source->files);
    fd_close(source->directory_fd);
    alloc_free(source);
}

uint64_t image_source_total_bytes(const struct image_source *source)
{
    return source->total_bytes;
}

uint64_t image_source_read_bytes(const struct image_source *source)
{
    return source->read_bytes;
}

static void number_name(uint32_t number, char *out_name, size_t size)
{
    snprintf(out_name, size, "file-%u", number);
}

static int spool_file(struct image_source *source, struct image_tar *tar,
                      struct archive_entry *entry, uint32_t number, struct err *err)
{
    char name[32];
    number_name(number, name, sizeof(name));
    AUTO(fd_close)
    int fd = openat(source->spool_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return err_sys(err, errno, "creating '%s' in the store", name);
    }
    uint64_t written = 0;
    return image_tar_copy(tar, entry, fd, &written, err);
}

// A symbolic link of the archive, as a path from its top.
static int resolve_link(struct text path, const char *target, char **out_target, struct err *err)
{
    AUTO(buf_deinit) struct buf joined = {0};
    struct text base = path;
    for (struct text rest = text_of(target); rest.data != NULL;) {
        struct text part = text_cut(&rest, '/');
        if (joined.size == 0 && text_is(part, "..") && base.data != NULL) {
            size_t slash = text_find_last(base, '/');
            base = slash == SIZE_MAX ? (struct text){0} : text_slice(base, 0, slash);
            continue;
        }
        buf_byte(&joined, '/');
        buf_text(&joined, part);
    }
    AUTO(buf_deinit) struct buf whole = {0};
    size_t slash = base.data == NULL ? SIZE_MAX : text_find_last(base, '/');
    if (slash != SIZE_MAX) {
        buf_text(&whole, text_slice(base, 0, slash));
    }
    buf_text(&whole, buf_view(&joined));
    AUTO(buf_deinit) struct buf clean = {0};
    int rc = image_path_clean(whole.data, &clean, err);
    if (rc != 0) {
        return err_wrap(err, "following the link '%.*s'", TEXT_FMT(path));
    }
    *out_target = alloc_string(clean.data);
    return 0;
}

static int link_target(struct archive_entry *entry, struct text path, char **out_target,
                       struct err *err)
{
    const char *hard = archive_entry_hardlink(entry);
    if (hard == NULL) {
        const char *target = archive_entry_symlink(entry);
        return resolve_link(path, target == NULL ? "" : target, out_target, err);
    }
    AUTO(buf_deinit) struct buf clean = {0};
    int rc = image_path_clean(hard, &clean, err);
    if (rc != 0) {
        return err_wrap(err, "following the link '%.*s'", TEXT_FMT(path));
    }
    *out_target = alloc_string(clean.data);
    return 0;
}

static int take_entry(struct image_source *source, struct image_tar *tar,
                      struct archive_entry *entry, struct err *err)
{
    const char *name = archive_entry_pathname(entry);
    bool is_link =
        archive_entry_hardlink(entry) != NULL || archive_entry_filetype(entry) == AE_IFLNK;
    if (!is_link && archive_entry_filetype(entry) != AE_IFREG) {
        return 0; // directories have nothing to say; devices do not belong here
    }
    if (++source->file_count > IMAGE_FILES_MAX) {
        return err_set(err, ERR_INVALID, "the archive has more than %d files", IMAGE_FILES_MAX);
    }
    AUTO(buf_deinit) struct buf path = {0};
    int rc = image_path_clean(name == NULL ? "" : name, &path, err);
    if (rc != 0) {
        return rc;
    }
    struct spooled *spooled = ALLOC(struct spooled);
    spooled->number = source->file_count;
    rc = is_link ? link_target(entry, buf_view(&path), &spooled->link_target, err)
                 : spool_file(source, tar, entry, spooled->number, err);
    if (rc != 0) {
        spooled_free(spooled);
        return rc;
    }
    spooled_free(map_put(&source->files, buf_view(&path), spooled));
    return 0;
}

static int read_archive(struct image_source *source, const struct image_source_options *options,
                        int fd, struct err *err)
{
    AUTO(image_stream_deinit)
    struct image_stream stream = {
        .progress = options->progress,
        .progress_context = options->progress_context,
        .progress_total = source->total_bytes * 2, // the second half is unpacking
    };
    int rc = image_stream_init(&stream, fd, false, err);
    if (rc != 0) {
        return rc;
    }
    AUTO(image_tar_deinit) struct image_tar tar = {0};
    rc = image_tar_init(&tar, &stream, err);
    while (rc == 0) {
        struct archive_entry *entry = NULL;
        rc = image_tar_next(&tar, &entry, err);
        if (rc != 0 || entry == NULL) {
            break;
        }
        rc = take_entry(source, &tar, entry, err);
    }
    source->read_bytes = stream.raw_bytes;
    return rc;
}

int image_source_new(const struct image_source_options *options, struct image_source **out_source,
                     struct err *err)
{
    ASSERT(options->spool_fd >= 0);
    AUTO(image_source_free) struct image_source *source = ALLOC(struct image_source);
    source->directory_fd = -1;
    source->spool_fd = options->spool_fd;

    bool is_stdin = strcmp(options->path, "-") == 0;
    AUTO(fd_close)
    int fd = is_stdin ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
                      : open(options->path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0) {
        return err_sys(err, errno, "opening '%s'", options->path);
    }
    if (S_ISDIR(status.st_mode)) {
        source->directory_fd = fd;
        fd = -1;
    } else {
        source->total_bytes = S_ISREG(status.st_mode) ? (uint64_t)status.st_size : 0;
        int rc = read_archive(source, options, fd, err);
        if (rc != 0) {
            return rc;
        }
    }
    *out_source = source;
    source = NULL;
    return 0;
}

static int open_in_directory(struct image_source *source, const char *path, int *out_fd,
                             struct err *err)
{
    // Not blocking: a pipe in its place must not hang us.
    AUTO(fd_close)
    int fd = file_open_inside(source->directory_fd, path, O_RDONLY | O_NONBLOCK, RESOLVE_BENEATH);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0) {
        return err_sys(err, errno, "opening '%s' of the layout", path);
    }
    if (!S_ISREG(status.st_mode)) {
        return err_set(err, ERR_INVALID, "'%s' of the layout is not a file", path);
    }
    *out_fd = fd;
    fd = -1;
    return 0;
}

int image_source_open(struct image_source *source, struct text path, int *out_fd, struct err *err)
{
    AUTO(alloc_string) char *copy = alloc_format("%.*s", TEXT_FMT(path));
    AUTO(buf_deinit) struct buf clean = {0};
    int rc = image_path_clean(copy, &clean, err);
    if (rc != 0) {
        return rc;
    }
    if (source->directory_fd >= 0) {
        return open_in_directory(source, clean.data, out_fd, err);
    }
    struct spooled *spooled = map_get(&source->files, buf_view(&clean));
    for (int i = 0; i < LINK_DEPTH_MAX && spooled != NULL && spooled->link_target != NULL; i++) {
        spooled = map_get(&source->files, text_of(spooled->link_target));
    }
    if (spooled == NULL || spooled->link_target != NULL) {
        return err_set(err, ERR_NOT_FOUND, "the archive has no '%s'", clean.data);
    }
    char name[32];
    number_name(spooled->number, name, sizeof(name));
    int fd = openat(source->spool_fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_sys(err, errno, "opening '%s'", name);
    }
    *out_fd = fd;
    return 0;
}

int image_source_read(struct image_source *source, struct text path, struct buf *out,
                      struct err *err)
{
    AUTO(fd_close) int fd = -1;
    int rc = image_source_open(source, path, &fd, err);
    if (rc != 0) {
        return rc;
    }
    size_t before = out->size;
    for (;;) {
        char *to = buf_reserve(out, 16384);
        ssize_t got = read(fd, to, 16384);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return err_sys(err, errno, "reading '%.*s'", TEXT_FMT(path));
        }
        if (got == 0) {
            return 0;
        }
        out->size += (size_t)got;
        if (out->size - before > IMAGE_JSON_MAX) {
            return err_set(err, ERR_INVALID, "'%.*s' is larger than %u bytes", TEXT_FMT(path),
                           IMAGE_JSON_MAX);
        }
    }
}

int image_source_read_blob(struct image_source *source, struct text digest, struct buf *out,
                           struct err *err)
{
    ASSERT(image_is_digest(digest));
    char path[128];
    struct text hex = image_digest_hex(digest);
    int size = snprintf(path, sizeof(path), "blobs/sha256/%.*s", TEXT_FMT(hex));
    int rc = image_source_read(source, (struct text){path, (size_t)size}, out, err);
    if (rc == ERR_NOT_FOUND) {
        return err_set(err, ERR_INVALID, "the archive has no blob %.*s", TEXT_FMT(digest));
    }
    if (rc != 0) {
        return rc;
    }
    char actual[IMAGE_HEX_SIZE];
    image_hash(buf_view(out), actual);
    if (!text_is(hex, actual)) {
        return err_set(err, ERR_INVALID, "the blob %.*s is damaged: its content is sha256:%s",
                       TEXT_FMT(digest), actual);
    }
    return 0;
}
