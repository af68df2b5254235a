#include "base/alloc.h"
#include "fixture.h"
#include "image/image_internal.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static int file_of(struct text bytes)
{
    struct err err;
    int fd = memfd_create("stream", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, bytes.data, bytes.size, &err), 0);
    lseek(fd, 0, SEEK_SET);
    return fd;
}

// Read the whole with blocks of a size; the digests must be those of both sides.
static void check(struct text raw, struct text data, size_t block)
{
    struct err err;
    AUTO(buf_deinit) struct buf out = {0};
    AUTO(fd_close) int fd = file_of(raw);
    AUTO(image_stream_deinit) struct image_stream stream = {0};
    assert_int_equal(image_stream_init(&stream, fd, true, &err), 0);
    for (;;) {
        size_t got = 0;
        int rc = image_stream_read(&stream, buf_reserve(&out, block), block, &got, &err);
        if (rc != 0) {
            print_message("%s\n", err.text);
        }
        assert_int_equal(rc, 0);
        if (got == 0) {
            break;
        }
        out.size += got;
    }
    assert_int_equal(out.size, data.size);
    assert_memory_equal(out.data, data.data, data.size);
    char have_raw[IMAGE_HEX_SIZE];
    char have_data[IMAGE_HEX_SIZE];
    char want[IMAGE_HEX_SIZE];
    assert_int_equal(image_stream_finish(&stream, have_raw, have_data, &err), 0);
    image_hash(raw, want);
    assert_string_equal(have_raw, want);
    image_hash(data, want);
    assert_string_equal(have_data, want);
}

static void image_stream_reads_every_compression(void **state)
{
    (void)state;
    AUTO(buf_deinit) struct buf data = {0};
    for (uint32_t i = 0; i < 100000; i++) {
        buf_format(&data, "%u ", i * 2654435761u);
    }
    AUTO(buf_deinit) struct buf gzip = {0};
    AUTO(buf_deinit) struct buf zstd = {0};
    fixture_gzip(buf_view(&data), &gzip);
    fixture_zstd(buf_view(&data), &zstd);
    const size_t blocks[] = {1000, 65536, 4 << 20};
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++) {
        check(buf_view(&data), buf_view(&data), blocks[i]);
        check(buf_view(&gzip), buf_view(&data), blocks[i]);
        check(buf_view(&zstd), buf_view(&data), blocks[i]);
    }
}

// Some tools write many gzip members or zstd frames, some pad the end.
static void image_stream_reads_members_and_padding(void **state)
{
    (void)state;
    AUTO(buf_deinit) struct buf gzip = {0};
    AUTO(buf_deinit) struct buf zstd = {0};
    fixture_gzip(TEXT(""), &gzip);
    fixture_gzip(TEXT("one,"), &gzip);
    fixture_gzip(TEXT("two"), &gzip);
    fixture_zstd(TEXT("one,"), &zstd);
    fixture_zstd(TEXT("two"), &zstd);
    check(buf_view(&gzip), TEXT("one,two"), 3);
    check(buf_view(&zstd), TEXT("one,two"), 3);
    buf_add(&gzip, "\0\0\0\0", 4);
    check(buf_view(&gzip), TEXT("one,two"), 100);
    check(TEXT(""), TEXT(""), 10);
    check(TEXT("ab"), TEXT("ab"), 10);
}

struct trickle {
    int fd;
    struct text bytes;
};

static void *write_slowly(void *context)
{
    struct trickle *trickle = context;
    for (size_t i = 0; i < trickle->bytes.size; i++) {
        assert_int_equal(write(trickle->fd, trickle->bytes.data + i, 1), 1);
    }
    close(trickle->fd);
    return NULL;
}

// A pipe may give one byte at a time, also of the magic number.
static void image_stream_reads_pipes(void **state)
{
    (void)state;
    AUTO(buf_deinit) struct buf gzip = {0};
    fixture_gzip(TEXT("through a pipe"), &gzip);
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct trickle trickle = {.fd = ends[1], .bytes = buf_view(&gzip)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_slowly, &trickle), 0);
    struct err err;
    struct image_stream stream = {0};
    assert_int_equal(image_stream_init(&stream, ends[0], false, &err), 0);
    char out[64];
    size_t got = 0;
    assert_int_equal(image_stream_read(&stream, out, sizeof(out), &got, &err), 0);
    assert_true(got > 0);
    assert_memory_equal(out, "through a pipe", got);
    image_stream_deinit(&stream);
    pthread_join(thread, NULL);
    close(ends[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(image_stream_reads_every_compression),
        cmocka_unit_test(image_stream_reads_members_and_padding),
        cmocka_unit_test(image_stream_reads_pipes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
