#pragma once

#include "base/buf.h"
#include "server/server.h"
#include "toy_service.h"

/*
 * A whole server for tests: engine with the toy service, memory store, host and front, on free
 * ports of the loopback, in a thread of its own. Tests talk to it over real sockets.
 */

#define FIXTURE_ACCOUNT "111122223333"
#define FIXTURE_KEY "AKIDTEST"
#define FIXTURE_SECRET "a secret of the tests"
#define FIXTURE_NODE_KEY "AKIDNODE1"
#define FIXTURE_NODE_SECRET "a secret of node 1"
#define FIXTURE_NODE "node-1"
#define FIXTURE_LOG_CHARS 65536

struct fixture;

struct fixture_options {
    bool tls;
    bool any_credentials;
    uint32_t request_timeout_ms;
    int certificate_age_days; ///< its year began that long ago
    uint32_t certificate_check_ms;
};

/** Start; fails the test when that does not work. */
struct fixture *fixture_new(const struct fixture_options *options);

/** Stop the server and its thread, and check that nothing is left. NULL is allowed. */
void fixture_free(struct fixture *fixture);
AUTO_POINTER(struct fixture, fixture_free)

uint16_t fixture_port(const struct fixture *fixture);
const char *fixture_url(const struct fixture *fixture);
const char *fixture_session_url(const struct fixture *fixture);

/** The certificates of a server with TLS. */
const struct pki *fixture_pki(const struct fixture *fixture);

/** Have the server look at its certificate, and wait until it has. */
void fixture_check_certificate(struct fixture *fixture);

/** Have what the store is told wait, after `writing;` in what is heard, or go on. */
void fixture_hold_store(struct fixture *fixture, bool hold);

/** What the engine heard of nodes so far, such as `connect node-1;ack 7;`; waits until it holds
 *  the text, and fails the test when it does not come. */
void fixture_expect(struct fixture *fixture, const char *text);

/** Wait until the server has this many connections. */
void fixture_expect_connections(struct fixture *fixture, size_t count);

// ---- a client that can do it wrong ------------------------------------------------------------

/** A connection; zero-initialise, then wire_open. */
struct wire {
    int fd;
    struct buf received;
};

/** An answer. Texts borrow from the wire until the next call. */
struct wire_answer {
    int status; ///< 0: the connection was closed without one
    struct text head;
    struct text body;
};

void wire_open(struct wire *wire, uint16_t port);
void wire_close(struct wire *wire);
AUTO_VALUE(struct wire, wire_close)

/** Send bytes as they are. */
void wire_send(struct wire *wire, struct text bytes);

/** Read one answer: its head, and as much body as Content-Length says. */
struct wire_answer wire_read(struct wire *wire);

/** Wait for more bytes, which come behind those in wire->received. @return false at the end */
bool wire_more(struct wire *wire);

/** Wait until the other side closes. */
void wire_expect_closed(struct wire *wire);

/** @return value of a header of an answer, absent when there is none */
struct text wire_header(const struct wire_answer *answer, const char *name);

/** How a request is signed. */
struct wire_sign {
    const char *key_id; ///< NULL: FIXTURE_KEY
    const char *secret;
    const char *region;
    const char *service;
    int64_t skew_ms;
    bool presign;
};

/** Append a whole signed JSON request for `Toy_20240101.OPERATION`. sign may be NULL. */
void wire_request(struct buf *out, const char *target, struct text body,
                  const struct wire_sign *sign);

/** Send a signed request and read the answer. */
struct wire_answer wire_call(struct wire *wire, const char *target, const char *body,
                             const struct wire_sign *sign);
