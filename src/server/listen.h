#pragma once

#include "server/server.h"

/*
 * Addresses to listen on, and the URLs that lead there.
 */

/** @return whether an address reaches this host only; false for a text that is no address */
bool listen_is_loopback(const char *address);

/** @return whether an address stands for all of the host's: 0.0.0.0 or :: */
bool listen_is_any(const char *address);

/**
 * Open a socket that accepts connections.
 *
 * @return 0, ERR_INVALID for an address that is none, ERR_SYS, ERR_BUSY or ERR_DENIED with the
 *         address and port in the sentence
 */
MUST_CHECK int listen_open(const struct server_listen *listen, int *out_fd, struct err *err);

/** @return `http(s)://HOST:PORT` of an open socket; HOST is the address itself, or `advertise`
 *          (may be NULL) when that stands for all. Free with alloc_free */
char *listen_url(const struct server_listen *listen, int fd, const char *advertise);

/** @return an address of this host that others can reach, or NULL. Free with alloc_free */
char *listen_outer_address(void);
