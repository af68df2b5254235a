#include "base/alloc.h"
#include "image/image_internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

// Large enough that system calls do not show beside hashing.
#define INPUT_BYTES (128u << 10)

static EVP_MD_CTX *hash_new(void)
{
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    if (hash == NULL || EVP_DigestInit_ex(hash, EVP_sha256(), NULL) != 1) {
        base_out_of_memory(0); // the only way these fail
    }
    return hash;
}

static void hash_add(EVP_MD_CTX *hash, const void *bytes, size_t size)
{
    if (hash == NULL) {
        return;
    }
    int done = EVP_DigestUpdate(hash, bytes, size);
    ASSERT(done == 1);
}

static void hash_finish(EVP_MD_CTX *hash, char *out_hex)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    int done = EVP_DigestFinal_ex(hash, digest, &size);
    ASSERT(done == 1);
    ASSERT(size == IMAGE_DIGEST_BYTES);
    text_hex(digest, size, out_hex);
}

void image_hash(struct text content, char *out_hex)
{
    EVP_MD_CTX *hash = hash_new();
    hash_add(hash, content.data, content.size);
    hash_finish(hash, out_hex);
    EVP_MD_CTX_free(hash);
}

// Make at least one byte available unless the descriptor has ended.
static int fill(struct image_stream *stream, struct err *err)
{
    if (stream->input_at < stream->input_size || stream->fd_ended) {
        return 0;
    }
    ssize_t got = 0;
    do {
        got = read(stream->fd, stream->input, INPUT_BYTES);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return err_sys(err, errno, "reading");
    }
    stream->input_at = 0;
    stream->input_size = (size_t)got;
    stream->fd_ended = got == 0;
    stream->raw_bytes += (uint64_t)got;
    hash_add(stream->raw_hash, stream->input, (size_t)got);
    if (stream->progress != NULL) {
        stream->progress(stream->progress_context, stream->raw_bytes, stream->progress_total);
    }
    return 0;
}

// The magic numbers need four bytes, and a pipe may give fewer at first.
static int fill_magic(struct image_stream *stream, struct err *err)
{
    while (stream->input_size < 4 && !stream->fd_ended) {
        ssize_t got =
            read(stream->fd, stream->input + stream->input_size, INPUT_BYTES - stream->input_size);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return err_sys(err, errno, "reading");
        }
        stream->fd_ended = got == 0;
        stream->input_size += (size_t)got;
    }
    stream->raw_bytes = stream->input_size;
    hash_add(stream->raw_hash, stream->input, stream->input_size);
    return 0;
}

static enum image_compression recognise(const uint8_t *bytes, size_t size)
{
    static const uint8_t gzip[] = {0x1f, 0x8b};
    static const uint8_t zstd[] = {0x28, 0xb5, 0x2f, 0xfd};
    // Skippable frames, as some tools put in front: 0x184D2A50 to 0x184D2A5F, little-endian.
    static const uint8_t skippable[] = {0x2a, 0x4d, 0x18};

    if (size >= sizeof(gzip) && memcmp(bytes, gzip, sizeof(gzip)) == 0) {
        return IMAGE_GZIP;
    }
    if (size >= sizeof(zstd) && memcmp(bytes, zstd, sizeof(zstd)) == 0) {
        return IMAGE_ZSTD;
    }
    if (size >= 4 && (bytes[0] & 0xf0) == 0x50 && memcmp(bytes + 1, skippable, 3) == 0) {
        return IMAGE_ZSTD;
    }
    return IMAGE_PLAIN;
}

int image_stream_init(struct image_stream *stream, int fd, bool hashed, struct err *err)
{
    ASSERT(fd >= 0);
    stream->fd = fd;
    if (hashed) {
        stream->raw_hash = hash_new();
        stream->data_hash = hash_new();
    }
    stream->input = alloc_array(INPUT_BYTES, 1);
    int rc = fill_magic(stream, err);
    if (rc != 0) {
        return rc;
    }
    stream->between_frames = true;
    stream->compression = recognise(stream->input, stream->input_size);
    if (stream->compression == IMAGE_GZIP && inflateInit2(&stream->gzip, 15 + 16) != Z_OK) {
        base_out_of_memory(0);
    }
    if (stream->compression == IMAGE_ZSTD) {
        stream->zstd = ZSTD_createDStream();
        if (stream->zstd == NULL) {
            base_out_of_memory(0);
        }
    }
    return 0;
}

static int step_plain(struct image_stream *stream, void *out, size_t size, size_t *out_got)
{
    size_t here = MIN(size, stream->input_size - stream->input_at);
    memcpy(out, stream->input + stream->input_at, here);
    stream->input_at += here;
    *out_got = here;
    return 0;
}

static int step_gzip(struct image_stream *stream, void *out, size_t size, size_t *out_got,
                     struct err *err)
{
    if (stream->between_frames && stream->began) {
        // Padding behind the last member is not data; its digest was taken like all the rest's.
        if (stream->input[stream->input_at] != 0x1f) {
            stream->input_at = stream->input_size;
            return 0;
        }
        inflateReset(&stream->gzip);
    }
    stream->began = true;
    size_t given = stream->input_size - stream->input_at;
    stream->gzip.next_in = stream->input + stream->input_at;
    stream->gzip.avail_in = (uInt)given;
    stream->gzip.next_out = out;
    stream->gzip.avail_out = (uInt)MIN(size, (size_t)1 << 30);
    uInt room = stream->gzip.avail_out;
    int rc = inflate(&stream->gzip, Z_NO_FLUSH);
    stream->input_at += given - stream->gzip.avail_in;
    *out_got = room - stream->gzip.avail_out;
    if (rc == Z_MEM_ERROR) {
        base_out_of_memory(0);
    }
    if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR) {
        return err_set(err, ERR_INVALID, "the gzip data is damaged: %s",
                       stream->gzip.msg == NULL ? "unexpected data" : stream->gzip.msg);
    }
    stream->between_frames = rc == Z_STREAM_END;
    return 0;
}

static int step_zstd(struct image_stream *stream, void *out, size_t size, size_t *out_got,
                     struct err *err)
{
    ZSTD_inBuffer input = {stream->input, stream->input_size, stream->input_at};
    ZSTD_outBuffer output = {out, size, 0};
    size_t rc = ZSTD_decompressStream(stream->zstd, &output, &input);
    stream->input_at = input.pos;
    *out_got = output.pos;
    if (ZSTD_isError(rc) != 0) {
        return err_set(err, ERR_INVALID, "the zstd data is damaged: %s", ZSTD_getErrorName(rc));
    }
    stream->between_frames = rc == 0;
    return 0;
}

static int step(struct image_stream *stream, void *out, size_t size, size_t *out_got,
                struct err *err)
{
    *out_got = 0;
    switch (stream->compression) {
    case IMAGE_PLAIN:
        return step_plain(stream, out, size, out_got);
    case IMAGE_GZIP:
        return step_gzip(stream, out, size, out_got, err);
    case IMAGE_ZSTD:
        return step_zstd(stream, out, size, out_got, err);
    }
    return err_set(err, ERR_UNSUPPORTED, "unknown compression");
}

// A decompressor may hold output back after it has taken all input: at the end of the descriptor
// it is asked once more, with nothing to read.
static int drain(struct image_stream *stream, void *out, size_t size, size_t *out_got,
                 struct err *err)
{
    *out_got = 0;
    if (stream->compression == IMAGE_PLAIN || stream->between_frames) {
        return 0;
    }
    int rc = step(stream, out, size, out_got, err);
    if (rc == 0 && *out_got == 0 && !stream->between_frames) {
        return err_set(err, ERR_INVALID, "the compressed data ends too early");
    }
    return rc;
}

// The next decompressed bytes; none at the end.
static int read_some(struct image_stream *stream, void *out, size_t size, size_t *out_got,
                     struct err *err)
{
    *out_got = 0;
    while (*out_got == 0 && !stream->ended) {
        int rc = fill(stream, err);
        if (rc != 0) {
            return rc;
        }
        if (stream->input_at < stream->input_size) {
            rc = step(stream, out, size, out_got, err);
        } else {
            rc = drain(stream, out, size, out_got, err);
            stream->ended = *out_got == 0;
        }
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

int image_stream_read(struct image_stream *stream, void *out, size_t size, size_t *out_got,
                      struct err *err)
{
    ASSERT(size > 0);
    if (stream->failed) {
        return err_set(err, ERR_INVALID, "the data cannot be read to its end");
    }
    size_t got = 0;
    int rc = read_some(stream, out, size, &got, err);
    if (rc != 0) {
        stream->failed = true;
        return rc;
    }
    hash_add(stream->data_hash, out, got);
    stream->data_bytes += got;
    *out_got = got;
    return 0;
}

int image_stream_finish(struct image_stream *stream, char *out_raw, char *out_data, struct err *err)
{
    ASSERT(stream->raw_hash != NULL);
    AUTO(alloc_free) void *scratch = alloc_array(INPUT_BYTES, 1);
    for (;;) {
        size_t got = 0;
        int rc = image_stream_read(stream, scratch, INPUT_BYTES, &got, err);
        if (rc != 0) {
            return rc;
        }
        if (got == 0) {
            break;
        }
    }
    hash_finish(stream->raw_hash, out_raw);
    hash_finish(stream->data_hash, out_data);
    return 0;
}

void image_stream_deinit(struct image_stream *stream)
{
    EVP_MD_CTX_free(stream->raw_hash);
    EVP_MD_CTX_free(stream->data_hash);
    if (stream->compression == IMAGE_GZIP && stream->input != NULL) {
        inflateEnd(&stream->gzip);
    }
    ZSTD_freeDStream(stream->zstd);
    alloc_free(stream->input);
    *stream = (struct image_stream){.fd = -1};
}
