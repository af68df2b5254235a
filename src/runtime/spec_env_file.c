#include "base/text.h"
#include "runtime/spec.h"

// Environment files, read as ECS's agent reads them: a line is NAME=VALUE with both sides, without
// any quoting; one that begins with # is a comment; others mean nothing.

static size_t line_count(struct text content)
{
    size_t count = 1;
    for (size_t i = 0; i < content.size; i++) {
        count += content.data[i] == '\n' ? 1 : 0;
    }
    return count;
}

static bool read_line(struct text line, struct ecs_key_value_pair *out_pair)
{
    size_t equals = text_find(line, '=');
    if (text_starts(line, TEXT("#")) || equals == SIZE_MAX || equals == 0 ||
        equals + 1 == line.size) {
        return false;
    }
    *out_pair = (struct ecs_key_value_pair){.name = text_slice(line, 0, equals),
                                            .value = text_slice(line, equals + 1, line.size)};
    return true;
}

static size_t find(const struct ecs_key_value_pair_list *list, size_t from, struct text name)
{
    size_t i = from;
    while (i < list->count && !text_equal(list->items[i].name, name)) {
        i++;
    }
    return i;
}

int spec_add_file(struct ecs_key_value_pair_list *list, struct text content, struct arena *arena,
                  struct err *err)
{
    size_t before = list->count;
    size_t most = MIN(line_count(content), (size_t)SPEC_VARIABLES_MAX);
    struct ecs_key_value_pair_list all = {
        .items = arena_array(arena, before + most, sizeof(*all.items))};
    for (size_t i = 0; i < before; i++) {
        all.items[all.count++] = list->items[i];
    }
    struct text rest = content;
    while (rest.data != NULL) {
        struct text line = text_cut(&rest, '\n');
        if (text_ends(line, TEXT("\r"))) {
            line.size--; // of a system that ends its lines so
        }
        struct ecs_key_value_pair pair;
        if (!read_line(line, &pair) || find(list, 0, pair.name) < before) {
            continue;
        }
        // Within a file the last one counts.
        size_t at = find(&all, before, pair.name);
        if (at == SPEC_VARIABLES_MAX) {
            return err_set(err, ERR_NO_ROOM, "a container has at most %d variables",
                           SPEC_VARIABLES_MAX);
        }
        all.items[at] = pair;
        all.count = MAX(all.count, at + 1);
    }
    *list = all;
    return 0;
}

void spec_add_secret(struct ecs_key_value_pair_list *list, struct text name, struct text value,
                     struct arena *arena)
{
    struct ecs_key_value_pair_list all = {
        .items = arena_array(arena, list->count + 1, sizeof(*all.items))};
    for (size_t i = 0; i < list->count; i++) {
        if (!text_equal(list->items[i].name, name)) {
            all.items[all.count++] = list->items[i];
        }
    }
    all.items[all.count++] = (struct ecs_key_value_pair){.name = name, .value = value};
    *list = all;
}
