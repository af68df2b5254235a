#pragma once

#include "server/server_internal.h"

/*
 * The wire protocols of services. Each is one entry in a table: how to recognise a request, find
 * its operation, decode it, and encode the response. dispatch.c knows none of them.
 */

struct protocol {
    enum api_protocol id;
    const char *content_type; ///< of replies
    /** Whether a request is in this protocol; asked in the order of the table. */
    bool (*claims)(const struct exchange *exchange);
    /** Find service and operation and set them in the exchange, or say why not. */
    enum front_error (*route)(struct exchange *exchange, struct text *out_message);
    /** Decode the request. @return 0, or ERR_INVALID with where and why */
    int (*decode)(struct exchange *exchange, void *out, struct shape_error *error);
    /** Append the response to exchange->reply. */
    void (*encode)(struct exchange *exchange, const void *response);
};

/** @return the protocol of a request; the first of the table when none claims it */
const struct protocol *protocol_of(const struct exchange *exchange);

/** @return a protocol by its number */
const struct protocol *protocol_get(enum api_protocol id);

/** @return value of a header, absent when it is not there */
struct text protocol_header(const struct exchange *exchange, struct text name);

/** Split X-Amz-Target at its last dot. @return false when it has none */
bool protocol_target(struct text target, struct text *out_prefix, struct text *out_operation);
