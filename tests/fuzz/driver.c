#include "fuzz.h"

#include "base/file.h"

#include "base/alloc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * Runs a fuzz target on every file of the directories given as arguments, so that what was once
 * found is tested ever after, without a fuzzer. A finding aborts, as it does under one.
 */

// Far more than any input worth keeping.
#define INPUT_BYTES_MAX (1u << 20)

static int run_file(int dir_fd, const char *name, struct err *err)
{
    AUTO(buf_deinit) struct buf input = {0};
    int rc = file_read(dir_fd, name, INPUT_BYTES_MAX, &input, err);
    if (rc != 0) {
        return rc;
    }
    // A block of exactly the input's size lets the address sanitizer see reads behind it.
    uint8_t *bytes = alloc_array(input.size, 1);
    for (size_t i = 0; i < input.size; i++) {
        bytes[i] = (uint8_t)input.data[i];
    }
    printf("%s, %zu bytes\n", name, input.size);
    fflush(stdout);
    LLVMFuzzerTestOneInput(bytes, input.size);
    alloc_free(bytes);
    return 0;
}

static int run_directory(const char *path, struct err *err)
{
    struct dirent **entries = NULL;
    int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0) {
        return err_sys(err, errno, "reading '%s'", path);
    }
    AUTO(fd_close) int dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = dir_fd < 0 ? err_sys(err, errno, "opening '%s'", path) : 0;
    size_t files = 0;
    for (int i = 0; i < count; i++) {
        if (rc == 0 && entries[i]->d_name[0] != '.') {
            rc = run_file(dir_fd, entries[i]->d_name, err);
            files++;
        }
        free(entries[i]);
    }
    free(entries);
    return rc == 0 && files == 0 ? err_set(err, ERR_NOT_FOUND, "no inputs in '%s'", path) : rc;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        struct err err = {0};
        if (run_directory(argv[i], &err) != 0) {
            fprintf(stderr, "%s\n", err.text);
            return 1;
        }
    }
    return 0;
}
