#pragma once

#include "agent/agent_internal.h"
#include "agent/exec.h"
#include "api/channel.h"
#include "channel/channel.h"

/*
 * What the parts of ECS Exec on a node share. agent_exec.c keeps sessions: it begins and ends them;
 * agent_exec_channel.c keeps the websocket of each; agent_exec_terminal.c moves bytes between the
 * channel and the terminal.
 */

enum exec_phase {
    EXEC_WAITING,  ///< for the client
    EXEC_STARTING, ///< for the terminal, or for word that there is none
    EXEC_RUNNING,
    EXEC_DRAINING, ///< the process has ended; what it wrote last goes out
    EXEC_PARTING,  ///< all is said; the client takes the last of it
    EXEC_LEAVING,  ///< the channel is closed; the server has yet to hear of it
    EXEC_OVER,     ///< nothing but handles that close
};

/** A descriptor of a session that is watched. Closes itself. */
struct exec_watch {
    uv_poll_t poll;
    struct exec *exec; ///< NULL: closing
    struct agent *agent;
    int fd;
    int events; ///< watched now
};

/** A session. */
struct exec {
    struct agent *agent;
    struct exec *next;
    uint32_t number; ///< unique in this agent
    char session_id[EXEC_ID_CHARS_MAX + 1];
    char task_id[ID_CHARS];
    struct arena arena; ///< of what follows
    struct text container;
    struct text_list words;
    struct text token;
    size_t index;
    int64_t idle_timeout_ms;
    enum exec_phase phase;
    bool refused;         ///< it never starts: farewell says why
    struct text farewell; ///< set when parting
    struct exec_end end;  ///< with ended
    bool asked;           ///< the supervisor has been told to begin
    bool ended;           ///< and told of the end
    bool terminate;       ///< the client wants it to end
    bool deserted;        ///< the client closed the channel, and takes nothing more
    int64_t active_ms;    ///< monotonic; when bytes last moved
    int64_t phase_ms;     ///< monotonic; since when it is in this phase
    uv_timer_t timer;     ///< turns it
    // agent_exec_channel.c
    struct channel *channel;
    struct websocket *session; ///< NULL between two
    bool open;                 ///< the session is
    bool ready;                ///< the client is there
    bool anew;                 ///< on a new connection: what went out on the older may be lost
    int64_t lost_ms;           ///< monotonic; since when no session is open
    int64_t dial_ms;           ///< monotonic; when to open the next
    uint32_t dial_failures;
    bool goodbye; ///< the websocket is to end regularly
    // agent_exec_terminal.c
    struct exec_watch *watch; ///< of the socket that the terminal comes to, then of the terminal
    bool has_terminal;
    bool hung;             ///< nobody holds the other end just now
    int64_t hung_ms;       ///< monotonic; when to look again
    struct buf input;      ///< on its way to the terminal
    int64_t input_wait_ms; ///< until it is tried again
    bool has_size;
    struct channel_size size;
};

/** Do what can be done now, and arrange for the next time. Any event ends with this. */
void agent_exec_turn(struct exec *exec);

/** @return monotonic ms */
int64_t agent_exec_now(void);

// ---- agent_exec_channel.c

/** Make the channel; the websocket is opened by the next turn. */
void agent_exec_channel_begin(struct exec *exec);

/** Open a websocket when there is none, and send again what is due. @return when to call again,
 *  monotonic ms */
int64_t agent_exec_channel_turn(struct exec *exec);

/** Take so many bytes more for the terminal. */
void agent_exec_channel_allow(struct exec *exec, size_t bytes);

/** Let go of the websocket at once. */
void agent_exec_channel_drop(struct exec *exec);

/** The channel's own idea of now: ms since 1970, as its messages carry it. */
int64_t agent_exec_wall(void);

// ---- agent_exec_terminal.c

/** Wait for the terminal on a listening socket, which this takes over. */
void agent_exec_terminal_await(struct exec *exec, int console_fd);

/** Move bytes in both directions. @return whether there is nothing more to be read for now, or ever
 */
bool agent_exec_terminal_turn(struct exec *exec);

/** Take the terminal if it has come. */
void agent_exec_terminal_look(struct exec *exec);

/** Keep bytes for the terminal. */
void agent_exec_terminal_input(struct exec *exec, struct text bytes);

/** Set its size, now or once it is there. */
void agent_exec_terminal_resize(struct exec *exec, const struct channel_size *size);

/** Let go of it: whoever has it for a controlling terminal is hung up on. */
void agent_exec_terminal_close(struct exec *exec);
