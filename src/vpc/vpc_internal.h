#pragma once

#include "base/map.h"
#include "core/index.h"
#include "vpc/vpc.h"

/*
 * What the parts of vpc_module share: vpc.c (networks), vpc_eni.c (interfaces), vpc_address.c
 * (ranges and the bitmap of a subnet's addresses).
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
    char default_cidr[20]; ///< terminated
    struct index *vpcs;    ///< realm of default VPCs
    struct index *subnets; ///< realm, id of the subnet
    struct index *of_vpc;  ///< key of the VPC, key of the subnet
    struct map addresses;  ///< key of a subnet to its struct subnet_addresses
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

/** Handler of DescribeNetwork; see core_handler_fn. */
int vpc_describe_network(struct core_call *call, void *state, const void *request, void *response);
