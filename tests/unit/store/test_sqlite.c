#include "store/store.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/text.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

struct place {
    char directory[64];
    char path[96];
};

static void place_init(struct place *place)
{
    snprintf(place->directory, sizeof(place->directory), "/tmp/berth-test-sqlite-XXXXXX");
    assert_non_null(mkdtemp(place->directory));
    snprintf(place->path, sizeof(place->path), "%s/state.db", place->directory);
}

static void place_deinit(struct place *place)
{
    struct err err = {0};
    assert_int_equal(file_remove_tree(AT_FDCWD, place->directory, &err), 0);
}

AUTO_VALUE(struct place, place_deinit)

static struct store *must_open(const char *path)
{
    struct store *store = NULL;
    struct err err = {0};
    int rc = store_sqlite_open(path, &store, &err);
    if (rc != 0) {
        print_error("%s\n", err.text);
    }
    assert_int_equal(rc, 0);
    return store;
}

static void execute(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void write_file(const char *path, struct text content)
{
    struct err err = {0};
    assert_int_equal(file_replace(AT_FDCWD, path, 0644, content, &err), 0);
}

// In a forked child the framework's assertions would run the other tests again.
#define CHILD(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "line %d, in a child: %s\n", __LINE__, #condition);                    \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

// ---- opening ------------------------------------------------------------------------------

static void files_are_private(void **state)
{
    (void)state;
    AUTO(place_deinit) struct place place;
    place_init(&place);
    mode_t before = umask(0);
    AUTO(store_close) struct store *store = must_open(place.path);
    static const struct store_row row = {.key = 2, .kind = 1, .bytes = TEXT("x")};
    struct err err = {0};
    assert_int_equal(store_write(store, 1, &row, 1, &err), 0);
    umask(before);
    static const char *const suffixes[] = {"", "-wal", "-reserve"};
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        AUTO(alloc_string) char *path = alloc_format("%s%s", place.path, suffixes[i]);
        struct stat status;
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_mode & 07777, 0600);
    }
    AUTO(alloc_string) char *shared = alloc_format("%s-shm", place.path);
    assert_int_equal(access(shared, F_OK), -1);
}

static int open_in_child(const char *path)
{
    pid_t child = fork();
    if (child == 0) {
        struct store *store = NULL;
        struct err err = {0};
        int rc = store_sqlite_open(path, &store, &err);
        if (rc == ERR_BUSY && strstr(err.text, path) != NULL) {
            _exit(42);
        }
        _exit(rc == 0 ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void a_second_process_is_told_at_once(void **state)
{
    (void)state;
    AUTO(place_deinit) struct place place;
    place_init(&place);
    struct store *store = must_open(place.path);
    assert_int_equal(open_in_child(place.path), 42);
    // The same within one process, and the attempts must not have loosened the lock.
    struct store *second = NULL;
    struct err err = {0};
    assert_int_equal(store_sqlite_open(place.path, &second, &err), ERR_BUSY);
    assert_int_equal(open_in_child(place.path), 42);
    static const struct store_row row = {.key = 2, .kind = 1, .bytes = TEXT("x")};
    assert_int_equal(store_write(store, 1, &row, 1, &err), 0);
    assert_int_equal(open_in_child(place.path), 42);
    store_close(store);
    assert_int_equal(open_in_child(place.path), 0);
}

static void make_newer(const char *path)
{
    store_close(must_open(path));
    execute(path, "UPDATE meta SET format = 2");
}

static void make_without_meta(const char *path)
{
    store_close(must_open(path));
    execute(path, "DELETE FROM meta");
}

static void make_without_table(const char *path)
{
    store_close(must_open(path));
    execute(path, "DROP TABLE meta");
}

static void make_foreign(const char *path)
{
    execute(path, "CREATE TABLE cats (name TEXT)");
}

static void make_text(const char *path)
{
    write_file(path, TEXT("This is a letter to somebody, and long enough to hold a header of "
                          "SQLite, which is a hundred bytes.\n"));
}

static void make_directory(const char *path)
{
    assert_int_equal(mkdir(path, 0700), 0);
}

static void make_empty(const char *path)
{
    write_file(path, TEXT(""));
}

static void make_cut(const char *path)
{
    struct store *store = must_open(path);
    static const char bytes[30000];
    const struct store_row row = {.key = 2, .kind = 1, .bytes = {bytes, sizeof(bytes)}};
    struct err err = {0};
    assert_int_equal(store_write(store, 1, &row, 1, &err), 0);
    store_close(store);
    assert_int_equal(truncate(path, 12288), 0);
}

static int ignore_row(void *context, int64_t key, uint16_t kind, struct text bytes, struct err *err)
{
    (void)context;
    (void)key;
    (void)kind;
    (void)bytes;
    (void)err;
    return 0;
}

// Open and load: where exactly damage shows is not promised.
static int open_and_load(const char *path, struct err *err)
{
    AUTO(store_close) struct store *store = NULL;
    int rc = store_sqlite_open(path, &store, err);
    uint64_t version = 0;
    return rc == 0 ? store_load(store, ignore_row, NULL, &version, err) : rc;
}

static void files_that_are_not_ours(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        void (*make)(const char *path);
        int want_rc;
        bool kept; // the file must be byte for byte as before
    } cases[] = {
        {"an empty file is a new one", make_empty, 0, false},
        {"a database of somebody else", make_foreign, ERR_CORRUPT, true},
        {"no database", make_text, ERR_CORRUPT, true},
        {"of a newer Berth", make_newer, ERR_VERSION, true},
        {"without its version", make_without_meta, ERR_CORRUPT, true},
        {"without a table", make_without_table, ERR_CORRUPT, true},
        {"cut short", make_cut, ERR_CORRUPT, false},
        {"a directory", make_directory, ERR_SYS, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        AUTO(place_deinit) struct place place;
        place_init(&place);
        cases[i].make(place.path);
        AUTO(buf_deinit) struct buf before = {0};
        AUTO(buf_deinit) struct buf after = {0};
        struct err err = {0};
        if (cases[i].kept) {
            assert_int_equal(file_read(AT_FDCWD, place.path, 1 << 20, &before, &err), 0);
        }
        int rc = open_and_load(place.path, &err);
        if (rc != 0) {
            print_message("  %s\n", err.text);
            assert_non_null(strstr(err.text, place.path));
        }
        assert_int_equal(rc, cases[i].want_rc);
        if (cases[i].kept) {
            assert_int_equal(file_read(AT_FDCWD, place.path, 1 << 20, &after, &err), 0);
            assert_true(text_equal(buf_view(&before), buf_view(&after)));
        }
    }
    struct err err = {0};
    assert_int_equal(open_and_load("/tmp/berth-no-such-directory/state.db", &err), ERR_NOT_FOUND);
}

// ---- a full disk --------------------------------------------------------------------------

// Mounts of this process alone: as root, or with a user namespace where the kernel lets anybody.
static bool enter_namespace(void)
{
    if (unshare(CLONE_NEWNS) == 0) {
        return true;
    }
    AUTO(alloc_string) char *map = alloc_format("0 %u 1", (unsigned)getuid());
    struct err err = {0};
    return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 &&
           file_write(AT_FDCWD, "/proc/self/uid_map", text_of(map), &err) == 0;
}

// In a child with a small file system of its own: fill it, and see that a refused write changes
// nothing, that the next opening gets by with the reserve, and that room makes all well again.
static int run_on_full_disk(const struct place *place, bool reserved)
{
    if (!enter_namespace() || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", place->directory, "tmpfs", 0, "size=20m,mode=0700") != 0) {
        return 77;
    }
    static char bytes[60000];
    memset(bytes, 'x', sizeof(bytes));
    struct store *store = NULL;
    struct err err = {0};
    CHILD(store_sqlite_open(place->path, &store, &err) == 0);
    int rc = 0;
    uint64_t version = 0;
    while (rc == 0 && version < 1000) {
        const struct store_row row = {
            .key = 2 + (int64_t)version, .kind = 1, .bytes = {bytes, sizeof(bytes)}};
        rc = store_write(store, version + 1, &row, 1, &err);
        version += rc == 0;
    }
    CHILD(rc == ERR_FULL_DISK);
    CHILD(strstr(err.text, "no space left") != NULL);
    store_close(store);

    // Something else takes the last room: the reserve alone must do for the log.
    AUTO(alloc_string) char *reserve = alloc_format("%s-reserve", place->path);
    CHILD(reserved || unlink(reserve) == 0);
    AUTO(alloc_string) char *ballast = alloc_format("%s/ballast", place->directory);
    AUTO(fd_close) int fd = open(ballast, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    while (write(fd, bytes, 4096) > 0) {
        // until the file system is full
    }
    uint64_t found = 0;
    store = NULL;
    rc = store_sqlite_open(place->path, &store, &err);
    CHILD(rc == (reserved ? 0 : ERR_FULL_DISK));
    if (!reserved) {
        return 0;
    }
    CHILD(!store_has_room(store));
    CHILD(store_load(store, ignore_row, NULL, &found, &err) == 0);
    CHILD(found >= version); // the write that failed last may be there as a whole
    CHILD(unlink(ballast) == 0);
    CHILD(ftruncate(fd, 0) == 0);
    CHILD(!store_has_room(store)); // for the reserve alone
    CHILD(mount(NULL, place->directory, NULL, MS_REMOUNT, "size=40m") == 0);
    CHILD(store_has_room(store));
    CHILD(access(reserve, F_OK) == 0);
    const struct store_row gone = {.key = 2};
    CHILD(store_write(store, found + 1, &gone, 1, &err) == 0);
    store_close(store);
    CHILD(store_sqlite_open(place->path, &store, &err) == 0);
    CHILD(access(reserve, F_OK) == 0);
    store_close(store);
    return 0;
}

static void a_full_disk_loses_nothing(void **state)
{
    (void)state;
    for (int reserved = 0; reserved <= 1; reserved++) {
        AUTO(place_deinit) struct place place;
        place_init(&place);
        pid_t child = fork();
        if (child == 0) {
            _exit(run_on_full_disk(&place, reserved != 0));
        }
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == 77) {
            print_message("SKIPPED: no privilege to mount a file system\n");
            skip();
        }
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

// A limit on the size of files is another way to have writes fail in the middle.
static void a_failed_write_changes_nothing(void **state)
{
    (void)state;
    AUTO(place_deinit) struct place place;
    place_init(&place);
    static const char small[] = "small";
    static char large[1 << 20];
    memset(large, 'l', sizeof(large));
    pid_t child = fork();
    if (child == 0) {
        signal(SIGXFSZ, SIG_IGN);
        struct store *store = NULL;
        struct err err = {0};
        CHILD(store_sqlite_open(place.path, &store, &err) == 0);
        const struct store_row first = {.key = 2, .kind = 1, .bytes = {small, sizeof(small) - 1}};
        const struct store_row rows[] = {
            {.key = 3, .kind = 1, .bytes = {small, sizeof(small) - 1}},
            {.key = 4, .kind = 1, .bytes = {large, sizeof(large)}},
        };
        CHILD(store_write(store, 1, &first, 1, &err) == 0);
        const struct rlimit limit = {256 << 10, 256 << 10};
        CHILD(setrlimit(RLIMIT_FSIZE, &limit) == 0);
        int rc = store_write(store, 2, rows, 2, &err);
        _exit(rc != 0 ? 42 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 42);
    AUTO(store_close) struct store *store = must_open(place.path);
    uint64_t version = 0;
    struct err err = {0};
    assert_int_equal(store_load(store, ignore_row, NULL, &version, &err), 0);
    assert_int_equal(version, 1);
    const struct store_row row = {.key = 5, .kind = 1, .bytes = {small, sizeof(small) - 1}};
    assert_int_equal(store_write(store, 2, &row, 1, &err), 0);
}

// The log must not grow without bound, however much is written.
static void the_log_is_bounded(void **state)
{
    (void)state;
    AUTO(place_deinit) struct place place;
    place_init(&place);
    AUTO(store_close) struct store *store = must_open(place.path);
    static char bytes[100000];
    for (uint64_t version = 1; version <= 600; version++) {
        memset(bytes, (int)version, sizeof(bytes));
        const struct store_row row = {
            .key = 2 + (int64_t)version % 5, .kind = 1, .bytes = {bytes, sizeof(bytes)}};
        struct err err = {0};
        assert_int_equal(store_write(store, version, &row, 1, &err), 0);
    }
    AUTO(alloc_string) char *log = alloc_format("%s-wal", place.path);
    struct stat status;
    assert_int_equal(stat(log, &status), 0);
    assert_true(status.st_size < 10 << 20);
    assert_int_equal(stat(place.path, &status), 0);
    assert_true(status.st_size < 2 << 20);
}

// ---- kill -9 ------------------------------------------------------------------------------

#define KILLS 20
#define ROWS 12

// Batch n replaces, adds and deletes rows so that each shows n: rows 2 to 13 hold n, of rows above
// 100 there is 100 + n alone.
static int write_known(struct store *store, uint64_t version, struct err *err)
{
    char bytes[ROWS][600];
    struct store_row rows[ROWS + 2] = {0};
    for (size_t i = 0; i < ROWS; i++) {
        memset(bytes[i], (int)('a' + version % 26), sizeof(bytes[i]));
        memcpy(bytes[i], &version, sizeof(version));
        rows[i] = (struct store_row){
            .key = (int64_t)i + 2, .kind = 1, .bytes = {bytes[i], sizeof(bytes[i])}};
    }
    rows[ROWS] = (struct store_row){
        .key = 100 + (int64_t)version, .kind = 2, .bytes = {bytes[0], sizeof(bytes[0])}};
    rows[ROWS + 1] = (struct store_row){.key = 99 + (int64_t)version};
    return store_write(store, version, rows, ARRAY_LEN(rows), err);
}

struct known {
    uint64_t version; // that all rows show
    size_t count;
};

static int check_known(void *context, int64_t key, uint16_t kind, struct text bytes,
                       struct err *err)
{
    (void)err;
    struct known *known = context;
    uint64_t version = 0;
    assert_int_equal(bytes.size, 600);
    memcpy(&version, bytes.data, sizeof(version));
    known->version = known->count == 0 ? version : known->version;
    assert_true(version == known->version);
    assert_int_equal((unsigned char)bytes.data[599], 'a' + version % 26);
    assert_int_equal(key, known->count < ROWS ? (int64_t)known->count + 2 : 100 + (int64_t)version);
    assert_int_equal(kind, known->count < ROWS ? 1 : 2);
    known->count++;
    return 0;
}

// Write batches from `version` on and tell through the pipe which are acknowledged.
static void write_until_killed(const char *path, uint64_t version, int pipe_fd)
{
    struct store *store = NULL;
    struct err err = {0};
    if (store_sqlite_open(path, &store, &err) != 0) {
        _exit(1);
    }
    for (;;) {
        if (write_known(store, version, &err) != 0 ||
            write(pipe_fd, &version, sizeof(version)) != sizeof(version)) {
            _exit(1);
        }
        version++;
    }
}

// @return the last acknowledged version
static uint64_t kill_a_writer(const char *path, uint64_t version, long delay_us)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        write_until_killed(path, version, ends[1]);
    }
    close(ends[1]);
    uint64_t acknowledged = version - 1;
    ssize_t size = read(ends[0], &acknowledged, sizeof(acknowledged));
    assert_int_equal(size, sizeof(acknowledged));
    // The point at which the child dies is the one thing here that may differ between runs.
    const struct timespec delay = {.tv_nsec = delay_us * 1000};
    nanosleep(&delay, NULL);
    assert_int_equal(kill(child, SIGKILL), 0);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    uint64_t next = 0;
    while (read(ends[0], &next, sizeof(next)) == sizeof(next)) {
        acknowledged = next;
    }
    close(ends[0]);
    return acknowledged;
}

// Whenever the writer dies, what it was told to be durable is there, and of the batch that was
// under way either all or nothing.
static void nothing_acknowledged_is_lost(void **state)
{
    (void)state;
    AUTO(place_deinit) struct place place;
    place_init(&place);
    uint64_t version = 1;
    uint32_t random = 12345;
    for (int i = 0; i < KILLS; i++) {
        random = random * 1664525u + 1013904223u;
        uint64_t acknowledged = kill_a_writer(place.path, version, (random >> 8) % 60000);
        AUTO(store_close) struct store *store = must_open(place.path);
        struct known known = {0};
        uint64_t found = 0;
        struct err err = {0};
        assert_int_equal(store_load(store, check_known, &known, &found, &err), 0);
        assert_true(found == acknowledged || found == acknowledged + 1);
        assert_true(known.version == found);
        assert_int_equal(known.count, ROWS + 1);
        version = found + 1;
    }
    print_message("%d kills, %llu batches\n", KILLS, (unsigned long long)version - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_private),
        cmocka_unit_test(a_second_process_is_told_at_once),
        cmocka_unit_test(files_that_are_not_ours),
        cmocka_unit_test(a_full_disk_loses_nothing),
        cmocka_unit_test(a_failed_write_changes_nothing),
        cmocka_unit_test(the_log_is_bounded),
        cmocka_unit_test(nothing_acknowledged_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
