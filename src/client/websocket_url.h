#pragma once

#include "base/text.h"

/*
 * Where a websocket goes.
 */

/** Borrows from the text that was parsed. */
struct websocket_url {
    bool tls;
    struct text authority; ///< host and port, as in the Host header
    struct text host;      ///< without brackets
    struct text path;      ///< with the query
    uint16_t port;
};

/** @return whether text is an http, https, ws or wss URL */
bool websocket_url_parse(struct text text, struct websocket_url *out_url);
