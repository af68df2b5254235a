#pragma once

#include "api/session.h"
#include "api/vpc_record.h"
#include "core/core.h"

/*
 * Networks: a default VPC with a subnet in each of three zones per realm, network interfaces and
 * their addresses. In every subnet the first four addresses and the last are reserved, as in AWS.
 *
 * Kinds 20 to 29 are this module's.
 */

extern const struct core_module vpc_module;
extern const struct core_kind vpc_kind;
extern const struct core_kind vpc_subnet_kind;
extern const struct core_kind vpc_eni_kind;

/** Range for default VPCs that are made from now on; 172.31.0.0/16 unless told. Not stored. */
void vpc_set_default_cidr(struct core *core, struct text cidr);

/** @return key of the realm's default VPC; makes it with its subnets in the first call */
int64_t vpc_default_ensure(struct core_call *call, int64_t realm);

/** @return key of a subnet of the realm by its id, or 0 */
int64_t vpc_subnet_find(const struct core *core, int64_t realm, struct text subnet_id);

/** @return whether a security group of that id is in the VPC */
bool vpc_security_group_exists(const struct core *core, int64_t vpc, struct text group_id);

/** @return how many addresses of a subnet are free */
uint32_t vpc_subnet_free(const struct core *core, int64_t subnet);

/** Make a network interface with the lowest free address that was not used most recently.
 *  @return its key, or 0 when the subnet has no address left (nothing changed then) */
int64_t vpc_eni_create(struct core_call *call, int64_t subnet, const struct text_list *groups,
                       int64_t owner);

/** Delete it and free its address. No error when it is gone already. */
void vpc_eni_delete(struct core_call *call, int64_t eni);

/** Fill what a node needs to know of an interface, but for the attachment's ARN. */
void vpc_eni_spec(struct core_call *call, int64_t eni, struct text region,
                  struct session_eni *out_spec);
