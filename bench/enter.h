#pragma once

/*
 * Bringing a command into a running container: as the supervisor does it, by `berth-task --join`,
 * beside `crun exec` of the same command. Both end when the command has ended.
 */

/** A running container whose health command, which does nothing, is never due. */
struct enter_target {
    int pid;                ///< of its first process
    const char *directory;  ///< of its task, with the runtime's state in oci
    const char *id;         ///< the runtime's name for it
    const char *supervisor; ///< path of berth-task
};

/** Measure and print; ends the program where something fails. */
void enter_measure(const struct enter_target *target);
