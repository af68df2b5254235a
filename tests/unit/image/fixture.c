#include "fixture.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/text.h"
#include "image/image_internal.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static la_ssize_t tar_write(struct archive *archive, void *context, const void *bytes, size_t size)
{
    (void)archive;
    buf_add(context, bytes, size);
    return (la_ssize_t)size;
}

static unsigned kind_of(const struct fixture_entry *entry)
{
    switch (entry->kind) {
    case FIXTURE_FILE:
    case FIXTURE_HARD_LINK:
        return AE_IFREG;
    case FIXTURE_DIRECTORY:
        return AE_IFDIR;
    case FIXTURE_LINK:
        return AE_IFLNK;
    case FIXTURE_CHAR:
        return AE_IFCHR;
    }
    return AE_IFREG;
}

static void add_entry(struct archive *archive, const struct fixture_entry *from)
{
    struct archive_entry *entry = archive_entry_new();
    unsigned mode = from->kind == FIXTURE_DIRECTORY ? 0755 : 0644;
    size_t size = from->kind == FIXTURE_FILE && from->content != NULL ? strlen(from->content) : 0;
    archive_entry_set_pathname(entry, from->path);
    archive_entry_set_filetype(entry, kind_of(from));
    archive_entry_set_perm(entry, from->mode != 0 ? from->mode : mode);
    archive_entry_set_uid(entry, from->uid);
    archive_entry_set_gid(entry, from->gid);
    archive_entry_set_mtime(entry, from->mtime != 0 ? from->mtime : 1000000000, 0);
    archive_entry_set_size(entry, (la_int64_t)size);
    if (from->kind == FIXTURE_LINK) {
        archive_entry_set_symlink(entry, from->content);
    }
    if (from->kind == FIXTURE_HARD_LINK) {
        archive_entry_set_hardlink(entry, from->content);
    }
    if (from->kind == FIXTURE_CHAR) {
        archive_entry_set_rdevmajor(entry, 1);
        archive_entry_set_rdevminor(entry, 3);
    }
    if (from->xattr != NULL) {
        archive_entry_xattr_add_entry(entry, from->xattr, "v", 1);
    }
    if (archive_write_header(archive, entry) != ARCHIVE_OK ||
        (size > 0 && archive_write_data(archive, from->content, size) != (la_ssize_t)size)) {
        fprintf(stderr, "%s: %s\n", from->path, archive_error_string(archive));
        abort();
    }
    archive_entry_free(entry);
}

void fixture_tar(const struct fixture_entry *entries, size_t count, struct buf *out)
{
    struct archive *archive = archive_write_new();
    archive_write_set_format_pax_restricted(archive);
    archive_write_set_bytes_per_block(archive, 512);
    archive_write_set_options(archive, "hdrcharset=BINARY"); // names as they are, in any locale
    archive_write_open(archive, out, NULL, tar_write, NULL);
    for (size_t i = 0; i < count; i++) {
        add_entry(archive, &entries[i]);
    }
    archive_write_close(archive);
    archive_write_free(archive);
}

void fixture_gzip(struct text bytes, struct buf *out)
{
    z_stream stream = {0};
    ASSERT(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    size_t room = deflateBound(&stream, bytes.size);
    stream.next_in = (unsigned char *)(uintptr_t)bytes.data;
    stream.avail_in = (uInt)bytes.size;
    stream.next_out = (unsigned char *)buf_reserve(out, room);
    stream.avail_out = (uInt)room;
    ASSERT(deflate(&stream, Z_FINISH) == Z_STREAM_END);
    out->size += stream.total_out;
    deflateEnd(&stream);
}

void fixture_zstd(struct text bytes, struct buf *out)
{
    size_t room = ZSTD_compressBound(bytes.size);
    size_t size = ZSTD_compress(buf_reserve(out, room), room, bytes.data, bytes.size, 3);
    ASSERT(ZSTD_isError(size) == 0);
    out->size += size;
}

struct fixture_file *fixture_add(struct fixture_files *files, const char *path, struct text content)
{
    ASSERT(files->count < FIXTURE_FILES_MAX);
    struct fixture_file *file = &files->items[files->count++];
    snprintf(file->path, sizeof(file->path), "%s", path);
    buf_text(&file->content, content);
    return file;
}

// Add a blob and tell its digest.
static void add_blob(struct fixture_files *files, struct text content, char *out_hex)
{
    char path[128];
    image_hash(content, out_hex);
    snprintf(path, sizeof(path), "blobs/sha256/%s", out_hex);
    fixture_add(files, path, content);
}

static void pack(const struct fixture_image *image, size_t i, struct buf *out)
{
    struct text bytes = buf_view(&image->layers[i]);
    if (image->compression == 1) {
        fixture_gzip(bytes, out);
    } else if (image->compression == 2) {
        fixture_zstd(bytes, out);
    } else {
        buf_text(out, bytes);
    }
}

static void write_config(const struct fixture_image *image, struct buf *out)
{
    buf_format(
        out,
        "{\"architecture\":\"%s\",\"os\":\"linux\",\"config\":{\"Env\":[\"PATH=/bin\",\"A=b\"],"
        "\"Entrypoint\":[\"/bin/sh\"],\"Cmd\":[\"-c\",\"true\"],\"User\":\"7:8\","
        "\"WorkingDir\":\"/srv\",\"StopSignal\":\"SIGINT\",\"Volumes\":{\"/data\":{}}},"
        "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[",
        image->architecture == NULL ? image_architecture(NULL) : image->architecture);
    for (size_t i = 0; i < image->layer_count; i++) {
        char hex[IMAGE_HEX_SIZE];
        image_hash(buf_view(&image->layers[i]), hex);
        if (i == 0 && image->wrong_diff_id != NULL) {
            snprintf(hex, sizeof(hex), "%s", image->wrong_diff_id);
        }
        buf_format(out, "%s\"sha256:%s\"", i == 0 ? "" : ",", hex);
    }
    buf_string(out, "]}}");
}

static void add_manifest(const struct fixture_image *image, struct fixture_files *files,
                         char *out_hex)
{
    AUTO(buf_deinit) struct buf config = {0};
    AUTO(buf_deinit) struct buf manifest = {0};
    char hex[IMAGE_HEX_SIZE];
    write_config(image, &config);
    add_blob(files, buf_view(&config), hex);
    buf_format(
        &manifest,
        "{\"schemaVersion\":2,\"config\":{\"digest\":\"sha256:%s\",\"size\":%zu},\"layers\":[", hex,
        config.size);
    for (size_t i = 0; i < image->layer_count; i++) {
        AUTO(buf_deinit) struct buf layer = {0};
        pack(image, i, &layer);
        add_blob(files, buf_view(&layer), hex);
        buf_format(&manifest, "%s{\"digest\":\"sha256:%s\",\"size\":%zu}", i == 0 ? "" : ",", hex,
                   layer.size);
    }
    buf_string(&manifest, "]}");
    add_blob(files, buf_view(&manifest), out_hex);
}

// An index whose first image is for a machine that does not exist and is not even there.
static void add_nested_index(const char *manifest_hex, struct fixture_files *files, char *out_hex)
{
    AUTO(buf_deinit) struct buf index = {0};
    buf_format(&index,
               "{\"schemaVersion\":2,\"manifests\":[{\"digest\":\"sha256:%064d\",\"size\":1,"
               "\"platform\":{\"architecture\":\"pdp11\",\"os\":\"linux\"}},"
               "{\"digest\":\"sha256:%s\",\"size\":1,"
               "\"platform\":{\"architecture\":\"%s\",\"os\":\"linux\"}}]}",
               0, manifest_hex, image_architecture(NULL));
    add_blob(files, buf_view(&index), out_hex);
}

void fixture_layout(const struct fixture_image *images, size_t count, bool nested,
                    struct fixture_files *files)
{
    AUTO(buf_deinit) struct buf index = {0};
    buf_string(&index, "{\"schemaVersion\":2,\"manifests\":[");
    for (size_t i = 0; i < count; i++) {
        char hex[IMAGE_HEX_SIZE];
        add_manifest(&images[i], files, hex);
        if (nested) {
            add_nested_index(hex, files, hex);
        }
        buf_format(&index, "%s{\"digest\":\"sha256:%s\",\"size\":1", i == 0 ? "" : ",", hex);
        if (images[i].name != NULL) {
            buf_format(&index, ",\"annotations\":{\"%s\":\"%s\"}",
                       images[i].bare_tag ? "org.opencontainers.image.ref.name"
                                          : "io.containerd.image.name",
                       images[i].name);
        }
        buf_string(&index, "}");
    }
    buf_string(&index, "]}");
    fixture_add(files, "oci-layout", TEXT("{\"imageLayoutVersion\":\"1.0.0\"}"));
    fixture_add(files, "index.json", buf_view(&index));
}

void fixture_docker(const struct fixture_image *image, struct fixture_files *files)
{
    AUTO(buf_deinit) struct buf config = {0};
    AUTO(buf_deinit) struct buf manifest = {0};
    char hex[IMAGE_HEX_SIZE];
    char path[128];
    write_config(image, &config);
    image_hash(buf_view(&config), hex);
    snprintf(path, sizeof(path), "%s.json", hex);
    fixture_add(files, path, buf_view(&config));
    buf_format(&manifest, "[{\"Config\":\"%s\",\"RepoTags\":[\"%s\"],\"Layers\":[", path,
               image->name);
    for (size_t i = 0; i < image->layer_count; i++) {
        AUTO(buf_deinit) struct buf layer = {0};
        pack(image, i, &layer);
        snprintf(path, sizeof(path), "layer%zu/layer.tar", i);
        fixture_add(files, path, buf_view(&layer));
        buf_format(&manifest, "%s\"%s\"", i == 0 ? "" : ",", path);
    }
    buf_string(&manifest, "]}]");
    fixture_add(files, "manifest.json", buf_view(&manifest));
}

void fixture_write(const struct fixture_files *files, bool reverse, struct buf *out)
{
    struct archive *archive = archive_write_new();
    archive_write_set_format_pax_restricted(archive);
    archive_write_set_bytes_per_block(archive, 512);
    archive_write_open(archive, out, NULL, tar_write, NULL);
    for (size_t i = 0; i < files->count; i++) {
        const struct fixture_file *file = &files->items[reverse ? files->count - 1 - i : i];
        struct archive_entry *entry = archive_entry_new();
        archive_entry_set_pathname(entry, file->path);
        archive_entry_set_filetype(entry, AE_IFREG);
        archive_entry_set_perm(entry, 0644);
        archive_entry_set_size(entry, (la_int64_t)file->content.size);
        ASSERT(archive_write_header(archive, entry) == ARCHIVE_OK);
        ASSERT(archive_write_data(archive, file->content.data, file->content.size) >= 0);
        archive_entry_free(entry);
    }
    archive_write_close(archive);
    archive_write_free(archive);
}

void fixture_files_deinit(struct fixture_files *files)
{
    for (size_t i = 0; i < files->count; i++) {
        buf_deinit(&files->items[i].content);
    }
    files->count = 0;
}

void fixture_image_deinit(struct fixture_image *image)
{
    for (size_t i = 0; i < image->layer_count; i++) {
        buf_deinit(&image->layers[i]);
    }
}

char *fixture_folder_create(void)
{
    char *path = alloc_string("/tmp/berth-image-XXXXXX");
    ASSERT(mkdtemp(path) != NULL);
    return path;
}

void fixture_folder_destroy(char *path)
{
    struct err err;
    if (path != NULL && file_remove_tree(AT_FDCWD, path, &err) != 0) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    alloc_free(path);
}

const char *fixture_put(const char *folder, const char *name, struct text content)
{
    static char path[512];
    struct err err;
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    ASSERT(file_make_dirs(path, 0755, &err) == 0);
    *slash = '/';
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    ASSERT(fd >= 0);
    ASSERT(fd_write_all(fd, content.data, content.size, &err) == 0);
    close(fd);
    return path;
}
