#include "base/alloc.h"
#include "fuzz.h"
#include "image/image_internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/*
 * Loading an archive either makes every image of it usable, or leaves nothing behind.
 */

#define FILE_BYTES_MAX (1u << 20)

// In memory: on a disk every input would wait for it.
static char folder[] = "/dev/shm/berth-fuzz-XXXXXX";
static struct image_store *store;

static void clean_up(void)
{
    struct err err;
    image_close(store);
    IGNORE(file_remove_tree(AT_FDCWD, folder, &err), "the process ends");
}

static void prepare(void)
{
    if (store != NULL) {
        return;
    }
    const struct rlimit limit = {FILE_BYTES_MAX, FILE_BYTES_MAX};
    struct err err;
    signal(SIGXFSZ, SIG_IGN);
    ASSERT(mkdtemp(folder) != NULL);
    ASSERT(image_open(folder, &store, &err) == 0);
    store->sync = false;
    atexit(clean_up);
    setrlimit(RLIMIT_FSIZE, &limit);
}

static size_t count(const char *name)
{
    size_t found = 0;
    AUTO(alloc_string) char *path = alloc_format("%s/%s", folder, name);
    DIR *dir = opendir(path);
    ASSERT(dir != NULL);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        found += entry->d_name[0] == '.' ? 0 : 1;
    }
    closedir(dir);
    return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    prepare();
    struct err err = {0};
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(fd_close) int fd = memfd_create("archive", MFD_CLOEXEC);
    ASSERT(fd >= 0);
    ASSERT(size < FILE_BYTES_MAX);
    ASSERT(fd_write_all(fd, data, size, &err) == 0);
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);

    struct text_list names = {0};
    int rc = image_load(store, path, NULL, NULL, NULL, &arena, &names, &err);
    ASSERT(rc == 0 || err.text[0] != '\0');
    ASSERT(rc != 0 || names.count > 0);
    for (size_t i = 0; rc == 0 && i < names.count; i++) {
        struct image image;
        ASSERT(image_resolve(store, names.items[i], &arena, &image, &err) == 0);
    }
    for (size_t i = 0; rc == 0 && i < names.count; i++) {
        int removed = image_remove(store, names.items[i], &err);
        ASSERT(removed == 0 || removed == ERR_NOT_FOUND); // a name may be told twice
    }
    ASSERT(count("tmp") == 0);
    ASSERT(count("names") == 0);
    ASSERT(count("layers") == 0);
    ASSERT(count("blobs/sha256") == 0);
    return 0;
}
