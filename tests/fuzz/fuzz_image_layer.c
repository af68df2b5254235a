#include "base/alloc.h"
#include "fuzz.h"
#include "image/image_internal.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * Unpacking a layer touches nothing outside of it: FOLDER/outside/secret stays as it is, FOLDER
 * gets no third entry, and what was unpacked can be removed again.
 */

#define FILE_BYTES_MAX (1u << 20) // so that what expands without end stays small here

// In memory: on a disk every input would wait for it.
static char folder[] = "/dev/shm/berth-fuzz-XXXXXX";
static int folder_fd = -1;

static void clean_up(void)
{
    struct err err;
    IGNORE(file_remove_tree(AT_FDCWD, folder, &err), "the process ends");
}

static void prepare(void)
{
    if (folder_fd >= 0) {
        return;
    }
    const struct rlimit limit = {FILE_BYTES_MAX, FILE_BYTES_MAX};
    struct err err;
    signal(SIGXFSZ, SIG_IGN);
    ASSERT(mkdtemp(folder) != NULL);
    atexit(clean_up);
    folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ASSERT(folder_fd >= 0);
    ASSERT(mkdirat(folder_fd, "outside", 0755) == 0);
    ASSERT(file_replace(folder_fd, "outside/secret", 0640, TEXT("untouched"), &err) == 0);
    setrlimit(RLIMIT_FSIZE, &limit);
}

static void check_outside(void)
{
    struct err err;
    struct stat status;
    AUTO(buf_deinit) struct buf secret = {0};
    ASSERT(file_read(folder_fd, "outside/secret", 64, &secret, &err) == 0);
    ASSERT(text_is(buf_view(&secret), "untouched"));
    ASSERT(fstatat(folder_fd, "outside/secret", &status, 0) == 0);
    ASSERT(status.st_nlink == 1);
    ASSERT((status.st_mode & 07777) == 0640);
    ASSERT(fstatat(folder_fd, "outside", &status, 0) == 0);
    ASSERT(status.st_nlink == 2);
    ASSERT(fstatat(folder_fd, ".", &status, 0) == 0);
    ASSERT(status.st_nlink == 4); // two of its own, "outside" and "layer"
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    prepare();
    struct err err = {0};
    AUTO(fd_close) int fd = memfd_create("layer", MFD_CLOEXEC);
    ASSERT(fd >= 0);
    ASSERT(size < FILE_BYTES_MAX);
    ASSERT(fd_write_all(fd, data, size, &err) == 0);
    lseek(fd, 0, SEEK_SET);
    ASSERT(mkdirat(folder_fd, "layer", 0755) == 0);
    int root_fd = openat(folder_fd, "layer", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ASSERT(root_fd >= 0);

    struct image_stream stream = {0};
    struct image_layer_info info;
    char raw[IMAGE_HEX_SIZE];
    char unpacked[IMAGE_HEX_SIZE];
    int rc = image_stream_init(&stream, fd, true, &err);
    if (rc == 0) {
        rc = image_layer_unpack(&stream, root_fd, &info, &err);
    }
    if (rc == 0) {
        rc = image_stream_finish(&stream, raw, unpacked, &err);
    }
    ASSERT(rc == 0 || err.text[0] != '\0');
    image_stream_deinit(&stream);
    close(root_fd);
    check_outside();
    ASSERT(file_remove_tree(folder_fd, "layer", &err) == 0);
    return 0;
}
