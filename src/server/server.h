#pragma once

#include "server/event_log.h"
#include "server/host.h"
#include "server/pki.h"
#include "shape/api.h"

#include <uv.h>

/*
 * The server's front: HTTP listeners for the API, websocket listeners for the sessions of nodes.
 *
 * It turns bytes into typed requests of operations, has the engine's host apply them, and lets
 * the replies out when they are durable. docs/server.md tells what goes over the wire. All calls
 * and callbacks are on the loop's thread.
 */

struct server;

#define SERVER_LISTEN_MAX 4 ///< listeners of each kind: a loopback one, an outer one, IPv4 and IPv6

/** Where to listen. */
struct server_listen {
    const char *address; ///< an IPv4 or IPv6 address
    uint16_t port;       ///< 0: any that is free
    bool tls;            ///< must be set when the address is not on loopback
};

/** A service whose operations are reachable from outside. A protocol comes with its service. */
struct server_service {
    const struct api_service *api;
    const char *const *unsigned_operations; ///< need no signature; ends with NULL; may be NULL
    const char *const *node_operations; ///< allowed to keys of nodes; ends with NULL; may be NULL
    /// Say ClientException, not InvalidParameterException, of values that do not fit; likewise.
    const char *const *client_exception_operations;
    /// Say ValidationException of values that do not fit, though the operation declares another.
    bool validation_exceptions;
    bool no_roles; ///< for people: a role that a task has may not call it
};

/** A key that may sign. Texts borrow until the next input of the engine. */
struct server_key {
    struct text secret;
    struct text account;
    struct text arn;     ///< of whom it stands for
    struct text node_id; ///< present: acts for this node only
};

struct server_options {
    uv_loop_t *loop;
    struct host *host;                     ///< borrowed; started
    const struct server_service *services; ///< borrowed
    size_t service_count;
    struct server_listen api[SERVER_LISTEN_MAX];
    size_t api_count;
    struct server_listen sessions[SERVER_LISTEN_MAX];
    size_t session_count;
    struct pki *pki; ///< borrowed; needed by listeners with TLS, and renewed when it is due
    /** How often the server's certificate is looked at. 0 for an hour. */
    uint32_t certificate_check_ms;
    const char *advertise; ///< host name or address by which nodes reach this server; NULL: the
                           ///< address of the first listener with TLS
    bool any_credentials;  ///< accept any signature; refused unless all listeners are on loopback
    /** From the end of one request to the end of the next, and for sending a reply: what a client
     *  gets that sends or reads a byte now and then. 0 for 75 s. */
    uint32_t request_timeout_ms;
    const char *region; ///< of unsigned operations
    /** Find a key. NULL: the keys of the engine's identity module. */
    bool (*find_key)(void *context, struct text key_id, struct server_key *out_key);
    /** Find which node to ask for a task's output, as task_locate does. NULL: GetTaskLogs is left
     *  to the engine. */
    int (*locate)(const struct core *core, struct text account, struct text region,
                  struct text cluster, struct text task, struct text *out_node_id,
                  struct text *out_task_arn, bool *out_stopped);
    /** Find which node is to run a command of ExecuteCommand, and whether a transcript is kept, as
     *  task_execute_plan does. NULL: no node is connected. */
    int (*exec_plan)(const struct core *core, struct text task_arn, struct text container,
                     struct text *out_node_id, bool *out_logged);
    const char *exec_dir; ///< of transcripts; NULL: there are none
    int64_t exec_idle_ms; ///< without input and output a session of ECS Exec ends; 0: 20 minutes
    /** Append lines of metrics of the engine's services, as task_write_metrics does. May be NULL.
     */
    void (*write_metrics)(struct core *core, int64_t now_ms, struct buf *out);
    const char *scale_command; ///< program that grows and shrinks Auto Scaling groups, or NULL
    const char *scale_dir;     ///< of what it writes
    const char *data_dir;      ///< told to it, and to who asks for a change when the disk is full
    uint32_t scale_timeout_ms; ///< it is ended after
    struct event_log *events;  ///< borrowed; NULL: there are no events
    void *context;
};

/** Numbers of the front, for tests and for people. */
struct server_stats {
    size_t connection_count;
    size_t session_count; ///< ACS sessions of nodes
    uint64_t request_count;
};

/**
 * Begin to serve.
 *
 * Ignores SIGPIPE for the whole process: both libraries write to sockets that may be gone.
 *
 * @return 0; ERR_INVALID for an address that is none; ERR_DENIED for a listener off loopback
 *         without TLS, or any_credentials off loopback; ERR_SYS when a port cannot be had
 */
MUST_CHECK int server_start(const struct server_options *options, struct server **out_server,
                            struct err *err);

/** @return URL of an API listener, such as http://127.0.0.1:4566, with the actual port; lives as
 *          long as the server */
const char *server_url(const struct server *server, size_t index);

/** @return URL of a session listener: clients append `/acs/ws` or `/tcs/ws` */
const char *server_session_url(const struct server *server, size_t index);

/** Carry a durable effect out: frames to nodes. Called by on_effect of the host, which gives events
 *  to the event log. A node without a session is no error: it gets what it missed when it connects.
 */
void server_effect(struct server *server, const struct core_effect *effect);

/** Renew the server's certificate if it is due: connections that come from now on see the new one,
 *  those that are open go on. The server does so by itself; failure is told in the log, and the one
 *  before serves on. */
void server_check_certificate(struct server *server);

/** Fill in numbers. */
void server_stats(const struct server *server, struct server_stats *out_stats);

/**
 * Stop accepting, let replies under way go out (for at most 5 s), close everything, free. Turns
 * the loop itself: call it when uv_run has returned, never inside a callback, and before
 * host_stop. NULL is allowed.
 */
void server_stop(struct server *server);
