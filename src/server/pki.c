#include "server/pki.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <unistd.h>

#define FILE_BYTES_MAX 65536
#define CA_DAYS 3650
#define SERVER_DAYS 365
#define RENEW_DAYS 120
// Clocks of new hosts may be behind.
#define BACKDATE_SECONDS 3600
#define DAY_SECONDS ((int64_t)86400)
#define SERIAL_BITS 159 // RFC 5280: at most 20 octets, positive
#define HASH_BYTES 32

struct pki {
    char *ca_file;
    char *ca_key_file;
    char *certificate_file;
    char *key_file;
    EVP_PKEY *ca_key;
    X509 *ca;
    EVP_PKEY *key;
    X509 *certificate;
    struct buf certificate_pem;
    struct buf key_pem;
    char ca_sha256[2 * HASH_BYTES + 1];
    int64_t expires_at_ms;
};

// Forget the library's queue of errors and make one of ours.
static int ssl_error(struct err *err, const char *doing)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code == 0 ? "no reason given" : ERR_reason_error_string(code);
    ERR_clear_error();
    return err_set(err, ERR_SYS, "%s: OpenSSL: %s", doing, reason == NULL ? "unknown" : reason);
}

// ---- certificates -----------------------------------------------------------------------------

static void key_auto(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}

static void certificate_auto(X509 **certificate)
{
    X509_free(*certificate);
}

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

struct certificate_plan {
    const char *common_name;
    int64_t now_s;
    int64_t days;
    X509 *issuer; // NULL: signs itself
    EVP_PKEY *issuer_key;
    EVP_PKEY *key;
    const char *names; // of a server: `DNS:a,IP:b`; NULL: a CA
};

static int fill_certificate(X509 *certificate, const struct certificate_plan *plan)
{
    X509 *issuer = plan->issuer == NULL ? certificate : plan->issuer;
    X509_NAME *subject = X509_get_subject_name(certificate);
    time_t begin = (time_t)(plan->now_s - BACKDATE_SECONDS);
    time_t end = (time_t)(plan->now_s + plan->days * DAY_SECONDS);
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

static int make_certificate(const struct certificate_plan *plan, X509 **out_certificate,
                            struct err *err)
{
    __attribute__((cleanup(certificate_auto))) X509 *certificate = X509_new();
    if (certificate == NULL || !fill_certificate(certificate, plan)) {
        return ssl_error(err, "making a certificate");
    }
    *out_certificate = certificate;
    certificate = NULL;
    return 0;
}

// ---- files ------------------------------------------------------------------------------------

static int write_key(const char *path, EVP_PKEY *key, struct buf *out_pem, struct err *err)
{
    BIO *memory = BIO_new(BIO_s_mem());
    if (memory == NULL || !PEM_write_bio_PrivateKey(memory, key, NULL, NULL, 0, NULL, NULL)) {
        BIO_free(memory);
        return ssl_error(err, "writing a key");
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

static int write_certificates(const char *path, X509 *first, X509 *second, struct buf *out_pem,
                              struct err *err)
{
    BIO *memory = BIO_new(BIO_s_mem());
    if (memory == NULL || !PEM_write_bio_X509(memory, first) ||
        (second != NULL && !PEM_write_bio_X509(memory, second))) {
        BIO_free(memory);
        return ssl_error(err, "writing a certificate");
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
static int read_key(const char *path, EVP_PKEY **out_key, struct buf *out_pem, struct err *err)
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

static int read_certificate(const char *path, X509 **out_certificate, struct buf *out_pem,
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

// ---- the authority ----------------------------------------------------------------------------

static int make_ca(struct pki *pki, int64_t now_s, struct err *err)
{
    __attribute__((cleanup(key_auto))) EVP_PKEY *key = EVP_EC_gen("P-256");
    if (key == NULL) {
        return ssl_error(err, "making a key");
    }
    // A number in the name tells the authorities of several Berths apart in a browser's list.
    unsigned char number[4];
    if (RAND_bytes(number, sizeof(number)) != 1) {
        return ssl_error(err, "drawing random numbers");
    }
    AUTO(alloc_string)
    char *name =
        alloc_format("Berth CA %02x%02x%02x%02x", number[0], number[1], number[2], number[3]);
    __attribute__((cleanup(certificate_auto))) X509 *certificate = NULL;
    const struct certificate_plan plan = {
        .common_name = name, .now_s = now_s, .days = CA_DAYS, .issuer_key = key, .key = key};
    int rc = make_certificate(&plan, &certificate, err);
    // The key comes first: a certificate without its key would be in the way for good.
    if (rc == 0) {
        rc = write_key(pki->ca_key_file, key, NULL, err);
    }
    if (rc == 0) {
        rc = write_certificates(pki->ca_file, certificate, NULL, NULL, err);
    }
    if (rc != 0) {
        return rc;
    }
    pki->ca_key = key;
    pki->ca = certificate;
    key = NULL;
    certificate = NULL;
    return 0;
}

static int open_ca(struct pki *pki, int64_t now_s, struct err *err)
{
    int rc = read_certificate(pki->ca_file, &pki->ca, NULL, err);
    if (rc == ERR_NOT_FOUND) {
        rc = make_ca(pki, now_s, err);
    } else if (rc == 0) {
        rc = read_key(pki->ca_key_file, &pki->ca_key, NULL, err);
        if (rc == 0 && X509_check_private_key(pki->ca, pki->ca_key) != 1) {
            ERR_clear_error();
            rc = err_set(err, ERR_CORRUPT, "'%s' is not the key of '%s'", pki->ca_key_file,
                         pki->ca_file);
        }
    }
    if (rc != 0) {
        return rc;
    }
    time_t now = (time_t)now_s;
    if (X509_cmp_time(X509_get0_notAfter(pki->ca), &now) < 0) {
        return err_set(err, ERR_CORRUPT,
                       "the certificate authority in '%s' is past its end: move it and its key "
                       "away to have a new one made; nodes must then join again",
                       pki->ca_file);
    }
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    if (X509_digest(pki->ca, EVP_sha256(), digest, &size) != 1 || size != HASH_BYTES) {
        return ssl_error(err, "hashing the CA's certificate");
    }
    text_hex(digest, HASH_BYTES, pki->ca_sha256);
    return 0;
}

// ---- the server's certificate -----------------------------------------------------------------

static bool is_address(const char *name)
{
    unsigned char bytes[16];
    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

static bool has_name(X509 *certificate, const char *name)
{
    int found = is_address(name) ? X509_check_ip_asc(certificate, name, 0)
                                 : X509_check_host(certificate, name, 0, 0, NULL);
    ERR_clear_error();
    return found == 1;
}

// What stands in a certificate comes from the command line and the host's name; a comma would
// begin another entry.
static bool name_valid(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "-._:";
    size_t size = strlen(name);
    return size > 0 && size <= 253 && strspn(name, letters) == size;
}

struct wanted {
    const char *items[64];
    size_t count;
};

static void want(struct wanted *wanted, const char *name)
{
    if (!name_valid(name) || wanted->count == ARRAY_LEN(wanted->items)) {
        return;
    }
    for (size_t i = 0; i < wanted->count; i++) {
        if (strcmp(wanted->items[i], name) == 0) {
            return;
        }
    }
    wanted->items[wanted->count++] = name;
}

static bool certificate_good(const struct pki *pki, const struct wanted *wanted, int64_t now_s)
{
    if (X509_check_private_key(pki->certificate, pki->key) != 1 ||
        X509_verify(pki->certificate, X509_get0_pubkey(pki->ca)) != 1) {
        ERR_clear_error();
        return false;
    }
    time_t soon = (time_t)(now_s + RENEW_DAYS * DAY_SECONDS);
    if (X509_cmp_time(X509_get0_notAfter(pki->certificate), &soon) < 0) {
        return false;
    }
    for (size_t i = 0; i < wanted->count; i++) {
        if (!has_name(pki->certificate, wanted->items[i])) {
            return false;
        }
    }
    return true;
}

static int make_server_certificate(struct pki *pki, const struct wanted *wanted, int64_t now_s,
                                   struct err *err)
{
    AUTO(buf_deinit) struct buf names = {0};
    for (size_t i = 0; i < wanted->count; i++) {
        buf_format(&names, "%s%s:%s", i == 0 ? "" : ",",
                   is_address(wanted->items[i]) ? "IP" : "DNS", wanted->items[i]);
    }
    __attribute__((cleanup(key_auto))) EVP_PKEY *key = EVP_EC_gen("P-256");
    if (key == NULL) {
        return ssl_error(err, "making a key");
    }
    __attribute__((cleanup(certificate_auto))) X509 *certificate = NULL;
    const struct certificate_plan plan = {.common_name = "Berth server",
                                          .now_s = now_s,
                                          .days = SERVER_DAYS,
                                          .issuer = pki->ca,
                                          .issuer_key = pki->ca_key,
                                          .key = key,
                                          .names = names.data};
    int rc = make_certificate(&plan, &certificate, err);
    // A crash between the two leaves a pair that does not fit; the next start makes another.
    if (rc == 0) {
        rc = write_key(pki->key_file, key, &pki->key_pem, err);
    }
    if (rc == 0) {
        rc = write_certificates(pki->certificate_file, certificate, pki->ca, &pki->certificate_pem,
                                err);
    }
    if (rc != 0) {
        return rc;
    }
    EVP_PKEY_free(pki->key);
    X509_free(pki->certificate);
    pki->key = key;
    pki->certificate = certificate;
    key = NULL;
    certificate = NULL;
    return 0;
}

static int open_server_certificate(struct pki *pki, const struct wanted *wanted, int64_t now_s,
                                   struct err *err)
{
    struct err ignored = {0};
    bool read = read_certificate(pki->certificate_file, &pki->certificate, &pki->certificate_pem,
                                 &ignored) == 0 &&
                read_key(pki->key_file, &pki->key, &pki->key_pem, &ignored) == 0;
    if (!read || !certificate_good(pki, wanted, now_s)) {
        int rc = make_server_certificate(pki, wanted, now_s, err);
        if (rc != 0) {
            return rc;
        }
    }
    struct tm end = {0};
    if (ASN1_TIME_to_tm(X509_get0_notAfter(pki->certificate), &end) != 1) {
        return ssl_error(err, "reading the end of a certificate");
    }
    pki->expires_at_ms = (int64_t)timegm(&end) * 1000;
    return 0;
}

int pki_open(const char *directory, const struct pki_names *names, int64_t now_ms,
             struct pki **out_pki, struct err *err)
{
    int rc = file_make_dirs(directory, 0700, err);
    if (rc != 0) {
        return rc;
    }
    AUTO(pki_free) struct pki *pki = ALLOC(struct pki);
    pki->ca_file = alloc_format("%s/ca.pem", directory);
    pki->ca_key_file = alloc_format("%s/ca.key", directory);
    pki->certificate_file = alloc_format("%s/server.pem", directory);
    pki->key_file = alloc_format("%s/server.key", directory);
    rc = open_ca(pki, now_ms / 1000, err);
    if (rc != 0) {
        return err_wrap(err, "opening the certificate authority in '%s'", directory);
    }

    char host_name[256] = {0};
    if (gethostname(host_name, sizeof(host_name) - 1) != 0) {
        host_name[0] = '\0';
    }
    struct wanted wanted = {0};
    want(&wanted, "localhost");
    want(&wanted, "127.0.0.1");
    want(&wanted, "::1");
    want(&wanted, host_name);
    for (size_t i = 0; i < names->count; i++) {
        want(&wanted, names->items[i]);
    }
    rc = open_server_certificate(pki, &wanted, now_ms / 1000, err);
    if (rc != 0) {
        return err_wrap(err, "making the server's certificate in '%s'", directory);
    }
    *out_pki = pki;
    pki = NULL;
    return 0;
}

void pki_free(struct pki *pki)
{
    if (pki == NULL) {
        return;
    }
    if (pki->key_pem.data != NULL) {
        OPENSSL_cleanse(pki->key_pem.data, pki->key_pem.size);
    }
    buf_deinit(&pki->key_pem);
    buf_deinit(&pki->certificate_pem);
    EVP_PKEY_free(pki->ca_key);
    EVP_PKEY_free(pki->key);
    X509_free(pki->ca);
    X509_free(pki->certificate);
    alloc_free(pki->ca_file);
    alloc_free(pki->ca_key_file);
    alloc_free(pki->certificate_file);
    alloc_free(pki->key_file);
    alloc_free(pki);
}

const char *pki_ca_file(const struct pki *pki)
{
    return pki->ca_file;
}

const char *pki_certificate_file(const struct pki *pki)
{
    return pki->certificate_file;
}

const char *pki_key_file(const struct pki *pki)
{
    return pki->key_file;
}

const char *pki_certificate(const struct pki *pki)
{
    return pki->certificate_pem.data;
}

const char *pki_key(const struct pki *pki)
{
    return pki->key_pem.data;
}

struct text pki_ca_sha256(const struct pki *pki)
{
    return (struct text){pki->ca_sha256, 2 * HASH_BYTES};
}

int64_t pki_expires_at_ms(const struct pki *pki)
{
    return pki->expires_at_ms;
}
