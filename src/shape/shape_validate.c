#include "base/map.h"
#include "base/text.h"
#include "shape/shape_internal.h"

#include <regex.h>
#include <stdio.h>

// A violation quotes the value only when the sentence still has room for the rule behind it.
#define QUOTED_SIZE_MAX 128

// Compiled patterns by the address of their text, which is constant. It only grows, and only up to
// the number of patterns in the schemas. Not locked: validation belongs to the event loop's thread.
static struct map patterns;

struct checker {
    struct shape_error *error;
    bool secret; // inside a sensitive member: nothing is quoted
};

// Sentences are worded as AWS does: `Value 'x' at 'path' failed to satisfy constraint: ...`.
static int refuse(struct checker *checker, const struct shape_path *path, struct text quoted,
                  const char *rule)
{
    AUTO(buf_deinit) struct buf place = {0};
    shape_path_write(path, &place);
    struct text at = buf_view(&place);
    if (checker->secret || quoted.data == NULL || quoted.size > QUOTED_SIZE_MAX) {
        return shape_fail(checker->error, path, ERR_INVALID,
                          "Value at '%.*s' failed to satisfy constraint: %s", TEXT_FMT(at), rule);
    }
    return shape_fail(checker->error, path, ERR_INVALID,
                      "Value '%.*s' at '%.*s' failed to satisfy constraint: %s", TEXT_FMT(quoted),
                      TEXT_FMT(at), rule);
}

static int refuse_bound(struct checker *checker, const struct shape_path *path, struct text quoted,
                        const char *what, bool below, int64_t bound)
{
    char rule[128];
    snprintf(rule, sizeof(rule), "Member must have %s %s than or equal to %lld", what,
             below ? "greater" : "less", (long long)bound);
    return refuse(checker, path, quoted, rule);
}

static int check_bounds(const struct shape_member *member, int64_t amount, const char *what,
                        struct text quoted, const struct shape_path *path, struct checker *checker)
{
    if (amount < member->min) {
        return refuse_bound(checker, path, quoted, what, true, member->min);
    }
    if (amount > member->max) {
        return refuse_bound(checker, path, quoted, what, false, member->max);
    }
    return 0;
}

static int check_integer(const struct shape_member *member, int64_t value,
                         const struct shape_path *path, struct checker *checker)
{
    char digits[24];
    int size = snprintf(digits, sizeof(digits), "%lld", (long long)value);
    return check_bounds(member, value, "value", (struct text){digits, (size_t)size}, path, checker);
}

static int check_double(const struct shape_member *member, double value,
                        const struct shape_path *path, struct checker *checker)
{
    // Absent bounds are the ends of int64_t, which a double may well exceed.
    bool below = member->min != SHAPE_NO_MIN && !(value >= (double)member->min);
    bool above = member->max != SHAPE_NO_MAX && !(value <= (double)member->max);
    if (!below && !above) {
        return 0;
    }
    char digits[40];
    int size = snprintf(digits, sizeof(digits), "%.15g", value);
    return refuse_bound(checker, path, (struct text){digits, (size_t)size}, "value", below,
                        below ? member->min : member->max);
}

// Characters, not bytes: that is what the limits of AWS's models count.
static int64_t character_count(struct text text)
{
    int64_t count = 0;
    for (size_t i = 0; i < text.size; i++) {
        count += ((unsigned char)text.data[i] & 0xC0) != 0x80;
    }
    return count;
}

static const regex_t *pattern_compiled(const char *pattern)
{
    uint64_t key = (uint64_t)(uintptr_t)pattern;
    regex_t *compiled = map_get_u64(&patterns, key);
    if (compiled == NULL) {
        AUTO(alloc_string) char *whole = alloc_format("^(%s)$", pattern);
        compiled = ALLOC(regex_t);
        int rc = regcomp(compiled, whole, REG_EXTENDED);
        ASSERT(rc == 0); // the compiler of .api files lets only good expressions through
        map_put_u64(&patterns, key, compiled);
    }
    return compiled;
}

static bool pattern_matches(const char *pattern, struct text text)
{
    regmatch_t range = {.rm_so = 0, .rm_eo = (regoff_t)text.size};
    return regexec(pattern_compiled(pattern), text.data, 1, &range, REG_STARTEND) == 0 &&
           range.rm_eo == (regoff_t)text.size;
}

static int check_text(const struct shape_member *member, struct text text,
                      const struct shape_path *path, struct checker *checker)
{
    bool blob = member->type->kind == SHAPE_BLOB;
    struct text quoted = blob ? (struct text){0} : text;
    int rc = check_bounds(member, blob ? (int64_t)text.size : character_count(text), "length",
                          quoted, path, checker);
    if (rc != 0 || member->pattern == NULL || pattern_matches(member->pattern, text)) {
        return rc;
    }
    AUTO(buf_deinit) struct buf rule = {0};
    buf_format(&rule, "Member must satisfy regular expression pattern: %s", member->pattern);
    return refuse(checker, path, quoted, rule.data);
}

static int check_enum(const struct shape_type *type, int32_t number, const struct shape_path *path,
                      struct checker *checker)
{
    if (shape_enum_name(type, number) != NULL) {
        return 0;
    }
    AUTO(buf_deinit) struct buf rule = {0};
    buf_string(&rule, "Member must satisfy enum value set: [");
    for (size_t i = 0; i < type->value_count; i++) {
        buf_format(&rule, "%s%s", i == 0 ? "" : ", ", type->values[i].name);
    }
    buf_byte(&rule, ']');
    return refuse(checker, path, (struct text){0}, rule.data);
}

static int check_struct(const struct shape_type *type, const void *value,
                        const struct shape_path *path, struct checker *checker);

// What holds for a value by its type alone: elements have no rules of their own.
static int check_type(const struct shape_type *type, const void *value,
                      const struct shape_path *path, struct checker *checker)
{
    if (type->kind == SHAPE_ENUM) {
        return check_enum(type, *(const int32_t *)value, path, checker);
    }
    if (type->kind == SHAPE_STRUCT) {
        return check_struct(type, value, path, checker);
    }
    if (type->kind != SHAPE_LIST && type->kind != SHAPE_MAP) {
        return 0;
    }
    const struct shape_list *list = value;
    bool map = type->kind == SHAPE_MAP;
    for (size_t i = 0; i < list->count; i++) {
        const char *item = (const char *)list->items + i * shape_stride(type);
        struct shape_path here = {.parent = path, .index = i};
        if (map) {
            here.key = *(const struct text *)(const void *)item;
            item += type->value_offset;
        }
        int rc = check_type(type->element, item, &here, checker);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int check_rules(const struct shape_member *member, const void *value,
                       const struct shape_path *path, struct checker *checker)
{
    switch (member->type->kind) {
    case SHAPE_INT:
        return check_integer(member, *(const int32_t *)value, path, checker);
    case SHAPE_LONG:
        return check_integer(member, *(const int64_t *)value, path, checker);
    case SHAPE_DOUBLE:
        return check_double(member, *(const double *)value, path, checker);
    case SHAPE_TEXT:
    case SHAPE_BLOB:
    case SHAPE_DOCUMENT:
        return check_text(member, *(const struct text *)value, path, checker);
    case SHAPE_LIST:
    case SHAPE_MAP:
        return check_bounds(member, (int64_t)((const struct shape_list *)value)->count, "length",
                            (struct text){0}, path, checker);
    case SHAPE_BOOL:
    case SHAPE_TIME:
    case SHAPE_ENUM:
    case SHAPE_STRUCT:
        return 0;
    }
    ASSERT(!"an unknown kind");
    return ERR_INVALID;
}

static int check_struct(const struct shape_type *type, const void *value,
                        const struct shape_path *path, struct checker *checker)
{
    for (size_t i = 0; i < type->member_count; i++) {
        const struct shape_member *member = &type->members[i];
        struct shape_path here = {.parent = path, .name = member->name};
        if (!shape_present(member, value)) {
            if ((member->flags & SHAPE_REQUIRED) != 0) {
                return refuse(checker, &here, (struct text){0}, "Member must not be null");
            }
            continue;
        }
        const void *inner = shape_value(member, value);
        bool secret = checker->secret;
        checker->secret = secret || (member->flags & SHAPE_SENSITIVE) != 0;
        int rc = check_rules(member, inner, &here, checker);
        if (rc == 0) {
            rc = check_type(member->type, inner, &here, checker);
        }
        checker->secret = secret;
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

int shape_validate(const struct shape_type *type, const void *value, struct shape_error *error)
{
    ASSERT(type->kind == SHAPE_STRUCT);
    struct checker checker = {.error = error};
    return check_struct(type, value, NULL, &checker);
}
