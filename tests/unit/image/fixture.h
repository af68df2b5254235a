#pragma once

#include "base/buf.h"
#include "base/map.h"

#include <stdint.h>

/*
 * Archives for the tests of the image store: tar files of any content, however hostile, and whole
 * images in each of the forms that loading accepts.
 */

enum fixture_kind {
    FIXTURE_FILE,
    FIXTURE_DIRECTORY,
    FIXTURE_LINK,
    FIXTURE_HARD_LINK,
    FIXTURE_CHAR
};

/** One entry of a tar. */
struct fixture_entry {
    const char *path;
    enum fixture_kind kind;
    const char *content; ///< of a file, or where a link points
    unsigned mode;       ///< 0 for 0644, directories 0755
    unsigned uid;
    unsigned gid;
    const char *xattr; ///< name of an extended attribute with the value "v"; may be NULL
    int64_t mtime;     ///< 0 for 1000000000
};

/** Append a tar (pax) of the entries to out. */
void fixture_tar(const struct fixture_entry *entries, size_t count, struct buf *out);

/** Append the gzip'ed form of bytes. */
void fixture_gzip(struct text bytes, struct buf *out);

/** Append the zstd'ed form of bytes. */
void fixture_zstd(struct text bytes, struct buf *out);

#define FIXTURE_LAYERS_MAX 8

/** An image to write. */
struct fixture_image {
    const char *name; ///< NULL for none
    bool bare_tag;    ///< the name is written as OCI's annotation, else as containerd's
    struct buf layers[FIXTURE_LAYERS_MAX]; ///< uncompressed tars
    size_t layer_count;
    int compression;           ///< 0 none, 1 gzip, 2 zstd
    const char *architecture;  ///< NULL for this machine's
    const char *wrong_diff_id; ///< put in the place of the first layer's; may be NULL
};

/** A file of an archive. */
struct fixture_file {
    char path[128];
    struct buf content;
};

#define FIXTURE_FILES_MAX 64

/** Files on their way into an archive, in their order there. */
struct fixture_files {
    struct fixture_file items[FIXTURE_FILES_MAX];
    size_t count;
};

/** Add a file; returns it to be changed. */
struct fixture_file *fixture_add(struct fixture_files *files, const char *path,
                                 struct text content);

/** Add what an OCI image layout of the images has. nested: an index for two platforms. */
void fixture_layout(const struct fixture_image *images, size_t count, bool nested,
                    struct fixture_files *files);

/** Add what docker save once wrote for an image: ID/layer.tar, HEX.json, manifest.json. */
void fixture_docker(const struct fixture_image *image, struct fixture_files *files);

/** Write the files as a tar. reverse: last first. */
void fixture_write(const struct fixture_files *files, bool reverse, struct buf *out);

/** Release. */
void fixture_files_deinit(struct fixture_files *files);

AUTO_VALUE(struct fixture_files, fixture_files_deinit)

/** Release an image's layers. */
void fixture_image_deinit(struct fixture_image *image);

AUTO_VALUE(struct fixture_image, fixture_image_deinit)

/** A directory of its own below /tmp; release with fixture_folder_destroy. */
char *fixture_folder_create(void);

/** Remove it with all that is in it, and free the path. */
void fixture_folder_destroy(char *path);

AUTO_POINTER(char, fixture_folder_destroy)

/** Write a file below a folder; returns its path, which lives until the next call. */
const char *fixture_put(const char *folder, const char *name, struct text content);
