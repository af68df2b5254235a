#include "store/store.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define FORMAT 1
#define APPLICATION_ID "1114797160" // "Brth": how a file of Berth is told from a foreign one

// The log is brought into the file once it has so many pages of 4 KiB: seldom enough that pages
// changed by many batches are written once, small enough to be read quickly after a crash.
#define CHECKPOINT_PAGES 2000
// A log that one large batch made longer is cut back to this.
#define LOG_BYTES_KEPT "16777216"
// What a checkpoint may need when the disk is full: a log of CHECKPOINT_PAGES, with room.
#define RESERVE_BYTES (12 << 20)
// What must be free beside the reserve before writing goes on, so that it does not end at once.
#define ROOM_BYTES (4 << 20)

enum statement { BEGIN, PUT, DELETE, VERSION, COMMIT, STATEMENT_COUNT };

static const char *const statement_texts[STATEMENT_COUNT] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [PUT] = "REPLACE INTO rows (key, kind, bytes) VALUES (?1, ?2, ?3)",
    [DELETE] = "DELETE FROM rows WHERE key = ?1",
    [VERSION] = "UPDATE meta SET version = ?1 WHERE id = 1",
    [COMMIT] = "COMMIT",
};

struct sqlite {
    struct store store;
    char *path;         // owned
    char *reserve_path; // owned
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENT_COUNT];
    uint64_t version;
    int log_pages; // after the last commit
};

static struct sqlite *sqlite_of(struct store *store)
{
    return CONTAINER_OF(store, struct sqlite, store);
}

// ---- errors -------------------------------------------------------------------------------

// Codes whose cause lies in a system call keep its number; SQLite tells only for those.
static int fail_system(struct sqlite *sqlite, int code, const char *doing, struct err *err)
{
    int number = sqlite3_system_errno(sqlite->db);
    if (number != 0) {
        return err_sys(err, number, "%s '%s'", doing, sqlite->path);
    }
    return err_set(err, ERR_SYS, "%s '%s': %s", doing, sqlite->path, sqlite3_errstr(code));
}

static int fail(struct sqlite *sqlite, int code, const char *doing, struct err *err)
{
    const char *path = sqlite->path;
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return err_set(err, ERR_BUSY,
                       "'%s' is open in another process: stop that one, or use another data "
                       "directory",
                       path);
    case SQLITE_FULL:
        return err_set(err, ERR_FULL_DISK, "%s '%s': no space left on device", doing, path);
    case SQLITE_NOTADB:
        return err_set(err, ERR_CORRUPT, "'%s' is not a database of Berth", path);
    case SQLITE_CORRUPT:
    case SQLITE_MISMATCH:
        return err_set(err, ERR_CORRUPT, "'%s' is damaged (%s %s): restore it from a copy", path,
                       doing, sqlite3_errmsg(sqlite->db));
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return err_set(err, ERR_DENIED, "%s '%s': it may not be written", doing, path);
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        return fail_system(sqlite, code, doing, err);
    default:
        return err_set(err, ERR_SYS, "%s '%s': %s", doing, path, sqlite3_errmsg(sqlite->db));
    }
}

// ---- statements ---------------------------------------------------------------------------

static int run(struct sqlite *sqlite, const char *sql, const char *doing, struct err *err)
{
    int code = sqlite3_exec(sqlite->db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? 0 : fail(sqlite, code, doing, err);
}

// Read up to two integers of a statement's first row. @return 0, ERR_NOT_FOUND without a row
static int read_integers(struct sqlite *sqlite, const char *sql, int64_t out_values[2],
                         struct err *err)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(sqlite->db, sql, -1, &statement, NULL);
    if (code == SQLITE_OK) {
        code = sqlite3_step(statement);
    }
    if (code == SQLITE_ROW) {
        for (int i = 0; i < 2 && i < sqlite3_column_count(statement); i++) {
            out_values[i] = sqlite3_column_int64(statement, i);
        }
    }
    sqlite3_finalize(statement);
    if (code == SQLITE_ROW) {
        return 0;
    }
    if (code == SQLITE_DONE) {
        return err_set(err, ERR_NOT_FOUND, "'%s' lacks a row", sqlite->path);
    }
    return fail(sqlite, code, "reading", err);
}

static int step(struct sqlite *sqlite, enum statement which)
{
    sqlite3_stmt *statement = sqlite->statements[which];
    int code = sqlite3_step(statement);
    int reset = sqlite3_reset(statement);
    if (code == SQLITE_DONE) {
        return reset;
    }
    return code == SQLITE_ROW ? SQLITE_MISUSE : code;
}

// ---- disk space and the log ---------------------------------------------------------------

// @return whether it is not for want of room that there is none: a file system that cannot set
// space aside does without
static bool reserve_make(const struct sqlite *sqlite)
{
    AUTO(fd_close)
    int fd = open(sqlite->reserve_path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0) {
        return errno != ENOSPC && errno != EDQUOT;
    }
    if (status.st_size >= RESERVE_BYTES || fallocate(fd, 0, 0, RESERVE_BYTES) == 0) {
        return true;
    }
    bool full = errno == ENOSPC || errno == EDQUOT;
    IGNORE(unlink(sqlite->reserve_path) != 0, "a shorter file is tried again next time");
    return !full;
}

static bool sqlite_has_room(struct store *store)
{
    const struct sqlite *sqlite = sqlite_of(store);
    struct statvfs disk;
    if (!reserve_make(sqlite) || statvfs(sqlite->path, &disk) != 0) {
        return false;
    }
    // The superuser may also use what the file system keeps for it.
    uint64_t blocks = geteuid() == 0 ? disk.f_bfree : disk.f_bavail;
    return blocks * disk.f_frsize >= ROOM_BYTES;
}

static int checkpoint(struct sqlite *sqlite, int mode, struct err *err)
{
    int code = sqlite3_wal_checkpoint_v2(sqlite->db, NULL, mode, NULL, NULL);
    return code == SQLITE_OK ? 0 : fail(sqlite, code, "completing", err);
}

// Bring the log into the file, on a full disk with the help of the reserve. Only an opening may use
// it: while Berth runs, a full disk ends it first, or nobody would know that the reserve is gone.
static int checkpoint_at_opening(struct sqlite *sqlite, struct err *err)
{
    int rc = checkpoint(sqlite, SQLITE_CHECKPOINT_TRUNCATE, err);
    if (rc == ERR_FULL_DISK && unlink(sqlite->reserve_path) == 0) {
        rc = checkpoint(sqlite, SQLITE_CHECKPOINT_TRUNCATE, err);
    }
    return rc;
}

static int note_log_pages(void *context, sqlite3 *db, const char *name, int pages)
{
    struct sqlite *sqlite = context;
    sqlite->log_pages = pages;
    return SQLITE_OK;
}

// ---- opening ------------------------------------------------------------------------------

static int sync_directory(const char *path, struct err *err)
{
    const char *slash = strrchr(path, '/');
    AUTO(alloc_string) char *directory = alloc_string(slash == NULL ? "." : path);
    if (slash != NULL) {
        directory[slash == path ? 1 : slash - path] = '\0';
    }
    AUTO(fd_close) int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        return err_sys(err, errno, "syncing directory '%s'", directory);
    }
    return 0;
}

// SQLite would make the file with the mode of the umask; its companions follow the file's.
// A file that exists is not opened here: closing it would drop the locks of another connection in
// this process.
static int make_file(const char *path, struct err *err)
{
    AUTO(fd_close) int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0) {
        return sync_directory(path, err);
    }
    return errno == EEXIST ? 0 : err_sys(err, errno, "making '%s'", path);
}

static int make_tables(struct sqlite *sqlite, struct err *err)
{
    return run(sqlite,
               "PRAGMA journal_mode = WAL;"
               "BEGIN IMMEDIATE;"
               "PRAGMA application_id = " APPLICATION_ID ";"
               "CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 1),"
               " format INTEGER NOT NULL, version INTEGER NOT NULL) STRICT;"
               "CREATE TABLE rows (key INTEGER PRIMARY KEY, kind INTEGER NOT NULL,"
               " bytes BLOB NOT NULL) STRICT;"
               "INSERT INTO meta VALUES (1, 1, 0);"
               "COMMIT",
               "setting up", err);
}

_Static_assert(FORMAT == 1, "make_tables writes the format");

// Tell whose file it is before anything in it is touched.
static int recognise(struct sqlite *sqlite, struct err *err)
{
    int64_t found[2] = {0};
    int rc = read_integers(sqlite,
                           "SELECT application_id, (SELECT count(*) FROM sqlite_schema)"
                           " FROM pragma_application_id",
                           found, err);
    if (rc != 0) {
        return rc;
    }
    if (found[0] == 0 && found[1] == 0) {
        return make_tables(sqlite, err);
    }
    int64_t application_id = 0;
    rc = text_to_i64(TEXT(APPLICATION_ID), &application_id);
    ASSERT(rc == 0);
    if (found[0] != application_id) {
        return err_set(err, ERR_CORRUPT, "'%s' is not a database of Berth", sqlite->path);
    }
    int64_t meta[2] = {0};
    rc = read_integers(sqlite, "SELECT format, version FROM meta WHERE id = 1", meta, err);
    if (rc == ERR_SYS || rc == ERR_NOT_FOUND || (rc == 0 && (meta[0] < 1 || meta[1] < 0))) {
        return err_set(err, ERR_CORRUPT, "'%s' is damaged: it does not tell its format",
                       sqlite->path);
    }
    if (rc != 0) {
        return rc;
    }
    if (meta[0] > FORMAT) {
        return err_set(err, ERR_VERSION,
                       "'%s' was written by a newer Berth (format %lld, this one knows %d)",
                       sqlite->path, (long long)meta[0], FORMAT);
    }
    sqlite->version = (uint64_t)meta[1];
    return 0;
}

static int open_database(struct sqlite *sqlite, struct err *err)
{
    int rc = make_file(sqlite->path, err);
    if (rc != 0) {
        return rc;
    }
    int code =
        sqlite3_open_v2(sqlite->path, &sqlite->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (code != SQLITE_OK) {
        return fail(sqlite, code, "opening", err);
    }
    // Exclusive before the first access: then the first read takes the lock for as long as the file
    // is open, and the index of the log lives in memory instead of in a file of its own.
    rc = run(sqlite,
             "PRAGMA locking_mode = EXCLUSIVE; PRAGMA cell_size_check = ON;"
             "PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY",
             "opening", err);
    if (rc == 0) {
        rc = recognise(sqlite, err);
    }
    if (rc != 0) {
        return rc;
    }
    if (chmod(sqlite->path, 0600) != 0) {
        return err_sys(err, errno, "keeping '%s' from others", sqlite->path);
    }
    // The log's size is bounded by our own checkpoints, whose errors we want to see.
    return run(
        sqlite,
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;"
        "PRAGMA journal_size_limit = " LOG_BYTES_KEPT,
        "opening", err);
}

// ---- the store ----------------------------------------------------------------------------

static void sqlite_close(struct store *store)
{
    struct sqlite *sqlite = sqlite_of(store);
    for (size_t i = 0; i < STATEMENT_COUNT; i++) {
        sqlite3_finalize(sqlite->statements[i]);
    }
    IGNORE(sqlite3_close(sqlite->db) != SQLITE_OK,
           "all statements are finalized; rows are durable");
    alloc_free(sqlite->path);
    alloc_free(sqlite->reserve_path);
    alloc_free(sqlite);
}

static int check_row(const struct sqlite *sqlite, sqlite3_stmt *statement, int64_t before,
                     struct err *err)
{
    int64_t key = sqlite3_column_int64(statement, 0);
    int64_t kind = sqlite3_column_int64(statement, 1);
    if (key <= before || kind < 0 || kind > UINT16_MAX ||
        sqlite3_column_type(statement, 2) != SQLITE_BLOB) {
        return err_set(err, ERR_CORRUPT, "'%s' is damaged: row %lld behind %lld, kind %lld",
                       sqlite->path, (long long)key, (long long)before, (long long)kind);
    }
    return 0;
}

static int load_rows(struct sqlite *sqlite, sqlite3_stmt *statement, store_visit_fn visit,
                     void *context, struct err *err)
{
    int64_t before = 0;
    for (;;) {
        int code = sqlite3_step(statement);
        if (code == SQLITE_DONE) {
            return 0;
        }
        if (code != SQLITE_ROW) {
            return fail(sqlite, code, "reading", err);
        }
        int rc = check_row(sqlite, statement, before, err);
        if (rc != 0) {
            return rc;
        }
        before = sqlite3_column_int64(statement, 0);
        const char *data = sqlite3_column_blob(statement, 2);
        struct text bytes = {
            .data = data == NULL ? "" : data, // SQLite gives NULL for an empty blob
            .size = (size_t)sqlite3_column_bytes(statement, 2),
        };
        rc = visit(context, before, (uint16_t)sqlite3_column_int(statement, 1), bytes, err);
        if (rc != 0) {
            return rc;
        }
    }
}

static int sqlite_load(struct store *store, store_visit_fn visit, void *context,
                       uint64_t *out_version, struct err *err)
{
    struct sqlite *sqlite = sqlite_of(store);
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(sqlite->db, "SELECT key, kind, bytes FROM rows ORDER BY key", -1,
                                  &statement, NULL);
    if (code != SQLITE_OK) {
        return fail(sqlite, code, "reading", err);
    }
    int rc = load_rows(sqlite, statement, visit, context, err);
    sqlite3_finalize(statement);
    if (rc == 0) {
        *out_version = sqlite->version;
    }
    return rc;
}

static int write_row(struct sqlite *sqlite, const struct store_row *row)
{
    enum statement which = row->bytes.data == NULL ? DELETE : PUT;
    sqlite3_stmt *statement = sqlite->statements[which];
    int code = sqlite3_bind_int64(statement, 1, row->key);
    if (code == SQLITE_OK && which == PUT) {
        code = sqlite3_bind_int(statement, 2, row->kind);
    }
    if (code == SQLITE_OK && which == PUT) {
        // The bytes outlive the step, and nothing looks at them after it.
        code = sqlite3_bind_blob64(statement, 3, row->bytes.data, row->bytes.size, SQLITE_STATIC);
    }
    return code == SQLITE_OK ? step(sqlite, which) : code;
}

static int write_all(struct sqlite *sqlite, uint64_t version, const struct store_row *rows,
                     size_t row_count)
{
    int code = step(sqlite, BEGIN);
    for (size_t i = 0; i < row_count && code == SQLITE_OK; i++) {
        code = write_row(sqlite, &rows[i]);
    }
    if (code == SQLITE_OK) {
        code = sqlite3_bind_int64(sqlite->statements[VERSION], 1, (int64_t)version);
    }
    if (code == SQLITE_OK) {
        code = step(sqlite, VERSION);
    }
    return code == SQLITE_OK ? step(sqlite, COMMIT) : code;
}

static int sqlite_write(struct store *store, uint64_t version, const struct store_row *rows,
                        size_t row_count, struct err *err)
{
    struct sqlite *sqlite = sqlite_of(store);
    if (version <= sqlite->version || version > INT64_MAX) {
        return err_set(err, ERR_INVALID, "version %llu does not follow %llu",
                       (unsigned long long)version, (unsigned long long)sqlite->version);
    }
    int code = write_all(sqlite, version, rows, row_count);
    if (code != SQLITE_OK) {
        int rc = fail(sqlite, code, "writing", err);
        if (sqlite3_get_autocommit(sqlite->db) == 0) {
            code = sqlite3_exec(sqlite->db, "ROLLBACK", NULL, NULL, NULL);
            IGNORE(code != SQLITE_OK, "the first error tells more, and the process ends");
        }
        return rc;
    }
    sqlite->version = version;
    // A failure here fails a write that is durable, which the contract allows: after an error all
    // rows or none are there.
    return sqlite->log_pages < CHECKPOINT_PAGES
               ? 0
               : checkpoint(sqlite, SQLITE_CHECKPOINT_PASSIVE, err);
}

static const struct store_ops sqlite_ops = {
    .name = "sqlite",
    .load = sqlite_load,
    .write = sqlite_write,
    .has_room = sqlite_has_room,
    .close = sqlite_close,
};

static int prepare(struct sqlite *sqlite, struct err *err)
{
    for (size_t i = 0; i < STATEMENT_COUNT; i++) {
        int code = sqlite3_prepare_v3(sqlite->db, statement_texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                                      &sqlite->statements[i], NULL);
        if (code != SQLITE_OK) {
            return fail(sqlite, code, "preparing", err);
        }
    }
    sqlite3_wal_hook(sqlite->db, note_log_pages, sqlite);
    return 0;
}

int store_sqlite_open(const char *path, struct store **out_store, struct err *err)
{
    struct sqlite *sqlite = ALLOC(struct sqlite);
    AUTO(store_close) struct store *store = &sqlite->store;
    store->ops = &sqlite_ops;
    sqlite->path = alloc_string(path);
    sqlite->reserve_path = alloc_format("%s-reserve", path);
    int rc = open_database(sqlite, err);
    if (rc == 0) {
        // After a crash the log may be in the page cache only: this syncs it and the file before
        // anybody acts on what it says.
        rc = checkpoint_at_opening(sqlite, err);
    }
    if (rc == 0) {
        rc = prepare(sqlite, err);
    }
    if (rc != 0) {
        return rc;
    }
    IGNORE(!reserve_make(sqlite), "store_has_room tells, and tries again");
    *out_store = store;
    store = NULL;
    return 0;
}
