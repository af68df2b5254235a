#pragma once

#include "client/client.h"

#include <curl/curl.h>

/*
 * What the parts of the client share: a call on its way, its preparation and its result.
 */

/** One call. Belongs to the client until it is done. */
struct client_request {
    struct client *client;
    const struct api_operation *operation; ///< NULL in a client_post
    const char *url;                       ///< of a client_post, in the arena; else the client's
    CURL *easy;
    struct curl_slist *headers;
    struct buf body;
    struct buf reply;
    struct arena arena;
    char error_text[CURL_ERROR_SIZE];
    client_done_fn done; ///< NULL in a blocking call
    void *context;
    struct client_request *next;
    struct client_request *previous;
};

/** Trust by the hash of the CA. */
struct client_pin {
    unsigned char sha256[32];
    struct buf ca_pem; ///< of the CA that matched, as last presented
};

/** Have OpenSSL trust exactly the chains that lead to the pinned CA. `pin` outlives the handle. */
void client_pin_install(CURL *easy, struct client_pin *pin);
