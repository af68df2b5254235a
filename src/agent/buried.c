#include "agent/buried.h"

#include "base/text.h"

#include <string.h>

static void id_bytes(struct text id, unsigned char out[BURIED_ID_BYTES])
{
    int rc = text_unhex(id, out, BURIED_ID_BYTES);
    ASSERT(rc == 0); // ids of tasks are looked at where they come in
}

// Ids are random, so any of their bits will do.
static size_t bucket_of(const unsigned char id[BURIED_ID_BYTES])
{
    return ((size_t)id[0] << 8 | id[1]) % BURIED_BUCKETS;
}

static bool find(const struct buried *buried, const unsigned char id[BURIED_ID_BYTES])
{
    for (uint16_t at = buried->heads[bucket_of(id)]; at != 0; at = buried->next[at - 1]) {
        if (memcmp(buried->ids[at - 1], id, BURIED_ID_BYTES) == 0) {
            return true;
        }
    }
    return false;
}

static void forget(struct buried *buried, size_t place)
{
    uint16_t *at = &buried->heads[bucket_of(buried->ids[place])];
    while (*at != place + 1) {
        ASSERT(*at != 0);
        at = &buried->next[*at - 1];
    }
    *at = buried->next[place];
    buried->count--;
}

void buried_add(struct buried *buried, struct text id)
{
    unsigned char bytes[BURIED_ID_BYTES];
    id_bytes(id, bytes);
    if (find(buried, bytes)) {
        return;
    }
    size_t place = buried->place;
    if (buried->count == BURIED_MAX) {
        forget(buried, place);
    }
    memcpy(buried->ids[place], bytes, BURIED_ID_BYTES);
    uint16_t *head = &buried->heads[bucket_of(bytes)];
    buried->next[place] = *head;
    *head = (uint16_t)(place + 1);
    buried->count++;
    buried->place = (place + 1) % BURIED_MAX;
}

bool buried_has(const struct buried *buried, struct text id)
{
    unsigned char bytes[BURIED_ID_BYTES];
    id_bytes(id, bytes);
    return find(buried, bytes);
}
