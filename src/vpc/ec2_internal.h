#pragma once

#include "api/ec2.h"
#include "vpc/vpc_internal.h"

/*
 * The operations of EC2 that concern networks.
 *
 *   ec2.c              what they share: realm, filters, pages, tags
 *   ec2_list.c         what is looked at for a page, and the page
 *   ec2_group.c        security groups
 *   ec2_cidr.c         ranges of addresses, as EC2 writes them
 *   ec2_rule.c         rules: read from requests, compared, and told in messages
 *   ec2_rule_change.c  authorize, revoke, modify, describe anew
 *   ec2_rule_show.c    rules as responses have them
 *   ec2_network.c      VPCs, subnets, interfaces, zones
 *   ec2_tag.c          tags of all of these
 *
 * EC2 says what is wrong in words of its own, so api/ec2.api has no rules and the handlers check
 * all.
 */

#define EC2_RULES_MAX 60           ///< EC2: of a group, for each way
#define EC2_GROUPS_MAX 2500        ///< EC2: of a VPC
#define EC2_TAGS_MAX 50            ///< EC2: of a resource
#define EC2_TEXT_MAX 255           ///< EC2: names and descriptions of groups and rules
#define EC2_GROUP_BYTES_MAX 200000 ///< of a group's texts, so that its record fits the store

/** Where an operation works. */
struct ec2_scope {
    int64_t realm;
    int64_t vpc; ///< the default one
    struct text account;
    struct text region;
    const struct vpc_record_vpc *record; ///< of the VPC
};

/** Find or make the caller's realm and VPC. @return 0 or ERR_FAULT */
MUST_CHECK int ec2_open(struct core_call *call, struct ec2_scope *out_scope);

/** The end of an operation's checks. @return 0, or ERR_FAULT when it was only to be tried */
MUST_CHECK int ec2_dry_run(struct core_call *call, bool dry_run);

/** @return arn:aws:ec2:REGION:ACCOUNT:WHAT/ID */
struct text ec2_arn(struct core_call *call, const struct ec2_scope *scope, const char *what,
                    struct text id);

/** Refuse for want of a parameter. @return ERR_FAULT */
int ec2_missing(struct core_call *call, const char *parameter);

// ---- filters ------------------------------------------------------------------------------

/** What a resource has for a filter. */
struct ec2_values {
    struct arena *arena;
    struct text *items;
    size_t count;
    size_t capacity;
};

/** Add a value; an absent one is none. */
void ec2_value(struct ec2_values *values, struct text value);

/** Add a number. */
void ec2_value_number(struct ec2_values *values, int64_t number);

/** The filters of a describing operation. */
struct ec2_filters {
    const struct ec2_filter *items;
    size_t count;
    const char *const *names; ///< those that there are, ended by NULL; tags come on top
    /** Add what a resource has for a filter of that name. */
    void (*values)(struct core_call *call, const void *resource, struct text name,
                   struct ec2_values *values);
    /** The tags of a resource. */
    const struct vpc_record_tag *(*tags)(const void *resource, size_t *out_count);
};

/** Check that all filters exist. @return 0 or ERR_FAULT */
MUST_CHECK int ec2_filters_check(struct core_call *call, const struct ec2_filters *filters);

/** @return whether a resource passes all filters */
bool ec2_filters_pass(struct core_call *call, const struct ec2_filters *filters,
                      const void *resource);

/** @return whether a text fits a pattern of filters: `*` is any text, `?` any character */
bool ec2_like(struct text text, struct text pattern);

// ---- pages --------------------------------------------------------------------------------

/** A page of a listing in ascending key. */
struct ec2_page {
    size_t size;
    int64_t after;    ///< key of the last resource of the page before
    struct text rest; ///< what else its token has
};

/** Read what a request says of pages. @return 0 or ERR_FAULT */
MUST_CHECK int ec2_page_open(struct core_call *call, bool has_max, int32_t max, struct text token,
                             struct ec2_page *out_page);

/** @return the token of the page behind a resource */
struct text ec2_page_token(struct core_call *call, int64_t last, struct text rest);

// ---- what is looked at, ec2_list.c --------------------------------------------------------

#define EC2_FINDER_FILTERS 3

/** How resources of a kind are found. */
struct ec2_finder {
    const struct index *all; ///< by VPC
    struct {
        const char *name;          ///< of a filter
        const struct index *index; ///< by VPC and the value that is wanted
    } filters[EC2_FINDER_FILTERS];
};

/** A walk in ascending key. */
struct ec2_walk {
    struct index_cursor cursor;
    int64_t *keys; ///< in place of the cursor: what is named, ascending, each once
    size_t key_count;
    size_t at;
    int64_t after; ///< of keys
};

/** Walk over what may pass the filters, behind a key. */
void ec2_walk_open(const struct ec2_scope *scope, const struct ec2_finder *finder,
                   const struct ec2_filters *filters, int64_t after, struct ec2_walk *out_walk);

/** Walk over what is named, behind a key: ec2_walk_add tells what; most of them at most. */
void ec2_walk_named(struct core_call *call, size_t most, int64_t after, struct ec2_walk *out_walk);

/** Add a resource, once or again. */
void ec2_walk_add(struct ec2_walk *walk, int64_t key);

/** @return key of the next resource, or 0 at the end */
int64_t ec2_walk_next(struct ec2_walk *walk);

/** What a request says of pages. */
struct ec2_paging {
    bool has_max;
    int32_t max;
    struct text token;
};

/** What every describing operation begins with: realm, filters, page. @return 0 or ERR_FAULT */
MUST_CHECK int ec2_describe_open(struct core_call *call, const struct ec2_filters *filters,
                                 const struct ec2_paging *paging, struct ec2_scope *out_scope,
                                 struct ec2_page *out_page);

/** A kind of resources in a list. */
struct ec2_listed {
    const struct ec2_filters *filters;
    size_t resource_bytes; ///< of what filters and show take
    size_t item_bytes;     ///< of what is shown
    /** Fill a resource. */
    void (*open)(struct core_call *call, const struct ec2_scope *scope, int64_t key,
                 void *resource);
    /** Show it. */
    void (*show)(struct core_call *call, const void *resource, void *item);
};

/** A page of them. */
struct ec2_list {
    void *items;
    size_t count;
    struct text next_token; ///< absent on the last page
};

/** Make a page of what a walk finds. */
void ec2_list(struct core_call *call, const struct ec2_scope *scope, struct ec2_walk *walk,
              const struct ec2_listed *listed, const struct ec2_page *page,
              struct ec2_list *out_list);

// ---- tags ---------------------------------------------------------------------------------

/** A list of tags as records have it. */
struct ec2_tags {
    struct vpc_record_tag *items;
    size_t count;
};

/** Read the tags that a request gives to new resources of a type. @return 0 or ERR_FAULT */
MUST_CHECK int ec2_tags_new(struct core_call *call, const struct ec2_tag_specification *items,
                            size_t count, const char *type, struct ec2_tags *out_tags);

/** Merge tags into those that there are. @return 0 or ERR_FAULT */
MUST_CHECK int ec2_tags_merge(struct core_call *call, const struct ec2_tag *add, size_t count,
                              struct ec2_tags *tags);

/** Tags as responses have them. */
struct ec2_tag *ec2_tags_show(struct core_call *call, const struct vpc_record_tag *tags,
                              size_t count);

// ---- groups -------------------------------------------------------------------------------

/** Find a group by its id, else by its name. @return 0 or ERR_FAULT */
MUST_CHECK int ec2_group_find(struct core_call *call, const struct ec2_scope *scope,
                              struct text group_id, struct text group_name, int64_t *out_group);

/** @return 0, or ERR_FAULT when an id does not begin as those of its kind */
MUST_CHECK int ec2_group_id_check(struct core_call *call, struct text id);

/** Refuse what would not fit a record any more. @return 0 or ERR_FAULT */
MUST_CHECK int ec2_group_size_check(struct core_call *call,
                                    const struct vpc_record_security_group *group);

/** @return whether a text has only what EC2 takes in names and descriptions */
bool ec2_text_valid(struct text text);

/** @return a range of IPv4 addresses without bits behind its prefix; absent when it is none */
struct text ec2_cidr4(struct core_call *call, struct text cidr);

/** @return the same of IPv6, in its shortest form */
struct text ec2_cidr6(struct core_call *call, struct text cidr);

// ---- rules --------------------------------------------------------------------------------

/** Rules of one way that a request names. */
struct ec2_rules {
    struct vpc_record_security_group_rule *items; ///< without ids
    size_t count;
};

/** The permissions of a request, whose older form has one of them in parameters of its own. */
struct ec2_rule_request {
    struct text group_id;
    struct text group_name;
    const struct ec2_ip_permission *items;
    size_t count;
    struct ec2_ip_permission one;
    struct ec2_ip_range range;
    struct ec2_user_id_group_pair pair;
    const struct ec2_tag_specification *tags;
    size_t tag_count;
    const struct text *rule_ids;
    size_t rule_id_count;
    bool egress;
    bool dry_run;
};

/** Read the permissions. @return 0 or ERR_FAULT */
MUST_CHECK int ec2_rules_read(struct core_call *call, const struct ec2_scope *scope,
                              const struct ec2_rule_request *request, struct ec2_rules *out_rules);

/** Read one rule of ModifySecurityGroupRules. @return 0 or ERR_FAULT */
MUST_CHECK int ec2_rule_read(struct core_call *call, const struct ec2_scope *scope,
                             const struct ec2_security_group_rule_request *request, bool egress,
                             struct vpc_record_security_group_rule *out_rule);

/** Refuse for want of a rule. @return ERR_FAULT */
int ec2_rule_missing(struct core_call *call, struct text id);

/** @return whether two rules let the same through */
bool ec2_rule_same(const struct vpc_record_security_group_rule *a,
                   const struct vpc_record_security_group_rule *b);

/** @return a rule in the words of EC2's messages */
struct text ec2_rule_told(struct core_call *call,
                          const struct vpc_record_security_group_rule *rule);

/** @return a protocol as EC2 shows it: tcp, udp, icmp, icmpv6, a number, or -1 */
struct text ec2_protocol_name(struct core_call *call, int32_t protocol);

/** Rules of one way as permissions: those of the same protocol and ports are one. */
void ec2_permissions_show(struct core_call *call, const struct ec2_scope *scope,
                          const struct vpc_record_security_group *group, bool egress,
                          struct ec2_ip_permission **out_items, size_t *out_count);

/** One rule as DescribeSecurityGroupRules has it. */
void ec2_rule_show(struct core_call *call, const struct ec2_scope *scope,
                   const struct vpc_record_security_group *group,
                   const struct vpc_record_security_group_rule *rule,
                   struct ec2_security_group_rule *out);

// ---- handlers, see core_handler_fn --------------------------------------------------------

/** AuthorizeSecurityGroupIngress. */
int ec2_authorize_ingress(struct core_call *call, void *state, const void *in, void *out);
/** AuthorizeSecurityGroupEgress. */
int ec2_authorize_egress(struct core_call *call, void *state, const void *in, void *out);
/** RevokeSecurityGroupIngress. */
int ec2_revoke_ingress(struct core_call *call, void *state, const void *in, void *out);
/** RevokeSecurityGroupEgress. */
int ec2_revoke_egress(struct core_call *call, void *state, const void *in, void *out);
/** ModifySecurityGroupRules. */
int ec2_modify_rules(struct core_call *call, void *state, const void *in, void *out);
/** UpdateSecurityGroupRuleDescriptionsIngress. */
int ec2_update_descriptions_ingress(struct core_call *call, void *state, const void *in, void *out);
/** UpdateSecurityGroupRuleDescriptionsEgress. */
int ec2_update_descriptions_egress(struct core_call *call, void *state, const void *in, void *out);
/** CreateSecurityGroup. */
int ec2_create_security_group(struct core_call *call, void *state, const void *in, void *out);
/** DeleteSecurityGroup. */
int ec2_delete_security_group(struct core_call *call, void *state, const void *in, void *out);
/** DescribeSecurityGroups. */
int ec2_describe_security_groups(struct core_call *call, void *state, const void *in, void *out);
/** DescribeSecurityGroupRules. */
int ec2_describe_security_group_rules(struct core_call *call, void *state, const void *in,
                                      void *out);
/** DescribeVpcs. */
int ec2_describe_vpcs(struct core_call *call, void *state, const void *in, void *out);
/** DescribeSubnets. */
int ec2_describe_subnets(struct core_call *call, void *state, const void *in, void *out);
/** DescribeNetworkInterfaces. */
int ec2_describe_network_interfaces(struct core_call *call, void *state, const void *in, void *out);
/** DescribeAvailabilityZones. */
int ec2_describe_availability_zones(struct core_call *call, void *state, const void *in, void *out);
/** CreateTags. */
int ec2_create_tags(struct core_call *call, void *state, const void *in, void *out);
/** DeleteTags. */
int ec2_delete_tags(struct core_call *call, void *state, const void *in, void *out);
/** DescribeTags. */
int ec2_describe_tags(struct core_call *call, void *state, const void *in, void *out);
