#include "journal/journal.h"

#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define HEADER_SIZE 16 // of the file, as docs/agent.md says
#define RECORD_HEADER_SIZE 56

#define ID_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

// ---- fixtures -----------------------------------------------------------------------------

/** A directory of the test's own. */
struct place {
    char path[64];
};

static int make_place(void **state)
{
    struct place *place = ALLOC(struct place);
    snprintf(place->path, sizeof(place->path), "/tmp/berth-journal-XXXXXX");
    assert_non_null(mkdtemp(place->path));
    *state = place;
    return 0;
}

static int remove_place(void **state)
{
    struct place *place = *state;
    struct err err = {0};
    assert_int_equal(file_remove_tree(AT_FDCWD, place->path, &err), 0);
    alloc_free(place);
    return 0;
}

static struct journal *open_file(const struct place *place)
{
    struct journal *journal = NULL;
    struct err err = {0};
    if (journal_file_open(place->path, &journal, &err) != 0) {
        fail_msg("%s", err.text);
    }
    return journal;
}

// A record's bytes. The reason tells records of one task apart; padding makes them large.
static struct text make_record(enum journal_phase phase, const char *reason, size_t padding,
                               struct buf *out)
{
    AUTO(alloc_string) char *family = alloc_zero(padding + 1);
    memset(family, 'f', padding);
    struct ecs_task_definition definition = {.family = {family, padding}};
    struct session_task_spec spec = {
        .task_arn = TEXT("arn:aws:ecs:eu-west-1:000000000000:task/c/" ID_A),
        .cluster_arn = TEXT("c"),
        .desired_status = TEXT("RUNNING"),
        .definition = &definition,
    };
    struct journal_task task = {.spec = &spec, .phase = phase, .reason = text_of(reason)};
    buf_reset(out);
    journal_encode(&task, out);
    return buf_view(out);
}

static int put(struct journal *journal, const char *id, enum journal_phase phase,
               const char *reason)
{
    AUTO(buf_deinit) struct buf bytes = {0};
    struct journal_change change = {.task_id = text_of(id),
                                    .bytes = make_record(phase, reason, 10, &bytes)};
    struct err err = {0};
    return journal_write(journal, &change, 1, &err);
}

static int erase(struct journal *journal, const char *id)
{
    struct journal_change change = {.task_id = text_of(id)};
    struct err err = {0};
    return journal_write(journal, &change, 1, &err);
}

/** What a load gave. */
struct seen {
    size_t count;
    char id[8][JOURNAL_ID_SIZE + 1];
    char reason[8][32];
    enum journal_phase phase[8];
};

static int see(void *context, struct text task_id, const struct journal_task *task, struct err *err)
{
    struct seen *seen = context;
    assert_in_range(seen->count, 0, 7);
    assert_int_equal(text_copy(task_id, seen->id[seen->count], sizeof(seen->id[0])), 0);
    assert_int_equal(text_copy(task->reason, seen->reason[seen->count], sizeof(seen->reason[0])),
                     0);
    seen->phase[seen->count] = task->phase;
    seen->count++;
    return 0;
}

static struct seen load(struct journal *journal, struct journal_loss *out_loss)
{
    struct seen seen = {0};
    struct err err = {0};
    struct journal_loss loss = {0};
    if (journal_load(journal, see, &seen, &loss, &err) != 0) {
        fail_msg("%s", err.text);
    }
    if (out_loss != NULL) {
        *out_loss = loss;
    }
    return seen;
}

static const char *reason_of(const struct seen *seen, const char *id)
{
    for (size_t i = 0; i < seen->count; i++) {
        if (strcmp(seen->id[i], id) == 0) {
            return seen->reason[i];
        }
    }
    return NULL;
}

// ---- every implementation -----------------------------------------------------------------

static void conforms(struct journal *journal)
{
    assert_int_equal(load(journal, NULL).count, 0);
    assert_int_equal(put(journal, ID_A, JOURNAL_PHASE_ACCEPTED, "one"), 0);
    assert_int_equal(put(journal, ID_B, JOURNAL_PHASE_ACCEPTED, "two"), 0);
    assert_int_equal(put(journal, ID_A, JOURNAL_PHASE_LAUNCHED, "three"), 0);
    struct seen seen = load(journal, NULL);
    assert_int_equal(seen.count, 2);
    assert_string_equal(reason_of(&seen, ID_A), "three");
    assert_string_equal(reason_of(&seen, ID_B), "two");

    assert_int_equal(erase(journal, ID_A), 0);
    assert_int_equal(erase(journal, ID_A), 0); // what is not there
    seen = load(journal, NULL);
    assert_int_equal(seen.count, 1);
    assert_null(reason_of(&seen, ID_A));

    // Changes of one write count in their order.
    AUTO(buf_deinit) struct buf first = {0};
    AUTO(buf_deinit) struct buf second = {0};
    struct journal_change changes[] = {
        {.task_id = TEXT(ID_A), .bytes = make_record(JOURNAL_PHASE_ACCEPTED, "x", 10, &first)},
        {.task_id = TEXT(ID_A)},
        {.task_id = TEXT(ID_A), .bytes = make_record(JOURNAL_PHASE_LAUNCHED, "y", 10, &second)},
        {.task_id = TEXT(ID_B)},
    };
    struct err err = {0};
    assert_int_equal(journal_write(journal, changes, ARRAY_LEN(changes), &err), 0);
    seen = load(journal, NULL);
    assert_int_equal(seen.count, 1);
    assert_string_equal(reason_of(&seen, ID_A), "y");
    assert_int_equal(journal_write(journal, NULL, 0, &err), 0);
}

static void file_conforms(void **state)
{
    AUTO(journal_close) struct journal *journal = open_file(*state);
    conforms(journal);
}

// ---- the record ---------------------------------------------------------------------------

static void decode_refuses(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf bytes = {0};
    struct journal_task task = {0};
    struct err err = {0};
    assert_int_equal(journal_decode(TEXT("nonsense"), &arena, &task, NULL, &err), ERR_CORRUPT);
    assert_int_equal(journal_decode(TEXT(""), &arena, &task, NULL, &err), ERR_CORRUPT);
    struct journal_task empty = {.phase = JOURNAL_PHASE_ACCEPTED};
    journal_encode(&empty, &bytes);
    assert_int_equal(journal_decode(buf_view(&bytes), &arena, &task, NULL, &err), ERR_CORRUPT);
    // A record begins with its version under key 0: a map, 0, 1.
    make_record(JOURNAL_PHASE_ACCEPTED, "", 1, &bytes);
    assert_int_equal(bytes.data[1], 0);
    assert_int_equal(bytes.data[2], 1);
    bytes.data[2] = 2;
    assert_int_equal(journal_decode(buf_view(&bytes), &arena, &task, NULL, &err), ERR_VERSION);
}

// What a newer Berth wrote beside what is known here goes along until the record does.
static void unknown_members_stay(void **state)
{
    static const char pairs[] = "\x18\x63\x63new";
    const struct cbor_unknown unknown = {{pairs, sizeof(pairs) - 1}, 1};
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf bytes = {0};
    AUTO(buf_deinit) struct buf newer = {0};
    AUTO(journal_close) struct journal *journal = open_file(*state);
    struct journal_task task = {0};
    struct cbor_unknown found = {0};
    struct err err = {0};
    make_record(JOURNAL_PHASE_LAUNCHED, "", 1, &bytes);
    assert_int_equal(journal_decode(buf_view(&bytes), &arena, &task, NULL, &err), 0);
    cbor_encode(&journal_task_shape, &task, 1, &unknown, &newer);
    const struct journal_change change = {.task_id = TEXT(ID_A), .bytes = buf_view(&newer)};
    assert_int_equal(journal_write(journal, &change, 1, &err), 0);
    for (int twice = 0; twice < 2; twice++) {
        struct seen seen = load(journal, NULL);
        assert_int_equal(seen.count, 1);
        buf_reset(&bytes);
        journal_encode_again(journal, TEXT(ID_A), &task, &bytes);
        assert_true(text_equal(buf_view(&bytes), buf_view(&newer)));
    }
    buf_reset(&bytes);
    journal_encode_again(journal, TEXT(ID_B), &task, &bytes);
    assert_int_equal(journal_decode(buf_view(&bytes), &arena, &task, &found, &err), 0);
    assert_int_equal(found.count, 0);
    journal_forget(journal, TEXT(ID_A));
    buf_reset(&bytes);
    journal_encode_again(journal, TEXT(ID_A), &task, &bytes);
    assert_int_equal(journal_decode(buf_view(&bytes), &arena, &task, &found, &err), 0);
    assert_int_equal(found.count, 0);
}

// ---- the file -----------------------------------------------------------------------------

static void file_reopens(void **state)
{
    for (int round = 0; round < 3; round++) {
        AUTO(journal_close) struct journal *journal = open_file(*state);
        char reason[16];
        snprintf(reason, sizeof(reason), "%d", round);
        if (round > 0) {
            struct journal_loss loss;
            struct seen seen = load(journal, &loss);
            assert_int_equal(seen.count, 1);
            assert_int_equal(atoll(reason_of(&seen, ID_A)), round - 1);
            assert_int_equal(loss.gaps, 0);
        }
        assert_int_equal(put(journal, ID_A, JOURNAL_PHASE_LAUNCHED, reason), 0);
    }
}

static void file_is_locked(void **state)
{
    struct place *place = *state;
    AUTO(journal_close) struct journal *journal = open_file(place);
    assert_non_null(journal);
    struct journal *second = NULL;
    struct err err = {0};
    assert_int_equal(journal_file_open(place->path, &second, &err), ERR_BUSY);
    assert_null(second);
}

static void write_file(const struct place *place, struct text content)
{
    AUTO(alloc_string) char *path = alloc_format("%s/journal", place->path);
    struct err err = {0};
    assert_int_equal(file_replace(AT_FDCWD, path, 0600, content, &err), 0);
}

static void read_file(const struct place *place, struct buf *out)
{
    AUTO(alloc_string) char *path = alloc_format("%s/journal", place->path);
    struct err err = {0};
    assert_int_equal(file_read(AT_FDCWD, path, 16 << 20, out, &err), 0);
}

static void file_refuses_foreign_content(void **state)
{
    static const struct {
        const char *name;
        struct text content;
        int want_rc;
    } cases[] = {
        {"empty", TEXT(""), ERR_CORRUPT},
        {"not ours", TEXT("something else altogether"), ERR_CORRUPT},
        {"a newer version", TEXT("BERTHJNL\x02\0\0\0\0\0\0\0"), ERR_VERSION},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        write_file(*state, cases[i].content);
        struct journal *journal = NULL;
        struct err err = {0};
        struct place *place = *state;
        assert_int_equal(journal_file_open(place->path, &journal, &err), cases[i].want_rc);
    }
}

// Three records: A accepted, A launched, B accepted. Returns where each ends.
static void write_three(const struct place *place, struct buf *out, size_t ends[3])
{
    static const struct {
        const char *id;
        enum journal_phase phase;
        const char *reason;
    } records[3] = {
        {ID_A, JOURNAL_PHASE_ACCEPTED, "1"},
        {ID_A, JOURNAL_PHASE_LAUNCHED, "2"},
        {ID_B, JOURNAL_PHASE_ACCEPTED, "3"},
    };
    AUTO(journal_close) struct journal *journal = open_file(place);
    AUTO(buf_deinit) struct buf bytes = {0};
    size_t end = HEADER_SIZE;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(put(journal, records[i].id, records[i].phase, records[i].reason), 0);
        end +=
            RECORD_HEADER_SIZE + make_record(records[i].phase, records[i].reason, 10, &bytes).size;
        ends[i] = end;
    }
    // Zeros follow, which is no part of what is written.
    read_file(place, out);
    assert_in_range(end, HEADER_SIZE, out->size);
    out->size = end;
}

// What a file that ends inside a record gives: exactly the records before it.
static void check_torn(struct place *place, size_t size, const size_t ends[3])
{
    struct journal *journal = open_file(place);
    struct journal_loss loss;
    struct seen seen = load(journal, &loss);
    const char *a = reason_of(&seen, ID_A);
    const char *b = reason_of(&seen, ID_B);
    const char *want = size >= ends[1] ? "2" : size >= ends[0] ? "1" : "none";
    assert_string_equal(a == NULL ? "none" : a, want);
    assert_int_equal(b != NULL, size >= ends[2]);
    assert_false(loss.inside);
    bool whole = size == HEADER_SIZE || size == ends[0] || size == ends[1] || size == ends[2];
    assert_int_equal(loss.gaps, whole ? 0 : 1);
    // New records are found afterwards, and nothing of the torn one is.
    assert_int_equal(put(journal, ID_B, JOURNAL_PHASE_LAUNCHED, "4"), 0);
    journal_close(journal);
    journal = open_file(place);
    seen = load(journal, &loss);
    assert_int_equal(loss.gaps, 0);
    assert_string_equal(reason_of(&seen, ID_B), "4");
    journal_close(journal);
}

// The power went in the midst of a write: the file ends there, or zeros follow.
static void file_survives_torn_ends(void **state)
{
    AUTO(buf_deinit) struct buf whole = {0};
    size_t ends[3];
    write_three(*state, &whole, ends);
    for (size_t size = HEADER_SIZE; size <= whole.size; size += size % 16 == 0 ? 1 : 5) {
        write_file(*state, (struct text){whole.data, size});
        check_torn(*state, size, ends);
    }
    for (size_t size = HEADER_SIZE; size <= whole.size; size += 23) {
        // A record's own last bytes may be zeros: not with these.
        AUTO(buf_deinit) struct buf padded = {0};
        buf_add(&padded, whole.data, size);
        while (size > HEADER_SIZE && padded.data[padded.size - 1] == '\0') {
            padded.size--;
        }
        size_t kept = padded.size;
        memset(buf_reserve(&padded, 5000), 0, 5000);
        padded.size += 5000;
        write_file(*state, buf_view(&padded));
        check_torn(*state, kept, ends);
    }
}

// Whatever byte is damaged: what is given was written, and A, which was launched, is never given as
// one that was not.
static void file_survives_damage_inside(void **state)
{
    AUTO(buf_deinit) struct buf whole = {0};
    size_t ends[3];
    write_three(*state, &whole, ends);
    for (size_t at = HEADER_SIZE; at < ends[1]; at += 3) {
        whole.data[at] ^= 0x55;
        write_file(*state, buf_view(&whole));
        whole.data[at] ^= 0x55;
        AUTO(journal_close) struct journal *journal = open_file(*state);
        struct journal_loss loss;
        struct seen seen = load(journal, &loss);
        assert_true(loss.gaps > 0);
        assert_true(loss.inside);
        assert_non_null(reason_of(&seen, ID_B));
        for (size_t i = 0; i < seen.count; i++) {
            if (strcmp(seen.id[i], ID_A) == 0) {
                assert_int_equal(seen.phase[i], JOURNAL_PHASE_LAUNCHED);
            } else {
                assert_int_equal(seen.phase[i], JOURNAL_PHASE_ACCEPTED);
            }
        }
    }
}

// The log is written anew when little of it counts, so it does not grow without bound.
static void file_compacts(void **state)
{
    AUTO(journal_close) struct journal *journal = open_file(*state);
    AUTO(buf_deinit) struct buf bytes = {0};
    struct err err = {0};
    for (int i = 0; i < 600; i++) {
        char reason[16];
        snprintf(reason, sizeof(reason), "%d", i);
        struct journal_change change = {
            .task_id = TEXT(ID_A),
            .bytes = make_record(JOURNAL_PHASE_LAUNCHED, reason, 20000, &bytes)};
        assert_int_equal(journal_write(journal, &change, 1, &err), 0);
    }
    assert_int_equal(put(journal, ID_B, JOURNAL_PHASE_ACCEPTED, "b"), 0);
    struct place *place = *state;
    AUTO(alloc_string) char *path = alloc_format("%s/journal", place->path);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_in_range(status.st_size, 20000, 6 << 20);
    struct seen seen = load(journal, NULL);
    assert_int_equal(seen.count, 2);
    assert_string_equal(reason_of(&seen, ID_A), "599");

    journal_close(journal);
    journal = open_file(*state);
    seen = load(journal, NULL);
    assert_string_equal(reason_of(&seen, ID_A), "599");
    assert_string_equal(reason_of(&seen, ID_B), "b");
}

// ---- crashes ------------------------------------------------------------------------------

// Writes ascending numbers under two ids in turn, and tells each once it is durable, until killed.
NO_RETURN static void write_for_ever(const struct place *place, int tell_fd)
{
    struct journal *journal = NULL;
    struct err err = {0};
    if (journal_file_open(place->path, &journal, &err) != 0) {
        _exit(2);
    }
    for (uint32_t number = 1;; number++) {
        char reason[16];
        snprintf(reason, sizeof(reason), "%u", number);
        // Large, so that the log is written anew now and then as well.
        AUTO(buf_deinit) struct buf bytes = {0};
        struct journal_change change = {
            .task_id = text_of(number % 2 == 0 ? ID_A : ID_B),
            .bytes = make_record(JOURNAL_PHASE_LAUNCHED, reason, 30000, &bytes)};
        if (journal_write(journal, &change, 1, &err) != 0 ||
            write(tell_fd, &number, sizeof(number)) != sizeof(number)) {
            _exit(3);
        }
    }
}

static void file_keeps_what_was_told(void **state)
{
    for (int round = 0; round < 20; round++) {
        int pipe_fds[2];
        assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            write_for_ever(*state, pipe_fds[1]);
        }
        close(pipe_fds[1]);
        uint32_t told = 0;
        uint32_t last[2] = {0, 0};
        // The child dies in the midst of its work: after another number in every round.
        while (told < (uint32_t)round * 7 + 1) {
            assert_int_equal(read(pipe_fds[0], &told, sizeof(told)), sizeof(told));
            last[told % 2] = told;
        }
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        while (read(pipe_fds[0], &told, sizeof(told)) == sizeof(told)) {
            last[told % 2] = told;
        }
        close(pipe_fds[0]);

        AUTO(journal_close) struct journal *journal = open_file(*state);
        struct seen seen = load(journal, NULL);
        for (uint32_t odd = 0; odd < 2; odd++) {
            const char *reason = reason_of(&seen, odd == 0 ? ID_A : ID_B);
            long long got = reason == NULL ? 0 : atoll(reason);
            // At least what was told; at most the one that was being written.
            assert_in_range(got, last[odd], MAX(last[0], last[1]) + 1);
        }
        assert_int_equal(erase(journal, ID_A), 0);
        assert_int_equal(erase(journal, ID_B), 0);
    }
}

// Runs in a child with a small file system of its own. @return 0, or the line that failed
#define CHILD_CHECK(condition)                                                                     \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "line %d: %s: %s\n", __LINE__, #condition, err.text);                  \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

static int run_on_full_disk(const struct place *place)
{
    struct err err = {0};
    struct journal *journal = NULL;
    AUTO(buf_deinit) struct buf bytes = {0};
    CHILD_CHECK(journal_file_open(place->path, &journal, &err) == 0);
    char id[JOURNAL_ID_SIZE + 1];
    int taken = 0;
    int rc = 0;
    for (; taken < 1000; taken++) {
        snprintf(id, sizeof(id), "%032d", taken);
        struct journal_change change = {
            .task_id = text_of(id),
            .bytes = make_record(JOURNAL_PHASE_ACCEPTED, "new", 8000, &bytes)};
        rc = journal_write(journal, &change, 1, &err);
        if (rc != 0) {
            break;
        }
    }
    CHILD_CHECK(rc == ERR_FULL_DISK);
    CHILD_CHECK(taken > 3);
    // Fill what is left, then bring every task to its end: room for that was reserved.
    AUTO(alloc_string) char *path = alloc_format("%s/filler", place->path);
    AUTO(fd_close) int filler = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    static const char zeros[4096];
    while (write(filler, zeros, sizeof(zeros)) > 0) {}
    for (int i = 0; i < taken; i++) {
        snprintf(id, sizeof(id), "%032d", i);
        struct journal_change change = {
            .task_id = text_of(id),
            .bytes = make_record(JOURNAL_PHASE_LAUNCHED, "launched", 8000, &bytes)};
        CHILD_CHECK(journal_write(journal, &change, 1, &err) == 0);
        make_record(JOURNAL_PHASE_STOPPED, "stopped", 8000, &bytes);
        change.bytes = buf_view(&bytes);
        CHILD_CHECK(journal_write(journal, &change, 1, &err) == 0);
    }
    journal_close(journal);
    CHILD_CHECK(journal_file_open(place->path, &journal, &err) == 0);
    for (int i = 0; i < taken; i++) {
        snprintf(id, sizeof(id), "%032d", i);
        struct journal_change change = {.task_id = text_of(id)};
        CHILD_CHECK(journal_write(journal, &change, 1, &err) == 0);
    }
    // With room on the disk new tasks are taken again.
    CHILD_CHECK(unlink(path) == 0);
    CHILD_CHECK(ftruncate(filler, 0) == 0);
    struct journal_change change = {
        .task_id = text_of(id), .bytes = make_record(JOURNAL_PHASE_ACCEPTED, "n", 8000, &bytes)};
    CHILD_CHECK(journal_write(journal, &change, 1, &err) == 0);
    journal_close(journal);
    return 0;
}

#define CHILD_SKIPS 77

static void file_reserves_for_ends(void **state)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct place *place = *state;
        if (unshare(CLONE_NEWNS) != 0 ||
            mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0 ||
            mount("tmpfs", place->path, "tmpfs", 0, "size=1m") != 0) {
            _exit(CHILD_SKIPS);
        }
        _exit(run_on_full_disk(place));
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == CHILD_SKIPS) {
        print_message("SKIP: mounting a small file system needs root\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decode_refuses),
        cmocka_unit_test_setup_teardown(file_conforms, make_place, remove_place),
        cmocka_unit_test_setup_teardown(unknown_members_stay, make_place, remove_place),
        cmocka_unit_test_setup_teardown(file_reopens, make_place, remove_place),
        cmocka_unit_test_setup_teardown(file_is_locked, make_place, remove_place),
        cmocka_unit_test_setup_teardown(file_refuses_foreign_content, make_place, remove_place),
        cmocka_unit_test_setup_teardown(file_survives_torn_ends, make_place, remove_place),
        cmocka_unit_test_setup_teardown(file_survives_damage_inside, make_place, remove_place),
        cmocka_unit_test_setup_teardown(file_compacts, make_place, remove_place),
        cmocka_unit_test_setup_teardown(file_keeps_what_was_told, make_place, remove_place),
        cmocka_unit_test_setup_teardown(file_reserves_for_ends, make_place, remove_place),
    };
    return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
