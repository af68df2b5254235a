#include "vpc/vpc_internal.h"

#include "base/limits.h"
#include "base/text.h"

static void vpc_key(struct index_key *out_key, int64_t vpc)
{
    out_key->size = 0;
    index_key_u64(out_key, (uint64_t)vpc);
}

static void keep(struct index *index, const struct index_key *at, int64_t key, bool add)
{
    if (add) {
        index_add(index, at, key);
    } else {
        index_remove(index, at, key);
    }
}

static void walk(const struct index *index, const struct index_key *at, int64_t after,
                 struct index_cursor *out_cursor)
{
    index_walk(index, at, false, out_cursor);
    if (after != 0) {
        index_walk_after(out_cursor, at, after);
    }
}

void vpc_keep(struct index *index, int64_t vpc, int64_t key, bool add)
{
    struct index_key at;
    vpc_key(&at, vpc);
    keep(index, &at, key, add);
}

void vpc_walk(const struct index *index, int64_t vpc, int64_t after,
              struct index_cursor *out_cursor)
{
    struct index_key at;
    vpc_key(&at, vpc);
    walk(index, &at, after, out_cursor);
}

// A longer name is nobody's; what is behind its limit is left away, so that it finds nothing else.
static void name_key(struct index_key *out_key, int64_t vpc, struct text name)
{
    vpc_key(out_key, vpc);
    index_key_text(out_key, text_slice(name, 0, LIMIT_NAME_CHARS + 1));
}

void vpc_named_keep(struct index *index, int64_t vpc, struct text name, int64_t key, bool add)
{
    struct index_key at;
    name_key(&at, vpc, name);
    keep(index, &at, key, add);
}

int64_t vpc_named_find(const struct index *index, int64_t vpc, struct text name)
{
    struct index_key at;
    name_key(&at, vpc, name);
    return index_get(index, &at);
}

void vpc_named_walk(const struct index *index, int64_t vpc, struct text name, int64_t after,
                    struct index_cursor *out_cursor)
{
    struct index_key at;
    name_key(&at, vpc, name);
    walk(index, &at, after, out_cursor);
}
