#include "base/file.h"
#include "journal/file_internal.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * Writing the file: at its end, ahead of need, and anew when most of it counts no more.
 */

#define FILE_NAME "journal"
#define FILE_MAX_BYTES (256u << 20)  // 10,000 tasks of 4 KiB, six times over
#define GROW_BYTES (256u << 10)      // zeros written ahead: the records of some 80 tasks
#define ZERO_BYTES (64u << 10)       // written at once
#define COMPACT_MIN_BYTES (4u << 20) // below it rewriting saves nothing
#define RESERVE_BYTES (64u << 10)    // for deletions, beside what each task still needs
#define WRITES_PER_TASK 3            // launched, stop asked for, stopped

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
    memcpy(header.magic, FILE_MAGIC, sizeof(header.magic));
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
        journal_record_append(number++, id, (struct text){payload, entry->size}, out);
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
    journal_entries_clear(log);
    journal_scan(log, buf_view(&content));
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
            journal_entry_remove(log, changes[i].task_id);
        } else {
            journal_entry_put(log, changes[i].task_id, at, changes[i].bytes.size);
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
        journal_record_append(log->next_number + i, changes[i].task_id, changes[i].bytes, &content);
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
    journal_entries_clear(log);
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
        rc = journal_check_header(buf_view(&content), err);
    }
    if (rc != 0) {
        return rc;
    }
    journal_scan(log, buf_view(&content));
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
