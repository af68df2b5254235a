#pragma once

#include "client/websocket.h"

#include <libwebsockets.h>

/*
 * What the parts of the websocket client share: websocket.c (one socket) and websocket_context.c
 * (all of them).
 */

#define WEBSOCKET_WHY_CHARS 200

/** A frame that was not sent yet. */
struct websocket_frame {
    struct websocket_frame *next;
    bool binary;
    size_t size;
    unsigned char data[]; ///< LWS_PRE bytes for the library come first
};

struct websockets {
    struct websockets_options options;
    struct lws_context *context;
    lws_retry_bo_t pings;
    SSL_CTX *tls; // NULL for a server without TLS
    struct websocket *first;
    size_t resolving; // look-ups under way
    uv_idle_t turns;
    int turns_left;
    bool closing;
    bool closed;
};

struct websocket {
    struct websockets *sockets;
    struct websocket *next;
    struct websocket_handlers handlers;
    struct lws *wsi;
    uv_getaddrinfo_t resolve;
    bool resolving;
    struct addrinfo *addresses;     // of the host; owned
    const struct addrinfo *untried; // those of them that were not tried yet
    bool tls;
    bool is_open;
    bool ending;    // end at the next chance
    bool finishing; // end once all is sent
    bool said_goodbye;
    bool refused;
    uint16_t code; // of the server's closing
    char *host;    // without brackets and port
    char *host_header;
    uint16_t port;
    char *path; // with the query
    char why[WEBSOCKET_WHY_CHARS];
    struct buf in;
    struct websocket_frame *out_first;
    struct websocket_frame *out_last;
    size_t out_bytes;
    int64_t heard_ms;
};

/** Free a socket, without a word. */
void websocket_free(struct websocket *socket);

/** The library's callback. @return 0 to go on, -1 to close the connection; the type is the
 *  library's */
int websocket_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t size);
