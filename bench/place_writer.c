#include "place_writer.h"

#include "base/alloc.h"

#include <stdio.h>
#include <stdlib.h>

void writer_rows(struct store *store, const struct core_batch *batch)
{
    AUTO(alloc_free) void *block = alloc_array(batch->row_count, sizeof(struct store_row));
    struct store_row *rows = block;
    for (size_t i = 0; i < batch->row_count; i++) {
        rows[i] = (struct store_row){batch->rows[i].key, batch->rows[i].kind, batch->rows[i].bytes};
    }
    struct err err = {0};
    if (store_write(store, batch->version, rows, batch->row_count, &err) != 0) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
}

static void *write_batches(void *context)
{
    struct writer *writer = context;
    pthread_mutex_lock(&writer->mutex);
    for (;;) {
        while (!writer->stop && (writer->batch == NULL || writer->written)) {
            pthread_cond_wait(&writer->changed, &writer->mutex);
        }
        if (writer->stop) {
            break;
        }
        pthread_mutex_unlock(&writer->mutex);
        core_batch_encode(writer->batch);
        writer_rows(writer->store, writer->batch);
        pthread_mutex_lock(&writer->mutex);
        writer->written = true;
        writer->batch_count++;
        pthread_cond_signal(&writer->changed);
    }
    pthread_mutex_unlock(&writer->mutex);
    return NULL;
}

void writer_hand_over(struct writer *writer, struct core *core, bool wait)
{
    pthread_mutex_lock(&writer->mutex);
    while (wait && writer->batch != NULL && !writer->written) {
        pthread_cond_wait(&writer->changed, &writer->mutex);
    }
    struct core_batch *done = NULL;
    if (writer->batch == NULL || writer->written) {
        done = writer->batch;
        writer->batch = core_batch_begin(core);
        writer->written = false;
        pthread_cond_signal(&writer->changed);
    }
    pthread_mutex_unlock(&writer->mutex);
    core_batch_free(done);
}

void writer_start(struct writer *writer, struct store *store)
{
    *writer = (struct writer){.store = store};
    pthread_mutex_init(&writer->mutex, NULL);
    pthread_cond_init(&writer->changed, NULL);
    if (pthread_create(&writer->thread, NULL, write_batches, writer) != 0) {
        fprintf(stderr, "cannot start a thread\n");
        exit(1);
    }
}

void writer_stop(struct writer *writer)
{
    pthread_mutex_lock(&writer->mutex);
    writer->stop = true;
    pthread_cond_signal(&writer->changed);
    pthread_mutex_unlock(&writer->mutex);
    pthread_join(writer->thread, NULL);
    pthread_mutex_destroy(&writer->mutex);
    pthread_cond_destroy(&writer->changed);
}
