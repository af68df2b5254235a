#include "api/ecs.h"
#include "api/sts.h"
#include "base/text.h"
#include "server/server_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void expect(const struct refusal *refusal, const struct api_service *service,
                   enum api_protocol protocol, const char *want)
{
    AUTO(buf_deinit) struct buf out = {0};
    refusal_write(refusal, service, protocol, TEXT("id-1"), &out);
    if (strstr(out.data, want) == NULL) {
        print_message("wanted '%s' in '%s'\n", want, out.data);
        fail();
    }
}

static void json_bodies(void **state)
{
    (void)state;
    struct refusal refusal = refusal_front(FRONT_THROTTLING, TEXT("a \"quoted\"\nline"));
    assert_int_equal(refusal.json_status, 400);
    expect(&refusal, NULL, API_JSON_1_1,
           "{\"__type\":\"ThrottlingException\",\"message\":\"a \\\"quoted\\\"\\nline\"}");

    // Messages quote what clients sent; the body must be JSON whatever that was.
    refusal = refusal_front(FRONT_SERIALIZATION, TEXT("\xff\xc3"));
    expect(&refusal, NULL, API_JSON_1_1, "\"message\":\"??\"}");

    struct text ids[] = {TEXT("arn:a"), TEXT("arn:b")};
    refusal = refusal_modelled(&ecs_error_conflict_exception, TEXT("m"));
    refusal.resource_ids = (struct text_list){ids, ARRAY_LEN(ids)};
    assert_int_equal(refusal.json_status, 400);
    expect(&refusal, &ecs_service, API_JSON_1_1,
           "{\"__type\":\"ConflictException\",\"message\":\"m\",\"resourceIds\":[\"arn:a\","
           "\"arn:b\"]}");
    refusal = refusal_modelled(&ecs_error_server_exception, TEXT("m"));
    assert_int_equal(refusal.json_status, 500);
}

static void xml_bodies(void **state)
{
    (void)state;
    struct refusal refusal = refusal_front(FRONT_UNRECOGNIZED_CLIENT, TEXT("<no> & \xff"));
    assert_int_equal(refusal.query_status, 403);
    expect(&refusal, &sts_service, API_QUERY, "<Code>InvalidClientTokenId</Code>");
    expect(&refusal, &sts_service, API_QUERY, "<Message>&lt;no&gt; &amp; ?</Message>");
    expect(&refusal, &sts_service, API_QUERY, "https://sts.amazonaws.com/doc/2011-06-15/");
    expect(&refusal, &sts_service, API_QUERY, "<RequestId>id-1</RequestId>");
    expect(&refusal, NULL, API_QUERY, "<Type>Sender</Type>");
}

// EC2 answers in codes of its own, in its own words, and says then what was wrong.
static void ec2_bodies(void **state)
{
    (void)state;
    static const struct {
        enum front_error error;
        const char *want;
        int status;
    } cases[] = {
        {FRONT_INVALID_SIGNATURE,
         "<Code>AuthFailure</Code><Message>AWS was not able to validate the provided access "
         "credentials. m</Message>",
         401},
        {FRONT_UNRECOGNIZED_CLIENT, "<Code>AuthFailure</Code>", 401},
        {FRONT_EXPIRED_TOKEN, "<Code>RequestExpired</Code><Message>Request has expired. m<", 400},
        {FRONT_ACCESS_DENIED, "<Code>UnauthorizedOperation</Code>", 403},
        {FRONT_THROTTLING, "<Code>RequestLimitExceeded</Code>", 503},
        {FRONT_UNAVAILABLE, "<Code>Unavailable</Code><Message>m</Message>", 503},
        {FRONT_INTERNAL, "<Code>InternalError</Code>", 500},
        {FRONT_MISSING_AUTHENTICATION, "<Code>MissingAuthenticationToken</Code>", 403},
        {FRONT_UNKNOWN_OPERATION, "<Code>InvalidAction</Code><Message>m</Message>", 400},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct refusal refusal = refusal_front(cases[i].error, TEXT("m"));
        expect(&refusal, NULL, API_EC2, cases[i].want);
        assert_int_equal(refusal_status(&refusal, API_EC2), cases[i].status);
    }
    const struct refusal modelled =
        refusal_modelled(&ecs_error_cluster_not_found_exception, TEXT("m"));
    expect(&modelled, NULL, API_EC2, "<Message>m</Message>");
}

// Nothing a client does wrong may look like our fault, and every error has all its names.
static void the_table_is_whole(void **state)
{
    (void)state;
    for (int error = FRONT_OK; error < FRONT_COUNT; error++) {
        struct refusal refusal = refusal_front((enum front_error)error, TEXT(""));
        assert_non_null(refusal.code);
        assert_non_null(refusal.query_code);
        assert_non_null(refusal.ec2_code);
        assert_non_null(refusal.ec2_text);
        bool ours =
            error == FRONT_NOT_IMPLEMENTED || error == FRONT_UNAVAILABLE || error == FRONT_INTERNAL;
        assert_int_equal(refusal.json_status >= 500, ours);
        assert_int_equal(refusal.query_status >= 500, ours);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_bodies),
        cmocka_unit_test(xml_bodies),
        cmocka_unit_test(ec2_bodies),
        cmocka_unit_test(the_table_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
