#pragma once

#include "base/buf.h"
#include "shape/shape.h"

/*
 * The document that an OCI runtime reads: config.json of a bundle. Everything is decided before:
 * this only writes. What every container of Berth has in common is here: namespaces, Docker's
 * masked and read-only paths, its default mounts and devices.
 */

/** The supervisor is protected from the OOM killer; what it starts is not. */
#define CONFIG_OOM_SCORE 0

/** A mount besides the default ones. */
struct config_mount {
    struct text destination;
    struct text type;
    struct text source;
    struct text_list options;
};

/** A device node, and what the container may do with it. */
struct config_device {
    struct text path; ///< in the container
    char type;        ///< 'c' or 'b'
    uint32_t major;
    uint32_t minor;
    uint32_t mode; ///< permission bits
    uint32_t uid;
    uint32_t gid;
    const char *access; ///< some of "rwm"
};

struct config_limit {
    const char *name; ///< such as RLIMIT_NOFILE
    int resource;     ///< its number
    uint64_t soft;
    uint64_t hard;
};

/** A kernel namespace of a container. */
struct config_namespace {
    bool host;        ///< the host's
    struct text path; ///< otherwise, one that is there; absent: a new one
};

/** Who and how a process in the container is. */
struct config_process {
    bool terminal; ///< its streams are a pseudo terminal
    struct text_list arguments;
    struct text_list environment;
    struct text directory;
    uint32_t uid;
    uint32_t gid;
    const uint32_t *groups;
    size_t group_count;
    struct text_list capabilities; ///< such as CAP_CHOWN
    const struct config_limit *limits;
    size_t limit_count;
    bool no_new_privileges;
};

struct config {
    struct config_process process;
    struct text hostname;
    bool readonly_root;
    struct text network_namespace; ///< path; absent: the host's
    struct config_namespace pid;
    struct config_namespace ipc;
    bool network_off;   ///< a namespace of its own, with loopback alone, instead
    bool confined;      ///< by Docker's default filter of system calls: see syscalls.h
    struct text filter; ///< with confined, that filter as a program; absent: the runtime makes it
    bool privileged;    ///< all devices, nothing masked; capabilities are listed as ever
    const struct config_device *devices; ///< besides the default ones
    size_t device_count;
    struct text cgroup_path;
    uint64_t shm_bytes; ///< of /dev/shm; 0: another mount is there, or none
    const struct config_mount *mounts;
    size_t mount_count;
    struct text_map sysctls;
    uint64_t memory_bytes; ///< 0 for no limit
    uint64_t memory_reservation_bytes;
    bool limit_swap;     ///< the memory limit is to include swap
    uint64_t swap_bytes; ///< beyond the memory limit, with limit_swap
    bool has_swappiness;
    uint32_t swappiness;
    struct text_map annotations;
    uint64_t cpu_shares; ///< at least 2
    uint32_t pids_max;   ///< 0: no limit
};

/** Append config.json. */
void config_write(const struct config *config, struct buf *out);
