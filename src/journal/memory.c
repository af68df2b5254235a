#include "base/map.h"
#include "journal/journal.h"

#include <string.h>

/** Values of the map are owned. */
struct memory {
    struct journal journal;
    struct map records;
};

struct bytes {
    size_t size;
    char data[];
};

static int memory_load(struct journal *journal,
                       int (*visit)(void *context, struct text task_id, struct text bytes,
                                    bool uncertain, struct err *err),
                       void *context, struct journal_loss *out_loss, struct err *err)
{
    struct memory *memory = (struct memory *)journal;
    size_t cursor = 0;
    struct text id = {0};
    for (;;) {
        const struct bytes *bytes = map_next(&memory->records, &cursor, &id);
        if (bytes == NULL) {
            break;
        }
        int rc = visit(context, id, (struct text){bytes->data, bytes->size}, false, err);
        if (rc != 0) {
            return rc;
        }
    }
    *out_loss = (struct journal_loss){0};
    return 0;
}

static int memory_write(struct journal *journal, const struct journal_change *changes, size_t count,
                        struct err *err)
{
    struct memory *memory = (struct memory *)journal;
    for (size_t i = 0; i < count; i++) {
        if (changes[i].bytes.data == NULL) {
            alloc_free(map_remove(&memory->records, changes[i].task_id));
            continue;
        }
        struct bytes *bytes = alloc_zero(sizeof(*bytes) + changes[i].bytes.size);
        bytes->size = changes[i].bytes.size;
        memcpy(bytes->data, changes[i].bytes.data, bytes->size);
        alloc_free(map_put(&memory->records, changes[i].task_id, bytes));
    }
    return 0;
}

static void memory_close(struct journal *journal)
{
    struct memory *memory = (struct memory *)journal;
    size_t cursor = 0;
    for (;;) {
        struct bytes *bytes = map_next(&memory->records, &cursor, NULL);
        if (bytes == NULL) {
            break;
        }
        alloc_free(bytes);
    }
    map_deinit(&memory->records);
    alloc_free(memory);
}

struct journal *journal_memory_new(void)
{
    static const struct journal_ops ops = {
        .name = "memory", .load = memory_load, .write = memory_write, .close = memory_close};
    struct memory *memory = ALLOC(struct memory);
    memory->journal.ops = &ops;
    return &memory->journal;
}
