#include "ecs/task_internal.h"

/*
 * Entries by a number, their key or the hash of their id: what every look-up of a task goes
 * through.
 */

// Open addressing over pointers: 16 bytes a task at half load, and no allocation for each.
static uint64_t table_number(const struct task_table *table, const struct task_entry *entry)
{
    return table->by_id ? entry->id_hash : (uint64_t)entry->key;
}

static size_t table_home(const struct task_table *table, uint64_t number)
{
    return (size_t)((number * UINT64_C(0x9E3779B97F4A7C15)) >> 20) & (table->capacity - 1);
}

struct task_entry *task_table_find(const struct task_table *table, uint64_t number)
{
    if (table->count == 0) {
        return NULL;
    }
    for (size_t i = table_home(table, number);; i = (i + 1) & (table->capacity - 1)) {
        if (table->slots[i] == NULL || table_number(table, table->slots[i]) == number) {
            return table->slots[i];
        }
    }
}

static void table_insert(struct task_table *table, struct task_entry *entry)
{
    size_t i = table_home(table, table_number(table, entry));
    while (table->slots[i] != NULL) {
        ASSERT(table_number(table, table->slots[i]) != table_number(table, entry));
        i = (i + 1) & (table->capacity - 1);
    }
    table->slots[i] = entry;
}

void task_table_add(struct task_table *table, struct task_entry *entry)
{
    if ((table->count + 1) * 3 > table->capacity * 2) {
        struct task_table old = *table;
        table->capacity = MAX((size_t)64, old.capacity * 2);
        table->slots = alloc_array(table->capacity, sizeof(struct task_entry *));
        for (size_t i = 0; i < old.capacity; i++) {
            if (old.slots[i] != NULL) {
                table_insert(table, old.slots[i]);
            }
        }
        alloc_free(old.slots);
    }
    table_insert(table, entry);
    table->count++;
}

void task_table_remove(struct task_table *table, const struct task_entry *entry)
{
    size_t mask = table->capacity - 1;
    size_t hole = table_home(table, table_number(table, entry));
    while (table->slots[hole] != entry) {
        ASSERT(table->slots[hole] != NULL);
        hole = (hole + 1) & mask;
    }
    // Later entries of the same run move up, so that no search stops short of them.
    for (size_t i = (hole + 1) & mask; table->slots[i] != NULL; i = (i + 1) & mask) {
        size_t home = table_home(table, table_number(table, table->slots[i]));
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            table->slots[hole] = table->slots[i];
            hole = i;
        }
    }
    table->slots[hole] = NULL;
    table->count--;
}
