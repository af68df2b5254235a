#include "shape/shape_extension.h"

#include "base/text.h"

#include <stddef.h>
#include <stdio.h>

#define PREFIX "berth."
#define READINESS PREFIX "readiness"
#define PLAIN "CMD "

struct command_label {
    const char *name;
    size_t offset; ///< of a text_list in shape_extension
};

static const struct command_label command_labels[] = {
    {PREFIX "post-start", offsetof(struct shape_extension, post_start)},
    {PREFIX "pre-stop", offsetof(struct shape_extension, pre_stop)},
    {READINESS, offsetof(struct shape_extension, readiness.command)},
};

struct number_label {
    const char *name;
    size_t offset; ///< of an int32_t in shape_extension
    int32_t min;
    int32_t max;
    int32_t otherwise;
};

// The ranges and defaults of health checks.
static const struct number_label number_labels[] = {
    {READINESS ".interval", offsetof(struct shape_extension, readiness.interval), 1, 300, 30},
    {READINESS ".timeout", offsetof(struct shape_extension, readiness.timeout), 1, 60, 5},
    {READINESS ".retries", offsetof(struct shape_extension, readiness.retries), 1, 10, 3},
    {READINESS ".start-period", offsetof(struct shape_extension, readiness.start_period), 0, 300,
     0},
};

static struct text find(const struct text_map *labels, const char *name)
{
    for (size_t i = 0; i < labels->count; i++) {
        if (text_is(labels->items[i].key, name)) {
            return labels->items[i].value;
        }
    }
    return (struct text){0};
}

bool shape_extension_has_readiness(const struct text_map *labels)
{
    return find(labels, READINESS).data != NULL;
}

static struct text_list words(struct text line, struct arena *arena)
{
    struct text_list list = {.items = arena_array(arena, line.size + 1, sizeof(struct text))};
    struct text rest = line;
    while (rest.data != NULL) {
        struct text word = text_cut(&rest, ' ');
        if (!text_empty(word)) {
            list.items[list.count++] = word;
        }
    }
    return list;
}

static struct text_list command_of(struct text line, struct arena *arena)
{
    if (text_starts(line, TEXT(PLAIN))) {
        return words(text_slice(line, sizeof(PLAIN) - 1, line.size), arena);
    }
    struct text_list list = {0};
    if (!text_empty(text_trim(line))) {
        list.items = arena_array(arena, 3, sizeof(struct text));
        list.items[list.count++] = TEXT("/bin/sh");
        list.items[list.count++] = TEXT("-c");
        list.items[list.count++] = line;
    }
    return list;
}

static bool known(struct text name)
{
    for (size_t i = 0; i < ARRAY_LEN(command_labels); i++) {
        if (text_is(name, command_labels[i].name)) {
            return true;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(number_labels); i++) {
        if (text_is(name, number_labels[i].name)) {
            return true;
        }
    }
    return false;
}

static int fault(struct shape_error *error, struct text name, const char *text)
{
    snprintf(error->path, sizeof(error->path), "%.*s", TEXT_FMT(name));
    snprintf(error->text, sizeof(error->text), "%s", text);
    return ERR_INVALID;
}

static int read_numbers(const struct text_map *labels, struct shape_extension *out,
                        struct shape_error *error)
{
    for (size_t i = 0; i < ARRAY_LEN(number_labels); i++) {
        const struct number_label *label = &number_labels[i];
        int32_t *number = (int32_t *)(void *)((char *)out + label->offset);
        struct text value = find(labels, label->name);
        int64_t given = label->otherwise;
        if (value.data != NULL &&
            (text_to_i64(value, &given) != 0 || given < label->min || given > label->max)) {
            char text[64];
            snprintf(text, sizeof(text), "must be a number between %d and %d", (int)label->min,
                     (int)label->max);
            return fault(error, text_of(label->name), text);
        }
        if (value.data != NULL && out->readiness.command.count == 0) {
            return fault(error, text_of(label->name), "needs " READINESS " beside it");
        }
        *number = (int32_t)given;
    }
    return 0;
}

int shape_extension_read(const struct text_map *labels, struct arena *arena,
                         struct shape_extension *out, struct shape_error *error)
{
    struct shape_extension read = {0};
    for (size_t i = 0; i < labels->count; i++) {
        if (text_starts(labels->items[i].key, TEXT(PREFIX)) && !known(labels->items[i].key)) {
            return fault(error, labels->items[i].key, "is no label that Berth knows");
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(command_labels); i++) {
        struct text value = find(labels, command_labels[i].name);
        if (value.data == NULL) {
            continue;
        }
        struct text_list *list =
            (struct text_list *)(void *)((char *)&read + command_labels[i].offset);
        *list = command_of(value, arena);
        if (list->count == 0) {
            return fault(error, text_of(command_labels[i].name), "must be a command");
        }
    }
    int rc = read_numbers(labels, &read, error);
    if (rc == 0) {
        *out = read;
    }
    return rc;
}
