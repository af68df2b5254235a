#pragma once

#include "agent/rules.h"

/*
 * Security groups on hosts and in the region: a model of what src/agent/agent_groups.c and src/net
 * do with rules, and people who make groups, change them, run tasks in them and delete them.
 */

struct sim;
struct node;
struct host_task;
struct applied;
struct run_spec;
struct fact;
struct core_batch;

/** Groups in a list; each is one block. */
struct known_group {
    struct known_group *next;
    struct session_security_group *group; ///< owned
};

/** The router of a VPC on a host. */
struct guard_router {
    struct guard_router *next;
    struct text vpc; ///< owned
    struct known_group *known;
};

/** What a host has of groups. */
struct guard {
    struct guard_router *routers;
    struct known_group *files; ///< RUN/groups: what outlives the agent
    struct agent_rules told;   ///< the agent's process
};

/** When a group had which version, as far as it was durable. */
struct group_version {
    char id[32];
    int64_t version;
};

/** Groups in the region. */
struct groups {
    bool active;
    struct group_version *versions; ///< ascending
    size_t version_count;
    size_t version_capacity;
};

// ---- guard.c: hosts ---------------------------------------------------------------------------

/** A SecurityGroupsMessage came. */
void guard_take(struct node *node, const struct session_security_groups_message *message);
/** A payload came; before the logic has it. */
void guard_payload(struct node *node, const struct session_payload_message *payload);
/** @return what an interface's groups are known to let through now, for the job that makes it */
struct known_group *guard_give(const struct node *node, const struct session_eni *eni);
/** Free it, or any list. */
void guard_free(struct known_group *list);
/** The interface of a task is made. */
void guard_add(struct node *node, const struct host_task *task, const struct known_group *given);
/** Another agent starts on what there is. */
void guard_agent_start(struct node *node);
/** All of it is gone, with the host's memory. */
void guard_reset(struct node *node);

/** A task's supervisor is about to start: its rules are not older than its interface. */
void guard_check_launch(struct node *node, const struct host_task *task);
/** A host that is in touch has the newest rules of what runs on it soon. */
void guard_check(struct sim *sim, const struct node *node, struct host_task *task);
/** @return whether each host lets through what it should; else why is a sentence */
bool guard_settled(struct sim *sim, char *why, size_t size_bytes);

// ---- groups.c: people, and what must come of what they do -------------------------------------

/** Make one, change one, delete one, or look. */
void groups_turn(struct sim *sim);
/** Choose groups for a run, or none. */
void groups_choose(struct sim *sim, struct run_spec *spec);
/** Now and then the rules of what a task is in change at once. */
void groups_touch(struct sim *sim, const struct fact *fact);
/** An operation was applied. */
void groups_applied(struct sim *sim, const struct applied *applied);
/** A batch is durable. */
void groups_durable(struct sim *sim, const struct core_batch *batch);
/** What interfaces and rules name is there. */
void groups_check(struct sim *sim);
/** @return the newest version of a group that was durable before a key was given out, or 0 */
int64_t groups_version_before(const struct sim *sim, struct text id, int64_t key);
/** Free. */
void groups_deinit(struct groups *groups);
