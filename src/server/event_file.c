#include "server/event_file.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CURRENT "current.jsonl"
#define PREVIOUS "previous.jsonl"

struct event_file {
    int dir_fd;
    int fd; // of current; negative when it could not be had: tried again with the next lines
    uint64_t size;
    uint64_t segment_bytes;
};

// @return the size of the lines, without a torn one at the end
static uint64_t read_lines(const struct event_file_options *options, struct text bytes)
{
    struct text rest = bytes;
    uint64_t size = 0;
    size_t end = 0;
    while ((end = text_find(rest, '\n')) != SIZE_MAX) {
        struct text line = text_slice(rest, 0, end);
        rest = text_slice(rest, end + 1, rest.size);
        size += end + 1;
        if (line.size > 0) {
            options->on_line(options->context, line);
        }
    }
    return size;
}

static int read_segment(const struct event_file *file, const struct event_file_options *options,
                        const char *name, bool *out_there, uint64_t *out_size, struct err *err)
{
    AUTO(buf_deinit) struct buf bytes = {0};
    // A write is at most one buffer behind the bound, so a file that is much larger is none of
    // ours.
    int rc =
        file_read(file->dir_fd, name, (size_t)options->segment_bytes * 2 + (64 << 20), &bytes, err);
    *out_there = rc == 0;
    *out_size = 0;
    if (rc == ERR_NOT_FOUND) {
        return 0;
    }
    if (rc != 0) {
        return err_wrap(err, "reading the events of '%s/%s'", options->dir, name);
    }
    *out_size = read_lines(options, buf_view(&bytes));
    return 0;
}

// O_APPEND is not used: what a full disk tore is cut off again.
static int open_current(struct event_file *file, struct err *err)
{
    file->fd = openat(file->dir_fd, CURRENT, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file->fd < 0) {
        return err_sys(err, errno, "opening the event log's " CURRENT);
    }
    return 0;
}

int event_file_open(const struct event_file_options *options, struct event_file **out_file,
                    bool *out_gone, struct err *err)
{
    ASSERT(options->segment_bytes > 0);
    int rc = file_make_dirs(options->dir, 0700, err);
    if (rc != 0) {
        return rc;
    }
    struct event_file *file = ALLOC(struct event_file);
    file->fd = -1;
    file->segment_bytes = options->segment_bytes;
    file->dir_fd = open(options->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file->dir_fd < 0) {
        rc = err_sys(err, errno, "opening the directory '%s' of the event log", options->dir);
    }
    bool there = false;
    uint64_t previous = 0;
    if (rc == 0) {
        rc = read_segment(file, options, PREVIOUS, out_gone, &previous, err);
    }
    if (rc == 0) {
        rc = read_segment(file, options, CURRENT, &there, &file->size, err);
    }
    if (rc == 0) {
        rc = open_current(file, err);
    }
    if (rc == 0 && ftruncate(file->fd, (off_t)file->size) != 0) {
        rc = err_sys(err, errno, "cutting off the torn end of the event log");
    }
    if (rc != 0) {
        event_file_close(file);
        return rc;
    }
    *out_file = file;
    return 0;
}

static int rotate(struct event_file *file, struct err *err)
{
    if (renameat(file->dir_fd, CURRENT, file->dir_fd, PREVIOUS) != 0) {
        return err_sys(err, errno, "renaming the event log's full segment");
    }
    fd_close(file->fd);
    file->fd = -1;
    file->size = 0;
    return 0;
}

// Write lines that fit, all or none of them.
static int write_piece(struct event_file *file, struct text lines, struct err *err)
{
    uint64_t done = 0;
    while (done < lines.size) {
        ssize_t written =
            pwrite(file->fd, lines.data + done, lines.size - done, (off_t)(file->size + done));
        if (written < 0 && errno != EINTR) {
            int rc = err_sys(err, errno, "writing to the event log");
            // Should this fail as well, the next lines go over what was torn.
            IGNORE(ftruncate(file->fd, (off_t)file->size), "the next write begins there");
            return rc;
        }
        done += written > 0 ? (uint64_t)written : 0;
    }
    file->size += lines.size;
    return 0;
}

// As many whole lines as fit behind what is there; one at least goes into an empty segment.
static struct text lines_that_fit(const struct event_file *file, struct text lines)
{
    uint64_t room = file->size < file->segment_bytes ? file->segment_bytes - file->size : 0;
    if (lines.size <= room) {
        return lines;
    }
    size_t end = text_find_last(text_slice(lines, 0, (size_t)room), '\n');
    if (end == SIZE_MAX && file->size == 0) {
        end = text_find(lines, '\n');
    }
    return end == SIZE_MAX ? (struct text){0} : text_slice(lines, 0, end + 1);
}

int event_file_write(struct event_file *file, struct text lines, size_t *out_written,
                     struct err *err)
{
    *out_written = 0;
    while (*out_written < lines.size) {
        struct text rest = text_slice(lines, *out_written, lines.size);
        struct text piece = lines_that_fit(file, rest);
        int rc = piece.size == 0 ? rotate(file, err) : 0;
        if (rc == 0 && file->fd < 0) {
            rc = open_current(file, err);
        }
        if (rc == 0 && piece.size > 0) {
            rc = write_piece(file, piece, err);
        }
        if (rc != 0) {
            return rc;
        }
        *out_written += piece.size;
    }
    return 0;
}

void event_file_close(struct event_file *file)
{
    if (file == NULL) {
        return;
    }
    fd_close(file->fd);
    fd_close(file->dir_fd);
    alloc_free(file);
}
