#include "secrets/common.h"

#include "base/text.h"

void secrets_stock_init(struct secrets_stock *stock)
{
    stock->by_name = index_new();
    stock->versions = index_new();
}

void secrets_stock_deinit(struct secrets_stock *stock)
{
    index_free(stock->by_name);
    index_free(stock->versions);
    map_deinit(&stock->counts);
}

size_t secrets_foreign(const struct core *core, const struct core_kind *versions,
                       struct text (*sealed)(const void *record))
{
    const struct seal_cipher *cipher = secrets_cipher(core);
    size_t count = 0;
    for (int64_t key = core_next(core, versions, 0); cipher != NULL && key != 0;
         key = core_next(core, versions, key)) {
        count += seal_fits(cipher, sealed(core_get(core, versions, key))) ? 0 : 1;
    }
    return count;
}

void secrets_count_change(struct map *counts, int64_t realm, int change)
{
    uintptr_t count = (uintptr_t)map_get_u64(counts, (uint64_t)realm);
    ASSERT(change > 0 || count > 0);
    count = change > 0 ? count + 1 : count - 1;
    if (count == 0) {
        map_remove_u64(counts, (uint64_t)realm);
    } else {
        map_put_u64(counts, (uint64_t)realm, (void *)count);
    }
}

size_t secrets_count(const struct map *counts, int64_t realm)
{
    return (size_t)(uintptr_t)map_get_u64(counts, (uint64_t)realm);
}

// ---- tags ---------------------------------------------------------------------------------------

static bool tag_listed(const struct secrets_record_tag_list *tags, size_t count, struct text key)
{
    for (size_t i = 0; i < count; i++) {
        if (text_equal(tags->items[i].key, key)) {
            return true;
        }
    }
    return false;
}

struct text tags_fault(struct arena *arena, const struct secrets_record_tag_list *tags)
{
    for (size_t i = 0; i < tags->count; i++) {
        struct text key = tags->items[i].key;
        if (text_empty(key)) {
            return TEXT("A tag needs a key.");
        }
        if (text_equal_nocase(text_slice(key, 0, 4), TEXT("aws:"))) {
            return arena_format(arena, "Tag keys that begin with 'aws:' are reserved. Key: %.*s",
                                TEXT_FMT(key));
        }
        if (tag_listed(tags, i, key)) {
            return arena_format(arena, "Duplicate tag keys found. Key: %.*s", TEXT_FMT(key));
        }
    }
    return (struct text){0};
}

struct secrets_record_tag_list tags_merge(struct arena *arena,
                                          const struct secrets_record_tag_list *tags,
                                          const struct secrets_record_tag_list *more)
{
    struct secrets_record_tag_list merged = {
        .items = arena_array(arena, tags->count + more->count, sizeof(*merged.items))};
    for (size_t i = 0; i < tags->count; i++) {
        if (!tag_listed(more, more->count, tags->items[i].key)) {
            merged.items[merged.count++] = tags->items[i];
        }
    }
    for (size_t i = 0; i < more->count; i++) {
        merged.items[merged.count++] = more->items[i];
    }
    return merged;
}

struct secrets_record_tag_list tags_without(struct arena *arena,
                                            const struct secrets_record_tag_list *tags,
                                            const struct text_list *keys)
{
    struct secrets_record_tag_list left = {
        .items = arena_array(arena, tags->count, sizeof(*left.items))};
    for (size_t i = 0; i < tags->count; i++) {
        bool listed = false;
        for (size_t j = 0; j < keys->count; j++) {
            listed = listed || text_equal(keys->items[j], tags->items[i].key);
        }
        if (!listed) {
            left.items[left.count++] = tags->items[i];
        }
    }
    return left;
}
