#pragma once

#include "base/map.h"
#include "core/index.h"
#include "vpc/vpc.h"

/*
 * What the parts of vpc_module share: vpc.c (networks), vpc_eni.c (interfaces), vpc_address.c
 * (ranges and the bitmap of a subnet's addresses), vpc_group.c (security groups as records),
 * vpc_index.c (indexes by VPC). EC2's
 * operations are in ec2*.c, see ec2_internal.h.
 */

#define SUBNET_RESERVED_FIRST 4 ///< network, router, resolver, and one for the future
#define SUBNET_RESERVED_LAST 1  ///< broadcast

/** Which addresses of a subnet are taken. */
struct subnet_addresses {
    struct vpc_range range;
    uint32_t size;   ///< of the range
    uint32_t free;   ///< addresses that can be given out
    uint32_t next;   ///< offset at which the search for a free one starts
    uint64_t *taken; ///< bit per address; reserved ones are set
};

/** Derived from records, never stored. */
struct vpc_state {
    char default_cidr[20];       ///< terminated
    struct index *vpcs;          ///< realm of default VPCs
    struct index *subnets;       ///< realm, id of the subnet
    struct index *of_vpc;        ///< key of the VPC, key of the subnet
    struct map addresses;        ///< key of a subnet to its struct subnet_addresses
    struct index *vpc_enis;      ///< key of the VPC: interfaces
    struct index *eni_ids;       ///< key of the VPC, id of the interface
    struct index *vpc_groups;    ///< key of the VPC: groups
    struct index *groups;        ///< key of the VPC, id of the group
    struct index *rule_ids;      ///< key of the VPC, id of a rule: groups
    struct index *group_names;   ///< key of the VPC, name of the group
    struct index *group_members; ///< key of the VPC, id of the group: interfaces
    struct index *group_users;   ///< key of the VPC, id of the group: groups whose rules name it
    vpc_group_changed_fn group_changed;
};

/** Make the bitmap of an empty subnet. */
struct subnet_addresses *addresses_new(struct vpc_range range);

/** Free; NULL is allowed. */
void addresses_free(struct subnet_addresses *addresses);

/** @return offset of the free address that was given out longest ago, or 0 when there is none */
uint32_t addresses_find(const struct subnet_addresses *addresses);

/** Mark an address as taken. @return false when it was taken already or is none of the subnet */
bool addresses_take(struct subnet_addresses *addresses, uint32_t address);

/** Mark an address as free; it must be taken. */
void addresses_release(struct subnet_addresses *addresses, uint32_t address);

/** @return dotted form of an address, in the arena */
struct text address_format(struct arena *arena, uint32_t address);

/** @return how many addresses a range has */
uint32_t range_size(struct vpc_range range);

/** The range of a stored text, which is valid. */
struct vpc_range range_of(struct text cidr);

/** @return the module's state */
struct vpc_state *vpc_state(const struct core *core);

/** Add an entry by a VPC's key, or remove it. */
void vpc_keep(struct index *index, int64_t vpc, int64_t key, bool add);

/** Walk over the entries of a VPC, behind a key. */
void vpc_walk(const struct index *index, int64_t vpc, int64_t after,
              struct index_cursor *out_cursor);

/** Add an entry by a VPC's key and a name, or remove it. */
void vpc_named_keep(struct index *index, int64_t vpc, struct text name, int64_t key, bool add);

/** @return the first entry of a VPC by its name, or 0 */
int64_t vpc_named_find(const struct index *index, int64_t vpc, struct text name);

/** Walk over the entries of a VPC with a name, behind a key. */
void vpc_named_walk(const struct index *index, int64_t vpc, struct text name, int64_t after,
                    struct index_cursor *out_cursor);

/** Handler of DescribeNetwork; see core_handler_fn. */
int vpc_describe_network(struct core_call *call, void *state, const void *request, void *response);

/** An id such as vpc-0123456789abcdef0 that follows from what it stands for. */
struct text vpc_derived_id(struct core_call *call, const char *prefix, struct text realm,
                           struct text of);

// ---- vpc_group.c --------------------------------------------------------------------------

#define GROUP_DEFAULT_NAME "default"
#define GROUP_BERTH_NAME "berth" ///< of the group that `berth env` names

/** The protocol number of rules for all protocols. */
#define RULE_ANY (-1)

/** Make the groups that a VPC begins with. old: it is from when everything was let through. */
void group_create_first(struct core_call *call, int64_t vpc, struct text realm, bool old);

/** Make them for a VPC from before groups were kept; else change nothing. */
void group_ensure_first(struct core_call *call, int64_t vpc);

/** Put a group whose rules changed: it gets a new version, and nodes are told. */
void group_put_rules(struct core_call *call, int64_t key, struct vpc_record_security_group *record);

/** @return key of a VPC's group by its name, or 0 */
int64_t group_find_name(const struct core *core, int64_t vpc, struct text name);

/** @return how many groups a VPC has */
size_t group_count(const struct core *core, int64_t vpc);

/** @return whether an interface is in the group, or a rule of another group names it */
bool group_in_use(const struct core *core, int64_t key);

/** An id with 17 random digits behind the prefix. */
struct text vpc_random_id(struct core_call *call, const char *prefix);

/** Keep the indexes: see core_module.changed. */
void group_changed(struct vpc_state *state, int64_t key,
                   const struct vpc_record_security_group *before,
                   const struct vpc_record_security_group *after);

/** Keep the index of members; vpc is the interface's. */
void group_member_changed(struct vpc_state *state, int64_t vpc, int64_t key,
                          const struct vpc_record_eni *before, const struct vpc_record_eni *after);

/** See core_module.check. */
void group_check(const struct core *core, struct buf *violations);

/** See core_module.recover: VPCs from before groups were kept get theirs. */
void group_recover(struct core_call *call, void *state);

/** Its manager: makes what group_recover found missing. */
extern const struct core_manager group_manager;
