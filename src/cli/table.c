#include "cli/cli.h"

#include "base/text.h"

#include <stdio.h>

#define COLUMN_MAX 16

void cli_table_init(struct cli_table *table, size_t column_count, const char *const *headings)
{
    ASSERT(column_count <= COLUMN_MAX);
    *table = (struct cli_table){.column_count = column_count};
    for (size_t i = 0; i < column_count; i++) {
        cli_table_cell(table, text_of(headings[i]));
    }
}

void cli_table_cell(struct cli_table *table, struct text text)
{
    if (table->cell_count == table->capacity) {
        table->capacity = MAX(table->capacity * 2, (size_t)64);
        table->cells = alloc_resize(table->cells, table->capacity, sizeof(*table->cells));
    }
    struct text shown = text_empty(text) ? TEXT("-") : arena_text(&table->arena, text);
    table->cells[table->cell_count++] = shown;
}

void cli_table_number(struct cli_table *table, int64_t number)
{
    cli_table_cell(table, arena_format(&table->arena, "%lld", (long long)number));
}

void cli_table_write(const struct cli_table *table, struct buf *out)
{
    size_t width[COLUMN_MAX] = {0};
    size_t complete = table->cell_count - table->cell_count % table->column_count;
    for (size_t i = 0; i < complete; i++) {
        size_t column = i % table->column_count;
        width[column] = MAX(width[column], table->cells[i].size);
    }
    for (size_t i = 0; i < complete; i++) {
        size_t column = i % table->column_count;
        bool last = column + 1 == table->column_count;
        // Without padding behind the last column, so that lines have no trailing blanks.
        buf_format(out, "%-*.*s%s", last ? 0 : (int)width[column], TEXT_FMT(table->cells[i]),
                   last ? "\n" : "  ");
    }
}

void cli_table_print(const struct cli_table *table)
{
    AUTO(buf_deinit) struct buf text = {0};
    cli_table_write(table, &text);
    printf("%.*s", TEXT_FMT(buf_view(&text)));
}

void cli_table_deinit(struct cli_table *table)
{
    alloc_free(table->cells);
    arena_deinit(&table->arena);
    *table = (struct cli_table){0};
}

struct text cli_age(int64_t since_ms, int64_t now_ms, struct arena *arena)
{
    if (since_ms == 0) {
        return (struct text){0};
    }
    int64_t seconds = MAX((now_ms - since_ms) / 1000, (int64_t)0);
    static const struct {
        int64_t seconds;
        char unit;
    } units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (seconds >= units[i].seconds || units[i].unit == 's') {
            return arena_format(arena, "%lld%c", (long long)(seconds / units[i].seconds),
                                units[i].unit);
        }
    }
    return (struct text){0};
}

struct text cli_short(struct text arn)
{
    size_t slash = text_find_last(arn, '/');
    return slash == SIZE_MAX ? arn : text_slice(arn, slash + 1, arn.size);
}
