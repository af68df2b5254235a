#pragma once

#include "ecs/task_internal.h"

/*
 * What a RegisterContainerInstance says, read from its attributes, resources and identity document
 * (registration.c). node_register.c makes a membership of it.
 */

#define TASK_ZONES_MAX 26             ///< letters of a region's zones
#define TASK_CUSTOM_ATTRIBUTES_MAX 10 ///< ECS: of an instance, besides those of ECS itself

/** What a host says of itself. Borrows from the request and the call's arena. */
struct task_registration {
    const struct ecs_register_container_instance_request *request;
    int64_t cluster; ///< 0 for a host of the pool
    struct text capacity;
    struct text architecture;
    int32_t cpu_units;
    int32_t memory_mib;
    int32_t eni_slots;
    struct text zones[TASK_ZONES_MAX];
    size_t zone_count;
    struct task_record_identity_document identity; ///< of a stock agent on EC2; else empty
};

/** @return the value of an attribute, empty for one without a value, absent when it was not sent */
struct text
task_registration_attribute(const struct ecs_register_container_instance_request *request,
                            const char *name);
/** @return the type of the instance */
struct text task_registration_type(const struct task_registration *registration);
/** Read and check a request, which the caller set. @return 0 or ERR_FAULT */
MUST_CHECK int task_registration_read(struct core_call *call,
                                      struct task_registration *registration);
