#pragma once

#include "base/file.h"
#include "base/map.h"
#include "base/text.h"
#include "image/image.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <zlib.h>
#include <zstd.h>

/*
 * What the parts of the image store share.
 *
 * The store on disk:
 *
 *   lock                   flock: exclusive to change what is visible, shared to read it
 *   blobs/sha256/HEX       manifests and configurations, as they came
 *   layers/HEX/fs          an unpacked layer, ready to be an overlay lower directory; HEX is its
 *   layers/HEX/layer.json  diff id, and this says how large it is and whether it hides all below
 *   names/NAME             which manifest a reference points to
 *   tmp/ID                 what a running load or removal works on; flock'ed while its owner lives
 *
 * Everything is made whole below tmp, brought to the disk, and renamed into place under the lock.
 * The order layers, blobs, names means that what is visible is complete after any crash.
 */

#define IMAGE_JSON_MAX (4u << 20) ///< a manifest or configuration; registries allow 4 MiB
#define IMAGE_ENTRIES_MAX 1000000 ///< entries of one layer; the largest known have 300,000
#define IMAGE_FILES_MAX 32768     ///< files of an archive: 4 per layer in the oldest form
#define IMAGE_LAYERS_MAX 500      ///< overlayfs stacks no more lower directories
#define IMAGE_IMAGES_MAX 1024     ///< images of one archive
#define IMAGE_INDEX_DEPTH_MAX 4   ///< an index in an index; two levels occur
#define IMAGE_PATH_MAX 4095       ///< PATH_MAX without its terminator
#define IMAGE_DEPTH_MAX 256       ///< directories in directories; half of what removal can do
#define IMAGE_DIRECTORY_BYTES_MAX (64u << 20) ///< names of a layer's directories, kept for mtimes
#define IMAGE_REFERENCE_MAX 512 ///< repository 255, tag 128, digest 71, two separators
#define IMAGE_STRINGS_MAX 4096  ///< environment or arguments of an image

#define IMAGE_DIGEST_BYTES 32
#define IMAGE_HEX_SIZE (2 * IMAGE_DIGEST_BYTES + 1)

/** An open store. Threads may share it: what is not constant after image_open has a lock. */
struct image_store {
    char *path; ///< absolute, no links in it
    int dir_fd;
    int tmp_fd;
    int blobs_fd; ///< blobs/sha256
    int layers_fd;
    int names_fd;
    bool sync; ///< bring content to the disk before it becomes visible; off in tests only
    pthread_mutex_t use_lock;
    struct map used; ///< hex of a manifest to when it was looked up last; values are owned
};

/* ---- references: image_name.c */

/** A reference taken apart. Absent parts have no data. */
struct image_reference {
    struct text repository; ///< with its domain: docker.io/library/redis
    struct text tag;
    struct text digest; ///< sha256:...
};

/** Parse as Docker does; no default tag is put in. @return 0, or ERR_INVALID */
MUST_CHECK int image_reference_parse(struct text reference, struct arena *arena,
                                     struct image_reference *out_reference);

/** The text form, with the tag `latest` when there is neither a tag nor a digest. */
struct text image_reference_text(const struct image_reference *reference, struct arena *arena);

/** The file in names/ of a normalised reference: readable when short, a digest when not. */
struct text image_name_file(struct text name, struct arena *arena);

/** @return whether text is `sha256:` and 64 lower-case hex digits */
bool image_is_digest(struct text text);

/** @return the hex digits of a text that is a digest, borrowed */
struct text image_digest_hex(struct text digest);

/* ---- digests and decompression: image_stream.c */

/** Hash a text. Writes IMAGE_HEX_SIZE characters. */
void image_hash(struct text content, char *out_hex);

enum image_compression { IMAGE_PLAIN, IMAGE_GZIP, IMAGE_ZSTD };

/** A descriptor read once, front to back: hashed, decompressed, and hashed again. */
struct image_stream {
    int fd; ///< borrowed
    enum image_compression compression;
    bool fd_ended;
    bool began;          ///< something was decompressed
    bool between_frames; ///< the last gzip member or zstd frame is complete
    bool ended;
    bool failed; ///< reading met an error, and will meet it again
    EVP_MD_CTX *raw_hash;
    EVP_MD_CTX *data_hash;
    z_stream gzip;
    ZSTD_DStream *zstd;
    uint8_t *input;
    size_t input_at;
    size_t input_size;
    uint64_t raw_bytes;
    uint64_t data_bytes;
    image_progress_fn progress; ///< NULL for none; told raw_bytes
    void *progress_context;
    uint64_t progress_total;
};

/**
 * Start reading fd; its compression is recognised by its first bytes.
 *
 * @param stream  zeroed storage
 * @param hashed  whether image_stream_finish will be asked for digests
 */
MUST_CHECK int image_stream_init(struct image_stream *stream, int fd, bool hashed, struct err *err);

/** Read decompressed bytes. @return 0 with *out_got == 0 at the end; ERR_INVALID when damaged */
MUST_CHECK int image_stream_read(struct image_stream *stream, void *out, size_t size,
                                 size_t *out_got, struct err *err);

/**
 * Read the rest and tell both digests in hex.
 *
 * @param out_raw   of the bytes of the descriptor, IMAGE_HEX_SIZE
 * @param out_data  of the decompressed bytes, IMAGE_HEX_SIZE
 */
MUST_CHECK int image_stream_finish(struct image_stream *stream, char *out_raw, char *out_data,
                                   struct err *err);

/** Release; the descriptor stays open. */
void image_stream_deinit(struct image_stream *stream);

AUTO_VALUE(struct image_stream, image_stream_deinit)

/* ---- tar archives: image_tar.c */

struct archive;
struct archive_entry;

/** A tar archive read from a stream. Libarchive parses; reading and decompressing are ours. */
struct image_tar {
    struct image_stream *stream; ///< borrowed
    struct archive *archive;
    void *block;
    struct err err; ///< why the stream could not be read; code 0 while it could
};

/** Start reading. Zeroed storage, which must not move. */
MUST_CHECK int image_tar_init(struct image_tar *tar, struct image_stream *stream, struct err *err);

/** The next entry, valid until the next call; NULL at the end. @return 0, ERR_INVALID, ERR_SYS */
MUST_CHECK int image_tar_next(struct image_tar *tar, struct archive_entry **out_entry,
                              struct err *err);

/** Copy the entry's data into a file, keeping holes. @param out_bytes written, without holes */
MUST_CHECK int image_tar_copy(struct image_tar *tar, struct archive_entry *entry, int fd,
                              uint64_t *out_bytes, struct err *err);

/** Release. */
void image_tar_deinit(struct image_tar *tar);

AUTO_VALUE(struct image_tar, image_tar_deinit)

/* ---- one layer: image_layer.c */

/** What unpacking told about a layer. */
struct image_layer_info {
    uint64_t size_bytes; ///< of its files
    uint64_t tar_bytes;  ///< of the uncompressed archive
    bool opaque;         ///< its root hides all layers below
};

/**
 * Unpack a layer's tar into an empty directory, with overlayfs's whiteouts.
 *
 * @return 0; ERR_INVALID for a damaged or hostile archive; ERR_FULL_DISK. What was written until
 *         then stays: the caller removes the directory
 */
MUST_CHECK int image_layer_unpack(struct image_stream *stream, int root_fd,
                                  struct image_layer_info *out_info, struct err *err);

/** A path of an archive, cleaned: no leading or doubled slashes, no `.`; `..` is refused. */
MUST_CHECK int image_path_clean(const char *path, struct buf *out, struct err *err);

/* ---- JSON documents: image_document.c */

/** A reference to a blob, out of an index or a manifest. */
struct image_descriptor {
    struct text media_type;
    struct text digest;       ///< sha256:..., checked
    struct text architecture; ///< absent without a platform
    struct text os;
    struct text variant;
    struct text name;  ///< from the annotations; absent when there is none
    bool has_bare_tag; ///< the annotation was a tag without a name
};

/** An index or a manifest. */
struct image_document {
    bool is_index;
    struct image_descriptor *items; ///< images of an index, layers of a manifest
    size_t count;
    struct image_descriptor config; ///< of a manifest
};

/** A configuration. */
struct image_config {
    struct image image;        ///< without name, digest, layers and size
    struct text_list diff_ids; ///< sha256:..., checked
};

/** One image of a manifest.json of docker save. */
struct image_docker_entry {
    struct text config;      ///< path in the archive
    struct text_list layers; ///< paths in the archive
    struct text_list tags;
};

/** All of them. */
struct image_docker_manifest {
    struct image_docker_entry *items;
    size_t count;
};

/** Parse an index or manifest, OCI's or Docker's. @return 0 or ERR_INVALID */
MUST_CHECK int image_document_parse(struct text json, struct arena *arena,
                                    struct image_document *out_document, struct err *err);

/** Parse a configuration. @return 0 or ERR_INVALID */
MUST_CHECK int image_config_parse(struct text json, struct arena *arena,
                                  struct image_config *out_config, struct err *err);

/** Parse the manifest.json of docker save. @return 0 or ERR_INVALID */
MUST_CHECK int image_docker_parse(struct text json, struct arena *arena,
                                  struct image_docker_manifest *out_manifest, struct err *err);

/** What a file in names/ says. */
struct image_record {
    struct text name;
    struct text manifest; ///< digest
    struct text index;    ///< digest of the index it was chosen from; absent when none
};

/** Parse a file of names/. @return 0 or ERR_CORRUPT */
MUST_CHECK int image_record_parse(struct text json, struct arena *arena,
                                  struct image_record *out_record, struct err *err);

/** The JSON of a record. */
struct text image_record_format(const struct image_record *record, struct arena *arena);

/** Parse a layer.json. @return 0 or ERR_CORRUPT */
MUST_CHECK int image_layer_info_parse(struct text json, struct image_layer_info *out_info,
                                      struct err *err);

/** The JSON of a layer's facts. */
struct text image_layer_info_format(const struct image_layer_info *info, struct arena *arena);

/** The OCI manifest that stands for an image of docker save, which has none. */
struct text image_manifest_format(struct text config_digest, size_t config_bytes,
                                  const struct text_list *diff_ids,
                                  const struct image_layer_info *infos, struct arena *arena);

/** OCI's name of this machine's architecture, such as amd64; variant may be NULL. */
const char *image_architecture(const char **out_variant);

/** How well a descriptor's platform fits this machine: 0 not, 1 none is told, 2 it does. */
int image_platform_score(const struct image_descriptor *descriptor);

/* ---- where an archive's files come from: image_source.c */

struct image_source;

/** What image_source_open reports to, and where it may write. */
struct image_source_options {
    const char *path; ///< file, directory, or "-"
    int spool_fd;     ///< directory for the files of an archive
    image_progress_fn progress;
    void *progress_context;
};

/** Open a directory, or read an archive through into the spool directory. */
MUST_CHECK int image_source_new(const struct image_source_options *options,
                                struct image_source **out_source, struct err *err);

/** Release; spooled files are left to whoever removes the directory. NULL is allowed. */
void image_source_free(struct image_source *source);

AUTO_POINTER(struct image_source, image_source_free)

/** Open one of its files. @return 0, ERR_NOT_FOUND */
MUST_CHECK int image_source_open(struct image_source *source, struct text path, int *out_fd,
                                 struct err *err);

/** Append one of its files, at most IMAGE_JSON_MAX. @return 0, ERR_NOT_FOUND, ERR_INVALID */
MUST_CHECK int image_source_read(struct image_source *source, struct text path, struct buf *out,
                                 struct err *err);

/** Read a blob by digest and verify it. @return 0, ERR_INVALID */
MUST_CHECK int image_source_read_blob(struct image_source *source, struct text digest,
                                      struct buf *out, struct err *err);

/** Bytes of the archive as told before reading: 0 when unknown, or a directory. */
uint64_t image_source_total_bytes(const struct image_source *source);

/** Bytes of the archive that were read; 0 for a directory. */
uint64_t image_source_read_bytes(const struct image_source *source);

/* ---- the store: image.c */

/** Take the store's lock. @param exclusive false to read only. @return the descriptor that holds it
 */
MUST_CHECK int image_lock(const struct image_store *store, bool exclusive, int *out_fd,
                          struct err *err);

/** A directory of one's own below tmp. */
struct image_scratch {
    const struct image_store *store;
    char name[40];
    int fd; ///< negative when there is none; holds the flock that tells it is in use
};

/** Make one. The store's lock must not be held by the caller unless locked says so. */
MUST_CHECK int image_scratch_create(const struct image_store *store, bool locked,
                                    struct image_scratch *out_scratch, struct err *err);

/** Remove it and all that is in it. */
void image_scratch_destroy(struct image_scratch *scratch);

AUTO_VALUE(struct image_scratch, image_scratch_destroy)

/** Read a blob of the store and verify it. @return 0, ERR_NOT_FOUND, ERR_CORRUPT */
MUST_CHECK int image_blob_read(const struct image_store *store, struct text digest, struct buf *out,
                               struct err *err);

/** Read the record of a name. @return 0, ERR_NOT_FOUND, ERR_CORRUPT */
MUST_CHECK int image_record_read(const struct image_store *store, const char *file,
                                 struct arena *arena, struct image_record *out_record,
                                 struct err *err);

/** Facts of a layer in the store. @return 0, ERR_NOT_FOUND, ERR_CORRUPT */
MUST_CHECK int image_layer_info_read(const struct image_store *store, struct text diff_id,
                                     struct image_layer_info *out_info, struct err *err);

/** All records, ordered by name. The caller holds the lock. */
MUST_CHECK int image_records(const struct image_store *store, struct arena *arena,
                             struct image_record **out_records, size_t *out_count, struct err *err);

/** Find the record of a reference. The caller holds the lock. @return 0, ERR_NOT_FOUND, ... */
MUST_CHECK int image_record_find(const struct image_store *store, struct text reference,
                                 struct arena *arena, struct image_record *out_record,
                                 struct err *err);

/** Diff ids of an image, out of its configuration. */
MUST_CHECK int image_config_read(const struct image_store *store, struct text manifest_digest,
                                 struct arena *arena, struct image_config *out_config,
                                 struct text *out_config_digest, struct err *err);

/* ---- what may go: image_remove.c, image_collect.c */

/** What must stay. Values of the maps only say that the key is there. */
struct image_live {
    struct map blobs;  ///< by hex
    struct map layers; ///< by hex
};

/** Release. */
void image_live_deinit(struct image_live *live);

AUTO_VALUE(struct image_live, image_live_deinit)

/** A manifest stays, with its configuration and layers. Borrows all three. */
void image_live_add(struct image_live *live, struct text manifest, struct text config_digest,
                    const struct image_config *config);

/** Every image with a name stays. @return 0; ERR_CORRUPT when one is damaged */
MUST_CHECK int image_live_named(const struct image_store *store, struct arena *arena,
                                struct image_live *live, struct err *err);

/** Name every layer that an overlay shows that is mounted anywhere on this host. */
void image_mounted_layers(struct map *layers);

/** @return whether a file is called as content is */
bool image_is_hex_name(const char *name);

/** Move all else into a new scratch directory. Under the exclusive lock. */
MUST_CHECK int image_take_dead(const struct image_store *store, const struct image_live *live,
                               const struct map *mounted, struct image_scratch *scratch,
                               struct err *err);

/** Sweep what killed loads and removals left. */
MUST_CHECK int image_sweep(const struct image_store *store, struct err *err);

/** An image was looked up by this process: it is going to be mounted. */
void image_note_use(struct image_store *store, struct text manifest);

/** Forget all that was noted; the store is being closed. */
void image_forget_uses(struct image_store *store);
