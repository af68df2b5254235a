#include "shape/cbor_internal.h"

#include "base/text.h"

/*
 * Records read: hostile bytes end in an error, never outside their own end.
 */

// Moves behind one item of any kind. Counts what is still to come instead of recursing.
int cbor_skip(struct reader *reader)
{
    uint64_t pending = 1;
    while (pending > 0) {
        struct head head;
        if (read_head(reader, &head) != 0) {
            return ERR_CORRUPT;
        }
        pending--;
        switch (head.major) {
        case MAJOR_BYTES:
        case MAJOR_TEXT:
            if (head.number > reader_left(reader)) {
                return ERR_CORRUPT;
            }
            reader->at += head.number;
            break;
        case MAJOR_ARRAY:
        case MAJOR_MAP:
            // Every item takes a byte, so more items than bytes cannot be; nor can pending wrap.
            if (head.number > reader_left(reader)) {
                return ERR_CORRUPT;
            }
            pending += head.number * (head.major == MAJOR_MAP ? 2 : 1);
            break;
        case MAJOR_TAG:
            pending++;
            break;
        case MAJOR_UINT:
        case MAJOR_NEGATIVE:
        case MAJOR_SIMPLE:
            break;
        }
        if (pending > reader_left(reader)) {
            return ERR_CORRUPT;
        }
    }
    return 0;
}

// What decoding a record needs all the way down.
struct decoder {
    struct reader reader;
    const char *bytes; // the record
    char *copy;        // of the record, in the arena: what texts borrow from
    struct arena *arena;
    size_t arena_start; // total_bytes of the arena before
    struct shape_error *error;
};

static int fail(struct decoder *decoder, const struct shape_path *path, const char *clause)
{
    size_t offset = (size_t)((const char *)decoder->reader.at - decoder->bytes);
    return shape_fail(decoder->error, path, ERR_CORRUPT, "%s before byte %zu", clause, offset);
}

static int read_expected(struct decoder *decoder, enum major major, const char *clause,
                         const struct shape_path *path, uint64_t *out_number)
{
    struct head head;
    if (read_head(&decoder->reader, &head) != 0) {
        return fail(decoder, path, "ends or has a malformed item");
    }
    if (head.major != major) {
        return fail(decoder, path, clause);
    }
    *out_number = head.number;
    return 0;
}

static int read_integer(struct decoder *decoder, const struct shape_path *path, int64_t *out_value)
{
    struct head head;
    if (read_head(&decoder->reader, &head) != 0) {
        return fail(decoder, path, "ends or has a malformed item");
    }
    if (head.major != MAJOR_UINT && head.major != MAJOR_NEGATIVE) {
        return fail(decoder, path, "expected an integer");
    }
    if (head.number > INT64_MAX) {
        return fail(decoder, path, "integer out of range");
    }
    *out_value = head.major == MAJOR_UINT ? (int64_t)head.number : (int64_t)~head.number;
    return 0;
}

static int read_int(struct decoder *decoder, const struct shape_path *path, int32_t *out_value)
{
    int64_t value = 0;
    int rc = read_integer(decoder, path, &value);
    if (rc != 0) {
        return rc;
    }
    if (value < INT32_MIN || value > INT32_MAX) {
        return fail(decoder, path, "integer out of range");
    }
    *out_value = (int32_t)value;
    return 0;
}

static int read_bool(struct decoder *decoder, const struct shape_path *path, bool *out_value)
{
    struct head head;
    if (read_head(&decoder->reader, &head) != 0 || head.major != MAJOR_SIMPLE ||
        (head.info != SIMPLE_FALSE && head.info != SIMPLE_TRUE)) {
        return fail(decoder, path, "expected a bool");
    }
    *out_value = head.info == SIMPLE_TRUE;
    return 0;
}

static int read_double(struct decoder *decoder, const struct shape_path *path, double *out_value)
{
    struct head head;
    if (read_head(&decoder->reader, &head) != 0 || head.major != MAJOR_SIMPLE ||
        head.info != INFO_DOUBLE) {
        return fail(decoder, path, "expected a double");
    }
    memcpy(out_value, &head.number, sizeof(*out_value));
    return 0;
}

// Views bytes in the copy of the record. They are terminated there by overwriting the head of the
// next item, which is only read from the original.
static int read_text(struct decoder *decoder, enum major major, const struct shape_path *path,
                     struct text *out_text)
{
    uint64_t size = 0;
    int rc = read_expected(decoder, major,
                           major == MAJOR_TEXT ? "expected a text" : "expected bytes", path, &size);
    if (rc != 0) {
        return rc;
    }
    if (size > reader_left(&decoder->reader)) {
        return fail(decoder, path, "text runs over the end");
    }
    char *copy = decoder->copy + ((const char *)decoder->reader.at - decoder->bytes);
    struct text text = {copy, (size_t)size};
    decoder->reader.at += size;
    copy[size] = '\0';
    if (major == MAJOR_TEXT && !shape_is_utf8(text)) {
        return fail(decoder, path, "text is not UTF-8");
    }
    *out_text = text;
    return 0;
}

static int read_struct(struct decoder *decoder, const struct shape_type *type,
                       const struct shape_path *path, void *out);

static int read_value(struct decoder *decoder, const struct shape_type *type,
                      const struct shape_path *path, void *out);

static int read_entry(struct decoder *decoder, const struct shape_type *type,
                      const struct shape_path *path, char *entry)
{
    struct text *key = (struct text *)(void *)entry;
    int rc = read_text(decoder, MAJOR_TEXT, path, key);
    if (rc != 0) {
        return rc;
    }
    struct shape_path here = {.parent = path, .key = *key};
    return read_value(decoder, type->element, &here, entry + type->value_offset);
}

static int read_list(struct decoder *decoder, const struct shape_type *type,
                     const struct shape_path *path, struct shape_list *out)
{
    bool map = type->kind == SHAPE_MAP;
    uint64_t count = 0;
    int rc = read_expected(decoder, map ? MAJOR_MAP : MAJOR_ARRAY,
                           map ? "expected a map" : "expected an array", path, &count);
    if (rc != 0) {
        return rc;
    }
    if (count > reader_left(&decoder->reader)) {
        return fail(decoder, path, "more elements than bytes");
    }
    if (count == 0) {
        *out = (struct shape_list){SHAPE_EMPTY, 0};
        return 0;
    }
    size_t stride = shape_stride(type);
    size_t used = decoder->arena->total_bytes - decoder->arena_start;
    if (used > DECODE_BYTES_MAX || count > (DECODE_BYTES_MAX - used) / stride) {
        return fail(decoder, path, "too large");
    }
    struct shape_list list = {arena_array(decoder->arena, (size_t)count, stride), (size_t)count};
    for (size_t i = 0; i < list.count; i++) {
        char *item = (char *)list.items + i * stride;
        if (map) {
            rc = read_entry(decoder, type, path, item);
        } else {
            struct shape_path here = {.parent = path, .index = i};
            rc = read_value(decoder, type->element, &here, item);
        }
        if (rc != 0) {
            return rc;
        }
    }
    if (map && !shape_map_unique(type, &list)) {
        return fail(decoder, path, "a key is there twice");
    }
    *out = list;
    return 0;
}

static int read_enum(struct decoder *decoder, const struct shape_type *type,
                     const struct shape_path *path, int32_t *out_value)
{
    int rc = read_int(decoder, path, out_value);
    if (rc == 0 && *out_value == 0) {
        return fail(decoder, path, "an enum is never 0");
    }
    if (rc == 0 && shape_enum_name(type, *out_value) == NULL) {
        *out_value = -1;
    }
    return rc;
}

static int read_value(struct decoder *decoder, const struct shape_type *type,
                      const struct shape_path *path, void *out)
{
    switch (type->kind) {
    case SHAPE_BOOL:
        return read_bool(decoder, path, out);
    case SHAPE_INT:
        return read_int(decoder, path, out);
    case SHAPE_LONG:
    case SHAPE_TIME:
        return read_integer(decoder, path, out);
    case SHAPE_DOUBLE:
        return read_double(decoder, path, out);
    case SHAPE_TEXT:
    case SHAPE_DOCUMENT:
        return read_text(decoder, MAJOR_TEXT, path, out);
    case SHAPE_BLOB:
        return read_text(decoder, MAJOR_BYTES, path, out);
    case SHAPE_ENUM:
        return read_enum(decoder, type, path, out);
    case SHAPE_STRUCT:
        return read_struct(decoder, type, path, out);
    case SHAPE_LIST:
    case SHAPE_MAP:
        return read_list(decoder, type, path, out);
    }
    ASSERT(!"an unknown kind");
    return ERR_CORRUPT;
}

static int read_member(struct decoder *decoder, const struct shape_member *member,
                       const struct shape_path *parent, void *value)
{
    struct shape_path path = {.parent = parent, .name = member->name};
    char *at = (char *)value + member->offset;
    if (member->type->kind == SHAPE_STRUCT) {
        void *inner = arena_alloc(decoder->arena, member->type->size_bytes);
        int rc = read_struct(decoder, member->type, &path, inner);
        memcpy(at, &inner, sizeof(inner));
        return rc;
    }
    int rc = read_value(decoder, member->type, &path, at);
    if (rc == 0 && member->has_offset != SHAPE_NO_OFFSET) {
        *((bool *)value + member->has_offset) = true;
    }
    return rc;
}

// Reads the next key of a struct; keys ascend, so that none is there twice.
static int read_key(struct decoder *decoder, const struct shape_path *path, uint64_t smallest,
                    uint64_t *out_key)
{
    int rc = read_expected(decoder, MAJOR_UINT, "expected a member number", path, out_key);
    if (rc != 0) {
        return rc;
    }
    if (*out_key < smallest || *out_key == UINT64_MAX) {
        return fail(decoder, path, "member numbers do not ascend");
    }
    return 0;
}

static const struct shape_member *find(const struct shape_type *type, uint64_t key)
{
    return key > UINT32_MAX ? NULL : shape_find_number(type, (uint32_t)key);
}

// A struct that is not the root: unknown members are skipped.
static int read_struct(struct decoder *decoder, const struct shape_type *type,
                       const struct shape_path *path, void *out)
{
    uint64_t count = 0;
    int rc = read_expected(decoder, MAJOR_MAP, "expected a struct", path, &count);
    uint64_t smallest = 0;
    for (uint64_t i = 0; rc == 0 && i < count; i++) {
        uint64_t key = 0;
        rc = read_key(decoder, path, smallest, &key);
        if (rc != 0) {
            return rc;
        }
        smallest = key + 1;
        const struct shape_member *member = find(type, key);
        if (member != NULL) {
            rc = read_member(decoder, member, path, out);
        } else if (cbor_skip(&decoder->reader) != 0) {
            rc = fail(decoder, path, "malformed unknown member");
        }
    }
    return rc;
}

// Unknown pairs of the root, gathered in the arena.
struct gathered {
    char *pairs;
    size_t size;
    uint32_t count;
};

static void gather(struct decoder *decoder, struct gathered *gathered, const unsigned char *from)
{
    if (gathered->pairs == NULL) {
        // All that is still to come is the most that can be unknown.
        size_t most = (size_t)(decoder->reader.end - from);
        gathered->pairs = arena_alloc(decoder->arena, most);
    }
    size_t size = (size_t)(decoder->reader.at - from);
    memcpy(gathered->pairs + gathered->size, from, size);
    gathered->size += size;
    gathered->count++;
}

static int read_version(struct decoder *decoder, uint32_t *out_version)
{
    uint64_t version = 0;
    int rc = read_expected(decoder, MAJOR_UINT, "expected a version", NULL, &version);
    if (rc == 0 && version > UINT32_MAX) {
        return fail(decoder, NULL, "version out of range");
    }
    *out_version = (uint32_t)version;
    return rc;
}

static int read_record(struct decoder *decoder, const struct shape_type *type, void *out,
                       uint32_t *out_version, struct gathered *out_gathered)
{
    uint64_t count = 0;
    int rc = read_expected(decoder, MAJOR_MAP, "expected a record", NULL, &count);
    uint64_t smallest = 0;
    for (uint64_t i = 0; rc == 0 && i < count; i++) {
        const unsigned char *from = decoder->reader.at;
        uint64_t key = 0;
        rc = read_key(decoder, NULL, smallest, &key);
        if (rc != 0) {
            return rc;
        }
        smallest = key + 1;
        const struct shape_member *member = find(type, key);
        if (key == VERSION_KEY) {
            rc = read_version(decoder, out_version);
        } else if (member != NULL) {
            rc = read_member(decoder, member, NULL, out);
        } else if (cbor_skip(&decoder->reader) != 0) {
            rc = fail(decoder, NULL, "malformed unknown member");
        } else if (out_gathered != NULL) {
            gather(decoder, out_gathered, from);
        }
    }
    if (rc == 0 && reader_left(&decoder->reader) > 0) {
        return fail(decoder, NULL, "the record ends");
    }
    return rc;
}

int cbor_decode(const struct shape_type *type, struct text bytes, struct arena *arena, void *out,
                uint32_t *out_version, struct cbor_unknown *out_unknown, struct shape_error *error)
{
    ASSERT(type->kind == SHAPE_STRUCT);
    struct decoder decoder = {
        .reader = {(const unsigned char *)bytes.data,
                   (const unsigned char *)bytes.data + bytes.size},
        .bytes = bytes.data,
        .arena = arena,
        .arena_start = arena->total_bytes,
        .error = error,
    };
    if (bytes.size == 0) {
        return shape_fail(error, NULL, ERR_CORRUPT, "is empty");
    }
    decoder.copy = arena_alloc(arena, bytes.size + 1);
    memcpy(decoder.copy, bytes.data, bytes.size);

    void *value = arena_alloc(arena, type->size_bytes);
    uint32_t version = 0;
    struct gathered gathered = {0};
    int rc = read_record(&decoder, type, value, &version, out_unknown == NULL ? NULL : &gathered);
    if (rc != 0) {
        return rc;
    }
    memcpy(out, value, type->size_bytes);
    if (out_version != NULL) {
        *out_version = version;
    }
    if (out_unknown != NULL) {
        *out_unknown = (struct cbor_unknown){{gathered.pairs, gathered.size}, gathered.count};
    }
    return 0;
}
