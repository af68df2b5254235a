#pragma once

#include "base/map.h"
#include "server/exec.h"
#include "server/session_internal.h"

/*
 * What the parts of ECS Exec's relay share: exec.c (sessions and operations), exec_relay.c (sockets
 * and frames), exec_log.c (transcripts).
 */

#define EXEC_ID_PREFIX "ecs-execute-command-"
#define EXEC_ID_CHARS 17 // behind the prefix: lower-case letters and digits
#define EXEC_ID_SIZE (sizeof(EXEC_ID_PREFIX) - 1 + EXEC_ID_CHARS)
#define EXEC_TOKEN_BYTES 32
#define EXEC_TOKEN_CHARS (2 * EXEC_TOKEN_BYTES)
#define EXEC_TOKEN_MS 60000       // a client opens its channel at once
#define EXEC_CLIENT_BACK_MS 60000 // a client tries for half a minute to resume
#define EXEC_NODE_FIRST_MS 15000  // a node opens a channel at once
#define EXEC_NODE_BACK_MS 30000   // and comes back to it by itself
#define EXEC_END_MS 5000          // for the last bytes of a session that is over

struct exec_socket;
struct exec_log;

/** A frame that was not sent yet. */
struct exec_frame {
    struct exec_frame *next;
    size_t size;
    bool word;             // the server's own, in text
    unsigned char bytes[]; // LWS_PRE free ones, then the frame
};

/** Frames on their way to one side. */
struct exec_way {
    struct exec_frame *first;
    struct exec_frame *last;
    size_t bytes;
    uint64_t moved_ms; // when a frame last went out, or came to the empty way
};

/** One of the two sides of a session. */
struct exec_side {
    struct exec_way way;        // to it
    struct exec_socket *socket; // that showed the token; NULL when there is none
    char token[EXEC_TOKEN_CHARS + 1];
    uint64_t token_until_ms; // 0: no token is good
    uint64_t gone_ms;        // since when there is no socket
    bool seen;               // there was one before
    bool done;               // it closed for good
};

/** Which side. */
enum exec_role { EXEC_CLIENT, EXEC_NODE };

struct exec_session {
    struct exec_session *next;
    struct exec_session *previous;
    struct exec_hub *hub;
    struct arena arena;
    char id[EXEC_ID_SIZE + 1];
    struct text account;
    struct text region;
    struct text node_id;
    struct text task_arn;
    struct exec_side sides[2]; // by role
    struct exec_log *log;      // NULL when there is no transcript
    bool over;                 // it is in no map any more; what is on its way still goes out
    uint64_t over_ms;
};

struct exec_hub {
    struct server *server;
    struct map by_id; // not over
    struct exec_session *first;
    struct exec_socket *sockets;
    size_t over_count;
    uint64_t begun; // sessions, ever
    uint64_t relayed_bytes;
};

// ---- exec.c -----------------------------------------------------------------------------------

/** @return the loop's time */
uint64_t exec_now_ms(const struct exec_hub *hub);

/** The session is over: tell the client the sentence when there is one, let go of both sides. */
void exec_end(struct exec_session *session, struct text sentence);

// ---- exec_relay.c -----------------------------------------------------------------------------

/** Put a frame on its way to a side. */
void exec_put(struct exec_session *session, enum exec_role to, struct text frame);

/** Drop what is on its way to a side. */
void exec_way_clear(struct exec_way *way);

/** Close what is to be closed, and what takes too long. */
void exec_sockets_tick(struct exec_hub *hub);

/** Let go of a session's sockets at once. */
void exec_detach(struct exec_session *session);

// ---- exec_log.c -------------------------------------------------------------------------------

/** What a transcript begins with. Borrowed for the call. */
struct exec_log_head {
    struct text session_id;
    struct text task_arn;
    struct text container;
    struct text command;
    struct text caller_arn;
};

/** Begin a transcript in a directory. @return NULL when it cannot be written, which is logged */
struct exec_log *exec_log_open(const char *dir, const struct exec_log_head *head);

/** Take a frame that the node sent. */
void exec_log_frame(struct exec_log *log, struct text frame);

/** End it; NULL is allowed. */
void exec_log_close(struct exec_log *log);
