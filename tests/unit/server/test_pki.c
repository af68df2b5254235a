#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "server/pki.h"

#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmocka.h>

#define DAY_MS (INT64_C(24) * 3600 * 1000)

struct folder {
    char path[64];
};

static struct folder folder_new(void)
{
    struct folder folder;
    snprintf(folder.path, sizeof(folder.path), "/tmp/berth-pki-XXXXXX");
    assert_non_null(mkdtemp(folder.path));
    return folder;
}

static void folder_deinit(struct folder *folder)
{
    struct err err;
    assert_int_equal(file_remove_tree(AT_FDCWD, folder->path, &err), 0);
}
AUTO_VALUE(struct folder, folder_deinit)

static struct pki *open_at(const struct folder *folder, const char *name, int64_t now_ms)
{
    struct pki *pki = NULL;
    struct err err = {0};
    const struct pki_names names = {&name, name == NULL ? 0 : 1};
    if (pki_open(folder->path, &names, now_ms, &pki, &err) != 0) {
        print_message("%s\n", err.text);
        fail();
    }
    return pki;
}

static X509 *read_certificate(const char *path)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    X509 *certificate = PEM_read_X509(file, NULL, NULL, NULL);
    fclose(file);
    assert_non_null(certificate);
    return certificate;
}

static void first_start_makes_everything(void **state)
{
    (void)state;
    AUTO(folder_deinit) struct folder folder = folder_new();
    AUTO(pki_free) struct pki *pki = open_at(&folder, "10.1.2.3", clock_wall_ms());
    struct stat stat_of;
    assert_int_equal(stat(pki_key_file(pki), &stat_of), 0);
    assert_int_equal(stat_of.st_mode & 0777, 0600);
    AUTO(alloc_string) char *ca_key = alloc_format("%s/ca.key", folder.path);
    assert_int_equal(stat(ca_key, &stat_of), 0);
    assert_int_equal(stat_of.st_mode & 0777, 0600);

    X509 *ca = read_certificate(pki_ca_file(pki));
    X509 *server = read_certificate(pki_certificate_file(pki));
    assert_int_equal(X509_check_ca(ca), 1);
    assert_int_equal(X509_check_ca(server), 0);
    assert_int_equal(X509_verify(server, X509_get0_pubkey(ca)), 1);
    assert_int_equal(X509_check_host(server, "localhost", 0, 0, NULL), 1);
    assert_int_equal(X509_check_ip_asc(server, "127.0.0.1", 0), 1);
    assert_int_equal(X509_check_ip_asc(server, "::1", 0), 1);
    assert_int_equal(X509_check_ip_asc(server, "10.1.2.3", 0), 1);
    assert_int_equal(X509_check_ip_asc(server, "10.1.2.4", 0), 0);
    X509_free(ca);
    X509_free(server);
}

static void later_starts_keep_what_is_good(void **state)
{
    (void)state;
    AUTO(folder_deinit) struct folder folder = folder_new();
    int64_t now_ms = clock_wall_ms();
    AUTO(pki_free) struct pki *first = open_at(&folder, NULL, now_ms);
    AUTO(pki_free) struct pki *same = open_at(&folder, NULL, now_ms + 200 * DAY_MS);
    assert_string_equal(pki_certificate(first), pki_certificate(same));
    assert_string_equal(pki_key(first), pki_key(same));

    // Within 120 days of its end it is made anew, by the same authority.
    AUTO(pki_free) struct pki *renewed = open_at(&folder, NULL, now_ms + 250 * DAY_MS);
    assert_string_not_equal(pki_certificate(first), pki_certificate(renewed));
    assert_true(text_equal(pki_ca_sha256(first), pki_ca_sha256(renewed)));
    assert_true(pki_expires_at_ms(renewed) > pki_expires_at_ms(first) + 240 * DAY_MS);

    AUTO(pki_free) struct pki *named = open_at(&folder, "berth.example.org", now_ms + 250 * DAY_MS);
    assert_string_not_equal(pki_certificate(named), pki_certificate(renewed));
    AUTO(pki_free) struct pki *again = open_at(&folder, "berth.example.org", now_ms + 250 * DAY_MS);
    assert_string_equal(pki_certificate(named), pki_certificate(again));
    // What would begin another entry is no name.
    AUTO(pki_free) struct pki *odd = open_at(&folder, "a,DNS:b", now_ms + 250 * DAY_MS);
    assert_string_equal(pki_certificate(odd), pki_certificate(again));
}

static void damage_is_healed_or_told(void **state)
{
    (void)state;
    AUTO(folder_deinit) struct folder folder = folder_new();
    int64_t now_ms = clock_wall_ms();
    struct err err = {0};
    const struct pki_names names = {NULL, 0};
    AUTO(pki_free) struct pki *first = open_at(&folder, NULL, now_ms);

    assert_int_equal(file_replace(AT_FDCWD, pki_key_file(first), 0600, TEXT("x"), &err), 0);
    AUTO(pki_free) struct pki *healed = open_at(&folder, NULL, now_ms);
    assert_true(text_equal(pki_ca_sha256(first), pki_ca_sha256(healed)));

    AUTO(pki_free) struct pki *none = NULL;
    assert_int_equal(pki_open(folder.path, &names, now_ms + 3700 * DAY_MS, &none, &err),
                     ERR_CORRUPT);
    assert_non_null(strstr(err.text, "past its end"));
    AUTO(alloc_string) char *ca_key = alloc_format("%s/ca.key", folder.path);
    assert_int_equal(file_replace(AT_FDCWD, ca_key, 0600, text_of(pki_key(healed)), &err), 0);
    assert_int_equal(pki_open(folder.path, &names, now_ms, &none, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.text, "is not the key of"));
    assert_int_equal(file_replace(AT_FDCWD, pki_ca_file(first), 0644, TEXT("x"), &err), 0);
    assert_int_equal(pki_open(folder.path, &names, now_ms, &none, &err), ERR_CORRUPT);
}

// As on a full disk: files keep what they have, and nothing can be written.
static void write_nothing(bool nothing)
{
    static struct rlimit before;
    struct rlimit none = {0};
    if (nothing) {
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
        none.rlim_max = before.rlim_max;
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, nothing ? &none : &before), 0);
}

// A server must come up on a full disk, and its certificate is due long before it ends.
static void what_cannot_be_renewed_yet_serves_on(void **state)
{
    (void)state;
    AUTO(folder_deinit) struct folder folder = folder_new();
    int64_t now_ms = clock_wall_ms();
    const struct pki_names names = {NULL, 0};
    const char *name = "berth.example.org";
    const struct pki_names more = {&name, 1};
    AUTO(pki_free) struct pki *first = open_at(&folder, NULL, now_ms);
    AUTO(pki_free) struct pki *due = NULL;
    AUTO(pki_free) struct pki *named = NULL;
    AUTO(pki_free) struct pki *ended = NULL;
    struct err err = {0};
    signal(SIGXFSZ, SIG_IGN);
    write_nothing(true);
    int due_rc = pki_open(folder.path, &names, now_ms + 250 * DAY_MS, &due, &err);
    int named_rc = pki_open(folder.path, &more, now_ms, &named, &err);
    int ended_rc = pki_open(folder.path, &names, now_ms + 400 * DAY_MS, &ended, &err);
    write_nothing(false);
    assert_int_equal(due_rc, 0);
    assert_string_equal(pki_certificate(due), pki_certificate(first));
    assert_int_equal(pki_expires_at_ms(due), pki_expires_at_ms(first));
    assert_int_equal(named_rc, 0);
    assert_string_equal(pki_key(named), pki_key(first));
    assert_int_not_equal(ended_rc, 0);

    bool renewed = false;
    assert_int_equal(pki_renew(due, now_ms + 250 * DAY_MS, &renewed, &err), 0);
    assert_true(renewed);
    assert_string_not_equal(pki_certificate(due), pki_certificate(first));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_start_makes_everything),
        cmocka_unit_test(later_starts_keep_what_is_good),
        cmocka_unit_test(damage_is_healed_or_told),
        cmocka_unit_test(what_cannot_be_renewed_yet_serves_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
