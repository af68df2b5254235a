#pragma once

#include "base/map.h"
#include "secrets/secrets.h"

/*
 * What secrets_module and parameter_module have in common: the cipher, tags, counts by realm.
 */

/** @return what seals and opens values; NULL when none was given */
const struct seal_cipher *secrets_cipher(const struct core *core);

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
