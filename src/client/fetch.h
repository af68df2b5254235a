#pragma once

#include "base/buf.h"
#include "base/err.h"

/*
 * A small document from an HTTP server, whole; blocks, for worker threads.
 */

/**
 * GET an http or https URL. Redirections are not followed: who may be asked is decided by the URL.
 *
 * @param out  appended to
 * @return 0; ERR_NOT_FOUND for any status but 2xx, with it in err; ERR_NO_ROOM past limit_bytes;
 *         ERR_CLOSED when there is no answer in time
 */
MUST_CHECK int client_fetch(const char *url, size_t limit_bytes, int timeout_ms, struct buf *out,
                            struct err *err);
