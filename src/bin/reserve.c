#include "bin/reserve.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/text.h"
#include "net/net.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define RUN_ROOT "/run/berth"
// More Berths on one host than private ranges would not find room anyway.
#define INSTANCES_MAX 256

static const char *const file_names[] = {
    [NET_USE_VPC] = "vpc-cidr",
    [NET_USE_BRIDGE] = "bridge-cidr",
};

// Whether the file is held, by another process or by this one; its range goes to *out_cidr.
static bool held(const char *path, struct arena *arena, struct text *out_cidr)
{
    AUTO(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0) {
        return false;
    }
    AUTO(buf_deinit) struct buf content = {0};
    struct err err;
    if (file_read(AT_FDCWD, path, 64, &content, &err) != 0) {
        return false;
    }
    *out_cidr = arena_text(arena, text_trim(buf_view(&content)));
    return true;
}

static void list_taken(struct arena *arena, struct text_list *out_taken)
{
    out_taken->items =
        arena_array(arena, INSTANCES_MAX * ARRAY_LEN(file_names), sizeof(*out_taken->items));
    DIR *directory = opendir(RUN_ROOT);
    if (directory == NULL) {
        return;
    }
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        for (size_t i = 0; i < ARRAY_LEN(file_names) && entry->d_name[0] != '.'; i++) {
            struct text path = arena_format(arena, RUN_ROOT "/%s/%s", entry->d_name, file_names[i]);
            if (out_taken->count < INSTANCES_MAX * ARRAY_LEN(file_names) &&
                held(path.data, arena, &out_taken->items[out_taken->count])) {
                out_taken->count++;
            }
        }
    }
    closedir(directory);
}

// What an earlier process of this instance used, if that can be read: it may have left tasks there.
static struct text used_before(const char *path, struct arena *arena)
{
    AUTO(buf_deinit) struct buf content = {0};
    struct err ignored;
    return file_read(AT_FDCWD, path, 64, &content, &ignored) == 0 && content.size > 0
               ? arena_text(arena, text_trim(buf_view(&content)))
               : (struct text){0};
}

static int write_own(const char *path, struct text cidr, int *out_fd, struct err *err)
{
    AUTO(fd_close) int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0) {
        return err_sys(err, errno, "reserving the range in '%s'", path);
    }
    int rc = fd_write_all(fd, cidr.data, cidr.size, err);
    if (rc == 0) {
        *out_fd = fd;
        fd = -1;
    }
    return rc;
}

int reserve_cidr(const char *instance, enum net_use use, struct text wanted, struct arena *arena,
                 struct text *out_cidr, int *out_fd, struct err *err)
{
    AUTO(alloc_string) char *directory = alloc_format(RUN_ROOT "/%s", instance);
    int rc = file_make_dirs(directory, 0711, err);
    if (rc != 0) {
        return rc;
    }
    // Two that start at once choose one after the other.
    AUTO(fd_close) int lock = open(RUN_ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock < 0 || flock(lock, LOCK_EX) != 0) {
        return err_sys(err, errno, "locking '" RUN_ROOT "'");
    }
    struct text path = arena_format(arena, RUN_ROOT "/%s/%s", instance, file_names[use]);
    struct text cidr = wanted.data == NULL ? used_before(path.data, arena) : wanted;
    if (cidr.data == NULL) {
        AUTO(arena_deinit) struct arena scratch = {0};
        struct text_list taken = {0};
        list_taken(&scratch, &taken);
        rc = net_free_cidr(use, &taken, arena, &cidr, err);
    }
    if (rc == 0) {
        rc = write_own(path.data, cidr, out_fd, err);
    }
    if (rc == 0) {
        *out_cidr = arena_text(arena, cidr);
    }
    return rc;
}
