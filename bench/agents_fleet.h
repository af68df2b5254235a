#pragma once

#include "base/base.h"
#include "base/map.h"

#include <stdio.h>
#include <sys/types.h>

/*
 * A process with some agents on one loop: real journals and sessions, invented containers that
 * start at once. It is forked, so start it before the caller has threads.
 */

struct fleet_options {
    const char *folder; ///< of all fleets; absolute
    const char *token;  ///< to join with, as often as there are agents
    size_t first;       ///< number of the first agent, which names its folder
    size_t count;
    uint32_t cpu_units;  ///< each offers
    uint32_t memory_mib; ///< each offers
};

/** A process of agents, as its parent sees it. */
struct fleet {
    pid_t pid;
    FILE *ask;
    FILE *answer;
};

/** What all agents of a fleet did so far, and which tasks run. */
struct fleet_report {
    struct map tasks;       ///< ids of tasks whose containers run now; the values mean nothing
    size_t twice;           ///< ids that were in the map already
    size_t reports;         ///< of states of tasks
    size_t journal_writes;  ///< each is synchronised
    size_t journal_records; ///< written in these
    uint64_t journal_bytes; ///< that these took
};

/** Start the process. A failure ends the program. */
void fleet_start(const struct fleet_options *options, struct fleet *out_fleet);

/** Wait until all agents are registered and have their sessions. @return whether they have */
bool fleet_wait_ready(struct fleet *fleet);

/** Ask what runs, and add it to a report. @return whether it answered */
bool fleet_ask(struct fleet *fleet, struct fleet_report *report);

/** End the process, wait for it. @return whether it ended well */
bool fleet_stop(struct fleet *fleet);
