#include "base/map.h"
#include "base/text.h"
#include "shape/shape_internal.h"

// Differences found so far, growing by doubling in the arena.
struct differ {
    struct arena *arena;
    struct shape_changes changes;
    size_t capacity;
};

static struct text json_of(struct differ *differ, const struct shape_type *type, const void *value)
{
    if (value == NULL) {
        return (struct text){0};
    }
    AUTO(buf_deinit) struct buf json = {0};
    json_put_value(type, value, JSON_MASKED, &json);
    return arena_text(differ->arena, buf_view(&json));
}

static void add_change(struct differ *differ, const struct shape_path *path, struct text before,
                       struct text after)
{
    struct shape_changes *changes = &differ->changes;
    if (changes->count == differ->capacity) {
        differ->capacity = MAX(2 * differ->capacity, (size_t)8);
        struct shape_change *items = arena_array(differ->arena, differ->capacity, sizeof(*items));
        if (changes->count > 0) {
            memcpy(items, changes->items, changes->count * sizeof(*items));
        }
        changes->items = items;
    }
    AUTO(buf_deinit) struct buf written = {0};
    shape_path_write(path, &written);
    changes->items[changes->count++] = (struct shape_change){
        .path = arena_text(differ->arena, buf_view(&written)),
        .before = before,
        .after = after,
    };
}

static void diff_struct(struct differ *differ, const struct shape_type *type, const void *before,
                        const void *after, const struct shape_path *path);
static void diff_value(struct differ *differ, const struct shape_type *type, const void *before,
                       const void *after, const struct shape_path *path);

// The member by which elements of a list are matched, or NULL.
static const struct shape_member *name_member(const struct shape_type *type)
{
    if (type->kind != SHAPE_LIST || type->element->kind != SHAPE_STRUCT) {
        return NULL;
    }
    const struct shape_member *name = shape_find(type->element, TEXT("name"));
    return name != NULL && name->type->kind == SHAPE_TEXT ? name : NULL;
}

// What elements of both sides are matched by: the key of a map's entry or an element's name.
static struct text item_key(const struct shape_type *type, const struct shape_member *name,
                            const void *item)
{
    return *(const struct text *)(type->kind == SHAPE_MAP ? item : shape_at(name, item));
}

static const void *item_at(const struct shape_type *type, const struct shape_list *list, size_t i)
{
    return (const char *)list->items + i * shape_stride(type);
}

static const void *item_value(const struct shape_type *type, const void *item)
{
    return type->kind == SHAPE_MAP ? (const char *)item + type->value_offset : item;
}

// Fills index with the items by key. @return false when one has no key or shares it.
static bool index_items(const struct shape_type *type, const struct shape_member *name,
                        const struct shape_list *list, struct map *index)
{
    for (size_t i = 0; i < list->count; i++) {
        const void *item = item_at(type, list, i);
        struct text key = item_key(type, name, item);
        if (key.data == NULL || map_put(index, key, (void *)(uintptr_t)item) != NULL) {
            return false;
        }
    }
    return true;
}

static void diff_by_position(struct differ *differ, const struct shape_type *type,
                             const struct shape_list *before, const struct shape_list *after,
                             const struct shape_path *path)
{
    for (size_t i = 0; i < MAX(before->count, after->count); i++) {
        struct shape_path here = {.parent = path, .index = i};
        diff_value(differ, type->element, i < before->count ? item_at(type, before, i) : NULL,
                   i < after->count ? item_at(type, after, i) : NULL, &here);
    }
}

// What was there, in its order, then what is new, in its order.
static void diff_by_key(struct differ *differ, const struct shape_type *type,
                        const struct shape_list *before, const struct shape_list *after,
                        const struct shape_path *path)
{
    const struct shape_member *name = name_member(type);
    AUTO(map_deinit) struct map old = {0};
    AUTO(map_deinit) struct map new = {0};
    if (!index_items(type, name, before, &old) || !index_items(type, name, after, &new)) {
        diff_by_position(differ, type, before, after, path);
        return;
    }
    for (size_t i = 0; i < before->count; i++) {
        const void *item = item_at(type, before, i);
        struct shape_path here = {.parent = path, .key = item_key(type, name, item)};
        const void *match = map_get(&new, here.key);
        diff_value(differ, type->element, item_value(type, item),
                   match == NULL ? NULL : item_value(type, match), &here);
    }
    for (size_t i = 0; i < after->count; i++) {
        const void *item = item_at(type, after, i);
        struct shape_path here = {.parent = path, .key = item_key(type, name, item)};
        if (map_get(&old, here.key) == NULL) {
            diff_value(differ, type->element, NULL, item_value(type, item), &here);
        }
    }
}

static void diff_list(struct differ *differ, const struct shape_type *type, const void *before,
                      const void *after, const struct shape_path *path)
{
    size_t count = differ->changes.count;
    if (type->kind == SHAPE_MAP || name_member(type) != NULL) {
        diff_by_key(differ, type, before, after, path);
    } else {
        diff_by_position(differ, type, before, after, path);
    }
    // Named elements may differ in nothing but their order.
    if (count == differ->changes.count && !shape_value_equal(type, before, after)) {
        add_change(differ, path, json_of(differ, type, before), json_of(differ, type, after));
    }
}

// A side that is NULL is absent. Texts, numbers and whatever is there on one side only are the
// smallest parts.
static void diff_value(struct differ *differ, const struct shape_type *type, const void *before,
                       const void *after, const struct shape_path *path)
{
    bool both = before != NULL && after != NULL;
    if (both && type->kind == SHAPE_STRUCT) {
        diff_struct(differ, type, before, after, path);
        return;
    }
    if (both && (type->kind == SHAPE_LIST || type->kind == SHAPE_MAP)) {
        diff_list(differ, type, before, after, path);
        return;
    }
    if (both ? !shape_value_equal(type, before, after) : before != after) {
        add_change(differ, path, json_of(differ, type, before), json_of(differ, type, after));
    }
}

static void diff_struct(struct differ *differ, const struct shape_type *type, const void *before,
                        const void *after, const struct shape_path *path)
{
    for (size_t i = 0; i < type->member_count; i++) {
        const struct shape_member *member = &type->members[i];
        struct shape_path here = {.parent = path, .name = member->name};
        const void *old = shape_present(member, before) ? shape_value(member, before) : NULL;
        const void *new = shape_present(member, after) ? shape_value(member, after) : NULL;
        if ((member->flags & SHAPE_SENSITIVE) == 0) {
            diff_value(differ, member->type, old, new, &here);
            continue;
        }
        bool both = old != NULL && new != NULL;
        if (both ? !shape_value_equal(member->type, old, new) : old != new) {
            add_change(differ, &here, old == NULL ? (struct text){0} : TEXT("\"***\""),
                       new == NULL ? (struct text){0} : TEXT("\"***\""));
        }
    }
}

struct shape_changes shape_diff(const struct shape_type *type, const void *before,
                                const void *after, struct arena *arena)
{
    ASSERT(type->kind == SHAPE_STRUCT);
    struct differ differ = {.arena = arena};
    diff_struct(&differ, type, before, after, NULL);
    return differ.changes;
}
