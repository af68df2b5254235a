#pragma once

#include "base/err.h"

/*
 * The person's terminal while a command runs elsewhere: it hands on every key as it is. There is
 * one, of the process; it is restored on every way out, also when the process is ended by a signal
 * that can be caught.
 */

/** Put the terminal of standard input into raw mode; nothing when it is none. */
MUST_CHECK int exec_terminal_raw(struct err *err);

/** As it was before; may be called at any time, and twice. */
void exec_terminal_restore(void);

/** The size of the window, of standard output or else of standard input. @return whether there is
 *  one */
bool exec_terminal_size(unsigned *out_columns, unsigned *out_rows);
