#include "base/file.h"
#include "base/text.h"
#include "channel/message.h"
#include "server/exec_internal.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define FILE_BYTES_MAX (8u << 20)
#define FILES_MAX 1000

static int make_dir(void **state)
{
    char *dir = alloc_string("/tmp/test_exec_log.XXXXXX");
    *state = dir;
    return mkdtemp(dir) == NULL ? -1 : 0;
}

// @return how many there are
static size_t each_file(const char *dir, void (*visit)(const char *path))
{
    size_t count = 0;
    DIR *open_dir = opendir(dir);
    assert_non_null(open_dir);
    for (const struct dirent *entry = readdir(open_dir); entry != NULL; entry = readdir(open_dir)) {
        if (entry->d_name[0] != '.') {
            AUTO(alloc_string) char *path = alloc_format("%s/%s", dir, entry->d_name);
            count++;
            if (visit != NULL) {
                visit(path);
            }
        }
    }
    closedir(open_dir);
    return count;
}

static void remove_file(const char *path)
{
    assert_int_equal(unlink(path), 0);
}

static int remove_dir(void **state)
{
    char *dir = *state;
    each_file(dir, remove_file);
    int rc = rmdir(dir);
    alloc_free(dir);
    return rc;
}

static struct exec_log *begin(const char *dir)
{
    const struct exec_log_head head = {.session_id = TEXT("s"),
                                       .task_arn = TEXT("t"),
                                       .container = TEXT("c"),
                                       .command = TEXT("sh"),
                                       .caller_arn = TEXT("me")};
    struct exec_log *log = exec_log_open(dir, &head);
    assert_non_null(log);
    return log;
}

static void say(struct exec_log *log, int64_t sequence, uint32_t payload_type, struct text payload)
{
    const struct message message = {.type = TEXT(MESSAGE_TYPE_OUTPUT),
                                    .sequence = sequence,
                                    .payload_type = payload_type,
                                    .payload = payload};
    AUTO(buf_deinit) struct buf frame = {0};
    message_encode(&message, &frame);
    exec_log_frame(log, buf_view(&frame));
}

static struct buf whole;

static void read_whole(const char *path)
{
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char bytes[65536];
    buf_reset(&whole);
    for (size_t got; (got = fread(bytes, 1, sizeof(bytes), file)) > 0;) {
        buf_add(&whole, bytes, got);
    }
    fclose(file);
}

static void a_transcript_is_bounded(void **state)
{
    const char *dir = *state;
    struct exec_log *log = begin(dir);
    static char bytes[50000];
    memset(bytes, 'x', sizeof(bytes));
    for (int64_t i = 0; i < 200; i++) {
        say(log, i, MESSAGE_PAYLOAD_OUTPUT, (struct text){bytes, sizeof(bytes)});
    }
    exec_log_close(log);
    assert_int_equal(each_file(dir, read_whole), 1);
    struct text text = buf_view(&whole);
    size_t head = text_find(text, 'x');
    assert_true(
        text_starts(text, TEXT("session s\ntask t\ncontainer c\ncaller me\ncommand sh\nbegan ")));
    size_t end = head + FILE_BYTES_MAX;
    assert_true(text.size > end);
    assert_int_equal(text.data[end - 1], 'x');
    struct text tail = text_slice(text, end, text.size);
    assert_true(text_starts(tail, TEXT("\nthe rest is not kept\nended ")));
    buf_deinit(&whole);
}

// What was sent again is in it once, and only what the terminal showed.
static void a_transcript_has_each_message_once(void **state)
{
    const char *dir = *state;
    struct exec_log *log = begin(dir);
    say(log, 0, MESSAGE_PAYLOAD_HANDSHAKE_REQUEST, TEXT("{}"));
    say(log, 1, MESSAGE_PAYLOAD_OUTPUT, TEXT("one "));
    say(log, 2, MESSAGE_PAYLOAD_STDERR, TEXT("two "));
    say(log, 1, MESSAGE_PAYLOAD_OUTPUT, TEXT("one "));
    say(log, 2, MESSAGE_PAYLOAD_STDERR, TEXT("two "));
    say(log, 3, MESSAGE_PAYLOAD_OUTPUT, TEXT("three"));
    say(log, 4, MESSAGE_PAYLOAD_EXIT_CODE, TEXT("0"));
    exec_log_close(log);
    assert_int_equal(each_file(dir, read_whole), 1);
    buf_byte(&whole, '\0');
    assert_non_null(strstr(whole.data, "Z\n\none two three\nended "));
    buf_deinit(&whole);
}

static void the_newest_transcripts_stay(void **state)
{
    const char *dir = *state;
    for (int i = 0; i < FILES_MAX + 4; i++) {
        AUTO(alloc_string) char *path = alloc_format("%s/20200101T000000Z-%04d.log", dir, i);
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        fclose(file);
    }
    exec_log_close(begin(dir));
    assert_int_equal(each_file(dir, NULL), FILES_MAX);
    for (int i = 4; i < 6; i++) {
        AUTO(alloc_string) char *path = alloc_format("%s/20200101T000000Z-%04d.log", dir, i);
        assert_int_equal(access(path, F_OK) == 0, i == 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_transcript_is_bounded, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_transcript_has_each_message_once, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(the_newest_transcripts_stay, make_dir, remove_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
