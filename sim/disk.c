#include "disk.h"

#include "base/alloc.h"
#include "base/mutant.h"

#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECTOR_BYTES 512
#define FILES_MAX 8
#define DEAD INT_MIN // what is left of a disk that failed
#define WHOLE SIZE_MAX
#define NAME_CHARS 128
#define RESERVE_BYTES (16 << 20) // more than the store wants to hold back: it leaves it alone

struct disk_file {
    char name[NAME_CHARS];
    bool there;
    char *now;   // owned: as processes see it
    char *safe;  // owned: as it is after a loss of power
    bool *dirty; // owned: by sector, whether both may differ
    size_t size;
    size_t safe_size;
    size_t cut; // what is behind was cut off since the last synchronisation; WHOLE: nothing
    size_t capacity;
};

struct disk {
    struct world *world;
    char directory[64];
    char path[NAME_CHARS];
    struct disk_file files[FILES_MAX];
    int left; // operations until it fails; negative: it does not
};

/** What SQLite holds of an open file. */
struct handle {
    sqlite3_file base;
    struct disk_file *file;
};

static struct disk *active;

// ---- files ------------------------------------------------------------------------------------

static struct disk_file *find(const char *name)
{
    for (size_t i = 0; i < FILES_MAX; i++) {
        if (active->files[i].there && strcmp(active->files[i].name, name) == 0) {
            return &active->files[i];
        }
    }
    return NULL;
}

static struct disk_file *make(const char *name)
{
    for (size_t i = 0; i < FILES_MAX; i++) {
        struct disk_file *file = &active->files[i];
        if (!file->there) {
            snprintf(file->name, sizeof(file->name), "%s", name);
            file->there = true;
            file->cut = WHOLE;
            return file;
        }
    }
    return NULL;
}

static void empty(struct disk_file *file)
{
    alloc_free(file->now);
    alloc_free(file->safe);
    alloc_free(file->dirty);
    *file = (struct disk_file){0};
}

static void grow(struct disk_file *file, size_t size)
{
    if (size <= file->capacity) {
        return;
    }
    size_t before = file->capacity;
    size_t after = MAX(before, (size_t)SECTOR_BYTES * 64);
    while (after < size) {
        after *= 2;
    }
    file->now = alloc_resize(file->now, after, 1);
    file->safe = alloc_resize(file->safe, after, 1);
    file->dirty = alloc_resize(file->dirty, after / SECTOR_BYTES, sizeof(bool));
    memset(file->now + before, 0, after - before);
    memset(file->safe + before, 0, after - before);
    memset(file->dirty + before / SECTOR_BYTES, 0, (after - before) / SECTOR_BYTES);
    file->capacity = after;
}

static void write_bytes(struct disk_file *file, const void *bytes, size_t size, size_t at)
{
    grow(file, at + size);
    if (size == 0) {
        return;
    }
    memcpy(file->now + at, bytes, size);
    file->size = MAX(file->size, at + size);
    for (size_t i = at / SECTOR_BYTES; i <= (at + size - 1) / SECTOR_BYTES; i++) {
        file->dirty[i] = true;
    }
}

// Count an operation that changes something. @return whether the disk fails with this one
static bool fails_now(void)
{
    if (active->left < 0) {
        return false;
    }
    active->left = active->left == 0 ? DEAD : active->left - 1;
    return active->left == DEAD;
}

static bool dead(void)
{
    return active->left == DEAD;
}

// ---- what SQLite calls ------------------------------------------------------------------------

static struct disk_file *file_of(sqlite3_file *file)
{
    return ((struct handle *)file)->file;
}

static int on_close(sqlite3_file *file)
{
    (void)file;
    return SQLITE_OK;
}

static int on_read(sqlite3_file *handle, void *out, int size, sqlite3_int64 at)
{
    const struct disk_file *file = file_of(handle);
    size_t begin = MIN((size_t)at, file->size);
    size_t count = MIN((size_t)size, file->size - begin);
    if (count > 0) {
        memcpy(out, file->now + begin, count);
    }
    if (count < (size_t)size) {
        memset((char *)out + count, 0, (size_t)size - count);
        return SQLITE_IOERR_SHORT_READ;
    }
    return SQLITE_OK;
}

static int on_write(sqlite3_file *handle, const void *bytes, int size, sqlite3_int64 at)
{
    if (dead()) {
        return SQLITE_IOERR_WRITE;
    }
    bool last = fails_now();
    if (last) {
        size = (int)world_between(active->world, 0, size); // it is cut off somewhere
    }
    write_bytes(file_of(handle), bytes, (size_t)size, (size_t)at);
    return last ? SQLITE_IOERR_WRITE : SQLITE_OK;
}

static int on_truncate(sqlite3_file *handle, sqlite3_int64 size)
{
    struct disk_file *file = file_of(handle);
    if (dead() || fails_now()) {
        return SQLITE_IOERR_TRUNCATE;
    }
    if ((size_t)size < file->size) {
        memset(file->now + size, 0, file->size - (size_t)size);
        file->size = (size_t)size;
        file->cut = MIN(file->cut, (size_t)size);
    }
    return SQLITE_OK;
}

// What was cut off is gone from the platter, too.
static void cut_safe(struct disk_file *file)
{
    if (file->cut < file->capacity) {
        memset(file->safe + file->cut, 0, file->capacity - file->cut);
    }
    file->safe_size = MIN(file->safe_size, file->cut);
    file->cut = WHOLE;
}

static int on_sync(sqlite3_file *handle, int flags)
{
    (void)flags;
    struct disk_file *file = file_of(handle);
    if (dead() || fails_now()) {
        return SQLITE_IOERR_FSYNC;
    }
    if (MUTANT("skip-sync")) {
        return SQLITE_OK;
    }
    cut_safe(file);
    for (size_t i = 0; i < file->capacity / SECTOR_BYTES; i++) {
        if (file->dirty[i]) {
            memcpy(file->safe + i * SECTOR_BYTES, file->now + i * SECTOR_BYTES, SECTOR_BYTES);
            file->dirty[i] = false;
        }
    }
    file->safe_size = file->size;
    return SQLITE_OK;
}

static int on_size(sqlite3_file *handle, sqlite3_int64 *out_size)
{
    *out_size = (sqlite3_int64)file_of(handle)->size;
    return SQLITE_OK;
}

static int on_lock(sqlite3_file *handle, int level)
{
    (void)handle;
    (void)level;
    return SQLITE_OK; // there is one process
}

static int on_reserved(sqlite3_file *handle, int *out_locked)
{
    (void)handle;
    *out_locked = 0;
    return SQLITE_OK;
}

static int on_control(sqlite3_file *handle, int operation, void *argument)
{
    (void)handle;
    (void)operation;
    (void)argument;
    return SQLITE_NOTFOUND;
}

static int on_sector(sqlite3_file *handle)
{
    (void)handle;
    return 4096;
}

// As SQLite believes of every disk on Unix.
static int on_character(sqlite3_file *handle)
{
    (void)handle;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = on_close,
    .xRead = on_read,
    .xWrite = on_write,
    .xTruncate = on_truncate,
    .xSync = on_sync,
    .xFileSize = on_size,
    .xLock = on_lock,
    .xUnlock = on_lock,
    .xCheckReservedLock = on_reserved,
    .xFileControl = on_control,
    .xSectorSize = on_sector,
    .xDeviceCharacteristics = on_character,
};

static int on_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *out_file, int flags,
                   int *out_flags)
{
    (void)vfs;
    struct handle *handle = (struct handle *)out_file;
    *handle = (struct handle){0};
    struct disk_file *file = name == NULL ? NULL : find(name);
    if (file == NULL && name != NULL && !dead()) {
        file = make(name);
    }
    if (file == NULL) {
        return SQLITE_CANTOPEN;
    }
    handle->file = file;
    handle->base.pMethods = &methods;
    if (out_flags != NULL) {
        *out_flags = flags;
    }
    return SQLITE_OK;
}

// A name that goes is gone for good: SQLite synchronises the directory where it matters.
static int on_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
    (void)vfs;
    (void)sync;
    struct disk_file *file = find(name);
    if (dead()) {
        return SQLITE_IOERR_DELETE;
    }
    if (file == NULL) {
        return SQLITE_IOERR_DELETE_NOENT;
    }
    empty(file);
    return SQLITE_OK;
}

static int on_access(sqlite3_vfs *vfs, const char *name, int flags, int *out_there)
{
    (void)vfs;
    (void)flags;
    const struct disk_file *file = find(name);
    *out_there = file != NULL && (flags != SQLITE_ACCESS_EXISTS || file->size > 0);
    return SQLITE_OK;
}

static int on_path(sqlite3_vfs *vfs, const char *name, int size, char *out)
{
    (void)vfs;
    snprintf(out, (size_t)size, "%s", name);
    return SQLITE_OK;
}

static int on_randomness(sqlite3_vfs *vfs, int size, char *out)
{
    (void)vfs;
    memset(out, 0x5A, (size_t)size);
    return size;
}

static int on_sleep(sqlite3_vfs *vfs, int microseconds)
{
    (void)vfs;
    return microseconds;
}

static int on_time(sqlite3_vfs *vfs, double *out_days)
{
    (void)vfs;
    *out_days = 2460000.5;
    return SQLITE_OK;
}

static sqlite3_vfs disk_vfs = {
    .iVersion = 1,
    .szOsFile = (int)sizeof(struct handle),
    .mxPathname = NAME_CHARS,
    .zName = "simulated",
    .xOpen = on_open,
    .xDelete = on_delete,
    .xAccess = on_access,
    .xFullPathname = on_path,
    .xRandomness = on_randomness,
    .xSleep = on_sleep,
    .xCurrentTime = on_time,
};

// ---- the disk ---------------------------------------------------------------------------------

// The store makes its file and looks at its reserve by system calls of its own: for those there is
// a directory with an empty file and one of the reserve's size, which take no space.
struct disk *disk_new(struct world *world)
{
    struct disk *disk = ALLOC(struct disk);
    *disk = (struct disk){.world = world, .left = -1};
    snprintf(disk->directory, sizeof(disk->directory), "/tmp/berth-sim.XXXXXX");
    char *directory = mkdtemp(disk->directory);
    ASSERT(directory != NULL);
    snprintf(disk->path, sizeof(disk->path), "%s/store", disk->directory);
    char reserve[NAME_CHARS + 16];
    snprintf(reserve, sizeof(reserve), "%s-reserve", disk->path);
    int fd = open(reserve, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ASSERT(fd >= 0);
    int rc = ftruncate(fd, RESERVE_BYTES);
    ASSERT(rc == 0);
    close(fd);
    ASSERT(active == NULL);
    active = disk;
    sqlite3_vfs_register(&disk_vfs, 1);
    return disk;
}

void disk_free(struct disk *disk)
{
    if (disk == NULL) {
        return;
    }
    ASSERT(active == disk);
    for (size_t i = 0; i < FILES_MAX; i++) {
        empty(&disk->files[i]);
    }
    char reserve[NAME_CHARS + 16];
    snprintf(reserve, sizeof(reserve), "%s-reserve", disk->path);
    unlink(reserve);
    unlink(disk->path);
    rmdir(disk->directory);
    sqlite3_vfs_unregister(&disk_vfs);
    active = NULL;
    alloc_free(disk);
}

const char *disk_path(const struct disk *disk)
{
    return disk->path;
}

void disk_fail_after(struct disk *disk, int count)
{
    disk->left = MAX(count, -1);
}

void disk_stop(struct disk *disk)
{
    disk->left = DEAD;
}

// A file system cuts a file in one piece, whatever its size, and has nothing of what was written
// behind the cut later without the cut itself: their blocks are new ones.
static void settle_cut(struct disk *disk, struct disk_file *file)
{
    if (file->cut == WHOLE || world_chance(disk->world, 500)) {
        cut_safe(file);
        return;
    }
    size_t first = file->cut / SECTOR_BYTES;
    memcpy(file->now + first * SECTOR_BYTES, file->safe + first * SECTOR_BYTES,
           file->capacity - first * SECTOR_BYTES);
    memset(file->dirty + first, 0, file->capacity / SECTOR_BYTES - first);
    file->cut = WHOLE;
}

void disk_lose_power(struct disk *disk)
{
    for (size_t i = 0; i < FILES_MAX; i++) {
        struct disk_file *file = &disk->files[i];
        if (!file->there) {
            continue;
        }
        settle_cut(disk, file);
        size_t end = file->safe_size;
        for (size_t j = 0; j < file->capacity / SECTOR_BYTES; j++) {
            if (!file->dirty[j]) {
                continue;
            }
            char *safe = file->safe + j * SECTOR_BYTES;
            char *now = file->now + j * SECTOR_BYTES;
            bool kept = world_chance(disk->world, 500);
            memcpy(kept ? safe : now, kept ? now : safe, SECTOR_BYTES);
            file->dirty[j] = false;
            end = kept ? MAX(end, MIN(file->size, (j + 1) * SECTOR_BYTES)) : end;
        }
        file->size = end;
        file->safe_size = end;
    }
}
