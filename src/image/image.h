#pragma once

#include "base/alloc.h"
#include "base/err.h"
#include "shape/shape.h"

/*
 * The node's image store: content by digest, unpacked layers ready to be overlay lower
 * directories, names pointing to manifests.
 *
 * Several processes may use one store at the same time (`berth image load` beside a running
 * agent): additions are atomic renames, and a lock file covers what must not interleave. After a
 * crash at any point what is visible is complete. All calls block: use a worker thread.
 */

struct image_store;

/** What a container needs to know of an image. Borrowed from the arena of image_resolve. */
struct image {
    struct text name;             ///< normalised, such as docker.io/library/redis:6-alpine
    struct text digest;           ///< of the manifest, sha256:...
    struct text architecture;     ///< OCI name, such as amd64
    struct text_list layers;      ///< absolute directories, lowest first, none twice
    struct text_list environment; ///< NAME=value
    struct text_list entry_point;
    struct text_list command;
    struct text user;
    struct text working_directory;
    struct text stop_signal;  ///< such as SIGTERM; may be absent
    struct text_list volumes; ///< paths declared by the image
    uint64_t size_bytes;      ///< of the unpacked layers
};

/**
 * Told while an archive is loaded, with growing numbers. total_bytes is 0 when unknown; of a file
 * it is twice its size, as unpacking takes as long as reading.
 */
typedef void (*image_progress_fn)(void *context, uint64_t done_bytes, uint64_t total_bytes);

/** Open or make the store in a directory. */
MUST_CHECK int image_open(const char *directory, struct image_store **out_store, struct err *err);

/** Close; NULL is allowed. */
void image_close(struct image_store *store);

/**
 * Load every image of an archive: an OCI image layout (tar, or a directory), or what `docker save`
 * writes; each may be compressed with gzip or zstd. Digests are verified, whiteouts become
 * overlayfs's, paths cannot leave the layer.
 *
 * @param path      file or directory; "-" is standard input
 * @param rename    NULL, or the name to give to the archive's only image
 * An image that the archive does not name needs a rename. Of an image for several machines the one
 * for this machine is loaded. A name that exists moves to the new image; the old one's content
 * stays until something is removed. Without the right to make devices they are left out.
 *
 * @param out_names normalised names that now point to the loaded images, in the arena
 * @return 0; ERR_INVALID with what is wrong with the archive; ERR_UNSUPPORTED when it has nothing
 *         for this machine; ERR_NOT_FOUND when there is no such file; ERR_FULL_DISK. Nothing
 *         half-loaded stays visible
 */
MUST_CHECK int image_load(struct image_store *store, const char *path, const char *rename,
                          image_progress_fn progress, void *context, struct arena *arena,
                          struct text_list *out_names, struct err *err);

/**
 * Find an image by reference: name, name:tag, name@digest, each normalised as Docker does
 * (`redis` is docker.io/library/redis:latest).
 *
 * A digest finds an image of the same repository by its manifest's or its index's digest; the tag
 * beside a digest does not matter.
 *
 * @return 0; ERR_NOT_FOUND with a sentence that names the reference; ERR_INVALID when it is no
 *         reference; ERR_CORRUPT when what is stored is damaged
 */
MUST_CHECK int image_resolve(struct image_store *store, struct text reference, struct arena *arena,
                             struct image *out_image, struct err *err);

/**
 * Find what a reference pointed to once: the image with that digest of its manifest, whatever the
 * reference points to now.
 *
 * What no name refers to any more is there until something is removed, and beyond that while an
 * overlay mounted on this host shows its uppermost layer.
 *
 * @return as image_resolve; ERR_INVALID also when the digest is none
 */
MUST_CHECK int image_resolve_pinned(struct image_store *store, struct text reference,
                                    struct text digest, struct arena *arena,
                                    struct image *out_image, struct err *err);

/** Normalise a reference as above. @return 0, or ERR_INVALID */
MUST_CHECK int image_normalise(struct text reference, struct arena *arena, struct text *out_name);

/** List all named images, ordered by name. A damaged one has a name and a digest only. */
MUST_CHECK int image_list(struct image_store *store, struct arena *arena, struct image **out_images,
                          size_t *out_count, struct err *err);

/**
 * Remove a name, and all content that no name refers to any more.
 *
 * A reference with a digest removes every name of its repository that has that digest. Layers that
 * an overlay mounted anywhere on this host shows by their directory stay, for a later removal to
 * take. The caller ensures that nobody is between image_resolve and mounting: such a mount fails,
 * or shows less than the image.
 *
 * @return 0; ERR_NOT_FOUND; ERR_CORRUPT when the name is gone but another image is so damaged that
 *         nobody can tell what they share
 */
MUST_CHECK int image_remove(struct image_store *store, struct text reference, struct err *err);

/** An image of the store, with or without a name. */
struct image_content {
    struct text digest;     ///< of the manifest
    struct text_list names; ///< that point to it; none when all have moved on
    bool in_use;            ///< a container shows it, or it was looked up in the last ten minutes
    uint64_t size_bytes;    ///< of the unpacked layers, also of those that it shares
};

/**
 * List what the store holds, ordered by digest.
 *
 * @return 0, or ERR_SYS; what is damaged is left out unless it has a name
 */
MUST_CHECK int image_contents(struct image_store *store, struct arena *arena,
                              struct image_content **out_contents, size_t *out_count,
                              struct err *err);

/**
 * Remove images by digest, with their names, unless one has come into use since; and what belongs
 * to no image: layers and documents that a killed load or removal left, and its scratch. All other
 * images stay, also those without a name.
 *
 * @return 0; ERR_CORRUPT when a named image is so damaged that nobody can tell what it shares, and
 *         nothing was removed; ERR_SYS
 */
MUST_CHECK int image_collect(struct image_store *store, const struct text_list *digests,
                             struct err *err);
