#include "store/store.h"

int store_load(struct store *store, store_visit_fn visit, void *context, uint64_t *out_version,
               struct err *err)
{
    return store->ops->load(store, visit, context, out_version, err);
}

int store_write(struct store *store, uint64_t version, const struct store_row *rows,
                size_t row_count, struct err *err)
{
    // Checked before anything is written; the backend checks the version, which it knows.
    for (size_t i = 0; i < row_count; i++) {
        if (rows[i].key <= 0) {
            return err_set(err, ERR_INVALID, "a row with key %lld", (long long)rows[i].key);
        }
    }
    return store->ops->write(store, version, rows, row_count, err);
}

bool store_has_room(struct store *store)
{
    return store->ops->has_room == NULL || store->ops->has_room(store);
}

void store_close(struct store *store)
{
    if (store != NULL) {
        store->ops->close(store);
    }
}
