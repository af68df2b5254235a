#include "store/store.h"

#include "base/alloc.h"

#include <string.h>

// A sorted array: keys mostly arrive in ascending order, and that is where it is fast.
struct memory_row {
    int64_t key;
    char *bytes; // owned
    size_t size;
    uint16_t kind;
};

struct memory {
    struct store store;
    struct memory_row *rows;
    size_t count;
    size_t capacity;
    uint64_t version;
};

static struct memory *memory_of(struct store *store)
{
    return CONTAINER_OF(store, struct memory, store);
}

// Index of the first row that is not below the key.
static size_t find_row(const struct memory *memory, int64_t key)
{
    size_t low = 0;
    size_t high = memory->count;
    if (high > 0 && memory->rows[high - 1].key < key) {
        return high;
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memory->rows[middle].key < key) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void delete_row(struct memory *memory, int64_t key)
{
    size_t at = find_row(memory, key);
    if (at == memory->count || memory->rows[at].key != key) {
        return;
    }
    alloc_free(memory->rows[at].bytes);
    memory->count--;
    memmove(&memory->rows[at], &memory->rows[at + 1], (memory->count - at) * sizeof(*memory->rows));
}

static void put_row(struct memory *memory, const struct store_row *row)
{
    size_t at = find_row(memory, row->key);
    if (at == memory->count || memory->rows[at].key != row->key) {
        if (memory->count == memory->capacity) {
            memory->capacity = MAX((size_t)64, memory->capacity * 2);
            memory->rows = alloc_resize(memory->rows, memory->capacity, sizeof(*memory->rows));
        }
        memmove(&memory->rows[at + 1], &memory->rows[at],
                (memory->count - at) * sizeof(*memory->rows));
        memory->count++;
        memory->rows[at] = (struct memory_row){.key = row->key};
    }
    struct memory_row *to = &memory->rows[at];
    alloc_free(to->bytes);
    to->bytes = alloc_zero(row->bytes.size);
    memcpy(to->bytes, row->bytes.data, row->bytes.size);
    to->size = row->bytes.size;
    to->kind = row->kind;
}

static int memory_load(struct store *store, store_visit_fn visit, void *context,
                       uint64_t *out_version, struct err *err)
{
    const struct memory *memory = memory_of(store);
    for (size_t i = 0; i < memory->count; i++) {
        const struct memory_row *row = &memory->rows[i];
        int rc = visit(context, row->key, row->kind, (struct text){row->bytes, row->size}, err);
        if (rc != 0) {
            return rc;
        }
    }
    *out_version = memory->version;
    return 0;
}

static int memory_write(struct store *store, uint64_t version, const struct store_row *rows,
                        size_t row_count, struct err *err)
{
    struct memory *memory = memory_of(store);
    if (version <= memory->version) {
        return err_set(err, ERR_INVALID, "version %llu does not follow %llu",
                       (unsigned long long)version, (unsigned long long)memory->version);
    }
    for (size_t i = 0; i < row_count; i++) {
        if (rows[i].bytes.data == NULL) {
            delete_row(memory, rows[i].key);
        } else {
            put_row(memory, &rows[i]);
        }
    }
    memory->version = version;
    return 0;
}

static void memory_close(struct store *store)
{
    struct memory *memory = memory_of(store);
    for (size_t i = 0; i < memory->count; i++) {
        alloc_free(memory->rows[i].bytes);
    }
    alloc_free(memory->rows);
    alloc_free(memory);
}

static const struct store_ops memory_ops = {
    .name = "memory",
    .load = memory_load,
    .write = memory_write,
    .close = memory_close,
};

struct store *store_memory_new(void)
{
    struct memory *memory = ALLOC(struct memory);
    memory->store.ops = &memory_ops;
    return &memory->store;
}
