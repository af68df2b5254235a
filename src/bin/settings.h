#pragma once

#include "agent/agent.h"

/*
 * What the long-running commands are told on the command line: `up`, `server` and `agent` take the
 * same options, those that do not concern them are ignored.
 */

#define SETTINGS_DEFAULT_REGION "us-east-1"
#define SETTINGS_NAME_BYTES 256

enum half { HALF_SERVER = 1, HALF_NODE = 2 };

struct settings_ports {
    uint16_t first;
    uint16_t last;
};

struct settings {
    enum half halves;
    const char *data_dir;
    const char *listen;
    const char *session_listen;
    const char *advertise;
    const char *region;
    const char *zone;
    const char *cluster;       ///< that the node is an instance of; NULL: a host of the pools
    const char *capacity;      ///< which pools; NULL: FARGATE and FARGATE_SPOT
    const char *scaling_group; ///< Auto Scaling group of the instance, or NULL
    bool spot_fallback;
    uint32_t spot_permille; ///< of Spot tasks that are interrupted in an hour
    const char *vpc_cidr;
    const char *bridge_cidr;       ///< NULL: a free one
    const char *environment_files; ///< folder or URL; NULL for none
    struct settings_ports ports;   ///< of the host for containers; 0: the host's own
    const char *token;
    char name[SETTINGS_NAME_BYTES];
    uint32_t cpu_units;        ///< offered to tasks; 0: what the host has
    uint32_t memory_mib;       ///< likewise
    uint32_t pids_max;         ///< processes and threads of a container; 0: the default
    int64_t keep_output_ms;    ///< see agent.h, as the next
    uint32_t output_mib;       ///< of all output; 0: the default
    int64_t remove_images_ms;  ///< 0: never
    uint32_t disk_reserve_mib; ///< 0: the default
    int64_t garbage_ms;        ///< between cycles; 0: the default
    enum agent_stop_mode on_exit;
    int64_t retention_ms; ///< of stopped tasks; 0: the default
    uint32_t events_mib;  ///< of the event log; 0: the default
    const char *scale_command;
    int64_t scale_timeout_ms;
    int64_t scaling_period_ms;
    int64_t exec_idle_ms;
    int64_t waiting_ms;
    int64_t settle_ms; ///< until a task without a health check is healthy; 0: the default
    bool any_credentials;
    bool strict;
};

/**
 * Read the options into settings that hold the defaults. Texts are borrowed from argv. Mistakes are
 * told on standard error.
 *
 * @return 0 or ERR_INVALID
 */
MUST_CHECK int settings_read(int argc, char **argv, struct settings *settings);
