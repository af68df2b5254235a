#pragma once

#include "image/image_internal.h"

#include <sys/stat.h>

/*
 * What the parts of unpacking a layer share; see image_layer.c.
 */

/** A cleaned path, cut before its last component. */
struct image_place {
    int parent_fd;    ///< borrowed from the unpacker
    const char *base; ///< last component; NULL for the root itself
    const char *path; ///< the whole, for messages
};

/** One layer being unpacked. */
struct image_unpacker {
    struct image_tar tar;
    int root_fd;
    uint64_t entry_count;
    struct buf path;        ///< of the entry
    struct buf parent;      ///< of the directory behind parent_fd
    int parent_fd;          ///< last parent, as entries come grouped by directory; -1 for none
    struct buf directories; ///< those met, with times that are set when nothing changes any more
    struct image_layer_info info;
};

/* ---- image_layer_place.c */

/** Open a directory of the layer, by a path with the layer as its root. @return a descriptor, or
 *  negative with errno */
int image_layer_open(int root_fd, const char *path, uint64_t extra_resolve);

/** Clean an entry's path and open the directory it belongs into, which is made when it is missing.
 */
MUST_CHECK int image_place_find(struct image_unpacker *unpacker, const char *path,
                                struct image_place *out_place, struct err *err);

/** Make room for an entry: a later one of the same name replaces the earlier. */
MUST_CHECK int image_place_clear(const struct image_place *place, struct err *err);

/** The directory that was opened last may have been replaced: open it anew. */
void image_place_forget(struct image_unpacker *unpacker);

/** @return whether a file says that there is none, as overlayfs has it */
bool image_is_whiteout(const struct stat *status);

/** Have a directory hide what lies below it in other layers. */
MUST_CHECK int image_set_opaque(struct image_unpacker *unpacker, int fd, bool is_root,
                                struct err *err);

/* ---- image_layer_attributes.c */

/** @return when the entry was changed last */
struct timespec image_entry_time(struct archive_entry *entry);

/** Set owner, mode and extended attributes of what is open. */
MUST_CHECK int image_set_attributes(struct archive_entry *entry, int fd, const char *path,
                                    struct err *err);

/** For what cannot be opened without side effects: links, devices, pipes. */
MUST_CHECK int image_set_attributes_at(struct archive_entry *entry, const struct image_place *place,
                                       bool is_link, struct err *err);

/** Note a directory's time, to be set when nothing in it changes any more. */
MUST_CHECK int image_note_time(struct image_unpacker *unpacker, struct archive_entry *entry,
                               const char *path, struct err *err);

/** Set the times that were noted. */
MUST_CHECK int image_apply_times(struct image_unpacker *unpacker, struct err *err);
