#pragma once

#include "base/alloc.h"
#include "base/err.h"

/**
 * Keep a copy of a program where nothing replaces it.
 *
 * What the supervisor's file is when the agent starts, it stays for the tasks of this agent: an
 * upgrade may put another in its place at any moment, by rename or by writing into it, and neither
 * disturbs a start, the restart of a container whose init it is, nor the writer (ETXTBSY).
 *
 * @param program    absolute path
 * @param directory  made when missing; the copy is in a folder of its own there, by what is in it
 * @param used       whether copies of other content may be in use still; else they are removed
 * @param out_path   of the copy, in the arena
 * @return 0, or what kept it from being made: ERR_FULL_DISK, ERR_NOT_FOUND, ERR_SYS
 */
MUST_CHECK int pin_program(const char *program, const char *directory, bool used,
                           struct arena *arena, struct text *out_path, struct err *err);
