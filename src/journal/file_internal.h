#pragma once

#include "base/map.h"
#include "base/text.h"
#include "journal/journal.h"

/*
 * The file is a header and then records, each of which is
 *
 *     magic 4 | size of payload 4 | CRC-32 of all that follows 4 | kind 4 | number 8 | id 32 |
 * payload
 *
 * with numbers in little endian. Records are numbered without gaps, so a reader that skips damaged
 * bytes knows whether it missed any. The magic lets it find the next one.
 *
 * Behind the last record the file is filled with zeros, ahead of need. That keeps room for what
 * must be written on a full disk, and it is quick: to make a record durable that overwrites zeros
 * the disk need not write anything about the file, nor the changes of directories that file systems
 * put into the same transaction; beside a task being prepared that is 0.3 ms instead of 3.
 *
 * file_record.c has the records and what of them counts, file.c the writing of the file.
 */

#define FILE_VERSION 1
#define FILE_MAGIC "BERTHJNL"

/** What the file begins with. */
struct header {
    char magic[8];
    uint32_t version;
    uint32_t zero;
};

/** What each record begins with. */
struct record_header {
    unsigned char magic[4];
    uint32_t payload_size;
    uint32_t crc;
    uint32_t kind;
    uint64_t number;
    char id[JOURNAL_ID_SIZE];
};

/** What a record does. */
enum record_kind { RECORD_PUT = 1, RECORD_DELETE = 2 };

/** Where the newest record of a task is in the file. */
struct entry {
    uint64_t offset; ///< of the payload
    uint32_t size;
    bool uncertain; ///< a later one may be lost
};

/** A journal in a file. */
struct log {
    struct journal journal;
    int dir_fd;
    int lock_fd;
    int fd;
    uint64_t end_bytes;       ///< where the next record goes
    uint64_t allocated_bytes; ///< size of the file, zeros included
    uint64_t next_number;
    uint64_t live_bytes;       ///< of all records that count
    uint64_t compact_at_bytes; ///< size at which to try next
    bool broken;               ///< a write failed half-way: write the file anew before the next
    struct journal_loss loss;
    struct map entries; ///< by id; values are owned
};

/** Append a record; bytes that are absent make it a deletion. */
void journal_record_append(uint64_t number, struct text id, struct text bytes, struct buf *out);

/** A task's newest record is here. */
void journal_entry_put(struct log *log, struct text id, uint64_t offset, size_t size);

/** A task has none any more. */
void journal_entry_remove(struct log *log, struct text id);

/** Forget all. */
void journal_entries_clear(struct log *log);

/** Check the header of a file. @return 0, ERR_CORRUPT, or ERR_VERSION for one of a newer Berth */
MUST_CHECK int journal_check_header(struct text content, struct err *err);

/** Find all records. Bytes that are none are skipped up to the next that is one. */
void journal_scan(struct log *log, struct text content);
