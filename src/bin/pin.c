#include "bin/pin.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define PROGRAM_BYTES_MAX (64u << 20)

static bool holds(const char *path, struct text content)
{
    AUTO(buf_deinit) struct buf found = {0};
    struct err ignored = {0};
    return file_read(AT_FDCWD, path, PROGRAM_BYTES_MAX, &found, &ignored) == 0 &&
           text_equal(buf_view(&found), content) && access(path, X_OK) == 0;
}

static void remove_others(const char *directory, struct text keep)
{
    DIR *dir = opendir(directory);
    const struct dirent *entry = NULL;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.' && !text_is(keep, entry->d_name)) {
            struct err ignored = {0};
            IGNORE(file_remove_tree(dirfd(dir), entry->d_name, &ignored), "it is in nobody's way");
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
}

int pin_program(const char *program, const char *directory, bool used, struct arena *arena,
                struct text *out_path, struct err *err)
{
    AUTO(buf_deinit) struct buf content = {0};
    int rc = file_read(AT_FDCWD, program, PROGRAM_BYTES_MAX, &content, err);
    if (rc != 0) {
        return rc;
    }
    struct text path = text_of(program);
    size_t slash = text_find_last(path, '/');
    // Its own name, so that it is called in lists of processes as it always is.
    struct text name =
        arena_format(arena, "%016llx", (unsigned long long)text_hash(buf_view(&content)));
    struct text folder = arena_format(arena, "%s/%.*s", directory, TEXT_FMT(name));
    struct text copy = arena_format(arena, "%.*s/%.*s", TEXT_FMT(folder),
                                    TEXT_FMT(text_slice(path, slash + 1, path.size)));
    rc = file_make_dirs(folder.data, 0711, err);
    if (rc != 0) {
        return rc;
    }
    if (!holds(copy.data, buf_view(&content))) {
        rc = file_replace(AT_FDCWD, copy.data, 0755, buf_view(&content), err);
    }
    if (rc == 0 && access(copy.data, X_OK) != 0) {
        rc = err_sys(err, errno, "'%s' cannot be run there", copy.data); // mounted noexec
    }
    if (rc != 0) {
        return err_wrap(err, "copying '%s'", program);
    }
    if (!used) {
        remove_others(directory, name);
    }
    *out_path = copy;
    return 0;
}
