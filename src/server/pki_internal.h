#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <openssl/types.h>

/*
 * Certificates and keys by OpenSSL, and their files (pki_pem.c): what pki.c decides with.
 */

#define PKI_DAY_SECONDS ((int64_t)86400)

/** A certificate to be made. */
struct pki_plan {
    const char *common_name;
    int64_t now_s;
    int64_t days;
    X509 *issuer; ///< NULL: signs itself
    EVP_PKEY *issuer_key;
    EVP_PKEY *key;
    const char *names; ///< of a server: `DNS:a,IP:b`; NULL: a CA
};

/** Forget the library's queue of errors and make one of ours. */
int pki_ssl_error(struct err *err, const char *doing);

/** Releases a local that owns a key. */
void pki_key_auto(EVP_PKEY **key);

/** Releases a local that owns a certificate. */
void pki_certificate_auto(X509 **certificate);

/** Make a certificate; free it with X509_free. */
MUST_CHECK int pki_make_certificate(const struct pki_plan *plan, X509 **out_certificate,
                                    struct err *err);

/** Replace a file by a key, with mode 0600. out_pem, which may be NULL, gets its text: a secret. */
MUST_CHECK int pki_write_key(const char *path, EVP_PKEY *key, struct buf *out_pem, struct err *err);

/** Replace a file by one or two certificates; second and out_pem may be NULL. */
MUST_CHECK int pki_write_certificates(const char *path, X509 *first, X509 *second,
                                      struct buf *out_pem, struct err *err);

/** Read a file's key, and its text when out_pem is given. */
MUST_CHECK int pki_read_key(const char *path, EVP_PKEY **out_key, struct buf *out_pem,
                            struct err *err);

/** Read a file's first certificate, and the file's text when out_pem is given. */
MUST_CHECK int pki_read_certificate(const char *path, X509 **out_certificate, struct buf *out_pem,
                                    struct err *err);
