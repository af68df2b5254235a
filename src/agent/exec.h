#pragma once

#include "agent/logic.h"
#include "base/alloc.h"
#include "base/err.h"

/*
 * The rules of ECS Exec on a node, without I/O: which commands may run where, how a command line
 * becomes words, and what a person is told at the end.
 */

#define EXEC_SESSIONS_MAX 2          ///< of one container, as ECS's agent allows
#define EXEC_ID_CHARS_MAX 96         ///< of a session
#define EXEC_COMMAND_BYTES_MAX 16384 ///< far longer than anybody types; it goes into a file
#define EXEC_WORDS_MAX 1024

/** @return whether a session's id can be part of a path and of a URL as it is */
bool exec_id_valid(struct text session_id);

/**
 * Split a command line into words as a POSIX shell does: blanks outside of quotes separate, '...'
 * is literal, in "..." a backslash escapes only $ ` " \ and a line's end, elsewhere any character.
 * Nothing is expanded: there is no shell.
 *
 * @param out_words  in the arena; at least one, the first is not empty
 * @return 0, or ERR_INVALID with what is wrong, in a sentence for the person who typed it
 */
MUST_CHECK int exec_split(struct text command, struct arena *arena, struct text_list *out_words,
                          struct err *err);

/**
 * Whether a command may begin in a container.
 *
 * @param view           the task; NULL when it is not known
 * @param session_count  sessions that the container has already
 * @param out_index      the container's place in the definition
 * @return 0, or an error with a sentence for the person at the other end
 */
MUST_CHECK int exec_admit(const struct agent_task_view *view, struct text container,
                          size_t session_count, size_t *out_index, struct err *err);

/** @return whether a container of a task runs */
bool exec_container_runs(const struct agent_task_view *view, struct text container);

/** How a command ended. */
struct exec_end {
    bool has_exit_code;
    int32_t exit_code;
    struct text reason;   ///< why it did not start, when it has no exit code
    bool container_ended; ///< and the command with it
};

/** @return what to say of it; empty when it ended by itself */
struct text exec_farewell(const struct exec_end *end, struct arena *arena);
