#include "base/file.h"
#include "base/map.h"
#include "base/text.h"
#include "journal/journal.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

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
 */

#define FILE_NAME "journal"
#define FILE_VERSION 1
#define FILE_MAX_BYTES (256u << 20)  // 10,000 tasks of 4 KiB, six times over
#define GROW_BYTES (256u << 10)      // zeros written ahead: the records of some 80 tasks
#define ZERO_BYTES (64u << 10)       // written at once
#define COMPACT_MIN_BYTES (4u << 20) // below it rewriting saves nothing
#define RESERVE_BYTES (64u << 10)    // for deletions, beside what each task still needs
#define WRITES_PER_TASK 3            // launched, stop asked for, stopped

static const char file_magic[8] = {'B', 'E', 'R', 'T', 'H', 'J', 'N', 'L'};
static const unsigned char record_magic[4] = {0xb3, 'j', 'r', 0x1a};

struct header {
    char magic[8];
    uint32_t version;
    uint32_t zero;
};

struct record_header {
    unsigned char magic[4];
    uint32_t payload_size;
    uint32_t crc;
    uint32_t kind;
    uint64_t number;
    char id[JOURNAL_ID_SIZE];
};

_Static_assert(sizeof(struct header) == 16, "the header is written as it is");
_Static_assert(sizeof(struct record_header) == 56, "the record header is written as it is");

enum record_kind { RECORD_PUT = 1, RECORD_DELETE = 2 };

/** Where the newest record of a task is in the file. */
struct entry {
    uint64_t offset; ///< of the payload
    uint32_t size;
    bool uncertain; ///< a later one may be lost
};

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

// ---- records ------------------------------------------------------------------------------

static uint32_t record_crc(const struct record_header *header, const char *payload)
{
    const unsigned char *from = (const unsigned char *)&header->kind;
    size_t size = sizeof(*header) - offsetof(struct record_header, kind);
    uLong crc = crc32(0, from, (uInt)size);
    return (uint32_t)crc32(crc, (const unsigned char *)payload, le32toh(header->payload_size));
}

static void record_append(uint64_t number, struct text id, struct text bytes, struct buf *out)
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

// ---- what counts --------------------------------------------------------------------------

static void entry_remove(struct log *log, struct text id)
{
    struct entry *entry = map_remove(&log->entries, id);
    if (entry != NULL) {
        log->live_bytes -= entry->size + sizeof(struct record_header);
        alloc_free(entry);
    }
}

static void entry_put(struct log *log, struct text id, uint64_t offset, size_t size)
{
    entry_remove(log, id);
    struct entry *entry = ALLOC(struct entry);
    *entry = (struct entry){.offset = offset, .size = (uint32_t)size};
    map_put(&log->entries, id, entry);
    log->live_bytes += size + sizeof(struct record_header);
}

static void entries_clear(struct log *log)
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

// ---- reading ------------------------------------------------------------------------------

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
        entry_put(log, id, at + sizeof(*header), le32toh(header->payload_size));
    } else {
        entry_remove(log, id);
    }
}

// Find all records. Bytes that are none are skipped up to the next that is one.
static void scan(struct log *log, struct text content)
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

static int check_header(struct text content, struct err *err)
{
    struct header header;
    if (content.size < sizeof(header)) {
        return err_set(err, ERR_CORRUPT, "the journal is too short to be one");
    }
    memcpy(&header, content.data, sizeof(header));
    if (memcmp(header.magic, file_magic, sizeof(file_magic)) != 0) {
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

// ---- writing ------------------------------------------------------------------------------

// Write all bytes at a place; no synchronisation.
static int write_at(struct log *log, uint64_t offset, struct text bytes, struct err *err)
{
    size_t done = 0;
    while (done < bytes.size) {
        ssize_t wrote =
            pwrite(log->fd, bytes.data + done, bytes.size - done, (off_t)(offset + done));
        if (wrote < 0 && errno == EINTR) {
            continue;
        }
        if (wrote < 0) {
            return err_sys(err, errno, "writing %zu bytes to the journal", bytes.size);
        }
        done += (size_t)wrote;
    }
    return 0;
}

static int sync_log(struct log *log, struct err *err)
{
    if (fdatasync(log->fd) != 0) {
        log->broken = true; // what reached the disk is not known any more
        return err_sys(err, errno, "syncing the journal");
    }
    return 0;
}

static int write_zeros(struct log *log, uint64_t from, uint64_t to, struct err *err)
{
    static const char zeros[ZERO_BYTES];
    int rc = 0;
    while (from < to && rc == 0) {
        size_t size = (size_t)MIN(to - from, (uint64_t)sizeof(zeros));
        rc = write_at(log, from, (struct text){zeros, size}, err);
        from += size;
    }
    return rc;
}

// Fill the file with zeros up to a size.
static int grow_to(struct log *log, uint64_t size_bytes, struct err *err)
{
    int rc = write_zeros(log, log->allocated_bytes, size_bytes, err);
    if (rc == 0) {
        rc = sync_log(log, err);
    }
    if (rc == 0) {
        log->allocated_bytes = size_bytes;
        return 0;
    }
    // Whatever was begun is given back; what was there before stays.
    IGNORE(ftruncate(log->fd, (off_t)log->allocated_bytes) != 0, "zeros do no harm");
    return rc;
}

// Have room up to a size, and some ahead when the disk has it.
static int reserve(struct log *log, uint64_t size_bytes, struct err *err)
{
    if (size_bytes <= log->allocated_bytes) {
        return 0;
    }
    struct err ahead = {0};
    return grow_to(log, size_bytes + GROW_BYTES, &ahead) == 0 ? 0 : grow_to(log, size_bytes, err);
}

// What the tasks in the journal still have to write before they are gone.
static uint64_t room_for_ends(const struct log *log)
{
    return RESERVE_BYTES + log->live_bytes * WRITES_PER_TASK;
}

static void reserve_for_ends(struct log *log)
{
    struct err ignored = {0};
    IGNORE(reserve(log, log->end_bytes + room_for_ends(log), &ignored),
           "the next new task asks for it again, and is not taken without");
}

// All that counts, as a new file would hold it; entries of log keep pointing into the old one.
static int gather(struct log *log, struct buf *out, struct err *err)
{
    struct header header = {.version = htole32(FILE_VERSION)};
    memcpy(header.magic, file_magic, sizeof(file_magic));
    buf_add(out, &header, sizeof(header));
    size_t cursor = 0;
    struct text id = {0};
    uint64_t number = log->next_number;
    for (;;) {
        const struct entry *entry = map_next(&log->entries, &cursor, &id);
        if (entry == NULL) {
            return 0;
        }
        AUTO(alloc_string) char *payload = alloc_zero((size_t)entry->size + 1);
        ssize_t got = pread(log->fd, payload, entry->size, (off_t)entry->offset);
        if (got != (ssize_t)entry->size) {
            return err_sys(err, got < 0 ? errno : EIO, "reading back a record of the journal");
        }
        record_append(number++, id, (struct text){payload, entry->size}, out);
    }
}

// Write the file anew with what counts only. On an error the old one stays as it is.
static int compact(struct log *log, struct err *err)
{
    AUTO(buf_deinit) struct buf content = {0};
    int rc = gather(log, &content, err);
    if (rc == 0) {
        rc = file_replace(log->dir_fd, FILE_NAME, 0600, buf_view(&content), err);
    }
    if (rc != 0) {
        return err_wrap(err, "writing the journal anew");
    }
    int fd = openat(log->dir_fd, FILE_NAME, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        log->broken = true; // the open descriptor is that of a file that nobody finds any more
        return err_sys(err, errno, "opening the new journal");
    }
    fd_close(log->fd);
    log->fd = fd;
    log->broken = false;
    log->allocated_bytes = content.size;
    log->next_number = MAX(log->next_number, (uint64_t)1);
    size_t count = log->entries.count;
    entries_clear(log);
    scan(log, buf_view(&content));
    ASSERT(log->entries.count == count);
    log->compact_at_bytes = MAX((uint64_t)COMPACT_MIN_BYTES, log->live_bytes * 4);
    reserve_for_ends(log);
    return 0;
}

// A new task is taken only when its end, and that of all others, can be written, too. What is
// written for tasks that are known may use the room that was reserved for them then.
static int make_room(struct log *log, const struct journal_change *changes, size_t count,
                     uint64_t size_bytes, struct err *err)
{
    bool fresh = false;
    for (size_t i = 0; i < count; i++) {
        fresh = fresh || (changes[i].bytes.data != NULL &&
                          map_get(&log->entries, changes[i].task_id) == NULL);
    }
    if (!fresh) {
        return 0;
    }
    uint64_t room = log->end_bytes + size_bytes * (1 + WRITES_PER_TASK) + room_for_ends(log);
    if (room > FILE_MAX_BYTES) {
        return err_set(err, ERR_NO_ROOM, "the journal may not grow beyond %u MiB",
                       FILE_MAX_BYTES >> 20);
    }
    return reserve(log, room, err);
}

// What was written of changes that do not count must not be read later.
static void take_back(struct log *log, uint64_t size_bytes)
{
    struct err ignored = {0};
    uint64_t written = MIN(log->end_bytes + size_bytes, log->allocated_bytes);
    bool cut = ftruncate(log->fd, (off_t)log->allocated_bytes) == 0;
    if (!cut || write_zeros(log, log->end_bytes, written, &ignored) != 0 ||
        sync_log(log, &ignored) != 0) {
        log->broken = true;
    }
}

static void apply_changes(struct log *log, const struct journal_change *changes, size_t count)
{
    uint64_t at = log->end_bytes;
    for (size_t i = 0; i < count; i++) {
        at += sizeof(struct record_header);
        if (changes[i].bytes.data == NULL) {
            entry_remove(log, changes[i].task_id);
        } else {
            entry_put(log, changes[i].task_id, at, changes[i].bytes.size);
        }
        at += changes[i].bytes.size;
    }
    log->end_bytes = at;
    log->allocated_bytes = MAX(log->allocated_bytes, at);
    log->next_number += count;
}

static int log_write(struct journal *journal, const struct journal_change *changes, size_t count,
                     struct err *err)
{
    struct log *log = (struct log *)journal;
    if (count == 0) {
        return 0;
    }
    if (log->broken) {
        int rc = compact(log, err);
        if (rc != 0) {
            return rc;
        }
    }
    AUTO(buf_deinit) struct buf content = {0};
    for (size_t i = 0; i < count; i++) {
        record_append(log->next_number + i, changes[i].task_id, changes[i].bytes, &content);
    }
    int rc = make_room(log, changes, count, content.size, err);
    if (rc != 0) {
        return rc;
    }
    rc = write_at(log, log->end_bytes, buf_view(&content), err);
    if (rc == 0) {
        rc = sync_log(log, err);
    }
    if (rc != 0) {
        take_back(log, content.size);
        return rc;
    }
    apply_changes(log, changes, count);
    if (log->end_bytes > log->compact_at_bytes) {
        struct err ignored = {0};
        if (compact(log, &ignored) != 0) {
            // The old file is as good; try again when it has grown by as much as it may hold.
            log->compact_at_bytes = log->end_bytes + COMPACT_MIN_BYTES;
        }
    }
    return 0;
}

// ---- loading ------------------------------------------------------------------------------

static int log_load(struct journal *journal,
                    int (*visit)(void *context, struct text task_id, struct text bytes,
                                 bool uncertain, struct err *err),
                    void *context, struct journal_loss *out_loss, struct err *err)
{
    struct log *log = (struct log *)journal;
    size_t cursor = 0;
    struct text id = {0};
    for (;;) {
        const struct entry *entry = map_next(&log->entries, &cursor, &id);
        if (entry == NULL) {
            break;
        }
        AUTO(alloc_string) char *payload = alloc_zero((size_t)entry->size + 1);
        ssize_t got = pread(log->fd, payload, entry->size, (off_t)entry->offset);
        if (got != (ssize_t)entry->size) {
            return err_sys(err, got < 0 ? errno : EIO, "reading a record of the journal");
        }
        int rc = visit(context, id, (struct text){payload, entry->size}, entry->uncertain, err);
        if (rc != 0) {
            return rc;
        }
    }
    *out_loss = log->loss;
    return 0;
}

static void log_close(struct journal *journal)
{
    struct log *log = (struct log *)journal;
    if (log == NULL) {
        return;
    }
    entries_clear(log);
    fd_close(log->fd);
    fd_close(log->lock_fd);
    fd_close(log->dir_fd);
    alloc_free(log);
}

static int open_existing(struct log *log, struct err *err)
{
    log->fd = openat(log->dir_fd, FILE_NAME, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (log->fd < 0) {
        return err_sys(err, errno, "opening the journal");
    }
    AUTO(buf_deinit) struct buf content = {0};
    int rc = file_read(log->dir_fd, FILE_NAME, FILE_MAX_BYTES, &content, err);
    if (rc == 0) {
        rc = check_header(buf_view(&content), err);
    }
    if (rc != 0) {
        return rc;
    }
    scan(log, buf_view(&content));
    log->allocated_bytes = content.size;
    if (log->loss.gaps > 0) {
        if (ftruncate(log->fd, (off_t)log->end_bytes) != 0) {
            return err_sys(err, errno, "cutting a torn record off the journal");
        }
        log->allocated_bytes = log->end_bytes;
    }
    reserve_for_ends(log);
    return 0;
}

int journal_file_open(const char *directory, struct journal **out_journal, struct err *err)
{
    static const struct journal_ops ops = {
        .name = "file", .load = log_load, .write = log_write, .close = log_close};
    int rc = file_make_dirs(directory, 0700, err);
    if (rc != 0) {
        return rc;
    }
    AUTO(journal_close) struct journal *journal = &ALLOC(struct log)->journal;
    struct log *log = (struct log *)journal;
    *log = (struct log){.journal.ops = &ops, .dir_fd = -1, .lock_fd = -1, .fd = -1};
    log->compact_at_bytes = COMPACT_MIN_BYTES;
    log->dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (log->dir_fd < 0) {
        return err_sys(err, errno, "opening '%s'", directory);
    }
    log->lock_fd = openat(log->dir_fd, "journal.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (log->lock_fd < 0) {
        return err_sys(err, errno, "opening '%s/journal.lock'", directory);
    }
    if (flock(log->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        return err_set(err, ERR_BUSY, "another process uses the journal in '%s'", directory);
    }
    rc = open_existing(log, err);
    if (rc == ERR_NOT_FOUND) {
        rc = compact(log, err);
    }
    if (rc != 0) {
        return err_wrap(err, "journal in '%s'", directory);
    }
    *out_journal = journal;
    journal = NULL; // the caller owns it now
    return 0;
}
