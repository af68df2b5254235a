#pragma once

#include "api/ecs.h"
#include "cli/cli.h"

/*
 * A session of `berth exec`: the data channel between this terminal and a command in a container.
 */

/** How it ended. */
struct exec_session_end {
    bool has_exit_code;
    int exit_code;
    int signal_number;   ///< that ended us, or 0
    struct buf sentence; ///< of the other end, or why it was lost; for the person
};

/**
 * Run a session to its end. The terminal is as before when this returns.
 *
 * @param out_end  the caller's to buf_deinit its sentence
 * @return 0, also when the command failed; an error when the session could not be had
 */
MUST_CHECK int exec_session_run(struct cli_context *context, const struct ecs_session *session,
                                struct exec_session_end *out_end, struct err *err);
