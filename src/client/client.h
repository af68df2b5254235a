#pragma once

#include "shape/api.h"
#include "sigv4/sigv4.h"

#include <uv.h>

/*
 * Typed calls of API operations over HTTP: for the agent (asynchronous, on its loop) and for the
 * commands (blocking). JSON 1.1 services only.
 */

struct client;

struct client_options {
    uv_loop_t *loop;              ///< NULL for blocking use only
    const char *endpoint;         ///< http://host:port or https://host:port; NULL for client_post
                                  ///< only, which needs no more than a loop
    const char *ca_file;          ///< PEM to trust for https; NULL for the system's
    const char *pinned_ca_sha256; ///< hex hash of the CA that must be in the server's chain, for
                                  ///< joining before the CA is known; NULL for none
    const char *key_id;           ///< NULL sends unsigned requests
    const char *secret;
    const char *session_token; ///< goes with the key of a role; NULL for none
    const char *region;
    uint32_t connection_max; ///< to one host at once; further calls wait. 0: as many as calls
};

/** How a call ended. Borrowed for the callback. */
struct client_result {
    int rc;          ///< 0; ERR_FAULT: the server refused; ERR_CLOSED, ERR_TIMEOUT: try again
    int http_status; ///< 0 when there was no answer
    struct text fault_code; ///< such as ClientException
    struct text message;    ///< the server's, or why there was no answer
    const void *response;   ///< of operation->output when rc is 0
    struct text body;       ///< of client_post: the answer as it came, when rc is 0
};

typedef void (*client_done_fn)(void *context, const struct client_result *result);

/** Make a client; keeps connections alive between calls. */
MUST_CHECK int client_new(const struct client_options *options, struct client **out_client,
                          struct err *err);

/** Cancel what is under way (callbacks are not called) and free; allowed inside a callback. With a
 *  loop, its memory goes once the loop has turned again. NULL is allowed. */
void client_free(struct client *client);

AUTO_POINTER(struct client, client_free)

/** Call an operation; done is called once, later, on the loop. The request is encoded at once. */
void client_call(struct client *client, const struct api_operation *operation, const void *request,
                 int timeout_ms, client_done_fn done, void *context);

/**
 * POST JSON to any http or https URL, without a signature; done is called once, later, on the loop.
 * The result's rc is 0 for a status of 2xx, ERR_FAULT for any other. Redirections are not followed.
 *
 * @param body  copied
 */
void client_post(struct client *client, struct text url, struct text body, int timeout_ms,
                 client_done_fn done, void *context);

/**
 * Call an operation and wait.
 *
 * @param out_response  of operation->output, borrowing from the arena
 * @return 0, ERR_FAULT with `Code: message` in err, ERR_CLOSED, ERR_TIMEOUT
 */
MUST_CHECK int client_call_wait(struct client *client, const struct api_operation *operation,
                                const void *request, int timeout_ms, struct arena *arena,
                                void *out_response, struct err *err);

/** @return what to add to this host's wall clock to have the server's, as the last answer told it;
 * 0 unless they are more than a minute apart */
int64_t client_clock_offset_ms(const struct client *client);

/** The PEM of the CA that matched pinned_ca_sha256 in the last https call, for storing after a
 *  join; absent when there was none, or no pin. In the arena. */
struct text client_server_ca(struct client *client, struct arena *arena);
