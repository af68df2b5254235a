#include "net/net_guard.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

// A rule of a security group as the expressions that the kernel gets, written down.

static uint32_t number_of(struct nlattr *parent, int type)
{
    struct nlattr *found = nla_find(nla_data(parent), nla_len(parent), type);
    return found == NULL ? 0 : ntohl(nla_get_u32(found));
}

static void put_bytes(struct nlattr *parent, int type, struct buf *out)
{
    struct nlattr *data = nla_find(nla_data(parent), nla_len(parent), type);
    assert_non_null(data);
    struct nlattr *value = nla_find(nla_data(data), nla_len(data), NFTA_DATA_VALUE);
    assert_non_null(value);
    const unsigned char *bytes = nla_data(value);
    for (int i = 0; i < nla_len(value); i++) {
        buf_format(out, "%02x", bytes[i]);
    }
}

static void put_expression(struct nlattr *element, struct buf *out)
{
    struct nlattr *named = nla_find(nla_data(element), nla_len(element), NFTA_EXPR_NAME);
    struct nlattr *data = nla_find(nla_data(element), nla_len(element), NFTA_EXPR_DATA);
    const char *name = nla_get_string(named);
    buf_format(out, "%s%s", out->size == 0 ? "" : " ", name);
    if (strcmp(name, "payload") == 0) {
        buf_format(out, ":%u+%u/%u", number_of(data, NFTA_PAYLOAD_BASE),
                   number_of(data, NFTA_PAYLOAD_OFFSET), number_of(data, NFTA_PAYLOAD_LEN));
    } else if (strcmp(name, "cmp") == 0) {
        buf_format(out, ":%u:", number_of(data, NFTA_CMP_OP));
        put_bytes(data, NFTA_CMP_DATA, out);
    } else if (strcmp(name, "bitwise") == 0) {
        buf_byte(out, ':');
        put_bytes(data, NFTA_BITWISE_MASK, out);
    } else if (strcmp(name, "lookup") == 0) {
        struct nlattr *set = nla_find(nla_data(data), nla_len(data), NFTA_LOOKUP_SET);
        buf_format(out, ":%s", nla_get_string(set));
    } else if (strcmp(name, "meta") == 0) {
        buf_format(out, ":%u", number_of(data, NFTA_META_KEY));
    }
}

/** The expressions of the rule in a transaction; nothing when it has none. */
static void write_down(const struct net_nft *nft, struct buf *out)
{
    int left = (int)nft->bytes.size;
    struct nlmsghdr *at = (void *)nft->bytes.data;
    for (; left > 0 && nlmsg_ok(at, left); at = nlmsg_next(at, &left)) {
        if (at->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE)) {
            continue;
        }
        struct nlattr *list = nlmsg_find_attr(at, sizeof(struct nfgenmsg), NFTA_RULE_EXPRESSIONS);
        assert_non_null(list);
        struct nlattr *element = NULL;
        int rest = 0;
        nla_for_each_nested(element, list, rest)
        {
            put_expression(element, out);
        }
    }
}

static void rules_become_expressions(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct session_security_group_rule rule;
        const char *want;
    } cases[] = {
        {"everything from everywhere", {.protocol = -1, .cidr = {"0.0.0.0/0", 9}}, "immediate"},
        {"a range, by its mask",
         {.protocol = -1, .cidr = {"10.0.0.0/8", 10}},
         "payload:1+12/4 bitwise:ff000000 cmp:0:0a000000 immediate"},
        {"one address needs no mask",
         {.protocol = -1, .cidr = {"10.1.2.3/32", 11}},
         "payload:1+12/4 cmp:0:0a010203 immediate"},
        {"what goes out is for its receiver",
         {.has_egress = true, .egress = true, .protocol = -1, .cidr = {"10.1.2.3/32", 11}},
         "payload:1+16/4 cmp:0:0a010203 immediate"},
        {"members of a group",
         {.protocol = -1, .group = {"sg-1", 4}},
         "payload:1+12/4 lookup:sg-1 immediate"},
        {"a port",
         {.protocol = 6,
          .has_from_port = true,
          .from_port = 80,
          .has_to_port = true,
          .to_port = 80,
          .cidr = {"0.0.0.0/0", 9}},
         "meta:16 cmp:0:06 payload:2+2/2 cmp:0:0050 immediate"},
        {"ports",
         {.protocol = 17,
          .has_from_port = true,
          .from_port = 1024,
          .has_to_port = true,
          .to_port = 65535,
          .cidr = {"0.0.0.0/0", 9}},
         "meta:16 cmp:0:11 payload:2+2/2 cmp:5:0400 cmp:3:ffff immediate"},
        {"all ports",
         {.protocol = 17,
          .has_from_port = true,
          .has_to_port = true,
          .to_port = 65535,
          .cidr = {"0.0.0.0/0", 9}},
         "meta:16 cmp:0:11 immediate"},
        {"a type of ICMP, any code",
         {.protocol = 1,
          .has_from_port = true,
          .from_port = 8,
          .has_to_port = true,
          .to_port = -1,
          .cidr = {"0.0.0.0/0", 9}},
         "meta:16 cmp:0:01 payload:2+0/1 cmp:0:08 immediate"},
        {"a protocol without ports",
         {.protocol = 50, .cidr = {"0.0.0.0/0", 9}},
         "meta:16 cmp:0:32 immediate"},
        {"no range lets nothing through", {.protocol = -1, .cidr = {"10.0.0.1/8", 10}}, ""},
        {"no peer lets nothing through", {.protocol = -1}, ""},
        {"no protocol lets nothing through", {.protocol = 256, .cidr = {"0.0.0.0/0", 9}}, ""},
    };
    const struct net_nft_table table = {NFPROTO_IPV4, "t"};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        AUTO(net_nft_deinit) struct net_nft nft = {0};
        AUTO(buf_deinit) struct buf text = {0};
        net_guard_write_rule(&cases[i].rule, &table, "c", NF_ACCEPT, &nft);
        write_down(&nft, &text);
        assert_string_equal(text.data == NULL ? "" : text.data, cases[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_become_expressions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
