#include "base/clock.h"
#include "base/text.h"
#include "fixture.h"

#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/*
 * The server's certificate is made anew while the server runs, for the API and for the nodes'
 * sessions, and nobody who is connected notices.
 *
 * A year has 365 days, and the last 120 of them are for the renewal: at 250 it is due.
 */

#define DUE_DAYS 250
#define RENEWED_DAYS 300 // a certificate that has more than this left was made just now
#define DEADLINE_NS (INT64_C(240) * 1000000000)
#define HEALTH "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"

/** A connection that trusts the server's authority and nothing else. */
struct tls {
    struct wire wire;
    SSL_CTX *context;
    SSL *ssl;
};

static void tls_close(struct tls *tls)
{
    SSL_free(tls->ssl);
    SSL_CTX_free(tls->context);
    wire_close(&tls->wire);
    *tls = (struct tls){0};
}
AUTO_VALUE(struct tls, tls_close)

static uint16_t port_of(const char *url)
{
    struct text text = text_of(url);
    uint64_t port = 0;
    assert_int_equal(text_to_u64(text_slice(text, text_find_last(text, ':') + 1, text.size), &port),
                     0);
    return (uint16_t)port;
}

static void tls_open(struct tls *tls, const struct fixture *fixture, const char *url)
{
    wire_open(&tls->wire, port_of(url));
    tls->context = SSL_CTX_new(TLS_client_method());
    assert_int_equal(
        SSL_CTX_load_verify_locations(tls->context, pki_ca_file(fixture_pki(fixture)), NULL), 1);
    tls->ssl = SSL_new(tls->context);
    SSL_set_verify(tls->ssl, SSL_VERIFY_PEER, NULL);
    assert_int_equal(X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls->ssl), "127.0.0.1"), 1);
    assert_int_equal(SSL_set_fd(tls->ssl, tls->wire.fd), 1);
    assert_int_equal(SSL_connect(tls->ssl), 1);
}

/** Days until the end of the certificate that the server showed. */
static int days_left(const struct tls *tls)
{
    X509 *certificate = SSL_get1_peer_certificate(tls->ssl);
    assert_non_null(certificate);
    int days = 0;
    int seconds = 0;
    assert_int_equal(ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(certificate)), 1);
    X509_free(certificate);
    return days;
}

static int days_left_at(const struct fixture *fixture, const char *url)
{
    AUTO(tls_close) struct tls tls = {0};
    tls_open(&tls, fixture, url);
    return days_left(&tls);
}

/** Ask whether the server is well. @return the answer's head and body */
static const char *health(struct tls *tls, char *bytes, size_t size)
{
    assert_int_equal(SSL_write(tls->ssl, HEALTH, sizeof(HEALTH) - 1), sizeof(HEALTH) - 1);
    size_t used = 0;
    while (strstr(bytes, "{\"status\":\"ok\"}") == NULL) {
        int got = SSL_read(tls->ssl, bytes + used, (int)(size - used - 1));
        assert_true(got > 0);
        used += (size_t)got;
        bytes[used] = '\0';
    }
    return bytes;
}

static void a_certificate_that_is_due_is_made_anew(void **state)
{
    (void)state;
    const struct fixture_options options = {.tls = true, .certificate_age_days = DUE_DAYS};
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&options);
    AUTO(tls_close) struct tls early = {0};
    tls_open(&early, fixture, fixture_url(fixture));
    AUTO(tls_close) struct tls quiet = {0};
    tls_open(&quiet, fixture, fixture_url(fixture));
    char bytes[1024] = {0};
    assert_null(strstr(health(&early, bytes, sizeof(bytes)), "Connection: close"));
    assert_in_range(days_left(&early), 100, 120);
    assert_in_range(days_left_at(fixture, fixture_session_url(fixture)), 100, 120);

    fixture_check_certificate(fixture);
    assert_true(days_left_at(fixture, fixture_url(fixture)) > RENEWED_DAYS);
    assert_true(days_left_at(fixture, fixture_session_url(fixture)) > RENEWED_DAYS);

    // Who was connected is answered, and told to connect anew.
    char again[1024] = {0};
    assert_non_null(strstr(health(&early, again, sizeof(again)), "Connection: close"));
    assert_true(SSL_read(early.ssl, again, sizeof(again)) <= 0);

    // It is good for a while now: connections are kept again.
    fixture_check_certificate(fixture);
    AUTO(tls_close) struct tls late = {0};
    tls_open(&late, fixture, fixture_url(fixture));
    char kept[1024] = {0};
    assert_null(strstr(health(&late, kept, sizeof(kept)), "Connection: close"));
    // The server goes while one connection of the old certificate and one of the new are open.
    fixture_expect_connections(fixture, 2);
}

static void a_server_looks_by_itself(void **state)
{
    (void)state;
    const struct fixture_options options = {
        .tls = true, .certificate_age_days = DUE_DAYS, .certificate_check_ms = 20};
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&options);
    int64_t end_ns = clock_monotonic_ns() + DEADLINE_NS;
    while (days_left_at(fixture, fixture_url(fixture)) <= RENEWED_DAYS) {
        assert_true(clock_monotonic_ns() < end_ns);
        poll(NULL, 0, 10);
    }
    assert_true(days_left_at(fixture, fixture_session_url(fixture)) > RENEWED_DAYS);
    fixture_expect_connections(fixture, 0);
}

// What cannot be written is not served either; the old certificate is, until it can.
static void a_failed_renewal_is_made_good(void **state)
{
    (void)state;
    const struct fixture_options options = {.tls = true, .certificate_age_days = DUE_DAYS};
    AUTO(fixture_free) struct fixture *fixture = fixture_new(&options);
    AUTO(alloc_string) char *certificate = alloc_string(pki_certificate_file(fixture_pki(fixture)));
    AUTO(alloc_string) char *aside = alloc_format("%s.aside", certificate);
    // A folder stands where the file is to be, so that it cannot be replaced.
    assert_int_equal(rename(certificate, aside), 0);
    AUTO(alloc_string) char *blocker = alloc_format("%s/x", certificate);
    assert_int_equal(mkdir(certificate, 0700), 0);
    assert_int_equal(mkdir(blocker, 0700), 0);
    fixture_check_certificate(fixture);
    assert_in_range(days_left_at(fixture, fixture_url(fixture)), 100, 120);
    assert_in_range(days_left_at(fixture, fixture_session_url(fixture)), 100, 120);

    assert_int_equal(rmdir(blocker), 0);
    assert_int_equal(rmdir(certificate), 0);
    fixture_check_certificate(fixture);
    assert_true(days_left_at(fixture, fixture_url(fixture)) > RENEWED_DAYS);
    assert_true(days_left_at(fixture, fixture_session_url(fixture)) > RENEWED_DAYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_certificate_that_is_due_is_made_anew),
        cmocka_unit_test(a_server_looks_by_itself),
        cmocka_unit_test(a_failed_renewal_is_made_good),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
