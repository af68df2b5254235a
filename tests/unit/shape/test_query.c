#include "api/ec2.h"
#include "api/ecs.h"
#include "api/kinds.h"
#include "api/sts.h"
#include "base/text.h"
#include "fixture.h"
#include "shape/api.h"
#include "shape/json.h"
#include "shape/query.h"
#include "test.h"

#include <libxml/parser.h>
#include <string.h>

// What query_decode() takes for a form, written as JSON.
static void query_decode_reads(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *form;
        const char *want;
    } cases[] = {
        {"nothing", "", "{}"},
        {"Action, Version and unknown parameters", "Action=X&Version=1&x.member.1.y=2", "{}"},
        {"plain members", "flag=true&small=-1&big=9223372036854775807&ratio=0.5&text=a",
         "{\"flag\":true,\"small\":-1,\"big\":9223372036854775807,\"ratio\":0.5,\"text\":\"a\"}"},
        {"escapes in keys and values", "te%78t=a%20b+c%26%C3%a9", "{\"text\":\"a b c&\xC3\xA9\"}"},
        {"an empty text", "text=", "{\"text\":\"\"}"},
        {"a parameter without a value", "text", "{\"text\":\"\"}"},
        {"a value with an equals sign", "text=a=b", "{\"text\":\"a=b\"}"},
        {"empty parameters", "&&small=1&", "{\"small\":1}"},
        {"a time", "at=2023-11-14T22:13:20Z", "{\"at\":1700000000}"},
        {"a time with a fraction", "at=2023-11-14T22:13:20.0079Z", "{\"at\":1700000000.007}"},
        {"a leap day", "at=2024-02-29T00:00:00Z", "{\"at\":1709164800}"},
        {"before 1970", "at=1969-12-31T23:59:59Z", "{\"at\":-1}"},
        {"the first year", "at=0000-01-01T00:00:00Z", "{\"at\":-62167219200}"},
        {"base64", "bytes=AP%2B%2F", "{\"bytes\":\"AP+/\"}"},
        {"an enum", "color=dark-green", "{\"color\":\"dark-green\"}"},
        {"a struct", "leaf.name=a&leaf.size=2", "{\"leaf\":{\"name\":\"a\",\"size\":2}}"},
        {"a list in any order", "texts.member.10=c&texts.member.2=b&texts.member.1=a",
         "{\"texts\":[\"a\",\"b\",\"c\"]}"},
        {"a list with gaps", "texts.member.7=b&texts.member.3=a", "{\"texts\":[\"a\",\"b\"]}"},
        {"a flattened list", "texts.2=b&texts.1=a", "{\"texts\":[\"a\",\"b\"]}"},
        {"an empty list", "texts=", "{\"texts\":[]}"},
        {"structs in a list",
         "leaves.member.1.name=a&leaves.member.2.size=2&leaves.member.1.size=1",
         "{\"leaves\":[{\"name\":\"a\",\"size\":1},{\"size\":2}]}"},
        {"a map", "labels.entry.1.key=k&labels.entry.1.value=v", "{\"labels\":{\"k\":\"v\"}}"},
        {"a flattened map", "labels.1.value=v&labels.1.key=k", "{\"labels\":{\"k\":\"v\"}}"},
        {"a map of structs", "byName.entry.1.key=k&byName.entry.1.value.size=3",
         "{\"byName\":{\"k\":{\"size\":3}}}"},
        {"lists in lists", "grid.member.1.member.1=a&grid.member.2.member.1=b",
         "{\"grid\":[[\"a\"],[\"b\"]]}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        AUTO(arena_deinit) struct arena arena = {0};
        AUTO(buf_deinit) struct buf json = {0};
        struct text form = fixture_exact(cases[i].form, strlen(cases[i].form));
        struct shape_error error = {0};
        struct kinds_form value;
        int rc = query_decode(QUERY_AWS, &kinds_form_shape, form, &arena, &value, &error);
        alloc_free((void *)(uintptr_t)form.data);
        assert_string_equal(error.text, "");
        assert_int_equal(rc, 0);
        json_encode(&kinds_form_shape, &value, &json);
        assert_string_equal(json.data, cases[i].want);
    }
}

static void query_decode_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *form;
        const char *want_path;
        const char *want_text;
    } cases[] = {
        {"an escape cut short", "text=%4", "", "parameter 1 is not form-encoded UTF-8"},
        {"an escape that is none", "a=b&text=%zz", "", "parameter 2 is not form-encoded UTF-8"},
        {"a zero byte", "text=%00", "", "parameter 1 is not form-encoded UTF-8"},
        {"broken UTF-8", "text=%ff", "", "parameter 1 is not form-encoded UTF-8"},
        {"a parameter twice", "small=1&small=2", "small", "is there twice"},
        {"a bool that is none", "flag=yes", "flag", "expected true or false"},
        {"an integer with a plus", "small=%2B1", "small", "expected an integer of 32 bits"},
        {"33 bits", "small=2147483648", "small", "expected an integer of 32 bits"},
        {"65 bits", "big=9223372036854775808", "big", "expected an integer"},
        {"a number in hexadecimal", "ratio=0x1p3", "ratio", "expected a number"},
        {"a number by name", "ratio=inf", "ratio", "expected a number"},
        {"a number out of range", "ratio=1e999", "ratio", "expected a number"},
        {"no number", "ratio=", "ratio", "expected a number"},
        {"a day that is none", "at=2023-02-29T00:00:00Z", "at",
         "expected a time such as 2006-01-02T15:04:05Z"},
        {"a time without zone", "at=2023-02-28T00:00:00", "at",
         "expected a time such as 2006-01-02T15:04:05Z"},
        {"a time with an empty fraction", "at=2023-02-28T00:00:00.Z", "at",
         "expected a time such as 2006-01-02T15:04:05Z"},
        {"a time in seconds", "at=1700000000", "at",
         "expected a time such as 2006-01-02T15:04:05Z"},
        {"base64 that is none", "bytes=A", "bytes", "expected base64"},
        {"a member of a text", "text.a=1", "text.a", "has no members"},
        {"a text for a struct", "leaf=1", "leaf", "expected members"},
        {"a text for a list", "texts=a", "texts", "expected the number of an item"},
        {"an item that is no number", "texts.member.a=1", "texts.member.a",
         "expected the number of an item"},
        {"item 0", "texts.member.0=1", "texts.member.0", "expected the number of an item"},
        {"an item with a leading zero", "texts.member.01=1", "texts.member.01",
         "expected the number of an item"},
        {"an item too large", "texts.member.9999999999=1", "texts.member.9999999999",
         "expected the number of an item"},
        {"an item twice", "texts.member.1=1&texts.member.1=2", "texts.member.1", "is there twice"},
        {"both kinds of lists", "texts.member.1=1&texts.1=2", "texts.member.1",
         "expected the number of an item"},
        {"an entry without a key", "labels.entry.1.value=v", "labels.entry.1.value",
         "expected a key and a value"},
        {"an entry without a value", "labels.entry.1.key=k", "labels.entry.1.key",
         "expected a key and a value"},
        {"a key twice",
         "labels.entry.1.key=k&labels.entry.1.value=v&labels.entry.2.key=k&labels.entry.2.value=v",
         "labels.entry.1.key", "has the same key twice"},
        {"inside an element", "leaves.member.1.size=x", "leaves.member.1.size",
         "expected an integer of 32 bits"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        AUTO(arena_deinit) struct arena arena = {0};
        struct text form = fixture_exact(cases[i].form, strlen(cases[i].form));
        struct shape_error error = {0};
        struct kinds_form value = {.small = 77};
        int rc = query_decode(QUERY_AWS, &kinds_form_shape, form, &arena, &value, &error);
        alloc_free((void *)(uintptr_t)form.data);
        assert_string_equal(error.text, cases[i].want_text);
        assert_string_equal(error.path, cases[i].want_path);
        assert_int_equal(rc, ERR_INVALID);
        assert_int_equal(value.small, 77);
    }
}

static void query_decode_bounds_parameters(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf form = {0};
    for (size_t i = 0; i < 10000; i++) {
        buf_string(&form, "a=1&");
    }
    struct shape_error error = {0};
    struct kinds_form value;
    assert_int_equal(
        query_decode(QUERY_AWS, &kinds_form_shape, buf_view(&form), &arena, &value, &error),
        ERR_INVALID);
    assert_string_equal(error.text, "has more than 10000 parameters");
}

// The fixture's form, which is written by other means, must give the fixture's value.
static void query_decode_round_trips(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf form = {0};
    const struct kinds_form *value = fixture_value(&kinds_form_shape, &arena);
    struct shape_error error = {0};
    struct kinds_form decoded;
    fixture_form(&kinds_form_shape, value, &form);
    assert_int_equal(
        query_decode(QUERY_AWS, &kinds_form_shape, buf_view(&form), &arena, &decoded, &error), 0);
    assert_true(shape_equal(&kinds_form_shape, value, &decoded));
}

// Whatever is cut off decodes or is refused; nothing behind the end is read.
static void query_decode_survives_truncation(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf whole = {0};
    fixture_form(&kinds_form_shape, fixture_value(&kinds_form_shape, &arena), &whole);
    for (size_t size = 0; size < whole.size; size += 3) {
        AUTO(arena_deinit) struct arena scratch = {0};
        struct text form = fixture_exact(whole.data, size);
        struct shape_error error = {0};
        struct kinds_form value;
        IGNORE(query_decode(QUERY_AWS, &kinds_form_shape, form, &scratch, &value, &error),
               "either is fine");
        alloc_free((void *)(uintptr_t)form.data);
    }
}

static void query_parameter_finds(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *form;
        const char *want; // NULL for absent
    } cases[] = {
        {"the first", "Action=A&Version=1", "A"},
        {"a later one", "Version=1&Action=B", "B"},
        {"the first of two", "Action=A&Action=B", "A"},
        {"an escaped one", "%41ction=%42+c", "B c"},
        {"an empty one", "Action=", ""},
        {"none", "Actions=A&xAction=B", NULL},
        {"a broken one", "Action=%4", NULL},
        {"behind a broken one", "%4=1&Action=A", "A"},
        {"of nothing", "", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        AUTO(arena_deinit) struct arena arena = {0};
        struct text found = query_parameter(text_of(cases[i].form), TEXT("Action"), &arena);
        assert_true(text_equal(found, text_of(cases[i].want)));
    }
    AUTO(arena_deinit) struct arena arena = {0};
    assert_null(query_parameter((struct text){0}, TEXT("Action"), &arena).data);
}

static void query_encode_writes(void **state)
{
    (void)state;
    AUTO(buf_deinit) struct buf out = {0};
    const struct sts_get_caller_identity_response response = {
        .user_id = TEXT("AKID<&>\"\r\n\x01\xFF\xEF\xBF\xBF"),
        .account = TEXT("000000000000"),
    };
    const struct query_envelope envelope = {TEXT("GetCallerIdentity"),
                                            text_of(sts_service.xml_namespace), TEXT("id-1")};
    query_encode(QUERY_AWS, &sts_get_caller_identity_response_shape, &response, &envelope, &out);
    assert_string_equal(
        out.data, "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"
                  "<GetCallerIdentityResult><UserId>AKID&lt;&amp;&gt;&quot;&#xD;\n"
                  "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD</UserId>"
                  "<Account>000000000000</Account></GetCallerIdentityResult>"
                  "<ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata>"
                  "</GetCallerIdentityResponse>");
}

static const struct query_envelope envelope_op = {
    {"Op", 2},
    {"urn:x", 5},
    {"r", 1},
};

static void query_encode_writes_every_kind(void **state)
{
    (void)state;
    struct text texts[] = {TEXT("a"), TEXT("")};
    struct kinds_leaf leaves[] = {{.name = TEXT("x"), .has_size = true, .size = 1}};
    struct text_entry labels[] = {{TEXT("k"), TEXT("v")}};
    const struct kinds_everything value = {
        .has_flag = true,
        .has_small = true,
        .small = -3,
        .has_ratio = true,
        .ratio = 2,
        .at = 1709164800001,
        .bytes = TEXT("abc"),
        .raw = TEXT("{\"a\":1}"),
        .color = KINDS_COLOR_DARK_GREEN,
        .leaf = leaves,
        .texts = {texts, 2},
        .smalls = {SHAPE_EMPTY, 0},
        .leaves = {leaves, 1},
        .labels = {labels, 1},
    };
    AUTO(buf_deinit) struct buf out = {0};
    query_encode(QUERY_AWS, &kinds_everything_shape, &value, &envelope_op, &out);
    assert_string_equal(
        out.data, "<OpResponse xmlns=\"urn:x\"><OpResult><flag>false</flag><small>-3</small>"
                  "<ratio>2.0</ratio><at>2024-02-29T00:00:00.001Z</at><bytes>YWJj</bytes>"
                  "<raw>{&quot;a&quot;:1}</raw><color>dark-green</color>"
                  "<leaf><name>x</name><size>1</size></leaf>"
                  "<texts><member>a</member><member></member></texts><smalls></smalls>"
                  "<leaves><member><name>x</name><size>1</size></member></leaves>"
                  "<labels><entry><key>k</key><value>v</value></entry></labels></OpResult>"
                  "<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></OpResponse>");
}

static void query_encode_writes_times(void **state)
{
    (void)state;
    static const struct {
        int64_t time_ms;
        const char *want;
    } cases[] = {
        {1, "1970-01-01T00:00:00.001Z"},           {-1, "1969-12-31T23:59:59.999Z"},
        {1700000000000, "2023-11-14T22:13:20Z"},   {951782400000, "2000-02-29T00:00:00Z"},
        {4107542399000, "2100-02-28T23:59:59Z"},   {4107542400000, "2100-03-01T00:00:00Z"},
        {-62167219200000, "0000-01-01T00:00:00Z"}, {253402300799999, "9999-12-31T23:59:59.999Z"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(arena_deinit) struct arena arena = {0};
        AUTO(buf_deinit) struct buf out = {0};
        const struct kinds_everything value = {.at = cases[i].time_ms};
        query_encode(QUERY_AWS, &kinds_everything_shape, &value, &envelope_op, &out);
        assert_non_null(strstr(out.data, cases[i].want));
        // Reading is the inverse of writing.
        AUTO(alloc_string) char *form = alloc_format("at=%s", cases[i].want);
        struct shape_error error = {0};
        struct kinds_form decoded;
        assert_int_equal(
            query_decode(QUERY_AWS, &kinds_form_shape, text_of(form), &arena, &decoded, &error), 0);
        assert_int_equal(decoded.at, cases[i].time_ms);
    }
}

static void query_encode_error_writes(void **state)
{
    (void)state;
    AUTO(buf_deinit) struct buf out = {0};
    query_encode_error(TEXT("AccessDenied"), TEXT("no <way>"), 403, TEXT("urn:x"), TEXT("r"), &out);
    assert_string_equal(out.data, "<ErrorResponse xmlns=\"urn:x\"><Error><Type>Sender</Type>"
                                  "<Code>AccessDenied</Code><Message>no &lt;way&gt;</Message>"
                                  "</Error><RequestId>r</RequestId></ErrorResponse>");
    buf_reset(&out);
    query_encode_error(TEXT("InternalFailure"), TEXT(""), 500, TEXT("urn:x"), TEXT("r"), &out);
    assert_non_null(strstr(out.data, "<Type>Receiver</Type>"));
}

// Names begin with a capital, lists are flattened, and a list may not be called `member`.
static void query_decode_reads_ec2(void **state)
{
    (void)state;
    static const struct {
        const char *form;
        const char *want; // JSON; NULL when it is refused
    } cases[] = {
        {"GroupId=sg-1&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=80"
         "&IpPermissions.1.IpRanges.1.CidrIp=0.0.0.0/0&IpPermissions.1.IpRanges.1.Description=a"
         "&IpPermissions.1.Groups.2.GroupId=sg-2&DryRun=true",
         "{\"GroupId\":\"sg-1\",\"IpPermissions\":[{\"ipProtocol\":\"tcp\",\"fromPort\":80,"
         "\"groups\":[{\"groupId\":\"sg-2\"}],\"ipRanges\":[{\"description\":\"a\","
         "\"cidrIp\":\"0.0.0.0/0\"}]}],\"dryRun\":true}"},
        {"groupId=sg-1", "{}"},
        {"IpPermissions.member.1.IpProtocol=tcp", NULL},
        {"FromPort=x", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].form);
        AUTO(arena_deinit) struct arena arena = {0};
        AUTO(buf_deinit) struct buf out = {0};
        struct shape_error error = {0};
        struct ec2_authorize_security_group_ingress_request value = {0};
        int rc = query_decode(QUERY_EC2, &ec2_authorize_security_group_ingress_request_shape,
                              text_of(cases[i].form), &arena, &value, &error);
        assert_int_equal(rc, cases[i].want == NULL ? ERR_INVALID : 0);
        if (rc == 0) {
            json_encode(&ec2_authorize_security_group_ingress_request_shape, &value, &out);
            assert_string_equal(out.data, cases[i].want);
        }
    }
}

static void query_encode_writes_ec2(void **state)
{
    (void)state;
    AUTO(buf_deinit) struct buf out = {0};
    struct text names[] = {TEXT("a"), TEXT("b")};
    struct ec2_network_interface eni = {.network_interface_id = TEXT("eni-1"),
                                        .associated_subnet_set = {names, 2}};
    const struct ec2_describe_network_interfaces_result value = {.network_interface_set = {&eni, 1},
                                                                 .next_token = TEXT("n")};
    query_encode(QUERY_EC2, &ec2_describe_network_interfaces_result_shape, &value, &envelope_op,
                 &out);
    assert_string_equal(
        out.data, "<OpResponse xmlns=\"urn:x\"><requestId>r</requestId><networkInterfaceSet><item>"
                  "<networkInterfaceId>eni-1</networkInterfaceId><associatedSubnetSet>"
                  "<item>a</item><item>b</item></associatedSubnetSet></item></networkInterfaceSet>"
                  "<nextToken>n</nextToken></OpResponse>");
    buf_reset(&out);
    query_encode_ec2_error(TEXT("InvalidGroup.NotFound"), TEXT("no <x>"), TEXT("r"), &out);
    assert_string_equal(out.data, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors>"
                                  "<Error><Code>InvalidGroup.NotFound</Code><Message>no "
                                  "&lt;x&gt;</Message></Error></Errors><RequestID>r</RequestID>"
                                  "</Response>");
}

// Another reader must accept what any value gives.
static void query_encode_is_well_formed(void **state)
{
    (void)state;
    for (size_t i = 0; i < ecs_service.operation_count; i++) {
        AUTO(arena_deinit) struct arena arena = {0};
        AUTO(buf_deinit) struct buf out = {0};
        const struct api_operation *operation = &ecs_service.operations[i];
        const struct query_envelope envelope = {text_of(operation->name), TEXT("urn:x"), TEXT("r")};
        query_encode(QUERY_AWS, operation->output, fixture_value(operation->output, &arena),
                     &envelope, &out);
        xmlDoc *document = xmlReadMemory(out.data, (int)out.size, "", "UTF-8",
                                         XML_PARSE_NONET | XML_PARSE_NOERROR);
        assert_non_null(document);
        xmlFreeDoc(document);
    }
    xmlCleanupParser();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(query_decode_reads),
        cmocka_unit_test(query_decode_refuses),
        cmocka_unit_test(query_decode_bounds_parameters),
        cmocka_unit_test(query_decode_round_trips),
        cmocka_unit_test(query_decode_survives_truncation),
        cmocka_unit_test(query_parameter_finds),
        cmocka_unit_test(query_encode_writes),
        cmocka_unit_test(query_encode_writes_every_kind),
        cmocka_unit_test(query_encode_writes_times),
        cmocka_unit_test(query_encode_error_writes),
        cmocka_unit_test(query_encode_is_well_formed),
        cmocka_unit_test(query_decode_reads_ec2),
        cmocka_unit_test(query_encode_writes_ec2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
