#include "agent/exec.h"
#include "base/buf.h"
#include "fuzz.h"

#include <string.h>

/* A command line. Its words hold no more bytes than it has, and quoting them gives them again. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text command = {(const char *)data, size};
    AUTO(arena_deinit) struct arena arena = {0};
    struct text_list words = {0};
    struct err err = {0};
    if (exec_split(command, &arena, &words, &err) != 0) {
        ASSERT(err.text[0] != '\0');
        return 0;
    }
    AUTO(buf_deinit) struct buf quoted = {0};
    size_t total = 0;
    for (size_t i = 0; i < words.count; i++) {
        total += words.items[i].size;
        buf_string(&quoted, " '");
        for (size_t k = 0; k < words.items[i].size; k++) {
            char byte = words.items[i].data[k];
            if (byte == '\'') {
                buf_string(&quoted, "'\\''");
            } else {
                buf_byte(&quoted, byte);
            }
        }
        buf_byte(&quoted, '\'');
    }
    ASSERT(total <= size);
    struct text_list again = {0};
    if (quoted.size > EXEC_COMMAND_BYTES_MAX) {
        return 0;
    }
    int rc = exec_split(buf_view(&quoted), &arena, &again, &err);
    ASSERT(rc == 0);
    ASSERT(again.count == words.count);
    for (size_t i = 0; i < words.count; i++) {
        ASSERT(again.items[i].size == words.items[i].size);
        ASSERT(memcmp(again.items[i].data, words.items[i].data, words.items[i].size) == 0);
    }
    return 0;
}
