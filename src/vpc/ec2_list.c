#include "vpc/ec2_internal.h"

#include "base/text.h"

#include <string.h>

#define LIST_FIRST 8 // items that there is room for at first; a power of two

/*
 * What the describing operations share: a page of what a request asks for, in ascending key.
 *
 * Only what may be asked for is looked at: what is named by id, else what a filter for a value
 * without wildcards leads to, else the resources of the VPC behind the last page.
 */

// ---- what is looked at ---------------------------------------------------------------------

static bool exact(const struct ec2_filter *filter)
{
    for (size_t i = 0; i < filter->value.count; i++) {
        struct text value = filter->value.items[i];
        if (text_find(value, '*') != SIZE_MAX || text_find(value, '?') != SIZE_MAX ||
            text_find(value, '\\') != SIZE_MAX) {
            return false;
        }
    }
    return true;
}

static const struct index *index_for(const struct ec2_finder *finder, struct text filter)
{
    for (size_t i = 0; i < EC2_FINDER_FILTERS && finder->filters[i].name != NULL; i++) {
        if (text_is(filter, finder->filters[i].name)) {
            return finder->filters[i].index;
        }
    }
    return NULL;
}

void ec2_walk_open(const struct ec2_scope *scope, const struct ec2_finder *finder,
                   const struct ec2_filters *filters, int64_t after, struct ec2_walk *out_walk)
{
    *out_walk = (struct ec2_walk){0};
    for (size_t i = 0; i < filters->count; i++) {
        const struct ec2_filter *filter = &filters->items[i];
        const struct index *index = index_for(finder, filter->name);
        if (index != NULL && filter->value.count == 1 && exact(filter)) {
            vpc_named_walk(index, scope->vpc, filter->value.items[0], after, &out_walk->cursor);
            return;
        }
    }
    vpc_walk(finder->all, scope->vpc, after, &out_walk->cursor);
}

void ec2_walk_named(struct core_call *call, size_t most, int64_t after, struct ec2_walk *out_walk)
{
    *out_walk = (struct ec2_walk){
        .keys = arena_array(call->arena, most + 1, sizeof(*out_walk->keys)), .after = after};
}

void ec2_walk_add(struct ec2_walk *walk, int64_t key)
{
    size_t at = walk->key_count;
    while (at > 0 && walk->keys[at - 1] > key) {
        at--;
    }
    if (key <= walk->after || (at > 0 && walk->keys[at - 1] == key)) {
        return;
    }
    for (size_t i = walk->key_count; i > at; i--) {
        walk->keys[i] = walk->keys[i - 1];
    }
    walk->keys[at] = key;
    walk->key_count++;
}

int64_t ec2_walk_next(struct ec2_walk *walk)
{
    if (walk->keys == NULL) {
        return index_step(&walk->cursor);
    }
    return walk->at == walk->key_count ? 0 : walk->keys[walk->at++];
}

// ---- a page --------------------------------------------------------------------------------

int ec2_describe_open(struct core_call *call, const struct ec2_filters *filters,
                      const struct ec2_paging *paging, struct ec2_scope *out_scope,
                      struct ec2_page *out_page)
{
    int rc = ec2_open(call, out_scope);
    rc = rc == 0 ? ec2_filters_check(call, filters) : rc;
    return rc == 0 ? ec2_page_open(call, paging->has_max, paging->max, paging->token, out_page)
                   : rc;
}

// Most answers are short, a page may be long.
static void *grown(struct core_call *call, const void *items, size_t count, size_t item_bytes)
{
    if (count > 0 && (count < LIST_FIRST || (count & (count - 1)) != 0)) {
        return (void *)(uintptr_t)items;
    }
    void *more = arena_array(call->arena, count == 0 ? LIST_FIRST : 2 * count, item_bytes);
    if (count > 0) {
        memcpy(more, items, count * item_bytes);
    }
    return more;
}

void ec2_list(struct core_call *call, const struct ec2_scope *scope, struct ec2_walk *walk,
              const struct ec2_listed *listed, const struct ec2_page *page,
              struct ec2_list *out_list)
{
    void *resource = arena_alloc(call->arena, listed->resource_bytes);
    *out_list = (struct ec2_list){.items = grown(call, NULL, 0, listed->item_bytes)};
    int64_t last = page->after;
    for (int64_t key = ec2_walk_next(walk); key != 0; key = ec2_walk_next(walk)) {
        listed->open(call, scope, key, resource);
        if (!ec2_filters_pass(call, listed->filters, resource)) {
            continue;
        }
        if (out_list->count == page->size) {
            out_list->next_token = ec2_page_token(call, last, (struct text){0});
            return;
        }
        out_list->items = grown(call, out_list->items, out_list->count, listed->item_bytes);
        listed->show(call, resource,
                     (char *)out_list->items + out_list->count * listed->item_bytes);
        out_list->count++;
        last = key;
    }
}
