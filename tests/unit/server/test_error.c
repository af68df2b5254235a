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

// Nothing a client does wrong may look like our fault, and every error has all its names.
static void the_table_is_whole(void **state)
{
    (void)state;
    for (int error = FRONT_OK; error < FRONT_COUNT; error++) {
        struct refusal refusal = refusal_front((enum front_error)error, TEXT(""));
        assert_non_null(refusal.code);
        assert_non_null(refusal.query_code);
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
        cmocka_unit_test(the_table_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
