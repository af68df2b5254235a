#pragma once

#include "bin/data.h"

#include <uv.h>

/*
 * The server's half, wired: store, engine with its modules, host, front. Used by `berth up` and
 * `berth server`.
 */

struct serve;

struct serve_options {
    struct data_dir *data; ///< borrowed; open
    uv_loop_t *loop;
    const char *listen;         ///< ADDR:PORT of the API
    const char *session_listen; ///< ADDR:PORT of node sessions; NULL: same address, any free port
    const char *advertise;      ///< name or address by which nodes reach this server, or NULL
    const char *region;
    const char *vpc_cidr;      ///< of default VPCs
    int64_t retention_ms;      ///< how long stopped tasks are kept; 0: a week
    bool spot_fallback;        ///< see service_set_spot_fallback
    uint32_t spot_permille;    ///< see task_set_spot_rate
    int64_t settle_ms;         ///< see service_set_settle_ms; 0: as long as ECS waits
    uint32_t events_mib;       ///< how much of events is kept, on disk and in memory; 0: 16
    const char *scale_command; ///< see server_options; NULL: none
    int64_t scale_timeout_ms;  ///< 0: five minutes
    int64_t waiting_ms;        ///< see task_set_waiting_ms; 0: a quarter of an hour
    int64_t scaling_period_ms; ///< see task_set_scaling
    int64_t exec_idle_ms;      ///< see server_options; 0 for ECS's
    bool any_credentials;
    bool strict; ///< refuse what ECS refuses for want of a role
    /** The disk has become full, or has room again: the process must begin anew, at once. Nothing
     *  that was promised is lost by that. Returns only when the process is to end anyway. */
    void (*on_anew)(void *context);
    void *context;
};

/** A node's identity, made in this process. Texts are terminated and in the given arena. */
struct serve_identity {
    struct text node_id;
    struct text key_id;
    struct text secret;
};

/** The modules of the engine, in the order of their arrows. */
extern const struct core_module *const serve_modules[];
extern const size_t serve_module_count;

/** Open the store and begin to serve: on a full disk what reads only (ERR_FULL_DISK when nothing
 * was ever stored). */
MUST_CHECK int serve_start(const struct serve_options *options, struct serve **out_serve,
                           struct err *err);

/** Stop serving: replies go out, all is written. NULL is allowed. */
void serve_stop(struct serve *serve);

/** @return whether changes are refused, because the disk is full; on_anew tells when it has room */
bool serve_is_read_only(const struct serve *serve);

/** @return URL of the API, with its actual port */
const char *serve_url(const struct serve *serve);

/** @return PEM file of the CA, or NULL while only loopback is served */
const char *serve_ca_file(const struct serve *serve);

/** Have a node join without the network: for the node of `berth up`. Turns the loop until it is
 *  durable. */
MUST_CHECK int serve_join(struct serve *serve, const char *name, struct arena *arena,
                          struct serve_identity *out_identity, struct err *err);
