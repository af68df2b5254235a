#include "base/alloc.h"
#include "image/image_internal.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <unistd.h>

#define BLOCK_BYTES (128u << 10)

static la_ssize_t read_block(struct archive *archive, void *context, const void **out_block)
{
    struct image_tar *tar = context;
    size_t got = 0;
    int rc = image_stream_read(tar->stream, tar->block, BLOCK_BYTES, &got, &tar->err);
    if (rc != 0) {
        archive_set_error(archive, EIO, "%s", tar->err.text);
        return ARCHIVE_FATAL;
    }
    *out_block = tar->block;
    return (la_ssize_t)got;
}

// What our own reading met says more than what libarchive makes of it.
static int tar_error(struct image_tar *tar, struct err *err)
{
    if (tar->err.code != 0) {
        *err = tar->err;
        return err->code;
    }
    const char *text = archive_error_string(tar->archive);
    return err_set(err, ERR_INVALID, "not a valid tar archive: %s",
                   text == NULL ? "unknown format" : text);
}

int image_tar_init(struct image_tar *tar, struct image_stream *stream, struct err *err)
{
    tar->stream = stream;
    tar->block = alloc_array(BLOCK_BYTES, 1);
    tar->archive = archive_read_new();
    if (tar->archive == NULL) {
        base_out_of_memory(0);
    }
    // Tar only: the other formats of libarchive have nothing to do in an image. A layer without
    // entries may be a file without bytes.
    if (archive_read_support_format_tar(tar->archive) != ARCHIVE_OK ||
        archive_read_support_format_empty(tar->archive) != ARCHIVE_OK ||
        archive_read_open2(tar->archive, tar, NULL, read_block, NULL, NULL) != ARCHIVE_OK) {
        return tar_error(tar, err);
    }
    return 0;
}

int image_tar_next(struct image_tar *tar, struct archive_entry **out_entry, struct err *err)
{
    *out_entry = NULL;
    struct archive_entry *entry = NULL;
    int rc = archive_read_next_header(tar->archive, &entry);
    if (rc == ARCHIVE_EOF) {
        // Libarchive takes an error behind the last entry for the end.
        return tar->err.code != 0 ? tar_error(tar, err) : 0;
    }
    // A warning is about names that the locale cannot show; their bytes are kept as they are.
    if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN) {
        return tar_error(tar, err);
    }
    *out_entry = entry;
    return 0;
}

static int write_at(int fd, const char *bytes, size_t size, off_t offset, struct err *err)
{
    while (size > 0) {
        ssize_t done = pwrite(fd, bytes, size, offset);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return err_sys(err, errno, "writing %zu bytes", size);
        }
        bytes += done;
        size -= (size_t)done;
        offset += done;
    }
    return 0;
}

int image_tar_copy(struct image_tar *tar, struct archive_entry *entry, int fd, uint64_t *out_bytes,
                   struct err *err)
{
    la_int64_t end = 0;
    uint64_t written = 0;
    for (;;) {
        const void *block = NULL;
        size_t size = 0;
        la_int64_t offset = 0;
        int rc = archive_read_data_block(tar->archive, &block, &size, &offset);
        if (rc == ARCHIVE_EOF) {
            break;
        }
        if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN) {
            return tar_error(tar, err);
        }
        if (offset < 0 || size > (size_t)INT64_MAX - (size_t)offset) {
            return err_set(err, ERR_INVALID, "not a valid tar archive: impossible offset");
        }
        rc = write_at(fd, block, size, offset, err);
        if (rc != 0) {
            return rc;
        }
        written += size;
        end = MAX(end, offset + (la_int64_t)size);
    }
    la_int64_t whole = archive_entry_size(entry);
    if (whole > end && ftruncate(fd, whole) != 0) {
        return err_sys(err, errno, "making a file of %lld bytes", (long long)whole);
    }
    *out_bytes = written;
    return 0;
}

void image_tar_deinit(struct image_tar *tar)
{
    if (tar->archive != NULL) {
        archive_read_free(tar->archive);
    }
    alloc_free(tar->block);
    *tar = (struct image_tar){0};
}
