#pragma once

#include "base/map.h"
#include "core/index.h"
#include "secrets/secrets.h"

/*
 * What secrets_module and parameter_module have in common: the cipher, tags, counts by realm.
 */

/** @return what seals and opens values; NULL when none was given */
const struct seal_cipher *secrets_cipher(const struct core *core);

/** What secrets and parameters both keep of their records, derived and never stored. */
struct secrets_stock {
    struct index *by_name;  ///< realm, name; of those that are there
    struct index *versions; ///< by what they are versions of
    struct map counts;      ///< by realm: count as a pointer
    int64_t stored_bytes;   ///< of all values
};

/** Make it empty. */
void secrets_stock_init(struct secrets_stock *stock);

/** Free what it holds. */
void secrets_stock_deinit(struct secrets_stock *stock);

/** @return how many versions of a kind were sealed with another key than the cipher's */
size_t secrets_foreign(const struct core *core, const struct core_kind *versions,
                       struct text (*sealed)(const void *record));

/** Count something more or less, by 1 or -1, under a realm. */
void secrets_count_change(struct map *counts, int64_t realm, int change);

/** @return how many were counted under a realm */
size_t secrets_count(const struct map *counts, int64_t realm);

/** @return what is wrong with tags, as a sentence in the arena; absent when nothing is */
struct text tags_fault(struct arena *arena, const struct secrets_record_tag_list *tags);

/** @return tags with others in the place of those of the same key, and behind the rest */
struct secrets_record_tag_list tags_merge(struct arena *arena,
                                          const struct secrets_record_tag_list *tags,
                                          const struct secrets_record_tag_list *more);

/** @return tags without those of some keys */
struct secrets_record_tag_list tags_without(struct arena *arena,
                                            const struct secrets_record_tag_list *tags,
                                            const struct text_list *keys);
