#include "server/pki_internal.h"

#include "base/file.h"
#include "base/text.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

/*
 * Certificates and keys by OpenSSL, and their files.
 */

#define FILE_BYTES_MAX 65536
// Clocks of new hosts may be behind.
#define BACKDATE_SECONDS 3600
#define SERIAL_BITS 159 // RFC 5280: at most 20 octets, positive

// Forget the library's queue of errors and make one of ours.
int pki_ssl_error(struct err *err, const char *doing)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code == 0 ? "no reason given" : ERR_reason_error_string(code);
    ERR_clear_error();
    return err_set(err, ERR_SYS, "%s: OpenSSL: %s", doing, reason == NULL ? "unknown" : reason);
}

void pki_key_auto(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}

void pki_certificate_auto(X509 **certificate)
{
    X509_free(*certificate);
}

// ---- making -----------------------------------------------------------------------------------

static int add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    if (extension == NULL) {
        return 0;
    }
    int ok = X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
    return ok;
}

static int set_serial(X509 *certificate)
{
    BIGNUM *serial = BN_new();
    int ok = serial != NULL && BN_rand(serial, SERIAL_BITS, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) &&
             BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(certificate)) != NULL;
    BN_free(serial);
    return ok;
}

static int fill_certificate(X509 *certificate, const struct pki_plan *plan)
{
    X509 *issuer = plan->issuer == NULL ? certificate : plan->issuer;
    X509_NAME *subject = X509_get_subject_name(certificate);
    time_t begin = (time_t)(plan->now_s - BACKDATE_SECONDS);
    time_t end = (time_t)(plan->now_s + plan->days * PKI_DAY_SECONDS);
    bool is_ca = plan->names == NULL;
    return X509_set_version(certificate, X509_VERSION_3) && set_serial(certificate) &&
           X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_ASC, (const unsigned char *)"Berth",
                                      -1, -1, 0) &&
           X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                                      (const unsigned char *)plan->common_name, -1, -1, 0) &&
           X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) &&
           ASN1_TIME_set(X509_getm_notBefore(certificate), begin) != NULL &&
           ASN1_TIME_set(X509_getm_notAfter(certificate), end) != NULL &&
           X509_set_pubkey(certificate, plan->key) &&
           add_extension(certificate, issuer, NID_basic_constraints,
                         is_ca ? "critical,CA:TRUE,pathlen:0" : "critical,CA:FALSE") &&
           add_extension(certificate, issuer, NID_key_usage,
                         is_ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature") &&
           add_extension(certificate, issuer, NID_subject_key_identifier, "hash") &&
           add_extension(certificate, issuer, NID_authority_key_identifier, "keyid:always") &&
           (is_ca || (add_extension(certificate, issuer, NID_ext_key_usage, "serverAuth") &&
                      add_extension(certificate, issuer, NID_subject_alt_name, plan->names))) &&
           X509_sign(certificate, plan->issuer_key, EVP_sha256()) != 0;
}

int pki_make_certificate(const struct pki_plan *plan, X509 **out_certificate, struct err *err)
{
    __attribute__((cleanup(pki_certificate_auto))) X509 *certificate = X509_new();
    if (certificate == NULL || !fill_certificate(certificate, plan)) {
        return pki_ssl_error(err, "making a certificate");
    }
    *out_certificate = certificate;
    certificate = NULL;
    return 0;
}

// ---- files ------------------------------------------------------------------------------------

int pki_write_key(const char *path, EVP_PKEY *key, struct buf *out_pem, struct err *err)
{
    BIO *memory = BIO_new(BIO_s_mem());
    if (memory == NULL || !PEM_write_bio_PrivateKey(memory, key, NULL, NULL, 0, NULL, NULL)) {
        BIO_free(memory);
        return pki_ssl_error(err, "writing a key");
    }
    char *bytes = NULL;
    long size = BIO_get_mem_data(memory, &bytes);
    AUTO(buf_deinit) struct buf pem = {0};
    buf_add(&pem, bytes, (size_t)size);
    int rc = file_replace(AT_FDCWD, path, 0600, buf_view(&pem), err);
    OPENSSL_cleanse(bytes, (size_t)size);
    BIO_free(memory);
    if (rc == 0 && out_pem != NULL) {
        buf_reset(out_pem);
        buf_text(out_pem, buf_view(&pem));
    }
    OPENSSL_cleanse(pem.data, pem.size);
    return rc;
}

int pki_write_certificates(const char *path, X509 *first, X509 *second, struct buf *out_pem,
                           struct err *err)
{
    BIO *memory = BIO_new(BIO_s_mem());
    if (memory == NULL || !PEM_write_bio_X509(memory, first) ||
        (second != NULL && !PEM_write_bio_X509(memory, second))) {
        BIO_free(memory);
        return pki_ssl_error(err, "writing a certificate");
    }
    char *bytes = NULL;
    long size = BIO_get_mem_data(memory, &bytes);
    AUTO(buf_deinit) struct buf pem = {0};
    buf_add(&pem, bytes, (size_t)size);
    BIO_free(memory);
    int rc = file_replace(AT_FDCWD, path, 0644, buf_view(&pem), err);
    if (rc == 0 && out_pem != NULL) {
        buf_reset(out_pem);
        buf_text(out_pem, buf_view(&pem));
    }
    return rc;
}

// A file's key, and its text when out_pem is given.
int pki_read_key(const char *path, EVP_PKEY **out_key, struct buf *out_pem, struct err *err)
{
    AUTO(buf_deinit) struct buf pem = {0};
    int rc = file_read(AT_FDCWD, path, FILE_BYTES_MAX, &pem, err);
    if (rc != 0) {
        return rc;
    }
    BIO *memory = BIO_new_mem_buf(pem.data, (int)pem.size);
    EVP_PKEY *key = memory == NULL ? NULL : PEM_read_bio_PrivateKey(memory, NULL, NULL, NULL);
    BIO_free(memory);
    if (key != NULL && out_pem != NULL) {
        buf_reset(out_pem);
        buf_text(out_pem, buf_view(&pem));
    }
    OPENSSL_cleanse(pem.data, pem.size);
    if (key == NULL) {
        ERR_clear_error();
        return err_set(err, ERR_CORRUPT, "'%s' holds no private key", path);
    }
    *out_key = key;
    return 0;
}

int pki_read_certificate(const char *path, X509 **out_certificate, struct buf *out_pem,
                         struct err *err)
{
    AUTO(buf_deinit) struct buf pem = {0};
    int rc = file_read(AT_FDCWD, path, FILE_BYTES_MAX, &pem, err);
    if (rc != 0) {
        return rc;
    }
    BIO *memory = BIO_new_mem_buf(pem.data, (int)pem.size);
    X509 *certificate = memory == NULL ? NULL : PEM_read_bio_X509(memory, NULL, NULL, NULL);
    BIO_free(memory);
    if (certificate == NULL) {
        ERR_clear_error();
        return err_set(err, ERR_CORRUPT, "'%s' holds no certificate", path);
    }
    if (out_pem != NULL) {
        buf_reset(out_pem);
        buf_text(out_pem, buf_view(&pem));
    }
    *out_certificate = certificate;
    return 0;
}
