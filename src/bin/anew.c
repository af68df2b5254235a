#include "bin/anew.h"

#include "base/alloc.h"

#include <errno.h>
#include <linux/close_range.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 4096

void anew(char *const *words)
{
    // The link itself would become the process's name.
    char self[PATH_BYTES];
    ssize_t size = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (size < 0) {
        return;
    }
    self[size] = '\0';
    size_t count = 0;
    while (words[count] != NULL) {
        count++;
    }
    AUTO(alloc_free) void *block = alloc_array(count + 2, sizeof(char *));
    char **arguments = block;
    arguments[0] = program_invocation_name;
    memcpy(arguments + 1, words, count * sizeof(char *));
    IGNORE(close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC) != 0,
           "what is opened here is closed by that anyway");
    execv(self, arguments);
}
