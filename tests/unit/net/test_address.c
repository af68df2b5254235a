#include "base/err.h"
#include "net/net_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void net_parse_address_is_strict(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int want_rc;
        uint32_t want;
    } cases[] = {
        {"0.0.0.0", 0, 0},
        {"172.31.0.1", 0, 0xac1f0001},
        {"255.255.255.255", 0, 0xffffffff},
        {"1.2.3", ERR_INVALID, 0},
        {"1.2.3.4.5", ERR_INVALID, 0},
        {"1.2.3.256", ERR_INVALID, 0},
        {"1.2.3.04", ERR_INVALID, 0}, // some read this as octal
        {"1.2.3.-4", ERR_INVALID, 0},
        {"1.2.3.4 ", ERR_INVALID, 0},
        {"1..3.4", ERR_INVALID, 0},
        {"", ERR_INVALID, 0},
        {"0x1.2.3.4", ERR_INVALID, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("'%s'\n", cases[i].text);
        uint32_t address = 0;
        assert_int_equal(net_parse_address(text_of(cases[i].text), &address), cases[i].want_rc);
        assert_int_equal(address, cases[i].want);
        if (cases[i].want_rc == 0) {
            char text[16];
            net_format_address(address, text);
            assert_string_equal(text, cases[i].text);
        }
    }
}

static void net_parse_range_wants_no_host_bits(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int want_rc;
    } cases[] = {
        {"172.31.0.0/16", 0},
        {"0.0.0.0/0", 0},
        {"10.0.0.1/32", 0},
        {"172.31.0.1/16", ERR_INVALID},
        {"10.0.0.0/33", ERR_INVALID},
        {"10.0.0.0", ERR_INVALID},
        {"10.0.0.0/", ERR_INVALID},
        {"/8", ERR_INVALID},
        {"10.0.0.0/8/8", ERR_INVALID},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("'%s'\n", cases[i].text);
        struct net_range range;
        assert_int_equal(net_parse_range(text_of(cases[i].text), &range), cases[i].want_rc);
    }
}

static struct net_range range_of(const char *text)
{
    struct net_range range = {0};
    assert_int_equal(net_parse_range(text_of(text), &range), 0);
    return range;
}

static void net_ranges_overlap_both_ways(void **state)
{
    (void)state;
    static const struct {
        const char *a;
        const char *b;
        bool want;
    } cases[] = {
        {"172.31.0.0/16", "172.31.0.0/16", true},  {"172.31.0.0/16", "172.31.128.0/20", true},
        {"172.16.0.0/12", "172.31.0.0/16", true},  {"0.0.0.0/0", "10.0.0.0/8", true},
        {"172.31.0.0/16", "172.30.0.0/16", false}, {"10.0.0.0/9", "10.128.0.0/9", false},
        {"10.0.0.0/31", "10.0.0.2/31", false},     {"10.0.0.0/32", "10.0.0.0/31", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s %s\n", cases[i].a, cases[i].b);
        assert_int_equal(net_ranges_overlap(range_of(cases[i].a), range_of(cases[i].b)),
                         cases[i].want);
        assert_int_equal(net_ranges_overlap(range_of(cases[i].b), range_of(cases[i].a)),
                         cases[i].want);
    }
    assert_true(net_range_has(range_of("10.0.0.0/8"), 0x0affffff));
    assert_false(net_range_has(range_of("10.0.0.0/8"), 0x0b000000));
    assert_true(net_range_has(range_of("0.0.0.0/0"), 0xffffffff));
}

static void net_parse_mac_wants_one_host(void **state)
{
    (void)state;
    uint8_t mac[6];
    assert_int_equal(net_parse_mac(TEXT("02:aB:00:00:01:ff"), mac), 0);
    assert_int_equal(mac[1], 0xab);
    const char *const refused[] = {"",
                                   "02:ab:00:00:01",
                                   "02-ab-00-00-01-ff",
                                   "02:ab:00:00:01:fg",
                                   "01:00:5e:00:00:01",
                                   "ff:ff:ff:ff:ff:ff",
                                   "00:00:00:00:00:00",
                                   "02:ab:00:00:01:ff:"};
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        print_message("'%s'\n", refused[i]);
        assert_int_equal(net_parse_mac(text_of(refused[i]), mac), ERR_INVALID);
    }
}

// Transit ranges stay inside what RFC 3927 gives, and off what clouds and ECS use in it.
static void net_transit_candidate_is_in_range(void **state)
{
    (void)state;
    size_t different = 0;
    uint32_t before = 0;
    for (uint32_t n = 0; n < 20000; n++) {
        uint32_t address = net_transit_candidate("1a2b3c4d", TEXT("vpc-0123456789abcdef0"), n);
        uint32_t octet = address >> 8 & 255;
        assert_int_equal(address >> 16, 169 << 8 | 254);
        assert_int_equal(address & 1, 0);
        assert_true(octet >= 1);
        assert_true(octet <= 254);
        assert_true(octet != 169);
        assert_true(octet != 170);
        different += address != before ? 1 : 0;
        before = address;
    }
    assert_true(different > 19000);
    assert_int_equal(net_transit_candidate("1a2b3c4d", TEXT("vpc-1"), 0),
                     net_transit_candidate("1a2b3c4d", TEXT("vpc-1"), 0));
    assert_int_not_equal(net_transit_candidate("1a2b3c4d", TEXT("vpc-1"), 0),
                         net_transit_candidate("1a2b3c4e", TEXT("vpc-1"), 0));
}

static void names_fit_and_differ(void **state)
{
    (void)state;
    char name[NET_LINK_NAME_SIZE];
    char other[NET_LINK_NAME_SIZE];
    struct text id = TEXT("vpc-0123456789abcdef0");
    net_transit_link_name("1a2b3c4d", id, 0, name);
    net_transit_link_name("1a2b3c4d", id, 1, other);
    assert_int_equal(strlen(name), 15);
    assert_memory_equal(name, "bt1a2b3c4d", 10);
    assert_string_not_equal(name, other); // a second choice should hashes collide
    net_bridge_name(TEXT("subnet-0123456789abcdef0"), name);
    net_bridge_name(TEXT("subnet-0123456789abcdef1"), other);
    assert_int_equal(strlen(name), 15);
    assert_string_not_equal(name, other);

    // 5,000 ENIs whose ids differ in their last digits only.
    static char names[5000][NET_LINK_NAME_SIZE];
    for (int i = 0; i < 5000; i++) {
        char eni[32];
        snprintf(eni, sizeof(eni), "eni-%017x", (unsigned)i);
        net_eni_link_name(text_of(eni), names[i]);
        assert_true(strlen(names[i]) < NET_LINK_NAME_SIZE);
        for (int k = 0; k < i; k++) {
            assert_int_not_equal(memcmp(names[k], names[i], NET_LINK_NAME_SIZE), 0);
        }
    }
}

static void net_id_valid_keeps_paths_out(void **state)
{
    (void)state;
    assert_true(net_id_valid(TEXT("eni-0123456789abcdef0")));
    const char *const refused[] = {
        "",    ".",   "..",
        "a/b", "-a",  "A",
        "a b", "a\n", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        assert_false(net_id_valid(text_of(refused[i])));
    }
}

static void count_candidates(enum net_use use)
{
    struct net_range range;
    uint32_t n = 0;
    while (net_candidate(use, n, &range) == 0) {
        bool is_private = range.address >> 24 == 10 || range.address >> 20 == 0xac1;
        assert_true(is_private);
        n++;
    }
    assert_int_equal(n, 16 + 256);
}

// A VPC begins as AWS's default one, the bridge network as Docker's, and they go different ways.
static void net_candidate_starts_as_expected(void **state)
{
    (void)state;
    static const struct {
        enum net_use use;
        uint32_t n;
        uint32_t address;
    } cases[] = {
        {NET_USE_VPC, 0, 0xac1f0000},     {NET_USE_VPC, 1, 0xac1e0000},
        {NET_USE_VPC, 15, 0xac100000},    {NET_USE_VPC, 16, 0x0aff0000},
        {NET_USE_BRIDGE, 0, 0xac110000},  {NET_USE_BRIDGE, 1, 0xac120000},
        {NET_USE_BRIDGE, 15, 0xac100000}, {NET_USE_BRIDGE, 17, 0x0a010000},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct net_range range;
        print_message("%d %u\n", (int)cases[i].use, cases[i].n);
        assert_int_equal(net_candidate(cases[i].use, cases[i].n, &range), 0);
        assert_int_equal(range.address, cases[i].address);
        assert_int_equal(range.prefix, 16);
    }
    count_candidates(NET_USE_VPC);
    count_candidates(NET_USE_BRIDGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(net_parse_address_is_strict),
        cmocka_unit_test(net_parse_range_wants_no_host_bits),
        cmocka_unit_test(net_ranges_overlap_both_ways),
        cmocka_unit_test(net_parse_mac_wants_one_host),
        cmocka_unit_test(net_transit_candidate_is_in_range),
        cmocka_unit_test(names_fit_and_differ),
        cmocka_unit_test(net_id_valid_keeps_paths_out),
        cmocka_unit_test(net_candidate_starts_as_expected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
