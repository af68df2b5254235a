#include "base/text.h"
#include "shape/query.h"
#include "shape/shape_internal.h"

#include <math.h>
#include <stdlib.h>

// No AWS request has a hundredth of these, and sorting them stays cheap.
#define PARAMETERS_MAX 10000

// A decoded parameter, terminated in the arena.
struct pair {
    struct text key;
    struct text value;
};

// Sorted pairs whose keys agree up to the offset, where the rest of each key begins.
struct slice {
    const struct pair *pairs;
    size_t count;
    size_t offset;
};

struct decoder {
    struct arena *arena;
    struct shape_error *error;
    enum query_dialect dialect;
};

static int hex_value(char digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    digit = (char)(digit | 0x20);
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

// Resolves `+` and %XX. Refuses what is then not UTF-8 or holds a zero byte.
static int form_unescape(struct text escaped, struct arena *arena, struct text *out_text)
{
    char *to = arena_alloc(arena, escaped.size + 1);
    size_t size = 0;
    for (size_t i = 0; i < escaped.size; i++) {
        char byte = escaped.data[i];
        if (byte == '+') {
            byte = ' ';
        } else if (byte == '%') {
            int high = escaped.size - i > 2 ? hex_value(escaped.data[i + 1]) : -1;
            int low = high >= 0 ? hex_value(escaped.data[i + 2]) : -1;
            if (low < 0) {
                return ERR_INVALID;
            }
            byte = (char)(high * 16 + low);
            i += 2;
        }
        if (byte == '\0') {
            return ERR_INVALID;
        }
        to[size++] = byte;
    }
    if (!shape_is_utf8((struct text){to, size})) {
        return ERR_INVALID;
    }
    *out_text = (struct text){to, size};
    return 0;
}

// Cuts the next `key=value` off the form; a missing value is an empty one.
static int pair_next(struct text *form, struct arena *arena, struct pair *out_pair)
{
    struct text value = text_cut(form, '&');
    struct text key = text_cut(&value, '=');
    int rc = form_unescape(key, arena, &out_pair->key);
    return rc != 0 ? rc : form_unescape(value, arena, &out_pair->value);
}

struct text query_parameter(struct text form, struct text name, struct arena *arena)
{
    while (form.data != NULL) {
        struct text value = text_cut(&form, '&');
        struct text key = text_cut(&value, '=');
        struct text decoded = {0};
        if (key.size > 3 * name.size || form_unescape(key, arena, &decoded) != 0 ||
            !text_equal(decoded, name)) {
            continue;
        }
        return form_unescape(value, arena, &decoded) == 0 ? decoded : (struct text){0};
    }
    return (struct text){0};
}

static bool is_number(struct text segment)
{
    for (size_t i = 0; i < segment.size; i++) {
        if (segment.data[i] < '0' || segment.data[i] > '9') {
            return false;
        }
    }
    return segment.size > 0;
}

// Numbers by value and in front of names, so that the order is total.
static int segment_compare(struct text a, struct text b)
{
    bool number = is_number(a);
    if (number != is_number(b)) {
        return number ? -1 : 1;
    }
    if (number && a.size != b.size) {
        return a.size < b.size ? -1 : 1;
    }
    return text_compare(a, b);
}

// By segments, so that all keys below one prefix are neighbours and list items are in order.
static int pair_compare(const void *a, const void *b)
{
    struct text left = ((const struct pair *)a)->key;
    struct text right = ((const struct pair *)b)->key;
    while (left.data != NULL && right.data != NULL) {
        int order = segment_compare(text_cut(&left, '.'), text_cut(&right, '.'));
        if (order != 0) {
            return order;
        }
    }
    return (left.data != NULL) - (right.data != NULL);
}

// What of a key is behind the offset; absent when the key ends before it.
static struct text rest_of(const struct pair *pair, size_t offset)
{
    return offset > pair->key.size ? (struct text){0}
                                   : text_slice(pair->key, offset, pair->key.size);
}

// Cuts the neighbours with the same next segment off the front of a slice.
static struct slice group_cut(struct slice *slice, struct text *out_segment)
{
    struct text rest = rest_of(&slice->pairs[0], slice->offset);
    struct text segment = text_cut(&rest, '.');
    size_t count = 1;
    while (count < slice->count) {
        struct text other = rest_of(&slice->pairs[count], slice->offset);
        if (!text_equal(text_cut(&other, '.'), segment)) {
            break;
        }
        count++;
    }
    struct slice group = {slice->pairs, count, slice->offset + segment.size + 1};
    slice->pairs += count;
    slice->count -= count;
    *out_segment = segment;
    return group;
}

static int fail(struct decoder *decoder, const struct pair *pair, const char *clause)
{
    struct shape_path path = {.name = pair->key.data};
    return shape_fail(decoder->error, &path, ERR_INVALID, "%s", clause);
}

static bool cut_number(struct text *rest, size_t digits, int64_t *out_value)
{
    struct text number = text_slice(*rest, 0, digits);
    *rest = text_slice(*rest, digits, rest->size);
    return number.size == digits && is_number(number) && text_to_i64(number, out_value) == 0;
}

static bool cut_byte(struct text *rest, char byte)
{
    bool found = rest->size > 0 && rest->data[0] == byte;
    *rest = text_slice(*rest, 1, rest->size);
    return found;
}

// Days since 1970-01-01 of a date in the Gregorian calendar, years from 0.
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    // Years begin in March here, so that the leap day is the last of its year.
    int64_t shifted = month > 2 ? year : year - 1;
    int64_t era = (shifted + 400) / 400 - 1;
    int64_t year_of_era = shifted - era * 400;
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
           719468;
}

static int64_t month_days(int64_t year, int64_t month)
{
    static const int64_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

// Milliseconds of a fraction of a second with any number of digits; further digits are cut off.
static bool cut_fraction(struct text *rest, int64_t *out_ms)
{
    size_t size = 0;
    int64_t fraction_ms = 0;
    int64_t weight = 100;
    while (size < rest->size && rest->data[size] >= '0' && rest->data[size] <= '9') {
        fraction_ms += weight * (rest->data[size] - '0');
        weight /= 10;
        size++;
    }
    *rest = text_slice(*rest, size, rest->size);
    *out_ms = fraction_ms;
    return size > 0;
}

// `2006-01-02T15:04:05Z`, with or without a fraction of the second.
static bool time_parse(struct text text, int64_t *out_ms)
{
    int64_t year = 0;
    int64_t month = 0;
    int64_t day = 0;
    int64_t hour = 0;
    int64_t minute = 0;
    int64_t second = 0;
    int64_t fraction_ms = 0;
    bool formed =
        cut_number(&text, 4, &year) && cut_byte(&text, '-') && cut_number(&text, 2, &month) &&
        cut_byte(&text, '-') && cut_number(&text, 2, &day) && cut_byte(&text, 'T') &&
        cut_number(&text, 2, &hour) && cut_byte(&text, ':') && cut_number(&text, 2, &minute) &&
        cut_byte(&text, ':') && cut_number(&text, 2, &second);
    if (formed && text.size > 0 && text.data[0] == '.') {
        text = text_slice(text, 1, text.size);
        formed = cut_fraction(&text, &fraction_ms);
    }
    if (!formed || !text_is(text, "Z") || month < 1 || month > 12 || day < 1 ||
        day > month_days(year, month) || hour > 23 || minute > 59 || second > 59) {
        return false;
    }
    int64_t seconds = ((days_of(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    *out_ms = seconds * 1000 + fraction_ms;
    return true;
}

// A decimal number that fills the text; neither hexadecimal nor a name, which strtod reads too.
static bool double_parse(struct text text, double *out_value)
{
    if (text.size == 0 || strspn(text.data, "0123456789+-.eE") != text.size) {
        return false;
    }
    char *end = NULL;
    double value = strtod(text.data, &end);
    if (end != text.data + text.size || !isfinite(value)) {
        return false;
    }
    *out_value = value;
    return true;
}

static bool integer_parse(struct text text, int64_t min, int64_t max, int64_t *out_value)
{
    return text_to_i64(text, out_value) == 0 && *out_value >= min && *out_value <= max;
}

static int read_bool(struct decoder *decoder, const struct pair *pair, bool *out_value)
{
    if (!text_is(pair->value, "true") && !text_is(pair->value, "false")) {
        return fail(decoder, pair, "expected true or false");
    }
    *out_value = text_is(pair->value, "true");
    return 0;
}

static int read_plain(struct decoder *decoder, const struct shape_type *type,
                      const struct pair *pair, void *out)
{
    struct text value = pair->value;
    int64_t number = 0;
    switch (type->kind) {
    case SHAPE_BOOL:
        return read_bool(decoder, pair, out);
    case SHAPE_INT:
        if (!integer_parse(value, INT32_MIN, INT32_MAX, &number)) {
            return fail(decoder, pair, "expected an integer of 32 bits");
        }
        *(int32_t *)out = (int32_t)number;
        return 0;
    case SHAPE_LONG:
        return integer_parse(value, INT64_MIN, INT64_MAX, out)
                   ? 0
                   : fail(decoder, pair, "expected an integer");
    case SHAPE_DOUBLE:
        return double_parse(value, out) ? 0 : fail(decoder, pair, "expected a number");
    case SHAPE_TIME:
        return time_parse(value, out)
                   ? 0
                   : fail(decoder, pair, "expected a time such as 2006-01-02T15:04:05Z");
    case SHAPE_TEXT:
        *(struct text *)out = value;
        return 0;
    case SHAPE_BLOB:
        return base64_decode(value, decoder->arena, out) == 0
                   ? 0
                   : fail(decoder, pair, "expected base64");
    case SHAPE_ENUM:
        *(int32_t *)out = shape_enum_number(type, value);
        return 0;
    case SHAPE_DOCUMENT:
        return fail(decoder, pair, "documents cannot be sent in a form");
    case SHAPE_STRUCT:
    case SHAPE_LIST:
    case SHAPE_MAP:
        break;
    }
    ASSERT(!"not a plain kind");
    return ERR_INVALID;
}

static int read_struct(struct decoder *decoder, const struct shape_type *type, struct slice slice,
                       void *out);
static int read_value(struct decoder *decoder, const struct shape_type *type, struct slice slice,
                      void *out);

// Keys of items are numbers from 1. Gaps are fine: only the order counts.
static bool is_item(struct text segment)
{
    return is_number(segment) && segment.data[0] != '0' && segment.size <= 9;
}

static int read_entry(struct decoder *decoder, const struct shape_type *type, struct slice slice,
                      char *entry)
{
    const struct pair *first = &slice.pairs[0];
    struct text *key = (struct text *)(void *)entry;
    bool found = false;
    while (slice.count > 0) {
        struct text segment = {0};
        struct slice group = group_cut(&slice, &segment);
        int rc = 0;
        if (text_is(segment, "key")) {
            rc = read_value(decoder, &shape_text, group, key);
        } else if (text_is(segment, "value")) {
            found = true;
            rc = read_value(decoder, type->element, group, entry + type->value_offset);
        }
        if (rc != 0) {
            return rc;
        }
    }
    return found && key->data != NULL ? 0 : fail(decoder, first, "expected a key and a value");
}

static int items_count(struct decoder *decoder, struct slice slice, size_t *out_count)
{
    size_t count = 0;
    while (slice.count > 0) {
        const struct pair *first = &slice.pairs[0];
        struct text segment = {0};
        IGNORE(group_cut(&slice, &segment).count, "only the number of groups matters");
        if (!is_item(segment)) {
            return fail(decoder, first, "expected the number of an item");
        }
        count++;
    }
    *out_count = count;
    return 0;
}

// Items are below `member` or `entry`, or directly below the name where a model flattens them.
static struct slice items_of(struct slice slice, bool map)
{
    struct slice all = slice;
    struct text segment = {0};
    struct slice group = group_cut(&all, &segment);
    return all.count == 0 && text_is(segment, map ? "entry" : "member") ? group : slice;
}

static int read_list(struct decoder *decoder, const struct shape_type *type, struct slice slice,
                     struct shape_list *out)
{
    bool map = type->kind == SHAPE_MAP;
    const struct pair *first = &slice.pairs[0];
    if (slice.count == 1 && rest_of(first, slice.offset).data == NULL && first->value.size == 0) {
        *out = (struct shape_list){SHAPE_EMPTY, 0};
        return 0;
    }
    struct slice items = decoder->dialect == QUERY_EC2 ? slice : items_of(slice, map);
    size_t count = 0;
    int rc = items_count(decoder, items, &count);
    if (rc != 0) {
        return rc;
    }
    size_t stride = shape_stride(type);
    struct shape_list list = {arena_array(decoder->arena, count, stride), count};
    for (size_t i = 0; i < count; i++) {
        struct text segment = {0};
        struct slice group = group_cut(&items, &segment);
        char *item = (char *)list.items + i * stride;
        rc = map ? read_entry(decoder, type, group, item)
                 : read_value(decoder, type->element, group, item);
        if (rc != 0) {
            return rc;
        }
    }
    if (map && !shape_map_unique(type, &list)) {
        return fail(decoder, first, "has the same key twice");
    }
    *out = list;
    return 0;
}

static int read_value(struct decoder *decoder, const struct shape_type *type, struct slice slice,
                      void *out)
{
    if (type->kind == SHAPE_STRUCT) {
        return read_struct(decoder, type, slice, out);
    }
    if (type->kind == SHAPE_LIST || type->kind == SHAPE_MAP) {
        return read_list(decoder, type, slice, out);
    }
    if (slice.count > 1) {
        return fail(decoder, &slice.pairs[1], "is there twice");
    }
    if (rest_of(&slice.pairs[0], slice.offset).data != NULL) {
        return fail(decoder, &slice.pairs[0], "has no members");
    }
    return read_plain(decoder, type, &slice.pairs[0], out);
}

// EC2's model names members as responses do; in requests the same begin with a capital.
static const struct shape_member *find_member(const struct decoder *decoder,
                                              const struct shape_type *type, struct text segment)
{
    const struct shape_member *member = shape_find(type, segment);
    if (member != NULL || decoder->dialect != QUERY_EC2 || segment.size == 0 ||
        segment.data[0] < 'A' || segment.data[0] > 'Z') {
        return member;
    }
    char *lower = arena_alloc(decoder->arena, segment.size + 1);
    memcpy(lower, segment.data, segment.size);
    lower[0] = (char)(lower[0] | 0x20);
    return shape_find(type, (struct text){lower, segment.size});
}

static int read_member(struct decoder *decoder, const struct shape_member *member,
                       struct slice slice, void *value)
{
    char *at = (char *)value + member->offset;
    if (member->type->kind == SHAPE_STRUCT) {
        void *inner = arena_alloc(decoder->arena, member->type->size_bytes);
        memcpy(at, &inner, sizeof(inner));
        return read_struct(decoder, member->type, slice, inner);
    }
    int rc = read_value(decoder, member->type, slice, at);
    if (rc == 0 && member->has_offset != SHAPE_NO_OFFSET) {
        *((bool *)value + member->has_offset) = true;
    }
    return rc;
}

static int read_struct(struct decoder *decoder, const struct shape_type *type, struct slice slice,
                       void *out)
{
    while (slice.count > 0) {
        if (rest_of(&slice.pairs[0], slice.offset).data == NULL) {
            return fail(decoder, &slice.pairs[0], "expected members");
        }
        struct text segment = {0};
        struct slice group = group_cut(&slice, &segment);
        const struct shape_member *member = find_member(decoder, type, segment);
        // Action, Version and what newer clients send are no members.
        if (member == NULL) {
            continue;
        }
        int rc = read_member(decoder, member, group, out);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int read_pairs(struct text form, struct decoder *decoder, struct slice *out_slice)
{
    size_t most = 1;
    for (size_t i = 0; i < form.size; i++) {
        most += form.data[i] == '&';
    }
    if (most > PARAMETERS_MAX) {
        return shape_fail(decoder->error, NULL, ERR_INVALID, "has more than %d parameters",
                          PARAMETERS_MAX);
    }
    struct pair *pairs = arena_array(decoder->arena, most, sizeof(*pairs));
    size_t count = 0;
    while (form.data != NULL) {
        if (pair_next(&form, decoder->arena, &pairs[count]) != 0) {
            return shape_fail(decoder->error, NULL, ERR_INVALID,
                              "parameter %zu is not form-encoded UTF-8", count + 1);
        }
        // `a=1&&b=2` and a trailing `&` are harmless.
        count += pairs[count].key.size > 0;
    }
    qsort(pairs, count, sizeof(*pairs), pair_compare);
    *out_slice = (struct slice){pairs, count, 0};
    return 0;
}

int query_decode(enum query_dialect dialect, const struct shape_type *type, struct text form,
                 struct arena *arena, void *out, struct shape_error *error)
{
    ASSERT(type->kind == SHAPE_STRUCT);
    struct decoder decoder = {.arena = arena, .error = error, .dialect = dialect};
    struct slice slice = {0};
    int rc = read_pairs(form, &decoder, &slice);
    if (rc != 0) {
        return rc;
    }
    void *value = arena_alloc(arena, type->size_bytes);
    rc = read_struct(&decoder, type, slice, value);
    if (rc == 0) {
        memcpy(out, value, type->size_bytes);
    }
    return rc;
}
