#pragma once

#include "task/join.h"
#include "task/order.h"

#include "api/supervisor.h"
#include "base/alloc.h"
#include "base/buf.h"

#include <sys/types.h>

/*
 * The parts of the supervisor: mounts (its mount namespace), namespaces (those that containers
 * share), runtime (its command lines), freeze (who must not see a start), children (what becomes of
 * them, exit codes), exec (processes of ECS Exec), output (what containers write), links (agents,
 * the state file).
 */

/** Agents at one time: one, a second that takes over, and somebody who looks. */
#define SUPERVISOR_LINK_MAX 8

/** Processes of ECS Exec at one time: an agent runs at most two for each of ten containers. */
#define SUPERVISOR_EXEC_MAX 20

/** Processes that ended before their pid file was read: at most two for each start or probe. */
#define SUPERVISOR_UNCLAIMED_MAX 64

/** What an event of the loop is about; the index follows in the lower 32 bits. */
enum supervisor_source {
    SOURCE_SIGNAL = 1,
    SOURCE_LISTEN,
    SOURCE_LINK,
    SOURCE_OUTPUT,
};

/** What a container writes, on its way to its file. */
struct supervisor_output {
    int pipe_fd;        ///< read end of a pipe, or a terminal, non-blocking; -1 when none is open
    int file_fd;        ///< -1 when the file cannot be written
    int64_t size_bytes; ///< of the file
    bool failing;       ///< reported already
};

/** One of a container's commands; pids are 0 when there is none. */
struct supervised_command {
    pid_t start_pid; ///< the helper, while it starts the command
    pid_t pid;
    bool cancelled;
};

/** One container and the processes around it; pids are 0 when there is none. */
struct supervised {
    const struct supervisor_plan_container *plan;
    bool ran;         ///< the runtime may know it from a run before
    pid_t delete_pid; ///< the runtime, while it forgets that run
    pid_t start_pid;  ///< the runtime, while it starts the container
    pid_t pid;        ///< the container's first process: our child through the subreaper
    struct supervised_command commands[ORDER_COMMAND_COUNT];
    int owed_signal; ///< for pid, once it is our child; 0 for none
    int console_fd;  ///< where the runtime brings the terminal; -1 for none
    struct supervisor_output output;
};

/** A process that ended and that nobody knows yet. */
struct supervisor_unclaimed {
    pid_t pid;
    int status;
};

/** A connected agent. */
struct supervisor_link {
    int fd; ///< -1 for a free slot
    struct buf in;
    struct buf out;  ///< what is being sent
    struct buf told; ///< frames to be sent before the next state
    size_t sent_bytes;
    int64_t version; ///< of the state in out, or sent last
    bool waits_to_write;
};

struct supervisor {
    const char *directory;
    bool in_cgroup; ///< the process was made in its cgroup
    int dir_fd;
    int lock_fd;
    int null_fd;
    int program_fd;     ///< of this program, where it cannot be written
    int silence_fds[2]; ///< a pipe that nobody writes to: input that stays open
    int epoll_fd;
    int signal_fd;
    int listen_fd;
    struct arena arena; ///< the plan
    struct supervisor_plan plan;
    struct order *order;
    struct supervised *containers;
    size_t count;
    struct supervisor_link links[SUPERVISOR_LINK_MAX];
    struct supervisor_unclaimed unclaimed[SUPERVISOR_UNCLAIMED_MAX];
    size_t unclaimed_count;
    struct supervised_exec *execs; ///< of supervisor_exec.c
    size_t exec_count;
    uint64_t exec_number; ///< of the next one, for names of files
    bool has_strays;      ///< a start failed: helpers of the runtime may go on
    pid_t holder_pid;     ///< of the shared namespaces; 0 for none
    struct buf frame;     ///< the newest state, encoded
    int64_t version;      ///< of frame
};

/** Both clocks, now. */
struct order_time supervisor_time(void);

/** Watch a descriptor. @return 0 or the error of epoll_ctl */
MUST_CHECK int supervisor_watch(struct supervisor *supervisor, int fd, uint32_t events,
                                enum supervisor_source source, size_t index, struct err *err);

/**
 * Leave the host's mount namespace and mount the containers' root file systems.
 *
 * @param out_program_fd  this program, where it cannot be written; the caller closes it
 * @param out_null_fd     /dev/null, where it cannot be changed; likewise
 */
MUST_CHECK int supervisor_mounts_make(const struct supervisor_plan *plan, int *out_program_fd,
                                      int *out_null_fd, struct err *err);

/**
 * Start a container by the runtime; its child start_pid ends once it runs.
 *
 * @return 0, or the error of what could not be made or run
 */
MUST_CHECK int supervisor_runtime_start(struct supervisor *supervisor, size_t index,
                                        struct err *err);

/**
 * Stop those of the task's containers that could trace the start of container `index`; nothing
 * where none can.
 *
 * @return 0, or why one does not stop: then all go on
 */
MUST_CHECK int supervisor_freeze(struct supervisor *supervisor, size_t index, struct err *err);

/**
 * Wait until nothing that the start of a container made runs the runtime's code any more; what does
 * not come to an end, or is left of a start that failed, is killed.
 *
 * @param started  the container's first process; 0: the start failed
 * @return false when something of it does not end: nobody may go on who could trace it
 */
bool supervisor_await_program(struct supervisor *supervisor, size_t index, pid_t started);

/** Let those go on that were stopped. */
void supervisor_thaw(struct supervisor *supervisor);

/** Kill what is in a cgroup. */
void supervisor_kill_cgroup(struct text directory);

/** List our children: numbers with blanks between. @return 0, or that the kernel has no list */
MUST_CHECK int supervisor_children_list(struct buf *out);

/** Let the runtime forget a container that has ended; its child is delete_pid. */
MUST_CHECK int supervisor_runtime_delete(struct supervisor *supervisor, size_t index,
                                         struct err *err);

/** Run a command in a container; join.h's helper is its start_pid. */
MUST_CHECK int supervisor_runtime_command(struct supervisor *supervisor, size_t index,
                                          enum order_command which, struct err *err);

/** A process that enters a container. */
struct supervisor_runtime_join {
    const char *process; ///< absolute path of its record
    const char *report;  ///< name in the task's directory of what comes of it: see join.h
    const char *console; ///< absolute path of the socket for its terminal; NULL for none
};

/** Start it; out_pid is the helper. */
MUST_CHECK int supervisor_runtime_join(struct supervisor *supervisor, size_t index,
                                       const struct supervisor_runtime_join *join, pid_t *out_pid,
                                       struct err *err);

/** @return how the file is called, behind the container's number, that tells of a command */
const char *supervisor_runtime_suffix(enum order_command command);

/** Make the namespaces that the task's containers share, and what holds them until its end. */
MUST_CHECK int supervisor_namespaces_make(struct supervisor *supervisor, struct err *err);

/** Carry out one action of the order. Failures become events of the order. */
void supervisor_children_act(struct supervisor *supervisor, const struct order_action *action);

/** Take note of every child that has ended. */
void supervisor_children_reap(struct supervisor *supervisor);

/** Kill whatever is left of children, when no container runs any more, and wait for it. */
void supervisor_children_end(struct supervisor *supervisor);

/** Signal a child, with SIGKILL its group, too. @return false when it is none of ours (any more) */
bool supervisor_signal_child(pid_t pid, int signal);

/** @return a child's exit code, 128 and more for signals */
int32_t supervisor_exit_code(int status);

/** What a helper tells in a file of the task's directory; nothing of it when there is none. */
void supervisor_read_report(const struct supervisor *supervisor, const char *name,
                            struct join_report *out_report);

/** @return whether a process has ended already, with its status in out_status */
bool supervisor_claim(struct supervisor *supervisor, pid_t pid, int *out_status);

/** An agent asks for a process of ECS Exec. Whatever comes of it is told on its connection. */
void supervisor_exec_begin(struct supervisor *supervisor, size_t link,
                           const struct supervisor_exec *request);

/** An agent wants one to end that it has asked for. */
void supervisor_exec_end(struct supervisor *supervisor, size_t link, struct text session);

/** An agent is gone: what it asked for ends. */
void supervisor_exec_link_closed(struct supervisor *supervisor, size_t link);

/** @return when supervisor_exec_tick has something to do, monotonic ms; or ORDER_NEVER */
int64_t supervisor_exec_wake_ms(const struct supervisor *supervisor);

/** Kill those that did not end in time. */
void supervisor_exec_tick(struct supervisor *supervisor);

/** @return whether a child that ended was one of these; it is told then */
bool supervisor_exec_took_child(struct supervisor *supervisor, pid_t pid, int status);

/** @return whether a child is one of these */
bool supervisor_exec_knows(const struct supervisor *supervisor, pid_t pid);

/** @return whether the runtime is starting one */
bool supervisor_exec_starting(const struct supervisor *supervisor);

/** End all that are left and tell it: the task is over. */
void supervisor_exec_finish(struct supervisor *supervisor);

/**
 * Open the pipe and the file of a container's output.
 *
 * @param out_write_fd  the container's end; the caller closes it once the container has it
 */
MUST_CHECK int supervisor_output_open(struct supervisor *supervisor, size_t index,
                                      int *out_write_fd, struct err *err);

/** Take the terminal that the runtime has brought; what is written there is the output. */
void supervisor_output_take(struct supervisor *supervisor, size_t index);

/** Copy a bounded part of what is there. */
void supervisor_output_copy(struct supervisor *supervisor, size_t index);

/** Copy all that is there; the container has ended. Closes the pipe when nothing holds it open. */
void supervisor_output_drain(struct supervisor *supervisor, size_t index);

/** Close pipe and file. */
void supervisor_output_close(struct supervisor_output *output);

/** Listen for agents. */
MUST_CHECK int supervisor_links_open(struct supervisor *supervisor, struct err *err);

/** Take the agents that connect. */
void supervisor_links_accept(struct supervisor *supervisor);

/** An agent's connection is ready for what epoll says. */
void supervisor_link_event(struct supervisor *supervisor, size_t index, uint32_t events);

/**
 * Write the state file and send the state to every agent, if it has changed.
 *
 * @return 0, or why the file was not written; agents have the state all the same
 */
MUST_CHECK int supervisor_links_publish(struct supervisor *supervisor, struct err *err);

/** Send a frame to one agent; nothing when it is gone. */
void supervisor_link_tell(struct supervisor *supervisor, size_t index,
                          const struct supervisor_frame *frame);

/** Send what is still to be sent, for at most timeout_ms, and close all connections. */
void supervisor_links_close(struct supervisor *supervisor, int64_t timeout_ms);
