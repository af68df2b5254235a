#pragma once

#include "base/alloc.h"
#include "base/err.h"

/*
 * The server's certificate authority and its own certificate.
 *
 * Made on first start in a directory: ca.pem and ca.key (10 years), server.pem (the certificate
 * with the CA's behind it) and server.key (1 year). Keys are EC P-256 and readable by the owner
 * only. The server's certificate is made anew, at a start and while the server runs, when it lacks
 * a name, belongs to another CA, or is within 120 days of its end; the CA never changes, as its
 * hash is in join tokens.
 */

struct pki;

/** Names and addresses that the server's certificate must be good for. */
struct pki_names {
    const char *const *items;
    size_t count;
};

/**
 * Read what is in the directory, make what is not there or not good any more. A certificate of the
 * server's that is due, or lacks a name, and cannot be replaced, serves until its end.
 *
 * localhost, 127.0.0.1, ::1 and the host's name are always part of the names.
 *
 * @param directory  made with mode 0700 when it is not there
 * @return 0; ERR_CORRUPT when a file that must not be replaced, the CA's, cannot be read or is past
 *         its end; ERR_SYS and kin
 */
MUST_CHECK int pki_open(const char *directory, const struct pki_names *names, int64_t now_ms,
                        struct pki **out_pki, struct err *err);

/**
 * Make the server's certificate anew when it is due.
 *
 * @param out_renewed  whether it was: its file, its key's, and what the functions below return of
 *                     them are others then
 * @return 0; ERR_SYS and kin, and then the one before goes on being served
 */
MUST_CHECK int pki_renew(struct pki *pki, int64_t now_ms, bool *out_renewed, struct err *err);

/** Free; NULL is allowed. */
void pki_free(struct pki *pki);
AUTO_POINTER(struct pki, pki_free)

/** @return path of the CA's certificate (PEM), for clients on this host */
const char *pki_ca_file(const struct pki *pki);

/** @return path of the server's certificate with its chain (PEM) */
const char *pki_certificate_file(const struct pki *pki);

/** @return path of the server's key (PEM) */
const char *pki_key_file(const struct pki *pki);

/** @return the server's certificate with its chain, PEM, terminated; until it is renewed */
const char *pki_certificate(const struct pki *pki);

/** @return the server's key, PEM, terminated; a secret; until it is renewed */
const char *pki_key(const struct pki *pki);

/** @return SHA-256 of the CA's certificate, 64 hex digits */
struct text pki_ca_sha256(const struct pki *pki);

/** @return when the server's certificate ends */
int64_t pki_expires_at_ms(const struct pki *pki);
