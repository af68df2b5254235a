#pragma once

/*
 * Limits of the whole system, each with its reason. A limit that only one module knows stays in
 * that module.
 */

#define LIMIT_BODY_BYTES (1u << 20) ///< a request body; ECS's own largest is 64 KiB
#define LIMIT_HEADER_BYTES 16384    ///< all headers of a request; a session token is about 1 KiB
#define LIMIT_JSON_DEPTH 32         ///< the deepest ECS shape nests 9 levels
#define LIMIT_REALMS 1000           ///< DESIGN, Realms
#define LIMIT_NODES 10000           ///< DESIGN, the size we build for
#define LIMIT_TX_RECORDS 100        ///< etcd allows 128 operations in a transaction
#define LIMIT_TX_BYTES (1u << 20)   ///< etcd's default request limit is 1.5 MiB
#define LIMIT_RECORD_BYTES (256u << 10)    ///< a definition is at most 64 KiB of JSON
#define LIMIT_NAME_CHARS 255               ///< ECS: cluster, family and container names
#define LIMIT_CONTAINERS 10                ///< ECS: containers of a task definition
#define LIMIT_DEFINITION_BYTES (64u << 10) ///< ECS: size of a task definition
#define LIMIT_FRAME_BYTES                                                                          \
    (4u << 20) ///< one message of a node session: 10 tasks of 64 KiB, with room
