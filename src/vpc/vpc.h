#pragma once

#include "api/session.h"
#include "api/vpc_record.h"
#include "core/core.h"

/*
 * Networks: a default VPC with a subnet in each of three zones per realm, network interfaces and
 * their addresses, and security groups: what an interface may hear and say. In every subnet the
 * first four addresses and the last are reserved, as in AWS.
 *
 * Ids of the default VPC, its subnets and its security groups follow from account, region and zone,
 * so that examples can name them. Kinds 20 to 29 are this module's.
 *
 * The operations are those of EC2 that concern networks (api/ec2.api).
 */

#define VPC_ZONE_COUNT 3 ///< zones of a region: <region>a, b and c

extern const struct core_module vpc_module;

/** Tables of the module: the engine knows a kind by its address in this array. */
extern const struct core_kind vpc_kinds[];
#define vpc_kind (vpc_kinds[0])
#define vpc_subnet_kind (vpc_kinds[1])
#define vpc_eni_kind (vpc_kinds[2])
#define vpc_group_kind (vpc_kinds[3])

/** A range of IPv4 addresses. */
struct vpc_range {
    uint32_t base;         ///< the network's address, host order
    uint8_t prefix_length; ///< 0 to 32
};

/** Parse `172.31.0.0/16`; the host part must be zero. @return 0 or ERR_INVALID */
MUST_CHECK int vpc_parse_cidr(struct text cidr, struct vpc_range *out_range);

/** @return whether a text can be the range of a VPC: /16 to /24, so that its subnets, a sixteenth
 *          each, are from /20 to the /28 that is AWS's smallest */
bool vpc_cidr_valid(struct text cidr);

/** Range for default VPCs that are made from now on; 172.31.0.0/16 unless told. Not stored. The
 *  text is copied and must be valid by vpc_cidr_valid. */
void vpc_set_default_cidr(struct core *core, struct text cidr);

/** @return key of the realm's default VPC; makes it with its subnets in the first call */
int64_t vpc_default_ensure(struct core_call *call, int64_t realm);

/** @return key of a subnet of the realm by its id, or 0 */
int64_t vpc_subnet_find(const struct core *core, int64_t realm, struct text subnet_id);

/** @return key of a VPC's security group by its id, or 0 */
int64_t vpc_group_find(const struct core *core, int64_t vpc, struct text group_id);

/**
 * Step through the interfaces in a security group, in ascending key.
 *
 * @param after  the last one seen, 0 to begin
 * @return key of an interface, or 0 at the end
 */
int64_t vpc_group_member_next(const struct core *core, int64_t group, int64_t after);

/** Fill what nodes need to know of a security group. Texts borrow from its record. */
void vpc_group_spec(struct core_call *call, int64_t group, struct session_security_group *out_spec);

/** Told of a security group whose rules changed, within the input that changed them. */
typedef void (*vpc_group_changed_fn)(struct core_call *call, int64_t group);

/** Have changed called; for the module that keeps nodes, from its state_new. */
void vpc_on_group_changed(struct core *core, vpc_group_changed_fn changed);

/** @return how many addresses of a subnet are free */
uint32_t vpc_subnet_free(const struct core *core, int64_t subnet);

/**
 * Make a network interface. Its address is the next free one above the last that was given out,
 * round and round, so that an address rests as long as possible before somebody else has it.
 *
 * @param groups  ids of its security groups, which exist; empty for the VPC's default one
 * @param owner   key of the task it is for
 * @return its key, or 0 when the subnet has no address left (nothing changed then)
 */
int64_t vpc_eni_create(struct core_call *call, int64_t subnet, const struct text_list *groups,
                       int64_t owner);

/** Delete it and free its address. No error when it is gone already. */
void vpc_eni_delete(struct core_call *call, int64_t eni);

/** @return the name that AWS gives to an address of a VPC, such as ip-10-0-0-5.ec2.internal */
struct text vpc_private_name(struct core_call *call, struct text address, struct text region);

/** Fill what a node needs to know of an interface, but for the attachment's ARN. Texts are in the
 *  call's arena or borrow from records. */
void vpc_eni_spec(struct core_call *call, int64_t eni, struct text region,
                  struct session_eni *out_spec);
