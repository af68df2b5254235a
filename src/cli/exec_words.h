#pragma once

#include "base/buf.h"

/*
 * What `berth exec` works out of texts: the command line that is sent, what stands for the end of
 * input, and output for what is no terminal. Pure.
 */

/**
 * Compose the command of ExecuteCommand. One word is a command line as it is, as the AWS CLI takes
 * it; of several each stays one word, in quotes where that is needed.
 *
 * @param words  at least one
 */
void exec_command_line(const char *const *words, size_t count, struct buf *out);

/**
 * @return what to send when the input ends: the terminal's own end-of-file character. Behind half a
 *         line it takes two, of which the first only hands the half over.
 */
struct text exec_input_end(bool sent_any, char last_byte);

/** Output on its way to a file or a pipe, where the terminal's CR LF are to be LF. */
struct exec_plain {
    bool held; ///< the last byte was a CR, and is not out yet
};

/** Append a part of the output. */
void exec_plain_add(struct exec_plain *plain, struct text part, struct buf *out);

/** Append what was held back. */
void exec_plain_end(struct exec_plain *plain, struct buf *out);

/** A window's size as its message carries it; 0 of either is no size. @return whether there is one
 */
bool exec_size_json(unsigned columns, unsigned rows, struct buf *out);
