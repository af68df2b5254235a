#include "client/client_internal.h"

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <string.h>

// The certificate of the presented chain whose hash is the pin, NULL when there is none.
static X509 *find_pinned(const struct client_pin *pin, STACK_OF(X509) * chain)
{
    for (int i = 0; i < sk_X509_num(chain); i++) {
        X509 *certificate = sk_X509_value(chain, i);
        unsigned char digest[EVP_MAX_MD_SIZE];
        unsigned int size = 0;
        if (X509_digest(certificate, EVP_sha256(), digest, &size) == 1 &&
            size == sizeof(pin->sha256) && memcmp(digest, pin->sha256, size) == 0) {
            return certificate;
        }
    }
    return NULL;
}

static void keep_pem(struct client_pin *pin, X509 *certificate)
{
    BIO *memory = BIO_new(BIO_s_mem());
    if (memory != NULL && PEM_write_bio_X509(memory, certificate) == 1) {
        char *bytes = NULL;
        long size = BIO_get_mem_data(memory, &bytes);
        buf_reset(&pin->ca_pem);
        buf_add(&pin->ca_pem, bytes, (size_t)size);
    }
    BIO_free(memory);
}

// The hash was given to us by somebody we trust, so the certificate that has it is an anchor. The
// rest of the chain, its dates and (by libcurl) the host name are checked as always.
static int verify(X509_STORE_CTX *store, void *argument)
{
    struct client_pin *pin = argument;
    X509 *anchor = find_pinned(pin, X509_STORE_CTX_get0_untrusted(store));
    if (anchor == NULL) {
        X509_STORE_CTX_set_error(store, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY);
        return 0;
    }
    STACK_OF(X509) *anchors = sk_X509_new_null();
    if (anchors == NULL || sk_X509_push(anchors, anchor) == 0) {
        base_out_of_memory(sizeof(void *));
    }
    X509_STORE_CTX_set0_trusted_stack(store, anchors);
    int ok = X509_verify_cert(store);
    X509_STORE_CTX_set0_trusted_stack(store, NULL);
    sk_X509_free(anchors);
    if (ok == 1) {
        keep_pem(pin, anchor);
    }
    return ok == 1 ? 1 : 0;
}

static CURLcode on_context(CURL *easy, void *ssl_context, void *argument)
{
    (void)easy;
    SSL_CTX_set_cert_verify_callback(ssl_context, verify, argument);
    return CURLE_OK;
}

void client_pin_install(CURL *easy, struct client_pin *pin)
{
    curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_context);
    curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, pin);
    // A session resumed from the cache would skip the verification above.
    curl_easy_setopt(easy, CURLOPT_SSL_SESSIONID_CACHE, 0L);
}
