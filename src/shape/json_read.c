#include "base/limits.h"
#include "base/text.h"
#include "shape/json.h"
#include "shape/shape_internal.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

// Objects and arrays in one document. The parser spends some 200 bytes on an empty one, so a body
// of `[{},{},...` would otherwise take a hundred times its size. Ten task definitions of 64 KiB,
// the largest frame we send, hold fewer than 30,000.
#define JSON_CONTAINERS_MAX 65536

// The last millisecond of 9999-12-31; what other programs can still print as a date.
#define TIME_MS_MAX 253402300799999

// What decoding needs all the way down.
struct decoder {
    struct arena *arena;
    size_t arena_start; // total_bytes of the arena before
    struct shape_error *error;
};

// Bounds depth and number of containers before the parser, which recurses and allocates, sees them.
// Brackets inside strings do not count; whether the text is JSON at all is the parser's business.
static int prescan(struct text body, struct shape_error *error)
{
    size_t depth = 0;
    size_t containers = 0;
    bool string = false;
    for (size_t i = 0; i < body.size; i++) {
        char byte = body.data[i];
        if (string) {
            i += byte == '\\';
            string = byte != '"';
        } else if (byte == '"') {
            string = true;
        } else if (byte == '{' || byte == '[') {
            depth++;
            containers++;
            if (depth > LIMIT_JSON_DEPTH) {
                return shape_fail(error, NULL, ERR_INVALID, "nests deeper than %d levels",
                                  LIMIT_JSON_DEPTH);
            }
            if (containers > JSON_CONTAINERS_MAX) {
                return shape_fail(error, NULL, ERR_INVALID, "has more than %d objects and arrays",
                                  JSON_CONTAINERS_MAX);
            }
        } else if ((byte == '}' || byte == ']') && depth > 0) {
            depth--;
        }
    }
    return 0;
}

static void json_free(json_t *json)
{
    json_decref(json);
}
AUTO_POINTER(json_t, json_free)

static int fail(struct decoder *decoder, const struct shape_path *path, const char *clause)
{
    return shape_fail(decoder->error, path, ERR_INVALID, "%s", clause);
}

static int read_int(struct decoder *decoder, const json_t *json, const struct shape_path *path,
                    int32_t *out_value)
{
    if (!json_is_integer(json)) {
        return fail(decoder, path, "expected an integer");
    }
    json_int_t value = json_integer_value(json);
    if (value < INT32_MIN || value > INT32_MAX) {
        return fail(decoder, path, "expected an integer of 32 bits");
    }
    *out_value = (int32_t)value;
    return 0;
}

// Smithy's JSON protocols name the values that JSON has no number for.
static int read_named_double(const json_t *json, double *out_value)
{
    static const struct {
        const char *name;
        double value;
    } named[] = {{"NaN", NAN}, {"Infinity", INFINITY}, {"-Infinity", -INFINITY}};
    for (size_t i = 0; i < ARRAY_LEN(named); i++) {
        if (strcmp(json_string_value(json), named[i].name) == 0) {
            *out_value = named[i].value;
            return 0;
        }
    }
    return ERR_INVALID;
}

static int read_double(struct decoder *decoder, const json_t *json, const struct shape_path *path,
                       double *out_value)
{
    if (json_is_number(json)) {
        *out_value = json_number_value(json);
        return 0;
    }
    if (json_is_string(json) && read_named_double(json, out_value) == 0) {
        return 0;
    }
    return fail(decoder, path, "expected a number");
}

static int read_time(struct decoder *decoder, const json_t *json, const struct shape_path *path,
                     int64_t *out_ms)
{
    if (!json_is_number(json)) {
        return fail(decoder, path, "expected a time in seconds since 1970");
    }
    // Too large to convert would be undefined; the bound itself is checked after rounding.
    double seconds = json_number_value(json);
    bool far = !(fabs(seconds) <= (double)(TIME_MS_MAX / 1000 + 1));
    int64_t time_ms = far ? 0 : llround(seconds * 1000);
    if (far || time_ms < -TIME_MS_MAX || time_ms > TIME_MS_MAX) {
        return fail(decoder, path, "expected a time before the year 10000");
    }
    *out_ms = time_ms;
    return 0;
}

static struct text string_view(const json_t *json)
{
    return (struct text){json_string_value(json), json_string_length(json)};
}

static int read_text(struct decoder *decoder, const json_t *json, const struct shape_path *path,
                     struct text *out_text)
{
    if (!json_is_string(json)) {
        return fail(decoder, path, "expected a string");
    }
    *out_text = arena_text(decoder->arena, string_view(json));
    return 0;
}

static int read_blob(struct decoder *decoder, const json_t *json, const struct shape_path *path,
                     struct text *out_bytes)
{
    if (!json_is_string(json)) {
        return fail(decoder, path, "expected a string of base64");
    }
    if (base64_decode(string_view(json), decoder->arena, out_bytes) != 0) {
        return fail(decoder, path, "expected base64");
    }
    return 0;
}

// Keeps a part of the document as JSON, on one line and without spaces. The parser's own writer
// recurses, within the depth that was checked.
static int read_document(struct decoder *decoder, const json_t *json, struct text *out_text)
{
    const size_t flags = JSON_COMPACT | JSON_ENCODE_ANY;
    size_t size = json_dumpb(json, NULL, 0, flags);
    char *text = arena_alloc(decoder->arena, size + 1);
    size_t again = json_dumpb(json, text, size, flags);
    ASSERT(size > 0);
    ASSERT(again == size);
    *out_text = (struct text){text, size};
    return 0;
}

static int read_enum(struct decoder *decoder, const struct shape_type *type, const json_t *json,
                     const struct shape_path *path, int32_t *out_value)
{
    if (!json_is_string(json)) {
        return fail(decoder, path, "expected a string");
    }
    *out_value = shape_enum_number(type, string_view(json));
    return 0;
}

static int read_struct(struct decoder *decoder, const struct shape_type *type, json_t *json,
                       const struct shape_path *path, void *out);
static int read_value(struct decoder *decoder, const struct shape_type *type, json_t *json,
                      const struct shape_path *path, void *out);

// Room for the elements of a list or map; absent elements stay zero.
static int list_room(struct decoder *decoder, const struct shape_type *type, size_t count,
                     const struct shape_path *path, struct shape_list *out)
{
    if (count == 0) {
        *out = (struct shape_list){SHAPE_EMPTY, 0};
        return 0;
    }
    size_t stride = shape_stride(type);
    size_t used = decoder->arena->total_bytes - decoder->arena_start;
    if (used > DECODE_BYTES_MAX || count > (DECODE_BYTES_MAX - used) / stride) {
        return fail(decoder, path, "is too large");
    }
    *out = (struct shape_list){arena_array(decoder->arena, count, stride), count};
    return 0;
}

static int read_element(struct decoder *decoder, const struct shape_type *type, json_t *json,
                        const struct shape_path *path, void *out)
{
    if (json_is_null(json)) {
        return fail(decoder, path, "must not be null");
    }
    return read_value(decoder, type, json, path, out);
}

static int read_list(struct decoder *decoder, const struct shape_type *type, const json_t *json,
                     const struct shape_path *path, struct shape_list *out)
{
    if (!json_is_array(json)) {
        return fail(decoder, path, "expected a list");
    }
    int rc = list_room(decoder, type, json_array_size(json), path, out);
    for (size_t i = 0; rc == 0 && i < out->count; i++) {
        struct shape_path here = {.parent = path, .index = i};
        rc = read_element(decoder, type->element, json_array_get(json, i), &here,
                          (char *)out->items + i * shape_stride(type));
    }
    return rc;
}

static int read_map(struct decoder *decoder, const struct shape_type *type, json_t *json,
                    const struct shape_path *path, struct shape_list *out)
{
    if (!json_is_object(json)) {
        return fail(decoder, path, "expected a map");
    }
    int rc = list_room(decoder, type, json_object_size(json), path, out);
    char *entry = out->items;
    for (void *iter = json_object_iter(json); rc == 0 && iter != NULL;
         iter = json_object_iter_next(json, iter)) {
        struct text key = {json_object_iter_key(iter), json_object_iter_key_len(iter)};
        struct shape_path here = {.parent = path, .key = key};
        *(struct text *)(void *)entry = arena_text(decoder->arena, key);
        rc = read_element(decoder, type->element, json_object_iter_value(iter), &here,
                          entry + type->value_offset);
        entry += type->entry_size_bytes;
    }
    return rc;
}

static int read_value(struct decoder *decoder, const struct shape_type *type, json_t *json,
                      const struct shape_path *path, void *out)
{
    switch (type->kind) {
    case SHAPE_BOOL:
        if (!json_is_boolean(json)) {
            return fail(decoder, path, "expected true or false");
        }
        *(bool *)out = json_is_true(json);
        return 0;
    case SHAPE_INT:
        return read_int(decoder, json, path, out);
    case SHAPE_LONG:
        if (!json_is_integer(json)) {
            return fail(decoder, path, "expected an integer");
        }
        *(int64_t *)out = json_integer_value(json);
        return 0;
    case SHAPE_DOUBLE:
        return read_double(decoder, json, path, out);
    case SHAPE_TIME:
        return read_time(decoder, json, path, out);
    case SHAPE_TEXT:
        return read_text(decoder, json, path, out);
    case SHAPE_BLOB:
        return read_blob(decoder, json, path, out);
    case SHAPE_DOCUMENT:
        return read_document(decoder, json, out);
    case SHAPE_ENUM:
        return read_enum(decoder, type, json, path, out);
    case SHAPE_STRUCT:
        return read_struct(decoder, type, json, path, out);
    case SHAPE_LIST:
        return read_list(decoder, type, json, path, out);
    case SHAPE_MAP:
        return read_map(decoder, type, json, path, out);
    }
    ASSERT(!"an unknown kind");
    return ERR_INVALID;
}

static int read_member(struct decoder *decoder, const struct shape_member *member, json_t *json,
                       const struct shape_path *parent, void *value)
{
    struct shape_path path = {.parent = parent, .name = member->name};
    char *at = (char *)value + member->offset;
    if (member->type->kind == SHAPE_STRUCT) {
        void *inner = arena_alloc(decoder->arena, member->type->size_bytes);
        memcpy(at, &inner, sizeof(inner));
        return read_struct(decoder, member->type, json, &path, inner);
    }
    int rc = read_value(decoder, member->type, json, &path, at);
    if (rc == 0 && member->has_offset != SHAPE_NO_OFFSET) {
        *((bool *)value + member->has_offset) = true;
    }
    return rc;
}

static int read_struct(struct decoder *decoder, const struct shape_type *type, json_t *json,
                       const struct shape_path *path, void *out)
{
    if (!json_is_object(json)) {
        return fail(decoder, path, "expected an object");
    }
    for (void *iter = json_object_iter(json); iter != NULL;
         iter = json_object_iter_next(json, iter)) {
        struct text key = {json_object_iter_key(iter), json_object_iter_key_len(iter)};
        const struct shape_member *member = shape_find(type, key);
        json_t *inner = json_object_iter_value(iter);
        if (member == NULL || json_is_null(inner)) {
            continue;
        }
        int rc = read_member(decoder, member, inner, path, out);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

int json_decode(const struct shape_type *type, struct text body, struct arena *arena, void *out,
                struct shape_error *error)
{
    ASSERT(type->kind == SHAPE_STRUCT);
    int rc = prescan(body, error);
    if (rc != 0) {
        return rc;
    }
    json_error_t why;
    AUTO(json_free)
    json_t *json =
        json_loadb(body.data == NULL ? "" : body.data, body.size, JSON_REJECT_DUPLICATES, &why);
    if (json == NULL) {
        return shape_fail(error, NULL, ERR_INVALID, "line %d, column %d: %s", why.line, why.column,
                          why.text);
    }
    struct decoder decoder = {.arena = arena, .arena_start = arena->total_bytes, .error = error};
    void *value = arena_alloc(arena, type->size_bytes);
    rc = read_struct(&decoder, type, json, NULL, value);
    if (rc == 0) {
        memcpy(out, value, type->size_bytes);
    }
    return rc;
}
