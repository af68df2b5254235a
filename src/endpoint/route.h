#pragma once

#include "endpoint/fault.h"

/*
 * What a task asks its agent for: the paths of Amazon's agent, taken apart. Pure.
 *
 * Sources: Amazon ECS Developer Guide, "Task metadata endpoint" versions 2 to 4, "Task IAM role",
 * "Task scale-in protection endpoint", "Amazon ECS fault injection endpoints".
 */

#define ROUTE_PATH_MAX 1024 ///< bytes; a path has one id of at most 64

enum route_kind {
    ROUTE_NONE, ///< nothing is there
    ROUTE_CONTAINER,
    ROUTE_TASK,
    ROUTE_TASK_WITH_TAGS,
    ROUTE_CONTAINER_STATS,
    ROUTE_TASK_STATS,
    ROUTE_ASSOCIATIONS, ///< name: their type
    ROUTE_ASSOCIATION,  ///< name: their type
    ROUTE_CREDENTIALS,
    ROUTE_PROTECTION,
    ROUTE_FAULT,
};

/** Where a path leads. Texts borrow from the path and query. */
struct route {
    enum route_kind kind;
    int version;    ///< of the metadata: 2, 3 or 4; 1 or 2 of credentials
    struct text id; ///< of an endpoint, of a container (version 2), of credentials; may be absent
    struct text name;
    enum fault_kind fault; ///< of ROUTE_FAULT
    enum fault_operation operation;
};

/** @param query  what follows `?`; may be absent. @return where it leads, or ROUTE_NONE */
struct route route_parse(struct text path, struct text query);
