#include "base/text.h"
#include "sigv4/sigv4.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "vectors.h"

#define SIGNED_AT_MS INT64_C(1440938160000) // 2015-08-30T12:36:00Z
#define HEADERS_MAX 32

static const struct text secret = {"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", 40};

struct fixture {
    struct sigv4_header headers[HEADERS_MAX];
    struct sigv4_request request;
    struct sigv4_claim claim;
    struct text reason;
    struct arena arena;
};

static void fixture_deinit(struct fixture *fixture)
{
    arena_deinit(&fixture->arena);
}
AUTO_VALUE(struct fixture, fixture_deinit)

// A header goes on in the next line when that begins with a blank.
static struct text header_cut(struct text *rest)
{
    struct text line = text_cut(rest, '\n');
    while (!text_empty(*rest) && rest->data[0] == ' ') {
        struct text more = text_cut(rest, '\n');
        line.size = (size_t)(more.data + more.size - line.data);
    }
    return line;
}

static void fixture_read(struct fixture *fixture, const char *raw)
{
    struct sigv4_request *request = &fixture->request;
    struct text rest = text_of(raw);
    struct text line = text_cut(&rest, '\n');
    request->method = text_cut(&line, ' ');
    struct text target = text_slice(line, 0, text_find_last(line, ' '));
    size_t mark = text_find(target, '?');
    request->path = text_slice(target, 0, mark);
    request->query =
        mark == SIZE_MAX ? (struct text){0} : text_slice(target, mark + 1, target.size);
    request->headers = fixture->headers;
    while (rest.data != NULL) {
        struct text header = header_cut(&rest);
        if (header.size == 0) {
            break;
        }
        assert_true(request->header_count < HEADERS_MAX);
        struct text name = text_cut(&header, ':');
        fixture->headers[request->header_count++] = (struct sigv4_header){name, header};
    }
    request->body = rest.data == NULL ? TEXT("") : rest;
}

static enum sigv4_result check(struct fixture *fixture, int64_t now_ms, struct sigv4_cache *cache)
{
    enum sigv4_result result =
        sigv4_parse(&fixture->request, &fixture->arena, &fixture->claim, &fixture->reason);
    if (result != SIGV4_OK) {
        return result;
    }
    return sigv4_verify(&fixture->request, &fixture->claim, secret, now_ms, cache, &fixture->arena,
                        &fixture->reason);
}

static void vectors_verify(void **state)
{
    (void)state;
    struct sigv4_cache *cache = sigv4_cache_new();
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        print_message("%s\n", vectors[i].name);
        AUTO(fixture_deinit) struct fixture fixture = {0};
        fixture_read(&fixture, vectors[i].request);
        // The second time, the key comes out of the cache.
        for (int round = 0; round < 2; round++) {
            enum sigv4_result result = check(&fixture, SIGNED_AT_MS + 60000, cache);
            if (result != SIGV4_OK) {
                print_message("%.*s\n", TEXT_FMT(fixture.reason));
            }
            assert_int_equal(result, SIGV4_OK);
        }
        assert_true(text_is(fixture.claim.key_id, "AKIDEXAMPLE"));
        assert_true(text_is(fixture.claim.region, "us-east-1"));
        assert_true(text_is(fixture.claim.service, "service"));
    }
    sigv4_cache_free(cache);
}

// Any other method, path, parameter, signed header or body must not verify.
static void tampering_is_noticed(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        AUTO(fixture_deinit) struct fixture fixture = {0};
        fixture_read(&fixture, vectors[i].request);
        struct sigv4_request good = fixture.request;
        assert_int_equal(check(&fixture, SIGNED_AT_MS, NULL), SIGV4_OK);

        fixture.request.method = TEXT("DELETE");
        assert_int_equal(check(&fixture, SIGNED_AT_MS, NULL), SIGV4_MISMATCH);
        fixture.request = good;
        fixture.request.path = TEXT("/elsewhere");
        assert_int_equal(check(&fixture, SIGNED_AT_MS, NULL), SIGV4_MISMATCH);
        fixture.request = good;
        fixture.request.query = arena_format(&fixture.arena, "%.*s&more=1", TEXT_FMT(good.query));
        assert_int_equal(check(&fixture, SIGNED_AT_MS, NULL), SIGV4_MISMATCH);
        fixture.request = good;
        fixture.request.query =
            arena_format(&fixture.arena, "%.*s&X-Amz-Signature=0", TEXT_FMT(good.query));
        assert_int_not_equal(check(&fixture, SIGNED_AT_MS, NULL), SIGV4_OK);
        fixture.request = good;
        fixture.request.body = TEXT("{\"other\":1}");
        bool unsigned_payload = strstr(vectors[i].name, "unsigned payload") != NULL;
        assert_int_equal(check(&fixture, SIGNED_AT_MS, NULL),
                         unsigned_payload ? SIGV4_OK : SIGV4_MISMATCH);
        fixture.request = good;
        for (size_t j = 0; j < good.header_count; j++) {
            if (text_equal_nocase(fixture.headers[j].name, TEXT("host"))) {
                fixture.headers[j].value = TEXT("evil.example.com");
            }
        }
        assert_int_equal(check(&fixture, SIGNED_AT_MS, NULL), SIGV4_MISMATCH);
    }
}

static void secret_decides(void **state)
{
    (void)state;
    struct sigv4_cache *cache = sigv4_cache_new();
    AUTO(fixture_deinit) struct fixture fixture = {0};
    fixture_read(&fixture, vectors[0].request);
    assert_int_equal(check(&fixture, SIGNED_AT_MS, cache), SIGV4_OK);
    // The cache must not let a key verify after its secret was replaced.
    assert_int_equal(sigv4_verify(&fixture.request, &fixture.claim, TEXT("another"), SIGNED_AT_MS,
                                  cache, &fixture.arena, &fixture.reason),
                     SIGV4_MISMATCH);
    assert_int_equal(check(&fixture, SIGNED_AT_MS, cache), SIGV4_OK);
    sigv4_cache_free(cache);
    sigv4_cache_free(NULL);
}

#define SCOPE "AKIDEXAMPLE/20150830/us-east-1/ecs/aws4_request"
#define HEAD "POST / HTTP/1.1\nHost:h\n"
#define DATED HEAD "X-Amz-Date:20150830T123600Z\n"

static void claims_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *request;
        enum sigv4_result want;
        const char *want_reason; ///< what the sentence begins with
    } cases[] = {
        {"nothing at all", HEAD, SIGV4_MISSING, "Missing Authentication Token"},
        {"a scheme of others", HEAD "Authorization:Basic Zm9vOmJhcg==\n", SIGV4_INCOMPLETE,
         "Unsupported AWS 'algorithm': 'Basic'"},
        {"empty", HEAD "Authorization:\n", SIGV4_INCOMPLETE, "Unsupported AWS 'algorithm': ''"},
        {"two of them",
         DATED "Authorization:AWS4-HMAC-SHA256 Credential=" SCOPE
               ",SignedHeaders=host,Signature=0\nauthorization:Basic Zm9v\n",
         SIGV4_INCOMPLETE, "A request has one Authorization header."},
        {"only the algorithm", DATED "Authorization:AWS4-HMAC-SHA256\n", SIGV4_INCOMPLETE,
         "Authorization header requires 'Credential' parameter. Authorization header requires "
         "'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. "},
        {"no date",
         HEAD "Authorization:AWS4-HMAC-SHA256 Credential=" SCOPE
              ", SignedHeaders=host, Signature=0\n",
         SIGV4_INCOMPLETE,
         "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."},
        {"no equal sign", DATED "Authorization:AWS4-HMAC-SHA256 Credential\n", SIGV4_INCOMPLETE,
         "'Credential' not a valid key=value pair (missing equal-sign) in Authorization header"},
        {"credential of three parts",
         DATED "Authorization:AWS4-HMAC-SHA256 Credential=a/b/c,SignedHeaders=host,Signature=0\n",
         SIGV4_INCOMPLETE, "Credential must have exactly 5 slash-delimited elements"},
        {"credential of six parts",
         DATED "Authorization:AWS4-HMAC-SHA256 Credential=x/" SCOPE
               ",SignedHeaders=host,Signature=0\n",
         SIGV4_INCOMPLETE, "Credential must have exactly 5 slash-delimited elements"},
        {"another terminator",
         DATED "Authorization:AWS4-HMAC-SHA256 Credential=a/20150830/r/s/aws5_request,"
               "SignedHeaders=host,Signature=0\n",
         SIGV4_INCOMPLETE, "Credential should be scoped with a valid terminator"},
        {"a date that is none",
         HEAD "X-Amz-Date:yesterday\nAuthorization:AWS4-HMAC-SHA256 Credential=" SCOPE
              ",SignedHeaders=host,Signature=0\n",
         SIGV4_INCOMPLETE, "Date must be in ISO-8601 'basic format'. Got 'yesterday'"},
        {"query without credential",
         "GET /?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0 HTTP/1.1\nHost:h\n",
         SIGV4_INCOMPLETE, "AWS query-string parameters must include 'X-Amz-Credential'"},
        {"query with two signatures",
         "GET /?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0&X-Amz-Credential=" SCOPE
         "&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Signature=1 "
         "HTTP/1.1\nHost:h\n",
         SIGV4_INCOMPLETE, "AWS query-string parameters must include 'X-Amz-Signature' once"},
        {"query that lives too long",
         "GET /?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0&X-Amz-Credential=" SCOPE
         "&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=604801 "
         "HTTP/1.1\nHost:h\n",
         SIGV4_INCOMPLETE, "X-Amz-Expires must be"},
        {"date and scope differ",
         DATED "Authorization:AWS4-HMAC-SHA256 Credential=a/20150831/r/s/aws4_request,"
               "SignedHeaders=host;x-amz-date,Signature=0\n",
         SIGV4_MISMATCH, "Date in Credential scope does not match YYYYMMDD"},
        {"host is not signed",
         DATED "Authorization:AWS4-HMAC-SHA256 Credential=" SCOPE
               ",SignedHeaders=x-amz-date,Signature=0\n",
         SIGV4_MISMATCH, "'Host' or ':authority' must be a 'SignedHeader'"},
        {"the target is not signed",
         DATED "X-Amz-Target:a.b\nAuthorization:AWS4-HMAC-SHA256 Credential=" SCOPE
               ",SignedHeaders=host;x-amz-date,Signature=0\n",
         SIGV4_MISMATCH, "There were headers present in the request which were not signed"},
        {"a name twice",
         DATED "Authorization:AWS4-HMAC-SHA256 Credential=" SCOPE
               ",SignedHeaders=host;host;x-amz-date,Signature=0\n",
         SIGV4_MISMATCH, "SignedHeaders must be distinct"},
        {"a short signature",
         DATED "Authorization:AWS4-HMAC-SHA256 Credential=" SCOPE
               ",SignedHeaders=host;x-amz-date,Signature=0\n",
         SIGV4_MISMATCH, "The request signature we calculated does not match"},
        {"another hash of the body",
         DATED "X-Amz-Content-Sha256:00\nAuthorization:AWS4-HMAC-SHA256 Credential=" SCOPE
               ",SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=0\n",
         SIGV4_MISMATCH, "The provided 'x-amz-content-sha256' header does not match"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        AUTO(fixture_deinit) struct fixture fixture = {0};
        fixture_read(&fixture, cases[i].request);
        assert_int_equal(check(&fixture, SIGNED_AT_MS, NULL), cases[i].want);
        if (!text_starts(fixture.reason, text_of(cases[i].want_reason))) {
            print_message("got: %.*s\n", TEXT_FMT(fixture.reason));
        }
        assert_true(text_starts(fixture.reason, text_of(cases[i].want_reason)));
    }
}

// Five minutes either way in header form; a pre-signed request lives for as long as it says.
static void clocks_may_differ(void **state)
{
    (void)state;
    static const struct {
        const char *vector;
        int64_t offset_ms;
        enum sigv4_result want;
    } cases[] = {
        {"aws get-vanilla header", -SIGV4_SKEW_MS, SIGV4_OK},
        {"aws get-vanilla header", -SIGV4_SKEW_MS - 1000, SIGV4_EXPIRED},
        {"aws get-vanilla header", SIGV4_SKEW_MS, SIGV4_OK},
        {"aws get-vanilla header", SIGV4_SKEW_MS + 1000, SIGV4_EXPIRED},
        {"aws get-vanilla query", -SIGV4_SKEW_MS - 1000, SIGV4_EXPIRED},
        {"aws get-vanilla query", 3600 * 1000, SIGV4_OK},
        {"aws get-vanilla query", 3600 * 1000 + 1, SIGV4_EXPIRED},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(fixture_deinit) struct fixture fixture = {0};
        size_t at = 0;
        while (strcmp(vectors[at].name, cases[i].vector) != 0) {
            at++;
            assert_true(at < ARRAY_LEN(vectors));
        }
        fixture_read(&fixture, vectors[at].request);
        assert_int_equal(check(&fixture, SIGNED_AT_MS + cases[i].offset_ms, NULL), cases[i].want);
    }
}

static void what_we_sign_verifies(void **state)
{
    (void)state;
    static const char *const requests[] = {
        ("POST / HTTP/1.1\nHost:127.0.0.1:4566\nContent-Type:application/x-amz-json-1.1\n"
         "X-Amz-Target:Berth.ListNodes\n\n{}"),
        "GET /acs/ws?b=%20x&a=1&a=0 HTTP/1.1\nHost:h\n\n",
        "GET /a%20b/../c?x HTTP/1.1\nHost:h\nX-Two:  a   b \nx-two:c\n\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        for (int token = 0; token < 2; token++) {
            AUTO(fixture_deinit) struct fixture fixture = {0};
            fixture_read(&fixture, requests[i]);
            const struct sigv4_identity identity = {
                .key_id = TEXT("AKIDEXAMPLE"),
                .secret = secret,
                .session_token = token == 1 ? TEXT("to/k+en==") : (struct text){0},
                .region = TEXT("eu-west-1"),
                .service = TEXT("ecs"),
            };
            struct sigv4_request plain = fixture.request;
            struct sigv4_signature signature;
            sigv4_sign(&plain, &identity, SIGNED_AT_MS, &fixture.arena, &signature);
            size_t *count = &fixture.request.header_count;
            fixture.headers[(*count)++] =
                (struct sigv4_header){TEXT("X-Amz-Date"), signature.amz_date};
            fixture.headers[(*count)++] =
                (struct sigv4_header){TEXT("X-Amz-Content-Sha256"), signature.content_sha256};
            fixture.headers[(*count)++] =
                (struct sigv4_header){TEXT("Authorization"), signature.authorization};
            if (token == 1) {
                fixture.headers[(*count)++] =
                    (struct sigv4_header){TEXT("X-Amz-Security-Token"), identity.session_token};
            }
            assert_int_equal(check(&fixture, SIGNED_AT_MS, NULL), SIGV4_OK);
            assert_true(text_equal(fixture.claim.session_token, identity.session_token));

            fixture.request = plain;
            fixture.request.query =
                sigv4_presign(&plain, &identity, SIGNED_AT_MS, 60, &fixture.arena);
            assert_int_equal(check(&fixture, SIGNED_AT_MS, NULL), SIGV4_OK);
            assert_int_equal(fixture.claim.expires_s, 60);
            assert_true(text_equal(fixture.claim.session_token, identity.session_token));
        }
    }
}

// The published example with a signed payload: our signer must give the very same signature.
static void signing_matches_the_suite(void **state)
{
    (void)state;
    AUTO(fixture_deinit) struct fixture fixture = {0};
    fixture_read(&fixture, "POST / HTTP/1.1\n"
                           "Content-Type:application/x-www-form-urlencoded\n"
                           "Host:example.amazonaws.com\nContent-Length:13\n\nParam1=value1");
    const struct sigv4_identity identity = {.key_id = TEXT("AKIDEXAMPLE"),
                                            .secret = secret,
                                            .region = TEXT("us-east-1"),
                                            .service = TEXT("service")};
    struct sigv4_signature signature;
    sigv4_sign(&fixture.request, &identity, SIGNED_AT_MS, &fixture.arena, &signature);
    assert_string_equal(
        signature.authorization.data,
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        "SignedHeaders=content-length;content-type;host;x-amz-content-sha256;x-amz-date, "
        "Signature=d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_verify),
        cmocka_unit_test(tampering_is_noticed),
        cmocka_unit_test(secret_decides),
        cmocka_unit_test(claims_are_refused),
        cmocka_unit_test(clocks_may_differ),
        cmocka_unit_test(what_we_sign_verifies),
        cmocka_unit_test(signing_matches_the_suite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
