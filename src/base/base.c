#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>

void base_assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, condition);
    abort();
}

void base_out_of_memory(size_t size_bytes)
{
    fprintf(stderr, "out of memory: %zu bytes were asked for; ending, state is safe on disk\n",
            size_bytes);
    abort();
}
