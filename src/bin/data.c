#include "bin/data.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "shape/json.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define ROOT_ACCOUNT "000000000000"

char *data_path(struct data_dir *data, const char *relative)
{
    // The arena's texts are terminated, and the arena is this directory's own.
    return (char *)(uintptr_t)arena_format(&data->arena, "%s/%s", data->path, relative).data;
}

// What a child that is just being started holds together with its parent, it holds for a moment
// after the parent was killed, or has begun anew.
#define LOCK_WAIT_NS INT64_C(10000000000)
#define LOCK_STEP_NS 20000000L

// @return whether the process that wrote the lock is another, and there
static bool has_owner(const char *owner)
{
    int64_t pid = 0;
    return text_to_i64(text_of(owner), &pid) != 0 || pid <= 0 || pid > INT32_MAX ||
           (pid != getpid() && (kill((pid_t)pid, 0) == 0 || errno != ESRCH));
}

static int wait_for_lock(int fd, char *owner, size_t owner_bytes)
{
    int64_t deadline_ns = clock_monotonic_ns() + LOCK_WAIT_NS;
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        ssize_t size = pread(fd, owner, owner_bytes - 1, 0);
        owner[size < 0 ? 0 : size] = '\0';
        if (has_owner(owner) || clock_monotonic_ns() > deadline_ns) {
            return ERR_BUSY;
        }
        nanosleep(&(struct timespec){.tv_nsec = LOCK_STEP_NS}, NULL);
    }
    return 0;
}

static int take_lock(struct data_dir *data, struct err *err)
{
    const char *path = data_path(data, "lock");
    data->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (data->lock_fd < 0) {
        return err_sys(err, errno, "opening '%s'", path);
    }
    char owner[32] = {0};
    if (wait_for_lock(data->lock_fd, owner, sizeof(owner)) != 0) {
        return err_set(err, ERR_BUSY,
                       "process %s runs on the directory '%s' already; choose another "
                       "with --data, or stop that one",
                       owner, data->path);
    }
    // In place: a file that was cut to nothing before would need room on the disk again.
    struct text pid = arena_format(&data->arena, "%d", (int)getpid());
    int rc = fd_write_all(data->lock_fd, pid.data, pid.size, err);
    if (rc == 0 && ftruncate(data->lock_fd, (off_t)pid.size) != 0) {
        rc = err_sys(err, errno, "truncating '%s'", path);
    }
    return rc;
}

static int read_instance(struct data_dir *data, struct err *err)
{
    const char *path = data_path(data, "instance");
    AUTO(buf_deinit) struct buf content = {0};
    int rc = file_read(AT_FDCWD, path, 64, &content, err);
    if (rc == 0) {
        unsigned char bytes[4];
        struct text trimmed = text_trim(buf_view(&content));
        if (text_unhex(trimmed, bytes, sizeof(bytes)) != 0) {
            return err_set(err, ERR_CORRUPT, "'%s' holds no 8 hex digits", path);
        }
        return text_copy(trimmed, data->instance, sizeof(data->instance));
    }
    if (rc != ERR_NOT_FOUND) {
        return rc;
    }
    unsigned char random[4];
    clock_entropy(random, sizeof(random));
    text_hex(random, sizeof(random), data->instance);
    return file_replace(AT_FDCWD, path, 0600, text_of(data->instance), err);
}

// Access key ids are 20 letters and digits, secrets 40 characters, as in AWS.
static void make_root_key(struct data_dir *data)
{
    static const char id_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    static const char secret_alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char random[56];
    clock_entropy(random, sizeof(random));
    char id[21] = "BRTH";
    char secret[41] = {0};
    for (size_t i = 0; i < 16; i++) {
        id[4 + i] = id_alphabet[random[i] % 32];
    }
    for (size_t i = 0; i < 40; i++) {
        secret[i] = secret_alphabet[random[16 + i] % 64];
    }
    data->root = (struct config_root_key){
        .access_key_id = arena_text(&data->arena, text_of(id)),
        .secret_access_key = arena_text(&data->arena, text_of(secret)),
        .account = TEXT(ROOT_ACCOUNT),
    };
}

static int read_root_key(struct data_dir *data, struct err *err)
{
    const char *path = data_path(data, "root-key.json");
    AUTO(buf_deinit) struct buf content = {0};
    int rc = file_read(AT_FDCWD, path, 4096, &content, err);
    if (rc == 0) {
        struct shape_error problem;
        if (json_decode(&config_root_key_shape, buf_view(&content), &data->arena, &data->root,
                        &problem) != 0) {
            return err_set(err, ERR_CORRUPT, "'%s' is damaged: %s %s", path, problem.path,
                           problem.text);
        }
        return 0;
    }
    if (rc != ERR_NOT_FOUND) {
        return rc;
    }
    make_root_key(data);
    json_encode(&config_root_key_shape, &data->root, &content);
    return file_replace(AT_FDCWD, path, 0600, buf_view(&content), err);
}

int data_open(const char *path, struct data_dir *out_data, struct err *err)
{
    *out_data = (struct data_dir){.lock_fd = -1};
    int rc = file_make_dirs(path, 0700, err);
    if (rc != 0) {
        return rc;
    }
    out_data->path = realpath(path, NULL);
    if (out_data->path == NULL) {
        return err_sys(err, errno, "resolving '%s'", path);
    }
    rc = take_lock(out_data, err);
    if (rc == 0) {
        rc = read_instance(out_data, err);
    }
    if (rc == 0) {
        rc = read_root_key(out_data, err);
    }
    if (rc != 0) {
        data_close(out_data);
    }
    return rc;
}

void data_close(struct data_dir *data)
{
    fd_close(data->lock_fd);
    alloc_free(data->path);
    arena_deinit(&data->arena);
    *data = (struct data_dir){.lock_fd = -1};
}

int data_write_client(struct data_dir *data, const char *endpoint, const char *region,
                      const char *ca_file, struct err *err)
{
    const struct config_client client = {
        .endpoint = text_of(endpoint),
        .region = text_of(region),
        .access_key_id = data->root.access_key_id,
        .secret_access_key = data->root.secret_access_key,
        .ca_file = text_of(ca_file),
    };
    AUTO(buf_deinit) struct buf content = {0};
    json_encode(&config_client_shape, &client, &content);
    return file_keep(AT_FDCWD, data_path(data, "client.json"), 0600, buf_view(&content), err);
}
