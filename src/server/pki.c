#include "server/pki.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/text.h"
#include "server/pki_internal.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <unistd.h>

#define CA_DAYS 3650
#define SERVER_DAYS 365
#define RENEW_DAYS 120
#define HASH_BYTES 32
#define NAMES_MAX 64

struct pki {
    char *names[NAMES_MAX]; // that the server's certificate must be good for
    size_t name_count;
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

// ---- the authority ----------------------------------------------------------------------------

static int make_ca(struct pki *pki, int64_t now_s, struct err *err)
{
    __attribute__((cleanup(pki_key_auto))) EVP_PKEY *key = EVP_EC_gen("P-256");
    if (key == NULL) {
        return pki_ssl_error(err, "making a key");
    }
    // A number in the name tells the authorities of several Berths apart in a browser's list.
    unsigned char number[4];
    if (RAND_bytes(number, sizeof(number)) != 1) {
        return pki_ssl_error(err, "drawing random numbers");
    }
    AUTO(alloc_string)
    char *name =
        alloc_format("Berth CA %02x%02x%02x%02x", number[0], number[1], number[2], number[3]);
    __attribute__((cleanup(pki_certificate_auto))) X509 *certificate = NULL;
    const struct pki_plan plan = {
        .common_name = name, .now_s = now_s, .days = CA_DAYS, .issuer_key = key, .key = key};
    int rc = pki_make_certificate(&plan, &certificate, err);
    // The key comes first: a certificate without its key would be in the way for good.
    if (rc == 0) {
        rc = pki_write_key(pki->ca_key_file, key, NULL, err);
    }
    if (rc == 0) {
        rc = pki_write_certificates(pki->ca_file, certificate, NULL, NULL, err);
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
    int rc = pki_read_certificate(pki->ca_file, &pki->ca, NULL, err);
    if (rc == ERR_NOT_FOUND) {
        rc = make_ca(pki, now_s, err);
    } else if (rc == 0) {
        rc = pki_read_key(pki->ca_key_file, &pki->ca_key, NULL, err);
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
        return pki_ssl_error(err, "hashing the CA's certificate");
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

static void add_name(struct pki *pki, const char *name)
{
    if (!name_valid(name) || pki->name_count == NAMES_MAX) {
        return;
    }
    for (size_t i = 0; i < pki->name_count; i++) {
        if (strcmp(pki->names[i], name) == 0) {
            return;
        }
    }
    pki->names[pki->name_count++] = alloc_string(name);
}

static void add_names(struct pki *pki, const struct pki_names *names)
{
    char host_name[256] = {0};
    if (gethostname(host_name, sizeof(host_name) - 1) != 0) {
        host_name[0] = '\0';
    }
    add_name(pki, "localhost");
    add_name(pki, "127.0.0.1");
    add_name(pki, "::1");
    add_name(pki, host_name);
    for (size_t i = 0; i < names->count; i++) {
        add_name(pki, names->items[i]);
    }
}

static bool certificate_holds(const struct pki *pki, int64_t until_s)
{
    if (X509_check_private_key(pki->certificate, pki->key) != 1 ||
        X509_verify(pki->certificate, X509_get0_pubkey(pki->ca)) != 1) {
        ERR_clear_error();
        return false;
    }
    time_t until = (time_t)until_s;
    return X509_cmp_time(X509_get0_notAfter(pki->certificate), &until) >= 0;
}

static bool certificate_good(const struct pki *pki, int64_t now_s)
{
    if (!certificate_holds(pki, now_s + RENEW_DAYS * PKI_DAY_SECONDS)) {
        return false;
    }
    for (size_t i = 0; i < pki->name_count; i++) {
        if (!has_name(pki->certificate, pki->names[i])) {
            return false;
        }
    }
    return true;
}

static int sign_server_certificate(const struct pki *pki, EVP_PKEY *key, int64_t now_s,
                                   X509 **out_certificate, struct err *err)
{
    AUTO(buf_deinit) struct buf names = {0};
    for (size_t i = 0; i < pki->name_count; i++) {
        buf_format(&names, "%s%s:%s", i == 0 ? "" : ",", is_address(pki->names[i]) ? "IP" : "DNS",
                   pki->names[i]);
    }
    const struct pki_plan plan = {.common_name = "Berth server",
                                  .now_s = now_s,
                                  .days = SERVER_DAYS,
                                  .issuer = pki->ca,
                                  .issuer_key = pki->ca_key,
                                  .key = key,
                                  .names = names.data};
    return pki_make_certificate(&plan, out_certificate, err);
}

static void take_buf(struct buf *to, struct buf *from)
{
    buf_deinit(to);
    *to = *from;
    *from = (struct buf){0};
}

static void cleanse(struct buf *secret)
{
    if (secret->data != NULL) {
        OPENSSL_cleanse(secret->data, secret->size);
    }
}

// On failure all is as it was, but for the files: a key without its certificate is of no use, and
// makes the next try, or start, make both anew.
static int make_server_certificate(struct pki *pki, int64_t now_s, struct err *err)
{
    __attribute__((cleanup(pki_key_auto))) EVP_PKEY *key = EVP_EC_gen("P-256");
    if (key == NULL) {
        return pki_ssl_error(err, "making a key");
    }
    __attribute__((cleanup(pki_certificate_auto))) X509 *certificate = NULL;
    AUTO(buf_deinit) struct buf key_pem = {0};
    AUTO(buf_deinit) struct buf certificate_pem = {0};
    int rc = sign_server_certificate(pki, key, now_s, &certificate, err);
    if (rc == 0) {
        rc = pki_write_key(pki->key_file, key, &key_pem, err);
    }
    if (rc == 0) {
        rc = pki_write_certificates(pki->certificate_file, certificate, pki->ca, &certificate_pem,
                                    err);
    }
    if (rc != 0) {
        cleanse(&key_pem);
        return rc;
    }
    cleanse(&pki->key_pem);
    take_buf(&pki->key_pem, &key_pem);
    take_buf(&pki->certificate_pem, &certificate_pem);
    EVP_PKEY_free(pki->key);
    X509_free(pki->certificate);
    pki->key = key;
    pki->certificate = certificate;
    key = NULL;
    certificate = NULL;
    return 0;
}

static int note_end(struct pki *pki, struct err *err)
{
    struct tm end = {0};
    if (ASN1_TIME_to_tm(X509_get0_notAfter(pki->certificate), &end) != 1) {
        return pki_ssl_error(err, "reading the end of a certificate");
    }
    pki->expires_at_ms = (int64_t)timegm(&end) * 1000;
    return 0;
}

static int open_server_certificate(struct pki *pki, int64_t now_s, struct err *err)
{
    struct err ignored = {0};
    bool read = pki_read_certificate(pki->certificate_file, &pki->certificate,
                                     &pki->certificate_pem, &ignored) == 0 &&
                pki_read_key(pki->key_file, &pki->key, &pki->key_pem, &ignored) == 0;
    int rc = 0;
    if (!read || !certificate_good(pki, now_s)) {
        rc = make_server_certificate(pki, now_s, err);
    }
    // On a full disk the one before serves on. pki_renew finds that it is due, and tells.
    if (rc != 0 && read && certificate_holds(pki, now_s)) {
        rc = 0;
    }
    return rc == 0 ? note_end(pki, err) : rc;
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

    add_names(pki, names);
    rc = open_server_certificate(pki, now_ms / 1000, err);
    if (rc != 0) {
        return err_wrap(err, "making the server's certificate in '%s'", directory);
    }
    *out_pki = pki;
    pki = NULL;
    return 0;
}

int pki_renew(struct pki *pki, int64_t now_ms, bool *out_renewed, struct err *err)
{
    bool good = certificate_good(pki, now_ms / 1000);
    if (!good) {
        int rc = make_server_certificate(pki, now_ms / 1000, err);
        if (rc == 0) {
            rc = note_end(pki, err);
        }
        if (rc != 0) {
            return err_wrap(err, "renewing the server's certificate '%s'", pki->certificate_file);
        }
    }
    *out_renewed = !good;
    return 0;
}

void pki_free(struct pki *pki)
{
    if (pki == NULL) {
        return;
    }
    for (size_t i = 0; i < pki->name_count; i++) {
        alloc_free(pki->names[i]);
    }
    cleanse(&pki->key_pem);
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
