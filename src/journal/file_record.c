#include "journal/file_internal.h"

#include <endian.h>
#include <string.h>
#include <zlib.h>

/*
 * Records: how they stand in the file, which of them count, and how they are found again.
 */

_Static_assert(sizeof(struct header) == 16, "the header is written as it is");
_Static_assert(sizeof(struct record_header) == 56, "the record header is written as it is");

static const unsigned char record_magic[4] = {0xb3, 'j', 'r', 0x1a};

static uint32_t record_crc(const struct record_header *header, const char *payload)
{
    const unsigned char *from = (const unsigned char *)&header->kind;
    size_t size = sizeof(*header) - offsetof(struct record_header, kind);
    uLong crc = crc32(0, from, (uInt)size);
    return (uint32_t)crc32(crc, (const unsigned char *)payload, le32toh(header->payload_size));
}

void journal_record_append(uint64_t number, struct text id, struct text bytes, struct buf *out)
{
    ASSERT(id.size == JOURNAL_ID_SIZE);
    struct record_header header = {
        .payload_size = htole32((uint32_t)bytes.size),
        .kind = htole32(bytes.data == NULL ? RECORD_DELETE : RECORD_PUT),
        .number = htole64(number),
    };
    memcpy(header.magic, record_magic, sizeof(header.magic));
    memcpy(header.id, id.data, JOURNAL_ID_SIZE);
    header.crc = htole32(record_crc(&header, bytes.data == NULL ? "" : bytes.data));
    buf_add(out, &header, sizeof(header));
    if (bytes.size > 0) {
        buf_add(out, bytes.data, bytes.size);
    }
}

// @return whether a whole record begins here, with its size in the file
static bool record_read(struct text content, size_t at, struct record_header *out_header,
                        size_t *out_size)
{
    if (content.size - at < sizeof(*out_header)) {
        return false;
    }
    struct record_header header;
    memcpy(&header, content.data + at, sizeof(header));
    if (memcmp(header.magic, record_magic, sizeof(header.magic)) != 0) {
        return false;
    }
    size_t size = le32toh(header.payload_size);
    if (size > JOURNAL_RECORD_MAX || size > content.size - at - sizeof(header)) {
        return false;
    }
    if (le32toh(header.crc) != record_crc(&header, content.data + at + sizeof(header))) {
        return false;
    }
    *out_header = header;
    *out_size = sizeof(header) + size;
    return true;
}

void journal_entry_remove(struct log *log, struct text id)
{
    struct entry *entry = map_remove(&log->entries, id);
    if (entry != NULL) {
        log->live_bytes -= entry->size + sizeof(struct record_header);
        alloc_free(entry);
    }
}

void journal_entry_put(struct log *log, struct text id, uint64_t offset, size_t size)
{
    journal_entry_remove(log, id);
    struct entry *entry = ALLOC(struct entry);
    *entry = (struct entry){.offset = offset, .size = (uint32_t)size};
    map_put(&log->entries, id, entry);
    log->live_bytes += size + sizeof(struct record_header);
}

void journal_entries_clear(struct log *log)
{
    size_t cursor = 0;
    for (;;) {
        struct entry *entry = map_next(&log->entries, &cursor, NULL);
        if (entry == NULL) {
            break;
        }
        alloc_free(entry);
    }
    map_deinit(&log->entries);
    log->live_bytes = 0;
}

// Records that were durable may be lost before this place: any task may have moved on in one of
// them.
static void note_loss(struct log *log)
{
    size_t cursor = 0;
    log->loss.inside = true;
    for (;;) {
        struct entry *entry = map_next(&log->entries, &cursor, NULL);
        if (entry == NULL) {
            return;
        }
        entry->uncertain = true;
    }
}

static void take_record(struct log *log, const struct record_header *header, size_t at)
{
    struct text id = {header->id, JOURNAL_ID_SIZE};
    log->next_number = le64toh(header->number) + 1;
    if (le32toh(header->kind) == RECORD_PUT) {
        journal_entry_put(log, id, at + sizeof(*header), le32toh(header->payload_size));
    } else {
        journal_entry_remove(log, id);
    }
}

void journal_scan(struct log *log, struct text content)
{
    size_t at = sizeof(struct header);
    size_t tail = content.size;
    while (tail > at && content.data[tail - 1] == '\0') {
        tail--;
    }
    bool in_gap = false;
    log->end_bytes = at;
    while (at < tail) {
        struct record_header header;
        size_t size = 0;
        if (!record_read(content, at, &header, &size)) {
            log->loss.gaps += in_gap ? 0 : 1;
            log->loss.bytes++;
            in_gap = true;
            at++;
            continue;
        }
        bool missing = log->next_number != 0 && le64toh(header.number) != log->next_number;
        if (in_gap || missing) {
            note_loss(log);
        }
        take_record(log, &header, at);
        at += size;
        log->end_bytes = at;
        in_gap = false;
    }
}

int journal_check_header(struct text content, struct err *err)
{
    struct header header;
    if (content.size < sizeof(header)) {
        return err_set(err, ERR_CORRUPT, "the journal is too short to be one");
    }
    memcpy(&header, content.data, sizeof(header));
    if (memcmp(header.magic, FILE_MAGIC, sizeof(header.magic)) != 0) {
        return err_set(err, ERR_CORRUPT, "the file is not a journal of berth's");
    }
    if (le32toh(header.version) > FILE_VERSION) {
        return err_set(err, ERR_VERSION,
                       "the journal is of version %u, which a newer berth wrote; this one reads up "
                       "to %d: start that version or a newer one",
                       le32toh(header.version), FILE_VERSION);
    }
    return 0;
}
