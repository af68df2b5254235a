#include "cli/exec_words.h"

#include "base/text.h"

#include <string.h>

static bool is_plain(const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_-./:=@%+,";
    return word[0] != '\0' && word[strspn(word, plain)] == '\0';
}

// In single quotes, where nothing but their end means anything.
static void quote(const char *word, struct buf *out)
{
    buf_byte(out, '\'');
    for (; *word != '\0'; word++) {
        if (*word == '\'') {
            buf_string(out, "'\\''");
        } else {
            buf_byte(out, *word);
        }
    }
    buf_byte(out, '\'');
}

void exec_command_line(const char *const *words, size_t count, struct buf *out)
{
    ASSERT(count > 0);
    if (count == 1) {
        buf_string(out, words[0]);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            buf_byte(out, ' ');
        }
        if (is_plain(words[i])) {
            buf_string(out, words[i]);
        } else {
            quote(words[i], out);
        }
    }
}

struct text exec_input_end(bool sent_any, char last_byte)
{
    return !sent_any || last_byte == '\n' ? TEXT("\x04") : TEXT("\x04\x04");
}

void exec_plain_add(struct exec_plain *plain, struct text part, struct buf *out)
{
    for (size_t i = 0; i < part.size; i++) {
        char byte = part.data[i];
        if (plain->held && byte != '\n') {
            buf_byte(out, '\r');
        }
        plain->held = byte == '\r';
        if (!plain->held) {
            buf_byte(out, byte);
        }
    }
}

void exec_plain_end(struct exec_plain *plain, struct buf *out)
{
    if (plain->held) {
        buf_byte(out, '\r');
        plain->held = false;
    }
}

bool exec_size_json(unsigned columns, unsigned rows, struct buf *out)
{
    if (columns == 0 || rows == 0) {
        return false;
    }
    buf_format(out, "{\"cols\":%u,\"rows\":%u}", columns, rows);
    return true;
}
